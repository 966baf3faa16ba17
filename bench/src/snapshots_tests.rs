//! Folders and stamps that are made up: which moments are in which span, and when a pause begins.

use super::*;
use quorate::trace::Stamp;
use std::fs;

const fn span(from_ns: u64, until_ns: u64) -> Span {
    Span { from_ns, until_ns }
}

const fn trip(height: u64, result_ns: u64) -> Trip {
    Trip {
        gateway: 0,
        height,
        intended_ns: 0,
        result_ns,
        finality_ns: 1,
        to_leader: true,
    }
}

#[test]
fn a_snapshot_is_being_taken_from_the_first_result_at_its_height_to_its_last_manifest() {
    let folder = std::env::temp_dir().join(format!("quorate-watch-{}", std::process::id()));
    let of = |validator: usize| folder.join(validator.to_string());
    let mut watch = Watch::new((0..3).map(of).collect());
    watch.look(10);
    assert!(watch.takings().is_empty());
    let file =
        |validator: usize, ending: &str| of(validator).join(format!("snapshot-00064.{ending}"));
    for validator in 0..2 {
        fs::create_dir_all(of(validator)).unwrap();
        fs::write(file(validator, "data.new"), b"bytes").unwrap();
    }
    watch.look(20);
    for validator in 0..2 {
        fs::rename(file(validator, "data.new"), file(validator, "data")).unwrap();
    }
    fs::write(file(0, "manifest"), b"").unwrap();
    fs::write(file(0, "certificate"), b"").unwrap();
    fs::write(of(0).join("attested.certificate"), b"").unwrap();
    watch.look(30);
    watch.look(40);
    let seen = Taking {
        begun_ns: Some(20),
        taken_ns: Some(30),
        bytes: 5,
    };
    assert_eq!(watch.takings()[&(64, 0)], seen);
    assert_eq!(watch.takings()[&(64, 1)].taken_ns, None);
    let trips = [trip(63, 1), trip(64, 7), trip(65, 8)];
    assert_eq!(watch.spans(&trips, 5, 100), [span(12, 100)]);
    fs::write(file(1, "manifest"), b"").unwrap();
    watch.look(50);
    assert_eq!(watch.spans(&trips, 5, 100), [span(12, 50)]);
    assert_eq!(watch.lengths_ns(), [10, 30]);
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn spans_that_meet_are_one_and_the_rest_is_between_them() {
    let spans = merged(vec![span(40, 50), span(10, 20), span(15, 30)]);
    assert_eq!(spans, [span(10, 30), span(40, 50)]);
    assert!(is_in(&spans, 29) && !is_in(&spans, 30) && !is_in(&spans, 9));
    assert_eq!(
        between(span(0, 60), &spans),
        [span(0, 10), span(30, 40), span(50, 60)]
    );
    assert_eq!(between(span(12, 45), &spans), [span(30, 40)]);
    assert_eq!(between(span(0, 5), &[]), [span(0, 5)]);
}

fn stamp(moment: Moment, height: u64, at_ns: u64, told_ns: u64) -> Stamp {
    Stamp {
        moment,
        peer: 0,
        window: 0,
        index: 0,
        height,
        told_ns,
        at_ns,
    }
}

#[test]
fn a_pause_counts_from_when_a_block_could_be_executed() {
    let dump = Dump {
        base_ns: 1_000,
        stamps: vec![
            stamp(Moment::Executed, 6, 1, 1),
            stamp(Moment::Final, 7, 10, 0),
            stamp(Moment::Final, 8, 11, 0),
            stamp(Moment::Executed, 7, 30, 4),
            stamp(Moment::Executed, 8, 35, 5),
            stamp(Moment::Final, 9, 90, 0),
            stamp(Moment::Executed, 9, 92, 2),
        ],
    };
    let found = pauses(&dump);
    // The first one's finality is not known; the second waited for nothing but itself.
    let told: Vec<_> = found
        .iter()
        .map(|one| (one.pause_ns, one.execution_ns))
        .collect();
    assert_eq!(told, [(20, 4), (5, 5), (2, 2)]);
    assert_eq!(found[2].at_ns, 1_092);
}

#[test]
fn blocks_whose_stamps_went_for_newer_ones_are_counted_but_not_those_still_to_be_executed() {
    let dump = Dump {
        base_ns: 0,
        stamps: vec![
            stamp(Moment::Executed, 6, 1, 1),
            stamp(Moment::Final, 7, 10, 0),
            stamp(Moment::Executed, 7, 30, 4),
            stamp(Moment::Final, 8, 31, 0),
        ],
    };
    assert_eq!(unstamped(&dump, 7..=9), 0, "8 and 9 are still to come");
    assert_eq!(unstamped(&dump, 6..=7), 1, "when 6 was final is not known");
    assert_eq!(unstamped(&dump, 3..=9), 4);
    assert_eq!(unstamped(&dump, 8..=9), 0);
    assert_eq!(unstamped(&Dump::default(), 3..=9), 7);
}
