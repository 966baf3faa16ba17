//! A folder on a real disk: the lock, the files, the lease, and the same log over real maps.

mod support;

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use quorate_log::{
    DataFolder, LEASE_PAYLOAD_BYTES_MAX, LeaseError, LeaseFile, LeaseRead, LockError, LogConfig,
    MemoryBackend, OpenError, Row, open, verify_path,
};
use support::{GENESIS, TestFolder, append, config, edit, payload, payloads, sync};

/// A program that one test starts has for a moment what the others have open, the locks of their
/// folders included: they take turns.
static TURN: Mutex<()> = Mutex::new(());

fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

const CHILD_FOLDER: &str = "QUORATE_LOG_TEST_CHILD_FOLDER";

#[test]
fn a_log_on_disk_opens_again_with_everything() {
    let _turn = turn();
    let folder = TestFolder::new();
    let mut expected = Vec::new();
    for run in 0..3_u64 {
        let data = DataFolder::open(folder.path()).unwrap();
        // However the segments were filled that it finds.
        let config = LogConfig {
            reserves_room: run == 1,
            ..config()
        };
        let mut log = open(&data, &config, GENESIS).unwrap();
        assert_eq!(payloads(&log.reader), expected);
        for number in 0..30 {
            expected.push(payload(run * 100 + number, number as usize * 20));
            append(&mut log, &expected[expected.len() - 1]);
            log.preparer.prepare_next().unwrap();
        }
        sync(&mut log);
    }
    let found = verify_path(folder.path()).unwrap();
    assert_eq!((found.row, found.record_count), (Row::CleanEnd, 91));
    assert_eq!(found.genesis_hash, quorate_log::genesis_hash(GENESIS));
}

#[test]
fn segments_are_written_out_and_private() {
    let _turn = turn();
    for reserves_room in [false, true] {
        let folder = TestFolder::new();
        let data = DataFolder::open(folder.path()).unwrap();
        let config = LogConfig {
            segment_bytes: 1 << 20,
            reserves_room,
            ..config()
        };
        let mut log = open(&data, &config, GENESIS).unwrap();
        log.preparer.prepare_next().unwrap();
        for number in 0..2 {
            assert_has_room(&folder, number, 1 << 20);
        }
        assert!(!fs::read_dir(folder.path()).unwrap().any(|entry| {
            entry
                .unwrap()
                .file_name()
                .to_string_lossy()
                .ends_with(".new")
        }));
    }
}

/// A segment is a private file of this length that has blocks for all of it.
fn assert_has_room(folder: &TestFolder, number: u32, bytes_len: u64) {
    let file = folder.path().join(format!("segment-{number:010}"));
    let metadata = fs::metadata(file).expect("it is there");
    assert_eq!(metadata.len(), bytes_len);
    assert!(metadata.blocks() * 512 >= bytes_len, "the file is sparse");
    assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
}

/// What this thread has given to calls that write.
#[cfg(target_os = "linux")]
fn written_bytes() -> u64 {
    let told = fs::read_to_string("/proc/thread-self/io").expect("the system tells");
    let written = told.lines().find_map(|line| line.strip_prefix("wchar: "));
    written.expect("a count").parse().expect("a number")
}

/// Of a log that is made, of the next segment, and of one behind damage.
#[cfg(target_os = "linux")]
#[test]
fn a_segment_whose_room_is_reserved_has_its_blocks_and_is_given_no_zeros() {
    const BYTES: u32 = 1 << 20;
    let _turn = turn();
    let folder = TestFolder::new();
    if !folder.can_reserve() {
        eprintln!("skipped: this file system reserves no room");
        return;
    }
    let config = LogConfig {
        segment_bytes: BYTES,
        reserves_room: true,
        ..config()
    };
    let before = written_bytes();
    let data = DataFolder::open(folder.path()).unwrap();
    let mut log = open(&data, &config, GENESIS).unwrap();
    log.preparer.prepare_next().unwrap();
    append(&mut log, b"one");
    append(&mut log, b"two");
    sync(&mut log);
    let end_of_log = log.writer.end().offset.bytes() as usize;
    drop((log, data));
    let first = folder.path().join("segment-0000000000");
    let mut bytes = fs::read(&first).unwrap();
    let end = bytes.iter().rposition(|&byte| byte != 0).expect("records");
    assert!(end < end_of_log && bytes[end_of_log..].iter().all(|&byte| byte == 0));
    bytes[end] ^= 1;
    let file = fs::OpenOptions::new().write(true).open(&first).unwrap();
    file.write_all_at(&bytes[end..=end], end as u64).unwrap();
    let data = DataFolder::open(folder.path()).unwrap();
    let log = open(&data, &config, GENESIS).unwrap();
    assert_eq!(log.recovery.marked.len(), 1);
    assert_eq!(log.writer.end().offset.segment(), 2);
    for number in 0..3 {
        assert_has_room(&folder, number, u64::from(BYTES));
    }
    let written = written_bytes() - before;
    assert!(written < u64::from(BYTES) / 4, "{written} bytes");
}

#[test]
fn verification_needs_no_lock_and_writes_nothing() {
    let _turn = turn();
    let folder = TestFolder::new();
    assert!(matches!(verify_path(folder.path()), Err(OpenError::NoLog)));
    assert!(
        fs::read_dir(folder.path()).unwrap().next().is_none(),
        "a check made a file"
    );
    assert!(matches!(
        verify_path(Path::new("/nonexistent")),
        Err(OpenError::Io { .. })
    ));
    let data = DataFolder::open(folder.path()).unwrap();
    let mut log = open(&data, &config(), GENESIS).unwrap();
    append(&mut log, b"one");
    assert_eq!(verify_path(folder.path()).unwrap().record_count, 2);
}

#[test]
fn a_folder_is_locked_once() {
    let _turn = turn();
    let folder = TestFolder::new();
    let first = DataFolder::open(folder.path()).unwrap();
    let Err(LockError::Held {
        folder: named,
        holder_pid,
    }) = DataFolder::open(folder.path())
    else {
        panic!("locked twice");
    };
    assert_eq!(
        (named.as_path(), holder_pid),
        (folder.path(), Some(std::process::id()))
    );
    let log = open(&first, &config(), GENESIS).unwrap();
    drop(first);
    assert!(
        DataFolder::open(folder.path()).is_err(),
        "an open log keeps the lock"
    );
    drop(log);
    DataFolder::open(folder.path()).unwrap();
}

#[test]
fn a_folder_whose_lock_file_was_removed_is_locked_all_the_same() {
    let _turn = turn();
    let folder = TestFolder::new();
    let held = DataFolder::open(folder.path()).unwrap();
    fs::remove_file(folder.path().join("lock")).unwrap();
    for _ in 0..2 {
        assert!(matches!(
            DataFolder::open(folder.path()),
            Err(LockError::Held {
                holder_pid: None,
                ..
            })
        ));
    }
    drop(held);
    DataFolder::open(folder.path()).unwrap();
}

#[test]
fn a_folder_is_locked_for_reading_without_a_write() {
    let _turn = turn();
    let folder = TestFolder::new();
    let lock = folder.path().join("lock");
    let reading = DataFolder::open_to_read(folder.path()).unwrap();
    assert!(!lock.exists(), "a file was made");
    for held in [DataFolder::open, DataFolder::open_to_read] {
        assert!(matches!(held(folder.path()), Err(LockError::Held { .. })));
    }
    drop(reading);
    fs::write(&lock, "of another process").unwrap();
    let reading = DataFolder::open_to_read(folder.path()).unwrap();
    assert_eq!(fs::read_to_string(&lock).unwrap(), "of another process");
    assert!(DataFolder::open(folder.path()).is_err());
    drop(reading);
    // One of a version that locks the file alone.
    let file = fs::File::open(&lock).unwrap();
    file.lock().unwrap();
    for held in [DataFolder::open, DataFolder::open_to_read] {
        assert!(matches!(held(folder.path()), Err(LockError::Held { .. })));
    }
    assert!(DataFolder::open_to_read(Path::new("/nonexistent")).is_err());
}

/// Runs itself as a child that holds the lock and says so, and is then killed with SIGKILL.
#[test]
fn the_lock_refuses_a_second_process_and_is_free_after_kill_9() {
    let _turn = turn();
    if let Some(path) = std::env::var_os(CHILD_FOLDER) {
        let data = DataFolder::open(Path::new(&path)).unwrap();
        let mut log = open(&data, &config(), GENESIS).unwrap();
        append(&mut log, b"of the killed process");
        // Past the test harness's capture, which would hold it back until the test ends.
        use std::io::Write;
        let mut stderr = std::io::stderr();
        stderr.write_all(b"locked\n").unwrap();
        // Holds on until it is killed: its standard input never ends before.
        std::io::stdin().read_line(&mut String::new()).unwrap();
        return;
    }
    let folder = TestFolder::new();
    let test = "the_lock_refuses_a_second_process_and_is_free_after_kill_9";
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(CHILD_FOLDER, folder.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let stderr = BufReader::new(child.stderr.take().unwrap());
    let is_locked = stderr.lines().any(|line| line.unwrap() == "locked");
    let refused = DataFolder::open(folder.path()).map(drop);
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(is_locked, "the child did not start");
    let Err(LockError::Held { holder_pid, .. }) = refused else {
        panic!("{refused:?}")
    };
    assert_eq!(holder_pid, Some(child.id()));
    let data = DataFolder::open(folder.path()).unwrap();
    let log = open(&data, &config(), GENESIS).unwrap();
    assert_eq!(payloads(&log.reader), [b"of the killed process"]);
}

#[test]
fn a_lease_is_replaced_whole_and_missing_is_told_from_damaged() {
    let _turn = turn();
    let folder = TestFolder::new();
    let data = DataFolder::open(folder.path()).unwrap();
    let mut lease = LeaseFile::new(&data);
    assert_eq!(lease.read().unwrap(), LeaseRead::Missing);
    for payload_bytes in [0, 1, 48, LEASE_PAYLOAD_BYTES_MAX] {
        let payload = payload(1, payload_bytes);
        lease.replace(&payload).unwrap();
        assert_eq!(lease.read().unwrap(), LeaseRead::Present(payload));
    }
    let too_large = lease.replace(&[0; LEASE_PAYLOAD_BYTES_MAX + 1]);
    assert!(matches!(
        too_large,
        Err(LeaseError::TooLarge { payload_bytes: 513 })
    ));
    let file = folder.path().join("lease");
    let whole = fs::read(&file).unwrap();
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        fs::write(&file, &bytes).unwrap();
        assert!(
            matches!(lease.read().unwrap(), LeaseRead::Damaged(_)),
            "byte {at}"
        );
        fs::write(&file, &whole[..at]).unwrap();
        assert!(
            matches!(lease.read().unwrap(), LeaseRead::Damaged(_)),
            "length {at}"
        );
    }
}

#[test]
fn power_lost_at_every_step_of_replacing_a_lease_leaves_the_old_or_the_new_one() {
    let _turn = turn();
    let memory = MemoryBackend::new();
    LeaseFile::new(&DataFolder::in_memory(&memory))
        .replace(b"old")
        .unwrap();
    let mut seen = Vec::new();
    for step in 0..20 {
        let memory = memory.process_kill();
        memory.power_off_after(step);
        let done = LeaseFile::new(&DataFolder::in_memory(&memory))
            .replace(b"new")
            .is_ok();
        for seed in 0..16 {
            let mut random = support::Random(seed + 1);
            let after = memory.power_cut(|_| random.coin());
            let read = LeaseFile::new(&DataFolder::in_memory(&after))
                .read()
                .unwrap();
            let LeaseRead::Present(payload) = read else {
                panic!("step {step}: {read:?}")
            };
            assert!(
                payload == b"new" || (payload == b"old" && !done),
                "step {step}"
            );
            seen.push(payload);
        }
        // A lease that a new run reads is durable, whatever the dead run did.
        let after = memory.process_kill();
        let read = LeaseFile::new(&DataFolder::in_memory(&after))
            .read()
            .unwrap();
        let again = after.power_cut(|_| false);
        assert_eq!(
            LeaseFile::new(&DataFolder::in_memory(&again))
                .read()
                .unwrap(),
            read
        );
    }
    assert!(seen.contains(&b"old".to_vec()) && seen.contains(&b"new".to_vec()));
}

#[test]
fn unfinished_files_of_a_dead_run_are_removed_and_those_of_others_kept() {
    let _turn = turn();
    let memory = MemoryBackend::new();
    support::small_log(&memory, 3, &[3]);
    for name in [
        "lease.new",
        "segment-0000000001.new",
        "watermark.new",
        "notes.new",
    ] {
        memory.set_file(name, b"x");
    }
    drop(support::open_memory(&memory));
    let names = memory.file_names();
    assert_eq!(names, ["notes.new", "segment-0000000000", "watermark"]);
    edit(&memory, "notes.new", |bytes| assert_eq!(bytes, b"x"));
}

/// How many bytes of a file this process has in memory, by its own maps.
#[cfg(target_os = "linux")]
fn mapped_bytes(file: &str) -> u64 {
    let maps = fs::read_to_string("/proc/self/smaps").expect("the system tells");
    let mut lines = maps.lines().skip_while(|line| !line.ends_with(file));
    let resident = lines.find_map(|line| line.strip_prefix("Rss:"));
    let kib = resident.expect("the file is mapped").trim();
    let kib: u64 = kib.trim_end_matches(" kB").parse().expect("a number");
    kib * 1024
}

#[cfg(target_os = "linux")]
#[test]
fn a_growing_log_holds_the_memory_of_its_newest_segments_and_reads_the_others_from_the_disk() {
    let _turn = turn();
    let folder = TestFolder::new();
    let data = DataFolder::open(folder.path()).unwrap();
    let config = LogConfig {
        segment_bytes: 1 << 20,
        ..config()
    };
    let mut log = open(&data, &config, GENESIS).unwrap();
    let mut expected = Vec::new();
    let file = |number: u32| format!("{}/segment-{number:010}", folder.path().display());
    while log.writer.end().offset.segment() < 6 {
        log.preparer.prepare_next().unwrap();
        expected.push(payload(expected.len() as u64, 60_000));
        append(&mut log, &expected[expected.len() - 1]);
        // Nothing is given back that is not synced.
        if log.writer.end().offset.segment() < 3 {
            for number in 0..=log.writer.end().offset.segment() {
                assert!(mapped_bytes(&file(number)) > 0, "segment {number}");
            }
        } else {
            sync(&mut log);
        }
    }
    log.preparer.prepare_next().unwrap();
    for number in 0..=4 {
        assert_eq!(mapped_bytes(&file(number)), 0, "segment {number}");
    }
    for number in 5..=6 {
        assert!(mapped_bytes(&file(number)) > 0, "segment {number}");
    }
    assert_eq!(payloads(&log.reader), expected);
}

/// One whose removal was refused, or that a replacement that failed has left.
#[test]
fn a_file_that_is_made_where_a_longer_one_was_left_has_nothing_of_it() {
    let _turn = turn();
    let folder = TestFolder::new();
    let data = DataFolder::open(folder.path()).unwrap();
    fs::write(folder.path().join("lease.new"), [0xff; 600]).unwrap();
    let mut lease = LeaseFile::new(&data);
    lease.replace(b"x").unwrap();
    assert_eq!(lease.read().unwrap(), LeaseRead::Present(b"x".to_vec()));
    let bytes = fs::read(folder.path().join("lease")).unwrap();
    assert_eq!(bytes.len(), 8 + 4 + 4 + 1 + 32);
}
