//! What a disk has of the chain, read by the page alone.
//!
//! Owns a reader of a log's bytes as docs/log-format.md has them, which shares nothing with the
//! log that wrote them: a record counts when its chain hash does, and nothing after one that does
//! not. Never: repairs, asks a validator, or takes a block for whole whose payload is another than
//! its header names.

use std::collections::HashMap;

use quorate::journal::{JournalEntry, decode};
use quorate_consensus::certificate::Certificate;
use quorate_consensus::types::{BlockId, Point};
use quorate_log::RecordKind;

/// Bytes of a segment before its first record.
const SEGMENT_HEADER_BYTES: usize = 512;
/// Bytes of a record before its payload.
const RECORD_HEADER_BYTES: usize = 32;
const HASH_BYTES: usize = 32;
const ALIGN_BYTES: usize = 8;
/// Where a record has the length of what stands before a body that is chained by its hash.
const LEAD_AT: std::ops::Range<usize> = 22..24;
const SEGMENT_MAGIC: &[u8] = b"QRTLOGSG";
const RECORD_MAGIC: &[u8] = b"QR";
/// Genesis hash and salt, of which the keys of the log are made.
const IDENTITY: std::ops::Range<usize> = 40..104;
const CHAIN_START: usize = 480;

/// Whole blocks and proofs of one log.
#[derive(Debug, Default)]
pub(crate) struct Held {
    /// Height and parent; looked up and never listed.
    blocks: HashMap<BlockId, (u64, BlockId)>,
    /// In the order of the log, with what each is said to be of.
    pub(crate) proofs: Vec<(Point, Certificate)>,
}

impl Held {
    /// What stands in these segments, the first one first.
    pub(crate) fn read(segments: &[Vec<u8>]) -> Self {
        let mut held = Self::default();
        let mut last: Option<[u8; HASH_BYTES]> = None;
        for bytes in segments {
            let is_begun = bytes.starts_with(SEGMENT_MAGIC) && bytes.len() > SEGMENT_HEADER_BYTES;
            let start = hash_at(bytes, CHAIN_START).filter(|_| is_begun);
            // The end of the log; or a segment that does not go on from the one before.
            let Some(start) = start.filter(|start| last.is_none_or(|last| last == *start)) else {
                break;
            };
            last = Some(held.read_segment(bytes, start));
        }
        held
    }

    /// Gives the chain hash of the last record that checks.
    fn read_segment(&mut self, bytes: &[u8], start: [u8; HASH_BYTES]) -> [u8; HASH_BYTES] {
        let key = blake3::derive_key("quorate log v1 record chain", &bytes[IDENTITY]);
        let (mut last, mut at) = (start, SEGMENT_HEADER_BYTES);
        while let Some((kind, payload, end)) = record_at(bytes, at) {
            let covered = &bytes[at - HASH_BYTES..end - HASH_BYTES];
            let stands = hash_at(bytes, end - HASH_BYTES);
            let hash = chain_hash(&key, covered, payload.len());
            let Some(hash) = hash.filter(|hash| stands == Some(*hash)) else {
                break;
            };
            self.add(kind, payload);
            (last, at) = (hash, end);
        }
        last
    }

    fn add(&mut self, kind: RecordKind, payload: &[u8]) {
        match decode(kind, payload) {
            Ok(JournalEntry::Block { header, payload })
                if *blake3::hash(payload).as_bytes() == header.payload_hash =>
            {
                let place = (header.height.number(), header.parent_id);
                self.blocks.insert(header.id(), place);
            }
            Ok(JournalEntry::Proof { point, proof }) => self.proofs.push((point, proof)),
            _ => {}
        }
    }

    /// The highest block with a proof whose blocks down to `begin`, height and name, are all here;
    /// `begin` where there is none.
    pub(crate) fn provable(&self, begin: (u64, BlockId)) -> (u64, BlockId) {
        let points = self.proofs.iter().map(|(point, _)| *point);
        let whole = points.filter(|point| self.is_whole(point, begin));
        whole
            .map(|point| (point.height.number(), point.id))
            .max_by_key(|&(height, _)| height)
            .unwrap_or(begin)
    }

    fn is_whole(&self, point: &Point, begin: (u64, BlockId)) -> bool {
        let (mut height, mut id) = (point.height.number(), point.id);
        while height > begin.0 {
            match self.blocks.get(&id) {
                Some(&(at, parent)) if at == height => (height, id) = (height - 1, parent),
                _ => return false,
            }
        }
        (height, id) == begin
    }
}

/// The chain hash of a record over the hash before it, its header, payload and padding; none where
/// it has a lead that leaves no body.
fn chain_hash(
    key: &[u8; HASH_BYTES],
    covered: &[u8],
    payload_bytes: usize,
) -> Option<[u8; HASH_BYTES]> {
    let (front, rest) = covered.split_at_checked(HASH_BYTES + RECORD_HEADER_BYTES)?;
    let lead = front.get(HASH_BYTES..)?.get(LEAD_AT)?.first_chunk()?;
    let lead = usize::from(u16::from_le_bytes(*lead));
    let mut hasher = blake3::Hasher::new_keyed(key);
    if lead == 0 {
        hasher.update(covered);
    } else {
        let (payload, padding) = rest.split_at_checked(payload_bytes)?;
        let (lead, body) = payload.split_at_checked(lead)?;
        if body.is_empty() {
            return None;
        }
        hasher.update(front).update(lead);
        hasher.update(blake3::hash(body).as_bytes());
        hasher.update(padding);
    }
    Some(*hasher.finalize().as_bytes())
}

fn hash_at(bytes: &[u8], at: usize) -> Option<[u8; HASH_BYTES]> {
    bytes.get(at..)?.first_chunk().copied()
}

/// Kind, payload and end of what is written for a record at a place; none where there is none.
fn record_at(bytes: &[u8], at: usize) -> Option<(RecordKind, &[u8], usize)> {
    let record = bytes.get(at..)?;
    let header = record.get(..RECORD_HEADER_BYTES)?;
    if !header.starts_with(RECORD_MAGIC) {
        return None;
    }
    let kind = u16::from_le_bytes([header[2], header[3]]);
    let length = u32::from_le_bytes([header[4], header[5], header[6], header[7]]);
    let length = usize::try_from(length).ok()?;
    let end = RECORD_HEADER_BYTES + length.checked_next_multiple_of(ALIGN_BYTES)? + HASH_BYTES;
    record.get(..end)?;
    let payload = &record[RECORD_HEADER_BYTES..RECORD_HEADER_BYTES + length];
    Some((RecordKind::new(kind), payload, at + end))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::SAMPLE;
    use crate::disk::Disk;
    use quorate::journal::{ENTRY_VERSION, KIND_BLOCK};
    use quorate_consensus::certificate::Target;
    use quorate_consensus::header::Header;
    use quorate_consensus::types::{Epoch, Height, Window};
    use quorate_consensus::wire;

    const BEGIN: (u64, BlockId) = (0, BlockId::new([0; 32]));

    /// So many blocks, each on the one before, with long enough payloads for two segments.
    fn chain(blocks: u64) -> Vec<(Header, Vec<u8>)> {
        let mut parent_id = BEGIN.1;
        let one = |height: u64| {
            let payload = vec![u8::try_from(height).unwrap(); 9_000];
            let header = Header {
                height: Height::new(height),
                parent_id,
                payload_hash: *blake3::hash(&payload).as_bytes(),
                payload_bytes: 9_000,
                ..SAMPLE
            };
            parent_id = header.id();
            (header, payload)
        };
        (1..=blocks).map(one).collect()
    }

    fn entry(header: &Header, payload: &[u8]) -> Vec<u8> {
        let mut bytes = ENTRY_VERSION.to_le_bytes().to_vec();
        wire::encode_header(header, &mut bytes);
        bytes.extend_from_slice(payload);
        bytes
    }

    fn logged(blocks: &[(Header, Vec<u8>)], synced: usize) -> Vec<Vec<u8>> {
        let disk = Disk::new(0, 1, 1);
        let mut log = quorate_log::open(&disk.folder(), &Disk::log_config(), b"genesis").unwrap();
        for (number, (header, payload)) in blocks.iter().enumerate() {
            let hash = *blake3::hash(payload).as_bytes();
            // Each second one as validators log it, and the others chained in one run.
            let hash = (number % 2 == 0).then_some(&hash);
            let head = entry(header, &[]);
            log.writer
                .append_hashed(KIND_BLOCK, &[&head, payload], hash)
                .unwrap();
            if number + 1 == synced {
                log.syncer.sync(log.writer.unsynced()).unwrap();
            }
        }
        disk.durable_segments()
    }

    fn provable(segments: &[Vec<u8>], proven: &Header) -> u64 {
        let mut held = Held::read(segments);
        let id = proven.id();
        let point = Point {
            window: proven.window,
            index: proven.index,
            height: proven.height,
            id,
        };
        let target = Target::Final {
            index: proven.index,
            id,
        };
        let proof = Certificate {
            epoch: Epoch::ZERO,
            window: Window::ZERO,
            target,
            records: Vec::new(),
            headers: Vec::new(),
        };
        held.proofs.push((point, proof));
        held.provable(BEGIN).0
    }

    #[test]
    fn a_log_holds_what_was_synced_and_no_more() {
        let blocks = chain(12);
        let segments = logged(&blocks, 10);
        assert!(segments.len() >= 2, "{}", segments.len());
        assert_eq!(provable(&segments, &blocks[9].0), 10);
        assert_eq!(provable(&segments, &blocks[10].0), 0, "never synced");
    }

    #[test]
    fn nothing_counts_after_a_record_that_is_not_as_it_was_written() {
        let blocks = chain(12);
        let mut segments = logged(&blocks, 12);
        assert_eq!(provable(&segments, &blocks[11].0), 12);
        // In the payload of the fourth block, and of the third, which is chained by its hash.
        for (found, below) in [(4, 3), (3, 2)] {
            segments[0][SEGMENT_HEADER_BYTES + below * 9_300 + 4_000] ^= 1;
            assert_eq!(provable(&segments, &blocks[below - 1].0), below as u64);
            assert_eq!(provable(&segments, &blocks[found].0), 0);
        }
    }

    #[test]
    fn a_block_with_another_payload_is_not_there() {
        let mut blocks = chain(3);
        blocks[1].1[0] ^= 1;
        let segments = logged(&blocks, 3);
        assert_eq!(provable(&segments, &blocks[2].0), 0);
        assert_eq!(provable(&segments, &blocks[0].0), 1);
    }
}
