//! One pass over every byte of a log: how far it is whole, what is faulty after that, and what
//! its records prove about what had been synced.
//!
//! Reads bytes and collects; `recovery.rs` decides. It goes on after a fault, since a valid record
//! further on can prove that the faulty one had been synced.

use crate::base::{Base, genesis_start};
use crate::bytes::{array_at, is_zero};
use crate::fault::{Damage, Fault};
use crate::gaps::{Gaps, MarkedFaulty};
use crate::identity::{Identity, genesis_hash};
use crate::position::{ChainHash, LogEnd, LogOffset, RecordIndex};
use crate::record::{
    ALIGN_BYTES, Examined, HASH_BYTES, OVERHEAD_BYTES, RecordHeader, RecordKind, examine,
    examine_header,
};
use crate::segment::{HeaderDamage, SEGMENT_BYTES_MIN, SEGMENT_HEADER_BYTES, SegmentHeader};

/// A report holds at most this many faults.
pub const FAULTS_MAX: usize = 1000;

/// What a pass found.
#[derive(Clone, Debug)]
pub(crate) struct Walk {
    /// Valid records, after faults too.
    pub(crate) record_count: u64,
    /// After the last record before the first fault, or of the whole log.
    pub(crate) end: LogEnd,
    /// In the order of the log, at most [`FAULTS_MAX`].
    pub(crate) faults: Vec<Fault>,
    /// Whether a power cut can have left every one of the faults, those left out too.
    pub(crate) can_be_torn: bool,
    /// Whether there is a valid record after a fault.
    pub(crate) has_valid_after_fault: bool,
    /// The strongest proof in any header: records below it had been synced.
    pub(crate) synced_index: RecordIndex,
    /// Above the index of every record whose header checks.
    pub(crate) index_end: RecordIndex,
    /// For every segment up to the one of `end`, how many bytes of it are the log's.
    pub(crate) segment_ends: Vec<u32>,
}

/// A pass in progress. Segments are fed in the order of their numbers.
#[derive(Debug)]
pub(crate) struct Walker<'a> {
    identity: &'a Identity,
    gaps: &'a Gaps,
    /// The marked stretch that is being left out.
    leaving_out: Option<MarkedFaulty>,
    walk: Walk,
    /// The index of the next record; `None` right after a fault, until a valid record tells.
    expected: Option<RecordIndex>,
    /// The number that the next started segment must have.
    number_next: u32,
    /// Where the log begins when its first segments were pruned.
    base: Option<&'a Base>,
}

impl<'a> Walker<'a> {
    pub(crate) fn new(identity: &'a Identity, gaps: &'a Gaps, base: Option<&'a Base>) -> Self {
        let start = base.map_or_else(genesis_start, Base::start);
        let chain_start = base.map_or_else(
            || ChainHash::from_bytes(identity.chain_start),
            |base| base.header().chain_start,
        );
        let walk = Walk {
            record_count: 0,
            end: LogEnd {
                offset: start.offset,
                index: start.index,
                hash: chain_start,
            },
            faults: Vec::new(),
            can_be_torn: true,
            has_valid_after_fault: false,
            synced_index: RecordIndex::GENESIS,
            index_end: RecordIndex::GENESIS,
            segment_ends: Vec::new(),
        };
        Self {
            identity,
            gaps,
            leaving_out: None,
            walk,
            expected: Some(start.index),
            number_next: start.offset.segment(),
            base,
        }
    }

    /// The first file is that of segment `number`: all before it must have been pruned. Returns
    /// the number that follows it in turn.
    pub(crate) fn begins_with(&mut self, number: Option<u32>) -> u32 {
        match (self.base, number) {
            (Some(base), number) if number != Some(base.number()) => self.missing(base.number()),
            (None, Some(1..)) => self.fault(0, 0, Damage::BeginningMissing),
            _ => {}
        }
        number.unwrap_or(self.number_next)
    }

    /// There is no file for segment `number`, and there is one after it.
    pub(crate) fn missing(&mut self, number: u32) {
        self.fault(number, 0, Damage::SegmentMissing);
    }

    /// The next segment's file.
    pub(crate) fn segment(&mut self, number: u32, bytes: &[u8]) {
        if self.leaving_out.is_some_and(|gap| number < gap.resumed_in) {
            self.walk.segment_ends.push(bytes.len() as u32);
            self.number_next = number.saturating_add(1);
            return;
        }
        if bytes.len() < SEGMENT_BYTES_MIN as usize {
            let found = bytes.len() as u64;
            self.fault(number, 0, Damage::SegmentLength { found });
            return;
        }
        let header_bytes = &bytes[..SEGMENT_HEADER_BYTES];
        if is_zero(header_bytes) {
            // Made ready and not started, or its header was lost.
            if !is_zero(bytes) {
                self.fault(number, 0, Damage::SegmentHeader);
                self.number_next = number.saturating_add(1);
                self.records(number, bytes);
            }
            return;
        }
        if let Some(damage) = self.header(number, bytes) {
            self.fault(number, 0, damage);
        }
        self.number_next = number.saturating_add(1);
        self.records(number, bytes);
    }

    pub(crate) fn finish(mut self) -> Walk {
        // So far the list holds the segments before the one of the end.
        self.walk.segment_ends.push(self.walk.end.offset.bytes());
        self.walk
    }

    /// Checks the header and takes what it proves.
    fn header(&mut self, number: u32, bytes: &[u8]) -> Option<Damage> {
        let header = match SegmentHeader::decode(bytes) {
            Ok(header) => header,
            Err(HeaderDamage::Checksum) => return Some(Damage::SegmentHeader),
            Err(HeaderDamage::Version(version)) => return Some(Damage::SegmentVersion { version }),
        };
        let is_ours =
            header.genesis_hash == self.identity.genesis_hash && header.salt == self.identity.salt;
        if !is_ours {
            return Some(Damage::SegmentOfAnotherLog);
        }
        if header.number != number {
            return Some(Damage::SegmentMisplaced {
                found: header.number,
            });
        }
        if header.segment_bytes as usize != bytes.len() {
            return Some(Damage::SegmentLength {
                found: bytes.len() as u64,
            });
        }
        self.walk.synced_index = self.walk.synced_index.max(header.synced_index);
        let left_out = self.leaving_out.take();
        let is_base = self.base.is_some_and(|base| *base.header() == header);
        let is_expected = match left_out {
            // Only a header with a mark ends a stretch; nothing is known of what stands in it.
            Some(gap) => header.first_index == gap.resumed_at,
            None => {
                (header.gap.is_none() || is_base)
                    && self
                        .expected
                        .is_none_or(|expected| expected == header.first_index)
            }
        };
        let continues = number == self.number_next
            && is_expected
            && (!self.walk.faults.is_empty() || header.chain_start == self.walk.end.hash);
        if !continues {
            return Some(Damage::SegmentStart);
        }
        if self.walk.faults.is_empty() {
            if left_out.is_some() {
                self.expected = Some(header.first_index);
                self.walk.end.index = header.first_index;
            } else if number > self.base.map_or(0, Base::number) {
                self.walk.segment_ends.push(self.walk.end.offset.bytes());
            }
            self.walk.end.offset = LogOffset::new(number, SEGMENT_HEADER_BYTES as u32);
        }
        None
    }

    /// Whether a stretch that was marked faulty begins where the whole part ends.
    fn leaves_out(&mut self, number: u32, offset: usize, bytes: &[u8]) -> bool {
        let place = LogOffset::new(number, offset as u32);
        let gap = self.gaps.at(place).filter(|gap| {
            self.walk.faults.is_empty()
                && place == self.walk.end.offset
                && gap.index == self.walk.end.index
        });
        if gap.is_some() {
            self.leaving_out = gap;
            self.walk.segment_ends.push(bytes.len() as u32);
        }
        gap.is_some()
    }

    fn records(&mut self, number: u32, bytes: &[u8]) {
        let mut offset = SEGMENT_HEADER_BYTES;
        loop {
            if self.leaves_out(number, offset, bytes) {
                return;
            }
            let resume_from = match examine(self.identity, number, bytes, offset) {
                Examined::Nothing => {
                    if is_zero(&bytes[offset..]) {
                        return;
                    }
                    self.fault(number, offset, Damage::BytesAfterEnd);
                    offset + ALIGN_BYTES
                }
                Examined::BadHeader => {
                    self.fault(number, offset, Damage::RecordHeader);
                    offset + ALIGN_BYTES
                }
                Examined::BadBody(header) => {
                    self.proof(&header);
                    self.fault(number, offset, Damage::RecordBody);
                    header.end_from(offset)
                }
                Examined::Valid(header) => {
                    self.valid(number, bytes, offset, &header);
                    offset = header.end_from(offset);
                    continue;
                }
            };
            // Past a fault, the next thing of interest is whatever has a right header.
            let Some(found) = find_header(self.identity, number, bytes, resume_from) else {
                return;
            };
            offset = found;
        }
    }

    fn valid(&mut self, number: u32, bytes: &[u8], offset: usize, header: &RecordHeader) {
        self.proof(header);
        if self
            .expected
            .is_some_and(|expected| expected != header.index)
        {
            self.fault(
                number,
                offset,
                Damage::RecordIndex {
                    found: header.index,
                },
            );
        } else if header.index == RecordIndex::GENESIS {
            let is_genesis = header.kind == RecordKind::GENESIS
                && genesis_hash(&bytes[header.payload_from(offset)]) == self.identity.genesis_hash;
            if !is_genesis {
                self.fault(number, offset, Damage::GenesisRecord);
            }
        }
        self.walk.record_count += 1;
        self.expected = Some(header.index.next());
        if self.walk.faults.is_empty() {
            let record_end = header.end_from(offset);
            self.walk.end = LogEnd {
                offset: LogOffset::new(number, record_end as u32),
                index: header.index.next(),
                hash: ChainHash::from_bytes(array_at(bytes, record_end - HASH_BYTES)),
            };
        } else {
            self.walk.has_valid_after_fault = true;
        }
    }

    fn proof(&mut self, header: &RecordHeader) {
        self.walk.synced_index = self.walk.synced_index.max(header.synced_index);
        self.walk.index_end = self.walk.index_end.max(header.index.next());
    }

    fn fault(&mut self, segment: u32, offset: impl TryInto<u32>, damage: Damage) {
        self.walk.can_be_torn &= damage.can_be_torn();
        if self.walk.faults.len() < FAULTS_MAX {
            let offset = offset.try_into().unwrap_or(u32::MAX);
            self.walk.faults.push(Fault {
                segment,
                offset,
                index: self.expected,
                damage,
            });
        }
        self.expected = None;
    }
}

/// The first place from `from` on where a record header stands.
pub(crate) fn find_header(
    identity: &Identity,
    number: u32,
    bytes: &[u8],
    from: usize,
) -> Option<usize> {
    let last = bytes.len().checked_sub(OVERHEAD_BYTES)?;
    (from..=last)
        .step_by(ALIGN_BYTES)
        .find(|offset| examine_header(identity, number, bytes, *offset).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{encode_header, record_bytes, record_hash};
    use crate::segment::FORMAT_VERSION;

    const BYTES: usize = SEGMENT_BYTES_MIN as usize;

    fn identity() -> Identity {
        Identity::new(genesis_hash(b"genesis"), [9; 32])
    }

    fn segment(number: u32, first_index: u64, chain_start: [u8; 32]) -> Vec<u8> {
        let header = SegmentHeader {
            version: FORMAT_VERSION,
            number,
            segment_bytes: SEGMENT_BYTES_MIN,
            first_index: RecordIndex::new(first_index),
            synced_index: RecordIndex::GENESIS,
            genesis_hash: identity().genesis_hash,
            salt: identity().salt,
            chain_start: ChainHash::from_bytes(chain_start),
            gap: None,
        };
        let mut bytes = header.encode().to_vec();
        bytes.resize(BYTES, 0);
        bytes
    }

    /// Puts a record whose every checksum is right, whatever its index; returns where it ends.
    fn put(bytes: &mut [u8], number: u32, at: usize, index: u64, payload: &[u8]) -> usize {
        let kind = RecordKind::new(u16::from(index > 0));
        let header = RecordHeader {
            kind,
            payload_bytes: u32::try_from(payload.len()).unwrap(),
            index: RecordIndex::new(index),
            synced_index: RecordIndex::GENESIS,
            lead: 0,
        };
        let place = u32::try_from(at).unwrap();
        bytes[at..at + 32].copy_from_slice(&encode_header(&identity(), number, place, &header));
        bytes[header.payload_from(at)].copy_from_slice(payload);
        let end = at + record_bytes(payload.len()).unwrap() as usize;
        let hash = record_hash(&identity(), &header, &bytes[at - 32..end - 32]);
        bytes[end - 32..end].copy_from_slice(&hash);
        end
    }

    fn walk(segments: &[Vec<u8>]) -> Walk {
        let (identity, gaps) = (identity(), Gaps::default());
        let mut walker = Walker::new(&identity, &gaps, None);
        for (number, bytes) in segments.iter().enumerate() {
            walker.segment(u32::try_from(number).unwrap(), bytes);
        }
        walker.finish()
    }

    fn first_segment() -> (Vec<u8>, usize) {
        let mut bytes = segment(0, 0, identity().chain_start);
        let end = put(&mut bytes, 0, SEGMENT_HEADER_BYTES, 0, b"genesis");
        (bytes, end)
    }

    fn damages(walk: &Walk) -> Vec<Damage> {
        walk.faults.iter().map(|fault| fault.damage).collect()
    }

    #[test]
    fn a_whole_log_has_no_fault() {
        let (mut bytes, end) = first_segment();
        let end = put(&mut bytes, 0, end, 1, b"one");
        let hash = array_at(&bytes, end - 32);
        let mut second = segment(1, 2, hash);
        put(&mut second, 1, SEGMENT_HEADER_BYTES, 2, b"two");
        let walk = walk(&[bytes, second, vec![0; BYTES]]);
        assert_eq!((walk.record_count, damages(&walk)), (3, vec![]));
        assert_eq!(walk.segment_ends, [end as u32, 512 + 72]);
    }

    #[test]
    fn a_record_out_of_turn_is_a_fault_under_right_checksums() {
        let (mut bytes, end) = first_segment();
        put(&mut bytes, 0, end, 2, b"skips one");
        let walk = walk(&[bytes]);
        assert_eq!(
            damages(&walk),
            [Damage::RecordIndex {
                found: RecordIndex::new(2)
            }]
        );
        assert_eq!(walk.end.index, RecordIndex::new(1));
    }

    #[test]
    fn another_genesis_than_the_header_names_is_a_fault_under_right_checksums() {
        let mut bytes = segment(0, 0, identity().chain_start);
        put(&mut bytes, 0, SEGMENT_HEADER_BYTES, 0, b"another");
        assert_eq!(damages(&walk(&[bytes])), [Damage::GenesisRecord]);
    }

    #[test]
    fn a_segment_that_does_not_continue_the_chain_is_a_fault() {
        let (bytes, end) = first_segment();
        let hash = array_at(&bytes, end - 32);
        let continued = walk(&[bytes.clone(), segment(1, 1, hash)]);
        assert_eq!(damages(&continued), []);
        for wrong in [
            segment(1, 2, hash),
            segment(1, 0, hash),
            segment(1, 1, [0; 32]),
        ] {
            assert_eq!(
                damages(&walk(&[bytes.clone(), wrong])),
                [Damage::SegmentStart]
            );
        }
        // Started although the one before it was not.
        let skipped = walk(&[bytes, vec![0; BYTES], segment(2, 1, hash)]);
        assert_eq!(damages(&skipped), [Damage::SegmentStart]);
    }

    #[test]
    fn a_report_is_bounded_and_what_it_leaves_out_still_counts() {
        let (identity, gaps) = (identity(), Gaps::default());
        let mut walker = Walker::new(&identity, &gaps, None);
        for number in 0..FAULTS_MAX as u32 {
            walker.fault(number, 0, Damage::RecordHeader);
        }
        assert!(walker.walk.can_be_torn);
        walker.missing(FAULTS_MAX as u32);
        let walk = walker.finish();
        assert_eq!(walk.faults.len(), FAULTS_MAX);
        assert!(!walk.can_be_torn);
    }
}
