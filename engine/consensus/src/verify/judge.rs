//! What a certificate proves, on its own records alone.
//!
//! Owns the structure: known distinct validators, weights, and the links from the target to each
//! tip. Never: signatures (`claims` checks those), or records that are held already.

use crate::certificate::{Certificate, SignedRecord, Target};
use crate::header::{HEADER_VERSION, Header};
use crate::limits::CERTIFICATE_HEADERS_MAX;
use crate::types::{BlockId, Epoch, Height, Index, Point, Stake, ValidatorIndex, Window};
use crate::validators::ValidatorSet;
use alloc::collections::BTreeMap;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;

/// What a certificate proves once its signatures are good too. Never withdrawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fact {
    /// The block may be a parent.
    Certified(Point),
    /// Every index of the window at or above `from` may be bypassed.
    Skip {
        /// The window.
        window: Window,
        /// The lowest index.
        from: Index,
    },
    /// The block and all its ancestors are final.
    Final(Point),
}

/// Judges a certificate by its structure and weights.
///
/// Every record must itself stand behind the target, and every header must lie between the target
/// and a block that a record names: a certificate carries nothing idle.
///
/// # Errors
///
/// [`CertificateError`] when it does not prove its target under `set`.
pub fn judge(set: &ValidatorSet, certificate: &Certificate) -> Result<Fact, CertificateError> {
    let Certificate {
        epoch,
        window,
        target,
        ref records,
        ref headers,
    } = *certificate;
    if epoch != set.epoch() {
        return Err(CertificateError::WrongEpoch { epoch });
    }
    check_records(set, records)?;
    let quorum = set.thresholds().quorum;
    match target {
        Target::Skip { from } => {
            if from.number() >= set.slots() {
                return Err(CertificateError::IndexOutside { index: from });
            }
            if !headers.is_empty() {
                return Err(CertificateError::HeaderIdle { place: 0 });
            }
            let skips =
                |signed: &SignedRecord| signed.record.skip_from().is_some_and(|low| low <= from);
            reach(weight_of_all(set, records, skips)?, quorum)?;
            Ok(Fact::Skip { window, from })
        }
        Target::Certified { index, id } => {
            let links = Links::check(set, window, (index, id), records, headers)?;
            reach(
                weight_of_all(set, records, |signed| links.supports(signed))?,
                quorum,
            )?;
            Ok(Fact::Certified(links.target))
        }
        Target::Final { index, id } => {
            let links = Links::check(set, window, (index, id), records, headers)?;
            let first = weight_of_all(set, records, |signed| links.first_voted(signed))?;
            if first < set.thresholds().fast {
                let finals = |signed: &&SignedRecord| signed.record.fin >= Some(index);
                let slow = records
                    .iter()
                    .filter(finals)
                    .map(|r| set.stake(r.validator))
                    .sum();
                reach(slow, quorum)?;
            }
            Ok(Fact::Final(links.target))
        }
    }
}

/// Whether certificates prove, once their signatures are good too, that ParentReady of a window is
/// not empty: nothing for the first window, a block final in it or above, or what the window before
/// hands on - a certified block with the skip of all above it, or the skip of the whole,
/// which some honest validator voted for after it had entered.
#[must_use]
pub fn proves_ready(set: &ValidatorSet, window: Window, certificates: &[Certificate]) -> bool {
    let Some(before) = window.previous() else {
        return certificates.is_empty();
    };
    let last = Index::new(set.slots().saturating_sub(1));
    let mut block = None;
    let mut skip = None;
    for certificate in certificates {
        match judge(set, certificate) {
            Ok(Fact::Final(point)) if point.window >= window => return certificates.len() == 1,
            Ok(Fact::Final(point) | Fact::Certified(point)) if point.window == before => {
                block = Some(point.index);
            }
            Ok(Fact::Skip { window, from }) if window == before => skip = Some(from),
            _ => return false,
        }
    }
    match (block, skip) {
        (_, Some(from)) if from == Index::ZERO => true,
        (Some(index), _) if index == last => true,
        (Some(index), Some(from)) => from <= index.next(),
        _ => false,
    }
}

fn check_records(set: &ValidatorSet, records: &[SignedRecord]) -> Result<(), CertificateError> {
    for SignedRecord {
        validator, record, ..
    } in records
    {
        if !set.contains(*validator) {
            return Err(CertificateError::UnknownValidator {
                validator: *validator,
            });
        }
        if !record.is_consistent(set.slots()) {
            return Err(CertificateError::RecordInconsistent {
                validator: *validator,
            });
        }
    }
    // Ascending makes them distinct: nobody's weight counts twice.
    match records
        .windows(2)
        .find(|pair| pair[0].validator >= pair[1].validator)
    {
        Some(pair) => Err(CertificateError::NotAscending {
            validator: pair[1].validator,
        }),
        None => Ok(()),
    }
}

/// The weight of the records, all of which must satisfy `counts`.
fn weight_of_all(
    set: &ValidatorSet,
    records: &[SignedRecord],
    counts: impl Fn(&SignedRecord) -> bool,
) -> Result<Stake, CertificateError> {
    match records.iter().find(|signed| !counts(signed)) {
        Some(SignedRecord { validator, .. }) => Err(CertificateError::RecordIdle {
            validator: *validator,
        }),
        None => Ok(records
            .iter()
            .map(|signed| set.stake(signed.validator))
            .sum()),
    }
}

fn reach(weight: Stake, needed: Stake) -> Result<(), CertificateError> {
    if weight >= needed {
        Ok(())
    } else {
        Err(CertificateError::TooLittleWeight { weight, needed })
    }
}

/// The target and the blocks that descend from it, as the certificate's headers show.
struct Links {
    target: Point,
    descendants: BTreeMap<BlockId, Index>,
}

impl Links {
    fn check(
        set: &ValidatorSet,
        window: Window,
        target: (Index, BlockId),
        records: &[SignedRecord],
        headers: &[Header],
    ) -> Result<Self, CertificateError> {
        if headers.len() > CERTIFICATE_HEADERS_MAX {
            return Err(CertificateError::TooManyHeaders {
                count: headers.len(),
            });
        }
        let Some(first) = headers.first() else {
            return Err(CertificateError::TargetHeaderMissing);
        };
        let ids: Vec<BlockId> = headers.iter().map(Header::id).collect();
        if (first.index, ids[0]) != target {
            return Err(CertificateError::TargetHeaderMissing);
        }
        let mut places = BTreeMap::new();
        let mut parents = vec![None; headers.len()];
        for (place, header) in headers.iter().enumerate() {
            header_fits(set, header).map_err(|fault| CertificateError::Header { place, fault })?;
            if header.window != window {
                return Err(CertificateError::HeaderUnlinked { place });
            }
            if place > 0 {
                parents[place] = Some(parent_place(&places, headers, place)?);
                // One order for one set of headers, and no header twice.
                let (before, this) = (headers[place - 1].index, header.index);
                if (before, ids[place - 1]) >= (this, ids[place]) {
                    return Err(CertificateError::HeadersNotAscending { place });
                }
            }
            places.insert(ids[place], place);
        }
        check_all_used(records, headers, &places, &parents)?;
        let descendants = places
            .iter()
            .map(|(&id, &place)| (id, headers[place].index))
            .collect();
        Ok(Self {
            target: first.point(ids[0]),
            descendants,
        })
    }

    /// Whether a named block is the target or descends from it.
    fn reaches(&self, (index, id): (Index, BlockId)) -> bool {
        self.descendants.get(&id) == Some(&index)
    }

    /// Whether the first vote at the target's index is for the target.
    fn first_voted(&self, signed: &SignedRecord) -> bool {
        signed.record.tip.is_some_and(|tip| self.reaches(tip))
    }

    fn supports(&self, signed: &SignedRecord) -> bool {
        self.first_voted(signed) || signed.record.also.iter().any(|&entry| self.reaches(entry))
    }
}

fn parent_place(
    places: &BTreeMap<BlockId, usize>,
    headers: &[Header],
    place: usize,
) -> Result<usize, CertificateError> {
    let header = &headers[place];
    places
        .get(&header.parent_id)
        .copied()
        .filter(|&parent| header.follows_in_window(&headers[parent], header.parent_id))
        .ok_or(CertificateError::HeaderUnlinked { place })
}

/// Every header beyond the target's must be named by a record or lead to one that is.
fn check_all_used(
    records: &[SignedRecord],
    headers: &[Header],
    places: &BTreeMap<BlockId, usize>,
    parents: &[Option<usize>],
) -> Result<(), CertificateError> {
    let mut is_used = vec![false; headers.len()];
    for SignedRecord { record, .. } in records {
        for (_, id) in record.tip.iter().chain(&record.also) {
            if let Some(&place) = places.get(id) {
                is_used[place] = true;
            }
        }
    }
    // Parents stand before their children.
    for place in (1..headers.len()).rev() {
        if !is_used[place] {
            return Err(CertificateError::HeaderIdle { place });
        }
        if let Some(parent) = parents[place] {
            is_used[parent] = true;
        }
    }
    Ok(())
}

/// Whether a header belongs to the chain, epoch and set, in a version that is understood.
pub(crate) fn header_fits(set: &ValidatorSet, header: &Header) -> Result<(), HeaderFault> {
    if header.version != HEADER_VERSION {
        return Err(HeaderFault::Version {
            version: header.version,
        });
    }
    if header.flags != 0 {
        return Err(HeaderFault::Flags {
            flags: header.flags,
        });
    }
    if header.chain_id != *set.chain_id() {
        return Err(HeaderFault::ChainId);
    }
    if header.epoch != set.epoch() {
        return Err(HeaderFault::Epoch {
            epoch: header.epoch,
        });
    }
    if header.set_hash != *set.set_hash() {
        return Err(HeaderFault::SetHash);
    }
    if header.index.number() >= set.slots() {
        return Err(HeaderFault::Index {
            index: header.index,
        });
    }
    if header.height <= set.genesis().height {
        return Err(HeaderFault::Height {
            height: header.height,
        });
    }
    Ok(())
}

/// Why a header cannot be one of this epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderFault {
    /// A version that is not understood.
    Version {
        /// The version.
        version: u16,
    },
    /// A flag that is not defined.
    Flags {
        /// The flags.
        flags: u16,
    },
    /// Another chain.
    ChainId,
    /// Another epoch.
    Epoch {
        /// Its epoch.
        epoch: Epoch,
    },
    /// Another validator set.
    SetHash,
    /// An index at or above the window's slots.
    Index {
        /// The index.
        index: Index,
    },
    /// A height that is the genesis' alone, or below it.
    Height {
        /// The height.
        height: Height,
    },
}

impl fmt::Display for HeaderFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version { version } => write!(f, "unknown version {version}"),
            Self::Flags { flags } => write!(f, "undefined flags {flags:#06x}"),
            Self::ChainId => f.write_str("another chain"),
            Self::Epoch { epoch } => write!(f, "another epoch, {epoch:?}"),
            Self::SetHash => f.write_str("another validator set"),
            Self::Index { index } => write!(f, "{index:?} is outside the window"),
            Self::Height { height } => write!(f, "{height:?} is not above the genesis"),
        }
    }
}

impl core::error::Error for HeaderFault {}

/// Why a certificate proves nothing here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertificateError {
    /// Made by another epoch's set.
    WrongEpoch {
        /// Its epoch.
        epoch: Epoch,
    },
    /// A record of a validator that the set does not have.
    UnknownValidator {
        /// Who.
        validator: ValidatorIndex,
    },
    /// A validator stands twice or out of order.
    NotAscending {
        /// Who.
        validator: ValidatorIndex,
    },
    /// A record contradicts itself.
    RecordInconsistent {
        /// Whose.
        validator: ValidatorIndex,
    },
    /// A record that says nothing for the target.
    RecordIdle {
        /// Whose.
        validator: ValidatorIndex,
    },
    /// The records weigh too little.
    TooLittleWeight {
        /// What they weigh.
        weight: Stake,
        /// What is needed.
        needed: Stake,
    },
    /// The target lies outside a window.
    IndexOutside {
        /// Its index.
        index: Index,
    },
    /// The first header is not the target's.
    TargetHeaderMissing,
    /// More headers than a certificate may carry.
    TooManyHeaders {
        /// How many.
        count: usize,
    },
    /// A header of another chain, epoch, set or version.
    Header {
        /// Place in the list.
        place: usize,
        /// What is wrong.
        fault: HeaderFault,
    },
    /// A header that does not descend from the target inside its window.
    HeaderUnlinked {
        /// Place in the list.
        place: usize,
    },
    /// Headers not in ascending order of (index, id).
    HeadersNotAscending {
        /// Place in the list.
        place: usize,
    },
    /// A header that no record needs.
    HeaderIdle {
        /// Place in the list.
        place: usize,
    },
}

impl fmt::Display for CertificateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WrongEpoch { epoch } => write!(f, "certificate of another epoch, {epoch:?}"),
            Self::UnknownValidator { validator } => {
                write!(f, "record of {validator:?}, which the set does not have")
            }
            Self::NotAscending { validator } => {
                write!(f, "record of {validator:?} repeated or out of order")
            }
            Self::RecordInconsistent { validator } => {
                write!(f, "record of {validator:?} contradicts itself")
            }
            Self::RecordIdle { validator } => {
                write!(
                    f,
                    "record of {validator:?} does not stand behind the target"
                )
            }
            Self::TooLittleWeight { weight, needed } => {
                write!(f, "records weigh {weight:?}, {needed:?} is needed")
            }
            Self::IndexOutside { index } => write!(f, "target {index:?} is outside the window"),
            Self::TargetHeaderMissing => f.write_str("the first header is not the target's"),
            Self::TooManyHeaders { count } => {
                write!(
                    f,
                    "{count} headers, at most {CERTIFICATE_HEADERS_MAX} are possible"
                )
            }
            Self::Header { place, fault } => write!(f, "header {place}: {fault}"),
            Self::HeaderUnlinked { place } => {
                write!(f, "header {place} does not descend from the target")
            }
            Self::HeadersNotAscending { place } => {
                write!(f, "header {place} is repeated or out of order")
            }
            Self::HeaderIdle { place } => write!(f, "no record needs header {place}"),
        }
    }
}

impl core::error::Error for CertificateError {}
