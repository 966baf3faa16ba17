//! Sockets on loopback for unit tests of what turns them. Never: compiled into what ships.

use crate::genesis::Genesis;
use crate::keys::KeyPair;
use crate::stages::identity::ValidatorIdentity;
use quorate_consensus::signing::login_message;
use quorate_consensus::types::ValidatorIndex;
use quorate_net::{ChainIds, ClientAuthenticator, Limits, Net, NetConfig, Ports};
use std::sync::Arc;

/// What all of this chain agree on.
pub(crate) fn chain_of(genesis: &Genesis) -> ChainIds {
    ChainIds {
        chain_id: *genesis.chain_id(),
        genesis_hash: *genesis.hash(),
    }
}

/// The sockets of a validator without peers and clients, but for what `change` says.
pub(crate) fn net_of(
    genesis: &Genesis,
    own: ValidatorIndex,
    key: KeyPair,
    change: impl FnOnce(&mut NetConfig),
) -> Net {
    let mut config = NetConfig {
        index: own.number(),
        incarnation: 1,
        chain: chain_of(genesis),
        peer_listen: "127.0.0.1:0".to_owned(),
        client_listen: None,
        peers: Vec::new(),
        limits: Limits::default(),
        jitter_seed: 1,
    };
    change(&mut config);
    let identity = ValidatorIdentity::new(Arc::clone(genesis.validator_set()), own, key);
    let ports = Ports::reserve(&config).unwrap();
    Net::over(ports, config, Arc::new(identity)).unwrap()
}

/// A client that logs in, whatever validator it meets.
pub(crate) struct Login {
    pub(crate) key: KeyPair,
    pub(crate) chain: ChainIds,
}

impl ClientAuthenticator for Login {
    fn key(&self) -> [u8; 32] {
        self.key.public()
    }

    fn sign_login(&self, handshake_hash: &[u8; 32], validator: u16) -> [u8; 64] {
        let (chain_id, genesis_hash) = (&self.chain.chain_id, &self.chain.genesis_hash);
        let message = login_message(chain_id, genesis_hash, handshake_hash, validator);
        self.key.sign(&message)
    }

    fn verify_hello(&self, _: &[u8; 32], _: u16, _: &[u8; 64]) -> bool {
        true
    }
}
