//! Windows that pass without finality: because nobody wants anything, or because no proposal
//! arrives. What is kept must not grow for ever, and the system must not halt for it.

use crate::bench::Bench;
use crate::fixtures::{Block, chain, six, stop, stop_at, tip};
use crate::support::{MS, World, set_of, v};
use quorate_consensus::limits::{WINDOWS_IDLE_MAX, WINDOWS_LIVE_MAX};
use quorate_consensus::machine::{Durability, TimerConfig};
use quorate_consensus::message::{Message, Status};
use quorate_consensus::payload::PayloadBuilder;
use quorate_consensus::record::Record;

fn short_turns() -> TimerConfig {
    TimerConfig {
        final_holdoff_ns: 0,
        turn_ns: 100 * MS,
        progress_max_ns: 50 * MS,
        ..TimerConfig::laptop()
    }
}

/// Windows from the proven one to the current one.
fn windows_kept(world: &World, index: u16) -> u64 {
    let consensus = world.consensus(index);
    consensus.window().number() - consensus.proven().window.number()
}

#[test]
fn r2_an_idle_system_makes_an_empty_block_after_many_windows_and_drops_what_is_below() {
    let set = set_of(&[1; 4], 1, 0, 64, 4);
    let mut world = World::with(set, short_turns(), Durability::Async);
    for member in &mut world.members {
        member.has_commands = false;
    }
    world.run(3_000);
    let window = world.consensus(0).window().number();
    assert!(window > 2 * WINDOWS_IDLE_MAX, "{window}");
    for index in 0..4 {
        assert!(windows_kept(&world, index) < WINDOWS_IDLE_MAX + 8);
        let blocks = world.height(index);
        assert!(
            (1..=window / WINDOWS_IDLE_MAX).contains(&blocks),
            "{blocks}"
        );
    }
    world.check();
}

#[test]
fn r1_windows_without_finality_are_entered_whatever_their_number() {
    let set = set_of(&[1; 4], 1, 0, 4, 16);
    let mut world = World::with(set, short_turns(), Durability::Async);
    world.filter =
        Box::new(|_, _, message| !matches!(message, Message::Propose(_) | Message::Block { .. }));
    let many = WINDOWS_LIVE_MAX as u64 + 8;
    assert!(world.run_until(60_000, |world| windows_kept(world, 0) > many));
    world.filter = Box::new(|_, _, _| true);
    assert!(world.run_until(10_000, |world| {
        (0..4).all(|index| world.height(index) >= 10)
    }));
    world.check();
}

/// Windows that passed without finality are still live after a restart of all, and each validator's
/// own records in them count here too, however far they lie above the proven window.
#[test]
fn r12_all_restart_after_many_windows_without_finality_and_go_on_with_one_missing() {
    let set = set_of(&[1; 4], 1, 0, 64, 4);
    let mut world = World::with(set, short_turns(), Durability::Sync);
    for member in &mut world.members {
        member.has_commands = false;
    }
    world.run(450);
    assert!(windows_kept(&world, 0) > 8);
    for index in world.set.indices() {
        world.crash(index);
    }
    for index in [v(0), v(1), v(2)] {
        world.start(index);
    }
    for member in &mut world.members {
        member.has_commands = true;
    }
    let done = world.run_until(20_000, |world| {
        (0..3).all(|index| world.height(index) >= 10)
    });
    let windows: Vec<_> = (0..3)
        .map(|index| world.consensus(index).window())
        .collect();
    assert!(done, "stuck: {windows:?}");
    world.check();
}

/// Window 1 stands on a block that weight Q has voted for; of weight FAST it is final as well. The
/// peers have stopped before any of them said Final, so that nothing more will come of it.
fn stopped_above_a_block(own: u16, voters: &[u16]) -> Bench {
    let set = six(64);
    let mut bench = Bench::new(&set, own);
    let block = Block::first(&set, 1);
    bench.propose(&block);
    bench.votes_signed(voters, 0, &stop_at(&block));
    bench.vote_signed(5, 0, stop());
    assert_eq!(bench.consensus.window().number(), 1);
    bench
}

#[test]
fn r2_a_leader_opens_its_window_with_an_empty_block_when_what_it_stands_on_does_not_become_final() {
    let mut bench = stopped_above_a_block(1, &[2, 3, 4]);
    bench.lapse(10);
    assert!(bench.proposals_sent().is_empty(), "it may still be proven");
    bench.lapse(2_000);
    let sent = bench.proposals_sent();
    assert_eq!(sent.len(), 1, "one is enough");
    let header = sent[0].header;
    assert_eq!((header.window.number(), header.height.number()), (1, 2));
    let empty = PayloadBuilder::new().finish();
    assert_eq!(*sent[0].payload, *empty);
}

#[test]
fn r2_a_leader_whose_window_stands_on_a_proven_block_makes_none_while_idle() {
    let mut bench = stopped_above_a_block(1, &[2, 3, 4, 0]);
    bench.lapse(2_000);
    assert_eq!(bench.consensus.proven().height.number(), 1);
    assert!(bench.proposals_sent().is_empty());
}

/// The leader of a window, and its index, says every few milliseconds that it lives, and makes no
/// further block.
fn hears_of_the_leader(bench: &mut Bench, window: u16, record: &Record, times: u32) {
    for _ in 0..times {
        let status = Status {
            record: record.clone(),
            ..bench.status_of(window.into())
        };
        bench.status(window, status);
        bench.lapse(5);
    }
}

fn stops_the_living_leader(mut bench: Bench) -> bool {
    hears_of_the_leader(&mut bench, 1, &Record::default(), 100);
    bench.own_record(1).stop
}

#[test]
fn r5_a_leader_that_leaves_the_block_below_its_window_without_finality_is_stopped() {
    assert!(stops_the_living_leader(stopped_above_a_block(
        2,
        &[1, 3, 4]
    )));
    let proven = stopped_above_a_block(2, &[1, 3, 4, 0]);
    assert!(!stops_the_living_leader(proven));
}

/// A block that votes without signatures made final here: who has stopped below it would never
/// learn of it, and in this window there is nothing to be added for them.
#[test]
fn r5_a_leader_whose_last_block_in_the_window_stays_without_a_proof_is_stopped() {
    let set = six(64);
    let block = Block::first(&set, 1);
    let stops = |is_signed: bool| {
        let mut bench = Bench::new(&set, 2);
        bench.propose(&block);
        if is_signed {
            bench.votes_signed(&[0, 1, 3, 4], 0, &tip(&block));
        } else {
            bench.votes(&[0, 1, 3, 4], 0, &tip(&block));
        }
        assert_eq!(bench.consensus.finalized(), block.point());
        hears_of_the_leader(&mut bench, 0, &tip(&block), 100);
        bench.own_record(0).stop
    };
    assert!(stops(false));
    assert!(!stops(true));
}

#[test]
fn r5_a_leader_whose_blocks_are_proven_one_after_another_is_given_its_time() {
    let set = six(64);
    let mut bench = Bench::new(&set, 2);
    // All are here from the beginning: a block that comes gives time by itself.
    let blocks = chain(&set, 12, 1);
    for block in &blocks {
        bench.propose(block);
    }
    let newest = tip(&blocks[11]);
    for block in &blocks {
        hears_of_the_leader(&mut bench, 0, &newest, 20);
        assert!(bench.consensus.proven().height < block.header.height);
        bench.votes_signed(&[0, 1, 3, 4], 0, &tip(block));
        bench.lapse(5);
        assert_eq!(bench.consensus.proven(), block.point());
    }
    assert!(!bench.own_record(0).stop);
}
