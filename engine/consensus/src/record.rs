//! The vote record: a validator's one monotone statement about a window.
//!
//! Owns the record, what makes it self-consistent without headers, and the part of its order that
//! needs no headers. Never: counts, windows, signatures. The order that needs headers is judged in
//! `window::tally`.

use crate::types::{BlockId, Index, Window};
use alloc::vec::Vec;

/// A validator's newest statement about one window (protocol.md, vote record).
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Record {
    /// First-voted chain prefix: everything up to this block.
    pub tip: Option<(Index, BlockId)>,
    /// The first vote is Skip for every index above the tip.
    pub stop: bool,
    /// Final for the block of the own chain at this index and all its window ancestors.
    pub fin: Option<Index>,
    /// Fallback Skip for every index at or above.
    pub skip_fallback: Option<Index>,
    /// Fallback support for the chain of each block, from its fork with the tip's chain.
    /// Sorted by (index, id), without repeats. Bound: one entry a validator.
    pub also: Vec<(Index, BlockId)>,
}

impl Record {
    /// Whether nothing has been said yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tip.is_none() && !self.stop
    }

    /// Whether the record can take no further first vote in a window of `slots` slots.
    #[must_use]
    pub fn is_closed(&self, slots: u32) -> bool {
        self.stop
            || self
                .tip
                .is_some_and(|(index, _)| index.number().saturating_add(1) >= slots)
    }

    /// The lowest index this record skips, if any: above a stop, or from the fallback.
    #[must_use]
    pub fn skip_from(&self) -> Option<Index> {
        let stopped = self
            .stop
            .then(|| self.tip.map_or(Index::ZERO, |(index, _)| index.next()));
        match (stopped, self.skip_fallback) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// The part of self-consistency that needs no headers: `fin <= tip`, `fin` below the skip
    /// fallback (rule X), fallbacks only when closed, indices inside the window, `also` sorted.
    #[must_use]
    pub fn is_consistent(&self, slots: u32) -> bool {
        let inside = |index: Index| index.number() < slots;
        let tip_index = self.tip.map(|(index, _)| index);
        let fin_fits = match (self.fin, tip_index) {
            (None, _) => true,
            (Some(fin), Some(tip)) => fin <= tip,
            (Some(_), None) => false,
        };
        // Rule X: nothing final at or above a fallback.
        let rule_x = match (self.fin, self.skip_fallback) {
            (Some(fin), Some(skip)) => fin < skip,
            _ => true,
        };
        let has_fallback = self.skip_fallback.is_some() || !self.also.is_empty();
        fin_fits
            && rule_x
            && (!has_fallback || self.is_closed(slots))
            && tip_index.is_none_or(inside)
            && self.skip_fallback.is_none_or(inside)
            && self.also.iter().all(|&(index, _)| inside(index))
            && self.also.windows(2).all(|pair| pair[0] < pair[1])
    }

    /// The part of `self` extended-by `newer` that needs no headers. `false` proves that the two
    /// are not ordered this way; `true` still leaves the chains of tips and `also` to be compared.
    #[must_use]
    pub fn may_extend_to(&self, newer: &Self) -> bool {
        let tip_grows = match (self.tip, newer.tip) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(old), Some(new)) => old.0 < new.0 || old == new,
        };
        let stop_holds = !self.stop || (newer.stop && self.tip == newer.tip);
        let fin_grows = self.fin <= newer.fin;
        let skip_falls = match (self.skip_fallback, newer.skip_fallback) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(old), Some(new)) => new <= old,
        };
        tip_grows && stop_holds && fin_grows && skip_falls
    }
}

impl Record {
    /// Whether `newer` can hold every `also` chain of `self`: each entry still stands, or has grown
    /// to a higher one, which is no other entry's. Needs no headers.
    ///
    /// `false` proves that a record of the same validator, which keeps to R6, was not said after
    /// this one. R6 makes one step at a time: an entry gives way to a child of its block, or one
    /// more is added; none goes and no two become one. So a later record has for each entry of an
    /// earlier one the entry itself or a higher one, and for two of them never the same: an
    /// injection. If there is any, there is one that maps to itself what stands in both: where `a`
    /// maps to `x` and `b` to `a`, `x` stands above `b` as well and `a` may keep its place. Those
    /// left need higher ones among those left, and have them when the highest, the second and so on
    /// each stand above its like.
    #[must_use]
    pub fn also_may_grow_to(&self, newer: &Self) -> bool {
        if self.also.is_empty() || self.also == newer.also {
            return true;
        }
        let (gone, come) = (self.also_beside(newer), newer.also_beside(self));
        let mut pairs = gone.iter().zip(&come);
        gone.len() <= come.len() && pairs.all(|(old, new)| old < new)
    }

    /// The indices of `also` entries that another record does not have, highest first.
    fn also_beside(&self, other: &Self) -> Vec<Index> {
        let own = self.also.iter();
        let own = own.filter(|entry| !other.also.contains(entry));
        let mut indices: Vec<Index> = own.map(|&(index, _)| index).collect();
        indices.sort_unstable_by_key(|&index| core::cmp::Reverse(index));
        indices
    }
}

/// A record of this validator's own and the window it speaks about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnRecord {
    /// The window.
    pub window: Window,
    /// What is said about it.
    pub record: Record,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_also_grows_only_to_itself_or_to_something_higher() {
        let at = |index, mark| (Index::new(index), BlockId::new([mark; 32]));
        let with = |also: &[(Index, BlockId)]| Record {
            also: also.to_vec(),
            ..Record::default()
        };
        let held = with(&[at(1, 1)]);
        assert!(held.also_may_grow_to(&held));
        assert!(held.also_may_grow_to(&with(&[at(2, 9)])));
        assert!(!held.also_may_grow_to(&with(&[at(1, 2)])), "another one");
        assert!(!held.also_may_grow_to(&with(&[at(0, 1)])), "a lower one");
        let both = with(&[at(1, 1), at(1, 2)]);
        assert!(!both.also_may_grow_to(&held), "one is gone");
        let one = with(&[at(1, 1), at(5, 1), at(9, 3)]);
        let grown = with(&[at(3, 2), at(6, 4), at(9, 3)]);
        assert!(one.also_may_grow_to(&grown), "each to one of its own");
        assert!(!grown.also_may_grow_to(&one), "to 5 and 9 which is taken");
        let more = with(&[at(2, 7), at(3, 2), at(6, 4), at(9, 3)]);
        assert!(one.also_may_grow_to(&more), "and a new one");
        assert!(!more.also_may_grow_to(&one) && !more.also_may_grow_to(&grown));
        let twice = with(&[at(5, 2), at(6, 2)]);
        assert!(!twice.also_may_grow_to(&with(&[at(4, 8), at(9, 8)])));
    }
}
