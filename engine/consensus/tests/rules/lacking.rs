//! What the fast path of the own vote lacks, for whoever reads votes together.

use crate::bench::{Bench, Setup};
use crate::fixtures::{Block, chain, set_of, six, stop_at, tip, v};
use quorate_consensus::input::Input;
use quorate_consensus::types::Stake;
use quorate_consensus::validators::ValidatorSet;
use std::sync::Arc;

/// F = 1, P = 0: the fast path takes all.
fn four() -> Arc<ValidatorSet> {
    set_of(&[1; 4], 1, 0, 64, 4)
}

/// A follower, the last one, that has voted for the leader's block.
fn voted(set: &Arc<ValidatorSet>, own: u16) -> (Bench, Vec<Block>) {
    let blocks = chain(set, 2, 1);
    let mut bench = Bench::new(set, own);
    bench.propose(&blocks[0]);
    bench.vote(0, 0, tip(&blocks[0]));
    (bench, blocks)
}

fn lacks(bench: &Bench) -> Option<u64> {
    bench.consensus.lacks_to_fast().map(Stake::amount)
}

#[test]
fn votes_are_lacking_until_all_of_the_fast_path_are_here() {
    let (mut bench, blocks) = voted(&four(), 3);
    assert_eq!(lacks(&bench), Some(2), "the leader and this validator have");
    assert!(!bench.consensus.lacks_vote_of(v(0)));
    assert!(bench.consensus.lacks_vote_of(v(1)) && bench.consensus.lacks_vote_of(v(2)));
    bench.vote(1, 0, tip(&blocks[0]));
    assert_eq!(lacks(&bench), Some(1));
    assert!(!bench.consensus.lacks_vote_of(v(1)));
    bench.vote(2, 0, tip(&blocks[0]));
    assert_eq!(bench.consensus.finalized().id, blocks[0].id);
    assert_eq!(lacks(&bench), None, "it is final");
    assert!(!bench.consensus.lacks_vote_of(v(2)));
}

#[test]
fn nothing_is_lacking_before_the_own_vote() {
    let set = six(64);
    let bench = Bench::new(&set, 5);
    assert_eq!(lacks(&bench), None);
    assert!(!bench.consensus.lacks_vote_of(v(1)));
    let blocks = chain(&set, 1, 1);
    let mut bench = Setup::new(&set, 5).patient().run();
    bench.answers.journal = false;
    bench.propose(&blocks[0]);
    bench.vote(0, 0, tip(&blocks[0]));
    assert_eq!(lacks(&bench), None, "it waits for the log itself");
    bench.finish_journal();
    bench.settle();
    assert_eq!(lacks(&bench), Some(3));
}

#[test]
fn nobody_waits_for_who_has_no_connection() {
    let (mut bench, _) = voted(&four(), 3);
    bench.input(Input::PeerDown(v(1)));
    assert_eq!(lacks(&bench), None, "all are needed");
    let (mut bench, _) = voted(&six(64), 5);
    assert_eq!(lacks(&bench), Some(3));
    bench.input(Input::PeerDown(v(1)));
    assert_eq!(lacks(&bench), Some(3), "P = 1 may be missing");
    bench.input(Input::PeerDown(v(2)));
    assert_eq!(lacks(&bench), None);
}

#[test]
fn nobody_waits_where_somebody_has_stopped() {
    let (mut bench, blocks) = voted(&six(64), 5);
    bench.vote(1, 0, stop_at(&blocks[0]));
    assert_eq!(lacks(&bench), None);
    assert!(!bench.consensus.lacks_vote_of(v(2)));
    let (mut bench, _) = voted(&six(64), 5);
    bench.stop_by_timer();
    assert_eq!(lacks(&bench), None);
}

#[test]
fn nothing_is_lacking_to_what_is_final_by_the_slow_path() {
    let (mut bench, blocks) = voted(&four(), 3);
    let mut final_too = tip(&blocks[0]);
    final_too.fin = final_too.tip.map(|(index, _)| index);
    bench.votes(&[0, 1], 0, &tip(&blocks[0]));
    bench.lapse(20);
    bench.votes(&[0, 1], 0, &final_too);
    assert_eq!(bench.consensus.finalized().id, blocks[0].id);
    assert_eq!(lacks(&bench), None);
}

/// In `sync` durability blocks leave before their leader's own vote for them.
#[test]
fn what_comes_of_the_leader_is_never_left_for_later() {
    let set = four();
    let block = &chain(&set, 1, 1)[0];
    let mut bench = Bench::new(&set, 3);
    bench.propose(block);
    assert_eq!(
        lacks(&bench),
        Some(3),
        "nobody but this validator has voted"
    );
    assert!(!bench.consensus.lacks_vote_of(v(0)));
    assert!(bench.consensus.lacks_vote_of(v(1)));
}
