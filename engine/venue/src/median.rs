//! The stake-weighted lower median.
//!
//! Owns the one function that makes a price of many. It is total: any list of values has a median
//! or, if nothing in it has weight, none; there is no input for which it fails. Never: which
//! observations count.

/// The lower median of values with weights: the least value such that it and the values below it
/// hold at least half of the whole weight. `None` if there is no weight. Sorts the values.
///
/// Where less than half of the weight lies outside of a range, the median lies in the range: were
/// it below, then half of the weight would be there; were it above, then the weight up to the top
/// of the range, more than half, would have sufficed.
pub(crate) fn weighted_lower_median(values: &mut [(i64, u64)]) -> Option<i64> {
    values.sort_unstable();
    let all: u128 = values.iter().map(|&(_, weight)| u128::from(weight)).sum();
    if all == 0 {
        return None;
    }
    let mut below = 0;
    for &(value, weight) in values.iter() {
        below += u128::from(weight);
        if 2 * below >= all {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn median(mut values: Vec<(i64, u64)>) -> Option<i64> {
        weighted_lower_median(&mut values)
    }

    #[test]
    fn of_two_equal_halves_the_lower_one_is_the_median() {
        assert_eq!(median(vec![(7, 1), (3, 1)]), Some(3));
        assert_eq!(median(vec![(7, 2), (3, 1)]), Some(7));
        assert_eq!(median(vec![(1, 1), (2, 1), (9, 1)]), Some(2));
    }

    #[test]
    fn without_weight_there_is_no_median() {
        assert_eq!(median(vec![]), None);
        assert_eq!(median(vec![(5, 0), (6, 0)]), None);
        assert_eq!(median(vec![(5, 0), (6, 1)]), Some(6));
    }

    proptest! {
        #[test]
        fn it_is_the_value_that_a_list_with_every_unit_written_out_has_in_its_middle(
            values in prop::collection::vec((-5..5_i64, 0..6_u64), 0..12),
        ) {
            let mut units: Vec<i64> = Vec::new();
            for &(value, weight) in &values {
                units.extend((0..weight).map(|_| value));
            }
            units.sort_unstable();
            let expected = units.len().checked_sub(1).map(|last| units[last / 2]);
            prop_assert_eq!(median(values), expected);
        }

        #[test]
        fn it_is_total_and_does_not_depend_on_the_order(
            values in prop::collection::vec((any::<i64>(), any::<u64>()), 0..64),
        ) {
            let reversed: Vec<_> = values.iter().rev().copied().collect();
            prop_assert_eq!(median(values.clone()), median(reversed));
            prop_assert_eq!(
                median(values.clone()).is_some(),
                values.iter().any(|&(_, weight)| weight > 0)
            );
        }

        #[test]
        fn less_than_half_of_the_weight_cannot_move_it_outside_of_the_others(
            honest in prop::collection::vec((-1000..1000_i64, 1..100_u64), 1..10),
            others in prop::collection::vec((any::<i64>(), 1..100_u64), 0..10),
        ) {
            let weight: u64 = honest.iter().map(|h| h.1).sum();
            let mut all = honest.clone();
            let mut room = weight - 1;
            for (value, weight) in others {
                all.push((value, weight.min(room)));
                room -= weight.min(room);
            }
            let median = median(all).unwrap();
            prop_assert!(honest.iter().any(|h| h.0 <= median));
            prop_assert!(honest.iter().any(|h| h.0 >= median));
        }
    }
}
