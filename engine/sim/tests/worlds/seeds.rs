//! A few dozen seeds of every kind, the same seed twice, and the report.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use quorate_sim::{Outcome, RunOptions, Scenario, SweepOptions, run, sweep};

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

/// Seeds whose first runs two tests judge.
const SHARED: std::ops::Range<u64> = 3..5;

fn run_once(scenario: Scenario, seed: u64) -> Outcome {
    let options = RunOptions {
        seed,
        validators: 4,
        scenario,
        ..RunOptions::default()
    };
    run(&options, false)
}

/// Outcomes by the name of the scenario and the seed.
type Firsts = BTreeMap<(&'static str, u64), Arc<OnceLock<Outcome>>>;

/// What came of a shared seed when it was run first, by whichever test came first.
fn first_run(scenario: Scenario, seed: u64) -> Arc<OnceLock<Outcome>> {
    static ALL: Mutex<Firsts> = Mutex::new(BTreeMap::new());
    let mut all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
    let first = Arc::clone(all.entry((scenario.name(), seed)).or_default());
    drop(all);
    first.get_or_init(|| run_once(scenario, seed));
    first
}

#[test]
fn every_scenario_is_survived() {
    for scenario in Scenario::all() {
        assert_good(4, scenario, 0..SHARED.start);
        for seed in SHARED {
            let first = first_run(scenario, seed);
            let outcome = first.wait();
            assert!(outcome.is_good(), "{scenario} {seed}: {outcome:?}");
            assert!(outcome.finalized > 0 && outcome.commands > 0);
        }
        assert_good(4, scenario, SHARED.end..6);
    }
}

#[test]
fn the_same_seed_does_the_same_twice_and_another_does_not() {
    for scenario in Scenario::all() {
        let [first, other] = [3, 4].map(|seed| first_run(scenario, seed));
        assert_ne!(first.wait().trace, other.wait().trace, "{scenario}");
        // Each time on another thread. 49 is one of those with real signatures.
        let again = || run_once(scenario, 49);
        let (third, real, repeated) = std::thread::scope(|scope| {
            let repeated = scope.spawn(again);
            let third = scope.spawn(|| run_once(scenario, 3));
            (third.join().unwrap(), again(), repeated.join().unwrap())
        });
        assert_eq!(*first.wait(), third, "{scenario}");
        assert_eq!(real, repeated, "{scenario}");
        assert_ne!(real.trace, other.wait().trace, "{scenario}");
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

#[test]
fn what_clients_of_a_validator_that_never_leads_want_becomes_final() {
    // In about half of these runs some never lead, and clients stay with them.
    assert_good(4, Scenario::Calm, 6..40);
    assert_good(7, Scenario::Calm, 0..10);
}
