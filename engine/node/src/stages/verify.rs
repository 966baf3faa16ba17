//! Signatures, on a thread of its own.
//!
//! Owns the thread, its key and the queues to and from it. All jobs that wait are done in one
//! batch. Never: on the critical path; nothing waits for it but what leaves the channel.

use crate::auth::BatchSeed;
use crate::metrics::Metrics;
use crate::replica::{Job, run_jobs};
use crossbeam::channel::{Receiver, Sender, TrySendError, bounded};
use quorate_consensus::input::Input;
use quorate_consensus::signing::ValidatorKey;
use quorate_consensus::types::ValidatorIndex;
use quorate_consensus::validators::ValidatorSet;
use std::sync::Arc;
use std::thread::JoinHandle;

/// Batches that may wait for the worker. The caller keeps what does not fit.
const BATCHES_MAX: usize = 64;

/// The worker as its owner sees it.
#[derive(Debug)]
pub(crate) struct VerifyWorker {
    jobs: Option<Sender<Vec<Job>>>,
    thread: Option<JoinHandle<()>>,
}

/// What the worker needs.
pub(crate) struct VerifyParts {
    pub(crate) set: Arc<ValidatorSet>,
    pub(crate) own: ValidatorIndex,
    pub(crate) key: ValidatorKey,
    /// Randomness for the batch equation.
    pub(crate) seed: BatchSeed,
    pub(crate) core: Option<usize>,
    pub(crate) metrics: Arc<Metrics>,
}

impl VerifyWorker {
    /// Starts the thread. `answer` takes the answers to one batch, without waiting for the owner.
    ///
    /// # Errors
    /// The system refuses a thread.
    pub(crate) fn start(
        parts: VerifyParts,
        answer: impl FnMut(Vec<Input>) + Send + 'static,
    ) -> std::io::Result<Self> {
        let (jobs, waiting) = bounded::<Vec<Job>>(BATCHES_MAX);
        let thread = std::thread::Builder::new()
            .name("quorate-verify".to_owned())
            .spawn(move || work(parts, &waiting, answer))?;
        Ok(Self {
            jobs: Some(jobs),
            thread: Some(thread),
        })
    }

    /// Hands `jobs` over and leaves them empty; keeps them when the worker is behind.
    pub(crate) fn hand_over(&self, jobs: &mut Vec<Job>) {
        let Some(sender) = self.jobs.as_ref().filter(|_| !jobs.is_empty()) else {
            return;
        };
        if let Err(TrySendError::Full(back) | TrySendError::Disconnected(back)) =
            sender.try_send(std::mem::take(jobs))
        {
            *jobs = back;
        }
    }
}

impl Drop for VerifyWorker {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the verify thread panicked");
        }
    }
}

fn work(parts: VerifyParts, waiting: &Receiver<Vec<Job>>, mut answer: impl FnMut(Vec<Input>)) {
    super::pin_thread(parts.core);
    let mut check = parts.seed.check(0);
    while let Ok(mut jobs) = waiting.recv() {
        while let Ok(more) = waiting.try_recv() {
            jobs.extend(more);
        }
        let signs = |job: &&Job| !matches!(job, Job::Verify { .. });
        let signed = jobs.iter().filter(signs).count() as u64;
        let claims = jobs.len() as u64 - signed;
        let mut inputs = Vec::with_capacity(jobs.len());
        run_jobs(
            &parts.set,
            parts.own,
            &parts.key,
            &mut check,
            jobs,
            &mut inputs,
        );
        let refused = inputs
            .iter()
            .filter(|input| matches!(input, Input::Refused { .. }))
            .count();
        parts.metrics.signatures_made.add(signed);
        parts.metrics.claims_checked.add(claims);
        parts.metrics.claims_refused.add(refused as u64);
        parts.metrics.signature_batches.add(u64::from(claims > 0));
        answer(inputs);
    }
}
