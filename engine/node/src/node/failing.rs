//! A node that ends for a failure while its threads hang, in a disk that does not answer mostly.
//!
//! Owns how long its end may take. Never: ends a process; the program does, which owns it.

use crate::metrics::Metrics;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// How often it is looked whether the node is ending.
const LOOK: Duration = Duration::from_millis(100);
/// A node that ends for a failure has this long before its program is to end without it.
const PATIENCE: Duration = Duration::from_millis(800);

/// Watches for the failure of one node. Keeps nothing of it alive; for a thread of the program's.
#[derive(Clone, Debug)]
pub struct Failing {
    metrics: Weak<Metrics>,
}

impl Failing {
    pub(super) fn new(metrics: &Arc<Metrics>) -> Self {
        Self {
            metrics: Arc::downgrade(metrics),
        }
    }

    /// Waits until the node fails, and then for as long as it may take to end: less than a second.
    /// Gives the exit code that the process is to end with then, at once, whatever hangs: until it
    /// does others may take it for a validator that lives. None when the node is gone.
    #[must_use]
    pub fn wait(&self) -> Option<u8> {
        while self.code()? == 0 {
            std::thread::park_timeout(LOOK);
        }
        let told = Instant::now();
        while told.elapsed() < PATIENCE {
            std::thread::park_timeout(PATIENCE.saturating_sub(told.elapsed()));
        }
        // What was told first may be told better meanwhile.
        let code = self.code()?;
        Some(u8::try_from(code).unwrap_or(4))
    }

    /// 0 while it has not failed; none when the node is gone.
    fn code(&self) -> Option<u64> {
        Some(self.metrics.upgrade()?.ending_code.read())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_waited_for_and_given_its_time_and_the_newest_word_counts() {
        let metrics = Arc::new(Metrics::default());
        let watched = Failing::new(&metrics);
        let watch = std::thread::spawn(move || (watched.wait(), Instant::now()));
        assert!(!watch.is_finished(), "there is no failure");
        let told = Instant::now();
        metrics.ending_code.set(70);
        metrics.ending_code.set(4);
        let (code, ended) = watch.join().unwrap();
        assert_eq!(code, Some(4));
        assert!(ended.duration_since(told) >= PATIENCE);
        let gone = Failing::new(&Arc::new(Metrics::default()));
        assert_eq!(gone.wait(), None, "no thread outlives its node");
    }
}
