//! Clients over real sockets: login, frames both ways, and the bounds that hold against them.

mod common;

use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::raw::Raw;
use common::{ClientNotary, Clients, DEADLINE, Told, Validator, bind, client, config};
use quorate_net::{ClientLinks, CloseReason, Limits, NetConfig, SendError};

fn turn_both(
    what: &str,
    validators: &mut [Validator],
    clients: &mut Clients,
    mut done: impl FnMut(&mut [Validator], &mut Clients) -> bool,
) {
    let deadline = Instant::now() + DEADLINE;
    while !done(validators, clients) {
        assert!(Instant::now() < deadline, "not within {DEADLINE:?}: {what}");
        for validator in validators.iter_mut() {
            validator.net.flush();
            validator.turn();
        }
        clients.turn();
    }
}

#[test]
fn several_clients_speak_with_several_validators() {
    let mut validators = [bind(config(0)), bind(config(1))];
    let mut clients = Clients::new();
    for key in 1..=5 {
        for validator in &validators {
            clients.connect(&validator.client_address(), client(key));
        }
    }
    turn_both(
        "all up",
        &mut validators,
        &mut clients,
        |validators, clients| {
            clients.told.ups.len() == 10 && validators.iter().all(|v| v.seen.clients.len() == 5)
        },
    );
    for (link, validator) in clients.told.ups.clone() {
        clients.links.send(link, &validator.to_le_bytes()).unwrap();
    }
    turn_both("asked", &mut validators, &mut clients, |validators, _| {
        validators.iter().all(|v| v.seen.client_frames.len() == 5)
    });
    for (own, validator) in validators.iter_mut().enumerate() {
        for (id, frame) in std::mem::take(&mut validator.seen.client_frames) {
            assert_eq!(frame, u16::try_from(own).unwrap().to_le_bytes());
            let key = validator.seen.clients[&id];
            validator.net.send_client(id, &key).unwrap();
        }
    }
    turn_both("answered", &mut validators, &mut clients, |_, clients| {
        clients.told.frames.len() == 10
    });
    let mut keys: Vec<u8> = clients.told.frames.iter().map(|(_, key)| key[0]).collect();
    keys.sort_unstable();
    assert_eq!(keys, [1, 1, 2, 2, 3, 3, 4, 4, 5, 5]);
    assert_eq!(clients.told.downs, []);
}

#[test]
fn the_longest_frames_pass_and_longer_ones_do_not() {
    let mut validators = [bind(config(0))];
    let mut clients = Clients::new();
    let link = clients.connect(&validators[0].client_address(), client(1));
    turn_both("up", &mut validators, &mut clients, |v, _| {
        v[0].seen.clients.len() == 1
    });
    let id = *validators[0].seen.clients.keys().next().unwrap();
    let limits = Limits::default();
    let down: Vec<u8> = (0..limits.frame_bytes_max)
        .map(|n| n.to_le_bytes()[1])
        .collect();
    let up: Vec<u8> = (0..limits.client_frame_bytes_max)
        .map(|n| n.to_le_bytes()[1])
        .collect();
    validators[0].net.send_client(id, &down).unwrap();
    clients.links.send(link, &up).unwrap();
    turn_both("both ways", &mut validators, &mut clients, |v, clients| {
        !v[0].seen.client_frames.is_empty() && !clients.told.frames.is_empty()
    });
    assert!(validators[0].seen.client_frames[0].1 == up && clients.told.frames[0].1 == down);
    let too_long = vec![0; limits.frame_bytes_max + 1];
    let length = SendError::Length {
        bytes: too_long.len(),
        bytes_max: limits.frame_bytes_max,
    };
    assert_eq!(validators[0].net.send_client(id, &too_long), Err(length));
    assert!(validators[0].net.send_client(id, &[]).is_err());
    clients
        .links
        .send(link, &too_long[..=limits.client_frame_bytes_max])
        .unwrap();
    turn_both("cut", &mut validators, &mut clients, |_, clients| {
        !clients.told.downs.is_empty()
    });
    assert_eq!(validators[0].closed(CloseReason::FrameLength), 1);
    assert_eq!(clients.links.send(link, b"x"), Err(SendError::NotConnected));
}

/// A validator at fault would have its clients hold whatever it announces.
#[test]
fn a_frame_that_is_longer_than_a_client_takes_ends_the_connection() {
    let mut validators = [bind(config(0))];
    let limits = Limits {
        frame_bytes_max: 1_024,
        client_frame_bytes_max: 1_024,
        ..Limits::default()
    };
    let mut clients = Clients {
        links: ClientLinks::new(limits).unwrap(),
        told: Told::default(),
    };
    let link = clients.connect(&validators[0].client_address(), client(1));
    turn_both("up", &mut validators, &mut clients, |v, _| {
        v[0].seen.clients.len() == 1
    });
    let id = *validators[0].seen.clients.keys().next().unwrap();
    for bytes in [1_024, 1_025] {
        validators[0].net.send_client(id, &vec![7; bytes]).unwrap();
    }
    turn_both("told", &mut validators, &mut clients, |_, clients| {
        clients.told.frames.len() + clients.told.downs.len() == 2
    });
    assert_eq!(clients.told.frames, [(link, vec![7; 1_024])]);
    assert_eq!(clients.told.downs, [(link, CloseReason::FrameLength)]);
}

#[test]
fn wrong_signatures_chains_and_addresses_are_told_to_the_client() {
    let mut validators = [bind(config(0))];
    let address = validators[0].client_address();
    let mut clients = Clients::new();
    clients.connect(
        &address,
        Arc::new(ClientNotary {
            key: 1,
            signs_with: 2,
        }),
    );
    turn_both("refused", &mut validators, &mut clients, |_, c| {
        c.told.downs.len() == 1
    });
    assert_eq!(validators[0].closed(CloseReason::HelloSignature), 1);
    // A client does not get in at the peer port.
    let peer_port = validators[0].peer_address();
    clients.connect(&peer_port, client(1));
    turn_both("refused", &mut validators, &mut clients, |_, c| {
        c.told.downs.len() == 2
    });
    assert_eq!(clients.told.downs[1].1, CloseReason::Handshake);
    // Nobody listens.
    let dead = bind(config(9)).client_address();
    clients.connect(&dead, client(1));
    turn_both("refused", &mut validators, &mut clients, |_, c| {
        c.told.downs.len() == 3
    });
    assert_eq!(clients.told.downs[2].1, CloseReason::ConnectFailed);
    assert!(validators[0].seen.clients.is_empty());
}

#[test]
fn a_login_that_nobody_answers_ends_its_link_in_time() {
    // The system takes the connection, and nobody reads from it.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let mut clients = Clients::new();
    let before = Instant::now();
    let link = clients.connect(&address, client(1));
    clients.turn();
    let after = Instant::now();
    let limit = Limits::default().handshake_timeout;
    let early = before + limit.mul_f64(0.9);
    for (now, downs) in [
        (early, &[][..]),
        (after + limit, &[(link, CloseReason::HandshakeTimeout)]),
    ] {
        let Clients { links, told } = &mut clients;
        links.turn(now, Some(Duration::ZERO), told).unwrap();
        assert_eq!(told.downs, downs);
    }
}

#[test]
fn one_client_more_than_allowed_is_refused_until_a_place_is_free() {
    let limits = Limits {
        clients_max: 2,
        ..Limits::default()
    };
    let mut validator = bind(NetConfig {
        limits,
        ..config(0)
    });
    let first = Raw::login(&mut validator, 0, 1);
    let _second = Raw::login(&mut validator, 0, 2);
    let mut validators = [validator];
    let mut clients = Clients::new();
    let address = validators[0].client_address();
    clients.connect(&address, client(3));
    turn_both("refused", &mut validators, &mut clients, |_, c| {
        c.told.downs.len() == 1
    });
    assert_eq!(validators[0].closed(CloseReason::ClientsFull), 1);
    drop(first);
    turn_both("a place", &mut validators, &mut clients, |v, _| {
        v[0].seen.clients.len() == 1
    });
    clients.connect(&address, client(3));
    turn_both("up", &mut validators, &mut clients, |v, _| {
        v[0].seen.clients.len() == 2
    });
    assert_eq!(validators[0].net.counters().clients_now, 2);
}

#[test]
fn whoever_has_been_silent_for_longest_makes_room_unless_it_is_kept() {
    let limits = Limits {
        clients_max: 3,
        client_idle_min: Duration::ZERO,
        ..Limits::default()
    };
    let mut validator = bind(NetConfig {
        limits,
        ..config(0)
    });
    let mut first = Raw::login(&mut validator, 0, 1);
    let _second = Raw::login(&mut validator, 0, 2);
    let _third = Raw::login(&mut validator, 0, 3);
    let of_key = |v: &Validator, key: u8| {
        let mut clients = v.seen.clients.iter();
        clients.find(|(_, of)| **of == [key; 32]).map(|(id, _)| *id)
    };
    // The oldest speaks, the next one is kept, so the last one it is.
    let kept = of_key(&validator, 2).unwrap();
    validator.net.keep_client(kept);
    let sealed = first.seal(&Raw::frame(b"still here"));
    first.write(&mut validator, &sealed);
    first.turn_until(&mut validator, |v| v.seen.client_frames.len() == 1);
    let fourth = Raw::login(&mut validator, 0, 4);
    fourth.turn_until(&mut validator, |v| v.closed(CloseReason::MadeRoom) == 1);
    assert_eq!(of_key(&validator, 3), None);
    assert_eq!(validator.net.counters().clients_now, 3);
    // However many come, one that is kept stays.
    let _others: Vec<_> = (5..9)
        .map(|key| Raw::login(&mut validator, 0, key))
        .collect();
    fourth.turn_until(&mut validator, |v| v.net.counters().clients_now == 3);
    assert_eq!(of_key(&validator, 2), Some(kept));
    assert_eq!(validator.closed(CloseReason::ClientsFull), 0);
}

#[test]
fn one_key_does_not_take_the_places_of_all() {
    let limits = Limits {
        clients_per_key_max: 2,
        ..Limits::default()
    };
    let mut validator = bind(NetConfig {
        limits,
        ..config(0)
    });
    let first = Raw::login(&mut validator, 0, 1);
    let _second = Raw::login(&mut validator, 0, 1);
    let mut validators = [validator];
    let mut clients = Clients::new();
    let address = validators[0].client_address();
    clients.connect(&address, client(1));
    turn_both("refused", &mut validators, &mut clients, |_, c| {
        c.told.downs.len() == 1
    });
    assert_eq!(validators[0].closed(CloseReason::ClientsFull), 1);
    clients.connect(&address, client(2));
    turn_both("another's", &mut validators, &mut clients, |v, _| {
        v[0].seen.clients.len() == 3
    });
    drop(first);
    turn_both("a place", &mut validators, &mut clients, |v, _| {
        v[0].seen.clients.len() == 2
    });
    clients.connect(&address, client(1));
    turn_both("up", &mut validators, &mut clients, |v, _| {
        v[0].seen.clients.len() == 3
    });
}

/// Eight clients that may have 1 MiB each and 2 MiB together.
fn eight_clients() -> (Validator, Vec<Raw>) {
    let limits = Limits {
        frame_bytes_max: 256 * 1024,
        client_queue_bytes_max: 1024 * 1024,
        clients_queue_bytes_max: 2 * 1024 * 1024,
        ..Limits::default()
    };
    let mut validator = bind(NetConfig {
        limits,
        ..config(0)
    });
    let clients = (1..=8).map(|key| Raw::login(&mut validator, 0, key));
    let clients = clients.collect();
    (validator, clients)
}

#[test]
fn much_for_all_clients_within_one_turn_cuts_nobody_whose_socket_would_take_it() {
    let (mut validator, clients) = eight_clients();
    let ids: Vec<_> = validator.seen.clients.keys().copied().collect();
    for round in 0..2 {
        for id in &ids {
            let sent = validator.net.send_client(*id, &[1; 150_000]);
            assert!(sent.is_ok(), "{sent:?} in round {round}");
        }
    }
    validator.turn();
    assert_eq!(validator.seen.clients.len(), 8);
    drop(clients);
}

#[test]
fn what_waits_for_all_clients_together_is_bounded_and_the_slowest_one_goes_first() {
    let (mut validator, clients) = eight_clients();
    let ids: Vec<_> = validator.seen.clients.keys().copied().collect();
    let waiting = |validator: &Validator| -> usize {
        let of_each = ids
            .iter()
            .filter_map(|id| validator.net.client_waiting(*id));
        of_each.sum()
    };
    // None of them reads: the sockets fill, and then the queues.
    let frame = vec![1; 200_000];
    let mut cut = None;
    'full: for _ in 0..1_000 {
        for id in &ids {
            let before: Vec<_> = ids
                .iter()
                .map(|other| {
                    let more = if other == id { frame.len() } else { 0 };
                    validator.net.client_waiting(*other).unwrap() + more
                })
                .collect();
            // What came of it shows below.
            validator.net.send_client(*id, &frame).ok();
            assert!(waiting(&validator) <= 2 * 1024 * 1024);
            let is_cut = |id| validator.net.client_waiting(id).is_none();
            cut = ids.iter().position(|id| is_cut(*id));
            if let Some(cut) = cut {
                assert!(before.iter().all(|bytes| *bytes <= before[cut] + 4));
                assert!(
                    before[cut] < 1024 * 1024,
                    "what one may have was not the matter"
                );
                break 'full;
            }
        }
        validator.net.flush();
    }
    assert!(cut.is_some(), "nobody was cut");
    validator.turn();
    assert_eq!(validator.closed(CloseReason::SlowReader), 1);
    assert_eq!(validator.seen.clients.len(), 7);
    drop(clients);
}

/// A queue takes more memory than the bytes that wait in it, as it has grown and may shrink.
#[test]
fn what_waits_for_all_clients_is_counted_by_the_memory_that_it_takes() {
    let (mut validator, _raws) = eight_clients();
    let clients: Vec<_> = validator.seen.clients.keys().copied().collect();
    let (crowded_bytes, frame) = (1024 * 1024, [7; 12_000]);
    let mut waiting = 0;
    while !validator.net.clients_are_crowded() {
        assert!(waiting < crowded_bytes - 100_000, "{waiting} bytes wait");
        validator.net.send_client(clients[0], &frame).unwrap();
        waiting = validator.net.client_waiting(clients[0]).unwrap();
    }
    assert!(waiting > crowded_bytes / 2);
    // What each keeps anyway is no reason to tell anybody less.
    let (mut validator, _raws) = eight_clients();
    let clients: Vec<_> = validator.seen.clients.keys().copied().collect();
    for client in &clients {
        validator.net.send_client(*client, &[7; 20_000]).unwrap();
    }
    assert!(!validator.net.clients_are_crowded());
}

/// As when a validator catches up, whose clients are told much in one turn.
#[test]
fn much_for_one_client_within_one_turn_is_offered_to_its_socket_first() {
    let limits = Limits {
        frame_bytes_max: 60_000,
        client_frame_bytes_max: 60_000,
        client_queue_bytes_max: 170_000,
        ..Limits::default()
    };
    let mut validator = bind(NetConfig {
        limits,
        ..config(0)
    });
    let _raw = Raw::login(&mut validator, 0, 1);
    let id = *validator.seen.clients.keys().next().unwrap();
    for number in 0..3 {
        let sent = validator.net.send_client(id, &[1; 60_000]);
        assert_eq!(sent, Ok(()), "the frame at {number}");
    }
    assert!(validator.net.client_waiting(id).is_some());
}

#[test]
fn what_waits_behind_a_full_socket_leaves_though_nothing_more_is_sent() {
    let mut validators = [bind(config(0))];
    let mut clients = Clients::new();
    let link = clients.connect(&validators[0].client_address(), client(1));
    turn_both("up", &mut validators, &mut clients, |v, _| {
        v[0].seen.clients.len() == 1
    });
    let mut sent = 0;
    let refused = loop {
        match clients.links.send(link, &[7; 60_000]) {
            Ok(()) => sent += 1,
            Err(error) => break error,
        }
        clients.links.flush();
    };
    assert_eq!(refused, SendError::Full);
    turn_both("all of it", &mut validators, &mut clients, |v, _| {
        v[0].seen.client_frames.len() == sent
    });
}

#[test]
fn a_client_that_does_not_read_is_cut_and_others_are_served() {
    let mut validator = bind(config(0));
    let mut slow = Raw::login(&mut validator, 0, 1);
    let slow_id = *validator.seen.clients.keys().next().unwrap();
    let mut validators = [validator];
    let mut clients = Clients::new();
    clients.connect(&validators[0].client_address(), client(2));
    turn_both("up", &mut validators, &mut clients, |v, _| {
        v[0].seen.clients.len() == 2
    });
    let quick_id = *validators[0]
        .seen
        .clients
        .keys()
        .find(|id| **id != slow_id)
        .unwrap();
    let frame = vec![1; 100_000];
    let mut sent = 0_usize;
    let cut = loop {
        if let Err(error) = validators[0].net.send_client(slow_id, &frame) {
            break error;
        }
        sent += 1;
        assert!(
            sent < 10_000,
            "a gigabyte waits for a client that does not read"
        );
        validators[0].net.flush();
    };
    assert_eq!(cut, SendError::SlowReader);
    validators[0]
        .net
        .send_client(quick_id, b"for the quick one")
        .unwrap();
    turn_both("served", &mut validators, &mut clients, |_, c| {
        !c.told.frames.is_empty()
    });
    assert_eq!(validators[0].closed(CloseReason::SlowReader), 1);
    assert_eq!(validators[0].seen.client_downs, [slow_id]);
    assert_eq!(
        validators[0].net.send_client(slow_id, b"x"),
        Err(SendError::NotConnected)
    );
    slow.wait_closed(&mut validators[0]);
}

#[test]
fn what_waits_for_a_validator_is_bounded_and_there_is_room_again_when_it_has_read() {
    let limits = Limits {
        frame_bytes_max: 1_000,
        client_frame_bytes_max: 1_000,
        // Ten of the longest frames with their prefixes.
        client_queue_bytes_max: 10 * 1_004,
        ..Limits::default()
    };
    let mut validators = [bind(config(0))];
    let mut clients = Clients {
        links: ClientLinks::new(limits).unwrap(),
        told: Told::default(),
    };
    let link = clients.connect(&validators[0].client_address(), client(1));
    turn_both("up", &mut validators, &mut clients, |v, _| {
        v[0].seen.clients.len() == 1
    });
    for round in 1..=2 {
        for number in 0..10 {
            let sent = clients.links.send(link, &[number; 1_000]);
            assert_eq!(sent, Ok(()), "{number} in round {round}");
        }
        // A prefix and a byte are too many.
        assert_eq!(clients.links.send(link, b"x"), Err(SendError::Full));
        turn_both("read", &mut validators, &mut clients, |v, _| {
            v[0].seen.client_frames.len() == round * 10
        });
    }
}

#[test]
fn a_turn_hands_over_no_more_than_its_budget_and_nothing_while_paused() {
    let mut validator = bind(config(0));
    let mut raws: Vec<_> = (1..=3)
        .map(|key| Raw::login(&mut validator, 0, key))
        .collect();
    validator.net.pause_clients(true);
    for raw in &mut raws {
        let plain: Vec<u8> = (0..50_u8).flat_map(|n| Raw::frame(&[n; 20])).collect();
        let wire = raw.seal(&plain);
        raw.write(&mut validator, &wire);
    }
    for _ in 0..100 {
        validator.turn();
    }
    assert!(validator.seen.client_frames.is_empty());
    validator.net.pause_clients(false);
    validator.net.set_client_budget(7);
    let mut turns = 0;
    while validator.seen.client_frames.len() < 150 {
        let before = validator.seen.client_frames.len();
        validator.turn();
        assert!(validator.seen.client_frames.len() - before <= 7);
        turns += 1;
        assert!(turns < 1000, "frames are lost");
    }
    let mut firsts: Vec<_> = validator.seen.client_frames[..60]
        .iter()
        .map(|(id, _)| *id)
        .collect();
    firsts.sort_unstable();
    firsts.dedup();
    assert_eq!(firsts.len(), 3, "no client waits for another one's end");
}

#[test]
fn a_client_that_is_held_is_not_read_until_its_time_and_the_others_are() {
    let mut validator = bind(config(0));
    let mut raws: Vec<_> = (1..=2)
        .map(|key| Raw::login(&mut validator, 0, key))
        .collect();
    let id_of = |validator: &Validator, key: u8| {
        let mut clients = validator.seen.clients.iter();
        *clients.find(|(_, of)| **of == [key; 32]).unwrap().0
    };
    let ids = [id_of(&validator, 1), id_of(&validator, 2)];
    let long = Instant::now() + Duration::from_secs(3_600);
    validator.net.hold_client(ids[0], long);
    // A shorter one takes nothing of that back.
    let short = Instant::now() + Duration::from_millis(1);
    validator.net.hold_client(ids[0], short);
    for raw in &mut raws {
        let plain: Vec<u8> = (0..50_u8).flat_map(|n| Raw::frame(&[n; 20])).collect();
        let wire = raw.seal(&plain);
        raw.write(&mut validator, &wire);
    }
    let of = |validator: &Validator, id| {
        let frames = validator.seen.client_frames.iter();
        frames.filter(|(from, _)| *from == id).count()
    };
    let deadline = Instant::now() + DEADLINE;
    while of(&validator, ids[1]) < 50 {
        assert!(Instant::now() < deadline, "the other one is not read");
        validator.turn();
    }
    while Instant::now() <= short {
        validator.turn();
    }
    for _ in 0..100 {
        validator.turn();
    }
    assert_eq!(of(&validator, ids[0]), 0);
    // What is sent to it goes on.
    validator.net.send_client(ids[0], b"busy").unwrap();
    assert_eq!(validator.net.counters().clients_held, 2);

    let mut third = Raw::login(&mut validator, 0, 3);
    let id = id_of(&validator, 3);
    let soon = Instant::now() + Duration::from_millis(2);
    validator.net.hold_client(id, soon);
    let wire = third.seal(&Raw::frame(b"late"));
    third.write(&mut validator, &wire);
    let deadline = Instant::now() + DEADLINE;
    while of(&validator, id) < 1 {
        assert!(Instant::now() < deadline, "it is never read again");
        validator.turn();
    }
    assert!(Instant::now() >= soon);
}

#[test]
fn a_closed_client_gets_what_was_queued_and_is_gone_once() {
    let mut validators = [bind(config(0))];
    let mut clients = Clients::new();
    clients.connect(&validators[0].client_address(), client(1));
    turn_both("up", &mut validators, &mut clients, |v, _| {
        v[0].seen.clients.len() == 1
    });
    let id = *validators[0].seen.clients.keys().next().unwrap();
    validators[0].net.send_client(id, b"goodbye").unwrap();
    validators[0].net.close_client(id, CloseReason::Requested);
    validators[0]
        .net
        .close_client(id, CloseReason::ProtocolFault);
    turn_both("gone", &mut validators, &mut clients, |_, c| {
        !c.told.downs.is_empty()
    });
    assert_eq!(clients.told.frames[0].1, b"goodbye");
    assert_eq!(validators[0].closed(CloseReason::Requested), 1);
    assert_eq!(validators[0].closed(CloseReason::ProtocolFault), 0);
}

#[test]
fn a_sleeping_loop_wakes_for_work_of_other_threads_and_for_sockets() {
    let mut validator = bind(config(0));
    let waker = validator.net.waker();
    let address = validator.client_address();
    let start = Instant::now();
    let (slept, sleeping) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        // Announced before the sleep: no sleep.
        validator.net.waker().wake();
        validator
            .net
            .turn(Instant::now(), None, &mut validator.seen)
            .unwrap();
        slept.send(()).unwrap();
        while validator.seen.client_frames.is_empty() {
            let forever = Some(Duration::from_secs(3600));
            validator
                .net
                .turn(Instant::now(), forever, &mut validator.seen)
                .unwrap();
        }
    });
    sleeping.recv_timeout(DEADLINE).unwrap();
    waker.wake();
    let mut clients = Clients::new();
    let link = clients.connect(&address, client(1));
    while clients.told.ups.is_empty() {
        assert!(start.elapsed() < DEADLINE);
        clients
            .links
            .turn(Instant::now(), Some(DEADLINE), &mut clients.told)
            .unwrap();
    }
    clients.links.send(link, b"work").unwrap();
    clients.links.flush();
    thread.join().unwrap();
    assert!(start.elapsed() < DEADLINE);
}
