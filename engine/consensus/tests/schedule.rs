//! The leader table: in proportion, evenly spaced, and the same for ever.

use expect_test::expect;
use proptest::prelude::*;
use quorate_consensus::limits::SCHEDULE_SEATS_MAX;
use quorate_consensus::schedule::Schedule;
use quorate_consensus::types::ValidatorIndex;

fn table(weights: &[u64]) -> Vec<usize> {
    let schedule = Schedule::new(weights).expect("a leader");
    schedule.seats().iter().map(|seat| seat.place()).collect()
}

fn seats_of(table: &[usize], validator: usize) -> usize {
    table.iter().filter(|&&seat| seat == validator).count()
}

#[test]
fn equal_weights_are_a_plain_round_robin() {
    for count in 1..=64 {
        let expected: Vec<usize> = (0..count).collect();
        assert_eq!(table(&vec![7; count]), expected);
    }
}

#[test]
fn a_validator_without_leader_weight_never_leads() {
    let table = table(&[3, 0, 1]);
    assert_eq!(seats_of(&table, 1), 0);
    assert_eq!(table.len(), 4);
}

#[test]
fn turns_wrap_around_the_table() {
    let schedule = Schedule::new(&[2, 1]).expect("a leader");
    let turns: Vec<_> = (0..6).map(|turn| schedule.leader(turn).number()).collect();
    assert_eq!(turns, [0, 1, 0, 0, 1, 0]);
    // 2^64 - 1 is a multiple of 3.
    assert_eq!(schedule.leader(u64::MAX), ValidatorIndex::new(0));
}

#[test]
fn the_table_and_its_hash_are_golden() {
    let schedule = Schedule::new(&[40, 25, 15, 10, 10]).expect("a leader");
    let seats: String = schedule
        .seats()
        .iter()
        .map(|seat| seat.number().to_string())
        .collect();
    expect!["01203401012030140210"].assert_eq(&seats);
    let hash: String = schedule
        .hash()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    expect!["4a78509bfaed9a28c794c18c7fb5a4930971fe6fb16e2121caddd941b1a3b5bb"].assert_eq(&hash);
}

/// A second implementation of the interleaving, as the rule reads, with the maximum searched
/// apart from the update.
fn interleave_again(seats: &[i128]) -> Vec<usize> {
    let total: i128 = seats.iter().sum();
    let mut credit = vec![0; seats.len()];
    (0..total)
        .map(|_| {
            credit
                .iter_mut()
                .zip(seats)
                .for_each(|(credit, seats)| *credit += seats);
            let highest = *credit.iter().max().expect("a validator");
            let best = credit
                .iter()
                .position(|&credit| credit == highest)
                .expect("it is there");
            credit[best] -= total;
            best
        })
        .collect()
}

proptest! {
    #[test]
    fn seats_are_within_one_of_the_exact_share(
        weights in proptest::collection::vec(0..=u64::MAX, 1..=64),
    ) {
        prop_assume!(weights.iter().any(|&weight| weight > 0));
        let table = table(&weights);
        prop_assert!(table.len() <= SCHEDULE_SEATS_MAX);
        let total: u128 = weights.iter().map(|&weight| u128::from(weight)).sum();
        for (validator, &weight) in weights.iter().enumerate() {
            let scaled = u128::from(weight) * table.len() as u128;
            let seats = seats_of(&table, validator) as u128;
            prop_assert!(seats == scaled / total || seats == scaled.div_ceil(total));
        }
    }

    #[test]
    fn small_totals_are_represented_exactly(
        weights in proptest::collection::vec(0..=16_u64, 1..=64),
    ) {
        prop_assume!(weights.iter().any(|&weight| weight > 0));
        let table = table(&weights);
        let total: u64 = weights.iter().sum();
        for (validator, &weight) in weights.iter().enumerate() {
            // seats / L == weight / total, without a division
            let seats = seats_of(&table, validator) as u64;
            prop_assert_eq!(seats * total, weight * table.len() as u64);
        }
    }

    #[test]
    fn the_table_is_what_a_second_implementation_gives(
        weights in proptest::collection::vec(1..=40_u64, 1..=20),
    ) {
        let table = table(&weights);
        let seats: Vec<i128> = (0..weights.len())
            .map(|validator| seats_of(&table, validator) as i128)
            .collect();
        prop_assert_eq!(&table, &interleave_again(&seats));
    }

    #[test]
    fn no_prefix_favours_a_validator_beyond_its_share(
        weights in proptest::collection::vec(1..=30_u64, 1..=12),
    ) {
        let table = table(&weights);
        let total: u64 = weights.iter().sum();
        let mut taken = vec![0_u64; weights.len()];
        for (turn, &leader) in table.iter().enumerate() {
            taken[leader] += 1;
            // taken <= weight / total * (turn + 1) + 1 for whoever just led
            prop_assert!(taken[leader] * total < weights[leader] * (turn as u64 + 1) + total);
        }
    }
}
