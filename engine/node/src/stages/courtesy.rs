//! The core given up between a vote for the leader and those for others.
//!
//! Owns when: where validators have to share cores, and as long as it is short. Never: what is
//! sent.

use std::time::{Duration, Instant};

/// When the core was given up for longer than another validator's turn takes, others than
/// validators have it, or all have much to do: then votes for others would come too late.
const GIVEN_UP_MAX: Duration = Duration::from_micros(400);
/// It is kept so many times then.
const KEPT_TIMES: u32 = 8;

/// Gives the core up between a vote for the leader and those for others, as long as that is short.
#[derive(Debug, Default)]
pub(crate) struct Courtesy {
    keeps: u32,
}

impl Courtesy {
    /// Says for how long it was.
    pub(crate) fn give_core(&mut self) -> Duration {
        if self.keeps > 0 {
            self.keeps -= 1;
            return Duration::ZERO;
        }
        let began = Instant::now();
        std::thread::yield_now();
        let given_up = began.elapsed();
        self.learn(given_up);
        given_up
    }

    const fn learn(&mut self, given_up: Duration) {
        if given_up.as_nanos() > GIVEN_UP_MAX.as_nanos() {
            self.keeps = KEPT_TIMES;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_core_that_was_given_up_for_long_is_kept_for_a_while() {
        let mut courtesy = Courtesy::default();
        courtesy.learn(GIVEN_UP_MAX);
        assert_eq!(courtesy.keeps, 0, "that was short");
        courtesy.learn(GIVEN_UP_MAX + Duration::from_nanos(1));
        for left in (0..KEPT_TIMES).rev() {
            assert_eq!(courtesy.give_core(), Duration::ZERO);
            assert_eq!(courtesy.keeps, left);
        }
    }
}
