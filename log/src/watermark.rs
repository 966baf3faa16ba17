//! The watermark file: how far the log is known to be synced.
//!
//! Two slots, written in turn into a mapping after every sync, never waited for. The death of the
//! process loses none of it; a power cut may leave an older slot, which is why records carry the
//! same knowledge in their headers. It is a lower bound: what it says was synced, was.

use std::io;
use std::sync::Arc;

use crate::backend::{CreateError, DataFolder, TEMPORARY_SUFFIX};
use crate::bytes::{array_at, is_zero, u64_at};
use crate::claim::Claim;
use crate::identity::Identity;
use crate::map::RegionWriter;
use crate::position::{LogEnd, RecordIndex};

pub(crate) const WATERMARK_NAME: &str = "watermark";
/// Slots stand in sectors of their own, so that one write cannot damage both.
const SLOT_STRIDE_BYTES: usize = 512;
const SLOT_COUNT: usize = 2;
pub(crate) const WATERMARK_BYTES: usize = SLOT_STRIDE_BYTES * SLOT_COUNT;

const MAGIC: [u8; 8] = *b"QRTLOGWM";
const VERSION: u64 = 1;
const VERSION_AT: usize = 8;
const OFFSET_AT: usize = VERSION_AT + 8;
const INDEX_AT: usize = OFFSET_AT + 8;
const CHECK_AT: usize = INDEX_AT + 8;
const SLOT_BYTES: usize = CHECK_AT + 32;

/// What the file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WatermarkRead {
    /// Missing, or damaged beyond what a crash can do: nothing is known.
    Unknown,
    /// Records below the index were synced; 0 for a file that was never written.
    Synced { index: RecordIndex, slot: usize },
}

enum Slot {
    Blank,
    Damaged,
    Synced(RecordIndex),
}

fn encode(identity: &Identity, end: &LogEnd) -> [u8; SLOT_BYTES] {
    let mut bytes = [0; SLOT_BYTES];
    bytes[..VERSION_AT].copy_from_slice(&MAGIC);
    bytes[VERSION_AT..OFFSET_AT].copy_from_slice(&VERSION.to_le_bytes());
    bytes[OFFSET_AT..INDEX_AT].copy_from_slice(&end.offset.to_u64().to_le_bytes());
    bytes[INDEX_AT..CHECK_AT].copy_from_slice(&end.index.count().to_le_bytes());
    let check = blake3::keyed_hash(&identity.watermark_key, &bytes[..CHECK_AT]);
    bytes[CHECK_AT..].copy_from_slice(check.as_bytes());
    bytes
}

fn decode_slot(identity: &Identity, slot: &[u8]) -> Slot {
    if is_zero(&slot[..SLOT_BYTES]) {
        return Slot::Blank;
    }
    let check = blake3::keyed_hash(&identity.watermark_key, &slot[..CHECK_AT]);
    let is_ours = array_at::<8>(slot, 0) == MAGIC && u64_at(slot, VERSION_AT) == VERSION;
    if is_ours && *check.as_bytes() == array_at::<32>(slot, CHECK_AT) {
        Slot::Synced(RecordIndex::new(u64_at(slot, INDEX_AT)))
    } else {
        Slot::Damaged
    }
}

/// Reads the file's bytes. One damaged slot is what a crash in the middle of a store leaves; two
/// are not.
pub(crate) fn decode(identity: &Identity, bytes: &[u8]) -> WatermarkRead {
    if bytes.len() != WATERMARK_BYTES {
        return WatermarkRead::Unknown;
    }
    let mut highest = None;
    let mut damaged_count = 0;
    for (number, slot) in bytes.chunks_exact(SLOT_STRIDE_BYTES).enumerate() {
        match decode_slot(identity, slot) {
            Slot::Blank => {}
            Slot::Damaged => damaged_count += 1,
            Slot::Synced(index) => highest = highest.max(Some((index, number))),
        }
    }
    match highest {
        Some((index, slot)) => WatermarkRead::Synced { index, slot },
        None if damaged_count == SLOT_COUNT => WatermarkRead::Unknown,
        // Slot 1 counts as the last one written, so that slot 0 comes first.
        None => WatermarkRead::Synced {
            index: RecordIndex::GENESIS,
            slot: 1,
        },
    }
}

/// Creates an empty watermark file, durably, replacing a damaged one.
pub(crate) fn create(folder: &DataFolder) -> Result<(), CreateError> {
    let temporary = format!("{WATERMARK_NAME}{TEMPORARY_SUFFIX}");
    folder.backend.create(&temporary, &[], WATERMARK_BYTES)?;
    folder
        .backend
        .rename(&temporary, WATERMARK_NAME)
        .map_err(CreateError::Write)?;
    folder.backend.sync_folder().map_err(CreateError::Sync)
}

/// The open watermark file.
#[derive(Debug)]
pub(crate) struct Watermark {
    region: RegionWriter,
    slot_next: usize,
}

impl Watermark {
    /// Maps the file, which is there and has its length.
    pub(crate) fn open(
        folder: &DataFolder,
        claim: &Arc<Claim>,
        read: WatermarkRead,
    ) -> io::Result<Self> {
        let region = folder.backend.map(WATERMARK_NAME, claim)?;
        if region.bytes().len() != WATERMARK_BYTES {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let slot_next = match read {
            WatermarkRead::Unknown => 0,
            WatermarkRead::Synced { slot, .. } => (slot + 1) % SLOT_COUNT,
        };
        Ok(Self { region, slot_next })
    }

    /// Stores that everything up to `end` is synced. Durable at the system's leisure.
    ///
    /// # Errors
    /// The system refuses. The slot of before says what it said, and the other one is as after a
    /// crash in the middle of a store.
    pub(crate) fn store(&mut self, identity: &Identity, end: &LogEnd) -> io::Result<()> {
        let slot = encode(identity, end);
        self.region
            .write(self.slot_next * SLOT_STRIDE_BYTES, &[&slot])?;
        self.slot_next = (self.slot_next + 1) % SLOT_COUNT;
        Ok(())
    }

    /// Makes the file durable.
    pub(crate) fn flush(&self) -> io::Result<()> {
        self.region.region().flush(0, WATERMARK_BYTES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::LogConfig;
    use crate::error::OpenError;
    use crate::memory::MemoryBackend;
    use crate::open::open_noting;
    use crate::position::{ChainHash, LogOffset};
    use crate::segment::SEGMENT_BYTES_MIN;

    fn end(index: u64) -> LogEnd {
        LogEnd {
            offset: LogOffset::new(0, 512),
            index: RecordIndex::new(index),
            hash: ChainHash::from_bytes([0; 32]),
        }
    }

    #[test]
    fn the_higher_whole_slot_counts_and_two_damaged_ones_say_nothing() {
        let identity = Identity::new([1; 32], [2; 32]);
        let mut bytes = vec![0; WATERMARK_BYTES];
        let blank = WatermarkRead::Synced {
            index: RecordIndex::GENESIS,
            slot: 1,
        };
        assert_eq!(decode(&identity, &bytes), blank);
        bytes[..SLOT_BYTES].copy_from_slice(&encode(&identity, &end(5)));
        bytes[512..512 + SLOT_BYTES].copy_from_slice(&encode(&identity, &end(9)));
        let nine = WatermarkRead::Synced {
            index: RecordIndex::new(9),
            slot: 1,
        };
        assert_eq!(decode(&identity, &bytes), nine);
        bytes[520] ^= 1;
        let five = WatermarkRead::Synced {
            index: RecordIndex::new(5),
            slot: 0,
        };
        assert_eq!(decode(&identity, &bytes), five);
        bytes[8] ^= 1;
        assert_eq!(decode(&identity, &bytes), WatermarkRead::Unknown);
        assert_eq!(decode(&identity, &bytes[..512]), WatermarkRead::Unknown);
    }

    #[test]
    fn a_slot_of_another_log_is_damage() {
        let mut bytes = vec![0; WATERMARK_BYTES];
        let theirs = Identity::new([1; 32], [3; 32]);
        bytes[..SLOT_BYTES].copy_from_slice(&encode(&theirs, &end(5)));
        bytes[512..512 + SLOT_BYTES].copy_from_slice(&encode(&theirs, &end(6)));
        let ours = Identity::new([1; 32], [2; 32]);
        assert_eq!(decode(&ours, &bytes), WatermarkRead::Unknown);
    }

    #[test]
    fn a_watermark_that_opening_makes_is_noted_before_and_where_it_refuses_nothing_is() {
        let memory = MemoryBackend::new();
        let folder = DataFolder::in_memory(&memory);
        let config = LogConfig {
            segment_bytes: SEGMENT_BYTES_MIN,
            ..LogConfig::new([3; 32])
        };
        // Whether it was noted, and whether the log was opened.
        let opens = |genesis: &[u8]| {
            let mut is_noted = false;
            let opened = open_noting(&folder, &config, genesis, &mut || {
                let watermark = memory.file("watermark");
                assert!(watermark.is_none_or(|bytes| bytes == [1; 1024]), "too late");
                is_noted = true;
                Ok::<_, OpenError>(())
            });
            (is_noted, opened.is_ok())
        };
        assert_eq!(opens(b"genesis"), (true, true), "nothing was there");
        assert_eq!(opens(b"genesis"), (false, true));
        memory.remove_file("watermark");
        assert_eq!(opens(b"another"), (false, false));
        assert_eq!(opens(b"genesis"), (true, true));
        assert_eq!(opens(b"genesis"), (false, true), "it was said before");
        memory.set_file("watermark", &[1; 1024]);
        assert_eq!(opens(b"genesis"), (true, true), "nobody can read it");
        // What cannot be noted is not hidden.
        memory.remove_file("watermark");
        let failing = &mut || Err(OpenError::NoLog);
        assert!(open_noting(&folder, &config, b"genesis", failing).is_err());
        assert_eq!(opens(b"genesis"), (true, true));
        // A log that is lost, or is another one in part, is refused.
        let name = "segment-0000000000";
        let segment = memory.file(name).unwrap();
        memory.remove_file(name);
        assert_eq!(opens(b"genesis"), (false, false));
        memory.set_file(name, &segment);
        memory.set_file("segment-0000000001", &segment);
        memory.remove_file("watermark");
        assert_eq!(opens(b"genesis"), (false, false));
    }
}
