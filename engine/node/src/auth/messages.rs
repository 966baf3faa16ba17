//! What clients sign.
//!
//! Owns the chain's names that stand in front of every command. Never: signs, or checks; who has
//! this alone, as a client does, cannot check anything.

use quorate_consensus::payload::CommandView;
use quorate_consensus::signing::{command_message, put_command_message};
use quorate_consensus::validators::ValidatorSet;

use crate::genesis::{Auth, Genesis};

/// The messages that the clients of a chain sign; none in a chain without signatures.
#[derive(Clone, Debug)]
pub struct CommandMessages(Option<ChainNames>);

/// What stands in front of every command that is signed.
#[derive(Clone, Copy, Debug)]
pub(super) struct ChainNames {
    chain_id: [u8; 32],
    genesis_hash: [u8; 32],
}

impl CommandMessages {
    /// Of a chain with `auth = "session"`: nothing is signed.
    #[must_use]
    pub const fn session() -> Self {
        Self(None)
    }

    /// Of a chain with `auth = "signed"`.
    #[must_use]
    pub fn signed(set: &ValidatorSet) -> Self {
        Self(Some(ChainNames {
            chain_id: *set.chain_id(),
            genesis_hash: *set.genesis_hash(),
        }))
    }

    /// As the genesis of a chain has it.
    #[must_use]
    pub fn of(genesis: &Genesis) -> Self {
        match genesis.file().auth {
            Auth::Session => Self::session(),
            Auth::Signed => Self::signed(genesis.validator_set()),
        }
    }

    /// Whether every command of this chain carries its client's signature.
    #[must_use]
    pub const fn is_signed(&self) -> bool {
        self.0.is_some()
    }

    /// What a client signs for a command, given its entry without the signature; none in a chain
    /// without signatures.
    #[must_use]
    pub fn message(&self, entry_unsigned: &[u8]) -> Option<Vec<u8>> {
        Some(self.chain()?.message(entry_unsigned))
    }

    pub(super) const fn chain(&self) -> Option<&ChainNames> {
        self.0.as_ref()
    }
}

impl ChainNames {
    pub(super) fn message(&self, entry_unsigned: &[u8]) -> Vec<u8> {
        command_message(&self.chain_id, &self.genesis_hash, entry_unsigned)
    }

    /// Appends the message of a command whose entry has its signature.
    pub(super) fn put_message(&self, view: &CommandView<'_>, out: &mut Vec<u8>) {
        let parts = view.entry_unsigned_parts();
        put_command_message(&self.chain_id, &self.genesis_hash, parts, out);
    }
}
