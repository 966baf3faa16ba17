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
            if salvage.len() >= ENTRIES_MAX {
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
