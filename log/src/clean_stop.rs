//! The clean-stop marker: the last thing a run writes, and the first that the next one removes.
//!
//! It holds the end of the log, all of which was synced before. A marker that does not name the
//! end that recovery finds says nothing about how the last run stopped.

use std::io;

use crate::backend::DataFolder;
use crate::bytes::{array_at, u64_at};
use crate::position::{ChainHash, LogEnd, LogOffset, RecordIndex};
use crate::sealed;

pub(crate) const CLEAN_STOP_NAME: &str = "clean-stop";
const MAGIC: [u8; 8] = *b"QRTCLEAN";
const PAYLOAD_BYTES: usize = 8 + 8 + 32;

/// What the folder says about how the last run stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CleanStopRead {
    /// No marker: the last run was cut short, or there was none.
    Missing,
    /// A marker that is not what was written; it counts as missing.
    Damaged,
    /// A marker for another end than the log has; it counts as missing.
    Stale,
    /// The last run stopped cleanly, with everything synced.
    Matches,
}

/// Reads the marker's end, for the judge: `Ok(None)` if missing, `Some(None)` if damaged.
pub(crate) fn read(folder: &DataFolder) -> io::Result<Option<Option<LogEnd>>> {
    let file = sealed::read(folder.backend.as_ref(), CLEAN_STOP_NAME, MAGIC)?;
    Ok(file.map(|payload| payload.ok().and_then(|payload| decode(&payload))))
}

/// Writes the marker durably. Everything up to `end` has been synced.
pub(crate) fn write(folder: &DataFolder, end: &LogEnd) -> io::Result<()> {
    let mut payload = Vec::with_capacity(PAYLOAD_BYTES);
    payload.extend(end.offset.to_u64().to_le_bytes());
    payload.extend(end.index.count().to_le_bytes());
    payload.extend(end.hash.as_bytes());
    sealed::replace(
        folder.backend.as_ref(),
        CLEAN_STOP_NAME,
        &sealed::seal(MAGIC, &payload),
    )
}

/// Removes the marker durably, before the first frame of a run. Does nothing if there is none.
///
/// # Errors
/// If the system refuses; the run must not go on, since the marker would outlive it.
pub fn remove_clean_stop(folder: &DataFolder) -> io::Result<()> {
    // By its name: it may be one that cannot be read.
    let names = folder.backend.names()?;
    if names.iter().any(|name| name == CLEAN_STOP_NAME) {
        folder.backend.remove(CLEAN_STOP_NAME)?;
    }
    // Also if it is gone already: an earlier removal may have been cut short before its sync.
    folder.backend.sync_folder()
}

fn decode(payload: &[u8]) -> Option<LogEnd> {
    (payload.len() == PAYLOAD_BYTES).then(|| LogEnd {
        offset: LogOffset::from_u64(u64_at(payload, 0)),
        index: RecordIndex::new(u64_at(payload, 8)),
        hash: ChainHash::from_bytes(array_at(payload, 16)),
    })
}

/// Compares the marker with the end that recovery found.
pub(crate) fn compare(read: Option<Option<LogEnd>>, end: &LogEnd) -> CleanStopRead {
    match read {
        None => CleanStopRead::Missing,
        Some(None) => CleanStopRead::Damaged,
        Some(Some(marker)) if marker == *end => CleanStopRead::Matches,
        Some(Some(_)) => CleanStopRead::Stale,
    }
}
