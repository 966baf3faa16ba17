//! What one turn takes at most, whoever sends and whatever.

#![expect(clippy::unwrap_used, reason = "a test helper fails by panicking")]

mod common;

use std::collections::VecDeque;
use std::io::Write as _;
use std::time::{Duration, Instant};

use common::raw::Raw;
use common::{Clients, DEADLINE, Told, Validator, all_up, bind, client, config, mesh, turn_until};
use quorate_net::{Class, ClientLinks, CloseReason, Limits, NetConfig};

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

/// Connections past the handshake, each with a Login or Hello behind it
/// that proves nothing.
fn impostors(validator: &mut Validator, address: &str, port_kind: u8, count: usize) -> Vec<Raw> {
    let mut all: Vec<_> = (0..count)
        .map(|_| {
            let mut raw = Raw::connect(address);
            raw.handshake(validator, port_kind);
            raw
        })
        .collect();
    for raw in &mut all {
        let message = raw.seal(&bad_proof(port_kind));
        write_unread(raw, &message);
    }
    all
}

fn bad_proof(port_kind: u8) -> Vec<u8> {
    if port_kind == 1 {
        return vec![5; 96];
    }
    let mut hello = vec![5; 78];
    hello[..4].copy_from_slice(&[1, 0, 1, 0]);
    hello
}

#[test]
fn proofs_that_do_not_hold_take_from_the_steps_of_a_turn_too() {
    for port_kind in [0, 1] {
        let mut validator = bind(config(3));
        let address = match port_kind {
            0 => validator.peer_address(),
            _ => validator.client_address(),
        };
        let _impostors = impostors(&mut validator, &address, port_kind, 64);
        let steps = Limits::default().handshakes_per_turn as u64;
        while validator.closed(CloseReason::HelloSignature) < 64 {
            let before = validator.closed(CloseReason::HelloSignature);
            validator.turn();
            let checked = validator.closed(CloseReason::HelloSignature) - before;
            assert!(checked <= steps, "{checked} signatures in one turn");
        }
    }
}

#[test]
fn a_peer_hands_over_a_bounded_number_of_frames_in_a_turn_and_all_of_them_in_the_end() {
    let mut pair = mesh(&[0, 1]);
    turn_until("both up", &mut pair, |v| all_up(v));
    let sent = 100_000;
    for _ in 0..sent {
        pair[1].net.send_peer(0, b"x", Class::Vote).unwrap();
    }
    let most = Limits::default().peer_frames_per_turn;
    let mut taken = 0;
    turn_until("all frames", &mut pair, |pair| {
        let frames = pair[0].seen.frames.len();
        assert!(frames - taken <= most, "{} in one turn", frames - taken);
        taken = frames;
        frames == sent
    });
}

#[test]
fn a_vote_queued_behind_what_is_for_clients_leaves_before_it() {
    let mut pair = mesh(&[0, 1]);
    turn_until("settled", &mut pair, |pair| {
        let settled = |v: &Validator| v.net.counters().dials_now == 0;
        all_up(pair)
            && pair
                .iter()
                .all(|v| settled(v) && v.net.counters().peer_connections_now == 1)
    });
    let _client = Raw::login(&mut pair[0], 0, 5);
    let client = *pair[0].seen.clients.keys().next().unwrap();
    let net = &mut pair[0].net;
    net.flush();
    let before = net.counters().clone();
    for _ in 0..100 {
        net.send_client(client, &[7; 200]).unwrap();
    }
    net.send_peer(1, b"vote", Class::Vote).unwrap();
    net.flush_peers();
    let voted = net.counters().clone();
    assert_eq!(voted.frames_out - before.frames_out, 1);
    assert_eq!(voted.writes - before.writes, 1);
    net.flush();
    let after = net.counters();
    assert_eq!(after.frames_out - voted.frames_out, 100);
    assert_eq!(after.writes - voted.writes, 1, "the peer's is out already");
    turn_until("the vote", &mut pair[1..], |one| {
        !one[0].seen.frames.is_empty()
    });
}

/// Limits by which nothing is due for long, so that nothing of that ends a sleep.
fn quiet() -> Limits {
    Limits {
        keepalive_interval: Duration::from_secs(1_000),
        silence_max: Duration::from_secs(10_000),
        handshake_timeout: Duration::from_secs(1_000),
        ..Limits::default()
    }
}

/// A validator of these limits that knows peer 1, which it cannot dial.
fn bind_with(limits: Limits) -> Validator {
    let peers = vec![(1, "127.0.0.1:1".to_owned())];
    bind(NetConfig {
        limits,
        peers,
        ..config(3)
    })
}

/// Forty short frames in one message.
fn forty(raw: &mut Raw) -> Vec<u8> {
    let plain: Vec<u8> = (0..40_u8).flat_map(|n| Raw::frame(&[n; 20])).collect();
    raw.seal(&plain)
}

/// Turns that may sleep for longer than the test may last. What a turn has left brings no event.
fn turn_asleep(validator: &mut Validator, mut done: impl FnMut(&Validator) -> bool) {
    let begun = Instant::now();
    while !done(validator) {
        let Validator { net, seen } = validator;
        net.turn(Instant::now(), Some(DEADLINE), seen).unwrap();
        assert!(begun.elapsed() < DEADLINE, "it sleeps over what is left");
    }
}

#[test]
fn no_turn_sleeps_while_frames_of_a_peer_are_left_of_the_one_before() {
    let mut validator = bind_with(Limits {
        peer_frames_per_turn: 8,
        ..quiet()
    });
    let mut peer = Raw::peer(&mut validator, 3, 1);
    let wire = forty(&mut peer);
    write_unread(&mut peer, &wire);
    turn_asleep(&mut validator, |v| v.seen.frames.len() == 40);
}

#[test]
fn no_turn_sleeps_while_frames_of_a_client_are_left_of_the_one_before() {
    let mut validator = bind(NetConfig {
        limits: Limits {
            client_frames_per_turn: 8,
            ..quiet()
        },
        ..config(3)
    });
    let mut raw = Raw::login(&mut validator, 3, 1);
    let wire = forty(&mut raw);
    write_unread(&mut raw, &wire);
    turn_asleep(&mut validator, |v| v.seen.client_frames.len() == 40);
}

#[test]
fn no_turn_sleeps_while_handshakes_are_left_of_the_one_before() {
    let mut validator = bind(NetConfig {
        limits: Limits {
            handshakes_per_turn: 1,
            ..quiet()
        },
        ..config(3)
    });
    let address = validator.client_address();
    let mut raws: Vec<_> = (0..5).map(|_| Raw::connect(&address)).collect();
    raws[0].turn_until(&mut validator, |v| v.net.counters().accepted == 5);
    while validator.turn() > 0 {}
    let writes = validator.net.counters().writes;
    for raw in &mut raws {
        write_unread(raw, &Raw::initiate(1).1);
    }
    turn_asleep(&mut validator, |v| v.net.counters().writes == writes + 5);
}

#[test]
fn no_turn_of_a_client_sleeps_while_bytes_are_left_of_the_one_before() {
    let mut validator = bind(config(3));
    let limits = Limits {
        client_read_bytes_per_turn: 1_024,
        client_read_buffer_bytes: 1_024,
        ..quiet()
    };
    let mut clients = Clients {
        links: ClientLinks::new(limits).unwrap(),
        told: Told::default(),
    };
    clients.connect(&validator.client_address(), client(1));
    turn_until("up", std::slice::from_mut(&mut validator), |one| {
        clients.turn();
        !one[0].seen.clients.is_empty()
    });
    let id = *validator.seen.clients.keys().next().unwrap();
    validator.net.send_client(id, &[7; 20_000]).unwrap();
    turn_until("it leaves", std::slice::from_mut(&mut validator), |one| {
        one[0].net.client_waiting(id) == Some(0)
    });
    let begun = Instant::now();
    while clients.told.frames.is_empty() {
        let Clients { links, told } = &mut clients;
        links.turn(Instant::now(), Some(DEADLINE), told).unwrap();
        assert!(begun.elapsed() < DEADLINE, "it sleeps over what is left");
    }
}

/// A turn at a made-up time; how much was done.
fn turn_at(validator: &mut Validator, now: Instant) -> usize {
    let Validator { net, seen } = validator;
    net.turn(now, Some(Duration::ZERO), seen).unwrap()
}

#[test]
fn a_client_that_is_held_is_read_at_its_time_and_not_at_the_next_tick() {
    let mut validator = bind(NetConfig {
        limits: quiet(),
        ..config(3)
    });
    let mut raws = [1, 2].map(|key| Raw::login(&mut validator, 3, key));
    let now = Instant::now();
    while turn_at(&mut validator, now) > 0 {}
    let until = [50, 100].map(|ms| now + Duration::from_millis(ms));
    for ((raw, key), until) in raws.iter_mut().zip([1, 2]).zip(until) {
        let mut clients = validator.seen.clients.iter();
        let id = *clients.find(|(_, of)| **of == [key; 32]).unwrap().0;
        validator.net.hold_client(id, until);
        let sealed = raw.seal(&Raw::frame(&[key]));
        write_unread(raw, &sealed);
        // The event has come, and it is put aside.
        while turn_at(&mut validator, now) == 0 {
            assert!(now.elapsed() < DEADLINE, "nothing has come");
        }
    }
    for (at, read) in [(now, 0), (until[0], 1), (until[1], 2)] {
        turn_at(&mut validator, at);
        assert_eq!(validator.seen.client_frames.len(), read);
    }
}

/// Connections to both ports that begin a handshake and go no further. Some always wait to be let
/// in.
struct Flood {
    addresses: [String; 2],
    firsts: [Vec<u8>; 2],
    open: VecDeque<Raw>,
    opened: u64,
}

impl Flood {
    fn on(validator: &Validator) -> Self {
        Self {
            addresses: [validator.peer_address(), validator.client_address()],
            firsts: [0, 1].map(|port_kind| Raw::initiate(port_kind).1),
            open: VecDeque::new(),
            opened: 0,
        }
    }

    fn go_on(&mut self, validator: &Validator) {
        while self.opened - validator.net.counters().accepted.min(self.opened) < 64 {
            for (address, first) in self.addresses.iter().zip(&self.firsts) {
                let mut raw = Raw::connect(address);
                write_unread(&mut raw, first);
                self.open.push_back(raw);
                self.opened += 1;
            }
        }
        while self.open.len() > 500 {
            self.open.pop_front();
        }
    }
}

#[test]
fn a_flood_of_strangers_on_both_ports_keeps_no_peer_out() {
    let limits = Limits {
        unauthenticated_max: 32,
        ..Limits::default()
    };
    let mut pair = vec![
        bind(NetConfig {
            limits,
            ..config(9)
        }),
        bind(config(1)),
    ];
    let mut flood = Flood::on(&pair[0]);
    for _ in 0..20 {
        flood.go_on(&pair[0]);
        pair[0].turn();
    }
    // It knows no other way than to be dialed.
    let nowhere = vec![(1, "127.0.0.1:1".to_owned())];
    pair[0].net.set_peers(&nowhere).unwrap();
    let address = pair[0].peer_address();
    pair[1].net.set_peers(&[(9, address)]).unwrap();
    let mut turns = 0;
    while !all_up(&pair) {
        turns += 1;
        assert!(turns < 250, "it does not get in");
        flood.go_on(&pair[0]);
        for validator in &mut pair {
            validator.net.flush();
            validator.turn();
        }
    }
}
