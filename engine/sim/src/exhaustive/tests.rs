//! What the exhaustive check must find and how large its small worlds are.
//!
//! Owns the reduced sizes that run with every test. Never: the large worlds, which are the
//! command's.

use std::collections::BTreeSet;

use quorate_consensus::machine::Disposition;
use quorate_consensus::types::Window;

use super::facts::{CERTIFIED_BESIDE_FINAL, Fault, SKIP_OVER_FINAL, TWO_FINALS};
use super::judge::{ALWAYS, Heard, Judge};
use super::profiles::profiles;
use super::runs::{ExhaustiveMethod, explore, explore_lighter, two_blocks};
use super::said::Said;
use super::search::search;
use super::tree::{BlockMask, Tree};
use super::verdict::Verdict;
use super::world::{Size, World};

/// Asserts that a world is good, and has the number of states that it has.
fn assert_good(size: &Size, windows: usize, method: ExhaustiveMethod, states: u64) {
    let run = explore(size, windows, method).unwrap();
    assert!(run.is_good(), "{run}");
    assert_eq!(run.states, states, "{run}");
}

#[test]
fn every_interleaving_of_four_validators_in_one_slot_is_good() {
    let size = Size::new(&[1; 4], 1, 0, 1);
    assert_good(&size, 1, ExhaustiveMethod::States, 8_316);
}

#[test]
fn every_interleaving_of_six_validators_over_two_blocks_is_good() {
    let size = two_blocks(&[1; 6], 1, 1);
    assert_good(&size, 1, ExhaustiveMethod::States, 841_952);
}

#[test]
fn every_interleaving_of_uneven_stakes_over_two_blocks_is_good() {
    let size = two_blocks(&[3, 3, 2, 1, 1], 3, 0);
    assert_good(&size, 1, ExhaustiveMethod::States, 48_681);
}

#[test]
fn every_profile_of_two_and_three_slots_is_good() {
    let two = Size::new(&[1; 4], 1, 0, 2);
    assert_good(&two, 1, ExhaustiveMethod::Profiles, 1_205);
    let three = Size::new(&[1; 4], 1, 0, 3);
    assert_good(&three, 1, ExhaustiveMethod::Profiles, 6_533);
}

#[test]
fn lighter_byzantine_sets_are_those_beside_which_more_may_crash() {
    let size = two_blocks(&[5, 3, 2, 2, 1], 3, 1);
    // F + C = 4: nobody and the two of 2; one of 2 and the other; the one of 1 and that of 3.
    assert_eq!(size.lighter_sets(), [vec![], vec![2], vec![4]]);
    let even = Size::new(&[1; 7], 1, 1, 1);
    assert!(even.lighter_sets().is_empty());
    let crashes = |byzantine: &[usize]| {
        let world = World::new(&size, byzantine, 1).unwrap();
        let stakes = |crashed: &Vec<usize>| -> Vec<u64> {
            crashed.iter().map(|&at| world.honest[at].1).collect()
        };
        world.crashes.iter().map(stakes).collect::<Vec<_>>()
    };
    assert_eq!(crashes(&[4]), [vec![], vec![3], vec![2]]);
    assert_eq!(crashes(&[2]), [vec![], vec![2], vec![1]]);
    assert_eq!(crashes(&[1]), [vec![], vec![1]], "C is left");
}

#[test]
fn every_profile_beside_lighter_byzantine_sets_is_good_and_more_crashes_are_too_many() {
    let size = two_blocks(&[5, 3, 2, 2, 1], 3, 1);
    let run = explore_lighter(&size, ExhaustiveMethod::Profiles).unwrap();
    assert!(run.is_good(), "{run}");
    assert!(run.states > 0, "{run}");
    // Beside the one of 1 both of 2 are down: F + C + 1 together.
    let mut world = World::new(&size, &[4], 1).unwrap();
    world.crashes = vec![vec![2, 3]];
    assert!(profiles(&world).stuck > 0);
}

#[test]
fn every_profile_across_two_windows_is_good() {
    let size = two_blocks(&[1; 4], 1, 0);
    assert_good(&size, 2, ExhaustiveMethod::Profiles, 6_528);
}

/// What of a verdict both ways of exploring can see.
fn seen(verdict: &Verdict) -> (BTreeSet<Fault>, bool) {
    let both = [TWO_FINALS, SKIP_OVER_FINAL, CERTIFIED_BESIDE_FINAL];
    let kinds = verdict.violations.keys().copied();
    let kinds = kinds.filter(|kind| both.contains(kind)).collect();
    (kinds, verdict.stuck > 0)
}

fn both_ways(world: &mut World) -> (BTreeSet<Fault>, bool) {
    world.faults_max = u64::MAX;
    let searched = search(world);
    let profiled = profiles(world);
    for verdict in [&searched, &profiled] {
        for kind in ALWAYS {
            assert!(!verdict.violations.contains_key(kind), "{verdict:?}");
        }
    }
    assert_eq!(seen(&searched), seen(&profiled), "{world:?}");
    seen(&searched)
}

#[test]
fn profiles_give_the_verdict_of_the_plain_search_within_the_bounds_and_beyond() {
    let good = (BTreeSet::new(), false);
    let sizes = [
        Size::new(&[1; 4], 1, 0, 1),
        two_blocks(&[1; 6], 1, 1),
        two_blocks(&[2, 1, 1, 1, 1], 1, 1),
    ];
    for size in &sizes {
        let last = size.stakes.len() - 1;
        let mut world = World::new(size, &[last], 1).unwrap();
        assert_eq!(both_ways(&mut world), good, "{size:?}");
        // One crashed validator more than C.
        world.crashes = vec![vec![0]];
        assert_eq!(both_ways(&mut world), (BTreeSet::new(), true), "{size:?}");
        // One Byzantine validator more than F.
        let mut world = World::new(size, &[last - 1, last], 1).unwrap();
        let (kinds, _) = both_ways(&mut world);
        assert!(kinds.contains(SKIP_OVER_FINAL), "{size:?}: {kinds:?}");
        assert!(
            kinds.contains(CERTIFIED_BESIDE_FINAL),
            "{size:?}: {kinds:?}"
        );
    }
    let mut two_slots = World::new(&Size::new(&[1; 4], 1, 0, 2), &[2, 3], 1).unwrap();
    let (kinds, _) = both_ways(&mut two_slots);
    assert_eq!(kinds.len(), 3, "{kinds:?}");
}

/// Every record over a tree with at most `named` blocks in `also`, whatever it says.
fn all_records(tree: &Tree, named: u32) -> Vec<Said> {
    let tips = || std::iter::once(None).chain(tree.numbers().map(Some));
    let slots = || std::iter::once(None).chain((0..tree.slots).map(Some));
    let masks = || {
        let all: BlockMask = 1 << tree.blocks.len();
        (0..all).filter(|mask| mask.count_ones() <= named)
    };
    let mut all = Vec::new();
    for tip in tips() {
        for fin in slots() {
            for skip_fallback in slots() {
                for also in masks() {
                    for stop in [false, true] {
                        all.push(Said {
                            tip,
                            stop,
                            fin,
                            skip_fallback,
                            also,
                        });
                    }
                }
            }
        }
    }
    all
}

/// Shows one validator's records to another, one after the other, and compares what becomes of
/// the second with the order of records as this check defines it.
fn check_order(size: &Size, named: u32) {
    let world = World::new(size, &[], 1).unwrap();
    let tree = &world.trees[0];
    let mut judge = Judge::new(&world);
    let all = all_records(tree, named);
    let empty = Said::default();
    let from = world.honest[1].0;
    for earlier in all.iter().filter(|said| said.is_consistent(tree)) {
        for later in &all {
            let probe = &mut judge.probes[0];
            probe.forget();
            for block in &tree.blocks {
                assert!(probe.learn(&block.header, block.id));
            }
            let counted = probe.hear(from, Window::ZERO, &earlier.record(tree));
            let is_counted = counted == Disposition::Applied;
            assert_eq!(
                is_counted,
                earlier.tip.is_some() || earlier.stop,
                "{earlier:?}"
            );
            let base = if is_counted { earlier } else { &empty };
            let became = probe.hear(from, Window::ZERO, &later.record(tree));
            let extends = later.is_consistent(tree) && base.may_become(later, tree);
            let is_empty = later.tip.is_none() && !later.stop;
            let is_news = extends && later != base && !is_empty;
            let what = format!("{base:?} then {later:?}: {became:?}");
            assert_eq!(became == Disposition::Applied, is_news, "{what}");
            // What is in order is never taken for a fault, in whatever order it comes.
            let is_ordered = extends || (later.is_consistent(tree) && later.may_become(base, tree));
            let is_blamed = matches!(became, Disposition::Fault(_));
            assert!(!(is_ordered && is_blamed), "{what}");
            let record = judge.number(0, if is_news { later } else { base });
            judge.recount(
                0,
                &[Heard {
                    from,
                    window: 0,
                    record,
                }],
            );
        }
    }
    assert!(judge.verdict.violations.is_empty(), "{:?}", judge.verdict);
}

#[test]
fn of_two_records_the_second_counts_exactly_if_it_extends_the_first() {
    check_order(&Size::new(&[1; 4], 1, 0, 1), 3);
}

#[test]
fn of_two_records_over_two_slots_the_second_counts_exactly_if_it_extends_the_first() {
    check_order(&Size::new(&[1; 4], 1, 0, 2), 1);
}
