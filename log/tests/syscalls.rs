//! What a log asks of a real folder, call by call: the simulated one of the other tests believes
//! that a sync was one. Needs `strace`, and says so where it is missing or may not trace.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::Path;
use std::process::Command;

use quorate_log::{DataFolder, LeaseFile, LogConfig, open};
use support::{GENESIS, TestFolder, append, config, payload, payloads, sync};

const CHILD: &str = "QUORATE_TEST_SYSCALLS";
/// Set where that log has room for its segments reserved.
const RESERVES: &str = "QUORATE_TEST_SYSCALLS_RESERVES";

/// Calls that change a file or a name, or make that durable. A question mark: not every processor
/// has it.
const CALLS: &str = "trace=?open,openat,?rename,?renameat,?renameat2,?unlink,unlinkat,write,\
    pwrite64,pwritev,fallocate,fsync,fdatasync,mmap,munmap,msync,?fadvise64,?arm_fadvise64_64";

/// What the life says where the system has no reads past its memory.
const NO_DIRECT_READS: &str = "this file system has no direct reads";

#[test]
fn what_the_log_takes_for_durable_was_synced_by_the_system_before() {
    if let Some(path) = std::env::var_os(CHILD) {
        return live(path.as_ref());
    }
    let can_trace = Command::new("strace")
        .args(["-qq", "-o", "/dev/null", "true"])
        .status()
        .is_ok_and(|status| status.success());
    if !can_trace {
        eprintln!("skipped: this machine has no strace, or it may not trace");
        return;
    }
    for reserves in [false, true] {
        trace_a_life(reserves);
    }
}

fn trace_a_life(reserves: bool) {
    let folder = TestFolder::new();
    // As the trace names what a descriptor is of.
    let real = folder.path().canonicalize().expect("it is there");
    let (path, trace) = (real.join("log"), real.join("trace"));
    let name = "what_the_log_takes_for_durable_was_synced_by_the_system_before";
    let output = Command::new("strace")
        .args(["-ff", "-y", "-qq", "-s", "0", "-e", CALLS, "-o"])
        .arg(&trace)
        .arg(std::env::current_exe().expect("this program"))
        .args([name, "--exact", "--nocapture"])
        .env(CHILD, &path)
        .envs(reserves.then_some((RESERVES, "1")))
        .output()
        .expect("strace");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    let mut disk = Disk::new(&path);
    for line in trace_of_the_life(&real).lines() {
        disk.take(line);
    }
    assert!(disk.is_parent_synced, "the name of the folder itself");
    assert_eq!(disk.renamed, None, "a name is not synced at the end");
    assert_eq!(disk.dirty, BTreeMap::new(), "not synced at the end");
    let counts = (disk.renames >= 9, disk.watermarks >= 6, disk.removals);
    assert_eq!(counts, (true, true, 2), "{disk:?}");
    // The first segment, one that was made ahead and one in need, at least.
    assert!(!reserves || disk.reservations >= 3 || !folder.can_reserve());
    // A pass that reads what memory holds finds nothing of what the disk has lost.
    assert!(disk.direct_reads > 0 || told.contains(NO_DIRECT_READS));
    // A start that distrusts what memory holds reads nothing that the system may still show: also
    // of the segment of the end and of the watermark, which nobody lets go otherwise.
    let files = std::fs::read_dir(&path).expect("the folder of the log");
    let names = files.map(|entry| entry.expect("an entry").file_name());
    let names = names.filter_map(|name| name.into_string().ok());
    let last = names.filter(|name| name.starts_with("segment-")).max();
    for name in ["watermark", &last.expect("a segment")] {
        assert!(disk.dropped.contains(name), "{name}: {:?}", disk.dropped);
    }
}

/// Each thread has a file of its own; one of them has lived.
fn trace_of_the_life(folder: &Path) -> String {
    let entries = std::fs::read_dir(folder).expect("the folder of the traces");
    let files = entries.map(|entry| entry.expect("an entry").path());
    let mut traces = files
        .filter(|path| path.is_file())
        .map(|path| std::fs::read_to_string(path).expect("a trace"))
        .filter(|trace| trace.contains("segment-"));
    let trace = traces.next().expect("a trace of a log");
    assert_eq!(traces.next(), None, "one thread alone");
    trace
}

/// In a process of its own: a log that is made, grows, is left, opened, looked at, pruned and
/// stopped, and opened once more as after a failed sync.
fn live(path: &Path) {
    let folder = DataFolder::open(path).expect("a new folder");
    let config = LogConfig {
        reserves_room: std::env::var_os(RESERVES).is_some(),
        ..config()
    };
    let mut log = open(&folder, &config, GENESIS).expect("a new log");
    for number in 0..9 {
        if number == 5 {
            log.preparer.prepare_next().expect("room for a segment");
        }
        append(&mut log, &payload(number, 900));
        if number % 3 == 1 {
            sync(&mut log);
        }
    }
    drop(log);
    let mut log = open(&folder, &config, GENESIS).expect("a log that was left");
    assert_eq!(payloads(&log.reader).len(), 9);
    log.scrubber.step(1 << 20).expect("a read");
    if log.scrubber.is_direct() == Some(false) {
        eprintln!("{NO_DIRECT_READS}");
    }
    log.pruner.prune(2).expect("segments that may go");
    let mut lease = LeaseFile::new(&folder);
    lease.replace(b"a lease").expect("room for a lease");
    append(&mut log, &payload(9, 900));
    log.syncer.stop(log.writer).expect("a clean stop");
    drop((log.reader, log.preparer, log.pruner, log.scrubber));
    let distrusting = LogConfig {
        distrusts_cache: true,
        ..config
    };
    let log = open(&folder, &distrusting, GENESIS).expect("a log that was stopped");
    log.syncer.stop(log.writer).expect("a clean stop");
}

/// What a disk may not have yet, by the calls so far.
#[derive(Debug)]
struct Disk {
    folder: String,
    /// Bytes that were written and not synced, by the name of the file.
    dirty: BTreeMap<String, Vec<Range<usize>>>,
    /// Where files are mapped: address, length, name.
    maps: Vec<(usize, usize, String)>,
    /// A name that was given and not synced.
    renamed: Option<String>,
    is_parent_synced: bool,
    renames: u32,
    watermarks: u32,
    removals: u32,
    /// Files that had room reserved.
    reservations: u32,
    /// Segments that were opened to be read past the memory of the system.
    direct_reads: u32,
    /// Files whose memory was given back to the system.
    dropped: BTreeSet<String>,
}

impl Disk {
    fn new(folder: &Path) -> Self {
        Self {
            folder: folder.display().to_string(),
            dirty: BTreeMap::new(),
            maps: Vec::new(),
            renamed: None,
            is_parent_synced: false,
            renames: 0,
            watermarks: 0,
            removals: 0,
            reservations: 0,
            direct_reads: 0,
            dropped: BTreeSet::new(),
        }
    }

    /// Takes one line of the trace. A call that fails has changed nothing.
    fn take(&mut self, line: &str) {
        let Some((call, result)) = line.rsplit_once(" = ") else {
            return;
        };
        let call = call.trim_end().trim_end_matches(')');
        let Some((name, arguments)) = call.split_once('(') else {
            return;
        };
        if result.starts_with('-') {
            return;
        }
        match name {
            "msync" => return self.flushed(arguments, line),
            "munmap" => {
                let (address, _) = range(arguments);
                return self.maps.retain(|map| map.0 != address);
            }
            "fsync" | "fdatasync" => return self.synced(described(arguments)),
            _ => {}
        }
        match name.trim_end_matches(|letter: char| letter.is_ascii_digit()) {
            "open" | "openat" if arguments.contains("O_CREAT") => {
                let path = quoted(arguments).remove(0);
                self.written(&path, 0..usize::MAX, line);
            }
            "open" | "openat" if arguments.contains("O_DIRECT") => {
                let path = quoted(arguments).remove(0);
                let segment = self.own(&path).filter(|name| name.starts_with("segment-"));
                self.direct_reads += u32::from(segment.is_some());
            }
            "fadvise" | "arm_fadvise64_" if arguments.contains("POSIX_FADV_DONTNEED") => {
                if let Some(name) = self.own(described(arguments)).map(str::to_owned) {
                    // The system drops nothing that it has not written.
                    assert!(
                        !self.dirty.contains_key(&name),
                        "it is not synced before: {line}"
                    );
                    self.dropped.insert(name);
                }
            }
            "rename" | "renameat" => self.named(&quoted(arguments), line),
            "unlink" | "unlinkat" => self.removed(&quoted(arguments)[0], line),
            // The blocks and the length of a file may be lost like its bytes.
            "fallocate" => {
                self.reservations += 1;
                self.written(described(arguments), 0..usize::MAX, line);
            }
            "write" => self.written(described(arguments), 0..usize::MAX, line),
            "pwrite" | "pwritev" => {
                let offset = arguments
                    .rsplit(", ")
                    .next()
                    .map(number)
                    .expect("an offset");
                let bytes = offset..offset + number(result);
                self.written(described(arguments), bytes, line);
            }
            "mmap" => {
                let file = self.own(described(arguments)).map(str::to_owned);
                let (_, bytes_len) = range(arguments);
                self.maps
                    .extend(file.map(|file| (number(result), bytes_len, file)));
            }
            _ => {}
        }
    }

    /// The name of a file of the log; the lock file holds nothing that is to last.
    fn own<'a>(&self, path: &'a str) -> Option<&'a str> {
        let name = path.strip_prefix(&self.folder)?.strip_prefix('/')?;
        (name != "lock").then_some(name)
    }

    fn written(&mut self, path: &str, bytes: Range<usize>, line: &str) {
        let Some(name) = self.own(path) else {
            return;
        };
        self.assert_names_synced(line);
        // What it says was synced must have been; and a clean stop says so of everything.
        if name == "watermark" {
            self.assert_synced("segment-", line);
            self.watermarks += 1;
        }
        if name.starts_with("clean-stop") && !self.dirty.contains_key(name) {
            self.assert_synced("", line);
        }
        self.dirty.entry(name.to_owned()).or_default().push(bytes);
    }

    fn flushed(&mut self, arguments: &str, line: &str) {
        let is_sync = arguments.ends_with(", MS_SYNC");
        assert!(is_sync, "nobody knows when that is written: {line}");
        let (address, bytes_len) = range(arguments);
        let holds = |map: &&(usize, usize, String)| (map.0..map.0 + map.1).contains(&address);
        let Some((start, _, name)) = self.maps.iter().find(holds) else {
            return;
        };
        let synced = address - start..address - start + bytes_len;
        if let Some(dirty) = self.dirty.get_mut(name) {
            dirty.retain(|bytes| bytes.start < synced.start || bytes.end > synced.end);
        }
        self.dirty.retain(|_, dirty| !dirty.is_empty());
    }

    fn synced(&mut self, path: &str) {
        if path == self.folder {
            self.renamed = None;
        } else if let Some(name) = self.own(path) {
            self.dirty.remove(name);
        } else if Path::new(&self.folder).parent() == Some(Path::new(path)) {
            self.is_parent_synced = true;
        }
    }

    fn named(&mut self, paths: &[String], line: &str) {
        let [from, to] = paths else {
            panic!("not two names: {line}");
        };
        if let (Some(from), Some(to)) = (self.own(from), self.own(to)) {
            self.assert_names_synced(line);
            self.assert_synced(from, line);
            self.renamed = Some(to.to_owned());
            self.renames += 1;
        }
    }

    fn removed(&mut self, path: &str, line: &str) {
        if let Some(name) = self.own(path) {
            self.assert_names_synced(line);
            self.dirty.remove(name);
            self.removals += 1;
        }
    }

    /// Nothing is built on a name that a loss of power may take away.
    fn assert_names_synced(&self, line: &str) {
        let renamed = &self.renamed;
        assert_eq!(*renamed, None, "the folder is not synced before: {line}");
    }

    fn assert_synced(&self, prefix: &str, line: &str) {
        let mut names = self.dirty.keys().filter(|name| name.starts_with(prefix));
        let unsynced = names.next();
        assert_eq!(unsynced, None, "it is not synced before: {line}");
    }
}

/// The path of the first descriptor of a call.
fn described(arguments: &str) -> &str {
    let path = arguments
        .split_once('<')
        .and_then(|rest| rest.1.split_once('>'));
    path.map_or("", |path| path.0)
}

/// What stands in quotation marks.
fn quoted(arguments: &str) -> Vec<String> {
    let inside = arguments.split('"').skip(1).step_by(2);
    inside.map(str::to_owned).collect()
}

/// An address and a length, the first two arguments of a call; no address where it is not given.
fn range(arguments: &str) -> (usize, usize) {
    let mut numbers = arguments.split(", ").map(number);
    let both = numbers.next().zip(numbers.next());
    both.expect("an address and a length")
}

fn number(text: &str) -> usize {
    let text = text.trim();
    let read = match text.strip_prefix("0x") {
        Some(digits) => usize::from_str_radix(digits, 16),
        None if text == "NULL" => Ok(0),
        None => text.parse(),
    };
    read.unwrap_or_else(|error| panic!("{text}: {error}"))
}
