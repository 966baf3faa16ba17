//! Bytes of a vote record. They are also the body that a record's signature covers.

use super::reader::Reader;
use super::{DecodeError, put_count, put_option};
use crate::limits::ALSO_ENTRIES_MAX;
use crate::record::Record;
use crate::types::{BlockId, Index};
use alloc::vec::Vec;

/// Bytes of the smallest record: four presence and flag bytes and a count.
pub(super) const RECORD_BYTES_MIN: usize = 4 + 4;
/// Bytes of a place in a window and its block.
pub(super) const PLACE_BYTES: usize = 4 + 32;

/// Appends the record's canonical bytes.
pub fn encode(record: &Record, bytes: &mut Vec<u8>) {
    put_option(record.tip.as_ref(), bytes, put_place);
    bytes.push(u8::from(record.stop));
    put_option(record.fin.as_ref(), bytes, put_index);
    put_option(record.skip_fallback.as_ref(), bytes, put_index);
    put_count(record.also.len(), bytes);
    for place in &record.also {
        put_place(place, bytes);
    }
}

/// Reads a record that takes all the bytes. It may contradict itself: that is evidence, not a
/// fault of its bytes.
///
/// # Errors
///
/// [`DecodeError`] when the bytes are not the canonical bytes of a record.
pub fn decode(bytes: &[u8]) -> Result<Record, DecodeError> {
    Reader::whole(bytes, read)
}

pub(super) fn read(reader: &mut Reader<'_>) -> Result<Record, DecodeError> {
    let record = Record {
        tip: reader.option("tip", Reader::place)?,
        stop: reader.flag("stop")?,
        fin: reader.option("final", Reader::index)?,
        skip_fallback: reader.option("skip fallback", Reader::index)?,
        also: reader.list("also", ALSO_ENTRIES_MAX, PLACE_BYTES, Reader::place)?,
    };
    // A set has one order on the wire.
    if record.also.is_sorted_by(|a, b| a < b) {
        Ok(record)
    } else {
        Err(DecodeError::NotAscending { what: "also" })
    }
}

fn put_index(index: &Index, bytes: &mut Vec<u8>) {
    bytes.extend_from_slice(&index.number().to_le_bytes());
}

fn put_place((index, id): &(Index, BlockId), bytes: &mut Vec<u8>) {
    put_index(index, bytes);
    bytes.extend_from_slice(id.as_bytes());
}
