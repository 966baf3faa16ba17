//! Who leads when: a table of seats in proportion to leader weight, evenly interleaved.
//!
//! Owns the apportionment and the order of seats, a pure integer function of the weights. Never:
//! windows, turns or stake checks; `validators` asks the table by turn.

use crate::limits::{SCHEDULE_SEATS_MAX, VALIDATORS_MAX};
use crate::types::ValidatorIndex;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;

/// The domain of the table's hash.
const SCHEDULE_DOMAIN: &[u8] = b"bft/schedule/v1";

/// The leader of each turn, repeated for ever.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    seats: Vec<ValidatorIndex>,
}

impl Schedule {
    /// Builds the table from one weight a validator; zero gives no seat.
    ///
    /// The table has as many seats as represent the weights exactly when that is at most
    /// `SCHEDULE_SEATS_MAX`, and that many otherwise.
    ///
    /// # Errors
    ///
    /// [`ScheduleError`] when there are more than `VALIDATORS_MAX` weights or all are zero.
    pub fn new(weights: &[u64]) -> Result<Self, ScheduleError> {
        if weights.len() > VALIDATORS_MAX {
            return Err(ScheduleError::TooManyValidators {
                count: weights.len(),
            });
        }
        if weights.iter().all(|&weight| weight == 0) {
            return Err(ScheduleError::NoLeader);
        }
        Ok(Self {
            seats: interleave(&apportion(weights)),
        })
    }

    /// The leader of a turn.
    #[must_use]
    pub fn leader(&self, turn: u64) -> ValidatorIndex {
        let seat = turn % self.seats.len() as u64;
        // Below the number of seats, at most 1024.
        self.seats[seat as usize]
    }

    /// The table, one validator a turn.
    #[must_use]
    pub fn seats(&self) -> &[ValidatorIndex] {
        &self.seats
    }

    /// BLAKE3 of the table's canonical bytes.
    #[must_use]
    pub fn hash(&self) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new();
        hasher.update(SCHEDULE_DOMAIN);
        hasher.update(&(self.seats.len() as u32).to_le_bytes());
        for seat in &self.seats {
            hasher.update(&seat.number().to_le_bytes());
        }
        *hasher.finalize().as_bytes()
    }
}

/// Seats of each validator by largest remainder; ties go to the lower index.
fn apportion(weights: &[u64]) -> Vec<u64> {
    let divisor = weights.iter().copied().fold(0, greatest_common_divisor);
    let total: u128 = weights.iter().map(|&weight| u128::from(weight)).sum();
    if total / u128::from(divisor) <= SCHEDULE_SEATS_MAX as u128 {
        return weights.iter().map(|&weight| weight / divisor).collect();
    }
    let seat_count = SCHEDULE_SEATS_MAX as u128;
    // A 64-bit weight times 1024 stays far inside 128 bits.
    let share = |weight: u64| u128::from(weight) * seat_count;
    let mut seats: Vec<u64> = weights
        .iter()
        .map(|&weight| (share(weight) / total) as u64)
        .collect();
    let seated: u64 = seats.iter().sum();
    let mut by_remainder: Vec<usize> = (0..weights.len()).collect();
    // A stable sort keeps the lower index first among equals.
    by_remainder.sort_by_key(|&place| core::cmp::Reverse(share(weights[place]) % total));
    // Whole parts fall short by less than one seat a validator.
    for &place in by_remainder
        .iter()
        .take(SCHEDULE_SEATS_MAX - seated as usize)
    {
        seats[place] += 1;
    }
    seats
}

/// Smooth weighted round robin: every step adds each validator's seats to its credit, seats the
/// highest credit (ties: lower index), and takes the number of all seats from it.
fn interleave(seats: &[u64]) -> Vec<ValidatorIndex> {
    let seat_count: u64 = seats.iter().sum();
    let mut credit = vec![0_i128; seats.len()];
    let mut table = Vec::with_capacity(seat_count as usize);
    for _ in 0..seat_count {
        let mut best = 0;
        for place in 0..seats.len() {
            credit[place] += i128::from(seats[place]);
            if credit[place] > credit[best] {
                best = place;
            }
        }
        credit[best] -= i128::from(seat_count);
        table.push(ValidatorIndex::new(best as u16));
    }
    table
}

fn greatest_common_divisor(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// Why there is no table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScheduleError {
    /// More weights than validators a set may have.
    TooManyValidators {
        /// How many.
        count: usize,
    },
    /// Every leader weight is zero.
    NoLeader,
}

impl fmt::Display for ScheduleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooManyValidators { count } => {
                write!(
                    f,
                    "{count} leader weights, at most {VALIDATORS_MAX} are possible"
                )
            }
            Self::NoLeader => f.write_str("every leader weight is zero: nobody could propose"),
        }
    }
}

impl core::error::Error for ScheduleError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seats_are_reduced_by_the_greatest_common_divisor() {
        assert_eq!(apportion(&[400, 250, 150, 100, 100]), [8, 5, 3, 2, 2]);
        assert_eq!(apportion(&[u64::MAX, u64::MAX]), [1, 1]);
    }

    #[test]
    fn remainders_go_to_the_largest_and_ties_to_the_lower_index() {
        // Shares of 341.1, 341.1, 341.5 and 0.3: the one seat left goes to the third.
        assert_eq!(apportion(&[1025, 1025, 1026, 1]), [341, 341, 342, 0]);
        // Shares of 0.3 thrice and 1022.98: two seats are left, one of them for a tie.
        assert_eq!(apportion(&[1, 1, 1, 3000]), [1, 0, 0, 1023]);
    }

    #[test]
    fn no_weight_gives_no_table() {
        assert_eq!(Schedule::new(&[]), Err(ScheduleError::NoLeader));
        assert_eq!(Schedule::new(&[0, 0]), Err(ScheduleError::NoLeader));
        let count = VALIDATORS_MAX + 1;
        assert_eq!(
            Schedule::new(&vec![1; count]),
            Err(ScheduleError::TooManyValidators { count })
        );
    }
}
