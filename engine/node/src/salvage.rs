//! What can still be read of the parts of the log that are marked faulty.
//!
//! A start does not read through those parts: the chain ends for it where the first of them
//! begins, and what stood there comes back as it came first, by proof, header and body, each
//! checked by hash or signature. Owns the index over the records there that still check, by which
//! the validator is its own first source and one for its peers. Never: vouches for what is
//! missing, or hands on a vote.

use std::collections::BTreeMap;

use quorate_consensus::certificate::Certificate;
use quorate_consensus::header::Header;
use quorate_consensus::message::BlockRef;
use quorate_consensus::types::{BlockId, Height};
use quorate_log::{Reader, RecordRef};

use crate::journal::{JournalEntry, decode};
use crate::store::LoggedBlock;

/// Records that are indexed; what lies beyond comes from peers.
const ENTRIES_MAX: usize = 1 << 20;

/// The index.
#[derive(Debug)]
pub(crate) struct Salvage {
    reader: Reader,
    blocks: BTreeMap<BlockId, RecordRef>,
    marks: BTreeMap<BlockId, RecordRef>,
    proofs: BTreeMap<Height, RecordRef>,
}

impl Salvage {
    /// Indexes what stands above a height; none when there is nothing.
    pub(crate) fn collect(reader: &Reader, above: Height) -> Option<Self> {
        Self::collect_up_to(reader, above, ENTRIES_MAX)
    }

    fn collect_up_to(reader: &Reader, above: Height, entries_max: usize) -> Option<Self> {
        let mut salvage = Self {
            reader: reader.clone(),
            blocks: BTreeMap::new(),
            marks: BTreeMap::new(),
            proofs: BTreeMap::new(),
        };
        for record in reader.salvage() {
            let place = record.place();
            match decode(record.kind(), &record) {
                Ok(JournalEntry::Block { header, .. }) if header.height > above => {
                    salvage.blocks.insert(header.id(), place);
                }
                Ok(JournalEntry::Finalized(mark)) if mark.header.height > above => {
                    salvage.marks.insert(mark.header.id(), place);
                }
                Ok(JournalEntry::Proof { point, .. }) if point.height > above => {
                    salvage.proofs.insert(point.height, place);
                }
                _ => {}
            }
            if salvage.len() >= entries_max {
                break;
            }
        }
        (salvage.len() > 0).then_some(salvage)
    }

    /// Records in the index.
    pub(crate) fn len(&self) -> usize {
        self.blocks.len() + self.marks.len() + self.proofs.len()
    }

    /// A block by its name, header and payload.
    pub(crate) fn block(&self, id: &BlockId) -> Option<LoggedBlock> {
        let record = self.reader.read(*self.blocks.get(id)?).ok()?;
        match decode(record.kind(), &record) {
            Ok(JournalEntry::Block { header, payload }) => Some(LoggedBlock {
                header,
                payload: payload.into(),
            }),
            _ => None,
        }
    }

    /// Headers downward from a block, as far as they are here, at most `count`.
    pub(crate) fn history(&self, top: &BlockRef, count: usize) -> Vec<Header> {
        let mut headers = Vec::new();
        let mut id = top.id;
        while let Some(header) = self.header(&id).filter(|_| headers.len() < count) {
            id = header.parent_id;
            headers.push(header);
        }
        headers
    }

    fn header(&self, id: &BlockId) -> Option<Header> {
        if let Some(mark) = self.marks.get(id) {
            let record = self.reader.read(*mark).ok()?;
            if let Ok(JournalEntry::Finalized(mark)) = decode(record.kind(), &record) {
                return Some(mark.header);
            }
        }
        self.block(id).map(|block| block.header)
    }

    /// The lowest finality proof at or above a height.
    pub(crate) fn proof(&self, at_least: Height) -> Option<Certificate> {
        let (_, place) = self.proofs.range(at_least..).next()?;
        self.read_proof(*place)
    }

    /// The highest finality proof and its height.
    pub(crate) fn newest_proof(&self) -> Option<(Height, Certificate)> {
        let (height, place) = self.proofs.last_key_value()?;
        Some((*height, self.read_proof(*place)?))
    }

    fn read_proof(&self, place: RecordRef) -> Option<Certificate> {
        let record = self.reader.read(place).ok()?;
        match decode(record.kind(), &record) {
            Ok(JournalEntry::Proof { proof, .. }) => Some(proof),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use quorate_log::{DataFolder, LogConfig, MemoryBackend};

    use super::*;
    use crate::journal::{KIND_BLOCK, encode_block};
    use crate::testing::{final_block, sample_genesis};

    #[test]
    fn no_more_records_are_indexed_than_there_is_room_for() {
        let genesis = sample_genesis(4).0;
        let set = genesis.validator_set();
        let disk = MemoryBackend::new();
        let open = || {
            let config = LogConfig {
                segment_bytes: 4096,
                ..LogConfig::new([7; 32])
            };
            quorate_log::open(&DataFolder::in_memory(&disk), &config, b"genesis").unwrap()
        };
        let mut log = open();
        let mut parent = set.genesis().id;
        let mut places = Vec::new();
        for height in 1..=40 {
            let block = final_block(set, height, parent, &[(1, height, b"text")]);
            parent = block.id;
            let mut head = Vec::new();
            encode_block(&block.header, &mut head);
            let parts: [&[u8]; 2] = [&head, &block.payload];
            places.push(log.writer.append(KIND_BLOCK, &parts).unwrap());
        }
        log.syncer.sync(log.writer.unsynced()).unwrap();
        drop(log);
        let mut bytes = disk.file("segment-0000000000").unwrap();
        bytes[places[1].offset.bytes() as usize + 70] ^= 4;
        disk.set_file("segment-0000000000", &bytes);
        let log = open();
        assert!(!log.recovery.marked.is_empty(), "it goes on behind it");
        let genesis = Height::new(0);
        let all = Salvage::collect(&log.reader, genesis).expect("what was whole");
        assert!(all.len() > 20, "{}", all.len());
        for room in [1, 7, all.len()] {
            let some = Salvage::collect_up_to(&log.reader, genesis, room);
            assert_eq!(some.map(|some| some.len()), Some(room));
        }
    }
}
