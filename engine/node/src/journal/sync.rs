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
    #[error("the lease file was not replaced")]
    Lease(#[from] LeaseError),
}

/// Exit code of a process whose disk refused.
pub(crate) const EXIT_DISK_FAILED: u8 = 70;

impl SyncError {
    /// The exit code of a process that ends for this. After a failed sync of which no note could
    /// be left a restart would trust what it reads, so a supervisor must not do it.
    pub(crate) const fn exit_code(&self) -> u8 {
        match self {
            Self::Log {
                is_noted: false, ..
            } => 4,
            Self::Log { .. } | Self::Lease(_) => EXIT_DISK_FAILED,
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
            SyncJob::Sync(range) => match self.syncer.sync(range) {
                Ok(end) => Ok(SyncDone::Synced(end)),
                Err(source) => Err(self.note_failure(source)),
            },
            SyncJob::Lease(lease) => {
                let content = restart::LeaseFile {
                    lease,
                    ..self.content
                };
                match self.lease_file.replace(&content.encode()) {
                    Err(LeaseError::Io { source }) if is_for_want_of_room(&source) => {
                        return Ok(SyncDone::LeaseRefused(lease));
                    }
                    outcome => outcome?,
                }
                self.content = content;
                Ok(SyncDone::Leased(lease))
            }
        }
    }

    /// R12: what was written since the last good sync may be gone although it can be read now.
    fn note_failure(&mut self, source: LogError) -> SyncError {
        let content = restart::LeaseFile {
            suspect: true,
            ..self.content
        };
        let is_noted = self.lease_file.replace(&content.encode()).is_ok();
        if is_noted {
            self.content = content;
        }
        SyncError::Log { is_noted, source }
    }

    /// Ends the run: the last sync, then the clean-stop marker.
    ///
    /// # Errors
    /// [`SyncError::Log`]: without the marker the next start takes this stop for a crash.
    pub fn stop(mut self, writer: Writer) -> Result<(), SyncError> {
        self.sync_last(&writer)?;
        self.syncer.stop(writer).map_err(|source| SyncError::Log {
            is_noted: true,
            source,
        })
    }

    /// Ends a run whose log does not hold all that was said: the next start takes it for a crash.
    pub(super) fn stop_unmarked(mut self, writer: &Writer) -> Result<(), SyncError> {
        self.sync_last(writer)
    }

    fn sync_last(&mut self, writer: &Writer) -> Result<(), SyncError> {
        let synced = self.syncer.sync(writer.unsynced());
        synced.map(drop).map_err(|source| self.note_failure(source))
    }
}
