//! A disk that has no room for bytes of a segment that is there, and one that refuses a write for
//! another reason.

mod support;

use std::io::ErrorKind;

use quorate_log::{
    CleanStopRead, DataFolder, LogConfig, LogError, MemoryBackend, Opened, ReadError, RecordIndex,
    RecordRef, open,
};
use support::{GENESIS, KIND, append, config, open_memory, payload, payloads, sync};

fn refused(outcome: Result<(), LogError>) -> bool {
    match outcome {
        Ok(()) => false,
        Err(LogError::NoRoom { .. }) => true,
        Err(error) => panic!("{error}"),
    }
}

fn open_long(memory: &MemoryBackend) -> Opened {
    let config = LogConfig {
        segment_bytes: 32 * 1024,
        ..config()
    };
    open(&DataFolder::in_memory(memory), &config, GENESIS).expect("a log that opens")
}

#[test]
fn what_finds_no_room_is_nowhere_until_it_does_and_then_as_if_appended() {
    let memory = MemoryBackend::new();
    let (mut full, mut other) = (open_long(&memory), open_long(&MemoryBackend::new()));
    let mut random = support::Random(11);
    let mut waiting: Vec<(RecordRef, Vec<u8>)> = Vec::new();
    let mut refusals = 0;
    for number in 1..600 {
        let reason = random.coin().then_some(ErrorKind::StorageFull);
        memory.refuse_writes(reason);
        let bytes = payload(number, random.below(9_000) as usize);
        let parts = [&bytes[..bytes.len() / 3], &bytes[bytes.len() / 3..]];
        let place = loop {
            match full.writer.stage(KIND, &parts) {
                Ok(place) => break place,
                // Into the next segment nothing goes before this one has everything.
                Err(LogError::NoRoom { .. }) => memory.refuse_writes(None),
                Err(error) => panic!("{error}"),
            }
        };
        assert_eq!(place, append(&mut other, &bytes));
        waiting.push((place, bytes));
        if refused(full.writer.commit()) {
            refusals += 1;
            let (place, _) = waiting.last().unwrap();
            let read = full.reader.read(*place);
            assert!(matches!(read, Err(ReadError::NotAppended { .. })));
            let end = full.syncer.sync(full.writer.unsynced()).unwrap();
            assert!(end.index <= place.index, "a sync covers what has no room");
        } else {
            for (place, bytes) in waiting.drain(..) {
                assert_eq!(&full.reader.read(place).unwrap()[..], bytes);
            }
        }
    }
    memory.refuse_writes(None);
    full.writer.commit().unwrap();
    assert!(refusals > 100, "{refusals}");
    assert_eq!(payloads(&full.reader), payloads(&other.reader));
    // Hashes differ: headers say what was synced by then.
    let end = full.writer.end();
    assert_eq!(
        (end.offset, end.index),
        (other.writer.end().offset, other.writer.end().index)
    );
    sync(&mut full);
    let after = memory.power_cut(|_| false);
    assert_eq!(payloads(&open_long(&after).reader), payloads(&other.reader));
}

#[test]
fn the_header_of_a_segment_that_finds_no_room_is_written_when_there_is_some() {
    let memory = MemoryBackend::new();
    let mut log = open_memory(&memory);
    for number in 1..=3 {
        append(&mut log, &payload(number, 1000));
    }
    sync(&mut log);
    memory.refuse_writes(Some(ErrorKind::QuotaExceeded));
    for _ in 0..3 {
        let outcome = log.writer.append(KIND, &[&payload(4, 1000)]);
        assert!(
            matches!(outcome, Err(LogError::NoRoom { .. })),
            "{outcome:?}"
        );
    }
    let files = memory.file_names();
    let count = files.iter().filter(|name| name.starts_with("segment-"));
    assert_eq!(count.count(), 2, "one is taken, and no more: {files:?}");
    // Half a header is no damage to the next start.
    let killed = open_memory(&memory.process_kill());
    assert_eq!(payloads(&killed.reader).len(), 3);
    memory.refuse_writes(None);
    let place = append(&mut log, &payload(4, 1000));
    assert_eq!((place.index.count(), place.offset.segment()), (4, 1));
    sync(&mut log);
    let after = memory.power_cut(|_| false);
    assert_eq!(payloads(&open_memory(&after).reader).len(), 4);
}

/// Room of the disk, of a quota, and of the memory that a group of processes may have.
#[test]
fn every_want_of_room_is_waited_for_and_ends_no_log() {
    for kind in [
        ErrorKind::StorageFull,
        ErrorKind::QuotaExceeded,
        ErrorKind::OutOfMemory,
    ] {
        let memory = MemoryBackend::new();
        let mut log = open_memory(&memory);
        memory.refuse_writes(Some(kind));
        log.writer.stage(KIND, &[b"waits"]).expect("it is staged");
        assert!(refused(log.writer.commit()), "{kind}");
        assert!(!log.writer.is_poisoned(), "{kind}");
        memory.refuse_writes(None);
        log.writer.commit().expect("there is room");
        sync(&mut log);
        drop(log);
        let log = open_memory(&memory.power_cut(|_| false));
        assert_eq!(payloads(&log.reader), [b"waits"], "{kind}");
    }
}

#[test]
fn a_run_that_ends_while_something_has_no_room_leaves_a_log_that_opens() {
    let memory = MemoryBackend::new();
    let mut log = open_memory(&memory);
    append(&mut log, b"kept");
    memory.refuse_writes(Some(ErrorKind::StorageFull));
    log.writer.stage(KIND, &[&payload(2, 900)]).unwrap();
    assert!(refused(log.writer.commit()));
    let end = log.writer.unsynced().end();
    log.syncer.stop(log.writer).unwrap();
    memory.refuse_writes(None);
    for after in [memory.process_kill(), memory.power_cut(|_| true)] {
        let log = open_memory(&after);
        assert_eq!(log.recovery.end, end);
        assert_eq!(log.recovery.clean_stop, CleanStopRead::Matches);
        assert_eq!(payloads(&log.reader), [b"kept"]);
    }
}

#[test]
fn a_watermark_that_finds_no_room_stays_where_it_was_and_the_sync_counts() {
    let memory = MemoryBackend::new();
    let mut log = open_memory(&memory);
    append(&mut log, b"one");
    sync(&mut log);
    append(&mut log, b"two");
    memory.refuse_writes(Some(ErrorKind::StorageFull));
    sync(&mut log);
    assert_eq!(log.reader.synced_index(), RecordIndex::new(3));
    let after = open_memory(&memory.process_kill());
    assert!(after.recovery.has_watermark, "the slot of before is whole");
    assert_eq!(after.recovery.synced_before, RecordIndex::new(2));
    assert_eq!(payloads(&after.reader).len(), 2);
}

#[test]
fn after_a_write_that_failed_otherwise_the_log_takes_nothing_more() {
    let other = ErrorKind::Other;
    let of_writer = |memory: &MemoryBackend, bytes: usize| {
        let mut log = open_long(memory);
        append(&mut log, b"kept");
        memory.refuse_writes(Some(other));
        let outcome = log.writer.append(KIND, &[&payload(1, bytes)]);
        assert!(
            matches!(outcome, Err(LogError::WriteFailed { .. })),
            "{outcome:?}"
        );
        memory.refuse_writes(None);
        assert!(log.writer.is_poisoned());
        assert!(log.writer.commit().is_err(), "it never comes after all");
        let outcome = log.writer.append(KIND, &[b"more"]);
        assert!(matches!(outcome, Err(LogError::Poisoned)), "{outcome:?}");
        let synced = log.syncer.sync(log.writer.unsynced());
        assert!(matches!(synced, Err(LogError::Poisoned)), "{synced:?}");
        assert_eq!(payloads(&log.reader), [b"kept"]);
    };
    of_writer(&MemoryBackend::new(), 100);
    of_writer(&MemoryBackend::new(), 9_000);
    let memory = MemoryBackend::new();
    let mut log = open_long(&memory);
    append(&mut log, b"kept");
    memory.refuse_writes(Some(other));
    let synced = log.syncer.sync(log.writer.unsynced());
    assert!(
        matches!(synced, Err(LogError::WriteFailed { .. })),
        "{synced:?}"
    );
    assert!(log.writer.is_poisoned());
}

#[test]
fn on_a_full_disk_a_commit_alone_tries_again_and_not_each_record() {
    let memory = MemoryBackend::new();
    let config = LogConfig {
        segment_bytes: 4 * 1024 * 1024,
        ..config()
    };
    let folder = DataFolder::in_memory(&memory);
    let mut full = open(&folder, &config, GENESIS).expect("a log that opens");
    memory.refuse_writes(Some(ErrorKind::StorageFull));
    let places: Vec<(RecordRef, Vec<u8>)> = (0..1_000)
        .map(|number| {
            // Long ones and short ones.
            let bytes = payload(number, if number % 10 == 0 { 6_000 } else { 500 });
            let place = full.writer.stage(KIND, &[&bytes]).expect("it is staged");
            (place, bytes)
        })
        .collect();
    assert!(refused(full.writer.commit()));
    assert!(memory.refused_writes() <= 2, "{}", memory.refused_writes());
    memory.refuse_writes(None);
    full.writer.commit().expect("there is room");
    for (place, bytes) in places {
        assert_eq!(&full.reader.read(place).unwrap()[..], bytes);
    }
}
