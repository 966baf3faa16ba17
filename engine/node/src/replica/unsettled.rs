//! Final blocks of which it is not known that they are executed.
//!
//! Owns how many bytes of them there may be before this validator adds nothing to them any more
//! (protocol.md 2.9): no first votes for what is not final, no proposals. Where an application, or
//! the checks of clients' signatures, are slower than ordering, memory would hold the difference
//! without end, and the state that clients see would be ever older than what is final. It is taken
//! back at half, so that a hold is worth its beginning and ends long before nothing is left to
//! execute. And from how many on nothing is to come in at all. Never: what else bounds a queue, or
//! decides about a vote.

use std::collections::VecDeque;
use std::sync::Arc;

use quorate_consensus::types::Window;

/// Bytes of final blocks that may wait for their execution: eight full pipelines
/// (`limits::PIPELINE_BYTES`), which an application that does a hundred MiB a second has behind it
/// in a third of a second, so that no pause of a usual length holds a vote; an eighth of what
/// closes the gate of dedicated threads, which keeps everything out.
const BYTES_MAX: usize = 32 * 1024 * 1024;
/// The same in a chain of signed commands, where each few hundred bytes cost some 30 us of a core:
/// one full pipeline, half a second of one core or so.
const SIGNED_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Bytes of final blocks that may wait for their execution before nothing more is taken from
/// sockets. Whoever is slower than stake of Q is not waited for: the others go on, and what it has
/// had of them would be held here without end.
pub(crate) const FULL_BYTES: usize = 256 * 1024 * 1024;
/// What the smallest block counts for: it takes a place of each queue however little is in it.
const BLOCK_BYTES_MIN: usize = 8 * 1024;

/// Bytes of final blocks that may wait for their execution before votes are held.
#[must_use]
pub(super) const fn unsettled_bytes_max(is_signed: bool) -> usize {
    if is_signed {
        SIGNED_BYTES_MAX
    } else {
        BYTES_MAX
    }
}

/// A final block of which it is not known that it is executed.
#[derive(Debug)]
pub(super) struct Unsettled {
    pub(super) height: u64,
    pub(super) window: Window,
    pub(super) payload: Arc<[u8]>,
}

impl Unsettled {
    fn bytes(&self) -> usize {
        self.payload.len().max(BLOCK_BYTES_MIN)
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct UnsettledBlocks {
    /// Lowest first.
    blocks: VecDeque<Unsettled>,
    bytes: usize,
    bytes_max: usize,
    is_behind: bool,
}

impl UnsettledBlocks {
    pub(super) const fn new(bytes_max: usize) -> Self {
        Self {
            blocks: VecDeque::new(),
            bytes: 0,
            bytes_max,
            is_behind: false,
        }
    }

    pub(super) const fn set_bytes_max(&mut self, bytes_max: usize) {
        self.bytes_max = bytes_max;
    }

    pub(super) fn push(&mut self, block: Unsettled) {
        self.bytes += block.bytes();
        self.blocks.push_back(block);
    }

    /// Blocks come until nothing more is to come in.
    #[cfg(test)]
    pub(super) fn fill(&mut self) {
        while !self.is_full() {
            self.push(Unsettled {
                height: u64::MAX,
                window: Window::ZERO,
                payload: Arc::default(),
            });
        }
    }

    /// Forgets all up to a height; gives back the highest of them.
    pub(super) fn settle(&mut self, height: u64) -> Option<Unsettled> {
        let mut last = None;
        while let Some(block) = self.blocks.pop_front_if(|block| block.height <= height) {
            self.bytes -= block.bytes();
            last = Some(block);
        }
        last
    }

    /// The payloads that are left, lowest first.
    pub(super) fn payloads(&self) -> impl Iterator<Item = &[u8]> + Clone {
        self.blocks.iter().map(|block| &block.payload[..])
    }

    pub(super) fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether nothing more is to come in, be it final or not.
    pub(super) const fn is_full(&self) -> bool {
        self.bytes >= FULL_BYTES
    }

    /// Whether execution is behind, when that has not been said yet.
    pub(super) fn news(&mut self) -> Option<bool> {
        let is_news = self.has_news();
        self.is_behind ^= is_news;
        is_news.then_some(self.is_behind)
    }

    /// Whether [`news`](Self::news) has something to say.
    pub(super) const fn has_news(&self) -> bool {
        if self.is_behind {
            self.bytes <= self.bytes_max / 2
        } else {
            self.bytes > self.bytes_max
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(height: u64, bytes: usize) -> Unsettled {
        Unsettled {
            height,
            window: Window::ZERO,
            payload: vec![0; bytes].into(),
        }
    }

    #[test]
    fn execution_is_behind_from_the_bound_on_and_down_to_half_of_it() {
        let mut unsettled = UnsettledBlocks::new(1_000_000);
        (1..=10).for_each(|height| unsettled.push(block(height, 100_000)));
        assert_eq!(unsettled.news(), None, "as much as there may be");
        unsettled.push(block(11, 1));
        assert_eq!(unsettled.news(), Some(true));
        assert_eq!(unsettled.news(), None, "it is said once");
        let last = unsettled.settle(5).expect("there were some");
        assert_eq!((last.height, unsettled.news()), (5, None));
        assert!(unsettled.settle(5).is_none());
        unsettled.settle(6);
        assert_eq!(unsettled.news(), Some(false));
        (12..=17).for_each(|height| unsettled.push(block(height, 100_000)));
        assert_eq!(unsettled.news(), Some(true), "and again");
        unsettled.settle(17);
        assert_eq!((unsettled.bytes(), unsettled.is_empty()), (0, true));
        assert_eq!(unsettled.news(), Some(false));
    }

    /// Whoever is not needed for a quorum is behind without end, and holds this much at most.
    #[test]
    fn nothing_more_comes_in_from_a_bound_on_that_votes_are_held_long_before() {
        let mut unsettled = UnsettledBlocks::new(unsettled_bytes_max(false));
        let mut height = 0;
        while !unsettled.is_full() {
            height += 1;
            unsettled.push(block(height, 1024 * 1024));
            assert!(unsettled.bytes() <= 256 * 1024 * 1024, "{height}");
        }
        assert_eq!(unsettled.bytes(), 256 * 1024 * 1024);
        unsettled.settle(1);
        assert!(!unsettled.is_full(), "what is executed makes room at once");
        assert_eq!(
            unsettled.news(),
            Some(true),
            "votes are held since an eighth of it"
        );
    }

    #[test]
    fn blocks_are_bounded_by_their_number_too() {
        let mut unsettled = UnsettledBlocks::new(unsettled_bytes_max(false));
        let mut count = 0;
        while unsettled.news().is_none() {
            count += 1;
            unsettled.push(block(count, 1));
        }
        assert!(count <= 4 * 1024 + 1, "{count}");
    }
}
