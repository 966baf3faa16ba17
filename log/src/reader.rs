//! Reading records through the map, from any thread, while the log is appended to.
//!
//! Every record is verified each time it is read: rot can strike after recovery has looked.
//! Readers never wait for the writer and never write.

use std::fmt;
use std::ops::{Deref, Range};
use std::sync::Arc;

use crate::error::ReadError;
use crate::fault::{Damage, Fault};
use crate::map::Region;
use crate::position::{LogOffset, RecordIndex, RecordRef};
use crate::record::{ALIGN_BYTES, Examined, RecordHeader, RecordKind, examine};
use crate::segment::{SEGMENT_HEADER_BYTES, SegmentHeader};
use crate::shared::{LogUsage, Shared};
use crate::walk::find_header;

/// Reads records. Clones read the same log.
#[derive(Clone, Debug)]
pub struct Reader {
    pub(crate) shared: Arc<Shared>,
}

/// One record's payload, in place in the map; derefs to its bytes.
#[derive(Clone)]
pub struct RecordBytes {
    region: Arc<Region>,
    place: RecordRef,
    kind: RecordKind,
    payload: Range<usize>,
    next: u32,
}

impl RecordBytes {
    /// Where the record stands.
    #[must_use]
    pub fn place(&self) -> RecordRef {
        self.place
    }

    /// What the record is.
    #[must_use]
    pub fn kind(&self) -> RecordKind {
        self.kind
    }
}

impl Deref for RecordBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.region.published()[self.payload.clone()]
    }
}

impl fmt::Debug for RecordBytes {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("RecordBytes")
            .field("place", &self.place)
            .field("kind", &self.kind)
            .field("payload_bytes", &self.payload.len())
            .finish()
    }
}

impl Reader {
    /// The first record of the log: the genesis, unless older segments were pruned.
    #[must_use]
    pub fn start(&self) -> RecordRef {
        self.shared.start()
    }

    /// How much room the log takes.
    #[must_use]
    pub fn usage(&self) -> LogUsage {
        self.shared.usage()
    }

    /// Reads and verifies one record.
    ///
    /// # Errors
    /// [`ReadError::NotAppended`] if the log does not reach that far; [`ReadError::Pruned`] if it
    /// does not go back that far any more;
    /// [`ReadError::Faulty`] if the record there is not whole or is another one.
    pub fn read(&self, place: RecordRef) -> Result<RecordBytes, ReadError> {
        let region = self
            .shared
            .segment(place.offset.segment())
            .ok_or_else(|| self.absent(place))?;
        self.read_in(&region, place)
    }

    /// Why there is no segment for a place.
    fn absent(&self, place: RecordRef) -> ReadError {
        let start = self.start();
        if place.offset.segment() < start.offset.segment() {
            ReadError::Pruned { place, start }
        } else {
            ReadError::NotAppended { place }
        }
    }

    /// Every record from `place` on, up to what has been appended when the iterator gets there.
    /// It ends after an error.
    #[must_use]
    pub fn iter_from(&self, place: RecordRef) -> RecordIter {
        RecordIter {
            reader: self.clone(),
            next: Some(place),
        }
    }

    /// Every record from the first of a segment on; none when that is not there or its header
    /// cannot be read.
    #[must_use]
    pub fn iter_segment(&self, number: u32) -> Option<RecordIter> {
        let region = self.shared.segment(number)?;
        let header = SegmentHeader::decode(region.published()).ok()?;
        Some(self.iter_from(RecordRef {
            offset: LogOffset::new(number, SEGMENT_HEADER_BYTES as u32),
            index: header.first_index,
        }))
    }

    /// Every record from the first on.
    #[must_use]
    pub fn iter(&self) -> RecordIter {
        self.iter_from(self.start())
    }

    /// The records of stretches that are marked faulty, as far as they still check. Each is what
    /// was appended once; nothing says that they are all, nor what was between them.
    #[must_use]
    pub fn salvage(&self) -> Salvage {
        Salvage {
            reader: self.clone(),
            stretch: 0,
            next: None,
        }
    }

    /// Records below this index are synced.
    #[must_use]
    pub fn synced_index(&self) -> RecordIndex {
        self.shared.synced_index()
    }

    fn read_in(&self, region: &Arc<Region>, place: RecordRef) -> Result<RecordBytes, ReadError> {
        let bytes = region.published();
        let offset = place.offset.bytes() as usize;
        if offset >= bytes.len() {
            return Err(ReadError::NotAppended { place });
        }
        let header = self.verify(bytes, place).map_err(|damage| {
            ReadError::Faulty(Fault {
                segment: place.offset.segment(),
                offset: place.offset.bytes(),
                index: Some(place.index),
                damage,
            })
        })?;
        Ok(RecordBytes {
            region: Arc::clone(region),
            place,
            kind: header.kind,
            payload: header.payload_from(offset),
            next: header.end_from(offset) as u32,
        })
    }

    fn verify(&self, bytes: &[u8], place: RecordRef) -> Result<RecordHeader, Damage> {
        let offset = place.offset.bytes() as usize;
        if offset < SEGMENT_HEADER_BYTES {
            return Err(Damage::RecordHeader);
        }
        match examine(&self.shared.identity, place.offset.segment(), bytes, offset) {
            Examined::Valid(header) if header.index == place.index => Ok(header),
            Examined::Valid(header) => Err(Damage::RecordIndex {
                found: header.index,
            }),
            Examined::Nothing | Examined::BadHeader => Err(Damage::RecordHeader),
            Examined::BadBody(_) => Err(Damage::RecordBody),
        }
    }
}

/// Records one after the other; see [`Reader::iter_from`].
#[derive(Debug)]
pub struct RecordIter {
    reader: Reader,
    /// Where the next record stands; `None` after an error.
    next: Option<RecordRef>,
}

impl RecordIter {
    /// Where the iterator will read next: the end of the log, when it has returned `None`.
    #[must_use]
    pub fn position(&self) -> Option<RecordRef> {
        self.next
    }
}

impl Iterator for RecordIter {
    type Item = Result<RecordBytes, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut place = self.next?;
        let shared = &self.reader.shared;
        let region = loop {
            // What is marked faulty is left out; the log goes on where it was resumed.
            if let Some(gap) = shared.gaps.at(place.offset) {
                place.offset = LogOffset::new(gap.resumed_in, SEGMENT_HEADER_BYTES as u32);
                place.index = gap.resumed_at;
                self.next = Some(place);
                continue;
            }
            let number = place.offset.segment();
            let Some(region) = shared.segment(number) else {
                let absent = self.reader.absent(place);
                let is_pruned = matches!(absent, ReadError::Pruned { .. });
                self.next = self.next.filter(|_| !is_pruned);
                return is_pruned.then_some(Err(absent));
            };
            let is_followed = || shared.segment(number.saturating_add(1)).is_some();
            let offset = place.offset.bytes() as usize;
            match look(offset, is_followed, || region.published_bytes()) {
                Found::Here => break region,
                Found::InTheNext => {
                    place.offset = LogOffset::new(number + 1, SEGMENT_HEADER_BYTES as u32);
                    self.next = Some(place);
                }
                Found::Nothing => return None,
            }
        };
        let read = self.reader.read_in(&region, place);
        self.next = read.as_ref().ok().map(|record| RecordRef {
            offset: LogOffset::new(place.offset.segment(), record.next),
            index: place.index.next(),
        });
        Some(read)
    }
}

/// Where the record stands that is to be read next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    Here,
    /// At the beginning of the next segment.
    InTheNext,
    /// It was not appended yet.
    Nothing,
}

/// Looks for the record at an offset of a segment while the log is appended to: whether the next
/// segment was started, and how many bytes of this one are published.
fn look(
    offset: usize,
    is_followed: impl FnOnce() -> bool,
    published_bytes: impl FnOnce() -> usize,
) -> Found {
    // Asked for before the published length: if the next segment was started by then, this one is
    // complete, and its published length final.
    let is_followed = is_followed();
    if offset < published_bytes() {
        Found::Here
    } else if is_followed {
        Found::InTheNext
    } else {
        Found::Nothing
    }
}

/// See [`Reader::salvage`].
#[derive(Debug)]
pub struct Salvage {
    reader: Reader,
    /// Which of the marked stretches.
    stretch: usize,
    /// Where to look on in it; none before its beginning.
    next: Option<LogOffset>,
}

impl Salvage {
    /// The first record that checks at or after `from` in its segment.
    fn first_from(&self, from: LogOffset) -> Option<RecordBytes> {
        let shared = &self.reader.shared;
        let region = shared.segment(from.segment())?;
        let (identity, bytes) = (&shared.identity, region.published());
        let mut at = from.bytes() as usize;
        while let Some(offset) = find_header(identity, from.segment(), bytes, at) {
            match examine(identity, from.segment(), bytes, offset) {
                Examined::Valid(header) => {
                    let next = header.end_from(offset) as u32;
                    let place = RecordRef {
                        offset: LogOffset::new(from.segment(), offset as u32),
                        index: header.index,
                    };
                    let (kind, payload) = (header.kind, header.payload_from(offset));
                    return Some(RecordBytes {
                        region,
                        place,
                        kind,
                        payload,
                        next,
                    });
                }
                _ => at = offset + ALIGN_BYTES,
            }
        }
        None
    }
}

impl Iterator for Salvage {
    type Item = RecordBytes;

    fn next(&mut self) -> Option<RecordBytes> {
        loop {
            let gap = *self.reader.shared.gaps.all().get(self.stretch)?;
            let from = self.next.unwrap_or(gap.from);
            if from.segment() >= gap.resumed_in {
                self.stretch += 1;
                self.next = None;
                continue;
            }
            if let Some(record) = self.first_from(from) {
                self.next = Some(LogOffset::new(from.segment(), record.next));
                return Some(record);
            }
            let segment = from.segment().saturating_add(1);
            self.next = Some(LogOffset::new(segment, SEGMENT_HEADER_BYTES as u32));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    /// A writer that appends the last record of a segment and starts the next one, between the two
    /// looks of a reader or right before or behind them.
    #[test]
    fn no_record_is_passed_over_whenever_the_next_segment_is_started() {
        for writes_before_look in 0..3 {
            let (looks, published, is_followed) = (Cell::new(0), Cell::new(512), Cell::new(false));
            let writer = || {
                if looks.get() == writes_before_look {
                    published.set(1024);
                    is_followed.set(true);
                }
                looks.set(looks.get() + 1);
            };
            let found = look(
                512,
                || {
                    writer();
                    is_followed.get()
                },
                || {
                    writer();
                    published.get()
                },
            );
            let expected = if writes_before_look < 2 {
                Found::Here
            } else {
                Found::Nothing
            };
            assert_eq!(found, expected, "before look {writes_before_look}");
        }
        assert_eq!(look(512, || true, || 512), Found::InTheNext);
    }
}
