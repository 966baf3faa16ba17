//! A stream's older blocks, on disk: what its ring in memory has passed.
//!
//! Owns a folder of append-only segments beside the log, what a start makes of it, and its byte
//! budget. Never: the truth. Everything here is what finalized blocks came to and comes to again
//! when they are executed again, so a start cuts it where it begins to execute, and writes the rest
//! anew; what is damaged is let go, up to the next whole segment, and never served. Never asked by
//! anybody who votes: a thread of its own writes and reads it (`stages::archive`).

mod kind;
mod read;
mod segment;
mod stream;
mod stretch;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::file_error::FileError;
use crate::refused::Refused;
pub use kind::{Before, Everybody, Index, Kept, Kind, PublicEvents};
pub(crate) use read::Chunk;
pub(crate) use segment::{BODY_BYTES_MAX, Budget};
use segment::{Segment, SegmentError};
pub(crate) use stream::{Ring, Stream};
pub(crate) use stretch::Prepended;

/// Longest segment unless the budget is small, bytes; its last block may be longer.
const SEGMENT_BYTES: u64 = 16 * 1024 * 1024;
/// A budget is spent on so many segments at least.
const BUDGET_SEGMENTS: u64 = 8;
/// The least budget, bytes.
pub const ARCHIVE_BYTES_MIN: u64 = 1024 * 1024;
/// Records that wait in memory to be written, bytes, about.
const BUFFER_BYTES: usize = 256 * 1024;
/// End of a segment's name; before it stands the height of its first block.
const SUFFIX: &str = ".events";
/// End of the name of a segment in the making that goes before all others.
const PART_SUFFIX: &str = ".part";

/// Where the older blocks of a stream are kept, and how many of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArchiveConfig {
    /// The folder, which is made when there is none.
    pub folder: PathBuf,
    /// Segments of another chain are not of this stream.
    pub genesis_hash: [u8; 32],
    /// Bytes of all segments before the oldest go, at least [`ARCHIVE_BYTES_MIN`].
    pub bytes_max: u64,
}

/// Why the archive cannot go on. The validator can, without it.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The system refuses a file.
    #[error("{path}: {source}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// The system cannot say that what was written is on the disk, and does not say it by the next
    /// call either, whatever that call returns.
    #[error("{path} cannot be made durable: {source}")]
    Sync {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// The folder cannot be made, or is not private.
    #[error("{0}")]
    Folder(#[from] FileError),
    /// Blocks come in the order of their heights, without holes.
    #[error("block {found} of the stream where {expected} comes next")]
    Height {
        /// Height of the block that comes next.
        expected: u64,
        /// Height of the one that was given.
        found: u64,
    },
}

impl ArchiveError {
    /// Whether room on the disk, descriptors or memory were short: what was asked for is not done,
    /// and the same call may do it later.
    pub(crate) fn is_for_want_of_room(&self) -> bool {
        matches!(self, Self::Io { source, .. } if Refused::of(source) == Refused::Short)
    }
}

/// Name of the segment whose first block has this height.
fn name_of(first: u64) -> String {
    format!("{first:020}{SUFFIX}")
}

fn at(path: &Path) -> impl FnOnce(std::io::Error) -> ArchiveError {
    let path = path.to_path_buf();
    |source| ArchiveError::Io { path, source }
}

/// What the threads know of the archive.
#[derive(Debug, Default)]
pub(crate) struct Archived {
    /// What is archived.
    what: &'static str,
    /// Height of its first block.
    pub(crate) first: AtomicU64,
    /// Somebody waits until everything below this height is durable.
    pub(crate) wanted: AtomicU64,
    /// Everything below this height is.
    pub(crate) synced: AtomicU64,
    /// Bytes of blocks on their way.
    pub(crate) queued_bytes: AtomicU64,
    /// How often it has begun anew when it was told to.
    pub(crate) begins: AtomicU64,
    /// Blocks wait for room on the disk.
    is_waiting: AtomicBool,
    /// How often it began to wait for it.
    waits: AtomicU64,
    /// Nothing more is archived in this run.
    has_failed: AtomicBool,
    /// It was told that nobody waits for it any more, and there was no room since.
    is_given_up: AtomicBool,
}

impl Archived {
    pub(crate) fn of(what: &'static str) -> Self {
        Self {
            what,
            ..Self::default()
        }
    }

    /// Whether the events of all blocks up to this one are durable; if not they will be soon. A
    /// start from a snapshot of that block executes none of them again.
    pub(crate) fn reaches(&self, height: u64) -> bool {
        let end = height.saturating_add(1);
        let is_durable = self.synced.load(Ordering::Acquire) >= end;
        if !is_durable {
            self.wanted.fetch_max(end, Ordering::Release);
        }
        is_durable
    }

    /// Nothing more is archived in this run. Whoever waits for it goes on waiting: a start from
    /// where it waits executes what is missing again, and one from above would let go of all that
    /// is here.
    pub(crate) fn fail(&self) {
        self.first.store(u64::MAX, Ordering::Release);
        self.has_failed.store(true, Ordering::Release);
    }

    /// Blocks wait for room on the disk from here on; whether they did not yet.
    pub(crate) fn begin_waiting(&self) -> bool {
        let is_new = !self.is_waiting.swap(true, Ordering::AcqRel);
        if is_new {
            self.waits.fetch_add(1, Ordering::AcqRel);
        }
        is_new
    }

    /// All that has come is written; whether some of it had to wait.
    pub(crate) fn end_waiting(&self) -> bool {
        self.is_given_up.store(false, Ordering::Release);
        self.is_waiting.swap(false, Ordering::AcqRel)
    }

    pub(crate) fn is_waiting(&self) -> bool {
        self.is_waiting.load(Ordering::Acquire)
    }

    pub(crate) fn waits(&self) -> u64 {
        self.waits.load(Ordering::Acquire)
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.has_failed.load(Ordering::Acquire)
    }

    /// Whether what is missing may never come: nothing more is archived, or there is no room.
    pub(crate) fn is_held_up(&self) -> bool {
        self.has_failed() || self.is_waiting()
    }

    /// Nobody waits any longer for one that is held up, while it is.
    pub(crate) fn give_up(&self) {
        if !self.is_given_up.swap(true, Ordering::AcqRel) {
            let what = self.what;
            tracing::error!("the log is too large to wait any longer for older {what}");
        }
    }
}

/// The archive of the public stream.
pub type Archive = Store<PublicEvents>;

/// See the module.
#[derive(Debug)]
pub struct Store<K: Kind> {
    config: ArchiveConfig,
    segment_bytes: u64,
    /// Ascending, without holes, the last one being written; none before the first block.
    segments: VecDeque<Segment<K>>,
    /// The height that comes next.
    end: u64,
    /// What is known of all blocks below it.
    history: K::Before,
    /// The oldest have gone beyond the budget: what is older still does not come back.
    is_full: bool,
    /// That something cannot be read for now has been told, and nothing was read since.
    is_unread_told: bool,
    /// Records that are not written yet.
    buffer: Vec<u8>,
    /// Bytes that questions have read.
    read_bytes: u64,
    state: Arc<Archived>,
}

impl<K: Kind> Store<K> {
    /// Opens the folder, and cuts what was torn off its end.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn open(config: ArchiveConfig) -> Result<Self, ArchiveError> {
        let folder = &config.folder;
        crate::keys::create_private_folder(folder)?;
        let mut archive = Self {
            segment_bytes: SEGMENT_BYTES.min(config.bytes_max / BUDGET_SEGMENTS),
            segments: VecDeque::new(),
            end: 0,
            history: K::Before::default(),
            is_full: false,
            is_unread_told: false,
            buffer: Vec::new(),
            read_bytes: 0,
            state: Arc::new(Archived::of(K::WHAT)),
            config,
        };
        for first in Self::firsts(&archive.config.folder)? {
            let path = archive.path(first);
            archive.segments.push_back(Segment::sealed(first, path));
        }
        let genesis_hash = archive.config.genesis_hash;
        // One without a whole head was just being made.
        while let Some(mut last) = archive.segments.pop_back() {
            if last.open(&genesis_hash).map_err(at(&last.path))? {
                archive.end = last.covered();
                archive.segments.push_back(last);
                break;
            }
            last.remove().map_err(at(&last.path))?;
        }
        Ok(archive)
    }

    /// Removes all segments of a folder, and the folder where nothing else is in it: no older
    /// blocks are wanted any more.
    ///
    /// # Errors
    /// The disk refuses.
    pub(crate) fn remove(folder: &Path) -> Result<(), ArchiveError> {
        match std::fs::read_dir(folder) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            found => found.map_err(at(folder))?,
        };
        // Newest first, so that a crash in between leaves no hole.
        for first in Self::firsts(folder)?.into_iter().rev() {
            let path = folder.join(name_of(first));
            let one = Segment::<K>::sealed(first, path);
            one.remove().map_err(at(&one.path))?;
        }
        // What is not ours stays.
        std::fs::remove_dir(folder).ok();
        Ok(())
    }

    /// First heights of the segments in a folder, ascending; those in the making are removed, and
    /// what is beside a segment that is gone.
    fn firsts(folder: &Path) -> Result<Vec<u64>, ArchiveError> {
        let (mut firsts, mut indices) = (Vec::new(), Vec::new());
        for entry in std::fs::read_dir(folder).map_err(at(folder))? {
            let name = entry.map_err(at(folder))?.file_name();
            if name.to_str().is_some_and(|n| n.ends_with(PART_SUFFIX)) {
                let path = folder.join(&name);
                std::fs::remove_file(&path).map_err(at(&path))?;
            }
            let first = name.to_str().and_then(|name| name.strip_suffix(SUFFIX));
            firsts.extend(first.and_then(|first| first.parse::<u64>().ok()));
            let (stem, end) = (Path::new(&name).file_stem(), Path::new(&name).extension());
            if K::Index::SUFFIX.is_some() && end.and_then(|end| end.to_str()) == K::Index::SUFFIX {
                let first = stem.and_then(|stem| stem.to_str()?.parse::<u64>().ok());
                indices.extend(first.map(|first| (first, folder.join(&name))));
            }
        }
        firsts.sort_unstable();
        for (first, path) in indices {
            if firsts.binary_search(&first).is_err() {
                std::fs::remove_file(&path).map_err(at(&path))?;
            }
        }
        Ok(firsts)
    }

    fn path(&self, first: u64) -> PathBuf {
        self.config.folder.join(name_of(first))
    }

    /// What others may know of it.
    pub(crate) const fn state(&self) -> &Arc<Archived> {
        &self.state
    }

    /// Bytes that questions have read since it was opened, whosever they were.
    pub(crate) const fn read_bytes(&self) -> u64 {
        self.read_bytes
    }

    /// Height of the first block here.
    pub(crate) fn first(&self) -> u64 {
        self.segments.front().map_or(self.end, |one| one.first)
    }

    /// The height that comes next.
    pub(crate) const fn end(&self) -> u64 {
        self.end
    }

    /// The next block comes after those of `before`, which is that of the replicated state: what
    /// is here from it on is forgotten. Where this archive does not reach up to it, begins above it
    /// or has other events, it begins anew: a stream has no holes.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn go_on_from(&mut self, before: &K::Before) -> Result<(), ArchiveError> {
        let height = before.height().saturating_add(1);
        if self.segments.is_empty() || height < self.first() || height > self.end {
            return self.begin(before.clone());
        }
        self.settle()?;
        // Newest first, so that a crash in between leaves no hole.
        while self.segments.len() > 1 && self.segments.back().is_some_and(|l| l.first >= height) {
            self.remove_newest()?;
        }
        if let Some(last) = self.segments.back_mut() {
            let whole = last.open(&self.config.genesis_hash);
            last.remove_index().map_err(at(&last.path))?;
            if whole.map_err(at(&last.path))? && last.covered() >= height.min(self.end) {
                last.cut(height).map_err(at(&last.path))?;
                let history = last.history().map_err(at(&last.path))?;
                self.history = history.unwrap_or_default();
                self.history.pass_silent(before.height());
                if self.history == *before {
                    self.end = height;
                    // The budget may have been lowered since.
                    return self.shrink();
                }
            }
        }
        tracing::error!(height, "the archive of {} is damaged", K::WHAT);
        self.begin(before.clone())
    }

    fn remove_newest(&mut self) -> Result<(), ArchiveError> {
        if let Some(last) = self.segments.back() {
            last.remove().map_err(at(&last.path))?;
            self.segments.pop_back();
        }
        Ok(())
    }

    fn remove_oldest(&mut self) -> Result<(), ArchiveError> {
        if let Some(first) = self.segments.front() {
            first.remove().map_err(at(&first.path))?;
            self.segments.pop_front();
        }
        Ok(())
    }

    /// Forgets everything; the next block comes after those of `before`.
    ///
    /// # Errors
    /// The disk refuses.
    pub(crate) fn begin(&mut self, before: K::Before) -> Result<(), ArchiveError> {
        let height = before.height().saturating_add(1);
        self.buffer.clear();
        if !self.segments.is_empty() {
            let (first, end) = (self.first(), self.end);
            let what = K::WHAT;
            tracing::warn!(first, end, height, "the archive of {what} begins anew");
        }
        while !self.segments.is_empty() {
            self.remove_oldest()?;
        }
        self.end = height;
        self.history = before;
        match self.push_segment() {
            // The next block makes it.
            Err(error) if error.is_for_want_of_room() => Ok(()),
            pushed => pushed,
        }
    }

    fn push_segment(&mut self) -> Result<(), ArchiveError> {
        let path = self.path(self.end);
        let made = Segment::create(&self.history, path.clone(), &self.config.genesis_hash);
        self.segments.push_back(made.map_err(at(&path))?);
        Ok(())
    }

    /// Appends the next block.
    ///
    /// # Errors
    /// It is another one, or the disk refuses; then it is not appended, and may be given again
    /// where the disk is only full.
    pub fn append(&mut self, height: u64, block: &K::Block) -> Result<(), ArchiveError> {
        let expected = self.end;
        if height != expected {
            let found = height;
            return Err(ArchiveError::Height { expected, found });
        }
        self.carry_on()?;
        self.end = height.saturating_add(1);
        self.history.pass(height, block);
        let Some(last) = self.segments.back_mut() else {
            return self.begin(self.history.clone());
        };
        // What comes to nothing is told by the next record.
        if block.entries_len() == 0 {
            return Ok(());
        }
        if !last.encode(height, block, &mut self.buffer) {
            tracing::error!(height, "a block is too long for the archive");
            return self.begin(self.history.clone());
        }
        Ok(())
    }

    /// Writes what has come together in memory, and begins the next segment when the last one is
    /// full. What the disk had no room for is done by the next call.
    fn carry_on(&mut self) -> Result<(), ArchiveError> {
        let Some(last) = self.segments.back() else {
            return self.push_segment();
        };
        let is_full = last.bytes() >= self.segment_bytes;
        if is_full || self.buffer.len() >= BUFFER_BYTES {
            self.flush()?;
        }
        if is_full {
            self.sync()?;
            self.push_segment()?;
            self.close_complete();
            self.shrink()?;
        }
        Ok(())
    }

    /// The last segment but one has been completed.
    fn close_complete(&mut self) {
        let (end, genesis_hash) = (self.end, self.config.genesis_hash);
        if let Some(complete) = self.segments.iter_mut().rev().nth(1) {
            complete.keep_index(&genesis_hash, end);
            complete.close();
        }
    }

    fn bytes(&self) -> u64 {
        self.segments.iter().map(Segment::bytes).sum()
    }

    /// Lets the oldest segments go, beyond the budget.
    fn shrink(&mut self) -> Result<(), ArchiveError> {
        let mut bytes = self.bytes();
        while bytes > self.config.bytes_max && self.segments.len() > 1 {
            bytes -= self.segments.front().map_or(0, Segment::bytes);
            self.is_full = true;
            self.remove_oldest()?;
        }
        Ok(())
    }

    /// Hands what was appended to the system: from here on a crash of the process loses none of it.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn flush(&mut self) -> Result<(), ArchiveError> {
        if let Some(last) = self.segments.back_mut()
            && !self.buffer.is_empty()
        {
            last.write(&self.buffer).map_err(at(&last.path))?;
            self.buffer.clear();
        }
        Ok(())
    }

    /// Makes everything durable, silence at the end included.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn sync(&mut self) -> Result<(), ArchiveError> {
        self.settle()?;
        let Some(last) = self.segments.back() else {
            return Ok(());
        };
        last.sync().map_err(|source| ArchiveError::Sync {
            path: last.path.clone(),
            source,
        })
    }

    fn settle(&mut self) -> Result<(), ArchiveError> {
        if let Some(last) = self.segments.back_mut() {
            last.encode_silence(self.end, &mut self.buffer);
        }
        self.flush()
    }

    /// A segment cannot be read: it goes, with those before it.
    fn forget(&mut self, place: usize, error: &SegmentError) {
        let first = self.first();
        let what = K::WHAT;
        tracing::error!(%error, first, "archived {what} are damaged, and gone with all before");
        let mut forgotten = Ok(());
        for _ in 0..=place {
            forgotten = forgotten.and_then(|()| self.remove_oldest());
        }
        if self.segments.is_empty() {
            forgotten = forgotten.and_then(|()| self.begin(self.history.clone()));
        }
        if let Err(error) = forgotten {
            tracing::error!(%error, "damaged {what} cannot be removed");
        }
    }
}

#[cfg(test)]
#[path = "archive_tests.rs"]
mod tests;
