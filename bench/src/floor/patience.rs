//! Votes that a member reads together where members share cores, by the rules of validators
//! (`stages::patience` of the node): a vote that does not bring the last of those that a round
//! needs changes nothing yet, and the core on which it would be read may be the one on which the
//! next member is to vote.
//!
//! Owns whether what came is a reason to read. Never: how long it sleeps on, but for the bound.

use std::time::Duration;

/// How long a member sleeps on at most over what is no reason to read: as long as a validator.
pub(super) const PATIENCE: Duration = quorate_net::PATIENCE;
/// When votes have not come in time, what comes is read at once in so many sleeps, as at a
/// validator.
pub(super) const READ_TIMES: u32 = 64;

/// What one member knows of the votes for the newest round that it has voted for.
#[derive(Debug)]
pub(super) struct Patience {
    /// Votes of others that such a round needs, the proposer's not among them.
    need: u64,
    /// Whose frames may be the next round.
    proposer: Option<usize>,
    newest: Option<u64>,
    /// Of each connection the newest round that was voted for over it.
    voted: Vec<Option<u64>>,
    /// Votes lacking with all that has come in this sleep; nothing in it when there is nothing to
    /// wait for, and absent before anything has come.
    lacking: Option<Option<u64>>,
    /// Sleeps in which what comes is read at once.
    pub(super) reads: u32,
}

impl Patience {
    pub(super) fn new(others: usize, proposer: Option<usize>, need: u64) -> Self {
        Self {
            need,
            proposer,
            newest: None,
            voted: vec![None; others],
            lacking: None,
            reads: 0,
        }
    }

    /// The member votes for a round.
    pub(super) fn vote(&mut self, round: u64) {
        self.newest = self.newest.max(Some(round));
    }

    /// A vote was read.
    pub(super) fn note_vote(&mut self, place: usize, round: u64) {
        self.voted[place] = self.voted[place].max(Some(round));
    }

    fn has_voted(&self, place: usize) -> bool {
        self.voted[place] >= self.newest
    }

    /// Votes that the newest round lacks; none when there is nothing to wait for.
    fn lacking(&self) -> Option<u64> {
        self.newest?;
        let voted = (0..self.voted.len()).filter(|place| self.has_voted(*place));
        let lacking = self.need.saturating_sub(voted.count() as u64);
        (lacking > 0).then_some(lacking)
    }

    /// Whether what has come over a connection is a reason to read all that has come.
    pub(super) fn is_reason(&mut self, place: usize) -> bool {
        let before = match self.lacking {
            Some(before) => before,
            None if self.reads > 0 => {
                self.reads -= 1;
                None
            }
            None => self.lacking(),
        };
        let is_vote = self.proposer != Some(place) && !self.has_voted(place);
        let left = before
            .filter(|_| is_vote)
            .map(|before| before.saturating_sub(1));
        self.lacking = Some(left);
        left.is_none_or(|left| left == 0)
    }

    /// What has come is read now.
    pub(super) const fn end_sleep(&mut self) {
        self.lacking = None;
    }

    /// What was lacking has not come in time.
    pub(super) const fn waited_in_vain(&mut self) {
        self.reads = READ_TIMES;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn votes_are_read_when_they_are_enough() {
        let mut patience = Patience::new(3, None, 3);
        assert!(patience.is_reason(0), "nothing was proposed");
        patience.end_sleep();
        patience.vote(7);
        assert!(!patience.is_reason(0));
        assert!(!patience.is_reason(2));
        assert!(patience.is_reason(1));
        // More may come before they are read.
        assert!(patience.is_reason(0) && patience.is_reason(2));
        patience.end_sleep();
        for place in 0..3 {
            patience.note_vote(place, 7);
        }
        assert!(patience.is_reason(1), "the round has all that it needs");
    }

    #[test]
    fn a_follower_reads_what_the_proposer_sends_at_once_with_all_that_has_come() {
        let mut patience = Patience::new(3, Some(0), 2);
        patience.vote(7);
        assert!(!patience.is_reason(1));
        assert!(patience.is_reason(0));
        assert!(patience.is_reason(2), "it is read already");
        patience.end_sleep();
        patience.note_vote(1, 7);
        assert!(patience.is_reason(1), "no vote that is waited for");
        patience.end_sleep();
        assert!(patience.is_reason(2), "the last one");
    }

    #[test]
    fn after_a_wait_in_vain_nobody_waits_for_a_while() {
        let mut patience = Patience::new(2, None, 2);
        patience.vote(0);
        patience.waited_in_vain();
        for _ in 0..READ_TIMES {
            patience.end_sleep();
            assert!(patience.is_reason(1));
        }
        patience.end_sleep();
        assert!(!patience.is_reason(1));
    }
}
