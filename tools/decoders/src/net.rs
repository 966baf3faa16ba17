//! What stands in front of a message: frames, the handshake, who is there.

use crate::decoder::{Cap, Decode, Decoder, Verdict};
use quorate_net::wire::{Channel, Hello, Login, answer, dial, frames, put_frame};
use std::sync::{Mutex, PoisonError};

const PROLOGUE: &[u8] = b"the decoders' own chain";
/// Frames between validators, as docs/wire.md bounds them.
const FRAME_BYTES_MAX: usize = 2 << 20;

pub(crate) fn decoders() -> Vec<Decoder> {
    // The state of a handshake is of fixed size; a buffer is as long as what was put into it.
    let cap = Cap {
        base_bytes: 16 * 1024,
        per_byte: 4,
    };
    let decoder = |name, share, corpus, decode| Decoder {
        name,
        share,
        is_text: false,
        corpus,
        cap,
        decode,
        mend: None,
    };
    let (first, second, channel, sealed) = conversation();
    vec![
        decoder("net.frames", 8, streams(), Box::new(decode_frames)),
        decoder("net.hello", 4, hellos(), Box::new(decode_hello)),
        decoder("net.login", 3, logins(), Box::new(decode_login)),
        decoder("net.handshake_first", 1, vec![first], decode_first()),
        decoder("net.handshake_second", 1, vec![second], decode_second()),
        decoder("net.sealed", 4, sealed, decode_sealed(channel)),
    ]
}

/// Both messages of a handshake, its accepting end, and what the dialing end has sealed.
fn conversation() -> (Vec<u8>, Vec<u8>, Channel, Vec<Vec<u8>>) {
    let (dialing, first) = dial(PROLOGUE).expect("the suites were built");
    let (theirs, second) = answer(PROLOGUE, &first).expect("our own message");
    let mut ours = dialing.complete(&second).expect("our own answer");
    let sealed = [1, 100, 3000]
        .map(|bytes| ours.seal(&vec![7; bytes]).expect("a fresh channel"))
        .to_vec();
    (first, second, theirs, sealed)
}

fn streams() -> Vec<Vec<u8>> {
    let stream = |frames: &[&[u8]]| {
        let mut stream = Vec::new();
        frames
            .iter()
            .for_each(|frame| put_frame(frame, &mut stream));
        stream
    };
    vec![
        stream(&[b"one", b"", b"three", &[4; 300]]),
        stream(&[[1; 20].as_slice(); 20]),
        stream(&[]),
    ]
}

/// Writes the frames again: keep-alives carry nothing and are left out, so they are refused here.
fn decode_frames(input: &[u8]) -> Verdict {
    let mut again = Vec::with_capacity(input.len());
    match frames(input, FRAME_BYTES_MAX, |frame| put_frame(frame, &mut again)) {
        Err(_) => Verdict::Refused,
        Ok(left) => {
            assert!(
                left <= input.len() - again.len(),
                "more is left than there was"
            );
            let has_keepalives = again.len() + left < input.len();
            again.extend_from_slice(&input[input.len() - left..]);
            if has_keepalives {
                Verdict::Accepted
            } else {
                Verdict::canonical(input, &again)
            }
        }
    }
}

fn hellos() -> Vec<Vec<u8>> {
    let hello = Hello {
        version_min: 1,
        version_max: 1,
        index: 3,
        incarnation: 77,
        signature: [5; 64],
    };
    vec![hello.encode().to_vec()]
}

fn decode_hello(input: &[u8]) -> Verdict {
    Hello::decode(input).map_or(Verdict::Refused, |hello| {
        Verdict::canonical(input, &hello.encode())
    })
}

fn logins() -> Vec<Vec<u8>> {
    let login = Login {
        key: [6; 32],
        signature: [7; 64],
    };
    vec![login.encode().to_vec()]
}

fn decode_login(input: &[u8]) -> Verdict {
    Login::decode(input).map_or(Verdict::Refused, |login| {
        Verdict::canonical(input, &login.encode())
    })
}

fn decode_first() -> Decode {
    Box::new(|input| match answer(PROLOGUE, input) {
        Ok(_) => Verdict::Accepted,
        Err(_) => Verdict::Refused,
    })
}

/// An answer of another handshake never fits, so what is accepted here was forged.
fn decode_second() -> Decode {
    Box::new(|input| {
        let (dialing, _first) = dial(PROLOGUE).expect("the suites were built");
        match dialing.complete(input) {
            Ok(_) => panic!("a second message was accepted that answers another handshake"),
            Err(_) => Verdict::Refused,
        }
    })
}

/// A message that does not open changes nothing, so one channel serves all; one that opens was
/// not damaged, and no other may open after it than the next.
fn decode_sealed(channel: Channel) -> Decode {
    let channel = Mutex::new(channel);
    Box::new(move |input| {
        let mut channel = channel.lock().unwrap_or_else(PoisonError::into_inner);
        match channel.open(input) {
            Ok(_) => Verdict::Accepted,
            Err(_) => Verdict::Refused,
        }
    })
}
