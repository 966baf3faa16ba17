//! Refusals of commands that a validator had taken before.
//!
//! Owns who has refused such a command, and when that is enough to give its number to another one.
//! A copy that was taken waits for a block at whoever took it, and may be applied for as long as
//! it does; with its number given away, what comes of it would be told as the other command's.
//! Never: sockets, or what is done with the number.

use std::sync::Arc;

use quorate_consensus::types::{Stake, ValidatorIndex};
use quorate_consensus::validators::ValidatorSet;

use super::gateway::Contact;

/// See the module.
#[derive(Debug)]
pub(super) struct Refusals {
    set: Arc<ValidatorSet>,
    contacts: Arc<[Contact]>,
    /// The command that was refused last, and by whom since it was taken last.
    seq: u64,
    who: Vec<ValidatorIndex>,
}

impl Refusals {
    pub(super) const fn new(set: Arc<ValidatorSet>, contacts: Arc<[Contact]>) -> Self {
        Self {
            set,
            contacts,
            seq: 0,
            who: Vec::new(),
        }
    }

    /// Counts that a validator refuses the command; whether enough have: all but stake F, which may
    /// never answer, or all that can be reached.
    pub(super) fn count(&mut self, validator: ValidatorIndex, seq: u64) -> bool {
        if self.seq != seq {
            self.seq = seq;
            self.who.clear();
        }
        if !self.who.contains(&validator) {
            self.who.push(validator);
        }
        let stake: Stake = self.who.iter().map(|one| self.set.stake(*one)).sum();
        let thresholds = self.set.thresholds();
        let has_refused = |contact: &Contact| self.who.contains(&contact.validator);
        stake.plus(thresholds.fault) >= thresholds.total || self.contacts.iter().all(has_refused)
    }

    /// Numbers below `end` have been taken: there is a copy that those who refused know nothing of.
    pub(super) fn taken(&mut self, end: u64) {
        if self.seq < end {
            self.who.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::sample_genesis;

    fn refusals(reached: usize) -> Refusals {
        let (genesis, _) = sample_genesis(4);
        let contact = |validator| Contact {
            validator,
            addresses: Vec::new(),
        };
        let all = genesis.validator_set().indices();
        let reached = all.take(reached).map(contact).collect();
        Refusals::new(Arc::clone(genesis.validator_set()), reached)
    }

    #[test]
    fn all_but_stake_f_must_refuse_one_after_the_other_and_each_counts_once() {
        let mut refusals = refusals(4);
        let at = ValidatorIndex::new;
        assert!(!refusals.count(at(0), 7));
        assert!(!refusals.count(at(0), 7));
        assert!(!refusals.count(at(1), 7));
        assert!(!refusals.count(at(2), 8), "another command");
        assert!(!refusals.count(at(0), 8));
        assert!(refusals.count(at(3), 8));
    }

    #[test]
    fn whoever_can_be_reached_is_enough() {
        let mut refusals = refusals(1);
        assert!(refusals.count(ValidatorIndex::new(0), 7));
    }

    #[test]
    fn a_command_that_is_taken_again_must_be_refused_by_all_again() {
        let mut refusals = refusals(4);
        let at = ValidatorIndex::new;
        refusals.count(at(0), 7);
        refusals.count(at(1), 7);
        refusals.taken(7);
        assert!(refusals.count(at(2), 7), "those before it were taken");
        refusals.taken(8);
        assert!(!refusals.count(at(3), 7));
    }
}
