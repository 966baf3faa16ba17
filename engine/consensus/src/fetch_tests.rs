//! What has been asked for, and when it is asked for again: each request counted.

use super::*;
use crate::effect::Effect;
use crate::machine::{Config, Durability, Restored};
use crate::signing::ValidatorKey;
use crate::timers::TimerConfig;
use crate::types::{Epoch, Stake};
use crate::validators::{SetParameters, Validator, ValidatorSet};
use alloc::sync::Arc;

const RETRY_NS: u64 = 100;

fn at(mono_ns: u64) -> Now {
    Now {
        mono_ns,
        wall_ns: 0,
    }
}

fn id(mark: u16) -> BlockId {
    let mut bytes = [0; 32];
    bytes[..2].copy_from_slice(&mark.to_le_bytes());
    BlockId::new(bytes)
}

fn point(window: u64, mark: u16) -> Point {
    Point {
        window: Window::new(window),
        index: Index::ZERO,
        height: Height::new(1),
        id: id(mark),
    }
}

fn headers(window: u64) -> Wanted {
    Wanted::Headers(Window::new(window), ValidatorIndex::new(1))
}

#[test]
fn what_does_not_come_is_asked_for_after_twice_as_long_up_to_sixteen_times() {
    let mut fetches = Fetches::default();
    let mut due = 0;
    for attempt in 0..8 {
        if attempt > 0 {
            let early = fetches.is_due(headers(0), (7, 0), at(due - 1), RETRY_NS);
            assert_eq!(early, None, "{attempt}");
        }
        let asked = fetches.is_due(headers(0), (7, 0), at(due), RETRY_NS);
        assert_eq!(asked.map(|due| due.attempt), Some(attempt));
        due += RETRY_NS << attempt.min(4);
    }
    // Something came: the next question goes out at once, and waits as the first one did.
    let at_once = fetches.is_due(headers(0), (8, 0), at(due - 1), RETRY_NS);
    assert_eq!(at_once.map(|due| due.attempt), Some(0));
    let other = fetches.is_due(headers(1), (8, 0), at(due), RETRY_NS);
    assert_eq!(other.map(|due| due.attempt), Some(0), "of another window");
}

/// However many there are: a request whose mark is lost goes out again with every turn.
#[test]
fn no_number_of_requests_makes_any_of_them_go_out_again_at_once() {
    let mut fetches = Fetches::default();
    let many = 3 * FETCHES_MAX as u16;
    let mut asked = |now_ns: u64| {
        let mut due = |wanted| {
            u32::from(
                fetches
                    .is_due(wanted, (0, 0), at(now_ns), RETRY_NS)
                    .is_some(),
            )
        };
        let mut counts = [0; 4];
        for mark in 0..many {
            counts[0] += due(headers(u64::from(mark)));
            counts[1] += due(Wanted::Body(id(mark)));
            counts[2] += due(Wanted::Parent(id(mark)));
        }
        for wanted in [Wanted::Bodies, Wanted::History, Wanted::Proof] {
            counts[3] += due(wanted);
        }
        counts
    };
    let first = asked(1);
    assert_eq!([first[0], first[3]], [u32::from(many), 3], "all of them");
    let max = FETCHES_MAX as u32;
    assert_eq!([first[1], first[2]], [max, max], "each has its own room");
    assert_eq!(
        asked(2),
        [0; 4],
        "none of the rest until one of them is here"
    );
    let due_ns = 1 + RETRY_NS;
    assert_eq!(asked(due_ns), first, "and not what there was no room for");
}

#[test]
fn requests_for_what_nobody_wants_any_more_make_room_for_others() {
    let mut fetches = Fetches::default();
    let mut ask = |marks: core::ops::Range<u16>, now_ns: u64| {
        let due = |mark: &u16| {
            let wanted = Wanted::Body(id(*mark));
            fetches
                .is_due(wanted, (0, 0), at(now_ns), RETRY_NS)
                .is_some()
        };
        marks.filter(due).count()
    };
    let max = FETCHES_MAX as u16;
    assert_eq!(ask(0..max, 1), usize::from(max));
    assert_eq!(
        ask(max..max + 5, 1 + RETRY_NS),
        0,
        "all may still be wanted"
    );
    assert_eq!(ask(0..10, 1 + RETRY_NS), 10, "these are");
    let later_ns = 2 + RETRY_NS;
    assert_eq!(ask(max..2 * max, later_ns), usize::from(max - 10));
    assert_eq!(ask(0..10, later_ns), 0, "what is on its way stays so");
}

/// Parts of a batch that come one by one, and what is due after each: nothing, or whose turn it is.
#[test]
fn while_parts_of_an_answer_come_it_is_not_asked_for_again_and_who_drips_them_gets_no_next_one() {
    for (pause_ns, turn) in [(RETRY_NS / 4, 0), (RETRY_NS - 1, 1)] {
        let mut fetches = Fetches::default();
        let mut ask = |marks, now_ns| fetches.is_due(Wanted::Bodies, marks, at(now_ns), RETRY_NS);
        assert!(ask((0, 0), 0).is_some());
        let mut now_ns = 0;
        for part in 1..limits::BODIES_PER_REQUEST_MAX as u64 {
            now_ns += pause_ns;
            assert_eq!(ask((0, part), now_ns), None, "{part}");
        }
        let next = ask((1, 0), now_ns + pause_ns).expect("the next batch");
        assert_eq!((next.attempt, next.turn), (0, turn), "{pause_ns}");
        // Long after the last part of a batch nobody was slow.
        let later = ask((2, 0), now_ns + 100 * RETRY_NS).expect("the one after that");
        assert_eq!((later.turn, later.passes), (turn, false));
        // Of this one nothing comes.
        assert_eq!(ask((2, 0), now_ns + 101 * RETRY_NS - 1), None);
        let again = ask((2, 0), now_ns + 101 * RETRY_NS).expect("it has not come");
        assert_eq!((again.attempt, again.turn), (1, turn + 1));
    }
}

#[test]
fn places_that_are_remembered_are_bounded() {
    let mut fetches = Fetches::default();
    for mark in 0..3 * PLACES_MAX as u16 {
        fetches.want_place(id(mark));
        assert!(fetches.places.len() <= PLACES_MAX);
    }
    assert_eq!(fetches.places.len(), PLACES_MAX);
}

#[test]
fn bodies_asked_for_below_parents_are_remembered_up_to_a_bound() {
    let mut fetches = Fetches::default();
    let blocks: Vec<BlockRef> = (0..u16::MAX)
        .map(|mark| BlockRef {
            height: Height::new(1),
            id: id(mark),
        })
        .collect();
    fetches.want_parent_bodies(&blocks);
    assert_eq!(fetches.parent_bodies.len(), PARENT_BODIES_MAX);
}

#[test]
fn what_belongs_to_windows_below_is_forgotten() {
    let mut fetches = Fetches::default();
    let from = ValidatorIndex::new(1);
    for window in 1..4 {
        let mark = window as u16;
        fetches.is_due(headers(window), (0, 0), at(0), RETRY_NS);
        fetches.note_headers(Window::new(window), from, Index::ZERO);
        fetches.want_place(id(mark));
        assert!(fetches.note_place(point(window, mark)));
    }
    fetches.is_due(Wanted::History, (0, 0), at(0), RETRY_NS);
    fetches.want_place(id(9));
    fetches.forget_below(Window::new(2));
    let asked: Vec<Wanted> = fetches.asked.keys().copied().collect();
    assert_eq!(asked, [headers(2), headers(3), Wanted::History]);
    let branches: Vec<u64> = fetches.branches.keys().map(|at| at.0.number()).collect();
    assert_eq!(branches, [2, 3]);
    let places: Vec<BlockId> = fetches.places.keys().copied().collect();
    assert_eq!(
        places,
        [id(2), id(3)],
        "and who never came is asked for anew"
    );
}

#[test]
fn a_place_is_taken_once_and_only_when_it_was_asked_for() {
    let mut fetches = Fetches::default();
    assert!(!fetches.note_place(point(1, 1)));
    fetches.want_place(id(1));
    assert!(fetches.note_place(point(1, 1)));
    assert!(!fetches.note_place(point(1, 1)), "it is known");
    fetches.want_place(id(1));
    assert_eq!(fetches.places[&id(1)], Some(point(1, 1)), "and stays so");
}

#[test]
fn a_chain_that_does_not_fit_is_wanted_whole_at_once_and_then_at_intervals() {
    let mut fetches = Fetches::default();
    let (window, from) = (Window::ZERO, ValidatorIndex::new(1));
    let ask = |fetches: &mut Fetches| {
        let due = fetches.is_due(headers(0), (0, 0), at(0), RETRY_NS);
        due.map(|due| due.attempt)
    };
    assert_eq!(ask(&mut fetches), Some(0));
    fetches.note_headers(window, from, Index::new(3));
    assert_eq!(fetches.branches[&(window, from)].above, Some(Index::new(3)));
    fetches.note_misfit(window, from);
    assert_eq!(fetches.branches[&(window, from)].above, None);
    assert_eq!(ask(&mut fetches), Some(0), "at once");
    fetches.note_misfit(window, from);
    assert_eq!(ask(&mut fetches), None, "a second time it waits");
}

#[test]
fn the_next_bodies_are_asked_for_when_the_last_batch_has_come_whole() {
    let block = |height| BlockRef {
        height: Height::new(height),
        id: id(height as u16),
    };
    let mut fetches = Fetches::default();
    let wanted_from = |lowest| move |block: &BlockRef| block.height.number() >= lowest;
    let first = fetches.batch_mark(wanted_from(1));
    fetches.note_batch(first, &[block(1), block(2), block(64)]);
    assert_eq!(fetches.batch_mark(wanted_from(1)), first);
    assert_eq!(fetches.batch_mark(wanted_from(2)), first, "one of it came");
    let last_alone = fetches.batch_mark(wanted_from(64));
    assert_eq!(last_alone, first, "the last one is missing");
    let second = fetches.batch_mark(wanted_from(65));
    assert_ne!(second, first);
    // A block far above a gap among them: what is below it is not of this batch.
    fetches.note_batch(second, &[block(65), block(9_000)]);
    let one_alone = fetches.batch_mark(|block| block.height.number() == 65);
    assert_eq!(one_alone, second, "the one below the gap is missing");
    let all_but =
        |heights: [u64; 2]| move |block: &BlockRef| !heights.contains(&block.height.number());
    assert_eq!(fetches.batch_mark(all_but([65, 0])), second);
    assert_ne!(fetches.batch_mark(all_but([65, 9_000])), second);
}

/// A fresh validator, one of four.
fn fresh() -> Consensus {
    let key = |seed: u8| ValidatorKey::from_seed(&[seed; 32]).public();
    let validators = (1..=4).map(|seed| Validator::new(key(seed), Stake::new(1)));
    let parameters = SetParameters {
        chain_id: [7; 32],
        genesis_hash: [9; 32],
        epoch: Epoch::ZERO,
        fault: Stake::new(1),
        slack: Stake::ZERO,
        window_slots: 8,
        turn_windows: 1,
        crash_only: false,
        genesis_time_ns: 1_000,
    };
    let set = ValidatorSet::new(parameters, validators.collect()).expect("a valid set");
    let restored = Restored::fresh(&set);
    let config = Config {
        own: ValidatorIndex::new(0),
        set: Arc::new(set),
        durability: Durability::Sync,
        timers: TimerConfig::colo(),
        incarnation: 1,
        nonce_seed: [3; 32],
        snapshot_heights: 0,
    };
    let mut effects: Vec<Effect> = Vec::new();
    Consensus::new(config, restored, at(0), &mut effects)
}

/// Headers from height 1, each named by the one above it.
fn chain(set: &ValidatorSet, count: usize) -> Vec<Header> {
    let mut below = set.genesis().id;
    let mut headers = Vec::new();
    for height in 1..=count as u64 {
        let header = Header {
            version: crate::header::HEADER_VERSION,
            flags: 0,
            chain_id: [7; 32],
            epoch: Epoch::ZERO,
            set_hash: [0; 32],
            window: Window::ZERO,
            index: Index::ZERO,
            height: Height::new(height),
            time_ns: height,
            parent_id: below,
            payload_hash: [0; 32],
            payload_bytes: 0,
        };
        below = header.id();
        headers.push(header);
    }
    headers
}

/// The last request below a gap names a block above it too, with which the next one has nothing to
/// do: it waited for a retransmission each time else, for as long as the gap was.
#[test]
fn r9_bodies_above_the_last_batch_are_asked_for_at_once_however_high_that_reached() {
    let mut consensus = fresh();
    for peer in &mut consensus.peers {
        peer.is_up = true;
        peer.finalized = Height::new(50_000);
    }
    let stretch = limits::BACKFILL_HEADERS_MAX / 2;
    let headers = chain(&consensus.config.set, 2 * stretch);
    let top = Header {
        height: Height::new(40_000),
        ..headers[5]
    };
    let path = crate::effect::FinalPath::Proof;
    consensus.delivery.push(top.id(), top, path, false);
    let mut asked = Vec::new();
    // The same moment: nothing is due again.
    for part in headers.chunks(stretch) {
        let stage = &part[stretch - 1];
        consensus.delivery.set_stage(stage.point(stage.id()));
        let history: Vec<_> = part.iter().rev().copied().collect();
        assert!(consensus.delivery.push_history(&history));
        for header in &part[..stretch - 3] {
            consensus.delivery.note_body(header.height, header.id());
            assert!(consensus.delivery.pop().is_some());
        }
        let mut effects: Vec<Effect> = Vec::new();
        consensus.fetch_history(at(1), &mut effects);
        let mut heights = Vec::new();
        for effect in effects {
            let Effect::Send { message, .. } = effect else {
                panic!("{effect:?}")
            };
            let Message::Get(Get::Bodies(blocks)) = message else {
                panic!("{message:?}")
            };
            for block in blocks {
                consensus.delivery.note_body(block.height, block.id);
                heights.push(block.height.number());
            }
        }
        asked.push(heights);
        while consensus.delivery.pop().is_some() {}
    }
    let first = vec![8_190, 8_191, 8_192, 40_000];
    assert_eq!(asked, [first, vec![16_382, 16_383, 16_384]]);
}

/// Nothing else bounds how many windows' branches are remembered.
#[test]
fn what_was_asked_of_windows_goes_with_them() {
    let mut consensus = fresh();
    let from = ValidatorIndex::new(1);
    for window in 0..3 {
        let window = Window::new(window);
        consensus.fetches.note_headers(window, from, Index::ZERO);
    }
    consensus.proven = point(2, 1);
    consensus.drop_windows();
    assert!(consensus.windows.is_empty());
    let branches = consensus.fetches.branches.keys();
    let branches: Vec<u64> = branches.map(|at| at.0.number()).collect();
    assert_eq!(branches, [2]);
}
