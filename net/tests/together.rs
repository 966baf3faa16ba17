//! Frames that are of use together alone: the loop sleeps on until they are there, for a while.

#![expect(clippy::unwrap_used, reason = "a test helper fails by panicking")]

mod common;

use std::sync::mpsc;
use std::time::{Duration, Instant};

use common::{Clients, Validator, all_up, client, mesh, turn_until};
use quorate_net::{Class, PATIENCE};

/// Far longer than a turn of these tests takes, so that the loop may sleep.
const TIMEOUT: Duration = Duration::from_secs(20);

/// Three nets, of which the first has read all there is and awaits both others.
fn three() -> Vec<Validator> {
    let mut validators = mesh(&[1, 2, 3]);
    turn_until("all are up", &mut validators, |all| all_up(all));
    calm(&mut validators);
    validators
}

/// Reads all that is on its way to the first net; it awaits both others from then on.
fn calm(validators: &mut [Validator]) {
    let mut quiet = 0;
    turn_until("nothing is on its way", validators, |all| {
        let work: usize = all.iter_mut().map(Validator::turn).sum();
        quiet = if work == 0 { quiet + 1 } else { 0 };
        quiet > 50
    });
    validators[0].seen.awaited = [2, 3].into();
}

/// Brings a frame into the first net's socket.
fn send(from: &mut Validator, byte: u8) {
    from.net.send_peer(1, &[byte], Class::Vote).unwrap();
    from.net.flush();
}

fn turn(validator: &mut Validator) {
    let Validator { net, seen } = validator;
    net.turn(Instant::now(), Some(TIMEOUT), seen).unwrap();
}

#[test]
fn frames_that_are_enough_together_are_read_together() {
    let mut validators = three();
    send(&mut validators[1], 7);
    send(&mut validators[2], 8);
    turn(&mut validators[0]);
    let mut frames = validators[0].seen.frames.clone();
    frames.sort();
    assert_eq!(frames, [(2, vec![7]), (3, vec![8])]);
    assert_eq!(validators[0].seen.vain, 0);
}

#[test]
fn what_has_come_is_read_soon_when_the_rest_does_not_come() {
    let mut validators = three();
    send(&mut validators[1], 7);
    let began = Instant::now();
    turn(&mut validators[0]);
    assert!(began.elapsed() < TIMEOUT / 2);
    assert_eq!(validators[0].seen.frames, [(2, vec![7])]);
    assert_eq!(validators[0].seen.vain, 1);
}

/// Nobody keeps the loop asleep by sending a little all the time.
#[test]
fn a_peer_that_sends_all_the_time_does_not_lengthen_the_wait() {
    let mut validators = three();
    let mut sender = validators.remove(1);
    let (stop, told) = mpsc::channel::<()>();
    std::thread::scope(|scope| {
        let sending = scope.spawn(move || {
            // Frames far nearer to one another than the wait is long.
            let pace = PATIENCE / 5;
            (0..10_000).all(|_| {
                send(&mut sender, 7);
                told.recv_timeout(pace) == Err(mpsc::RecvTimeoutError::Timeout)
            })
        });
        let [first, ..] = &mut validators[..] else {
            panic!("there are two")
        };
        while first.seen.vain == 0 && !sending.is_finished() {
            turn(first);
        }
        stop.send(()).ok();
        let has_ended_itself = sending.join().unwrap();
        assert!(!has_ended_itself, "the loop slept until nobody sent");
    });
    assert_eq!(validators[0].seen.vain, 1);
}

#[test]
fn a_client_waits_for_no_peer() {
    let mut validators = three();
    let mut clients = Clients::new();
    let link = clients.connect(&validators[0].client_address(), client(9));
    turn_until("the client is up", &mut validators, |all| {
        clients.turn();
        !clients.told.ups.is_empty() && !all[0].seen.clients.is_empty()
    });
    calm(&mut validators);
    send(&mut validators[1], 7);
    clients.links.send(link, &[5]).unwrap();
    clients.links.flush();
    turn(&mut validators[0]);
    let seen = &validators[0].seen;
    assert_eq!((seen.client_frames.len(), seen.frames.len()), (1, 1));
    assert_eq!(seen.vain, 0);
}

#[test]
fn that_a_peer_is_gone_is_told_at_once() {
    let mut validators = three();
    send(&mut validators[1], 7);
    validators.remove(1);
    while validators[0].seen.downs.is_empty() {
        turn(&mut validators[0]);
    }
    assert_eq!(validators[0].seen.vain, 0);
    assert_eq!(validators[0].seen.frames, [(2, vec![7])]);
}
