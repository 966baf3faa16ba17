//! Execution: finalized blocks into the session table and the state machine, in order.
//!
//! Owns the replicated state of one validator and its roots. What comes in is final, so nothing
//! here is ever undone, and nothing here is asked before a vote. Never: threads, files, peers.
//!
//! A block is executed in this order: time-outs of sessions and timers due at its time, then its
//! commands, each by the rule of the session table. An opening command's body begins with the
//! session's key; the application gets what follows it, and is told of the session before.
//!
//! In a chain of signed commands one that its session's key has not signed does nothing at all. Its
//! block is valid all the same: validity never depends on state, and the key is state. The verdict
//! is a function of the bytes and the table, so replay comes to the same one by checking again.
//!
//! What is put out is hashed here, once, as it comes, and each block's hash goes into the section
//! of outputs: so an output can be proven to anybody (docs/proof-format.md), and a validator that
//! puts out something else is found by its root though its state be the others'.

mod calls;
mod sections;
mod streams;

pub(crate) use sections::check_sections;
pub use sections::{OWN_SECTIONS, SECTIONS_MAX, SectionsError};
pub(crate) use streams::PrivateAnswer;

use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use quorate_consensus::effect::FinalPath;
use quorate_consensus::header::Header;
use quorate_consensus::payload::{CommandView, Commands, PayloadError};
use quorate_consensus::types::BlockId;
use quorate_proof::events::{EventHistory, events_leaf};
use quorate_proof::outputs::{BlockOutputs, OutputHistory};

use crate::applying::{applying, applying_command, tell_panics};
use crate::auth::{BatchCheck, CommandAuth};
use crate::lanes::{Admitted, commands_of_block};
use crate::private::archived::{Height, PrivateOutputs};
use crate::private::{PrivateRing, PrivateStream};
use crate::results::{BlockResults, CommandResult, Correction, Mark, Outcome, Place};
use crate::roots::{ROOT_HEIGHTS, RootRing, StateRoot};
use crate::sessions::{
    LastResult, Opening, Room, Session, SessionCommand, SessionTable, Standing,
    TIMEOUT_OUTPUTS_PER_BLOCK, TIMEOUTS_PER_BLOCK,
};
use crate::stages::archive::ArchiveLink;
use crate::stages::clock::nanoseconds;
use crate::state_machine::{
    Audience, Context, Lane, Output, SessionEvent, SessionId, StateMachine,
};
use crate::streams::{PublicStream, published};

/// Tells the executor's randomness from that of other checks with the same seed.
const EXECUTOR_STREAM: u64 = 0;
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
    /// When it became final here, by the monotonic clock; 0 when it is replayed from the log.
    pub final_ns: u64,
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

/// The replicated state: session table, outputs, public events and application.
#[derive(Debug)]
pub struct Executor<S> {
    app: S,
    sessions: SessionTable,
    output: Output,
    /// What the last block put out.
    block_outputs: BlockOutputs,
    /// What all blocks put out.
    history: OutputHistory,
    /// What all blocks told everybody.
    events: EventHistory,
    height: u64,
    time_ns: u64,
    roots: RootRing,
    /// The root of the state as it stands; none since the state last changed, until it is taken.
    told_root: Option<StateRoot>,
    /// When the next session times out, by replicated time.
    timeout_next_ns: Option<u64>,
    /// Sessions that ended in this block, began, or did not although they wanted to; a pool, which
    /// goes by the blocks alone, may have seen room where there was none, or none where there was.
    changed: Vec<SessionId>,
    auth: Arc<CommandAuth>,
    check: BatchCheck,
    /// The public stream of what is executed before anybody is served; none elsewhere.
    public: Option<PublicStream>,
    /// The private streams of the newest blocks, and of older ones while nobody is served.
    private: PrivateStream,
    /// The thread that keeps the older ones from then on.
    private_link: Option<ArchiveLink<PrivateOutputs>>,
}

impl<S: StateMachine> Executor<S> {
    /// The state at genesis.
    #[must_use]
    pub fn new(app: S, sessions_max: u32, genesis_time_ns: u64) -> Self {
        tell_panics();
        let auth = Arc::new(CommandAuth::session());
        Self {
            check: auth.batch_check(EXECUTOR_STREAM),
            auth,
            changed: Vec::new(),
            app,
            sessions: SessionTable::new(sessions_max),
            output: Output::new(),
            block_outputs: BlockOutputs::default(),
            history: OutputHistory::default(),
            events: EventHistory::default(),
            height: 0,
            time_ns: genesis_time_ns,
            roots: RootRing::default(),
            told_root: None,
            timeout_next_ns: None,
            public: None,
            private: PrivateStream::new(PrivateRing::default(), None),
            private_link: None,
        }
    }

    /// The same after the blocks of `history`, of which nothing else is known here; they told
    /// nobody anything in public.
    #[must_use]
    pub fn after(mut self, history: OutputHistory) -> Self {
        self.height = history.height();
        self.events.be_silent_until(self.height);
        self.history = history;
        self
    }

    /// The same for a chain whose commands may be signed. Who shares `auth` spares this executor
    /// the checks that have been made, and learns which sessions are open here; one executor alone
    /// may tell it. A second one has its [`CommandAuth::verdicts_alone`].
    #[must_use]
    pub fn with_auth(mut self, auth: Arc<CommandAuth>) -> Self {
        self.check = auth.batch_check(EXECUTOR_STREAM);
        self.auth = auth;
        self.note_keys();
        self
    }

    /// What is found out about signatures.
    #[must_use]
    pub const fn auth(&self) -> &Arc<CommandAuth> {
        &self.auth
    }

    fn note_keys(&self) {
        for session in self.sessions.iter() {
            self.auth.note_open(session.id, session.key);
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
        let began = Instant::now();
        self.execute_watched(block, results, |_, _| ())?;
        results.execution_ns = nanoseconds(began.elapsed());
        Ok(())
    }

    /// The same; `watch` sees the state after the time-outs and timers of the block, and after each
    /// command, whose index it is told. The sections of outputs and events stand still meanwhile.
    ///
    /// # Errors
    /// As [`execute`](Self::execute).
    pub fn execute_watched(
        &mut self,
        block: &FinalBlock,
        results: &mut BlockResults,
        mut watch: impl FnMut(&mut Self, Option<u32>),
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
        self.block_outputs.clear();
        results.clear();
        results.height = height;
        results.id = Some(block.id);
        results.time_ns = self.time_ns;
        results.path = block.path;
        results.final_ns = block.final_ns;
        results.note_payload(block.payload.len());
        self.time_out_sessions(results);
        self.fire_timers(results);
        watch(self, None);
        let signatures = self.check_signatures(&block.id, commands.clone());
        for (index, view) in commands.enumerate() {
            let checked = signatures.get(index).copied().flatten();
            let index = u32::try_from(index).unwrap_or(u32::MAX);
            let result = self.execute_command(index, &view, checked, results);
            results.commands.push(result);
            results.count_lane(view.lane as usize);
            watch(self, Some(index));
        }
        self.tell_corrections(results);
        self.timeout_next_ns = self.sessions.due_next_ns();
        self.hash_outputs(&block.id, results);
        for admitted in &block.admitted {
            if let Some(result) = results.commands.get_mut(admitted.index as usize) {
                // 0 says that another validator accepted the command.
                result.finality_ns = admitted.latency_ns.max(1);
            }
        }
        // Behind the last command: what was taken amid the block does not stand for its end.
        self.told_root = None;
        if height.is_multiple_of(ROOT_HEIGHTS) {
            results.root = Some(self.root());
        }
        if let Some(public) = &mut self.public {
            public.push(results);
        }
        self.keep_private_of(results);
        Ok(())
    }

    /// Takes all that the block put out into the sections that tell of it.
    fn hash_outputs(&mut self, id: &BlockId, results: &mut BlockResults) {
        let outcomes = results.commands.iter();
        self.block_outputs
            .close(outcomes.map(|result| result.outcome as u8));
        self.history.push(id.as_bytes(), &self.block_outputs.root());
        if let Some(public) = &mut self.public {
            public.place(&self.events);
        }
        self.private.place(&Height(self.events.height()));
        let leaf = events_leaf(self.height, self.time_ns, published(results));
        self.events.push(&leaf);
        results.events_leaf = Some(leaf);
    }

    /// For each command the key of its session, where one is known before the block is executed,
    /// and whether that has signed it; empty in a chain without signatures. Many at once cost half
    /// as much.
    fn check_signatures(
        &mut self,
        id: &BlockId,
        commands: Commands<'_>,
    ) -> Vec<Option<([u8; 32], bool)>> {
        if !self.auth.is_signed() {
            return Vec::new();
        }
        if let Some(keys) = self.auth.block_keys(id) {
            // Found out while it was voted on. By which key a command has to be signed is for the
            // table to say, which compares.
            return keys.iter().map(|key| Some((*key, true))).collect();
        }
        let mut opening = HashMap::new();
        let mut known = Vec::new();
        let mut places = Vec::new();
        for view in commands {
            let session = SessionId(*view.session);
            let key = if let Some(key) = view.opening_key() {
                Some(*opening.entry(session).or_insert(*key))
            } else {
                let open = self.sessions.session(&session).map(|open| open.key);
                open.or_else(|| opening.get(&session).copied())
            };
            places.push(key);
            known.extend(key.map(|key| (view, key)));
        }
        let mut verdicts = self.auth.check(&known, &mut self.check).into_iter();
        let mut checked = |key: [u8; 32]| Some((key, verdicts.next()?));
        places
            .into_iter()
            .map(|key| key.and_then(&mut checked))
            .collect()
    }

    /// Whether the command is signed by `key`, the one that its session has now.
    fn is_authentic(
        &mut self,
        view: &CommandView<'_>,
        key: [u8; 32],
        checked: Option<([u8; 32], bool)>,
    ) -> bool {
        match checked {
            _ if !self.auth.is_signed() => true,
            Some((of, is_good)) if of == key => is_good,
            // The table gave another key than stood to be expected before the block.
            _ => self.auth.check(&[(*view, key)], &mut self.check) == [true],
        }
    }

    /// Says where the sessions stand of whose commands one was not what a pool takes it for.
    fn tell_corrections(&mut self, results: &mut BlockResults) {
        let mut changed = std::mem::take(&mut self.changed);
        // Nothing is refused so in a chain without signatures.
        if self.auth.is_signed() {
            let refused = |result: &&CommandResult| result.outcome == Outcome::BadSignature;
            changed.extend(results.commands.iter().filter(refused).map(|r| r.session));
        }
        let mut told = HashSet::new();
        for session in changed.drain(..).filter(|session| told.insert(*session)) {
            let known = self.sessions.session(&session);
            results.corrections.push(Correction {
                session,
                last_seq: known.map(|known| known.last_seq),
                has_ended: self.sessions.has_ended(&session),
            });
        }
        self.changed = changed;
    }

    /// Tells the application of the sessions that have been silent for too long; a bounded number,
    /// the others with the next block.
    fn time_out_sessions(&mut self, results: &mut BlockResults) {
        for _ in 0..TIMEOUTS_PER_BLOCK {
            if self.block_outputs.len() >= TIMEOUT_OUTPUTS_PER_BLOCK {
                return;
            }
            let Some(session) = self.sessions.time_out(self.time_ns) else {
                return;
            };
            self.tell_session(None, &session, SessionEvent::TimedOut, results);
        }
    }

    /// Tells the application what befell a session that has not just spoken.
    fn tell_session(
        &mut self,
        index: Option<u32>,
        session: &Session,
        event: SessionEvent,
        results: &mut BlockResults,
    ) {
        let context = Context {
            height: self.height,
            index: index.unwrap_or(0),
            time_ns: self.time_ns,
            session: session.id,
            seq: session.last_seq,
            lane: Lane::Admin,
        };
        self.output.clear();
        let call = self.call("telling of a session", index, Some(session.id));
        applying(call, || {
            self.app.apply_session(&context, event, &mut self.output);
        });
        self.collect(index, results);
    }

    /// Ends a session that has been idle, for the one that this command opens.
    fn evict(&mut self, index: u32, victim: &SessionId, results: &mut BlockResults) {
        if let Some(session) = self.sessions.session(victim).copied() {
            // Of one that was closed it has been told.
            if !session.is_closed {
                self.tell_session(Some(index), &session, SessionEvent::Evicted, results);
            }
            self.end(victim);
        }
    }

    fn end(&mut self, session: &SessionId) {
        self.sessions.end(session, self.time_ns);
        self.auth.note_ended(session);
        self.changed.push(*session);
    }

    fn fire_timers(&mut self, results: &mut BlockResults) {
        if self
            .app_timer_ns()
            .is_some_and(|due_ns| due_ns <= self.time_ns)
        {
            self.output.clear();
            applying(self.call("firing timers", None, None), || {
                self.app
                    .apply_timers(self.height, self.time_ns, &mut self.output);
            });
            self.collect(None, results);
        }
    }

    /// Takes over what one call of the application put out.
    fn collect(&mut self, command: Option<u32>, results: &mut BlockResults) {
        for (audience, bytes) in self.output.iter() {
            let session = match &audience {
                Audience::Session(session) => Some(&session.0),
                Audience::Public => None,
            };
            self.block_outputs.push(command, session, bytes);
        }
        results.collect(command, &self.output);
    }

    fn execute_command(
        &mut self,
        index: u32,
        view: &CommandView<'_>,
        checked: Option<([u8; 32], bool)>,
        results: &mut BlockResults,
    ) -> CommandResult {
        let session = SessionId(*view.session);
        let here = Place {
            height: self.height,
            index,
        };
        let room = Room {
            height: self.height,
            now_ns: self.time_ns,
            keeps: &|id| self.keeps(index, *id),
        };
        let number = (view.seq, view.is_open());
        let standing = self.sessions.standing(&session, number, &room);
        let key = match standing {
            Standing::Next(slot) => Some(self.sessions.at(slot).key),
            Standing::Opens | Standing::OpensInstead(_) => view.opening_key().copied(),
            _ => None,
        };
        let is_refused = key.is_some_and(|key| !self.is_authentic(view, key, checked));
        let own = Mark::of(view.entry);
        let mark = self.mark_told(standing, &session, own);
        let (outcome, applied) = match standing {
            _ if is_refused => (Outcome::BadSignature, None),
            Standing::Next(slot) => {
                let last = self.apply(index, view, None, results);
                self.sessions.advance(slot, last, self.time_ns);
                self.sessions.note_mark(slot, own);
                self.heed(view);
                (Outcome::Applied, Some(here))
            }
            Standing::Opens | Standing::OpensInstead(_) => {
                if let Standing::OpensInstead(victim) = standing {
                    self.evict(index, &victim, results);
                }
                self.changed.push(session);
                let key = view.opening_key().copied().unwrap_or_default();
                let last = self.apply(index, view, Some(key), results);
                let slot = self
                    .sessions
                    .open(session, (key, view.seq), last, self.time_ns);
                self.sessions.note_mark(slot, own);
                self.auth.note_open(session, key);
                self.heed(view);
                (Outcome::Applied, Some(here))
            }
            Standing::Duplicate(last) => (Outcome::Duplicate, last.map(|last| place_of(&last))),
            Standing::Gap => (Outcome::Gap, None),
            Standing::Ended | Standing::TableFull | Standing::Untimely(_) => {
                self.changed.push(session);
                (outcome_of_refused(standing), None)
            }
        };
        CommandResult {
            session,
            seq: view.seq,
            outcome,
            applied,
            mark,
            finality_ns: 0,
        }
    }

    /// The mark of the command that the result of one with mark `own` tells of.
    fn mark_told(&self, standing: Standing, session: &SessionId, own: Mark) -> Option<Mark> {
        match standing {
            Standing::Duplicate(None) => None,
            Standing::Duplicate(Some(_)) => self.sessions.mark(session),
            _ => Some(own),
        }
    }

    /// Does what a session has just said about itself.
    fn heed(&mut self, view: &CommandView<'_>) {
        if !view.is_session() {
            return;
        }
        let key_bytes = if view.is_open() { KEY_BYTES } else { 0 };
        let session = SessionId(*view.session);
        match SessionCommand::decode(view.body.get(key_bytes..).unwrap_or_default()) {
            SessionCommand::Heartbeat => {}
            SessionCommand::Timeout(timeout_ns) => self.sessions.set_timeout(&session, timeout_ns),
            SessionCommand::Close => self.end(&session),
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
        applying_command((self.height, index, context.session), || {
            self.hand_over(&context, view, opening_key);
        });
        let first = self.block_outputs.len();
        self.collect(Some(index), results);
        LastResult {
            height: self.height,
            index,
            outputs_hash: hash_of_outputs(self.block_outputs.since(first)),
        }
    }

    /// What is known of a command that seemed to be final when it came again; none while nothing
    /// was applied under its number. A command in a final block may not be executed yet, and then
    /// not be its session's at all: its block's own results say what came of it.
    #[must_use]
    pub fn repeat_result(&self, session: SessionId, seq: u64) -> Option<CommandResult> {
        let known = self.sessions.session(&session)?;
        let (outcome, applied, mark) = match seq.cmp(&known.last_seq) {
            // What opens it anew may be final and not executed yet, with this command behind.
            Ordering::Greater => return None,
            _ if known.is_closed => (Outcome::SessionEnded, None, None),
            Ordering::Less if seq < known.base_seq => (Outcome::SessionEnded, None, None),
            Ordering::Less => (Outcome::Duplicate, None, None),
            Ordering::Equal => {
                let place = place_of(&known.last);
                (
                    Outcome::Duplicate,
                    Some(place),
                    self.sessions.mark(&session),
                )
            }
        };
        Some(CommandResult {
            session,
            seq,
            outcome,
            applied,
            mark,
            finality_ns: 0,
        })
    }

    /// What the last block put out, hash by hash.
    #[must_use]
    pub const fn block_outputs(&self) -> &BlockOutputs {
        &self.block_outputs
    }

    /// What all blocks put out, as the section of outputs has it.
    #[must_use]
    pub const fn output_history(&self) -> &OutputHistory {
        &self.history
    }

    /// What all blocks told everybody, as the section of public events has it.
    #[must_use]
    pub const fn event_history(&self) -> &EventHistory {
        &self.events
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

    /// When the application's earliest timer, or the time-out of a session, is due, by replicated
    /// time: never before a next block can be.
    #[must_use]
    pub fn timer_next_ns(&self) -> Option<u64> {
        // Time-outs that found no room in the last block, and a timer that was set into the past,
        // are due in the next one. With an earlier time no leader would make it, who takes the last
        // block for the one that fires it, and all would wait for him.
        let next_ns = self.time_ns.saturating_add(1);
        let timers = [self.app_timer_ns(), self.timeout_next_ns];
        let due_ns = timers.into_iter().flatten().min()?;
        Some(due_ns.max(next_ns))
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

const fn outcome_of_refused(standing: Standing) -> Outcome {
    match standing {
        Standing::TableFull => Outcome::TableFull,
        Standing::Untimely(Opening::TooFarAhead) => Outcome::OpeningTooFarAhead,
        Standing::Untimely(_) => Outcome::OpeningTooOld,
        _ => Outcome::SessionEnded,
    }
}

const fn place_of(last: &LastResult) -> Place {
    Place {
        height: last.height,
        index: last.index,
    }
}

/// BLAKE3 of the hashes of a command's outputs; zero for none.
fn hash_of_outputs(hashes: &[u8]) -> [u8; 32] {
    match hashes.is_empty() {
        true => [0; 32],
        false => *blake3::hash(hashes).as_bytes(),
    }
}

#[cfg(test)]
mod tests;
