//! The base file: where a log begins whose first segments were removed.
//!
//! It is a sealed copy of the header of the first segment that is kept, durable before the first
//! file goes. So a beginning that was pruned is told from one that was lost, a removal that was
//! cut short is finished by the next start, and that header can be written again after rot. Never:
//! chooses what is removed; that is `prune.rs` and its caller.
//!
//! Record 0 goes with the first segment, so the genesis is kept in a file of its own: a folder can
//! still be read with nothing else at hand. Its hash in every segment header is its check.

use std::io;

use crate::backend::{Backend, DataFolder, is_medium};
use crate::identity::Identity;
use crate::position::{LogOffset, RecordIndex, RecordRef};
use crate::sealed::{self, SEALED_PAYLOAD_BYTES_MAX};
use crate::segment::{SEGMENT_HEADER_BYTES, SegmentHeader};

pub(crate) const BASE_NAME: &str = "base";
/// The payload of record 0, as it is.
pub(crate) const GENESIS_NAME: &str = "genesis";
const MAGIC: [u8; 8] = *b"QRTLBASE";
const _: () = assert!(SEGMENT_HEADER_BYTES <= SEALED_PAYLOAD_BYTES_MAX);

/// The first segment of a log, by the header that stands in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Base(SegmentHeader);

impl Base {
    /// The base that begins with this header.
    pub(crate) fn new(header: SegmentHeader) -> Self {
        Self(header)
    }

    pub(crate) fn header(&self) -> &SegmentHeader {
        &self.0
    }

    /// Number of the first segment that belongs to the log.
    pub(crate) fn number(&self) -> u32 {
        self.0.number
    }

    /// Where the first record stands.
    pub(crate) fn start(&self) -> RecordRef {
        RecordRef {
            offset: LogOffset::new(self.0.number, SEGMENT_HEADER_BYTES as u32),
            index: self.0.first_index,
        }
    }
}

/// Where a log without a base begins.
pub(crate) const fn genesis_start() -> RecordRef {
    RecordRef {
        offset: LogOffset::new(0, SEGMENT_HEADER_BYTES as u32),
        index: RecordIndex::GENESIS,
    }
}

/// Reads the base of a log; none when there is none, when it is damaged, or when it is of another
/// log: nothing is then known to have been pruned.
pub(crate) fn read(folder: &DataFolder, identity: &Identity) -> io::Result<Option<Base>> {
    let file = sealed::read(folder.backend.as_ref(), BASE_NAME, MAGIC)?;
    let header = match file {
        None => return Ok(None),
        Some(Ok(payload)) if payload.len() == SEGMENT_HEADER_BYTES => {
            SegmentHeader::decode(&payload).ok()
        }
        Some(_) => None,
    };
    let base = header.filter(|header| header.identity() == *identity);
    if base.is_none() {
        tracing::warn!("the base file of the log is damaged or of another log, and not used");
    }
    Ok(base.map(Base))
}

/// Replaces the base durably.
pub(crate) fn write(folder: &DataFolder, base: &Base) -> io::Result<()> {
    let bytes = sealed::seal(MAGIC, &base.0.encode());
    sealed::replace(folder.backend.as_ref(), BASE_NAME, &bytes)
}

/// Makes sure, durably, that the folder holds the genesis of its log.
pub(crate) fn keep_genesis(folder: &DataFolder, genesis: &[u8]) -> io::Result<()> {
    let backend = folder.backend.as_ref();
    match kept_genesis(backend, genesis.len())? {
        Some(found) if found == genesis => Ok(()),
        _ => sealed::replace(backend, GENESIS_NAME, genesis),
    }
}

/// What the folder holds as the genesis of its log, at most a byte more than `bytes_max`; none when
/// it is not there, or the disk does not give all of it back. Whoever has another copy needs
/// nothing of this one, so a lost page of it is no reason to fail.
///
/// # Errors
/// The system refuses, and not for want of what the disk has lost.
pub(crate) fn kept_genesis(backend: &dyn Backend, bytes_max: usize) -> io::Result<Option<Vec<u8>>> {
    match backend.read_lossy(GENESIS_NAME, bytes_max) {
        Ok(read) => Ok(read.and_then(|(bytes, lost)| lost.is_empty().then_some(bytes))),
        // Not one page of several can be read.
        Err(error) if is_medium(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::MemoryBackend;

    /// Zeros in the place of what is lost may happen to be right, and tell nothing all the same.
    #[test]
    fn a_genesis_of_which_a_page_is_lost_is_not_there() {
        let memory = MemoryBackend::new();
        assert_eq!(kept_genesis(&memory, 9000).unwrap(), None);
        memory.set_file(GENESIS_NAME, &[0; 9000]);
        assert_eq!(kept_genesis(&memory, 9000).unwrap(), Some(vec![0; 9000]));
        memory.make_unreadable(GENESIS_NAME, 4096..4097);
        assert_eq!(kept_genesis(&memory, 9000).unwrap(), None);
        memory.make_unreadable(GENESIS_NAME, 0..9000);
        assert_eq!(kept_genesis(&memory, 9000).unwrap(), None);
        let folder = DataFolder::in_memory(&memory);
        keep_genesis(&folder, &[0; 9000]).unwrap();
        assert_eq!(kept_genesis(&memory, 9000).unwrap(), Some(vec![0; 9000]));
    }
}
