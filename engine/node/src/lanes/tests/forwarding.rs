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
    let at_last = forwarded(&mut lanes, 21 * MS);
    assert_eq!(at_last, [(Destination::All, 1)], "the one that waits still");
}
