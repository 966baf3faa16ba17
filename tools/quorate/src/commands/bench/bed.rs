//! A cluster that stands for as long as it is measured: real processes on loopback.
//!
//! Owns the processes and their folder, and removes both. Never: judges what was measured.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use quorate::config::{RateConfig, SnapshotConfig};
use quorate::trace::Dump;
use quorate_bench::cluster::Cluster;
use quorate_bench::load::{Chain, Gate, LoadPlan, Outcome, run as drive, run_beside};
use quorate_bench::report::Agreement;
use quorate_bench::testnet::{Plan, Testnet};
use quorate_bench::traces::{TraceError, counter, fetch};

use crate::agreement::{self, Logs, Status};
use crate::commands::demo::{died, wait_until_up};
use crate::commands::node;
use crate::failure::{Code, Failure};
use crate::interrupt::Interrupt;
use crate::scratch::Scratch;

/// How long the validators may take to stand at one height after the load.
const SETTLE: Duration = Duration::from_secs(120);
/// How long the validators may take to stop.
const STOP: Duration = Duration::from_secs(120);
/// How long one that was killed may take until it votes: it may have to restore a long state.
const RETURN: Duration = Duration::from_secs(600);
/// How often it is looked at what happens beside a load.
const WATCH: Duration = Duration::from_millis(5);

/// A running cluster.
pub(super) struct Bed {
    // Dropped before the folder is removed: nothing is written into it any more then.
    cluster: Cluster,
    testnet: Testnet,
    chain: Chain,
    height: u64,
    /// Validators that stand still.
    paused: Vec<usize>,
    _scratch: Scratch,
}

impl Bed {
    /// Starts the validators and waits until all are connected.
    ///
    /// # Errors
    /// The plan is not allowed, or they do not start.
    pub(super) fn start(
        plan: &Plan,
        parent: Option<&Path>,
        interrupt: &Interrupt,
    ) -> Result<Self, Failure> {
        Self::start_with(plan, None, parent, interrupt)
    }

    /// The same with validators that take snapshots as said.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub(super) fn start_with(
        plan: &Plan,
        snapshots: Option<&SnapshotConfig>,
        parent: Option<&Path>,
        interrupt: &Interrupt,
    ) -> Result<Self, Failure> {
        let scratch = Scratch::create(parent)?;
        let testnet = Testnet::create(&scratch.path().join("testnet"), plan)?;
        if let Some(snapshots) = snapshots {
            testnet.set_snapshots(snapshots)?;
        }
        // What a node bears is measured, and not what it lets one client send.
        testnet.set_rates(&RateConfig::unbounded())?;
        let chain = Chain::of(testnet.genesis());
        let quiet = Arc::new(|_: usize, _: &str| ());
        let mut cluster = Cluster::new(node::launches(&testnet)?, quiet);
        cluster.start_all()?;
        wait_until_up(&mut cluster, &chain, interrupt)?;
        wait_until_voting(&chain, SETTLE)?;
        Ok(Self {
            cluster,
            testnet,
            chain,
            height: 0,
            paused: Vec::new(),
            _scratch: scratch,
        })
    }

    /// Drives one load to its end.
    ///
    /// # Errors
    /// A validator ended, the load did, somebody interrupted, or accepted commands never came
    /// back.
    pub(super) fn drive(
        &mut self,
        plan: &LoadPlan,
        interrupt: &Interrupt,
    ) -> Result<Outcome, Failure> {
        let outcome = drive(plan, &self.chain, None, &interrupt.flag(), &mut |_| ())?;
        if let Some(ended) = self.cluster.wait_ended(Instant::now())? {
            return Err(died(&self.cluster, ended));
        }
        if outcome.is_interrupted {
            return Err(Failure::new(Code::No, "interrupted"));
        }
        self.height = self.height.max(outcome.height);
        Ok(outcome)
    }

    /// Drives two loads side by side, each from its own thread. Their clocks begin together, when
    /// both have signed what they sign ahead.
    ///
    /// # Errors
    /// As [`drive`](Self::drive).
    pub(super) fn drive_both(
        &mut self,
        one: &LoadPlan,
        other: &LoadPlan,
        interrupt: &Interrupt,
    ) -> Result<(Outcome, Outcome), Failure> {
        let (chain, flag) = (&self.chain, interrupt.flag());
        let gate = Gate::of(2);
        let (here, there) = (gate.place(), gate.place());
        let beside = std::thread::scope(|scope| {
            let beside = scope.spawn(|| run_beside(there, other, chain, &flag));
            let outcome = run_beside(here, one, chain, &flag);
            (outcome, beside.join())
        });
        let (outcome, beside) = beside;
        let beside = beside.map_err(|_| Failure::new(Code::Safety, "the load panicked"))?;
        let (outcome, beside) = (outcome?, beside?);
        if let Some(ended) = self.cluster.wait_ended(Instant::now())? {
            return Err(died(&self.cluster, ended));
        }
        if outcome.is_interrupted {
            return Err(Failure::new(Code::No, "interrupted"));
        }
        self.height = self.height.max(outcome.height).max(beside.height);
        Ok((outcome, beside))
    }

    /// Drives one load to its end, and calls `look` again and again meanwhile.
    ///
    /// # Errors
    /// As [`drive`](Self::drive).
    pub(super) fn drive_watched(
        &mut self,
        plan: &LoadPlan,
        interrupt: &Interrupt,
        mut look: impl FnMut(),
    ) -> Result<Outcome, Failure> {
        let (chain, flag) = (&self.chain, interrupt.flag());
        let outcome = std::thread::scope(|scope| {
            let driven = scope.spawn(|| drive(plan, chain, None, &flag, &mut |_| ()));
            while !driven.is_finished() {
                look();
                std::thread::park_timeout(WATCH);
            }
            driven.join()
        });
        let outcome = outcome.map_err(|_| Failure::new(Code::Safety, "the load panicked"))??;
        if let Some(ended) = self.cluster.wait_ended(Instant::now())? {
            return Err(died(&self.cluster, ended));
        }
        if outcome.is_interrupted {
            return Err(Failure::new(Code::No, "interrupted"));
        }
        self.height = self.height.max(outcome.height);
        Ok(outcome)
    }

    /// Kills a validator and starts it again; how long it takes from its start until it may vote.
    ///
    /// # Errors
    /// It does not come back.
    pub(super) fn restart(&mut self, index: usize) -> Result<Duration, Failure> {
        self.cluster.kill(index)?;
        let started = Instant::now();
        self.cluster.start(index)?;
        wait_until_voting(&self.chain, RETURN)?;
        Ok(started.elapsed())
    }

    /// The data folder of each validator.
    ///
    /// # Errors
    /// A configuration cannot be read.
    pub(super) fn data_folders(&self) -> Result<Vec<PathBuf>, Failure> {
        let of = |index| {
            let log = self.testnet.log_folder(index)?;
            Ok(log.parent().map(Path::to_path_buf).unwrap_or_default())
        };
        (0..self.testnet.validators()).map(of).collect()
    }

    /// What the system says of the memory of each validator that runs, by the name of the line in
    /// its `status` file, bytes.
    pub(super) fn memory(&self, name: &str) -> Vec<u64> {
        let of = |index| self.cluster.memory(index, name);
        (0..self.testnet.validators()).filter_map(of).collect()
    }

    /// Has the last validators stand still (SIGSTOP) until [`Self::conclude`].
    ///
    /// # Errors
    /// They cannot be signalled.
    pub(super) fn pause_last(&mut self, count: usize) -> Result<(), Failure> {
        let validators = self.testnet.validators();
        for index in validators.saturating_sub(count)..validators {
            self.cluster.pause(index)?;
            self.paused.push(index);
        }
        Ok(())
    }

    /// Waits until all validators stand at one height with one state, so that none of them has
    /// anything left to execute; whether they did in time.
    ///
    /// # Errors
    /// This machine has no sockets left.
    pub(super) fn settle(&self) -> Result<bool, Failure> {
        let deadline = Instant::now() + SETTLE;
        let agreement = agreement::wait_for_equal_roots(&self.chain, self.height, deadline)?;
        Ok(agreement.state_roots_equal == Some(true))
    }

    /// The sum of a counter over all validators that run.
    ///
    /// # Errors
    /// One does not tell.
    pub(super) fn counter(&self, name: &str) -> Result<u64, Failure> {
        let mut sum: u64 = 0;
        for index in self.running() {
            let address = self.testnet.metrics_address(index)?.unwrap_or_default();
            let count = counter(&address, name)?;
            sum = sum.saturating_add(count.ok_or_else(|| {
                Failure::new(Code::No, format!("validator {index} counts no {name}"))
            })?);
        }
        Ok(sum)
    }

    fn running(&self) -> impl Iterator<Item = usize> {
        let runs = |index: &usize| !self.paused.contains(index);
        (0..self.testnet.validators()).filter(runs)
    }

    /// Takes every validator's stamps; none of those that stand still.
    ///
    /// # Errors
    /// One does not give them.
    pub(super) fn dumps(&self) -> Result<Vec<Dump>, Failure> {
        let take = |index| {
            if self.paused.contains(&index) {
                return Ok(Dump::default());
            }
            let address = self.testnet.metrics_address(index)?.unwrap_or_default();
            Ok(fetch(&address)?)
        };
        (0..self.testnet.validators()).map(take).collect()
    }

    /// What the validators say of themselves.
    ///
    /// # Errors
    /// This machine has no sockets left.
    pub(super) fn statuses(&self) -> Result<Vec<Status>, Failure> {
        let runs_and_answers = |told: &[Status]| {
            let mut running = self.running().filter_map(|index| told.get(index));
            running.all(Result::is_ok)
        };
        agreement::statuses_until(&self.chain, Instant::now() + SETTLE, runs_and_answers)
    }

    /// Processor time of all validators since they started.
    pub(super) fn cpu(&self) -> Duration {
        let of = |index| self.cluster.processor_time(index);
        (0..self.testnet.validators()).filter_map(of).sum()
    }

    /// The weights, and what first votes need.
    pub(super) fn stakes(&self) -> (Vec<u64>, u64) {
        let thresholds = self.chain.set.thresholds();
        (self.testnet.weights(), thresholds.fast.amount())
    }

    /// Compares states, stops all, compares logs.
    ///
    /// # Errors
    /// The processes cannot be waited for.
    pub(super) fn conclude(mut self) -> Result<Agreement, Failure> {
        for index in std::mem::take(&mut self.paused) {
            self.cluster.resume(index)?;
        }
        let settled = Instant::now() + SETTLE;
        let mut agreement = agreement::wait_for_equal_roots(&self.chain, self.height, settled)?;
        for ended in self.cluster.stop_all(STOP)? {
            if !ended.status.success() {
                let failure = died(&self.cluster, ended);
                agreement.differences.push(failure.to_string());
            }
        }
        agreement::compare_logs(&self.testnet, Logs::AtRest, self.height, &mut agreement);
        Ok(agreement)
    }
}

/// Asks until every validator may vote: before, all goes the slow path.
fn wait_until_voting(chain: &Chain, patience: Duration) -> Result<(), Failure> {
    let all_vote = |told: &[Status]| told.iter().all(agreement::is_voting);
    let statuses = agreement::statuses_until(chain, Instant::now() + patience, all_vote)?;
    if all_vote(&statuses) {
        return Ok(());
    }
    let what = "not every validator may vote";
    Err(Failure::new(Code::TryAgain, what).detail(format!("{statuses:?}")))
}

impl From<TraceError> for Failure {
    fn from(error: TraceError) -> Self {
        Self::new(Code::TryAgain, error)
    }
}
