//! What an archive of private outputs gives to whom, what it passes over, forgets and refuses.

use super::*;
use crate::archive::{ARCHIVE_BYTES_MIN, ArchiveConfig};
use crate::client_wire::{PrivateItem, PrivateState, ServerFrame};
use crate::private::PrivateRing;
use crate::results::BlockResults;
use crate::state_machine::Output;
use crate::testing::TemporaryFolder;
use std::path::PathBuf;

type Outputs = Store<PrivateOutputs>;
/// Everything that is told of an output.
type Told = (StreamPosition, u64, Option<u32>, bool, Vec<u8>);

/// A session's name is a hash.
fn session(number: u8) -> SessionId {
    let hash = blake3::hash(&[number]);
    SessionId(std::array::from_fn(|place| hash.as_bytes()[place]))
}

fn config(folder: &TemporaryFolder) -> ArchiveConfig {
    ArchiveConfig {
        folder: folder.path().join("private"),
        genesis_hash: [7; 32],
        bytes_max: ARCHIVE_BYTES_MIN,
    }
}

fn pos(height: u64, index: u32) -> StreamPosition {
    StreamPosition { height, index }
}

const ALL: (StreamPosition, StreamPosition) = (StreamPosition::BEGIN, StreamPosition::LIVE);

/// A block whose outputs go to these in turn: by a timer at first, then by commands.
fn results(height: u64, whose: &[u8], bytes: usize) -> BlockResults {
    let mut results = BlockResults::new();
    (results.height, results.time_ns) = (height, height * 10);
    for (place, number) in whose.iter().enumerate() {
        let mut output = Output::new();
        let text = [
            &height.to_le_bytes()[..],
            &[*number],
            &vec![place as u8; bytes],
        ];
        output.to_session(session(*number), &text.concat());
        let command = u32::try_from(place).unwrap().checked_sub(1);
        results.collect(command, &output);
    }
    results
}

/// Every third block has nothing, the others something of one or both of the first sessions.
fn mixed(height: u64) -> BlockResults {
    let whose: &[u8] = match height % 3 {
        0 => &[],
        1 => &[1, 2, 1],
        _ => &[2],
    };
    results(height, whose, 1_000)
}

fn open(folder: &TemporaryFolder, height: u64) -> Outputs {
    let mut archive = Outputs::open(config(folder)).unwrap();
    archive.go_on_from(&Height(height - 1)).unwrap();
    archive
}

/// One whose budget and segments are far longer.
fn wide(folder: &TemporaryFolder) -> Outputs {
    let config = ArchiveConfig {
        bytes_max: 1 << 30,
        ..config(folder)
    };
    let mut archive = Outputs::open(config).unwrap();
    archive.go_on_from(&Height(0)).unwrap();
    archive
}

fn append(
    archive: &mut Outputs,
    heights: std::ops::RangeInclusive<u64>,
    of: impl Fn(u64) -> BlockResults,
) {
    for height in heights {
        archive.append(height, &Block::of(&of(height))).unwrap();
    }
    archive.sync().unwrap();
}

fn told_in(frame: PrivateFrame, end: StreamPosition) -> Vec<Told> {
    let mut frame = frame;
    frame.finish(PrivateState::Done, end, pos(1, 0), StreamPosition::BEGIN);
    let bytes = frame.into_bytes();
    let Ok((_, ServerFrame::Private(answer))) = ServerFrame::decode(&bytes) else {
        panic!("an answer")
    };
    let told = |item: PrivateItem<'_>| {
        let (command, is_in_result) = (item.command, item.is_in_result);
        let bytes = item.bytes.to_vec();
        (item.address, item.time_ns, command, is_in_result, bytes)
    };
    answer.map(told).collect()
}

/// All that is told to a session between two positions, piece by piece, and in how many.
fn read_all(
    archive: &mut Outputs,
    session: SessionId,
    (from, to): (StreamPosition, StreamPosition),
) -> Result<(Vec<Told>, usize), u64> {
    let (mut at, mut told, mut pieces) = (from, Vec::new(), 0);
    let to = to.min(StreamPosition::before(archive.end()));
    while at < to {
        let range = PrivateRange::of(session, at, to);
        match read(archive, &range).unwrap() {
            PrivatePiece::Here(chunk, _) => {
                let mut frame = PrivateFrame::new(None, 7);
                let next = write(&range, &chunk, &mut frame);
                assert!(next > at, "it goes on");
                told.extend(told_in(frame, next));
                at = next;
            }
            PrivatePiece::Gone(first) => return Err(first),
            PrivatePiece::Busy => panic!("busy"),
        }
        pieces += 1;
    }
    Ok((told, pieces))
}

/// The same from a ring that has everything.
fn ring_tells(
    heights: std::ops::RangeInclusive<u64>,
    of: impl Fn(u64) -> BlockResults,
    session: SessionId,
    (from, to): (StreamPosition, StreamPosition),
) -> Vec<Told> {
    let mut ring = PrivateRing::new(usize::MAX);
    let last = *heights.end();
    heights.for_each(|height| ring.push(&of(height)));
    let (mut at, mut told) = (from, Vec::new());
    let to = to.min(StreamPosition::before(last + 1));
    while at < to {
        let range = PrivateRange::of(session, at, to);
        let mut frame = PrivateFrame::new(None, 7);
        let next = ring.write(&range, to, &mut frame);
        told.extend(told_in(frame, next));
        at = next;
    }
    told
}

/// Files of a folder with this end, by name.
fn files(folder: &TemporaryFolder, end: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(config(folder).folder).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut paths: Vec<_> = paths
        .filter(|path| path.extension().is_some_and(|found| found == end))
        .collect();
    paths.sort();
    paths
}

#[test]
fn each_session_reads_all_that_is_its_own_once_and_in_order_as_the_ring_tells_it() {
    let folder = TemporaryFolder::new("private-archive");
    let mut archive = open(&folder, 1);
    append(&mut archive, 1..=400, mixed);
    assert!(files(&folder, "events").len() > 3);
    for (number, count) in [(1, 2 * 134), (2, 134 + 133), (3, 0)] {
        for range in [
            ALL,
            (pos(1, 1), pos(4, 2)),
            (pos(1, 2), pos(400, 1)),
            (pos(200, 0), StreamPosition::LIVE),
            (pos(3, 0), pos(3, 0)),
        ] {
            let (told, _) = read_all(&mut archive, session(number), range).unwrap();
            let expected = ring_tells(1..=400, mixed, session(number), range);
            assert_eq!(told, expected, "{number} {range:?}");
            assert!(range != ALL || told.len() == count, "{number}");
        }
    }
    // Of what was never archived nothing is told.
    let range = PrivateRange::of(session(1), pos(0, 0), StreamPosition::LIVE);
    assert!(matches!(
        read(&mut archive, &range),
        Ok(PrivatePiece::Gone(1))
    ));
}

/// A block with more than one answer takes, of one session beside another one.
#[test]
fn a_long_block_comes_in_several_answers_without_hole_or_double() {
    let folder = TemporaryFolder::new("private-long");
    let mut archive = wide(&folder);
    let long = |height| results(height, &[1, 2].repeat(20), 50_000);
    append(&mut archive, 1..=2, long);
    let (told, pieces) = read_all(&mut archive, session(2), ALL).unwrap();
    assert_eq!(told, ring_tells(1..=2, long, session(2), ALL));
    assert_eq!(told.len(), 40);
    assert!(pieces > 6, "{pieces}");
}

/// The second session alone has something in the first blocks, which fill segments.
fn lonely(height: u64) -> BlockResults {
    results(height, if height <= 200 { &[2] } else { &[1] }, 2_000)
}

#[test]
fn segments_without_anything_of_a_session_are_not_read_for_it_and_others_find_the_damage() {
    let folder = TemporaryFolder::new("private-passed");
    append(&mut open(&folder, 1), 1..=400, lonely);
    // What is known of complete segments is known after a start.
    let mut archive = open(&folder, 401);
    let segments = files(&folder, "events");
    assert_eq!(files(&folder, "sessions").len(), segments.len() - 1);
    let mut bytes = std::fs::read(&segments[1]).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&segments[1], bytes).unwrap();
    let (told, _) = read_all(&mut archive, session(1), ALL).unwrap();
    assert_eq!(told, ring_tells(1..=400, lonely, session(1), ALL));
    // Neither does one who has nothing anywhere read anything.
    assert_eq!(read_all(&mut archive, session(3), ALL), Ok((vec![], 1)));
    let gone = read_all(&mut archive, session(2), ALL).unwrap_err();
    assert!(gone > 1 && gone == archive.first(), "{gone}");
    assert_eq!(files(&folder, "events").len(), segments.len() - 2);
    assert_eq!(files(&folder, "sessions").len(), segments.len() - 3);
    // The rest is there.
    let rest = (pos(gone, 0), StreamPosition::LIVE);
    let (told, _) = read_all(&mut archive, session(2), rest).unwrap();
    assert_eq!(told, ring_tells(1..=400, lonely, session(2), rest));
}

/// Else whoever asks for it is told to ask again, for ever.
#[test]
fn a_segment_that_somebody_took_away_is_gone_with_all_before_and_not_asked_for_again() {
    let folder = TemporaryFolder::new("private-taken-away");
    append(&mut open(&folder, 1), 1..=400, lonely);
    let mut archive = open(&folder, 401);
    let segments = files(&folder, "events");
    std::fs::remove_file(&segments[1]).unwrap();
    let from = (pos(1, 0), pos(201, 0));
    let gone = read_all(&mut archive, session(2), from).unwrap_err();
    assert!(gone > 1 && gone == archive.first(), "{gone}");
    assert_eq!(files(&folder, "events"), segments[2..]);
    let rest = (pos(gone, 0), StreamPosition::LIVE);
    let (told, _) = read_all(&mut archive, session(2), rest).unwrap();
    assert_eq!(told, ring_tells(1..=400, lonely, session(2), rest));
    // One that may not be read now may be later.
    let aside = segments[2].with_extension("aside");
    std::fs::rename(&segments[2], &aside).unwrap();
    std::fs::create_dir(&segments[2]).unwrap();
    let range = PrivateRange::of(session(2), pos(gone, 0), StreamPosition::LIVE);
    assert!(matches!(read(&mut archive, &range), Ok(PrivatePiece::Busy)));
    std::fs::remove_dir(&segments[2]).unwrap();
    std::fs::rename(&aside, &segments[2]).unwrap();
    let (told, _) = read_all(&mut archive, session(2), rest).unwrap();
    assert_eq!(told, ring_tells(1..=400, lonely, session(2), rest));
}

#[test]
fn what_is_known_of_a_segment_is_made_anew_where_it_is_missing_damaged_or_of_another_one() {
    type Harm = fn(&[PathBuf]);
    let harms: [Harm; 3] = [
        |paths| {
            paths
                .iter()
                .for_each(|path| std::fs::remove_file(path).unwrap())
        },
        |paths| {
            for path in paths {
                let mut bytes = std::fs::read(path).unwrap();
                // It says of nobody that there is something.
                bytes[88..8_280].fill(0);
                std::fs::write(path, bytes).unwrap();
            }
        },
        |paths| {
            // Those of the second session are said to have the first one's.
            std::fs::copy(paths.last().unwrap(), &paths[0]).unwrap();
        },
    ];
    for (number, harm) in harms.into_iter().enumerate() {
        let folder = TemporaryFolder::new("private-index");
        append(&mut open(&folder, 1), 1..=400, lonely);
        let kept = files(&folder, "sessions");
        let bytes = |paths: &[PathBuf]| -> Vec<Vec<u8>> {
            paths
                .iter()
                .map(|path| std::fs::read(path).unwrap())
                .collect()
        };
        let before = bytes(&kept);
        harm(&kept);
        let mut archive = open(&folder, 401);
        for whose in [1, 2, 3] {
            let (told, _) = read_all(&mut archive, session(whose), ALL).unwrap();
            let expected = ring_tells(1..=400, lonely, session(whose), ALL);
            assert_eq!(told, expected, "{number} {whose}");
        }
        assert_eq!(bytes(&kept), before, "{number}");
    }
}

/// As a segment of another run would, of the same name and length.
#[test]
fn what_is_known_of_one_segment_is_not_believed_of_another_one_in_its_place() {
    let of_second = |height| results(height, &[2], 2_000);
    let of_first = |height| results(height, &[1], 2_000);
    let (folder, other) = (
        TemporaryFolder::new("private-place"),
        TemporaryFolder::new("private-other-place"),
    );
    append(&mut open(&folder, 1), 1..=200, of_second);
    append(&mut open(&other, 1), 1..=200, of_first);
    let (own, strange) = (files(&folder, "events"), files(&other, "events"));
    for (own, strange) in own.iter().zip(&strange) {
        assert_eq!(own.file_name(), strange.file_name());
        std::fs::copy(strange, own).unwrap();
    }
    let mut archive = open(&folder, 201);
    let (told, _) = read_all(&mut archive, session(1), ALL).unwrap();
    assert_eq!(told, ring_tells(1..=200, of_first, session(1), ALL));
}

#[test]
fn a_start_goes_on_where_it_begins_to_execute_and_comes_to_the_same_again() {
    let folder = TemporaryFolder::new("private-again");
    append(&mut open(&folder, 1), 1..=400, mixed);
    // The power was lost: the end is torn, and what was begun after it.
    let segments = files(&folder, "events");
    let last = std::fs::OpenOptions::new()
        .write(true)
        .open(segments.last().unwrap());
    let last = last.unwrap();
    last.set_len(last.metadata().unwrap().len() - 7).unwrap();
    for height in [390, 201, 30] {
        let mut archive = open(&folder, height);
        assert_eq!((archive.first(), archive.end()), (1, height));
        let complete = files(&folder, "events").len() - 1;
        assert_eq!(files(&folder, "sessions").len(), complete, "{height}");
        let (told, _) = read_all(&mut archive, session(1), ALL).unwrap();
        assert_eq!(told, ring_tells(1..=height - 1, mixed, session(1), ALL));
        append(&mut archive, height..=400, mixed);
        for whose in [1, 2] {
            let (told, _) = read_all(&mut archive, session(whose), ALL).unwrap();
            assert_eq!(
                told,
                ring_tells(1..=400, mixed, session(whose), ALL),
                "{height}"
            );
        }
        let complete = files(&folder, "events").len() - 1;
        assert_eq!(files(&folder, "sessions").len(), complete, "{height}");
    }
    // After a snapshot of peers, above all that is here, and on another chain it begins anew.
    let archive = open(&folder, 1_000);
    assert_eq!((archive.first(), archive.end()), (1_000, 1_000));
    drop(archive);
    let other = ArchiveConfig {
        genesis_hash: [8; 32],
        ..config(&folder)
    };
    let mut archive = Outputs::open(other).unwrap();
    archive.go_on_from(&Height(1_000)).unwrap();
    assert_eq!((archive.first(), archive.end()), (1_001, 1_001));
    assert!(files(&folder, "sessions").is_empty());
}

#[test]
fn the_oldest_go_beyond_the_budget_with_what_is_known_of_them_and_are_told_as_gone() {
    let folder = TemporaryFolder::new("private-budget");
    let mut archive = open(&folder, 1);
    append(&mut archive, 1..=2_000, mixed);
    let first = archive.first();
    assert!(first > 1_000, "{first}");
    let segments = files(&folder, "events");
    let lengths = segments.iter().map(|path| path.metadata().unwrap().len());
    assert!(lengths.sum::<u64>() < ARCHIVE_BYTES_MIN * 5 / 4);
    assert_eq!(files(&folder, "sessions").len(), segments.len() - 1);
    assert_eq!(read_all(&mut archive, session(1), ALL), Err(first));
    let rest = (pos(first, 0), StreamPosition::LIVE);
    let (told, _) = read_all(&mut archive, session(1), rest).unwrap();
    assert_eq!(told, ring_tells(1..=2_000, mixed, session(1), rest));
    drop(archive);
    // What is beside no segment is not kept, nor anything when nothing is wanted any more.
    let strange = config(&folder).folder.join(format!("{:020}.sessions", 1));
    std::fs::write(&strange, b"of nothing").unwrap();
    drop(open(&folder, 2_001));
    assert!(!strange.exists());
    Outputs::remove(&config(&folder).folder).unwrap();
    assert!(!config(&folder).folder.exists());
}

#[test]
fn one_question_reads_a_bounded_part_of_what_is_not_its_own() {
    let folder = TemporaryFolder::new("private-bounded");
    let mut archive = wide(&folder);
    // One segment: the first session has the last output of it.
    let far = |height| results(height, if height == 120 { &[1] } else { &[2] }, 100_000);
    append(&mut archive, 1..=120, far);
    let (told, pieces) = read_all(&mut archive, session(1), ALL).unwrap();
    assert_eq!(told, ring_tells(1..=120, far, session(1), ALL));
    assert_eq!(pieces, 12_000_000_usize.div_ceil(READ_BYTES));
}

#[test]
fn what_the_first_look_at_a_segment_reads_is_counted_with_what_it_gives() {
    let folder = TemporaryFolder::new("private-counted");
    append(&mut open(&folder, 1), 1..=400, lonely);
    let mut archive = open(&folder, 401);
    let segment_bytes = std::fs::metadata(&files(&folder, "events")[0]).unwrap();
    let first = (pos(1, 0), pos(2, 0));
    let mut read = |range| {
        let before = archive.read_bytes();
        let (told, _) = read_all(&mut archive, session(2), range).unwrap();
        assert_eq!(told.len(), 1);
        archive.read_bytes() - before
    };
    let (looked, again) = (read(first), read(first));
    assert_eq!(looked, again + segment_bytes.len());
    // The block, and the one behind it, by which it is known that there is no more.
    assert!((4_000..5_000).contains(&again), "{again}");
    // On the way from the last way-mark.
    let far = read((pos(30, 0), pos(31, 0)));
    assert!(far > 20 * 2_000, "{far}");
}

#[test]
fn a_block_comes_back_from_its_bytes_and_none_from_other_ones() {
    let block = Block::of(&results(5, &[1, 2, 1], 3));
    let mut body = Vec::new();
    block.encode(&mut body);
    assert_eq!(body.len(), block.body_bytes());
    let decode = |body: &[u8]| Block::decode(50, 3, body.to_vec());
    assert_eq!(decode(&body), Some(block));
    let of = |place: usize, byte: u8| {
        let mut body = body.clone();
        body[place] = byte;
        decode(&body)
    };
    // A number twice, neither with a result nor without, with the result of no command, an end that
    // is none.
    for (place, byte) in [(16 + 29, 0), (24 + 29, 2), (24, 1), (25 + 58, 1), (25, 200)] {
        assert_eq!(of(place, byte), None, "{place}");
    }
    assert_eq!(decode(&body[..body.len() - 1]), None);
    assert_eq!(Block::decode(50, 0, vec![1]), None);
}

/// Whatever was read for it.
#[test]
fn nobody_is_told_what_is_another_ones() {
    let block = Block::of(&results(5, &[1, 2, 1], 3));
    assert!(PrivateOutputs::select(Block::of(&results(5, &[1], 3)), session(2)).is_none());
    let chunk = Chunk {
        blocks: vec![(5, Arc::new(block))],
        end: pos(6, 0),
    };
    for (whose, numbers) in [(1, vec![0, 2]), (2, vec![1]), (3, vec![])] {
        let range = PrivateRange::of(session(whose), pos(5, 0), StreamPosition::LIVE);
        let mut frame = PrivateFrame::new(None, 7);
        let end = write(&range, &chunk, &mut frame);
        let told = told_in(frame, end);
        assert!(told.iter().map(|one| one.0.index).eq(numbers), "{whose}");
    }
}
