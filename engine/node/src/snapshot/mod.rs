//! Snapshots: the replicated state after one block, in files that a stranger's copy can be held
//! against.
//!
//! Owns the bytes of a manifest, the folder of snapshots, and the way of a state into it and out
//! of it. Never: when a snapshot is taken, or whom to believe about its root; that is attested
//! (protocol.md 5.6). docs/snapshot-format.md has the bytes.
//!
//! A snapshot is two files. The *data* is the canonical bytes of every section, one behind the
//! other. The *manifest* says of which block and which sections they are, and has the hash of each
//! chunk of 1 MiB. The hash over the manifest is the snapshot's *root*: whoever knows it to be
//! true can check every chunk by itself, in any order, from anybody.

mod disk;
mod folder;
mod manifest;
mod memory;
mod partial;
mod state;

pub(crate) use manifest::is_section_name;

pub use folder::{SnapshotFolder, SnapshotReader, SnapshotWriter};
pub use manifest::{
    CHUNK_BYTES, CHUNKS_MAX, MANIFEST_BYTES_MAX, Manifest, ManifestError, SECTION_NAME_BYTES_MAX,
    SECTIONS_MAX, SectionEntry,
};
pub use memory::MemoryDisk;
pub use partial::PartialSnapshot;
pub use state::{Origin, restore, take};
pub(crate) use state::{put_back, restore_noting, save};

use std::io;
use std::path::PathBuf;

use rustix::io::Errno;

use crate::refused::Refused;

/// Why a snapshot cannot be written, read or restored.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The system refuses a file.
    #[error("{}: cannot {action}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The manifest is not one.
    #[error("{}: {source}", path.display())]
    Manifest {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: ManifestError,
    },
    /// The manifest is that of another height than its name says.
    #[error("{}: this is the manifest of height {height}", path.display())]
    Misnamed {
        /// The file.
        path: PathBuf,
        /// The height in it.
        height: u64,
    },
    /// The data has another length than the manifest says.
    #[error("{}: {found} bytes where the manifest says {expected}", path.display())]
    Length {
        /// The file.
        path: PathBuf,
        /// Its length.
        found: u64,
        /// What it should be.
        expected: u64,
    },
    /// A chunk is not what the manifest names.
    #[error("{}: chunk {chunk} is not the one that the manifest names", path.display())]
    Chunk {
        /// The file.
        path: PathBuf,
        /// Which chunk.
        chunk: u32,
    },
    /// The state is larger than a snapshot may be, or has too many sections.
    #[error("the state does not fit a snapshot: {what}")]
    TooLarge {
        /// What is too large.
        what: &'static str,
    },
    /// The snapshot is of another chain or another validator set.
    #[error("the snapshot of height {height} is of another {what}")]
    Foreign {
        /// Its height.
        height: u64,
        /// What differs.
        what: &'static str,
    },
    /// The application has other sections; the first place where it has.
    #[error("{}", other_sections(found.as_deref(), expected.as_deref()))]
    Sections {
        /// The section's name in the snapshot, if it has one there.
        found: Option<String>,
        /// Its name in the application, if that has one there.
        expected: Option<String>,
    },
    /// There is no instance of the application to restore it into.
    #[error("no other instance of the application could be made: {what}")]
    Instance {
        /// Why not.
        what: String,
    },
    /// A section does not go back into the state.
    #[error("section {section:?} cannot be restored: {what}")]
    Restore {
        /// Its name.
        section: String,
        /// What is wrong with it.
        what: String,
    },
    /// A restored section has another root than was saved: an error of the application.
    #[error("section {section:?} has another root after it was restored")]
    Root {
        /// Its name.
        section: String,
    },
}

/// One of the two is there, at least.
fn other_sections(found: Option<&str>, expected: Option<&str>) -> String {
    match (found, expected) {
        (None, expected) => format!(
            "section {:?} of the application is not in the snapshot",
            expected.unwrap_or_default()
        ),
        (Some(found), None) => {
            format!("section {found:?} of the snapshot is none of the application's")
        }
        (Some(found), Some(expected)) => format!(
            "section {found:?} of the snapshot stands where the application has {expected:?}"
        ),
    }
}

impl SnapshotError {
    /// What is to be done where the files are good and the application does not take them.
    #[must_use]
    pub const fn remedy(&self) -> Option<&'static str> {
        match self {
            Self::Sections { .. } | Self::Restore { .. } | Self::Root { .. } => Some(
                "the files are whole, the application does not take them: run the build that \
                 wrote the snapshot, or mend its restore_section or snapshot_section",
            ),
            _ => None,
        }
    }

    /// With what is to be done.
    pub(crate) fn with_remedy(&self) -> String {
        let remedy = self.remedy();
        remedy.map_or_else(|| self.to_string(), |remedy| format!("{self}; {remedy}"))
    }

    /// Whether the system has refused, rather than given what is wrong.
    pub(crate) const fn is_io(&self) -> bool {
        matches!(self, Self::Io { .. })
    }

    /// Whether there is no room on the disk.
    pub(crate) fn is_want_of_room(&self) -> bool {
        let kinds = [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded];
        matches!(self, Self::Io { source, .. } if kinds.contains(&source.kind()))
    }

    /// Whether what was written is not there any more, whoever reads it and whenever. A want of
    /// descriptors, memory or rights is none: it passes, or somebody has to correct it.
    pub(crate) fn is_damage(&self) -> bool {
        match self {
            Self::Io { source, .. } => {
                let passes = matches!(Refused::of(source), Refused::Short | Refused::Right);
                let is_loop = source.raw_os_error() == Some(Errno::LOOP.raw_os_error());
                !passes && !is_loop
            }
            Self::Manifest { .. }
            | Self::Misnamed { .. }
            | Self::Length { .. }
            | Self::Chunk { .. } => true,
            _ => false,
        }
    }
}
