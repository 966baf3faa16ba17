//! R3: what a first vote asks for, one test a guard.

use crate::bench::{Bench, Setup};
use crate::fixtures::{
    Block, MS, certificate, certified, chain, i, payload_of, sign_header, six, stop_at, tip, v, w,
};
use quorate_consensus::certificate::Target;
use quorate_consensus::input::Input;
use quorate_consensus::machine::{Disposition, Ignored, PeerFault};
use quorate_consensus::message::{Get, Message};
use quorate_consensus::payload::Lane;
use quorate_consensus::record::Record;
use quorate_consensus::trust::Authenticated;
use quorate_consensus::types::BlockId;

#[test]
fn r3_a_block_of_the_leader_is_voted_for_and_the_vote_goes_to_all() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    let blocks = chain(&set, 2, 1);
    bench.propose(&blocks[0]);
    assert_eq!(bench.own_record(0), tip(&blocks[0]));
    bench.propose(&blocks[1]);
    let votes = bench.votes_sent(0);
    assert_eq!(votes.len(), 2);
    assert_eq!(
        votes[1].1.record,
        tip(&blocks[1]),
        "the whole record, never a part of it"
    );
}

#[test]
fn r3_a_block_from_anyone_but_its_leader_is_refused() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    let block = Block::first(&set, 1);
    let disposition = bench.propose_from(1, &block, Vec::new());
    assert_eq!(disposition, Disposition::Fault(PeerFault::NotLeader));
    assert!(bench.own_record(0).is_empty());
}

#[test]
fn r3_a_block_that_is_not_authentic_is_voted_for_when_stake_of_amp_is_behind_it() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    let block = Block::first(&set, 1);
    bench.vote(1, 0, tip(&block));
    bench.branch(1, &[&block]);
    assert!(
        bench.own_record(0).is_empty(),
        "one validator of six may have made it up"
    );
    bench.vote(2, 0, tip(&block));
    bench.body(1, &block);
    assert_eq!(
        bench.own_record(0),
        tip(&block),
        "an honest one stands behind it"
    );
}

#[test]
fn r3_no_vote_without_the_body() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    // Of a window's first block, which its parent is asked for besides, and of the next one.
    let mut before = Record::default();
    for block in &chain(&set, 2, 1) {
        let signature = sign_header(&set, &block.header);
        bench.message(
            2,
            Message::HeaderSignature {
                header: block.header,
                signature,
            },
        );
        assert_eq!(bench.own_record(0), before);
        bench.body(2, block);
        before = tip(block);
        assert_eq!(bench.own_record(0), before);
    }
}

#[test]
fn r3_no_vote_while_the_body_of_an_ancestor_is_missing() {
    let set = six(1);
    let mut bench = Bench::new(&set, 5);
    let below = Block::first(&set, 1);
    let block = below.opening(&set, 1, 2);
    bench.certificates(2, vec![certified(&set, &below, &[0, 1, 2, 3])]);
    assert_eq!(bench.consensus.window(), w(1));
    bench.propose(&block);
    assert!(bench.own_record(1).is_empty());
    bench.propose(&below);
    assert_eq!(bench.own_record(1), tip(&block));
}

#[test]
fn r3_the_first_block_of_a_window_stands_on_a_ready_parent() {
    let set = six(1);
    let mut bench = Bench::new(&set, 5);
    let below = Block::first(&set, 1);
    bench.propose(&below);
    let block = below.opening(&set, 1, 2);
    bench.propose(&block);
    assert!(
        bench.own_record(1).is_empty(),
        "its parent is not certified"
    );
    bench.votes(&[0, 1, 2], 0, &tip(&below));
    assert_eq!(bench.own_record(1), tip(&block));
}

#[test]
fn r3_a_block_that_names_another_parent_than_a_ready_one_is_not_voted_for() {
    let set = six(1);
    let mut bench = Bench::new(&set, 5);
    let below = Block::first(&set, 1);
    bench.propose(&below);
    bench.votes(&[0, 1, 2], 0, &tip(&below));
    // Height and time fit the parent that is ready; the name is that of genesis, which is not.
    let genesis = set.genesis().id;
    let block = below
        .opening(&set, 1, 2)
        .with(|header| header.parent_id = genesis);
    bench.propose(&block);
    assert!(bench.own_record(1).is_empty());
}

#[test]
fn r3_height_and_time_follow_the_parent() {
    let set = six(64);
    let block = Block::first(&set, 1);
    let too_high = block.with(|header| header.height = header.height.next());
    let too_early = block.with(|header| header.time_ns = set.genesis_time_ns());
    for wrong in [too_high, too_early] {
        let mut bench = Bench::new(&set, 5);
        bench.propose(&wrong);
        assert!(bench.own_record(0).tip.is_none());
    }
    let child = block.child(&set, 2);
    let too_high = child.with(|header| header.height = header.height.next());
    let too_early = child.with(|header| header.time_ns = block.header.time_ns);
    for wrong in [too_high, too_early] {
        let mut bench = Bench::new(&set, 5);
        bench.propose(&block);
        bench.propose(&wrong);
        assert_eq!(bench.own_record(0).tip, Some(block.at()));
    }
}

#[test]
fn r3_above_index_zero_the_parent_is_the_own_tip() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    let mine = chain(&set, 1, 1);
    let theirs = chain(&set, 2, 10);
    bench.propose(&mine[0]);
    bench.votes(&[1, 2], 0, &tip(&theirs[1]));
    bench.branch(1, &[&theirs[0], &theirs[1]]);
    assert_eq!(bench.own_record(0), tip(&mine[0]));
}

#[test]
fn r3_blocks_that_came_early_wait_for_their_parents() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    let blocks = chain(&set, 3, 1);
    bench.propose(&blocks[2]);
    bench.propose(&blocks[1]);
    assert!(bench.own_record(0).is_empty());
    bench.propose(&blocks[0]);
    assert_eq!(bench.own_record(0), tip(&blocks[2]));
}

#[test]
fn r3_a_header_from_the_future_is_voted_for_when_the_clock_has_got_there() {
    let set = six(64);
    let mut bench = Setup::new(&set, 5).patient().run();
    let early = bench.now.wall_ns + 600 * MS;
    let block = Block::first(&set, 1).with(|header| header.time_ns = early);
    bench.propose(&block);
    assert!(bench.own_record(0).is_empty(), "not yet arrived");
    bench.sleep_ns(99 * MS);
    bench.votes(&[1], 0, &tip(&block));
    assert!(bench.own_record(0).is_empty(), "501 ms ahead");
    bench.sleep_ns(MS);
    bench.votes(&[1], 0, &tip(&block));
    bench.vote(1, 0, tip(&block.child(&set, 2)));
    bench.headers(1, &[&block.child(&set, 2)]);
    assert_eq!(bench.own_record(0), tip(&block), "500 ms ahead");
}

#[test]
fn r3_a_header_from_the_future_counts_at_once_when_stake_of_amp_is_behind_it() {
    let set = six(64);
    let mut bench = Setup::new(&set, 5).patient().run();
    let early = bench.now.wall_ns + 10_000 * MS;
    let block = Block::first(&set, 1).with(|header| header.time_ns = early);
    bench.propose(&block);
    bench.vote(1, 0, tip(&block));
    assert!(bench.own_record(0).is_empty());
    bench.vote(2, 0, tip(&block));
    assert_eq!(bench.own_record(0), tip(&block));
}

/// Of a leader that made two blocks; their bodies come in one turn.
#[test]
fn r3_of_two_blocks_that_may_be_voted_for_the_one_with_more_first_votes_is() {
    let set = six(64);
    for more_first in [true, false] {
        let mut bench = Setup::new(&set, 5).patient().run();
        let (more, less) = (Block::first(&set, 1), Block::first(&set, 2));
        let mut blocks = [(&more, &[0, 3, 4][..]), (&less, &[1, 2][..])];
        if !more_first {
            blocks.reverse();
        }
        for (block, voters) in blocks {
            bench.votes(voters, 0, &tip(block));
            bench.headers(voters[0], &[block]);
        }
        assert!(bench.own_record(0).is_empty(), "no body is here");
        for (block, voters) in blocks {
            let (header, payload) = (block.header, block.payload.clone());
            let message = Message::Block { header, payload };
            let message = Authenticated::assert_authenticated(v(voters[0]), message);
            assert_eq!(bench.feed(Input::Message(message)), Disposition::Applied);
        }
        bench.settle();
        assert_eq!(bench.own_record(0).tip, Some(more.at()), "{more_first}");
    }
}

#[test]
fn r3_no_first_vote_after_a_stop() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    let blocks = chain(&set, 2, 1);
    bench.propose(&blocks[0]);
    bench.stop_by_timer();
    bench.propose(&blocks[1]);
    assert_eq!(bench.own_record(0).tip, Some(blocks[0].at()));
    assert!(bench.own_record(0).stop);
}

#[test]
fn r3_a_supported_block_that_is_missing_is_fetched_from_those_who_named_it() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    let block = Block::first(&set, 1);
    bench.votes(&[1, 2], 0, &tip(&block));
    bench.lapse(10);
    let wants_header =
        |get: &Get, wanted: BlockId| matches!(get, Get::Headers { id, .. } if *id == wanted);
    assert!(
        bench
            .asked()
            .iter()
            .any(|(_, get)| wants_header(get, block.id))
    );
    bench.forget();
    bench.headers(1, &[&block]);
    let wants_body = |get: &Get| matches!(get, Get::Bodies(blocks) if blocks[0].id == block.id);
    assert!(bench.asked().iter().any(|(_, get)| wants_body(get)));
}

#[test]
fn r3_the_leaders_signature_makes_a_block_authentic_whoever_brings_it() {
    let set = six(64);
    let block = Block::first(&set, 1);
    let good = sign_header(&set, &block.header);
    let mut forged = good;
    forged[0] ^= 1;
    for (signature, votes) in [(forged, false), (good, true)] {
        let mut bench = Bench::new(&set, 5);
        bench.message(
            2,
            Message::HeaderSignature {
                header: block.header,
                signature,
            },
        );
        bench.vote(1, 0, tip(&block));
        bench.branch(1, &[&block]);
        assert_eq!(bench.own_record(0) == tip(&block), votes);
    }
}

#[test]
fn r3_of_several_ready_parents_the_named_one_is_followed() {
    let set = six(64);
    let below = chain(&set, 2, 1);
    let right = below[0].opening(&set, 1, 7);
    // It names the lower parent and has the height of a child of the higher one.
    let wrong = right.with(|header| {
        header.height = below[1].header.height.next();
        header.time_ns = below[1].header.time_ns + 10;
    });
    for (block, votes) in [(wrong, false), (right, true)] {
        let mut bench = Bench::new(&set, 5);
        bench.propose(&below[0]);
        bench.propose(&below[1]);
        let above = Target::Skip { from: i(1) };
        let stops = (&[1, 2, 3, 4][..], &stop_at(&below[0]));
        let skip = certificate(&set, 0, above, stops, Vec::new());
        let both = below.iter().map(|one| certified(&set, one, &[0, 2, 3, 4]));
        bench.certificates(3, both.chain([skip]).collect());
        assert_eq!(bench.consensus.window(), w(1));
        bench.propose(&block);
        assert_eq!(bench.own_record(1).tip == Some(block.at()), votes);
    }
}

#[test]
fn r3_a_block_that_breaks_the_order_or_the_shares_of_lanes_is_never_voted_for() {
    let set = six(64);
    let k = 1024;
    let good = payload_of(&[
        (Lane::Cancel, 1),
        (Lane::Order, 60 * k),
        (Lane::Price, 50 * k),
    ]);
    let bad = [
        payload_of(&[(Lane::Order, 1), (Lane::Cancel, 1)]),
        payload_of(&[(Lane::Order, 20 * k), (Lane::Price, 60 * k)]),
        payload_of(&[(Lane::Order, 50 * k), (Lane::Admin, 50 * k)]),
    ];
    let first = Block::first(&set, 1);
    let mut bench = Bench::new(&set, 5);
    let block = first.naming(&good);
    bench.propose(&block);
    assert_eq!(bench.own_record(0), tip(&block));
    for payload in bad {
        let mut bench = Bench::new(&set, 5);
        let block = first.naming(&payload);
        let disposition = bench.propose(&block);
        assert_eq!(disposition, Disposition::Fault(PeerFault::InvalidBlock));
        let record = bench.own_record(0);
        assert!(record.tip.is_none() && record.stop, "{record:?}");
    }
}

/// No two blocks of one height are certified where one is final, unless more lie than the promise
/// is made for. Nobody follows them then either.
#[test]
fn r3_no_vote_on_a_rival_of_the_finalized_block() {
    let set = six(1);
    let (block, rival) = (Block::first(&set, 1), Block::first(&set, 2));
    for parent in [&block, &rival] {
        let mut bench = Setup::new(&set, 5).patient().run();
        bench.propose(&block);
        bench.propose(&rival);
        bench.votes(&[0, 1, 2, 3, 4], 0, &tip(&block));
        assert_eq!(bench.consensus.finalized(), block.point());
        bench.certificates(2, vec![certified(&set, &rival, &[0, 1, 2, 3])]);
        let next = parent.opening(&set, 1, 3);
        bench.propose(&next);
        let is_voted = bench.own_record(1).tip == Some(next.at());
        assert_eq!(is_voted, parent.id == block.id);
    }
}

#[test]
fn r3_no_vote_on_what_stands_on_a_rival_of_the_finalized_block() {
    let set = six(1);
    let (block, rival) = (Block::first(&set, 1), Block::first(&set, 2));
    for base in [&block, &rival] {
        let mut bench = Setup::new(&set, 5).patient().run();
        bench.propose(&block);
        bench.propose(&rival);
        bench.votes(&[0, 1, 2, 3, 4], 0, &tip(&block));
        assert_eq!(bench.consensus.finalized(), block.point());
        let parent = base.opening(&set, 1, 3);
        bench.propose(&parent);
        bench.certificates(2, vec![certified(&set, &parent, &[0, 1, 2, 3])]);
        assert_eq!(bench.consensus.window(), w(2));
        let next = parent.opening(&set, 2, 4);
        bench.propose(&next);
        let is_voted = bench.own_record(2).tip == Some(next.at());
        assert_eq!(is_voted, base.id == block.id);
    }
}

/// A body is taken of whoever was asked for it, and of the leader unasked: of nobody else.
#[test]
fn r3_a_body_that_nobody_asked_for_makes_no_block_authentic() {
    let set = six(64);
    let block = Block::first(&set, 1);
    let mut bench = Setup::new(&set, 5).patient().run();
    let taken = bench.body(3, &block);
    assert_eq!(taken, Disposition::Ignored(Ignored::Unasked));
    assert_eq!(bench.own_record(0).tip, None);
    bench.body(0, &block);
    assert_eq!(bench.own_record(0).tip, Some(block.at()));
}

/// In the tree of a later window a copy without a body would be found first, and waited for.
#[test]
fn r3_headers_of_another_window_than_the_one_named_are_refused_and_withhold_no_vote() {
    let set = six(1);
    let mut bench = Setup::new(&set, 5).patient().run();
    let lowest = Block::first(&set, 1);
    let middle = lowest.opening(&set, 1, 2);
    let top = middle.opening(&set, 2, 3);
    bench.propose(&lowest);
    bench.votes(&[0, 1, 2], 0, &tip(&lowest));
    assert_eq!(bench.consensus.window(), w(1));
    for window in [1, 2, 3] {
        let (window, headers) = (w(window), vec![lowest.header]);
        let taken = bench.message(4, Message::Headers { window, headers });
        assert_eq!(taken, Disposition::Fault(PeerFault::InvalidHeader));
    }
    bench.propose(&middle);
    bench.votes(&[0, 1, 2], 1, &tip(&middle));
    bench.propose(&top);
    assert_eq!(bench.own_record(2), tip(&top));
}
