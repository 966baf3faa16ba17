//! Which log this is: the hash of its genesis and its salt, and the hash keys derived from them.
//!
//! Every checksum of a record is keyed by the identity, so a record of another log never verifies
//! here. The salt is drawn once by whoever creates the log and leaves the machine in no message:
//! somebody who chooses payload bytes (a client, a peer) cannot put bytes into a payload that
//! read as a record of this log.

/// Length of the salt.
pub const SALT_BYTES: usize = 32;

const CONTEXT_CHAIN: &str = "quorate log v1 record chain";
const CONTEXT_RECORD_HEADER: &str = "quorate log v1 record header";
const CONTEXT_CHAIN_START: &str = "quorate log v1 chain start";
const CONTEXT_WATERMARK: &str = "quorate log v1 watermark";

/// The genesis hash and salt of one log, with the keys derived from them.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) genesis_hash: [u8; 32],
    pub(crate) salt: [u8; SALT_BYTES],
    pub(crate) chain_key: [u8; 32],
    pub(crate) record_header_key: [u8; 32],
    pub(crate) watermark_key: [u8; 32],
    /// What the genesis record chains on.
    pub(crate) chain_start: [u8; 32],
}

impl Identity {
    pub(crate) fn new(genesis_hash: [u8; 32], salt: [u8; SALT_BYTES]) -> Self {
        let mut material = [0_u8; 32 + SALT_BYTES];
        material[..32].copy_from_slice(&genesis_hash);
        material[32..].copy_from_slice(&salt);
        Self {
            genesis_hash,
            salt,
            chain_key: blake3::derive_key(CONTEXT_CHAIN, &material),
            record_header_key: blake3::derive_key(CONTEXT_RECORD_HEADER, &material),
            watermark_key: blake3::derive_key(CONTEXT_WATERMARK, &material),
            chain_start: blake3::derive_key(CONTEXT_CHAIN_START, &material),
        }
    }
}

impl std::fmt::Debug for Identity {
    // The salt stays out of traces: it is what makes forged records impossible.
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Identity").finish_non_exhaustive()
    }
}

/// The hash by which the log knows its genesis: plain BLAKE3 of the payload of record 0.
#[must_use]
pub fn genesis_hash(genesis: &[u8]) -> [u8; 32] {
    *blake3::hash(genesis).as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn genesis_and_salt_both_change_every_key() {
        let base = Identity::new([1; 32], [2; 32]);
        for other in [
            Identity::new([3; 32], [2; 32]),
            Identity::new([1; 32], [3; 32]),
        ] {
            assert_ne!(base.chain_key, other.chain_key);
            assert_ne!(base.record_header_key, other.record_header_key);
            assert_ne!(base.watermark_key, other.watermark_key);
            assert_ne!(base.chain_start, other.chain_start);
        }
    }
}
