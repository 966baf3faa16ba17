//! `quorate bench snapshot`: what clients and the application notice while snapshots of a long
//! state are taken, against the time between them in the same run.
//!
//! Owns the run and the numbers made of it. When a snapshot is being taken is seen from outside, in
//! the validators' folders; how long the application stood is joined of the validators' stamps.
//! Never: judges a time.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use quorate::config::SnapshotConfig;
use quorate::trace::{Dump, STAMPS_MAX};
use quorate_bench::load::{LoadPlan, Outcome, machine_ns};
use quorate_bench::snapshots::{Pause, Span, Watch, between, is_in, pauses, unstamped};
use quorate_bench::testnet::{Workload, free_base_port};
use serde::Serialize;

use super::bed::Bed;
use super::failover::Milliseconds;
use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::output::{Report, progress, table};
use crate::plan::{ClusterOptions, DurabilityArg, IdleArg, ProfileArg, ThreadsArg};
use crate::verdict;

/// Bytes of a command.
const COMMAND_BYTES: usize = 128;
/// Sessions of the load.
const CLIENTS: u32 = 8;
/// Stamps that a command with a block of its own leaves at a validator, at most, but for those by
/// validators: of that block, and of one that settles it. At a low rate no two share a block.
const STAMPS_PER_COMMAND: u64 = 40;
/// What each validator adds to these: votes that come from it and go to it.
const STAMPS_PER_VALIDATOR: u64 = 4;
/// Stamps of blocks without commands: before the load, after it, and in gaps.
const STAMPS_SPARE: u64 = 1 << 16;
/// What to do where the stamps of the run are more than are kept.
const SHORTER: &str = ": measure for a shorter time, or at a lower rate";
/// What the application may stand at most for a snapshot.
const PAUSE_NS_MAX: u64 = 5_000_000;
/// With fewer results than these there is no p99 to compare.
const RESULTS_MIN: u64 = 100;
/// Snapshots that a validator keeps.
const KEPT: usize = 1;

/// Options of the command.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Length of the application's state, MiB
    #[arg(long, default_value_t = 1_024)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=16_384))]
    state_mib: u32,
    /// Validators, each with weight 1
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(4..=64))]
    validators: u16,
    /// Commands a second, open loop
    #[arg(long, default_value_t = 500)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rate: u32,
    /// How long, seconds
    #[arg(long, default_value_t = 120, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: u64,
    /// At which heights a snapshot is taken: multiples of this, itself one of 64
    #[arg(long, default_value_t = 16_384)]
    #[arg(value_parser = clap::value_parser!(u64).range(64..))]
    every_heights: u64,
    /// What a vote must be before it leaves
    #[arg(long, value_enum, default_value = "async")]
    durability: DurabilityArg,
    /// Whose timers; threads and idling are those that fit a machine which all validators share
    #[arg(long, value_enum, default_value = "colo")]
    profile: ProfileArg,
    /// A thread a stage, one for all, or whichever fits the cores
    #[arg(long, value_enum, default_value = "shared")]
    threads: ThreadsArg,
    /// What a thread does that has nothing to do
    #[arg(long, value_enum, default_value = "linger")]
    idle: IdleArg,
    /// Folder for the temporary folder of the cluster, such as one on the disk to be measured
    #[arg(long, value_name = "DIR")]
    pub(super) dir: Option<PathBuf>,
}

/// What was seen in a part of the run.
#[derive(Clone, Debug, Default, Serialize)]
struct Seen {
    seconds: f64,
    results: u64,
    /// From a command's intended time to its result.
    client_ms: Milliseconds,
    /// From the gateway's receipt to finality there.
    finality_ms: Milliseconds,
    /// The longest time between two results of any commands.
    gap_ms: f64,
    /// From when a block was final and those below it executed to its own execution's end, over
    /// all validators.
    pause_ms: Milliseconds,
    /// Blocks of which that was more than 5 ms, and of how many.
    pauses_long: u64,
    blocks: u64,
    /// The execution alone.
    execution_ms: Milliseconds,
}

#[derive(Default, Serialize)]
struct Fields {
    validators: u16,
    state_mib: u32,
    rate: u32,
    seconds: u64,
    every_heights: u64,
    durability: &'static str,
    threads: String,
    /// Snapshots that were taken, over all validators, and those that were begun and not ended.
    snapshots: u64,
    unended: u64,
    /// Bytes of the data of the largest one.
    snapshot_bytes: u64,
    /// Writing the data of one, reading it back and restoring it, at a validator.
    take_ms: Milliseconds,
    /// While a snapshot was being taken at any validator.
    during: Seen,
    /// Between them.
    between: Seen,
    /// Commands that came to no result, and those that were never handed over.
    missing: u64,
    unsent: u64,
    /// Commands with a result that are in no figure, since no gateway told when they became final.
    untold: u64,
    /// Executed blocks that are in no figure, since their stamps went for newer ones, over all
    /// validators.
    unstamped: u64,
    /// The most memory that a validator had, mapped files included, and what of it is its own at
    /// the end; the largest of all validators.
    memory_peak_bytes: u64,
    memory_own_bytes: u64,
    /// From a validator's start with its newest snapshot until it voted; none when there was none.
    start_ms: Option<f64>,
    alarms: u64,
    state_roots_equal: Option<bool>,
    logs_equal: Option<bool>,
    differences: Vec<String>,
}

/// Runs it.
///
/// # Errors
/// The validators do not start, the load does not run, or somebody interrupts.
pub(crate) fn run(options: &Options) -> Result<Report, Failure> {
    let interrupt = Interrupt::install()?;
    if !options.every_heights.is_multiple_of(64) {
        let what = format!(
            "--every-heights {}: no multiple of 64",
            options.every_heights
        );
        return Err(Failure::usage(what).remedy("choose one"));
    }
    let mut bed = options.start(&interrupt)?;
    let folders = bed.data_folders()?;
    let mut watch = Watch::new(folders.iter().map(|data| data.join("snapshots")).collect());
    progress("the validators are up");
    let plan = options.load_plan();
    let outcome =
        bed.drive_watched(&plan, &interrupt, || watch.look(machine_ns(Instant::now())))?;
    let dumps = bed.dumps()?;
    let (peak, own) = (bed.memory("VmHWM"), bed.memory("RssAnon"));
    let alarms = bed.counter("quorate_alarms_total")?;
    let (during, rest) = seen(&watch, &outcome, &dumps);
    let unstamped = (blind(&outcome, &dumps), options.advice());
    let taken = watch
        .takings()
        .values()
        .filter(|one| one.taken_ns.is_some());
    let snapshots = taken.count() as u64;
    // What was measured is told also where the start fails.
    let mut start_failed = None;
    let mut start_ms = None;
    if snapshots > 0 {
        progress("one validator starts again");
        match bed.restart(0) {
            Ok(took) => start_ms = Some(took.as_secs_f64() * 1e3),
            Err(failure) => start_failed = Some(failure.to_string()),
        }
    }
    let mut agreement = bed.conclude()?;
    let differences = &mut agreement.differences;
    differences.extend(start_failed);
    differences.extend(failings(&outcome, snapshots, alarms, unstamped));
    differences.extend(uncompared(snapshots, &during, &rest));
    let fields = Fields {
        snapshots,
        unended: watch.takings().len() as u64 - snapshots,
        snapshot_bytes: watch
            .takings()
            .values()
            .map(|one| one.bytes)
            .max()
            .unwrap_or(0),
        take_ms: Milliseconds::of(watch.lengths_ns()),
        during,
        between: rest,
        missing: outcome.missing,
        unsent: unsent(&outcome),
        untold: outcome.untold,
        unstamped: unstamped.0,
        memory_peak_bytes: peak.into_iter().max().unwrap_or(0),
        memory_own_bytes: own.into_iter().max().unwrap_or(0),
        start_ms,
        alarms,
        state_roots_equal: agreement.state_roots_equal,
        logs_equal: agreement.logs_equal,
        differences: agreement.differences,
        ..Fields::new(options)
    };
    let code = verdict::code(fields.differences.is_empty());
    let text = fields.text();
    Ok(Report::new(&fields, text)?.with_code(code))
}

/// What makes that the run counts for nothing. Beside what clients saw stand the alarms of all
/// validators, and the executed blocks whose stamps are gone, with what to do about these.
fn failings(
    outcome: &Outcome,
    snapshots: u64,
    alarms: u64,
    (unstamped, advice): (u64, &str),
) -> Vec<String> {
    let unsent = unsent(outcome);
    let unsent = match verdict::are_sent(unsent, outcome.offered) {
        true => 0,
        false => unsent,
    };
    let counts = [
        (outcome.missing, "commands came to no result"),
        (outcome.counts.rejected, "commands were refused for good"),
        (unsent, "commands were never handed over"),
        (
            outcome.untold,
            "commands are in no figure, since no gateway told when they became final",
        ),
        (alarms, "alarms of validators"),
        (
            unstamped,
            "executed blocks are in no figure, since their stamps went for newer ones",
        ),
    ];
    let counts = counts.into_iter().filter(|(count, _)| *count > 0);
    let mut found: Vec<String> = counts
        .map(|(count, what)| format!("{count} {what}"))
        .collect();
    if unstamped > 0
        && let Some(last) = found.last_mut()
    {
        last.push_str(advice);
    }
    if snapshots == 0 {
        found.push("no snapshot was taken: nothing was measured".to_owned());
    }
    found
}

/// Parts of the run of which hardly a result is known, so that there is nothing to compare.
fn uncompared(snapshots: u64, during: &Seen, between: &Seen) -> Vec<String> {
    let parts = [("while snapshots were taken", during), ("between", between)];
    let few = parts
        .into_iter()
        .filter(|(_, seen)| snapshots > 0 && seen.results < RESULTS_MIN);
    few.map(|(part, seen)| format!("{} results {part}: too few to compare", seen.results))
        .collect()
}

const fn unsent(outcome: &Outcome) -> u64 {
    outcome.offered.saturating_sub(outcome.counts.generated)
}

/// Blocks with results that validators executed, and of which no pause is known.
fn blind(outcome: &Outcome, dumps: &[Dump]) -> u64 {
    let heights = || outcome.trips.iter().map(|trip| trip.height);
    let (Some(first), Some(last)) = (heights().min(), heights().max()) else {
        return 0;
    };
    dumps.iter().map(|dump| unstamped(dump, first..=last)).sum()
}

/// What was seen while snapshots were being taken, and between them.
fn seen(watch: &Watch, outcome: &Outcome, dumps: &[Dump]) -> (Seen, Seen) {
    let start_ns = outcome.start_ns;
    let results = || outcome.trips.iter().map(|trip| start_ns + trip.result_ns);
    let whole = Span {
        from_ns: results().min().unwrap_or(start_ns),
        until_ns: results().max().unwrap_or(start_ns),
    };
    let spans = watch.spans(&outcome.trips, start_ns, whole.until_ns);
    let rest = between(whole, &spans);
    let spans: Vec<Span> = between(whole, &rest);
    let pauses: Vec<Pause> = dumps.iter().flat_map(pauses).collect();
    let of = |spans: &[Span]| Seen::of(spans, outcome, &pauses);
    (of(&spans), of(&rest))
}

impl Seen {
    fn of(spans: &[Span], outcome: &Outcome, pauses: &[Pause]) -> Self {
        let start_ns = outcome.start_ns;
        let trips = outcome.trips.iter();
        let trips: Vec<_> = trips
            .filter(|trip| is_in(spans, start_ns + trip.result_ns))
            .collect();
        let waits = trips.iter().map(|trip| trip.result_ns - trip.intended_ns);
        let pauses: Vec<_> = pauses
            .iter()
            .filter(|one| is_in(spans, one.at_ns))
            .collect();
        let length_ns: u64 = spans.iter().map(|span| span.length_ns()).sum();
        Self {
            seconds: Duration::from_nanos(length_ns).as_secs_f64(),
            results: trips.len() as u64,
            client_ms: Milliseconds::of(waits.collect()),
            finality_ms: Milliseconds::of(trips.iter().map(|trip| trip.finality_ns).collect()),
            gap_ms: Duration::from_nanos(gap_ns(spans, outcome)).as_secs_f64() * 1e3,
            pause_ms: Milliseconds::of(pauses.iter().map(|one| one.pause_ns).collect()),
            pauses_long: pauses
                .iter()
                .filter(|one| one.pause_ns > PAUSE_NS_MAX)
                .count() as u64,
            blocks: pauses.len() as u64,
            execution_ms: Milliseconds::of(pauses.iter().map(|one| one.execution_ns).collect()),
        }
    }

    fn row(&self, name: &str) -> Vec<String> {
        vec![
            name.to_owned(),
            format!("{:.1}", self.seconds),
            self.results.to_string(),
            self.client_ms.text(),
            self.finality_ms.text(),
            format!("{:.1}", self.gap_ms),
            self.pause_ms.text(),
            format!("{} of {}", self.pauses_long, self.blocks),
            self.execution_ms.text(),
        ]
    }
}

/// The longest time between two results that ended in one of the spans.
fn gap_ns(spans: &[Span], outcome: &Outcome) -> u64 {
    let mut results: Vec<u64> = outcome.trips.iter().map(|trip| trip.result_ns).collect();
    results.sort_unstable();
    let gaps = results.array_windows::<2>();
    gaps.filter(|[_, after]| is_in(spans, outcome.start_ns + after))
        .map(|[before, after]| after - before)
        .max()
        .unwrap_or(0)
}

impl Fields {
    /// Of a run that has not been.
    fn new(options: &Options) -> Self {
        Self {
            validators: options.validators,
            state_mib: options.state_mib,
            rate: options.rate,
            seconds: options.seconds,
            every_heights: options.every_heights,
            durability: super::name(options.durability.into()),
            threads: format!("{:?}", options.threads).to_lowercase(),
            ..Self::default()
        }
    }

    fn text(&self) -> String {
        let mut parts = table(&[
            "",
            "seconds",
            "results",
            "client, ms: p50, p99, max",
            "finality, ms",
            "nothing final, ms",
            "application stood, ms",
            "above 5 ms",
            "execution, ms",
        ]);
        parts.add_row(self.during.row("while snapshots are taken"));
        parts.add_row(self.between.row("between them"));
        format!(
            "a state of {} MiB at {} validators: {} snapshots of {} MiB, {} not ended\n{parts}\n\
             writing one, reading it back and restoring it took {} ms (p50, p99, max)\n\
             memory of a validator at most {} MiB, of it its own at the end {} MiB; a start with \
             the newest snapshot took {} ms; {} alarms{}",
            self.state_mib,
            self.validators,
            self.snapshots,
            self.snapshot_bytes >> 20,
            self.unended,
            self.take_ms.text(),
            self.memory_peak_bytes >> 20,
            self.memory_own_bytes >> 20,
            self.start_ms
                .map_or_else(|| "-".to_owned(), |ms| format!("{ms:.0}")),
            self.alarms,
            verdict::all_failed(&self.differences),
        )
    }
}

impl Options {
    fn start(&self, interrupt: &Interrupt) -> Result<Bed, Failure> {
        let cluster = ClusterOptions {
            profile: self.profile,
            threads: Some(self.threads),
            idle: Some(self.idle),
            ..ClusterOptions::opaque(usize::from(self.validators), self.durability)
        };
        let base_port = free_base_port(usize::from(self.validators))?;
        let mut plan = cluster.plan(base_port)?;
        plan.workload = Workload::Pages {
            state_mib: self.state_mib,
        };
        plan.trace_stamps =
            usize::try_from(self.stamps()).map_or(STAMPS_MAX, |stamps| stamps.min(STAMPS_MAX));
        let snapshots = SnapshotConfig {
            every_heights: self.every_heights,
            keep: KEPT,
        };
        Bed::start_with(&plan, Some(&snapshots), self.dir.as_deref(), interrupt)
    }

    /// Stamps that the run leaves at a validator, at most.
    fn stamps(&self) -> u64 {
        let per_command = STAMPS_PER_COMMAND + STAMPS_PER_VALIDATOR * u64::from(self.validators);
        let commands = u64::from(self.rate).saturating_mul(self.seconds);
        commands
            .saturating_mul(per_command)
            .saturating_add(STAMPS_SPARE)
    }

    /// Whether a validator keeps fewer than that.
    fn is_clipped(&self) -> bool {
        self.stamps() > STAMPS_MAX as u64
    }

    /// What to do where stamps are gone; nothing where a shorter run would keep no more of its own.
    fn advice(&self) -> &'static str {
        if self.is_clipped() { SHORTER } else { "" }
    }

    fn load_plan(&self) -> LoadPlan {
        LoadPlan {
            clients: CLIENTS,
            keeps_trips: true,
            ..LoadPlan::opaque(COMMAND_BYTES, self.rate.into(), self.seconds)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::FromArgMatches as _;
    use quorate::trace::{Moment, Stamp};
    use quorate_bench::histogram::Latencies;
    use quorate_bench::load::{Counts, Trip};

    fn outcome() -> Outcome {
        Outcome {
            offered: 1_000,
            counts: Counts {
                generated: 1_000,
                ..Counts::default()
            },
            elapsed_ns: 1,
            finality: Latencies::new(),
            client: Latencies::new(),
            height: 9,
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

    #[test]
    fn each_thing_that_is_in_no_figure_and_each_alarm_makes_the_answer_no() {
        let mut last_few = outcome();
        last_few.counts.generated = 999;
        for well in [outcome(), last_few] {
            assert_eq!(failings(&well, 1, 0, (0, "")), Vec::<String>::new());
        }
        let spoiled: [fn(&mut Outcome); 4] = [
            |outcome| outcome.missing = 7,
            |outcome| outcome.counts.rejected = 7,
            |outcome| outcome.untold = 7,
            |outcome| outcome.counts.generated = 993,
        ];
        for spoil in spoiled {
            let mut spoiled = outcome();
            spoil(&mut spoiled);
            let found = failings(&spoiled, 1, 0, (0, ""));
            assert!(
                found.len() == 1 && found[0].starts_with("7 commands"),
                "{found:?}"
            );
        }
        assert_eq!(
            failings(&outcome(), 1, 2, (0, "")),
            ["2 alarms of validators"]
        );
        let found = |advice| failings(&outcome(), 1, 0, (5, advice)).concat();
        assert!(found("").starts_with("5 executed blocks are in no figure"));
        assert_eq!(found(SHORTER), found("") + SHORTER);
        assert_eq!(failings(&outcome(), 0, 0, (0, "")).len(), 1);
    }

    #[test]
    fn a_part_of_the_run_with_hardly_a_result_is_none_to_compare_with() {
        let seen = |results| Seen {
            results,
            ..Seen::default()
        };
        let found = |during, between| uncompared(1, &seen(during), &seen(between));
        assert_eq!(found(100, 100), Vec::<String>::new());
        assert_eq!(found(100, 64), ["64 results between: too few to compare"]);
        assert_eq!(found(0, 0).len(), 2);
        // Where none was taken that is said.
        assert!(uncompared(0, &seen(0), &seen(100)).is_empty());
    }

    fn options(arguments: &[&str]) -> Options {
        let command = Options::augment_args(clap::Command::new("snapshot"));
        let arguments = ["snapshot"].iter().chain(arguments);
        let matches = command.get_matches_from(arguments);
        Options::from_arg_matches(&matches).unwrap()
    }

    #[test]
    fn all_stamps_of_a_run_as_it_is_by_default_are_kept_though_each_command_has_its_block() {
        let by_default = options(&[]);
        assert!(!by_default.is_clipped());
        assert_eq!(by_default.advice(), "");
        let commands = u64::from(by_default.rate) * by_default.seconds;
        // At four validators a block with one command took 39 at most, and at more two each.
        for (validators, least) in [("4", 39), ("7", 45), ("64", 159)] {
            let stamps = options(&["--validators", validators]).stamps();
            assert!(stamps > commands * least, "{validators}: {stamps}");
        }
        assert_eq!(options(&["--seconds", "240"]).advice(), SHORTER);
        assert!(options(&["--rate", "100000", "--seconds", "86400"]).is_clipped());
        assert!(!options(&["--rate", "100", "--validators", "64"]).is_clipped());
    }

    #[test]
    fn blocks_of_the_load_whose_stamps_are_gone_are_counted_at_every_validator() {
        let mut outcome = outcome();
        assert_eq!(
            blind(&outcome, &[Dump::default()]),
            0,
            "no block of the load"
        );
        outcome.trips = [4, 6]
            .map(|height| Trip {
                gateway: 0,
                height,
                intended_ns: 0,
                result_ns: 1,
                finality_ns: 1,
                to_leader: true,
            })
            .to_vec();
        let stamp = |moment, height| Stamp {
            moment,
            peer: 0,
            window: 0,
            index: 0,
            height,
            told_ns: 0,
            at_ns: height,
        };
        let stamps = (5..=6).flat_map(|height| {
            [Moment::Final, Moment::Executed].map(|moment| stamp(moment, height))
        });
        let dump = Dump {
            base_ns: 0,
            stamps: stamps.collect(),
        };
        assert_eq!(blind(&outcome, &[dump.clone(), dump]), 2);
    }
}
