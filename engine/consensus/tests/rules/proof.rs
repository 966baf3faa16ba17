//! Counted by channel, shown by signature (protocol.md 5.1), and evidence (2.10).

use crate::bench::{Bench, Setup};
use crate::fixtures::{
    Block, MS, certified, chain, final_of, i, set_of, sign_header, signed, six, skip_of, stop,
    stop_at, tip, v, w,
};
use quorate_consensus::certificate::Certificate;
use quorate_consensus::effect::{Alarm, Effect};
use quorate_consensus::evidence::Evidence;
use quorate_consensus::machine::{Disposition, Ignored};
use quorate_consensus::message::{Get, Message, Propose, Status};
use quorate_consensus::record::Record;
use quorate_consensus::types::{Epoch, Height};
use quorate_consensus::verify::{Fact, judge};

const BAD: [u8; 64] = [0x5a; 64];

#[test]
fn signatures_garbage_stops_neither_counting_nor_finality_and_raises_an_alarm() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    let block = Block::first(&set, 1);
    bench.propose(&block);
    bench.votes_signed(&[0, 1, 2], 0, &tip(&block));
    bench.vote_with(3, 0, tip(&block), Some(BAD));
    assert_eq!(bench.finalized(), vec![block.point()]);
    assert!(bench.alarms().contains(&Alarm::BadSignature(v(3))));
    bench.lapse(25);
    assert!(
        set.is_genesis(&bench.consensus.proven()),
        "v0, v1, v2 and the own: 4 of FAST = 5"
    );
    bench.vote_signed(4, 0, tip(&block));
    assert_eq!(bench.consensus.proven(), block.point());
    let proof = bench.consensus.proof().unwrap();
    assert_eq!(judge(&set, proof), Ok(Fact::Final(block.point())));
    assert!(proof.records.iter().all(|signed| signed.validator != v(3)));
}

#[test]
fn signatures_a_peer_with_a_bad_one_counts_only_after_verification() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    let blocks = chain(&set, 2, 1);
    bench.propose(&blocks[0]);
    bench.propose(&blocks[1]);
    bench.vote_with(3, 0, tip(&blocks[0]), Some(BAD));
    bench.votes(&[0, 1, 2], 0, &tip(&blocks[1]));
    let unsigned = bench.vote(3, 0, tip(&blocks[1]));
    assert_eq!(unsigned, Disposition::Ignored(Ignored::Pending));
    assert_eq!(
        bench.finalized(),
        vec![blocks[0].point()],
        "what was counted stays counted"
    );
    bench.vote_signed(3, 0, tip(&blocks[1]));
    assert_eq!(bench.finalized().len(), 2);
}

/// A record comes with a Status and with a block as well, without a signature.
#[test]
fn signatures_a_peer_with_a_bad_one_is_not_counted_by_another_way() {
    for by_status in [true, false] {
        let set = six(64);
        let mut bench = Setup::new(&set, 5).patient().run();
        let blocks = chain(&set, 2, 1);
        bench.propose(&blocks[0]);
        bench.vote_with(0, 0, tip(&blocks[0]), Some(BAD));
        let record = tip(&blocks[1]);
        if by_status {
            bench.propose(&blocks[1]);
            let status = Status {
                record,
                ..bench.status_of(0)
            };
            bench.status(0, status);
        } else {
            let propose = Propose {
                header: blocks[1].header,
                payload: blocks[1].payload.clone(),
                justification: Vec::new(),
                record: Some(record),
            };
            bench.message(0, Message::Propose(propose));
        }
        bench.votes(&[1, 2, 3], 0, &tip(&blocks[1]));
        let found = bench.finalized();
        assert_eq!(found, [blocks[0].point()], "{by_status}: 4 of FAST = 5");
    }
}

#[test]
fn signatures_an_earlier_record_that_comes_late_takes_no_later_one_away() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    let block = Block::first(&set, 1);
    bench.propose(&block);
    bench.vote_signed(2, 0, stop_at(&block));
    bench.vote_signed(2, 0, tip(&block));
    // With the own stop and that of v2, Q have stopped.
    bench.votes_signed(&[0, 1], 0, &stop_at(&block));
    assert_eq!(bench.consensus.window(), w(1));
    bench.message(4, Message::Get(Get::Ready { window: w(1) }));
    let sent = bench.certificates_sent(4);
    let skip = Fact::Skip {
        window: w(0),
        from: i(1),
    };
    let mut facts = sent.iter().copied().flatten().map(|one| judge(&set, one));
    assert!(facts.any(|fact| fact == Ok(skip)));
}

/// Finals of Q below the tip, whose first votes are less than FAST.
#[test]
fn signatures_finals_prove_the_block_that_they_name_and_none_above_it() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    let blocks = chain(&set, 2, 1);
    bench.propose(&blocks[0]);
    let finals = Record {
        fin: Some(i(0)),
        ..tip(&blocks[1])
    };
    bench.vote_signed(1, 0, finals.clone());
    bench.headers(1, &[&blocks[1]]);
    bench.votes_signed(&[2, 3], 0, &finals);
    assert!(set.is_genesis(&bench.consensus.proven()), "less than Q");
    bench.vote_signed(4, 0, finals);
    assert_eq!(bench.consensus.proven(), blocks[0].point());
    let proof = bench.consensus.proof().expect("of the proven block");
    assert_eq!(judge(&set, proof), Ok(Fact::Final(blocks[0].point())));
}

#[test]
fn signatures_a_bad_copy_takes_no_good_record_away() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    bench.votes_signed(&[0, 1, 2, 3], 0, &stop());
    bench.vote_with(3, 0, stop(), Some(BAD));
    bench.message(4, Message::Get(Get::Ready { window: w(1) }));
    let sent = bench.certificates_sent(4);
    let judged: Vec<_> = sent
        .last()
        .unwrap()
        .iter()
        .map(|one| judge(&set, one))
        .collect();
    assert_eq!(
        judged,
        vec![Ok(Fact::Skip {
            window: w(0),
            from: i(0)
        })]
    );
}

#[test]
fn signatures_of_an_older_record_prove_what_it_said() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    let blocks = chain(&set, 2, 1);
    bench.propose(&blocks[0]);
    bench.votes_signed(&[0, 1, 2, 3], 0, &tip(&blocks[0]));
    bench.lapse(25);
    assert_eq!(bench.consensus.proven(), blocks[0].point());
    bench.propose(&blocks[1]);
    bench.votes(&[0, 1, 2, 3], 0, &tip(&blocks[1]));
    assert_eq!(bench.consensus.finalized(), blocks[1].point());
    assert_eq!(
        bench.consensus.proven(),
        blocks[0].point(),
        "the newer ones are unsigned"
    );
}

/// A block that is final by count, and that signed records of stake Q reach, hides none below it
/// that they prove.
#[test]
fn signatures_prove_the_highest_block_that_stake_fast_of_them_reaches() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    let blocks = chain(&set, 2, 1);
    bench.propose(&blocks[0]);
    bench.propose(&blocks[1]);
    bench.vote_signed(3, 0, tip(&blocks[0]));
    bench.votes_signed(&[0, 1, 2], 0, &tip(&blocks[1]));
    bench.vote(3, 0, tip(&blocks[1]));
    bench.lapse(25);
    assert_eq!(bench.consensus.finalized(), blocks[1].point());
    assert_eq!(bench.consensus.proven(), blocks[0].point());
}

#[test]
fn signatures_a_peer_that_never_signs_is_counted_only_after_verification() {
    let set = six(4096);
    let mut bench = Bench::new(&set, 5);
    let blocks = chain(&set, 40, 1);
    for block in &blocks[..30] {
        bench.propose(block);
        bench.votes_signed(&[0, 1, 2], 0, &tip(block));
        bench.vote(3, 0, tip(block));
        bench.lapse(10);
    }
    bench.propose(&blocks[30]);
    bench.votes(&[0, 1, 2], 0, &tip(&blocks[30]));
    bench.vote(3, 0, tip(&blocks[30]));
    assert!(
        bench.consensus.finalized().index < i(25),
        "300 ms are 15 T_sig"
    );
    bench.vote_signed(3, 0, tip(&blocks[30]));
    assert_eq!(bench.consensus.finalized(), blocks[30].point());
}

#[test]
fn evidence_e1_two_signed_headers_of_one_position() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    for salt in [1, 2] {
        let header = Block::first(&set, salt).header;
        let signature = sign_header(&set, &header);
        assert!(bench.evidence().is_empty());
        bench.message(3, Message::HeaderSignature { header, signature });
    }
    let evidence = bench.evidence();
    let [Evidence::TwoHeaders(pair)] = evidence[..] else {
        panic!("{evidence:?}")
    };
    assert_ne!(pair[0].header, pair[1].header);
    assert!(bench.own_record(0).stop, "the leader's window is given up");
}

#[test]
fn evidence_e1_accuses_nobody_of_two_headers_of_two_positions() {
    let set = six(64);
    let mut bench = Setup::new(&set, 5).patient().run();
    for block in chain(&set, 3, 1) {
        bench.propose(&block);
        let header = block.header;
        let signature = sign_header(&set, &header);
        bench.message(0, Message::HeaderSignature { header, signature });
    }
    assert!(bench.evidence().is_empty() && bench.alarms().is_empty());
    assert!(!bench.own_record(0).stop);
}

#[test]
fn signatures_of_headers_that_cannot_be_of_this_chain_are_not_checked() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    let first = Block::first(&set, 1);
    let changed = [
        first.with(|header| header.flags = 1),
        first.with(|header| header.index = i(64)),
        first.with(|header| header.chain_id = [0; 32]),
    ];
    for Block { header, .. } in changed {
        let signature = sign_header(&set, &header);
        let taken = bench.message(0, Message::HeaderSignature { header, signature });
        assert_eq!(taken, Disposition::Ignored(Ignored::OutOfRange));
    }
}

#[test]
fn signatures_that_are_held_are_not_checked_again() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    let block = Block::first(&set, 1);
    bench.propose(&block);
    let first = bench.vote_signed(1, 0, tip(&block));
    assert_eq!(first, Disposition::Applied);
    bench.forget();
    let again = bench.vote_signed(1, 0, tip(&block));
    assert_eq!(again, Disposition::Ignored(Ignored::Stale));
    let checks = |effect: &Effect| matches!(effect, Effect::Verify { .. });
    assert!(!bench.seen.iter().any(checks));
}

#[test]
fn evidence_e2_two_signed_records_of_which_neither_extends_the_other() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    let first = stop_at(&Block::first(&set, 1));
    bench.vote_signed(2, 0, first.clone());
    bench.vote_signed(2, 0, stop());
    let evidence = bench.evidence();
    let [
        Evidence::TwoRecords {
            validator, records, ..
        },
    ] = evidence[..]
    else {
        panic!("{evidence:?}")
    };
    assert_eq!(*validator, v(2));
    assert_eq!(
        **records,
        [signed(&set, 2, 0, first), signed(&set, 2, 0, stop())]
    );
}

#[test]
fn evidence_e2_two_signed_records_on_two_branches() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    let mine = Block::first(&set, 1);
    let theirs = chain(&set, 2, 10);
    bench.propose(&mine);
    bench.vote(1, 0, tip(&theirs[1]));
    bench.branch(1, &[&theirs[0], &theirs[1]]);
    bench.vote_signed(2, 0, tip(&mine));
    bench.vote_signed(2, 0, tip(&theirs[1]));
    let evidence = bench.evidence();
    let [Evidence::TwoRecords { headers, .. }] = evidence[..] else {
        panic!("{evidence:?}")
    };
    assert!(!headers.is_empty(), "the headers that prove the branch");
}

#[test]
fn evidence_e3_one_signed_record_that_contradicts_itself() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    let block = Block::first(&set, 1);
    let wrong = Record {
        fin: Some(i(0)),
        skip_fallback: Some(i(0)),
        ..stop_at(&block)
    };
    bench.vote_signed(2, 0, wrong.clone());
    let evidence = bench.evidence();
    let [Evidence::OneRecord { record, .. }] = evidence[..] else {
        panic!("{evidence:?}")
    };
    assert_eq!(**record, signed(&set, 2, 0, wrong));
}

/// It proves what its validator did, and nothing of a block: no certificate with it is believed.
#[test]
fn evidence_e3_stands_in_no_certificate() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    let wrong = Record {
        fin: Some(i(0)),
        ..stop()
    };
    bench.vote_signed(2, 0, wrong);
    assert_eq!(bench.evidence().len(), 1);
    bench.votes_signed(&[0, 1, 3, 4], 0, &stop());
    bench.message(4, Message::Get(Get::Ready { window: w(1) }));
    let sent = bench.certificates_sent(4);
    let certificates = sent.last().expect("one with the skip");
    let skip = Fact::Skip {
        window: w(0),
        from: i(0),
    };
    let judged: Vec<_> = certificates.iter().map(|one| judge(&set, one)).collect();
    assert_eq!(judged, [Ok(skip)]);
    let mut records = certificates.iter().flat_map(|one| &one.records);
    assert!(records.all(|signed| signed.validator != v(2)));
}

#[test]
fn evidence_without_good_signatures_is_none_and_from_a_peer_is_checked() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    bench.vote_with(2, 0, stop_at(&Block::first(&set, 1)), Some(BAD));
    bench.vote_with(2, 0, stop(), Some(BAD));
    assert!(bench.evidence().is_empty());
    let pair = |signature| {
        let records = [stop_at(&Block::first(&set, 1)), stop()].map(|record| {
            let mut one = signed(&set, 2, 0, record);
            one.signature[0] ^= signature;
            one
        });
        let (epoch, window, validator) = (set.epoch(), w(0), v(2));
        let (records, headers) = (Box::new(records), Vec::new());
        Evidence::TwoRecords {
            epoch,
            window,
            validator,
            records,
            headers,
        }
    };
    bench.message(3, Message::Evidence(pair(1)));
    assert!(bench.evidence().is_empty());
    bench.message(3, Message::Evidence(pair(0)));
    assert_eq!(bench.evidence().len(), 1);
}

#[test]
fn evidence_changes_nothing_of_what_is_counted() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    let block = Block::first(&set, 1);
    bench.propose(&block);
    bench.vote_signed(2, 0, tip(&block));
    bench.vote_signed(2, 0, stop());
    assert_eq!(bench.evidence().len(), 1);
    bench.votes(&[0, 1, 3], 0, &tip(&block));
    assert_eq!(bench.finalized(), vec![block.point()]);
}

#[test]
fn certificates_bring_every_header_between_the_block_and_each_tip() {
    let set = set_of(&[1; 6], 1, 1, 64, 1);
    let mut bench = Bench::new(&set, 5);
    let blocks = chain(&set, 4, 1);
    bench.propose(&blocks[0]);
    bench.propose(&blocks[1]);
    bench.stop_by_timer();
    bench.headers(3, &[&blocks[2], &blocks[3]]);
    bench.vote_signed(3, 0, stop_at(&blocks[3]));
    bench.votes_signed(&[0, 2], 0, &stop_at(&blocks[1]));
    bench.vote_signed(4, 0, stop());
    bench.lapse(25);
    bench.message(2, Message::Get(Get::Ready { window: w(1) }));
    let sent = bench.certificates_sent(2);
    let [certified, skip] = *sent.last().unwrap() else {
        panic!("{sent:?}")
    };
    assert_eq!(
        judge(&set, certified),
        Ok(Fact::Certified(blocks[1].point()))
    );
    let headers: Vec<_> = blocks[1..].iter().map(|block| block.header).collect();
    assert_eq!(certified.headers, headers);
    let skipped = Fact::Skip {
        window: w(0),
        from: i(2),
    };
    assert_eq!(judge(&set, skip), Ok(skipped));
}

fn proofs_logged(bench: &Bench) -> Vec<Height> {
    let logged = bench.seen.iter().filter_map(|effect| match effect {
        Effect::PersistProof { point, .. } => Some(point.height),
        _ => None,
    });
    logged.collect()
}

/// A log whose newest proof stands above its bodies would be one that cannot be executed up to what
/// it proves.
#[test]
fn r10_a_proof_is_logged_when_every_body_below_it_is_here() {
    let set = six(64);
    let blocks = chain(&set, 2, 1);
    let mut bench = Setup::new(&set, 5).patient().run();
    let proof = final_of(&set, &blocks[1], &[0, 1, 2, 3, 4]);
    bench.headers(0, &[&blocks[0], &blocks[1]]);
    bench.certificates(1, vec![proof]);
    assert_eq!(bench.consensus.proven(), blocks[1].point());
    bench.lapse(1_000);
    assert_eq!(proofs_logged(&bench), []);
    for block in &blocks {
        bench.body(0, block);
    }
    bench.lapse(1_000);
    assert_eq!(proofs_logged(&bench), [blocks[1].header.height]);
}

/// A validator whose bodies are always behind its newest proof would log none, and count nothing
/// as durable for as long.
#[test]
fn r10_a_proof_waits_for_its_bodies_while_newer_ones_come() {
    let set = six(64);
    let blocks = chain(&set, 9, 1);
    let mut bench = Setup::new(&set, 5).patient().run();
    let headers: Vec<_> = blocks.iter().collect();
    bench.headers(0, &headers);
    let voters = [0, 1, 2, 3, 4];
    for (proven, body) in blocks[3..].iter().zip(&blocks) {
        bench.certificates(1, vec![final_of(&set, proven, &voters)]);
        assert_eq!(bench.consensus.proven(), proven.point());
        bench.body(0, body);
        bench.lapse(1_000);
    }
    let height = |at: usize| blocks[at].header.height;
    assert_eq!(proofs_logged(&bench), [height(3)], "6 bodies have come");
    for block in &blocks[6..] {
        bench.body(0, block);
    }
    bench.lapse(1_000);
    let logged = [3, 6, 8].map(height);
    assert_eq!(proofs_logged(&bench), logged, "each as its bodies come");
}

#[test]
fn r10_proofs_are_logged_no_more_often_than_once_in_t_flush() {
    let set = six(64);
    let blocks = chain(&set, 4, 1);
    let mut setup = Setup::new(&set, 5).patient();
    setup.timers.flush_ns = 50 * MS;
    let mut bench = setup.run();
    let mut expected = Vec::new();
    for pair in blocks.chunks(2) {
        for block in pair {
            bench.propose(block);
            bench.votes_signed(&[0, 1, 2, 3, 4], 0, &tip(block));
            assert_eq!(bench.consensus.proven(), block.point());
        }
        assert_eq!(proofs_logged(&bench), expected, "too soon");
        bench.lapse(50);
        expected.push(pair[1].header.height);
        assert_eq!(proofs_logged(&bench), expected);
    }
}

/// Each check costs as many signatures as the certificate has.
#[test]
fn r10_certificates_that_say_nothing_new_are_not_checked() {
    let set = six(2);
    let block = Block::first(&set, 1);
    let next = block.child(&set, 2);
    let mut bench = Setup::new(&set, 5).patient().run();
    let checked = |bench: &Bench| {
        let checks = bench.seen.iter();
        let is_check = |effect: &&Effect| matches!(effect, Effect::Verify { .. });
        checks.filter(is_check).count()
    };
    let voters = [0, 1, 2, 3, 4];
    bench.branch(0, &[&block, &next]);
    let known = [
        skip_of(&set, 1, &voters),
        certified(&set, &next, &voters),
        final_of(&set, &next, &voters),
    ];
    for certificate in known {
        for is_new in [true, false] {
            let before = checked(&bench);
            bench.certificates(1, vec![certificate.clone()]);
            let is_checked = checked(&bench) > before;
            assert_eq!(is_checked, is_new, "{:?}", certificate.target);
        }
    }
    let foreign = Certificate {
        epoch: Epoch::new(1),
        ..final_of(&set, &next, &voters)
    };
    let below = [
        final_of(&set, &block, &voters),
        certified(&set, &block, &voters),
        certified(&set, &next, &voters),
    ];
    for stale in below.into_iter().chain([foreign]) {
        let before = checked(&bench);
        bench.certificates(1, vec![stale.clone()]);
        assert_eq!(checked(&bench), before, "{:?}", stale.target);
    }
}

/// The record that contradicts an earlier one may come before the headers that show it.
#[test]
fn evidence_e2_two_signed_records_on_two_branches_with_the_headers_last() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    let mine = Block::first(&set, 1);
    let theirs = chain(&set, 2, 10);
    bench.propose(&mine);
    bench.vote_signed(2, 0, tip(&mine));
    bench.vote_signed(2, 0, tip(&theirs[1]));
    bench.vote_signed(2, 0, stop_at(&theirs[1]));
    assert!(bench.evidence().is_empty(), "it may stand on the first");
    bench.headers(1, &[&theirs[0], &theirs[1]]);
    let evidence = bench.evidence();
    let [
        Evidence::TwoRecords {
            records, headers, ..
        },
    ] = evidence[..]
    else {
        panic!("{evidence:?}")
    };
    let expected = [tip(&mine), stop_at(&theirs[1])].map(|record| signed(&set, 2, 0, record));
    assert_eq!(**records, expected);
    assert!(!headers.is_empty(), "the headers that prove the branch");
}

#[test]
fn evidence_e2_a_record_that_waited_for_headers_of_its_own_chain_accuses_nobody() {
    let set = six(64);
    let mut bench = Setup::new(&set, 5).patient().run();
    let blocks = chain(&set, 3, 1);
    let rival = blocks[0].child(&set, 20);
    bench.propose(&blocks[0]);
    bench.vote_signed(2, 0, tip(&blocks[0]));
    bench.vote_signed(2, 0, tip(&blocks[1]));
    bench.vote_signed(2, 0, tip(&blocks[2]));
    bench.headers(1, &[&blocks[1], &blocks[2]]);
    assert!(bench.evidence().is_empty() && bench.alarms().is_empty());
    // What it said last is what a later one is held against.
    bench.headers(1, &[&rival]);
    bench.vote_signed(2, 0, stop_at(&rival));
    assert_eq!(bench.evidence().len(), 1);
}

/// The header of a position is signed as seldom as any, so others come between two of one.
#[test]
fn evidence_e1_two_signed_headers_with_those_of_other_positions_between() {
    let set = six(64);
    let mut bench = Setup::new(&set, 5).patient().run();
    let mut headers: Vec<_> = chain(&set, 4, 1).iter().map(|block| block.header).collect();
    headers.push(Block::first(&set, 30).header);
    for header in headers {
        assert!(bench.evidence().is_empty());
        let signature = sign_header(&set, &header);
        bench.message(3, Message::HeaderSignature { header, signature });
    }
    assert!(matches!(bench.evidence()[..], [Evidence::TwoHeaders(_)]));
}

/// Under load the signed Finals of Q stand below every tip, and below what is final by count.
#[test]
fn signatures_of_finals_prove_what_lies_below_each_tip_and_below_what_is_final_by_count() {
    let set = six(64);
    let mut setup = Setup::new(&set, 5).patient();
    setup.answers.signing = false;
    let mut bench = setup.run();
    let blocks = chain(&set, 4, 1);
    for block in &blocks {
        bench.propose(block);
    }
    let finals = Record {
        fin: Some(i(1)),
        ..tip(&blocks[3])
    };
    bench.votes_signed(&[0, 1, 2, 3], 0, &finals);
    bench.vote(4, 0, tip(&blocks[3]));
    assert_eq!(bench.consensus.finalized(), blocks[3].point());
    assert_eq!(bench.consensus.proven(), blocks[1].point());
}

/// Signed votes count by the name of the block, and need it no more than others do.
#[test]
fn r8_a_block_whose_signatures_came_before_its_header_is_proven_when_that_comes() {
    let set = six(64);
    let mut bench = Setup::new(&set, 5).patient().run();
    let block = Block::first(&set, 1);
    bench.votes_signed(&[0, 1, 2, 3, 4], 0, &tip(&block));
    assert_eq!(bench.consensus.proven(), set.genesis());
    bench.headers(1, &[&block]);
    assert_eq!(bench.consensus.proven(), block.point());
}

/// Nobody signs anything more where nothing more happens.
#[test]
fn r8_signed_records_that_waited_for_headers_prove_a_block_when_these_come() {
    let set = six(64);
    let mut setup = Setup::new(&set, 5).patient();
    setup.answers.signing = false;
    let mut bench = setup.run();
    let blocks = chain(&set, 2, 1);
    bench.propose(&blocks[0]);
    bench.votes(&[0, 1, 2, 3, 4], 0, &tip(&blocks[0]));
    assert_eq!(bench.finalized(), [blocks[0].point()]);
    let finals = Record {
        fin: Some(i(0)),
        ..tip(&blocks[1])
    };
    bench.votes_signed(&[0, 1, 2, 3], 0, &finals);
    assert_eq!(bench.consensus.proven(), set.genesis(), "not counted yet");
    bench.headers(1, &[&blocks[1]]);
    assert_eq!(bench.consensus.proven(), blocks[0].point());
}
