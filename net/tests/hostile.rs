//! Whatever bytes come on either port: the connection ends with its counted reason, and nobody else
//! notices.

#![expect(clippy::unwrap_used, reason = "a test helper fails by panicking")]

mod common;

use std::io::Write as _;
use std::time::{Duration, Instant};

use common::raw::Raw;
use common::{DEADLINE, Validator, all_up, bind, config, mesh, turn_until};
use proptest::prelude::*;
use quorate_net::{Class, CloseReason, Limits, NetConfig};

fn alone() -> Validator {
    bind(config(3))
}

/// Reasons that count for connections that never proved anything.
fn closed_strangers(validator: &Validator) -> u64 {
    CloseReason::ALL
        .iter()
        .map(|reason| validator.closed(*reason))
        .sum()
}

/// Writes `bytes`, which end the connection, and says which reason was counted.
fn reason_for(validator: &mut Validator, raw: &mut Raw, bytes: &[u8]) -> Vec<CloseReason> {
    let before: Vec<u64> = CloseReason::ALL
        .iter()
        .map(|r| validator.closed(*r))
        .collect();
    raw.write(validator, bytes);
    raw.wait_closed(validator);
    let reasons = CloseReason::ALL.iter().zip(before);
    reasons
        .filter(|(reason, count)| validator.closed(**reason) > *count)
        .map(|(r, _)| *r)
        .collect()
}

#[test]
fn lengths_that_cannot_be_are_refused_before_any_byte_of_the_message() {
    let mut validator = alone();
    for address in [validator.peer_address(), validator.client_address()] {
        for length in [0_u16, 1, 16, 513, 1024, u16::MAX] {
            let mut raw = Raw::connect(&address);
            let reason = reason_for(&mut validator, &mut raw, &length.to_le_bytes());
            assert_eq!(reason, [CloseReason::MessageLength], "{length}");
        }
        for length in [17_u16, 32, 34, 512] {
            let mut raw = Raw::connect(&address);
            let message = [&length.to_le_bytes()[..], &vec![1; usize::from(length)]].concat();
            let reason = reason_for(&mut validator, &mut raw, &message);
            assert_eq!(reason, [CloseReason::Handshake], "{length}");
        }
    }
    assert_eq!(validator.net.counters().unauthenticated_now, 0);
}

#[test]
fn a_frame_of_a_peer_that_is_too_long_is_refused_at_its_prefix() {
    let mut validator = alone();
    let peers = [(1, "127.0.0.1:1".to_owned())];
    validator.net.set_peers(&peers).unwrap();
    let mut raw = Raw::peer(&mut validator, 3, 1);
    let bytes_max = Limits::default().frame_bytes_max;
    let longest = vec![9; bytes_max];
    for piece in Raw::frame(&longest).chunks(60_000) {
        let sealed = raw.seal(piece);
        assert!(raw.write(&mut validator, &sealed));
    }
    raw.turn_until(&mut validator, |v| !v.seen.frames.is_empty());
    assert!(validator.seen.frames == [(1, longest)]);
    let too_long = u32::try_from(bytes_max + 1).unwrap();
    let sealed = raw.seal(&too_long.to_le_bytes());
    let reason = reason_for(&mut validator, &mut raw, &sealed);
    assert_eq!(reason, [CloseReason::FrameLength]);
    assert_eq!(validator.seen.downs, [(1, CloseReason::FrameLength)]);
}

#[test]
fn garbage_on_both_ports_disturbs_nobody() {
    let mut pair = mesh(&[0, 1]);
    turn_until("both up", &mut pair, |v| all_up(v));
    let addresses = [pair[0].peer_address(), pair[0].client_address()];
    let mut state = 12345_u64;
    for round in 0..200_usize {
        let mut raw = Raw::connect(&addresses[round % 2]);
        let garbage: Vec<u8> = (0..round * 7)
            .map(|_| {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                state.to_le_bytes()[5]
            })
            .collect();
        raw.write(&mut pair[0], &garbage);
        pair[1].net.send_peer(0, &[7; 100], Class::Vote).unwrap();
        turn_until("the frame", &mut pair, |pair| {
            pair[0].seen.frames.len() == round + 1
        });
    }
    assert!(pair.iter().all(|v| v.seen.downs.is_empty()));
    turn_until("all closed", &mut pair, |pair| {
        pair[0].net.counters().unauthenticated_now == 0
    });
}

#[test]
fn one_byte_at_a_time_ends_at_the_deadline() {
    let timeout = Duration::from_millis(150);
    let limits = Limits {
        handshake_timeout: timeout,
        ..Limits::default()
    };
    let mut validator = bind(NetConfig {
        limits,
        ..config(3)
    });
    for address in [validator.peer_address(), validator.client_address()] {
        let start = Instant::now();
        let mut slow = Raw::connect(&address);
        let mut silent = Raw::connect(&address);
        // A message of 512 bytes, a byte now and then: never finished in time.
        let message = [&512_u16.to_le_bytes()[..], &[1; 512]].concat();
        let before = validator.closed(CloseReason::HandshakeTimeout);
        for (number, byte) in message.iter().enumerate() {
            let at = start + timeout.mul_f64(number as f64 / 100.0);
            while Instant::now() < at && validator.closed(CloseReason::HandshakeTimeout) == before {
                validator.turn();
            }
            if !slow.write(&mut validator, &[*byte]) {
                break;
            }
        }
        slow.wait_closed(&mut validator);
        silent.wait_closed(&mut validator);
        assert_eq!(validator.closed(CloseReason::HandshakeTimeout), before + 2);
        assert!(start.elapsed() >= timeout, "not before the deadline");
    }
}

/// Has the other side read a part of a message, in turns of this time.
fn drip(validator: &mut Validator, raw: &mut Raw, bytes: &[u8], now: Instant) {
    let before = validator.net.counters().bytes_in;
    raw.stream.write_all(bytes).unwrap();
    let deadline = Instant::now() + DEADLINE;
    while validator.net.counters().bytes_in < before + bytes.len() as u64 {
        assert!(Instant::now() < deadline, "it is not read");
        let timeout = Some(Duration::ZERO);
        validator
            .net
            .turn(now, timeout, &mut validator.seen)
            .unwrap();
    }
}

#[test]
fn a_peer_that_sends_bytes_and_no_whole_message_is_silent() {
    let mut validator = alone();
    let peers = [(1, "127.0.0.1:1".to_owned())];
    validator.net.set_peers(&peers).unwrap();
    let mut raw = Raw::peer(&mut validator, 3, 1);
    let limit = Limits::default().silence_max;
    let message = raw.seal(&Raw::frame(&[9; 100]));
    // The last whole message was its Hello.
    let heard = Instant::now();
    for (part, bytes) in (1..4_u32).zip(message[..60].chunks(20)) {
        drip(&mut validator, &mut raw, bytes, heard + limit * part / 4);
    }
    assert_eq!(validator.seen.downs, []);
    let timeout = Some(Duration::ZERO);
    validator
        .net
        .turn(heard + limit, timeout, &mut validator.seen)
        .unwrap();
    assert_eq!(validator.seen.downs, [(1, CloseReason::Silent)]);
}

#[test]
fn a_client_that_sends_bytes_and_no_whole_message_is_the_first_to_make_room() {
    let limits = Limits {
        clients_max: 2,
        client_idle_min: Duration::ZERO,
        ..Limits::default()
    };
    let mut validator = bind(NetConfig {
        limits,
        ..config(3)
    });
    let mut first = Raw::login(&mut validator, 3, 1);
    let _second = Raw::login(&mut validator, 3, 2);
    let message = first.seal(&Raw::frame(&[9; 100]));
    let later = Instant::now() + Duration::from_secs(1);
    drip(&mut validator, &mut first, &message[..60], later);
    let _third = Raw::login(&mut validator, 3, 3);
    let mut left: Vec<u8> = validator.seen.clients.values().map(|key| key[0]).collect();
    left.sort_unstable();
    assert_eq!(left, [2, 3]);
}

#[test]
fn silent_connections_do_not_keep_others_out() {
    let limits = Limits {
        unauthenticated_max: 8,
        ..Limits::default()
    };
    let mut validator = bind(NetConfig {
        limits,
        ..config(3)
    });
    let address = validator.client_address();
    let mut silent: Vec<_> = (0..20).map(|_| Raw::connect(&address)).collect();
    silent[0].turn_until(&mut validator, |v| v.closed(CloseReason::Evicted) == 12);
    assert_eq!(validator.net.counters().unauthenticated_now, 8);
    let _client = Raw::login(&mut validator, 3, 5);
    for oldest in &mut silent[..12] {
        oldest.wait_closed(&mut validator);
    }
    // The peer port has places of its own.
    let mut other = bind(config(1));
    validator
        .net
        .set_peers(&[(1, "127.0.0.1:1".to_owned())])
        .unwrap();
    other
        .net
        .set_peers(&[(3, validator.peer_address())])
        .unwrap();
    let mut pair = [validator, other];
    turn_until("both up", &mut pair, |v| all_up(v));
    assert_eq!(
        pair[0].closed(CloseReason::Evicted),
        13,
        "one more for the client's login"
    );
}

#[test]
fn a_frame_length_over_the_limit_ends_the_connection_at_its_prefix() {
    let mut validator = alone();
    let bytes_max = u32::try_from(Limits::default().client_frame_bytes_max).unwrap();
    for length in [bytes_max + 1, u32::MAX] {
        let mut raw = Raw::login(&mut validator, 3, 5);
        let sealed = raw.seal(&length.to_le_bytes());
        let reason = reason_for(&mut validator, &mut raw, &sealed);
        assert_eq!(reason, [CloseReason::FrameLength]);
        assert!(validator.seen.clients.is_empty());
    }
}

#[test]
fn altered_replayed_and_left_out_messages_end_the_connection() {
    type Break = fn(&mut Raw) -> Vec<u8>;
    let breaks: [Break; 4] = [
        |raw| {
            let mut message = raw.seal(&Raw::frame(b"altered"));
            *message.last_mut().unwrap() ^= 1;
            message
        },
        |raw| {
            let message = raw.seal(&Raw::frame(b"twice"));
            [&message[..], &message].concat()
        },
        |raw| {
            raw.seal(&Raw::frame(b"left out"));
            raw.seal(&Raw::frame(b"after it"))
        },
        |raw| {
            let (one, two) = (raw.seal(&Raw::frame(b"one")), raw.seal(&Raw::frame(b"two")));
            [two, one].concat()
        },
    ];
    let mut validator = alone();
    for (number, broken) in breaks.into_iter().enumerate() {
        let mut raw = Raw::login(&mut validator, 3, 5);
        let bytes = broken(&mut raw);
        let reason = reason_for(&mut validator, &mut raw, &bytes);
        assert_eq!(reason, [CloseReason::Decrypt], "case {number}");
    }
    let frames: Vec<_> = validator
        .seen
        .client_frames
        .iter()
        .map(|(_, frame)| &frame[..])
        .collect();
    assert_eq!(
        frames,
        [b"twice"],
        "what came before the break was real, and is real once"
    );
}

#[test]
fn a_recorded_session_cannot_be_played_again() {
    let mut validator = alone();
    let address = validator.client_address();
    // What a reader of the wire sees of a login, up to the first frame.
    let mut victim = Raw::login(&mut validator, 3, 5);
    let frame = victim.seal(&Raw::frame(b"pay"));
    victim.write(&mut validator, &frame);
    victim.turn_until(&mut validator, |v| v.seen.client_frames.len() == 1);
    // On another connection the same bytes meet another key.
    let mut replay = Raw::connect(&address);
    replay.handshake(&mut validator, 1);
    let reason = reason_for(&mut validator, &mut replay, &frame);
    assert_eq!(reason, [CloseReason::Decrypt]);
    assert_eq!(validator.seen.client_frames.len(), 1);
}

#[test]
fn a_signature_from_another_connection_is_refused() {
    let mut validator = alone();
    let mut raw = Raw::connect(&validator.client_address());
    raw.handshake(&mut validator, 1);
    // Right form, right key, wrong handshake hash.
    let mut signature = [2; 64];
    signature[32..34].copy_from_slice(&5_u16.to_le_bytes());
    signature[34..36].copy_from_slice(&3_u16.to_le_bytes());
    let login = raw.seal(&[&[5; 32][..], &signature].concat());
    let reason = reason_for(&mut validator, &mut raw, &login);
    assert_eq!(reason, [CloseReason::HelloSignature]);
}

#[test]
fn nothing_is_read_before_the_login() {
    let mut validator = alone();
    for plain in [Raw::frame(b"order"), vec![5; 95], vec![5; 97]] {
        let mut raw = Raw::connect(&validator.client_address());
        raw.handshake(&mut validator, 1);
        let sealed = raw.seal(&plain);
        let reason = reason_for(&mut validator, &mut raw, &sealed);
        assert_eq!(reason, [CloseReason::HelloMalformed]);
    }
    // Within the channel the limit of 512 bytes still holds.
    let mut raw = Raw::connect(&validator.client_address());
    raw.handshake(&mut validator, 1);
    let sealed = raw.seal(&[0; 600]);
    let reason = reason_for(&mut validator, &mut raw, &sealed);
    assert_eq!(reason, [CloseReason::MessageLength]);
    assert!(validator.seen.client_frames.is_empty());
}

#[test]
fn frames_cut_at_every_byte_arrive_whole() {
    let mut validator = alone();
    let mut raw = Raw::login(&mut validator, 3, 5);
    let frames: Vec<Vec<u8>> = (1..20_u8).map(|n| vec![n; usize::from(n) * 3]).collect();
    for frame in &frames {
        // Cut in the plaintext stream (a message per byte) and on the wire (a write per byte).
        for byte in Raw::frame(frame) {
            for wire in raw.seal(&[byte]) {
                raw.write(&mut validator, &[wire]);
            }
        }
    }
    raw.turn_until(&mut validator, |v| {
        v.seen.client_frames.len() == frames.len()
    });
    let got: Vec<_> = validator
        .seen
        .client_frames
        .iter()
        .map(|(_, f)| f.clone())
        .collect();
    assert_eq!(got, frames);
}

#[test]
fn frames_in_one_piece_arrive_apart() {
    let mut validator = alone();
    let mut raw = Raw::login(&mut validator, 3, 5);
    let frames: Vec<Vec<u8>> = (0..200_u8).map(|n| vec![n; 1 + usize::from(n)]).collect();
    let mut plain = Vec::new();
    for frame in &frames {
        plain.extend(Raw::frame(frame));
        // Empty frames between them are skipped.
        plain.extend(Raw::frame(&[]));
    }
    let wire: Vec<u8> = plain
        .chunks(9_999)
        .flat_map(|piece| raw.seal(piece))
        .collect();
    raw.write(&mut validator, &wire);
    raw.turn_until(&mut validator, |v| {
        v.seen.client_frames.len() == frames.len()
    });
    let got: Vec<_> = validator
        .seen
        .client_frames
        .iter()
        .map(|(_, f)| f.clone())
        .collect();
    assert_eq!(got, frames);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_bytes_after_any_stage_end_only_their_own_connection(
        bytes in prop::collection::vec(any::<u8>(), 1..3000),
        stage in 0..4_u8,
        honest in 0_usize..300,
    ) {
        let mut validator = alone();
        let mut bystander = Raw::login(&mut validator, 3, 9);
        let mut raw = match stage {
            0 => Raw::connect(&validator.peer_address()),
            1 => Raw::connect(&validator.client_address()),
            2 => {
                let mut raw = Raw::connect(&validator.client_address());
                raw.handshake(&mut validator, 1);
                raw
            }
            _ => {
                let mut raw = Raw::login(&mut validator, 3, 5);
                let sealed = raw.seal(&Raw::frame(&vec![1; 300])[..honest]);
                raw.write(&mut validator, &sealed[..sealed.len().min(honest.max(1))]);
                raw
            }
        };
        raw.write(&mut validator, &bytes);
        drop(raw);
        let before = validator.seen.client_frames.len();
        let frame = bystander.seal(&Raw::frame(b"still here"));
        prop_assert!(bystander.write(&mut validator, &frame));
        bystander.turn_until(&mut validator, |v| v.seen.client_frames.len() > before);
        bystander.turn_until(&mut validator, |v| {
            v.net.counters().unauthenticated_now == 0 && closed_strangers(v) == 1
        });
        prop_assert_eq!(validator.seen.clients.len(), 1);
    }
}
