//! Keys and signatures of the world.
//!
//! Owns every validator's key, a keyed hash that stands in for Ed25519, and the choice between
//! the two. Never: what is signed. The stand-in cannot be forged by whoever lacks the secret,
//! which is all that the rules ask of a signature; it costs a hundredth.

use std::collections::BTreeMap;

use quorate_consensus::certificate::SignatureBytes;
use quorate_consensus::signing::{Signer, ValidatorKey};
use quorate_consensus::verify::{SignatureCheck, SignatureItem, Zip215};
use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng as _;

/// What signatures are made of in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheme {
    /// A keyed hash.
    StandIn,
    /// Ed25519, checked by ZIP-215 in batches.
    Ed25519,
}

/// One validator's key, under either scheme.
#[derive(Clone, Debug)]
pub(crate) struct WorldKey {
    scheme: Scheme,
    secret: [u8; 32],
    key: ValidatorKey,
    public: [u8; 32],
}

impl WorldKey {
    pub(crate) const fn public(&self) -> [u8; 32] {
        self.public
    }
}

impl Signer for WorldKey {
    fn sign(&self, message: &[u8]) -> SignatureBytes {
        match self.scheme {
            Scheme::StandIn => stand_in(&self.secret, message),
            Scheme::Ed25519 => self.key.sign(message),
        }
    }
}

fn stand_in(secret: &[u8; 32], message: &[u8]) -> SignatureBytes {
    let mut signature = [0; 64];
    blake3::Hasher::new_keyed(secret)
        .update(message)
        .finalize_xof()
        .fill(&mut signature);
    signature
}

/// Everybody's keys.
#[derive(Debug)]
pub(crate) struct Keyring {
    scheme: Scheme,
    keys: Vec<WorldKey>,
    secrets: BTreeMap<[u8; 32], [u8; 32]>,
    zip215: Zip215<ChaCha8Rng>,
}

impl Keyring {
    pub(crate) fn new(validators: u16, scheme: Scheme) -> Self {
        let keys: Vec<WorldKey> = (0..validators)
            .map(|index| {
                let secret = *blake3::hash(&index.to_le_bytes()).as_bytes();
                let key = ValidatorKey::from_seed(&secret);
                let public = key.public();
                WorldKey {
                    scheme,
                    secret,
                    key,
                    public,
                }
            })
            .collect();
        let secrets = keys.iter().map(|key| (key.public, key.secret)).collect();
        let zip215 = Zip215::new(ChaCha8Rng::from_seed([5; 32]));
        Self {
            scheme,
            keys,
            secrets,
            zip215,
        }
    }

    pub(crate) fn keys(&self) -> &[WorldKey] {
        &self.keys
    }

    /// The key of a validator and the check of all, at once.
    pub(crate) fn signer_and_check(&mut self, place: usize) -> (&WorldKey, Check<'_>) {
        let check = Check {
            scheme: self.scheme,
            secrets: &self.secrets,
            zip215: &mut self.zip215,
        };
        (&self.keys[place], check)
    }
}

/// The check of signatures under the scheme of the run.
#[derive(Debug)]
pub(crate) struct Check<'a> {
    scheme: Scheme,
    secrets: &'a BTreeMap<[u8; 32], [u8; 32]>,
    zip215: &'a mut Zip215<ChaCha8Rng>,
}

impl SignatureCheck for Check<'_> {
    fn check(&mut self, items: &[SignatureItem<'_>]) -> Vec<bool> {
        if self.scheme == Scheme::Ed25519 {
            return self.zip215.check(items);
        }
        let is_good = |item: &SignatureItem<'_>| {
            let secret = self.secrets.get(item.key);
            secret.is_some_and(|secret| stand_in(secret, item.message) == *item.signature)
        };
        items.iter().map(is_good).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn under_both_schemes_a_signature_holds_for_its_key_and_message_alone() {
        for scheme in [Scheme::StandIn, Scheme::Ed25519] {
            let mut ring = Keyring::new(2, scheme);
            let publics: Vec<[u8; 32]> = ring.keys().iter().map(WorldKey::public).collect();
            let (signer, mut check) = ring.signer_and_check(0);
            let signature = signer.sign(b"one");
            let item = |key, message| SignatureItem {
                key,
                message,
                signature: &signature,
                abscissa: None,
            };
            let verdicts = check.check(&[
                item(&publics[0], b"one"),
                item(&publics[0], b"two"),
                item(&publics[1], b"one"),
            ]);
            assert_eq!(verdicts, [true, false, false], "{scheme:?}");
        }
    }
}
