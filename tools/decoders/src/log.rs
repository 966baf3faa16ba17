//! The log's files as a start finds them: one is damaged, the others are sound.
//!
//! The folder is in memory, and what reads it is what reads the real one.

use crate::consensus::leases;
use crate::decoder::{Cap, Decode, Decoder, Mend, Verdict};
use crate::mend::{self, Keys};
use quorate_consensus::restart;
use quorate_log::{
    DataFolder, LeaseFile, LeaseRead, LogConfig, MemoryBackend, Opened, RecordKind, open, verify,
};

const GENESIS: &[u8] = b"genesis of the decoders";
const SEGMENT_BYTES: u32 = 8192;
const FIRST: &str = "segment-0000000000";
const SECOND: &str = "segment-0000000001";
const WATERMARK: &str = "watermark";
const CLEAN_STOP: &str = "clean-stop";
const BASE: &str = "base";
const LEASE: &str = "lease";

/// The folder is held twice, live and durable, for every file; opening makes one more segment and
/// reads each once; and so is the damaged file.
const CAP: Cap = Cap {
    base_bytes: 24 * SEGMENT_BYTES as usize,
    per_byte: 8,
};

type Files = Vec<(String, Vec<u8>)>;

pub(crate) fn decoders() -> Vec<Decoder> {
    let folders = [false, true].map(files);
    let decoder = |name, share, file: &'static str, mend| {
        let corpus = folders
            .iter()
            .filter_map(|files| content(files, file).map(<[u8]>::to_vec))
            .collect();
        Decoder {
            name,
            share,
            is_text: false,
            corpus,
            cap: CAP,
            decode: decode_in_folder(folders[1].clone(), file),
            mend: Some(mend),
        }
    };
    vec![
        decoder("log.segment_first", 1, FIRST, mend_segment(&folders[1], 0)),
        decoder("log.segment_last", 1, SECOND, mend_segment(&folders[1], 1)),
        decoder("log.watermark", 1, WATERMARK, mend_watermark(&folders[1])),
        decoder("log.clean_stop", 1, CLEAN_STOP, Box::new(mend::sealed)),
        base_decoder(),
        Decoder {
            name: "log.lease",
            share: 2,
            is_text: false,
            corpus: lease_files(),
            cap: CAP,
            decode: Box::new(decode_lease),
            mend: Some(Box::new(mend::sealed)),
        },
    ]
}

/// The base of a log that begins with its second segment.
fn base_decoder() -> Decoder {
    let memory = MemoryBackend::new();
    for (name, bytes) in files(false) {
        memory.set_file(&name, &bytes);
    }
    let mut log = opened(&memory);
    log.pruner.prune(1).expect("a synced segment behind it");
    drop(log);
    let files = all_files(&memory);
    Decoder {
        name: "log.base",
        share: 1,
        is_text: false,
        corpus: content(&files, BASE)
            .map(<[u8]>::to_vec)
            .into_iter()
            .collect(),
        cap: CAP,
        decode: decode_in_folder(files, BASE),
        mend: Some(Box::new(mend::sealed)),
    }
}

fn config() -> LogConfig {
    LogConfig {
        segment_bytes: SEGMENT_BYTES,
        ..LogConfig::new([0x5a; 32])
    }
}

fn opened(memory: &MemoryBackend) -> Opened {
    open(&DataFolder::in_memory(memory), &config(), GENESIS).expect("a sound folder")
}

/// The files of a log with two segments, stopped in good order or not.
fn files(is_stopped: bool) -> Files {
    let memory = MemoryBackend::new();
    let mut log = opened(&memory);
    for payload_bytes in [0, 1, 8, 100, 700, 700, 700, 700, 700, 30, 60] {
        let payload = vec![payload_bytes as u8; payload_bytes];
        log.writer
            .append(RecordKind::new(3), &[&payload])
            .expect("room in memory");
        if payload_bytes == 100 {
            log.syncer.sync(log.writer.unsynced()).expect("memory");
        }
    }
    // Chained by the hash of its body; it has no room in the first segment.
    let (head, body) = ([1; 174], [2; 4500]);
    let hash = blake3::hash(&body);
    log.writer
        .append_hashed(RecordKind::new(3), &[&head, &body], Some(hash.as_bytes()))
        .expect("room in memory");
    if is_stopped {
        log.syncer.stop(log.writer).expect("memory");
    }
    all_files(&memory)
}

fn all_files(memory: &MemoryBackend) -> Files {
    let content = |name: String| memory.file(&name).map(|bytes| (name, bytes));
    memory
        .file_names()
        .into_iter()
        .filter_map(content)
        .collect()
}

fn content<'a>(files: &'a Files, file: &str) -> Option<&'a [u8]> {
    let (_, bytes) = files.iter().find(|(name, _)| name == file)?;
    Some(bytes)
}

/// Keys come from the sound first segment, as the identity of the log does.
fn keys(files: &Files) -> Keys {
    content(files, FIRST)
        .and_then(Keys::of_segment)
        .expect("a sound segment")
}

fn mend_segment(files: &Files, number: u32) -> Mend {
    let keys = keys(files);
    Box::new(move |bytes| mend::segment(&keys, number, bytes))
}

fn mend_watermark(files: &Files) -> Mend {
    let keys = keys(files);
    Box::new(move |bytes| mend::watermark(&keys, bytes))
}

/// Verifies and opens the folder with `file` as the input says; a log that opens is read whole,
/// takes a record, and opens again with it.
fn decode_in_folder(files: Files, file: &'static str) -> Decode {
    Box::new(move |input| {
        let memory = MemoryBackend::new();
        for (name, bytes) in &files {
            if name != file {
                memory.set_file(name, bytes);
            }
        }
        memory.set_file(file, input);
        let folder = DataFolder::in_memory(&memory);
        let found = verify(&folder);
        let Ok(mut log) = open(&folder, &config(), GENESIS) else {
            return Verdict::Refused;
        };
        assert!(found.is_ok(), "a log was opened that cannot be verified");
        let mut count = 0;
        for record in log.reader.iter() {
            record.expect("every record of an open log is whole");
            count += 1;
        }
        log.writer
            .append(RecordKind::new(4), &[b"one more"])
            .expect("room in memory");
        log.syncer.sync(log.writer.unsynced()).expect("memory");
        drop(log);
        let again = open(&folder, &config(), GENESIS).expect("a log that was open");
        assert_eq!(again.reader.iter().count(), count + 1);
        Verdict::Accepted
    })
}

fn lease_files() -> Vec<Vec<u8>> {
    leases()
        .into_iter()
        .filter_map(|payload| {
            let memory = MemoryBackend::new();
            LeaseFile::new(&DataFolder::in_memory(&memory))
                .replace(&payload)
                .expect("a short payload");
            memory.file(LEASE)
        })
        .collect()
}

fn decode_lease(input: &[u8]) -> Verdict {
    let memory = MemoryBackend::new();
    memory.set_file(LEASE, input);
    let read = LeaseFile::new(&DataFolder::in_memory(&memory)).read();
    let Ok(LeaseRead::Present(payload)) = read else {
        return Verdict::Refused;
    };
    let Some(lease) = restart::LeaseFile::decode(&payload) else {
        return Verdict::Refused;
    };
    let again = MemoryBackend::new();
    LeaseFile::new(&DataFolder::in_memory(&again))
        .replace(&lease.encode())
        .expect("a short payload");
    Verdict::canonical(input, &again.file(LEASE).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mending_a_sound_file_changes_nothing_and_a_damaged_one_can_be_read_again() {
        for decoder in decoders() {
            for sound in &decoder.corpus {
                let mut mended = sound.clone();
                decoder.mend(&mut mended);
                assert_eq!(mended, *sound, "{}", decoder.name);
            }
        }
        // A payload byte of record 0 is the genesis; one of a later record is anybody's.
        let folders = files(true);
        let mut bytes = content(&folders, SECOND).unwrap().to_vec();
        let at = 512 + 32 + 5;
        bytes[at] ^= 1;
        assert!(is_faulty(&folders, &bytes), "the hash covers it");
        let decode = decode_in_folder(folders.clone(), SECOND);
        assert_eq!(
            decode(&bytes),
            Verdict::Accepted,
            "marked, and gone on behind"
        );
        mend_segment(&folders, 1)(&mut bytes);
        // It is of the right form now, but the marker names another end.
        let mut mended = folders.clone();
        mended.retain(|(name, _)| name != CLEAN_STOP);
        assert!(!is_faulty(&mended, &bytes), "mended");
        let decode = decode_in_folder(mended, SECOND);
        assert_eq!(decode(&bytes), Verdict::Accepted);
    }

    /// Whether a log with this second segment has a place that is not as it was written.
    fn is_faulty(files: &Files, second: &[u8]) -> bool {
        let memory = MemoryBackend::new();
        for (name, bytes) in files {
            memory.set_file(name, bytes);
        }
        memory.set_file(SECOND, second);
        let found = verify(&DataFolder::in_memory(&memory)).unwrap();
        !found.faults.is_empty()
    }
}
