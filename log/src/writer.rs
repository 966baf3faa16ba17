//! Appending: the one writer of a log.
//!
//! Owns the end of the log. An append is one hash and one write, readable by others at once and
//! durable only after a sync, which is `sync.rs`. Short records that belong together are staged and
//! written with one call. Whether to wait for the sync
//! is the caller's durability.

use std::sync::Arc;

use crate::error::LogError;
use crate::map::RegionWriter;
use crate::position::{ChainHash, LogEnd, LogOffset, RecordRef};
use crate::prepare::PrepareSlot;
use crate::record::{
    ALIGN_BYTES, OVERHEAD_BYTES, RecordHeader, RecordKind, chain_hash_of, encode_header, lead_of,
    record_bytes,
};
use crate::segment::{FORMAT_VERSION, SEGMENT_HEADER_BYTES, SegmentHeader};
use crate::shared::Shared;
use crate::sync::SyncRange;

/// A longer record is written at once: to copy it first would cost more than the call.
const STAGED_RECORD_BYTES_MAX: usize = 4096;
/// From here on all that is staged is written.
const STAGED_BYTES_MAX: usize = 64 * 1024;
/// What pads payloads.
const ZEROS: [u8; ALIGN_BYTES] = [0; ALIGN_BYTES];

/// Appends records. There is one for a log.
#[derive(Debug)]
pub struct Writer {
    pub(crate) shared: Arc<Shared>,
    pub(crate) slot: Arc<PrepareSlot>,
    /// The segment of the end. Invariant: its bytes from `committed` on are zero, or some of
    /// `staged` after a write that was refused.
    pub(crate) region: RegionWriter,
    /// Whether its format has records that are chained by the hash of their body.
    pub(crate) has_leads: bool,
    pub(crate) end: LogEnd,
    /// The end of what is written. Invariant: in the segment of `end`.
    pub(crate) committed: LogEnd,
    /// What stands between the two.
    pub(crate) staged: Vec<u8>,
    /// The last write found no room: nothing but a commit tries another one.
    pub(crate) is_full: bool,
    /// The next segment and its number, when there was no room for its header.
    pub(crate) taken: Option<(u32, RegionWriter)>,
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
    /// [`LogError::SegmentsExhausted`]. Nothing was appended then. [`LogError::NoRoom`] and
    /// [`LogError::WriteFailed`] as of [`Self::commit`]: the record may be staged.
    pub fn append(&mut self, kind: RecordKind, parts: &[&[u8]]) -> Result<RecordRef, LogError> {
        self.append_hashed(kind, parts, None)
    }

    /// As [`Self::append`], of a record whose last part was hashed before
    /// ([`Self::stage_hashed`]).
    ///
    /// # Errors
    /// As of [`Self::append`].
    pub fn append_hashed(
        &mut self,
        kind: RecordKind,
        parts: &[&[u8]],
        body_hash: Option<&[u8; 32]>,
    ) -> Result<RecordRef, LogError> {
        let place = self.stage_hashed(kind, parts, body_hash)?;
        self.commit()?;
        Ok(place)
    }

    /// Appends one record that nobody can read, and no sync covers, until [`Self::commit`]. What is
    /// staged when the writer is dropped was never there.
    ///
    /// # Errors
    /// As of [`Self::append`]. What was staged before is committed then, or still staged. With
    /// [`LogError::NoRoom`] this record is not: what stands before it has to be written first.
    pub fn stage(&mut self, kind: RecordKind, parts: &[&[u8]]) -> Result<RecordRef, LogError> {
        self.stage_hashed(kind, parts, None)
    }

    /// As [`Self::stage`], of a record whose last part has this BLAKE3 hash. A long one is chained
    /// by it and not hashed once more, where there is a part before it of less than 64 KiB.
    ///
    /// The hash is believed: whoever appends has made or checked it just before. A wrong one is
    /// damage to everybody who reads the record, so a build with debug assertions looks.
    ///
    /// # Errors
    /// As of [`Self::stage`].
    pub fn stage_hashed(
        &mut self,
        kind: RecordKind,
        parts: &[&[u8]],
        body_hash: Option<&[u8; 32]>,
    ) -> Result<RecordRef, LogError> {
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
            self.commit()?;
            self.start_segment()?;
        }
        // After a segment was started: it may be the first of a format that has them.
        let lead = body_hash
            .filter(|_| self.has_leads)
            .map_or(0, |_| lead_of(parts));
        let header = RecordHeader {
            kind,
            // Fits: the whole record does.
            payload_bytes: payload_bytes as u32,
            index: self.end.index,
            synced_index: self.shared.synced_index(),
            lead,
        };
        let place = self.store(&header, parts, body_hash.filter(|_| lead > 0))?;
        // Where there was no room, only whoever commits tries again: not each record.
        if self.staged.len() > STAGED_BYTES_MAX && !self.is_full {
            stays_staged(self.commit())?;
        }
        Ok(place)
    }

    /// Writes what is staged, as [`Self::append`] would have.
    ///
    /// # Errors
    /// [`LogError::NoRoom`]: it is still staged, and can be committed when there is room.
    /// [`LogError::WriteFailed`] if the system refuses for another reason, and
    /// [`LogError::Poisoned`] after that or a failed sync: it never will be.
    pub fn commit(&mut self) -> Result<(), LogError> {
        if self.staged.is_empty() {
            return Ok(());
        }
        self.shared.check_not_poisoned()?;
        let offset = self.committed.offset.bytes() as usize;
        let written = self.region.write(offset, &[&self.staged]);
        let written = written.map_err(|source| self.shared.refused(source));
        self.is_full = matches!(written, Err(LogError::NoRoom { .. }));
        written?;
        self.publish();
        Ok(())
    }

    /// Everything up to the end is written.
    fn publish(&mut self) {
        self.staged.clear();
        // On a full disk much more may have been staged than ever is.
        self.staged.shrink_to(2 * STAGED_BYTES_MAX);
        self.region.publish(self.end.offset.bytes() as usize);
        self.committed = self.end;
    }

    /// The end of the log: what the next append adds to.
    #[must_use]
    pub fn end(&self) -> LogEnd {
        self.end
    }

    /// What has been appended and not yet synced, to be handed to the [`crate::Syncer`]; nothing
    /// that is staged.
    #[must_use]
    pub fn unsynced(&self) -> SyncRange {
        SyncRange {
            from: self.shared.synced_offset(),
            to: self.committed,
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

    /// Puts the record to the end, where it fits, and moves the end. With a hash the record has a
    /// lead, and its last part is the body of that hash.
    fn store(
        &mut self,
        header: &RecordHeader,
        parts: &[&[u8]],
        body_hash: Option<&[u8; 32]>,
    ) -> Result<RecordRef, LogError> {
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
        let payload_bytes = header.payload_bytes as usize;
        let padding = &ZEROS[..payload_bytes.next_multiple_of(ALIGN_BYTES) - payload_bytes];
        // Of what is meant to stand there: it says so when the map has something else.
        let hash = {
            let before = self.end.hash.as_bytes();
            let around = [&before[..], &header_bytes];
            let (front, body) = chained(parts, body_hash);
            let pieces = around.iter().chain(front).copied();
            let pieces = pieces.chain(body).chain([padding]);
            chain_hash_of(&self.shared.identity, pieces)
        };
        let record_end = header.end_from(offset);
        self.end = LogEnd {
            offset: LogOffset::new(segment, record_end as u32),
            index: header.index.next(),
            hash: ChainHash::from_bytes(hash),
        };
        if self.is_full || record_end - offset <= STAGED_RECORD_BYTES_MAX {
            self.stage_bytes(&header_bytes, parts, (padding, &hash));
        } else {
            stays_staged(self.write_long(&header_bytes, parts, (padding, &hash)))?;
        }
        Ok(place)
    }

    fn stage_bytes(&mut self, header: &[u8], parts: &[&[u8]], (padding, hash): (&[u8], &[u8])) {
        self.staged.extend_from_slice(header);
        for part in parts {
            self.staged.extend_from_slice(part);
        }
        self.staged.extend_from_slice(padding);
        self.staged.extend_from_slice(hash);
    }

    /// Writes a record that is not to be copied once more, behind what is staged; with one system
    /// call where the payload has as few parts as ours do.
    fn write_long(
        &mut self,
        header: &[u8],
        parts: &[&[u8]],
        (padding, hash): (&[u8], &[u8]),
    ) -> Result<(), LogError> {
        let offset = self.committed.offset.bytes() as usize;
        let staged = &self.staged[..];
        let written = match *parts {
            [one] => {
                let pieces = [staged, header, one, padding, hash];
                self.region.write(offset, &pieces)
            }
            [one, two] => {
                let pieces = [staged, header, one, two, padding, hash];
                self.region.write(offset, &pieces)
            }
            _ => {
                let around = [staged, header].into_iter();
                let pieces = around.chain(parts.iter().copied());
                let pieces: Vec<&[u8]> = pieces.chain([padding, hash]).collect();
                self.region.write(offset, &pieces)
            }
        };
        if let Err(source) = written {
            // The end has moved: what is written next begins with the same bytes.
            self.stage_bytes(header, parts, (padding, hash));
            let refused = self.shared.refused(source);
            self.is_full = matches!(refused, LogError::NoRoom { .. });
            return Err(refused);
        }
        self.publish();
        Ok(())
    }

    fn start_segment(&mut self) -> Result<(), LogError> {
        let taken = match self.taken.take() {
            Some(taken) => taken,
            None => self.slot.take(&self.shared)?,
        };
        let (number, mut region) = taken;
        let header = SegmentHeader {
            version: FORMAT_VERSION,
            number,
            segment_bytes: self.shared.segment_bytes,
            first_index: self.end.index,
            synced_index: self.shared.synced_index(),
            genesis_hash: self.shared.identity.genesis_hash,
            salt: self.shared.identity.salt,
            chain_start: self.end.hash,
            gap: None,
        };
        if let Err(source) = region.write(0, &[&header.encode()]) {
            self.taken = Some((number, region));
            return Err(self.shared.refused(source));
        }
        region.publish(SEGMENT_HEADER_BYTES);
        self.shared.push_segment(Arc::clone(region.region()));
        self.region = region;
        self.has_leads = true;
        self.end.offset = LogOffset::new(number, SEGMENT_HEADER_BYTES as u32);
        self.committed = self.end;
        Ok(())
    }
}

/// Of a payload what is chained as it is, and the hash that stands for the rest.
fn chained<'a>(
    parts: &'a [&'a [u8]],
    body_hash: Option<&'a [u8; 32]>,
) -> (&'a [&'a [u8]], Option<&'a [u8]>) {
    match (body_hash, parts.split_last()) {
        (Some(hash), Some((body, front))) => {
            debug_assert_eq!(
                blake3::hash(body).as_bytes(),
                hash,
                "the hash of another body"
            );
            (front, Some(hash))
        }
        _ => (parts, None),
    }
}

/// For want of room nothing is lost yet: the next commit says so if there still is none.
fn stays_staged(written: Result<(), LogError>) -> Result<(), LogError> {
    match written {
        Err(LogError::NoRoom { .. }) => Ok(()),
        written => written,
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // Lets a thread in `Preparer::run` end.
        self.slot.close();
    }
}
