//! Whether the vote records of one validator and window say one thing: the judge of `audit`.
//!
//! Owns protocol.md's order of records and what makes a record contradict itself, in code of its
//! own, not that which cast the votes. What cannot be told for want of a header is said to be so.
//! Never: reads a log, or counts.

use std::collections::BTreeMap;

use quorate_consensus::header::Header;
use quorate_consensus::record::Record;
use quorate_consensus::types::{BlockId, Index, Window};

/// Headers by block.
pub(super) type Headers = BTreeMap<BlockId, Header>;

/// What a record is beside the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It says what the one before it says, and more.
    Follows,
    /// It contradicts the one before it, or itself.
    Conflicts,
    /// Which of the two depends on a block that it supports and whose header is not here. The body
    /// of a final block is fetched for its delivery and need not be in the log before (R6).
    Open,
}

/// The judge of one window's records.
#[derive(Clone, Copy, Debug)]
pub(super) struct VoteOrder<'a> {
    /// Where a header may be: the log of the validator, or those of all.
    pub(super) headers: &'a [&'a Headers],
    pub(super) window: Window,
    /// Slots of a window.
    pub(super) window_slots: u32,
}

impl VoteOrder<'_> {
    /// What `newer` is beside `older`, or by itself where it is the first.
    pub(super) fn judge(&self, older: Option<&Record>, newer: &Record) -> Verdict {
        if !self.is_consistent(newer) {
            return Verdict::Conflicts;
        }
        match older {
            None => Verdict::Follows,
            Some(older) if !self.extends(older, newer) => Verdict::Conflicts,
            Some(older) => self.supports_still(older, newer),
        }
    }

    /// Whether a record contradicts itself in nothing: final only what was voted for, nothing final
    /// at or above a fallback (rule X), no fallback in a window that is open.
    fn is_consistent(&self, record: &Record) -> bool {
        let last = self.window_slots.saturating_sub(1);
        let inside = |index: Index| index.number() <= last;
        let tip = record.tip.map(|(index, _)| index);
        let falls_back = record.skip_fallback.is_some() || !record.also.is_empty();
        let is_full = tip.is_some_and(|index| index.number() == last);
        let differences = record
            .also
            .iter()
            .filter_map(|&(_, id)| self.first_difference(record.tip, id));
        let lowest_fallback = differences.chain(record.skip_fallback).min();
        let final_fits = match (record.fin, tip) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(fin), Some(tip)) => {
                fin <= tip && lowest_fallback.is_none_or(|fallback| fin < fallback)
            }
        };
        final_fits
            && (!falls_back || record.stop || is_full)
            && tip.is_none_or(inside)
            && record.skip_fallback.is_none_or(inside)
            && record.also.iter().all(|&(index, _)| inside(index))
    }

    /// Whether `newer` says all that `older` says, and more, but for the blocks supported besides.
    fn extends(&self, older: &Record, newer: &Record) -> bool {
        let tip_grows = match (older.tip, newer.tip) {
            (None, _) => true,
            (Some(_), None) => false,
            // A first-voted block stands in the log before its vote, with all below it (R11).
            (Some((_, old)), Some((_, new))) => self.is_ancestor(old, new) == Some(true),
        };
        let stop_stays = !older.stop || (newer.stop && newer.tip == older.tip);
        let final_stays = match (older.fin, newer.fin) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(old), Some(new)) => old <= new,
        };
        let skip_stays = match (older.skip_fallback, newer.skip_fallback) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(old), Some(new)) => new <= old,
        };
        tip_grows && stop_stays && final_stays && skip_stays
    }

    /// Whether every chain that `older` supports besides is on one that `newer` does.
    fn supports_still(&self, older: &Record, newer: &Record) -> Verdict {
        let stays = |old: BlockId| {
            let chains = newer
                .also
                .iter()
                .map(|&(_, new)| self.is_ancestor(old, new));
            chains.fold(Verdict::Conflicts, |so_far, is_on| match (so_far, is_on) {
                (Verdict::Follows, _) | (_, Some(true)) => Verdict::Follows,
                (Verdict::Open, _) | (_, None) => Verdict::Open,
                (Verdict::Conflicts, Some(false)) => Verdict::Conflicts,
            })
        };
        let verdicts: Vec<_> = older.also.iter().map(|&(_, id)| stays(id)).collect();
        if verdicts.contains(&Verdict::Conflicts) {
            Verdict::Conflicts
        } else if verdicts.contains(&Verdict::Open) {
            Verdict::Open
        } else {
            Verdict::Follows
        }
    }

    fn header(&self, id: &BlockId) -> Option<&Header> {
        self.headers.iter().find_map(|headers| headers.get(id))
    }

    /// The lowest index at which the chain of `id` is not the chain of the tip. None where it is
    /// all on that chain, or where one of the two is not known down to the window's first block.
    fn first_difference(&self, tip: Option<(Index, BlockId)>, id: BlockId) -> Option<Index> {
        let Some((_, tip)) = tip else {
            return Some(Index::ZERO);
        };
        let (own, other) = (self.chain(tip)?, self.chain(id)?);
        let differs = |at: &usize| own.get(*at) != other.get(*at);
        let first = (0..other.len()).find(differs)?;
        u32::try_from(first).ok().map(Index::new)
    }

    /// The blocks of the window up to this one, the lowest first.
    fn chain(&self, id: BlockId) -> Option<Vec<BlockId>> {
        let (mut chain, mut at) = (Vec::new(), id);
        loop {
            let header = self.header(&at)?;
            if header.window != self.window {
                return None;
            }
            chain.push(at);
            if header.index == Index::ZERO {
                chain.reverse();
                return Some(chain);
            }
            at = header.parent_id;
        }
    }

    /// Whether `old` stands on the chain of `new` inside the window; none where a header between
    /// them is not here.
    fn is_ancestor(&self, old: BlockId, new: BlockId) -> Option<bool> {
        let mut at = new;
        while at != old {
            let header = self.header(&at)?;
            if header.window != self.window || header.index == Index::ZERO {
                return Some(false);
            }
            at = header.parent_id;
        }
        Some(true)
    }
}
