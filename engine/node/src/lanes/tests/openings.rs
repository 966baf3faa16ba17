//! Sessions that are opened otherwise than the pool thought when their block became final.

use super::*;
use crate::results::Correction;
use quorate_consensus::payload::{FLAG_OPEN, encode_flagged_entry};

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
    let found = [stands(id(1), Some(2), true), stands(id(2), Some(2), false)];
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
    lanes.restore_ended(id(1), 2);
    lanes.restore_session(id(2), 1);
    for _ in 0..3 {
        finalize(&mut lanes, 2, &block);
        correct(&mut lanes, &block, &[], &[stands(id(1), Some(2), true)]);
        assert_eq!(lanes.open_sessions, 1);
    }
    // There is room for another one.
    finalize(&mut lanes, 3, &block);
    assert_eq!(submit(&mut lanes, 4, &[order(3, 1)]), [Verdict::Accepted]);
    let payload = build(&mut lanes).expect("it");
    assert_eq!(finalize(&mut lanes, 5, &payload).len(), 1);
    assert_eq!(lanes.open_sessions, 2);
}

/// A time, with openings of which tests go on.
const BASE: u64 = 1_700_000_000_000_000_000;

fn opening(client: u8, seq: u64) -> Vec<u8> {
    let entry = Entry {
        lane: WireLane::Order,
        session: &session_of_key(&[client; 32]),
        seq,
        signature: None,
        body: &[client; 32],
    };
    let mut bytes = Vec::new();
    encode_flagged_entry(&entry, FLAG_OPEN, &mut bytes);
    bytes
}

fn pool_of_today() -> Lanes {
    let mut lanes = pool();
    lanes.note_block_time(BASE);
    lanes
}

#[test]
fn commands_that_come_before_their_opening_wait_for_it_whatever_its_number() {
    let mut lanes = pool_of_today();
    for seq in [BASE + 2, BASE + 1, BASE + 3] {
        assert_eq!(submit(&mut lanes, 1, &[order(1, seq)]), [Verdict::Accepted]);
    }
    assert_eq!(build(&mut lanes), None);
    assert_eq!(
        submit(&mut lanes, 2, &[opening(1, BASE)]),
        [Verdict::Accepted]
    );
    let payload = build(&mut lanes).expect("all of them");
    let all: Vec<_> = (BASE..BASE + 4).map(|seq| (id(1), seq)).collect();
    assert_eq!(contents(&payload), all);
    let mut admitted = Vec::new();
    lanes
        .finalize_block((3, BASE), &payload, &mut admitted)
        .expect("valid");
    assert_eq!(
        (admitted.len(), lanes.len(), lanes.open_sessions),
        (4, 0, 1)
    );
}

#[test]
fn a_newer_opening_of_its_client_takes_the_place_of_one_that_stands_in_no_block() {
    let mut lanes = pool_of_today();
    submit(&mut lanes, 1, &[opening(1, BASE), order(1, BASE + 1)]);
    let newer = submit(&mut lanes, 2, &[opening(1, BASE + 1_000_000)]);
    assert_eq!(newer, [Verdict::Accepted]);
    let conflict = Verdict::Rejected(Rejection::Conflict);
    assert_eq!(submit(&mut lanes, 3, &[opening(1, BASE)]), [conflict]);
    let payload = build(&mut lanes).expect("it");
    assert_eq!(contents(&payload), [(id(1), BASE + 1_000_000)]);
    assert_eq!(lanes.len(), 1);
    let chained = submit(&mut lanes, 3, &[opening(1, BASE + 2_000_000)]);
    assert_eq!(chained, [conflict]);
}

#[test]
fn an_opening_that_another_one_came_before_is_given_up_and_is_in_no_block_again() {
    let mut leader = pool_of_today();
    submit(&mut leader, 1, &[opening(1, BASE)]);
    let block = build(&mut leader).expect("the first");
    for seq in [BASE + 1, BASE + 1_000_000] {
        let mut lanes = pool_of_today();
        submit(&mut lanes, 1, &[opening(1, seq)]);
        let mut admitted = Vec::new();
        lanes
            .finalize_block((2, BASE), &block, &mut admitted)
            .expect("valid");
        assert_eq!((lanes.len(), lanes.open_sessions), (0, 1), "{seq}");
        let open = Verdict::Rejected(Rejection::SessionOpen);
        assert_eq!(submit(&mut lanes, 3, &[opening(1, seq)]), [open]);
        submit(&mut lanes, 4, &[order(1, BASE + 1)]);
        let payload = build(&mut lanes).expect("the next one");
        assert_eq!(contents(&payload), [(id(1), BASE + 1)]);
    }
}

/// Neither ready nor counted as waiting it would stand there for as long as the session does.
#[test]
fn what_stood_behind_an_opening_that_another_one_came_before_waits_and_ends() {
    let mut leader = pool_of_today();
    submit(&mut leader, 1, &[opening(1, BASE)]);
    let block = build(&mut leader).expect("the first");
    let mut lanes = pool_of_today();
    let behind = [opening(1, BASE + 2), order(1, BASE + 3), order(1, BASE + 4)];
    submit(&mut lanes, 1, &behind);
    let mut admitted = Vec::new();
    let finalized = lanes.finalize_block((2, BASE), &block, &mut admitted);
    finalized.expect("valid");
    lanes.drop_expired(2);
    assert_eq!(lanes.len(), 2, "they wait for the number between");
    lanes.drop_expired(3 + lanes.config.gap_ns);
    assert_eq!(lanes.len(), 0);
}

#[test]
fn an_opening_out_of_its_time_is_not_kept_and_opens_nothing_where_it_stands_in_a_block() {
    let life = crate::sessions::OPENING_LIFE_NS;
    let mut lanes = pool_of_today();
    let verdict = |lanes: &mut Lanes, seq| submit(lanes, 1, &[opening(1, seq)])[0];
    let old = Verdict::Rejected(Rejection::OpeningTooOld);
    assert_eq!(verdict(&mut lanes, BASE - life), old);
    let ahead = Verdict::Rejected(Rejection::OpeningTooFarAhead);
    assert_eq!(verdict(&mut lanes, BASE + life + 1), ahead);
    let over = Verdict::Rejected(Rejection::SessionEnded);
    assert_eq!(submit(&mut lanes, 1, &[order(1, BASE - life)]), [over]);
    // An idle chain's last block says less than the clock.
    lanes.note_wall_time(BASE + life);
    assert_eq!(verdict(&mut lanes, BASE), old);
    assert_eq!(verdict(&mut lanes, BASE + 2 * life), Verdict::Accepted);
    let payload = build(&mut lanes).expect("it");
    let mut admitted = Vec::new();
    for time_ns in [BASE + life - 1, BASE + 3 * life] {
        lanes
            .finalize_block((2, time_ns), &payload, &mut admitted)
            .expect("valid");
        let state = (lanes.open_sessions, lanes.len(), admitted.len());
        assert_eq!(state, (0, 0, 0), "{time_ns}");
    }
}

#[test]
fn a_session_that_has_ended_is_opened_by_a_higher_number_than_it_had() {
    let mut lanes = pool_of_today();
    lanes.restore_ended(id(1), BASE + 7);
    let ended = Verdict::Rejected(Rejection::SessionEnded);
    for old in [opening(1, BASE + 7), order(1, BASE + 7), order(1, BASE + 9)] {
        assert_eq!(submit(&mut lanes, 1, &[old]), [ended]);
    }
    // This one may be behind: what follows an opening that it does not know yet waits.
    let anew = BASE + 1_000_000;
    for entry in [order(1, anew + 1), opening(1, anew)] {
        assert_eq!(submit(&mut lanes, 1, &[entry]), [Verdict::Accepted]);
    }
    let payload = build(&mut lanes).expect("both");
    assert_eq!(contents(&payload), [(id(1), anew), (id(1), anew + 1)]);
    // Its clock may not have gone on much since.
    let mut lanes = pool_of_today();
    lanes.restore_ended(id(1), BASE + 7);
    for entry in [opening(1, BASE + 8), order(1, BASE + 9)] {
        assert_eq!(submit(&mut lanes, 1, &[entry]), [Verdict::Accepted]);
    }
}

/// A pool with room for two sessions, one of them open, in which an opening of another one waits.
fn pool_with_an_opening(seq: u64, is_signed: bool) -> Lanes {
    let mut lanes = Lanes::new(LanesConfig {
        is_signed,
        ..LanesConfig::new(2, 20 * MS)
    });
    lanes.note_block_time(BASE);
    lanes.restore_session(id(9), BASE);
    assert_eq!(
        submit(&mut lanes, 1, &[opening(1, seq), order(1, seq + 1)]),
        [Verdict::Accepted; 2]
    );
    lanes
}

fn finalize_at(lanes: &mut Lanes, payload: &[u8]) {
    let mut admitted = Vec::new();
    lanes
        .finalize_block((2, BASE), payload, &mut admitted)
        .expect("valid");
    assert!(admitted.is_empty());
}

#[test]
fn an_old_opening_in_a_block_takes_nothing_from_a_newer_one_that_waits() {
    let life = crate::sessions::OPENING_LIFE_NS;
    let old = payload_of(&[opening(1, BASE - life)]);
    let mut lanes = pool_with_an_opening(BASE + 1, false);
    finalize_at(&mut lanes, &old);
    correct(&mut lanes, &old, &[], &[stands(id(1), None, false)]);
    let both = [(id(1), BASE + 1), (id(1), BASE + 2)];
    assert_eq!(contents(&build(&mut lanes).expect("both")), both);
    // A table that is full, too.
    let mut lanes = pool_with_an_opening(BASE + 1, false);
    lanes.restore_session(id(8), BASE);
    finalize_at(&mut lanes, &payload_of(&[opening(1, BASE)]));
    assert_eq!(contents(&build(&mut lanes).expect("both")), both);
}

#[test]
fn old_commands_of_a_session_that_has_ended_take_nothing_from_its_next_opening() {
    let mut lanes = pool_with_an_opening(BASE + 9, false);
    let old = payload_of(&[order(1, BASE + 3)]);
    finalize_at(&mut lanes, &old);
    correct(
        &mut lanes,
        &old,
        &[],
        &[stands(id(1), Some(BASE + 2), true)],
    );
    let both = [(id(1), BASE + 9), (id(1), BASE + 10)];
    assert_eq!(contents(&build(&mut lanes).expect("both")), both);
    // What waits for no opening of its own waits for nothing.
    let mut lanes = pool_of_today();
    submit(&mut lanes, 1, &[order(1, BASE + 4)]);
    correct(
        &mut lanes,
        &old,
        &[],
        &[stands(id(1), Some(BASE + 2), true)],
    );
    assert!(lanes.is_empty());
}

#[test]
fn an_opening_that_gave_way_to_one_that_was_not_its_key_s_is_offered_again() {
    for forged in [BASE, BASE + 5] {
        let mut lanes = pool_with_an_opening(BASE + 1, true);
        let block = payload_of(&[opening(1, forged)]);
        finalize_at(&mut lanes, &block);
        assert_eq!(lanes.open_sessions, 2, "as far as the pool knows");
        let found = [stands(id(1), None, false)];
        lanes
            .correct(5, &found, (&block, &[0]), std::iter::empty())
            .expect("valid");
        assert_eq!(lanes.open_sessions, 1);
        let both = [(id(1), BASE + 1), (id(1), BASE + 2)];
        assert_eq!(
            contents(&build(&mut lanes).expect("both")),
            both,
            "{forged}"
        );
    }
}

#[test]
fn sessions_beyond_a_full_table_are_refused_but_for_a_few_that_others_may_end_for() {
    let mut lanes = Lanes::new(LanesConfig::new(1, 20 * MS));
    submit(&mut lanes, 1, &[order(1, 1), order(2, 1), order(2, 2)]);
    let payload = build(&mut lanes).expect("both");
    assert_eq!(contents(&payload), [(id(1), 1), (id(2), 1), (id(2), 2)]);
    assert_eq!(finalize(&mut lanes, 2, &payload).len(), 1);
    assert!(lanes.is_empty());
    for client in 3..67 {
        let tried = submit(&mut lanes, 3, &[order(client, 1)]);
        assert_eq!(tried, [Verdict::Accepted], "{client}");
    }
    let full = submit(&mut lanes, 3, &[order(67, 1)]);
    assert_eq!(full, [Verdict::Rejected(Rejection::TableFull)]);
    assert_eq!(submit(&mut lanes, 3, &[order(3, 2)]), [Verdict::Accepted]);
}

#[test]
fn in_a_full_table_nothing_that_waits_for_its_opening_takes_the_place_of_one() {
    let mut lanes = Lanes::new(LanesConfig::new(1, 20 * MS));
    lanes.restore_session(id(1), 1);
    let full = Verdict::Rejected(Rejection::TableFull);
    for client in 2..=200 {
        assert_eq!(submit(&mut lanes, 3, &[order(client, 2)]), [full]);
    }
    assert_eq!(submit(&mut lanes, 3, &[order(201, 1)]), [Verdict::Accepted]);
}

#[test]
fn no_number_is_too_high_to_be_counted_on_from() {
    let highest = SEQ_MAX;
    for first in [highest - 1, highest, u64::MAX - 1, u64::MAX] {
        for is_signed in [false, true] {
            let mut lanes = Lanes::new(LanesConfig {
                is_signed,
                ..LanesConfig::new(100, 20 * MS)
            });
            let entries = [opening(1, first), order(1, first.saturating_add(1))];
            let payload = payload_of(&entries);
            hand_on(&mut lanes, 1, &entries.concat());
            lanes.take_abandoned(2, &payload).expect("entries");
            finalize(&mut lanes, 3, &payload);
            lanes.unchain_all();
            lanes.drop_expired(u64::MAX);
            if first > highest {
                let refused = Verdict::Rejected(Rejection::OpeningTooFarAhead);
                assert_eq!(submit(&mut lanes, 4, &entries[..1]), [refused]);
                let refused = Verdict::Rejected(Rejection::TooFarAhead);
                assert_eq!(submit(&mut lanes, 4, &entries[1..]), [refused]);
            }
        }
    }
}
