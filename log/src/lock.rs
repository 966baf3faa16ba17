//! The exclusive lock on a data folder.
//!
//! One process uses a folder, and with it the signing key, at a time. The lock is `flock` on the
//! folder itself, which nobody can remove and make anew under whoever holds it, and on a file in
//! it, which says who that is: it belongs to what is open, so the system frees it when the process
//! dies, however it dies, and nothing is left to clean up. It does not guard against a copy of the
//! folder elsewhere; that is the fence's task.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

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
    _folder: File,
    _file: Option<File>,
}

impl FolderLock {
    /// Locks `folder`, which is created (mode 0700) if it is missing.
    ///
    /// # Errors
    /// [`LockError::Held`] if somebody else holds it; [`LockError::Io`] if the system refuses.
    pub fn acquire(folder: &Path) -> Result<Self, LockError> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(refused(folder))?;
        let held = lock_folder(folder)?;
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(folder.join(LOCK_NAME))
            .map_err(refused(folder))?;
        lock_file(folder, &file)?;
        write_pid(&mut file).map_err(refused(folder))?;
        Ok(Self {
            _folder: held,
            _file: Some(file),
        })
    }

    /// Locks a folder that is there, and neither makes nor writes a file in it.
    ///
    /// # Errors
    /// As [`acquire`](Self::acquire).
    pub fn acquire_to_read(folder: &Path) -> Result<Self, LockError> {
        let held = lock_folder(folder)?;
        let file = match File::open(folder.join(LOCK_NAME)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            file => Some(file.map_err(refused(folder))?),
        };
        if let Some(file) = &file {
            lock_file(folder, file)?;
        }
        Ok(Self {
            _folder: held,
            _file: file,
        })
    }
}

fn refused(folder: &Path) -> impl FnOnce(io::Error) -> LockError {
    let folder = folder.to_path_buf();
    move |source| LockError::Io { folder, source }
}

/// A file system that locks no folders, as some of the network do, leaves it to the file.
fn lock_folder(folder: &Path) -> Result<File, LockError> {
    let held = File::open(folder).map_err(refused(folder))?;
    match flock(&held, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::WOULDBLOCK) => Err(LockError::Held {
            folder: folder.to_path_buf(),
            holder_pid: read_pid(folder),
        }),
        Ok(()) | Err(_) => Ok(held),
    }
}

fn lock_file(folder: &Path, file: &File) -> Result<(), LockError> {
    match flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(()),
        Err(Errno::WOULDBLOCK) => Err(LockError::Held {
            folder: folder.to_path_buf(),
            holder_pid: read_pid(folder),
        }),
        Err(errno) => Err(refused(folder)(errno.into())),
    }
}

/// For the message only: the lock is the `flock`, not the number.
fn read_pid(folder: &Path) -> Option<u32> {
    let mut text = String::new();
    let file = File::open(folder.join(LOCK_NAME)).ok()?;
    file.take(16).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

fn write_pid(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.seek(SeekFrom::Start(0))?;
    writeln!(file, "{}", std::process::id())
}
