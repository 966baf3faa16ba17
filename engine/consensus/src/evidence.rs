//! Evidence of misbehaviour: recorded and exported, never a reason to count differently.

use crate::certificate::{SignatureBytes, SignedRecord};
use crate::header::Header;
use crate::types::{Epoch, ValidatorIndex, Window};
use alloc::boxed::Box;
use alloc::vec::Vec;

/// A leader's signed header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedHeader {
    /// The header.
    pub header: Header,
    /// The leader's signature.
    pub signature: SignatureBytes,
}

/// What a third party can check against the validator set alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// E1: two headers of one position, both signed by its leader.
    TwoHeaders(Box<[SignedHeader; 2]>),
    /// E2: two signed records of one validator that are not ordered, with the headers that prove
    /// the branch.
    TwoRecords {
        /// Validator set.
        epoch: Epoch,
        /// Window.
        window: Window,
        /// Who.
        validator: ValidatorIndex,
        /// The records.
        records: Box<[SignedRecord; 2]>,
        /// Headers that show the fork; empty when the records contradict without them.
        headers: Vec<Header>,
    },
    /// E3: one signed record that contradicts itself.
    OneRecord {
        /// Validator set.
        epoch: Epoch,
        /// Window.
        window: Window,
        /// The record.
        record: Box<SignedRecord>,
    },
}
