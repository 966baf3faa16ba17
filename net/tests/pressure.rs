//! What a turn costs, and what happens when a peer takes less than it is sent.

mod common;

use common::{Validator, all_up, bind, config, introduce, mesh, turn_until};
use quorate_net::{Class, Limits, NetConfig, SendError};

#[test]
fn frames_of_one_turn_share_one_message_and_one_write() {
    let mut pair = mesh(&[0, 1]);
    turn_until("settled", &mut pair, |pair| {
        all_up(pair)
            && pair.iter().all(|v| {
                v.net.counters().dials_now == 0 && v.net.counters().peer_connections_now == 1
            })
    });
    let before = pair[0].net.counters().clone();
    for number in 0..100_u8 {
        pair[0]
            .net
            .send_peer(1, &[number; 200], Class::Vote)
            .unwrap();
    }
    pair[0].net.flush();
    let after = pair[0].net.counters().clone();
    assert_eq!(after.messages_out - before.messages_out, 1);
    assert_eq!(after.writes - before.writes, 1);
    assert_eq!(after.frames_out - before.frames_out, 100);
    pair[0].net.flush();
    assert_eq!(
        *pair[0].net.counters(),
        after,
        "nothing to flush costs nothing"
    );
    let reads = pair[1].net.counters().reads;
    turn_until("frames", &mut pair, |pair| pair[1].seen.frames.len() == 100);
    assert!(pair[1].net.counters().reads - reads <= 2);
}

#[test]
fn the_longest_frame_passes_between_peers() {
    let mut pair = mesh(&[0, 1]);
    turn_until("both up", &mut pair, |v| all_up(v));
    let bytes_max = Limits::default().frame_bytes_max;
    let block: Vec<u8> = (0..bytes_max)
        .map(|n| n.to_le_bytes()[1] ^ n.to_le_bytes()[0])
        .collect();
    pair[0].net.send_peer(1, &block, Class::Proposal).unwrap();
    pair[0].net.send_peer(1, b"vote", Class::Vote).unwrap();
    turn_until("both frames", &mut pair, |pair| {
        pair[1].seen.frames.len() == 2
    });
    assert_eq!(pair[1].seen.frames[0].1, b"vote", "the vote goes first");
    assert!(pair[1].seen.frames[1].1 == block);
    let too_long = vec![0; bytes_max + 1];
    let length = SendError::Length {
        bytes: bytes_max + 1,
        bytes_max,
    };
    assert_eq!(
        pair[0].net.send_peer(1, &too_long, Class::Bulk),
        Err(length)
    );
    assert_eq!(pair[0].net.broadcast(&too_long, Class::Bulk), Err(length));
}

fn small_queues() -> Vec<Validator> {
    let limits = Limits {
        frame_bytes_max: 64 * 1024,
        client_frame_bytes_max: 64 * 1024,
        peer_queue_bytes_max: 512 * 1024,
        ..Limits::default()
    };
    let bound = |index| {
        bind(NetConfig {
            limits: limits.clone(),
            ..config(index)
        })
    };
    let mut pair = vec![bound(0), bound(1)];
    introduce(&mut pair, &[0, 1]);
    turn_until("settled", &mut pair, |pair| {
        all_up(pair)
            && pair.iter().all(|v| {
                v.net.counters().dials_now == 0 && v.net.counters().peer_connections_now == 1
            })
    });
    pair
}

/// A frame that carries its class and number in every eighth byte.
fn numbered(class: Class, number: u32, bytes: usize) -> Vec<u8> {
    let word = [&[class as u8; 4][..], &number.to_le_bytes()].concat();
    word.iter().copied().cycle().take(bytes).collect()
}

#[test]
fn a_full_queue_drops_by_policy_and_what_arrives_is_whole_and_in_order() {
    let mut pair = small_queues();
    let mut number = 0;
    let mut send = |net: &mut quorate_net::Net, class, bytes| {
        number += 1;
        net.send_peer(1, &numbered(class, number, bytes), class)
    };
    // The other side does not turn: first the sockets fill, then the sealed bytes, then the queue.
    let net = &mut pair[0].net;
    while send(net, Class::Bulk, 30_000).is_ok() {
        net.flush();
    }
    assert_eq!(
        (
            net.counters().refused(Class::Bulk),
            net.counters().dropped(Class::Bulk)
        ),
        (1, 0)
    );
    // Proposals push out bulk; then certificates push out proposals; nothing pushes those out.
    send(net, Class::Proposal, 30_000).unwrap();
    assert_eq!(net.counters().dropped(Class::Bulk), 1);
    while net.counters().dropped(Class::Proposal) == 0 {
        send(net, Class::Proposal, 30_000).unwrap();
    }
    let bulk_dropped = net.counters().dropped(Class::Bulk);
    assert!(
        bulk_dropped > 2,
        "all bulk that waited made room before the first proposal did"
    );
    let mut certificates = 0;
    while send(net, Class::Certificate, 30_000).is_ok() {
        certificates += 1;
    }
    assert!(certificates > 2);
    assert_eq!(net.counters().refused(Class::Certificate), 1);
    assert_eq!(net.counters().dropped(Class::Certificate), 0);
    assert!(send(net, Class::Vote, 30_000).is_err());
    assert_eq!(net.counters().refused(Class::Vote), 1);
    // Now the other side reads. What had begun to be sent arrives whole.
    let expected = net.counters().frames_out + certificates;
    turn_until("the rest", &mut pair, |pair| {
        pair[1].net.counters().frames_in >= expected
    });
    let mut last = [0; 4];
    for (_, frame) in &pair[1].seen.frames {
        let class = usize::from(frame[0]);
        let number = u32::from_le_bytes(frame[4..8].try_into().unwrap());
        assert_eq!(*frame, numbered(Class::ALL[class], number, 30_000));
        assert!(number > last[class], "in order inside a class");
        last[class] = number;
    }
    assert!(
        pair.iter().all(|v| v.seen.downs.is_empty()),
        "a slow peer is not disconnected"
    );
}

#[test]
fn what_waited_for_a_lost_peer_is_dropped_and_counted() {
    let mut pair = small_queues();
    while pair[0].net.send_peer(1, &[1; 30_000], Class::Bulk).is_ok() {
        pair[0].net.flush();
    }
    let gone = pair.pop().unwrap();
    drop(gone);
    turn_until("down", &mut pair, |pair| !pair[0].seen.downs.is_empty());
    assert!(pair[0].net.counters().dropped(Class::Bulk) > 0);
    assert_eq!(
        pair[0].net.send_peer(1, b"x", Class::Vote),
        Err(SendError::NotConnected)
    );
}

#[test]
fn a_flood_from_one_peer_does_not_hold_up_another() {
    let mut three = mesh(&[0, 1, 2]);
    turn_until("all up", &mut three, |v| all_up(v));
    // Many turns' worth of bytes from 1 are on their way before 2 sends one vote.
    let block = vec![9; 1024 * 1024];
    for _ in 0..8 {
        three[1].net.send_peer(0, &block, Class::Bulk).unwrap();
    }
    let mut voted = false;
    let mut blocks_before_vote = None;
    turn_until("all", &mut three, |three| {
        if !voted && three[0].seen.frames.iter().any(|(from, _)| *from == 1) {
            three[2].net.send_peer(0, b"vote", Class::Vote).unwrap();
            voted = true;
        }
        let frames = &three[0].seen.frames;
        if blocks_before_vote.is_none() && frames.iter().any(|(from, _)| *from == 2) {
            blocks_before_vote = Some(frames.iter().filter(|(from, _)| *from == 1).count());
        }
        frames.len() == 9
    });
    assert!(
        blocks_before_vote.unwrap() < 8,
        "the vote waited for the whole flood"
    );
}
