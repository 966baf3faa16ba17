//! The faulty places of a segment: a look over all of it, and again over what was mended.
//!
//! Owns where a faulty place begins and ends. Never: brings anything back (`mend`).

use std::ops::Range;

use crate::bytes::is_zero;
use crate::identity::Identity;
use crate::position::RecordIndex;
use crate::record::{ALIGN_BYTES, Examined, RecordHeader, examine};
use crate::scrub::{Extent, is_header};
use crate::segment::{SEGMENT_HEADER_BYTES, SegmentHeader};
use crate::walk::find_header;

/// What stands at a faulty place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    SegmentHeader,
    /// A record, or several whose headers are lost.
    Record(Option<RecordHeader>),
    /// Bytes behind the last record.
    Tail,
}

/// A faulty place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) range: Range<usize>,
    pub(crate) what: What,
    /// Of the first record in it.
    pub(crate) index: RecordIndex,
    /// What the record before it knew to be synced.
    pub(crate) synced_before: RecordIndex,
}

/// Every faulty place of a segment, in order.
pub(crate) fn find_pieces(identity: &Identity, extent: &Extent, bytes: &[u8]) -> Vec<Piece> {
    let mut look = Look::new(identity, extent, bytes);
    look.at_segment_header();
    look.go_on(&[]);
    look.at_tail();
    look.pieces
}

/// What stands in the place of the first of `known`, which were all that was faulty, and of those
/// behind it that changed with it. The first was mended since.
pub(crate) fn look_again(
    identity: &Identity,
    extent: &Extent,
    bytes: &[u8],
    known: &[Piece],
) -> LookedAgain {
    let mut look = Look::new(identity, extent, bytes);
    let mut gone = 0;
    if let Some(first) = known.first() {
        look.at = first.range.start.max(SEGMENT_HEADER_BYTES);
        (look.index, look.synced_before) = (first.index, first.synced_before);
        if first.what == What::SegmentHeader {
            look.at_segment_header();
        }
        gone = look.go_on(known);
    }
    LookedAgain {
        gone,
        pieces: look.pieces,
        examined_bytes: look.examined_bytes,
    }
}

/// What a second look found.
pub(crate) struct LookedAgain {
    /// How many of the faulty places that were known are to be replaced.
    pub(crate) gone: usize,
    /// By these.
    pub(crate) pieces: Vec<Piece>,
    pub(crate) examined_bytes: usize,
}

/// A look for faulty places.
struct Look<'a> {
    identity: &'a Identity,
    extent: &'a Extent,
    bytes: &'a [u8],
    at: usize,
    /// Of the record that stands there, and what the one before it knew to be synced.
    index: RecordIndex,
    synced_before: RecordIndex,
    pieces: Vec<Piece>,
    examined_bytes: usize,
}

impl<'a> Look<'a> {
    const fn new(identity: &'a Identity, extent: &'a Extent, bytes: &'a [u8]) -> Self {
        Self {
            identity,
            extent,
            bytes,
            at: SEGMENT_HEADER_BYTES,
            index: RecordIndex::GENESIS,
            synced_before: RecordIndex::GENESIS,
            pieces: Vec::new(),
            examined_bytes: 0,
        }
    }

    fn at_segment_header(&mut self) {
        let is_whole = is_header(self.identity, self.extent, self.bytes);
        let header = SegmentHeader::decode(self.bytes);
        match header.ok().filter(|_| is_whole) {
            Some(header) => {
                (self.index, self.synced_before) = (header.first_index, header.synced_index);
            }
            None => self.push(0..SEGMENT_HEADER_BYTES, What::SegmentHeader),
        }
    }

    fn at_tail(&mut self) {
        let tail = self.extent.end..self.extent.bytes_len;
        if !self.extent.is_marked && !is_zero(&self.bytes[tail.clone()]) {
            self.push(tail, What::Tail);
        }
    }

    fn push(&mut self, range: Range<usize>, what: What) {
        self.pieces.push(Piece {
            range,
            what,
            index: self.index,
            synced_before: self.synced_before,
        });
    }

    /// Goes over the records, to their end or to where all that follows is as it was known, behind
    /// the first place that was; says how many of these places are as they were no more.
    fn go_on(&mut self, known: &[Piece]) -> usize {
        let mended_end = known.first().map_or(usize::MAX, |first| first.range.end);
        while self.at < self.extent.end {
            let at = self.at;
            let behind = known.partition_point(|piece| piece.range.end <= at);
            let header = match examine(self.identity, self.extent.number, self.bytes, at) {
                Examined::Valid(header) => {
                    (self.index, self.synced_before) = (header.index.next(), header.synced_index);
                    self.at = header.end_from(at);
                    self.examined_bytes += self.at - at;
                    let next = known.get(behind);
                    if at >= mended_end && next.is_none_or(|next| at < next.range.start) {
                        return behind;
                    }
                    continue;
                }
                Examined::BadBody(header) => Some(header),
                Examined::Nothing | Examined::BadHeader => None,
            };
            let end = header.map_or_else(|| self.next_header(), |header| header.end_from(at));
            self.index = header.map_or(self.index, |header| header.index);
            self.examined_bytes += end - at;
            self.push(at..end, What::Record(header));
            if at >= mended_end && known.get(behind) == self.pieces.last() {
                return behind + 1;
            }
            self.index = self.index.next();
            self.at = end;
        }
        if let Some(tail) = known.iter().skip(1).find(|it| it.what == What::Tail) {
            self.push(tail.range.clone(), What::Tail);
        }
        known.len()
    }

    /// The next place where a header stands, or the end.
    fn next_header(&self) -> usize {
        let from = self.at + ALIGN_BYTES;
        let next = find_header(self.identity, self.extent.number, self.bytes, from);
        next.unwrap_or(self.extent.end).min(self.extent.end)
    }
}

#[cfg(test)]
#[path = "pieces_tests.rs"]
mod tests;
