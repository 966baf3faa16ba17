//! Own proposals that are not final.
//!
//! Owns how many bytes they have, and how many they may have, which bounds what a cancel stands
//! behind: beyond that orders wait in the pool, where a cancel passes them, and not in blocks,
//! where it cannot. The bound follows the time that blocks take: bytes that wait in flight make
//! nothing final sooner. And when the next one begins: a block costs every validator the same
//! however little is in it, so while one is in flight the next waits until that is final, until it
//! is worth its cost, or for a time that is short beside what clients see under such a load. Behind
//! a block that many share it waits so too when that is final: where finality is quick, there would
//! else be as many blocks as there can be, whatever the load. With nothing in flight and no such
//! block just before, it waits for nothing: a lone command meets no timer. Never: that bound of the
//! pipeline which is the consensus' and counts blocks.

use quorate_consensus::machine::ProposalRoom;
use quorate_consensus::types::{Height, Window};
use std::collections::VecDeque;

/// Bytes of own blocks in flight from which on only cancels are proposed, at most: what a fast
/// network needs to be busy, and some 20 milliseconds of a gigabit.
pub(super) const FLIGHT_BYTES_MAX: usize = 2 * 1024 * 1024;
/// The same at least: a block of the size that is aimed at, so that one more is always on its way.
const FLIGHT_BYTES_MIN: usize = 256 * 1024;
/// By so much the bound rises with a block that was final in time.
const RISE_BYTES: usize = 16 * 1024;
/// Longest time to finality at which the bound still rises.
const IN_TIME_NS: u64 = 20_000_000;

/// Bytes that wait from which on they are worth a block although others are in flight.
const ENOUGH_BYTES: usize = 64 * 1024;
/// Bytes of a block from which on many share it: what comes behind such a block comes under load.
const SHARED_BYTES: usize = 4 * 1024;

/// See the module.
#[derive(Debug)]
pub(super) struct Flight {
    /// Lowest first.
    blocks: VecDeque<Block>,
    /// When the newest own block that many share was proposed, whether or not it is final.
    shared_ns: Option<u64>,
    bytes: usize,
    bytes_max: usize,
    /// Blocks up to here were proposed before the bound last fell: that they took long too is why
    /// it fell.
    cut: Height,
    /// Orders had to wait since the bound last fell. While they do not, a block's time says nothing
    /// of what is in flight: an idle leader looks at it late, and a slow network makes it long.
    has_held: bool,
    /// Of the last place that was settled.
    window: Option<Window>,
}

#[derive(Debug)]
struct Block {
    height: Height,
    bytes: usize,
    proposed_ns: u64,
}

impl Default for Flight {
    fn default() -> Self {
        Self {
            blocks: VecDeque::new(),
            shared_ns: None,
            bytes: 0,
            bytes_max: FLIGHT_BYTES_MAX,
            cut: Height::ZERO,
            has_held: false,
            window: None,
        }
    }
}

impl Flight {
    /// Forgets what is final: each turn, so that a block's time is known.
    pub(super) fn finalize(&mut self, now_ns: u64, finalized: Height) {
        while let Some(block) = self.blocks.front()
            && block.height <= finalized
        {
            let took_ns = now_ns.saturating_sub(block.proposed_ns);
            let height = block.height;
            self.bytes -= block.bytes;
            self.blocks.pop_front();
            self.learn(took_ns, height);
        }
    }

    /// Forgets what is final, and what was given up: the next proposal has height `next`. Whether
    /// anything was given up.
    pub(super) fn settle(&mut self, now_ns: u64, finalized: Height, next: Height) -> bool {
        self.finalize(now_ns, finalized);
        let before = self.blocks.len();
        while let Some(block) = self.blocks.back()
            && block.height >= next
        {
            self.bytes -= block.bytes;
            self.blocks.pop_back();
        }
        self.blocks.len() < before
    }

    /// The same for the place of the next proposal. At the first one of a window all that stands at
    /// the height of the window's first block or above was given up; the consensus may have made
    /// that block itself, of nothing.
    pub(super) fn settle_at(
        &mut self,
        now_ns: u64,
        finalized: Height,
        room: &ProposalRoom,
    ) -> bool {
        if self.window.replace(room.window) == Some(room.window) {
            return self.settle(now_ns, finalized, room.height);
        }
        let above = room
            .height
            .number()
            .saturating_sub(room.index.number().into());
        self.settle(now_ns, finalized, Height::new(above))
    }

    /// A block took so long to be final.
    fn learn(&mut self, took_ns: u64, height: Height) {
        if took_ns <= IN_TIME_NS {
            self.bytes_max = (self.bytes_max + RISE_BYTES).min(FLIGHT_BYTES_MAX);
        } else if height > self.cut && self.has_held {
            self.bytes_max = (self.bytes_max / 2).max(FLIGHT_BYTES_MIN);
            self.cut = self.blocks.back().map_or(height, |last| last.height);
            self.has_held = false;
        }
    }

    /// A block of this height is proposed.
    pub(super) fn push(&mut self, now_ns: u64, height: Height, bytes: usize) {
        self.blocks.push_back(Block {
            height,
            bytes,
            proposed_ns: now_ns,
        });
        self.bytes += bytes;
        self.shared_ns = (bytes >= SHARED_BYTES).then_some(now_ns);
    }

    /// Until when what waits is to become a larger block, when the pool keeps so many bytes, those
    /// in flight among them; `None`: a block may be made at once. `hold_ns` after a block the next
    /// may begin in any case: where the wire is slow, that and not finality ends the wait.
    pub(super) fn hold_until_ns(&self, kept_bytes: usize, hold_ns: u64) -> Option<u64> {
        let last = self.blocks.back().map(|block| block.proposed_ns);
        let last_ns = last.or(self.shared_ns)?;
        let waiting_bytes = kept_bytes.saturating_sub(self.bytes);
        (waiting_bytes < ENOUGH_BYTES).then(|| last_ns.saturating_add(hold_ns))
    }

    /// Whether orders are to wait.
    pub(super) const fn is_full(&mut self) -> bool {
        let is_full = self.bytes >= self.bytes_max;
        self.has_held |= is_full;
        is_full
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_consensus::types::{BlockId, Index};

    const MS: u64 = 1_000_000;

    #[test]
    fn a_window_that_the_consensus_has_opened_by_itself_ends_what_stood_at_its_height() {
        let mut flight = Flight::default();
        let room = |window, index: u32, height| ProposalRoom {
            window: Window::new(window),
            index: Index::new(index),
            height: Height::new(height),
            parent_id: BlockId::new([0; 32]),
            time_ns_min: 0,
        };
        for index in 0..4 {
            let room = room(7, index, 10 + u64::from(index));
            assert!(!flight.settle_at(0, Height::new(9), &room), "{index}");
            flight.push(0, room.height, 100);
        }
        // Its last block was cut, and an empty one stands in its place.
        assert!(flight.settle_at(0, Height::new(9), &room(8, 1, 14)));
        assert_eq!(flight.blocks.len(), 3);
        flight.push(0, Height::new(14), 100);
        assert!(!flight.settle_at(0, Height::new(9), &room(8, 2, 15)));
    }

    #[test]
    fn what_is_final_or_given_up_no_longer_counts() {
        let mut flight = Flight::default();
        let height = Height::new;
        for number in 1..=4 {
            flight.push(0, height(number), FLIGHT_BYTES_MAX / 4);
        }
        assert!(flight.is_full());
        assert!(!flight.settle(0, height(1), height(5)));
        assert!(!flight.is_full());
        flight.push(0, height(5), FLIGHT_BYTES_MAX);
        assert!(flight.is_full());
        // A window failed, and the next one begins above block 2.
        assert!(flight.settle(0, height(1), height(3)));
        assert!(!flight.is_full());
        assert_eq!(flight.bytes, FLIGHT_BYTES_MAX / 4);
        flight.settle(0, height(9), height(10));
        assert_eq!((flight.bytes, flight.blocks.len()), (0, 0));
    }

    #[test]
    fn a_lone_command_waits_for_nothing() {
        let mut flight = Flight::default();
        for number in 1..=9 {
            let now_ns = number * MS;
            assert_eq!(flight.hold_until_ns(128, 2 * MS), None);
            flight.push(now_ns, Height::new(number), 128);
            flight.finalize(now_ns + MS / 5, Height::new(number));
        }
    }

    #[test]
    fn while_a_block_is_in_flight_little_waits_for_its_end_and_much_does_not() {
        let mut flight = Flight::default();
        flight.push(MS, Height::new(1), 200);
        let until_ns = MS + 2 * MS;
        assert_eq!(
            flight.hold_until_ns(200 + ENOUGH_BYTES - 1, 2 * MS),
            Some(until_ns)
        );
        assert_eq!(flight.hold_until_ns(200 + ENOUGH_BYTES, 2 * MS), None);
        flight.finalize(2 * MS, Height::new(1));
        assert_eq!(flight.hold_until_ns(200, 2 * MS), None);
        // What was given up is in flight no more.
        flight.push(3 * MS, Height::new(2), 200);
        flight.settle(3 * MS, Height::new(1), Height::new(2));
        assert_eq!(flight.hold_until_ns(400, 2 * MS), None);
    }

    #[test]
    fn behind_a_block_that_many_share_little_waits_although_it_is_final() {
        for (bytes, until_ns) in [(SHARED_BYTES - 1, None), (SHARED_BYTES, Some(3 * MS))] {
            let mut flight = Flight::default();
            flight.push(MS, Height::new(1), bytes);
            flight.finalize(MS + MS / 5, Height::new(1));
            assert_eq!(flight.hold_until_ns(300, 2 * MS), until_ns, "{bytes}");
            assert_eq!(flight.hold_until_ns(ENOUGH_BYTES, 2 * MS), None);
            // A small one behind it ends that.
            flight.push(4 * MS, Height::new(2), 300);
            flight.finalize(4 * MS + MS / 5, Height::new(2));
            assert_eq!(flight.hold_until_ns(300, 2 * MS), None);
        }
    }

    /// Proposes until it is full; how many bytes then are in flight.
    fn fill(flight: &mut Flight, now_ns: u64, next: &mut u64) -> usize {
        while !flight.is_full() {
            flight.push(now_ns, Height::new(*next), 64 * 1024);
            *next += 1;
        }
        flight.bytes
    }

    #[test]
    fn what_waits_longer_than_it_needs_to_waits_in_the_pool() {
        let (mut flight, mut next, mut now_ns) = (Flight::default(), 1, 0);
        assert_eq!(fill(&mut flight, now_ns, &mut next), FLIGHT_BYTES_MAX);
        // 32 blocks that all took 75 ms: one cut, for they were proposed before it.
        now_ns += 75 * MS;
        flight.settle(now_ns, Height::new(next - 1), Height::new(next));
        assert_eq!(fill(&mut flight, now_ns, &mut next), FLIGHT_BYTES_MAX / 2);
        for _ in 0..10 {
            now_ns += 50 * MS;
            flight.settle(now_ns, Height::new(next - 1), Height::new(next));
            fill(&mut flight, now_ns, &mut next);
        }
        assert_eq!(flight.bytes, FLIGHT_BYTES_MIN, "never below a block");
        for _ in 0..200 {
            now_ns += 5 * MS;
            flight.settle(now_ns, Height::new(next - 1), Height::new(next));
            fill(&mut flight, now_ns, &mut next);
        }
        assert_eq!(
            flight.bytes, FLIGHT_BYTES_MAX,
            "a fast network is kept busy"
        );
    }

    #[test]
    fn blocks_that_were_looked_at_late_while_nothing_waited_do_not_count() {
        let mut flight = Flight::default();
        for number in 1..=9 {
            let now_ns = number * 500 * MS;
            flight.settle(now_ns, Height::new(number - 1), Height::new(number));
            assert!(!flight.is_full());
            flight.push(now_ns, Height::new(number), 1_000);
        }
        assert_eq!(flight.bytes_max, FLIGHT_BYTES_MAX);
    }
}
