//! How many commands of the embedding process may wait for the loop, and of which session.
//!
//! Owns the counts. A session has no more than is left to all others, so that whatever one of them
//! submits, or waits for, the others find room; cancels have room of their own, as everywhere.
//! Never: the commands.

use crate::state_machine::Lane;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Commands that wait, of all sessions, without cancels.
pub(super) const COMMANDS_MAX: usize = 16_384;
/// Cancels that wait.
pub(super) const CANCELS_MAX: usize = 4_096;

/// Counts of what waits: of one session, or of all.
#[derive(Debug, Default)]
pub(super) struct Waits {
    commands: AtomicUsize,
    cancels: AtomicUsize,
}

impl Waits {
    const fn of(&self, lane: Lane) -> (&AtomicUsize, usize) {
        match lane {
            Lane::Cancel => (&self.cancels, CANCELS_MAX),
            Lane::Order | Lane::Price | Lane::Admin => (&self.commands, COMMANDS_MAX),
        }
    }

    /// Whether there is room, among `self` of all, for one more command of the session of which
    /// `own` waits. It is counted then. One thread at a time asks for a session.
    pub(super) fn enter(&self, own: &Self, lane: Lane) -> bool {
        let ((all, max), (own, _)) = (self.of(lane), own.of(lane));
        // PERF: two threads that ask at once may both be told that there is none for the last one.
        let before = all.fetch_add(1, Ordering::Relaxed);
        if own.load(Ordering::Relaxed) < max.saturating_sub(before) {
            own.fetch_add(1, Ordering::Relaxed);
            return true;
        }
        all.fetch_sub(1, Ordering::Relaxed);
        false
    }

    /// It waits no more.
    pub(super) fn leave(&self, own: &Self, lane: Lane) {
        self.of(lane).0.fetch_sub(1, Ordering::Relaxed);
        own.of(lane).0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entered(all: &Waits, own: &Waits, lane: Lane) -> usize {
        (0..2 * COMMANDS_MAX)
            .take_while(|_| all.enter(own, lane))
            .count()
    }

    #[test]
    fn a_session_has_no_more_than_is_left_to_others_and_cancels_have_their_own_room() {
        let (all, sessions) = (Waits::default(), [(); 3].map(|()| Waits::default()));
        let orders = |own| entered(&all, own, Lane::Order);
        assert_eq!(orders(&sessions[0]), COMMANDS_MAX / 2);
        assert_eq!(orders(&sessions[1]), COMMANDS_MAX / 4);
        assert_eq!(orders(&sessions[0]), 0, "whatever it asks for");
        for lane in [Lane::Price, Lane::Admin] {
            assert!(all.enter(&sessions[2], lane));
        }
        assert_eq!(entered(&all, &sessions[0], Lane::Cancel), CANCELS_MAX / 2);
        // What has gone makes room again.
        for _ in 0..COMMANDS_MAX / 2 {
            all.leave(&sessions[0], Lane::Order);
        }
        assert!(orders(&sessions[1]) > 0);
    }
}
