//! What a panic of the application leaves in the log.

use super::*;
use crate::executor::{Executor, FinalBlock};
use crate::results::BlockResults;
use crate::state_machine::{Context, Output, SessionEvent, StateMachine};
use crate::testing::{final_block, logged};
use quorate_consensus::types::BlockId;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Panics where it is told to.
struct Brittle(&'static str);

impl Brittle {
    fn reach(&self, place: &str) {
        assert_ne!(self.0, place, "as planted");
    }
}

impl StateMachine for Brittle {
    fn sections(&self) -> &'static [&'static str] {
        &[]
    }

    fn apply(&mut self, _: &Context, command: &[u8], _: &mut Output) {
        if command == b"bad" {
            self.reach("command");
        }
    }

    fn timer_next_ns(&self) -> Option<u64> {
        Some(0)
    }

    fn apply_timers(&mut self, _: u64, _: u64, _: &mut Output) {
        self.reach("timer");
    }

    fn apply_session(&mut self, _: &Context, _: SessionEvent, _: &mut Output) {
        self.reach("session");
    }

    fn section_root(&mut self, _: usize) -> [u8; 32] {
        [0; 32]
    }

    fn snapshot_section(&self, _: usize, _: &mut Vec<u8>) {}

    fn restore_section(&mut self, _: usize, _: &[u8]) -> Result<(), String> {
        Ok(())
    }

    fn query(&self, _: &[u8], _: &mut Vec<u8>) {
        self.reach("query");
    }
}

/// What is logged of a chain of two blocks and a question, where the application panics in between.
fn said_of(place: &'static str) -> Vec<String> {
    let (genesis, _) = crate::testing::sample_genesis(4);
    let run = AssertUnwindSafe(|| {
        let mut executor = Executor::new(Brittle(place), 8, 0);
        let mut execute = |block: &FinalBlock| {
            executor.execute(block, &mut BlockResults::new()).unwrap();
        };
        let set = genesis.validator_set();
        let first = final_block(set, 1, BlockId::new([3; 32]), &[(1, 1, b"good")]);
        execute(&first);
        let commands: [(u8, u64, &[u8]); 2] = [(1, 2, b"good"), (1, 3, b"bad")];
        execute(&final_block(set, 2, first.id, &commands));
        executor.query_from(SessionId([9; 16]), b"", &mut Vec::new());
        if place == "elsewhere" {
            panic!("as planted");
        }
    });
    let lines = logged(|| assert!(catch_unwind(run).is_err()));
    assert_eq!(CALL.get(), None, "the call is over");
    let is_panic = |line: &String| line.contains("PANICKED");
    lines.into_iter().filter(is_panic).collect()
}

#[test]
fn a_panic_of_the_application_says_what_it_was_called_for() {
    let alice = SessionId(quorate_consensus::payload::session_of_key(&[1; 32]));
    let alice = format!("session={alice:?};");
    let nine = format!("session={:?};", SessionId([9; 16]));
    let places = [
        ("command", "applying a command", 2, "index=1;", &*alice),
        ("timer", "firing timers", 1, "", ""),
        ("session", "applying a command", 1, "index=0;", &*alice),
        ("query", "answering a question", 2, "", &*nine),
    ];
    for (place, doing, height, index, session) in places {
        let said = said_of(place);
        assert_eq!(said.len(), 1, "{place}: {said:?}");
        let told = format!("doing={doing:?};height={height};{index}{session}");
        assert!(said[0].contains(&told), "{told}: {said:?}");
    }
    assert_eq!(
        said_of("elsewhere"),
        <[String; 0]>::default(),
        "not its own"
    );
}
