//! The files under a log: what the rest of the crate asks of a folder, and the real folder.
//!
//! Owns every file system call but the lock's. Decides nothing: order and meaning of the calls
//! are with the callers, so that the simulated folder of `memory.rs` runs the same ones.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::num::NonZeroU64;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use memmap2::MmapOptions;

use crate::claim::Claim;
use crate::error::is_for_want_of_room;
use crate::lock::{FolderLock, LockError};
use crate::map::RegionWriter;
use crate::memory::MemoryBackend;
use crate::segment::segment_number;

/// Zeros are written in pieces of this size. The system may keep each as one piece of memory, and
/// then goes through all of it with every record that is written there later; with much smaller
/// ones it has more of them to find. Between 16 KiB and 1 MiB this one cost least.
const ZEROS_BYTES: usize = 256 * 1024;

/// Files are read in pieces of this size.
const READ_BYTES: usize = 256 * 1024;

/// What is on its way to the disk at once of a file that is made with rests.
const UNSYNCED_BYTES_MAX: usize = 4 << 20;

/// Called between two pieces of a file that nobody waits for, with the time that the last one took:
/// may wait, so that the making is spread and neither the processors nor the disk are taken from
/// whoever votes.
pub(crate) type Rest<'a> = &'a dyn Fn(Duration);

/// How a new file comes to its length, which it has room for and is read as zeros either way.
#[derive(Clone, Copy, Default)]
pub(crate) struct Fill<'a> {
    /// Blocks are set aside and nothing is written to them, where the file system can do that: the
    /// disk has nothing to do, but the first sync of what is written there later has to note that
    /// it is. Otherwise zeros are written.
    pub(crate) is_reserved: bool,
    /// What is done between two pieces of zeros.
    pub(crate) rest: Option<Rest<'a>>,
}

/// What is read past the memory of the system begins and ends at multiples of this.
pub(crate) const PAGE_BYTES: usize = 4096;

/// Files with this ending are being made; they mean nothing until they are renamed.
pub(crate) const TEMPORARY_SUFFIX: &str = ".new";

/// Pages of a file that cannot be read, by their first byte.
pub(crate) type Unreadable = Vec<usize>;

/// Whether an error of reading is one of the medium below, not of the call.
pub(crate) fn is_medium(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let of_medium = [
        Errno::IO,
        Errno::NODATA,
        Errno::ILSEQ,
        Errno::REMOTEIO,
        Errno::BADMSG,
        Errno::UCLEAN,
        Errno::TIMEDOUT,
        Errno::NOLINK,
    ];
    Errno::from_io_error(error).is_some_and(|errno| of_medium.contains(&errno))
}

/// Which half of creating a file failed: after a failed sync the disk is not to be trusted.
#[derive(Debug)]
pub(crate) enum CreateError {
    /// Nothing is lost: the disk is full, a limit, a permission.
    Write(io::Error),
    /// What was written may or may not be on the disk.
    Sync(io::Error),
}

/// What the log asks of a folder. Names are plain file names.
pub(crate) trait Backend: Send + Sync + std::fmt::Debug {
    /// The names in the folder, sorted.
    fn names(&self) -> io::Result<Vec<String>>;

    /// Reads a file from its start, at most `bytes_max` bytes, and shows it piece by piece; pages
    /// that the disk does not give, asked twice, are shown as zeros and returned. `None` if there
    /// is no such file.
    ///
    /// # Errors
    /// The system refuses, or no page at all can be read of a file that has several: that is no bad
    /// sector but a disk that is gone.
    fn read_pages(
        &self,
        name: &str,
        bytes_max: usize,
        see: &mut dyn FnMut(&[u8]),
    ) -> io::Result<Option<Unreadable>>;

    /// The whole content of a file with zeros where it cannot be read, and where that is; `None` if
    /// there is none. More than `bytes_max` bytes are cut to `bytes_max + 1`, so that the caller
    /// sees that it is too long.
    fn read_lossy(
        &self,
        name: &str,
        bytes_max: usize,
    ) -> io::Result<Option<(Vec<u8>, Unreadable)>> {
        let mut bytes = Vec::new();
        let read = self.read_pages(name, bytes_max.saturating_add(1), &mut |piece| {
            bytes.extend_from_slice(piece);
        })?;
        bytes.truncate(bytes_max.saturating_add(1));
        Ok(read.map(|unreadable| (bytes, unreadable)))
    }

    /// Creates a file, or empties the one that is there, writes `head` and then zeros up to
    /// `bytes_len`, all really written, and syncs it. The name is durable only after
    /// [`Backend::sync_folder`].
    fn create(&self, name: &str, head: &[u8], bytes_len: usize) -> Result<(), CreateError> {
        self.create_with(name, head, bytes_len, Fill::default())
    }

    /// The same for a long file, which is filled as `fill` says. Its length and its room are synced
    /// as well.
    fn create_with(
        &self,
        name: &str,
        head: &[u8],
        bytes_len: usize,
        fill: Fill<'_>,
    ) -> Result<(), CreateError>;

    /// Bytes that are left to this process in the file system, if there is one.
    fn free_bytes(&self) -> io::Result<Option<u64>> {
        Ok(None)
    }

    /// Renames a file, replacing another.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes the names of the folder durable.
    fn sync_folder(&self) -> io::Result<()>;

    /// Makes later reads of a file come from the disk: what memory holds of it is written, as far
    /// as the system knows it to be unwritten, and dropped.
    fn drop_cache(&self, name: &str) -> io::Result<()>;

    /// Lets the system have the memory back that holds a file whose bytes are all synced, and that
    /// nobody maps or whose mappings were released: later reads come from the disk.
    fn release_cache(&self, name: &str) -> io::Result<()>;

    /// Maps a file for writing. The caller maps each file at most once a claim.
    fn map(&self, name: &str, claim: &Arc<Claim>) -> io::Result<RegionWriter>;

    /// Fills `bytes` with what the disk has of a file from `offset` on, both multiples of
    /// [`PAGE_BYTES`]; says whether it was really the disk that was asked, and not memory, since
    /// a system may refuse to read past it.
    fn read_disk(&self, name: &str, offset: u64, bytes: &mut [u8]) -> io::Result<bool>;
}

/// A folder that holds one validator's log, lease and clean-stop marker.
///
/// Clones are handles to the same folder. A real folder stays locked until all of them, and all
/// that was opened through them, are gone.
#[derive(Clone, Debug)]
pub struct DataFolder {
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) log_taken: Arc<AtomicBool>,
}

impl DataFolder {
    /// Opens, and creates if it is missing, a folder on disk, and locks it for this process.
    ///
    /// # Errors
    /// [`LockError`] if another process holds it or the system refuses.
    pub fn open(path: &Path) -> Result<Self, LockError> {
        Ok(Self::over(Arc::new(FileBackend::open(path)?)))
    }

    /// Opens a folder that is there, and locks it for this process, without making or writing a
    /// file: to read it while nobody writes it.
    ///
    /// # Errors
    /// [`LockError`] if another process holds it or the system refuses.
    pub fn open_to_read(path: &Path) -> Result<Self, LockError> {
        let lock = FolderLock::acquire_to_read(path)?;
        Ok(Self::over(Arc::new(FileBackend::locked(path, lock)?)))
    }

    /// A simulated folder. The caller keeps `memory` to cut its power.
    #[must_use]
    pub fn in_memory(memory: &MemoryBackend) -> Self {
        // The simulated disk carries the claim: two handles to it are handles to the same files.
        Self {
            backend: Arc::new(memory.clone()),
            log_taken: memory.log_taken(),
        }
    }

    /// Whether any segment of a log is here, good or bad. Changes nothing.
    ///
    /// # Errors
    /// The folder cannot be listed.
    pub fn has_log(&self) -> io::Result<bool> {
        let names = self.backend.names()?;
        Ok(names.iter().any(|name| segment_number(name).is_some()))
    }

    fn over(backend: Arc<dyn Backend>) -> Self {
        Self {
            backend,
            log_taken: Arc::new(AtomicBool::new(false)),
        }
    }
}

/// A real folder. Files are created with mode 0600.
#[derive(Debug)]
pub(crate) struct FileBackend {
    path: PathBuf,
    /// Kept open for `fsync`: the names in a folder are made durable through it.
    folder: File,
    /// It was told that this file system reserves nothing.
    is_refusal_told: AtomicBool,
    _lock: Option<FolderLock>,
}

impl FileBackend {
    /// Locks the folder.
    pub(crate) fn open(path: &Path) -> Result<Self, LockError> {
        let backend = Self::locked(path, FolderLock::acquire(path)?)?;
        // The folder itself may be new: its own name must outlive a crash as well.
        sync_parent(path).map_err(|source| LockError::Io {
            folder: path.to_path_buf(),
            source,
        })?;
        Ok(backend)
    }

    fn locked(path: &Path, lock: FolderLock) -> Result<Self, LockError> {
        let folder = File::open(path).map_err(|source| LockError::Io {
            folder: path.to_path_buf(),
            source,
        })?;
        Ok(Self {
            path: path.to_path_buf(),
            folder,
            is_refusal_told: AtomicBool::new(false),
            _lock: Some(lock),
        })
    }

    /// For reading beside whoever holds the folder: takes no lock and creates nothing.
    pub(crate) fn open_unlocked(path: &Path) -> io::Result<Self> {
        Ok(Self {
            path: path.to_path_buf(),
            folder: File::open(path)?,
            is_refusal_told: AtomicBool::new(false),
            _lock: None,
        })
    }
}

/// Reads and shows a file of this length, by calls that fill what they are given from an offset on.
fn read_by_piece(
    bytes_len: usize,
    see: &mut dyn FnMut(&[u8]),
    mut read_at: impl FnMut(&mut [u8], u64) -> io::Result<()>,
) -> io::Result<Unreadable> {
    // One buffer, small enough to stay in the processor's cache, for a file of any length.
    let mut piece = vec![0; READ_BYTES.min(bytes_len)];
    let mut unreadable = Vec::new();
    for start in (0..bytes_len).step_by(READ_BYTES) {
        let piece = &mut piece[..READ_BYTES.min(bytes_len - start)];
        match read_at(piece, start as u64) {
            Ok(()) => {}
            Err(error) if is_medium(&error) => {
                read_by_page(start, piece, &mut unreadable, &mut read_at)?;
            }
            Err(error) => return Err(error),
        }
        see(piece);
    }
    some_page(unreadable, bytes_len)
}

/// Reads what can be read of a piece, which begins at `start` of its file and cannot be read as a
/// whole.
fn read_by_page(
    start: usize,
    piece: &mut [u8],
    unreadable: &mut Unreadable,
    read_at: &mut impl FnMut(&mut [u8], u64) -> io::Result<()>,
) -> io::Result<()> {
    for (number, page) in piece.chunks_mut(PAGE_BYTES).enumerate() {
        let offset = start + number * PAGE_BYTES;
        let mut read = || read_at(page, offset as u64);
        // Once more before anything follows from it.
        match read().or_else(|_| read()) {
            Ok(()) => {}
            Err(error) if is_medium(&error) => {
                page.fill(0);
                unreadable.push(offset);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// An error if nothing at all was read of a file of several pages.
pub(crate) fn some_page(unreadable: Unreadable, bytes_len: usize) -> io::Result<Unreadable> {
    let pages = bytes_len.div_ceil(PAGE_BYTES);
    if pages > 1 && unreadable.len() == pages {
        return Err(rustix::io::Errno::IO.into());
    }
    Ok(unreadable)
}

/// Writes so many zeros.
fn write_zeros(
    file: &mut File,
    mut zeros_left: usize,
    rest: Option<Rest<'_>>,
) -> Result<(), CreateError> {
    let zeros = vec![0; ZEROS_BYTES.min(zeros_left)];
    while zeros_left > 0 {
        let piece = zeros_left.min(ZEROS_BYTES);
        let began = Instant::now();
        file.write_all(&zeros[..piece])
            .map_err(CreateError::Write)?;
        zeros_left -= piece;
        if let Some(rest) = rest {
            rest(began.elapsed());
            if zeros_left % UNSYNCED_BYTES_MAX < piece {
                file.sync_all().map_err(CreateError::Sync)?;
            }
        }
    }
    Ok(())
}

/// Whether a file has this length and blocks for all of it.
fn has_room(file: &File, bytes_len: u64) -> io::Result<bool> {
    let found = file.metadata()?;
    // In units of 512 bytes, whatever the file system's own are.
    Ok(found.len() == bytes_len && found.blocks().saturating_mul(512) >= bytes_len)
}

fn sync_parent(path: &Path) -> io::Result<()> {
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    match File::open(parent.unwrap_or_else(|| Path::new("."))) {
        Ok(parent) => parent.sync_all(),
        // A parent that may be passed through but not read belongs to somebody else, who made
        // the folder for us.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        Err(error) => Err(error),
    }
}

impl Backend for FileBackend {
    fn free_bytes(&self) -> io::Result<Option<u64>> {
        let system = rustix::fs::fstatvfs(&self.folder)?;
        Ok(Some(system.f_bavail.saturating_mul(system.f_frsize)))
    }

    fn names(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            // A name that is not text is none of ours.
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    fn read_pages(
        &self,
        name: &str,
        bytes_max: usize,
        see: &mut dyn FnMut(&[u8]),
    ) -> io::Result<Option<Unreadable>> {
        let file = match File::open(self.path.join(name)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let bytes_len = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
        let bytes_len = bytes_len.min(bytes_max);
        let read = |bytes: &mut [u8], offset| file.read_exact_at(bytes, offset);
        read_by_piece(bytes_len, see, read).map(Some)
    }

    fn create_with(
        &self,
        name: &str,
        head: &[u8],
        bytes_len: usize,
        fill: Fill<'_>,
    ) -> Result<(), CreateError> {
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(self.path.join(name))
            .map_err(CreateError::Write)?;
        let is_reserved = fill.is_reserved && self.reserve(&file, bytes_len)?;
        file.write_all(head).map_err(CreateError::Write)?;
        if !is_reserved {
            write_zeros(&mut file, bytes_len.saturating_sub(head.len()), fill.rest)?;
        }
        // All of it, not the data alone: length and blocks are what was made.
        file.sync_all().map_err(CreateError::Sync)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path.join(from), self.path.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path.join(name))
    }

    fn sync_folder(&self) -> io::Result<()> {
        self.folder.sync_all()
    }

    fn drop_cache(&self, name: &str) -> io::Result<()> {
        File::open(self.path.join(name))?.sync_all()?;
        self.release_cache(name)
    }

    fn release_cache(&self, name: &str) -> io::Result<()> {
        let file = File::open(self.path.join(name))?;
        let advice = rustix::fs::Advice::DontNeed;
        Ok(rustix::fs::fadvise(&file, 0, None, advice)?)
    }

    fn map(&self, name: &str, claim: &Arc<Claim>) -> io::Result<RegionWriter> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(self.path.join(name))?;
        let map = MmapOptions::new().map_raw(&file)?;
        Ok(RegionWriter::mapped(map, file, Arc::clone(claim)))
    }

    fn read_disk(&self, name: &str, offset: u64, bytes: &mut [u8]) -> io::Result<bool> {
        match self.read_direct(name, offset, bytes) {
            Ok(()) => Ok(true),
            // Some file systems have no such reads, tmpfs among them.
            Err(error)
                if [io::ErrorKind::InvalidInput, io::ErrorKind::Unsupported]
                    .contains(&error.kind()) =>
            {
                self.read_cached(name, offset, bytes).map(|()| false)
            }
            Err(error) => Err(error),
        }
    }
}

impl FileBackend {
    /// Gives an empty file its length, and blocks for all of it that are read as zeros; `false`
    /// where that cannot be had of this file system, and zeros have to be written.
    fn reserve(&self, file: &File, bytes_len: usize) -> Result<bool, CreateError> {
        let flags = rustix::fs::FallocateFlags::empty();
        let bytes_len = bytes_len as u64;
        let asked = rustix::io::retry_on_intr(|| rustix::fs::fallocate(file, flags, 0, bytes_len));
        let refusal = match asked.map_err(io::Error::from) {
            // Some say yes and set nothing aside.
            Ok(()) if has_room(file, bytes_len).map_err(CreateError::Write)? => return Ok(true),
            Ok(()) => None,
            // Zeros would find no more.
            Err(error) if is_for_want_of_room(&error) => return Err(CreateError::Write(error)),
            // Not there, or not allowed: the kinds are many, and where the file cannot be written
            // at all the zeros will tell.
            Err(error) => Some(error),
        };
        if !self.is_refusal_told.swap(true, Ordering::Relaxed) {
            let refusal = refusal.map(tracing::field::display);
            tracing::info!(
                refusal,
                "no room can be reserved in this file system: segments are filled with zeros"
            );
        }
        Ok(false)
    }

    fn read_direct(&self, name: &str, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        let direct = rustix::fs::OFlags::DIRECT.bits();
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(i32::try_from(direct).unwrap_or_default())
            .open(self.path.join(name))?;
        // The system wants the memory aligned as well.
        let mut pages = vec![0; bytes.len() + PAGE_BYTES];
        let start = pages.as_ptr().align_offset(PAGE_BYTES);
        let aligned = pages
            .get_mut(start..start.saturating_add(bytes.len()))
            .ok_or(io::ErrorKind::OutOfMemory)?;
        file.read_exact_at(aligned, offset)?;
        bytes.copy_from_slice(aligned);
        Ok(())
    }

    /// As good as it gets where the system has no direct reads: what it holds of the range is
    /// dropped first, which it does not do with pages that are mapped.
    fn read_cached(&self, name: &str, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        let file = File::open(self.path.join(name))?;
        let advice = rustix::fs::Advice::DontNeed;
        rustix::fs::fadvise(&file, offset, NonZeroU64::new(bytes.len() as u64), advice)?;
        file.read_exact_at(bytes, offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::io::Errno;

    /// A piece behind the first one, of which a page cannot be read at first and another one never.
    #[test]
    fn every_page_that_the_disk_gives_is_read_and_no_other_is_lost() {
        let bytes_len = READ_BYTES + 4 * PAGE_BYTES + PAGE_BYTES / 2;
        let at = |page: usize| READ_BYTES + page * PAGE_BYTES;
        let file: Vec<u8> = (0..bytes_len)
            .map(|at| (at / PAGE_BYTES) as u8 + 1)
            .collect();
        let (mut asked, mut seen, mut failures) = (Vec::new(), Vec::new(), 0);
        let unreadable = read_by_piece(
            bytes_len,
            &mut |piece| seen.extend_from_slice(piece),
            |bytes, offset| {
                let range = offset as usize..offset as usize + bytes.len();
                asked.push((range.start, bytes.len()));
                let fails_at_first = range.contains(&at(1)) && failures < 2;
                failures += u32::from(fails_at_first);
                if fails_at_first || range.contains(&at(2)) {
                    bytes.fill(0xff);
                    return Err(Errno::IO.into());
                }
                bytes.copy_from_slice(&file[range]);
                Ok(())
            },
        );
        assert_eq!(unreadable.unwrap(), [at(2)]);
        let pages = [0, 1, 1, 2, 2, 3].map(|page| (at(page), PAGE_BYTES));
        let pieces = [(0, READ_BYTES), (READ_BYTES, bytes_len - READ_BYTES)];
        let expected = [&pieces[..], &pages, &[(at(4), PAGE_BYTES / 2)]];
        assert_eq!(asked, expected.concat());
        let mut expected = file;
        expected[at(2)..at(3)].fill(0);
        assert!(seen == expected, "other bytes were shown");
    }

    #[test]
    fn a_read_that_is_refused_for_another_reason_than_the_medium_ends_the_reading() {
        let bytes_len = 2 * READ_BYTES;
        // Of a whole piece, and of a page of one that cannot be read as a whole.
        for (refused, is_page) in [(READ_BYTES, false), (READ_BYTES + PAGE_BYTES, true)] {
            let read = read_by_piece(bytes_len, &mut |_| {}, |bytes, offset| {
                match (offset as usize, bytes.len() == PAGE_BYTES) {
                    asked if asked == (refused, is_page) => Err(Errno::BADF.into()),
                    (READ_BYTES, false) => Err(Errno::IO.into()),
                    _ => Ok(()),
                }
            });
            let error = read.unwrap_err();
            assert_eq!(Errno::from_io_error(&error), Some(Errno::BADF));
        }
    }
}
