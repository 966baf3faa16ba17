//! R10: how often something is asked and answered, and of whom: each message counted.

use crate::bench::{Bench, Setup};
use crate::fixtures::{
    Block, certified, chain, final_of, five_stakes, i, payload_numbered, six, stop, stop_at, tip,
    v, w,
};
use quorate_consensus::effect::{Destination, Effect};
use quorate_consensus::input::Input;
use quorate_consensus::limits;
use quorate_consensus::machine::{Disposition, Ignored, TimerConfig};
use quorate_consensus::message::{BlockRef, Get, Message, Status};
use quorate_consensus::payload::{Entry, Lane, PayloadBuilder, encode_entry};
use quorate_consensus::record::Record;
use quorate_consensus::types::{Height, Index, ValidatorIndex};
use std::sync::Arc;

/// When each Status to a peer left, in milliseconds from now.
fn status_times(bench: &mut Bench, to: u16, ms: u64) -> Vec<u64> {
    let mut times = Vec::new();
    for at in 1..=ms {
        bench.forget();
        bench.lapse(1);
        let to = Destination::Peer(v(to));
        let is_status = |message: &Message| matches!(message, Message::Status(_));
        let count = bench
            .sent()
            .filter(|(at, message)| *at == to && is_status(message))
            .count();
        times.extend(std::iter::repeat_n(at, count));
    }
    times
}

/// Lets time pass with a turn each 5 ms.
pub(crate) fn pass(bench: &mut Bench, ms: u64) {
    for _ in 0..ms / 5 {
        bench.lapse(5);
    }
}

/// Lists of blocks that were sent to a peer again.
fn resent(bench: &Bench, peer: u16) -> Vec<&[BlockRef]> {
    let lists = bench.seen.iter().filter_map(|effect| match effect {
        Effect::ServeBodies { to, blocks } if *to == v(peer) => Some(blocks.as_slice()),
        _ => None,
    });
    lists.collect()
}

pub(crate) fn asked_of(bench: &Bench, wanted: fn(&Get) -> bool) -> Vec<ValidatorIndex> {
    let asked = bench.asked().into_iter().filter(|(_, get)| wanted(get));
    asked
        .map(|(to, _)| match to {
            Destination::Peer(peer) => peer,
            Destination::All => panic!("a request goes to one"),
        })
        .collect()
}

/// Payload of that many commands of 60,000 bytes.
fn large_payload(salt: u64, commands: u64) -> Arc<[u8]> {
    let body = vec![5; 60_000];
    let mut builder = PayloadBuilder::new();
    for command in 0..commands {
        let entry = Entry {
            lane: Lane::Order,
            session: &[7; 16],
            seq: 2 + 100 * salt + command,
            signature: None,
            body: &body,
        };
        let mut bytes = Vec::new();
        encode_entry(&entry, &mut bytes);
        builder.push_entry(&bytes).expect("a valid entry");
    }
    builder.finish()
}

/// The leader of window 0 and the blocks that it made of these payloads.
fn leading(payloads: Vec<Arc<[u8]>>) -> (Bench, Vec<Block>) {
    let set = six(64);
    let mut bench = Bench::new(&set, 0);
    for payload in &payloads {
        let disposition = bench.input(Input::Payload(Arc::clone(payload)));
        assert_eq!(disposition, Disposition::Applied);
    }
    let made = bench.proposals_sent().into_iter().map(|one| Block {
        id: one.header.id(),
        header: one.header,
        payload: Arc::clone(&one.payload),
    });
    let made = made.collect();
    bench.forget();
    (bench, made)
}

/// A Status with this tip each 5 ms for `ms`.
fn stands_still(bench: &mut Bench, peer: u16, record: &Record, ms: u64) {
    for _ in 0..=ms / 5 {
        let status = Status {
            record: record.clone(),
            ..bench.status_of(0)
        };
        bench.status(peer, status);
        bench.lapse(5);
    }
}

#[test]
fn r10_a_leader_sends_what_a_peer_lacks_again_after_half_of_t_prog_and_twice_as_long() {
    let (mut bench, blocks) = leading((1..=3).map(payload_numbered).collect());
    stands_still(&mut bench, 2, &tip(&blocks[0]), 20);
    assert!(resent(&bench, 2).is_empty(), "its tip may yet move");
    // 25, 50 and 100 ms after the tip came to stand there.
    stands_still(&mut bench, 2, &tip(&blocks[0]), 125);
    let lacks: Vec<BlockRef> = blocks[1..]
        .iter()
        .map(|block| BlockRef {
            height: block.header.height,
            id: block.id,
        })
        .collect();
    assert_eq!(resent(&bench, 2), vec![lacks.as_slice(); 3]);
    // A tip that moved is given its time again.
    bench.forget();
    stands_still(&mut bench, 2, &tip(&blocks[1]), 20);
    assert!(resent(&bench, 2).is_empty());
    stands_still(&mut bench, 2, &tip(&blocks[1]), 10);
    assert_eq!(resent(&bench, 2), [&lacks[1..]], "and no more than that");
    // Who has everything, or wants no more of the window, gets nothing.
    stands_still(&mut bench, 3, &tip(&blocks[2]), 60);
    stands_still(&mut bench, 4, &stop_at(&blocks[0]), 60);
    assert!(resent(&bench, 3).is_empty() && resent(&bench, 4).is_empty());
}

/// Each time may be half a mebibyte, for a Status that says nothing new.
#[test]
fn r10_what_a_peer_lacks_for_long_is_sent_again_at_intervals_that_grow_up_to_64_times() {
    let (mut bench, blocks) = leading((1..=3).map(payload_numbered).collect());
    let mut times = Vec::new();
    for turn in 0..2_000 {
        stands_still(&mut bench, 2, &tip(&blocks[0]), 0);
        if !resent(&bench, 2).is_empty() {
            times.push(turn / 5);
        }
        bench.forget();
    }
    // In units of half of T_prog.
    assert_eq!(times[..8], [1, 2, 4, 8, 16, 32, 64, 128]);
    assert!(times[8..].iter().zip(3..).all(|(at, nth)| *at == nth * 64));
    assert_eq!(times.len(), 12);
}

#[test]
fn r10_nobody_but_the_leader_sends_blocks_of_a_window_again() {
    let set = six(64);
    let mut bench = Setup::new(&set, 5).run();
    bench.propose(&Block::first(&set, 1));
    bench.forget();
    stands_still(&mut bench, 2, &Record::default(), 60);
    assert!(resent(&bench, 2).is_empty());
}

#[test]
fn r10_what_a_leader_sends_again_at_once_is_half_a_mebibyte_or_one_block() {
    let large = |salt| large_payload(salt, 10);
    let (mut bench, blocks) = leading(vec![payload_numbered(1), large(1), large(2)]);
    stands_still(&mut bench, 2, &tip(&blocks[0]), 30);
    let sizes: Vec<usize> = resent(&bench, 2).iter().map(|list| list.len()).collect();
    assert_eq!(sizes, [1], "one of them is more than that");
    bench.forget();
    stands_still(&mut bench, 3, &Record::default(), 30);
    let sizes: Vec<usize> = resent(&bench, 3).iter().map(|list| list.len()).collect();
    assert_eq!(sizes, [1], "the small one leaves no room for the next");
}

/// R2: bytes in flight are counted above the highest notarized block.
#[test]
fn r2_a_leader_has_four_mebibytes_in_flight_above_what_is_notarized() {
    let (mut bench, blocks) = leading((0..5).map(|salt| large_payload(salt, 17)).collect());
    // 5 x 1,020,000 bytes and a few: 4 of these are below the bound, 5 are not.
    assert_eq!(bench.consensus.proposal_room(), None);
    bench.votes(&[1, 2, 3], 0, &tip(&blocks[0]));
    let room = bench.consensus.proposal_room();
    assert_eq!(room.map(|room| room.index), Some(i(5)));
    bench.input(Input::Payload(large_payload(9, 17)));
    assert_eq!(bench.consensus.proposal_room(), None);
}

#[test]
fn r10_a_status_each_quarter_of_t_prog_while_all_is_settled() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    let times = status_times(&mut bench, 1, 40);
    assert_eq!(times, [13, 25, 38]);
    bench.input(Input::PeerDown(v(1)));
    assert!(status_times(&mut bench, 1, 40).is_empty());
}

#[test]
fn r10_a_status_comes_half_as_often_each_time_that_nothing_moved() {
    let set = six(64);
    let mut bench = Setup::new(&set, 5).patient().run();
    bench.propose(&Block::first(&set, 1));
    let times = status_times(&mut bench, 1, 200);
    // T_retx, doubled each time up to ten of it.
    assert_eq!(times, [5, 10, 20, 40, 80, 130, 180]);
    // Who is heard from gets one at once, and the next after T_retx.
    bench.forget();
    let status = bench.status_of(0);
    bench.status(1, status);
    assert_eq!(bench.statuses_sent().len(), 1);
    assert_eq!(status_times(&mut bench, 1, 16), [5, 15]);
}

#[test]
fn peers_that_are_none_come_up_unheard() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    for peer in [5, 6, 240] {
        let disposition = bench.input(Input::PeerUp(v(peer)));
        let unasked = Disposition::Ignored(Ignored::Unasked);
        assert_eq!(disposition, unasked, "{peer}");
    }
}

#[test]
fn r10_a_flood_of_statuses_is_answered_once_in_t_retx() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    let block = Block::first(&set, 1);
    bench.propose(&block);
    bench.votes_signed(&[0, 1, 2, 3, 4], 0, &tip(&block));
    bench.forget();
    let ask = |bench: &mut Bench| {
        for _ in 0..5 {
            let status = bench.status_of(0);
            bench.status(4, status);
        }
        bench.certificates_sent(4).len()
    };
    assert_eq!(ask(&mut bench), 1);
    bench.sleep_ns(TimerConfig::laptop().retransmit_ns - 1);
    assert_eq!(ask(&mut bench), 1);
    bench.sleep_ns(1);
    assert_eq!(ask(&mut bench), 2);
}

#[test]
fn r10_a_record_goes_to_who_has_no_proof_of_all_of_it_and_once() {
    let set = six(64);
    let blocks = chain(&set, 2, 1);
    let sent = |proven: &Block, gap: Option<u64>, stops: bool| {
        let mut bench = Bench::new(&set, 5);
        bench.propose(&blocks[0]);
        bench.propose(&blocks[1]);
        bench.lapse(25);
        if stops {
            bench.stop_by_timer();
            bench.lapse(25);
        }
        bench.forget();
        let status = Status {
            proven: proven.point(),
            gap: gap.map(w),
            ..bench.status_of(0)
        };
        bench.status(4, status);
        let to = Destination::Peer(v(4));
        let votes = bench.votes_sent(0);
        votes.iter().filter(|(at, _)| *at == to).count()
    };
    assert_eq!(sent(&blocks[0], None, false), 1);
    assert_eq!(sent(&blocks[1], None, false), 0, "it is covered");
    assert_eq!(sent(&blocks[1], None, true), 1, "but no stop is");
    assert_eq!(sent(&blocks[1], Some(0), false), 1, "and a gap needs it");
}

#[test]
fn r10_a_record_that_is_being_signed_is_not_signed_again() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    bench.answers.signing = false;
    bench.propose(&Block::first(&set, 1));
    for _ in 0..3 {
        let status = bench.status_of(0);
        bench.status(4, status);
        bench.lapse(6);
    }
    let signs = |effect: &&Effect| matches!(effect, Effect::SignRecord { .. });
    assert_eq!(bench.seen.iter().filter(signs).count(), 1);
}

/// A validator announces what it has flushed; every height that was said to be durable so far.
fn say(bench: &mut Bench, from: u16, height: u64) -> Vec<u64> {
    let status = Status {
        flushed: Height::new(height),
        ..bench.status_of(0)
    };
    bench.status(from, status);
    said_durable(bench)
}

fn said_durable(bench: &Bench) -> Vec<u64> {
    let heights = bench.seen.iter().filter_map(|effect| match effect {
        Effect::Durable(height) => Some(height.number()),
        _ => None,
    });
    heights.collect()
}

#[test]
fn r10_what_was_flushed_on_a_disk_that_is_lost_counts_no_more() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    assert!(say(&mut bench, 1, 3).is_empty());
    assert!(say(&mut bench, 1, 0).is_empty());
    assert!(say(&mut bench, 2, 3).is_empty());
    assert!(say(&mut bench, 3, 3).is_empty(), "two disks have it");
    assert_eq!(say(&mut bench, 1, 3), [3]);
}

/// There may be no peer whose next Status would say it.
#[test]
fn r10_what_the_own_disk_completes_is_durable_at_once() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    for peer in [1, 2] {
        assert!(say(&mut bench, peer, 3).is_empty(), "two disks at most");
    }
    bench.input(Input::Flushed(Height::new(3)));
    assert_eq!(said_durable(&bench), [3]);
    assert_eq!(bench.consensus.durable(), Height::new(3));
}

#[test]
fn r10_durable_is_said_once_a_height() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    assert!(say(&mut bench, 1, 3).is_empty());
    assert!(say(&mut bench, 2, 3).is_empty());
    assert_eq!(say(&mut bench, 3, 4), [3], "2F + 1 of them");
    assert_eq!(say(&mut bench, 1, 3), [3]);
    assert_eq!(say(&mut bench, 1, 2), [3], "what was durable stays so");
    assert_eq!(say(&mut bench, 1, 4), [3]);
    assert_eq!(say(&mut bench, 4, 9), [3, 4]);
}

/// 2F + 1 is a stake, 31 of 100 here.
#[test]
fn r10_what_is_flushed_counts_by_the_stake_whose_disks_hold_it() {
    let table = [
        (&[0][..], true),
        (&[1], false),
        (&[2, 3], false),
        (&[1, 3], true),
    ];
    for (holders, is_durable) in table {
        let mut bench = Bench::new(&five_stakes(), 4);
        let mut said = Vec::new();
        for &from in holders {
            said = say(&mut bench, from, 3);
        }
        let expected: &[u64] = if is_durable { &[3] } else { &[] };
        assert_eq!(said, expected, "{holders:?}");
    }
}

#[test]
fn r10_headers_are_asked_of_who_is_here_and_above_what_is_held() {
    let set = six(64);
    let mut bench = Setup::new(&set, 5).patient().run();
    let blocks = chain(&set, 6, 1);
    for block in &blocks[..3] {
        bench.propose(block);
    }
    bench.vote(1, 0, tip(&blocks[5]));
    bench.input(Input::PeerDown(v(1)));
    bench.forget();
    bench.lapse(30);
    assert!(bench.asked().is_empty(), "its connection is lost");
    bench.input(Input::PeerUp(v(1)));
    bench.lapse(6);
    let (to, get) = bench.asked()[0];
    assert_eq!(to, Destination::Peer(v(1)));
    let (index, id) = blocks[5].at();
    let expected = Get::Headers {
        window: w(0),
        index,
        id,
        above: Some(i(2)),
    };
    assert_eq!(*get, expected);
}

/// The own window is closed, by a stop or by its last vote: headers of a rival are wanted at once.
#[test]
fn r10_headers_are_asked_for_at_once_where_no_leader_will_bring_them() {
    for stops in [true, false] {
        let set = six(2);
        let blocks = chain(&set, 2, 1);
        let mut bench = Setup::new(&set, 5).run();
        bench.propose(&blocks[0]);
        if stops {
            bench.stop_by_timer();
        } else {
            bench.propose(&blocks[1]);
        }
        bench.lapse(1);
        let rival = Block::first(&set, 9);
        bench.forget();
        bench.input(Input::PeerUp(v(1)));
        bench.vote(1, 0, tip(&rival));
        let asked = asked_of(&bench, |get| matches!(get, Get::Headers { .. }));
        assert_eq!(asked, [v(1)], "{stops}");
    }
}

/// What a voter brought ends at the index of another block that it names: that chain is wanted
/// whole.
#[test]
fn r10_headers_of_another_branch_at_the_same_index_are_asked_for_from_its_bottom() {
    let set = six(64);
    let (one, other) = (chain(&set, 3, 1), chain(&set, 3, 50));
    let mut bench = Bench::new(&set, 5);
    bench.vote(1, 0, stop_at(&one[2]));
    bench.headers(1, &[&one[0], &one[1], &one[2]]);
    bench.forget();
    let both = Record {
        also: vec![other[2].at()],
        ..stop_at(&one[2])
    };
    bench.vote(1, 0, both);
    bench.lapse(25);
    let of_other = |(_, get): &(Destination, &Get)| match get {
        Get::Headers { id, above, .. } if *id == other[2].id => Some(*above),
        _ => None,
    };
    let asked: Vec<Option<Index>> = bench.asked().iter().filter_map(of_other).collect();
    assert_eq!(asked.first(), Some(&None), "{asked:?}");
}

#[test]
fn r10_bodies_are_asked_of_supporters_who_are_here_and_never_of_oneself() {
    let set = six(64);
    let mut bench = Setup::new(&set, 5).patient().run();
    let block = Block::first(&set, 1);
    bench.votes(&[1, 2, 3], 0, &tip(&block));
    bench.input(Input::PeerDown(v(2)));
    bench.forget();
    bench.headers(1, &[&block]);
    pass(&mut bench, 2_000);
    let mut asked = asked_of(&bench, |get| matches!(get, Get::Bodies(_)));
    assert!(asked.len() >= 4, "{asked:?}");
    assert_ne!(asked[0], asked[1], "another one each time");
    asked.sort_unstable();
    asked.dedup();
    assert_eq!(asked, [v(1), v(3)]);
}

/// In the window of the finalized block nothing below it is wanted; in the next one everything is.
#[test]
fn r10_bodies_are_wanted_above_the_finalized_block_alone() {
    let set = six(2);
    let blocks = chain(&set, 2, 1);
    let mut bench = Bench::new(&set, 5);
    let rival = Block::first(&set, 40);
    bench.vote(4, 0, tip(&rival));
    bench.headers(4, &[&rival]);
    for block in &blocks {
        bench.propose(block);
    }
    bench.votes(&[0, 1, 2, 3], 0, &tip(&blocks[1]));
    assert_eq!(bench.finalized().len(), 2);
    let next = blocks[1].opening(&set, 1, 7);
    bench.votes(&[2, 3], 1, &tip(&next));
    bench.forget();
    bench.headers(2, &[&next]);
    bench.lapse(30);
    let wanted: Vec<&Get> = bench.asked().into_iter().map(|(_, get)| get).collect();
    let of_next = Get::Bodies(vec![BlockRef {
        height: next.header.height,
        id: next.id,
    }]);
    assert!(wanted.contains(&&of_next), "{wanted:?}");
}

/// Else every batch of a validator that catches up costs the patience for the same silent peer.
#[test]
fn r10_whoever_has_not_served_a_batch_is_not_asked_first_for_the_next() {
    let set = six(256);
    let most = limits::BODIES_PER_REQUEST_MAX;
    let blocks = chain(&set, 3 * u32::try_from(most).unwrap(), 1);
    let top = blocks.last().expect("a chain");
    let mut bench = Setup::new(&set, 5).patient().run();
    for peer in 0..5 {
        let finalized = top.point();
        let status = bench.status_of(0);
        bench.status(
            peer,
            Status {
                finalized,
                ..status
            },
        );
    }
    bench.headers(0, &blocks.iter().collect::<Vec<_>>());
    bench.forget();
    bench.certificates(1, vec![final_of(&set, top, &[0, 1, 2, 3, 4])]);
    let bodies = |bench: &Bench| asked_of(bench, |get| matches!(get, Get::Bodies(_)));
    let silent = *bodies(&bench).first().expect("the first batch");
    while bodies(&bench).len() < 2 {
        bench.lapse(1);
    }
    let served = bodies(&bench)[1];
    assert_ne!(served, silent);
    for batch in blocks.chunks(most) {
        for block in batch {
            bench.body(served.number(), block);
        }
        bench.lapse(1);
    }
    assert_eq!(bodies(&bench)[2..], [served, served]);
}

/// A parent known by its certificate: its headers are asked of others who are here.
#[test]
fn r10_a_parent_s_headers_are_asked_of_each_peer_that_is_here_in_turn() {
    let set = six(1);
    let block = Block::first(&set, 1);
    let mut bench = Setup::new(&set, 5).patient().run();
    bench.input(Input::PeerDown(v(2)));
    let votes = certified(&set, &block, &[0, 1, 2, 3]);
    bench.certificates(1, vec![votes]);
    assert_eq!(bench.consensus.window(), w(1));
    bench.forget();
    pass(&mut bench, 3_000);
    let mut asked = asked_of(&bench, |_| true);
    asked.sort_unstable();
    asked.dedup();
    assert_eq!(asked, [v(0), v(1), v(3), v(4)]);
}

/// Nobody has to wait for a leader that says at once that it makes no block.
#[test]
fn r10_a_leader_that_may_not_propose_tells_all_when_it_enters_its_window() {
    let set = six(64);
    let mut setup = Setup::new(&set, 1).patient();
    setup.restored.lease.lease = Some(w(100));
    setup.restored.lease.no_proposals_until = Some(w(3));
    let mut bench = setup.run();
    bench.forget();
    bench.votes(&[0, 2, 3, 4], 0, &stop());
    let statuses = bench.statuses_sent();
    let told = statuses
        .iter()
        .filter(|status| status.window == w(1) && status.no_proposals);
    assert_eq!(told.count(), 5);
}

/// An own record far above the own window, from the log: it is signed for whoever asks.
#[test]
fn r10_a_restored_record_above_the_range_is_signed_and_sent() {
    let set = six(64);
    let mut setup = Setup::new(&set, 5).patient().with_log(stop(), &[]);
    setup.restored.records[0].window = w(9);
    let mut bench = setup.run();
    bench.lapse(25);
    bench.forget();
    let status = bench.status_of(9);
    bench.status(4, status);
    let votes = bench.votes_sent(9);
    let (to, vote) = votes[0];
    assert_eq!(to, Destination::Peer(v(4)));
    assert!(vote.record.stop && vote.signature.is_some());
}

/// What is final is settled: a Status each quarter of T_prog, and not each T_retx.
#[test]
fn r10_a_final_tip_calls_for_no_status() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    let block = Block::first(&set, 1);
    bench.propose(&block);
    bench.votes_signed(&[0, 1, 2, 3, 4], 0, &tip(&block));
    assert_eq!(bench.finalized().len(), 1);
    bench.lapse(13);
    assert_eq!(status_times(&mut bench, 1, 25).len(), 2);
}

/// What is proven and not here yet is missing, although every vote for it is settled.
#[test]
fn r10_while_something_final_is_missing_a_status_comes_as_often_as_while_unsettled() {
    let set = six(2);
    let top = chain(&set, 2, 1)[1].opening(&set, 1, 5);
    let mut bench = Bench::new(&set, 5);
    bench.certificates(1, vec![final_of(&set, &top, &[0, 1, 2, 3, 4])]);
    assert_eq!(bench.consensus.proven(), top.point());
    assert!(bench.finalized().is_empty());
    assert_eq!(status_times(&mut bench, 2, 20), [5, 10, 20]);
}
