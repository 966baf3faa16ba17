//! How long syncs take: all the same, or spread as those of a measurement.
//!
//! A vote that all have to give waits for the slowest disk of all, so that a median alone says too
//! little. Owns the spreading: dice of one seed, so that a prediction is the same again. Never:
//! what disks have in common, as syncs that wait for one another.

use crate::dice::Dice;

/// Quantiles of syncs that were measured, nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SyncTimes {
    /// Half are below; how far is not known, so they are taken to be this long.
    pub p50_ns: u64,
    /// Nine in ten are below.
    pub p90_ns: u64,
    /// 99 in 100 are below; longer ones are taken to be this long.
    pub p99_ns: u64,
}

/// The syncs of all disks.
#[derive(Debug)]
pub(super) struct Syncs {
    times: SyncTimes,
    dice: Dice,
}

impl SyncTimes {
    /// Each as long as the others.
    #[must_use]
    pub const fn all(ns: u64) -> Self {
        Self {
            p50_ns: ns,
            p90_ns: ns,
            p99_ns: ns,
        }
    }

    /// The one below which so many of a thousand are.
    fn at(&self, per_mille: u64) -> u64 {
        let between = |(low, low_ns): (u64, u64), (high, high_ns): (u64, u64)| {
            let more_ns = high_ns.saturating_sub(low_ns);
            low_ns + more_ns * (per_mille - low) / (high - low)
        };
        let [p50, p90, p99] = [(500, self.p50_ns), (900, self.p90_ns), (990, self.p99_ns)];
        match per_mille {
            0..500 => self.p50_ns,
            500..900 => between(p50, p90),
            900..990 => between(p90, p99),
            _ => self.p99_ns,
        }
    }
}

impl Syncs {
    pub(super) fn new(times: SyncTimes) -> Self {
        let dice = Dice::new(0, "syncs");
        Self { times, dice }
    }

    /// How long the next one takes.
    pub(super) fn next_ns(&mut self) -> u64 {
        self.times.at(self.dice.below(1_000))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMES: SyncTimes = SyncTimes {
        p50_ns: 100,
        p90_ns: 500,
        p99_ns: 5_000,
    };

    #[test]
    fn as_many_syncs_are_below_each_quantile_as_should() {
        let mut syncs = Syncs::new(TIMES);
        let all: Vec<u64> = (0..10_000).map(|_| syncs.next_ns()).collect();
        let below = |ns: u64| all.iter().filter(|took| **took <= ns).count();
        for (found, wanted) in [
            (below(100), 5_000),
            (below(500), 9_000),
            (below(4_999), 9_900),
        ] {
            assert!(found.abs_diff(wanted) <= 150, "{found} of {wanted}");
        }
    }

    #[test]
    fn the_slowest_of_four_is_seldom_as_fast_as_half_of_all() {
        let mut syncs = Syncs::new(TIMES);
        let slowest = (0..1_000).map(|_| (0..4).map(|_| syncs.next_ns()).max());
        let fast = slowest.filter(|ns| *ns <= Some(TIMES.p50_ns)).count();
        assert!(
            (30..100).contains(&fast),
            "{fast} where 62 are to be expected"
        );
    }

    #[test]
    fn all_the_same_is_all_the_same() {
        let mut syncs = Syncs::new(SyncTimes::all(7));
        assert!((0..100).all(|_| syncs.next_ns() == 7));
    }
}
