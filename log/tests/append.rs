//! Appending and reading: lengths, boundaries of segments, other threads, what is refused.

mod support;

use quorate_log::{
    DataFolder, LogConfig, LogError, LogOffset, MemoryBackend, OpenError, Prepared, ReadError,
    RecordIndex, RecordKind, RecordRef, Row, open,
};
use support::{
    GENESIS, KIND, SEGMENT_BYTES, append, config, open_memory, payload, payloads, small_log, sync,
};

#[test]
fn a_record_can_be_read_right_after_its_append() {
    let memory = MemoryBackend::new();
    let mut log = open_memory(&memory);
    for number in 1..200 {
        let bytes = payload(number, number as usize);
        let place = append(&mut log, &bytes);
        assert_eq!(place.index.count(), number);
        let record = log.reader.read(place).unwrap();
        assert_eq!(
            (&record[..], record.kind(), record.place()),
            (&bytes[..], KIND, place)
        );
    }
    assert!(
        log.writer.end().offset.segment() > 3,
        "the test crosses segments"
    );
    let expected: Vec<_> = (1..200)
        .map(|number| payload(number, number as usize))
        .collect();
    assert_eq!(payloads(&log.reader), expected);
}

#[test]
fn parts_are_one_payload() {
    let memory = MemoryBackend::new();
    let mut log = open_memory(&memory);
    let place = log
        .writer
        .append(KIND, &[b"a", b"", b"bcd", b"efghijklmnop"])
        .unwrap();
    assert_eq!(&log.reader.read(place).unwrap()[..], b"abcdefghijklmnop");
    let empty = log.writer.append(KIND, &[]).unwrap();
    assert_eq!(&log.reader.read(empty).unwrap()[..], b"");
}

/// Long ones are not copied once more, whatever they are of.
#[test]
fn parts_of_a_long_record_are_one_payload_too() {
    let memory = MemoryBackend::new();
    let long = LogConfig {
        segment_bytes: 8 * SEGMENT_BYTES,
        ..config()
    };
    let mut log = open(&DataFolder::in_memory(&memory), &long, GENESIS).unwrap();
    let mut expected = Vec::new();
    for count in 0..6 {
        let parts: Vec<_> = (0..count).map(|n| payload(n, 2000 + n as usize)).collect();
        let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
        // Between short ones that wait for it.
        for parts in [&[&b"short"[..]], &parts[..]] {
            log.writer.stage(KIND, parts).unwrap();
            expected.push(parts.concat());
        }
    }
    log.writer.commit().unwrap();
    assert_eq!(payloads(&log.reader), expected);
    sync(&mut log);
    drop(log);
    let log = open(&DataFolder::in_memory(&memory), &long, GENESIS).unwrap();
    assert_eq!(log.recovery.row, Row::CleanEnd);
    assert_eq!(payloads(&log.reader), expected);
}

#[test]
fn a_record_that_exceeds_the_rest_of_a_segment_starts_the_next_one() {
    let memory = MemoryBackend::new();
    let mut log = open_memory(&memory);
    let largest = log.writer.payload_bytes_max();
    assert_eq!(largest, SEGMENT_BYTES as usize - 512 - 64);
    let places: Vec<_> = (1..=3)
        .map(|n| append(&mut log, &payload(n, largest)))
        .collect();
    let segments: Vec<_> = places.iter().map(|place| place.offset.segment()).collect();
    assert_eq!(segments, [1, 2, 3]);
    assert!(places.iter().all(|place| place.offset.bytes() == 512));
    sync(&mut log);
    drop(log);
    let log = open_memory(&memory);
    assert_eq!(payloads(&log.reader).len(), 3);
}

#[test]
fn a_record_larger_than_a_segment_is_refused_and_changes_nothing() {
    let memory = MemoryBackend::new();
    let mut log = open_memory(&memory);
    let end = log.writer.end();
    let too_large = vec![1; log.writer.payload_bytes_max() + 1];
    let error = log.writer.append(KIND, &[&too_large]).unwrap_err();
    let LogError::RecordTooLarge {
        payload_bytes,
        payload_bytes_max,
    } = error
    else {
        panic!("{error}");
    };
    assert_eq!((payload_bytes, payload_bytes_max), (3521, 3520));
    assert_eq!(log.writer.end(), end);
    append(&mut log, b"still alive");
}

#[test]
fn the_kind_of_the_genesis_is_reserved() {
    let mut log = open_memory(&MemoryBackend::new());
    let error = log
        .writer
        .append(RecordKind::GENESIS, &[b"another"])
        .unwrap_err();
    assert!(matches!(error, LogError::ReservedKind));
}

#[test]
fn a_log_grown_over_many_segments_opens_with_everything_and_goes_on() {
    let memory = MemoryBackend::new();
    let mut expected = Vec::new();
    for _ in 0..5 {
        let mut log = open_memory(&memory);
        assert_eq!(payloads(&log.reader), expected);
        assert_eq!(log.recovery.row, Row::CleanEnd);
        for _ in 0..20 {
            let number = expected.len() as u64 + 1;
            expected.push(payload(number, (number as usize * 91) % 700));
            append(&mut log, &expected[expected.len() - 1]);
        }
        sync(&mut log);
    }
    let log = open_memory(&memory);
    assert_eq!(payloads(&log.reader), expected);
    assert!(!log.recovery.is_new);
    assert_eq!(log.recovery.end.index.count(), 101);
}

#[test]
fn a_new_segment_length_applies_to_new_segments_only() {
    let memory = MemoryBackend::new();
    small_log(&memory, 40, &[40]);
    let larger = LogConfig {
        segment_bytes: 2 * SEGMENT_BYTES,
        ..config()
    };
    let mut log = open(&DataFolder::in_memory(&memory), &larger, GENESIS).unwrap();
    for number in 41..=80 {
        append(&mut log, &payload(number, 300));
    }
    sync(&mut log);
    let last = log.writer.end().offset.segment();
    drop(log);
    assert_eq!(memory.file("segment-0000000000").unwrap().len(), 4096);
    assert_eq!(
        memory.file(&format!("segment-{last:010}")).unwrap().len(),
        8192
    );
    assert_eq!(payloads(&open_memory(&memory).reader).len(), 80);
}

#[test]
fn lengths_that_are_no_segment_are_refused() {
    for segment_bytes in [0, 512, 4095, 4097, 6144, (1 << 30) + 4096] {
        let config = LogConfig {
            segment_bytes,
            ..config()
        };
        let error = open(
            &DataFolder::in_memory(&MemoryBackend::new()),
            &config,
            GENESIS,
        );
        assert!(
            matches!(error, Err(OpenError::SegmentBytes { .. })),
            "{segment_bytes}"
        );
    }
}

#[test]
fn a_genesis_larger_than_a_segment_is_refused_and_leaves_an_empty_folder() {
    let memory = MemoryBackend::new();
    let error = open(&DataFolder::in_memory(&memory), &config(), &[0; 4096]);
    assert!(matches!(
        error,
        Err(OpenError::GenesisTooLarge {
            genesis_bytes: 4096
        })
    ));
    assert!(memory.file_names().is_empty());
}

/// Else the first file is longer than its header says, and nothing opens the folder ever after.
#[test]
fn the_longest_genesis_fits_its_segment_to_the_end() {
    let memory = MemoryBackend::new();
    let longest = payload(1, SEGMENT_BYTES as usize - 512 - 64);
    let too_long = [&longest[..], b"x"].concat();
    let error = open(&DataFolder::in_memory(&memory), &config(), &too_long);
    assert!(
        matches!(error, Err(OpenError::GenesisTooLarge { genesis_bytes }) if genesis_bytes == 3521)
    );
    assert!(memory.file_names().is_empty());
    for is_new in [true, false] {
        let log = open(&DataFolder::in_memory(&memory), &config(), &longest).unwrap();
        assert_eq!(log.recovery.is_new, is_new);
        let genesis = log.reader.read(log.reader.start()).unwrap();
        assert_eq!(genesis[..], longest);
    }
}

#[test]
fn a_place_without_its_record_is_an_error_and_not_another_record() {
    let memory = MemoryBackend::new();
    let mut log = open_memory(&memory);
    let place = append(&mut log, b"one");
    append(&mut log, b"two");
    let beyond = RecordRef {
        offset: log.writer.end().offset,
        index: log.writer.end().index,
    };
    let elsewhere = RecordRef {
        offset: LogOffset::new(9, 512),
        index: place.index,
    };
    for place in [beyond, elsewhere] {
        let error = log.reader.read(place).unwrap_err();
        assert!(matches!(error, ReadError::NotAppended { .. }), "{error}");
    }
    let wrong_index = RecordRef {
        index: RecordIndex::new(2),
        ..place
    };
    let inside = RecordRef {
        offset: LogOffset::new(0, place.offset.bytes() + 8),
        ..place
    };
    let header = RecordRef {
        offset: LogOffset::new(0, 0),
        ..place
    };
    for place in [wrong_index, inside, header] {
        let error = log.reader.read(place).unwrap_err();
        assert!(matches!(error, ReadError::Faulty(_)), "{error}");
    }
}

#[test]
fn an_iterator_at_the_end_goes_on_when_more_was_appended() {
    let memory = MemoryBackend::new();
    let mut log = open_memory(&memory);
    let mut records = log.reader.iter();
    assert!(records.next().unwrap().is_ok());
    for number in 1..100 {
        assert!(records.next().is_none(), "before record {number}");
        let bytes = payload(number, 200);
        append(&mut log, &bytes);
        assert_eq!(records.next().unwrap().unwrap()[..], bytes[..]);
    }
}

#[test]
fn readers_on_other_threads_see_whole_records_in_order() {
    const COUNT: u64 = 20_000;
    let memory = MemoryBackend::new();
    let large = LogConfig {
        segment_bytes: 65536,
        ..config()
    };
    let mut log = open(&DataFolder::in_memory(&memory), &large, GENESIS).unwrap();
    let mut records = log.reader.iter();
    let writer = std::thread::spawn(move || {
        for number in 1..=COUNT {
            append(&mut log, &number.to_le_bytes());
        }
    });
    let mut count = 0_u64;
    loop {
        // Asked first, so that nothing appended before the writer's end is missed.
        let is_finished = writer.is_finished();
        let Some(record) = records.next() else {
            if is_finished {
                break;
            }
            std::thread::yield_now();
            continue;
        };
        let record = record.expect("a whole record");
        if count > 0 {
            assert_eq!(record[..], count.to_le_bytes());
        }
        count += 1;
    }
    writer.join().unwrap();
    assert_eq!(count, COUNT + 1);
}

#[test]
fn a_prepared_segment_is_used_and_no_file_is_made_on_the_append_path() {
    let memory = MemoryBackend::new();
    let mut log = open_memory(&memory);
    assert_eq!(log.preparer.prepare_next().unwrap(), Prepared::Made);
    assert_eq!(log.preparer.prepare_next().unwrap(), Prepared::NothingToDo);
    let names = memory.file_names();
    memory.set_full(true);
    append(&mut log, &payload(1, 3000));
    append(&mut log, &payload(2, 3000));
    assert_eq!(memory.file_names(), names);
    let error = log.writer.append(KIND, &[&payload(3, 3000)]).unwrap_err();
    assert!(matches!(error, LogError::NoSegment { .. }), "{error}");
    assert_eq!(
        memory.file_names(),
        names,
        "half a segment was left on a full disk"
    );
    memory.set_full(false);
    append(&mut log, &payload(3, 3000));
    sync(&mut log);
    assert_eq!(payloads(&log.reader).len(), 3);
}

#[test]
fn a_segment_prepared_in_an_earlier_run_is_used() {
    let memory = MemoryBackend::new();
    let mut log = open_memory(&memory);
    log.preparer.prepare_next().unwrap();
    drop(log);
    let mut log = open_memory(&memory);
    assert_eq!(log.preparer.prepare_next().unwrap(), Prepared::NothingToDo);
    append(&mut log, &payload(1, 3500));
    assert_eq!(log.writer.end().offset.segment(), 1);
}

#[test]
fn a_segment_prepared_with_another_length_is_made_anew() {
    for times in [2, 4] {
        let memory = MemoryBackend::new();
        let mut log = open_memory(&memory);
        let before = append(&mut log, &payload(1, 3000));
        sync(&mut log);
        assert_eq!(log.preparer.prepare_next().unwrap(), Prepared::Made);
        drop(log);
        let folder = DataFolder::in_memory(&memory);
        let longer = LogConfig {
            segment_bytes: times * SEGMENT_BYTES,
            ..config()
        };
        let mut log = open(&folder, &longer, GENESIS).unwrap();
        // More than a segment of the first length has room for.
        let large = payload(2, SEGMENT_BYTES as usize);
        let place = append(&mut log, &large);
        assert_eq!(place.offset.segment(), before.offset.segment() + 1);
        sync(&mut log);
        drop((log, folder));
        let name = format!("segment-{:010}", place.offset.segment());
        let segment_bytes = memory.file(&name).unwrap().len();
        assert_eq!(segment_bytes, (times * SEGMENT_BYTES) as usize);
        let log = open(&DataFolder::in_memory(&memory), &longer, GENESIS).unwrap();
        assert_eq!(payloads(&log.reader), [payload(1, 3000), large]);
    }
}

#[test]
fn a_preparing_thread_keeps_up_and_ends_with_the_writer() {
    let memory = MemoryBackend::new();
    let mut log = open_memory(&memory);
    let mut preparer = log.preparer;
    let thread = std::thread::spawn(move || preparer.run());
    for number in 1..300 {
        log.writer.append(KIND, &[&payload(number, 1000)]).unwrap();
    }
    let reader = log.reader.clone();
    drop(log.writer);
    thread.join().unwrap().unwrap();
    assert_eq!(payloads(&reader).len(), 299);
}

#[test]
fn one_process_opens_a_log_once() {
    let memory = MemoryBackend::new();
    let log = open_memory(&memory);
    let reader = log.reader.clone();
    assert!(matches!(
        support::try_open(&memory),
        Err(OpenError::AlreadyOpen)
    ));
    drop(log);
    // A reader still sees the map: a second writer must not change it below the reader.
    assert!(matches!(
        support::try_open(&memory),
        Err(OpenError::AlreadyOpen)
    ));
    drop(reader);
    open_memory(&memory);
}

#[test]
fn what_is_staged_is_nowhere_until_it_is_committed_and_then_as_if_appended() {
    let config = LogConfig {
        segment_bytes: 32 * 1024,
        ..config()
    };
    let open_log = || {
        open(
            &DataFolder::in_memory(&MemoryBackend::new()),
            &config,
            GENESIS,
        )
    };
    let (mut staged, mut appended) = (open_log().unwrap(), open_log().unwrap());
    let mut random = support::Random(7);
    let mut waiting = Vec::new();
    for number in 1..400 {
        let bytes = payload(number, random.below(9_000) as usize);
        let parts = [&bytes[..bytes.len() / 3], &bytes[bytes.len() / 3..]];
        let place = staged.writer.stage(KIND, &parts).unwrap();
        assert_eq!(place, append(&mut appended, &bytes));
        waiting.push((place, bytes));
        // A long record takes those before it along, and so does the end of a segment.
        waiting.retain(|(place, bytes)| match staged.reader.read(*place) {
            Ok(record) => panic_unless_equal(&record, bytes),
            Err(ReadError::NotAppended { .. }) => true,
            Err(error) => panic!("{error}"),
        });
        let unsynced = staged.writer.unsynced();
        let covered = staged.syncer.sync(unsynced).unwrap();
        let first = waiting
            .first()
            .map_or_else(|| staged.writer.end().index, |(place, _)| place.index);
        assert_eq!(covered.index, first, "a sync covers what is staged");
        if random.below(4) == 0 {
            staged.writer.commit().unwrap();
            for (place, bytes) in waiting.drain(..) {
                assert_eq!(&staged.reader.read(place).unwrap()[..], bytes);
            }
            sync(&mut staged);
        }
    }
    staged.writer.commit().unwrap();
    assert_eq!(payloads(&staged.reader), payloads(&appended.reader));
}

/// That a record is as it was staged; `false`, since it does not wait any more.
fn panic_unless_equal(record: &[u8], bytes: &[u8]) -> bool {
    assert_eq!(record, bytes);
    false
}

#[test]
fn what_was_staged_and_never_committed_was_never_there() {
    let memory = MemoryBackend::new();
    let mut log = open_memory(&memory);
    let kept = append(&mut log, b"kept");
    log.writer.stage(KIND, &[b"lost"]).unwrap();
    drop(log);
    let mut log = open_memory(&memory);
    assert_eq!(payloads(&log.reader), [b"kept"]);
    let next = append(&mut log, b"next");
    assert_eq!(next.index.count(), kept.index.count() + 1);
}
