//! The records of a log folder, one after the other, as docs/log-format.md lays them out.
//!
//! Owns the walk over bytes that `quorate_log` has verified. Never: looks at anything beyond the
//! end that it was given, or trusts a length that does not fit.

use std::fs;
use std::io;
use std::path::Path;

use quorate_log::{LogOffset, MarkedFaulty, RecordKind, Verification};

/// Bytes of a segment before its first record.
pub(super) const SEGMENT_HEADER_BYTES: usize = 512;
/// Bytes of a record before its payload.
pub(super) const RECORD_HEADER_BYTES: usize = 32;
/// Bytes of a record after its padded payload.
pub(super) const CHAIN_HASH_BYTES: usize = 32;
/// Records start at multiples of this.
const ALIGN_BYTES: usize = 8;
/// First two bytes of a record.
const MAGIC: [u8; 2] = [0x51, 0x52];
/// Where a segment's header names the genesis.
const GENESIS_HASH_AT: usize = 40;
/// Longer than any genesis.
const GENESIS_BYTES_MAX: usize = 64 << 20;
const KIND_AT: usize = 2;
const PAYLOAD_BYTES_AT: usize = 4;

/// One record in place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Record<'a> {
    /// Where it begins.
    pub(crate) place: LogOffset,
    /// What it is.
    pub(crate) kind: RecordKind,
    /// Its payload.
    pub(crate) payload: &'a [u8],
}

/// Calls `visit` with every record before the end of the log that `found` tells, but those of
/// stretches that are marked faulty. Holds one segment in memory at a time.
///
/// # Errors
/// A segment cannot be read, or is shorter than the end says.
pub(crate) fn visit(
    folder: &Path,
    found: &Verification,
    visit: &mut dyn FnMut(Record<'_>),
) -> io::Result<()> {
    let end = found.end.offset;
    let mut segment = found.start.offset.segment();
    while segment <= end.segment() {
        let bytes = quorate_log::segment_bytes(folder, segment)?;
        let starts_here =
            |marked: &&MarkedFaulty| marked.from.segment() == segment && marked.from < end;
        let marked = found.marked.iter().find(starts_here);
        let last = match marked {
            Some(marked) => marked.from.bytes() as usize,
            None if segment == end.segment() => end.bytes() as usize,
            None => bytes.len(),
        };
        walk(
            segment,
            bytes.get(..last.min(bytes.len())).unwrap_or_default(),
            visit,
        );
        segment = marked.map_or(segment + 1, |marked| marked.resumed_in);
    }
    Ok(())
}

/// The file name of a segment.
pub(crate) fn segment_name(number: u32) -> String {
    format!("segment-{number:010}")
}

/// The genesis of a log: the payload of record 0, or of the file that keeps it when the log was
/// pruned; none when neither is what the log's headers name, or can be read.
///
/// # Errors
/// The first segment cannot be read.
pub(crate) fn genesis(folder: &Path) -> io::Result<Option<Vec<u8>>> {
    let number = first_segment(folder)?;
    let bytes = quorate_log::segment_bytes(folder, number)?;
    let payload = if number == 0 {
        read(0, &bytes, SEGMENT_HEADER_BYTES)
            .filter(|(record, _)| record.kind == RecordKind::GENESIS)
            .map(|(record, _)| record.payload.to_vec())
    } else {
        quorate_log::kept_genesis(folder, GENESIS_BYTES_MAX)?
    };
    let named = bytes.get(GENESIS_HASH_AT..GENESIS_HASH_AT + 32);
    Ok(payload.filter(|payload| named == Some(&quorate_log::genesis_hash(payload)[..])))
}

/// Number of the first segment of a folder; 0 when there is none.
pub(crate) fn first_segment(folder: &Path) -> io::Result<u32> {
    let mut first = None;
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        let digits = name.to_str().and_then(|name| name.strip_prefix("segment-"));
        let number = digits.filter(|digits| digits.len() == 10);
        if let Some(number) = number.and_then(|digits| digits.parse::<u32>().ok()) {
            first = Some(first.map_or(number, |first: u32| first.min(number)));
        }
    }
    Ok(first.unwrap_or(0))
}

fn walk(segment: u32, bytes: &[u8], visit: &mut dyn FnMut(Record<'_>)) {
    let mut at = SEGMENT_HEADER_BYTES;
    while let Some((record, next)) = read(segment, bytes, at) {
        visit(record);
        at = next;
    }
}

/// The record at `at` and where the next one begins; `None` where no record begins.
pub(super) fn read(segment: u32, bytes: &[u8], at: usize) -> Option<(Record<'_>, usize)> {
    let header = bytes.get(at..at.checked_add(RECORD_HEADER_BYTES)?)?;
    if !header.starts_with(&MAGIC) {
        return None;
    }
    let kind = u16::from_le_bytes([header[KIND_AT], header[KIND_AT + 1]]);
    let length = header.get(PAYLOAD_BYTES_AT..)?.first_chunk::<4>()?;
    let payload_bytes = u32::from_le_bytes(*length) as usize;
    let start = at + RECORD_HEADER_BYTES;
    let payload = bytes.get(start..start.checked_add(payload_bytes)?)?;
    let next = start
        .checked_add(payload_bytes.checked_next_multiple_of(ALIGN_BYTES)?)?
        .checked_add(CHAIN_HASH_BYTES)?;
    let place = LogOffset::new(segment, u32::try_from(at).ok()?);
    Some((
        Record {
            place,
            kind: RecordKind::new(kind),
            payload,
        },
        next,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_log::{DataFolder, LogConfig, open, verify_path};

    #[test]
    fn every_record_that_the_log_wrote_is_found_where_the_log_says_it_stands() {
        let dir = std::env::temp_dir().join(format!("quorate-records-{}", std::process::id()));
        let folder = DataFolder::open(&dir).unwrap();
        let config = LogConfig {
            segment_bytes: 4096,
            ..LogConfig::new([7; 32])
        };
        let mut opened = open(&folder, &config, b"genesis").unwrap();
        let mut expected = vec![(0, b"genesis".to_vec())];
        for number in 1..=100_u16 {
            let payload = vec![number as u8; usize::from(number) * 7 % 300];
            opened
                .writer
                .append(RecordKind::new(number), &[&payload])
                .unwrap();
            expected.push((number, payload));
        }
        let places: Vec<_> = opened
            .reader
            .iter()
            .map(|record| record.unwrap().place().offset)
            .collect();
        let verification = verify_path(&dir).unwrap();
        assert!(
            verification.segment_count > 3,
            "the log has only one segment"
        );
        let mut found = Vec::new();
        let mut found_places = Vec::new();
        visit(&dir, &verification, &mut |record| {
            found.push((record.kind.number(), record.payload.to_vec()));
            found_places.push(record.place);
        })
        .unwrap();
        assert_eq!(found, expected);
        assert_eq!(found_places, places);
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn no_bytes_make_the_walk_panic_or_go_beyond_them() {
        let mut bytes = vec![0xff_u8; 600];
        bytes[512..514].copy_from_slice(&MAGIC);
        for length in [0, 1, 511, 512, 540, 600] {
            walk(0, &bytes[..length], &mut |record| panic!("{record:?}"));
        }
        bytes[516..520].copy_from_slice(&8_u32.to_le_bytes());
        let mut seen = 0;
        walk(0, &bytes, &mut |record| {
            assert_eq!(record.payload.len(), 8);
            seen += 1;
        });
        assert_eq!(seen, 1);
    }
}
