//! A validator whose peers have seen a newer run of its key.

use crate::support::{Cluster, eventually, key};
use quorate::node::Node;
use quorate::profiles::Durability;
use quorate_consensus::signing::hello_message;
use quorate_consensus::types::ValidatorIndex;
use quorate_consensus::validators::ValidatorSet;
use quorate_consensus::verify;
use quorate_net::{
    Authenticator, ChainIds, ClientId, CloseReason, Handler, Limits, Net, NetConfig,
};
use std::sync::Arc;
use std::time::{Duration, Instant};

const OWN: u16 = 0;
const PEER: u16 = 1;

/// Signs as the validator whose key it has.
struct Identity(Arc<ValidatorSet>);

impl Authenticator for Identity {
    fn sign_hello(&self, hash: &[u8; 32], peer: u16) -> [u8; 64] {
        key(OWN).sign(&hello_message(&self.0, hash, OWN, peer))
    }

    fn verify_hello(&self, hash: &[u8; 32], signer: u16, to: u16, signature: &[u8; 64]) -> bool {
        let member = self.0.validator(ValidatorIndex::new(signer)).unwrap();
        let message = hello_message(&self.0, hash, signer, to);
        verify::single(&member.key, &message, signature)
    }

    fn verify_login(&self, _: &[u8; 32], _: &[u8; 32], _: &[u8; 64]) -> bool {
        false
    }
}

/// Waits for the peer alone.
#[derive(Default)]
struct Once {
    is_up: bool,
}

impl Handler for Once {
    fn peer_up(&mut self, _: u16, _: u64) {
        self.is_up = true;
    }
    fn peer_down(&mut self, _: u16, _: CloseReason) {}
    fn peer_frame(&mut self, _: u16, _: &[u8]) {}
    fn client_up(&mut self, _: ClientId, _: [u8; 32]) {}
    fn client_down(&mut self, _: ClientId) {}
    fn client_frame(&mut self, _: ClientId, _: &[u8]) {}
}

/// Shows a peer a run of the key that began long after now.
fn show_a_run_of_the_future(cluster: &Cluster) {
    let genesis = &cluster.genesis;
    let member = &genesis.file().validators[usize::from(PEER)];
    let config = NetConfig {
        index: OWN,
        incarnation: u64::MAX / 2,
        chain: ChainIds {
            chain_id: *genesis.chain_id(),
            genesis_hash: *genesis.hash(),
        },
        peer_listen: "127.0.0.1:0".to_owned(),
        client_listen: None,
        peers: vec![(PEER, member.peer_address.clone())],
        limits: Limits::default(),
        jitter_seed: 1,
    };
    let identity = Identity(Arc::clone(genesis.validator_set()));
    let mut net = Net::bind(config, Arc::new(identity)).unwrap();
    let mut once = Once::default();
    eventually("the run of the future is connected", || {
        let pause = Some(Duration::from_millis(20));
        net.turn(Instant::now(), pause, &mut once).unwrap();
        once.is_up
    });
}

#[test]
fn a_validator_that_its_peers_take_for_an_older_run_counts_that_and_they_raise_one_alarm() {
    let cluster = Cluster::new("older-run", 4, Durability::Async);
    let peer = cluster.start(PEER);
    show_a_run_of_the_future(&cluster);
    let own = cluster.start(OWN);
    let fault = |node: &Node, name: &str| {
        let faults = node.status().unwrap().faults;
        faults.get(name).copied().unwrap_or_default()
    };
    eventually("the refusals are counted", || {
        fault(&own, "refused_by_peers") >= 3 && fault(&peer, "closed_stale_incarnation") >= 3
    });
    assert_eq!(fault(&peer, "alarms"), 1, "however often it comes");
    own.shutdown(Duration::ZERO).unwrap();
    peer.shutdown(Duration::ZERO).unwrap();
}
