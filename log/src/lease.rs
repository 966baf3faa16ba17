//! The lease file: a few numbers that must be durable before a validator acts in a window.
//!
//! Owns that a crash leaves the old lease or the new one, and that a missing lease is told from
//! a damaged one. What the payload says is the caller's.

use std::io;
use std::path::Path;

use crate::backend::{Backend, DataFolder, FileBackend};
use crate::sealed::{self, SEALED_PAYLOAD_BYTES_MAX, SealDamage};

/// The longest lease payload.
pub const LEASE_PAYLOAD_BYTES_MAX: usize = SEALED_PAYLOAD_BYTES_MAX;

const NAME: &str = "lease";
const MAGIC: [u8; 8] = *b"QRTLEASE";

/// What the folder says about the lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeaseRead {
    /// There is no lease file: a new folder, or the lease is lost.
    Missing,
    /// There is one, and it is not what was written.
    Damaged(SealDamage),
    /// The payload of the last durable lease.
    Present(Vec<u8>),
}

/// Why a lease was not replaced.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// The payload is too long. Nothing was written.
    #[error("a lease of {payload_bytes} bytes exceeds {LEASE_PAYLOAD_BYTES_MAX}")]
    TooLarge {
        /// Its length.
        payload_bytes: usize,
    },
    /// The system refused. Whether a crash now leaves the old or the new lease is unknown, and
    /// neither may be acted on.
    #[error("the lease file was not replaced durably")]
    Io {
        /// What the system says.
        #[source]
        source: io::Error,
    },
}

fn read_from(backend: &dyn Backend) -> io::Result<LeaseRead> {
    Ok(match sealed::read(backend, NAME, MAGIC)? {
        None => LeaseRead::Missing,
        Some(Err(damage)) => LeaseRead::Damaged(damage),
        Some(Ok(payload)) => LeaseRead::Present(payload),
    })
}

/// The lease file of one folder.
#[derive(Debug)]
pub struct LeaseFile {
    folder: DataFolder,
}

impl LeaseFile {
    /// The lease file of `folder`; nothing is read yet.
    #[must_use]
    pub fn new(folder: &DataFolder) -> Self {
        Self {
            folder: folder.clone(),
        }
    }

    /// Reads the lease. What is returned is durable.
    ///
    /// # Errors
    /// If the system refuses to read it, or to sync the folder. A missing or damaged lease is not
    /// an error here.
    pub fn read(&self) -> io::Result<LeaseRead> {
        // A run that died inside `replace` may have left a lease whose name a power cut takes
        // back; acting on it would be acting on a lease that is not durable.
        self.folder.backend.sync_folder()?;
        read_from(self.folder.backend.as_ref())
    }

    /// Reads the lease of the folder at `path` beside whoever holds it, for a look: nothing is
    /// locked or written, and what is returned may not be durable.
    ///
    /// # Errors
    /// If the system refuses to read it.
    pub fn look_at(path: &Path) -> io::Result<LeaseRead> {
        read_from(&FileBackend::open_unlocked(path)?)
    }

    /// Replaces the lease; it is durable when this returns `Ok`.
    ///
    /// It may be called after a sync of the log has failed, to leave a note for the next start.
    ///
    /// # Errors
    /// [`LeaseError::TooLarge`] above [`LEASE_PAYLOAD_BYTES_MAX`]; [`LeaseError::Io`] if the
    /// system refuses to write, sync or rename.
    pub fn replace(&mut self, payload: &[u8]) -> Result<(), LeaseError> {
        if payload.len() > LEASE_PAYLOAD_BYTES_MAX {
            return Err(LeaseError::TooLarge {
                payload_bytes: payload.len(),
            });
        }
        sealed::replace(
            self.folder.backend.as_ref(),
            NAME,
            &sealed::seal(MAGIC, payload),
        )
        .map_err(|source| LeaseError::Io { source })
    }
}
