//! Evidence of misbehaviour: recorded, for an operator to give out, never a reason to count
//! differently.

use crate::certificate::{SignatureBytes, SignedRecord};
use crate::header::Header;
use crate::types::{Epoch, ValidatorIndex, Window};
use crate::validators::ValidatorSet;
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

impl Evidence {
    /// What was done, in words that begin with its name in protocol.md 2.10.
    #[must_use]
    pub const fn what(&self) -> &'static str {
        match self {
            Self::TwoHeaders(_) => "E1: two signed headers of one position",
            Self::TwoRecords { .. } => "E2: two signed records of which neither extends the other",
            Self::OneRecord { .. } => "E3: a signed record that contradicts itself",
        }
    }

    /// The window in which it was done.
    #[must_use]
    pub fn window(&self) -> Window {
        match self {
            Self::TwoHeaders(signed) => signed[0].header.window,
            Self::TwoRecords { window, .. } | Self::OneRecord { window, .. } => *window,
        }
    }

    /// Who did it, if it holds.
    #[must_use]
    pub fn accused(&self, set: &ValidatorSet) -> ValidatorIndex {
        match self {
            Self::TwoHeaders(_) => set.leader(self.window()),
            Self::TwoRecords { validator, .. } => *validator,
            Self::OneRecord { record, .. } => record.validator,
        }
    }

    /// The headers that it holds.
    pub fn headers(&self) -> impl Iterator<Item = &Header> {
        let (signed, headers) = match self {
            Self::TwoHeaders(signed) => (&signed[..], &[][..]),
            Self::TwoRecords { headers, .. } => (&[][..], &headers[..]),
            Self::OneRecord { .. } => (&[][..], &[][..]),
        };
        signed.iter().map(|signed| &signed.header).chain(headers)
    }
}
