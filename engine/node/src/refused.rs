//! What a refusal of the system means: something is short and may come back, the disk is failing,
//! or somebody has to correct something.
//!
//! Owns the errors of the system that this program tells apart. Never: what is done about one.

use std::io::{self, ErrorKind};

use rustix::io::Errno;

use crate::journal::EXIT_DISK_FAILED;

/// Exit code of a process that may be started again, later, as it is.
pub(crate) const EXIT_TRY_AGAIN: u8 = 75;

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

/// The exit code that a refusal of the system asks for: 75 where something is short that may come
/// back, 70 where the disk fails, 3 where rights are missing; `otherwise` where it does not say.
#[must_use]
pub fn system_code(error: &io::Error, otherwise: u8) -> u8 {
    match Refused::of(error) {
        Refused::Short => EXIT_TRY_AGAIN,
        Refused::Disk => EXIT_DISK_FAILED,
        Refused::Right => 3,
        Refused::Other => otherwise,
    }
}
