//! What validators say about the application's state (protocol.md 5.6), as plain data, and what a
//! set of such statements proves.
//!
//! Owns the judgement of a certificate's structure and weight. Never: signatures (`verify` checks
//! those), or when a statement is made.

use crate::certificate::SignatureBytes;
use crate::types::{BlockId, Height, Stake, ValidatorIndex};
use crate::validators::ValidatorSet;
use alloc::vec::Vec;

/// The state after one block, as one validator has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateStatement {
    /// Height of the block.
    pub height: Height,
    /// Its name.
    pub id: BlockId,
    /// Root of each section, in root order. Bound: `STATE_SECTIONS_MAX`.
    pub sections: Vec<[u8; 32]>,
    /// Root of the snapshot of this state, where one was taken.
    pub snapshot: Option<[u8; 32]>,
}

/// Signatures of one statement: weight AMP includes an honest validator, so it is true.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateCertificate {
    /// The statement.
    pub statement: StateStatement,
    /// Who signed it, ascending. Bound: `VALIDATORS_MAX`.
    pub signatures: Vec<(ValidatorIndex, SignatureBytes)>,
}

/// The own state is another than the one that decisive weight attests (protocol.md 5.6).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Divergence {
    /// The newest state that this validator and a certificate had alike in this run.
    pub common: Option<StateStatement>,
    /// The own state at the first height that is known to differ.
    pub own: StateStatement,
    /// The state of the others there, with everybody who signed it.
    pub proven: StateCertificate,
}

/// Places of the sections that two statements have different, in root order.
pub fn differences(one: &StateStatement, other: &StateStatement) -> impl Iterator<Item = usize> {
    let longest = one.sections.len().max(other.sections.len());
    (0..longest).filter(|&place| one.sections.get(place) != other.sections.get(place))
}

/// One hash for the roots of all sections, for who keeps no more of a state.
#[must_use]
pub fn sections_digest(sections: &[[u8; 32]]) -> [u8; 32] {
    *blake3::hash(sections.as_flattened()).as_bytes()
}

/// Why signatures do not prove a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StateCertificateError {
    /// A signer outside the set.
    UnknownValidator {
        /// Who.
        validator: ValidatorIndex,
    },
    /// Signers not in ascending order: somebody's weight could count twice.
    NotAscending {
        /// Who comes too late.
        validator: ValidatorIndex,
    },
    /// Less than AMP: all signers may lie.
    TooLittleWeight {
        /// What they weigh.
        weight: Stake,
        /// What is needed.
        needed: Stake,
    },
}

impl core::fmt::Display for StateCertificateError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::UnknownValidator { validator } => {
                write!(f, "signer {} is not in the set", validator.number())
            }
            Self::NotAscending { validator } => {
                write!(f, "signer {} is out of order", validator.number())
            }
            Self::TooLittleWeight { weight, needed } => {
                write!(f, "signers weigh {weight:?}, {needed:?} is needed")
            }
        }
    }
}

impl core::error::Error for StateCertificateError {}

/// Judges a certificate by its signers alone.
///
/// # Errors
/// [`StateCertificateError`] when they cannot prove anything under `set`.
pub fn judge_state(
    set: &ValidatorSet,
    certificate: &StateCertificate,
) -> Result<(), StateCertificateError> {
    let signers = &certificate.signatures;
    let mut weight = Stake::ZERO;
    for (place, &(validator, _)) in signers.iter().enumerate() {
        if !set.contains(validator) {
            return Err(StateCertificateError::UnknownValidator { validator });
        }
        let before = place.checked_sub(1).and_then(|before| signers.get(before));
        if before.is_some_and(|&(before, _)| before >= validator) {
            return Err(StateCertificateError::NotAscending { validator });
        }
        weight.add(set.stake(validator));
    }
    let needed = set.thresholds().amplify;
    if weight < needed {
        return Err(StateCertificateError::TooLittleWeight { weight, needed });
    }
    Ok(())
}
