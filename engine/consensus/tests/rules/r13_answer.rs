//! R13, the answering side: who may say how far it has spoken, and what the answer has to cover.

use crate::bench::{Bench, INCARNATION, Setup};
use crate::fixtures::{
    Block, StandIn, certified, chain, final_of, i, set_of, sign_record, six, skip_of, stop, tip, v,
    w,
};
use core::slice::from_ref;
use quorate_consensus::certificate::Certificate;
use quorate_consensus::effect::{Destination, Effect};
use quorate_consensus::input::Input;
use quorate_consensus::message::{HeldRecord, Message, RecoverAnswer};
use quorate_consensus::trust::{Authenticated, Lease};
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
        ..Lease::default()
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

/// Nobody has to have skipped anything above the last block of a window.
#[test]
fn r13_a_window_that_a_full_one_handed_on_is_proven_by_its_last_block_alone() {
    let set = six(2);
    let mut bench = Bench::new(&set, 5);
    let blocks = chain(&set, 2, 1);
    bench.branch(0, &[&blocks[0], &blocks[1]]);
    bench.votes_signed(&[0, 1, 2], 0, &tip(&blocks[1]));
    assert_eq!(bench.consensus.window(), w(1));
    bench.stop_by_timer();
    ask(&mut bench);
    assert_eq!(windows(&bench), [1]);
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

fn lines(bench: &Bench) -> usize {
    let is_line = |effect: &&Effect| matches!(effect, Effect::PersistAnswer(_));
    bench.seen.iter().filter(is_line).count()
}

fn signatures(bench: &Bench) -> usize {
    let is_signature = |effect: &&Effect| matches!(effect, Effect::SignAnswer(_));
    bench.seen.iter().filter(is_signature).count()
}

#[test]
fn r13_a_question_asked_again_costs_neither_a_line_of_the_log_nor_a_signature() {
    let mut bench = Bench::new(&six(64), 5);
    for _ in 0..40 {
        ask(&mut bench);
        bench.lapse(50);
    }
    assert!(answers(&bench).len() > 10, "each of them may be lost");
    assert_eq!((lines(&bench), signatures(&bench)), (1, 1));
}

#[test]
fn r13_new_questions_of_one_peer_cost_about_a_line_of_the_log_a_second() {
    let mut bench = Bench::new(&six(64), 5);
    for round in 0..60 {
        let nonce = [round; 32];
        bench.message(ASKER, Message::Recover { nonce });
        bench.message(2, Message::Recover { nonce: [200; 32] });
        bench.lapse(50);
    }
    // Three seconds; and one line for the other peer, whose question is always the same.
    assert!((3..=5).contains(&lines(&bench)), "{}", lines(&bench));
}

/// What was stated before the disk proved old does not cover what that disk has lost.
#[test]
fn r13_an_answer_made_before_the_own_recovery_is_not_sent_after_it() {
    let set = six(64);
    let block = Block::first(&set, 1);
    let mut bench = Setup::new(&set, 5).with_log(tip(&block), &[&block]).start();
    bench.answers.journal = false;
    let newer = HeldRecord {
        window: w(0),
        record: stop(),
        signature: Some(sign_record(&set, v(5), w(0), &stop())),
    };
    // The signature of what the first holds is checked for longer than the fence takes.
    for (from, held) in [(0, Some(newer)), (1, None), (2, None), (3, None)] {
        let incarnation = INCARNATION;
        let held = Vec::from_iter(held);
        let answer = Message::FenceAnswer { incarnation, held };
        bench.feed(Input::Message(Authenticated::assert_authenticated(
            v(from),
            answer,
        )));
    }
    let question = Message::Recover { nonce: NONCE };
    bench.feed(Input::Message(Authenticated::assert_authenticated(
        v(ASKER),
        question,
    )));
    assert_eq!(lines(&bench), 1, "past its fence it answers");
    bench.settle();
    assert!(bench.consensus.is_lost());
    bench.lapse(20);
    for from in 0..4 {
        crate::r13_ask::answer(&mut bench, from, 0);
    }
    for from in 0..3 {
        bench.answer_fence(from, None);
    }
    assert!(!bench.consensus.is_lost(), "it has recovered");
    bench.finish_journal();
    bench.settle();
    assert!(answers(&bench).is_empty());
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
    assert!(!proves(2, from_ref(&last)), "of the window before alone");
    assert!(proves(1, &[last]) && !proves(1, from_ref(&first)));
    assert!(!proves(1, from_ref(&skip_above)));
    assert!(proves(1, &[first.clone(), skip_above]));
    assert!(proves(1, from_ref(&inside)) && !proves(2, from_ref(&inside)));
    assert!(!proves(1, &[inside.clone(), skip.clone()]), "nothing idle");
    assert!(!proves(1, &[skip.clone(), inside]));
    let above = final_of(&set, &blocks[1].opening(&set, 5, 9), &[0, 1, 2, 3, 4]);
    assert!(proves(2, from_ref(&above)), "windows passed since");
    assert!(!proves(6, &[above]));
    let other = Certificate {
        window: w(4),
        ..first
    };
    assert!(!proves(1, &[skip, other]), "nothing idle");
}

/// With a slot between, nobody honest need have entered the window.
#[test]
fn r13_a_certified_block_proves_a_window_only_with_the_skip_of_all_above_it() {
    let set = set_of(&[1; 6], 1, 1, 4, 1);
    let voters = [0, 1, 2, 3];
    let blocks = chain(&set, 2, 1);
    let first = certified(&set, &blocks[0], &voters);
    let skip_from = |from: u32, last: &Block| {
        let target = quorate_consensus::certificate::Target::Skip { from: i(from) };
        let record = crate::fixtures::stop_at(last);
        crate::fixtures::certificate(&set, 0, target, (&voters, &record), Vec::new())
    };
    let gap = [first.clone(), skip_from(2, &blocks[1])];
    assert!(!proves_ready(&set, w(1), &gap));
    let whole = [first, skip_from(1, &blocks[0])];
    assert!(proves_ready(&set, w(1), &whole));
}

/// The windows that it abstained in are over, and so are later ones in which it has voted since:
/// finality has dropped what it said there, and only the window of the proof covers it.
#[test]
fn r13_the_answer_covers_what_was_said_after_an_abstention_and_is_dropped() {
    let mut bench = abstaining();
    let set = bench.set.clone();
    let skips = [0, 1, 2].map(|window| skip_of(&set, window, &[0, 1, 2, 3]));
    bench.certificates(2, skips.to_vec());
    bench.stop_by_timer();
    assert_eq!(bench.own_record(3), stop());
    let block = Block::first(&set, 1).opening(&set, 5, 2);
    bench.certificates(2, vec![final_of(&set, &block, &[0, 1, 2, 3, 4])]);
    ask(&mut bench);
    assert_eq!(windows(&bench), [5]);
}

#[test]
fn r13_the_last_of_several_failed_windows_proves_the_next_one() {
    let mut bench = Bench::new(&six(64), 5);
    let set = bench.set.clone();
    let skips = [0, 1].map(|window| skip_of(&set, window, &[0, 1, 2, 3]));
    bench.certificates(2, skips.to_vec());
    bench.stop_by_timer();
    assert_eq!(bench.own_record(2), stop());
    ask(&mut bench);
    assert_eq!(windows(&bench), [2]);
    assert_eq!(answers(&bench)[0].certificates.len(), 1);
}
