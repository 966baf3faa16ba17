//! Execution: finalized blocks into the session table and the state machine, in order.
//!
//! Owns the replicated state of one validator and its roots. What comes in is final, so nothing
//! here is ever undone, and nothing here is asked before a vote. Never: threads, files, peers.
//!
//! A block is executed in this order: timers due at its time, then its commands, each by the rule
//! of the session table. An opening command's body begins with the session's key; the application
//! gets what follows it, and is told of the session before.

use std::sync::Arc;

use quorate_consensus::effect::FinalPath;
use quorate_consensus::header::Header;
use quorate_consensus::payload::{CommandView, PayloadError};
use quorate_consensus::types::BlockId;

use crate::lanes::{Admitted, commands_of_block};
use crate::results::{BlockResults, CommandResult, Outcome, Place};
use crate::roots::{ROOT_HEIGHTS, RootRing, StateRoot};
use crate::sessions::{LastResult, SESSIONS_SECTION, SessionTable, Standing};
use crate::state_machine::{
    Audience, Context, Lane, Output, SessionEvent, SessionId, StateMachine,
};

/// Bytes of the key that an opening command's body begins with.
const KEY_BYTES: usize = 32;

/// A block on its way to execution.
#[derive(Clone, Debug)]
pub struct FinalBlock {
    /// Its name.
    pub id: BlockId,
    /// Its header.
    pub header: Header,
    /// Its payload.
    pub payload: Arc<[u8]>,
    /// How it became final; none when it is replayed from the log.
    pub path: Option<FinalPath>,
    /// Its commands that clients of this validator wait for, ascending by index.
    pub admitted: Vec<Admitted>,
}

/// A block that cannot be executed: what was voted for or logged is not what stands here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExecuteError {
    /// Heights have no gaps.
    #[error("block of height {found} where {expected} comes next")]
    Height {
        /// The next height.
        expected: u64,
        /// The block's.
        found: u64,
    },
    /// Its payload is malformed.
    #[error("finalized block of height {height} has a malformed payload")]
    Payload {
        /// Its height.
        height: u64,
        /// What is wrong.
        #[source]
        source: PayloadError,
    },
}

/// The replicated state: session table and application.
#[derive(Debug)]
pub struct Executor<S> {
    app: S,
    sessions: SessionTable,
    output: Output,
    height: u64,
    time_ns: u64,
    roots: RootRing,
}

impl<S: StateMachine> Executor<S> {
    /// The state at genesis.
    #[must_use]
    pub fn new(app: S, sessions_max: u32, genesis_time_ns: u64) -> Self {
        Self {
            app,
            sessions: SessionTable::new(sessions_max),
            output: Output::new(),
            height: 0,
            time_ns: genesis_time_ns,
            roots: RootRing::default(),
        }
    }

    /// Executes the next block; `results` is cleared first and then holds all that came of it.
    ///
    /// # Errors
    /// [`ExecuteError`] when the block is not the next one or is none: nothing was executed, and
    /// this validator must not go on.
    pub fn execute(
        &mut self,
        block: &FinalBlock,
        results: &mut BlockResults,
    ) -> Result<(), ExecuteError> {
        let height = block.header.height.number();
        let expected = self.height.saturating_add(1);
        if height != expected {
            return Err(ExecuteError::Height {
                expected,
                found: height,
            });
        }
        let commands = commands_of_block(&block.payload)
            .map_err(|source| ExecuteError::Payload { height, source })?;
        self.height = height;
        self.time_ns = block.header.time_ns;
        results.clear();
        results.height = height;
        results.id = Some(block.id);
        results.time_ns = self.time_ns;
        results.path = block.path;
        self.fire_timers(results);
        for (index, view) in commands.enumerate() {
            let index = u32::try_from(index).unwrap_or(u32::MAX);
            let result = self.execute_command(index, &view, results);
            results.commands.push(result);
        }
        for admitted in &block.admitted {
            if let Some(result) = results.commands.get_mut(admitted.index as usize) {
                // 0 says that another validator accepted the command.
                result.finality_ns = admitted.latency_ns.max(1);
            }
        }
        if height.is_multiple_of(ROOT_HEIGHTS) {
            results.root = Some(self.root());
        }
        Ok(())
    }

    fn fire_timers(&mut self, results: &mut BlockResults) {
        if self
            .app
            .timer_next_ns()
            .is_some_and(|due_ns| due_ns <= self.time_ns)
        {
            self.output.clear();
            self.app
                .apply_timers(self.height, self.time_ns, &mut self.output);
            results.collect(None, &self.output);
        }
    }

    fn execute_command(
        &mut self,
        index: u32,
        view: &CommandView<'_>,
        results: &mut BlockResults,
    ) -> CommandResult {
        let session = SessionId(*view.session);
        let here = Place {
            height: self.height,
            index,
        };
        let (outcome, applied) = match self.sessions.standing(&session, view.seq) {
            Standing::Next(slot) => {
                let last = self.apply(index, view, None, results);
                self.sessions.advance(slot, last);
                (Outcome::Applied, Some(here))
            }
            Standing::Opens => {
                let key = view.opening_key().copied().unwrap_or_default();
                let last = self.apply(index, view, Some(key), results);
                self.sessions.open(session, key, last);
                (Outcome::Applied, Some(here))
            }
            Standing::Duplicate(last) => (Outcome::Duplicate, last.map(|last| place_of(&last))),
            Standing::Gap => (Outcome::Gap, None),
            Standing::TableFull => (Outcome::TableFull, None),
        };
        CommandResult {
            session,
            seq: view.seq,
            outcome,
            applied,
            finality_ns: 0,
        }
    }

    /// Hands a command to the application; `opening_key` when it opens its session.
    fn apply(
        &mut self,
        index: u32,
        view: &CommandView<'_>,
        opening_key: Option<[u8; 32]>,
        results: &mut BlockResults,
    ) -> LastResult {
        let context = Context {
            height: self.height,
            index,
            time_ns: self.time_ns,
            session: SessionId(*view.session),
            seq: view.seq,
            lane: Lane::from_u8(view.lane as u8).unwrap_or(Lane::Admin),
        };
        self.output.clear();
        let mut command = view.body;
        if let Some(key) = opening_key {
            command = command.get(KEY_BYTES..).unwrap_or_default();
            let event = SessionEvent::Opened { key };
            self.app.apply_session(&context, event, &mut self.output);
        }
        // A client may open its session with nothing to say yet.
        if opening_key.is_none() || !command.is_empty() {
            self.app.apply(&context, command, &mut self.output);
        }
        results.collect(Some(index), &self.output);
        LastResult {
            height: self.height,
            index,
            outputs_hash: hash_outputs(&self.output),
        }
    }

    /// Answers for a command that was final before it came again.
    #[must_use]
    pub fn repeat_result(&self, session: SessionId, seq: u64) -> CommandResult {
        let known = self
            .sessions
            .session(&session)
            .filter(|known| known.last_seq == seq);
        CommandResult {
            session,
            seq,
            outcome: Outcome::Duplicate,
            applied: known.map(|known| place_of(&known.last)),
            finality_ns: 0,
        }
    }

    /// The state root as of the last executed block, taken now and kept.
    pub fn root(&mut self) -> StateRoot {
        let names = self.app.sections();
        let mut sections = Vec::with_capacity(names.len() + 1);
        sections.push((SESSIONS_SECTION, self.sessions.root()));
        for (number, name) in names.iter().copied().enumerate() {
            sections.push((name, self.app.section_root(number)));
        }
        let root = StateRoot::combine(self.height, sections);
        self.roots.push(root.clone());
        root
    }

    /// Names of all sections in root order, the session table's first.
    #[must_use]
    pub fn section_names(&self) -> Vec<&'static str> {
        let mut names = vec![SESSIONS_SECTION];
        names.extend_from_slice(self.app.sections());
        names
    }

    /// Root of one section as it stands; `section` is its place in
    /// [`section_names`](Self::section_names).
    pub(crate) fn section_root(&mut self, section: usize) -> [u8; 32] {
        match section.checked_sub(1) {
            None => self.sessions.root(),
            Some(section) => self.app.section_root(section),
        }
    }

    /// Appends the canonical bytes of one section.
    pub(crate) fn save_section(&self, section: usize, bytes: &mut Vec<u8>) {
        match section.checked_sub(1) {
            None => self.sessions.encode(bytes),
            Some(section) => self.app.snapshot_section(section, bytes),
        }
    }

    /// Replaces one section by saved bytes.
    pub(crate) fn restore_section(&mut self, section: usize, bytes: &[u8]) -> Result<(), String> {
        match section.checked_sub(1) {
            None => {
                let sessions_max = self.sessions.sessions_max();
                self.sessions =
                    SessionTable::decode(bytes, sessions_max).map_err(|error| error.to_string())?;
                Ok(())
            }
            Some(section) => self.app.restore_section(section, bytes),
        }
    }

    /// Says after which block the restored sections stand.
    pub(crate) const fn restore_position(&mut self, height: u64, time_ns: u64) {
        self.height = height;
        self.time_ns = time_ns;
    }

    /// The roots taken so far, the newest of them.
    #[must_use]
    pub const fn roots(&self) -> &RootRing {
        &self.roots
    }

    /// Height of the last executed block; 0 at genesis.
    #[must_use]
    pub const fn height(&self) -> u64 {
        self.height
    }

    /// Replicated time of the last executed block.
    #[must_use]
    pub const fn time_ns(&self) -> u64 {
        self.time_ns
    }

    /// When the application's earliest timer is due, by replicated time.
    #[must_use]
    pub fn timer_next_ns(&self) -> Option<u64> {
        self.app.timer_next_ns()
    }

    /// Answers a read-only question about the state between two blocks.
    pub fn query(&self, question: &[u8], answer: &mut Vec<u8>) {
        self.app.query(question, answer);
    }

    /// The session table.
    #[must_use]
    pub const fn sessions(&self) -> &SessionTable {
        &self.sessions
    }

    /// The application.
    #[must_use]
    pub const fn app(&self) -> &S {
        &self.app
    }
}

const fn place_of(last: &LastResult) -> Place {
    Place {
        height: last.height,
        index: last.index,
    }
}

/// BLAKE3 of a command's outputs with their audiences and lengths; zero for none.
fn hash_outputs(output: &Output) -> [u8; 32] {
    if output.is_empty() {
        return [0; 32];
    }
    let mut hasher = blake3::Hasher::new();
    for (audience, bytes) in output.iter() {
        match audience {
            Audience::Session(session) => hasher.update(&[1]).update(&session.0),
            Audience::Public => hasher.update(&[0]),
        };
        hasher.update(&(bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    }
    *hasher.finalize().as_bytes()
}

#[cfg(test)]
mod tests {
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
}
