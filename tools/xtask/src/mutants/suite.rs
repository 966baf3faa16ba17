//! The tests of some packages: built, run, and watched for the first that fails.
//!
//! Owns the processes and what their output means. A run ends at the first test that fails, since
//! one is enough to know: it begins with the test that noticed before, if one is known, and else
//! with the program that noticed last, builds no other before that one has passed, begins in it
//! with the tests that are named alike, and leaves those that take long for the end. What has
//! failed among others is run again alone, since a test that others disturb says nothing of what
//! was changed: the rest is asked without it. A program that fails without naming a test, or takes
//! too long, is told apart from that. Never: what is tested.

use std::collections::HashSet;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::catalog::Mutant;

/// How a run of the tests ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Every test passed.
    Passed,
    /// This test failed, after it had passed so often alone.
    Failed {
        /// Its program and its name.
        test: String,
        passes: u32,
    },
    /// The compiler refuses the sources: its first complaint.
    NotBuilt(String),
    /// A program failed or had to be ended, and named no test.
    Unnamed(String),
    /// Nothing that could be asked has failed, and this could not be: no pass, and other tests may
    /// still notice.
    Undecided(String),
}

/// A test that takes longer than this runs after all those of its program that do not.
const SLOW: Duration = Duration::from_secs(1);

/// A word of a mutant's name that is shorter says nothing of what it is about, but for a rule's.
const WORD_BYTES_MIN: usize = 4;

/// So often a test that has failed among others runs alone until it fails there too: what a mutant
/// breaks may show now and then only.
const RUNS_ALONE: u32 = 3;

/// So many tests of a part that others disturb are left out of it, one after the other, to hear
/// what the rest says: where there are more, the machine is too busy to be asked.
const LEFT_OUT_MAX: usize = 3;

/// In so many pieces a crate is compiled: more than it has modules, so that none are put together.
/// By how long they are is decided which are, so that a mutant that makes one longer by a word
/// would have most of a crate compiled again, in 40 s where 4 do (the tests below the code of the
/// node).
const PIECES: &str = "2048";

/// Memory that a test program may map, in KiB.
const MEMORY_KIB_MAX: &str = "8388608";

/// A copy of the sources and the folder where it is built.
pub(crate) struct Suite {
    tree: PathBuf,
    build: PathBuf,
    /// Tests that took long when nothing was changed: program and test.
    slow: Vec<(String, String)>,
    /// Test programs of the packages that were measured, those that noticed something last first.
    targets: Vec<Target>,
    /// Tests that have noticed mutants before.
    noted: Vec<String>,
    /// Those of them that pass alone when nothing is changed, and under which name they were
    /// measured: one that leans on others in its program would notice anything.
    sound: HashSet<(String, String)>,
}

/// What cargo builds one test program from.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Target {
    /// Whose tests were asked for: a package, or one of its programs.
    tests: String,
    /// Package and program.
    name: String,
    /// How cargo is told to build this one alone.
    selection: Vec<String>,
}

/// A test program, built.
struct Program {
    target: Target,
    executable: PathBuf,
    /// Where cargo runs it: the folder of its package.
    folder: PathBuf,
}

/// What came of one test that was run without others.
#[derive(Debug, PartialEq, Eq)]
enum Alone {
    Passed,
    Failed,
    /// It was not there, or ended otherwise.
    Unknown(String),
}

/// Tests of a program that are run together.
#[derive(Clone, Copy, Debug)]
enum Part<'a> {
    /// Those whose names contain one of these, but for the slow ones.
    Alike(&'a [&'a str]),
    /// All but the slow ones.
    Fast,
    /// Those that take long.
    Slow,
}

impl Suite {
    pub(crate) fn new(tree: PathBuf, build: PathBuf) -> Self {
        Self {
            tree,
            build,
            slow: Vec::new(),
            targets: Vec::new(),
            noted: Vec::new(),
            sound: HashSet::new(),
        }
    }

    /// One that knows which tests have noticed mutants before.
    pub(crate) fn knowing(mut self, noted: impl Iterator<Item = String>) -> Self {
        self.noted = noted.collect();
        self.noted.sort_unstable();
        self.noted.dedup();
        self
    }

    /// Builds and runs the tests of one package, or of one program of it (`package:program`, where
    /// `lib` is those below the code), or those of a program whose names contain something
    /// (`package:program:part`), one by one, every program within `limit`, and notes which of them
    /// take long.
    ///
    /// # Errors
    /// When cargo or a program cannot be run.
    pub(crate) fn measure(&mut self, tests: &str, limit: Duration) -> Result<Outcome> {
        let programs = match self.build(tests, &selection_of(tests))? {
            Ok(programs) => programs,
            Err(complaint) => return Ok(Outcome::NotBuilt(complaint)),
        };
        let targets = programs.iter().map(|program| program.target.clone());
        self.targets.extend(targets);
        for program in &programs {
            let mut command = self.command(program);
            command.arg("--test-threads=1").args(part_of(tests));
            let mut last = Instant::now();
            let outcome = watch(command, &program.target.name, limit, |line| {
                let taken = last.elapsed();
                last = Instant::now();
                if let Some(test) = passed_test(line).filter(|_| taken > SLOW) {
                    self.slow
                        .push((program.target.name.clone(), test.to_owned()));
                }
            })?;
            if outcome != Outcome::Passed {
                return Ok(outcome);
            }
            self.measure_noted(tests, program, limit)?;
        }
        Ok(Outcome::Passed)
    }

    /// Finds out which of those that have noticed mutants pass alone.
    fn measure_noted(&mut self, tests: &str, program: &Program, limit: Duration) -> Result<()> {
        let part = part_of(tests).unwrap_or_default();
        for test in &self.noted {
            let is_asked = is_of(test, &program.target.name)
                && name_within(program, test).contains(part)
                && self.run_once(program, test, limit)? == Alone::Passed;
            if is_asked {
                self.sound.insert((tests.to_owned(), test.clone()));
            }
        }
        Ok(())
    }

    /// Whether a test that has noticed a mutant is one of those [measured](Self::measure) under
    /// this name, and may be asked first.
    pub(crate) fn has(&self, tests: &str, test: &str) -> bool {
        let key = (tests.to_owned(), test.to_owned());
        self.sound.contains(&key)
    }

    /// Builds and runs what was [measured](Self::measure) under the same name, every program within
    /// `limit`, until a test fails that fails alone too. The one that noticed this mutant before
    /// comes first, and then those whose names share a word with its name.
    ///
    /// # Errors
    /// When cargo or a program cannot be run.
    pub(crate) fn run(&mut self, tests: &str, mutant: &Mutant, limit: Duration) -> Result<Outcome> {
        let alike = words_of(&mutant.name);
        let caught_by = mutant.caught_by.as_deref().unwrap_or_default();
        let caught_by = Some(caught_by).filter(|test| self.has(tests, test));
        let targets = self.targets.iter();
        let mut targets: Vec<Target> = targets
            .filter(|target| target.tests == tests)
            .cloned()
            .collect();
        ensure!(!targets.is_empty(), "{tests} was not measured");
        targets.sort_by_key(|target| !caught_by.is_some_and(|test| is_of(test, &target.name)));
        let mut built: Vec<Program> = Vec::new();
        let (mut left_out, mut undecided) = (Vec::new(), None);
        for target in &targets {
            let mut programs = match self.build(tests, &target.selection)? {
                Ok(programs) => programs,
                Err(complaint) => return Ok(Outcome::NotBuilt(complaint)),
            };
            // Cargo names the programs of other targets too when it knows them to be fresh.
            programs.retain(|program| program.target == *target);
            for program in &programs {
                if let Some(outcome) = self.run_noted(program, caught_by, limit)? {
                    return Ok(outcome);
                }
                for part in [Part::Alike(&alike), Part::Fast] {
                    match self.run_part(program, part, &mut left_out, limit)? {
                        Outcome::Passed => {}
                        Outcome::Undecided(why) => _ = undecided.get_or_insert(why),
                        outcome => {
                            self.put_first(target);
                            return Ok(outcome);
                        }
                    }
                }
            }
            built.append(&mut programs);
        }
        for program in &built {
            match self.run_part(program, Part::Slow, &mut left_out, limit)? {
                Outcome::Passed => {}
                Outcome::Undecided(why) => _ = undecided.get_or_insert(why),
                outcome => return Ok(outcome),
            }
        }
        Ok(undecided.map_or(Outcome::Passed, Outcome::Undecided))
    }

    fn put_first(&mut self, target: &Target) {
        self.targets.retain(|other| other != target);
        self.targets.insert(0, target.clone());
    }

    /// The test programs of a package, all or those selected, or the compiler's first complaint.
    fn build(&self, tests: &str, selection: &[String]) -> Result<Result<Vec<Program>, String>> {
        let package = package_of(tests);
        // A mutant changes a function, and pieces are kept over builds; nobody looks at a stack.
        let output = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".into()))
            .args(["test", "--locked", "--package", package, "--no-run"])
            .arg("--message-format=json")
            .args(selection)
            .current_dir(&self.tree)
            .env("CARGO_TARGET_DIR", &self.build)
            .env("CARGO_INCREMENTAL", "1")
            .env("CARGO_PROFILE_DEV_CODEGEN_UNITS", PIECES)
            .env("CARGO_PROFILE_DEV_DEBUG", "false")
            .stderr(Stdio::piped())
            .output()
            .context("running cargo")?;
        let text = String::from_utf8_lossy(&output.stdout);
        let messages = text
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok());
        let messages: Vec<Value> = messages.collect();
        if !output.status.success() {
            let complaint = messages.iter().find_map(first_error);
            // A manifest that cannot be read is no message of the compiler.
            return Ok(Err(complaint.unwrap_or_else(|| {
                let said = String::from_utf8_lossy(&output.stderr);
                said.lines()
                    .next()
                    .unwrap_or("cargo said nothing")
                    .to_owned()
            })));
        }
        let programs: Vec<Program> = messages
            .iter()
            .filter_map(|message| program_of(message, tests))
            .collect();
        ensure!(!programs.is_empty(), "there are no tests {tests}");
        Ok(Ok(programs))
    }

    /// Runs a part of the tests of a program, and the one that fails alone. One that passes there
    /// joins those that are `left_out`, program and test, and the rest is asked again.
    fn run_part(
        &self,
        program: &Program,
        part: Part<'_>,
        left_out: &mut Vec<(String, String)>,
        limit: Duration,
    ) -> Result<Outcome> {
        let mut undecided = None;
        for _ in 0..=LEFT_OUT_MAX {
            let test = match self.run_together(program, part, left_out, limit)? {
                Outcome::Failed { test, .. } => test,
                Outcome::Passed => break,
                other => return Ok(other),
            };
            match self.run_alone(program, &test, limit)? {
                Outcome::Undecided(why) => _ = undecided.get_or_insert(why),
                outcome => return Ok(outcome),
            }
            let test = name_within(program, &test).to_owned();
            left_out.push((program.target.name.clone(), test));
        }
        Ok(undecided.map_or(Outcome::Passed, Outcome::Undecided))
    }

    /// Runs the test that noticed a mutant before, if it is of this program: it has to fail alone,
    /// and once more. Whatever else it does, all tests are asked.
    fn run_noted(
        &self,
        program: &Program,
        caught_by: Option<&str>,
        limit: Duration,
    ) -> Result<Option<Outcome>> {
        let Some(test) = caught_by.filter(|test| is_of(test, &program.target.name)) else {
            return Ok(None);
        };
        for _ in 0..2 {
            if self.run_once(program, test, limit)? != Alone::Failed {
                return Ok(None);
            }
        }
        let test = test.to_owned();
        Ok(Some(Outcome::Failed { test, passes: 0 }))
    }

    /// Runs a test that has failed among others until it fails without them, a few times at most.
    fn run_alone(&self, program: &Program, what: &str, limit: Duration) -> Result<Outcome> {
        for passes in 0..RUNS_ALONE {
            match self.run_once(program, what, limit)? {
                Alone::Failed => {
                    let test = what.to_owned();
                    return Ok(Outcome::Failed { test, passes });
                }
                Alone::Passed => {}
                Alone::Unknown(why) => {
                    let what = format!("{what} failed among others and {why}");
                    return Ok(Outcome::Undecided(what));
                }
            }
        }
        Ok(Outcome::Undecided(format!(
            "{what} failed among others, and passed {RUNS_ALONE} times alone"
        )))
    }

    /// Runs one test without others.
    fn run_once(&self, program: &Program, what: &str, limit: Duration) -> Result<Alone> {
        let test = name_within(program, what);
        let mut command = self.command(program);
        command.args(["--exact", test, "--test-threads=1"]);
        let (mut is_run, mut has_failed) = (false, false);
        let outcome = watch(command, &program.target.name, limit, |line| {
            is_run |= line == "running 1 test";
            // What a test writes may stand between its name and the word that it failed.
            has_failed |= line.starts_with("test result: FAILED");
        })?;
        Ok(match outcome {
            Outcome::Failed { .. } => Alone::Failed,
            Outcome::Unnamed(_) if has_failed => Alone::Failed,
            Outcome::Unnamed(why) => Alone::Unknown(format!("alone: {why}")),
            Outcome::Passed if is_run => Alone::Passed,
            Outcome::Passed | Outcome::NotBuilt(_) | Outcome::Undecided(_) => {
                Alone::Unknown("cannot be run alone".to_owned())
            }
        })
    }

    /// Runs a part of the tests of a program, without those left out. Of one whose tests are named,
    /// all are the fast part.
    fn run_together(
        &self,
        program: &Program,
        part: Part<'_>,
        left_out: &[(String, String)],
        limit: Duration,
    ) -> Result<Outcome> {
        let of_program = |tests: &'_ [(String, String)]| -> Vec<String> {
            let own = tests
                .iter()
                .filter(|(name, _)| *name == program.target.name);
            own.map(|(_, test)| test.clone()).collect()
        };
        let slow = of_program(&self.slow);
        let mut skipped = of_program(left_out);
        let mut command = self.command(program);
        match (part_of(&program.target.tests), part) {
            // Few enough to run in any order.
            (Some(named), Part::Fast) => _ = command.arg(named),
            (Some(_), _) | (None, Part::Alike([])) => return Ok(Outcome::Passed),
            (None, Part::Alike(words)) => {
                command.args(words);
                skipped.extend(slow);
            }
            (None, Part::Fast) => {
                command.arg("--exact");
                skipped.extend(slow);
            }
            (None, Part::Slow) if slow.is_empty() => return Ok(Outcome::Passed),
            (None, Part::Slow) => _ = command.arg("--exact").args(slow),
        }
        for test in &skipped {
            command.args(["--skip", test]);
        }
        watch(command, &program.target.name, limit, |_| {})
    }

    fn command(&self, program: &Program) -> Command {
        let mut command = Command::new("sh");
        // What a mutant loops over may grow: the limit ends it before the machine suffers.
        command
            .args(["-c", "ulimit -v \"$0\" && exec \"$@\"", MEMORY_KIB_MAX])
            .arg(&program.executable)
            .current_dir(&program.folder)
            .env("CARGO_MANIFEST_DIR", &program.folder)
            // A test that proptest has failed once must not be remembered over mutants.
            .env("PROPTEST_FAILURE_PERSISTENCE", "off");
        command
    }
}

/// Whether a test, named with its package and program, is one of this program's.
fn is_of(test: &str, program: &str) -> bool {
    let rest = test.strip_prefix(program);
    rest.is_some_and(|rest| rest.starts_with(' '))
}

/// A test's name as its program knows it.
fn name_within<'a>(program: &Program, test: &'a str) -> &'a str {
    test.strip_prefix(&program.target.name)
        .unwrap_or(test)
        .trim()
}

/// The words of a mutant's name by which a test about the same may be known.
fn words_of(mutant: &str) -> Vec<&str> {
    let is_rule = |word: &str| {
        let number = word.strip_prefix('r');
        number.is_some_and(|number| number.parse::<u8>().is_ok())
    };
    let words = mutant.split('-');
    words
        .filter(|word| word.len() >= WORD_BYTES_MIN || is_rule(word))
        .collect()
}

/// The package of `package`, `package:program` or `package:program:part`.
pub(super) fn package_of(tests: &str) -> &str {
    tests.split(':').next().unwrap_or(tests)
}

/// What the names of the tests contain, if not all of a program are meant. Names may hold `::`.
fn part_of(tests: &str) -> Option<&str> {
    tests.splitn(3, ':').nth(2)
}

/// How cargo is told to build the one program that is named, if one is.
fn selection_of(tests: &str) -> Vec<String> {
    match tests.split(':').nth(1) {
        None => Vec::new(),
        Some("lib") => vec!["--lib".to_owned()],
        Some("bins") => vec!["--bins".to_owned()],
        Some(program) => vec!["--test".to_owned(), program.to_owned()],
    }
}

/// The text of an error of the compiler.
fn first_error(message: &Value) -> Option<String> {
    let message = message.get("message")?;
    let is_error = message.get("level")?.as_str()? == "error";
    is_error.then(|| message.get("message")?.as_str().map(str::to_owned))?
}

/// The test program that a message of cargo tells of, if it tells of one.
fn program_of(message: &Value, tests: &str) -> Option<Program> {
    if !message.get("profile")?.get("test")?.as_bool()? {
        return None;
    }
    let executable = PathBuf::from(message.get("executable")?.as_str()?);
    let manifest = Path::new(message.get("manifest_path")?.as_str()?);
    let target = message.get("target")?;
    let name = target.get("name")?.as_str()?;
    let selection = match target.get("kind")?.get(0)?.as_str()? {
        "test" => vec!["--test".to_owned(), name.to_owned()],
        "bin" => vec!["--bin".to_owned(), name.to_owned()],
        "example" => vec!["--example".to_owned(), name.to_owned()],
        _ => vec!["--lib".to_owned()],
    };
    let target = Target {
        tests: tests.to_owned(),
        name: format!("{} {name}", package_of(tests)),
        selection,
    };
    Some(Program {
        target,
        executable,
        folder: manifest.parent()?.to_path_buf(),
    })
}

/// Runs a test program until it ends, a test of it fails, or `limit` is over; `seen` gets every
/// line.
fn watch(
    mut command: Command,
    name: &str,
    limit: Duration,
    mut seen: impl FnMut(&str),
) -> Result<Outcome> {
    // A group of its own, so that what hangs can be ended with all that it started.
    command
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut child = command
        .spawn()
        .with_context(|| format!("starting the tests {name}"))?;
    let output = child.stdout.take().context("its output was asked for")?;
    let (sender, lines) = mpsc::channel();
    let reader = std::thread::spawn(move || {
        for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).into_owned();
            // Nobody listens any more once a test has failed.
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    let end = Instant::now() + limit;
    let outcome = loop {
        let left = end.saturating_duration_since(Instant::now());
        match lines.recv_timeout(left) {
            Ok(line) => {
                seen(&line);
                if let Some(test) = failed_test(&line) {
                    let test = format!("{name} {test}");
                    break Some(Outcome::Failed { test, passes: 0 });
                }
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => break None,
            Err(mpsc::RecvTimeoutError::Timeout) => {
                let seconds = limit.as_secs();
                let what = format!("{name} is not done after {seconds} s, and no test has failed");
                break Some(Outcome::Unnamed(what));
            }
        }
    };
    drop(lines);
    if outcome.is_some() {
        end_group(&child)?;
    }
    let status = child.wait().context("waiting for the tests")?;
    if reader.join().is_err() {
        anyhow::bail!("reading the output of {name} panicked");
    }
    Ok(outcome.unwrap_or_else(|| {
        if status.success() {
            Outcome::Passed
        } else {
            Outcome::Unnamed(format!(
                "{name} ended with {status}, and no test has failed"
            ))
        }
    }))
}

/// Ends a program that has not been waited for, with everything that it started.
fn end_group(child: &Child) -> Result<()> {
    let group = format!("-{}", child.id());
    Command::new("kill")
        .args(["-KILL", "--", &group])
        .stderr(Stdio::null())
        .status()
        .context("ending a run of the tests")?;
    Ok(())
}

/// The test that a line of a test program says has failed.
fn failed_test(line: &str) -> Option<&str> {
    test_of(line, " ... FAILED")
}

/// The test that a line of a test program says has passed.
fn passed_test(line: &str) -> Option<&str> {
    test_of(line, " ... ok")
}

/// The name by which a test can be asked for again.
fn test_of<'a>(line: &'a str, ending: &str) -> Option<&'a str> {
    let told = line.strip_prefix("test ")?.strip_suffix(ending)?;
    Some(told.strip_suffix(" - should panic").unwrap_or(told))
}

#[cfg(test)]
#[path = "suite_tests.rs"]
mod tests;
