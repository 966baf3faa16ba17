//! `cargo xtask mutants`: breaks the rules one at a time and sees which test notices.
//!
//! Works on a copy of the repository below the target folder, never on the checkout itself, so that
//! what ships has no switch. A mutant is *caught* when a test that can be named fails with it,
//! among others and alone, and *survives* when all pass; a survivor is a test that is missing. One
//! that does not build, that ends the tests in another way, or with which a test fails among
//! others only, is an error. Never: makes up mutants; each is a file of its own.

pub(crate) mod catalog;
mod copy;
mod list;
mod note;
mod options;
mod patch;
mod report;
mod suite;
mod sum;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};

use catalog::Mutant;
use options::{Options, Task};
use report::{Report, Verdict};
use suite::{Outcome, Suite};

/// Least time that a test program gets, whatever those of its package took without a mutant: some
/// tests wait for two minutes before they fail, or look for what never happens in many worlds, and
/// only then can be named.
const TIME_LIMIT_MIN: Duration = Duration::from_secs(600);
/// With a mutant a program gets this many times what its package took without one.
const TIME_LIMIT_FACTOR: u32 = 3;
/// What a package gets without a mutant.
const TIME_LIMIT_UNCHANGED: Duration = Duration::from_secs(30 * 60);

/// Runs the mutants that the words after `mutants` choose, tells them, or adds up what was said of
/// them. True when each is caught by a test.
///
/// # Errors
/// When the words cannot be understood, the copy cannot be made, the tests fail without any mutant,
/// a mutant does not apply, or a file to be added up is not what `--json` prints.
pub(crate) fn run(root: &Path, words: &[&str]) -> Result<bool> {
    let options = Options::parse(words)?;
    match options.task {
        Task::Sum => sum::run(root, &options),
        Task::Note => note::run(root, &options),
        Task::List | Task::Run => {
            let chosen = options.slice_of(chosen(root, &options.parts)?);
            if options.task == Task::List {
                return list::run(&chosen, options.as_json);
            }
            put_to_tests(root, &chosen, options.as_json)
        }
    }
}

/// Breaks the copy once for each mutant, and tells which test noticed.
fn put_to_tests(root: &Path, chosen: &[Mutant], as_json: bool) -> Result<bool> {
    let start = Instant::now();
    let place = target_folder(root).join("mutants");
    let tree = place.join("tree");
    copy::make_same(root, &tree)?;
    let suite = Suite::new(tree.clone(), place.join("build"));
    let mut limits = Limits::default();
    let mut suite = suite.knowing(chosen.iter().filter_map(|mutant| mutant.caught_by.clone()));
    for tests in chosen.iter().flat_map(|mutant| &mutant.tests) {
        limits
            .measure(&mut suite, tests)?
            .map_err(|why| anyhow!(why))?;
    }
    let mut verdicts = Vec::new();
    for mutant in chosen {
        let start = Instant::now();
        let outcome = try_mutant(&mut suite, &tree, mutant, &mut limits)?;
        let verdict = Verdict::new(mutant, outcome, start.elapsed());
        tell(as_json, &verdict.line());
        verdicts.push(verdict);
    }
    let report = Report {
        verdicts,
        taken: start.elapsed(),
    };
    tell(as_json, &report.summary());
    if as_json {
        println!("{:#}", report.json());
    }
    Ok(report.is_good())
}

/// What is said on the way stands on the standard output, unless that is for a machine.
fn tell(as_json: bool, line: &str) {
    if as_json {
        eprintln!("{line}");
    } else {
        println!("{line}");
    }
}

fn chosen(root: &Path, parts: &[&str]) -> Result<Vec<Mutant>> {
    let (files, names): (Vec<&str>, Vec<&str>) = parts
        .iter()
        .partition(|part| part.ends_with(catalog::ENDING));
    let mut chosen = Vec::new();
    if files.is_empty() || !names.is_empty() {
        chosen = catalog::load(root)?;
        for part in &names {
            let is_some = chosen.iter().any(|mutant| mutant.name.contains(part));
            ensure!(is_some, "no mutant's name contains \"{part}\"");
        }
        chosen.retain(|mutant| {
            names.is_empty() || names.iter().any(|part| mutant.name.contains(part))
        });
    }
    for file in files {
        chosen.push(catalog::load_one(Path::new(file))?);
    }
    Ok(chosen)
}

fn target_folder(root: &Path) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from)
}

/// How long each program of some tests may take with a mutant, or why they say nothing of one.
#[derive(Default)]
struct Limits(Vec<(String, Limit)>);

type Limit = Result<Duration, String>;

impl Limits {
    fn of(&self, tests: &str) -> Option<Limit> {
        let (_, limit) = self.0.iter().find(|(held, _)| held == tests)?;
        Some(limit.clone())
    }

    /// Runs tests without any mutant, unless that has been done.
    ///
    /// # Errors
    /// When they cannot be run. That they do not pass is an answer.
    fn measure(&mut self, suite: &mut Suite, tests: &str) -> Result<Limit> {
        if let Some(limit) = self.of(tests) {
            return Ok(limit);
        }
        let start = Instant::now();
        let limit = match suite.measure(tests, TIME_LIMIT_UNCHANGED)? {
            Outcome::Passed => {
                let seconds = start.elapsed().as_secs();
                eprintln!("mutants: {tests} passes without a mutant, built and run in {seconds} s");
                Ok(TIME_LIMIT_MIN.max(start.elapsed() * TIME_LIMIT_FACTOR))
            }
            Outcome::Failed { test: what, .. }
            | Outcome::NotBuilt(what)
            | Outcome::Unnamed(what)
            | Outcome::Undecided(what) => Err(format!(
                "the tests of {tests} do not pass without any mutant: {what}"
            )),
        };
        self.0.push((tests.to_owned(), limit.clone()));
        Ok(limit)
    }
}

/// Applies a mutant, runs its tests until one notices, and takes it back.
fn try_mutant(
    suite: &mut Suite,
    tree: &Path,
    mutant: &Mutant,
    limits: &mut Limits,
) -> Result<Outcome> {
    let mut sound: Vec<(PathBuf, String)> = Vec::new();
    let mut changed: Vec<(PathBuf, String)> = Vec::new();
    for file in &mutant.files {
        let path = tree.join(&file.path);
        let text = fs::read_to_string(&path).with_context(|| format!("reading {}", file.path))?;
        let applied = file
            .apply(&text)
            .with_context(|| format!("{} does not apply to {}", mutant.name, file.path))?;
        changed.push((path.clone(), applied));
        sound.push((path, text));
    }
    let mut run = || {
        let mut undecided = None;
        write_all(&changed)?;
        let caught_by = mutant.caught_by.as_deref().unwrap_or_default();
        let mut all: Vec<&String> = mutant.tests.iter().chain(&mutant.built_on_it).collect();
        all.sort_by_key(|tests| !suite.has(tests, caught_by));
        for tests in all {
            let limit = match limits.of(tests) {
                Some(limit) => limit,
                // Packages that are built on the changed ones are seldom asked, and run long.
                None => {
                    write_all(&sound)?;
                    let limit = limits.measure(suite, tests)?;
                    write_all(&changed)?;
                    limit
                }
            };
            let outcome = match limit {
                Ok(limit) => suite.run(tests, mutant, limit)?,
                // Others have been judged already, and others are left to be asked.
                Err(why) => Outcome::Undecided(why),
            };
            match outcome {
                Outcome::Passed => {}
                Outcome::Undecided(why) => _ = undecided.get_or_insert(why),
                outcome => return Ok(outcome),
            }
        }
        Ok(undecided.map_or(Outcome::Passed, Outcome::Undecided))
    };
    let outcome = run();
    write_all(&sound)?;
    outcome
}

fn write_all(files: &[(PathBuf, String)]) -> Result<()> {
    files.iter().try_for_each(|(path, text)| {
        fs::write(path, text).with_context(|| format!("writing {}", path.display()))
    })
}

#[cfg(test)]
#[path = "mod_tests.rs"]
mod tests;
