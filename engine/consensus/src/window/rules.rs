//! R3 to R7: what this validator may add to its record of one window.
//!
//! Each rule is one function that extends `own` when its guard holds and says whether it did.
//! Guards read the tally and the own record alone; being monotone, the order of evaluation does
//! not matter. Never: persistence, sending, timers.

use super::tree::BlockPlace;
use super::{ReadyParent, WindowState};
use crate::header::Header;
use crate::limits;
use crate::types::{BlockId, Index, Now, Point, Stake, ValidatorIndex};
use crate::validators::ValidatorSet;
use alloc::collections::BTreeSet;

/// So many times `final_holdoff` waits the lone Final of a block that is final by first votes here:
/// the vote for the next block, or a signature, comes sooner as a rule and takes it along. Whom a
/// first vote has not reached waits as long at most for what all can send him.
const HOLDOFFS_WHEN_FAST: u64 = 8;

/// Why a window is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StopReason {
    /// The progress timer fired.
    Timer,
    /// A fallback predicate holds.
    Predicate,
    /// The turn is marked, the leader is suspected or at fault, or the operator asks.
    Policy,
    /// The own window has lost the fast path.
    Slow,
}

/// What the rules of a window need to know of the world outside it.
pub(crate) struct Surroundings<'a> {
    pub(crate) set: &'a ValidatorSet,
    pub(crate) now: Now,
    /// Whether the chain of a parent, down to the finalized block, has all its bodies here.
    pub(crate) parent_has_bodies: &'a dyn Fn(BlockId) -> bool,
    /// Time a notarized block waits for its fast finality before Final gets a frame of its own.
    pub(crate) final_holdoff_ns: u64,
    /// Whether a validator is out of reach.
    pub(crate) is_away: &'a dyn Fn(ValidatorIndex) -> bool,
    /// The highest final block, when it stands in this window, which was entered, and has come here
    /// with everything below it.
    pub(crate) settled: Option<Point>,
    /// Nothing that is not final yet is to be added to what waits for its execution (2.9).
    pub(crate) is_behind: bool,
}

impl WindowState {
    /// Last index that both the own chain and the chain of `place` contain; `None` without one.
    fn own_fork(&self, place: BlockPlace) -> Option<Index> {
        self.own_tip
            .and_then(|tip| self.tally.tree.fork(tip, place))
    }

    /// R3 FIRST VOTE: moves the own tip along the leader's chain as far as its guard holds. While
    /// execution is behind, to what is final already alone: that adds nothing to what waits.
    pub(crate) fn r3_first_vote(&mut self, around: &Surroundings<'_>) -> bool {
        let mut moved = self.r3_join(around);
        while !self.own.stop
            && !around.is_behind
            && let Some(place) = self.r3_candidate(around)
        {
            let block = self.tally.tree.block(place);
            self.own.tip = Some((block.index, block.id));
            self.own_tip = Some(place);
            moved = true;
        }
        moved
    }

    /// R3 for whoever came into a window by a proof (R9): the own tip is the final block at once.
    /// It is authentic and valid, and its first ancestor's parent is in PR of this window, though
    /// no window that would show it is held here any more.
    fn r3_join(&mut self, around: &Surroundings<'_>) -> bool {
        let tree = &self.tally.tree;
        let settled = around.settled.filter(|_| !self.own.stop);
        let place = settled.and_then(|point| tree.find_connected(point.index, point.id));
        let Some(place) = place else { return false };
        let extends = self
            .own_tip
            .is_none_or(|tip| tip != place && tree.descends(place, tip));
        if extends {
            let block = tree.block(place);
            self.own.tip = Some((block.index, block.id));
            self.own_tip = Some(place);
        }
        extends
    }

    /// The next block that R3 allows, if any.
    fn r3_candidate(&self, around: &Surroundings<'_>) -> Option<BlockPlace> {
        let tree = &self.tally.tree;
        let next = self.own_tip_index().map_or(Index::ZERO, Index::next);
        tree.slot(next)
            .filter(|&place| self.r3_is_votable(around, place))
            .max_by_key(|&place| (tree.block(place).notar, core::cmp::Reverse(place)))
    }

    fn r3_is_votable(&self, around: &Surroundings<'_>, place: BlockPlace) -> bool {
        let block = self.tally.tree.block(place);
        let Some(header) = block.header else {
            return false;
        };
        let supported = block.notar >= around.set.thresholds().amplify;
        // Authentic: leader's channel, leader's signature, or an honest first-voter behind it.
        if !block.has_body || !(block.authentic || supported) {
            return false;
        }
        // A header from the future has not arrived yet: clocks touch liveness only.
        let ahead = around.now.wall_ns.saturating_add(limits::TIME_AHEAD_MAX_NS);
        if header.time_ns > ahead && !supported {
            return false;
        }
        match self.own_tip {
            Some(tip) => block.parent == Some(tip),
            None => self.parent_of(&header).is_some_and(|parent| {
                header.time_ns > parent.time_ns && (around.parent_has_bodies)(parent.point.id)
            }),
        }
    }

    /// The member of PR on which a first block of the window stands.
    pub(crate) fn parent_of(&self, header: &Header) -> Option<ReadyParent> {
        let height = header.height.previous()?;
        self.parents.find(height, header.parent_id)
    }

    /// When the earliest header from the future at the next index will have arrived.
    pub(crate) fn r3_arrives_ns(&self, around: &Surroundings<'_>) -> Option<u64> {
        let ahead = around.now.wall_ns.saturating_add(limits::TIME_AHEAD_MAX_NS);
        let tree = &self.tally.tree;
        let next = self.own_tip_index().map_or(Index::ZERO, Index::next);
        tree.slot(next)
            .filter_map(|place| tree.block(place).header)
            .filter_map(|header| header.time_ns.checked_sub(ahead).filter(|&by| by > 0))
            .map(|by| around.now.mono_ns.saturating_add(by))
            .min()
            .filter(|_| !self.own.stop)
    }

    /// The lowest index at which this record falls back: rule X keeps `fin` below it.
    fn fallback_index(&self) -> Option<Index> {
        // A branch whose headers are not here (after a restart) may fork anywhere: from index 0.
        let forks = self.own.also.iter().map(|&(index, id)| {
            let place = self.tally.tree.find_connected(index, id);
            let fork = place.and_then(|place| self.own_fork(place));
            fork.map_or(Index::ZERO, Index::next)
        });
        self.own.skip_fallback.into_iter().chain(forks).min()
    }

    /// R4 FINAL: Final for the highest notarized block of the own chain below any own fallback.
    pub(crate) fn r4_final(&mut self, around: &Surroundings<'_>) -> bool {
        let Some(place) = self.r4_candidate(around.set) else {
            (self.notarized_since_ns, self.final_due_ns) = (None, None);
            return false;
        };
        let now_ns = around.now.mono_ns;
        let index = self.tally.tree.block(place).index;
        let since = *self.notarized_since_ns.get_or_insert(now_ns);
        let due = since.saturating_add(self.holdoff_ns(around, place));
        let is_lone = self.own == self.persisted && !self.own.stop;
        if is_lone && now_ns < due {
            self.final_due_ns = Some(due);
            return false;
        }
        (self.notarized_since_ns, self.final_due_ns) = (None, None);
        self.own.fin = Some(index);
        true
    }

    /// Fewer frames when the fast path is near (protocol.md 5.5): how long a lone Final may wait.
    /// It goes with any other change of the record, and delay is always safe. It waits for nothing
    /// when too many have stopped or are away, and longer once the fast path has come, since then
    /// it is for those alone whom a first vote has not reached.
    fn holdoff_ns(&self, around: &Surroundings<'_>, place: BlockPlace) -> u64 {
        let block = self.tally.tree.block(place);
        if block.notar >= around.set.thresholds().fast {
            around.final_holdoff_ns.saturating_mul(HOLDOFFS_WHEN_FAST)
        } else if self.may_be_fast(around, block.index) {
            around.final_holdoff_ns
        } else {
            0
        }
    }

    /// Whether the block of the own chain at `index` may still get the first votes of the fast
    /// path, as far as is seen here.
    fn may_be_fast(&self, around: &Surroundings<'_>, index: Index) -> bool {
        let has_or_may = |validator: &ValidatorIndex| {
            let Some(voter) = self.tally.voter(*validator) else {
                return false;
            };
            let has_voted = voter.counted.tip.is_some_and(|(tip, _)| tip >= index);
            has_voted || !voter.counted.stop && !(around.is_away)(*validator)
        };
        let set = around.set;
        let reachable = set.indices().filter(has_or_may);
        let weight = reachable.fold(Stake::new(0), |sum, validator| {
            sum.plus(set.stake(validator))
        });
        weight >= set.thresholds().fast
    }

    fn r4_candidate(&self, set: &ValidatorSet) -> Option<BlockPlace> {
        let highest = self.tally.highest_notarized()?;
        if self.own.fin.is_some_and(|fin| fin >= highest) {
            return None;
        }
        let tree = &self.tally.tree;
        let below_fallback = self.fallback_index();
        let mut next = self.own_tip;
        while let Some(place) = next {
            let block = tree.block(place);
            if self.own.fin.is_some_and(|fin| fin >= block.index) {
                return None;
            }
            let allowed = below_fallback.is_none_or(|fallback| block.index < fallback);
            // Notarized(b): an own Final needs weight Q of first votes for this very block.
            if allowed && block.notar >= set.thresholds().quorum {
                return Some(place);
            }
            next = block.parent;
        }
        None
    }

    /// R5 STOP, its predicates: a fallback may be needed at or just above the own tip.
    pub(crate) fn r5_predicate_holds(&self, set: &ValidatorSet) -> bool {
        if !self.tally.is_contested() {
            return false;
        }
        let from = self.own.fin.map_or(0, |fin| fin.next().number());
        let above_tip = self.own_tip_index().map_or(0, |tip| tip.next().number());
        let last = above_tip.min(set.slots().saturating_sub(1));
        let safe_to_skip = |index| self.tally.is_safe_to_skip(set, index);
        // One walk down the own chain: a leader may make two chains of a whole window.
        // PERF: below the floor it holds nowhere.
        (from.max(self.tally.skip_floor())..=last)
            .map(Index::new)
            .any(safe_to_skip)
            || self
                .own_tip
                .into_iter()
                .flat_map(|tip| self.tally.tree.chain(tip))
                .take_while(|&mine| self.tally.tree.block(mine).index.number() >= from)
                .any(|mine| self.rival_is_safe(set, mine))
    }

    /// Whether another block of the slot of an own one has `SafeToNotar`.
    fn rival_is_safe(&self, set: &ValidatorSet, mine: BlockPlace) -> bool {
        let tree = &self.tally.tree;
        tree.slot(tree.block(mine).index)
            .any(|place| place != mine && self.tally.is_safe_to_notar(set, place))
    }

    /// R5 STOP: the first vote is Skip for everything above the tip. Always safe.
    pub(crate) fn r5_stop(&mut self) {
        self.own.stop = true;
    }

    /// R6 ALSO: fallback support for blocks that an honest validator may have seen final.
    /// Deliberately asks nothing about ParentReady at index 0 (liveness, L5).
    pub(crate) fn r6_also(&mut self, set: &ValidatorSet, finalized: Point) -> bool {
        if !self.is_closed(set.slots()) || !self.tally.is_contested() {
            return false;
        }
        let from = self.own.fin.map_or(0, |fin| fin.next().number());
        let tree = &self.tally.tree;
        let named = self.own.also.iter();
        let named = named.filter_map(|&(index, id)| tree.find_connected(index, id));
        let own = self.own_tip.into_iter().chain(named);
        // PERF: where each slot has one block, all below a supported one are supported too.
        let tops = own.clone().filter(|&at| tree.is_connected(at));
        let top = tops.map(|at| tree.block(at).index.next().number()).max();
        let from = top.filter(|_| !tree.is_forked()).unwrap_or(0).max(from);
        // Parents of the lowest rivals stand one below.
        let mut supported = self.chains_down_to(own, from.saturating_sub(1));
        let last_final = tree.find_connected(finalized.index, finalized.id);
        let final_blocks = self.chains_down_to(last_final, from);
        let mut changed = false;
        for index in from..self.tally.tree.slot_count() {
            let rivals: alloc::vec::Vec<_> = self.tally.tree.slot(Index::new(index)).collect();
            for place in rivals {
                if self.r6_try(set, place, &supported, &final_blocks) {
                    supported.insert(place);
                    changed = true;
                }
            }
        }
        changed
    }

    /// The blocks of some chains at or above an index: looked up once for every block that is
    /// judged, however long the chains of an equivocating leader are.
    fn chains_down_to(
        &self,
        tops: impl IntoIterator<Item = BlockPlace>,
        from: u32,
    ) -> BTreeSet<BlockPlace> {
        let tree = &self.tally.tree;
        tops.into_iter()
            .flat_map(|top| {
                tree.chain(top)
                    .take_while(|&at| tree.block(at).index.number() >= from)
            })
            .collect()
    }

    /// Extends `also` by one block whose parent is covered already, on the own chain, or absent
    /// because the chains differ from index 0.
    fn r6_try(
        &mut self,
        set: &ValidatorSet,
        place: BlockPlace,
        supported: &BTreeSet<BlockPlace>,
        final_blocks: &BTreeSet<BlockPlace>,
    ) -> bool {
        let tree = &self.tally.tree;
        let block = tree.block(place);
        let (index, id, parent) = (block.index, block.id, block.parent);
        // The body of a final block is fetched for its delivery and is not waited for here: whoever
        // jumped to a proof has none of the bodies below it.
        let has_body = block.has_body || final_blocks.contains(&place);
        if block.header.is_none() || !has_body || supported.contains(&place) {
            return false;
        }
        let parent_stands = parent.is_none_or(|parent| supported.contains(&parent));
        if !parent_stands || !self.tally.is_safe_to_notar(set, place) {
            return false;
        }
        let grown = parent.and_then(|parent| {
            let parent = tree.block(parent);
            self.own
                .also
                .iter()
                .position(|&entry| entry == (parent.index, parent.id))
        });
        match grown {
            Some(entry) => self.own.also[entry] = (index, id),
            None if self.own.also.len() >= limits::ALSO_ENTRIES_MAX => return false,
            None => self.own.also.push((index, id)),
        }
        self.own.also.sort_unstable();
        true
    }

    /// Whether the own record, as intended, supports a block.
    pub(crate) fn own_supports(&self, place: BlockPlace) -> bool {
        self.own_tip
            .is_some_and(|tip| self.tally.tree.descends(tip, place))
            || self.own.also.iter().any(|&(index, id)| {
                self.tally
                    .tree
                    .find_connected(index, id)
                    .is_some_and(|at| self.tally.tree.descends(at, place))
            })
    }

    /// R7 SKIP-FALLBACK: from the lowest index above the own Final at which nothing can be final.
    pub(crate) fn r7_skip_fallback(&mut self, set: &ValidatorSet) -> bool {
        if !self.is_closed(set.slots()) || !self.tally.is_contested() {
            return false;
        }
        let from = self.own.fin.map_or(0, |fin| fin.next().number());
        // Above every named index nothing changes any more: one look there is enough.
        let end = self
            .tally
            .tree
            .slot_count()
            .saturating_add(1)
            .min(set.slots());
        let end = self
            .own
            .skip_fallback
            .map_or(end, |held| held.number().min(end));
        // PERF: below the floor it holds nowhere, and a window has thousands of blocks.
        let lowest = (from.max(self.tally.skip_floor())..end)
            .map(Index::new)
            .find(|&index| self.tally.is_safe_to_skip(set, index));
        if lowest.is_some() {
            self.own.skip_fallback = lowest;
        }
        lowest.is_some()
    }

    /// Blocks at or above `from` that weight AMP supports and whose bodies are missing, the lowest
    /// first: wanted at once (R3, R6).
    pub(crate) fn bodies_wanted(
        &self,
        amplify: Stake,
        from: Index,
    ) -> impl Iterator<Item = BlockPlace> {
        let tree = &self.tally.tree;
        (from.number()..tree.slot_count())
            .flat_map(|index| tree.slot(Index::new(index)))
            .filter(move |&place| {
                let block = tree.block(place);
                block.header.is_some() && !block.has_body && block.support() >= amplify
            })
    }
}
