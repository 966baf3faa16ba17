//! Frames that are of use together alone: the loop sleeps on until they are there, for a while.

#![expect(clippy::unwrap_used, reason = "a test helper fails by panicking")]

mod common;

use std::time::{Duration, Instant};

use common::{Clients, Seen, Validator, all_up, client, mesh, turn_until};
use quorate_net::{Class, ClientId, CloseReason, Handler, PATIENCE};

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

/// How often it may be tried: where the kernel itself was late to bring what was sent, a turn has
/// seen less than what this is about.
const ATTEMPTS: usize = 20;

/// Tries until it holds.
fn one_of_some(mut holds: impl FnMut() -> bool) {
    assert!((0..ATTEMPTS).any(|_| holds()), "in none of {ATTEMPTS}");
}

#[test]
fn frames_that_are_enough_together_are_read_together() {
    one_of_some(|| {
        let mut validators = three();
        send(&mut validators[1], 7);
        send(&mut validators[2], 8);
        turn(&mut validators[0]);
        let mut frames = validators[0].seen.frames.clone();
        frames.sort();
        frames == [(2, vec![7]), (3, vec![8])] && validators[0].seen.vain == 0
    });
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

/// Each time it is asked about one peer the next one sends, a little later; it never has enough.
struct Relay {
    seen: Seen,
    others: Vec<Validator>,
    asked: usize,
}

impl Handler for Relay {
    fn is_reason(&mut self, _peer: u16) -> bool {
        self.asked += 1;
        let asked = Instant::now();
        while asked.elapsed() < PATIENCE / 2 {
            std::hint::spin_loop();
        }
        if let Some(mut next) = self.others.pop() {
            send(&mut next, 7);
            // Its connection stays.
            self.others.insert(0, next);
        }
        false
    }
    fn waited_in_vain(&mut self) {
        self.seen.vain += 1;
    }
    fn peer_up(&mut self, peer: u16, incarnation: u64) {
        self.seen.peer_up(peer, incarnation);
    }
    fn peer_down(&mut self, peer: u16, reason: CloseReason) {
        self.seen.peer_down(peer, reason);
    }
    fn peer_frame(&mut self, peer: u16, frame: &[u8]) {
        self.seen.peer_frame(peer, frame);
    }
    fn client_up(&mut self, client: ClientId, key: [u8; 32]) {
        self.seen.client_up(client, key);
    }
    fn client_down(&mut self, client: ClientId) {
        self.seen.client_down(client);
    }
    fn client_frame(&mut self, client: ClientId, frame: &[u8]) {
        self.seen.client_frame(client, frame);
    }
}

/// Nobody keeps the loop asleep by sending a little all the time.
#[test]
fn those_who_send_one_after_the_other_do_not_lengthen_the_wait() {
    let mut validators = mesh(&[1, 2, 3, 4, 5, 6, 7, 8, 9]);
    turn_until("all are up", &mut validators, |all| all_up(all));
    calm(&mut validators);
    let others = validators.split_off(1);
    let mut relay = Relay {
        seen: Seen::default(),
        others,
        asked: 0,
    };
    let Some(Validator { net, .. }) = validators.first_mut() else {
        panic!("there is one")
    };
    let mut first = relay.others.pop().unwrap();
    send(&mut first, 7);
    net.turn(Instant::now(), Some(TIMEOUT), &mut relay).unwrap();
    assert_eq!(relay.seen.vain, 1);
    assert!(relay.asked < 7, "seven more had something to send");
}

#[test]
fn a_client_waits_for_no_peer() {
    one_of_some(is_a_client_read_at_once);
}

/// Whether one turn takes what a client and a peer have sent, without a wait for the other peer.
fn is_a_client_read_at_once() -> bool {
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
    (seen.client_frames.len(), seen.frames.len(), seen.vain) == (1, 1, 0)
}

/// Work of another thread that is announced beside a peer's frame: it is told once, and the turn
/// ends for it.
#[test]
fn work_of_another_thread_waits_for_no_peer() {
    for linger in [Duration::ZERO, TIMEOUT] {
        one_of_some(|| {
            let mut validators = three();
            validators[0].net.set_linger(linger);
            send(&mut validators[1], 7);
            // The frame is in the socket before the loop looks.
            let sent = Instant::now();
            while sent.elapsed() < PATIENCE {
                std::hint::spin_loop();
            }
            validators[0].net.waker().wake();
            turn(&mut validators[0]);
            let seen = &validators[0].seen;
            (seen.frames.len(), seen.vain) == (1, 0)
        });
    }
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
