//! R10: what a Status is answered with, and what is asked for and from whom.

use crate::bench::{Bench, Setup};
use crate::fixtures::{
    Block, chain, five_stakes, i, payload_numbered, set_of, six, stop, stop_at, tip, v, w,
};
use quorate_consensus::certificate::{Certificate, Target};
use quorate_consensus::effect::{Destination, Effect};
use quorate_consensus::input::Input;
use quorate_consensus::limits;
use quorate_consensus::machine::Disposition;
use quorate_consensus::message::{BlockRef, Get, Message, SnapshotPart, Status, Vote};
use quorate_consensus::record::Record;
use quorate_consensus::types::Height;
use quorate_consensus::verify::{Fact, judge};

/// Votes about a window that went to one peer alone.
fn votes_to(bench: &Bench, to: u16, window: u64) -> Vec<Vote> {
    let to = Destination::Peer(v(to));
    let votes = bench
        .votes_sent(window)
        .into_iter()
        .filter(|(receiver, _)| *receiver == to);
    votes.map(|(_, vote)| vote.clone()).collect()
}

fn facts(bench: &Bench, certificates: &[Certificate]) -> Vec<Fact> {
    certificates
        .iter()
        .map(|one| judge(&bench.set, one).expect("it proves its target"))
        .collect()
}

/// A validator in window 1 that stopped window 0, as everybody did.
fn in_window_one(is_signed: bool) -> Bench {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    for from in [0, 1, 2, 3] {
        if is_signed {
            bench.vote_signed(from, 0, stop());
        } else {
            bench.vote(from, 0, stop());
        }
    }
    assert_eq!(bench.consensus.window(), w(1));
    bench.lapse(20);
    bench.forget();
    bench
}

#[test]
fn r10_a_peer_below_the_own_proof_gets_it() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    let block = Block::first(&set, 1);
    bench.propose(&block);
    bench.votes_signed(&[0, 1, 2, 3, 4], 0, &tip(&block));
    assert_eq!(bench.consensus.proven(), block.point());
    bench.forget();
    let status = bench.status_of(0);
    bench.status(1, status);
    let sent = bench.certificates_sent(1);
    assert_eq!(facts(&bench, sent[0]), vec![Fact::Final(block.point())]);
    bench.forget();
    bench.lapse(10);
    let status = Status {
        proven: block.point(),
        ..bench.status_of(0)
    };
    bench.status(1, status);
    assert!(bench.certificates_sent(1).is_empty(), "it has it");
}

#[test]
fn how_far_peers_are_is_what_one_honest_among_them_says() {
    // F = 1, so AMP = 2: the highest height that two of them say or exceed.
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    let say = |bench: &mut Bench, from: u16, height: u64| {
        let mut status = bench.status_of(0);
        status.finalized.height = Height::new(height);
        bench.status(from, status);
        bench.consensus.peers_height().number()
    };
    assert!(!bench.consensus.has_heard_peers());
    assert_eq!(say(&mut bench, 1, 1_000_000), 0, "one may lie");
    assert!(!bench.consensus.has_heard_peers(), "and one is not enough");
    assert_eq!(say(&mut bench, 2, 500), 500);
    assert!(bench.consensus.has_heard_peers());
    assert_eq!(say(&mut bench, 3, 700), 700);
    // A peer that says less than before has begun anew; what counts is what is said now.
    assert_eq!(say(&mut bench, 1, 3), 500);
}

#[test]
fn how_far_peers_are_is_what_enough_stake_says() {
    let say = |bench: &mut Bench, from: u16, height: u64| {
        let mut status = bench.status_of(0);
        status.finalized.height = Height::new(height);
        bench.status(from, status);
        bench.consensus.peers_height().number()
    };
    let set = five_stakes();
    let mut bench = Bench::new(&set, 4);
    assert_eq!(say(&mut bench, 1, 700), 700, "25 of AMP = 16");
    let mut bench = Bench::new(&set, 0);
    assert_eq!(say(&mut bench, 3, 700), 0, "10");
    assert_eq!(say(&mut bench, 4, 500), 500, "20");
}

#[test]
fn peers_that_are_too_few_to_be_heard_are_waited_for_by_nobody() {
    let alone = Setup::new(&set_of(&[1], 0, 0, 64, 1), 0).start();
    assert!(alone.consensus.has_heard_peers());
    // The others are 1, and AMP is 4.
    let outweighs = Setup::new(&set_of(&[16, 1], 3, 0, 64, 1), 0).start();
    assert!(outweighs.consensus.has_heard_peers());
    let outweighed = Setup::new(&set_of(&[16, 1], 3, 0, 64, 1), 1).start();
    assert!(!outweighed.consensus.has_heard_peers());
}

#[test]
fn what_is_said_of_snapshots_goes_through_unread() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    bench.message(2, Message::Snapshot(SnapshotPart::Ask));
    let handed = bench.seen.iter().filter_map(|effect| match effect {
        Effect::Snapshot { from, part } => Some((*from, part.clone())),
        _ => None,
    });
    assert_eq!(handed.collect::<Vec<_>>(), [(v(2), SnapshotPart::Ask)]);
    bench.forget();
    let (to, part) = (Destination::Peer(v(2)), SnapshotPart::Ask);
    bench.input(Input::Say { to, part });
    let said = bench.seen.iter().filter_map(|effect| match effect {
        Effect::Send {
            to,
            message: Message::Snapshot(part),
        } => Some((*to, part.clone())),
        _ => None,
    });
    assert_eq!(said.collect::<Vec<_>>(), [(to, SnapshotPart::Ask)]);
}

#[test]
fn r10_a_peer_without_a_ready_parent_gets_the_certificates() {
    let mut bench = in_window_one(true);
    let status = bench.status_of(0);
    bench.status(4, status);
    let sent = bench.certificates_sent(4);
    assert_eq!(
        facts(&bench, sent[0]),
        vec![Fact::Skip {
            window: w(0),
            from: i(0)
        }]
    );
}

#[test]
fn r10_a_gap_is_filled_although_the_peer_has_left_the_window() {
    let mut bench = in_window_one(true);
    let status = Status {
        gap: Some(w(0)),
        ..bench.status_of(1)
    };
    bench.status(4, status);
    let sent = bench.certificates_sent(4);
    assert_eq!(
        facts(&bench, sent[0]),
        vec![Fact::Skip {
            window: w(0),
            from: i(0)
        }]
    );
}

#[test]
fn r10_what_was_only_counted_is_shown_to_nobody() {
    let mut bench = in_window_one(false);
    let status = Status {
        gap: Some(w(0)),
        ..bench.status_of(1)
    };
    bench.status(4, status);
    bench.message(4, Message::Get(Get::Ready { window: w(1) }));
    assert!(bench.certificates_sent(4).is_empty());
}

#[test]
fn r10_the_record_of_the_askers_window_is_sent_whatever_the_own_window() {
    let mut bench = in_window_one(true);
    let status = bench.status_of(0);
    bench.status(4, status);
    let votes = votes_to(&bench, 4, 0);
    assert_eq!(votes.len(), 1);
    assert!(votes[0].record.stop && votes[0].signature.is_some());
}

#[test]
fn r10_the_record_of_the_askers_gap_window_is_sent_too() {
    let mut bench = in_window_one(false);
    let status = Status {
        gap: Some(w(0)),
        ..bench.status_of(1)
    };
    bench.status(4, status);
    let votes = votes_to(&bench, 4, 0);
    assert!(
        votes
            .iter()
            .any(|vote| vote.record.stop && vote.signature.is_some())
    );
}

#[test]
fn r10_an_unsigned_record_is_sent_at_once_and_signed_now() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    let block = Block::first(&set, 1);
    bench.propose(&block);
    bench.forget();
    let status = bench.status_of(0);
    bench.status(4, status);
    let votes = votes_to(&bench, 4, 0);
    assert_eq!(votes.len(), 1);
    assert_eq!((&votes[0].record, votes[0].signature), (&tip(&block), None));
    let signs = |effect: &&Effect| matches!(effect, Effect::SignRecord { .. });
    assert_eq!(
        bench.seen.iter().filter(signs).count(),
        1,
        "long before T_sig"
    );
}

#[test]
fn r10_who_asks_again_and_again_has_a_record_signed_no_more_often_than_once_in_t_sig() {
    let set = six(4096);
    let mut bench = Bench::new(&set, 5);
    let mut signed = Vec::new();
    for block in &chain(&set, 60, 1) {
        bench.propose(block);
        for asker in [3, 4] {
            let status = bench.status_of(0);
            bench.status(asker, status);
        }
        bench.lapse(1);
        let signs = |effect: &&Effect| matches!(effect, Effect::SignRecord { .. });
        signed.push(bench.seen.iter().filter(signs).count());
        bench.forget();
    }
    let times: Vec<usize> = (0..signed.len()).filter(|&at| signed[at] > 0).collect();
    assert_eq!(times.first(), Some(&0), "at once for who asks first");
    for pair in times.windows(2) {
        // T_sig is 20 ms, and votes are a millisecond apart.
        assert!((19..=22).contains(&(pair[1] - pair[0])), "{times:?}");
    }
    assert!(times.len() >= 3, "{times:?}");
}

#[test]
fn r10_a_status_carries_the_record_and_names_the_gap() {
    let mut bench = in_window_one(false);
    bench.lapse(20);
    let statuses = bench.statuses_sent();
    let last = *statuses.last().unwrap();
    assert_eq!((last.window, last.gap), (w(1), Some(w(0))));
    assert!(last.ready.is_empty(), "signed evidence only");
    let mut bench = in_window_one(true);
    bench.lapse(20);
    let statuses = bench.statuses_sent();
    let last = *statuses.last().unwrap();
    assert_eq!((last.window, last.gap), (w(1), None));
    assert_eq!(last.ready, vec![bench.set.genesis().id]);
}

#[test]
fn r10_a_parent_that_was_only_counted_stands_in_no_status() {
    let set = six(1);
    for is_signed in [false, true] {
        let mut bench = Bench::new(&set, 5);
        let block = Block::first(&set, 1);
        bench.propose(&block);
        for from in [0, 1, 2] {
            if is_signed {
                bench.vote_signed(from, 0, tip(&block));
            } else {
                bench.vote(from, 0, tip(&block));
            }
        }
        assert_eq!(bench.consensus.window(), w(1));
        bench.lapse(30);
        let statuses = bench.statuses_sent();
        let last = *statuses.last().unwrap();
        let (gap, ready) = if is_signed {
            (None, vec![block.id])
        } else {
            (Some(w(0)), Vec::new())
        };
        assert_eq!((last.gap, &last.ready), (gap, &ready));
    }
}

/// Finality goes ahead of signatures: a window that was passed by it has a gap all the same, which
/// what is signed later fills.
#[test]
fn r10_signatures_that_come_after_finality_went_ahead_fill_the_gap_below_it() {
    let set = six(1);
    let mut bench = Bench::new(&set, 5);
    let block = Block::first(&set, 1);
    bench.propose(&block);
    bench.votes(&[0, 1, 2], 0, &tip(&block));
    let next = block.opening(&set, 1, 2);
    bench.propose(&next);
    bench.votes(&[0, 1, 2, 3, 4], 1, &tip(&next));
    let last = |bench: &Bench| Status::clone(bench.statuses_sent().last().unwrap());
    bench.lapse(30);
    let before = last(&bench);
    assert_eq!(before.finalized, next.point());
    assert_eq!((before.window, before.gap), (w(2), Some(w(0))));
    bench.votes_signed(&[0, 1, 2], 0, &tip(&block));
    bench.lapse(30);
    let after = last(&bench);
    assert_eq!(after.proven, set.genesis(), "nobody has proven anything");
    assert_eq!((after.window, after.gap), (w(2), Some(w(1))));
}

#[test]
fn r10_while_something_is_unsettled_every_peer_gets_a_status_each_t_retx() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    let block = Block::first(&set, 1);
    bench.propose(&block);
    bench.forget();
    bench.lapse(6);
    for peer in 0..5 {
        let to_peer = |(to, message): &(Destination, &Message)| {
            *to == Destination::Peer(v(peer))
                && matches!(message, Message::Status(status) if status.record == tip(&block))
        };
        assert!(bench.sent().any(|sent| to_peer(&sent)), "{peer}");
    }
}

#[test]
fn r10_a_status_is_a_vote() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    let block = Block::first(&set, 1);
    bench.propose(&block);
    for from in [0, 1, 2, 3] {
        let status = Status {
            record: tip(&block),
            ..bench.status_of(0)
        };
        bench.status(from, status);
    }
    assert_eq!(bench.finalized(), vec![block.point()]);
}

/// Three private blocks halt four validators unless each voter is asked for what it named.
#[test]
fn r10_headers_are_fetched_from_the_voter_that_named_them() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    let theirs = [
        Block::first(&set, 10),
        Block::first(&set, 20),
        Block::first(&set, 30),
    ];
    for (from, block) in (1..4).zip(&theirs) {
        bench.vote(from, 0, stop_at(block));
        let asked = bench.asked();
        let (to, get) = *asked.last().unwrap();
        assert_eq!(to, Destination::Peer(v(from)));
        assert!(matches!(get, Get::Headers { id, .. } if *id == block.id));
    }
}

#[test]
fn r10_headers_are_asked_for_lazily_while_the_leader_may_still_bring_them() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    bench.vote(1, 0, tip(&Block::first(&set, 10)));
    assert!(bench.asked().is_empty());
    bench.lapse(6);
    assert!(!bench.asked().is_empty());
}

#[test]
fn r10_a_lost_request_is_made_again() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    bench.vote(1, 0, stop_at(&Block::first(&set, 10)));
    let before = bench.asked().len();
    bench.lapse(1);
    assert_eq!(bench.asked().len(), before, "not at once");
    bench.lapse(40);
    assert!(bench.asked().len() > before);
}

#[test]
fn r10_a_body_is_asked_of_one_supporter_and_then_of_another() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    let block = Block::first(&set, 1);
    bench.votes(&[1, 2], 0, &tip(&block));
    bench.headers(1, &[&block]);
    bench.lapse(45);
    let asked = bench.asked();
    let bodies = asked
        .iter()
        .filter(|(_, get)| matches!(get, Get::Bodies(_)));
    let mut receivers: Vec<_> = bodies.map(|(to, _)| format!("{to:?}")).collect();
    receivers.sort_unstable();
    receivers.dedup();
    assert_eq!(receivers, vec!["Peer(v1)", "Peer(v2)"]);
}

#[test]
fn r10_headers_bodies_and_certificates_are_served_on_request() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    let blocks = chain(&set, 3, 1);
    for block in &blocks {
        bench.propose(block);
    }
    let (index, id) = blocks[2].at();
    let above = Some(i(0));
    bench.message(
        4,
        Message::Get(Get::Headers {
            window: w(0),
            index,
            id,
            above,
        }),
    );
    let expected = Message::Headers {
        window: w(0),
        headers: vec![blocks[1].header, blocks[2].header],
    };
    assert!(
        bench
            .sent()
            .any(|sent| sent == (Destination::Peer(v(4)), &expected))
    );
    let wanted = vec![BlockRef {
        height: blocks[2].header.height,
        id,
    }];
    bench.message(4, Message::Get(Get::Bodies(wanted.clone())));
    let serves = |effect: &Effect| match effect {
        Effect::ServeBodies { to, blocks } => *to == v(4) && *blocks == wanted,
        _ => false,
    };
    assert!(bench.seen.iter().any(serves));
    let mut bench = in_window_one(true);
    bench.message(3, Message::Get(Get::Ready { window: w(1) }));
    assert_eq!(bench.certificates_sent(3).len(), 1);
}

#[test]
fn r10_a_leader_sends_blocks_again_to_a_peer_that_stands_still() {
    let set = six(64);
    let mut bench = Bench::new(&set, 0);
    let disposition = bench.input(Input::Payload(payload_numbered(1)));
    assert_eq!(disposition, Disposition::Applied);
    let id = bench.proposals_sent()[0].header.id();
    for _ in 0..7 {
        bench.lapse(6);
        let status = bench.status_of(0);
        bench.status(2, status);
    }
    let serves = |effect: &Effect| match effect {
        Effect::ServeBodies { to, blocks } => *to == v(2) && blocks[0].id == id,
        _ => false,
    };
    assert!(bench.seen.iter().any(serves));
}

#[test]
fn r10_a_proof_is_logged_and_announced_and_durable_with_2f_plus_1() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    let block = Block::first(&set, 1);
    bench.propose(&block);
    bench.votes_signed(&[0, 1, 2, 3, 4], 0, &tip(&block));
    bench.lapse(25);
    let height = block.header.height;
    let logged = |effect: &Effect| {
        matches!(effect, Effect::PersistProof { point, proof } if point.height == height
            && matches!(proof.target, Target::Final { .. }))
    };
    assert!(bench.seen.iter().any(logged));
    let durable = |bench: &Bench| {
        bench
            .seen
            .iter()
            .any(|one| matches!(one, Effect::Durable(_)))
    };
    for from in [1, 2] {
        assert!(!durable(&bench));
        let status = Status {
            flushed: height,
            proven: block.point(),
            ..bench.status_of(0)
        };
        bench.status(from, status);
    }
    assert!(durable(&bench), "own, v1 and v2: 3 = 2F + 1");
    assert_eq!(bench.consensus.durable(), height);
}

/// By what is announced here others count what is on disks.
#[test]
fn r10_what_is_proven_and_not_flushed_yet_is_not_announced_as_flushed() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    let block = Block::first(&set, 1);
    bench.propose(&block);
    bench.votes_signed(&[0, 1, 2, 3, 4], 0, &tip(&block));
    assert_eq!(bench.consensus.proven(), block.point());
    let announced = |bench: &Bench| {
        let statuses = bench.statuses_sent();
        let last = statuses.last().expect("one was due");
        (last.proven, last.flushed)
    };
    bench.forget();
    bench.lapse(15);
    assert_eq!(announced(&bench), (block.point(), Height::ZERO));
    bench.lapse(30);
    let flushed = (block.point(), block.header.height);
    assert_eq!(announced(&bench), flushed, "t_flush is over");
}

#[test]
fn r10_a_status_says_how_far_the_own_proof_is_and_how_far_finality_is_counted() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    let block = Block::first(&set, 1);
    bench.propose(&block);
    bench.votes(&[0, 1, 2, 3, 4], 0, &tip(&block));
    bench.forget();
    bench.lapse(15);
    let statuses = bench.statuses_sent();
    let last = statuses.last().expect("one was due");
    assert_eq!(
        (last.finalized, last.proven),
        (block.point(), set.genesis())
    );
}

#[test]
fn r10_a_record_is_signed_within_t_sig_also_when_idle_and_after_leaving() {
    let set = six(1);
    let mut bench = Bench::new(&set, 5);
    let block = Block::first(&set, 1);
    bench.propose(&block);
    bench.votes(&[0, 1, 2], 0, &tip(&block));
    assert_eq!(bench.consensus.window(), w(1));
    bench.lapse(21);
    let votes = bench.votes_sent(0);
    let newest = Record {
        fin: Some(i(0)),
        ..tip(&block)
    };
    assert!(
        votes
            .iter()
            .any(|(_, vote)| vote.record == newest && vote.signature.is_some())
    );
}

#[test]
fn r10_own_records_stay_signed_in_time_under_a_steady_stream() {
    let set = six(4096);
    let mut bench = Bench::new(&set, 5);
    for block in &chain(&set, 40, 1) {
        bench.propose(block);
        bench.lapse(1);
    }
    let signed: Vec<Record> = bench
        .votes_sent(0)
        .iter()
        .filter(|(_, vote)| vote.signature.is_some())
        .map(|(_, vote)| vote.record.clone())
        .collect();
    assert!(
        signed.len() >= 2 && signed.len() <= 4,
        "once each T_sig, not each vote"
    );
}

/// Whoever answers has to send them all, and whoever asks to hold them.
#[test]
fn bounds_bodies_that_a_window_lacks_are_asked_for_a_batch_at_a_time() {
    let set = six(4096);
    let mut bench = Setup::new(&set, 5).patient().run();
    let blocks = chain(&set, 200, 1);
    bench.votes(&[1, 2, 3], 0, &tip(&blocks[199]));
    bench.headers(1, &blocks.iter().collect::<Vec<_>>());
    let asked = bench.asked().into_iter();
    let asked = asked
        .filter(|(_, get)| matches!(get, Get::Bodies(_)))
        .count();
    assert_eq!(asked, limits::BODIES_PER_REQUEST_MAX);
}
