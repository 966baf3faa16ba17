//! Votes that are read together where validators share cores, as the loop of a node does it.
//!
//! Owns the memory of one sleep, by the rule of the node's own patience, which is private to it.
//! Never: what a vote is worth, which the validator's own rules say.

use quorate_consensus::machine::Consensus;
use quorate_consensus::types::{Stake, ValidatorIndex};

/// How long a validator sleeps on over votes that change nothing yet: the net's patience.
pub(super) const PATIENCE_NS: u64 = 1_000_000;
/// In so many sleeps after one in vain everything is read at once.
const READ_TIMES: u32 = 64;

/// What is known in one sleep.
#[derive(Debug)]
pub(super) struct Together {
    /// What is lacking with all that has come; nothing in it where there is nothing to wait for.
    lacking: Option<Option<Stake>>,
    /// From whom something has come in this sleep.
    come: Vec<usize>,
    reads: u32,
}

impl Together {
    pub(super) const fn new() -> Self {
        Self {
            lacking: None,
            come: Vec::new(),
            reads: 0,
        }
    }

    /// Whether something that has come from a peer ends the sleep; asked again, it does not.
    pub(super) fn is_reason(&mut self, consensus: &Consensus, from: usize) -> bool {
        if self.come.contains(&from) {
            return false;
        }
        self.come.push(from);
        let before = match self.lacking {
            Some(before) => before,
            None if self.reads > 0 => {
                self.reads -= 1;
                None
            }
            None => consensus.lacks_to_fast(),
        };
        let peer = ValidatorIndex::new(u16::try_from(from).unwrap_or(u16::MAX));
        let is_of_use = consensus.lacks_vote_of(peer);
        let vote = is_of_use.then(|| consensus.set().stake(peer));
        let left = before.and_then(|before| Some(before.minus(vote?)));
        self.lacking = Some(left);
        left.is_none_or(|left| left == Stake::ZERO)
    }

    /// What has come is read now.
    pub(super) fn end_sleep(&mut self) {
        self.lacking = None;
        self.come.clear();
    }

    /// What was lacking has not come in time.
    pub(super) const fn waited_in_vain(&mut self) {
        self.reads = READ_TIMES;
    }
}
