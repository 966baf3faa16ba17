//! `cargo xtask ci`: everything that must pass before a change is taken, cheap steps first.
//!
//! Owns the list of steps and their order. Never: installs anything (.ci/run does), and never
//! needs the network except for what cargo fetches itself.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// How long the whole run should take on two cores; the steps are chosen to stay well below it.
/// Going over it is said and not failed: how busy the machine is, no change can answer for.
const BUDGET: Duration = Duration::from_secs(25 * 60);

/// One step: a name, the arguments for cargo, and variables to set.
struct Step {
    name: &'static str,
    arguments: &'static [&'static str],
    variables: &'static [(&'static str, &'static str)],
}

const fn step(name: &'static str, arguments: &'static [&'static str]) -> Step {
    Step {
        name,
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
    step("tests", &["test", "--locked", "--workspace"]),
    Step {
        name: "docs",
        arguments: &[
            "doc",
            "--locked",
            "--workspace",
            "--no-deps",
            "--document-private-items",
        ],
        variables: &[("RUSTDOCFLAGS", "-Dwarnings")],
    },
    step(
        "simulator",
        &[
            "run",
            "--locked",
            "--release",
            "--quiet",
            "--bin",
            "quorate",
            "--",
            "sim",
            "--seeds",
            "0..500",
            "--validators",
            "4",
            "--require-all",
            "--json",
        ],
    ),
    step(
        "demo",
        &[
            "run",
            "--locked",
            "--release",
            "--quiet",
            "--bin",
            "quorate",
            "--",
            "demo",
            "--seconds",
            "3",
            "--json",
        ],
    ),
    step(
        "example",
        &[
            "run",
            "--locked",
            "--release",
            "--quiet",
            "--package",
            "quorate",
            "--example",
            "counter",
        ],
    ),
];

/// The step that needs a tool which a fresh machine lacks. Advisories are a remote database that
/// changes by itself, so that they are not part of a repeatable run.
const DENY: Step = step(
    "licences and bans",
    &["deny", "check", "bans", "licenses", "sources"],
);

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
    println!("ci: {}: cargo {}", step.name, step.arguments.join(" "));
    let start = Instant::now();
    let mut child = cargo(root, step)
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

fn cargo(root: &Path, step: &Step) -> Command {
    let mut command = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".into()));
    command
        .args(step.arguments)
        .current_dir(root)
        .envs(step.variables.iter().copied());
    command
}

fn has_cargo_deny(root: &Path) -> Result<bool> {
    let status = cargo(root, &step("probe", &["deny", "--version"]))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .context("looking for cargo-deny")?;
    Ok(status.success())
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
    fn no_step_runs_without_the_lockfile_except_the_formatter() {
        for step in STEPS {
            let is_locked = step.arguments.contains(&"--locked");
            assert!(is_locked || step.arguments[0] == "fmt", "{}", step.name);
        }
    }
}
