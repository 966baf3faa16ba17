//! The executor against repeats, gaps, full tables, forged commands and timers.

use quorate_consensus::header::HEADER_VERSION;
use quorate_consensus::payload::{
    Entry, FLAG_OPEN, FLAG_SESSION, Lane as WireLane, PayloadBuilder, encode_flagged_entry,
    encode_session_entry, session_of_key,
};
use quorate_consensus::types::{Epoch, Height, Index, Window};

use super::*;
use crate::roots::{EVENTS_SECTION, OUTPUTS_SECTION};

mod outputs;
mod signed;

/// Appends every command to a journal of its own and echoes it; a timer is due every second.
#[derive(Debug, Default)]
struct Echo {
    seen: Vec<u8>,
    calls: Vec<String>,
    due_ns: Option<u64>,
    /// Puts out something else and has the same state.
    is_odd: bool,
    /// Sessions that are not to end for want of room.
    kept: Vec<SessionId>,
    /// How much it puts out for each session that times out.
    outputs: u32,
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
        output.to_public(if self.is_odd { b"odd" } else { b"public" });
    }

    fn timer_next_ns(&self) -> Option<u64> {
        self.due_ns
    }

    fn apply_timers(&mut self, _height: u64, time_ns: u64, output: &mut Output) {
        self.calls.push(format!("timer {time_ns}"));
        self.due_ns = None;
        output.to_public(b"tick");
    }

    fn apply_session(&mut self, context: &Context, event: SessionEvent, output: &mut Output) {
        if event == SessionEvent::TimedOut {
            (0..self.outputs).for_each(|_| output.to_public(b"gone"));
        }
        self.calls.push(match event {
            SessionEvent::Opened { key } => format!("open {} {}", context.seq, key[0]),
            event => format!("{event:?} {} at {}", context.seq, context.height),
        });
    }

    fn keeps(&self, session: SessionId) -> bool {
        self.kept.contains(&session)
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

fn entry_of(client: u8, seq: u64, body: &[u8], is_session: bool) -> Vec<u8> {
    let flags = if is_session { FLAG_SESSION } else { 0 };
    flagged_entry_of(client, seq, body, flags)
}

/// The opening of a session with any number.
fn opening_of(client: u8, seq: u64, body: &[u8]) -> Vec<u8> {
    flagged_entry_of(client, seq, body, FLAG_OPEN)
}

fn flagged_entry_of(client: u8, seq: u64, body: &[u8], flags: u16) -> Vec<u8> {
    let key = [client; 32];
    let is_opening = seq == 1 || flags & FLAG_OPEN != 0;
    let opening: &[u8] = if is_opening { &key } else { &[] };
    let session = session_of_key(&key);
    let entry = Entry {
        lane: WireLane::Order,
        session: &session,
        seq,
        signature: None,
        body: &[opening, body].concat(),
    };
    let mut encoded = Vec::new();
    encode_flagged_entry(&entry, flags, &mut encoded);
    encoded
}

fn about(client: u8, seq: u64, command: SessionCommand) -> Vec<u8> {
    let mut body = Vec::new();
    command.encode(&mut body);
    entry_of(client, seq, &body, true)
}

fn block(height: u64, commands: &[(u8, u64, &[u8])]) -> FinalBlock {
    let entries = commands
        .iter()
        .map(|&(client, seq, body)| entry_of(client, seq, body, false));
    block_of(height, height * 10, entries)
}

fn block_of(height: u64, time_ns: u64, entries: impl IntoIterator<Item = Vec<u8>>) -> FinalBlock {
    let mut builder = PayloadBuilder::new();
    for entry in entries {
        builder.push_entry(&entry).expect("a valid entry");
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
        time_ns,
        parent_id: BlockId::new([0; 32]),
        payload_hash: *blake3::hash(&payload).as_bytes(),
        payload_bytes: u32::try_from(payload.len()).expect("small"),
    };
    FinalBlock {
        id: header.id(),
        header,
        payload,
        path: None,
        final_ns: 0,
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

/// The sections that nothing becomes of when nothing is applied: what became of a command is an
/// outcome, and those are proven too.
fn state(executor: &mut Executor<Echo>) -> Vec<(&'static str, [u8; 32])> {
    let mut sections = executor.root().sections;
    sections.retain(|(name, _)| ![OUTPUTS_SECTION, EVENTS_SECTION].contains(name));
    sections
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
    let before = state(&mut executor);
    executor
        .execute(&block(3, &[(1, 5, b"e")]), &mut results)
        .expect("next");
    assert_eq!(outcomes(&results), [Outcome::Gap]);
    assert_eq!(state(&mut executor), before);
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

const SECOND_NS: u64 = 1_000_000_000;

/// docs/venue.md: a late block cancels the orders of who was silent before it measures anything.
#[test]
fn time_outs_of_a_block_come_before_its_timers() {
    let echo = Echo {
        due_ns: Some(2 * SECOND_NS),
        ..Echo::default()
    };
    let mut executor = Executor::new(echo, 8, 0);
    let declared = about(1, 1, SessionCommand::Timeout(3 * SECOND_NS));
    for (height, second, entries) in [(1, 1, vec![declared]), (2, 10, Vec::new())] {
        let block = block_of(height, second * SECOND_NS, entries);
        executor
            .execute(&block, &mut BlockResults::new())
            .expect("next");
    }
    let calls = ["open 1 1", "TimedOut 1 at 2", "timer 10000000000"];
    assert_eq!(executor.app().calls, calls);
}

#[test]
fn no_timer_is_told_to_be_due_before_a_next_block_can_be() {
    let mut executor = Executor::new(Echo::default(), 8, 0);
    let first = block_of(1, 5 * SECOND_NS, vec![]);
    let next = executor.execute(&first, &mut BlockResults::new());
    next.expect("next");
    let past = [0, 4 * SECOND_NS, 5 * SECOND_NS, 5 * SECOND_NS + 1];
    for (due_ns, told_ns) in past.map(|due_ns| (due_ns, 5 * SECOND_NS + 1)) {
        executor.app.due_ns = Some(due_ns);
        assert_eq!(executor.timer_next_ns(), Some(told_ns));
    }
    executor.app.due_ns = Some(6 * SECOND_NS);
    assert_eq!(executor.timer_next_ns(), Some(6 * SECOND_NS));
}

#[test]
fn a_silent_session_is_told_of_once_and_again_after_it_was_heard() {
    let mut executor = Executor::new(Echo::default(), 8, 0);
    let mut results = BlockResults::new();
    let mut run = |executor: &mut Executor<Echo>, height, second, entries: Vec<Vec<u8>>| {
        let block = block_of(height, second * SECOND_NS, entries);
        executor.execute(&block, &mut results).expect("next");
    };
    let declare = about(1, 1, SessionCommand::Timeout(5 * SECOND_NS));
    run(&mut executor, 1, 1, vec![declare]);
    assert_eq!(executor.timer_next_ns(), Some(6 * SECOND_NS));
    // A sign of life moves the time on, and is not the application's.
    let beat = about(1, 2, SessionCommand::Heartbeat);
    run(&mut executor, 2, 4, vec![beat]);
    run(&mut executor, 3, 8, vec![]);
    assert_eq!(executor.app().calls, ["open 1 1"]);
    assert_eq!(executor.timer_next_ns(), Some(9 * SECOND_NS));
    run(&mut executor, 4, 9, vec![]);
    run(&mut executor, 5, 100, vec![]);
    assert_eq!(executor.app().calls[1..], ["TimedOut 2 at 4"]);
    assert_eq!(executor.timer_next_ns(), None);
    run(&mut executor, 6, 101, vec![entry_of(1, 3, b"back", false)]);
    run(&mut executor, 7, 106, vec![]);
    assert_eq!(executor.app().calls[2..], ["apply 6.0", "TimedOut 3 at 7"]);
    let silent = about(1, 4, SessionCommand::Timeout(0));
    run(&mut executor, 8, 107, vec![silent]);
    run(&mut executor, 9, 1000, vec![]);
    assert_eq!(executor.app().calls.len(), 4);
}

#[test]
fn time_outs_beyond_a_block_s_share_come_with_the_next_one() {
    let mut executor = Executor::new(Echo::default(), 1000, 0);
    let mut results = BlockResults::new();
    let clients = 0..=255_u8;
    let declare = |client| about(client, 1, SessionCommand::Timeout(SECOND_NS));
    let first = block_of(1, SECOND_NS, clients.map(declare));
    executor.execute(&first, &mut results).expect("next");
    let extra: Vec<Vec<u8>> = (0..44_u8)
        .map(|n| {
            let key = [n, 77, 7, 7];
            let key: [u8; 32] = [key; 8].concat().try_into().expect("32 bytes");
            let session = session_of_key(&key);
            let mut body = key.to_vec();
            SessionCommand::Timeout(SECOND_NS).encode(&mut body);
            let entry = Entry {
                lane: WireLane::Order,
                session: &session,
                seq: 1,
                signature: None,
                body: &body,
            };
            let mut bytes = Vec::new();
            encode_session_entry(&entry, &mut bytes);
            bytes
        })
        .collect();
    let second = block_of(2, SECOND_NS, extra);
    executor.execute(&second, &mut results).expect("next");
    for (height, total) in [(3, 256), (4, 300), (5, 300)] {
        let empty = block_of(height, 3 * SECOND_NS, []);
        executor.execute(&empty, &mut results).expect("next");
        let is_time_out = |call: &&String| call.starts_with("TimedOut");
        let calls = &executor.app().calls;
        assert_eq!(calls.iter().filter(is_time_out).count(), total, "{height}");
        // What is left over makes an idle chain propose another block.
        let next_ns = (total == 256).then_some(3 * SECOND_NS + 1);
        assert_eq!(executor.timer_next_ns(), next_ns);
    }
}

#[test]
fn time_outs_that_put_out_much_leave_the_others_to_the_next_block() {
    let echo = Echo {
        outputs: TIMEOUT_OUTPUTS_PER_BLOCK / 3,
        ..Echo::default()
    };
    let mut executor = Executor::new(echo, 8, 0);
    let mut results = BlockResults::new();
    let declare = |client| about(client, 1, SessionCommand::Timeout(SECOND_NS));
    let first = block_of(1, SECOND_NS, (1..=6).map(declare));
    executor.execute(&first, &mut results).expect("next");
    // Three are a little less than the bound, so a fourth one is taken.
    for (height, total) in [(2, 4), (3, 6), (4, 6)] {
        let empty = block_of(height, 3 * SECOND_NS, []);
        executor.execute(&empty, &mut results).expect("next");
        let is_time_out = |call: &&String| call.starts_with("TimedOut");
        let calls = &executor.app().calls;
        assert_eq!(calls.iter().filter(is_time_out).count(), total, "{height}");
        let next_ns = (total == 4).then_some(3 * SECOND_NS + 1);
        assert_eq!(executor.timer_next_ns(), next_ns);
    }
}

#[test]
fn a_closed_session_is_over_until_it_is_opened_anew_and_its_commands_cannot_be_played_again() {
    let mut executor = Executor::new(Echo::default(), 2, 0);
    let mut results = BlockResults::new();
    let opening = entry_of(1, 1, b"a", false);
    let entries = vec![opening.clone(), about(1, 2, SessionCommand::Close)];
    let first = block_of(1, 10, entries);
    executor.execute(&first, &mut results).expect("next");
    assert_eq!(outcomes(&results), [Outcome::Applied; 2]);
    let ended = results.corrections[0];
    assert_eq!((ended.last_seq, ended.has_ended), (Some(2), true));
    assert_eq!(
        executor.app().calls,
        ["open 1 1", "apply 1.0", "Closed 2 at 1"]
    );
    let again = block_of(2, 20, vec![opening.clone(), entry_of(1, 2, b"b", false)]);
    executor.execute(&again, &mut results).expect("next");
    assert_eq!(outcomes(&results), [Outcome::SessionEnded; 2]);
    assert_eq!(executor.app().seen, b"a");
    // It has its place until its opening is too old, when two others find room.
    let then = crate::sessions::OPENING_LIFE_NS + 2;
    let others = |at| [opening_of(2, at, b""), opening_of(3, at, b"")];
    let third = block_of(3, then - 1, others(then - 1));
    executor.execute(&third, &mut results).expect("next");
    let one = [Outcome::Applied, Outcome::TableFull];
    assert_eq!(outcomes(&results), one);
    let fourth = block_of(4, then, others(then));
    executor.execute(&fourth, &mut results).expect("next");
    let other = [Outcome::Gap, Outcome::Applied];
    assert_eq!(outcomes(&results), other);
    let calls = &executor.app().calls;
    assert!(!calls.iter().any(|call| call.starts_with("Evicted")));
    let fifth = block_of(5, then, [opening, entry_of(1, 2, b"b", false)]);
    executor.execute(&fifth, &mut results).expect("next");
    let old = [Outcome::OpeningTooOld, Outcome::SessionEnded];
    assert_eq!(outcomes(&results), old);
    assert_eq!(executor.app().seen, b"a");
}

/// What seems to be final may not be executed yet, or came to nothing: that is no repeat.
#[test]
fn a_repeat_is_told_only_of_what_was_applied_or_of_what_has_ended() {
    let mut executor = Executor::new(Echo::default(), 8, 0);
    let mut results = BlockResults::new();
    let (own, place) = (
        SessionId(session_of_key(&[1; 32])),
        Place {
            height: 1,
            index: 1,
        },
    );
    assert_eq!(executor.repeat_result(own, 1), None);
    let first = block(1, &[(1, 1, b"a"), (1, 2, b"b")]);
    executor.execute(&first, &mut results).expect("next");
    let told = |executor: &Executor<Echo>, seq| {
        let told = executor.repeat_result(own, seq)?;
        assert_eq!((told.session, told.seq, told.finality_ns), (own, seq, 0));
        Some((told.outcome, told.applied))
    };
    assert_eq!(told(&executor, 1), Some((Outcome::Duplicate, None)));
    assert_eq!(told(&executor, 2), Some((Outcome::Duplicate, Some(place))));
    assert_eq!(told(&executor, 3), None);
    let close = block_of(2, 20, [about(1, 3, SessionCommand::Close)]);
    executor.execute(&close, &mut results).expect("next");
    for seq in 1..4 {
        assert_eq!(told(&executor, seq), Some((Outcome::SessionEnded, None)));
    }
    assert_eq!(told(&executor, 4), None, "it may be of the next opening");
}

/// A client that lost its memory may give a number anew under which an older command is applied.
#[test]
fn a_result_and_a_repeat_say_which_of_two_commands_with_one_number_was_applied() {
    let mark = |seq, body: &[u8]| Some(Mark::of(&entry_of(1, seq, body, false)));
    let mut executor = Executor::new(Echo::default(), 8, 0);
    let mut results = BlockResults::new();
    let mut told = |executor: &mut Executor<Echo>, block: FinalBlock| -> Vec<_> {
        executor.execute(&block, &mut results).expect("next");
        results.commands.iter().map(|one| one.mark).collect()
    };
    assert_ne!(mark(1, b"old"), mark(1, b"new"));
    let first = told(&mut executor, block(1, &[(1, 1, b"old")]));
    assert_eq!(first, [mark(1, b"old")]);
    let second = told(&mut executor, block(2, &[(1, 1, b"new"), (1, 2, b"b")]));
    assert_eq!(second, [mark(1, b"old"), mark(2, b"b")]);
    let third = told(&mut executor, block(3, &[(1, 1, b"new")]));
    assert_eq!(third, [None], "only of the last one");
    let own = SessionId(session_of_key(&[1; 32]));
    let repeat = |seq| executor.repeat_result(own, seq)?.mark;
    assert_eq!((repeat(1), repeat(2)), (None, mark(2, b"b")));
}

/// A pool goes by the blocks alone, and sees no room that a block itself has made.
#[test]
fn pools_are_told_of_every_opening_of_every_one_refused_and_of_what_has_ended_once_each() {
    let mut executor = Executor::new(Echo::default(), 1, 0);
    let mut results = BlockResults::new();
    let life = crate::sessions::OPENING_LIFE_NS;
    let mut run = |executor: &mut Executor<Echo>, height, entries: Vec<Vec<u8>>| {
        let block = block_of(height, height * life / 2, entries);
        executor.execute(&block, &mut results).expect("next");
        let told = results.corrections.iter();
        told.map(|one| (one.session, one.last_seq, one.has_ended))
            .collect::<Vec<_>>()
    };
    let id = |client: u8| SessionId(session_of_key(&[client; 32]));
    let first = vec![entry_of(1, 1, b"a", false), entry_of(1, 2, b"b", false)];
    assert_eq!(run(&mut executor, 1, first), [(id(1), Some(2), false)]);
    let full = vec![
        opening_of(2, life, b"x"),
        entry_of(2, life + 1, b"y", false),
    ];
    assert_eq!(run(&mut executor, 2, full), [(id(2), None, false)]);
    let close = vec![
        about(1, 3, SessionCommand::Close),
        entry_of(1, 4, b"c", false),
        opening_of(2, life, b"x"),
        entry_of(2, life + 1, b"y", false),
    ];
    let told = [(id(1), None, false), (id(2), Some(life + 1), false)];
    assert_eq!(run(&mut executor, 3, close), told);
    let again = vec![entry_of(1, 1, b"a", false), entry_of(1, 2, b"b", false)];
    assert_eq!(run(&mut executor, 4, again), [(id(1), None, false)]);
    let next = vec![entry_of(2, life + 2, b"z", false)];
    assert_eq!(run(&mut executor, 5, next), []);
    let close = vec![about(2, life + 3, SessionCommand::Close)];
    assert_eq!(run(&mut executor, 6, close), [(id(2), None, false)]);
    let young = vec![opening_of(2, 4 * life, b"x"), {
        let mut body = Vec::new();
        SessionCommand::Close.encode(&mut body);
        entry_of(2, 4 * life + 1, &body, true)
    }];
    let told = [(id(2), Some(4 * life + 1), true)];
    assert_eq!(run(&mut executor, 7, young), told);
}

#[test]
fn a_full_table_ends_the_longest_idle_session_after_an_hour_and_not_before() {
    let mut executor = Executor::new(Echo::default(), 2, 0);
    let mut results = BlockResults::new();
    let hour = crate::sessions::IDLE_MIN_NS;
    let mut run = |executor: &mut Executor<Echo>, height, time_ns, entry: Vec<u8>| {
        let block = block_of(height, time_ns, [entry]);
        executor.execute(&block, &mut results).expect("next");
        (outcomes(&results)[0], results.corrections.clone())
    };
    run(&mut executor, 1, 0, entry_of(1, 1, b"a", false));
    run(&mut executor, 2, 10, entry_of(2, 1, b"a", false));
    let (outcome, _) = run(&mut executor, 3, hour - 1, opening_of(3, hour, b"a"));
    assert_eq!(outcome, Outcome::TableFull);
    // The first one is heard of again, so the second has been idle longest.
    run(&mut executor, 4, hour, entry_of(1, 2, b"b", false));
    let (outcome, _) = run(&mut executor, 5, hour + 9, opening_of(3, hour, b"a"));
    assert_eq!(outcome, Outcome::TableFull);
    let (outcome, corrections) = run(&mut executor, 6, hour + 10, opening_of(3, hour, b"a"));
    assert_eq!(outcome, Outcome::Applied);
    let ended: Vec<bool> = corrections.iter().map(|one| one.has_ended).collect();
    assert_eq!(ended, [false, false]);
    let calls = &executor.app().calls;
    assert_eq!(
        calls[calls.len() - 3..],
        ["Evicted 1 at 6", &format!("open {hour} 3"), "apply 6.0"]
    );
    let (outcome, _) = run(&mut executor, 7, 2 * hour, entry_of(2, 2, b"c", false));
    assert_eq!(outcome, Outcome::SessionEnded);
}

/// Whoever else has been idle for an hour makes room, and if nobody else has, nobody does.
#[test]
fn a_session_that_the_application_keeps_is_not_ended_for_want_of_room() {
    let id = |number| SessionId(session_of_key(&[number; 32]));
    let app = Echo {
        kept: vec![id(1)],
        ..Echo::default()
    };
    let mut executor = Executor::new(app, 2, 0);
    let mut results = BlockResults::new();
    let hour = crate::sessions::IDLE_MIN_NS;
    let mut run = |height, time_ns, entry: Vec<u8>| {
        let block = block_of(height, time_ns, [entry]);
        executor.execute(&block, &mut results).expect("next");
        outcomes(&results)[0]
    };
    assert_eq!(run(1, 0, entry_of(1, 1, b"a", false)), Outcome::Applied);
    assert_eq!(run(2, hour, opening_of(2, hour, b"a")), Outcome::Applied);
    let early = run(3, 2 * hour - 1, opening_of(3, 2 * hour, b"a"));
    assert_eq!(early, Outcome::TableFull);
    let late = run(4, 2 * hour, opening_of(3, 2 * hour, b"a"));
    assert_eq!(late, Outcome::Applied);
    let ended = run(5, 2 * hour, entry_of(2, 2, b"b", false));
    assert_eq!(ended, Outcome::SessionEnded);
    let kept = run(6, 2 * hour, entry_of(1, 2, b"b", false));
    assert_eq!(kept, Outcome::Applied);
}

#[test]
fn a_block_known_to_be_signed_is_so_only_by_the_keys_that_its_sessions_have() {
    let (genesis, _) = crate::testing::sample_genesis(4);
    let auth = Arc::new(CommandAuth::signed(
        genesis.validator_set(),
        crate::auth::BatchSeed::assert_unpredictable([4; 32]),
    ));
    let mut executor = Executor::new(Echo::default(), 10, 0).with_auth(Arc::clone(&auth));
    // Neither command is signed by anybody.
    let block = block(1, &[(1, 1, b"one"), (2, 1, b"two")]);
    auth.note_block(block.id, vec![[1; 32], [9; 32]]);
    let mut results = BlockResults::default();
    executor.execute(&block, &mut results).unwrap();
    let outcomes: Vec<Outcome> = results.commands.iter().map(|one| one.outcome).collect();
    assert_eq!(outcomes, [Outcome::Applied, Outcome::BadSignature]);
}

/// Its validator proposes then, though nothing else waits.
#[test]
fn an_executor_that_was_restored_knows_when_the_next_session_times_out() {
    let mut first = Executor::new(Echo::default(), 8, 0);
    let mut results = BlockResults::new();
    let declare = about(1, 1, SessionCommand::Timeout(5 * SECOND_NS));
    let block = block_of(1, SECOND_NS, vec![declare]);
    first.execute(&block, &mut results).expect("next");
    let mut restored = Executor::new(Echo::default(), 8, 0);
    assert_eq!(restored.timer_next_ns(), None);
    for section in 0..first.section_names().len() {
        let mut bytes = Vec::new();
        first.save_section(section, &mut bytes);
        let taken = restored.restore_section(section, &bytes);
        taken.expect("own bytes");
    }
    let placed = restored.restore_position(1, SECOND_NS);
    placed.expect("the height of the sections");
    for executor in [&mut first, &mut restored] {
        assert_eq!(executor.timer_next_ns(), Some(6 * SECOND_NS));
        let block = block_of(2, 6 * SECOND_NS, vec![]);
        executor.execute(&block, &mut results).expect("next");
        let calls = &executor.app().calls;
        assert_eq!(calls.last().map(String::as_str), Some("TimedOut 1 at 2"));
    }
}
