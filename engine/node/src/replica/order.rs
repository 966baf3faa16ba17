//! The order stage: consensus, the command pool and the index over the log, as one struct.
//!
//! Owns the way from an input to what is to be logged, sent, signed and served, and the making of
//! proposals. Never: appends, executes, sends. The rules are in `quorate-consensus`; here its
//! effects are only carried to where they are done, in their order.

use std::collections::BTreeSet;
use std::sync::Arc;

use quorate_consensus::effect::Effects;
use quorate_consensus::input::Input;
use quorate_consensus::machine::{
    Config, Consensus, Disposition, PeerFault, ProposalRoom, Restored,
};
use quorate_consensus::message::Message;
use quorate_consensus::payload::{Commands, Lane, PayloadBuilder, PayloadError};
use quorate_consensus::trust::Authenticated;
use quorate_consensus::types::{BlockId, Height, Index, Now, ValidatorIndex, Window};
use quorate_consensus::wire::{self, DecodeError};

use super::abscissas::Telling;
use super::checks::Check;
use super::effects::LIVE_BLOCKS_MIN;
use super::flight::Flight;
use super::forward_queue::CheckedForward;
use super::forwards::{ForwardIntake, ForwardedRun};
use super::jobs::Job;
use super::outbox::{Event, Frames};
use super::serve::Requests;
use super::unsettled::{UnsettledBlocks, unsettled_bytes_max};
use super::waiting::timer_waits_since_ns;
use crate::auth::CommandAuth;
use crate::journal::{JournalOp, Journaled};
use crate::lanes::{CommandVerdict, Lanes};
use crate::results::Correction;
use crate::state_machine::SessionId;
use crate::store::{LoggedBlock, Store, StoreError};
use crate::trace::{Moment, Trace};

/// Blocks proposed in one turn at most.
const PROPOSALS_PER_TURN: usize = 4;
/// What the order stage asks for, in the order in which it is to be done.
#[derive(Debug, Default)]
pub struct OrderOut {
    /// For the journal.
    pub journal: Vec<JournalOp>,
    /// For peers.
    pub frames: Frames,
    /// For a worker.
    pub jobs: Vec<Job>,
    /// Clients' signatures that are to be checked, in a chain whose commands carry them.
    pub checks: Vec<Check>,
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

/// Consensus, pool and index of one validator.
#[derive(Debug)]
pub struct OrderStage {
    pub(super) own: ValidatorIndex,
    pub(super) consensus: Consensus,
    pub(super) lanes: Lanes,
    pub(super) store: Store,
    pub(super) builder: PayloadBuilder,
    pub(super) effects: Effects,
    pub(super) requests: Requests,
    pub(super) repeats: Vec<(SessionId, u64)>,
    /// Answers out of damaged parts of the own log, in the name of the peer that was to be asked.
    pub(super) answers: Vec<(ValidatorIndex, Message)>,
    /// Blocks that were asked for to repair the log. Bound: one request.
    pub(super) mending: BTreeSet<BlockId>,
    /// Those that have come.
    pub(super) mended: Vec<LoggedBlock>,
    /// What `Input::Waiting` said last.
    pub(super) waiting_ns: Option<u64>,
    /// When the application's earliest timer is due, by replicated time.
    pub(super) timer_next_ns: Option<u64>,
    pub(super) leader: Option<ValidatorIndex>,
    /// A window was stopped since the last one was entered.
    pub(super) has_stopped: bool,
    /// The pool must learn what stands between the finalized block and the new parent.
    pub(super) is_rebase_due: bool,
    /// Window of the newest finalized block handed on.
    pub(super) delivered_window: Window,
    /// Windows below are forgotten.
    pub(super) forgotten: Window,
    /// So many live blocks are looked at whether anybody counts on them.
    pub(super) live_max: usize,
    /// Whether commands carry their clients' signatures.
    pub(super) is_signed: bool,
    pub(super) telling: Telling,
    pub(super) intake: ForwardIntake,
    /// Peers whose certificates, or what else they passed on, were found to be bad.
    pub(super) faulty: BTreeSet<ValidatorIndex>,
    /// Final blocks that are not executed yet, or of which that is not known.
    pub(super) unsettled: UnsettledBlocks,
    pub(super) flight: Flight,
    /// Until when what waits is held back for a larger block.
    pub(super) held_until_ns: Option<u64>,
    pub(super) trace: Trace,
}

impl OrderStage {
    /// Begins where recovery left off. `lanes` has the restored sessions already.
    #[must_use]
    pub fn new(config: Config, restored: Restored, lanes: Lanes, store: Store, now: Now) -> Self {
        let own = config.own;
        let delivered_window = restored.finalized.window;
        let forgotten = restored.proven.window;
        let is_signed = lanes.is_signed();
        let intake = ForwardIntake::new(config.set.len(), lanes.forward_bytes_max());
        let builder = PayloadBuilder::with_rules(*config.set.block_rules());
        let mut effects = Effects::new();
        let consensus = Consensus::new(config, restored, now, &mut effects);
        Self {
            own,
            consensus,
            lanes,
            store,
            builder,
            effects,
            requests: Requests::default(),
            repeats: Vec::new(),
            answers: Vec::new(),
            mending: BTreeSet::new(),
            mended: Vec::new(),
            waiting_ns: None,
            timer_next_ns: None,
            leader: None,
            has_stopped: false,
            is_rebase_due: false,
            delivered_window,
            forgotten,
            live_max: LIVE_BLOCKS_MIN,
            is_signed,
            telling: Telling::default(),
            intake,
            faulty: BTreeSet::new(),
            unsettled: UnsettledBlocks::new(unsettled_bytes_max(is_signed)),
            flight: Flight::default(),
            held_until_ns: None,
            trace: Trace::default(),
        }
    }

    /// With what is found out about commands' signatures, which leaders tell the others.
    #[must_use]
    pub fn telling(mut self, auth: &Arc<CommandAuth>) -> Self {
        self.telling = Telling::of(auth);
        self
    }

    /// With another bound on the bytes of final blocks that wait for their execution before votes
    /// are held.
    #[must_use]
    pub const fn holding_votes_beyond(mut self, bytes_max: usize) -> Self {
        self.unsettled.set_bytes_max(bytes_max);
        self
    }

    /// Stamps the way of blocks from here on.
    pub(crate) const fn trace(&self) -> &Trace {
        &self.trace
    }

    pub(crate) fn set_trace(&mut self, trace: Trace) {
        self.trace = trace;
    }

    /// Takes a frame of an authenticated peer.
    pub fn frame(&mut self, now: Now, from: ValidatorIndex, bytes: &[u8]) -> FrameOutcome {
        let at_ns = self.trace.now_ns();
        match wire::decode(bytes) {
            Ok(message) => {
                let message = message.into_message();
                self.trace.received(at_ns, from, &message);
                let message = Authenticated::assert_authenticated(from, message);
                FrameOutcome::Handled(self.input(now, Input::Message(message)))
            }
            Err(error) => FrameOutcome::Malformed(error),
        }
    }

    /// Takes an input: connections, answers of workers, shutdown.
    pub fn input(&mut self, now: Now, input: Input) -> Disposition {
        match &input {
            Input::Message(message) if self.keep_mended(message) => return Disposition::Applied,
            Input::PeerUp(peer) if self.leader == Some(*peer) => self.lanes.forward_again(),
            Input::Ask { blocks, .. } => self.expect_mended(blocks),
            Input::Shutdown => self.lanes.stop_admitting(),
            _ => {}
        }
        let peer_up = match &input {
            Input::PeerUp(peer) => Some(*peer),
            _ => None,
        };
        let refused = match &input {
            Input::Refused { from, .. } => Some(*from),
            _ => None,
        };
        let disposition = self.consensus.handle(now, input, &mut self.effects);
        if let Some(peer) = peer_up {
            self.tell_lost_proof(peer);
        }
        // A bad signature of its own record is told by an alarm, and costs no connection (5.1 e).
        if disposition == Disposition::Fault(PeerFault::InvalidCertificate) {
            self.faulty.extend(refused);
        }
        disposition
    }

    /// Takes what the journal has done.
    pub fn journaled(&mut self, now: Now, done: Journaled) {
        match done {
            Journaled::Block { id, place } => self.store.note_block(id, place),
            Journaled::Mark { height, place } => self.store.note_mark(height, place),
            Journaled::Proof { height, place } => self.store.note_proof(height, place),
            Journaled::Record(record) => {
                if let Some((window, index)) = record.tip() {
                    self.trace.stamp(Moment::Journaled, window, index);
                }
                self.input(now, Input::RecordDurable(record));
            }
            Journaled::Answer(answer) => {
                self.input(now, Input::AnswerDurable(answer));
            }
            Journaled::Flushed(height) => {
                self.input(now, Input::Flushed(height));
            }
            Journaled::Lease(lease) => {
                self.input(now, Input::LeaseDurable(lease));
            }
            Journaled::Full(is_full) => self.lanes.set_disk_full(is_full),
            // For the application stage.
            Journaled::Executable(_) => {}
        }
    }

    /// Takes what a peer forwarded, once its signatures are checked; whether the peer is at fault,
    /// because the bytes are no commands. One that forwards what no client has signed is heard no
    /// more for a while.
    pub(crate) fn take_forwarded(&mut self, now: Now, forward: &CheckedForward) -> bool {
        let from = forward.run.from;
        if from == self.own {
            // Out of blocks; the pool itself made the run, so it is one.
            let (asked, good) = (&forward.run.entries, &forward.commands);
            let taken = self.lanes.take_checked(now.mono_ns, asked, good);
            // The parent of the next own block may hold them.
            self.is_rebase_due |= self.leader == Some(self.own);
            return taken.is_err();
        }
        self.lanes.note_refused(forward.refused);
        if forward.refused > 0 {
            self.intake.pause(now.mono_ns, from);
        }
        self.lanes
            .take_forwarded(now.mono_ns, from, &forward.commands)
            .is_err()
    }

    /// Blocks up to `height` are executed; what came of the one at `height` otherwise than the pool
    /// took it. Calls without corrections may be left out.
    ///
    /// # Errors
    /// When a logged block is malformed.
    pub fn settled(
        &mut self,
        now: Now,
        height: u64,
        corrections: &[Correction],
        refused: &[u32],
    ) -> Result<(), OrderError> {
        let block = self.unsettled.settle(height);
        if let Some(block) = block.filter(|_| !corrections.is_empty()) {
            let later = self.unsettled.payloads();
            self.lanes
                .correct(now.mono_ns, corrections, (&block.payload, refused), later)?;
            if !refused.is_empty() {
                let forged = Input::Forged(block.window);
                self.consensus.handle(now, forged, &mut self.effects);
            }
        }
        if self.unsettled.is_empty() {
            self.lanes.drop_losers();
        }
        Ok(())
    }

    /// Judges a client's submission, which came off its socket at `received_ns`; see
    /// [`Lanes::submit`]. In a chain of signed commands whoever calls has checked the signatures.
    ///
    /// # Errors
    /// When the bytes are no run of entries.
    pub fn submit(
        &mut self,
        (now, received_ns): (Now, u64),
        session: Option<SessionId>,
        entries: &[u8],
        verdicts: &mut Vec<CommandVerdict>,
    ) -> Result<(), PayloadError> {
        self.lanes.note_wall_time(now.wall_ns);
        let times = (now.mono_ns, received_ns);
        self.lanes
            .submit(times, session, entries, verdicts, &mut self.repeats)
    }

    /// The same for entries that have been checked, as those of a client's frame are when it is
    /// decoded.
    pub(crate) fn submit_entries(
        &mut self,
        (now, received_ns): (Now, u64),
        session: Option<SessionId>,
        commands: Commands<'_>,
        verdicts: &mut Vec<CommandVerdict>,
    ) {
        self.lanes.note_wall_time(now.wall_ns);
        let times = (now.mono_ns, received_ns);
        self.lanes
            .submit_checked(times, session, commands, verdicts, &mut self.repeats);
    }

    /// Says when the application's earliest timer is due, by replicated time. After each executed
    /// block, and at the start.
    pub const fn set_timer_next(&mut self, due_ns: Option<u64>) {
        self.timer_next_ns = due_ns;
    }

    /// What the others wait for, before the rest of a turn is judged: what follows is appended to
    /// `out`. `true` when there was something. [`settle`](Self::settle) is to be called all the
    /// same.
    ///
    /// # Errors
    /// [`OrderError`]: this validator must stop.
    pub(crate) fn hasten(&mut self, now: Now, out: &mut OrderOut) -> Result<bool, OrderError> {
        let done = self.consensus.handle(now, Input::Hasten, &mut self.effects);
        self.carry_out(now, out)?;
        Ok(done == Disposition::Applied)
    }

    /// Ends a turn of inputs: rules are judged, and what follows is appended to `out`. To be
    /// called again after the journal's answers, until nothing new comes.
    ///
    /// # Errors
    /// [`OrderError`]: this validator must stop.
    pub fn settle(&mut self, now: Now, out: &mut OrderOut) -> Result<(), OrderError> {
        self.tell_waiting(now);
        self.tell_behind(now);
        self.take_own_answers(now);
        self.consensus.handle(now, Input::Settle, &mut self.effects);
        self.carry_out(now, out)?;
        let finalized = self.consensus.finalized().height;
        self.flight.finalize(now.mono_ns, finalized);
        let frames = &mut out.frames;
        self.lanes.forward(now.mono_ns, &mut |to, commands| {
            frames.push(to, &Message::Forward(commands));
        });
        self.lanes.drop_expired(now.mono_ns);
        let from = self.own;
        let unchecked = self.lanes.take_unchecked();
        let check = |entries| Check::Forwarded(ForwardedRun::of_blocks(from, entries));
        out.checks.extend(unchecked.map(check));
        out.repeats.append(&mut self.repeats);
        out.events.extend(self.mended.drain(..).map(Event::Mended));
        let faulty = std::mem::take(&mut self.faulty);
        out.events.extend(faulty.into_iter().map(Event::PeerFault));
        Ok(())
    }

    /// Proposes what waits, as far as there is room; `true` when something was proposed, and the
    /// turn is to be settled again.
    ///
    /// # Errors
    /// [`OrderError`]: this validator must stop.
    pub fn propose(&mut self, now: Now, out: &mut OrderOut) -> Result<bool, OrderError> {
        let mut has_proposed = false;
        self.tell_behind(now);
        self.held_until_ns = None;
        for _ in 0..PROPOSALS_PER_TURN {
            let is_wanted = self.lanes.has_proposable()
                || self.timer_next_ns.is_some()
                || self.waiting_ns.is_some();
            let Some(room) = self.consensus.proposal_room().filter(|_| is_wanted) else {
                break;
            };
            if self.holds_back(now, &room) {
                break;
            }
            if self.is_rebase_due {
                self.is_rebase_due = false;
                self.rebase(now, room.parent_id, room.height)?;
            }
            let began_ns = self.trace.now_ns();
            let Some(payload) = self.next_payload(now, &room) else {
                break;
            };
            self.trace
                .stamp_at(began_ns, Moment::Proposed, room.window, room.index);
            let bytes = payload.len();
            match self
                .consensus
                .handle(now, Input::Payload(payload), &mut self.effects)
            {
                Disposition::Applied => {
                    has_proposed = true;
                    self.flight.push(now.mono_ns, room.height, bytes);
                }
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

    /// Whether what waits is to make a larger block, because own ones are on their way.
    fn holds_back(&mut self, now: Now, room: &ProposalRoom) -> bool {
        let finalized = self.consensus.finalized().height;
        if self.flight.settle_at(now.mono_ns, finalized, room) {
            // The last window ended below its own last blocks. Where one of these filled it, it was
            // closed here and nothing was stopped, so it goes on as if they stood.
            self.lanes.unchain_all();
            self.is_rebase_due = true;
        }
        let until_ns = self
            .flight
            .hold_until_ns(self.lanes.bytes(), self.lanes.hold_ns());
        self.held_until_ns = until_ns.filter(|&until_ns| until_ns > now.mono_ns);
        self.held_until_ns.is_some()
    }

    /// Commands that wait; or nothing, in an empty payload, when a timer of the application is due
    /// that no block so far would fire, or when only a block on top makes a parent final: after a
    /// failed window a block can be certified that never gets the votes for more, and the commands
    /// in it wait although none is left to be proposed.
    fn next_payload(&mut self, now: Now, room: &ProposalRoom) -> Option<Arc<[u8]>> {
        let lanes = if self.flight.is_full() {
            &Lane::ALL[..1]
        } else {
            &Lane::ALL[..]
        };
        if let Some(payload) = self.lanes.build_payload(lanes, &mut self.builder) {
            return Some(payload);
        }
        let is_due = self
            .timer_next_ns
            .is_some_and(|due_ns| due_ns <= now.wall_ns && room.time_ns_min <= due_ns);
        let is_parent_final = room.height <= self.consensus.finalized().height.next();
        let carries = room.index == Index::ZERO && !is_parent_final && self.waiting_ns.is_some();
        (is_due || carries).then(|| self.builder.finish())
    }

    /// Tells the pool which commands stand in the blocks that the next proposal builds on, so that
    /// they are not proposed again.
    fn rebase(&mut self, now: Now, parent: BlockId, height: Height) -> Result<(), OrderError> {
        let delivered = self.consensus.delivered();
        let Some(mut below) = height.previous() else {
            return Ok(());
        };
        let mut chain = Vec::new();
        let mut id = parent;
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

    /// A due timer counts as a waiting command.
    fn tell_waiting(&mut self, now: Now) {
        let finalized = self.consensus.finalized().height.number();
        let undelivered = finalized.saturating_sub(self.consensus.delivered().number());
        let timer_ns = timer_waits_since_ns(self.timer_next_ns, undelivered, now);
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

    /// Says whether more is final here and not executed than votes may add to (2.9).
    fn tell_behind(&mut self, now: Now) {
        if let Some(is_behind) = self.unsettled.news() {
            let behind = Input::Behind(is_behind);
            self.consensus.handle(now, behind, &mut self.effects);
        }
    }

    /// When the next turn is due at latest, by the monotonic clock.
    #[must_use]
    pub fn deadline_ns(&self, now: Now) -> u64 {
        let is_unsaid = self.unsettled.has_news();
        if is_unsaid || !self.requests.is_empty() || !self.answers.is_empty() {
            return 0;
        }
        let mut deadline_ns = self
            .consensus
            .next_deadline_ns()
            .min(self.lanes.forward_deadline_ns())
            .min(self.held_until_ns.unwrap_or(u64::MAX));
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

    /// Bytes of final blocks of which it is not known that they are executed; a small block counts
    /// for more than it has.
    #[must_use]
    pub const fn unsettled_bytes(&self) -> usize {
        self.unsettled.bytes()
    }

    /// Whether so many of them wait that nothing more should come in.
    pub(super) const fn is_full(&self) -> bool {
        self.unsettled.is_full()
    }

    /// The command pool, for status.
    #[must_use]
    pub const fn lanes(&self) -> &Lanes {
        &self.lanes
    }

    /// Runs of commands that peers forwarded and that found no room: they come again.
    #[must_use]
    pub const fn forwards_left_out(&self) -> u64 {
        self.intake.left_out()
    }

    /// The index over the log, for status.
    #[must_use]
    pub const fn store(&self) -> &Store {
        &self.store
    }
}
