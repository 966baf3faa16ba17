//! What is remembered of commands on their way to the leader, and in which order they go again.

use super::*;

#[test]
fn what_is_sent_to_the_leader_again_keeps_the_order_of_its_numbers() {
    let mut lanes = pool();
    let leader = ValidatorIndex::new(2);
    lanes.set_leader(Some(leader));
    submit(&mut lanes, 0, &[order(1, 1), order(1, 2), order(1, 3)]);
    for now_ns in [0, 500 * MS] {
        let mut seqs = Vec::new();
        lanes.forward(now_ns, &mut |to, bytes| {
            if to == Destination::Peer(leader) {
                let entries = parse_entries(&bytes).expect("entries");
                seqs.extend(entries.map(|view| view.seq));
            }
        });
        assert_eq!(seqs, [1, 2, 3], "at {now_ns}");
    }
}

#[test]
fn one_command_that_stays_keeps_no_memory_of_all_that_came_after_it() {
    for leader in [None, Some(ValidatorIndex::new(2))] {
        let mut lanes = pool();
        lanes.set_leader(leader);
        submit(&mut lanes, 0, &[order(1, 1)]);
        for seq in 1..=10_000 {
            let now_ns = seq * MS;
            assert_eq!(
                submit(&mut lanes, now_ns, &[order(2, seq)]),
                [Verdict::Accepted]
            );
            forwarded(&mut lanes, now_ns);
            let kept = lanes.forwarding.kept.len();
            assert!(kept <= 1_024 + 2 * lanes.len(), "{kept}, {leader:?}");
            let aged = lanes.ages.len();
            assert!(aged <= 1_024 + 2 * lanes.len() + 1, "{aged}");
            finalize(&mut lanes, now_ns, &payload_of(&[order(2, seq)]));
        }
        assert_eq!(lanes.len(), 1, "it waits still");
    }
}

/// What waits because much does goes to everybody by and by, and leaves the links to the blocks.
#[test]
fn orders_of_a_pool_that_drains_take_an_eighth_of_what_goes_to_everybody() {
    let one = order(1, 2).len();
    let config = LanesConfig {
        commands_max: 4_000,
        block_commands_max: 100,
        fan_bytes_max: 80 * one,
        ..LanesConfig::new(64, 20 * MS)
    };
    let mut lanes = Lanes::new(config);
    lanes.set_leader(None);
    (1..=40).for_each(|client| lanes.restore_session(id(client), 1));
    let mut next = [2_u64; 40];
    let mut to_all = 0;
    for step in 1..=300_u64 {
        let now_ns = step * 10 * MS;
        for (client, next) in (1_u8..).zip(&mut next) {
            let entries: Vec<_> = (*next..*next + 25).map(|seq| order(client, seq)).collect();
            let verdicts = submit(&mut lanes, now_ns, &entries);
            let is_accepted = |verdict: &&Verdict| **verdict == Verdict::Accepted;
            *next += verdicts.iter().take_while(is_accepted).count() as u64;
        }
        let payload = build(&mut lanes).expect("there is always something");
        let sent = forwarded(&mut lanes, now_ns);
        if step > 100 {
            to_all += sent.iter().map(|(_, count)| count).sum::<usize>();
        }
        finalize(&mut lanes, now_ns, &payload);
    }
    // An allowance holds for two steps.
    let most = 200 / 2 * 80 / 8;
    assert!((most * 9 / 10..=most).contains(&to_all), "{to_all}");
}

/// What goes where while, every half of `T_fan`, something makes all of it go to the leader again.
fn to_all_beside(again: impl Fn(&mut Lanes, u16)) -> Vec<usize> {
    let mut lanes = pool();
    let fan_ns = 20 * MS;
    lanes.set_leader(Some(ValidatorIndex::new(2)));
    submit(&mut lanes, 0, &[order(1, 1), order(2, 1)]);
    let mut to_all = Vec::new();
    for half in 0..60_u16 {
        let now_ns = u64::from(half) * fan_ns / 2;
        if half > 0 {
            // A cancel is always sent before what waits, and must not stand in its way.
            submit(&mut lanes, now_ns, &[cancel(3, u64::from(half))]);
            again(&mut lanes, half);
        }
        let runs = forwarded(&mut lanes, now_ns);
        let leader_has = runs.iter().any(|(to, count)| {
            matches!(to, Destination::Peer(_)) && *count >= 2 + usize::from(half)
        });
        assert!(leader_has, "at {half}: {runs:?}");
        let all = runs.iter().filter(|(to, _)| *to == Destination::All);
        to_all.push(all.map(|(_, count)| count).sum());
    }
    to_all
}

#[test]
fn nothing_that_a_leader_does_keeps_a_command_from_everybody_beyond_t_fan() {
    let by_connecting_again = to_all_beside(|lanes, _| lanes.forward_again());
    let leader = |index| Some(ValidatorIndex::new(index));
    let by_new_windows = to_all_beside(|lanes, _| lanes.set_leader(leader(2)));
    let by_new_leaders = to_all_beside(|lanes, half| lanes.set_leader(leader(2 + half % 3)));
    // The two orders after `T_fan`, then each cancel, and both again 25 times `T_fan` later.
    assert_eq!(by_connecting_again[..5], [0, 0, 2, 1, 1]);
    assert_eq!(by_connecting_again[50..54], [1, 1, 3, 2]);
    assert_eq!(by_new_windows, by_connecting_again);
    assert_eq!(by_new_leaders, by_connecting_again);
}

#[test]
fn what_became_final_before_it_was_due_to_everybody_leaves_no_memory() {
    let mut lanes = pool();
    lanes.set_leader(Some(ValidatorIndex::new(2)));
    submit(&mut lanes, 0, &[order(1, 1)]);
    for seq in 1..=10_000 {
        submit(&mut lanes, seq, &[order(2, seq)]);
        forwarded(&mut lanes, seq);
        finalize(&mut lanes, seq, &payload_of(&[order(2, seq)]));
    }
    let waiting = lanes.forwarding.to_all_len();
    assert!(waiting <= 1_024 + 2 * lanes.len() + 1, "{waiting}");
    let sent = lanes.forwarding.sent_len();
    assert!(sent <= 1_024 + 2 * lanes.len() + 1, "{sent}");
    let at_last = forwarded(&mut lanes, 21 * MS);
    assert_eq!(at_last, [(Destination::All, 1)], "the one that waits still");
}

const LEADER: ValidatorIndex = ValidatorIndex::new(2);

/// A pool of two open sessions, of which the leader, another one, may have so many commands.
fn gateway(commands: usize) -> Lanes {
    let mut lanes = Lanes::new(LanesConfig {
        forward_bytes_max: commands * order(1, 2).len().max(cancel(1, 2).len()),
        ..LanesConfig::new(16, 20 * MS)
    });
    lanes.set_leader(Some(LEADER));
    lanes.restore_session(id(1), 1);
    lanes.restore_session(id(2), 1);
    lanes
}

fn to_leader(lanes: &mut Lanes, now_ns: u64) -> Vec<(SessionId, u64)> {
    let mut sent = Vec::new();
    lanes.forward(now_ns, &mut |to, bytes| {
        if to == Destination::Peer(LEADER) {
            let entries = parse_entries(&bytes).expect("entries");
            sent.extend(entries.map(|view| (SessionId(*view.session), view.seq)));
        }
    });
    sent
}

#[test]
fn what_waits_for_a_missing_number_keeps_nobody_s_commands_from_the_leader() {
    for make in [order as fn(u8, u64) -> Vec<u8>, cancel] {
        let mut lanes = gateway(3);
        let behind = [make(1, 3), make(1, 4), make(1, 5)];
        assert_eq!(submit(&mut lanes, 0, &behind), [Verdict::Accepted; 3]);
        assert_eq!(submit(&mut lanes, 0, &[make(2, 2)]), [Verdict::Accepted]);
        // Of the others one alone goes, and behind what is ready.
        assert_eq!(to_leader(&mut lanes, 0), [(id(2), 2), (id(1), 3)]);
        submit(&mut lanes, MS, &[make(2, 3), make(2, 4)]);
        assert_eq!(to_leader(&mut lanes, MS), [(id(2), 3), (id(2), 4)]);
        // Each of them has its turn.
        assert_eq!(to_leader(&mut lanes, 500 * MS), [(id(2), 2), (id(1), 4)]);
        let block = payload_of(&[make(2, 2), make(2, 3), make(2, 4)]);
        finalize(&mut lanes, 501 * MS, &block);
        // The number comes, and what waited for it waits no longer than others.
        assert_eq!(
            submit(&mut lanes, 502 * MS, &[make(1, 2)]),
            [Verdict::Accepted]
        );
        assert_eq!(to_leader(&mut lanes, 502 * MS), [(id(1), 2), (id(1), 3)]);
        assert!(to_leader(&mut lanes, 503 * MS).is_empty(), "it has three");
        finalize(&mut lanes, 504 * MS, &payload_of(&[make(1, 2)]));
        assert_eq!(to_leader(&mut lanes, 504 * MS), [(id(1), 5)]);
    }
}

/// Of orders that nothing becomes of there may be megabytes, and a little goes at each retry.
#[test]
fn a_cancel_that_waits_for_a_number_goes_before_orders_that_do() {
    let mut lanes = gateway(16);
    let orders: Vec<Vec<u8>> = (3..9).map(|seq| order(1, seq)).collect();
    submit(&mut lanes, 0, &orders);
    assert_eq!(to_leader(&mut lanes, 0), [(id(1), 3), (id(1), 4)]);
    submit(&mut lanes, MS, &[order(1, 9), cancel(2, 3)]);
    assert_eq!(to_leader(&mut lanes, MS), [(id(2), 3)], "beside their part");
    lanes.set_leader(Some(LEADER));
    let again = to_leader(&mut lanes, 2 * MS);
    assert_eq!(again, [(id(2), 3), (id(1), 3)], "and first");
}

#[test]
fn what_is_given_up_leaves_its_part_at_the_leader_to_others_that_wait_for_a_number() {
    let mut lanes = gateway(3);
    submit(&mut lanes, 0, &[order(1, 3)]);
    submit(&mut lanes, 9_000 * MS, &[order(2, 3)]);
    assert_eq!(to_leader(&mut lanes, 9_000 * MS), [(id(1), 3)]);
    lanes.drop_expired(10_001 * MS);
    assert_eq!(to_leader(&mut lanes, 10_001 * MS), [(id(2), 3)]);
}

#[test]
fn what_is_final_behind_a_command_that_is_not_makes_room_at_the_leader_at_once() {
    let mut lanes = gateway(11);
    submit(&mut lanes, 0, &[order(1, 2)]);
    let tens: Vec<Vec<_>> = [2, 12]
        .map(|first| (first..first + 10).map(|seq| order(2, seq)).collect())
        .into();
    submit(&mut lanes, 0, &tens[0]);
    assert_eq!(to_leader(&mut lanes, 0).len(), 11);
    submit(&mut lanes, 1, &tens[1]);
    assert!(
        to_leader(&mut lanes, 1).is_empty(),
        "it has all that it may"
    );
    finalize(&mut lanes, 2, &payload_of(&tens[0]));
    let sent = to_leader(&mut lanes, 2);
    assert!(sent.iter().map(|(_, seq)| *seq).eq(12..22), "{sent:?}");
}
