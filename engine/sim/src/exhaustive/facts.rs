//! What anybody may come to believe of a window, and whether that goes together.
//!
//! Owns the judgement: no two conflicting final blocks, no Skip over a final slot, no certified
//! block beside a final one at or above it. What is final, certified or skipped comes from the
//! shipped counts; whether it may be is decided here. Never: counts votes.

use quorate_consensus::probe::Facts;

use super::tree::{BlockMask, BlockNumber, Tree};

/// Facts that some validator can have, each with the Byzantine records that serve it best.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Believed {
    pub(super) finals: BlockMask,
    pub(super) certified: BlockMask,
    pub(super) skip_from: Option<u8>,
}

/// What was found wrong, by name.
pub(super) type Fault = &'static str;

pub(super) const TWO_FINALS: Fault = "two conflicting blocks are final";
pub(super) const SKIP_OVER_FINAL: Fault = "a Skip certificate covers a final slot";
pub(super) const CERTIFIED_BESIDE_FINAL: Fault =
    "a certified block at or above a final one does not descend from it";

impl Believed {
    /// Facts as the shipped code has them; none when they name an unknown block.
    pub(super) fn read(tree: &Tree, facts: &Facts) -> Option<Self> {
        let mask = |named: &[(_, _)]| {
            named.iter().try_fold(0, |mask: BlockMask, &(_, id)| {
                Some(mask | (1 << tree.number_of(id)?))
            })
        };
        let skip_from = match facts.skip_from {
            Some(index) => Some(u8::try_from(index.number()).ok()?),
            None => None,
        };
        Some(Self {
            finals: mask(&facts.finals)?,
            certified: mask(&facts.certified)?,
            skip_from,
        })
    }

    pub(super) fn join(&mut self, other: &Self) {
        self.finals |= other.finals;
        self.certified |= other.certified;
        self.skip_from = match (self.skip_from, other.skip_from) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
    }

    /// What does not go together within one window.
    pub(super) fn faults(&self, tree: &Tree) -> Vec<Fault> {
        let mut found = Vec::new();
        let conflict = |one: BlockNumber, other: BlockNumber| {
            !tree.descends(one, other) && !tree.descends(other, one)
        };
        for last in members(self.finals) {
            let slot = tree.block(last).slot;
            if members(self.finals).any(|other| conflict(last, other)) {
                found.push(TWO_FINALS);
            }
            if self.skip_from.is_some_and(|from| from <= slot) {
                found.push(SKIP_OVER_FINAL);
            }
            let is_beside =
                |other: BlockNumber| tree.block(other).slot >= slot && !tree.descends(other, last);
            if members(self.certified).any(is_beside) {
                found.push(CERTIFIED_BESIDE_FINAL);
            }
        }
        found.sort_unstable();
        found.dedup();
        found
    }

    /// Blocks that the window hands to the next one, and whether it hands on its own parents.
    pub(super) fn handed_on(&self, tree: &Tree) -> (BlockMask, bool) {
        let clears = |slot: u8| {
            slot + 1 == tree.slots || self.skip_from.is_some_and(|from| from <= slot + 1)
        };
        let handed = members(self.certified).filter(|&number| clears(tree.block(number).slot));
        let mask = handed.fold(0, |mask: BlockMask, number| mask | (1 << number));
        (mask, self.skip_from == Some(0))
    }

    /// What does not go together across two windows of one slot.
    pub(super) fn faults_across(&self, later: &Self, trees: &[Tree]) -> Vec<Fault> {
        let mut found = Vec::new();
        let stands_on = |number: BlockNumber, last: BlockNumber| {
            let below = trees[1].block(number).below;
            below.is_some_and(|below| trees[0].descends(below, last))
        };
        for last in members(self.finals) {
            if members(later.finals).any(|number| !stands_on(number, last)) {
                found.push(TWO_FINALS);
            }
            if members(later.certified).any(|number| !stands_on(number, last)) {
                found.push(CERTIFIED_BESIDE_FINAL);
            }
        }
        found.sort_unstable();
        found.dedup();
        found
    }
}

/// The blocks of a set.
pub(super) fn members(mask: BlockMask) -> impl Iterator<Item = BlockNumber> {
    (0..BlockMask::BITS as u8).filter(move |number| mask & (1 << number) != 0)
}

#[cfg(test)]
mod tests {
    use super::super::world::{Size, World};
    use super::*;

    fn trees(slots: u8, windows: usize) -> Vec<Tree> {
        let size = Size::new(&[1; 4], 1, 0, slots);
        World::new(&size, &[0], windows).unwrap().trees
    }

    #[test]
    fn each_thing_that_must_not_be_is_seen() {
        // a, b; aa, ab, ba.
        let tree = &trees(2, 1)[0];
        let believed = |finals, certified, skip_from| Believed {
            finals,
            certified,
            skip_from,
        };
        assert!(believed(0b00101, 0b00101, None).faults(tree).is_empty());
        assert!(believed(0b00001, 0b00001, Some(1)).faults(tree).is_empty());
        assert_eq!(believed(0b00011, 0, None).faults(tree), [TWO_FINALS]);
        assert_eq!(believed(0b10001, 0, None).faults(tree), [TWO_FINALS]);
        assert_eq!(believed(1, 0, Some(0)).faults(tree), [SKIP_OVER_FINAL]);
        let beside = [CERTIFIED_BESIDE_FINAL];
        assert_eq!(believed(1, 0b00010, None).faults(tree), beside);
        assert_eq!(believed(1, 0b10000, None).faults(tree), beside);
        // Below a final block another may be certified only beside its ancestor, which is final.
        assert_eq!(believed(0b00100, 0b01000, None).faults(tree), beside);
    }

    #[test]
    fn a_later_window_that_leaves_a_final_block_out_is_seen() {
        // The second window: on a, on b, on c, on genesis.
        let trees = trees(1, 2);
        let believed = |finals, certified| Believed {
            finals,
            certified,
            skip_from: None,
        };
        let first = believed(0b001, 0b001);
        assert!(first.faults_across(&believed(1, 1), &trees).is_empty());
        assert_eq!(
            first.faults_across(&believed(0b0010, 0), &trees),
            [TWO_FINALS]
        );
        assert_eq!(
            first.faults_across(&believed(0, 0b1000), &trees),
            [CERTIFIED_BESIDE_FINAL]
        );
    }

    #[test]
    fn a_window_hands_on_what_is_certified_and_cleared() {
        let tree = &trees(2, 1)[0];
        let believed = |certified, skip_from| Believed {
            finals: 0,
            certified,
            skip_from,
        };
        assert_eq!(believed(0b00001, None).handed_on(tree), (0, false));
        assert_eq!(believed(0b00001, Some(1)).handed_on(tree), (1, false));
        assert_eq!(believed(0b00100, None).handed_on(tree), (0b100, false));
        assert_eq!(believed(0, Some(0)).handed_on(tree), (0, true));
    }
}
