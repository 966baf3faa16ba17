//! What the fast path of the newest own first vote still lacks: whose votes, and of what weight.
//!
//! For whoever carries messages and may choose when to look at them: a vote that does not bring
//! the last of that weight changes nothing yet. Never: a rule, or what one is judged on.

use crate::machine::Consensus;
use crate::types::{Index, Stake, ValidatorIndex};
use crate::window::WindowState;

impl Consensus {
    /// Weight of first votes that the block of the own tip lacks to be final by FAST. `None` when
    /// nothing is to be waited for: there is no such block, it is final, the own vote for it has
    /// not been counted, somebody has stopped, or whoever is connected does not weigh as much.
    #[must_use]
    pub fn lacks_to_fast(&self) -> Option<Stake> {
        let (state, tip) = self.own_vote()?;
        let place = state.own_tip?;
        let set = &self.config.set;
        let lacking = set
            .thresholds()
            .fast
            .minus(state.tally.tree.block(place).notar);
        let peers = set.indices().zip(&self.peers);
        let coming = peers.filter(|(validator, peer)| {
            peer.is_up && *validator != self.config.own && !has_voted(state, *validator, tip)
        });
        let coming = coming.fold(Stake::ZERO, |sum, (validator, _)| {
            sum.plus(set.stake(validator))
        });
        (lacking > Stake::ZERO && coming >= lacking).then_some(lacking)
    }

    /// Whether a first vote of this validator is of that weight, and what comes of it is hardly
    /// anything else: what comes of the leader may be the next block, while its vote for this one
    /// still waits for its disk.
    #[must_use]
    pub fn lacks_vote_of(&self, validator: ValidatorIndex) -> bool {
        let is_lacking = |(state, tip)| !has_voted(state, validator, tip);
        validator != self.leader() && self.own_vote().is_some_and(is_lacking)
    }

    /// The current window and the index of the own tip in it, where that is not final, its own vote
    /// is counted, and nobody has stopped.
    fn own_vote(&self) -> Option<(&WindowState, Index)> {
        let window = self.entered?;
        let state = self.windows.get(&window)?;
        let tip = state.own_tip_index()?;
        let header = state.tally.tree.block(state.own_tip?).header?;
        let is_final = header.height <= self.finalized.height;
        let is_counted = has_voted(state, self.config.own, tip);
        (!is_final && is_counted && !state.own.stop && !state.tally.is_contested())
            .then_some((state, tip))
    }
}

/// Whether the counted record of a validator has its tip at the index or above.
fn has_voted(state: &WindowState, validator: ValidatorIndex, index: Index) -> bool {
    let voter = state.tally.voter(validator);
    let tip = voter.and_then(|voter| voter.counted.tip);
    tip.is_some_and(|(tip, _)| tip >= index)
}
