//! How much one peer, and several, can take of the pool.

use super::*;

const FAULTY: ValidatorIndex = ValidatorIndex::new(1);

/// Hands on commands of one session, ready each, until one is left out; gives how many were taken.
fn flood(lanes: &mut Lanes, from: ValidatorIndex, client: u8, bytes: usize) -> u64 {
    let body = vec![5; bytes];
    (1..)
        .take_while(|&seq| {
            let before = lanes.len();
            let one = entry(client, seq, WireLane::Cancel, &body);
            lanes.take_forwarded(1, from, &one).expect("an entry");
            lanes.len() > before
        })
        .count() as u64
}

#[test]
fn one_peer_s_commands_leave_room_for_those_of_clients_and_of_other_peers() {
    for bytes in [30_000, 1] {
        let mut lanes = Lanes::new(LanesConfig {
            commands_max: 20_000,
            ..LanesConfig::new(16, 20 * MS)
        });
        let taken = flood(&mut lanes, FAULTY, 9, bytes);
        assert!(taken > 100, "an honest one has some: {taken}");
        let (commands_max, bytes_max) = (20_000 / 2, 2 * lanes.config.forward_bytes_max);
        assert!(lanes.len() <= commands_max && lanes.bytes() <= bytes_max);
        let own = [cancel(1, 1), order(2, 1)];
        assert_eq!(submit(&mut lanes, 1, &own), [Verdict::Accepted; 2]);
        let kept = lanes.len();
        hand_on(&mut lanes, 1, &order(3, 1));
        assert_eq!(lanes.len(), kept + 1, "another peer's");
        // What is final makes room again.
        let own = |seq| entry(9, seq, WireLane::Cancel, &vec![5; bytes]);
        finalize(
            &mut lanes,
            2,
            &payload_of(&(1..=8).map(own).collect::<Vec<_>>()),
        );
        let kept = lanes.len();
        let taken = lanes.take_forwarded(2, FAULTY, &own(taken + 1));
        taken.expect("an entry");
        assert_eq!(lanes.len(), kept + 1);
    }
}

#[test]
fn an_honest_peer_finds_room_for_all_that_it_has_at_a_leader() {
    let mut gateway = pool();
    gateway.set_leader(Some(PEER));
    let body = vec![5; 10_000];
    for seq in 1..=1_000 {
        let one = entry(1, seq, WireLane::Order, &body);
        assert_eq!(submit(&mut gateway, 0, &[one]), [Verdict::Accepted]);
    }
    let mut leader = pool();
    let mut sent = 0;
    for now_ns in 0..100 {
        gateway.forward(now_ns, &mut |to, run| {
            assert_eq!(to, Destination::Peer(PEER));
            sent += parse_entries(&run).expect("entries").count();
            leader
                .take_forwarded(now_ns, FAULTY, &run)
                .expect("entries");
        });
    }
    assert_eq!(leader.len(), sent);
    assert!(leader.bytes() > gateway.config.forward_bytes_max - 20_000);
}

#[test]
fn several_peers_together_leave_room_for_clients() {
    let mut lanes = pool();
    for peer in 1..=8_u8 {
        flood(
            &mut lanes,
            ValidatorIndex::new(u16::from(peer)),
            20 + peer,
            60_000,
        );
    }
    let left = lanes.config.bytes_max - lanes.bytes();
    assert!(left >= 256 * 1024, "{left}");
    let long = entry(1, 1, WireLane::Cancel, &[5; 60_000]);
    assert_eq!(submit(&mut lanes, 1, &[long]), [Verdict::Accepted]);
}

#[test]
fn a_command_that_its_client_sends_here_too_is_its_peer_s_no_more() {
    let mut lanes = pool();
    let taken = flood(&mut lanes, FAULTY, 9, 30_000);
    let body = vec![5; 30_000];
    let own: Vec<_> = (1..=10)
        .map(|seq| entry(9, seq, WireLane::Cancel, &body))
        .collect();
    assert_eq!(submit(&mut lanes, 1, &own), [Verdict::Accepted; 10]);
    for seq in taken + 1..=taken + 10 {
        let kept = lanes.len();
        let one = entry(9, seq, WireLane::Cancel, &body);
        lanes.take_forwarded(1, FAULTY, &one).expect("an entry");
        assert_eq!(lanes.len(), kept + 1, "{seq}");
    }
}
