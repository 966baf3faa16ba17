//! Four validators of stake 1, of which one may lie.

use super::*;
use crate::client_wire::{Place, ResultItem, ResultsFrame, ServerFrame};
use crate::testing::sample_genesis;

const BLOCK: (u64, u64) = (7, 70);

fn quorum() -> Quorum {
    let (genesis, _) = sample_genesis(4);
    Quorum::new(Arc::clone(genesis.validator_set()))
}

/// What `validator` tells of command 5.
fn tell(
    quorum: &mut Quorum,
    validator: u16,
    block: (u64, u64),
    (outcome, output): (Outcome, &[u8]),
    is_waiting: bool,
) -> Counted {
    let mut frame = ResultsFrame::default();
    frame.begin(None, block.0, block.1);
    let place = Place {
        height: 7,
        index: 0,
    };
    let item = ResultItem {
        seq: 5,
        outcome,
        applied: (outcome == Outcome::Applied).then_some(place),
        // This may differ.
        finality_ns: u64::from(validator),
    };
    frame.push(item, [output].into_iter());
    let Ok((_, ServerFrame::Results(mut results))) = ServerFrame::decode(frame.finish()) else {
        panic!("not results");
    };
    let result = results.next().unwrap();
    quorum.count(ValidatorIndex::new(validator), block, &result, is_waiting)
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
    for (other_block, other_output) in
        [((8, 70), &b"true"[..]), ((7, 71), b"true"), (BLOCK, b"tru")]
    {
        let mut quorum = quorum();
        assert_eq!(applied(&mut quorum, 0, b"true"), Counted::Waits);
        let other = (Outcome::Applied, other_output);
        let told = tell(&mut quorum, 1, other_block, other, true);
        assert_eq!(told, Counted::Waits);
    }
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
    assert_eq!(tell(&mut quorum, 2, (0, 0), repeat, true), Counted::Applied);
}

#[test]
fn commands_may_be_sent_when_f_liars_among_those_connected_could_not_hinder() {
    let quorum = quorum();
    let up = |count: u16| (0..count).map(ValidatorIndex::new);
    assert!(!quorum.can_agree(up(2)));
    assert!(quorum.can_agree(up(3)));
}

#[test]
fn a_refusal_is_that_of_enough_validators_about_one_command() {
    let mut quorum = quorum();
    let validator = ValidatorIndex::new;
    assert!(!quorum.refuse(validator(3), 5));
    assert!(!quorum.refuse(validator(3), 5));
    assert!(!quorum.refuse(validator(2), 6));
    assert!(quorum.refuse(validator(1), 6));
}
