//! Who counts only after verification, and what the next bad signature costs (protocol.md 5.1 e).

use crate::bench::{Bench, Setup};
use crate::fixtures::{chain, i, six, stop, tip, v};
use quorate_consensus::effect::{Alarm, Effect};
use quorate_consensus::limits;
use quorate_consensus::machine::{Disposition, Ignored};
use quorate_consensus::record::Record;

const BAD: [u8; 64] = [0x5a; 64];

/// R10 sends what is signed again: that says nothing new, so no signature is owed for it.
#[test]
fn signatures_that_are_held_already_are_owed_by_nobody_who_sends_the_record_again() {
    let set = six(64);
    let mut bench = Setup::new(&set, 5).patient().run();
    let blocks = chain(&set, 2, 1);
    bench.propose(&blocks[0]);
    for _ in 0..2 {
        bench.vote_signed(3, 0, tip(&blocks[0]));
    }
    bench.lapse(201);
    bench.propose(&blocks[1]);
    let taken = bench.vote(3, 0, tip(&blocks[1]));
    assert_eq!(taken, Disposition::Applied, "counted by its channel");
}

/// Whoever signs once, and sends that record for ever beside newer ones, signs nothing in time.
#[test]
fn signatures_of_an_earlier_record_sent_again_are_none_of_the_newest() {
    let set = six(4096);
    let mut bench = Setup::new(&set, 5).patient().run();
    let blocks = chain(&set, 42, 1);
    bench.propose(&blocks[0]);
    bench.propose(&blocks[1]);
    bench.vote_signed(3, 0, tip(&blocks[1]));
    for block in &blocks[2..32] {
        bench.propose(block);
        bench.vote(3, 0, tip(block));
        bench.vote_signed(3, 0, tip(&blocks[0]));
        bench.lapse(10);
    }
    bench.propose(&blocks[32]);
    let taken = bench.vote(3, 0, tip(&blocks[32]));
    assert_eq!(taken, Disposition::Ignored(Ignored::Pending));
}

fn checks_asked(bench: &Bench) -> usize {
    let asked = bench.seen.iter();
    asked
        .filter(|effect| matches!(effect, Effect::Verify { .. }))
        .count()
}

/// The next bad signature costs a liar nothing, and its connection stays.
#[test]
fn signatures_bad_ones_without_end_are_told_once_and_keep_no_checker_busy() {
    let set = six(4096);
    let mut bench = Setup::new(&set, 5).patient().run();
    let blocks = chain(&set, 130, 1);
    bench.propose(&blocks[0]);
    for _ in 0..1_000 {
        bench.vote_with(3, 0, tip(&blocks[0]), Some(BAD));
    }
    assert_eq!(bench.alarms(), [Alarm::BadSignature(v(3))]);
    let most = limits::BAD_RECORDS_PER_PERIOD_MAX as usize;
    assert_eq!(checks_asked(&bench), most);
    bench.lapse(200);
    for _ in 0..1_000 {
        bench.vote_with(3, 0, tip(&blocks[0]), Some(BAD));
    }
    assert_eq!(checks_asked(&bench), 2 * most, "as many in the next T_sig");
    assert_eq!(bench.alarms().len(), 1);
    // Trusted again, and bad again.
    bench.lapse(200);
    for block in &blocks[1..120] {
        bench.propose(block);
        bench.vote_signed(3, 0, tip(block));
        bench.lapse(10);
    }
    bench.propose(&blocks[120]);
    let taken = bench.vote(3, 0, tip(&blocks[120]));
    assert_eq!(taken, Disposition::Applied, "good ones were checked");
    bench.vote_with(3, 0, tip(&blocks[120]), Some(BAD));
    assert_eq!(bench.alarms(), [Alarm::BadSignature(v(3)); 2]);
}

/// Each of these is in order with the one before it, so none is evidence; all contradict what was
/// counted before the first bad signature.
#[test]
fn records_that_contradict_what_was_counted_are_told_once_a_window() {
    let set = six(64);
    let mut bench = Setup::new(&set, 5).patient().run();
    let blocks = chain(&set, 2, 1);
    bench.propose(&blocks[0]);
    bench.vote(3, 0, tip(&blocks[0]));
    bench.vote_with(3, 0, tip(&blocks[0]), Some(BAD));
    bench.lapse(200);
    for from in (0..64).rev() {
        let record = Record {
            skip_fallback: Some(i(from)),
            ..stop()
        };
        bench.vote_signed(3, 0, record);
    }
    let told = bench.alarms();
    let is_conflict = |alarm: &&Alarm| **alarm == Alarm::Equivocation(v(3));
    assert_eq!(told.iter().filter(is_conflict).count(), 1, "{told:?}");
    let conflicts = bench.consensus.counters().conflicts;
    assert!(conflicts > 1, "{conflicts} were seen");
}

#[test]
fn signatures_a_bad_one_begins_the_second_of_good_ones_again() {
    let set = six(4096);
    let mut bench = Setup::new(&set, 5).patient().run();
    let blocks = chain(&set, 200, 1);
    bench.propose(&blocks[0]);
    bench.vote_with(3, 0, tip(&blocks[0]), Some(BAD));
    let good = |bench: &mut Bench, range: core::ops::Range<usize>| {
        for block in &blocks[range] {
            bench.propose(block);
            bench.vote_signed(3, 0, tip(block));
            bench.lapse(10);
        }
    };
    let is_counted = |bench: &mut Bench, at: usize| {
        bench.propose(&blocks[at]);
        bench.vote(3, 0, tip(&blocks[at])) == Disposition::Applied
    };
    good(&mut bench, 1..60);
    bench.propose(&blocks[60]);
    bench.vote_with(3, 0, tip(&blocks[60]), Some(BAD));
    good(&mut bench, 61..120);
    assert!(!is_counted(&mut bench, 120), "590 ms since the bad one");
    good(&mut bench, 121..180);
    assert!(is_counted(&mut bench, 180));
}
