//! Who must have said something before it is what everybody says.
//!
//! Owns the set of validators and those of them that can be asked. Never: what they say, or when.

use super::gateway::Contact;
use quorate_consensus::types::{Stake, ValidatorIndex};
use quorate_consensus::validators::ValidatorSet;
use std::sync::Arc;

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Everybody {
    set: Arc<ValidatorSet>,
    contacts: Arc<[Contact]>,
}

impl Everybody {
    pub(super) const fn new(set: Arc<ValidatorSet>, contacts: Arc<[Contact]>) -> Self {
        Self { set, contacts }
    }

    /// Whether these, each named once, are all but stake F, which may never answer, or all that can
    /// be asked.
    pub(super) fn are(&self, who: &[ValidatorIndex]) -> bool {
        let thresholds = self.set.thresholds();
        self.stake(who).plus(thresholds.fault) >= thresholds.total || self.are_all(who)
    }

    /// Whether these are all that can be asked.
    pub(super) fn are_all(&self, who: &[ValidatorIndex]) -> bool {
        let has_said = |contact: &Contact| who.contains(&contact.validator);
        self.contacts.iter().all(has_said)
    }

    /// Whether these, each named once, have stake above F: somebody honest is among them.
    pub(super) fn have_honest(&self, who: &[ValidatorIndex]) -> bool {
        self.stake(who) > self.set.thresholds().fault
    }

    fn stake(&self, who: &[ValidatorIndex]) -> Stake {
        who.iter().map(|one| self.set.stake(*one)).sum()
    }
}
