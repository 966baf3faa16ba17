//! The library's network over plain TCP.
//!
//! Owns the inbox. What a replica sends to itself goes there directly. Never: changes the set of
//! replicas, which is fixed here.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use borsh::{BorshDeserialize as _, BorshSerialize as _};
use hotstuff_rs::networking::messages::Message;
use hotstuff_rs::networking::network;
use hotstuff_rs::types::crypto_primitives::VerifyingKey;
use hotstuff_rs::types::update_sets::ValidatorSetUpdates;
use hotstuff_rs::types::validator_set::ValidatorSet;
use peer_kit::{Config, Failure, Mesh};

/// How long the library's poller is held while nothing comes: it would spin otherwise.
const HOLD: Duration = Duration::from_millis(50);

type Inbox = (VerifyingKey, Message);

#[derive(Clone)]
pub(crate) struct Network {
    own: usize,
    keys: Arc<Vec<VerifyingKey>>,
    mesh: Mesh,
    inbox_in: Sender<Inbox>,
    inbox: Arc<Mutex<Receiver<Inbox>>>,
}

impl Network {
    /// The network, once this node has reached all others and they have reached it.
    pub(crate) fn start(config: &Config, keys: Vec<VerifyingKey>) -> Result<Self, Failure> {
        let (inbox_in, inbox) = channel();
        let keys = Arc::new(keys);
        let (theirs, others) = (inbox_in.clone(), Arc::clone(&keys));
        let mesh = Mesh::start(config.index, &config.peers, move |from, bytes| {
            let key = others.get(from);
            if let (Some(key), Ok(message)) = (key, Message::try_from_slice(&bytes)) {
                // The poller ends with the process.
                theirs.send((*key, message)).ok();
            }
        })?;
        mesh.wait_until_whole();
        Ok(Self {
            own: config.index,
            keys,
            mesh,
            inbox_in,
            inbox: Arc::new(Mutex::new(inbox)),
        })
    }

    fn deliver(&self, node: usize, message: &Message, bytes: &[u8]) {
        if node == self.own {
            // The poller ends with the process.
            self.inbox_in.send((self.keys[node], message.clone())).ok();
        } else {
            self.mesh.send(node, bytes);
        }
    }
}

impl network::Network for Network {
    fn init_validator_set(&mut self, _: ValidatorSet) {}

    fn update_validator_set(&mut self, _: ValidatorSetUpdates) {}

    fn broadcast(&mut self, message: Message) {
        if let Ok(bytes) = message.try_to_vec() {
            for node in 0..self.keys.len() {
                self.deliver(node, &message, &bytes);
            }
        }
    }

    fn send(&mut self, peer: VerifyingKey, message: Message) {
        let node = self.keys.iter().position(|key| *key == peer);
        if let (Some(node), Ok(bytes)) = (node, message.try_to_vec()) {
            self.deliver(node, &message, &bytes);
        }
    }

    fn recv(&mut self) -> Option<Inbox> {
        let inbox = self.inbox.lock().unwrap_or_else(PoisonError::into_inner);
        inbox.recv_timeout(HOLD).ok()
    }
}
