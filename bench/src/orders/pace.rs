//! Arithmetic of rates.
//!
//! Owns the turning of counts and times of a source into offsets at a target rate, in integers.
//! Never: what is sent.

use std::num::NonZeroU64;

const NS_PER_S: u128 = 1_000_000_000;

/// The offset of the command of this index in an even flow; saturates after 584 years.
pub(super) fn even_ns(index: u64, rate_per_s: NonZeroU64) -> u64 {
    saturate(u128::from(index) * NS_PER_S / u128::from(rate_per_s.get()))
}

fn saturate(ns: u128) -> u64 {
    u64::try_from(ns).unwrap_or(u64::MAX)
}

/// Stretches the times of a source so that its mean rate is the target rate.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stretch {
    rate_per_s: NonZeroU64,
    /// Commands of one pass through the source.
    count: NonZeroU64,
    /// Time of the first command, in the time of the source.
    first_ns: u64,
    /// From the first to the last.
    span_ns: u64,
}

impl Stretch {
    pub(super) const fn new(
        rate_per_s: NonZeroU64,
        count: NonZeroU64,
        first_ns: u64,
        last_ns: u64,
    ) -> Self {
        Self {
            rate_per_s,
            count,
            first_ns,
            span_ns: last_ns.saturating_sub(first_ns),
        }
    }

    /// How long one pass takes: its count of commands at the target rate. The last command is one
    /// mean gap before the end.
    fn pass_ns(&self, passes: u64) -> u128 {
        let commands = u128::from(passes) * u128::from(self.count.get());
        commands.saturating_mul(NS_PER_S) / u128::from(self.rate_per_s.get())
    }

    /// When the pass of this index starts.
    pub(super) fn start_ns(&self, pass: u64) -> u64 {
        saturate(self.pass_ns(pass))
    }

    /// When a command is due that is the `index`-th of this pass and happened at `time_ns`. In a
    /// source without any time between its commands they are spread evenly.
    pub(super) fn offset_ns(&self, pass: u64, index: u64, time_ns: u64) -> u64 {
        let within = if self.span_ns == 0 {
            u128::from(even_ns(index, self.rate_per_s))
        } else {
            // All but the last gap of the pass.
            let usable = even_ns(self.count.get() - 1, self.rate_per_s);
            let span = u128::from(self.span_ns);
            let elapsed = u128::from(time_ns.saturating_sub(self.first_ns)).min(span);
            u128::from(usable) * elapsed / span
        };
        saturate(self.pass_ns(pass).saturating_add(within))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn non_zero(value: u64) -> NonZeroU64 {
        NonZeroU64::new(value).unwrap()
    }

    #[test]
    fn an_even_flow_does_not_lose_time() {
        assert_eq!(even_ns(3, non_zero(3)), 1_000_000_000);
        assert_eq!(even_ns(1, non_zero(3)), 333_333_333);
        assert_eq!(
            even_ns(3_000_000_007, non_zero(1_000_000)),
            3_000_000_007_000
        );
        assert_eq!(even_ns(u64::MAX, non_zero(1)), u64::MAX);
    }

    #[test]
    fn a_pass_has_the_target_rate_and_keeps_the_shape() {
        // 4 commands in 30 ns, to be sent at one a second.
        let stretch = Stretch::new(non_zero(1), non_zero(4), 100, 130);
        let second = 1_000_000_000;
        assert_eq!(stretch.offset_ns(0, 0, 100), 0);
        assert_eq!(stretch.offset_ns(0, 1, 110), second);
        assert_eq!(stretch.offset_ns(0, 2, 129), 2 * second + 900_000_000);
        assert_eq!(stretch.offset_ns(0, 3, 130), 3 * second);
        assert_eq!(stretch.start_ns(1), 4 * second);
        assert_eq!(stretch.offset_ns(2, 0, 100), 8 * second);
    }

    #[test]
    fn commands_without_time_between_are_spread_evenly() {
        let stretch = Stretch::new(non_zero(10), non_zero(3), 7, 7);
        assert_eq!(stretch.offset_ns(0, 2, 7), 200_000_000);
        assert_eq!(stretch.offset_ns(1, 0, 7), 300_000_000);
    }

    #[test]
    fn extreme_times_saturate() {
        let stretch = Stretch::new(non_zero(1), non_zero(u64::MAX), 0, u64::MAX);
        assert_eq!(stretch.offset_ns(u64::MAX, 0, u64::MAX), u64::MAX);
        assert_eq!(stretch.offset_ns(0, 0, 0), 0);
    }
}
