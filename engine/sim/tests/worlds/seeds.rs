//! A few dozen seeds of every kind, the same seed twice, and the report.

use quorate_sim::{RunOptions, Scenario, SweepOptions, run, sweep};

fn assert_good(validators: u16, scenario: Scenario, seeds: std::ops::Range<u64>) {
    let options = SweepOptions {
        seeds,
        validators,
        scenario,
        threads: 2,
        ..SweepOptions::default()
    };
    let summary = sweep(&options, &|_| ());
    assert_eq!(
        summary.failures,
        [],
        "{scenario} with {validators} validators"
    );
    assert!(summary.finalized > 0 && summary.commands > 0);
}

#[test]
fn mixed_faults_are_survived_by_every_usual_number_of_validators() {
    for validators in [4, 5, 6, 7, 10] {
        assert_good(validators, Scenario::Mixed, 0..8);
    }
}

#[test]
fn lost_disks_are_survived_by_every_usual_number_of_validators() {
    for validators in [4, 5, 6, 7, 10] {
        assert_good(validators, Scenario::LostDisk, 0..12);
    }
}

#[test]
fn every_scenario_is_survived() {
    for scenario in Scenario::all() {
        assert_good(4, scenario, 0..6);
    }
}

#[test]
fn the_same_seed_does_the_same_twice_and_another_does_not() {
    for scenario in Scenario::all() {
        let options = |seed| RunOptions {
            seed,
            validators: 4,
            scenario,
            ..RunOptions::default()
        };
        // 49 is one of those with real signatures.
        for seed in [3, 49] {
            let first = run(&options(seed), false);
            assert_eq!(first, run(&options(seed), false), "{scenario} {seed}");
            assert_ne!(first.trace, run(&options(seed + 1), false).trace);
        }
    }
}

#[test]
fn seeds_that_once_found_a_fault_stay_good() {
    // A fallback that waited for the bodies of final blocks; a block whose parent's body nobody
    // asked for; parents known by certificates alone.
    for (validators, seed) in [(4, 24), (5, 65), (5, 1_064), (4, 5_145)] {
        assert_good(validators, Scenario::Mixed, seed..seed + 1);
    }
}
