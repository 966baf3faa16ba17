//! R2: the leader's side.

use crate::bench::{Bench, Setup};
use crate::fixtures::{
    Block, MS, certificate, certified, chain, final_of, i, payload_numbered, payload_of, set_of,
    sign_header, six, skip_of, stop, stop_at, tip, v, w,
};
use quorate_consensus::certificate::Target;
use quorate_consensus::effect::Effect;
use quorate_consensus::input::Input;
use quorate_consensus::machine::{Disposition, Durability, Ignored};
use quorate_consensus::message::Message;
use quorate_consensus::payload::Lane;
use quorate_consensus::record::Record;
use quorate_consensus::types::Index;
use quorate_consensus::verify::{Fact, judge};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Hands payloads over as long as there is room, `most` at most; says how many were taken.
fn propose_all(bench: &mut Bench, salt: u32, most: u32) -> u32 {
    let mut taken = 0;
    while taken < most && bench.consensus.proposal_room().is_some() {
        let disposition = bench.input(Input::Payload(payload_numbered(salt + taken)));
        assert_eq!(disposition, Disposition::Applied);
        taken += 1;
    }
    taken
}

fn positions(bench: &Bench) -> Vec<(u64, Index)> {
    let sent = bench.proposals_sent();
    sent.iter()
        .map(|one| (one.header.window.number(), one.header.index))
        .collect()
}

#[test]
fn r2_blocks_stream_without_votes_until_k_are_in_flight() {
    let set = six(4096);
    let mut bench = Bench::new(&set, 0);
    assert_eq!(propose_all(&mut bench, 1, 1_000), 64);
    let sent = bench.proposals_sent();
    for (place, pair) in sent.windows(2).enumerate() {
        assert!(
            pair[1]
                .header
                .follows_in_window(&pair[0].header, pair[0].header.id()),
            "{place}"
        );
    }
    let first = sent[0].header;
    assert_eq!(first.parent_id, set.genesis().id);
    let block = Block {
        id: first.id(),
        header: first,
        payload: payload_numbered(1),
    };
    bench.votes(&[1, 2], 0, &tip(&block));
    assert_eq!(bench.consensus.proposal_room(), None, "3 of Q = 4");
    bench.vote(3, 0, tip(&block));
    assert_eq!(
        propose_all(&mut bench, 1_000, 1_000),
        1,
        "one more notarized, one more in flight"
    );
}

#[test]
fn r2_a_short_window_cuts_the_pipeline() {
    let set = six(2);
    let mut bench = Bench::new(&set, 0);
    assert_eq!(propose_all(&mut bench, 1, 1_000), 2);
}

#[test]
fn r2_nobody_proposes_in_another_leaders_window() {
    let set = six(64);
    let mut bench = Bench::new(&set, 1);
    assert_eq!(bench.consensus.proposal_room(), None);
    let disposition = bench.input(Input::Payload(payload_numbered(1)));
    assert_eq!(disposition, Disposition::Ignored(Ignored::NotAllowed));
    assert!(bench.proposals_sent().is_empty());
}

#[test]
fn r2_no_proposal_after_an_own_stop_or_while_shutting_down() {
    let set = six(64);
    let mut bench = Bench::new(&set, 0);
    bench.stop_by_timer();
    assert_eq!(bench.consensus.proposal_room(), None);
    let mut bench = Bench::new(&set, 0);
    bench.feed(Input::Shutdown);
    assert_eq!(bench.consensus.proposal_room(), None);
}

#[test]
fn r2_never_two_blocks_for_one_position() {
    for durability in [Durability::Async, Durability::Sync] {
        let set = six(64);
        let mut setup = Setup::new(&set, 0);
        setup.durability = durability;
        let mut bench = setup.run();
        bench.answers.journal = false;
        for salt in 0..8 {
            bench.feed(Input::Payload(payload_numbered(salt)));
            if salt % 3 == 0 {
                bench.settle();
            }
        }
        bench.answers.journal = true;
        for _ in 0..2 {
            bench.finish_journal();
            bench.settle();
        }
        let sent = positions(&bench);
        let distinct: BTreeSet<_> = sent.iter().collect();
        assert_eq!((sent.len(), distinct.len()), (8, 8), "{durability:?}");
    }
}

#[test]
fn r2_a_restarted_leader_goes_on_above_its_logged_tip() {
    let set = six(64);
    let blocks = chain(&set, 3, 1);
    let log: Vec<_> = blocks.iter().collect();
    let mut bench = Setup::new(&set, 0).with_log(tip(&blocks[2]), &log).run();
    let room = bench.consensus.proposal_room().unwrap();
    assert_eq!((room.window, room.index), (w(0), i(3)));
    propose_all(&mut bench, 100, 1);
    assert_eq!(bench.proposals_sent()[0].header.parent_id, blocks[2].id);
}

#[test]
fn r2_time_is_above_the_parents_and_not_below_the_wall_clock() {
    let set = six(64);
    let mut bench = Bench::new(&set, 0);
    propose_all(&mut bench, 1, 2);
    let sent = bench.proposals_sent();
    let times: Vec<u64> = sent.iter().map(|one| one.header.time_ns).collect();
    assert_eq!(times, vec![bench.now.wall_ns, bench.now.wall_ns + 1]);
}

/// Its clock is behind that of the leader before it: at the time of its parent, or below it, nobody
/// would vote for its block.
#[test]
fn r2_the_first_block_of_a_window_is_later_than_its_parent_whatever_the_clock_says() {
    let set = six(1);
    let mut bench = Setup::new(&set, 1).patient().run();
    let ahead_ns = bench.now.wall_ns + 1_000 * MS;
    let parent = Block::first(&set, 1).with(|header| header.time_ns = ahead_ns);
    bench.propose(&parent);
    bench.certificates(2, vec![final_of(&set, &parent, &[0, 2, 3, 4, 5])]);
    let room = bench.consensus.proposal_room().expect("it leads window 1");
    assert_eq!((room.window, room.time_ns_min), (w(1), ahead_ns + 1));
    propose_all(&mut bench, 10, 1);
    assert_eq!(bench.proposals_sent()[0].header.time_ns, ahead_ns + 1);
}

/// Whatever a payload was made by: the vote for it would be a vote for what all others refuse.
#[test]
fn r2_a_payload_that_makes_no_valid_block_is_neither_logged_nor_voted_for() {
    let set = six(64);
    let disordered = payload_of(&[(Lane::Order, 1), (Lane::Cancel, 1)]);
    let unshared = payload_of(&[(Lane::Order, 20 << 10), (Lane::Price, 60 << 10)]);
    for payload in [disordered, unshared, vec![0xff; 8], Vec::new()] {
        let mut bench = Bench::new(&set, 0);
        bench.forget();
        let disposition = bench.input(Input::Payload(Arc::from(payload)));
        assert_eq!(disposition, Disposition::Ignored(Ignored::NotAllowed));
        let logs = |effect: &Effect| {
            matches!(
                effect,
                Effect::PersistBlock { .. } | Effect::PersistRecord(_)
            )
        };
        assert!(!bench.seen.iter().any(logs));
        assert!(bench.own_record(0).is_empty() && bench.proposals_sent().is_empty());
    }
}

#[test]
fn r2_after_a_failed_window_the_leader_waits_for_signed_evidence_and_shows_it() {
    let set = six(64);
    let mut bench = Bench::new(&set, 1);
    bench.votes(&[0, 2, 3, 4], 0, &stop());
    assert_eq!(bench.consensus.window(), w(1));
    assert_eq!(
        bench.consensus.proposal_room(),
        None,
        "nothing that others could be shown"
    );
    bench.votes_signed(&[0, 2, 3, 4], 0, &stop());
    assert_eq!(propose_all(&mut bench, 1, 1), 1);
    let sent = bench.proposals_sent();
    let facts: Vec<_> = sent[0]
        .justification
        .iter()
        .map(|one| judge(&set, one))
        .collect();
    assert_eq!(
        facts,
        vec![Ok(Fact::Skip {
            window: w(0),
            from: i(0)
        })]
    );
}

/// Whose leader was out of reach: nobody has waited for anything, so there is no back-off either.
#[test]
fn r2_after_a_window_without_its_leader_the_parent_is_shown_too() {
    // In windows of one slot genesis has the place of the last block of the first one.
    for slots in [64, 1] {
        let set = set_of(&[1; 6], 1, 1, slots, 1);
        let mut bench = Bench::new(&set, 1);
        bench.input(Input::PeerDown(v(0)));
        bench.votes(&[2, 3, 4, 5], 0, &stop());
        assert_eq!(bench.consensus.window(), w(1));
        assert_eq!(bench.consensus.proposal_room(), None, "nothing to be shown");
        bench.votes_signed(&[2, 3, 4, 5], 0, &stop());
        assert_eq!(propose_all(&mut bench, 1, 1), 1);
        assert_eq!(bench.proposals_sent()[0].justification.len(), 1);
    }
}

#[test]
fn r2_a_verified_justification_lets_a_follower_vote() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    let block = Block::first(&set, 1).with(|header| header.window = w(1));
    bench.propose_from(1, &block, Vec::new());
    assert!(bench.own_record(1).is_empty());
    bench.propose_from(1, &block, vec![skip_of(&set, 0, &[0, 1, 2, 3])]);
    assert_eq!(bench.consensus.window(), w(1));
    assert_eq!(bench.own_record(1), tip(&block));
}

#[test]
fn r2_a_good_window_is_followed_without_waiting_for_signatures() {
    let set = set_of(&[1; 6], 1, 1, 1, 2);
    let mut bench = Bench::new(&set, 0);
    propose_all(&mut bench, 1, 1);
    let header = bench.proposals_sent()[0].header;
    let block = Block {
        id: header.id(),
        header,
        payload: payload_numbered(1),
    };
    bench.votes(&[1, 2, 3], 0, &tip(&block));
    assert_eq!(
        bench.consensus.window(),
        w(1),
        "the next window of the same turn"
    );
    assert_eq!(propose_all(&mut bench, 10, 1), 1);
    let sent = bench.proposals_sent();
    assert_eq!(sent[1].header.parent_id, block.id);
    assert!(sent[1].justification.is_empty());
}

#[test]
fn r2_the_leader_builds_on_the_highest_parent_whose_bodies_it_has() {
    let set = six(64);
    let blocks = chain(&set, 2, 1);
    for held in [1, 2] {
        let mut bench = Bench::new(&set, 1);
        for block in &blocks[..held] {
            bench.propose(block);
        }
        // Both are certified, and everything above the first is skipped: two parents are ready.
        let above = Target::Skip { from: i(1) };
        let skip = certificate(
            &set,
            0,
            above,
            (&[2, 3, 4, 5], &stop_at(&blocks[0])),
            vec![],
        );
        let voters = [0, 2, 3, 4];
        let both = blocks.iter().map(|block| certified(&set, block, &voters));
        let evidence = both.chain([skip]).collect();
        bench.certificates(3, evidence);
        let room = bench.consensus.proposal_room().unwrap();
        assert_eq!(room.height, blocks[held - 1].header.height.next());
    }
}

#[test]
fn r2_a_window_whose_blocks_are_all_made_has_no_room() {
    let set = six(64);
    let mut bench = Bench::new(&set, 0);
    assert_eq!(propose_all(&mut bench, 1, 1_000), 64);
    let header = bench.proposals_sent()[0].header;
    let block = Block {
        id: header.id(),
        header,
        payload: payload_numbered(1),
    };
    // Of the pipeline there is room again.
    bench.votes(&[1, 2, 3], 0, &tip(&block));
    assert_eq!(bench.consensus.proposal_room(), None);
}

#[test]
fn r2_the_last_header_is_signed_after_t_sig_and_its_signature_goes_out_with_it() {
    let set = six(64);
    let mut bench = Bench::new(&set, 0);
    propose_all(&mut bench, 1, 3);
    let asked = |bench: &Bench| {
        let asked = bench.seen.iter();
        let is_header = |effect: &&Effect| matches!(effect, Effect::SignHeader { .. });
        asked.filter(is_header).count()
    };
    assert_eq!(asked(&bench), 0, "one signature covers all below");
    bench.lapse(100);
    assert_eq!(asked(&bench), 1);
    let sent = bench.sent().find_map(|(_, message)| match message {
        Message::HeaderSignature { header, signature } => Some((*header, *signature)),
        _ => None,
    });
    let (header, signature) = sent.expect("it is told to all");
    assert_eq!(header.index, i(2));
    assert_eq!(signature, sign_header(&set, &header));
}

/// Each half of the evidence is of no use without the other.
#[test]
fn r2_after_a_failed_window_the_skip_has_to_be_signed_as_well_as_the_parent() {
    let set = six(2);
    let mut bench = Setup::new(&set, 1).patient().run();
    let block = Block::first(&set, 1);
    bench.propose(&block);
    bench.votes_signed(&[0, 2, 3], 0, &tip(&block));
    bench.lapse(100);
    bench.votes(&[0, 2, 3], 0, &stop_at(&block));
    bench.vote(4, 0, stop());
    assert_eq!(bench.consensus.window(), w(1));
    assert_eq!(bench.consensus.proposal_room(), None);
    bench.votes_signed(&[0, 2, 3], 0, &stop_at(&block));
    bench.vote_signed(4, 0, stop());
    let room = bench.consensus.proposal_room().expect("all is signed");
    assert_eq!((room.window, room.parent_id), (w(1), block.id));
}

fn headers_signed(bench: &Bench) -> usize {
    let is_header = |effect: &&Effect| matches!(effect, Effect::SignHeader { .. });
    bench.seen.iter().filter(is_header).count()
}

#[test]
fn r2_each_last_header_is_signed_also_in_a_steady_stream() {
    let set = six(64);
    let mut bench = Setup::new(&set, 0).patient().run();
    for round in 1..3 {
        propose_all(&mut bench, 10 * u32::try_from(round).unwrap(), 1);
        bench.lapse(100);
        assert_eq!(headers_signed(&bench), round, "one a round");
    }
    bench.forget();
    // T_sig is 20 ms; each block comes before that is over.
    for number in 0..20 {
        propose_all(&mut bench, 100 + number, 1);
        let last = bench.proposals_sent().last().map(|sent| sent.header);
        let header = last.expect("there is room");
        let record = Record {
            tip: Some((header.index, header.id())),
            ..Record::default()
        };
        bench.votes(&[1, 2, 3, 4], 0, &record);
        bench.lapse(5);
    }
    assert!((4..=6).contains(&headers_signed(&bench)));
}

/// With k above 0 timers are long because something fails: a leader shows its parent to those who
/// may lack it, after a full window too.
#[test]
fn r2_while_timeouts_are_lengthened_the_parent_is_shown_after_a_full_window_too() {
    let set = set_of(&[1; 6], 1, 1, 2, 1);
    let mut bench = Bench::new(&set, 3);
    for failed in 0..2 {
        // Of a silent one the window is stopped at once, which lengthens nothing.
        let leader = bench.set.leader(w(failed)).number();
        let status = bench.status_of(failed);
        bench.status(leader, status);
        bench.stop_by_timer();
        bench.votes_signed(&[2, 4, 5], failed, &stop());
    }
    assert_eq!(bench.consensus.window(), w(2));
    let first = Block::first(&set, 1).with(|header| header.window = w(2));
    let last = first.child(&set, 2);
    let skips = [0, 1].map(|window| skip_of(&set, window, &[2, 3, 4, 5]));
    bench.propose_from(2, &first, skips.to_vec());
    bench.propose(&last);
    bench.votes(&[0, 1, 2], 2, &tip(&last));
    assert_eq!(bench.consensus.window(), w(3));
    assert_eq!(bench.consensus.proposal_room(), None, "nothing to be shown");
    bench.votes_signed(&[0, 1, 2], 2, &tip(&last));
    bench.lapse(25);
    assert_eq!(propose_all(&mut bench, 10, 1), 1);
    assert!(!bench.proposals_sent()[0].justification.is_empty());
}
