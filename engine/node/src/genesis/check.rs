//! Every check of a genesis file, with the field and the remedy of each.

use super::{
    CLIENT_ADDRESSES_MAX, ChainLimits, GENESIS_FORMAT, GenesisFile, GenesisValidator, LanePercent,
    SESSIONS_MAX,
};
use crate::file_error::FileError;
use crate::hex;
use quorate_consensus::limits::{
    ALSO_ENTRIES_MAX, BLOCK_COMMANDS_MAX, COMMAND_BYTES_MAX, PAYLOAD_BYTES_MAX, TURN_WINDOWS_MAX,
    VALIDATORS_MAX, WINDOW_SLOTS_MAX,
};
use quorate_consensus::thresholds::ThresholdError;
use quorate_consensus::types::{Epoch, Height, Stake, ValidatorIndex};
use quorate_consensus::validators::{SetError, SetParameters, Validator, ValidatorSet};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;

/// Smallest `payload_bytes_max`: a block must hold at least one small command.
const PAYLOAD_BYTES_MIN: u32 = 1024;
/// Bytes of a payload besides the body of its only command, at most.
const ENTRY_OVERHEAD_BYTES: u32 = 256;

/// The format alone, before anything else is read: another version may have other fields.
pub(super) fn format(bytes: &[u8], path: &Path) -> Result<(), FileError> {
    #[derive(Deserialize)]
    struct Format {
        format: u32,
    }
    let Format { format } = serde_json::from_slice(bytes).map_err(|error| {
        let error = FileError::json(path, bytes, &error);
        let problem = format!("no genesis file: {}", error.problem).into_boxed_str();
        FileError { problem, ..error }
    })?;
    if format == GENESIS_FORMAT {
        return Ok(());
    }
    Err(
        FileError::new(path, "format", "this build does not know the format")
            .value(format)
            .remedy(format!(
                "it reads format {GENESIS_FORMAT}; use the build that made the file"
            )),
    )
}

/// Everything but the format; gives the validator set.
pub(super) fn all(
    file: &GenesisFile,
    hash: [u8; 32],
    path: &Path,
) -> Result<ValidatorSet, FileError> {
    if file.epoch != 0 {
        return Err(FileError::new(path, "epoch", "a genesis begins epoch 0")
            .value(file.epoch)
            .remedy("write 0"));
    }
    if let Some(begins) = &file.begins {
        begins.check(path)?;
    }
    limits(&file.limits, path)?;
    lane_percent(&file.limits.lane_percent, path)?;
    application(&file.application.name, path)?;
    for (place, validator) in file.validators.iter().enumerate() {
        addresses(place, validator, path)?;
    }
    distinct(&file.validators, path)?;
    let parameters = SetParameters {
        chain_id: file.chain_id.0,
        genesis_hash: hash,
        epoch: Epoch::new(file.epoch),
        fault: Stake::new(file.fault_weight),
        slack: Stake::new(file.fast_slack),
        window_slots: file.window_slots,
        turn_windows: file.turn_windows,
        crash_only: file.crash_only,
        genesis_time_ns: file.genesis_time_ns,
    };
    let validators = file
        .validators
        .iter()
        .map(|v| Validator {
            key: v.key.0,
            stake: Stake::new(v.stake),
            leader_weight: v.leader_weight.unwrap_or(v.stake),
        })
        .collect();
    ValidatorSet::new(parameters, validators)
        .map(|set| {
            let height = file.begins.map_or(0, |begins| begins.height);
            set.with_block_rules(file.limits.block_rules())
                .with_genesis_height(Height::new(height))
        })
        .map_err(|error| set_error(&error, file, path))
}

fn lane_percent(percent: &LanePercent, path: &Path) -> Result<(), FileError> {
    let lanes = [
        ("cancel", percent.cancel, 100),
        ("order", percent.order, 1),
        ("price", percent.price, 1),
        ("admin", percent.admin, 1),
    ];
    for (name, value, least) in lanes {
        if !(least..=100).contains(&value) {
            let field = format!("limits.lane_percent.{name}");
            let remedy = if least == 100 {
                "write 100: nothing may hold cancels back".to_owned()
            } else {
                format!("choose {least} to 100")
            };
            return Err(FileError::new(path, field, "out of range")
                .value(value)
                .remedy(remedy));
        }
    }
    Ok(())
}

fn limits(limits: &ChainLimits, path: &Path) -> Result<(), FileError> {
    let fields = [
        (
            "command_bytes_max",
            limits.command_bytes_max,
            1,
            COMMAND_BYTES_MAX,
        ),
        (
            "payload_bytes_max",
            limits.payload_bytes_max,
            PAYLOAD_BYTES_MIN,
            PAYLOAD_BYTES_MAX,
        ),
        (
            "block_commands_max",
            limits.block_commands_max,
            1,
            BLOCK_COMMANDS_MAX,
        ),
        (
            "sessions_max",
            limits.sessions_max,
            1,
            SESSIONS_MAX as usize,
        ),
    ];
    for (name, value, least, most) in fields {
        if value < least || value as usize > most {
            return Err(
                FileError::new(path, format!("limits.{name}"), "out of range")
                    .value(value)
                    .remedy(format!("choose {least} to {most}")),
            );
        }
    }
    if limits
        .command_bytes_max
        .saturating_add(ENTRY_OVERHEAD_BYTES)
        > limits.payload_bytes_max
    {
        let most = limits.payload_bytes_max - ENTRY_OVERHEAD_BYTES;
        return Err(FileError::new(
            path,
            "limits.command_bytes_max",
            "the longest command does not fit the longest payload",
        )
        .value(limits.command_bytes_max)
        .remedy(format!(
            "choose at most {most}, or raise limits.payload_bytes_max"
        )));
    }
    Ok(())
}

fn application(name: &str, path: &Path) -> Result<(), FileError> {
    let allowed = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-' || c == b'_';
    if (1..=64).contains(&name.len()) && name.bytes().all(allowed) {
        return Ok(());
    }
    Err(FileError::new(path, "application.name", "not a name")
        .value(name)
        .remedy("use 1 to 64 characters of a-z, 0-9, - and _"))
}

fn addresses(place: usize, validator: &GenesisValidator, path: &Path) -> Result<(), FileError> {
    let peer_field = format!("validators[{place}].peer_address");
    address(&validator.peer_address, &peer_field, path)?;
    if validator.client_addresses.len() > CLIENT_ADDRESSES_MAX {
        let field = format!("validators[{place}].client_addresses");
        return Err(FileError::new(path, field, "too many addresses")
            .value(validator.client_addresses.len())
            .remedy(format!("give at most {CLIENT_ADDRESSES_MAX}")));
    }
    for (number, text) in validator.client_addresses.iter().enumerate() {
        let field = format!("validators[{place}].client_addresses[{number}]");
        address(text, &field, path)?;
    }
    Ok(())
}

/// Nobody is at another one's address: one of the two could not even start, and everybody else
/// would take the other one for it.
fn distinct(validators: &[GenesisValidator], path: &Path) -> Result<(), FileError> {
    let mut taken: BTreeMap<&str, String> = BTreeMap::new();
    for (place, validator) in validators.iter().enumerate() {
        let peer = (&validator.peer_address, "peer_address".to_owned());
        let clients = validator.client_addresses.iter().enumerate();
        let clients = clients.map(|(at, text)| (text, format!("client_addresses[{at}]")));
        for (text, name) in std::iter::once(peer).chain(clients) {
            let field = format!("validators[{place}].{name}");
            if let Some(before) = taken.insert(text, field.clone()) {
                return Err(FileError::new(path, field, "an address twice")
                    .value(text)
                    .remedy(format!("it is {before} too: give each its own")));
            }
        }
    }
    Ok(())
}

/// Checks that `text` is `host:port`; names are resolved when they are dialed, not here.
pub(crate) fn address(text: &str, field: &str, path: &Path) -> Result<(), FileError> {
    let good = text.rsplit_once(':').is_some_and(|(host, port)| {
        let bracketed = host.starts_with('[') && host.ends_with(']');
        let host_good = !host.is_empty()
            && host.len() <= 255
            && (bracketed || !host.contains(':'))
            && !host.contains(|c: char| c.is_whitespace() || c.is_control());
        host_good && port.parse::<u16>().is_ok_and(|port| port > 0)
    });
    if good {
        return Ok(());
    }
    Err(FileError::new(path, field, "not an address")
        .value(text)
        .remedy("write host:port, such as 10.0.0.7:7000 or [::1]:7000"))
}

/// The consensus' word on the set, as a field of this file.
fn set_error(error: &SetError, file: &GenesisFile, path: &Path) -> FileError {
    let member = |validator: ValidatorIndex, field: &str| {
        format!("validators[{}].{field}", validator.number())
    };
    let key_value = |key: &[u8; 32]| hex::encode(key);
    match error {
        SetError::Count { count } => {
            FileError::new(path, "validators", format!("{count} validators are given"))
                .remedy(format!("list 1 to {VALIDATORS_MAX}"))
        }
        SetError::StakeZero { validator } => FileError::new(
            path,
            member(*validator, "stake"),
            "a validator without weight",
        )
        .value(0)
        .remedy("give it at least 1, or remove the validator"),
        SetError::TotalTooLarge { total } => {
            FileError::new(path, "validators", "the stakes sum to 2^62 or more")
                .value(total)
                .remedy("divide all stakes by a common factor")
        }
        SetError::KeyRepeated {
            first,
            validator,
            key,
        } => FileError::new(
            path,
            member(*validator, "key"),
            format!("the same key as validators[{}]", first.number()),
        )
        .public_value(key_value(key))
        .remedy("give every validator its own key"),
        SetError::KeyInvalid { validator, key }
        | SetError::KeyNotCanonical { validator, key }
        | SetError::KeySmallOrder { validator, key }
        | SetError::KeyTorsion { validator, key } => FileError::new(
            path,
            member(*validator, "key"),
            "a weak key, or none at all",
        )
        .public_value(key_value(key))
        .remedy("make a key with `quorate keygen` and write its public half here"),
        SetError::FaultZero => {
            FileError::new(path, "fault_weight", "0 survives no Byzantine validator")
                .value(0)
                .remedy("raise it, or set crash_only to true if only crashes are to be survived")
        }
        SetError::Thresholds(error) => thresholds(error, file, path),
        SetError::BranchesMany { branches } => branches_many(*branches, file, path),
        SetError::Schedule(error) => {
            FileError::new(path, "validators", format!("leader_weight: {error}"))
                .remedy("give at least one validator a leader_weight above 0")
        }
        SetError::SeatedTooLittle { seated, needed } => FileError::new(
            path,
            "validators",
            format!("the validators that lead have stake {seated:?}, needed is {needed:?}"),
        )
        .remedy("give more validators a leader_weight above 0, of which each comes to a turn"),
        SetError::WindowSlots { window_slots } => {
            out_of_range(path, "window_slots", *window_slots, WINDOW_SLOTS_MAX)
        }
        SetError::TurnWindows { turn_windows } => {
            out_of_range(path, "turn_windows", *turn_windows, TURN_WINDOWS_MAX)
        }
    }
}

fn branches_many(branches: u64, file: &GenesisFile, path: &Path) -> FileError {
    FileError::new(
        path,
        "fault_weight",
        format!("stake over fault_weight + 1 is {branches}, more branches than a vote can name"),
    )
    .value(file.fault_weight)
    .remedy(format!(
        "raise it, or list at most {ALSO_ENTRIES_MAX} validators"
    ))
}

fn out_of_range(path: &Path, field: &str, value: u32, most: u32) -> FileError {
    FileError::new(path, field, "out of range")
        .value(value)
        .remedy(format!("choose 1 to {most}"))
}

fn thresholds(error: &ThresholdError, file: &GenesisFile, path: &Path) -> FileError {
    match error {
        ThresholdError::TotalTooLarge { total } => {
            FileError::new(path, "validators", "the stakes sum to 2^62 or more")
                .value(total.amount())
                .remedy("divide all stakes by a common factor")
        }
        ThresholdError::TotalTooSmall { total, needed, .. } => {
            let total = total.amount();
            let fault_max = total.saturating_sub(1) / 3;
            FileError::new(
                path,
                "fault_weight",
                format!(
                    "the total stake N = {total} is below 3F + 2P + 1 = {needed} \
                     (F = fault_weight, P = fast_slack = {})",
                    file.fast_slack
                ),
            )
            .value(file.fault_weight)
            .remedy(format!(
                "lower fault_weight (at most {fault_max}) or fast_slack, or add validators"
            ))
        }
    }
}

/// What an operator should know about a set, one line each.
pub(super) fn summary(set: &ValidatorSet) -> Vec<String> {
    let t = set.thresholds();
    let mut lines = vec![format!(
        "N={:?} F={:?} P={:?} C={:?} Q={:?} FAST={:?}",
        t.total, t.fault, t.slack, t.crash, t.quorum, t.fast
    )];
    let names = |list: Vec<ValidatorIndex>| {
        if list.is_empty() {
            return "none".to_owned();
        }
        list.iter()
            .map(|v| v.number().to_string())
            .collect::<Vec<_>>()
            .join(", ")
    };
    lines.push(format!(
        "validators whose loss stops the fast path: {}; all progress: {}",
        names(set.who_stops_fast()),
        names(set.who_stops_all())
    ));
    lines.extend(
        set.warnings()
            .iter()
            .map(|warning| format!("warning: {warning}")),
    );
    lines
}
