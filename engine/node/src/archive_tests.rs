//! What the archive of the public stream keeps, forgets and refuses.

use super::*;
use crate::client_wire::PublicFrame;
use crate::client_wire::ServerFrame;
use crate::results::BlockResults;
use crate::state_machine::Output;
use crate::streams::{Block, StreamPosition, Unavailable};
use crate::testing::TemporaryFolder;
use quorate_proof::events::EventHistory;

fn config(folder: &TemporaryFolder) -> ArchiveConfig {
    ArchiveConfig {
        folder: folder.path().join("public"),
        genesis_hash: [7; 32],
        bytes_max: ARCHIVE_BYTES_MIN,
    }
}

fn open(folder: &TemporaryFolder) -> Archive {
    Archive::open(config(folder)).unwrap()
}

fn pos(height: u64, index: u32) -> StreamPosition {
    StreamPosition { height, index }
}

/// Every third block has none, the others one or two events.
fn block(height: u64, bytes: usize) -> Block {
    let mut results = BlockResults::new();
    (results.height, results.time_ns) = (height, height * 10);
    let mut output = Output::new();
    for number in 0..height % 3 {
        let event = [&height.to_le_bytes()[..], &vec![number as u8; bytes]];
        output.to_public(&event.concat());
    }
    results.collect(Some(0), &output);
    Block::of(&results)
}

fn append(archive: &mut Archive, heights: std::ops::RangeInclusive<u64>, bytes: usize) {
    for height in heights {
        archive.append(height, &block(height, bytes)).unwrap();
    }
}

/// What tells of all events before a block, where each event has so many bytes besides its height.
fn before(height: u64, bytes: usize) -> EventHistory {
    let mut history = EventHistory::default();
    (1..height).for_each(|height| history.push(&block(height, bytes).leaf(height)));
    history
}

/// Addresses of the events between two positions, read piece by piece through the frames.
fn told(
    archive: &mut Archive,
    from: StreamPosition,
    to: StreamPosition,
    piece: usize,
) -> Result<Vec<StreamPosition>, Unavailable> {
    let (mut at, mut told) = (from, Vec::new());
    loop {
        let chunk = archive.read((at, to), piece)?;
        let end = chunk.end;
        while at < end {
            let mut frame = PublicFrame::default();
            frame.begin(None, 1, at);
            let next = chunk.write(at, &mut frame);
            let Ok((_, ServerFrame::Public(public))) = ServerFrame::decode(frame.bytes()) else {
                panic!("not public");
            };
            assert_eq!((public.from(), public.end()), (at, next));
            for event in public {
                assert_eq!(event.time_ns, event.position.height * 10);
                assert_eq!(event.bytes[..8], event.position.height.to_le_bytes());
                told.push(event.position);
            }
            at = next;
        }
        if at >= to || at.height >= archive.end() {
            return Ok(told);
        }
    }
}

fn expected(from: StreamPosition, to: StreamPosition) -> Vec<StreamPosition> {
    let heights = from.height..=to.height;
    let all =
        heights.flat_map(|height| (0..height as u32 % 3).map(move |index| pos(height, index)));
    all.filter(|at| *at >= from && *at < to).collect()
}

#[test]
fn every_position_of_every_segment_is_told_as_it_was_published() {
    let folder = TemporaryFolder::new("archive");
    let mut archive = open(&folder);
    archive.go_on_from(&EventHistory::default()).unwrap();
    append(&mut archive, 1..=600, 1000);
    assert!(archive.segments.len() > 3, "{}", archive.segments.len());
    let open = archive.segments.iter().filter(|one| one.is_open());
    assert_eq!(open.count(), 1, "complete ones cost no descriptor");
    for (from, to) in [
        (pos(1, 0), pos(601, 0)),
        (pos(1, 1), pos(2, 1)),
        (pos(2, 2), pos(599, 1)),
        (pos(3, 0), pos(3, 0)),
        (pos(300, 0), StreamPosition::LIVE),
    ] {
        let wanted = expected(from, to.min(pos(601, 0)));
        for piece in [1, 5_000, 1 << 30] {
            let all = told(&mut archive, from, to, piece);
            assert_eq!(all.as_ref(), Ok(&wanted), "{from} to {to} by {piece}");
        }
    }
    for nowhere in [pos(1, 2), pos(2, 3), pos(3, 1), pos(600, 1)] {
        let refused = archive.read((nowhere, nowhere), 1).unwrap_err();
        assert_eq!(refused, Unavailable::Nowhere, "{nowhere}");
    }
    let live = StreamPosition::LIVE;
    let refused = |archive: &mut Archive, from| archive.read((from, live), 1).unwrap_err();
    assert_eq!(refused(&mut archive, pos(0, 0)), Unavailable::Gone);
    assert_eq!(refused(&mut archive, pos(601, 0)), Unavailable::Ahead);
}

/// Which the frames are refused for that `told` reads, where it is told beyond them.
#[test]
fn a_range_up_to_a_place_beyond_the_events_of_its_block_ends_with_these() {
    let folder = TemporaryFolder::new("archive-beyond");
    let mut archive = open(&folder);
    archive.go_on_from(&EventHistory::default()).unwrap();
    append(&mut archive, 1..=12, 100);
    for (from, to, end) in [
        (pos(1, 0), pos(5, 7), pos(5, 2)),
        (pos(5, 0), pos(5, u32::MAX), pos(5, 2)),
        (pos(5, 2), pos(5, 7), pos(5, 2)),
        (pos(1, 0), pos(6, 1), pos(6, 0)),
        (pos(11, 1), pos(12, 9), pos(12, 0)),
    ] {
        let chunk = archive.read((from, to), 1 << 20).unwrap();
        assert_eq!(chunk.end, end, "{from} to {to}");
        let mut frame = PublicFrame::default();
        frame.begin(None, 1, from);
        assert_eq!(chunk.write(from, &mut frame), end);
        let Ok((_, ServerFrame::Public(public))) = ServerFrame::decode(frame.bytes()) else {
            panic!("{from} to {to}: no stretch of the stream");
        };
        let told: Vec<_> = public.map(|event| event.position).collect();
        assert_eq!(told, expected(from, to), "{from} to {to}");
    }
}

/// What a peer gives of the blocks of these heights.
fn stretch(heights: std::ops::RangeInclusive<u64>, bytes: usize) -> Vec<(u64, Arc<Block>)> {
    let all = heights.map(|height| (height, Arc::new(block(height, bytes))));
    all.filter(|(_, block)| block.outputs_len() > 0).collect()
}

#[test]
fn a_stretch_of_a_peer_has_its_name_only_when_it_is_on_the_disk() {
    let folder = TemporaryFolder::new("archive-stretch-unsynced");
    let mut archive = open(&folder);
    archive.go_on_from(&before(31, 100)).unwrap();
    append(&mut archive, 31..=40, 100);
    let (older, events) = (before(21, 100), stretch(21..=30, 100));
    // It takes what is written, and no disk holds it: to sync it is refused.
    let part = archive.path(21).with_extension(&PART_SUFFIX[1..]);
    std::os::unix::fs::symlink("/dev/null", part).unwrap();
    let refused = archive.prepend(&older, &events);
    assert!(
        matches!(refused, Err(ArchiveError::Io { .. })),
        "{refused:?}"
    );
    assert_eq!(archive.first(), 31);
    assert!(archive.path(21).symlink_metadata().is_err());
    // And on a disk that holds it.
    let taken = archive.prepend(&older, &events).unwrap();
    assert_eq!((taken, archive.first()), (Prepended::Taken, 21));
    let (from, to) = (pos(21, 0), pos(41, 0));
    let all = told(&mut archive, from, to, 999).unwrap();
    assert_eq!(all, expected(from, to));
}

/// It would be compared with what an honest peer sends, and given to peers.
#[test]
fn a_head_that_is_damaged_is_believed_at_no_look() {
    let folder = TemporaryFolder::new("archive-head");
    let mut archive = open(&folder);
    archive.go_on_from(&before(31, 1000)).unwrap();
    append(&mut archive, 31..=600, 1000);
    archive.sync().unwrap();
    let path = archive.segments[0].path.clone();
    drop(archive);
    let mut bytes = std::fs::read(&path).unwrap();
    // In the first top of the tree.
    bytes[48] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let mut archive = open(&folder);
    let (older, events) = (before(21, 1000), stretch(21..=30, 1000));
    for look in 0..3 {
        assert!(archive.stretch_before(32).is_none(), "look {look}");
        let taken = archive.prepend(&older, &events).unwrap();
        assert_eq!(taken, Prepended::Headless, "look {look}");
    }
    assert_eq!(archive.first(), 31);
}

#[test]
fn what_had_to_go_for_want_of_room_leaves_no_room_for_what_is_older() {
    let folder = TemporaryFolder::new("archive-full");
    let mut archive = open(&folder);
    archive.go_on_from(&EventHistory::default()).unwrap();
    // Half of the budget in one block, which goes whole.
    append(&mut archive, 1..=1, ARCHIVE_BYTES_MIN as usize / 2);
    assert!(archive.room() > 0, "nothing had to go yet");
    let mut height = 2;
    while archive.first() == 1 {
        append(&mut archive, height..=height, 1000);
        height += 1;
    }
    let left = ARCHIVE_BYTES_MIN - archive.bytes();
    assert!(left > ARCHIVE_BYTES_MIN / 3, "{left}");
    assert_eq!(archive.room(), 0, "it would be fetched again and go again");
}

/// The sync of a later segment says nothing of an earlier one.
#[test]
fn no_segment_is_begun_before_the_one_before_it_is_synced() {
    let folder = TemporaryFolder::new("archive-unsynced");
    let mut archive = open(&folder);
    // It takes what is written, and no disk holds it: to sync it is refused.
    std::os::unix::fs::symlink("/dev/null", archive.path(1)).unwrap();
    archive.go_on_from(&EventHistory::default()).unwrap();
    let mut refused = None;
    for height in 1..1_000 {
        let appended = archive.append(height, &block(height, 1000));
        refused = appended.err();
        assert_eq!(archive.segments.len(), 1, "height {height}");
        if refused.is_some() {
            break;
        }
    }
    assert!(matches!(refused, Some(ArchiveError::Sync { .. })));
}

/// A disk that has no room for what is written.
fn no_room() -> std::fs::File {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).open("/dev/full").unwrap()
}

#[test]
fn what_found_no_room_on_the_disk_is_written_when_there_is_room() {
    let folder = TemporaryFolder::new("archive-no-room");
    let mut archive = open(&folder);
    archive.go_on_from(&EventHistory::default()).unwrap();
    append(&mut archive, 1..=20, 1000);
    let last = archive.segments.back_mut().unwrap();
    let file = last.swap_file(no_room());
    for _ in 0..2 {
        assert!(archive.flush().unwrap_err().is_for_want_of_room());
        assert!(archive.sync().unwrap_err().is_for_want_of_room());
        // Nothing of it is taken for damage.
        let refused = archive.read((pos(1, 0), pos(9, 0)), 1).unwrap_err();
        assert_eq!(refused, Unavailable::Gone);
    }
    archive
        .segments
        .back_mut()
        .unwrap()
        .swap_file(file.unwrap());
    append(&mut archive, 21..=25, 1000);
    // The next segment has no room for its head.
    let mut height = 26;
    while archive.append(height, &block(height, 1000)).is_ok() {
        height += 1;
        let next = archive.path(height);
        if height > 30 && !next.exists() {
            std::os::unix::fs::symlink("/dev/full", next).unwrap();
        }
    }
    let (from, to) = (pos(1, 0), pos(height, 0));
    for _ in 0..3 {
        let again = archive.append(height, &block(height, 1000));
        assert!(again.unwrap_err().is_for_want_of_room());
        assert_eq!((archive.first(), archive.end()), (1, height));
    }
    let all = told(&mut archive, from, to, 9_999);
    assert_eq!(all, Ok(expected(from, to)), "readers are told meanwhile");
    for name in std::fs::read_dir(&archive.config.folder).unwrap() {
        let path = name.unwrap().path();
        if path.is_symlink() {
            std::fs::remove_file(path).unwrap();
        }
    }
    append(&mut archive, height..=600, 1000);
    archive.sync().unwrap();
    drop(archive);
    let mut archive = open(&folder);
    archive.go_on_from(&before(601, 1000)).unwrap();
    let (from, to) = (pos(1, 0), pos(601, 0));
    let all = told(&mut archive, from, to, 9_999);
    assert_eq!(all, Ok(expected(from, to)));
}

/// On a device that is full, records wait in memory that nobody can read.
#[test]
fn what_lies_before_the_segment_that_has_no_room_is_still_told() {
    let folder = TemporaryFolder::new("archive-no-room-told");
    let mut archive = open(&folder);
    archive.go_on_from(&EventHistory::default()).unwrap();
    append(&mut archive, 1..=600, 1000);
    let last = archive.segments.back_mut().unwrap();
    let first = last.first;
    last.swap_file(no_room());
    let (from, to) = (pos(1, 0), pos(first, 0));
    assert!(archive.flush().is_err(), "something waits");
    let all = told(&mut archive, from, to, 9_999);
    assert_eq!(all, Ok(expected(from, to)));
    let chunk = archive.read((pos(first - 1, 0), StreamPosition::LIVE), 1 << 20);
    assert_eq!(chunk.unwrap().end, to, "and no further");
    let refused = archive.read((to, StreamPosition::LIVE), 1 << 20);
    assert_eq!(refused.unwrap_err(), Unavailable::Gone);
}

#[test]
fn a_torn_end_is_cut_and_what_is_executed_again_is_written_again() {
    let folder = TemporaryFolder::new("archive-torn");
    let mut archive = open(&folder);
    archive.go_on_from(&EventHistory::default()).unwrap();
    append(&mut archive, 1..=50, 100);
    archive.flush().unwrap();
    let path = archive.segments.back().unwrap().path.clone();
    drop(archive);
    let whole = std::fs::read(&path).unwrap();
    for cut in [whole.len() - 1, whole.len() / 2, 60, 48, 20, 0] {
        std::fs::write(&path, &whole[..cut]).unwrap();
        let mut archive = open(&folder);
        assert!(archive.end() <= 51);
        // The snapshot is of a block that the archive had durably, or of none.
        let from = if archive.end() > 10 { 10 } else { 1 };
        archive.go_on_from(&before(from, 100)).unwrap();
        append(&mut archive, from..=50, 100);
        let to = pos(51, 0);
        assert_eq!(
            told(&mut archive, pos(1, 0), to, 999).unwrap(),
            expected(pos(1, 0), to)
        );
        archive.flush().unwrap();
        drop(archive);
        assert_eq!(
            std::fs::read(&path).unwrap(),
            whole,
            "the same bytes, cut at {cut}"
        );
    }
}

#[test]
fn a_bit_that_turned_is_never_served() {
    let folder = TemporaryFolder::new("archive-bit");
    let mut archive = open(&folder);
    archive.go_on_from(&EventHistory::default()).unwrap();
    append(&mut archive, 1..=600, 1000);
    archive.sync().unwrap();
    let (second, third) = (archive.segments[1].first, archive.segments[2].first);
    let path = archive.segments[1].path.clone();
    drop(archive);
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let mut archive = open(&folder);
    let to = pos(601, 0);
    assert!(told(&mut archive, pos(1, 0), pos(second, 0), 9_999).is_ok());
    let refused = told(&mut archive, pos(1, 0), to, 9_999);
    assert_eq!(refused, Err(Unavailable::Gone));
    assert_eq!(archive.first(), third, "it begins behind what is damaged");
    let all = told(&mut archive, pos(third, 0), to, 9_999).unwrap();
    assert_eq!(all, expected(pos(third, 0), to));
}

#[test]
fn what_cannot_be_read_for_a_while_is_no_damage_and_stays() {
    let folder = TemporaryFolder::new("archive-unreadable");
    let mut archive = open(&folder);
    archive.go_on_from(&EventHistory::default()).unwrap();
    append(&mut archive, 1..=600, 1000);
    archive.sync().unwrap();
    let path = archive.segments[1].path.clone();
    let (aside, count) = (path.with_extension("aside"), archive.segments.len());
    assert!(count > 3, "{count}");
    drop(archive);
    let unreadable: [fn(&Path) -> std::io::Result<()>; 2] = [
        // Refused when it is opened, and when it is read.
        |path| std::os::unix::fs::symlink(path, path),
        |path| std::fs::create_dir(path),
    ];
    let (from, to) = (pos(1, 0), pos(601, 0));
    for make in unreadable {
        let mut archive = open(&folder);
        std::fs::rename(&path, &aside).unwrap();
        make(&path).unwrap();
        for _ in 0..2 {
            let refused = told(&mut archive, from, to, 9_999);
            assert_eq!(refused, Err(Unavailable::Gone));
        }
        assert_eq!((archive.first(), archive.segments.len()), (1, count));
        std::fs::remove_dir(&path).ok();
        std::fs::rename(&aside, &path).unwrap();
        let all = told(&mut archive, from, to, 9_999);
        assert_eq!(all, Ok(expected(from, to)));
    }
}

#[test]
fn a_stream_that_does_not_reach_the_start_begins_anew_there() {
    let folder = TemporaryFolder::new("archive-anew");
    let mut archive = open(&folder);
    archive.go_on_from(&EventHistory::default()).unwrap();
    append(&mut archive, 1..=20, 10);
    archive.sync().unwrap();
    drop(archive);
    // Silence at the end is kept, so that a snapshot of that block goes on from here.
    let mut archive = open(&folder);
    assert_eq!((archive.first(), archive.end()), (1, 21));
    archive.append(21, &block(21, 10)).unwrap();
    archive.sync().unwrap();
    drop(archive);
    let mut archive = open(&folder);
    assert_eq!(archive.end(), 22, "block 21 tells nothing");
    archive.go_on_from(&before(22, 10)).unwrap();
    assert_eq!(archive.first(), 1);
    drop(archive);
    let mut archive = open(&folder);
    archive.go_on_from(&before(900, 10)).unwrap();
    assert_eq!((archive.first(), archive.end()), (900, 900));
    assert!(archive.append(902, &block(902, 10)).is_err(), "no hole");
    append(&mut archive, 900..=905, 10);
    let from = pos(900, 0);
    let to = pos(906, 0);
    assert_eq!(told(&mut archive, from, to, 1).unwrap(), expected(from, to));
    archive.sync().unwrap();
    drop(archive);
    let foreign = ArchiveConfig {
        genesis_hash: [8; 32],
        ..config(&folder)
    };
    let archive = Archive::open(foreign).unwrap();
    assert_eq!((archive.first(), archive.end()), (0, 0), "another chain's");
}

/// A validator that computed wrongly and was given another state goes on with that one's events.
#[test]
fn a_stream_of_other_events_than_the_state_tells_of_begins_anew() {
    let folder = TemporaryFolder::new("archive-other-events");
    let mut archive = open(&folder);
    archive.go_on_from(&EventHistory::default()).unwrap();
    append(&mut archive, 1..=20, 10);
    archive.sync().unwrap();
    drop(archive);
    let mut archive = open(&folder);
    assert_eq!((archive.first(), archive.end()), (1, 21));
    archive.go_on_from(&before(15, 11)).unwrap();
    assert_eq!((archive.first(), archive.end()), (15, 15));
    append(&mut archive, 15..=20, 11);
    let (from, to) = (pos(15, 0), pos(21, 0));
    let refused = told(&mut archive, pos(1, 0), to, 999);
    assert_eq!(refused, Err(Unavailable::Gone));
    let all = told(&mut archive, from, to, 999).unwrap();
    assert_eq!(all, expected(from, to));
}

/// A start from a snapshot of a block does not execute that block again.
#[test]
fn a_block_is_reached_once_its_own_events_are_durable() {
    let archived = Archived::default();
    archived.synced.store(64, Ordering::Release);
    assert!(archived.reaches(63));
    assert_eq!(archived.wanted.load(Ordering::Acquire), 0);
    assert!(!archived.reaches(64), "all below 64 are durable alone");
    let wanted = archived.wanted.load(Ordering::Acquire);
    assert_eq!(wanted, 65, "somebody waits for it");
    archived.synced.store(65, Ordering::Release);
    assert!(archived.reaches(64));
}

#[test]
fn the_budget_lets_the_oldest_go_and_a_cut_goes_back_over_segments() {
    let folder = TemporaryFolder::new("archive-budget");
    let mut archive = open(&folder);
    archive.go_on_from(&EventHistory::default()).unwrap();
    append(&mut archive, 1..=3_000, 1000);
    let bytes: u64 = archive.segments.iter().map(Segment::bytes).sum();
    assert!(
        bytes <= ARCHIVE_BYTES_MIN + ARCHIVE_BYTES_MIN / 4,
        "{bytes}"
    );
    let first = archive.first();
    assert!(first > 1_000, "{first}");
    assert_eq!(
        archive.read((pos(1, 0), pos(9, 0)), 1).unwrap_err(),
        Unavailable::Gone
    );
    archive.sync().unwrap();
    drop(archive);
    for back in [2_999, 2_600, first] {
        let mut archive = open(&folder);
        archive.go_on_from(&before(back, 1000)).unwrap();
        assert_eq!((archive.first(), archive.end()), (first, back));
        append(&mut archive, back..=3_000, 1000);
        let (from, to) = (pos(archive.first(), 0), pos(3_001, 0));
        assert_eq!(
            told(&mut archive, from, to, 9_999).unwrap(),
            expected(from, to)
        );
        archive.sync().unwrap();
    }
}

#[test]
fn a_budget_that_was_lowered_holds_from_the_next_start_on() {
    let folder = TemporaryFolder::new("archive-lowered");
    let mut archive = Archive::open(ArchiveConfig {
        bytes_max: 4 * ARCHIVE_BYTES_MIN,
        ..config(&folder)
    })
    .unwrap();
    archive.go_on_from(&EventHistory::default()).unwrap();
    append(&mut archive, 1..=3_000, 1000);
    assert!(archive.bytes() > 2 * ARCHIVE_BYTES_MIN && archive.first() == 1);
    archive.sync().unwrap();
    drop(archive);
    let mut archive = open(&folder);
    archive.go_on_from(&before(3_001, 1000)).unwrap();
    assert!(archive.bytes() <= ARCHIVE_BYTES_MIN, "{}", archive.bytes());
    let first = archive.first();
    assert_eq!(archive.room(), 0, "what went is not fetched again");
    let (from, to) = (pos(first, 0), pos(3_001, 0));
    let all = told(&mut archive, from, to, 9_999);
    assert_eq!(all, Ok(expected(from, to)), "the newest stay");
    append(&mut archive, 3_001..=3_010, 1000);
}

#[test]
fn an_archive_that_is_not_wanted_any_more_is_removed_and_nothing_else() {
    let folder = TemporaryFolder::new("archive-unwanted");
    let path = config(&folder).folder;
    Archive::remove(&path).unwrap();
    for is_shared in [true, false] {
        let mut archive = open(&folder);
        archive.go_on_from(&EventHistory::default()).unwrap();
        append(&mut archive, 1..=600, 1000);
        drop(archive);
        let (other, part) = (path.join("notes"), path.join("x.part"));
        std::fs::write(part, b"").unwrap();
        if is_shared {
            std::fs::write(&other, b"").unwrap();
        }
        Archive::remove(&path).unwrap();
        assert_eq!(path.exists(), is_shared);
        if is_shared {
            assert_eq!(std::fs::read_dir(&path).unwrap().count(), 1);
            std::fs::remove_file(other).unwrap();
        }
    }
}
