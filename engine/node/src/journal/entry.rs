//! The bytes of what this validator logs: entries inside the records of the log.
//!
//! Owns kinds, versions and layout (docs/log-format.md, "What Quorate writes"). Every entry begins
//! with its format version; the rest is fixed-width and little-endian, one encoding a value.
//! Never: where a record stands, when it is durable, or whether what it says is true.

use quorate_consensus::certificate::Certificate;
use quorate_consensus::evidence::Evidence;
use quorate_consensus::header::Header;
use quorate_consensus::limits::HEADER_BYTES;
use quorate_consensus::message::OwnAnswer;
use quorate_consensus::record::OwnRecord;
use quorate_consensus::types::{BlockId, Epoch, Height, Index, Point, ValidatorIndex, Window};
use quorate_consensus::wire;
use quorate_log::{LogOffset, RecordIndex, RecordKind, RecordRef};

/// Version of every entry this code writes and understands.
pub const ENTRY_VERSION: u16 = 1;

/// A block: header and payload.
pub const KIND_BLOCK: RecordKind = RecordKind::new(1);
/// A vote record of this validator's own.
pub const KIND_RECORD: RecordKind = RecordKind::new(2);
/// A block became final here.
pub const KIND_FINALIZED: RecordKind = RecordKind::new(3);
/// A finality proof.
pub const KIND_PROOF: RecordKind = RecordKind::new(4);
/// Proof of misbehaviour.
pub const KIND_EVIDENCE: RecordKind = RecordKind::new(5);
/// An own answer to a validator that lost its disk.
pub const KIND_ANSWER: RecordKind = RecordKind::new(6);
/// The log goes on from a snapshot of peers.
pub const KIND_BASE: RecordKind = RecordKind::new(7);

/// Bytes of the version.
const VERSION_BYTES: usize = 2;
/// Bytes of a place in the log.
const PLACE_BYTES: usize = 4 + 4 + 8;
/// Bytes of a finality mark.
const MARK_BYTES: usize = HEADER_BYTES + PLACE_BYTES + 1 + PLACE_BYTES;
/// Bytes of an answer: epoch, asker, nonce, window.
const ANSWER_BYTES: usize = 8 + 2 + 32 + 8;
/// Bytes of a base: header and root.
const BASE_BYTES: usize = HEADER_BYTES + 32;

/// What a block record has besides its payload.
pub const BLOCK_ENTRY_BYTES: usize = VERSION_BYTES + HEADER_BYTES;

/// A block became final here. Marks are chained downward, so that history is found from any one
/// of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FinalMark {
    /// Header of the block.
    pub header: Header,
    /// Where the block stands in the log.
    pub block: RecordRef,
    /// Where the mark of the height below stands; none for the first block of the chain, and for
    /// the first above a base.
    pub below: Option<RecordRef>,
}

/// One decoded entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JournalEntry<'a> {
    /// A block: first-voted, supported or fetched.
    Block {
        /// Its header.
        header: Header,
        /// Its payload.
        payload: &'a [u8],
    },
    /// An own vote record.
    Record {
        /// Its epoch.
        epoch: Epoch,
        /// Window and record.
        own: OwnRecord,
    },
    /// A finality mark.
    Finalized(FinalMark),
    /// A finality proof.
    Proof {
        /// The block proven.
        point: Point,
        /// The proof.
        proof: Certificate,
    },
    /// Proof of misbehaviour.
    Evidence(Evidence),
    /// An own answer to a validator that lost its disk.
    Answer {
        /// Its epoch.
        epoch: Epoch,
        /// Asker, nonce and window.
        answer: OwnAnswer,
    },
    /// The log goes on from a snapshot of peers: this block is final, and what stands above it
    /// follows. Blocks between it and the mark before are not in this log.
    Base {
        /// Header of the block after which the state was taken.
        header: Header,
        /// Root of the snapshot.
        root: [u8; 32],
    },
}

/// Why a record is no entry of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// No such kind.
    #[error("record kind {} is not known", kind.number())]
    UnknownKind {
        /// The kind.
        kind: RecordKind,
    },
    /// Written by another version.
    #[error("entry version {version} is not known")]
    Version {
        /// The version.
        version: u16,
    },
    /// Too short, or longer than its parts.
    #[error("{what}: {bytes} bytes do not fit")]
    Length {
        /// Which entry.
        what: &'static str,
        /// How many there are.
        bytes: usize,
    },
    /// A presence byte that says neither yes nor no.
    #[error("presence byte {byte}")]
    Presence {
        /// The byte.
        byte: u8,
    },
    /// A part that the consensus does not understand.
    #[error("{what}: {source}")]
    Wire {
        /// Which entry.
        what: &'static str,
        /// What is wrong.
        #[source]
        source: wire::DecodeError,
    },
}

/// Appends everything of a block record before its payload.
pub(crate) fn encode_block(header: &Header, bytes: &mut Vec<u8>) {
    put_version(bytes);
    wire::encode_header(header, bytes);
}

/// Appends an own record.
pub(crate) fn encode_record(epoch: Epoch, own: &OwnRecord, bytes: &mut Vec<u8>) {
    put_version(bytes);
    bytes.extend_from_slice(&epoch.number().to_le_bytes());
    bytes.extend_from_slice(&own.window.number().to_le_bytes());
    wire::encode_record(&own.record, bytes);
}

/// Appends a finality mark.
pub(crate) fn encode_mark(mark: &FinalMark, bytes: &mut Vec<u8>) {
    put_version(bytes);
    wire::encode_header(&mark.header, bytes);
    put_place(mark.block, bytes);
    bytes.push(u8::from(mark.below.is_some()));
    let none = RecordRef {
        offset: LogOffset::new(0, 0),
        index: RecordIndex::GENESIS,
    };
    put_place(mark.below.unwrap_or(none), bytes);
}

/// Appends a finality proof.
pub(super) fn encode_proof(point: &Point, proof: &Certificate, bytes: &mut Vec<u8>) {
    put_version(bytes);
    bytes.extend_from_slice(&point.window.number().to_le_bytes());
    bytes.extend_from_slice(&point.index.number().to_le_bytes());
    bytes.extend_from_slice(&point.height.number().to_le_bytes());
    bytes.extend_from_slice(point.id.as_bytes());
    wire::encode_certificate(proof, bytes);
}

/// Appends proof of misbehaviour.
pub(super) fn encode_evidence(evidence: &Evidence, bytes: &mut Vec<u8>) {
    put_version(bytes);
    wire::encode_evidence(evidence, bytes);
}

/// Appends an own answer of R13.
pub(super) fn encode_answer(epoch: Epoch, answer: &OwnAnswer, bytes: &mut Vec<u8>) {
    put_version(bytes);
    bytes.extend_from_slice(&epoch.number().to_le_bytes());
    bytes.extend_from_slice(&answer.asker.number().to_le_bytes());
    bytes.extend_from_slice(&answer.nonce);
    bytes.extend_from_slice(&answer.window.number().to_le_bytes());
}

/// Appends a base.
pub(crate) fn encode_base(header: &Header, root: &[u8; 32], bytes: &mut Vec<u8>) {
    put_version(bytes);
    wire::encode_header(header, bytes);
    bytes.extend_from_slice(root);
}

/// Reads one entry; it must take all the bytes.
///
/// # Errors
/// [`EntryError`] when the bytes are not the canonical bytes of an entry of this kind.
pub fn decode(kind: RecordKind, bytes: &[u8]) -> Result<JournalEntry<'_>, EntryError> {
    if ![
        KIND_BLOCK,
        KIND_RECORD,
        KIND_FINALIZED,
        KIND_PROOF,
        KIND_EVIDENCE,
        KIND_ANSWER,
        KIND_BASE,
    ]
    .contains(&kind)
    {
        return Err(EntryError::UnknownKind { kind });
    }
    let length_error = EntryError::Length {
        what: "entry",
        bytes: bytes.len(),
    };
    let (version, rest) = bytes
        .split_first_chunk::<VERSION_BYTES>()
        .ok_or(length_error)?;
    let version = u16::from_le_bytes(*version);
    if version != ENTRY_VERSION {
        return Err(EntryError::Version { version });
    }
    match kind {
        KIND_BLOCK => decode_block(rest),
        KIND_RECORD => decode_record(rest),
        KIND_FINALIZED => decode_mark(rest).map(JournalEntry::Finalized),
        KIND_PROOF => decode_proof(rest),
        KIND_ANSWER => decode_answer(rest),
        KIND_BASE => decode_base(rest),
        _ => wire::decode_evidence(rest)
            .map(JournalEntry::Evidence)
            .map_err(|source| EntryError::Wire {
                what: "evidence",
                source,
            }),
    }
}

fn decode_block(bytes: &[u8]) -> Result<JournalEntry<'_>, EntryError> {
    let what = "block";
    let length_error = EntryError::Length {
        what,
        bytes: bytes.len(),
    };
    let (header, payload) = bytes.split_at_checked(HEADER_BYTES).ok_or(length_error)?;
    let header = wire::decode_header(header).map_err(|source| EntryError::Wire { what, source })?;
    if header.payload_bytes as usize != payload.len() {
        return Err(length_error);
    }
    Ok(JournalEntry::Block { header, payload })
}

fn decode_record(bytes: &[u8]) -> Result<JournalEntry<'_>, EntryError> {
    let what = "own record";
    let length_error = EntryError::Length {
        what,
        bytes: bytes.len(),
    };
    let (epoch, rest) = bytes.split_first_chunk::<8>().ok_or(length_error)?;
    let (window, rest) = rest.split_first_chunk::<8>().ok_or(length_error)?;
    let record = wire::decode_record(rest).map_err(|source| EntryError::Wire { what, source })?;
    Ok(JournalEntry::Record {
        epoch: Epoch::new(u64::from_le_bytes(*epoch)),
        own: OwnRecord {
            window: Window::new(u64::from_le_bytes(*window)),
            record,
        },
    })
}

/// Reads a finality mark without its version.
fn decode_mark(bytes: &[u8]) -> Result<FinalMark, EntryError> {
    let what = "finality mark";
    if bytes.len() != MARK_BYTES {
        return Err(EntryError::Length {
            what,
            bytes: bytes.len(),
        });
    }
    let (header, rest) = bytes.split_at(HEADER_BYTES);
    let header = wire::decode_header(header).map_err(|source| EntryError::Wire { what, source })?;
    let (block, rest) = rest.split_at(PLACE_BYTES);
    let (presence, below) = rest.split_at(1);
    let below = match (presence[0], below) {
        (0, below) if below.iter().all(|&byte| byte == 0) => None,
        (1, below) => Some(take_place(below)),
        (byte, _) => return Err(EntryError::Presence { byte }),
    };
    Ok(FinalMark {
        header,
        block: take_place(block),
        below,
    })
}

fn decode_proof(bytes: &[u8]) -> Result<JournalEntry<'_>, EntryError> {
    let what = "finality proof";
    let length_error = EntryError::Length {
        what,
        bytes: bytes.len(),
    };
    let (window, rest) = bytes.split_first_chunk::<8>().ok_or(length_error)?;
    let (index, rest) = rest.split_first_chunk::<4>().ok_or(length_error)?;
    let (height, rest) = rest.split_first_chunk::<8>().ok_or(length_error)?;
    let (id, rest) = rest.split_first_chunk::<32>().ok_or(length_error)?;
    let proof =
        wire::decode_certificate(rest).map_err(|source| EntryError::Wire { what, source })?;
    let point = Point {
        window: Window::new(u64::from_le_bytes(*window)),
        index: Index::new(u32::from_le_bytes(*index)),
        height: Height::new(u64::from_le_bytes(*height)),
        id: BlockId::new(*id),
    };
    Ok(JournalEntry::Proof { point, proof })
}

fn decode_answer(bytes: &[u8]) -> Result<JournalEntry<'_>, EntryError> {
    let bytes: &[u8; ANSWER_BYTES] = bytes.try_into().map_err(|_| EntryError::Length {
        what: "answer",
        bytes: bytes.len(),
    })?;
    let (mut epoch, mut asker, mut nonce, mut window) = ([0; 8], [0; 2], [0; 32], [0; 8]);
    epoch.copy_from_slice(&bytes[..8]);
    asker.copy_from_slice(&bytes[8..10]);
    nonce.copy_from_slice(&bytes[10..42]);
    window.copy_from_slice(&bytes[42..]);
    Ok(JournalEntry::Answer {
        epoch: Epoch::new(u64::from_le_bytes(epoch)),
        answer: OwnAnswer {
            asker: ValidatorIndex::new(u16::from_le_bytes(asker)),
            nonce,
            window: Window::new(u64::from_le_bytes(window)),
        },
    })
}

fn decode_base(bytes: &[u8]) -> Result<JournalEntry<'_>, EntryError> {
    let what = "base";
    if bytes.len() != BASE_BYTES {
        let bytes = bytes.len();
        return Err(EntryError::Length { what, bytes });
    }
    let (header, rest) = bytes.split_at(HEADER_BYTES);
    let header = wire::decode_header(header).map_err(|source| EntryError::Wire { what, source })?;
    let mut root = [0; 32];
    root.copy_from_slice(rest);
    Ok(JournalEntry::Base { header, root })
}

fn put_version(bytes: &mut Vec<u8>) {
    bytes.extend_from_slice(&ENTRY_VERSION.to_le_bytes());
}

fn put_place(place: RecordRef, bytes: &mut Vec<u8>) {
    bytes.extend_from_slice(&place.offset.segment().to_le_bytes());
    bytes.extend_from_slice(&place.offset.bytes().to_le_bytes());
    bytes.extend_from_slice(&place.index.count().to_le_bytes());
}

/// Reads a place from `PLACE_BYTES` bytes.
fn take_place(bytes: &[u8]) -> RecordRef {
    let (mut segment, mut offset, mut index) = ([0; 4], [0; 4], [0; 8]);
    segment.copy_from_slice(&bytes[..4]);
    offset.copy_from_slice(&bytes[4..8]);
    index.copy_from_slice(&bytes[8..PLACE_BYTES]);
    RecordRef {
        offset: LogOffset::new(u32::from_le_bytes(segment), u32::from_le_bytes(offset)),
        index: RecordIndex::new(u64::from_le_bytes(index)),
    }
}

#[cfg(test)]
#[path = "entry_tests.rs"]
mod tests;
