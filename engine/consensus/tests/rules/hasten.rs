//! What leaves before the rest of a turn is judged: first votes, and nothing else.

use crate::bench::{Bench, Setup};
use crate::fixtures::{Block, MS, chain, i, six, stop, tip, v, w};
use quorate_consensus::effect::{Alarm, Effect};
use quorate_consensus::input::Input;
use quorate_consensus::machine::{Disposition, Ignored};
use quorate_consensus::message::{Message, Propose, Vote};
use quorate_consensus::record::Record;
use quorate_consensus::trust::Authenticated;

/// Hands a proposal of its leader over, without the end of a turn.
fn hand_over(bench: &mut Bench, block: &Block) {
    let message = Message::Propose(Propose {
        header: block.header,
        payload: block.payload.clone(),
        justification: Vec::new(),
        record: None,
    });
    let leader = bench.set.leader(block.header.window);
    let message = Authenticated::assert_authenticated(leader, message);
    assert_eq!(bench.feed(Input::Message(message)), Disposition::Applied);
}

/// Hands a vote over, without the end of a turn.
fn hand_over_vote(bench: &mut Bench, from: u16, record: &Record) {
    let message = Message::Vote(Vote {
        epoch: bench.set.epoch(),
        window: w(0),
        record: record.clone(),
        signature: None,
    });
    let message = Authenticated::assert_authenticated(v(from), message);
    assert_eq!(bench.feed(Input::Message(message)), Disposition::Applied);
}

/// What was asked of the outside since `mark`.
fn since(bench: &Bench, mark: usize) -> &[Effect] {
    &bench.seen[mark..]
}

fn is_vote(effect: &Effect) -> bool {
    let Effect::Send { message, .. } = effect else {
        return false;
    };
    matches!(message, Message::Vote(_))
}

#[test]
fn r3_a_first_vote_is_logged_and_then_said_before_the_turn_ends() {
    let set = six(64);
    let mut setup = Setup::new(&set, 5).patient();
    setup.answers.journal = false;
    let mut bench = setup.run();
    let block = Block::first(&set, 1);
    hand_over(&mut bench, &block);
    let mark = bench.seen.len();
    assert_eq!(bench.feed(Input::Hasten), Disposition::Applied);
    let [Effect::PersistRecord(own)] = since(&bench, mark) else {
        panic!("R11: it goes to the log and nowhere else");
    };
    assert_eq!(own.record, tip(&block));
    let mark = bench.seen.len();
    let stale = Disposition::Ignored(Ignored::Stale);
    assert_eq!(bench.feed(Input::Hasten), stale, "the log has not answered");
    assert!(since(&bench, mark).is_empty());
    bench.finish_journal_now();
    assert_eq!(bench.feed(Input::Hasten), Disposition::Applied);
    let [said] = since(&bench, mark) else {
        panic!("one vote to all: {:?}", since(&bench, mark));
    };
    assert!(is_vote(said));
    bench.settle();
    let votes = since(&bench, mark).iter().filter(|effect| is_vote(effect));
    assert_eq!(
        votes.count(),
        1,
        "the end of the turn says it no second time"
    );
}

#[test]
fn r4_a_final_goes_along_with_a_first_vote_that_leaves_early() {
    let set = six(64);
    let mut setup = Setup::new(&set, 5).patient();
    setup.timers.final_holdoff_ns = MS;
    let mut bench = setup.run();
    let blocks = chain(&set, 2, 1);
    bench.propose(&blocks[0]);
    bench.votes(&[0, 1, 2, 3], 0, &tip(&blocks[0]));
    hand_over(&mut bench, &blocks[1]);
    let mark = bench.seen.len();
    bench.feed(Input::Hasten);
    let expected = Record {
        fin: Some(i(0)),
        ..tip(&blocks[1])
    };
    let logged = since(&bench, mark).iter().find_map(|effect| match effect {
        Effect::PersistRecord(own) => Some(own.record.clone()),
        _ => None,
    });
    assert_eq!(logged, Some(expected));
}

/// They may hang on what the rest of the turn finds out: whether the loop stood still, or a block
/// is final.
#[test]
fn r5_no_stop_and_no_final_of_its_own_leaves_before_the_turn_ends() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    let block = Block::first(&set, 1);
    bench.propose(&block);
    // The predicate holds: the block can become final in no way any more.
    for from in [0, 1, 2] {
        hand_over_vote(&mut bench, from, &stop());
    }
    // And the timer is over by far.
    bench.now.mono_ns += 1_000_000 * MS;
    bench.now.wall_ns += 1_000_000 * MS;
    let mark = bench.seen.len();
    let stale = Disposition::Ignored(Ignored::Stale);
    assert_eq!(bench.feed(Input::Hasten), stale);
    assert!(since(&bench, mark).is_empty(), "{:?}", since(&bench, mark));
    bench.settle();
    assert!(bench.own_record(0).stop, "it is judged with the rest");
    // A notarized block gets its Final with the rest, too.
    let mut bench = Bench::new(&set, 5);
    bench.propose(&block);
    for from in [0, 1, 2] {
        hand_over_vote(&mut bench, from, &tip(&block));
    }
    let mark = bench.seen.len();
    assert_eq!(bench.feed(Input::Hasten), stale);
    assert!(since(&bench, mark).is_empty(), "{:?}", since(&bench, mark));
    bench.settle();
    assert_eq!(bench.own_record(0).fin, Some(i(0)));
}

#[test]
fn r12_nothing_leaves_early_from_behind_the_fence() {
    let set = six(64);
    let block = Block::first(&set, 1);
    let second = &chain(&set, 2, 1)[1];
    let mut bench = Setup::new(&set, 5).with_log(tip(&block), &[&block]).start();
    hand_over(&mut bench, second);
    let mark = bench.seen.len();
    bench.feed(Input::Hasten);
    assert!(since(&bench, mark).is_empty(), "{:?}", since(&bench, mark));
}

/// Whoever is behind with execution adds nothing to it (2.9).
#[test]
fn bounds_no_first_vote_leaves_early_while_execution_is_behind() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    bench.input(Input::Behind(true));
    let block = Block::first(&set, 1);
    hand_over(&mut bench, &block);
    let mark = bench.seen.len();
    bench.feed(Input::Hasten);
    assert!(since(&bench, mark).is_empty(), "{:?}", since(&bench, mark));
    bench.input(Input::Behind(false));
    assert_eq!(bench.own_record(0), tip(&block));
}

#[test]
fn r11_no_first_vote_leaves_early_in_a_window_that_is_not_leased() {
    let set = six(64);
    let mut setup = Setup::new(&set, 5).patient();
    setup.answers.lease = false;
    let mut bench = setup.run();
    hand_over(&mut bench, &Block::first(&set, 1));
    let mark = bench.seen.len();
    bench.feed(Input::Hasten);
    assert!(since(&bench, mark).is_empty(), "{:?}", since(&bench, mark));
}

/// The log lacks the block of the own record: nothing can stand on it, though its header is here.
#[test]
fn r12_no_frozen_record_is_extended_before_the_turn_ends() {
    let set = six(64);
    let blocks = chain(&set, 2, 1);
    let record = tip(&blocks[0]);
    let mut bench = Setup::new(&set, 5).with_log(record, &[]).run();
    bench.headers(1, &[&blocks[0]]);
    hand_over(&mut bench, &blocks[1]);
    let mark = bench.seen.len();
    bench.feed(Input::Hasten);
    assert!(since(&bench, mark).is_empty(), "{:?}", since(&bench, mark));
}

#[test]
fn r3_after_the_fatal_alarm_no_first_vote_leaves_early() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    let invalid = Block::first(&set, 1).undecodable();
    bench.votes(&[1, 2], 0, &tip(&invalid));
    bench.propose(&invalid);
    let alarm = Alarm::InvalidBlockSupported(invalid.id);
    assert!(bench.alarms().contains(&alarm));
    bench.votes(&[0, 3, 4], 0, &stop());
    assert_eq!(bench.consensus.window(), w(1));
    hand_over(
        &mut bench,
        &Block::first(&set, 7).with(|header| header.window = w(1)),
    );
    let mark = bench.seen.len();
    bench.feed(Input::Hasten);
    assert!(since(&bench, mark).is_empty(), "{:?}", since(&bench, mark));
}

/// The own tip moves here as it does at the end of a turn: whoever waits for a slow quorum after it
/// gives the leader all of T_prog.
#[test]
fn r5_a_first_vote_that_leaves_early_restarts_the_timer() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    let block = Block::first(&set, 1);
    bench.lapse(40);
    hand_over(&mut bench, &block);
    assert_eq!(bench.feed(Input::Hasten), Disposition::Applied);
    bench.settle();
    bench.lapse(49);
    assert_eq!(bench.own_record(0), tip(&block), "49 ms after its vote");
    bench.lapse(2);
    assert!(bench.own_record(0).stop);
}
