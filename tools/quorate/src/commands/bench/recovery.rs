//! `quorate bench recovery`: with a long log a validator dies and starts again, then loses its disk
//! and joins with a blank one, while clients go on.
//!
//! Owns the phases and the numbers made of them. Everything is timed from outside: by the clients
//! of the others, and by when the validator stands where the others stood and may vote. Logs are
//! held against what clients were told, as after any series of kills. Never: judges a time.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use quorate_bench::gaps::{Phase, interruption, longest_wait};
use quorate_bench::load::{LoadPlan, Outcome, machine_ns};
use serde::Serialize;

use super::crash::{Heard, Series, Setting, over_validators};
use super::failover::{RETURN, leader, wait_until_level};
use super::toll::Toll;
use crate::agreement::Status;
use crate::commands::recover::forget_disk;
use crate::failure::{Code, Failure};
use crate::interrupt::Interrupt;
use crate::output::{Report, progress, table};
use crate::plan::{ClusterOptions, DurabilityArg};
use crate::verdict;

/// Bytes of a command that makes the log long.
const FILL_COMMAND_BYTES: usize = 16 * 1024;
/// Such commands a second.
const FILL_RATE: u64 = 1_000;
/// How long the log may take to be as long as asked for, beside what its length takes.
const FILL: Duration = Duration::from_secs(1_200);
/// What the load adds to the log at least, MiB a second: a quarter of what it offers.
const FILL_MIB_PER_SECOND: u64 = 4;
/// What a validator reads or fetches of a log at least when it comes back, MiB a second.
const RETURN_MIB_PER_SECOND: u64 = 16;
/// Bytes of a command of the load that goes on beside.
const COMMAND_BYTES: usize = 128;
/// A load ends with what it stands beside, not before.
const LOAD_SECONDS: u64 = 3_600;
/// Sessions of the load.
const CLIENTS: u32 = 8;

/// Options of the command.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// How long the log is before anything happens, MiB
    #[arg(long, default_value_t = 1_024)]
    #[arg(value_parser = clap::value_parser!(u64).range(64..=1_048_576))]
    log_mib: u64,
    /// Validators, each with weight 1
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(4..=64))]
    validators: u16,
    /// Commands a second beside it, open loop
    #[arg(long, default_value_t = 1_000)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rate: u32,
    /// How long clients are listened to with nothing happening, seconds
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=600))]
    quiet_seconds: u64,
    /// What a vote must be before it leaves
    #[arg(long, value_enum, default_value = "async")]
    durability: DurabilityArg,
    /// Folder for the temporary folder of the cluster, such as one on the disk to be measured
    #[arg(long, value_name = "DIR")]
    pub(super) dir: Option<PathBuf>,
}

/// What clients saw while something happened, or nothing.
#[derive(Clone, Copy, Debug, Serialize)]
struct Seen {
    seconds: f64,
    /// Commands that became final a second.
    goodput_per_s: f64,
    /// The longest time in which nothing became final; none when no client of the others had a
    /// command.
    gap_ms: Option<f64>,
    /// Whether that had not ended when the phase did; it is in the figure with the time until then.
    is_open: bool,
    /// The longest time from a command's intended time to its result, of commands that the
    /// gateways of the others told.
    wait_ms: Option<f64>,
    /// The same of all commands, those included that the victim had been handed.
    wait_all_ms: Option<f64>,
}

/// How long a validator took to come back.
#[derive(Clone, Copy, Debug, Serialize)]
struct Return {
    /// From its start until it stood where the others stood when it was up.
    level_ms: f64,
    /// From its start until it might vote.
    voting_ms: f64,
    /// What clients saw from its end to its return.
    clients: Seen,
}

#[derive(Serialize)]
struct Fields {
    validators: u16,
    rate: u32,
    /// Bytes of the log of the validator when it was killed.
    log_bytes: u64,
    /// Commands that made the log long and came to no result within a minute.
    fill_unfinished: u64,
    /// With nothing happening.
    quiet: Seen,
    /// Killed and started again with its log.
    restart: Return,
    /// Killed, and started again without its folder: it fetches everything from the others.
    join: Return,
    /// Phases in which no client of the others had a command: what these saw is not known.
    unmeasured: u64,
    #[serde(flatten)]
    toll: Toll,
}

/// When something began and ended.
#[derive(Clone, Copy, Debug)]
struct Span {
    from: Instant,
    until: Instant,
}

/// One way of coming back, as it was timed.
#[derive(Clone, Copy, Debug)]
struct Timed {
    span: Span,
    level: Duration,
    voting: Duration,
}

/// What the clients of a run wrote down, and what was timed meanwhile.
struct Course {
    victim: usize,
    log_bytes: u64,
    quiet: Span,
    restart: Timed,
    join: Timed,
}

/// Runs the phases.
///
/// # Errors
/// The validators do not start, or one does not come back.
pub(crate) fn run(options: &Options) -> Result<Report, Failure> {
    let cluster = options.cluster();
    let interrupt = Interrupt::install()?;
    let setting = Setting {
        interrupt: &interrupt,
        cluster: &cluster,
        dir: options.dir.as_deref(),
        rate: u64::from(options.rate),
        seed: 1,
        window_slots: None,
        every_heights: None,
    };
    let mut seen = None;
    let toll = over_validators(setting, |series| {
        let mut heard = Heard::default();
        let fill_unfinished = fill(options, series, &mut heard)?;
        let load = series.load(options.load_plan())?;
        let course = course(options, series)?;
        let outcome = load.end()?;
        seen = Some((Figures::of(&course, &outcome), fill_unfinished));
        heard.take(outcome);
        Ok((2, heard))
    })?;
    let Some((figures, fill_unfinished)) = seen else {
        return Err(Failure::new(Code::Safety, "nothing was measured").remedy("report this"));
    };
    let fields = Fields {
        validators: options.validators,
        rate: options.rate,
        log_bytes: figures.log_bytes,
        fill_unfinished,
        quiet: figures.quiet,
        restart: figures.restart,
        join: figures.join,
        unmeasured: figures.unmeasured(),
        toll,
    };
    let (code, text) = (fields.code(), fields.text());
    Ok(Report::new(&fields, text)?.with_code(code))
}

/// Makes the logs of all validators as long as asked for; says how many commands of that load came
/// to no result while it was waited for.
fn fill(options: &Options, series: &Series<'_>, heard: &mut Heard) -> Result<u64, Failure> {
    let wanted = options.log_mib * 1024 * 1024;
    let patience = options.fill_time();
    let plan = options.plan(FILL_COMMAND_BYTES, FILL_RATE, false);
    // It ends when the log is as long as asked for, not before.
    let seconds = plan.seconds.max(patience.as_secs());
    let load = series.load(LoadPlan { seconds, ..plan })?;
    let deadline = Instant::now() + patience;
    let mut told = 0;
    loop {
        let bytes = log_bytes(series)?.into_iter().min().unwrap_or(0);
        if bytes >= wanted {
            break;
        }
        if bytes >= told + wanted / 4 {
            told = bytes;
            progress(&format!("the shortest log has {} MiB", bytes / 1_048_576));
        }
        if series.interrupt.is_set() {
            return Err(Failure::new(Code::No, "interrupted"));
        }
        if Instant::now() >= deadline || load.has_ended() {
            let what = format!("the shortest log has {bytes} bytes, {wanted} are wanted");
            return Err(Failure::new(Code::TryAgain, what));
        }
    }
    let outcome = load.end()?;
    let unfinished = outcome.missing;
    heard.take(Outcome {
        // The load that makes the log long may be more than this machine bears: what a validator
        // took and gave up again is no finding of the phases.
        missing: 0,
        ..outcome
    });
    Ok(unfinished)
}

fn log_bytes_of(status: &Status) -> Option<u64> {
    status.as_ref().ok()?["log_bytes"].as_u64()
}

fn log_bytes(series: &Series<'_>) -> Result<Vec<u64>, Failure> {
    let statuses = series.statuses()?;
    let of = |status| log_bytes_of(status).unwrap_or(0);
    Ok(statuses.iter().map(of).collect())
}

/// What happens while the load goes on.
fn course(options: &Options, series: &mut Series<'_>) -> Result<Course, Failure> {
    let from = Instant::now();
    std::thread::park_timeout(Duration::from_secs(options.quiet_seconds));
    let until = Instant::now();
    // Not the leader: what its loss costs is another measurement.
    let victim = (leader(series)? + 1) % usize::from(options.validators);
    let of_victim = |told: &[Status]| told.get(victim).and_then(log_bytes_of);
    let told = series.statuses_until(|told| of_victim(told).is_some())?;
    let log_bytes = of_victim(&told).unwrap_or(0);
    progress(&format!("validator {victim} is killed and started again"));
    let patience = options.return_time();
    let restart = come_back(series, victim, patience, |series| series.mark(victim))?;
    progress(&format!("validator {victim} loses its folder and joins"));
    let join = come_back(series, victim, patience, |series| {
        series.lose_log(victim)?;
        let config = series.config_path(victim);
        let data = config.with_file_name("data");
        fs::remove_dir_all(&data).map_err(|error| {
            let what = format!("{}: cannot remove the folder: {error}", data.display());
            Failure::new(Code::TryAgain, what)
        })?;
        forget_disk(&config).map(drop)
    })?;
    Ok(Course {
        victim,
        log_bytes,
        quiet: Span { from, until },
        restart,
        join,
    })
}

/// Ends a validator, lets `change` do to its folder what it will, and starts it again.
fn come_back(
    series: &mut Series<'_>,
    victim: usize,
    patience: Duration,
    change: impl FnOnce(&mut Series<'_>) -> Result<(), Failure>,
) -> Result<Timed, Failure> {
    let from = Instant::now();
    series.end(victim)?;
    change(series)?;
    let started = series.start(&[victim])?;
    wait_until_level(series, victim, patience)?;
    let level = started.elapsed();
    series.time_return(&[victim], started)?;
    Ok(Timed {
        level,
        voting: started.elapsed(),
        span: Span {
            from,
            until: Instant::now(),
        },
    })
}

struct Figures {
    log_bytes: u64,
    quiet: Seen,
    restart: Return,
    join: Return,
}

impl Figures {
    fn of(course: &Course, outcome: &Outcome) -> Self {
        let back = |timed: &Timed| Return {
            level_ms: timed.level.as_secs_f64() * 1e3,
            voting_ms: timed.voting.as_secs_f64() * 1e3,
            clients: Seen::of(timed.span, course.victim, outcome),
        };
        Self {
            log_bytes: course.log_bytes,
            quiet: Seen::of(course.quiet, usize::MAX, outcome),
            restart: back(&course.restart),
            join: back(&course.join),
        }
    }

    fn unmeasured(&self) -> u64 {
        let phases = [self.quiet, self.restart.clients, self.join.clients];
        let unmeasured = phases.iter().filter(|seen| seen.gap_ms.is_none());
        unmeasured.count() as u64
    }
}

impl Seen {
    fn of(span: Span, victim: usize, outcome: &Outcome) -> Self {
        let on_clock = |at| machine_ns(at).saturating_sub(outcome.start_ns);
        let phase = Phase {
            victim: u16::try_from(victim).unwrap_or(u16::MAX),
            from_ns: on_clock(span.from),
            until_ns: on_clock(span.until),
        };
        let seconds = (span.until - span.from).as_secs_f64();
        let stretch = phase.from_ns..phase.until_ns;
        let is_in = |trip: &&quorate_bench::load::Trip| stretch.contains(&trip.result_ns);
        let count = outcome.trips.iter().filter(is_in).count();
        let found = interruption(&outcome.trips, phase);
        let ms = |ns: u64| Duration::from_nanos(ns).as_secs_f64() * 1e3;
        Self {
            seconds,
            goodput_per_s: count as f64 / seconds,
            gap_ms: found.map(|found| ms(found.gap_ns)),
            is_open: found.is_some_and(|found| found.is_open),
            wait_ms: found.map(|found| ms(found.wait_ns)),
            wait_all_ms: longest_wait(&outcome.waits, phase).map(ms),
        }
    }

    fn row(&self, name: &str, back: Option<&Return>) -> Vec<String> {
        let ms = |ms: Option<f64>| ms.map_or_else(|| "-".to_owned(), |ms| format!("{ms:.1}"));
        let open = if self.is_open { ", open" } else { "" };
        vec![
            name.to_owned(),
            ms(back.map(|back| back.level_ms)),
            ms(back.map(|back| back.voting_ms)),
            format!("{:.1}", self.seconds),
            format!("{:.0}", self.goodput_per_s),
            ms(self.gap_ms) + open,
            ms(self.wait_ms),
            ms(self.wait_all_ms),
        ]
    }
}

impl Fields {
    /// Whether every promise was kept, and every phase measured.
    fn code(&self) -> Code {
        verdict::code(self.toll.code() == Code::Done && self.unmeasured == 0)
    }

    fn text(&self) -> String {
        let mut phases = table(&[
            "phase",
            "level, ms",
            "voting, ms",
            "seconds",
            "final a second",
            "nothing final, ms",
            "longest wait at the others, ms",
            "longest wait of all, ms",
        ]);
        phases.add_row(self.quiet.row("nothing happens", None));
        let (restart, join) = (&self.restart, &self.join);
        phases.add_row(restart.clients.row("restart", Some(restart)));
        phases.add_row(join.clients.row("blank disk", Some(join)));
        let log_mib = self.log_bytes / 1_048_576;
        let mut text = format!(
            "a log of {log_mib} MiB, {} commands that made it came to no result\n{phases}\n{}",
            self.fill_unfinished,
            self.toll.text()
        );
        if self.unmeasured > 0 {
            text.push_str(&verdict::failed(format_args!(
                "in {} phases no client of the others had a command: what they saw is not known",
                self.unmeasured
            )));
        }
        text
    }
}

impl Options {
    fn cluster(&self) -> ClusterOptions {
        ClusterOptions::opaque(usize::from(self.validators), self.durability)
    }

    fn load_plan(&self) -> LoadPlan {
        let plan = self.plan(COMMAND_BYTES, u64::from(self.rate), true);
        let beside = self.return_time() * 2 + Duration::from_secs(self.quiet_seconds);
        let seconds = plan.seconds.saturating_add(beside.as_secs());
        LoadPlan { seconds, ..plan }
    }

    /// How long the log may take to be as long as asked for.
    fn fill_time(&self) -> Duration {
        FILL + Duration::from_secs(self.log_mib / FILL_MIB_PER_SECOND)
    }

    /// How long a validator may take to come back with such a log.
    fn return_time(&self) -> Duration {
        RETURN + Duration::from_secs(self.log_mib / RETURN_MIB_PER_SECOND)
    }

    fn plan(&self, size: usize, rate: u64, keeps_trips: bool) -> LoadPlan {
        LoadPlan {
            clients: CLIENTS,
            keeps_acknowledged: true,
            keeps_trips,
            ..LoadPlan::opaque(size, rate, LOAD_SECONDS)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        options: Options,
    }

    fn seen(gap_ms: Option<f64>, is_open: bool) -> Seen {
        Seen {
            seconds: 1.0,
            goodput_per_s: 1.0,
            gap_ms,
            is_open,
            wait_ms: gap_ms,
            wait_all_ms: gap_ms,
        }
    }

    #[test]
    fn a_phase_that_was_not_measured_makes_the_answer_no_and_an_open_one_is_told() {
        let of = |quiet: Seen, joined: Seen| {
            let back = |clients| Return {
                level_ms: 1.0,
                voting_ms: 2.0,
                clients,
            };
            let figures = Figures {
                log_bytes: 1,
                quiet,
                restart: back(seen(Some(1.0), false)),
                join: back(joined),
            };
            Fields {
                validators: 4,
                rate: 1,
                log_bytes: 1,
                fill_unfinished: 12_345,
                unmeasured: figures.unmeasured(),
                quiet: figures.quiet,
                restart: figures.restart,
                join: figures.join,
                toll: Toll::default(),
            }
        };
        // No time is judged, that of an open phase neither.
        let well = of(seen(Some(5.0), false), seen(Some(70.0), true));
        assert_eq!((well.code(), well.unmeasured), (Code::Done, 0));
        let told = well.text();
        assert!(
            told.contains("| 70.0, open ") && told.contains("| 5.0 "),
            "{told}"
        );
        assert!(told.contains("12345 commands that made it"), "{told}");
        assert!(!told.contains("FAILED"), "{told}");
        let blind = of(seen(None, false), seen(None, false));
        assert_eq!((blind.code(), blind.unmeasured), (Code::No, 2));
        let told = blind.text();
        assert!(
            told.contains("FAILED: in 2 phases no client of the others"),
            "{told}"
        );
        let mut broken = of(seen(Some(5.0), false), seen(Some(7.0), false));
        broken.toll.lost = 1;
        assert_eq!(broken.code(), Code::No);
    }

    #[test]
    fn a_log_of_any_length_that_may_be_asked_for_has_time_to_grow_and_to_be_read() {
        for mib in ["64", "1024", "1048576"] {
            let line = Line::try_parse_from(["recovery", "--log-mib", mib]).unwrap();
            let (options, mib) = (line.options, mib.parse::<u64>().unwrap());
            let offered = FILL_RATE * FILL_COMMAND_BYTES as u64 / 1_048_576;
            assert!(options.fill_time().as_secs() >= 2 * mib / offered.max(1));
            assert!(options.return_time().as_secs() >= mib / RETURN_MIB_PER_SECOND);
            // The load beside it does not end before the second return.
            assert!(options.load_plan().seconds > 2 * options.return_time().as_secs());
        }
    }
}
