//! Which segments are mended while the log is open, and with what: never the one that is appended
//! to, and never with bytes of memory that are no more right than those of the disk.

mod support;

use quorate_log::{MemoryBackend, Row};
use support::{append, durable, expected, filled, name, open_memory, payloads, second_of, sync};

/// Its writer goes on in the file that it has mapped: with another one in its place, all that is
/// synced from then on is in a file without a name.
#[test]
fn the_segment_that_is_appended_to_is_never_replaced() {
    let memory = MemoryBackend::new();
    let (mut log, places) = filled(&memory);
    append(&mut log, b"not synced yet");
    memory.rot(&name(3), 600, 1, false);
    assert_eq!(log.scrubber.mend_bytes(3), 0);
    let mend = log.scrubber.mend(3).expect("nothing is read");
    if let Some(mend) = mend {
        mend.finish().expect("a write");
    }
    memory.rot(&name(3), 600, 1, false);
    append(&mut log, b"and one more");
    sync(&mut log);
    drop(log);
    let log = open_memory(&memory.power_cut(|_| false));
    assert_eq!(log.recovery.row, Row::CleanEnd);
    let mut all = expected(&places);
    all.extend([b"not synced yet".to_vec(), b"and one more".to_vec()]);
    assert_eq!(payloads(&log.reader), all);
}

/// Its hash is the one that stood there, and that says nothing of the bytes before it.
#[test]
fn a_record_of_memory_with_a_right_hash_and_wrong_bytes_is_not_taken() {
    let memory = MemoryBackend::new();
    let (mut log, places) = filled(&memory);
    let before = durable(&memory, 1);
    let (number, place) = second_of(&places, 1);
    let at = place.offset.bytes() as usize;
    // In memory alone; the disk has lost one byte, which the chain brings back.
    for offset in at + 40..at + 60 {
        memory.rot(&name(1), offset, 0x5a, true);
        memory.rot(&name(1), offset, 0x5a, false);
    }
    memory.rot(&name(1), at + 70, 1, false);
    let mend = log.scrubber.mend(1).expect("a read").expect("a fault");
    assert!(mend.finish().expect("a write").left.is_empty());
    assert_eq!(durable(&memory, 1), before);
    let read = log.reader.read(place).expect("it is right again");
    assert_eq!(read[..], expected(&places)[number]);
}
