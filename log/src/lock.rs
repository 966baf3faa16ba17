//! The exclusive lock on a data folder.
//!
//! One process uses a folder, and with it the signing key, at a time. The lock is `flock` on a
//! file in the folder: it belongs to the open file, so the system frees it when the process dies,
//! however it dies, and nothing is left to clean up. It does not guard against a copy of the
//! folder elsewhere; that is the fence's task.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

/// The name of the lock file in the data folder.
pub(crate) const LOCK_NAME: &str = "lock";

/// Why a data folder was not locked.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process, or another opening in this one, holds the folder.
    #[error("data folder {} is in use{}: stop that process first", folder.display(), by(*holder_pid))]
    Held {
        /// The folder.
        folder: PathBuf,
        /// The process id that the holder wrote down, if it can be read.
        holder_pid: Option<u32>,
    },
    /// The folder or its lock file cannot be created or opened.
    #[error("data folder {} cannot be locked", folder.display())]
    Io {
        /// The folder.
        folder: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

fn by(holder_pid: Option<u32>) -> String {
    holder_pid.map_or_else(String::new, |pid| format!(" by process {pid}"))
}

/// An exclusive lock on a data folder, held until it is dropped or the process ends.
#[derive(Debug)]
pub struct FolderLock {
    _file: File,
}

impl FolderLock {
    /// Locks `folder`, which is created (mode 0700) if it is missing.
    ///
    /// # Errors
    /// [`LockError::Held`] if somebody else holds it; [`LockError::Io`] if the system refuses.
    pub fn acquire(folder: &Path) -> Result<Self, LockError> {
        let io_error = |source| LockError::Io {
            folder: folder.to_path_buf(),
            source,
        };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(io_error)?;
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(folder.join(LOCK_NAME))
            .map_err(io_error)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let holder_pid = read_pid(&mut file);
                return Err(LockError::Held {
                    folder: folder.to_path_buf(),
                    holder_pid,
                });
            }
            Err(errno) => return Err(io_error(errno.into())),
        }
        write_pid(&mut file).map_err(io_error)?;
        Ok(Self { _file: file })
    }
}

/// For the message only: the lock is the `flock`, not the number.
fn read_pid(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(16).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

fn write_pid(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.seek(SeekFrom::Start(0))?;
    writeln!(file, "{}", std::process::id())
}
