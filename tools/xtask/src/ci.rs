//! `cargo xtask ci`: everything that must pass before a change is taken, cheap steps first.
//!
//! Owns the list of steps and their order. Never: installs anything (.ci/run does), and never
//! needs the network except for what cargo fetches itself.

use std::ffi::{OsStr, OsString};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// How long the whole run should take on two cores; the steps are chosen to stay well below it.
/// Going over it is said and not failed: how busy the machine is, no change can answer for.
const BUDGET: Duration = Duration::from_secs(25 * 60);

/// What a step runs.
#[derive(Clone, Copy)]
enum Runs {
    Cargo,
    /// A program that the tests step built, by its place below the folder of this one. A build of
    /// its own, with the features of a build without tests or with the release profile, would take
    /// a fifth of the whole run, and say nothing of the code that the tests did not.
    Built(&'static str),
}

/// One step: a name, what it runs with which arguments, and variables to set.
struct Step {
    name: &'static str,
    runs: Runs,
    arguments: &'static [&'static str],
    variables: &'static [(&'static str, &'static str)],
}

const fn step(name: &'static str, arguments: &'static [&'static str]) -> Step {
    Step {
        name,
        runs: Runs::Cargo,
        arguments,
        variables: &[],
    }
}

const fn built(
    name: &'static str,
    program: &'static str,
    arguments: &'static [&'static str],
) -> Step {
    Step {
        name,
        runs: Runs::Built(program),
        arguments,
        variables: &[],
    }
}

/// The steps in the order in which they run. The first that fails ends the run.
const STEPS: &[Step] = &[
    step("format", &["fmt", "--all", "--check"]),
    step(
        "tidy",
        &[
            "run",
            "--locked",
            "--quiet",
            "--package",
            "xtask",
            "--",
            "tidy",
        ],
    ),
    step(
        "lints",
        &[
            "clippy",
            "--locked",
            "--workspace",
            "--all-targets",
            "--",
            "-D",
            "warnings",
        ],
    ),
    Step {
        name: "tests",
        runs: Runs::Cargo,
        arguments: &["test", "--locked", "--workspace"],
        // Tests of whole clusters wait for timers and disks: on two cores three keep them busy.
        variables: &[("RUST_TEST_THREADS", "3")],
    },
    Step {
        name: "docs",
        runs: Runs::Cargo,
        arguments: &[
            "doc",
            "--locked",
            "--workspace",
            "--no-deps",
            "--document-private-items",
        ],
        variables: &[("RUSTDOCFLAGS", "-Dwarnings")],
    },
    built(
        "simulator",
        "quorate",
        &[
            "sim",
            "--seeds",
            "0..500",
            "--validators",
            "4",
            "--require-all",
            "--json",
        ],
    ),
    built("demo", "quorate", &["demo", "--seconds", "3", "--json"]),
    built("example", "examples/counter", &[]),
];

/// The step that needs a tool which a fresh machine lacks. Advisories are a remote database that
/// changes by itself, so that they are not part of a repeatable run.
const DENY: Step = step(
    "licences and bans",
    &["deny", "check", "bans", "licenses", "sources"],
);

/// What the tests of the client in Python need.
const WANTS_PYTHON: &str = "there is no python3 with the packages blake3 and cryptography";

/// Runs every step at `root`. False when one of them failed.
///
/// # Errors
/// When a step cannot be started.
pub(crate) fn run(root: &Path) -> Result<bool> {
    let start = Instant::now();
    let mut results = Vec::new();
    for step in STEPS {
        if !run_step(root, step, &mut results)? {
            return Ok(false);
        }
    }
    if has_cargo_deny(root)? {
        if !run_step(root, &DENY, &mut results)? {
            return Ok(false);
        }
    } else {
        println!("ci: {}: SKIPPED, cargo-deny is not installed", DENY.name);
    }
    // They say so themselves, which nobody sees of a test that passes.
    if !has_python(&python()) {
        println!("ci: tests of the client in Python: SKIPPED, {WANTS_PYTHON}");
    }
    println!("ci: test results");
    for line in &results {
        println!("  {line}");
    }
    println!("ci: {}", total(&results));
    let elapsed = start.elapsed();
    println!("ci: all steps passed in {} s", elapsed.as_secs());
    if elapsed > BUDGET {
        println!(
            "ci: that is over the budget of {} s: make a step cheaper",
            BUDGET.as_secs()
        );
    }
    Ok(true)
}

/// Runs one step, shows what it prints, and keeps the lines that sum up a test program.
fn run_step(root: &Path, step: &Step, results: &mut Vec<String>) -> Result<bool> {
    let mut command = command(root, step)?;
    let program = Path::new(command.get_program());
    let program = program.file_name().unwrap_or_default().to_string_lossy();
    let arguments = step.arguments.join(" ");
    println!("ci: {}: {program} {arguments}", step.name);
    let start = Instant::now();
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("starting the step {}", step.name))?;
    if let Some(output) = child.stdout.take() {
        for line in BufReader::new(output).split(b'\n') {
            let bytes = line.with_context(|| format!("reading the step {}", step.name))?;
            let line = String::from_utf8_lossy(&bytes);
            println!("{line}");
            if line.starts_with("test result:") {
                results.push(line.into_owned());
            }
        }
    }
    let status = child
        .wait()
        .with_context(|| format!("waiting for the step {}", step.name))?;
    let seconds = start.elapsed().as_secs();
    if status.success() {
        println!("ci: {}: ok in {seconds} s", step.name);
    } else {
        println!("ci: {}: FAILED after {seconds} s ({status})", step.name);
    }
    Ok(status.success())
}

fn cargo(root: &Path) -> Command {
    let mut command = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".into()));
    command.current_dir(root);
    command
}

fn command(root: &Path, step: &Step) -> Result<Command> {
    let mut command = match step.runs {
        Runs::Cargo => cargo(root),
        Runs::Built(place) => {
            let own = std::env::current_exe().context("finding the folder of built programs")?;
            Command::new(own.with_file_name(place))
        }
    };
    command
        .args(step.arguments)
        .current_dir(root)
        .envs(step.variables.iter().copied());
    Ok(command)
}

fn has_cargo_deny(root: &Path) -> Result<bool> {
    let status = cargo(root)
        .args(["deny", "--version"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .context("looking for cargo-deny")?;
    Ok(status.success())
}

/// The interpreter that the tests of the client in Python run with.
fn python() -> OsString {
    std::env::var_os("QUORATE_PYTHON").unwrap_or_else(|| "python3".into())
}

/// Whether those tests run and are not passed over.
fn has_python(interpreter: &OsStr) -> bool {
    let probe = Command::new(interpreter)
        .args(["-c", "import blake3, cryptography"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    probe.is_ok_and(|status| status.success())
}

/// The sum of the lines `test result: ok. 12 passed; 0 failed; ...`, in one line.
fn total(results: &[String]) -> String {
    let sum = |word: &str| -> u64 {
        results
            .iter()
            .flat_map(|line| line.split(['.', ';']))
            .filter_map(|part| part.trim().strip_suffix(word))
            .filter_map(|count| count.trim().parse::<u64>().ok())
            .sum()
    };
    format!(
        "{} passed, {} failed, {} ignored in {} test programs",
        sum("passed"),
        sum("failed"),
        sum("ignored"),
        results.len(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_adds_up_every_test_program() {
        let results = [
            "test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out"
                .to_owned(),
            "test result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured".to_owned(),
        ];
        assert_eq!(
            total(&results),
            "15 passed, 2 failed, 1 ignored in 2 test programs"
        );
    }

    #[test]
    fn a_step_that_fails_is_said_to_fail() {
        let root = crate::repository_root();
        let mut results = Vec::new();
        let good = run_step(&root, &step("good", &["--version"]), &mut results);
        assert!(good.expect("cargo runs"));
        let bad = run_step(
            &root,
            &step("bad", &["there-is-no-such-command"]),
            &mut results,
        );
        assert!(!bad.expect("cargo runs"));
        assert!(results.is_empty());
    }

    #[test]
    fn an_interpreter_that_is_not_there_or_lacks_the_packages_is_none() {
        assert!(!has_python(OsStr::new("there-is-no-such-python")));
        // Stands for one without and one with them.
        assert!(!has_python(OsStr::new("false")));
        assert!(has_python(OsStr::new("true")));
    }

    #[test]
    fn no_step_runs_without_the_lockfile_except_the_formatter() {
        let builds = |step: &&Step| matches!(step.runs, Runs::Cargo);
        for step in STEPS.iter().filter(builds) {
            let is_locked = step.arguments.contains(&"--locked");
            assert!(is_locked || step.arguments[0] == "fmt", "{}", step.name);
        }
    }
}
