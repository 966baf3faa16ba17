//! On what a figure was measured: the machine, the day, the build.
//!
//! Owns what a report must say so that its figures can be judged. What the system does not tell is
//! "unknown", never a guess. Never: measures.

use std::fs;
use std::path::Path;
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
    /// Where validators had their folders; none where nothing was stored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub folder: Option<Folder>,
}

/// Where validators had their folders.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Folder {
    /// Its path.
    pub path: String,
    /// The file system that it is on, by the name under which it is mounted; the number that the
    /// system gives for one that is not known here.
    pub file_system: String,
}

impl Folder {
    /// The one at a path.
    #[must_use]
    pub fn of(path: &Path) -> Self {
        // The type's width is the machine's.
        #[expect(
            clippy::cast_sign_loss,
            reason = "a number of 32 bits, whose sign means nothing"
        )]
        let found = rustix::fs::statfs(path).map(|found| found.f_type as u64 & 0xffff_ffff);
        Self {
            path: path.display().to_string(),
            file_system: found.map_or_else(|_| known(""), file_system),
        }
    }

    /// Whether it is in memory, so that a sync costs nothing.
    #[must_use]
    pub fn is_memory(&self) -> bool {
        MEMORY.contains(&self.file_system.as_str())
    }

    /// What whoever reads figures from there must know first, if anything.
    #[must_use]
    pub fn warning(&self) -> Option<String> {
        self.is_memory().then(|| {
            format!(
                "warning: {} is on {}: a sync there costs nothing, so figures with syncs are those \
                 of no disk; name a folder on one with --dir",
                self.path, self.file_system
            )
        })
    }
}

/// File systems, as the kernel numbers and mounts them.
const FILE_SYSTEMS: [(u64, &str); 9] = [
    (0x0102_1994, "tmpfs"),
    (0x8584_58f6, "ramfs"),
    (0xef53, "ext4"),
    (0x5846_5342, "xfs"),
    (0x9123_683e, "btrfs"),
    (0x2fc1_2fc1, "zfs"),
    (0xf2f5_2010, "f2fs"),
    (0x794c_7630, "overlay"),
    (0x6969, "nfs"),
];
/// Those that are memory.
const MEMORY: [&str; 2] = ["tmpfs", "ramfs"];

/// Name of a file system by its number.
fn file_system(number: u64) -> String {
    let known = FILE_SYSTEMS.iter().find(|(known, _)| *known == number);
    known.map_or_else(|| format!("{number:#x}"), |(_, name)| (*name).to_owned())
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
            folder: None,
        }
    }

    /// The same of a command that makes folders there.
    #[must_use]
    pub fn with_folder(mut self, path: &Path) -> Self {
        self.folder = Some(Folder::of(path));
        self
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
    fn a_folder_in_memory_is_warned_of_and_one_on_a_disk_is_not() {
        let on = |number| Folder {
            path: "/there".to_owned(),
            file_system: file_system(number),
        };
        assert!(
            on(0x0102_1994)
                .warning()
                .unwrap()
                .contains("/there is on tmpfs")
        );
        assert_eq!(on(0xef53).warning(), None);
        assert_eq!(file_system(7), "0x7");
        let memory = Path::new("/dev/shm");
        if memory.is_dir() {
            let folder = Circumstances::now(&[]).with_folder(memory).folder;
            assert_eq!(folder.unwrap().file_system, "tmpfs");
        }
        let nowhere = Circumstances::now(&[]).with_folder(Path::new("/nowhere/at/all"));
        assert_eq!(nowhere.folder.unwrap().file_system, "unknown");
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
