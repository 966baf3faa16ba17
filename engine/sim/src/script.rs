//! The scenarios: which faults a run has, and how often.
//!
//! Owns the names and the rates behind them. Never: when or to whom something happens; the
//! schedule draws that from the seed.

use std::fmt;
use std::str::FromStr;

/// A kind of run, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Scenario {
    /// Everything, at rates that the seed draws.
    #[default]
    Mixed,
    /// No fault at all.
    Calm,
    /// No fault at all, on fast links, and clients that leave no leader without commands.
    Rush,
    /// Processes die and come back.
    Crash,
    /// The network falls apart and together again, one way or both.
    Partition,
    /// Frames are lost, doubled, late and out of order.
    Lossy,
    /// Whoever leads dies, again and again.
    LeaderCrash,
    /// Machines lose power, disks tear writes and fail syncs.
    Power,
    /// Clocks are wrong and jump.
    Clock,
    /// Processes stop for a while without dying, and disks stall.
    Pause,
    /// Everybody dies at once.
    Blackout,
    /// In `async` durability all power goes at once, soon after a height was called durable.
    BlackoutAsync,
    /// Links hold frames back and bring them in a burst; validators are slow.
    Clog,
    /// Disks are full, slow, or fail.
    Disk,
    /// Processes and machines die, and die again while they recover.
    DoubleCrash,
    /// Disks are lost, and processes and machines die beside.
    LostDisk,
    /// Everything, with one or two kinds of Byzantine validators drawn from the seed.
    Byzantine,
    /// Validators take snapshots and prune their logs; who lost its disk, or was away for long,
    /// joins by a snapshot of its peers, and processes and machines die beside.
    Join,
}

/// All scenarios with their names.
const NAMES: [(Scenario, &str); 18] = [
    (Scenario::Mixed, "mixed"),
    (Scenario::Calm, "calm"),
    (Scenario::Rush, "rush"),
    (Scenario::Crash, "crash"),
    (Scenario::Partition, "partition"),
    (Scenario::Lossy, "lossy"),
    (Scenario::LeaderCrash, "leader-crash"),
    (Scenario::Power, "power"),
    (Scenario::Clock, "clock"),
    (Scenario::Pause, "pause"),
    (Scenario::Blackout, "blackout"),
    (Scenario::BlackoutAsync, "blackout-async"),
    (Scenario::Clog, "clog"),
    (Scenario::Disk, "disk"),
    (Scenario::DoubleCrash, "double-crash"),
    (Scenario::LostDisk, "lost-disk"),
    (Scenario::Byzantine, "byzantine"),
    (Scenario::Join, "join"),
];

/// How likely each kind of fault is to be the next one; the sum does not matter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Weights {
    pub(crate) kill: u64,
    pub(crate) leader_kill: u64,
    pub(crate) clean_stop: u64,
    pub(crate) blackout: u64,
    pub(crate) power: u64,
    pub(crate) torn_power: u64,
    pub(crate) sync_failure: u64,
    pub(crate) pause: u64,
    pub(crate) disk_stall: u64,
    pub(crate) partition: u64,
    pub(crate) one_way: u64,
    pub(crate) flap: u64,
    pub(crate) clock_jump: u64,
    pub(crate) reset: u64,
    pub(crate) clog: u64,
    pub(crate) slow: u64,
    pub(crate) second_crash: u64,
    pub(crate) full_disk: u64,
    pub(crate) lost_disk: u64,
}

/// No fault at all.
const NONE: Weights = Weights {
    kill: 0,
    leader_kill: 0,
    clean_stop: 0,
    blackout: 0,
    power: 0,
    torn_power: 0,
    sync_failure: 0,
    pause: 0,
    disk_stall: 0,
    partition: 0,
    one_way: 0,
    flap: 0,
    clock_jump: 0,
    reset: 0,
    clog: 0,
    slow: 0,
    second_crash: 0,
    full_disk: 0,
    lost_disk: 0,
};

/// What every run with everything draws from.
const EVERYTHING: Weights = Weights {
    kill: 6,
    leader_kill: 4,
    clean_stop: 2,
    blackout: 1,
    power: 3,
    torn_power: 3,
    sync_failure: 1,
    pause: 4,
    disk_stall: 3,
    partition: 5,
    one_way: 4,
    flap: 2,
    clock_jump: 2,
    reset: 3,
    ..NONE
};

/// Lost disks, and what may come at the same time.
const LOST_DISKS: Weights = Weights {
    lost_disk: 5,
    kill: 3,
    leader_kill: 2,
    power: 1,
    blackout: 1,
    partition: 1,
    ..NONE
};

/// What may come while somebody joins.
const BESIDE_JOINS: Weights = Weights {
    kill: 4,
    leader_kill: 2,
    clean_stop: 1,
    blackout: 1,
    power: 3,
    torn_power: 3,
    pause: 2,
    disk_stall: 2,
    partition: 4,
    one_way: 3,
    flap: 1,
    reset: 2,
    lost_disk: 1,
    ..NONE
};

/// What may come before all power goes: disks that are slow in their own time, above all.
const BEFORE_A_LOSS: Weights = Weights {
    disk_stall: 6,
    kill: 3,
    leader_kill: 1,
    power: 2,
    torn_power: 1,
    pause: 1,
    partition: 1,
    one_way: 1,
    ..NONE
};

impl Scenario {
    /// Every scenario, in the order of the documentation.
    pub fn all() -> impl Iterator<Item = Self> {
        NAMES.iter().map(|&(scenario, _)| scenario)
    }

    /// Its name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        let found = NAMES.iter().find(|(scenario, _)| *scenario == self);
        found.map_or("mixed", |(_, name)| name)
    }

    /// Whether frames are lost, doubled and reordered at random.
    pub(crate) const fn has_lossy_links(self) -> bool {
        matches!(
            self,
            Self::Mixed | Self::Lossy | Self::Byzantine | Self::Join
        )
    }

    /// Whether wall clocks differ by more than a well-kept clock does.
    pub(crate) const fn has_bad_clocks(self) -> bool {
        matches!(self, Self::Mixed | Self::Clock | Self::Byzantine)
    }

    /// What a share of the runs with everything has besides.
    pub(crate) const fn more_weights(self) -> Weights {
        match self {
            Self::Mixed | Self::Byzantine => Weights {
                clog: 3,
                slow: 2,
                second_crash: 3,
                full_disk: 1,
                ..NONE
            },
            _ => NONE,
        }
    }

    /// Whether a share of the runs loses disks besides.
    pub(crate) const fn loses_disks(self) -> bool {
        self.has_everything()
    }

    /// Whether everything that a run can have comes in a share of them.
    pub(crate) const fn has_everything(self) -> bool {
        matches!(self, Self::Mixed | Self::Byzantine)
    }

    pub(crate) const fn weights(self) -> Weights {
        match self {
            Self::Calm | Self::Rush | Self::Lossy => NONE,
            Self::Mixed | Self::Byzantine => EVERYTHING,
            Self::Clog => Weights {
                clog: 3,
                slow: 2,
                ..NONE
            },
            Self::Disk => Weights {
                full_disk: 3,
                disk_stall: 2,
                sync_failure: 1,
                kill: 1,
                ..NONE
            },
            Self::LostDisk => LOST_DISKS,
            Self::Join => BESIDE_JOINS,
            Self::DoubleCrash => Weights {
                second_crash: 1,
                ..NONE
            },
            Self::Crash => Weights {
                kill: 8,
                leader_kill: 2,
                clean_stop: 3,
                blackout: 1,
                reset: 1,
                ..NONE
            },
            Self::Partition => Weights {
                partition: 6,
                one_way: 5,
                flap: 3,
                reset: 2,
                ..NONE
            },
            Self::LeaderCrash => Weights {
                leader_kill: 1,
                ..NONE
            },
            Self::Power => Weights {
                power: 5,
                torn_power: 6,
                sync_failure: 2,
                kill: 2,
                disk_stall: 1,
                ..NONE
            },
            Self::Clock => Weights {
                clock_jump: 1,
                ..NONE
            },
            Self::Pause => Weights {
                pause: 3,
                disk_stall: 2,
                ..NONE
            },
            Self::BlackoutAsync => BEFORE_A_LOSS,
            Self::Blackout => Weights {
                blackout: 3,
                kill: 1,
                ..NONE
            },
        }
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Scenario {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = NAMES.iter().find(|(_, name)| *name == text);
        found.map(|&(scenario, _)| scenario).ok_or_else(|| {
            let names: Vec<&str> = NAMES.iter().map(|&(_, name)| name).collect();
            format!(
                "there is no scenario {text}; there are {}",
                names.join(", ")
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_parses_to_its_scenario() {
        for scenario in Scenario::all() {
            assert_eq!(scenario.name().parse(), Ok(scenario));
        }
        assert!("nothing".parse::<Scenario>().is_err());
    }
}
