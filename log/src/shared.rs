//! What the parts of one open log share: segments, how far it is synced, whether it is poisoned.
//!
//! Owns no policy. The hot path touches the two atomics alone; the locks here are taken when a
//! segment is started, synced across, or read.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use crate::backend::DataFolder;
use crate::claim::Claim;
use crate::config::LogConfig;
use crate::error::{LogError, is_for_want_of_room};
use crate::gaps::Gaps;
use crate::identity::Identity;
use crate::map::Region;
use crate::position::{LogEnd, LogOffset, RecordIndex, RecordRef};
use crate::segment::segment_name;

/// Sealed and synced segments whose memory is kept.
const SEALED_IN_MEMORY: u32 = 1;

/// How much room a log takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogUsage {
    /// Bytes of the files of all segments that were started and not removed.
    pub bytes: u64,
    /// Bytes of records and headers that are synced, those removed since the log was opened
    /// included: what it has grown by is the difference of two of these.
    pub written_bytes: u64,
}

/// The started segments of a log.
#[derive(Debug)]
struct Segments {
    /// Where the first record of the first of them stands.
    start: RecordRef,
    /// Bytes of all of them.
    bytes: u64,
    /// Bytes of those that were removed since the log was opened.
    pruned_bytes: u64,
    /// By number, from that of `start`.
    regions: VecDeque<Arc<Region>>,
}

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) identity: Identity,
    pub(crate) folder: DataFolder,
    pub(crate) claim: Arc<Claim>,
    /// Length of the segments that are made from now on.
    pub(crate) segment_bytes: u32,
    /// Whether they have their room reserved instead of filled with zeros.
    pub(crate) reserves_room: bool,
    /// What readers leave out.
    pub(crate) gaps: Gaps,
    segments: RwLock<Segments>,
    /// Held while a segment's file is removed or replaced.
    names: Mutex<()>,
    synced_offset: AtomicU64,
    synced_index: AtomicU64,
    is_poisoned: AtomicBool,
    /// Segments below this number have given their memory back.
    released_before: AtomicU32,
}

impl Shared {
    pub(crate) fn new(
        identity: Identity,
        folder: DataFolder,
        claim: Arc<Claim>,
        config: &LogConfig,
        gaps: Gaps,
        (start, regions): (RecordRef, VecDeque<Arc<Region>>),
        synced: &LogEnd,
    ) -> Self {
        let bytes = bytes_of(regions.iter());
        let segments = Segments {
            start,
            bytes,
            pruned_bytes: 0,
            regions,
        };
        Self {
            identity,
            folder,
            claim,
            segment_bytes: config.segment_bytes,
            reserves_room: config.reserves_room,
            gaps,
            segments: RwLock::new(segments),
            names: Mutex::new(()),
            synced_offset: AtomicU64::new(synced.offset.to_u64()),
            synced_index: AtomicU64::new(synced.index.count()),
            is_poisoned: AtomicBool::new(false),
            released_before: AtomicU32::new(0),
        }
    }

    /// The segment with this number, if it was started and is not pruned.
    pub(crate) fn segment(&self, number: u32) -> Option<Arc<Region>> {
        let segments = self.segments.read().unwrap_or_else(PoisonError::into_inner);
        let place = number.checked_sub(segments.start.offset.segment())?;
        segments.regions.get(place as usize).cloned()
    }

    /// Gives back the memory of segments that are sealed and synced, but for the newest of them,
    /// which peers and the application ask for most. A log that grows takes memory for a few
    /// segments this way, and the next segment is made of pages that this process had before.
    pub(crate) fn release_sealed(&self) {
        let synced = self.synced_offset().segment();
        let until = synced.saturating_sub(SEALED_IN_MEMORY);
        // Whoever makes segments is alone, under the lock of the handover.
        let from = self.released_before.load(Ordering::Relaxed);
        for number in from.max(self.start().offset.segment())..until {
            self.release_segment(number);
        }
        self.released_before
            .store(until.max(from), Ordering::Relaxed);
    }

    fn release_segment(&self, number: u32) {
        let Some(region) = self.segment(number) else {
            return;
        };
        let name = segment_name(number);
        let released = region
            .release()
            .and_then(|()| self.folder.backend.release_cache(&name));
        // Nothing depends on it but room: a system that cannot do it keeps the pages.
        if let Err(source) = released {
            tracing::debug!(name, %source, "the memory of a segment was not given back");
        }
    }

    /// Where the first record of the log stands.
    pub(crate) fn start(&self) -> RecordRef {
        let segments = self.segments.read().unwrap_or_else(PoisonError::into_inner);
        segments.start
    }

    /// How much room the log takes.
    pub(crate) fn usage(&self) -> LogUsage {
        let synced = self.synced_offset();
        let segments = self.segments.read().unwrap_or_else(PoisonError::into_inner);
        let after = synced
            .segment()
            .checked_sub(segments.start.offset.segment());
        let after = after.map_or(0, |place| place as usize + 1);
        let last = after
            .checked_sub(1)
            .and_then(|last| segments.regions.get(last));
        // Nothing is synced of the segments behind that of the end.
        let unused = bytes_of(segments.regions.iter().skip(after))
            + last.map_or(0, |last| {
                last.bytes_len() as u64 - u64::from(synced.bytes())
            });
        LogUsage {
            bytes: segments.bytes,
            written_bytes: (segments.pruned_bytes + segments.bytes).saturating_sub(unused),
        }
    }

    /// Forgets the segments before `start`; says how many bytes they have.
    pub(crate) fn begin_with(&self, start: RecordRef) -> u64 {
        let mut segments = self
            .segments
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let first = segments.start.offset.segment();
        let count = start.offset.segment().saturating_sub(first) as usize;
        let count = count.min(segments.regions.len());
        segments.start = start;
        let freed_bytes = bytes_of(segments.regions.drain(..count));
        segments.bytes -= freed_bytes;
        segments.pruned_bytes += freed_bytes;
        freed_bytes
    }

    /// Puts another file of the same bytes in the place of a segment; `false` when that is pruned.
    /// Who reads the old one goes on reading it.
    pub(crate) fn replace_segment(&self, number: u32, region: Arc<Region>) -> bool {
        let mut segments = self
            .segments
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let place = number.checked_sub(segments.start.offset.segment());
        let held = place.and_then(|place| segments.regions.get_mut(place as usize));
        held.map(|held| *held = region).is_some()
    }

    /// Whoever removes or replaces a segment's file holds this meanwhile.
    pub(crate) fn lock_names(&self) -> MutexGuard<'_, ()> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a started segment, whose number follows that of the last.
    pub(crate) fn push_segment(&self, region: Arc<Region>) {
        let mut segments = self
            .segments
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        segments.bytes += region.bytes_len() as u64;
        segments.regions.push_back(region);
    }

    /// Everything before it is synced.
    pub(crate) fn synced_offset(&self) -> LogOffset {
        LogOffset::from_u64(self.synced_offset.load(Ordering::Acquire))
    }

    /// Every record below it is synced.
    pub(crate) fn synced_index(&self) -> RecordIndex {
        RecordIndex::new(self.synced_index.load(Ordering::Acquire))
    }

    /// Called by the one syncer, with rising ends.
    pub(crate) fn set_synced(&self, end: &LogEnd) {
        self.synced_index
            .store(end.index.count(), Ordering::Release);
        self.synced_offset
            .store(end.offset.to_u64(), Ordering::Release);
    }

    pub(crate) fn poison(&self) {
        self.is_poisoned.store(true, Ordering::Release);
    }

    /// The error of a write that the system refused. Room may come back; after anything else
    /// nothing tells what the disk has, as after a failed sync.
    pub(crate) fn refused(&self, source: io::Error) -> LogError {
        if is_for_want_of_room(&source) {
            return LogError::NoRoom { source };
        }
        self.poison();
        LogError::WriteFailed { source }
    }

    pub(crate) fn is_poisoned(&self) -> bool {
        self.is_poisoned.load(Ordering::Acquire)
    }

    pub(crate) fn check_not_poisoned(&self) -> Result<(), LogError> {
        if self.is_poisoned() {
            Err(LogError::Poisoned)
        } else {
            Ok(())
        }
    }
}

fn bytes_of<R: AsRef<Region>>(regions: impl Iterator<Item = R>) -> u64 {
    regions
        .map(|region| region.as_ref().bytes_len() as u64)
        .sum()
}
