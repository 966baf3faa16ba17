//! On what a figure was measured: the machine, the day, the build.
//!
//! Owns what a report must say so that its figures can be judged. What the system does not tell is
//! "unknown", never a guess. Never: measures.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

const SECONDS_PER_DAY: u64 = 86_400;
/// Longest file of the system that is read, bytes.
const FILE_BYTES_MAX: usize = 64 * 1024;

/// The machine.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Machine {
    /// Threads that run at once.
    pub cores: usize,
    /// The processor's own name.
    pub cpu: String,
    /// The system's release.
    pub kernel: String,
    /// Average of running threads over the last minute when the measurement began: above the
    /// number of cores, other work was in the way.
    pub load_average: Option<f64>,
}

/// The program that measured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Build {
    /// Version of the workspace.
    pub version: &'static str,
    /// `release` or `dev`.
    pub profile: &'static str,
    /// The first 16 hex digits of the BLAKE3 hash of the program.
    pub program: String,
}

/// Everything that stands beside a figure.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Circumstances {
    /// The command, as it was given.
    pub command: String,
    /// When it began, UTC.
    pub date: String,
    /// Where.
    pub machine: Machine,
    /// With what.
    pub build: Build,
}

impl Circumstances {
    /// Those of this moment. `arguments` are the program's, without its own name.
    #[must_use]
    pub fn now(arguments: &[String]) -> Self {
        let command = ["quorate"].into_iter();
        let command = command.chain(arguments.iter().map(String::as_str));
        Self {
            command: command.collect::<Vec<_>>().join(" "),
            date: date(SystemTime::now()),
            machine: Machine::this(),
            build: Build::this(),
        }
    }
}

impl Machine {
    /// This one.
    #[must_use]
    pub fn this() -> Self {
        let read = |path: &str| {
            let text = fs::read(path).unwrap_or_default();
            let text = text.get(..FILE_BYTES_MAX).unwrap_or(&text);
            String::from_utf8_lossy(text).into_owned()
        };
        let load = read("/proc/loadavg");
        Self {
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            cpu: cpu_of(&read("/proc/cpuinfo")),
            kernel: known(read("/proc/sys/kernel/osrelease").trim()),
            load_average: load
                .split_whitespace()
                .next()
                .and_then(|text| text.parse().ok()),
        }
    }
}

impl Build {
    /// This one.
    #[must_use]
    pub fn this() -> Self {
        let program = std::env::current_exe().and_then(fs::read);
        Self {
            version: env!("CARGO_PKG_VERSION"),
            profile: if cfg!(debug_assertions) {
                "dev"
            } else {
                "release"
            },
            program: program.map_or_else(
                |_| known(""),
                |bytes| blake3::hash(&bytes).to_hex()[..16].to_owned(),
            ),
        }
    }
}

fn known(text: &str) -> String {
    let text = if text.is_empty() { "unknown" } else { text };
    text.to_owned()
}

fn cpu_of(cpuinfo: &str) -> String {
    let mut fields = cpuinfo.lines().filter_map(|line| line.split_once(':'));
    let name = fields.find(|(key, _)| key.trim() == "model name");
    known(name.map_or("", |(_, name)| name.trim()))
}

/// A moment as `YYYY-MM-DD HH:MM UTC`.
fn date(at: SystemTime) -> String {
    let seconds = at
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    let (days, second) = (seconds / SECONDS_PER_DAY, seconds % SECONDS_PER_DAY);
    let (year, month, day) = civil(days);
    let (hour, minute) = (second / 3_600, second / 60 % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02} UTC")
}

/// Year, month and day so many days after 1970-01-01.
fn civil(mut days: u64) -> (u64, u64, u64) {
    let is_leap = |year: u64| {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    };
    let mut year = 1970;
    while days >= 365 + u64::from(is_leap(year)) {
        days -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let february = 28 + u64::from(is_leap(year));
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    (year, month, days + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn days_are_those_of_the_calendar() {
        let at = |seconds| date(UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(at(0), "1970-01-01 00:00 UTC");
        assert_eq!(at(951_782_400), "2000-02-29 00:00 UTC");
        assert_eq!(at(1_735_689_599), "2024-12-31 23:59 UTC");
        assert_eq!(at(1_735_689_600), "2025-01-01 00:00 UTC");
    }

    #[test]
    fn what_the_system_does_not_tell_is_unknown() {
        assert_eq!(cpu_of("processor\t: 0\nmodel name\t: A: B\n"), "A: B");
        assert_eq!(cpu_of("processor\t: 0\n"), "unknown");
        assert_eq!(known(""), "unknown");
        let now = Circumstances::now(&["bench".to_owned(), "floor".to_owned()]);
        assert_eq!(now.command, "quorate bench floor");
        assert!(now.machine.cores > 0 && now.build.program.len() == 16);
    }
}
