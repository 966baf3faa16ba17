//! Logs that move between the looks at them, and one that does not.

use super::*;
use crate::inspect::chain;
use crate::inspect::chain::tests::{fill_proven, written};
use quorate_log::{DataFolder, LogConfig, Opened, RecordKind, open};
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

/// Files of a log's folder, by name.
type Files = BTreeMap<String, Vec<u8>>;

fn folder(name: &str) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("quorate-beside-{name}-{}", std::process::id()));
    fs::remove_dir_all(&dir).ok();
    dir
}

fn files(dir: &Path) -> Files {
    let entries = fs::read_dir(dir).unwrap().map(|entry| {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        (name, fs::read(entry.path()).unwrap())
    });
    entries.collect()
}

fn put(dir: &Path, files: &Files) {
    fs::remove_dir_all(dir).ok();
    fs::create_dir_all(dir).unwrap();
    for (name, bytes) in files {
        fs::write(dir.join(name), bytes).unwrap();
    }
}

/// A log of small segments with one record.
fn begun(dir: &Path) -> Opened {
    let config = LogConfig {
        segment_bytes: 4096,
        ..LogConfig::new([7; 32])
    };
    open(&DataFolder::open(dir).unwrap(), &config, b"genesis").unwrap()
}

fn grow(log: &mut Opened, records: usize) {
    for _ in 0..records {
        log.writer.append(RecordKind::new(9), &[&[5; 200]]).unwrap();
    }
    log.syncer.sync(log.writer.unsynced()).unwrap();
}

/// What stands in a log of which each look finds the next of these states.
fn seen(name: &str, states: &[Files]) -> Option<Verification> {
    let dir = folder(name);
    let mut states = states.iter();
    let found = stand(&mut || {
        put(
            &dir,
            states.next().expect("another look than was thought of"),
        );
        verify_path(&dir)
    });
    fs::remove_dir_all(&dir).ok();
    found.unwrap()
}

/// The log as it was, with the watermark of later: what is read of one that grows.
fn torn_between(earlier: &Files, later: &Files) -> Files {
    let mut files = earlier.clone();
    let watermark = later["watermark"].clone();
    files.insert("watermark".to_owned(), watermark);
    files
}

#[test]
fn an_end_that_only_moved_is_no_fault_and_what_had_been_synced_is_all_there() {
    let dir = folder("moving");
    let mut log = begun(&dir);
    let mut states = Vec::new();
    for _ in 0..4 {
        grow(&mut log, 30);
        states.push(files(&dir));
    }
    let looks = [
        torn_between(&states[0], &states[1]),
        torn_between(&states[2], &states[3]),
    ];
    let lost = seen("moving-still", &[looks[0].clone(), looks[0].clone()]).unwrap();
    assert_eq!(lost.faults.len(), 1, "one that stands is a lost end");
    let found = seen("moving-look", &looks).unwrap();
    assert_eq!(found.faults, []);
    assert_eq!(found.record_count, 91);
    assert!(found.segment_count > 4, "the log has only one segment");
    drop(log);
    fs::remove_dir_all(dir).unwrap();
}

#[test]
fn damage_that_stands_is_told_however_the_end_moves() {
    let dir = folder("damaged");
    let mut log = begun(&dir);
    let mut states = Vec::new();
    for _ in 0..2 {
        grow(&mut log, 30);
        let mut state = files(&dir);
        state.get_mut("segment-0000000001").unwrap()[1000] ^= 1;
        states.push(state);
    }
    let found = seen("damaged-look", &states).unwrap();
    assert_eq!(found.faults.len(), 1);
    assert_eq!(found.faults[0].segment, 1);
    assert_eq!(found.end.offset.segment(), 1);
    drop(log);
    fs::remove_dir_all(dir).unwrap();
}

/// The end of such a look stands before what is not there: nothing can be said of the rest.
#[test]
fn where_the_beginning_goes_faster_than_it_is_read_nothing_is_said() {
    let dir = folder("pruned");
    let mut log = begun(&dir);
    grow(&mut log, 150);
    // The base was read, and then the segment that it names was removed.
    let vanished = |first: u32, log: &mut Opened| {
        if first > 0 {
            log.pruner.prune(first).unwrap();
        }
        let mut state = files(&dir);
        state.remove(&format!("segment-{first:010}")).unwrap();
        state
    };
    let looks: Vec<Files> = (0..8).map(|first| vanished(first, &mut log)).collect();
    assert!(seen("pruned-always", &looks).is_none());
    let whole = files(&dir);
    let found = seen("pruned-once", &[looks[6].clone(), whole]).unwrap();
    assert_eq!(found.faults, []);
    assert_eq!(found.start.offset.segment(), 7);
    drop(log);
    fs::remove_dir_all(dir).unwrap();
}

#[test]
fn a_segment_that_is_removed_between_the_look_and_the_reading_is_a_matter_of_trying_again() {
    let (data, _) = written("beside-gone", |writer, genesis| {
        fill_proven(writer, genesis, 9)
    });
    let log = data.join("log");
    let found = verify_beside(&log).unwrap();
    fs::remove_file(log.join("segment-0000000000")).unwrap();
    let refused = chain::read(&log, &found).unwrap_err();
    assert_eq!(refused.code, Code::TryAgain, "{refused}");
    fs::remove_dir_all(data).unwrap();
}
