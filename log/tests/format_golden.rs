//! The exact bytes of a small log. A change here is a change of the format: it needs a new format
//! version, docs/log-format.md, and a CHANGELOG line.
//!
//! `QUORATE_BLESS=1 cargo test -p quorate-log --test format_golden` writes the file of this version
//! anew, and never that of an older one.

mod support;

use std::fmt::Write as _;
use std::path::PathBuf;

use quorate_log::{
    CleanStopRead, DataFolder, FORMAT_VERSION, LeaseFile, MemoryBackend, Opened, RecordKind, open,
};
use support::{GENESIS, config, set_versions, sync};

const ROW_BYTES: usize = 32;
/// Of the log of version 2, which has a record of more than 4 KiB.
const LONG_SEGMENT_BYTES: u32 = 8192;

fn opened(memory: &MemoryBackend, segment_bytes: u32) -> Opened {
    let mut config = config();
    config.segment_bytes = segment_bytes;
    open(&DataFolder::in_memory(memory), &config, GENESIS).expect("a log that opens")
}

/// One log with two started segments, records of all lengths modulo the padding, a lease and a
/// clean stop; where segments have room for it also a record with a lead.
fn build(segment_bytes: u32) -> MemoryBackend {
    let memory = MemoryBackend::new();
    LeaseFile::new(&DataFolder::in_memory(&memory))
        .replace(b"lease payload")
        .expect("a sound log");
    let mut log = opened(&memory, segment_bytes);
    for payload_bytes in 0..9_u8 {
        let payload: Vec<u8> = (1..=payload_bytes).collect();
        log.writer
            .append(RecordKind::new(u16::from(payload_bytes) + 1), &[&payload])
            .expect("a sound log");
    }
    sync(&mut log);
    if segment_bytes == LONG_SEGMENT_BYTES {
        let parts: [&[u8]; 3] = [&[0xaa; 7], &[0xbb; 40], &[0xcc; 4099]];
        log.writer
            .append_hashed(
                RecordKind::new(0xfedc),
                &parts,
                Some(blake3::hash(parts[2]).as_bytes()),
            )
            .expect("a sound log");
    }
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

fn path(file: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("testdata")
        .join(file)
}

/// The folder that was dumped into a file.
fn golden(file: &str) -> MemoryBackend {
    let memory = MemoryBackend::new();
    let (mut name, mut bytes) = (String::new(), Vec::new());
    for line in std::fs::read_to_string(path(file))
        .expect("a golden file")
        .lines()
    {
        let (first, second) = line.split_once(' ').expect("a golden file");
        if first.len() == 5 && u32::from_str_radix(first, 16).is_ok() && first != "lease" {
            let offset = usize::from_str_radix(first, 16).expect("a golden file");
            for at in 0..second.len() / 2 {
                bytes[offset + at] =
                    u8::from_str_radix(&second[2 * at..2 * at + 2], 16).expect("a golden file");
            }
            memory.set_file(&name, &bytes);
        } else {
            (name, bytes) = (
                first.to_owned(),
                vec![0; second.parse().expect("a golden file")],
            );
        }
    }
    memory
}

#[test]
fn the_bytes_of_a_small_log_are_those_of_format_version_2() {
    assert_eq!(FORMAT_VERSION, 2);
    let found = dump(&build(LONG_SEGMENT_BYTES));
    let path = path("small-log-v2.hex");
    if std::env::var_os("QUORATE_BLESS").is_some() {
        std::fs::write(&path, &found).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap();
    assert!(found == expected, "the format changed; found:\n{found}");
}

/// So a log without a lead is, but for the version, the one that older programs write.
#[test]
fn the_bytes_of_a_small_log_without_a_lead_are_those_of_format_version_1() {
    let memory = build(support::SEGMENT_BYTES);
    set_versions(&memory, 1);
    let expected = std::fs::read_to_string(path("small-log.hex")).unwrap();
    assert!(dump(&memory) == expected, "found:\n{}", dump(&memory));
}

#[test]
fn the_golden_logs_are_read_by_this_version() {
    for (file, segment_bytes, leads) in [
        ("small-log.hex", support::SEGMENT_BYTES, 0),
        ("small-log-v2.hex", LONG_SEGMENT_BYTES, 1),
    ] {
        let log = opened(&golden(file), segment_bytes);
        assert_eq!(log.recovery.clean_stop, CleanStopRead::Matches, "{file}");
        let records: Vec<_> = log.reader.iter().map(|record| record.unwrap()).collect();
        assert_eq!(records.len(), 11 + leads, "{file}");
        assert_eq!(&records[9][..], [1, 2, 3, 4, 5, 6, 7, 8]);
        if leads > 0 {
            let parts: [&[u8]; 3] = [&[0xaa; 7], &[0xbb; 40], &[0xcc; 4099]];
            assert_eq!(records[10].kind().number(), 0xfedc);
            assert_eq!(records[10][..], parts.concat());
        }
        let last = &records[10 + leads];
        assert_eq!((last.kind().number(), last.len()), (0xabcd, 3000));
    }
}
