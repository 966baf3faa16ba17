//! R13, the asking side: a validator without its lease says nothing until enough others have told
//! it from which window on it may.

use crate::bench::{Bench, Setup};
use crate::fixtures::{
    Block, five_stakes, payload_numbered, sign_answer, sign_record, six, skip_of, stop, stop_at,
    tip, v, w,
};
use quorate_consensus::certificate::Certificate;
use quorate_consensus::effect::{Alarm, Destination, Effect};
use quorate_consensus::input::Input;
use quorate_consensus::machine::Disposition;
use quorate_consensus::message::{Get, HeldRecord, Message, OwnAnswer, RecoverAnswer};
use quorate_consensus::record::OwnRecord;
use quorate_consensus::trust::Lease;
use quorate_consensus::types::ValidatorIndex;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Validator 5 of six with a lost lease, its peers connected. Four others must answer.
fn lost() -> Bench {
    let mut setup = Setup::new(&six(64), 5);
    setup.restored.lease.is_lost = true;
    setup.answers.lease = false;
    setup.start()
}

/// Questions sent so far: to whom, and with which nonce.
fn questions(bench: &Bench) -> Vec<(Destination, [u8; 32])> {
    bench
        .sent()
        .filter_map(|(to, message)| match message {
            Message::Recover { nonce } => Some((to, *nonce)),
            _ => None,
        })
        .collect()
}

fn nonce(bench: &Bench) -> [u8; 32] {
    questions(bench).last().expect("asked").1
}

/// Skips that prove a window, by the stops of four.
fn proof(bench: &Bench, window: u64) -> Vec<Certificate> {
    let below = window.checked_sub(1);
    below
        .map(|below| skip_of(&bench.set, below, &[0, 1, 2, 3]))
        .into_iter()
        .collect()
}

fn answer_of(bench: &Bench, from: u16, window: u64) -> RecoverAnswer {
    let said = OwnAnswer {
        asker: bench.own,
        nonce: nonce(bench),
        window: w(window),
    };
    RecoverAnswer {
        nonce: said.nonce,
        window: said.window,
        certificates: proof(bench, window),
        signature: sign_answer(&bench.set, v(from), &said),
    }
}

pub(crate) fn answer(bench: &mut Bench, from: u16, window: u64) -> Disposition {
    let answer = answer_of(bench, from, window);
    bench.message(from, Message::RecoverAnswer(answer))
}

/// Leases without loss that were to be made durable.
fn found(bench: &Bench) -> Vec<Lease> {
    let leases = bench.seen.iter().filter_map(|effect| match effect {
        Effect::PersistLease(lease) => Some(*lease),
        _ => None,
    });
    leases.filter(|lease| !lease.is_lost).collect()
}

fn all_three(until: u64) -> Lease {
    Lease {
        lease: Some(w(until)),
        abstain_until: Some(w(until)),
        no_proposals_until: Some(w(until)),
        is_lost: false,
        // What the lost disk had flushed the log here may never have.
        proofs_elsewhere: Some(w(until)),
    }
}

#[test]
fn r13_everybody_is_asked_and_nobody_about_the_fence_yet() {
    let bench = lost();
    let asked: Vec<_> = questions(&bench).iter().map(|(to, _)| *to).collect();
    let all: Vec<_> = (0..5).map(|peer| Destination::Peer(v(peer))).collect();
    assert_eq!(asked, all);
    let is_fence = |(_, message): (_, &Message)| matches!(message, Message::FenceAsk { .. });
    assert!(!bench.sent().any(is_fence));
    let statuses = bench.statuses_sent();
    assert!(!statuses.is_empty() && statuses.iter().all(|status| status.recovering));
    assert!(
        statuses.iter().all(|status| status.no_proposals),
        "nobody waits for a block of it"
    );
}

#[test]
fn r13_answers_of_less_than_the_stake_needed_find_nothing() {
    let mut bench = lost();
    for from in [0, 1, 2, 2, 2] {
        answer(&mut bench, from, 1);
    }
    assert!(found(&bench).is_empty(), "2F + P + 1 = 4, each once");
    answer(&mut bench, 3, 1);
    assert_eq!(found(&bench), vec![all_three(2)]);
}

/// 49 of 100 are needed here.
#[test]
fn r13_answers_count_by_the_stake_of_who_answers() {
    for (answerers, is_found) in [(&[0, 2][..], true), (&[0, 3], true), (&[1, 2], false)] {
        let mut setup = Setup::new(&five_stakes(), 4);
        setup.restored.lease.is_lost = true;
        setup.answers.lease = false;
        let mut bench = setup.start();
        for &from in answerers {
            answer(&mut bench, from, 1);
        }
        assert_eq!(!found(&bench).is_empty(), is_found, "{answerers:?}");
    }
}

#[test]
fn r13_the_window_after_the_highest_answered_is_closed_too() {
    let mut bench = lost();
    for (from, window) in [(0, 1), (1, 3), (2, 2), (4, 1)] {
        answer(&mut bench, from, window);
    }
    assert_eq!(found(&bench), vec![all_three(4)]);
}

#[test]
fn r13_nothing_is_said_before_the_lease_file_holds_what_was_found() {
    let mut bench = lost();
    let set = bench.set.clone();
    let skips = [0, 1].map(|window| skip_of(&set, window, &[0, 1, 2, 3]));
    bench.certificates(2, skips.to_vec());
    for from in 0..4 {
        answer(&mut bench, from, 0);
    }
    bench.lapse(100);
    assert!(bench.persisted().is_empty() && !bench.consensus.is_voting());
    bench.finish_leases();
    bench.settle();
    assert!(bench.alarms().contains(&Alarm::Recovered(w(1))));
    assert!(!bench.consensus.is_voting(), "the fence comes first");
    for from in 0..3 {
        bench.answer_fence(from, None);
    }
    bench.answers.lease = true;
    bench.finish_leases();
    bench.settle();
    bench.lapse(100);
    assert!(bench.consensus.is_voting(), "in window 2");
    assert!(bench.own_record(2).stop);
    assert!(bench.own_record(0).is_empty() && bench.own_record(1).is_empty());
}

#[test]
fn r13_an_answer_to_another_question_counts_for_nothing() {
    let mut bench = lost();
    for from in 0..5 {
        let asker = bench.own;
        let said = OwnAnswer {
            asker,
            nonce: [8; 32],
            window: w(0),
        };
        let answer = RecoverAnswer {
            nonce: said.nonce,
            window: said.window,
            certificates: Vec::new(),
            signature: sign_answer(&bench.set, v(from), &said),
        };
        bench.message(from, Message::RecoverAnswer(answer));
    }
    assert!(found(&bench).is_empty());
}

#[test]
fn r13_an_answer_to_another_asker_is_refused() {
    let mut bench = lost();
    for from in 0..4 {
        let said = OwnAnswer {
            asker: v(4),
            nonce: nonce(&bench),
            window: w(0),
        };
        let answer = RecoverAnswer {
            nonce: said.nonce,
            window: said.window,
            certificates: Vec::new(),
            signature: sign_answer(&bench.set, v(from), &said),
        };
        bench.message(from, Message::RecoverAnswer(answer));
    }
    assert!(found(&bench).is_empty());
}

/// A liar can answer as another cannot: with a window that nothing proves, or with signatures that
/// are none.
#[test]
fn r13_an_answer_without_a_good_proof_is_refused() {
    type Spoil = fn(&mut RecoverAnswer);
    let spoils: [Spoil; 4] = [
        |answer| answer.certificates.clear(),
        |answer| answer.signature[5] ^= 1,
        |answer| answer.certificates[0].records[0].signature[5] ^= 1,
        |answer| drop(answer.certificates[0].records.pop()),
    ];
    for (number, spoil) in spoils.into_iter().enumerate() {
        let mut bench = lost();
        for from in 0..3 {
            answer(&mut bench, from, 0);
        }
        let mut lie = answer_of(&bench, 4, 9);
        spoil(&mut lie);
        bench.message(4, Message::RecoverAnswer(lie));
        assert!(found(&bench).is_empty(), "{number}");
        answer(&mut bench, 3, 0);
        assert_eq!(found(&bench), vec![all_three(1)], "{number}");
    }
}

#[test]
fn r13_who_has_not_answered_is_asked_again_less_and_less_often() {
    let mut bench = lost();
    answer(&mut bench, 0, 0);
    bench.forget();
    bench.lapse(1_000);
    let to = |peer: u16| {
        let peer = Destination::Peer(v(peer));
        questions(&bench)
            .iter()
            .filter(|(to, _)| *to == peer)
            .count()
    };
    assert_eq!(to(0), 0);
    assert!((2..=8).contains(&to(1)), "{}", to(1));
    bench.forget();
    bench.lapse(60_000);
    assert!(to_all(&bench) > 4 * 20, "never given up");
}

fn to_all(bench: &Bench) -> usize {
    questions(bench).len()
}

#[test]
fn r13_records_of_a_log_without_its_lease_are_not_believed() {
    let set = six(64);
    let block = Block::first(&set, 1);
    let mut setup = Setup::new(&set, 5).with_log(tip(&block), &[&block]);
    setup.restored.lease = Lease {
        is_lost: true,
        ..Lease::default()
    };
    let mut bench = setup.start();
    for from in 0..4 {
        answer(&mut bench, from, 0);
    }
    for from in 0..3 {
        bench.answer_fence(from, None);
    }
    bench.lapse(100);
    assert!(bench.own_record(0).is_empty());
    assert!(bench.votes_sent(0).is_empty());
}

/// A validator whose disk holds less than a peer has from it, signed.
fn outdated() -> Bench {
    let set = six(64);
    let block = Block::first(&set, 1);
    let mut bench = Setup::new(&set, 5).with_log(tip(&block), &[&block]).start();
    let held = HeldRecord {
        window: w(0),
        record: stop(),
        signature: Some(sign_record(&set, v(5), w(0), &stop())),
    };
    bench.answer_fence(0, Some(held));
    bench
}

#[test]
fn r13_an_old_disk_is_noted_as_lost_and_the_others_are_asked() {
    let mut bench = outdated();
    bench.lapse(20);
    let noted = bench
        .seen
        .iter()
        .any(|effect| matches!(effect, Effect::PersistLease(lease) if lease.is_lost));
    assert!(noted, "who knows of it may be gone at the next start");
    assert!(questions(&bench).len() >= 5);
    for from in 0..4 {
        answer(&mut bench, from, 0);
    }
    let expected = Lease {
        lease: Some(w(100)),
        ..all_three(1)
    };
    assert_eq!(
        found(&bench),
        vec![expected],
        "the lease it had never falls"
    );
}

#[test]
fn r13_an_old_disk_s_records_are_forgotten_and_later_windows_voted_in() {
    let mut bench = outdated();
    let set = bench.set.clone();
    bench.lapse(20);
    for from in 0..4 {
        answer(&mut bench, from, 0);
    }
    for from in 0..3 {
        let held = HeldRecord {
            window: w(0),
            record: stop(),
            signature: Some(sign_record(&set, v(5), w(0), &stop())),
        };
        bench.answer_fence(from, Some(held));
    }
    assert!(!bench.consensus.is_voting(), "up to window 1 it abstains");
    let skips = [0, 1].map(|window| skip_of(&set, window, &[0, 1, 2, 3]));
    bench.certificates(2, skips.to_vec());
    bench.lapse(100);
    assert!(bench.own_record(2).stop);
    assert!(bench.votes_sent(0).is_empty() && bench.votes_sent(1).is_empty());
    assert!(bench.own_record(0).is_empty());
    let own = bench.own;
    let in_certificate = |certificate: &Certificate| {
        let says = |validator: ValidatorIndex| validator == own;
        certificate.window < w(2)
            && certificate
                .records
                .iter()
                .any(|signed| says(signed.validator))
    };
    let served = (0..5).flat_map(|peer| bench.certificates_sent(peer).concat());
    assert!(!served.into_iter().any(|one| in_certificate(&one)));
}

/// The journal and the signer may still hold what the disk's age has made worthless.
#[test]
fn r13_a_record_on_its_way_when_the_disk_proves_old_is_not_sent() {
    let set = six(64);
    let block = Block::first(&set, 1);
    let mut setup = Setup::new(&set, 5).with_log(tip(&block), &[&block]);
    setup.answers.signing = false;
    let mut bench = setup.run();
    bench.lapse(100);
    let window = w(0);
    let signing = bench.seen.iter().find_map(|effect| match effect {
        Effect::SignRecord { record, .. } => Some(record.clone()),
        _ => None,
    });
    let record = signing.expect("the newest record is to be signed");
    let own = OwnRecord {
        window,
        record: stop(),
    };
    let proof = HeldRecord {
        window,
        record: stop(),
        signature: Some(sign_record(&set, v(5), window, &stop())),
    };
    let claim = quorate_consensus::verify::Claim::FenceRecord { held: proof };
    let verdict = crate::fixtures::verdict(&set, v(5), v(0), claim).expect("a verdict");
    bench.input(verdict);
    assert!(bench.alarms().contains(&Alarm::DiskOlderThanSent(window)));
    bench.forget();
    let signature = sign_record(&set, v(5), window, &record);
    bench.input(Input::RecordSigned {
        window,
        record,
        signature,
    });
    let durable = quorate_consensus::trust::Durable::assert_durable(own);
    bench.input(Input::RecordDurable(durable));
    bench.lapse(20);
    assert!(bench.votes_sent(0).is_empty());
    assert!(bench.own_record(0).is_empty());
}

/// The lease file answers in its own time: what it holds since before the disk proved old was found
/// by nobody.
#[test]
fn r13_a_lease_asked_for_before_the_disk_proved_old_ends_no_recovery() {
    let set = six(64);
    let block = Block::first(&set, 1);
    let mut setup = Setup::new(&set, 5).with_log(tip(&block), &[&block]);
    setup.restored.lease.lease = Some(w(0));
    setup.answers.lease = false;
    let mut bench = setup.start();
    assert_eq!(bench.leases_asked(), [Some(w(1))]);
    let held = HeldRecord {
        window: w(0),
        record: stop(),
        signature: Some(sign_record(&set, v(5), w(0), &stop())),
    };
    bench.answer_fence(0, Some(held));
    bench.finish_leases();
    bench.settle();
    assert!(bench.consensus.is_lost());
    assert_eq!(bench.alarms(), [Alarm::DiskOlderThanSent(w(0))]);
    bench.lapse(20);
    for from in 0..4 {
        assert_eq!(answer(&mut bench, from, 0), Disposition::Applied);
    }
    bench.finish_leases();
    bench.settle();
    assert!(!bench.consensus.is_lost());
    assert!(bench.alarms().contains(&Alarm::Recovered(w(1))));
}

/// An answer whose signature is still being checked when the validator loses its words once more
/// says nothing of what it said between the two.
#[test]
fn r13_an_answer_that_is_checked_late_counts_for_no_later_question() {
    let mut bench = lost();
    let set = bench.set.clone();
    bench.answers.checks = false;
    // The later ones are checked first.
    let answers = [0, 1, 2, 3, 4, 0, 1, 2, 3].map(|from| (from, if from == 4 { 5 } else { 0 }));
    for (from, window) in answers {
        assert_eq!(answer(&mut bench, from, window), Disposition::Applied);
    }
    for _ in 0..4 {
        bench.finish_newest_check();
        bench.settle();
    }
    assert_eq!(found(&bench), [all_three(1)]);
    bench.finish_newest_check();
    bench.settle();
    assert_eq!(found(&bench), [all_three(1)], "enough have answered");
    bench.finish_leases();
    bench.settle();
    assert!(!bench.consensus.is_lost());
    let held = HeldRecord {
        window: w(101),
        record: stop(),
        signature: Some(sign_record(&set, bench.own, w(101), &stop())),
    };
    bench.answer_fence(4, Some(held));
    bench.finish_newest_check();
    bench.settle();
    assert!(bench.consensus.is_lost());
    bench.finish_checks();
    bench.settle();
    bench.finish_leases();
    bench.settle();
    assert_eq!(
        found(&bench),
        [all_three(1)],
        "they are of the first question"
    );
    assert!(bench.consensus.is_lost());
}

/// A block that was made and had not left may be another than one that left before the disk was
/// copied.
#[test]
fn r13_a_block_made_before_the_disk_proved_old_never_leaves() {
    let set = six(64);
    let mut setup = Setup::new(&set, 0);
    setup.restored.lease.lease = Some(w(100));
    let mut bench = setup.run();
    bench.answers.journal = false;
    bench.input(Input::Payload(payload_numbered(1)));
    assert!(bench.proposals_sent().is_empty(), "its vote is not durable");
    let held = HeldRecord {
        window: w(0),
        record: stop(),
        signature: Some(sign_record(&set, v(0), w(0), &stop())),
    };
    let claim = quorate_consensus::verify::Claim::FenceRecord { held };
    let verdict = crate::fixtures::verdict(&set, v(0), v(1), claim).expect("a verdict");
    bench.input(verdict);
    bench.answers.journal = true;
    bench.lapse(20);
    for from in 1..5 {
        answer(&mut bench, from, 0);
    }
    for from in 1..4 {
        bench.answer_fence(from, None);
    }
    let skips: Vec<Certificate> = (0..6).map(|at| skip_of(&set, at, &[1, 2, 3, 4])).collect();
    bench.certificates(2, skips);
    assert_eq!(set.leader(w(6)), v(0));
    assert_eq!(bench.consensus.window(), w(6));
    bench.input(Input::Payload(payload_numbered(2)));
    bench.lapse(20);
    let sent = bench.proposals_sent();
    let windows: Vec<_> = sent.iter().map(|one| one.header.window).collect();
    assert_eq!(windows, [w(6)]);
}

#[test]
fn r13_a_second_recovery_asks_another_question() {
    let mut bench = outdated();
    bench.lapse(20);
    let first = nonce(&bench);
    for from in 0..4 {
        answer(&mut bench, from, 0);
    }
    let set = bench.set.clone();
    let above = HeldRecord {
        window: w(101),
        record: stop(),
        signature: Some(sign_record(&set, v(5), w(101), &stop())),
    };
    bench.answer_fence(4, Some(above));
    bench.lapse(20);
    assert_ne!(nonce(&bench), first);
    assert!(!bench.consensus.is_voting());
}

/// Whoever has answered a question answers it again with the same words, and those do not cover
/// what was said between two losses.
#[test]
fn r13_two_starts_that_lost_their_lease_ask_two_questions() {
    let asked = |seed: u8| {
        let mut setup = Setup::new(&six(64), 5);
        setup.restored.lease.is_lost = true;
        setup.nonce_seed = [seed; 32];
        nonce(&setup.start())
    };
    assert_ne!(asked(3), asked(4));
}

/// Both limits that it started under may lie above all that the others can tell of it.
#[test]
fn r13_no_limit_of_a_validator_that_abstains_falls_when_its_disk_proves_old() {
    let limits = Lease {
        lease: Some(w(100)),
        abstain_until: Some(w(9)),
        no_proposals_until: Some(w(12)),
        is_lost: false,
        proofs_elsewhere: Some(w(5)),
    };
    let mut setup = Setup::new(&six(64), 5);
    setup.restored.lease = limits;
    let mut bench = setup.start();
    let held = HeldRecord {
        window: w(20),
        record: stop(),
        signature: Some(sign_record(&bench.set, v(5), w(20), &stop())),
    };
    bench.answer_fence(0, Some(held));
    bench.lapse(20);
    for from in 0..4 {
        answer(&mut bench, from, 0);
    }
    assert_eq!(found(&bench), [limits]);
}

/// Who signed the certificates that a peer gets when it asks for those behind window 1.
fn signers_served(bench: &mut Bench) -> BTreeSet<u16> {
    bench.forget();
    bench.message(4, Message::Get(Get::Ready { window: w(1) }));
    let served = bench.certificates_sent(4).concat();
    let records = served.into_iter().flat_map(|one| one.records);
    records.map(|signed| signed.validator.number()).collect()
}

/// A signed record of window 0 comes that its own disk does not hold.
fn prove_old(bench: &mut Bench) {
    let set = Arc::clone(&bench.set);
    let held = HeldRecord {
        window: w(0),
        record: stop(),
        signature: Some(sign_record(&set, v(5), w(0), &stop())),
    };
    let claim = quorate_consensus::verify::Claim::FenceRecord { held };
    let verdict = crate::fixtures::verdict(&set, v(5), v(0), claim).expect("a verdict");
    bench.input(verdict);
    assert!(bench.consensus.is_lost());
}

/// What was signed in this run may leave out what was said in an earlier one.
#[test]
fn r13_what_was_signed_before_the_disk_proved_old_stands_in_no_certificate() {
    let set = six(64);
    let block = Block::first(&set, 1);
    let mut bench = Setup::new(&set, 5).with_log(tip(&block), &[&block]).run();
    bench.lapse(100);
    bench.votes_signed(&[0, 1, 2], 0, &stop_at(&block));
    assert_eq!(signers_served(&mut bench), BTreeSet::from([0, 1, 2, 5]));
    prove_old(&mut bench);
    assert_eq!(signers_served(&mut bench), BTreeSet::new());
    bench.vote_signed(3, 0, stop_at(&block));
    assert_eq!(signers_served(&mut bench), BTreeSet::from([0, 1, 2, 3]));
}

/// Nor does an earlier one, which takes the place of a newest that is too far from its block.
#[test]
fn r13_nor_does_what_was_signed_still_earlier() {
    let set = six(64);
    let block = Block::first(&set, 1);
    let child = block.child(&set, 2);
    let setup = Setup::new(&set, 5).patient();
    let mut bench = setup.with_log(tip(&block), &[&block]).run();
    bench.lapse(30);
    bench.propose(&child);
    bench.lapse(30);
    assert_eq!(bench.own_record(0).tip, tip(&child).tip);
    bench.votes_signed(&[0, 1, 2], 0, &stop_at(&block));
    bench.vote_signed(3, 0, stop());
    assert_eq!(signers_served(&mut bench), BTreeSet::from([0, 1, 2, 3, 5]));
    prove_old(&mut bench);
    assert_eq!(signers_served(&mut bench), BTreeSet::new());
}
