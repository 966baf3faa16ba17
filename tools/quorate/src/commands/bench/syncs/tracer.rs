//! The tracer beside a validator: what it is told to write down, and what it is told to change.
//!
//! Owns its command lines, its process where it is a process of its own, and the paths it is told.
//! Never: judges what came of a change.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use quorate_bench::cluster::Launch;

use super::places::{CALLS, Place};
use crate::failure::{Code, Failure};

/// The program.
const TRACER: &str = "strace";
/// So many files that are not there yet are told by name.
const AHEAD: u64 = 512;
/// Snapshots stand at multiples of this height.
const SNAPSHOT_HEIGHTS: u64 = 64;
/// How long a thread may take to be there, and the tracer to hold it.
const ATTACH: Duration = Duration::from_secs(10);
/// How often it is looked for.
const LOOK: Duration = Duration::from_millis(5);

/// Finds the tracer.
///
/// # Errors
/// There is none, or it may not trace.
pub(super) fn find() -> Result<(), Failure> {
    // Also where there is one it may not be allowed to trace.
    let found = Command::new(TRACER)
        .args(["-qq", "-o", "/dev/null", "true"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    match found {
        Ok(status) if status.success() => Ok(()),
        _ => Err(Failure::new(
            Code::TryAgain,
            "strace is not on this machine, or may not trace",
        )
        .remedy("install strace")),
    }
}

/// What becomes of one call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) call: String,
    /// As the tracer says it.
    pub(super) fault: &'static str,
    /// Which one of those about these files, from 1.
    pub(super) when: u64,
    /// Only calls about these; all where there are none.
    pub(super) files: Vec<PathBuf>,
    /// Of a validator that begins under the tracer: by any of its threads, each counted by itself.
    pub(super) is_anybodys: bool,
}

impl Change {
    /// Options of the tracer, which writes to `told`. What is mapped is told besides, where a call
    /// names nothing but an address.
    fn options(&self, told: &Path) -> Vec<String> {
        let maps = if self.call == "msync" { ",mmap" } else { "" };
        let mut options: Vec<String> = ["-qq", "-y", "-o"].map(str::to_owned).to_vec();
        options.push(told.display().to_string());
        options.extend(self.is_anybodys.then(|| "-f".to_owned()));
        for file in &self.files {
            options.extend(["-P".to_owned(), file.display().to_string()]);
        }
        let inject = format!("inject={}:{}:when={}", self.call, self.fault, self.when);
        for expression in [format!("trace={}{maps}", self.call), inject] {
            options.extend(["-e".to_owned(), expression]);
        }
        options
    }
}

fn around(usual: &Launch, mut options: Vec<String>) -> Launch {
    options.push(usual.program.display().to_string());
    options.extend(usual.arguments.iter().cloned());
    Launch {
        program: TRACER.into(),
        arguments: options,
    }
}

/// A validator that begins under the tracer: all its threads are traced, and nothing is changed.
pub(super) fn watching(usual: &Launch, told: &Path) -> Launch {
    let trace = format!("trace={},prctl,mmap", CALLS.join(","));
    let told = told.display().to_string();
    let options = ["-f", "-qq", "-y", "-o", &told, "-e", &trace];
    around(usual, options.map(str::to_owned).to_vec())
}

/// A validator that begins under the tracer, which changes a call of its first thread or of any.
pub(super) fn changing(usual: &Launch, change: &Change, told: &Path) -> Launch {
    around(usual, change.options(told))
}

/// The tracer as a process of its own, at one thread of a validator that runs.
#[derive(Debug)]
pub(super) struct Attached(Child);

impl Attached {
    /// Holds a thread by its name, as soon as there is one.
    ///
    /// # Errors
    /// There is none, or it cannot be held.
    pub(super) fn start(
        process: u32,
        thread: &str,
        change: &Change,
        told: &Path,
    ) -> Result<Self, Failure> {
        let deadline = Instant::now() + ATTACH;
        let lacks = |what: &str| {
            let what = format!("thread {thread:?} of process {process} {what}");
            Failure::new(Code::TryAgain, what)
        };
        let number = until(deadline, || thread_number(process, thread));
        let number = number.ok_or_else(|| lacks("is not there"))?;
        let mut tracer = Command::new(TRACER)
            .args(change.options(told))
            .args(["-p", &number.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| lacks(&format!("cannot be traced: {error}")))?;
        let status = format!("/proc/{process}/task/{number}/status");
        let id = tracer.id();
        let held = until(deadline, || {
            let status = fs::read_to_string(&status).ok()?;
            is_held_by(&status, id).then_some(())
        });
        if held.is_none() {
            end(&mut tracer);
            return Err(lacks("was not held by the tracer"));
        }
        Ok(Self(tracer))
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        end(&mut self.0);
    }
}

/// The tracer lets go of what it held; it may have ended with that.
fn end(tracer: &mut Child) {
    let ended = tracer.kill().and_then(|()| tracer.wait());
    if let Err(error) = ended {
        tracing::warn!(%error, "the tracer was not ended");
    }
}

fn until<T>(deadline: Instant, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    loop {
        let found = look();
        if found.is_some() || Instant::now() >= deadline {
            return found;
        }
        std::thread::park_timeout(LOOK);
    }
}

fn thread_number(process: u32, name: &str) -> Option<u32> {
    let tasks = fs::read_dir(format!("/proc/{process}/task")).ok()?;
    let mut tasks = tasks.flatten().map(|task| task.path());
    let is_it = |task: &PathBuf| {
        let own = fs::read_to_string(task.join("comm")).unwrap_or_default();
        own.trim_end() == name
    };
    let found = tasks.find(is_it)?;
    found.file_name()?.to_str()?.parse().ok()
}

fn is_held_by(status: &str, tracer: u32) -> bool {
    let mut lines = status.lines();
    let line = lines.find_map(|line| line.strip_prefix("TracerPid:"));
    line.is_some_and(|line| line.trim() == tracer.to_string())
}

/// The files of this kind: those that are there, and those that come next. None where it cannot be
/// said what they will be called.
pub(super) fn files(place: &Place, folder: &Path) -> Vec<PathBuf> {
    let Some((head, tail)) = place.file.split_once('N') else {
        return vec![folder.join(&place.file)];
    };
    let (step, width) = match place.file.as_str() {
        file if file.starts_with("data/snapshots/") => (SNAPSHOT_HEIGHTS, 20),
        file if file.starts_with("data/log/segment-") => (1, 10),
        _ => return Vec::new(),
    };
    let (below, prefix) = head.rsplit_once('/').unwrap_or(("", head));
    let names = fs::read_dir(folder.join(below))
        .into_iter()
        .flatten()
        .flatten();
    let number = |name: &str| {
        let rest = name.strip_prefix(prefix)?;
        let digits = rest.split('.').next()?;
        digits.parse::<u64>().ok()
    };
    let numbers = names.filter_map(|entry| number(entry.file_name().to_str()?));
    let mut numbers: Vec<u64> = numbers.collect();
    let newest = numbers.iter().copied().max().unwrap_or(0);
    numbers.extend((1..=AHEAD).map(|ahead| newest + step * ahead));
    numbers.sort_unstable();
    numbers.dedup();
    let name = |number: u64| folder.join(format!("{head}{number:0width$}{tail}"));
    numbers.into_iter().map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usual() -> Launch {
        Launch {
            program: "/bin/quorate".into(),
            arguments: vec!["node".into(), "--leash".into()],
        }
    }

    #[test]
    fn the_tracer_stands_before_the_usual_command_and_sees_the_named_files_alone() {
        let change = Change {
            call: "fsync".to_owned(),
            fault: "error=EIO",
            when: 2,
            files: vec!["/v/lease.new".into()],
            is_anybodys: false,
        };
        let launch = changing(&usual(), &change, Path::new("/told"));
        assert_eq!(launch.program, PathBuf::from("strace"));
        let words = launch.arguments.join(" ");
        assert!(
            words.contains("-P /v/lease.new -e trace=fsync -e "),
            "{words}"
        );
        assert!(words.ends_with("inject=fsync:error=EIO:when=2 /bin/quorate node --leash"));
        assert!(!words.contains("-f"), "{words}");
        let anybodys = Change {
            is_anybodys: true,
            ..change
        };
        let words = changing(&usual(), &anybodys, Path::new("/told"));
        assert!(words.arguments.contains(&"-f".to_owned()), "{words:?}");
        let words = watching(&usual(), Path::new("/told")).arguments.join(" ");
        assert!(
            words.starts_with("-f ") && !words.contains("inject"),
            "{words}"
        );
    }

    #[test]
    fn who_holds_a_thread_is_read_from_its_status() {
        assert!(is_held_by("Name:\tx\nTracerPid:\t71\nUid:\t0\n", 71));
        assert!(!is_held_by("Name:\tx\nTracerPid:\t0\n", 71));
    }

    #[test]
    fn files_that_come_next_are_named_after_those_that_are_there() {
        let folder = std::env::temp_dir().join(format!("quorate-files-{}", std::process::id()));
        let log = folder.join("data/log");
        fs::create_dir_all(&log).unwrap();
        for number in [3, 4] {
            fs::write(log.join(format!("segment-{number:010}")), b"").unwrap();
        }
        let place = |file: &str| Place {
            thread: "any".to_owned(),
            call: "fsync".to_owned(),
            file: file.to_owned(),
        };
        let found = files(&place("data/log/segment-N.new"), &folder);
        assert_eq!(found[0], log.join("segment-0000000003.new"));
        assert_eq!(found[2], log.join("segment-0000000005.new"));
        assert_eq!(found.len() as u64, 2 + AHEAD);
        let found = files(&place("data/snapshots/snapshot-N.data.new"), &folder);
        let first = "data/snapshots/snapshot-00000000000000000064.data.new";
        assert_eq!(found[0], folder.join(first));
        assert_eq!(files(&place("data/log"), &folder), [log]);
        assert!(files(&place("data/public/N.events"), &folder).is_empty());
        fs::remove_dir_all(folder).unwrap();
    }
}
