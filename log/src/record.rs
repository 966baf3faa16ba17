//! The bytes of one record: header, payload, padding, chain hash.
//!
//! Owns the layout (docs/log-format.md has the table) and the check of one record in place. Knows
//! nothing of files, of what a payload means, or of what to do about a bad record.
//!
//! A record ends with its chain hash, and the 32 bytes before any record are the hash that it
//! chains on: the chain hash of the record before it, or the last field of the segment header. So
//! what is hashed - previous hash, header, payload, padding - is one run of bytes in the map.

use crate::bytes::{array_at, is_zero, u16_at, u32_at, u64_at};
use crate::identity::Identity;
use crate::position::RecordIndex;

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

/// "QR" in the file.
const MAGIC: u16 = 0x5251;

const MAGIC_AT: usize = 0;
const KIND_AT: usize = MAGIC_AT + 2;
const PAYLOAD_BYTES_AT: usize = KIND_AT + 2;
const INDEX_AT: usize = PAYLOAD_BYTES_AT + 4;
const SYNCED_INDEX_AT: usize = INDEX_AT + 8;
const CHECK_AT: usize = SYNCED_INDEX_AT + 8;
const _: () = assert!(CHECK_AT + 8 == HEADER_BYTES);

/// The fields of a record header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RecordHeader {
    pub(crate) kind: RecordKind,
    /// Without padding.
    pub(crate) payload_bytes: u32,
    pub(crate) index: RecordIndex,
    /// Records below this index were known to be synced when this record was appended. Recovery
    /// reads it as proof: a damaged record below it was not torn by a crash.
    pub(crate) synced_index: RecordIndex,
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
    bytes[SYNCED_INDEX_AT..CHECK_AT].copy_from_slice(&header.synced_index.count().to_le_bytes());
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

/// The chain hash over `covered`: previous hash, header, payload and padding, in one run.
pub(crate) fn chain_hash(identity: &Identity, covered: &[u8]) -> [u8; HASH_BYTES] {
    *blake3::keyed_hash(&identity.chain_key, covered).as_bytes()
}

/// The chain hash of a record of which only the pieces are at hand, in the order in which they will
/// stand.
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
    pub(crate) fn payload_from(&self, offset: usize) -> std::ops::Range<usize> {
        let start = offset + HEADER_BYTES;
        start..start + self.payload_bytes as usize
    }
}

/// Checks only the header at `offset`: its checksum, its bounds, and that it lies inside.
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
        synced_index: RecordIndex::new(u64_at(header, SYNCED_INDEX_AT)),
    };
    let is_plausible =
        fields.synced_index <= fields.index && fields.end_from(offset) <= bytes.len();
    is_plausible.then_some(fields)
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
    let hash = chain_hash(identity, &bytes[offset - HASH_BYTES..hash_at]);
    if hash == array_at::<HASH_BYTES>(bytes, hash_at) && is_zero(padding) {
        Examined::Valid(header)
    } else {
        Examined::BadBody(header)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OFFSET: usize = 64;

    fn segment_with_one_record(identity: &Identity, payload: &[u8]) -> Vec<u8> {
        let header = RecordHeader {
            kind: RecordKind::new(7),
            payload_bytes: u32::try_from(payload.len()).unwrap(),
            index: RecordIndex::new(3),
            synced_index: RecordIndex::new(2),
        };
        let mut bytes = vec![0; OFFSET];
        bytes[OFFSET - 32..].fill(0xab);
        bytes.extend(encode_header(identity, 5, OFFSET as u32, &header));
        bytes.extend(payload);
        bytes.resize(bytes.len().next_multiple_of(ALIGN_BYTES), 0);
        let hash = chain_hash(identity, &bytes[OFFSET - 32..]);
        bytes.extend(hash);
        assert_eq!(
            bytes.len(),
            OFFSET + record_bytes(payload.len()).unwrap() as usize
        );
        bytes
    }

    #[test]
    fn a_record_is_valid_only_where_it_was_written() {
        let identity = Identity::new([1; 32], [2; 32]);
        let bytes = segment_with_one_record(&identity, b"thirteen byte");
        let Examined::Valid(header) = examine(&identity, 5, &bytes, OFFSET) else {
            panic!("not valid");
        };
        assert_eq!(&bytes[header.payload_from(OFFSET)], b"thirteen byte");
        assert_eq!(header.end_from(OFFSET), bytes.len());
        assert_eq!(examine(&identity, 6, &bytes, OFFSET), Examined::BadHeader);
        let other = Identity::new([1; 32], [3; 32]);
        assert_eq!(examine(&other, 5, &bytes, OFFSET), Examined::BadHeader);
        let mut moved = vec![0; 8];
        moved.extend(&bytes);
        assert_eq!(
            examine(&identity, 5, &moved, OFFSET + 8),
            Examined::BadHeader
        );
    }

    #[test]
    fn every_flipped_bit_of_a_record_is_seen() {
        let identity = Identity::new([1; 32], [2; 32]);
        for payload_bytes in [0, 1, 8, 100] {
            let mut bytes = segment_with_one_record(&identity, &vec![0x5a; payload_bytes]);
            for bit in (OFFSET - 32) * 8..bytes.len() * 8 {
                bytes[bit / 8] ^= 1 << (bit % 8);
                let examined = examine(&identity, 5, &bytes, OFFSET);
                assert!(!matches!(examined, Examined::Valid(_)), "bit {bit}");
                assert_ne!(examined, Examined::Nothing, "bit {bit}");
                bytes[bit / 8] ^= 1 << (bit % 8);
            }
        }
    }

    #[test]
    fn padding_must_be_zero_even_under_a_right_hash() {
        let identity = Identity::new([1; 32], [2; 32]);
        let mut bytes = segment_with_one_record(&identity, b"abc");
        bytes[OFFSET + HEADER_BYTES + 3] = 1;
        let hash_at = bytes.len() - 32;
        let hash = chain_hash(&identity, &bytes[OFFSET - 32..hash_at]);
        bytes[hash_at..].copy_from_slice(&hash);
        assert!(matches!(
            examine(&identity, 5, &bytes, OFFSET),
            Examined::BadBody(_)
        ));
    }

    #[test]
    fn lengths_stop_at_u32() {
        assert_eq!(record_bytes(0), Some(64));
        assert_eq!(record_bytes(1), Some(72));
        assert_eq!(record_bytes(u32::MAX as usize), None);
        assert_eq!(record_bytes(usize::MAX), None);
    }
}
