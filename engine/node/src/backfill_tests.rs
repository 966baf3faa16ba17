//! Stretches from honest sources, lying ones, silent ones, and such as have nothing.

use super::*;
use crate::archive::{ARCHIVE_BYTES_MIN, Archive, ArchiveConfig, Prepended};
use crate::client_wire::PublicFrame;
use crate::results::BlockResults;
use crate::stages::older::piece;
use crate::state_machine::Output;
use crate::testing::TemporaryFolder;

const TIP: u64 = 900;
const ANN: ValidatorIndex = ValidatorIndex::new(1);
const BEN: ValidatorIndex = ValidatorIndex::new(2);

fn block(height: u64) -> Block {
    let mut results = BlockResults::new();
    (results.height, results.time_ns) = (height, height * 10);
    let mut output = Output::new();
    for number in 0..height % 3 {
        output.to_public(&[&height.to_le_bytes()[..], &[number as u8; 1000]].concat());
    }
    results.collect(Some(0), &output);
    Block::of(&results)
}

fn history(last: u64) -> EventHistory {
    let mut history = EventHistory::default();
    (1..=last).for_each(|height| history.push(&block(height).leaf(height)));
    history
}

fn archive(folder: &TemporaryFolder, after: u64, bytes_max: u64) -> Archive {
    let config = ArchiveConfig {
        folder: folder.path().join("public"),
        genesis_hash: [7; 32],
        bytes_max,
    };
    let mut archive = Archive::open(config).unwrap();
    archive.go_on_from(&history(after)).unwrap();
    (after + 1..=TIP).for_each(|height| archive.append(height, &block(height)).unwrap());
    archive.sync().unwrap();
    archive
}

/// What an honest source answers.
fn answer(source: &mut Archive, asked: &SnapshotPart) -> (u64, Option<EventStretch>) {
    answer_of(source, asked, 40_000)
}

/// The same in pieces of about so many bytes; a block at least.
fn answer_of(
    source: &mut Archive,
    asked: &SnapshotPart,
    bytes: usize,
) -> (u64, Option<EventStretch>) {
    let SnapshotPart::GetEvents { below, from } = *asked else {
        panic!("{asked:?}");
    };
    let mut frame = PublicFrame::default();
    let stretch = piece(source, &mut frame, (below, from), bytes);
    (below.number(), stretch.map(|boxed| *boxed))
}

/// A joiner that asks, and what is told it.
struct World {
    own: Archive,
    backfill: Backfill,
    now_ns: u64,
    lies: Vec<ValidatorIndex>,
}

impl World {
    fn new(own: Archive) -> Self {
        Self {
            own,
            backfill: Backfill::new([ANN, BEN]),
            now_ns: 0,
            lies: Vec::new(),
        }
    }

    fn ask(&mut self) -> Option<(ValidatorIndex, SnapshotPart)> {
        self.now_ns += PAUSE_NS;
        self.backfill.turn(self.now_ns, self.own.first())
    }

    fn tell(&mut self, from: ValidatorIndex, (below, part): (u64, Option<EventStretch>)) {
        let room = self.own.room();
        let taken = self
            .backfill
            .take(self.now_ns, (from, below), part.as_ref(), room);
        match taken {
            Taken::More => {}
            Taken::Lie => self.lies.push(from),
            Taken::Whole(stretch) => {
                let first = self.own.first();
                match self.own.prepend(&stretch.before, &stretch.blocks).unwrap() {
                    Prepended::Taken => assert!(self.own.first() < first),
                    Prepended::Lie => {
                        assert_eq!(self.own.first(), first);
                        self.backfill.accuse(stretch.source);
                        self.lies.push(from);
                    }
                    refused => panic!("{refused:?}"),
                }
            }
        }
    }

    /// Until nothing is asked any more, or the first height is at or below one.
    fn run(&mut self, source: &mut Archive, until: u64) {
        for _ in 0..10_000 {
            if self.own.first() <= until {
                return;
            }
            let Some((of, asked)) = self.ask() else {
                return;
            };
            let answer = answer(source, &asked);
            self.tell(of, answer);
        }
        panic!("no end");
    }
}

/// Every event from a height on, by frames as readers get them.
fn told(archive: &mut Archive, first: u64) -> Vec<(StreamPosition, u64, Vec<u8>)> {
    let (mut at, end) = (
        StreamPosition::before(first),
        StreamPosition::before(TIP + 1),
    );
    let mut told = Vec::new();
    while at < end {
        let chunk = archive.read((at, end), 50_000).unwrap();
        let mut frame = PublicFrame::default();
        frame.begin(None, 0, at);
        at = chunk.write(at, &mut frame);
        let Ok((_, ServerFrame::Public(public))) = ServerFrame::decode(frame.bytes()) else {
            panic!("not public");
        };
        told.extend(public.map(|event| (event.position, event.time_ns, event.bytes.to_vec())));
    }
    told
}

#[test]
fn what_was_before_the_join_comes_whole_and_a_restart_half_way_goes_on() {
    let folders = ["backfill-source", "backfill-own"].map(TemporaryFolder::new);
    let mut source = archive(&folders[0], 0, 2 << 20);
    let own = archive(&folders[1], 700, 64 << 20);
    assert_eq!(own.first(), 701);
    let mut world = World::new(own);
    world.run(&mut source, 600);
    let half = world.own.first();
    assert!(1 < half && half <= 600, "{half}");
    // The process ends in the middle of the next stretch.
    let (of, asked) = world.ask().expect("a question");
    let part = answer(&mut source, &asked);
    world.tell(of, part);
    drop(world);

    let own = archive(&folders[1], 800, 64 << 20);
    assert_eq!(own.first(), half, "what was stored is there");
    let mut world = World::new(own);
    world.run(&mut source, 1);
    assert_eq!(world.own.first(), 1);
    assert_eq!((world.ask(), world.lies.len()), (None, 0));
    assert_eq!(told(&mut world.own, 1), told(&mut source, 1));
    drop(world);
    let mut own = archive(&folders[1], 800, 64 << 20);
    assert_eq!(told(&mut own, 1), told(&mut source, 1));
}

/// The same stretch but for something.
fn changed(
    part: &EventStretch,
    change: impl Fn(&mut Vec<(StreamPosition, u64, Vec<u8>)>),
) -> EventStretch {
    let Ok((_, ServerFrame::Public(public))) = ServerFrame::decode(&part.frame) else {
        panic!("not public");
    };
    let (from, end) = (public.from(), public.end());
    let all = public.map(|event| (event.position, event.time_ns, event.bytes.to_vec()));
    let mut all: Vec<_> = all.collect();
    change(&mut all);
    let mut frame = PublicFrame::default();
    frame.begin(None, 0, from);
    let mut height = 0;
    for (at, time_ns, bytes) in &all {
        if at.height != height {
            frame.begin_block(at.height, *time_ns, at.index);
            height = at.height;
        }
        frame.push(bytes);
    }
    frame.finish(end);
    EventStretch {
        frame: frame.bytes().into(),
        ..part.clone()
    }
}

type Change = fn(&EventStretch) -> EventStretch;

/// What a liar makes of an honest answer.
fn lies() -> [(&'static str, Change); 9] {
    [
        ("a byte", |part| changed(part, |all| all[3].2[9] ^= 1)),
        ("a missing event", |part| {
            changed(part, |all| {
                // The second one of its block, so that no place tells it.
                let second = all.iter().position(|(at, ..)| at.index == 1).unwrap();
                all.remove(second);
            })
        }),
        ("all events missing", |part| changed(part, Vec::clear)),
        ("one more", |part| {
            changed(part, |all| {
                let last = all.last().unwrap().clone();
                all.push(last);
            })
        }),
        ("another height", |part| {
            changed(part, |all| {
                let at = all.iter().position(|(at, ..)| at.height % 3 == 1).unwrap();
                // The block before it is silent.
                all[at].0.height -= 1;
            })
        }),
        ("another time", |part| {
            changed(part, |all| {
                let height = all[0].0.height;
                let own = all.iter_mut().filter(|(at, ..)| at.height == height);
                own.for_each(|(_, time_ns, _)| *time_ns += 1);
            })
        }),
        ("nothing, from where it goes on", |part| {
            let Ok((_, ServerFrame::Public(public))) = ServerFrame::decode(&part.frame) else {
                panic!("not public");
            };
            let mut frame = PublicFrame::default();
            frame.begin(None, 0, public.from());
            frame.finish(public.from());
            EventStretch {
                frame: frame.bytes().into(),
                ..part.clone()
            }
        }),
        ("other tops", |part| {
            let mut part = part.clone();
            part.tops[0][0] ^= 1;
            part
        }),
        ("fewer tops", |part| {
            let mut part = part.clone();
            part.tops.pop();
            part
        }),
    ]
}

#[test]
fn a_lie_is_found_before_anything_is_stored_and_another_source_is_asked() {
    let source_folder = TemporaryFolder::new("backfill-honest");
    let mut source = archive(&source_folder, 0, 4 << 20);
    for (what, lie) in lies() {
        let folder = TemporaryFolder::new("backfill-lied-to");
        let mut world = World::new(archive(&folder, 700, 64 << 20));
        let files = || {
            std::fs::read_dir(folder.path().join("public"))
                .unwrap()
                .count()
        };
        let stored = files();
        let (liar, mut is_first) = (BEN, true);
        while world.lies.is_empty() {
            let (of, asked) = world.ask().expect("a question");
            let (below, part) = answer(&mut source, &asked);
            let part = if of == liar && std::mem::take(&mut is_first) {
                part.map(|part| lie(&part))
            } else {
                // The other one has nothing to say yet.
                part.filter(|_| of == liar)
            };
            world.tell(of, (below, part));
        }
        assert_eq!(world.lies, [liar], "{what}");
        assert_eq!((world.own.first(), files()), (701, stored), "{what}");
        world.now_ns += NOTHING_NS;
        while world.own.first() == 701 {
            let (of, asked) = world.ask().expect("a question");
            assert_eq!(of, ANN, "{what}: a liar is not asked again");
            let part = answer(&mut source, &asked);
            world.tell(of, part);
        }
        assert_eq!(world.lies.len(), 1, "{what}");
    }
}

#[test]
fn one_question_is_under_way_at_a_bounded_rate_and_the_silent_are_left() {
    let folder = TemporaryFolder::new("backfill-silent");
    let mut world = World::new(archive(&folder, 700, 64 << 20));
    let (first, _) = world.ask().expect("a question");
    assert_eq!(world.ask(), None, "one at a time");
    assert_eq!(world.backfill.expects(), Some(first));
    // Nobody asked the other one.
    let other = if first == ANN { BEN } else { ANN };
    world.tell(other, (701, None));
    assert_eq!(world.backfill.expects(), Some(first));
    world.now_ns += WAIT_NS;
    let (second, _) = world.ask().expect("a question");
    assert_eq!(second, other, "after a silent one another is asked");
    world.tell(second, (701, None));
    assert_eq!(world.ask(), None, "one is silent and one has nothing");
    world.now_ns += AWAY_NS;
    assert_eq!(world.ask().map(|(of, _)| of), Some(first));
    world.tell(first, (701, None));
    assert!(world.ask().is_none());
    world.now_ns += 2 * NOTHING_NS;
    assert!(world.ask().is_some(), "it may have them by then");
    let too_early = world.backfill.turn(world.now_ns, world.own.first());
    assert_eq!(too_early, None);
}

#[test]
fn an_answer_to_a_question_that_is_another_by_now_is_no_lie_and_ends_no_wait() {
    let names = ["backfill-prompt", "backfill-first", "backfill-anew"];
    let folders = names.map(TemporaryFolder::new);
    let mut source = archive(&folders[0], 0, 4 << 20);
    let mut world = World::new(archive(&folders[1], 700, 64 << 20));
    world.backfill = Backfill::new([ANN]);
    let (_, asked) = world.ask().expect("a question");
    let late = answer(&mut source, &asked);
    // What is here begins anew meanwhile.
    world.own = archive(&folders[2], 800, 64 << 20);
    let (_, asked) = world.ask().expect("another question");
    world.tell(ANN, late);
    assert_eq!(world.backfill.expects(), Some(ANN));
    let prompt = answer(&mut source, &asked);
    world.tell(ANN, prompt);
    world.run(&mut source, 1);
    assert_eq!((world.own.first(), world.lies.len()), (1, 0));
    assert_eq!(told(&mut world.own, 1), told(&mut source, 1));
}

/// A stretch is checked while the next question may be under way already.
#[test]
fn a_liar_that_is_silent_afterwards_is_not_asked_again() {
    let folder = TemporaryFolder::new("backfill-silent-liar");
    let mut world = World::new(archive(&folder, 700, 64 << 20));
    let (liar, _) = world.ask().expect("a question");
    world.backfill.accuse(liar);
    let mut asked = Vec::new();
    for _ in 0..20 {
        world.now_ns += WAIT_NS;
        asked.extend(world.ask().map(|(of, _)| of));
    }
    let other = if liar == ANN { BEN } else { ANN };
    assert!(asked.len() > 3, "{asked:?}");
    assert!(asked.iter().all(|of| *of == other), "{asked:?}");
}

#[test]
fn it_ends_where_the_peers_were_pruned_and_at_the_own_budget() {
    let names = [
        "pruned-source",
        "pruned-own",
        "pruned-little",
        "pruned-whole",
    ];
    let folders = names.map(TemporaryFolder::new);
    let mut source = archive(&folders[0], 400, 4 << 20);
    let mut world = World::new(archive(&folders[1], 700, 64 << 20));
    world.run(&mut source, 1);
    assert_eq!(world.own.first(), source.first());
    assert!(world.lies.is_empty());
    assert_eq!(told(&mut world.own, 401), told(&mut source, 401));

    let mut whole = archive(&folders[3], 0, 2 << 20);
    let mut world = World::new(archive(&folders[2], 700, ARCHIVE_BYTES_MIN));
    world.run(&mut whole, 1);
    let first = world.own.first();
    assert!(1 < first && first < 701, "{first}");
    world.now_ns += 2 * NOTHING_NS;
    assert!(
        world.ask().is_none(),
        "what has no room is not asked for at once"
    );
    let bytes: u64 = std::fs::read_dir(folders[2].path().join("public"))
        .unwrap()
        .map(|entry| entry.unwrap().metadata().unwrap().len())
        .sum();
    assert!(bytes <= ARCHIVE_BYTES_MIN, "{bytes}");
}

/// An event of one MiB of the first block; the block and the stretch end with it after so many.
fn of_long_block(asked: &SnapshotPart, count: u32) -> EventStretch {
    let SnapshotPart::GetEvents { below, from } = *asked else {
        panic!("{asked:?}");
    };
    let index = from.map_or(0, |(_, index)| index);
    let mut frame = PublicFrame::default();
    frame.begin(None, 0, StreamPosition { height: 1, index });
    frame.begin_block(1, 7, index);
    frame.push(&vec![1; 1 << 20]);
    frame.finish(match index + 1 < count {
        true => StreamPosition {
            height: 1,
            index: index + 1,
        },
        false => StreamPosition::before(below.number()),
    });
    EventStretch {
        first: Height::new(1),
        tops: Vec::new(),
        frame: frame.bytes().into(),
    }
}

const CAT: ValidatorIndex = ValidatorIndex::new(3);

#[test]
fn what_is_kept_of_a_stretch_is_bounded() {
    let mut backfill = Backfill::new([ANN, BEN, CAT]);
    let (mut now_ns, mut kept, mut asked) = (0, 0, 0);
    while let Some((of, ask)) = backfill.turn(now_ns, 9_000) {
        let part = (of == BEN).then(|| of_long_block(&ask, u32::MAX));
        asked += u32::from(of == BEN);
        let taken = backfill.take(now_ns, (of, 9_000), part.as_ref(), u64::MAX);
        assert!(matches!(taken, Taken::More), "{taken:?}");
        kept = kept.max(backfill.making.as_ref().map_or(0, |making| making.bytes));
        now_ns += PAUSE_NS;
    }
    assert!(kept <= STRETCH_BYTES_MAX, "{kept}");
    assert!(backfill.making.is_none(), "an endless block is left");
    assert_eq!(asked, 32);
}

/// One alone may lie; of more than half of the peers one at least is honest.
#[test]
fn a_block_that_most_peers_say_is_longer_is_taken_and_an_endless_one_is_not() {
    for (count, is_taken) in [(40, true), (u32::MAX, false)] {
        let mut backfill = Backfill::new([ANN, BEN, CAT]);
        let (mut now_ns, mut kept, mut whole) = (0, 0, None);
        while whole.is_none()
            && let Some((of, ask)) = backfill.turn(now_ns, 9_000)
        {
            let part = (of != CAT).then(|| of_long_block(&ask, count));
            let taken = backfill.take(now_ns, (of, 9_000), part.as_ref(), u64::MAX);
            if let Taken::Whole(stretch) = taken {
                whole = Some(stretch);
            }
            kept = kept.max(backfill.making.as_ref().map_or(0, |making| making.bytes));
            now_ns += PAUSE_NS;
        }
        assert_eq!(whole.is_some(), is_taken);
        assert!(kept <= LONG_STRETCH_BYTES_MAX, "{kept}");
        // For the next stretch as much has to be said anew.
        backfill.turn(now_ns, 8_000);
        assert!(!backfill.is_long());
    }
}

#[test]
fn a_liar_is_not_asked_again_because_others_say_the_same_of_a_long_block() {
    let mut backfill = Backfill::new([ANN, BEN, CAT]);
    let (mut now_ns, mut asked) = (0, Vec::new());
    while !backfill.is_long()
        && let Some((of, ask)) = backfill.turn(now_ns, 9_000)
    {
        let part = of_long_block(&ask, u32::MAX);
        backfill.take(now_ns, (of, 9_000), Some(&part), u64::MAX);
        if backfill.making.is_none() && asked.is_empty() {
            backfill.accuse(of);
            asked.push(of);
        }
        now_ns += PAUSE_NS;
    }
    assert!(backfill.is_long());
    for _ in 0..4 {
        let (of, _) = backfill.turn(now_ns, 9_000).expect("there are others");
        assert!(!asked.contains(&of), "{of:?}");
        backfill.take(now_ns, (of, 9_000), None, u64::MAX);
        now_ns += 2 * NOTHING_NS;
    }
}

/// How long one that drips takes for a block: in time, each of them.
const DRIP_NS: u64 = 5 * PAUSE_NS;

#[test]
fn a_source_that_drips_what_is_true_is_left_soon_and_another_one_asked() {
    let folders = ["backfill-drip", "backfill-dripped"].map(TemporaryFolder::new);
    let mut source = archive(&folders[0], 0, 4 << 20);
    let mut world = World::new(archive(&folders[1], 700, 64 << 20));
    let (mut pieces, mut begun_ns) = (0, None);
    let (of, asked) = loop {
        let (of, asked) = world.ask().expect("a question");
        if of == BEN && begun_ns.is_some() {
            break (of, asked);
        }
        begun_ns.get_or_insert(world.now_ns);
        assert!(of == ANN, "the one that is asked first drips");
        let part = answer_of(&mut source, &asked, 1);
        assert!(part.1.is_some());
        world.now_ns += DRIP_NS;
        world.tell(of, part);
        pieces += 1;
        assert_eq!(world.own.first(), 701, "whole after {pieces} pieces");
    };
    let held_ns = world.now_ns - begun_ns.unwrap();
    let most_ns = time_for(pieces * (BLOCK_BYTES + 2 * (EVENT_BYTES + 1008)));
    let most_ns = most_ns + DRIP_NS + PAUSE_NS;
    assert!((GRACE_NS..=most_ns).contains(&held_ns), "{held_ns}");
    assert_eq!(world.backfill.take_slow(), Some(ANN));
    assert_eq!(world.backfill.take_slow(), None, "said once");
    // Nothing of what dripped is in what the other one begins.
    assert!(matches!(asked, SnapshotPart::GetEvents { from: None, .. }));
    let left_ns = world.now_ns;
    let part = answer(&mut source, &asked);
    world.tell(of, part);
    while world.own.first() > 1 {
        let (of, asked) = world.ask().expect("a question");
        assert_eq!(of, BEN, "the slow one is left alone");
        let part = answer(&mut source, &asked);
        world.tell(of, part);
    }
    assert!(world.now_ns < left_ns + SLOW_NS);
    assert!(world.lies.is_empty(), "to be slow is no lie");
    assert_eq!(told(&mut world.own, 1), told(&mut source, 1));
}

#[test]
fn a_slow_source_is_asked_again_later_and_may_be_the_only_one() {
    let folders = ["backfill-slow", "backfill-alone"].map(TemporaryFolder::new);
    let mut source = archive(&folders[0], 0, 4 << 20);
    let mut world = World::new(archive(&folders[1], 700, 64 << 20));
    world.backfill = Backfill::new([ANN]);
    while let Some((of, asked)) = world.ask() {
        let part = answer_of(&mut source, &asked, 1);
        world.now_ns += DRIP_NS;
        world.tell(of, part);
    }
    assert_eq!(world.own.first(), 701);
    let left_ns = world.now_ns;
    world.now_ns = left_ns + SLOW_NS - PAUSE_NS - 1;
    assert_eq!(world.ask(), None, "nothing is asked of it before then");
    world.run(&mut source, 1);
    assert_eq!(world.own.first(), 1);
}

/// One event of so many bytes a piece and a pause, from one source alone: how long it was listened
/// to, and whether 24 MiB came to be whole.
fn listened_to(event_bytes: usize, pause_ns: u64) -> (u64, bool) {
    let mut backfill = Backfill::new([ANN]);
    let event = vec![1; event_bytes];
    let (mut now_ns, mut height) = (0, 1);
    let below = 1 + (24 << 20) / event_bytes as u64;
    while let Some((of, _)) = backfill.turn(now_ns, below) {
        let mut frame = PublicFrame::default();
        frame.begin(None, 0, StreamPosition::before(height));
        frame.begin_block(height, 7, 0);
        frame.push(&event);
        height += 1;
        frame.finish(StreamPosition::before(height));
        let part = EventStretch {
            first: Height::new(1),
            tops: Vec::new(),
            frame: frame.bytes().into(),
        };
        now_ns += pause_ns;
        match backfill.take(now_ns, (of, below), Some(&part), u64::MAX) {
            Taken::More => {}
            Taken::Whole(_) => return (now_ns, true),
            Taken::Lie => panic!("a lie"),
        }
    }
    assert_eq!(backfill.take_slow(), Some(ANN));
    (now_ns, false)
}

#[test]
fn the_least_rate_is_that_of_a_chunk_in_its_time_and_bounds_what_one_source_can_take() {
    const PIECE: usize = 128 * 1024;
    let least_ns = join::CHUNK_WAIT_NS / 8;
    let (took_ns, is_whole) = listened_to(PIECE, least_ns);
    assert!(
        is_whole && took_ns > 3 * GRACE_NS,
        "as slow as may be: {took_ns}"
    );
    let (took_ns, is_whole) = listened_to(PIECE, least_ns * 2);
    assert!(!is_whole, "half as fast");
    assert!(took_ns <= 2 * GRACE_NS + 2 * least_ns, "{took_ns}");
    // However it is done, no source is listened to for longer.
    let most_ns = time_for(STRETCH_BYTES_MAX);
    assert_eq!(most_ns, 111_000_000_000);
    for (bytes, pause_ns) in [
        (1, PAUSE_NS),
        (1, WAIT_NS - 1),
        (PIECE, WAIT_NS - 1),
        (1 << 20, WAIT_NS - 1),
    ] {
        let (took_ns, _) = listened_to(bytes, pause_ns);
        assert!(took_ns <= most_ns + WAIT_NS, "{bytes}: {took_ns}");
    }
}
