//! Whether a validator that tells nothing is still there.
//!
//! Owns when it was heard last and when it was asked since. A connection is kept up by the kernel
//! of the other machine also for a process that hangs, and to be told nothing is what a client may
//! expect of a quiet chain: so whoever is silent for as long as the client has patience is asked
//! for its status, and left when it tells nothing for as long again. Never: sockets; the times come
//! from the caller, and a verdict only after what has come was read.

use std::time::{Duration, Instant};

/// The id of the question, which is nobody else's.
pub(super) const SILENCE_ID: u64 = u64::MAX;

/// See the module.
#[derive(Clone, Copy, Debug)]
pub(super) struct Silence {
    heard_at: Instant,
    asked_at: Option<Instant>,
}

impl Silence {
    pub(super) const fn new(now: Instant) -> Self {
        Self {
            heard_at: now,
            asked_at: None,
        }
    }

    /// It has told something, whatever it is.
    pub(super) const fn heard(&mut self, now: Instant) {
        *self = Self::new(now);
    }

    pub(super) const fn asked(&mut self, now: Instant) {
        self.asked_at = Some(now);
    }

    /// When something is due, unless it is heard before; never for a patience without an end.
    pub(super) fn due(&self, patience: Duration) -> Option<Instant> {
        let since = self.asked_at.unwrap_or(self.heard_at);
        since.checked_add(patience)
    }

    /// Whether it is to be asked.
    pub(super) fn is_to_be_asked(&self, now: Instant, patience: Duration) -> bool {
        self.asked_at.is_none() && self.is_due(now, patience)
    }

    /// Whether it was asked, and is to be left.
    pub(super) fn is_over(&self, now: Instant, patience: Duration) -> bool {
        self.asked_at.is_some() && self.is_due(now, patience)
    }

    fn is_due(&self, now: Instant, patience: Duration) -> bool {
        self.due(patience).is_some_and(|due| due <= now)
    }
}

/// For how long something has been waited for, in the time in which it could have been taken: what
/// is not polled finds an answer late that came in time.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Waited {
    time: Duration,
}

/// Between two polls so long counts in any case.
const POLL_MIN: Duration = Duration::from_millis(100);

impl Waited {
    /// Since the last poll, which waited for `timeout` at most, `passed` has gone by.
    pub(super) fn poll(&mut self, passed: Duration, timeout: Duration) {
        let counts = passed.min(timeout.max(POLL_MIN));
        self.time = self.time.saturating_add(counts);
    }

    /// How long is left of this.
    pub(super) const fn left_of(&self, most: Duration) -> Duration {
        most.saturating_sub(self.time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn who_is_silent_is_asked_and_who_does_not_answer_is_left() {
        let begin = Instant::now();
        let mut silence = Silence::new(begin);
        let state = |silence: &Silence, after: Duration| {
            let now = begin + after;
            let (asks, ends) = (
                silence.is_to_be_asked(now, 3 * S),
                silence.is_over(now, 3 * S),
            );
            (asks, ends)
        };
        assert_eq!(silence.due(3 * S), Some(begin + 3 * S));
        assert_eq!(state(&silence, 3 * S - S / 9), (false, false));
        assert_eq!(state(&silence, 7 * S), (true, false), "nobody has asked");
        silence.asked(begin + 7 * S);
        assert_eq!(state(&silence, 9 * S), (false, false));
        assert_eq!(state(&silence, 10 * S), (false, true));
        silence.heard(begin + 9 * S);
        assert_eq!(state(&silence, 10 * S), (false, false));
        assert_eq!(state(&silence, 12 * S), (true, false));
        assert_eq!(silence.due(Duration::MAX), None);
        assert!(!silence.is_to_be_asked(begin + 1_000 * S, Duration::MAX));
    }

    #[test]
    fn time_in_which_nobody_looks_is_not_waited() {
        let mut waited = Waited::default();
        waited.poll(1_000 * S, S);
        waited.poll(1_000 * S, Duration::ZERO);
        assert_eq!(waited.left_of(6 * S), 5 * S - POLL_MIN);
        waited.poll(S / 1_000, Duration::ZERO);
        assert_eq!(waited.left_of(6 * S), 5 * S - POLL_MIN - S / 1_000);
        waited.poll(9 * S, 9 * S);
        assert_eq!(waited.left_of(6 * S), Duration::ZERO);
    }
}
