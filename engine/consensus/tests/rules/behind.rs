//! A validator whose execution is behind (2.9): what it keeps back, what it goes on with, and how
//! it comes out of it.

use crate::bench::{Bench, Setup};
use crate::fixtures::{Block, chain, i, payload_numbered, six, stop, stop_at, tip, v};
use crate::support::World;
use quorate_consensus::input::Input;
use quorate_consensus::machine::{Disposition, Ignored, TimerConfig};
use quorate_consensus::record::Record;

#[test]
fn r3_what_came_while_execution_is_behind_is_voted_for_at_once_when_it_has_gone_on() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    let blocks = chain(&set, 3, 1);
    bench.propose(&blocks[0]);
    assert_eq!(bench.input(Input::Behind(true)), Disposition::Applied);
    bench.propose(&blocks[1]);
    bench.propose(&blocks[2]);
    bench.votes(&[0, 1, 2], 0, &tip(&blocks[1]));
    assert_eq!(bench.own_record(0).tip, Some(blocks[0].at()));
    assert_eq!(bench.consensus.finalized(), set.genesis());
    bench.forget();
    let said = bench.input(Input::Behind(true));
    assert_eq!(said, Disposition::Ignored(Ignored::Stale));
    bench.input(Input::Behind(false));
    assert_eq!(bench.own_record(0).tip, Some(blocks[2].at()));
    let first = bench.votes_sent(0)[0].1.record.clone();
    assert_eq!(
        first.tip,
        Some(blocks[2].at()),
        "one vote for all that waited"
    );
    assert_eq!(bench.consensus.counters().behind, 1);
}

#[test]
fn r3_what_is_final_is_voted_for_also_while_execution_is_behind() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    let blocks = chain(&set, 3, 1);
    bench.input(Input::Behind(true));
    for block in &blocks {
        bench.propose(block);
    }
    assert!(bench.own_record(0).is_empty());
    bench.votes(&[0, 1, 2, 3, 4], 0, &tip(&blocks[1]));
    bench.settle();
    assert_eq!(bench.consensus.finalized().id, blocks[1].id);
    assert_eq!(
        bench.own_record(0).tip,
        Some(blocks[1].at()),
        "it adds nothing to what waits, and others may need it for a proof"
    );
}

#[test]
fn r2_nothing_is_proposed_while_execution_is_behind() {
    let set = six(64);
    let mut bench = Bench::new(&set, 0);
    assert!(bench.consensus.proposal_room().is_some());
    bench.input(Input::Behind(true));
    assert!(bench.consensus.proposal_room().is_none());
    let payload = Input::Payload(payload_numbered(1));
    let refused = Disposition::Ignored(Ignored::NotAllowed);
    assert_eq!(bench.input(payload), refused);
    assert!(bench.own_record(0).is_empty());
    bench.input(Input::Behind(false));
    let payload = Input::Payload(payload_numbered(1));
    assert_eq!(bench.input(payload), Disposition::Applied);
    assert!(bench.own_record(0).tip.is_some());
}

#[test]
fn r4_a_final_is_said_also_while_execution_is_behind() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    let block = Block::first(&set, 1);
    bench.propose(&block);
    bench.input(Input::Behind(true));
    bench.votes(&[0, 1, 2], 0, &tip(&block));
    assert_eq!(bench.own_record(0).fin, Some(i(0)));
}

#[test]
fn r5_the_votes_of_others_stop_a_window_also_while_execution_is_behind() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    bench.input(Input::Behind(true));
    bench.votes(&[0, 1, 2], 0, &stop());
    let own = Record {
        skip_fallback: Some(i(0)),
        ..stop()
    };
    assert_eq!(bench.own_record(0), own, "and R7 follows");
    assert_eq!(bench.consensus.counters().stops_predicate, 1);
}

#[test]
fn r6_fallback_votes_are_said_also_while_execution_is_behind() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    let block = Block::first(&set, 1);
    bench.input(Input::Behind(true));
    bench.propose(&block);
    bench.votes(&[1, 2, 3], 0, &stop_at(&block));
    bench.input(Input::Shutdown);
    let own = Record {
        also: vec![block.at()],
        skip_fallback: Some(i(1)),
        ..stop()
    };
    assert_eq!(bench.own_record(0), own);
}

#[test]
fn r5_no_leader_is_blamed_for_the_own_slowness_to_execute() {
    let set = six(64);
    let progress_ms = TimerConfig::laptop().progress_ns / crate::fixtures::MS;
    let mut bench = Bench::new(&set, 5);
    bench.propose(&Block::first(&set, 1));
    // So that no Status of the leader is what keeps the timer from running out.
    bench.input(Input::Waiting { oldest_ns: Some(0) });
    bench.input(Input::Behind(true));
    bench.lapse(20 * progress_ms);
    assert!(!bench.own_record(0).stop);
    bench.input(Input::Behind(false));
    bench.lapse(progress_ms - 5);
    assert!(!bench.own_record(0).stop, "it has its whole time again");
    bench.lapse(10);
    assert!(bench.own_record(0).stop, "and no more than that");
}

#[test]
fn r5_a_turn_in_which_execution_was_behind_and_no_more_gives_the_leader_its_whole_time() {
    let set = six(64);
    let mut setup = Setup::new(&set, 5);
    setup.timers.progress_ns = 40 * crate::fixtures::MS;
    let mut bench = setup.run();
    bench.propose(&Block::first(&set, 1));
    bench.input(Input::Waiting { oldest_ns: Some(0) });
    bench.lapse(35);
    bench.feed(Input::Behind(true));
    bench.input(Input::Behind(false));
    bench.lapse(35);
    assert!(!bench.own_record(0).stop);
    bench.lapse(10);
    assert!(bench.own_record(0).stop);
}

fn say_behind(world: &mut World, members: &[u16], is_behind: bool) {
    for &member in members {
        world.input(v(member), Input::Behind(is_behind));
        world.settle(v(member));
    }
}

/// Six validators with commands that have waited for long, so that an idle leader is stopped.
fn busy(slots: u32) -> World {
    let mut world = World::new(six(slots));
    world.run(5);
    for member in 0..6 {
        let oldest_ns = Some(world.now.mono_ns);
        world.input(v(member), Input::Waiting { oldest_ns });
    }
    assert!(world.height(0) > 0);
    world
}

fn stops_by_timer(world: &World) -> u64 {
    (0..6)
        .map(|member| world.consensus(member).counters().stops_timer)
        .sum()
}

#[test]
fn as_many_as_may_be_silent_hold_nobody_up_while_their_execution_is_behind() {
    let mut world = busy(64);
    // F + P.
    say_behind(&mut world, &[4, 5], true);
    // More than the windows hold that others lead before it is their turn.
    let aim = world.height(0) + 300;
    assert!(world.run_until(2_000, |world| world.height(0) > aim));
    world.check();
    say_behind(&mut world, &[4, 5], false);
    assert!(world.run_until(500, |world| world.height(5) > aim + 20));
    world.check();
}

#[test]
fn when_everybodys_execution_is_behind_all_stands_still_and_goes_on_in_the_same_window() {
    let mut world = busy(64);
    let all: Vec<u16> = (0..6).collect();
    say_behind(&mut world, &all, true);
    world.run(10);
    let (before, window) = (world.height(0), world.consensus(0).window());
    let stops = stops_by_timer(&world);
    world.run(200);
    assert_eq!(world.height(0), before);
    assert_eq!(world.consensus(0).window(), window);
    assert_eq!(stops_by_timer(&world), stops);
    say_behind(&mut world, &all, false);
    assert!(world.run_until(100, |world| world.height(0) > before + 20));
    assert_eq!(stops_by_timer(&world), stops);
    world.check();
}

#[test]
fn when_too_many_are_behind_the_chain_waits_for_them_and_goes_on_by_itself() {
    // In windows that are full soon, and in such as the others stop.
    for slots in [64, 4096] {
        let mut world = busy(slots);
        // One more than F + P.
        say_behind(&mut world, &[3, 4, 5], true);
        world.run(5);
        let before = world.height(0);
        world.run(200);
        assert_eq!(world.height(0), before, "nothing new is final");
        assert_eq!(stops_by_timer(&world) > 0, slots > 64);
        say_behind(&mut world, &[3, 4, 5], false);
        let aim = before + 100;
        let is_there = |world: &World| (0..6).all(|at| world.height(at) > aim);
        assert!(world.run_until(3_000, is_there));
        world.check();
    }
}
