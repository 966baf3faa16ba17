//! What one faulty voter, or leader, may make everybody else do: no more than a walk over what it
//! has brought.
//!
//! A test of this file that does not end has failed: without the bound that it is about, each of
//! its rounds takes seconds to minutes.

use crate::bench::{Bench, Setup};
use crate::fixtures::{Block, chain, i, six, stop, tip, v, w};
use quorate_consensus::effect::Effect;
use quorate_consensus::input::Input;
use quorate_consensus::limits::{ALSO_ENTRIES_MAX, HEADERS_PER_ANSWER_MAX};
use quorate_consensus::machine::{Disposition, Ignored};
use quorate_consensus::message::Message;
use quorate_consensus::record::Record;
use quorate_consensus::trust::Authenticated;
use quorate_consensus::types::{BlockId, Index};
use std::sync::Arc;

/// Brings headers as they fit into answers.
fn bring(bench: &mut Bench, from: u16, blocks: &[Block]) {
    for part in blocks.chunks(HEADERS_PER_ANSWER_MAX) {
        let part: Vec<&Block> = part.iter().collect();
        assert_eq!(bench.headers(from, &part), Disposition::Applied);
    }
}

/// A record of a voter that has stopped at `end` and supports these blocks too.
fn supporting(end: &Block, also: impl Iterator<Item = (Index, BlockId)>) -> Record {
    let mut also: Vec<_> = also.collect();
    also.sort_unstable();
    Record {
        stop: true,
        also,
        ..tip(end)
    }
}

/// Two long chains, and a record that names many blocks of one of them and one that nobody has: it
/// waits, and is looked at again with each vote that comes.
#[test]
fn a_record_that_waits_for_a_header_costs_no_walk_whenever_something_comes() {
    let set = six(65_536);
    let mut bench = Bench::new(&set, 5);
    let (own, other) = (chain(&set, 32_000, 100_000), chain(&set, 32_000, 200_000));
    bring(&mut bench, 1, &own);
    bring(&mut bench, 1, &other);
    let strange = other[31_999].child(&set, 1);
    let named = other[32_000 - 63..].iter().map(Block::at);
    let record = supporting(&own[31_999], named.chain([strange.at()]));
    assert_eq!(record.also.len(), ALSO_ENTRIES_MAX);
    let pending = Disposition::Ignored(Ignored::Pending);
    assert_eq!(bench.vote(1, 0, record), pending);
    let blocks = chain(&set, 50, 1);
    for block in &blocks {
        bench.propose(block);
        bench.votes(&[2, 3], 0, &tip(block));
    }
    // Its header comes, and it is counted, with one walk.
    bench.headers(1, &[&strange]);
    assert!(bench.alarms().is_empty());
    bench.votes(&[0, 4], 0, &tip(&blocks[49]));
    assert_eq!(bench.finalized().len(), 50);
}

/// Two signed records that nobody can show to contradict one another, one sent over and over: each
/// names 64 chains that meet.
#[test]
fn two_signed_records_are_compared_with_one_walk_over_their_chains() {
    let set = six(4096);
    let mut bench = Bench::new(&set, 5);
    let alone = Block::first(&set, 7);
    let (one, other) = (chain(&set, 2_040, 10_000), chain(&set, 2_060, 20_000));
    bring(&mut bench, 1, std::slice::from_ref(&alone));
    bring(&mut bench, 1, &one);
    bring(&mut bench, 1, &other);
    let own = || [alone.at()].into_iter();
    let low = other[1..64].iter().map(Block::at);
    let earlier = supporting(&alone, own().chain(low));
    let tops = one[2_040 - 63..].iter().chain(&other[2_059..]);
    let later = supporting(&alone, tops.map(Block::at));
    bench.vote_signed(1, 0, earlier.clone());
    bench.vote_signed(1, 0, later);
    for _ in 0..2_000 {
        bench.vote_signed(1, 0, earlier.clone());
    }
    let accuses = |effect: &Effect| matches!(effect, Effect::Evidence(_));
    assert!(!bench.seen.iter().any(accuses), "nothing is shown");
}

/// Each block that becomes final is looked for among those of index 0.
#[test]
fn rivals_of_one_voter_at_one_index_are_as_many_as_a_record_can_name() {
    let set = six(4096);
    let mut bench = Bench::new(&set, 5);
    let full = Disposition::Ignored(Ignored::Full);
    for salt in 0..100 {
        let disposition = bench.headers(1, &[&Block::first(&set, salt)]);
        let is_taken = salt as usize <= ALSO_ENTRIES_MAX;
        let expected = if is_taken { Disposition::Applied } else { full };
        assert_eq!(disposition, expected, "{salt}");
    }
    // What is here already is no more, whoever brings it, and another voter has its own.
    let known = Block::first(&set, 3);
    assert_eq!(bench.headers(1, &[&known]), Disposition::Applied);
    let further = Block::first(&set, 99);
    assert_eq!(bench.headers(2, &[&further]), Disposition::Applied);
    assert_eq!(
        bench.headers(1, &[&further, &further.child(&set, 1)]),
        Disposition::Applied,
        "above it there is room"
    );
}

/// A leader brings two whole windows of blocks, one to each half, which fall back to one another
/// and to the skip of all: every block is a parent of each window above, until one has a proof.
#[test]
fn two_whole_windows_of_parents_are_not_looked_at_in_every_turn() {
    let set = six(4096);
    let mut bench = Setup::new(&set, 5).patient().run();
    let both = [chain(&set, 4096, 10_000), chain(&set, 4096, 20_000)];
    for (from, blocks) in (1..).zip(&both) {
        bring(&mut bench, from, blocks);
    }
    for from in 1..5_u16 {
        let own = usize::from(from % 2);
        let fallback = Record {
            also: vec![both[1 - own][4095].at()],
            skip_fallback: Some(i(0)),
            ..tip(&both[own][4095])
        };
        bench.vote_signed(from, 0, fallback);
    }
    assert_eq!(bench.consensus.window(), w(1));
    for block in both.iter().flatten() {
        let (header, payload) = (block.header, Arc::clone(&block.payload));
        let message = Message::Block { header, payload };
        let message = Authenticated::assert_authenticated(v(1), message);
        bench.feed(Input::Message(message));
    }
    bench.settle();
    // Windows fail above it, one stop after the other, and peers tell where they stand.
    let top = (5..).find(|&window| set.leader(w(window)) != v(5));
    let top = top.expect("others lead too");
    for window in 1..top {
        for from in 1..5 {
            bench.vote_signed(from, window, stop());
            for peer in 0..5 {
                bench.status(peer, bench.status_of(window));
            }
        }
        assert_eq!(bench.consensus.window(), w(window + 1));
        bench.lapse(60);
    }
    let next = both[1][4000].opening(&set, top, 1);
    bench.propose(&next);
    assert_eq!(bench.own_record(top).tip, tip(&next).tip);
}
