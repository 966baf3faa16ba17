//! The blocking calls of the log, on threads of their own.
//!
//! Owns the thread that syncs and writes leases, and the one that makes the next log segment
//! ready. A slow disk delays votes here, never the network. Never: decides what is synced.

use crate::journal::{SyncDone, SyncError, SyncJob, SyncWorker};
use crate::metrics::Metrics;
use crate::stages::clock::nanoseconds;
use crossbeam::channel::{Receiver, Sender, unbounded};
use quorate_log::Preparer;
use quorate_net::Waker;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

/// The sync thread as its owner sees it.
///
/// The queues have no bound of their own: the journal asks for the next sync only when it has the
/// answer to the last one, and a lease is asked for once a window at most.
#[derive(Debug)]
pub(crate) struct SyncThread {
    jobs: Option<Sender<SyncJob>>,
    done: Receiver<Result<SyncDone, SyncError>>,
    thread: Option<JoinHandle<SyncWorker>>,
}

impl SyncThread {
    /// Starts the thread; `wake` is called when an answer waits.
    ///
    /// # Errors
    /// The system refuses a thread.
    pub(crate) fn start(
        worker: SyncWorker,
        metrics: Arc<Metrics>,
        waker: Waker,
    ) -> std::io::Result<Self> {
        let (jobs, waiting) = unbounded();
        let (answers, done) = unbounded();
        let thread = std::thread::Builder::new()
            .name("quorate-sync".to_owned())
            .spawn(move || work(worker, &metrics, &waiting, &answers, &waker))?;
        Ok(Self {
            jobs: Some(jobs),
            done,
            thread: Some(thread),
        })
    }

    /// Hands one call over.
    pub(crate) fn hand_over(&self, job: SyncJob) {
        // The thread ends only when it is stopped or panicked; then no answer comes, and without
        // one nothing leaves.
        if self
            .jobs
            .as_ref()
            .is_none_or(|jobs| jobs.send(job).is_err())
        {
            tracing::error!("the sync thread is gone");
        }
    }

    /// The next answer, if there is one.
    pub(crate) fn take(&self) -> Option<Result<SyncDone, SyncError>> {
        self.done.try_recv().ok()
    }

    /// Ends the thread after what waits, and gives the worker back.
    pub(crate) fn stop(mut self) -> Option<SyncWorker> {
        self.jobs = None;
        self.thread.take()?.join().ok()
    }
}

fn work(
    mut worker: SyncWorker,
    metrics: &Metrics,
    waiting: &Receiver<SyncJob>,
    answers: &Sender<Result<SyncDone, SyncError>>,
    waker: &Waker,
) -> SyncWorker {
    while let Ok(job) = waiting.recv() {
        let start = Instant::now();
        let done = worker.run(job);
        if matches!(done, Ok(SyncDone::Synced(_))) {
            metrics.sync.record(nanoseconds(start.elapsed()));
        }
        if answers.send(done).is_err() {
            break;
        }
        waker.wake();
    }
    worker
}

/// Starts the thread that keeps the next log segment ready. It ends when the log's writer is gone.
///
/// # Errors
/// The system refuses a thread.
pub(crate) fn start_preparer(mut preparer: Preparer) -> std::io::Result<JoinHandle<()>> {
    std::thread::Builder::new()
        .name("quorate-segment".to_owned())
        .spawn(move || {
            if let Err(error) = preparer.run() {
                // The writer makes its segments itself from now on.
                tracing::error!(%error, "no log segment is made ahead any more");
            }
        })
}
