//! A load that runs beside whatever is done to the validators.
//!
//! Owns its thread. Never: says what is done, or judges what came of the load.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use quorate::keys::KeyPair;
use quorate_bench::load::{Chain, LoadError, LoadPlan, Outcome, run as drive};

use crate::failure::{Code, Failure};

/// How long the load may take until the first result.
const BEGIN: Duration = Duration::from_secs(60);

/// The load on a thread of its own.
pub(super) struct Load {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<Outcome, LoadError>>,
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
        let (begun, first) = channel();
        let thread = std::thread::spawn(move || {
            let mut tell = |now: &quorate_bench::load::Progress| {
                if now.counts.finalized > 0 {
                    // Only the first is waited for.
                    begun.send(()).ok();
                }
            };
            drive(&plan, &chain, admin, &flag, &mut tell)
        });
        let load = Self { stop, thread };
        wait_for_first(&first)?;
        Ok(load)
    }

    pub(super) fn has_ended(&self) -> bool {
        self.thread.is_finished()
    }

    /// Sends nothing more, waits for what was accepted, and gives what came of it.
    ///
    /// # Errors
    /// The load ended early.
    pub(super) fn end(self) -> Result<Outcome, Failure> {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.thread.join();
        Ok(ended.map_err(|_| Failure::new(Code::No, "the load panicked"))??)
    }
}

fn wait_for_first(first: &Receiver<()>) -> Result<(), Failure> {
    match first.recv_timeout(BEGIN) {
        Ok(()) => Ok(()),
        Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
            Err(Failure::new(Code::TryAgain, "the load did not begin"))
        }
    }
}
