//! `quorate sim --latency`: how long finality would take with many validators at given distances,
//! by the code that ships over virtual time.
//!
//! Owns the files and the comparison with a measurement. Never: measures.

use std::path::{Path, PathBuf};

use clap::Args;
use quorate_sim::{
    COSTS_FILE, Costs, FileError, LATENCY_FILES, LatencyMatrix, Prediction, ScaleError,
    ScaleOptions, SyncTimes, predict,
};
use serde::Serialize;
use serde_json::Value;

use crate::failure::{Code, Failure};
use crate::output::{Report, table};
use crate::verdict;

/// A prediction is as good as wanted when it is so close to what was measured.
const CLOSE: f64 = 0.25;
/// Longest file that is read, bytes.
const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// What to do about a file of each kind that cannot be read.
const COSTS_REMEDY: &str = "give a readable file like engine/sim/latency/costs.txt";
const LATENCY_REMEDY: &str = "give hall, metro, world, or a readable file";
const MEASURED_REMEDY: &str = "give what `quorate bench latency --json` printed";
/// Nanoseconds in a microsecond.
const NS_PER_US: f64 = 1_000.0;
/// Nanoseconds in a second.
const NS_PER_S: u64 = 1_000_000_000;

/// Options of the prediction.
#[derive(Debug, Args)]
pub(crate) struct PredictOptions {
    /// Predict finality instead: hall, metro or world, or a file with the one way between places
    #[arg(long, value_name = "FILE|NAME", num_args = 1.., group = "prediction")]
    #[arg(conflicts_with_all = ["exhaustive", "script", "images", "nightly", "tell", "byzantine"])]
    #[arg(conflicts_with_all = ["seeds", "scenario", "threads", "twins", "beyond", "require_all"])]
    latency: Vec<PathBuf>,
    /// Of the validators so many are not there
    // Where `latency` itself is in conflict with what is given, nothing is required of it.
    #[arg(long, value_name = "K", requires = "latency", default_value_t = 0)]
    #[arg(conflicts_with_all = ["seeds", "scenario", "threads", "twins", "beyond", "require_all"])]
    down: u16,
    /// A vote waits for the disk
    #[arg(long, requires = "latency")]
    #[arg(conflicts_with_all = ["seeds", "scenario", "threads", "twins", "beyond", "require_all"])]
    synced: bool,
    /// What operations cost, nanoseconds: a file like engine/sim/latency/costs.txt
    #[arg(long, value_name = "FILE", requires = "prediction")]
    costs: Option<PathBuf>,
    /// All threads of all validators share so many cores of one machine; a machine with enough of
    /// them for each validator when not given. Of a measurement that tells its cores, those
    #[arg(long, value_name = "C", requires = "prediction")]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=1_024))]
    cores: Option<u16>,
    /// Commands that count in a prediction, one after the other
    #[arg(long, value_name = "N", default_value_t = 100, requires = "prediction")]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=100_000))]
    commands: u64,
    /// Predict what `bench latency --json` measured: its validators on the cores of its machine
    #[arg(long, value_name = "FILE", group = "prediction")]
    #[arg(conflicts_with_all = ["exhaustive", "script", "images", "nightly", "tell", "byzantine"])]
    #[arg(conflicts_with_all = ["seeds", "scenario", "threads", "twins", "beyond", "require_all"])]
    #[arg(conflicts_with_all = ["latency", "validators"])]
    check_against: Option<PathBuf>,
}

impl PredictOptions {
    pub(super) const fn is_wanted(&self) -> bool {
        !self.latency.is_empty() || self.check_against.is_some()
    }
}

/// One prediction.
#[derive(Debug, Serialize)]
struct Row {
    latency: String,
    validators: u16,
    down: u16,
    durability: &'static str,
    /// Cores that all validators share.
    #[serde(skip_serializing_if = "Option::is_none")]
    cores: Option<u16>,
    /// At the leader, from a command's receipt there.
    finality_us: Micros,
    /// Share of commands in blocks that became final by first votes.
    fast_path_fraction: f64,
    frames_per_command: f64,
    /// Median that was measured, and how far the prediction is from it as a share of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    measured_p50_us: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    is_close: Option<bool>,
    /// In what the validators that were measured are not those of the model.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unlike: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Micros {
    p50: f64,
    p99: f64,
}

/// Figures of a measurement that no prediction can be held against.
#[derive(Debug, Serialize)]
struct Refused {
    durability: &'static str,
    why: String,
}

#[derive(Debug, Serialize)]
struct Fields {
    predictions: Vec<Row>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    refused: Vec<Refused>,
}

/// Predicts.
///
/// # Errors
/// A file cannot be read, or no chain can be as asked for.
pub(super) fn run(options: &PredictOptions, validators: u16) -> Result<Report, Failure> {
    let costs = match &options.costs {
        Some(path) => parse(path, &read(path, COSTS_REMEDY)?, Costs::parse)?,
        None => parse(
            Path::new("the costs that come along"),
            COSTS_FILE,
            Costs::parse,
        )?,
    };
    let (mut rows, mut refused) = (Vec::new(), Vec::new());
    if let Some(path) = &options.check_against {
        (rows, refused) = check(path, costs, options)?;
    }
    for path in &options.latency {
        let known = LATENCY_FILES
            .iter()
            .find(|(name, _)| path == Path::new(name));
        let text = known.map_or_else(
            || read(path, LATENCY_REMEDY),
            |(_, text)| Ok((*text).to_owned()),
        )?;
        let wanted = ScaleOptions {
            validators,
            down: options.down,
            matrix: parse(path, &text, LatencyMatrix::parse)?,
            costs,
            cores: options.cores,
            is_synced: options.synced,
            syncs: None,
            commands: options.commands,
            command_bytes: 128,
            interval_ns: None,
        };
        rows.push(Row::of(path.display().to_string(), &wanted)?);
    }
    let mut text = text(&rows);
    for Refused { durability, why } in &refused {
        text.push_str(&format!("\n{durability}: NOT COMPARED: {why}"));
    }
    let is_close = rows.iter().all(|row| row.is_close != Some(false));
    let code = verdict::code(is_close && refused.is_empty());
    let fields = Fields {
        predictions: rows,
        refused,
    };
    Ok(Report::new(&fields, text)?.with_code(code))
}

/// Predicts each durability of a measurement, over ways that take no time but what its ends pay for
/// them: the cost of writes, reads and wake-ups, of which the measurement's own floor has its share
/// already, so that nothing of it is used. Of one that cannot be compared the others are no worse.
///
/// # Errors
/// There is none that can be compared, or no chain can be as it was measured.
fn check(
    path: &Path,
    costs: Costs,
    options: &PredictOptions,
) -> Result<(Vec<Row>, Vec<Refused>), Failure> {
    let wrong =
        |what: &str| Failure::usage(format!("{}: {what}", path.display())).remedy(MEASURED_REMEDY);
    let value: Value = serde_json::from_str(&read(path, MEASURED_REMEDY)?)
        .map_err(|error| wrong(&error.to_string()))?;
    let whole = |pointer: &str| {
        let found = value.pointer(pointer).map(|found| found.as_u64());
        found.map(|found| found.and_then(|found| u16::try_from(found).ok()))
    };
    let validators = whole("/validators").flatten();
    let validators = validators.ok_or_else(|| wrong("it has no validators"))?;
    let down = whole("/stopped").flatten().unwrap_or(0);
    let told = whole("/measured/machine/cores").or_else(|| whole("/cores"));
    if told.is_some_and(|cores| cores.is_none_or(|cores| cores == 0)) {
        return Err(wrong("its cores are no number of cores"));
    }
    let cores = options.cores.or_else(|| told.flatten());
    let bytes = value.get("size").and_then(Value::as_u64).unwrap_or(0);
    let interval_ns = interval_ns(&value).map_err(wrong)?;
    let (mut rows, mut refused) = (Vec::new(), Vec::new());
    for figures in [Some(&value), value.get("sync")].into_iter().flatten() {
        let is_synced = figures["durability"] == "sync";
        let measured = match comparable(figures, interval_ns) {
            Ok(measured) => measured,
            Err(why) => {
                let durability = durability(is_synced);
                refused.push(Refused { durability, why });
                continue;
            }
        };
        let wanted = ScaleOptions {
            validators,
            down,
            matrix: LatencyMatrix::uniform(0),
            costs,
            cores,
            is_synced,
            syncs: Some(syncs(figures, costs)),
            commands: options.commands,
            command_bytes: usize::try_from(bytes).unwrap_or(0).min(4_096),
            interval_ns,
        };
        let mut row = Row::of("loopback".to_owned(), &wanted)?;
        let error = (row.finality_us.p50 - measured) / measured;
        row.measured_p50_us = Some(measured);
        row.error = Some(error);
        row.is_close = Some(error.abs() <= CLOSE);
        row.unlike = unlike(figures);
        rows.push(row);
    }
    match refused.first() {
        Some(first) if rows.is_empty() => Err(wrong(&first.why)),
        _ => Ok((rows, refused)),
    }
}

const fn durability(is_synced: bool) -> &'static str {
    if is_synced { "sync" } else { "async" }
}

fn us(figures: &Value, pointer: &str) -> Option<f64> {
    figures.pointer(pointer).and_then(Value::as_f64)
}

/// The median of figures that a prediction can be held against, microseconds, or why none can.
fn comparable(figures: &Value, interval_ns: Option<u64>) -> Result<f64, String> {
    if let Some(spoiled) = spoiled(figures) {
        return Err(format!("it is not as it should be: {spoiled}"));
    }
    let measured = us(figures, "/finality_us/p50").filter(|us| *us > 0.0);
    let measured = measured.ok_or("it has no finality")?;
    if interval_ns.is_some_and(|interval_ns| interval_ns < to_ns(measured)) {
        return Err(
            "commands came before the one before was final, and in the model they come one after \
             the other: measure at a lower --rate"
                .to_owned(),
        );
    }
    Ok(measured)
}

/// The syncs that figures tell; what is not told of them is as what is.
fn syncs(figures: &Value, costs: Costs) -> SyncTimes {
    let sync_ns = |name: &str| us(figures, &format!("/group_sync_us/{name}_us")).map(to_ns);
    let p50_ns = sync_ns("p50").unwrap_or(costs.sync_ns);
    let p90_ns = sync_ns("p90").unwrap_or(p50_ns);
    SyncTimes {
        p50_ns,
        p90_ns,
        p99_ns: sync_ns("p99").unwrap_or(p90_ns),
    }
}

/// Time between two commands of a measurement; none where it does not tell its rate.
fn interval_ns(measured: &Value) -> Result<Option<u64>, &'static str> {
    let Some(rate) = measured.get("rate") else {
        return Ok(None);
    };
    let interval_ns = rate.as_u64().and_then(|rate| NS_PER_S.checked_div(rate));
    interval_ns
        .map(Some)
        .ok_or("its rate is no number of commands a second")
}

/// Why figures are of a run that counts for nothing.
fn spoiled(figures: &Value) -> Option<String> {
    let list = |key: &str| {
        figures
            .get(key)
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
    };
    if let Some(difference) = list("differences").next() {
        return Some(difference.as_str().unwrap_or("a difference").to_owned());
    }
    let sum = |key: &str| -> u64 {
        let counts = list("runs").filter_map(|run| run.get(key)?.as_u64());
        counts.fold(0, u64::saturating_add)
    };
    let lost = ["missing", "rejected", "unknown", "untold"]
        .into_iter()
        .map(|key| (key, sum(key)))
        .find(|(_, count)| *count > 0);
    let (unsent, offered) = (sum("unsent"), sum("offered"));
    let held_back = (!verdict::are_sent(unsent, offered)).then_some(("unsent", unsent));
    let (key, count) = lost.or(held_back)?;
    Some(format!("{count} commands are `{key}`"))
}

/// In what the validators of a measurement are not those of the model, which sleep as soon as they
/// have nothing to do, on one thread each.
fn unlike(figures: &Value) -> Vec<String> {
    let modelled = [("idle", "park"), ("threads", "shared")];
    let told = modelled.into_iter().filter_map(|(key, modelled)| {
        let told = figures.get(key)?.as_str()?;
        (told != modelled).then(|| format!("{key}: {told}, and {modelled} in the model"))
    });
    told.collect()
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "microseconds of a latency, at least zero here"
)]
fn to_ns(us: f64) -> u64 {
    (us.max(0.0) * NS_PER_US) as u64
}

impl Row {
    fn of(latency: String, wanted: &ScaleOptions) -> Result<Self, Failure> {
        let found: Prediction = predict(wanted)?;
        #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
        let us = |ns: u64| ns as f64 / NS_PER_US;
        #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
        let share = found.fast as f64 / found.commands.max(1) as f64;
        Ok(Self {
            latency,
            validators: wanted.validators,
            down: wanted.down,
            durability: durability(wanted.is_synced),
            cores: wanted.cores,
            finality_us: Micros {
                p50: us(found.p50_ns),
                p99: us(found.p99_ns),
            },
            fast_path_fraction: share,
            frames_per_command: found.frames_per_command,
            measured_p50_us: None,
            error: None,
            is_close: None,
            unlike: Vec::new(),
        })
    }
}

fn read(path: &Path, remedy: &str) -> Result<String, Failure> {
    let wrong = |what: String| Failure::usage(format!("{}: {what}", path.display())).remedy(remedy);
    let length = std::fs::metadata(path).map_err(|error| wrong(error.to_string()))?;
    if length.len() > FILE_BYTES_MAX {
        return Err(wrong(format!("{} bytes are too many", length.len())));
    }
    std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))
}

fn parse<T>(
    path: &Path,
    text: &str,
    parse: impl FnOnce(&str) -> Result<T, FileError>,
) -> Result<T, Failure> {
    parse(text).map_err(|error| {
        Failure::usage(format!("{}: {error}", path.display())).remedy("correct the line")
    })
}

fn text(rows: &[Row]) -> String {
    let mut lines = table(&[
        "ways",
        "validators",
        "away",
        "durability",
        "cores",
        "p50 us",
        "p99 us",
        "fast path",
        "frames/command",
        "measured p50 us",
        "off by",
    ]);
    for row in rows {
        let or_dash = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
        lines.add_row(vec![
            row.latency.clone(),
            row.validators.to_string(),
            row.down.to_string(),
            row.durability.to_owned(),
            row.cores
                .map_or_else(|| "own".to_owned(), |cores| cores.to_string()),
            format!("{:.0}", row.finality_us.p50),
            format!("{:.0}", row.finality_us.p99),
            format!("{:.0} %", row.fast_path_fraction * 100.0),
            format!("{:.0}", row.frames_per_command),
            or_dash(row.measured_p50_us.map(|us| format!("{us:.0}"))),
            or_dash(row.error.map(|error| format!("{:+.0} %", error * 100.0))),
        ]);
    }
    let mut text = lines.to_string();
    for row in rows.iter().filter(|row| !row.unlike.is_empty()) {
        let (durability, unlike) = (row.durability, row.unlike.join("; "));
        text.push_str(&format!(
            "\n{durability}: what was measured is unlike: {unlike}"
        ));
    }
    text
}

impl From<ScaleError> for Failure {
    fn from(error: ScaleError) -> Self {
        match error {
            ScaleError::Validators(_) | ScaleError::Down { .. } => {
                Self::usage(error).remedy("choose other numbers")
            }
            ScaleError::Unfinished { .. } => Self::new(Code::No, error),
            ScaleError::Product(_) => Self::new(Code::Safety, error).remedy("report this"),
        }
    }
}
