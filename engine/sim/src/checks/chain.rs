//! One block a height, delivered in order, each on its parent.
//!
//! Owns the chain that all validators together have finalized. Never: which validator was first.

use quorate_consensus::types::BlockId;

use super::Violation;
use super::headers::HeaderBook;

/// The chain, and how far each validator is in its present life.
#[derive(Debug)]
pub(crate) struct Chain {
    /// Blocks from height 1 upward.
    blocks: Vec<BlockId>,
    delivered: Vec<u64>,
}

impl Chain {
    pub(crate) fn new(validators: usize) -> Self {
        Self {
            blocks: Vec::new(),
            delivered: vec![0; validators],
        }
    }

    /// How many blocks are final anywhere.
    pub(crate) fn height(&self) -> u64 {
        self.blocks.len() as u64
    }

    /// A validator begins a life with what its log holds.
    pub(crate) fn start(&mut self, validator: usize, height: u64) -> Result<(), Violation> {
        self.delivered[validator] = height;
        if height > self.height() {
            let what = format!("v{validator} restored height {height}, which nobody finalized");
            return Err(Violation::new("chain", what));
        }
        Ok(())
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
        let place = usize::try_from(height - 1).unwrap_or(usize::MAX);
        match self.blocks.get(place) {
            None => self.blocks.push(id),
            Some(&first) if first == id => {}
            Some(first) => {
                let what = format!("height {height}: {first:?} and, at v{validator}, {id:?}");
                return Err(Violation::new("chain", what));
            }
        }
        Ok(())
    }

    /// Judges the links, now that all headers are known.
    pub(crate) fn finish(&self, headers: &HeaderBook) -> Result<(), Violation> {
        for (place, id) in self.blocks.iter().enumerate() {
            let Some(known) = headers.get(id) else {
                let what = format!("the final block {id:?} never was on the wire");
                return Err(Violation::new("chain", what));
            };
            let below = place
                .checked_sub(1)
                .and_then(|below| self.blocks.get(below));
            let time_below_ns = below
                .and_then(|id| headers.get(id))
                .map_or(0, |it| it.time_ns);
            let is_linked = below.is_none_or(|below| known.parent == *below);
            let is_placed = known.height == place as u64 + 1;
            if !is_linked || !is_placed || known.time_ns <= time_below_ns {
                let what = format!("height {}: {known:?} does not follow {below:?}", place + 1);
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
        chain.start(0, 2).unwrap();
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
    fn a_restored_height_that_nobody_finalized_is_found() {
        assert!(Chain::new(1).start(0, 1).is_err());
    }

    #[test]
    fn a_final_block_that_nobody_proposed_is_found() {
        let mut chain = Chain::new(1);
        chain.deliver(0, 1, id(1)).unwrap();
        assert!(chain.finish(&HeaderBook::default()).is_err());
    }
}
