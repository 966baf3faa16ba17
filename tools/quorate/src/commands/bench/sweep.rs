//! `quorate bench sweep`: one cluster under a tenth to nine tenths of a rate, and what a command
//! costs at each: processor time, messages, latency.
//!
//! Owns the steps. What is full load is told, such as the rate that `bench throughput` found, and
//! not looked for. Never: judges whether cost grows.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use quorate_bench::load::{LoadPlan, Outcome, Routing};
use quorate_bench::report::per_second;
use quorate_bench::testnet::{Plan, free_base_port};
use serde::Serialize;

use super::bed::Bed;
use super::number;
use crate::agreement;
use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::output::{Report, progress, table};
use crate::plan::{AuthArg, DurabilityArg};
use crate::verdict::{self, Losses};

/// Shares of the full rate, percent.
const SHARES: [u64; 9] = [10, 20, 30, 40, 50, 60, 70, 80, 90];
/// Counts frames to peers and clients on the metrics page.
const FRAMES: &str = "quorate_frames_out_total";
/// How long the load runs before the first step, for caches and for log segments.
const WARM_UP_SECONDS: u64 = 1;

/// Options of the command.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Full load, commands a second: such as the rate that `bench throughput` found
    #[arg(long, default_value_t = 25_000)]
    #[arg(value_parser = clap::value_parser!(u64).range(10..=10_000_000))]
    rate: u64,
    /// Validators, each with weight 1
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(2..=64))]
    validators: u16,
    /// Bytes of a command
    #[arg(long, default_value_t = 512, value_parser = clap::value_parser!(u32).range(1..=65_000))]
    size: u32,
    /// Sessions that send
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=1_024))]
    clients: u32,
    /// How a command proves whose it is
    #[arg(long, value_enum, default_value = "session")]
    auth: AuthArg,
    /// What a vote must be before it leaves
    #[arg(long, value_enum, default_value = "async")]
    durability: DurabilityArg,
    /// How long each step takes
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    seconds: u64,
    /// Folder for the temporary folder of the cluster, such as one on the disk to be measured
    #[arg(long, value_name = "DIR")]
    pub(super) dir: Option<PathBuf>,
}

/// One step.
#[derive(Clone, Debug, Serialize)]
struct Step {
    /// Of the full rate, percent.
    load_percent: u64,
    /// Commands a second that were intended.
    rate: u64,
    throughput_per_s: f64,
    /// From the intended time to the result.
    p50_us: Option<f64>,
    p99_us: Option<f64>,
    /// Of all validators together.
    cpu_us_per_command: Option<f64>,
    /// Frames that all validators together sent, to peers and clients.
    messages_per_s: f64,
    messages_per_command: Option<f64>,
    /// Commands that were intended.
    offered: u64,
    /// Of these, the ones that were never handed over, and stand in no percentile.
    unsent: u64,
    /// Commands without a result, whether or not a validator took them.
    missing: u64,
    /// Commands refused for good.
    rejected: u64,
}

#[derive(Serialize)]
struct Fields {
    rate: u64,
    validators: u16,
    /// Whether the chain survives crashes only: too few validators for one that lies.
    crash_only: bool,
    size: u32,
    clients: u32,
    seconds: u64,
    /// Seconds of load before the first step, in none of the figures.
    warm_up_seconds: u64,
    durability: &'static str,
    auth: quorate::genesis::Auth,
    threads: String,
    idle: String,
    steps: Vec<Step>,
    state_roots_equal: Option<bool>,
    logs_equal: Option<bool>,
    differences: Vec<String>,
}

/// Measures and reports.
///
/// # Errors
/// Options that cannot be, validators that do not start or end, sockets that the system refuses.
pub(crate) fn run(options: &Options) -> Result<Report, Failure> {
    let interrupt = Interrupt::install()?;
    let mut bed = Bed::start(&options.cluster_plan()?, options.dir.as_deref(), &interrupt)?;
    let warm_up = options.load_plan(SHARES[0], WARM_UP_SECONDS);
    let warm_up = bed.drive(&warm_up, &interrupt)?;
    let mut steps = Vec::new();
    for percent in SHARES {
        let plan = options.load_plan(percent, options.seconds);
        let (cpu, frames) = (bed.cpu(), bed.counter(FRAMES)?);
        let outcome = bed.drive(&plan, &interrupt)?;
        let cpu = bed.cpu().saturating_sub(cpu);
        let frames = bed.counter(FRAMES)?.saturating_sub(frames);
        let step = Step::of(percent, plan.rate.get(), &outcome, cpu, frames);
        progress(&format!(
            "{percent} %: {:.0} finalized a second, p99 {} us, {} us of processor a command",
            step.throughput_per_s,
            number(step.p99_us),
            number(step.cpu_us_per_command),
        ));
        steps.push(step);
    }
    let statuses = bed.statuses()?;
    let (threads, idle) = agreement::placement(&statuses);
    let mut agreement = bed.conclude()?;
    let warm_up = verdict::of_warm_up(warm_up.missing, warm_up.counts.rejected);
    agreement.differences.extend(warm_up);
    let is_well = steps.iter().all(Step::is_whole) && agreement.differences.is_empty();
    let fields = Fields {
        rate: options.rate,
        validators: options.validators,
        crash_only: options.validators < 4,
        size: options.size,
        clients: options.clients,
        seconds: options.seconds,
        warm_up_seconds: WARM_UP_SECONDS,
        durability: super::name(options.durability.into()),
        auth: options.auth.into(),
        threads,
        idle,
        steps,
        state_roots_equal: agreement.state_roots_equal,
        logs_equal: agreement.logs_equal,
        differences: agreement.differences,
    };
    let text = fields.text();
    let code = verdict::code(is_well);
    Ok(Report::new(&fields, text)?.with_code(code))
}

impl Step {
    /// Whether nearly all was handed over, and all of that has its result.
    const fn is_whole(&self) -> bool {
        self.losses().are_few(self.offered)
    }

    const fn losses(&self) -> Losses {
        Losses {
            unsent: self.unsent,
            missing: self.missing,
            rejected: self.rejected,
        }
    }

    fn of(load_percent: u64, rate: u64, outcome: &Outcome, cpu: Duration, frames: u64) -> Self {
        let finalized = outcome.counts.finalized;
        #[expect(
            clippy::cast_precision_loss,
            reason = "counts of a run are far below 2^53"
        )]
        let per_command = |amount: f64| (finalized > 0).then(|| amount / finalized as f64);
        #[expect(
            clippy::cast_precision_loss,
            reason = "counts of a run are far below 2^53"
        )]
        let messages = frames as f64;
        let client = outcome.client.percentiles();
        Self {
            load_percent,
            rate,
            throughput_per_s: per_second(finalized, outcome.elapsed_ns),
            p50_us: client.p50,
            p99_us: client.p99,
            cpu_us_per_command: per_command(cpu.as_secs_f64() * 1e6),
            messages_per_s: per_second(frames, outcome.elapsed_ns),
            messages_per_command: per_command(messages),
            offered: outcome.offered,
            unsent: outcome.offered.saturating_sub(outcome.counts.generated),
            missing: outcome.missing,
            rejected: outcome.counts.rejected,
        }
    }
}

impl Fields {
    fn text(&self) -> String {
        let mut steps = table(&[
            "load",
            "finalized/s",
            "unsent",
            "p50 us",
            "p99 us",
            "cpu us/command",
            "messages/s",
            "messages/command",
        ]);
        for step in &self.steps {
            steps.add_row(vec![
                format!("{} %", step.load_percent),
                number(Some(step.throughput_per_s)),
                step.unsent.to_string(),
                number(step.p50_us),
                number(step.p99_us),
                number(step.cpu_us_per_command),
                number(Some(step.messages_per_s)),
                number(step.messages_per_command),
            ]);
        }
        let mut text = format!("{}, of {}/s\n{steps}", self.durability, self.rate);
        let lost = Losses::sum(self.steps.iter().map(Step::losses));
        text.push_str(&lost.text());
        text.push_str(&verdict::all_failed(&self.differences));
        text
    }
}

impl Options {
    fn cluster_plan(&self) -> Result<Plan, Failure> {
        let validators = usize::from(self.validators);
        Ok(Plan {
            auth: self.auth.into(),
            durability: self.durability.into(),
            ..Plan::of_equals(validators, free_base_port(validators)?)
        })
    }

    fn load_plan(&self, percent: u64, seconds: u64) -> LoadPlan {
        let rate = self.rate.saturating_mul(percent) / 100;
        LoadPlan {
            clients: self.clients,
            seed: percent,
            routing: Routing::Leader { aside_every: 0 },
            ..LoadPlan::opaque(self.size as usize, rate, seconds)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_bench::histogram::Latencies;
    use quorate_bench::load::Counts;

    #[test]
    fn a_step_of_which_much_was_never_handed_over_is_not_whole() {
        let step = |generated| {
            let outcome = Outcome {
                offered: 100,
                counts: Counts {
                    generated,
                    finalized: generated,
                    ..Counts::default()
                },
                elapsed_ns: 1,
                finality: Latencies::new(),
                client: Latencies::new(),
                height: 1,
                gateways_lost: 0,
                missing: 0,
                held: 0,
                reasons: Vec::new(),
                acknowledged: Vec::new(),
                trips: Vec::new(),
                untold: 0,
                waits: Vec::new(),
                start_ns: 0,
                is_interrupted: false,
            };
            Step::of(10, 100, &outcome, Duration::ZERO, 0)
        };
        assert!(step(100).is_whole());
        assert!(!step(60).is_whole());
        assert_eq!(step(60).unsent, 40);
    }
}
