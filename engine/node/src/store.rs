//! Where logged blocks are found: recent ones in memory, all of them in the log.
//!
//! Owns the index over one validator's log - blocks of live windows by name, finality marks and
//! proofs by height - and a bounded cache of payloads. Answers what peers ask for and what
//! delivery needs. Never: appends, decides what is final, or believes the log without its
//! checksums.
//!
//! Finalized history is not indexed block by block: every 64th finality mark is remembered, and
//! each mark names the one below, so any height is at most 63 reads of a small record away.

use std::cell::Cell;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use quorate_consensus::certificate::Certificate;
use quorate_consensus::header::Header;
use quorate_consensus::limits::BACKFILL_HEADERS_MAX;
use quorate_consensus::message::BlockRef;
use quorate_consensus::types::{BlockId, Height, Index, Window};
use quorate_log::{LogUsage, ReadError, Reader, RecordBytes, RecordRef};

use crate::journal::{EntryError, FinalMark, JournalEntry, decode};
use crate::salvage::Salvage;

/// Heights between remembered marks.
const ANCHOR_HEIGHTS: u64 = 64;

/// Memory of a cached payload besides its bytes: two places of its name, the bookkeeping of both
/// maps and of the allocation. Blocks may be empty, and a leader may make nothing else.
const CACHED_BYTES_BESIDES: usize = 160;

/// Newest proofs, all of them remembered; of older ones enough are.
const PROOFS_MAX: usize = 8_192;

/// Heights between remembered older proofs: a validator far behind closes its gap in steps of at
/// most `BACKFILL_HEADERS_MAX`, and asks for a proof half of that ahead.
const PROOF_HEIGHTS: u64 = BACKFILL_HEADERS_MAX as u64 / 4;

/// Why the log could not answer.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The record cannot be read.
    #[error("a record of the log cannot be read")]
    Read(#[from] ReadError),
    /// The record is none of ours.
    #[error("a record of the log is not what was written")]
    Entry(#[from] EntryError),
    /// The record is of another kind than its index says.
    #[error("the record at {} is of another kind than it was", place.offset)]
    Kind {
        /// Where it stands.
        place: RecordRef,
    },
}

/// Order of live blocks: by window, then by place in it.
type LiveKey = (Window, Index, BlockId);

/// A block of a live window.
#[derive(Clone, Copy, Debug)]
struct LiveBlock {
    header: Header,
    /// Where it stands in the log; none until the journal has said so.
    place: Option<RecordRef>,
}

/// A whole block, read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoggedBlock {
    /// Its header.
    pub header: Header,
    /// Its payload.
    pub payload: Arc<[u8]>,
}

/// A block that may be given up: its commands are still to be offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Abandoned {
    /// Its name.
    pub id: BlockId,
    place: Option<RecordRef>,
}

/// The index over one validator's log.
#[derive(Debug)]
pub struct Store {
    reader: Reader,
    live: HashMap<BlockId, LiveBlock>,
    /// Live blocks that are neither final nor given to the pool again.
    pending: BTreeSet<LiveKey>,
    payloads: HashMap<BlockId, Arc<[u8]>>,
    /// Cached payloads, oldest first.
    cached: VecDeque<BlockId>,
    cached_bytes: usize,
    cache_bytes_max: usize,
    /// Marks of every 64th height, without gaps. Bound: twice those that the log still has.
    anchors: Vec<RecordRef>,
    /// Height of the first of them over 64.
    anchors_from: u64,
    newest_mark: Option<(Height, RecordRef)>,
    /// Ascending heights. Bound: `PROOFS_MAX`, and one in `PROOF_HEIGHTS` heights below those, as
    /// far down as the log goes, or twice that.
    proofs: Vec<(Height, RecordRef)>,
    /// How many of them, from the lowest, have been thinned.
    proofs_thinned: usize,
    /// What can be read of damaged parts of the log, until the chain is whole again.
    salvage: Option<Salvage>,
    served: Arc<Served>,
    /// Records that were read from the log so far.
    reads: Cell<u64>,
    /// When the log was opened, and how much had been written to it.
    opened: (Instant, u64),
}

/// From which segments finalized history was read for peers.
#[derive(Debug)]
pub struct Served(AtomicU32);

impl Default for Served {
    fn default() -> Self {
        Self(AtomicU32::new(u32::MAX))
    }
}

impl Served {
    pub(crate) fn note(&self, segment: u32) {
        self.0.fetch_min(segment, Ordering::Relaxed);
    }

    /// The lowest segment that was read since the last call; none when none was.
    pub fn take_lowest(&self) -> Option<u32> {
        let lowest = self.0.swap(u32::MAX, Ordering::Relaxed);
        (lowest != u32::MAX).then_some(lowest)
    }
}

impl Store {
    /// An empty index over a log. `cache_bytes_max` bounds the cached payloads.
    #[must_use]
    pub fn new(reader: Reader, cache_bytes_max: usize) -> Self {
        let usage = reader.usage();
        Self {
            reader,
            live: HashMap::new(),
            pending: BTreeSet::new(),
            payloads: HashMap::new(),
            cached: VecDeque::new(),
            cached_bytes: 0,
            cache_bytes_max,
            anchors: Vec::new(),
            anchors_from: 1,
            newest_mark: None,
            proofs: Vec::new(),
            proofs_thinned: 0,
            salvage: None,
            served: Arc::default(),
            reads: Cell::new(0),
            opened: (Instant::now(), usage.written_bytes),
        }
    }

    /// From which segments peers are being served.
    #[must_use]
    pub fn served(&self) -> Arc<Served> {
        Arc::clone(&self.served)
    }

    /// Records that were read from the log so far, for whoever counts what an answer costs: to find
    /// one block of history may take reads of 63 marks before it.
    #[must_use]
    pub const fn reads(&self) -> u64 {
        self.reads.get()
    }

    fn read(&self, place: RecordRef) -> Result<RecordBytes, ReadError> {
        self.count_reads(1);
        self.reader.read(place)
    }

    fn count_reads(&self, count: usize) {
        self.reads
            .set(self.reads.get().saturating_add(count as u64));
    }

    /// Bytes by which the log has grown in this run, and how long that took.
    pub(crate) fn log_growth(&self) -> (u64, Duration) {
        let (opened, before) = self.opened;
        let written = self.reader.usage().written_bytes;
        (written.saturating_sub(before), opened.elapsed())
    }

    /// Where the log begins.
    pub(crate) fn log_start(&self) -> RecordRef {
        self.reader.start()
    }

    /// How much room the log takes.
    #[must_use]
    pub fn log_usage(&self) -> LogUsage {
        self.reader.usage()
    }

    /// What is left of damaged parts of the log, for this validator and its peers.
    pub(crate) fn set_salvage(&mut self, salvage: Option<Salvage>) {
        self.salvage = salvage;
    }

    pub(crate) const fn salvage(&self) -> Option<&Salvage> {
        self.salvage.as_ref()
    }

    /// Adds a block. Its payload is cached when it is given; one that is not logged yet stays
    /// cached until it is.
    pub fn add_block(&mut self, id: BlockId, header: Header, payload: Option<Arc<[u8]>>) {
        let place = self.live_block(&id).and_then(|block| block.place);
        if self.live.insert(id, LiveBlock { header, place }).is_none() {
            self.pending.insert((header.window, header.index, id));
        }
        if let Some(payload) = payload {
            self.cache(id, payload);
        }
    }

    fn cache(&mut self, id: BlockId, payload: Arc<[u8]>) {
        let bytes = payload.len() + CACHED_BYTES_BESIDES;
        if self.payloads.insert(id, payload).is_some() {
            return;
        }
        self.cached.push_back(id);
        self.cached_bytes += bytes;
        while self.cached_bytes > self.cache_bytes_max {
            // A block that the journal has not confirmed can be had from nowhere else.
            let Some(oldest) = self.cached.front().copied() else {
                break;
            };
            if self
                .live_block(&oldest)
                .is_some_and(|block| block.place.is_none())
            {
                break;
            }
            self.cached.pop_front();
            if let Some(payload) = self.payloads.remove(&oldest) {
                self.cached_bytes -= payload.len() + CACHED_BYTES_BESIDES;
            }
        }
    }

    /// The journal has the block.
    pub fn note_block(&mut self, id: BlockId, place: RecordRef) {
        if let Some(block) = self.live.get_mut(&id) {
            block.place = Some(place);
        }
    }

    /// The block is final.
    pub fn finalize(&mut self, id: BlockId, header: &Header) {
        self.pending.remove(&(header.window, header.index, id));
    }

    /// The journal has the finality mark of a height; heights come in order.
    pub fn note_mark(&mut self, height: Height, place: RecordRef) {
        if height.number().is_multiple_of(ANCHOR_HEIGHTS) {
            if self.anchors.is_empty() {
                self.anchors_from = height.number() / ANCHOR_HEIGHTS;
            }
            self.anchors.push(place);
        }
        self.newest_mark = Some((height, place));
    }

    /// The log goes on from a snapshot: finalized history is above it, and nothing leads from there
    /// to marks that stand before.
    pub fn begin_anew(&mut self) {
        self.anchors.clear();
        self.newest_mark = None;
    }

    /// The journal has a finality proof; heights rise.
    pub fn note_proof(&mut self, height: Height, place: RecordRef) {
        if self
            .proofs
            .last()
            .is_some_and(|&(newest, _)| newest >= height)
        {
            return;
        }
        if self.proofs.len() - self.proofs_thinned >= PROOFS_MAX {
            self.thin_proofs();
        }
        self.proofs.push((height, place));
    }

    /// Of the older half of the newest proofs keeps one in `PROOF_HEIGHTS` heights.
    fn thin_proofs(&mut self) {
        let newer = self.proofs.split_off(self.proofs_thinned + PROOFS_MAX / 2);
        let older = self.proofs.split_off(self.proofs_thinned);
        for proof in older {
            let kept = self
                .proofs
                .last()
                .map_or(Height::ZERO, |&(height, _)| height);
            if proof.0 >= kept.plus(PROOF_HEIGHTS) {
                self.proofs.push(proof);
            }
        }
        self.proofs_thinned = self.proofs.len();
        self.proofs.extend(newer);
    }

    /// Forgets blocks of windows below `window`, which are final or never will be. Those that are
    /// not final are handed over first, lowest first: nobody proposes their commands again
    /// otherwise.
    pub fn prune(&mut self, window: Window) -> Vec<Abandoned> {
        let first = (window, Index::ZERO, BlockId::new([0; 32]));
        let kept = self.pending.split_off(&first);
        let gone = std::mem::replace(&mut self.pending, kept);
        let abandoned = self.abandon(gone);
        self.live.retain(|_, block| block.header.window >= window);
        self.forget_pruned();
        abandoned
    }

    /// Forgets where marks and proofs stood that the log no longer has, once these are most: so
    /// each is moved twice at most.
    fn forget_pruned(&mut self) {
        let start = self.reader.start();
        let gone = self.anchors.partition_point(|&place| place < start);
        if gone > self.anchors.len() / 2 {
            self.anchors.drain(..gone);
            self.anchors_from += gone as u64;
        }
        let gone = self.proofs.partition_point(|&(_, place)| place < start);
        if gone > self.proofs.len() / 2 {
            self.proofs.drain(..gone);
            self.proofs_thinned = self.proofs_thinned.saturating_sub(gone);
        }
    }

    /// Forgets the live blocks that are not to be kept, and names them.
    pub(crate) fn keep_if(&mut self, is_kept: impl Fn(&BlockId, &Header) -> bool) -> Vec<BlockId> {
        let gone = self
            .live
            .extract_if(|id, block| !is_kept(id, &block.header));
        let forget = |(id, block): (BlockId, LiveBlock)| {
            let LiveBlock { header, .. } = block;
            self.pending.remove(&(header.window, header.index, id));
            id
        };
        gone.map(forget).collect()
    }

    pub(crate) fn live_blocks(&self) -> usize {
        self.live.len()
    }

    /// Hands over every live block that is not final, lowest first, each once; but for those at
    /// heights that are final and not delivered, which stay.
    pub fn take_pending(&mut self, is_undelivered: impl Fn(Height) -> bool) -> Vec<Abandoned> {
        let pending = std::mem::take(&mut self.pending);
        let is_kept = |(_, _, id): &LiveKey| {
            let block = self.live_block(id);
            block.is_some_and(|block| is_undelivered(block.header.height))
        };
        let (kept, gone) = pending.into_iter().partition(is_kept);
        self.pending = kept;
        self.abandon(gone)
    }

    fn abandon(&self, pending: BTreeSet<LiveKey>) -> Vec<Abandoned> {
        let abandon = |(_, _, id): LiveKey| {
            let place = self.live_block(&id)?.place;
            Some(Abandoned { id, place })
        };
        pending.into_iter().filter_map(abandon).collect()
    }

    /// Payload of a block that was handed over; none when it was neither kept nor logged.
    ///
    /// # Errors
    /// [`StoreError`] when the log cannot be believed.
    pub fn abandoned_payload(&self, block: &Abandoned) -> Result<Option<Arc<[u8]>>, StoreError> {
        if let Some(payload) = self.payloads.get(&block.id) {
            return Ok(Some(Arc::clone(payload)));
        }
        self.payload_at(block.place)
    }

    fn live_block(&self, id: &BlockId) -> Option<&LiveBlock> {
        self.live.get(id)
    }

    /// Header of a live block.
    #[must_use]
    pub fn header(&self, id: &BlockId) -> Option<&Header> {
        self.live_block(id).map(|block| &block.header)
    }

    /// Payload of a live block, from memory or from the log; none when it is not known.
    ///
    /// # Errors
    /// [`StoreError`] when the log cannot be believed.
    pub fn payload(&self, id: &BlockId) -> Result<Option<Arc<[u8]>>, StoreError> {
        if let Some(payload) = self.payloads.get(id) {
            return Ok(Some(Arc::clone(payload)));
        }
        self.payload_at(self.live_block(id).and_then(|block| block.place))
    }

    /// The payload of a block, if it need not be read from the log.
    pub(crate) fn payload_in_memory(&self, id: &BlockId) -> Option<&[u8]> {
        self.payloads.get(id).map(|payload| &payload[..])
    }

    fn payload_at(&self, place: Option<RecordRef>) -> Result<Option<Arc<[u8]>>, StoreError> {
        let block = place.map_or(Ok(None), |place| unless_pruned(self.read_block(place)))?;
        Ok(block.map(|block| block.payload))
    }

    /// A whole block, live or of finalized history; none when this log does not have it.
    ///
    /// # Errors
    /// [`StoreError`] when the log cannot be believed.
    pub fn block(&self, wanted: &BlockRef) -> Result<Option<LoggedBlock>, StoreError> {
        if let Some(block) = self.live_block(&wanted.id) {
            let header = block.header;
            return Ok(self
                .payload(&wanted.id)?
                .map(|payload| LoggedBlock { header, payload }));
        }
        match self.mark(wanted.height)? {
            Some(mark) if mark.header.id() == wanted.id => {
                self.served.note(mark.block.offset.segment());
                unless_pruned(self.read_block(mark.block))
            }
            _ => Ok(self.salvage().and_then(|left| left.block(&wanted.id))),
        }
    }

    /// Headers of finalized history downward from a block, at most `count`; empty when the block
    /// is not in it.
    ///
    /// # Errors
    /// [`StoreError`] when the log cannot be believed.
    pub fn history(&self, top: &BlockRef, count: usize) -> Result<Vec<Header>, StoreError> {
        let left = self.salvage().map(|left| left.history(top, count));
        let mut headers = left.unwrap_or_default();
        if !headers.is_empty() {
            self.count_reads(headers.len());
            return Ok(headers);
        }
        let mut mark = self
            .mark(top.height)?
            .filter(|mark| mark.header.id() == top.id);
        while let Some(at) = mark {
            if headers.len() >= count {
                break;
            }
            headers.push(at.header);
            self.served.note(at.block.offset.segment());
            mark = self.below(&at)?;
        }
        Ok(headers)
    }

    /// The lowest remembered finality proof at or above a height.
    ///
    /// # Errors
    /// [`StoreError`] when the log cannot be believed.
    pub fn proof(&self, at_least: Height) -> Result<Option<Certificate>, StoreError> {
        // Both rise: the first one that is high enough and still there.
        let start = self.reader.start();
        let first = self
            .proofs
            .partition_point(|&(height, place)| height < at_least || place < start);
        for &(_, place) in &self.proofs[first..] {
            self.served.note(place.offset.segment());
            // The log may be pruned at any time, also since its start was looked at.
            if let Some(proof) = unless_pruned(self.read_proof(place))? {
                return Ok(Some(proof));
            }
        }
        Ok(self.salvage().and_then(|left| left.proof(at_least)))
    }

    fn read_proof(&self, place: RecordRef) -> Result<Certificate, StoreError> {
        let record = self.read(place)?;
        match decode(record.kind(), &record)? {
            JournalEntry::Proof { proof, .. } => Ok(proof),
            _ => Err(StoreError::Kind { place }),
        }
    }

    /// The finality mark of a height; none above the newest and for genesis.
    fn mark(&self, height: Height) -> Result<Option<FinalMark>, StoreError> {
        let Some((newest, newest_place)) = self.newest_mark else {
            return Ok(None);
        };
        if height > newest || height == Height::ZERO {
            return Ok(None);
        }
        // Below the first anchor there are at most 63 heights, or what was pruned.
        let anchor = height.number().div_ceil(ANCHOR_HEIGHTS);
        let anchor = usize::try_from(anchor.saturating_sub(self.anchors_from))
            .ok()
            .and_then(|anchor| self.anchors.get(anchor));
        let mut mark = unless_pruned(self.read_mark(anchor.copied().unwrap_or(newest_place)))?;
        while let Some(at) = mark.filter(|at| at.header.height > height) {
            mark = self.below(&at)?;
        }
        Ok(mark.filter(|at| at.header.height == height))
    }

    /// The mark below; none below the first height and below what the log still has.
    fn below(&self, mark: &FinalMark) -> Result<Option<FinalMark>, StoreError> {
        mark.below
            .map_or(Ok(None), |place| unless_pruned(self.read_mark(place)))
    }

    fn read_mark(&self, place: RecordRef) -> Result<FinalMark, StoreError> {
        let record = self.read(place)?;
        match decode(record.kind(), &record)? {
            JournalEntry::Finalized(mark) => Ok(mark),
            _ => Err(StoreError::Kind { place }),
        }
    }

    /// Reads a block where the log has it.
    ///
    /// # Errors
    /// [`StoreError`] when the log cannot be believed.
    pub fn read_block(&self, place: RecordRef) -> Result<LoggedBlock, StoreError> {
        let record = self.read(place)?;
        match decode(record.kind(), &record)? {
            JournalEntry::Block { header, payload } => Ok(LoggedBlock {
                header,
                payload: payload.into(),
            }),
            _ => Err(StoreError::Kind { place }),
        }
    }

    /// The header of the block that stands at a place, for whoever needs no payload.
    ///
    /// # Errors
    /// As [`read_block`](Self::read_block).
    pub(crate) fn read_header(&self, place: RecordRef) -> Result<Header, StoreError> {
        let record = self.read(place)?;
        match decode(record.kind(), &record)? {
            JournalEntry::Block { header, .. } => Ok(header),
            _ => Err(StoreError::Kind { place }),
        }
    }

    /// Live blocks, bytes of cached payloads, remembered proofs: for metrics.
    #[must_use]
    pub fn sizes(&self) -> (usize, usize, usize) {
        (self.live.len(), self.cached_bytes, self.proofs.len())
    }
}

/// What was pruned is as if this log had never had it.
fn unless_pruned<T>(read: Result<T, StoreError>) -> Result<Option<T>, StoreError> {
    match read {
        Err(StoreError::Read(ReadError::Pruned { .. })) => Ok(None),
        read => read.map(Some),
    }
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
