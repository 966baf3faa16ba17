//! What waits behind a missing number, and in whose way it is.

use super::*;

mod in_order;

#[test]
fn what_waits_for_a_missing_number_makes_nobody_else_busy() {
    let mut lanes = pool();
    let behind: Vec<_> = (2..=4_000).map(|seq| order(9, seq)).collect();
    assert!(submit(&mut lanes, 0, &behind).contains(&Verdict::Accepted));
    assert!(lanes.len() > 3_000, "{}", lanes.len());
    for seq in 1..=20 {
        // A light load, and between two blocks of it long silence.
        let now_ns = seq * 400 * MS;
        assert_eq!(
            submit(&mut lanes, now_ns, &[order(1, seq)]),
            [Verdict::Accepted]
        );
        let block = build(&mut lanes).expect("it waits");
        assert_eq!(contents(&block), [(id(1), seq)]);
        finalize(&mut lanes, now_ns + MS, &block);
        assert_eq!(lanes.orders_hold_us(now_ns + 300 * MS), None);
    }
    // The number comes, and all of them are in the way like any others.
    submit(&mut lanes, 9_000 * MS, &[order(9, 1)]);
    let block = build(&mut lanes).expect("they wait");
    assert_eq!(contents(&block).len(), lanes.len());
    finalize(&mut lanes, 9_001 * MS, &block);
    assert!(lanes.is_empty());
}

#[test]
fn cancels_behind_a_missing_number_take_no_more_than_half_of_the_room() {
    let mut lanes = Lanes::new(LanesConfig {
        commands_max: 1_000,
        ..LanesConfig::new(16, 20 * MS)
    });
    let behind: Vec<_> = (2..=2_000).map(|seq| cancel(9, seq)).collect();
    let verdicts = submit(&mut lanes, 0, &behind);
    assert!(matches!(verdicts.last(), Some(Verdict::Busy { .. })));
    assert!(lanes.len() <= 501, "{}", lanes.len());
    let (order, cancel) = (order(1, 1), cancel(1, 2));
    let verdicts = submit(&mut lanes, 0, &[order, cancel]);
    assert_eq!(verdicts, [Verdict::Accepted; 2]);
}

#[test]
fn what_waited_for_its_number_and_found_it_leaves_no_memory() {
    let mut lanes = pool();
    // The first of all waits on.
    hand_on(&mut lanes, 0, &order(9, 2));
    lanes.restore_session(id(1), 1);
    for seq in (2..100_000).step_by(2) {
        let now_ns = seq * MS / 100;
        submit(&mut lanes, now_ns, &[order(1, seq + 1)]);
        submit(&mut lanes, now_ns, &[order(1, seq)]);
        lanes.drop_expired(now_ns);
        let noted = lanes.gapped.len();
        assert!(noted <= 1_024 + 2 * lanes.len() + 1, "{noted}");
        let both = payload_of(&[order(1, seq), order(1, seq + 1)]);
        finalize(&mut lanes, now_ns, &both);
    }
    assert_eq!(lanes.len(), 1, "it waits still");
}

#[test]
fn what_waits_again_after_its_chain_was_given_up_is_given_up_in_time_too() {
    let mut leader = pool();
    submit(&mut leader, 0, &[order(1, 1), order(1, 2)]);
    let block = build(&mut leader).expect("both");
    let mut lanes = pool();
    // The third came alone; the two before it are known from a block, which comes to nothing.
    hand_on(&mut lanes, 0, &order(1, 3));
    lanes.chain_block(1, &block).expect("valid");
    assert!(lanes.has_proposable());
    lanes.unchain_all();
    lanes.drop_expired(5_000 * MS);
    // Not by the wait that began when it came.
    lanes.drop_expired(10_001 * MS);
    assert_eq!(lanes.len(), 1);
    lanes.drop_expired(15_001 * MS);
    assert_eq!((lanes.len(), lanes.bytes()), (0, 0));
    assert_eq!(lanes.counters().gaps_expired, 1);
    assert_eq!(submit(&mut lanes, 0, &[order(1, 1)]), [Verdict::Accepted]);
    assert_eq!(contents(&build(&mut lanes).expect("one")), [(id(1), 1)]);
}

#[test]
fn what_waits_again_and_is_found_in_time_stays() {
    let mut leader = pool();
    submit(&mut leader, 0, &[order(1, 1)]);
    let block = build(&mut leader).expect("one");
    let mut lanes = pool();
    hand_on(&mut lanes, 0, &order(1, 2));
    lanes.chain_block(1, &block).expect("valid");
    lanes.unchain_all();
    lanes.drop_expired(5_000 * MS);
    lanes.take_abandoned(6_000 * MS, &block).expect("valid");
    lanes.drop_expired(20_000 * MS);
    let block = build(&mut lanes).expect("both");
    assert_eq!(contents(&block), [(id(1), 1), (id(1), 2)]);
    assert_eq!(lanes.counters().gaps_expired, 0);
}

#[test]
fn what_one_peer_sends_behind_missing_numbers_keeps_out_nothing_of_others() {
    let config = LanesConfig {
        commands_max: 1_000,
        ..LanesConfig::new(64, 20 * MS)
    };
    let mut lanes = Lanes::new(config.clone());
    let faulty = ValidatorIndex::new(1);
    let behind: Vec<_> = (2..=2_000).map(|seq| order(9, seq)).collect();
    let flood = |lanes: &mut Lanes, now_ns| {
        let taken = lanes.take_forwarded(now_ns, faulty, &behind.concat());
        taken.expect("entries");
    };
    flood(&mut lanes, 0);
    assert_eq!(lanes.len(), 250, "half of the half that is for such");
    // Another peer's have room, whatever more the first one sends, and all of them leave a half.
    let others: Vec<_> = (2..=2_000).map(|seq| order(8, seq)).collect();
    hand_on(&mut lanes, 1, &others.concat());
    flood(&mut lanes, 1);
    assert_eq!(lanes.len(), 375);
    for peer in 4..20 {
        let others: Vec<_> = (2..=2_000).map(|seq| cancel(10 + peer, seq)).collect();
        let from = ValidatorIndex::new(u16::from(peer));
        let taken = lanes.take_forwarded(1, from, &others.concat());
        taken.expect("entries");
    }
    assert!(lanes.len() <= 500, "{}", lanes.len());
    let own = [order(1, 1), cancel(1, 2), order(2, 1)];
    assert_eq!(submit(&mut lanes, 1, &own), [Verdict::Accepted; 3]);
    hand_on(&mut lanes, 1, &order(3, 1));
    let block = build(&mut lanes).expect("what is ready");
    assert_eq!(contents(&block), [(id(1), 1), (id(2), 1), (id(3), 1)]);
    // What is given up makes room again.
    lanes.drop_expired(20_000 * MS);
    assert_eq!(lanes.len(), 4);
    flood(&mut lanes, 20_000 * MS);
    assert_eq!(lanes.len(), 254);
}

#[test]
fn long_commands_behind_missing_numbers_are_bounded_by_their_bytes() {
    let mut lanes = Lanes::new(LanesConfig {
        bytes_max: 80_000,
        ..LanesConfig::new(64, 20 * MS)
    });
    let long = |client, seq| entry(client, seq, WireLane::Order, &[5; 1_000]);
    let behind: Vec<_> = (2..=100).map(|seq| long(9, seq)).collect();
    hand_on(&mut lanes, 0, &behind.concat());
    assert!(
        (15_000..=20_000).contains(&lanes.bytes()),
        "{}",
        lanes.bytes()
    );
    // Once its number has come it is like any other, and the others find the room that it had.
    let held = lanes.len();
    hand_on(&mut lanes, 0, &long(9, 1));
    hand_on(&mut lanes, 0, &behind.concat());
    assert!(lanes.len() > held + 1, "{}", lanes.len());
}

#[test]
fn a_client_that_says_what_a_peer_said_before_it_frees_the_share_of_the_peer() {
    let mut lanes = Lanes::new(LanesConfig {
        commands_max: 1_000,
        ..LanesConfig::new(64, 20 * MS)
    });
    let behind: Vec<_> = (2..=2_000).map(|seq| order(9, seq)).collect();
    hand_on(&mut lanes, 0, &behind.concat());
    assert_eq!(lanes.len(), 250);
    let own = submit(&mut lanes, 0, &behind[..250]);
    assert!(own.iter().all(|one| *one == Verdict::Accepted), "{own:?}");
    let more: Vec<_> = (2..=2_000).map(|seq| order(8, seq)).collect();
    hand_on(&mut lanes, 0, &more.concat());
    assert_eq!(lanes.len(), 375, "half of what the client's own leaves");
    lanes.drop_expired(10_001 * MS);
    assert!(lanes.is_empty());
}
