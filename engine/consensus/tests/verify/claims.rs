//! From claim to `Verified`: only with every signature good, under the right key and domain.

use crate::world::{W, World, certified, final_target, i, parameters, stopped, tip, v};
use quorate_consensus::attestation::{StateCertificate, StateStatement};
use quorate_consensus::certificate::{Certificate, SignedRecord};
use quorate_consensus::evidence::{Evidence, SignedHeader};
use quorate_consensus::header::Header;
use quorate_consensus::message::{HeldRecord, OwnAnswer, RecoverAnswer};
use quorate_consensus::record::Record;
use quorate_consensus::signing::{self, Signer};
use quorate_consensus::types::{Epoch, ValidatorIndex, Window};
use quorate_consensus::validators::{SetParameters, ValidatorSet};
use quorate_consensus::verify::{
    Claim, Refusal, SignatureCheck, SignatureItem, Verified, Zip215, check_claims,
};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;

/// The real check, with a count of what it was asked.
struct Counted {
    real: Zip215<ChaCha20Rng>,
    items: usize,
}

impl Counted {
    fn new() -> Self {
        Self {
            real: Zip215::new(ChaCha20Rng::from_seed([3; 32])),
            items: 0,
        }
    }
}

impl SignatureCheck for Counted {
    fn check(&mut self, items: &[SignatureItem<'_>]) -> Vec<bool> {
        self.items += items.len();
        self.real.check(items)
    }
}

type Answer = Result<(ValidatorIndex, Verified<Claim>), Refusal>;

fn check(set: &ValidatorSet, claims: Vec<(ValidatorIndex, Claim)>) -> (Vec<Answer>, usize) {
    let mut counted = Counted::new();
    let answers = check_claims(set, v(0), claims, &mut counted);
    (answers, counted.items)
}

fn check_one(set: &ValidatorSet, from: u16, claim: Claim) -> Answer {
    let (mut answers, _) = check(set, vec![(v(from), claim)]);
    answers.pop().expect("an answer")
}

fn record_claim(signed: SignedRecord) -> Claim {
    Claim::Record { window: W, signed }
}

fn refused(answer: &Answer) -> bool {
    answer.is_err()
}

#[test]
fn a_record_signed_by_its_validator_is_verified_and_keeps_its_sender() {
    let world = World::six();
    let signed = world.signed(2, stopped(None));
    let (from, verified) =
        check_one(&world.set, 4, record_claim(signed.clone())).expect("good signature");
    assert_eq!(from, v(4));
    assert!(matches!(verified.as_ref(), Claim::Record { .. }));
    let Claim::Record { signed: inner, .. } = verified.into_inner() else {
        panic!("another claim came back");
    };
    assert_eq!(inner, signed);
}

#[test]
fn a_bad_record_on_its_own_channel_is_told_apart_from_a_relayed_one() {
    let world = World::six();
    let mut signed = world.signed(2, stopped(None));
    signed.signature[5] ^= 1;
    let own = check_one(&world.set, 2, record_claim(signed.clone()));
    assert_eq!(
        own.expect_err("bad"),
        Refusal {
            from: v(2),
            own_record: true
        }
    );
    let relayed = check_one(&world.set, 3, record_claim(signed));
    assert_eq!(
        relayed.expect_err("bad"),
        Refusal {
            from: v(3),
            own_record: false
        }
    );
}

#[test]
fn a_signature_holds_for_its_validator_window_and_record_alone() {
    let world = World::six();
    let good = world.signed(2, stopped(None));
    let mut another_validator = good.clone();
    another_validator.validator = v(3);
    let mut another_record = good.clone();
    another_record.record.skip_fallback = Some(i(0));
    let mut unknown = good.clone();
    unknown.validator = v(6);
    for signed in [another_validator, another_record, unknown] {
        assert!(refused(&check_one(&world.set, 2, record_claim(signed))));
    }
    let other_window = Claim::Record {
        window: Window::new(6),
        signed: good,
    };
    assert!(refused(&check_one(&world.set, 2, other_window)));
}

#[test]
fn a_signature_holds_for_its_chain_genesis_epoch_and_set_alone() {
    let world = World::six();
    let signed = world.signed(2, stopped(None));
    let changes: [fn(&mut SetParameters); 5] = [
        |parameters| parameters.chain_id[0] ^= 1,
        |parameters| parameters.genesis_hash[0] ^= 1,
        |parameters| parameters.epoch = Epoch::new(4),
        // Only the hash of the set differs.
        |parameters| parameters.genesis_time_ns += 1,
        |parameters| parameters.turn_windows += 1,
    ];
    for change in changes {
        let mut parameters = parameters(1, 1);
        change(&mut parameters);
        let other = World::new(&[1; 6], parameters);
        assert!(refused(&check_one(
            &other.set,
            2,
            record_claim(signed.clone())
        )));
    }
    assert!(!refused(&check_one(&world.set, 2, record_claim(signed))));
}

#[test]
fn a_statement_of_one_type_never_passes_for_another() {
    let world = World::six();
    let record = stopped(None);
    for domain in signing::domains::ALL {
        let mut message = Vec::new();
        signing::validator_preamble(&world.set, domain, v(2), &mut message);
        message.extend_from_slice(&W.number().to_le_bytes());
        quorate_consensus::wire::encode_record(&record, &mut message);
        let signature = world.key(2).sign(&message);
        let signed = SignedRecord {
            validator: v(2),
            record: record.clone(),
            signature,
        };
        let answer = check_one(&world.set, 2, record_claim(signed));
        assert_eq!(refused(&answer), domain != signing::domains::RECORD);
    }
}

#[test]
fn a_header_is_signed_by_the_leader_of_its_window_and_nobody_else() {
    let world = World::six();
    let header = world.header(None, 0);
    let leader = world.set.leader(W);
    let signature = world.sign_header(&header);
    assert!(!refused(&check_one(
        &world.set,
        0,
        Claim::Header { header, signature }
    )));
    let mut changed = header;
    changed.time_ns += 1;
    assert!(refused(&check_one(
        &world.set,
        0,
        Claim::Header {
            header: changed,
            signature
        }
    )));
    let mut message = Vec::new();
    signing::header_message(&world.set, &header, &mut message);
    let other = world.key((leader.number() + 1) % 6).sign(&message);
    let claim = Claim::Header {
        header,
        signature: other,
    };
    assert!(refused(&check_one(&world.set, leader.number(), claim)));
}

#[test]
fn a_signed_header_of_another_set_is_refused_without_a_check() {
    let world = World::six();
    let mut header = world.header(None, 0);
    header.set_hash[0] ^= 1;
    let signature = world.sign_header(&header);
    let (answers, items) = check(
        &world.set,
        vec![(v(0), Claim::Header { header, signature })],
    );
    assert!(refused(&answers[0]));
    assert_eq!(items, 0);
}

#[test]
fn one_bad_signature_spoils_its_certificates_and_no_other_claim() {
    let world = World::six();
    let chain = world.chain(1, 0);
    let votes = |count| (0..count).map(|n| (n, tip(&chain[0]))).collect();
    let good = world.certificate(certified(&chain[0]), votes(4), &chain);
    // More weight than needed: the bad one still counts against it.
    let mut bad = world.certificate(certified(&chain[0]), votes(6), &chain);
    bad.records[5].signature[40] ^= 1;
    let claims = vec![
        (
            v(1),
            Claim::Certificates {
                certificates: vec![good.clone()],
            },
        ),
        (
            v(2),
            Claim::Certificates {
                certificates: vec![good.clone(), bad],
            },
        ),
        (v(3), record_claim(world.signed(3, stopped(None)))),
    ];
    let (answers, _) = check(&world.set, claims);
    let verdicts: Vec<bool> = answers.iter().map(|answer| !refused(answer)).collect();
    assert_eq!(verdicts, [true, false, true]);
}

#[test]
fn good_signatures_do_not_make_up_for_too_little_weight() {
    let world = World::six();
    let chain = world.chain(1, 0);
    let votes = (0..3).map(|n| (n, tip(&chain[0]))).collect();
    let certificate = world.certificate(certified(&chain[0]), votes, &chain);
    let (answers, items) = check(
        &world.set,
        vec![(
            v(1),
            Claim::Certificates {
                certificates: vec![certificate],
            },
        )],
    );
    assert!(refused(&answers[0]));
    assert_eq!(items, 0, "structure is judged before signatures");
}

/// Those before it in the message are good by themselves: whoever sends both would have them
/// checked for nothing.
#[test]
fn certificates_beside_one_without_weight_cost_no_check() {
    let world = World::six();
    let chain = world.chain(1, 0);
    let by = |voters: u16| {
        let votes = (0..voters).map(|n| (n, tip(&chain[0]))).collect();
        world.certificate(certified(&chain[0]), votes, &chain)
    };
    let claim = |certificates| (v(1), Claim::Certificates { certificates });
    let (answers, items) = check(&world.set, vec![claim(vec![by(4), by(3)])]);
    assert!(refused(&answers[0]));
    assert_eq!(items, 0);
    let (answers, items) = check(&world.set, vec![claim(vec![by(4)])]);
    assert!(!refused(&answers[0]));
    assert_eq!(items, 4);
}

#[test]
fn a_fence_record_is_judged_under_the_own_key() {
    let world = World::six();
    let record = stopped(None);
    let held = |signer| HeldRecord {
        window: W,
        record: record.clone(),
        signature: Some(world.sign_record(signer, W, &record)),
    };
    assert!(!refused(&check_one(
        &world.set,
        5,
        Claim::FenceRecord { held: held(0) }
    )));
    assert!(refused(&check_one(
        &world.set,
        5,
        Claim::FenceRecord { held: held(5) }
    )));
    let unsigned = HeldRecord {
        signature: None,
        ..held(0)
    };
    assert!(refused(&check_one(
        &world.set,
        5,
        Claim::FenceRecord { held: unsigned }
    )));
}

/// R13: whoever relays an answer, or gives an older one again, chooses neither its window nor its
/// nonce.
#[test]
fn an_answer_holds_for_its_asker_nonce_and_window_alone() {
    let world = World::six();
    let block = world.header(None, 0);
    let voters = (0..5).map(|voter| (voter, tip(&block))).collect();
    let certificate = world.certificate(final_target(&block), voters, &[block]);
    let said = OwnAnswer {
        asker: v(0),
        nonce: [6; 32],
        window: Window::new(4),
    };
    let mut message = Vec::new();
    signing::recover_message(&world.set, v(3), &said, &mut message);
    let signature = world.key(3).sign(&message);
    let answered = |asker: u16, nonce, window| {
        let answer = RecoverAnswer {
            nonce,
            window,
            certificates: vec![certificate.clone()],
            signature,
        };
        let claim = Claim::RecoverAnswer {
            answerer: v(3),
            answer,
        };
        let claims = vec![(v(3), claim)];
        let mut answers = check_claims(&world.set, v(asker), claims, &mut Counted::new());
        answers.pop().expect("an answer")
    };
    assert!(!refused(&answered(0, [6; 32], Window::new(4))));
    // The certificate shows either window.
    assert!(refused(&answered(0, [6; 32], W)));
    assert!(refused(&answered(0, [5; 32], Window::new(4))));
    assert!(refused(&answered(1, [6; 32], Window::new(4))));
}

#[test]
fn evidence_needs_both_its_structure_and_its_signatures() {
    let world = World::six();
    let contradiction = Record {
        skip_fallback: Some(i(0)),
        stop: false,
        ..Record::default()
    };
    let evidence = |record: SignedRecord| {
        let epoch = world.set.epoch();
        Claim::Evidence(Evidence::OneRecord {
            epoch,
            window: W,
            record: Box::new(record),
        })
    };
    let signed = world.signed(3, contradiction);
    assert!(!refused(&check_one(
        &world.set,
        1,
        evidence(signed.clone())
    )));
    let mut forged = signed;
    forged.validator = v(4);
    assert!(refused(&check_one(&world.set, 1, evidence(forged))));
    assert!(refused(&check_one(
        &world.set,
        1,
        evidence(world.signed(3, stopped(None)))
    )));
}

#[test]
fn the_same_statement_is_checked_once_a_turn() {
    let world = World::six();
    let chain = world.chain(1, 0);
    let votes = (0..4).map(|n| (n, tip(&chain[0]))).collect();
    let certificate = world.certificate(certified(&chain[0]), votes, &chain);
    let claims = (0..5)
        .map(|from| {
            (
                v(from),
                Claim::Certificates {
                    certificates: vec![certificate.clone(); 3],
                },
            )
        })
        .collect();
    let (answers, items) = check(&world.set, claims);
    assert!(answers.iter().all(Result::is_ok));
    assert_eq!(items, 4);
}

#[test]
fn the_same_statement_with_two_signatures_is_two_checks() {
    let world = World::six();
    let good = world.signed(2, stopped(None));
    let mut bad = good.clone();
    bad.signature[0] ^= 1;
    // In both orders: the verdict of one must not stand for the other.
    for records in [[good.clone(), bad.clone()], [bad, good]] {
        let claims = records
            .iter()
            .map(|signed| (v(2), record_claim(signed.clone())))
            .collect();
        let (answers, items) = check(&world.set, claims);
        assert_eq!(items, 2);
        assert_eq!(answers.iter().filter(|answer| refused(answer)).count(), 1);
    }
}

#[test]
fn what_a_check_does_not_answer_is_not_good() {
    struct Silent;
    impl SignatureCheck for Silent {
        fn check(&mut self, _: &[SignatureItem<'_>]) -> Vec<bool> {
            Vec::new()
        }
    }
    let world = World::six();
    let claims = vec![(v(2), record_claim(world.signed(2, stopped(None))))];
    let answers = check_claims(&world.set, v(0), claims, &mut Silent);
    assert!(refused(&answers[0]));
}

/// A claim of each kind, every signature of which is good and another one than the others.
fn good_claims(world: &World) -> Vec<Claim> {
    let (block, rival) = (world.header(None, 0), world.header(None, 1));
    let voters = (0..5).map(|voter| (voter, tip(&block))).collect();
    let certificate = world.certificate(final_target(&block), voters, &[block]);
    let held = HeldRecord {
        window: W,
        record: stopped(None),
        signature: Some(world.sign_record(0, W, &stopped(None))),
    };
    let mut evidence = vec![Evidence::TwoHeaders(Box::new([block, rival].map(
        |header| {
            let signature = world.sign_header(&header);
            SignedHeader { header, signature }
        },
    )))];
    let epoch = world.set.epoch();
    evidence.push(Evidence::TwoRecords {
        epoch,
        window: W,
        validator: v(2),
        records: Box::new([&block, &rival].map(|one| world.signed(2, tip(one)))),
        headers: Vec::new(),
    });
    let contradiction = Record {
        skip_fallback: Some(i(0)),
        ..Record::default()
    };
    evidence.push(Evidence::OneRecord {
        epoch,
        window: W,
        record: Box::new(world.signed(3, contradiction)),
    });
    let mut claims = vec![
        record_claim(world.signed(1, stopped(None))),
        Claim::Header {
            header: block,
            signature: world.sign_header(&block),
        },
        Claim::Certificates {
            certificates: vec![certificate.clone()],
        },
        Claim::FenceRecord { held },
        recover_claim(world, certificate),
    ];
    claims.extend(evidence.into_iter().map(Claim::Evidence));
    claims.extend(state_claims(world, &block));
    claims
}

/// v3 answers v0, which has lost its disk, that it has spoken in no window above this one.
fn recover_claim(world: &World, certificate: Certificate) -> Claim {
    let said = OwnAnswer {
        asker: v(0),
        nonce: [6; 32],
        window: W,
    };
    let mut message = Vec::new();
    signing::recover_message(&world.set, v(3), &said, &mut message);
    let answer = RecoverAnswer {
        nonce: said.nonce,
        window: said.window,
        certificates: vec![certificate],
        signature: world.key(3).sign(&message),
    };
    Claim::RecoverAnswer {
        answerer: v(3),
        answer,
    }
}

fn state_claims(world: &World, block: &Header) -> [Claim; 2] {
    let statement = StateStatement {
        height: block.height,
        id: block.id(),
        sections: vec![[4; 32]],
        snapshot: None,
    };
    let sign = |validator: u16| {
        let mut message = Vec::new();
        signing::state_message(&world.set, v(validator), &statement, &mut message);
        (v(validator), world.key(validator).sign(&message))
    };
    let (validator, signature) = sign(4);
    [
        Claim::State {
            validator,
            statement: statement.clone(),
            signature,
        },
        Claim::StateCertificate(StateCertificate {
            statement: statement.clone(),
            signatures: [1, 2, 3].map(sign).to_vec(),
        }),
    ]
}

/// The checking threads are shared out by these numbers: a claim that says less than it costs keeps
/// what honest peers sent waiting.
#[test]
fn a_claim_says_how_many_signatures_are_checked_for_it() {
    let world = World::six();
    for (place, claim) in good_claims(&world).into_iter().enumerate() {
        let said = claim.signatures_len();
        let (answers, items) = check(&world.set, vec![(v(1), claim)]);
        assert!(answers.iter().all(Result::is_ok), "claim {place}");
        assert_eq!(items, said, "claim {place}");
    }
}
