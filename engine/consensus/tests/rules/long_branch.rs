//! Chains that come piece by piece: headers longer than one answer, from the voter that named their
//! end, and what is missing below a parent.

use crate::bench::{Bench, Setup};
use crate::fixtures::{Block, certificate, certified, chain, i, six, stop, stop_at, tip, v, w};
use quorate_consensus::certificate::Target;
use quorate_consensus::effect::Destination;
use quorate_consensus::input::Input;
use quorate_consensus::limits::{
    BODIES_PER_REQUEST_MAX, CERTIFICATES_PER_MESSAGE_MAX, HEADERS_PER_ANSWER_MAX,
};
use quorate_consensus::message::{Get, Message};
use quorate_consensus::record::Record;
use quorate_consensus::trust::Authenticated;
use quorate_consensus::types::{BlockId, Index};
use quorate_consensus::wire;
use std::sync::Arc;

/// What has been asked of a peer since the last look: headers of which block, above which index.
fn asked_headers(bench: &mut Bench, of: u16) -> Vec<(BlockId, Option<Index>)> {
    let to = Destination::Peer(v(of));
    let asked = bench.asked().into_iter().filter_map(|(at, get)| match get {
        Get::Headers { id, above, .. } if at == to => Some((*id, *above)),
        _ => None,
    });
    let asked = asked.collect();
    bench.forget();
    asked
}

/// Lets `voter` answer as an honest validator does, until nothing is asked any more; how many
/// answers that took.
fn serve(bench: &mut Bench, voter: u16, blocks: &[Block]) -> usize {
    let mut answers = 0;
    for _ in 0..40 {
        bench.lapse(10);
        for (id, above) in asked_headers(bench, voter) {
            let top = blocks.iter().position(|block| block.id == id);
            let top = top.expect("only what was named is asked for");
            let first = above.map_or(0, |above| above.number() as usize + 1);
            let headers: Vec<&Block> = blocks[first..=top]
                .iter()
                .take(HEADERS_PER_ANSWER_MAX)
                .collect();
            bench.headers(voter, &headers);
            answers += 1;
        }
    }
    answers
}

/// A validator of which two others name the end of a long chain; they voted for it and stopped.
fn named(own_blocks: &[Block], blocks: &[Block]) -> Bench {
    let set = six(4096);
    let mut bench = Bench::new(&set, 5);
    for block in own_blocks {
        bench.propose(block);
    }
    bench.votes(&[1, 2, 3, 4], 0, &stop_at(&blocks[blocks.len() - 1]));
    bench.forget();
    bench
}

/// Whether the headers of a block's whole chain are here: then they are served.
fn holds_chain_of(bench: &mut Bench, block: &Block) -> bool {
    bench.forget();
    let (index, id) = block.at();
    let get = Get::Headers {
        window: w(0),
        index,
        id,
        above: None,
    };
    bench.message(4, Message::Get(get));
    bench
        .sent()
        .any(|(_, message)| matches!(message, Message::Headers { .. }))
}

#[test]
fn r10_a_chain_longer_than_an_answer_comes_to_a_validator_that_has_none_of_it() {
    let set = six(4096);
    let blocks = chain(&set, 2_100, 1);
    let mut bench = named(&[], &blocks);
    let answers = serve(&mut bench, 1, &blocks);
    assert!((2..=5).contains(&answers), "{answers}");
    assert!(holds_chain_of(&mut bench, &blocks[2_099]));
}

#[test]
fn r10_a_chain_longer_than_an_answer_comes_to_a_validator_that_has_its_beginning() {
    let set = six(4096);
    let blocks = chain(&set, 2_100, 1);
    let mut bench = named(&blocks[..100], &blocks);
    let answers = serve(&mut bench, 1, &blocks);
    assert!((2..=5).contains(&answers), "{answers}");
    assert!(holds_chain_of(&mut bench, &blocks[2_099]));
}

/// A leader fed two long chains to two groups: each must learn the other's to fall back (R6).
#[test]
fn r10_a_chain_longer_than_an_answer_comes_to_a_validator_that_has_another_of_that_length() {
    let set = six(4096);
    let own = chain(&set, 1_100, 5_000);
    let blocks = chain(&set, 2_100, 1);
    let mut bench = named(&own, &blocks);
    assert_eq!(bench.own_record(0).tip, tip(&own[1_099]).tip);
    let answers = serve(&mut bench, 1, &blocks);
    assert!((2..=6).contains(&answers), "{answers}");
    assert!(holds_chain_of(&mut bench, &blocks[2_099]));
    for block in &blocks {
        let (header, payload) = (block.header, Arc::clone(&block.payload));
        let message = Message::Block { header, payload };
        bench.feed(Input::Message(Authenticated::assert_authenticated(
            v(1),
            message,
        )));
    }
    bench.settle();
    let own_record = bench.own_record(0);
    assert!(own_record.stop && own_record.tip == tip(&own[1_099]).tip);
    assert_eq!(own_record.also, vec![blocks[2_099].at()], "all of it (R6)");
}

/// A voter whose answers never fit is asked at intervals, not at the speed of its answers.
#[test]
fn r10_headers_that_never_fit_do_not_call_for_the_next_question() {
    let set = six(4096);
    let blocks = chain(&set, 20, 1);
    let mut bench = Bench::new(&set, 5);
    bench.vote(
        1,
        0,
        Record {
            stop: true,
            ..tip(&blocks[19])
        },
    );
    let mut asked = 0;
    for _ in 0..50 {
        let requests = asked_headers(&mut bench, 1);
        asked += requests.len();
        for _ in requests {
            let headers = vec![blocks[18].header];
            let window = headers[0].window;
            bench.message(1, Message::Headers { window, headers });
        }
        bench.settle();
    }
    assert!(asked <= 3, "{asked} questions in no time");
}

/// A parent shown by certificates alone: nobody's votes for it are counted here, and yet what is
/// missing below it is asked for, headers first, or no block could be voted for on it (R3).
/// Of two certificates of a window half of the validators may hold one and half the other. Who
/// holds only the skip of window 0 finds its block below the parent of window 2, in no PR.
#[test]
fn r3_a_block_below_a_parent_is_fetched_although_it_is_in_no_own_pr() {
    let set = six(64);
    let below = chain(&set, 2, 1);
    let middle = below[1].opening(&set, 1, 8);
    let next = middle.opening(&set, 2, 9);
    let voters = [0, 1, 2, 3];
    let skip = |window, from, record: &Record| {
        let target = Target::Skip { from: i(from) };
        certificate(&set, window, target, (&voters, record), Vec::new())
    };
    let mut bench = Bench::new(&set, 5);
    bench.certificates(3, vec![skip(0, 0, &stop())]);
    let certificates = vec![
        certified(&set, &middle, &voters),
        skip(1, 1, &stop_at(&middle)),
    ];
    bench.certificates(3, certificates);
    assert_eq!(bench.consensus.window(), w(2));
    bench.propose(&next);
    for _ in 0..40 {
        bench.lapse(1);
        let asked: Vec<_> = bench
            .asked()
            .into_iter()
            .map(|(_, get)| get.clone())
            .collect();
        bench.forget();
        for get in asked {
            match get {
                Get::Headers { id, .. } if id == middle.id => {
                    bench.headers(2, &[&middle]);
                }
                Get::Headers { id, .. } if id == below[1].id => {
                    bench.headers(2, &[&below[0], &below[1]]);
                }
                Get::Bodies(wanted) => {
                    let all = below.iter().chain([&middle]);
                    for block in all.filter(|b| wanted.iter().any(|w| w.id == b.id)) {
                        bench.body(2, block);
                    }
                }
                _ => {}
            }
        }
    }
    assert_eq!(bench.own_record(2).tip, tip(&next).tip);
}

#[test]
fn r3_what_is_missing_below_a_parent_known_by_certificates_is_fetched() {
    let set = six(64);
    let blocks = chain(&set, 3, 1);
    let mut bench = Bench::new(&set, 5);
    let top = &blocks[2];
    let voters = [0, 1, 2, 3];
    let skip = certificate(
        &set,
        0,
        Target::Skip { from: i(3) },
        (&voters, &stop_at(top)),
        Vec::new(),
    );
    bench.certificates(3, vec![certified(&set, top, &voters), skip]);
    assert_eq!(bench.consensus.window(), w(1));
    let next = top.opening(&set, 1, 9);
    bench.propose(&next);
    for _ in 0..20 {
        bench.lapse(10);
        let asked: Vec<_> = bench
            .asked()
            .into_iter()
            .map(|(_, get)| get.clone())
            .collect();
        bench.forget();
        for get in asked {
            match get {
                Get::Headers { id, .. } if id == top.id => {
                    bench.headers(2, &blocks.iter().collect::<Vec<_>>());
                }
                Get::Bodies(wanted) => {
                    for block in blocks
                        .iter()
                        .filter(|b| wanted.iter().any(|w| w.id == b.id))
                    {
                        bench.body(2, block);
                    }
                }
                _ => {}
            }
        }
    }
    assert_eq!(bench.own_record(1).tip, tip(&next).tip);
}

/// An answer holds a part of a chain, and who is asked may have brought the rest of another one.
#[test]
fn r3_headers_below_a_parent_come_piece_by_piece_whatever_came_before() {
    let set = six(64);
    let (blocks, rivals) = (chain(&set, 3, 1), chain(&set, 3, 50));
    let (top, voters) = (&blocks[2], [0, 1, 2, 3]);
    for has_rivals in [false, true] {
        let mut bench = Bench::new(&set, 5);
        for from in voters.iter().copied().filter(|_| has_rivals) {
            bench.headers(from, &rivals.iter().collect::<Vec<_>>());
        }
        let target = Target::Skip { from: i(3) };
        let skip = certificate(&set, 0, target, (&voters, &stop_at(top)), Vec::new());
        bench.certificates(3, vec![certified(&set, top, &voters), skip]);
        let next = top.opening(&set, 1, 9);
        bench.propose(&next);
        for _ in 0..40 {
            bench.lapse(5);
            let asked = bench.asked().into_iter();
            let asked: Vec<_> = asked.map(|(to, get)| (to, get.clone())).collect();
            bench.forget();
            for (to, get) in asked {
                let Destination::Peer(to) = to else { continue };
                match get {
                    Get::Headers { id, above, .. } if id == top.id => {
                        let first = above.map_or(0, |above| above.number() as usize + 1);
                        let part = blocks.get(first..).unwrap_or_default();
                        if let Some(block) = part.first() {
                            bench.headers(to.number(), &[block]);
                        }
                    }
                    Get::Bodies(wanted) => {
                        let is_wanted = |b: &&Block| wanted.iter().any(|w| w.id == b.id);
                        for block in blocks.iter().filter(is_wanted) {
                            bench.body(to.number(), block);
                        }
                    }
                    _ => {}
                }
            }
        }
        assert_eq!(bench.own_record(1).tip, tip(&next).tip, "{has_rivals}");
    }
}

/// Indices of the headers in each message of them that went to a peer.
fn headers_sent(bench: &Bench, to: u16) -> Vec<Vec<u32>> {
    let to = Destination::Peer(v(to));
    let sent = bench.sent().filter_map(|(at, message)| match message {
        Message::Headers { headers, .. } if at == to => {
            Some(headers.iter().map(|one| one.index.number()).collect())
        }
        _ => None,
    });
    sent.collect()
}

/// A longer answer is malformed to whoever asked, and costs the connection.
#[test]
fn r10_headers_are_served_from_the_bottom_as_far_as_one_answer_goes() {
    let set = six(4096);
    let blocks = chain(&set, 1_100, 1);
    let mut bench = Setup::new(&set, 5).patient().run();
    for block in &blocks {
        bench.propose(block);
    }
    let longest = u32::try_from(HEADERS_PER_ANSWER_MAX).expect("a small number");
    let mut expected = Vec::new();
    for (above, range) in [(None, 0..longest), (Some(i(99)), 100..1_100)] {
        let (index, id) = blocks[1_099].at();
        let window = w(0);
        bench.message(
            3,
            Message::Get(Get::Headers {
                window,
                index,
                id,
                above,
            }),
        );
        expected.push(range.collect::<Vec<u32>>());
        assert_eq!(headers_sent(&bench, 3), expected);
    }
}

/// So is what comes with a stop: those who are far behind would lose it.
#[test]
fn r5_a_stop_brings_no_more_headers_than_an_answer_holds() {
    let set = six(4096);
    let blocks = chain(&set, 1_100, 1);
    let mut bench = Bench::new(&set, 5);
    for block in &blocks {
        bench.propose(block);
    }
    bench.vote(2, 0, tip(&blocks[1_090]));
    bench.stop_by_timer();
    let longest = u32::try_from(HEADERS_PER_ANSWER_MAX).expect("a small number");
    assert_eq!(headers_sent(&bench, 3), [(0..longest).collect::<Vec<_>>()]);
    assert_eq!(
        headers_sent(&bench, 2),
        [(1_091..1_100).collect::<Vec<_>>()]
    );
}

/// Whoever lacks more asks for its lowest gap first.
#[test]
fn r10_the_certificates_behind_many_windows_without_finality_fit_a_message() {
    let set = six(64);
    let mut bench = Setup::new(&set, 5).patient().run();
    for window in 0..40 {
        bench.votes_signed(&[0, 1, 2, 3], window, &stop());
    }
    assert_eq!(bench.consensus.window(), w(40));
    bench.forget();
    bench.message(4, Message::Get(Get::Ready { window: w(40) }));
    let sent = bench.certificates_sent(4);
    let windows: Vec<u64> = sent
        .concat()
        .iter()
        .map(|one| one.window.number())
        .collect();
    let lowest = 40 - CERTIFICATES_PER_MESSAGE_MAX as u64;
    assert_eq!((sent.len(), windows), (1, (lowest..40).collect()));
}

/// A longer request is malformed to whoever is asked, and so is each further one.
#[test]
fn r3_bodies_missing_below_a_parent_are_asked_for_as_many_as_a_request_holds() {
    let set = six(4096);
    let blocks = chain(&set, 150, 1);
    let (top, voters) = (&blocks[149], [0, 1, 2, 3]);
    let mut bench = Setup::new(&set, 5).patient().run();
    let target = Target::Skip { from: i(150) };
    let skip = certificate(&set, 0, target, (&voters, &stop_at(top)), Vec::new());
    bench.certificates(3, vec![certified(&set, top, &voters), skip]);
    bench.headers(2, &blocks.iter().collect::<Vec<_>>());
    let next = top.opening(&set, 1, 999);
    bench.propose(&next);
    let mut requests = Vec::new();
    for _ in 0..40 {
        bench.lapse(10);
        let asked = bench.asked().into_iter().map(|(_, get)| get.clone());
        let asked: Vec<_> = asked.collect();
        bench.forget();
        for get in asked {
            let Get::Bodies(wanted) = get else { continue };
            requests.push(wanted.len());
            let is_wanted = |b: &&Block| wanted.iter().any(|w| w.id == b.id);
            for block in blocks.iter().filter(is_wanted) {
                bench.body(2, block);
            }
        }
    }
    assert_eq!(
        requests,
        [BODIES_PER_REQUEST_MAX, BODIES_PER_REQUEST_MAX, 22]
    );
    assert_eq!(bench.own_record(1), tip(&next));
}

/// Evidence that nobody can read accuses nobody, and whoever sends it is at fault itself.
#[test]
fn e2_evidence_has_no_more_headers_than_its_readers_take() {
    let set = six(16_384);
    for (length, is_shown) in [(8_000, true), (9_000, false)] {
        let mut bench = Setup::new(&set, 5).patient().run();
        let (mine, theirs) = (Block::first(&set, 1), chain(&set, length, 100));
        let top = &theirs[theirs.len() - 1];
        bench.vote_signed(1, 0, tip(&mine));
        bench.headers(1, &[&mine]);
        bench.vote(2, 0, tip(top));
        for headers in theirs.chunks(HEADERS_PER_ANSWER_MAX) {
            bench.headers(2, &headers.iter().collect::<Vec<_>>());
        }
        assert!(bench.evidence().is_empty());
        bench.vote_signed(1, 0, tip(top));
        assert_eq!(bench.evidence().len(), usize::from(is_shown), "{length}");
        for evidence in bench.evidence() {
            let mut bytes = Vec::new();
            wire::encode_evidence(evidence, &mut bytes);
            assert_eq!(wire::decode_evidence(&bytes).as_ref(), Ok(evidence));
        }
    }
}
