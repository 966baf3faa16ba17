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
