//! Logs whose first segments were removed: what they still hold, and that a beginning that was
//! lost never passes for one that was pruned.

mod support;

use quorate_log::{
    Damage, DataFolder, MemoryBackend, OpenError, Opened, PruneError, ReadError, Row, open, verify,
};
use support::{
    GENESIS, KEEPS, append, config, edit, open_memory, payload, power_cut, small_log, sync,
    try_open,
};

const BASE: &str = "base";

/// A log of some segments, all synced, with the payloads that stand in it.
fn long_log(memory: &MemoryBackend) -> Vec<Vec<u8>> {
    small_log(memory, 70, &[70]);
    all(&open_memory(memory))
}

fn all(log: &Opened) -> Vec<Vec<u8>> {
    let records = log
        .reader
        .iter()
        .map(|record| record.expect("whole").to_vec());
    records.collect()
}

fn segments(memory: &MemoryBackend) -> Vec<String> {
    let names = memory.file_names().into_iter();
    names.filter(|name| name.starts_with("segment-")).collect()
}

/// A log that begins with segment 2, and what stands in it.
fn pruned() -> (MemoryBackend, Vec<Vec<u8>>) {
    let memory = MemoryBackend::new();
    long_log(&memory);
    let mut log = open_memory(&memory);
    log.pruner.prune(2).expect("segments that may go");
    let kept = all(&log);
    drop(log);
    (memory.process_kill(), kept)
}

#[test]
fn a_pruned_log_holds_the_rest_and_goes_on() {
    let memory = MemoryBackend::new();
    let whole = long_log(&memory);
    let mut log = open_memory(&memory);
    let genesis = log.reader.start();
    let held = log.reader.iter().nth(1).expect("a record").expect("whole");
    let before = log.pruner.log_bytes();
    assert_eq!(log.pruner.prune(2).unwrap(), 2 * 4096);
    assert_eq!(log.pruner.log_bytes(), before - 2 * 4096);
    assert_eq!((log.pruner.first(), log.pruner.prune(2).unwrap()), (2, 0));

    let start = log.reader.start();
    assert_eq!(start.offset.segment(), 2);
    let skipped = start.index.count() as usize;
    assert!(skipped > 1);
    assert_eq!(all(&log), whole[skipped..]);
    let error = log.reader.read(genesis).unwrap_err();
    assert!(matches!(error, ReadError::Pruned { start: at, .. } if at == start));
    let mut from_genesis = log.reader.iter_from(genesis);
    assert!(matches!(
        from_genesis.next(),
        Some(Err(ReadError::Pruned { .. }))
    ));
    assert!(from_genesis.next().is_none());
    // Whoever has a record keeps it.
    assert_eq!(held[..], whole[1]);

    let mut expected = whole[skipped..].to_vec();
    for number in 200..220 {
        expected.push(payload(number, 900));
        append(&mut log, &expected[expected.len() - 1]);
    }
    sync(&mut log);
    assert_eq!(all(&log), expected);
    log.pruner.prune(3).unwrap();
    let expected = all(&log);
    log.syncer.stop(log.writer).unwrap();
    drop((log.reader, log.preparer, log.pruner, log.scrubber));

    let memory = memory.power_cut(|_| false);
    let found = verify(&DataFolder::in_memory(&memory)).unwrap();
    assert_eq!(
        (found.row, found.start.offset.segment()),
        (Row::CleanEnd, 3)
    );
    assert!(found.faults.is_empty());
    let log = open_memory(&memory);
    assert_eq!(
        (log.recovery.row, log.recovery.start),
        (Row::CleanEnd, found.start)
    );
    assert_eq!(log.recovery.clean_stop, quorate_log::CleanStopRead::Matches);
    assert_eq!(all(&log), expected);
    assert_eq!(memory.file("genesis").as_deref(), Some(GENESIS));
}

#[test]
fn a_log_begins_only_with_a_segment_that_is_there_synced_and_whole() {
    let memory = MemoryBackend::new();
    small_log(&memory, 70, &[70]);
    let mut log = open_memory(&memory);
    let last = log.writer.end().offset.segment();
    let beyond = log.pruner.prune(last + 1).unwrap_err();
    assert!(matches!(beyond, PruneError::NotThere { segment } if segment == last + 1));
    let bytes = payload(1, 3000);
    while log.writer.end().offset.segment() == last {
        append(&mut log, &bytes);
    }
    assert!(log.pruner.prune(last + 1).is_err(), "it is not synced yet");
    assert_eq!(log.reader.start().offset.segment(), 0);
    assert!(memory.file(BASE).is_none());
    sync(&mut log);
    log.pruner.prune(last + 1).unwrap();
    assert_eq!(segments(&memory).len(), 1);
}

/// What memory shows of the segments behind need not be what the disk has.
#[test]
fn nothing_is_pruned_after_a_failed_sync() {
    let memory = MemoryBackend::new();
    let whole = long_log(&memory);
    let mut log = open_memory(&memory);
    append(&mut log, b"it never reaches the disk");
    memory.fail_sync_after(0);
    log.syncer.sync(log.writer.unsynced()).unwrap_err();
    let names = memory.file_names();
    assert!(log.pruner.may_begin_with(2), "but for the failed sync");
    let error = log.pruner.prune(2).unwrap_err();
    assert!(matches!(error, PruneError::Poisoned), "{error}");
    assert_eq!((log.pruner.first(), memory.file_names()), (0, names));
    drop(log);
    let log = open_memory(&memory.power_cut(|_| false));
    assert_eq!(all(&log), whole);
}

#[test]
fn power_lost_at_every_step_of_pruning_leaves_a_log_that_begins_before_or_after() {
    let memory = MemoryBackend::new();
    let whole = long_log(&memory);
    let steps = {
        let memory = memory.process_kill();
        let mut log = open_memory(&memory);
        let before = memory.steps_used();
        log.pruner.prune(2).unwrap();
        memory.steps_used() - before
    };
    let mut starts = Vec::new();
    for step in 0..=steps {
        for keep in KEEPS {
            let memory = memory.process_kill();
            let mut log = open_memory(&memory);
            memory.power_off_after(step);
            let _cut_short = log.pruner.prune(2);
            drop(log);
            let memory = power_cut(&memory, keep, step);
            let log = try_open(&memory).unwrap_or_else(|error| panic!("{step} {keep:?}: {error}"));
            assert_eq!(log.recovery.row, Row::CleanEnd, "{step} {keep:?}");
            let skipped = log.reader.start().index.count() as usize;
            assert_eq!(all(&log), whole[skipped..], "{step} {keep:?}");
            let first = log.reader.start().offset.segment();
            assert_eq!(segments(&memory)[0], format!("segment-{first:010}"));
            starts.push(first);
        }
    }
    starts.sort_unstable();
    starts.dedup();
    assert_eq!(starts, [0, 2]);
}

#[test]
fn a_missing_beginning_without_a_whole_base_of_this_log_is_refused() {
    let other = MemoryBackend::new();
    let mut theirs = config();
    theirs.salt = [1; 32];
    let mut log = open(&DataFolder::in_memory(&other), &theirs, GENESIS).unwrap();
    for number in 0..40 {
        append(&mut log, &payload(number, 200));
    }
    sync(&mut log);
    log.pruner.prune(2).unwrap();

    let (memory, _) = pruned();
    let base = memory.file(BASE).unwrap();
    let whole = all(&open_memory(&memory.process_kill()));
    let without = memory.process_kill();
    without.remove_file(BASE);
    let damaged = memory.process_kill();
    edit(&damaged, BASE, |bytes| bytes[40] ^= 1);
    let foreign = memory.process_kill();
    foreign.set_file(BASE, &other.file(BASE).unwrap());
    for memory in [without, damaged, foreign] {
        let names = memory.file_names();
        let error = try_open(&memory).map(drop).unwrap_err();
        let OpenError::Damaged { faults } = error else {
            panic!("{error}")
        };
        assert_eq!(faults[0].damage, Damage::BeginningMissing);
        assert_eq!(memory.file_names(), names);
        let found = verify(&DataFolder::in_memory(&memory)).unwrap();
        assert_eq!((found.row, found.faults), (Row::LostBeginning, faults));
        // With a copy of it nothing is missing.
        let memory = memory.process_kill();
        memory.set_file(BASE, &base);
        assert_eq!(all(&open_memory(&memory)), whole);
    }
}

#[test]
fn a_segment_that_the_base_names_and_that_is_gone_is_missing() {
    let (memory, _) = pruned();
    let first = segments(&memory)[0].clone();
    memory.remove_file(&first);
    let error = try_open(&memory).map(drop).unwrap_err();
    let OpenError::Damaged { faults } = error else {
        panic!("{error}")
    };
    assert_eq!(
        (faults[0].segment, faults[0].damage),
        (2, Damage::SegmentMissing)
    );
    for name in segments(&memory) {
        memory.remove_file(&name);
    }
    let error = try_open(&memory).map(drop).unwrap_err();
    assert!(matches!(error, OpenError::LogLost { trace: BASE }));
    // The base alone says that there was a log.
    for name in ["watermark", "genesis", "clean-stop"] {
        memory.remove_file(name);
    }
    assert_eq!(memory.file_names(), [BASE]);
    let error = try_open(&memory).map(drop).unwrap_err();
    assert!(matches!(error, OpenError::LogLost { trace: BASE }));
    assert_eq!(memory.file_names(), [BASE]);
}

#[test]
fn rot_in_the_first_header_of_a_pruned_log_is_undone_and_rot_behind_it_is_marked() {
    let (memory, kept) = pruned();
    let first = segments(&memory)[0].clone();
    let sound = memory.file(&first).unwrap();
    edit(&memory, &first, |bytes| bytes[100] ^= 4);
    let log = open_memory(&memory);
    assert_eq!((log.recovery.row, all(&log)), (Row::CleanEnd, kept));
    assert_eq!(memory.file(&first), Some(sound));
    drop(log);

    let memory = memory.process_kill();
    edit(&memory, &first, |bytes| bytes[600] ^= 4);
    let log = open_memory(&memory);
    assert_eq!(log.recovery.row, Row::SyncedDamage);
    assert_eq!(log.recovery.marked[0].from.segment(), 2);
    // Nothing inside the stretch can be a beginning; behind it the log is whole again.
    let resumed = log.recovery.marked[0].resumed_in;
    assert!(!log.pruner.may_begin_with(3));
    drop(log);
    let mut log = open_memory(&memory.process_kill());
    // Nor with the mark alone: it would count no more, and the next start take this for a whole
    // log.
    assert!(!log.pruner.may_begin_with(resumed));
    let error = log.pruner.prune(resumed).unwrap_err();
    assert!(matches!(error, PruneError::NotThere { segment } if segment == resumed));
    append(&mut log, b"behind");
    assert!(!log.pruner.may_begin_with(resumed), "it is not synced yet");
    sync(&mut log);
    log.pruner.prune(resumed).unwrap();
    assert_eq!(all(&log), [b"behind"]);
}

/// A look at the folder says what a start does: nothing of the log is marked any more.
fn assert_unmarked(memory: &MemoryBackend) {
    let folder = DataFolder::in_memory(&memory.power_cut(|_| false));
    let found = verify(&folder).expect("it can be judged");
    assert_eq!((found.row, found.marked.len()), (Row::CleanEnd, 0));
}

#[test]
fn a_log_that_begins_behind_a_marked_stretch_opens_again() {
    let (memory, _) = pruned();
    let first = segments(&memory)[0].clone();
    edit(&memory, &first, |bytes| bytes[600] ^= 4);
    let mut log = open_memory(&memory);
    append(&mut log, b"behind");
    sync(&mut log);
    let resumed = log.recovery.marked[0].resumed_in;
    log.pruner.prune(resumed).unwrap();
    drop(log);
    assert_unmarked(&memory);
    let log = open_memory(&memory.power_cut(|_| false));
    assert_eq!(
        (log.recovery.row, all(&log)),
        (Row::CleanEnd, vec![b"behind".to_vec()])
    );
    assert!(log.recovery.marked.is_empty() && !log.recovery.is_unvouched);
}

/// Behind a beginning inside the stretch nothing would tell that the rest of it is damaged.
#[test]
fn a_log_never_begins_inside_a_marked_stretch() {
    let memory = MemoryBackend::new();
    long_log(&memory);
    let damaged = segments(&memory)[1].clone();
    edit(&memory, &damaged, |bytes| bytes[600] ^= 4);
    let mut log = open_memory(&memory);
    append(&mut log, b"behind");
    sync(&mut log);
    let stretch = log.recovery.marked[0];
    let (from, resumed) = (stretch.from.segment(), stretch.resumed_in);
    assert!(from == 1 && resumed > 3, "{stretch:?}");
    for inside in from + 1..resumed {
        let error = log.pruner.prune(inside).unwrap_err();
        assert!(matches!(error, PruneError::NotThere { segment } if segment == inside));
    }
    log.pruner.prune(from).unwrap();
    assert_eq!(segments(&memory)[0], damaged, "it begins before the damage");
    log.pruner.prune(resumed).unwrap();
    drop(log);
    assert_unmarked(&memory);
    let log = open_memory(&memory.power_cut(|_| false));
    assert_eq!(log.recovery.row, Row::CleanEnd);
    assert!(log.recovery.marked.is_empty() && !log.recovery.is_unvouched);
    assert_eq!(all(&log), [b"behind"]);
}

#[test]
fn a_file_whose_removal_was_refused_goes_and_is_counted_with_the_next_ones() {
    for first in [2, 3] {
        let memory = MemoryBackend::new();
        long_log(&memory);
        let mut log = open_memory(&memory);
        memory.refuse_removals(1);
        let error = log.pruner.prune(2).unwrap_err();
        assert!(matches!(error, PruneError::Io { .. }), "{error}");
        assert_eq!(log.pruner.first(), 2, "the log has left them all the same");
        assert!(segments(&memory)[0].ends_with("0000"));
        assert_eq!(log.pruner.prune(first).unwrap(), u64::from(first) * 4096);
        let lowest = format!("segment-{first:010}");
        assert_eq!(segments(&memory)[0], lowest, "nothing is left over");
        assert_eq!(log.pruner.prune(first).unwrap(), 0);
    }
}

/// Files that went before the base was there would be a beginning that was lost.
#[test]
fn where_the_base_was_refused_no_file_goes_before_it_is_there() {
    type Refuse = fn(&MemoryBackend);
    let refusals: [(&str, Refuse); 4] = [
        ("no room", |memory| memory.set_full(true)),
        ("the file", |memory| memory.fail_sync_after(0)),
        ("its name", |memory| memory.fail_sync_after(1)),
        ("the removals", |memory| memory.fail_sync_after(2)),
    ];
    for (what, refuse) in refusals {
        let memory = MemoryBackend::new();
        let whole = long_log(&memory);
        let mut log = open_memory(&memory);
        // The genesis is kept from here on, so that the base is what is refused.
        log.pruner.prune(1).unwrap();
        refuse(&memory);
        let error = log.pruner.prune(3).unwrap_err();
        assert!(matches!(error, PruneError::Io { .. }), "{what}: {error}");
        let is_refused = what != "the removals";
        let first = if is_refused { 1 } else { 3 };
        assert_eq!(log.pruner.first(), first, "{what}");
        assert_eq!(
            segments(&memory)[0],
            format!("segment-{first:010}"),
            "{what}"
        );
        memory.set_full(false);
        assert_eq!(log.pruner.prune(3).unwrap(), 2 * 4096, "{what}");
        drop(log);
        for keep in KEEPS {
            let log = try_open(&power_cut(&memory, keep, 0));
            let log = log.unwrap_or_else(|error| panic!("{what}, {keep:?}: {error}"));
            let start = log.reader.start();
            assert_eq!(start.offset.segment(), 3, "{what}, {keep:?}");
            assert_eq!(all(&log), whole[start.index.count() as usize..]);
        }
    }
}

/// Whoever looks at the folder without opening it sees the log that the next start has.
#[test]
fn what_a_removal_that_was_cut_short_has_left_is_no_part_of_the_log_that_is_checked() {
    let memory = MemoryBackend::new();
    long_log(&memory);
    let mut log = open_memory(&memory);
    memory.refuse_removals(1);
    log.pruner.prune(2).unwrap_err();
    let (start, count) = (log.reader.start(), all(&log).len() as u64);
    drop(log);
    let memory = memory.process_kill();
    assert!(segments(&memory)[0].ends_with("0000"), "it is left over");
    let found = verify(&DataFolder::in_memory(&memory)).unwrap();
    assert_eq!((found.row, found.faults), (Row::CleanEnd, Vec::new()));
    assert_eq!((found.start, found.record_count), (start, count));
    assert_eq!(found.segment_count + 2, segments(&memory).len());
    let log = open_memory(&memory);
    assert_eq!((log.reader.start(), log.recovery.end), (start, found.end));
}

#[test]
fn a_pruned_log_whose_genesis_file_was_lost_has_it_again() {
    let lost: fn(&MemoryBackend) = |memory| memory.remove_file("genesis");
    let damaged: fn(&MemoryBackend) = |memory| edit(memory, "genesis", |bytes| bytes[3] ^= 1);
    let unreadable: fn(&MemoryBackend) = |memory| {
        memory.set_file("genesis", b"other bytes");
        memory.make_unreadable("genesis", 0..1);
    };
    for spoil in [lost, damaged, unreadable] {
        let (memory, kept) = pruned();
        spoil(&memory);
        let log = open_memory(&memory);
        assert_eq!(all(&log), kept);
        drop(log);
        let memory = memory.power_cut(|_| false);
        assert_eq!(memory.file("genesis").as_deref(), Some(GENESIS));
    }
}

/// One page of a file that could not be read would keep the log from being pruned, or opened, for
/// good, though what stood in it is at hand.
#[test]
fn a_genesis_file_that_cannot_be_read_is_written_again_by_a_prune_and_by_a_start() {
    let long = payload(1, 9000);
    let config = quorate_log::LogConfig {
        segment_bytes: 16 * 1024,
        ..config()
    };
    // Some of its pages, and all of them.
    for lost in [4096..4097, 0..9000] {
        let memory = MemoryBackend::new();
        let folder = DataFolder::in_memory(&memory);
        let mut log = open(&folder, &config, &long).unwrap();
        while log.writer.end().offset.segment() < 2 {
            append(&mut log, &payload(2, 5000));
        }
        sync(&mut log);
        // Other bytes, so that it shows whether the file is a new one.
        memory.set_file("genesis", &[7; 9000]);
        memory.make_unreadable("genesis", lost.clone());
        log.pruner.prune(1).unwrap();
        drop(log);
        let memory = memory.power_cut(|_| false);
        assert_eq!(memory.file("genesis").as_ref(), Some(&long));
        memory.set_file("genesis", &[7; 9000]);
        memory.make_unreadable("genesis", lost);
        let folder = DataFolder::in_memory(&memory);
        let log = open(&folder, &config, &long).unwrap();
        assert_eq!(log.reader.start().offset.segment(), 1);
        drop(log);
        let memory = memory.power_cut(|_| false);
        assert_eq!(memory.file("genesis").as_ref(), Some(&long));
    }
}

/// The speed of growth, and how long the disk lasts, are told by it.
#[test]
fn what_was_written_stays_counted_when_it_is_pruned() {
    let memory = MemoryBackend::new();
    long_log(&memory);
    let mut log = open_memory(&memory);
    let before = log.reader.usage();
    log.pruner.prune(2).unwrap();
    let after = log.reader.usage();
    assert_eq!(after.bytes, before.bytes - 2 * 4096);
    assert_eq!(after.written_bytes, before.written_bytes);
    append(&mut log, &payload(1, 1000));
    sync(&mut log);
    assert!(log.reader.usage().written_bytes >= before.written_bytes + 1000);
}
