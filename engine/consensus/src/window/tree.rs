//! The blocks of one window: a tree by header, and where each stands in its slot.
//!
//! A block is *connected* when its header and those of all its window ancestors are known; until
//! then it is only a name that voters have used. Never: votes are judged here, or bodies held.

use crate::header::Header;
use crate::types::{BlockId, Height, Index, Stake, ValidatorIndex};
use alloc::vec;
use alloc::vec::Vec;
#[cfg(test)]
use core::cell::Cell;

/// Place of a block in its window's arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct BlockPlace(u32);

impl BlockPlace {
    const fn at(self) -> usize {
        self.0 as usize
    }
}

/// One block and the running sums of what is said of it.
#[derive(Debug)]
pub(crate) struct Block {
    pub(crate) index: Index,
    pub(crate) id: BlockId,
    /// Known header: the block is connected down to index 0.
    pub(crate) header: Option<Header>,
    /// In-window parent; none at index 0 and while unconnected.
    pub(crate) parent: Option<BlockPlace>,
    next_in_slot: Option<BlockPlace>,
    /// Weight of first votes.
    pub(crate) notar: Stake,
    /// Weight of Finals at or above this block on its chain.
    pub(crate) finals: Stake,
    /// Weight of `also` cover by validators whose first vote is another.
    pub(crate) also: Stake,
    /// Checked and handed to the journal.
    pub(crate) has_body: bool,
    /// Came over its leader's channel, or with its leader's good signature.
    pub(crate) authentic: bool,
    /// Whose header connected it, where that was a voter who brought it for its own record.
    pub(crate) brought_by: Option<ValidatorIndex>,
}

impl Block {
    /// Weight of support: first votes and fallback cover, of distinct validators.
    pub(crate) const fn support(&self) -> Stake {
        self.notar.plus(self.also)
    }
}

/// Why a header could not be placed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Misfit {
    /// Its parent is not connected yet.
    ParentUnknown,
    /// It does not follow its parent (height, time), or lies outside the window.
    Invalid,
}

/// Some of a tree's blocks.
#[derive(Debug)]
pub(crate) struct Marks(Vec<bool>);

impl Marks {
    /// Adds a block; whether it is new.
    pub(crate) fn insert(&mut self, place: BlockPlace) -> bool {
        let mark = self.0.get_mut(place.at());
        mark.is_some_and(|mark| !core::mem::replace(mark, true))
    }

    pub(crate) fn contains(&self, place: BlockPlace) -> bool {
        self.0.get(place.at()).copied().unwrap_or_default()
    }

    /// The blocks, in the order in which they were named.
    pub(crate) fn iter(&self) -> impl Iterator<Item = BlockPlace> {
        let marked = (0..).zip(&self.0).filter(|(_, is_marked)| **is_marked);
        marked.map(|(place, _)| BlockPlace(place))
    }
}

/// Something noted of some of a tree's blocks.
#[derive(Debug, Default)]
pub(crate) struct PerBlock<T>(Vec<Option<T>>);

impl<T: Copy> PerBlock<T> {
    pub(crate) fn get(&self, place: BlockPlace) -> Option<T> {
        self.0.get(place.at()).copied().flatten()
    }

    pub(crate) fn set(&mut self, place: BlockPlace, value: T) {
        if self.0.len() <= place.at() {
            self.0.resize(place.at().saturating_add(1), None);
        }
        self.0[place.at()] = Some(value);
    }
}

/// A weight for each block of a tree, as chains are added to it.
#[derive(Debug)]
pub(crate) struct Weights {
    weights: Vec<Stake>,
    /// By which addition a block was met last; the first one has number 1.
    met_by: Vec<u32>,
    additions: u32,
}

impl Weights {
    pub(crate) fn of(&self, place: BlockPlace) -> Stake {
        self.weights.get(place.at()).copied().unwrap_or(Stake::ZERO)
    }
}

/// Which blocks stand on one, itself among them. What is found of a chain is remembered: chains
/// that meet above it cost as much as they have blocks.
#[derive(Debug)]
pub(crate) struct Lineage<'t> {
    tree: &'t Tree,
    base: BlockPlace,
    known: PerBlock<bool>,
}

impl Lineage<'_> {
    /// Whether a connected block stands on the base.
    pub(crate) fn holds(&mut self, top: BlockPlace) -> bool {
        let lowest = self.tree.block(self.base).index;
        let mut slot = self.tree.slot(lowest);
        if slot.next().is_some() && slot.next().is_none() {
            // PERF: all that is above the only block of a slot stands on it.
            return self.tree.block(top).index >= lowest;
        }
        let mut holds = false;
        for at in self.tree.chain(top) {
            if let Some(known) = self.known.get(at) {
                holds = known;
                break;
            }
            if self.tree.block(at).index <= lowest {
                holds = at == self.base;
                break;
            }
        }
        for at in self.tree.chain(top) {
            if self.tree.block(at).index <= lowest || self.known.get(at).is_some() {
                break;
            }
            self.known.set(at, holds);
        }
        holds
    }
}

/// The tree of one window. Bound: two blocks a position from the leader, one branch a voter.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    blocks: Vec<Block>,
    /// First block of each slot; grows with the highest index named.
    slots: Vec<Option<BlockPlace>>,
    /// Slots that hold more than one block.
    forks: u32,
    /// Connected blocks whose bodies are not here.
    bodiless: u32,
    /// How often a block was looked at: what tests of costs count.
    #[cfg(test)]
    pub(crate) looks: Cell<u64>,
}

impl Tree {
    pub(crate) fn block(&self, place: BlockPlace) -> &Block {
        #[cfg(test)]
        self.looks.set(self.looks.get() + 1);
        &self.blocks[place.at()]
    }

    pub(crate) fn block_mut(&mut self, place: BlockPlace) -> &mut Block {
        &mut self.blocks[place.at()]
    }

    /// A connected block's body came; or, for whoever explores states, goes again.
    pub(crate) fn set_body(&mut self, place: BlockPlace, has_body: bool) {
        let block = self.block_mut(place);
        let had_body = core::mem::replace(&mut block.has_body, has_body);
        self.bodiless = match (had_body, has_body) {
            (false, true) => self.bodiless.saturating_sub(1),
            (true, false) => self.bodiless.saturating_add(1),
            _ => self.bodiless,
        };
    }

    /// Whether the body of some connected block is not here.
    pub(crate) const fn lacks_bodies(&self) -> bool {
        self.bodiless > 0
    }

    /// Whether some slot holds two blocks.
    pub(crate) const fn is_forked(&self) -> bool {
        self.forks > 0
    }

    /// One above the highest index named so far.
    pub(crate) fn slot_count(&self) -> u32 {
        u32::try_from(self.slots.len()).unwrap_or(u32::MAX)
    }

    /// The blocks of one slot, newest first.
    pub(crate) fn slot(&self, index: Index) -> impl Iterator<Item = BlockPlace> {
        let mut next = self.slots.get(index.number() as usize).copied().flatten();
        core::iter::from_fn(move || {
            let place = next?;
            next = self.block(place).next_in_slot;
            Some(place)
        })
    }

    /// The block with this name at this index.
    pub(crate) fn find(&self, index: Index, id: BlockId) -> Option<BlockPlace> {
        self.slot(index).find(|&place| self.block(place).id == id)
    }

    /// Whether first votes of this weight name the block, connected or not.
    pub(crate) fn has_first_votes(&self, index: Index, id: BlockId, weight: Stake) -> bool {
        self.find(index, id)
            .is_some_and(|place| self.block(place).notar >= weight)
    }

    /// The connected block with this name at this index.
    pub(crate) fn find_connected(&self, index: Index, id: BlockId) -> Option<BlockPlace> {
        self.find(index, id)
            .filter(|&place| self.is_connected(place))
    }

    /// The connected block of this name and height, wherever its branch stands in the window.
    pub(crate) fn find_by_height(&self, height: Height, id: BlockId) -> Option<BlockPlace> {
        let mut looked_at = None;
        self.slot(Index::ZERO).find_map(|first| {
            let base = self.block(first).header?.height.number();
            let offset = height.number().checked_sub(base)?;
            // Rivals at index 0 mostly have one height, and one slot need not be searched for each.
            if looked_at.replace(offset) == Some(offset) {
                return None;
            }
            self.find_connected(Index::new(u32::try_from(offset).ok()?), id)
        })
    }

    /// Notes whose header has connected a block just now.
    pub(crate) fn note_brought(&mut self, place: BlockPlace, by: ValidatorIndex) {
        self.block_mut(place).brought_by = Some(by);
    }

    /// How many blocks of one slot this voter has brought.
    pub(crate) fn brought(&self, index: Index, by: ValidatorIndex) -> usize {
        let blocks = self.slot(index).map(|place| self.block(place));
        blocks.filter(|block| block.brought_by == Some(by)).count()
    }

    /// No block yet.
    pub(crate) fn marks(&self) -> Marks {
        Marks(vec![false; self.blocks.len()])
    }

    /// Marks the chain of a connected block down to an index, or to where it is marked already.
    /// Chains that are marked to one index so cost as much as they have blocks, however often they
    /// meet.
    pub(crate) fn mark_chain(&self, top: BlockPlace, lowest: Index, marks: &mut Marks) {
        let chain = self.chain(top);
        let mut down = chain.take_while(|&at| self.block(at).index >= lowest);
        while down.next().is_some_and(|at| marks.insert(at)) {}
    }

    /// No weight yet.
    pub(crate) fn weights(&self) -> Weights {
        Weights {
            weights: vec![Stake::ZERO; self.blocks.len()],
            met_by: vec![0; self.blocks.len()],
            additions: 0,
        }
    }

    /// Adds a weight to each block of some chains at or above an index, once where they meet.
    pub(crate) fn add_weight(
        &self,
        weights: &mut Weights,
        tops: impl Iterator<Item = BlockPlace>,
        lowest: Index,
        weight: Stake,
    ) {
        weights.additions = weights.additions.saturating_add(1);
        let addition = weights.additions;
        for top in tops {
            let down = self
                .chain(top)
                .take_while(|&at| self.block(at).index >= lowest);
            for at in down {
                if core::mem::replace(&mut weights.met_by[at.at()], addition) == addition {
                    break;
                }
                weights.weights[at.at()].add(weight);
            }
        }
    }

    /// The blocks that stand on a connected one.
    pub(crate) fn lineage(&self, base: BlockPlace) -> Lineage<'_> {
        Lineage {
            tree: self,
            base,
            known: PerBlock::default(),
        }
    }

    pub(crate) fn is_connected(&self, place: BlockPlace) -> bool {
        self.block(place).header.is_some()
    }

    /// A block known by name alone, made if it is new.
    pub(crate) fn name(&mut self, index: Index, id: BlockId) -> BlockPlace {
        if let Some(place) = self.find(index, id) {
            return place;
        }
        let slot = index.number() as usize;
        if self.slots.len() <= slot {
            self.slots.resize(slot.saturating_add(1), None);
        }
        let place = BlockPlace(u32::try_from(self.blocks.len()).unwrap_or(u32::MAX));
        let next_in_slot = self.slots[slot].replace(place);
        if let Some(next) = next_in_slot
            && self.block(next).next_in_slot.is_none()
        {
            self.forks = self.forks.saturating_add(1);
        }
        self.blocks.push(Block {
            index,
            id,
            header: None,
            parent: None,
            next_in_slot,
            notar: Stake::ZERO,
            finals: Stake::ZERO,
            also: Stake::ZERO,
            has_body: false,
            authentic: false,
            brought_by: None,
        });
        place
    }

    /// Places a header under its connected parent. `true` when this connected it just now.
    pub(crate) fn connect(
        &mut self,
        header: &Header,
        id: BlockId,
        slots: u32,
    ) -> Result<(BlockPlace, bool), Misfit> {
        if header.index.number() >= slots {
            return Err(Misfit::Invalid);
        }
        if let Some(place) = self.find_connected(header.index, id) {
            return Ok((place, false));
        }
        let parent = match header.index.previous() {
            None => None,
            Some(before) => {
                let place = self
                    .find_connected(before, header.parent_id)
                    .ok_or(Misfit::ParentUnknown)?;
                let fits = self.block(place).header.is_some_and(|parent_header| {
                    header.follows_in_window(&parent_header, header.parent_id)
                });
                if !fits {
                    return Err(Misfit::Invalid);
                }
                Some(place)
            }
        };
        let place = self.name(header.index, id);
        let block = self.block_mut(place);
        block.header = Some(*header);
        block.parent = parent;
        self.bodiless = self.bodiless.saturating_add(1);
        Ok((place, true))
    }

    /// The block at `index` on the chain of a connected block, itself included.
    pub(crate) fn ancestor_at(&self, place: BlockPlace, index: Index) -> Option<BlockPlace> {
        if index > self.block(place).index || !self.is_connected(place) {
            return None;
        }
        let mut slot = self.slot(index);
        if let Some(only) = slot.next()
            && slot.next().is_none()
        {
            return Some(only);
        }
        let mut at = place;
        while self.block(at).index > index {
            at = self.block(at).parent?;
        }
        Some(at)
    }

    /// Whether `ancestor` stands on the chain of `place`.
    pub(crate) fn descends(&self, place: BlockPlace, ancestor: BlockPlace) -> bool {
        place == ancestor || self.ancestor_at(place, self.block(ancestor).index) == Some(ancestor)
    }

    /// Last index at which two connected chains agree; none when they differ from index 0.
    pub(crate) fn fork(&self, a: BlockPlace, b: BlockPlace) -> Option<Index> {
        let (mut a, mut b) = (a, b);
        // PERF: one mostly stands on the other's chain, and a window has thousands of blocks.
        let (low, high) = if self.block(a).index < self.block(b).index {
            (a, b)
        } else {
            (b, a)
        };
        if self.descends(high, low) {
            return Some(self.block(low).index);
        }
        loop {
            if a == b {
                return Some(self.block(a).index);
            }
            if self.block(a).index >= self.block(b).index {
                a = self.block(a).parent?;
            } else {
                b = self.block(b).parent?;
            }
        }
    }

    /// The chain of a connected block from itself downward to index 0.
    pub(crate) fn chain(&self, place: BlockPlace) -> impl Iterator<Item = BlockPlace> {
        core::iter::successors(Some(place), |&at| self.block(at).parent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::header::HEADER_VERSION;
    use crate::types::{Epoch, Window};

    fn put(tree: &mut Tree, parent: Option<BlockPlace>, mark: u8) -> BlockPlace {
        let parent = parent.map(|place| tree.block(place));
        let index = parent.map_or(0, |block| block.index.number() + 1);
        let header = Header {
            version: HEADER_VERSION,
            flags: 0,
            chain_id: [0; 32],
            epoch: Epoch::ZERO,
            set_hash: [0; 32],
            window: Window::ZERO,
            index: Index::new(index),
            height: Height::new(u64::from(index) + 1),
            time_ns: u64::from(index),
            parent_id: parent.map_or(BlockId::new([0; 32]), |block| block.id),
            payload_hash: [0; 32],
            payload_bytes: 0,
        };
        let connected = tree.connect(&header, BlockId::new([mark; 32]), 64);
        connected.expect("it follows its parent").0
    }

    #[test]
    fn ancestors_and_forks_are_found_whether_a_slot_holds_one_block_or_two() {
        let mut tree = Tree::default();
        let first = put(&mut tree, None, 1);
        let second = put(&mut tree, Some(first), 2);
        let third = put(&mut tree, Some(second), 3);
        let rival = put(&mut tree, Some(first), 4);
        let above = put(&mut tree, Some(rival), 5);
        let at = |place, index| tree.ancestor_at(place, Index::new(index));
        for (tip, chain) in [
            (third, [first, second, third]),
            (above, [first, rival, above]),
        ] {
            for (index, place) in (0..).zip(chain) {
                assert_eq!(at(tip, index), Some(place));
                assert_eq!(at(place, index), Some(place), "itself");
                assert!(tree.descends(tip, place));
                assert_eq!(tree.fork(place, tip), Some(Index::new(index)));
            }
            assert_eq!(at(tip, 3), None, "nothing above it");
        }
        assert_eq!(at(first, 1), None);
        assert!(!tree.descends(third, rival) && !tree.descends(first, second));
        assert_eq!(tree.fork(third, above), Some(Index::ZERO));
        assert_eq!(tree.fork(rival, third), Some(Index::ZERO));
        // Of what is known by name alone nothing is known below.
        let named = tree.name(Index::new(5), BlockId::new([9; 32]));
        assert_eq!(tree.ancestor_at(named, Index::ZERO), None);
    }
}
