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

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use memmap2::{MmapRaw, UncheckedAdvice};

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
#[derive(Debug)]
pub(crate) struct RegionWriter {
    region: Arc<Region>,
}

impl RegionWriter {
    /// A writer over a file mapping. The caller maps each file once a claim.
    pub(crate) fn mapped(map: MmapRaw, claim: Arc<Claim>) -> Self {
        Self::over(Memory::Mapped(map), claim)
    }

    /// A writer over a simulated file. The caller maps each file once a claim.
    pub(crate) fn simulated(file: Arc<MemoryFile>, claim: Arc<Claim>) -> Self {
        Self::over(Memory::Simulated(file), claim)
    }

    fn over(memory: Memory, claim: Arc<Claim>) -> Self {
        let region = Region {
            memory,
            published: Published::default(),
            _claim: claim,
        };
        Self {
            region: Arc::new(region),
        }
    }

    /// The readers' side.
    pub(crate) fn region(&self) -> &Arc<Region> {
        &self.region
    }

    /// Every byte of the region, published or not.
    pub(crate) fn bytes(&self) -> &[u8] {
        let len = self.region.bytes_len();
        // SAFETY: the whole region is initialised memory of this length. Only `write` stores to
        // it, through `&mut self`, so nothing changes while this borrow of `self` lasts.
        unsafe { std::slice::from_raw_parts(self.region.first_byte(), len) }
    }

    /// Stores `bytes` at `offset`.
    ///
    /// # Panics
    /// If the place is published already or does not fit: the caller has computed it from the
    /// same numbers, so this is a bug, and going on would change bytes under a reader.
    #[expect(
        clippy::needless_pass_by_ref_mut,
        reason = "the one writer is what makes it sound"
    )]
    pub(crate) fn write(&mut self, offset: usize, bytes: &[u8]) {
        let end = offset
            .checked_add(bytes.len())
            .expect("an offset inside the region");
        assert!(
            end <= self.region.bytes_len(),
            "a write past the end of a region"
        );
        assert!(
            offset >= self.region.published_bytes(),
            "a write over published bytes"
        );
        match &self.region.memory {
            Memory::Mapped(map) => {
                // SAFETY: `offset` is at most the map's length, checked above.
                let place = unsafe { map.as_mut_ptr().add(offset) };
                // SAFETY: the destination lies inside the map (checked above) and above the
                // published length, where no slice but one borrowed from `self` exists, and
                // `&mut self` excludes that. `bytes` is a safe slice of other memory for the same
                // reason: it cannot be borrowed from this region above the published length.
                unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), place, bytes.len()) };
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
        writer.write(0, b"abcdefgh");
        assert!(region.published().is_empty());
        writer.publish(8);
        assert_eq!(region.published(), b"abcdefgh");
        writer.write(8, b"x");
        assert_eq!(region.published(), b"abcdefgh");
    }

    #[test]
    #[should_panic(expected = "a write over published bytes")]
    fn published_bytes_cannot_be_written() {
        let mut writer = writer();
        writer.publish(8);
        writer.write(7, b"x");
    }

    #[test]
    #[should_panic(expected = "a write past the end")]
    fn a_write_cannot_leave_the_region() {
        writer().write(60, b"12345");
    }
}
