//! Under which lease a run begins, and what is done where it is lost.
//!
//! Owns the reading of the lease file, and the operator's word that a disk is lost. Never: makes a
//! lease that allows anything, or lowers a limit of one.

use quorate_consensus::restart;
use quorate_log::{DataFolder, LeaseFile, LeaseRead, LogConfig};

use crate::recovery::{RecoveryConfig, RecoveryError};

pub(crate) fn read_lease(lease_file: &LeaseFile) -> Result<LeaseRead, RecoveryError> {
    lease_file.read().map_err(|source| RecoveryError::Io {
        action: "read the lease file",
        source,
    })
}

/// Says that what this key has said is not known any more: the disk that held it is gone, or the
/// one that is here is an old copy. The next starts find out by R13 from which window on the
/// validator may vote. Safe at any time; an operator's act, never a part of a start. A log that is
/// here stays, and no limit of a lease that is here falls.
///
/// # Errors
/// [`RecoveryError::OtherValidator`], or what the log or the system says.
pub fn declare_lost(
    folder: &DataFolder,
    log: &LogConfig,
    genesis: &[u8],
    boot_id: [u8; 16],
    owner: [u8; 32],
) -> Result<(), RecoveryError> {
    let mut lease_file = LeaseFile::new(folder);
    let held = match read_lease(&lease_file)? {
        LeaseRead::Present(bytes) => restart::LeaseFile::decode(&bytes),
        LeaseRead::Missing | LeaseRead::Damaged(_) => None,
    };
    let mut content = held.unwrap_or_else(|| lost(boot_id, owner));
    refuse_other(&content, owner)?;
    content.lease.is_lost = true;
    drop(quorate_log::open(folder, log, genesis)?);
    lease_file.replace(&content.encode())?;
    Ok(())
}

/// The lease of a validator of whose lease nothing is known.
fn lost(boot_id: [u8; 16], owner: [u8; 32]) -> restart::LeaseFile {
    let mut content = restart::LeaseFile {
        boot_id,
        owner,
        ..restart::LeaseFile::default()
    };
    content.lease.is_lost = true;
    content
}

/// Nobody else may act under the lease of the validator with the key `own`.
fn refuse_other(content: &restart::LeaseFile, own: [u8; 32]) -> Result<(), RecoveryError> {
    let owner = content.owner;
    if owner == own {
        Ok(())
    } else {
        Err(RecoveryError::OtherValidator { owner, own })
    }
}

/// The lease to start under. None was ever written here, or it cannot be read: then the log alone
/// is left, if it is, and R13 finds what the lease was.
pub(crate) fn own_lease(
    folder: &DataFolder,
    lease_file: &LeaseFile,
    config: &RecoveryConfig<'_>,
) -> Result<restart::LeaseFile, RecoveryError> {
    let (held, refusal) = match read_lease(lease_file)? {
        LeaseRead::Missing => (None, RecoveryError::LeaseMissing),
        LeaseRead::Damaged(damage) => (None, RecoveryError::LeaseDamaged(Some(damage))),
        LeaseRead::Present(bytes) => (
            restart::LeaseFile::decode(&bytes),
            RecoveryError::LeaseDamaged(None),
        ),
    };
    if let Some(content) = held {
        refuse_other(&content, config.own)?;
        return Ok(content);
    }
    let has_log = folder.has_log().map_err(|source| RecoveryError::Io {
        action: "list the folder",
        source,
    })?;
    if has_log {
        Ok(lost(config.boot_id, config.own))
    } else {
        Err(refusal)
    }
}
