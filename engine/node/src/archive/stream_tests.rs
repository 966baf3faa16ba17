//! A stream on a disk that is full, fails or cannot be opened while a start executes.

use super::*;
use crate::archive::ArchiveConfig;
use crate::archive::{Archive, ArchiveError};
use crate::state_machine::{Output, SessionId};
use crate::streams::PublicRing;
use crate::streams::{Block, PublicStream};
use crate::testing::TemporaryFolder;
use quorate_proof::events::EventHistory;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

fn results(height: u64, outputs: &[&[u8]]) -> BlockResults {
    let mut results = BlockResults::new();
    (results.height, results.time_ns) = (height, height * 10);
    let mut output = Output::new();
    output.to_session(SessionId([1; 16]), b"private");
    outputs.iter().for_each(|bytes| output.to_public(bytes));
    results.collect(Some(0), &output);
    results
}

fn stream_of(bytes_max: usize, opened: Option<Result<Archive, ArchiveError>>) -> PublicStream {
    Stream::new(PublicRing::new(bytes_max), opened)
}

fn archive_config(folder: &TemporaryFolder) -> ArchiveConfig {
    ArchiveConfig {
        folder: folder.path().join("public"),
        genesis_hash: [7; 32],
        bytes_max: crate::archive::ARCHIVE_BYTES_MIN,
    }
}

/// A start that executes blocks 1 to 200 on a full disk, with a ring of so many bytes.
fn started_on_a_full_disk(folder: &TemporaryFolder, bytes_max: usize) -> PublicStream {
    let archive = Archive::open(archive_config(folder));
    let first = folder.path().join(format!("public/{:020}.events", 1));
    std::os::unix::fs::symlink("/dev/full", &first).unwrap();
    let mut stream = stream_of(bytes_max, Some(archive));
    stream.place(&EventHistory::default());
    for height in 1..=200 {
        stream.push(&results(height, &[b"event"]));
    }
    std::fs::remove_file(first).unwrap();
    stream
}

#[test]
fn what_a_start_executes_on_a_full_disk_waits_in_the_ring() {
    let folder = TemporaryFolder::new("streams-full");
    let mut stream = started_on_a_full_disk(&folder, 1 << 20);
    let archived = stream.archived.clone().unwrap();
    assert!(archived.is_waiting() && !archived.has_failed());
    stream.finish(&EventHistory::default());
    let archive = stream.archive.unwrap();
    assert_eq!((archive.first(), archive.end()), (1, 201));
    assert!(!archived.has_failed());
}

/// It would begin anew above what the ring has passed.
#[test]
fn an_archive_that_the_ring_passes_on_a_full_disk_is_left_as_it_is() {
    let folder = TemporaryFolder::new("streams-passed");
    let mut stream = started_on_a_full_disk(&folder, 1 << 10);
    let archived = stream.archived.clone().unwrap();
    stream.finish(&EventHistory::default());
    assert!(stream.archive.is_none() && archived.has_failed());
    assert!(!archived.reaches(1), "snapshots wait for the next start");
}

/// The results of a block with one long event, and the tree over those before it.
fn long_blocks(count: u64) -> impl Iterator<Item = (BlockResults, EventHistory)> {
    let mut history = EventHistory::default();
    (1..=count).map(move |height| {
        let (results, before) = (results(height, &[&[7; 40_000]]), history.clone());
        history.push(&Block::of(&results).leaf(height));
        (results, before)
    })
}

/// A start that executes all blocks from this height on, and what bounds it leaves.
fn start_at(
    height: u64,
    config: ArchiveConfig,
    place: impl FnOnce(&mut PublicStream, &EventHistory),
) -> Option<(u64, u64)> {
    let mut stream = stream_of(1 << 20, Some(Archive::open(config)));
    let mut place = Some(place);
    for (results, before) in long_blocks(20).skip_while(|(block, _)| block.height < height) {
        if let Some(place) = place.take() {
            place(&mut stream, &before);
        }
        stream.push(&results);
    }
    stream.finish(&EventHistory::default());
    let has_failed = stream
        .archived
        .is_some_and(|archived| archived.has_failed());
    assert_eq!(has_failed, stream.archive.is_none());
    stream.archive.map(|one| (one.first(), one.end()))
}

/// How many files this process may have open.
fn limit_files(current: u64) {
    let limits = getrlimit(Resource::Nofile);
    let current = Some(current);
    setrlimit(Resource::Nofile, Rlimit { current, ..limits }).unwrap();
}

/// Set in the environment of a process of its own: the folder.
const POOR: &str = "QUORATE_TEST_POOR_STREAM";

/// Newer segments are gone by then, and what comes would be appended behind a hole.
#[test]
fn an_archive_whose_place_is_not_found_for_want_of_descriptors_is_left_to_the_next_start() {
    let folder = TemporaryFolder::new("streams-poor");
    let config = ArchiveConfig {
        folder: std::env::var_os(POOR).map_or_else(|| folder.path().join("public"), Into::into),
        ..archive_config(&folder)
    };
    if std::env::var_os(POOR).is_some() {
        let bounds = start_at(5, config, |stream, before| {
            limit_files(3);
            stream.place(before);
            limit_files(64);
        });
        assert_eq!(bounds, None, "nothing may be appended");
        return;
    }
    let all = Some((1, 21));
    assert_eq!(start_at(1, config.clone(), PublicStream::place), all);
    let name = "archive::stream::tests::an_archive_whose_place_is_not_found_for_want_of_descriptors_is_\
                left_to_the_next_start";
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args([name, "--exact", "--nocapture"])
        .env(POOR, &config.folder)
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success() && told.contains("1 passed"),
        "{told}"
    );
    assert_eq!(start_at(5, config, PublicStream::place), all);
}

#[test]
fn snapshots_wait_for_an_archive_that_cannot_be_opened() {
    let folder = TemporaryFolder::new("streams-closed");
    std::fs::write(folder.path().join("public"), b"no folder").unwrap();
    let archive = Archive::open(archive_config(&folder));
    let stream = stream_of(1 << 20, Some(archive));
    let archived = stream.archived.unwrap();
    assert!(stream.archive.is_none() && archived.has_failed());
    assert!(!archived.reaches(1));
    assert!(stream_of(1 << 20, None).archived.is_none());
}
