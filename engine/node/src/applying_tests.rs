//! What a panic of the application leaves in the log.

use super::*;
use crate::executor::{Executor, FinalBlock};
use crate::results::BlockResults;
use crate::sessions::IDLE_MIN_NS;
use crate::state_machine::{Context, Output, SessionEvent, StateMachine};
use crate::testing::{final_block, logged};
use quorate_consensus::payload::{
    Entry, FLAG_OPEN, Lane, PayloadBuilder, encode_flagged_entry, session_of_key,
};
use quorate_consensus::types::BlockId;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// Panics where it is told to.
struct Brittle(&'static str);

impl Brittle {
    fn reach(&self, place: &str) {
        assert_ne!(self.0, place, "as planted");
    }
}

impl StateMachine for Brittle {
    fn sections(&self) -> &'static [&'static str] {
        &["rest", "book"]
    }

    fn apply(&mut self, _: &Context, command: &[u8], _: &mut Output) {
        if command == b"bad" {
            self.reach("command");
        }
    }

    fn timer_next_ns(&self) -> Option<u64> {
        self.reach("next timer");
        Some(0)
    }

    fn apply_timers(&mut self, _: u64, _: u64, _: &mut Output) {
        self.reach("timer");
    }

    fn apply_session(&mut self, _: &Context, _: SessionEvent, _: &mut Output) {
        self.reach("session");
    }

    fn keeps(&self, _: SessionId) -> bool {
        self.reach("keeps");
        false
    }

    fn section_root(&mut self, section: usize) -> [u8; 32] {
        if section == 1 {
            self.reach("root");
        }
        [0; 32]
    }

    fn snapshot_section(&self, section: usize, _: &mut Vec<u8>) {
        if section == 1 {
            self.reach("save");
        }
    }

    fn restore_section(&mut self, section: usize, _: &[u8]) -> Result<(), String> {
        if section == 1 {
            self.reach("restore");
        }
        Ok(())
    }

    fn query(&self, _: &[u8], _: &mut Vec<u8>) {
        self.reach("query");
    }
}

/// A payload that opens another session at a time.
fn opening(seq: u64) -> Arc<[u8]> {
    let key = [2; 32];
    let entry = Entry {
        lane: Lane::Order,
        session: &session_of_key(&key),
        seq,
        signature: None,
        body: &key,
    };
    let mut bytes = Vec::new();
    encode_flagged_entry(&entry, FLAG_OPEN, &mut bytes);
    let mut builder = PayloadBuilder::new();
    builder.push_entry(&bytes).unwrap();
    builder.finish()
}

/// What is logged of a chain of three blocks, a question and a snapshot, where the application
/// panics in between.
fn said_of(place: &'static str) -> Vec<String> {
    let (genesis, _) = crate::testing::sample_genesis(4);
    let run = AssertUnwindSafe(|| {
        let mut executor = Executor::new(Brittle(place), 1, 0);
        let mut execute = |block: &FinalBlock| {
            executor.execute(block, &mut BlockResults::new()).unwrap();
        };
        let set = genesis.validator_set();
        let first = final_block(set, 1, BlockId::new([3; 32]), &[(1, 1, b"good")]);
        execute(&first);
        let commands: [(u8, u64, &[u8]); 2] = [(1, 2, b"good"), (1, 3, b"bad")];
        let second = final_block(set, 2, first.id, &commands);
        execute(&second);
        executor.query_from(SessionId([9; 16]), b"", &mut Vec::new());
        // There is room for one session, and the first one has been silent for long.
        let mut third = final_block(set, 3, second.id, &[]);
        third.header.time_ns += IDLE_MIN_NS;
        third.payload = opening(third.header.time_ns);
        let mut results = BlockResults::new();
        executor.execute(&third, &mut results).unwrap();
        executor.save_section(4, &mut Vec::new());
        executor.restore_section(4, b"").unwrap();
        executor.root();
        if place == "elsewhere" {
            panic!("as planted");
        }
    });
    let lines = logged(|| assert!(catch_unwind(run).is_err()));
    assert_eq!(noted(), None, "the call is over");
    let is_panic = |line: &String| line.contains("PANICKED");
    lines.into_iter().filter(is_panic).collect()
}

#[test]
fn a_panic_of_the_application_says_what_it_was_called_for() {
    let alice = SessionId(session_of_key(&[1; 32]));
    let alice = format!("session={alice:?};");
    let nine = format!("session={:?};", SessionId([9; 16]));
    let book = "section=\"book\";";
    let places = [
        ("command", "applying a command", 2, "index=1;", &*alice),
        ("timer", "firing timers", 1, "", ""),
        ("next timer", "asking for the next timer", 1, "", ""),
        ("session", "applying a command", 1, "index=0;", &*alice),
        ("query", "answering a question", 2, "", &*nine),
        (
            "keeps",
            "asking whether a session stays",
            3,
            "index=0;",
            &*alice,
        ),
        ("save", "writing a section of a snapshot", 3, "", book),
        ("restore", "restoring a section of a snapshot", 3, "", book),
        ("root", "asking for the root of a section", 3, "", book),
    ];
    for (place, doing, height, index, whose) in places {
        let said = said_of(place);
        assert_eq!(said.len(), 1, "{place}: {said:?}");
        let told = format!("doing={doing:?};height={height};{index}{whose}");
        assert!(said[0].contains(&told), "{told}: {said:?}");
    }
    assert_eq!(
        said_of("elsewhere"),
        <[String; 0]>::default(),
        "not its own"
    );
}
