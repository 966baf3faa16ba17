//! Seeds in which validators join by snapshots of their peers.

use quorate_sim::{ActorName, Byzantine, Scenario, Summary, SweepOptions, sweep};

fn swept(byzantine: Byzantine, validators: u16, seeds: &[u64]) -> Vec<Summary> {
    let one = |&seed: &u64| {
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
    };
    seeds.iter().map(one).collect()
}

fn assert_reached(summaries: &[Summary], names: &[&str]) {
    for name in names {
        let is_reached = |summary: &Summary| !summary.unreached.contains(name);
        assert!(summaries.iter().any(is_reached), "{name}");
    }
}

#[test]
fn whoever_lacks_what_its_peers_have_pruned_joins_by_their_snapshot_and_votes() {
    let summaries = swept(Byzantine::default(), 4, &[2, 7]);
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
    assert_reached(&summaries, &names);
}

#[test]
fn a_join_that_crashes_break_off_goes_on_with_what_it_has() {
    let summaries = swept(Byzantine::default(), 4, &[24]);
    let names = [
        "join_broken",
        "join_resumed",
        "join_joined",
        "join_votes_again",
    ];
    assert_reached(&summaries, &names);
}

#[test]
fn a_source_that_lies_about_a_snapshot_is_refused_and_the_others_serve_it() {
    let byzantine = Byzantine {
        actors: [Some(ActorName::FalseSource), None],
        ..Byzantine::default()
    };
    let summaries = swept(byzantine, 5, &[3]);
    let names = ["join_lie_refused", "join_joined", "join_votes_again"];
    assert_reached(&summaries, &names);
}
