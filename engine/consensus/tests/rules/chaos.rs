//! Random loss, delay, duplication, reordering, partitions, crashes and restarts, from a seed.
//! The full simulator is a crate of its own; this keeps the bare rules honest while one edits them.

use crate::fixtures::onward;
use crate::support::{World, set_of, v};
use quorate_consensus::machine::{Durability, TimerConfig};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use std::cell::RefCell;
use std::rc::Rc;

fn below(rng: &mut ChaCha8Rng, bound: u64) -> u64 {
    rng.next_u64() % bound
}

/// A world whose shape and losses the seed decides, and the links that are cut, one a pair.
fn world_of(
    rng: &mut ChaCha8Rng,
    seed: u64,
    (weights, fault, slack): Stakes<'_>,
    is_onward: bool,
) -> (World, Rc<RefCell<Vec<bool>>>) {
    let slots = [1, 2, 3, 8, 64][below(rng, 5) as usize];
    let turn = 1 + below(rng, 4) as u32;
    let timers = TimerConfig {
        final_holdoff_ns: 0,
        ..TimerConfig::laptop()
    };
    let durability = if seed.is_multiple_of(2) {
        Durability::Async
    } else {
        Durability::Sync
    };
    let mut set = set_of(weights, fault, slack, slots, turn);
    if is_onward {
        set = onward(&set);
    }
    let mut world = World::with(set, timers, durability);
    let loss = below(rng, 30);
    let mut chance = ChaCha8Rng::seed_from_u64(seed ^ 0xabcd);
    let cut = Rc::new(RefCell::new(vec![false; weights.len() * weights.len()]));
    let (filter_cut, count) = (Rc::clone(&cut), weights.len());
    world.filter = Box::new(move |from, to, _| {
        let lost = below(&mut chance, 100) < loss;
        !lost && !filter_cut.borrow()[from.place() * count + to.place()]
    });
    (world, cut)
}

/// Stakes, F and P.
type Stakes<'a> = (&'a [u64], u64, u64);

/// Runs one seed: faults for a while, then healing; every validator must go on.
fn run_seed(seed: u64, stakes: Stakes<'_>, is_onward: bool) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let count = stakes.0.len();
    let (mut world, cut) = world_of(&mut rng, seed, stakes, is_onward);
    for _ in 0..12 {
        for link in cut.borrow_mut().iter_mut() {
            *link = below(&mut rng, 6) == 0;
        }
        let victim = v(below(&mut rng, count as u64) as u16);
        match below(&mut rng, 3) {
            0 if world.is_up(victim) => world.crash(victim),
            1 if !world.is_up(victim) => world.start(victim),
            _ => {}
        }
        world.run(1 + below(&mut rng, 120));
        world.check();
    }
    world.filter = Box::new(|_, _, _| true);
    for index in world.set.indices() {
        if !world.is_up(index) {
            world.start(index);
        }
    }
    let heights: Vec<u64> = (0..count).map(|index| world.height(index as u16)).collect();
    let target = heights.iter().max().map_or(0, |height| height + 30);
    let done = world.run_until(60_000, |world| {
        (0..count).all(|index| world.height(index as u16) >= target)
    });
    world.check();
    assert!(
        done,
        "seed {seed}: stuck: heights {heights:?}\n{}",
        report(&world)
    );
}

/// Where every validator stands, for a run that is stuck.
fn report(world: &World) -> String {
    let lines = world.set.indices().map(|index| {
        let consensus = world.consensus(index.number());
        format!(
            "{index:?} {} fin {:?} proven {:?} window {:?} delivered {:?} voting {} {:?}\n",
            world.height(index.number()),
            consensus.finalized(),
            consensus.proven(),
            consensus.window(),
            consensus.delivered(),
            consensus.is_voting(),
            consensus.counters()
        )
    });
    lines.collect()
}

/// The seeds of this run: `QUORATE_SEEDS=from..to`, or a `few`.
#[expect(
    clippy::disallowed_methods,
    reason = "a longer run is asked for from outside"
)]
fn seeds(few: u64) -> std::ops::Range<u64> {
    match std::env::var("QUORATE_SEEDS") {
        Ok(range) => {
            let (from, to) = range.split_once("..").expect("from..to");
            from.parse().expect("a number")..to.parse().expect("a number")
        }
        Err(_) => 0..few,
    }
}

#[test]
fn four_equal_validators_stay_safe_and_go_on() {
    for seed in seeds(24) {
        run_seed(seed, (&[1; 4], 1, 0), false);
    }
}

#[test]
fn six_validators_with_slack_stay_safe_and_go_on() {
    for seed in seeds(12) {
        run_seed(seed, (&[1; 6], 1, 1), false);
    }
}

#[test]
fn uneven_stakes_stay_safe_and_go_on() {
    for seed in seeds(12) {
        run_seed(seed, (&[4, 3, 2, 2, 1], 2, 1), false);
    }
}

/// Height is a number like any other: what is asked of genesis is not asked of height 0.
#[test]
fn a_chain_that_goes_on_from_another_one_stays_safe_and_goes_on() {
    for seed in seeds(24) {
        run_seed(seed, (&[1; 4], 1, 0), true);
    }
}
