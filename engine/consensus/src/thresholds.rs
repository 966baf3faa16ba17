//! The weights at which counting turns into facts, from total, fault and slack alone.
//!
//! Owns the arithmetic of protocol.md section 1: one checked constructor, done in 128 bits. Never:
//! validators, votes, percentages or floats.

use crate::types::Stake;
use core::fmt;

/// Totals are below this: sums of distinct validators then fit 64 bits with room to spare.
pub const TOTAL_MAX_EXCLUSIVE: u64 = 1 << 62;

/// Every weight that the rules compare with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thresholds {
    /// N: the weight of all validators.
    pub total: Stake,
    /// F: weight that may be Byzantine.
    pub fault: Stake,
    /// P: weight that may be silent while the fast path still finishes.
    pub slack: Stake,
    /// C: weight that may have crashed on top of F Byzantine, with full liveness.
    pub crash: Stake,
    /// Q = N - F - P: notarization, support, skip, final.
    pub quorum: Stake,
    /// FAST = N - P: fast finality by first votes.
    pub fast: Stake,
    /// FB = F + P + 1: evidence that a block can no longer be fast-final.
    pub fallback: Stake,
    /// AMP = F + 1: at least one honest validator stands behind it.
    pub amplify: Stake,
}

impl Thresholds {
    /// Derives all weights from N, F and P.
    ///
    /// # Errors
    ///
    /// [`ThresholdError`] when N is 2^62 or more, or below 3F + 2P + 1.
    pub fn new(total: Stake, fault: Stake, slack: Stake) -> Result<Self, ThresholdError> {
        if total.amount() >= TOTAL_MAX_EXCLUSIVE {
            return Err(ThresholdError::TotalTooLarge { total });
        }
        let (n, f, p) = (wide(total), wide(fault), wide(slack));
        // 3F + 2P + 1 of two 64-bit numbers cannot leave 128 bits.
        let needed = 3 * f + 2 * p + 1;
        if n < needed {
            return Err(ThresholdError::TotalTooSmall {
                total,
                fault,
                slack,
                needed,
            });
        }
        // Nothing below leaves 0..=N, and N fits 62 bits.
        Ok(Self {
            total,
            fault,
            slack,
            crash: narrow(p.min(n - needed)),
            quorum: narrow(n - f - p),
            fast: narrow(n - p),
            fallback: narrow(f + p + 1),
            amplify: narrow(f + 1),
        })
    }

    /// N - Q + F + 1 = 2F + P + 1: answers of this weight meet any quorum in an honest validator
    /// (R13).
    #[must_use]
    pub fn recover(&self) -> Stake {
        narrow(wide(self.total) - wide(self.quorum) + wide(self.amplify))
    }
}

/// The fault weight to take when none is configured: a fifth of the stake, or a third when no
/// single validator fits into a fifth.
#[must_use]
pub fn default_fault(weights: &[Stake]) -> Stake {
    let total: u128 = weights.iter().copied().map(wide).sum();
    let below = total.saturating_sub(1);
    let fifth = below / 5;
    let one_fits = weights.iter().any(|&weight| wide(weight) <= fifth);
    narrow(if one_fits { fifth } else { below / 3 })
}

/// The slack to take when none is configured: the largest that `total` and `fault` leave; zero
/// where they leave none.
#[must_use]
pub fn default_slack(total: Stake, fault: Stake) -> Stake {
    let room = wide(total).saturating_sub(3 * wide(fault) + 1);
    narrow(room / 2)
}

fn wide(stake: Stake) -> u128 {
    u128::from(stake.amount())
}

/// Back to 64 bits. Callers stay below a total that fits; anything else saturates and is refused
/// as too large by [`Thresholds::new`].
fn narrow(amount: u128) -> Stake {
    Stake::new(u64::try_from(amount).unwrap_or(u64::MAX))
}

/// Why N, F and P do not go together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ThresholdError {
    /// N is 2^62 or more.
    TotalTooLarge {
        /// N.
        total: Stake,
    },
    /// N is below 3F + 2P + 1.
    TotalTooSmall {
        /// N.
        total: Stake,
        /// F.
        fault: Stake,
        /// P.
        slack: Stake,
        /// 3F + 2P + 1.
        needed: u128,
    },
}

impl fmt::Display for ThresholdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TotalTooLarge { total } => {
                write!(
                    f,
                    "total stake {total:?} is not below 2^62 ({TOTAL_MAX_EXCLUSIVE})"
                )
            }
            Self::TotalTooSmall {
                total,
                fault,
                slack,
                needed,
            } => write!(
                f,
                "total stake {total:?} is below 3*fault + 2*slack + 1 = {needed} \
                 (fault {fault:?}, slack {slack:?})"
            ),
        }
    }
}

impl core::error::Error for ThresholdError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn thresholds(n: u64, f: u64, p: u64) -> Result<Thresholds, ThresholdError> {
        Thresholds::new(Stake::new(n), Stake::new(f), Stake::new(p))
    }

    #[test]
    fn a_total_of_two_to_the_62_is_refused_and_one_less_is_not() {
        let total = Stake::new(1 << 62);
        assert_eq!(
            thresholds(1 << 62, 1, 0),
            Err(ThresholdError::TotalTooLarge { total })
        );
        assert!(thresholds((1 << 62) - 1, 1, 0).is_ok());
    }

    #[test]
    fn fault_and_slack_at_the_end_of_their_range_are_refused_without_overflow() {
        let needed = 5 * u128::from(u64::MAX) + 1;
        assert_eq!(
            thresholds(10, u64::MAX, u64::MAX),
            Err(ThresholdError::TotalTooSmall {
                total: Stake::new(10),
                fault: Stake::new(u64::MAX),
                slack: Stake::new(u64::MAX),
                needed,
            })
        );
    }

    #[test]
    fn the_default_slack_of_a_fault_beyond_the_total_is_zero() {
        assert_eq!(
            default_slack(Stake::new(10), Stake::new(u64::MAX)),
            Stake::ZERO
        );
        assert_eq!(default_slack(Stake::ZERO, Stake::ZERO), Stake::ZERO);
    }

    #[test]
    fn default_fault_of_stakes_beyond_64_bits_does_not_overflow() {
        let weights = [Stake::new(u64::MAX); 64];
        // 64 * (2^64 - 1) / 5 does not fit and saturates, to be refused with its total.
        assert_eq!(default_fault(&weights), Stake::new(u64::MAX));
    }
}
