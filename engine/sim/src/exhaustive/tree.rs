//! The blocks of one small window, and how they descend from one another.
//!
//! Owns the trees that an equivocating leader makes. Never: votes.

use quorate_consensus::header::{HEADER_VERSION, Header};
use quorate_consensus::types::{BlockId, Height, Index, Point, Window};
use quorate_consensus::validators::ValidatorSet;

/// Place of a block in its window's list.
pub(super) type BlockNumber = u8;
/// A set of blocks of one window, a bit each.
pub(super) type BlockMask = u16;

/// One block.
#[derive(Clone, Debug)]
pub(super) struct Block {
    pub(super) header: Header,
    pub(super) id: BlockId,
    pub(super) slot: u8,
    /// In-window parent.
    pub(super) parent: Option<BlockNumber>,
    /// Block of the window before that a first block stands on; none for genesis.
    pub(super) below: Option<BlockNumber>,
    /// Itself and its window ancestors.
    pub(super) chain: BlockMask,
}

impl Block {
    pub(super) const fn point(&self) -> Point {
        self.header.point(self.id)
    }
}

/// All blocks of one window, parents first.
#[derive(Clone, Debug)]
pub(super) struct Tree {
    pub(super) window: Window,
    pub(super) slots: u8,
    pub(super) blocks: Vec<Block>,
}

/// The trees of a first window: for each block its in-window parent.
const fn shape(slots: u8, blocks: usize) -> &'static [Option<BlockNumber>] {
    match (slots, blocks) {
        (1, 2) => &[None, None],
        (1, _) => &[None, None, None],
        // a, b; aa, ab, ba.
        (2, _) => &[None, None, Some(0), Some(0), Some(1)],
        // The same, then aaa, aab, baa.
        _ => &[
            None,
            None,
            Some(0),
            Some(0),
            Some(1),
            Some(2),
            Some(2),
            Some(4),
        ],
    }
}

impl Tree {
    /// The first window: every first block stands on genesis.
    pub(super) fn first(set: &ValidatorSet, slots: u8, blocks: usize) -> Self {
        let mut tree = Self {
            window: Window::ZERO,
            slots,
            blocks: Vec::new(),
        };
        for &parent in shape(slots, blocks) {
            let below = (set.genesis(), set.genesis_time_ns());
            tree.push(set, parent, None, below);
        }
        tree
    }

    /// A second window of one slot: a block on each block of the first, and one on genesis.
    pub(super) fn second(set: &ValidatorSet, first: &Self) -> Self {
        let mut tree = Self {
            window: Window::new(1),
            slots: 1,
            blocks: Vec::new(),
        };
        for (number, block) in (0..).zip(&first.blocks) {
            let below = (block.point(), block.header.time_ns);
            tree.push(set, None, Some(number), below);
        }
        tree.push(set, None, None, (set.genesis(), set.genesis_time_ns()));
        tree
    }

    fn push(
        &mut self,
        set: &ValidatorSet,
        parent: Option<BlockNumber>,
        below: Option<BlockNumber>,
        on: (Point, u64),
    ) {
        let number = self.blocks.len();
        let parent_block = parent.map(|at| &self.blocks[usize::from(at)]);
        let slot = parent_block.map_or(0, |block| block.slot + 1);
        let (parent_id, height, time_ns) = match parent_block {
            Some(block) => (block.id, block.header.height, block.header.time_ns),
            None => (on.0.id, on.0.height, on.1),
        };
        let chain = parent_block.map_or(0, |block| block.chain) | (1 << number);
        let header = Header {
            version: HEADER_VERSION,
            flags: 0,
            chain_id: *set.chain_id(),
            epoch: set.epoch(),
            set_hash: *set.set_hash(),
            window: self.window,
            index: Index::new(u32::from(slot)),
            height: Height::new(height.number() + 1),
            time_ns: time_ns + 1,
            parent_id,
            // Unlike that of any other block.
            payload_hash: [u8::try_from(number).unwrap_or(u8::MAX); 32],
            payload_bytes: 0,
        };
        self.blocks.push(Block {
            id: header.id(),
            header,
            slot,
            parent,
            below,
            chain,
        });
    }

    pub(super) fn block(&self, number: BlockNumber) -> &Block {
        &self.blocks[usize::from(number)]
    }

    pub(super) fn numbers(&self) -> impl Iterator<Item = BlockNumber> + use<> {
        0..u8::try_from(self.blocks.len()).unwrap_or(u8::MAX)
    }

    /// The block of this name.
    pub(super) fn number_of(&self, id: BlockId) -> Option<BlockNumber> {
        let at = self.blocks.iter().position(|block| block.id == id)?;
        u8::try_from(at).ok()
    }

    /// Whether one block stands on the chain of another, or is it.
    pub(super) fn descends(&self, block: BlockNumber, ancestor: BlockNumber) -> bool {
        self.block(block).chain & (1 << ancestor) != 0
    }

    /// The block of a chain at a slot.
    pub(super) fn at_slot(&self, tip: BlockNumber, slot: u8) -> Option<BlockNumber> {
        self.numbers()
            .find(|&number| self.descends(tip, number) && self.block(number).slot == slot)
    }

    /// Blocks that no other block stands on.
    pub(super) fn leaves(&self) -> impl Iterator<Item = BlockNumber> {
        self.numbers().filter(|&number| {
            let has_child = |block: &Block| block.parent == Some(number);
            !self.blocks.iter().any(has_child)
        })
    }
}
