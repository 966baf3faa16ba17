//! Whose outputs are kept, under which address, and how much of them.

use super::*;
use crate::client_wire::{Place, PrivateItem, ServerFrame};
use crate::results::{CommandResult, Outcome};
use crate::stages::clients::ClientTable;
use crate::state_machine::Output;
use quorate_net::ClientId;

const ALICE: SessionId = SessionId([1; 16]);
const BOB: SessionId = SessionId([2; 16]);
/// Shares the bit of Alice.
const CAROL: SessionId = SessionId([65; 16]);

fn at(height: u64, index: u32) -> StreamPosition {
    StreamPosition { height, index }
}

fn put(results: &mut BlockResults, command: Option<u32>, outputs: &[(Audience, &[u8])]) {
    let mut output = Output::new();
    for (audience, bytes) in outputs {
        match audience {
            Audience::Session(session) => output.to_session(*session, bytes),
            Audience::Public => output.to_public(bytes),
        }
    }
    results.collect(command, &output);
}

fn command(results: &mut BlockResults, session: SessionId) {
    let index = results.commands.len() as u32;
    results.commands.push(CommandResult {
        session,
        seq: u64::from(index) + 1,
        outcome: Outcome::Applied,
        applied: Some(Place {
            height: results.height,
            index,
        }),
        mark: None,
        finality_ns: 0,
    });
}

/// A timer tells Bob something; Alice takes Bob's order; Carol is told something by her own.
fn block(height: u64) -> BlockResults {
    let mut results = BlockResults::new();
    (results.height, results.time_ns) = (height, 10 * height);
    let to = Audience::Session;
    put(&mut results, None, &[(to(BOB), b"timer")]);
    let trade: [(Audience, &[u8]); 3] = [
        (to(ALICE), b"took"),
        (Audience::Public, b"trade"),
        (to(BOB), b"filled"),
    ];
    put(&mut results, Some(0), &trade);
    put(&mut results, Some(1), &[(to(CAROL), b"rests")]);
    command(&mut results, ALICE);
    command(&mut results, CAROL);
    results
}

fn ring(blocks: u64) -> PrivateRing {
    let mut ring = PrivateRing::new(1 << 20);
    (1..=blocks).for_each(|height| ring.push(&block(height)));
    ring
}

/// One answer: its outputs with their addresses, and whether each came with a result; its state,
/// where it ends, the oldest position.
fn ask(
    ring: &PrivateRing,
    session: SessionId,
    (from, to): (StreamPosition, StreamPosition),
    height: u64,
) -> (
    Vec<(StreamPosition, bool, String)>,
    PrivateState,
    [StreamPosition; 2],
) {
    let mut frame = PrivateFrame::new(None, 7);
    ring.answer(
        &PrivateRange::of(session, from, to),
        (height, None),
        &mut frame,
    );
    let bytes = frame.into_bytes();
    let Ok((_, ServerFrame::Private(private))) = ServerFrame::decode(&bytes) else {
        panic!("an answer")
    };
    assert_eq!(private.tip(), StreamPosition::before(height + 1));
    let told = |item: PrivateItem<'_>| {
        assert_eq!(item.time_ns, 10 * item.address.height);
        let text = String::from_utf8_lossy(item.bytes).into_owned();
        (item.address, item.is_in_result, text)
    };
    let ends = [private.end(), private.oldest()];
    (private.clone().map(told).collect(), private.state(), ends)
}

#[test]
fn each_session_is_told_its_own_outputs_and_nobody_elses() {
    let ring = ring(2);
    let all = (at(1, 0), StreamPosition::LIVE);
    let texts = |session| {
        let (told, state, [next, _]) = ask(&ring, session, all, 2);
        assert_eq!((state, next), (PrivateState::Done, at(3, 0)));
        told
    };
    let of = |height, index, in_result, text: &str| (at(height, index), in_result, text.to_owned());
    assert_eq!(
        texts(ALICE),
        [of(1, 1, true, "took"), of(2, 1, true, "took")]
    );
    assert_eq!(
        texts(CAROL),
        [of(1, 4, true, "rests"), of(2, 4, true, "rests")]
    );
    let bob = [(0, "timer"), (3, "filled")];
    let bob = |height| bob.map(|(index, text)| of(height, index, false, text));
    assert_eq!(texts(BOB), [bob(1), bob(2)].concat());
    assert!(texts(SessionId([3; 16])).is_empty());
}

#[test]
fn a_piece_begins_and_ends_where_it_was_asked_to() {
    let ring = ring(3);
    let told = |from, to| {
        let (told, state, [next, oldest]) = ask(&ring, BOB, (from, to), 3);
        assert_eq!((state, oldest), (PrivateState::Done, at(1, 0)));
        let addresses: Vec<_> = told.into_iter().map(|(address, ..)| address).collect();
        (addresses, next)
    };
    assert_eq!(told(at(1, 0), at(1, 3)), (vec![at(1, 0)], at(1, 3)));
    assert_eq!(
        told(at(1, 1), at(2, 1)),
        (vec![at(1, 3), at(2, 0)], at(2, 1))
    );
    assert_eq!(
        told(at(1, 4), at(1, 9)),
        (vec![], at(1, 9)),
        "behind the block's last"
    );
    assert_eq!(told(at(3, 3), at(77, 0)), (vec![at(3, 3)], at(4, 0)));
    assert_eq!(told(at(2, 0), at(2, 0)), (vec![], at(2, 0)));
    assert_eq!(
        told(StreamPosition::LIVE, StreamPosition::LIVE),
        (vec![], at(4, 0))
    );
    let (told, state, [next, _]) = ask(&ring, BOB, (at(4, 1), StreamPosition::LIVE), 3);
    assert_eq!(
        (told.len(), state, next),
        (0, PrivateState::Ahead, at(4, 1))
    );
}

/// What a validator tells a session that is connected, and what it has of it later, are the same.
#[test]
fn what_is_kept_is_what_a_connected_session_was_told_with_its_results_and_by_its_stream() {
    let mut results = BlockResults::new();
    (results.height, results.time_ns) = (1, 10);
    let third = vec![b'x'; OUTPUT_BYTES_MAX / 3];
    let long = vec![b'y'; OUTPUT_BYTES_MAX + 1];
    let to = Audience::Session(ALICE);
    put(&mut results, None, &[(to, b"timer"), (to, &long)]);
    put(
        &mut results,
        Some(0),
        &[(to, &third), (to, &third), (to, &third), (to, &third)],
    );
    put(&mut results, Some(1), &[(to, b"of Bob"), (to, &long)]);
    put(
        &mut results,
        Some(2),
        &[(to, b"short"), (to, &long), (to, b"behind")],
    );
    for session in [ALICE, BOB, ALICE] {
        command(&mut results, session);
    }
    let mut table = ClientTable::default();
    table.add(ClientId::from_bits(1), ALICE, [9; 32]);
    let (mut with_results, mut by_stream) = (Vec::new(), Vec::new());
    table.send_block(
        None,
        &results,
        &mut |_, frame| match ServerFrame::decode(frame).expect("a frame").1 {
            ServerFrame::Results(told) => {
                with_results.extend(told.flat_map(|one| one.outputs).map(<[u8]>::to_vec));
            }
            ServerFrame::Stream(told) => {
                by_stream.extend(told.map(|(number, bytes)| (number, bytes.to_vec())));
            }
            other => panic!("{other:?}"),
        },
    );
    let mut ring = PrivateRing::new(1 << 30);
    ring.push(&results);
    let (mut kept_with_results, mut kept_by_stream) = (Vec::new(), Vec::new());
    let mut from = at(1, 0);
    // More than one answer takes.
    while from < at(2, 0) {
        let mut frame = PrivateFrame::new(None, 7);
        ring.answer(
            &PrivateRange::of(ALICE, from, at(2, 0)),
            (1, None),
            &mut frame,
        );
        let bytes = frame.into_bytes();
        assert!(bytes.len() < FRAME_BYTES_FULL + OUTPUT_BYTES_MAX + 1024);
        let Ok((_, ServerFrame::Private(private))) = ServerFrame::decode(&bytes) else {
            panic!("an answer")
        };
        assert!(private.end() > from, "it goes on");
        from = private.end();
        for item in private {
            match item.is_in_result {
                true => kept_with_results.push(item.bytes.to_vec()),
                false => kept_by_stream.push((item.address.index, item.bytes.to_vec())),
            }
        }
    }
    by_stream.sort();
    assert!(kept_with_results == with_results && with_results.len() == 4);
    assert!(kept_by_stream == by_stream && by_stream.len() == 4);
}

#[test]
fn the_newest_blocks_are_kept_up_to_a_bound_and_what_is_older_is_gone() {
    let block_bytes = Block::of(&block(1)).memory_bytes();
    let mut ring = PrivateRing::new(4 * block_bytes + 1);
    for height in 1..=9 {
        ring.push(&block(height));
        assert!(ring.bytes <= ring.bytes_max && ring.bytes == ring.blocks.len() * block_bytes);
    }
    let ask = |from| ask(&ring, BOB, (from, StreamPosition::LIVE), 9);
    let (told, state, [next, oldest]) = ask(at(6, 0));
    assert_eq!((told.len(), state), (8, PrivateState::Done));
    assert_eq!((next, oldest), (at(10, 0), at(6, 0)));
    let (told, state, [next, oldest]) = ask(at(5, 9));
    assert_eq!((told.len(), state), (0, PrivateState::Gone));
    assert_eq!((next, oldest), (at(5, 9), at(6, 0)));
    // The newest one is kept however long it is, and nothing where nothing is wanted.
    let mut small = PrivateRing::new(1);
    (1..=2).for_each(|height| small.push(&block(height)));
    assert_eq!((small.first, small.blocks.len()), (2, 1));
    let mut none = PrivateRing::new(0);
    none.push(&block(1));
    assert!(none.blocks.is_empty());
}

#[test]
fn after_a_start_from_a_snapshot_the_stream_begins_there_without_a_hole() {
    let live = (StreamPosition::LIVE, StreamPosition::LIVE);
    let mut ring = PrivateRing::new(1 << 20);
    // Nothing has been executed on it yet.
    let (_, state, [next, oldest]) = ask(&ring, BOB, live, 40);
    assert_eq!(
        (state, next, oldest),
        (PrivateState::Done, at(41, 0), at(41, 0))
    );
    let (_, state, _) = ask(&ring, BOB, (at(40, 0), StreamPosition::LIVE), 40);
    assert_eq!(state, PrivateState::Gone);
    ring.push(&block(41));
    let (told, state, [_, oldest]) = ask(&ring, BOB, (at(41, 0), StreamPosition::LIVE), 41);
    assert_eq!(
        (told.len(), state, oldest),
        (2, PrivateState::Done, at(41, 0))
    );
    // Another one, as a validator goes on from a snapshot of its peers.
    ring.push(&block(90));
    assert_eq!((ring.first, ring.blocks.len()), (90, 1));
    assert_eq!(ring.bytes, Block::of(&block(90)).memory_bytes());
}

#[test]
fn a_question_walks_over_a_bounded_number_of_outputs_and_goes_on_where_it_stopped() {
    let mut results = BlockResults::new();
    (results.height, results.time_ns) = (1, 10);
    let count = 3 * WALK_MAX;
    for place in 0..count {
        // All but the last are for somebody who shares Alice's bit.
        let whose = if place + 1 == count { ALICE } else { CAROL };
        put(&mut results, None, &[(Audience::Session(whose), b"one")]);
    }
    let mut ring = PrivateRing::new(1 << 30);
    ring.push(&results);
    let (mut from, mut told, mut asked) = (at(1, 0), 0, 0);
    while from < at(2, 0) {
        let (items, _, [next, _]) = ask(&ring, ALICE, (from, StreamPosition::LIVE), 1);
        assert!(next > from && next <= at(2, 0));
        (from, told, asked) = (next, told + items.len(), asked + 1);
    }
    assert!(told == 1 && asked >= 3, "{told} in {asked}");
    // Blocks count too.
    let mut ring = PrivateRing::new(1 << 30);
    for height in 1..=2 * WALK_MAX as u64 {
        let mut empty = BlockResults::new();
        empty.height = height;
        ring.push(&empty);
    }
    let all = (at(1, 0), StreamPosition::LIVE);
    let (_, _, [next, _]) = ask(&ring, ALICE, all, 2 * WALK_MAX as u64);
    assert_eq!(next, at(1 + WALK_MAX as u64, 0));
}
