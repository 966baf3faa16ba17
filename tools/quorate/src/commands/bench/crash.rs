//! `quorate bench crash`: kills validator processes under load, again and again, and checks from
//! outside what came of it.
//!
//! Owns the series: who dies when, and how long the return takes. What clients were told is
//! written down by the load, in this process; what validators voted is read from their logs over
//! all their lives. Never: repairs, or starts a validator by another command than an operator's.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use quorate::config::SnapshotConfig;
use quorate_bench::cluster::{Cluster, Ended};
use quorate_bench::load::{Acknowledged, Chain, LoadPlan, Outcome};
use quorate_bench::report::Agreement;
use quorate_bench::testnet::{Testnet, Workload, free_base_port};
use quorate_bench::traces::counter;
use quorate_log::verify_path;
use serde::Serialize;

use super::audit::{Audit, Mark};
use super::background::Load;
use super::past::Past;
use super::restores::Restores;
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
const RETURN: Duration = Duration::from_secs(300);
/// How long one look at the validators takes at most.
const LOOK: Duration = Duration::from_millis(250);
/// How long the validators may take to stand at one height after the series.
const SETTLE: Duration = Duration::from_secs(120);
/// How long the validators may take to stop.
const STOP: Duration = Duration::from_secs(120);
/// Longest time between a return and the next kill, milliseconds.
const PAUSE_MS_MAX: u64 = 200;
/// Slots of a window where older disks are put back.
const RESTORES_WINDOW_SLOTS: u32 = 64;
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
    /// Rounds in which a validator is killed and started with an older copy of its data folder,
    /// instead of the others
    #[arg(long, value_name = "N", conflicts_with_all = ["kills", "all", "double"])]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    restores: Option<u64>,
    /// Commands a second
    #[arg(long, default_value_t = 200)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    rate: u64,
    /// Slots of a window; by default 64 with --restores and as many as any chain has without
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4096))]
    window_slots: Option<u32>,
    /// Seed of the series: who is killed when
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    cluster: ClusterOptions,
    /// Folder for the temporary folder of the cluster, such as one on the disk to be tested
    #[arg(long, value_name = "DIR")]
    pub(super) dir: Option<PathBuf>,
}

impl Options {
    /// Whoever starts with an older disk says nothing in the window that the others are in, and in
    /// one of usual length a round would take a minute of waiting for the next.
    fn window_slots(&self) -> Option<u32> {
        let of_restores = self.restores.map(|_| RESTORES_WINDOW_SLOTS);
        self.window_slots.or(of_restores)
    }
}

/// Runs the series.
///
/// # Errors
/// The options contradict each other, the validators do not start, or one does not come back.
pub(crate) fn run(options: &Options) -> Result<Report, Failure> {
    let interrupt = Interrupt::install()?;
    let setting = Setting {
        interrupt: &interrupt,
        cluster: &options.cluster,
        dir: options.dir.as_deref(),
        rate: options.rate,
        seed: options.seed,
        window_slots: options.window_slots(),
        every_heights: None,
    };
    let rounds = options.restores.unwrap_or(options.kills);
    let mut restores = Restores::default();
    let mut toll = under_load(setting, |series, load| {
        let mut made = 0;
        while made < rounds && !series.interrupt.is_set() {
            if options.restores.is_some() {
                restores.round(series)?;
            } else {
                series.round(options.all, options.double)?;
            }
            // A series in which nobody was told anything any more would lose nothing.
            load.wait_for_result()?;
            made += 1;
            if made.is_multiple_of(20) {
                progress(&format!("{made} of {rounds} rounds"));
            }
        }
        Ok(made)
    })?;
    toll.expect_rounds(rounds);
    let mut text = toll.text();
    if options.restores.is_some() {
        text = format!("{}\n{text}", restores.text());
    }
    let code = toll.code();
    Ok(Report::new(&Fields { restores, toll }, text)?.with_code(code))
}

/// The report of the command.
#[derive(Serialize)]
struct Fields {
    #[serde(flatten)]
    restores: Restores,
    #[serde(flatten)]
    toll: Toll,
}

/// What a series runs on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Setting<'a> {
    /// One for the command: of several series none goes on after the first signal, and the second
    /// one ends the process.
    pub(super) interrupt: &'a Interrupt,
    pub(super) cluster: &'a ClusterOptions,
    pub(super) dir: Option<&'a Path>,
    /// Commands a second.
    pub(super) rate: u64,
    pub(super) seed: u64,
    /// Slots of a window; by default as many as any chain has.
    pub(super) window_slots: Option<u32>,
    /// At which heights snapshots are taken; by default as seldom as anywhere.
    pub(super) every_heights: Option<u64>,
}

/// What clients were told over a series.
#[derive(Debug, Default)]
pub(super) struct Heard {
    /// Height of the highest block with a result.
    pub(super) height: u64,
    pub(super) acknowledged: Vec<Acknowledged>,
    /// Commands whose result never came.
    pub(super) missing: u64,
    /// Commands that were refused for good.
    pub(super) rejected: u64,
    /// Commands that were intended and never handed over.
    pub(super) unsent: u64,
}

impl Heard {
    /// Takes in what one load's clients were told.
    pub(super) fn take(&mut self, outcome: Outcome) {
        self.height = self.height.max(outcome.height);
        self.acknowledged.extend(outcome.acknowledged);
        self.missing += outcome.missing;
        self.rejected += outcome.counts.rejected;
        self.unsent += outcome.offered.saturating_sub(outcome.counts.generated);
    }

    /// Commands of which clients were told two heights, so that they had an effect twice: a repeat
    /// that has none is told without a height.
    pub(super) fn doubled(&mut self) -> u64 {
        self.acknowledged.sort_unstable();
        let is_same = |one: &Acknowledged, other: &Acknowledged| {
            (one.session, one.seq) == (other.session, other.seq)
        };
        let doubled = self.acknowledged.chunk_by(is_same).filter(|told| {
            let mut heights = told.iter().filter_map(|one| one.height);
            let first = heights.next();
            heights.any(|height| Some(height) != first)
        });
        doubled.count() as u64
    }
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
    let workload = setting.cluster.workload.into();
    let load = LoadOptions {
        rate: setting.rate,
        seconds: LOAD_SECONDS,
        clients: 4,
        size: (workload == Workload::Opaque).then_some(64),
        orders: None,
        book: None,
        hgrm: None,
        seed: setting.seed,
    };
    let mut plan = load.plan(workload)?;
    plan.keeps_acknowledged = true;
    over_validators(setting, |series| {
        let load = series.load(plan)?;
        let rounds = act(series, &load)?;
        let mut heard = Heard::default();
        heard.take(load.end()?);
        Ok((rounds, heard))
    })
}

/// The same, where `act` brings the load too.
///
/// # Errors
/// The options contradict each other, the validators do not start, or what `act` says.
pub(super) fn over_validators(
    setting: Setting<'_>,
    act: impl FnOnce(&mut Series<'_>) -> Result<(u64, Heard), Failure>,
) -> Result<Toll, Failure> {
    let base_port = free_base_port(setting.cluster.plan(1)?.weights.len())?;
    let mut plan = setting.cluster.plan(base_port)?;
    plan.window_slots = setting.window_slots;
    let scratch = Scratch::create(setting.dir)?;
    let testnet = Testnet::create(&scratch.path().join("testnet"), &plan)?;
    if let Some(every_heights) = setting.every_heights {
        testnet.set_snapshots(&SnapshotConfig {
            every_heights,
            ..SnapshotConfig::default()
        })?;
    }
    let chain = Chain::of(testnet.genesis());
    let quiet = Arc::new(|_: usize, _: &str| ());
    let mut cluster = Cluster::new(node::launches(&testnet)?, quiet);
    cluster.start_all()?;
    let mut series = Series::new(&testnet, &chain, cluster, setting);
    let all: Vec<usize> = (0..testnet.validators()).collect();
    series.wait_until_voting(&all)?;
    let (rounds, mut heard) = act(&mut series)?;
    let toll = series.conclude(rounds, &mut heard)?;
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

pub(super) struct Series<'a> {
    testnet: &'a Testnet,
    chain: &'a Chain,
    pub(super) cluster: Cluster,
    pub(super) interrupt: &'a Interrupt,
    chance: Chance,
    /// What is known of each validator from its deaths.
    pasts: Vec<Past>,
    /// What was found at them.
    found: Toll,
    recoveries_ms: Vec<u64>,
    processes_killed: u64,
}

impl<'a> Series<'a> {
    /// A series over validators that have been started.
    fn new(testnet: &'a Testnet, chain: &'a Chain, cluster: Cluster, setting: Setting<'a>) -> Self {
        let window_slots = testnet.genesis().file().window_slots;
        Self {
            pasts: (0..testnet.validators())
                .map(|validator| Past::new(validator, window_slots))
                .collect(),
            found: Toll::default(),
            chance: Chance::new(setting.seed),
            recoveries_ms: Vec::new(),
            processes_killed: 0,
            testnet,
            chain,
            cluster,
            interrupt: setting.interrupt,
        }
    }

    /// Kills one validator or all, starts again, and waits until all may vote.
    fn round(&mut self, kills_all: bool, kills_twice: bool) -> Result<(), Failure> {
        self.pause(PAUSE_MS_MAX);
        let count = self.validators();
        let victims: Vec<usize> = if kills_all {
            (0..count).collect()
        } else {
            vec![self.any()]
        };
        self.kill(&victims)?;
        let mut started = self.start(&victims)?;
        if kills_twice {
            // Anywhere in a recovery of usual length, its first moments included.
            let usual = self.recoveries_ms.last().copied().unwrap_or(100);
            self.pause(usual);
            self.kill(&victims)?;
            started = self.start(&victims)?;
        }
        self.time_return(&victims, started)
    }

    /// Waits until validators may vote, and notes how long that took since they were started.
    pub(super) fn time_return(
        &mut self,
        victims: &[usize],
        started: Instant,
    ) -> Result<(), Failure> {
        self.wait_until_voting(victims)?;
        let took = started.elapsed().as_millis();
        self.recoveries_ms
            .push(u64::try_from(took).unwrap_or(u64::MAX));
        Ok(())
    }

    /// Starts a load on these validators and waits until the first command is final.
    pub(super) fn load(&self, plan: LoadPlan) -> Result<Load, Failure> {
        Load::start(plan, self.chain.clone(), self.testnet.admin_key()?)
    }

    /// What the validators say of themselves.
    pub(super) fn statuses(&self) -> Result<Vec<Status>, Failure> {
        agreement::statuses(self.chain, Instant::now() + LOOK, true)
    }

    /// What the validators say of themselves, once that is what is waited for, or when a validator
    /// would have had to come back.
    pub(super) fn statuses_until(
        &self,
        holds: impl FnMut(&[Status]) -> bool,
    ) -> Result<Vec<Status>, Failure> {
        agreement::statuses_until(self.chain, Instant::now() + RETURN, holds)
    }

    /// How many validators there are.
    pub(super) fn validators(&self) -> usize {
        self.testnet.validators()
    }

    /// A validator by chance.
    pub(super) fn any(&mut self) -> usize {
        let drawn = self.chance.below(self.validators() as u64);
        usize::try_from(drawn).unwrap_or(0)
    }

    /// One of two things by chance.
    pub(super) fn either(&mut self) -> bool {
        self.chance.below(2) == 0
    }

    /// Lets everything go on for a time by chance, this long at most.
    pub(super) fn pause(&mut self, ms_max: u64) {
        let pause = self.chance.below(ms_max.saturating_add(1));
        std::thread::park_timeout(Duration::from_millis(pause));
    }

    pub(super) fn kill(&mut self, victims: &[usize]) -> Result<(), Failure> {
        victims.iter().try_for_each(|&victim| self.end(victim))?;
        victims.iter().try_for_each(|&victim| self.mark(victim))
    }

    /// Kills a validator and does not look at its log, which would take a core for a while.
    pub(super) fn end(&mut self, victim: usize) -> Result<(), Failure> {
        if let Some(ended) = self.cluster.wait_ended(Instant::now())? {
            return Err(self.died(ended));
        }
        self.cluster.kill(victim)?;
        self.processes_killed += 1;
        Ok(())
    }

    /// Reads what a validator that has ended has left.
    pub(super) fn mark(&mut self, victim: usize) -> Result<(), Failure> {
        let folder = self.testnet.log_folder(victim)?;
        self.pasts[victim]
            .take_death(&folder, &mut self.found)
            .map_err(|error| unreadable(victim, &error))
    }

    /// Something else than a death befalls the disk of a validator that has ended, or will in the
    /// life that begins.
    pub(super) fn expect_doubts(&mut self, victim: usize) {
        self.pasts[victim].expect_doubts();
    }

    /// The folder of a validator, which has ended, is about to go: what it voted is read before,
    /// and what stood in its log is not to be looked for in the next one.
    pub(super) fn lose_log(&mut self, victim: usize) -> Result<(), Failure> {
        let folder = self.testnet.log_folder(victim)?;
        self.pasts[victim]
            .lose_log(&folder, &mut self.found)
            .map_err(|error| unreadable(victim, &error))
    }

    /// An older copy of a log that was lost stands in its place now: what is in it was judged with
    /// that one, and what will be behind it contradicts neither.
    pub(super) fn put_back(&mut self, victim: usize) -> Result<(), Failure> {
        let folder = self.log_folder(victim)?;
        // One that cannot be opened is refused by the start too, which says why.
        let Ok(found) = verify_path(&folder) else {
            return Ok(());
        };
        let mark = Mark::at_end(&folder, &found).map_err(|error| unreadable(victim, &error))?;
        self.pasts[victim].put_back(mark);
        Ok(())
    }

    /// What was put back is gone again: the next log of the validator begins anew.
    pub(super) fn remove_log(&mut self, victim: usize) {
        self.pasts[victim].remove_log();
    }

    /// Where the log of a validator stands.
    pub(super) fn log_folder(&self, validator: usize) -> Result<PathBuf, Failure> {
        Ok(self.testnet.log_folder(validator)?)
    }

    /// What a validator that runs counts as alarms; none where it does not tell.
    pub(super) fn alarms(&self, validator: usize) -> Result<Option<u64>, Failure> {
        let address = self.testnet.metrics_address(validator)?.unwrap_or_default();
        // It may be ending.
        Ok(counter(&address, "quorate_alarms_total").ok().flatten())
    }

    /// Where the configuration of a validator stands.
    pub(super) fn config_path(&self, validator: usize) -> PathBuf {
        self.testnet.config_path(validator)
    }

    /// Starts validators; gives when that began.
    pub(super) fn start(&mut self, victims: &[usize]) -> Result<Instant, Failure> {
        let started = Instant::now();
        for &victim in victims {
            self.cluster.start(victim)?;
        }
        Ok(started)
    }

    pub(super) fn wait_until_voting(&mut self, validators: &[usize]) -> Result<(), Failure> {
        match self.voting_or_ended(validators)? {
            None => Ok(()),
            Some(ended) => Err(self.died(ended)),
        }
    }

    /// Waits until validators may vote, or until one, any, ended by itself: that one.
    pub(super) fn voting_or_ended(
        &mut self,
        validators: &[usize],
    ) -> Result<Option<Ended>, Failure> {
        let deadline = Instant::now() + RETURN;
        loop {
            let statuses = self.statuses()?;
            let mut wanted = validators.iter().filter_map(|index| statuses.get(*index));
            if wanted.all(agreement::is_voting) {
                return Ok(None);
            }
            if let Some(ended) = self.cluster.wait_ended(Instant::now())? {
                return Ok(Some(ended));
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
    fn conclude(mut self, kills: u64, heard: &mut Heard) -> Result<Toll, Failure> {
        progress("comparing states, stopping the validators, reading the logs");
        let settled = Instant::now() + SETTLE;
        let mut agreement: Agreement =
            agreement::wait_for_equal_roots(self.chain, heard.height, settled)?;
        for ended in self.cluster.stop_all(STOP)? {
            if !ended.status.success() {
                agreement.differences.push(self.died(ended).to_string());
            }
        }
        let marked: Vec<usize> = (0..self.testnet.validators())
            .filter(|&index| self.pasts[index].may_have_marked())
            .collect();
        let logs = Logs::AtRestBut(&marked);
        agreement::compare_logs(self.testnet, logs, heard.height, &mut agreement);
        let mut toll = Toll {
            kills,
            processes_killed: self.processes_killed,
            acknowledged: heard.acknowledged.len() as u64,
            doubled: heard.doubled(),
            unfinished: heard.missing,
            rejected: heard.rejected,
            unsent: heard.unsent,
            height: heard.height,
            recovery_ms: RecoveryMs::of(self.recoveries_ms.clone()),
            ..std::mem::take(&mut self.found)
        };
        toll.differences.append(&mut agreement.differences);
        let audits =
            (0..self.testnet.validators()).map(|index| self.audit(index, heard, &mut toll));
        let audits = audits.collect::<Result<Vec<_>, _>>()?;
        note_conflicts(audits, &mut toll);
        toll.expect_places();
        Ok(toll)
    }

    fn audit(&mut self, index: usize, heard: &Heard, toll: &mut Toll) -> Result<Audit, Failure> {
        let folder = self.testnet.log_folder(index)?;
        let found =
            verify_path(&folder).map_err(|error| crate::inspect::failure_of(&folder, &error))?;
        toll.marked += found.marked.len() as u64;
        let past = &mut self.pasts[index];
        let unreadable = |error| unreadable(index, &error);
        past.judge_doubts(&folder, toll).map_err(unreadable)?;
        toll.rewritten += past.rewritten(&folder).map_err(unreadable)?;
        let mut audit = past.audit(&folder, &found).map_err(unreadable)?;
        toll.vote_records += audit.vote_records;
        toll.lost += audit.lost(&heard.acknowledged);
        audit.forget_commands();
        Ok(audit)
    }
}

/// A final block that a validator supported before it had fetched it stands in the log of another.
fn note_conflicts(mut audits: Vec<Audit>, toll: &mut Toll) {
    for index in 0..audits.len() {
        let (before, rest) = audits.split_at_mut(index);
        let Some((audit, after)) = rest.split_first_mut() else {
            continue;
        };
        let others = before.iter().chain(after.iter()).map(Audit::headers);
        audit.close(&others.collect::<Vec<_>>());
        toll.note_conflicts(index, audit);
    }
}

fn unreadable(index: usize, error: &std::io::Error) -> Failure {
    let what = format!("the log of validator {index} cannot be read: {error}");
    Failure::new(Code::TryAgain, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_was_told_at_two_heights_was_applied_twice() {
        let told = |seq, height| Acknowledged {
            session: [7; 16],
            seq,
            height,
        };
        let mut heard = Heard {
            // The same told twice, and repeats without a height before and behind.
            acknowledged: vec![
                told(1, Some(4)),
                told(2, None),
                told(1, None),
                told(2, Some(5)),
                told(1, Some(4)),
            ],
            ..Heard::default()
        };
        assert_eq!(heard.doubled(), 0);
        heard.acknowledged.push(told(2, Some(6)));
        heard.acknowledged.push(told(2, Some(7)));
        let mut of_another = told(1, Some(9));
        of_another.session = [8; 16];
        heard.acknowledged.push(of_another);
        assert_eq!(heard.doubled(), 1, "one command, however often");
    }
}
