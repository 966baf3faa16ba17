//! The floor: the bare pattern of messages, with nothing in it.
//!
//! Owns threads in a mesh of TCP connections on loopback that propose and vote: frames of the sizes
//! that validators send, one blocking poll a turn, and neither hashing, logging nor an application.
//! What a cluster takes beyond that is what the software costs. Never: the product's network code,
//! which is part of what is compared with this.

mod frames;
mod member;
mod patience;

use std::collections::VecDeque;
use std::io;
use std::net::{TcpListener, TcpStream};
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use quorate_consensus::thresholds::{Thresholds, default_fault, default_slack};
use quorate_consensus::types::Stake;
use serde::Serialize;

use crate::histogram::{Latencies, Percentiles};
use crate::slack::Precise;
use frames::Sizes;
use member::{Leader, Links, follow};
use patience::Patience;

/// Rounds before the first that counts, for caches and buffers of the system.
const WARM_UP_ROUNDS: u64 = 200;
/// A round that takes so long has failed.
const ROUND_MAX: Duration = Duration::from_secs(5);

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FloorPlan {
    /// Members of the mesh, the proposer included; 2 to 64.
    pub validators: u16,
    /// Votes that make a round final, the proposer's own included, at least 2; none: as many as the
    /// fast path needs, or all that come where so many are silent that it is closed.
    pub need: Option<u16>,
    /// Rounds a second, open loop; none: back to back.
    pub rate: Option<u32>,
    /// Bytes of the one command in a proposal.
    pub command_bytes: usize,
    /// For how long.
    pub duration: Duration,
    /// Members that neither read nor vote, the proposer not among them: validators that stand
    /// still. At most as many as leave the votes that a round needs.
    pub silent: u16,
    /// Members vote for all in one go and read each vote when it comes, also where they have to
    /// share cores.
    pub is_plain: bool,
    /// Members look for a moment for what comes soon before they sleep in their poll, as validators
    /// do that linger.
    pub lingers: bool,
}

/// What came of it.
#[derive(Clone, Debug, Serialize)]
pub struct Floor {
    /// Members of the mesh.
    pub validators: u16,
    /// Votes that made a round final.
    pub need: u16,
    /// Rounds a second, none for back to back.
    pub rate: Option<u32>,
    /// Rounds that counted.
    pub rounds: u64,
    /// Bytes of a proposal on the wire.
    pub propose_bytes: usize,
    /// Bytes of a vote on the wire.
    pub vote_bytes: usize,
    /// Members of it that neither read nor voted.
    pub silent: u16,
    /// Whether followers gave their core up after the vote for the proposer, and all members read
    /// votes together.
    pub gives_way: bool,
    /// Whether members looked for a moment before they slept.
    pub lingers: bool,
    /// From the moment in which a round's proposal goes to the sockets to its last vote at the
    /// proposer, as finality counts from the receipt of a command.
    pub floor_us: Percentiles,
    /// From the moment in which the round should have begun: how late the proposer woke is in it.
    /// Nothing is compared with this.
    pub floor_intended_us: Percentiles,
    /// Those of `floor_us` as they were recorded.
    #[serde(skip)]
    pub latencies: Latencies,
}

/// Why there is no floor.
#[derive(Debug, thiserror::Error)]
pub enum FloorError {
    /// Votes that no mesh of this size can have.
    #[error(
        "{need} votes of {validators} members of which {silent} are silent: give 2 to 64 members, \
         and 2 votes to as many as speak"
    )]
    Plan {
        /// Members.
        validators: u16,
        /// Votes.
        need: u16,
        /// Members that do not vote.
        silent: u16,
    },
    /// The system refused a socket.
    #[error("the mesh of the floor: {0}")]
    Io(#[from] io::Error),
    /// A member ended before its time, or a round never did.
    #[error("a round of the floor did not end within {} s", ROUND_MAX.as_secs())]
    Stalled,
}

/// Measures.
///
/// # Errors
/// [`FloorError`].
pub fn measure(plan: &FloorPlan) -> Result<Floor, FloorError> {
    measure_late(plan, Duration::ZERO)
}

/// The same, where each round begins so much later than intended: how well a machine keeps time
/// must not be in the floor.
fn measure_late(plan: &FloorPlan, late: Duration) -> Result<Floor, FloorError> {
    let (validators, silent) = (plan.validators, plan.silent);
    let speaking = validators.saturating_sub(silent);
    let need = plan.need;
    let need = need.unwrap_or_else(|| need_of(validators).min(speaking));
    let votes = 2..=speaking;
    if !(2..=64).contains(&validators) || !votes.contains(&need) {
        return Err(FloorError::Plan {
            validators,
            need,
            silent,
        });
    }
    let sizes = Sizes::of(plan.command_bytes);
    let gives_way = !plan.is_plain && are_cores_shared(validators);
    let linger = match plan.lingers {
        true => quorate_net::LINGER,
        false => Duration::ZERO,
    };
    let mut mesh = mesh(usize::from(validators))?;
    let own = mesh.remove(0);
    // Open, and nobody reads them: as the connections of a process that stands still.
    let unread = mesh.split_off(mesh.len() - usize::from(silent));
    let mut times = Times::new();
    std::thread::scope(|scope| {
        let _precise = Precise::begin();
        for streams in mesh {
            scope.spawn(move || {
                let patience = gives_way.then(|| Patience::of_follower(streams.len(), need));
                let links = Links::new(&streams, silent, sizes, patience, linger);
                follow(links, gives_way);
            });
        }
        // Dropped at the end of this block in any case: its connections end, and with them all
        // followers.
        let own = own;
        let patience = gives_way.then(|| Patience::of_proposer(own.len(), need));
        let links = Links::new(&own, silent, sizes, patience, linger);
        let mut leader = Leader::new(links, need);
        run(plan, late, &mut leader, &mut times)
    })?;
    drop(unread);
    Ok(Floor {
        validators,
        need,
        rate: plan.rate,
        silent,
        gives_way,
        lingers: plan.lingers,
        rounds: times.latencies.count(),
        propose_bytes: sizes.propose,
        vote_bytes: sizes.vote,
        floor_us: times.latencies.percentiles(),
        floor_intended_us: times.intended.percentiles(),
        latencies: times.latencies,
    })
}

/// Whether there are less than two cores a member: what validators go by.
fn are_cores_shared(members: u16) -> bool {
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    cores < 2 * usize::from(members)
}

/// What is recorded of each round.
struct Times {
    /// From the proposal on.
    latencies: Latencies,
    /// From the intended start on.
    intended: Latencies,
}

impl Times {
    fn new() -> Self {
        Self {
            latencies: Latencies::new(),
            intended: Latencies::new(),
        }
    }

    fn record(&mut self, batch: Batch, interval: Duration, now: Instant) {
        let since = |start| {
            let latency = now.saturating_duration_since(start);
            u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX)
        };
        for round in 0..batch.rounds {
            self.latencies.record_ns(since(batch.started));
            self.intended
                .record_ns(since(batch.intended + interval * round));
        }
    }
}

/// Rounds that one proposal stands for, not final.
#[derive(Clone, Copy)]
struct Batch {
    /// When the first of them should have begun; the others follow at the rate.
    intended: Instant,
    rounds: u32,
    /// When the proposal was about to go to the sockets.
    started: Instant,
}

/// Votes of equal weight that make a block final at once, with the thresholds that a genesis has
/// when none are given.
fn need_of(validators: u16) -> u16 {
    let weights = vec![Stake::new(1); usize::from(validators)];
    let total = Stake::new(u64::from(validators));
    let fault = default_fault(&weights);
    let found = Thresholds::new(total, fault, default_slack(total, fault));
    found.map_or(validators, |found| {
        u16::try_from(found.fast.amount()).unwrap_or(validators)
    })
}

/// Rounds for as long as the plan says, each begun `late` after its intended start.
fn run(
    plan: &FloorPlan,
    late: Duration,
    leader: &mut Leader<'_>,
    times: &mut Times,
) -> Result<(), FloorError> {
    for _ in 0..WARM_UP_ROUNDS {
        leader.propose()?;
        leader.wait(Instant::now() + ROUND_MAX)?;
    }
    let start = Instant::now();
    let end = start + plan.duration + late;
    let interval = plan.rate.map(|rate| Duration::from_secs(1) / rate.max(1));
    // The oldest first.
    let mut open: VecDeque<Batch> = VecDeque::new();
    let mut next = start;
    // A proposer that gets no processor for the whole run is measured by one round all the same.
    let mut has_begun = false;
    while !has_begun || Instant::now() < end || !open.is_empty() {
        let now = Instant::now();
        let is_turn = interval.is_some() || open.is_empty();
        let is_time = now >= next + late && (now < end || !has_begun);
        if is_turn && leader.has_room() && is_time {
            has_begun = true;
            let (intended, started) = (next, Instant::now());
            let rounds = due(interval, started.saturating_duration_since(next + late));
            leader.propose()?;
            open.push_back(Batch {
                intended,
                rounds,
                started,
            });
            next = interval.map_or(started, |interval| next + interval * rounds);
        }
        // Also where the next round is due already: what came is read before it is proposed.
        let until = match interval {
            Some(_) if next + late < end && leader.has_room() => next + late,
            _ if open.is_empty() => end,
            _ => now + ROUND_MAX,
        };
        let done = leader.turn(until)?;
        let now = Instant::now();
        for _ in 0..done {
            let Some(batch) = open.pop_front() else {
                break;
            };
            times.record(batch, interval.unwrap_or_default(), now);
            if interval.is_none() {
                next = now;
            }
        }
        let oldest = open.front();
        if oldest.is_some_and(|batch| now > batch.started + ROUND_MAX) {
            return Err(FloorError::Stalled);
        }
    }
    Ok(())
}

/// Rounds that one proposal is for, of which the first was due so long ago: all that are due, as
/// validators put all that waits into one block; the one where there is no rate.
fn due(interval: Option<Duration>, late: Duration) -> u32 {
    let Some(interval) = interval else {
        return 1;
    };
    let more = late.as_nanos() / interval.as_nanos().max(1);
    u32::try_from(more).unwrap_or(u32::MAX).saturating_add(1)
}

/// Connections between all: of each member, those to all others, in their order.
fn mesh(members: usize) -> io::Result<Vec<Vec<TcpStream>>> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let mut mesh: Vec<Vec<TcpStream>> = (0..members).map(|_| Vec::new()).collect();
    for one in 0..members {
        for other in one + 1..members {
            let there = TcpStream::connect(address)?;
            let (here, _) = listener.accept()?;
            for (at, stream) in [(one, here), (other, there)] {
                stream.set_nodelay(true)?;
                stream.set_nonblocking(true)?;
                mesh[at].push(stream);
            }
        }
    }
    Ok(mesh)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(validators: u16, rate: Option<u32>) -> FloorPlan {
        FloorPlan {
            validators,
            need: None,
            rate,
            command_bytes: 128,
            duration: Duration::from_millis(60),
            silent: 0,
            is_plain: false,
            lingers: false,
        }
    }

    #[test]
    fn rounds_end_back_to_back_and_at_a_rate() {
        for (validators, rate, need) in [(4, None, 4), (6, None, 5), (4, Some(500), 4)] {
            let floor = measure(&plan(validators, rate)).unwrap();
            assert_eq!(floor.need, need);
            assert!(
                floor.rounds > 0 && floor.floor_us.p50 > Some(0.0),
                "{floor:?}"
            );
            assert!(
                floor.propose_bytes > 128 + floor.vote_bytes / 2,
                "{floor:?}"
            );
        }
    }

    #[test]
    fn a_run_that_is_over_before_its_first_round_begins_has_one_round() {
        for rate in [None, Some(500)] {
            let asked = FloorPlan {
                duration: Duration::ZERO,
                ..plan(4, rate)
            };
            assert!(measure(&asked).unwrap().rounds > 0, "{rate:?}");
        }
    }

    #[test]
    fn a_proposer_behind_its_schedule_proposes_all_that_is_due_at_once_and_reads() {
        let ms = Duration::from_millis;
        assert_eq!(due(None, ms(50)), 1);
        assert_eq!(due(Some(ms(1)), Duration::ZERO), 1);
        assert_eq!(due(Some(ms(1)), Duration::from_micros(999)), 1);
        assert_eq!(due(Some(ms(1)), ms(7)), 8);
        // More than any mesh bears, for long enough that what nobody reads would fill sockets.
        let asked = FloorPlan {
            duration: Duration::from_millis(600),
            ..plan(4, Some(100_000))
        };
        let floor = measure(&asked).unwrap();
        assert!(floor.rounds > 0, "{floor:?}");
    }

    #[test]
    fn how_late_a_round_begins_is_not_in_the_floor() {
        // Longer than the run: a round that counted from its intended start would have it in full.
        let late = Duration::from_millis(80);
        let floor = measure_late(&plan(4, Some(500)), late).unwrap();
        let (from_start, intended) = (floor.floor_us, floor.floor_intended_us);
        assert!(floor.rounds > 0, "{floor:?}");
        // Of each round the two times are at least that far apart, so their percentiles are; a
        // histogram keeps three digits.
        let late_us = late.as_secs_f64() * 1e6 * 0.998;
        for (from_start, intended) in [
            (from_start.p50, intended.p50),
            (from_start.p99, intended.p99),
        ] {
            let apart = intended.unwrap() * 1.001 - from_start.unwrap();
            assert!(apart >= late_us, "{floor:?}");
        }
    }

    #[test]
    fn silent_members_are_not_waited_for() {
        let asked = FloorPlan {
            silent: 1,
            ..plan(6, Some(500))
        };
        let floor = measure(&asked).unwrap();
        assert_eq!((floor.need, floor.silent), (5, 1));
        assert!(floor.rounds > 0, "{floor:?}");
        for (silent, need) in [(1, 6), (2, 5), (6, 2), (7, 2)] {
            let asked = FloorPlan {
                silent,
                need: Some(need),
                ..plan(6, None)
            };
            let found = measure(&asked);
            assert!(matches!(found, Err(FloorError::Plan { .. })), "{asked:?}");
        }
    }

    #[test]
    fn votes_that_nobody_can_have_are_refused() {
        for (validators, need) in [(4, 5), (4, 1), (1, 1), (65, 3)] {
            let asked = FloorPlan {
                need: Some(need),
                ..plan(validators, None)
            };
            assert!(matches!(measure(&asked), Err(FloorError::Plan { .. })));
        }
    }
}
