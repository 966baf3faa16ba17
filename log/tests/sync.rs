//! Syncing: what one sync covers, what a failed one ends, and the two durabilities.

mod support;

use std::sync::mpsc;

use quorate_log::{DataFolder, LogConfig, LogError, MemoryBackend, OpenError, open};
use support::{KIND, append, open_memory, payload, payloads, sync, try_open};

#[test]
fn one_sync_covers_everything_appended_before_across_segments() {
    let memory = MemoryBackend::new();
    let mut log = open_memory(&memory);
    assert!(log.writer.unsynced().is_empty());
    for number in 1..=10 {
        append(&mut log, &payload(number, 1500));
    }
    let range = log.writer.unsynced();
    assert!(!range.is_empty());
    // Longer than the sector that it shares with the end of the range.
    append(&mut log, &payload(11, 1500));
    let end = log.syncer.sync(range).unwrap();
    assert_eq!((end, end.index.count()), (range.end(), 11));
    assert_eq!(log.syncer.synced(), end);
    assert_eq!(log.reader.synced_index(), end.index);
    let after = memory.power_cut(|_| false);
    assert_eq!(payloads(&open_memory(&after).reader).len(), 10);
}

#[test]
fn what_no_sync_covered_is_lost_with_the_power_and_not_with_the_process() {
    let memory = MemoryBackend::new();
    let mut log = open_memory(&memory);
    append(&mut log, b"synced");
    sync(&mut log);
    append(&mut log, b"not synced");
    let lost = memory.power_cut(|_| false);
    assert_eq!(payloads(&open_memory(&lost).reader), [b"synced"]);
    let kept = memory.process_kill();
    assert_eq!(payloads(&open_memory(&kept).reader).len(), 2);
}

#[test]
fn a_range_that_was_covered_costs_no_sync() {
    let memory = MemoryBackend::new();
    let mut log = open_memory(&memory);
    append(&mut log, b"one");
    let early = log.writer.unsynced();
    append(&mut log, b"two");
    sync(&mut log);
    memory.fail_sync_after(0);
    let end = log.syncer.sync(early).unwrap();
    assert_eq!(end, log.writer.end());
}

#[test]
fn the_syncer_works_on_its_own_thread_while_the_writer_appends() {
    let memory = MemoryBackend::new();
    let log = open_memory(&memory);
    let (mut writer, mut syncer) = (log.writer, log.syncer);
    let (ranges, to_sync) = mpsc::channel();
    let (synced, ends) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        for range in to_sync {
            synced.send(syncer.sync(range).unwrap()).unwrap();
        }
    });
    for number in 1..=200_u64 {
        let place = writer.append(KIND, &[&payload(number, 400)]).unwrap();
        ranges.send(writer.unsynced()).unwrap();
        assert!(ends.recv().unwrap().index > place.index);
    }
    drop(ranges);
    thread.join().unwrap();
    let after = memory.power_cut(|_| false);
    assert_eq!(payloads(&open_memory(&after).reader).len(), 200);
}

#[test]
fn the_first_failed_sync_ends_the_log_for_good() {
    let memory = MemoryBackend::new();
    let mut log = open_memory(&memory);
    append(&mut log, b"synced");
    sync(&mut log);
    append(&mut log, b"doubtful");
    let range = log.writer.unsynced();
    memory.fail_sync_after(0);
    let error = log.syncer.sync(range).unwrap_err();
    assert!(matches!(error, LogError::SyncFailed { .. }), "{error}");
    // The disk would take the next one; the log does not ask it.
    assert!(matches!(log.syncer.sync(range), Err(LogError::Poisoned)));
    assert!(matches!(
        log.writer.append(KIND, &[b"more"]),
        Err(LogError::Poisoned)
    ));
    assert!(matches!(
        log.preparer.prepare_next(),
        Err(LogError::Poisoned)
    ));
    assert_eq!(log.reader.synced_index().count(), 2);
    assert!(matches!(
        log.syncer.stop(log.writer),
        Err(LogError::Poisoned)
    ));
    assert!(
        memory.file("clean-stop").is_none(),
        "no clean stop after a failed sync"
    );
}

#[test]
fn a_sync_that_fails_in_a_later_segment_of_the_range_ends_the_log() {
    let memory = MemoryBackend::new();
    let mut log = open_memory(&memory);
    for number in 1..=5 {
        append(&mut log, &payload(number, 3000));
    }
    memory.fail_sync_after(2);
    let error = log.syncer.sync(log.writer.unsynced()).unwrap_err();
    assert!(matches!(error, LogError::SyncFailed { .. }), "{error}");
    assert_eq!(
        log.reader.synced_index().count(),
        1,
        "nothing of a failed range counts"
    );
}

#[test]
fn a_failed_sync_of_a_new_segment_ends_the_log_too() {
    for syncs in [0, 1] {
        let memory = MemoryBackend::new();
        let mut log = open_memory(&memory);
        memory.fail_sync_after(syncs);
        let error = log.preparer.prepare_next().unwrap_err();
        assert!(matches!(error, LogError::SyncFailed { .. }), "{error}");
        assert!(matches!(
            log.writer.append(KIND, &[b"more"]),
            Err(LogError::Poisoned)
        ));
        let memory = MemoryBackend::new();
        let mut log = open_memory(&memory);
        append(&mut log, &payload(1, 3000));
        memory.fail_sync_after(syncs);
        let error = log.writer.append(KIND, &[&payload(2, 3000)]).unwrap_err();
        assert!(matches!(error, LogError::SyncFailed { .. }), "{error}");
        assert!(matches!(
            log.writer.append(KIND, &[b"small"]),
            Err(LogError::Poisoned)
        ));
    }
}

#[test]
fn a_sync_that_fails_while_opening_opens_nothing_and_breaks_nothing() {
    let memory = MemoryBackend::new();
    support::small_log(&memory, 30, &[30]);
    let mut log = open_memory(&memory);
    append(&mut log, b"unsynced");
    drop(log);
    let mut failed_count = 0;
    for syncs in 0.. {
        let memory = memory.process_kill();
        memory.fail_sync_after(syncs);
        match try_open(&memory).map(drop) {
            Err(OpenError::SyncFailed { .. }) => failed_count += 1,
            Ok(()) => break,
            Err(error) => panic!("{error}"),
        }
        let log = open_memory(&memory);
        assert_eq!(payloads(&log.reader).len(), 31);
    }
    assert!(
        failed_count >= 3,
        "the folder, the segments and the watermark are synced"
    );
}

#[test]
fn a_clean_stop_leaves_everything_durable() {
    let memory = MemoryBackend::new();
    let mut log = open_memory(&memory);
    for number in 1..=10 {
        append(&mut log, &payload(number, 1000));
    }
    log.syncer.stop(log.writer).unwrap();
    let after = memory.power_cut(|_| false);
    let log = open_memory(&after);
    assert_eq!(payloads(&log.reader).len(), 10);
    assert_eq!(log.recovery.clean_stop, quorate_log::CleanStopRead::Matches);
    assert_eq!(log.recovery.synced_before, log.recovery.end.index);
}

/// After a failed sync the system may show as clean what never got to the disk, and no later sync
/// writes it.
#[test]
fn a_log_that_distrusts_the_cache_holds_what_the_disk_does() {
    for distrusts_cache in [false, true] {
        let memory = MemoryBackend::new();
        let mut log = open_memory(&memory);
        append(&mut log, b"synced");
        sync(&mut log);
        append(&mut log, &payload(1, 1500));
        drop(log);
        memory.forget_unsynced();
        let config = LogConfig {
            distrusts_cache,
            ..support::config()
        };
        let folder = DataFolder::in_memory(&memory);
        let log = open(&folder, &config, support::GENESIS).expect("a log that opens");
        let pretended = usize::from(!distrusts_cache);
        assert_eq!(payloads(&log.reader).len(), 1 + pretended);
        drop(log);
        let after = memory.power_cut(|_| true);
        assert_eq!(payloads(&open_memory(&after).reader).len(), 1);
    }
}
