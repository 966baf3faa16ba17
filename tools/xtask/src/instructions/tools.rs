//! The two programs that count: valgrind, and the runner of the benches.
//!
//! Owns what is said when one is missing or of another version. Never: installs anything.

use std::io::ErrorKind;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

/// Names the runner's program when it does not stand in the path; the benches read it as well.
const RUNNER_VARIABLE: &str = "GUNGRAUN_RUNNER";
const RUNNER: &str = "gungraun-runner";

/// The versions of what counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tools {
    pub(super) valgrind: String,
    pub(super) gungraun: String,
}

impl Tools {
    /// Asks both programs for their versions. `lock` is the lock file of the benches.
    ///
    /// # Errors
    /// When one is missing, or the runner is of another version than its library.
    pub(super) fn find(lock: &str) -> Result<Self> {
        let runner = std::env::var(RUNNER_VARIABLE).unwrap_or_else(|_| RUNNER.into());
        Self::of(version_of("valgrind")?, version_of(&runner)?, wanted(lock)?)
    }

    /// The versions found, `None` for a program that is not there, and the runner's wanted one.
    fn of(valgrind: Option<String>, runner: Option<String>, wanted: String) -> Result<Self> {
        let valgrind = valgrind.context(
            "valgrind is not installed: apt-get install valgrind, or as your system does it",
        )?;
        let install = format!("cargo install {RUNNER} --version {wanted} --locked");
        let found = runner.with_context(|| {
            format!("{RUNNER} is not installed: {install}, or name it in {RUNNER_VARIABLE}")
        })?;
        ensure!(
            found == wanted,
            "{RUNNER} is version {found}, and the benches need {wanted}: {install}"
        );
        Ok(Self {
            valgrind,
            gungraun: wanted,
        })
    }
}

/// The version of the library, which that of the runner must be, in the lock file of the benches.
///
/// # Errors
/// When the lock file does not name it.
pub(super) fn wanted(lock: &str) -> Result<String> {
    let (_, behind) = lock
        .split_once("name = \"gungraun\"\nversion = \"")
        .context("the lock file of the benches does not name gungraun")?;
    let version = behind.split('"').next().unwrap_or_default();
    Ok(version.to_owned())
}

/// What a program says its version is; `None` when there is no such program.
fn version_of(program: &str) -> Result<Option<String>> {
    let output = match Command::new(program).arg("--version").output() {
        Ok(output) => output,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("starting {program}")),
    };
    let text = String::from_utf8_lossy(&output.stdout);
    match version_in(&text) {
        Some(version) if output.status.success() => Ok(Some(version.to_owned())),
        _ => bail!(
            "{program} --version says no version ({}): {}",
            output.status,
            text.trim()
        ),
    }
}

/// The version in `valgrind-3.19.0` or `gungraun-runner 0.20.0`.
fn version_in(text: &str) -> Option<&str> {
    let version = text.lines().next()?.trim().rsplit([' ', '-']).next()?;
    let is_version = version.contains('.') && version.starts_with(|c: char| c.is_ascii_digit());
    is_version.then_some(version)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCK: &str = "[[package]]\nname = \"gungraun-macros\"\nversion = \"0.10.0\"\n\n\
        [[package]]\nname = \"gungraun\"\nversion = \"0.20.0\"\nsource = \"x\"\n";

    #[test]
    fn the_version_wanted_is_that_of_the_library_alone() {
        assert_eq!(wanted(LOCK).unwrap(), "0.20.0");
        assert!(wanted("[[package]]\nname = \"gungraun-macros\"\n").is_err());
    }

    #[test]
    fn versions_are_found_in_what_both_programs_print() {
        assert_eq!(version_in("valgrind-3.19.0\n"), Some("3.19.0"));
        assert_eq!(version_in("gungraun-runner 0.20.0\n"), Some("0.20.0"));
        assert_eq!(version_in("usage: something\n"), None);
        assert_eq!(version_in(""), None);
    }

    fn error_of(valgrind: Option<&str>, runner: Option<&str>) -> String {
        let owned = |version: Option<&str>| version.map(str::to_owned);
        let tools = Tools::of(owned(valgrind), owned(runner), "0.20.0".into());
        tools.expect_err("something is missing").to_string()
    }

    #[test]
    fn a_missing_program_is_told_with_what_installs_it() {
        let error = error_of(None, Some("0.20.0"));
        assert!(error.contains("apt-get install valgrind"), "{error}");
        let error = error_of(Some("3.19.0"), None);
        assert!(
            error.contains("gungraun-runner is not installed"),
            "{error}"
        );
        assert!(error.contains("cargo install gungraun-runner --version 0.20.0"));
    }

    #[test]
    fn a_runner_of_another_version_is_told_with_both_versions() {
        let error = error_of(Some("3.19.0"), Some("0.19.1"));
        assert!(error.contains("is version 0.19.1"), "{error}");
        assert!(error.contains("cargo install gungraun-runner --version 0.20.0"));
        let right = Tools::of(
            Some("3.19.0".into()),
            Some("0.20.0".into()),
            "0.20.0".into(),
        );
        assert_eq!(right.unwrap().valgrind, "3.19.0");
    }

    #[test]
    fn a_program_that_is_not_there_has_no_version() {
        assert_eq!(version_of("no-such-program-here").unwrap(), None);
        // It is there, and fails when asked for a version.
        assert!(version_of("false").is_err());
    }
}
