//! R8: what becomes final, by which path, in which order, and what may be dropped then.

use crate::bench::Bench;
use crate::fixtures::{Block, chain, i, six, stop, stop_at, tip, w};
use quorate_consensus::effect::{Effect, FinalPath};
use quorate_consensus::record::Record;
use quorate_consensus::types::Point;

fn paths(bench: &Bench) -> Vec<FinalPath> {
    let finals = bench.seen.iter().filter_map(|effect| match effect {
        Effect::Finalized { path, .. } => Some(*path),
        _ => None,
    });
    finals.collect()
}

#[test]
fn r8_first_votes_of_stake_fast_finalize() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    let block = Block::first(&set, 1);
    bench.propose(&block);
    bench.votes(&[0, 1, 2], 0, &tip(&block));
    assert!(bench.finalized().is_empty(), "4 of FAST = 5");
    bench.vote(3, 0, tip(&block));
    assert_eq!(bench.finalized(), vec![block.point()]);
    assert_eq!(paths(&bench), vec![FinalPath::Fast]);
}

#[test]
fn r8_finals_of_stake_q_finalize() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    let block = Block::first(&set, 1);
    bench.propose(&block);
    bench.votes(&[0, 1, 2], 0, &tip(&block));
    let record = Record {
        fin: Some(i(0)),
        ..tip(&block)
    };
    bench.votes(&[0, 1], 0, &record);
    assert!(bench.finalized().is_empty(), "3 of Q = 4");
    bench.vote(2, 0, record);
    assert_eq!(bench.finalized(), vec![block.point()]);
    assert_eq!(paths(&bench), vec![FinalPath::Slow]);
}

#[test]
fn r8_a_vote_said_twice_counts_once() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    let block = Block::first(&set, 1);
    bench.propose(&block);
    bench.votes(&[0, 1, 2], 0, &tip(&block));
    bench.votes_signed(&[0, 1, 2], 0, &tip(&block));
    bench.votes(&[0, 1, 2], 0, &stop_at(&block));
    assert!(bench.finalized().is_empty());
}

#[test]
fn r8_an_own_vote_counts_like_anyones_and_only_when_it_is_durable() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    let block = Block::first(&set, 1);
    bench.answers.journal = false;
    bench.propose(&block);
    bench.votes(&[0, 1, 2, 3], 0, &tip(&block));
    assert!(bench.finalized().is_empty());
    bench.finish_journal();
    bench.settle();
    assert_eq!(bench.finalized(), vec![block.point()]);
}

#[test]
fn r8_a_final_block_takes_its_ancestors_along_parents_first() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    let blocks = chain(&set, 4, 1);
    for block in &blocks {
        bench.propose(block);
    }
    bench.votes(&[0, 1, 2, 3], 0, &tip(&blocks[3]));
    let expected: Vec<Point> = blocks.iter().map(Block::point).collect();
    assert_eq!(bench.finalized(), expected);
}

#[test]
fn r8_ancestors_of_a_tip_known_by_name_only_count_when_its_headers_come() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    let blocks = chain(&set, 3, 1);
    bench.propose(&blocks[0]);
    bench.votes(&[0, 1, 2, 3], 0, &tip(&blocks[2]));
    assert!(bench.finalized().is_empty());
    bench.headers(2, &[&blocks[1], &blocks[2]]);
    assert_eq!(bench.finalized(), vec![blocks[0].point()]);
}

#[test]
fn r8_nothing_is_delivered_before_the_bodies_below_it() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    let blocks = chain(&set, 3, 1);
    bench.headers(0, &[&blocks[0], &blocks[1], &blocks[2]]);
    bench.votes(&[0, 1, 2, 3, 4], 0, &tip(&blocks[2]));
    assert_eq!(bench.consensus.finalized(), blocks[2].point());
    assert!(bench.finalized().is_empty());
    bench.body(1, &blocks[2]);
    bench.body(1, &blocks[1]);
    assert!(bench.finalized().is_empty());
    bench.body(1, &blocks[0]);
    let expected: Vec<Point> = blocks.iter().map(Block::point).collect();
    assert_eq!(bench.finalized(), expected);
}

#[test]
fn r8_each_block_is_delivered_once() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    let blocks = chain(&set, 2, 1);
    bench.propose(&blocks[0]);
    bench.votes(&[0, 1, 2, 3], 0, &tip(&blocks[0]));
    bench.propose(&blocks[1]);
    bench.votes_signed(&[0, 1, 2, 3], 0, &tip(&blocks[1]));
    bench.lapse(30);
    let expected: Vec<Point> = blocks.iter().map(Block::point).collect();
    assert_eq!(bench.finalized(), expected);
}

/// Until a signed proof exists somewhere, others may need what is known here.
#[test]
fn r8_state_is_dropped_below_a_signed_proof_and_never_below_a_count() {
    let set = six(1);
    let mut bench = Bench::new(&set, 5);
    let below = Block::first(&set, 1);
    let above = below.opening(&set, 1, 2);
    bench.propose(&below);
    bench.votes(&[0, 1, 2, 3], 0, &tip(&below));
    bench.propose(&above);
    bench.votes(&[0, 1, 2, 3], 1, &tip(&above));
    assert_eq!(bench.consensus.finalized(), above.point());
    assert!(bench.consensus.own_record(w(0)).is_some());
    bench.votes_signed(&[0, 1, 2, 3, 4], 1, &tip(&above));
    assert_eq!(bench.consensus.proven(), above.point());
    assert!(bench.consensus.own_record(w(0)).is_none());
}

#[test]
fn r8_a_stop_takes_no_finality_back() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    let block = Block::first(&set, 1);
    bench.propose(&block);
    bench.votes(&[0, 1, 2, 3], 0, &tip(&block));
    bench.votes(&[0, 1, 2, 3], 0, &stop_at(&block));
    bench.vote(4, 0, stop());
    assert_eq!(bench.consensus.window(), w(1));
    assert_eq!(bench.consensus.finalized(), block.point());
    assert_eq!(bench.own_record(0).skip_fallback, Some(i(1)));
}
