//! Power cuts of a real file system: a log on a loop device whose backing file is copied in the
//! middle of everything. What the copy holds is what the device had got by then. Needs root and a
//! free loop device, and says so where they are missing.

mod support;

use quorate_log::{DataFolder, LogConfig, LogError, Opened, open};
use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use support::{GENESIS, KIND, Random, TestFolder, append, payload, payloads, sync};

const IMAGE_BYTES: u64 = 24 << 20;
const COPIES: usize = 12;
const SEGMENT_BYTES: u32 = 64 << 10;

/// A program that one test starts has for a moment what the other one has open, the lock of a
/// folder included: they take turns.
static TURN: Mutex<()> = Mutex::new(());

/// A mounted image; it is unmounted at the end, whatever the verdict.
struct Mounted {
    at: PathBuf,
}

impl Mounted {
    fn new(image: &Path, at: PathBuf) -> Result<Self, String> {
        std::fs::create_dir_all(&at).map_err(|error| error.to_string())?;
        let (image, place) = (image.display().to_string(), at.display().to_string());
        call("mount", &["-o", "loop", &image, &place])?;
        Ok(Self { at })
    }

    fn folder(&self) -> DataFolder {
        DataFolder::open(&self.at.join("log")).expect("a folder")
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let place = self.at.display().to_string();
        if let Err(error) = call("umount", &[&place]) {
            eprintln!("{place} stays mounted: {error}");
        }
    }
}

fn call(program: &str, arguments: &[&str]) -> Result<(), String> {
    let output = Command::new(program).args(arguments).output();
    let output = output.map_err(|error| format!("{program}: {error}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    let told = || format!("{program}: {}", said.trim());
    output.status.success().then_some(()).ok_or_else(told)
}

fn image(folder: &TestFolder) -> Result<PathBuf, String> {
    image_with(folder, &[])
}

fn image_with(folder: &TestFolder, features: &[&str]) -> Result<PathBuf, String> {
    let path = folder.path().join("image");
    let file = std::fs::File::create(&path).map_err(|error| error.to_string())?;
    file.set_len(IMAGE_BYTES)
        .map_err(|error| error.to_string())?;
    let name = path.display().to_string();
    call("mkfs.ext4", &[features, &["-q", "-F", &name]].concat())?;
    Ok(path)
}

fn config() -> LogConfig {
    LogConfig {
        segment_bytes: SEGMENT_BYTES,
        ..LogConfig::new([3; 32])
    }
}

fn opened(mounted: &Mounted) -> Opened {
    open(&mounted.folder(), &config(), GENESIS).expect("a log that opens")
}

/// The same, and its new segments have room that is reserved.
fn reserving(mounted: &Mounted) -> Opened {
    let config = LogConfig {
        reserves_room: true,
        ..config()
    };
    open(&mounted.folder(), &config, GENESIS).expect("a log that opens")
}

#[test]
fn a_copy_of_the_device_at_any_moment_has_all_that_was_synced_and_nothing_else() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    for open in [opened, reserving] {
        copy_at_any_moment(open);
    }
}

fn copy_at_any_moment(open: fn(&Mounted) -> Opened) {
    let folder = TestFolder::new();
    let prepared = image(&folder).and_then(|image| {
        let mounted = Mounted::new(&image, folder.path().join("live"))?;
        Ok((image, mounted))
    });
    let (image, live) = match prepared {
        Ok(prepared) => prepared,
        Err(reason) => {
            eprintln!("skipped: no loop device here ({reason})");
            return;
        }
    };
    let mut log = open(&live);
    let mut random = Random(41);
    let (mut appended, mut synced) = (Vec::new(), 0);
    for copy in 0..COPIES {
        for _ in 0..=random.below(40) {
            let bytes = payload(appended.len() as u64, random.below(9000) as usize);
            append(&mut log, &bytes);
            appended.push(bytes);
            if random.below(4) == 0 {
                sync(&mut log);
                synced = appended.len();
            }
        }
        let cut = folder.path().join(format!("cut-{copy}"));
        std::fs::copy(&image, &cut).expect("room for a copy");
        let after = Mounted::new(&cut, folder.path().join("after")).expect("it mounts");
        let found = open(&after);
        let left = payloads(&found.reader);
        assert!(
            left.len() >= synced,
            "copy {copy}: {} of {synced}",
            left.len()
        );
        assert!(appended.starts_with(&left), "copy {copy}: another record");
        assert!(found.recovery.marked.is_empty(), "copy {copy}");
        drop(found);
        drop(after);
        std::fs::remove_file(&cut).expect("it goes");
    }
    drop(log);
}

/// Leaves nothing free.
fn fill(path: &Path) {
    let mut file = std::fs::File::create(path).expect("room for a name");
    for piece in [1 << 20, 4096, 1] {
        let zeros = vec![0; piece];
        while file.write_all(&zeros).is_ok() {}
        // What was set aside for it and not used comes back with that.
        file.sync_all().expect("what was taken is written");
        while file.write_all(&zeros).is_ok() {}
    }
}

/// A file system of its own, with room for little; none, which is told, where that cannot be had.
fn mounted_in(folder: &TestFolder) -> Option<Mounted> {
    let mounted = image(folder).and_then(|image| Mounted::new(&image, folder.path().join("full")));
    let told = |reason: &_| eprintln!("skipped: no loop device here ({reason})");
    mounted.inspect_err(told).ok()
}

/// A hole stands for what a copy by reflink does to a segment: each write needs room anew. A store
/// into the mapping would be a signal here, and the end of this process.
#[test]
fn a_write_into_a_segment_that_finds_no_room_is_told_and_comes_when_there_is_some() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = TestFolder::new();
    let Some(mounted) = mounted_in(&folder) else {
        return;
    };
    let mut log = opened(&mounted);
    append(&mut log, b"kept");
    sync(&mut log);
    // As most starts find it: a later segment is ready, and this one was mapped to be read.
    log.preparer.prepare_next().expect("room for a segment");
    drop(log);
    log = opened(&mounted);
    let segment = mounted.at.join("log/segment-0000000000");
    let segment = OpenOptions::new().write(true).open(segment);
    let flags = rustix::fs::FallocateFlags::PUNCH_HOLE | rustix::fs::FallocateFlags::KEEP_SIZE;
    let segment_bytes = u64::from(config().segment_bytes);
    rustix::fs::fallocate(
        segment.expect("it is there"),
        flags,
        4096,
        segment_bytes - 4096,
    )
    .expect("a hole");
    let filler = mounted.at.join("filler");
    fill(&filler);
    let bytes = payload(1, 30_000);
    let refused = log.writer.append(KIND, &[&bytes]);
    assert!(
        matches!(refused, Err(LogError::NoRoom { .. })),
        "{refused:?}"
    );
    assert_eq!(payloads(&log.reader), [&b"kept"[..]]);
    std::fs::remove_file(filler).expect("it goes");
    log.writer.commit().expect("there is room");
    sync(&mut log);
    drop(log);
    assert_eq!(payloads(&opened(&mounted).reader), [&b"kept"[..], &bytes]);
}

/// What a segment takes is there since it was made ready, whoever has the rest of the disk.
#[test]
fn a_segment_whose_room_is_reserved_takes_all_of_it_on_a_disk_that_is_full() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = TestFolder::new();
    let Some(mounted) = mounted_in(&folder) else {
        return;
    };
    let mut log = reserving(&mounted);
    log.preparer.prepare_next().expect("room for a segment");
    fill(&mounted.at.join("filler"));
    let mut appended = Vec::new();
    // To the end of the first segment and of the one that was made ready.
    let refused = loop {
        let bytes = payload(appended.len() as u64, 3000);
        match log.writer.append(KIND, &[&bytes]) {
            Ok(_) => appended.push(bytes),
            Err(error) => break error,
        }
        if appended.len() % 5 == 0 {
            sync(&mut log);
        }
    };
    assert!(matches!(refused, LogError::NoSegment { .. }), "{refused:?}");
    let end = log.writer.end().offset;
    let room = SEGMENT_BYTES - end.bytes();
    assert!(end.segment() == 1 && room < 3100, "{end:?}");
    sync(&mut log);
    let names = std::fs::read_dir(mounted.at.join("log")).expect("a folder");
    let names = names.map(|entry| entry.expect("an entry").file_name());
    let unfinished = names.filter(|name| name.to_string_lossy().ends_with(".new"));
    assert_eq!(unfinished.count(), 0, "it would keep the disk full");
    drop(log);
    // From the device and not from memory.
    let distrusting = LogConfig {
        distrusts_cache: true,
        ..config()
    };
    let log = open(&mounted.folder(), &distrusting, GENESIS).expect("a log that opens");
    assert_eq!(payloads(&log.reader), appended);
}

/// One without extents, as ext2 and ext3 are.
#[test]
fn where_the_file_system_reserves_no_room_segments_are_filled_with_zeros() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = TestFolder::new();
    let prepared = image_with(&folder, &["-O", "^extent,^64bit,^flex_bg,^metadata_csum"]);
    let prepared = prepared.and_then(|image| Mounted::new(&image, folder.path().join("old")));
    let mounted = match prepared {
        Ok(mounted) => mounted,
        Err(reason) => {
            eprintln!("skipped: no loop device here ({reason})");
            return;
        }
    };
    let probe = std::fs::File::create(mounted.at.join("probe")).expect("a file");
    let flags = rustix::fs::FallocateFlags::empty();
    let reserved = rustix::fs::fallocate(&probe, flags, 0, 4096);
    assert_eq!(
        reserved,
        Err(rustix::io::Errno::OPNOTSUPP),
        "another file system than meant"
    );
    let mut log = reserving(&mounted);
    log.preparer.prepare_next().expect("room for a segment");
    for number in 0..2 {
        let segment = mounted.at.join(format!("log/segment-{number:010}"));
        let file = std::fs::File::open(segment).expect("it is there");
        let found = file.metadata().expect("what it is");
        assert_eq!(found.len(), u64::from(SEGMENT_BYTES));
        assert!(found.blocks() * 512 >= found.len(), "the file is sparse");
    }
    append(&mut log, b"kept");
    sync(&mut log);
    drop(log);
    assert_eq!(payloads(&reserving(&mounted).reader), [b"kept"]);
}
