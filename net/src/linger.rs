//! Whether a loop looks for what comes soon before it sleeps, and for how long.
//!
//! A core that a sleep leaves without work takes longer to come back, on virtual machines above
//! all, than the next vote takes to come. But who looks is not woken ahead of who works: where
//! others have the core, a sleep is the shorter way.
//!
//! Owns: how long, and what was learnt of the core. Never: looks itself, or sleeps.

use std::time::{Duration, Instant};

/// How long a thread that lingers looks before it sleeps: about as long as a proposal and a vote
/// are on their way between validators that share a machine. Longer looks brought nothing at the
/// median and cost the tail (docs/performance.md).
pub const LINGER: Duration = Duration::from_micros(80);

/// When the core was given up for longer than another validator's turn takes, others than
/// validators have it, or all have much to do.
const GIVEN_UP_MAX: Duration = Duration::from_micros(400);
/// So many sleeps begin at once then.
const SLEEPS_AT_ONCE: u32 = 64;

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct Linger {
    time: Duration,
    sleeps_at_once: u32,
}

impl Linger {
    /// For so long before each sleep; not at all when it is nothing.
    pub(crate) const fn new(time: Duration) -> Self {
        Self {
            time,
            sleeps_at_once: 0,
        }
    }

    /// How long to look before a sleep of `timeout` at most.
    pub(crate) fn before(&mut self, timeout: Option<Duration>) -> Duration {
        if self.sleeps_at_once > 0 {
            self.sleeps_at_once -= 1;
            return Duration::ZERO;
        }
        timeout.map_or(self.time, |timeout| timeout.min(self.time))
    }

    /// Gives the core up between two looks.
    pub(crate) fn give_core(&mut self) {
        let began = Instant::now();
        std::thread::yield_now();
        self.learn(began.elapsed());
    }

    /// Whether it was learnt in this look that others have the core.
    pub(crate) const fn is_over(&self) -> bool {
        self.sleeps_at_once > 0
    }

    const fn learn(&mut self, given_up: Duration) {
        if given_up.as_nanos() > GIVEN_UP_MAX.as_nanos() {
            self.sleeps_at_once = SLEEPS_AT_ONCE;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_core_that_others_have_is_slept_on_for_a_while() {
        let mut linger = Linger::new(LINGER);
        linger.learn(GIVEN_UP_MAX);
        assert_eq!(linger.before(None), LINGER, "that was short");
        assert!(!linger.is_over());
        linger.learn(GIVEN_UP_MAX + Duration::from_nanos(1));
        assert!(linger.is_over());
        for _ in 0..SLEEPS_AT_ONCE {
            assert_eq!(linger.before(None), Duration::ZERO);
        }
        assert_eq!(linger.before(None), LINGER);
    }

    #[test]
    fn nobody_lingers_beyond_what_is_due_or_when_not_told_to() {
        let mut linger = Linger::new(LINGER);
        let soon = LINGER / 2;
        assert_eq!(linger.before(Some(soon)), soon);
        assert_eq!(linger.before(Some(Duration::ZERO)), Duration::ZERO);
        assert_eq!(linger.before(Some(LINGER * 2)), LINGER);
        assert_eq!(Linger::new(Duration::ZERO).before(None), Duration::ZERO);
    }
}
