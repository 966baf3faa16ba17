//! R13, the answering side: who may say how far it has spoken, and what the answer has to cover.

use crate::bench::{Bench, Setup};
use crate::fixtures::{
    Block, StandIn, certified, chain, final_of, i, set_of, six, skip_of, stop, v, w,
};
use core::slice::from_ref;
use quorate_consensus::certificate::Certificate;
use quorate_consensus::effect::{Destination, Effect};
use quorate_consensus::message::{Message, RecoverAnswer};
use quorate_consensus::trust::Lease;
use quorate_consensus::verify::{Claim, check_claims, proves_ready};

const NONCE: [u8; 32] = [77; 32];
const ASKER: u16 = 1;

fn ask(bench: &mut Bench) {
    bench.message(ASKER, Message::Recover { nonce: NONCE });
}

/// Answers sent so far; each goes to the asker, answers the question and is well signed for it.
fn answers(bench: &Bench) -> Vec<RecoverAnswer> {
    let mut answers = Vec::new();
    for (to, message) in bench.sent() {
        let Message::RecoverAnswer(answer) = message else {
            continue;
        };
        assert_eq!((to, answer.nonce), (Destination::Peer(v(ASKER)), NONCE));
        let claim = Claim::RecoverAnswer {
            answerer: bench.own,
            answer: answer.clone(),
        };
        let checked = check_claims(&bench.set, v(ASKER), vec![(bench.own, claim)], &mut StandIn);
        assert!(checked[0].is_ok(), "{answer:?}");
        answers.push(answer.clone());
    }
    answers
}

fn windows(bench: &Bench) -> Vec<u64> {
    let windows = answers(bench).into_iter().map(|answer| answer.window);
    windows
        .map(quorate_consensus::types::Window::number)
        .collect()
}

#[test]
fn r13_a_validator_past_its_fence_answers_for_the_window_it_is_in() {
    let mut bench = Bench::new(&six(64), 5);
    ask(&mut bench);
    assert_eq!(windows(&bench), vec![0]);
}

#[test]
fn r13_no_answer_behind_the_own_fence() {
    let mut bench = Setup::new(&six(64), 5).start();
    ask(&mut bench);
    assert!(answers(&bench).is_empty());
}

#[test]
fn r13_no_answer_of_one_that_recovers_itself() {
    let mut setup = Setup::new(&six(64), 5);
    setup.restored.lease.is_lost = true;
    let mut bench = setup.run();
    ask(&mut bench);
    assert!(answers(&bench).is_empty());
}

/// Abstains up to window 1, with no record of its own anywhere.
fn abstaining() -> Bench {
    let mut setup = Setup::new(&six(64), 5);
    setup.restored.lease = Lease {
        lease: Some(w(1)),
        abstain_until: Some(w(1)),
        no_proposals_until: Some(w(1)),
        is_lost: false,
    };
    setup.run()
}

#[test]
fn r13_no_answer_while_abstaining() {
    let mut bench = abstaining();
    let set = bench.set.clone();
    ask(&mut bench);
    bench.certificates(2, vec![skip_of(&set, 0, &[0, 1, 2, 3])]);
    bench.lapse(20);
    ask(&mut bench);
    assert_eq!(bench.consensus.window(), w(1));
    assert!(answers(&bench).is_empty());
}

#[test]
fn r13_the_answer_covers_the_own_abstention() {
    let mut bench = abstaining();
    let set = bench.set.clone();
    let skips = [0, 1].map(|window| skip_of(&set, window, &[0, 1, 2, 3]));
    bench.certificates(2, skips.to_vec());
    ask(&mut bench);
    assert_eq!(windows(&bench), vec![1]);
}

#[test]
fn r13_the_answer_covers_every_own_record() {
    let mut bench = Bench::new(&six(64), 5);
    let set = bench.set.clone();
    bench.certificates(2, vec![skip_of(&set, 0, &[0, 1, 2, 3])]);
    bench.stop_by_timer();
    assert_eq!(bench.own_record(1), stop());
    ask(&mut bench);
    assert_eq!(windows(&bench), vec![1]);
}

/// Without a proof a liar could name any window, so nobody is believed without one.
#[test]
fn r13_no_answer_before_the_window_it_must_name_is_proven_by_signatures() {
    let mut bench = Bench::new(&six(64), 5);
    bench.votes(&[0, 1, 2, 3], 0, &stop());
    bench.stop_by_timer();
    assert_eq!(bench.own_record(1), stop(), "entered by what channels told");
    ask(&mut bench);
    assert!(answers(&bench).is_empty());
    bench.votes_signed(&[0, 1, 2, 3], 0, &stop());
    bench.lapse(100);
    ask(&mut bench);
    assert_eq!(windows(&bench), vec![1]);
}

#[test]
fn r13_a_block_proven_final_in_the_window_is_proof_enough() {
    let mut bench = Bench::new(&six(64), 5);
    let set = bench.set.clone();
    let below = Block::first(&set, 1);
    let block = below.opening(&set, 3, 2);
    bench.certificates(2, vec![final_of(&set, &block, &[0, 1, 2, 3, 4])]);
    ask(&mut bench);
    assert_eq!(windows(&bench), vec![3]);
}

#[test]
fn r11_an_answer_is_in_the_log_before_it_is_signed_and_sent() {
    let mut bench = Bench::new(&six(64), 5);
    bench.answers.journal = false;
    ask(&mut bench);
    let signs = |effect: &Effect| matches!(effect, Effect::SignAnswer(_));
    assert!(matches!(
        bench.seen.iter().find(|effect| matches!(effect, Effect::PersistAnswer(_))),
        Some(Effect::PersistAnswer(answer)) if answer.asker == v(ASKER) && answer.window == w(0)
    ));
    assert!(!bench.seen.iter().any(signs) && answers(&bench).is_empty());
    bench.finish_journal();
    bench.settle();
    assert!(bench.seen.iter().any(signs));
    assert_eq!(windows(&bench), vec![0]);
}

/// Windows of one slot pass faster than an answer is logged and signed.
#[test]
fn r13_a_window_that_passed_while_its_answer_was_logged_is_proven_by_a_later_block() {
    let mut bench = Bench::new(&six(64), 5);
    let set = bench.set.clone();
    bench.certificates(2, vec![skip_of(&set, 0, &[0, 1, 2, 3])]);
    bench.answers.journal = false;
    ask(&mut bench);
    let block = Block::first(&set, 1).opening(&set, 4, 2);
    bench.certificates(2, vec![final_of(&set, &block, &[0, 1, 2, 3, 4])]);
    bench.finish_journal();
    bench.settle();
    assert_eq!(windows(&bench).len(), 1);
}

#[test]
fn r13_one_peer_gets_no_more_answers_than_it_has_reason_to_ask_for() {
    let mut bench = Bench::new(&six(64), 5);
    for _ in 0..50 {
        ask(&mut bench);
    }
    assert_eq!(windows(&bench), vec![0], "each is a line of the log");
    bench.lapse(50);
    ask(&mut bench);
    assert_eq!(windows(&bench), vec![0, 0], "the first may have been lost");
}

#[test]
fn r13_what_proves_a_window_to_one_that_knows_nothing() {
    let set = set_of(&[1; 6], 1, 1, 2, 1);
    let voters = [0, 1, 2, 3];
    let blocks = chain(&set, 2, 1);
    let proves =
        |window: u64, certificates: &[Certificate]| proves_ready(&set, w(window), certificates);
    let skip_above = crate::fixtures::certificate(
        &set,
        0,
        quorate_consensus::certificate::Target::Skip { from: i(1) },
        (&voters, &crate::fixtures::stop_at(&blocks[0])),
        Vec::new(),
    );
    let first = certified(&set, &blocks[0], &voters);
    let last = certified(&set, &blocks[1], &voters);
    let skip = skip_of(&set, 0, &voters);
    let weak = skip_of(&set, 0, &voters[..3]);
    let opening = blocks[1].opening(&set, 1, 9);
    let inside = final_of(&set, &opening, &[0, 1, 2, 3, 4]);
    assert!(proves(0, &[]) && !proves(0, from_ref(&skip)), "the first");
    assert!(!proves(1, &[]) && proves(1, from_ref(&skip)));
    assert!(!proves(1, &[weak]) && !proves(2, from_ref(&skip)));
    assert!(proves(1, &[last]) && !proves(1, from_ref(&first)));
    assert!(!proves(1, from_ref(&skip_above)));
    assert!(proves(1, &[first.clone(), skip_above]));
    assert!(proves(1, from_ref(&inside)) && !proves(2, &[inside]));
    let above = final_of(&set, &blocks[1].opening(&set, 5, 9), &[0, 1, 2, 3, 4]);
    assert!(proves(2, from_ref(&above)), "windows passed since");
    assert!(!proves(6, &[above]));
    let other = Certificate {
        window: w(4),
        ..first
    };
    assert!(!proves(1, &[skip, other]), "nothing idle");
}
