//! Who finds room in the pool.
//!
//! Owns how much of each bound is left to whom: orders leave an eighth, prices a sixteenth and
//! administration a thirty-second, so that a flood of one lane leaves room for those that are fewer
//! and matter more. Never: what a command is, or the bounds themselves.
//!
//! Orders are taken while they would wait for a short time only. A block keeps a part for prices
//! and administration ([`block`](super::block)), so the time that they wait is that of their own
//! lane: as many are taken as go in that time by that part alone. Beyond it they count as orders,
//! for whoever floods the chain may as well call its orders prices.

use super::block::{ADMIN_PART, URGENT_PART};
use super::pool::Lanes;
use super::pressure::bounded_us;
use super::queue::Origin;
use crate::journal::RETRY_NS;
use crate::state_machine::Lane;
use quorate_consensus::payload::CommandView;

/// Whose room a command takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rank {
    /// That of clients' orders, and of what comes in floods.
    Order,
    Price,
    Admin,
    /// All there is: peers' commands, and cancels.
    All,
}

impl Rank {
    /// The part of a bound that it may fill.
    pub(super) const fn share(self, max: u64) -> u64 {
        match self {
            Self::Order => max - max / 8,
            Self::Price => max - max / 16,
            Self::Admin => max - max / 32,
            Self::All => max,
        }
    }
}

impl Lanes {
    /// Whose room this command takes now.
    pub(super) fn rank(&self, now_ns: u64, lane: Lane, origin: Origin) -> Rank {
        let (rank, part) = match (origin, lane) {
            (Origin::Local, Lane::Order) => return Rank::Order,
            (Origin::Local, Lane::Price) => (Rank::Price, URGENT_PART),
            (Origin::Local, Lane::Admin) => (Rank::Admin, ADMIN_PART),
            (Origin::Local, Lane::Cancel) | (Origin::Peer(_) | Origin::Block, _) => {
                return Rank::All;
            }
        };
        let waiting = self.in_lane[lane as usize] - self.gaps.commands_in(lane);
        let wait_ns = self.pressure.wait_ns(now_ns, waiting * part);
        if wait_ns <= self.config.queue_ns {
            rank
        } else {
            Rank::Order
        }
    }

    /// Peers' commands and cancels find room where clients' other commands no longer do: a leader
    /// flooded by its own clients still takes what others forward, and a cancel always gets in
    /// before an order, however long the orders would wait. So do prices and administration,
    /// unless they come in floods themselves.
    pub(super) fn has_room(&self, now_ns: u64, bytes: usize, rank: Rank) -> bool {
        let share = |max: usize| rank.share(max as u64) as usize;
        self.commands < share(self.config.commands_max)
            && self.bytes + bytes <= share(self.config.bytes_max)
            && (rank != Rank::Order || self.wait_ns(now_ns) <= self.config.queue_ns)
    }

    /// Whether there is room for a command behind a missing number. Where all room is short no
    /// client's is kept that waits for a number which may not find any.
    pub(super) fn has_gap_room(
        &self,
        now_ns: u64,
        view: &CommandView<'_>,
        lane: Lane,
        origin: Origin,
    ) -> bool {
        let is_local = origin == Origin::Local;
        let is_short = is_local && self.is_short(now_ns, lane == Lane::Cancel);
        !is_short && self.gaps.has_room(origin, view.entry.len(), &self.config)
    }

    /// Whether room may soon be none.
    fn is_short(&self, now_ns: u64, is_favoured: bool) -> bool {
        (!is_favoured && self.wait_ns(now_ns) > self.config.queue_ns / 4)
            || self.commands > self.config.commands_max / 2
            || self.bytes > self.config.bytes_max / 2
    }

    /// What waits for a missing number is not in anybody's way: no block takes it before.
    const fn waiting(&self) -> usize {
        self.commands - self.gaps.commands()
    }

    fn wait_ns(&self, now_ns: u64) -> u64 {
        self.pressure.wait_ns(now_ns, self.waiting())
    }

    /// Clients' orders would find no room now: after how long they may come again, microseconds.
    /// Known without looking at them.
    #[must_use]
    pub fn orders_hold_us(&self, now_ns: u64) -> Option<u32> {
        let is_full = self.is_disk_full || !self.has_room(now_ns, 0, Rank::Order);
        is_full.then(|| self.come_again_us(self.wait_ns(now_ns) / 8))
    }

    /// What a client is told that is to come again after `wait_ns`: while the disk is full, not
    /// before the log is tried again.
    fn come_again_us(&self, wait_ns: u64) -> u32 {
        let least_ns = if self.is_disk_full { RETRY_NS } else { 0 };
        bounded_us(wait_ns.max(least_ns))
    }

    /// Whether more is kept than goes at once, and it goes.
    pub(super) fn is_draining(&self, now_ns: u64) -> bool {
        self.wait_ns(now_ns) > 0 && self.pressure.is_moving(now_ns)
    }

    /// A block is final; before it `kept` commands were here.
    pub(super) fn note_drained(&mut self, now_ns: u64, kept: usize) {
        let gone = kept.saturating_sub(self.commands) as u64;
        self.pressure.drained(now_ns, gone, self.waiting());
    }

    /// About as long as the pool takes to turn over: half the age of what waits longest.
    pub(super) fn retry_after_us(&mut self, now_ns: u64) -> u32 {
        let oldest_ns = self.oldest_waiting_ns().unwrap_or(now_ns);
        self.come_again_us(now_ns.saturating_sub(oldest_ns) / 2)
    }
}
