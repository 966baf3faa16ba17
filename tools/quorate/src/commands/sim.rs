//! `quorate sim`: runs seeds of the simulated world and says what went wrong.
//!
//! Exit code 0 when every run kept every promise and came to a good end, 1 when one did not. Each
//! run that failed is printed with the one command that shows it again.

mod exhaustive;
mod nightly;
mod predict;
mod sum;

use std::ops::Range;
use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use quorate_consensus::limits::VALIDATORS_MAX;
use quorate_sim::{
    ActorName, Byzantine, Failure as RunFailure, RunOptions, Scenario, Summary, SweepOptions, run,
    sweep,
};
use serde::Serialize;

use crate::failure::{Code, Failure};
use crate::output::{Report, progress};

/// Threads at most: more than any machine has cores for, and few enough that a system starts them.
const THREADS_MAX: i64 = 1_024;

/// Options of the command.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Seeds to run, from A up to but not including B
    #[arg(long, value_name = "A..B", default_value = "0..100", value_parser = parse_seeds)]
    seeds: Range<u64>,
    /// Validators in each run, at most 64, or 240 with --latency; 4 when not given
    #[arg(long, value_name = "N")]
    #[arg(value_parser = clap::value_parser!(u16).range(4..=VALIDATORS_MAX as i64))]
    validators: Option<u16>,
    /// Which faults: mixed, calm, rush, crash, partition, lossy, leader-crash, power, clock, pause,
    /// blackout, blackout-async, clog, disk, double-crash, lost-disk, byzantine or join
    #[arg(long, value_name = "NAME", default_value = "mixed")]
    scenario: Scenario,
    /// Byzantine validators, up to weight F: what they play, one thing or two
    #[arg(long, value_name = "NAME[,NAME]", value_delimiter = ',')]
    byzantine: Vec<ActorName>,
    /// Validators whose key runs in two processes at once, up to weight F, under scripted
    /// partitions
    #[arg(long)]
    twins: bool,
    /// Twice the Byzantine weight that is promised to be survived: to see the checkers fire
    #[arg(long)]
    beyond: bool,
    /// Fail also when something that can happen never did in any of the runs: a fault, an action
    /// of a rule, a branch of recovery, what a Byzantine validator is for. For large batches with
    /// everything
    #[arg(long)]
    require_all: bool,
    /// Runs at once; one a core when not given
    #[arg(long, value_name = "COUNT")]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=THREADS_MAX))]
    threads: Option<u16>,
    /// Tell everything that happens on standard error; for a single seed
    #[arg(long)]
    tell: bool,
    /// Explore small worlds to their end instead, by the rules that ship
    #[arg(long, conflicts_with_all = ["seeds", "scenario", "threads", "tell", "script"])]
    #[arg(conflicts_with_all = ["byzantine", "twins", "beyond", "require_all"])]
    exhaustive: bool,
    /// Slots of a window to explore, 1 to 3; the whole list of worlds when no number is given
    #[arg(long, value_name = "K", requires = "exhaustive")]
    slots: Option<u8>,
    /// Start logs from so many crash images instead: any part of what was not synced is lost
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    #[arg(conflicts_with_all = ["scenario", "tell", "exhaustive", "script"])]
    #[arg(conflicts_with_all = ["validators", "byzantine", "twins", "beyond", "require_all"])]
    images: Option<u64>,
    /// Run the long list of sweeps instead: every kind of fault, every kind of Byzantine validator,
    /// twins and crash images, from the first seed of --seeds on
    #[arg(long, conflicts_with_all = ["scenario", "tell", "exhaustive", "script", "images"])]
    #[arg(conflicts_with_all = ["validators", "byzantine", "twins", "beyond", "require_all"])]
    nightly: bool,
    /// So much of the long list, in percent of its seeds
    #[arg(
        long,
        value_name = "PERCENT",
        requires = "nightly",
        default_value_t = 100.0,
        value_parser = nightly::parse_percent
    )]
    percent: f64,
    /// Only the sweeps of the long list whose names contain this
    #[arg(long, value_name = "PART", requires = "nightly", default_value = "")]
    part: String,
    /// Add up what pieces of the long list have shown, from the files with what --nightly --json
    /// printed of each: 1 when something of all that can happen never did in all of them together
    #[arg(long, value_name = "FILE", num_args = 1..)]
    #[arg(conflicts_with_all = ["seeds", "scenario", "threads", "tell", "script", "nightly"])]
    #[arg(conflicts_with_all = ["exhaustive", "images", "latency", "check_against"])]
    #[arg(conflicts_with_all = ["validators", "byzantine", "twins", "beyond", "require_all"])]
    sum: Vec<PathBuf>,
    /// Play a scenario script (engine/sim/scripts) and print its trace instead
    #[arg(long, value_name = "FILE")]
    #[arg(conflicts_with_all = ["tell", "seeds", "scenario", "validators", "threads"])]
    #[arg(conflicts_with_all = ["byzantine", "twins", "beyond", "require_all"])]
    script: Option<PathBuf>,
    #[command(flatten)]
    predict: predict::PredictOptions,
}

/// Validators in a run when it is not said how many.
const VALIDATORS: u16 = 4;
/// Validators of a simulated world at most.
const WORLD_MAX: u16 = 64;

fn parse_seeds(text: &str) -> Result<Range<u64>, String> {
    let (start, end) = text.split_once("..").ok_or("seeds are given as A..B")?;
    let number = |text: &str| {
        let parsed = text.parse::<u64>();
        parsed.map_err(|error| format!("{text}: {error}"))
    };
    let seeds = number(start)?..number(end)?;
    if seeds.is_empty() {
        return Err(format!("{text} holds no seed: B is not included"));
    }
    Ok(seeds)
}

/// Runs the seeds.
///
/// # Errors
/// `--tell` with more than one seed; a script that cannot be read.
pub(crate) fn run_seeds(options: &Options) -> Result<Report, Failure> {
    if options.exhaustive {
        return exhaustive::explore(options.validators, options.slots);
    }
    if !options.sum.is_empty() {
        return sum::run(&options.sum);
    }
    if options.predict.is_wanted() {
        return predict::run(&options.predict, options.validators.unwrap_or(VALIDATORS));
    }
    if let Some(file) = &options.script {
        return super::script::play_file(file);
    }
    if let Some(many) = options.validators.filter(|&count| count > WORLD_MAX) {
        let what = format!("--validators {many}: a world has at most {WORLD_MAX}");
        return Err(Failure::usage(what).remedy("give fewer, or a --latency"));
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = options.threads.map_or(cores, usize::from);
    if let Some(count) = options.images {
        return images(options, count, threads);
    }
    if options.nightly {
        return nightly::run(&nightly::Plan {
            percent: options.percent,
            from: options.seeds.start,
            part: &options.part,
            threads,
        });
    }
    if options.tell {
        tell(options)?;
    }
    let sweep_options = SweepOptions {
        seeds: options.seeds.clone(),
        validators: options.validators.unwrap_or(VALIDATORS),
        scenario: options.scenario,
        byzantine: byzantine(options)?,
        threads,
    };
    let begun = Instant::now();
    let summary = sweep(&sweep_options, &|failure| progress(&line(failure)));
    let wall_s = begun.elapsed().as_secs_f64();
    let text = text(&summary, wall_s);
    let has_all = summary.unreached.is_empty() && summary.inert.is_empty();
    let has_all = has_all || !options.require_all;
    let is_good = summary.violations == 0 && summary.stuck == 0 && has_all;
    let code = if is_good { Code::Done } else { Code::No };
    let timed = Timed {
        wall_s,
        blocks_per_s: summary.finalized as f64 / wall_s.max(f64::MIN_POSITIVE),
        summary,
    };
    Ok(Report::new(&timed, text)?.with_code(code))
}

/// What was found, and how long it took here.
#[derive(Serialize)]
struct Timed {
    #[serde(flatten)]
    summary: Summary,
    /// Real seconds of the whole sweep.
    wall_s: f64,
    /// Blocks finalized in a real second, over all threads.
    blocks_per_s: f64,
}

/// Starts logs from crash images; the first seed names the histories.
fn images(options: &Options, count: u64, threads: usize) -> Result<Report, Failure> {
    let begun = Instant::now();
    let summary = quorate_sim::images(options.seeds.start, count, threads);
    let text = format!(
        "{} images of {} histories in {:.1} s, {} starts cut short: {} durable records, {} lost, \
         {} wrong cuts, {} crashes taken for damage\nrows: {:?}\n{}",
        summary.images,
        summary.histories,
        begun.elapsed().as_secs_f64(),
        summary.interrupted_starts,
        summary.durable_records,
        summary.lost,
        summary.wrong_cuts,
        summary.mistaken_for_damage,
        summary.rows,
        summary.failures.join("\n"),
    );
    let code = if summary.is_good() {
        Code::Done
    } else {
        Code::No
    };
    Ok(Report::new(&summary, text)?.with_code(code))
}

/// The Byzantine validators that were asked for.
fn byzantine(options: &Options) -> Result<Byzantine, Failure> {
    let mut names = options.byzantine.iter().copied();
    let actors = [names.next(), names.next()];
    if names.next().is_some() {
        return Err(
            Failure::usage("at most two kinds of Byzantine validators in a run")
                .remedy("give --byzantine NAME or --byzantine NAME,NAME"),
        );
    }
    let is_honest = actors[0].is_none() && !options.twins;
    if options.beyond && is_honest && options.scenario != Scenario::Byzantine {
        let what = "--beyond: nobody is Byzantine, so there is no weight to be doubled";
        return Err(Failure::usage(what).remedy("give --byzantine NAME or --twins as well"));
    }
    Ok(Byzantine {
        actors,
        is_drawn: false,
        has_twins: options.twins,
        is_beyond: options.beyond,
    })
}

/// Runs one seed aloud before it is judged.
fn tell(options: &Options) -> Result<(), Failure> {
    if options.seeds.end - options.seeds.start > 1 {
        return Err(Failure::usage("--tell is for a single seed").remedy("give --seeds S..S+1"));
    }
    let aloud = RunOptions {
        seed: options.seeds.start,
        validators: options.validators.unwrap_or(VALIDATORS),
        scenario: options.scenario,
        byzantine: byzantine(options)?,
    };
    let outcome = run(&aloud, true);
    progress(&format!(
        "{} blocks, {} commands",
        outcome.finalized, outcome.commands
    ));
    Ok(())
}

fn line(failure: &RunFailure) -> String {
    let what = failure.what.join("\n  ");
    format!(
        "seed {} failed:\n  {what}\nagain: {}",
        failure.seed, failure.replay
    )
}

/// What no run has shown; a small batch cannot show everything.
fn never(summary: &Summary) -> String {
    let unreached = summary.unreached.iter().copied();
    let inert = summary.inert.iter().map(String::as_str);
    let never: Vec<&str> = unreached.chain(inert).collect();
    if never.is_empty() {
        "nothing of all that can".to_owned()
    } else {
        never.join(", ")
    }
}

fn text(summary: &Summary, wall_s: f64) -> String {
    format!(
        "{} seeds of {} validators ({}) in {:.1} s: {} blocks and {} commands finalized, {} \
         violations, {} stuck\nlongest way from healing to a good end: {} ms of virtual time, {} windows\n\
         restarts {}, cuts {}, frames {} sent, {} lost, {} doubled, {} out of order\n\
         never happened: {}\ntrace {}",
        summary.seeds,
        summary.validators,
        summary.scenario,
        wall_s,
        summary.finalized,
        summary.commands,
        summary.violations,
        summary.stuck,
        summary.recovery_ms_max,
        summary.recovery_windows_max,
        summary.faults.restarts,
        summary.faults.cuts,
        summary.faults.frames_sent,
        summary.faults.frames_lost + summary.faults.frames_cut,
        summary.faults.frames_doubled,
        summary.faults.frames_reordered,
        never(summary),
        summary.trace,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_a_range_whose_end_is_not_included() {
        assert_eq!(parse_seeds("3..5"), Ok(3..5));
        for wrong in ["3", "3..", "..5", "5..5", "5..3", "a..b", "3..=5"] {
            assert!(parse_seeds(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn every_scenario_stands_in_the_help() {
        let help = <crate::Arguments as clap::CommandFactory>::command()
            .find_subcommand_mut("sim")
            .unwrap()
            .render_long_help()
            .to_string();
        for scenario in Scenario::all() {
            assert!(help.contains(scenario.name()), "{scenario}");
        }
    }
}
