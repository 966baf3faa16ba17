//! What the log makes of each answer of the system when it asks for room: the answers are put in
//! the system's mouth by `strace`. Says so where that is missing or may not trace.

mod support;

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::{Command, Output};

use quorate_log::{DataFolder, LogConfig, LogError, open};
use support::{GENESIS, TestFolder, append, config, payloads, sync};

const CHILD: &str = "QUORATE_TEST_RESERVE";
const SEGMENT_BYTES: u64 = 1 << 20;
/// What the child says where it got no segment.
const NO_SEGMENT: &str = "there is no segment";

/// What is answered, and what a log makes of it.
const ANSWERS: [(&str, Expected); 9] = [
    ("", Expected::Reserved),
    ("error=EINTR:when=2", Expected::Reserved),
    ("error=EOPNOTSUPP", Expected::Zeros),
    ("error=ENOSYS", Expected::Zeros),
    ("error=EINVAL", Expected::Zeros),
    ("error=EPERM", Expected::Zeros),
    // It says yes and has done nothing.
    ("retval=0", Expected::Zeros),
    ("error=ENOSPC:when=2", Expected::NoSegment),
    ("error=EDQUOT:when=2", Expected::NoSegment),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    Reserved,
    Zeros,
    NoSegment,
}

/// In a process of its own: a log that is made, prepares a segment and is opened again.
fn live(path: &Path) {
    let folder = DataFolder::open(path).expect("a new folder");
    let config = LogConfig {
        segment_bytes: SEGMENT_BYTES as u32,
        reserves_room: true,
        ..config()
    };
    let mut log = open(&folder, &config, GENESIS).expect("a new log");
    match log.preparer.prepare_next() {
        Ok(_) => {}
        Err(LogError::NoSegment { source }) => eprintln!("{NO_SEGMENT}: {source}"),
        Err(error) => panic!("{error}"),
    }
    append(&mut log, b"kept");
    sync(&mut log);
    drop(log);
    let log = open(&folder, &config, GENESIS).expect("a log that was left");
    assert_eq!(payloads(&log.reader), [b"kept"]);
}

fn traced(name: &str, answer: &str, trace: &Path, folder: &Path) -> Output {
    let mut strace = Command::new("strace");
    strace.args(["-f", "-y", "-qq", "-s", "0", "-e", "trace=write,fallocate"]);
    if !answer.is_empty() {
        strace.args(["-e", &format!("inject=fallocate:{answer}")]);
    }
    let traced = strace.arg("-o").arg(trace);
    let traced = traced.arg(std::env::current_exe().expect("this program"));
    let traced = traced.args([name, "--exact", "--nocapture"]);
    traced.env(CHILD, folder).output().expect("strace")
}

/// What was given to calls that write to segments in the making.
fn written_bytes(trace: &str) -> u64 {
    let writes = trace
        .lines()
        .filter(|line| line.contains(" write(") && line.contains("/segment-"));
    let taken = writes.filter_map(|line| line.rsplit_once(" = ")?.1.trim().parse::<u64>().ok());
    taken.sum()
}

#[test]
fn room_that_the_system_does_not_reserve_is_taken_by_zeros_unless_there_is_none() {
    let name = "room_that_the_system_does_not_reserve_is_taken_by_zeros_unless_there_is_none";
    if let Some(path) = std::env::var_os(CHILD) {
        return live(path.as_ref());
    }
    let can_trace = Command::new("strace")
        .args(["-qq", "-o", "/dev/null", "true"])
        .status()
        .is_ok_and(|status| status.success());
    if !can_trace || !TestFolder::new().can_reserve() {
        eprintln!(
            "skipped: no strace, none that may trace, or a file system that reserves nothing"
        );
        return;
    }
    for (answer, expected) in ANSWERS {
        let folder = TestFolder::new();
        let real = folder.path().canonicalize().expect("it is there");
        let (path, trace) = (real.join("log"), real.join("trace"));
        let output = traced(name, answer, &trace, &path);
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{answer}: {told}");
        let no_segment = expected == Expected::NoSegment;
        assert_eq!(told.contains(NO_SEGMENT), no_segment, "{answer}: {told}");
        let trace = std::fs::read_to_string(trace).expect("a trace");
        let asked = trace.matches("fallocate(").count();
        assert_eq!(asked, 2 + usize::from(answer.contains("EINTR")), "{answer}");
        let zeros = if expected == Expected::Zeros { 2 } else { 0 };
        let written = written_bytes(&trace);
        assert_eq!(written / SEGMENT_BYTES, zeros, "{answer}: {written}");
        let segments = if no_segment { 1 } else { 2 };
        let names = std::fs::read_dir(&path).expect("a folder");
        let files = names.map(|entry| entry.expect("an entry"));
        let mut found = 0;
        for file in files.filter(|file| file.file_name().to_string_lossy().starts_with("segment")) {
            let metadata = file.metadata().expect("what it is");
            assert_eq!(metadata.len(), SEGMENT_BYTES, "{answer}");
            assert!(metadata.blocks() * 512 >= SEGMENT_BYTES, "{answer}");
            found += 1;
        }
        assert_eq!(found, segments, "{answer}");
    }
}
