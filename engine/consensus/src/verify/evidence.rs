//! Whether evidence shows misbehaviour: its structure; signatures are checked in `claims`.
//!
//! Accuses only where both directions of the records' order are refuted by what stands in the
//! evidence itself. Whatever a missing header could still explain is no proof.

use super::judge::{HeaderFault, header_fits};
use crate::certificate::SignedRecord;
use crate::evidence::{Evidence, SignedHeader};
use crate::header::Header;
use crate::record::Record;
use crate::types::{BlockId, Epoch, Index, ValidatorIndex, Window};
use crate::validators::ValidatorSet;
use alloc::collections::{BTreeMap, BTreeSet};
use core::fmt;

/// Checks that the evidence, its signatures taken as good, proves what it says.
///
/// # Errors
///
/// [`EvidenceError`] when it proves nothing under `set`.
pub fn check_evidence(set: &ValidatorSet, evidence: &Evidence) -> Result<(), EvidenceError> {
    match evidence {
        Evidence::TwoHeaders(signed) => check_two_headers(set, signed),
        Evidence::TwoRecords {
            epoch,
            window,
            validator,
            records,
            headers,
        } => {
            check_accused(set, *epoch, *validator)?;
            if records.iter().any(|signed| signed.validator != *validator) {
                return Err(EvidenceError::TwoValidators);
            }
            let chains = Chains::check(set, *window, headers)?;
            let [one, other] = records.as_ref();
            if chains.refute(&one.record, &other.record)
                && chains.refute(&other.record, &one.record)
            {
                Ok(())
            } else {
                Err(EvidenceError::NotShown)
            }
        }
        Evidence::OneRecord { epoch, record, .. } => {
            let SignedRecord {
                validator,
                ref record,
                ..
            } = **record;
            check_accused(set, *epoch, validator)?;
            if record.is_consistent(set.slots()) {
                return Err(EvidenceError::NotShown);
            }
            Ok(())
        }
    }
}

fn check_accused(
    set: &ValidatorSet,
    epoch: Epoch,
    validator: ValidatorIndex,
) -> Result<(), EvidenceError> {
    if epoch != set.epoch() {
        return Err(EvidenceError::WrongEpoch { epoch });
    }
    if !set.contains(validator) {
        return Err(EvidenceError::UnknownValidator { validator });
    }
    Ok(())
}

/// E1: one position, two names.
fn check_two_headers(set: &ValidatorSet, signed: &[SignedHeader; 2]) -> Result<(), EvidenceError> {
    let [one, other] = [&signed[0].header, &signed[1].header];
    // A leader may have signed a header that no honest validator accepts; what matters here is
    // that it signed two for one position of this set.
    for header in [one, other] {
        if header.epoch != set.epoch() {
            return Err(EvidenceError::WrongEpoch {
                epoch: header.epoch,
            });
        }
    }
    let is_same_position = (one.window, one.index) == (other.window, other.index);
    if is_same_position && one.id() != other.id() {
        Ok(())
    } else {
        Err(EvidenceError::NotShown)
    }
}

/// The chains that the evidence's headers show.
struct Chains<'a> {
    headers: BTreeMap<BlockId, &'a Header>,
}

impl<'a> Chains<'a> {
    fn check(
        set: &ValidatorSet,
        window: Window,
        headers: &'a [Header],
    ) -> Result<Self, EvidenceError> {
        for (place, header) in headers.iter().enumerate() {
            header_fits(set, header).map_err(|fault| EvidenceError::Header { place, fault })?;
            if header.window != window {
                return Err(EvidenceError::HeaderOfAnotherWindow { place });
            }
        }
        Ok(Self {
            headers: headers.iter().map(|header| (header.id(), header)).collect(),
        })
    }

    /// The block at `index` on the chain of the block named `top`, where headers show it.
    fn block_at(&self, top: (Index, BlockId), index: Index) -> Option<BlockId> {
        let (mut place, mut id) = top;
        while place > index {
            let header = self
                .headers
                .get(&id)
                .filter(|header| header.index == place)?;
            // The index falls with every step.
            place = place.previous()?;
            id = header.parent_id;
        }
        (place == index).then_some(id)
    }

    /// Whether the block `(index, id)` is shown not to lie on the chain of `top`.
    fn excludes(&self, top: (Index, BlockId), (index, id): (Index, BlockId)) -> bool {
        top.0 < index || self.block_at(top, index).is_some_and(|found| found != id)
    }

    /// Whether `newer` is shown not to extend `older`.
    fn refute(&self, older: &Record, newer: &Record) -> bool {
        if !older.may_extend_to(newer) {
            return true;
        }
        let tips_fork = match (older.tip, newer.tip) {
            (Some(old), Some(new)) => self.excludes(new, old),
            _ => false,
        };
        tips_fork || (!older.also.is_empty() && self.loses(older, newer))
    }

    /// Whether an `also` block that `older` covers is shown not to be covered by `newer`.
    fn loses(&self, older: &Record, newer: &Record) -> bool {
        // On its own tip's chain an entry covers nothing, so nothing can be lost.
        let own = self.reach(older.tip.as_slice());
        let covered = self.reach(&newer.also);
        let mut entries = older.also.iter();
        entries.any(|&entry| own.excludes(entry) && covered.excludes(entry))
    }

    /// What stands on the chains of these blocks. Each block is walked over once: whoever signs a
    /// record chooses how many chains it names and how often they meet.
    fn reach(&self, tops: &[(Index, BlockId)]) -> Reach {
        let mut reach = Reach {
            known: BTreeSet::new(),
            unknown_below: Index::ZERO,
        };
        for &(index, id) in tops {
            let (mut index, mut id) = (index, id);
            while reach.known.insert((index, id)) {
                let Some(below) = index.previous() else {
                    break;
                };
                let header = self.headers.get(&id).filter(|header| header.index == index);
                let Some(header) = header else {
                    reach.unknown_below = reach.unknown_below.max(index);
                    break;
                };
                (index, id) = (below, header.parent_id);
            }
        }
        reach
    }
}

/// What is known to stand on some chains.
struct Reach {
    known: BTreeSet<(Index, BlockId)>,
    /// Some chain is not known below this index: anything may stand on it there.
    unknown_below: Index,
}

impl Reach {
    /// Whether the block is shown to lie on none of the chains.
    fn excludes(&self, block: (Index, BlockId)) -> bool {
        block.0 >= self.unknown_below && !self.known.contains(&block)
    }
}

/// Why evidence proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EvidenceError {
    /// Of another epoch.
    WrongEpoch {
        /// Its epoch.
        epoch: Epoch,
    },
    /// Against a validator that the set does not have.
    UnknownValidator {
        /// Who.
        validator: ValidatorIndex,
    },
    /// Records of two validators.
    TwoValidators,
    /// A header of another chain, set or version.
    Header {
        /// Place in the list.
        place: usize,
        /// What is wrong.
        fault: HeaderFault,
    },
    /// A header of another window.
    HeaderOfAnotherWindow {
        /// Place in the list.
        place: usize,
    },
    /// What stands in it is compatible with an honest validator.
    NotShown,
}

impl fmt::Display for EvidenceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WrongEpoch { epoch } => write!(f, "evidence of another epoch, {epoch:?}"),
            Self::UnknownValidator { validator } => {
                write!(
                    f,
                    "evidence against {validator:?}, which the set does not have"
                )
            }
            Self::TwoValidators => f.write_str("records of two validators"),
            Self::Header { place, fault } => write!(f, "header {place}: {fault}"),
            Self::HeaderOfAnotherWindow { place } => {
                write!(f, "header {place} is of another window")
            }
            Self::NotShown => f.write_str("an honest validator could have signed this"),
        }
    }
}

impl core::error::Error for EvidenceError {}
