//! Seeds in which all power goes at once, soon after a height was called durable.

use quorate_sim::{ActorName, Byzantine, Scenario, Summary, SweepOptions, sweep};

fn swept(actor: Option<ActorName>, validators: u16, seeds: std::ops::Range<u64>) -> Summary {
    let options = SweepOptions {
        seeds,
        validators,
        scenario: Scenario::BlackoutAsync,
        byzantine: Byzantine {
            actors: [actor, None],
            ..Byzantine::default()
        },
        threads: 2,
    };
    sweep(&options, &|_| ())
}

#[test]
fn what_is_durable_outlives_the_site() {
    let summary = swept(None, 4, 0..60);
    assert_eq!(summary.failures, []);
    assert_eq!(summary.unreached, [""; 0]);
    for validators in [5, 7] {
        assert_eq!(swept(None, validators, 0..12).failures, []);
    }
}

#[test]
fn what_is_durable_outlives_the_site_beside_a_disk_that_never_is_behind() {
    let summary = swept(Some(ActorName::Overstater), 4, 0..40);
    assert_eq!(summary.failures, []);
    for name in ["site_durable_not_on_every_disk", "site_durable_by_a_lie"] {
        assert!(!summary.unreached.contains(&name), "{name}");
    }
    for validators in [5, 7] {
        let summary = swept(Some(ActorName::Overstater), validators, 0..10);
        assert_eq!(summary.failures, []);
    }
}
