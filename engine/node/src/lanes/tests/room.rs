//! What the pool takes of bytes and of memory.

use super::*;

/// Places for commands that all sessions have memory for.
fn places(lanes: &Lanes) -> usize {
    let sessions = lanes.sessions.iter();
    sessions.map(queue::SessionQueue::places).sum()
}

/// Of a made-up session, numbered in nanoseconds since 1970.
fn made_up(session: u64, seq: u64) -> Vec<u8> {
    let mut name = [7; 16];
    name[..8].copy_from_slice(&session.to_le_bytes());
    let mut bytes = Vec::new();
    encode_entry(
        &Entry {
            lane: WireLane::Order,
            session: &name,
            seq,
            signature: None,
            body: b"",
        },
        &mut bytes,
    );
    bytes
}

#[test]
fn numbers_far_apart_cost_no_more_than_the_commands_that_have_them() {
    let seq = 1_800_000_000_000_000_000;
    let mut lanes = pool();
    for session in 0..1_000 {
        let pair = [made_up(session, seq), made_up(session, seq + 4_095)];
        assert_eq!(submit(&mut lanes, 0, &pair), [Verdict::Accepted; 2]);
    }
    assert_eq!(lanes.len(), 2_000);
    assert!(places(&lanes) <= 8_000, "{}", places(&lanes));
    lanes.drop_expired(10_001 * MS);
    assert_eq!((lanes.len(), places(&lanes)), (0, 0));
}

#[test]
fn the_places_of_a_burst_are_given_back_once_it_is_final_or_given_up() {
    let burst: Vec<_> = (1..=32_768).map(|seq| order(1, seq)).collect();
    let mut lanes = pool();
    for part in burst.chunks(8_192) {
        let verdicts = submit(&mut lanes, 0, part);
        assert!(verdicts.iter().all(|one| *one == Verdict::Accepted));
    }
    assert!(places(&lanes) >= 32_768);
    while let Some(block) = build(&mut lanes) {
        finalize(&mut lanes, MS, &block);
    }
    assert!(lanes.is_empty());
    let left = places(&lanes);
    assert!(left <= 64, "{left}");
    // And those of one that was ready and waits for a number again, which never comes.
    let behind: Vec<_> = (2..=4_000).map(|seq| order(2, seq)).collect();
    hand_on(&mut lanes, 0, &behind[0]);
    let block = payload_of(&[order(2, 1)]);
    lanes.chain_block(0, &block).expect("valid");
    hand_on(&mut lanes, 0, &behind[1..].concat());
    assert!(places(&lanes) >= 3_999);
    lanes.unchain_all();
    lanes.drop_expired(1);
    lanes.drop_expired(20_000 * MS);
    assert!(lanes.is_empty());
    assert_eq!(
        places(&lanes),
        left,
        "of a session that is not open nothing"
    );
}

#[test]
fn a_steady_session_keeps_the_places_that_it_uses() {
    let mut lanes = pool();
    let mut seen = Vec::new();
    for round in 0..100_u64 {
        let first = round * 20 + 1;
        let entries: Vec<_> = (first..first + 20).map(|seq| order(1, seq)).collect();
        submit(&mut lanes, round * MS, &entries);
        seen.push(places(&lanes));
        let block = build(&mut lanes).expect("they wait");
        finalize(&mut lanes, round * MS, &block);
        seen.push(places(&lanes));
    }
    assert!(seen.iter().all(|places| *places == seen[0]), "{seen:?}");
}

#[test]
fn a_clients_own_command_takes_the_place_of_what_a_peer_said_only_where_its_bytes_find_room() {
    let one = order(2, 1).len();
    let mut lanes = Lanes::new(LanesConfig {
        bytes_max: 8 * one,
        ..LanesConfig::new(16, 20 * MS)
    });
    hand_on(&mut lanes, 0, &entry(1, 1, WireLane::Order, b"x"));
    let others: Vec<_> = (2..=7).map(|client| order(client, 1)).collect();
    assert_eq!(submit(&mut lanes, 0, &others), [Verdict::Accepted; 6]);
    let bytes = lanes.bytes();
    assert!(bytes < 7 * one, "an order has seven eighths");
    let longer = entry(1, 1, WireLane::Order, b"longer than an order");
    assert!(matches!(
        submit(&mut lanes, 1, std::slice::from_ref(&longer))[..],
        [Verdict::Busy { .. }]
    ));
    assert_eq!((lanes.len(), lanes.bytes()), (7, bytes));
    // What is not longer than the room that is left is taken, and the other once there is more.
    let block = payload_of(&others);
    finalize(&mut lanes, 2, &block);
    assert_eq!(submit(&mut lanes, 3, &[longer]), [Verdict::Accepted]);
    assert_eq!(submit(&mut lanes, 3, &others[..1]), [Verdict::Accepted]);
}

/// With an empty pool, too, of which nothing says how long it takes.
#[test]
fn on_a_full_disk_nobody_is_told_to_come_before_the_log_is_tried_again() {
    let mut lanes = pool();
    lanes.set_disk_full(true);
    let retry_us = u32::try_from(crate::journal::RETRY_NS / 1_000).unwrap();
    for entry in [order(1, 1), cancel(2, 1)] {
        let busy = submit(&mut lanes, 1, &[entry]);
        assert!(
            matches!(busy[0], Verdict::Busy { retry_after_us } if retry_after_us >= retry_us),
            "{busy:?}"
        );
    }
    assert!(lanes.orders_hold_us(1).is_some_and(|us| us >= retry_us));
    lanes.set_disk_full(false);
    assert_eq!(submit(&mut lanes, 1, &[order(1, 1)]), [Verdict::Accepted]);
}

/// What the order has not found the cancel behind it must not take: nothing brings its number.
#[test]
fn a_cancel_behind_an_order_that_found_no_room_takes_none() {
    let config = LanesConfig {
        block_commands_max: 100,
        ..LanesConfig::new(64, 20 * MS)
    };
    let mut lanes = Lanes::new(config);
    let mut next = [1_u64; 40];
    let mut now_ns = 0;
    while lanes.orders_hold_us(now_ns).is_none() {
        now_ns += 10 * MS;
        for (client, next) in (1_u8..).zip(&mut next) {
            let entries: Vec<_> = (*next..*next + 25).map(|seq| order(client, seq)).collect();
            let verdicts = submit(&mut lanes, now_ns, &entries);
            let is_accepted = |verdict: &&Verdict| **verdict == Verdict::Accepted;
            *next += verdicts.iter().take_while(is_accepted).count() as u64;
        }
        if now_ns % (20 * MS) == 0 {
            let payload = build(&mut lanes).expect("there is always something");
            finalize(&mut lanes, now_ns, &payload);
        }
        assert!(now_ns < 10_000 * MS, "it is never full");
    }
    let (kept, busy) = (lanes.len(), lanes.counters().busy);
    assert!(kept < lanes.config.commands_max / 2, "it waits too long");
    let verdicts = submit(&mut lanes, now_ns, &[order(50, 1), cancel(50, 2)]);
    assert!(matches!(
        verdicts[..],
        [Verdict::Busy { retry_after_us: first }, Verdict::Busy { retry_after_us: second }]
            if first == second
    ));
    assert_eq!((lanes.len(), lanes.counters().busy), (kept, busy + 2));
    // Another session's is not behind it.
    let verdicts = submit(&mut lanes, now_ns, &[order(51, 1), cancel(52, 1)]);
    assert_eq!(verdicts[1], Verdict::Accepted);
}
