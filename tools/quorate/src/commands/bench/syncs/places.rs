//! The places at which a validator makes things durable, as a traced life of it shows them.
//!
//! Owns the reading of what the tracer writes, and what one place is: a thread, a call, and a kind
//! of file. Never: runs a tracer, or says what has to become of a refusal.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;

/// Calls by which things are made durable.
pub(super) const CALLS: [&str; 4] = ["fsync", "fdatasync", "msync", "sync_file_range"];
/// The thread that a process begins with, and has no name.
pub(super) const MAIN: &str = "main";
/// Stands in the name of a file for its number.
const NUMBER: &str = "N";
/// Numbers of files have more digits than any other number in a name.
const DIGITS_MIN: usize = 10;

/// Where something is made durable.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(super) struct Place {
    /// The name of the thread.
    pub(super) thread: String,
    /// The call.
    pub(super) call: String,
    /// The file or folder below the validator's, with N for a number.
    pub(super) file: String,
}

impl Place {
    /// Whether its name has some of these words; each has where there are none.
    pub(super) fn is_called(&self, words: &[String]) -> bool {
        let name = self.to_string();
        words.is_empty() || words.iter().any(|words| name.contains(words.as_str()))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} by {}", self.call, self.file, self.thread)
    }
}

/// How a place was seen in a life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// How often.
    pub(super) count: u64,
    /// Of all calls of this kind by this thread, which was the first one here, from 1.
    pub(super) first: u64,
    /// Only after the validator was told to stop.
    pub(super) is_at_stop: bool,
}

/// What one life showed.
#[derive(Clone, Debug, Default)]
pub(super) struct Survey {
    pub(super) places: BTreeMap<Place, Seen>,
}

/// One call that the tracer has written down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Call {
    /// The thread's number.
    pub(super) thread: u32,
    pub(super) name: String,
    /// What it is about, where that is known.
    pub(super) path: Option<PathBuf>,
    /// The tracer has made it fail.
    pub(super) is_refused: bool,
}

/// Which file is mapped where.
#[derive(Clone, Debug, Default)]
pub(super) struct Mappings(Vec<(u64, u64, PathBuf)>);

impl Mappings {
    /// Those of a running process, as its `maps` file has them.
    pub(super) fn take(&mut self, maps: &str) {
        for line in maps.lines() {
            let mut words = line.split_ascii_whitespace();
            let range = words.next().and_then(|range| range.split_once('-'));
            let hex = |text| u64::from_str_radix(text, 16).ok();
            if let (Some((from, until)), Some(path)) = (range, words.nth(4))
                && let (Some(from), Some(until)) = (hex(from), hex(until))
            {
                self.put(from, until.saturating_sub(from), path);
            }
        }
    }

    fn put(&mut self, from: u64, bytes: u64, path: &str) {
        let mapping = (from, bytes, PathBuf::from(path));
        if path.starts_with('/') && self.0.last() != Some(&mapping) {
            self.0.push(mapping);
        }
    }

    /// What was mapped there last.
    fn at(&self, address: u64) -> Option<&Path> {
        let mut newest = self.0.iter().rev();
        let found = newest.find(|(from, bytes, _)| (*from..from + bytes).contains(&address));
        found.map(|(_, _, path)| path.as_path())
    }
}

/// Reads what the tracer has written: every call, in order. Each line begins with the number of the
/// thread where `has_threads` says so; else all are of the thread 0.
pub(super) fn calls(text: &str, has_threads: bool, mappings: &mut Mappings) -> Vec<Call> {
    let mut found: Vec<Call> = Vec::new();
    // Arguments of a mapping that has not come back.
    let mut mapping: BTreeMap<u32, String> = BTreeMap::new();
    for line in text.lines() {
        let (thread, rest) = match line.split_once(' ') {
            Some((thread, rest)) if has_threads => (thread.parse().unwrap_or(0), rest.trim_start()),
            _ => (0, line),
        };
        if let Some(resumed) = rest.strip_prefix("<... ") {
            let name = resumed.split(' ').next().unwrap_or_default();
            if name == "mmap" {
                let arguments = mapping.remove(&thread).unwrap_or_default();
                note_mapping(&arguments, rest, mappings);
            } else if resumed.ends_with("(INJECTED)") {
                let mut own = found.iter_mut().rev();
                if let Some(call) = own.find(|call| call.thread == thread) {
                    call.is_refused = true;
                }
            }
            continue;
        }
        let Some((name, arguments)) = rest.split_once('(') else {
            continue;
        };
        if name == "mmap" {
            if rest.ends_with("<unfinished ...>") {
                mapping.insert(thread, arguments.to_owned());
            } else {
                note_mapping(arguments, rest, mappings);
            }
        } else if CALLS.contains(&name) {
            found.push(Call {
                thread,
                name: name.to_owned(),
                path: path_of(name, arguments, mappings),
                is_refused: rest.ends_with("(INJECTED)"),
            });
        }
    }
    found
}

/// `mmap(NULL, 4096, PROT_READ, MAP_SHARED, 5</folder/file>, 0) = 0x7f0000000000`
fn note_mapping(arguments: &str, line: &str, mappings: &mut Mappings) {
    let bytes = arguments.split(", ").nth(1);
    let bytes = bytes.and_then(|bytes| bytes.parse::<u64>().ok());
    let at = line.rsplit_once("= 0x").map(|(_, at)| at);
    let at = at.and_then(|at| u64::from_str_radix(at, 16).ok());
    if let (Some(at), Some(bytes), Some(path)) = (at, bytes, described(arguments)) {
        mappings.put(at, bytes, path);
    }
}

/// The file behind a descriptor, `5</folder/file>`.
fn described(arguments: &str) -> Option<&str> {
    let from = arguments.find("</")? + 1;
    arguments.get(from..)?.split('>').next()
}

fn path_of(name: &str, arguments: &str, mappings: &Mappings) -> Option<PathBuf> {
    if name != "msync" {
        return described(arguments).map(PathBuf::from);
    }
    let address = arguments.strip_prefix("0x")?.split(',').next()?;
    let address = u64::from_str_radix(address, 16).ok()?;
    mappings.at(address).map(Path::to_path_buf)
}

/// What kind of file it is, below the folder of its validator.
pub(super) fn kind(path: Option<&Path>, folder: &Path) -> String {
    let Some(path) = path else {
        return "unknown".to_owned();
    };
    let Ok(below) = path.strip_prefix(folder) else {
        return "elsewhere".to_owned();
    };
    let mut kind = String::new();
    let mut digits = String::new();
    for c in below.to_string_lossy().chars().chain(['\0']) {
        if c.is_ascii_digit() {
            digits.push(c);
            continue;
        }
        let is_number = digits.len() >= DIGITS_MIN;
        kind.push_str(if is_number { NUMBER } else { &digits });
        digits.clear();
        kind.extend((c != '\0').then_some(c));
    }
    kind
}

impl Survey {
    /// Of a life whose threads are all traced; from `stop` on in the text it was told to stop.
    pub(super) fn of(text: &str, stop: usize, folder: &Path) -> Self {
        let first = text.split(' ').next().and_then(|first| first.parse().ok());
        let names = names(text, first.unwrap_or(0));
        let mut mappings = Mappings::default();
        let before = calls(text.get(..stop).unwrap_or(text), true, &mut mappings).len();
        let mut survey = Self::default();
        let mut ordinals: BTreeMap<(u32, String), u64> = BTreeMap::new();
        let calls = calls(text, true, &mut Mappings::default());
        for (at, call) in calls.into_iter().enumerate() {
            let ordinal = ordinals
                .entry((call.thread, call.name.clone()))
                .or_default();
            *ordinal += 1;
            let place = Place {
                thread: names
                    .get(&call.thread)
                    .cloned()
                    .unwrap_or_else(|| "unnamed".to_owned()),
                call: call.name,
                file: kind(call.path.as_deref(), folder),
            };
            let seen = survey.places.entry(place).or_insert(Seen {
                count: 0,
                first: *ordinal,
                is_at_stop: at >= before,
            });
            seen.count += 1;
        }
        survey
    }

    /// Whether other threads make this call for these files too.
    pub(super) fn is_shared(&self, place: &Place) -> bool {
        let alike = |other: &&Place| other.file == place.file && other.call == place.call;
        self.places.keys().filter(alike).count() > 1
    }

    /// Whether the thread makes this call for other files too.
    pub(super) fn is_mixed(&self, place: &Place) -> bool {
        let alike = |other: &&Place| other.thread == place.thread && other.call == place.call;
        self.places.keys().filter(alike).count() > 1
    }
}

/// Names of threads by number.
fn names(text: &str, main: u32) -> BTreeMap<u32, String> {
    let mut names: BTreeMap<u32, String> = [(main, MAIN.to_owned())].into();
    for line in text.lines() {
        let Some((thread, rest)) = line.split_once(' ') else {
            continue;
        };
        let name = rest.trim_start().strip_prefix("prctl(PR_SET_NAME, \"");
        let name = name.and_then(|name| name.split('"').next());
        if let (Ok(thread), Some(name)) = (thread.parse(), name) {
            names.insert(thread, name.to_owned());
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIFE: &str = "\
70 mmap(NULL, 4096, PROT_READ|PROT_WRITE, MAP_SHARED, 5</v/data/log/segment-0000000000>, 0) = 0x7f10
70 msync(0x7f20, 64, MS_SYNC) = 0
70  fsync(4</v/data/log>) = 0
71  prctl(PR_SET_NAME, \"quorate-sync\") = 0
71 mmap(NULL, 100, PROT_READ, MAP_SHARED, 9</v/data/log/watermark> <unfinished ...>
72 prctl(PR_SET_NAME, \"quorate-shadow\"... <unfinished ...>
71 <... mmap resumed>, 0) = 0x9000
71 msync(0x7f10, 64, MS_SYNC <unfinished ...>
72 fsync(7</v/data/snapshots/snapshot-00000000000000000064.data.new> <unfinished ...>
71 <... msync resumed>) = 0
72 <... fsync resumed>) = -1 EIO (Input/output error) (INJECTED)
71 msync(0x9010, 64, MS_SYNC) = 0
70 fsync(4</v/data/log>) = -1 EIO (Input/output error) (INJECTED)
71 fsync(6</other/x>) = 0
73 fdatasync(8</v/data/public/00000000000000000001.events>) = ?
";

    fn place(thread: &str, call: &str, file: &str) -> Place {
        Place {
            thread: thread.to_owned(),
            call: call.to_owned(),
            file: file.to_owned(),
        }
    }

    #[test]
    fn a_place_is_a_thread_a_call_and_a_kind_of_file() {
        let stop = LIFE.find("71 msync(0x9010").unwrap();
        let survey = Survey::of(LIFE, stop, Path::new("/v"));
        let seen = |count, first, is_at_stop| Seen {
            count,
            first,
            is_at_stop,
        };
        let wanted = [
            (place("main", "fsync", "data/log"), seen(2, 1, false)),
            (
                place("main", "msync", "data/log/segment-N"),
                seen(1, 1, false),
            ),
            (
                place(
                    "quorate-shadow",
                    "fsync",
                    "data/snapshots/snapshot-N.data.new",
                ),
                seen(1, 1, false),
            ),
            (
                place("quorate-sync", "fsync", "elsewhere"),
                seen(1, 1, true),
            ),
            (
                place("quorate-sync", "msync", "data/log/segment-N"),
                seen(1, 1, false),
            ),
            (
                place("quorate-sync", "msync", "data/log/watermark"),
                seen(1, 2, true),
            ),
            (
                place("unnamed", "fdatasync", "data/public/N.events"),
                seen(1, 1, true),
            ),
        ];
        assert_eq!(survey.places.into_iter().collect::<Vec<_>>(), wanted);
    }

    #[test]
    fn what_was_refused_is_told_by_the_line_that_says_so() {
        let calls = calls(LIFE, true, &mut Mappings::default());
        let refused: Vec<_> = calls.iter().filter(|call| call.is_refused).collect();
        assert_eq!(refused.len(), 2);
        // In the order in which they began.
        assert_eq!((refused[0].thread, refused[0].name.as_str()), (72, "fsync"));
        assert_eq!((refused[1].thread, refused[1].name.as_str()), (70, "fsync"));
    }

    #[test]
    fn a_place_is_called_by_any_part_of_its_name() {
        let place = place("main", "fsync", "data/log/lease.new");
        let is_called = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(|&words| words.to_owned()).collect();
            place.is_called(&words)
        };
        assert!(is_called(&[]) && is_called(&["other", "lease.new by main"]));
        assert!(!is_called(&["lease.new by other"]));
    }

    #[test]
    fn of_a_thread_that_is_traced_alone_what_is_mapped_is_known_from_its_process() {
        let mut mappings = Mappings::default();
        mappings.take(
            "7f00-8f00 rw-s 00000000 fe:00 12 /v/data/log/segment-0000000003\n\
                       9000-9100 rw-p 00000000 00:00 0\n",
        );
        let found = calls(
            "msync(0x7f08, 4, MS_SYNC) = ?\nmsync(0x9000, 4, MS_SYNC) = 0\n",
            false,
            &mut mappings,
        );
        let kinds: Vec<_> = found
            .iter()
            .map(|call| kind(call.path.as_deref(), Path::new("/v")))
            .collect();
        assert_eq!(kinds, ["data/log/segment-N", "unknown"]);
    }
}
