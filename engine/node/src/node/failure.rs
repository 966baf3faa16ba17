//! Why a node does not start, and why it ends. Owns the words and the exit codes.

use crate::begins::BeginsError;
use crate::descriptors::TooFew;
use crate::executor::SectionsError;
use crate::file_error::FileError;
use crate::hex;
use crate::journal::{EXIT_DISK_FAILED, EXIT_UNNOTED, JournalError, SyncError};
use crate::recovery::RecoveryError;
use crate::refused::{EXIT_TRY_AGAIN, system_code};
use crate::replica::{OrderError, ReplicaError};
use crate::snapshot::SnapshotError;
use crate::vote_state::{KeepError, VoteStateError};
use quorate_log::{LeaseError, LockError, LogError, OpenError};
use quorate_net::NetError;
use std::io;
use std::path::PathBuf;

/// A validator that does not start. Nothing is left running.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// Configuration, genesis or key.
    #[error(transparent)]
    File(#[from] FileError),
    /// The application has sections that no validator can attest or take a snapshot of.
    #[error(transparent)]
    Sections(#[from] SectionsError),
    /// Another process uses the data folder, or it cannot be made.
    #[error("data: {0}")]
    Folder(#[from] LockError),
    /// The data folder is not one to start from.
    #[error("data = {}: {source}", folder.display())]
    Recovery {
        /// The folder.
        folder: PathBuf,
        /// What is wrong with it.
        #[source]
        source: RecoveryError,
    },
    /// The folder is of another chain, and this one goes on from another one: the same, mostly.
    #[error(
        "data = {}: {source}; this genesis goes on after height {height} of the chain with genesis \
         {}. Keep the folder as it is, name a new one as `data`, make it with `quorate init \
         --config FILE`, and start again", folder.display(), hex::encode(of)
    )]
    OldFolder {
        /// The folder.
        folder: PathBuf,
        /// Hash of the genesis of the chain before.
        of: [u8; 32],
        /// Height that this chain goes on after.
        height: u64,
        /// What the log says.
        source: Box<OpenError>,
    },
    /// The state that the chain begins with cannot be brought into the data folder.
    #[error("data = {}: {source}", folder.display())]
    Begins {
        /// The data folder.
        folder: PathBuf,
        /// Why.
        #[source]
        source: Box<BeginsError>,
    },
    /// What a validator said cannot be taken out of its folder, or merged into it.
    #[error("data = {}: {source}", folder.display())]
    VoteState {
        /// The folder.
        folder: PathBuf,
        /// Why.
        #[source]
        source: VoteStateError,
    },
    /// A snapshot that may be wrong cannot be moved out of the way.
    #[error("{0}")]
    Snapshot(#[from] SnapshotError),
    /// A port cannot be opened, or the message path not be set up.
    #[error(
        "listen: {0}; where this does not pass by itself, stop what uses the address, make it \
         or its name known here, or configure another one"
    )]
    Net(#[from] NetError),
    /// The process may have too few files and sockets open.
    #[error(
        "this process may have {descriptors} files and sockets open, a validator of this chain needs \
         {needed}: raise LimitNOFILE of its unit, or `ulimit -n`"
    )]
    Descriptors {
        /// How many it may have.
        descriptors: u64,
        /// How many it needs at least.
        needed: u64,
    },
    /// The metrics address cannot be listened on.
    #[error(
        "listen.metrics = {address}: {source}; where this does not pass by itself, configure \
         another address"
    )]
    Metrics {
        /// The address.
        address: String,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The system refuses a thread, or randomness.
    #[error("cannot start: {0}")]
    System(#[from] io::Error),
}

impl From<TooFew> for StartError {
    fn from(few: TooFew) -> Self {
        Self::Descriptors {
            descriptors: few.available,
            needed: few.needed,
        }
    }
}

impl StartError {
    /// The exit code of a process that does not start for this reason.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::File(error) => error.code,
            Self::Sections(_) | Self::OldFolder { .. } | Self::Descriptors { .. } => 3,
            Self::Snapshot(SnapshotError::Instance { .. }) => 3,
            Self::Net(error) => net_code(error),
            Self::Metrics { source, .. } => listen_code(source),
            Self::Begins { source, .. } => begins_code(source),
            Self::Folder(LockError::Held { .. }) => EXIT_TRY_AGAIN,
            // A path that is no folder, or cannot be one, is none at the next start either.
            Self::Folder(LockError::Io { source, .. })
            | Self::Snapshot(SnapshotError::Io { source, .. }) => system_code(source, 3),
            Self::System(source) => system_code(source, EXIT_TRY_AGAIN),
            Self::Snapshot(_) => EXIT_TRY_AGAIN,
            Self::Recovery { source, .. } => recovery_code(source),
            Self::VoteState { source, .. } => match source {
                VoteStateError::Folder(source) => recovery_code(source),
                // Its key was used at two places: neither may be believed.
                VoteStateError::Conflict { .. } => 4,
                VoteStateError::Append(
                    LogError::NoSegment { source } | LogError::NoRoom { source },
                ) => system_code(source, EXIT_DISK_FAILED),
                // The folder is sound: it is the file's own disk.
                VoteStateError::Keep(KeepError::Undone(source) | KeepError::Left(source)) => {
                    system_code(source, EXIT_DISK_FAILED)
                }
                VoteStateError::Append(_) => EXIT_DISK_FAILED,
                _ => 3,
            },
        }
    }
}

/// A port in use is free again when whoever has it ends, and a restart often meets its own last
/// run. An address may come up after the validator does, and so may who knows its name: what is
/// said of names has no number of the system.
fn listen_code(error: &io::Error) -> u8 {
    match error.kind() {
        io::ErrorKind::AddrInUse | io::ErrorKind::AddrNotAvailable => EXIT_TRY_AGAIN,
        io::ErrorKind::InvalidInput => 3,
        _ if error.raw_os_error().is_none() => EXIT_TRY_AGAIN,
        _ => system_code(error, 3),
    }
}

fn net_code(error: &NetError) -> u8 {
    match error {
        NetError::Listen { source, .. } => listen_code(source),
        NetError::Poll(source) | NetError::Resolver(source) => system_code(source, EXIT_TRY_AGAIN),
        _ => 3,
    }
}

fn begins_code(error: &BeginsError) -> u8 {
    match error {
        BeginsError::Missing { .. } | BeginsError::Other { .. } => 3,
        BeginsError::Snapshot(error) => snapshot_code(error),
    }
}

/// What can be corrected, and what is damaged.
fn snapshot_code(error: &SnapshotError) -> u8 {
    match error {
        SnapshotError::Io { source, .. } => system_code(source, 3),
        SnapshotError::Foreign { .. } | SnapshotError::Sections { .. } => 3,
        _ => 5,
    }
}

fn recovery_code(error: &RecoveryError) -> u8 {
    match error {
        RecoveryError::Begins(error) => begins_code(error),
        RecoveryError::Snapshot(error) => snapshot_code(error),
        RecoveryError::LeaseMissing
        | RecoveryError::LeaseDamaged(_)
        | RecoveryError::LogWithoutLease { .. }
        | RecoveryError::NotSynced {
            is_noted: false, ..
        }
        | RecoveryError::Base {
            is_noted: false, ..
        } => EXIT_UNNOTED,
        RecoveryError::AlreadyInitialized
        | RecoveryError::OtherValidator { .. }
        | RecoveryError::SegmentsTooSmall { .. }
        | RecoveryError::Sections(_)
        | RecoveryError::Log(
            OpenError::Genesis { .. }
            | OpenError::SegmentBytes { .. }
            | OpenError::GenesisTooLarge { .. },
        ) => 3,
        RecoveryError::Log(OpenError::Io { source, .. }) => system_code(source, 5),
        RecoveryError::LeaseWrite(LeaseError::Io { source })
        | RecoveryError::Base {
            source: LogError::NoSegment { source } | LogError::NoRoom { source },
            ..
        }
        | RecoveryError::Io { source, .. } => system_code(source, EXIT_DISK_FAILED),
        // A failed sync, whatever the system calls it.
        RecoveryError::LeaseWrite(_)
        | RecoveryError::Base { .. }
        | RecoveryError::NotSynced { .. } => EXIT_DISK_FAILED,
        _ => 5,
    }
}

/// A validator that has ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NodeFailure {
    /// It was stopped; there is nobody to ask.
    #[error("the node has stopped")]
    Stopped,
    /// It did not answer a question within five seconds, or had no room for one: it is busy, or
    /// hangs in its disk or its application. It has not ended.
    #[error("the node did not answer in time; it may be busy, or its disk may hang")]
    NoAnswer,
    /// Its state is another than the others' from this height on: it serves nobody. It runs on.
    #[error("the state differs from the other validators' at height {height}: nothing is served")]
    Diverged {
        /// The first height that is known to differ.
        height: u64,
    },
    /// The replica cannot go on.
    #[error("{0}")]
    Replica(#[from] ReplicaError),
    /// The log could not be ended cleanly.
    #[error("{0}")]
    Sync(#[source] SyncError),
    /// The event queue failed.
    #[error("{0}")]
    Net(#[from] NetError),
    /// A snapshot of peers was fetched, since their logs do not reach down to here any more. The
    /// log is ended cleanly: the next start, which may be at once, begins with the snapshot.
    #[error("a snapshot of height {height} was fetched from peers: the next start begins with it")]
    SnapshotFetched {
        /// Its height.
        height: u64,
    },
    /// A thread ended that should not have.
    #[error("the {0} thread is gone")]
    ThreadLost(&'static str),
}

impl NodeFailure {
    /// The exit code of a process whose node ended for this reason: 70 when the disk refused (the
    /// next start does not trust the page cache), 5 when the data is damaged, 4 when a supervisor
    /// must not restart it.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Stopped => 0,
            Self::Replica(ReplicaError::Journal(JournalError::Sync(error))) | Self::Sync(error) => {
                error.exit_code()
            }
            Self::Replica(ReplicaError::Journal(JournalError::Log(_))) => EXIT_DISK_FAILED,
            Self::Replica(ReplicaError::Journal(JournalError::Full)) => 75,
            Self::Replica(ReplicaError::Order(OrderError::Store(_))) => 5,
            Self::Replica(_) | Self::Diverged { .. } => 4,
            Self::NoAnswer | Self::Net(_) | Self::ThreadLost(_) | Self::SnapshotFetched { .. } => {
                EXIT_TRY_AGAIN
            }
        }
    }
}

#[cfg(test)]
#[path = "failure_tests.rs"]
mod tests;
