//! Profiles: threads, idling, pinning and timers that go together, and what they came to on this
//! machine.
//!
//! Owns the choices and the words in which they are printed. Never: starts a thread.

use crate::lanes::HOLD_NS_DEFAULT;
use quorate_consensus::machine::TimerConfig;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

/// Threads that `dedicated` pins, one a stage: net, order, journal, app, verify.
pub const STAGES: usize = 5;

/// Threads that check clients' signatures at most.
const CHECKERS_MAX: usize = 8;

/// A set of choices that go together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Profile {
    /// Machines side by side, cores of their own: spins, pins, short timers.
    Colo,
    /// Machines in one building: parks, timers for a tenth of a millisecond of wire.
    Lan,
    /// Several validators on one small machine: shared threads, parks, patient timers.
    #[default]
    Laptop,
}

/// How the stages are spread over threads, as configured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Threads {
    /// A thread a stage.
    Dedicated,
    /// One thread for net, order, journal and app in turn.
    Shared,
    /// `Dedicated` where this machine has a core for each stage of each of its validators.
    #[default]
    Auto,
}

/// What a thread does when it has nothing to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Idle {
    /// Looks for a moment for what comes soon, and gives the core to whoever wants it in between;
    /// then sleeps.
    #[default]
    Linger,
    /// Sleeps until something comes; a wake-up costs some microseconds.
    Park,
    /// Gives the core to whoever wants it, then looks again.
    Yield,
    /// Looks again at once; for cores that nobody else needs.
    Spin,
}

/// What a record must be before it leaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Durability {
    /// On the disk.
    #[default]
    Sync,
    /// In the log's mapping: survives the process, not the machine.
    Async,
}

/// Timers that a configuration overrides, microseconds; absent ones are the profile's. T_prog,
/// T_retx and T_sig stretch from there while finality takes longer (docs/protocol.md 2.7).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TimerOverrides {
    /// T_prog: how long a window may go without progress.
    pub progress_us: Option<u64>,
    /// Longest T_prog after doubling.
    pub progress_max_us: Option<u64>,
    /// T_retx: after which an unfinished position is told again.
    pub retransmit_us: Option<u64>,
    /// Longest T_retx after backing off.
    pub retransmit_max_us: Option<u64>,
    /// T_sig: how long after a change an own record is signed.
    pub sign_us: Option<u64>,
    /// How often proofs are flushed.
    pub flush_us: Option<u64>,
    /// T_censor: how long a command may wait before its leader's turn is marked.
    pub censor_us: Option<u64>,
    /// T_turn: how long a turn may last.
    pub turn_us: Option<u64>,
    /// T_turn while a command waits longer than T_censor.
    pub turn_censored_us: Option<u64>,
    /// T_fan: how long a command may wait before it is sent to all validators.
    pub fan_out_us: Option<u64>,
    /// How long a lone Final waits for the fast path.
    pub final_holdoff_us: Option<u64>,
    /// How long a leader may hold commands back for a larger block while others are in flight; more
    /// than half of T_prog counts as that.
    pub hold_us: Option<u64>,
}

/// Every timer of a validator.
#[derive(Clone, Debug)]
pub struct Timers {
    /// The consensus' own.
    pub consensus: TimerConfig,
    /// T_fan, nanoseconds.
    pub fan_out_ns: u64,
    /// How long a leader may hold commands back for a larger block, nanoseconds. By default short
    /// beside T_prog.
    pub hold_ns: u64,
}

impl Profile {
    /// The threads, idling and pinning of the profile, before this machine is looked at.
    #[must_use]
    pub const fn threads(self) -> Threads {
        match self {
            Self::Colo => Threads::Dedicated,
            Self::Lan => Threads::Auto,
            Self::Laptop => Threads::Shared,
        }
    }

    /// The idling of the profile.
    #[must_use]
    pub const fn idle(self) -> Idle {
        match self {
            Self::Colo => Idle::Spin,
            Self::Lan | Self::Laptop => Idle::Linger,
        }
    }

    /// The timers of the profile, as patient as `laptop` with what takes processor time where the
    /// stages share cores, and overridden where the configuration says so.
    #[must_use]
    pub fn timers(self, threading: Threading, overrides: &TimerOverrides) -> Timers {
        let (mut consensus, fan_out_default_ns) = match self {
            Self::Colo => (TimerConfig::colo(), 2_000_000),
            Self::Lan => (TimerConfig::lan(), 10_000_000),
            Self::Laptop => (TimerConfig::laptop(), 20_000_000),
        };
        if threading == Threading::Shared {
            consensus = consensus.on_shared_cores();
        }
        let pairs = [
            (overrides.progress_us, &mut consensus.progress_ns),
            (overrides.progress_max_us, &mut consensus.progress_max_ns),
            (overrides.retransmit_us, &mut consensus.retransmit_ns),
            (
                overrides.retransmit_max_us,
                &mut consensus.retransmit_max_ns,
            ),
            (overrides.sign_us, &mut consensus.sign_ns),
            (overrides.flush_us, &mut consensus.flush_ns),
            (overrides.censor_us, &mut consensus.censor_ns),
            (overrides.turn_us, &mut consensus.turn_ns),
            (overrides.turn_censored_us, &mut consensus.turn_censored_ns),
            (overrides.final_holdoff_us, &mut consensus.final_holdoff_ns),
        ];
        for (given, field) in pairs {
            if let Some(us) = given {
                *field = us.saturating_mul(1000);
            }
        }
        let fan_out_ns = overrides
            .fan_out_us
            .map_or(fan_out_default_ns, |us| us.saturating_mul(1000));
        let hold_default_ns = HOLD_NS_DEFAULT.min(consensus.progress_ns / 8);
        let hold_ns = overrides
            .hold_us
            .map_or(hold_default_ns, |us| us.saturating_mul(1000))
            .min(consensus.progress_ns / 2);
        Timers {
            consensus,
            fan_out_ns,
            hold_ns,
        }
    }
}

impl Profile {
    /// T_retx and the longest T_retx, microseconds, where the first one is above the second on some
    /// machine: it would be cut to that.
    #[must_use]
    pub fn retransmit_beyond(
        self,
        threads: Option<Threads>,
        overrides: &TimerOverrides,
    ) -> Option<(u64, u64)> {
        // Where the stages may share cores T_retx is never shorter.
        let threading = match threads {
            Some(Threads::Dedicated) => Threading::Dedicated,
            _ => Threading::Shared,
        };
        let timers = self.timers(threading, overrides).consensus;
        let is_beyond = timers.retransmit_ns > timers.retransmit_max_ns;
        is_beyond.then_some((timers.retransmit_ns / 1000, timers.retransmit_max_ns / 1000))
    }

    /// T_prog and the longest T_prog, microseconds, where the first one is above the second: the
    /// longest would be none.
    #[must_use]
    pub fn progress_beyond(self, overrides: &TimerOverrides) -> Option<(u64, u64)> {
        // The same however the stages are spread.
        let timers = self.timers(Threading::Shared, overrides).consensus;
        let is_beyond = timers.progress_ns > timers.progress_max_ns;
        is_beyond.then_some((timers.progress_ns / 1000, timers.progress_max_ns / 1000))
    }
}

impl TimerOverrides {
    /// The first override that is out of its range, by name, with its value.
    #[must_use]
    pub fn out_of_range(&self) -> Option<(&'static str, u64)> {
        const HOUR_US: u64 = 3_600_000_000;
        let fields = [
            ("progress_us", self.progress_us),
            ("progress_max_us", self.progress_max_us),
            ("retransmit_us", self.retransmit_us),
            ("retransmit_max_us", self.retransmit_max_us),
            ("sign_us", self.sign_us),
            ("flush_us", self.flush_us),
            ("censor_us", self.censor_us),
            ("turn_us", self.turn_us),
            ("turn_censored_us", self.turn_censored_us),
            ("fan_out_us", self.fan_out_us),
            ("final_holdoff_us", self.final_holdoff_us),
            ("hold_us", self.hold_us),
        ];
        let wrong = |us: u64| us == 0 || us > HOUR_US;
        fields
            .into_iter()
            .find_map(|(name, us)| us.filter(|&us| wrong(us)).map(|us| (name, us)))
    }
}

/// Threads as they will be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Threading {
    /// A thread a stage.
    Dedicated,
    /// One thread for net, order, journal and app.
    Shared,
}

/// What was chosen for this machine. Printed at the start, so that nobody has to guess.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// The profile.
    pub profile: Profile,
    /// Threads as they will be started.
    pub threading: Threading,
    /// What they do when idle.
    pub idle: Idle,
    /// Cores, one a thread in the order of the stages, round and round; unpinned when empty.
    pub cores: Vec<usize>,
    /// Whether validators of this machine have to share cores, less than two for each.
    pub is_crowded: bool,
    /// Why, where the profile would have chosen otherwise.
    pub remark: Option<&'static str>,
}

/// What a placement is decided from.
#[derive(Clone, Debug)]
pub struct PlacementFacts {
    /// The profile.
    pub profile: Profile,
    /// Threads as configured, if they are.
    pub threads: Option<Threads>,
    /// Idling as configured, if it is.
    pub idle: Option<Idle>,
    /// Cores as configured; empty when not.
    pub pin: Vec<usize>,
    /// Cores that this process may use.
    pub cores: Vec<usize>,
    /// Validators of the genesis on this machine, this one included.
    pub validators_here: usize,
}

impl Placement {
    /// Decides.
    #[must_use]
    pub fn decide(facts: PlacementFacts) -> Self {
        let PlacementFacts {
            profile,
            threads,
            idle,
            pin,
            cores,
            validators_here,
        } = facts;
        let roomy = cores.len() >= STAGES.saturating_mul(validators_here.max(1));
        let mut remark = None;
        let threading = match threads.unwrap_or_else(|| profile.threads()) {
            Threads::Shared => Threading::Shared,
            Threads::Dedicated if threads.is_some() || roomy => Threading::Dedicated,
            Threads::Dedicated => {
                remark = Some("shared, since this machine has fewer cores than stages");
                Threading::Shared
            }
            Threads::Auto if roomy => Threading::Dedicated,
            Threads::Auto => Threading::Shared,
        };
        let crowded = cores.len() < validators_here.saturating_mul(2);
        let idle = match idle {
            Some(idle) => idle,
            None if profile.idle() == Idle::Spin && crowded => {
                remark =
                    Some("linger, since spinning would take the cores of other validators here");
                Idle::Linger
            }
            None => profile.idle(),
        };
        let cores = match (pin.is_empty(), profile) {
            (false, _) => pin,
            // The first core is left to interrupts and everything else.
            (true, Profile::Colo) if roomy && validators_here == 1 => {
                cores.into_iter().skip(1).collect()
            }
            (true, _) => Vec::new(),
        };
        Self {
            profile,
            threading,
            idle,
            cores,
            is_crowded: crowded,
            remark,
        }
    }

    /// Threads that check clients' signatures in a chain of signed commands, besides the stages:
    /// one where nothing is pinned, else one for each core that no stage has.
    #[must_use]
    pub fn checkers(&self) -> usize {
        self.cores
            .len()
            .saturating_sub(STAGES)
            .clamp(1, CHECKERS_MAX)
    }

    /// The core of one of these threads, if threads are pinned.
    #[must_use]
    pub fn checker_core(&self, number: usize) -> Option<usize> {
        self.core_of(STAGES + number)
    }

    /// The core of the thread with this number, if threads are pinned.
    #[must_use]
    pub fn core_of(&self, thread: usize) -> Option<usize> {
        self.cores
            .get(thread.checked_rem(self.cores.len())?)
            .copied()
    }
}

impl fmt::Display for Placement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = format!("{:?}", self.profile).to_lowercase();
        let threading = format!("{:?}", self.threading).to_lowercase();
        let idle = format!("{:?}", self.idle).to_lowercase();
        write!(f, "profile {name}: threads {threading}, idle {idle}, ")?;
        if self.cores.is_empty() {
            f.write_str("not pinned")?;
        } else {
            write!(f, "pinned to cores {:?}", self.cores)?;
        }
        match self.remark {
            Some(remark) => write!(f, " ({remark})"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Timers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let t = &self.consensus;
        write!(
            f,
            "progress {:?} to {:?}, retransmit {:?}, sign {:?}, censor {:?}, turn {:?}, fan-out {:?}",
            Duration::from_nanos(t.progress_ns),
            Duration::from_nanos(t.progress_max_ns),
            Duration::from_nanos(t.retransmit_ns),
            Duration::from_nanos(t.sign_ns),
            Duration::from_nanos(t.censor_ns),
            Duration::from_nanos(t.turn_ns),
            Duration::from_nanos(self.fan_out_ns),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(profile: Profile, cores: usize, validators_here: usize) -> PlacementFacts {
        PlacementFacts {
            profile,
            threads: None,
            idle: None,
            pin: Vec::new(),
            cores: (0..cores).collect(),
            validators_here,
        }
    }

    #[test]
    fn four_validators_on_two_cores_share_and_sleep_whatever_the_profile() {
        for profile in [Profile::Colo, Profile::Lan, Profile::Laptop] {
            let placement = Placement::decide(facts(profile, 2, 4));
            assert_eq!(placement.threading, Threading::Shared, "{placement}");
            assert_eq!(placement.idle, Idle::Linger, "{placement}");
            assert_eq!(placement.core_of(0), None);
        }
    }

    #[test]
    fn a_colo_machine_of_its_own_pins_and_spins_and_leaves_the_first_core_alone() {
        let placement = Placement::decide(facts(Profile::Colo, 8, 1));
        assert_eq!(placement.threading, Threading::Dedicated);
        assert_eq!(placement.idle, Idle::Spin);
        assert_eq!(
            (placement.core_of(0), placement.core_of(7)),
            (Some(1), Some(1))
        );
        assert!(placement.to_string().contains("pinned"), "{placement}");
    }

    #[test]
    fn where_validators_share_a_machine_none_is_pinned_and_cores_are_counted_for_all() {
        let two = Placement::decide(facts(Profile::Colo, 16, 2));
        assert_eq!(two.threading, Threading::Dedicated, "{two}");
        assert_eq!(two.core_of(0), None, "the other would have the same cores");
        for profile in [Profile::Colo, Profile::Lan] {
            for (cores, validators, threading) in [
                (STAGES, 1, Threading::Dedicated),
                (8, 4, Threading::Shared),
                (4 * STAGES - 1, 4, Threading::Shared),
                (4 * STAGES, 4, Threading::Dedicated),
            ] {
                let placement = Placement::decide(facts(profile, cores, validators));
                let what = format!("{cores} cores, {validators} validators: {placement}");
                assert_eq!(placement.threading, threading, "{what}");
            }
        }
    }

    #[test]
    fn validators_with_less_than_two_cores_each_know_that_they_share() {
        for (cores, validators, is_crowded) in
            [(2, 1, false), (2, 4, true), (7, 4, true), (8, 4, false)]
        {
            let placement = Placement::decide(facts(Profile::Laptop, cores, validators));
            assert_eq!(
                placement.is_crowded, is_crowded,
                "{cores} cores, {validators} validators"
            );
        }
    }

    #[test]
    fn what_is_configured_wins_over_the_profile() {
        let mut wanted = facts(Profile::Laptop, 2, 4);
        wanted.threads = Some(Threads::Dedicated);
        wanted.idle = Some(Idle::Yield);
        wanted.pin = vec![1];
        let placement = Placement::decide(wanted);
        assert_eq!(placement.threading, Threading::Dedicated);
        assert_eq!(placement.idle, Idle::Yield);
        assert_eq!(placement.core_of(3), Some(1));
    }

    /// What a timer's key is, and the timer that it is for.
    type Override = (
        fn(&mut TimerOverrides) -> &mut Option<u64>,
        fn(&Timers) -> u64,
    );

    const OVERRIDES: [Override; 12] = [
        (|o| &mut o.progress_us, |t| t.consensus.progress_ns),
        (|o| &mut o.progress_max_us, |t| t.consensus.progress_max_ns),
        (|o| &mut o.retransmit_us, |t| t.consensus.retransmit_ns),
        (
            |o| &mut o.retransmit_max_us,
            |t| t.consensus.retransmit_max_ns,
        ),
        (|o| &mut o.sign_us, |t| t.consensus.sign_ns),
        (|o| &mut o.flush_us, |t| t.consensus.flush_ns),
        (|o| &mut o.censor_us, |t| t.consensus.censor_ns),
        (|o| &mut o.turn_us, |t| t.consensus.turn_ns),
        (
            |o| &mut o.turn_censored_us,
            |t| t.consensus.turn_censored_ns,
        ),
        (|o| &mut o.fan_out_us, |t| t.fan_out_ns),
        (
            |o| &mut o.final_holdoff_us,
            |t| t.consensus.final_holdoff_ns,
        ),
        (|o| &mut o.hold_us, |t| t.hold_ns),
    ];

    #[test]
    fn every_timer_override_reaches_its_timer_and_no_other() {
        // By default this one follows from another one.
        let plain = TimerOverrides {
            hold_us: Some(100),
            ..TimerOverrides::default()
        };
        let all = |overrides: &TimerOverrides| {
            let timers = Profile::Lan.timers(Threading::Dedicated, overrides);
            OVERRIDES.map(|(_, of)| of(&timers))
        };
        for (place, (set, _)) in OVERRIDES.iter().enumerate() {
            let mut overrides = plain.clone();
            *set(&mut overrides) = Some(7_001);
            let mut expected = all(&plain);
            assert_ne!(expected[place], 7_001_000);
            expected[place] = 7_001_000;
            assert_eq!(all(&overrides), expected, "override {place}");
        }
    }

    #[test]
    fn where_stages_share_cores_nothing_is_signed_or_synced_more_often_than_on_a_laptop() {
        let none = TimerOverrides::default();
        let of = |threading| Profile::Colo.timers(threading, &none).consensus;
        let (own, shared) = (of(Threading::Dedicated), of(Threading::Shared));
        assert_eq!(own, TimerConfig::colo());
        let laptop = TimerConfig::laptop();
        assert_eq!(
            (shared.sign_ns, shared.flush_ns, shared.retransmit_ns),
            (laptop.sign_ns, laptop.flush_ns, laptop.retransmit_ns)
        );
        assert_eq!(shared.final_holdoff_ns, laptop.final_holdoff_ns);
        // What the loss of a leader costs is that of the profile.
        assert_eq!(shared.progress_ns, own.progress_ns);
        assert_eq!(shared.heartbeat_ns(), own.heartbeat_ns());
        let wanted = TimerOverrides {
            sign_us: Some(3_000),
            ..none
        };
        let timers = Profile::Colo.timers(Threading::Shared, &wanted);
        assert_eq!(timers.consensus.sign_ns, 3_000_000);
    }

    #[test]
    fn holding_back_is_short_beside_the_time_without_progress_whatever_is_configured() {
        let of = |profile: Profile, progress_us, hold_us| {
            let overrides = TimerOverrides {
                progress_us,
                hold_us,
                ..TimerOverrides::default()
            };
            profile.timers(Threading::Dedicated, &overrides).hold_ns
        };
        assert_eq!(of(Profile::Laptop, None, None), HOLD_NS_DEFAULT);
        assert_eq!(of(Profile::Colo, None, None), 625_000);
        assert_eq!(of(Profile::Laptop, None, Some(7_000)), 7_000_000);
        assert_eq!(of(Profile::Laptop, Some(1_000), Some(7_000)), 500_000);
    }

    #[test]
    fn timers_of_zero_or_of_more_than_an_hour_are_out_of_range() {
        let zero = TimerOverrides {
            censor_us: Some(0),
            ..TimerOverrides::default()
        };
        assert_eq!(zero.out_of_range(), Some(("censor_us", 0)));
        let long = TimerOverrides {
            turn_us: Some(1 << 40),
            ..TimerOverrides::default()
        };
        assert_eq!(long.out_of_range(), Some(("turn_us", 1 << 40)));
    }
}
