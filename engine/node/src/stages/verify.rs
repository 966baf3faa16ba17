//! Signatures, on a thread of its own.
//!
//! Owns the thread, its key and the queues to and from it. Own signatures are made as they are
//! asked for; claims that wait are checked in batches of bounded size between them, those of each
//! peer in turn (`claims`). Never: on the critical path; nothing waits for it but what leaves the
//! channel.

mod claims;

use crate::auth::{BatchCheck, BatchSeed};
use crate::metrics::Metrics;
use crate::parked::{Receiver, Sender, bounded};
use crate::replica::{Job, run_jobs};
use claims::Claims;
use crossbeam::channel::TrySendError;
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

/// Signatures checked before own ones are made that have come meanwhile, and before anything is
/// answered; what one claim brings stays together.
const BATCH_SIGNATURES: usize = 256;

/// The thread's state.
struct Work<A> {
    parts: VerifyParts,
    check: BatchCheck,
    /// Claims that wait. Bound: the consensus asks for a few of each peer at a time.
    claims: Claims,
    answer: A,
}

fn work(parts: VerifyParts, waiting: &Receiver<Vec<Job>>, answer: impl FnMut(Vec<Input>)) {
    super::pin_thread(parts.core);
    let mut work = Work {
        check: parts.seed.check(0),
        parts,
        claims: Claims::default(),
        answer,
    };
    while !work.claims.is_empty() || work.wait(waiting) {
        while let Ok(jobs) = waiting.try_recv() {
            work.take(jobs);
        }
        work.check_batch();
    }
}

impl<A: FnMut(Vec<Input>)> Work<A> {
    /// Waits for jobs; `false` when no more will come.
    fn wait(&mut self, waiting: &Receiver<Vec<Job>>) -> bool {
        waiting.recv().map(|jobs| self.take(jobs)).is_some()
    }

    /// Makes the signatures that are asked for, at once: what peers claim does not delay what this
    /// validator says. The claims wait.
    fn take(&mut self, jobs: Vec<Job>) {
        let mut signs = jobs;
        for job in signs.extract_if(.., |job| !job.is_signature()) {
            if let Job::Verify { from, claim } = job {
                self.claims.push(from, claim);
            }
        }
        if !signs.is_empty() {
            self.parts.metrics.signatures_made.add(signs.len() as u64);
            self.run(signs);
        }
    }

    /// Checks the next claims.
    fn check_batch(&mut self) {
        let batch = self.claims.next_batch(BATCH_SIGNATURES);
        if batch.is_empty() {
            return;
        }
        self.parts.metrics.claims_checked.add(batch.len() as u64);
        self.parts.metrics.signature_batches.add(1);
        self.run(batch);
    }

    fn run(&mut self, jobs: Vec<Job>) {
        let mut inputs = Vec::with_capacity(jobs.len());
        let VerifyParts { set, own, key, .. } = &self.parts;
        run_jobs(set, *own, key, &mut self.check, jobs, &mut inputs);
        let refused = |input: &&Input| matches!(input, Input::Refused { .. });
        let refused = inputs.iter().filter(refused).count();
        self.parts.metrics.claims_refused.add(refused as u64);
        (self.answer)(inputs);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::sample_genesis;
    use crossbeam::channel::{Receiver, unbounded};
    use quorate_consensus::certificate::SignedRecord;
    use quorate_consensus::record::Record;
    use quorate_consensus::types::Window;
    use quorate_consensus::verify::Claim;

    /// A worker of validator 0 of four.
    fn worker(answer: impl FnMut(Vec<Input>) + Send + 'static) -> VerifyWorker {
        let (genesis, _) = sample_genesis(4);
        let parts = VerifyParts {
            set: Arc::clone(genesis.validator_set()),
            own: ValidatorIndex::new(0),
            key: ValidatorKey::from_seed(&[1; 32]),
            seed: BatchSeed::assert_unpredictable([4; 32]),
            core: None,
            metrics: Arc::new(Metrics::default()),
        };
        VerifyWorker::start(parts, answer).unwrap()
    }

    /// A worker, what it answers, and the jobs of so many claims of another validator, all bad,
    /// with one signature of its own wanted behind them.
    fn start(claims: usize) -> (VerifyWorker, Receiver<Vec<Input>>, Vec<Job>) {
        let (sender, answers) = unbounded();
        let worker = worker(move |inputs| drop(sender.send(inputs)));
        let (from, window) = (ValidatorIndex::new(2), Window::ZERO);
        let record = Record {
            stop: true,
            ..Record::default()
        };
        let signed = SignedRecord {
            validator: from,
            record: record.clone(),
            signature: [1; 64],
        };
        let claim = Claim::Record { window, signed };
        let mut jobs = vec![Job::Verify { from, claim }; claims];
        jobs.push(Job::SignRecord { window, record });
        (worker, answers, jobs)
    }

    #[test]
    fn own_signatures_are_answered_before_the_claims_that_came_with_them_are_checked() {
        let (worker, answers, mut jobs) = start(40);
        worker.hand_over(&mut jobs);
        let first = answers.recv().unwrap();
        assert!(
            matches!(&first[..], [Input::RecordSigned { .. }]),
            "{first:?}"
        );
        let second = answers.recv().unwrap();
        assert_eq!(second.len(), 40);
        assert!(
            second
                .iter()
                .all(|input| matches!(input, Input::Refused { .. }))
        );
    }

    #[test]
    fn claims_are_answered_in_batches_of_bounded_size() {
        let (worker, answers, mut jobs) = start(3 * BATCH_SIGNATURES + 7);
        worker.hand_over(&mut jobs);
        drop(worker);
        let answered: Vec<usize> = answers.iter().map(|inputs| inputs.len()).collect();
        assert_eq!(
            answered,
            [1, BATCH_SIGNATURES, BATCH_SIGNATURES, BATCH_SIGNATURES, 7]
        );
    }

    #[test]
    fn what_a_worker_that_is_behind_has_no_room_for_stays_with_its_owner() {
        let (began, begun) = unbounded();
        let (go_on, may_go_on) = unbounded::<()>();
        let (sender, answers) = unbounded();
        let worker = worker(move |inputs: Vec<Input>| {
            began.send(()).ok();
            may_go_on.recv().ok();
            drop(sender.send(inputs));
        });
        // A test that fails drops this before the worker, whose thread waits for it.
        let go_on = go_on;
        let window = |number| Window::new(number);
        let jobs = |number| {
            let (window, record) = (window(number), Record::default());
            vec![Job::SignRecord { window, record }]
        };
        worker.hand_over(&mut jobs(0));
        begun.recv().unwrap();
        // It is in the first answer, and takes nothing more.
        let batches = BATCHES_MAX as u64;
        for number in 1..=batches {
            let mut batch = jobs(number);
            worker.hand_over(&mut batch);
            assert!(batch.is_empty(), "{number}");
        }
        let mut last = jobs(batches + 1);
        worker.hand_over(&mut last);
        assert_eq!(last.len(), 1, "kept");
        drop(go_on);
        while !last.is_empty() {
            worker.hand_over(&mut last);
            std::thread::yield_now();
        }
        drop(worker);
        let answered: Vec<Window> = answers
            .iter()
            .flatten()
            .map(|input| match input {
                Input::RecordSigned { window, .. } => window,
                other => panic!("{other:?}"),
            })
            .collect();
        let all: Vec<Window> = (0..=batches + 1).map(window).collect();
        assert_eq!(answered, all);
    }
}
