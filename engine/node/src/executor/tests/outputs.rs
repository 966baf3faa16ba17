//! The sections of outputs and of public events: what a third party and a validator that fetches
//! older events are to find in them, and what is found by them.

use quorate_proof::events::{EventHistory, events_leaf};
use quorate_proof::outputs::{BlockOutputs, OutputHistory};

use super::*;

/// Three blocks: a timer and two commands; nothing; a repeat and a command.
fn blocks() -> [FinalBlock; 3] {
    [
        block(1, &[(1, 1, b"a"), (1, 2, b"b")]),
        block(2, &[]),
        block(3, &[(1, 2, b"b"), (1, 3, b"c")]),
    ]
}

fn executed(is_odd: bool) -> Executor<Echo> {
    let app = Echo {
        is_odd,
        due_ns: Some(5),
        ..Echo::default()
    };
    let (mut executor, mut results) = (Executor::new(app, 8, 0), BlockResults::new());
    for block in blocks() {
        executor.execute(&block, &mut results).expect("next");
    }
    executor
}

#[test]
fn the_section_has_every_output_and_outcome_of_every_block_at_its_place() {
    let mut executor = executed(false);
    let alice = session_of_key(&[1; 32]);
    let mut history = OutputHistory::default();
    let echo = |list: &mut BlockOutputs, index: u32, bytes: &[u8]| {
        list.push(Some(index), Some(&alice), bytes);
        list.push(Some(index), None, b"public");
    };
    for block in blocks() {
        let mut list = BlockOutputs::default();
        match block.header.height.number() {
            1 => {
                list.push(None, None, b"tick");
                echo(&mut list, 0, b"a");
                echo(&mut list, 1, b"b");
                list.close([0, 0]);
            }
            2 => list.close([]),
            _ => {
                echo(&mut list, 1, b"c");
                list.close([1, 0]);
            }
        }
        history.push(block.id.as_bytes(), &list.root());
    }
    let root = executor.root();
    assert_eq!(root.sections[1], (OUTPUTS_SECTION, history.root()));
    assert_eq!(executor.output_history(), &history);
    assert_eq!(
        executor.section_names(),
        ["sessions", "outputs", "events", "seen"]
    );
}

#[test]
fn the_section_of_events_has_every_public_one_and_none_that_is_private() {
    let mut executor = executed(false);
    let public: [&[&[u8]]; 3] = [&[b"tick", b"public", b"public"], &[], &[b"public"]];
    let mut history = EventHistory::default();
    for (block, events) in blocks().iter().zip(public) {
        let height = block.header.height.number();
        let events = events.iter().copied();
        history.push(&events_leaf(height, block.header.time_ns, events));
    }
    let root = executor.root();
    assert_eq!(root.sections[2], (EVENTS_SECTION, history.root()));
    assert_eq!(executor.event_history(), &history);
}

#[test]
fn what_a_command_put_out_is_hashed_without_what_others_of_its_block_did() {
    let hash_behind = |before: &[u8]| {
        let (mut executor, mut results) =
            (Executor::new(Echo::default(), 8, 0), BlockResults::new());
        let block = block(1, &[(1, 1, before), (1, 2, b"b")]);
        executor.execute(&block, &mut results).expect("next");
        let session = SessionId(session_of_key(&[1; 32]));
        let session = executor.sessions().session(&session).expect("open");
        session.last.outputs_hash
    };
    assert_eq!(hash_behind(b"a"), hash_behind(b"something else"));
}

#[test]
fn whoever_puts_out_something_else_is_found_though_its_state_is_the_same() {
    let (mut one, mut other) = (executed(false), executed(true));
    assert_eq!(one.app().seen, other.app().seen);
    let (one, other) = (one.root().sections, other.root().sections);
    assert_eq!(one[3], other[3]);
    assert_ne!(one[1], other[1]);
}

#[test]
fn the_section_goes_on_where_it_was_restored() {
    let mut one = executed(false);
    let mut other = Executor::new(Echo::default(), 8, 0);
    for section in 0..4 {
        let mut bytes = Vec::new();
        one.save_section(section, &mut bytes);
        other.restore_section(section, &bytes).expect("good bytes");
        assert_eq!(other.section_root(section), one.section_root(section));
        let is_own = section == 1 || section == 2;
        assert!(!is_own || other.restore_section(section, &bytes[1..]).is_err());
    }
    assert!(other.restore_position(4, 30).is_err());
    // The one section of this height, the other of a lower one.
    for section in [1, 2] {
        let mut mixed = Executor::new(Echo::default(), 8, 0);
        let mut bytes = Vec::new();
        one.save_section(section, &mut bytes);
        mixed.restore_section(section, &bytes).expect("good bytes");
        assert!(mixed.restore_position(3, 30).is_err(), "{section}");
    }
    other.restore_position(3, 30).expect("after block 3");
    let mut results = BlockResults::new();
    for executor in [&mut one, &mut other] {
        let next = block(4, &[(1, 4, b"d")]);
        executor.execute(&next, &mut results).expect("next");
    }
    assert_eq!(other.root(), one.root());
}
