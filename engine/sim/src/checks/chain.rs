//! One block a height, delivered in order, each on its parent.
//!
//! Owns the chain that all validators together have finalized. Never: which validator was first.

use std::collections::BTreeMap;

use quorate_consensus::types::BlockId;

use super::Violation;
use super::headers::HeaderBook;

/// The chain, and how far each validator is in its present life.
#[derive(Debug)]
pub(crate) struct Chain {
    /// By height, from 1. A height is missing for as long as the only validator that delivered it
    /// did so in a turn that its machine did not outlive.
    blocks: BTreeMap<u64, BlockId>,
    delivered: Vec<u64>,
    /// Highest height delivered or restored anywhere.
    height: u64,
}

impl Chain {
    pub(crate) fn new(validators: usize) -> Self {
        Self {
            blocks: BTreeMap::new(),
            delivered: vec![0; validators],
            height: 0,
        }
    }

    /// The highest block that is final anywhere.
    pub(crate) const fn height(&self) -> u64 {
        self.height
    }

    /// A validator begins a life with what its log holds. That may be more than anybody saw: power
    /// can go between the log's last entry and the first word about it.
    pub(crate) fn start(&mut self, validator: usize, height: u64) {
        self.delivered[validator] = height;
        self.height = self.height.max(height);
    }

    /// A validator delivers a block to its application.
    pub(crate) fn deliver(
        &mut self,
        validator: usize,
        height: u64,
        id: BlockId,
    ) -> Result<(), Violation> {
        let expected = self.delivered[validator] + 1;
        self.delivered[validator] = height;
        if height != expected {
            let what = format!("v{validator} delivered height {height}, {expected} comes next");
            return Err(Violation::new("chain", what));
        }
        self.height = self.height.max(height);
        let first = *self.blocks.entry(height).or_insert(id);
        if first != id {
            let what = format!("height {height}: {first:?} and, at v{validator}, {id:?}");
            return Err(Violation::new("chain", what));
        }
        Ok(())
    }

    /// Judges the links, now that all headers are known.
    pub(crate) fn finish(&self, headers: &HeaderBook) -> Result<(), Violation> {
        for (&height, id) in &self.blocks {
            let Some(known) = headers.get(id) else {
                let what = format!("the final block {id:?} never was on the wire");
                return Err(Violation::new("chain", what));
            };
            let below = self.blocks.get(&(height - 1));
            let time_below_ns = below
                .and_then(|id| headers.get(id))
                .map_or(0, |known| known.time_ns);
            let is_linked = below.is_none_or(|below| known.parent == *below);
            if !is_linked || known.height != height || known.time_ns <= time_below_ns {
                let what = format!("height {height}: {known:?} does not follow {below:?}");
                return Err(Violation::new("chain", what));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(mark: u8) -> BlockId {
        BlockId::new([mark; 32])
    }

    #[test]
    fn one_chain_delivered_in_order_is_good_over_restarts_too() {
        let mut chain = Chain::new(2);
        for mark in 1..=3 {
            chain.deliver(0, u64::from(mark), id(mark)).unwrap();
        }
        chain.deliver(1, 1, id(1)).unwrap();
        // The log of the first one lost a mark with the power.
        chain.start(0, 2);
        chain.deliver(0, 3, id(3)).unwrap();
        assert_eq!(chain.height(), 3);
    }

    #[test]
    fn another_block_at_a_height_is_found() {
        let mut chain = Chain::new(2);
        chain.deliver(0, 1, id(1)).unwrap();
        assert!(chain.deliver(1, 1, id(2)).is_err());
    }

    #[test]
    fn a_gap_and_a_repetition_are_found() {
        let mut chain = Chain::new(1);
        chain.deliver(0, 1, id(1)).unwrap();
        assert!(chain.deliver(0, 1, id(1)).is_err());
        assert!(chain.deliver(0, 3, id(3)).is_err());
    }

    #[test]
    fn a_height_that_only_a_dying_validator_delivered_is_compared_when_others_come_to_it() {
        let mut chain = Chain::new(2);
        chain.deliver(0, 1, id(1)).unwrap();
        chain.start(0, 2);
        chain.deliver(0, 3, id(3)).unwrap();
        assert_eq!(chain.height(), 3);
        for mark in 1..=2 {
            chain.deliver(1, u64::from(mark), id(mark)).unwrap();
        }
        assert!(chain.deliver(1, 3, id(4)).is_err());
    }

    #[test]
    fn a_final_block_that_nobody_proposed_is_found() {
        let mut chain = Chain::new(1);
        chain.deliver(0, 1, id(1)).unwrap();
        assert!(chain.finish(&HeaderBook::default()).is_err());
    }
}
