//! A load that runs beside whatever is done to the validators.
//!
//! Owns its thread. Never: says what is done, or judges what came of the load.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use quorate::keys::KeyPair;
use quorate_bench::load::{Chain, LoadError, LoadPlan, Outcome, Progress, run as drive};

use crate::failure::{Code, Failure};

/// How long the load may take until the next result.
const NEXT: Duration = Duration::from_secs(60);
/// How often it is looked whether the load still runs.
const LOOK: Duration = Duration::from_millis(100);

/// The load on a thread of its own.
pub(super) struct Load {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<Outcome, LoadError>>,
    results: Arc<Results>,
}

/// How many results clients had when the load last told.
#[derive(Debug, Default)]
struct Results {
    count: Mutex<u64>,
    changed: Condvar,
}

impl Results {
    fn tell(&self, count: u64) {
        *self.count.lock().unwrap_or_else(PoisonError::into_inner) = count;
        self.changed.notify_all();
    }

    fn count(&self) -> u64 {
        *self.count.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until there are more than `count`, for as long as `goes_on` and not after `deadline`;
    /// whether there are.
    fn exceed(&self, count: u64, deadline: Instant, goes_on: impl Fn() -> bool) -> bool {
        let mut now = self.count.lock().unwrap_or_else(PoisonError::into_inner);
        while *now <= count {
            if Instant::now() >= deadline || !goes_on() {
                return false;
            }
            let waited = self.changed.wait_timeout(now, LOOK);
            now = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}

impl Load {
    /// Starts the load and waits until the first command is final.
    ///
    /// # Errors
    /// None became final in time.
    pub(super) fn start(
        plan: LoadPlan,
        chain: Chain,
        admin: Option<KeyPair>,
    ) -> Result<Self, Failure> {
        let stop = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&stop);
        let results = Arc::new(Results::default());
        let told = Arc::clone(&results);
        let thread = std::thread::spawn(move || {
            let mut tell = |now: &Progress| told.tell(now.counts.finalized);
            drive(&plan, &chain, admin, &flag, &mut tell)
        });
        let load = Self {
            stop,
            thread,
            results,
        };
        if load.has_more_than(0) {
            return Ok(load);
        }
        // What ended it says more than that it did.
        let has_ended = load.has_ended();
        load.stop.store(true, Ordering::Relaxed);
        if has_ended {
            load.end()?;
        }
        Err(Failure::new(Code::TryAgain, "the load did not begin"))
    }

    /// Waits for a result that comes from now on: that clients are served again is seen at them.
    ///
    /// # Errors
    /// None comes in time, or the load has ended.
    pub(super) fn wait_for_result(&self) -> Result<(), Failure> {
        if self.has_more_than(self.results.count()) {
            return Ok(());
        }
        let what = if self.has_ended() {
            "the load ended before the series did"
        } else {
            "no client had a result for a minute"
        };
        Err(Failure::new(Code::No, what))
    }

    fn has_more_than(&self, count: u64) -> bool {
        let goes_on = || !self.has_ended();
        self.results.exceed(count, Instant::now() + NEXT, goes_on)
    }

    pub(super) fn has_ended(&self) -> bool {
        self.thread.is_finished()
    }

    /// Sends nothing more, waits for what was sent, and gives what came of it.
    ///
    /// # Errors
    /// The load ended early.
    pub(super) fn end(self) -> Result<Outcome, Failure> {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.thread.join();
        Ok(ended.map_err(|_| Failure::new(Code::No, "the load panicked"))??)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_load_that_has_ended_is_not_waited_for_and_older_results_do_not_count() {
        let results = Results::default();
        results.tell(7);
        let later = Instant::now() + NEXT;
        assert!(results.exceed(6, later, || false));
        assert!(!results.exceed(results.count(), later, || false));
        assert!(!results.exceed(7, Instant::now(), || true));
        std::thread::scope(|scope| {
            scope.spawn(|| results.tell(8));
            assert!(results.exceed(7, later, || true));
        });
    }
}
