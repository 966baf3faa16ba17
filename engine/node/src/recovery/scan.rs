//! What the records of the log add up to: the chain, own words, and the state they lead to.
//!
//! Owns the order in which records may stand, and the execution of finalized blocks again, which
//! begins when all of the log is found good: who executes cuts the archive of public events where
//! it begins, and a start that is refused changes nothing. Never: writes, or decides what the lease
//! says.

use std::collections::{BTreeMap, VecDeque};

use quorate_consensus::attestation::sections_digest;
use quorate_consensus::certificate::Certificate;
use quorate_consensus::header::Header;
use quorate_consensus::machine::Restored;
use quorate_consensus::record::{OwnRecord, Record};
use quorate_consensus::types::{BlockId, Height, Point, Window};
use quorate_consensus::validators::ValidatorSet;
use quorate_log::{Reader, RecordIndex, RecordKind, RecordRef};

use super::{RecoveryError, SnapshotBase};
use crate::executor::{Executor, FinalBlock};
use crate::journal::{FinalMark, JournalEntry, JournalStart, KIND_BASE, KIND_FINALIZED, decode};
use crate::results::BlockResults;
use crate::salvage::Salvage;
use crate::state_machine::StateMachine;
use crate::store::Store;

/// Proofs above the last finality mark that are kept while the log is read.
const PROOFS_AHEAD_MAX: usize = 1_024;

/// A block met in the log.
#[derive(Clone, Copy, Debug)]
struct Logged {
    header: Header,
    place: RecordRef,
}

/// What has been learnt from the log so far.
#[derive(Debug)]
pub(super) struct Scan {
    pub(super) store: Store,
    /// Blocks of windows from the proven one upward.
    blocks: BTreeMap<(Window, BlockId), Logged>,
    /// Newest own record of each such window.
    records: BTreeMap<Window, Record>,
    /// The highest window in which anything was said, settled since or not.
    said_in: Option<Window>,
    pub(super) finalized: Point,
    finalized_time_ns: u64,
    newest_mark: Option<RecordRef>,
    proven: Point,
    proof: Option<Certificate>,
    /// Proofs of blocks that no mark has reached yet. Bound: `PROOFS_AHEAD_MAX`.
    proofs_ahead: VecDeque<(Point, Certificate)>,
    /// Where the blocks stand that are to be executed again, by rising height.
    to_execute: Vec<RecordRef>,
    /// What they came to, for the consensus, which keeps what it needs. Bound: one for 64 of them.
    states: Vec<(Height, [u8; 32])>,
    /// Blocks up to this one are in the executor's state already.
    snapshot: Option<SnapshotBase>,
    /// Where the mark of that block stands, or the base that is of it.
    pub(super) snapshot_mark: Option<RecordRef>,
    /// Where the log begins; what stood before was pruned.
    start: RecordRef,
    /// What stood before is pruned, and no mark and no base has been met.
    is_open: bool,
}

/// Height of the block that the last mark of a log is of, or the last base; 0 without any.
pub(super) fn height_of(reader: &Reader) -> Result<u64, RecoveryError> {
    let mut height = 0;
    for record in reader.iter() {
        let record = record?;
        if ![KIND_FINALIZED, KIND_BASE].contains(&record.kind()) {
            continue;
        }
        let place = record.place();
        let entry = decode(record.kind(), &record)
            .map_err(|source| RecoveryError::Entry { place, source })?;
        if let JournalEntry::Finalized(FinalMark { header, .. })
        | JournalEntry::Base { header, .. } = entry
        {
            height = header.height.number();
        }
    }
    Ok(height)
}

impl Scan {
    pub(super) fn new(set: &ValidatorSet, store: Store, snapshot: Option<SnapshotBase>) -> Self {
        let start = store.log_start();
        Self {
            blocks: BTreeMap::new(),
            records: BTreeMap::new(),
            said_in: None,
            finalized: set.genesis(),
            finalized_time_ns: set.genesis_time_ns(),
            newest_mark: None,
            proven: set.genesis(),
            proof: None,
            proofs_ahead: VecDeque::new(),
            to_execute: Vec::new(),
            states: Vec::new(),
            snapshot,
            snapshot_mark: None,
            start,
            is_open: start.index != RecordIndex::GENESIS,
            store,
        }
    }

    /// When all is read: goes on from a snapshot that peers vouch for and the log does not reach,
    /// which it has to be told then. It came from them, or damage that was found now took what led
    /// to it, and then the start is suspect in any case (R12). Any other one was taken of what is
    /// synced, so the log has its block, or had it and lost its end.
    pub(super) fn go_on(
        &mut self,
        is_unvouched: bool,
    ) -> Result<Option<SnapshotBase>, RecoveryError> {
        let is_above = |base: &SnapshotBase| base.header.height > self.finalized.height;
        let Some(base) = self.snapshot.filter(is_above) else {
            return Ok(None);
        };
        let is_explained = base.is_fetched || is_unvouched;
        if !(base.is_certified && is_explained) {
            return Err(RecoveryError::SnapshotAhead {
                snapshot: base.header.height.number(),
                log: self.finalized.height.number(),
            });
        }
        self.begin_at(&base.header);
        Ok(Some(base))
    }

    /// The chain goes on from the block of a snapshot: what is final up to it is in no mark. What
    /// was said and what is proven stay as they are.
    fn begin_at(&mut self, header: &Header) {
        self.finalized = header.point(header.id());
        self.finalized_time_ns = header.time_ns;
        self.newest_mark = None;
        self.is_open = false;
        self.store.begin_anew();
        self.advance_proven();
    }

    fn add_base(
        &mut self,
        place: RecordRef,
        header: &Header,
        root: [u8; 32],
    ) -> Result<(), RecoveryError> {
        let order = |what| Err(RecoveryError::Order { place, what });
        if header.height <= self.finalized.height {
            return order("a base is of a block that the log has");
        }
        match self.snapshot {
            Some(base) if base.header.height == header.height => {
                if base.header != *header || base.root != root {
                    return order("a snapshot is another one than the log begins with there");
                }
                self.snapshot_mark = Some(place);
            }
            Some(base) if base.header.height > header.height => {}
            _ => {
                return Err(RecoveryError::BaseMissing {
                    first: header.height.number(),
                });
            }
        }
        self.begin_at(header);
        Ok(())
    }

    /// Reads all of the log, and executes none of it.
    pub(super) fn read_log(&mut self, reader: &Reader) -> Result<(), RecoveryError> {
        for record in reader.iter() {
            let record = record?;
            if record.kind() == RecordKind::GENESIS {
                continue;
            }
            let place = record.place();
            let entry = decode(record.kind(), &record)
                .map_err(|source| RecoveryError::Entry { place, source })?;
            match entry {
                JournalEntry::Block { header, .. } => self.add_block(header, place),
                JournalEntry::Record { own, .. } => {
                    self.said_in = self.said_in.max(Some(own.window));
                    self.records.insert(own.window, own.record);
                }
                JournalEntry::Finalized(mark) => self.add_mark(place, &mark)?,
                JournalEntry::Proof { point, proof } => self.add_proof(place, point, proof),
                JournalEntry::Base { header, root } => self.add_base(place, &header, root)?,
                JournalEntry::Evidence(_) | JournalEntry::Answer { .. } => {}
            }
        }
        Ok(())
    }

    fn add_block(&mut self, header: Header, place: RecordRef) {
        let id = header.id();
        // A block that was fetched again stands where it stood first.
        self.blocks
            .entry((header.window, id))
            .or_insert(Logged { header, place });
        self.store.add_block(id, header, None);
        self.store.note_block(id, place);
    }

    /// When all is read and found good: executes what is final above the snapshot.
    pub(super) fn execute<S: StateMachine>(
        &mut self,
        executor: &mut Executor<S>,
    ) -> Result<(), RecoveryError> {
        let mut results = BlockResults::new();
        for place in std::mem::take(&mut self.to_execute) {
            let block = self.store.read_block(place)?;
            let block = FinalBlock {
                id: block.header.id(),
                header: block.header,
                payload: block.payload,
                path: None,
                final_ns: 0,
                admitted: Vec::new(),
            };
            executor.execute(&block, &mut results)?;
            if let Some(statement) = results.statement() {
                let digest = sections_digest(&statement.sections);
                self.states.push((statement.height, digest));
            }
        }
        Ok(())
    }

    /// What is still to be had of stretches that are marked faulty.
    pub(super) fn collect_salvage(&mut self, reader: &Reader) {
        let salvage = Salvage::collect(reader, self.finalized.height);
        self.store.set_salvage(salvage);
    }

    fn add_mark(&mut self, place: RecordRef, mark: &FinalMark) -> Result<(), RecoveryError> {
        let order = |what| Err(RecoveryError::Order { place, what });
        self.check_follows(place, mark)?;
        let header = mark.header;
        let id = header.id();
        let in_state = self.snapshot.map(|base| base.header);
        let is_in_state = in_state.is_some_and(|base| header.height <= base.height);
        // The mark of a block may stand in a kept segment, and its body in a pruned one.
        if mark.block < self.start {
            if !is_in_state {
                let first = header.height.number();
                return Err(RecoveryError::BaseMissing { first });
            }
        } else {
            let found = self.store.read_header(mark.block)?;
            if found != header {
                return order("a finality mark names another block");
            }
        }
        match in_state {
            Some(base) if base.height == header.height && base != header => {
                return order("a snapshot is of another block than the log has there");
            }
            Some(base) if base.height == header.height => self.snapshot_mark = Some(place),
            Some(base) if base.height > header.height => {}
            _ => self.to_execute.push(mark.block),
        }
        self.store.finalize(id, &header);
        self.store.note_mark(header.height, place);
        self.newest_mark = Some(place);
        self.is_open = false;
        self.finalized = header.point(id);
        self.finalized_time_ns = header.time_ns;
        self.advance_proven();
        Ok(())
    }

    /// The first mark of a pruned log follows what is gone, and is of the snapshot's state.
    fn check_follows(&self, place: RecordRef, mark: &FinalMark) -> Result<(), RecoveryError> {
        let order = |what| Err(RecoveryError::Order { place, what });
        // Above a base that is gone too, no mark stands below.
        if self.is_open && mark.below.is_none_or(|below| below < self.start) {
            let first = mark.header.height;
            return match self.snapshot {
                Some(base) if base.header.height >= first => Ok(()),
                _ => Err(RecoveryError::BaseMissing {
                    first: first.number(),
                }),
            };
        }
        if mark.header.height != self.finalized.height.next() {
            return order("a finality mark skips a height");
        }
        if mark.header.parent_id != self.finalized.id {
            return order("a finalized block does not follow the one below");
        }
        if mark.below != self.newest_mark {
            return order("a finality mark does not name the one below");
        }
        Ok(())
    }

    fn add_proof(&mut self, place: RecordRef, point: Point, proof: Certificate) {
        self.store.note_proof(point.height, place);
        if self.proofs_ahead.len() == PROOFS_AHEAD_MAX {
            self.proofs_ahead.pop_front();
        }
        self.proofs_ahead.push_back((point, proof));
        self.advance_proven();
    }

    /// The newest proof at or below the last finality mark counts; what stands below its window
    /// is not needed any more.
    fn advance_proven(&mut self) {
        let mut is_new = false;
        while let Some((point, _)) = self.proofs_ahead.front() {
            if point.height > self.finalized.height {
                break;
            }
            let Some((point, proof)) = self.proofs_ahead.pop_front() else {
                break;
            };
            if point.height > self.proven.height {
                self.proven = point;
                self.proof = Some(proof);
                is_new = true;
            }
        }
        if is_new {
            let window = self.proven.window;
            self.blocks = self.blocks.split_off(&(window, BlockId::new([0; 32])));
            self.records = self.records.split_off(&window);
            // What was abandoned long ago is with the pools of those who led since.
            drop(self.store.prune(window));
        }
    }

    /// The highest window of an own record in the log.
    pub(super) const fn said_in(&self) -> Option<Window> {
        self.said_in
    }

    pub(super) fn finish(
        self,
        lease: quorate_consensus::trust::Lease,
    ) -> (Restored, Store, JournalStart) {
        let mut blocks: Vec<_> = self
            .blocks
            .iter()
            .map(|(&(_, id), logged)| (logged.place, id, logged.header))
            .collect();
        blocks.sort_by_key(|&(place, _, _)| place);
        let restored = Restored {
            lease,
            finalized: self.finalized,
            finalized_time_ns: self.finalized_time_ns,
            proven: self.proven,
            proof: self.proof,
            records: self
                .records
                .into_iter()
                .map(|(window, record)| OwnRecord { window, record })
                .collect(),
            blocks: blocks
                .into_iter()
                .map(|(_, id, header)| (id, header))
                .collect(),
            states: self.states,
        };
        let journal = JournalStart {
            blocks: self
                .blocks
                .into_iter()
                .map(|((window, id), logged)| (id, (window, logged.place)))
                .collect(),
            newest_mark: self.newest_mark,
        };
        (restored, self.store, journal)
    }
}

#[cfg(test)]
#[path = "scan_tests.rs"]
mod tests;
