//! Appending: the one writer of a log.
//!
//! Owns the end of the log. An append is a copy into the map and one hash over it, readable by
//! others at once and durable only after a sync, which is `sync.rs`. Whether to wait for the sync
//! is the caller's durability.

use std::sync::Arc;

use crate::error::LogError;
use crate::map::RegionWriter;
use crate::position::{ChainHash, LogEnd, LogOffset, RecordRef};
use crate::prepare::PrepareSlot;
use crate::record::{
    HASH_BYTES, HEADER_BYTES, OVERHEAD_BYTES, RecordHeader, RecordKind, chain_hash, encode_header,
    record_bytes,
};
use crate::segment::{SEGMENT_HEADER_BYTES, SegmentHeader};
use crate::shared::Shared;
use crate::sync::SyncRange;

/// Appends records. There is one for a log.
#[derive(Debug)]
pub struct Writer {
    pub(crate) shared: Arc<Shared>,
    pub(crate) slot: Arc<PrepareSlot>,
    /// The segment of the end. Invariant: its bytes from the end on are zero.
    pub(crate) region: RegionWriter,
    pub(crate) end: LogEnd,
}

impl Writer {
    /// Whether a sync of this log has failed, by whomever: it takes nothing more, and the next
    /// [`sync`](crate::Syncer::sync) says so.
    #[must_use]
    pub fn is_poisoned(&self) -> bool {
        self.shared.is_poisoned()
    }

    /// Appends one record whose payload is `parts`, one after the other.
    ///
    /// It can be read when this returns. The death of the process does not lose it; a power cut
    /// may, until a sync covers it.
    ///
    /// # Errors
    /// [`LogError::ReservedKind`] for kind 0; [`LogError::RecordTooLarge`] above
    /// [`Self::payload_bytes_max`]; [`LogError::Poisoned`] after a failed sync. When a new segment
    /// is needed and was not prepared also [`LogError::NoSegment`], [`LogError::SyncFailed`] and
    /// [`LogError::SegmentsExhausted`]. Nothing was appended then.
    pub fn append(&mut self, kind: RecordKind, parts: &[&[u8]]) -> Result<RecordRef, LogError> {
        if kind == RecordKind::GENESIS {
            return Err(LogError::ReservedKind);
        }
        self.shared.check_not_poisoned()?;
        let payload_bytes = parts
            .iter()
            .fold(0_usize, |sum, part| sum.saturating_add(part.len()));
        let record_bytes = record_bytes(payload_bytes)
            .filter(|bytes| *bytes <= self.record_bytes_max())
            .ok_or_else(|| LogError::RecordTooLarge {
                payload_bytes: payload_bytes as u64,
                payload_bytes_max: self.payload_bytes_max() as u64,
            })?;
        let room = self.region.bytes().len() - self.end.offset.bytes() as usize;
        if record_bytes as usize > room {
            self.start_segment()?;
        }
        let header = RecordHeader {
            kind,
            // Fits: the whole record does.
            payload_bytes: payload_bytes as u32,
            index: self.end.index,
            synced_index: self.shared.synced_index(),
        };
        Ok(self.store(&header, parts))
    }

    /// The end of the log: what the next append adds to.
    #[must_use]
    pub fn end(&self) -> LogEnd {
        self.end
    }

    /// What has been appended and not yet synced, to be handed to the [`crate::Syncer`].
    #[must_use]
    pub fn unsynced(&self) -> SyncRange {
        SyncRange {
            from: self.shared.synced_offset(),
            to: self.end,
        }
    }

    /// The largest payload that one record can hold, in bytes.
    #[must_use]
    pub fn payload_bytes_max(&self) -> usize {
        self.record_bytes_max() as usize - OVERHEAD_BYTES
    }

    fn record_bytes_max(&self) -> u32 {
        self.shared.segment_bytes - SEGMENT_HEADER_BYTES as u32
    }

    /// Writes the record at the end, where it fits, and moves the end.
    fn store(&mut self, header: &RecordHeader, parts: &[&[u8]]) -> RecordRef {
        let place = RecordRef {
            offset: self.end.offset,
            index: self.end.index,
        };
        let offset = place.offset.bytes() as usize;
        let segment = place.offset.segment();
        let header_bytes = {
            let identity = &self.shared.identity;
            encode_header(identity, segment, place.offset.bytes(), header)
        };
        self.write_body(offset, &header_bytes, parts);
        // The padding is zero already. The hash covers what stands in the map, from the hash of
        // the record before on, so it is right only if all of that is.
        let record_end = header.end_from(offset);
        let hash_at = record_end - HASH_BYTES;
        let covered = &self.region.bytes()[offset - HASH_BYTES..hash_at];
        let hash = chain_hash(&self.shared.identity, covered);
        self.region.write(hash_at, &[&hash]);
        self.region.publish(record_end);
        self.end = LogEnd {
            offset: LogOffset::new(segment, record_end as u32),
            index: header.index.next(),
            hash: ChainHash::from_bytes(hash),
        };
        place
    }

    /// Writes header and payload; in one call where the payload has as few parts as ours do.
    fn write_body(&mut self, offset: usize, header: &[u8], parts: &[&[u8]]) {
        match *parts {
            [one] => self.region.write(offset, &[header, one]),
            [one, two] => self.region.write(offset, &[header, one, two]),
            _ => {
                self.region.write(offset, &[header]);
                self.region.write(offset + HEADER_BYTES, parts);
            }
        }
    }

    fn start_segment(&mut self) -> Result<(), LogError> {
        let (number, mut region) = self.slot.take(&self.shared)?;
        let header = SegmentHeader {
            number,
            segment_bytes: self.shared.segment_bytes,
            first_index: self.end.index,
            synced_index: self.shared.synced_index(),
            genesis_hash: self.shared.identity.genesis_hash,
            salt: self.shared.identity.salt,
            chain_start: self.end.hash,
            gap: None,
        };
        region.write(0, &[&header.encode()]);
        region.publish(SEGMENT_HEADER_BYTES);
        self.shared.push_segment(Arc::clone(region.region()));
        self.region = region;
        self.end.offset = LogOffset::new(number, SEGMENT_HEADER_BYTES as u32);
        Ok(())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // Lets a thread in `Preparer::run` end.
        self.slot.close();
    }
}
