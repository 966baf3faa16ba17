//! The bytes of one record: header, payload, padding, chain hash.
//!
//! Owns the layout (docs/log-format.md has the table) and the check of one record in place. Knows
//! nothing of files, of what a payload means, or of what to do about a bad record.
//!
//! A record ends with its chain hash, and the 32 bytes before any record are the hash that it
//! chains on: the chain hash of the record before it, or the last field of the segment header. So
//! what is hashed - previous hash, header, payload, padding - is one run of bytes in the map. A
//! long body at the end of a payload may stand in it with its own hash, which whoever appends it
//! knows already.

use std::ops::Range;

use crate::bytes::{array_at, is_zero, u16_at, u32_at, u64_at};
use crate::identity::Identity;
use crate::position::RecordIndex;
use crate::segment::has_leads;

/// What a record is, to whoever reads it. The log itself knows only [`RecordKind::GENESIS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordKind(u16);

impl RecordKind {
    /// Record 0 of every log, written when the log is created and never again.
    pub const GENESIS: Self = Self(0);

    /// The kind with this number; 0 is [`Self::GENESIS`] and cannot be appended.
    #[must_use]
    pub const fn new(number: u16) -> Self {
        Self(number)
    }

    /// The number of the kind.
    #[must_use]
    pub const fn number(self) -> u16 {
        self.0
    }
}

/// Bytes before the payload.
pub(crate) const HEADER_BYTES: usize = 32;
/// Bytes after the padding: the chain hash.
pub(crate) const HASH_BYTES: usize = 32;
/// Records start at multiples of this.
pub(crate) const ALIGN_BYTES: usize = 8;
/// What a record costs on top of its padded payload.
pub(crate) const OVERHEAD_BYTES: usize = HEADER_BYTES + HASH_BYTES;

/// A shorter body is chained as it is: to hash it once more costs next to nothing.
pub(crate) const BODY_BYTES_MIN: usize = 4096;

/// "QR" in the file.
const MAGIC: u16 = 0x5251;

const MAGIC_AT: usize = 0;
const KIND_AT: usize = MAGIC_AT + 2;
const PAYLOAD_BYTES_AT: usize = KIND_AT + 2;
const INDEX_AT: usize = PAYLOAD_BYTES_AT + 4;
const SYNCED_INDEX_AT: usize = INDEX_AT + 8;
const LEAD_AT: usize = SYNCED_INDEX_AT + 6;
const CHECK_AT: usize = LEAD_AT + 2;
/// The largest synced index that the header has room for.
const SYNCED_INDEX_MAX: u64 = (1 << 48) - 1;
const _: () = assert!(CHECK_AT + 8 == HEADER_BYTES);

/// The fields of a record header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RecordHeader {
    pub(crate) kind: RecordKind,
    /// Without padding.
    pub(crate) payload_bytes: u32,
    pub(crate) index: RecordIndex,
    /// Records below this index were known to be synced when this record was appended. Recovery
    /// reads it as proof: a damaged record below it was not torn by a crash. The header has room
    /// for 48 bits, and a lower bound may be lower.
    pub(crate) synced_index: RecordIndex,
    /// So many bytes of the payload are chained as they are, and what is behind them, the body, by
    /// its hash; 0: all of the payload is chained as it is.
    pub(crate) lead: u16,
}

/// The lead of a record whose last part is a body whose hash is known; 0 where it is to have none.
pub(crate) fn lead_of(parts: &[&[u8]]) -> u16 {
    match parts.split_last() {
        Some((body, front)) if body.len() >= BODY_BYTES_MIN => {
            let lead: usize = front.iter().map(|part| part.len()).sum();
            u16::try_from(lead).unwrap_or(0)
        }
        _ => 0,
    }
}

/// The whole length of a record with such a payload, or `None` if it exceeds `u32`.
pub(crate) fn record_bytes(payload_bytes: usize) -> Option<u32> {
    let padded = payload_bytes.checked_next_multiple_of(ALIGN_BYTES)?;
    u32::try_from(padded.checked_add(OVERHEAD_BYTES)?).ok()
}

/// The header's bytes for a record that stands at `offset` of segment number `segment`.
pub(crate) fn encode_header(
    identity: &Identity,
    segment: u32,
    offset: u32,
    header: &RecordHeader,
) -> [u8; HEADER_BYTES] {
    let mut bytes = [0; HEADER_BYTES];
    bytes[MAGIC_AT..KIND_AT].copy_from_slice(&MAGIC.to_le_bytes());
    bytes[KIND_AT..PAYLOAD_BYTES_AT].copy_from_slice(&header.kind.number().to_le_bytes());
    bytes[PAYLOAD_BYTES_AT..INDEX_AT].copy_from_slice(&header.payload_bytes.to_le_bytes());
    bytes[INDEX_AT..SYNCED_INDEX_AT].copy_from_slice(&header.index.count().to_le_bytes());
    let synced_index = header.synced_index.count().min(SYNCED_INDEX_MAX);
    bytes[SYNCED_INDEX_AT..CHECK_AT].copy_from_slice(&synced_index.to_le_bytes());
    bytes[LEAD_AT..CHECK_AT].copy_from_slice(&header.lead.to_le_bytes());
    let check = header_check(identity, segment, offset, &bytes);
    bytes[CHECK_AT..].copy_from_slice(&check);
    bytes
}

/// Covers the header's fields and the place where they stand, so that a whole record copied
/// elsewhere (a misdirected write) fails. It is checked before the length is used.
fn header_check(identity: &Identity, segment: u32, offset: u32, header: &[u8]) -> [u8; 8] {
    let mut input = [0; 8 + CHECK_AT];
    input[..4].copy_from_slice(&segment.to_le_bytes());
    input[4..8].copy_from_slice(&offset.to_le_bytes());
    input[8..].copy_from_slice(&header[..CHECK_AT]);
    array_at(
        blake3::keyed_hash(&identity.record_header_key, &input).as_bytes(),
        0,
    )
}

/// The chain hash of the record with this header over `covered`: previous hash, header, payload and
/// padding, in one run.
pub(crate) fn record_hash(
    identity: &Identity,
    header: &RecordHeader,
    covered: &[u8],
) -> [u8; HASH_BYTES] {
    match header.body_from(HASH_BYTES) {
        None => *blake3::keyed_hash(&identity.chain_key, covered).as_bytes(),
        Some(body) => {
            let (front, padding) = (&covered[..body.start], &covered[body.end..]);
            let body_hash = blake3::hash(&covered[body]);
            chain_hash_of(identity, [front, body_hash.as_bytes(), padding])
        }
    }
}

/// The chain hash of a record of which only the pieces are at hand, in the order in which they will
/// stand: previous hash, header, payload and padding, and in the place of a body its hash.
pub(crate) fn chain_hash_of<'a>(
    identity: &Identity,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> [u8; HASH_BYTES] {
    let mut hasher = blake3::Hasher::new_keyed(&identity.chain_key);
    for piece in pieces {
        hasher.update(piece);
    }
    *hasher.finalize().as_bytes()
}

/// What stands at one place of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Examined {
    /// A header's worth of zeros, or no room for a record: nothing was written here.
    Nothing,
    /// A record whose every byte is as it was written.
    Valid(RecordHeader),
    /// Not a header.
    BadHeader,
    /// The header is right, something after it is not.
    BadBody(RecordHeader),
}

impl RecordHeader {
    /// Where the record ends if it starts at `offset`. The header has been checked.
    pub(crate) fn end_from(&self, offset: usize) -> usize {
        offset + OVERHEAD_BYTES + (self.payload_bytes as usize).next_multiple_of(ALIGN_BYTES)
    }

    /// Where the payload lies if the record starts at `offset`.
    pub(crate) fn payload_from(&self, offset: usize) -> Range<usize> {
        let start = offset + HEADER_BYTES;
        start..start + self.payload_bytes as usize
    }

    /// Where the body lies that is chained by its hash, if the record starts at `offset`.
    fn body_from(&self, offset: usize) -> Option<Range<usize>> {
        let payload = self.payload_from(offset);
        (self.lead > 0).then(|| payload.start + usize::from(self.lead)..payload.end)
    }
}

/// Checks only the header at `offset` of the segment's bytes: its checksum, its bounds, and that it
/// lies inside.
pub(crate) fn examine_header(
    identity: &Identity,
    segment: u32,
    bytes: &[u8],
    offset: usize,
) -> Option<RecordHeader> {
    let header = bytes.get(offset..offset.checked_add(HEADER_BYTES)?)?;
    if u16_at(header, MAGIC_AT) != MAGIC {
        return None;
    }
    let check = header_check(identity, segment, u32::try_from(offset).ok()?, header);
    if check != array_at::<8>(header, CHECK_AT) {
        return None;
    }
    let fields = RecordHeader {
        kind: RecordKind(u16_at(header, KIND_AT)),
        payload_bytes: u32_at(header, PAYLOAD_BYTES_AT),
        index: RecordIndex::new(u64_at(header, INDEX_AT)),
        synced_index: RecordIndex::new(u64_at(header, SYNCED_INDEX_AT) & SYNCED_INDEX_MAX),
        lead: u16_at(header, LEAD_AT),
    };
    let is_plausible =
        fields.synced_index <= fields.index && fields.end_from(offset) <= bytes.len();
    let is_lead_plausible =
        fields.lead == 0 || (u32::from(fields.lead) < fields.payload_bytes && has_leads(bytes));
    (is_plausible && is_lead_plausible).then_some(fields)
}

/// Checks what stands at `offset`, which is at least [`HASH_BYTES`], of the segment's bytes.
pub(crate) fn examine(identity: &Identity, segment: u32, bytes: &[u8], offset: usize) -> Examined {
    let Some(header) = bytes.get(offset..offset + OVERHEAD_BYTES) else {
        return Examined::Nothing;
    };
    if is_zero(&header[..HEADER_BYTES]) {
        return Examined::Nothing;
    }
    let Some(header) = examine_header(identity, segment, bytes, offset) else {
        return Examined::BadHeader;
    };
    let hash_at = header.end_from(offset) - HASH_BYTES;
    let padding = &bytes[header.payload_from(offset).end..hash_at];
    let hash = record_hash(identity, &header, &bytes[offset - HASH_BYTES..hash_at]);
    if hash == array_at::<HASH_BYTES>(bytes, hash_at) && is_zero(padding) {
        Examined::Valid(header)
    } else {
        Examined::BadBody(header)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::position::ChainHash;
    use crate::segment::{SEGMENT_BYTES_MIN, SEGMENT_HEADER_BYTES, SegmentHeader};

    const OFFSET: usize = 64;

    fn identity() -> Identity {
        Identity::new([1; 32], [2; 32])
    }

    fn header(payload: &[u8], lead: u16) -> RecordHeader {
        RecordHeader {
            kind: RecordKind::new(7),
            payload_bytes: u32::try_from(payload.len()).unwrap(),
            index: RecordIndex::new(3),
            synced_index: RecordIndex::new(2),
            lead,
        }
    }

    /// A record behind these bytes of its segment, whatever its lead.
    fn append(bytes: &mut Vec<u8>, payload: &[u8], lead: u16) {
        let offset = bytes.len();
        let header = header(payload, lead);
        bytes.extend(encode_header(&identity(), 5, offset as u32, &header));
        bytes.extend(payload);
        bytes.resize(bytes.len().next_multiple_of(ALIGN_BYTES), 0);
        // Of a lead out of bounds nothing is a body.
        let is_in_bounds = usize::from(lead) < payload.len();
        let lead = if is_in_bounds { lead } else { 0 };
        let header = RecordHeader { lead, ..header };
        let hash = record_hash(&identity(), &header, &bytes[offset - 32..]);
        bytes.extend(hash);
        assert_eq!(
            bytes.len(),
            offset + record_bytes(payload.len()).unwrap() as usize
        );
    }

    fn segment_with_one_record(payload: &[u8], lead: u16) -> Vec<u8> {
        let mut bytes = vec![0; OFFSET];
        bytes[OFFSET - 32..].fill(0xab);
        append(&mut bytes, payload, lead);
        bytes
    }

    #[test]
    fn a_record_is_valid_only_where_it_was_written() {
        for lead in [0, 1, 12] {
            let bytes = segment_with_one_record(b"thirteen byte", lead);
            let Examined::Valid(header) = examine(&identity(), 5, &bytes, OFFSET) else {
                panic!("not valid");
            };
            assert_eq!(&bytes[header.payload_from(OFFSET)], b"thirteen byte");
            assert_eq!(header.end_from(OFFSET), bytes.len());
            assert_eq!(header.lead, lead);
            assert_eq!(examine(&identity(), 6, &bytes, OFFSET), Examined::BadHeader);
            let other = Identity::new([1; 32], [3; 32]);
            assert_eq!(examine(&other, 5, &bytes, OFFSET), Examined::BadHeader);
            let mut moved = vec![0; 8];
            moved.extend(&bytes);
            assert_eq!(
                examine(&identity(), 5, &moved, OFFSET + 8),
                Examined::BadHeader
            );
        }
    }

    #[test]
    fn every_flipped_bit_of_a_record_is_seen() {
        let lengths = [
            (0, 0),
            (1, 0),
            (8, 0),
            (100, 0),
            (2, 1),
            (100, 1),
            (101, 60),
        ];
        for (payload_bytes, lead) in lengths {
            let mut bytes = segment_with_one_record(&vec![0x5a; payload_bytes], lead);
            for bit in (OFFSET - 32) * 8..bytes.len() * 8 {
                bytes[bit / 8] ^= 1 << (bit % 8);
                let examined = examine(&identity(), 5, &bytes, OFFSET);
                assert!(!matches!(examined, Examined::Valid(_)), "bit {bit}");
                assert_ne!(examined, Examined::Nothing, "bit {bit}");
                bytes[bit / 8] ^= 1 << (bit % 8);
            }
            assert!(matches!(
                examine(&identity(), 5, &bytes, OFFSET),
                Examined::Valid(_)
            ));
        }
    }

    #[test]
    fn padding_must_be_zero_even_under_a_right_hash() {
        for lead in [0, 1] {
            let mut bytes = segment_with_one_record(b"abc", lead);
            bytes[OFFSET + HEADER_BYTES + 3] = 1;
            let hash_at = bytes.len() - 32;
            let header = header(b"abc", lead);
            let hash = record_hash(&identity(), &header, &bytes[OFFSET - 32..hash_at]);
            bytes[hash_at..].copy_from_slice(&hash);
            assert!(matches!(
                examine(&identity(), 5, &bytes, OFFSET),
                Examined::BadBody(_)
            ));
        }
    }

    /// As docs/log-format.md has it, and not as the code does it.
    #[test]
    fn a_body_stands_in_the_chain_with_its_hash() {
        let payload = [&[3; 70][..], &[4; 5000]].concat();
        let mut bytes = segment_with_one_record(&payload, 70);
        let hash_at = bytes.len() - 32;
        let mut hasher = blake3::Hasher::new_keyed(&identity().chain_key);
        hasher.update(&bytes[OFFSET - 32..OFFSET + 32]);
        hasher.update(&[3; 70]);
        hasher.update(blake3::hash(&[4; 5000]).as_bytes());
        hasher.update(&[0; 2]);
        assert_eq!(bytes[hash_at..], hasher.finalize().as_bytes()[..]);
        // Of another body, or of all of the payload in one run, it is not the hash.
        let covered = OFFSET - 32..hash_at;
        let (front, padding) = (&bytes[covered.start..OFFSET + 102], &[0; 2][..]);
        let other = *blake3::hash(&[5; 5000]).as_bytes();
        let other = chain_hash_of(&identity(), [front, &other, padding]);
        let whole = chain_hash_of(&identity(), [&bytes[covered]]);
        for wrong in [other, whole] {
            bytes[hash_at..].copy_from_slice(&wrong);
            assert!(matches!(
                examine(&identity(), 5, &bytes, OFFSET),
                Examined::BadBody(_)
            ));
        }
    }

    #[test]
    fn a_lead_leaves_at_least_one_byte_to_the_body() {
        for (payload_bytes, lead, is_plausible) in [
            (10, 9, true),
            (10, 10, false),
            (10, 11, false),
            (10, u16::MAX, false),
            (0, 1, false),
            (70_000, u16::MAX, true),
        ] {
            let bytes = segment_with_one_record(&vec![1; payload_bytes], lead);
            let examined = examine(&identity(), 5, &bytes, OFFSET);
            let is_valid = matches!(examined, Examined::Valid(_));
            assert_eq!(is_valid, is_plausible, "{lead} of {payload_bytes}");
            assert_eq!(examined == Examined::BadHeader, !is_plausible);
        }
    }

    #[test]
    fn a_segment_of_version_1_has_no_record_with_a_lead() {
        for (version, lead, is_plausible) in [(1, 0, true), (1, 4, false), (2, 4, true)] {
            let header = SegmentHeader {
                version,
                number: 5,
                first_index: RecordIndex::new(3),
                chain_start: ChainHash::from_bytes([6; 32]),
                ..SegmentHeader::first(&identity(), SEGMENT_BYTES_MIN)
            };
            let mut bytes = header.encode().to_vec();
            append(&mut bytes, b"four and more", lead);
            let examined = examine(&identity(), 5, &bytes, SEGMENT_HEADER_BYTES);
            let is_valid = matches!(examined, Examined::Valid(_));
            assert_eq!(is_valid, is_plausible, "{lead} in version {version}");
            assert_eq!(examined == Examined::BadHeader, !is_plausible);
            // While the segment's header is lost, each record speaks for itself.
            bytes[0] ^= 1;
            let examined = examine(&identity(), 5, &bytes, SEGMENT_HEADER_BYTES);
            assert!(matches!(examined, Examined::Valid(_)));
        }
    }

    #[test]
    fn only_a_long_last_part_behind_a_short_one_is_a_body() {
        let long = vec![0; BODY_BYTES_MIN];
        assert_eq!(lead_of(&[&[0; 2], &[0; 172], &long]), 174);
        assert_eq!(lead_of(&[&[0; 174], &long[1..]]), 0, "short");
        assert_eq!(lead_of(&[&long, &[0; 174]]), 0, "not the last one");
        assert_eq!(lead_of(&[&long]), 0, "with nothing before it");
        assert_eq!(lead_of(&[]), 0);
        assert_eq!(lead_of(&[&[0; 65_535], &long]), u16::MAX);
        assert_eq!(lead_of(&[&[0; 65_536], &long]), 0, "no room for the length");
    }

    /// It is a lower bound, and its upper bytes say something else.
    #[test]
    fn a_synced_index_beyond_its_field_is_written_lower() {
        for (synced, written) in [((1 << 48) - 1, (1 << 48) - 1), (1 << 50, (1 << 48) - 1)] {
            let high = RecordHeader {
                index: RecordIndex::new(u64::MAX),
                synced_index: RecordIndex::new(synced),
                ..header(b"", 0)
            };
            let mut bytes = vec![0; OFFSET];
            bytes.extend(encode_header(&identity(), 5, OFFSET as u32, &high));
            bytes.extend([0; HASH_BYTES]);
            let found = examine_header(&identity(), 5, &bytes, OFFSET).unwrap();
            assert_eq!((found.synced_index.count(), found.lead), (written, 0));
        }
    }

    #[test]
    fn lengths_stop_at_u32() {
        assert_eq!(record_bytes(0), Some(64));
        assert_eq!(record_bytes(1), Some(72));
        assert_eq!(record_bytes(u32::MAX as usize), None);
        assert_eq!(record_bytes(usize::MAX), None);
    }
}
