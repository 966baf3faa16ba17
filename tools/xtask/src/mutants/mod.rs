//! `cargo xtask mutants`: breaks the rules one at a time and sees whether the tests notice.
//!
//! Works on a copy of the repository below the target folder, never on the checkout itself. A
//! mutant is *killed* when a test fails or hangs with it, and *survives* otherwise; a survivor is a
//! test that is missing. Never: makes up mutants; each stands in `list` with what it breaks.

mod list;

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

/// One small change that makes the code wrong.
pub(crate) struct Mutant {
    /// Short name, to run it alone.
    pub(crate) name: &'static str,
    /// What it breaks: a rule, a threshold, a promise.
    pub(crate) breaks: &'static str,
    /// The file it changes, from the root of the repository.
    pub(crate) file: &'static str,
    /// Text that stands in the file exactly once, however it is spaced and broken into lines.
    pub(crate) find: &'static str,
    /// What takes its place.
    pub(crate) replace: &'static str,
    /// The packages whose tests must notice.
    pub(crate) packages: &'static [&'static str],
}

/// Why a mutant of the list no longer fits the code, if it does not.
pub(crate) fn misfit(mutant: &Mutant, text: Option<&str>) -> Option<String> {
    let name = mutant.name;
    let Some(text) = text else {
        return Some(format!(
            "the mutant {name} changes a file that is not there"
        ));
    };
    match places(text, mutant.find).len() {
        1 => None,
        0 => Some(format!("the mutant {name} finds nothing to change")),
        count => Some(format!("the mutant {name} finds {count} places to change")),
    }
}

/// Where `part` stands in `text`, spaces and line ends not regarded.
fn places(text: &str, part: &str) -> Vec<Range<usize>> {
    let dense: Vec<(usize, u8)> = text
        .bytes()
        .enumerate()
        .filter(|(_, byte)| !byte.is_ascii_whitespace())
        .collect();
    let wanted: Vec<u8> = part
        .bytes()
        .filter(|byte| !byte.is_ascii_whitespace())
        .collect();
    if wanted.is_empty() {
        return Vec::new();
    }
    dense
        .windows(wanted.len())
        .filter(|window| {
            window
                .iter()
                .map(|&(_, byte)| byte)
                .eq(wanted.iter().copied())
        })
        .filter_map(|window| Some(window.first()?.0..window.last()?.0 + 1))
        .collect()
}

/// `text` with the mutant in it. The mutant fits.
fn mutated(mutant: &Mutant, text: &str) -> String {
    let mut text = text.to_owned();
    for place in places(&text, mutant.find) {
        text.replace_range(place, mutant.replace);
    }
    text
}

/// Every mutant that there is.
pub(crate) fn all() -> &'static [Mutant] {
    list::MUTANTS
}

/// How a run of the tests ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Passed,
    Failed,
    TimedOut,
}

/// Least time that a run of the tests gets, whatever the run without a mutant took.
const TIME_LIMIT_MIN: Duration = Duration::from_secs(60);
/// A mutant gets this many times what the run without one took.
const TIME_LIMIT_FACTOR: u32 = 5;

/// Runs every mutant whose name contains `filter`. True when none survives.
///
/// # Errors
/// When the copy cannot be made, the tests fail without any mutant, or a mutant does not fit.
pub(crate) fn run(root: &Path, filter: &str) -> Result<bool> {
    let chosen: Vec<&Mutant> = all().iter().filter(|m| m.name.contains(filter)).collect();
    ensure!(!chosen.is_empty(), "no mutant's name contains \"{filter}\"");
    let place = target_folder(root).join("mutants");
    let tree = place.join("tree");
    copy_tree(root, &tree)?;
    let bench = Bench {
        tree,
        build: place.join("build"),
    };
    let mut survivors = 0_usize;
    for packages in packages_of(&chosen) {
        let limit = bench.time_limit(packages)?;
        for mutant in chosen.iter().filter(|mutant| mutant.packages == packages) {
            let start = Instant::now();
            let outcome = bench.try_mutant(mutant, limit)?;
            let verdict = match outcome {
                Outcome::Passed => "SURVIVED",
                Outcome::Failed => "killed",
                Outcome::TimedOut => "killed (it hangs)",
            };
            survivors += usize::from(outcome == Outcome::Passed);
            let seconds = start.elapsed().as_secs();
            println!(
                "mutants: {:<28} {verdict} in {seconds} s: {}",
                mutant.name, mutant.breaks
            );
        }
    }
    println!("mutants: {} run, {survivors} survived", chosen.len());
    Ok(survivors == 0)
}

/// The different lists of packages, each once, in the order of the mutants.
fn packages_of(mutants: &[&Mutant]) -> Vec<&'static [&'static str]> {
    let mut lists: Vec<&'static [&'static str]> = Vec::new();
    for mutant in mutants {
        if !lists.contains(&mutant.packages) {
            lists.push(mutant.packages);
        }
    }
    lists
}

fn target_folder(root: &Path) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from)
}

/// Where mutants are tried: a copy of the sources and a target folder of its own.
struct Bench {
    tree: PathBuf,
    build: PathBuf,
}

impl Bench {
    /// Runs the tests without a mutant, and says how long a run with one may take.
    fn time_limit(&self, packages: &[&str]) -> Result<Duration> {
        ensure!(
            self.compiles(packages)?,
            "the tests of {packages:?} do not compile"
        );
        let start = Instant::now();
        let outcome = self.test(packages, Duration::from_secs(30 * 60), Stdio::inherit)?;
        ensure!(
            outcome == Outcome::Passed,
            "the tests of {packages:?} do not pass without any mutant"
        );
        Ok(TIME_LIMIT_MIN.max(start.elapsed() * TIME_LIMIT_FACTOR))
    }

    fn try_mutant(&self, mutant: &Mutant, limit: Duration) -> Result<Outcome> {
        let file = self.tree.join(mutant.file);
        let sound =
            fs::read_to_string(&file).with_context(|| format!("reading {}", mutant.file))?;
        if let Some(why) = misfit(mutant, Some(&sound)) {
            anyhow::bail!("{why} in {}", mutant.file);
        }
        let write = |text: &str| {
            fs::write(&file, text).with_context(|| format!("writing {}", file.display()))
        };
        write(&mutated(mutant, &sound))?;
        let outcome = self.compiles(mutant.packages).and_then(|compiles| {
            ensure!(compiles, "the mutant {} does not compile", mutant.name);
            self.test(mutant.packages, limit, Stdio::null)
        });
        write(&sound)?;
        outcome
    }

    fn compiles(&self, packages: &[&str]) -> Result<bool> {
        let status = self
            .cargo(packages)
            .arg("--no-run")
            .status()
            .context("running cargo")?;
        Ok(status.success())
    }

    fn test(&self, packages: &[&str], limit: Duration, out: fn() -> Stdio) -> Result<Outcome> {
        let mut command = self.cargo(packages);
        let child = command
            .stdout(out())
            .stderr(out())
            .spawn()
            .context("running cargo")?;
        let status = wait_at_most(child, limit)?;
        Ok(match status {
            None => Outcome::TimedOut,
            Some(status) if status.success() => Outcome::Passed,
            Some(_) => Outcome::Failed,
        })
    }

    fn cargo(&self, packages: &[&str]) -> Command {
        let mut command = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".into()));
        command
            .args(["test", "--locked", "--quiet"])
            .current_dir(&self.tree);
        for package in packages {
            command.args(["--package", package]);
        }
        // A test that proptest has failed once must not be remembered over mutants.
        command
            .env("CARGO_TARGET_DIR", &self.build)
            .env("PROPTEST_FAILURE_PERSISTENCE", "off");
        // A group of its own, so that what hangs can be ended with all that it started.
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command
    }
}

/// The child's status, or `None` when it had to be ended after `limit`.
fn wait_at_most(mut child: Child, limit: Duration) -> Result<Option<ExitStatus>> {
    let group = child.id();
    let (done, ended) = mpsc::channel();
    let waiter = std::thread::spawn(move || {
        let status = child.wait();
        // The other side is gone only when this run is over.
        done.send(()).ok();
        status
    });
    let is_late = ended.recv_timeout(limit).is_err();
    if is_late {
        Command::new("kill")
            .args(["-KILL", "--", &format!("-{group}")])
            .status()
            .context("ending a run that hangs")?;
    }
    let status = waiter
        .join()
        .map_err(|_| anyhow::anyhow!("waiting for the tests panicked"))?
        .context("waiting for the tests")?;
    Ok((!is_late).then_some(status))
}

/// Copies the files below `from` to `to`, leaving out what is built and the history. A file that is
/// the same already is left alone, so that cargo builds again only what differs.
fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).with_context(|| format!("making {}", to.display()))?;
    for entry in fs::read_dir(from).with_context(|| format!("reading {}", from.display()))? {
        let entry = entry.with_context(|| format!("reading {}", from.display()))?;
        let name = entry.file_name();
        if name == "target" || name == ".git" {
            continue;
        }
        let (source, copy) = (entry.path(), to.join(&name));
        if entry.file_type()?.is_dir() {
            copy_tree(&source, &copy)?;
        } else {
            let bytes =
                fs::read(&source).with_context(|| format!("reading {}", source.display()))?;
            if fs::read(&copy).ok().as_deref() != Some(bytes.as_slice()) {
                fs::write(&copy, bytes).with_context(|| format!("writing {}", copy.display()))?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MUTANT: Mutant = Mutant {
        name: "a",
        breaks: "nothing",
        file: "a.rs",
        find: "x > 1",
        replace: "x > 2",
        packages: &["p"],
    };

    #[test]
    fn a_mutant_that_does_not_fit_says_why() {
        assert!(
            misfit(&MUTANT, None)
                .expect("no file")
                .contains("not there")
        );
        assert!(
            misfit(&MUTANT, Some("x < 1"))
                .expect("no place")
                .contains("nothing")
        );
        assert!(
            misfit(&MUTANT, Some("x > 1, x > 1"))
                .expect("two")
                .contains("2 places")
        );
        assert_eq!(misfit(&MUTANT, Some("if x > 1 {}")), None);
    }

    #[test]
    fn a_mutant_fits_however_the_code_is_formatted() {
        let text = "if x\n    > 1\n{\n}";
        assert_eq!(misfit(&MUTANT, Some(text)), None);
        assert_eq!(mutated(&MUTANT, text), "if x > 2\n{\n}");
    }

    #[test]
    fn names_are_distinct_and_every_mutant_changes_something() {
        for (index, mutant) in all().iter().enumerate() {
            assert_ne!(mutant.find, mutant.replace, "{}", mutant.name);
            assert!(all()[..index].iter().all(|other| other.name != mutant.name));
        }
    }

    #[test]
    fn a_run_that_hangs_is_ended() {
        let mut command = Command::new("sleep");
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let child = command.arg("600").spawn().expect("sleep runs");
        let status = wait_at_most(child, Duration::from_millis(1)).expect("it can be ended");
        assert_eq!(status, None);
    }

    #[test]
    fn a_run_that_ends_gives_its_status() {
        let child = Command::new("true").spawn().expect("true runs");
        let status = wait_at_most(child, TIME_LIMIT_MIN).expect("it can be waited for");
        assert!(status.is_some_and(|status| status.success()));
    }
}
