//! The bytes of a segment's header, and the names and sizes of segment files.
//!
//! Owns the layout (docs/log-format.md has the table). Creates no file and decides nothing about
//! a damaged header.

use crate::bytes::{array_at, is_zero, u32_at, u64_at};
use crate::error::OpenError;
use crate::identity::Identity;
use crate::position::{ChainHash, LogOffset, RecordIndex};
use crate::record::OVERHEAD_BYTES;

/// The format that this crate writes. It reads all from [`FORMAT_VERSION_MIN`] on.
pub const FORMAT_VERSION: u32 = 2;
/// The oldest format that is read. Its segments are those of version 2, but that no record of them
/// has a lead.
pub const FORMAT_VERSION_MIN: u32 = 1;
/// The first in which a record may have a lead.
const VERSION_OF_LEADS: u32 = 2;
/// The default length of a segment.
pub const SEGMENT_BYTES_DEFAULT: u32 = 64 << 20;
/// The shortest segment; tests use short ones to cross many boundaries.
pub const SEGMENT_BYTES_MIN: u32 = 4096;
/// The longest segment, far below what the `u32` offsets can address.
pub const SEGMENT_BYTES_MAX: u32 = 1 << 30;

/// Length of the header; the first record starts here.
pub(crate) const SEGMENT_HEADER_BYTES: usize = 512;

const MAGIC: [u8; 8] = *b"QRTLOGSG";
const CONTEXT_HEADER: &str = "quorate log segment header";

const MAGIC_AT: usize = 0;
const VERSION_AT: usize = MAGIC_AT + 8;
const HEADER_BYTES_AT: usize = VERSION_AT + 4;
const NUMBER_AT: usize = HEADER_BYTES_AT + 4;
const SEGMENT_BYTES_AT: usize = NUMBER_AT + 4;
const FIRST_INDEX_AT: usize = SEGMENT_BYTES_AT + 4;
const SYNCED_INDEX_AT: usize = FIRST_INDEX_AT + 8;
const GENESIS_HASH_AT: usize = SYNCED_INDEX_AT + 8;
const SALT_AT: usize = GENESIS_HASH_AT + 32;
const RESUMES_AT: usize = SALT_AT + 32;
const GAP_INDEX_AT: usize = RESUMES_AT + 8;
const RESERVED_AT: usize = GAP_INDEX_AT + 8;
const CHECK_AT: usize = 448;
/// Last, so that the 32 bytes before the first record are the hash that it chains on.
const CHAIN_START_AT: usize = CHECK_AT + 32;
const _: () = assert!(RESERVED_AT < CHECK_AT && CHAIN_START_AT + 32 == SEGMENT_HEADER_BYTES);
const _: () = assert!(SEGMENT_HEADER_BYTES + OVERHEAD_BYTES < SEGMENT_BYTES_MIN as usize);

/// The fields of a segment header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    /// Of the format, one that is read: what was written is not written again as another one.
    pub(crate) version: u32,
    pub(crate) number: u32,
    /// The whole length of the file, so a shortened or lengthened one is seen.
    pub(crate) segment_bytes: u32,
    pub(crate) first_index: RecordIndex,
    /// As in a record header: records below it were known synced when this was written.
    pub(crate) synced_index: RecordIndex,
    pub(crate) genesis_hash: [u8; 32],
    pub(crate) salt: [u8; 32],
    pub(crate) chain_start: ChainHash,
    /// Present when what stands before this segment is faulty in part.
    pub(crate) gap: Option<Gap>,
}

/// Where a log was whole up to before it was resumed in a new segment. Everything from there to
/// the new segment is faulty or cannot be vouched for; it is kept as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gap {
    /// The end of the whole part; never 0, where a segment header stands.
    pub(crate) from: LogOffset,
    /// The index of the first record that is missing in the chain.
    pub(crate) index: RecordIndex,
}

/// Why bytes are not a segment header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeaderDamage {
    /// Magic, checksum or a reserved byte is wrong.
    Checksum,
    /// The checksum is right and the version is none that is read.
    Version(u32),
}

impl SegmentHeader {
    /// The header of the first segment of a log.
    pub(crate) fn first(identity: &Identity, segment_bytes: u32) -> Self {
        Self {
            version: FORMAT_VERSION,
            number: 0,
            segment_bytes,
            first_index: RecordIndex::GENESIS,
            synced_index: RecordIndex::GENESIS,
            genesis_hash: identity.genesis_hash,
            salt: identity.salt,
            chain_start: ChainHash::from_bytes(identity.chain_start),
            gap: None,
        }
    }

    pub(crate) fn identity(&self) -> Identity {
        Identity::new(self.genesis_hash, self.salt)
    }

    pub(crate) fn encode(&self) -> [u8; SEGMENT_HEADER_BYTES] {
        let mut bytes = [0; SEGMENT_HEADER_BYTES];
        let mut put = |at: usize, field: &[u8]| bytes[at..at + field.len()].copy_from_slice(field);
        put(MAGIC_AT, &MAGIC);
        put(VERSION_AT, &self.version.to_le_bytes());
        put(
            HEADER_BYTES_AT,
            &(SEGMENT_HEADER_BYTES as u32).to_le_bytes(),
        );
        put(NUMBER_AT, &self.number.to_le_bytes());
        put(SEGMENT_BYTES_AT, &self.segment_bytes.to_le_bytes());
        put(FIRST_INDEX_AT, &self.first_index.count().to_le_bytes());
        put(SYNCED_INDEX_AT, &self.synced_index.count().to_le_bytes());
        put(GENESIS_HASH_AT, &self.genesis_hash);
        put(SALT_AT, &self.salt);
        if let Some(gap) = self.gap {
            put(RESUMES_AT, &gap.from.to_u64().to_le_bytes());
            put(GAP_INDEX_AT, &gap.index.count().to_le_bytes());
        }
        put(CHAIN_START_AT, self.chain_start.as_bytes());
        let check = header_check(&bytes);
        bytes[CHECK_AT..CHAIN_START_AT].copy_from_slice(&check);
        bytes
    }

    /// Reads a header from the first bytes of a segment.
    pub(crate) fn decode(segment: &[u8]) -> Result<Self, HeaderDamage> {
        let Some(bytes) = segment.first_chunk::<SEGMENT_HEADER_BYTES>() else {
            return Err(HeaderDamage::Checksum);
        };
        let check = array_at::<32>(bytes, CHECK_AT);
        if array_at::<8>(bytes, MAGIC_AT) != MAGIC || header_check(bytes) != check {
            return Err(HeaderDamage::Checksum);
        }
        // After the checksum: a flipped bit in the version is damage, not another format.
        let version = u32_at(bytes, VERSION_AT);
        if !(FORMAT_VERSION_MIN..=FORMAT_VERSION).contains(&version) {
            return Err(HeaderDamage::Version(version));
        }
        let is_as_written = u32_at(bytes, HEADER_BYTES_AT) as usize == SEGMENT_HEADER_BYTES
            && is_zero(&bytes[RESERVED_AT..CHECK_AT]);
        if !is_as_written {
            return Err(HeaderDamage::Checksum);
        }
        Ok(Self {
            version,
            number: u32_at(bytes, NUMBER_AT),
            segment_bytes: u32_at(bytes, SEGMENT_BYTES_AT),
            first_index: RecordIndex::new(u64_at(bytes, FIRST_INDEX_AT)),
            synced_index: RecordIndex::new(u64_at(bytes, SYNCED_INDEX_AT)),
            genesis_hash: array_at(bytes, GENESIS_HASH_AT),
            salt: array_at(bytes, SALT_AT),
            chain_start: ChainHash::from_bytes(array_at(bytes, CHAIN_START_AT)),
            gap: (u64_at(bytes, RESUMES_AT) != 0).then(|| Gap {
                from: LogOffset::from_u64(u64_at(bytes, RESUMES_AT)),
                index: RecordIndex::new(u64_at(bytes, GAP_INDEX_AT)),
            }),
        })
    }
}

/// Whether records of a segment may have a lead. Where its header is lost they may: each has a
/// check of its own.
pub(crate) fn has_leads(segment: &[u8]) -> bool {
    SegmentHeader::decode(segment).map_or(true, |header| header.version >= VERSION_OF_LEADS)
}

/// The place of magic, version and checksum is the same in every format version, so that an
/// unknown version is told from damage.
fn header_check(bytes: &[u8; SEGMENT_HEADER_BYTES]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_derive_key(CONTEXT_HEADER);
    hasher.update(&bytes[..CHECK_AT]);
    hasher.update(&bytes[CHAIN_START_AT..]);
    *hasher.finalize().as_bytes()
}

const NAME_PREFIX: &str = "segment-";

/// The file name of a segment.
pub(crate) fn segment_name(number: u32) -> String {
    format!("{NAME_PREFIX}{number:010}")
}

/// The number in a segment's file name; `None` for any other name.
pub(crate) fn segment_number(name: &str) -> Option<u32> {
    let digits = name.strip_prefix(NAME_PREFIX)?;
    let number = digits.parse().ok()?;
    // Only the one spelling that we write: `segment-1` is somebody else's file.
    (segment_name(number) == name).then_some(number)
}

/// Whether segments may have this length.
///
/// # Errors
/// They may not.
pub(crate) fn check_segment_bytes(segment_bytes: u32) -> Result<(), OpenError> {
    let is_in_bounds = (SEGMENT_BYTES_MIN..=SEGMENT_BYTES_MAX).contains(&segment_bytes);
    if !is_in_bounds || !segment_bytes.is_multiple_of(SEGMENT_BYTES_MIN) {
        return Err(OpenError::SegmentBytes {
            segment_bytes,
            min: SEGMENT_BYTES_MIN,
            max: SEGMENT_BYTES_MAX,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> SegmentHeader {
        SegmentHeader {
            version: FORMAT_VERSION,
            number: 9,
            segment_bytes: 65536,
            first_index: RecordIndex::new(77),
            synced_index: RecordIndex::new(70),
            genesis_hash: [3; 32],
            salt: [4; 32],
            chain_start: ChainHash::from_bytes([5; 32]),
            gap: Some(Gap {
                from: LogOffset::new(7, 4000),
                index: RecordIndex::new(66),
            }),
        }
    }

    #[test]
    fn a_header_comes_back_and_every_flipped_bit_is_seen() {
        let mut bytes = header().encode();
        assert_eq!(SegmentHeader::decode(&bytes), Ok(header()));
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(
                SegmentHeader::decode(&bytes),
                Err(HeaderDamage::Checksum),
                "bit {bit}"
            );
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        assert_eq!(
            SegmentHeader::decode(&bytes[..511]),
            Err(HeaderDamage::Checksum)
        );
    }

    #[test]
    fn an_unknown_version_is_told_from_damage() {
        for version in [0, FORMAT_VERSION + 1, u32::MAX] {
            let other = SegmentHeader {
                version,
                ..header()
            };
            let found = SegmentHeader::decode(&other.encode());
            assert_eq!(found, Err(HeaderDamage::Version(version)));
        }
    }

    #[test]
    fn every_version_that_is_read_is_written_again_as_it_was() {
        for version in FORMAT_VERSION_MIN..=FORMAT_VERSION {
            let other = SegmentHeader {
                version,
                ..header()
            };
            let bytes = other.encode();
            assert_eq!(SegmentHeader::decode(&bytes), Ok(other));
            assert_eq!(has_leads(&bytes), version >= 2, "version {version}");
        }
        assert!(has_leads(&[0; 4096]), "no header says that there are none");
    }

    /// A later program may say something there: the bytes are whole and not ours to read.
    #[test]
    fn a_whole_header_with_what_we_do_not_write_is_none_of_ours() {
        for at in [RESERVED_AT, CHECK_AT - 1, HEADER_BYTES_AT] {
            let mut bytes = header().encode();
            bytes[at] ^= 1;
            let check = header_check(&bytes);
            bytes[CHECK_AT..CHAIN_START_AT].copy_from_slice(&check);
            let found = SegmentHeader::decode(&bytes);
            assert_eq!(found, Err(HeaderDamage::Checksum), "byte {at}");
        }
    }

    #[test]
    fn only_our_spelling_of_a_name_is_a_segment() {
        assert_eq!(segment_number(&segment_name(0)), Some(0));
        assert_eq!(segment_number(&segment_name(u32::MAX)), Some(u32::MAX));
        for name in [
            "segment-1",
            "segment-0000000001.new",
            "segment-",
            "lease",
            "segment-+000000001",
        ] {
            assert_eq!(segment_number(name), None, "{name}");
        }
    }
}
