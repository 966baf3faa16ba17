//! R7: what can not be final any more is skipped, from the lowest such index; and the example of
//! protocol.md 2.5.

use crate::bench::{Bench, Setup};
use crate::fixtures::{Block, chain, i, six, stop, stop_at, tip, w};
use quorate_consensus::effect::Effect;
use quorate_consensus::record::Record;

#[test]
fn r7_the_skip_begins_at_the_lowest_index_where_nothing_can_be_final() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    let blocks = chain(&set, 4, 1);
    for block in &blocks {
        bench.propose(block);
    }
    bench.votes(&[0, 1], 0, &stop_at(&blocks[1]));
    bench.stop_by_timer();
    assert_eq!(
        bench.own_record(0).skip_fallback,
        Some(i(4)),
        "A = 2 at index 2 and 3"
    );
    bench.vote(2, 0, stop_at(&blocks[1]));
    assert_eq!(bench.own_record(0).skip_fallback, Some(i(2)));
    let persisted = bench.persisted();
    let mut skips: Vec<_> = persisted
        .iter()
        .filter_map(|own| own.record.skip_fallback)
        .collect();
    skips.dedup();
    assert_eq!(skips, vec![i(4), i(2)], "at once, not one index a record");
}

#[test]
fn r7_the_skip_falls_as_more_becomes_known() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    let blocks = chain(&set, 3, 1);
    for block in &blocks {
        bench.propose(block);
    }
    bench.vote(0, 0, stop_at(&blocks[1]));
    bench.votes(&[1, 2], 0, &stop());
    assert_eq!(bench.own_record(0).skip_fallback, Some(i(2)));
    bench.vote(3, 0, stop());
    assert_eq!(bench.own_record(0).skip_fallback, Some(i(0)));
    bench.lapse(20);
    let (_, vote) = *bench.votes_sent(0).last().unwrap();
    assert!(
        vote.signature.is_some() && vote.record == bench.own_record(0),
        "sent, signed"
    );
}

#[test]
fn r7_a_block_that_may_be_final_is_not_skipped() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    let block = Block::first(&set, 1);
    bench.propose(&block);
    bench.stop_by_timer();
    bench.votes(&[0, 1, 2, 3, 4], 0, &tip(&block));
    assert_eq!(bench.own_record(0).skip_fallback, None);
}

#[test]
fn r7_an_open_window_casts_no_skip_fallback() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    let blocks = chain(&set, 2, 1);
    bench.votes(&[1, 2, 3], 0, &stop_at(&blocks[0]));
    bench.vote(4, 0, tip(&blocks[1]));
    bench.headers(4, &[&blocks[0], &blocks[1]]);
    assert_eq!(bench.own_record(0), Record::default());
}

#[test]
fn r7_the_skip_stays_above_an_own_final() {
    let set = six(64);
    let blocks = chain(&set, 3, 1);
    let record = Record {
        fin: Some(i(1)),
        ..stop_at(&blocks[2])
    };
    let log: Vec<_> = blocks.iter().collect();
    let mut bench = Setup::new(&set, 5).with_log(record.clone(), &log).run();
    bench.votes(&[0, 1, 2], 0, &stop());
    assert_eq!(
        bench.own_record(0),
        Record {
            skip_fallback: Some(i(2)),
            ..record
        }
    );
}

/// Six validators, the leader dead, the others' tips at 41, 41, 42, 42 and 43 (protocol.md 2.5).
/// What each of them does when it has the stops of the other four.
fn example(own: u16, tips: &[(u16, u32); 5]) -> (Bench, Vec<Block>) {
    let set = six(64);
    let blocks = chain(&set, 44, 1);
    let mut bench = Bench::new(&set, own);
    let mine = tips
        .iter()
        .find(|(who, _)| *who == own)
        .expect("one of the five")
        .1 as usize;
    for block in &blocks[..=mine] {
        bench.propose(block);
    }
    bench.stop_by_timer();
    for &(who, at) in tips.iter().filter(|(who, _)| *who != own) {
        bench.vote_signed(who, 0, stop_at(&blocks[at as usize]));
    }
    let missing: Vec<&Block> = blocks[mine + 1..].iter().collect();
    if !missing.is_empty() {
        bench.branch(tips[4].0, &missing);
    }
    (bench, blocks)
}

const TIPS: [(u16, u32); 5] = [(4, 41), (5, 41), (2, 42), (3, 42), (1, 43)];

#[test]
fn r7_the_example_of_a_failed_window_ends_with_one_parent() {
    let (mut bench, blocks) = example(1, &TIPS);
    let own = bench.own_record(0);
    assert_eq!((own.fin, own.skip_fallback), (Some(i(41)), Some(i(43))));
    assert!(own.also.is_empty());
    assert_eq!(
        bench.consensus.window(),
        w(0),
        "42 has support 3 and is not skipped"
    );
    for who in [4, 5] {
        let record = Record {
            also: vec![blocks[42].at()],
            ..stop_at(&blocks[41])
        };
        bench.vote_signed(who, 0, record);
    }
    assert_eq!(bench.consensus.window(), w(1));
    let room = bench.consensus.proposal_room().unwrap();
    assert_eq!(
        room.height, blocks[43].header.height,
        "on block 42: 43 is abandoned"
    );
}

#[test]
fn r7_the_example_lets_those_below_support_what_was_voted_above_them() {
    let (bench, blocks) = example(5, &TIPS);
    let own = bench.own_record(0);
    assert_eq!((own.fin, &own.also), (Some(i(41)), &vec![blocks[42].at()]));
    let (bench, _) = example(3, &TIPS);
    let own = bench.own_record(0);
    assert_eq!((own.fin, own.also), (Some(i(41)), Vec::new()));
}

/// Others can go on by them only when they can be shown.
#[test]
fn r7_a_stop_and_a_fallback_are_signed_at_once() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    let signed = |bench: &Bench| {
        let mut seen = bench.seen.iter().rev();
        seen.find_map(|effect| match effect {
            Effect::SignRecord { record, .. } => Some(record.clone()),
            _ => None,
        })
    };
    while !bench.own_record(0).stop {
        bench.lapse(1);
    }
    assert_eq!(signed(&bench), Some(stop()), "by its timer alone");
    bench.votes(&[0, 1], 0, &stop());
    let fallback = bench.own_record(0);
    assert_eq!(fallback.skip_fallback, Some(i(0)));
    assert_eq!(signed(&bench), Some(fallback));
    let counters = bench.consensus.counters();
    assert_eq!((counters.stops_timer, counters.skip_fallbacks), (1, 1));
}
