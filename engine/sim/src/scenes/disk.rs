//! The disk of one validator in a scene: a log with a synced part, and a lease file.
//!
//! Owns what survives a crash, and what the log gives back at a start. Never: when something is
//! synced; the script says that.

use std::collections::BTreeMap;
use std::sync::Arc;

use quorate_consensus::certificate::Certificate;
use quorate_consensus::header::Header;
use quorate_consensus::machine::Restored;
use quorate_consensus::record::OwnRecord;
use quorate_consensus::restart::LeaseFile;
use quorate_consensus::types::{BlockId, Point};
use quorate_consensus::validators::ValidatorSet;

/// One entry of the log.
#[derive(Clone, Debug)]
pub(crate) enum Entry {
    Block(BlockId, Header, Arc<[u8]>),
    Record(OwnRecord),
    Proof(Point, Certificate),
    /// A block was handed to the application.
    Finalized(BlockId, Header),
}

/// Log and lease file.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disk {
    log: Vec<Entry>,
    /// So many entries outlast a loss of power.
    synced: usize,
    pub(crate) lease: LeaseFile,
}

impl Disk {
    pub(crate) fn append(&mut self, entry: Entry) {
        self.log.push(entry);
    }

    pub(crate) fn sync(&mut self) {
        self.synced = self.log.len();
    }

    /// Power is gone, and with it what was not synced. So many entries are lost.
    pub(crate) fn lose_power(&mut self) -> usize {
        let lost = self.log.len() - self.synced;
        self.log.truncate(self.synced);
        lost
    }

    pub(crate) fn block(&self, id: BlockId) -> Option<(Header, Arc<[u8]>)> {
        self.log.iter().find_map(|entry| match entry {
            Entry::Block(held, header, payload) if *held == id => {
                Some((*header, Arc::clone(payload)))
            }
            _ => None,
        })
    }

    /// Finalized blocks in the order of height.
    pub(crate) fn chain(&self) -> Vec<(BlockId, Header)> {
        let finalized = self.log.iter().filter_map(|entry| match entry {
            Entry::Finalized(id, header) => Some((*id, *header)),
            _ => None,
        });
        finalized.collect()
    }

    /// The newest proof, the lowest first.
    pub(crate) fn proofs(&self) -> impl DoubleEndedIterator<Item = (Point, &Certificate)> {
        self.log.iter().filter_map(|entry| match entry {
            Entry::Proof(point, proof) => Some((*point, proof)),
            _ => None,
        })
    }

    /// What a start finds, as the product's recovery hands it on.
    pub(crate) fn restored(&self, set: &ValidatorSet) -> Restored {
        let mut restored = Restored::fresh(set);
        restored.lease = self.lease.lease;
        if let Some((id, header)) = self.chain().last() {
            restored.finalized = header.point(*id);
            restored.finalized_time_ns = header.time_ns;
        }
        let height = restored.finalized.height;
        if let Some((point, proof)) = self.proofs().rev().find(|(at, _)| at.height <= height) {
            restored.proven = point;
            restored.proof = Some(proof.clone());
        }
        let lowest = restored.proven.window;
        let mut records = BTreeMap::new();
        for entry in &self.log {
            match entry {
                Entry::Record(own) if own.window >= lowest => {
                    records.insert(own.window, own.clone());
                }
                Entry::Block(id, header, _) if header.window >= lowest => {
                    restored.blocks.push((*id, *header));
                }
                _ => {}
            }
        }
        restored.records = records.into_values().collect();
        restored
    }
}
