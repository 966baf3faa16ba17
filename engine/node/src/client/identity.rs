//! Who a client is and whom it trusts. Owns the signing of logins and the checking of validators'
//! signatures on a connection. Never: sockets.

use crate::keys::KeyPair;
use quorate_consensus::signing::{hello_message, login_message};
use quorate_consensus::types::ValidatorIndex;
use quorate_consensus::validators::ValidatorSet;
use quorate_consensus::verify;
use quorate_net::{CLIENT_ADDRESSEE, ClientAuthenticator};
use std::sync::Arc;

/// A client's key on its way to one validator.
pub(super) struct Identity {
    key: Arc<KeyPair>,
    set: Arc<ValidatorSet>,
    wanted: ValidatorIndex,
}

impl Identity {
    pub(super) const fn new(
        key: Arc<KeyPair>,
        set: Arc<ValidatorSet>,
        wanted: ValidatorIndex,
    ) -> Self {
        Self { key, set, wanted }
    }
}

impl ClientAuthenticator for Identity {
    fn key(&self) -> [u8; 32] {
        self.key.public()
    }

    fn sign_login(&self, handshake_hash: &[u8; 32], validator: u16) -> [u8; 64] {
        let set = &self.set;
        let message = login_message(
            set.chain_id(),
            set.genesis_hash(),
            handshake_hash,
            validator,
        );
        self.key.sign(&message)
    }

    fn verify_hello(&self, handshake_hash: &[u8; 32], signer: u16, signature: &[u8; 64]) -> bool {
        if signer != self.wanted.number() {
            return false;
        }
        let Some(member) = self.set.validator(self.wanted) else {
            return false;
        };
        let message = hello_message(&self.set, handshake_hash, signer, CLIENT_ADDRESSEE);
        verify::single(&member.key, &message, signature)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::sample_genesis;

    #[test]
    fn only_the_wanted_validator_s_signature_to_a_client_is_taken() {
        let (genesis, keys) = sample_genesis(4);
        let set = genesis.validator_set();
        let key = Arc::new(KeyPair::from_seed(&[9; 32]));
        let identity = Identity::new(key, Arc::clone(set), ValidatorIndex::new(1));
        let hash = [4; 32];
        let sign = |signer: u16, addressee: u16, hash: &[u8; 32]| {
            keys[usize::from(signer)].sign(&hello_message(set, hash, signer, addressee))
        };
        assert!(identity.verify_hello(&hash, 1, &sign(1, CLIENT_ADDRESSEE, &hash)));
        assert!(!identity.verify_hello(&hash, 2, &sign(2, CLIENT_ADDRESSEE, &hash)));
        assert!(!identity.verify_hello(&hash, 1, &sign(2, CLIENT_ADDRESSEE, &hash)));
        assert!(
            !identity.verify_hello(&hash, 1, &sign(1, 0, &hash)),
            "meant for a validator"
        );
        assert!(!identity.verify_hello(&hash, 1, &sign(1, CLIENT_ADDRESSEE, &[5; 32])));
        assert!(!identity.verify_hello(&hash, 9, &sign(1, CLIENT_ADDRESSEE, &hash)));
    }
}
