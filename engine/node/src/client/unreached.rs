//! Which validators a session could not reach, or left since nothing was finalized there, and until
//! when it does not turn to them.
//!
//! Owns the pauses. Never: the order in which validators are tried ([`super::gateway`]), where each
//! has its turn however often it could not be reached. A leader that answers name is turned to out
//! of that order, and a dial that nobody answers takes seconds in which the session is nowhere: it
//! must not lose them again and again while another validator would pass its commands on. Nor must
//! it spend its patience again and again at one that takes commands, passes none on, and is named
//! as the leader by honest ones whenever it is: that it can be logged in there shows nothing.

use quorate_consensus::types::ValidatorIndex;
use std::time::{Duration, Instant};

/// After the first dial in vain; about as long as one takes that nobody answers.
pub(super) const PAUSE_MIN: Duration = Duration::from_secs(5);
/// Longest pause: one that can be reached again is turned to after no more than this.
pub(super) const PAUSE_MAX: Duration = Duration::from_secs(60);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Unreached {
    /// Those that have not been reached, or brought nothing on, since. Bound: the number of
    /// validators.
    all: Vec<One>,
}

#[derive(Clone, Copy, Debug)]
struct One {
    validator: ValidatorIndex,
    pause: Duration,
    until: Instant,
    /// It was reached, and nothing was finalized there.
    is_idle: bool,
}

impl Unreached {
    /// A dial was in vain. Those within a pause, in the order of validators, make it no longer.
    pub(super) fn note(&mut self, validator: ValidatorIndex, now: Instant) {
        self.pause(validator, false, now);
    }

    /// It was left since nothing was finalized there.
    pub(super) fn idle(&mut self, validator: ValidatorIndex, now: Instant) {
        self.pause(validator, true, now);
    }

    fn pause(&mut self, validator: ValidatorIndex, is_idle: bool, now: Instant) {
        let known = self.all.iter_mut().find(|one| one.validator == validator);
        match known {
            Some(one) if now < one.until => one.is_idle |= is_idle,
            Some(one) => {
                one.is_idle |= is_idle;
                one.pause = one.pause.saturating_mul(2).min(PAUSE_MAX);
                one.until = now + one.pause;
            }
            None => self.all.push(One {
                validator,
                pause: PAUSE_MIN,
                until: now + PAUSE_MIN,
                is_idle,
            }),
        }
    }

    /// The session is logged in there.
    pub(super) fn reached(&mut self, validator: ValidatorIndex) {
        self.all
            .retain(|one| one.validator != validator || one.is_idle);
    }

    /// What was given to that validator first, of so many that there are, has become final.
    pub(super) fn brought_on(&mut self, validator: ValidatorIndex, contacts: usize) {
        // That nothing got on anywhere says nothing of any.
        let is_all = self.all.len() >= contacts;
        self.all
            .retain(|one| one.validator != validator && !(is_all && one.is_idle));
    }

    /// Whether its pause is not over.
    pub(super) fn is_paused(&self, validator: ValidatorIndex, now: Instant) -> bool {
        let is_it = |one: &One| one.validator == validator && now < one.until;
        self.all.iter().any(is_it)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn each_dial_after_a_pause_doubles_it_to_a_bound_and_a_login_ends_it() {
        let (it, other) = (ValidatorIndex::new(1), ValidatorIndex::new(2));
        let mut unreached = Unreached::default();
        let mut now = Instant::now();
        for pause in [5, 10, 20, 40, 60, 60].map(Duration::from_secs) {
            unreached.note(it, now);
            // In the order of validators it has its turn all the same.
            unreached.note(it, now + pause - MS);
            assert!(unreached.is_paused(it, now + pause - MS), "{pause:?}");
            assert!(!unreached.is_paused(it, now + pause), "{pause:?}");
            assert!(!unreached.is_paused(other, now));
            now += pause;
        }
        unreached.note(it, now);
        unreached.note(other, now);
        unreached.reached(it);
        assert!(!unreached.is_paused(it, now) && unreached.is_paused(other, now));
        unreached.note(it, now);
        assert!(!unreached.is_paused(it, now + PAUSE_MIN), "from the start");
    }

    #[test]
    fn that_it_can_be_reached_does_not_end_the_pause_of_one_that_brought_nothing_on() {
        let (it, other) = (ValidatorIndex::new(1), ValidatorIndex::new(2));
        let (mut unreached, now) = (Unreached::default(), Instant::now());
        unreached.idle(it, now);
        // It did not answer a dial either.
        unreached.note(it, now);
        unreached.reached(it);
        assert!(unreached.is_paused(it, now));
        unreached.idle(other, now);
        unreached.brought_on(it, 3);
        assert!(!unreached.is_paused(it, now) && unreached.is_paused(other, now));
        // Nothing was finalized anywhere for a while.
        unreached.idle(it, now);
        unreached.brought_on(ValidatorIndex::new(0), 2);
        assert!(!unreached.is_paused(it, now) && !unreached.is_paused(other, now));
        // Nor where the others could not be reached, without which nothing is.
        unreached.idle(it, now);
        unreached.note(other, now);
        unreached.brought_on(ValidatorIndex::new(0), 3);
        assert!(
            unreached.is_paused(it, now),
            "another one may have been there"
        );
        unreached.brought_on(ValidatorIndex::new(0), 2);
        assert!(!unreached.is_paused(it, now) && unreached.is_paused(other, now));
    }
}
