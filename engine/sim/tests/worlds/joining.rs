//! Seeds in which validators join by snapshots of their peers.

use quorate_sim::{ActorName, Byzantine, Scenario, Summary, SweepOptions, sweep};

/// Seeds that are gone through before a name counts as never reached.
const SEEDS_MAX: u64 = 32;

/// Sweeps seeds one by one until all of `names` were reached: first those `likely`, which reached
/// them when they were chosen, then all from 0. What a seed does changes with every turn that a
/// validator takes otherwise; that something happens within so many of them does not.
fn assert_reached(byzantine: Byzantine, validators: u16, likely: &[u64], names: &[&'static str]) {
    let mut wanted = names.to_vec();
    for seed in likely.iter().copied().chain(0..SEEDS_MAX) {
        let summary = swept(byzantine, validators, seed);
        wanted.retain(|name| summary.unreached.contains(name));
        if wanted.is_empty() {
            return;
        }
    }
    panic!("{byzantine}: {wanted:?} in none of the seeds below {SEEDS_MAX}");
}

fn swept(byzantine: Byzantine, validators: u16, seed: u64) -> Summary {
    let options = SweepOptions {
        seeds: seed..seed + 1,
        validators,
        scenario: Scenario::Join,
        byzantine,
        threads: 1,
    };
    let summary = sweep(&options, &|_| ());
    assert_eq!(summary.failures, [], "{byzantine} {seed}");
    summary
}

#[test]
fn whoever_lacks_what_its_peers_have_pruned_joins_by_their_snapshot_and_votes() {
    let names = [
        "join_snapshot_taken",
        "join_pruned_below_somebody",
        "join_begun",
        "join_chunk_served",
        "join_source_changed",
        "join_fetched",
        "join_joined",
        "join_votes_again",
    ];
    assert_reached(Byzantine::default(), 4, &[33, 26, 25, 24], &names);
}

#[test]
fn a_join_that_crashes_break_off_goes_on_with_what_it_has() {
    let names = [
        "join_broken",
        "join_resumed",
        "join_joined",
        "join_votes_again",
    ];
    assert_reached(Byzantine::default(), 4, &[7, 29], &names);
}

#[test]
fn a_source_that_lies_about_a_snapshot_is_refused_and_the_others_serve_it() {
    let byzantine = Byzantine {
        actors: [Some(ActorName::FalseSource), None],
        ..Byzantine::default()
    };
    let names = ["join_lie_refused", "join_joined", "join_votes_again"];
    assert_reached(byzantine, 5, &[3], &names);
}
