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
/// median and cost the tail (docs/performance-history.md).
pub const LINGER: Duration = Duration::from_micros(80);

/// When the core was given up for longer than another validator's turn takes, others than
/// validators have it, or all have much to do.
const GIVEN_UP_MAX: Duration = Duration::from_micros(400);
/// So many sleeps begin at once then, the first time.
const SLEEPS_AT_ONCE_MIN: u32 = 64;
/// And so many at most, when it was so again and again: each try costs whoever looks what others
/// keep its core for, a whole slice of theirs.
const SLEEPS_AT_ONCE_MAX: u32 = 4096;
/// When the core came back at once so often, running, others no longer have it.
const CALM: u32 = 1024;

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct Linger {
    time: Duration,
    /// Sleeps that still begin at once.
    sleeps_at_once: u32,
    /// How many that will be when others have the core once more.
    sleeps_at_once_next: u32,
    /// How often the core came back at once since it last did not.
    calm: u32,
}

impl Linger {
    /// For so long before each sleep; not at all when it is nothing.
    pub(crate) const fn new(time: Duration) -> Self {
        Self {
            time,
            sleeps_at_once: 0,
            sleeps_at_once_next: SLEEPS_AT_ONCE_MIN,
            calm: 0,
        }
    }

    /// How long to look before a sleep of `timeout` at most. A turn that does not sleep says
    /// nothing of the core, and counts for none.
    pub(crate) fn before(&mut self, timeout: Option<Duration>) -> Duration {
        if timeout == Some(Duration::ZERO) {
            return Duration::ZERO;
        }
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
            self.sleeps_at_once = self.sleeps_at_once_next;
            let doubled = self.sleeps_at_once_next.saturating_mul(2);
            self.sleeps_at_once_next = if doubled < SLEEPS_AT_ONCE_MAX {
                doubled
            } else {
                SLEEPS_AT_ONCE_MAX
            };
            self.calm = 0;
            return;
        }
        self.calm = self.calm.saturating_add(1);
        if self.calm >= CALM {
            self.sleeps_at_once_next = SLEEPS_AT_ONCE_MIN;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = GIVEN_UP_MAX.saturating_add(Duration::from_nanos(1));

    /// Sleeps that begin at once from here on.
    fn sleeps_at_once(linger: &mut Linger) -> u32 {
        let mut slept = 0;
        while linger.before(None).is_zero() {
            // Turns that find something to do are no sleeps, however many they are.
            assert_eq!(linger.before(Some(Duration::ZERO)), Duration::ZERO);
            slept += 1;
        }
        slept
    }

    #[test]
    fn a_core_that_others_have_is_slept_on_for_a_while() {
        let mut linger = Linger::new(LINGER);
        linger.learn(GIVEN_UP_MAX);
        assert_eq!(linger.before(None), LINGER, "that was short");
        assert!(!linger.is_over());
        linger.learn(LONG);
        assert!(linger.is_over());
        assert_eq!(sleeps_at_once(&mut linger), SLEEPS_AT_ONCE_MIN);
    }

    #[test]
    fn the_longer_others_have_the_core_the_less_often_it_is_tried() {
        let mut linger = Linger::new(LINGER);
        let mut expected = SLEEPS_AT_ONCE_MIN;
        while expected < SLEEPS_AT_ONCE_MAX {
            linger.learn(LONG);
            assert_eq!(sleeps_at_once(&mut linger), expected);
            expected *= 2;
        }
        for _ in 0..2 {
            linger.learn(LONG);
            assert_eq!(sleeps_at_once(&mut linger), SLEEPS_AT_ONCE_MAX);
        }
        for _ in 1..CALM {
            linger.learn(GIVEN_UP_MAX);
        }
        linger.learn(LONG);
        assert_eq!(
            sleeps_at_once(&mut linger),
            SLEEPS_AT_ONCE_MAX,
            "not calm yet"
        );
        for _ in 0..CALM {
            linger.learn(GIVEN_UP_MAX);
        }
        linger.learn(LONG);
        assert_eq!(sleeps_at_once(&mut linger), SLEEPS_AT_ONCE_MIN);
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
