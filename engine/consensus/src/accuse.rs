//! Evidence against a validator from its own signed records (2.10).
//!
//! Owns the search for a contradiction between what is held and what came. Never: counting; what
//! accuses changes nothing here.

use crate::certificate::{SignatureBytes, SignedRecord};
use crate::evidence::Evidence;
use crate::header::Header;
use crate::limits;
use crate::record::Record;
use crate::types::{BlockId, Index, Window};
use crate::validators::ValidatorSet;
use crate::verify::check_evidence;
use crate::window::WindowState;
use crate::window::tree::{Marks, Tree};
use alloc::boxed::Box;
use alloc::vec::Vec;

/// E3 when the record contradicts itself, E2 when it and one that is held are not ordered, as far
/// as the headers that are here show it.
pub(crate) fn accuse(
    set: &ValidatorSet,
    state: &WindowState,
    signed: &SignedRecord,
) -> Option<Evidence> {
    if !signed.record.is_consistent(set.slots()) {
        return Some(Evidence::OneRecord {
            epoch: set.epoch(),
            window: state.window,
            record: Box::new(signed.clone()),
        });
    }
    let voter = state.tally.voter(signed.validator)?;
    let held = voter.signed.iter().chain(&voter.signed_before);
    held.filter(|(held, _)| *held != signed.record)
        .find_map(|held| accuse_of_two(set, state, held, signed))
}

/// E2 when a record and an earlier one of the same validator are not ordered, as far as the
/// headers that are here show it.
pub(crate) fn accuse_of_two(
    set: &ValidatorSet,
    state: &WindowState,
    (held, signature): &(Record, SignatureBytes),
    signed: &SignedRecord,
) -> Option<Evidence> {
    // The steady state, a longer chain of first votes; and an earlier record that came late, which
    // must not cost more than it says: whoever sends it could do so for ever.
    if extends(state, held, &signed.record) || extends(state, &signed.record, held) {
        return None;
    }
    // Evidence holds the headers of all chains, each hashed by whoever checks it: it is made when
    // it will show something.
    if !refutes(state, held, &signed.record) || !refutes(state, &signed.record, held) {
        return None;
    }
    let held = SignedRecord {
        validator: signed.validator,
        record: held.clone(),
        signature: *signature,
    };
    let headers = branch_headers(state, &held, signed);
    let evidence = two_records(set, state.window, held, signed.clone(), headers);
    check_evidence(set, &evidence).is_ok().then_some(evidence)
}

/// Whether `newer` plainly extends `older`, as far as can be told without its headers.
fn extends(state: &WindowState, older: &Record, newer: &Record) -> bool {
    older.may_extend_to(newer)
        && all_stand(state, &older.also, &newer.also)
        && is_on_chain(state, older.tip, newer.tip)
}

/// Whether each of these blocks is one of `newer` or stands on the chain of one, or this cannot be
/// told yet: a fallback grows along its chain with each block.
fn all_stand(state: &WindowState, older: &[(Index, BlockId)], newer: &[(Index, BlockId)]) -> bool {
    let Some(lowest) = older.iter().map(|&(index, _)| index).min() else {
        return true;
    };
    let tree = &state.tally.tree;
    let (mut below, mut highest_unknown) = (tree.marks(), None);
    for &(index, id) in newer {
        match tree.find_connected(index, id) {
            Some(top) => tree.mark_chain(top, lowest, &mut below),
            None => highest_unknown = highest_unknown.max(Some(index)),
        }
    }
    older.iter().all(|old| {
        let place = || tree.find_connected(old.0, old.1);
        newer.contains(old)
            || highest_unknown.is_some_and(|index| index > old.0)
            || place().is_some_and(|at| below.contains(at))
    })
}

/// Whether `newer` is shown not to extend `older` by the blocks that are here: what
/// `check_evidence` finds by the headers of the same blocks.
fn refutes(state: &WindowState, older: &Record, newer: &Record) -> bool {
    let excludes = |tops: &[(Index, BlockId)], blocks: &[(Index, BlockId)]| {
        Reach::of(state, tops, blocks).map(|reach| blocks.iter().any(|at| reach.excludes(*at)))
    };
    let tips_fork = newer.tip.is_some()
        && excludes(newer.tip.as_slice(), older.tip.as_slice()).unwrap_or_default();
    !older.may_extend_to(newer) || tips_fork || loses(state, older, newer)
}

/// Whether an `also` block that `older` covers is shown not to be covered by `newer`.
fn loses(state: &WindowState, older: &Record, newer: &Record) -> bool {
    let own = Reach::of(state, older.tip.as_slice(), &older.also);
    let covered = Reach::of(state, &newer.also, &older.also);
    let (Some(own), Some(covered)) = (own, covered) else {
        return false;
    };
    let mut entries = older.also.iter();
    entries.any(|&entry| own.excludes(entry) && covered.excludes(entry))
}

/// What is known to stand on the chains of some blocks.
struct Reach<'a> {
    tree: &'a Tree,
    tops: &'a [(Index, BlockId)],
    below: Marks,
    /// Some chain is not known below this index: anything may stand on it there.
    unknown_below: Index,
}

impl<'a> Reach<'a> {
    /// As far down as the lowest of `blocks`; none when there are none.
    fn of(
        state: &'a WindowState,
        tops: &'a [(Index, BlockId)],
        blocks: &[(Index, BlockId)],
    ) -> Option<Self> {
        let tree = &state.tally.tree;
        let lowest = blocks.iter().map(|&(index, _)| index).min()?;
        let (mut below, mut unknown_below) = (tree.marks(), Index::ZERO);
        for &(index, id) in tops {
            match tree.find_connected(index, id) {
                Some(top) => tree.mark_chain(top, lowest, &mut below),
                None => unknown_below = unknown_below.max(index),
            }
        }
        Some(Self {
            tree,
            tops,
            below,
            unknown_below,
        })
    }

    /// Whether the block is shown to lie on none of the chains.
    fn excludes(&self, block: (Index, BlockId)) -> bool {
        let place = || self.tree.find_connected(block.0, block.1);
        block.0 >= self.unknown_below
            && !self.tops.contains(&block)
            && !place().is_some_and(|at| self.below.contains(at))
    }
}

fn two_records(
    set: &ValidatorSet,
    window: Window,
    held: SignedRecord,
    new: SignedRecord,
    headers: Vec<Header>,
) -> Evidence {
    Evidence::TwoRecords {
        epoch: set.epoch(),
        window,
        validator: new.validator,
        records: Box::new([held, new]),
        headers,
    }
}

/// Whether the old tip lies on the new one's chain, or this cannot be told yet.
fn is_on_chain(
    state: &WindowState,
    old: Option<(Index, BlockId)>,
    new: Option<(Index, BlockId)>,
) -> bool {
    let (Some(old), Some(new)) = (old, new) else {
        return true;
    };
    let tree = &state.tally.tree;
    let Some(top) = tree.find_connected(new.0, new.1) else {
        return true;
    };
    tree.ancestor_at(top, old.0)
        .is_none_or(|at| tree.block(at).id == old.1)
}

/// Headers of every chain that the two records name, those above the lowest place named.
fn branch_headers(state: &WindowState, one: &SignedRecord, other: &SignedRecord) -> Vec<Header> {
    let tree = &state.tally.tree;
    let named = |signed: &SignedRecord| -> Vec<(Index, BlockId)> {
        let record = &signed.record;
        record.tip.iter().chain(&record.also).copied().collect()
    };
    let mut tops = named(one);
    tops.extend(named(other));
    let lowest = tops.iter().map(|&(index, _)| index).min();
    let mut marks = tree.marks();
    for (index, id) in tops {
        if let Some(top) = tree.find_connected(index, id) {
            tree.mark_chain(top, lowest.unwrap_or(Index::ZERO), &mut marks);
        }
    }
    let places = marks.iter().take(limits::CERTIFICATE_HEADERS_MAX);
    places.filter_map(|at| tree.block(at).header).collect()
}
