//! The protocol by which a producer wakes the loop only when the loop sleeps.
//!
//! Owns: one atomic word and the argument why no wake-up is lost. Never: the system call itself,
//! which the caller passes in, so that the protocol can be checked by a model without a kernel.
//!
//! The word is `IDLE`, `PARKED` (the consumer sleeps or is about to) or `NOTIFIED` (work was
//! announced since the consumer last looked).
//!
//! ```text
//! producer: push work; fence; if word is NOTIFIED: done. Else swap(NOTIFIED); if it was PARKED:
//! wake.
//! consumer: swap(IDLE); fence; drain work; ...; cas(IDLE -> PARKED), on failure do not sleep;
//! sleep.
//! ```
//! A notification stays until the consumer takes it, so work pushed between the drain and the
//! sleep turns the compare-and-swap away. The producer's shortcut is the Dekker pattern: both
//! sides write (work, word), fence, then read the other's. If the producer still saw the old
//! NOTIFIED, then its fence stands before the consumer's, and the drain sees the work.

use std::sync::atomic::{AtomicU32, Ordering, fence};

const IDLE: u32 = 0;
const PARKED: u32 = 1;
const NOTIFIED: u32 = 2;

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

    /// Consumer: take the notification, before it drains what was announced. True if there was one.
    pub(crate) fn take(&self) -> bool {
        // A spinning consumer asks all the time: do not write the line when there is nothing.
        let notified = self.word.load(Ordering::Relaxed) == NOTIFIED
            && self.word.swap(IDLE, Ordering::SeqCst) == NOTIFIED;
        fence(Ordering::SeqCst);
        notified
    }

    /// Consumer: about to sleep. False if work was announced meanwhile: then it must not.
    pub(crate) fn prepare(&self) -> bool {
        self.word
            .compare_exchange(IDLE, PARKED, Ordering::SeqCst, Ordering::SeqCst)
            .is_ok()
    }

    /// Consumer: awake again, for whatever cause. Takes the notification. True if there was one.
    pub(crate) fn awake(&self) -> bool {
        let notified = self.word.swap(IDLE, Ordering::SeqCst) == NOTIFIED;
        fence(Ordering::SeqCst);
        notified
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU64;
    use std::sync::mpsc;
    use std::time::Duration;

    #[test]
    fn a_sleeping_consumer_is_woken_once() {
        let park = Park::default();
        let mut wakes = 0;
        assert!(park.prepare());
        park.notify(|| wakes += 1);
        park.notify(|| wakes += 1);
        assert_eq!(wakes, 1);
        assert!(park.awake());
        assert!(!park.take());
    }

    #[test]
    fn an_awake_consumer_costs_no_wake_up_and_does_not_go_to_sleep() {
        let park = Park::default();
        park.notify(|| panic!("nobody sleeps"));
        assert!(!park.prepare());
        assert!(park.take());
        assert!(park.prepare());
    }

    #[test]
    fn no_work_is_lost_between_two_threads() {
        const ITEMS: u64 = 200_000;
        let park = Park::default();
        let pushed = AtomicU64::new(0);
        let (wake, woken) = mpsc::channel();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for item in 1..=ITEMS {
                    pushed.store(item, Ordering::Relaxed);
                    park.notify(|| wake.send(()).unwrap());
                }
            });
            let mut seen = 0;
            while seen < ITEMS {
                park.take();
                seen = pushed.load(Ordering::Relaxed);
                if seen < ITEMS && park.prepare() {
                    let woke = woken.recv_timeout(Duration::from_secs(20));
                    assert!(
                        woke.is_ok(),
                        "slept although work was pushed after item {seen}"
                    );
                    park.awake();
                }
            }
        });
    }
}
