//! The light verifier: what somebody who runs no validator can check, given the validator set of
//! the genesis and some bytes from anybody.
//!
//! Owns the bytes of a proof (docs/proof-format.md) and its judgement: a finality certificate, the
//! chain of headers down to a block, the block's payload and a command in it; an attested state; or
//! what the application put out, under an attested state. Also how outputs are hashed, which the
//! executing validator and the verifier must do alike. Never: I/O, a clock, keys, or trust in
//! whoever handed a proof over.
//!
//! ```
//! use quorate_proof::{Proven, decode, genesis, verify};
//!
//! /// `file`: the genesis file, from where it can be trusted; `proof`: from anybody.
//! fn check(file: &[u8], proof: &[u8]) -> Result<Proven, Box<dyn std::error::Error>> {
//!     let set = genesis::validator_set(file)?;
//!     Ok(verify(&set, &decode(proof)?)?)
//! }
//!
//! assert!(check(b"{}", b"").is_err());
//! ```

#![forbid(unsafe_code)]

mod bytes;
mod check;
pub mod events;
pub mod genesis;
pub mod outputs;
mod tree;

pub use bytes::{
    FormatError, OUTPUT_BYTES_MAX, PROOF_BYTES_MAX, PROOF_HEADERS_MAX, PROOF_MAGIC, PROOF_VERSION,
    decode, encode,
};
pub use check::{ProofError, Proven, ProvenBlock, ProvenCommand, ProvenOutput, verify};

use quorate_consensus::attestation::StateCertificate;
use quorate_consensus::certificate::Certificate;
use quorate_consensus::header::Header;
use quorate_consensus::types::BlockId;

use crate::outputs::ListPath;

/// A claim with everything that it takes to check it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proof {
    /// A block is final, and perhaps a command stands in it.
    Block(BlockProof),
    /// The state after a block has these section roots.
    State(StateCertificate),
    /// The application put something out.
    Output(OutputProof),
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

/// That a command stands in a block; [`ProvenCommand`] says what that does not show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandProof {
    /// Its place among the block's commands.
    pub index: u32,
    /// The whole payload of the block: a header names the hash of all of it.
    pub payload: Vec<u8>,
}

/// That something was put out in a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputProof {
    /// The state after this block or a later one.
    pub certificate: StateCertificate,
    /// Height of the block.
    pub height: u64,
    /// Its name.
    pub id: BlockId,
    /// The hash of the list of all that it put out.
    pub root: [u8; 32],
    /// The way from the block to the state's section of outputs, bottom up. Bound: 64.
    pub history: Vec<[u8; 32]>,
    /// The way from the item to `root`.
    pub list: ListPath,
    /// What was put out.
    pub item: OutputItem,
}

/// Something that a block put out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OutputItem {
    /// An output of the application.
    Output {
        /// Its number among all outputs of the block, from 0.
        number: u32,
        /// Place in the block of the command that made it; none for a timer or a time-out.
        command: Option<u32>,
        /// The session that gets it; none for the public stream.
        session: Option<[u8; 16]>,
        /// The application's bytes. Bound: [`OUTPUT_BYTES_MAX`].
        bytes: Vec<u8>,
    },
    /// What became of every command of the block, by index; the numbers are those of
    /// docs/client-protocol.md.
    Outcomes(Vec<u8>),
}
