//! Predicates over the sums of one window (protocol.md, definitions and fallback predicates).
//!
//! Pure functions of the tally, monotone in received records. Never: what to do when they hold.

use super::tally::{Tally, Voter};
use super::tree::{BlockPlace, Weights};
use crate::record::Record;
use crate::types::{Index, Stake};
use crate::validators::ValidatorSet;
use alloc::vec::Vec;

impl Tally {
    /// Weight of validators whose first vote at `index` is known: `A` of an unseen block.
    pub(crate) fn known(&self, set: &ValidatorSet, index: Index) -> Stake {
        self.voters(set)
            .filter(|(_, _, voter)| self.knows_first(voter, index))
            .map(|(_, stake, _)| stake)
            .sum()
    }

    /// Greatest `notar` of a block at `index`, leaving one block out.
    pub(super) fn notar_max(&self, index: Index, except: Option<BlockPlace>) -> Stake {
        self.tree
            .slot(index)
            .filter(|&place| Some(place) != except)
            .map(|place| self.tree.block(place).notar)
            .max()
            .unwrap_or(Stake::ZERO)
    }

    /// `SafeToSkip(w, index)`: for every block there, seen or not, `A >= FB`.
    pub(crate) fn is_safe_to_skip(&self, set: &ValidatorSet, index: Index) -> bool {
        let known = self.known(set, index);
        known.minus(self.notar_max(index, None)) >= set.thresholds().fallback
    }

    /// `SafeToNotar(block)`: `notar >= AMP`, and for every other block of its slot `A >= FB`.
    pub(crate) fn is_safe_to_notar(&self, set: &ValidatorSet, place: BlockPlace) -> bool {
        let block = self.tree.block(place);
        if block.notar < set.thresholds().amplify {
            return false;
        }
        let known = self.known(set, block.index);
        known.minus(self.notar_max(block.index, Some(place))) >= set.thresholds().fallback
    }

    /// Lowest index that weight Q of the counted records skips.
    pub(crate) fn skip_start(&self, set: &ValidatorSet) -> Option<Index> {
        self.skip_start_of(set, |voter| Some(&voter.counted))
    }

    /// Lowest index that weight Q of the signed records skips.
    pub(crate) fn signed_skip_start(&self, set: &ValidatorSet) -> Option<Index> {
        self.skip_start_of(set, |voter| voter.signed.as_ref().map(|(record, _)| record))
    }

    fn skip_start_of<'a>(
        &'a self,
        set: &'a ValidatorSet,
        record_of: impl Fn(&'a Voter) -> Option<&'a Record>,
    ) -> Option<Index> {
        let mut starts: Vec<(Index, Stake)> = self
            .voters(set)
            .filter_map(|(_, stake, voter)| Some((record_of(voter)?.skip_from()?, stake)))
            .collect();
        starts.sort_unstable();
        let mut weight = Stake::ZERO;
        starts.into_iter().find_map(|(from, stake)| {
            weight.add(stake);
            (weight >= set.thresholds().quorum).then_some(from)
        })
    }

    /// Connected blocks with support of weight Q at or above `from`.
    pub(crate) fn certified_from(
        &self,
        set: &ValidatorSet,
        from: Index,
    ) -> impl Iterator<Item = BlockPlace> {
        let quorum = set.thresholds().quorum;
        (from.number()..self.tree.slot_count())
            .flat_map(|index| self.tree.slot(Index::new(index)))
            .filter(move |&place| {
                self.tree.is_connected(place) && self.tree.block(place).support() >= quorum
            })
    }

    /// Whether a record supports a block: its tip's chain or an `also` chain contains it.
    pub(crate) fn record_supports(&self, record: &Record, place: BlockPlace) -> bool {
        record.tip.iter().chain(&record.also).any(|&(index, id)| {
            self.tree
                .find_connected(index, id)
                .is_some_and(|at| self.tree.descends(at, place))
        })
    }

    /// Whether a record's first vote at a block's slot is that block.
    pub(crate) fn record_first_votes(&self, record: &Record, place: BlockPlace) -> bool {
        record.tip.is_some_and(|(index, id)| {
            self.tree
                .find_connected(index, id)
                .is_some_and(|at| self.tree.descends(at, place))
        })
    }

    /// Weight of the signed records that support each block at or above `lowest`.
    ///
    /// PERF: one walk a record, however many blocks are asked about: an equivocating leader makes
    /// two windows of them.
    pub(crate) fn signed_supports(&self, set: &ValidatorSet, lowest: Index) -> Weights {
        let mut weights = self.tree.weights();
        for (_, stake, voter) in self.voters(set) {
            let Some((record, _)) = &voter.signed else {
                continue;
            };
            let named = record.tip.iter().chain(&record.also);
            let tops = named.filter_map(|&(index, id)| self.tree.find_connected(index, id));
            self.tree.add_weight(&mut weights, tops, lowest, stake);
        }
        weights
    }

    /// Whether signed records alone make a block final: first votes >= FAST, or Finals >= Q.
    pub(crate) fn is_signed_final(&self, set: &ValidatorSet, place: BlockPlace) -> bool {
        let index = self.tree.block(place).index;
        let fast = self.signed_weight(set, |record| self.record_first_votes(record, place));
        if fast >= set.thresholds().fast {
            return true;
        }
        let slow = self.signed_weight(set, |record| {
            record.fin.is_some_and(|fin| fin >= index) && self.record_first_votes(record, place)
        });
        slow >= set.thresholds().quorum
    }

    fn signed_weight(&self, set: &ValidatorSet, holds: impl Fn(&Record) -> bool) -> Stake {
        self.voters(set)
            .filter(|(_, _, voter)| {
                voter
                    .signed
                    .as_ref()
                    .is_some_and(|(record, _)| holds(record))
            })
            .map(|(_, stake, _)| stake)
            .sum()
    }

    /// Highest block that signed records alone make final. Looked for among the signed tips, the
    /// signed Finals and the block that is final by count: with forks the common ancestor of tips
    /// may be missed, and its Finals find it a moment later.
    pub(crate) fn highest_signed_final(&self, set: &ValidatorSet) -> Option<BlockPlace> {
        let of_voter = |voter: &Voter| {
            let (record, _) = voter.signed.as_ref()?;
            let (index, id) = record.tip?;
            let tip = self.tree.find_connected(index, id)?;
            let fin = record.fin.and_then(|fin| self.tree.ancestor_at(tip, fin));
            Some([Some(tip), fin])
        };
        let rank = |place: BlockPlace| (self.tree.block(place).index, place);
        // The next lower one each time, in place of a list: this runs with every finalized block.
        let mut above = None;
        loop {
            let signed = self.voters(set).filter_map(|(_, _, voter)| of_voter(voter));
            let candidate = signed
                .flatten()
                .flatten()
                .chain(self.final_by_count().map(|(place, _)| place))
                .filter(|&place| above.is_none_or(|above| rank(place) < above))
                .max_by_key(|&place| rank(place))?;
            if self.is_signed_final(set, candidate) {
                return Some(candidate);
            }
            above = Some(rank(candidate));
        }
    }
}
