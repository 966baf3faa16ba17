//! The exact bytes of a small log. A change here is a change of the format: it needs a new format
//! version, docs/log-format.md, and a CHANGELOG line.
//!
//! `QUORATE_BLESS=1 cargo test -p quorate-log --test format_golden` writes the file anew.

mod support;

use std::fmt::Write as _;
use std::path::PathBuf;

use quorate_log::{DataFolder, LeaseFile, MemoryBackend, RecordKind};
use support::{open_memory, sync};

const ROW_BYTES: usize = 32;

/// One log with two started segments, records of all lengths modulo the padding, a lease and a
/// clean stop.
fn build() -> MemoryBackend {
    let memory = MemoryBackend::new();
    LeaseFile::new(&DataFolder::in_memory(&memory))
        .replace(b"lease payload")
        .expect("a sound log");
    let mut log = open_memory(&memory);
    for payload_bytes in 0..9_u8 {
        let payload: Vec<u8> = (1..=payload_bytes).collect();
        log.writer
            .append(RecordKind::new(u16::from(payload_bytes) + 1), &[&payload])
            .expect("a sound log");
    }
    sync(&mut log);
    log.writer
        .append(RecordKind::new(0xabcd), &[&[0xee; 3000]])
        .expect("a sound log");
    log.syncer.stop(log.writer).expect("a sound log");
    memory
}

/// Rows of 32 bytes that are not all zero, each with its offset.
fn dump(memory: &MemoryBackend) -> String {
    let mut text = String::new();
    for name in memory.file_names() {
        let bytes = memory.file(&name).expect("a sound log");
        writeln!(text, "{name} {}", bytes.len()).expect("a sound log");
        for (number, row) in bytes.chunks(ROW_BYTES).enumerate() {
            if row.iter().any(|byte| *byte != 0) {
                write!(text, "{:05x} ", number * ROW_BYTES).expect("a sound log");
                row.iter()
                    .for_each(|byte| write!(text, "{byte:02x}").expect("a sound log"));
                text.push('\n');
            }
        }
    }
    text
}

#[test]
fn the_bytes_of_a_small_log_are_those_of_format_version_1() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testdata/small-log.hex");
    let found = dump(&build());
    if std::env::var_os("QUORATE_BLESS").is_some() {
        std::fs::write(&path, &found).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap();
    assert!(found == expected, "the format changed; found:\n{found}");
}

#[test]
fn the_golden_log_is_read_by_this_version() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testdata/small-log.hex");
    let memory = MemoryBackend::new();
    let (mut name, mut bytes) = (String::new(), Vec::new());
    for line in std::fs::read_to_string(path).unwrap().lines() {
        let (first, second) = line.split_once(' ').unwrap();
        if first.len() == 5 && u32::from_str_radix(first, 16).is_ok() && first != "lease" {
            let offset = usize::from_str_radix(first, 16).unwrap();
            for at in 0..second.len() / 2 {
                bytes[offset + at] = u8::from_str_radix(&second[2 * at..2 * at + 2], 16).unwrap();
            }
            memory.set_file(&name, &bytes);
        } else {
            (name, bytes) = (first.to_owned(), vec![0; second.parse().unwrap()]);
        }
    }
    let log = open_memory(&memory);
    assert_eq!(log.recovery.clean_stop, quorate_log::CleanStopRead::Matches);
    let records: Vec<_> = log.reader.iter().map(|record| record.unwrap()).collect();
    assert_eq!(records.len(), 11);
    assert_eq!(&records[9][..], [1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(
        (records[10].kind().number(), records[10].len()),
        (0xabcd, 3000)
    );
}
