//! The order stage: consensus, the command pool and the index over the log, as one struct.
//!
//! Owns the way from an input to what is to be logged, sent, signed and served, and the making of
//! proposals. Never: appends, executes, sends. The rules are in `quorate-consensus`; here its
//! effects are only carried to where they are done, in their order.

use std::collections::VecDeque;
use std::sync::Arc;

use quorate_consensus::effect::{Destination, Effect, Effects};
use quorate_consensus::input::Input;
use quorate_consensus::limits::TIME_AHEAD_MAX_NS;
use quorate_consensus::machine::{Config, Consensus, Disposition, Restored};
use quorate_consensus::message::{BlockRef, Message};
use quorate_consensus::payload::{PayloadBuilder, PayloadError};
use quorate_consensus::trust::Authenticated;
use quorate_consensus::types::{BlockId, Height, Now, ValidatorIndex, Window};
use quorate_consensus::wire::{self, DecodeError};

use super::jobs::Job;
use super::outbox::{Event, Frames};
use crate::executor::FinalBlock;
use crate::journal::{JournalOp, Journaled};
use crate::lanes::{CommandVerdict, Lanes};
use crate::state_machine::SessionId;
use crate::store::{Abandoned, Store, StoreError};

/// Blocks proposed in one turn at most.
const PROPOSALS_PER_TURN: usize = 4;
/// Requests of peers that wait to be served; a peer asks again for what is dropped.
const REQUESTS_MAX: usize = 256;
/// Bytes of blocks served in one turn.
const SERVED_BYTES_PER_TURN: usize = 2 * 1024 * 1024;

/// What the order stage asks for, in the order in which it is to be done.
#[derive(Debug, Default)]
pub struct OrderOut {
    /// For the journal.
    pub journal: Vec<JournalOp>,
    /// For peers.
    pub frames: Frames,
    /// For a worker.
    pub jobs: Vec<Job>,
    /// Commands that are final already and were submitted again: for the application stage.
    pub repeats: Vec<(SessionId, u64)>,
    /// What else happened.
    pub events: Vec<Event>,
}

/// Why this validator cannot go on. Each is damage or an error of this program.
#[derive(Debug, thiserror::Error)]
pub enum OrderError {
    /// The log cannot be believed any more.
    #[error("the log cannot be read back")]
    Store(#[from] StoreError),
    /// A block became final here that is in no log.
    #[error("the finalized block {id:?} of height {} has no body here", height.number())]
    BodyMissing {
        /// Its name.
        id: BlockId,
        /// Its height.
        height: Height,
    },
    /// A logged block is malformed, which was checked before it was voted for.
    #[error("a logged block has a malformed payload")]
    Payload(#[from] PayloadError),
}

/// What became of a peer's frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameOutcome {
    /// See the disposition; a fault in it means that the connection is to be dropped.
    Handled(Disposition),
    /// The bytes are no message: the connection is to be dropped.
    Malformed(DecodeError),
}

impl FrameOutcome {
    /// Whether the peer is to be dropped.
    #[must_use]
    pub const fn is_fault(&self) -> bool {
        matches!(
            self,
            Self::Malformed(_) | Self::Handled(Disposition::Fault(_))
        )
    }
}

/// A peer's request that waits for its turn.
#[derive(Debug)]
enum Request {
    Bodies {
        to: ValidatorIndex,
        blocks: VecDeque<BlockRef>,
    },
    History {
        to: ValidatorIndex,
        top: BlockRef,
        count: u32,
    },
    Finality {
        to: ValidatorIndex,
        at_least: Height,
    },
}

/// Consensus, pool and index of one validator.
#[derive(Debug)]
pub struct OrderStage {
    own: ValidatorIndex,
    consensus: Consensus,
    lanes: Lanes,
    store: Store,
    builder: PayloadBuilder,
    effects: Effects,
    requests: VecDeque<Request>,
    repeats: Vec<(SessionId, u64)>,
    /// What `Input::Waiting` said last.
    waiting_ns: Option<u64>,
    /// When the application's earliest timer is due, by replicated time.
    timer_next_ns: Option<u64>,
    leader: Option<ValidatorIndex>,
    /// A window was stopped since the last one was entered.
    has_stopped: bool,
    /// The pool must learn what stands between the finalized block and the new parent.
    is_rebase_due: bool,
    /// Window of the newest finalized block handed on.
    delivered_window: Window,
    /// Windows below are forgotten.
    forgotten: Window,
}

impl OrderStage {
    /// Begins where recovery left off. `lanes` has the restored sessions already.
    #[must_use]
    pub fn new(config: Config, restored: Restored, lanes: Lanes, store: Store, now: Now) -> Self {
        let own = config.own;
        let delivered_window = restored.finalized.window;
        let forgotten = restored.proven.window;
        let mut effects = Effects::new();
        let consensus = Consensus::new(config, restored, now, &mut effects);
        Self {
            own,
            consensus,
            lanes,
            store,
            builder: PayloadBuilder::new(),
            effects,
            requests: VecDeque::new(),
            repeats: Vec::new(),
            waiting_ns: None,
            timer_next_ns: None,
            leader: None,
            has_stopped: false,
            is_rebase_due: false,
            delivered_window,
            forgotten,
        }
    }

    /// Takes a frame of an authenticated peer.
    pub fn frame(&mut self, now: Now, from: ValidatorIndex, bytes: &[u8]) -> FrameOutcome {
        match wire::decode(bytes) {
            Ok(message) => {
                let message = Authenticated::assert_authenticated(from, message.into_message());
                FrameOutcome::Handled(self.input(now, Input::Message(message)))
            }
            Err(error) => FrameOutcome::Malformed(error),
        }
    }

    /// Takes an input: connections, answers of workers, shutdown.
    pub fn input(&mut self, now: Now, input: Input) -> Disposition {
        match &input {
            Input::PeerUp(peer) if self.leader == Some(*peer) => self.lanes.forward_again(),
            Input::Shutdown => self.lanes.stop_admitting(),
            _ => {}
        }
        self.consensus.handle(now, input, &mut self.effects)
    }

    /// Takes what the journal has done.
    pub fn journaled(&mut self, now: Now, done: Journaled) {
        match done {
            Journaled::Block { id, place } => self.store.note_block(id, place),
            Journaled::Mark { height, place } => self.store.note_mark(height, place),
            Journaled::Proof { height, place } => self.store.note_proof(height, place),
            Journaled::Record(record) => {
                self.input(now, Input::RecordDurable(record));
            }
            Journaled::Flushed(height) => {
                self.input(now, Input::Flushed(height));
            }
            Journaled::Lease(lease) => {
                self.input(now, Input::LeaseDurable(lease));
            }
            // For the application stage.
            Journaled::Executable(_) => {}
        }
    }

    /// Judges a client's submission; see [`Lanes::submit`].
    ///
    /// # Errors
    /// When the bytes are no run of entries.
    pub fn submit(
        &mut self,
        now: Now,
        session: Option<SessionId>,
        entries: &[u8],
        verdicts: &mut Vec<CommandVerdict>,
    ) -> Result<(), PayloadError> {
        self.lanes
            .submit(now.mono_ns, session, entries, verdicts, &mut self.repeats)
    }

    /// Says when the application's earliest timer is due, by replicated time. After each executed
    /// block, and at the start.
    pub const fn set_timer_next(&mut self, due_ns: Option<u64>) {
        self.timer_next_ns = due_ns;
    }

    /// Ends a turn of inputs: rules are judged, and what follows is appended to `out`. To be
    /// called again after the journal's answers, until nothing new comes.
    ///
    /// # Errors
    /// [`OrderError`]: this validator must stop.
    pub fn settle(&mut self, now: Now, out: &mut OrderOut) -> Result<(), OrderError> {
        self.tell_waiting(now);
        self.consensus.handle(now, Input::Settle, &mut self.effects);
        self.carry_out(now, out)?;
        let frames = &mut out.frames;
        self.lanes.forward(now.mono_ns, &mut |to, commands| {
            frames.push(to, &Message::Forward(commands));
        });
        self.lanes.drop_expired(now.mono_ns);
        out.repeats.append(&mut self.repeats);
        Ok(())
    }

    /// Proposes what waits, as far as there is room; `true` when something was proposed, and the
    /// turn is to be settled again.
    ///
    /// # Errors
    /// [`OrderError`]: this validator must stop.
    pub fn propose(&mut self, now: Now, out: &mut OrderOut) -> Result<bool, OrderError> {
        let mut has_proposed = false;
        for _ in 0..PROPOSALS_PER_TURN {
            let is_wanted = self.lanes.has_proposable() || self.timer_next_ns.is_some();
            let Some(room) = self.consensus.proposal_room().filter(|_| is_wanted) else {
                break;
            };
            if self.is_rebase_due {
                self.is_rebase_due = false;
                self.rebase(now, room.height)?;
            }
            let Some(payload) = self.next_payload(now, room.time_ns_min) else {
                break;
            };
            match self
                .consensus
                .handle(now, Input::Payload(payload), &mut self.effects)
            {
                Disposition::Applied => has_proposed = true,
                Disposition::Ignored(_) | Disposition::Fault(_) => {
                    // The payload is in no block: its commands are still to be proposed.
                    self.lanes.unchain_all();
                    break;
                }
            }
        }
        if has_proposed {
            self.carry_out(now, out)?;
        }
        Ok(has_proposed)
    }

    /// Commands that wait; or nothing, in an empty payload, when a timer of the application is due
    /// that no block so far would fire.
    fn next_payload(&mut self, now: Now, time_ns_min: u64) -> Option<Arc<[u8]>> {
        if let Some(payload) = self.lanes.build_payload(&mut self.builder) {
            return Some(payload);
        }
        let due_ns = self.timer_next_ns?;
        let is_due = due_ns <= now.wall_ns && time_ns_min <= due_ns;
        is_due.then(|| self.builder.finish())
    }

    /// Tells the pool which commands stand in the blocks that the next proposal builds on, so that
    /// they are not proposed again. Where more than one block could be the parent nothing is
    /// assumed: commands that come twice apply once.
    fn rebase(&mut self, now: Now, height: Height) -> Result<(), OrderError> {
        let delivered = self.consensus.delivered();
        let Some(mut below) = height.previous() else {
            return Ok(());
        };
        let mut chain = Vec::new();
        let mut candidates = self.store.at_height(self.delivered_window, below);
        let (first, second) = (candidates.next(), candidates.next());
        drop(candidates);
        let mut id = match (first, second) {
            (Some(id), None) => id,
            _ => return Ok(()),
        };
        while below > delivered {
            let Some(header) = self.store.header(&id).copied() else {
                return Ok(());
            };
            chain.push(id);
            id = header.parent_id;
            let Some(next) = below.previous() else { break };
            below = next;
        }
        for id in chain.iter().rev() {
            if let Some(payload) = self.store.payload(id)? {
                self.lanes.chain_block(now.mono_ns, &payload)?;
            }
        }
        Ok(())
    }

    /// A due timer counts as a waiting command, once even the slowest honest clock says so.
    fn tell_waiting(&mut self, now: Now) {
        let timer_ns = self.timer_next_ns.and_then(|due_ns| {
            let late_ns = now
                .wall_ns
                .checked_sub(due_ns.saturating_add(TIME_AHEAD_MAX_NS))?;
            Some(now.mono_ns.saturating_sub(late_ns))
        });
        let oldest_ns = match (self.lanes.oldest_waiting_ns(), timer_ns) {
            (Some(command_ns), Some(timer_ns)) => Some(command_ns.min(timer_ns)),
            (command_ns, timer_ns) => command_ns.or(timer_ns),
        };
        if oldest_ns != self.waiting_ns {
            self.waiting_ns = oldest_ns;
            self.consensus
                .handle(now, Input::Waiting { oldest_ns }, &mut self.effects);
        }
    }

    fn carry_out(&mut self, now: Now, out: &mut OrderOut) -> Result<(), OrderError> {
        let mut effects = std::mem::take(&mut self.effects);
        for effect in effects.drain(..) {
            self.carry_out_one(now, effect, out)?;
        }
        self.effects = effects;
        Ok(())
    }

    fn carry_out_one(
        &mut self,
        now: Now,
        effect: Effect,
        out: &mut OrderOut,
    ) -> Result<(), OrderError> {
        match effect {
            Effect::PersistBlock {
                id,
                header,
                payload,
            } => {
                self.store.add_block(id, header, Some(Arc::clone(&payload)));
                out.journal.push(JournalOp::Block {
                    id,
                    header,
                    payload,
                });
            }
            Effect::PersistRecord(own) => out.journal.push(JournalOp::Record(own)),
            Effect::PersistProof { point, proof } => {
                out.journal.push(JournalOp::Proof { point, proof });
            }
            Effect::PersistLease(lease) => out.journal.push(JournalOp::Lease(lease)),
            Effect::Send { to, message } => out.frames.push(to, &message),
            Effect::SignRecord { window, record } => {
                out.jobs.push(Job::SignRecord { window, record });
            }
            Effect::SignHeader { id, header } => out.jobs.push(Job::SignHeader { id, header }),
            Effect::Verify { from, claim } => out.jobs.push(Job::Verify { from, claim }),
            Effect::Finalized { id, header, path } => {
                let block = FinalBlock {
                    id,
                    header,
                    payload: self.body(id, header.height)?,
                    path: Some(path),
                    admitted: Vec::new(),
                };
                self.finalize(now, block, out)?;
            }
            Effect::Durable(height) => out.events.push(Event::Durable(height)),
            Effect::Proven(point) => {
                out.events.push(Event::Proven(point));
                self.forget(now, out)?;
            }
            Effect::ServeBodies { to, blocks } => {
                self.enqueue(Request::Bodies {
                    to,
                    blocks: blocks.into(),
                });
            }
            Effect::ServeHistory { to, top, count } => {
                self.enqueue(Request::History { to, top, count });
            }
            Effect::ServeFinality { to, at_least } => {
                self.enqueue(Request::Finality { to, at_least });
            }
            Effect::Forwarded { from, commands } => {
                if self.lanes.take_forwarded(now.mono_ns, &commands).is_err() {
                    out.events.push(Event::PeerFault(from));
                }
            }
            Effect::Entered { window, leader } => {
                self.entered(now, leader)?;
                out.events.push(Event::Entered { window, leader });
            }
            Effect::Stopped(window) => {
                self.has_stopped = true;
                self.lanes.unchain_all();
                out.events.push(Event::Stopped(window));
            }
            Effect::Evidence(evidence) => {
                let evidence = Box::new(evidence);
                out.journal.push(JournalOp::Evidence(evidence.clone()));
                out.events.push(Event::Evidence(evidence));
            }
            Effect::Alarm(alarm) => out.events.push(Event::Alarm(alarm)),
        }
        Ok(())
    }

    fn body(&self, id: BlockId, height: Height) -> Result<Arc<[u8]>, OrderError> {
        self.store
            .payload(&id)?
            .ok_or(OrderError::BodyMissing { id, height })
    }

    fn finalize(
        &mut self,
        now: Now,
        mut block: FinalBlock,
        out: &mut OrderOut,
    ) -> Result<(), OrderError> {
        self.store.finalize(block.id, &block.header);
        self.lanes
            .finalize_block(now.mono_ns, &block.payload, &mut block.admitted)?;
        let is_new_window = block.header.window > self.delivered_window;
        self.delivered_window = self.delivered_window.max(block.header.window);
        out.journal.push(JournalOp::Finalized(Box::new(block)));
        if is_new_window {
            self.forget(now, out)?;
        }
        Ok(())
    }

    /// Forgets windows that are proven and delivered.
    fn forget(&mut self, now: Now, out: &mut OrderOut) -> Result<(), OrderError> {
        let window = self.consensus.proven().window.min(self.delivered_window);
        if window <= self.forgotten {
            return Ok(());
        }
        self.forgotten = window;
        for block in self.store.prune(window) {
            self.take_abandoned(now, &block)?;
        }
        out.journal.push(JournalOp::Forget(window));
        Ok(())
    }

    /// Whoever saw a command keeps it until it is final: its block may be given up, and the
    /// validator that admitted it may be gone.
    fn take_abandoned(&mut self, now: Now, block: &Abandoned) -> Result<(), OrderError> {
        if let Some(payload) = self.store.abandoned_payload(block)? {
            self.lanes.take_abandoned(now.mono_ns, &payload)?;
        }
        Ok(())
    }

    fn entered(&mut self, now: Now, leader: ValidatorIndex) -> Result<(), OrderError> {
        let is_own = leader == self.own;
        let is_orderly = self.leader == Some(leader) && !self.has_stopped;
        self.has_stopped = false;
        self.lanes.set_leader((!is_own).then_some(leader));
        self.leader = Some(leader);
        // The same leader goes on where its last window ended: what it has chained still is.
        if is_orderly {
            return Ok(());
        }
        self.lanes.unchain_all();
        if is_own {
            for block in self.store.take_pending() {
                self.take_abandoned(now, &block)?;
            }
            self.is_rebase_due = true;
        }
        Ok(())
    }

    fn enqueue(&mut self, request: Request) {
        if self.requests.len() < REQUESTS_MAX {
            self.requests.push_back(request);
        }
    }

    /// Serves peers from memory and log, a bounded amount a turn.
    ///
    /// # Errors
    /// [`OrderError`] when the log cannot be believed: this validator must stop.
    pub fn serve(&mut self, out: &mut OrderOut) -> Result<(), OrderError> {
        let mut served_bytes = 0;
        while served_bytes < SERVED_BYTES_PER_TURN {
            let Some(request) = self.requests.pop_front() else {
                break;
            };
            match request {
                Request::Bodies { to, mut blocks } => {
                    let Some(wanted) = blocks.pop_front() else {
                        continue;
                    };
                    if let Some((header, payload)) = self.store.block(&wanted)? {
                        served_bytes += payload.len();
                        let message = Message::Block { header, payload };
                        out.frames.push(Destination::Peer(to), &message);
                    }
                    served_bytes += 1024;
                    self.requests.push_front(Request::Bodies { to, blocks });
                }
                Request::History { to, top, count } => {
                    let headers = self.store.history(&top, count as usize)?;
                    served_bytes += 256 * headers.len();
                    if !headers.is_empty() {
                        out.frames
                            .push(Destination::Peer(to), &Message::History(headers));
                    }
                }
                Request::Finality { to, at_least } => {
                    if let Some(proof) = self.store.proof(at_least)? {
                        let message = Message::Certificates(vec![proof]);
                        out.frames.push(Destination::Peer(to), &message);
                    }
                    served_bytes += 4096;
                }
            }
        }
        Ok(())
    }

    /// When the next turn is due at latest, by the monotonic clock.
    #[must_use]
    pub fn deadline_ns(&self, now: Now) -> u64 {
        if !self.requests.is_empty() {
            return 0;
        }
        let mut deadline_ns = self
            .consensus
            .next_deadline_ns()
            .min(self.lanes.forward_deadline_ns());
        if let Some(due_ns) = self.timer_next_ns.filter(|&due_ns| due_ns > now.wall_ns) {
            deadline_ns = deadline_ns.min(now.mono_ns.saturating_add(due_ns - now.wall_ns));
        }
        deadline_ns
    }

    /// The consensus, for status.
    #[must_use]
    pub const fn consensus(&self) -> &Consensus {
        &self.consensus
    }

    /// The command pool, for status.
    #[must_use]
    pub const fn lanes(&self) -> &Lanes {
        &self.lanes
    }

    /// The index over the log, for status.
    #[must_use]
    pub const fn store(&self) -> &Store {
        &self.store
    }
}
