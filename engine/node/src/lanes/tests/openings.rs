//! Sessions that are opened otherwise than the pool thought when their block became final.

use super::*;
use crate::results::Correction;

fn correct(lanes: &mut Lanes, block: &[u8], later: &[&[u8]], corrections: &[Correction]) {
    let later = later.iter().copied();
    lanes
        .correct(5, corrections, (block, &[]), later)
        .expect("valid");
}

const fn stands(session: SessionId, last_seq: Option<u64>, has_ended: bool) -> Correction {
    Correction {
        session,
        last_seq,
        has_ended,
    }
}

#[test]
fn an_opening_that_the_pool_saw_no_room_for_is_made_good_with_all_that_came_behind_it() {
    let mut leader = pool();
    let entries = [order(1, 1), order(2, 1), order(2, 2), order(2, 3)];
    submit(&mut leader, 1, &entries[..3]);
    let block = build(&mut leader).expect("three");
    submit(&mut leader, 1, &entries[3..]);
    let later = build(&mut leader).expect("one");
    let mut lanes = Lanes::new(LanesConfig::new(1, 20 * MS));
    finalize(&mut lanes, 2, &block);
    finalize(&mut lanes, 3, &later);
    assert_eq!(lanes.open_sessions, 1);
    // The first one closed in the same block, which execution found.
    let found = [stands(id(1), None, true), stands(id(2), Some(2), false)];
    correct(&mut lanes, &block, &[&later], &found);
    assert_eq!(lanes.open_sessions, 1);
    assert_eq!(submit(&mut lanes, 6, &[order(2, 4)]), [Verdict::Accepted]);
    assert_eq!(contents(&build(&mut lanes).expect("it")), [(id(2), 4)]);
}

#[test]
fn an_opening_that_the_pool_knew_of_changes_nothing_of_what_stands_in_blocks() {
    let mut lanes = pool();
    submit(&mut lanes, 1, &[order(1, 1)]);
    let block = build(&mut lanes).expect("the opening");
    submit(&mut lanes, 1, &[order(1, 2)]);
    let later = build(&mut lanes).expect("the second");
    submit(&mut lanes, 1, &[order(1, 3)]);
    build(&mut lanes).expect("the third");
    finalize(&mut lanes, 2, &block);
    finalize(&mut lanes, 3, &later);
    correct(
        &mut lanes,
        &block,
        &[&later],
        &[stands(id(1), Some(1), false)],
    );
    assert_eq!(build(&mut lanes), None, "the third stands in a block");
    assert_eq!((lanes.open_sessions, lanes.len()), (1, 1));
}

#[test]
fn an_opening_that_the_table_had_no_room_for_leaves_nothing_open_here_and_is_not_offered_again() {
    let mut lanes = pool();
    submit(&mut lanes, 1, &[order(1, 1), order(1, 2)]);
    let block = build(&mut lanes).expect("both");
    submit(&mut lanes, 1, &[order(1, 3)]);
    finalize(&mut lanes, 2, &block);
    assert_eq!(lanes.open_sessions, 1);
    correct(&mut lanes, &block, &[], &[stands(id(1), None, false)]);
    assert_eq!((lanes.open_sessions, lanes.len()), (0, 0));
    assert_eq!(build(&mut lanes), None);
    // It may come again, and what it has here then is not in the way of the next such answer.
    submit(&mut lanes, 3, &[order(1, 1)]);
    correct(&mut lanes, &block, &[], &[stands(id(1), None, false)]);
    assert_eq!(contents(&build(&mut lanes).expect("it")), [(id(1), 1)]);
}

#[test]
fn the_opening_of_a_name_that_has_ended_opens_nothing_however_often_it_stands_in_blocks() {
    let mut leader = pool();
    submit(&mut leader, 1, &[order(1, 1), order(1, 2)]);
    let block = build(&mut leader).expect("both");
    let mut lanes = Lanes::new(LanesConfig::new(2, 20 * MS));
    lanes.restore_ended(id(1));
    lanes.restore_session(id(2), 1);
    for _ in 0..3 {
        finalize(&mut lanes, 2, &block);
        correct(&mut lanes, &block, &[], &[stands(id(1), None, true)]);
        assert_eq!(lanes.open_sessions, 1);
    }
    // There is room for another one.
    finalize(&mut lanes, 3, &block);
    assert_eq!(submit(&mut lanes, 4, &[order(3, 1)]), [Verdict::Accepted]);
    let payload = build(&mut lanes).expect("it");
    assert_eq!(finalize(&mut lanes, 5, &payload).len(), 1);
    assert_eq!(lanes.open_sessions, 2);
}
