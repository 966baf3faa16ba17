//! `quorate bench report`: one HTML page, from files that the measuring commands printed or from
//! measurements made for it.
//!
//! Owns the files and the list of measurements. Each is made by a process of its own with the very
//! command that the page names. Never: changes a number.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use clap::Args;
use quorate_bench::machine::Circumstances;
use quorate_bench::page::{Heading, Inputs, Kind, render};
use serde::Serialize;
use serde_json::{Value, json};

use crate::failure::{Code, Failure};
use crate::files;
use crate::output::{Report, SCHEMA, progress};
use crate::verdict;

/// Longest file that is read, bytes.
const FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// The rate that a sweep calls full when none was borne, commands a second.
const SWEEP_RATE: u64 = 25_000;

/// Options of the command.
#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("source").required(true).multiple(true)))]
pub(crate) struct Options {
    /// What latency, throughput, sweep, failover and peers printed with --json
    #[arg(long, value_name = "FILE", num_args = 1.., group = "source")]
    from: Vec<PathBuf>,
    /// Measure now: latency, throughput, sweep, a validator that stands still, loss of the leader
    #[arg(long, group = "source")]
    run: bool,
    /// The page; beside it go NAME.json with all measurements, and with --run a folder NAME with
    /// what was measured and its distributions (.hgrm, .hlog)
    #[arg(long, value_name = "FILE.html")]
    out: PathBuf,
    /// With --run: alternating runs of floor and cluster
    #[arg(long, default_value_t = 5, requires = "run")]
    runs: u32,
    /// With --run: seconds of each load
    #[arg(long, default_value_t = 3, requires = "run")]
    seconds: u64,
    /// With --run: losses of the leader, of each kind
    #[arg(long, default_value_t = 200, requires = "run")]
    kills: u64,
    /// The commit that this program was built from, for the page
    #[arg(long, value_name = "TEXT")]
    commit: Option<String>,
}

#[derive(Serialize)]
struct Fields {
    page: String,
    measurements: String,
    /// Kinds of measurements that are in the page.
    sections: Vec<&'static str>,
    /// Measurements that failed.
    failed: Vec<String>,
}

/// Makes the page.
///
/// # Errors
/// A file cannot be read or written, or is no measurement.
pub(crate) fn run(options: &Options) -> Result<Report, Failure> {
    let stem = options.out.with_extension("");
    if stem == options.out || options.out.file_stem().is_none() {
        let what = format!("--out {}: not the name of a page", options.out.display());
        return Err(Failure::usage(what).remedy("give one that ends with .html"));
    }
    let mut inputs = Inputs::default();
    let mut earlier = Vec::new();
    for path in &options.from {
        if take(&mut inputs, path)? {
            earlier.push(path.as_path());
        }
    }
    let measurements = outputs(options, &stem, &earlier)?;
    let mut failed = Vec::new();
    if options.run {
        let series = Series {
            options,
            folder: &stem,
        };
        failed = series.run(&mut inputs)?;
    }
    let circumstances = Circumstances::now(&[]);
    let heading = Heading {
        commit: options.commit.as_deref(),
        date: &circumstances.date,
    };
    write(&options.out, render(&inputs, heading).as_bytes())?;
    let all: Vec<Value> = inputs
        .iter()
        .map(|(kind, value)| json!({"command": kind.command(), "output": value}))
        .collect();
    let all = json!({"schema": SCHEMA, "date": circumstances.date, "commit": options.commit,
        "measurements": all});
    write(&measurements, format!("{all:#}\n").as_bytes())?;
    let mut sections: Vec<&'static str> = inputs.iter().map(|(kind, _)| name(kind)).collect();
    sections.sort_unstable();
    sections.dedup();
    let fields = Fields {
        page: options.out.display().to_string(),
        measurements: measurements.display().to_string(),
        sections,
        failed,
    };
    let mut text = format!("{}: {}", fields.page, fields.sections.join(", "));
    text.push_str(&verdict::all_failed(&fields.failed));
    let code = verdict::code(fields.failed.is_empty());
    Ok(Report::new(&fields, text)?.with_code(code))
}

/// The file of all measurements, beside the page. One of an `earlier` report may be written again:
/// it comes to hold all that it held.
///
/// # Errors
/// Usage: it is the page, or what is written would replace what is read.
fn outputs(options: &Options, stem: &Path, earlier: &[&Path]) -> Result<PathBuf, Failure> {
    // Appended: a dot in the name begins no ending that could be replaced.
    let mut name = stem.as_os_str().to_owned();
    name.push(".json");
    let measurements = PathBuf::from(name);
    let page = &options.out;
    if measurements == *page {
        let what = format!(
            "--out {}: the measurements are written there",
            page.display()
        );
        return Err(Failure::usage(what).remedy("give one that ends with .html"));
    }
    // What is not there yet is no input.
    let real = |path: &Path| fs::canonicalize(path).ok();
    let (real_page, real_all) = (real(page), real(&measurements));
    let folder = real(stem).filter(|_| options.run);
    for from in &options.from {
        let input = real(from);
        let is_page = input.is_some() && input == real_page;
        let is_all = input.is_some() && input == real_all && !earlier.contains(&from.as_path());
        let is_within =
            folder.is_some() && input.as_deref().and_then(Path::parent) == folder.as_deref();
        if is_page || is_all || is_within {
            let (from, page) = (from.display(), page.display());
            let what = format!("--out {page}: it would replace {from}, which is read");
            return Err(Failure::usage(what).remedy("give the page another name or folder"));
        }
    }
    expect_earlier(&measurements)?;
    Ok(measurements)
}

/// Refuses to replace a file of measurements that no report wrote: what a command printed may have
/// that name, and hours in it.
fn expect_earlier(measurements: &Path) -> Result<(), Failure> {
    let is_there = fs::symlink_metadata(measurements).is_ok();
    let is_earlier = || read(measurements).is_ok_and(|value| several(&value).is_some());
    if is_there && !is_earlier() {
        let at = measurements.display();
        let what = format!("--out: it would replace {at}, which no report wrote");
        return Err(Failure::usage(what).remedy("give the page another name or folder"));
    }
    Ok(())
}

const fn name(kind: Kind) -> &'static str {
    match kind {
        Kind::Latency => "latency",
        Kind::Throughput => "throughput",
        Kind::Sweep => "sweep",
        Kind::Failover => "failover",
        Kind::Peers => "peers",
    }
}

/// What an earlier report wrote; none where it was another command.
fn several(value: &Value) -> Option<&[Value]> {
    let list = value.get("measurements").and_then(Value::as_array);
    list.map(Vec::as_slice)
}

/// What a file holds.
///
/// # Errors
/// It is too long, no text, or no JSON, in words.
fn read(path: &Path) -> Result<Value, String> {
    let length = fs::metadata(path).map_err(|error| error.to_string())?.len();
    if length > FILE_BYTES_MAX {
        return Err(format!("{length} bytes are too many"));
    }
    let text = fs::read_to_string(path).map_err(|error| error.to_string())?;
    serde_json::from_str(&text).map_err(|error| error.to_string())
}

/// Takes a file in; whether an earlier report wrote it.
fn take(inputs: &mut Inputs, path: &Path) -> Result<bool, Failure> {
    let name = path.display().to_string();
    let bad = |why: String| {
        Failure::usage(format!("{name}: {why}")).remedy("give what a bench command printed")
    };
    let value = read(path).map_err(bad)?;
    // A file that an earlier report wrote holds several.
    let several = several(&value);
    let is_earlier = several.is_some();
    let all = match several {
        Some([]) => return Err(bad("it holds no measurement".to_owned())),
        Some(list) => {
            let outputs = list.iter().map(|one| one.get("output").cloned());
            let outputs: Option<Vec<Value>> = outputs.collect();
            outputs.ok_or_else(|| bad("a measurement in it has no output".to_owned()))?
        }
        None => vec![value],
    };
    for one in all {
        inputs
            .take(&name, one)
            .map_err(|error| Failure::usage(error).remedy("give what one of these printed"))?;
    }
    Ok(is_earlier)
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    // The one before may be what this was made of, and hours of measurements.
    files::replace(path, bytes).map_err(|error| {
        let what = format!("writing {}: {error}", path.display());
        Failure::of_refusal(what, &error, Code::Configuration)
    })
}

/// The measurements that a page wants.
struct Series<'a> {
    options: &'a Options,
    folder: &'a Path,
}

impl Series<'_> {
    /// Makes all of them, one after the other; one that fails is told and left out.
    fn run(&self, inputs: &mut Inputs) -> Result<Vec<String>, Failure> {
        let mut failed = Vec::new();
        let Options {
            runs,
            seconds,
            kills,
            ..
        } = self.options;
        let (runs, seconds) = (runs.to_string(), seconds.to_string());
        let times = ["--runs", &runs, "--seconds", &seconds];
        let histograms = self.folder.display().to_string();
        let six = ["latency", "--validators", "6", "--durability", "async"];
        fs::create_dir_all(self.folder).map_err(|error| {
            let what = format!("making {}: {error}", self.folder.display());
            Failure::of_refusal(what, &error, Code::Configuration)
        })?;
        let mut measure = |file: &str, arguments: &[&str]| -> Result<Option<Value>, Failure> {
            let (found, trouble) = self.measure(file, arguments)?;
            failed.extend(trouble.map(|why| format!("bench {}: {why}", arguments.join(" "))));
            if let Some(value) = &found {
                let taken = inputs.take(file, value.clone());
                failed.extend(taken.err().map(|error| error.to_string()));
            }
            Ok(found)
        };
        let written = ["latency", "--histograms", &histograms];
        measure("latency", &[&written[..], &times].concat())?;
        measure("six", &[&six[..], &times].concat())?;
        measure("stopped", &[&six[..], &["--stopped", "1"], &times].concat())?;
        let found = measure("throughput", &[&["throughput"][..], &times].concat())?;
        let rate = found.and_then(|found| found["rate"].as_u64());
        let rate = rate.filter(|rate| *rate > 0).unwrap_or(SWEEP_RATE);
        let rate = rate.to_string();
        let sweep = ["sweep", "--rate", &rate, "--seconds", &seconds];
        measure("sweep", &sweep)?;
        measure("failover", &["failover", "--kills", &kills.to_string()])?;
        Ok(failed)
    }

    /// One measurement by a process of its own, which writes into the folder too; and why there is
    /// none, or why it is not as it should be.
    fn measure(
        &self,
        file: &str,
        arguments: &[&str],
    ) -> Result<(Option<Value>, Option<String>), Failure> {
        progress(&format!("bench {}", arguments.join(" ")));
        let program = std::env::current_exe().map_err(|error| {
            Failure::new(Code::TryAgain, format!("finding this program: {error}"))
        })?;
        let output = Command::new(program)
            .arg("bench")
            .args(arguments)
            .arg("--json")
            .stderr(Stdio::inherit())
            .output()
            .map_err(|error| Failure::new(Code::TryAgain, format!("starting it: {error}")))?;
        let found = judge(output.status.code(), &output.stdout);
        if found.0.is_some() {
            write(&self.folder.join(format!("{file}.json")), &output.stdout)?;
        }
        Ok(found)
    }
}

/// What a measurement printed, if it is one, and what is wrong with it, if anything is.
fn judge(code: Option<i32>, printed: &[u8]) -> (Option<Value>, Option<String>) {
    let value = match (code, serde_json::from_slice::<Value>(printed)) {
        (Some(0 | 1), Ok(value)) if Kind::of(&value).is_some() => value,
        (Some(0 | 1), Ok(other)) => return (None, Some(other.to_string())),
        (Some(0 | 1), Err(error)) => return (None, Some(error.to_string())),
        (Some(code), _) => return (None, Some(format!("it ended with {code}"))),
        (None, _) => return (None, Some("it was killed".to_owned())),
    };
    // It measured, and something is not as it should be: the page says what.
    let answer = "it ran, and the answer is no: its section says what is not as it should be";
    let trouble = (code == Some(1)).then(|| answer.to_owned());
    (Some(value), trouble)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(out: PathBuf, from: Vec<PathBuf>) -> Options {
        Options {
            from,
            run: false,
            out,
            runs: 1,
            seconds: 1,
            kills: 1,
            commit: None,
        }
    }

    #[test]
    fn what_is_written_replaces_neither_the_page_nor_what_is_read() {
        let folder = crate::scratch::Scratch::create(None).unwrap();
        let at = |name: &str| folder.path().join(name);
        let printed = r#"{"finality_us": {}, "floor_us": {}}"#;
        fs::write(at("latency.json"), printed).unwrap();
        let page = |out: &str| run(&options(at(out), vec![at("latency.json")]));
        for out in ["latency.html", "latency.json", "page.json"] {
            let refused = page(out).map(drop).unwrap_err();
            assert_eq!(refused.code, Code::Usage, "{out}");
        }
        assert_eq!(fs::read_to_string(at("latency.json")).unwrap(), printed);
        page("results.v2.html").unwrap();
        assert!(at("results.v2.json").is_file() && !at("results.json").exists());
        // Again, from what it wrote itself, which holds all that it held.
        let again = vec![at("results.v2.json")];
        run(&options(at("results.v2.html"), again)).unwrap();
        let kept = fs::read_to_string(at("results.v2.json")).unwrap();
        assert!(kept.contains("floor_us"), "{kept}");
    }

    #[test]
    fn measurements_that_no_report_wrote_are_not_replaced_by_those_of_a_page() {
        let folder = crate::scratch::Scratch::create(None).unwrap();
        let at = |name: &str| folder.path().join(name);
        let printed = r#"{"finality_us": {}, "floor_us": {}}"#;
        fs::write(at("latency.json"), printed).unwrap();
        // What `bench latency --json > night.json` left, and what is cut off.
        for there in [printed, "", r#"{"measurements": 7}"#] {
            fs::write(at("night.json"), there).unwrap();
            let refused = run(&options(at("night.html"), vec![at("latency.json")]));
            assert_eq!(refused.map(drop).unwrap_err().code, Code::Usage, "{there}");
            assert_eq!(fs::read_to_string(at("night.json")).unwrap(), there);
            assert!(!at("night.html").exists());
        }
    }

    #[test]
    fn the_file_before_stays_until_the_next_one_is_whole() {
        use std::os::unix::fs::MetadataExt as _;
        let folder = crate::scratch::Scratch::create(None).unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("a.json"), r#"{"finality_us": {}, "floor_us": {}}"#).unwrap();
        run(&options(at("page.html"), vec![at("a.json")])).unwrap();
        let before = fs::File::open(at("page.json")).unwrap();
        let place = || fs::metadata(at("page.json")).unwrap().ino();
        run(&options(at("page.html"), vec![at("page.json")])).unwrap();
        // Another file has the name: it was not cut off to be written anew.
        assert_ne!(before.metadata().unwrap().ino(), place());
    }

    #[test]
    fn an_earlier_page_without_a_measurement_or_its_output_is_refused() {
        let folder = crate::scratch::Scratch::create(None).unwrap();
        let at = |name: &str| folder.path().join(name);
        let whole = r#"{"output": {"finality_us": {}, "floor_us": {}}}"#;
        for list in ["", r#"{"command": "x"}"#, &format!("{whole}, {{}}")] {
            fs::write(at("old.json"), format!(r#"{{"measurements": [{list}]}}"#)).unwrap();
            let refused = run(&options(at("page.html"), vec![at("old.json")]));
            assert_eq!(refused.map(drop).unwrap_err().code, Code::Usage, "{list}");
            assert!(!at("page.html").exists());
        }
    }

    #[test]
    fn a_file_that_no_page_shows_is_refused_with_the_kinds_that_are_shown() {
        let folder = crate::scratch::Scratch::create(None).unwrap();
        let at = |name: &str| folder.path().join(name);
        let printed = r#"{"log_bytes": 1, "restart": {}, "join": {}, "lost": 0}"#;
        fs::write(at("recovery.json"), printed).unwrap();
        let options = options(at("page.html"), vec![at("recovery.json")]);
        let refused = run(&options).map(drop).unwrap_err();
        assert_eq!(refused.code, Code::Usage);
        let what = refused.to_string();
        for kind in ["latency", "throughput", "sweep", "failover", "peers"] {
            assert!(what.contains(kind), "{what}");
        }
        assert!(what.contains("recovery.json") && !at("page.html").exists());
    }

    #[test]
    fn a_measurement_whose_answer_is_no_is_kept_and_told_as_failed() {
        let printed = br#"{"finality_us": {}, "floor_us": {}, "differences": ["x"]}"#;
        assert_eq!(judge(Some(0), printed).1, None);
        let (value, trouble) = judge(Some(1), printed);
        assert_eq!(value.unwrap()["differences"][0], "x");
        assert!(trouble.unwrap().contains("the answer is no"));
        for (code, printed) in [
            (Some(0), &b"{}"[..]),
            (Some(1), b"["),
            (Some(75), printed),
            (None, printed),
        ] {
            let (value, trouble) = judge(code, printed);
            assert!(value.is_none() && trouble.is_some(), "{code:?}");
        }
    }
}
