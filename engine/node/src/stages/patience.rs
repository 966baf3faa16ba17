//! Votes that are read together where validators have to share cores.
//!
//! A first vote that does not bring the last of the weight of FAST changes nothing yet, and the
//! core on which it would be counted may be the one on which the next validator is to vote. So the
//! loop sleeps on until enough have come.
//!
//! Owns whether it may. Never: what a vote is worth, or for how long (the net bounds that).

use quorate_consensus::machine::Consensus;
use quorate_consensus::types::{Stake, ValidatorIndex};

/// When votes have not come in time, what comes is read at once in so many sleeps: where somebody
/// is slow or silent, nobody waits for him once more with each block.
const READ_TIMES: u32 = 64;

/// What is known of the votes for the own newest block.
pub(crate) trait Votes {
    /// See [`Consensus::lacks_to_fast`].
    fn lacking(&self) -> Option<Stake>;
    /// The weight of a vote of this validator, if it is of use; see [`Consensus::lacks_vote_of`].
    fn vote_of(&self, validator: ValidatorIndex) -> Option<Stake>;
}

impl Votes for Consensus {
    fn lacking(&self) -> Option<Stake> {
        self.lacks_to_fast()
    }

    fn vote_of(&self, validator: ValidatorIndex) -> Option<Stake> {
        self.lacks_vote_of(validator)
            .then(|| self.set().stake(validator))
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Patience {
    /// What is lacking with all that has come in this sleep; nothing in it when there is nothing to
    /// wait for, and absent before anything has come.
    lacking: Option<Option<Stake>>,
    reads: u32,
}

impl Patience {
    /// Whether what has come from a peer is a reason to read it.
    pub(crate) fn is_reason(&mut self, votes: &impl Votes, peer: ValidatorIndex) -> bool {
        let before = match self.lacking {
            Some(before) => before,
            None if self.reads > 0 => {
                self.reads -= 1;
                None
            }
            None => votes.lacking(),
        };
        let left = before.and_then(|before| Some(before.minus(votes.vote_of(peer)?)));
        self.lacking = Some(left);
        left.is_none_or(|left| left == Stake::ZERO)
    }

    /// What has come is read now.
    pub(crate) const fn end_sleep(&mut self) {
        self.lacking = None;
    }

    /// What was lacking has not come in time.
    pub(crate) const fn waited_in_vain(&mut self) {
        self.reads = READ_TIMES;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is lacking, and the weight of each validator whose vote is of use.
    struct Known(Option<u64>, &'static [(u16, u64)]);

    impl Votes for Known {
        fn lacking(&self) -> Option<Stake> {
            self.0.map(Stake::new)
        }

        fn vote_of(&self, validator: ValidatorIndex) -> Option<Stake> {
            let known = self.1.iter();
            let mut of = known.filter(|(index, _)| *index == validator.number());
            of.next().map(|&(_, weight)| Stake::new(weight))
        }
    }

    const V1: ValidatorIndex = ValidatorIndex::new(1);
    const V2: ValidatorIndex = ValidatorIndex::new(2);
    const V3: ValidatorIndex = ValidatorIndex::new(3);

    #[test]
    fn votes_are_read_when_their_weight_is_enough() {
        let known = Known(Some(3), &[(1, 1), (2, 1), (3, 1)]);
        let mut patience = Patience::default();
        assert!(!patience.is_reason(&known, V1));
        assert!(!patience.is_reason(&known, V2));
        assert!(patience.is_reason(&known, V3));
        patience.end_sleep();
        assert!(!patience.is_reason(&known, V3), "those are read");
        let heavy = Known(Some(3), &[(1, 4)]);
        assert!(Patience::default().is_reason(&heavy, V1));
    }

    #[test]
    fn what_is_no_vote_that_is_waited_for_is_read_at_once_with_all_that_has_come() {
        let known = Known(Some(3), &[(1, 1), (3, 1)]);
        let mut patience = Patience::default();
        assert!(!patience.is_reason(&known, V1));
        assert!(patience.is_reason(&known, V2), "a proposal, perhaps");
        assert!(patience.is_reason(&known, V3));
        let settled = Known(None, &[(1, 1)]);
        assert!(Patience::default().is_reason(&settled, V1));
    }

    #[test]
    fn after_a_wait_in_vain_nobody_waits_for_a_while() {
        let known = Known(Some(2), &[(1, 1), (2, 1)]);
        let mut patience = Patience::default();
        patience.waited_in_vain();
        for _ in 0..READ_TIMES {
            patience.end_sleep();
            assert!(patience.is_reason(&known, V1));
        }
        patience.end_sleep();
        assert!(!patience.is_reason(&known, V1));
    }
}
