//! No hole and no double, whatever comes in which order.

use super::*;
use crate::client_wire::PrivateFrame;

const PATIENCE: Duration = Duration::from_secs(3);

fn at(height: u64, index: u32) -> StreamPosition {
    StreamPosition { height, index }
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
    [next, oldest, tip]: [StreamPosition; 3],
    now: Instant,
) -> Fed {
    let mut frame = PrivateFrame::new(None, 1);
    frame.finish(state, next, oldest, tip);
    let bytes = frame.into_bytes();
    let Ok((_, ServerFrame::Private(answer))) = ServerFrame::decode(&bytes) else {
        panic!("an answer")
    };
    feed.answered(&answer, 4, now)
}

fn done(feed: &mut Feed, next: StreamPosition, tip: StreamPosition, now: Instant) -> Fed {
    answer(feed, PrivateState::Done, [next, at(1, 0), tip], now)
}

/// One that has been told everything before (5, 3), and its connection is gone.
fn behind(now: Instant) -> Feed {
    let mut feed = Feed::new(None, now);
    assert!(takes(&mut feed, 5, &[0, 2]));
    assert_eq!(feed.position(), Some(at(5, 3)));
    feed.connected(now);
    feed
}

#[test]
fn one_that_begins_with_what_comes_asks_where_that_is_and_tells_what_comes_meanwhile() {
    let now = Instant::now();
    let mut feed = Feed::new(None, now);
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
    let mut quiet = Feed::new(None, now);
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
    let gone = |feed: &mut Feed| {
        let positions = [at(5, 3), at(8, 0), at(9, 0)];
        answer(feed, PrivateState::Gone, positions, now)
    };
    for _ in 0..3 {
        assert_eq!(gone(&mut feed), Fed::Leave);
        feed.connected(now);
        assert_eq!(feed.wants(now), Some(at(5, 3)));
    }
    assert_eq!(gone(&mut feed), Fed::Hole(at(5, 3), at(8, 0)));
    assert_eq!(feed.wants(now), Some(at(8, 0)));
    assert!(
        !takes(&mut feed, 9, &[0]),
        "what is there of it comes first"
    );
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
