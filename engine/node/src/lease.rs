//! Under which lease a run begins, and what is done where it is lost.
//!
//! Owns the reading of the lease file, the operator's word that a disk is lost, and the suspicion
//! that a log holds less than what was said: everybody who opens the log of a validator does it
//! here. Never: makes a lease that allows anything, or lowers a limit of one.

use quorate_consensus::restart::{self, StartFacts};
use quorate_consensus::types::Window;
use quorate_log::{
    CleanStopRead, DataFolder, LeaseFile, LeaseRead, LogConfig, OpenError, Opened, Recovery,
    open_noting,
};

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
    drop(open_log(
        folder,
        &mut lease_file,
        &mut content,
        log,
        genesis,
    )?);
    content.lease.is_lost = true;
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

/// Whether what a log holds is possibly less than what was said: it is new under a lease that is
/// not, nothing tells its end from an older one, or votes may be among what is faulty in it.
const fn may_lack_words(found: &Recovery) -> bool {
    found.is_new || !found.has_watermark || found.is_unvouched
}

/// Opens the log under `content`, and makes that suspect when the log is. What opening finds out
/// but once is in the lease file before opening hides it, so that no crash on the way to [`plan`]
/// forgets it; what is marked faulty is found again until something is appended.
///
/// # Errors
/// What the log or the system says; the lease file then says the same as before, or more.
pub(crate) fn open_log(
    folder: &DataFolder,
    lease_file: &mut LeaseFile,
    content: &mut restart::LeaseFile,
    log: &LogConfig,
    genesis: &[u8],
) -> Result<Opened, RecoveryError> {
    let log = LogConfig {
        // After a failed sync the log is read from the disk, not from what memory shows of it.
        distrusts_cache: content.suspect,
        ..log.clone()
    };
    // Not before the log is accepted: a start that is refused changes no limit.
    let mut note = || {
        // Without a lease file everything is lost until there is one, which says more.
        if !content.suspect && matches!(read_lease(lease_file)?, LeaseRead::Present(_)) {
            content.suspect = true;
            lease_file.replace(&content.encode())?;
        }
        Ok(())
    };
    match open_noting(folder, &log, genesis, &mut note) {
        Ok(opened) => {
            content.suspect |= may_lack_words(&opened.recovery);
            Ok(opened)
        }
        Err(RecoveryError::Log(source @ OpenError::SyncFailed { .. })) => {
            Err(RecoveryError::NotSynced {
                is_noted: note_failed_sync(lease_file, content),
                source,
            })
        }
        Err(error) => Err(error),
    }
}

/// R12: leaves a note that a sync has failed, and says whether the next start will find it. Where
/// the lease is lost that is noted already, and says more.
pub(crate) fn note_failed_sync(
    lease_file: &mut LeaseFile,
    content: &mut restart::LeaseFile,
) -> bool {
    match read_lease(lease_file) {
        Err(_) => false,
        Ok(LeaseRead::Present(_)) => {
            content.suspect = true;
            lease_file.replace(&content.encode()).is_ok()
        }
        Ok(LeaseRead::Missing | LeaseRead::Damaged(_)) => true,
    }
}

/// R11: a record stands in the log only when its window was leased before, durably. One above the
/// lease shows that the lease file is an older one, put back or brought from elsewhere: the limits
/// that it has lost are not known, as where there is no lease file (R13).
fn lose_older_lease(content: &mut restart::LeaseFile, said_in: Option<Window>) {
    if !content.lease.is_lost && said_in > content.lease.lease {
        let number = |window: Option<Window>| window.map(Window::number);
        tracing::error!(
            lease = ?number(content.lease.lease),
            said_in = ?number(said_in),
            "the lease file is older than the log beside it"
        );
        content.lease.is_lost = true;
    }
}

/// What a start from this folder has to hold to (R12), of a lease, the log opened under it and the
/// highest window of an own record in that.
pub(crate) fn plan(
    mut content: restart::LeaseFile,
    found: &Recovery,
    said_in: Option<Window>,
    config: &RecoveryConfig<'_>,
) -> restart::LeaseFile {
    lose_older_lease(&mut content, said_in);
    let facts = StartFacts {
        durability: config.durability,
        boot_id: config.boot_id,
        clean_stop: found.clean_stop == CleanStopRead::Matches,
        incarnation_min: config.incarnation_min,
    };
    restart::plan(content, &facts)
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
