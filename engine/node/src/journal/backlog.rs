//! What waits for room on a full disk.
//!
//! Owns the operations that could not be appended, in their order, and when to try again. Nothing
//! that waits here has happened: no record of it leaves, no block of it is executed. Never: drops
//! or reorders one.

use std::collections::VecDeque;
use std::io;

use super::{JournalOp, Journaled};
use crate::refused::Refused;

/// Time between two tries.
pub(crate) const RETRY_NS: u64 = 100_000_000;
/// Operations that may wait.
const OPS_MAX: usize = 65_536;
/// Bytes of payloads that may wait.
const BYTES_MAX: usize = 64 * 1024 * 1024;

/// Operations that wait for room.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    /// What is done once the log has written what it took before there was no room.
    held: Option<Vec<Journaled>>,
    /// Those that it has not taken.
    ops: VecDeque<JournalOp>,
    bytes: usize,
    retry_at_ns: u64,
}

/// Whether a refusal is for want of something that may come back: room on the disk, and so for
/// descriptors and memory, which strangers may take for a while.
pub(super) fn is_for_want_of_room(error: &io::Error) -> bool {
    Refused::of(error) == Refused::Short
}

fn bytes_of(op: &JournalOp) -> usize {
    match op {
        JournalOp::Block { payload, .. } => payload.len(),
        _ => 0,
    }
}

impl Backlog {
    pub(super) fn is_empty(&self) -> bool {
        self.ops.is_empty() && !self.is_holding()
    }

    /// Whether something that the log has taken is not written.
    pub(super) const fn is_holding(&self) -> bool {
        self.held.is_some()
    }

    /// Keeps what would be done by now.
    pub(super) fn hold(&mut self, done: impl Iterator<Item = Journaled>) {
        self.held.get_or_insert_default().extend(done);
    }

    /// It is written: gives back what is done with that.
    pub(super) fn release(&mut self, done: &mut Vec<Journaled>) {
        done.append(&mut self.held.take().unwrap_or_default());
    }

    /// Whether it is time to try.
    pub(super) const fn is_due(&self, now_ns: u64) -> bool {
        now_ns >= self.retry_at_ns
    }

    /// Takes an operation in; false when that is more than may wait.
    pub(super) fn push(&mut self, op: JournalOp) -> bool {
        self.bytes += bytes_of(&op);
        self.ops.push_back(op);
        self.ops.len() <= OPS_MAX && self.bytes <= BYTES_MAX
    }

    /// The first one, if it is time to try.
    pub(super) fn pop(&mut self, now_ns: u64) -> Option<JournalOp> {
        if !self.is_due(now_ns) {
            return None;
        }
        let op = self.ops.pop_front()?;
        self.bytes -= bytes_of(&op);
        Some(op)
    }

    /// There was no room for this one either.
    pub(super) fn put_back(&mut self, op: JournalOp) {
        self.bytes += bytes_of(&op);
        self.ops.push_front(op);
    }

    /// There is no room now: it is tried again after a while.
    pub(super) const fn wait(&mut self, now_ns: u64) {
        self.retry_at_ns = now_ns.saturating_add(RETRY_NS);
    }

    /// Whether so much waits that nothing more of others' should come in. What comes without them,
    /// and what is on its way when that is heeded, has the other half.
    pub(super) fn is_crowded(&self) -> bool {
        self.ops.len() > OPS_MAX / 2 || self.bytes > BYTES_MAX / 2
    }

    /// When to try again, by the monotonic clock.
    pub(super) fn due_ns(&self) -> u64 {
        if self.is_empty() {
            u64::MAX
        } else {
            self.retry_at_ns
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use quorate_consensus::header::{HEADER_VERSION, Header};
    use quorate_consensus::types::{BlockId, Epoch, Height, Index, Window};

    use super::*;

    fn block(payload: &Arc<[u8]>) -> JournalOp {
        let header = Header {
            version: HEADER_VERSION,
            flags: 0,
            chain_id: [1; 32],
            epoch: Epoch::ZERO,
            set_hash: [2; 32],
            window: Window::ZERO,
            index: Index::ZERO,
            height: Height::new(1),
            time_ns: 1,
            parent_id: BlockId::new([3; 32]),
            payload_hash: [4; 32],
            payload_bytes: 1,
        };
        JournalOp::Block {
            id: header.id(),
            header,
            payload: Arc::clone(payload),
        }
    }

    #[test]
    fn what_waits_is_bounded_by_its_number_and_by_its_bytes_each_alone() {
        let payload: Arc<[u8]> = vec![0; 1024 * 1024].into();
        let mut few = Backlog::default();
        for number in 1..=64 {
            assert!(few.push(block(&payload)), "{number} MiB may wait");
        }
        assert!(!few.push(block(&payload)));
        let mut small = Backlog::default();
        for _ in 0..65_536 {
            assert!(small.push(JournalOp::Forget(Window::ZERO)));
        }
        assert!(!small.push(JournalOp::Forget(Window::ZERO)));
    }

    #[test]
    fn it_is_crowded_from_half_of_what_may_wait_on_by_either_bound_alone() {
        let payload: Arc<[u8]> = vec![0; 1024 * 1024].into();
        let mut few = Backlog::default();
        for number in 1..=32 {
            assert!(few.push(block(&payload)) && !few.is_crowded(), "{number}");
        }
        assert!(few.push(block(&payload)) && few.is_crowded());
        assert!(few.pop(0).is_some() && !few.is_crowded());
        let mut small = Backlog::default();
        for _ in 0..32_768 {
            assert!(small.push(JournalOp::Forget(Window::ZERO)) && !small.is_crowded());
        }
        assert!(small.push(JournalOp::Forget(Window::ZERO)) && small.is_crowded());
    }

    #[test]
    fn what_has_found_room_counts_no_more_among_what_waits() {
        let payload: Arc<[u8]> = vec![0; 1024 * 1024].into();
        let mut backlog = Backlog::default();
        for number in 0..65 {
            assert!(backlog.push(block(&payload)), "{number} MiB found room");
            // Only with the second try.
            let op = backlog.pop(0).expect("it waits");
            backlog.put_back(op);
            assert!(backlog.pop(0).is_some());
        }
        assert_eq!(backlog.bytes, 0);
        assert!(backlog.is_empty());
    }
}
