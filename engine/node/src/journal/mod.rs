//! The journal: what must outlive a crash, in the order of R11, and when it is durable.
//!
//! Owns the appending end of the log. Operations are appended in the order in which they come, so
//! a block stands before the record that names it; a record is answered with [`Durable`] when it
//! is as durable as configured, and only that lets it leave this machine. One sync covers all that
//! was appended before it. The blocking calls - sync and lease file - are handed out as
//! [`SyncJob`]s for a thread of their own, or for the caller to do inline. Never: decides what is
//! logged, blocks, reads history.

mod backlog;
mod entry;
mod sync;

pub(crate) use backlog::RETRY_NS;
pub use entry::{
    BLOCK_ENTRY_BYTES, ENTRY_VERSION, EntryError, FinalMark, JournalEntry, KIND_ANSWER, KIND_BASE,
    KIND_BLOCK, KIND_EVIDENCE, KIND_FINALIZED, KIND_PROOF, KIND_RECORD, decode,
};
pub(crate) use entry::{encode_base, encode_block, encode_mark, encode_record};
pub(crate) use sync::{EXIT_DISK_FAILED, EXIT_UNNOTED};
pub use sync::{SyncDone, SyncError, SyncJob, SyncWorker};

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use quorate_consensus::certificate::Certificate;
use quorate_consensus::evidence::Evidence;
use quorate_consensus::header::Header;
use quorate_consensus::machine::Durability;
use quorate_consensus::message::OwnAnswer;
use quorate_consensus::record::OwnRecord;
use quorate_consensus::trust::{Durable, Lease};
use quorate_consensus::types::{BlockId, Epoch, Height, Point, Window};
use quorate_log::{LogEnd, LogError, RecordIndex, RecordKind, RecordRef, Writer};

use self::backlog::Backlog;
use crate::executor::FinalBlock;

/// One thing to log.
#[derive(Clone, Debug)]
pub enum JournalOp {
    /// A block, before any record that names it.
    Block {
        /// Its name.
        id: BlockId,
        /// Its header.
        header: Header,
        /// The payload that the header names: the log believes the hash.
        payload: Arc<[u8]>,
    },
    /// An own vote record.
    Record(OwnRecord),
    /// An own answer to a validator that lost its disk (R13).
    Answer(OwnAnswer),
    /// A block is final here; in height order, its block logged before.
    Finalized(FinalBlock),
    /// A finality proof.
    Proof {
        /// The block proven.
        point: Point,
        /// The proof.
        proof: Certificate,
    },
    /// Proof of misbehaviour.
    Evidence(Box<Evidence>),
    /// A new lease for the lease file.
    Lease(Lease),
    /// Logged blocks of windows below this one are final or never will be.
    Forget(Window),
    /// These logged blocks are logged again before they are final.
    ForgetBlocks(Vec<BlockId>),
}

impl JournalOp {
    /// Bytes of the payload that it holds.
    pub(crate) fn payload_bytes(&self) -> usize {
        match self {
            Self::Block { payload, .. } => payload.len(),
            Self::Finalized(block) => block.payload.len(),
            _ => 0,
        }
    }
}

/// What the journal has done.
#[derive(Debug)]
pub enum Journaled {
    /// A block stands in the log.
    Block {
        /// Its name.
        id: BlockId,
        /// Where it stands.
        place: RecordRef,
    },
    /// A finality mark stands in the log.
    Mark {
        /// Height of the block.
        height: Height,
        /// Where the mark stands.
        place: RecordRef,
    },
    /// A finalized block stands in the log with its mark: the application may have it.
    Executable(FinalBlock),
    /// A finality proof stands in the log.
    Proof {
        /// Height of the block proven.
        height: Height,
        /// Where the proof stands.
        place: RecordRef,
    },
    /// An own record is as durable as configured.
    Record(Durable<OwnRecord>),
    /// An own answer is as durable as configured.
    Answer(Durable<OwnAnswer>),
    /// A proof and everything before it is on the disk.
    Flushed(Height),
    /// The lease file holds this lease.
    Lease(Durable<Lease>),
    /// The disk is full: what is handed over from now on waits. Or it is not any more.
    Full(bool),
}

/// Why the journal takes nothing more. All of these end voting for this run.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The log refused.
    #[error("the log takes nothing more")]
    Log(#[from] LogError),
    /// A block is said to be final that was never logged: an error of this program.
    #[error("the finalized block {id:?} of height {} was never logged", height.number())]
    BlockMissing {
        /// Its name.
        id: BlockId,
        /// Its height.
        height: Height,
    },
    /// The disk is full, and more waits for room than may wait.
    #[error("the disk is full and too much waits for room")]
    Full,
    /// A blocking call failed.
    #[error("the disk refused")]
    Sync(#[from] SyncError),
}

/// What waits for a sync.
#[derive(Debug)]
enum Waiting {
    Record(OwnRecord),
    Answer(OwnAnswer),
    Proof(Height),
}

/// Where the journal goes on, as recovery found it.
#[derive(Debug, Default)]
pub struct JournalStart {
    /// Logged blocks that may still become final.
    pub blocks: HashMap<BlockId, (Window, RecordRef)>,
    /// The newest finality mark.
    pub newest_mark: Option<RecordRef>,
}

/// The appending end of one validator's log.
#[derive(Debug)]
pub struct Journal {
    writer: Writer,
    durability: Durability,
    epoch: Epoch,
    flush_ns: u64,
    /// Logged blocks that may still become final; those of windows below the newest proof go.
    blocks: HashMap<BlockId, (Window, RecordRef)>,
    newest_mark: Option<RecordRef>,
    /// In log order.
    waiting: VecDeque<(RecordIndex, Waiting)>,
    /// When the oldest record that no sync covers was appended.
    unsynced_since_ns: Option<u64>,
    is_sync_urgent: bool,
    is_syncing: bool,
    lease_wanted: Option<Lease>,
    is_leasing: bool,
    /// A lease that found no room on the disk is not tried again before this.
    lease_due_ns: u64,
    is_lease_refused: bool,
    backlog: Backlog,
    scratch: Vec<u8>,
}

impl Journal {
    /// Goes on where recovery stopped. `flush_ns` bounds how long anything stays unsynced.
    #[must_use]
    pub fn new(
        writer: Writer,
        start: JournalStart,
        durability: Durability,
        epoch: Epoch,
        flush_ns: u64,
    ) -> Self {
        Self {
            writer,
            durability,
            epoch,
            flush_ns,
            blocks: start.blocks,
            newest_mark: start.newest_mark,
            waiting: VecDeque::new(),
            unsynced_since_ns: None,
            is_sync_urgent: false,
            is_syncing: false,
            lease_wanted: None,
            is_leasing: false,
            lease_due_ns: 0,
            is_lease_refused: false,
            backlog: Backlog::default(),
            scratch: Vec::new(),
        }
    }

    /// Appends one thing; what is complete with that is appended to `done`. On a full disk it waits
    /// instead, and everything after it ([`Self::retry`]).
    ///
    /// # Errors
    /// [`JournalError`]: the validator must not vote any more in this run.
    pub fn append(
        &mut self,
        now_ns: u64,
        op: JournalOp,
        done: &mut Vec<Journaled>,
    ) -> Result<(), JournalError> {
        self.append_all(now_ns, [op], done)
    }

    /// Appends several, of which the log gets what it can with one call. Nothing of `done` may be
    /// used before this returns.
    ///
    /// # Errors
    /// As of [`Self::append`]; those before the one that failed are appended.
    pub fn append_all(
        &mut self,
        now_ns: u64,
        ops: impl IntoIterator<Item = JournalOp>,
        done: &mut Vec<Journaled>,
    ) -> Result<(), JournalError> {
        let (was_full, before) = (!self.backlog.is_empty(), done.len());
        let mut ops = ops.into_iter();
        let staged = ops.try_for_each(|op| self.stage(now_ns, op, done));
        if !self.backlog.is_holding() {
            self.commit(now_ns, before, done)?;
        }
        self.tell_full(was_full, done);
        staged
    }

    /// Writes what is staged. What it completes, from this place of `done` on, waits when that is
    /// refused.
    fn commit(
        &mut self,
        now_ns: u64,
        from: usize,
        done: &mut Vec<Journaled>,
    ) -> Result<(), JournalError> {
        match self.writer.commit() {
            Ok(()) => Ok(()),
            Err(error) => {
                self.put_off(now_ns, error)?;
                self.backlog.hold(done.drain(from..));
                Ok(())
            }
        }
    }

    /// Says so when the disk was found to be full, or not to be any more.
    fn tell_full(&self, was_full: bool, done: &mut Vec<Journaled>) {
        let is_full = !self.backlog.is_empty();
        if is_full != was_full {
            done.push(Journaled::Full(is_full));
        }
    }

    fn stage(
        &mut self,
        now_ns: u64,
        op: JournalOp,
        done: &mut Vec<Journaled>,
    ) -> Result<(), JournalError> {
        let is_first = self.backlog.is_empty();
        let refused = if is_first {
            self.try_append(now_ns, op, done)?
        } else {
            Some(op)
        };
        let Some(op) = refused else { return Ok(()) };
        if self.backlog.push(op) {
            Ok(())
        } else {
            Err(JournalError::Full)
        }
    }

    /// Appends what waits for room, when it is time to try.
    ///
    /// # Errors
    /// As [`Self::append`].
    pub fn retry(&mut self, now_ns: u64, done: &mut Vec<Journaled>) -> Result<(), JournalError> {
        let was_full = !self.backlog.is_empty();
        if !self.commit_held(now_ns, done)? {
            return Ok(());
        }
        let before = done.len();
        let staged = self.stage_again(now_ns, done);
        self.commit(now_ns, before, done)?;
        if was_full && self.backlog.is_empty() {
            tracing::warn!("there is room on the disk again");
        }
        self.tell_full(was_full, done);
        staged
    }

    /// Writes what was staged when there was no room, when it is time to try: nothing is appended
    /// before it. `false` when it still waits.
    fn commit_held(
        &mut self,
        now_ns: u64,
        done: &mut Vec<Journaled>,
    ) -> Result<bool, JournalError> {
        if !self.backlog.is_holding() {
            return Ok(true);
        }
        if !self.backlog.is_due(now_ns) {
            return Ok(false);
        }
        if let Err(error) = self.writer.commit() {
            self.put_off(now_ns, error)?;
            return Ok(false);
        }
        self.backlog.release(done);
        self.unsynced_since_ns.get_or_insert(now_ns);
        self.is_sync_urgent |= !self.waiting.is_empty();
        Ok(true)
    }

    fn stage_again(&mut self, now_ns: u64, done: &mut Vec<Journaled>) -> Result<(), JournalError> {
        while let Some(op) = self.backlog.pop(now_ns) {
            if let Some(op) = self.try_append(now_ns, op, done)? {
                self.backlog.put_back(op);
            }
        }
        Ok(())
    }

    /// Gives the operation back when there is no room for it.
    fn try_append(
        &mut self,
        now_ns: u64,
        op: JournalOp,
        done: &mut Vec<Journaled>,
    ) -> Result<Option<JournalOp>, JournalError> {
        let mut head = std::mem::take(&mut self.scratch);
        head.clear();
        let outcome = self.append_with(now_ns, &op, &mut head, done);
        self.scratch = head;
        match (outcome, op) {
            (Ok(()), JournalOp::Finalized(block)) => done.push(Journaled::Executable(block)),
            (Ok(()), _) => {}
            (Err(JournalError::Log(error)), op) => {
                self.put_off(now_ns, error)?;
                return Ok(Some(op));
            }
            (Err(error), _) => return Err(error),
        }
        Ok(None)
    }

    /// What the log refused waits: for room, or for the end of this run.
    fn put_off(&mut self, now_ns: u64, error: LogError) -> Result<(), JournalError> {
        match error {
            LogError::NoSegment { source } | LogError::NoRoom { source }
                if backlog::is_for_want_of_room(&source) =>
            {
                if self.backlog.is_empty() {
                    tracing::error!(%source, "the disk is full: nothing is logged until there is room");
                }
                self.backlog.wait(now_ns);
            }
            LogError::Poisoned | LogError::SyncFailed { .. } | LogError::WriteFailed { .. } => {
                if let LogError::WriteFailed { source } = &error {
                    tracing::error!(%source, "the log cannot be written");
                }
                // Nothing is appended any more. Whoever makes the syncs says so when it has left
                // its note for the next start, which must not be outrun by the end of this one.
                self.backlog.wait(u64::MAX);
                self.is_sync_urgent = true;
            }
            error => return Err(error.into()),
        }
        Ok(())
    }

    /// Nothing has happened when this fails.
    fn append_with(
        &mut self,
        now_ns: u64,
        op: &JournalOp,
        head: &mut Vec<u8>,
        done: &mut Vec<Journaled>,
    ) -> Result<(), JournalError> {
        match op {
            JournalOp::Block {
                id,
                header,
                payload,
            } => {
                encode_block(header, head);
                // The consensus has made this hash from the payload, or held it against that.
                let hash = Some(&header.payload_hash);
                let place = self.write_hashed(now_ns, KIND_BLOCK, &[head, payload], hash)?;
                self.blocks.insert(*id, (header.window, place));
                done.push(Journaled::Block { id: *id, place });
            }
            JournalOp::Record(own) => self.append_record(now_ns, own, head, done)?,
            JournalOp::Answer(answer) => self.append_answer(now_ns, *answer, head, done)?,
            JournalOp::Finalized(block) => {
                self.append_mark(now_ns, block.id, block.header, head, done)?;
            }
            JournalOp::Proof { point, proof } => {
                entry::encode_proof(point, proof, head);
                let place = self.write(now_ns, KIND_PROOF, &[head])?;
                self.waiting
                    .push_back((place.index, Waiting::Proof(point.height)));
                self.is_sync_urgent = true;
                done.push(Journaled::Proof {
                    height: point.height,
                    place,
                });
            }
            JournalOp::Evidence(evidence) => {
                entry::encode_evidence(evidence, head);
                self.write(now_ns, KIND_EVIDENCE, &[head])?;
            }
            JournalOp::Lease(lease) => self.lease_wanted = Some(*lease),
            JournalOp::Forget(window) => {
                self.blocks.retain(|_, (of, _)| *of >= *window);
            }
            JournalOp::ForgetBlocks(ids) => {
                for id in ids {
                    self.blocks.remove(id);
                }
            }
        }
        Ok(())
    }

    fn append_mark(
        &mut self,
        now_ns: u64,
        id: BlockId,
        header: Header,
        head: &mut Vec<u8>,
        done: &mut Vec<Journaled>,
    ) -> Result<(), JournalError> {
        let height = header.height;
        let block = self.blocks.get(&id).map(|&(_, place)| place);
        let block = block.ok_or(JournalError::BlockMissing { id, height })?;
        encode_mark(
            &FinalMark {
                header,
                block,
                below: self.newest_mark,
            },
            head,
        );
        let place = self.write(now_ns, KIND_FINALIZED, &[head])?;
        self.newest_mark = Some(place);
        done.push(Journaled::Mark { height, place });
        Ok(())
    }

    /// R11: in `sync` a record is durable after the sync that covers it, in `async` once it stands
    /// in the log's mapping, which the death of the process does not take away.
    fn append_record(
        &mut self,
        now_ns: u64,
        own: &OwnRecord,
        head: &mut Vec<u8>,
        done: &mut Vec<Journaled>,
    ) -> Result<(), JournalError> {
        encode_record(self.epoch, own, head);
        let place = self.write(now_ns, KIND_RECORD, &[head])?;
        match self.durability {
            Durability::Async => {
                done.push(Journaled::Record(Durable::assert_durable(own.clone())));
            }
            Durability::Sync => {
                let own = own.clone();
                self.waiting.push_back((place.index, Waiting::Record(own)));
                self.is_sync_urgent = true;
            }
        }
        Ok(())
    }

    /// R11: an answer of R13 is durable when a record would be.
    fn append_answer(
        &mut self,
        now_ns: u64,
        answer: OwnAnswer,
        head: &mut Vec<u8>,
        done: &mut Vec<Journaled>,
    ) -> Result<(), JournalError> {
        entry::encode_answer(self.epoch, &answer, head);
        let place = self.write(now_ns, KIND_ANSWER, &[head])?;
        match self.durability {
            Durability::Async => {
                done.push(Journaled::Answer(Durable::assert_durable_answer(answer)));
            }
            Durability::Sync => {
                self.waiting
                    .push_back((place.index, Waiting::Answer(answer)));
                self.is_sync_urgent = true;
            }
        }
        Ok(())
    }

    fn write(
        &mut self,
        now_ns: u64,
        kind: RecordKind,
        parts: &[&[u8]],
    ) -> Result<RecordRef, LogError> {
        self.write_hashed(now_ns, kind, parts, None)
    }

    /// As [`Self::write`], of parts of which the last has this hash.
    fn write_hashed(
        &mut self,
        now_ns: u64,
        kind: RecordKind,
        parts: &[&[u8]],
        body_hash: Option<&[u8; 32]>,
    ) -> Result<RecordRef, LogError> {
        let place = self.writer.stage_hashed(kind, parts, body_hash)?;
        self.unsynced_since_ns.get_or_insert(now_ns);
        Ok(place)
    }

    /// Whether votes wait for syncs (R11).
    pub(crate) fn is_awaited(&self) -> bool {
        self.durability == Durability::Sync
    }

    /// What is to be done by the sync thread now: at most one sync and one lease at a time.
    pub fn sync_jobs(&mut self, now_ns: u64, jobs: &mut Vec<SyncJob>) {
        let is_due = self.is_urgent() || self.sync_due_ns() <= now_ns;
        if !self.is_syncing && is_due {
            self.is_syncing = true;
            self.is_sync_urgent = false;
            self.unsynced_since_ns = None;
            jobs.push(SyncJob::Sync(self.writer.unsynced()));
        }
        if std::mem::take(&mut self.is_lease_refused) {
            self.lease_due_ns = now_ns.saturating_add(RETRY_NS);
        }
        if !self.is_leasing
            && self.lease_due_ns <= now_ns
            && let Some(lease) = self.lease_wanted.take()
        {
            self.is_leasing = true;
            jobs.push(SyncJob::Lease(lease));
        }
    }

    fn sync_due_ns(&self) -> u64 {
        self.unsynced_since_ns
            .map_or(u64::MAX, |since| since.saturating_add(self.flush_ns))
    }

    /// When [`sync_jobs`](Self::sync_jobs) has something at latest, by the monotonic clock.
    #[must_use]
    pub fn deadline_ns(&self) -> u64 {
        let lease_ns = match self.lease_wanted {
            Some(_) if !self.is_leasing => self.lease_due_ns,
            _ => u64::MAX,
        };
        self.sync_deadline_ns()
            .min(self.backlog.due_ns())
            .min(lease_ns)
    }

    fn sync_deadline_ns(&self) -> u64 {
        if self.is_syncing {
            // The completion wakes the caller.
            return u64::MAX;
        }
        if self.is_urgent() {
            0
        } else {
            self.sync_due_ns()
        }
    }

    /// A failure that somebody else met is noted by the sync that meets it too (R12).
    fn is_urgent(&self) -> bool {
        self.is_sync_urgent || self.writer.is_poisoned()
    }

    /// A blocking call has returned; what is complete with that is appended to `done`.
    ///
    /// # Errors
    /// [`JournalError::Sync`] when it failed.
    pub fn complete(
        &mut self,
        finished: Result<SyncDone, SyncError>,
        done: &mut Vec<Journaled>,
    ) -> Result<(), JournalError> {
        match finished? {
            SyncDone::Synced(end) => self.complete_sync(&end, done),
            SyncDone::LeaseRefused(lease) => {
                self.is_leasing = false;
                self.is_lease_refused = true;
                self.lease_wanted.get_or_insert(lease);
            }
            SyncDone::Leased(lease) => {
                self.is_leasing = false;
                done.push(Journaled::Lease(Durable::assert_durable_lease(lease)));
            }
        }
        Ok(())
    }

    fn complete_sync(&mut self, end: &LogEnd, done: &mut Vec<Journaled>) {
        self.is_syncing = false;
        while self
            .waiting
            .front()
            .is_some_and(|(index, _)| *index < end.index)
        {
            let Some((_, waiting)) = self.waiting.pop_front() else {
                break;
            };
            done.push(match waiting {
                Waiting::Record(own) => Journaled::Record(Durable::assert_durable(own)),
                Waiting::Answer(answer) => {
                    Journaled::Answer(Durable::assert_durable_answer(answer))
                }
                Waiting::Proof(height) => Journaled::Flushed(height),
            });
        }
        // What came while the disk was busy waits for the next sync, and what has no room for some.
        let written = self.writer.unsynced().end().index;
        let next = self.waiting.front();
        self.is_sync_urgent |= next.is_some_and(|(index, _)| *index < written);
    }

    /// Whether so much waits for room on a full disk that nothing more should be taken in until
    /// some of it has found some: twice as much ends this run ([`JournalError::Full`]).
    #[must_use]
    pub fn is_crowded(&self) -> bool {
        self.backlog.is_crowded()
    }

    /// The end of the log.
    #[must_use]
    pub fn end(&self) -> LogEnd {
        self.writer.end()
    }

    /// Ends the run: the last sync, then the clean-stop marker.
    ///
    /// R12: while something waits for room there is no marker. What left bare in `sync` durability
    /// may be among it (R11), so the next start must not propose where this one did.
    ///
    /// # Errors
    /// [`SyncError`]: the next start takes this stop for a crash.
    pub fn stop(self, sync: SyncWorker) -> Result<(), SyncError> {
        if self.backlog.is_empty() {
            return sync.stop(self.writer);
        }
        tracing::warn!("stopped on a full disk: the next start takes this for a crash");
        self.stop_unmarked(sync)
    }

    /// Ends the run with a last sync and without a marker, since what was said is not all in the
    /// log.
    ///
    /// # Errors
    /// [`SyncError`]: the disk refused.
    pub(crate) fn stop_unmarked(self, sync: SyncWorker) -> Result<(), SyncError> {
        sync.stop_unmarked(&self.writer)
    }
}

#[cfg(test)]
mod tests;
