//! The state that a chain begins with, for a node: where it is kept and taken from.
//!
//! Owns the words for a folder that is not of this chain. Never: reads a block.

use super::StartError;
use crate::begins::{self, BeginsError, FirstState, begins_path};
use crate::config::NodeConfig;
use crate::recovery::RecoveryError;
use quorate_log::OpenError;
use std::path::PathBuf;

/// The state that the chain begins with, if it goes on from another one.
pub(super) fn first_state(config: &NodeConfig) -> Option<FirstState> {
    FirstState::of(&config.genesis, begins_path(&config.data))
}

/// Takes that state from beside the genesis when the data folder lacks it.
pub(super) fn bring_first(config: &NodeConfig) -> Result<(), StartError> {
    if config.genesis.file().begins.is_none() {
        return Ok(());
    }
    crate::keys::create_private_folder(&config.data)?;
    begins::bring(&config.genesis, config.begins.as_deref(), &config.data)
        .map_err(|source| begins_error(config, source))
}

/// Refuses where that state is not in the data folder, whole and the right one.
pub(super) fn verify_first(config: &NodeConfig) -> Result<(), StartError> {
    let verified = first_state(config).map_or(Ok(()), |first| first.verify().map(drop));
    verified.map_err(|source| begins_error(config, source))
}

fn begins_error(config: &NodeConfig, source: BeginsError) -> StartError {
    StartError::Begins {
        folder: config.data.clone(),
        source: Box::new(source),
    }
}

/// Why a folder is not one to start from; that of the chain before, most likely, where another one
/// goes on from it.
pub(super) fn recovery_error(
    config: &NodeConfig,
    folder: PathBuf,
    source: RecoveryError,
) -> StartError {
    match (source, config.genesis.file().begins) {
        (RecoveryError::Log(source @ OpenError::Genesis { .. }), Some(begins)) => {
            StartError::OldFolder {
                folder,
                of: begins.of.0,
                height: begins.height,
                source: Box::new(source),
            }
        }
        (RecoveryError::Sections(source), _) => StartError::Sections(source),
        (source, _) => StartError::Recovery { folder, source },
    }
}
