//! R5: a leader gives up a window of its own that stops of others have cost the fast path.

use crate::bench::Bench;
use crate::fixtures::{Block, payload_numbered, set_of, six, stop_at, tip, v, w};
use quorate_consensus::input::Input;
use quorate_consensus::machine::Disposition;
use quorate_consensus::validators::ValidatorSet;
use std::sync::Arc;

/// F = 1, P = 0: one stop takes the fast path. Windows 0 to 3 are v0's.
fn four() -> Arc<ValidatorSet> {
    set_of(&[1; 4], 1, 0, 64, 4)
}

/// Proposes a block, which nobody else has voted for.
fn propose(bench: &mut Bench, salt: u32) -> Block {
    let payload = payload_numbered(salt);
    let disposition = bench.input(Input::Payload(Arc::clone(&payload)));
    assert_eq!(disposition, Disposition::Applied);
    let sent = bench.proposals_sent();
    let header = sent.last().expect("a proposal").header;
    Block {
        id: header.id(),
        header,
        payload,
    }
}

/// Proposes a block for which these vote.
fn propose_to(bench: &mut Bench, salt: u32, voters: &[u16]) -> Block {
    let block = propose(bench, salt);
    let window = block.header.window.number();
    bench.votes(voters, window, &tip(&block));
    block
}

fn gave_up(bench: &Bench) -> u64 {
    bench.consensus.counters().stops_slow
}

#[test]
fn r5_a_leader_gives_up_a_window_that_has_lost_the_fast_path_and_goes_on_in_the_next() {
    let mut bench = Bench::new(&four(), 0);
    let block = propose_to(&mut bench, 1, &[1, 2, 3]);
    assert!(!bench.own_record(0).stop);
    bench.vote(3, 0, stop_at(&block));
    let own = bench.own_record(0);
    assert_eq!((own.tip, own.stop), (Some(block.at()), true));
    assert_eq!(gave_up(&bench), 1);
    // The others follow, since FB skip: what they sign is shown to whoever lacks it.
    bench.votes_signed(&[1, 2], 0, &stop_at(&block));
    assert_eq!(bench.consensus.window(), w(1));
    let next = propose_to(&mut bench, 2, &[1, 2, 3]);
    assert_eq!(next.header.parent_id, block.id);
    assert_eq!(bench.consensus.finalized().id, next.id);
    assert_eq!(bench.consensus.counters().finalized_fast, 2);
}

#[test]
fn r5_a_slow_window_is_not_given_up_while_a_block_is_under_way() {
    let mut bench = Bench::new(&four(), 0);
    let first = propose_to(&mut bench, 1, &[1, 2, 3]);
    let second = propose(&mut bench, 2);
    bench.vote(3, 0, stop_at(&first));
    assert!(!bench.own_record(0).stop, "the block would be cut");
    bench.votes(&[1, 2], 0, &tip(&second));
    let own = bench.own_record(0);
    assert_eq!((own.tip, own.stop), (Some(second.at()), true));
    assert_eq!(gave_up(&bench), 1);
}

#[test]
fn r5_an_empty_window_is_not_given_up() {
    let mut bench = Bench::new(&four(), 0);
    bench.vote(3, 0, crate::fixtures::stop());
    assert!(!bench.own_record(0).stop);
    propose_to(&mut bench, 1, &[1, 2]);
    assert!(bench.own_record(0).stop);
}

#[test]
fn r5_beside_one_that_always_stops_a_window_is_given_up_once_in_ten_timeouts() {
    let mut bench = Bench::new(&four(), 0);
    let first = propose_to(&mut bench, 1, &[1, 2, 3]);
    bench.vote(3, 0, stop_at(&first));
    bench.votes_signed(&[1, 2], 0, &stop_at(&first));
    let second = propose(&mut bench, 2);
    bench.votes_signed(&[1, 2, 3], 1, &tip(&second));
    bench.vote(3, 1, stop_at(&second));
    assert!(!bench.own_record(1).stop);
    bench.lapse(490);
    assert!(!bench.own_record(1).stop);
    bench.lapse(20);
    assert!(bench.own_record(1).stop);
    assert_eq!(gave_up(&bench), 2);
}

/// 4 x 1: the own stop and one more make FB, so each window given up is a stop to the others.
#[test]
fn r5_no_window_is_given_up_while_timeouts_are_lengthened() {
    let mut bench = Bench::new(&set_of(&[1; 4], 1, 0, 64, 1), 1);
    // The leader of window 0 says nothing: k is 1 in the own window.
    bench.stop_by_timer();
    bench.votes_signed(&[0, 2], 0, &crate::fixtures::stop());
    assert_eq!(bench.consensus.window(), w(1));
    let block = propose_to(&mut bench, 1, &[0, 2, 3]);
    bench.vote(3, 1, stop_at(&block));
    assert!(!bench.own_record(1).stop);
    assert_eq!(gave_up(&bench), 0);
}

#[test]
fn r5_a_window_that_still_has_the_fast_path_is_kept() {
    let mut bench = Bench::new(&six(64), 0);
    let block = propose_to(&mut bench, 1, &[1, 2, 3, 4, 5]);
    bench.vote(5, 0, stop_at(&block));
    assert!(!bench.own_record(0).stop, "P = 1 may be missing");
    bench.vote(4, 0, stop_at(&block));
    assert!(bench.own_record(0).stop);
}

#[test]
fn r5_a_window_is_kept_when_the_next_one_would_be_no_faster() {
    let mut bench = Bench::new(&six(64), 0);
    let first = propose_to(&mut bench, 1, &[1, 2, 3, 4, 5]);
    let second = propose(&mut bench, 2);
    bench.votes(&[4, 5], 0, &stop_at(&first));
    bench.input(Input::PeerDown(v(4)));
    bench.input(Input::PeerDown(v(5)));
    bench.votes(&[1, 2, 3], 0, &tip(&second));
    assert!(!bench.own_record(0).stop, "two are away, and P is 1");
}

#[test]
fn r5_a_window_is_kept_where_nobody_would_follow() {
    let mut bench = Bench::new(&set_of(&[1; 7], 2, 0, 64, 4), 0);
    let block = propose_to(&mut bench, 1, &[1, 2, 3, 4, 5, 6]);
    bench.vote(6, 0, stop_at(&block));
    assert!(!bench.own_record(0).stop, "FB is 3");
    bench.vote(5, 0, stop_at(&block));
    assert!(bench.own_record(0).stop);
}

#[test]
fn r5_nobody_gives_up_the_window_of_another() {
    let mut bench = Bench::new(&four(), 1);
    let block = Block::first(&four(), 1);
    bench.propose(&block);
    bench.votes(&[0, 2, 3], 0, &tip(&block));
    bench.vote(3, 0, stop_at(&block));
    assert!(!bench.own_record(0).stop);
}
