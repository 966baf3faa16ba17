//! What is signed: every domain in one place, and the exact bytes under each.
//!
//! Owns the signing inputs and the validator's key. Never: verification, or any other use of the
//! key. A statement of one type, chain, epoch, set and validator can never pass for another,
//! because all of them stand in front of the body.

use crate::attestation::StateStatement;
use crate::certificate::SignatureBytes;
use crate::header::Header;
use crate::message::OwnAnswer;
use crate::record::Record;
use crate::types::{ValidatorIndex, Window};
use crate::validators::ValidatorSet;
use crate::wire;
use alloc::vec::Vec;
use core::fmt;
use ed25519_dalek::Signer as _;

/// The types of statement that keys sign. None is a prefix of another.
pub mod domains {
    /// A block's header, by its leader.
    pub const HEADER: &[u8] = b"bft/header/v1";
    /// A vote record.
    pub const RECORD: &[u8] = b"bft/record/v1";
    /// An answer to a validator that lost its disk.
    pub const RECOVER: &[u8] = b"bft/recover/v1";
    /// The first message on a channel, by a validator.
    pub const HELLO: &[u8] = b"bft/hello/v1";
    /// A root of the application's state.
    pub const ATTEST: &[u8] = b"bft/attest/v1";
    /// A validator's price report.
    pub const PRICE: &[u8] = b"bft/price/v1";
    /// A change of the validator set.
    pub const EPOCH: &[u8] = b"bft/epoch/v1";
    /// A client's command.
    pub const COMMAND: &[u8] = b"bft/command/v1";
    /// The first message of a client on a channel.
    pub const LOGIN: &[u8] = b"bft/login/v1";
    /// All of them; validators' keys sign the first seven, clients' keys the last two.
    pub const ALL: [&[u8]; 9] = [
        HEADER, RECORD, RECOVER, HELLO, ATTEST, PRICE, EPOCH, COMMAND, LOGIN,
    ];
}

/// Something that signs with a validator's key.
pub trait Signer {
    /// The signature of a message made by this module.
    fn sign(&self, message: &[u8]) -> SignatureBytes;
}

/// A validator's Ed25519 key; wiped from memory when dropped, never printed.
#[derive(Clone)]
pub struct ValidatorKey(ed25519_dalek::SigningKey);

impl ValidatorKey {
    /// The key of a 32-byte secret seed. The caller wipes its own copy.
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(ed25519_dalek::SigningKey::from_bytes(seed))
    }

    /// The public key.
    #[must_use]
    pub fn public(&self) -> [u8; 32] {
        self.0.verifying_key().to_bytes()
    }
}

impl Signer for ValidatorKey {
    fn sign(&self, message: &[u8]) -> SignatureBytes {
        self.0.sign(message).to_bytes()
    }
}

impl fmt::Debug for ValidatorKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ValidatorKey(..)")
    }
}

/// Appends what stands in front of every statement of a validator.
///
/// Whoever makes a statement of a type that this module has no function for (`price`,
/// `epoch`) appends its canonical body to this.
pub fn validator_preamble(
    set: &ValidatorSet,
    domain: &[u8],
    validator: ValidatorIndex,
    out: &mut Vec<u8>,
) {
    out.extend_from_slice(domain);
    out.extend_from_slice(set.chain_id());
    out.extend_from_slice(set.genesis_hash());
    out.extend_from_slice(&set.epoch().number().to_le_bytes());
    out.extend_from_slice(set.set_hash());
    out.extend_from_slice(&validator.number().to_le_bytes());
}

/// Appends what a validator signs to say `record` about `window`.
pub fn record_message(
    set: &ValidatorSet,
    validator: ValidatorIndex,
    window: Window,
    record: &Record,
    out: &mut Vec<u8>,
) {
    validator_preamble(set, domains::RECORD, validator, out);
    out.extend_from_slice(&window.number().to_le_bytes());
    wire::encode_record(record, out);
}

/// Appends what the leader of the header's window signs.
pub fn header_message(set: &ValidatorSet, header: &Header, out: &mut Vec<u8>) {
    validator_preamble(set, domains::HEADER, set.leader(header.window), out);
    wire::encode_header(header, out);
}

/// Appends what a validator signs to answer one that lost its disk (R13).
pub fn recover_message(
    set: &ValidatorSet,
    validator: ValidatorIndex,
    answer: &OwnAnswer,
    out: &mut Vec<u8>,
) {
    let OwnAnswer {
        asker,
        nonce,
        window,
    } = answer;
    validator_preamble(set, domains::RECOVER, validator, out);
    out.extend_from_slice(nonce);
    out.extend_from_slice(&asker.number().to_le_bytes());
    out.extend_from_slice(&window.number().to_le_bytes());
}

/// Appends what a validator signs to attest its state.
pub fn state_message(
    set: &ValidatorSet,
    validator: ValidatorIndex,
    statement: &StateStatement,
    out: &mut Vec<u8>,
) {
    validator_preamble(set, domains::ATTEST, validator, out);
    wire::encode_statement(statement, out);
}

/// What a validator signs over a finished handshake. On client ports the peer is 65535.
#[must_use]
pub fn hello_message(
    set: &ValidatorSet,
    handshake_hash: &[u8; 32],
    own: u16,
    peer: u16,
) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    validator_preamble(set, domains::HELLO, ValidatorIndex::new(own), &mut out);
    out.extend_from_slice(handshake_hash);
    out.extend_from_slice(&own.to_le_bytes());
    out.extend_from_slice(&peer.to_le_bytes());
    out
}

/// What a client signs over a finished handshake with a validator.
#[must_use]
pub fn login_message(
    chain_id: &[u8; 32],
    genesis_hash: &[u8; 32],
    handshake_hash: &[u8; 32],
    validator: u16,
) -> Vec<u8> {
    let mut out = client_preamble(domains::LOGIN, chain_id, genesis_hash);
    out.extend_from_slice(handshake_hash);
    out.extend_from_slice(&validator.to_le_bytes());
    out
}

/// What a client signs to send a command: its entry without the signature, fixed part first.
#[must_use]
pub fn command_message(
    chain_id: &[u8; 32],
    genesis_hash: &[u8; 32],
    entry_unsigned: &[u8],
) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    put_command_message(chain_id, genesis_hash, [entry_unsigned, &[]], &mut out);
    out
}

/// The same, appended to `out`, of an entry that is given in two parts.
pub fn put_command_message(
    chain_id: &[u8; 32],
    genesis_hash: &[u8; 32],
    entry_unsigned: [&[u8]; 2],
    out: &mut Vec<u8>,
) {
    put_client_preamble(domains::COMMAND, chain_id, genesis_hash, out);
    for part in entry_unsigned {
        out.extend_from_slice(part);
    }
}

fn client_preamble(domain: &[u8], chain_id: &[u8; 32], genesis_hash: &[u8; 32]) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    put_client_preamble(domain, chain_id, genesis_hash, &mut out);
    out
}

fn put_client_preamble(
    domain: &[u8],
    chain_id: &[u8; 32],
    genesis_hash: &[u8; 32],
    out: &mut Vec<u8>,
) {
    out.extend_from_slice(domain);
    out.extend_from_slice(chain_id);
    out.extend_from_slice(genesis_hash);
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;

    #[test]
    fn no_domain_is_a_prefix_of_another() {
        for (place, one) in domains::ALL.iter().enumerate() {
            for (other_place, other) in domains::ALL.iter().enumerate() {
                assert!(place == other_place || !other.starts_with(one));
            }
        }
    }

    #[test]
    fn domains_are_written_as_the_rule_says() {
        for domain in domains::ALL {
            assert!(domain.starts_with(b"bft/") && domain.ends_with(b"/v1"));
        }
    }

    #[test]
    fn a_key_does_not_print_itself() {
        let key = ValidatorKey::from_seed(&[0xab; 32]);
        assert_eq!(format!("{key:?}"), "ValidatorKey(..)");
    }

    #[test]
    fn a_login_names_domain_chain_genesis_handshake_and_validator() {
        let message = login_message(&[1; 32], &[2; 32], &[3; 32], 0x0405);
        let expected = [
            &b"bft/login/v1"[..],
            &[1; 32],
            &[2; 32],
            &[3; 32],
            &[0x05, 0x04],
        ]
        .concat();
        assert_eq!(message, expected);
    }

    #[test]
    fn a_command_names_domain_chain_genesis_and_entry() {
        let message = command_message(&[1; 32], &[2; 32], b"entry");
        let expected = [&b"bft/command/v1"[..], &[1; 32], &[2; 32], b"entry"].concat();
        assert_eq!(message, expected);
    }
}
