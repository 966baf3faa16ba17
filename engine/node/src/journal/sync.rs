//! The blocking calls of the journal: syncs of the log, the lease file, the clean-stop marker.
//!
//! Owns the one place that waits for the disk; it lives on a thread of its own, or is called
//! inline. After a failed sync it leaves a note in the lease file, so that the next start does not
//! believe the page cache (R12). Never: decides what is synced or when.

use super::backlog::is_for_want_of_room;
use quorate_consensus::restart;
use quorate_consensus::trust::Lease;
use quorate_log::{LeaseError, LogEnd, LogError, SyncRange, Syncer, Writer};

/// One blocking call to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncJob {
    /// Make this part of the log durable.
    Sync(SyncRange),
    /// Replace the lease file.
    Lease(Lease),
}

/// A blocking call that has been made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncDone {
    /// The log is durable up to here.
    Synced(LogEnd),
    /// The lease file holds this lease.
    Leased(Lease),
    /// The disk is full: the lease file holds the one before, and it is to be tried again.
    LeaseRefused(Lease),
}

/// A blocking call that failed. Nothing may be sent any more that relies on this disk.
#[derive(Debug, thiserror::Error)]
pub enum SyncError {
    /// The log could not be synced.
    #[error("the log was not synced{}", if *is_noted { "" } else { ", and no note of it could be left" })]
    Log {
        /// Whether the lease file says so to the next start. If not, a supervisor must not
        /// restart this validator.
        is_noted: bool,
        /// What the log says.
        #[source]
        source: LogError,
    },
    /// The lease file could not be replaced.
    #[error("the lease file was not replaced{}", if *is_noted { "" } else { ", and no note of it could be left" })]
    Lease {
        /// As for the log: it is the same disk that did not do what it was told.
        is_noted: bool,
        /// What the system says.
        #[source]
        source: LeaseError,
    },
}

/// Exit code of a process whose disk refused.
pub(crate) const EXIT_DISK_FAILED: u8 = 70;
/// Exit code of a process whose disk refused, and of which the next start would not know.
pub(crate) const EXIT_UNNOTED: u8 = 4;

impl SyncError {
    /// The exit code of a process that ends for this. After a failed sync of which no note could
    /// be left a restart would trust what it reads, so a supervisor must not do it.
    pub(crate) const fn exit_code(&self) -> u8 {
        match self {
            Self::Log {
                is_noted: false, ..
            }
            | Self::Lease {
                is_noted: false, ..
            } => EXIT_UNNOTED,
            Self::Log { .. } | Self::Lease { .. } => EXIT_DISK_FAILED,
        }
    }
}

/// Makes the blocking calls.
#[derive(Debug)]
pub struct SyncWorker {
    syncer: Syncer,
    lease_file: quorate_log::LeaseFile,
    /// What the lease file holds.
    content: restart::LeaseFile,
}

impl SyncWorker {
    pub(crate) const fn new(
        syncer: Syncer,
        lease_file: quorate_log::LeaseFile,
        content: restart::LeaseFile,
    ) -> Self {
        Self {
            syncer,
            lease_file,
            content,
        }
    }

    /// Makes one call and waits for the disk.
    ///
    /// # Errors
    /// [`SyncError`]: the validator must not vote any more in this run.
    pub fn run(&mut self, job: SyncJob) -> Result<SyncDone, SyncError> {
        match job {
            SyncJob::Sync(range) => self.sync(range).map(SyncDone::Synced),
            SyncJob::Lease(lease) => {
                let content = restart::LeaseFile {
                    lease,
                    ..self.content
                };
                match self.lease_file.replace(&content.encode()) {
                    Err(LeaseError::Io { source }) if is_for_want_of_room(&source) => {
                        return Ok(SyncDone::LeaseRefused(lease));
                    }
                    Err(source) => {
                        let is_noted = note_failure(&mut self.lease_file, &mut self.content);
                        return Err(SyncError::Lease { is_noted, source });
                    }
                    Ok(()) => {}
                }
                self.content = content;
                Ok(SyncDone::Leased(lease))
            }
        }
    }

    /// Bytes that the log's file system has left; none where there is none below.
    pub(crate) fn free_bytes(&self) -> std::io::Result<Option<u64>> {
        self.syncer.free_bytes()
    }

    /// Ends the run: the last sync, then the clean-stop marker. Where there is no room for the
    /// marker the next start takes this stop for a crash, and nothing else is wrong.
    ///
    /// # Errors
    /// [`SyncError::Log`]: this is no clean stop.
    pub fn stop(mut self, writer: Writer) -> Result<(), SyncError> {
        match self.syncer.stop(writer) {
            Ok(()) => Ok(()),
            Err(LogError::CleanStop { source }) if is_for_want_of_room(&source) => {
                tracing::warn!(error = %source, "the next start takes this stop for a crash");
                Ok(())
            }
            Err(source) => {
                let is_noted = note_failure(&mut self.lease_file, &mut self.content);
                Err(SyncError::Log { is_noted, source })
            }
        }
    }

    /// Ends a run whose log does not hold all that was said: the next start takes it for a crash.
    pub(super) fn stop_unmarked(mut self, writer: &Writer) -> Result<(), SyncError> {
        self.sync(writer.unsynced()).map(drop)
    }

    fn sync(&mut self, range: SyncRange) -> Result<LogEnd, SyncError> {
        self.syncer.sync(range).map_err(|source| {
            let is_noted = note_failure(&mut self.lease_file, &mut self.content);
            SyncError::Log { is_noted, source }
        })
    }
}

/// R12: what was written since the last good sync may be gone although it can be read now. Says
/// whether the next start will know. The lease in the note is the one that was durable before, and
/// one that is written after all says the same.
fn note_failure(lease_file: &mut quorate_log::LeaseFile, content: &mut restart::LeaseFile) -> bool {
    content.suspect = true;
    lease_file.replace(&content.encode()).is_ok()
}
