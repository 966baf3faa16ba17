//! The file that a vote state travels in.
//!
//! Owns its fields, and the check over all of them by which a file that rotted or was edited on the
//! way is told from what was written. Never: what the fields say of a folder.

use serde::{Deserialize, Serialize};

use crate::genesis::Hex32;

/// Version of the file that is written and read.
pub const VOTE_STATE_FORMAT: u32 = 3;
/// Longest such file, bytes.
pub const VOTE_STATE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// What the check is derived for.
const CHECK_CONTEXT: &str = "quorate vote state v3";

/// All that a validator must not forget when it moves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VoteState {
    /// [`VOTE_STATE_FORMAT`].
    pub format: u32,
    /// Hash of the genesis file's bytes: the chain.
    pub genesis_hash: Hex32,
    /// The validator's public key.
    pub validator: Hex32,
    /// Number of its last start.
    pub incarnation: u64,
    /// Records and proposals may have been made up to this window.
    pub lease: Option<u64>,
    /// No record may be made up to this window.
    pub abstain_until: Option<u64>,
    /// No proposal may be made up to this window.
    pub no_proposals_until: Option<u64>,
    /// What was said is not known (R13).
    pub is_lost: bool,
    /// No finality proof that was flushed is of a later window; none was when absent.
    pub proofs_until: Option<u64>,
    /// From this window on `records` holds all that was said; nothing may be said below it.
    pub complete_from: u64,
    /// The newest record of each such window.
    pub records: Vec<SaidRecord>,
    /// BLAKE3 over all other fields. A file of format 1 has none.
    #[serde(default = "no_check")]
    pub check: Hex32,
}

/// What was said about one window.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SaidRecord {
    /// The window.
    pub window: u64,
    /// Canonical bytes of the record (docs/wire.md), as hex digits.
    pub record: String,
}

const fn no_check() -> Hex32 {
    Hex32([0; 32])
}

impl VoteState {
    /// With the check of what its other fields hold now.
    #[must_use]
    pub fn sealed(self) -> Self {
        let check = self.check_now();
        Self { check, ..self }
    }

    /// The check of its other fields: each with a fixed width or its length before it, so that no
    /// two states have the same bytes.
    pub(super) fn check_now(&self) -> Hex32 {
        let mut hasher = blake3::Hasher::new_derive_key(CHECK_CONTEXT);
        let mut number = |number: u64| {
            hasher.update(&number.to_le_bytes());
        };
        number(self.format.into());
        number(self.incarnation);
        let limits = [self.lease, self.abstain_until, self.no_proposals_until];
        for window in limits.into_iter().chain([self.proofs_until]) {
            number(window.is_some().into());
            number(window.unwrap_or_default());
        }
        number(self.is_lost.into());
        number(self.complete_from);
        number(self.records.len() as u64);
        hasher.update(&self.genesis_hash.0);
        hasher.update(&self.validator.0);
        for said in &self.records {
            hasher.update(&said.window.to_le_bytes());
            hasher.update(&(said.record.len() as u64).to_le_bytes());
            hasher.update(said.record.as_bytes());
        }
        Hex32(*hasher.finalize().as_bytes())
    }
}
