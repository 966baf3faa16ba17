//! Checking a log without opening it: every byte is read, nothing is written, no lock is taken.
//!
//! For the command line and for whoever suspects a disk. Judges by the same table as opening
//! does. Meant for a log at rest; one that is being appended to may seem to have a torn tail.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::backend::{Backend as _, DataFolder, FileBackend, Unreadable};
use crate::base::{self, BASE_NAME, Base, genesis_start};
use crate::clean_stop::{self, CleanStopRead};
use crate::error::OpenError;
use crate::fault::Fault;
use crate::gaps::{Gaps, MarkedFaulty};
use crate::open::{identify, read_proof};
use crate::position::{LogEnd, RecordIndex, RecordRef};
use crate::recovery::{Action, Row, judge};
use crate::segment::{SEGMENT_BYTES_MAX, SEGMENT_HEADER_BYTES, segment_name, segment_number};
use crate::walk::Walker;
use crate::watermark::WatermarkRead;

/// What a check found.
#[derive(Clone, Debug)]
pub struct Verification {
    /// Whole records, also those after a fault.
    pub record_count: u64,
    /// Segment files, also the one that was made ready.
    pub segment_count: usize,
    /// Where the first record stands: above segment 0 when the log was pruned.
    pub start: RecordRef,
    /// After the last whole record before the first fault, or the end of the log.
    pub end: LogEnd,
    /// What opening would do, and why.
    pub row: Row,
    /// The faulty places that are not marked yet; empty if opening would go on, also after cutting
    /// a torn tail.
    pub faults: Vec<Fault>,
    /// Stretches that an earlier start has found faulty and marked.
    pub marked: Vec<MarkedFaulty>,
    /// The places of a torn tail that opening would cut.
    pub torn: Vec<Fault>,
    /// Records below this index are proved to have been synced.
    pub synced_index: RecordIndex,
    /// Pages of segments that the disk does not give back, asked twice. They are judged as zeros,
    /// as opening does, which writes the segment anew.
    pub unreadable_pages: usize,
    /// Whether the watermark file is there and of this log.
    pub has_watermark: bool,
    /// How the last run stopped.
    pub clean_stop: CleanStopRead,
    /// Plain BLAKE3 of the genesis.
    pub genesis_hash: [u8; 32],
}

/// Checks the log in the folder at `path`.
///
/// # Errors
/// [`OpenError::NoLog`], [`OpenError::Io`], [`OpenError::Version`], or [`OpenError::Damaged`] if
/// no segment header can be read. Other damage is in the result.
pub fn verify_path(path: &Path) -> Result<Verification, OpenError> {
    let backend = FileBackend::open_unlocked(path).map_err(OpenError::io("open", ""))?;
    let log_taken = Arc::new(AtomicBool::new(false));
    verify(&DataFolder {
        backend: Arc::new(backend),
        log_taken,
    })
}

/// Checks the log of a folder that this process has opened.
///
/// # Errors
/// As [`verify_path`].
pub fn verify(folder: &DataFolder) -> Result<Verification, OpenError> {
    let names = folder.backend.names().map_err(OpenError::io("list", ""))?;
    let mut numbers: Vec<u32> = names
        .iter()
        .filter_map(|name| segment_number(name))
        .collect();
    numbers.sort_unstable();
    let mut headers = Vec::new();
    for number in &numbers {
        let (bytes, _) = read_segment(folder, *number, SEGMENT_HEADER_BYTES)?;
        headers.push((*number, bytes));
    }
    let identity = identify(
        headers
            .iter()
            .map(|(number, bytes)| (*number, bytes.as_slice())),
    )?;
    let base = base::read(folder, &identity).map_err(OpenError::io("read", BASE_NAME))?;
    let first = base.as_ref().map_or(0, Base::number);
    // What a removal that was cut short has left belongs to the log no more.
    numbers.retain(|number| *number >= first);
    let gaps = Gaps::collect(
        &identity,
        first,
        headers
            .iter()
            .map(|(number, bytes)| (*number, bytes.as_slice())),
    );
    let mut walker = Walker::new(&identity, &gaps, base.as_ref());
    let mut number_next = walker.begins_with(numbers.first().copied());
    let mut unreadable_pages = 0;
    for number in &numbers {
        if *number != number_next {
            walker.missing(number_next);
        }
        number_next = number.saturating_add(1);
        // One segment in memory at a time.
        let (bytes, unreadable) = read_segment(folder, *number, SEGMENT_BYTES_MAX as usize)?;
        unreadable_pages += unreadable.len();
        walker.segment(*number, &bytes);
    }
    let walk = walker.finish();
    let (proof, marker) = read_proof(folder, &identity)?;
    let verdict = judge(&walk, proof);
    let (faults, torn) = match verdict.row.action() {
        Action::Refuse | Action::Resume => (verdict.faults, Vec::new()),
        Action::Cut | Action::Continue => (Vec::new(), verdict.faults),
    };
    Ok(Verification {
        record_count: walk.record_count,
        segment_count: numbers.len(),
        start: base.as_ref().map_or_else(genesis_start, Base::start),
        end: walk.end,
        row: verdict.row,
        faults,
        torn,
        marked: gaps.all().to_vec(),
        synced_index: verdict.synced_index,
        unreadable_pages,
        has_watermark: proof.watermark != WatermarkRead::Unknown,
        clean_stop: clean_stop::compare(marker, &walk.end),
        genesis_hash: identity.genesis_hash,
    })
}

/// The bytes of a segment of the log at `path`, for a look at a log at rest that
/// [`verify_path`] has judged: zeros where the disk does not give them back.
///
/// # Errors
/// There is no such segment, or the system refuses to read it.
pub fn segment_bytes(path: &Path, number: u32) -> io::Result<Vec<u8>> {
    let backend = FileBackend::open_unlocked(path)?;
    let read = backend.read_lossy(&segment_name(number), SEGMENT_BYTES_MAX as usize)?;
    let (bytes, _) = read.ok_or(io::ErrorKind::NotFound)?;
    Ok(bytes)
}

/// The genesis that a pruned log at `path` keeps beside it, of at most `bytes_max` bytes; none when
/// it is missing, longer, or the disk does not give all of it back. Whether it is that of the log
/// its hash in a segment header tells.
///
/// # Errors
/// The system refuses to read it.
pub fn kept_genesis(path: &Path, bytes_max: usize) -> io::Result<Option<Vec<u8>>> {
    let backend = FileBackend::open_unlocked(path)?;
    let kept = base::kept_genesis(&backend, bytes_max)?;
    Ok(kept.filter(|bytes| bytes.len() <= bytes_max))
}

fn read_segment(
    folder: &DataFolder,
    number: u32,
    bytes_max: usize,
) -> Result<(Vec<u8>, Unreadable), OpenError> {
    let name = segment_name(number);
    let bytes = folder
        .backend
        .read_lossy(&name, bytes_max)
        .map_err(OpenError::io("read", &name))?;
    // A file that vanished after the listing reads as an empty one, which is a fault.
    Ok(bytes.unwrap_or_default())
}
