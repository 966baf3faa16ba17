//! Tests of the made-up order flow: its shape, its rate, and that a seed says all.

use super::*;
use crate::orders::venue_check::Checked;

fn config(seed: u64) -> GeneratorConfig {
    GeneratorConfig {
        seed,
        rate_per_s: NonZeroU64::new(100_000).unwrap(),
        clients: 7,
        instruments: 3,
        orders_target: 200,
    }
}

/// The first commands of a flow, one after the other, each behind its plan.
fn first_bytes(seed: u64, count: usize) -> Vec<u8> {
    let mut flow = Generator::new(config(seed));
    let (mut bytes, mut command) = (Vec::new(), Vec::new());
    for _ in 0..count {
        let planned = flow.plan_next(&mut command).unwrap();
        bytes.extend(planned.offset_ns.to_le_bytes());
        let Sender::Client(client) = planned.sender else {
            panic!("no admin here")
        };
        bytes.extend(client.to_le_bytes());
        bytes.extend(&command);
    }
    bytes
}

#[test]
fn one_seed_gives_one_flow_and_another_gives_another() {
    assert_eq!(first_bytes(1, 5000), first_bytes(1, 5000));
    assert_ne!(first_bytes(1, 50), first_bytes(2, 50));
}

#[test]
fn a_seed_gives_the_same_flow_in_every_version() {
    // A change here makes earlier measurements incomparable: say so in the change log.
    let hash = blake3::hash(&first_bytes(1, 5000));
    assert_eq!(hash.to_hex().as_str(), GOLDEN);
}

const GOLDEN: &str = "95a6bf8271cf911198ac525912badebd082b46b5343652d4bfa0261e3ab6dd80";

#[test]
fn the_mean_rate_is_the_target_and_arrivals_come_in_bursts() {
    let mut flow = Generator::new(config(3));
    let mut command = Vec::new();
    let (mut last_ns, mut sum, mut square_sum) = (0, 0_u128, 0_u128);
    let count = 200_000_u128;
    for _ in 0..count {
        let offset_ns = flow.plan_next(&mut command).unwrap().offset_ns;
        let gap = u128::from(offset_ns - last_ns);
        last_ns = offset_ns;
        sum += gap;
        square_sum += gap * gap;
    }
    let mean_ns = sum / count;
    assert!(
        (9_800..=10_200).contains(&mean_ns),
        "{mean_ns} instead of 10,000 ns"
    );
    // A Poisson flow has a mean square of twice the squared mean.
    assert!(square_sum / count > 3 * mean_ns * mean_ns);
}

#[test]
fn nine_of_ten_orders_are_cancelled_and_the_book_settles() {
    let mut flow = Generator::new(config(4));
    let mut command = Vec::new();
    for _ in 0..200_000 {
        flow.plan_next(&mut command).unwrap();
    }
    let Counters {
        limits,
        cancels,
        iocs,
        reduces,
        ..
    } = *flow.counters();
    let per_mille = cancels * 1000 / limits;
    assert!((870..=930).contains(&per_mille), "{per_mille}");
    assert!(iocs * 1000 / limits > 70 && reduces > 500);
    for shadow in &flow.shadows {
        assert!(
            (100..=300).contains(&shadow.orders.len()),
            "{}",
            shadow.orders.len()
        );
    }
    assert_eq!(flow.counters().commands(), 200_000);
}

#[test]
fn the_venue_refuses_nothing_and_holds_what_the_flow_thinks() {
    let mut flow = Generator::new(config(5));
    let mut checked = Checked::new(3);
    let mut command = Vec::new();
    for _ in 0..20_000 {
        let planned = flow.plan_next(&mut command).unwrap();
        checked.apply(&planned, &command);
    }
    assert_eq!(checked.refusals, []);
    let shadows: usize = flow.shadows.iter().map(|shadow| shadow.orders.len()).sum();
    assert_eq!(checked.venue.order_count(), shadows);
}

#[test]
fn bounds_are_kept_whatever_is_asked_for() {
    let rate_per_s = NonZeroU64::MAX;
    let mut flow = Generator::new(GeneratorConfig {
        seed: 0,
        rate_per_s,
        clients: 0,
        instruments: u32::MAX,
        orders_target: 0,
    });
    let mut command = Vec::new();
    for _ in 0..1000 {
        let planned = flow.plan_next(&mut command).unwrap();
        assert_eq!(planned.sender, Sender::Client(0));
    }
    assert_eq!(flow.shadows.len(), INSTRUMENTS_MAX);
}
