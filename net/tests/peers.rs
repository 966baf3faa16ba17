//! Validators find one another over real sockets, stay connected once, and come back.

#![expect(clippy::unwrap_used, reason = "a test helper fails by panicking")]

mod common;

use std::net::TcpListener;
use std::time::{Duration, Instant};

use common::raw::Raw;
use common::{Validator, all_up, bind, bind_as, config, connections, introduce, mesh, turn_until};
use quorate_net::{ChainIds, Class, CloseReason, Limits, NetConfig, PeerAlarm, SendError};

#[test]
fn two_validators_connect_and_exchange_frames() {
    let mut pair = mesh(&[0, 1]);
    turn_until("both up", &mut pair, |v| all_up(v));
    pair[0]
        .net
        .send_peer(1, b"hello from 0", Class::Vote)
        .unwrap();
    pair[1]
        .net
        .send_peer(0, b"hello from 1", Class::Bulk)
        .unwrap();
    turn_until("frames", &mut pair, |pair| {
        pair.iter().all(|v| !v.seen.frames.is_empty())
    });
    assert_eq!(pair[0].seen.frames, [(1, b"hello from 1".to_vec())]);
    assert_eq!(pair[1].seen.frames, [(0, b"hello from 0".to_vec())]);
    assert_eq!(pair[0].seen.ups, [(1, 1)]);
}

#[test]
fn a_peer_that_is_to_have_its_frame_first_has_it_while_the_others_wait() {
    let mut three = mesh(&[0, 1, 2]);
    turn_until("all up", &mut three, |v| all_up(v));
    assert_eq!(three[0].net.broadcast(b"vote", Class::Vote), Ok(2));
    assert!(three[0].net.flush_peer(2));
    assert!(!three[0].net.flush_peer(0) && !three[0].net.flush_peer(7));
    // Validator 0 has no turn, in which it would send the rest.
    turn_until("the first one", &mut three[1..], |others| {
        !others[1].seen.frames.is_empty()
    });
    assert!(three[1].seen.frames.is_empty(), "it was not its turn");
    turn_until("the other one", &mut three, |all| {
        !all[1].seen.frames.is_empty()
    });
    let vote = [(0, b"vote".to_vec())];
    assert_eq!(
        (&three[1].seen.frames[..], &three[2].seen.frames[..]),
        (&vote[..], &vote[..])
    );
}

#[test]
fn four_validators_broadcast_to_one_another() {
    let indices = [0, 3, 17, 40];
    let mut four = mesh(&indices);
    turn_until("all up", &mut four, |v| all_up(v));
    for round in 0..50_u8 {
        for (validator, index) in four.iter_mut().zip(indices) {
            let frame = [index.to_le_bytes()[0], round];
            assert_eq!(validator.net.broadcast(&frame, Class::Vote), Ok(3));
        }
    }
    turn_until("all frames", &mut four, |four| {
        four.iter().all(|v| v.seen.frames.len() == 150)
    });
    for (validator, own) in four.iter().zip(indices) {
        for index in indices.into_iter().filter(|index| *index != own) {
            let frames: Vec<_> = validator
                .seen
                .frames
                .iter()
                .filter(|(from, _)| *from == index)
                .collect();
            let rounds: Vec<u8> = frames.iter().map(|(_, frame)| frame[1]).collect();
            assert_eq!(
                rounds,
                (0..50).collect::<Vec<_>>(),
                "in order inside a class"
            );
            assert!(frames.iter().all(|(_, frame)| u16::from(frame[0]) == index));
        }
    }
}

#[test]
fn both_sides_dial_and_exactly_one_connection_stays_each_time() {
    let mut both_were_through = 0;
    for seed in 0..100_u64 {
        // A long deadline, so that it is the end of the stream that ends the connection that goes.
        let limits = Limits {
            handshake_timeout: Duration::from_secs(600),
            ..Limits::default()
        };
        let bound = |index| {
            let limits = limits.clone();
            bind(NetConfig {
                limits,
                ..config(index)
            })
        };
        let mut pair = vec![bound(4), bound(9)];
        introduce(&mut pair, &[4, 9]);
        // Sides that turn in any order meet in every stage of the two handshakes.
        let mut state = seed;
        for _ in 0..40 {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(99);
            pair[usize::from(state >> 62 & 1 == 1)].turn();
        }
        turn_until("one connection", &mut pair, |pair| {
            all_up(pair) && pair.iter().all(|v| connections(v) == 1) && dials_are_over(pair)
        });
        for validator in &pair {
            assert_eq!(validator.seen.ups.len(), 1, "a duplicate is not told");
            assert_eq!(validator.seen.downs, []);
        }
        both_were_through += u32::from(
            pair.iter()
                .all(|v| v.net.counters().peers_authenticated == 2),
        );
        pair[0].net.send_peer(9, b"x", Class::Vote).unwrap();
        pair[1].net.send_peer(4, b"y", Class::Vote).unwrap();
        turn_until("frames", &mut pair, |pair| {
            pair.iter().all(|v| v.seen.frames.len() == 1)
        });
        assert!(pair.iter().all(|v| connections(v) == 1), "it stays so");
    }
    assert!(
        both_were_through > 0,
        "no order of turns led to two finished handshakes"
    );
}

fn dials_are_over(pair: &[Validator]) -> bool {
    let mut counters = pair.iter().map(|v| v.net.counters());
    counters.all(|c| c.dials >= 1 && c.dials_now == 0 && c.unauthenticated_now == 0)
}

#[test]
fn frames_sent_while_a_duplicate_is_resolved_are_not_lost() {
    for _ in 0..20 {
        let mut pair = mesh(&[4, 9]);
        let mut sent = [0_u32; 2];
        turn_until("all frames", &mut pair, |pair| {
            for (place, to) in [(0, 9), (1, 4)] {
                if sent[place] < 200
                    && pair[place]
                        .net
                        .send_peer(to, &sent[place].to_le_bytes(), Class::Vote)
                        .is_ok()
                {
                    sent[place] += 1;
                }
            }
            pair.iter().all(|v| v.seen.frames.len() == 200)
        });
    }
}

#[test]
fn a_restarted_validator_replaces_its_old_connection_at_once() {
    let mut pair = mesh(&[0, 1]);
    turn_until("both up", &mut pair, |v| all_up(v));
    // The old process hangs: its sockets stay open, and nothing ends them.
    let hung = pair.pop().unwrap();
    let mut fresh = bind(NetConfig {
        incarnation: 2,
        ..config(1)
    });
    fresh.net.set_peers(&[(0, pair[0].peer_address())]).unwrap();
    pair.push(fresh);
    turn_until("new incarnation up", &mut pair, |pair| {
        pair[0].seen.ups == [(1, 1), (1, 2)]
    });
    assert_eq!(pair[0].seen.downs, [(1, CloseReason::Replaced)]);
    pair[0]
        .net
        .send_peer(1, b"to the new one", Class::Vote)
        .unwrap();
    turn_until("frame", &mut pair, |pair| !pair[1].seen.frames.is_empty());
    drop(hung);
}

#[test]
fn what_waited_for_a_process_that_is_gone_does_not_reach_the_one_that_replaces_it() {
    let limits = Limits {
        frame_bytes_max: 64 * 1024,
        client_frame_bytes_max: 64 * 1024,
        peer_queue_bytes_max: 512 * 1024,
        ..Limits::default()
    };
    let mut pair = vec![
        bind(NetConfig {
            limits,
            ..config(0)
        }),
        bind(config(1)),
    ];
    introduce(&mut pair, &[0, 1]);
    turn_until("settled", &mut pair, |pair| {
        all_up(pair) && pair.iter().all(|v| connections(v) == 1) && dials_are_over(pair)
    });
    // The old process hangs: the sockets fill, then the queue.
    let hung = pair.pop().unwrap();
    let net = &mut pair[0].net;
    while net.send_peer(1, &[1; 30_000], Class::Bulk).is_ok() {
        net.flush();
    }
    assert_eq!(net.counters().dropped(Class::Bulk), 0);
    let mut fresh = bind(NetConfig {
        incarnation: 2,
        ..config(1)
    });
    fresh.net.set_peers(&[(0, pair[0].peer_address())]).unwrap();
    pair.push(fresh);
    turn_until("new incarnation up", &mut pair, |pair| {
        pair[0].seen.ups == [(1, 1), (1, 2)]
    });
    let net = &mut pair[0].net;
    assert!(net.counters().dropped(Class::Bulk) > 0, "it is counted");
    net.send_peer(1, b"to the new one", Class::Bulk).unwrap();
    turn_until("frame", &mut pair, |pair| !pair[1].seen.frames.is_empty());
    assert_eq!(pair[1].seen.frames, [(0, b"to the new one".to_vec())]);
    drop(hung);
}

#[test]
fn an_older_incarnation_is_refused_with_an_alarm_and_disturbs_nothing() {
    let mut pair = vec![
        bind(config(0)),
        bind(NetConfig {
            incarnation: 5,
            ..config(1)
        }),
    ];
    introduce(&mut pair, &[0, 1]);
    turn_until("both up", &mut pair, |v| all_up(v));
    let mut old = bind(NetConfig {
        incarnation: 4,
        ..config(1)
    });
    old.net.set_peers(&[(0, pair[0].peer_address())]).unwrap();
    pair.push(old);
    turn_until("refused", &mut pair, |pair| {
        pair[0].closed(CloseReason::StaleIncarnation) > 0
    });
    assert_eq!(
        pair[0].seen.alarms[0],
        (
            1,
            PeerAlarm::StaleIncarnation {
                seen: 5,
                offered: 4
            }
        )
    );
    // The older one learns that it is refused, and not by whom it was replaced.
    turn_until("told", &mut pair, |pair| !pair[2].seen.refused.is_empty());
    assert_eq!(pair[2].seen.refused[0], 0);
    assert_eq!((pair[0].seen.downs.len(), pair[2].seen.ups.len()), (0, 0));
    assert!(pair[..2].iter().all(|one| one.seen.refused.is_empty()));
}

#[test]
fn a_killed_validator_is_found_again_when_it_comes_back_on_its_address() {
    let mut pair = mesh(&[0, 1]);
    turn_until("both up", &mut pair, |v| all_up(v));
    let address = pair[1].peer_address();
    drop(pair.pop());
    turn_until("down", &mut pair, |pair| !pair[0].seen.downs.is_empty());
    assert_eq!(
        pair[0].net.send_peer(1, b"x", Class::Vote),
        Err(SendError::NotConnected)
    );
    // Only the survivor dials.
    turn_until("dials fail", &mut pair, |pair| {
        pair[0].closed(CloseReason::ConnectFailed) > 2
    });
    let listed = NetConfig {
        incarnation: 2,
        peer_listen: address,
        ..config(1)
    };
    let peers = vec![(0, "127.0.0.1:1".to_owned())];
    pair.push(bind(NetConfig { peers, ..listed }));
    turn_until("up again", &mut pair, |pair| {
        pair[0].seen.ups.last() == Some(&(1, 2))
    });
}

/// A turn of each at a made-up time.
fn turn_at(pair: &mut [Validator], now: Instant) {
    for one in pair {
        one.net
            .turn(now, Some(Duration::ZERO), &mut one.seen)
            .unwrap();
    }
}

#[test]
fn a_silent_peer_is_disconnected_and_a_quiet_one_is_not() {
    let mut pair = mesh(&[0, 1]);
    turn_until("settled", &mut pair, |pair| {
        all_up(pair) && pair.iter().all(|v| connections(v) == 1) && dials_are_over(pair)
    });
    let limits = Limits::default();
    let heard = |one: &Validator| one.net.counters().messages_in;
    // Nobody sends a frame, for longer than the silence allowed, which this clock alone says.
    let start = Instant::now();
    let mut now = start;
    while now < start + 3 * limits.silence_max {
        now += limits.keepalive_interval;
        let before: Vec<u64> = pair.iter().map(heard).collect();
        turn_at(&mut pair, now);
        turn_until("keep-alives come", &mut pair, |pair| {
            let mut all = pair.iter().map(heard).zip(&before);
            all.all(|(heard, before)| heard > *before)
        });
        assert!(pair.iter().all(|v| v.seen.downs.is_empty()));
    }
    // One stops turning: its kernel still acknowledges, but it is silent.
    let hung = pair.pop().unwrap();
    // What it said before may be read yet.
    for _ in 0..2 {
        now += limits.silence_max;
        turn_at(&mut pair, now);
        turn_at(&mut pair, now);
    }
    assert_eq!(pair[0].seen.downs, [(1, CloseReason::Silent)]);
    drop(hung);
}

#[test]
fn a_dial_that_nobody_answers_is_given_up_in_time() {
    // The system takes the connection, and nobody reads from it.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let mut one = [bind(config(0))];
    let before = Instant::now();
    one[0].net.set_peers(&[(1, address)]).unwrap();
    turn_until("it is dialed", &mut one, |one| {
        one[0].net.counters().dials_now == 1
    });
    let after = Instant::now();
    let one = &mut one[0];
    let limit = Limits::default().handshake_timeout;
    let early = before + limit.mul_f64(0.9);
    for (now, timeouts) in [(early, 0), (after + limit, 1)] {
        one.net
            .turn(now, Some(Duration::ZERO), &mut one.seen)
            .unwrap();
        assert_eq!(one.closed(CloseReason::HandshakeTimeout), timeouts);
        assert_eq!(one.net.counters().dials_now, 1 - timeouts);
    }
    // The next one may find somebody there.
    let mut now = after + limit;
    while one.net.counters().dials == 1 {
        now += Duration::from_secs(1);
        assert!(now < after + 100 * limit, "it is not dialed again");
        one.net
            .turn(now, Some(Duration::ZERO), &mut one.seen)
            .unwrap();
    }
}

#[test]
fn a_peer_whose_frames_wait_is_not_silent_however_long_there_was_no_turn() {
    let mut pair = mesh(&[0, 1]);
    turn_until("settled", &mut pair, |pair| {
        all_up(pair) && pair.iter().all(|v| connections(v) == 1) && dials_are_over(pair)
    });
    pair[1].net.send_peer(0, b"here", Class::Vote).unwrap();
    pair[1].net.flush();
    // Its next turn is one that comes late.
    let late = Instant::now() + 2 * Limits::default().silence_max;
    let one = &mut pair[0];
    let timeout = Some(Duration::ZERO);
    one.net.turn(late, timeout, &mut one.seen).unwrap();
    assert_eq!(one.seen.frames, [(1, b"here".to_vec())]);
    one.net.turn(late, timeout, &mut one.seen).unwrap();
    assert_eq!(one.seen.downs, []);
    // A peer that has sent nothing is silent.
    let later = late + 2 * Limits::default().silence_max;
    one.net.turn(later, timeout, &mut one.seen).unwrap();
    assert_eq!(one.seen.downs, [(1, CloseReason::Silent)]);
}

#[test]
fn another_chain_and_a_wrong_key_do_not_get_in() {
    let chain = ChainIds {
        chain_id: [9; 32],
        ..common::CHAIN
    };
    let mut pair = vec![bind(config(0)), bind(NetConfig { chain, ..config(1) })];
    introduce(&mut pair, &[0, 1]);
    turn_until("refused", &mut pair, |pair| {
        pair.iter().all(|v| v.closed(CloseReason::Handshake) > 1)
    });
    assert!(pair.iter().all(|v| v.seen.ups.is_empty()));

    let mut pair = vec![
        bind(config(0)),
        bind_as(config(1), common::Notary { own: 1, key: 2 }),
    ];
    introduce(&mut pair, &[0, 1]);
    turn_until("refused", &mut pair, |pair| {
        pair[0].closed(CloseReason::HelloSignature) > 1
    });
    assert_eq!(pair[0].seen.ups, []);
}

#[test]
fn a_validator_that_is_no_peer_is_refused() {
    let mut pair = vec![bind(config(0)), bind(config(1))];
    let address = pair[0].peer_address();
    pair[1].net.set_peers(&[(0, address)]).unwrap();
    turn_until("refused", &mut pair, |pair| {
        pair[0].closed(CloseReason::HelloIndex) > 0
    });
    assert!(pair.iter().all(|v| v.seen.ups.is_empty()));
}

#[test]
fn a_faulty_peer_is_dropped_refused_for_a_while_and_comes_back() {
    let slow = Limits {
        redial_min: Duration::from_millis(300),
        ..Limits::default()
    };
    let mut pair = vec![
        bind(NetConfig {
            limits: slow,
            ..config(0)
        }),
        bind(config(1)),
    ];
    introduce(&mut pair, &[0, 1]);
    turn_until("both up", &mut pair, |v| all_up(v));
    pair[0].net.drop_peer(1, CloseReason::ProtocolFault);
    turn_until("down", &mut pair, |pair| !pair[0].seen.downs.is_empty());
    assert_eq!(pair[0].seen.downs, [(1, CloseReason::ProtocolFault)]);
    turn_until("refused", &mut pair, |pair| {
        pair[0].closed(CloseReason::CoolingDown) > 0
    });
    turn_until("back", &mut pair, |pair| pair[0].seen.ups.len() == 2);
}

#[test]
fn many_faults_of_one_turn_are_one() {
    // So long that it would never come back if each of them made the delay longer.
    let limits = Limits {
        redial_min: Duration::from_millis(20),
        redial_max: Duration::from_secs(100_000),
        ..Limits::default()
    };
    let mut pair = vec![
        bind(NetConfig {
            limits,
            ..config(0)
        }),
        bind(config(1)),
    ];
    introduce(&mut pair, &[0, 1]);
    turn_until("both up", &mut pair, |v| all_up(v));
    for _ in 0..20 {
        pair[0].net.drop_peer(1, CloseReason::ProtocolFault);
    }
    turn_until("back", &mut pair, |pair| pair[0].seen.ups.len() == 2);
}

#[test]
fn a_peer_taken_off_the_list_is_disconnected_and_one_put_on_is_dialed() {
    let mut three = mesh(&[0, 1, 2]);
    turn_until("all up", &mut three, |v| all_up(v));
    let address = three[1].peer_address();
    three[0].net.set_peers(&[(1, address.clone())]).unwrap();
    turn_until("removed", &mut three, |three| {
        !three[0].seen.downs.is_empty()
    });
    assert_eq!(three[0].seen.downs, [(2, CloseReason::Removed)]);
    assert!(three[0].net.is_up(1) && !three[0].net.is_up(2));
    // Off and on again between two turns.
    let all = [(1, address), (2, three[2].peer_address())];
    three[0].net.set_peers(&all[1..]).unwrap();
    three[0].net.set_peers(&all).unwrap();
    turn_until("all up again", &mut three, |v| all_up(v));
}

#[test]
fn a_peer_that_has_moved_is_dialed_at_the_address_of_the_new_list() {
    let mut pair = vec![bind(config(0)), bind(config(1))];
    let listed = |index, address: &str| [(index, address.to_owned())];
    pair[0].net.set_peers(&listed(1, "127.0.0.1:1")).unwrap();
    pair[1].net.set_peers(&listed(0, "127.0.0.1:1")).unwrap();
    turn_until("nobody is there", &mut pair, |pair| {
        pair[0].closed(CloseReason::ConnectFailed) > 0
    });
    let address = pair[1].peer_address();
    pair[0].net.set_peers(&listed(1, &address)).unwrap();
    turn_until("both up", &mut pair, |v| all_up(v));
}

/// Validator `own`, which is connected to validator `index` twice: by its own dial, and by one of
/// the other side that has shown that it is through.
fn twice_connected(own: u16, index: u16) -> (Validator, Raw, Raw) {
    let limits = Limits {
        keepalive_interval: Duration::from_secs(1_000),
        silence_max: Duration::from_secs(10_000),
        ..Limits::default()
    };
    let mut validator = bind(NetConfig {
        limits,
        ..config(own)
    });
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    validator.net.set_peers(&[(index, address)]).unwrap();
    let dialed = Raw::accept(&listener, &mut validator, own, index);
    let mut accepted = Raw::peer(&mut validator, own, index);
    assert_eq!(connections(&validator), 2);
    let sealed = accepted.seal(&Raw::frame(b"through"));
    accepted.write(&mut validator, &sealed);
    accepted.turn_until(&mut validator, |v| v.seen.frames.len() == 1);
    (validator, dialed, accepted)
}

#[test]
fn what_waits_for_a_peer_goes_out_on_its_other_connection_when_one_is_lost() {
    // It sends to the connection that was confirmed last.
    let (mut one, mut dialed, accepted) = twice_connected(0, 1);
    one.net.send_peer(1, b"it waits", Class::Vote).unwrap();
    drop(accepted);
    dialed.turn_until(&mut one, |v| connections(v) == 1);
    assert_eq!((one.seen.ups.len(), one.seen.downs.len()), (1, 0));
    one.net.flush();
    let message = dialed.read_message(&mut one);
    assert_eq!(dialed.open(&message), Raw::frame(b"it waits"));
}

#[test]
fn a_connection_that_another_one_replaces_is_read_until_a_deadline_and_no_longer() {
    // The higher index ends its own dial, and the other side does not.
    let (mut one, mut dialed, _accepted) = twice_connected(3, 1);
    let before = Instant::now();
    let sealed = dialed.seal(&Raw::frame(b"on its way"));
    dialed.write(&mut one, &sealed);
    dialed.turn_until(&mut one, |v| v.seen.frames.len() == 2);
    assert!(one.net.is_up(1));
    let limit = Limits::default().handshake_timeout;
    let after = Instant::now() + limit;
    for (now, left) in [(before + limit.mul_f64(0.5), 2), (after, 1)] {
        one.net
            .turn(now, Some(Duration::ZERO), &mut one.seen)
            .unwrap();
        assert_eq!(connections(&one), left);
    }
    assert_eq!(one.closed(CloseReason::Duplicate), 1);
    assert!(one.net.is_up(1) && one.seen.downs.is_empty());
}

#[test]
fn a_host_name_is_looked_up_at_every_dial() {
    let mut pair = vec![bind(config(0)), bind(config(1))];
    let port = pair[0].net.peer_address().unwrap().port();
    // Only one side dials, by name; the other one knows a dead address.
    pair[0]
        .net
        .set_peers(&[(1, "name.invalid:1".to_owned())])
        .unwrap();
    pair[1]
        .net
        .set_peers(&[(0, format!("localhost:{port}"))])
        .unwrap();
    turn_until("both up", &mut pair, |v| all_up(v));
}

/// As a proxy does that has nobody behind it.
#[test]
fn who_ends_a_dial_before_it_knows_who_dialed_has_refused_nobody() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let mut one = [bind(config(0))];
    one[0].net.set_peers(&[(1, address)]).unwrap();
    turn_until("ended three times", &mut one, |one| {
        drop(listener.accept());
        one[0].closed(CloseReason::RemoteClosed) + one[0].closed(CloseReason::Io) >= 3
    });
    assert_eq!(one[0].seen.refused, []);
}

#[test]
fn a_port_in_use_is_an_error_that_names_the_address() {
    let first = bind(config(0));
    let address = first.peer_address();
    let taken = NetConfig {
        peer_listen: address.clone(),
        ..config(1)
    };
    let notary = common::Notary { own: 1, key: 1 };
    let error = quorate_net::Net::bind(taken, std::sync::Arc::new(notary)).unwrap_err();
    assert!(error.to_string().contains(&address), "{error}");
    assert!(error.to_string().contains("listen for peers"), "{error}");
}
