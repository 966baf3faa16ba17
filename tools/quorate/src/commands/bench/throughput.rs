//! `quorate bench throughput`: the highest open-loop rate that validators of this machine bear, and
//! what is reported at it.
//!
//! Owns the steps and the numbers made of them. A rate is borne when hardly anything was left
//! unsent, nothing unfinished, and 99 in 100 clients had their result within [`P99_MAX_US`] of the
//! intended time.
//! Beside each load a bare batch verifier is measured on the same cores. Never: compares figures of
//! different invocations.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use quorate::genesis::Auth;
use quorate::profiles::Durability;
use quorate_bench::histogram::median;
use quorate_bench::load::{LoadPlan, Outcome, Routing};
use quorate_bench::report::{Agreement, per_second};
use quorate_bench::testnet::{Plan, free_base_port};
use quorate_bench::verifier::{VerifierError, VerifierPlan, measure};
use serde::Serialize;

use super::bed::Bed;
use super::{DurabilityChoice, name, number};
use crate::agreement;
use crate::failure::{Code, Failure};
use crate::interrupt::Interrupt;
use crate::output::{Report, progress, table};
use crate::plan::AuthArg;
use crate::verdict::{self, Losses};

/// A rate at which 99 in 100 clients wait longer is not borne, microseconds.
const P99_MAX_US: f64 = 50_000.0;
/// Times that the rate is halved between one that is borne and one that is not.
const BISECTIONS: u32 = 3;
/// Loads at one rate before it counts as not borne.
const TRIES: u32 = 2;
/// Lowest rate that is tried, commands a second.
const RATE_MIN: u64 = 100;
/// Highest rate that is tried.
const RATE_MAX: u64 = 10_000_000;
/// What is taken off a rate that a step bore and the runs after it did not, as a divisor.
const STEP_BACK: u64 = 8;
/// How often a rate is taken back at most.
const STEPS_BACK_MAX: u32 = 4;

/// Options of the command.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// How a command proves whose it is
    #[arg(long, value_enum, default_value = "session")]
    auth: AuthArg,
    /// Bytes of a command
    #[arg(long, default_value_t = 512, value_parser = clap::value_parser!(u32).range(1..=65_000))]
    size: u32,
    /// Validators, each with weight 1
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(2..=64))]
    validators: u16,
    /// Sessions that send
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=1_024))]
    clients: u32,
    /// What a vote must be before it leaves
    #[arg(long, value_enum, default_value = "both")]
    durability: DurabilityChoice,
    /// Rate of the first step, commands a second
    #[arg(long, default_value_t = 25_000)]
    #[arg(value_parser = clap::value_parser!(u64).range(RATE_MIN..=RATE_MAX))]
    rate: u64,
    /// Highest rate that is tried, commands a second
    #[arg(long, default_value_t = RATE_MAX)]
    #[arg(value_parser = clap::value_parser!(u64).range(RATE_MIN..=RATE_MAX))]
    rate_max: u64,
    /// Loads at the rate that was found, each beside a bare verifier
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    runs: u32,
    /// How long each load takes
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    seconds: u64,
    /// Folder for the temporary folder of the cluster, such as one on the disk to be measured
    #[arg(long, value_name = "DIR")]
    pub(super) dir: Option<PathBuf>,
}

/// One load.
#[derive(Clone, Debug, Serialize)]
struct Step {
    rate: u64,
    throughput_per_s: f64,
    p99_us: Option<f64>,
    /// Commands that were intended.
    offered: u64,
    /// Of these, the ones that were never handed over, and stand in no percentile.
    unsent: u64,
    /// Commands without a result, whether or not a validator took them.
    missing: u64,
    /// Commands refused for good.
    rejected: u64,
    busy: u64,
    cpu_us_per_command: f64,
    is_borne: bool,
    /// Of a bare verifier right after it; none while the rate is looked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    verifier_rate_per_s: Option<f64>,
}

/// What came of one durability.
#[derive(Debug, Serialize)]
struct Figures {
    durability: &'static str,
    threads: String,
    idle: String,
    /// The rate that was borne; 0 when none was.
    rate: u64,
    throughput_per_s: Option<f64>,
    p99_us: Option<f64>,
    verifier_rate_per_s: Option<f64>,
    ratio_to_verifier: Option<f64>,
    cpu_us_per_command: Option<f64>,
    state_roots_equal: Option<bool>,
    logs_equal: Option<bool>,
    differences: Vec<String>,
    /// Every load whose rate was not kept, or that looked for it.
    steps: Vec<Step>,
    /// The loads at the rate that was borne; none when none was.
    runs: Vec<Step>,
}

#[derive(Serialize)]
struct Fields {
    auth: Auth,
    validators: u16,
    /// Whether the chain survives crashes only: too few validators for one that lies.
    crash_only: bool,
    size: u32,
    clients: u32,
    seconds: u64,
    cores: usize,
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
    if options.rate_max < options.rate {
        let what = format!("--rate-max {}: below --rate", options.rate_max);
        return Err(Failure::usage(what).remedy("choose a higher one"));
    }
    let interrupt = Interrupt::install()?;
    let mut figures = Vec::new();
    for durability in options.durability.all() {
        figures.push(Series::start(options, *durability, &interrupt)?.measure()?);
    }
    let mut figures = figures.into_iter();
    let Some(first) = figures.next() else {
        return Err(Failure::new(Code::Safety, "nothing was measured").remedy("report this"));
    };
    let fields = Fields {
        auth: options.auth.into(),
        validators: options.validators,
        crash_only: options.validators < 4,
        size: options.size,
        clients: options.clients,
        seconds: options.seconds,
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        first,
        sync: figures.next(),
    };
    let all = || std::iter::once(&fields.first).chain(&fields.sync);
    let is_well = all().all(Figures::is_well);
    let text = all().map(Figures::text).collect::<Vec<_>>().join("\n\n");
    let code = verdict::code(is_well);
    Ok(Report::new(&fields, text)?.with_code(code))
}

/// A cluster and its steps so far.
struct Series<'a> {
    bed: Bed,
    options: &'a Options,
    durability: Durability,
    interrupt: &'a Interrupt,
    steps: Vec<Step>,
}

impl<'a> Series<'a> {
    fn start(
        options: &'a Options,
        durability: Durability,
        interrupt: &'a Interrupt,
    ) -> Result<Self, Failure> {
        let plan = options.cluster_plan(durability)?;
        Ok(Self {
            bed: Bed::start(&plan, options.dir.as_deref(), interrupt)?,
            options,
            durability,
            interrupt,
            steps: Vec::new(),
        })
    }

    fn measure(mut self) -> Result<Figures, Failure> {
        let found = self.search()?;
        let runs = self.options.runs;
        let settled = settle(found, runs, |rate| self.run(rate))?;
        self.steps.extend(settled.refused);
        let statuses = self.bed.statuses()?;
        let agreement = self.bed.conclude()?;
        let placement = agreement::placement(&statuses);
        let name = name(self.durability);
        Ok(Figures::of(
            (name, placement),
            settled.rate,
            self.steps,
            settled.runs,
            agreement,
        ))
    }

    /// The highest rate that one step bore.
    fn search(&mut self) -> Result<u64, Failure> {
        let (mut borne, mut refused) = (0, None);
        let mut rate = self.options.rate;
        while refused.is_none() && rate <= self.options.rate_max {
            if self.step(rate)? {
                borne = rate;
                rate *= 2;
            } else {
                refused = Some(rate);
            }
        }
        let Some(mut refused) = refused else {
            return Ok(borne);
        };
        while borne == 0 && refused / 2 >= RATE_MIN {
            if self.step(refused / 2)? {
                borne = refused / 2;
            } else {
                refused /= 2;
            }
        }
        for _ in 0..BISECTIONS {
            let middle = u64::midpoint(borne, refused);
            if borne == 0 || middle == borne {
                break;
            }
            if self.step(middle)? {
                borne = middle;
            } else {
                refused = middle;
            }
        }
        Ok(borne)
    }

    /// Whether a rate is borne, at the second try at latest: one failure may be the machine's.
    fn step(&mut self, rate: u64) -> Result<bool, Failure> {
        for _ in 0..TRIES {
            let step = self.load(rate)?;
            let is_borne = step.is_borne;
            self.steps.push(step);
            if is_borne {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// A load, and a bare verifier after it, once the validators have nothing left to do.
    fn run(&mut self, rate: u64) -> Result<Step, Failure> {
        let mut step = self.load(rate)?;
        if !self.bed.settle()? {
            progress("the validators are still at work: no bare verifier beside this run");
            return Ok(step);
        }
        step.verifier_rate_per_s = Some(measure(&VerifierPlan {
            validators: usize::from(self.options.validators),
            sessions: self.options.sessions_at_leader(),
            command_bytes: self.options.size as usize,
            duration: Duration::from_secs(1),
        })?);
        Ok(step)
    }

    fn load(&mut self, rate: u64) -> Result<Step, Failure> {
        let plan = self.options.load_plan(rate, self.steps.len() as u64);
        let before = self.bed.cpu();
        let outcome = self.bed.drive(&plan, self.interrupt)?;
        let step = Step::of(rate, &outcome, self.bed.cpu().saturating_sub(before));
        progress(&format!(
            "{}: {rate}/s: {:.0} finalized a second, p99 {} us: {}",
            name(self.durability),
            step.throughput_per_s,
            number(step.p99_us),
            if step.is_borne { "borne" } else { "not borne" },
        ));
        Ok(step)
    }
}

/// What the runs at a rate came to.
#[derive(Debug)]
struct Settled {
    /// The rate that most of its runs bore; 0 when there is none.
    rate: u64,
    /// The runs at that rate; none when there is none.
    runs: Vec<Step>,
    /// Runs at rates that were not borne after all.
    refused: Vec<Step>,
}

/// Makes so many runs at a rate, and at a lower one where most do not bear it, a few times: one
/// short step may have been lucky.
fn settle<E>(
    found: u64,
    runs: u32,
    mut run: impl FnMut(u64) -> Result<Step, E>,
) -> Result<Settled, E> {
    let (mut rate, mut refused) = (found, Vec::new());
    for _ in 0..=STEPS_BACK_MAX {
        if rate < RATE_MIN {
            break;
        }
        let steps = (0..runs).map(|_| run(rate));
        let steps = steps.collect::<Result<Vec<_>, _>>()?;
        let borne = steps.iter().filter(|step| step.is_borne).count();
        if borne * 2 > steps.len() {
            return Ok(Settled {
                rate,
                runs: steps,
                refused,
            });
        }
        refused.extend(steps);
        rate -= rate / STEP_BACK;
    }
    Ok(Settled {
        rate: 0,
        runs: Vec::new(),
        refused,
    })
}

impl Step {
    fn of(rate: u64, outcome: &Outcome, cpu: Duration) -> Self {
        let finalized = outcome.counts.finalized;
        let unsent = outcome.offered.saturating_sub(outcome.counts.generated);
        let p99_us = outcome.client.percentiles().p99;
        // The last few may have been due in the moment in which the time was over.
        let is_sent = verdict::are_sent(unsent, outcome.offered);
        // Neither without a result nor refused.
        let is_whole = is_sent && finalized > 0 && finalized == outcome.counts.generated;
        #[expect(
            clippy::cast_precision_loss,
            reason = "counts of a run are far below 2^53"
        )]
        let commands = finalized.max(1) as f64;
        Self {
            rate,
            throughput_per_s: per_second(finalized, outcome.elapsed_ns),
            p99_us,
            offered: outcome.offered,
            unsent,
            missing: outcome.missing,
            rejected: outcome.counts.rejected,
            busy: outcome.counts.busy,
            cpu_us_per_command: cpu.as_secs_f64() * 1e6 / commands,
            is_borne: is_whole && p99_us.is_some_and(|us| us < P99_MAX_US),
            verifier_rate_per_s: None,
        }
    }

    const fn losses(&self) -> Losses {
        Losses {
            unsent: self.unsent,
            missing: self.missing,
            rejected: self.rejected,
        }
    }
}

impl Figures {
    /// Whether a rate was borne, and in the runs at it nearly all was handed over, and all of that
    /// has its result. A run that was slow alone takes nothing from that.
    fn is_well(&self) -> bool {
        let are_whole = |run: &Step| run.losses().are_few(run.offered);
        self.rate > 0 && self.differences.is_empty() && self.runs.iter().all(are_whole)
    }

    fn of(
        (durability, (threads, idle)): (&'static str, (String, String)),
        rate: u64,
        steps: Vec<Step>,
        runs: Vec<Step>,
        agreement: Agreement,
    ) -> Self {
        let over = |part: fn(&Step) -> Option<f64>| median(runs.iter().filter_map(part));
        let ratio = |run: &Step| Some(run.throughput_per_s / run.verifier_rate_per_s?);
        let mut differences = agreement.differences;
        if rate == 0 {
            differences.push("the search found no rate that was borne".to_owned());
        }
        Self {
            durability,
            threads,
            idle,
            rate,
            throughput_per_s: over(|run| Some(run.throughput_per_s)),
            p99_us: over(|run| run.p99_us),
            verifier_rate_per_s: over(|run| run.verifier_rate_per_s),
            ratio_to_verifier: over(ratio),
            cpu_us_per_command: over(|run| Some(run.cpu_us_per_command)),
            state_roots_equal: agreement.state_roots_equal,
            logs_equal: agreement.logs_equal,
            differences,
            steps,
            runs,
        }
    }

    fn text(&self) -> String {
        let mut facts = table(&["what", "value"]);
        for (what, value) in [
            ("finalized a second", self.throughput_per_s),
            ("p99 of clients, us", self.p99_us),
            ("bare verifier, commands a second", self.verifier_rate_per_s),
            ("processor time a command, us", self.cpu_us_per_command),
        ] {
            facts.add_row(vec![what.to_owned(), number(value)]);
        }
        let ratio = self
            .ratio_to_verifier
            .map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}"));
        facts.add_row(vec!["ratio to the verifier".to_owned(), ratio]);
        let mut text = format!(
            "{}, {}, {}: {}/s borne (medians of {} runs)\n{facts}",
            self.durability,
            self.threads,
            self.idle,
            self.rate,
            self.runs.len()
        );
        let lost = Losses::sum(self.runs.iter().map(Step::losses));
        text.push_str(&lost.text());
        text.push_str(&verdict::all_failed(&self.differences));
        text
    }
}

impl Options {
    fn cluster_plan(&self, durability: Durability) -> Result<Plan, Failure> {
        let validators = usize::from(self.validators);
        Ok(Plan {
            auth: self.auth.into(),
            durability,
            ..Plan::of_equals(validators, free_base_port(validators)?)
        })
    }

    /// Sessions that send at one time: those whose gateway leads. The verifier has as many keys,
    /// since a batch costs less the fewer keys are in it.
    fn sessions_at_leader(&self) -> u32 {
        self.clients.div_ceil(u32::from(self.validators.max(1)))
    }

    fn load_plan(&self, rate: u64, seed: u64) -> LoadPlan {
        LoadPlan {
            clients: self.clients,
            seed,
            routing: Routing::Leader { aside_every: 0 },
            ..LoadPlan::opaque(self.size as usize, rate, self.seconds)
        }
    }
}

impl From<VerifierError> for Failure {
    fn from(error: VerifierError) -> Self {
        Self::new(Code::No, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_bench::histogram::Latencies;
    use quorate_bench::load::Counts;
    use quorate_bench::page::{Heading, Inputs, Kind, render};
    use std::convert::Infallible;

    fn outcome(generated: u64, finalized: u64) -> Outcome {
        Outcome {
            offered: generated,
            counts: Counts {
                generated,
                accepted: finalized,
                finalized,
                ..Counts::default()
            },
            elapsed_ns: 1_000_000_000,
            finality: Latencies::new(),
            client: Latencies::of(&vec![1_000; usize::try_from(finalized).unwrap()]),
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
        }
    }

    fn step(rate: u64, is_borne: bool) -> Step {
        let finalized = if is_borne { 100 } else { 90 };
        Step::of(rate, &outcome(100, finalized), Duration::ZERO)
    }

    #[test]
    fn a_rate_is_not_borne_when_commands_came_to_nothing() {
        assert!(step(1_000, true).is_borne);
        assert!(!step(1_000, false).is_borne, "10 of 100 were lost");
    }

    fn figures(runs: Vec<Step>) -> Figures {
        let placement = ("shared".to_owned(), "park".to_owned());
        let agreement = Agreement {
            differences: Vec::new(),
            ..Agreement::default()
        };
        Figures::of(("async", placement), 1_000, Vec::new(), runs, agreement)
    }

    #[test]
    fn commands_that_came_to_nothing_in_a_run_that_is_kept_make_the_answer_no_and_are_told() {
        let well = || step(1_000, true);
        let mut slow = well();
        slow.is_borne = false;
        assert!(figures(vec![well(), slow, well()]).is_well());
        for (lost, told) in [
            ((7, 0, 0), "FAILED: 7 commands came to no result"),
            ((0, 7, 0), "FAILED: 7 commands were refused"),
            ((0, 0, 7), "7 commands were never handed over"),
        ] {
            let mut run = well();
            (run.missing, run.rejected, run.unsent) = lost;
            let figures = figures(vec![well(), run, well()]);
            assert!(!figures.is_well(), "{told}");
            let text = figures.text();
            assert!(text.contains(told), "{told} is missing in\n{text}");
        }
    }

    #[test]
    fn a_search_that_bore_nothing_says_so_in_the_text_and_on_the_page() {
        let placement = ("shared".to_owned(), "park".to_owned());
        let steps = vec![step(1_000, false)];
        let found = Figures::of(
            ("async", placement),
            0,
            steps,
            Vec::new(),
            Agreement::default(),
        );
        assert!(!found.is_well());
        let told = "the search found no rate that was borne";
        let text = found.text();
        assert!(text.contains(&format!("FAILED: {told}")), "{text}");
        let mut inputs = Inputs::default();
        let printed = serde_json::to_value(found).unwrap();
        assert_eq!(inputs.take("a.json", printed), Ok(Kind::Throughput));
        assert!(render(&inputs, Heading::default()).contains(&format!("<li>{told}</li>")));
    }

    #[test]
    fn what_was_never_handed_over_stands_on_the_page() {
        let mut run = step(1_000, true);
        (run.offered, run.unsent) = (10_000, 4_321);
        let printed = serde_json::to_value(figures(vec![run])).unwrap();
        let mut inputs = Inputs::default();
        assert_eq!(inputs.take("a.json", printed), Ok(Kind::Throughput));
        let html = render(&inputs, Heading::default());
        assert!(html.contains("never handed over, and stand in no percentile: 4,321"));
    }

    #[test]
    fn a_rate_that_no_runs_bore_is_none_and_their_figures_are_not_reported() {
        let mut tried = Vec::new();
        let refuse = |rate| {
            tried.push(rate);
            Ok::<_, Infallible>(step(rate, false))
        };
        let settled = settle(8_000, 3, refuse).unwrap();
        assert_eq!((settled.rate, settled.runs.len()), (0, 0));
        assert_eq!(settled.refused.len(), 3 * (STEPS_BACK_MAX as usize + 1));
        tried.dedup();
        assert_eq!(tried, [8_000, 7_000, 6_125, 5_360, 4_690]);
        let too_low = settle(RATE_MIN - 1, 3, |rate| {
            Ok::<_, Infallible>(step(rate, true))
        });
        assert_eq!(too_low.unwrap().rate, 0);
    }

    #[test]
    fn the_rate_is_one_at_which_most_runs_were_borne() {
        let mut count = 0;
        let settled = settle(8_000, 3, |rate| {
            count += 1;
            // One of three at the first rate, two of three at the second.
            Ok::<_, Infallible>(step(rate, [1, 4, 6].contains(&count)))
        });
        let settled = settled.unwrap();
        assert_eq!((settled.rate, settled.runs.len()), (7_000, 3));
        assert_eq!(settled.refused.len(), 3);
        assert!(settled.runs.iter().all(|run| run.rate == 7_000));
    }
}
