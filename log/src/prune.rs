//! Removing the oldest segments of an open log.
//!
//! Owns the order of steps: the base is durable before the first file goes, and files go from the
//! lowest up. Never: decides what nobody needs any more; the caller knows what its records mean.

use std::io;
use std::sync::Arc;

use crate::base::{self, Base};
use crate::error::PruneError;
use crate::position::{LogOffset, RecordIndex};
use crate::reader::Reader;
use crate::segment::{SEGMENT_HEADER_BYTES, SegmentHeader, segment_name};
use crate::shared::Shared;

/// Removes the oldest segments. There is one for a log; it may live on a thread of its own.
#[derive(Debug)]
pub struct Pruner {
    pub(crate) shared: Arc<Shared>,
    /// The lowest number whose file is not removed yet: that of the first segment, unless the
    /// system has refused.
    lowest: u32,
    /// Bytes of segments that the log has left and that no call has told of.
    untold_bytes: u64,
}

impl Pruner {
    pub(crate) fn new(shared: &Arc<Shared>) -> Self {
        Self {
            lowest: shared.start().offset.segment(),
            untold_bytes: 0,
            shared: Arc::clone(shared),
        }
    }

    /// Number of the first segment of the log.
    #[must_use]
    pub fn first(&self) -> u32 {
        self.shared.start().offset.segment()
    }

    /// Bytes of the segments that the log uses, not counting one that was made ready.
    #[must_use]
    pub fn log_bytes(&self) -> u64 {
        self.shared.usage().bytes
    }

    /// Whether the log may begin with segment `first`: it was started, its header is synced, and
    /// it does not lie inside a stretch that is marked faulty.
    #[must_use]
    pub fn may_begin_with(&self, first: u32) -> bool {
        let is_synced =
            self.shared.synced_offset() > LogOffset::new(first, SEGMENT_HEADER_BYTES as u32);
        let is_inside =
            |gap: &crate::MarkedFaulty| gap.from.segment() < first && first < gap.resumed_in;
        is_synced && !self.shared.gaps.all().iter().any(is_inside)
    }

    /// Removes every segment below `first`, with whatever stands in them; bytes that were freed.
    /// Records there can be read no more ([`crate::ReadError::Pruned`]); one that somebody holds
    /// stays readable, and its space taken, until it is let go.
    ///
    /// # Errors
    /// [`PruneError::NotThere`] if the log may not begin there, and nothing is changed;
    /// [`PruneError::Poisoned`] after a failed sync; [`PruneError::Io`] if the system refuses: the
    /// log goes on, and files that are left over are removed, and counted, by the next call that
    /// may begin there or above, or removed by the next start.
    pub fn prune(&mut self, first: u32) -> Result<u64, PruneError> {
        let shared = &self.shared;
        if shared.is_poisoned() {
            return Err(PruneError::Poisoned);
        }
        if !self.may_begin_with(first) {
            return Err(PruneError::NotThere { segment: first });
        }
        if first > self.first() {
            self.begin_with(first)?;
        }
        self.remove_left_over()
    }

    /// From here on the log begins with segment `first`, whatever becomes of the files before it.
    fn begin_with(&mut self, first: u32) -> Result<(), PruneError> {
        let shared = &self.shared;
        let region = shared.segment(first);
        let header = region.and_then(|region| SegmentHeader::decode(region.published()).ok());
        // One that has rotted since the start is no proof of anything.
        let header = header.ok_or(PruneError::NotThere { segment: first })?;
        self.keep_genesis()?;
        let base = Base::new(header);
        base::write(&shared.folder, &base).map_err(|source| PruneError::Io {
            action: "write the base",
            source,
        })?;
        let _names = shared.lock_names();
        self.untold_bytes += shared.begin_with(base.start());
        Ok(())
    }

    /// Removes files of segments that the log has left; says how many bytes they had.
    fn remove_left_over(&mut self) -> Result<u64, PruneError> {
        let first = self.first();
        // Where the sync after the last removal failed, what they had is still to be told.
        if self.lowest >= first && self.untold_bytes == 0 {
            return Ok(0);
        }
        let shared = &self.shared;
        let _names = shared.lock_names();
        let refused = |source| PruneError::Io {
            action: "remove a segment",
            source,
        };
        let backend = shared.folder.backend.as_ref();
        while self.lowest < first {
            match backend.remove(&segment_name(self.lowest)) {
                Ok(()) => {}
                // Somebody else has.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(refused(error)),
            }
            self.lowest += 1;
        }
        backend.sync_folder().map_err(refused)?;
        Ok(std::mem::take(&mut self.untold_bytes))
    }

    /// Before record 0 goes, its payload is kept beside the log.
    fn keep_genesis(&self) -> Result<(), PruneError> {
        let reader = Reader {
            shared: Arc::clone(&self.shared),
        };
        if reader.start().index != RecordIndex::GENESIS {
            return Ok(());
        }
        let record = reader.read(reader.start());
        let genesis = record.map_err(|_| PruneError::NotThere { segment: 0 })?;
        base::keep_genesis(&self.shared.folder, &genesis).map_err(|source| PruneError::Io {
            action: "keep the genesis",
            source,
        })
    }
}
