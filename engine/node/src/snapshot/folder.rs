//! The folder of snapshots on a disk.
//!
//! Owns names, the order of writes that makes a snapshot whole or absent, and reading with every
//! chunk checked. Never: what a snapshot means.
//!
//! The data is written under another name, synced and renamed; then the manifest is. A snapshot is
//! there when its manifest is.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::SnapshotError;
use super::disk::{Disk, OpenFile};
use super::manifest::{CHUNK_BYTES, CHUNKS_MAX, MANIFEST_BYTES_MAX, Manifest};
use super::memory::MemoryDisk;

const PREFIX: &str = "snapshot-";
const DATA: &str = "data";
const MANIFEST: &str = "manifest";
const CERTIFICATE: &str = "certificate";
/// The newest certificate of a state; it belongs to no snapshot.
const ATTESTED: &str = "attested.certificate";
/// One that a start came to another state than, and that nobody has judged yet.
const DOUBTED: &str = "doubted.certificate";
const FETCHED: &str = "fetched";
/// What is read of that note, which is a hash: one byte more than it has.
const NOTE_BYTES_MAX: u64 = 33;
/// Longest certificate, bytes: a statement and 240 signatures, twice over.
const CERTIFICATE_BYTES_MAX: u64 = 32 * 1024;
/// So many chunks are synced together. Of a whole state at once a disk would write for seconds, and
/// a sync of the log on the same disk waits for what is on its way there.
const SYNCED_CHUNKS: usize = 8;
/// Ending of a file in the making.
const TEMPORARY: &str = ".new";

/// Of which height a file is that is named as those written here are, and whether it was in the
/// making.
fn height_of(name: &str) -> Option<(u64, bool)> {
    let rest = name.strip_prefix(PREFIX)?;
    let whole = rest.strip_suffix(TEMPORARY);
    let (digits, ending) = whole.unwrap_or(rest).split_once('.')?;
    let is_ours = digits.len() == 20 && [DATA, MANIFEST, CERTIFICATE, FETCHED].contains(&ending);
    let height = digits.parse().ok().filter(|_| is_ours)?;
    Some((height, whole.is_some()))
}

/// The snapshots of one validator.
#[derive(Clone, Debug)]
pub struct SnapshotFolder {
    pub(super) disk: Disk,
    path: PathBuf,
    /// Whether the name of the folder was synced in this run: one that is there may be of a run
    /// that ended before that.
    is_named: Arc<AtomicBool>,
}

pub(super) fn failed(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> SnapshotError {
    let path = path.to_path_buf();
    move |source| SnapshotError::Io {
        path,
        action,
        source,
    }
}

impl SnapshotFolder {
    /// The snapshots in a folder; it is made when the first one is written.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self::on(Disk::Real, path)
    }

    /// The snapshots on a simulated disk, all in one folder of it.
    #[must_use]
    pub fn in_memory(disk: &MemoryDisk) -> Self {
        Self::on(Disk::Memory(disk.clone()), PathBuf::from("snapshots"))
    }

    fn on(disk: Disk, path: PathBuf) -> Self {
        Self {
            disk,
            path,
            is_named: Arc::default(),
        }
    }

    /// Makes the folder, durably: what is synced in it would go with its name. The folder above is
    /// synced once: the log is in it too, and a sync waits there for what the log writes.
    pub(super) fn make(&self) -> Result<(), SnapshotError> {
        let made = self.disk.make_folder(&self.path);
        let is_new = made.map_err(failed(&self.path, "make the folder"))?;
        if is_new || !self.is_named.load(Ordering::Relaxed) {
            self.is_named.store(false, Ordering::Relaxed);
            let parent = self.path.parent().unwrap_or(&self.path);
            let synced = self.disk.sync_folder(parent);
            synced.map_err(failed(parent, "sync the folder"))?;
            self.is_named.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn file(&self, height: u64, ending: &str) -> PathBuf {
        self.path.join(format!("{PREFIX}{height:020}.{ending}"))
    }

    /// Heights of the snapshots that are there, ascending.
    ///
    /// # Errors
    /// [`SnapshotError::Io`] when the folder cannot be read; one that is missing is empty.
    pub fn heights(&self) -> Result<Vec<u64>, SnapshotError> {
        let height = |name: &String| {
            let (height, is_in_the_making) = height_of(name)?;
            let is_manifest = name.ends_with(MANIFEST) && !is_in_the_making;
            is_manifest.then_some(height)
        };
        let mut heights: Vec<u64> = self.names()?.iter().filter_map(height).collect();
        heights.sort_unstable();
        Ok(heights)
    }

    /// Heights of which the data is there and the manifest is not, ascending: snapshots that have
    /// lost it, where nobody is taking one.
    ///
    /// # Errors
    /// [`SnapshotError::Io`] when the folder cannot be read; one that is missing is empty.
    pub fn heights_unnamed(&self) -> Result<Vec<u64>, SnapshotError> {
        let named = self.heights()?;
        let height = |name: &String| {
            let (height, is_in_the_making) = height_of(name)?;
            let is_data = name.ends_with(DATA) && !is_in_the_making;
            (is_data && named.binary_search(&height).is_err()).then_some(height)
        };
        let mut heights: Vec<u64> = self.names()?.iter().filter_map(height).collect();
        heights.sort_unstable();
        Ok(heights)
    }

    /// Names of its files; none of a folder that is missing.
    pub(crate) fn names(&self) -> Result<Vec<String>, SnapshotError> {
        match self.disk.names(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            names => names.map_err(failed(&self.path, "read the folder")),
        }
    }

    /// The manifest of a snapshot.
    ///
    /// # Errors
    /// [`SnapshotError`] when it is missing, damaged, or of another height than its name.
    pub fn manifest(&self, height: u64) -> Result<Manifest, SnapshotError> {
        let path = self.file(height, MANIFEST);
        let bytes = self.disk.read(&path, MANIFEST_BYTES_MAX as u64 + 33);
        let bytes = bytes.map_err(failed(&path, "read the manifest"))?;
        match Manifest::unseal(&bytes) {
            Ok(manifest) if manifest.height() == height => Ok(manifest),
            Ok(manifest) => {
                let height = manifest.height();
                Err(SnapshotError::Misnamed { path, height })
            }
            Err(source) => Err(SnapshotError::Manifest { path, source }),
        }
    }

    pub(super) fn data_path(&self, height: u64) -> PathBuf {
        self.file(height, DATA)
    }

    pub(super) fn put_manifest(&self, manifest: &Manifest) -> Result<(), SnapshotError> {
        self.put(&self.file(manifest.height(), MANIFEST), &manifest.seal())
    }

    /// Notes beside a snapshot that it is of a peer, so that the log need not reach it.
    pub(super) fn put_fetched(&self, manifest: &Manifest) -> Result<(), SnapshotError> {
        self.put(&self.file(manifest.height(), FETCHED), &manifest.root())
    }

    /// Whether a snapshot was fetched from peers and is not in the log yet.
    ///
    /// # Errors
    /// [`SnapshotError::Io`] when the note cannot be read.
    pub fn is_fetched(&self, manifest: &Manifest) -> Result<bool, SnapshotError> {
        let path = self.file(manifest.height(), FETCHED);
        match self.disk.read(&path, NOTE_BYTES_MAX) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            root => root
                .map(|root| root == manifest.root())
                .map_err(failed(&path, "read the note")),
        }
    }

    /// The log begins with this snapshot now: it is one like any other.
    ///
    /// # Errors
    /// [`SnapshotError::Io`] when the note cannot be removed.
    pub fn settle_fetched(&self, height: u64) -> Result<(), SnapshotError> {
        let path = self.file(height, FETCHED);
        match self.disk.remove(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(failed(&path, "remove the note")(error)),
            Ok(()) => self.sync(),
        }
    }

    /// Puts a certificate over its statement beside a snapshot; its bytes are the caller's.
    ///
    /// # Errors
    /// [`SnapshotError::Io`] when it cannot be written.
    pub fn put_certificate(&self, height: u64, bytes: &[u8]) -> Result<(), SnapshotError> {
        self.put(&self.file(height, CERTIFICATE), bytes)
    }

    /// The bytes of a snapshot's certificate; none when it has none yet.
    ///
    /// # Errors
    /// [`SnapshotError::Io`] when it cannot be read.
    pub fn certificate(&self, height: u64) -> Result<Option<Vec<u8>>, SnapshotError> {
        self.read_certificate(&self.file(height, CERTIFICATE))
    }

    /// Replaces the newest certificate of a state. Its bytes are not synced: one that a loss of
    /// power takes is followed by the next, and a sync would hold up the log on the same disk.
    ///
    /// # Errors
    /// [`SnapshotError::Io`] when it cannot be written.
    pub fn put_attested(&self, bytes: &[u8]) -> Result<(), SnapshotError> {
        self.make()?;
        self.replace(&self.path.join(ATTESTED), |file| {
            file.write_all_at(bytes, 0)
        })
    }

    /// The bytes of the newest certificate of a state; none when there is none yet.
    ///
    /// # Errors
    /// [`SnapshotError::Io`] when it cannot be read.
    pub fn attested(&self) -> Result<Option<Vec<u8>>, SnapshotError> {
        self.read_certificate(&self.path.join(ATTESTED))
    }

    /// Puts the newest certificate of a state out of the way of those of this run, for good. One
    /// that was doubted before stays the evidence that it is.
    ///
    /// # Errors
    /// [`SnapshotError::Io`] when it cannot be read or written.
    pub(crate) fn doubt_attested(&self) -> Result<(), SnapshotError> {
        if self.doubted()?.is_some() {
            return Ok(());
        }
        let Some(bytes) = self.attested()? else {
            return Ok(());
        };
        self.put(&self.path.join(DOUBTED), &bytes)?;
        let path = self.path.join(ATTESTED);
        let removed = self.disk.remove(&path);
        removed.map_err(failed(&path, "remove the certificate"))
    }

    /// The bytes of the certificate that a start was in doubt about; none when there is none.
    ///
    /// # Errors
    /// [`SnapshotError::Io`] when it cannot be read: whether there is doubt is not known.
    pub fn doubted(&self) -> Result<Option<Vec<u8>>, SnapshotError> {
        self.read_certificate(&self.path.join(DOUBTED))
    }

    fn read_certificate(&self, path: &Path) -> Result<Option<Vec<u8>>, SnapshotError> {
        match self.disk.read(path, CERTIFICATE_BYTES_MAX) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            bytes => bytes
                .map(Some)
                .map_err(failed(path, "read the certificate")),
        }
    }

    /// Opens a snapshot for reading.
    ///
    /// # Errors
    /// As [`manifest`](Self::manifest), or the data is missing or of another length.
    pub fn open(&self, height: u64) -> Result<SnapshotReader, SnapshotError> {
        self.open_data(self.manifest(height)?)
    }

    fn open_data(&self, manifest: Manifest) -> Result<SnapshotReader, SnapshotError> {
        let path = self.file(manifest.height(), DATA);
        self.open_data_at(path, manifest)
    }

    fn open_data_at(
        &self,
        path: PathBuf,
        manifest: Manifest,
    ) -> Result<SnapshotReader, SnapshotError> {
        let file = self.disk.open(&path);
        let file = file.map_err(failed(&path, "open the data"))?;
        let found = file.bytes_len();
        let found = found.map_err(failed(&path, "look at the data"))?;
        let expected = manifest.data_bytes();
        if found != expected {
            return Err(SnapshotError::Length {
                path,
                found,
                expected,
            });
        }
        Ok(SnapshotReader {
            path,
            file,
            manifest,
        })
    }

    /// Reads a snapshot whole and checks every chunk of it.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn verify(&self, height: u64) -> Result<Manifest, SnapshotError> {
        let mut reader = self.open(height)?;
        reader.check()?;
        Ok(reader.manifest)
    }

    /// Begins to write the data of a snapshot.
    ///
    /// # Errors
    /// [`SnapshotError::Io`] when folder or file cannot be made.
    pub fn write(&self, height: u64) -> Result<SnapshotWriter, SnapshotError> {
        self.make()?;
        let path = self.file(height, &format!("{DATA}{TEMPORARY}"));
        let file = self.disk.open_to_write(&path, true);
        let file = file.map_err(failed(&path, "make the data"))?;
        Ok(SnapshotWriter {
            folder: self.clone(),
            height,
            path,
            file,
            written_bytes: 0,
            chunk: Vec::new(),
            chunks: Vec::new(),
            is_finished: false,
        })
    }

    /// Replaces a file durably. One that the disk refuses leaves nothing behind.
    pub(super) fn put(&self, path: &Path, bytes: &[u8]) -> Result<(), SnapshotError> {
        self.replace(path, |file| {
            file.write_all_at(bytes, 0)?;
            file.sync_all()
        })?;
        self.sync()
    }

    /// Replaces a file by what `write` makes of a new one, which is gone when anything fails: a
    /// disk that is full would else stay so.
    fn replace(
        &self,
        path: &Path,
        write: impl FnOnce(&OpenFile) -> io::Result<()>,
    ) -> Result<(), SnapshotError> {
        let mut temporary = path.as_os_str().to_owned();
        temporary.push(TEMPORARY);
        let temporary = PathBuf::from(temporary);
        let file = self.disk.open_to_write(&temporary, true);
        let file = file.map_err(failed(&temporary, "make the file"))?;
        let replaced = write(&file)
            .map_err(failed(&temporary, "write the file"))
            .and_then(|()| {
                let renamed = self.disk.rename(&temporary, path);
                renamed.map_err(failed(path, "rename the file"))
            });
        if replaced.is_err() {
            self.discard(&temporary);
        }
        replaced
    }

    /// Removes what was not finished, as far as the disk lets it: the next start cleans up the
    /// rest.
    pub(super) fn discard(&self, path: &Path) {
        match self.disk.remove(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(path = %path.display(), %error, "a file in the making stays");
            }
            _ => {}
        }
    }

    /// Removes what stands beside the data of a snapshot that could not be finished.
    pub(super) fn discard_notes(&self, height: u64) {
        for ending in [MANIFEST, FETCHED, CERTIFICATE] {
            self.discard(&self.file(height, ending));
        }
    }

    pub(super) fn sync(&self) -> Result<(), SnapshotError> {
        let synced = self.disk.sync_folder(&self.path);
        synced.map_err(failed(&self.path, "sync the folder"))
    }

    /// Removes a snapshot, its manifest first.
    ///
    /// # Errors
    /// [`SnapshotError::Io`] when a file cannot be removed; one that is missing is removed.
    pub fn remove(&self, height: u64) -> Result<(), SnapshotError> {
        for ending in [MANIFEST, FETCHED, CERTIFICATE, DATA] {
            let path = self.file(height, ending);
            match self.disk.remove(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(failed(&path, "remove the file")(error));
                }
                _ => self.sync()?,
            }
        }
        Ok(())
    }

    /// Moves a snapshot to another folder of the same disk, its manifest first.
    ///
    /// # Errors
    /// [`SnapshotError::Io`] when a file cannot be moved; one that is missing is moved.
    pub(crate) fn set_aside(&self, height: u64, to: &Path) -> Result<(), SnapshotError> {
        Self::on(self.disk.clone(), to.to_path_buf()).make()?;
        for ending in [MANIFEST, CERTIFICATE, DATA] {
            let path = self.file(height, ending);
            let name = path.file_name().unwrap_or_default();
            match self.disk.rename(&path, &to.join(name)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(failed(&path, "move the file")(error));
                }
                _ => self.sync()?,
            }
        }
        Ok(())
    }

    /// Removes what a crash left behind: files in the making, and files whose manifest is not
    /// there, but for the data of a fetched one that was just being named. A name that is not one
    /// of ours stays, and so does what cannot be removed. Only by the one process that writes
    /// snapshots here, and not while it does.
    ///
    /// # Errors
    /// [`SnapshotError::Io`] when the folder cannot be read.
    pub fn clean(&self) -> Result<(), SnapshotError> {
        if let Err(error) = self.take_back() {
            tracing::warn!(%error, "the folder of snapshots is not cleaned in this run");
            return Ok(());
        }
        let heights = self.heights()?;
        for name in self.names()? {
            let Some((height, is_in_the_making)) = height_of(&name) else {
                continue;
            };
            if is_in_the_making || heights.binary_search(&height).is_err() {
                self.discard(&self.path.join(&name));
            }
        }
        Ok(())
    }

    /// Removes all snapshots but the newest `count` and those of the heights `held`.
    ///
    /// # Errors
    /// As [`remove`](Self::remove).
    pub fn keep_newest(&self, count: usize, held: &[u64]) -> Result<(), SnapshotError> {
        let heights = self.heights()?;
        let surplus = heights.len().saturating_sub(count);
        heights[..surplus]
            .iter()
            .filter(|height| !held.contains(height))
            .try_for_each(|&height| self.remove(height))
    }
}

/// Reads one snapshot, every chunk checked as it is read.
#[derive(Debug)]
pub struct SnapshotReader {
    path: PathBuf,
    file: OpenFile,
    manifest: Manifest,
}

impl SnapshotReader {
    /// What it is of.
    #[must_use]
    pub const fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Reads all of it.
    ///
    /// # Errors
    /// As [`chunk`](Self::chunk).
    pub(crate) fn check(&mut self) -> Result<(), SnapshotError> {
        for chunk in 0..self.manifest.chunks.len() as u32 {
            self.chunk(chunk)?;
        }
        Ok(())
    }

    /// One chunk; nothing behind the last one.
    ///
    /// # Errors
    /// [`SnapshotError::Chunk`] when it is not the one that the manifest names.
    pub fn chunk(&mut self, chunk: u32) -> Result<Vec<u8>, SnapshotError> {
        // A peer may ask for any number; that says nothing about the disk.
        if chunk as usize >= self.manifest.chunks.len() {
            return Ok(Vec::new());
        }
        let mut bytes = vec![0; self.manifest.chunk_bytes(chunk)];
        let start = u64::from(chunk) * u64::from(CHUNK_BYTES);
        self.file
            .read_exact_at(&mut bytes, start)
            .map_err(failed(&self.path, "read the data"))?;
        if !self.manifest.is_chunk(chunk, &bytes) {
            let path = self.path.clone();
            return Err(SnapshotError::Chunk { path, chunk });
        }
        Ok(bytes)
    }

    /// The canonical bytes of one section; empty when there is no such section.
    ///
    /// # Errors
    /// As [`chunk`](Self::chunk).
    pub fn section(&mut self, section: usize) -> Result<Vec<u8>, SnapshotError> {
        let sections = &self.manifest.sections;
        let before = sections.iter().take(section);
        let start: u64 = before.map(|entry| entry.bytes).sum();
        let length = sections.get(section).map_or(0, |entry| entry.bytes);
        // The data has this length: it was looked at when the snapshot was opened.
        let mut bytes = Vec::with_capacity(length as usize);
        let mut at = start;
        while at < start + length {
            let number = u32::try_from(at / u64::from(CHUNK_BYTES)).unwrap_or(u32::MAX);
            let chunk = self.chunk(number)?;
            let from = (at % u64::from(CHUNK_BYTES)) as usize;
            let wanted = (start + length - at).min((chunk.len() - from) as u64) as usize;
            bytes.extend_from_slice(&chunk[from..from + wanted]);
            at += wanted as u64;
        }
        Ok(bytes)
    }
}

/// Writes the data of one snapshot, and its manifest last. One that is dropped before it is
/// finished takes with it what it wrote.
#[derive(Debug)]
pub struct SnapshotWriter {
    folder: SnapshotFolder,
    height: u64,
    path: PathBuf,
    file: OpenFile,
    written_bytes: u64,
    /// What has not made a chunk yet.
    chunk: Vec<u8>,
    chunks: Vec<[u8; 32]>,
    is_finished: bool,
}

impl SnapshotWriter {
    /// Appends bytes to the data.
    ///
    /// # Errors
    /// [`SnapshotError`] when the disk refuses or a snapshot cannot be that large.
    pub fn push(&mut self, mut bytes: &[u8]) -> Result<(), SnapshotError> {
        while !bytes.is_empty() {
            let room = CHUNK_BYTES as usize - self.chunk.len();
            let (head, tail) = bytes.split_at(room.min(bytes.len()));
            self.chunk.extend_from_slice(head);
            bytes = tail;
            if self.chunk.len() == CHUNK_BYTES as usize {
                self.end_chunk()?;
            }
        }
        Ok(())
    }

    fn end_chunk(&mut self) -> Result<(), SnapshotError> {
        if self.chunks.len() == CHUNKS_MAX as usize {
            return Err(SnapshotError::TooLarge { what: "its bytes" });
        }
        self.chunks.push(*blake3::hash(&self.chunk).as_bytes());
        self.file
            .write_all_at(&self.chunk, self.written_bytes)
            .map_err(failed(&self.path, "write the data"))?;
        self.written_bytes += self.chunk.len() as u64;
        self.chunk.clear();
        if self.chunks.len().is_multiple_of(SYNCED_CHUNKS) {
            self.sync()?;
        }
        Ok(())
    }

    fn sync(&self) -> Result<(), SnapshotError> {
        let synced = self.file.sync_all();
        synced.map_err(failed(&self.path, "sync the data"))
    }

    /// Ends the data and writes the manifest, whose chunks are filled in. When this returns the
    /// snapshot survives a crash; before, it is not there.
    ///
    /// # Errors
    /// [`SnapshotError`] when the disk refuses.
    pub fn finish(self, manifest: Manifest) -> Result<Manifest, SnapshotError> {
        self.finish_tried(manifest, |_| Ok(()))
    }

    /// The same; `try_out` reads the data back before it has its name, and of what it refuses
    /// nothing stays. Below that name there may be the manifest of an earlier snapshot of this
    /// height, of which a damaged one must not be made whole by what was refused.
    ///
    /// # Errors
    /// [`SnapshotError`] when the disk refuses, or `try_out` does.
    pub(crate) fn finish_tried(
        mut self,
        mut manifest: Manifest,
        try_out: impl FnOnce(&mut SnapshotReader) -> Result<(), SnapshotError>,
    ) -> Result<Manifest, SnapshotError> {
        if !self.chunk.is_empty() {
            self.end_chunk()?;
        }
        self.sync()?;
        manifest.chunks = std::mem::take(&mut self.chunks);
        let folder = &self.folder;
        let mut reader = folder.open_data_at(self.path.clone(), manifest)?;
        try_out(&mut reader)?;
        let data = folder.file(self.height, DATA);
        let renamed = folder.disk.rename(&self.path, &data);
        renamed.map_err(failed(&data, "rename the data"))?;
        folder.sync()?;
        self.folder.put_manifest(&reader.manifest)?;
        self.is_finished = true;
        Ok(reader.manifest)
    }
}

impl Drop for SnapshotWriter {
    fn drop(&mut self) {
        if self.is_finished {
            return;
        }
        self.folder.discard(&self.path);
        // Where a manifest is, the data is that of a whole snapshot.
        let heights = self.folder.heights();
        if heights.is_ok_and(|heights| !heights.contains(&self.height)) {
            self.folder.discard(&self.folder.data_path(self.height));
        }
    }
}
