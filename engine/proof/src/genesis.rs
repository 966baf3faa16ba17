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

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_consensus::signing::ValidatorKey;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// No two fields have one value, so that none passes for another.
    #[test]
    fn each_field_of_the_file_is_in_its_place_in_the_set() {
        let keys = (1..=12).map(|seed| ValidatorKey::from_seed(&[seed; 32]).public());
        let member = |(key, place): ([u8; 32], u64)| Validator {
            key,
            stake: Stake::new(10 + place),
            leader_weight: 30 + place,
        };
        let validators: Vec<Validator> = keys.zip(0..).map(member).collect();
        let members: Vec<_> = validators
            .iter()
            .map(|one| {
                serde_json::json!({
                    "key": hex(&one.key),
                    "stake": one.stake.amount(),
                    "leader_weight": one.leader_weight,
                })
            })
            .collect();
        let bytes = serde_json::json!({
            "format": 1, "chain_id": hex(&[8; 32]), "epoch": 0, "genesis_time_ns": 1_000,
            "begins": { "height": 77 }, "fault_weight": 3, "fast_slack": 5,
            "crash_only": false, "window_slots": 16, "turn_windows": 2, "validators": members,
        });
        let bytes = bytes.to_string().into_bytes();
        let parameters = SetParameters {
            chain_id: [8; 32],
            genesis_hash: hash_of(&bytes),
            epoch: Epoch::ZERO,
            fault: Stake::new(3),
            slack: Stake::new(5),
            window_slots: 16,
            turn_windows: 2,
            crash_only: false,
            genesis_time_ns: 1_000,
        };
        let whole = ValidatorSet::new(parameters, validators).expect("admissible");
        let whole = whole.with_genesis_height(Height::new(77));
        let light = validator_set(&bytes).expect("a genesis file");
        assert_eq!(light.set_hash(), whole.set_hash());
        assert_eq!(light.thresholds(), whole.thresholds());
        assert_eq!(light.genesis(), whole.genesis());
    }
}
