//! The options of a load, its progress lines, and its report: what `demo` and `load` share.
//!
//! Never: starts a validator.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write as _};
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};

use clap::Args;
use quorate::config::ConfigFile;
use quorate_bench::histogram::{Latencies, Percentiles};
use quorate_bench::load::{DRAIN_SECONDS, Flow, LoadError, LoadPlan, Outcome, Progress, Routing};
use quorate_bench::orders::CLIENTS_MAX;
use quorate_bench::report::{Agreement, LoadReport, Measured, Setting, per_second};
use quorate_bench::testnet::{Testnet, TestnetError, Workload};

use crate::failure::{Code, Failure};
use crate::output::{progress, table};
use crate::verdict;

/// Longest body of an opaque command, bytes: what a command may have, less the key of the first.
const SIZE_MAX: usize = 64 * 1024 - 32;

/// The same where nothing is said of it.
const SIZE_DEFAULT: usize = 512;

/// Options of a load.
#[derive(Clone, Debug, Args)]
pub(crate) struct LoadOptions {
    /// Commands a second, open loop
    #[arg(long, default_value_t = 2000)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    pub(crate) rate: u64,
    /// How long commands are sent
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(crate) seconds: u64,
    /// Sessions that send; session c begins at validator c mod n
    #[arg(long, default_value_t = 4)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=i64::from(CLIENTS_MAX)))]
    pub(crate) clients: u32,
    /// Bytes of an opaque command [default: 512]
    #[arg(long)]
    pub(crate) size: Option<usize>,
    /// Replay this recording (LOBSTER message file) instead of generated orders
    #[arg(long, value_name = "FILE")]
    pub(crate) orders: Option<PathBuf>,
    /// Set up the book first from this recording's order book file
    #[arg(long, value_name = "FILE", requires = "orders")]
    pub(crate) book: Option<PathBuf>,
    /// Write the latencies that clients saw to this file, in HdrHistogram's text layout
    #[arg(long, value_name = "FILE")]
    pub(crate) hgrm: Option<PathBuf>,
    /// Seed of the generated commands
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
}

impl LoadOptions {
    /// The plan for commands of this workload, whose recording can be replayed if it has one.
    ///
    /// # Errors
    /// Usage: options that contradict each other, or a recording that is none.
    pub(crate) fn plan(&self, workload: Workload) -> Result<LoadPlan, Failure> {
        let size = self.size.unwrap_or(SIZE_DEFAULT);
        let flow = match (workload, &self.orders) {
            (Workload::Opaque | Workload::Pages { .. }, Some(_)) => {
                return Err(Failure::usage("--orders needs the workload venue")
                    .remedy("leave --orders out, or use a testnet with --workload venue"));
            }
            (Workload::Opaque | Workload::Pages { .. }, None) if size == 0 || size > SIZE_MAX => {
                let what = format!("--size {size}: out of range");
                return Err(Failure::usage(what).remedy(format!("choose 1 to {SIZE_MAX}")));
            }
            (Workload::Opaque | Workload::Pages { .. }, None) => Flow::Opaque { size },
            (Workload::Venue | Workload::Exchange, _) if self.size.is_some() => {
                return Err(Failure::usage("--size needs the workload opaque")
                    .remedy("leave --size out: orders are as long as they are"));
            }
            (Workload::Venue | Workload::Exchange, None) => Flow::Orders,
            (Workload::Venue | Workload::Exchange, Some(messages)) => Flow::Recording {
                messages: messages.clone(),
                book: self.book.clone(),
            },
        };
        let rate = NonZeroU64::new(self.rate).ok_or_else(|| Failure::usage("--rate 0"))?;
        let plan = LoadPlan {
            flow,
            rate,
            seconds: self.seconds,
            clients: self.clients,
            seed: self.seed,
            keeps_acknowledged: false,
            routing: Routing::Flow,
            keeps_trips: false,
        };
        plan.check()?;
        Ok(plan)
    }
}

impl From<LoadError> for Failure {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::Orders(error) => {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                let what = cause.map_or_else(|| error.to_string(), |why| format!("{error}: {why}"));
                Self::usage(what).remedy("correct the file, or name another")
            }
            LoadError::NoGateway { .. } => {
                Self::new(Code::TryAgain, error).remedy("start the validators (quorate testnet up)")
            }
            LoadError::SessionsFull => Self::new(Code::No, error)
                .remedy("raise limits.sessions_max in the genesis of a new chain"),
            LoadError::Net(_) | LoadError::Key(_) => Self::new(Code::TryAgain, error),
            LoadError::Protocol { .. } => {
                Self::new(Code::No, error).remedy("run the same version everywhere")
            }
            LoadError::Peer { .. } => Self::new(Code::TryAgain, error)
                .remedy("its node ended or does not listen: the lines it wrote say why"),
            LoadError::PeerProtocol { .. } => {
                Self::new(Code::No, error).remedy("bench/peers/README.md has the protocol")
            }
        }
    }
}

/// Says how far the load is, on a line a second.
pub(crate) fn teller() -> impl FnMut(&Progress) {
    let mut told_seconds = 0;
    move |now| {
        if let Some(longest) = now.drains {
            tell(now);
            progress(&format!(
                "all is sent; waiting for the missing results, {} s at most (Ctrl-C ends that)",
                longest.as_secs()
            ));
        } else if now.elapsed.as_secs() > told_seconds {
            told_seconds = now.elapsed.as_secs();
            tell(now);
        }
    }
}

fn tell(now: &Progress) {
    let counts = &now.counts;
    progress(&format!(
        "{:>4} s  offered {:>9}  accepted {:>9}  finalized {:>9}  busy {:>7}  in flight {:>7}",
        now.elapsed.as_secs(),
        now.offered,
        counts.accepted,
        counts.finalized,
        counts.busy,
        counts.accepted.saturating_sub(counts.finalized),
    ));
}

/// The file for the histogram, open before the load: a path that cannot be written would cost the
/// whole measurement after it.
#[derive(Debug)]
pub(crate) struct Hgrm(Option<(PathBuf, File)>);

impl Hgrm {
    /// Opens what the options name. What stands there already stays until [`Hgrm::write`].
    ///
    /// # Errors
    /// Configuration: the file cannot be written.
    pub(crate) fn open(path: Option<&Path>) -> Result<Self, Failure> {
        let Some(path) = path else {
            return Ok(Self(None));
        };
        let mut options = OpenOptions::new();
        let opened = options.write(true).create(true).truncate(false).open(path);
        let file = opened.map_err(|error| unwritable(path, &error, Code::Configuration))?;
        Ok(Self(Some((path.to_path_buf(), file))))
    }

    /// Writes the latencies in the place of what stood there.
    ///
    /// # Errors
    /// The disk does not take it.
    pub(crate) fn write(self, latencies: &Latencies) -> Result<(), Failure> {
        let Some((path, file)) = self.0 else {
            return Ok(());
        };
        let length = file.metadata().map_or(0, |found| found.len());
        // A device such as /dev/stdout has no length and takes none.
        let emptied = if length > 0 { file.set_len(0) } else { Ok(()) };
        let mut file = BufWriter::new(file);
        emptied
            .and_then(|()| latencies.write_hgrm(&mut file))
            .and_then(|()| file.flush())
            .map_err(|error| unwritable(&path, &error, Code::TryAgain))
    }
}

/// The file of `--hgrm` cannot be written; with this code where the system does not ask for one.
pub(crate) fn unwritable(path: &Path, error: &std::io::Error, otherwise: Code) -> Failure {
    Failure::of_refusal(
        format!("--hgrm {}: {error}", path.display()),
        error,
        otherwise,
    )
}

/// How the validators are set up, read back from what they run with.
///
/// # Errors
/// A configuration of the testnet cannot be read.
pub(crate) fn setting(
    testnet: &Testnet,
    workload: Workload,
    plan: &LoadPlan,
    placement: (String, String),
) -> Result<Setting, Failure> {
    let file = testnet.genesis().file();
    let config = ConfigFile::load(&testnet.config_path(0)).map_err(TestnetError::from)?;
    let (threads, idle) = placement;
    Ok(Setting {
        validators: testnet.validators(),
        weights: testnet.weights(),
        fault_weight: file.fault_weight,
        fast_slack: file.fast_slack,
        seconds: plan.seconds,
        rate: plan.rate.get(),
        clients: plan.clients as usize,
        workload: workload.name(),
        durability: format!("{:?}", config.durability).to_lowercase(),
        threads,
        idle,
    })
}

/// What came of the load.
pub(crate) fn measured(outcome: &Outcome, fast: Option<f64>, blocks: u64) -> Measured {
    let counts = &outcome.counts;
    Measured {
        offered: outcome.offered,
        unsent: outcome.offered.saturating_sub(counts.generated),
        accepted: counts.accepted,
        busy: counts.busy,
        rejected: counts.rejected,
        finalized: counts.finalized,
        missing: outcome.missing,
        throughput_per_s: per_second(counts.finalized, outcome.elapsed_ns),
        finality_us: outcome.finality.percentiles(),
        client_us: outcome.client.percentiles(),
        fast_path_fraction: fast,
        blocks,
        gateways_lost: outcome.gateways_lost,
    }
}

/// Everything that makes a load a failure, in words.
pub(crate) fn complaints(outcome: &Outcome, agreement: &Agreement) -> Vec<String> {
    let mut found = agreement.differences.clone();
    if outcome.missing > 0 {
        found.push(format!(
            "{} commands had no result when their wait ended, {DRAIN_SECONDS} s after the last send \
             at the latest",
            outcome.missing
        ));
    }
    // A low rate for a short time may ask for nothing at all.
    if outcome.offered > 0 && outcome.counts.finalized == 0 && !outcome.is_interrupted {
        found.push("nothing was finalized".to_owned());
    }
    if !outcome.reasons.is_empty() {
        found.push(format!(
            "commands were refused at admission: {:?}",
            outcome.reasons
        ));
    }
    found
}

/// The report as text for people.
pub(crate) fn text(report: &LoadReport, complaints: &[String]) -> String {
    let mut facts = table(&["what", "value"]);
    for (what, value) in facts_of(report) {
        facts.add_row(vec![what.to_owned(), value]);
    }
    let measured = &report.measured;
    let mut times = table(&["microseconds", "p50", "p90", "p99", "p99.9", "max"]);
    times.add_row(row("finality at the validator", &measured.finality_us));
    times.add_row(row("client, from the intended time", &measured.client_us));
    let mut text = format!("{facts}\n{times}");
    text.push_str(&verdict::all_failed(complaints));
    text
}

fn facts_of(report: &LoadReport) -> Vec<(&'static str, String)> {
    let (s, m, a) = (&report.setting, &report.measured, &report.agreement);
    let weights: Vec<_> = s.weights.iter().map(u64::to_string).collect();
    let cluster = format!("{}: {}", s.validators, weights.join(","));
    let choices = format!("{}, {}, {}", s.durability, s.threads, s.idle);
    let load = format!(
        "{}: {}/s for {} s from {} sessions",
        s.workload, s.rate, s.seconds, s.clients
    );
    let counts = format!("{}, {}, {}", m.offered, m.accepted, m.finalized);
    let refused = format!("{}, {}, {}, {}", m.busy, m.rejected, m.unsent, m.missing);
    let blocks = format!("{}, {}", m.blocks, percent(m.fast_path_fraction));
    vec![
        ("validators, weights", cluster),
        ("F, P", format!("{}, {}", s.fault_weight, s.fast_slack)),
        ("durability, threads, idle", choices),
        ("load", load),
        ("offered, accepted, finalized", counts),
        ("busy, rejected, unsent, missing", refused),
        ("finalized a second", format!("{:.0}", m.throughput_per_s)),
        ("blocks, on the fast path", blocks),
        ("state roots equal", yes_no(a.state_roots_equal)),
        ("logs equal", yes_no(a.logs_equal)),
    ]
}

fn row(name: &str, percentiles: &Percentiles) -> Vec<String> {
    let cell = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |us| format!("{us:.0}"));
    vec![
        name.to_owned(),
        cell(percentiles.p50),
        cell(percentiles.p90),
        cell(percentiles.p99),
        cell(percentiles.p999),
        cell(percentiles.max),
    ]
}

/// A fraction as a percentage.
pub(crate) fn percent(fraction: Option<f64>) -> String {
    fraction.map_or_else(
        || "-".to_owned(),
        |fraction| format!("{:.1} %", fraction * 100.0),
    )
}

fn yes_no(value: Option<bool>) -> String {
    match value {
        Some(true) => "yes",
        Some(false) => "NO",
        None => "not compared",
    }
    .to_owned()
}
