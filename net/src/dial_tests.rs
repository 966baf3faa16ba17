//! Dials that lead nowhere, and names of several addresses.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use super::*;
use crate::handler::{ClientId, Handler};
use crate::handshake::{Authenticator, ChainIds};
use crate::limits::Limits;
use crate::poller::NetConfig;
use crate::resolver::LookUp;

/// Proves nothing and believes nothing, and is told nothing that matters here.
struct Nobody;

impl Authenticator for Nobody {
    fn sign_hello(&self, _hash: &[u8; 32], _peer: u16) -> [u8; 64] {
        [0; 64]
    }
    fn verify_hello(&self, _: &[u8; 32], _: u16, _: u16, _: &[u8; 64]) -> bool {
        false
    }
    fn verify_login(&self, _: &[u8; 32], _: &[u8; 32], _: &[u8; 64]) -> bool {
        false
    }
}

impl Handler for Nobody {
    fn peer_up(&mut self, _peer: u16, _incarnation: u64) {}
    fn peer_down(&mut self, _peer: u16, _reason: CloseReason) {}
    fn peer_frame(&mut self, _peer: u16, _frame: &[u8]) {}
    fn client_up(&mut self, _client: ClientId, _key: [u8; 32]) {}
    fn client_down(&mut self, _client: ClientId) {}
    fn client_frame(&mut self, _client: ClientId, _frame: &[u8]) {}
}

/// A net that has one peer, at this address.
fn net(peer: &str) -> Net {
    let config = NetConfig {
        index: 3,
        incarnation: 1,
        chain: ChainIds {
            chain_id: [1; 32],
            genesis_hash: [2; 32],
        },
        peer_listen: "127.0.0.1:0".to_owned(),
        client_listen: None,
        peers: vec![(1, peer.to_owned())],
        limits: Limits::default(),
        jitter_seed: 7,
    };
    Net::bind(config, Arc::new(Nobody)).unwrap()
}

/// The same, where a name has these addresses.
fn looking_up(addresses: &[SocketAddr]) -> Net {
    let mut net = net("validator.test:7001");
    let addresses = addresses.to_vec();
    let look_up: LookUp = Arc::new(move |_: &str| Ok(addresses.clone()));
    let resolver = Resolver::start(net.waker.clone(), look_up);
    net.resolver = Some(resolver.unwrap());
    net
}

fn turn(net: &mut Net, now: Instant) {
    net.turn(now, Some(Duration::ZERO), &mut Nobody).unwrap();
}

/// Longer than any dial that has failed waits for the next one.
fn a_while() -> Duration {
    let limits = Limits::default();
    limits.keepalive_interval + limits.redial_max
}

#[test]
fn a_peer_whose_name_was_not_found_is_looked_up_again() {
    let mut net = looking_up(&[]);
    let begun = Instant::now();
    // At its own time, and not when something else is due.
    let next = begun + Limits::default().redial_min;
    for (number, now) in [(1, begun), (2, next)] {
        turn(&mut net, now);
        assert_eq!(net.counters().dials, number);
        while net.counters().closed_by(CloseReason::ResolveFailed) < number {
            assert!(begun.elapsed() < Duration::from_secs(20), "no answer");
            turn(&mut net, now);
        }
    }
}

#[test]
fn each_address_of_a_peer_s_name_is_dialed_in_its_turn() {
    let good = TcpListener::bind("127.0.0.1:0").unwrap();
    good.set_nonblocking(true).unwrap();
    let good_address = good.local_addr().unwrap();
    let bad = "127.0.0.1:1".parse().unwrap();
    let begun = Instant::now();
    for addresses in [[bad, good_address], [good_address, bad]] {
        let mut net = looking_up(&addresses);
        let mut now = begun;
        let is_dialed = || match good.accept() {
            Ok(_) => true,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::WouldBlock);
                false
            }
        };
        while !is_dialed() {
            assert!(begun.elapsed() < Duration::from_secs(20), "not dialed");
            let peer = net.peers.get(1).unwrap();
            if net.counters().dials > 0 && peer.dial_at().is_some() {
                now += a_while();
            }
            turn(&mut net, now);
            assert!(net.counters().dials <= 2, "the other one is passed over");
        }
    }
}

/// As where a machine has no route yet: the system says so at once.
#[test]
fn a_peer_to_which_there_is_no_way_is_dialed_again_after_a_pause() {
    let mut net = net("255.255.255.255:1");
    let now = Instant::now();
    for _ in 0..50 {
        turn(&mut net, now);
    }
    assert_eq!(net.counters().closed_by(CloseReason::ConnectFailed), 1);
    assert_eq!(net.counters().dials, 1);
    turn(&mut net, now + Limits::default().redial_min);
    assert_eq!(net.counters().dials, 2);
}
