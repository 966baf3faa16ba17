//! What one turn takes at most, whoever sends and whatever.

#![expect(clippy::unwrap_used, reason = "a test helper fails by panicking")]

mod common;

use std::io::Write as _;

use common::raw::Raw;
use common::{bind, config};
use quorate_net::Limits;

/// Writes all of `bytes` into the sockets' buffers, while the other side does not turn.
fn write_unread(raw: &mut Raw, bytes: &[u8]) {
    raw.stream.write_all(bytes).unwrap();
}

#[test]
fn messages_without_a_frame_take_from_the_budget_of_a_turn_too() {
    let mut validator = bind(config(3));
    let mut clients: Vec<_> = (1..=32)
        .map(|key| Raw::login(&mut validator, 3, key))
        .collect();
    let per_client = 64 * 1024 / (2 + 1 + 16);
    for raw in &mut clients {
        // Pieces of one keep-alive after the other.
        let wire: Vec<u8> = (0..per_client).flat_map(|_| raw.seal(&[0])).collect();
        write_unread(raw, &wire);
    }
    let budget = Limits::default().client_frames_per_turn as u64;
    let all = validator.net.counters().messages_in + 32 * per_client as u64;
    while validator.net.counters().messages_in < all {
        let before = validator.net.counters().messages_in;
        validator.turn();
        let opened = validator.net.counters().messages_in - before;
        assert!(opened <= budget, "{opened} messages in one turn");
    }
    assert_eq!(validator.seen.clients.len(), 32);
}

#[test]
fn what_is_read_of_all_clients_in_a_turn_is_bounded() {
    let mut validator = bind(config(3));
    let mut clients: Vec<_> = (1..=32)
        .map(|key| Raw::login(&mut validator, 3, key))
        .collect();
    let frame = Raw::frame(&vec![1; 60_000]);
    for raw in &mut clients {
        for _ in 0..2 {
            let sealed = raw.seal(&frame);
            write_unread(raw, &sealed);
        }
    }
    let limits = Limits::default();
    // A message that has begun is read on with what room its buffer has.
    let bytes_max = limits.clients_read_bytes_per_turn + 2 * 64 * 1024;
    while validator.seen.client_frames.len() < 64 {
        let before = validator.net.counters().bytes_in;
        validator.turn();
        let read = validator.net.counters().bytes_in - before;
        assert!(read <= bytes_max as u64, "{read} bytes in one turn");
    }
}
