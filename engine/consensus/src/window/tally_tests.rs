//! Invariant I7: the running sums equal a count from scratch.
//!
//! Voters with records that only grow, over a small tree whose headers come in any order; after
//! every event each block is counted again from the counted records alone, and compared.

extern crate std;

use super::*;
use crate::header::HEADER_VERSION;
use crate::signing::ValidatorKey;
use crate::thresholds::{default_fault, default_slack};
use crate::types::{Epoch, Height, Window};
use crate::validators::{SetParameters, Validator};
use alloc::vec;
use core::ops::Range;
use proptest::collection::vec as vec_of;
use proptest::prelude::*;

const SLOTS: u32 = 6;

fn set_of(stakes: &[u64]) -> ValidatorSet {
    let weights: Vec<Stake> = stakes.iter().copied().map(Stake::new).collect();
    let total: Stake = weights.iter().copied().sum();
    let fault = default_fault(&weights);
    let validators = (1_u8..)
        .zip(&weights)
        .map(|(seed, &stake)| Validator::new(ValidatorKey::from_seed(&[seed; 32]).public(), stake))
        .collect();
    let parameters = SetParameters {
        chain_id: [7; 32],
        genesis_hash: [9; 32],
        epoch: Epoch::ZERO,
        fault,
        slack: default_slack(total, fault),
        window_slots: SLOTS,
        turn_windows: 1,
        crash_only: fault == Stake::ZERO,
        genesis_time_ns: 1_000,
    };
    ValidatorSet::new(parameters, validators).expect("a valid set")
}

#[derive(Clone, Copy, Debug)]
struct Made {
    header: Header,
    id: BlockId,
    parent: Option<usize>,
    is_connected: bool,
}

/// Every block that is ever made, whether its header has come or not.
#[derive(Debug, Default)]
struct World {
    made: Vec<Made>,
}

impl World {
    /// Appends the rest of a branch above `parent`; its blocks' places, lowest first.
    fn branch(&mut self, set: &ValidatorSet, mut parent: Option<usize>) -> Range<usize> {
        let first = self.made.len();
        let from = parent.map_or(0, |at| self.made[at].header.index.number() + 1);
        for index in from..SLOTS {
            let below = parent.map(|at| self.made[at]);
            let header = Header {
                version: HEADER_VERSION,
                flags: 0,
                chain_id: *set.chain_id(),
                epoch: set.epoch(),
                set_hash: *set.set_hash(),
                window: Window::ZERO,
                index: Index::new(index),
                height: below.map_or(Height::new(1), |block| block.header.height.next()),
                time_ns: below.map_or(2_000, |block| block.header.time_ns + 1),
                parent_id: below.map_or_else(|| set.genesis().id, |block| block.id),
                // Unlike any other block's.
                payload_hash: [u8::try_from(self.made.len()).expect("a small tree"); 32],
                payload_bytes: 0,
            };
            self.made.push(Made {
                header,
                id: header.id(),
                parent,
                is_connected: false,
            });
            parent = Some(self.made.len() - 1);
        }
        first..self.made.len()
    }

    fn at(&self, place: usize) -> (Index, BlockId) {
        (self.made[place].header.index, self.made[place].id)
    }

    fn find(&self, id: BlockId) -> usize {
        let found = self.made.iter().position(|block| block.id == id);
        found.expect("only blocks that were made are named")
    }

    /// A block and its ancestors, highest first.
    fn chain(&self, place: usize) -> impl Iterator<Item = usize> + '_ {
        core::iter::successors(Some(place), |&at| self.made[at].parent)
    }

    fn descends(&self, place: usize, ancestor: usize) -> bool {
        self.chain(place).any(|at| at == ancestor)
    }

    /// Last index that two chains share.
    fn fork(&self, a: usize, b: usize) -> Option<Index> {
        let shared = self.chain(a).find(|&at| self.descends(b, at));
        shared.map(|at| self.made[at].header.index)
    }
}

/// What a voter has said so far, all of it, in order.
#[derive(Clone, Debug, Default)]
struct Speaker {
    newest: Record,
    said: Vec<Record>,
}

impl Speaker {
    /// Adds to the record what the rules of its order allow; often nothing.
    fn grow(&mut self, world: &World, how: u8, pick: usize) {
        let old = self.newest.clone();
        let is_closed = old.is_closed(SLOTS);
        let tip = old.tip.map(|(_, id)| world.find(id));
        match how {
            0..3 if !old.stop => {
                let above: Vec<usize> = (0..world.made.len())
                    .filter(|&at| Some(at) != tip && tip.is_none_or(|tip| world.descends(at, tip)))
                    .collect();
                if let Some(&to) = above.get(pick % above.len().max(1)) {
                    self.newest.tip = Some(world.at(to));
                }
            }
            3 => self.newest.stop = true,
            4..6 => self.grow_fin(world, tip, pick),
            6 if is_closed => {
                let above_fin = old.fin.map_or(0, |fin| fin.number() + 1);
                let below = old.skip_fallback.map_or(SLOTS, Index::number);
                let range: Vec<u32> = (above_fin..below).collect();
                if let Some(&to) = range.get(pick % range.len().max(1)) {
                    self.newest.skip_fallback = Some(Index::new(to));
                }
            }
            7 if is_closed => self.grow_also(world, tip, pick),
            _ => {}
        }
        if self.newest != old {
            self.said.push(self.newest.clone());
        }
    }

    /// Final below every own fallback (rule X).
    fn grow_fin(&mut self, world: &World, tip: Option<usize>, pick: usize) {
        let Some(tip) = tip else { return };
        let forks = self.newest.also.iter().map(|&(_, id)| {
            let fork = world.fork(tip, world.find(id));
            fork.map_or(Index::ZERO, Index::next)
        });
        let fallback = self.newest.skip_fallback.into_iter().chain(forks).min();
        let above = self.newest.fin.map_or(0, |fin| fin.number() + 1);
        let end = fallback.map_or(SLOTS, Index::number);
        let end = end.min(world.made[tip].header.index.number() + 1);
        let range: Vec<u32> = (above..end).collect();
        if let Some(&to) = range.get(pick % range.len().max(1)) {
            self.newest.fin = Some(Index::new(to));
        }
    }

    /// Fallback support for a branch that leaves the own chain above the own Final.
    fn grow_also(&mut self, world: &World, tip: Option<usize>, pick: usize) {
        let fin = self.newest.fin;
        let rivals: Vec<usize> = (0..world.made.len())
            .filter(|&at| {
                let fork = tip.and_then(|tip| world.fork(tip, at));
                tip.is_none_or(|tip| !world.descends(tip, at)) && fin <= fork
            })
            .collect();
        let Some(&to) = rivals.get(pick % rivals.len().max(1)) else {
            return;
        };
        let also = &mut self.newest.also;
        if also
            .iter()
            .any(|&(_, id)| world.descends(world.find(id), to))
        {
            return;
        }
        // Either way is legal: an entry grows along its chain, or another joins it.
        if pick.is_multiple_of(2) {
            also.retain(|&(_, id)| !world.descends(to, world.find(id)));
        }
        also.push(world.at(to));
        also.sort_unstable();
    }
}

/// First vote of a voter at an index, as far as headers show it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum First {
    Block(usize),
    Skip,
    Unknown,
}

struct Case {
    set: ValidatorSet,
    world: World,
    speakers: Vec<Speaker>,
    tally: Tally,
}

impl Case {
    fn new(stakes: &[u64], forks: [u32; 2], on_first_fork: bool) -> Self {
        let set = set_of(stakes);
        let mut world = World::default();
        let trunk = world.branch(&set, None);
        let parent_in = |branch: &Range<usize>, world: &World, index: u32| {
            branch
                .clone()
                .find(|&at| world.made[at].header.index.number() + 1 == index)
        };
        let parent = parent_in(&trunk, &world, forks[0]);
        let second = world.branch(&set, parent);
        let base = if on_first_fork { &second } else { &trunk };
        let parent = parent_in(base, &world, forks[1]);
        world.branch(&set, parent);
        Self {
            tally: Tally::new(set.len()),
            speakers: vec![Speaker::default(); set.len()],
            set,
            world,
        }
    }

    fn event(&mut self, (kind, who, how, pick): (u8, u8, u8, u8)) {
        let who = usize::from(who) % self.speakers.len();
        let pick = usize::from(pick);
        match kind {
            0..2 => self.connect(pick),
            2..6 => {
                self.speakers[who].grow(&self.world, how, pick);
                self.count(who, usize::MAX);
            }
            6 => self.speakers[who].grow(&self.world, how, pick),
            7 => self.count(who, pick),
            _ => self.retry(),
        }
    }

    /// The header of a block whose parent's has come; of any other block it finds no place.
    fn connect(&mut self, pick: usize) {
        let place = pick % self.world.made.len();
        let block = self.world.made[place];
        let fits = block
            .parent
            .is_none_or(|parent| self.world.made[parent].is_connected);
        let connected = self.tally.connect(&self.set, &block.header, block.id);
        assert_eq!(connected.is_ok(), fits, "{connected:?}");
        if let Ok((_, new)) = connected {
            assert_eq!(new, !block.is_connected, "connected once");
        }
        self.world.made[place].is_connected |= fits;
    }

    /// One of the records that a voter has said; the newest one for a pick beyond them.
    fn count(&mut self, who: usize, pick: usize) {
        let said = &self.speakers[who].said;
        let record = if pick == usize::MAX {
            said.last()
        } else {
            said.get(pick % said.len().max(1))
        };
        let Some(record) = record.cloned() else {
            return;
        };
        let counting = self.tally.count(&self.set, voter(who), &record);
        assert!(
            !matches!(counting, Counting::Conflict | Counting::Inconsistent),
            "an honest voter accused: {counting:?} {record:?}"
        );
    }

    fn retry(&mut self) {
        let mut misbehaved = Vec::new();
        self.tally.retry_pending(&self.set, &mut misbehaved);
        assert!(misbehaved.is_empty(), "honest voters accused");
    }

    fn counted(&self, who: usize) -> &Record {
        &self.tally.voter(voter(who)).expect("of the set").counted
    }

    fn first(&self, who: usize, index: Index) -> First {
        let record = self.counted(who);
        let above = if record.stop {
            First::Skip
        } else {
            First::Unknown
        };
        let Some((tip_index, id)) = record.tip else {
            return above;
        };
        if tip_index < index {
            return above;
        }
        let tip = self.world.find(id);
        if tip_index > index && !self.world.made[tip].is_connected {
            return First::Unknown;
        }
        let at = self
            .world
            .chain(tip)
            .find(|&at| self.world.made[at].header.index == index);
        at.map_or(First::Unknown, First::Block)
    }

    fn weight(&self, holds: impl Fn(usize) -> bool) -> Stake {
        (0..self.speakers.len())
            .filter(|&who| holds(who))
            .map(|who| self.set.stake(voter(who)))
            .sum()
    }

    fn covers(&self, who: usize, place: usize) -> bool {
        let record = self.counted(who);
        let index = self.world.made[place].header.index;
        let is_own = record
            .tip
            .is_some_and(|(_, id)| self.world.descends(self.world.find(id), place));
        let is_above_fork = record.also.iter().any(|&(_, id)| {
            let tip = record.tip.map(|(_, id)| self.world.find(id));
            let fork = tip.and_then(|tip| self.world.fork(tip, self.world.find(id)));
            self.world.descends(self.world.find(id), place) && fork < Some(index)
        });
        is_above_fork && !is_own
    }

    /// I7.
    fn recount(&self) {
        let thresholds = self.set.thresholds();
        let mut highest_notarized = None;
        let mut highest_final = None;
        for place in 0..self.world.made.len() {
            let block = self.world.made[place];
            let index = block.header.index;
            let is_first = |who: usize| self.first(who, index) == First::Block(place);
            let notar = self.weight(is_first);
            let finals = self.weight(|who| is_first(who) && self.counted(who).fin >= Some(index));
            let also = self.weight(|who| self.covers(who, place));
            let support = self.weight(|who| is_first(who) || self.covers(who, place));
            match self.tally.tree.find(index, block.id) {
                Some(at) => {
                    let held = self.tally.tree.block(at);
                    assert_eq!(held.header.is_some(), block.is_connected);
                    let sums = (held.notar, held.finals, held.also, held.support());
                    assert_eq!(sums, (notar, finals, also, support), "{index:?}");
                }
                None => assert_eq!((notar, finals, also), Default::default()),
            }
            if notar >= thresholds.quorum {
                highest_notarized = highest_notarized.max(Some(index));
            }
            if notar >= thresholds.fast || finals >= thresholds.quorum {
                highest_final = highest_final.max(Some(index));
            }
        }
        assert_eq!(self.tally.highest_notarized(), highest_notarized);
        let found = self.tally.final_by_count();
        let found = found.map(|(at, _)| self.tally.tree.block(at).index);
        assert_eq!(found, highest_final);
        self.recount_voters();
    }

    /// What is kept of voters, and the weight whose first vote at an index is known.
    fn recount_voters(&self) {
        let stops = (0..self.speakers.len()).filter(|&who| self.counted(who).stop);
        assert_eq!(self.tally.stops as usize, stops.count());
        let floor = Index::new(self.tally.skip_floor());
        for index in (0..SLOTS).map(Index::new) {
            let known = self.weight(|who| self.first(who, index) != First::Unknown);
            assert_eq!(self.tally.known(&self.set, index), known, "{index:?}");
            let is_safe = self.tally.is_safe_to_skip(&self.set, index);
            assert!(!is_safe || index >= floor, "{index:?} below {floor:?}");
        }
        let quorum = self.set.thresholds().quorum;
        let is_notarized = |index| self.tally.notar_max(index, None) >= quorum;
        let below = (0..floor.number()).map(Index::new);
        assert!(below.into_iter().all(is_notarized) && !is_notarized(floor));
        let lacks = |who: usize| {
            let tip = self.counted(who).tip;
            let is_named_only = |(_, id)| !self.world.made[self.world.find(id)].is_connected;
            let waits = self
                .tally
                .voter(voter(who))
                .and_then(|v| v.pending.as_ref());
            tip.is_some_and(is_named_only) || waits.is_some()
        };
        let lacks_any = (0..self.speakers.len()).any(lacks);
        assert_eq!(self.tally.lacks_headers(), lacks_any);
    }

    /// Every header and every voter's newest record arrive: nothing waits any more.
    fn finish(&mut self) {
        for place in 0..self.world.made.len() {
            self.connect(place);
        }
        for who in 0..self.speakers.len() {
            self.count(who, usize::MAX);
        }
        self.retry();
        self.recount();
        assert!(!self.tally.lacks_headers());
        for who in 0..self.speakers.len() {
            assert_eq!(self.counted(who), &self.speakers[who].newest);
        }
    }
}

fn voter(who: usize) -> ValidatorIndex {
    ValidatorIndex::new(u16::try_from(who).expect("a small set"))
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(1_024)
    })]

    #[test]
    fn sums_equal_a_count_from_scratch_after_every_event(
        stakes in vec_of(1_u64..=9, 4..=7),
        // A fork at the last index plus one has no block of its own.
        forks in [0..=SLOTS, 0..=SLOTS],
        on_first_fork in any::<bool>(),
        events in vec_of((0_u8..9, any::<u8>(), 0_u8..8, any::<u8>()), 0..160),
    ) {
        let mut case = Case::new(&stakes, forks, on_first_fork);
        for event in events {
            case.event(event);
            case.recount();
        }
        case.finish();
    }
}

/// Four voters on one chain, whose headers have not come; all but the last name block 4.
fn named_only(fin: Option<u32>) -> Case {
    let mut case = Case::new(&[1; 4], [SLOTS; 2], false);
    let record = Record {
        tip: Some(case.world.at(4)),
        fin: fin.map(Index::new),
        ..Record::default()
    };
    for who in 0..3 {
        let counting = case.tally.count(&case.set, voter(who), &record);
        assert_eq!(counting, Counting::Counted, "a first record counts at once");
        case.recount();
    }
    case
}

fn finals(case: &Case) -> Vec<u64> {
    (0..SLOTS as usize)
        .filter_map(|place| {
            let (index, id) = case.world.at(place);
            let at = case.tally.tree.find(index, id)?;
            Some(case.tally.tree.block(at).finals.amount())
        })
        .collect()
}

fn final_index(case: &Case) -> Option<u32> {
    let (at, is_fast) = case.tally.final_by_count()?;
    assert!(!is_fast, "three of four are no fast quorum");
    Some(case.tally.tree.block(at).index.number())
}

/// Counts a greater Final of each voter, then brings the headers; the recount must hold throughout.
fn grow_then_connect(case: &mut Case, fin: u32) {
    for who in 0..3 {
        let mut record = case.counted(who).clone();
        record.fin = Some(Index::new(fin));
        let counting = case.tally.count(&case.set, voter(who), &record);
        assert_eq!(counting, Counting::Counted);
        case.recount();
    }
    for place in 0..SLOTS as usize {
        case.connect(place);
        case.recount();
    }
}

#[test]
fn a_final_that_grows_to_a_tip_known_by_name_counts_at_once_and_below_it_with_the_headers() {
    let mut case = named_only(Some(1));
    assert_eq!(finals(&case), [0], "block 1 is not known yet");
    for who in 0..3 {
        let mut record = case.counted(who).clone();
        record.fin = Some(Index::new(4));
        case.tally.count(&case.set, voter(who), &record);
    }
    assert_eq!(finals(&case), [3]);
    assert_eq!(final_index(&case), Some(4));
    for place in 0..SLOTS as usize {
        case.connect(place);
        case.recount();
    }
    assert_eq!(finals(&case), [3, 3, 3, 3, 3, 0]);
}

#[test]
fn a_final_that_grows_below_a_tip_known_by_name_counts_with_the_headers() {
    let mut case = named_only(None);
    grow_then_connect(&mut case, 2);
    assert_eq!(finals(&case), [3, 3, 3, 0, 0, 0]);
    assert_eq!(final_index(&case), Some(2));
}

#[test]
fn a_final_at_a_tip_known_by_name_counts_each_block_below_it_once() {
    let mut case = named_only(Some(4));
    assert_eq!(final_index(&case), Some(4));
    for place in 0..SLOTS as usize {
        case.connect(place);
        case.recount();
    }
    assert_eq!(finals(&case), [3, 3, 3, 3, 3, 0]);
}

/// Certificates of a block far below its voters' tips are made of these: few, from everywhere.
#[test]
fn of_the_signed_records_of_a_voter_a_few_earlier_ones_are_kept_and_the_lowest() {
    let mut tally = Tally::new(4);
    let at = |index: u32| Record {
        tip: Some((Index::new(index), BlockId::new([7; 32]))),
        ..Record::default()
    };
    let mut sign = |record: &Record| tally.keep_signed(voter(1), (record.clone(), [0; 64]));
    sign(&Record::default());
    for index in 3..1_000 {
        sign(&at(index));
    }
    // What does not stand higher is none of its way up.
    let stopped = Record {
        stop: true,
        ..at(999)
    };
    sign(&stopped);
    sign(&at(500));
    let held = tally.voter(voter(1)).expect("one of four");
    let earlier = held.signed_earlier.iter();
    let tips: Vec<u32> = earlier
        .filter_map(|(record, _)| Some(record.tip?.0.number()))
        .collect();
    assert_eq!(tips.len(), limits::SIGNED_EARLIER_MAX, "{tips:?}");
    assert!(
        tips.is_sorted() && tips[0] == 3 && tips[7] < 999,
        "{tips:?}"
    );
    let gaps = tips.windows(2).map(|pair| pair[1] - pair[0]);
    assert!(gaps.max() < Some(500), "{tips:?}");
}
