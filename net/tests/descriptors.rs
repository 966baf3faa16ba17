//! A validator that has run out of descriptors. Alone in its program: the limit is the process's.

mod common;

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
    setrlimit(Resource::Nofile, limit).unwrap();
    peer.handshake(&mut validator, 0);
    client.handshake(&mut validator, 1);
    assert_eq!(validator.net.counters().accepted, 2);
}
