//! One file of the archive: its bytes, its end, and the way to a height in it.
//!
//! Owns the layout (docs/log-format.md) and the chain of checks from record to record, which
//! covers every byte. Never: which segments there are.

mod index;

use std::fs::{File, OpenOptions};
use std::io::{BufReader, ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use super::kind::{Before, Index, Kept, Kind};
use crate::streams::StreamPosition;

/// Magic, genesis hash, first height. Behind them stands what is known of all blocks before, and
/// the first check.
const HEAD_BYTES: usize = 48;
const CHECK_BYTES: usize = 16;
/// Height, time, number of entries, bytes of the body, check.
const RECORD_BYTES: usize = 40;
/// Where the check stands in it.
const CHECK_AT: usize = 24;
/// Longest body, bytes.
pub(crate) const BODY_BYTES_MAX: usize = 256 * 1024 * 1024;
/// One way-mark for so many bytes, about.
const MARK_BYTES: u64 = 64 * 1024;

type Check = [u8; CHECK_BYTES];
/// Blocks with something of what is wanted, and up to where they are all.
pub(super) type Blocks<B> = (Vec<(u64, Arc<B>)>, StreamPosition);

/// Why a segment cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum SegmentError {
    #[error("{path}: {source}")]
    Io {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{path} is not what was written: whole up to byte {offset} only")]
    Damaged { path: PathBuf, offset: u64 },
}

impl SegmentError {
    /// Whether what was written is not there any more, whoever asks again and whenever.
    pub(super) fn is_loss(&self) -> bool {
        match self {
            Self::Io { source, .. } => is_loss(source),
            Self::Damaged { .. } => true,
        }
    }

    /// Whether there is no such file.
    pub(super) fn is_missing(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == ErrorKind::NotFound)
    }
}

/// Whether bytes are other than written, missing, or gone with the disk: all else is a want of
/// descriptors, memory or rights, and passes.
fn is_loss(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::InvalidData | ErrorKind::UnexpectedEof
    ) || error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error())
}

/// What one reading may still cost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budget {
    /// Bytes that are read, whosever they are.
    pub(crate) read: usize,
    /// Bytes that are given.
    pub(crate) taken: usize,
    /// Bytes that it has cost so far, those besides that a first look at a segment reads.
    pub(crate) spent: u64,
}

impl Budget {
    /// So many bytes, all of which are for whoever reads.
    pub(crate) fn of(bytes_max: usize) -> Self {
        let bytes = bytes_max.max(1);
        Self {
            read: bytes,
            taken: bytes,
            spent: 0,
        }
    }

    pub(crate) const fn is_spent(&self) -> bool {
        self.read == 0 || self.taken == 0
    }

    pub(super) const fn read(&mut self, bytes: usize) {
        self.pass(bytes);
        self.read_besides(bytes as u64);
    }

    const fn pass(&mut self, bytes: usize) {
        self.read = self.read.saturating_sub(bytes);
    }

    const fn read_besides(&mut self, bytes: u64) {
        self.spent = self.spent.saturating_add(bytes);
    }

    const fn take(&mut self, bytes: usize) {
        self.taken = self.taken.saturating_sub(bytes);
    }
}

/// A place between two records.
#[derive(Clone, Copy, Debug)]
struct Mark {
    /// Everything of blocks below it is told before this place.
    height: u64,
    offset: u64,
    check: Check,
}

/// What a record tells: the blocks since the one before had nothing, and this one has this.
#[derive(Debug)]
struct Record<B> {
    height: u64,
    block: B,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Segment<K: Kind> {
    pub(super) first: u64,
    pub(super) path: PathBuf,
    /// Open while it is the last one.
    file: Option<File>,
    bytes: u64,
    /// What is known of all blocks before; none while its head has not been read.
    before: Option<K::Before>,
    /// Ascending, from the first record on; none while it has not been read.
    marks: Option<Vec<Mark>>,
    /// Behind its last record; only while it is the last one.
    tail: Mark,
    /// For whom there may be something in it; none while that is not known.
    index: Option<K::Index>,
}

/// The bytes of a head, and the place behind them.
fn head_of<K: Kind>(genesis_hash: &[u8; 32], before: &K::Before) -> (Vec<u8>, Mark) {
    let height = before.height().saturating_add(1);
    let mut head = K::MAGIC.to_vec();
    head.extend_from_slice(genesis_hash);
    head.extend_from_slice(&height.to_le_bytes());
    head.extend_from_slice(before.tops().as_flattened());
    let mut hasher = blake3::Hasher::new();
    hasher.update(&head);
    let check = short(&hasher);
    head.extend_from_slice(&check);
    let offset = head.len() as u64;
    let mark = Mark {
        height,
        offset,
        check,
    };
    (head, mark)
}

fn short(hasher: &blake3::Hasher) -> Check {
    let mut check = [0; 16];
    check.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    check
}

fn check_of(before: &Check, head: &[u8], body: &[u8]) -> Check {
    let mut hasher = blake3::Hasher::new();
    hasher.update(before).update(head).update(body);
    short(&hasher)
}

impl<K: Kind> Segment<K> {
    /// One that is complete, of which nothing is known but its name.
    pub(super) fn sealed(first: u64, path: PathBuf) -> Self {
        let bytes = std::fs::metadata(&path).map_or(0, |found| found.len());
        Self {
            tail: Mark {
                height: first,
                offset: 0,
                check: Check::default(),
            },
            before: None,
            first,
            path,
            file: None,
            bytes,
            marks: None,
            index: None,
        }
    }

    /// A new one.
    pub(super) fn create(
        before: &K::Before,
        path: PathBuf,
        genesis_hash: &[u8; 32],
    ) -> std::io::Result<Self> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true);
        let file = options.open(&path)?;
        let (head, tail) = head_of::<K>(genesis_hash, before);
        file.write_all_at(&head, 0)?;
        if let Some(folder) = path.parent() {
            File::open(folder)?.sync_all()?;
        }
        Ok(Self {
            first: tail.height,
            path,
            file: Some(file),
            bytes: tail.offset,
            before: Some(before.clone()),
            marks: Some(vec![tail]),
            tail,
            index: Some(K::Index::default()),
        })
    }

    pub(super) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Everything of blocks below this height is told here, or was nothing.
    pub(super) const fn covered(&self) -> u64 {
        self.tail.height
    }

    /// Makes it the last one: reads it, and cuts off what is torn. False when it is none of this
    /// chain, or has no whole head.
    pub(super) fn open(&mut self, genesis_hash: &[u8; 32]) -> std::io::Result<bool> {
        if self.file.is_some() {
            return Ok(true);
        }
        let file = OpenOptions::new().read(true).write(true).open(&self.path)?;
        let Some(first) = self.read_head(&file, genesis_hash)? else {
            return Ok(false);
        };
        let (mut marks, mut tail, mut index) = (vec![first], first, K::Index::default());
        let mut records = Records::new(&file, first, file.metadata()?.len())?;
        // A record that is not whole ends the segment: what was torn is executed again.
        loop {
            match records.next::<K::Block>() {
                Ok(Some(record)) => index.note(&record.block),
                Ok(None) => break,
                Err(error) if is_loss(&error) => break,
                Err(error) => return Err(error),
            }
            tail = records.at;
            note(&mut marks, tail);
        }
        file.set_len(tail.offset)?;
        (self.bytes, self.tail) = (tail.offset, tail);
        (self.marks, self.file, self.index) = (Some(marks), Some(file), Some(index));
        Ok(true)
    }

    /// The place behind the head; none where it is torn, or of another chain.
    ///
    /// # Errors
    /// The system does not let it be read now.
    fn read_head(&mut self, file: &File, genesis_hash: &[u8; 32]) -> std::io::Result<Option<Mark>> {
        let Some(height) = self.first.checked_sub(1) else {
            return Ok(None);
        };
        let tops_bytes = 32 * K::Before::tops_len(height);
        let mut head = vec![0; HEAD_BYTES + tops_bytes + CHECK_BYTES];
        match file.read_exact_at(&mut head, 0) {
            Err(error) if is_loss(&error) => Ok(None),
            Err(error) => Err(error),
            Ok(()) => Ok(self.take_head(height, &head, genesis_hash)),
        }
    }

    fn take_head(&mut self, height: u64, head: &[u8], genesis_hash: &[u8; 32]) -> Option<Mark> {
        let tops = head.get(HEAD_BYTES..head.len() - CHECK_BYTES)?;
        let (tops, _) = tops.as_chunks::<32>();
        let before = K::Before::from_tops(height, tops)?;
        let (expected, mark) = head_of::<K>(genesis_hash, &before);
        if head != expected {
            return None;
        }
        self.before = Some(before);
        Some(mark)
    }

    /// What is known of all blocks before this segment; none where its head is not whole.
    pub(super) fn before(&mut self, genesis_hash: &[u8; 32]) -> Option<&K::Before> {
        if self.before.is_none() {
            let file = File::open(&self.path).ok()?;
            self.read_head(&file, genesis_hash).ok()??;
        }
        self.before.as_ref()
    }

    /// What is known of all blocks up to the last record; only of the last segment.
    pub(super) fn history(&self) -> std::io::Result<Option<K::Before>> {
        let parts = (&self.file, &self.before, &self.marks);
        let (Some(file), Some(before), Some(marks)) = parts else {
            return Ok(None);
        };
        let Some(&first) = marks.first() else {
            return Ok(None);
        };
        let mut history = before.clone();
        let mut records = Records::new(file, first, self.bytes)?;
        while let Some(record) = records.next::<K::Block>()? {
            history.pass_silent(record.height.saturating_sub(1));
            history.pass(record.height, &record.block);
        }
        Ok(Some(history))
    }

    /// Makes a segment that was written beside the others, and synced, one of them: all that it
    /// has is told.
    pub(super) fn seal(mut self, path: PathBuf) -> std::io::Result<Self> {
        self.sync()?;
        std::fs::rename(&self.path, &path)?;
        if let Some(folder) = path.parent() {
            File::open(folder)?.sync_all()?;
        }
        (self.path, self.file) = (path, None);
        Ok(self)
    }

    /// Lets it write to another file; gives back the one that it had.
    #[cfg(test)]
    pub(super) const fn swap_file(&mut self, file: File) -> Option<File> {
        self.file.replace(file)
    }

    /// Forgets everything of blocks from `height` on; only of the last one.
    pub(super) fn cut(&mut self, height: u64) -> std::io::Result<()> {
        let (Some(file), Some(marks)) = (&self.file, &mut self.marks) else {
            return Ok(());
        };
        marks.retain(|mark| mark.height <= height || mark.height == self.first);
        let Some(&start) = marks.last() else {
            return Ok(());
        };
        let mut tail = start;
        let mut records = Records::new(file, start, self.bytes)?;
        while let Some(record) = records.next::<K::Block>()? {
            if record.height >= height {
                break;
            }
            tail = records.at;
        }
        file.set_len(tail.offset)?;
        (self.bytes, self.tail) = (tail.offset, tail);
        Ok(())
    }

    /// Appends the record of a block to what is to be [written](Self::write); false when it is too
    /// long for any.
    pub(super) fn encode(&mut self, height: u64, block: &K::Block, buffer: &mut Vec<u8>) -> bool {
        let body_bytes = block.body_bytes();
        if body_bytes > BODY_BYTES_MAX {
            return false;
        }
        let start = buffer.len();
        buffer.extend_from_slice(&height.to_le_bytes());
        buffer.extend_from_slice(&block.time_ns().to_le_bytes());
        for number in [block.entries_len(), body_bytes] {
            buffer.extend_from_slice(&u32::try_from(number).unwrap_or(u32::MAX).to_le_bytes());
        }
        buffer.extend_from_slice(&[0; 16]);
        block.encode(buffer);
        let (head, body) = buffer[start..].split_at_mut(RECORD_BYTES);
        let check = check_of(&self.tail.check, &head[..CHECK_AT], body);
        head[CHECK_AT..].copy_from_slice(&check);
        self.tail = Mark {
            height: height.saturating_add(1),
            offset: self.tail.offset + (RECORD_BYTES + body_bytes) as u64,
            check,
        };
        self.bytes = self.tail.offset;
        if let Some(marks) = &mut self.marks {
            note(marks, self.tail);
        }
        if let Some(index) = &mut self.index {
            index.note(block);
        }
        true
    }

    /// The same for blocks without anything below `end`, if there are any.
    pub(super) fn encode_silence(&mut self, end: u64, buffer: &mut Vec<u8>) {
        if self.tail.height < end {
            self.encode(end - 1, &K::Block::default(), buffer);
        }
    }

    /// Writes records that were encoded, in their order.
    pub(super) fn write(&self, records: &[u8]) -> std::io::Result<()> {
        let start = self.bytes - records.len() as u64;
        let file = self.file.as_ref();
        file.map_or(Ok(()), |file| file.write_all_at(records, start))
    }

    /// It is complete, and opened again when it is read.
    pub(super) fn close(&mut self) {
        self.file = None;
    }

    /// Whether a descriptor is spent on it.
    #[cfg(test)]
    pub(super) const fn is_open(&self) -> bool {
        self.file.is_some()
    }

    pub(super) fn sync(&self) -> std::io::Result<()> {
        self.file.as_ref().map_or(Ok(()), File::sync_data)
    }

    /// Reads on from the block of a position to another one or to the end, `end` being what comes
    /// behind this segment, until the budget is spent.
    pub(super) fn read(
        &mut self,
        genesis_hash: &[u8; 32],
        end: u64,
        (from, to, wanted): (StreamPosition, StreamPosition, K::Wanted),
        left: &mut Budget,
    ) -> Result<Blocks<K::Block>, SegmentError> {
        let path = self.path.clone();
        let failed = |source| SegmentError::Io { path, source };
        let own = match &self.file {
            Some(file) => file.try_clone(),
            None => File::open(&self.path),
        };
        let file = own.map_err(failed)?;
        if self.marks.is_none() {
            left.read_besides(self.bytes);
            self.marks = Some(self.find_marks(&file, genesis_hash, end)?);
            self.keep_index(genesis_hash, end);
            // What was not known without reading all of it.
            if self.is_without(wanted) {
                left.pass(usize::try_from(self.bytes).unwrap_or(usize::MAX));
                return Ok((Vec::new(), StreamPosition::before(end)));
            }
        }
        let marks = self.marks.as_deref().unwrap_or_default();
        let place = marks.partition_point(|mark| mark.height <= from.height);
        let Some(&start) = marks.get(place.saturating_sub(1)) else {
            return Ok((Vec::new(), from));
        };
        let mut blocks = Vec::new();
        let mut records =
            Records::new(&file, start, self.bytes).map_err(|source| self.failed(source))?;
        while !left.is_spent() {
            let record = records.next::<K::Block>();
            let Some(record) = record.map_err(|source| self.failed(source))? else {
                return Ok((blocks, StreamPosition::before(end)));
            };
            let reached = StreamPosition::before(record.height.saturating_add(1));
            let bytes = RECORD_BYTES + record.block.body_bytes();
            left.read_besides(bytes as u64);
            if record.height < from.height {
                continue;
            }
            if StreamPosition::before(record.height) >= to {
                return Ok((blocks, to));
            }
            left.pass(bytes);
            if let Some(block) = K::select(record.block, wanted) {
                left.take(RECORD_BYTES + block.body_bytes());
                blocks.push((record.height, Arc::new(block)));
            }
            if left.is_spent() {
                return Ok((blocks, reached));
            }
        }
        Ok((blocks, from))
    }

    fn failed(&self, source: std::io::Error) -> SegmentError {
        let path = self.path.clone();
        SegmentError::Io { path, source }
    }

    /// The way-marks of a complete segment, all of which is whole.
    fn find_marks(
        &mut self,
        file: &File,
        genesis_hash: &[u8; 32],
        end: u64,
    ) -> Result<Vec<Mark>, SegmentError> {
        let path = self.path.clone();
        let damaged = |offset| SegmentError::Damaged {
            path: path.clone(),
            offset,
        };
        let head = self.read_head(file, genesis_hash);
        let Some(first) = head.map_err(|source| self.failed(source))? else {
            return Err(damaged(0));
        };
        let (mut marks, mut index) = (vec![first], K::Index::default());
        let mut records =
            Records::new(file, first, self.bytes).map_err(|source| self.failed(source))?;
        loop {
            match records.next::<K::Block>() {
                Ok(Some(record)) => {
                    note(&mut marks, records.at);
                    index.note(&record.block);
                }
                Ok(None) => break,
                Err(error) if is_loss(&error) => return Err(damaged(records.at.offset)),
                Err(error) => return Err(self.failed(error)),
            }
        }
        if records.at.height != end {
            return Err(damaged(records.at.offset));
        }
        self.index = Some(index);
        Ok(marks)
    }
}

/// Keeps a way-mark where the last one is far enough behind.
fn note(marks: &mut Vec<Mark>, at: Mark) {
    if marks
        .last()
        .is_none_or(|last| at.offset - last.offset >= MARK_BYTES)
    {
        marks.push(at);
    }
}

/// Records one after the other, each checked.
struct Records<'f> {
    reader: BufReader<&'f File>,
    /// Behind the last record that was whole.
    at: Mark,
    bytes: u64,
}

impl<'f> Records<'f> {
    fn new(file: &'f File, start: Mark, bytes: u64) -> std::io::Result<Self> {
        let mut reader = BufReader::with_capacity(MARK_BYTES as usize, file);
        reader.seek(SeekFrom::Start(start.offset))?;
        Ok(Self {
            reader,
            at: start,
            bytes,
        })
    }

    /// The next one; none at the end.
    fn next<B: Kept>(&mut self) -> std::io::Result<Option<Record<B>>> {
        if self.at.offset >= self.bytes {
            return Ok(None);
        }
        let mut head = [0; RECORD_BYTES];
        self.reader.read_exact(&mut head)?;
        let u64_at = |at: usize| u64::from_le_bytes(std::array::from_fn(|byte| head[at + byte]));
        let u32_at = |at: usize| u32::from_le_bytes(std::array::from_fn(|byte| head[at + byte]));
        let (height, time_ns) = (u64_at(0), u64_at(8));
        let (count, body_bytes) = (u32_at(16) as usize, u32_at(20) as usize);
        let end = self.at.offset + (RECORD_BYTES + body_bytes) as u64;
        let is_sound =
            count * B::ENTRY_BYTES <= body_bytes && end <= self.bytes && height >= self.at.height;
        if !is_sound {
            return Err(ErrorKind::InvalidData.into());
        }
        let mut body = vec![0; body_bytes];
        self.reader.read_exact(&mut body)?;
        let check = check_of(&self.at.check, &head[..CHECK_AT], &body);
        if check != head[CHECK_AT..] {
            return Err(ErrorKind::InvalidData.into());
        }
        let block = B::decode(time_ns, count, body).ok_or(ErrorKind::InvalidData)?;
        self.at = Mark {
            height: height.saturating_add(1),
            offset: end,
            check,
        };
        Ok(Some(Record { height, block }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::io::Errno;

    #[test]
    fn only_what_is_gone_for_good_is_a_loss() {
        let of_system = |errno: Errno| std::io::Error::from(errno);
        for errno in [
            Errno::MFILE,
            Errno::NFILE,
            Errno::NOMEM,
            Errno::ACCESS,
            Errno::INTR,
            Errno::NOENT,
        ] {
            assert!(!is_loss(&of_system(errno)), "{errno}");
        }
        assert!(is_loss(&of_system(Errno::IO)));
        for kind in [ErrorKind::InvalidData, ErrorKind::UnexpectedEof] {
            assert!(is_loss(&kind.into()), "{kind}");
        }
    }
}
