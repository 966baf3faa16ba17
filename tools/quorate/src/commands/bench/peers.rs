//! `quorate bench peers`: other systems and Quorate, by turns on this machine, under the same
//! commands at the same intended times, measured at the client.
//!
//! Owns the turns and the numbers made of them. Each turn starts a cluster that has the machine to
//! itself, warms it up, and drives one load; every figure is the median over the turns. Never:
//! counts anything that only Quorate tells of itself.

mod contestant;
mod table;
mod workspace;

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use quorate_bench::histogram::{Percentiles, median};
use quorate_bench::load::{LoadPlan, Outcome, Routing};
use quorate_bench::report::per_second;
use serde::Serialize;

use super::{DurabilityChoice, number};
use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::output::{Report, progress};
use crate::verdict::{self, Losses};
use contestant::{Contestant, Lacking, Running};
use workspace::About;

/// Name of Quorate among the contestants.
const QUORATE: &str = "quorate";
/// How long a cluster is loaded before what counts.
const WARM_UP_SECONDS: u64 = 1;
/// How often that is done again where a command of it came to nothing.
const WARM_UPS_MORE: usize = 3;
/// A rate at which 99 in 100 clients wait longer is not borne, microseconds.
const P99_MAX_US: f64 = 50_000.0;
/// Rate of the search's first step, commands a second.
const SEARCH_FROM: u64 = 2_000;
/// Highest rate that is tried.
const SEARCH_TO: u64 = 1_024_000;
/// Loads at one rate before it counts as not borne.
const TRIES: u32 = 2;
/// Times that the rate is halved between one that is borne and one that is not.
const BISECTIONS: u32 = 2;

/// Options of the command.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Only this system (may be given several times): `quorate`, or the name of an adapter
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// How often each is measured, by turns
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    runs: u32,
    /// Commands a second, open loop
    #[arg(long, default_value_t = 1_000)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rate: u32,
    /// Bytes of a command
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..=65_000))]
    size: u32,
    /// What a vote, or what stands for it, must be before it counts
    #[arg(long, value_enum, default_value = "both")]
    durability: DurabilityChoice,
    /// How long each load takes
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    seconds: u64,
    /// Look for the highest rate that each bears with a p99 below 50 ms, too
    #[arg(long)]
    search: bool,
    /// The workspace of the adapters
    #[arg(long, value_name = "DIR", default_value = "bench/peers")]
    workspace: PathBuf,
    /// Folder for the temporary folders of the clusters, such as one on the disk to be measured
    #[arg(long, value_name = "DIR")]
    pub(super) dir: Option<PathBuf>,
}

/// One load.
#[derive(Clone, Debug, Serialize)]
struct Run {
    client_us: Percentiles,
    finalized: u64,
    /// Commands that were intended.
    offered: u64,
    /// Of these, the ones that were never handed over, and stand in no percentile.
    unsent: u64,
    /// Commands without a result, whether or not a node took them.
    missing: u64,
    /// Commands refused for good.
    rejected: u64,
    throughput_per_s: f64,
    /// Processor time of all nodes together.
    cpu_us_per_command: f64,
}

/// A load of the search.
#[derive(Clone, Debug, Serialize)]
struct Step {
    rate: u64,
    is_borne: bool,
    #[serde(flatten)]
    run: Run,
}

/// The least and the most of something over the runs.
#[derive(Clone, Copy, Debug, Serialize)]
struct Range {
    min: f64,
    max: f64,
}

/// What came of one contestant.
#[derive(Clone, Debug, Serialize)]
struct Figures {
    name: String,
    durability: &'static str,
    about: About,
    client_us: Percentiles,
    cpu_us_per_command: Option<f64>,
    spread_p50_us: Option<Range>,
    spread_p99_us: Option<Range>,
    /// Highest rate that was borne, where it was looked for; 0 when none was.
    #[serde(skip_serializing_if = "Option::is_none")]
    rate_borne: Option<u64>,
    runs: Vec<Run>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    steps: Vec<Step>,
    /// What is wrong with loads that stand in no figure, since they warmed a cluster up, and with a
    /// search that bore nothing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    differences: Vec<String>,
    /// Why it was not measured any further.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    failures: Vec<String>,
}

impl Figures {
    fn is_well(&self) -> bool {
        let has_none = self.failures.is_empty() && self.differences.is_empty();
        has_none && self.runs.iter().all(Run::is_whole)
    }
}

#[derive(Serialize)]
struct Fields {
    rate: u32,
    size: u32,
    seconds: u64,
    cores: usize,
    systems: Vec<Figures>,
    /// What was asked for and no system could be measured with.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    lacking: Vec<Lacking>,
}

/// Builds the adapters, measures and reports.
///
/// # Errors
/// The adapters cannot be built, nodes do not start or end, somebody interrupted.
pub(crate) fn run(options: &Options) -> Result<Report, Failure> {
    let mut all = contestant::quorate(options.durability.all());
    let others = options.only.iter().filter(|name| *name != QUORATE);
    let others: Vec<&str> = others.map(String::as_str).collect();
    let mut lacking = Vec::new();
    if options.only.is_empty() || !others.is_empty() {
        let adapters = workspace::build(&options.workspace, &others)?;
        let found = contestant::peers(adapters, options.durability.all());
        contestant::expect_some_of_each(&options.only, &found.0, &found.1)?;
        all.extend(found.0);
        lacking = found.1;
    }
    all.retain(|one| options.only.is_empty() || options.only.contains(&one.name));
    let interrupt = Interrupt::install()?;
    let mut bouts: Vec<Bout> = all.into_iter().map(Bout::new).collect();
    let is_interrupted = || interrupt.is_set();
    for turn in 1..=options.runs {
        for place in places(turn, bouts.len()) {
            bouts[place].attempt(&is_interrupted, |bout| bout.turn(turn, options, &interrupt))?;
        }
    }
    if options.search {
        for bout in &mut bouts {
            bout.attempt(&is_interrupted, |bout| bout.search(options, &interrupt))?;
        }
    }
    let fields = Fields {
        rate: options.rate,
        size: options.size,
        seconds: options.seconds,
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        systems: bouts.into_iter().map(Bout::conclude).collect(),
        lacking,
    };
    let is_well = fields.systems.iter().all(Figures::is_well);
    let text = table::text(&fields);
    let code = verdict::code(is_well);
    Ok(Report::new(&fields, text)?.with_code(code))
}

impl Options {
    fn load_plan(&self, rate: u64, seconds: u64, seed: u64) -> LoadPlan {
        LoadPlan {
            clients: contestant::VALIDATORS,
            seed,
            routing: Routing::Leader { aside_every: 0 },
            ..LoadPlan::opaque(self.size as usize, rate, seconds)
        }
    }

    fn folder(&self) -> Option<&Path> {
        self.dir.as_deref()
    }
}

/// A contestant and what was measured of it so far.
struct Bout {
    contestant: Contestant,
    runs: Vec<Run>,
    rate_borne: Option<u64>,
    steps: Vec<Step>,
    /// What is wrong with loads that warmed a cluster up.
    of_warm_ups: Vec<String>,
    /// Why it is not measured any further.
    failures: Vec<String>,
}

impl Bout {
    const fn new(contestant: Contestant) -> Self {
        Self {
            contestant,
            runs: Vec::new(),
            rate_borne: None,
            steps: Vec::new(),
            of_warm_ups: Vec::new(),
            failures: Vec::new(),
        }
    }

    /// Does something with the system unless it has failed before. That it fails is a result of
    /// its own, and takes nothing from those of the others; an interrupt ends all.
    fn attempt(
        &mut self,
        is_interrupted: &dyn Fn() -> bool,
        act: impl FnOnce(&mut Self) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        if !self.failures.is_empty() {
            return Ok(());
        }
        match act(self) {
            Err(failure) if !is_interrupted() => {
                progress(&format!("{}: {failure}", self.name()));
                self.failures.push(failure.to_string());
                Ok(())
            }
            done => done,
        }
    }

    fn name(&self) -> String {
        let durability = super::name(self.contestant.durability);
        format!("{}, {durability}", self.contestant.name)
    }

    /// A cluster, warmed up: its nodes may listen before one of them leads.
    fn start(&mut self, options: &Options, interrupt: &Interrupt) -> Result<Running, Failure> {
        let named = |failure: Failure| failure.detail(format!("measuring {}", self.name()));
        let started = self.contestant.start(options.folder(), interrupt);
        let mut running = started.map_err(named)?;
        let lost = warm_up(|seed| {
            let plan = options.load_plan(options.rate.into(), WARM_UP_SECONDS, seed);
            let outcome = running.drive(&plan, interrupt).map_err(named)?;
            let told = verdict::of_warm_up(outcome.missing, outcome.counts.rejected);
            for what in &told {
                progress(&format!("{}: {what}", self.name()));
            }
            Ok::<_, Failure>(told)
        })?;
        self.of_warm_ups.extend(lost);
        Ok(running)
    }

    fn turn(&mut self, turn: u32, options: &Options, interrupt: &Interrupt) -> Result<(), Failure> {
        let mut running = self.start(options, interrupt)?;
        let plan = options.load_plan(options.rate.into(), options.seconds, turn.into());
        let run = measure(&mut running, &plan, interrupt)?;
        running.stop()?;
        progress(&format!(
            "run {turn}, {}: client p50 {} us, p99 {} us",
            self.name(),
            number(run.client_us.p50),
            number(run.client_us.p99),
        ));
        self.runs.push(run);
        Ok(())
    }

    /// Doubles the rate until it is not borne, then halves the step.
    fn search(&mut self, options: &Options, interrupt: &Interrupt) -> Result<(), Failure> {
        let (mut borne, mut refused) = (0, SEARCH_FROM);
        while refused <= SEARCH_TO && self.bears(refused, options, interrupt)? {
            borne = refused;
            refused *= 2;
        }
        for _ in 0..BISECTIONS {
            let middle = u64::midpoint(borne, refused);
            if self.bears(middle, options, interrupt)? {
                borne = middle;
            } else {
                refused = middle;
            }
        }
        self.rate_borne = Some(borne);
        Ok(())
    }

    fn bears(
        &mut self,
        rate: u64,
        options: &Options,
        interrupt: &Interrupt,
    ) -> Result<bool, Failure> {
        for _ in 0..TRIES {
            // What the last step left unfinished is not to weigh on this one.
            let mut running = self.start(options, interrupt)?;
            let plan = options.load_plan(rate, options.seconds, 1);
            let run = measure(&mut running, &plan, interrupt)?;
            running.stop()?;
            let is_quick = run.client_us.p99.is_some_and(|us| us < P99_MAX_US);
            let is_borne = is_quick && run.is_whole();
            progress(&format!(
                "{}: {rate}/s: {:.0} finalized a second, p99 {} us: {}",
                self.name(),
                run.throughput_per_s,
                number(run.client_us.p99),
                if is_borne { "borne" } else { "not borne" },
            ));
            self.steps.push(Step {
                rate,
                is_borne,
                run,
            });
            if is_borne {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn conclude(self) -> Figures {
        let runs = self.runs;
        let mut differences = self.of_warm_ups;
        if self.rate_borne == Some(0) {
            differences.push("the search found no rate that was borne".to_owned());
        }
        let range = |part: fn(&Run) -> Option<f64>| {
            let values = || runs.iter().filter_map(part);
            Some(Range {
                min: values().min_by(f64::total_cmp)?,
                max: values().max_by(f64::total_cmp)?,
            })
        };
        let percentiles: Vec<Percentiles> = runs.iter().map(|run| run.client_us).collect();
        Figures {
            name: self.contestant.name,
            durability: super::name(self.contestant.durability),
            about: self.contestant.about,
            client_us: Percentiles::medians(&percentiles),
            cpu_us_per_command: median(runs.iter().map(|run| run.cpu_us_per_command)),
            spread_p50_us: range(|run| run.client_us.p50),
            spread_p99_us: range(|run| run.client_us.p99),
            rate_borne: self.rate_borne,
            runs,
            steps: self.steps,
            differences,
            failures: self.failures,
        }
    }
}

/// The contestants in the order of a turn, which is the opposite one in every second turn: who is
/// measured behind another finds what that one left, such as logs that the system still removes.
fn places(turn: u32, count: usize) -> Vec<usize> {
    let mut places: Vec<usize> = (0..count).collect();
    if turn.is_multiple_of(2) {
        places.reverse();
    }
    places
}

/// Loads a cluster until every command of a load has its result, a few times at most, each load
/// with sessions of its own. Returns what is wrong with the last one.
fn warm_up<E>(mut load: impl FnMut(u64) -> Result<Vec<String>, E>) -> Result<Vec<String>, E> {
    let mut lost = load(0)?;
    for seed in (0..u64::MAX).rev().take(WARM_UPS_MORE) {
        if lost.is_empty() {
            break;
        }
        lost = load(seed)?;
    }
    Ok(lost)
}

/// One load and the processor time that it cost.
fn measure(running: &mut Running, plan: &LoadPlan, interrupt: &Interrupt) -> Result<Run, Failure> {
    let before = running.cpu();
    let outcome = running.drive(plan, interrupt)?;
    Ok(Run::of(&outcome, running.cpu().saturating_sub(before)))
}

impl Run {
    /// Whether nearly all was handed over, and all of that has its result.
    const fn is_whole(&self) -> bool {
        self.finalized > 0 && self.losses().are_few(self.offered)
    }

    const fn losses(&self) -> Losses {
        Losses {
            unsent: self.unsent,
            missing: self.missing,
            rejected: self.rejected,
        }
    }

    fn of(outcome: &Outcome, cpu: Duration) -> Self {
        let finalized = outcome.counts.finalized;
        #[expect(
            clippy::cast_precision_loss,
            reason = "counts of a run are far below 2^53"
        )]
        let commands = finalized.max(1) as f64;
        Self {
            client_us: outcome.client.percentiles(),
            finalized,
            offered: outcome.offered,
            unsent: outcome.offered.saturating_sub(outcome.counts.generated),
            missing: outcome.missing,
            rejected: outcome.counts.rejected,
            throughput_per_s: per_second(finalized, outcome.elapsed_ns),
            cpu_us_per_command: cpu.as_secs_f64() * 1e6 / commands,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Code;
    use quorate::profiles::Durability;

    #[test]
    fn a_system_that_fails_keeps_what_was_measured_and_takes_nothing_from_others() {
        let mut contestants = contestant::quorate(&[Durability::Async]);
        let mut bout = Bout::new(contestants.remove(0));
        let fails = |_: &mut Bout| Err(Failure::new(Code::Safety, "a node died"));
        bout.attempt(&|| false, fails).unwrap();
        // Not tried again.
        bout.attempt(&|| false, |_| panic!("it was tried again"))
            .unwrap();
        let figures = bout.conclude();
        assert!(!figures.is_well());
        assert!(
            figures.failures[0].contains("a node died"),
            "{:?}",
            figures.failures
        );
        let mut contestants = contestant::quorate(&[Durability::Async]);
        let mut bout = Bout::new(contestants.remove(0));
        assert!(bout.attempt(&|| true, fails).is_err());
    }

    #[test]
    fn a_cluster_is_warmed_up_until_a_load_lost_nothing_and_a_few_times_at_most() {
        let warmed = |losing: usize| {
            let mut seeds = Vec::new();
            let lost = warm_up(|seed| {
                seeds.push(seed);
                let lost = seeds.len() <= losing;
                Ok::<_, Failure>(vec!["lost".to_owned(); usize::from(lost)])
            });
            let loads = seeds.len();
            seeds.sort_unstable();
            seeds.dedup();
            assert_eq!(seeds.len(), loads, "each has sessions of its own");
            (lost.unwrap(), loads)
        };
        assert_eq!(warmed(0), (Vec::new(), 1));
        assert_eq!(warmed(2), (Vec::new(), 3));
        assert_eq!(warmed(9), (vec!["lost".to_owned()], 1 + WARM_UPS_MORE));
        let mut contestants = contestant::quorate(&[Durability::Async]);
        let mut bout = Bout::new(contestants.remove(0));
        bout.of_warm_ups.push("lost".to_owned());
        assert!(!bout.conclude().is_well(), "what was lost is told");
    }

    #[test]
    fn every_second_turn_has_the_opposite_order() {
        let turns = [1, 2, 3].map(|turn| places(turn, 3));
        assert_eq!(turns, [[0, 1, 2], [2, 1, 0], [0, 1, 2]]);
    }

    #[test]
    fn a_search_that_bore_nothing_makes_the_answer_no_and_one_that_was_not_made_does_not() {
        let searched = |rate_borne| {
            let mut contestants = contestant::quorate(&[Durability::Async]);
            let mut bout = Bout::new(contestants.remove(0));
            bout.rate_borne = rate_borne;
            bout.conclude()
        };
        assert!(searched(None).is_well() && searched(Some(500)).is_well());
        let figures = searched(Some(0));
        assert!(!figures.is_well());
        assert!(figures.differences[0].contains("no rate that was borne"));
    }
}
