//! What is kept of the public stream while nobody takes it, and what is passed over.

use super::waiting::{ITEM_BYTES, Kept};
use super::*;
use crate::client_wire::{PublicFrame, encode_busy};
use crate::testing::sample_genesis;
use std::net::TcpListener;

const fn at(height: u64, index: u32) -> StreamPosition {
    StreamPosition { height, index }
}

const SUBSCRIPTION: u64 = 2;
const RANGE: u64 = 3;

/// One that has subscribed from the beginning, and has asked for what lies before (9, 0).
fn reader() -> PublicReader {
    let (genesis, _) = sample_genesis(4);
    let key = Arc::new(KeyPair::from_seed(&[5; 32]));
    let options = PublicOptions {
        from: StreamPosition::BEGIN,
        ..PublicOptions::default()
    };
    let mut reader = PublicReader::new(&genesis, key, options).unwrap();
    reader.ask_range(StreamPosition::BEGIN, at(9, 0));
    (reader.reading.subscription_id, reader.reading.range_id) = (SUBSCRIPTION, RANGE);
    reader
}

/// What the reader tells when a stretch with one event comes, at its begin.
fn take(
    reader: &mut PublicReader,
    id: u64,
    from: StreamPosition,
    end: StreamPosition,
) -> Vec<String> {
    let mut frame = PublicFrame::default();
    frame.begin(None, id, from);
    frame.begin_block(from.height, 5, from.index);
    frame.push(b"event");
    frame.finish(end);
    let Ok((_, ServerFrame::Public(public))) = ServerFrame::decode(frame.bytes()) else {
        panic!("a stretch of the public stream");
    };
    let mut told = Vec::new();
    let mut taking = Taking {
        reading: &mut reader.reading,
        on_update: &mut |update: PublicUpdate<'_>| told.push(format!("{update:?}")),
    };
    taking.take(public);
    told
}

#[test]
fn events_are_kept_up_to_so_many_bytes_and_none_behind_one_that_found_no_room() {
    let event = |index, bytes| PublicEvent {
        position: at(7, index),
        time_ns: 1,
        bytes,
    };
    let mut kept = Kept::default();
    kept.push(&event(0, b"one has room wherever nothing is kept"), 1);
    assert_eq!(kept.pop().unwrap().position, at(7, 0));
    let bytes_max = 2 * (ITEM_BYTES + 4);
    for index in 1..=3 {
        kept.push(&event(index, b"four"), bytes_max);
    }
    assert_eq!((kept.items.len(), kept.left_at), (2, Some(at(7, 3))));
    kept.pop();
    // There is room again, and a hole in between.
    kept.push(&event(4, b""), bytes_max);
    assert_eq!((kept.items.len(), kept.left_at), (1, Some(at(7, 3))));
    assert_eq!(kept.bytes, ITEM_BYTES + 4);
}

#[test]
fn an_answer_that_is_wanted_no_more_is_not_taken_for_the_subscription() {
    let mut reader = reader();
    reader.end_range();
    let mut told = Vec::new();
    for id in [RANGE, SUBSCRIPTION] {
        let updates = take(&mut reader, id, StreamPosition::BEGIN, at(2, 0));
        told.extend(updates.into_iter().map(|update| (id, update)));
    }
    assert!(!reader.reading.leaves, "nothing of it is a fault");
    assert_eq!(reader.position(), at(2, 0));
    let [(SUBSCRIPTION, update)] = &told[..] else {
        panic!("{told:?}");
    };
    assert!(update.starts_with("Event"), "{update}");
}

#[test]
fn whoever_leaves_something_of_the_subscription_out_is_left_and_nothing_is_told() {
    for from in [at(1, 1), at(2, 0), at(7, 0)] {
        let mut reader = reader();
        let told = take(&mut reader, SUBSCRIPTION, from, at(8, 0));
        assert_eq!(told, [""; 0], "{from}");
        assert!(reader.reading.leaves, "{from}");
        assert_eq!(reader.position(), StreamPosition::BEGIN, "{from}");
    }
}

#[test]
fn whoever_tells_of_a_range_what_does_not_belong_to_it_is_left_and_nothing_is_told() {
    // A hole, and what goes on beyond its end by one block and by several.
    for (from, end) in [
        (at(2, 0), at(3, 0)),
        (at(1, 0), at(10, 0)),
        (at(1, 0), at(12, 0)),
    ] {
        let mut reader = reader();
        let told = take(&mut reader, RANGE, from, end);
        assert_eq!(told, [""; 0], "{from} to {end}");
        assert!(reader.reading.leaves, "{from} to {end}");
        let range = reader.reading.range.expect("it is still wanted");
        assert_eq!(range.at, StreamPosition::BEGIN, "{from} to {end}");
    }
    let mut reader = reader();
    let told = take(&mut reader, RANGE, StreamPosition::BEGIN, at(9, 0));
    assert_eq!(told.len(), 1, "all of it");
    assert!(!reader.reading.leaves);
}

/// Somewhere to be connected to, and nobody who answers.
fn connect(reader: &mut PublicReader) -> (TcpListener, LinkId) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let wanted = reader.reading.gateway.validator();
    let identity = Identity::new(Arc::clone(&reader.key), Arc::clone(&reader.set), wanted);
    let (links, chain) = (&mut reader.links, reader.chain);
    let link = links.connect(Instant::now(), &address, chain, Arc::new(identity));
    let link = link.expect("a connection on its way");
    reader.reading.gateway.up(link);
    (listener, link)
}

/// A validator has no room for what was asked by this id.
fn busy(reader: &mut PublicReader, link: LinkId, id: u64, pause_us: u32) {
    let mut frame = Vec::new();
    encode_busy(None, id, pause_us, &mut frame);
    let mut taking = Taking {
        reading: &mut reader.reading,
        on_update: &mut |update: PublicUpdate<'_>| panic!("{update:?}"),
    };
    taking.link_frame(link, &frame);
}

#[test]
fn what_a_busy_validator_had_no_room_for_is_asked_again_after_the_pause_that_it_named() {
    let asked = |id| {
        let mut reader = reader();
        let (_listener, link) = connect(&mut reader);
        let now = Instant::now();
        let reading = &mut reader.reading;
        (reading.now, reading.id, reading.is_subscribed) = (now, 7, true);
        reading.range.as_mut().expect("it is wanted").is_asked = true;
        busy(&mut reader, link, id, 2_000);
        assert!(!reader.reading.leaves);
        reader.send(now + Duration::from_micros(1_999));
        let reading = &reader.reading;
        let early = (reading.subscription_id, reading.range_id);
        assert_eq!(early, (SUBSCRIPTION, RANGE), "it is left in peace");
        reader.send(now + Duration::from_micros(2_000));
        (reader.reading.subscription_id, reader.reading.range_id)
    };
    assert_eq!(asked(SUBSCRIPTION), (8, RANGE));
    assert_eq!(asked(RANGE), (SUBSCRIPTION, 8));
    assert_eq!(asked(1), (SUBSCRIPTION, RANGE), "nothing that is wanted");
}

const S: Duration = Duration::from_secs(1);

/// A reader with three seconds of patience that has asked for its range, at a validator that tells
/// nothing, and when that began.
fn waiting() -> (PublicReader, TcpListener, LinkId, Instant) {
    let mut reader = reader();
    let (listener, link) = connect(&mut reader);
    let now = Instant::now();
    let reading = &mut reader.reading;
    (reading.patience, reading.now, reading.is_subscribed) = (3 * S, now, true);
    reading.subscribing = None;
    reading.range.as_mut().expect("it is wanted").is_asked = true;
    reading.silence.heard(now);
    (reader, listener, link, now)
}

#[test]
fn whoever_tells_nothing_is_asked_and_left_when_it_does_not_answer() {
    let (mut reader, _listener, _link, begin) = waiting();
    reader.end_range();
    let mut ends = |after: Duration| {
        reader.reading.begin_turn(begin + after);
        reader.send(begin + after);
        let ends = reader.reading.patience_ends().expect("it has an end");
        (ends - begin, reader.reading.is_out_of_patience())
    };
    assert_eq!(ends(S), (3 * S, false));
    assert_eq!(ends(4 * S), (7 * S, false), "asked now");
    assert_eq!(ends(6 * S), (7 * S, false));
    assert_eq!(ends(7 * S), (7 * S, true));
}

#[test]
fn whoever_tells_other_things_and_nothing_of_a_range_is_left_too() {
    let (mut reader, _listener, link, begin) = waiting();
    let mut frame = Vec::new();
    encode_busy(None, 1, 2_000, &mut frame);
    let mut is_over = |seconds: u32, of_range: bool| {
        let reading = &mut reader.reading;
        reading.begin_turn(begin + seconds * S);
        reading.turned_for = S;
        let mut taking = Taking {
            reading,
            on_update: &mut |_: PublicUpdate<'_>| {},
        };
        taking.link_frame(link, &frame);
        if of_range {
            take(&mut reader, RANGE, StreamPosition::BEGIN, at(2, 0));
        }
        reader.reading.is_out_of_patience()
    };
    // Of the first second little counts: the turn before it did not wait.
    let early: Vec<bool> = (1..=6).map(|at| is_over(at, false)).collect();
    assert_eq!(early, [false; 6]);
    assert!(!is_over(7, true), "something of it has come");
    let late: Vec<bool> = (8..=13).map(|at| is_over(at, false)).collect();
    assert_eq!(late, [false, false, false, false, false, true]);
}

#[test]
fn whoever_is_busy_whenever_it_is_asked_for_a_range_is_left_too_however_long_it_asks_for() {
    let (mut reader, _listener, link, begin) = waiting();
    let mut is_over = |seconds: u32| {
        let now = begin + seconds * S;
        reader.reading.begin_turn(now);
        reader.reading.turned_for = S;
        reader.send(now);
        let id = reader.reading.range_id;
        busy(&mut reader, link, id, u32::MAX);
        (id, reader.reading.is_out_of_patience())
    };
    let told: Vec<_> = (1..=7).map(&mut is_over).collect();
    let (ids, over): (Vec<u64>, Vec<bool>) = told.into_iter().unzip();
    assert_eq!(over, [false, false, false, false, false, false, true]);
    assert_eq!(ids, [3, 1, 2, 3, 4, 5, 6], "asked again each second");
    // The next one has all of the patience, also where it takes long to be connected to.
    reader.reading.lost(begin + 7 * S);
    assert!(!reader.reading.is_out_of_patience(), "nobody is there");
    reader.reading.begin_turn(begin + 60 * S);
    reader.reading.gateway.dialing(link);
    let mut taking = Taking {
        reading: &mut reader.reading,
        on_update: &mut |_: PublicUpdate<'_>| {},
    };
    taking.link_up(link, 1, 1);
    assert!(!reader.reading.is_out_of_patience());
}

/// How a validator puts a subscription off.
#[derive(Clone, Copy, Debug)]
enum PutsOff {
    Busy,
    Cut,
    YesThenCut,
}

#[test]
fn whoever_puts_a_subscription_off_each_time_is_left_too_and_whoever_has_said_yes_is_not() {
    let over_at = |how: PutsOff, good_at: Option<u32>| {
        let (mut reader, _listener, link, begin) = waiting();
        reader.end_range();
        reader.reading.is_subscribed = false;
        reader.reading.subscribing = Some(Waited::default());
        let mut is_over = |seconds: u32| {
            let now = begin + seconds * S;
            reader.reading.begin_turn(now);
            reader.reading.turned_for = S;
            reader.send(now);
            let id = reader.reading.subscription_id;
            match how {
                _ if good_at.is_some_and(|good_at| seconds >= good_at) => {
                    marked(&mut reader, id, PublicState::Subscribed);
                    if good_at == Some(seconds) && !matches!(how, PutsOff::Busy) {
                        take(&mut reader, id, StreamPosition::BEGIN, at(2, 0));
                    }
                }
                PutsOff::Busy => busy(&mut reader, link, id, u32::MAX),
                PutsOff::Cut => marked(&mut reader, id, PublicState::Cut),
                PutsOff::YesThenCut => {
                    marked(&mut reader, id, PublicState::Subscribed);
                    marked(&mut reader, id, PublicState::Cut);
                }
            }
            reader.reading.is_out_of_patience()
        };
        (1..=20).find(|seconds| is_over(*seconds))
    };
    for how in [PutsOff::Busy, PutsOff::Cut, PutsOff::YesThenCut] {
        assert_eq!(over_at(how, None), Some(7), "{how:?}");
        assert_eq!(over_at(how, Some(6)), None, "{how:?}");
    }
}

#[test]
fn a_reader_that_was_cut_subscribes_again_after_a_moment_and_waits_anew() {
    let (mut reader, _listener, _link, begin) = waiting();
    reader.end_range();
    reader.reading.id = 7;
    reader.reading.begin_turn(begin + S);
    marked(&mut reader, SUBSCRIPTION, PublicState::Cut);
    assert_eq!(reader.reading.waiting().count(), 1);
    let mut asked_at = |after: Duration| {
        reader.send(begin + S + after);
        reader.reading.subscription_id
    };
    let moment = Duration::from_millis(1);
    assert_eq!(asked_at(CUT_PAUSE - moment), SUBSCRIPTION);
    assert_eq!(asked_at(CUT_PAUSE), 8);
}

/// Whoever goes on after a pause, or at the next validator, waits to be told whether it holds.
#[test]
fn a_subscription_is_waited_for_after_a_pause_and_after_a_loss_and_not_within_a_pause() {
    let (mut reader, _listener, _link, begin) = waiting();
    reader.end_range();
    let waits = |reader: &PublicReader| reader.reading.waiting().count();
    assert_eq!(waits(&reader), 0, "it holds");
    reader.resume();
    assert_eq!(waits(&reader), 0, "it was not paused");
    reader.reading.lost(begin);
    assert_eq!(waits(&reader), 1);
    reader.pause_at(at(2, 0));
    assert_eq!(waits(&reader), 0);
    reader.reading.lost(begin);
    assert_eq!(waits(&reader), 0);
    reader.resume();
    assert_eq!(waits(&reader), 1);
}

/// What a validator tells of what was asked by this id.
fn marked(reader: &mut PublicReader, id: u64, state: PublicState) {
    marked_at(reader, id, state, at(1, 0));
}

/// What one does whose stream ends there.
fn marked_at(reader: &mut PublicReader, id: u64, state: PublicState, tip: StreamPosition) {
    let mark = PublicMark {
        id,
        state,
        next: at(1, 0),
        oldest: StreamPosition::BEGIN,
        tip,
    };
    let mut taking = Taking {
        reading: &mut reader.reading,
        on_update: &mut |_: PublicUpdate<'_>| {},
    };
    taking.mark(&mark);
    taking.reading.silence.heard(taking.reading.now);
}

/// Somebody may have made it up: the reader says so, and does not ask as fast as they answer.
#[test]
fn a_position_to_which_no_validator_has_come_or_that_none_has_is_told_after_a_round_with_pauses() {
    let elsewhere = [ELSEWHERE_PAUSE; 3];
    for state in [PublicState::Ahead, PublicState::Gone] {
        let (mut reader, _listener, link, begin) = waiting();
        reader.end_range();
        let mut heights = [40, 10, 30, 20].into_iter();
        let mut ask = |reader: &mut PublicReader, state: PublicState, is_left: bool| {
            reader.reading.now = begin;
            reader.reading.subscription_id = SUBSCRIPTION;
            let tip = at(heights.next().unwrap_or(50), 0);
            marked_at(reader, SUBSCRIPTION, state, tip);
            assert_eq!(std::mem::take(&mut reader.reading.leaves), is_left);
            if !is_left {
                return Duration::ZERO;
            }
            reader.reading.lost(begin);
            let State::Down { dial_at } = reader.reading.gateway.state else {
                panic!("it is left");
            };
            reader.reading.gateway.up(link);
            dial_at - begin
        };
        let pauses = [(); 3].map(|()| ask(&mut reader, state, true));
        assert_eq!(pauses, elsewhere);
        assert!(reader.reading.failure.is_none(), "one may have it");
        assert_eq!(ask(&mut reader, state, true), NOBODY_PAUSE);
        let position = StreamPosition::BEGIN;
        match (state, reader.reading.failure.take()) {
            (PublicState::Ahead, Some(ClientError::Ahead { position: of, tip })) => {
                assert_eq!((of, tip), (position, at(20, 0)));
            }
            (PublicState::Gone, Some(ClientError::Gone { position: of, .. })) => {
                assert_eq!(of, position);
            }
            other => panic!("{other:?}"),
        }
        // From the start again, and after one that has it too.
        let pauses = [(); 3].map(|()| ask(&mut reader, state, true));
        assert_eq!(pauses, elsewhere);
        ask(&mut reader, PublicState::Subscribed, false);
        let pauses = [(); 3].map(|()| ask(&mut reader, state, true));
        assert_eq!(pauses, elsewhere);
        assert!(reader.reading.failure.is_none(), "{state:?}");
        reader.reading.lost(begin);
        let State::Down { dial_at } = reader.reading.gateway.state else {
            panic!("it is lost");
        };
        assert_eq!(dial_at, begin, "a lost connection is no reason to wait");
    }
}

/// One turn may wait for a connection for longer than there is patience.
#[test]
fn how_long_it_took_to_be_connected_is_no_silence_of_a_validator() {
    let (mut reader, _listener, link, begin) = waiting();
    reader.reading.lost(begin);
    reader.reading.gateway.dialing(link);
    reader.reading.begin_turn(begin);
    reader.reading.turned_for = 60 * S;
    let mut taking = Taking {
        reading: &mut reader.reading,
        on_update: &mut |_: PublicUpdate<'_>| {},
    };
    taking.link_up(link, 0, 1);
    let mut ends = |after: Duration| {
        reader.reading.begin_turn(begin + after);
        reader.reading.turned_for = S;
        let ends = reader.reading.patience_ends().expect("it has an end");
        (ends - begin, reader.reading.is_out_of_patience())
    };
    assert_eq!(ends(10 * S), (13 * S, false));
    assert_eq!(ends(11 * S), (13 * S, false));
    let waiting: Vec<Duration> = reader
        .reading
        .waiting()
        .map(|waited| waited.left_of(6 * S))
        .collect();
    assert_eq!(waiting, [5 * S; 2], "of both that are wanted");
}
