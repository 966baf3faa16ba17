//! `cargo xtask instructions`: how many instructions the hot parts take, by valgrind.
//!
//! Owns the order: tools, benches, report. The benches are `bench/instructions`, a workspace of its
//! own, since this crate depends on none of the engine's. Never: judges a difference; whoever made
//! the change does.

mod options;
mod report;
mod summary;
mod tools;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use options::Options;
use report::Report;
use tools::Tools;

/// Where the benches stand.
const FOLDER: &str = "bench/instructions";

/// Counts, and prints what came of it.
///
/// # Errors
/// When an option is unknown, a tool is missing or of another version, the benches cannot be built
/// or run, what they print is not understood, or the report to compare with cannot be read.
pub(crate) fn run(root: &Path, options: &[&str]) -> Result<bool> {
    let options = Options::parse(options)?;
    // Before the minutes that the rest takes.
    let before = match options.against {
        Some(path) => Some(read_report(Path::new(path))?),
        None => None,
    };
    let lock = format!("{FOLDER}/Cargo.lock");
    let lock = fs::read_to_string(root.join(&lock)).with_context(|| format!("reading {lock}"))?;
    let tools = Tools::find(&lock)?;
    let counts = summary::counts(&printed(root)?)?;
    let report = Report::new(tools, counts);
    if options.as_json {
        println!("{:#}", report.json(before.as_ref()));
    } else {
        print!("{}", report.table(before.as_ref()));
    }
    Ok(true)
}

/// What the benches print: an object of JSON for each, one a line.
fn printed(root: &Path) -> Result<String> {
    let mut command = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".into()));
    command
        .args(["run", "--locked", "--quiet", "--release"])
        .arg("--manifest-path")
        .arg(root.join(FOLDER).join("Cargo.toml"))
        // Caches are not simulated: the counts do not change, and it takes half the time.
        .args(["--", "--bench", "--output-format=json"])
        .arg("--callgrind-args=--cache-sim=no")
        .current_dir(root)
        .stderr(Stdio::inherit());
    let output = command.output().context("running cargo")?;
    ensure!(
        output.status.success(),
        "the benches of {FOLDER} failed ({}): what they said stands above",
        output.status
    );
    String::from_utf8(output.stdout).context("reading what the benches printed")
}

fn read_report(path: &Path) -> Result<Report> {
    let text = fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    Report::parse(&text).with_context(|| {
        let path = path.display();
        format!("{path} is not what `cargo xtask instructions --json` prints")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_that_is_not_there_is_named_before_anything_runs() {
        let root = crate::repository_root();
        let error = run(&root, &["--against", "no/such/file.json"]).expect_err("no file");
        assert!(format!("{error:#}").contains("no/such/file.json"));
        let error = run(&root, &["--against", "Cargo.toml"]).expect_err("no report");
        let error = format!("{error:#}");
        assert!(error.contains("Cargo.toml"), "{error}");
    }

    #[test]
    fn the_lock_file_of_the_benches_names_the_version_of_the_runner() {
        let lock = crate::repository_root().join(FOLDER).join("Cargo.lock");
        let lock = fs::read_to_string(lock).expect("the lock file");
        let manifest = crate::repository_root().join(FOLDER).join("Cargo.toml");
        let manifest = fs::read_to_string(manifest).expect("the manifest");
        let version = tools::wanted(&lock).expect("gungraun is locked");
        assert!(manifest.contains(&format!("gungraun = \"={version}\"")));
    }
}
