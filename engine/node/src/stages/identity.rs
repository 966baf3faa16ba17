//! Who this validator is to those that connect, and who they are to it.
//!
//! Owns the signatures of handshakes. Never: sockets, or what is said once a handshake is over.

use crate::keys::KeyPair;
use quorate_consensus::signing::{hello_message, login_message};
use quorate_consensus::types::ValidatorIndex;
use quorate_consensus::validators::ValidatorSet;
use quorate_consensus::verify;
use quorate_net::Authenticator;
use std::sync::Arc;

/// Signs and checks handshakes for a validator.
pub(crate) struct ValidatorIdentity {
    set: Arc<ValidatorSet>,
    own: ValidatorIndex,
    key: KeyPair,
}

impl ValidatorIdentity {
    pub(crate) const fn new(set: Arc<ValidatorSet>, own: ValidatorIndex, key: KeyPair) -> Self {
        Self { set, own, key }
    }
}

impl Authenticator for ValidatorIdentity {
    fn sign_hello(&self, handshake_hash: &[u8; 32], peer: u16) -> [u8; 64] {
        self.key.sign(&hello_message(
            &self.set,
            handshake_hash,
            self.own.number(),
            peer,
        ))
    }

    fn verify_hello(
        &self,
        handshake_hash: &[u8; 32],
        signer: u16,
        addressee: u16,
        signature: &[u8; 64],
    ) -> bool {
        let Some(member) = self.set.validator(ValidatorIndex::new(signer)) else {
            return false;
        };
        let message = hello_message(&self.set, handshake_hash, signer, addressee);
        verify::single(&member.key, &message, signature)
    }

    fn verify_login(
        &self,
        handshake_hash: &[u8; 32],
        key: &[u8; 32],
        signature: &[u8; 64],
    ) -> bool {
        let set = &self.set;
        let message = login_message(
            set.chain_id(),
            set.genesis_hash(),
            handshake_hash,
            self.own.number(),
        );
        verify::single(key, &message, signature)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::sample_genesis;

    #[test]
    fn a_hello_and_a_login_hold_for_their_own_connection_and_signer_alone() {
        let (genesis, mut keys) = sample_genesis(4);
        let set = genesis.validator_set();
        let client = KeyPair::from_seed(&[77; 32]);
        let (one, zero) = (keys.remove(1), keys.remove(0));
        let signer = ValidatorIdentity::new(Arc::clone(set), ValidatorIndex::new(1), one);
        let checker = ValidatorIdentity::new(Arc::clone(set), ValidatorIndex::new(0), zero);
        let hash = [4; 32];
        let signature = signer.sign_hello(&hash, 0);
        assert!(checker.verify_hello(&hash, 1, 0, &signature));
        assert!(!checker.verify_hello(&hash, 2, 0, &signature));
        assert!(!checker.verify_hello(&hash, 1, 3, &signature));
        assert!(!checker.verify_hello(&[5; 32], 1, 0, &signature));
        assert!(!checker.verify_hello(&hash, 99, 0, &signature));
        let login = |validator| {
            client.sign(&login_message(
                set.chain_id(),
                set.genesis_hash(),
                &hash,
                validator,
            ))
        };
        assert!(checker.verify_login(&hash, &client.public(), &login(0)));
        assert!(!checker.verify_login(&hash, &client.public(), &login(1)));
        assert!(!checker.verify_login(&[5; 32], &client.public(), &login(0)));
    }
}
