//! What a session of the load owes after each answer.

use core::num::NonZeroU64;

use super::*;
use crate::orders::Opaque;

const KEY: [u8; 32] = [0xee; 32];

fn with_commands(count: u64) -> Ledger {
    let mut ledger = Ledger::new(KEY, (1, true));
    for at in 0..count {
        assert_eq!(ledger.push(at * 10, Lane::Order, &at.to_le_bytes()), at + 1);
    }
    ledger
}

fn sent(ledger: &mut Ledger, now_ns: u64) -> Vec<u64> {
    let mut numbers = Vec::new();
    while let Some(outgoing) = ledger.send_next(now_ns) {
        numbers.push(outgoing.seq);
    }
    numbers
}

#[test]
fn numbers_begin_at_one_and_are_sent_once_in_order() {
    let mut ledger = with_commands(3);
    assert_eq!(sent(&mut ledger, 0), [1, 2, 3]);
    assert!(sent(&mut ledger, 0).is_empty());
    assert!(!ledger.has_waiting());
}

#[test]
fn what_did_not_leave_is_handed_out_again_and_counts_as_sent_once() {
    let mut ledger = with_commands(2);
    assert_eq!(sent(&mut ledger, 0), [1, 2]);
    ledger.unsend(2);
    assert_eq!(sent(&mut ledger, 0), [2]);
    assert_eq!(ledger.counts().resent, 0);
}

#[test]
fn a_busy_answer_holds_the_session_back_and_goes_on_from_the_refused_number() {
    let mut ledger = with_commands(4);
    sent(&mut ledger, 0);
    ledger.on_accepted(1);
    for seq in 2..=4 {
        ledger.on_busy(seq, 100, 50);
    }
    assert!(sent(&mut ledger, 149).is_empty());
    assert_eq!(sent(&mut ledger, 150), [2, 3, 4]);
    assert_eq!((ledger.counts().busy, ledger.counts().resent), (3, 3));
}

#[test]
fn what_was_accepted_is_not_sent_again_after_a_busy_answer() {
    let mut ledger = with_commands(3);
    sent(&mut ledger, 0);
    ledger.on_busy(1, 0, 0);
    ledger.on_accepted(2);
    assert_eq!(sent(&mut ledger, 0), [1]);
    // The late answer to the first sending of 2 changes nothing.
    ledger.on_busy(2, 0, 0);
    assert_eq!(sent(&mut ledger, 0), [3; 0]);
}

#[test]
fn the_loss_of_the_gateway_sends_everything_unfinalized_again_with_the_same_numbers() {
    let mut ledger = with_commands(3);
    sent(&mut ledger, 0);
    ledger.on_accepted(1);
    ledger.on_accepted(2);
    assert_eq!(ledger.on_finalized(1), Some(0));
    ledger.on_gateway_lost();
    let again = ledger.send_next(0).unwrap();
    assert_eq!((again.seq, again.body), (2, 1_u64.to_le_bytes().as_slice()));
    assert_eq!(sent(&mut ledger, 0), [3]);
    ledger.on_accepted(2);
    ledger.on_accepted(3);
    assert_eq!(ledger.counts().accepted, 3, "each command counts once");
    assert_eq!((ledger.open(), ledger.held()), (2, 0));
}

#[test]
fn a_result_is_counted_once_and_frees_the_memory() {
    let mut ledger = with_commands(2);
    sent(&mut ledger, 0);
    ledger.on_accepted(1);
    assert_eq!(ledger.on_finalized(1), Some(0));
    assert_eq!(ledger.on_finalized(1), None);
    // A result that overtakes the answer counts as accepted too.
    assert_eq!(ledger.on_finalized(2), Some(10));
    ledger.on_accepted(2);
    let counts = ledger.counts();
    assert_eq!((counts.accepted, counts.finalized), (2, 2));
    assert_eq!((ledger.open(), ledger.body_bytes), (0, 0));
    assert!(ledger.is_answered());
    assert_eq!(ledger.push(0, Lane::Order, b"x"), 3);
}

#[test]
fn a_command_that_nobody_answered_is_missing_and_one_told_to_wait_is_held() {
    let mut ledger = with_commands(1);
    sent(&mut ledger, 0);
    assert_eq!(
        (ledger.open(), ledger.held()),
        (1, 0),
        "handed over, no answer"
    );
    ledger.on_busy(1, 0, 10);
    assert_eq!((ledger.open(), ledger.held()), (1, 1), "told to come later");
    sent(&mut ledger, 10);
    ledger.on_accepted(1);
    ledger.on_gateway_lost();
    assert_eq!(
        (ledger.open(), ledger.held()),
        (1, 0),
        "some gateway took it"
    );
    ledger.push(0, Lane::Order, b"x");
    sent(&mut ledger, 10);
    ledger.on_rejected(2);
    assert_eq!(
        ledger.open(),
        1,
        "what was refused for good is counted apart"
    );
    assert!(!ledger.is_answered());
}

#[test]
fn a_number_refused_at_admission_is_given_to_the_next_command() {
    let mut ledger = with_commands(3);
    sent(&mut ledger, 0);
    ledger.on_rejected(2);
    ledger.on_rejected(2);
    assert_eq!(ledger.counts().rejected, 1);
    assert_eq!(ledger.push(70, Lane::Cancel, b"new"), 2);
    let outgoing = ledger.send_next(0).unwrap();
    assert_eq!(
        (outgoing.seq, outgoing.lane, outgoing.body),
        (2, Lane::Cancel, &b"new"[..])
    );
    assert_eq!(ledger.push(80, Lane::Order, b"z"), 4);
    assert_eq!(ledger.on_finalized(2), Some(70));
}

#[test]
fn a_command_behind_a_gap_comes_again() {
    let mut ledger = with_commands(1);
    sent(&mut ledger, 0);
    ledger.on_accepted(1);
    ledger.on_gap(1);
    assert_eq!(sent(&mut ledger, 0), [1]);
    assert_eq!(ledger.open(), 1);
}

#[test]
fn answers_about_unknown_numbers_change_nothing_but_the_busy_count() {
    let mut ledger = with_commands(1);
    sent(&mut ledger, 0);
    for seq in [0, 2, u64::MAX] {
        ledger.on_accepted(seq);
        ledger.on_rejected(seq);
        ledger.on_gap(seq);
        ledger.on_busy(seq, 0, 10);
        assert_eq!(ledger.on_finalized(seq), None);
    }
    let counts = *ledger.counts();
    assert_eq!(
        (counts.accepted, counts.rejected, counts.finalized),
        (0, 0, 0)
    );
    assert_eq!(counts.busy, 3);
}

#[test]
fn a_session_is_bounded_in_commands_and_in_bytes() {
    let mut ledger = Ledger::new(KEY, (1, true));
    let body = vec![0; FLIGHT_BYTES_MAX / 2];
    ledger.push(0, Lane::Order, &body[KEY.len()..]);
    assert!(ledger.has_room(FLIGHT_BYTES_MAX / 2));
    ledger.push(0, Lane::Order, &body);
    assert!(!ledger.has_room(1));
    let mut ledger = Ledger::new(KEY, (1, true));
    for _ in 0..FLIGHTS_MAX {
        assert!(ledger.has_room(0));
        ledger.push(0, Lane::Order, b"");
    }
    assert!(!ledger.has_room(0));
}

/// Takes `count` commands of this many bytes in, and their results.
fn through(ledger: &mut Ledger, count: usize, bytes: usize) {
    let body = vec![7; bytes];
    let numbers: Vec<u64> = (0..count)
        .map(|_| ledger.push(0, Lane::Order, &body))
        .collect();
    assert_eq!(ledger.body_bytes, count * bytes);
    sent(ledger, 0);
    for seq in numbers {
        assert_eq!(ledger.on_finalized(seq), Some(0));
    }
}

#[test]
fn as_many_bodies_are_kept_for_reuse_as_may_be_in_flight() {
    let bytes = FLIGHT_BYTES_MAX / FLIGHTS_MAX;
    let mut ledger = Ledger::new(KEY, (1, false));
    through(&mut ledger, FLIGHTS_MAX, bytes);
    assert_eq!(ledger.spare.len(), FLIGHTS_MAX);
    // None of those that come asks for memory.
    let body = vec![8; bytes];
    for _ in 0..FLIGHTS_MAX {
        ledger.push(0, Lane::Order, &body);
    }
    assert_eq!((ledger.spare.len(), ledger.spare_bytes), (0, 0));
    assert!(!ledger.has_room(0));
}

#[test]
fn what_is_kept_for_reuse_takes_no_more_memory_than_may_be_in_flight() {
    let mut ledger = Ledger::new(KEY, (1, false));
    through(&mut ledger, 8, FLIGHT_BYTES_MAX / 8);
    assert_eq!(ledger.spare.len(), 8);
    // Long bodies are in use for short commands, so that others are taken of the system.
    for _ in 0..8 {
        ledger.push(0, Lane::Order, b"x");
    }
    for _ in 0..7 {
        ledger.push(0, Lane::Order, &vec![0; FLIGHT_BYTES_MAX / 8]);
    }
    sent(&mut ledger, 0);
    for seq in 9..24 {
        ledger.on_finalized(seq);
    }
    let kept: usize = ledger.spare.iter().map(Vec::capacity).sum();
    assert_eq!(ledger.spare_bytes, kept);
    assert!(kept <= FLIGHT_BYTES_MAX, "{kept}");
    assert!(!ledger.spare.is_empty());
}

#[test]
fn an_opaque_command_is_made_anew_for_each_sending_and_takes_room_all_the_same() {
    let flow = Opaque::new(3, NonZeroU64::MIN, 40, 1);
    let noise = flow.noise();
    let made = |key: &[u8], index| {
        let mut body = key.to_vec();
        noise.append(index, &mut body);
        body
    };
    let mut ledger = Ledger::new(KEY, (1, true));
    for index in 10..13 {
        ledger.push(index, Lane::Order, Body::Opaque(noise, index));
    }
    assert_eq!(ledger.body_bytes, KEY.len() + 3 * 40);
    for key in [&KEY[..], &[]] {
        ledger.on_gateway_lost();
        if key.is_empty() {
            assert_eq!(ledger.on_finalized(1), Some(10));
            assert_eq!(ledger.body_bytes, 80);
        } else {
            assert_eq!(ledger.send_next(0).unwrap().body, made(key, 10));
        }
        assert_eq!(ledger.send_next(0).unwrap().body, made(&[], 11));
        assert_eq!(ledger.send_next(0).unwrap().body, made(&[], 12));
    }
    // Its number may go to one that is kept, and the other way round.
    ledger.on_rejected(2);
    assert_eq!(ledger.push(0, Lane::Order, b"abc"), 2);
    assert_eq!(ledger.send_next(0).unwrap().body, b"abc");
    ledger.on_rejected(2);
    assert_eq!(ledger.push(0, Lane::Order, Body::Opaque(noise, 9)), 2);
    assert_eq!(ledger.send_next(0).unwrap().body, made(&[], 9));
    assert_eq!((ledger.body_bytes, ledger.spare.len()), (80, 1));
    ledger.on_finalized(2);
    ledger.on_finalized(3);
    assert_eq!((ledger.body_bytes, ledger.is_answered()), (0, true));
}

#[test]
fn the_first_number_alone_opens_the_session() {
    let mut ledger = with_commands(2);
    let first = ledger.send_next(0).unwrap();
    assert_eq!(
        (&first.body[..32], &first.body[32..]),
        (&KEY[..], &[0; 8][..])
    );
    assert_eq!(ledger.send_next(0).unwrap().body.len(), 8);
    let mut later = Ledger::new(KEY, (8, false));
    assert_eq!(later.push(0, Lane::Admin, b"x"), 8);
    assert_eq!(later.send_next(0).unwrap().body, b"x");
}

#[test]
fn the_last_lane_is_known_while_its_command_is_open() {
    let mut ledger = Ledger::new(KEY, (1, true));
    assert_eq!(ledger.last_lane(), None);
    ledger.push(0, Lane::Order, b"x");
    assert_eq!(ledger.last_lane(), Some(Lane::Order));
    sent(&mut ledger, 0);
    ledger.on_finalized(1);
    assert_eq!(ledger.last_lane(), None);
}

#[test]
fn the_cursor_survives_results_that_come_out_of_order() {
    let mut ledger = with_commands(4);
    assert_eq!(ledger.send_next(0).unwrap().seq, 1);
    assert_eq!(ledger.send_next(0).unwrap().seq, 2);
    assert_eq!(ledger.on_finalized(2), Some(10));
    assert_eq!(ledger.on_finalized(1), Some(0));
    assert_eq!(sent(&mut ledger, 0), [3, 4]);
}

#[test]
fn after_a_busy_answer_fewer_are_on_their_way_at_one_time() {
    let mut ledger = with_commands(2_000);
    assert_eq!(sent(&mut ledger, 0).len(), 2_000);
    for seq in 1..=1_000 {
        ledger.on_accepted(seq);
    }
    for seq in 1_001..=2_000 {
        ledger.on_busy(seq, 5, 10);
    }
    assert!(
        sent(&mut ledger, 20).is_empty(),
        "1,000 were taken, 750 may be"
    );
    for seq in 1..=1_000 {
        ledger.on_finalized(seq);
    }
    let again = sent(&mut ledger, 20);
    assert_eq!(again[0], 1_001);
    assert!((750..1_000).contains(&again.len()), "{}", again.len());
}
