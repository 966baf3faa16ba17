//! PR of one window: the blocks that it may stand on, and how far it has handed on what it knows.
//!
//! One equivocating leader can make 2W blocks parents of every window above: whatever is asked of
//! them is found by order or kept as they come, and no look goes through all of them.
//! Never: which blocks are parents (`windows`), or which of them is taken (R2).

use super::tree::PerBlock;
use crate::types::{BlockId, Height, Index, Point, Window};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

/// A block that may be the parent of a window's first one, with the evidence for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ReadyParent {
    pub(crate) point: Point,
    /// Header time of the block; the child's must be above it.
    pub(crate) time_ns: u64,
    /// Whether signed records alone show it.
    pub(crate) signed: bool,
}

/// By which the higher one of two parents is told. Not by its index: genesis has that of the first
/// block above it.
pub(crate) type Rank = (Window, Height, BlockId);

impl ReadyParent {
    pub(crate) const fn rank(&self) -> Rank {
        (self.point.window, self.point.height, self.point.id)
    }
}

/// What is held of a parent beside its rank.
#[derive(Clone, Copy, Debug)]
struct Held {
    index: Index,
    time_ns: u64,
}

impl Held {
    const fn parent(self, rank: Rank, signed: bool) -> ReadyParent {
        let (window, height, id) = rank;
        ReadyParent {
            point: Point {
                window,
                index: self.index,
                height,
                id,
            },
            time_ns: self.time_ns,
            signed,
        }
    }
}

/// PR of one window. None is ever taken out; what is signed stays so.
#[derive(Debug, Default)]
pub(crate) struct Parents {
    /// Those that signed records alone show.
    signed: BTreeMap<Rank, Held>,
    /// The others.
    counted: BTreeMap<Rank, Held>,
    /// Windows in which they stand.
    windows: BTreeSet<Window>,
    height_max: Option<Height>,
    /// One is the last block of the window before.
    follows_full: bool,
    /// One that signed records show is not.
    has_signed_other: bool,
    /// How often one was added, or its evidence grew.
    changes: u64,
    /// Whether they were handed on, and whether as far as signed records show.
    handed: Option<bool>,
    /// Those that changed since. Empty before they were handed on.
    news: Vec<Rank>,
}

impl Parents {
    /// Adds a parent, or the signed evidence for one already here; `is_last` says that it is the
    /// last block of the window before. Whether something changed, and whether it is new.
    pub(crate) fn add(&mut self, parent: ReadyParent, is_last: bool) -> (bool, bool) {
        let rank = parent.rank();
        if self.signed.contains_key(&rank) {
            return (false, false);
        }
        let known = self.counted.get(&rank).copied();
        if known.is_some() && !parent.signed {
            return (false, false);
        }
        let held = known.unwrap_or(Held {
            index: parent.point.index,
            time_ns: parent.time_ns,
        });
        if parent.signed {
            self.counted.remove(&rank);
            self.signed.insert(rank, held);
            self.has_signed_other |= !is_last;
        } else {
            self.counted.insert(rank, held);
        }
        self.windows.insert(parent.point.window);
        self.height_max = self.height_max.max(Some(parent.point.height));
        self.follows_full |= is_last;
        self.changes = self.changes.saturating_add(1);
        if self.handed.is_some() {
            self.news.push(rank);
        }
        (true, known.is_none())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.signed.is_empty() && self.counted.is_empty()
    }

    /// Whether signed records show one of them.
    pub(crate) fn has_signed(&self) -> bool {
        !self.signed.is_empty()
    }

    /// Whether one is the last block of the window before: then the steady state brings its
    /// evidence to everyone.
    pub(crate) const fn follows_full(&self) -> bool {
        self.follows_full
    }

    /// Whether signed records show one that is not.
    pub(crate) const fn has_signed_other(&self) -> bool {
        self.has_signed_other
    }

    pub(crate) const fn height_max(&self) -> Option<Height> {
        self.height_max
    }

    /// Another value means that one was added, or its evidence grew.
    pub(crate) const fn changes(&self) -> u64 {
        self.changes
    }

    fn at(&self, rank: Rank) -> Option<ReadyParent> {
        let signed = self.signed.get(&rank).map(|held| held.parent(rank, true));
        let counted = || self.counted.get(&rank).map(|held| held.parent(rank, false));
        signed.or_else(counted)
    }

    /// The parent of this name and height, in whatever window.
    pub(crate) fn find(&self, height: Height, id: BlockId) -> Option<ReadyParent> {
        let mut windows = self.windows.iter();
        windows.find_map(|&window| self.at((window, height, id)))
    }

    /// Those that signed records show, the highest first.
    pub(crate) fn signed_downward(&self) -> impl Iterator<Item = ReadyParent> {
        let signed = self.signed.iter().rev();
        signed.map(|(rank, held)| held.parent(*rank, true))
    }

    /// All of them, the highest first.
    pub(crate) fn downward(&self) -> impl Iterator<Item = ReadyParent> {
        let counted = self.counted.iter().rev();
        let counted = counted.map(|(rank, held)| held.parent(*rank, false));
        let (mut signed, mut counted) = (self.signed_downward().peekable(), counted.peekable());
        core::iter::from_fn(move || {
            let is_signed_higher = match (signed.peek(), counted.peek()) {
                (Some(one), Some(other)) => one.rank() > other.rank(),
                (one, _) => one.is_some(),
            };
            if is_signed_higher {
                signed.next()
            } else {
                counted.next()
            }
        })
    }

    /// Appends those that the next window, which passes this one over, has not been handed yet.
    /// `is_signed` says that signed records show that it does.
    pub(crate) fn hand_on(&self, is_signed: bool, handed: &mut Vec<ReadyParent>) {
        let with = |parent: ReadyParent| ReadyParent {
            signed: parent.signed && is_signed,
            ..parent
        };
        match self.handed {
            None => handed.extend(self.downward().map(with)),
            Some(false) if is_signed => {
                handed.extend(self.signed_downward());
                let news = self
                    .news
                    .iter()
                    .filter(|rank| self.counted.contains_key(rank));
                handed.extend(news.filter_map(|&rank| self.at(rank)));
            }
            Some(_) => handed.extend(self.news.iter().filter_map(|&rank| self.at(rank)).map(with)),
        }
    }

    /// The next window has taken what [`hand_on`](Self::hand_on) said.
    pub(crate) fn note_handed(&mut self, is_signed: bool) {
        self.handed = Some(is_signed);
        self.news = Vec::new();
    }

    /// All are to be handed on anew.
    fn forget_handed(&mut self) {
        self.handed = None;
        self.news = Vec::new();
    }
}

/// What a window knew when it last handed on what the next one may stand on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Known {
    /// Of the tally and of the parents: how often they had changed.
    pub(crate) counted: u64,
    pub(crate) signed: u64,
    pub(crate) parents: u64,
    /// Of what verified certificates say.
    pub(crate) facts: u64,
}

/// How far a window has handed on its own blocks.
#[derive(Debug, Default)]
pub(crate) struct HandedOn {
    /// What was known then. None when it is to be looked at in any case.
    pub(crate) known: Option<Known>,
    /// Its blocks that were, and whether as far as signed records show.
    pub(crate) blocks: PerBlock<bool>,
    /// Some were not taken, since they stand below a final block of a lower window.
    pub(crate) has_left: bool,
}

impl super::WindowState {
    /// How much is known of what the next window may stand on.
    pub(crate) const fn known(&self) -> Known {
        let (counted, signed) = self.tally.changes();
        Known {
            counted,
            signed,
            parents: self.parents.changes(),
            facts: self.fact_changes,
        }
    }

    /// What was not taken is handed on anew, with all the rest.
    pub(crate) fn hand_on_anew(&mut self) {
        self.handed_on = HandedOn::default();
        self.parents.forget_handed();
    }
}

#[cfg(test)]
#[path = "parents_tests.rs"]
mod tests;
