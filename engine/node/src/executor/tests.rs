//! The executor against repeats, gaps, full tables, forged commands and timers.

use quorate_consensus::header::HEADER_VERSION;
use quorate_consensus::payload::{
    Entry, Lane as WireLane, PayloadBuilder, encode_entry, session_of_key,
};
use quorate_consensus::types::{Epoch, Height, Index, Window};

use super::*;

/// Appends every command to a journal of its own and echoes it; a timer is due every second.
#[derive(Debug, Default)]
struct Echo {
    seen: Vec<u8>,
    calls: Vec<String>,
    due_ns: Option<u64>,
}

impl StateMachine for Echo {
    fn sections(&self) -> &'static [&'static str] {
        &["seen"]
    }

    fn apply(&mut self, context: &Context, command: &[u8], output: &mut Output) {
        self.seen.extend_from_slice(command);
        self.calls
            .push(format!("apply {}.{}", context.height, context.index));
        output.to_session(context.session, command);
        output.to_public(b"public");
    }

    fn timer_next_ns(&self) -> Option<u64> {
        self.due_ns
    }

    fn apply_timers(&mut self, _height: u64, time_ns: u64, output: &mut Output) {
        self.calls.push(format!("timer {time_ns}"));
        self.due_ns = None;
        output.to_public(b"tick");
    }

    fn apply_session(&mut self, context: &Context, event: SessionEvent, _: &mut Output) {
        let SessionEvent::Opened { key } = event;
        self.calls.push(format!("open {} {}", context.seq, key[0]));
    }

    fn section_root(&mut self, _section: usize) -> [u8; 32] {
        *blake3::hash(&self.seen).as_bytes()
    }

    fn snapshot_section(&self, _section: usize, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.seen);
    }

    fn restore_section(&mut self, _section: usize, bytes: &[u8]) -> Result<(), String> {
        self.seen = bytes.to_vec();
        Ok(())
    }

    fn query(&self, _question: &[u8], answer: &mut Vec<u8>) {
        answer.extend_from_slice(&self.seen);
    }
}

fn block(height: u64, commands: &[(u8, u64, &[u8])]) -> FinalBlock {
    let mut builder = PayloadBuilder::new();
    for &(client, seq, body) in commands {
        let key = [client; 32];
        let mut bytes = Vec::new();
        if seq == 1 {
            bytes.extend_from_slice(&key);
        }
        bytes.extend_from_slice(body);
        let session = session_of_key(&key);
        let entry = Entry {
            lane: WireLane::Order,
            session: &session,
            seq,
            signature: None,
            body: &bytes,
        };
        let mut encoded = Vec::new();
        encode_entry(&entry, &mut encoded);
        builder.push_entry(&encoded).expect("a valid entry");
    }
    let payload = builder.finish();
    let header = Header {
        version: HEADER_VERSION,
        flags: 0,
        chain_id: [0; 32],
        epoch: Epoch::ZERO,
        set_hash: [0; 32],
        window: Window::ZERO,
        index: Index::new(u32::try_from(height).expect("small")),
        height: Height::new(height),
        time_ns: height * 10,
        parent_id: BlockId::new([0; 32]),
        payload_hash: *blake3::hash(&payload).as_bytes(),
        payload_bytes: u32::try_from(payload.len()).expect("small"),
    };
    FinalBlock {
        id: header.id(),
        header,
        payload,
        path: None,
        admitted: Vec::new(),
    }
}

fn outcomes(results: &BlockResults) -> Vec<Outcome> {
    results
        .commands
        .iter()
        .map(|result| result.outcome)
        .collect()
}

#[test]
fn a_command_applies_once_whatever_is_repeated_or_left_out() {
    let mut executor = Executor::new(Echo::default(), 8, 0);
    let mut results = BlockResults::new();
    executor
        .execute(
            &block(1, &[(1, 1, b"a"), (1, 2, b"b"), (2, 5, b"x")]),
            &mut results,
        )
        .expect("next");
    assert_eq!(
        outcomes(&results),
        [Outcome::Applied, Outcome::Applied, Outcome::Gap]
    );
    executor
        .execute(&block(2, &[(1, 2, b"b"), (1, 3, b"c")]), &mut results)
        .expect("next");
    assert_eq!(outcomes(&results), [Outcome::Duplicate, Outcome::Applied]);
    assert_eq!(
        results.commands[0].applied,
        Some(Place {
            height: 1,
            index: 1
        })
    );
    let before = executor.root();
    executor
        .execute(&block(3, &[(1, 5, b"e")]), &mut results)
        .expect("next");
    assert_eq!(outcomes(&results), [Outcome::Gap]);
    assert_eq!(executor.root().combined, before.combined);
    assert_eq!(executor.app().seen, b"abc");
}

#[test]
fn a_session_is_opened_before_its_first_command_and_may_open_with_nothing() {
    let mut executor = Executor::new(Echo::default(), 2, 0);
    let mut results = BlockResults::new();
    executor
        .execute(
            &block(1, &[(1, 1, b""), (1, 2, b""), (2, 1, b"b"), (3, 1, b"c")]),
            &mut results,
        )
        .expect("next");
    assert_eq!(
        executor.app().calls,
        ["open 1 1", "apply 1.1", "open 1 2", "apply 1.2"]
    );
    assert_eq!(results.commands[3].outcome, Outcome::TableFull);
}

#[test]
fn timers_fire_before_the_commands_of_the_first_block_at_or_after_their_time() {
    let mut executor = Executor::new(
        Echo {
            due_ns: Some(20),
            ..Echo::default()
        },
        2,
        0,
    );
    let mut results = BlockResults::new();
    executor
        .execute(&block(1, &[]), &mut results)
        .expect("next");
    assert_eq!(results.outputs_len(), 0);
    executor
        .execute(&block(2, &[(1, 1, b"a")]), &mut results)
        .expect("next");
    assert_eq!(executor.app().calls, ["timer 20", "open 1 1", "apply 2.0"]);
    let outputs: Vec<_> = results
        .outputs()
        .map(|item| (item.number, item.command, item.bytes.to_vec()))
        .collect();
    assert_eq!(
        outputs,
        [
            (0, None, b"tick".to_vec()),
            (1, Some(0), b"a".to_vec()),
            (2, Some(0), b"public".to_vec())
        ]
    );
}

#[test]
fn roots_are_taken_at_every_64th_height_and_agree_between_equal_histories() {
    let mut first = Executor::new(Echo::default(), 2, 0);
    let mut second = Executor::new(Echo::default(), 2, 0);
    let mut results = BlockResults::new();
    for height in 1..=128 {
        let next = block(height, &[(1, height, b"z")]);
        first.execute(&next, &mut results).expect("next");
        assert_eq!(
            results.root.is_some(),
            height % ROOT_HEIGHTS == 0,
            "{height}"
        );
        // Asking in between changes nothing.
        if height == 70 {
            second.root();
        }
        second.execute(&next, &mut results).expect("next");
    }
    assert_eq!(first.roots().at(128), second.roots().at(128));
    assert_ne!(
        first.roots().at(64).map(|root| root.combined),
        first.roots().at(128).map(|root| root.combined)
    );
}

#[test]
fn a_block_out_of_order_or_malformed_is_refused_untouched() {
    let mut executor = Executor::new(Echo::default(), 2, 0);
    let mut results = BlockResults::new();
    assert_eq!(
        executor.execute(&block(2, &[]), &mut results),
        Err(ExecuteError::Height {
            expected: 1,
            found: 2
        })
    );
    let mut bad = block(1, &[(1, 1, b"a")]);
    bad.payload = bad.payload[..bad.payload.len() - 1].into();
    assert!(matches!(
        executor.execute(&bad, &mut results),
        Err(ExecuteError::Payload { height: 1, .. })
    ));
    assert_eq!(executor.height(), 0);
}
