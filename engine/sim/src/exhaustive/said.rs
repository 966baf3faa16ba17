//! A vote record as the checkers see it: small, comparable, and judged apart from the product.
//!
//! Owns the definitions of protocol.md 2.2 written a second time, over small numbers and bit sets:
//! what a record says of a slot, whether it contradicts itself, whether one extends another.
//! Never: calls what it judges.

use quorate_consensus::record::Record;
use quorate_consensus::types::Index;

use super::tree::{BlockMask, BlockNumber, Tree};

/// A vote record over the blocks of a small window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(super) struct Said {
    pub(super) tip: Option<BlockNumber>,
    pub(super) stop: bool,
    pub(super) fin: Option<u8>,
    pub(super) skip_fallback: Option<u8>,
    /// Blocks named in `also`.
    pub(super) also: BlockMask,
}

/// What a record says first of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum First {
    Unknown,
    Skip,
    Block(BlockNumber),
}

fn small(index: Index) -> Option<u8> {
    u8::try_from(index.number()).ok()
}

impl Said {
    /// A record as the product has it; none when it names what is not in the tree, or is not in
    /// its one sorted form.
    pub(super) fn read(tree: &Tree, record: &Record) -> Option<Self> {
        let mut said = Self {
            stop: record.stop,
            ..Self::default()
        };
        let named = |&(index, id): &(Index, _)| {
            let number = tree.number_of(id)?;
            (u32::from(tree.block(number).slot) == index.number()).then_some(number)
        };
        if let Some(tip) = &record.tip {
            said.tip = Some(named(tip)?);
        }
        if let Some(fin) = record.fin {
            said.fin = Some(small(fin)?);
        }
        if let Some(skip) = record.skip_fallback {
            said.skip_fallback = Some(small(skip)?);
        }
        for entry in &record.also {
            said.also |= 1 << named(entry)?;
        }
        (said.record(tree) == *record).then_some(said)
    }

    /// The record that the product takes.
    pub(super) fn record(&self, tree: &Tree) -> Record {
        let index = |slot: u8| Index::new(u32::from(slot));
        let named = |number: BlockNumber| {
            let block = tree.block(number);
            (index(block.slot), block.id)
        };
        let mut also: Vec<_> = tree
            .numbers()
            .filter(|number| self.also & (1 << number) != 0)
            .map(named)
            .collect();
        also.sort_unstable();
        Record {
            tip: self.tip.map(named),
            stop: self.stop,
            fin: self.fin.map(index),
            skip_fallback: self.skip_fallback.map(index),
            also,
        }
    }

    /// The own chain.
    pub(super) fn chain(&self, tree: &Tree) -> BlockMask {
        self.tip.map_or(0, |tip| tree.block(tip).chain)
    }

    /// Blocks supported by fallback.
    pub(super) fn cover(&self, tree: &Tree) -> BlockMask {
        let own = self.chain(tree);
        let named = tree.numbers().filter(|at| self.also & (1 << at) != 0);
        named.fold(0, |mask, at| mask | (tree.block(at).chain & !own))
    }

    pub(super) fn first(&self, tree: &Tree, slot: u8) -> First {
        match self.tip.and_then(|tip| tree.at_slot(tip, slot)) {
            Some(block) => First::Block(block),
            None if self.stop => First::Skip,
            None => First::Unknown,
        }
    }

    pub(super) fn is_closed(&self, tree: &Tree) -> bool {
        let is_last = |tip| tree.block(tip).slot + 1 == tree.slots;
        self.stop || self.tip.is_some_and(is_last)
    }

    /// The first votes alone.
    pub(super) fn bare(&self) -> Self {
        Self {
            tip: self.tip,
            stop: self.stop,
            ..Self::default()
        }
    }

    pub(super) fn has_fallback(&self) -> bool {
        self.also != 0 || self.skip_fallback.is_some()
    }

    /// Self-consistency, rule X among it: every Final lies below every fallback.
    pub(super) fn is_consistent(&self, tree: &Tree) -> bool {
        let tip_slot = self.tip.map(|tip| tree.block(tip).slot);
        if self.fin.is_some() && self.fin > tip_slot {
            return false;
        }
        if self.has_fallback() && !self.is_closed(tree) {
            return false;
        }
        let in_window = |slot: Option<u8>| slot.is_none_or(|slot| slot < tree.slots);
        if !in_window(self.skip_fallback) || !in_window(self.fin) {
            return false;
        }
        // How many slots two chains share from the first on.
        let own = self.chain(tree);
        let named = tree.numbers().filter(|at| self.also & (1 << at) != 0);
        let forks = named.map(|at| (tree.block(at).chain & own).count_ones());
        let falls_back = forks.chain(self.skip_fallback.map(u32::from)).min();
        match (self.fin, falls_back) {
            (Some(fin), Some(index)) => u32::from(fin) < index,
            _ => true,
        }
    }

    /// Whether `newer` extends this record.
    pub(super) fn may_become(&self, newer: &Self, tree: &Tree) -> bool {
        let chain_grows = self.chain(tree) & !newer.chain(tree) == 0;
        let stop_holds = !self.stop || (newer.stop && newer.tip == self.tip);
        let skip_falls = match (self.skip_fallback, newer.skip_fallback) {
            (Some(old), Some(new)) => new <= old,
            (Some(_), None) => false,
            (None, _) => true,
        };
        let cover_holds = self.cover(tree) & !newer.cover(tree) == 0;
        chain_grows && stop_holds && self.fin <= newer.fin && skip_falls && cover_holds
    }
}
