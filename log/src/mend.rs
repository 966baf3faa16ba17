//! Bringing back what the disk lost of a complete segment, while the log is open.
//!
//! Owns the one question whether bytes are those that stood there: the chain says so, since the
//! hash that a record ends with, or the record behind it, was not lost as well. Whoever offers
//! bytes is not believed. What is mended goes into a new file that takes the old one's name, so
//! that no byte changes under a reader and bad sectors are left behind; a crash leaves the one or
//! the other. Never: cuts, marks, or changes a byte that it cannot prove.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use crate::backend::{CreateError, TEMPORARY_SUFFIX};
use crate::error::ScrubError;
use crate::fault::{Damage, Fault};
use crate::map::Region;
use crate::pieces::{LookedAgain, Piece, What, find_pieces, look_again};
use crate::position::{LogOffset, RecordIndex, RecordRef};
use crate::record::{
    ALIGN_BYTES, Examined, HASH_BYTES, HEADER_BYTES, RecordHeader, RecordKind, chain_hash_of,
    encode_header, examine, examine_header, lead_of, record_bytes, record_hash,
};
use crate::scrub::{Extent, is_header};
use crate::segment::{SEGMENT_HEADER_BYTES, SegmentHeader, has_leads};
use crate::shared::Shared;
use crate::shown::Shown;

/// Up to this length every single wrong byte of a record is tried: half a second at most.
const ONE_BYTE_MAX: usize = 2048;
/// For so many records of a segment in one go. Others wait for the next, or for who has them.
const SEARCHES_MAX: usize = 8;
/// What the search for one wrong byte of a header costs, as bytes that are hashed.
const HEADER_SEARCH_BYTES: usize = HEADER_BYTES * 255 * 64;
/// What it costs to move what is known of a faulty place.
const MOVED_BYTES: usize = 8;
/// So many bytes are hashed in one go, or four times those of a longer segment: some tenths of a
/// second. What is behind that waits for the next, or for who has it.
const WORK_BYTES_MAX: usize = 1 << 28;
/// Records that are remembered as searched in vain.
const VAIN_MAX: usize = 4096;
/// Of so many segments it is remembered where the last go ended.
const ENDS_MAX: usize = 1024;
/// Headers that are tried for an offered record whose header is lost.
const HEADERS_MAX: u64 = 4096;

/// A record that is not whole on the disk and that the log cannot bring back by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken {
    /// Where it stands. Its index is what the records around it say.
    pub place: RecordRef,
    /// What it was, when its header can be read.
    pub kind: Option<RecordKind>,
    /// Bytes up to the next thing that is whole.
    pub bytes: usize,
}

/// What became of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mended {
    /// Faulty places that are as they were written again.
    pub repaired: u64,
    /// What is still faulty, and is kept as it is.
    pub left: Vec<Fault>,
}

/// The records whose every single byte was tried in vain, by what was hashed: while they are as
/// they are, each pass over the log would find nothing again, for half a second each.
#[derive(Debug, Default)]
pub(crate) struct Vain {
    searched: BTreeSet<[u8; HASH_BYTES]>,
    /// Where the last go over a segment had to end: the next one over it begins there.
    ended_at: BTreeMap<u32, usize>,
}

impl Vain {
    /// Whether what stands there, with the hash that it is to have, was searched before.
    fn has(&self, mark: &[u8; HASH_BYTES]) -> bool {
        self.searched.contains(mark)
    }

    fn note_end(&mut self, segment: u32, start: usize) {
        if self.ended_at.len() >= ENDS_MAX {
            self.ended_at.pop_first();
        }
        self.ended_at.insert(segment, start);
    }

    fn add(&mut self, mark: [u8; HASH_BYTES]) {
        if self.searched.len() >= VAIN_MAX {
            self.searched.clear();
        }
        self.searched.insert(mark);
    }
}

/// One segment being mended.
#[derive(Debug)]
pub struct Mend {
    shared: Arc<Shared>,
    /// What readers see of it.
    shown: Shown,
    extent: Extent,
    /// The segment as the disk has it, with what is mended so far.
    bytes: Vec<u8>,
    pieces: Vec<Piece>,
    found: u64,
    repaired: u64,
    /// Searches for one wrong byte so far.
    searches: usize,
    /// Bytes hashed so far to judge what was tried, but for those searches.
    work_bytes: usize,
}

impl Mend {
    /// None when there is nothing to mend.
    pub(crate) fn begin(
        shared: &Arc<Shared>,
        (region, extent): (Arc<Region>, Extent),
        (bytes, unreadable): (Vec<u8>, Vec<Range<usize>>),
        vain: &mut Vain,
    ) -> Option<Self> {
        let mut mend = Self {
            pieces: find_pieces(&shared.identity, &extent, &bytes),
            shared: Arc::clone(shared),
            shown: Shown::new(region, unreadable),
            extent,
            bytes,
            found: 0,
            repaired: 0,
            searches: 0,
            work_bytes: 0,
        };
        mend.found = mend.pieces.len().max(1) as u64;
        if mend.pieces.is_empty() {
            // Pages of zeros that the disk does not give; or the disk is right, and what readers
            // see is not.
            let records = 0..extent.end;
            if mend.shown.is_all() && mend.shown.get(&records) == mend.bytes.get(records.clone()) {
                return None;
            }
            mend.repaired = 1;
        }
        mend.repair_alone(vain);
        Some(mend)
    }

    /// The number of the segment.
    #[must_use]
    pub fn segment(&self) -> u32 {
        self.extent.number
    }

    /// How many faulty places were found.
    #[must_use]
    pub fn found(&self) -> u64 {
        self.found
    }

    /// For how many records every single byte was tried: what took the time.
    #[must_use]
    pub fn searches(&self) -> usize {
        self.searches
    }

    /// How many bytes were hashed besides.
    #[must_use]
    pub fn work_bytes(&self) -> usize {
        self.work_bytes
    }

    /// The records that are still faulty.
    #[must_use]
    pub fn broken(&self) -> Vec<Broken> {
        let place = |piece: &Piece| RecordRef {
            offset: LogOffset::new(self.extent.number, piece.range.start as u32),
            index: piece.index,
        };
        let broken = |piece: &Piece| match piece.what {
            What::Record(header) => Some(Broken {
                place: place(piece),
                kind: header.map(|header| header.kind),
                bytes: piece.range.len(),
            }),
            What::SegmentHeader | What::Tail => None,
        };
        self.pieces.iter().filter_map(broken).collect()
    }

    /// The payload of a faulty record as it stands, faults and all; none when its header is lost.
    #[must_use]
    pub fn payload(&self, at: LogOffset) -> Option<&[u8]> {
        let piece = self.piece_at(at)?;
        let What::Record(Some(header)) = piece.what else {
            return None;
        };
        self.bytes.get(header.payload_from(piece.range.start))
    }

    /// Shows every record of the segment that is whole, in order.
    pub fn visit(&self, see: &mut dyn FnMut(RecordRef, RecordKind, &[u8])) {
        let mut at = SEGMENT_HEADER_BYTES;
        while at < self.extent.end {
            if let Some(piece) = self.piece_from(at) {
                at = piece.range.end;
                continue;
            }
            let examined = examine(&self.shared.identity, self.extent.number, &self.bytes, at);
            let Examined::Valid(header) = examined else {
                return;
            };
            let place = RecordRef {
                offset: LogOffset::new(self.extent.number, at as u32),
                index: header.index,
            };
            see(place, header.kind, &self.bytes[header.payload_from(at)]);
            at = header.end_from(at);
        }
    }

    /// Takes a kind and a payload for those of the faulty record at a place, if the chain says that
    /// they are; from whomever they come. The parts are those that were appended: where the header
    /// is lost with the rest, they tell how the record was chained.
    pub fn offer(&mut self, at: LogOffset, kind: RecordKind, parts: &[&[u8]]) -> bool {
        let Some(piece) = self.piece_at(at).cloned() else {
            return false;
        };
        let What::Record(header) = piece.what else {
            return false;
        };
        let payload = parts.concat();
        if record_bytes(payload.len()).is_none_or(|bytes| bytes as usize != piece.range.len()) {
            return false;
        }
        let headers = match header {
            Some(header) => vec![header],
            None => self.guesses(&piece, kind, parts),
        };
        let is_taken = headers.iter().any(|header| {
            header.kind == kind
                && header.payload_bytes as usize == payload.len()
                && self.try_record(&piece.range, header, &payload)
        });
        if is_taken {
            self.note_mended(&piece);
        }
        is_taken
    }

    /// The headers that a faulty record may have had if it was appended in these parts.
    fn guesses(&self, piece: &Piece, kind: RecordKind, parts: &[&[u8]]) -> Vec<RecordHeader> {
        let payload_bytes: usize = parts.iter().map(|part| part.len()).sum();
        let last = self.synced_after(piece).min(piece.index.count());
        let first = piece.synced_before.count();
        let synced = first..=last.min(first.saturating_add(HEADERS_MAX));
        // Whoever appended it may have given no hash.
        let lead = Some(lead_of(parts)).filter(|lead| *lead > 0 && has_leads(&self.bytes));
        let leads = lead.into_iter().chain([0]);
        leads
            .flat_map(|lead| synced.clone().map(move |synced| (lead, synced)))
            .map(|(lead, synced)| RecordHeader {
                kind,
                payload_bytes: payload_bytes as u32,
                index: piece.index,
                synced_index: RecordIndex::new(synced),
                lead,
            })
            .collect()
    }

    /// Writes what is mended to the disk, if anything is.
    ///
    /// # Errors
    /// [`ScrubError`]: the old file stands as it was.
    pub fn finish(self) -> Result<Mended, ScrubError> {
        let left = self.left();
        // A page that cannot be read is kept for whoever can, until all of the segment is back.
        if self.repaired == 0 || !(left.is_empty() || self.shown.is_all()) {
            return Ok(Mended { repaired: 0, left });
        }
        self.write()?;
        let repaired = self.repaired;
        Ok(Mended { repaired, left })
    }

    fn left(&self) -> Vec<Fault> {
        let fault = |piece: &Piece| Fault {
            segment: self.extent.number,
            offset: piece.range.start as u32,
            index: (piece.what != What::SegmentHeader).then_some(piece.index),
            damage: match piece.what {
                What::SegmentHeader => Damage::SegmentHeader,
                What::Record(Some(_)) => Damage::RecordBody,
                What::Record(None) => Damage::RecordHeader,
                What::Tail => Damage::BytesAfterEnd,
            },
        };
        self.pieces.iter().map(fault).collect()
    }

    fn write(&self) -> Result<(), ScrubError> {
        let shared = &self.shared;
        if shared.is_poisoned() {
            return Err(ScrubError::Poisoned);
        }
        let name = self.extent.name();
        let temporary = format!("{name}{TEMPORARY_SUFFIX}");
        let backend = shared.folder.backend.as_ref();
        if let Err(error) = backend.create(&temporary, &self.bytes, self.bytes.len()) {
            // Nothing relies on it; what is left of it the next start removes.
            backend.remove(&temporary).ok();
            let (CreateError::Write(source) | CreateError::Sync(source)) = error;
            return Err(ScrubError::io("write", &temporary)(source));
        }
        // The old file has the same records or fewer, and both are synced: whichever of the two
        // the name leads to after a crash, nothing is lost that was there before.
        let names = shared.lock_names();
        if shared.start().offset.segment() > self.extent.number {
            drop(names);
            return backend
                .remove(&temporary)
                .map_err(ScrubError::io("remove", &temporary));
        }
        backend
            .rename(&temporary, &name)
            .map_err(ScrubError::io("rename", &temporary))?;
        backend
            .sync_folder()
            .map_err(ScrubError::io("sync the name of", &name))?;
        let mut region = backend
            .map(&name, &shared.claim)
            .map_err(ScrubError::io("map", &name))?;
        region.publish(self.shown.published_bytes());
        shared.replace_segment(self.extent.number, Arc::clone(region.region()));
        drop(names);
        Ok(())
    }

    fn piece_at(&self, at: LogOffset) -> Option<&Piece> {
        let is_here = at.segment() == self.extent.number;
        is_here.then(|| self.piece_from(at.bytes() as usize))?
    }

    fn piece_from(&self, start: usize) -> Option<&Piece> {
        let found = self
            .pieces
            .binary_search_by_key(&start, |piece| piece.range.start);
        self.pieces.get(found.ok()?)
    }

    /// A faulty place was mended, and with it perhaps what chains on it.
    fn note_mended(&mut self, piece: &Piece) {
        let before = self.pieces.len();
        let place = self
            .pieces
            .partition_point(|it| it.range.start < piece.range.start);
        let known = &self.pieces[place..];
        let LookedAgain {
            gone,
            pieces,
            examined_bytes,
        } = look_again(&self.shared.identity, &self.extent, &self.bytes, known);
        // Those behind move up.
        self.work_bytes += examined_bytes + known.len() * MOVED_BYTES;
        self.pieces.splice(place..place + gone, pieces);
        self.repaired += before.saturating_sub(self.pieces.len()).max(1) as u64;
    }

    /// Brings back what follows from memory or from the log itself.
    fn repair_alone(&mut self, vain: &mut Vain) {
        let number = self.extent.number;
        // Where a page cannot be read nothing is written before all is back.
        let ended_at = vain.ended_at.remove(&number);
        let begin = ended_at.filter(|_| self.shown.is_all()).unwrap_or(0);
        let mut place = self.pieces.partition_point(|it| it.range.start < begin);
        while let Some(piece) = self.pieces.get(place).cloned() {
            if self.work_bytes >= WORK_BYTES_MAX.max(4 * self.bytes.len()) {
                vain.note_end(number, piece.range.start);
                return;
            }
            let is_mended = self.mend_from_memory(place, &piece)
                || match piece.what {
                    What::SegmentHeader => self.mend_segment_header(),
                    What::Tail => self.mend_tail(&piece),
                    What::Record(Some(header)) => self.mend_body(&piece, &header, vain),
                    What::Record(None) => self.mend_header(&piece),
                };
            if is_mended {
                self.note_mended(&piece);
            } else {
                place += 1;
            }
        }
    }

    /// What readers see may be whole where the disk is not.
    fn mend_from_memory(&mut self, place: usize, piece: &Piece) -> bool {
        let range = &piece.range;
        if matches!(piece.what, What::Tail) {
            return false;
        }
        // Where they see nothing, or the same, it is no better there.
        let shown = self.shown.get(range);
        if shown.is_none() || shown == self.bytes.get(range.clone()) {
            return false;
        }
        // The hashes inside a run of lost records are lost with them: it is tried as a whole too.
        let run = self.run_from(place, piece);
        self.take_shown(range) || (run != *range && self.take_shown(&run))
    }

    /// A faulty place with all those right behind it that memory may be asked for.
    fn run_from(&self, place: usize, piece: &Piece) -> Range<usize> {
        let mut run = piece.range.clone();
        for next in &self.pieces[place + 1..] {
            let goes_on = next.range.start == run.end && matches!(next.what, What::Record(_));
            if !goes_on || !self.shown.is_given(&next.range) {
                break;
            }
            run.end = next.range.end;
        }
        run
    }

    fn take_shown(&mut self, range: &Range<usize>) -> bool {
        let readers = self.shown.clone();
        match readers.get(range) {
            Some(shown) if range.end == SEGMENT_HEADER_BYTES => self.try_segment_header(shown),
            Some(shown) => self.try_bytes(range, shown),
            None => false,
        }
    }

    fn mend_segment_header(&mut self) -> bool {
        let stood = self.bytes[..SEGMENT_HEADER_BYTES].to_vec();
        let mut tried = stood.clone();
        for at in 0..SEGMENT_HEADER_BYTES {
            for mask in 1..=u8::MAX {
                tried[at] = stood[at] ^ mask;
                if SegmentHeader::decode(&tried).is_ok() && self.try_segment_header(&tried) {
                    return true;
                }
            }
            tried[at] = stood[at];
        }
        false
    }

    /// The first record chains on the last bytes of the header.
    fn try_segment_header(&mut self, header: &[u8]) -> bool {
        let Some(header) = header.first_chunk::<SEGMENT_HEADER_BYTES>() else {
            return false;
        };
        let mut stood = [0; SEGMENT_HEADER_BYTES];
        stood.copy_from_slice(&self.bytes[..SEGMENT_HEADER_BYTES]);
        self.bytes[..SEGMENT_HEADER_BYTES].copy_from_slice(header);
        let is_right = is_header(&self.shared.identity, &self.extent, &self.bytes)
            && self.is_chained(SEGMENT_HEADER_BYTES);
        if !is_right {
            self.bytes[..SEGMENT_HEADER_BYTES].copy_from_slice(&stood);
        }
        is_right
    }

    /// Behind the record that the next segment chains on there are zeros.
    fn mend_tail(&mut self, piece: &Piece) -> bool {
        let is_last = self.is_chained(piece.range.start);
        if is_last {
            self.bytes[piece.range.clone()].fill(0);
        }
        is_last
    }

    /// The hash alone was lost, and what chains on it tells; or one byte was.
    fn mend_body(&mut self, piece: &Piece, header: &RecordHeader, vain: &mut Vain) -> bool {
        let start = piece.range.start;
        let payload = self.bytes[header.payload_from(start)].to_vec();
        if self.try_record(&piece.range, header, &payload) {
            return true;
        }
        let covered = start - HASH_BYTES..piece.range.end - HASH_BYTES;
        if covered.len() > ONE_BYTE_MAX || self.searches == SEARCHES_MAX {
            return false;
        }
        let searched = &self.bytes[covered.start..piece.range.end];
        let mark = chain_hash_of(&self.shared.identity, [searched]);
        if vain.has(&mark) {
            return false;
        }
        self.searches += 1;
        let is_found = self.search_one_byte(header, covered);
        if !is_found {
            vain.add(mark);
        }
        is_found
    }

    /// Tries every byte of a record that its header does not cover, for the hash behind it.
    fn search_one_byte(&mut self, header: &RecordHeader, covered: Range<usize>) -> bool {
        let mut tried = self.bytes[covered.clone()].to_vec();
        let hash = self.bytes[covered.end..covered.end + HASH_BYTES].to_vec();
        for at in HASH_BYTES + HEADER_BYTES..tried.len() {
            let stood = tried[at];
            for mask in 1..=u8::MAX {
                tried[at] = stood ^ mask;
                if record_hash(&self.shared.identity, header, &tried)[..] == hash[..] {
                    self.bytes[covered].copy_from_slice(&tried);
                    return true;
                }
            }
            tried[at] = stood;
        }
        false
    }

    /// One byte of the header was lost: its own check tells.
    fn mend_header(&mut self, piece: &Piece) -> bool {
        let (number, start) = (self.extent.number, piece.range.start);
        self.work_bytes += HEADER_SEARCH_BYTES;
        for at in start..(start + HEADER_BYTES).min(piece.range.end) {
            let stood = self.bytes[at];
            for mask in 1..=u8::MAX {
                self.bytes[at] = stood ^ mask;
                let header = examine_header(&self.shared.identity, number, &self.bytes, start);
                if header.is_some_and(|it| it.end_from(start) <= piece.range.end)
                    && matches!(
                        examine(&self.shared.identity, number, &self.bytes, start),
                        Examined::Valid(_)
                    )
                {
                    return true;
                }
            }
            self.bytes[at] = stood;
        }
        false
    }

    fn try_record(&mut self, range: &Range<usize>, header: &RecordHeader, payload: &[u8]) -> bool {
        let identity = &self.shared.identity;
        let place = range.start as u32;
        let mut covered = self.bytes[range.start - HASH_BYTES..range.start].to_vec();
        covered.extend(encode_header(identity, self.extent.number, place, header));
        covered.extend(payload);
        covered.resize(covered.len().next_multiple_of(ALIGN_BYTES), 0);
        let hash = record_hash(identity, header, &covered);
        covered.extend(hash);
        self.try_bytes(range, &covered[HASH_BYTES..])
    }

    /// Puts whole records in, with the segment's header before them or without, and leaves them
    /// there if they are those that stood there: each chains on the one before, and the last one
    /// ends with the hash that the disk still has, or what stands behind it chains on its hash.
    fn try_bytes(&mut self, range: &Range<usize>, records: &[u8]) -> bool {
        if records.len() != range.len() || records.len() < HASH_BYTES {
            return false;
        }
        self.work_bytes += range.len();
        let stood = self.bytes[range.clone()].to_vec();
        self.bytes[range.clone()].copy_from_slice(records);
        let is_right = self.is_whole(range)
            && (stood.ends_with(&records[records.len() - HASH_BYTES..])
                || self.is_chained(range.end));
        if !is_right {
            self.bytes[range.clone()].copy_from_slice(&stood);
        }
        is_right
    }

    /// Whether a stretch is one whole record behind the other, to its very end.
    fn is_whole(&self, range: &Range<usize>) -> bool {
        let identity = &self.shared.identity;
        let mut at = range.start;
        if at == 0 {
            if !is_header(identity, &self.extent, &self.bytes) {
                return false;
            }
            at = SEGMENT_HEADER_BYTES;
        }
        while at < range.end {
            match examine(identity, self.extent.number, &self.bytes, at) {
                Examined::Valid(header) => at = header.end_from(at),
                _ => return false,
            }
        }
        at == range.end
    }

    /// Whether what stands behind `end` chains on the hash before it: a record, or the next
    /// segment.
    fn is_chained(&self, end: usize) -> bool {
        if end < self.extent.end {
            let examined = examine(&self.shared.identity, self.extent.number, &self.bytes, end);
            return matches!(examined, Examined::Valid(_));
        }
        if self.extent.is_marked {
            return false;
        }
        let next = self.shared.segment(self.extent.number.saturating_add(1));
        let header = next.and_then(|next| SegmentHeader::decode(next.published()).ok());
        header.is_some_and(|header| {
            header.gap.is_none() && self.bytes[..end].ends_with(header.chain_start.as_bytes())
        })
    }

    /// What the first whole record behind a faulty place knew to be synced.
    fn synced_after(&self, piece: &Piece) -> u64 {
        let (identity, number) = (&self.shared.identity, self.extent.number);
        examine_header(identity, number, &self.bytes, piece.range.end)
            .map_or(u64::MAX, |header| header.synced_index.count())
    }
}
