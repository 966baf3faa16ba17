//! R9: a verified finality proof carries a validator over everything that is over.

use crate::bench::{Bench, Setup};
use crate::fixtures::{
    Block, certificate, certified, chain, final_of, i, six, stop, stop_at, tip, v, w,
};
use quorate_consensus::certificate::Target;
use quorate_consensus::effect::{Destination, Effect};
use quorate_consensus::input::Input;
use quorate_consensus::limits;
use quorate_consensus::message::{BlockRef, Get, Message, Status};
use quorate_consensus::record::Record;
use quorate_consensus::types::{Height, Point};
use quorate_consensus::validators::ValidatorSet;

/// Blocks of heights 1 to 5 in windows 0, 1 and 2 of two slots each.
fn history(set: &ValidatorSet) -> Vec<Block> {
    let mut blocks = vec![Block::first(set, 1)];
    for salt in 2..6 {
        let last = &blocks[blocks.len() - 1];
        let next = if salt % 2 == 0 {
            last.child(set, salt)
        } else {
            last.opening(set, u64::from(salt / 2), salt)
        };
        blocks.push(next);
    }
    blocks
}

#[test]
fn r9_a_proof_is_adopted_and_its_window_entered() {
    let set = six(2);
    let mut bench = Bench::new(&set, 5);
    let blocks = history(&set);
    let top = &blocks[4];
    bench.certificates(1, vec![final_of(&set, top, &[0, 1, 2, 3, 4])]);
    assert_eq!(bench.consensus.window(), w(2));
    assert_eq!(bench.consensus.finalized(), top.point());
    assert_eq!(bench.consensus.proven(), top.point());
    assert_eq!(bench.consensus.counters().jumps, 1);
    assert!(
        bench.finalized().is_empty(),
        "final, and not delivered before its history is here"
    );
}

/// Headers and signed votes of a window above the own one make its block final before there is a
/// parent for it here. What lies below is dropped then.
#[test]
fn r9_a_proof_made_of_signed_votes_is_a_reason_to_enter_its_window_too() {
    let set = six(2);
    let mut bench = Bench::new(&set, 5);
    let block = &history(&set)[2];
    bench.headers(1, &[block]);
    bench.votes_signed(&[0, 1, 2, 3, 4], 1, &tip(block));
    assert_eq!(bench.consensus.proven(), block.point());
    assert_eq!(bench.consensus.window(), w(1));
}

#[test]
fn r9_history_is_fetched_from_who_has_it_and_delivered_in_order() {
    let set = six(2);
    let mut bench = Bench::new(&set, 5);
    let blocks = history(&set);
    let top = &blocks[4];
    let status = Status {
        finalized: top.point(),
        ..bench.status_of(2)
    };
    bench.status(1, status);
    bench.certificates(1, vec![final_of(&set, top, &[0, 1, 2, 3, 4])]);
    let asked = bench.asked();
    let (to, get) = asked.last().unwrap();
    assert_eq!(*to, Destination::Peer(v(1)));
    let Get::History { top: wanted, .. } = get else {
        panic!("{get:?}")
    };
    assert_eq!(wanted.id, blocks[3].id);
    let headers = blocks[..4].iter().rev().map(|block| block.header).collect();
    bench.message(1, Message::History(headers));
    let asked = bench.asked();
    let Get::Bodies(wanted) = asked.last().unwrap().1 else {
        panic!("bodies are next")
    };
    let ids: Vec<_> = wanted.iter().map(|block| block.id).collect();
    assert_eq!(ids, blocks.iter().map(|block| block.id).collect::<Vec<_>>());
    for place in [4, 2, 3, 1] {
        bench.body(1, &blocks[place]);
    }
    assert!(bench.finalized().is_empty());
    bench.body(1, &blocks[0]);
    let expected: Vec<Point> = blocks.iter().map(Block::point).collect();
    assert_eq!(bench.finalized(), expected);
}

#[test]
fn r9_bodies_of_history_are_asked_for_as_many_as_one_request_may_name() {
    let set = six(128);
    let blocks = chain(&set, 100, 1);
    let top = &blocks[99];
    let mut bench = Bench::new(&set, 5);
    let status = Status {
        finalized: top.point(),
        ..bench.status_of(0)
    };
    bench.status(1, status);
    bench.certificates(1, vec![final_of(&set, top, &[0, 1, 2, 3, 4])]);
    let headers = blocks[..99]
        .iter()
        .rev()
        .map(|block| block.header)
        .collect();
    bench.message(1, Message::History(headers));
    let mut next = 0;
    for count in [limits::BODIES_PER_REQUEST_MAX, 36] {
        let wanted: Vec<_> = blocks[next..next + count]
            .iter()
            .map(|block| BlockRef {
                height: block.header.height,
                id: block.id,
            })
            .collect();
        let asked = bench.asked();
        assert_eq!(asked.last().unwrap().1, &Get::Bodies(wanted), "from {next}");
        for block in &blocks[next..next + count] {
            bench.body(1, block);
        }
        next += count;
    }
    assert_eq!(bench.finalized().len(), 100);
}

/// The block between was never here, so the lower one came by history too, though its window has
/// it.
#[test]
fn r9_bodies_of_history_that_are_here_are_not_asked_for() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    let blocks = chain(&set, 3, 1);
    bench.propose(&blocks[0]);
    let status = Status {
        finalized: blocks[2].point(),
        ..bench.status_of(0)
    };
    bench.status(1, status);
    bench.certificates(1, vec![final_of(&set, &blocks[2], &[0, 1, 2, 3, 4])]);
    let headers = vec![blocks[1].header, blocks[0].header];
    bench.message(1, Message::History(headers));
    let asked = bench.asked();
    let Get::Bodies(wanted) = asked.last().unwrap().1 else {
        panic!("bodies are next")
    };
    let ids: Vec<_> = wanted.iter().map(|block| block.id).collect();
    assert_eq!(ids, [blocks[1].id, blocks[2].id]);
    bench.body(1, &blocks[1]);
    bench.body(1, &blocks[2]);
    let expected: Vec<Point> = blocks.iter().map(Block::point).collect();
    assert_eq!(bench.finalized(), expected);
}

#[test]
fn r9_a_block_above_a_gap_is_not_delivered_however_early_its_body_comes() {
    let set = six(2);
    let mut bench = Bench::new(&set, 5);
    let blocks = history(&set);
    let top = &blocks[4];
    bench.certificates(1, vec![final_of(&set, top, &[0, 1, 2, 3, 4])]);
    bench.body(1, top);
    assert!(bench.finalized().is_empty());
    let headers = blocks[..4].iter().rev().map(|block| block.header).collect();
    bench.message(1, Message::History(headers));
    for block in &blocks[..4] {
        bench.body(1, block);
    }
    let expected: Vec<Point> = blocks.iter().map(Block::point).collect();
    assert_eq!(bench.finalized(), expected);
}

#[test]
fn r9_history_that_the_block_above_does_not_name_is_not_taken() {
    let set = six(2);
    let mut bench = Bench::new(&set, 5);
    let blocks = history(&set);
    let status = Status {
        finalized: blocks[4].point(),
        ..bench.status_of(2)
    };
    bench.status(1, status);
    bench.certificates(1, vec![final_of(&set, &blocks[4], &[0, 1, 2, 3, 4])]);
    let forged = blocks[3].with(|header| header.time_ns += 1);
    bench.forget();
    bench.message(1, Message::History(vec![forged.header]));
    bench.body(1, &forged);
    assert!(
        bench
            .asked()
            .iter()
            .all(|(_, get)| !matches!(get, Get::Bodies(_)))
    );
}

#[test]
fn r9_a_proof_of_too_little_stake_or_with_a_bad_signature_is_refused() {
    let set = six(2);
    let mut bench = Bench::new(&set, 5);
    let block = Block::first(&set, 1);
    let thin = final_of(&set, &block, &[0, 1, 2, 3]);
    let mut forged = final_of(&set, &block, &[0, 1, 2, 3, 4]);
    forged.records[2].signature[5] ^= 1;
    for wrong in [thin, forged] {
        bench.certificates(1, vec![wrong]);
        assert!(set.is_genesis(&bench.consensus.proven()));
    }
    bench.lapse(1);
    bench.certificates(2, vec![final_of(&set, &block, &[0, 1, 2, 3, 4])]);
    assert_eq!(bench.consensus.proven(), block.point());
}

#[test]
fn r9_an_older_proof_takes_nobody_back() {
    let set = six(2);
    let mut bench = Bench::new(&set, 5);
    let blocks = history(&set);
    bench.certificates(1, vec![final_of(&set, &blocks[4], &[0, 1, 2, 3, 4])]);
    bench.certificates(2, vec![final_of(&set, &blocks[2], &[0, 1, 2, 3, 4])]);
    assert_eq!(bench.consensus.proven(), blocks[4].point());
    assert_eq!(bench.consensus.window(), w(2));
}

/// Nor do the signed votes that are here, when they prove less than a certificate did.
#[test]
fn r9_signed_votes_for_a_lower_block_take_no_proof_back() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    let blocks = chain(&set, 3, 1);
    bench.branch(0, &[&blocks[0], &blocks[1], &blocks[2]]);
    bench.certificates(1, vec![final_of(&set, &blocks[2], &[0, 1, 2, 3, 4])]);
    assert_eq!(bench.consensus.proven(), blocks[2].point());
    bench.votes_signed(&[0, 1, 2, 3, 4], 0, &tip(&blocks[0]));
    bench.votes_signed(&[0, 1, 2, 3, 4], 0, &tip(&blocks[2]));
    assert_eq!(bench.consensus.proven(), blocks[2].point());
    let proven = bench.seen.iter().filter_map(|effect| match effect {
        Effect::Proven(point) => Some(point.height),
        _ => None,
    });
    let proven: Vec<_> = proven.collect();
    assert_eq!(proven, [blocks[2].header.height], "each once");
}

#[test]
fn r9_a_proof_of_what_is_final_here_in_the_own_window_is_no_jump() {
    let set = six(2);
    let mut bench = Bench::new(&set, 5);
    let block = Block::first(&set, 1);
    bench.propose(&block);
    bench.votes(&[0, 1, 2, 3, 4], 0, &tip(&block));
    assert_eq!(bench.consensus.finalized(), block.point());
    bench.forget();
    bench.certificates(1, vec![final_of(&set, &block, &[0, 1, 2, 3, 4])]);
    assert_eq!(bench.consensus.proven(), block.point());
    assert_eq!(bench.consensus.counters().jumps, 0);
    let enters = |effect: &Effect| matches!(effect, Effect::Entered { .. });
    assert!(!bench.seen.iter().any(enters), "its timer goes on");
}

#[test]
fn r9_a_proof_in_a_window_below_the_own_one_leaves_the_window_as_it_is() {
    let set = six(2);
    let mut bench = Bench::new(&set, 5);
    let block = Block::first(&set, 1);
    bench.propose(&block);
    bench.votes(&[0, 1, 2, 3], 0, &stop());
    assert_eq!(bench.consensus.window(), w(1));
    bench.forget();
    bench.certificates(1, vec![final_of(&set, &block, &[0, 1, 2, 3, 4])]);
    assert_eq!(bench.consensus.proven(), block.point());
    assert_eq!(bench.consensus.window(), w(1));
    let enters = |effect: &Effect| matches!(effect, Effect::Entered { .. });
    assert!(!bench.seen.iter().any(enters), "not left and entered again");
}

/// The Skip of what is above came first, when there was no parent below it yet.
#[test]
fn r9_a_block_proven_final_is_a_parent_when_the_skip_above_it_came_before() {
    let set = six(64);
    let mut bench = Setup::new(&set, 5).patient().run();
    let block = Block::first(&set, 1);
    let above = Target::Skip { from: i(1) };
    let stops = (&[1, 2, 3, 4][..], &stop_at(&block));
    bench.certificates(3, vec![certificate(&set, 0, above, stops, vec![])]);
    assert_eq!(bench.consensus.window(), w(0));
    bench.certificates(3, vec![final_of(&set, &block, &[0, 1, 2, 3, 4])]);
    assert_eq!(bench.consensus.window(), w(1));
}

#[test]
fn r9_whoever_jumped_votes_at_once() {
    let set = six(2);
    let mut bench = Bench::new(&set, 5);
    let blocks = history(&set);
    for block in &blocks[..2] {
        bench.propose(block);
    }
    bench.certificates(1, vec![final_of(&set, &blocks[1], &[0, 1, 2, 3, 4])]);
    bench.propose(&blocks[2]);
    assert_eq!(bench.own_record(1), tip(&blocks[2]));
}

/// A window has begun when a proof of a block in it comes: what lies below is dropped, and with it
/// every other evidence of the parent of its first block.
#[test]
fn r9_whoever_jumped_into_the_middle_of_a_window_votes_in_it() {
    let set = six(2);
    let mut bench = Bench::new(&set, 5);
    let blocks = history(&set);
    bench.certificates(1, vec![final_of(&set, &blocks[2], &[0, 1, 2, 3, 4])]);
    bench.headers(1, &[&blocks[2]]);
    bench.message(
        1,
        Message::History(vec![blocks[1].header, blocks[0].header]),
    );
    bench.body(1, &blocks[2]);
    bench.body(1, &blocks[1]);
    assert_eq!(bench.own_record(1), Record::default(), "not all is here");
    bench.body(1, &blocks[0]);
    bench.settle();
    assert_eq!(bench.own_record(1), tip(&blocks[2]));
    bench.propose(&blocks[3]);
    assert_eq!(bench.own_record(1), tip(&blocks[3]));
}

#[test]
fn r9_whoever_jumped_takes_back_no_stop_and_no_vote() {
    let set = six(2);
    let blocks = history(&set);
    let jump = |bench: &mut Bench| {
        bench.certificates(2, vec![final_of(&set, &blocks[2], &[0, 1, 2, 3, 4])]);
        bench.headers(2, &[&blocks[2]]);
        bench.message(
            2,
            Message::History(vec![blocks[1].header, blocks[0].header]),
        );
    };
    let arrive = |bench: &mut Bench| {
        for block in &blocks[..3] {
            bench.body(2, block);
        }
        bench.settle();
        assert_eq!(bench.consensus.delivered(), blocks[2].header.height);
    };
    let mut stopped = Bench::new(&set, 5);
    jump(&mut stopped);
    stopped.input(Input::Shutdown);
    arrive(&mut stopped);
    assert_eq!(stopped.own_record(1), stop());

    // The proof comes last, so that nothing has brought a stop before the block can be joined.
    let mut voted = Bench::new(&set, 5);
    for block in &blocks[..2] {
        voted.propose(block);
    }
    voted.certificates(1, vec![final_of(&set, &blocks[1], &[0, 1, 2, 3, 4])]);
    let rival = blocks[1].opening(&set, 1, 9);
    voted.propose(&rival);
    voted.votes(&[0, 2], 1, &tip(&blocks[2]));
    voted.branch(2, &[&blocks[2]]);
    assert_eq!(voted.own_record(1), tip(&rival));
    voted.certificates(2, vec![final_of(&set, &blocks[2], &[0, 1, 2, 3, 4])]);
    voted.settle();
    assert_eq!(voted.consensus.delivered(), blocks[2].header.height);
    assert_eq!(voted.own_record(1).tip, tip(&rival).tip);
}

/// Its tip is on another branch, and below the final block: what stands higher is no growth of it.
#[test]
fn r3_whoever_voted_for_another_branch_does_not_join_the_final_block() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    let own = Block::first(&set, 1);
    let base = Block::first(&set, 2);
    let top = base.child(&set, 3);
    bench.propose(&own);
    assert_eq!(bench.own_record(0), tip(&own));
    // All of the other branch is here; of its voters only two have been heard.
    bench.votes(&[2, 3], 0, &tip(&top));
    bench.branch(2, &[&base, &top]);
    bench.certificates(2, vec![final_of(&set, &top, &[0, 1, 2, 3, 4])]);
    bench.settle();
    assert_eq!(bench.consensus.delivered(), top.header.height);
    assert_eq!(bench.own_record(0), tip(&own));
}

/// Its tip is below the final block on one chain: what is between came from no leader and has no
/// honest voter behind it that is known here, but for the proof.
#[test]
fn r3_whoever_voted_below_the_final_block_joins_it() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    let blocks = chain(&set, 3, 1);
    bench.propose(&blocks[0]);
    bench.vote(2, 0, tip(&blocks[2]));
    bench.headers(2, &[&blocks[1], &blocks[2]]);
    assert_eq!(bench.own_record(0), tip(&blocks[0]));
    bench.certificates(2, vec![final_of(&set, &blocks[2], &[0, 1, 2, 3, 4])]);
    for block in &blocks[1..] {
        bench.body(2, block);
    }
    bench.settle();
    assert_eq!(bench.own_record(0).tip, tip(&blocks[2]).tip);
}

/// A block that stands as high as this, whatever is below it.
fn at_height(set: &ValidatorSet, window: u64, height: u64) -> Block {
    let block = Block::first(set, 1).opening(set, window, 2);
    block.with(|header| header.height = Height::new(height))
}

/// No more headers are held than a bound: what is further away begins with a proof near enough.
#[test]
fn r9_a_gap_too_wide_to_hold_is_cut_by_a_proof_in_the_middle_of_it() {
    let set = six(2);
    let mut bench = Bench::new(&set, 5);
    let (top, middle) = (at_height(&set, 9, 40_000), at_height(&set, 3, 9_000));
    let (low, other) = (at_height(&set, 2, 1), at_height(&set, 2, 8_192));
    let status = Status {
        finalized: top.point(),
        proven: top.point(),
        ..bench.status_of(9)
    };
    bench.status(1, status);
    bench.certificates(1, vec![final_of(&set, &top, &[0, 1, 2, 3, 4])]);
    bench.lapse(20);
    let asked = bench.asked();
    assert!(
        asked
            .iter()
            .any(|(_, get)| matches!(get, Get::Finality { .. }))
    );
    bench.forget();
    // Lower than was asked for: it would be fetched up to there, and no further.
    bench.certificates(1, vec![final_of(&set, &low, &[0, 1, 2, 3, 4])]);
    bench.certificates(1, vec![final_of(&set, &middle, &[0, 1, 2, 3, 4])]);
    bench.certificates(1, vec![final_of(&set, &other, &[0, 1, 2, 3, 4])]);
    bench.lapse(20);
    let asked = bench.asked();
    let is_history = |get: &Get| matches!(get, Get::History { .. });
    let wanted = |get: &Get| matches!(get, Get::History { top, .. } if top.id == middle.id);
    let mut history = asked.iter().filter(|(_, get)| is_history(get)).peekable();
    assert!(history.peek().is_some(), "{asked:?}");
    assert!(history.all(|(_, get)| wanted(get)), "{asked:?}");
}

/// Its header is not here, and nothing else is to come: the proof alone frees the vote.
#[test]
fn r3_what_stands_on_a_block_is_voted_for_once_that_is_proven_final() {
    let set = six(1);
    let mut bench = Bench::new(&set, 5);
    let parent = Block::first(&set, 1);
    let block = parent.opening(&set, 1, 2);
    bench.certificates(3, vec![certified(&set, &parent, &[0, 1, 2, 3])]);
    assert_eq!(bench.consensus.window(), w(1));
    bench.propose(&block);
    assert!(
        bench.own_record(1).is_empty(),
        "its parent's body is missing"
    );
    bench.certificates(2, vec![final_of(&set, &parent, &[0, 1, 2, 3, 4])]);
    assert_eq!(bench.own_record(1), tip(&block));
}

/// Five first votes make it final here, whose header has come and whose body has not.
#[test]
fn r3_what_stands_on_a_block_is_voted_for_once_that_is_final_by_count() {
    let set = six(1);
    let mut bench = Bench::new(&set, 5);
    let parent = Block::first(&set, 1);
    let block = parent.opening(&set, 1, 2);
    bench.headers(1, &[&parent]);
    bench.certificates(3, vec![certified(&set, &parent, &[0, 1, 2, 3])]);
    bench.propose(&block);
    assert!(
        bench.own_record(1).is_empty(),
        "its parent's body is missing"
    );
    bench.votes(&[0, 1, 2, 3, 4], 0, &tip(&parent));
    assert_eq!(bench.consensus.finalized(), parent.point());
    assert_eq!(bench.own_record(1), tip(&block));
}
