//! The second instance of the application, far behind the first one: what is made of a snapshot of
//! another state.

#![expect(clippy::unwrap_used, reason = "tests may unwrap")]

use quorate::executor::Executor;
use quorate::replica::Event;
use quorate::shadow::{Progress, Shadow, SnapshotPolicy};
use quorate::snapshot::{MemoryDisk, SnapshotFolder};
use quorate::state_machine::{Context, Output, StateMachine};
use quorate_consensus::attestation::StateStatement;
use quorate_consensus::effect::Alarm;
use quorate_consensus::input::Input;
use quorate_consensus::limits::{ATTESTED_ROOTS_MAX, STATE_HEIGHTS};
use quorate_consensus::machine::Durability;
use quorate_consensus::types::Height;
use quorate_log::MemoryBackend;

use crate::world::{MS, Tape, World, command};

/// A tape that is another one after it was restored, which shows with the next command.
#[derive(Default)]
struct Forgetful {
    tape: Tape,
    is_restored: bool,
}

impl StateMachine for Forgetful {
    fn sections(&self) -> &'static [&'static str] {
        self.tape.sections()
    }

    fn apply(&mut self, context: &Context, command: &[u8], output: &mut Output) {
        let bytes: &[u8] = if self.is_restored { b"again" } else { command };
        self.tape.apply(context, bytes, output);
    }

    fn section_root(&mut self, section: usize) -> [u8; 32] {
        self.tape.section_root(section)
    }

    fn snapshot_section(&self, section: usize, bytes: &mut Vec<u8>) {
        self.tape.snapshot_section(section, bytes);
    }

    fn restore_section(&mut self, section: usize, bytes: &[u8]) -> Result<(), String> {
        self.is_restored = true;
        self.tape.restore_section(section, bytes)
    }

    fn query(&self, _: &[u8], _: &mut Vec<u8>) {}
}

/// The first `count` snapshots of a second instance that reads the log of validator 0 from its
/// beginning.
fn snapshots(world: &World, count: usize) -> Vec<StateStatement> {
    let policy = SnapshotPolicy {
        folder: SnapshotFolder::in_memory(&MemoryDisk::new(&MemoryBackend::new())),
        every_heights: STATE_HEIGHTS,
        keep: 8,
    };
    let set = &world.set;
    let app = Forgetful::default();
    let executor = Executor::new(app, world.sessions_max, set.genesis_time_ns());
    let reader = world.log_reader(0);
    let mut shadow = Shadow::new(executor, set, policy, reader, None).unwrap();
    let mut taken = Vec::new();
    while taken.len() < count {
        match shadow.advance(256).unwrap() {
            Progress::More => {}
            Progress::Taken(statement) => taken.push(statement),
            other => panic!("{other:?}"),
        }
    }
    taken
}

/// Under load it may be any number of heights behind, and a start executes again what was not told
/// in its run.
#[test]
fn a_snapshot_of_another_state_is_not_attested_however_far_behind_it_is_taken() {
    for is_started_again in [false, true] {
        let mut world = World::new(1, 0, 0, Durability::Sync);
        // The second snapshot is of a state that has left those that are kept.
        let last = STATE_HEIGHTS * (2 + ATTESTED_ROOTS_MAX as u64) + 1;
        for seq in 1..=last {
            world.submit(0, &[command(1, seq, "text")]);
            world.run_until("one more block", 500 * MS, |world| {
                world.applied(0).len() as u64 == seq
            });
        }
        assert!(world.replica(0).executor().height() >= last);
        if is_started_again {
            world.kill(0);
            world.start(0).unwrap();
        }
        let taken = snapshots(&world, 2);
        let now = world.now;
        for statement in &taken {
            world.replica(0).input(now, Input::State(statement.clone()));
        }
        world.turn(0);
        world.run(100 * MS);
        let events = &world.slots[0].events;
        let proven = events.iter().filter_map(|event| match event {
            Event::StateProven(proven) => Some(&proven.statement),
            _ => None,
        });
        let of_snapshots = proven.filter(|statement| statement.snapshot.is_some());
        assert_eq!(of_snapshots.collect::<Vec<_>>(), [&taken[0]]);
        let alarms = world.alarms();
        let [(0, Event::Alarm(Alarm::StateDiffers { height, .. }))] = &alarms[..] else {
            panic!("{alarms:?}");
        };
        assert_eq!(*height, Height::new(2 * STATE_HEIGHTS));
    }
}
