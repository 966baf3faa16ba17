//! Vote records that extend one another.

use quorate_consensus::record::Record;
use quorate_consensus::types::{BlockId, Index};

/// A record with so many further entries, and the one before it, which lacks the last of them.
pub(crate) fn older_and_newer(entries: u32) -> (Record, Record) {
    let also = |count: u32| {
        let id = |number: u32| {
            let byte = u8::try_from(number).expect("few entries");
            (Index::new(number), BlockId::new([byte; 32]))
        };
        (0..count).map(id).collect()
    };
    let older = Record {
        tip: Some((Index::new(100), BlockId::new([1; 32]))),
        stop: entries > 0,
        fin: Some(Index::new(90)),
        skip_fallback: None,
        also: also(entries.saturating_sub(1)),
    };
    let newer = Record {
        also: also(entries),
        ..older.clone()
    };
    (older, newer)
}
