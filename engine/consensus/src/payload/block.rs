//! Structural validity of a block: from header, payload and epoch configuration alone (R3).

use super::{ParseBuffer, PayloadError, PayloadView};
use crate::header::Header;
use crate::validators::ValidatorSet;
use crate::verify::{HeaderFault, header_fits};
use core::fmt;

/// Checks a block. Its parent, its time and its leader are for whoever knows the chain.
///
/// # Errors
///
/// [`BlockError`] when the block is invalid under `set`, or `payload` is not the one its header
/// names: [`BlockError::condemns_block`] tells which.
pub fn check_block(set: &ValidatorSet, header: &Header, payload: &[u8]) -> Result<(), BlockError> {
    check_block_in(set, header, payload, &mut ParseBuffer::default())
}

/// As [`check_block`], in memory that is used again.
///
/// # Errors
///
/// As [`check_block`].
pub fn check_block_in(
    set: &ValidatorSet,
    header: &Header,
    payload: &[u8],
    buffer: &mut ParseBuffer,
) -> Result<(), BlockError> {
    header_fits(set, header).map_err(BlockError::Header)?;
    if header.payload_bytes as usize != payload.len() {
        return Err(BlockError::PayloadBytes {
            header: header.payload_bytes as usize,
            payload: payload.len(),
        });
    }
    if header.payload_hash != *blake3::hash(payload).as_bytes() {
        return Err(BlockError::PayloadHash);
    }
    check_contents(set, payload, buffer)
}

/// As [`check_block_in`], of a header that was made from this very payload just now: what it says
/// of the payload is so, and a leader does not hash each of its payloads twice.
pub(crate) fn check_made_block(
    set: &ValidatorSet,
    header: &Header,
    payload: &[u8],
    buffer: &mut ParseBuffer,
) -> Result<(), BlockError> {
    header_fits(set, header).map_err(BlockError::Header)?;
    check_contents(set, payload, buffer)
}

fn check_contents(
    set: &ValidatorSet,
    payload: &[u8],
    buffer: &mut ParseBuffer,
) -> Result<(), BlockError> {
    PayloadView::parse_in(payload, buffer)
        .and_then(|view| view.check_rules(set.block_rules()))
        .map_err(BlockError::Payload)
}

/// Why a block is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockError {
    /// The header is none of this epoch.
    Header(HeaderFault),
    /// The header names another length.
    PayloadBytes {
        /// Length that the header names.
        header: usize,
        /// Length of the payload.
        payload: usize,
    },
    /// The header names another payload.
    PayloadHash,
    /// The payload breaks a structural rule.
    Payload(PayloadError),
}

impl BlockError {
    /// Whether the block itself is invalid, for every validator alike. Otherwise only the bytes
    /// that came with its header are not its payload, and others may hold the right ones.
    #[must_use]
    pub const fn condemns_block(&self) -> bool {
        match self {
            Self::Header(_) | Self::Payload(_) => true,
            Self::PayloadBytes { .. } | Self::PayloadHash => false,
        }
    }
}

impl fmt::Display for BlockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header(fault) => write!(f, "header: {fault}"),
            Self::PayloadBytes { header, payload } => {
                write!(
                    f,
                    "payload of {payload} bytes where the header names {header}"
                )
            }
            Self::PayloadHash => f.write_str("payload with another hash than the header names"),
            Self::Payload(error) => write!(f, "payload: {error}"),
        }
    }
}

impl core::error::Error for BlockError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Header(fault) => Some(fault),
            Self::Payload(error) => Some(error),
            Self::PayloadBytes { .. } | Self::PayloadHash => None,
        }
    }
}
