//! `quorate bench crash`: kills validator processes under load, again and again, and checks from
//! outside what came of it.
//!
//! Owns the series: who dies when, and how long the return takes. What clients were told is
//! written down by the load, in this process; what validators voted is read from their logs over
//! all their lives. Never: repairs, or starts a validator by another command than an operator's.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use clap::Args;
use quorate_bench::cluster::{Cluster, Ended};
use quorate_bench::load::{Chain, LoadError, Outcome, run as drive};
use quorate_bench::report::Agreement;
use quorate_bench::testnet::{Testnet, Workload, free_base_port};
use quorate_log::verify_path;

use super::audit::{Audit, Mark};
use super::toll::{RecoveryMs, Toll};
use crate::agreement::{self, Logs, Status};
use crate::commands::node;
use crate::drive::LoadOptions;
use crate::failure::{Code, Failure};
use crate::interrupt::Interrupt;
use crate::output::{Report, progress};
use crate::plan::ClusterOptions;
use crate::scratch::Scratch;

/// How long a validator may take until it may vote again.
const RETURN: Duration = Duration::from_secs(60);
/// How long one look at the validators takes at most.
const LOOK: Duration = Duration::from_millis(250);
/// How long the load may take until the first result.
const BEGIN: Duration = Duration::from_secs(60);
/// How long the validators may take to stand at one height after the series.
const SETTLE: Duration = Duration::from_secs(60);
/// How long the validators may take to stop.
const STOP: Duration = Duration::from_secs(20);
/// Longest time between a return and the next kill, milliseconds.
const PAUSE_MS_MAX: u64 = 200;
/// The load ends with the series, not before.
const LOAD_SECONDS: u64 = 86_400;

/// Options of the command.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Rounds of killing
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    kills: u64,
    /// Kill all validators at once in every round instead of one
    #[arg(long)]
    all: bool,
    /// Kill again while recovering, in every round
    #[arg(long)]
    double: bool,
    /// Commands a second
    #[arg(long, default_value_t = 200)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    rate: u64,
    /// Seed of the series: who is killed when
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    cluster: ClusterOptions,
    /// Folder for the temporary folder of the cluster, such as one on the disk to be tested
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Runs the series.
///
/// # Errors
/// The options contradict each other, the validators do not start, or one does not come back.
pub(crate) fn run(options: &Options) -> Result<Report, Failure> {
    let setting = Setting {
        cluster: &options.cluster,
        dir: options.dir.as_deref(),
        rate: options.rate,
        seed: options.seed,
    };
    let toll = under_load(setting, |series, load| {
        let mut kills = 0;
        while kills < options.kills && !series.interrupt.is_set() && !load.has_ended() {
            series.round(options.all, options.double)?;
            kills += 1;
            if kills.is_multiple_of(20) {
                progress(&format!("{kills} of {} rounds", options.kills));
            }
        }
        Ok(kills)
    })?;
    let (code, text) = (toll.code(), toll.text());
    Ok(Report::new(&toll, text)?.with_code(code))
}

/// What a series runs on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Setting<'a> {
    pub(super) cluster: &'a ClusterOptions,
    pub(super) dir: Option<&'a Path>,
    /// Commands a second.
    pub(super) rate: u64,
    pub(super) seed: u64,
}

/// Starts validators and a load, lets `act` do to them what it will, and holds the logs against
/// what clients were told. `act` says how many rounds it made.
///
/// # Errors
/// The options contradict each other, the validators do not start, or what `act` says.
pub(super) fn under_load(
    setting: Setting<'_>,
    act: impl FnOnce(&mut Series<'_>, &Load) -> Result<u64, Failure>,
) -> Result<Toll, Failure> {
    let base_port = free_base_port(setting.cluster.plan(1)?.weights.len())?;
    let plan = setting.cluster.plan(base_port)?;
    let interrupt = Interrupt::install()?;
    let scratch = Scratch::create(setting.dir)?;
    let testnet = Testnet::create(&scratch.path().join("testnet"), &plan)?;
    let chain = Chain::of(testnet.genesis());
    let quiet = Arc::new(|_: usize, _: &str| ());
    let mut cluster = Cluster::new(node::launches(&testnet)?, quiet);
    cluster.start_all()?;
    let mut series = Series::new(&testnet, &chain, cluster, &interrupt, setting.seed);
    let all: Vec<usize> = (0..testnet.validators()).collect();
    series.wait_until_voting(&all)?;
    let workload = setting.cluster.workload.into();
    let load = Load::start((setting.rate, setting.seed), workload, &testnet, &chain)?;
    let rounds = act(&mut series, &load)?;
    let outcome = load.end()?;
    let toll = series.conclude(rounds, &outcome)?;
    drop(scratch);
    Ok(toll)
}

/// Chance that depends on a seed alone.
struct Chance {
    seed: u64,
    drawn: u64,
}

impl Chance {
    const fn new(seed: u64) -> Self {
        Self { seed, drawn: 0 }
    }

    /// A number below `bound`, which is not zero.
    fn below(&mut self, bound: u64) -> u64 {
        let mut input = [0; 16];
        input[..8].copy_from_slice(&self.seed.to_le_bytes());
        input[8..].copy_from_slice(&self.drawn.to_le_bytes());
        self.drawn += 1;
        let mut number = [0; 8];
        number.copy_from_slice(&blake3::hash(&input).as_bytes()[..8]);
        u64::from_le_bytes(number).checked_rem(bound).unwrap_or(0)
    }
}

/// The load on a thread of its own.
pub(super) struct Load {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<Outcome, LoadError>>,
}

impl Load {
    /// Starts the load and waits until the first command is final.
    fn start(
        (rate, seed): (u64, u64),
        workload: Workload,
        testnet: &Testnet,
        chain: &Chain,
    ) -> Result<Self, Failure> {
        let load = LoadOptions {
            rate,
            seconds: LOAD_SECONDS,
            clients: 4,
            size: 64,
            orders: None,
            book: None,
            hgrm: None,
            seed,
        };
        let mut plan = load.plan(workload)?;
        plan.keeps_acknowledged = true;
        let (stop, chain, admin) = (Arc::default(), chain.clone(), testnet.admin_key()?);
        let flag: Arc<AtomicBool> = Arc::clone(&stop);
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

    fn end(self) -> Result<Outcome, Failure> {
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

pub(super) struct Series<'a> {
    testnet: &'a Testnet,
    chain: &'a Chain,
    pub(super) cluster: Cluster,
    pub(super) interrupt: &'a Interrupt,
    chance: Chance,
    /// Of each validator, where its log stood at each of its deaths.
    marks: Vec<Vec<Mark>>,
    recoveries_ms: Vec<u64>,
    processes_killed: u64,
}

impl<'a> Series<'a> {
    /// A series over validators that have been started.
    fn new(
        testnet: &'a Testnet,
        chain: &'a Chain,
        cluster: Cluster,
        interrupt: &'a Interrupt,
        seed: u64,
    ) -> Self {
        Self {
            marks: vec![Vec::new(); testnet.validators()],
            chance: Chance::new(seed),
            recoveries_ms: Vec::new(),
            processes_killed: 0,
            testnet,
            chain,
            cluster,
            interrupt,
        }
    }

    /// Kills one validator or all, starts again, and waits until all may vote.
    fn round(&mut self, kills_all: bool, kills_twice: bool) -> Result<(), Failure> {
        let pause = self.chance.below(PAUSE_MS_MAX + 1);
        std::thread::park_timeout(Duration::from_millis(pause));
        let count = self.testnet.validators();
        let victims: Vec<usize> = if kills_all {
            (0..count).collect()
        } else {
            vec![self.any()]
        };
        self.kill(&victims)?;
        self.start(&victims)?;
        if kills_twice {
            // Anywhere in a recovery of usual length, its first moments included.
            let usual = self.recoveries_ms.last().copied().unwrap_or(100);
            let moment = self.chance.below(usual.saturating_add(1));
            std::thread::park_timeout(Duration::from_millis(moment));
            self.kill(&victims)?;
            self.start(&victims)?;
        }
        self.time_return(&victims)
    }

    /// Waits until validators that were just started may vote, and notes how long that takes.
    pub(super) fn time_return(&mut self, victims: &[usize]) -> Result<(), Failure> {
        let started = Instant::now();
        self.wait_until_voting(victims)?;
        let took = started.elapsed().as_millis();
        self.recoveries_ms
            .push(u64::try_from(took).unwrap_or(u64::MAX));
        Ok(())
    }

    /// A validator by chance.
    pub(super) fn any(&mut self) -> usize {
        let drawn = self.chance.below(self.testnet.validators() as u64);
        usize::try_from(drawn).unwrap_or(0)
    }

    pub(super) fn kill(&mut self, victims: &[usize]) -> Result<(), Failure> {
        for &victim in victims {
            if let Some(ended) = self.cluster.wait_ended(Instant::now())? {
                return Err(self.died(ended));
            }
            self.cluster.kill(victim)?;
            self.processes_killed += 1;
        }
        victims.iter().try_for_each(|&victim| self.mark(victim))
    }

    /// Notes where the log of a validator that has ended stands.
    pub(super) fn mark(&mut self, victim: usize) -> Result<(), Failure> {
        let folder = self.testnet.log_folder(victim)?;
        let last = self.marks[victim].last().copied();
        let mark = Mark::take(&folder, last).map_err(|error| unreadable(victim, &error))?;
        self.marks[victim].extend(mark);
        Ok(())
    }

    pub(super) fn start(&mut self, victims: &[usize]) -> Result<(), Failure> {
        for &victim in victims {
            self.cluster.start(victim)?;
        }
        Ok(())
    }

    fn wait_until_voting(&mut self, validators: &[usize]) -> Result<(), Failure> {
        let deadline = Instant::now() + RETURN;
        let is_voting = |status: &Status| {
            let Ok(status) = status else { return false };
            status["voting"].as_bool() == Some(true)
        };
        loop {
            let statuses = agreement::statuses(self.chain, Instant::now() + LOOK, true)?;
            let mut wanted = validators.iter().filter_map(|index| statuses.get(*index));
            if wanted.all(is_voting) {
                return Ok(());
            }
            if let Some(ended) = self.cluster.wait_ended(Instant::now())? {
                return Err(self.died(ended));
            }
            if self.interrupt.is_set() {
                return Err(Failure::new(Code::No, "interrupted"));
            }
            if Instant::now() >= deadline {
                let what = format!("of validators {validators:?} not all came back: {statuses:?}");
                let tails = validators
                    .iter()
                    .map(|index| self.cluster.tail(*index).join("\n"));
                return Err(Failure::new(Code::No, what).detail(tails.collect::<String>()));
            }
        }
    }

    /// A validator ended by itself: the series is about those that are killed.
    pub(super) fn died(&self, ended: Ended) -> Failure {
        let what = format!(
            "validator {} ended by itself: {}",
            ended.index, ended.status
        );
        Failure::new(Code::No, what).detail(self.cluster.tail(ended.index).join("\n"))
    }

    /// Stops all, and holds every log against what was written down outside.
    fn conclude(mut self, kills: u64, outcome: &Outcome) -> Result<Toll, Failure> {
        progress("comparing states, stopping the validators, reading the logs");
        let settled = Instant::now() + SETTLE;
        let mut agreement: Agreement =
            agreement::wait_for_equal_roots(self.chain, outcome.height, settled)?;
        for ended in self.cluster.stop_all(STOP)? {
            if !ended.status.success() {
                agreement.differences.push(self.died(ended).to_string());
            }
        }
        agreement::compare_logs(self.testnet, Logs::AtRest, outcome.height, &mut agreement);
        let mut toll = Toll {
            kills,
            processes_killed: self.processes_killed,
            acknowledged: outcome.acknowledged.len() as u64,
            unfinished: outcome.missing,
            height: outcome.height,
            recovery_ms: RecoveryMs::of(self.recoveries_ms.clone()),
            differences: agreement.differences,
            ..Toll::default()
        };
        for index in 0..self.testnet.validators() {
            self.audit(index, outcome, &mut toll)?;
        }
        Ok(toll)
    }

    fn audit(&self, index: usize, outcome: &Outcome, toll: &mut Toll) -> Result<(), Failure> {
        let folder = self.testnet.log_folder(index)?;
        let verification =
            verify_path(&folder).map_err(|error| crate::inspect::failure_of(&folder, &error))?;
        let audit =
            Audit::read(&folder, &verification).map_err(|error| unreadable(index, &error))?;
        toll.vote_records += audit.vote_records;
        toll.conflicting_votes += audit.conflicting_votes;
        toll.lost += audit.lost(&outcome.acknowledged);
        for mark in &self.marks[index] {
            let stands = mark
                .stands(&folder)
                .map_err(|error| unreadable(index, &error))?;
            toll.rewritten += u64::from(!stands);
        }
        Ok(())
    }
}

fn unreadable(index: usize, error: &std::io::Error) -> Failure {
    let what = format!("the log of validator {index} cannot be read: {error}");
    Failure::new(Code::TryAgain, what)
}
