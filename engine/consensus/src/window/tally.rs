//! What each validator has said about one window, and the sums over it.
//!
//! Owns the counted, pending and signed record of every voter and keeps each block's running sums
//! equal to what a count from scratch would give (invariant I7). Own records come through
//! [`Tally::count`] like anyone's. Never: what to vote, what to send.

use super::tree::{BlockPlace, Marks, Misfit, Tree};
use crate::certificate::{SignatureBytes, SignedRecord};
use crate::header::Header;
use crate::limits;
use crate::record::Record;
use crate::types::{BlockId, Index, Stake, ValidatorIndex};
use crate::validators::ValidatorSet;
use alloc::vec::Vec;
use core::cell::OnceCell;

/// One validator's standing in a window.
#[derive(Debug, Default)]
pub(crate) struct Voter {
    /// Newest counted record.
    pub(crate) counted: Record,
    /// Block of its tip.
    tip: Option<BlockPlace>,
    /// Whether the tip's ancestors have been counted too.
    connected: bool,
    /// Blocks covered by `also`, sorted.
    cover: Vec<BlockPlace>,
    /// A record that names unknown blocks; replaced by a later one. Bound: one.
    pub(crate) pending: Option<Record>,
    /// Newest record with a good signature.
    pub(crate) signed: Option<(Record, SignatureBytes)>,
    /// Signed records before `signed` whose tips stood lower, the lowest first: what shows a block
    /// from which the newest tip is too far. Bound: `SIGNED_EARLIER_MAX`.
    pub(crate) signed_earlier: Vec<(Record, SignatureBytes)>,
    /// The signed record before `signed`, while headers of that are missing: until they come nobody
    /// can tell whether the two are ordered. Its own were all here. Bound: one.
    pub(crate) signed_before: Option<(Record, SignatureBytes)>,
    /// Headers held because this voter named them. Bound: slots + pipeline.
    pub(crate) branch_headers: u32,
}

impl Voter {
    /// The newest record that came, counted or not: one that waits for headers, else one that is
    /// signed and does not come before the counted one, else that.
    pub(crate) fn newest(&self) -> &Record {
        let signed = self.signed.as_ref().map(|(record, _)| record);
        let signed = signed.filter(|record| !record.may_extend_to(&self.counted));
        self.pending.as_ref().or(signed).unwrap_or(&self.counted)
    }

    /// Keeps a signed record that a newer one has replaced. Of too many the one goes that stands
    /// between the nearest two, but never the lowest.
    fn keep_earlier(&mut self, before: &(Record, SignatureBytes)) {
        let tip = |record: &Record| record.tip.map(|(index, _)| index);
        let newest = self.signed.as_ref().and_then(|(record, _)| tip(record));
        let last = self.signed_earlier.last();
        let is_between = last.is_none_or(|(last, _)| tip(last) < tip(&before.0));
        if tip(&before.0).is_none() || tip(&before.0) >= newest || !is_between {
            return;
        }
        self.signed_earlier.push(before.clone());
        if self.signed_earlier.len() <= limits::SIGNED_EARLIER_MAX {
            return;
        }
        let held = self.signed_earlier.iter().map(|(record, _)| tip(record));
        let tips: Vec<u32> = held.chain([newest]).flatten().map(Index::number).collect();
        let gaps = tips
            .windows(3)
            .map(|three| three[2].saturating_sub(three[0]));
        if let Some((_, place)) = gaps.zip(1..).min() {
            self.signed_earlier.remove(place);
        }
    }
}

/// What became of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Counting {
    /// Sums have changed.
    Counted,
    /// Nothing new in it.
    Stale,
    /// It names blocks whose headers are not here yet; held.
    Pending,
    /// It contradicts the counted one: not counted.
    Conflict,
    /// It contradicts itself: not counted.
    Inconsistent,
}

/// Votes of one window.
#[derive(Debug)]
pub(crate) struct Tally {
    pub(crate) tree: Tree,
    voters: Vec<Voter>,
    /// Highest index with notar >= Q.
    highest_notarized: Option<Index>,
    /// Highest block known to be final by first votes or Finals, and whether by first votes.
    final_by_count: Option<(BlockPlace, bool)>,
    /// Voters whose counted record has Stop.
    stops: u32,
    /// Below this index `SafeToSkip` can hold no more.
    skip_floor: u32,
    /// How often a sum changed or a block was connected, and how often a record came signed.
    changes: (u64, u64),
}

impl Tally {
    pub(crate) fn new(voters: usize) -> Self {
        let mut all = Vec::new();
        all.resize_with(voters, Voter::default);
        Self {
            tree: Tree::default(),
            voters: all,
            highest_notarized: None,
            final_by_count: None,
            stops: 0,
            skip_floor: 0,
            changes: (0, 0),
        }
    }

    /// Other values mean that a sum changed or a block was connected; that the signed records
    /// did, or what is known of the blocks that they name.
    pub(crate) const fn changes(&self) -> (u64, u64) {
        self.changes
    }

    const fn note_counted(&mut self) {
        self.changes.0 = self.changes.0.saturating_add(1);
    }

    const fn note_signed(&mut self) {
        self.changes.1 = self.changes.1.saturating_add(1);
    }

    /// Makes a record the newest signed one of its voter; the one before.
    pub(crate) fn keep_signed(
        &mut self,
        validator: ValidatorIndex,
        signed: (Record, SignatureBytes),
    ) -> Option<(Record, SignatureBytes)> {
        self.note_signed();
        let voter = self.voter_mut(validator)?;
        let before = voter.signed.replace(signed);
        if let Some(before) = &before {
            voter.keep_earlier(before);
        }
        before
    }

    pub(crate) fn voter(&self, validator: ValidatorIndex) -> Option<&Voter> {
        self.voters.get(validator.place())
    }

    pub(crate) fn voter_mut(&mut self, validator: ValidatorIndex) -> Option<&mut Voter> {
        self.voters.get_mut(validator.place())
    }

    pub(crate) const fn highest_notarized(&self) -> Option<Index> {
        self.highest_notarized
    }

    pub(crate) const fn final_by_count(&self) -> Option<(BlockPlace, bool)> {
        self.final_by_count
    }

    /// The lowest index at which `SafeToSkip` may ever hold: all lower ones are notarized, and
    /// N - Q < FB.
    pub(crate) const fn skip_floor(&self) -> u32 {
        self.skip_floor
    }

    fn raise_skip_floor(&mut self, set: &ValidatorSet) {
        let quorum = set.thresholds().quorum;
        while self.notar_max(Index::new(self.skip_floor), None) >= quorum {
            self.skip_floor = self.skip_floor.saturating_add(1);
        }
    }

    /// Whether anything but one chain of first votes has been said: only then can a fallback
    /// predicate hold.
    pub(crate) const fn is_contested(&self) -> bool {
        self.stops > 0 || self.tree.is_forked()
    }

    /// Every voter with its index and weight.
    pub(crate) fn voters<'a>(
        &'a self,
        set: &'a ValidatorSet,
    ) -> impl Iterator<Item = (ValidatorIndex, Stake, &'a Voter)> {
        set.indices()
            .zip(&self.voters)
            .map(|(index, voter)| (index, set.stake(index), voter))
    }

    /// Whether the voter's first vote at `index` is known here.
    pub(crate) fn knows_first(&self, voter: &Voter, index: Index) -> bool {
        match voter.counted.tip {
            Some((tip, _)) if index < tip => voter.connected,
            Some((tip, _)) if index == tip => true,
            _ => voter.counted.stop,
        }
    }

    /// Counts a record of one voter, or holds it until the headers it names are here.
    pub(crate) fn count(
        &mut self,
        set: &ValidatorSet,
        validator: ValidatorIndex,
        record: &Record,
    ) -> Counting {
        let Some(voter) = self.voters.get(validator.place()) else {
            return Counting::Stale;
        };
        if !record.is_consistent(set.slots()) {
            return Counting::Inconsistent;
        }
        if *record == voter.counted || record.is_empty() {
            return Counting::Stale;
        }
        if !voter.counted.may_extend_to(record) {
            let older = record.may_extend_to(&voter.counted);
            return if older {
                Counting::Stale
            } else {
                Counting::Conflict
            };
        }
        let tip = match self.resolve_tip(validator, record) {
            Ok(tip) => tip,
            Err(Counting::Pending) => return self.hold(validator, record),
            Err(other) => return other,
        };
        let covered = match self.resolve_cover(validator, tip, record) {
            Ok(covered) => covered,
            Err(Counting::Pending) => return self.hold(validator, record),
            Err(other) => return other,
        };
        self.apply(set, validator, record, tip, covered);
        Counting::Counted
    }

    fn hold(&mut self, validator: ValidatorIndex, record: &Record) -> Counting {
        if let Some(voter) = self.voters.get_mut(validator.place()) {
            // A signature that was checked for long must not put an earlier record over a later.
            let is_earlier = voter
                .pending
                .as_ref()
                .is_some_and(|held| record.may_extend_to(held) && record.also_may_grow_to(held));
            if !is_earlier {
                voter.pending = Some(record.clone());
            }
        }
        Counting::Pending
    }

    /// The block of the record's tip. An unknown tip counts at once only in a first record
    /// without `also`: with nothing to compare it to, it cannot contradict anything.
    fn resolve_tip(
        &mut self,
        validator: ValidatorIndex,
        record: &Record,
    ) -> Result<Option<BlockPlace>, Counting> {
        let voter = &self.voters[validator.place()];
        let Some((index, id)) = record.tip else {
            return Ok(None);
        };
        if record.tip == voter.counted.tip {
            return Ok(voter.tip);
        }
        let Some(place) = self.tree.find_connected(index, id) else {
            if voter.counted.tip.is_none() && record.also.is_empty() {
                return Ok(Some(self.tree.name(index, id)));
            }
            return Err(Counting::Pending);
        };
        if let Some((old_index, old_id)) = voter.counted.tip {
            let ancestor = self.tree.ancestor_at(place, old_index);
            if ancestor.is_none_or(|at| self.tree.block(at).id != old_id) {
                return Err(Counting::Conflict);
            }
        }
        Ok(Some(place))
    }

    /// The blocks that `also` covers and has not covered before, sorted. Checks rule X against each
    /// fork, and that no cover is withdrawn.
    ///
    /// PERF: who has stopped supports each block of the window that way. What is covered stands
    /// above its fork with all that is between, and the tip of who covers something moves no more,
    /// so only what is new is walked.
    fn resolve_cover(
        &self,
        validator: ValidatorIndex,
        tip: Option<BlockPlace>,
        record: &Record,
    ) -> Result<Vec<BlockPlace>, Counting> {
        let voter = &self.voters[validator.place()];
        let is_checked = record.also.is_empty() || record.fin == voter.counted.fin;
        if record.also == voter.counted.also && is_checked {
            return Ok(Vec::new());
        }
        // Nothing is walked before all is known: a record that names what is not here is looked at
        // again with all that comes.
        let is_tip_known = tip.is_none_or(|at| self.tree.is_connected(at));
        let find = |&(index, id): &(Index, BlockId)| {
            let top = self.tree.find_connected(index, id);
            top.filter(|_| is_tip_known).ok_or(Counting::Pending)
        };
        let tops: Vec<BlockPlace> = record.also.iter().map(find).collect::<Result<_, _>>()?;
        // A Final that has grown is bound to every fork: all is walked again.
        let covered: &[BlockPlace] = if is_checked { &voter.cover } else { &[] };
        let mut found = self.walk_covers(tip, &tops, record.fin, covered)?;
        found.sort_unstable();
        let is_new = |at: &BlockPlace| voter.cover.binary_search(at).is_err();
        let lowest = voter.counted.also.iter().map(|&(index, _)| index).min();
        let below = OnceCell::new();
        let holds = |at: BlockPlace| {
            let stands_below = || {
                let mark = || self.below(&tops, lowest.unwrap_or(Index::ZERO));
                below.get_or_init(mark).contains(at)
            };
            found.binary_search(&at).is_ok() || stands_below()
        };
        let held = voter.counted.also.iter();
        let mut held = held.filter_map(|&(index, id)| self.tree.find_connected(index, id));
        // One on the own chain covers nothing and may go.
        if held.all(|at| is_new(&at) || holds(at)) {
            found.retain(is_new);
            return Ok(found);
        }
        // Not everything that was covered: an earlier record that came late, or a withdrawal.
        if !found.iter().any(is_new) && record.may_extend_to(&voter.counted) {
            return Err(Counting::Stale);
        }
        Err(Counting::Conflict)
    }

    /// The blocks at or below any of these, down to an index.
    fn below(&self, tops: &[BlockPlace], lowest: Index) -> Marks {
        let mut marks = self.tree.marks();
        tops.iter()
            .for_each(|&top| self.tree.mark_chain(top, lowest, &mut marks));
        marks
    }

    /// The blocks from each of `tops` down to its fork with the tip's chain, or to what is covered,
    /// each once. Rule X holds at each fork.
    fn walk_covers(
        &self,
        tip: Option<BlockPlace>,
        tops: &[BlockPlace],
        fin: Option<Index>,
        covered: &[BlockPlace],
    ) -> Result<Vec<BlockPlace>, Counting> {
        let (mut found, mut seen) = (Vec::new(), self.tree.marks());
        // PERF: what a fallback grows by stands above the tip, whose chain need not be known then.
        let own = OnceCell::new();
        let is_own = |at: BlockPlace| {
            tip.is_some_and(|tip| {
                self.tree.block(at).index <= self.tree.block(tip).index
                    && own
                        .get_or_init(|| self.below(&[tip], Index::ZERO))
                        .contains(at)
            })
        };
        for &top in tops {
            let mut last_common = None;
            let mut is_checked = false;
            for at in self.tree.chain(top) {
                is_checked = covered.binary_search(&at).is_ok() || !seen.insert(at);
                if is_checked {
                    break;
                }
                if is_own(at) {
                    last_common = Some(self.tree.block(at).index);
                    break;
                }
                found.push(at);
            }
            // Rule X: fin < fork + 1, that is fin <= fork, or no Final at all without a fork.
            if !is_checked && fin.is_some_and(|fin| last_common.is_none_or(|last| fin > last)) {
                return Err(Counting::Inconsistent);
            }
        }
        Ok(found)
    }

    fn apply(
        &mut self,
        set: &ValidatorSet,
        validator: ValidatorIndex,
        record: &Record,
        tip: Option<BlockPlace>,
        covered: Vec<BlockPlace>,
    ) {
        self.note_counted();
        let stake = set.stake(validator);
        let voter = &mut self.voters[validator.place()];
        let old = core::mem::replace(&mut voter.counted, record.clone());
        let old_tip = core::mem::replace(&mut voter.tip, tip);
        let was_connected = voter.connected;
        voter.connected = tip.is_some_and(|at| self.tree.is_connected(at));
        // One that came late must not put out a later one that still waits for its headers.
        voter.pending = voter
            .pending
            .take()
            .filter(|held| held != record && record.may_extend_to(held));
        if record.stop && !old.stop {
            self.stops = self.stops.saturating_add(1);
        }
        for &at in &covered {
            self.tree.block_mut(at).also.add(stake);
        }
        if let Some(first) = covered.first() {
            let is_behind = voter.cover.last().is_none_or(|last| last < first);
            voter.cover.extend(covered);
            if !is_behind {
                voter.cover.sort_unstable();
            }
        }
        if let Some(tip) = tip {
            let counted_to = old_tip.filter(|_| was_connected || old_tip == Some(tip));
            self.add_first_votes(set, stake, tip, counted_to);
            self.add_finals(set, stake, tip, old.fin, record.fin);
        }
        self.raise_skip_floor(set);
    }

    /// Adds first votes from `tip` down to, not including, what was counted before.
    fn add_first_votes(
        &mut self,
        set: &ValidatorSet,
        stake: Stake,
        tip: BlockPlace,
        counted_to: Option<BlockPlace>,
    ) {
        let thresholds = set.thresholds();
        let mut next = Some(tip);
        while let Some(place) = next
            && counted_to != Some(place)
        {
            let block = self.tree.block_mut(place);
            block.notar.add(stake);
            let (notar, index, parent) = (block.notar, block.index, block.parent);
            if notar >= thresholds.quorum && self.highest_notarized.is_none_or(|at| at < index) {
                self.highest_notarized = Some(index);
            }
            if notar >= thresholds.fast {
                self.note_final(place, true);
            }
            next = parent;
        }
    }

    /// Adds Finals on the tip's chain above `from` up to `to`.
    fn add_finals(
        &mut self,
        set: &ValidatorSet,
        stake: Stake,
        tip: BlockPlace,
        from: Option<Index>,
        to: Option<Index>,
    ) {
        let Some(to) = to.filter(|&to| from.is_none_or(|from| from < to)) else {
            return;
        };
        let top = if self.tree.block(tip).index == to {
            Some(tip)
        } else {
            self.tree.ancestor_at(tip, to)
        };
        let mut next = top;
        while let Some(place) = next
            && from.is_none_or(|from| self.tree.block(place).index > from)
        {
            let block = self.tree.block_mut(place);
            block.finals.add(stake);
            let (finals, parent) = (block.finals, block.parent);
            if finals >= set.thresholds().quorum {
                self.note_final(place, false);
            }
            next = parent;
        }
    }

    /// R8, its condition: FastFinal or SlowFinal has been reached by count.
    fn note_final(&mut self, place: BlockPlace, fast: bool) {
        let index = self.tree.block(place).index;
        let higher = self
            .final_by_count
            .is_none_or(|(at, _)| self.tree.block(at).index < index);
        if higher {
            self.final_by_count = Some((place, fast));
        }
    }

    /// Places a header and counts what its becoming known decides: ancestors of tips known so far
    /// by name only.
    pub(crate) fn connect(
        &mut self,
        set: &ValidatorSet,
        header: &Header,
        id: BlockId,
    ) -> Result<(BlockPlace, bool), Misfit> {
        let (place, new) = self.tree.connect(header, id, set.slots())?;
        if new {
            self.note_counted();
            self.note_signed();
            self.count_below(set, place);
        }
        Ok((place, new))
    }

    fn count_below(&mut self, set: &ValidatorSet, place: BlockPlace) {
        for validator in set.indices() {
            let Some(voter) = self.voters.get_mut(validator.place()) else {
                continue;
            };
            if voter.tip != Some(place) || voter.connected {
                continue;
            }
            voter.connected = true;
            let fin = voter.counted.fin;
            let stake = set.stake(validator);
            let index = self.tree.block(place).index;
            if let Some(parent) = self.tree.block(place).parent {
                self.add_first_votes(set, stake, parent, None);
                // The tip itself was counted with the record when `fin` named it.
                let below = fin.map(|fin| {
                    if fin == index {
                        self.tree.block(parent).index
                    } else {
                        fin
                    }
                });
                self.add_finals(set, stake, parent, None, below);
            }
        }
        self.raise_skip_floor(set);
    }

    /// Counts held records whose headers have come. `true` when sums changed.
    pub(crate) fn retry_pending(
        &mut self,
        set: &ValidatorSet,
        misbehaved: &mut Vec<(ValidatorIndex, Record)>,
    ) -> bool {
        let mut changed = false;
        for validator in set.indices() {
            let Some(voter) = self.voters.get_mut(validator.place()) else {
                continue;
            };
            let Some(record) = voter.pending.take() else {
                continue;
            };
            match self.count(set, validator, &record) {
                Counting::Counted => changed = true,
                Counting::Conflict | Counting::Inconsistent => misbehaved.push((validator, record)),
                Counting::Stale | Counting::Pending => {}
            }
        }
        changed
    }

    /// Whether any record waits for headers, or any tip is known by name only.
    pub(crate) fn lacks_headers(&self) -> bool {
        self.voters
            .iter()
            .any(|voter| voter.pending.is_some() || (voter.tip.is_some() && !voter.connected))
    }

    /// Whether every block that a record names is connected here.
    pub(crate) fn knows_all_of(&self, record: &Record) -> bool {
        let mut named = record.tip.iter().chain(&record.also);
        named.all(|&(index, id)| self.tree.find_connected(index, id).is_some())
    }

    /// Keeps a signed record, if any, until the newer one that it is to be compared with can be.
    pub(crate) fn keep_before(
        &mut self,
        validator: ValidatorIndex,
        before: Option<(Record, SignatureBytes)>,
    ) {
        if let Some(voter) = self.voter_mut(validator) {
            voter.signed_before = before;
        }
    }

    /// Takes two signed records of one validator that can be compared now, the newest one last.
    pub(crate) fn take_comparable(
        &mut self,
        set: &ValidatorSet,
    ) -> Option<((Record, SignatureBytes), SignedRecord)> {
        let waits = |voter: &Voter| {
            let newest = voter.signed.as_ref().map(|(record, _)| record);
            voter.signed_before.is_some() && newest.is_some_and(|record| self.knows_all_of(record))
        };
        let place = self.voters.iter().position(waits)?;
        let validator = set.indices().nth(place)?;
        let voter = self.voters.get_mut(place)?;
        let before = voter.signed_before.take()?;
        let (record, signature) = voter.signed.clone()?;
        let newest = SignedRecord {
            validator,
            record,
            signature,
        };
        Some((before, newest))
    }

    /// The blocks of `validator` whose headers are missing here: tips and `also` of its pending
    /// record, else its unconnected tip.
    pub(crate) fn missing_of(&self, validator: ValidatorIndex) -> Vec<(Index, BlockId)> {
        let Some(voter) = self.voters.get(validator.place()) else {
            return Vec::new();
        };
        let record = voter.pending.as_ref().unwrap_or(&voter.counted);
        record
            .tip
            .iter()
            .chain(&record.also)
            .copied()
            .filter(|&(index, id)| self.tree.find_connected(index, id).is_none())
            .collect()
    }
}

#[cfg(test)]
#[path = "tally_tests.rs"]
mod tests;
