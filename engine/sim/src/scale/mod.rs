//! How long finality takes with many validators at given distances: a prediction.
//!
//! The validators are those that ship, over virtual time: what they say to whom and when is theirs;
//! what each operation costs and how long the ways are is given. Owns the model of a machine: one
//! thread that takes in what came, turns, and sends frames one after the other, and two others for
//! signatures and syncs; each has a core to itself, or all of all validators share some. Never:
//! faults other than validators that are not there, or links that are full.

mod cores;
mod files;
mod hall;
mod machine;
mod plan;
mod syncs;
mod together;

use std::fmt;

use quorate_consensus::limits::VALIDATORS_MAX;

pub use files::{Costs, FileError, LatencyMatrix};
use hall::Hall;
pub use syncs::SyncTimes;

/// The matrices that come along, by name.
pub const LATENCY_FILES: [(&str, &str); 3] = [
    ("hall", include_str!("../../latency/hall.txt")),
    ("metro", include_str!("../../latency/metro.txt")),
    ("world", include_str!("../../latency/world.txt")),
];
/// The costs that come along.
pub const COSTS_FILE: &str = include_str!("../../latency/costs.txt");

/// Commands before those that count: sessions open, and who is away is found out.
const WARM_UP: u64 = 24;

/// What is predicted.
#[derive(Clone, Debug)]
pub struct ScaleOptions {
    /// Validators of equal weight, 4 to [`VALIDATORS_MAX`]; F and P are the defaults.
    pub validators: u16,
    /// Of them so many are not there; what is left must weigh as much as the slow path needs.
    pub down: u16,
    /// How far they are apart.
    pub matrix: LatencyMatrix,
    /// What operations cost.
    pub costs: Costs,
    /// So many cores of one machine for all threads of all validators, at least 1; a core for each
    /// when absent.
    pub cores: Option<u16>,
    /// Whether a vote waits for the disk.
    pub is_synced: bool,
    /// How long syncs take; each as long as its cost when absent.
    pub syncs: Option<SyncTimes>,
    /// Commands that count, one after the other at the leader, at least 1.
    pub commands: u64,
    /// Bytes of a command.
    pub command_bytes: usize,
    /// Time between two commands; so long that no queue forms when absent.
    pub interval_ns: Option<u64>,
}

/// Why nothing can be predicted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScaleError {
    /// Too few validators, or more than a chain may have.
    Validators(u16),
    /// Without so many nothing becomes final.
    Down {
        /// So many are to be away.
        down: u16,
        /// So many may be.
        allowed: u64,
    },
    /// The product refused something: an error of this program.
    Product(String),
    /// Not every command became final in the time that was given.
    Unfinished {
        /// Commands that did.
        finalized: u64,
    },
}

impl fmt::Display for ScaleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Validators(count) => {
                write!(f, "{count} validators: a chain has 4 to {VALIDATORS_MAX}")
            }
            Self::Down { down, allowed } => {
                write!(f, "{down} validators away: {allowed} may be")
            }
            Self::Product(what) => f.write_str(what),
            Self::Unfinished { finalized } => {
                write!(f, "after {finalized} commands nothing more became final")
            }
        }
    }
}

impl std::error::Error for ScaleError {}

/// What is predicted of finality at the leader, from a command's receipt on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Prediction {
    /// Median, nanoseconds.
    pub p50_ns: u64,
    /// 99 % are at or below this, nanoseconds.
    pub p99_ns: u64,
    /// Commands that count.
    pub commands: u64,
    /// Of them those in blocks that became final there by first votes.
    pub fast: u64,
    /// Frames sent between validators for each command, on average.
    pub frames_per_command: f64,
}

/// Predicts. The same options always give the same.
///
/// # Errors
/// [`ScaleError`].
pub fn predict(options: &ScaleOptions) -> Result<Prediction, ScaleError> {
    let (validators, down) = (options.validators, options.down);
    if !(4..=VALIDATORS_MAX).contains(&usize::from(validators)) {
        return Err(ScaleError::Validators(validators));
    }
    let mut hall = Hall::new(options)?;
    let allowed = hall.may_be_away();
    if u64::from(down) > allowed {
        return Err(ScaleError::Down { down, allowed });
    }
    hall.run(WARM_UP + options.commands.max(1))?;
    let mut found = hall.finals(WARM_UP);
    found.sort_unstable();
    let at = |percent: usize| {
        let place = (found.len() * percent).div_ceil(100).saturating_sub(1);
        found.get(place).map_or(0, |(latency_ns, _)| *latency_ns)
    };
    #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
    let frames_per_command = hall.frames() as f64 / found.len().max(1) as f64;
    Ok(Prediction {
        p50_ns: at(50),
        p99_ns: at(99),
        commands: found.len() as u64,
        fast: found.iter().filter(|(_, is_fast)| *is_fast).count() as u64,
        frames_per_command,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAY_NS: u64 = 100_000;

    fn options(validators: u16, down: u16) -> ScaleOptions {
        ScaleOptions {
            validators,
            down,
            matrix: LatencyMatrix::uniform(WAY_NS),
            costs: Costs::default(),
            cores: None,
            is_synced: false,
            syncs: None,
            commands: 20,
            command_bytes: 128,
            interval_ns: None,
        }
    }

    #[test]
    fn without_costs_the_fast_path_takes_two_ways_and_the_slow_path_more() {
        let fast = predict(&options(4, 0)).unwrap();
        assert_eq!((fast.p50_ns, fast.fast), (2 * WAY_NS, fast.commands));
        let slow = predict(&options(4, 1)).unwrap();
        assert_eq!(slow.fast, 0);
        assert!(slow.p50_ns >= 3 * WAY_NS, "{slow:?}");
        let within = predict(&options(6, 1)).unwrap();
        assert_eq!((within.p50_ns, within.fast), (2 * WAY_NS, within.commands));
    }

    #[test]
    fn costs_of_more_validators_add_up_and_a_prediction_is_the_same_again() {
        let costs = Costs::parse(COSTS_FILE).unwrap();
        let of = |validators| {
            predict(&ScaleOptions {
                costs,
                ..options(validators, 0)
            })
            .unwrap()
        };
        let (few, many) = (of(4), of(10));
        assert!(2 * WAY_NS < few.p50_ns && few.p50_ns < many.p50_ns);
        assert!(few.frames_per_command < many.frames_per_command);
        assert_eq!(few, of(4));
    }

    #[test]
    fn a_sync_is_on_the_way_of_a_vote() {
        // Who waits for a disk has not rested as long as who waits for a vote.
        let costs = Costs {
            rested_ns: 0,
            rested_turn_ns: 0,
            rested_send_ns: 0,
            ..Costs::parse(COSTS_FILE).unwrap()
        };
        let of = |is_synced| {
            let options = ScaleOptions {
                costs,
                is_synced,
                ..options(4, 0)
            };
            predict(&options).unwrap().p50_ns
        };
        assert!(of(true) >= of(false) + costs.sync_ns);
    }

    #[test]
    fn on_one_core_followers_vote_one_after_the_other() {
        let costs = Costs {
            propose_ns: 30_000,
            ..Costs::default()
        };
        let on = |cores| {
            let cores = Some(cores);
            let options = ScaleOptions {
                costs,
                cores,
                ..options(4, 0)
            };
            predict(&options).unwrap().p50_ns
        };
        // The vote that completes the block is that of the third follower.
        assert_eq!(on(8), 2 * WAY_NS + costs.propose_ns);
        assert_eq!(on(1), 2 * WAY_NS + 3 * costs.propose_ns);
        // Two of them at once, and the third one behind.
        assert_eq!(on(2), 2 * WAY_NS + 2 * costs.propose_ns);
    }

    #[test]
    fn a_core_changes_hands_and_forgets_and_a_free_one_takes_a_wake_up() {
        let p50_ns = |costs, cores| {
            let options = ScaleOptions {
                costs,
                cores,
                ..options(4, 0)
            };
            predict(&options).unwrap().p50_ns
        };
        let waking = Costs {
            wake_ns: 7_000,
            ..Costs::default()
        };
        // Of a follower and of the leader; the receipt is behind that of the leader's first turn.
        for cores in [None, Some(8)] {
            assert_eq!(p50_ns(waking, cores), 2 * WAY_NS + 2 * waking.wake_ns);
        }
        let resting = Costs {
            rested_ns: 7_000,
            ..Costs::default()
        };
        // The follower's has had nothing to do since the last command, the leader's has.
        assert_eq!(p50_ns(resting, None), 2 * WAY_NS + resting.rested_ns);
        let slow = Costs {
            rested_turn_ns: 7_000,
            rested_send_ns: 3_000,
            ..Costs::default()
        };
        // The leader's thread and the follower's, and for its votes the leader has just run.
        let more_ns = 2 * (slow.rested_turn_ns + slow.rested_send_ns);
        for cores in [None, Some(8)] {
            assert_eq!(p50_ns(slow, cores), 2 * WAY_NS + more_ns);
        }
        let work = Costs {
            propose_ns: 30_000,
            ..Costs::default()
        };
        let switching = Costs {
            switch_ns: 2_000,
            ..work
        };
        // The second and the third follower take the core over.
        let more_ns = p50_ns(switching, Some(1)) - p50_ns(work, Some(1));
        assert_eq!(more_ns, 2 * switching.switch_ns);
        let cold = Costs {
            cold_ns: 5_000,
            ..work
        };
        assert_eq!(p50_ns(cold, None), p50_ns(work, None));
        assert!(p50_ns(cold, Some(1)) >= p50_ns(work, Some(1)) + 4 * cold.cold_ns);
    }

    #[test]
    fn who_shares_cores_reads_votes_together() {
        let costs = Costs {
            turn_ns: 50_000,
            send_ns: 10_000,
            ..Costs::default()
        };
        let on = |cores| {
            let cores = Some(cores);
            let options = ScaleOptions {
                costs,
                cores,
                ..options(4, 0)
            };
            predict(&options).unwrap().p50_ns
        };
        // With two cores each the first vote that comes has a turn of its own, and the others wait
        // for its end; with one less, which is still one for everybody, the last one ends a sleep.
        let (apart, together) = (on(8), on(7));
        let saved_ns = costs.turn_ns - 2 * costs.send_ns;
        assert!(apart - together > saved_ns / 2, "{apart} {together}");
    }

    #[test]
    fn who_has_no_time_to_rest_between_two_commands_is_charged_for_no_rest() {
        let costs = Costs {
            rested_ns: 7_000,
            rested_turn_ns: 7_000,
            rested_send_ns: 3_000,
            ..Costs::default()
        };
        let at = |interval_ns| {
            let options = ScaleOptions {
                costs,
                interval_ns,
                ..options(4, 0)
            };
            predict(&options).unwrap().p50_ns
        };
        let rested_ns = at(None);
        assert!(rested_ns > 2 * WAY_NS);
        assert_eq!(at(Some(2_000_000)), rested_ns);
        assert_eq!(at(Some(250_000)), 2 * WAY_NS);
    }

    #[test]
    fn what_no_chain_can_be_is_refused() {
        assert_eq!(predict(&options(3, 0)), Err(ScaleError::Validators(3)));
        assert_eq!(predict(&options(241, 0)), Err(ScaleError::Validators(241)));
        let error = predict(&options(4, 3)).unwrap_err();
        assert!(matches!(error, ScaleError::Down { down: 3, .. }), "{error}");
    }
}
