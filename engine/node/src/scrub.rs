//! What the disk has lost of the log while the validator runs, and where it comes from again.
//!
//! Owns the pace of looking, and the sources, in this order: what memory still shows and what the
//! log's chain tells by itself (both in `quorate_log`), marks from the blocks that they name,
//! blocks from peers. The chain of the log judges each, so no source is believed. Never: threads
//! (`stages::scrub`), the segment that is appended to, a vote - what this validator has said is in
//! its memory, so rot below it changes nothing that it may say - or a cut: what nobody can give is
//! kept as it is, and the next start marks it.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use quorate_consensus::header::Header;
use quorate_consensus::input::Input;
use quorate_consensus::limits::{BODIES_PER_REQUEST_MAX, HEADER_BYTES};
use quorate_consensus::message::BlockRef;
use quorate_consensus::types::{BlockId, ValidatorIndex};
use quorate_consensus::wire;
use quorate_log::{
    Broken, LogOffset, Mend, Mended, Reader, RecordIndex, RecordKind, RecordRef, ScrubError,
    Scrubbed, Scrubber,
};

use crate::journal::{
    FinalMark, JournalEntry, KIND_BLOCK, KIND_FINALIZED, decode, encode_block, encode_mark,
};
use crate::store::LoggedBlock;

/// Bytes read at a stretch at most.
const SLICE_BYTES: u64 = 256 * 1024;
/// Between two passes, and while nothing is to be read.
const PASS_PAUSE_NS: u64 = 1_000_000_000;
/// A peer that was asked for blocks has this time before another one is asked.
const ASK_PAUSE_NS: u64 = 1_000_000_000;
/// Each peer is asked for everything that is wanted so often.
const ROUNDS: usize = 3;
/// How long a repair goes on at most before what has come is written and passes go on.
const WORK_NS_MAX: u64 = 60_000_000_000;
/// A segment that could not be repaired is looked at again for a reader's sake after this time.
const HINT_PAUSE_NS: u64 = 60_000_000_000;
/// After the system has refused.
const RETRY_PAUSE_NS: u64 = 10_000_000_000;
/// Records behind a segment that are searched for marks of its blocks.
const RECORDS_BEHIND_MAX: usize = 20_000;
/// Length of an entry's version, before the header.
const VERSION_BYTES: usize = 2;

/// What came of a turn.
#[derive(Debug, Default)]
pub struct Turn {
    /// Bytes read to look.
    pub bytes: u64,
    /// A pass has ended.
    pub is_pass: bool,
    /// Faulty places found that were not known.
    pub found: u64,
    /// Places that are as they were written again.
    pub repaired: u64,
    /// Until the next turn.
    pub pause_ns: u64,
}

/// A segment that waits for blocks of peers.
#[derive(Debug)]
struct Work {
    mend: Mend,
    wanted: BTreeMap<BlockId, (LogOffset, BlockRef)>,
    /// What was asked for last, ascending.
    asked: Vec<BlockId>,
    asked_ns: u64,
    begun_ns: u64,
    /// Something of it has come since.
    has_come: bool,
    /// How often a peer has been asked for all that was wanted.
    rounds: usize,
}

impl Work {
    /// Whether what was asked for last may still come: until nothing has for a while.
    fn is_waiting(&mut self, now_ns: u64) -> bool {
        if !self.asked.iter().any(|id| self.wanted.contains_key(id)) {
            return false;
        }
        let is_due = now_ns >= self.asked_ns.saturating_add(ASK_PAUSE_NS);
        if is_due && std::mem::take(&mut self.has_come) {
            self.asked_ns = now_ns;
            return true;
        }
        !is_due
    }

    /// What is to be asked for next: what comes behind what was asked for last, so that nothing
    /// has to wait for a block that nobody has. Says whether that ends a round.
    fn next_blocks(&mut self) -> (Vec<BlockRef>, bool) {
        let behind = |id: &BlockId| self.wanted.range((Bound::Excluded(*id), Bound::Unbounded));
        let behind = self.asked.last().map(behind);
        let mut rest = behind
            .filter(|rest| rest.clone().next().is_some())
            .unwrap_or_else(|| self.wanted.range(..));
        let next = rest.by_ref().take(BODIES_PER_REQUEST_MAX);
        let (ids, blocks) = next.map(|(id, &(_, block))| (*id, block)).unzip();
        let is_end = rest.next().is_none();
        (self.asked, self.has_come) = (ids, false);
        (blocks, is_end)
    }
}

/// What marks and blocks around a segment tell of what is lost in it.
#[derive(Debug, Default)]
struct Around {
    blocks: BTreeMap<BlockId, (RecordRef, Header)>,
    /// By place.
    marks: BTreeMap<RecordIndex, (RecordRef, FinalMark)>,
}

impl Around {
    fn take(&mut self, place: RecordRef, kind: RecordKind, bytes: &[u8]) {
        match decode(kind, bytes) {
            Ok(JournalEntry::Block { header, .. }) => {
                self.blocks.insert(header.id(), (place, header));
            }
            Ok(JournalEntry::Finalized(mark)) => {
                self.marks.insert(place.index, (place, mark));
            }
            _ => {}
        }
    }

    fn collect(mend: &Mend, reader: &Reader) -> Self {
        let mut around = Self::default();
        let segment = mend.segment();
        let mut read = |number: u32, records: usize| {
            let iter = reader.iter_segment(number).into_iter().flatten();
            for record in iter.take(records).map_while(Result::ok) {
                if record.place().offset.segment() > number.max(segment + 1) {
                    break;
                }
                around.take(record.place(), record.kind(), &record);
            }
        };
        if let Some(before) = segment.checked_sub(1) {
            read(before, usize::MAX);
        }
        read(segment.saturating_add(1), RECORDS_BEHIND_MAX);
        mend.visit(&mut |place, kind, bytes| around.take(place, kind, bytes));
        around
    }

    /// The header of the block that stood at a place: its mark has it.
    fn header_at(&self, place: RecordRef) -> Option<Header> {
        let mut marks = self.marks.values();
        let found = marks.find(|(_, mark)| mark.block.offset == place.offset);
        found.map(|(_, mark)| mark.header)
    }

    /// The mark that stood at a place, as the mark above and the block tell.
    fn mark_at(&self, place: RecordRef) -> Option<FinalMark> {
        let mut above = self
            .marks
            .range((Bound::Excluded(place.index), Bound::Unbounded));
        let (_, (_, above)) = above.next()?;
        if above.below.map(|below| below.offset) != Some(place.offset) {
            return None;
        }
        let &(block, header) = self.blocks.get(&above.header.parent_id)?;
        let below = self.marks.range(..place.index).next_back();
        let below = below.map(|(_, &(below, _))| below);
        Some(FinalMark {
            header,
            block,
            below,
        })
    }
}

/// What seemed faulty because it chains on what was is not any more.
fn retain_broken(mend: &Mend, wanted: &mut BTreeMap<BlockId, (LogOffset, BlockRef)>) {
    let broken = mend.broken().into_iter();
    let broken: BTreeSet<LogOffset> = broken.map(|broken| broken.place.offset).collect();
    wanted.retain(|_, (at, _)| broken.contains(at));
}

/// The look at what the disk has of the log, and the repair; see the module.
#[derive(Debug)]
pub struct Scrub {
    scrubber: Scrubber,
    reader: Reader,
    genesis: Arc<[u8]>,
    peers: Vec<ValidatorIndex>,
    /// Which of them is asked next.
    peer: usize,
    /// Behind which block the next repair begins to ask: where the last one had no time to go on.
    asked_last: Option<BlockId>,
    bytes_per_s: u64,
    /// Nothing more is read to look before: what was read is paid for then, whoever wanted it.
    read_due_ns: u64,
    /// No reader is heeded before: readers have half of the rate, and passes the other half.
    hint_due_ns: u64,
    work: Option<Work>,
    /// Segments with faulty places that could not be repaired: how many, and when that was tried.
    faulty: BTreeMap<u32, (u64, u64)>,
}

impl Scrub {
    /// Reads at most `bytes_per_s` bytes a second, which is not 0.
    #[must_use]
    pub fn new(
        scrubber: Scrubber,
        reader: Reader,
        genesis: Arc<[u8]>,
        peers: Vec<ValidatorIndex>,
        bytes_per_s: u64,
    ) -> Self {
        Self {
            scrubber,
            reader,
            genesis,
            peers,
            peer: 0,
            asked_last: None,
            bytes_per_s: bytes_per_s.max(1),
            read_due_ns: 0,
            hint_due_ns: 0,
            work: None,
            faulty: BTreeMap::new(),
        }
    }

    /// Places that are faulty now and could not be repaired.
    #[must_use]
    pub fn faulty(&self) -> u64 {
        self.faulty.values().map(|&(places, _)| places).sum()
    }

    /// Whether it is the disk that is read; none before the first bytes.
    #[must_use]
    pub fn is_direct(&self) -> Option<bool> {
        self.scrubber.is_direct()
    }

    /// Looks on, or goes on with a repair. What is to be asked of peers is appended to `inputs`.
    /// It may be called at any time: what is not due is not done.
    ///
    /// # Errors
    /// The system refuses; the segment is left for the next pass.
    pub fn turn(&mut self, now_ns: u64, inputs: &mut Vec<Input>) -> Result<Turn, ScrubError> {
        let turned = match self.work.take() {
            Some(work) => self.go_on(work, now_ns, inputs),
            None if now_ns < self.read_due_ns => Ok(Turn::default()),
            None => self.look_on(now_ns, inputs),
        };
        self.paced(turned, now_ns)
    }

    fn look_on(&mut self, now_ns: u64, inputs: &mut Vec<Input>) -> Result<Turn, ScrubError> {
        let slice = SLICE_BYTES.min(self.bytes_per_s);
        let scrubbed = self.scrubber.step(slice as usize)?;
        let (Scrubbed::More { bytes }
        | Scrubbed::Whole { bytes, .. }
        | Scrubbed::Faulty { bytes, .. }) = scrubbed
        else {
            let first = self.reader.start().offset.segment();
            self.faulty.retain(|&segment, _| segment >= first);
            self.read_due_ns = now_ns.saturating_add(PASS_PAUSE_NS);
            return Ok(Turn {
                is_pass: true,
                ..Turn::default()
            });
        };
        let bytes = bytes as u64;
        self.pay(bytes, now_ns);
        let mut turn = match scrubbed {
            Scrubbed::Faulty { segment, .. } => self.begin(segment, now_ns, inputs)?,
            Scrubbed::Whole { segment, .. } => {
                self.faulty.remove(&segment);
                Turn::default()
            }
            _ => Turn::default(),
        };
        turn.bytes += bytes;
        Ok(turn)
    }

    /// Somebody could not read a record of this segment. It may be called as often as anybody
    /// reads: whoever reads because a peer asks does so at that peer's will.
    ///
    /// # Errors
    /// As [`turn`](Self::turn).
    pub fn look_at(
        &mut self,
        segment: u32,
        now_ns: u64,
        inputs: &mut Vec<Input>,
    ) -> Result<Turn, ScrubError> {
        let tried = self.faulty.get(&segment).map(|&(_, tried_ns)| tried_ns);
        let is_early = now_ns < self.hint_due_ns
            || tried.is_some_and(|at_ns| now_ns < at_ns.saturating_add(HINT_PAUSE_NS));
        let turned = if is_early || self.work.is_some() {
            Ok(Turn::default())
        } else {
            let turned = self.begin(segment, now_ns, inputs);
            let bytes = turned.as_ref().map_or(0, |turn| turn.bytes);
            if bytes > 0 {
                self.hint_due_ns = self.read_due_ns.saturating_add(self.time_of_ns(bytes));
            }
            turned
        };
        self.paced(turned, now_ns)
    }

    /// How long so many bytes may take to be read, at least.
    fn time_of_ns(&self, bytes: u64) -> u64 {
        bytes.saturating_mul(1_000_000_000) / self.bytes_per_s
    }

    /// So many bytes are read now.
    fn pay(&mut self, bytes: u64, now_ns: u64) {
        let since_ns = self.read_due_ns.max(now_ns);
        self.read_due_ns = since_ns.saturating_add(self.time_of_ns(bytes));
    }

    /// Says until when there is nothing to do, whatever this turn was.
    fn paced(&mut self, turned: Result<Turn, ScrubError>, now_ns: u64) -> Result<Turn, ScrubError> {
        if turned.is_err() {
            let retry_ns = now_ns.saturating_add(RETRY_PAUSE_NS);
            self.read_due_ns = self.read_due_ns.max(retry_ns);
            self.hint_due_ns = self.hint_due_ns.max(retry_ns);
        }
        let due_ns = match &self.work {
            Some(work) => work.asked_ns.saturating_add(ASK_PAUSE_NS),
            None => self.read_due_ns,
        };
        turned.map(|turn| Turn {
            pause_ns: due_ns.saturating_sub(now_ns),
            ..turn
        })
    }

    /// A peer has sent a block; whether it was one that stood here is judged by the chain.
    pub fn take(&mut self, block: &LoggedBlock) {
        let Some(work) = &mut self.work else {
            return;
        };
        let id = block.header.id();
        let Some(&(at, _)) = work.wanted.get(&id) else {
            return;
        };
        let mut head = Vec::new();
        encode_block(&block.header, &mut head);
        if work.mend.offer(at, KIND_BLOCK, &[&head, &block.payload]) {
            retain_broken(&work.mend, &mut work.wanted);
            work.has_come = true;
        }
    }

    fn begin(
        &mut self,
        segment: u32,
        now_ns: u64,
        inputs: &mut Vec<Input>,
    ) -> Result<Turn, ScrubError> {
        // Read whole once more: that is paid for like any other byte.
        let bytes = self.scrubber.mend_bytes(segment);
        self.pay(bytes, now_ns);
        let Some(mut mend) = self.scrubber.mend(segment)? else {
            self.faulty.remove(&segment);
            return Ok(Turn {
                bytes,
                ..Turn::default()
            });
        };
        let known = self.faulty.get(&segment).map_or(0, |&(places, _)| places);
        let found = mend.found().saturating_sub(known);
        if found > 0 {
            tracing::error!(
                segment,
                places = mend.found(),
                "the disk has lost bytes of the log"
            );
        }
        let wanted = self.rebuild(&mut mend);
        let work = Work {
            mend,
            wanted,
            asked: self.asked_last.take().into_iter().collect(),
            asked_ns: 0,
            begun_ns: now_ns,
            has_come: false,
            rounds: 0,
        };
        let mut turn = self.go_on(work, now_ns, inputs)?;
        (turn.found, turn.bytes) = (found, bytes);
        Ok(turn)
    }

    /// Brings back what the log around tells; gives the blocks to be asked of peers.
    fn rebuild(&self, mend: &mut Mend) -> BTreeMap<BlockId, (LogOffset, BlockRef)> {
        let mut wanted = BTreeMap::new();
        let broken = mend.broken();
        if broken.is_empty() {
            return wanted;
        }
        let around = Around::collect(mend, &self.reader);
        for Broken { place, kind, .. } in broken {
            let at = place.offset;
            if place.index == RecordIndex::GENESIS {
                mend.offer(at, RecordKind::GENESIS, &[&self.genesis]);
                continue;
            }
            let may_be = |wanted: RecordKind| kind.is_none_or(|kind| kind == wanted);
            if may_be(KIND_FINALIZED)
                && let Some(mark) = around.mark_at(place)
            {
                let mut bytes = Vec::new();
                encode_mark(&mark, &mut bytes);
                if mend.offer(at, KIND_FINALIZED, &[&bytes]) {
                    continue;
                }
            }
            if !may_be(KIND_BLOCK) {
                continue;
            }
            let standing = || {
                let payload = mend.payload(at)?;
                let header = payload.get(VERSION_BYTES..VERSION_BYTES + HEADER_BYTES)?;
                wire::decode_header(header).ok()
            };
            if let Some(header) = around.header_at(place).or_else(standing) {
                let id = header.id();
                let height = header.height;
                wanted.insert(id, (at, BlockRef { id, height }));
            }
        }
        retain_broken(mend, &mut wanted);
        wanted
    }

    /// Asks the next peer for what is still wanted, or ends the repair.
    fn go_on(
        &mut self,
        mut work: Work,
        now_ns: u64,
        inputs: &mut Vec<Input>,
    ) -> Result<Turn, ScrubError> {
        let is_waiting = work.is_waiting(now_ns);
        let is_over = now_ns >= work.begun_ns.saturating_add(WORK_NS_MAX);
        let has_tried = work.rounds >= ROUNDS * self.peers.len();
        if work.wanted.is_empty() || is_over || (has_tried && !is_waiting) {
            self.asked_last = work.asked.last().copied().filter(|_| is_over);
            return self.finish(work, now_ns);
        }
        if !is_waiting && let Some(&of) = self.peers.get(self.peer % self.peers.len()) {
            let (blocks, is_round) = work.next_blocks();
            inputs.push(Input::Ask { of, blocks });
            if is_round {
                self.peer = self.peer.wrapping_add(1);
                work.rounds += 1;
            }
            work.asked_ns = now_ns;
        }
        self.work = Some(work);
        Ok(Turn::default())
    }

    fn finish(&mut self, work: Work, now_ns: u64) -> Result<Turn, ScrubError> {
        let segment = work.mend.segment();
        let Mended { repaired, left } = work.mend.finish()?;
        if repaired > 0 {
            tracing::warn!(
                segment,
                repaired,
                "bytes of the log that the disk lost are back"
            );
        }
        if left.is_empty() {
            self.faulty.remove(&segment);
        } else {
            let before = self.faulty.insert(segment, (left.len() as u64, now_ns));
            if before.is_none_or(|(places, _)| places < left.len() as u64) {
                for fault in &left {
                    tracing::error!(%fault, "nobody has these bytes: kept as they are");
                }
            }
        }
        Ok(Turn {
            repaired,
            ..Turn::default()
        })
    }
}

#[cfg(test)]
#[path = "scrub_tests.rs"]
mod tests;
