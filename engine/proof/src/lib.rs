//! The light verifier: what somebody who runs no validator can check, given the validator set of
//! the genesis and some bytes from anybody.
//!
//! Owns the bytes of a proof (docs/proof-format.md) and its judgement: a finality certificate, the
//! chain of headers down to a block, the block's payload and a command in it; or an attested
//! state. Never: I/O, a clock, keys, or trust in whoever handed a proof over. What an application
//! put out stands under no root, so it cannot be proven here.

#![forbid(unsafe_code)]

mod bytes;
mod check;

pub use bytes::{FormatError, PROOF_BYTES_MAX, PROOF_HEADERS_MAX, PROOF_VERSION, decode, encode};
pub use check::{ProofError, Proven, ProvenBlock, ProvenCommand, verify};

use quorate_consensus::attestation::StateCertificate;
use quorate_consensus::certificate::Certificate;
use quorate_consensus::header::Header;

/// A claim with everything that it takes to check it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proof {
    /// A block is final, and perhaps a command stands in it.
    Block(BlockProof),
    /// The state after a block has these section roots.
    State(StateCertificate),
}

/// That a block is final.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockProof {
    /// Makes a block final: the one in question, or a descendant of it.
    pub certificate: Certificate,
    /// From the block below the certified one down to the one in question; empty when that is the
    /// certified one. Bound: [`PROOF_HEADERS_MAX`].
    pub headers: Vec<Header>,
    /// A command in it, if one is in question.
    pub command: Option<CommandProof>,
}

/// That a command stands in a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandProof {
    /// Its place among the block's commands.
    pub index: u32,
    /// The whole payload of the block: a header names the hash of all of it.
    pub payload: Vec<u8>,
}
