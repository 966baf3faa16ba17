//! Windows that pass without finality: because nobody wants anything, or because no proposal
//! arrives. What is kept must not grow for ever, and the system must not halt for it.

use crate::support::{MS, World, set_of, v};
use quorate_consensus::limits::{WINDOWS_IDLE_MAX, WINDOWS_LIVE_MAX};
use quorate_consensus::machine::{Durability, TimerConfig};
use quorate_consensus::message::Message;

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
