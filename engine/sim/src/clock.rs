//! Wall clocks, each wrong in its own way.
//!
//! Owns the offset of every validator's wall clock. The monotonic clock is the world's for all:
//! its rate and origin touch nothing but timers. Never: anything that counts for safety, which is
//! the point.

use quorate_consensus::types::Now;

use crate::dice::Dice;
use crate::plan::WALL_START_NS;

const MS: u64 = 1_000_000;

/// All clocks.
#[derive(Debug)]
pub(crate) struct Clocks {
    offsets_ns: Vec<i64>,
    kept_ns: Vec<i64>,
}

impl Clocks {
    /// Clocks that are off by a little; by more when `is_bad`.
    pub(crate) fn new(len: usize, is_bad: bool, seed: u64) -> Self {
        let mut dice = Dice::new(seed, "clocks");
        let mut draw = |bound: u64| {
            let bound = i64::try_from(bound).unwrap_or(0);
            let amount = dice.below(2 * bound.unsigned_abs() + 1);
            i64::try_from(amount).unwrap_or(0) - bound
        };
        let kept_ns: Vec<i64> = (0..len).map(|_| draw(2 * MS)).collect();
        let offsets_ns = if is_bad {
            (0..len).map(|_| draw(150 * MS)).collect()
        } else {
            kept_ns.clone()
        };
        Self {
            offsets_ns,
            kept_ns,
        }
    }

    /// Both clocks of a validator.
    pub(crate) fn now(&self, place: usize, mono_ns: u64) -> Now {
        let offset_ns = self.offsets_ns.get(place).copied().unwrap_or(0);
        Now {
            mono_ns,
            wall_ns: (WALL_START_NS + mono_ns).saturating_add_signed(offset_ns),
        }
    }

    /// Somebody sets a clock; whether it shows another time now.
    pub(crate) fn jump(&mut self, place: usize, offset_ns: i64) -> bool {
        let offset = self.offsets_ns.get_mut(place);
        offset.is_some_and(|offset| std::mem::replace(offset, offset_ns) != offset_ns)
    }

    /// All clocks are well kept from here on.
    pub(crate) fn heal(&mut self) {
        self.offsets_ns.clone_from(&self.kept_ns);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_jumped_is_right_again_after_healing() {
        let mut clocks = Clocks::new(2, true, 1);
        assert!(clocks.jump(1, 3_600_000_000_000));
        assert!(!clocks.jump(1, 3_600_000_000_000), "it shows that already");
        assert!(clocks.now(1, 0).wall_ns > WALL_START_NS + 3_000_000_000_000);
        clocks.heal();
        assert!(clocks.now(1, 0).wall_ns.abs_diff(WALL_START_NS) <= 2 * MS);
        assert_eq!(clocks.now(1, 77).mono_ns, 77);
    }
}
