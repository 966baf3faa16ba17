//! What is seen of validators comes to the checkers that it is for: something wrong, put into a
//! turn, is found.

use super::*;
use crate::app::App;
use crate::byzantine::{ActorName, Byzantine};
use crate::checks::SAMPLE;
use crate::plan::RunOptions;
use crate::script::Scenario;
use crate::tape::Tape;
use quorate_consensus::message::{HeldRecord, Vote};
use quorate_consensus::record::Record;
use quorate_consensus::types::{BlockId, Epoch, Height, Index, Window};

const W: Window = Window::ZERO;

/// Calls `see` on a world in which nothing has happened, and says which checkers found something.
fn found(byzantine: Byzantine, see: impl FnOnce(&mut World<Tape>)) -> Vec<&'static str> {
    let options = RunOptions {
        seed: 1,
        scenario: Scenario::Calm,
        byzantine,
        ..RunOptions::default()
    };
    let mut world = World::new(&options, &App::default(), false).unwrap();
    see(&mut world);
    let found = world.checks.finish();
    found.iter().map(|violation| violation.check).collect()
}

fn says(message: &Message, to: Destination) -> Turned {
    let mut bytes = Vec::new();
    wire::encode(message, &mut bytes);
    Turned {
        frames: vec![(to, bytes.into())],
        ..Turned::default()
    }
}

/// Nothing was voted for in this window, and nothing will be.
fn stopped() -> Record {
    Record {
        stop: true,
        ..Record::default()
    }
}

fn voted() -> Record {
    Record {
        tip: Some((Index::ZERO, BlockId::new([7; 32]))),
        ..Record::default()
    }
}

fn votes(record: Record) -> Turned {
    let vote = Vote {
        epoch: Epoch::ZERO,
        window: W,
        record,
        signature: None,
    };
    says(&Message::Vote(vote), Destination::All)
}

/// What a peer holds of the one that asks.
fn holds(asker: usize, record: Record) -> Turned {
    let held = HeldRecord {
        window: W,
        record,
        signature: None,
    };
    let answer = Message::FenceAnswer {
        incarnation: 1,
        held: Some(held),
    };
    says(&answer, Destination::Peer(index(asker)))
}

#[test]
fn a_record_without_a_tip_and_one_that_contradicts_it_are_found_in_votes() {
    let honest = Byzantine::default();
    let alone = found(honest, |world| {
        world.watch_turn(0, votes(stopped()));
    });
    assert_eq!(alone, [""; 0]);
    let both = found(honest, |world| {
        world.watch_turn(0, votes(stopped()));
        world.watch_turn(0, votes(voted()));
    });
    assert_eq!(both, ["records"]);
}

#[test]
fn what_an_answer_to_the_fence_shows_of_an_honest_validator_is_judged_and_of_a_liar_not() {
    let shown = |world: &mut World<Tape>, asker: usize| {
        world.watch_turn((asker + 1) % 4, holds(asker, stopped()));
        world.watch_turn((asker + 2) % 4, holds(asker, voted()));
    };
    assert_eq!(
        found(Byzantine::default(), |world| shown(world, 3)),
        ["records"]
    );
    let silent = Byzantine {
        actors: [Some(ActorName::Silent), None],
        ..Byzantine::default()
    };
    let of_liar = found(silent, |world| {
        let liar = (0..4).find(|&at| world.is_byzantine(at)).unwrap();
        shown(world, liar);
    });
    assert_eq!(of_liar, [""; 0]);
}

#[test]
fn one_peer_s_answer_against_the_own_word_is_enough() {
    let found = found(Byzantine::default(), |world| {
        world.watch_turn(3, votes(stopped()));
        world.watch_turn(1, holds(3, voted()));
    });
    assert_eq!(found, ["records"]);
}

fn delivers(height: u64, id: Option<BlockId>, outputs: [u8; 32]) -> Turned {
    let block = Delivered {
        height,
        id,
        path: None,
        commands: Vec::new(),
        outputs,
    };
    Turned {
        delivered: vec![block],
        ..Turned::default()
    }
}

#[test]
fn outputs_that_differ_between_two_validators_are_found() {
    let see = |other| {
        found(Byzantine::default(), |world| {
            world.watch_turn(0, delivers(1, None, [1; 32]));
            world.watch_turn(1, delivers(1, None, other));
        })
    };
    assert_eq!(see([1; 32]), [""; 0]);
    assert_eq!(see([2; 32]), ["results"]);
}

#[test]
fn the_time_of_a_block_is_judged_when_its_header_comes_after_its_delivery() {
    let see = |ahead_ns: u64| {
        let mut found = found(Byzantine::default(), |world| {
            let header = Header {
                time_ns: crate::plan::WALL_START_NS + ahead_ns,
                height: Height::new(1),
                ..SAMPLE
            };
            world.watch_turn(0, delivers(1, Some(header.id()), [0; 32]));
            let history = Message::History(vec![header]);
            world.watch_turn(0, says(&history, Destination::Peer(index(1))));
        });
        // It stands on nothing.
        found.retain(|check| *check != "chain");
        found
    };
    assert_eq!(see(0), [""; 0]);
    assert_eq!(see(3_600_000_000_000), ["times"]);
}
