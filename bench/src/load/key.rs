//! Who a session is: its key, and how it proves itself to a validator and checks the validator.

use std::sync::Arc;

use quorate::genesis::{Auth, Genesis};
use quorate::keys::KeyPair;
use quorate_consensus::signing::{hello_message, login_message};
use quorate_consensus::types::ValidatorIndex;
use quorate_consensus::validators::ValidatorSet;
use quorate_consensus::verify;
use quorate_net::{CLIENT_ADDRESSEE, ChainIds, ClientAuthenticator};

/// What a client must know of a chain to talk to it.
#[derive(Clone, Debug)]
pub struct Chain {
    /// Names the chain in handshakes.
    pub ids: ChainIds,
    /// The validators.
    pub set: Arc<ValidatorSet>,
    /// Whether clients sign their commands.
    pub is_signed: bool,
    /// Where clients reach each validator, in its order of preference.
    pub addresses: Vec<Vec<String>>,
}

impl Chain {
    /// What a genesis says.
    #[must_use]
    pub fn of(genesis: &Genesis) -> Self {
        let members = &genesis.file().validators;
        Self {
            ids: ChainIds {
                chain_id: *genesis.chain_id(),
                genesis_hash: *genesis.hash(),
            },
            set: Arc::clone(genesis.validator_set()),
            is_signed: genesis.file().auth == Auth::Signed,
            addresses: members
                .iter()
                .map(|member| member.client_addresses.clone())
                .collect(),
        }
    }
}

/// A session's key, as the handshake asks for it.
#[derive(Debug)]
pub(crate) struct SessionKey {
    key: Arc<KeyPair>,
    set: Arc<ValidatorSet>,
    ids: ChainIds,
    /// The validator that the connection is meant for.
    wanted: u16,
}

impl SessionKey {
    pub(crate) fn new(key: &Arc<KeyPair>, chain: &Chain, wanted: usize) -> Self {
        Self {
            key: Arc::clone(key),
            set: Arc::clone(&chain.set),
            ids: chain.ids,
            wanted: u16::try_from(wanted).unwrap_or(u16::MAX),
        }
    }
}

impl ClientAuthenticator for SessionKey {
    fn key(&self) -> [u8; 32] {
        self.key.public()
    }

    fn sign_login(&self, handshake_hash: &[u8; 32], validator: u16) -> [u8; 64] {
        let ids = &self.ids;
        self.key.sign(&login_message(
            &ids.chain_id,
            &ids.genesis_hash,
            handshake_hash,
            validator,
        ))
    }

    fn verify_hello(&self, handshake_hash: &[u8; 32], signer: u16, signature: &[u8; 64]) -> bool {
        let member = self.set.validator(ValidatorIndex::new(signer));
        let message = hello_message(&self.set, handshake_hash, signer, CLIENT_ADDRESSEE);
        signer == self.wanted
            && member.is_some_and(|member| verify::single(&member.key, &message, signature))
    }
}
