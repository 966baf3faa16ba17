//! Whose commands come next where one session alone could fill every block.

use super::*;

/// How many blocks pass until a small cancel of one session stands in one, where another always
/// has ten cancels of this length waiting before it.
fn blocks_before_a_small_cancel(config: LanesConfig, body_bytes: usize) -> usize {
    let mut lanes = Lanes::new(config);
    lanes.restore_session(id(1), 1);
    lanes.restore_session(id(2), 1);
    let body = vec![7; body_bytes];
    let mut next = 2;
    let mut blocks = 0;
    loop {
        while lanes.len() < 10 + blocks.min(1) {
            let taken = submit(&mut lanes, 1, &[entry(1, next, WireLane::Cancel, &body)]);
            assert_eq!(taken, [Verdict::Accepted]);
            next += 1;
        }
        if blocks == 0 {
            assert_eq!(submit(&mut lanes, 2, &[cancel(2, 2)]), [Verdict::Accepted]);
        }
        blocks += 1;
        let payload = build(&mut lanes).expect("there is always something");
        if contents(&payload).contains(&(id(2), 2)) {
            return blocks;
        }
        assert!(blocks < 20, "it is kept out");
        finalize(&mut lanes, 3, &payload);
    }
}

#[test]
fn a_session_s_large_commands_fill_no_block_before_another_session_s_turn() {
    let config = LanesConfig::new(16, 20 * MS);
    assert_eq!(blocks_before_a_small_cancel(config.clone(), 60 * 1024), 1);
    assert_eq!(blocks_before_a_small_cancel(config, 20 * 1024), 1);
}

#[test]
fn a_session_whose_turn_fills_a_block_is_not_first_in_the_next_one() {
    let config = LanesConfig {
        block_commands_max: 2,
        ..LanesConfig::new(16, 20 * MS)
    };
    assert_eq!(blocks_before_a_small_cancel(config, 8), 2);
}

/// Whoever has not had its turn when a block is full has it first in the next one.
#[test]
fn a_session_that_found_no_room_at_all_is_first_in_the_next_block() {
    let config = LanesConfig {
        block_commands_max: 1,
        ..LanesConfig::new(16, 20 * MS)
    };
    let mut lanes = Lanes::new(config);
    submit(&mut lanes, 1, &[order(1, 1), order(2, 1), order(3, 1)]);
    for client in 1..4 {
        let payload = build(&mut lanes).expect("one each");
        assert_eq!(contents(&payload), [(id(client), 1)]);
    }
}

#[test]
fn lines_stay_short_where_others_lead_however_often_the_leader_changes() {
    let mut lanes = pool();
    let clients = 1..=3;
    let entries: Vec<Vec<u8>> = clients.clone().map(|client| order(client, 1)).collect();
    submit(&mut lanes, 1, &entries);
    for _ in 0..10_000 {
        clients
            .clone()
            .for_each(|client| lanes.chain(1, id(client), 1));
        lanes.unchain_all();
    }
    let entries: usize = lanes
        .lines
        .iter()
        .map(std::collections::VecDeque::len)
        .sum();
    assert!(entries < 100, "{entries} entries for three sessions");
    let payload = build(&mut lanes).expect("all of them wait");
    assert_eq!(contents(&payload).len(), 3);
}

/// What stands in a block while orders of twenty sessions fill every one, and one price and one
/// command of administration wait besides.
fn urgent_of_a_flooded_block(
    config: LanesConfig,
    floods: WireLane,
    admin_bytes: usize,
) -> Vec<SessionId> {
    let mut lanes = Lanes::new(config);
    let body = vec![7; 568];
    let mut next = [1_u64; 20];
    for round in 0..6 {
        for (client, next) in (1..).zip(&mut next) {
            let flood: Vec<_> = (*next..*next + 40)
                .map(|seq| entry(client, seq, floods, &body))
                .collect();
            let verdicts = submit(&mut lanes, round, &flood);
            *next += verdicts
                .iter()
                .filter(|it| **it == Verdict::Accepted)
                .count() as u64;
        }
        if round == 3 {
            let urgent = [
                entry(101, 1, WireLane::Price, b"price"),
                entry(102, 1, WireLane::Admin, &vec![7; admin_bytes]),
            ];
            assert_eq!(submit(&mut lanes, round, &urgent), [Verdict::Accepted; 2]);
        }
        let payload = build(&mut lanes).expect("there is always something");
        let contents = contents(&payload);
        assert!(contents.len() > 100, "and orders besides");
        if round == 3 {
            let urgent = contents.into_iter().map(|(session, _)| session);
            return urgent
                .filter(|it| [id(101), id(102)].contains(it))
                .collect();
        }
        finalize(&mut lanes, round, &payload);
    }
    Vec::new()
}

#[test]
fn a_flood_of_orders_leaves_room_in_each_block_for_prices_and_administration() {
    let config = LanesConfig::new(64, 20 * MS);
    let all = [id(101), id(102)];
    // One that is longer than what is kept fits as well.
    for admin_bytes in [4, 40 * 1024] {
        for floods in [WireLane::Order, WireLane::Cancel] {
            let urgent = urgent_of_a_flooded_block(config.clone(), floods, admin_bytes);
            assert_eq!(urgent, all, "{floods:?}");
        }
        let short = LanesConfig {
            payload_bytes_max: 200 * 1024,
            ..config.clone()
        };
        let urgent = urgent_of_a_flooded_block(short, WireLane::Order, admin_bytes);
        assert_eq!(urgent, all);
    }
    // Also where blocks are full by how many they hold, and to administration whatever prices come.
    let few = LanesConfig {
        block_commands_max: 128,
        ..config.clone()
    };
    assert_eq!(urgent_of_a_flooded_block(few, WireLane::Order, 4), all);
    let prices = urgent_of_a_flooded_block(config, WireLane::Price, 4);
    assert!(prices.contains(&id(102)), "{prices:?}");
}

/// Whoever floods the chain may call its orders prices.
#[test]
fn prices_and_administration_find_room_where_orders_do_not_unless_they_are_the_flood() {
    let config = LanesConfig {
        commands_max: 4_000,
        block_commands_max: 100,
        ..LanesConfig::new(64, 20 * MS)
    };
    let queue_ns = config.queue_ns;
    let mut lanes = Lanes::new(config);
    let mut next = [1_u64; 40];
    let mut now_ns = 0;
    let mut flood = |lanes: &mut Lanes, lane: WireLane, now_ns: u64| {
        let mut taken = 0;
        for (client, next) in (1_u8..).zip(&mut next) {
            let entries: Vec<_> = (*next..*next + 25)
                .map(|seq| entry(client, seq, lane, b"flood"))
                .collect();
            let verdicts = submit(lanes, now_ns, &entries);
            let is_accepted = |verdict: &&Verdict| **verdict == Verdict::Accepted;
            let accepted = verdicts.iter().take_while(is_accepted).count() as u64;
            *next += accepted;
            taken += accepted;
        }
        taken
    };
    for _ in 0..200 {
        now_ns += 10 * MS;
        flood(&mut lanes, WireLane::Order, now_ns);
        let payload = build(&mut lanes).expect("there is always something");
        finalize(&mut lanes, now_ns, &payload);
    }
    flood(&mut lanes, WireLane::Order, now_ns);
    assert!(lanes.orders_hold_us(now_ns).is_some());
    let urgent = [
        entry(101, 1, WireLane::Price, b"price"),
        entry(102, 1, WireLane::Admin, b"halt"),
    ];
    assert_eq!(submit(&mut lanes, now_ns, &urgent), [Verdict::Accepted; 2]);
    // As many as go within the time in an eighth of every block: 100 in 10 ms are 12.
    let mut taken = 1;
    for client in 103..=142 {
        let entries: Vec<_> = (1..=25)
            .map(|seq| entry(client, seq, WireLane::Price, b"flood"))
            .collect();
        let verdicts = submit(&mut lanes, now_ns, &entries);
        taken += verdicts
            .iter()
            .filter(|it| **it == Verdict::Accepted)
            .count() as u64;
    }
    let most = queue_ns / (10 * MS) * 13;
    assert!((128..=most.max(260)).contains(&taken), "{taken}");
    let halt = [entry(143, 1, WireLane::Admin, b"halt")];
    assert_eq!(submit(&mut lanes, now_ns, &halt), [Verdict::Accepted]);
}

/// The block may become final with what it holds, whatever the client says now.
#[test]
fn a_command_that_stands_in_a_block_gives_way_to_no_other_one_of_its_number() {
    let mut lanes = pool();
    hand_on(&mut lanes, 1, &order(1, 1));
    let payload = build(&mut lanes).expect("one");
    let other = entry(1, 1, WireLane::Order, b"another, and longer");
    let conflict = [Verdict::Rejected(Rejection::Conflict)];
    assert_eq!(
        submit(&mut lanes, 2, std::slice::from_ref(&other)),
        conflict
    );
    assert_eq!(lanes.bytes(), order(1, 1).len());
    assert_eq!(submit(&mut lanes, 3, &[order(1, 1)]), [Verdict::Accepted]);
    lanes.unchain_all();
    assert_eq!(build(&mut lanes), Some(payload), "it is as it was");
}
