//! Peers that are asked what they know of a key, and one that ends meanwhile.

use crate::support::{Cluster, key};
use quorate::node::{PeerWord, ask_peers};
use quorate_consensus::message::Message;
use quorate_consensus::signing::hello_message;
use quorate_consensus::types::ValidatorIndex;
use quorate_consensus::validators::ValidatorSet;
use quorate_consensus::{verify, wire};
use quorate_net::{
    Authenticator, ChainIds, Class, ClientId, CloseReason, Handler, Limits, Net, NetConfig,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use std::time::Instant;

const OWN: u16 = 0;
/// The one that is killed.
const KILLED: u16 = 3;

/// Signs as one of the peers.
struct Identity {
    set: Arc<ValidatorSet>,
    own: u16,
}

impl Authenticator for Identity {
    fn sign_hello(&self, hash: &[u8; 32], peer: u16) -> [u8; 64] {
        key(self.own).sign(&hello_message(&self.set, hash, self.own, peer))
    }

    fn verify_hello(&self, hash: &[u8; 32], signer: u16, to: u16, signature: &[u8; 64]) -> bool {
        let member = self.set.validator(ValidatorIndex::new(signer)).unwrap();
        verify::single(
            &member.key,
            &hello_message(&self.set, hash, signer, to),
            signature,
        )
    }

    fn verify_login(&self, _: &[u8; 32], _: &[u8; 32], _: &[u8; 64]) -> bool {
        false
    }
}

/// Holds no vote of anybody.
#[derive(Default)]
struct Peer {
    is_known: bool,
    asked: Vec<(u16, u64)>,
}

impl Handler for Peer {
    fn peer_up(&mut self, _: u16, _: u64) {
        self.is_known = true;
    }
    fn peer_down(&mut self, _: u16, _: CloseReason) {}
    fn peer_frame(&mut self, peer: u16, frame: &[u8]) {
        if let Message::FenceAsk { incarnation } = wire::decode(frame).unwrap().into_message() {
            self.asked.push((peer, incarnation));
        }
    }
    fn client_up(&mut self, _: ClientId, _: [u8; 32]) {}
    fn client_down(&mut self, _: ClientId) {}
    fn client_frame(&mut self, _: ClientId, _: &[u8]) {}
}

fn bind(cluster: &Cluster, own: u16) -> impl Fn() -> Net + Send + 'static {
    let genesis = cluster.genesis.clone();
    move || {
        let members = &genesis.file().validators;
        let address = |index: u16| members[usize::from(index)].peer_address.clone();
        let config = NetConfig {
            index: own,
            incarnation: 7,
            chain: ChainIds {
                chain_id: *genesis.chain_id(),
                genesis_hash: *genesis.hash(),
            },
            peer_listen: address(own),
            client_listen: None,
            peers: vec![(OWN, address(OWN))],
            limits: Limits::default(),
            jitter_seed: 1,
        };
        let set = Arc::clone(genesis.validator_set());
        Net::bind(config, Arc::new(Identity { set, own })).unwrap()
    }
}

/// Answers until it is stopped; one that is killed is gone once it has seen who asks, and another
/// process takes its place.
fn answer(cluster: &Cluster, own: u16, stop: &Arc<AtomicBool>) -> JoinHandle<()> {
    let (bind, stop, mut is_killed) = (bind(cluster, own), Arc::clone(stop), own == KILLED);
    std::thread::spawn(move || {
        let (mut net, mut peer) = (bind(), Peer::default());
        while !stop.load(Ordering::Acquire) {
            let pause = Some(Duration::from_millis(20));
            net.turn(Instant::now(), pause, &mut peer).unwrap();
            if is_killed && peer.is_known {
                is_killed = false;
                drop(net);
                (net, peer) = (bind(), Peer::default());
            }
            for (to, incarnation) in peer.asked.drain(..) {
                let held = Vec::new();
                let mut frame = Vec::new();
                wire::encode(&Message::FenceAnswer { incarnation, held }, &mut frame);
                net.send_peer(to, &frame, Class::Certificate).unwrap();
            }
            net.flush();
        }
    })
}

#[test]
fn a_peer_that_is_killed_while_it_is_asked_has_not_said_that_the_key_runs() {
    let cluster = Cluster::new("asked", 4, quorate::profiles::Durability::Async);
    let stop = Arc::<AtomicBool>::default();
    let peers: Vec<_> = (1..4).map(|own| answer(&cluster, own, &stop)).collect();
    let words = ask_peers(&cluster.config(OWN), Duration::from_secs(60)).unwrap();
    stop.store(true, Ordering::Release);
    peers.into_iter().for_each(|peer| peer.join().unwrap());
    let nothing = (1..4).map(|peer| (ValidatorIndex::new(peer), PeerWord::Nothing));
    assert!(
        words.iter().map(|(peer, word)| (*peer, *word)).eq(nothing),
        "{words:?}"
    );
}
