//! Readers of the public stream: replay, gaps, bounds, and what a slow one is told.

use super::*;
use crate::archive::{Archive, ArchiveConfig, Archived};
use crate::client_wire::ServerFrame;
use crate::stages::archive::Besides;
use crate::state_machine::Output;
use crate::testing::TemporaryFolder;
use crossbeam::channel::{Receiver, unbounded};
use quorate_proof::events::EventHistory;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

const ANN: ClientId = ClientId::from_bits(1);
const BEN: ClientId = ClientId::from_bits(2);

/// Sockets that hold what nobody has read.
#[derive(Default)]
struct Wires {
    queues: BTreeMap<u64, Vec<Vec<u8>>>,
    is_crowded: bool,
}

impl Outlet for Wires {
    fn waiting(&self, client: ClientId) -> Option<usize> {
        let queue = self.queues.get(&client.to_bits())?;
        Some(queue.iter().map(Vec::len).sum())
    }

    fn is_crowded(&self) -> bool {
        self.is_crowded
    }

    fn send(&mut self, client: ClientId, frame: &[u8]) {
        self.queues
            .entry(client.to_bits())
            .or_default()
            .push(frame.to_vec());
    }
}

impl Wires {
    fn of(clients: &[ClientId]) -> Self {
        let queues = clients.iter().map(|client| (client.to_bits(), Vec::new()));
        Self {
            queues: queues.collect(),
            is_crowded: false,
        }
    }

    /// What a client reads: addresses of events, and marks.
    fn read(&mut self, client: ClientId, at: &mut StreamPosition) -> Vec<String> {
        let mut told = Vec::new();
        let frames = self.queues.get_mut(&client.to_bits()).map(std::mem::take);
        for frame in frames.unwrap_or_default() {
            match ServerFrame::decode(&frame).unwrap().1 {
                ServerFrame::Public(public) => {
                    assert_eq!(public.from(), *at, "without hole or double");
                    *at = public.end();
                    told.extend(public.map(|event| event.position.to_string()));
                }
                ServerFrame::PublicMark(mark) => {
                    told.push(format!("{:?}{}", mark.state, mark.next));
                }
                ServerFrame::Busy { .. } => told.push("Busy".to_owned()),
                other => panic!("{other:?}"),
            }
        }
        told
    }
}

fn block(height: u64, events: usize, bytes: usize) -> BlockResults {
    let mut results = BlockResults::new();
    results.height = height;
    let mut output = Output::new();
    (0..events).for_each(|_| output.to_public(&vec![7; bytes]));
    results.collect(Some(0), &output);
    results
}

/// Blocks 1 to 3 with one event each.
fn stage(bytes_max: usize) -> PublicStage {
    let mut stage = PublicStage::new(PublicRing::new(bytes_max), None);
    (1..=3).for_each(|height| stage.publish(&block(height, 1, 10)));
    stage
}

fn at(height: u64, index: u32) -> StreamPosition {
    StreamPosition { height, index }
}

fn subscribe(from: StreamPosition) -> PublicAsk {
    PublicAsk::Subscribe { from }
}

#[test]
fn a_late_reader_is_told_everything_and_then_what_comes() {
    let (mut stage, mut wires) = (stage(1 << 20), Wires::of(&[ANN, BEN]));
    let (mut ann, mut ben) = (StreamPosition::BEGIN, at(4, 0));
    assert!(stage.take(ANN, 5, subscribe(ann)));
    assert!(stage.take(BEN, 6, subscribe(StreamPosition::LIVE)));
    stage.pump(None, &mut wires);
    let all = ["Subscribed(1, 0)", "(1, 0)", "(2, 0)", "(3, 0)"];
    assert_eq!(wires.read(ANN, &mut ann), all);
    assert_eq!(wires.read(BEN, &mut ben), ["Subscribed(4, 0)"]);
    stage.publish(&block(4, 2, 10));
    stage.pump(None, &mut wires);
    assert_eq!(wires.read(ANN, &mut ann), ["(4, 0)", "(4, 1)"]);
    assert_eq!(wires.read(BEN, &mut ben), ["(4, 0)", "(4, 1)"]);
    stage.remove(ANN);
    stage.publish(&block(5, 1, 10));
    stage.pump(None, &mut wires);
    assert!(wires.read(ANN, &mut ann).is_empty(), "it is gone");
    assert_eq!(wires.read(BEN, &mut ben), ["(5, 0)"]);
}

#[test]
fn who_follows_is_told_in_the_turn_that_questions_about_old_events_fill() {
    let mut stage = PublicStage::new(PublicRing::new(1 << 24), None);
    (1..=40).for_each(|height| stage.publish(&block(height, 1, 10_000)));
    let (mut wires, mut ben) = (Wires::of(&[ANN, BEN]), at(41, 0));
    assert!(stage.take(BEN, 6, subscribe(StreamPosition::LIVE)));
    stage.pump(None, &mut wires);
    assert_eq!(wires.read(BEN, &mut ben), ["Subscribed(41, 0)"]);
    for id in 0..4 {
        let (from, to) = (at(1, 0), at(41, 0));
        assert!(stage.take(ANN, id, PublicAsk::Range { from, to }));
    }
    stage.publish(&block(41, 1, 10));
    stage.pump(None, &mut wires);
    assert!(stage.is_unfinished, "the questions fill the turn");
    assert_eq!(wires.read(BEN, &mut ben), ["(41, 0)"]);
}

/// Each turn takes a piece of 128 KiB for all who follow.
#[test]
fn readers_that_are_behind_take_turns_in_being_told_first() {
    let mut stage = PublicStage::new(PublicRing::new(64 << 20), None);
    (1..=40).for_each(|height| stage.publish(&block(height, 1, 64 * 1024)));
    let mut wires = Wires::of(&[ANN, BEN]);
    let (mut ann, mut ben) = (StreamPosition::BEGIN, StreamPosition::BEGIN);
    assert!(stage.take(ANN, 5, subscribe(ann)));
    assert!(stage.take(BEN, 6, subscribe(ben)));
    for turn in 1..=10 {
        stage.pump(None, &mut wires);
        assert!(stage.is_unfinished, "there is more than a turn takes");
        wires.read(ANN, &mut ann);
        wires.read(BEN, &mut ben);
        let apart = ann.height.abs_diff(ben.height);
        assert!(apart <= 4, "{ann} and {ben} after turn {turn}");
    }
    assert!(ann.height.min(ben.height) > 10, "{ann} {ben}");
}

#[test]
fn a_range_is_told_and_a_position_that_is_none_refused_by_its_kind() {
    let (mut stage, mut wires) = (stage(1 << 20), Wires::of(&[ANN]));
    let mut ask = |stage: &mut PublicStage, ask| {
        assert!(stage.take(ANN, 5, ask));
        stage.pump(None, &mut wires);
        wires.read(ANN, &mut at(2, 0))
    };
    let range = |from, to| PublicAsk::Range { from, to };
    let told = ask(&mut stage, range(at(2, 0), at(3, 0)));
    assert_eq!(told, ["(2, 0)", "Done(3, 0)"]);
    let told = ask(&mut stage, range(at(2, 0), at(99, 0)));
    assert_eq!(
        told,
        ["(2, 0)", "(3, 0)", "Done(4, 0)"],
        "up to where the chain is"
    );
    for (from, why) in [
        (at(0, 0), "Gone"),
        (at(2, 2), "Nowhere"),
        (at(5, 0), "Ahead"),
    ] {
        let expected = [format!("{why}{from}")];
        assert_eq!(ask(&mut stage, range(from, from)), expected);
    }
    for (from, why) in [
        (at(0, 0), "Gone"),
        (at(2, 2), "Nowhere"),
        (at(1 << 40, 0), "Ahead"),
    ] {
        let expected = [format!("{why}{from}")];
        assert_eq!(ask(&mut stage, subscribe(from)), expected);
    }
    assert_eq!(stage.subscriptions_len(), 0);
}

#[test]
fn a_slow_reader_is_cut_with_a_position_from_which_it_misses_nothing() {
    let event = 64 * 1024;
    let mut stage = PublicStage::new(PublicRing::new(4 << 20), None);
    let mut wires = Wires::of(&[ANN, BEN]);
    let (mut ann, mut ben) = (StreamPosition::BEGIN, StreamPosition::BEGIN);
    assert!(stage.take(ANN, 5, subscribe(ann)));
    assert!(stage.take(BEN, 6, subscribe(ben)));
    let (mut slow, mut fast) = (Vec::new(), Vec::new());
    for height in 1..=200 {
        stage.publish(&block(height, 1, event));
        stage.pump(None, &mut wires);
        fast.extend(wires.read(BEN, &mut ben));
        let waiting = wires.waiting(ANN).unwrap();
        assert!(
            waiting < ROOM_BYTES + 512 * 1024,
            "{waiting} bytes wait for one who does not read"
        );
    }
    slow.extend(wires.read(ANN, &mut ann));
    assert_eq!(slow.pop(), Some(format!("Cut{ann}")));
    assert_eq!((stage.cuts(), stage.subscriptions_len()), (1, 1));
    // That was long ago, and here it is gone; another validator keeps more.
    assert!(stage.take(ANN, 7, subscribe(ann)));
    stage.pump(None, &mut wires);
    assert_eq!(wires.read(ANN, &mut ann), [format!("Gone{ann}")]);
    let mut other = PublicStage::new(PublicRing::new(1 << 30), None);
    (1..=200).for_each(|height| other.publish(&block(height, 1, event)));
    assert!(other.take(ANN, 8, subscribe(ann)));
    while ann < other.ring.tip() {
        other.pump(None, &mut wires);
        slow.extend(wires.read(ANN, &mut ann));
    }
    slow.retain(|told| !told.starts_with('S'));
    fast.retain(|told| !told.starts_with('S'));
    assert_eq!((slow.len(), &slow), (200, &fast));
}

#[test]
fn one_who_asks_without_reading_is_told_to_come_again() {
    let mut stage = PublicStage::new(PublicRing::new(64 << 20), None);
    (1..=40).for_each(|height| stage.publish(&block(height, 1, 64 * 1024)));
    let mut wires = Wires::of(&[ANN]);
    let range = PublicAsk::Range {
        from: at(1, 0),
        to: at(41, 0),
    };
    for id in 0..20 {
        assert!(stage.take(ANN, id, range));
        stage.pump(None, &mut wires);
    }
    let waiting = wires.waiting(ANN).unwrap();
    assert!(waiting < 3 << 20, "{waiting}");
    let most = u64::from(RANGES_PER_CLIENT_MAX);
    (0..most).for_each(|id| assert!(stage.take(BEN, id, range)));
    assert!(!stage.take(BEN, 0, range), "questions are bounded too");
    let client = |number: usize| ClientId::from_bits(100 + (number as u64 - number as u64 % most));
    let others = RANGES_MAX - RANGES_PER_CLIENT_MAX as usize;
    (0..others).for_each(|number| assert!(stage.take(client(number), 0, range)));
    assert!(!stage.take(ANN, 0, range), "of all together as well");
    stage.pump(None, &mut wires);
    assert!(stage.take(ANN, 0, range), "there is room again");
}

#[test]
fn one_who_asks_for_all_there_is_takes_no_subscription_from_another() {
    let mut stage = PublicStage::new(PublicRing::new(64 << 20), None);
    (1..=40).for_each(|height| stage.publish(&block(height, 1, 64 * 1024)));
    let mut wires = Wires::of(&[ANN, BEN]);
    let range = PublicAsk::Range {
        from: at(1, 0),
        to: at(41, 0),
    };
    let taken = (0..1_100).filter(|&id| stage.take(ANN, id, range)).count();
    assert_eq!(taken, RANGES_PER_CLIENT_MAX as usize);
    let mut ben = at(41, 0);
    assert!(stage.take(BEN, 5, subscribe(ben)));
    stage.pump(None, &mut wires);
    assert_eq!(wires.read(BEN, &mut ben), ["Subscribed(41, 0)"]);
    // And in the turn after, in which what was asked before still waits.
    assert!(!stage.ranges.is_empty());
    assert!(stage.take(BEN, 6, PublicAsk::Stop));
    stage.pump(None, &mut wires);
    assert_eq!(wires.read(BEN, &mut ben), ["Stopped(41, 0)"]);
}

#[test]
fn a_range_that_ends_beyond_the_events_of_its_block_is_done_with_the_last_of_them() {
    let folder = TemporaryFolder::new("public-beyond");
    let (mut stage, _, read) = archived(&folder, 64 << 20);
    let mut wires = Wires::of(&[ANN]);
    (1..=100).for_each(|height| stage.publish(&block(height, 2, 32 * 1024)));
    let mut ask = |from: StreamPosition, is_archived: bool| {
        let to = at(from.height, u32::MAX);
        assert!(stage.take(ANN, 6, PublicAsk::Range { from, to }));
        stage.pump(None, &mut wires);
        if is_archived {
            read.recv_timeout(PATIENCE).unwrap();
            stage.pump(None, &mut wires);
        }
        wires.read(ANN, &mut from.clone())
    };
    for (height, is_archived) in [(7, true), (100, false)] {
        let last = format!("({height}, 1)");
        let done = format!("Done({height}, 2)");
        assert_eq!(ask(at(height, 1), is_archived), [last, done.clone()]);
        // What a client asks that has not come to where it wanted.
        assert_eq!(ask(at(height, 2), is_archived), [done]);
    }
}

#[test]
fn a_reader_ahead_of_this_validator_waits_for_it() {
    let (mut stage, mut wires) = (stage(1 << 20), Wires::of(&[ANN]));
    let mut ann = at(5, 1);
    assert!(stage.take(ANN, 5, subscribe(ann)));
    stage.publish(&block(4, 1, 10));
    stage.pump(None, &mut wires);
    assert_eq!(wires.read(ANN, &mut ann), ["Subscribed(5, 1)"]);
    stage.publish(&block(5, 3, 10));
    stage.pump(None, &mut wires);
    assert_eq!(wires.read(ANN, &mut ann), ["(5, 1)", "(5, 2)"]);
    // A position that turns out to be none.
    assert!(stage.take(ANN, 6, subscribe(at(6, 9))));
    stage.pump(None, &mut wires);
    stage.publish(&block(6, 1, 10));
    stage.pump(None, &mut wires);
    let told = ["Stopped(6, 0)", "Subscribed(6, 9)", "Nowhere(6, 9)"];
    assert_eq!(wires.read(ANN, &mut ann), told);
}

#[test]
fn silence_is_told_from_time_to_time_so_that_a_position_does_not_grow_old() {
    let (mut stage, mut wires) = (stage(1 << 20), Wires::of(&[ANN]));
    let mut ann = at(4, 0);
    assert!(stage.take(ANN, 5, subscribe(ann)));
    for height in 4..4 + 2 * PROGRESS_HEIGHTS {
        stage.publish(&block(height, 0, 0));
        stage.pump(None, &mut wires);
        wires.read(ANN, &mut ann);
    }
    assert!(ann.height > PROGRESS_HEIGHTS);
    assert!(stage.take(ANN, 9, PublicAsk::Stop));
    stage.publish(&block(4 + 2 * PROGRESS_HEIGHTS, 1, 1));
    stage.pump(None, &mut wires);
    assert_eq!(wires.read(ANN, &mut ann.clone()), [format!("Stopped{ann}")]);
}

/// A chain without public events is nothing to be told and long to walk over.
#[test]
fn questions_about_blocks_that_tell_nothing_share_a_turn_like_any_other() {
    let (mut stage, mut wires) = (
        PublicStage::new(PublicRing::new(1 << 26), None),
        Wires::of(&[ANN]),
    );
    (1..=100_000).for_each(|height| stage.publish(&block(height, 0, 0)));
    let (from, to) = (StreamPosition::BEGIN, at(100_001, 0));
    let all = RANGES_PER_CLIENT_MAX as usize;
    (0..all as u64).for_each(|id| assert!(stage.take(ANN, id, PublicAsk::Range { from, to })));
    let mut turns = 0;
    let mut answers = 0;
    while answers < all {
        stage.pump(None, &mut wires);
        turns += 1;
        let frames = wires.queues.insert(ANN.to_bits(), Vec::new());
        let marks = frames.unwrap_or_default().into_iter().filter(|frame| {
            let frame = ServerFrame::decode(frame).unwrap().1;
            matches!(frame, ServerFrame::PublicMark(mark) if mark.state == PublicState::Done)
        });
        let told = marks.count();
        assert!((1..=5).contains(&told), "{told} in one turn");
        answers += told;
        assert_eq!(stage.is_unfinished(), answers < all);
    }
    assert!(turns >= 4, "{turns}");
}

/// A ring of little more than one block before an archive, and a word whenever something was read.
fn archived(
    folder: &TemporaryFolder,
    bytes_max: u64,
) -> (PublicStage, Arc<Archived>, Receiver<()>) {
    let config = ArchiveConfig {
        folder: folder.path().join("public"),
        genesis_hash: [1; 32],
        bytes_max,
    };
    let mut archive = Archive::open(config).unwrap();
    archive.go_on_from(&EventHistory::default()).unwrap();
    let (tell, told) = unbounded();
    let state = Arc::clone(archive.state());
    let wake = move || tell.send(()).unwrap();
    let link = ArchiveLink::start(archive, Arc::default(), nothing, wake).unwrap();
    let ring = PublicRing::new(100 * 1024);
    (PublicStage::new(ring, Some(link)), state, told)
}

/// The archive's thread does nothing besides.
fn nothing() -> Besides<PublicEvents> {
    Box::new(|_| {})
}

const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn a_stage_that_tells_nothing_more_does_not_wait_for_the_thread_of_its_archive() {
    let folder = TemporaryFolder::new("public-cleared");
    let config = ArchiveConfig {
        folder: folder.path().join("public"),
        genesis_hash: [1; 32],
        bytes_max: 64 << 20,
    };
    let mut archive = Archive::open(config).unwrap();
    archive.go_on_from(&EventHistory::default()).unwrap();
    // The thread hangs until somebody lets it go, or for so long that it was waited for.
    let (let_go, gate) = unbounded::<()>();
    let (tell, told) = unbounded();
    let wake = move || {
        let was_let_go = gate.recv_timeout(Duration::from_secs(5)).is_ok();
        tell.send(was_let_go).unwrap();
    };
    let link = ArchiveLink::start(archive, Arc::default(), nothing, wake).unwrap();
    let mut stage = PublicStage::new(PublicRing::new(100 * 1024), Some(link));
    (1..=100).for_each(|height| stage.publish(&block(height, 2, 32 * 1024)));
    assert!(stage.take(ANN, 5, subscribe(at(1, 1))));
    stage.pump(None, &mut Wires::of(&[ANN, BEN]));
    stage.clear();
    // Gone when the thread was waited for.
    let_go.send(()).ok();
    assert!(told.recv_timeout(PATIENCE).unwrap(), "it was waited for");
}

#[test]
fn what_the_ring_has_passed_comes_from_the_archive_without_hole_or_double() {
    let folder = TemporaryFolder::new("public-archive");
    let (mut stage, _, read) = archived(&folder, 64 << 20);
    let mut wires = Wires::of(&[ANN, BEN]);
    (1..=100).for_each(|height| stage.publish(&block(height, 2, 32 * 1024)));
    assert!(stage.ring.oldest() > at(90, 0), "{}", stage.ring.oldest());
    assert_eq!(stage.oldest(), at(1, 0));
    let mut ann = at(1, 1);
    assert!(stage.take(ANN, 5, subscribe(ann)));
    let mut told = Vec::new();
    while told.len() < 200 {
        stage.pump(None, &mut wires);
        told.extend(wires.read(ANN, &mut ann));
        if ann < stage.ring.oldest() {
            read.recv_timeout(PATIENCE).unwrap();
        }
    }
    let all = (1..=100).flat_map(|height| [at(height, 0), at(height, 1)]);
    let expected: Vec<String> = all.skip(1).map(|at| at.to_string()).collect();
    assert_eq!(
        (told.remove(0), told),
        ("Subscribed(1, 1)".to_owned(), expected)
    );
    stage.publish(&block(101, 1, 10));
    stage.pump(None, &mut wires);
    assert_eq!(
        wires.read(ANN, &mut ann),
        ["(101, 0)"],
        "and then what comes"
    );
    // A range, and a place that is none.
    let mut ask = |from, to| {
        assert!(stage.take(BEN, 6, PublicAsk::Range { from, to }));
        stage.pump(None, &mut wires);
        read.recv_timeout(PATIENCE).unwrap();
        stage.pump(None, &mut wires);
        wires.read(BEN, &mut from.clone())
    };
    assert_eq!(ask(at(7, 1), at(8, 1)), ["(7, 1)", "(8, 0)", "Done(8, 1)"]);
    assert_eq!(ask(at(7, 3), at(8, 1)), ["Nowhere(7, 3)"]);
    assert_eq!(ask(at(7, 2), at(7, 2)), ["Done(7, 2)"]);
}

#[test]
fn where_much_waits_for_all_readers_one_that_has_not_read_is_told_no_more() {
    let mut stage = PublicStage::new(PublicRing::new(1 << 20), None);
    let mut wires = Wires::of(&[ANN, BEN]);
    let (mut ann, mut ben) = (StreamPosition::BEGIN, StreamPosition::BEGIN);
    assert!(stage.take(ANN, 5, subscribe(ann)));
    assert!(stage.take(BEN, 6, subscribe(ben)));
    stage.publish(&block(1, 1, 100));
    stage.pump(None, &mut wires);
    assert_eq!(wires.read(BEN, &mut ben), ["Subscribed(1, 0)", "(1, 0)"]);
    wires.is_crowded = true;
    stage.publish(&block(2, 1, 100));
    stage.pump(None, &mut wires);
    assert_eq!(wires.read(BEN, &mut ben), ["(2, 0)"], "it had read all");
    let (from, to) = (at(1, 0), at(2, 0));
    assert!(stage.take(ANN, 7, PublicAsk::Range { from, to }));
    stage.pump(None, &mut wires);
    let told = wires.read(ANN, &mut ann);
    assert_eq!(told, ["Subscribed(1, 0)", "(1, 0)", "Busy"]);
    // Now it has, and it misses nothing.
    stage.pump(None, &mut wires);
    assert_eq!(wires.read(ANN, &mut ann), ["(2, 0)"]);
}

#[test]
fn a_block_longer_than_a_reader_takes_at_a_time_comes_in_pieces() {
    let folder = TemporaryFolder::new("public-archive-long");
    let (mut stage, _, read) = archived(&folder, 64 << 20);
    let mut wires = Wires::of(&[ANN]);
    stage.publish(&block(1, 160, 32 * 1024));
    stage.publish(&block(2, 4, 32 * 1024));
    let mut ann = at(1, 0);
    assert!(stage.take(ANN, 5, subscribe(ann)));
    let mut told = Vec::new();
    while told.len() < 165 {
        stage.pump(None, &mut wires);
        let waiting = wires.waiting(ANN).unwrap();
        assert!(waiting < ROOM_BYTES, "{waiting} bytes at a time");
        told.extend(wires.read(ANN, &mut ann));
        if ann < stage.ring.oldest() {
            read.recv_timeout(PATIENCE).unwrap();
        }
    }
    assert_eq!(ann, at(3, 0));
}

#[test]
fn a_reader_is_cut_only_when_the_archive_has_passed_it_too_and_is_told_where_it_begins() {
    let folder = TemporaryFolder::new("public-archive-cut");
    let (mut stage, state, read) = archived(&folder, 1 << 20);
    let mut wires = Wires::of(&[ANN]);
    let mut ann = at(1, 0);
    stage.publish(&block(1, 1, 10));
    assert!(stage.take(ANN, 5, subscribe(ann)));
    stage.pump(None, &mut wires);
    assert_eq!(wires.read(ANN, &mut ann), ["Subscribed(1, 0)", "(1, 0)"]);
    let mut height = 1;
    while stage.oldest() <= ann {
        height += 1;
        stage.publish(&block(height, 1, 60 * 1024));
        // Nothing is handed over twice, and all of it is written before what follows.
        let deadline = std::time::Instant::now() + PATIENCE;
        while !state.reaches(height) {
            assert!(std::time::Instant::now() < deadline);
            std::thread::yield_now();
        }
    }
    stage.pump(None, &mut wires);
    assert_eq!(wires.read(ANN, &mut ann), [format!("Cut{ann}")]);
    assert!(stage.take(ANN, 6, subscribe(ann)));
    stage.pump(None, &mut wires);
    assert_eq!(wires.read(ANN, &mut ann), [format!("Gone{ann}")]);
    let oldest = stage.oldest();
    assert!(oldest > ann && oldest < stage.ring.oldest(), "{oldest}");
    let mut from = oldest;
    assert!(stage.take(ANN, 7, subscribe(oldest)));
    while from < stage.ring.oldest() {
        stage.pump(None, &mut wires);
        wires.read(ANN, &mut from);
        if from < stage.ring.oldest() {
            read.recv_timeout(PATIENCE).unwrap();
        }
    }
}

#[test]
fn whoever_waits_for_older_events_is_told_that_they_are_gone_when_the_disk_fails() {
    let folder = TemporaryFolder::new("public-archive-fails");
    let (mut stage, state, read) = archived(&folder, 1 << 20);
    let mut wires = Wires::of(&[ANN]);
    // No further segment can be made.
    std::fs::remove_dir_all(folder.path().join("public")).unwrap();
    let deadline = std::time::Instant::now() + PATIENCE;
    let mut heights = 1..;
    while state.first.load(Ordering::Acquire) != u64::MAX {
        assert!(std::time::Instant::now() < deadline);
        stage.publish(&block(heights.next().unwrap(), 1, 60 * 1024));
        std::thread::yield_now();
    }
    // A question that was sent before this end knew of it.
    let fetch = Fetch {
        client: ANN,
        id: 5,
        purpose: Purpose::Range,
        from: at(1, 0),
        to: at(2, 0),
        bytes_max: 1 << 20,
    };
    assert!(stage.archive.as_mut().unwrap().fetch(fetch));
    read.recv_timeout(PATIENCE).unwrap();
    stage.pump(None, &mut wires);
    assert_eq!(wires.read(ANN, &mut at(1, 0)), ["Gone(1, 0)"]);
}

/// A start from a snapshot never comes to the events below it again.
#[test]
fn events_that_cannot_be_synced_are_not_said_to_be_durable() {
    let folder = TemporaryFolder::new("public-archive-unsynced");
    let config = ArchiveConfig {
        folder: folder.path().join("public"),
        genesis_hash: [1; 32],
        bytes_max: 1 << 20,
    };
    let first = config.folder.join(format!("{:020}.events", 1));
    let mut archive = Archive::open(config).unwrap();
    // It takes what is written, and no disk holds it: to sync it is refused.
    std::os::unix::fs::symlink("/dev/null", first).unwrap();
    archive.go_on_from(&EventHistory::default()).unwrap();
    let state = Arc::clone(archive.state());
    let link = ArchiveLink::start(archive, Arc::default(), nothing, || ()).unwrap();
    let mut stage = PublicStage::new(PublicRing::new(100 * 1024), Some(link));
    stage.publish(&block(1, 1, 100));
    let deadline = std::time::Instant::now() + PATIENCE;
    assert!(!state.reaches(1));
    while !state.has_failed() {
        assert!(std::time::Instant::now() < deadline);
        std::thread::yield_now();
    }
    // A start from below executes them again.
    let synced = state.synced.load(Ordering::Acquire);
    assert_eq!(synced, 0, "said to be durable up to {synced}");
    assert!(!state.reaches(1));
}
