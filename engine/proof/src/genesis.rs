//! The validator set of a genesis file, for whoever runs no validator.
//!
//! Owns the hash of the file's exact bytes, and the fields of it that make the set of the first
//! epoch. Never: I/O, or a judgement of the other fields, which say nothing about proofs; a
//! validator (`quorate::genesis`) refuses more than this does.

use quorate_consensus::types::{Epoch, Height, Stake};
use quorate_consensus::validators::{SetError, SetParameters, Validator, ValidatorSet};
use serde::Deserialize;

/// Format version of the genesis files that are read.
pub const GENESIS_FORMAT: u32 = 1;

const HASH_DOMAIN: &[u8] = b"quorate/genesis/v1";

/// The hash of a genesis file's exact bytes.
#[must_use]
pub fn hash_of(bytes: &[u8]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(HASH_DOMAIN);
    hasher.update(bytes);
    *hasher.finalize().as_bytes()
}

/// Why bytes give no validator set.
#[derive(Debug, thiserror::Error)]
pub enum GenesisError {
    /// They are not JSON, or a field that is needed is missing or of another kind.
    #[error("not a genesis file: {0}")]
    Json(#[from] serde_json::Error),
    /// They are of another format.
    #[error("a genesis file of format {0}; {GENESIS_FORMAT} is read")]
    Format(u32),
    /// They do not begin the first epoch.
    #[error("a genesis begins epoch 0, not {0}")]
    Epoch(u64),
    /// This is no name of a chain or key: 64 lower-case hex digits.
    #[error("{0:?} is not 64 lower-case hex digits")]
    Hex(String),
    /// Their validators and weights make no set.
    #[error("its validators make no set: {0}")]
    Set(#[from] SetError),
}

/// The format alone, before anything else is read: another version may have other fields.
#[derive(Deserialize)]
struct Format {
    format: u32,
}

#[derive(Deserialize)]
struct File {
    chain_id: String,
    epoch: u64,
    genesis_time_ns: u64,
    begins: Option<Begins>,
    fault_weight: u64,
    fast_slack: u64,
    crash_only: bool,
    window_slots: u32,
    turn_windows: u32,
    validators: Vec<Member>,
}

#[derive(Deserialize)]
struct Begins {
    height: u64,
}

#[derive(Deserialize)]
struct Member {
    key: String,
    stake: u64,
    leader_weight: Option<u64>,
}

/// The validator set of the first epoch, from the exact bytes of the genesis file, which have to
/// come from where they can be trusted: a proof proves what this set has signed.
///
/// # Errors
/// The bytes are no such file, or its validators make no set.
pub fn validator_set(bytes: &[u8]) -> Result<ValidatorSet, GenesisError> {
    let Format { format } = serde_json::from_slice(bytes)?;
    if format != GENESIS_FORMAT {
        return Err(GenesisError::Format(format));
    }
    let file: File = serde_json::from_slice(bytes)?;
    if file.epoch != 0 {
        return Err(GenesisError::Epoch(file.epoch));
    }
    let parameters = SetParameters {
        chain_id: hex_32(&file.chain_id)?,
        genesis_hash: hash_of(bytes),
        epoch: Epoch::new(file.epoch),
        fault: Stake::new(file.fault_weight),
        slack: Stake::new(file.fast_slack),
        window_slots: file.window_slots,
        turn_windows: file.turn_windows,
        crash_only: file.crash_only,
        genesis_time_ns: file.genesis_time_ns,
    };
    let member = |member: &Member| {
        Ok(Validator {
            key: hex_32(&member.key)?,
            stake: Stake::new(member.stake),
            leader_weight: member.leader_weight.unwrap_or(member.stake),
        })
    };
    let validators: Result<Vec<Validator>, GenesisError> =
        file.validators.iter().map(member).collect();
    let height = file.begins.map_or(0, |begins| begins.height);
    let set = ValidatorSet::new(parameters, validators?)?;
    Ok(set.with_genesis_height(Height::new(height)))
}

fn hex_32(text: &str) -> Result<[u8; 32], GenesisError> {
    let digit = |character: u8| match character {
        b'0'..=b'9' => Some(character - b'0'),
        b'a'..=b'f' => Some(character - b'a' + 10),
        _ => None,
    };
    let fault = || GenesisError::Hex(text.to_owned());
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let mut bytes = [0; 32];
    if pairs.len() != bytes.len() || !rest.is_empty() {
        return Err(fault());
    }
    for (byte, &[high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = digit(high).ok_or_else(fault)? << 4 | digit(low).ok_or_else(fault)?;
    }
    Ok(bytes)
}
