//! `quorate bench latency`: finality of real validators beside the floor, by turns in one run, and
//! in which stages the time goes.
//!
//! Owns the turns and the numbers made of them; whole distributions stand in `curves`. The floor is
//! measured again before each load, since the machine is another one a minute later; every figure
//! is the median over the runs. Never: compares times of different invocations.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use clap::Args;
use quorate_bench::floor::{Floor, FloorPlan, measure};
use quorate_bench::histogram::{Latencies, Percentiles, median};
use quorate_bench::load::{LoadPlan, Outcome, Routing};
use quorate_bench::stages::{Attribution, StageMeans, attribute};
use quorate_bench::testnet::{Plan, free_base_port};
use serde::Serialize;
use serde_json::Value;

use super::bed::Bed;
use super::curves::{self, Curves, Samples};
use super::{DurabilityChoice, name, number, stage_table};
use crate::agreement::{self, Status};
use crate::drive::percent;
use crate::failure::{Code, Failure};
use crate::interrupt::Interrupt;
use crate::output::{Report, progress, table};
use crate::plan::{IdleArg, ProfileArg, ThreadsArg};
use crate::verdict::{self, Losses};
use quorate::genesis::Auth;
use quorate::profiles::{Durability, Profile};
use quorate::trace::STAMPS_MAX;
use quorate_consensus::thresholds::{Thresholds, default_fault, default_slack};
use quorate_consensus::types::Stake;

/// How commands prove whose they are.
const AUTH: Auth = Auth::Session;
/// Of so many commands one goes to a validator that does not lead.
const ASIDE_EVERY: u64 = 8;
/// Stamps that a block may make at one validator, flushes of the turns around it included, beside
/// one for the vote of each validator.
const STAMPS_PER_BLOCK: u64 = 32;
/// Blocks a second that room is kept for: at higher rates commands share blocks. Where there are
/// more all the same, commands whose stamps were pushed out are counted, and the answer is no.
const BLOCKS_PER_SECOND_MAX: u64 = 10_000;
/// Stamps beyond those of the load.
const STAMPS_SPARE: u64 = 16 * 1024;
/// Commands of a run at most: their times are kept until they are joined with the stamps, of which
/// a validator keeps no more.
const COMMANDS_MAX: u64 = STAMPS_MAX as u64;
/// How long the load runs before the first run that counts, for caches and for log segments.
const WARM_UP_SECONDS: u64 = 1;

/// Options of the command.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// How often floor and cluster are measured, by turns
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    runs: u32,
    /// Validators, each with weight 1
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(2..=64))]
    validators: u16,
    /// Commands a second, open loop
    #[arg(long, default_value_t = 1_000)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rate: u32,
    /// Bytes of a command
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..=65_000))]
    size: u32,
    /// Of the validators so many stand still (SIGSTOP) while it is measured: one of six is within P
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u16).range(0..=31))]
    stopped: u16,
    /// The floor's members vote for all in one go and read each vote at once, also on shared cores
    #[arg(long)]
    plain_floor: bool,
    /// The floor's members look for a moment before they sleep in their poll, as validators do that
    /// linger
    #[arg(long)]
    linger_floor: bool,
    /// What a vote must be before it leaves
    #[arg(long, value_enum, default_value = "both")]
    durability: DurabilityChoice,
    /// How long each floor and each load of a run takes
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    seconds: u64,
    /// Threads, idling, pinning and timers that go together
    #[arg(long, value_enum, default_value = "laptop")]
    profile: ProfileArg,
    /// A thread a stage, one for all, or whichever fits the cores
    #[arg(long, value_enum)]
    threads: Option<ThreadsArg>,
    /// What a thread does that has nothing to do
    #[arg(long, value_enum)]
    idle: Option<IdleArg>,
    /// Folder for the temporary folder of the cluster, such as one on the disk to be measured
    #[arg(long, value_name = "DIR")]
    pub(super) dir: Option<PathBuf>,
    /// Write the distributions into this folder, in HdrHistogram's layouts: `.hgrm` and `.hlog`
    #[arg(long, value_name = "DIR")]
    histograms: Option<PathBuf>,
}

/// The least and the most of something over the runs.
#[derive(Clone, Copy, Debug, Serialize)]
struct Range {
    min: f64,
    max: f64,
}

/// How far the runs are apart.
#[derive(Debug, Serialize)]
struct Spread {
    ratio_p50: Option<Range>,
    ratio_p99: Option<Range>,
    finality_p50_us: Option<Range>,
    floor_p50_us: Option<Range>,
}

/// Commands that did not go to the leader.
#[derive(Clone, Debug, Serialize)]
struct Others {
    commands: u64,
    finality_us: Percentiles,
}

/// What floor it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
struct FloorKind {
    /// Whether members that share cores give theirs up for one another, and read votes together.
    gives_way: bool,
    /// Whether members look for a moment before they sleep, as validators do that linger.
    lingers: bool,
}

impl FloorKind {
    const fn of(floor: &Floor) -> Self {
        Self {
            gives_way: floor.gives_way,
            lingers: floor.lingers,
        }
    }

    const fn words(self) -> &'static str {
        match (self.gives_way, self.lingers) {
            (true, false) => "members block in their poll",
            (true, true) => "members linger",
            (false, false) => "members block in their poll and make no room",
            (false, true) => "members linger and make no room",
        }
    }
}

/// One load and the floor before it.
#[derive(Clone, Debug, Serialize)]
struct Run {
    /// Commands whose gateway led.
    commands: u64,
    finality_us: Percentiles,
    floor_us: Percentiles,
    /// From the intended start of a round: compared with nothing.
    floor_intended_us: Percentiles,
    ratio_p50: Option<f64>,
    ratio_p99: Option<f64>,
    client_us: Percentiles,
    other_gateways: Others,
    #[serde(flatten)]
    stages: StageMeans,
    /// Commands of blocks without stamps: in none of the figures of finality.
    unknown: u64,
    /// Commands with a result of which no gateway told when they became final: in none either.
    untold: u64,
    /// Commands that were intended.
    offered: u64,
    /// Of these, the ones that were never handed over, and stand in no percentile.
    unsent: u64,
    /// Commands with a result.
    finalized: u64,
    /// Commands without one, whether or not a validator took them.
    missing: u64,
    /// Commands refused for good.
    rejected: u64,
    #[serde(skip)]
    kind: FloorKind,
    #[serde(skip)]
    samples: Samples,
}

/// All runs with one durability.
#[derive(Debug, Serialize)]
struct Figures {
    durability: &'static str,
    threads: String,
    idle: String,
    finality_us: Percentiles,
    floor_us: Percentiles,
    /// From the intended start of a round: compared with nothing.
    floor_intended_us: Percentiles,
    ratio_p50: Option<f64>,
    ratio_p99: Option<f64>,
    client_us: Percentiles,
    other_gateways: Others,
    /// Of one run, as its counts are of what is in them and what is not.
    #[serde(flatten)]
    stages: StageMeans,
    /// Distributions over all runs.
    curves_us: Curves,
    #[serde(skip_serializing_if = "Option::is_none")]
    group_sync_us: Option<Value>,
    /// Share of blocks final by first votes since the validators started, their mean.
    fast_path_fraction: Option<f64>,
    /// Windows that some validator stopped because nothing moved: the rest of such a window goes
    /// the slow path.
    windows_stopped: u64,
    spread: Spread,
    state_roots_equal: Option<bool>,
    logs_equal: Option<bool>,
    differences: Vec<String>,
    runs: Vec<Run>,
}

#[derive(Serialize)]
struct Fields {
    validators: u16,
    /// Whether the chain survives crashes only: too few validators for one that lies.
    crash_only: bool,
    stopped: u16,
    rate: u32,
    size: u32,
    seconds: u64,
    /// Seconds of load before the first run of each durability, in none of the figures.
    warm_up_seconds: u64,
    cores: usize,
    /// How commands prove whose they are: a signed one waits for its own check, too.
    auth: Auth,
    profile: Profile,
    /// What members of the floor do, without which a ratio to it says little.
    #[serde(skip_serializing_if = "Option::is_none")]
    floor: Option<FloorKind>,
    #[serde(flatten)]
    first: Figures,
    #[serde(skip_serializing_if = "Option::is_none")]
    sync: Option<Figures>,
}

/// Measures and reports.
///
/// # Errors
/// Options that cannot be, validators that do not start or end, sockets that the system refuses.
pub(crate) fn run(options: &Options) -> Result<Report, Failure> {
    options.check()?;
    options
        .histograms
        .as_deref()
        .map_or(Ok(()), curves::prepare)?;
    let interrupt = Interrupt::install()?;
    let began = SystemTime::now();
    let wanted = options.durability.all();
    let mut series = wanted
        .iter()
        .map(|durability| Series::start(options, *durability, &interrupt))
        .collect::<Result<Vec<_>, _>>()?;
    for run in 0..options.runs {
        for one in &mut series {
            one.run(options, &interrupt)?;
            one.tell(run + 1);
        }
    }
    if let Some(folder) = &options.histograms {
        for one in &series {
            let samples = one.runs.iter().map(|run| &run.samples);
            curves::write(folder, name(one.durability), began, samples)?;
        }
    }
    let mut figures = series
        .into_iter()
        .map(Series::conclude)
        .collect::<Result<Vec<_>, _>>()?
        .into_iter();
    let Some(first) = figures.next() else {
        return Err(Failure::new(Code::Safety, "nothing was measured").remedy("report this"));
    };
    let fields = Fields::of(options, first, figures.next());
    let all = || std::iter::once(&fields.first).chain(&fields.sync);
    let is_well = all().all(Figures::is_well);
    let text = all().map(Figures::text).collect::<Vec<_>>().join("\n\n");
    let code = verdict::code(is_well);
    Ok(Report::new(&fields, text)?.with_code(code))
}

impl Fields {
    fn of(options: &Options, first: Figures, sync: Option<Figures>) -> Self {
        Self {
            validators: options.validators,
            crash_only: options.validators < 4,
            stopped: options.stopped,
            rate: options.rate,
            size: options.size,
            seconds: options.seconds,
            warm_up_seconds: WARM_UP_SECONDS,
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            auth: AUTH,
            profile: options.profile.into(),
            floor: first.runs.first().map(|run| run.kind),
            first,
            sync,
        }
    }
}

/// A cluster and its runs so far.
struct Series {
    bed: Bed,
    durability: Durability,
    weights: Vec<u64>,
    fast: u64,
    runs: Vec<Run>,
    /// What is wrong with the load before the first run.
    of_warm_up: Vec<String>,
}

impl Series {
    fn start(
        options: &Options,
        durability: Durability,
        interrupt: &Interrupt,
    ) -> Result<Self, Failure> {
        let plan = options.cluster_plan(durability)?;
        let mut bed = Bed::start(&plan, options.dir.as_deref(), interrupt)?;
        bed.pause_last(usize::from(options.stopped))?;
        let warm_up = bed.drive(&options.load_plan(WARM_UP_SECONDS, 0), interrupt)?;
        let (weights, fast) = bed.stakes();
        Ok(Self {
            bed,
            durability,
            weights,
            fast,
            runs: Vec::new(),
            of_warm_up: verdict::of_warm_up(warm_up.missing, warm_up.counts.rejected),
        })
    }

    /// One floor and one load.
    fn run(&mut self, options: &Options, interrupt: &Interrupt) -> Result<(), Failure> {
        let began = SystemTime::now();
        let floor = measure(&FloorPlan {
            validators: options.validators,
            need: None,
            rate: Some(options.rate),
            command_bytes: options.size as usize,
            duration: Duration::from_secs(options.seconds),
            silent: options.stopped,
            is_plain: options.plain_floor,
            lingers: options.linger_floor,
        })?;
        // What was stamped before is of no use.
        self.bed.dumps()?;
        let seed = self.runs.len() as u64 + 1;
        let outcome = self
            .bed
            .drive(&options.load_plan(options.seconds, seed), interrupt)?;
        let (dumps, trips) = (self.bed.dumps()?, &outcome.trips);
        let found = attribute(&dumps, &self.weights, self.fast, outcome.start_ns, trips);
        let kind = FloorKind::of(&floor);
        let samples = Samples {
            began,
            seconds: options.seconds,
            floor: floor.latencies,
            finality: Latencies::of(&found.leader_ns),
            client: outcome.client.clone(),
        };
        let floor_us = (floor.floor_us, floor.floor_intended_us);
        let run = Run::new((floor_us, kind), &outcome, &found, samples);
        self.runs.push(run);
        Ok(())
    }

    fn tell(&self, run: u32) {
        if let Some(last) = self.runs.last() {
            progress(&format!(
                "run {run}, {}: floor p50 {} us, finality p50 {} us, ratio {}",
                name(self.durability),
                number(last.floor_us.p50),
                number(last.finality_us.p50),
                ratio(last.ratio_p50),
            ));
        }
    }

    fn conclude(self) -> Result<Figures, Failure> {
        let statuses = self.bed.statuses()?;
        let mut agreement = self.bed.conclude()?;
        agreement.differences.extend(self.of_warm_up);
        let runs = self.runs;
        let (threads, idle) = agreement::placement(&statuses);
        let group_sync_us = (self.durability == Durability::Sync).then(|| syncs(&statuses));
        let over = |part: fn(&Run) -> Percentiles| {
            Percentiles::medians(&runs.iter().map(part).collect::<Vec<_>>())
        };
        Ok(Figures {
            durability: name(self.durability),
            threads,
            idle,
            finality_us: over(|run| run.finality_us),
            floor_us: over(|run| run.floor_us),
            floor_intended_us: over(|run| run.floor_intended_us),
            ratio_p50: median(runs.iter().filter_map(|run| run.ratio_p50)),
            ratio_p99: median(runs.iter().filter_map(|run| run.ratio_p99)),
            client_us: over(|run| run.client_us),
            other_gateways: Others {
                commands: runs.iter().map(|run| run.other_gateways.commands).sum(),
                finality_us: over(|run| run.other_gateways.finality_us),
            },
            stages: StageMeans::middle(runs.iter().map(|run| &run.stages)),
            curves_us: Curves::of(runs.iter().map(|run| &run.samples)),
            group_sync_us,
            fast_path_fraction: agreement::fast_fraction(&statuses),
            windows_stopped: stops(&statuses),
            spread: Spread::of(&runs),
            state_roots_equal: agreement.state_roots_equal,
            logs_equal: agreement.logs_equal,
            differences: agreement.differences,
            runs,
        })
    }
}

impl Run {
    /// Whether nearly every command was sent, all that were have their results and stand in the
    /// figures, and there was one.
    const fn is_whole(&self) -> bool {
        let are_told = self.finalized > 0 && self.unknown == 0 && self.untold == 0;
        are_told && self.losses().are_few(self.offered)
    }

    const fn losses(&self) -> Losses {
        Losses {
            unsent: self.unsent,
            missing: self.missing,
            rejected: self.rejected,
        }
    }

    fn new(
        ((floor_us, floor_intended_us), kind): ((Percentiles, Percentiles), FloorKind),
        outcome: &Outcome,
        found: &Attribution,
        samples: Samples,
    ) -> Self {
        let finality_us = samples.finality.percentiles();
        let over = |this: Option<f64>, that: Option<f64>| Some(this? / that?);
        Self {
            commands: found.leader_ns.len() as u64,
            finality_us,
            floor_us,
            floor_intended_us,
            ratio_p50: over(finality_us.p50, floor_us.p50),
            ratio_p99: over(finality_us.p99, floor_us.p99),
            client_us: outcome.client.percentiles(),
            other_gateways: Others {
                commands: found.other_ns.len() as u64,
                finality_us: Latencies::of(&found.other_ns).percentiles(),
            },
            stages: StageMeans::of(found),
            unknown: found.unknown,
            untold: outcome.untold,
            offered: outcome.offered,
            unsent: outcome.offered.saturating_sub(outcome.counts.generated),
            finalized: outcome.counts.finalized,
            missing: outcome.missing,
            rejected: outcome.counts.rejected,
            kind,
            samples,
        }
    }
}

impl Spread {
    fn of(runs: &[Run]) -> Self {
        let range = |part: fn(&Run) -> Option<f64>| {
            let values = || runs.iter().filter_map(part);
            Some(Range {
                min: values().min_by(f64::total_cmp)?,
                max: values().max_by(f64::total_cmp)?,
            })
        };
        Self {
            ratio_p50: range(|run| run.ratio_p50),
            ratio_p99: range(|run| run.ratio_p99),
            finality_p50_us: range(|run| run.finality_us.p50),
            floor_p50_us: range(|run| run.floor_us.p50),
        }
    }
}

impl Figures {
    fn is_well(&self) -> bool {
        self.differences.is_empty() && self.runs.iter().all(Run::is_whole)
    }

    fn text(&self) -> String {
        let mut times = table(&["microseconds", "p50", "p90", "p99", "p99.9", "max"]);
        let kind = self.runs.first().map_or("-", |run| run.kind.words());
        let floor = format!("floor ({kind})");
        for (what, us) in [
            (floor.as_str(), &self.floor_us),
            ("finality, at the leader", &self.finality_us),
            ("finality, elsewhere", &self.other_gateways.finality_us),
            ("client, from the intended time", &self.client_us),
        ] {
            let cells = [us.p50, us.p90, us.p99, us.p999, us.max].map(number);
            times.add_row([vec![what.to_owned()], cells.to_vec()].concat());
        }
        let mut text = format!(
            "{}, {}, {}: ratio to the floor p50 {}, p99 {} (medians of {} runs), {} of blocks by the \
             fast path\n{times}\n{}",
            self.durability,
            self.threads,
            self.idle,
            ratio(self.ratio_p50),
            ratio(self.ratio_p99),
            self.runs.len(),
            percent(self.fast_path_fraction),
            stage_table::text(&self.stages),
        );
        let unknown: u64 = self.runs.iter().map(|run| run.unknown).sum();
        if unknown > 0 {
            text.push_str(&verdict::failed(format_args!(
                "{unknown} commands are in no figure of finality: the stamps of their blocks were \
                 not kept"
            )));
        }
        let untold: u64 = self.runs.iter().map(|run| run.untold).sum();
        if untold > 0 {
            text.push_str(&verdict::failed(format_args!(
                "{untold} commands are in no figure of finality: no validator told when they became \
                 final"
            )));
        }
        let lost = Losses::sum(self.runs.iter().map(Run::losses));
        text.push_str(&lost.text());
        text.push_str(&verdict::all_failed(&self.differences));
        text
    }
}

impl Options {
    /// # Errors
    /// Usage: so many stand still that nothing becomes final,
    /// or a run has more commands than is kept of one.
    fn check(&self) -> Result<(), Failure> {
        let commands = u64::from(self.rate).saturating_mul(self.seconds);
        if commands > COMMANDS_MAX {
            let what = format!(
                "--rate {} for --seconds {}: {commands} commands a run, {COMMANDS_MAX} are kept",
                self.rate, self.seconds
            );
            return Err(Failure::usage(what).remedy("measure for a shorter time, with more --runs"));
        }
        let stamps = self.stamps();
        if stamps > STAMPS_MAX as u64 {
            let what = format!(
                "--rate {} for --seconds {}: up to {stamps} stamps at each of {} validators, \
                 {STAMPS_MAX} are kept",
                self.rate, self.seconds, self.validators
            );
            return Err(Failure::usage(what).remedy("measure for a shorter time, with more --runs"));
        }
        let weights = vec![Stake::new(1); usize::from(self.validators)];
        let total = Stake::new(u64::from(self.validators));
        let fault = default_fault(&weights);
        let found = Thresholds::new(total, fault, default_slack(total, fault));
        let allowed = found.map_or(0, |found| {
            found.total.amount().saturating_sub(found.quorum.amount())
        });
        if u64::from(self.stopped) > allowed {
            let what = format!(
                "--stopped {}: of {} validators {allowed} may stand still",
                self.stopped, self.validators
            );
            return Err(Failure::usage(what).remedy("stop fewer, or measure with more validators"));
        }
        Ok(())
    }

    /// Stamps that a run may make at one validator.
    fn stamps(&self) -> u64 {
        let per_second = u64::from(self.rate).min(BLOCKS_PER_SECOND_MAX);
        let per_block = STAMPS_PER_BLOCK + u64::from(self.validators);
        per_second
            .saturating_mul(self.seconds)
            .saturating_mul(per_block)
            .saturating_add(STAMPS_SPARE)
    }

    fn cluster_plan(&self, durability: Durability) -> Result<Plan, Failure> {
        let validators = usize::from(self.validators);
        let stamps = usize::try_from(self.stamps()).unwrap_or(STAMPS_MAX);
        Ok(Plan {
            auth: AUTH,
            durability,
            profile: self.profile.into(),
            threads: self.threads.map(Into::into),
            idle: self.idle.map(Into::into),
            trace_stamps: stamps.min(STAMPS_MAX),
            ..Plan::of_equals(validators, free_base_port(validators)?)
        })
    }

    fn load_plan(&self, seconds: u64, seed: u64) -> LoadPlan {
        LoadPlan {
            // None begins at a validator that stands still.
            clients: u32::from(self.validators - self.stopped),
            seed,
            routing: Routing::Leader {
                aside_every: ASIDE_EVERY,
            },
            keeps_trips: true,
            ..LoadPlan::opaque(self.size as usize, self.rate.into(), seconds)
        }
    }
}

/// Windows stopped by a timer, at all validators together.
fn stops(statuses: &[Status]) -> u64 {
    let of = |status: &Value| status["faults"]["stops_timer"].as_u64();
    statuses.iter().flatten().filter_map(of).sum()
}

/// The validators' own summary of their syncs; of several that of the middle one.
fn syncs(statuses: &[Status]) -> Value {
    let summaries = statuses.iter().flatten().map(|status| &status["sync"]);
    let mut summaries: Vec<&Value> = summaries.collect();
    let p50 = |summary: &Value| summary["p50_us"].as_f64().unwrap_or(0.0);
    summaries.sort_by(|one, other| p50(one).total_cmp(&p50(other)));
    summaries
        .get(summaries.len() / 2)
        .map_or(Value::Null, |summary| (*summary).clone())
}

fn ratio(ratio: Option<f64>) -> String {
    ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}"))
}

#[cfg(test)]
#[path = "latency_tests.rs"]
mod tests;
