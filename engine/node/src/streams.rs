//! The public stream: what the application tells everybody, addressed by (height, index).
//!
//! Owns the positions of the stream and the newest blocks of it, as many as a bound allows. A
//! position follows from the chain alone, so it means the same at every validator, and after any
//! restart: nothing here counts events of its own. Never: who listens, sockets, or a block that is
//! not final.

use std::collections::VecDeque;
use std::sync::Arc;

use quorate_proof::events::{EventHistory, events_leaf};

use crate::archive::{PublicEvents, Ring, Stream};
use crate::client_wire::PublicFrame;
use crate::results::{BlockResults, OutputItem};
use crate::state_machine::Audience;

/// Longest output of the public stream, bytes. A longer one is not published, by no validator.
pub const PUBLIC_OUTPUT_BYTES_MAX: usize = 1024 * 1024;
/// What a block without outputs takes in memory, and any other one besides its outputs, bytes.
const BLOCK_BYTES: usize = 128;
/// A frame that has reached this length takes no further output, bytes.
pub(crate) const FRAME_BYTES_FULL: usize = 256 * 1024;
/// Blocks that one frame walks over at most: empty ones add nothing to its length.
const FRAME_BLOCKS_MAX: u64 = 8_192;
/// What a block that was walked over counts in a reader's share of a turn, bytes.
const WALK_BYTES: usize = 16;

/// A place between two events of the public stream: everything of blocks below `height` comes
/// before it, and the first `index` public outputs of that block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamPosition {
    /// Height of a block.
    pub height: u64,
    /// Number of a public output in it, from 0.
    pub index: u32,
}

impl StreamPosition {
    /// Before the first event of the chain.
    pub const BEGIN: Self = Self::before(1);
    /// Wherever the stream of the validator that is asked ends then: nothing of the past.
    pub const LIVE: Self = Self::before(u64::MAX);

    /// Before everything of a block.
    #[must_use]
    pub const fn before(height: u64) -> Self {
        Self { height, index: 0 }
    }
}

impl std::fmt::Display for StreamPosition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "({}, {})", self.height, self.index)
    }
}

/// Why there is nothing to be had from a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unavailable {
    /// It is older than what is kept.
    Gone,
    /// There is no such place in the chain.
    Nowhere,
    /// The chain, or this validator, has not come to it.
    Ahead,
}

/// The outputs of a block that are published, in their order.
pub(crate) fn published(results: &BlockResults) -> impl Iterator<Item = &[u8]> {
    let is_public = |audience| audience == Audience::Public;
    results
        .outputs()
        .filter(move |output| is_public(output.audience))
        .map(|output| output.bytes)
        .filter(|bytes| bytes.len() <= PUBLIC_OUTPUT_BYTES_MAX)
}

/// The events of one block.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Block {
    time_ns: u64,
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Block {
    pub(crate) fn of(results: &BlockResults) -> Self {
        let mut block = Self {
            time_ns: results.time_ns,
            ..Self::default()
        };
        for bytes in published(results) {
            block.bytes.extend_from_slice(bytes);
            block.ends.push(block.bytes.len());
        }
        let public = |output: &OutputItem<'_>| output.audience == Audience::Public;
        let left_out = results.outputs().filter(public).count() - block.ends.len();
        if left_out > 0 {
            let height = results.height;
            tracing::error!(
                height,
                left_out,
                "public outputs are too long to be published"
            );
        }
        block
    }

    /// One of this replicated time, nanoseconds since the Unix epoch, whose events end at these
    /// places in its bytes; none where they do not.
    #[must_use]
    pub fn from_parts(time_ns: u64, bytes: Vec<u8>, ends: Vec<usize>) -> Option<Self> {
        let is_whole = ends.is_sorted() && ends.last().map_or(0, |end| *end) == bytes.len();
        is_whole.then_some(Self {
            time_ns,
            bytes,
            ends,
        })
    }

    pub(crate) const fn time_ns(&self) -> u64 {
        self.time_ns
    }

    /// All events, end to end.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Where each event ends among them.
    pub(crate) fn ends(&self) -> &[usize] {
        &self.ends
    }

    pub(crate) fn outputs_len(&self) -> u32 {
        u32::try_from(self.ends.len()).unwrap_or(u32::MAX)
    }

    pub(crate) fn output(&self, index: u32) -> Option<&[u8]> {
        let index = index as usize;
        let start = match index.checked_sub(1) {
            None => 0,
            Some(before) => *self.ends.get(before)?,
        };
        self.bytes.get(start..*self.ends.get(index)?)
    }

    /// Its place in the tree over public events, if it is the block of this height.
    pub(crate) fn leaf(&self, height: u64) -> [u8; 32] {
        let events = (0..self.outputs_len()).filter_map(|index| self.output(index));
        events_leaf(height, self.time_ns, events)
    }

    pub(crate) fn bytes_len(&self) -> usize {
        BLOCK_BYTES + self.bytes.len() + self.ends.len() * size_of::<usize>()
    }
}

/// The newest blocks of the public stream.
#[derive(Debug)]
pub struct PublicRing {
    /// Each with its leaf in the tree over public events.
    blocks: VecDeque<(Arc<Block>, [u8; 32])>,
    /// Height of the first one kept.
    first: u64,
    /// The tree over the events of all blocks before that; none where it was not told.
    before: Option<EventHistory>,
    bytes: usize,
    bytes_max: usize,
}

impl PublicRing {
    /// Nothing yet; keeps blocks of `bytes_max` together, and the newest one in any case.
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        Self {
            blocks: VecDeque::new(),
            first: 1,
            before: Some(EventHistory::default()),
            bytes: 0,
            bytes_max,
        }
    }

    /// Takes the public outputs of an executed block. A block that is not the next one, after a
    /// start from a snapshot, lets the stream begin there: it has no holes.
    pub fn push(&mut self, results: &BlockResults) {
        if results.height != self.tip().height {
            self.forget(results.height);
        }
        let block = Block::of(results);
        let leaf = results.events_leaf;
        let leaf = leaf.unwrap_or_else(|| block.leaf(results.height));
        self.bytes += block.bytes_len();
        self.blocks.push_back((Arc::new(block), leaf));
        while self.bytes > self.bytes_max
            && self.blocks.len() > 1
            && let Some((oldest, leaf)) = self.blocks.pop_front()
        {
            self.bytes -= oldest.bytes_len();
            self.first += 1;
            if let Some(before) = &mut self.before {
                before.push(&leaf);
            }
        }
    }

    fn forget(&mut self, next: u64) {
        self.blocks.clear();
        self.bytes = 0;
        self.first = next;
        self.before = None;
    }

    /// Forgets everything: the next block comes after those of `before`.
    pub(crate) fn begin(&mut self, before: &EventHistory) {
        self.forget(before.height().saturating_add(1));
        self.before = Some(before.clone());
    }

    /// The oldest position from which there are no holes.
    #[must_use]
    pub const fn oldest(&self) -> StreamPosition {
        StreamPosition::before(self.first)
    }

    /// Behind everything that is here.
    #[must_use]
    pub fn tip(&self) -> StreamPosition {
        StreamPosition::before(self.first.saturating_add(self.blocks.len() as u64))
    }

    pub(crate) fn block(&self, height: u64) -> Option<&Arc<Block>> {
        let place = height.checked_sub(self.first)?;
        let (block, _) = self.blocks.get(usize::try_from(place).ok()?)?;
        Some(block)
    }

    /// Whether there is something to be had from `from` on, be it nothing yet.
    pub(crate) fn check(&self, from: StreamPosition) -> Result<(), Unavailable> {
        match self.block(from.height) {
            _ if from.height < self.first => Err(Unavailable::Gone),
            Some(block) if from.index > block.outputs_len() => Err(Unavailable::Nowhere),
            Some(_) => Ok(()),
            None if from == self.tip() => Ok(()),
            None => Err(Unavailable::Ahead),
        }
    }

    /// Where what is asked for up to `to` ends, as far as there is anything here: no block is told
    /// beyond its last output, whatever place in it was named.
    pub(crate) fn end(&self, to: StreamPosition) -> StreamPosition {
        let mut end = to.min(self.tip());
        if let Some(block) = self.block(end.height) {
            end.index = end.index.min(block.outputs_len());
        }
        end
    }

    /// Writes what lies between `from`, which [`check`](Self::check) has found good, and `to`, as
    /// much as one frame takes. Says up to where; the frame is worth sending if it has outputs.
    pub(crate) fn write(
        &self,
        from: StreamPosition,
        to: StreamPosition,
        frame: &mut PublicFrame,
    ) -> StreamPosition {
        let last = StreamPosition::before(from.height.saturating_add(FRAME_BLOCKS_MAX));
        let end = self.end(to).min(last);
        let mut at = from;
        while at < end && frame.bytes_len() < FRAME_BYTES_FULL {
            let Some(block) = self.block(at.height) else {
                break;
            };
            frame.begin_block(at.height, block.time_ns, at.index);
            while at < end
                && frame.bytes_len() < FRAME_BYTES_FULL
                && let Some(output) = block.output(at.index)
            {
                frame.push(output);
                at.index += 1;
            }
            if at.index >= block.outputs_len() && at < end {
                at = StreamPosition::before(at.height + 1);
            }
        }
        frame.finish(at);
        at
    }
}

impl Ring for PublicRing {
    type Kind = PublicEvents;

    fn push(&mut self, results: &BlockResults) {
        self.push(results);
    }

    fn begin(&mut self, before: &EventHistory) {
        self.begin(before);
    }

    fn first(&self) -> u64 {
        self.first
    }

    fn end(&self) -> u64 {
        self.tip().height
    }

    fn before(&self) -> Option<EventHistory> {
        self.before.clone()
    }

    fn block(&self, height: u64) -> Option<&Arc<Block>> {
        self.block(height)
    }
}

/// The public stream of what a start executes.
pub(crate) type PublicStream = Stream<PublicRing>;

/// What a frame from `from` to `next` counts in a reader's share of a turn, bytes: its length, and
/// the blocks below it that told nothing.
pub(crate) fn cost(from: StreamPosition, next: StreamPosition, frame_bytes: usize) -> usize {
    let walked = usize::try_from(next.height.saturating_sub(from.height)).unwrap_or(usize::MAX);
    frame_bytes.saturating_add(walked.saturating_mul(WALK_BYTES))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client_wire::ServerFrame;
    use crate::state_machine::{Output, SessionId};

    fn results(height: u64, outputs: &[&[u8]]) -> BlockResults {
        let mut results = BlockResults::new();
        (results.height, results.time_ns) = (height, height * 10);
        let mut output = Output::new();
        output.to_session(SessionId([1; 16]), b"private");
        outputs.iter().for_each(|bytes| output.to_public(bytes));
        results.collect(Some(0), &output);
        results
    }

    /// Blocks 1 to 4 with two, no, one and three outputs.
    fn ring() -> PublicRing {
        let mut ring = PublicRing::new(1 << 20);
        ring.push(&results(1, &[b"a", b"b"]));
        ring.push(&results(2, &[]));
        ring.push(&results(3, &[b"c"]));
        ring.push(&results(4, &[b"d", b"", b"f"]));
        ring
    }

    fn at(height: u64, index: u32) -> StreamPosition {
        StreamPosition { height, index }
    }

    fn read(
        ring: &PublicRing,
        from: StreamPosition,
        to: StreamPosition,
    ) -> (String, StreamPosition) {
        let mut frame = PublicFrame::default();
        frame.begin(None, 1, from);
        let next = ring.write(from, to, &mut frame);
        let Ok((_, ServerFrame::Public(public))) = ServerFrame::decode(frame.bytes()) else {
            panic!("not public");
        };
        assert_eq!((public.from(), public.end()), (from, next));
        let events = public.map(|event| {
            assert_eq!(event.time_ns, event.position.height * 10);
            let text = String::from_utf8_lossy(event.bytes).into_owned();
            format!("{}.{}{text}", event.position.height, event.position.index)
        });
        (events.collect::<Vec<_>>().join(" "), next)
    }

    #[test]
    fn every_position_gives_what_comes_behind_it_and_nothing_else() {
        let ring = ring();
        let all = "1.0a 1.1b 3.0c 4.0d 4.1 4.2f";
        let live = StreamPosition::LIVE;
        assert_eq!(read(&ring, at(1, 0), live), (all.to_owned(), at(5, 0)));
        assert_eq!(read(&ring, at(1, 1), live).0, &all[5..]);
        for from in [at(1, 2), at(2, 0), at(3, 0)] {
            assert_eq!(read(&ring, from, live), (all[10..].to_owned(), at(5, 0)));
        }
        assert_eq!(read(&ring, at(4, 3), live), (String::new(), at(5, 0)));
        assert_eq!(read(&ring, at(5, 0), live), (String::new(), at(5, 0)));
    }

    #[test]
    fn a_range_ends_where_it_is_asked_to() {
        let ring = ring();
        assert_eq!(
            read(&ring, at(1, 1), at(4, 1)),
            ("1.1b 3.0c 4.0d".to_owned(), at(4, 1))
        );
        assert_eq!(
            read(&ring, at(1, 0), at(2, 0)),
            ("1.0a 1.1b".to_owned(), at(2, 0))
        );
        assert_eq!(read(&ring, at(3, 0), at(3, 0)), (String::new(), at(3, 0)));
        // Beyond the events of its block: it ends with them.
        for (to, end) in [(at(1, 7), at(1, 2)), (at(2, 1), at(2, 0))] {
            assert_eq!(read(&ring, at(1, 1), to), ("1.1b".to_owned(), end), "{to}");
        }
        let last = at(4, u32::MAX);
        assert_eq!(read(&ring, at(4, 2), last), ("4.2f".to_owned(), at(4, 3)));
        assert_eq!(read(&ring, at(4, 3), last), (String::new(), at(4, 3)));
    }

    #[test]
    fn what_cannot_be_had_is_told_apart() {
        let mut ring = ring();
        for good in [at(1, 0), at(1, 2), at(2, 0), at(4, 3), at(5, 0)] {
            assert_eq!(ring.check(good), Ok(()), "{good}");
        }
        assert_eq!(ring.check(at(0, 0)), Err(Unavailable::Gone));
        assert_eq!(ring.check(at(1, 3)), Err(Unavailable::Nowhere));
        assert_eq!(ring.check(at(2, 1)), Err(Unavailable::Nowhere));
        for ahead in [at(5, 1), at(6, 0), StreamPosition::LIVE] {
            assert_eq!(ring.check(ahead), Err(Unavailable::Ahead), "{ahead}");
        }
        ring.push(&results(9, &[b"x"]));
        assert_eq!(
            ring.check(at(8, 0)),
            Err(Unavailable::Gone),
            "no hole is served over"
        );
        assert_eq!((ring.oldest(), ring.tip()), (at(9, 0), at(10, 0)));
    }

    #[test]
    fn memory_is_bounded_and_heights_are_not_counted_anew() {
        let mut ring = PublicRing::new(4 * (BLOCK_BYTES + 8 + 100));
        for height in 1..=100 {
            ring.push(&results(height, &[&[7; 100]]));
            assert!(ring.bytes <= ring.bytes_max);
        }
        assert_eq!((ring.oldest(), ring.tip()), (at(97, 0), at(101, 0)));
        ring.push(&results(101, &[&[7; 10_000]]));
        assert_eq!(
            ring.oldest(),
            at(101, 0),
            "the newest block is kept whatever it takes"
        );
    }

    #[test]
    fn a_long_stretch_comes_in_several_frames_without_hole_or_double() {
        let mut ring = PublicRing::new(64 << 20);
        let long = vec![1_u8; 100_000];
        for height in 1..=3 {
            ring.push(&results(height, &[&long, &long, &long]));
        }
        ring.push(&results(4, &[&vec![2; PUBLIC_OUTPUT_BYTES_MAX + 1], b"e"]));
        let (mut from, mut frames, mut seen) = (at(1, 0), 0, Vec::new());
        while from < ring.tip() {
            let (events, next) = read(&ring, from, StreamPosition::LIVE);
            seen.extend(events.split(' ').map(|event| event[..3].to_owned()));
            assert!(next > from);
            (from, frames) = (next, frames + 1);
        }
        let expected = "1.0 1.1 1.2 2.0 2.1 2.2 3.0 3.1 3.2 4.0";
        assert_eq!(seen.join(" "), expected);
        assert!(frames > 2, "{frames}");
    }
    #[test]
    fn one_frame_walks_over_so_many_blocks_that_told_nothing_and_no_more() {
        let mut ring = PublicRing::new(64 << 20);
        for height in 1..10_000 {
            ring.push(&results(height, &[]));
        }
        ring.push(&results(10_000, &[b"x"]));
        let (live, silent) = (StreamPosition::LIVE, String::new());
        assert_eq!(read(&ring, at(1, 0), live), (silent, at(8_193, 0)));
        let rest = ("10000.0x".to_owned(), at(10_001, 0));
        assert_eq!(read(&ring, at(8_193, 0), live), rest);
    }
}
