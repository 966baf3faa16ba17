//! What is read of an archive, a piece at a time.
//!
//! Owns pieces and what one costs. Never: writes; but what is found damaged is let go.

use std::sync::Arc;

use super::kind::Kind;
use super::segment::{Budget, SegmentError};
use super::{Archive, Store};
use crate::client_wire::PublicFrame;
use crate::streams::{Block, FRAME_BYTES_FULL, StreamPosition, Unavailable};

/// What a segment that need not be read counts among the bytes that are read, whose index is.
const INDEX_READ_BYTES: usize = 64 * 1024;

/// A piece of older history: everything that is wanted between two positions.
#[derive(Debug)]
pub(crate) struct Chunk<B = Block> {
    /// Blocks with some of it, ascending.
    pub(crate) blocks: Vec<(u64, Arc<B>)>,
    /// Up to where it reaches.
    pub(crate) end: StreamPosition,
}

impl Chunk {
    /// Outputs of a block that was read; one that told nothing is none of `blocks`.
    fn outputs_len(&self, height: u64) -> u32 {
        let found = self.blocks.binary_search_by_key(&height, |(at, _)| *at);
        let block = found.ok().and_then(|place| self.blocks.get(place));
        block.map_or(0, |(_, block)| block.outputs_len())
    }

    /// Writes what comes behind `from`, as much as one frame takes, and says up to where.
    pub(crate) fn write(&self, from: StreamPosition, frame: &mut PublicFrame) -> StreamPosition {
        let mut at = from;
        let is_full = |frame: &PublicFrame| frame.bytes_len() >= FRAME_BYTES_FULL;
        let start = self
            .blocks
            .partition_point(|(height, _)| *height < from.height);
        for (height, block) in self.blocks.iter().skip(start) {
            let first = StreamPosition::before(*height);
            if first.max(at) >= self.end {
                break;
            }
            at = at.max(first);
            frame.begin_block(*height, block.time_ns(), at.index);
            while at < self.end
                && !is_full(frame)
                && let Some(output) = block.output(at.index)
            {
                frame.push(output);
                at.index += 1;
            }
            if is_full(frame) {
                frame.finish(at);
                return at;
            }
        }
        at = self.end.max(at);
        frame.finish(at);
        at
    }
}

impl<K: Kind> Store<K> {
    /// How many segments can be read: what waits in memory for room on the disk is of the last one.
    fn readable(&mut self) -> usize {
        match self.flush() {
            Ok(()) => self.segments.len(),
            Err(error) if error.is_for_want_of_room() => self.segments.len().saturating_sub(1),
            Err(_) => 0,
        }
    }

    /// What one wants of what lies between two positions, until the budget is spent; all of the
    /// first block, if anything of it.
    ///
    /// # Errors
    /// [`Unavailable`]; what is found damaged is gone, with all before it. What cannot be read for
    /// now, for want of descriptors or memory, is told as gone to this question and stays.
    pub(crate) fn read_wanted(
        &mut self,
        range: (StreamPosition, StreamPosition),
        wanted: K::Wanted,
        mut left: Budget,
    ) -> Result<Chunk<K::Block>, Unavailable> {
        let read = self.read_within(range, wanted, &mut left);
        self.read_bytes = self.read_bytes.saturating_add(left.spent);
        read
    }

    fn read_within(
        &mut self,
        (from, to): (StreamPosition, StreamPosition),
        wanted: K::Wanted,
        left: &mut Budget,
    ) -> Result<Chunk<K::Block>, Unavailable> {
        if from.height < self.first() {
            return Err(Unavailable::Gone);
        }
        if from.height >= self.end {
            return Err(Unavailable::Ahead);
        }
        let readable = self.readable();
        let mut chunk = Chunk {
            blocks: Vec::new(),
            end: from,
        };
        // All of the first block, so that it is known whether there is such a place in it.
        let end = to.max(StreamPosition::before(from.height.saturating_add(1)));
        let mut place = self
            .segments
            .partition_point(|one| one.first <= from.height);
        place = place.saturating_sub(1);
        // Several only where the first of them had nothing more from there on.
        while !left.is_spent() && chunk.end < end {
            let next = self
                .segments
                .get(place + 1)
                .map_or(self.end, |one| one.first);
            if place >= readable && place < self.segments.len() {
                // A piece ends before it.
                if chunk.end == from {
                    return Err(Unavailable::Gone);
                }
                break;
            }
            let Some(one) = self.segments.get_mut(place) else {
                break;
            };
            if one.is_passed(&self.config.genesis_hash, next, wanted) {
                left.read(INDEX_READ_BYTES);
                chunk.end = StreamPosition::before(next).min(end).max(chunk.end);
                place += 1;
                continue;
            }
            let stretch = (from, end, wanted);
            let read = one.read(&self.config.genesis_hash, next, stretch, left);
            match read {
                Ok((blocks, reached)) => {
                    chunk.blocks.extend(blocks);
                    chunk.end = reached.max(chunk.end);
                }
                Err(error) => {
                    self.note_unread(place, &error);
                    return Err(Unavailable::Gone);
                }
            }
            self.is_unread_told = false;
            place += 1;
        }
        Ok(chunk)
    }

    fn note_unread(&mut self, place: usize, error: &SegmentError) {
        if error.is_loss() || (K::IS_MISSING_LOST && error.is_missing()) {
            self.forget(place, error);
        } else if !std::mem::replace(&mut self.is_unread_told, true) {
            tracing::warn!(%error, "archived {} cannot be read for now", K::WHAT);
        }
    }
}

impl Archive {
    /// What lies between two positions, about `bytes_max` bytes of it at most.
    ///
    /// # Errors
    /// As [`read_wanted`](Store::read_wanted).
    pub(crate) fn read(
        &mut self,
        (from, to): (StreamPosition, StreamPosition),
        bytes_max: usize,
    ) -> Result<Chunk, Unavailable> {
        let mut chunk = self.read_wanted((from, to), (), Budget::of(bytes_max))?;
        if from.index > chunk.outputs_len(from.height) {
            return Err(Unavailable::Nowhere);
        }
        // No block is told beyond its last output, whatever place in it was named.
        if chunk.end >= to {
            let index = to.index.min(chunk.outputs_len(to.height));
            chunk.end = StreamPosition { index, ..to }.max(from);
        }
        Ok(chunk)
    }
}
