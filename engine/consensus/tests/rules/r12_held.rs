//! R12, the other side of the fence: what a validator holds of one that asks.

use crate::bench::{Bench, Setup};
use crate::fixtures::{
    Block, chain, final_of, i, sign_record, six, skip_of, stop, stop_at, tip, v, w,
};
use quorate_consensus::effect::Destination;
use quorate_consensus::message::{HeldRecord, Message, Propose, Status, Vote};
use quorate_consensus::record::Record;
use quorate_consensus::validators::ValidatorSet;

#[test]
fn r12_a_validator_behind_its_own_fence_answers_so_that_all_can_start_at_once() {
    let set = six(64);
    let mut bench = Setup::new(&set, 5).start();
    bench.vote(1, 0, stop());
    assert_eq!(told_to(&mut bench, 1), [held_of(&set, 1, stop(), false)]);
    assert_eq!(told_to(&mut bench, 2), []);
}

/// What a validator says that it holds of `asker`.
fn told_to(bench: &mut Bench, asker: u16) -> Vec<HeldRecord> {
    bench.forget();
    bench.message(asker, Message::FenceAsk { incarnation: 77 });
    let told = bench.sent().filter_map(|(to, message)| match message {
        Message::FenceAnswer { incarnation, held } => Some((to, *incarnation, held.clone())),
        _ => None,
    });
    let mut told: Vec<_> = told.collect();
    let (to, incarnation, held) = told.pop().expect("an answer");
    assert_eq!((to, incarnation), (Destination::Peer(v(asker)), 77));
    assert!(told.is_empty(), "one answer");
    held
}

/// What is held of a validator in window 0.
fn held_of(set: &ValidatorSet, of: u16, record: Record, is_signed: bool) -> HeldRecord {
    HeldRecord {
        window: w(0),
        signature: is_signed.then(|| sign_record(set, v(of), w(0), &record)),
        record,
    }
}

/// A disk may be older than a window that its peers have dropped: it still stands there, and would
/// speak in it again.
#[test]
fn r12_an_answer_names_the_last_word_in_windows_that_were_dropped() {
    let set = six(64);
    let block = Block::first(&set, 1).opening(&set, 3, 2);
    let mut bench = Setup::new(&set, 5).patient().run();
    bench.vote_signed(1, 0, stop());
    bench.certificates(2, vec![final_of(&set, &block, &[0, 1, 2, 3, 4])]);
    assert_eq!(bench.consensus.proven(), block.point());
    let word = HeldRecord {
        window: w(0),
        record: stop(),
        signature: Some(sign_record(&set, v(1), w(0), &stop())),
    };
    assert_eq!(told_to(&mut bench, 1), std::slice::from_ref(&word));
    assert_eq!(told_to(&mut bench, 2), [], "it has not spoken");
    // Which of its two words was the last is not known.
    bench.vote(1, 3, stop());
    let above = HeldRecord {
        window: w(3),
        record: stop(),
        signature: None,
    };
    assert_eq!(told_to(&mut bench, 1), [above, word]);
}

/// What is unsigned shows nothing where one peer alone holds it: the signed word below it has to
/// outlast the window too.
#[test]
fn r12_a_signed_word_below_the_last_one_is_named_after_their_window_was_dropped() {
    let set = six(64);
    let block = Block::first(&set, 1).opening(&set, 3, 2);
    let mut bench = Setup::new(&set, 5).patient().run();
    let falls_back = Record {
        skip_fallback: Some(i(0)),
        ..stop()
    };
    bench.vote_signed(1, 0, stop());
    bench.vote(1, 0, falls_back.clone());
    bench.certificates(2, vec![final_of(&set, &block, &[0, 1, 2, 3, 4])]);
    assert_eq!(bench.consensus.proven(), block.point());
    let newest = held_of(&set, 1, falls_back, false);
    let signed = held_of(&set, 1, stop(), true);
    assert_eq!(told_to(&mut bench, 1), [newest, signed]);
}

fn proposal(block: &Block, record: Record) -> Message {
    Message::Propose(Propose {
        header: block.header,
        payload: block.payload.clone(),
        justification: Vec::new(),
        record: Some(record),
    })
}

/// Whoever lags speaks in windows that others have dropped: nobody counts that, and with an older
/// disk it would say something else there. By whichever message it came.
#[test]
fn r12_an_answer_names_what_was_said_in_a_window_after_it_was_dropped() {
    let set = six(64);
    let block = Block::first(&set, 1).opening(&set, 3, 2);
    let below = chain(&set, 2, 1);
    let mut bench = Setup::new(&set, 5).patient().run();
    bench.certificates(2, vec![final_of(&set, &block, &[0, 1, 2, 3, 4])]);
    assert_eq!(bench.consensus.proven(), block.point());
    let word = |record: &Record, signature| {
        let (window, record) = (w(0), record.clone());
        vec![HeldRecord {
            window,
            record,
            signature,
        }]
    };
    // The leader of window 0, by its proposal.
    let leader = set.leader(w(0)).number();
    bench.message(leader, proposal(&below[0], tip(&below[0])));
    assert_eq!(told_to(&mut bench, leader), word(&tip(&below[0]), None));
    for from in [1, 2] {
        let last = stop_at(&below[1]);
        let said = [&tip(&below[0]), &tip(&below[1]), &last, &tip(&below[1])];
        for (record, is_last) in said.into_iter().zip([true, true, true, false]) {
            if from == 1 {
                bench.vote(from, 0, record.clone());
            } else {
                let status = bench.status_of(0);
                let record = record.clone();
                bench.status(from, Status { record, ..status });
            }
            let newest = if is_last { record } else { &last };
            assert_eq!(told_to(&mut bench, from), word(newest, None));
        }
        bench.vote_signed(from, 0, last.clone());
        let signed = word(&last, Some(sign_record(&set, v(from), w(0), &last)));
        assert_eq!(told_to(&mut bench, from), signed, "a proof from now on");
        bench.vote(from, 0, last.clone());
        assert_eq!(told_to(&mut bench, from), signed, "said again");
        bench.vote_signed(from, 0, tip(&below[0]));
        assert_eq!(told_to(&mut bench, from), signed, "said before");
    }
    // What comes between the proof of a later window and the end of that turn comes last too.
    let later = block.opening(&set, 5, 3);
    bench.vote(4, 3, tip(&block));
    let proof = vec![final_of(&set, &later, &[0, 1, 2, 3, 4])];
    bench.hear(0, Message::Certificates(proof));
    bench.finish_journal_now();
    assert_eq!(bench.consensus.proven(), later.point());
    let vote = Vote {
        epoch: set.epoch(),
        window: w(3),
        record: stop_at(&block),
        signature: None,
    };
    bench.hear(4, Message::Vote(vote));
    bench.settle();
    let last = told_to(&mut bench, 4);
    assert_eq!(last.last().map(|held| &held.record), Some(&stop_at(&block)));
    // Nothing above the range is anybody's word yet.
    bench.vote(3, 10_000, stop());
    assert_eq!(told_to(&mut bench, 3), []);
}

/// A signed record is proof by itself, so the signature has to be that of the record it stands by.
#[test]
fn r12_an_answer_brings_the_signature_of_the_record_that_it_names_or_none() {
    let set = six(64);
    let block = Block::first(&set, 1);
    let mut bench = Setup::new(&set, 5).run();
    bench.propose(&block);
    bench.vote_signed(1, 0, tip(&block));
    let signed = held_of(&set, 1, tip(&block), true);
    assert_eq!(told_to(&mut bench, 1), std::slice::from_ref(&signed));
    // Of one alone an unsigned answer shows nothing, and the signed one below it may.
    bench.vote(1, 0, stop_at(&block));
    let newest = held_of(&set, 1, stop_at(&block), false);
    assert_eq!(told_to(&mut bench, 1), [newest, signed]);
}

/// What waits for headers here was said all the same: an old disk must not pass for want of them.
#[test]
fn r12_an_answer_names_what_waits_for_its_headers_too() {
    let set = six(64);
    let blocks = chain(&set, 2, 1);
    let strange = blocks[1].child(&set, 9);
    let mut bench = Setup::new(&set, 5).patient().run();
    bench.propose(&blocks[0]);
    bench.vote(1, 0, tip(&blocks[0]));
    bench.vote_signed(1, 0, tip(&strange));
    let signed = held_of(&set, 1, tip(&strange), true);
    assert_eq!(told_to(&mut bench, 1), std::slice::from_ref(&signed));
    bench.vote(1, 0, stop_at(&strange));
    let newest = held_of(&set, 1, stop_at(&strange), false);
    assert_eq!(told_to(&mut bench, 1), [newest, signed]);
    // A record that was never counted, since another one was, and its good signature.
    bench.vote(2, 0, stop());
    bench.vote_signed(2, 0, stop_at(&blocks[0]));
    let signed = held_of(&set, 2, stop_at(&blocks[0]), true);
    assert_eq!(told_to(&mut bench, 2), [signed]);
}

/// Which of its windows a validator spoke in last is not known: a Final of one may come after the
/// first vote of the next.
#[test]
fn r12_an_answer_names_every_window_of_which_something_is_held_highest_first() {
    let set = six(64);
    let mut bench = Setup::new(&set, 5).patient().run();
    for window in 0..3 {
        bench.vote(1, window, stop());
    }
    let named = told_to(&mut bench, 1);
    let named: Vec<_> = named.iter().map(|held| held.window).collect();
    assert_eq!(named, [w(2), w(1), w(0)]);
}

/// Two of each window are more than an answer has room for.
#[test]
fn r12_an_answer_has_the_highest_windows_as_far_as_there_is_room() {
    let set = six(64);
    let mut bench = Setup::new(&set, 5).patient().run();
    let (mut enters, mut last) = (0, 0);
    while enters < 8 {
        let skip = skip_of(&set, enters, &[0, 1, 2, 3]);
        bench.certificates(2, vec![skip]);
        enters += 1;
    }
    for window in 0..=enters {
        let falls_back = Record {
            skip_fallback: Some(i(0)),
            ..stop()
        };
        bench.vote_signed(1, window, stop());
        bench.vote(1, window, falls_back);
        last = window;
    }
    let told = told_to(&mut bench, 1);
    assert_eq!(told.len(), 14, "and 2 for windows that were dropped");
    assert_eq!((told[0].window, told[1].window), (w(last), w(last)));
    assert_eq!(told[13].window, w(last - 6));
}
