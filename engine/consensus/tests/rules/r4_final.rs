//! R4: what is notarized is final, unless this validator has fallen back at or below it (rule X).

use crate::bench::{Bench, Setup};
use crate::fixtures::{chain, i, six, stop_at, tip};
use quorate_consensus::record::Record;

#[test]
fn r4_final_needs_first_votes_of_stake_q() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    let blocks = chain(&set, 3, 1);
    for block in &blocks {
        bench.propose(block);
    }
    bench.votes(&[0, 1], 0, &tip(&blocks[0]));
    assert_eq!(bench.own_record(0).fin, None, "3 of Q = 4");
    bench.vote(2, 0, tip(&blocks[0]));
    assert_eq!(
        bench.own_record(0).fin,
        Some(i(0)),
        "and nothing above it, which has 1"
    );
}

#[test]
fn r4_final_is_for_the_highest_notarized_block_of_the_own_chain() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    let blocks = chain(&set, 3, 1);
    for block in &blocks {
        bench.propose(block);
    }
    bench.votes(&[0, 1], 0, &tip(&blocks[2]));
    bench.vote(2, 0, tip(&blocks[1]));
    assert_eq!(bench.own_record(0).fin, Some(i(1)));
    bench.vote(3, 0, tip(&blocks[2]));
    assert_eq!(bench.own_record(0).fin, Some(i(2)));
}

#[test]
fn r4_a_block_off_the_own_chain_gets_no_final() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    let mine = chain(&set, 1, 1);
    let theirs = chain(&set, 1, 10);
    bench.propose(&mine[0]);
    bench.votes(&[0, 1, 2, 3], 0, &tip(&theirs[0]));
    bench.branch(1, &[&theirs[0]]);
    assert_eq!(bench.own_record(0).fin, None);
}

/// A validator forgets what others told it when it starts again, but not what it has said. Votes
/// that differ from those it fell back on are the case in which rule X alone stands in the way.
#[test]
fn r4_rule_x_nothing_is_final_at_or_above_an_own_skip_fallback() {
    let set = six(64);
    let blocks = chain(&set, 3, 1);
    let record = Record {
        skip_fallback: Some(i(1)),
        ..stop_at(&blocks[2])
    };
    let log: Vec<_> = blocks.iter().collect();
    let mut bench = Setup::new(&set, 5).with_log(record.clone(), &log).run();
    bench.votes(&[0, 1, 2], 0, &tip(&blocks[2]));
    assert_eq!(
        bench.own_record(0),
        Record {
            fin: Some(i(0)),
            ..record
        }
    );
}

#[test]
fn r4_rule_x_nothing_is_final_above_the_fork_of_an_own_also() {
    let set = six(64);
    let blocks = chain(&set, 3, 1);
    let rival = blocks[0].child(&set, 20);
    let record = Record {
        also: vec![rival.at()],
        ..stop_at(&blocks[2])
    };
    let mut log: Vec<_> = blocks.iter().collect();
    log.push(&rival);
    let mut bench = Setup::new(&set, 5).with_log(record.clone(), &log).run();
    bench.votes(&[0, 1, 2], 0, &tip(&blocks[2]));
    assert_eq!(
        bench.own_record(0),
        Record {
            fin: Some(i(0)),
            ..record
        }
    );
}

#[test]
fn r4_rule_x_nothing_is_final_beside_an_also_that_shares_no_block() {
    let set = six(64);
    let blocks = chain(&set, 2, 1);
    let rivals = chain(&set, 1, 20);
    let record = Record {
        also: vec![rivals[0].at()],
        ..stop_at(&blocks[1])
    };
    let log = [&blocks[0], &blocks[1], &rivals[0]];
    let mut bench = Setup::new(&set, 5).with_log(record.clone(), &log).run();
    bench.votes(&[0, 1, 2], 0, &tip(&blocks[1]));
    assert_eq!(bench.own_record(0), record);
}

#[test]
fn r4_a_final_is_still_cast_after_a_stop() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    let blocks = chain(&set, 1, 1);
    bench.propose(&blocks[0]);
    bench.stop_by_timer();
    bench.votes(&[0, 1, 2], 0, &tip(&blocks[0]));
    assert_eq!(bench.own_record(0).fin, Some(i(0)));
}
