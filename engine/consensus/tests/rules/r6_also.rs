//! R6: what an honest validator may have seen final gets fallback support, from the fork upward.

use crate::bench::{Bench, Setup};
use crate::fixtures::{Block, chain, final_of, i, six, stop, stop_at, tip, w};
use quorate_consensus::certificate::Target;
use quorate_consensus::message::{Get, Message};
use quorate_consensus::record::Record;
use quorate_consensus::types::BlockId;

#[test]
fn r6_a_block_with_stake_of_amp_and_no_possible_rival_gets_support() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    let blocks = chain(&set, 2, 1);
    bench.propose(&blocks[0]);
    bench.stop_by_timer();
    bench.votes(&[2, 3], 0, &stop_at(&blocks[0]));
    bench.vote(0, 0, tip(&blocks[1]));
    bench.branch(0, &[&blocks[1]]);
    assert!(
        bench.own_record(0).also.is_empty(),
        "one validator may have been told anything"
    );
    bench.vote(1, 0, tip(&blocks[1]));
    let record = bench.own_record(0);
    assert_eq!(record.also, vec![blocks[1].at()]);
    assert_eq!((record.tip, record.stop), (Some(blocks[0].at()), true));
    bench.lapse(20);
    let (_, vote) = *bench.votes_sent(0).last().unwrap();
    assert!(
        vote.signature.is_some() && vote.record == record,
        "sent, signed"
    );
}

#[test]
fn r6_every_other_block_of_the_slot_must_be_past_finality() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    let mine = chain(&set, 1, 1);
    let theirs = chain(&set, 1, 10);
    bench.propose(&mine[0]);
    bench.stop_by_timer();
    bench.vote(2, 0, tip(&mine[0]));
    bench.votes(&[0, 1], 0, &tip(&theirs[0]));
    bench.branch(0, &[&theirs[0]]);
    assert!(
        bench.own_record(0).also.is_empty(),
        "A(own) = 2: the own block may be final"
    );
    bench.vote(3, 0, stop());
    assert_eq!(bench.own_record(0).also, vec![theirs[0].at()]);
}

#[test]
fn r6_the_walk_down_to_the_fork_leaves_nothing_out() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    let mine = chain(&set, 1, 1);
    let theirs = chain(&set, 2, 10);
    bench.propose(&mine[0]);
    bench.stop_by_timer();
    bench.vote(2, 0, stop_at(&mine[0]));
    bench.votes(&[0, 1], 0, &tip(&theirs[1]));
    bench.branch(0, &[&theirs[0], &theirs[1]]);
    // At index 1 everybody else skips; at index 0 the own block may still be final.
    assert!(bench.own_record(0).also.is_empty());
    bench.vote(3, 0, stop());
    assert_eq!(bench.own_record(0).also, vec![theirs[1].at()]);
}

/// The evidence for a parent may exist as unsigned counts elsewhere only: asking for it here
/// would wedge the window.
#[test]
fn r6_at_index_zero_no_ready_parent_is_asked_for() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    let elsewhere = BlockId::new([0xee; 32]);
    let block = Block::first(&set, 1).with(|header| header.parent_id = elsewhere);
    bench.stop_by_timer();
    bench.votes(&[0, 1], 0, &tip(&block));
    bench.branch(0, &[&block]);
    assert_eq!(bench.own_record(0).also, vec![block.at()]);
}

#[test]
fn r6_the_window_is_closed_first() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    let block = Block::first(&set, 1).opening(&set, 1, 2);
    bench.votes(&[1, 2], 1, &tip(&block));
    bench.branch(1, &[&block]);
    bench.vote(4, 1, stop());
    assert_eq!(bench.own_record(1), Record::default());
}

#[test]
fn r6_a_full_window_is_closed_without_a_stop() {
    let set = six(2);
    let mut bench = Bench::new(&set, 5);
    let mine = chain(&set, 2, 1);
    let rival = mine[0].child(&set, 20);
    bench.propose(&mine[0]);
    bench.propose(&mine[1]);
    bench.votes(&[0, 1], 0, &tip(&rival));
    bench.branch(0, &[&rival]);
    bench.vote(2, 0, stop_at(&mine[0]));
    let record = bench.own_record(0);
    assert_eq!((record.stop, record.also), (false, vec![rival.at()]));
}

#[test]
fn r6_the_bodies_are_here_first_and_are_fetched() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    let blocks = chain(&set, 2, 1);
    bench.propose(&blocks[0]);
    bench.stop_by_timer();
    bench.votes(&[2, 3], 0, &stop_at(&blocks[0]));
    bench.votes(&[0, 1], 0, &tip(&blocks[1]));
    bench.headers(0, &[&blocks[1]]);
    assert!(bench.own_record(0).also.is_empty());
    let wants_body = |get: &Get| matches!(get, Get::Bodies(refs) if refs[0].id == blocks[1].id);
    assert!(bench.asked().iter().any(|(_, get)| wants_body(get)));
    bench.body(0, &blocks[1]);
    assert_eq!(bench.own_record(0).also, vec![blocks[1].at()]);
}

/// Whoever jumped to a proof has none of the bodies below it, and its support may be what a window
/// waits for.
#[test]
fn r6_the_bodies_of_final_blocks_are_not_waited_for() {
    for is_proven in [true, false] {
        let set = six(64);
        let mut bench = Bench::new(&set, 5);
        let blocks = chain(&set, 2, 1);
        let rival = Block::first(&set, 30);
        bench.stop_by_timer();
        if is_proven {
            bench.certificates(1, vec![final_of(&set, &blocks[1], &[0, 1, 2, 3, 4])]);
        }
        bench.headers(1, &[&blocks[0], &blocks[1]]);
        bench.votes(&[0, 1, 2], 0, &tip(&blocks[1]));
        bench.vote(3, 0, stop());
        bench.vote(4, 0, stop_at(&rival));
        let expected = is_proven.then(|| blocks[1].at());
        assert_eq!(bench.own_record(0).also, Vec::from_iter(expected));
    }
}

#[test]
fn r6_no_support_at_or_below_an_own_final() {
    let set = six(64);
    let mine = chain(&set, 2, 1);
    let theirs = chain(&set, 1, 10);
    let record = Record {
        fin: Some(i(0)),
        ..stop_at(&mine[1])
    };
    let log = [&mine[0], &mine[1], &theirs[0]];
    let mut bench = Setup::new(&set, 5).with_log(record.clone(), &log).run();
    bench.votes(&[0, 1, 2], 0, &tip(&theirs[0]));
    assert_eq!(bench.own_record(0), record, "rule X from the other side");
}

#[test]
fn r6_more_than_one_block_of_a_slot_may_get_support() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    let one = Block::first(&set, 1);
    let other = Block::first(&set, 2);
    bench.stop_by_timer();
    bench.votes(&[0, 1], 0, &tip(&one));
    bench.votes(&[2, 3], 0, &tip(&other));
    bench.branch(0, &[&one]);
    bench.branch(2, &[&other]);
    let mut expected = vec![one.at(), other.at()];
    expected.sort_unstable();
    assert_eq!(bench.own_record(0).also, expected);
}

/// What is shown to others is made of signed records. A voter's bare stop, signed before its
/// fallback, may come after it: on another way, or from who sends it again.
#[test]
fn r6_a_signed_fallback_stays_when_an_earlier_signed_record_comes_late() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    let block = Block::first(&set, 1);
    bench.propose(&block);
    bench.votes_signed(&[0, 1], 0, &stop_at(&block));
    let fallback = Record {
        also: vec![block.at()],
        ..stop()
    };
    bench.votes_signed(&[2, 3], 0, &fallback);
    bench.votes_signed(&[2, 3], 0, &stop());
    bench.message(4, Message::Get(Get::Ready { window: w(1) }));
    let (index, id) = block.at();
    let target = Target::Certified { index, id };
    let sent = bench.certificates_sent(4).concat();
    let certified = sent.iter().find(|one| one.target == target);
    assert!(certified.is_some(), "{sent:?}");
}
