//! A fixed length of shared memory with one writer: `unsafe`, like the signal handler beside it.
//!
//! Owns the promise behind every safe slice of the log: bytes below the published length never
//! change again, bytes above it are touched by the one [`RegionWriter`] alone. Knows nothing of
//! records. A region is a file mapping or, in simulation, plain memory with a durable image
//! beside it.
#![expect(
    unsafe_code,
    reason = "slices into a shared mapping; the invariants stand at each block"
)]

use std::fs::File;
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use memmap2::{MmapRaw, UncheckedAdvice};
use rustix::io::Errno;

use crate::claim::Claim;
use crate::memory::MemoryFile;
use crate::published::Published;

#[derive(Debug)]
enum Memory {
    /// Length fixed at mapping; the folder's lock keeps other processes from writing the file.
    Mapped(MmapRaw),
    Simulated(Arc<MemoryFile>),
}

/// The readers' side of a region.
#[derive(Debug)]
pub(crate) struct Region {
    memory: Memory,
    /// Bytes that never change again. Invariant: only grows, and only through the one writer.
    published: Published,
    /// Keeps a second writer of the same file out for as long as anybody can read this one.
    _claim: Arc<Claim>,
}

impl Region {
    /// The bytes that were published; they never change.
    pub(crate) fn published(&self) -> &[u8] {
        let bytes = self.published.end();
        // SAFETY: `bytes` is at most the region's length (checked where it is stored), and the
        // writer stores only at or above it (checked in `RegionWriter::write`), so the slice is
        // initialised memory that is not written while it is borrowed, and `Published` shows what
        // was written below it. Other processes are kept out by the folder's lock.
        unsafe { std::slice::from_raw_parts(self.first_byte(), bytes) }
    }

    /// How many bytes were published.
    pub(crate) fn published_bytes(&self) -> usize {
        self.published.end()
    }

    /// The length of the whole region.
    pub(crate) fn bytes_len(&self) -> usize {
        match &self.memory {
            Memory::Mapped(map) => map.len(),
            Memory::Simulated(file) => file.live().len(),
        }
    }

    /// Makes the bytes from `offset` durable, `bytes_len` of them; the pages that hold them whole.
    ///
    /// # Errors
    /// What `msync` says. After an error nothing is known of any page of the file, and the system
    /// will not report the same loss again: the caller must not try once more.
    pub(crate) fn flush(&self, offset: usize, bytes_len: usize) -> io::Result<()> {
        match &self.memory {
            Memory::Mapped(map) => map.flush_range(offset, bytes_len),
            Memory::Simulated(file) => file.flush(offset, bytes_len),
        }
    }

    /// Takes the region's pages out of this process's map, so that the system may have their memory
    /// back; who reads on gets them from the file again, with the same bytes.
    ///
    /// # Errors
    /// What `madvise` says; nothing has changed then.
    pub(crate) fn release(&self) -> io::Result<()> {
        match &self.memory {
            // SAFETY: the mapping is shared and of a file, so the pages are the file's: taking them
            // out of the map loses no store (one that is not written yet stays in the page cache),
            // and a reader's next access brings the same bytes back.
            Memory::Mapped(map) => unsafe { map.unchecked_advise(UncheckedAdvice::DontNeed) },
            Memory::Simulated(_) => Ok(()),
        }
    }

    fn first_byte(&self) -> *const u8 {
        match &self.memory {
            Memory::Mapped(map) => map.as_ptr(),
            Memory::Simulated(file) => file.live().first_byte(),
        }
    }
}

/// The one writer of a region.
///
/// What it writes goes to a file by `pwritev`, and is seen in the mapping at once, since both are
/// the same pages. A store into the mapping would do as well and costs more: a sync makes the pages
/// that were stored to read-only, together with others that the system keeps in one piece with
/// them, so that there is a fault for each page written and an interrupt of all processors for
/// each sync.
#[derive(Debug)]
pub(crate) struct RegionWriter {
    region: Arc<Region>,
    /// None of a simulated file, and of a file system where the mapping does not show what is
    /// written: then everything is stored into the mapping.
    file: Option<File>,
    /// A write was seen in the mapping.
    is_shown: bool,
}

/// Parts that one call writes.
const PARTS_PER_CALL: usize = 8;

/// Writes `parts` to a file, one after the other. After an error any of them may be there.
fn write_file(file: &File, offset: usize, parts: &[&[u8]]) -> io::Result<()> {
    write_by(offset, parts, |slices, offset| {
        rustix::io::pwritev(file, slices, offset as u64)
    })
}

/// Writes `parts` from `offset` on by calls that may take less than they are given, and say how
/// much that was.
fn write_by(
    mut offset: usize,
    parts: &[&[u8]],
    mut write: impl FnMut(&[IoSlice<'_>], usize) -> rustix::io::Result<usize>,
) -> io::Result<()> {
    for parts in parts.chunks(PARTS_PER_CALL) {
        let mut slices = [IoSlice::new(&[]); PARTS_PER_CALL];
        for (slice, part) in slices.iter_mut().zip(parts) {
            *slice = IoSlice::new(part);
        }
        let mut left = &mut slices[..parts.len()];
        IoSlice::advance_slices(&mut left, 0);
        while !left.is_empty() {
            match write(left, offset) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(bytes_len) => {
                    // A disk that fills up takes what still fits.
                    IoSlice::advance_slices(&mut left, bytes_len);
                    offset += bytes_len;
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(())
}

impl RegionWriter {
    /// A writer over a file and the mapping of it. The caller maps each file once a claim.
    pub(crate) fn mapped(map: MmapRaw, file: File, claim: Arc<Claim>) -> Self {
        Self::over(Memory::Mapped(map), Some(file), claim)
    }

    /// A writer over a simulated file. The caller maps each file once a claim.
    pub(crate) fn simulated(file: Arc<MemoryFile>, claim: Arc<Claim>) -> Self {
        Self::over(Memory::Simulated(file), None, claim)
    }

    fn over(memory: Memory, file: Option<File>, claim: Arc<Claim>) -> Self {
        let region = Region {
            memory,
            published: Published::default(),
            _claim: claim,
        };
        Self {
            region: Arc::new(region),
            file,
            is_shown: false,
        }
    }

    /// The readers' side.
    pub(crate) fn region(&self) -> &Arc<Region> {
        &self.region
    }

    /// Lets its descriptor go, of which a process has few: what is written from now on is stored
    /// into the mapping. For a file that is only read.
    pub(crate) fn let_file_go(&mut self) {
        self.file = None;
    }

    /// Whether it has no descriptor to write by and would be better mapped again.
    pub(crate) fn lacks_file(&self) -> bool {
        self.file.is_none() && matches!(self.region.memory, Memory::Mapped(_))
    }

    /// Every byte of the region, published or not.
    pub(crate) fn bytes(&self) -> &[u8] {
        let len = self.region.bytes_len();
        // SAFETY: the whole region is initialised memory of this length. Only `write` changes it,
        // in the map or through the file, with `&mut self`, so nothing changes while this borrow of
        // `self` lasts.
        unsafe { std::slice::from_raw_parts(self.region.first_byte(), len) }
    }

    /// Writes `parts`, one after the other, from `offset` on.
    ///
    /// # Errors
    /// The system refuses the write. Some of it may be there then, and the same may be written
    /// again. It is never stored instead: where a file shares its blocks with another one, or has
    /// none, a store that the disk has no room for is a signal.
    ///
    /// # Panics
    /// If the place is published already or does not fit: the caller has computed it from the
    /// same numbers, so this is a bug, and going on would change bytes under a reader.
    pub(crate) fn write(&mut self, offset: usize, parts: &[&[u8]]) -> io::Result<()> {
        let bytes_len: usize = parts.iter().map(|part| part.len()).sum();
        let end = offset
            .checked_add(bytes_len)
            .expect("an offset inside the region");
        assert!(
            end <= self.region.bytes_len(),
            "a write past the end of a region"
        );
        assert!(
            offset >= self.region.published_bytes(),
            "a write over published bytes"
        );
        if let Some(file) = &self.file {
            // The first write that changes something tells whether the mapping shows it, wherever
            // that is: to the segment that a start goes on in, none is at the beginning.
            let tells = !self.is_shown && !self.shows(offset, parts);
            write_file(file, offset, parts)?;
            if !tells || self.shows(offset, parts) {
                self.is_shown |= tells;
                return Ok(());
            }
            tracing::warn!("the mapping of a file does not show what is written to it");
            self.file = None;
        }
        let mut offset = offset;
        for part in parts {
            self.store(offset, part)?;
            offset += part.len();
        }
        Ok(())
    }

    /// Whether the region has `parts` from `offset` on.
    fn shows(&self, offset: usize, parts: &[&[u8]]) -> bool {
        let mut bytes = &self.bytes()[offset..];
        parts
            .iter()
            .all(|part| bytes.split_off(..part.len()) == Some(part))
    }

    /// Stores `bytes` at `offset`, which `write` has checked.
    fn store(&self, offset: usize, bytes: &[u8]) -> io::Result<()> {
        match &self.region.memory {
            Memory::Mapped(map) => {
                // SAFETY: `offset` is at most the map's length, as `write` has checked.
                let place = unsafe { map.as_mut_ptr().add(offset) };
                // SAFETY: the destination lies inside the map (`write` has checked) and above the
                // published length, where no slice but one borrowed from `self` exists, and the
                // `&mut self` of `write` excludes that. `bytes` is a safe slice of other memory for
                // the same reason: it cannot be borrowed from this region above the published
                // length.
                unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), place, bytes.len()) };
                Ok(())
            }
            Memory::Simulated(file) => file.write(offset, bytes),
        }
    }

    /// Makes everything below `end` readable by others, for good.
    ///
    /// # Panics
    /// If `end` goes back or lies outside the region, which is a bug.
    #[expect(
        clippy::needless_pass_by_ref_mut,
        reason = "the one writer is what makes it sound"
    )]
    pub(crate) fn publish(&mut self, end: usize) {
        assert!(
            end <= self.region.bytes_len(),
            "published past the end of a region"
        );
        assert!(
            end >= self.region.published_bytes(),
            "published bytes taken back"
        );
        self.region.published.raise(end);
    }
}

/// Plain memory that may be copied while it is written: the simulated page cache.
#[derive(Debug)]
pub(crate) struct SharedBytes(Box<[AtomicU8]>);

impl SharedBytes {
    pub(crate) fn from_bytes(bytes: &[u8]) -> Self {
        Self(bytes.iter().map(|byte| AtomicU8::new(*byte)).collect())
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn store(&self, offset: usize, bytes: &[u8]) {
        for (cell, byte) in self.0[offset..offset + bytes.len()].iter().zip(bytes) {
            cell.store(*byte, Ordering::Relaxed);
        }
    }

    pub(crate) fn load(&self, range: std::ops::Range<usize>) -> Vec<u8> {
        let mut bytes = vec![0; range.len()];
        self.load_into(range.start, &mut bytes);
        bytes
    }

    pub(crate) fn load_into(&self, offset: usize, bytes: &mut [u8]) {
        for (byte, cell) in bytes.iter_mut().zip(&self.0[offset..]) {
            *byte = cell.load(Ordering::Relaxed);
        }
    }

    /// Valid for reads of `len` bytes for as long as `self` lives: `AtomicU8` has the layout of
    /// `u8`.
    fn first_byte(&self) -> *const u8 {
        self.0.as_ptr().cast()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::MemoryBackend;
    use std::os::fd::AsRawFd as _;
    use std::os::unix::fs::FileExt as _;
    use std::sync::atomic::AtomicBool;

    fn writer() -> RegionWriter {
        let taken = Arc::new(AtomicBool::new(false));
        let claim = Claim::take(&taken).unwrap();
        RegionWriter::simulated(MemoryBackend::new().file_for_test(&[0; 64]), claim)
    }

    #[test]
    fn readers_see_what_was_published_and_no_more() {
        let mut writer = writer();
        let region = Arc::clone(writer.region());
        writer.write(0, &[b"abc", b"defgh"]).unwrap();
        assert!(region.published().is_empty());
        writer.publish(8);
        assert_eq!(region.published(), b"abcdefgh");
        writer.write(8, &[b"x"]).unwrap();
        assert_eq!(region.published(), b"abcdefgh");
    }

    fn new_file() -> File {
        let flags = rustix::fs::MemfdFlags::CLOEXEC;
        let file = File::from(rustix::fs::memfd_create("region", flags).unwrap());
        file.set_len(8192).unwrap();
        file
    }

    fn mapped(file: &File, handle: File) -> RegionWriter {
        let map = memmap2::MmapOptions::new().map_raw(file).unwrap();
        let claim = Claim::take(&Arc::new(AtomicBool::new(false))).unwrap();
        RegionWriter::mapped(map, handle, claim)
    }

    /// Many parts, over a page boundary, behind a first write at the start.
    fn write_and_compare(writer: &mut RegionWriter, file: &File) {
        let parts: Vec<Vec<u8>> = (1..=20).map(|byte| vec![byte; 211]).collect();
        let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
        writer.write(0, &[b"head"]).unwrap();
        writer.write(300, &parts).unwrap();
        writer.publish(300 + 20 * 211);
        let mut expected = vec![0; 8192];
        expected[..4].copy_from_slice(b"head");
        expected[300..300 + 20 * 211].copy_from_slice(&parts.concat());
        assert_eq!(writer.bytes(), expected);
        assert_eq!(writer.region().published(), &expected[..300 + 20 * 211]);
        let mut in_file = vec![1; 8192];
        file.read_exact_at(&mut in_file, 0).unwrap();
        assert_eq!(in_file, expected);
    }

    #[test]
    fn what_is_written_to_a_file_is_seen_in_its_mapping() {
        let file = new_file();
        let mut writer = mapped(&file, file.try_clone().unwrap());
        write_and_compare(&mut writer, &file);
        assert!(writer.file.is_some());
    }

    #[test]
    fn what_the_system_refuses_to_write_is_not_stored_in_the_mapping_either() {
        let file = new_file();
        let name = format!("/proc/self/fd/{}", file.as_raw_fd());
        let mut writer = mapped(&file, File::open(name).unwrap());
        let refused = writer.write(300, &[b"first", b"write"]).unwrap_err();
        assert_eq!(Errno::from_io_error(&refused), Some(Errno::BADF));
        assert!(writer.bytes().iter().all(|&byte| byte == 0));
        assert!(
            writer.file.is_some(),
            "the next write is tried the same way"
        );
    }

    #[test]
    fn parts_of_no_length_are_written_too() {
        let file = new_file();
        let mut writer = mapped(&file, file.try_clone().unwrap());
        let mut parts: [&[u8]; 20] = [b""; 20];
        writer.write(0, &parts).unwrap();
        (parts[9], parts[17]) = (b"some", b"thing");
        writer.write(5, &parts).unwrap();
        assert_eq!(&writer.bytes()[..15], b"\0\0\0\0\0something\0");
    }

    /// A file whose calls take half of what they are given, in turn with calls that a signal cuts
    /// short and that take nothing.
    #[test]
    fn what_a_call_did_not_take_is_written_behind_what_it_took() {
        let parts: Vec<Vec<u8>> = (1..=20).map(|byte| vec![byte; 3 * byte as usize]).collect();
        let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
        let mut file = vec![0; 1000];
        let mut calls = 0;
        let written = write_by(70, &parts, |slices, offset| {
            calls += 1;
            if calls % 3 == 0 {
                return Err(Errno::INTR);
            }
            let given: Vec<u8> = slices.iter().flat_map(|slice| slice.to_vec()).collect();
            let taken = given.len().div_ceil(2);
            file[offset..offset + taken].copy_from_slice(&given[..taken]);
            Ok(taken)
        });
        written.unwrap();
        let end = 70 + 3 * (1..=20).sum::<usize>();
        assert_eq!(file[70..end], parts.concat());
        assert!(file[..70].iter().chain(&file[end..]).all(|&byte| byte == 0));
        assert!(
            calls > 3 * 20_usize.div_ceil(PARTS_PER_CALL),
            "{calls} calls"
        );
    }

    #[test]
    fn a_call_that_takes_nothing_or_fails_ends_the_write() {
        let nothing = write_by(0, &[b"some"], |_, _| Ok(0)).unwrap_err();
        assert_eq!(nothing.kind(), io::ErrorKind::WriteZero);
        let refused = write_by(0, &[b"some"], |_, _| Err(Errno::NOSPC)).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::StorageFull);
    }

    #[test]
    fn where_the_mapping_does_not_show_what_is_written_all_is_stored_there() {
        let file = new_file();
        let mut writer = mapped(&file, new_file());
        write_and_compare(&mut writer, &file);
        assert!(writer.file.is_none());
    }

    #[test]
    fn a_mapping_that_does_not_show_a_first_write_in_the_middle_is_found_out_by_it() {
        let file = new_file();
        let mut writer = mapped(&file, new_file());
        writer.write(300, &[b"first", b"write"]).unwrap();
        assert!(writer.file.is_none());
        assert_eq!(&writer.bytes()[300..310], b"firstwrite");
        let mut shown = [0; 10];
        file.read_exact_at(&mut shown, 300).unwrap();
        assert_eq!(&shown, b"firstwrite");
    }

    #[test]
    #[should_panic(expected = "a write over published bytes")]
    fn published_bytes_cannot_be_written() {
        let mut writer = writer();
        writer.publish(8);
        writer.write(7, &[b"x"]).ok();
    }

    #[test]
    #[should_panic(expected = "a write past the end")]
    fn a_write_cannot_leave_the_region() {
        writer().write(60, &[b"123", b"45"]).ok();
    }
}
