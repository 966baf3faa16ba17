//! Four validators of stake 1, of which one may lie.

use super::*;
use crate::client_wire::{Place, ResultItem, ResultsFrame, ServerFrame};
use crate::testing::{genesis_of_stakes, sample_genesis};

const BLOCK: (u64, u64) = (7, 70);

fn quorum() -> Quorum {
    let (genesis, _) = sample_genesis(4);
    Quorum::new(Arc::clone(genesis.validator_set()))
}

/// The entry that waits here under number 5, and one that its client sent before it lost its
/// memory.
const OWN: &[u8] = b"entry";
const OLD: &[u8] = b"older entry";

/// What `validator` tells of command 5.
fn tell(
    quorum: &mut Quorum,
    validator: u16,
    block: (u64, u64),
    (outcome, output): (Outcome, &[u8]),
    is_waiting: bool,
) -> Counted {
    tell_of(quorum, validator, block, (outcome, output, OWN), is_waiting)
}

fn tell_of(
    quorum: &mut Quorum,
    validator: u16,
    block: (u64, u64),
    (outcome, output, entry): (Outcome, &[u8], &[u8]),
    is_waiting: bool,
) -> Counted {
    let item = ResultItem {
        mark: Some(Mark::of(entry)),
        // This may differ.
        finality_ns: u64::from(validator),
        ..item(outcome)
    };
    count(quorum, validator, (block, item, &[output]), is_waiting)
}

fn item(outcome: Outcome) -> ResultItem {
    let place = Place {
        height: 7,
        index: 0,
    };
    ResultItem {
        seq: 5,
        outcome,
        applied: (outcome == Outcome::Applied).then_some(place),
        mark: Some(Mark::of(OWN)),
        finality_ns: 0,
    }
}

/// A block's height and time, a command's item, its outputs.
type Result<'a> = ((u64, u64), ResultItem, &'a [&'a [u8]]);

fn count(
    quorum: &mut Quorum,
    validator: u16,
    (block, item, outputs): Result<'_>,
    is_waiting: bool,
) -> Counted {
    let mut frame = ResultsFrame::default();
    frame.begin(None, block.0, block.1);
    frame.push(item, outputs.iter().copied());
    let Ok((_, ServerFrame::Results(mut results))) = ServerFrame::decode(frame.finish()) else {
        panic!("not results");
    };
    let result = results.next().unwrap();
    let own = is_waiting.then(|| Mark::of(OWN));
    quorum.count(ValidatorIndex::new(validator), block, &result, own)
}

fn applied(quorum: &mut Quorum, validator: u16, output: &[u8]) -> Counted {
    tell(quorum, validator, BLOCK, (Outcome::Applied, output), true)
}

#[test]
fn one_validator_is_not_enough_however_often_it_says_it_and_a_liar_is_named() {
    let mut quorum = quorum();
    assert_eq!(applied(&mut quorum, 3, b"lie"), Counted::Waits);
    assert_eq!(applied(&mut quorum, 3, b"lie"), Counted::Waits);
    assert_eq!(applied(&mut quorum, 0, b"true"), Counted::Waits);
    let liar = ValidatorIndex::new(3);
    assert_eq!(
        applied(&mut quorum, 1, b"true"),
        Counted::Agreed(vec![liar])
    );
}

#[test]
fn every_part_of_a_result_must_be_the_same() {
    let applied = |height, index| ResultItem {
        applied: Some(Place { height, index }),
        ..item(Outcome::Applied)
    };
    let own = applied(7, 0);
    let outputs: [&[u8]; 2] = [b"tr", b"ue"];
    let others: [Result<'_>; 7] = [
        ((8, 70), own, &outputs),
        ((7, 71), own, &outputs),
        (BLOCK, applied(6, 0), &outputs),
        (BLOCK, applied(7, 1), &outputs),
        (BLOCK, own, &[b"tr", b"u"]),
        // The same bytes, of which others end where.
        (BLOCK, own, &[b"tru", b"e"]),
        (BLOCK, own, &[b"true"]),
    ];
    let is_believed = |other: &&Result<'_>| {
        let mut quorum = quorum();
        let told = count(&mut quorum, 0, (BLOCK, own, &outputs), true);
        assert_eq!(told, Counted::Waits);
        count(&mut quorum, 1, **other, true) != Counted::Waits
    };
    let believed: Vec<_> = others.iter().filter(is_believed).collect();
    assert!(believed.is_empty(), "{believed:?}");
    let mut quorum = quorum();
    let refused = |outcome| (BLOCK, item(outcome), &[][..]);
    let told = count(&mut quorum, 0, refused(Outcome::Gap), true);
    assert_eq!(told, Counted::Waits);
    let told = count(&mut quorum, 1, refused(Outcome::SessionEnded), true);
    assert_eq!(told, Counted::Waits, "another reason");
}

#[test]
fn it_is_stake_that_tells_a_result_and_not_how_many() {
    // F is 3: the two light ones may lie together.
    let (genesis, _) = genesis_of_stakes(&[3, 1, 1, 3, 3, 3, 3]);
    let mut quorum = Quorum::new(Arc::clone(genesis.validator_set()));
    assert_eq!(applied(&mut quorum, 1, b"lie"), Counted::Waits);
    assert_eq!(applied(&mut quorum, 2, b"lie"), Counted::Waits, "2 of 4");
    assert_eq!(applied(&mut quorum, 0, b"true"), Counted::Waits, "3 of 4");
    let liars = [1, 2].map(ValidatorIndex::new).to_vec();
    assert_eq!(applied(&mut quorum, 3, b"true"), Counted::Agreed(liars));
}

#[test]
fn a_liar_that_comes_late_is_named_and_one_that_agrees_late_is_not() {
    let mut quorum = quorum();
    applied(&mut quorum, 0, b"true");
    assert_eq!(applied(&mut quorum, 1, b"true"), Counted::Agreed(vec![]));
    let late = |quorum: &mut Quorum, validator, output| {
        tell(quorum, validator, BLOCK, (Outcome::Applied, output), false)
    };
    assert_eq!(late(&mut quorum, 2, b"true"), Counted::Waits);
    assert_eq!(late(&mut quorum, 3, b"lie"), Counted::Contradicts);
    let repeat = (Outcome::Duplicate, &b""[..]);
    assert_eq!(tell(&mut quorum, 3, (0, 0), repeat, false), Counted::Waits);
}

#[test]
fn repeats_of_enough_stake_say_that_it_was_applied_and_nothing_more() {
    let mut quorum = quorum();
    let repeat = (Outcome::Duplicate, &b""[..]);
    assert_eq!(tell(&mut quorum, 3, (0, 0), repeat, true), Counted::Waits);
    assert_eq!(tell(&mut quorum, 3, (0, 0), repeat, true), Counted::Waits);
    assert_eq!(
        tell(&mut quorum, 2, (0, 0), repeat, true),
        Counted::Applied(Whose::Own)
    );
}

#[test]
fn commands_may_be_sent_when_f_liars_among_those_connected_could_not_hinder() {
    let quorum = quorum();
    let up = |count: u16| (0..count).map(ValidatorIndex::new);
    assert!(!quorum.can_agree(up(2)));
    assert!(quorum.can_agree(up(3)));
}

#[test]
fn who_told_a_result_has_not_repeated_that_it_was_applied() {
    let mut quorum = quorum();
    let repeat = (Outcome::Duplicate, &b""[..]);
    assert_eq!(applied(&mut quorum, 0, b"true"), Counted::Waits);
    assert_eq!(tell(&mut quorum, 3, (0, 0), repeat, true), Counted::Waits);
    assert_eq!(applied(&mut quorum, 1, b"true"), Counted::Agreed(vec![]));
}

#[test]
fn which_command_was_applied_is_a_part_of_what_must_be_told_alike() {
    let mut quorum = quorum();
    let old = (Outcome::Applied, &b"true"[..], OLD);
    assert_eq!(applied(&mut quorum, 0, b"true"), Counted::Waits);
    assert_eq!(tell_of(&mut quorum, 1, BLOCK, old, true), Counted::Waits);
    let repeat = |entry| (Outcome::Duplicate, &b""[..], entry);
    let mut told = |validator, entry| tell_of(&mut quorum, validator, (0, 0), repeat(entry), true);
    assert_eq!(told(2, OWN), Counted::Waits);
    assert_eq!(told(3, OLD), Counted::Waits);
    assert_eq!(told(1, OLD), Counted::Applied(Whose::Another));
}

#[test]
fn one_that_tells_of_an_earlier_block_in_which_it_did_not_apply_does_not_lie() {
    let refused = (Outcome::BadSignature, &b""[..]);
    let mut early = quorum();
    assert_eq!(tell(&mut early, 2, (6, 60), refused, true), Counted::Waits);
    applied(&mut early, 0, b"true");
    assert_eq!(applied(&mut early, 1, b"true"), Counted::Agreed(vec![]));
    let mut late = quorum();
    applied(&mut late, 0, b"true");
    applied(&mut late, 1, b"true");
    assert_eq!(tell(&mut late, 2, (6, 60), refused, false), Counted::Waits);
}

#[test]
fn who_does_not_know_whose_command_it_was_makes_nobody_sure() {
    let repeat = |mark| ResultItem {
        mark,
        ..item(Outcome::Duplicate)
    };
    let own = Some(Mark::of(OWN));
    for (marks, counted) in [
        ([None, None], Counted::Applied(Whose::Unknown)),
        ([None, own], Counted::Applied(Whose::Unknown)),
        ([own, own], Counted::Applied(Whose::Own)),
        ([None, Some(Mark::of(OLD))], Counted::Waits),
    ] {
        let mut quorum = quorum();
        let first = ((0, 0), repeat(marks[0]), &[][..]);
        assert_eq!(count(&mut quorum, 0, first, true), Counted::Waits);
        let second = ((0, 0), repeat(marks[1]), &[][..]);
        assert_eq!(count(&mut quorum, 1, second, true), counted, "{marks:?}");
    }
}

#[test]
fn so_many_results_are_remembered_after_they_were_told_and_the_newest_of_all() {
    let mut quorum = quorum();
    let told = |seq| ResultItem {
        seq,
        ..item(Outcome::Applied)
    };
    let seq_last = 5_000;
    for seq in 1..=seq_last {
        let result = (BLOCK, told(seq), &[&b"true"[..]][..]);
        let counted = [0, 1].map(|validator| count(&mut quorum, validator, result, true));
        assert_eq!(counted, [Counted::Waits, Counted::Agreed(vec![])]);
        quorum.forget_outside(seq + 1, seq + 1);
    }
    assert_eq!(quorum.agreed.len(), AGREED_MAX);
    let oldest = seq_last - AGREED_MAX as u64 + 1;
    for (seq, late) in [
        (seq_last, Counted::Contradicts),
        (oldest, Counted::Contradicts),
        (oldest - 1, Counted::Waits),
    ] {
        let lie = (BLOCK, told(seq), &[&b"lie"[..]][..]);
        assert_eq!(count(&mut quorum, 3, lie, false), late, "{seq}");
    }
}
