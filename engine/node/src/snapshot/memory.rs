//! A disk in memory with the crash behaviour of a real one, for simulation and tests.
//!
//! Every file has a live image (what the process sees: the page cache) and a durable image (what a
//! power cut leaves), and so has the list of names. Owns what may be lost when. Never: knows what a
//! snapshot is. Its power is that of the log's simulated disk: both are in one machine.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use quorate_log::{MemoryBackend, Unsynced};
use rustix::io::Errno;

/// What a disk writes of a large file at once or not at all: a page of the system's cache.
const PAGE_BYTES: usize = 4096;

/// A simulated disk. Clones are handles to the same one.
#[derive(Clone, Debug)]
pub struct MemoryDisk {
    power: MemoryBackend,
    names: Arc<Mutex<Names>>,
}

type Files = BTreeMap<PathBuf, Arc<Mutex<Images>>>;

#[derive(Debug, Default)]
struct Names {
    live: Files,
    durable: Files,
    folders: Folders,
    /// Bytes that all files together may have; as many as they like when none.
    bytes_max: Option<usize>,
    /// Reads of open files that are still to be had; as many as anybody likes when none.
    reads_left: Option<u32>,
    /// Whether the next sync of a file fails.
    fails_sync: bool,
    /// Looks into a folder from now on that are refused.
    looks_refused: u32,
    /// Files that the disk does not give back.
    unreadable: BTreeSet<PathBuf>,
}

/// Folders that were made.
#[derive(Clone, Debug, Default)]
struct Folders {
    live: BTreeSet<PathBuf>,
    durable: BTreeSet<PathBuf>,
}

#[derive(Clone, Debug, Default)]
struct Images {
    live: Vec<u8>,
    durable: Vec<u8>,
    /// Pages that a sync failed to write. They read as they were written, and no later sync writes
    /// them: the system takes them for written.
    given_up: BTreeSet<usize>,
}

/// Numbers of the pages of which a stretch has bytes.
fn pages_of(range: &Range<usize>) -> Range<usize> {
    range.start / PAGE_BYTES..range.end.div_ceil(PAGE_BYTES)
}

/// An open file of one.
#[derive(Debug)]
pub(super) struct MemoryHandle {
    disk: MemoryDisk,
    file: Arc<Mutex<Images>>,
}

fn missing() -> io::Error {
    io::ErrorKind::NotFound.into()
}

impl MemoryDisk {
    /// An empty disk in the machine with this log.
    #[must_use]
    pub fn new(power: &MemoryBackend) -> Self {
        Self {
            power: power.clone(),
            names: Arc::default(),
        }
    }

    /// From now on all files together have at most so many bytes, and what would make them longer
    /// fails for want of space; `None` for as many as they like.
    pub fn set_bytes_max(&self, bytes_max: Option<usize>) {
        self.names.lock().bytes_max = bytes_max;
    }

    /// From now on so many reads of open files succeed, and the disk refuses those that follow;
    /// `None` for as many as anybody likes.
    pub fn set_reads_left(&self, reads: Option<u32>) {
        self.names.lock().reads_left = reads;
    }

    /// The next sync of a file fails as that of a failing disk does: what it was to write is lost
    /// with the power, whatever a later one says, and reads as it was written until then.
    pub fn fail_next_sync(&self) {
        self.names.lock().fails_sync = true;
    }

    /// From now on so many looks at the names in a folder are refused, for want of descriptors.
    pub fn refuse_looks(&self, count: u32) {
        self.names.lock().looks_refused = count;
    }

    /// The disk does not give a file back any more, until it is removed.
    pub fn make_unreadable(&self, path: &Path) {
        self.names.lock().unreadable.insert(path.to_path_buf());
    }

    fn spend_read(&self) -> io::Result<()> {
        match &mut self.names.lock().reads_left {
            Some(0) => Err(io::Error::other("the disk does not read any more")),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// How long a file may become that has `bytes_len` bytes now and asks for `wanted`.
    fn granted(&self, bytes_len: usize, wanted: usize) -> usize {
        let room = self.room();
        room.map_or(wanted, |room| wanted.min(bytes_len.saturating_add(room)))
    }

    /// Bytes that files may still grow by; as many as they like when none.
    fn room(&self) -> Option<usize> {
        let names = self.names.lock();
        let used = || names.live.values().map(|file| file.lock().live.len()).sum();
        let room = |bytes_max: usize| bytes_max.saturating_sub(used());
        names.bytes_max.map(room)
    }

    /// The disk as the death of the process alone leaves it: all that was stored is there, and
    /// what was not synced still is not. `power` is that of the next life.
    #[must_use]
    pub fn process_kill(&self, power: &MemoryBackend) -> Self {
        let names = self.names.lock();
        let mut copies: BTreeMap<*const Mutex<Images>, Arc<Mutex<Images>>> = BTreeMap::new();
        let mut copied = |files: &Files| -> Files {
            let copy = |(path, file): (&PathBuf, &Arc<Mutex<Images>>)| {
                let made = copies
                    .entry(Arc::as_ptr(file))
                    .or_insert_with(|| Arc::new(Mutex::new(file.lock().clone())));
                (path.clone(), Arc::clone(made))
            };
            files.iter().map(copy).collect()
        };
        let (live, durable) = (copied(&names.live), copied(&names.durable));
        Self::holding(power, live, durable, names.folders.clone())
    }

    /// The disk as a power cut at this moment leaves it, with the power of the next life. `keep`
    /// decides for each unsynced thing whether it survived. This disk is not changed.
    #[must_use]
    pub fn power_cut(
        &self,
        power: &MemoryBackend,
        mut keep: impl FnMut(Unsynced<'_>) -> bool,
    ) -> Self {
        let names = self.names.lock();
        let Folders { live, durable } = &names.folders;
        let is_left = |folder: &&PathBuf| {
            let name = folder.to_str().unwrap_or_default();
            durable.contains(*folder) || keep(Unsynced::Name(name))
        };
        let folders: BTreeSet<PathBuf> = live.iter().filter(is_left).cloned().collect();
        let all: BTreeSet<&PathBuf> = names.live.keys().chain(names.durable.keys()).collect();
        let mut files = Files::new();
        for path in all {
            // With its folder goes whatever was synced in it.
            if !path.parent().is_some_and(|folder| folders.contains(folder)) {
                continue;
            }
            let (live, durable) = (names.live.get(path), names.durable.get(path));
            let is_synced = match (live, durable) {
                (Some(live), Some(durable)) => Arc::ptr_eq(live, durable),
                _ => false,
            };
            let name = path.to_str().unwrap_or_default();
            let is_kept = is_synced || keep(Unsynced::Name(name));
            if let Some(file) = if is_kept { live } else { durable } {
                let image = after_power_cut(name, &file.lock(), &mut keep);
                let images = Images {
                    live: image.clone(),
                    durable: image,
                    given_up: BTreeSet::new(),
                };
                files.insert(path.clone(), Arc::new(Mutex::new(images)));
            }
        }
        let folders = Folders {
            live: folders.clone(),
            durable: folders,
        };
        Self::holding(power, files.clone(), files, folders)
    }

    fn holding(power: &MemoryBackend, live: Files, durable: Files, folders: Folders) -> Self {
        let names = Names {
            live,
            durable,
            folders,
            bytes_max: None,
            reads_left: None,
            fails_sync: false,
            looks_refused: 0,
            unreadable: BTreeSet::new(),
        };
        Self {
            power: power.clone(),
            names: Arc::new(Mutex::new(names)),
        }
    }

    pub(super) fn names(&self, folder: &Path) -> io::Result<Vec<String>> {
        let mut names = self.names.lock();
        if let Some(left) = names.looks_refused.checked_sub(1) {
            names.looks_refused = left;
            return Err(Errno::MFILE.into());
        }
        if !names.folders.live.contains(folder) {
            return Err(missing());
        }
        let here = names.live.keys();
        let here = here.filter(|path| path.parent() == Some(folder));
        let name = |path: &PathBuf| Some(path.file_name()?.to_str()?.to_owned());
        Ok(here.filter_map(name).collect())
    }

    pub(super) fn make_folder(&self, folder: &Path) -> io::Result<bool> {
        self.power.spend_step()?;
        let made = folder.to_path_buf();
        Ok(self.names.lock().folders.live.insert(made))
    }

    pub(super) fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        self.power.spend_step()?;
        let mut names = self.names.lock();
        let is_here = |path: &PathBuf| path.parent() == Some(folder);
        let Folders { live, durable } = &mut names.folders;
        durable.extend(live.iter().filter(|path| is_here(path)).cloned());
        names.durable.retain(|path, _| !is_here(path));
        let live = names.live.iter().filter(|(path, _)| is_here(path));
        let live: Files = live
            .map(|(path, file)| (path.clone(), Arc::clone(file)))
            .collect();
        names.durable.extend(live);
        Ok(())
    }

    pub(super) fn read(&self, path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
        let file = self.file(path)?;
        if self.names.lock().unreadable.contains(path) {
            return Err(Errno::IO.into());
        }
        let images = file.lock();
        let most = usize::try_from(bytes_max).unwrap_or(usize::MAX);
        Ok(images.live[..images.live.len().min(most)].to_vec())
    }

    fn file(&self, path: &Path) -> io::Result<Arc<Mutex<Images>>> {
        self.names
            .lock()
            .live
            .get(path)
            .cloned()
            .ok_or_else(missing)
    }

    fn handle(&self, file: Arc<Mutex<Images>>) -> MemoryHandle {
        let disk = self.clone();
        MemoryHandle { disk, file }
    }

    pub(super) fn open(&self, path: &Path) -> io::Result<MemoryHandle> {
        Ok(self.handle(self.file(path)?))
    }

    pub(super) fn open_to_write(&self, path: &Path, is_new: bool) -> io::Result<MemoryHandle> {
        self.power.spend_step()?;
        let mut names = self.names.lock();
        let is_folder = |folder: &Path| names.folders.live.contains(folder);
        if !path.parent().is_some_and(is_folder) {
            return Err(missing());
        }
        let file = match names.live.get(path) {
            Some(file) => Arc::clone(file),
            None if self.power.is_full() => return Err(io::ErrorKind::StorageFull.into()),
            None => {
                let file = Arc::<Mutex<Images>>::default();
                names.live.insert(path.to_path_buf(), Arc::clone(&file));
                file
            }
        };
        if is_new {
            let mut images = file.lock();
            images.live.clear();
            images.given_up.clear();
        }
        drop(names);
        Ok(self.handle(file))
    }

    pub(super) fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.power.spend_step()?;
        let mut names = self.names.lock();
        let file = names.live.remove(from).ok_or_else(missing)?;
        names.live.insert(to.to_path_buf(), file);
        Ok(())
    }

    pub(super) fn remove(&self, path: &Path) -> io::Result<()> {
        self.power.spend_step()?;
        let mut names = self.names.lock();
        names.unreadable.remove(path);
        let removed = names.live.remove(path);
        removed.map(drop).ok_or_else(missing)
    }
}

/// Its length survives or not, and each page that was written since it was synced.
fn after_power_cut(
    name: &str,
    file: &Images,
    keep: &mut impl FnMut(Unsynced<'_>) -> bool,
) -> Vec<u8> {
    let mut image = file.durable.clone();
    if image.len() != file.live.len() && keep(Unsynced::Name(name)) {
        image.resize(file.live.len(), 0);
    }
    let pages = image.chunks_mut(PAGE_BYTES);
    for (number, (page, live)) in pages.zip(file.live.chunks(PAGE_BYTES)).enumerate() {
        let bytes_len = page.len().min(live.len());
        let (page, live) = (&mut page[..bytes_len], &live[..bytes_len]);
        let offset = number * PAGE_BYTES;
        let is_given_up = file.given_up.contains(&number);
        if page != live && !is_given_up && keep(Unsynced::Sector { name, offset }) {
            page.copy_from_slice(live);
        }
    }
    image
}

impl MemoryHandle {
    pub(super) fn bytes_len(&self) -> u64 {
        self.file.lock().live.len() as u64
    }

    pub(super) fn free_bytes(&self) -> Option<u64> {
        self.disk.room().map(|room| room as u64)
    }

    pub(super) fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        self.disk.spend_read()?;
        let file = self.file.lock();
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let range = start..start.saturating_add(bytes.len());
        let found = file.live.get(range).ok_or(io::ErrorKind::UnexpectedEof)?;
        bytes.copy_from_slice(found);
        Ok(())
    }

    /// How long it may become of `wanted` bytes.
    fn granted(&self, wanted: usize) -> usize {
        // The lock is free again: the disk looks at all files.
        let bytes_len = self.file.lock().live.len();
        self.disk.granted(bytes_len, wanted)
    }

    pub(super) fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.disk.power.spend_step()?;
        let start = usize::try_from(offset).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let end = start.saturating_add(bytes.len());
        // As on a real disk, what fitted stays.
        let granted = self.granted(end);
        if granted > start {
            let mut file = self.file.lock();
            if file.live.len() < granted {
                file.live.resize(granted, 0);
            }
            file.live[start..granted].copy_from_slice(&bytes[..granted - start]);
            let written = pages_of(&(start..granted));
            file.given_up.retain(|page| !written.contains(page));
        }
        match granted < end {
            true => Err(io::ErrorKind::StorageFull.into()),
            false => Ok(()),
        }
    }

    pub(super) fn set_len(&self, bytes_len: u64) -> io::Result<()> {
        self.disk.power.spend_step()?;
        let bytes_len = usize::try_from(bytes_len).map_err(|_| io::ErrorKind::FileTooLarge)?;
        if self.granted(bytes_len) < bytes_len {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let mut file = self.file.lock();
        file.live.resize(bytes_len, 0);
        let pages = bytes_len.div_ceil(PAGE_BYTES);
        file.given_up.retain(|&page| page < pages);
        Ok(())
    }

    pub(super) fn sync_all(&self) -> io::Result<()> {
        self.disk.power.spend_step()?;
        let fails = std::mem::take(&mut self.disk.names.lock().fails_sync);
        let mut file = self.file.lock();
        let Images {
            live,
            durable,
            given_up,
        } = &mut *file;
        durable.resize(live.len(), 0);
        let pages = durable.chunks_mut(PAGE_BYTES).zip(live.chunks(PAGE_BYTES));
        for (number, (durable, live)) in pages.enumerate() {
            if fails && durable != live {
                given_up.insert(number);
            } else if !given_up.contains(&number) {
                durable.copy_from_slice(live);
            }
        }
        if fails {
            return Err(Errno::IO.into());
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "memory_tests.rs"]
mod tests;
