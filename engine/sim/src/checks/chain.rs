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
    /// By height, from the one after the beginning. A height is missing for as long as the only
    /// validator that delivered it did so in a turn that its machine did not outlive.
    blocks: BTreeMap<u64, BlockId>,
    delivered: Vec<u64>,
    /// Highest height delivered or restored anywhere.
    height: u64,
    /// What the chain begins with: height, name and time.
    begin: (u64, BlockId, u64),
}

impl Chain {
    /// Of a chain whose first block stands on `id`, of this height and time.
    pub(crate) fn new(validators: usize, height: u64, id: BlockId, time_ns: u64) -> Self {
        Self {
            blocks: BTreeMap::new(),
            delivered: vec![height; validators],
            height,
            begin: (height, id, time_ns),
        }
    }

    /// The highest block that is final anywhere.
    pub(crate) const fn height(&self) -> u64 {
        self.height
    }

    /// The final block of a height, where somebody who outlived it has delivered it.
    pub(crate) fn block(&self, height: u64) -> Option<BlockId> {
        self.blocks.get(&height).copied()
    }

    /// Height and name of the block that the chain begins with.
    pub(crate) const fn begin(&self) -> (u64, BlockId) {
        (self.begin.0, self.begin.1)
    }

    /// Blocks that are final anywhere.
    pub(crate) const fn len(&self) -> u64 {
        self.height - self.begin.0
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
        let expected = self.delivered[validator].saturating_add(1);
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
            let (begin_height, begin_id, begin_ns) = self.begin;
            let below = match height.checked_sub(1) {
                Some(below) if below > begin_height => self.blocks.get(&below).copied(),
                Some(below) if below == begin_height => Some(begin_id),
                _ => {
                    let what = format!("height {height} where {begin_height} comes before all");
                    return Err(Violation::new("chain", what));
                }
            };
            let time_below_ns = below
                .and_then(|id| headers.get(&id))
                .map_or(begin_ns, |known| known.time_ns);
            let is_linked = below.is_none_or(|below| known.parent == below);
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
    use crate::checks::SAMPLE;

    fn id(mark: u8) -> BlockId {
        BlockId::new([mark; 32])
    }

    fn begun(validators: usize) -> Chain {
        Chain::new(validators, 0, id(0), 0)
    }

    #[test]
    fn a_chain_that_goes_on_stands_on_what_it_goes_on_from() {
        use quorate_consensus::header::Header;
        use quorate_consensus::types::Height;

        let first = |parent_id, time_ns| Header {
            height: Height::new(701),
            time_ns,
            parent_id,
            ..SAMPLE
        };
        let judge = |header: Header| {
            let mut headers = HeaderBook::default();
            let mut chain = Chain::new(1, 700, id(7), 50);
            assert_eq!((chain.height(), chain.len()), (700, 0));
            chain.deliver(0, 701, headers.add(&header)).unwrap();
            assert_eq!((chain.height(), chain.len()), (701, 1));
            chain.finish(&headers)
        };
        assert_eq!(judge(first(id(7), 51)), Ok(()));
        assert!(judge(first(id(8), 51)).is_err(), "another parent");
        assert!(judge(first(id(7), 50)).is_err(), "a time that is not later");
        assert!(Chain::new(1, 700, id(7), 50).deliver(0, 1, id(1)).is_err());
    }

    #[test]
    fn one_chain_delivered_in_order_is_good_over_restarts_too() {
        let mut chain = begun(2);
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
        let mut chain = begun(2);
        chain.deliver(0, 1, id(1)).unwrap();
        assert!(chain.deliver(1, 1, id(2)).is_err());
    }

    #[test]
    fn a_gap_and_a_repetition_are_found() {
        let mut chain = begun(1);
        chain.deliver(0, 1, id(1)).unwrap();
        assert!(chain.deliver(0, 1, id(1)).is_err());
        assert!(chain.deliver(0, 3, id(3)).is_err());
    }

    #[test]
    fn a_height_that_only_a_dying_validator_delivered_is_compared_when_others_come_to_it() {
        let mut chain = begun(2);
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
        let mut chain = begun(1);
        chain.deliver(0, 1, id(1)).unwrap();
        assert!(chain.finish(&HeaderBook::default()).is_err());
    }
}
