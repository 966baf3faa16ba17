//! Making what was appended durable, on whatever thread the caller chooses.
//!
//! One sync serves everything appended before the range was taken. The first failure ends the
//! log: after a failed `msync` the system may mark the lost pages clean and call the next sync a
//! success, so there is nothing that could be tried again.

use std::sync::Arc;

use crate::clean_stop;
use crate::error::LogError;
use crate::position::{LogEnd, LogOffset};
use crate::shared::Shared;
use crate::watermark::Watermark;
use crate::writer::Writer;

/// A part of the log to be synced, up to an end that the writer had reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SyncRange {
    pub(crate) from: LogOffset,
    pub(crate) to: LogEnd,
}

impl SyncRange {
    /// Whether there was nothing to sync.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.from >= self.to.offset
    }

    /// What is durable once the range is synced.
    #[must_use]
    pub fn end(&self) -> LogEnd {
        self.to
    }
}

/// Syncs the log. There is one for a log; it may live on a thread of its own.
#[derive(Debug)]
pub struct Syncer {
    pub(crate) shared: Arc<Shared>,
    pub(crate) watermark: Watermark,
    /// Everything before it is synced.
    pub(crate) synced: LogEnd,
}

impl Syncer {
    /// Makes everything up to the end of `range` durable and says how far the log is durable now.
    /// Returns at once if an earlier sync covered it. Blocks for as long as the disk takes.
    ///
    /// # Errors
    /// [`LogError::SyncFailed`] if the system reports a failure, for the first time: nothing more
    /// may be sent that relies on this log. [`LogError::WriteFailed`] if the watermark cannot be
    /// written, for another reason than want of room. [`LogError::Poisoned`] ever after.
    pub fn sync(&mut self, range: SyncRange) -> Result<LogEnd, LogError> {
        self.shared.check_not_poisoned()?;
        if range.to.offset <= self.synced.offset {
            return Ok(self.synced);
        }
        let (from, to) = (self.synced.offset, range.to.offset);
        for number in from.segment()..=to.segment() {
            let Some(region) = self.shared.segment(number) else {
                continue;
            };
            let start = if number == from.segment() {
                from.bytes() as usize
            } else {
                0
            };
            let is_last = number == to.segment();
            let end = if is_last {
                to.bytes() as usize
            } else {
                region.published_bytes()
            };
            // Nothing is left of a segment that was synced up to its end.
            if end > start
                && let Err(source) = region.flush(start, end - start)
            {
                self.shared.poison();
                return Err(LogError::SyncFailed { source });
            }
        }
        self.synced = range.to;
        self.store_watermark()?;
        self.shared.set_synced(&self.synced);
        Ok(self.synced)
    }

    /// Bytes that whoever writes the log may still take of its file system; none where the log is
    /// in memory. May wait for as long as the disk hangs.
    ///
    /// # Errors
    /// The system does not say.
    pub fn free_bytes(&self) -> std::io::Result<Option<u64>> {
        self.shared.folder.backend.free_bytes()
    }

    /// The watermark is a lower bound: where there is no room to write it, the one before stays.
    fn store_watermark(&mut self) -> Result<(), LogError> {
        let stored = self.watermark.store(&self.shared.identity, &self.synced);
        match stored.map_err(|source| self.shared.refused(source)) {
            Err(LogError::NoRoom { source }) => {
                tracing::debug!(%source, "the watermark stays where it was");
                Ok(())
            }
            stored => stored,
        }
    }

    /// How far the log is durable.
    #[must_use]
    pub fn synced(&self) -> LogEnd {
        self.synced
    }

    /// Ends the run: syncs everything, then writes the clean-stop marker as the last thing.
    ///
    /// # Errors
    /// As [`Self::sync`]; [`LogError::CleanStop`] if the marker could not be written. Without it
    /// the next start takes this stop for a crash.
    pub fn stop(mut self, writer: Writer) -> Result<(), LogError> {
        let end = self.sync(writer.unsynced())?;
        if let Err(source) = self.watermark.flush() {
            self.shared.poison();
            return Err(LogError::SyncFailed { source });
        }
        clean_stop::write(&self.shared.folder, &end)
            .map_err(|source| LogError::CleanStop { source })?;
        drop(writer);
        Ok(())
    }
}
