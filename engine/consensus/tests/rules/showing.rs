//! Showing a parent to those who have another one: what a leader builds on, what travels with its
//! block, and what a peer gets that has no gap and still lacks it (R2, R10).

use crate::bench::{Bench, Setup};
use crate::fixtures::{
    Block, certificate, certified, chain, final_of, i, payload_numbered, set_of, six, skip_of,
    stop, stop_at, tip, w,
};
use quorate_consensus::certificate::{Certificate, Target};
use quorate_consensus::input::Input;
use quorate_consensus::limits::{
    CERTIFICATE_HEADERS_MAX, CERTIFICATES_PER_MESSAGE_MAX, HEADERS_PER_ANSWER_MAX,
    READY_SUMMARY_MAX,
};
use quorate_consensus::message::{Get, Message, Status};
use quorate_consensus::record::Record;
use quorate_consensus::types::Window;
use quorate_consensus::validators::ValidatorSet;
use quorate_consensus::verify::{Fact, judge};
use quorate_consensus::wire;
use std::collections::BTreeSet;

/// Windows that failed, more than one message can show.
const FAILED: u64 = CERTIFICATES_PER_MESSAGE_MAX as u64 + 3;

fn facts(bench: &Bench, certificates: &[Certificate]) -> Vec<Fact> {
    let judged = certificates.iter().map(|one| judge(&bench.set, one));
    judged
        .map(|fact| fact.expect("it proves its target"))
        .collect()
}

/// A validator that leads the window above many that failed, signed by four others. A block of the
/// first one is certified by what it alone was shown.
fn after_many(slots: u32) -> (Bench, Block, u64) {
    let set = six(slots);
    let first = set.leader(w(0));
    let window = (FAILED..).find(|&window| set.leader(w(window)) != first);
    let window = window.expect("others lead too");
    let own = set.leader(w(window)).number();
    let others: Vec<u16> = (0..6).filter(|&other| other != own).take(4).collect();
    let mut bench = Setup::new(&set, own).patient().run();
    let block = Block::first(&set, 1);
    bench.propose(&block);
    bench.certificates(others[0], vec![certified(&set, &block, &others)]);
    for failed in 0..window {
        bench.votes_signed(&others, failed, &stop());
    }
    assert_eq!(bench.consensus.window(), w(window));
    (bench, block, window)
}

/// Others hold the skips: they stand on what was final before. What shows the block itself is in
/// the one message that there is room for.
#[test]
fn r2_a_parent_far_below_is_shown_with_the_block_that_stands_on_it() {
    let (mut bench, block, window) = after_many(64);
    if bench.proposals_sent().is_empty() {
        bench.input(Input::Payload(payload_numbered(7)));
    }
    let sent = bench.proposals_sent();
    let opened = sent.iter().find(|one| one.header.window == w(window));
    let opened = opened.expect("it leads");
    assert_eq!(opened.header.parent_id, block.id);
    let shown = facts(&bench, &opened.justification);
    assert_eq!(shown.len(), CERTIFICATES_PER_MESSAGE_MAX);
    assert_eq!(shown[0], Fact::Certified(block.point()));
    let last = Fact::Skip {
        window: w(window - 1),
        from: i(0),
    };
    assert_eq!(shown.last(), Some(&last), "and the highest gap");
}

/// It has parents, and so no gap to ask for.
#[test]
fn r10_a_peer_that_lacks_a_parent_gets_all_that_shows_it_a_message_at_a_time() {
    let (mut bench, block, window) = after_many(64);
    let genesis = bench.set.genesis().id;
    let mut shown = BTreeSet::new();
    let mut is_certified = false;
    for _ in 0..3 {
        bench.lapse(60);
        bench.forget();
        let status = Status {
            ready: vec![genesis],
            ..bench.status_of(window)
        };
        bench.status(4, status);
        for certificates in bench.certificates_sent(4) {
            assert!(certificates.len() <= CERTIFICATES_PER_MESSAGE_MAX);
            for fact in facts(&bench, certificates) {
                match fact {
                    Fact::Skip { window, .. } => drop(shown.insert(window)),
                    Fact::Certified(point) => is_certified |= point == block.point(),
                    Fact::Final(_) => panic!("nothing is final"),
                }
            }
        }
    }
    assert!(is_certified);
    let all: BTreeSet<Window> = (0..window).map(w).collect();
    assert_eq!(shown, all);
}

#[test]
fn r10_a_peer_that_has_every_parent_gets_none() {
    let (mut bench, block, window) = after_many(64);
    bench.lapse(60);
    bench.forget();
    let status = Status {
        ready: vec![bench.set.genesis().id, block.id],
        ..bench.status_of(window)
    };
    bench.status(4, status);
    assert!(bench.certificates_sent(4).is_empty());
}

/// So many blocks above another one.
fn branch(set: &ValidatorSet, on: &Block, count: u32, salt: u32) -> Vec<Block> {
    let mut branch = vec![on.child(set, salt)];
    for number in 1..count {
        let next = branch[branch.len() - 1].child(set, salt + number);
        branch.push(next);
    }
    branch
}

fn bring(bench: &mut Bench, voter: u16, blocks: &[Block]) {
    let blocks: Vec<&Block> = blocks.iter().collect();
    for headers in blocks.chunks(HEADERS_PER_ANSWER_MAX) {
        bench.headers(voter, headers);
    }
}

/// Two voters stand on chains above the block that are longer than one certificate can link. What
/// they signed on their way there, at these indices, has come too.
fn above_all_certificates(signed_at: &[usize]) -> (Bench, Block) {
    above_all_certificates_of(1, signed_at)
}

/// The same above so many blocks; the last of them.
fn above_all_certificates_of(count: u32, signed_at: &[usize]) -> (Bench, Block) {
    below_chains(count, [4_200; 2], signed_at)
}

/// So many blocks, and chains of these lengths above the last of them, on which two voters stand.
fn below_chains(count: u32, lengths: [u32; 2], signed_at: &[usize]) -> (Bench, Block) {
    let set = set_of(&[1; 7], 2, 0, 8192, 1);
    let mut bench = Setup::new(&set, 1).patient().run();
    let mut blocks = chain(&set, count, 1);
    for block in &blocks {
        bench.propose(block);
    }
    let block = blocks.pop().expect("one or more");
    for ((voter, salt), length) in [(5, 10_000), (6, 20_000)].into_iter().zip(lengths) {
        let branch = branch(&set, &block, length, salt);
        let mut brought = 0;
        for &index in signed_at {
            bench.vote_signed(voter, 0, tip(&branch[index - 1]));
            bring(&mut bench, voter, &branch[brought..index]);
            brought = index;
        }
        bench.vote_signed(voter, 0, stop_at(&branch[branch.len() - 1]));
        bring(&mut bench, voter, &branch[brought..]);
    }
    bench.votes_signed(&[0, 2], 0, &stop_at(&block));
    bench.votes_signed(&[3, 4], 0, &stop());
    bench.lapse(60);
    assert_eq!(bench.consensus.window(), w(1));
    (bench, block)
}

#[test]
fn r2_a_parent_that_no_certificate_can_show_is_not_built_on_where_another_one_can() {
    let (mut bench, _) = above_all_certificates(&[]);
    // Both are parents: the block by votes, what was final before by what others skipped.
    let skipped = skip_of(&bench.set, 0, &[0, 2, 3, 4, 5]);
    bench.certificates(3, vec![skipped]);
    let room = bench.consensus.proposal_room().expect("it can be shown");
    assert_eq!(room.parent_id, bench.set.genesis().id);
    bench.input(Input::Payload(payload_numbered(7)));
    let sent = bench.proposals_sent();
    let skipped = Fact::Skip {
        window: w(0),
        from: i(0),
    };
    assert_eq!(facts(&bench, &sent[0].justification), [skipped]);
}

/// R2: on the highest that can be shown, though it is neither the highest nor the proven block.
#[test]
fn r2_a_parent_below_one_that_no_certificate_can_show_is_built_on_above_the_proven_block() {
    let set = set_of(&[1; 7], 2, 0, 8192, 1);
    let mut bench = Setup::new(&set, 1).patient().run();
    let blocks = chain(&set, 2, 1);
    for block in &blocks {
        bench.propose(block);
    }
    for (voter, salt) in [(5, 10_000), (6, 20_000)] {
        let branch = branch(&set, &blocks[1], 4_200, salt);
        bench.vote_signed(voter, 0, stop_at(&branch[branch.len() - 1]));
        bring(&mut bench, voter, &branch);
    }
    bench.votes_signed(&[0, 2], 0, &stop_at(&blocks[1]));
    bench.votes_signed(&[3, 4], 0, &stop_at(&blocks[0]));
    bench.lapse(60);
    assert_eq!(bench.consensus.window(), w(1));
    let above = Target::Skip { from: i(1) };
    let stopped = stop_at(&blocks[0]);
    let voters = [0, 2, 3, 4, 5];
    let skip = certificate(&set, 0, above, (&voters, &stopped), Vec::new());
    let shown = certified(&set, &blocks[0], &voters);
    bench.certificates(3, vec![shown, skip]);
    shown_with_the_first_block(&mut bench, &blocks[0]);
}

/// Each one that is tried costs a walk, so that few are: the proven block is, however many stand
/// above it.
#[test]
fn r2_the_proven_block_is_built_on_where_none_of_many_parents_above_it_can_be_shown() {
    let (mut bench, last) = above_all_certificates_of(20, &[]);
    let skipped = skip_of(&bench.set, 0, &[0, 2, 3, 4, 5]);
    bench.certificates(3, vec![skipped]);
    assert_eq!(bench.consensus.proven(), bench.set.genesis());
    bench.lapse(60);
    let status = bench.statuses_sent().last().map(|status| &status.ready);
    let ready = status.expect("it says its status");
    assert_eq!(ready.len(), READY_SUMMARY_MAX, "many are parents");
    assert_eq!(ready[0], last.id);
    let room = bench.consensus.proposal_room().expect("one can be shown");
    assert_eq!(room.parent_id, bench.set.genesis().id);
}

/// Its proof says all that a certificate of its window would say, and is kept when that is over.
#[test]
fn r2_a_proven_block_is_shown_as_a_parent_by_its_proof() {
    let set = six(64);
    let mut bench = Setup::new(&set, 5).patient().run();
    let block = Block::first(&set, 1);
    let proof = final_of(&set, &block, &[0, 1, 2, 3, 4]);
    let above = Target::Skip { from: i(1) };
    let stopped = stop_at(&block);
    let skip = certificate(&set, 0, above, (&[0, 1, 2, 3], &stopped), Vec::new());
    bench.certificates(1, vec![proof.clone()]);
    bench.certificates(2, vec![skip.clone()]);
    assert_eq!(bench.consensus.window(), w(1));
    bench.lapse(20);
    bench.forget();
    bench.message(3, Message::Get(Get::Ready { window: w(1) }));
    let mut shown = facts(&bench, bench.certificates_sent(3)[0]);
    let skipped = facts(&bench, &[skip]);
    assert_eq!(shown.pop().as_slice(), skipped);
    assert_eq!(shown, facts(&bench, &[proof]));
}

/// All may have counted it: with none to build on nobody would ever propose again.
#[test]
fn r2_a_parent_that_no_certificate_can_show_is_built_on_where_there_is_no_other() {
    let (mut bench, block) = above_all_certificates(&[]);
    let room = bench.consensus.proposal_room().expect("it is signed");
    assert_eq!(room.parent_id, block.id);
    bench.input(Input::Payload(payload_numbered(7)));
    assert!(bench.proposals_sent()[0].justification.is_empty());
}

/// Whoever is sent one header more refuses the certificate, and the block that it came with.
#[test]
fn r2_a_certificate_has_as_many_headers_as_its_readers_take_and_no_more() {
    for (lengths, is_shown) in [([4_096, 4_095], true), ([4_096; 2], false)] {
        let (mut bench, block) = below_chains(1, lengths, &[]);
        let room = bench.consensus.proposal_room().expect("it is signed");
        assert_eq!(room.parent_id, block.id);
        bench.input(Input::Payload(payload_numbered(7)));
        let propose = bench.proposals_sent()[0].clone();
        let headers = propose.justification.iter().map(|one| one.headers.len());
        let headers: usize = headers.sum();
        let expected = if is_shown { CERTIFICATE_HEADERS_MAX } else { 0 };
        assert_eq!(headers, expected, "{lengths:?}");
        let message = Message::Propose(propose);
        let mut bytes = Vec::new();
        wire::encode(&message, &mut bytes);
        let read = wire::decode(&bytes).map(wire::Unverified::into_message);
        assert_eq!(read, Ok(message), "{lengths:?}");
    }
}

/// What the first block of window 1 brings along to show `block`, and how many headers that takes.
fn shown_with_the_first_block(bench: &mut Bench, block: &Block) -> usize {
    let room = bench.consensus.proposal_room().expect("it can be shown");
    assert_eq!(room.parent_id, block.id);
    bench.input(Input::Payload(payload_numbered(7)));
    let sent = bench.proposals_sent();
    let shown = facts(bench, &sent[0].justification);
    assert!(shown.contains(&Fact::Certified(block.point())));
    let headers = sent[0].justification.iter().map(|one| one.headers.len());
    headers.sum()
}

/// What a voter signed once it has said for ever, and from there the block is near.
#[test]
fn r2_a_parent_is_shown_by_what_its_voters_signed_when_they_stood_nearer() {
    let (mut bench, block) = above_all_certificates(&[300, 2_000]);
    assert_eq!(shown_with_the_first_block(&mut bench, &block), 1 + 2 * 300);
}

/// However many a voter signs, few are kept, and the lowest of them.
#[test]
fn r2_of_what_a_voter_signed_on_its_way_up_enough_is_kept_to_show_a_block_far_below() {
    let signed_at: Vec<usize> = (1..40).map(|number| 100 * number).collect();
    let (mut bench, block) = above_all_certificates(&signed_at);
    assert_eq!(shown_with_the_first_block(&mut bench, &block), 1 + 2 * 100);
}

/// A voter's tip stands low, on a rival; what it supports of the block's chain stands far above.
#[test]
fn r2_a_parent_is_shown_by_those_whose_support_stands_nearest() {
    let set = set_of(&[1; 7], 2, 0, 16_384, 1);
    let mut bench = Setup::new(&set, 1).patient().run();
    let (block, rival) = (Block::first(&set, 1), Block::first(&set, 2));
    bench.propose(&block);
    let above = branch(&set, &block, 9_000, 10_000);
    let far = Record {
        also: vec![above[above.len() - 1].at()],
        ..stop_at(&rival)
    };
    bench.vote_signed(0, 0, far);
    bring(&mut bench, 0, std::slice::from_ref(&rival));
    bring(&mut bench, 0, &above);
    bench.votes_signed(&[2, 3, 4, 5, 6], 0, &stop_at(&block));
    bench.lapse(60);
    assert_eq!(bench.consensus.window(), w(1));
    assert_eq!(shown_with_the_first_block(&mut bench, &block), 1);
}

/// More than a Status names: its reader would refuse the whole of it.
#[test]
fn r10_a_status_names_the_highest_parents_and_no_more_than_its_reader_takes() {
    let set = six(64);
    let blocks = chain(&set, 20, 1);
    let mut bench = Setup::new(&set, 5).patient().run();
    for block in &blocks {
        bench.propose(block);
        bench.certificates(1, vec![certified(&set, block, &[0, 1, 2, 3])]);
    }
    bench.certificates(1, vec![skip_of(&set, 0, &[2, 3, 4, 5])]);
    assert_eq!(bench.consensus.window(), w(1));
    bench.lapse(30);
    let status = Status::clone(bench.statuses_sent().last().unwrap());
    let highest = blocks[12..].iter().rev().map(|block| block.id);
    assert_eq!(status.ready, highest.collect::<Vec<_>>());
    let message = Message::Status(status);
    let mut bytes = Vec::new();
    wire::encode(&message, &mut bytes);
    let read = wire::decode(&bytes).map(wire::Unverified::into_message);
    assert_eq!(read, Ok(message));
}
