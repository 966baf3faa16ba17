//! When to dial again: exponential delays with jitter.
//!
//! Owns: the arithmetic and the pseudo-random numbers behind it. Never: a clock, or an operating
//! system's random source; the seed comes from the caller, so that a run can be repeated.

use std::time::Duration;

/// Doubling delays between a least and a longest one.
#[derive(Debug)]
pub(crate) struct Backoff {
    delay_min: Duration,
    delay_max: Duration,
    failures: u32,
    jitter: SplitMix,
}

impl Backoff {
    pub(crate) const fn new(delay_min: Duration, delay_max: Duration, seed: u64) -> Self {
        Self {
            delay_min,
            delay_max,
            failures: 0,
            jitter: SplitMix(seed),
        }
    }

    /// The delay after one more failure: `delay_min * 2^failures`, at most `delay_max`, of which
    /// the upper half is random. Two sides that failed together so do not fail together again.
    pub(crate) fn next_delay(&mut self) -> Duration {
        let factor = 1_u32.checked_shl(self.failures).unwrap_or(u32::MAX);
        let full = self.delay_min.saturating_mul(factor).min(self.delay_max);
        self.failures = self.failures.saturating_add(1).min(32);
        let half_ns = u64::try_from(full.as_nanos() / 2).unwrap_or(u64::MAX / 2);
        Duration::from_nanos(half_ns + self.jitter.below(half_ns.saturating_add(1)))
    }

    /// The first delay.
    pub(crate) const fn delay_min(&self) -> Duration {
        self.delay_min
    }

    /// The longest delay.
    pub(crate) const fn delay_max(&self) -> Duration {
        self.delay_max
    }

    /// A connection has held: the next failure starts from the least delay.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014): jitter needs spread, not secrecy.
#[derive(Debug)]
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`, which is not zero.
    fn below(&mut self, bound: u64) -> u64 {
        u64::try_from((u128::from(self.next()) * u128::from(bound)) >> 64).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIN: Duration = Duration::from_millis(20);
    const MAX: Duration = Duration::from_secs(2);

    #[test]
    fn delays_double_up_to_the_longest_and_never_leave_their_band() {
        for seed in 0..200 {
            let mut backoff = Backoff::new(MIN, MAX, seed);
            for failure in 0..100_u32 {
                let full = MIN.saturating_mul(1 << failure.min(20)).min(MAX);
                let delay = backoff.next_delay();
                assert!(
                    delay >= full / 2 && delay <= full,
                    "failure {failure}: {delay:?}"
                );
            }
        }
    }

    #[test]
    fn a_reset_starts_from_the_least_delay() {
        let mut backoff = Backoff::new(MIN, MAX, 1);
        for _ in 0..50 {
            backoff.next_delay();
        }
        backoff.reset();
        assert!(backoff.next_delay() <= MIN);
    }

    #[test]
    fn the_same_seed_gives_the_same_delays_and_another_seed_others() {
        let delays = |seed| {
            let mut backoff = Backoff::new(MIN, MAX, seed);
            (0..20).map(|_| backoff.next_delay()).collect::<Vec<_>>()
        };
        assert_eq!(delays(7), delays(7));
        assert_ne!(delays(7), delays(8));
    }

    #[test]
    fn extreme_delays_do_not_overflow() {
        let mut backoff = Backoff::new(Duration::MAX, Duration::MAX, 3);
        for _ in 0..70 {
            backoff.next_delay();
        }
    }
}
