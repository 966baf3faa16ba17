//! Certificates: signed records that convince a third party of one fact.
//!
//! Owns the plain data. Judged in `verify`: on their own records alone, never joined with held
//! ones first.

use crate::header::Header;
use crate::record::Record;
use crate::types::{BlockId, Epoch, Index, ValidatorIndex, Window};
use alloc::vec::Vec;

/// An Ed25519 signature; compared as bytes only to move it, never to tell votes apart.
pub type SignatureBytes = [u8; 64];

/// What a certificate proves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The block may be a parent.
    Certified {
        /// Place of the block.
        index: Index,
        /// Name of the block.
        id: BlockId,
    },
    /// Every index at or above may be bypassed.
    Skip {
        /// The lowest index.
        from: Index,
    },
    /// The block is final.
    Final {
        /// Place of the block.
        index: Index,
        /// Name of the block.
        id: BlockId,
    },
}

/// One validator's signed record inside a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedRecord {
    /// Who says it.
    pub validator: ValidatorIndex,
    /// What is said.
    pub record: Record,
    /// Signature of the record's canonical bytes for its epoch and window.
    pub signature: SignatureBytes,
}

/// Signed records of one window and the headers that link them to the target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// Validator set of the records.
    pub epoch: Epoch,
    /// Window of the records.
    pub window: Window,
    /// What is proven.
    pub target: Target,
    /// Distinct validators, ascending.
    pub records: Vec<SignedRecord>,
    /// The target block's own header first (none for Skip), then those of the chains up to each
    /// tip or `also` block, in ascending index.
    pub headers: Vec<Header>,
}
