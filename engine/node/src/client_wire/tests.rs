//! One encoding a value, and an error for every other byte string.

use super::*;
use crate::streams::StreamPosition;
use proptest::prelude::*;
use quorate_consensus::payload::{Entry, Lane, encode_entry, session_of_key};

const KEY: [u8; 32] = [3; 32];

fn entry(seq: u64, body: &[u8]) -> Vec<u8> {
    let session = session_of_key(&KEY);
    let body = if seq == 1 {
        [&KEY, body].concat()
    } else {
        body.to_vec()
    };
    let mut bytes = Vec::new();
    let entry = Entry {
        lane: Lane::Order,
        session: &session,
        seq,
        signature: None,
        body: &body,
    };
    encode_entry(&entry, &mut bytes);
    bytes
}

fn submit(entries: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = ClientFrameWriter::submit(&mut bytes);
    for entry in entries {
        assert!(writer.push(entry));
    }
    assert_eq!(writer.finish() as usize, entries.len());
    bytes
}

fn leader() -> Option<ValidatorIndex> {
    Some(ValidatorIndex::new(2))
}

fn at(height: u64, index: u32) -> StreamPosition {
    StreamPosition { height, index }
}

/// Events (5, 2), (5, 3) and (9, 0) in a stretch from (5, 2) to (10, 0).
fn public() -> PublicFrame {
    let mut frame = PublicFrame::default();
    frame.begin(leader(), 11, at(5, 2));
    frame.begin_block(5, 50, 2);
    frame.push(b"trade");
    frame.push(b"");
    frame.begin_block(6, 60, 0);
    frame.begin_block(9, 90, 0);
    frame.push(b"price");
    frame.finish(at(10, 0));
    frame
}

/// A result's output, one of the stream and one by a timer, up to (9, 4); or none of them.
fn private(state: PrivateState) -> Vec<u8> {
    let mut frame = PrivateFrame::new(leader(), 14);
    if state == PrivateState::Done {
        frame.push(at(5, 2), 50, Some(7), true, b"ack");
        frame.push(at(5, 9), 50, Some(8), false, b"");
        frame.push(at(9, 0), 90, None, false, b"expiry");
    }
    frame.finish(state, at(9, 4), at(3, 0), at(10, 0));
    frame.into_bytes()
}

/// Every kind of client frame.
fn client_frames() -> Vec<Vec<u8>> {
    let mut frames = vec![submit(&[entry(1, b"a"), entry(2, b""), entry(3, b"ccc")])];
    let mut add = |write: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = Vec::new();
        write(&mut bytes);
        frames.push(bytes);
    };
    add(&|bytes| encode_query(7, b"question", bytes));
    add(&|bytes| encode_status_ask(8, bytes));
    add(&|bytes| encode_root_ask(9, bytes));
    add(&|bytes| encode_session_ask(10, bytes));
    add(&|bytes| encode_public_subscribe(11, at(5, 2), bytes));
    add(&|bytes| encode_public_ask(12, at(5, 2), at(9, 0), bytes));
    add(&|bytes| encode_public_stop(13, bytes));
    add(&|bytes| encode_private_ask(14, at(5, 2), at(9, 0), bytes));
    frames
}

/// Every kind of validator frame.
fn server_frames() -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    let mut bytes = Vec::new();
    let mut writer = VerdictsWriter::new(leader(), &mut bytes);
    writer.push(1, Verdict::Accepted);
    writer.push(2, Verdict::Accepted);
    writer.push(
        3,
        Verdict::Busy {
            retry_after_us: 250,
        },
    );
    writer.push(9, Verdict::Rejected(Rejection::Conflict));
    assert_eq!(writer.finish(), 3);
    frames.push(bytes);
    let mut results = ResultsFrame::default();
    results.begin(None, 5, 77);
    let applied = Some(Place {
        height: 5,
        index: 1,
    });
    let item = ResultItem {
        seq: 1,
        outcome: Outcome::Applied,
        applied,
        mark: Some(Mark::of(b"entry")),
        finality_ns: 400_000,
    };
    results.push(item, [b"out".as_slice(), b""].into_iter());
    let item = ResultItem {
        seq: 2,
        outcome: Outcome::Gap,
        applied: None,
        mark: None,
        finality_ns: 0,
    };
    results.push(item, std::iter::empty());
    frames.push(results.finish().to_vec());
    let mut stream = StreamFrame::default();
    stream.begin(leader(), 5, 77);
    stream.push(3, b"fill");
    stream.push(9, b"");
    frames.push(stream.finish().to_vec());
    let mut add = |write: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = Vec::new();
        write(&mut bytes);
        frames.push(bytes);
    };
    add(&|bytes| encode_answer(leader(), 7, b"answer", bytes));
    add(&|bytes| encode_status(leader(), 8, "{}", bytes));
    let sections = [("sessions", [1; 32]), ("book", [2; 32])];
    add(&|bytes| encode_root(leader(), 9, 64, &[5; 32], sections.into_iter(), bytes));
    add(&|bytes| encode_session(leader(), 10, (3, true), bytes));
    add(&|bytes| encode_busy(leader(), 11, 1000, bytes));
    add(&|bytes| encode_refused(leader(), 12, Refusal::Diverged, bytes));
    add(&|bytes| bytes.extend_from_slice(public().bytes()));
    let mark = PublicMark {
        id: 11,
        state: PublicState::Cut,
        next: at(9, 0),
        oldest: at(10, 0),
        tip: at(77, 0),
    };
    add(&|bytes| encode_public_mark(leader(), &mark, bytes));
    add(&|bytes| bytes.extend_from_slice(&private(PrivateState::Done)));
    add(&|bytes| bytes.extend_from_slice(&private(PrivateState::Gone)));
    frames
}

/// Writes again what was read.
fn rewrite_client(frame: &ClientFrame<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    match frame {
        ClientFrame::Submit { commands, .. } => {
            return submit(
                &commands
                    .clone()
                    .map(|c| c.entry.to_vec())
                    .collect::<Vec<_>>(),
            );
        }
        ClientFrame::Query { id, question } => encode_query(*id, question, &mut bytes),
        ClientFrame::StatusAsk { id } => encode_status_ask(*id, &mut bytes),
        ClientFrame::RootAsk { id } => encode_root_ask(*id, &mut bytes),
        ClientFrame::SessionAsk { id } => encode_session_ask(*id, &mut bytes),
        ClientFrame::PrivateAsk { id, from, to } => encode_private_ask(*id, *from, *to, &mut bytes),
        ClientFrame::Public { id, ask } => match *ask {
            PublicAsk::Subscribe { from } => encode_public_subscribe(*id, from, &mut bytes),
            PublicAsk::Range { from, to } => encode_public_ask(*id, from, to, &mut bytes),
            PublicAsk::Stop => encode_public_stop(*id, &mut bytes),
        },
    }
    bytes
}

fn rewrite_public(leader: Option<ValidatorIndex>, public: &Public<'_>) -> Vec<u8> {
    let mut frame = PublicFrame::default();
    frame.begin(leader, public.id(), public.from());
    let mut height = None;
    for event in public.clone() {
        if height != Some(event.position.height) {
            height = Some(event.position.height);
            frame.begin_block(event.position.height, event.time_ns, event.position.index);
        }
        frame.push(event.bytes);
    }
    frame.finish(public.end());
    frame.bytes().to_vec()
}

fn rewrite_private(leader: Option<ValidatorIndex>, private: &Private<'_>) -> Vec<u8> {
    let mut frame = PrivateFrame::new(leader, private.id());
    for item in private.clone() {
        let (command, is_in_result) = (item.command, item.is_in_result);
        frame.push(
            item.address,
            item.time_ns,
            command,
            is_in_result,
            item.bytes,
        );
    }
    let (oldest, tip) = (private.oldest(), private.tip());
    frame.finish(private.state(), private.end(), oldest, tip);
    frame.into_bytes()
}

fn rewrite_server(leader: Option<ValidatorIndex>, frame: &ServerFrame<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    match frame {
        ServerFrame::Verdicts(runs) => {
            // Runs that could be one are legal; they are written as they were.
            return rewrite_runs(leader, runs.clone());
        }
        ServerFrame::Results(results) => {
            let mut frame = ResultsFrame::default();
            frame.begin(leader, results.height(), results.time_ns());
            for result in results.clone() {
                frame.push(result.item, result.outputs);
            }
            return frame.finish().to_vec();
        }
        ServerFrame::Stream(stream) => {
            let mut frame = StreamFrame::default();
            frame.begin(leader, stream.height(), stream.time_ns());
            for (number, output) in stream.clone() {
                frame.push(number, output);
            }
            return frame.finish().to_vec();
        }
        ServerFrame::Answer { id, answer } => encode_answer(leader, *id, answer, &mut bytes),
        ServerFrame::Status { id, json } => encode_status(leader, *id, json, &mut bytes),
        ServerFrame::Root {
            id,
            height,
            root,
            sections,
        } => {
            encode_root(leader, *id, *height, root, sections.clone(), &mut bytes);
        }
        ServerFrame::Session {
            id,
            seq_last,
            has_ended,
        } => encode_session(leader, *id, (*seq_last, *has_ended), &mut bytes),
        ServerFrame::Busy { id, retry_after_us } => {
            encode_busy(leader, *id, *retry_after_us, &mut bytes);
        }
        ServerFrame::Refused { id, reason } => encode_refused(leader, *id, *reason, &mut bytes),
        ServerFrame::Public(public) => return rewrite_public(leader, public),
        ServerFrame::PublicMark(mark) => encode_public_mark(leader, mark, &mut bytes),
        ServerFrame::Private(private) => return rewrite_private(leader, private),
    }
    bytes
}

fn rewrite_runs(leader: Option<ValidatorIndex>, runs: Verdicts<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    VerdictsWriter::new(leader, &mut bytes).finish();
    let mut count = 0_u32;
    for run in runs {
        let (tag, detail) = match run.verdict {
            Verdict::Accepted => (0, 0),
            Verdict::Busy { retry_after_us } => (1, retry_after_us),
            Verdict::Rejected(reason) => (2, u32::from(reason as u8)),
        };
        bytes.extend_from_slice(&run.seq_first.to_le_bytes());
        bytes.extend_from_slice(&run.count.to_le_bytes());
        bytes.push(tag);
        bytes.extend_from_slice(&u32::to_le_bytes(detail));
        count += 1;
    }
    bytes[6..10].copy_from_slice(&count.to_le_bytes());
    bytes
}

/// What decodes is what was encoded; anything else is an error, never a panic.
fn check(bytes: &[u8]) {
    if let Ok(frame) = ClientFrame::decode(bytes) {
        assert_eq!(rewrite_client(&frame), bytes);
    }
    if let Ok((leader, frame)) = ServerFrame::decode(bytes) {
        assert_eq!(rewrite_server(leader, &frame), bytes);
    }
}

#[test]
fn every_frame_is_read_as_it_was_written() {
    for bytes in client_frames() {
        let frame = ClientFrame::decode(&bytes).unwrap();
        assert_eq!(rewrite_client(&frame), bytes);
        assert!(
            ServerFrame::decode(&bytes).is_err(),
            "a client's frame is no validator's"
        );
    }
    for bytes in server_frames() {
        let (leader, frame) = ServerFrame::decode(&bytes).unwrap();
        assert_eq!(rewrite_server(leader, &frame), bytes);
        assert!(
            ClientFrame::decode(&bytes).is_err(),
            "a validator's frame is no client's"
        );
    }
}

#[test]
fn every_cut_of_a_frame_is_an_error_or_a_shorter_canonical_frame() {
    for bytes in client_frames().into_iter().chain(server_frames()) {
        for cut in 0..bytes.len() {
            check(&bytes[..cut]);
        }
    }
}

#[test]
fn every_flipped_bit_is_an_error_or_another_canonical_frame() {
    for bytes in client_frames().into_iter().chain(server_frames()) {
        for place in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[place / 8] ^= 1 << (place % 8);
            check(&flipped);
        }
    }
}

#[test]
fn a_byte_too_many_is_refused_where_the_length_is_known() {
    for bytes in client_frames().into_iter().chain(server_frames()) {
        let open_ended = [kind::QUERY, kind::ANSWER, kind::STATUS].contains(&bytes[2]);
        let longer = [bytes.as_slice(), &[0]].concat();
        let refused =
            ClientFrame::decode(&longer).is_err() && ServerFrame::decode(&longer).is_err();
        assert_eq!(refused, !open_ended, "kind {}", bytes[2]);
    }
}

#[test]
fn another_version_is_refused_as_such() {
    let mut bytes = client_frames().remove(1);
    bytes[0] = 1;
    assert_eq!(
        ClientFrame::decode(&bytes).unwrap_err(),
        FrameError::Version(1)
    );
}

/// It is what a client asks from; as the position that was asked for it comes back.
#[test]
fn no_answer_goes_on_where_every_stream_ends() {
    let (place, live) = (at(9, 0), StreamPosition::LIVE);
    let is_read = |bytes: &[u8]| ServerFrame::decode(bytes).is_ok();
    let public = |next| {
        let mut frame = PublicFrame::default();
        frame.begin(leader(), 11, at(5, 0));
        frame.finish(next);
        is_read(frame.bytes())
    };
    assert_eq!([place, live].map(public), [true, false]);
    let mark = |state, next| {
        let (id, oldest, tip) = (11, place, place);
        let mark = PublicMark {
            id,
            state,
            next,
            oldest,
            tip,
        };
        let mut bytes = Vec::new();
        encode_public_mark(leader(), &mark, &mut bytes);
        is_read(&bytes)
    };
    let subscribed = |next| mark(PublicState::Subscribed, next);
    assert_eq!([place, live].map(subscribed), [true, false]);
    assert!(mark(PublicState::Ahead, live));
    let private = |(next, tip)| {
        let mut frame = PrivateFrame::new(leader(), 7);
        frame.finish(PrivateState::Done, next, place, tip);
        is_read(&frame.into_bytes())
    };
    let read = [(place, place), (live, place), (place, live)].map(private);
    assert_eq!(read, [true, false, false]);
}

#[test]
fn the_bytes_of_the_public_stream_are_those_of_the_document() {
    let hex = |bytes: &[u8]| crate::hex::encode(bytes);
    let frames: Vec<String> = client_frames()[5..]
        .iter()
        .map(|bytes| hex(bytes))
        .collect();
    let position = "050000000000000002000000";
    assert_eq!(frames[0], format!("040006000b00000000000000{position}"));
    let end = "090000000000000000000000";
    assert_eq!(
        frames[1],
        format!("040007000c00000000000000{position}{end}")
    );
    assert_eq!(frames[2], "040008000d00000000000000");
    let blocks = [
        "0500000000000000320000000000000002000000020000000500000074726164 6500000000",
        "09000000000000005a0000000000000000000000010000000500000070726963 65",
    ];
    let blocks = blocks.concat().replace(' ', "");
    let head = format!("04008a0002000b00000000000000{position}0a0000000000000000000000");
    assert_eq!(hex(public().bytes()), format!("{head}02000000{blocks}"));
    let frames = server_frames();
    let mark = hex(&frames[frames.len() - 3]);
    let oldest_and_tip = "0a00000000000000000000004d0000000000000000000000";
    let expected = format!("04008b0002000b0000000000000002{end}{oldest_and_tip}");
    assert_eq!(mark, expected);
}

#[test]
fn the_bytes_of_a_private_stream_are_those_of_the_document() {
    let hex = |bytes: &[u8]| crate::hex::encode(bytes);
    let ask = client_frames().pop().unwrap();
    let (from, to) = ("050000000000000002000000", "090000000000000000000000");
    assert_eq!(hex(&ask), format!("040009000e00000000000000{from}{to}"));
    let positions = "090000000000000004000000 030000000000000000000000 0a0000000000000000000000";
    let outputs = [
        "0500000000000000 3200000000000000 02000000 07000000 01 03000000 61636b",
        "0500000000000000 3200000000000000 09000000 08000000 00 00000000",
        "0900000000000000 5a00000000000000 00000000 ffffffff 00 06000000 657870697279",
    ];
    let outputs = outputs.concat();
    let done = format!("04008c0002000e0000000000000001{positions}03000000{outputs}");
    assert_eq!(hex(&private(PrivateState::Done)), done.replace(' ', ""));
    let gone = format!("04008c0002000e0000000000000003{positions}00000000");
    assert_eq!(hex(&private(PrivateState::Gone)), gone.replace(' ', ""));
}

#[test]
fn a_piece_of_a_private_stream_that_is_out_of_order_or_none_is_refused() {
    let good = private(PrivateState::Done);
    let damage = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        ServerFrame::decode(&bytes).unwrap_err()
    };
    // The second output stands where the first one does, and before it.
    let second = 14 + 1 + 36 + 4 + 29 + 3 + 16;
    assert_eq!(good[second], 9);
    assert_eq!(damage(second, 2), FrameError::Field("address"));
    assert_eq!(damage(second, 1), FrameError::Field("address"));
    // The last one stands where the piece ends.
    assert_eq!(damage(second + 13 + 16, 4), FrameError::Field("address"));
    // A timer has no result; no state has this number; what is gone has no outputs.
    assert_eq!(damage(second + 13 + 24, 1), FrameError::Field("in result"));
    assert_eq!(damage(14, 2), FrameError::Field("state"));
    assert_eq!(damage(14, 3), FrameError::Field("count"));
    let mut backwards = client_frames().pop().unwrap();
    backwards[12] = 10;
    let refused = ClientFrame::decode(&backwards).unwrap_err();
    assert_eq!(refused, FrameError::Field("to"));
}

#[test]
fn a_stretch_with_a_hole_or_out_of_order_is_refused() {
    let good = public().bytes().to_vec();
    let damage = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        ServerFrame::decode(&bytes).unwrap_err()
    };
    // It begins at (5, 1), and (5, 2) comes first.
    assert_eq!(damage(22, 1), FrameError::Field("block"));
    // It ends at (9, 0), before its last event, and at (10, 1), which it does not reach.
    assert_eq!(damage(26, 9), FrameError::Field("next"));
    assert_eq!(damage(34, 1), FrameError::Field("next"));
    // Its second block is the first one again.
    let second = 42 + 24 + 9 + 4;
    assert_eq!(good[second], 9);
    assert_eq!(damage(second, 5), FrameError::Field("block"));
    assert_eq!(damage(second, 4), FrameError::Field("block"));
    // A block without events before its other one.
    let mut frame = PublicFrame::default();
    frame.begin(leader(), 11, at(5, 0));
    frame.begin_block(6, 60, 0);
    frame.push(b"price");
    frame.finish(at(7, 0));
    let mut hollow = frame.bytes().to_vec();
    assert_eq!(hollow[38..42], 1_u32.to_le_bytes());
    hollow[38] = 2;
    let head = [&5_u64.to_le_bytes()[..], &50_u64.to_le_bytes(), &[0; 8]].concat();
    hollow.splice(42..42, head);
    assert_eq!(
        ServerFrame::decode(&hollow).unwrap_err(),
        FrameError::Field("events")
    );
    let mut backwards = client_frames().remove(6);
    backwards[12] = 10;
    assert_eq!(
        ClientFrame::decode(&backwards).unwrap_err(),
        FrameError::Field("to")
    );
}

#[test]
fn consecutive_equal_verdicts_are_one_run() {
    let mut bytes = Vec::new();
    let mut writer = VerdictsWriter::new(leader(), &mut bytes);
    for seq in 5..1005 {
        writer.push(seq, Verdict::Accepted);
    }
    assert_eq!(writer.finish(), 1);
    let (read_leader, ServerFrame::Verdicts(mut runs)) = ServerFrame::decode(&bytes).unwrap()
    else {
        panic!("not verdicts");
    };
    assert_eq!(read_leader, leader());
    let run = VerdictRun {
        seq_first: 5,
        count: 1000,
        verdict: Verdict::Accepted,
    };
    assert_eq!(runs.next(), Some(run));
    assert_eq!(runs.next(), None);
}

#[test]
fn a_submit_ends_at_its_bounds_and_is_taken_at_its_longest() {
    let longest = vec![7; quorate_consensus::limits::COMMAND_BYTES_MAX];
    let mut bytes = Vec::new();
    let mut writer = ClientFrameWriter::submit(&mut bytes);
    let entry_bytes = entry(2, &longest);
    let mut count = 0;
    while writer.push(&entry_bytes) {
        count += 1;
    }
    assert_eq!(writer.finish(), count);
    assert!(count >= 1 && bytes.len() <= CLIENT_FRAME_BYTES_MAX);
    assert!(ClientFrame::decode(&bytes).is_ok());

    let mut bytes = Vec::new();
    let mut writer = ClientFrameWriter::submit(&mut bytes);
    let small = entry(2, b"");
    while writer.push(&small) {}
    writer.finish();
    assert!(ClientFrame::decode(&bytes).is_ok());
}

#[test]
fn a_submit_without_commands_or_with_another_count_is_refused() {
    let mut bytes = submit(&[entry(1, b"a"), entry(2, b"b")]);
    for count in [0_u32, 1, 3, u32::MAX] {
        bytes[4..8].copy_from_slice(&count.to_le_bytes());
        assert!(ClientFrame::decode(&bytes).is_err(), "{count}");
    }
}

#[test]
fn every_code_of_a_rejection_and_an_outcome_means_one_thing() {
    for code in 1..=12 {
        assert_eq!(
            rejection_from_code(code).map(|r| u32::from(r as u8)),
            Some(code)
        );
    }
    for code in (13..300).chain([0, u32::MAX]) {
        assert_eq!(rejection_from_code(code), None);
    }
    assert_eq!(refusal_from_code(1), Some(Refusal::Diverged));
    assert!(
        (2..300)
            .chain([0, u32::MAX])
            .all(|code| refusal_from_code(code).is_none())
    );
    for byte in 0..=7 {
        assert_eq!(
            Outcome::from_u8(byte).map(|outcome| outcome as u8),
            Some(byte)
        );
    }
    assert!((8..=255).all(|byte| Outcome::from_u8(byte).is_none()));
}

proptest! {
    #[test]
    fn no_bytes_make_the_decoder_panic(
        mut bytes in prop::collection::vec(any::<u8>(), 0..200),
        kind in any::<u8>(),
    ) {
        check(&bytes);
        if bytes.len() > 4 {
            bytes[..4].copy_from_slice(&[1, 0, kind, 0]);
            check(&bytes);
        }
    }
}
