//! No hole and no double, whatever comes in which order.

use super::*;
use crate::client::gateway::contacts;
use crate::client_wire::PrivateFrame;
use crate::testing::sample_genesis;
use std::sync::Arc;

const PATIENCE: Duration = Duration::from_secs(3);

fn at(height: u64, index: u32) -> StreamPosition {
    StreamPosition { height, index }
}

/// Four validators of one stake, each with an address.
fn four() -> Everybody {
    let (genesis, _) = sample_genesis(4);
    Everybody::new(Arc::clone(genesis.validator_set()), contacts(&genesis))
}

/// A frame of outputs that came live.
fn live(height: u64, numbers: &[u32]) -> Vec<u8> {
    let mut frame = StreamFrame::default();
    frame.begin(None, height, 7);
    numbers
        .iter()
        .for_each(|number| frame.push(*number, b"fill"));
    frame.finish().to_vec()
}

fn takes(feed: &mut Feed, height: u64, numbers: &[u32]) -> bool {
    let frame = live(height, numbers);
    let Ok((_, ServerFrame::Stream(stream))) = ServerFrame::decode(&frame) else {
        panic!("a stream")
    };
    feed.takes(&stream)
}

/// An answer with these positions: where it ends, the oldest one and the validator's end.
fn answer(
    feed: &mut Feed,
    state: PrivateState,
    positions: [StreamPosition; 3],
    now: Instant,
) -> Fed {
    answer_of(0, feed, state, positions, now)
}

/// That of one of the four.
fn answer_of(
    validator: u16,
    feed: &mut Feed,
    state: PrivateState,
    [next, oldest, tip]: [StreamPosition; 3],
    now: Instant,
) -> Fed {
    let mut frame = PrivateFrame::new(None, 1);
    frame.finish(state, next, oldest, tip);
    let bytes = frame.into_bytes();
    let Ok((_, ServerFrame::Private(answer))) = ServerFrame::decode(&bytes) else {
        panic!("an answer")
    };
    feed.answered(&answer, ValidatorIndex::new(validator), now)
}

fn done(feed: &mut Feed, next: StreamPosition, tip: StreamPosition, now: Instant) -> Fed {
    answer(feed, PrivateState::Done, [next, at(1, 0), tip], now)
}

/// One that has been told everything before (5, 3), and its connection is gone.
fn behind(now: Instant) -> Feed {
    let mut feed = Feed::new(None, four(), now);
    assert!(takes(&mut feed, 5, &[0, 2]));
    assert_eq!(feed.position(), Some(at(5, 3)));
    feed.connected(now);
    feed
}

#[test]
fn one_that_begins_with_what_comes_asks_where_that_is_and_tells_what_comes_meanwhile() {
    let now = Instant::now();
    let mut feed = Feed::new(None, four(), now);
    assert_eq!(feed.wants(now), Some(StreamPosition::LIVE));
    feed.note_asked(Some(1), now);
    assert_eq!(feed.wants(now), None, "one question at a time");
    assert!(takes(&mut feed, 8, &[4]));
    assert_eq!(
        done(&mut feed, at(8, 0), at(8, 0), now),
        Fed::Tell(at(8, 5))
    );
    assert_eq!(feed.position(), Some(at(8, 5)), "it does not go back");
    assert_eq!((feed.wants(now), feed.due(PATIENCE)), (None, None));
    assert!(!takes(&mut feed, 8, &[4]), "it was told");
    assert!(takes(&mut feed, 9, &[0]));
    // Where nothing came the position is known all the same, so that nothing is left out later.
    let mut quiet = Feed::new(None, four(), now);
    assert_eq!(
        done(&mut quiet, at(8, 0), at(8, 0), now),
        Fed::Tell(at(8, 0))
    );
    quiet.connected(now);
    assert_eq!(quiet.wants(now), Some(at(8, 0)));
}

#[test]
fn after_a_login_what_was_left_out_comes_first_and_what_comes_live_meanwhile_once() {
    let now = Instant::now();
    let mut feed = behind(now);
    assert_eq!(feed.wants(now), Some(at(5, 3)));
    feed.note_asked(Some(1), now);
    assert!(!takes(&mut feed, 9, &[1]), "the answer has it");
    // A long stretch comes in pieces.
    assert_eq!(
        done(&mut feed, at(7, 2), at(10, 0), now),
        Fed::Tell(at(5, 3))
    );
    assert_eq!(feed.wants(now), Some(at(7, 2)));
    feed.note_asked(Some(2), now);
    assert_eq!(
        done(&mut feed, at(10, 0), at(10, 0), now),
        Fed::Tell(at(7, 2))
    );
    assert_eq!(feed.wants(now), None);
    assert!(!takes(&mut feed, 9, &[1]), "that was in it");
    assert!(takes(&mut feed, 10, &[0]));
}

#[test]
fn what_overtook_the_answer_is_asked_for_again() {
    let now = Instant::now();
    let mut feed = behind(now);
    feed.note_asked(Some(1), now);
    assert!(
        !takes(&mut feed, 10, &[0, 1]),
        "of a block behind the answer"
    );
    assert_eq!(
        done(&mut feed, at(10, 0), at(10, 0), now),
        Fed::Tell(at(5, 3))
    );
    assert_eq!(feed.wants(now), Some(at(10, 0)));
    assert!(!takes(&mut feed, 11, &[0]));
    feed.note_asked(Some(2), now);
    assert_eq!(
        done(&mut feed, at(12, 0), at(12, 0), now),
        Fed::Tell(at(10, 0))
    );
    assert!(feed.wants(now).is_none() && takes(&mut feed, 12, &[0]));
}

#[test]
fn what_one_validator_has_no_more_is_asked_of_each_before_it_is_a_hole() {
    let now = Instant::now();
    let mut feed = behind(now);
    let gone = |feed: &mut Feed, validator| {
        let positions = [at(5, 3), at(8, 0), at(9, 0)];
        answer_of(validator, feed, PrivateState::Gone, positions, now)
    };
    for validator in 0..3 {
        assert_eq!(gone(&mut feed, validator), Fed::Leave);
        feed.connected(now);
        assert_eq!(feed.wants(now), Some(at(5, 3)));
    }
    // The last one may never answer: the first is met again, and each was dialed since.
    let hole = hole(HoleKind::Gone, at(5, 3), at(8, 0));
    assert_eq!(gone(&mut feed, 0), hole);
    assert_eq!(feed.wants(now), Some(at(8, 0)));
    assert!(
        !takes(&mut feed, 9, &[0]),
        "what is there of it comes first"
    );
}

/// As after three of four were upgraded.
#[test]
fn one_that_is_up_and_has_it_all_is_asked_before_it_is_a_hole() {
    let now = Instant::now();
    let mut feed = behind(now);
    let positions = [at(8, 0), at(9, 0)];
    for validator in 0..3 {
        assert_eq!(gone(validator, &mut feed, positions, now), Fed::Leave);
    }
    feed.note_asked(Some(1), now);
    let all = [at(9, 0), at(1, 0), at(9, 0)];
    let told = answer_of(3, &mut feed, PrivateState::Done, all, now);
    assert_eq!(told, Fed::Tell(at(5, 3)), "no hole");
    // Where it has it no more either that is what all say.
    let mut feed = behind(now);
    for validator in 0..3 {
        assert_eq!(gone(validator, &mut feed, positions, now), Fed::Leave);
    }
    let hole = hole(HoleKind::Gone, at(5, 3), at(8, 0));
    assert_eq!(gone(3, &mut feed, positions, now), hole);
}

/// Else one at fault would keep the stream where it is.
#[test]
fn one_that_says_it_has_it_and_tells_nothing_undoes_nothing_of_what_the_others_have_said() {
    let now = Instant::now();
    let mut feed = behind(now);
    let positions = [at(8, 0), at(9, 0)];
    for validator in 0..3 {
        assert_eq!(gone(validator, &mut feed, positions, now), Fed::Leave);
    }
    feed.note_asked(Some(1), now);
    let nothing = [at(5, 3), at(1, 0), at(9, 0)];
    let told = answer_of(3, &mut feed, PrivateState::Done, nothing, now);
    assert_eq!(told, Fed::Tell(at(5, 3)));
    feed.connected(now);
    let hole = hole(HoleKind::Gone, at(5, 3), at(8, 0));
    assert_eq!(gone(0, &mut feed, positions, now), hole);
    // What was said of another position counts no more.
    let mut feed = behind(now);
    for validator in 0..3 {
        assert_eq!(gone(validator, &mut feed, positions, now), Fed::Leave);
    }
    feed.note_asked(Some(1), now);
    let level = [at(5, 3), at(1, 0), at(5, 3)];
    answer_of(3, &mut feed, PrivateState::Done, level, now);
    assert!(takes(&mut feed, 6, &[0]));
    feed.connected(now);
    assert_eq!(gone(0, &mut feed, positions, now), Fed::Leave);
}

#[test]
fn whoever_brings_nothing_on_is_left_and_one_who_wants_time_is_given_it_in_bounds() {
    let now = Instant::now();
    let mut feed = behind(now);
    assert!(!feed.is_stuck(now + PATIENCE, PATIENCE), "nobody was asked");
    feed.note_asked(Some(1), now);
    assert_eq!(feed.due(PATIENCE), Some(now + PATIENCE));
    assert!(feed.is_asked(1) && !feed.is_asked(2));
    feed.busy(u32::MAX, now);
    assert_eq!(
        feed.due(PATIENCE),
        Some(now + RETRY_MAX),
        "and not for an hour"
    );
    let later = now + RETRY_MAX;
    assert_eq!(feed.wants(later), Some(at(5, 3)));
    feed.note_asked(Some(2), later);
    // It has not come so far, or tells where it is and nothing new.
    let positions = [at(5, 3), at(1, 0), at(4, 0)];
    assert_eq!(
        answer(&mut feed, PrivateState::Ahead, positions, later),
        Fed::Nothing
    );
    assert_eq!(feed.wants(later), None);
    assert_eq!(feed.wants(later + BEHIND_RETRY), Some(at(5, 3)));
    feed.note_asked(None, later);
    assert_eq!(
        feed.due(PATIENCE),
        Some(later + RETRY_MIN),
        "no room to ask"
    );
    assert_eq!(
        done(&mut feed, at(5, 3), at(7, 0), later),
        Fed::Tell(at(5, 3))
    );
    assert!(!feed.is_stuck(now + PATIENCE - RETRY_MIN, PATIENCE));
    assert!(feed.is_stuck(now + PATIENCE, PATIENCE));
    // Another one brings something.
    feed.connected(later);
    feed.note_asked(Some(3), later);
    assert_eq!(
        done(&mut feed, at(6, 0), at(7, 0), later),
        Fed::Tell(at(5, 3))
    );
    assert!(!feed.is_stuck(later + PATIENCE, PATIENCE));
}

const fn hole(kind: HoleKind, from: StreamPosition, to: StreamPosition) -> Fed {
    Fed::Hole(StreamHole { from, to, kind })
}

fn gone(validator: u16, feed: &mut Feed, [oldest, tip]: [StreamPosition; 2], now: Instant) -> Fed {
    let at = feed.wants(now).expect("it asks");
    feed.note_asked(Some(1), now);
    let fed = answer_of(validator, feed, PrivateState::Gone, [at, oldest, tip], now);
    if fed == Fed::Leave {
        feed.connected(now);
    }
    fed
}

/// The oldest block goes with each that comes: whoever asks for exactly that one comes too late.
#[test]
fn a_stream_that_is_kept_for_a_moment_alone_is_caught_up_with_all_the_same() {
    let now = Instant::now();
    for kept in [0, 1, 400] {
        let mut feed = behind(now);
        let (mut height, mut holes) = (1_000, 0);
        for validator in (0..4).cycle() {
            // Each question costs as much time as a hundred blocks.
            height += 100;
            let (oldest, tip) = (at(height - kept, 0), at(height, 0));
            if feed.position() >= Some(oldest) {
                break;
            }
            let fed = gone(validator, &mut feed, [oldest, tip], now);
            holes += usize::from(matches!(fed, Fed::Hole(hole) if hole.from < hole.to));
            assert!(holes <= 4, "{kept}: no end of holes");
            if feed.wants(now).is_none() {
                // Nobody can be asked in time: what comes from here on is told as it comes.
                assert_eq!(feed.position(), Some(tip));
                break;
            }
        }
        if feed.wants(now).is_some() {
            done(&mut feed, at(height, 0), at(height, 0), now);
        }
        assert!(feed.wants(now).is_none() && takes(&mut feed, height + 1, &[0]));
    }
}

/// What a disk has of millions of blocks is not given up for what goes while one asks.
#[test]
fn of_a_long_past_that_is_kept_no_more_than_a_margin_is_given_up() {
    let now = Instant::now();
    let mut feed = behind(now);
    let tip = at(9_000_000, 0);
    for validator in [3, 1, 2] {
        let fed = gone(validator, &mut feed, [at(400, 0), tip], now);
        assert_eq!(fed, Fed::Leave);
    }
    let fed = gone(0, &mut feed, [at(400, 0), tip], now);
    let landing = at(400 + MARGIN_HEIGHTS, 0);
    assert_eq!(fed, hole(HoleKind::Gone, at(5, 3), landing));
}

/// Each of them lets go of a segment when it has no room for the next one.
#[test]
fn of_a_long_past_no_more_than_a_wider_margin_is_given_up_where_the_first_one_was_gone_as_well() {
    let now = Instant::now();
    let mut feed = behind(now);
    let tip = at(4_400_000, 0);
    // What was there when they were asked goes meanwhile. After that it comes to an end soon.
    let words = [
        ([3_000, 400, 2_000, 3_000], 400 + MARGIN_HEIGHTS),
        ([3_000, 4_000, 4_000, 4_000], 4_000 + WIDER_HEIGHTS),
        ([400_000; 4], 2_400_000),
    ];
    for (words, landing) in words {
        let from = feed.position().expect("a position");
        let mut validators = 0..4;
        let fed = words.map(|oldest| {
            let of = validators.next().expect("four of them");
            gone(of, &mut feed, [at(oldest, 0), tip], now)
        });
        let hole = hole(HoleKind::Gone, from, at(landing, 0));
        assert_eq!(fed, [Fed::Leave, Fed::Leave, Fed::Leave, hole]);
    }
}

#[test]
fn the_stream_goes_on_where_the_first_of_them_has_something() {
    let now = Instant::now();
    let mut feed = behind(now);
    let tip = at(8_000, 0);
    for (validator, oldest) in [(3, 400), (1, 50)] {
        let fed = gone(validator, &mut feed, [at(oldest, 0), tip], now);
        assert_eq!(fed, Fed::Leave);
    }
    let landing = at(50 + (8_000 - 50) / 8, 0);
    assert_eq!(gone(0, &mut feed, [at(5_000, 0), tip], now), Fed::Leave);
    let far = gone(3, &mut feed, [at(400, 0), tip], now);
    assert_eq!(far, hole(HoleKind::Gone, at(5, 3), landing));
    // One that says of itself that it has the position tells nothing; nor does one that begins
    // behind its own end.
    let mut feed = behind(now);
    for (validator, oldest, tip) in [(0, at(3, 0), tip), (1, at(9, 0), at(8, 0))] {
        let fed = gone(validator, &mut feed, [oldest, tip], now);
        assert_eq!(fed, Fed::Leave);
    }
    let positions = [at(7, 0), at(15, 0)];
    assert_eq!(gone(2, &mut feed, positions, now), Fed::Leave);
    let fed = gone(3, &mut feed, positions, now);
    assert_eq!(fed, hole(HoleKind::Gone, at(5, 3), at(8, 0)));
    // Where nobody tells anything there is no hole.
    let mut feed = behind(now);
    for validator in 0..4 {
        let fed = gone(validator, &mut feed, [at(5, 3), at(9, 0)], now);
        assert_eq!(fed, Fed::Leave);
    }
    assert_eq!(feed.position(), Some(at(5, 3)));
}

/// While nobody else can be reached a session comes to the same one again and again.
#[test]
fn one_validator_that_has_the_position_no_more_is_one_however_often_it_is_met() {
    let now = Instant::now();
    let mut feed = behind(now);
    let positions = [at(8, 0), at(9, 0)];
    assert_eq!(gone(0, &mut feed, positions, now), Fed::Leave);
    let (mut later, mut owner) = (now, Fed::Waits);
    for pause in [1, 2, 4, 8, 16, 32, 60, 60].map(Duration::from_secs) {
        // It stays there for a while, so that its commands get on, and then looks for the others.
        assert_eq!(gone(0, &mut feed, positions, later), owner, "told once");
        owner = Fed::Nothing;
        assert_eq!(feed.due(PATIENCE), Some(later + pause));
        later += pause;
        assert!(!feed.is_stuck(later, PATIENCE), "it is to stay");
        assert_eq!(gone(0, &mut feed, positions, later), Fed::Leave);
    }
    assert_eq!(feed.position(), Some(at(5, 3)), "no hole");
    // Another one that has it is asked, and nothing is left out.
    feed.note_asked(Some(1), later);
    let told = done(&mut feed, at(9, 0), at(9, 0), later);
    assert_eq!(told, Fed::Tell(at(5, 3)));
}

/// What it executes then was told by somebody before: it would be told a second time.
#[test]
fn one_validator_that_has_not_come_to_the_position_is_one_however_often_it_is_met() {
    let now = Instant::now();
    let mut feed = behind(now);
    let positions = [at(5, 3), at(1, 0), at(5, 0)];
    for _ in 0..9 {
        feed.note_asked(Some(1), now);
        let fed = answer_of(2, &mut feed, PrivateState::Ahead, positions, now);
        assert_eq!(fed, Fed::Nothing);
        feed.leaves();
        feed.connected(now);
    }
    assert_eq!(feed.position(), Some(at(5, 3)), "no hole");
}

/// One that was behind may have joined by a snapshot since; another one may have been put back.
#[test]
fn what_a_validator_says_last_stands_for_it() {
    let now = Instant::now();
    let mut feed = behind(now);
    let behind_it = |feed: &mut Feed, validator| {
        feed.note_asked(Some(1), now);
        let positions = [at(5, 3), at(1, 0), at(5, 0)];
        answer_of(validator, feed, PrivateState::Ahead, positions, now)
    };
    let leave = |feed: &mut Feed| {
        feed.leaves();
        feed.connected(now);
    };
    for validator in [0, 1] {
        assert_eq!(behind_it(&mut feed, validator), Fed::Nothing);
        leave(&mut feed);
    }
    let positions = [at(8, 0), at(9, 0)];
    for validator in [1, 2] {
        assert_eq!(gone(validator, &mut feed, positions, now), Fed::Leave);
    }
    // Two have not come there and two have it no more, of three that must say the same.
    assert_eq!(behind_it(&mut feed, 2), Fed::Nothing);
    assert_eq!(
        behind_it(&mut feed, 2),
        Fed::Nothing,
        "nor before one had patience"
    );
    leave(&mut feed);
    assert_eq!(behind_it(&mut feed, 3), Fed::Nothing);
    feed.connected(now);
    assert_eq!(gone(0, &mut feed, positions, now), Fed::Leave);
    assert_eq!(gone(2, &mut feed, positions, now), Fed::Leave);
    let fed = gone(0, &mut feed, positions, now);
    assert_eq!(fed, hole(HoleKind::Gone, at(5, 3), at(8, 0)));
}

#[test]
fn all_that_have_an_address_are_enough_to_know_that_a_stretch_is_gone() {
    let now = Instant::now();
    let (genesis, _) = sample_genesis(4);
    let some: Arc<[_]> = contacts(&genesis).iter().take(2).cloned().collect();
    let two = Everybody::new(Arc::clone(genesis.validator_set()), some);
    let mut feed = Feed::new(Some(at(5, 3)), two, now);
    let positions = [at(8, 0), at(9, 0)];
    assert_eq!(gone(1, &mut feed, positions, now), Fed::Leave);
    let fed = gone(0, &mut feed, positions, now);
    assert_eq!(fed, hole(HoleKind::Gone, at(5, 3), at(8, 0)));
}

/// A validator may tell of a block that there is not, and others then have never come so far.
#[test]
fn a_position_to_which_nobody_ever_comes_is_given_up() {
    let now = Instant::now();
    let mut feed = behind(now);
    done(&mut feed, at(9, 0), at(9, 0), now);
    assert!(takes(&mut feed, u64::MAX, &[7]), "its word");
    let far = feed.position().unwrap();
    let behind_it = |feed: &mut Feed, validator, height: u64| {
        feed.note_asked(Some(1), now);
        let positions = [far, at(1, 0), at(height, 0)];
        answer_of(validator, feed, PrivateState::Ahead, positions, now)
    };
    feed.connected(now);
    // A connection that is lost meanwhile says nothing.
    for (validator, height) in [(0, 100), (1, 101), (2, 102), (3, 103)] {
        assert_eq!(behind_it(&mut feed, validator, height), Fed::Nothing);
        feed.connected(now);
    }
    for (validator, height) in [(0, 100), (1, 103), (2, 101)] {
        assert_eq!(behind_it(&mut feed, validator, height), Fed::Nothing);
        feed.leaves();
        feed.connected(now);
    }
    let fed = behind_it(&mut feed, 3, 104);
    assert_eq!(fed, hole(HoleKind::Ahead, at(101, 0), far));
    assert_eq!(feed.wants(now), Some(at(101, 0)));
    done(&mut feed, at(105, 0), at(105, 0), now);
    assert!(takes(&mut feed, 105, &[0]));
}

/// Asked from there it would be told where the stream ends, for ever, and nothing of it.
#[test]
fn an_answer_that_ends_where_every_stream_does_is_none() {
    let now = Instant::now();
    let live = StreamPosition::LIVE;
    for (next, tip) in [(live, live), (live, at(9, 0)), (at(9, 0), live)] {
        let mut feed = behind(now);
        feed.note_asked(Some(1), now);
        let mut frame = PrivateFrame::new(None, 1);
        frame.finish(PrivateState::Done, next, at(1, 0), tip);
        // The connection that has it otherwise is left.
        if let Ok((_, ServerFrame::Private(answer))) = ServerFrame::decode(&frame.into_bytes()) {
            feed.answered(&answer, ValidatorIndex::new(0), now);
        }
        feed.connected(now);
        feed.note_asked(Some(2), now);
        let told = done(&mut feed, at(10, 0), at(10, 0), now);
        assert_eq!(told, Fed::Tell(at(5, 3)), "from where it was");
        assert!(takes(&mut feed, 10, &[0]));
    }
}

#[test]
fn what_came_live_on_an_earlier_connection_is_not_waited_for_on_the_next() {
    let now = Instant::now();
    let mut feed = behind(now);
    assert!(!takes(&mut feed, u64::MAX, &[0]));
    feed.connected(now);
    feed.note_asked(Some(1), now);
    done(&mut feed, at(10, 0), at(10, 0), now);
    assert!(feed.wants(now).is_none() && takes(&mut feed, 10, &[0]));
}

/// The end of the stream means what comes, as it does for readers of the public one.
#[test]
fn from_the_end_on_is_what_comes() {
    let now = Instant::now();
    let mut feed = Feed::new(Some(StreamPosition::LIVE), four(), now);
    assert_eq!(feed.wants(now), Some(StreamPosition::LIVE));
    done(&mut feed, at(10, 0), at(10, 0), now);
    assert!(takes(&mut feed, 10, &[0]));
}

#[test]
fn whoever_brings_it_on_by_next_to_nothing_does_not_keep_the_stream_to_itself() {
    let now = Instant::now();
    let mut feed = behind(now);
    let whole = PATIENCE * FILL_PATIENCES;
    let drip = |feed: &mut Feed, index: u32, now: Instant| {
        feed.note_asked(Some(1), now);
        done(feed, at(6, index), at(1_000_000, 0), now);
    };
    let mut later = now;
    for index in 0..FILL_PATIENCES * 2 - 1 {
        assert!(!feed.is_stuck(later, PATIENCE), "{index}");
        drip(&mut feed, index, later);
        later += PATIENCE / 2;
    }
    assert!(feed.is_stuck(now + whole, PATIENCE));
    // The next one has as long again, and one that brings all of it is not left.
    feed.connected(later);
    drip(&mut feed, 200, later);
    assert!(!feed.is_stuck(later + PATIENCE / 2, PATIENCE));
    done(&mut feed, at(1_000_000, 0), at(1_000_000, 0), later);
    assert!(!feed.is_stuck(later + 2 * whole, PATIENCE));
}
