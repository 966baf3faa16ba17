//! A small world: who votes, who lies, and what blocks the leader has made.
//!
//! Owns the validator set, the trees, and which sets of validators may be Byzantine or crashed.
//! Never: records.

use std::sync::Arc;

use quorate_consensus::signing::ValidatorKey;
use quorate_consensus::types::{Epoch, Stake, ValidatorIndex};
use quorate_consensus::validators::{SetParameters, Validator, ValidatorSet};

use super::tree::Tree;

/// What a world is made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Size {
    /// Stakes, equal ones side by side.
    pub(super) stakes: Vec<u64>,
    /// F.
    pub(super) fault: u64,
    /// P.
    pub(super) slack: u64,
    /// Slots of a window, 1 to 3.
    pub(super) slots: u8,
    /// Blocks of the first window: 2 or 3 in one slot, 5 in two, 8 in three.
    pub(super) blocks: usize,
}

impl Size {
    pub(super) fn new(stakes: &[u64], fault: u64, slack: u64, slots: u8) -> Self {
        let blocks = match slots {
            1 => 3,
            2 => 5,
            _ => 8,
        };
        Self {
            stakes: stakes.to_vec(),
            fault,
            slack,
            slots,
            blocks,
        }
    }

    /// C, as protocol.md derives it.
    fn crash(&self) -> u64 {
        let total: u64 = self.stakes.iter().sum();
        let needed = 3 * self.fault + 2 * self.slack + 1;
        self.slack.min(total.saturating_sub(needed))
    }

    /// Every set of validators of weight at most `budget` that no other validator fits into; of
    /// sets that differ only by validators of equal stake, one.
    fn largest_sets(&self, places: &[usize], budget: u64) -> Vec<Vec<usize>> {
        let mut found: Vec<Vec<usize>> = Vec::new();
        for inside in subsets(places) {
            let Some(left) = budget.checked_sub(self.weight(&inside)) else {
                continue;
            };
            let mut outside = places.iter().filter(|place| !inside.contains(place));
            let has_room = outside.any(|&place| self.stakes[place] <= left);
            let is_known = |other: &Vec<usize>| self.sorted(other) == self.sorted(&inside);
            if !has_room && !found.iter().any(is_known) {
                found.push(inside);
            }
        }
        found
    }

    /// The Byzantine sets that matter: the largest ones, by stakes.
    pub(super) fn byzantine_sets(&self) -> Vec<Vec<usize>> {
        let all: Vec<usize> = (0..self.stakes.len()).collect();
        self.largest_sets(&all, self.fault)
    }

    /// The largest sets of honest validators that may crash beside these Byzantine ones: what those
    /// leave of F, and C (protocol.md 1).
    fn crash_sets(&self, byzantine: &[usize]) -> Vec<Vec<usize>> {
        let honest: Vec<usize> = (0..self.stakes.len())
            .filter(|place| !byzantine.contains(place))
            .collect();
        let budget = self.fault + self.crash();
        let left = budget.saturating_sub(self.weight(byzantine));
        self.largest_sets(&honest, left)
    }

    /// Byzantine sets of less weight, by stakes, beside which more may crash than beside any larger
    /// one: where stakes are uneven, a crashed validator can be too large for what is left of F
    /// and for C alike, and fits into both together.
    pub(super) fn lighter_sets(&self) -> Vec<Vec<usize>> {
        let all: Vec<usize> = (0..self.stakes.len()).collect();
        let mut found: Vec<Vec<usize>> = Vec::new();
        for set in subsets(&all).filter(|set| self.weight(set) < self.fault) {
            let crashes = self.crash_sets(&set);
            let is_new = crashes
                .iter()
                .any(|crashed| !self.is_covered(&set, crashed));
            if is_new
                && !found
                    .iter()
                    .any(|other| self.sorted(other) == self.sorted(&set))
            {
                found.push(set);
            }
        }
        found
    }

    /// Whether some of those who have crashed can be taken for Byzantine, within F, and the others
    /// are within C: a Byzantine validator may do what one does that crashes.
    fn is_covered(&self, byzantine: &[usize], crashed: &[usize]) -> bool {
        let (lies, down) = (self.weight(byzantine), self.weight(crashed));
        subsets(crashed).any(|taken| {
            let weight = self.weight(&taken);
            lies + weight <= self.fault && down - weight <= self.crash()
        })
    }

    fn weight(&self, set: &[usize]) -> u64 {
        set.iter().map(|&place| self.stakes[place]).sum()
    }

    fn sorted(&self, set: &[usize]) -> Vec<u64> {
        let mut stakes: Vec<u64> = set.iter().map(|&place| self.stakes[place]).collect();
        stakes.sort_unstable();
        stakes
    }
}

/// Every part of a set, nobody and all included.
fn subsets(places: &[usize]) -> impl Iterator<Item = Vec<usize>> {
    (0_u32..1 << places.len()).map(|mask| {
        let inside = places.iter().enumerate();
        let inside = inside.filter(|(at, _)| mask & (1 << at) != 0);
        inside.map(|(_, &place)| place).collect()
    })
}

/// A world in which some validators are Byzantine.
#[derive(Clone, Debug)]
pub(super) struct World {
    pub(super) set: Arc<ValidatorSet>,
    /// One tree a window.
    pub(super) trees: Vec<Tree>,
    /// Honest validators with their stakes, equal stakes side by side.
    pub(super) honest: Vec<(ValidatorIndex, u64)>,
    pub(super) byzantine: Vec<ValidatorIndex>,
    /// Sets of honest validators, by place in `honest`, that may have crashed; nobody first.
    pub(super) crashes: Vec<Vec<usize>>,
    /// A world in which so much is found wrong is not explored to its end.
    pub(super) faults_max: u64,
}

/// See [`World::faults_max`].
const FAULTS_MAX: u64 = 1_000;

impl World {
    /// The world of a size with one of its Byzantine sets, and windows of the same shape.
    ///
    /// # Errors
    /// The numbers do not go together.
    pub(super) fn new(size: &Size, byzantine: &[usize], windows: usize) -> Result<Self, String> {
        let set = Arc::new(validator_set(size)?);
        let mut trees = vec![Tree::first(&set, size.slots, size.blocks)];
        if windows > 1 {
            let second = Tree::second(&set, &trees[0]);
            trees.push(second);
        }
        let index = |place: usize| ValidatorIndex::new(u16::try_from(place).unwrap_or(u16::MAX));
        let places: Vec<usize> = (0..size.stakes.len())
            .filter(|place| !byzantine.contains(place))
            .collect();
        let mut crashes = vec![Vec::new()];
        for crashed in size.crash_sets(byzantine) {
            let at = |place: &usize| places.iter().position(|honest| honest == place);
            let crashed: Vec<usize> = crashed.iter().filter_map(at).collect();
            if !crashed.is_empty() {
                crashes.push(crashed);
            }
        }
        Ok(Self {
            set,
            trees,
            honest: places
                .iter()
                .map(|&place| (index(place), size.stakes[place]))
                .collect(),
            byzantine: byzantine.iter().map(|&place| index(place)).collect(),
            crashes,
            faults_max: FAULTS_MAX,
        })
    }

    /// How many ways there are to give equal validators the statements of a state: each state
    /// stands for so many.
    pub(super) fn permutations<T: PartialEq>(&self, state: &[T]) -> u64 {
        let mut ways = 1;
        let mut placed: Vec<(u64, &T)> = Vec::new();
        for (&(_, stake), said) in self.honest.iter().zip(state) {
            let peers = placed.iter().filter(|(other, _)| *other == stake).count();
            let twins = placed.iter().filter(|other| **other == (stake, said));
            ways = ways * (peers as u64 + 1) / (twins.count() as u64 + 1);
            placed.push((stake, said));
        }
        ways
    }

    /// Sorts what validators of equal stake say; of the first few, if there are fewer statements.
    pub(super) fn sort<T: Ord>(&self, state: &mut [T]) {
        let honest = &self.honest[..state.len()];
        let mut start = 0;
        while start < honest.len() {
            let stake = honest[start].1;
            let equal = honest[start..].iter();
            let end = start + equal.take_while(|member| member.1 == stake).count();
            state[start..end].sort_unstable();
            start = end;
        }
    }
}

fn validator_set(size: &Size) -> Result<ValidatorSet, String> {
    let members = (1_u8..)
        .zip(&size.stakes)
        .map(|(seed, &stake)| {
            let key = ValidatorKey::from_seed(&[seed; 32]).public();
            Validator::new(key, Stake::new(stake))
        })
        .collect();
    let parameters = SetParameters {
        chain_id: [1; 32],
        genesis_hash: [2; 32],
        epoch: Epoch::ZERO,
        fault: Stake::new(size.fault),
        slack: Stake::new(size.slack),
        window_slots: u32::from(size.slots),
        turn_windows: 1,
        crash_only: size.fault == 0,
        genesis_time_ns: 1_000,
    };
    ValidatorSet::new(parameters, members).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn byzantine_sets_are_the_largest_ones_and_one_of_equals() {
        let equal = Size::new(&[1; 4], 1, 0, 1);
        assert_eq!(equal.byzantine_sets(), [[0]]);
        let uneven = Size::new(&[3, 3, 2, 1, 1], 3, 0, 1);
        let mut sets = uneven.byzantine_sets();
        sets.sort();
        // A three; two and one; both ones, beside which there is no room for the two.
        assert_eq!(sets, [vec![0], vec![2, 3], vec![3, 4]]);
    }

    #[test]
    fn a_state_stands_for_all_the_ways_to_give_it_to_equal_validators() {
        let world = World::new(&Size::new(&[2, 1, 1, 1, 1], 1, 1, 1), &[4], 1).unwrap();
        assert_eq!(world.permutations(&[7, 1, 2, 3]), 6);
        assert_eq!(world.permutations(&[1, 1, 1, 3]), 3);
        assert_eq!(world.permutations(&[3, 1, 1, 1]), 1);
        let mut state = [9, 3, 1, 2];
        world.sort(&mut state);
        assert_eq!(state, [9, 1, 2, 3]);
    }
}
