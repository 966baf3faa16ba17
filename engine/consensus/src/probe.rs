//! One validator in a few windows, with each rule called by itself: for whoever explores the rules.
//!
//! Owns a [`Consensus`] and calls the very functions that [`Consensus::handle`] calls, in any order
//! that the caller likes: records are counted as those of peers are, a rule says what it would add
//! to the own record, and what the counts amount to can be read. Never: a rule, a guard or a sum of
//! its own; and nothing in a running validator uses this.

use crate::certificate::SignedRecord;
use crate::effect::Effects;
use crate::header::Header;
use crate::machine::{Config, Consensus, Disposition, Durability, Restored, TimerConfig};
use crate::record::Record;
use crate::types::{BlockId, Index, Now, Point, Stake, ValidatorIndex, Window};
use crate::validators::ValidatorSet;
use crate::window::WindowState;
use crate::window::rules::Surroundings;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// What the records counted in one window amount to.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Facts {
    /// Blocks that are final, none of them for a descendant alone.
    pub finals: Vec<(Index, BlockId)>,
    /// Blocks with support of weight Q.
    pub certified: Vec<(Index, BlockId)>,
    /// Lowest index from which weight Q skips.
    pub skip_from: Option<Index>,
}

/// The running sums of one block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sums {
    /// Place of the block.
    pub index: Index,
    /// Its name.
    pub id: BlockId,
    /// Weight of first votes.
    pub notar: Stake,
    /// Weight of Finals.
    pub finals: Stake,
    /// Weight of support.
    pub support: Stake,
}

/// One validator's view of a few windows.
#[derive(Debug)]
pub struct Probe {
    consensus: Consensus,
    effects: Effects,
    now: Now,
}

impl Probe {
    /// A validator that has heard nothing.
    #[must_use]
    pub fn new(set: Arc<ValidatorSet>, own: ValidatorIndex) -> Self {
        let now = Now {
            mono_ns: 0,
            wall_ns: set.genesis_time_ns(),
        };
        let restored = Restored::fresh(&set);
        let config = Config {
            own,
            set,
            durability: Durability::Sync,
            timers: TimerConfig {
                final_holdoff_ns: 0,
                ..TimerConfig::laptop()
            },
            incarnation: 1,
            nonce_seed: [0; 32],
            snapshot_heights: 0,
        };
        let mut effects = Effects::default();
        let consensus = Consensus::new(config, restored, now, &mut effects);
        Self {
            consensus,
            effects,
            now,
        }
    }

    /// Forgets every window.
    pub fn forget(&mut self) {
        self.effects.clear();
        self.consensus.windows.clear();
        let restored = Restored::fresh(&self.consensus.config.set);
        self.consensus
            .restore(self.now, restored, &mut self.effects);
    }

    /// Learns a header; parents come first. Whether it fits.
    pub fn learn(&mut self, header: &Header, id: BlockId) -> bool {
        let set = self.consensus.config.set.clone();
        let state = self.consensus.window_mut(header.window);
        state.is_some_and(|state| state.tally.connect(&set, header, id).is_ok())
    }

    /// Says whether the body of a block is here, and whether the block came from its leader.
    pub fn set_body(&mut self, point: &Point, has_body: bool, authentic: bool) {
        let Some(state) = self.consensus.windows.get_mut(&point.window) else {
            return;
        };
        if let Some(place) = state.tally.tree.find_connected(point.index, point.id) {
            state.tally.tree.set_body(place, has_body);
            state.tally.tree.block_mut(place).authentic = authentic;
        }
    }

    /// Counts a record that came over its author's own channel, or the own one.
    pub fn hear(&mut self, from: ValidatorIndex, window: Window, record: &Record) -> Disposition {
        self.consensus
            .count_record(from, window, record, &mut self.effects)
    }

    /// Takes a record whose signature is good: transferable, and counted.
    pub fn hear_signed(&mut self, from: ValidatorIndex, window: Window, record: &Record) {
        let signed = SignedRecord {
            validator: from,
            record: record.clone(),
            signature: [0; 64],
        };
        self.consensus
            .take_signed_record(self.now, window, signed, &mut self.effects);
        if from == self.consensus.config.own {
            let _counted = self.hear(from, window, record);
        }
    }

    /// Makes a record the own one of a window, as a restart does; it is not counted by this.
    pub fn stand(&mut self, window: Window, record: &Record) {
        if let Some(state) = self.consensus.window_mut(window) {
            state.own_tip = record
                .tip
                .and_then(|(index, id)| state.tally.tree.find_connected(index, id));
            state.own = record.clone();
            state.persisted = record.clone();
        }
    }

    /// What R3 would make of the own record.
    pub fn first_vote(&mut self, window: Window) -> Option<Record> {
        let bodies = self.consensus.parents_with_bodies(window);
        let now = self.now;
        self.would(window, |state, set, _| {
            state.r3_first_vote(&Surroundings {
                set,
                now,
                parent_has_bodies: &|id| bodies.contains(&id),
                final_holdoff_ns: 0,
                is_away: &|_| false,
                settled: None,
                is_behind: false,
            })
        })
    }

    /// What R4 would make of the own record.
    pub fn final_vote(&mut self, window: Window) -> Option<Record> {
        let now = self.now;
        self.would(window, |state, set, _| {
            state.r4_final(&Surroundings {
                set,
                now,
                parent_has_bodies: &|_| false,
                final_holdoff_ns: 0,
                is_away: &|_| false,
                settled: None,
                is_behind: false,
            })
        })
    }

    /// Whether a predicate of R5 calls for a stop.
    #[must_use]
    pub fn is_stop_called_for(&self, window: Window) -> bool {
        let state = self.consensus.windows.get(&window);
        state.is_some_and(|state| state.r5_predicate_holds(&self.consensus.config.set))
    }

    /// What R5 would make of the own record of a window that is not closed.
    pub fn stop(&mut self, window: Window) -> Option<Record> {
        self.would(window, |state, set, _| {
            let may_stop = !state.is_closed(set.slots());
            if may_stop {
                state.r5_stop();
            }
            may_stop
        })
    }

    /// What R6 would make of the own record.
    pub fn also(&mut self, window: Window) -> Option<Record> {
        self.would(window, WindowState::r6_also)
    }

    /// What R7 would make of the own record.
    pub fn skip_fallback(&mut self, window: Window) -> Option<Record> {
        self.would(window, |state, set, _| state.r7_skip_fallback(set))
    }

    /// Applies a rule, takes what it made of the own record, and puts the record back.
    fn would(
        &mut self,
        window: Window,
        rule: impl FnOnce(&mut WindowState, &ValidatorSet, Point) -> bool,
    ) -> Option<Record> {
        let set = self.consensus.config.set.clone();
        let finalized = self.consensus.finalized;
        let state = self.consensus.windows.get_mut(&window)?;
        let (own, own_tip) = (state.own.clone(), state.own_tip);
        let is_changed = rule(state, &set, finalized);
        let made = core::mem::replace(&mut state.own, own);
        state.own_tip = own_tip;
        (state.notarized_since_ns, state.final_due_ns) = (None, None);
        is_changed.then_some(made)
    }

    /// ParentReady: the blocks that a window may stand on, each with whether signed records alone
    /// show it.
    pub fn parents(&mut self, window: Window) -> Vec<(BlockId, bool)> {
        let _is_made = self.consensus.window_mut(window);
        while self.consensus.extend_ready() {}
        let state = self.consensus.windows.get(&window);
        let parents = state.into_iter().flat_map(|state| state.parents.downward());
        parents
            .map(|parent| (parent.point.id, parent.signed))
            .collect()
    }

    /// What the counted records of a window amount to.
    #[must_use]
    pub fn facts(&self, window: Window) -> Facts {
        let Some(state) = self.consensus.windows.get(&window) else {
            return Facts::default();
        };
        let set = &self.consensus.config.set;
        let tree = &state.tally.tree;
        let named = |place| (tree.block(place).index, tree.block(place).id);
        let top = state.tally.final_by_count().map(|(place, _)| place);
        Facts {
            finals: top
                .into_iter()
                .flat_map(|top| tree.chain(top))
                .map(named)
                .collect(),
            certified: state
                .tally
                .certified_from(set, Index::ZERO)
                .map(named)
                .collect(),
            skip_from: state.tally.skip_start(set),
        }
    }

    /// What the signed records of a window amount to.
    #[must_use]
    pub fn signed_facts(&self, window: Window) -> Facts {
        let Some(state) = self.consensus.windows.get(&window) else {
            return Facts::default();
        };
        let set = &self.consensus.config.set;
        let tally = &state.tally;
        let named = |place| (tally.tree.block(place).index, tally.tree.block(place).id);
        let top = tally.highest_signed_final(set);
        let places = || {
            let slots = (0..tally.tree.slot_count()).map(Index::new);
            slots.flat_map(|index| tally.tree.slot(index))
        };
        let supports = tally.signed_supports(set, Index::ZERO);
        Facts {
            finals: top
                .into_iter()
                .flat_map(|top| tally.tree.chain(top))
                .map(named)
                .collect(),
            certified: places()
                .filter(|&at| supports.of(at) >= set.thresholds().quorum)
                .map(named)
                .collect(),
            skip_from: tally.signed_skip_start(set),
        }
    }

    /// The running sums of every block of a window.
    #[must_use]
    pub fn sums(&self, window: Window) -> Vec<Sums> {
        let Some(state) = self.consensus.windows.get(&window) else {
            return Vec::new();
        };
        let tree = &state.tally.tree;
        let slots = (0..tree.slot_count()).map(Index::new);
        slots
            .flat_map(|index| tree.slot(index))
            .map(|place| tree.block(place))
            .map(|block| Sums {
                index: block.index,
                id: block.id,
                notar: block.notar,
                finals: block.finals,
                support: block.support(),
            })
            .collect()
    }

    /// Weight of the validators whose first vote at an index is known.
    #[must_use]
    pub fn known(&self, window: Window, index: Index) -> Stake {
        let set = &self.consensus.config.set;
        let state = self.consensus.windows.get(&window);
        state.map_or(Stake::ZERO, |state| state.tally.known(set, index))
    }
}
