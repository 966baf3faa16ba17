//! Finalized blocks and durable heights on their way to the embedding program.
//!
//! Owns the queue's bounds, in blocks and in bytes: a program that does not take them costs no more
//! memory than that. Never: waits for it, or changes the order of blocks.

use crate::metrics::Metrics;
use crate::results::BlockResults;
use crossbeam::channel::{Receiver, Sender, TrySendError, bounded};
use quorate_consensus::types::Height;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Bytes of results that may wait: by the number of blocks alone they could be as many times the
/// most that comes of one. More than the default number of usual blocks has.
const BYTES_MAX: usize = 256 * 1024 * 1024;

/// Where finalized blocks go inside the embedding process.
#[derive(Debug)]
pub(crate) struct Publisher {
    sender: Sender<BlockResults>,
    /// Set when somebody asked for them; before that they are not kept.
    is_wanted: Arc<AtomicBool>,
    /// The newest durable height that nobody has taken, and its other end, to make room.
    durable: (Sender<u64>, Receiver<u64>),
    /// Bytes of each block that waits, first in first out, and of those that have been taken since
    /// the last one came.
    waiting: VecDeque<usize>,
    waiting_bytes: usize,
}

impl Publisher {
    /// One for so many blocks at most, and where they come out.
    pub(crate) fn new(blocks_max: usize) -> (Self, Receiver<BlockResults>) {
        let (sender, finalized) = bounded(blocks_max);
        let publisher = Self {
            sender,
            is_wanted: Arc::default(),
            durable: bounded(1),
            waiting: VecDeque::new(),
            waiting_bytes: 0,
        };
        (publisher, finalized)
    }

    /// What says that somebody asks for blocks, and where durable heights come out.
    pub(crate) fn ends(&self) -> (Arc<AtomicBool>, Receiver<u64>) {
        (Arc::clone(&self.is_wanted), self.durable.1.clone())
    }

    /// Says how far finality is durable. Heights only rise, so the newest stands for those that
    /// nobody has taken.
    pub(crate) fn publish_durable(&self, height: Height) {
        let (sender, waiting) = &self.durable;
        if let Err(TrySendError::Full(height)) = sender.try_send(height.number()) {
            waiting.try_recv().ok();
            sender.try_send(height).ok();
        }
    }

    /// Gives finalized blocks to the embedding process, if it wants them. What does not fit is
    /// counted and dropped: heights have no gaps, so whoever reads sees that one is missing.
    pub(crate) fn publish(&mut self, metrics: &Metrics, results: &mut Vec<BlockResults>) {
        if !self.is_wanted.load(Ordering::Acquire) || !metrics.is_serving() {
            return;
        }
        for results in results.drain(..) {
            if !self.send(results) {
                metrics.finalized_lagged.add(1);
            }
        }
    }

    /// Whether there was room, or nobody to have it. One block has room whatever its length.
    fn send(&mut self, results: BlockResults) -> bool {
        while self.waiting.len() > self.sender.len() {
            self.waiting_bytes -= self.waiting.pop_front().unwrap_or(0);
        }
        let bytes = results.memory_bytes();
        if !self.waiting.is_empty() && self.waiting_bytes + bytes > BYTES_MAX {
            return false;
        }
        match self.sender.try_send(results) {
            Ok(()) => {
                self.waiting.push_back(bytes);
                self.waiting_bytes += bytes;
                true
            }
            Err(TrySendError::Disconnected(_)) => true,
            Err(TrySendError::Full(_)) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state_machine::Output;

    /// What comes of a block with so many bytes of events.
    fn block(height: u64, bytes: usize) -> BlockResults {
        let mut output = Output::new();
        output.to_public(&vec![0; bytes]);
        let mut results = BlockResults::new();
        results.height = height;
        results.collect(None, &output);
        results
    }

    #[test]
    fn a_program_that_takes_nothing_costs_a_bounded_number_of_bytes() {
        const BLOCK_BYTES: usize = 16 * 1024 * 1024;
        let metrics = Metrics::default();
        let (mut publisher, taken) = Publisher::new(4096);
        let (is_wanted, _) = publisher.ends();
        publisher.publish(&metrics, &mut vec![block(1, BLOCK_BYTES)]);
        assert!(taken.is_empty(), "nobody wants them");
        is_wanted.store(true, Ordering::Release);
        for height in 2..40 {
            publisher.publish(&metrics, &mut vec![block(height, BLOCK_BYTES)]);
        }
        let fit = BYTES_MAX / BLOCK_BYTES - 1;
        assert_eq!(taken.len(), fit, "each is a little longer than its events");
        assert_eq!(metrics.finalized_lagged.read(), 38 - fit as u64);
        // What is taken makes room, in order.
        let heights: Vec<u64> = taken.try_iter().take(2).map(|block| block.height).collect();
        assert_eq!(heights, [2, 3]);
        for height in 40..45 {
            publisher.publish(&metrics, &mut vec![block(height, BLOCK_BYTES)]);
        }
        let heights: Vec<u64> = taken.try_iter().map(|block| block.height).collect();
        let expected = (4..2 + fit as u64).chain([40, 41]);
        assert_eq!(heights, expected.collect::<Vec<_>>());
        // One that is longer than all that may wait goes alone.
        publisher.publish(&metrics, &mut vec![block(45, BYTES_MAX), block(46, 1)]);
        let heights: Vec<u64> = taken.try_iter().map(|block| block.height).collect();
        assert_eq!(heights, [45]);
    }

    #[test]
    fn the_number_of_blocks_is_bounded_as_well() {
        let metrics = Metrics::default();
        let (mut publisher, taken) = Publisher::new(3);
        publisher.ends().0.store(true, Ordering::Release);
        for height in 1..=5 {
            publisher.publish(&metrics, &mut vec![block(height, 1)]);
        }
        assert_eq!((taken.len(), metrics.finalized_lagged.read()), (3, 2));
    }
}
