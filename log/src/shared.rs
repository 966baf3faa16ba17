//! What the parts of one open log share: segments, how far it is synced, whether it is poisoned.
//!
//! Owns no policy. The hot path touches the two atomics alone; the locks here are taken when a
//! segment is started, synced across, or read.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use crate::backend::DataFolder;
use crate::claim::Claim;
use crate::error::LogError;
use crate::gaps::Gaps;
use crate::identity::Identity;
use crate::map::Region;
use crate::position::{LogEnd, LogOffset, RecordIndex};

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) identity: Identity,
    pub(crate) folder: DataFolder,
    pub(crate) claim: Arc<Claim>,
    /// Length of the segments that are made from now on.
    pub(crate) segment_bytes: u32,
    /// What readers leave out.
    pub(crate) gaps: Gaps,
    /// By number, from 0.
    segments: RwLock<Vec<Arc<Region>>>,
    synced_offset: AtomicU64,
    synced_index: AtomicU64,
    is_poisoned: AtomicBool,
}

impl Shared {
    pub(crate) fn new(
        identity: Identity,
        folder: DataFolder,
        claim: Arc<Claim>,
        segment_bytes: u32,
        gaps: Gaps,
        segments: Vec<Arc<Region>>,
        synced: &LogEnd,
    ) -> Self {
        Self {
            identity,
            folder,
            claim,
            segment_bytes,
            gaps,
            segments: RwLock::new(segments),
            synced_offset: AtomicU64::new(synced.offset.to_u64()),
            synced_index: AtomicU64::new(synced.index.count()),
            is_poisoned: AtomicBool::new(false),
        }
    }

    /// The segment with this number, if it was started.
    pub(crate) fn segment(&self, number: u32) -> Option<Arc<Region>> {
        let segments = self.segments.read().unwrap_or_else(PoisonError::into_inner);
        segments.get(number as usize).cloned()
    }

    /// Adds a started segment, whose number is the count of those before it.
    pub(crate) fn push_segment(&self, region: Arc<Region>) {
        self.segments
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .push(region);
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
