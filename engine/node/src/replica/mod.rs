//! A whole validator without threads and sockets.
//!
//! Owns the composition: order stage, journal and executor, and the way of an item from one to the
//! next. A node runs it on one thread (`shared`), or takes it apart and gives each part a thread
//! of its own (`dedicated`); a simulator runs it under virtual time. All of them run this code.
//! Never: reads a clock, waits, or opens a socket. The caller brings time and frames, and does
//! what the [`Outbox`] asks for, inline or elsewhere.
//!
//! ```text
//! frames, submissions, answers -> OrderStage -> JournalOp -> Journal -> Executable -> Executor
//!                                      ^                        |                        |
//!                                      +------ Journaled -------+                     results
//! ```
//!
//! A turn of the caller: hand over everything that came, call [`Replica::turn`], do what the outbox
//! asks for, clear it.

mod abscissas;
mod checks;
mod effects;
mod flight;
mod forward_queue;
mod forwards;
mod heal;
mod jobs;
mod order;
mod outbox;
mod passes;
mod serve;
mod unsettled;
mod waiting;

pub(crate) use checks::CHECKS_PER_TURN;
pub use checks::Check;
use checks::PieceChecks;
pub(crate) use forward_queue::{CheckedForward, ForwardQueue};
pub use forwards::ForwardedRun;
pub use jobs::{Job, run_jobs};
pub use order::{FrameOutcome, OrderError, OrderOut, OrderStage};
pub use outbox::{Event, Frame, FrameClass, Frames, Outbox};
pub(crate) use unsettled::FULL_BYTES;

use std::sync::Arc;

use quorate_consensus::input::Input;
use quorate_consensus::machine::{Config, Consensus, Disposition, Durability, TimerConfig};
use quorate_consensus::payload::{Commands, PayloadError, parse_entries};
use quorate_consensus::types::{Now, ValidatorIndex};
use quorate_consensus::validators::ValidatorSet;
use quorate_log::{DataFolder, LogConfig, Preparer, Pruner, Reader, RecordRef, Scrubber};

use crate::archive::{Archive, ArchiveConfig, Store};
use crate::auth::{Checked, CommandAuth, KeySource};
use crate::begins::FirstState;
use crate::executor::{ExecuteError, Executor, FinalBlock, check_sections};
use crate::journal::{Journal, JournalError, Journaled, SyncDone, SyncError, SyncWorker};
use crate::lanes::{CommandVerdict, Lanes, LanesConfig, Rejection, Verdict};
use crate::private::{PrivateRing, PrivateStream};
use crate::recovery::{
    OpenFolder, RecoveryConfig, RecoveryError, RecoverySummary, SnapshotBase, restore_newest,
};
use crate::snapshot::{SnapshotError, SnapshotFolder};
use crate::state_machine::{SessionId, StateMachine};
use crate::store::Served;
use crate::streams::{PublicRing, PublicStream};

/// What a replica is started with.
#[derive(Clone, Debug)]
pub struct ReplicaConfig {
    /// Which validator this is.
    pub own: ValidatorIndex,
    /// The set it belongs to.
    pub set: Arc<ValidatorSet>,
    /// When its records may leave.
    pub durability: Durability,
    /// Its timers.
    pub timers: TimerConfig,
    /// The number of this start is at least this, and above that of the last one in any case:
    /// a wall clock, for a folder that is lost.
    pub incarnation_min: u64,
    /// Random bytes of this process alone, for the nonces of R13.
    pub nonce_seed: [u8; 32],
    /// It takes snapshots at multiples of this height; 0: at none.
    pub snapshot_heights: u64,
    /// Present boot of this machine.
    pub boot_id: [u8; 16],
    /// The exact bytes of the genesis file.
    pub genesis: Arc<[u8]>,
    /// How the log is laid out.
    pub log: LogConfig,
    /// Bounds of the command pool; `sessions_max` in it bounds the session table too.
    pub lanes: LanesConfig,
    /// Bytes of payloads kept in memory for peers and delivery.
    pub cache_bytes_max: usize,
    /// Bytes of the public stream that are kept of what is executed again; 0: nothing is.
    pub public_bytes_max: usize,
    /// Bytes of the sessions' private streams that are kept; 0: nothing is.
    pub private_bytes_max: usize,
    /// Where older blocks of them are kept on disk; none: nowhere.
    pub private_archive: Option<ArchiveConfig>,
    /// Where older public ones are kept; nowhere when absent.
    pub public_archive: Option<ArchiveConfig>,
    /// Whether commands are signed (genesis), and what is found out about that.
    pub auth: Arc<CommandAuth>,
    /// Folder of the snapshots, the newest of which a start begins with; none without them.
    pub snapshots: Option<SnapshotFolder>,
    /// The state that the chain begins with, when it goes on from another one; its genesis height
    /// is that of the set.
    pub first: Option<FirstState>,
}

impl ReplicaConfig {
    /// The part of it that reading the folder takes.
    pub(crate) fn recovery(&self) -> RecoveryConfig<'_> {
        let own = self.set.validator(self.own);
        RecoveryConfig {
            log: self.log.clone(),
            genesis: &self.genesis,
            durability: self.durability,
            boot_id: self.boot_id,
            incarnation_min: self.incarnation_min,
            own: own.map_or([0; 32], |own| own.key),
            payload_bytes_max: self.lanes.payload_bytes_max,
            cache_bytes_max: self.cache_bytes_max,
            snapshot: None,
        }
    }
}

/// Why a replica cannot go on: it must stop voting, and its process must end.
#[derive(Debug, thiserror::Error)]
pub enum ReplicaError {
    /// The order stage.
    #[error("{0}")]
    Order(#[from] OrderError),
    /// The journal.
    #[error("{0}")]
    Journal(#[from] JournalError),
    /// The executor.
    #[error("{0}")]
    Execute(#[from] ExecuteError),
}

/// The parts of a replica, for a caller that gives each a thread.
#[derive(Debug)]
pub struct Parts<S> {
    /// Consensus, pool, index.
    pub order: OrderStage,
    /// The appending end of the log.
    pub journal: Journal,
    /// Session table and application.
    pub executor: Executor<S>,
}

/// What an opened replica leaves to its caller.
#[derive(Debug)]
pub struct Companions {
    /// Makes the blocking calls.
    pub sync: SyncWorker,
    /// Makes the next log segment ready; wants a thread of its own, or a call now and then.
    pub preparer: Preparer,
    /// Reads the log, for a shadow.
    pub reader: Reader,
    /// Removes the oldest segments of the log.
    pub pruner: Pruner,
    /// Looks at what the disk has of the log.
    pub scrubber: Scrubber,
    /// From which segments peers are being served.
    pub served: Arc<Served>,
    /// Height of the snapshot that the run began with, and where its block's mark stands.
    pub snapshot: Option<(u64, RecordRef)>,
    /// What recovery found.
    pub summary: RecoverySummary,
}

/// One validator, whole.
#[derive(Debug)]
pub struct Replica<S> {
    order: OrderStage,
    journal: Journal,
    executor: Executor<S>,
    out: OrderOut,
    journaled: Vec<Journaled>,
    /// The last turn ended with work left.
    is_unfinished: bool,
    /// The last turn was cut short for what others wait for.
    is_hasty: bool,
    checks: PieceChecks,
}

impl<S: StateMachine> Parts<S> {
    /// Recovers a validator from its folder. What R12 asks to be durable before the first frame
    /// is durable when this returns.
    ///
    /// # Errors
    /// [`RecoveryError`]: the validator must not start.
    pub fn open(
        folder: &DataFolder,
        config: &ReplicaConfig,
        app: S,
        now: Now,
    ) -> Result<(Self, Companions), RecoveryError> {
        check_sections(app.sections())?;
        let set = &config.set;
        let sessions_max = config.lanes.sessions_max;
        let executor = Executor::new(app, sessions_max, set.genesis_time_ns())
            .with_auth(Arc::clone(&config.auth));
        let mut executor = keeping_streams(executor, config);
        let snapshots = config.snapshots.as_ref();
        let recovery = config.recovery();
        let opened = OpenFolder::open(folder, &recovery)?;
        let reach = opened.reach()?;
        let snapshot = restore_state(config, snapshots, &mut executor, reach)?;
        if let Some(snapshots) = snapshots {
            forget_unvouched(snapshots, snapshot, reach)?;
        }
        let recovered = opened.recover(snapshot, set, &mut executor)?;
        if let Some(snapshots) = snapshots {
            settle_snapshots(snapshots, snapshot, reach.map(|_| executor.height()))?;
        }
        let lanes = restored_lanes(config, &executor);
        let consensus = Config {
            own: config.own,
            set: Arc::clone(set),
            durability: config.durability,
            timers: config.timers,
            incarnation: recovered.summary.lease.incarnation,
            nonce_seed: config.nonce_seed,
            snapshot_heights: config.snapshot_heights,
        };
        let served = recovered.store.served();
        let mut order = OrderStage::new(consensus, recovered.restored, lanes, recovered.store, now)
            .telling(&config.auth);
        order.set_timer_next(executor.timer_next_ns());
        let journal = Journal::new(
            recovered.writer,
            recovered.journal,
            config.durability,
            set.epoch(),
            config.timers.flush_ns,
        );
        let companions = Companions {
            sync: recovered.sync,
            preparer: recovered.preparer,
            reader: recovered.reader,
            pruner: recovered.pruner,
            scrubber: recovered.scrubber,
            served,
            snapshot: recovered
                .snapshot_mark
                .map(|mark| (recovered.summary.snapshot, mark)),
            summary: recovered.summary,
        };
        Ok((
            Self {
                order,
                journal,
                executor,
            },
            companions,
        ))
    }
}

/// Brings the executor to the newest whole snapshot, or else to where the chain begins.
fn restore_state<S: StateMachine>(
    config: &ReplicaConfig,
    snapshots: Option<&SnapshotFolder>,
    executor: &mut Executor<S>,
    reach: Option<u64>,
) -> Result<Option<SnapshotBase>, RecoveryError> {
    if let Some(snapshots) = snapshots
        && let Some(base) = restore_newest(snapshots, &config.set, executor, reach)?
    {
        return Ok(Some(base));
    }
    if let Some(first) = &config.first {
        first.restore(executor).map_err(Box::new)?;
    }
    Ok(None)
}

/// Removes what lies above a snapshot that a damaged log is about to go on from, since nobody
/// vouches for it or it is damaged. Before the log has that snapshot: from then on nothing says any
/// more that it was damaged, and a start after a crash would take the higher one for a sign of a
/// lost end.
fn forget_unvouched(
    snapshots: &SnapshotFolder,
    base: Option<SnapshotBase>,
    reach: Option<u64>,
) -> Result<(), SnapshotError> {
    let base = base.map(|base| base.header.height.number());
    match (base, reach) {
        (Some(base), Some(reach)) if base > reach => remove_above(snapshots, base),
        _ => Ok(()),
    }
}

fn remove_above(snapshots: &SnapshotFolder, height: u64) -> Result<(), SnapshotError> {
    let heights = snapshots.heights()?.into_iter();
    heights
        .filter(|&above| above > height)
        .try_for_each(|above| snapshots.remove(above))
}

/// The log has the snapshot that it begins with now: from here on one that does not reach it has
/// lost its end. What is above a damaged log, whose height is `damaged` then, is taken anew when
/// the log is there again, and nobody may take it for a sign of a lost end until then.
fn settle_snapshots(
    snapshots: &SnapshotFolder,
    base: Option<SnapshotBase>,
    damaged: Option<u64>,
) -> Result<(), SnapshotError> {
    if let Some(base) = base.filter(|base| base.is_fetched) {
        snapshots.settle_fetched(base.header.height.number())?;
    }
    damaged.map_or(Ok(()), |height| remove_above(snapshots, height))
}

/// Lets an executor keep the streams that are to be kept, and opens their archives.
fn keeping_streams<S: StateMachine>(executor: Executor<S>, config: &ReplicaConfig) -> Executor<S> {
    let archive = config.private_archive.clone().map(Store::open);
    let ring = PrivateRing::new(config.private_bytes_max);
    let executor = executor.keeping_private(PrivateStream::new(ring, archive));
    if config.public_bytes_max == 0 {
        return executor;
    }
    let archive = config.public_archive.clone().map(Archive::open);
    let ring = PublicRing::new(config.public_bytes_max);
    executor.keeping_public(PublicStream::new(ring, archive))
}

/// Lanes that know of every session what the state knows of it.
fn restored_lanes<S: StateMachine>(config: &ReplicaConfig, executor: &Executor<S>) -> Lanes {
    let mut lanes = Lanes::new(LanesConfig {
        is_signed: config.auth.is_signed(),
        ..config.lanes.clone()
    });
    let live = executor.sessions().iter().filter(|known| !known.is_closed);
    for session in live {
        lanes.restore_session(session.id, session.last_seq);
    }
    for session in executor.sessions().ended() {
        lanes.restore_ended(session.id, session.last_seq);
    }
    lanes.note_block_time(executor.time_ns());
    lanes
}

impl<S: StateMachine> Replica<S> {
    /// Recovers a validator from its folder; see [`Parts::open`].
    ///
    /// # Errors
    /// [`RecoveryError`]: the validator must not start.
    pub fn open(
        folder: &DataFolder,
        config: &ReplicaConfig,
        app: S,
        now: Now,
    ) -> Result<(Self, Companions), RecoveryError> {
        let (parts, companions) = Parts::open(folder, config, app, now)?;
        Ok((Self::new(parts), companions))
    }

    /// Puts the parts together.
    #[must_use]
    pub fn new(parts: Parts<S>) -> Self {
        let Parts {
            order,
            journal,
            executor,
        } = parts;
        Self {
            checks: PieceChecks::new(Arc::clone(executor.auth())),
            order,
            journal,
            executor,
            out: OrderOut::default(),
            journaled: Vec::new(),
            is_unfinished: false,
            is_hasty: false,
        }
    }

    /// A peer's authenticated connection came up.
    pub fn peer_up(&mut self, now: Now, peer: ValidatorIndex) {
        self.order.input(now, Input::PeerUp(peer));
    }

    /// A peer's connection was lost.
    pub fn peer_down(&mut self, now: Now, peer: ValidatorIndex) {
        self.order.input(now, Input::PeerDown(peer));
    }

    /// Takes a frame of an authenticated peer. After a fault its connection is to be dropped.
    pub fn peer_frame(&mut self, now: Now, from: ValidatorIndex, bytes: &[u8]) -> FrameOutcome {
        self.order.frame(now, from, bytes)
    }

    /// Takes an answer of [`run_jobs`].
    pub fn input(&mut self, now: Now, input: Input) -> Disposition {
        self.order.input(now, input)
    }

    /// Takes the answer to a [`SyncJob`](crate::journal::SyncJob).
    ///
    /// # Errors
    /// [`ReplicaError::Journal`] when the disk failed: nothing more may be sent.
    pub fn complete_sync(
        &mut self,
        now: Now,
        finished: Result<SyncDone, SyncError>,
    ) -> Result<(), ReplicaError> {
        self.journal.complete(finished, &mut self.journaled)?;
        self.hand_back(now);
        Ok(())
    }

    /// Judges a client's submission, a run of entries; verdicts are appended in order. `session`,
    /// when given, is the only one that the connection may speak for.
    ///
    /// # Errors
    /// When the bytes are no run of entries: nothing of them is taken.
    pub fn submit(
        &mut self,
        now: Now,
        session: Option<SessionId>,
        entries: &[u8],
        verdicts: &mut Vec<CommandVerdict>,
    ) -> Result<(), PayloadError> {
        if !self.checks.is_signed() {
            return self.submit_checked((now, now.mono_ns), session, entries, verdicts);
        }
        // One by one, so that a bad one does not keep the good ones out.
        let checked = self.checks.check_submission(KeySource::Known, entries);
        let sessions = self.executor.sessions();
        let has_ended = |session: &[u8; 16]| sessions.has_ended(&SessionId(*session));
        for (view, checked) in parse_entries(entries)?.zip(checked) {
            let rejection = match checked {
                Checked::Good => {
                    let times = (now, now.mono_ns);
                    self.order.submit(times, session, view.entry, verdicts)?;
                    continue;
                }
                Checked::Bad => Rejection::BadSignature,
                // The key of one that has ended is not kept.
                Checked::Unknown if has_ended(view.session) => Rejection::SessionEnded,
                // Its session has not been opened here.
                Checked::Unknown => Rejection::TooFarAhead,
            };
            verdicts.push(CommandVerdict {
                session: SessionId(*view.session),
                seq: view.seq,
                verdict: Verdict::Rejected(rejection),
            });
        }
        Ok(())
    }

    /// As [`submit`](Self::submit), for commands that were received at `received_ns` and whose
    /// signatures have been checked since.
    pub(crate) fn submit_checked(
        &mut self,
        (now, received_ns): (Now, u64),
        session: Option<SessionId>,
        entries: &[u8],
        verdicts: &mut Vec<CommandVerdict>,
    ) -> Result<(), PayloadError> {
        self.order
            .submit((now, received_ns), session, entries, verdicts)
    }

    /// The same for commands whose entries have been checked, as those of a client's frame are when
    /// it is decoded, in a chain without signatures.
    pub(crate) fn submit_unsigned(
        &mut self,
        now: Now,
        session: Option<SessionId>,
        commands: Commands<'_>,
        verdicts: &mut Vec<CommandVerdict>,
    ) {
        debug_assert!(!self.checks.is_signed(), "nobody has checked signatures");
        self.order
            .submit_entries((now, now.mono_ns), session, commands, verdicts);
    }

    /// Whether votes wait for syncs, so that no other work comes before one.
    pub(crate) fn awaits_syncs(&self) -> bool {
        self.journal.is_awaited()
    }

    /// Ends a turn: everything that follows from what was handed over since the last one, as far
    /// as it needs nobody else. What others have to do is appended to `outbox`.
    ///
    /// # Errors
    /// [`ReplicaError`]: this validator must not go on.
    pub fn turn(&mut self, now: Now, outbox: &mut Outbox) -> Result<(), ReplicaError> {
        self.turn_unchecked(now, outbox)?;
        self.serve(outbox)?;
        self.run_checks(now, outbox)
    }

    /// A turn without [what peers ask for](Self::serve) and its piece of
    /// [checks](Self::run_checks), so that what it has to send leaves before them.
    pub(crate) fn turn_unchecked(
        &mut self,
        now: Now,
        outbox: &mut Outbox,
    ) -> Result<(), ReplicaError> {
        std::mem::swap(&mut self.out.frames, &mut outbox.frames);
        let outcome = self.run_passes(now, outbox);
        std::mem::swap(&mut self.out.frames, &mut outbox.frames);
        outcome?;
        outbox.jobs.append(&mut self.out.jobs);
        outbox.events.append(&mut self.out.events);
        let repeats = self.out.repeats.drain(..);
        let known = repeats.filter_map(|(session, seq)| self.executor.repeat_result(session, seq));
        outbox.repeats.extend(known);
        self.journal.sync_jobs(now.mono_ns, &mut outbox.sync);
        Ok(())
    }

    /// Serves peers that ask for blocks, history and proofs, a bounded amount, unless the turn was
    /// cut short for what others wait for: the next one is due at once then. Each read may have to
    /// come from the disk, and no vote waits for that. Whether there is something to send.
    ///
    /// # Errors
    /// [`ReplicaError`]: this validator must not go on.
    pub(crate) fn serve(&mut self, outbox: &mut Outbox) -> Result<bool, ReplicaError> {
        if self.is_hasty || !self.order.is_asked() {
            return Ok(false);
        }
        std::mem::swap(&mut self.out.frames, &mut outbox.frames);
        let before = self.out.frames.len();
        let outcome = self.order.serve(&mut self.out);
        let has_served = self.out.frames.len() > before;
        std::mem::swap(&mut self.out.frames, &mut outbox.frames);
        outcome?;
        outbox.events.append(&mut self.out.events);
        Ok(has_served)
    }

    /// Goes on with the checks of clients' signatures, a bounded piece, and executes what is
    /// checked. What comes of it is appended to `outbox`, and the next turn is due at once then.
    pub(crate) fn run_checks(&mut self, now: Now, outbox: &mut Outbox) -> Result<(), ReplicaError> {
        if !self.checks.is_signed() {
            return Ok(());
        }
        for check in self.out.checks.drain(..) {
            self.checks.ask(check);
        }
        self.checks.turn(now.mono_ns);
        while let Some(block) = self.checks.next_executable() {
            self.execute(now, &block, outbox)?;
            self.is_unfinished = true;
        }
        while let Some(forward) = self.checks.next_forwarded() {
            if self.order.take_forwarded(now, &forward) {
                outbox.events.push(Event::PeerFault(forward.run.from));
            }
            self.is_unfinished = true;
        }
        Ok(())
    }

    fn execute(
        &mut self,
        now: Now,
        block: &FinalBlock,
        outbox: &mut Outbox,
    ) -> Result<(), ReplicaError> {
        let mut results = outbox.spare_results();
        self.executor.execute(block, &mut results)?;
        self.order
            .trace()
            .executed(results.height, results.execution_ns);
        if let Some(statement) = results.statement() {
            self.order.input(now, Input::State(statement));
        }
        if results.settles() {
            let refused = results.refused();
            self.order
                .settled(now, results.height, &results.corrections, &refused)?;
        }
        outbox.results.push(results);
        self.order.set_timer_next(self.executor.timer_next_ns());
        Ok(())
    }

    fn hand_back(&mut self, now: Now) {
        for done in self.journaled.drain(..) {
            self.order.journaled(now, done);
        }
    }

    /// Whether signatures of clients are still to be checked.
    #[must_use]
    pub fn is_checking(&self) -> bool {
        !self.checks.is_idle()
    }

    /// So much becomes final and is not executed that nothing more of anybody should be read.
    #[cfg(test)]
    pub(crate) fn fill(&mut self) {
        self.order.unsettled.fill();
    }

    /// Whether the last turn has left something that the next one does at once.
    #[must_use]
    pub const fn is_unfinished(&self) -> bool {
        self.is_unfinished
    }

    /// Whether execution is so far behind with signatures that submissions should wait: what is
    /// admitted must be checked by everybody.
    #[must_use]
    pub fn is_behind(&self) -> bool {
        self.checks.is_behind()
    }

    /// Whether so much is final here and not executed, or waits for room on a full disk, that
    /// nothing more of anybody should be read until there is less.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.order.is_full() || self.journal.is_crowded()
    }

    /// When the next turn is due at latest, by the monotonic clock; anything that comes before
    /// then is a reason for one as well.
    #[must_use]
    pub fn deadline_ns(&self, now: Now) -> u64 {
        if self.is_unfinished {
            return 0;
        }
        let checks_ns = self.checks.deadline_ns();
        let rest_ns = self.order.deadline_ns(now).min(self.journal.deadline_ns());
        rest_ns.min(checks_ns)
    }

    /// The operator wants the validator to stop: no more clients' commands, and after the next
    /// turns nothing more of its own is proposed. What is in flight may still become final.
    pub fn shut_down(&mut self, now: Now) {
        self.order.input(now, Input::Shutdown);
    }

    /// Ends the run: syncs the log and writes the clean-stop marker. No frame may be sent after.
    ///
    /// R12: where the last turn was [unfinished](Self::is_unfinished) and has left what is to be
    /// logged, there is no marker: an own block may have left before it (R11).
    ///
    /// # Errors
    /// [`SyncError`]: the next start takes this stop for a crash.
    pub fn stop(self, sync: SyncWorker) -> Result<(), SyncError> {
        if self.out.journal.is_empty() {
            return self.journal.stop(sync);
        }
        tracing::warn!("stopped within a turn: the next start takes this for a crash");
        self.journal.stop_unmarked(sync)
    }

    /// The consensus, for status.
    #[must_use]
    pub const fn consensus(&self) -> &Consensus {
        self.order.consensus()
    }

    /// The order stage, for status.
    #[must_use]
    pub const fn order(&self) -> &OrderStage {
        &self.order
    }

    /// Session table and application, for status and queries.
    #[must_use]
    pub const fn executor(&self) -> &Executor<S> {
        &self.executor
    }

    /// Session table and application, for a state root on demand.
    pub const fn executor_mut(&mut self) -> &mut Executor<S> {
        &mut self.executor
    }
}
