//! Records that are chained by the hash of their body, which whoever appends them knows: what a
//! reader, a scrub, a repair and an older log make of them.

mod support;

use quorate_log::{
    Damage, DataFolder, LogConfig, LogOffset, MemoryBackend, Opened, RecordRef, Row, Scrubbed,
    open, verify,
};
use support::{GENESIS, KEEPS, KIND, Random, edit, name, payload, power_cut, set_versions, sync};

/// Room for a few bodies that are long enough.
const SEGMENT_BYTES: u32 = 32 * 1024;
const HEAD_BYTES: usize = 174;
/// The shortest that is chained by its hash.
const BODY_BYTES: usize = 4096;

fn opened(memory: &MemoryBackend) -> Opened {
    let config = LogConfig {
        segment_bytes: SEGMENT_BYTES,
        ..support::config()
    };
    open(&DataFolder::in_memory(memory), &config, GENESIS).expect("a log that opens")
}

/// A head and a body of a record with this number.
fn parts(number: u64, body_bytes: usize) -> (Vec<u8>, Vec<u8>) {
    let body = payload(number, body_bytes);
    (payload(number + 1_000_000, HEAD_BYTES), body)
}

/// Appends it with the hash of its body.
fn append(log: &mut Opened, number: u64, body_bytes: usize) -> RecordRef {
    let (head, body) = parts(number, body_bytes);
    let hash = blake3::hash(&body);
    log.writer
        .append_hashed(KIND, &[&head, &body], Some(hash.as_bytes()))
        .expect("room")
}

/// The bytes in the header of a record that tell how long its lead is.
fn lead(memory: &MemoryBackend, place: RecordRef) -> usize {
    let bytes = memory.file(&name(place.offset.segment())).expect("it");
    let at = place.offset.bytes() as usize + 22;
    usize::from(u16::from_le_bytes([bytes[at], bytes[at + 1]]))
}

fn version(memory: &MemoryBackend, segment: u32) -> u8 {
    memory.file(&name(segment)).expect("it")[8]
}

fn all(log: &Opened) -> Vec<Vec<u8>> {
    let records = log.reader.iter().skip(1);
    records
        .map(|record| record.expect("whole").to_vec())
        .collect()
}

fn whole(number: u64, body_bytes: usize) -> Vec<u8> {
    let (head, body) = parts(number, body_bytes);
    [head, body].concat()
}

/// One pass; the segments that were not whole.
fn pass(log: &mut Opened) -> Vec<u32> {
    let mut faulty = Vec::new();
    loop {
        match log.scrubber.step(4096).expect("a read") {
            Scrubbed::PassEnd => return faulty,
            Scrubbed::Faulty { segment, .. } => faulty.push(segment),
            Scrubbed::More { .. } | Scrubbed::Whole { .. } => {}
        }
    }
}

#[test]
fn only_long_bodies_are_chained_by_their_hash() {
    let memory = MemoryBackend::new();
    let mut log = opened(&memory);
    let long = append(&mut log, 1, BODY_BYTES);
    let short = append(&mut log, 2, BODY_BYTES - 1);
    let (head, body) = parts(3, BODY_BYTES);
    let unhashed = log.writer.append(KIND, &[&head, &body]).expect("room");
    let hash = blake3::hash(&body);
    let alone = log
        .writer
        .append_hashed(KIND, &[&body], Some(hash.as_bytes()))
        .expect("room");
    for (place, expected) in [(long, HEAD_BYTES), (short, 0), (unhashed, 0), (alone, 0)] {
        assert_eq!(lead(&memory, place), expected);
    }
    let expected = [
        whole(1, BODY_BYTES),
        whole(2, BODY_BYTES - 1),
        whole(3, BODY_BYTES),
        body,
    ];
    assert_eq!(all(&log), expected);
    drop(log);
    let log = opened(&memory.process_kill());
    assert_eq!(
        (log.recovery.row, all(&log)),
        (Row::CleanEnd, expected.to_vec())
    );
}

/// It stands in no record of such a length.
#[test]
fn the_hash_of_a_short_body_is_not_looked_at() {
    let memory = MemoryBackend::new();
    let mut log = opened(&memory);
    let (head, body) = parts(1, BODY_BYTES - 1);
    log.writer
        .append_hashed(KIND, &[&head, &body], Some(&[9; 32]))
        .expect("room");
    sync(&mut log);
    drop(log);
    let log = opened(&memory);
    assert_eq!((log.recovery.row, all(&log).len()), (Row::CleanEnd, 1));
}

#[cfg(debug_assertions)]
#[test]
#[should_panic(expected = "the hash of another body")]
fn the_hash_of_another_body_is_a_bug_of_whoever_appends() {
    let mut log = opened(&MemoryBackend::new());
    let (head, body) = parts(1, BODY_BYTES);
    let other = blake3::hash(&head);
    log.writer
        .append_hashed(KIND, &[&head, &body], Some(other.as_bytes()))
        .ok();
}

/// Every seventh byte with one bit of it: its header, what leads, the body and its hash.
#[test]
fn what_is_changed_of_such_a_record_is_found_wherever_it_is() {
    let memory = MemoryBackend::new();
    let mut log = opened(&memory);
    let place = append(&mut log, 1, BODY_BYTES + 3);
    append(&mut log, 2, BODY_BYTES);
    sync(&mut log);
    drop(log);
    let begin = place.offset.bytes() as usize;
    let end = begin + 64 + (HEAD_BYTES + BODY_BYTES + 3).next_multiple_of(8);
    for at in (begin..end).step_by(7) {
        let damaged = memory.process_kill();
        edit(&damaged, &name(0), |bytes| bytes[at] ^= 1 << (at % 8));
        let found = verify(&DataFolder::in_memory(&damaged)).expect("a log");
        let fault = found.faults.first().expect("a fault");
        let expected = if at < begin + 32 {
            Damage::RecordHeader
        } else {
            Damage::RecordBody
        };
        assert_eq!(
            (fault.offset as usize, fault.damage),
            (begin, expected),
            "{at}"
        );
    }
}

/// A log of version 1 with two segments, the second one with much room.
fn older(memory: &MemoryBackend) -> Vec<Vec<u8>> {
    let mut log = opened(memory);
    while log.writer.end().offset.segment() == 0 {
        let (head, body) = parts(log.writer.end().index.count(), BODY_BYTES);
        log.writer.append(KIND, &[&head, &body]).expect("room");
    }
    sync(&mut log);
    let found = all(&log);
    drop(log);
    set_versions(memory, 1);
    found
}

#[test]
fn a_log_of_version_1_goes_on_as_one_and_its_next_segment_is_of_version_2() {
    let memory = MemoryBackend::new();
    let mut expected = older(&memory);
    let mut log = opened(&memory);
    assert_eq!(
        (log.recovery.row, all(&log)),
        (Row::CleanEnd, expected.clone())
    );
    let mut places = Vec::new();
    while log.writer.end().offset.segment() < 3 {
        let number = log.writer.end().index.count();
        places.push(append(&mut log, number, BODY_BYTES));
        expected.push(whole(number, BODY_BYTES));
    }
    sync(&mut log);
    assert_eq!(
        [0, 1, 2, 3].map(|number| version(&memory, number)),
        [1, 1, 2, 2]
    );
    for place in &places {
        let has_lead = place.offset.segment() > 1;
        assert_eq!(lead(&memory, *place), if has_lead { HEAD_BYTES } else { 0 });
    }
    assert!(
        places
            .iter()
            .filter(|place| place.offset.segment() == 1)
            .count()
            > 3
    );
    assert_eq!(pass(&mut log), [0; 0]);
    assert_eq!(all(&log), expected);
    // The base holds a header of either.
    for first in [1, 2] {
        log.pruner.prune(first).expect("it may go");
        drop(log);
        log = opened(&memory.process_kill());
        assert_eq!(
            (log.recovery.row, log.pruner.first()),
            (Row::CleanEnd, first)
        );
        let kept = log.reader.start().index.count() as usize - 1;
        assert_eq!(
            log.reader
                .iter()
                .map(|record| record.expect("whole").to_vec())
                .collect::<Vec<_>>(),
            expected[kept..]
        );
        log = opened(&memory);
    }
}

/// No program wrote it: it would be read as the length of something else by those of version 1.
#[test]
fn a_lead_in_a_segment_of_version_1_is_damage() {
    let memory = MemoryBackend::new();
    let mut log = opened(&memory);
    append(&mut log, 1, BODY_BYTES - 1);
    let place = append(&mut log, 2, BODY_BYTES);
    sync(&mut log);
    drop(log);
    set_versions(&memory, 1);
    let found = verify(&DataFolder::in_memory(&memory)).expect("a log");
    let fault = found.faults.first().expect("a fault");
    assert_eq!(
        (fault.offset, fault.damage),
        (place.offset.bytes(), Damage::RecordHeader)
    );
    assert_eq!(found.end.offset, place.offset);
}

/// The header of segment 0 follows from the genesis, and an older one has no record that a newer
/// one could not hold.
#[test]
fn a_lost_header_of_the_first_segment_comes_back_and_its_records_with_it() {
    for version_before in [1, 2] {
        let memory = MemoryBackend::new();
        let mut log = opened(&memory);
        while log.writer.end().offset.segment() == 0 {
            if version_before == 2 {
                append(&mut log, 1, BODY_BYTES);
            } else {
                log.writer.append(KIND, &[&[1; 5000]]).expect("room");
            }
        }
        sync(&mut log);
        let expected = all(&log);
        drop(log);
        set_versions(&memory, version_before);
        edit(&memory, &name(0), |bytes| bytes[8] ^= 3);
        let log = opened(&memory);
        assert_eq!((log.recovery.row, all(&log)), (Row::CleanEnd, expected));
        assert_eq!(version(&memory, 0), 2);
    }
}

fn lose(memory: &MemoryBackend, from: usize, bytes: usize) {
    for offset in from..from + bytes {
        memory.rot(&name(0), offset, 0x5a, true);
    }
}

/// A complete segment 0 with records with leads and one without; their places.
fn complete(memory: &MemoryBackend) -> (Opened, Vec<RecordRef>) {
    let mut log = opened(memory);
    let mut places = Vec::new();
    while log.writer.end().offset.segment() == 0 {
        let number = places.len() as u64;
        places.push(if number == 2 {
            let (head, body) = parts(number, BODY_BYTES);
            log.writer.append(KIND, &[&head, &body]).expect("room")
        } else {
            append(&mut log, number, BODY_BYTES)
        });
    }
    sync(&mut log);
    places.pop();
    (log, places)
}

#[test]
fn a_lost_body_is_taken_of_a_stranger_if_the_chain_names_it() {
    let memory = MemoryBackend::new();
    let (mut log, places) = complete(&memory);
    let before = memory.power_cut(|_| false).file(&name(0)).expect("it");
    let bytes = (HEAD_BYTES + BODY_BYTES).next_multiple_of(8);
    for (number, place) in places.iter().enumerate() {
        let at = place.offset.bytes() as usize;
        let (head, body) = parts(number as u64, BODY_BYTES);
        // In the body; the header with it; the hash with it.
        for (from, length) in [
            (at + 300, 900),
            (at, 5),
            (at, 900),
            (at + 900, bytes - 900 + 60),
        ] {
            lose(&memory, from, length);
            assert_eq!(pass(&mut log), [0]);
            let mut mend = log.scrubber.mend(0).expect("a read").expect("a fault");
            assert_eq!(mend.broken()[0].place, *place);
            let mut wrong = body.clone();
            wrong[BODY_BYTES - 1] ^= 1;
            assert!(!mend.offer(place.offset, KIND, &[&head, &wrong]));
            assert!(!mend.offer(place.offset, KIND, &[&wrong[..HEAD_BYTES], &body]));
            assert!(!mend.offer(LogOffset::new(1, 8), KIND, &[&head, &body]));
            assert!(
                mend.offer(place.offset, KIND, &[&head, &body]),
                "{number}: {from}"
            );
            assert!(mend.finish().expect("a write").left.is_empty());
            let after = memory.power_cut(|_| false).file(&name(0)).expect("it");
            assert!(after == before, "{number}: {from}");
        }
    }
}

/// Whichever sectors of it reach the disk: its hash alone says nothing of a body that did not.
#[test]
fn a_record_that_a_power_cut_tears_is_whole_or_cut() {
    let (mut whole_ones, mut cut_ones) = (0, 0);
    for salt in 0..40 {
        let memory = MemoryBackend::new();
        let mut log = opened(&memory);
        append(&mut log, 1, BODY_BYTES);
        sync(&mut log);
        append(&mut log, 2, BODY_BYTES + 900);
        let after = power_cut(&memory, KEEPS[salt as usize % KEEPS.len()], salt);
        let log = opened(&after);
        let found = all(&log);
        let expected = [whole(1, BODY_BYTES), whole(2, BODY_BYTES + 900)];
        assert!(
            found == expected[..found.len()] && !found.is_empty(),
            "{salt}"
        );
        assert!(log.recovery.marked.is_empty(), "{salt}");
        let is_cut = log.recovery.cut.is_some();
        assert!(!(is_cut && found.len() == 2), "{salt}");
        whole_ones += usize::from(found.len() == 2);
        cut_ones += usize::from(is_cut);
    }
    assert!(whole_ones > 0 && cut_ones > 10, "{whole_ones} {cut_ones}");
}

/// The records of a mixed log survive whatever a log goes through.
#[test]
fn records_with_leads_and_without_survive_starts_power_cuts_scrubs_and_prunes() {
    for seed in 1..=12 {
        let mut random = Random(seed);
        let mut memory = MemoryBackend::new();
        let mut log = opened(&memory);
        let (mut kept, mut synced, mut leads): (Vec<Vec<u8>>, _, _) = (Vec::new(), 0, 0);
        let (mut first, mut prunes) = (0, 0);
        for step in 0..120 {
            let number = step + 1000 * seed;
            match random.below(16) {
                0..=9 => {
                    let body_bytes = match random.below(3) {
                        0 => random.below(300) as usize,
                        1 => BODY_BYTES - 2 + random.below(5) as usize,
                        _ => BODY_BYTES + random.below(9000) as usize,
                    };
                    let place = append(&mut log, number, body_bytes);
                    leads += usize::from(lead(&memory, place) > 0);
                    kept.push(whole(number, body_bytes));
                }
                10 | 11 => {
                    sync(&mut log);
                    synced = kept.len();
                }
                12 => assert_eq!(pass(&mut log), [0; 0], "seed {seed} step {step}"),
                13 => {
                    let last = log.recovery.end.offset.segment();
                    if log.pruner.may_begin_with(last) {
                        log.pruner.prune(last).expect("it may go");
                        prunes += 1;
                    }
                    let start = log.reader.start();
                    // The genesis goes too.
                    let gone = start.index.count().max(1) - 1;
                    first = gone as usize;
                }
                14 => {
                    drop(log);
                    memory = memory.process_kill();
                    log = opened(&memory);
                }
                _ => {
                    drop(log);
                    memory = power_cut(&memory, KEEPS[step as usize % KEEPS.len()], step);
                    log = opened(&memory);
                    let end = log.writer.end().index.count() as usize - 1;
                    assert!((synced..=kept.len()).contains(&end), "{end} of {synced}");
                    kept.truncate(end);
                    synced = end;
                }
            }
            let skip = usize::from(log.reader.start().index.count() == 0);
            let records = log.reader.iter().skip(skip);
            let found: Vec<_> = records
                .map(|record| record.expect("whole").to_vec())
                .collect();
            assert!(found == kept[first..], "seed {seed} step {step}");
        }
        assert!(leads > 20 && prunes > 0, "{leads} {prunes}");
    }
}
