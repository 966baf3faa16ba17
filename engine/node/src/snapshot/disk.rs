//! What the snapshots ask of a disk: the system's files, or those of a simulated one.
//!
//! Owns every call to the file system of this module. Never: the order of the calls or what they
//! mean, which is `folder`'s and `partial`'s, so that a simulation runs the same ones.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use super::memory::{MemoryDisk, MemoryHandle};

/// A disk.
#[derive(Clone, Debug)]
pub(super) enum Disk {
    /// The file system of this machine.
    Real,
    /// One in memory, which loses what a disk may lose.
    Memory(MemoryDisk),
}

/// An open file.
#[derive(Debug)]
pub(super) enum OpenFile {
    Real(File),
    Memory(MemoryHandle),
}

impl Disk {
    /// Names of the files in a folder, in no order. A name that is no text is left out: it is none
    /// of ours.
    pub(super) fn names(&self, folder: &Path) -> io::Result<Vec<String>> {
        match self {
            Self::Real => {
                let mut names = Vec::new();
                for entry in fs::read_dir(folder)? {
                    names.extend(entry?.file_name().into_string());
                }
                Ok(names)
            }
            Self::Memory(disk) => disk.names(folder),
        }
    }

    /// Makes a folder and those that it is in; says whether it was not there. Its name is durable
    /// when the folder that it is in is synced.
    pub(super) fn make_folder(&self, folder: &Path) -> io::Result<bool> {
        match self {
            Self::Real => match fs::create_dir(folder) {
                Ok(()) => Ok(true),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
                Err(_) => fs::create_dir_all(folder).map(|()| true),
            },
            Self::Memory(disk) => disk.make_folder(folder),
        }
    }

    /// Makes the names of a folder durable.
    pub(super) fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        match self {
            Self::Real => {
                let is_here = folder.as_os_str().is_empty();
                File::open(if is_here { Path::new(".") } else { folder })?.sync_all()
            }
            Self::Memory(disk) => disk.sync_folder(folder),
        }
    }

    /// The first `bytes_max` bytes of a file.
    pub(super) fn read(&self, path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
        match self {
            Self::Real => {
                let mut bytes = Vec::new();
                File::open(path)?.take(bytes_max).read_to_end(&mut bytes)?;
                Ok(bytes)
            }
            Self::Memory(disk) => disk.read(path, bytes_max),
        }
    }

    /// Opens a file for reading.
    pub(super) fn open(&self, path: &Path) -> io::Result<OpenFile> {
        match self {
            Self::Real => File::open(path).map(OpenFile::Real),
            Self::Memory(disk) => disk.open(path).map(OpenFile::Memory),
        }
    }

    /// Opens a file for reading and writing, which is made if it is not there, and emptied when
    /// `is_new` says so.
    pub(super) fn open_to_write(&self, path: &Path, is_new: bool) -> io::Result<OpenFile> {
        match self {
            Self::Real => OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(is_new)
                .open(path)
                .map(OpenFile::Real),
            Self::Memory(disk) => disk.open_to_write(path, is_new).map(OpenFile::Memory),
        }
    }

    /// Renames a file, replacing another.
    pub(super) fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        match self {
            Self::Real => fs::rename(from, to),
            Self::Memory(disk) => disk.rename(from, to),
        }
    }

    /// Removes a file.
    pub(super) fn remove(&self, path: &Path) -> io::Result<()> {
        match self {
            Self::Real => fs::remove_file(path),
            Self::Memory(disk) => disk.remove(path),
        }
    }
}

impl OpenFile {
    /// Bytes that it has.
    pub(super) fn bytes_len(&self) -> io::Result<u64> {
        match self {
            Self::Real(file) => file.metadata().map(|metadata| metadata.len()),
            Self::Memory(file) => Ok(file.bytes_len()),
        }
    }

    /// Bytes that are left to this process in the file system that it is on, if there is a bound.
    pub(super) fn free_bytes(&self) -> io::Result<Option<u64>> {
        match self {
            Self::Real(file) => {
                let system = rustix::fs::fstatvfs(file)?;
                Ok(Some(system.f_bavail.saturating_mul(system.f_frsize)))
            }
            Self::Memory(file) => Ok(file.free_bytes()),
        }
    }

    /// Fills `bytes` with what stands from `offset` on.
    pub(super) fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        match self {
            Self::Real(file) => file.read_exact_at(bytes, offset),
            Self::Memory(file) => file.read_exact_at(bytes, offset),
        }
    }

    /// Writes `bytes` from `offset` on; not synced.
    pub(super) fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        match self {
            Self::Real(file) => file.write_all_at(bytes, offset),
            Self::Memory(file) => file.write_all_at(bytes, offset),
        }
    }

    /// Cuts it to so many bytes, or makes it as long with zeros.
    pub(super) fn set_len(&self, bytes_len: u64) -> io::Result<()> {
        match self {
            Self::Real(file) => file.set_len(bytes_len),
            Self::Memory(file) => file.set_len(bytes_len),
        }
    }

    /// Makes its bytes durable. Its name is durable when its folder is synced.
    pub(super) fn sync_all(&self) -> io::Result<()> {
        match self {
            Self::Real(file) => file.sync_all(),
            Self::Memory(file) => file.sync_all(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TemporaryFolder;

    /// The system refuses to sync what is no file and no folder, so it shows whether it is asked.
    fn nothing() -> &'static Path {
        Path::new("/dev/null")
    }

    #[test]
    fn the_system_is_asked_to_sync_the_bytes_of_a_file() {
        let folder = TemporaryFolder::new("synced");
        let file = Disk::Real.open_to_write(&folder.path().join("file"), true);
        file.unwrap().sync_all().unwrap();
        assert!(Disk::Real.open(nothing()).unwrap().sync_all().is_err());
    }

    #[test]
    fn the_system_is_asked_to_sync_the_names_of_a_folder() {
        let folder = TemporaryFolder::new("synced");
        Disk::Real.sync_folder(folder.path()).unwrap();
        assert!(Disk::Real.sync_folder(nothing()).is_err());
    }

    #[test]
    fn the_room_of_a_real_disk_is_known_and_no_more_than_it_has() {
        let folder = TemporaryFolder::new("room");
        let file = Disk::Real.open_to_write(&folder.path().join("file"), true);
        let room = file.unwrap().free_bytes().unwrap();
        let system = rustix::fs::statvfs(folder.path()).unwrap();
        assert!(room.is_some_and(|room| room <= system.f_blocks * system.f_frsize));
    }
}
