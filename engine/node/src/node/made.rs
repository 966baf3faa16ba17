//! A data folder made ready for a key that has never signed.
//!
//! Owns the making, and the judgement that a folder holds nothing but what an earlier making for
//! another genesis has written: then it is made anew. Never: takes away anything of a folder that
//! a node was started from.

use super::StartError;
use super::first::{bring_first, recovery_error, verify_first};
use super::start::{boot_id, log_config, log_path, open_folder};
use crate::config::NodeConfig;
use crate::recovery;
use quorate_consensus::restart;
use quorate_log::{DataFolder, LeaseFile, LeaseRead, genesis_hash};
use std::path::Path;

/// Where a log that nobody used stands while it is removed, beside its place.
const UNUSED: &str = "log-unused";

/// Makes a data folder ready for a key that has never signed. An operator's act and never a part
/// of a start: a folder that was lost must not be mistaken for one that never was. One that was
/// made for another genesis and that no node was started from ([`is_unused`]) is made anew.
///
/// # Errors
/// The folder has been used before, is in use, or cannot be written.
pub fn initialize(config: &NodeConfig) -> Result<(), StartError> {
    bring_first(config)?;
    verify_first(config)?;
    let path = log_path(&config.data);
    let mut folder = open_folder(&path)?;
    if holds_nothing(config, &folder) {
        drop(folder);
        remove(config, &path)?;
        folder = open_folder(&path)?;
    }
    let log = log_config(config)?;
    let (genesis, owner) = (config.genesis.bytes(), config.key.public());
    recovery::initialize(&folder, &log, genesis, boot_id()?, owner)
        .map_err(|source| recovery_error(config, path, source))
}

/// Whether the data folder holds nothing but what [`initialize`] wrote for another genesis: record
/// 0, and a lease of this key under which nothing was ever started. Changes nothing.
///
/// # Errors
/// The folder is not there, in use, or cannot be read.
pub fn is_unused(config: &NodeConfig) -> Result<bool, StartError> {
    let folder = DataFolder::open_to_read(&log_path(&config.data))?;
    Ok(holds_nothing(config, &folder))
}

/// What cannot be read is not known to be nothing.
fn holds_nothing(config: &NodeConfig, folder: &DataFolder) -> bool {
    let Ok(LeaseRead::Present(bytes)) = LeaseFile::new(folder).read() else {
        return false;
    };
    let Some(held) = restart::LeaseFile::decode(&bytes) else {
        return false;
    };
    // Each start writes a lease with its own number before anything is said.
    let made = restart::LeaseFile {
        boot_id: held.boot_id,
        owner: config.key.public(),
        ..restart::LeaseFile::default()
    };
    let Ok(found) = quorate_log::verify(folder) else {
        return false;
    };
    held == made
        && found.genesis_hash != genesis_hash(config.genesis.bytes())
        && (found.record_count, found.end.index.count()) == (1, 1)
        && found.faults.is_empty()
        && found.marked.is_empty()
        && found.torn.is_empty()
}

/// Out of its place in one step, so that a crash leaves it whole or gone.
fn remove(config: &NodeConfig, path: &Path) -> Result<(), StartError> {
    let unused = config.data.join(UNUSED);
    if unused.symlink_metadata().is_ok() {
        std::fs::remove_dir_all(&unused)?;
    }
    std::fs::rename(path, &unused)?;
    std::fs::remove_dir_all(&unused)?;
    Ok(())
}
