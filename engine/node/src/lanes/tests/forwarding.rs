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
            finalize(&mut lanes, now_ns, &payload_of(&[order(2, seq)]));
        }
        assert_eq!(lanes.len(), 1, "it waits still");
    }
}
