//! What can be wrong with a log, as data: a place and a kind of damage.
//!
//! Names damage; decides nothing about it (`recovery.rs` does).

use std::fmt;

use crate::position::RecordIndex;

/// One faulty place of a log. Faulty is not absent: the log cannot say that nothing stood there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The number of the segment.
    pub segment: u32,
    /// Bytes from the segment's first byte.
    pub offset: u32,
    /// The index of the record that should stand there, if the records before it tell.
    pub index: Option<RecordIndex>,
    /// What is wrong.
    pub damage: Damage,
}

/// What is wrong at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Damage {
    /// Neither zeros nor a record header: its checksum does not fit this place of this log.
    RecordHeader,
    /// The record header is right, but payload, padding or chain hash are not what was written
    /// after the record before it.
    RecordBody,
    /// A whole record with another index than its place in the chain asks for.
    RecordIndex {
        /// The index in its header.
        found: RecordIndex,
    },
    /// No record starts here, yet the rest of the segment is not zero.
    BytesAfterEnd,
    /// Record 0 is not the genesis whose hash the segment header names.
    GenesisRecord,
    /// The segment header's checksum is wrong.
    SegmentHeader,
    /// The segment header is right and does not continue the segment before it.
    SegmentStart,
    /// The segment header has another format version.
    SegmentVersion {
        /// The version in the header.
        version: u32,
    },
    /// The segment belongs to another log.
    SegmentOfAnotherLog,
    /// The segment header names another number than the file name does.
    SegmentMisplaced {
        /// The number in the header.
        found: u32,
    },
    /// The file is shorter or longer than its header says, or too short for a segment.
    SegmentLength {
        /// The length of the file, in bytes.
        found: u64,
    },
    /// There is no file for this segment, and there is one after it.
    SegmentMissing,
    /// The log begins above its genesis, and no base file says that what is missing was pruned.
    BeginningMissing,
    /// The log ends cleanly here, but records beyond were known to be synced.
    EndsBeforeSynced {
        /// Records below this index were synced.
        synced: RecordIndex,
    },
}

impl Damage {
    /// Whether a power cut that loses unsynced sectors can leave this behind.
    ///
    /// Segment files get their name only when they are whole and synced, and the genesis record
    /// is synced before its segment has a name; damage to those is never the work of a crash.
    pub(crate) fn can_be_torn(self) -> bool {
        match self {
            Self::RecordHeader
            | Self::RecordBody
            | Self::RecordIndex { .. }
            | Self::BytesAfterEnd
            | Self::SegmentHeader
            | Self::SegmentStart => true,
            Self::GenesisRecord
            | Self::SegmentVersion { .. }
            | Self::SegmentOfAnotherLog
            | Self::SegmentMisplaced { .. }
            | Self::SegmentLength { .. }
            | Self::SegmentMissing
            | Self::BeginningMissing
            | Self::EndsBeforeSynced { .. } => false,
        }
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RecordHeader => write!(out, "record header does not check"),
            Self::RecordBody => write!(out, "record payload or chain hash does not check"),
            Self::RecordIndex { found } => write!(out, "record has index {found}"),
            Self::BytesAfterEnd => write!(out, "bytes after the last record are not zero"),
            Self::GenesisRecord => write!(out, "record 0 is not the genesis of the header"),
            Self::SegmentHeader => write!(out, "segment header does not check"),
            Self::SegmentStart => write!(out, "segment does not continue the one before it"),
            Self::SegmentVersion { version } => write!(out, "unknown format version {version}"),
            Self::SegmentOfAnotherLog => write!(out, "segment belongs to another log"),
            Self::SegmentMisplaced { found } => write!(out, "segment is number {found}"),
            Self::SegmentLength { found } => write!(out, "segment file has {found} bytes"),
            Self::SegmentMissing => write!(out, "segment file is missing"),
            Self::BeginningMissing => {
                write!(
                    out,
                    "the beginning is missing, and no base says that it was pruned"
                )
            }
            Self::EndsBeforeSynced { synced } => {
                write!(out, "log ends here, but {synced} records were synced")
            }
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "segment {} offset {}", self.segment, self.offset)?;
        if let Some(index) = self.index {
            write!(out, " (record {index})")?;
        }
        write!(out, ": {}", self.damage)
    }
}
