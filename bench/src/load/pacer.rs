//! Wakes the load's loop at a point of time, finer than its poll can.
//!
//! Polls wait in whole milliseconds, which would make commands late by half of one on average and
//! would count as latency. Owns a thread that waits for the point of time and then wakes the loop.
//! Never: sends, or decides what is due.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::slack::Precise;

#[derive(Debug, Default)]
struct Order {
    wake_at: Option<Instant>,
    is_over: bool,
}

#[derive(Debug, Default)]
struct Shared {
    order: Mutex<Order>,
    changed: Condvar,
}

/// The waking thread; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct Pacer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    ordered: Option<Instant>,
}

impl Pacer {
    /// Starts the thread, which calls `wake` each time a point of time has come.
    pub(super) fn start(wake: impl Fn() + Send + 'static) -> Self {
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        let thread = std::thread::spawn(move || wait_and_wake(&theirs, wake));
        Self {
            shared,
            thread: Some(thread),
            ordered: None,
        }
    }

    /// Wakes the loop at `at`, or earlier if an earlier point was asked for and has not come.
    pub(super) fn wake_at(&mut self, at: Instant, now: Instant) {
        if self
            .ordered
            .is_some_and(|ordered| now < ordered && ordered <= at)
        {
            return;
        }
        self.ordered = Some(at);
        self.shared
            .order
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .wake_at = Some(at);
        self.shared.changed.notify_one();
    }
}

impl Drop for Pacer {
    fn drop(&mut self) {
        self.shared
            .order
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_over = true;
        self.shared.changed.notify_one();
        if let Some(thread) = self.thread.take() {
            // A panic there has been reported by its own thread.
            thread.join().ok();
        }
    }
}

fn wait_and_wake(shared: &Shared, wake: impl Fn()) {
    let _precise = Precise::begin();
    let mut order = shared.order.lock().unwrap_or_else(PoisonError::into_inner);
    while !order.is_over {
        let left = order
            .wake_at
            .map(|at| at.saturating_duration_since(Instant::now()));
        order = match left {
            None => shared
                .changed
                .wait(order)
                .unwrap_or_else(PoisonError::into_inner),
            Some(Duration::ZERO) => {
                order.wake_at = None;
                drop(order);
                wake();
                shared.order.lock().unwrap_or_else(PoisonError::into_inner)
            }
            Some(left) => {
                let waited = shared.changed.wait_timeout(order, left);
                waited.unwrap_or_else(PoisonError::into_inner).0
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    const PATIENCE: Duration = Duration::from_secs(20);

    #[test]
    fn it_wakes_not_before_the_time_and_once() {
        let (woken_in, woken) = channel();
        let mut pacer = Pacer::start(move || woken_in.send(Instant::now()).unwrap());
        let now = Instant::now();
        let at = now + Duration::from_millis(5);
        pacer.wake_at(at, now);
        assert!(woken.recv_timeout(PATIENCE).unwrap() >= at);
        drop(pacer);
        assert!(woken.recv_timeout(PATIENCE).is_err(), "woken twice");
    }

    #[test]
    fn an_earlier_time_replaces_a_later_one() {
        let (woken_in, woken) = channel();
        let mut pacer = Pacer::start(move || woken_in.send(()).unwrap());
        let now = Instant::now();
        pacer.wake_at(now + Duration::from_secs(3600), now);
        pacer.wake_at(now, now);
        woken.recv_timeout(PATIENCE).unwrap();
    }
}
