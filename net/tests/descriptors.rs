//! A validator that has run out of descriptors. Alone in its program: the limit is the process's.

mod common;

use std::time::{Duration, Instant};

use common::raw::Raw;
use common::{bind, config};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

#[test]
fn who_waits_for_a_descriptor_is_let_in_when_there_is_one() {
    let mut validator = bind(config(0));
    // Both wait with the operating system, which says so once.
    let mut peer = Raw::connect(&validator.peer_address());
    let mut client = Raw::connect(&validator.client_address());
    let limit = getrlimit(Resource::Nofile);
    let none = Rlimit {
        current: Some(0),
        ..limit
    };
    setrlimit(Resource::Nofile, none).unwrap();
    let refused = |v: &common::Validator| v.net.counters().accept_failures;
    peer.turn_until(&mut validator, |v| refused(v) >= 2);
    assert_eq!(validator.net.counters().accepted, 0);
    // It tries again after a pause, and not in each turn, of which none would sleep.
    let (now, before) = (Instant::now(), refused(&validator));
    let mut tries_at = |now| {
        for _ in 0..50 {
            let timeout = Some(Duration::ZERO);
            let turned = validator.net.turn(now, timeout, &mut validator.seen);
            turned.unwrap();
        }
        refused(&validator) - before
    };
    let tries = tries_at(now);
    assert!(tries <= 2, "{tries} tries at one time, at two ports");
    assert_eq!(tries_at(now + Duration::from_millis(200)), tries + 2);
    setrlimit(Resource::Nofile, limit).unwrap();
    peer.handshake(&mut validator, 0);
    client.handshake(&mut validator, 1);
    assert_eq!(validator.net.counters().accepted, 2);
}
