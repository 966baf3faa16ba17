//! What the others wait for, before the rest of a turn is judged.
//!
//! Owns which that is: first votes (R3) with the Finals that go along with them (R4), and own
//! records that have become durable (R11). Each is judged as it is at the end of a turn, by the
//! same code, only sooner. Never: stops, supports or skips, which may depend on what the rest of
//! the turn finds out; a timer; a rule of its own.

use crate::effect::Effects;
use crate::machine::{Consensus, Disposition, Ignored};
use crate::types::Now;

impl Consensus {
    /// See [`Input::Hasten`](crate::input::Input::Hasten).
    ///
    /// PERF: a follower's vote waited for finality, proofs, parents, repair and the lease to be
    /// judged twice, once before it was logged and once after.
    pub(crate) fn hasten(&mut self, now: Now, effects: &mut Effects) -> Disposition {
        let dirty = self.select(|_, _, state| state.is_dirty);
        let mut has_voted = false;
        for &window in &dirty {
            has_voted |= self.may_say(window) && self.first_vote_in(window, now);
        }
        self.give_back(dirty);
        if has_voted {
            self.persist_records(effects);
        }
        if self.send_records(now, effects) || has_voted {
            Disposition::Applied
        } else {
            Disposition::Ignored(Ignored::Stale)
        }
    }
}
