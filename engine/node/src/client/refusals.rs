//! Refusals of commands by one validator after another.
//!
//! Owns who has refused which command, and when that is enough to give its number to another one.
//! Where no single validator's word is taken, more stake than F must have refused it. And a copy
//! that was taken waits for a block at whoever took it, and may be applied for as long as it does;
//! with its number given away, what comes of it would be told as the other command's. Never:
//! sockets, or what is done with the number.

use super::everybody::Everybody;
use quorate_consensus::types::ValidatorIndex;

/// How many must refuse a command before its number is free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Needed {
    /// Stake above F: one honest validator at least is among them.
    AboveFault,
    /// All but stake F, which may never answer, or all that can be reached: nobody has a copy.
    AllThatAnswer,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Refusals {
    everybody: Everybody,
    /// The lowest command that is refused, and by whom since it was taken last. What is refused
    /// behind it waits its turn: counted as well, two that are refused by everybody would take each
    /// other's count away for ever.
    seq: u64,
    who: Vec<ValidatorIndex>,
}

impl Refusals {
    pub(super) const fn new(everybody: Everybody) -> Self {
        Self {
            everybody,
            seq: 0,
            who: Vec::new(),
        }
    }

    /// Counts that a validator refuses the command; whether enough have. Everything below `first`
    /// is final or was given up.
    pub(super) fn count(
        &mut self,
        validator: ValidatorIndex,
        seq: u64,
        needed: Needed,
        first: u64,
    ) -> bool {
        if self.seq < first || seq < self.seq {
            self.who.clear();
        }
        if self.who.is_empty() {
            self.seq = seq;
        }
        if self.seq != seq {
            return false;
        }
        if !self.who.contains(&validator) {
            self.who.push(validator);
        }
        match needed {
            Needed::AboveFault => self.everybody.have_honest(&self.who),
            Needed::AllThatAnswer => self.everybody.are(&self.who),
        }
    }

    /// Numbers below `end` have been taken: there is a copy that those who refused know nothing of.
    pub(super) fn taken(&mut self, end: u64) {
        if self.seq < end {
            self.who.clear();
        }
    }

    /// The refused command was given up: its number is another one's, of which nobody has said
    /// anything.
    pub(super) fn forget(&mut self) {
        self.who.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::gateway::Contact;
    use crate::testing::{genesis_of_stakes, sample_genesis};
    use std::sync::Arc;

    fn refusals(reached: usize) -> Refusals {
        let (genesis, _) = sample_genesis(4);
        let contact = |validator| Contact {
            validator,
            addresses: Vec::new(),
        };
        let all = genesis.validator_set().indices();
        let reached = all.take(reached).map(contact).collect();
        let set = Arc::clone(genesis.validator_set());
        Refusals::new(Everybody::new(set, reached))
    }

    fn all(refusals: &mut Refusals, validator: u16, seq: u64) -> bool {
        let validator = ValidatorIndex::new(validator);
        refusals.count(validator, seq, Needed::AllThatAnswer, 1)
    }

    #[test]
    fn all_but_stake_f_must_refuse_one_after_the_other_and_each_counts_once() {
        let mut refusals = refusals(4);
        assert!(!all(&mut refusals, 0, 7));
        assert!(!all(&mut refusals, 0, 7));
        assert!(!all(&mut refusals, 1, 7));
        assert!(!all(&mut refusals, 2, 6), "another command");
        assert!(!all(&mut refusals, 0, 6));
        assert!(all(&mut refusals, 3, 6));
    }

    #[test]
    fn what_is_refused_behind_a_refused_command_does_not_take_its_count_away() {
        let mut refusals = refusals(4);
        let above = |refusals: &mut Refusals, validator, seq| {
            let validator = ValidatorIndex::new(validator);
            refusals.count(validator, seq, Needed::AboveFault, 1)
        };
        assert!(!above(&mut refusals, 0, 1));
        assert!(!above(&mut refusals, 0, 4097));
        assert!(above(&mut refusals, 1, 1));
        assert!(!above(&mut refusals, 1, 4097), "its turn is not yet");
    }

    #[test]
    fn a_refusal_of_what_was_given_up_or_is_final_counts_for_no_other_command() {
        let above = |refusals: &mut Refusals, validator, seq, first| {
            let validator = ValidatorIndex::new(validator);
            refusals.count(validator, seq, Needed::AboveFault, first)
        };
        let mut refusals = refusals(4);
        above(&mut refusals, 0, 3, 1);
        above(&mut refusals, 1, 3, 1);
        refusals.forget();
        assert!(
            !above(&mut refusals, 2, 3, 1),
            "the number is another one's"
        );
        assert!(!above(&mut refusals, 2, 5, 4), "the third is final");
        assert!(above(&mut refusals, 3, 5, 4));
    }

    #[test]
    fn it_is_stake_that_refuses_and_not_how_many() {
        // F is 3: the two light ones may lie together.
        let (genesis, _) = genesis_of_stakes(&[3, 1, 1, 3, 3, 3, 3]);
        let set = genesis.validator_set();
        let everybody = Everybody::new(Arc::clone(set), Arc::new([]));
        let mut refusals = Refusals::new(everybody);
        let mut above = |validator| {
            let validator = ValidatorIndex::new(validator);
            refusals.count(validator, 7, Needed::AboveFault, 1)
        };
        assert!(!above(1));
        assert!(!above(2), "2 of 4");
        assert!(above(3));
    }

    #[test]
    fn whoever_can_be_reached_is_enough() {
        assert!(all(&mut refusals(1), 0, 7));
    }

    #[test]
    fn a_command_that_is_taken_again_must_be_refused_by_all_again() {
        let mut refusals = refusals(4);
        all(&mut refusals, 0, 7);
        all(&mut refusals, 1, 7);
        refusals.taken(7);
        assert!(all(&mut refusals, 2, 7), "those before it were taken");
        refusals.taken(8);
        assert!(!all(&mut refusals, 3, 7));
    }
}
