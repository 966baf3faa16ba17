//! What a refusal of the system means: something is short and may come back, the disk is failing,
//! or somebody has to correct something.
//!
//! Owns the errors of the system that this program tells apart. Never: what is done about one.

use std::io::{self, ErrorKind};

use rustix::io::Errno;

/// A refusal of the system, by what helps against it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// Room on the disk, descriptors or memory are short: the same call may succeed later.
    Short,
    /// The disk does not do what it should.
    Disk,
    /// The owner of the file or the port does not let this user have it.
    Right,
    /// Anything else.
    Other,
}

impl Refused {
    /// Which one an error of the system is.
    pub(crate) fn of(error: &io::Error) -> Self {
        match Errno::from_io_error(error) {
            Some(Errno::NFILE | Errno::MFILE) => return Self::Short,
            Some(Errno::IO) => return Self::Disk,
            _ => {}
        }
        match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::OutOfMemory => {
                Self::Short
            }
            ErrorKind::ReadOnlyFilesystem => Self::Disk,
            ErrorKind::PermissionDenied => Self::Right,
            _ => Self::Other,
        }
    }
}
