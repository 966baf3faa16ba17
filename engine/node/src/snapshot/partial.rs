//! A snapshot that is being fetched: its chunks as they come, in any order.
//!
//! Owns the three files of a snapshot in the making, and which chunks are there. Never: writes a
//! chunk that is not the one the manifest names.

use std::io;
use std::path::PathBuf;

use quorate_log::SEGMENT_BYTES_DEFAULT;

use super::SnapshotError;
use super::disk::OpenFile;
use super::folder::{SnapshotFolder, failed};
use super::manifest::{CHUNK_BYTES, MANIFEST_BYTES_MAX, Manifest};

const DATA: &str = "joining.data";
const MANIFEST: &str = "joining.manifest";
const CERTIFICATE: &str = "joining.certificate";
/// What is read of a manifest or certificate: more than either may have.
const FILE_BYTES_MAX: u64 = MANIFEST_BYTES_MAX as u64 + 33;

/// What the log needs of the same disk first: no snapshot begins to be fetched that leaves it less,
/// four segments of the usual length, and none goes on below half of that.
const RESERVE_BYTES: u64 = 4 * SEGMENT_BYTES_DEFAULT as u64;

/// A snapshot that is being fetched.
#[derive(Debug)]
pub struct PartialSnapshot {
    manifest: Manifest,
    path: PathBuf,
    file: OpenFile,
    has: Vec<bool>,
    missing: usize,
}

impl PartialSnapshot {
    /// What it is of.
    #[must_use]
    pub const fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Whether every chunk is there.
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        self.missing == 0
    }

    /// Chunks that are there, and how many there will be.
    #[must_use]
    pub const fn progress(&self) -> (usize, usize) {
        (self.has.len() - self.missing, self.has.len())
    }

    /// Whether a chunk of it is not there yet.
    #[must_use]
    pub fn lacks(&self, chunk: u32) -> bool {
        self.has.get(chunk as usize).is_some_and(|has| !has)
    }

    /// Chunks that are not there, ascending.
    pub fn missing(&self) -> impl Iterator<Item = u32> {
        let chunks = self.has.iter().zip(0_u32..);
        chunks.filter(|(has, _)| !**has).map(|(_, chunk)| chunk)
    }

    /// Stores a chunk, or says that it is not the one that the manifest names.
    ///
    /// # Errors
    /// [`SnapshotError::Io`] when the disk refuses, or would have too little left for the log.
    pub fn put(&mut self, chunk: u32, bytes: &[u8]) -> Result<bool, SnapshotError> {
        // Before a byte of it is stored.
        if !self.manifest.is_chunk(chunk, bytes) {
            return Ok(false);
        }
        self.check_room(bytes.len() as u64 + RESERVE_BYTES / 2)?;
        let start = u64::from(chunk) * u64::from(CHUNK_BYTES);
        self.file
            .write_all_at(bytes, start)
            .map_err(failed(&self.path, "write a chunk"))?;
        self.note(chunk);
        Ok(true)
    }

    /// An error if less than so much is left on the disk.
    fn check_room(&self, needed: u64) -> Result<(), SnapshotError> {
        let free = self.file.free_bytes();
        let free = free.map_err(failed(&self.path, "look at the room for the data"))?;
        match free.filter(|&free| free < needed) {
            None => Ok(()),
            Some(free) => {
                let what = format!("{free} bytes are free of {needed} that it and the log need");
                let full = io::Error::new(io::ErrorKind::StorageFull, what);
                Err(failed(&self.path, "fetch the data")(full))
            }
        }
    }

    fn note(&mut self, chunk: u32) {
        if let Some(has) = self.has.get_mut(chunk as usize).filter(|has| !**has) {
            *has = true;
            self.missing = self.missing.saturating_sub(1);
        }
    }

    /// Looks which chunks an earlier run has stored.
    fn look(&mut self) {
        for chunk in 0..self.has.len() as u32 {
            let mut bytes = vec![0; self.manifest.chunk_bytes(chunk)];
            let start = u64::from(chunk) * u64::from(CHUNK_BYTES);
            let read = self.file.read_exact_at(&mut bytes, start);
            if read.is_ok() && self.manifest.is_chunk(chunk, &bytes) {
                self.note(chunk);
            }
        }
    }
}

impl SnapshotFolder {
    /// Begins to fetch a snapshot; what was fetched of another one goes.
    ///
    /// # Errors
    /// [`SnapshotError::Io`] when the disk refuses, or has not room for it and for the log.
    pub fn begin(
        &self,
        manifest: Manifest,
        certificate: &[u8],
    ) -> Result<PartialSnapshot, SnapshotError> {
        self.forget()?;
        self.make()?;
        let partial = self.partial(manifest, true)?;
        let needed = partial.manifest.data_bytes().saturating_add(RESERVE_BYTES);
        if let Err(error) = partial.check_room(needed) {
            self.discard(&partial.path);
            return Err(error);
        }
        self.put(&self.path().join(CERTIFICATE), certificate)?;
        self.put(&self.path().join(MANIFEST), &partial.manifest.seal())?;
        Ok(partial)
    }

    fn partial(&self, manifest: Manifest, is_new: bool) -> Result<PartialSnapshot, SnapshotError> {
        let path = self.path().join(DATA);
        let file = self.disk.open_to_write(&path, is_new);
        let file = file.map_err(failed(&path, "open the data"))?;
        let chunks = manifest.chunks.len();
        Ok(PartialSnapshot {
            manifest,
            path,
            file,
            has: vec![false; chunks],
            missing: chunks,
        })
    }

    /// What an earlier run has fetched, with the bytes of the certificate; every chunk of it was
    /// looked at.
    ///
    /// # Errors
    /// [`SnapshotError::Io`] when the disk refuses. Damaged files count as none, and what the disk
    /// does not give back goes: it would be in the way of every later attempt.
    pub fn resume(&self) -> Result<Option<(PartialSnapshot, Vec<u8>)>, SnapshotError> {
        let read = |name| self.read_joining(name);
        let read = read(MANIFEST).and_then(|manifest| Ok((manifest, read(CERTIFICATE)?)));
        let read = match read {
            Err(error) if error.is_damage() => {
                tracing::warn!(%error, "what was fetched of a snapshot is fetched again");
                self.forget()?;
                return Ok(None);
            }
            read => read?,
        };
        let (Some(manifest), Some(certificate)) = read else {
            return Ok(None);
        };
        let Ok(manifest) = Manifest::unseal(&manifest) else {
            return Ok(None);
        };
        let mut partial = self.partial(manifest, false)?;
        partial.look();
        Ok(Some((partial, certificate)))
    }

    /// One of the small files; none where it is missing.
    fn read_joining(&self, name: &str) -> Result<Option<Vec<u8>>, SnapshotError> {
        let path = self.path().join(name);
        match self.disk.read(&path, FILE_BYTES_MAX) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            bytes => bytes.map(Some).map_err(failed(&path, "read the file")),
        }
    }

    /// Makes a whole one a snapshot of this folder, its certificate beside it.
    ///
    /// # Errors
    /// [`SnapshotError::Io`] when the disk refuses. What was fetched is as it was then, so that
    /// [`resume`](Self::resume) finds every chunk; but for data that the disk has failed to sync,
    /// of which none is there any more.
    pub fn finish(&self, whole: PartialSnapshot, certificate: &[u8]) -> Result<(), SnapshotError> {
        let height = whole.manifest.height();
        let path = &whole.path;
        let resized = whole.file.set_len(whole.manifest.data_bytes());
        resized.map_err(failed(path, "set the length of the data"))?;
        if let Err(error) = whole.file.sync_all() {
            // What was not written reads as if it were, and the next sync of the same file would
            // say that it is.
            self.discard(path);
            return Err(failed(path, "sync the data")(error));
        }
        let placed = self
            .put_certificate(height, certificate)
            .and_then(|()| self.put_fetched(&whole.manifest))
            .and_then(|()| self.place(&whole));
        if placed.is_err() {
            self.discard_notes(height);
        }
        placed.and_then(|()| self.forget())
    }

    /// Gives the data its name, durably, then writes the manifest; where that fails the data gets
    /// its old name back.
    fn place(&self, whole: &PartialSnapshot) -> Result<(), SnapshotError> {
        let data = self.data_path(whole.manifest.height());
        let renamed = self.disk.rename(&whole.path, &data);
        renamed.map_err(failed(&data, "rename the data"))?;
        let placed = self
            .sync()
            .and_then(|()| self.put_manifest(&whole.manifest));
        if placed.is_err()
            && let Err(error) = self.disk.rename(&data, &whole.path)
        {
            tracing::warn!(%error, "a snapshot is fetched again: it cannot be put back");
        }
        placed
    }

    /// Gives the data of a fetched snapshot its old name back where a crash came between
    /// [`finish`](Self::finish) naming it and the manifest, so that [`resume`](Self::resume) finds
    /// every chunk.
    pub(super) fn take_back(&self) -> Result<(), SnapshotError> {
        let Some(manifest) = self.read_joining(MANIFEST)? else {
            return Ok(());
        };
        let Ok(manifest) = Manifest::unseal(&manifest) else {
            return Ok(());
        };
        let height = manifest.height();
        let is_placed = self.heights()?.binary_search(&height).is_ok();
        if is_placed || self.names()?.iter().any(|name| name == DATA) {
            return Ok(());
        }
        let (data, path) = (self.data_path(height), self.path().join(DATA));
        match self.disk.rename(&data, &path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(failed(&data, "rename the data")(error)),
            Ok(()) => self.sync(),
        }
    }

    /// Removes what was fetched of a snapshot that is not whole.
    ///
    /// # Errors
    /// [`SnapshotError::Io`] when a file cannot be removed; one that is missing is removed.
    pub fn forget(&self) -> Result<(), SnapshotError> {
        for name in [MANIFEST, CERTIFICATE, DATA] {
            let path = self.path().join(name);
            match self.disk.remove(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(failed(&path, "remove the file")(error));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "partial_tests.rs"]
mod tests;
