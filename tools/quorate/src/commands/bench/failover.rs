//! `quorate bench failover`: the leader dies or stands still under load, again and again, and the
//! clients of the others write down how long nothing became final.
//!
//! Owns the rounds and the numbers made of them. Each round has a load of its own, with a session
//! at every validator, so that there are always clients of survivors. Logs are held against what
//! clients were told, as after any other series of kills. Never: judges a time.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use quorate::profiles::{Idle, Profile, Threads};
use quorate_bench::gaps::{Interruption, Phase, interruption, longest_wait};
use quorate_bench::load::{LoadPlan, Routing, machine_ns};
use serde::Serialize;
use serde_json::Value;

use super::crash::{Heard, Series, Setting, over_validators};
use super::toll::Toll;
use crate::agreement::Status;
use crate::failure::{Code, Failure};
use crate::interrupt::Interrupt;
use crate::output::{Report, progress, table};
use crate::plan::{ClusterOptions, DurabilityArg, IdleArg, ProfileArg, ThreadsArg};
use crate::verdict;

/// Of so many commands one goes to a validator that does not lead: the clients of survivors.
const ASIDE_EVERY: u64 = 2;
/// Bytes of a command.
const COMMAND_BYTES: usize = 128;
/// A load ends with its round, not before.
const LOAD_SECONDS: u64 = 600;
/// How long a validator that stood still may take to catch up.
pub(super) const RETURN: Duration = Duration::from_secs(300);
/// Rounds between two lines of progress.
const TELL_EVERY: u64 = 10;

/// What becomes of the leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum SignalChoice {
    /// Its process dies (SIGKILL) and is started again.
    Kill,
    /// Its process stands still with its connections open (SIGSTOP), and goes on later.
    Stop,
    /// One series of each.
    Both,
}

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Signal {
    Kill,
    Stop,
}

impl SignalChoice {
    /// The series, in the order of the report.
    const fn all(self) -> &'static [Signal] {
        match self {
            Self::Kill => &[Signal::Kill],
            Self::Stop => &[Signal::Stop],
            Self::Both => &[Signal::Kill, Signal::Stop],
        }
    }
}

/// Options of the command.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Rounds with each signal
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    kills: u64,
    /// What becomes of the leader
    #[arg(long, value_enum, default_value = "both")]
    signal: SignalChoice,
    /// Validators, each with weight 1
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(4..=64))]
    validators: u16,
    /// Commands a second, open loop
    #[arg(long, default_value_t = 1_000)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rate: u32,
    /// How long the leader stays away before it is started again or goes on, milliseconds
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u64).range(50..=60_000))]
    away_ms: u64,
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

/// Durations in milliseconds; none when nothing was measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(super) struct Milliseconds {
    pub(super) p50: Option<f64>,
    pub(super) p99: Option<f64>,
    pub(super) max: Option<f64>,
}

impl Milliseconds {
    /// Percentiles that are values which occurred.
    pub(super) fn of(mut durations_ns: Vec<u64>) -> Self {
        durations_ns.sort_unstable();
        let at = |percent: usize| {
            let place = (durations_ns.len() * percent).div_ceil(100);
            let ns = *durations_ns.get(place.checked_sub(1)?)?;
            Some(Duration::from_nanos(ns).as_secs_f64() * 1e3)
        };
        Self {
            p50: at(50),
            p99: at(99),
            max: at(100),
        }
    }

    pub(super) fn text(&self) -> String {
        let ms = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |ms| format!("{ms:.1}"));
        format!("{}, {}, {}", ms(self.p50), ms(self.p99), ms(self.max))
    }
}

/// What came of one signal.
#[derive(Debug, Serialize)]
struct Figures {
    signal: Signal,
    /// Of each round the longest time between two finalized commands around it.
    resume_ms: Milliseconds,
    /// Of each round the longest time from a command's intended time to its result, of commands
    /// that the gateways of the others told, as for `resume_ms`.
    wait_ms: Milliseconds,
    /// The same of all commands, those included that the victim had been handed.
    wait_all_ms: Milliseconds,
    /// Rounds in which finality was not back when the leader was; in the figures with that time.
    open: u64,
    /// Rounds without a command of a survivor's client, in none of the figures.
    unmeasured: u64,
    #[serde(flatten)]
    toll: Toll,
}

#[derive(Serialize)]
struct Fields {
    validators: u16,
    rate: u32,
    away_ms: u64,
    /// Whose timers: how long finality stays away is theirs above all.
    profile: Profile,
    durability: &'static str,
    threads: Threads,
    idle: Idle,
    #[serde(flatten)]
    first: Figures,
    /// Of `--signal both` what came of SIGSTOP.
    #[serde(skip_serializing_if = "Option::is_none")]
    stop: Option<Figures>,
}

/// Runs the series.
///
/// # Errors
/// The validators do not start, or one does not come back.
pub(crate) fn run(options: &Options) -> Result<Report, Failure> {
    let interrupt = Interrupt::install()?;
    let is_interrupted = || interrupt.is_set();
    let mut figures = each(options.signal.all(), &is_interrupted, |signal| {
        series(options, signal, &interrupt)
    })?;
    if figures.len() < options.signal.all().len()
        && let Some(last) = figures.last_mut()
    {
        let what = "interrupted before the next series".to_owned();
        last.toll.differences.push(what);
    }
    let is_well = figures.iter().all(Figures::is_well);
    let code = verdict::code(is_well);
    let text = figures.iter().map(Figures::text).collect::<Vec<_>>();
    let mut figures = figures.into_iter();
    let Some(first) = figures.next() else {
        return Err(Failure::new(Code::Safety, "nothing was measured").remedy("report this"));
    };
    let fields = Fields::of(options, first, figures.next());
    Ok(Report::new(&fields, text.join("\n\n"))?.with_code(code))
}

impl Fields {
    fn of(options: &Options, first: Figures, stop: Option<Figures>) -> Self {
        Self {
            validators: options.validators,
            rate: options.rate,
            away_ms: options.away_ms,
            profile: options.profile.into(),
            durability: super::name(options.durability.into()),
            threads: options.threads.into(),
            idle: options.idle.into(),
            first,
            stop,
        }
    }
}

/// One series of each signal, as long as nobody asks to stop.
fn each<T>(
    signals: &[Signal],
    is_interrupted: &dyn Fn() -> bool,
    mut series: impl FnMut(Signal) -> Result<T, Failure>,
) -> Result<Vec<T>, Failure> {
    let mut found = Vec::new();
    for signal in signals {
        // What the first series found is told also where it was interrupted in its last moment.
        if found.is_empty() || !is_interrupted() {
            found.push(series(*signal)?);
        }
    }
    Ok(found)
}

fn series(options: &Options, signal: Signal, interrupt: &Interrupt) -> Result<Figures, Failure> {
    let cluster = options.cluster();
    let setting = Setting {
        interrupt,
        cluster: &cluster,
        dir: options.dir.as_deref(),
        rate: u64::from(options.rate),
        seed: 1,
        window_slots: None,
        every_heights: None,
    };
    let mut found: Vec<Round> = Vec::new();
    let mut toll = over_validators(setting, |series| {
        let mut heard = Heard::default();
        let mut rounds = 0;
        while rounds < options.kills && !series.interrupt.is_set() {
            let one = round(options, signal, rounds, series, &mut heard)?;
            rounds += 1;
            if rounds.is_multiple_of(TELL_EVERY) {
                let ms = one.others.map_or(0, |one| one.gap_ns / 1_000_000);
                progress(&format!(
                    "{signal:?} {rounds} of {}: the last took {ms} ms",
                    options.kills
                ));
            }
            found.push(one);
        }
        Ok((rounds, heard))
    })?;
    toll.expect_rounds(options.kills);
    let measured = || found.iter().filter_map(|round| round.others);
    Ok(Figures {
        signal,
        resume_ms: Milliseconds::of(measured().map(|one| one.gap_ns).collect()),
        wait_ms: Milliseconds::of(measured().map(|one| one.wait_ns).collect()),
        wait_all_ms: Milliseconds::of(found.iter().filter_map(|one| one.wait_all_ns).collect()),
        open: measured().filter(|one| one.is_open).count() as u64,
        unmeasured: found.iter().filter(|one| one.others.is_none()).count() as u64,
        toll,
    })
}

/// What clients saw in a round.
#[derive(Clone, Copy, Debug)]
struct Round {
    /// Those of survivors; none when they sent nothing.
    others: Option<Interruption>,
    /// The longest wait of all.
    wait_all_ns: Option<u64>,
}

/// One load, in which the leader goes away and comes back.
fn round(
    options: &Options,
    signal: Signal,
    number: u64,
    series: &mut Series<'_>,
    heard: &mut Heard,
) -> Result<Round, Failure> {
    let load = series.load(options.load_plan(number))?;
    let victim = leader(series)?;
    let from_ns = machine_ns(Instant::now());
    match signal {
        Signal::Kill => series.end(victim)?,
        Signal::Stop => series.cluster.pause(victim)?,
    }
    std::thread::park_timeout(Duration::from_millis(options.away_ms));
    let until_ns = machine_ns(Instant::now());
    match signal {
        Signal::Kill => {
            series.mark(victim)?;
            let started = series.start(&[victim])?;
            series.time_return(&[victim], started)?;
        }
        Signal::Stop => {
            series.cluster.resume(victim)?;
            wait_until_level(series, victim, RETURN)?;
        }
    }
    let outcome = load.end()?;
    let phase = Phase {
        victim: u16::try_from(victim).unwrap_or(u16::MAX),
        from_ns: from_ns.saturating_sub(outcome.start_ns),
        until_ns: until_ns.saturating_sub(outcome.start_ns),
    };
    let found = Round {
        others: interruption(&outcome.trips, phase),
        wait_all_ns: longest_wait(&outcome.waits, phase),
    };
    heard.take(outcome);
    Ok(found)
}

/// Who leads the highest window that a validator tells of.
pub(super) fn leader(series: &Series<'_>) -> Result<usize, Failure> {
    let told = |statuses: &[Status]| {
        let highest = statuses
            .iter()
            .flatten()
            .max_by_key(|status| status["window"].as_u64());
        let leader = highest.and_then(|status| status["leader"].as_u64())?;
        usize::try_from(leader).ok()
    };
    let statuses = series.statuses_until(|statuses| told(statuses).is_some())?;
    told(&statuses).ok_or_else(|| {
        Failure::new(Code::TryAgain, "no validator tells who leads").detail(format!("{statuses:?}"))
    })
}

/// Where a validator has to stand to be level, once that is known.
#[derive(Clone, Copy, Debug, Default)]
struct Level {
    wanted: Option<u64>,
}

impl Level {
    /// Whether a validator stands there, by one look at it and at the highest of all. What counts
    /// is where the others stood when it was up, which is the first look that it answers: they go
    /// on while it starts.
    fn is_reached(&mut self, own: Option<u64>, highest: Option<u64>) -> bool {
        let Some(own) = own else {
            return false;
        };
        let wanted = *self.wanted.get_or_insert_with(|| highest.unwrap_or(own));
        own >= wanted
    }
}

/// Waits until a validator stands where the others stood when it was up.
pub(super) fn wait_until_level(
    series: &mut Series<'_>,
    validator: usize,
    patience: Duration,
) -> Result<(), Failure> {
    let deadline = Instant::now() + patience;
    let height = |status: &Value| status["height"].as_u64();
    let mut level = Level::default();
    loop {
        let statuses = series.statuses()?;
        let highest = statuses.iter().flatten().filter_map(height).max();
        let own = statuses.get(validator).and_then(|own| own.as_ref().ok());
        if level.is_reached(own.and_then(height), highest) {
            return Ok(());
        }
        if let Some(ended) = series.cluster.wait_ended(Instant::now())? {
            return Err(series.died(ended));
        }
        if series.interrupt.is_set() {
            return Err(Failure::new(Code::No, "interrupted"));
        }
        if Instant::now() >= deadline {
            let what = match level.wanted {
                Some(wanted) => {
                    format!("validator {validator} did not catch up to height {wanted}")
                }
                None => format!("validator {validator} did not answer"),
            };
            return Err(Failure::new(Code::No, what).detail(format!("{statuses:?}")));
        }
    }
}

impl Figures {
    /// Whether every promise was kept, and every round measured.
    fn is_well(&self) -> bool {
        self.toll.code() == Code::Done && self.unmeasured == 0
    }

    fn text(&self) -> String {
        let signal = match self.signal {
            Signal::Kill => "leader killed",
            Signal::Stop => "leader stopped",
        };
        let mut times = table(&["milliseconds", "p50, p99, max"]);
        times.add_row(vec!["nothing final".to_owned(), self.resume_ms.text()]);
        for (what, wait) in [
            ("longest wait at the others", &self.wait_ms),
            ("longest wait of all", &self.wait_all_ms),
        ] {
            times.add_row(vec![what.to_owned(), wait.text()]);
        }
        let mut text = format!(
            "{signal}, {} rounds, {} of them open, {} unmeasured\n{times}\n{}",
            self.toll.kills,
            self.open,
            self.unmeasured,
            self.toll.text()
        );
        if self.unmeasured > 0 {
            text.push_str(&verdict::failed(format_args!(
                "{} rounds are in no figure: no client of a survivor had a command in them",
                self.unmeasured
            )));
        }
        text
    }
}

impl Options {
    fn cluster(&self) -> ClusterOptions {
        ClusterOptions {
            profile: self.profile,
            threads: Some(self.threads),
            idle: Some(self.idle),
            ..ClusterOptions::opaque(usize::from(self.validators), self.durability)
        }
    }

    fn load_plan(&self, seed: u64) -> LoadPlan {
        LoadPlan {
            clients: u32::from(self.validators),
            seed,
            keeps_acknowledged: true,
            routing: Routing::Leader {
                aside_every: ASIDE_EVERY,
            },
            keeps_trips: true,
            ..LoadPlan::opaque(COMMAND_BYTES, self.rate.into(), LOAD_SECONDS)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::FromArgMatches as _;
    use quorate_bench::page::{Heading, Inputs, Kind, render};

    #[test]
    fn after_an_interrupt_no_further_series_begins() {
        let flag = std::cell::Cell::new(false);
        let run = |interrupts_in: Signal| {
            flag.set(false);
            let is_interrupted = || flag.get();
            let made = each(SignalChoice::Both.all(), &is_interrupted, |signal| {
                flag.set(signal == interrupts_in);
                Ok(signal)
            });
            made.unwrap()
        };
        assert_eq!(run(Signal::Kill), [Signal::Kill]);
        assert_eq!(run(Signal::Stop), [Signal::Kill, Signal::Stop]);
    }

    fn figures(signal: Signal) -> Figures {
        Figures {
            signal,
            resume_ms: Milliseconds::default(),
            wait_ms: Milliseconds::default(),
            wait_all_ms: Milliseconds::default(),
            open: 3,
            unmeasured: 0,
            toll: Toll::default(),
        }
    }

    #[test]
    fn of_both_signals_it_is_told_of_which_timers_they_are() {
        let command = Options::augment_args(clap::Command::new("failover"));
        let matches = command.get_matches_from(["failover"]);
        let options = Options::from_arg_matches(&matches).unwrap();
        let (kill, stop) = (figures(Signal::Kill), figures(Signal::Stop));
        let printed = serde_json::to_value(Fields::of(&options, kill, Some(stop))).unwrap();
        for (key, told) in [
            ("profile", "colo"),
            ("durability", "async"),
            ("threads", "shared"),
            ("idle", "linger"),
        ] {
            assert_eq!(printed[key], told);
        }
        let mut inputs = Inputs::default();
        assert_eq!(inputs.take("a.json", printed), Ok(Kind::Failover));
        let html = render(&inputs, Heading::default());
        assert_eq!(html.matches("colo, async, shared, linger").count(), 2);
    }

    #[test]
    fn a_round_that_was_not_measured_makes_the_answer_no_and_is_told() {
        let mut figures = figures(Signal::Kill);
        // No time is judged, that of an open round neither.
        assert!(figures.is_well() && figures.text().contains("3 of them open"));
        assert!(!figures.text().contains("FAILED"));
        figures.unmeasured = 12_345;
        assert!(!figures.is_well());
        let told = figures.text();
        assert!(
            told.contains("FAILED: 12345 rounds are in no figure"),
            "{told}"
        );
        let printed = serde_json::to_value(&figures).unwrap();
        let mut inputs = Inputs::default();
        assert_eq!(inputs.take("a.json", printed), Ok(Kind::Failover));
        let html = render(&inputs, Heading::default());
        for part in [
            "no figure, since no client of a survivor",
            ": 12,345<",
            "was: 3<",
        ] {
            assert!(html.contains(part), "{part} is missing in\n{html}");
        }
    }

    #[test]
    fn a_validator_is_level_where_the_others_stood_when_it_was_up() {
        let mut level = Level::default();
        assert!(!level.is_reached(None, Some(100)));
        // Where they stood while it started says nothing.
        assert!(!level.is_reached(Some(100), Some(200)));
        assert!(!level.is_reached(Some(199), Some(300)));
        assert!(!level.is_reached(None, Some(320)));
        assert!(level.is_reached(Some(200), Some(340)));
    }

    #[test]
    fn percentiles_are_durations_that_occurred_and_none_of_none() {
        let of =
            |list: Vec<u64>| Milliseconds::of(list.into_iter().map(|ms| ms * 1_000_000).collect());
        assert_eq!(of(Vec::new()), Milliseconds::default());
        let found = of((1..=200).rev().collect());
        let ms = |value: Option<f64>| value.unwrap().round();
        assert_eq!(
            (ms(found.p50), ms(found.p99), ms(found.max)),
            (100.0, 198.0, 200.0)
        );
    }
}
