//! Several bytes of one record at once: rot that is no single flipped bit. It is found wherever in
//! the record it lies, and is the row that the record's syncs make it.

mod support;

use quorate_log::{Action, DataFolder, MemoryBackend, RecordRef, Row, verify};
use support::{Random, edit, open_memory, payload, payloads, small_log, try_open};

const RECORDS: u64 = 20;
/// Of these every one was synced in the logs that are not synced whole.
const SYNCED: u64 = 5;
const SEEDS: u64 = 400;

fn name(segment: u32) -> String {
    format!("segment-{segment:010}")
}

/// What was written before a record.
fn before(number: u64) -> Vec<Vec<u8>> {
    (1..number)
        .map(|number| payload(number, (number as usize * 37) % 300))
        .collect()
}

/// Changes 2 to 64 different bytes of a record, header, padding and hash included; how many.
fn rot(memory: &MemoryBackend, place: RecordRef, random: &mut Random) -> usize {
    // Header, payload padded to eight, hash.
    let payload_bytes = (place.index.count() as usize * 37) % 300;
    let bytes = 32 + payload_bytes.next_multiple_of(8) + 32;
    let count = 2 + random.below(63) as usize;
    let mut left: Vec<usize> = (0..bytes).collect();
    edit(memory, &name(place.offset.segment()), |file| {
        for _ in 0..count {
            let at = left.swap_remove(random.below(left.len() as u64) as usize);
            let flips = 1 + random.below(255) as u8;
            file[place.offset.bytes() as usize + at] ^= flips;
        }
    });
    count
}

/// A log, a record of it that rots, and what must come of it.
struct Case {
    memory: MemoryBackend,
    number: u64,
    place: RecordRef,
    row: Row,
}

fn case(seed: u64, random: &mut Random) -> Case {
    let memory = MemoryBackend::new();
    let synced = match seed % 4 {
        0 => RECORDS,
        _ => SYNCED,
    };
    let places = small_log(&memory, RECORDS, &[synced]);
    // Behind it is one that does not chain on it.
    let last = RECORDS - 2;
    let (number, row) = match seed % 4 {
        0 => (1 + random.below(last), Row::SyncedDamage),
        1 => (1 + random.below(SYNCED), Row::SyncedDamage),
        kind => {
            let number = SYNCED + 1 + random.below(last - SYNCED);
            match kind {
                2 => (number, Row::TornGroup),
                _ => {
                    memory.remove_file("watermark");
                    (number, Row::NoWatermark)
                }
            }
        }
    };
    let place = places[number as usize - 1];
    assert_eq!(place.index.count(), number);
    Case {
        memory,
        number,
        place,
        row,
    }
}

#[test]
fn several_damaged_bytes_of_a_record_in_the_middle_are_found_and_judged_by_its_syncs() {
    for seed in 1..=SEEDS {
        let mut random = Random(seed);
        let case = case(seed, &mut random);
        let (memory, place, number) = (&case.memory, case.place, case.number);
        let count = rot(memory, place, &mut random);
        let what = format!("seed {seed}: {count} bytes of record {number}");
        let found = verify(&DataFolder::in_memory(memory)).expect("a header to read");
        assert_eq!(found.row, case.row, "{what}");
        assert_eq!(
            (found.end.index, found.end.offset),
            (place.index, place.offset),
            "{what}"
        );
        let memory = memory.process_kill();
        let damaged = memory.file(&name(place.offset.segment()));
        let log = open_memory(&memory);
        assert_eq!(log.recovery.row, case.row, "{what}");
        assert_eq!(payloads(&log.reader), before(number), "{what}");
        log.reader.read(place).expect_err(&what);
        match case.row.action() {
            Action::Resume => {
                let fault = found.faults[0];
                let at = (fault.segment, fault.offset, fault.index);
                let (segment, offset) = (place.offset.segment(), place.offset.bytes());
                assert_eq!(at, (segment, offset, Some(place.index)), "{what}");
                assert!(log.recovery.is_unvouched, "{what}");
                let kept = memory.file(&name(place.offset.segment()));
                assert!(kept == damaged, "{what}: a byte was changed");
                what_is_salvaged_was_written(&log.reader, number, &what);
            }
            Action::Cut => {
                assert!(found.faults.is_empty() && !found.torn.is_empty(), "{what}");
                drop(log);
                let again = try_open(&memory.power_cut(|_| false)).expect("it goes on");
                assert_eq!(again.recovery.row, Row::CleanEnd, "{what}");
                assert_eq!(payloads(&again.reader), before(number), "{what}");
            }
            other => panic!("{what}: {other:?}"),
        }
    }
}

/// Of what stands behind the damage each record is the one that was written, but for the damaged
/// one and the one that chains on its hash all of them are there.
fn what_is_salvaged_was_written(reader: &quorate_log::Reader, number: u64, what: &str) {
    let written = before(RECORDS + 1);
    let mut count = 0;
    for record in reader.salvage() {
        let index = record.place().index.count();
        assert!(index > number, "{what}");
        assert_eq!(record[..], written[index as usize - 1][..], "{what}");
        count += 1;
    }
    assert!(count + 1 >= RECORDS - number, "{what}: {count}");
}
