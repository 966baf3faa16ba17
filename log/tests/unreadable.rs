//! Pages that the disk does not give back. A mapping of them is a signal, so they have to be found
//! before, and what is lost with them is judged like other damage: marked where it had been synced,
//! cut where it had not.

mod support;

use quorate_log::{CleanStopRead, DataFolder, MemoryBackend, OpenError, Opened, Row};
use quorate_log::{open, verify};
use support::{GENESIS, append, open_memory, payload, payloads, sync, try_open};

const FIRST: &str = "segment-0000000000";
const SECOND: &str = "segment-0000000001";
const PAGE_BYTES: usize = 4096;
/// Several pages a segment, so that one of them can be lost.
const SEGMENT_BYTES: u32 = 16 * 1024;

fn open_log(memory: &MemoryBackend) -> Opened {
    let mut config = support::config();
    config.segment_bytes = SEGMENT_BYTES;
    open(&DataFolder::in_memory(memory), &config, GENESIS).expect("it opens")
}

/// A log of three segments, synced again and again, but for the last `unsynced` records: later
/// records prove then that earlier ones had been, also where the watermark is lost.
fn log_of_three(memory: &MemoryBackend, unsynced: usize) -> Vec<Vec<u8>> {
    let mut log = open_log(memory);
    let records: Vec<Vec<u8>> = (0..36).map(|number| payload(number, 1000)).collect();
    for (number, record) in records.iter().enumerate() {
        append(&mut log, record);
        let left = records.len() - number - 1;
        if left == unsynced || (left > unsynced && number % 8 == 0) {
            sync(&mut log);
        }
    }
    assert_eq!(log.writer.end().offset.segment(), 2);
    records
}

/// What is left of the log, without the genesis.
fn records(log: &Opened) -> Vec<Vec<u8>> {
    payloads(&log.reader)
}

#[test]
fn a_page_of_synced_records_that_cannot_be_read_is_marked_and_the_log_goes_on() {
    for (name, page) in [(FIRST, 0), (FIRST, 1), (FIRST, 3), (SECOND, 0), (SECOND, 2)] {
        let memory = MemoryBackend::new();
        let before = log_of_three(&memory, 0);
        let at = page * PAGE_BYTES;
        memory.make_unreadable(name, at..at + 1);
        let found = verify(&DataFolder::in_memory(&memory)).expect("it can be judged");
        assert_eq!((found.row, found.unreadable_pages), (Row::SyncedDamage, 1));
        let mut log = open_log(&memory);
        assert_eq!(log.recovery.row, Row::SyncedDamage, "{name} {page}");
        assert_eq!(log.recovery.end.index, log.recovery.marked[0].resumed_at);
        assert!(log.recovery.is_unvouched);
        let left = records(&log);
        assert_eq!(left, before[..left.len()], "{name} {page}");
        // Record 0 follows from the genesis, so opening has it back; a look changes nothing.
        assert_eq!(left.len() as u64 + 1, found.end.index.count().max(1));
        append(&mut log, b"goes on");
        sync(&mut log);
        drop(log);
        let memory = memory.power_cut(|_| false);
        let log = open_log(&memory);
        assert_eq!(
            (log.recovery.row, log.recovery.marked.len()),
            (Row::CleanEnd, 1)
        );
        let found = verify(&DataFolder::in_memory(&memory)).expect("it can be read");
        assert_eq!(
            found.unreadable_pages, 0,
            "what could not be read is left behind"
        );
    }
}

#[test]
fn a_page_of_unsynced_records_that_cannot_be_read_is_cut() {
    let memory = MemoryBackend::new();
    let before = log_of_three(&memory, 4);
    let end = verify(&DataFolder::in_memory(&memory)).unwrap().end.offset;
    let name = format!("segment-{:010}", end.segment());
    let last = end.bytes() as usize - 1;
    assert!(last / PAGE_BYTES > 0);
    // Everything of it is on the disk, as if the power had gone before the sync returned.
    let memory = memory.power_cut(|_| true);
    memory.make_unreadable(&name, last..last + 1);
    let log = open_log(&memory);
    assert_eq!(log.recovery.row, Row::TornTail);
    assert!(log.recovery.cut.is_some() && log.recovery.marked.is_empty());
    let left = records(&log);
    assert!(left.len() >= before.len() - 4 && left.len() < before.len());
    assert_eq!(left, before[..left.len()]);
}

#[test]
fn a_page_behind_the_end_that_cannot_be_read_costs_nothing() {
    let memory = MemoryBackend::new();
    let before = log_of_three(&memory, 0);
    let mut log = open_log(&memory);
    log.preparer.prepare_next().unwrap();
    let end = log.writer.end().offset;
    drop(log);
    let page = (end.bytes() as usize).next_multiple_of(PAGE_BYTES);
    memory.make_unreadable(&format!("segment-{:010}", end.segment()), page..page + 1);
    memory.make_unreadable(
        &format!("segment-{:010}", end.segment() + 1),
        0..PAGE_BYTES + 1,
    );
    let found = verify(&DataFolder::in_memory(&memory)).expect("it can be judged");
    assert_eq!((found.row, found.unreadable_pages), (Row::CleanEnd, 3));
    let log = open_log(&memory);
    assert_eq!((log.recovery.row, records(&log)), (Row::CleanEnd, before));
}

/// A name that a loss of power gives back to the old file takes from under what was synced since.
#[test]
fn what_is_synced_into_a_segment_that_was_written_anew_outlives_a_loss_of_power() {
    let memory = MemoryBackend::new();
    let mut expected = log_of_three(&memory, 0);
    let end = open_log(&memory).writer.end().offset;
    let page = (end.bytes() as usize).next_multiple_of(PAGE_BYTES);
    memory.make_unreadable(&format!("segment-{:010}", end.segment()), page..page + 1);
    let mut log = open_log(&memory);
    append(&mut log, b"appended since");
    sync(&mut log);
    assert_eq!(log.writer.end().offset.segment(), end.segment());
    drop(log);
    expected.push(b"appended since".to_vec());
    let memory = memory.power_cut(|_| false);
    let log = open_log(&memory);
    assert_eq!(log.recovery.row, Row::CleanEnd);
    assert!(records(&log) == expected, "what was synced is gone");
    drop(log);
    let found = verify(&DataFolder::in_memory(&memory)).expect("it can be read");
    assert_eq!(found.unreadable_pages, 0);
}

#[test]
fn power_lost_at_every_step_of_leaving_an_unreadable_page_behind_leaves_the_same_log() {
    let sound = MemoryBackend::new();
    log_of_three(&sound, 0);
    sound.make_unreadable(SECOND, PAGE_BYTES..PAGE_BYTES + 1);
    let expected = records(&open_log(&sound.process_kill()));
    for steps in 0.. {
        let memory = sound.process_kill();
        memory.power_off_after(steps);
        let mut config = support::config();
        config.segment_bytes = SEGMENT_BYTES;
        let is_done = open(&DataFolder::in_memory(&memory), &config, GENESIS).is_ok();
        for keeps in [false, true] {
            let after = memory.power_cut(|_| keeps);
            let log = open_log(&after);
            assert_eq!(records(&log), expected, "after {steps} steps");
            assert_eq!(log.recovery.marked.len(), 1, "after {steps} steps, {keeps}");
        }
        if is_done {
            assert!(steps > 5);
            return;
        }
    }
}

#[test]
fn a_disk_that_gives_no_page_of_a_segment_is_gone_and_nothing_is_changed() {
    let memory = MemoryBackend::new();
    log_of_three(&memory, 0);
    memory.make_unreadable(SECOND, 0..SEGMENT_BYTES as usize);
    let (names, steps) = (memory.file_names(), memory.steps_used());
    let Err(OpenError::Io { name, .. }) = try_open(&memory) else {
        panic!("it was opened")
    };
    assert_eq!((name.as_str(), memory.file_names()), (SECOND, names));
    // The folder's names were synced, and that is all.
    assert_eq!(memory.steps_used(), steps + 1);
}

#[test]
fn a_full_disk_leaves_what_cannot_be_read_for_a_later_start() {
    let memory = MemoryBackend::new();
    log_of_three(&memory, 0);
    memory.make_unreadable(SECOND, 0..1);
    memory.set_full(true);
    let names = memory.file_names();
    assert!(matches!(try_open(&memory), Err(OpenError::Io { .. })));
    assert_eq!(memory.file_names(), names);
    memory.set_full(false);
    assert_eq!(open_log(&memory).recovery.row, Row::SyncedDamage);
}

/// What cannot be read may have said that a log was there.
#[test]
fn a_log_that_is_gone_behind_a_watermark_that_cannot_be_read_is_lost_and_not_new() {
    let memory = MemoryBackend::new();
    drop(open_memory(&memory));
    memory.remove_file(FIRST);
    // One that was never written is made before the first segment, and is no sign of a log.
    let blank = vec![0; memory.file("watermark").expect("made").len()];
    memory.set_file("watermark", &blank);
    assert!(open_memory(&memory.process_kill()).recovery.is_new);
    memory.make_unreadable("watermark", 0..1);
    let names = memory.file_names();
    let refused = try_open(&memory).map(drop);
    assert!(
        matches!(refused, Err(OpenError::LogLost { trace: "watermark" })),
        "{refused:?}"
    );
    assert_eq!(memory.file_names(), names);
}

#[test]
fn small_files_that_cannot_be_read_count_as_damaged() {
    let memory = MemoryBackend::new();
    support::small_log(&memory, 3, &[10]);
    let mut log = open_memory(&memory);
    sync(&mut log);
    log.syncer.stop(log.writer).unwrap();
    drop((log.reader, log.preparer, log.pruner, log.scrubber));
    assert!(memory.file("clean-stop").is_some());
    for name in ["watermark", "clean-stop"] {
        memory.make_unreadable(name, 0..1);
    }
    let folder = DataFolder::in_memory(&memory);
    let log = open_memory(&memory);
    assert!(!log.recovery.has_watermark);
    assert_eq!(log.recovery.clean_stop, CleanStopRead::Damaged);
    quorate_log::remove_clean_stop(&folder).expect("a name can go whose file cannot be read");
    assert!(memory.file("clean-stop").is_none());
}
