//! A few seeds of every Byzantine actor, of some pairs, and of twins; and what fires when there are
//! too many of them.

use std::collections::BTreeMap;
use std::sync::{LazyLock, OnceLock};

use quorate_sim::{
    ActorName, Byzantine, ByzantineCounts, Occasion, RunOptions, Scenario, Summary, SweepOptions,
    run, sweep,
};

/// Seeds in which a joiner asked the one that lies for chunks when they were chosen; few are.
const FALSE_SOURCE: [u64; 8] = [70, 16, 52, 71, 42, 62, 59, 36];

fn with(actors: &[ActorName]) -> Byzantine {
    Byzantine {
        actors: [actors.first().copied(), actors.get(1).copied()],
        ..Byzantine::default()
    }
}

fn swept(
    byzantine: Byzantine,
    validators: u16,
    scenario: Scenario,
    seeds: std::ops::Range<u64>,
) -> Summary {
    let options = SweepOptions {
        seeds,
        validators,
        scenario,
        byzantine,
        threads: 2,
    };
    sweep(&options, &|_| ())
}

fn assert_good(byzantine: Byzantine, validators: u16, scenario: Scenario, seeds: u64) -> Summary {
    let summary = swept(byzantine, validators, scenario, 0..seeds);
    assert_eq!(summary.failures, [], "{byzantine} with {validators}");
    assert_eq!(summary.byzantine.runs, seeds, "{byzantine}: somebody plays");
    summary
}

/// Seeds of `mixed` that every actor is survived alone in.
const ALONE: u64 = 2;

/// What came of an actor alone in those: two tests ask, and the runs are the same.
fn alone(actor: ActorName) -> &'static Summary {
    static ALL: LazyLock<BTreeMap<ActorName, OnceLock<Summary>>> = LazyLock::new(|| {
        let empty = |actor| (actor, OnceLock::new());
        ActorName::all().map(empty).collect()
    });
    let run = || assert_good(with(&[actor]), 4, Scenario::Mixed, ALONE);
    ALL[&actor].get_or_init(run)
}

#[test]
fn every_actor_is_survived_alone() {
    for actor in ActorName::all() {
        let summary = alone(actor);
        let played = summary.byzantine.of(actor.name()).played;
        assert!(played >= ALONE, "{actor}");
    }
}

/// An actor that has become inert is survived easily. In some seeds it leads no window, and in
/// those of the join worlds few joiners ask the one that lies.
#[test]
fn every_actor_does_all_that_it_is_for() {
    let mut lacking = Vec::new();
    for actor in ActorName::all() {
        let mut found = ByzantineCounts::default();
        if actor.world() == Scenario::Mixed {
            found.add(&alone(actor).byzantine);
        }
        let mut seeds = seeds_for(actor);
        while !found.lacking(actor.name()).is_empty()
            && let Some(seed) = seeds.next()
        {
            let summary = swept(with(&[actor]), 4, actor.world(), seed..seed + 1);
            assert_eq!(summary.failures, [], "{actor}");
            found.add(&summary.byzantine);
        }
        lacking.extend(found.lacking(actor.name()));
    }
    assert_eq!(lacking, [""; 0]);
}

/// Seeds in which an actor may do what it has not done yet.
fn seeds_for(actor: ActorName) -> Box<dyn Iterator<Item = u64>> {
    match (actor, actor.world()) {
        (ActorName::FalseSource, _) => Box::new(FALSE_SOURCE.into_iter().chain(0..96)),
        (_, Scenario::Mixed) => Box::new(ALONE..24),
        _ => Box::new(0..24),
    }
}

#[test]
fn pairs_are_survived_with_everything_else_going_wrong() {
    for (validators, seeds) in [(4, 8), (6, 8), (7, 8)] {
        assert_good(Byzantine::default(), validators, Scenario::Byzantine, seeds);
    }
    let pair = [ActorName::Equivocator, ActorName::Conflicter];
    assert_good(with(&pair), 7, Scenario::Calm, 4);
}

/// Of four with equal stakes no honest one may lose its disk beside it, so that nobody asks.
#[test]
fn a_false_witness_lies_to_whoever_lost_its_disk_beside_it() {
    let name = ActorName::FenceLiar.name();
    let mut found = ByzantineCounts::default();
    let mut seeds = 0..24;
    while !found.lacking_at(name, Occasion::Loss).is_empty()
        && let Some(seed) = seeds.next()
    {
        let liar = with(&[ActorName::FenceLiar]);
        let summary = swept(liar, 7, Scenario::Mixed, seed..seed + 1);
        assert_eq!(summary.failures, []);
        found.add(&summary.byzantine);
    }
    assert_eq!(found.lacking_at(name, Occasion::Loss), [""; 0]);
    assert!(found.of(name).occasions[&Occasion::Loss] > 0);
}

/// Votes for either branch of a fork need somebody who forks, and another validator that votes.
#[test]
fn whoever_votes_beside_an_equivocator_stands_for_its_second_branch() {
    for voter in [ActorName::Conflicter, ActorName::RuleXBreaker] {
        let pair = with(&[ActorName::Equivocator, voter]);
        let mut found = ByzantineCounts::default();
        let mut seeds = 0..24;
        let lacking = |found: &ByzantineCounts| found.lacking_at(voter.name(), Occasion::Fork);
        assert_ne!(lacking(&found), [""; 0]);
        while !lacking(&found).is_empty()
            && let Some(seed) = seeds.next()
        {
            let summary = swept(pair, 7, Scenario::Mixed, seed..seed + 1);
            assert_eq!(summary.failures, []);
            found.add(&summary.byzantine);
        }
        assert_eq!(lacking(&found), [""; 0]);
    }
}

#[test]
fn twins_are_survived_by_every_usual_number_of_validators() {
    let twins = Byzantine {
        has_twins: true,
        ..Byzantine::default()
    };
    for validators in [4, 5, 6, 7, 10] {
        let summary = assert_good(twins, validators, Scenario::Calm, 3);
        assert!(summary.byzantine.twin_phases > 0);
        assert_good(twins, validators, Scenario::Mixed, 2);
    }
    let among_others = Byzantine {
        has_twins: true,
        ..with(&[ActorName::Nuller])
    };
    assert_good(among_others, 7, Scenario::Mixed, 3);
}

#[test]
fn what_can_be_proven_of_an_actor_is_proven_by_somebody_honest() {
    // Most in the first seeds; the amnesiac signs two that differ in one seed of ten.
    for actor in ActorName::all().filter(|actor| actor.is_provable()) {
        let is_proven = |from: u64| {
            let summary = swept(with(&[actor]), 4, Scenario::Calm, from..from + 12);
            summary.byzantine.of(actor.name()).evidence() > 0
        };
        assert!((0..120).step_by(12).any(is_proven), "{actor}");
    }
    let twins = Byzantine {
        has_twins: true,
        ..Byzantine::default()
    };
    let summary = swept(twins, 7, Scenario::Calm, 0..12);
    assert!(summary.byzantine.of("twins").evidence() > 0);
}

/// What all of this is worth: with twice the weight that is promised to be survived, two halves
/// finalize two chains, and the checkers say so.
#[test]
fn more_of_them_than_is_promised_is_found() {
    let byzantine = Byzantine {
        is_beyond: true,
        ..with(&[ActorName::Equivocator, ActorName::Conflicter])
    };
    let summary = swept(byzantine, 4, Scenario::Calm, 0..20);
    let forks = summary
        .failures
        .iter()
        .filter(|failure| failure.what.iter().any(|what| what.starts_with("chain")));
    assert!(forks.count() > 0, "{} violations", summary.violations);
}

#[test]
fn the_same_seed_does_the_same_twice() {
    for byzantine in [
        with(&[ActorName::Flooder, ActorName::Amnesiac]),
        Byzantine {
            has_twins: true,
            ..Byzantine::default()
        },
    ] {
        let options = RunOptions {
            seed: 5,
            byzantine,
            ..RunOptions::default()
        };
        assert_eq!(run(&options, false), run(&options, false), "{byzantine}");
    }
}

#[test]
fn seeds_that_once_found_a_fault_stay_good() {
    let twins = Byzantine {
        has_twins: true,
        ..Byzantine::default()
    };
    // A block below a parent that was in no own PR was never asked for.
    for (validators, seed) in [(5, 26), (4, 32)] {
        let summary = swept(twins, validators, Scenario::Mixed, seed..seed + 1);
        assert_eq!(summary.failures, []);
    }
    // A proof made of signed votes of a window not yet entered left its maker behind.
    let amnesiac = with(&[ActorName::Amnesiac]);
    let summary = swept(amnesiac, 4, Scenario::Mixed, 160..161);
    assert_eq!(summary.failures, []);
    // Whoever had started again was given no time in later turns too, until it had spoken again.
    let nullify_only = with(&[ActorName::NullifyOnly]);
    let summary = swept(nullify_only, 4, Scenario::Mixed, 47..48);
    assert_eq!(summary.failures, []);
    // A block final at one validator alone, by what a liar said to it and did not sign.
    let breaker = with(&[ActorName::RuleXBreaker]);
    let summary = swept(breaker, 4, Scenario::Mixed, 5_044..5_045);
    assert_eq!(summary.failures, []);
    // Whoever came into a window by a proof of a block in it had no parent for the window's first
    // block, and voted for none.
    let summary = swept(amnesiac, 4, Scenario::Mixed, 20_394..20_395);
    assert_eq!(summary.failures, []);
    // Commands of a session that had ended were too far ahead for who had forgotten its key: its
    // client sent them again for ever.
    let summary = swept(amnesiac, 4, Scenario::Mixed, 150_050..150_051);
    assert_eq!(summary.failures, []);
    // A validator whom the last fault kept away after healing, beside a Byzantine one, by a stop
    // that had begun and by a loss of power: no progress was promised until it was back.
    let disrupter = with(&[ActorName::DisrupterSmall]);
    for (byzantine, seed) in [(disrupter, 20_160), (nullify_only, 20_025)] {
        let summary = swept(byzantine, 4, Scenario::Mixed, seed..seed + 1);
        assert_eq!(summary.failures, []);
    }
    // Two validators took turns at giving up first, so that the back-off of neither ever grew to
    // what a third one with a slow disk takes.
    let summary = swept(nullify_only, 4, Scenario::Mixed, 41_214..41_215);
    assert_eq!(summary.failures, []);
    // Windows that end full beside a Byzantine validator, while the words of an honest one that
    // were held back are on their way still: none of them was given up.
    let summary = swept(nullify_only, 4, Scenario::Mixed, 50_052..50_053);
    assert_eq!(summary.failures, []);
    // A forged command of a block that was given up stood in the pools of honest validators, which
    // then refused the client its own command of that number.
    let forger = with(&[ActorName::Forger]);
    for (scenario, seed) in [(Scenario::Calm, 14), (Scenario::Mixed, 52)] {
        let summary = swept(forger, 4, scenario, seed..seed + 1);
        assert_eq!(summary.failures, []);
    }
    // An earlier fallback, on a branch whose headers the log did not have, passed for a later one.
    let syncer = with(&[ActorName::LyingSyncer]);
    let summary = swept(syncer, 4, Scenario::Mixed, 4..5);
    assert_eq!(summary.failures, []);
}
