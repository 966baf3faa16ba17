//! A folder in memory with the crash behaviour of a disk, for simulation and tests.
//!
//! Every file has a live image (what the process sees: the page cache) and a durable image (what
//! a power cut leaves), and so has the list of names. Owns what may be lost when; knows nothing
//! of the log. Time is counted in steps - eight bytes stored into a map, or one call - so that a
//! test can cut the power at every one of them.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::backend::{Backend, CreateError, Fill, PAGE_BYTES, Unreadable, some_page};
use crate::claim::Claim;
use crate::map::{RegionWriter, SharedBytes};

/// A disk writes this much at once or not at all.
pub const SECTOR_BYTES: usize = 512;
/// Stores into a map become visible in words of this size.
const WORD_BYTES: usize = 8;

/// Something that was not synced when the power went; the caller of
/// [`MemoryBackend::power_cut`] says whether it survived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsynced<'a> {
    /// A name that was created, replaced or removed since the folder was synced.
    Name(&'a str),
    /// A sector that was written since it was synced.
    Sector {
        /// The file, by its name after the crash.
        name: &'a str,
        /// The first byte of the sector.
        offset: usize,
    },
}

/// A simulated folder. Clones are handles to the same folder.
#[derive(Clone, Debug, Default)]
pub struct MemoryBackend {
    power: Arc<Power>,
    names: Arc<Mutex<Names>>,
    log_taken: Arc<AtomicBool>,
}

type Files = BTreeMap<String, Arc<MemoryFile>>;

#[derive(Debug, Default)]
struct Names {
    live: Files,
    durable: Files,
}

/// The power supply, and the failures to come.
#[derive(Debug)]
struct Power {
    steps_used: AtomicU64,
    steps_max: AtomicU64,
    /// Syncs from now until one fails; `u64::MAX` for never.
    syncs_left: AtomicU64,
    is_full: AtomicBool,
    /// Files that could not be made for want of space.
    refused: AtomicU64,
    /// A read of the disk shows what memory holds.
    lacks_direct_reads: AtomicBool,
    /// Removals from now on that are refused.
    removals_refused: AtomicU64,
    /// Why writes to a mapped file are refused, if they are.
    writes_refused: Mutex<Option<io::ErrorKind>>,
    /// How many were.
    refusals: AtomicU64,
    /// After how many more reads of the disk one is refused, and with which error of the system.
    disk_read_refused: Mutex<Option<(u64, i32)>>,
}

impl Default for Power {
    fn default() -> Self {
        Self {
            steps_used: AtomicU64::new(0),
            steps_max: AtomicU64::new(u64::MAX),
            syncs_left: AtomicU64::new(u64::MAX),
            is_full: AtomicBool::new(false),
            refused: AtomicU64::new(0),
            lacks_direct_reads: AtomicBool::new(false),
            removals_refused: AtomicU64::new(0),
            writes_refused: Mutex::new(None),
            refusals: AtomicU64::new(0),
            disk_read_refused: Mutex::new(None),
        }
    }
}

impl Power {
    /// Uses up to `steps` and says how many there were power for.
    fn spend(&self, steps: u64) -> u64 {
        let used = self.steps_used.fetch_add(steps, Ordering::Relaxed);
        self.steps_max
            .load(Ordering::Relaxed)
            .saturating_sub(used)
            .min(steps)
    }

    fn spend_one(&self) -> io::Result<()> {
        if self.spend(1) == 1 {
            Ok(())
        } else {
            Err(io::Error::other("the power is off"))
        }
    }

    fn spend_sync(&self) -> io::Result<()> {
        self.spend_one()?;
        let left = self.syncs_left.load(Ordering::Relaxed);
        if left == 0 {
            // Once: the next call reports success, as the system's does after a lost write.
            self.syncs_left.store(u64::MAX, Ordering::Relaxed);
            return Err(io::Error::other("injected sync failure"));
        }
        if left != u64::MAX {
            self.syncs_left.store(left - 1, Ordering::Relaxed);
        }
        Ok(())
    }

    fn spend_disk_read(&self) -> io::Result<()> {
        let mut refused = locked(&self.disk_read_refused);
        match refused.as_mut() {
            Some((0, error)) => {
                let error = io::Error::from_raw_os_error(*error);
                *refused = None;
                return Err(error);
            }
            Some((left, _)) => *left -= 1,
            None => {}
        }
        Ok(())
    }
}

/// One simulated file of fixed length.
#[derive(Debug)]
pub(crate) struct MemoryFile {
    live: SharedBytes,
    durable: Mutex<Vec<u8>>,
    /// Pages that the disk does not give back, by their first byte.
    unreadable: Mutex<BTreeSet<usize>>,
    /// Offsets of sectors that differ from the disk and are shown as clean all the same.
    unwritten: Mutex<BTreeSet<usize>>,
    power: Arc<Power>,
}

impl MemoryFile {
    fn is_readable(&self) -> bool {
        locked(&self.unreadable).is_empty()
    }

    pub(crate) fn live(&self) -> &SharedBytes {
        &self.live
    }

    /// Stores `bytes`, or where that is refused some of them: a disk that fills up takes what still
    /// fits.
    pub(crate) fn write(&self, offset: usize, bytes: &[u8]) -> io::Result<()> {
        let refused = *locked(&self.power.writes_refused);
        let taken = match refused {
            Some(_) => bytes.len() / 2,
            None => bytes.len(),
        };
        self.store(offset, &bytes[..taken]);
        let Some(kind) = refused else {
            return Ok(());
        };
        self.power.refusals.fetch_add(1, Ordering::Relaxed);
        Err(kind.into())
    }

    /// Stores as many whole words as there is power for: a store can be torn, a word cannot.
    fn store(&self, offset: usize, bytes: &[u8]) {
        let words = bytes.len().div_ceil(WORD_BYTES);
        let granted = self.power.spend(words as u64);
        let granted_bytes = usize::try_from(granted).unwrap_or(usize::MAX);
        let stored = granted_bytes.saturating_mul(WORD_BYTES).min(bytes.len());
        self.live.store(offset, &bytes[..stored]);
        let start = offset / SECTOR_BYTES * SECTOR_BYTES;
        locked(&self.unwritten).retain(|&sector| sector < start || sector >= offset + stored);
    }

    /// Copies the sectors that hold the range and are not shown as clean to the durable image.
    pub(crate) fn flush(&self, offset: usize, bytes_len: usize) -> io::Result<()> {
        self.power.spend_sync()?;
        let start = offset / SECTOR_BYTES * SECTOR_BYTES;
        let end = (offset + bytes_len)
            .next_multiple_of(SECTOR_BYTES)
            .min(self.live.len());
        let unwritten = locked(&self.unwritten);
        let mut durable = locked(&self.durable);
        if unwritten.is_empty() {
            self.live.load_into(start, &mut durable[start..end]);
            return Ok(());
        }
        for sector in (start..end).step_by(SECTOR_BYTES) {
            if !unwritten.contains(&sector) {
                let end = end.min(sector + SECTOR_BYTES);
                self.live.load_into(sector, &mut durable[sector..end]);
            }
        }
        Ok(())
    }

    /// From now on the sectors that the disk lacks are shown as clean.
    fn forget_unsynced(&self) {
        let durable = locked(&self.durable);
        let live = self.live.load(0..self.live.len());
        let sectors = live.chunks(SECTOR_BYTES).zip(durable.chunks(SECTOR_BYTES));
        let lacking = sectors
            .enumerate()
            .filter(|(_, (live, durable))| live != durable);
        locked(&self.unwritten).extend(lacking.map(|(number, _)| number * SECTOR_BYTES));
    }

    /// Reads what was shown as clean from the disk.
    fn read_again(&self) {
        let durable = locked(&self.durable);
        for sector in std::mem::take(&mut *locked(&self.unwritten)) {
            let end = durable.len().min(sector + SECTOR_BYTES);
            self.live.store(sector, &durable[sector..end]);
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panicking test thread leaves plain bytes behind; they are as good as before.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl MemoryBackend {
    /// An empty folder that never loses power.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Steps taken since the folder was made.
    #[must_use]
    pub fn steps_used(&self) -> u64 {
        self.power.steps_used.load(Ordering::Relaxed)
    }

    /// The power goes after `steps` more steps: later calls fail, later stores do nothing.
    pub fn power_off_after(&self, steps: u64) {
        self.power
            .steps_max
            .store(self.steps_used().saturating_add(steps), Ordering::Relaxed);
    }

    /// After `syncs` more syncs of a map, file or folder, one fails; the next ones succeed.
    pub fn fail_sync_after(&self, syncs: u64) {
        self.power.syncs_left.store(syncs, Ordering::Relaxed);
    }

    /// What was written and not synced never gets to the disk, and the system shows it as clean:
    /// no sync writes it, until it is written again or the cache is dropped. A failed sync may
    /// leave that behind.
    pub fn forget_unsynced(&self) {
        for file in locked(&self.names).live.values() {
            file.forget_unsynced();
        }
    }

    /// From now on creating a file fails for want of space, or does so no more.
    pub fn set_full(&self, is_full: bool) {
        self.power.is_full.store(is_full, Ordering::Relaxed);
    }

    /// From now on a write to a file that was mapped is refused for this reason, or is no more: as
    /// on a disk where a file shares its blocks with another one, so that each write needs room.
    pub fn refuse_writes(&self, reason: Option<io::ErrorKind>) {
        *locked(&self.power.writes_refused) = reason;
    }

    /// How many writes were refused.
    #[must_use]
    pub fn refused_writes(&self) -> u64 {
        self.power.refusals.load(Ordering::Relaxed)
    }

    /// From now on nothing is read past memory, as on a file system without direct reads: rot of
    /// the disk alone is not seen.
    pub fn refuse_direct_reads(&self) {
        self.power.lacks_direct_reads.store(true, Ordering::Relaxed);
    }

    /// After so many more reads past memory one is refused, with this error of the system.
    pub fn refuse_disk_read_after(&self, reads: u64, error: i32) {
        *locked(&self.power.disk_read_refused) = Some((reads, error));
    }

    /// The next `count` removals of a file are refused.
    pub fn refuse_removals(&self, count: u64) {
        self.power.removals_refused.store(count, Ordering::Relaxed);
    }

    /// A call on another folder of the same machine: it uses a step of its power.
    ///
    /// # Errors
    /// The power is off: nothing of that call may happen.
    pub fn spend_step(&self) -> io::Result<()> {
        self.power.spend_one()
    }

    /// Whether creating a file fails for want of space.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.power.is_full.load(Ordering::Relaxed)
    }

    /// How many files could not be made in this folder for want of space so far.
    #[must_use]
    pub fn refused_files(&self) -> u64 {
        self.power.refused.load(Ordering::Relaxed)
    }

    /// The folder as a power cut at this moment leaves it, with power again. `keep` decides for
    /// each unsynced thing whether it survived. This folder is not changed.
    #[must_use]
    pub fn power_cut(&self, mut keep: impl FnMut(Unsynced<'_>) -> bool) -> Self {
        let names = locked(&self.names);
        let all: BTreeSet<&String> = names.live.keys().chain(names.durable.keys()).collect();
        let after = Self::new();
        let mut files = Files::new();
        for name in all {
            let (live, durable) = (names.live.get(name), names.durable.get(name));
            let is_synced = match (live, durable) {
                (Some(live), Some(durable)) => Arc::ptr_eq(live, durable),
                _ => false,
            };
            let survivor = if is_synced || keep(Unsynced::Name(name)) {
                live
            } else {
                durable
            };
            if let Some(file) = survivor {
                let image = image_after_power_cut(name, file, &mut keep);
                let made = after.new_file(&image, &image);
                locked(&made.unreadable).clone_from(&locked(&file.unreadable));
                files.insert(name.clone(), made);
            }
        }
        after.set_files(files.clone(), files);
        after
    }

    /// The folder as the death of the process alone leaves it: all that was stored is there, and
    /// what was not synced still is not.
    #[must_use]
    pub fn process_kill(&self) -> Self {
        let names = locked(&self.names);
        let after = Self::new();
        let mut copies: Vec<(&Arc<MemoryFile>, Arc<MemoryFile>)> = Vec::new();
        let mut copy = |file| {
            if let Some((_, copy)) = copies
                .iter()
                .find(|(original, _)| Arc::ptr_eq(original, file))
            {
                return Arc::clone(copy);
            }
            let live = file.live.load(0..file.live.len());
            let made = after.new_file(&live, &locked(&file.durable));
            locked(&made.unwritten).clone_from(&locked(&file.unwritten));
            locked(&made.unreadable).clone_from(&locked(&file.unreadable));
            copies.push((file, Arc::clone(&made)));
            made
        };
        let mut live = Files::new();
        for (name, file) in &names.live {
            live.insert(name.clone(), copy(file));
        }
        let mut durable = Files::new();
        for (name, file) in &names.durable {
            durable.insert(name.clone(), copy(file));
        }
        after.set_files(live, durable);
        after
    }

    /// The names in the folder.
    #[must_use]
    pub fn file_names(&self) -> Vec<String> {
        locked(&self.names).live.keys().cloned().collect()
    }

    /// The live content of a file.
    #[must_use]
    pub fn file(&self, name: &str) -> Option<Vec<u8>> {
        let names = locked(&self.names);
        names
            .live
            .get(name)
            .map(|file| file.live.load(0..file.live.len()))
    }

    /// The content of a file that a loss of power leaves in any case, where its name is safe.
    #[must_use]
    pub fn durable_file(&self, name: &str) -> Option<Vec<u8>> {
        let names = locked(&self.names);
        let file = names.durable.get(name);
        file.map(|file| locked(&file.durable).clone())
    }

    /// Replaces or creates a file, durably and at once: rot, a misdirected write, a copy from
    /// elsewhere. Do it only while no log is open over the folder; an open one keeps the old file.
    pub fn set_file(&self, name: &str, bytes: &[u8]) {
        let file = self.new_file(bytes, bytes);
        let mut names = locked(&self.names);
        names.live.insert(name.to_owned(), Arc::clone(&file));
        names.durable.insert(name.to_owned(), file);
    }

    /// Changes the bits of `mask` in one byte of a file, at once and behind everybody's back: on
    /// the disk, and with `in_memory` also in what the system shows of it. An open log sees it.
    /// Nothing happens where there is no such byte.
    pub fn rot(&self, name: &str, offset: usize, mask: u8, in_memory: bool) {
        let Ok(file) = self.live_file(name) else {
            return;
        };
        if let Some(byte) = locked(&file.durable).get_mut(offset) {
            *byte ^= mask;
            if in_memory {
                let live = file.live.load(offset..offset + 1);
                file.live.store(offset, &[live[0] ^ mask]);
            }
        }
    }

    /// From now on the disk does not give back the pages of a file that hold these bytes, and
    /// memory does not hold them: they cannot be read, and the file cannot be mapped, until another
    /// file has its name. Do it only while no log is open over the folder. Nothing happens where
    /// there is no such byte.
    pub fn make_unreadable(&self, name: &str, bytes: std::ops::Range<usize>) {
        let Ok(file) = self.live_file(name) else {
            return;
        };
        let pages = (0..file.live.len()).step_by(PAGE_BYTES);
        let lost = pages.filter(|page| *page < bytes.end && bytes.start < page + PAGE_BYTES);
        locked(&file.unreadable).extend(lost);
    }

    /// Removes a file, durably and at once.
    pub fn remove_file(&self, name: &str) {
        let mut names = locked(&self.names);
        names.live.remove(name);
        names.durable.remove(name);
    }

    pub(crate) fn log_taken(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.log_taken)
    }

    fn new_file(&self, live: &[u8], durable: &[u8]) -> Arc<MemoryFile> {
        Arc::new(MemoryFile {
            live: SharedBytes::from_bytes(live),
            durable: Mutex::new(durable.to_vec()),
            unreadable: Mutex::default(),
            unwritten: Mutex::default(),
            power: Arc::clone(&self.power),
        })
    }

    fn set_files(&self, live: Files, durable: Files) {
        *locked(&self.names) = Names { live, durable };
    }

    fn live_file(&self, name: &str) -> io::Result<Arc<MemoryFile>> {
        let names = locked(&self.names);
        names
            .live
            .get(name)
            .cloned()
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    #[cfg(test)]
    pub(crate) fn file_for_test(&self, bytes: &[u8]) -> Arc<MemoryFile> {
        self.new_file(bytes, bytes)
    }
}

fn image_after_power_cut(
    name: &str,
    file: &MemoryFile,
    keep: &mut impl FnMut(Unsynced<'_>) -> bool,
) -> Vec<u8> {
    let mut image = locked(&file.durable).clone();
    let live = file.live.load(0..file.live.len());
    let unwritten = locked(&file.unwritten);
    for (number, sector) in image.chunks_mut(SECTOR_BYTES).enumerate() {
        let offset = number * SECTOR_BYTES;
        let written = &live[offset..offset + sector.len()];
        let is_dirty = sector != written && !unwritten.contains(&offset);
        if is_dirty && keep(Unsynced::Sector { name, offset }) {
            sector.copy_from_slice(written);
        }
    }
    image
}

impl Backend for MemoryBackend {
    fn names(&self) -> io::Result<Vec<String>> {
        Ok(self.file_names())
    }

    fn read_pages(
        &self,
        name: &str,
        bytes_max: usize,
        see: &mut dyn FnMut(&[u8]),
    ) -> io::Result<Option<Unreadable>> {
        let Ok(file) = self.live_file(name) else {
            return Ok(None);
        };
        let bytes_len = file.live.len().min(bytes_max);
        let mut unreadable = Vec::new();
        for start in (0..bytes_len).step_by(PAGE_BYTES) {
            let mut page = file.live.load(start..bytes_len.min(start + PAGE_BYTES));
            if locked(&file.unreadable).contains(&start) {
                page.fill(0);
                unreadable.push(start);
            }
            see(&page);
        }
        some_page(unreadable, bytes_len).map(Some)
    }

    fn create_with(
        &self,
        name: &str,
        head: &[u8],
        bytes_len: usize,
        // Both ways to fill a file are zeros in both images. A block that was reserved, written and
        // never noted as written is read as zeros after a loss of power, which is what the durable
        // image has of its sectors until they are synced.
        _fill: Fill<'_>,
    ) -> Result<(), CreateError> {
        self.power.spend_one().map_err(CreateError::Write)?;
        let mut live = head.to_vec();
        live.resize(bytes_len, 0);
        let mut durable = live.clone();
        let synced = if self.is_full() {
            self.power.refused.fetch_add(1, Ordering::Relaxed);
            // As on a real disk, what fitted stays there until somebody removes it.
            Err(CreateError::Write(io::ErrorKind::StorageFull.into()))
        } else {
            self.power.spend_sync().map_err(CreateError::Sync)
        };
        if synced.is_err() {
            durable.fill(0);
        }
        let file = self.new_file(&live, &durable);
        locked(&self.names).live.insert(name.to_owned(), file);
        synced
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.power.spend_one()?;
        let mut names = locked(&self.names);
        let Some(file) = names.live.remove(from) else {
            return Err(io::ErrorKind::NotFound.into());
        };
        names.live.insert(to.to_owned(), file);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.power.spend_one()?;
        let refused = self.power.removals_refused.load(Ordering::Relaxed);
        if refused > 0 {
            self.power
                .removals_refused
                .store(refused - 1, Ordering::Relaxed);
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        let removed = locked(&self.names).live.remove(name);
        removed
            .map(drop)
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn sync_folder(&self) -> io::Result<()> {
        self.power.spend_sync()?;
        let mut names = locked(&self.names);
        names.durable = names.live.clone();
        Ok(())
    }

    fn drop_cache(&self, name: &str) -> io::Result<()> {
        let file = self.live_file(name)?;
        file.flush(0, file.live.len())?;
        file.read_again();
        Ok(())
    }

    fn release_cache(&self, name: &str) -> io::Result<()> {
        // The system never gives back a page that is not written yet, and here the live image is
        // the page cache: there is nothing to give back.
        self.live_file(name).map(drop)
    }

    fn map(&self, name: &str, claim: &Arc<Claim>) -> io::Result<RegionWriter> {
        let file = self.live_file(name)?;
        // A real one is mapped, and whoever touches the page gets a signal, which nothing can test
        // for here.
        if !file.is_readable() {
            return Err(rustix::io::Errno::IO.into());
        }
        Ok(RegionWriter::simulated(file, Arc::clone(claim)))
    }

    fn read_disk(&self, name: &str, offset: u64, bytes: &mut [u8]) -> io::Result<bool> {
        self.power.spend_disk_read()?;
        let file = self.live_file(name)?;
        let durable = locked(&file.durable);
        let from = usize::try_from(offset).unwrap_or(usize::MAX);
        let range = from..from.saturating_add(bytes.len());
        if locked(&file.unreadable)
            .range(range.clone())
            .next()
            .is_some()
        {
            return Err(rustix::io::Errno::IO.into());
        }
        let found = durable
            .get(range.clone())
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        let is_direct = !self.power.lacks_direct_reads.load(Ordering::Relaxed);
        if is_direct {
            bytes.copy_from_slice(found);
        } else {
            file.live.load_into(range.start, bytes);
        }
        Ok(is_direct)
    }
}
