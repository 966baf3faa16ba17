//! Looking at what the disk has of the log while it is open.
//!
//! Owns a pass over the complete segments, in pieces of the caller's size, past the memory of the
//! system: a mapping shows what memory holds, which says nothing of the disk. Finds segments that
//! are not whole (`mend` brings them back). Never: writes, decides when, or reads the segment that
//! is being appended to, since a direct read would make its unwritten pages go to the disk first,
//! in the way of a vote.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use crate::backend::{Backend, PAGE_BYTES, is_medium};
use crate::bytes::is_zero;
use crate::error::ScrubError;
use crate::identity::Identity;
use crate::map::Region;
use crate::mend::{Mend, Vain};
use crate::pieces::find_pieces;
use crate::record::{Examined, HEADER_BYTES, examine, examine_header};
use crate::segment::{SEGMENT_HEADER_BYTES, SegmentHeader, segment_name};
use crate::shared::Shared;

/// What one step found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scrubbed {
    /// So many bytes were read, and there is more of the segment.
    More {
        /// Bytes read.
        bytes: usize,
    },
    /// A segment was read to its end, and every byte is as it was written.
    Whole {
        /// Its number.
        segment: u32,
        /// Bytes read in this step.
        bytes: usize,
    },
    /// A segment was read to its end, and is not whole.
    Faulty {
        /// Its number.
        segment: u32,
        /// Bytes read in this step.
        bytes: usize,
    },
    /// There is no complete segment above the last one: the next step begins with the first.
    PassEnd,
}

/// Looks at complete segments, one after the other. There is one for a log; it may live on a
/// thread of its own, and needs the memory of one segment.
#[derive(Debug)]
pub struct Scrubber {
    shared: Arc<Shared>,
    /// The next segment to look at, or the first one above.
    next: u32,
    sweep: Option<Sweep>,
    is_direct: Option<bool>,
    vain: Vain,
}

impl Scrubber {
    pub(crate) fn new(shared: &Arc<Shared>) -> Self {
        Self {
            shared: Arc::clone(shared),
            next: 0,
            sweep: None,
            is_direct: None,
            vain: Vain::default(),
        }
    }

    /// Reads on, at most `bytes_max` bytes and at least a page; nothing of a segment that was
    /// pruned meanwhile.
    ///
    /// # Errors
    /// [`ScrubError`]: the segment is left out in this pass.
    pub fn step(&mut self, bytes_max: usize) -> Result<Scrubbed, ScrubError> {
        let Some(mut sweep) = self.sweep.take().or_else(|| self.begin()) else {
            self.next = 0;
            return Ok(Scrubbed::PassEnd);
        };
        let before = sweep.read;
        let backend = self.shared.folder.backend.as_ref();
        let read = sweep.read_on(backend, bytes_max);
        // The log leaves a segment before its file goes.
        if read.is_err() && self.is_pruned(sweep.extent.number) {
            return Ok(Scrubbed::More { bytes: 0 });
        }
        let is_direct = read.map_err(ScrubError::io("read", &sweep.extent.name()))?;
        self.is_direct = is_direct.or(self.is_direct);
        sweep.check(&self.shared.identity);
        let bytes = sweep.read - before;
        if sweep.read < sweep.bytes.len() {
            self.sweep = Some(sweep);
            return Ok(Scrubbed::More { bytes });
        }
        let segment = sweep.extent.number;
        Ok(if sweep.is_whole(&self.shared) {
            Scrubbed::Whole { segment, bytes }
        } else {
            Scrubbed::Faulty { segment, bytes }
        })
    }

    /// The pass goes on with this segment, from its beginning: somebody could not read it.
    pub fn look_at(&mut self, segment: u32) {
        self.sweep = None;
        self.next = segment;
    }

    /// Whether the last bytes were read past the memory of the system; none before the first. If
    /// not, what was read may be what memory holds, and rot of the disk below it stays unseen.
    #[must_use]
    pub fn is_direct(&self) -> Option<bool> {
        self.is_direct
    }

    /// How many bytes [`mend`](Self::mend) of a segment reads.
    #[must_use]
    pub fn mend_bytes(&self, segment: u32) -> u64 {
        sealed(&self.shared, segment).map_or(0, |(_, extent)| extent.bytes_len as u64)
    }

    /// Reads a segment again, whole, to mend it; none when there is nothing to mend. What the log
    /// itself can bring back has been brought back in what is returned.
    ///
    /// # Errors
    /// The system refuses.
    pub fn mend(&mut self, segment: u32) -> Result<Option<Mend>, ScrubError> {
        let Some((region, extent)) = sealed(&self.shared, segment) else {
            return Ok(None);
        };
        let mut sweep = Sweep::new(extent);
        while sweep.read < sweep.bytes.len() {
            let backend = self.shared.folder.backend.as_ref();
            let read = sweep.read_on(backend, 1 << 20);
            if read.is_err() && self.is_pruned(segment) {
                return Ok(None);
            }
            read.map_err(ScrubError::io("read", &extent.name()))?;
        }
        Ok(Mend::begin(
            &self.shared,
            (region, extent),
            (sweep.bytes, sweep.unreadable),
            &mut self.vain,
        ))
    }

    fn is_pruned(&self, segment: u32) -> bool {
        segment < self.shared.start().offset.segment()
    }

    /// The next complete segment.
    fn begin(&mut self) -> Option<Sweep> {
        let first = self.shared.start().offset.segment();
        let end = self.shared.synced_offset().segment();
        for number in self.next.max(first)..end {
            self.next = number + 1;
            if let Some((_, extent)) = sealed(&self.shared, number) {
                return Some(Sweep::new(extent));
            }
        }
        None
    }
}

/// What of a segment is to be whole.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extent {
    pub(crate) number: u32,
    /// Length of its file.
    pub(crate) bytes_len: usize,
    /// Where its records end, or where a stretch begins that is marked faulty.
    pub(crate) end: usize,
    /// Such a stretch begins there: what stands behind is as it is.
    pub(crate) is_marked: bool,
}

impl Extent {
    pub(crate) fn name(&self) -> String {
        segment_name(self.number)
    }
}

/// A segment to which nothing is appended any more and that is synced; none inside a stretch that
/// is marked faulty.
pub(crate) fn sealed(shared: &Shared, number: u32) -> Option<(Arc<Region>, Extent)> {
    if number >= shared.synced_offset().segment() {
        return None;
    }
    let region = shared.segment(number)?;
    let mut extent = Extent {
        number,
        bytes_len: region.bytes_len(),
        end: region.published_bytes(),
        is_marked: false,
    };
    for gap in shared.gaps.all() {
        if gap.from.segment() == number {
            extent.end = extent.end.min(gap.from.bytes() as usize);
            extent.is_marked = true;
        } else if gap.from.segment() < number && number < gap.resumed_in {
            return None;
        }
    }
    Some((region, extent))
}

/// One segment being read.
#[derive(Debug)]
struct Sweep {
    extent: Extent,
    bytes: Vec<u8>,
    /// Bytes read so far.
    read: usize,
    unreadable: Vec<Range<usize>>,
    /// Records before it are whole; 0 until the header is.
    at: usize,
}

impl Sweep {
    fn new(extent: Extent) -> Self {
        Self {
            extent,
            bytes: vec![0; extent.bytes_len],
            read: 0,
            unreadable: Vec::new(),
            at: 0,
        }
    }

    /// A page that the disk does not give is left zero and noted. Says whether all that was read
    /// is what the disk has; none when nothing could be read. A want of descriptors, memory or
    /// rights says nothing of the disk.
    fn read_on(&mut self, backend: &dyn Backend, bytes_max: usize) -> io::Result<Option<bool>> {
        let name = self.extent.name();
        let piece = (bytes_max / PAGE_BYTES).max(1) * PAGE_BYTES;
        let end = self.bytes.len().min(self.read + piece);
        let wanted = self.read..end;
        let mut is_direct = None;
        match backend.read_disk(&name, wanted.start as u64, &mut self.bytes[wanted.clone()]) {
            Ok(direct) => is_direct = Some(direct),
            Err(error) if !is_medium(&error) => return Err(error),
            Err(_) => {
                for start in wanted.step_by(PAGE_BYTES) {
                    let page = start..end.min(start + PAGE_BYTES);
                    let bytes = &mut self.bytes[page.clone()];
                    match backend.read_disk(&name, start as u64, bytes) {
                        Ok(direct) => is_direct = Some(direct && is_direct != Some(false)),
                        Err(error) if is_medium(&error) => {
                            bytes.fill(0);
                            self.unreadable.push(page);
                        }
                        Err(error) => return Err(error),
                    }
                }
            }
        }
        self.read = end;
        Ok(is_direct)
    }

    /// Checks the records that have been read whole; stops at the first that is not as written.
    fn check(&mut self, identity: &Identity) {
        let number = self.extent.number;
        if self.at == 0 {
            if !is_header(identity, &self.extent, &self.bytes) {
                return;
            }
            self.at = SEGMENT_HEADER_BYTES;
        }
        while self.at + HEADER_BYTES <= self.read && self.at < self.extent.end {
            let header = examine_header(identity, number, &self.bytes, self.at);
            let Some(header) = header.filter(|it| it.end_from(self.at) <= self.read) else {
                return;
            };
            match examine(identity, number, &self.bytes, self.at) {
                Examined::Valid(_) => self.at = header.end_from(self.at),
                _ => return,
            }
        }
    }

    /// When all is read.
    fn is_whole(&self, shared: &Shared) -> bool {
        let is_fast = self.at == self.extent.end
            && (self.extent.is_marked || is_zero(&self.bytes[self.at..]));
        self.unreadable.is_empty()
            && (is_fast || find_pieces(&shared.identity, &self.extent, &self.bytes).is_empty())
    }
}

/// Whether a segment begins with a header of its own.
pub(crate) fn is_header(identity: &Identity, extent: &Extent, bytes: &[u8]) -> bool {
    SegmentHeader::decode(bytes).is_ok_and(|header| {
        header.identity() == *identity
            && header.number == extent.number
            && header.segment_bytes as usize == extent.bytes_len
    })
}
