//! Damage: rot, misdirected writes, lost and foreign files. Nothing of it may pass for a torn
//! tail, and no byte of it may be changed by a start, whether it goes on or refuses.

mod support;

use quorate_log::{
    Action, CleanStopRead, Damage, DataFolder, Fault, MemoryBackend, OpenError, ReadError, Row,
    open, verify,
};
use support::{
    GENESIS, append, config, edit, open_memory, payload, payloads, set_version, small_log, try_open,
};

const FIRST: &str = "segment-0000000000";
const SECOND: &str = "segment-0000000001";
const THIRD: &str = "segment-0000000002";

fn files(memory: &MemoryBackend) -> Vec<(String, Vec<u8>)> {
    let content = |name: String| (name.clone(), memory.file(&name).expect("listed"));
    memory.file_names().into_iter().map(content).collect()
}

/// The log must go on with every byte of the damage kept; returns the row and the faults.
fn marked(memory: &MemoryBackend) -> (Row, Vec<Fault>) {
    let found = verify(&DataFolder::in_memory(memory)).expect("a header to read");
    assert_eq!(found.row.action(), Action::Resume);
    assert!(found.torn.is_empty() && found.marked.is_empty());
    let memory = memory.process_kill();
    let before = files(&memory);
    let mut log = open_memory(&memory);
    for (name, bytes) in before
        .iter()
        .filter(|(name, _)| name.starts_with("segment"))
    {
        assert_eq!(
            memory.file(name).as_ref(),
            Some(bytes),
            "{name} was changed"
        );
    }
    assert_eq!(log.recovery.row, found.row);
    assert!(log.recovery.is_unvouched);
    let mark = log.recovery.marked[0];
    assert_eq!((mark.from, mark.index), (found.end.offset, found.end.index));
    assert!(mark.resumed_at >= found.synced_index);
    let whole = all_payloads(&log.reader);
    assert_eq!(whole.len() as u64, found.end.index.count());
    append(&mut log, b"goes on");
    support::sync(&mut log);
    drop(log);
    // A crash right after: the mark is durable, and stands.
    let memory = memory.power_cut(|_| false);
    let log = open_memory(&memory);
    assert_eq!(log.recovery.row, Row::CleanEnd);
    assert_eq!(log.recovery.marked, [mark]);
    assert!(!log.recovery.is_unvouched);
    let again = all_payloads(&log.reader);
    assert_eq!(
        (&again[..whole.len()], again.len()),
        (&whole[..], whole.len() + 1)
    );
    (found.row, found.faults)
}

/// Every payload that is read in order, the genesis included.
fn all_payloads(reader: &quorate_log::Reader) -> Vec<Vec<u8>> {
    let records = reader.iter().map(|record| record.expect("whole").to_vec());
    records.collect()
}

/// The log must be refused, and left as it is; returns the row and the faults.
fn refused(memory: &MemoryBackend) -> (Row, Vec<Fault>) {
    let before = files(memory);
    let error = try_open(memory)
        .map(drop)
        .expect_err("a damaged log was opened");
    let OpenError::Damaged { faults } = error else {
        panic!("{error}")
    };
    assert_eq!(files(memory), before, "a refused log was changed");
    let verification = verify(&DataFolder::in_memory(memory)).expect("a header to read");
    assert_eq!(verification.faults, faults);
    assert!(verification.torn.is_empty());
    (verification.row, faults)
}

#[test]
fn every_flipped_bit_is_found_or_does_no_harm() {
    let memory = MemoryBackend::new();
    small_log(&memory, 40, &[10, 20, 30, 40]);
    let mut log = open_memory(&memory);
    log.preparer.prepare_next().unwrap();
    drop(log);
    let sound = verify(&DataFolder::in_memory(&memory)).unwrap();
    assert_eq!((sound.row, sound.record_count), (Row::CleanEnd, 41));
    assert!(
        sound.end.offset.segment() >= 1,
        "the log has more than one segment"
    );
    let whole = all_payloads(&open_memory(&memory.process_kill()).reader);
    for name in memory.file_names() {
        let mut bytes = memory.file(&name).unwrap();
        let end = format!("segment-{:010}", sound.end.offset.segment());
        let used_bytes = match name.cmp(&end) {
            std::cmp::Ordering::Less => bytes.len(),
            std::cmp::Ordering::Equal => sound.end.offset.bytes() as usize,
            // The prepared segment, or the watermark.
            std::cmp::Ordering::Greater => 0,
        };
        // In the prepared segment, where all bytes are alike, one bit a byte and a bit.
        let step = if used_bytes == 0 && name != "watermark" {
            9
        } else {
            1
        };
        for bit in (0..bytes.len() * 8).step_by(step) {
            bytes[bit / 8] ^= 1 << (bit % 8);
            memory.set_file(&name, &bytes);
            let found = verify(&DataFolder::in_memory(&memory));
            if bit / 8 < used_bytes {
                let is_found = found.map_or(true, |found| {
                    matches!(found.row.action(), Action::Refuse | Action::Resume)
                });
                assert!(
                    is_found,
                    "{name} bit {bit} in the synced part was not found"
                );
                if bit % 5 == 0 {
                    no_wrong_record_is_read(&memory, &whole, &(&name, bit));
                }
            } else {
                let found = found.unwrap_or_else(|error| panic!("{name} bit {bit}: {error}"));
                assert_eq!(found.end, sound.end, "{name} bit {bit} changed the log");
                assert!(
                    found.faults.is_empty(),
                    "{name} bit {bit} stops a whole log"
                );
                // Outside the log it is cut like a torn tail; in the watermark it is not needed.
                assert_eq!(
                    found.torn.is_empty(),
                    name == "watermark",
                    "{name} bit {bit}"
                );
            }
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        memory.set_file(&name, &bytes);
    }
}

/// What is read in order is a prefix of what was written, and what is salvaged was written.
fn no_wrong_record_is_read(memory: &MemoryBackend, whole: &[Vec<u8>], what: &dyn std::fmt::Debug) {
    let Ok(log) = try_open(&memory.process_kill()) else {
        return;
    };
    let read = all_payloads(&log.reader);
    assert!(whole.starts_with(&read), "{what:?}");
    let mut count = read.len();
    for record in log.reader.salvage() {
        let index = usize::try_from(record.place().index.count()).unwrap_or(usize::MAX);
        assert_eq!(
            whole.get(index).map(Vec::as_slice),
            Some(&record[..]),
            "{what:?}"
        );
        let again = log.reader.read(record.place());
        assert!(again.is_ok_and(|again| *again == *record), "{what:?}");
        count += 1;
    }
    // One bit damages one record, and the one after it when it is in the hash between them.
    assert!(
        count + 2 >= whole.len(),
        "{what:?}: {count} of {}",
        whole.len()
    );
}

#[test]
fn rot_at_the_very_beginning_is_undone() {
    let memory = MemoryBackend::new();
    small_log(&memory, 40, &[40]);
    let whole = all_payloads(&open_memory(&memory).reader);
    for offset in [8, 100, 470, 490, 520, 545, 570] {
        let memory = memory.process_kill();
        edit(&memory, FIRST, |bytes| bytes[offset] ^= 1);
        assert_eq!(
            verify(&DataFolder::in_memory(&memory)).unwrap().row,
            Row::SyncedDamage
        );
        let log = open_memory(&memory);
        assert_eq!(
            (log.recovery.row, log.recovery.marked.len()),
            (Row::CleanEnd, 0)
        );
        assert_eq!(all_payloads(&log.reader), whole, "offset {offset}");
    }
}

#[test]
fn a_second_stretch_swallows_a_first_one_behind_it_and_not_one_before_it() {
    let memory = MemoryBackend::new();
    let places = small_log(&memory, 20, &[20]);
    let rot = |at: usize| {
        edit(&memory, FIRST, |bytes| {
            bytes[places[at].offset.bytes() as usize + 40] ^= 1
        });
    };
    rot(10);
    let mut log = open_memory(&memory);
    let later = append(&mut log, b"later");
    append(&mut log, b"last");
    support::sync(&mut log);
    drop(log);
    let name = format!("segment-{:010}", later.offset.segment());
    let before = memory.process_kill();
    edit(&memory, &name, |bytes| {
        bytes[later.offset.bytes() as usize + 40] ^= 1
    });
    let log = open_memory(&memory);
    assert_eq!(log.recovery.marked.len(), 2);
    assert_eq!(all_payloads(&log.reader).len(), 11);
    drop(log);
    let memory = before;
    edit(&memory, FIRST, |bytes| {
        bytes[places[4].offset.bytes() as usize + 40] ^= 1
    });
    let log = open_memory(&memory);
    let [mark] = log.recovery.marked[..] else {
        panic!("{:?}", log.recovery.marked)
    };
    assert_eq!((mark.from, mark.index), (places[4].offset, places[4].index));
    let salvaged: Vec<Vec<u8>> = log.reader.salvage().map(|record| record.to_vec()).collect();
    assert!(salvaged.contains(&b"last".to_vec()) && salvaged.len() >= 15);
}

#[test]
fn power_lost_at_every_step_of_marking_leaves_the_same_log() {
    let memory = MemoryBackend::new();
    let places = small_log(&memory, 20, &[15, 20]);
    edit(&memory, FIRST, |bytes| {
        bytes[places[10].offset.bytes() as usize + 40] ^= 1
    });
    let whole = memory.process_kill();
    let begun = whole.steps_used();
    let expected = all_payloads(&open_memory(&whole).reader);
    for step in 0..=whole.steps_used() - begun {
        for keeps in [false, true] {
            let memory = memory.process_kill();
            memory.power_off_after(step);
            drop(try_open(&memory));
            let log = open_memory(&memory.power_cut(|_| keeps));
            assert!(
                log.recovery.is_unvouched,
                "step {step}: a start that looks sound"
            );
            assert_eq!(log.recovery.marked.len(), 1, "step {step}");
            assert_eq!(all_payloads(&log.reader), expected, "step {step}");
        }
    }
}

#[test]
fn rot_in_a_record_is_named_by_place_and_never_cut() {
    let memory = MemoryBackend::new();
    let places = small_log(&memory, 10, &[10]);
    for (number, place) in places.iter().enumerate() {
        let memory = memory.process_kill();
        edit(&memory, FIRST, |bytes| {
            bytes[place.offset.bytes() as usize + 20] ^= 0x10
        });
        let (row, faults) = marked(&memory);
        assert_eq!(row, Row::SyncedDamage, "record {}", number + 1);
        assert_eq!(faults[0].index, Some(place.index));
        assert_eq!(
            (faults[0].segment, faults[0].offset),
            (0, place.offset.bytes())
        );
        assert_eq!(faults[0].damage, Damage::RecordHeader);
    }
}

#[test]
fn rot_in_a_payload_is_one_fault_and_the_rest_is_counted() {
    let memory = MemoryBackend::new();
    let places = small_log(&memory, 10, &[10]);
    edit(&memory, FIRST, |bytes| {
        bytes[places[4].offset.bytes() as usize + 40] ^= 1
    });
    let (row, faults) = marked(&memory);
    assert_eq!(row, Row::SyncedDamage);
    let damage: Vec<_> = faults.iter().map(|fault| fault.damage).collect();
    assert_eq!(damage, [Damage::RecordBody]);
    let found = verify(&DataFolder::in_memory(&memory)).unwrap();
    assert_eq!(found.record_count, 10);
    assert_eq!(found.end.index, places[4].index);
}

#[test]
fn a_stamp_in_a_later_record_proves_rot_without_watermark_or_marker() {
    // The watermark is set back to before everything: only record 3 knows that 1 and 2 were
    // synced when it was appended.
    let memory = MemoryBackend::new();
    drop(open_memory(&memory));
    let old_watermark = memory.file("watermark").unwrap();
    let places = small_log(&memory, 3, &[2]);
    memory.set_file("watermark", &old_watermark);
    let rotten = |number: usize| {
        let memory = memory.process_kill();
        edit(&memory, FIRST, |bytes| {
            bytes[places[number].offset.bytes() as usize + 33] ^= 1
        });
        memory
    };
    assert_eq!(marked(&rotten(0)).0, Row::SyncedDamage);
    assert_eq!(marked(&rotten(1)).0, Row::SyncedDamage);
    // Record 3 itself was never synced.
    let memory = rotten(2);
    let log = open_memory(&memory);
    assert_eq!(log.recovery.row, Row::TornTail);
    assert_eq!(payloads(&log.reader).len(), 2);
}

#[test]
fn rot_in_the_last_synced_record_is_not_a_torn_tail() {
    let memory = MemoryBackend::new();
    let places = small_log(&memory, 5, &[5]);
    edit(&memory, FIRST, |bytes| {
        bytes[places[4].offset.bytes() as usize + 33] ^= 1
    });
    assert_eq!(marked(&memory).0, Row::SyncedDamage);
}

#[test]
fn a_synced_end_that_is_gone_is_not_a_clean_end() {
    let memory = MemoryBackend::new();
    let places = small_log(&memory, 5, &[5]);
    edit(&memory, FIRST, |bytes| {
        bytes[places[4].offset.bytes() as usize..].fill(0)
    });
    let (row, faults) = marked(&memory);
    assert_eq!(row, Row::LostEnd);
    assert!(matches!(
        faults[..],
        [Fault {
            damage: Damage::EndsBeforeSynced { .. },
            ..
        }]
    ));
}

#[test]
fn without_a_watermark_a_fault_is_damage_and_a_whole_log_opens() {
    let memory = MemoryBackend::new();
    let places = small_log(&memory, 5, &[4]);
    let tear = |memory: &MemoryBackend| {
        edit(memory, FIRST, |bytes| {
            bytes[places[4].offset.bytes() as usize + 33] ^= 1
        });
    };
    let torn = memory.process_kill();
    tear(&torn);
    assert_eq!(open_memory(&torn).recovery.row, Row::TornTail);
    memory.remove_file("watermark");
    let torn = memory.process_kill();
    tear(&torn);
    assert_eq!(marked(&torn).0, Row::NoWatermark);
    let log = open_memory(&memory);
    assert_eq!(payloads(&log.reader).len(), 5);
    drop(log);
    assert!(
        memory.file("watermark").is_some(),
        "a new watermark is made"
    );
    tear(&memory);
    assert_eq!(marked(&memory).0, Row::SyncedDamage);
}

#[test]
fn a_record_copied_to_another_place_is_not_a_record() {
    let memory = MemoryBackend::new();
    let places = small_log(&memory, 10, &[10]);
    let (from, to) = (
        places[2].offset.bytes() as usize,
        places[3].offset.bytes() as usize,
    );
    edit(&memory, FIRST, |bytes| bytes.copy_within(from..to, to));
    let (row, faults) = marked(&memory);
    assert_eq!(row, Row::SyncedDamage);
    assert_eq!(faults[0].index, Some(places[3].index));
    // A stale copy after the end is not taken for a record either.
    let memory = MemoryBackend::new();
    let places = small_log(&memory, 5, &[5]);
    let end = verify(&DataFolder::in_memory(&memory)).unwrap().end;
    let (from, to) = (
        places[4].offset.bytes() as usize,
        end.offset.bytes() as usize,
    );
    edit(&memory, FIRST, |bytes| bytes.copy_within(from..to, to));
    let log = open_memory(&memory);
    assert_eq!((log.recovery.row, log.recovery.end), (Row::TornTail, end));
}

#[test]
fn swapped_missing_shortened_and_foreign_segments_are_named() {
    let memory = MemoryBackend::new();
    small_log(&memory, 70, &[70]);
    let bytes = |name| memory.file(name).unwrap();
    let damaged = |change: &dyn Fn(&MemoryBackend)| {
        let memory = memory.process_kill();
        change(&memory);
        let (row, faults) = refused(&memory);
        assert_eq!(row, Row::NotACrash);
        faults[0]
    };
    let swapped = damaged(&|memory| {
        memory.set_file(FIRST, &bytes(SECOND));
        memory.set_file(SECOND, &bytes(FIRST));
    });
    assert_eq!(
        (swapped.segment, swapped.damage),
        (0, Damage::SegmentMisplaced { found: 1 })
    );
    // The name of the first one is on a file that nothing was written to yet, as the next one is.
    let unwritten = damaged(&|memory| {
        memory.set_file(FIRST, &vec![0; bytes(FIRST).len()]);
        memory.set_file(THIRD, &bytes(FIRST));
    });
    assert_eq!(
        (unwritten.segment, unwritten.damage),
        (1, Damage::SegmentStart)
    );
    let missing = damaged(&|memory| memory.remove_file(SECOND));
    assert_eq!(
        (missing.segment, missing.damage),
        (1, Damage::SegmentMissing)
    );
    let no_first = memory.process_kill();
    no_first.remove_file(FIRST);
    let (row, faults) = refused(&no_first);
    assert_eq!((row, faults[0].segment), (Row::LostBeginning, 0));
    assert_eq!(faults[0].damage, Damage::BeginningMissing);
    let short = damaged(&|memory| edit(memory, SECOND, |bytes| bytes.truncate(4096 - 8)));
    assert_eq!(
        (short.segment, short.damage),
        (1, Damage::SegmentLength { found: 4088 })
    );
    let empty = damaged(&|memory| memory.set_file(THIRD, &[]));
    assert_eq!(
        (empty.segment, empty.damage),
        (2, Damage::SegmentLength { found: 0 })
    );
    let long = damaged(&|memory| edit(memory, SECOND, |bytes| bytes.resize(8192, 0)));
    assert_eq!(
        (long.segment, long.damage),
        (1, Damage::SegmentLength { found: 8192 })
    );

    let other = MemoryBackend::new();
    let mut other_config = config();
    other_config.salt = [1; 32];
    let mut log = open(&DataFolder::in_memory(&other), &other_config, GENESIS).unwrap();
    for number in 0..40 {
        append(&mut log, &payload(number, 200));
    }
    let theirs = other.file(SECOND).unwrap();
    let foreign = damaged(&|memory| memory.set_file(SECOND, &theirs));
    assert_eq!(
        (foreign.segment, foreign.damage),
        (1, Damage::SegmentOfAnotherLog)
    );
}

#[test]
fn the_only_segment_of_another_log_of_the_same_genesis_makes_the_start_suspect() {
    let theirs = MemoryBackend::new();
    let mut their_config = config();
    their_config.salt = [1; 32];
    drop(open(&DataFolder::in_memory(&theirs), &their_config, GENESIS).unwrap());
    let memory = MemoryBackend::new();
    small_log(&memory, 3, &[3]);
    assert!(open_memory(&memory).recovery.has_watermark);
    memory.set_file(FIRST, &theirs.file(FIRST).unwrap());
    assert!(
        !verify(&DataFolder::in_memory(&memory))
            .unwrap()
            .has_watermark
    );
    assert!(!open_memory(&memory).recovery.has_watermark);
}

#[test]
fn an_older_state_of_the_last_segment_is_a_lost_end() {
    let memory = MemoryBackend::new();
    small_log(&memory, 3, &[3]);
    let older = memory.file(FIRST).unwrap();
    let mut log = open_memory(&memory);
    append(&mut log, b"later");
    support::sync(&mut log);
    drop(log);
    memory.set_file(FIRST, &older);
    assert_eq!(marked(&memory).0, Row::LostEnd);
}

#[test]
fn a_damaged_header_of_a_synced_segment_is_marked_and_of_an_unsynced_one_cut() {
    let memory = MemoryBackend::new();
    let mut log = open_memory(&memory);
    append(&mut log, &payload(1, 3000));
    support::sync(&mut log);
    append(&mut log, &payload(2, 3000));
    let unsynced = memory.process_kill();
    support::sync(&mut log);
    drop(log);
    edit(&memory, SECOND, |bytes| bytes[100] ^= 1);
    let (row, faults) = marked(&memory);
    assert_eq!((row, faults.len()), (Row::SyncedDamage, 1));
    assert_eq!(
        (faults[0].segment, faults[0].damage),
        (1, Damage::SegmentHeader)
    );
    edit(&unsynced, SECOND, |bytes| bytes[100] ^= 1);
    let log = open_memory(&unsynced);
    assert_eq!(log.recovery.row, Row::TornGroup);
    assert_eq!(payloads(&log.reader).len(), 1);
}

#[test]
fn a_lost_log_is_not_a_new_log() {
    let memory = MemoryBackend::new();
    let mut log = open_memory(&memory);
    append(&mut log, b"a promise");
    log.syncer.stop(log.writer).unwrap();
    drop((log.reader, log.preparer, log.pruner, log.scrubber));
    memory.remove_file(FIRST);
    let lost = |memory: &MemoryBackend| match try_open(memory).map(drop) {
        Err(OpenError::LogLost { trace }) => trace,
        other => panic!("{other:?}"),
    };
    assert_eq!(lost(&memory), "clean-stop");
    memory.remove_file("clean-stop");
    assert_eq!(lost(&memory), "watermark");
}

#[test]
fn the_folder_of_another_genesis_is_refused() {
    let memory = MemoryBackend::new();
    drop(open_memory(&memory));
    let error = open(&DataFolder::in_memory(&memory), &config(), b"another").map(drop);
    let Err(OpenError::Genesis { expected, found }) = error else {
        panic!("{error:?}")
    };
    assert_eq!(expected, quorate_log::genesis_hash(b"another"));
    assert_eq!(found, quorate_log::genesis_hash(GENESIS));
    open_memory(&memory);
}

#[test]
fn an_unknown_format_version_is_refused_by_number() {
    for name in [FIRST, SECOND] {
        let memory = MemoryBackend::new();
        small_log(&memory, 40, &[40]);
        edit(&memory, name, |bytes| set_version(bytes, 3));
        let error = try_open(&memory).map(drop);
        let Err(OpenError::Version {
            segment,
            version: 3,
        }) = error
        else {
            panic!("{error:?}")
        };
        assert_eq!(segment, u32::from(name == SECOND));
    }
}

#[test]
fn a_reader_finds_rot_that_strikes_after_the_start() {
    use std::os::unix::fs::FileExt;
    let folder = support::TestFolder::new();
    let data = DataFolder::open(folder.path()).unwrap();
    let mut log = open(&data, &config(), GENESIS).unwrap();
    let place = append(&mut log, b"sound");
    append(&mut log, b"after");
    assert!(log.reader.read(place).is_ok());
    // Another process scribbles over the file; the shared mapping shows it.
    let file = std::fs::OpenOptions::new()
        .write(true)
        .open(folder.path().join(FIRST))
        .unwrap();
    file.write_all_at(b"X", u64::from(place.offset.bytes()) + 32)
        .unwrap();
    let error = log.reader.read(place).unwrap_err();
    let ReadError::Faulty(fault) = error else {
        panic!("{error}")
    };
    assert_eq!(
        (fault.index, fault.damage),
        (Some(place.index), Damage::RecordBody)
    );
    let mut records = log.reader.iter_from(place);
    assert!(records.next().unwrap().is_err());
    assert!(records.next().is_none(), "an iterator ends at a fault");
}

#[test]
fn bytes_of_a_client_cannot_pass_for_a_record() {
    // A client that knows the format, but not the salt, puts a whole log of its own, claiming
    // that everything was synced, into a payload; then the record is torn.
    let theirs = MemoryBackend::new();
    let mut their_config = config();
    their_config.salt = [0; 32];
    let mut log = open(&DataFolder::in_memory(&theirs), &their_config, GENESIS).unwrap();
    append(&mut log, b"forged");
    support::sync(&mut log);
    append(&mut log, b"forged too");
    let forged = theirs.file(FIRST).unwrap()[512..2048].to_vec();

    let memory = MemoryBackend::new();
    let mut log = open_memory(&memory);
    let place = append(&mut log, &forged);
    drop(log);
    edit(&memory, FIRST, |bytes| {
        bytes[place.offset.bytes() as usize + 3] ^= 1
    });
    let log = open_memory(&memory);
    assert_eq!(log.recovery.row, Row::TornTail);
    assert!(payloads(&log.reader).is_empty());
}

#[test]
fn a_marker_counts_only_for_the_end_that_it_names() {
    let memory = MemoryBackend::new();
    let mut log = open_memory(&memory);
    assert_eq!(log.recovery.clean_stop, CleanStopRead::Missing);
    append(&mut log, b"one");
    log.syncer.stop(log.writer).unwrap();
    drop((log.reader, log.preparer, log.pruner, log.scrubber));
    let mut log = open_memory(&memory);
    assert_eq!(log.recovery.clean_stop, CleanStopRead::Matches);
    append(&mut log, b"two");
    drop(log);
    assert_eq!(
        open_memory(&memory).recovery.clean_stop,
        CleanStopRead::Stale
    );
    let damaged = memory.process_kill();
    edit(&damaged, "clean-stop", |bytes| bytes[20] ^= 1);
    assert_eq!(
        open_memory(&damaged).recovery.clean_stop,
        CleanStopRead::Damaged
    );
    quorate_log::remove_clean_stop(&DataFolder::in_memory(&memory)).unwrap();
    let after = memory.power_cut(|_| false);
    assert_eq!(
        open_memory(&after).recovery.clean_stop,
        CleanStopRead::Missing
    );
    quorate_log::remove_clean_stop(&DataFolder::in_memory(&after)).unwrap();
}

/// Or a start that may have lost its last words would count as one that has lost none.
#[test]
fn a_marker_does_not_count_for_another_end_of_as_many_records() {
    let memory = MemoryBackend::new();
    let mut log = open_memory(&memory);
    let places: Vec<_> = (1..=5)
        .map(|number| append(&mut log, &payload(number, 200)))
        .collect();
    log.syncer.stop(log.writer).unwrap();
    drop((log.reader, log.preparer, log.pruner, log.scrubber));
    for (lost, row) in [(4, Row::LostEnd), (1, Row::SyncedDamage)] {
        let memory = memory.process_kill();
        let at = places[lost].offset.bytes() as usize;
        edit(&memory, FIRST, |bytes| match row {
            Row::LostEnd => bytes[at..].fill(0),
            _ => bytes[at + 40] ^= 1,
        });
        let recovery = open_memory(&memory).recovery;
        assert_eq!((recovery.row, recovery.end.index.count()), (row, 6));
        assert_eq!(recovery.clean_stop, CleanStopRead::Stale, "{row:?}");
    }
}
