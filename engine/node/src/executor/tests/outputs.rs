//! The section of outputs: what a third party is to find in it, and what is found by it.

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
    assert_eq!(executor.section_names(), ["sessions", "outputs", "seen"]);
}

#[test]
fn whoever_puts_out_something_else_is_found_though_its_state_is_the_same() {
    let (mut one, mut other) = (executed(false), executed(true));
    assert_eq!(one.app().seen, other.app().seen);
    let (one, other) = (one.root().sections, other.root().sections);
    assert_eq!(one[2], other[2]);
    assert_ne!(one[1], other[1]);
}

#[test]
fn the_section_goes_on_where_it_was_restored() {
    let mut one = executed(false);
    let mut other = Executor::new(Echo::default(), 8, 0);
    for section in 0..3 {
        let mut bytes = Vec::new();
        one.save_section(section, &mut bytes);
        other.restore_section(section, &bytes).expect("good bytes");
        assert_eq!(other.section_root(section), one.section_root(section));
        assert!(section != 1 || other.restore_section(1, &bytes[1..]).is_err());
    }
    assert!(other.restore_position(4, 30).is_err());
    other.restore_position(3, 30).expect("after block 3");
    let mut results = BlockResults::new();
    for executor in [&mut one, &mut other] {
        let next = block(4, &[(1, 4, b"d")]);
        executor.execute(&next, &mut results).expect("next");
    }
    assert_eq!(other.root(), one.root());
}
