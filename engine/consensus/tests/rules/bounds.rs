//! What is taken and held of a peer (protocol.md 2.9), and what is handed through.

use crate::bench::{Bench, Setup};
use crate::fixtures::{Block, certified, chain, payload_numbered, six, stop, tip, v, w};
use quorate_consensus::effect::Effect;
use quorate_consensus::input::Input;
use quorate_consensus::machine::{Disposition, Ignored, PeerFault};
use quorate_consensus::message::Message;

#[test]
fn bounds_records_far_ahead_are_refused() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    assert_eq!(bench.vote(1, 2, stop()), Disposition::Applied);
    let refused = Disposition::Ignored(Ignored::OutOfRange);
    assert_eq!(bench.vote(1, 3, stop()), refused);
    assert_eq!(bench.vote(1, u64::MAX, stop()), refused);
    let block = Block::first(&set, 1).with(|header| header.window = w(3));
    assert_eq!(bench.propose(&block), refused);
}

#[test]
fn bounds_one_pending_record_a_voter_and_the_later_one_replaces_it() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    let blocks = chain(&set, 3, 1);
    bench.propose(&blocks[0]);
    bench.vote(1, 0, tip(&blocks[0]));
    let strange = blocks[0].child(&set, 50);
    let pending = Disposition::Ignored(Ignored::Pending);
    assert_eq!(bench.vote(1, 0, tip(&strange)), pending);
    assert_eq!(bench.vote(1, 0, tip(&blocks[2])), pending);
    bench.headers(2, &[&strange]);
    bench.propose(&blocks[1]);
    bench.propose(&blocks[2]);
    assert!(
        bench.alarms().is_empty(),
        "the replaced one was never counted"
    );
    bench.votes(&[0, 2, 3], 0, &tip(&blocks[2]));
    assert_eq!(bench.finalized().len(), 3, "v1's later record was");
}

#[test]
fn bounds_two_blocks_a_position_are_held_of_a_leader() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    for salt in 1..5 {
        bench.propose(&Block::first(&set, salt));
    }
    let logged = |effect: &&Effect| matches!(effect, Effect::PersistBlock { .. });
    assert_eq!(bench.seen.iter().filter(logged).count(), 2);
    let third = Block::first(&set, 9);
    assert_eq!(bench.propose(&third), Disposition::Ignored(Ignored::Full));
}

#[test]
fn bounds_a_voter_brings_one_branch_of_headers() {
    let set = six(2);
    let mut bench = Bench::new(&set, 5);
    let budget = 2 + 64;
    for salt in 0..budget {
        let disposition = bench.headers(1, &[&Block::first(&set, salt)]);
        assert_eq!(disposition, Disposition::Applied, "{salt}");
    }
    let further = Block::first(&set, budget);
    assert_eq!(
        bench.headers(1, &[&further]),
        Disposition::Ignored(Ignored::Full)
    );
    assert_eq!(
        bench.headers(2, &[&further]),
        Disposition::Applied,
        "another voter's"
    );
}

#[test]
fn bounds_blocks_that_came_early_are_k_at_most() {
    let set = six(4096);
    let mut bench = Bench::new(&set, 5);
    let blocks = chain(&set, 70, 1);
    for block in &blocks[1..65] {
        assert_eq!(bench.propose(block), Disposition::Ignored(Ignored::Pending));
    }
    assert_eq!(
        bench.propose(&blocks[65]),
        Disposition::Ignored(Ignored::Full)
    );
}

#[test]
fn certificates_are_checked_one_message_a_peer_at_a_time() {
    let set = six(64);
    let mut bench = Setup::new(&set, 5).run();
    let block = Block::first(&set, 1);
    let one = Message::Certificates(vec![certified(&set, &block, &[0, 1, 2, 3])]);
    let feed = |bench: &mut Bench, from: u16| {
        bench.feed(Input::Message(
            quorate_consensus::trust::Authenticated::assert_authenticated(v(from), one.clone()),
        ))
    };
    assert_eq!(feed(&mut bench, 1), Disposition::Applied);
    assert_eq!(feed(&mut bench, 1), Disposition::Ignored(Ignored::Full));
    assert_eq!(feed(&mut bench, 2), Disposition::Applied);
}

#[test]
fn messages_from_outside_the_set_or_from_itself_are_faults() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    for from in [5, 6, 999] {
        assert_eq!(
            bench.vote(from, 0, stop()),
            Disposition::Fault(PeerFault::Unknown)
        );
    }
}

#[test]
fn messages_of_clients_are_handed_through_unread() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    let commands = payload_numbered(3);
    bench.message(2, Message::Forward(commands.clone()));
    let through = |effect: &Effect| match effect {
        Effect::Forwarded {
            from,
            commands: bytes,
        } => *from == v(2) && *bytes == commands,
        _ => false,
    };
    assert!(bench.seen.iter().any(through));
}
