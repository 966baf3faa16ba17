//! What of a log is whole from a place on, for whoever has read what stands before it.
//!
//! Owns the judgement of a record by its chain hash, as docs/log-format.md has it, in code that no
//! start runs: what a start takes for torn may be whole. Leaves out stretches that are marked
//! faulty. Never: looks behind the first record that is not whole, or at what it was not asked for.

use std::fs;
use std::io::{self, Read as _};
use std::ops::Range;
use std::path::Path;

use quorate_log::LogOffset;

use super::records::{
    CHAIN_HASH_BYTES, RECORD_HEADER_BYTES, Record, SEGMENT_HEADER_BYTES, first_segment, read,
    segment_name,
};

/// Where a segment's header has genesis hash and salt, from which the key of the chain follows.
const IDENTITY: Range<usize> = 40..104;
/// Where it says that a damaged log was resumed in it: up to which place that was whole, offset and
/// segment.
const RESUMES_AT: (usize, usize) = (104, 108);
/// Where a record says how many bytes of its payload stand before a body that is chained by its
/// hash.
const LEAD_AT: usize = 22;
/// What the key of the chain is derived for.
const CHAIN_CONTEXT: &str = "quorate log v1 record chain";

/// A stretch that is marked faulty.
#[derive(Clone, Copy, Debug)]
struct Stretch {
    from: LogOffset,
    /// Number of the segment in which the log goes on.
    resumed_in: u32,
}

impl Stretch {
    fn holds(&self, place: LogOffset) -> bool {
        self.from <= place && place.segment() < self.resumed_in
    }
}

/// Calls `visit` with every whole record of a log that nobody writes, from the one at `from` on, or
/// from the first; gives the place behind the last of them, or `from` where there is none.
///
/// # Errors
/// A segment cannot be read.
pub(crate) fn visit_whole(
    folder: &Path,
    from: Option<LogOffset>,
    visit: &mut dyn FnMut(Record<'_>),
) -> io::Result<LogOffset> {
    let front = front_of(first_segment(folder)?);
    let from = from.map_or(front, |from| from.max(front));
    let stretches = stretches(folder, from.segment())?;
    let (mut at, mut end) = (from, from);
    loop {
        if let Some(stretch) = stretches.iter().find(|stretch| stretch.holds(at)) {
            at = front_of(stretch.resumed_in);
            continue;
        }
        let segment = at.segment();
        let bytes = match quorate_log::segment_bytes(folder, segment) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(end),
            Err(error) => return Err(error),
        };
        let stretch = stretches.iter().find(|one| one.from.segment() == segment);
        let until = stretch.map_or(bytes.len(), |one| one.from.bytes() as usize);
        let bytes = bytes.get(..until.min(bytes.len())).unwrap_or_default();
        let (last, goes_on) = walk(at, bytes, visit);
        end = last.unwrap_or(end);
        if !goes_on {
            return Ok(end);
        }
        at = front_of(stretch.map_or(segment + 1, |one| one.resumed_in));
    }
}

/// Where the first record of a segment stands.
fn front_of(segment: u32) -> LogOffset {
    LogOffset::new(segment, SEGMENT_HEADER_BYTES as u32)
}

/// Visits the whole records of one segment from a place on; gives the place behind the last of
/// them, and whether the log may go on in the next segment: it does not behind a record that is
/// not whole.
fn walk(
    from: LogOffset,
    bytes: &[u8],
    visit: &mut dyn FnMut(Record<'_>),
) -> (Option<LogOffset>, bool) {
    let identity = bytes.get(IDENTITY).unwrap_or_default();
    let key = blake3::derive_key(CHAIN_CONTEXT, identity);
    let (mut at, mut last) = (from.bytes() as usize, None);
    while let Some((record, next)) = read(from.segment(), bytes, at) {
        if !is_whole(&key, bytes, at..next, record.payload.len()) {
            return (last, false);
        }
        visit(record);
        at = next;
        let next = u32::try_from(next).ok();
        last = next.map(|next| LogOffset::new(from.segment(), next));
    }
    (last, true)
}

/// Whether the record that takes these bytes ends with the hash over itself and the one before it.
fn is_whole(key: &[u8; 32], bytes: &[u8], place: Range<usize>, payload_bytes: usize) -> bool {
    let hash_at = place.end - CHAIN_HASH_BYTES;
    let covered = bytes.get(place.start - CHAIN_HASH_BYTES..hash_at);
    let hash = bytes.get(hash_at..place.end);
    let found = covered.and_then(|covered| chain_hash(key, covered, payload_bytes));
    found.is_some_and(|found| Some(&found.as_bytes()[..]) == hash)
}

/// The hash over what stands from the chain hash before a record on up to its own; none where it
/// says of its body what cannot be.
fn chain_hash(key: &[u8; 32], covered: &[u8], payload_bytes: usize) -> Option<blake3::Hash> {
    let header = covered.get(CHAIN_HASH_BYTES..)?;
    let lead = header.get(LEAD_AT..)?.first_chunk::<2>()?;
    let lead = usize::from(u16::from_le_bytes(*lead));
    if lead == 0 {
        return Some(blake3::keyed_hash(key, covered));
    }
    let payload_at = CHAIN_HASH_BYTES + RECORD_HEADER_BYTES;
    let body = payload_at + lead..payload_at + payload_bytes;
    let body_hash = blake3::hash(covered.get(body.clone()).filter(|body| !body.is_empty())?);
    let mut hasher = blake3::Hasher::new_keyed(key);
    hasher.update(covered.get(..body.start)?);
    hasher.update(body_hash.as_bytes());
    hasher.update(covered.get(body.end..)?);
    Some(hasher.finalize())
}

/// The marked stretches that end in a segment above this one, by rising place; one that lies in
/// another does not count.
fn stretches(folder: &Path, above: u32) -> io::Result<Vec<Stretch>> {
    let mut found: Vec<Stretch> = Vec::new();
    for number in above.saturating_add(1).. {
        let mut header = [0; SEGMENT_HEADER_BYTES];
        match fs::File::open(folder.join(segment_name(number))) {
            Ok(mut file) => file.read_exact(&mut header)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => break,
            Err(error) => return Err(error),
        }
        let field = |at: usize| {
            let bytes = header.get(at..).and_then(|rest| rest.first_chunk::<4>());
            bytes.map_or(0, |bytes| u32::from_le_bytes(*bytes))
        };
        let from = LogOffset::new(field(RESUMES_AT.1), field(RESUMES_AT.0));
        if from == LogOffset::default() {
            continue;
        }
        while found.pop_if(|inner| inner.from >= from).is_some() {}
        found.push(Stretch {
            from,
            resumed_in: number,
        });
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_log::{DataFolder, LogConfig, Opened, RecordKind, open, verify_path};

    const KIND: RecordKind = RecordKind::new(1);

    fn opened(dir: &Path) -> Opened {
        let config = LogConfig {
            segment_bytes: 4096,
            ..LogConfig::new([7; 32])
        };
        open(&DataFolder::open(dir).unwrap(), &config, b"genesis").unwrap()
    }

    /// Payloads of the whole records from a place on, but for the genesis, and where they end.
    fn whole(dir: &Path, from: Option<LogOffset>) -> (Vec<Vec<u8>>, LogOffset) {
        let mut found = Vec::new();
        let end = visit_whole(dir, from, &mut |record| {
            if record.kind == KIND {
                found.push(record.payload.to_vec());
            }
        });
        (found, end.unwrap())
    }

    fn change(dir: &Path, place: LogOffset, change: impl FnOnce(&mut [u8])) {
        let path = dir.join(segment_name(place.segment()));
        let mut bytes = fs::read(&path).unwrap();
        change(&mut bytes[place.bytes() as usize..]);
        fs::write(path, bytes).unwrap();
    }

    #[test]
    fn records_are_whole_up_to_the_first_that_is_torn_wherever_it_stands() {
        let dir = std::env::temp_dir().join(format!("quorate-whole-{}", std::process::id()));
        let mut log = opened(&dir);
        let mut payloads = Vec::new();
        let mut ends = Vec::new();
        for number in 0..60_usize {
            payloads.push(vec![number as u8; number * 17 % 400]);
            log.writer.append(KIND, &[&payloads[number]]).unwrap();
            ends.push(log.writer.end().offset);
        }
        drop(log);
        assert!(ends[59].segment() > 3, "{ends:?}");
        assert_eq!(whole(&dir, None), (payloads.clone(), ends[59]));
        assert_eq!(verify_path(&dir).unwrap().end.offset, ends[59]);
        for at in [0, 20, 58] {
            let rest = payloads[at + 1..].to_vec();
            assert_eq!(whole(&dir, Some(ends[at])), (rest, ends[59]));
        }
        assert_eq!(whole(&dir, Some(ends[59])), (Vec::new(), ends[59]));
        // The last bytes of one in the middle, which later segments follow.
        let torn = LogOffset::new(ends[30].segment(), ends[30].bytes() - 1);
        change(&dir, torn, |bytes| bytes[0] ^= 1);
        assert_eq!(whole(&dir, None), (payloads[..30].to_vec(), ends[29]));
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn a_body_that_is_chained_by_its_hash_is_whole_with_all_its_bytes() {
        let dir = std::env::temp_dir().join(format!("quorate-bodies-{}", std::process::id()));
        let config = LogConfig {
            segment_bytes: 16384,
            ..LogConfig::new([7; 32])
        };
        let mut log = open(&DataFolder::open(&dir).unwrap(), &config, b"genesis").unwrap();
        let (mut payloads, mut ends) = (Vec::new(), Vec::new());
        for number in 0..6_u8 {
            let (head, body) = ([number; 174], vec![number; 5001]);
            let hash = blake3::hash(&body);
            log.writer
                .append_hashed(KIND, &[&head, &body], Some(hash.as_bytes()))
                .unwrap();
            payloads.push([&head[..], &body].concat());
            ends.push(log.writer.end().offset);
        }
        drop(log);
        assert_eq!(whole(&dir, None), (payloads.clone(), ends[5]));
        // The head, the length of the lead, the body.
        for at in [40, LEAD_AT, LEAD_AT + 1, 32 + 173, 32 + 174, 32 + 5174] {
            let place = LogOffset::new(ends[3].segment(), ends[3].bytes() + at as u32);
            change(&dir, place, |bytes| bytes[0] ^= 1);
            assert_eq!(whole(&dir, None), (payloads[..4].to_vec(), ends[3]), "{at}");
            change(&dir, place, |bytes| bytes[0] ^= 1);
        }
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn a_stretch_that_is_marked_faulty_is_left_out_wherever_one_begins_to_read() {
        let dir = std::env::temp_dir().join(format!("quorate-stretch-{}", std::process::id()));
        let mut log = opened(&dir);
        let mut ends = Vec::new();
        for payload in [b"one", b"two", b"six"] {
            log.writer.append(KIND, &[payload]).unwrap();
            ends.push(log.writer.end().offset);
        }
        log.syncer.sync(log.writer.unsynced()).unwrap();
        drop(log);
        change(&dir, ends[0], |bytes| bytes[40] ^= 1);
        let mut log = opened(&dir);
        assert_eq!(log.recovery.marked.len(), 1);
        log.writer.append(KIND, &[b"new"]).unwrap();
        let end = log.writer.end().offset;
        drop(log);
        let new = vec![b"new".to_vec()];
        let all = vec![b"one".to_vec(), b"new".to_vec()];
        assert_eq!(whole(&dir, None), (all, end));
        assert_eq!(whole(&dir, Some(ends[0])), (new.clone(), end));
        assert_eq!(whole(&dir, Some(ends[1])), (new.clone(), end), "within it");
        assert_eq!(whole(&dir, Some(ends[2])), (new, end), "at its end");
        fs::remove_dir_all(dir).unwrap();
    }
}
