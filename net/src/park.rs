//! The protocol by which a producer wakes the loop only when the loop sleeps.
//!
//! Owns: one atomic word and the argument why no wake-up is lost. Never: the system calls
//! themselves, which the callers pass in, so that the protocol can be checked by a model without a
//! kernel: `tests/loom.rs` compiles this very file over loom's atomics in place of
//! `crate::atomics`.
//!
//! The word is `IDLE`, `PARKED` (the consumer sleeps or is about to) or `NOTIFIED` (work was
//! announced since the consumer last looked).
//!
//! ```text
//! producer: push work; fence; if word is NOTIFIED: done. Else swap(NOTIFIED); if it was PARKED:
//! wake.
//! consumer: cas(IDLE -> PARKED), on failure do not sleep; sleep; swap(IDLE); fence; drain work;
//! and again.
//! ```
//! A notification stays until the consumer takes it, so work pushed between the drain and the
//! sleep turns the compare-and-swap away. The producer's shortcut is the Dekker pattern: both
//! sides write (work, word), fence, then read the other's. If the producer still saw the old
//! NOTIFIED, then its fence stands before the consumer's, and the drain sees the work.

use crate::atomics::{AtomicU32, Ordering, fence};

const IDLE: u32 = 0;
const PARKED: u32 = 1;
const NOTIFIED: u32 = 2;

/// How a wait of the consumer went.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rest {
    /// It was to sleep.
    pub(crate) slept: bool,
    /// Work was announced before it, or meanwhile: the consumer must drain.
    pub(crate) was_notified: bool,
}

/// The word between one consumer and any number of producers.
#[derive(Debug, Default)]
pub(crate) struct Park {
    word: AtomicU32,
}

impl Park {
    /// Producer: announce work that was pushed before this call. Runs `wake` when the consumer
    /// sleeps, and at most once for each time it went to sleep.
    pub(crate) fn notify(&self, wake: impl FnOnce()) {
        fence(Ordering::SeqCst);
        if self.word.load(Ordering::Relaxed) == NOTIFIED {
            return;
        }
        if self.word.swap(NOTIFIED, Ordering::SeqCst) == PARKED {
            wake();
        }
    }

    /// Consumer: one wait, after which it drains what was announced. `poll` sleeps until `wake`
    /// ran, or something else came, if its argument says so; else it must not sleep. Sleeping is
    /// allowed by `may_sleep`, and only if no work was announced meanwhile. Returns what `poll`
    /// did, and how it went.
    pub(crate) fn wait<T>(&self, may_sleep: bool, poll: impl FnOnce(bool) -> T) -> (T, Rest) {
        let slept = may_sleep && self.prepare();
        let polled = poll(slept);
        let was_notified = if slept { self.awake() } else { self.take() };
        let rest = Rest {
            slept,
            was_notified,
        };
        (polled, rest)
    }

    /// Consumer: one look without a sleep, `poll` included, before it may sleep. The second value
    /// says that work was announced; that is taken, and the consumer must drain and not sleep.
    pub(crate) fn look<T>(&self, poll: impl FnOnce() -> T) -> (T, bool) {
        let polled = poll();
        (polled, self.take())
    }

    /// About to sleep. False if work was announced meanwhile: then it must not.
    fn prepare(&self) -> bool {
        self.word
            .compare_exchange(IDLE, PARKED, Ordering::SeqCst, Ordering::SeqCst)
            .is_ok()
    }

    /// Awake again, for whatever cause. Takes the notification; whether there was one.
    fn awake(&self) -> bool {
        let was_notified = self.word.swap(IDLE, Ordering::SeqCst) == NOTIFIED;
        fence(Ordering::SeqCst);
        was_notified
    }

    /// Takes the notification of a consumer that did not sleep; whether there was one.
    fn take(&self) -> bool {
        // A spinning consumer asks all the time: do not write the line when there is nothing.
        let was_notified = self.word.load(Ordering::Relaxed) == NOTIFIED;
        if was_notified {
            self.word.swap(IDLE, Ordering::SeqCst);
        }
        fence(Ordering::SeqCst);
        was_notified
    }
}
