//! What stretches while finality takes longer than the timers are made for.

use crate::bench::{Bench, Setup};
use crate::fixtures::{Block, MS, chain, i, payload_numbered, six, tip, v};
use quorate_consensus::effect::{Destination, Effect};
use quorate_consensus::input::Input;
use quorate_consensus::message::Message;
use quorate_consensus::record::Record;

/// Blocks become final one after the other, each `took_ms` after the own vote for it.
fn finalize_slowly(bench: &mut Bench, blocks: &[Block], took_ms: u64) {
    for block in blocks {
        bench.propose(block);
        bench.lapse(took_ms);
        bench.votes_signed(&[0, 1, 2, 3], 0, &tip(block));
        assert_eq!(bench.consensus.finalized().id, block.id);
    }
}

#[test]
fn r5_a_leader_has_three_times_what_finality_takes() {
    let set = six(64);
    let blocks = chain(&set, 30, 1);
    let mut bench = Bench::new(&set, 5);
    finalize_slowly(&mut bench, &blocks[..20], 1);
    bench.lapse(55);
    assert!(bench.own_record(0).stop, "T_prog is 50 ms");

    let mut bench = Bench::new(&set, 5);
    finalize_slowly(&mut bench, &blocks[..20], 40);
    bench.lapse(100);
    assert!(!bench.own_record(0).stop, "it takes 40 ms at present");
    bench.lapse(40);
    assert!(
        bench.own_record(0).stop,
        "and a leader has no more than 120"
    );
}

#[test]
fn r5_what_a_slow_leader_gains_is_bounded() {
    let set = six(64);
    let blocks = chain(&set, 32, 1);
    let mut setup = Setup::new(&set, 5);
    setup.timers.progress_ns = 10 * MS;
    let mut bench = setup.run();
    // Of a leader that is no faster than it must be, blocks take longer and longer.
    for (blocks, took_ms) in blocks.chunks(8).zip([9, 22, 50, 75]) {
        finalize_slowly(&mut bench, blocks, took_ms);
    }
    bench.lapse(78);
    assert!(!bench.own_record(0).stop);
    bench.lapse(4);
    assert!(bench.own_record(0).stop, "eight times T_prog, and no more");
}

#[test]
fn r4_a_final_waits_longer_where_first_votes_come_far_apart() {
    let set = six(64);
    let blocks = chain(&set, 30, 1);
    let waits = |took_ms: u64, lapse_ms: u64| {
        let mut setup = Setup::new(&set, 5).patient();
        setup.timers.final_holdoff_ns = MS;
        let mut bench = setup.run();
        finalize_slowly(&mut bench, &blocks[..20], took_ms);
        bench.propose(&blocks[20]);
        bench.votes(&[0, 1, 2], 0, &tip(&blocks[20]));
        bench.lapse(lapse_ms);
        bench.own_record(0).fin != Some(i(20))
    };
    assert!(
        !waits(5, 2),
        "a millisecond, as long as finality takes less than ten"
    );
    assert!(waits(30, 7), "half of what is above ten");
    assert!(!waits(30, 11));
    assert!(!waits(500, 21), "twenty at most");
}

#[test]
fn a_signature_is_made_once_for_what_becomes_final_together() {
    let set = six(64);
    let blocks = chain(&set, 40, 1);
    let made = |took_ms: u64| {
        let mut setup = Setup::new(&set, 5).patient();
        setup.timers.sign_ns = MS;
        let mut bench = setup.run();
        finalize_slowly(&mut bench, &blocks[..20], took_ms);
        bench.seen.clear();
        let mut signed = 0;
        for block in &blocks[20..] {
            bench.propose(block);
            bench.lapse(1);
            let is_signature = |effect: &&Effect| matches!(effect, Effect::SignRecord { .. });
            signed += bench.seen.iter().filter(is_signature).count();
            bench.seen.clear();
        }
        signed
    };
    let (fast, slow) = (made(1), made(30));
    assert!(slow > 0 && slow * 3 <= fast, "{slow} and {fast}");
}

#[test]
fn a_status_is_said_less_often_while_votes_are_said_and_finality_takes_long() {
    let set = six(64);
    let blocks = chain(&set, 60, 1);
    // To five peers, in a hundred milliseconds.
    let said = |took_ms: u64| {
        let mut setup = Setup::new(&set, 5).patient();
        setup.timers.retransmit_ns = MS;
        setup.timers.progress_ns = 8 * MS;
        let mut bench = setup.run();
        finalize_slowly(&mut bench, &blocks[..20], took_ms);
        bench.seen.clear();
        finalize_slowly(&mut bench, &blocks[20..], took_ms);
        let is_status = |effect: &&Effect| {
            let Effect::Send { message, .. } = effect else {
                return false;
            };
            matches!(message, Message::Status(_))
        };
        bench.seen.iter().filter(is_status).count() as u64 * 100 / (40 * took_ms)
    };
    let (fast, slow) = (said(1), said(7));
    assert!(fast >= 200, "each two milliseconds at the longest: {fast}");
    assert!((50..=75).contains(&slow), "each eight: {slow}");
}

/// Each block is voted for while others are on their way below it.
#[test]
fn r5_what_finality_takes_is_known_from_a_full_pipeline_too() {
    let set = six(64);
    let blocks = chain(&set, 44, 1);
    let mut bench = Bench::new(&set, 5);
    for block in &blocks[..4] {
        bench.propose(block);
        bench.lapse(10);
    }
    for (at, block) in blocks[4..].iter().enumerate() {
        bench.votes_signed(&[0, 1, 2, 3], 0, &tip(&blocks[at]));
        bench.propose(block);
        bench.lapse(10);
    }
    bench.lapse(90);
    assert!(!bench.own_record(0).stop, "it takes 40 ms at present");
    bench.lapse(40);
    assert!(bench.own_record(0).stop);
}

#[test]
fn r5_one_long_outage_does_not_lengthen_the_time_of_leaders_for_long() {
    let set = six(64);
    let blocks = chain(&set, 7, 1);
    let mut bench = Bench::new(&set, 5);
    bench.propose(&blocks[0]);
    bench.sleep_ns(10_000 * MS);
    bench.votes_signed(&[0, 1, 2, 3], 0, &tip(&blocks[0]));
    finalize_slowly(&mut bench, &blocks[1..], 1);
    bench.lapse(399);
    assert!(bench.own_record(0).stop);
}

/// By it the timers of the others are kept from running out.
#[test]
fn the_leader_says_its_status_as_often_as_it_is_waited_for_however_long_finality_takes() {
    let set = six(64);
    let mut bench = Bench::new(&set, 0);
    let mut finalize = |number: u32| {
        bench.forget();
        bench.input(Input::Payload(payload_numbered(number)));
        let header = bench.proposals_sent()[0].header;
        bench.lapse(20);
        let record = Record {
            tip: Some((header.index, header.id())),
            ..Record::default()
        };
        bench.votes_signed(&[1, 2, 3, 4], 0, &record);
        assert_eq!(bench.consensus.finalized().height, header.height);
        let is_status = |(to, message): &(Destination, &Message)| {
            *to == Destination::Peer(v(1)) && matches!(message, Message::Status(_))
        };
        bench.sent().filter(is_status).count()
    };
    for number in 0..20 {
        finalize(number);
    }
    let said: usize = (20..40).map(finalize).sum();
    // T_hb is 12.5 ms, and T_retx would be 40 by now.
    assert!((26..=34).contains(&said), "in 400 ms: {said}");
}
