//! R1: entering on evidence alone, and the timers of the windows below.

use crate::bench::{Bench, Setup};
use crate::fixtures::{
    Block, certificate, certified, i, onward, six, skip_of, stop, stop_at, tip, v, w,
};
use quorate_consensus::certificate::Target;
use quorate_consensus::effect::{Destination, Effect};
use quorate_consensus::input::Input;
use quorate_consensus::message::Message;

#[test]
fn r1_a_window_is_entered_when_stake_q_skips_the_one_before() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    // The own stop does not count before the journal holds it.
    bench.answers.journal = false;
    bench.votes(&[0, 1, 2], 0, &stop());
    assert_eq!(bench.consensus.window(), w(0));
    bench.vote(3, 0, stop());
    assert_eq!(bench.consensus.window(), w(1));
    let entered = |effect: &&Effect| match effect {
        Effect::Entered { window, leader } => *window == w(1) && *leader == v(1),
        _ => false,
    };
    assert_eq!(bench.seen.iter().filter(entered).count(), 1);
}

#[test]
fn r1_a_full_window_hands_its_last_block_on_without_a_skip() {
    let set = six(2);
    let mut bench = Bench::new(&set, 5);
    let first = Block::first(&set, 1);
    let last = first.child(&set, 2);
    bench.answers.journal = false;
    bench.branch(0, &[&first, &last]);
    bench.votes(&[0, 1, 2], 0, &tip(&last));
    bench.vote(3, 0, tip(&first));
    assert_eq!(
        bench.consensus.window(),
        w(0),
        "only the first block is certified"
    );
    bench.vote(4, 0, tip(&last));
    assert_eq!(bench.consensus.window(), w(1));
}

#[test]
fn r1_a_certified_block_in_the_middle_needs_the_skip_above_it() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    let block = Block::first(&set, 1);
    bench.propose(&block);
    bench.votes(&[0, 1, 2, 3], 0, &tip(&block));
    assert_eq!(bench.consensus.window(), w(0));
    bench.votes(&[0, 1, 2, 3], 0, &stop_at(&block));
    assert_eq!(bench.consensus.window(), w(1));
}

/// What a certificate says of a block says nothing of those above it, which may be final.
#[test]
fn r1_a_block_shown_by_its_certificate_needs_the_skip_above_it_too() {
    let set = six(64);
    let mut bench = Setup::new(&set, 5).patient().run();
    let block = Block::first(&set, 1);
    bench.certificates(3, vec![certified(&set, &block, &[0, 1, 2, 3])]);
    assert_eq!(bench.consensus.window(), w(0));
    let above = Target::Skip { from: i(1) };
    let stops = (&[1, 2, 3, 4][..], &stop_at(&block));
    bench.certificates(3, vec![certificate(&set, 0, above, stops, vec![])]);
    assert_eq!(bench.consensus.window(), w(1));
}

#[test]
fn r1_a_window_that_is_skipped_in_part_hands_on_no_parent_of_its_own() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    let block = Block::first(&set, 1);
    bench.propose(&block);
    bench.votes(&[0, 1, 2, 3], 0, &stop_at(&block));
    assert_eq!(bench.consensus.window(), w(1));
    // On genesis, past a block that may be final.
    let past = Block::first(&set, 2).with(|header| header.window = w(1));
    bench.propose(&past);
    assert_eq!(bench.own_record(1).tip, None);
}

/// The block that the chain goes on from stands in no window, whatever its height: nothing is
/// handed on as certified at index 0 of window 0.
#[test]
fn r1_a_genesis_above_height_zero_is_no_block_of_a_window() {
    let set = onward(&six(64));
    let mut bench = Bench::new(&set, 5);
    let block = Block::first(&set, 1);
    bench.votes(&[0, 1, 2, 3], 0, &stop_at(&block));
    assert_eq!(bench.consensus.window(), w(0), "the block is not here");
    bench.propose(&block);
    assert_eq!(bench.consensus.window(), w(1));
    assert_eq!(block.header.height.number(), 701);
}

#[test]
fn r1_entering_needs_a_parent_and_not_only_a_skip() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    bench.certificates(1, vec![skip_of(&set, 1, &[0, 1, 2, 3])]);
    assert_eq!(
        bench.consensus.window(),
        w(0),
        "window 0 may hand something on yet"
    );
    bench.certificates(1, vec![skip_of(&set, 0, &[0, 1, 2, 3])]);
    assert_eq!(bench.consensus.window(), w(2));
}

#[test]
fn r1_votes_of_higher_windows_alone_drag_nobody_ahead() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    for window in [1, 2] {
        bench.votes(&[0, 1, 2, 3, 4], window, &stop());
    }
    assert_eq!(bench.consensus.window(), w(0));
}

/// Without the lower timers one validator that shows its evidence to some only halts four.
#[test]
fn r1_windows_jumped_over_still_close() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    let skips = vec![
        skip_of(&set, 0, &[0, 1, 2, 3]),
        skip_of(&set, 1, &[0, 1, 2, 3]),
    ];
    bench.certificates(2, skips);
    assert_eq!(bench.consensus.window(), w(2));
    bench.lapse(49);
    assert!(!bench.own_record(0).stop && !bench.own_record(1).stop);
    bench.lapse(2);
    for window in [0, 1, 2] {
        assert!(bench.own_record(window).stop, "window {window}");
    }
}

#[test]
fn r1_entering_starts_the_timers_anew() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    bench.lapse(40);
    bench.certificates(2, vec![skip_of(&set, 0, &[0, 1, 2, 3])]);
    assert_eq!(bench.consensus.window(), w(1));
    bench.lapse(40);
    assert!(!bench.own_record(1).stop && !bench.own_record(0).stop);
    bench.lapse(12);
    assert!(bench.own_record(1).stop && bench.own_record(0).stop);
}

#[test]
fn r1_a_status_restarts_the_timer_of_the_current_window_and_of_no_lower_one() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    bench.certificates(2, vec![skip_of(&set, 0, &[0, 1, 2, 3])]);
    for _ in 0..6 {
        bench.lapse(10);
        for (from, window) in [(0, 0), (1, 1)] {
            let status = bench.status_of(window);
            bench.status(from, status);
        }
    }
    assert!(bench.own_record(0).stop);
    assert!(!bench.own_record(1).stop);
}

#[test]
fn r1_the_certificates_behind_a_window_go_to_its_leader_once() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    bench.votes_signed(&[0, 1, 2, 3], 0, &stop());
    bench.votes_signed(&[0, 1, 2, 3], 1, &stop());
    assert_eq!(bench.consensus.window(), w(2));
    bench.lapse(20);
    // The own stop of window 1 brought those behind window 1 to everyone.
    let mut sent = bench.certificates_sent(2);
    sent.retain(|list| list.last().is_some_and(|one| one.window == w(1)));
    assert_eq!(sent.len(), 1, "to the leader of window 2");
    let skipped: Vec<_> = sent[0].iter().map(|one| (one.window, one.target)).collect();
    let whole = Target::Skip { from: i(0) };
    assert_eq!(skipped, vec![(w(0), whole), (w(1), whole)]);
}

#[test]
fn r1_a_certificate_is_judged_on_its_own_records_alone() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    bench.votes(&[0, 1], 0, &stop());
    let two_more = certificate(
        &set,
        0,
        Target::Skip { from: i(0) },
        (&[3, 4], &stop()),
        vec![],
    );
    bench.certificates(3, vec![two_more]);
    assert_eq!(bench.consensus.window(), w(0));
    assert!(!bench.own_record(0).stop, "its records join nothing");
    let forged = {
        let mut forged = skip_of(&set, 0, &[0, 1, 2, 3]);
        forged.records[0].signature[0] ^= 1;
        forged
    };
    bench.certificates(3, vec![forged]);
    assert_eq!(bench.consensus.window(), w(0));
}

#[test]
fn r1_a_peer_s_connection_says_nothing_of_windows() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    let status = bench.status_of(40);
    bench.status(1, status);
    bench.input(Input::PeerDown(v(1)));
    assert_eq!(bench.consensus.window(), w(0));
    let to_all = |(to, message): &(Destination, &Message)| {
        *to == Destination::All && matches!(message, Message::Certificates(_))
    };
    assert_eq!(bench.sent().filter(to_all).count(), 0);
}

/// Who has not counted what certified the block below knows from the finality that it was.
#[test]
fn r1_a_block_final_by_count_makes_its_parent_one_of_its_window() {
    let set = six(2);
    let mut bench = Bench::new(&set, 5);
    let below = Block::first(&set, 1).child(&set, 2);
    bench.answers.journal = false;
    bench.branch(0, &[&Block::first(&set, 1), &below]);
    let block = below.opening(&set, 1, 3);
    bench.headers(1, &[&block]);
    assert_eq!(bench.consensus.window(), w(0));
    bench.votes(&[0, 1, 2, 3, 4], 1, &tip(&block));
    assert_eq!(bench.consensus.finalized(), block.point());
    assert_eq!(bench.consensus.window(), w(1));
}

/// What channels told is enough to enter; the signatures that show it to the leader come later.
#[test]
fn r1_the_certificates_go_to_the_leader_when_they_come_after_the_window_was_entered() {
    let set = six(64);
    let mut bench = Setup::new(&set, 5).patient().run();
    bench.votes(&[0, 1, 2, 3], 0, &stop());
    assert_eq!(bench.consensus.window(), w(1));
    assert!(bench.certificates_sent(1).is_empty(), "nothing to show");
    bench.votes_signed(&[0, 1, 2, 3], 0, &stop());
    assert_eq!(bench.certificates_sent(1).len(), 1);
}

/// Who is stopped alone, and by the timer of a window that was jumped over, is no reason to give
/// the leader of the present one more time.
#[test]
fn r5_a_window_that_was_jumped_over_makes_no_timer_longer() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    bench.certificates(2, vec![skip_of(&set, 0, &[0, 1, 2, 3])]);
    for _ in 0..6 {
        bench.lapse(10);
        let status = bench.status_of(1);
        bench.status(1, status);
    }
    assert!(bench.own_record(0).stop && !bench.own_record(1).stop);
    bench.lapse(49);
    assert!(!bench.own_record(1).stop);
    bench.lapse(2);
    assert!(bench.own_record(1).stop);
}
