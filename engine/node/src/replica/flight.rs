//! Own proposals that are not final.
//!
//! Owns how many bytes they have, which bounds what a cancel stands behind: beyond
//! [`FLIGHT_BYTES_MAX`] orders wait in the pool, where a cancel passes them, and not in blocks,
//! where it cannot. Never: the pipeline's own bound, which is the consensus' and counts blocks.

use quorate_consensus::types::Height;
use std::collections::VecDeque;

/// Bytes of own blocks in flight from which on only cancels are proposed: what a fast network needs
/// to be busy, and some 20 milliseconds of a gigabit.
pub(super) const FLIGHT_BYTES_MAX: usize = 2 * 1024 * 1024;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Flight {
    /// Height and bytes, lowest first.
    blocks: VecDeque<(Height, usize)>,
    bytes: usize,
}

impl Flight {
    /// Forgets what is final, and what was given up: the next proposal has height `next`.
    pub(super) fn settle(&mut self, finalized: Height, next: Height) {
        while let Some(&(height, bytes)) = self.blocks.front()
            && height <= finalized
        {
            self.bytes -= bytes;
            self.blocks.pop_front();
        }
        while let Some(&(height, bytes)) = self.blocks.back()
            && height >= next
        {
            self.bytes -= bytes;
            self.blocks.pop_back();
        }
    }

    /// A block of this height is proposed.
    pub(super) fn push(&mut self, height: Height, bytes: usize) {
        self.blocks.push_back((height, bytes));
        self.bytes += bytes;
    }

    /// Whether orders are to wait.
    pub(super) const fn is_full(&self) -> bool {
        self.bytes >= FLIGHT_BYTES_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_final_or_given_up_no_longer_counts() {
        let mut flight = Flight::default();
        let height = Height::new;
        for number in 1..=4 {
            flight.push(height(number), FLIGHT_BYTES_MAX / 4);
        }
        assert!(flight.is_full());
        flight.settle(height(1), height(5));
        assert!(!flight.is_full());
        flight.push(height(5), FLIGHT_BYTES_MAX);
        assert!(flight.is_full());
        // A window failed, and the next one begins above block 2.
        flight.settle(height(1), height(3));
        assert!(!flight.is_full());
        assert_eq!(flight.bytes, FLIGHT_BYTES_MAX / 4);
        flight.settle(height(9), height(10));
        assert_eq!((flight.bytes, flight.blocks.len()), (0, 0));
    }
}
