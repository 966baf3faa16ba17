//! Counting records (protocol.md 2.2), what is taken of them (2.9), votes without good signatures
//! (5.1), and evidence (2.10). These tests are named after their subject.

use crate::bench::{Bench, Setup};
use crate::fixtures::{
    Block, certified, chain, i, payload_numbered, set_of, sign_header, signed, six, stop, stop_at,
    tip, v, w,
};
use quorate_consensus::effect::{Alarm, Effect};
use quorate_consensus::evidence::Evidence;
use quorate_consensus::input::Input;
use quorate_consensus::machine::{Disposition, Ignored, PeerFault};
use quorate_consensus::message::{Get, Message};
use quorate_consensus::record::Record;
use quorate_consensus::types::Stake;
use quorate_consensus::verify::{Fact, judge};

const BAD: [u8; 64] = [0x5a; 64];

#[test]
fn thresholds_of_six_equal_validators_are_those_of_the_table() {
    let set = six(64);
    let at = set.thresholds();
    let amounts = [at.quorum, at.fast, at.fallback, at.amplify].map(Stake::amount);
    assert_eq!(amounts, [4, 5, 3, 2]);
}

#[test]
fn thresholds_of_a_set_without_room_for_f_and_p_are_refused() {
    use quorate_consensus::types::Epoch;
    use quorate_consensus::validators::{SetParameters, Validator, ValidatorSet};
    let set_with = |slack: u64| {
        let key =
            |seed: u8| quorate_consensus::signing::ValidatorKey::from_seed(&[seed; 32]).public();
        let validators = (1..7)
            .map(|seed| Validator::new(key(seed), Stake::new(1)))
            .collect();
        let parameters = SetParameters {
            chain_id: [7; 32],
            genesis_hash: [9; 32],
            epoch: Epoch::ZERO,
            fault: Stake::new(1),
            slack: Stake::new(slack),
            window_slots: 64,
            turn_windows: 1,
            crash_only: false,
            genesis_time_ns: 1_000,
        };
        ValidatorSet::new(parameters, validators)
    };
    assert!(set_with(1).is_ok(), "N = 3F + 2P + 1");
    assert!(set_with(2).is_err());
    let five = Stake::new(5);
    let refused =
        quorate_consensus::thresholds::Thresholds::new(five, Stake::new(1), Stake::new(1));
    assert!(refused.is_err(), "N = 3F + 2P");
}

#[test]
fn counting_refuses_a_record_that_contradicts_itself() {
    let set = six(64);
    let blocks = chain(&set, 2, 1);
    let wrong = [
        Record {
            fin: Some(i(1)),
            ..tip(&blocks[0])
        },
        Record {
            fin: Some(i(0)),
            ..stop()
        },
        Record {
            fin: Some(i(1)),
            skip_fallback: Some(i(1)),
            ..stop_at(&blocks[1])
        },
        Record {
            fin: Some(i(1)),
            skip_fallback: Some(i(0)),
            ..stop_at(&blocks[1])
        },
        Record {
            skip_fallback: Some(i(5)),
            ..tip(&blocks[1])
        },
        Record {
            also: vec![blocks[0].at()],
            ..tip(&blocks[1])
        },
        Record {
            tip: Some((i(64), blocks[0].id)),
            ..Record::default()
        },
    ];
    for record in wrong {
        let mut bench = Bench::new(&set, 5);
        let disposition = bench.vote(1, 0, record.clone());
        assert_eq!(
            disposition,
            Disposition::Fault(PeerFault::Inconsistent),
            "{record:?}"
        );
        assert_eq!(bench.alarms(), vec![Alarm::Equivocation(v(1))]);
    }
}

/// The part of rule X that needs headers: a Final above the fork of an `also`.
#[test]
fn counting_refuses_a_final_above_the_fork_of_an_also() {
    let set = six(64);
    let blocks = chain(&set, 2, 1);
    let rival = blocks[0].child(&set, 20);
    let mut bench = Bench::new(&set, 5);
    bench.branch(1, &[&blocks[0], &blocks[1], &rival]);
    let record = Record {
        also: vec![rival.at()],
        ..stop_at(&blocks[1])
    };
    let wrong = Record {
        fin: Some(i(1)),
        ..record.clone()
    };
    assert_eq!(
        bench.vote(1, 0, wrong),
        Disposition::Fault(PeerFault::Inconsistent)
    );
    let right = Record {
        fin: Some(i(0)),
        ..record
    };
    assert_eq!(bench.vote(2, 0, right), Disposition::Applied);
}

#[test]
fn counting_takes_records_only_as_they_grow() {
    let set = six(64);
    let blocks = chain(&set, 3, 1);
    let rivals = [Block::first(&set, 30), blocks[0].child(&set, 31)];
    let stopped = stop_at(&blocks[1]);
    let full = Record {
        fin: Some(i(0)),
        skip_fallback: Some(i(2)),
        ..stopped.clone()
    };
    let also = Record {
        also: vec![rivals[1].at()],
        ..stopped.clone()
    };
    let conflicts = [
        (tip(&blocks[0]), tip(&rivals[0])),
        (tip(&blocks[1]), tip(&rivals[1])),
        (tip(&blocks[0]), stop()),
        (stopped.clone(), tip(&blocks[2])),
        (stopped.clone(), stop_at(&blocks[2])),
        (stop(), tip(&blocks[0])),
        (
            Record {
                fin: Some(i(0)),
                ..tip(&blocks[0])
            },
            tip(&blocks[1]),
        ),
        (
            full.clone(),
            Record {
                skip_fallback: Some(i(3)),
                fin: Some(i(1)),
                ..full.clone()
            },
        ),
        (
            full.clone(),
            Record {
                skip_fallback: None,
                fin: Some(i(1)),
                ..full
            },
        ),
        (
            also.clone(),
            Record {
                also: Vec::new(),
                skip_fallback: Some(i(5)),
                ..also
            },
        ),
    ];
    for (before, after) in conflicts {
        let mut bench = Bench::new(&set, 5);
        bench.branch(
            1,
            &[&blocks[0], &blocks[1], &blocks[2], &rivals[0], &rivals[1]],
        );
        assert_eq!(
            bench.vote(2, 0, before.clone()),
            Disposition::Applied,
            "{before:?}"
        );
        let disposition = bench.vote(2, 0, after.clone());
        assert_eq!(
            disposition,
            Disposition::Fault(PeerFault::Conflict),
            "{before:?} {after:?}"
        );
    }
}

#[test]
fn counting_a_conflicting_record_changes_nothing() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    let mine = Block::first(&set, 1);
    let rival = Block::first(&set, 2);
    bench.propose(&mine);
    bench.votes(&[0, 1, 2], 0, &tip(&mine));
    bench.headers(2, &[&rival]);
    bench.vote(2, 0, tip(&rival));
    bench.vote(3, 0, tip(&mine));
    assert_eq!(
        bench.finalized(),
        vec![mine.point()],
        "the vote counted first still counts"
    );
}

#[test]
fn counting_a_first_record_with_an_unknown_tip_counts_at_its_tip_and_above_its_stop() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    let unknown = chain(&set, 4, 40);
    bench.votes(&[1, 2, 3], 0, &stop_at(&unknown[3]));
    bench.stop_by_timer();
    assert_eq!(
        bench.own_record(0).skip_fallback,
        Some(i(4)),
        "and nothing is known below"
    );
}

#[test]
fn bounds_records_far_ahead_are_refused() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    assert_eq!(bench.vote(1, 2, stop()), Disposition::Applied);
    let refused = Disposition::Ignored(Ignored::OutOfRange);
    assert_eq!(bench.vote(1, 3, stop()), refused);
    assert_eq!(bench.vote(1, u64::MAX, stop()), refused);
    let block = Block::first(&set, 1).with(|header| header.window = w(3));
    assert_eq!(bench.propose(&block), refused);
}

#[test]
fn bounds_one_pending_record_a_voter_and_the_later_one_replaces_it() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    let blocks = chain(&set, 3, 1);
    bench.propose(&blocks[0]);
    bench.vote(1, 0, tip(&blocks[0]));
    let strange = blocks[0].child(&set, 50);
    let pending = Disposition::Ignored(Ignored::Pending);
    assert_eq!(bench.vote(1, 0, tip(&strange)), pending);
    assert_eq!(bench.vote(1, 0, tip(&blocks[2])), pending);
    bench.headers(2, &[&strange]);
    bench.propose(&blocks[1]);
    bench.propose(&blocks[2]);
    assert!(
        bench.alarms().is_empty(),
        "the replaced one was never counted"
    );
    bench.votes(&[0, 2, 3], 0, &tip(&blocks[2]));
    assert_eq!(bench.finalized().len(), 3, "v1's later record was");
}

#[test]
fn bounds_two_blocks_a_position_are_held_of_a_leader() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    for salt in 1..5 {
        bench.propose(&Block::first(&set, salt));
    }
    let logged = |effect: &&Effect| matches!(effect, Effect::PersistBlock { .. });
    assert_eq!(bench.seen.iter().filter(logged).count(), 2);
    let third = Block::first(&set, 9);
    assert_eq!(bench.propose(&third), Disposition::Ignored(Ignored::Full));
}

#[test]
fn bounds_a_voter_brings_one_branch_of_headers() {
    let set = six(2);
    let mut bench = Bench::new(&set, 5);
    let budget = 2 + 64;
    for salt in 0..budget {
        let disposition = bench.headers(1, &[&Block::first(&set, salt)]);
        assert_eq!(disposition, Disposition::Applied, "{salt}");
    }
    let further = Block::first(&set, budget);
    assert_eq!(
        bench.headers(1, &[&further]),
        Disposition::Ignored(Ignored::Full)
    );
    assert_eq!(
        bench.headers(2, &[&further]),
        Disposition::Applied,
        "another voter's"
    );
}

#[test]
fn bounds_blocks_that_came_early_are_k_at_most() {
    let set = six(4096);
    let mut bench = Bench::new(&set, 5);
    let blocks = chain(&set, 70, 1);
    for block in &blocks[1..65] {
        assert_eq!(bench.propose(block), Disposition::Ignored(Ignored::Pending));
    }
    assert_eq!(
        bench.propose(&blocks[65]),
        Disposition::Ignored(Ignored::Full)
    );
}

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
        bench.consensus.proven().is_genesis(),
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

#[test]
fn certificates_are_checked_one_message_a_peer_at_a_time() {
    let set = six(64);
    let mut bench = Setup::new(&set, 5).run();
    let block = Block::first(&set, 1);
    let one = Message::Certificates(vec![certified(&set, &block, &[0, 1, 2, 3])]);
    let feed = |bench: &mut Bench, from: u16| {
        bench.feed(Input::Message(
            quorate_consensus::trust::Authenticated::assert_authenticated(v(from), one.clone()),
        ))
    };
    assert_eq!(feed(&mut bench, 1), Disposition::Applied);
    assert_eq!(feed(&mut bench, 1), Disposition::Ignored(Ignored::Full));
    assert_eq!(feed(&mut bench, 2), Disposition::Applied);
}

#[test]
fn messages_from_outside_the_set_or_from_itself_are_faults() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    for from in [5, 6, 999] {
        assert_eq!(
            bench.vote(from, 0, stop()),
            Disposition::Fault(PeerFault::Unknown)
        );
    }
}

#[test]
fn messages_of_clients_are_handed_through_unread() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    let commands = payload_numbered(3);
    bench.message(2, Message::Forward(commands.clone()));
    let through = |effect: &Effect| matches!(effect, Effect::Forwarded { from, commands: bytes } if *from == v(2) && *bytes == commands);
    assert!(bench.seen.iter().any(through));
}
