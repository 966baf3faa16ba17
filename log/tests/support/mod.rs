//! What the tests of the log share: small logs, and what they must hold after a start.
#![expect(dead_code, reason = "each test file uses a part of it")]

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use quorate_log::{
    DataFolder, LogConfig, MemoryBackend, OpenError, Opened, Reader, RecordKind, RecordRef,
    Unsynced, open,
};

pub(crate) const GENESIS: &[u8] = b"genesis of the tests";
pub(crate) const KIND: RecordKind = RecordKind::new(7);
pub(crate) const SEGMENT_BYTES: u32 = 4096;

pub(crate) fn config() -> LogConfig {
    LogConfig {
        segment_bytes: SEGMENT_BYTES,
        ..LogConfig::new([0x5a; 32])
    }
}

pub(crate) fn try_open(memory: &MemoryBackend) -> Result<Opened, OpenError> {
    open(&DataFolder::in_memory(memory), &config(), GENESIS)
}

pub(crate) fn open_memory(memory: &MemoryBackend) -> Opened {
    try_open(memory).expect("a log that opens")
}

/// A payload that tells its own number and length.
pub(crate) fn payload(number: u64, payload_bytes: usize) -> Vec<u8> {
    let mut random = Random(number.wrapping_mul(0x9e37_79b9) + payload_bytes as u64 + 1);
    (0..payload_bytes)
        .map(|_| (random.next() & 0xff) as u8)
        .collect()
}

pub(crate) fn append(log: &mut Opened, payload: &[u8]) -> RecordRef {
    log.writer.append(KIND, &[payload]).expect("an append")
}

pub(crate) fn sync(log: &mut Opened) {
    let end = log.syncer.sync(log.writer.unsynced()).expect("a sync");
    assert_eq!(end, log.writer.end());
}

/// Every payload after the genesis.
pub(crate) fn payloads(reader: &Reader) -> Vec<Vec<u8>> {
    let mut records = reader.iter();
    let genesis = records.next().expect("a genesis").expect("a whole genesis");
    assert_eq!(&genesis[..], GENESIS);
    assert_eq!(genesis.kind(), RecordKind::GENESIS);
    let mut count = 0;
    records
        .map(|record| {
            let record = record.expect("a whole record");
            count += 1;
            assert_eq!(record.place().index.count(), count);
            assert_eq!(record.kind(), KIND);
            record.to_vec()
        })
        .collect()
}

/// A log of `count` records of differing lengths, synced after each of `sync_after`.
pub(crate) fn small_log(memory: &MemoryBackend, count: u64, sync_after: &[u64]) -> Vec<RecordRef> {
    let mut log = open_memory(memory);
    (1..=count)
        .map(|number| {
            let place = append(&mut log, &payload(number, (number as usize * 37) % 300));
            if sync_after.contains(&number) {
                sync(&mut log);
            }
            place
        })
        .collect()
}

/// The file of a segment.
pub(crate) fn name(segment: u32) -> String {
    format!("segment-{segment:010}")
}

/// Three segments and a part of a fourth, all synced.
pub(crate) fn filled(memory: &MemoryBackend) -> (Opened, Vec<RecordRef>) {
    let mut log = open_memory(memory);
    let mut places = Vec::new();
    while log.writer.end().offset.segment() < 3 {
        let number = places.len() as u64;
        places.push(append(
            &mut log,
            &payload(number, 40 + (number as usize * 61) % 400),
        ));
        assert!(number < 60, "the segments are small");
        if number.is_multiple_of(3) {
            sync(&mut log);
        }
    }
    sync(&mut log);
    (log, places)
}

/// What `filled` has appended.
pub(crate) fn expected(places: &[RecordRef]) -> Vec<Vec<u8>> {
    (0..places.len())
        .map(|number| payload(number as u64, 40 + (number * 61) % 400))
        .collect()
}

/// A segment as the disk has it.
pub(crate) fn durable(memory: &MemoryBackend, segment: u32) -> Vec<u8> {
    memory
        .power_cut(|_| false)
        .file(&name(segment))
        .expect("it")
}

/// The second record of a segment, and which of all it is.
pub(crate) fn second_of(places: &[RecordRef], segment: u32) -> (usize, RecordRef) {
    let here = |place: &(usize, &RecordRef)| place.1.offset.segment() == segment;
    let (number, place) = places.iter().enumerate().filter(here).nth(1).expect("two");
    (number, *place)
}

/// Changes a file of a log that is not open.
pub(crate) fn edit(memory: &MemoryBackend, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = memory.file(name).expect("the file");
    change(&mut bytes);
    memory.set_file(name, &bytes);
}

/// Makes a segment one of another format version: its place in the header, and the checksum, as
/// docs/log-format.md states them.
pub(crate) fn set_version(bytes: &mut [u8], version: u32) {
    bytes[8..12].copy_from_slice(&version.to_le_bytes());
    let mut hasher = blake3::Hasher::new_derive_key("quorate log segment header");
    hasher.update(&bytes[..448]).update(&bytes[480..512]);
    bytes[448..480].copy_from_slice(hasher.finalize().as_bytes());
}

/// Makes every started segment one of another format version.
pub(crate) fn set_versions(memory: &MemoryBackend, version: u32) {
    for name in memory.file_names() {
        let bytes = memory.file(&name).expect("the file");
        if name.starts_with("segment-") && bytes[0] != 0 {
            edit(memory, &name, |bytes| set_version(bytes, version));
        }
    }
}

/// A small generator (xorshift64*), so that a failing case is a number.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub(crate) fn coin(&mut self) -> bool {
        self.next().is_multiple_of(2)
    }
}

/// What of the unsynced survives.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Keep {
    Nothing,
    Everything,
    /// The sectors and names whose turn is even, or odd: holes at every place.
    Alternate(bool),
    Random(u64),
}

pub(crate) const KEEPS: [Keep; 8] = [
    Keep::Nothing,
    Keep::Everything,
    Keep::Alternate(false),
    Keep::Alternate(true),
    Keep::Random(1),
    Keep::Random(2),
    Keep::Random(3),
    Keep::Random(4),
];

/// The folder after a power cut; `salt` makes a `Random` of each moment another one.
pub(crate) fn power_cut(memory: &MemoryBackend, keep: Keep, salt: u64) -> MemoryBackend {
    let mut turn = false;
    let seed = if let Keep::Random(seed) = keep {
        seed
    } else {
        1
    };
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (salt + 1));
    memory.power_cut(|_: Unsynced<'_>| match keep {
        Keep::Nothing => false,
        Keep::Everything => true,
        Keep::Alternate(first) => {
            turn = !turn;
            turn == first
        }
        Keep::Random(_) => random.coin(),
    })
}

/// A folder on disk that is removed at the end of the test.
pub(crate) struct TestFolder(PathBuf);

impl TestFolder {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("quorate-log-test-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).expect("a temporary folder");
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Whether its file system sets blocks aside without anything being written to them.
    pub(crate) fn can_reserve(&self) -> bool {
        let path = self.0.join("reserved");
        let file = std::fs::File::create(&path).expect("a file");
        let flags = rustix::fs::FallocateFlags::empty();
        let reserved = rustix::fs::fallocate(&file, flags, 0, 4096);
        std::fs::remove_file(path).expect("it goes");
        reserved.is_ok()
    }
}

impl Drop for TestFolder {
    fn drop(&mut self) {
        // Left behind if it cannot be removed; the test's verdict does not depend on it.
        std::fs::remove_dir_all(&self.0).ok();
    }
}
