//! The steady state: propose, vote, finalize, hand over.

use crate::support::{World, set_of, v};
use quorate_consensus::effect::FinalPath;

#[test]
fn r8_all_four_up_finalize_by_first_votes_alone() {
    let mut world = World::new(set_of(&[1; 4], 1, 0, 64, 4));
    assert!(world.run_until(1_000, |world| {
        (0..4).all(|index| world.height(index) >= 200)
    }));
    world.check();
    let fast = world.members[0]
        .finalized
        .iter()
        .filter(|(_, _, path)| *path == FinalPath::Fast)
        .count();
    assert!(fast * 10 >= world.members[0].finalized.len() * 9, "{fast}");
}

#[test]
fn r4_with_one_down_finals_finalize() {
    let mut world = World::new(set_of(&[1; 4], 1, 0, 64, 4));
    world.crash(v(3));
    assert!(world.run_until(5_000, |world| {
        (0..3).all(|index| world.height(index) >= 200)
    }));
    world.check();
    assert!(
        world.members[0]
            .finalized
            .iter()
            .any(|(_, _, path)| *path == FinalPath::Slow)
    );
}

#[test]
fn r5_a_dead_leader_is_replaced_and_the_rest_goes_on() {
    let mut world = World::new(set_of(&[1; 4], 1, 0, 64, 4));
    world.run(5);
    let leader = world.consensus(1).leader();
    world.crash(leader);
    let others: Vec<u16> = (0..4).filter(|&index| v(index) != leader).collect();
    let before = world.height(others[0]);
    let others_clone = others.clone();
    assert!(world.run_until(2_000, move |world| {
        others_clone
            .iter()
            .all(|&index| world.height(index) > before + 100)
    }));
    world.check();
}

#[test]
fn r12_a_restarted_validator_catches_up_and_votes() {
    let mut world = World::new(set_of(&[1; 4], 1, 0, 16, 1));
    world.run(5);
    world.crash(v(2));
    world.run(60);
    world.start(v(2));
    let height = world.height(0);
    assert!(world.run_until(3_000, |world| world.height(2) > height + 50));
    assert!(world.consensus(2).is_voting());
    world.check();
}

#[test]
fn r5_an_idle_cluster_stops_nothing_and_makes_no_blocks() {
    let mut world = World::new(set_of(&[1; 4], 1, 0, 64, 4));
    world.run(5);
    for member in &mut world.members {
        member.has_commands = false;
    }
    world.run(50);
    let height = world.height(0);
    world.run(1_000);
    assert_eq!(world.height(0), height);
    for member in &world.members {
        assert!(member.stopped.is_empty(), "{:?}", member.stopped);
    }
}
