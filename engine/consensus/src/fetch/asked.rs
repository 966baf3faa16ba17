//! When what was asked for is asked for again.
//!
//! Owns the waits, and whether whoever was asked last is passed over. Never: what is asked for, or
//! of whom.

use super::{Fetches, Wanted};
use crate::types::Now;

/// An answer of many bodies need only have one of them come in each wait, so whoever drips them
/// holds a batch up for as many waits as it has bodies. If it took more than these the next batch
/// is another one's: who drips keeps nothing to itself, and what is on its way over a thin link is
/// not asked for a second time.
const SLOW_WAITS: u64 = 16;

#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    /// When it was asked.
    pub(super) asked_ns: u64,
    /// Since when nothing of the answer has come: the wait begins anew with each part of it.
    pub(super) at_ns: u64,
    /// When it was looked at last whether to ask: what nobody wants any more is not.
    pub(super) wanted_ns: u64,
    pub(super) attempts: u32,
    /// Peers that were passed over, over all answers.
    pub(super) turn: u32,
    /// Progress mark: another value means that the last answer came.
    pub(super) mark: u64,
    /// Another value means that a part of it came.
    pub(super) part: u64,
}

/// What is asked for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Due {
    /// How often it was asked for in vain.
    pub(super) attempt: u32,
    /// See [`Asked`].
    pub(super) turn: u32,
    /// Who was asked last has not served, or served slowly: another one is to.
    pub(super) passes: bool,
}

impl Fetches {
    /// Whether to ask now; counts the attempt. `mark` and `part` as in [`Asked`].
    pub(super) fn is_due(
        &mut self,
        wanted: Wanted,
        (mark, part): (u64, u64),
        now: Now,
        retry_ns: u64,
    ) -> Option<Due> {
        let last = self.asked_of(&wanted).get_mut(&wanted);
        let is_new = last.is_none();
        let mut due = Due {
            attempt: 0,
            turn: 0,
            passes: false,
        };
        if let Some(asked) = last {
            asked.wanted_ns = now.mono_ns;
            if asked.mark == mark {
                if asked.part != part {
                    asked.part = part;
                    asked.at_ns = now.mono_ns;
                }
                let wait = retry_ns << asked.attempts.min(4);
                if now.mono_ns < asked.at_ns.saturating_add(wait) {
                    return None;
                }
                due.attempt = asked.attempts.saturating_add(1);
            }
            // Up to the last part but one: after that nothing may have been wanted for long.
            let took_ns = asked.at_ns.saturating_sub(asked.asked_ns);
            due.passes = due.attempt > 0 || took_ns > retry_ns.saturating_mul(SLOW_WAITS);
            due.turn = asked.turn.wrapping_add(u32::from(due.passes));
        }
        if is_new && !self.has_room(&wanted, now, retry_ns) {
            return None;
        }
        let asked = Asked {
            asked_ns: now.mono_ns,
            at_ns: now.mono_ns,
            wanted_ns: now.mono_ns,
            attempts: due.attempt,
            turn: due.turn,
            mark,
            part,
        };
        self.asked_of(&wanted).insert(wanted, asked);
        Some(due)
    }
}
