//! The errors of an open log and of opening one.
//!
//! A record that does not verify is not here: `fault.rs` names what is wrong with stored bytes.

use std::io;

use crate::fault::Fault;
use crate::position::RecordRef;

/// Why an append or a sync was not done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// The record does not fit into an empty segment. Nothing was written.
    #[error(
        "a payload of {payload_bytes} bytes exceeds the {payload_bytes_max} that fit a segment"
    )]
    RecordTooLarge {
        /// What was asked for; saturates at `u64::MAX`.
        payload_bytes: u64,
        /// The largest payload that fits.
        payload_bytes_max: u64,
    },
    /// Kind 0 is the genesis, which only opening a log writes.
    #[error("record kind 0 is reserved for the genesis")]
    ReservedKind,
    /// A sync failed. What was appended since the last good sync may be lost even though it can
    /// be read now, and no later sync can tell: this log takes nothing more.
    #[error("sync failed: what was appended since the last good sync may be lost")]
    SyncFailed {
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// An earlier sync or write failed; see [`LogError::SyncFailed`].
    #[error("an earlier sync or write of this log failed: it takes nothing more")]
    Poisoned,
    /// No further segment could be made: the disk is full, or a limit of the system. Nothing was
    /// written and nothing is lost; the same append can be tried again.
    #[error("no new segment could be made")]
    NoSegment {
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The disk has no room for bytes of a segment that is there, as may be where its blocks are
    /// shared with another file. What was staged still is, and a later commit writes it; nothing
    /// else happened.
    #[error("there is no room on the disk for what was appended")]
    NoRoom {
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// A write failed, and not for want of room. Nothing tells what the disk has of it: this log
    /// takes nothing more.
    #[error("a write to the log failed")]
    WriteFailed {
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// Segment numbers have run out.
    #[error("the log has as many segments as it can have")]
    SegmentsExhausted,
    /// The marker could not be written: everything is synced, but the next start will take this
    /// stop for a crash.
    #[error("the clean-stop marker was not written")]
    CleanStop {
        /// What the system says.
        #[source]
        source: io::Error,
    },
}

/// Whether a write was refused for want of something that may come back.
pub(crate) fn is_for_want_of_room(error: &io::Error) -> bool {
    use io::ErrorKind::{OutOfMemory, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | OutOfMemory)
}

/// Why old segments were not removed. The log itself goes on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PruneError {
    /// The log cannot begin with this segment: it is not there, not synced, faulty, or inside a
    /// stretch that is marked faulty. Nothing was changed.
    #[error("the log cannot begin with segment {segment}")]
    NotThere {
        /// Its number.
        segment: u32,
    },
    /// A sync of this log failed: what it holds is not to be relied on.
    #[error("an earlier sync of this log failed: nothing of it is removed")]
    Poisoned,
    /// The system refuses.
    #[error("cannot {action}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// What the system says.
        #[source]
        source: io::Error,
    },
}

/// Why a record was not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// Nothing was appended there (yet).
    #[error("no record at {} yet", place.offset)]
    NotAppended {
        /// What was asked for.
        place: RecordRef,
    },
    /// It stood in a segment that was removed.
    #[error("the record at {} was pruned: the log begins at {}", place.offset, start.offset)]
    Pruned {
        /// What was asked for.
        place: RecordRef,
        /// Where the log begins now.
        start: RecordRef,
    },
    /// What stands there is not the record that was asked for: rot, or a reference of another
    /// log.
    #[error("faulty record: {0}")]
    Faulty(Fault),
}

/// Why a log was not opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// This process has the log of this folder open already.
    #[error("the log of this folder is open in this process already")]
    AlreadyOpen,
    /// A configured number is outside its bounds.
    #[error("segment_bytes is {segment_bytes}: it must be a multiple of 4096 from {min} to {max}")]
    SegmentBytes {
        /// As configured.
        segment_bytes: u32,
        /// The smallest allowed.
        min: u32,
        /// The largest allowed.
        max: u32,
    },
    /// The genesis does not fit into one segment.
    #[error("a genesis of {genesis_bytes} bytes does not fit into a segment")]
    GenesisTooLarge {
        /// Its length.
        genesis_bytes: u64,
    },
    /// The folder holds the log of another genesis. Both hashes are plain BLAKE3 of the genesis.
    #[error(
        "this folder belongs to another genesis: {}, not {} (plain BLAKE3 of the genesis files)",
        hex(found),
        hex(expected)
    )]
    Genesis {
        /// The hash of the genesis that was given.
        expected: [u8; 32],
        /// The hash in the log.
        found: [u8; 32],
    },
    /// Written by another version of the format.
    #[error("segment {segment} has format version {version}, which this program does not know")]
    Version {
        /// The number of the segment.
        segment: u32,
        /// Its version.
        version: u32,
    },
    /// The folder has no segment but traces of a log: it was there and is gone.
    #[error("the log is gone: no segment is left, but {trace} shows that there was one")]
    LogLost {
        /// The file that shows it.
        trace: &'static str,
    },
    /// The folder has no log, and the call creates none.
    #[error("the folder has no log")]
    NoLog,
    /// The log is damaged in a way that no crash explains. Nothing was changed: cutting here
    /// would turn damage into loss.
    #[error("the log is damaged, first at {}; {} faults in all", first(faults), faults.len())]
    Damaged {
        /// The faulty places in the order of the log, at most [`crate::FAULTS_MAX`].
        faults: Vec<Fault>,
    },
    /// The system refuses to read or write a file.
    #[error("cannot {action} {name}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file's name in the folder; empty for the folder itself.
        name: String,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// A sync failed while the log was opened. The disk, and what reads from it now, is suspect.
    #[error("the sync of {} failed while the log was opened", if name.is_empty() { "the folder" } else { name })]
    SyncFailed {
        /// The file's name in the folder; empty for the folder itself.
        name: String,
        /// What the system says.
        #[source]
        source: io::Error,
    },
}

/// Why a segment could not be looked at or mended. The log goes on as before.
#[derive(Debug, thiserror::Error)]
pub enum ScrubError {
    /// A sync failed before: nothing is written any more.
    #[error("a sync of the log has failed before")]
    Poisoned,
    /// The system refuses to read or write a file.
    #[error("cannot {action} {name}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file's name in the folder.
        name: String,
        /// What the system says.
        #[source]
        source: io::Error,
    },
}

impl ScrubError {
    pub(crate) fn io(action: &'static str, name: &str) -> impl FnOnce(io::Error) -> Self {
        let name = name.to_owned();
        move |source| Self::Io {
            action,
            name,
            source,
        }
    }
}

impl OpenError {
    pub(crate) fn io(action: &'static str, name: &str) -> impl FnOnce(io::Error) -> Self {
        let name = name.to_owned();
        move |source| Self::Io {
            action,
            name,
            source,
        }
    }

    pub(crate) fn sync(name: &str) -> impl FnOnce(io::Error) -> Self {
        let name = name.to_owned();
        move |source| Self::SyncFailed { name, source }
    }
}

fn first(faults: &[Fault]) -> String {
    faults.first().map_or_else(String::new, ToString::to_string)
}

fn hex(bytes: &[u8; 32]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
