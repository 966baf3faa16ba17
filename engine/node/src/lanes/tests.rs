//! The pool as a whole: what it promises to clients, to leaders and to the chain.

use std::sync::Arc;

use quorate_consensus::effect::Destination;
use quorate_consensus::payload::{
    Entry, Lane as WireLane, PayloadBuilder, PayloadView, encode_entry, session_of_key,
};
use quorate_consensus::types::ValidatorIndex;

use super::*;

mod forwarding;
mod gaps;
mod openings;
mod peers;
mod room;
mod turns;
mod unchecked;

const MS: u64 = 1_000_000;
const PEER: ValidatorIndex = ValidatorIndex::new(3);

fn id(client: u8) -> SessionId {
    SessionId(session_of_key(&[client; 32]))
}

fn entry(client: u8, seq: u64, lane: WireLane, text: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    if seq == 1 {
        body.extend_from_slice(&[client; 32]);
    }
    body.extend_from_slice(text);
    let session = session_of_key(&[client; 32]);
    let mut bytes = Vec::new();
    encode_entry(
        &Entry {
            lane,
            session: &session,
            seq,
            signature: None,
            body: &body,
        },
        &mut bytes,
    );
    bytes
}

fn order(client: u8, seq: u64) -> Vec<u8> {
    entry(client, seq, WireLane::Order, b"order")
}

fn cancel(client: u8, seq: u64) -> Vec<u8> {
    entry(client, seq, WireLane::Cancel, b"cancel")
}

fn pool() -> Lanes {
    Lanes::new(LanesConfig::new(16, 20 * MS))
}

fn submit(lanes: &mut Lanes, now_ns: u64, entries: &[Vec<u8>]) -> Vec<Verdict> {
    let (mut verdicts, mut finals) = (Vec::new(), Vec::new());
    let (times, entries) = ((now_ns, now_ns), entries.concat());
    lanes
        .submit(times, None, &entries, &mut verdicts, &mut finals)
        .expect("entries");
    verdicts.iter().map(|verdict| verdict.verdict).collect()
}

/// A block's payload of these entries, whatever the rules of blocks say of them.
fn payload_of(entries: &[Vec<u8>]) -> Vec<u8> {
    let count = u32::try_from(entries.len()).expect("few");
    let mut payload = count.to_le_bytes().to_vec();
    entries
        .iter()
        .for_each(|entry| payload.extend_from_slice(entry));
    payload
}

fn build(lanes: &mut Lanes) -> Option<Arc<[u8]>> {
    let payload = lanes.build_payload(&WireLane::ALL, &mut PayloadBuilder::new())?;
    PayloadView::parse(&payload).expect("what the pool builds is valid");
    Some(payload)
}

fn contents(payload: &[u8]) -> Vec<(SessionId, u64)> {
    PayloadView::parse(payload)
        .expect("valid")
        .iter()
        .map(|view| (SessionId(*view.session), view.seq))
        .collect()
}

fn finalize(lanes: &mut Lanes, now_ns: u64, payload: &[u8]) -> Vec<Admitted> {
    let mut admitted = Vec::new();
    lanes
        .finalize_block((now_ns, 0), payload, &mut admitted)
        .expect("valid");
    admitted
}

fn hand_on(lanes: &mut Lanes, now_ns: u64, entries: &[u8]) {
    let taken = lanes.take_forwarded(now_ns, PEER, entries);
    taken.expect("entries");
}

fn forwarded(lanes: &mut Lanes, now_ns: u64) -> Vec<(Destination, usize)> {
    let mut sent = Vec::new();
    lanes.forward(now_ns, &mut |to, bytes| {
        sent.push((to, parse_entries(&bytes).expect("entries").count()));
    });
    sent
}

#[test]
fn a_block_holds_cancels_before_orders_and_each_session_in_its_own_order() {
    let mut lanes = pool();
    submit(
        &mut lanes,
        1,
        &[order(1, 1), order(2, 1), cancel(3, 1), order(3, 2)],
    );
    let payload = build(&mut lanes).expect("commands wait");
    assert_eq!(
        contents(&payload),
        [(id(3), 1), (id(1), 1), (id(2), 1), (id(3), 2)]
    );
}

#[test]
fn a_cancel_behind_its_own_order_opens_the_next_block() {
    let mut lanes = pool();
    submit(
        &mut lanes,
        1,
        &[order(1, 1), cancel(1, 2), order(1, 3), cancel(1, 4)],
    );
    assert_eq!(contents(&build(&mut lanes).expect("first")), [(id(1), 1)]);
    assert_eq!(
        contents(&build(&mut lanes).expect("second")),
        [(id(1), 2), (id(1), 3)]
    );
    assert_eq!(contents(&build(&mut lanes).expect("third")), [(id(1), 4)]);
    assert_eq!(build(&mut lanes), None);
}

#[test]
fn a_command_behind_a_missing_number_is_kept_back_until_the_number_comes() {
    let mut lanes = pool();
    submit(&mut lanes, 1, &[order(1, 1), order(1, 3)]);
    assert_eq!(contents(&build(&mut lanes).expect("one")), [(id(1), 1)]);
    assert_eq!(build(&mut lanes), None);
    submit(&mut lanes, 2, &[order(1, 2)]);
    assert_eq!(
        contents(&build(&mut lanes).expect("both")),
        [(id(1), 2), (id(1), 3)]
    );
}

#[test]
fn a_command_is_kept_until_it_is_final_and_is_offered_first_when_its_block_is_abandoned() {
    let mut lanes = pool();
    submit(&mut lanes, 1, &[order(1, 1), order(1, 2)]);
    let abandoned = build(&mut lanes).expect("commands wait");
    submit(&mut lanes, 2, &[order(2, 1)]);
    assert_eq!(lanes.len(), 3);
    lanes.unchain_all();
    let again = build(&mut lanes).expect("all of it");
    assert_eq!(
        contents(&again),
        [contents(&abandoned), vec![(id(2), 1)]].concat()
    );
    let admitted = finalize(&mut lanes, 10, &again);
    assert_eq!(admitted.len(), 3);
    assert_eq!(
        admitted[0],
        Admitted {
            index: 0,
            latency_ns: 9
        }
    );
    assert!(lanes.is_empty() && lanes.bytes() == 0);
    assert_eq!(build(&mut lanes), None);
}

#[test]
fn commands_of_an_abandoned_block_are_taken_over_and_those_that_are_final_are_not() {
    let mut leader = pool();
    submit(&mut leader, 1, &[order(1, 1), order(1, 2), order(2, 1)]);
    let block = build(&mut leader).expect("commands wait");
    let mut follower = pool();
    follower.chain_block(1, &block).expect("valid");
    let mut other = pool();
    submit(&mut other, 1, &[order(1, 1)]);
    let final_block = build(&mut other).expect("one");
    finalize(&mut follower, 2, &final_block);
    follower.take_abandoned(3, &block).expect("valid");
    assert_eq!(
        contents(&build(&mut follower).expect("two")),
        [(id(1), 2), (id(2), 1)]
    );
}

#[test]
fn blocks_of_the_chain_built_on_are_not_proposed_twice_until_the_chain_is_given_up() {
    let mut leader = pool();
    submit(&mut leader, 1, &[order(1, 1), order(1, 2)]);
    let block = build(&mut leader).expect("commands wait");
    let mut next = pool();
    let entries = [order(1, 1), order(1, 2), order(1, 3)];
    hand_on(&mut next, 1, &entries.concat());
    next.chain_block(2, &block).expect("valid");
    assert_eq!(
        contents(&build(&mut next).expect("the third")),
        [(id(1), 3)]
    );
    next.unchain_all();
    assert_eq!(contents(&build(&mut next).expect("all")).len(), 3);
}

#[test]
fn a_gap_in_a_finalized_block_of_own_making_makes_the_session_start_over() {
    let mut lanes = pool();
    submit(&mut lanes, 1, &[order(1, 1), order(1, 2)]);
    let first = build(&mut lanes).expect("both");
    submit(&mut lanes, 2, &[order(1, 3)]);
    let second = build(&mut lanes).expect("the third");
    // The first block is lost and the second is final all the same.
    assert!(finalize(&mut lanes, 3, &second).is_empty());
    assert_eq!(contents(&build(&mut lanes).expect("again")).len(), 3);
    assert_eq!(finalize(&mut lanes, 4, &first).len(), 2);
}

#[test]
fn the_same_command_again_is_accepted_and_another_one_of_its_number_is_not() {
    let mut lanes = pool();
    assert_eq!(submit(&mut lanes, 1, &[order(1, 1)]), [Verdict::Accepted]);
    assert_eq!(submit(&mut lanes, 1, &[order(1, 1)]), [Verdict::Accepted]);
    assert_eq!(lanes.len(), 1);
    let other = entry(1, 1, WireLane::Order, b"other");
    assert_eq!(
        submit(&mut lanes, 1, &[other]),
        [Verdict::Rejected(Rejection::Conflict)]
    );
    assert_eq!(lanes.len(), 1);
}

#[test]
fn the_client_itself_overrules_what_a_peer_forwarded_in_its_name() {
    let mut lanes = pool();
    let forged = entry(1, 1, WireLane::Order, b"forged, and longer");
    hand_on(&mut lanes, 1, &forged);
    assert_eq!(submit(&mut lanes, 2, &[order(1, 1)]), [Verdict::Accepted]);
    hand_on(&mut lanes, 3, &forged);
    assert_eq!(lanes.bytes(), order(1, 1).len());
    let payload = build(&mut lanes).expect("one");
    let body = PayloadView::parse(&payload)
        .expect("valid")
        .iter()
        .next()
        .expect("one")
        .body;
    assert!(body.ends_with(b"order"));
    assert_eq!(
        finalize(&mut lanes, 7, &payload),
        [Admitted {
            index: 0,
            latency_ns: 5
        }]
    );
}

#[test]
fn a_command_that_is_final_is_accepted_and_its_result_is_asked_for() {
    let mut lanes = pool();
    submit(&mut lanes, 1, &[order(1, 1)]);
    let payload = build(&mut lanes).expect("one");
    finalize(&mut lanes, 2, &payload);
    let (mut verdicts, mut finals) = (Vec::new(), Vec::new());
    lanes
        .submit((3, 3), None, &order(1, 1), &mut verdicts, &mut finals)
        .expect("entries");
    assert_eq!(verdicts[0].verdict, Verdict::Accepted);
    assert_eq!(finals, [(id(1), 1)]);
    assert!(lanes.is_empty());
}

#[test]
fn a_connection_speaks_for_its_own_session_only() {
    let mut lanes = pool();
    let (mut verdicts, mut finals) = (Vec::new(), Vec::new());
    let entries = [order(1, 1), order(2, 1)].concat();
    lanes
        .submit((1, 1), Some(id(1)), &entries, &mut verdicts, &mut finals)
        .expect("entries");
    assert_eq!(verdicts[0].verdict, Verdict::Accepted);
    assert_eq!(
        verdicts[1].verdict,
        Verdict::Rejected(Rejection::ForeignSession)
    );
}

#[test]
fn a_malformed_submission_is_refused_whole() {
    let mut lanes = pool();
    let mut entries = [order(1, 1), order(1, 2)].concat();
    entries.pop();
    let (mut verdicts, mut finals) = (Vec::new(), Vec::new());
    assert!(
        lanes
            .submit((1, 1), None, &entries, &mut verdicts, &mut finals)
            .is_err()
    );
    assert!(verdicts.is_empty() && lanes.is_empty());
    assert!(lanes.take_forwarded(1, PEER, &entries).is_err());
    assert!(lanes.is_empty());
}

#[test]
fn a_full_pool_is_busy_to_orders_first_then_to_cancels_then_to_peers() {
    let config = LanesConfig {
        commands_max: 8,
        ..LanesConfig::new(16, 20 * MS)
    };
    let mut lanes = Lanes::new(config);
    for seq in 1..=7 {
        assert_eq!(submit(&mut lanes, 1, &[order(1, seq)]), [Verdict::Accepted]);
    }
    let busy = submit(&mut lanes, 100 * MS, &[order(2, 1)]);
    assert!(
        matches!(
            busy[0],
            Verdict::Busy {
                retry_after_us: 49_999
            }
        ),
        "{busy:?}"
    );
    assert_eq!(submit(&mut lanes, 1, &[cancel(3, 1)]), [Verdict::Accepted]);
    assert!(matches!(
        submit(&mut lanes, 1, &[cancel(4, 1)])[0],
        Verdict::Busy { .. }
    ));
    hand_on(&mut lanes, 1, &order(5, 1));
    assert_eq!(lanes.len(), 8);
    let payload = build(&mut lanes).expect("all");
    finalize(&mut lanes, 2, &payload);
    assert_eq!(submit(&mut lanes, 3, &[order(2, 1)]), [Verdict::Accepted]);
}

#[test]
fn numbers_too_far_ahead_and_floods_of_one_session_are_refused() {
    let config = LanesConfig {
        gap_max: 3,
        session_commands_max: 5,
        ..LanesConfig::new(16, 20 * MS)
    };
    let mut lanes = Lanes::new(config);
    assert_eq!(submit(&mut lanes, 1, &[order(1, 4)]), [Verdict::Accepted]);
    let far = [Verdict::Rejected(Rejection::TooFarAhead)];
    assert_eq!(submit(&mut lanes, 1, &[order(1, 7)]), far);
    let mut other = Lanes::new(lanes.config.clone());
    other.restore_session(id(1), 1);
    assert_eq!(submit(&mut other, 1, &[order(1, 6)]), far);
    submit(
        &mut lanes,
        1,
        &[order(1, 1), order(1, 2), order(1, 3), order(1, 5)],
    );
    assert!(matches!(
        submit(&mut lanes, 1, &[order(1, 6)])[0],
        Verdict::Busy { .. }
    ));
}

#[test]
fn a_command_whose_predecessor_never_comes_is_dropped_and_its_place_freed() {
    let mut lanes = pool();
    submit(&mut lanes, 1, &[order(1, 2)]);
    assert_eq!(lanes.oldest_waiting_ns(), None);
    lanes.drop_expired(9_000 * MS);
    assert_eq!(lanes.len(), 1);
    lanes.drop_expired(10_001 * MS);
    assert_eq!((lanes.len(), lanes.bytes()), (0, 0));
    assert_eq!(lanes.counters().gaps_expired, 1);
    // The freed place serves another session, and old handles do not reach it.
    submit(&mut lanes, 2, &[order(2, 1)]);
    assert_eq!(contents(&build(&mut lanes).expect("one")), [(id(2), 1)]);
}

#[test]
fn the_oldest_waiting_command_is_the_oldest_that_could_be_in_a_block() {
    let mut lanes = pool();
    submit(&mut lanes, 5, &[order(1, 1)]);
    submit(&mut lanes, 6, &[order(2, 2)]);
    submit(&mut lanes, 7, &[order(3, 1)]);
    assert_eq!(lanes.oldest_waiting_ns(), Some(5));
    let payload = build(&mut lanes).expect("two");
    assert_eq!(lanes.oldest_waiting_ns(), Some(5));
    finalize(&mut lanes, 8, &payload);
    assert_eq!(lanes.oldest_waiting_ns(), None);
    submit(&mut lanes, 9, &[order(2, 1)]);
    assert_eq!(lanes.oldest_waiting_ns(), Some(9));
}

#[test]
fn a_follower_forwards_at_once_then_to_all_then_again_and_to_each_new_leader() {
    let mut lanes = pool();
    let leader = Destination::Peer(ValidatorIndex::new(1));
    lanes.set_leader(Some(ValidatorIndex::new(1)));
    submit(&mut lanes, 0, &[order(1, 1), order(2, 1)]);
    assert_eq!(lanes.forward_deadline_ns(), 0);
    assert_eq!(forwarded(&mut lanes, 0), [(leader, 2)]);
    assert!(forwarded(&mut lanes, 19 * MS).is_empty());
    assert_eq!(lanes.forward_deadline_ns(), 20 * MS);
    assert_eq!(forwarded(&mut lanes, 20 * MS), [(Destination::All, 2)]);
    assert!(forwarded(&mut lanes, 21 * MS).is_empty());
    assert_eq!(forwarded(&mut lanes, 500 * MS), [(leader, 2)]);
    lanes.set_leader(Some(ValidatorIndex::new(2)));
    let next = Destination::Peer(ValidatorIndex::new(2));
    assert_eq!(forwarded(&mut lanes, 501 * MS), [(next, 2)]);
    lanes.set_leader(None);
    assert!(forwarded(&mut lanes, 502 * MS).is_empty());
    let payload = build(&mut lanes).expect("both");
    finalize(&mut lanes, 503 * MS, &payload);
    lanes.set_leader(Some(ValidatorIndex::new(3)));
    assert!(forwarded(&mut lanes, 10_000 * MS).is_empty());
    assert_eq!(lanes.forward_deadline_ns(), u64::MAX);
}

#[test]
fn what_peers_forwarded_is_not_forwarded_on() {
    let mut lanes = pool();
    lanes.set_leader(Some(ValidatorIndex::new(1)));
    hand_on(&mut lanes, 0, &order(1, 1));
    assert!(forwarded(&mut lanes, 0).is_empty());
    assert!(forwarded(&mut lanes, 1_000 * MS).is_empty());
    assert_eq!(lanes.len(), 1);
}

#[test]
fn what_stood_in_a_block_that_may_be_given_up_goes_to_the_leader_when_it_is_not_final_soon() {
    let mut leader = pool();
    submit(&mut leader, 0, &[order(1, 1), order(2, 1)]);
    let block = build(&mut leader).expect("both");
    let mut lanes = pool();
    lanes.set_leader(Some(ValidatorIndex::new(2)));
    lanes.take_abandoned(0, &block).expect("valid");
    assert!(forwarded(&mut lanes, 499 * MS).is_empty());
    let next = Destination::Peer(ValidatorIndex::new(2));
    assert_eq!(forwarded(&mut lanes, 500 * MS), [(next, 2)]);
    finalize(&mut lanes, 501 * MS, &block);
    assert!(forwarded(&mut lanes, 10_000 * MS).is_empty());
}

#[test]
fn the_allowance_bounds_what_goes_to_everybody() {
    let one = order(1, 1).len();
    let config = LanesConfig {
        fan_bytes_max: 2 * one,
        ..LanesConfig::new(16, 20 * MS)
    };
    let mut lanes = Lanes::new(config);
    let entries: Vec<_> = (1..=5).map(|client| order(client, 1)).collect();
    submit(&mut lanes, 0, &entries);
    let leader = ValidatorIndex::new(1);
    lanes.set_leader(Some(leader));
    assert_eq!(forwarded(&mut lanes, 0), [(Destination::Peer(leader), 5)]);
    assert_eq!(forwarded(&mut lanes, 20 * MS), [(Destination::All, 2)]);
    assert_eq!(lanes.counters().fanned_out, 2);
}

#[test]
fn a_backlog_waits_at_its_gateway_until_what_the_leader_has_is_final() {
    let config = LanesConfig {
        forward_bytes_max: 3 * order(1, 2).len(),
        ..LanesConfig::new(16, 20 * MS)
    };
    let mut lanes = Lanes::new(config);
    lanes.restore_session(id(1), 1);
    let leader = ValidatorIndex::new(1);
    lanes.set_leader(Some(leader));
    let entries: Vec<_> = (2..=9).map(|seq| order(1, seq)).collect();
    submit(&mut lanes, 0, &entries);
    let to = Destination::Peer(leader);
    assert_eq!(forwarded(&mut lanes, 0), [(to, 3)]);
    assert!(forwarded(&mut lanes, 1).is_empty());
    let mut other = pool();
    other.restore_session(id(1), 1);
    submit(&mut other, 0, &entries[..2]);
    let payload = build(&mut other).expect("two");
    finalize(&mut lanes, 2, &payload);
    assert_eq!(forwarded(&mut lanes, 3), [(to, 2)]);
    // The next leader has nothing yet.
    let next = ValidatorIndex::new(2);
    lanes.set_leader(Some(next));
    assert_eq!(forwarded(&mut lanes, 4), [(Destination::Peer(next), 3)]);
}

#[test]
fn a_block_stays_inside_the_chain_s_own_bounds() {
    let config = LanesConfig {
        payload_bytes_max: 4 + 3 * order(1, 2).len(),
        block_commands_max: 2,
        ..LanesConfig::new(16, 20 * MS)
    };
    let mut lanes = Lanes::new(config.clone());
    submit(
        &mut lanes,
        0,
        &[
            order(1, 1),
            order(1, 2),
            order(1, 3),
            order(1, 4),
            order(1, 5),
        ],
    );
    let mut sizes = Vec::new();
    while let Some(payload) = build(&mut lanes) {
        assert!(payload.len() <= config.payload_bytes_max);
        sizes.push(contents(&payload).len());
    }
    assert_eq!(sizes, [2, 2, 1]);
}

#[test]
fn one_session_s_flood_does_not_hold_up_another() {
    let mut lanes = pool();
    let flood: Vec<_> = (1..=200).map(|seq| order(1, seq)).collect();
    submit(&mut lanes, 0, &flood);
    submit(&mut lanes, 0, &[order(2, 1)]);
    let place = contents(&build(&mut lanes).expect("all"))
        .iter()
        .position(|&(session, _)| session == id(2));
    assert_eq!(place, Some(16));
}

#[test]
fn restored_sessions_go_on_where_the_table_stands() {
    let mut lanes = pool();
    lanes.restore_session(id(1), 7);
    assert_eq!(submit(&mut lanes, 0, &[order(1, 8)]), [Verdict::Accepted]);
    assert_eq!(contents(&build(&mut lanes).expect("one")), [(id(1), 8)]);
}

#[test]
fn a_stopping_pool_takes_nothing_new_from_clients() {
    let mut lanes = pool();
    submit(&mut lanes, 0, &[order(1, 1)]);
    lanes.stop_admitting();
    let stopping = submit(&mut lanes, 0, &[order(1, 2)]);
    assert_eq!(stopping, [Verdict::Rejected(Rejection::Stopping)]);
    assert!(build(&mut lanes).is_some());
}

#[test]
fn a_leader_s_own_commands_go_to_everybody_when_its_window_does_not_get_on() {
    let mut lanes = pool();
    lanes.set_leader(None);
    submit(&mut lanes, 0, &[order(1, 1)]);
    assert!(forwarded(&mut lanes, 0).is_empty());
    assert_eq!(forwarded(&mut lanes, 20 * MS), [(Destination::All, 1)]);
    // Another leads now: it has nothing yet.
    lanes.set_leader(Some(ValidatorIndex::new(2)));
    let next = Destination::Peer(ValidatorIndex::new(2));
    assert_eq!(forwarded(&mut lanes, 21 * MS), [(next, 1)]);
}

/// An overload that lasts: orders come ten times as fast as blocks take them.
#[test]
fn a_flood_is_refused_within_every_bound_and_a_cancel_stands_before_all_of_it() {
    let config = LanesConfig {
        commands_max: 4_000,
        block_commands_max: 100,
        ..LanesConfig::new(64, 20 * MS)
    };
    let (commands_max, queue_ns) = (config.commands_max, config.queue_ns);
    let mut lanes = Lanes::new(config);
    let mut next = [1_u64; 40];
    let (mut busy, mut finals, mut longest_ns) = (0, 0, 0);
    for step in 0..400_u64 {
        let now_ns = (step + 1) * 10 * MS;
        for (client, next) in (1_u8..).zip(&mut next) {
            let entries: Vec<_> = (*next..*next + 25).map(|seq| order(client, seq)).collect();
            let verdicts = submit(&mut lanes, now_ns, &entries);
            let is_accepted = |verdict: &&Verdict| **verdict == Verdict::Accepted;
            *next += verdicts.iter().take_while(is_accepted).count() as u64;
            for verdict in verdicts {
                match verdict {
                    // What stands behind a refused one waits for it.
                    Verdict::Accepted | Verdict::Rejected(Rejection::Conflict) => {}
                    Verdict::Busy { retry_after_us } => {
                        assert!((200..=200_000).contains(&retry_after_us));
                        busy += 1;
                    }
                    Verdict::Rejected(other) => panic!("{other:?}"),
                }
            }
        }
        assert!(lanes.len() <= commands_max - commands_max / 8);
        let payload = build(&mut lanes).expect("there is always something");
        let admitted = finalize(&mut lanes, now_ns + 5 * MS, &payload);
        finals += admitted.len();
        if step > 200 {
            let of_block = admitted.iter().map(|done| done.latency_ns).max();
            longest_ns = longest_ns.max(of_block.unwrap_or(0));
        }
    }
    assert!(busy > 100_000, "{busy}");
    assert!(finals >= 390 * 100, "every block is full: {finals}");
    assert!(longest_ns < 2 * queue_ns, "{longest_ns}");
    // A cancel of another session gets in and stands first, and peers' commands get in too.
    for (client, next) in (1_u8..).zip(&mut next) {
        let entries: Vec<_> = (*next..*next + 25).map(|seq| order(client, seq)).collect();
        submit(&mut lanes, 4_010 * MS, &entries);
    }
    assert!(lanes.orders_hold_us(4_010 * MS).is_some());
    let cancelled = submit(&mut lanes, 4_010 * MS, &[cancel(60, 1)]);
    assert_eq!(cancelled, [Verdict::Accepted]);
    hand_on(&mut lanes, 4_010 * MS, &order(61, 1));
    assert_eq!(contents(&build(&mut lanes).expect("more"))[0], (id(60), 1));
}

#[test]
fn one_session_s_own_orders_leave_room_for_its_cancels() {
    let config = LanesConfig {
        session_commands_max: 80,
        ..LanesConfig::new(16, 20 * MS)
    };
    let mut lanes = Lanes::new(config);
    let flood: Vec<_> = (1..=100).map(|seq| order(1, seq)).collect();
    let verdicts = submit(&mut lanes, 1, &flood);
    let taken = verdicts
        .iter()
        .filter(|verdict| **verdict == Verdict::Accepted);
    assert_eq!(taken.count(), 70);
    assert_eq!(submit(&mut lanes, 1, &[cancel(1, 71)]), [Verdict::Accepted]);
}

#[test]
fn a_gateway_sends_its_cancels_to_the_leader_before_its_orders_and_beyond_their_bound() {
    let one = order(1, 2).len();
    let config = LanesConfig {
        forward_bytes_max: 16 * one,
        fan_bytes_max: 2 * one,
        ..LanesConfig::new(16, 20 * MS)
    };
    let mut lanes = Lanes::new(config);
    lanes.restore_session(id(1), 1);
    lanes.restore_session(id(2), 1);
    let leader = Destination::Peer(ValidatorIndex::new(1));
    lanes.set_leader(Some(ValidatorIndex::new(1)));
    let flood: Vec<_> = (2..=40).map(|seq| order(1, seq)).collect();
    submit(&mut lanes, 0, &flood);
    assert_eq!(forwarded(&mut lanes, 0), [(leader, 16)]);
    submit(&mut lanes, 1, &[order(2, 2), cancel(2, 3)]);
    assert_eq!(lanes.forward_deadline_ns(), 0, "the cancel goes at once");
    let mut sent = Vec::new();
    lanes.forward(2, &mut |to, entries| sent.push((to, entries)));
    let [(to, entries)] = &sent[..] else {
        panic!("{sent:?}");
    };
    assert_eq!(*to, leader);
    let seqs: Vec<u64> = parse_entries(entries)
        .expect("entries")
        .map(|view| view.seq)
        .collect();
    assert_eq!(seqs, [3], "the cancel alone");
    // What waits too long goes to all, and orders leave the cancel's place alone.
    sent.clear();
    assert_eq!(
        lanes.forward_deadline_ns(),
        20 * MS,
        "the leader has enough"
    );
    lanes.forward(22 * MS, &mut |to, entries| sent.push((to, entries)));
    let fanned = parse_entries(&sent[0].1).expect("entries");
    let lanes_of: Vec<_> = fanned.map(|view| view.lane).collect();
    assert_eq!(lanes_of.len(), 3);
    assert_eq!(lanes_of[2], WireLane::Cancel);
}

#[test]
fn what_is_too_large_for_the_chain_is_rejected_with_its_reason() {
    let config = LanesConfig {
        command_bytes_max: 40,
        ..LanesConfig::new(16, 20 * MS)
    };
    let mut lanes = Lanes::new(config);
    let large = entry(1, 1, WireLane::Order, b"nine byte");
    assert_eq!(
        submit(&mut lanes, 1, std::slice::from_ref(&large)),
        [Verdict::Rejected(Rejection::TooLarge)]
    );
    // Nor from a peer: a block with it would be invalid.
    hand_on(&mut lanes, 1, &large);
    assert!(lanes.is_empty());
    assert_eq!(submit(&mut lanes, 1, &[order(1, 1)]), [Verdict::Accepted]);
}
