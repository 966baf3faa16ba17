//! What a header knows to be synced. A power cut takes the newest watermark, and then the headers
//! alone tell rot of what was synced from a torn group: each of them counts, also one that stands
//! before a damaged payload, or at the beginning of a segment that holds nothing else.

mod support;

use quorate_log::{MemoryBackend, Row};
use support::{append, edit, open_memory, payload, payloads, small_log, sync};

const FIRST: &str = "segment-0000000000";
const SECOND: &str = "segment-0000000001";

/// A watermark from before the first sync.
fn blank_watermark() -> Vec<u8> {
    let memory = MemoryBackend::new();
    drop(open_memory(&memory));
    memory.file("watermark").expect("a watermark")
}

/// The row of a start, and how many records it goes on with.
fn decided(memory: &MemoryBackend) -> (Row, usize) {
    let log = open_memory(memory);
    let is_marked = !log.recovery.marked.is_empty();
    assert_eq!(log.recovery.cut.is_some(), !is_marked);
    (log.recovery.row, payloads(&log.reader).len())
}

#[test]
fn a_record_whose_payload_is_damaged_still_proves_what_was_synced_before_it() {
    let memory = MemoryBackend::new();
    let places = small_log(&memory, 3, &[2]);
    memory.set_file("watermark", &blank_watermark());
    let at = |number: usize| places[number].offset.bytes() as usize;
    // The third was appended after the sync of the second, and both have lost a byte.
    edit(&memory, FIRST, |bytes| {
        for number in [1, 2] {
            bytes[at(number) + 33] ^= 1;
        }
    });
    let without_its_header = memory.process_kill();
    assert_eq!(decided(&memory), (Row::SyncedDamage, 1));
    // Without the header nothing is left that knew of the sync.
    edit(&without_its_header, FIRST, |bytes| bytes[at(2) + 16] ^= 1);
    assert_eq!(decided(&without_its_header), (Row::TornTail, 1));
}

#[test]
fn the_header_of_a_segment_proves_what_was_synced_before_it() {
    let memory = MemoryBackend::new();
    let mut log = open_memory(&memory);
    let last = (1..=3).map(|number| append(&mut log, &payload(number, 900)));
    let last = last.last().expect("three").offset;
    assert_eq!(last.segment(), 0);
    sync(&mut log);
    let next = append(&mut log, &payload(4, 3000)).offset;
    assert_eq!(next.segment(), 1);
    drop(log);
    memory.set_file("watermark", &blank_watermark());
    // Of the second segment nothing but its header came to the disk.
    edit(&memory, FIRST, |bytes| {
        bytes[last.bytes() as usize + 33] ^= 1
    });
    edit(&memory, SECOND, |bytes| {
        bytes[next.bytes() as usize..].fill(0)
    });
    let without_its_header = memory.process_kill();
    assert_eq!(decided(&memory), (Row::SyncedDamage, 2));
    edit(&without_its_header, SECOND, |bytes| bytes.fill(0));
    assert_eq!(decided(&without_its_header), (Row::TornTail, 2));
}

#[test]
fn a_log_that_is_resumed_gives_no_index_that_a_record_of_the_stretch_has() {
    let memory = MemoryBackend::new();
    let places = small_log(&memory, 12, &[5]);
    edit(&memory, FIRST, |bytes| {
        bytes[places[1].offset.bytes() as usize + 33] ^= 1;
    });
    let mut log = open_memory(&memory);
    assert_eq!(log.recovery.row, Row::SyncedDamage);
    // Those behind the last sync are whole and can be found again, by their index.
    let salvaged = log.reader.salvage().map(|record| record.place().index);
    let highest = salvaged.max().expect("records behind the damage");
    assert_eq!(highest, places[11].index);
    let next = append(&mut log, b"goes on").index;
    assert!(next > highest, "{next} was given before");
    assert_eq!(log.recovery.marked[0].resumed_at, next);
}
