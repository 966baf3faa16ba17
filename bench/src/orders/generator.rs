//! Made-up order flow in the shape of a recorded one.
//!
//! Owns a seeded generator: bursts of arrivals, prices around a mid that wanders, nine of ten
//! orders cancelled and the tenth traded. Never: floating point or the distributions of a
//! library, so that one seed gives one flow on every machine and in every version.
//!
//! The generator keeps the book that its orders make if they are applied in its order, and so
//! names only orders that are open and enters none that crosses; what is applied in another order
//! may be refused here and there.
//!
//! The flow wraps by itself: it has no end, and names are numbers that only rise.

use super::{CLIENTS_MAX, Counters, OrderFlow, Planned, Sender, client_of};
use quorate_venue::config::INSTRUMENTS_MAX;
use quorate_venue::{ClientOrderId, Command, InstrumentId, OrderKind, SelfTrade, Side, lane};
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use std::collections::BTreeMap;
use std::num::NonZeroU64;

/// Mean count of commands in a burst.
const BURST_MEAN: u64 = 4;

/// Within a burst commands come this many times faster than the mean.
const BURST_SPEED: u64 = 16;

/// Of 1,024 commands so many make an order smaller.
const REDUCE_OF_1024: u64 = 7;

/// Of 1,024 orders that go so many trade; the others are cancelled.
const TRADE_OF_1024: u64 = 102;

/// Where the mid price starts, and how near to zero it comes, in ticks.
const MID_START: i64 = 1_000_000;
const MID_MIN: i64 = 1_000;
const MID_MAX: i64 = 2 * MID_START;

/// What to make.
#[derive(Clone, Copy, Debug)]
pub struct GeneratorConfig {
    /// One seed, one flow.
    pub seed: u64,
    /// Target of the mean rate.
    pub rate_per_s: NonZeroU64,
    /// Over how many clients the orders are spread, 1 to [`CLIENTS_MAX`]; this and the following
    /// are brought to the nearest bound.
    pub clients: u32,
    /// Over how many instruments, 1 to [`INSTRUMENTS_MAX`], with ids from 0.
    pub instruments: u32,
    /// Around how many resting orders the book of an instrument settles, from 1.
    pub orders_target: u32,
}

#[derive(Clone, Copy, Debug)]
struct Resting {
    name: ClientOrderId,
    client: u32,
    side: Side,
    price_ticks: i64,
    open_lots: u64,
}

/// Sorts the orders of a side by priority.
type Rank = (i64, u64);

impl Resting {
    const fn rank(&self) -> Rank {
        match self.side {
            Side::Buy => (-self.price_ticks, self.name.0),
            Side::Sell => (self.price_ticks, self.name.0),
        }
    }
}

/// The book of one instrument as the flow has made it.
#[derive(Debug)]
struct Shadow {
    mid_ticks: i64,
    orders: Vec<Resting>,
    /// By side, then rank: the place in `orders`.
    ranks: [BTreeMap<Rank, usize>; 2],
}

impl Shadow {
    fn new() -> Self {
        Self {
            mid_ticks: MID_START,
            orders: Vec::new(),
            ranks: [BTreeMap::new(), BTreeMap::new()],
        }
    }

    fn best(&self, side: Side) -> Option<usize> {
        self.ranks[side as usize]
            .first_key_value()
            .map(|(_, &at)| at)
    }

    fn insert(&mut self, order: Resting) {
        self.ranks[order.side as usize].insert(order.rank(), self.orders.len());
        self.orders.push(order);
    }

    fn remove(&mut self, at: usize) -> Resting {
        let order = self.orders.swap_remove(at);
        self.ranks[order.side as usize].remove(&order.rank());
        if let Some(moved) = self.orders.get(at) {
            self.ranks[moved.side as usize].insert(moved.rank(), at);
        }
        order
    }
}

/// The flow.
#[derive(Debug)]
pub struct Generator {
    noise: ChaCha8Rng,
    config: GeneratorConfig,
    shadows: Vec<Shadow>,
    name_next: u64,
    /// When the last command was due, in 65,536ths of a nanosecond.
    time: u128,
    /// Commands of the burst that are still to come.
    burst_left: u64,
    /// Mean gap between commands, in 65,536ths of a nanosecond.
    gap_mean: u64,
    counters: Counters,
}

impl Generator {
    /// A flow; see [`GeneratorConfig`].
    #[must_use]
    pub fn new(mut config: GeneratorConfig) -> Self {
        config.clients = config.clients.clamp(1, CLIENTS_MAX);
        config.instruments = config.instruments.clamp(1, INSTRUMENTS_MAX as u32);
        config.orders_target = config.orders_target.max(1);
        Self {
            noise: ChaCha8Rng::seed_from_u64(config.seed),
            shadows: (0..config.instruments).map(|_| Shadow::new()).collect(),
            name_next: 1,
            time: 0,
            burst_left: 0,
            gap_mean: (1_000_000_000 << 16) / config.rate_per_s,
            config,
            counters: Counters::default(),
        }
    }

    /// A number below `bound`, which is at least 1. The bias is below bound / 2^64.
    fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.noise.next_u64()) * u128::from(bound)) >> 64) as u64
    }

    /// A number with an exponential tail and this mean: minus the binary logarithm of a number in
    /// (0, 1], drawn straight between the powers of two, and scaled by its own mean of 3/2.
    fn exponential(&mut self, mean: u64) -> u64 {
        let drawn = self.noise.next_u64() | 1;
        let zeros = u64::from(drawn.leading_zeros());
        let below_top = drawn.checked_shl(drawn.leading_zeros() + 1).unwrap_or(0) >> 48;
        let logarithm = (zeros << 16) + (1 << 16) - below_top;
        let scaled = u128::from(mean) * u128::from(logarithm) * 2 / (3 << 16);
        u64::try_from(scaled).unwrap_or(u64::MAX)
    }

    /// When the next command is due. A burst has a geometric count of commands; the gap before it
    /// is such that the mean rate is the target rate.
    fn advance(&mut self) -> u64 {
        let fast = self.gap_mean / BURST_SPEED;
        let mean = if self.burst_left > 0 {
            self.burst_left -= 1;
            fast
        } else {
            while self.below(BURST_MEAN) != 0 {
                self.burst_left += 1;
            }
            self.gap_mean * BURST_MEAN - fast * (BURST_MEAN - 1)
        };
        self.time += u128::from(self.exponential(mean));
        u64::try_from(self.time >> 16).unwrap_or(u64::MAX)
    }

    fn next_command(&mut self) -> (Command, u32) {
        let at = self.below(u64::from(self.config.instruments)) as usize;
        let instrument = InstrumentId(at as u32);
        self.wander(at);
        let resting = self.shadows[at].orders.len() as u64;
        if resting > 0 && self.below(1024) < REDUCE_OF_1024 {
            return self.reduce(at);
        }
        // Even odds where the book has its target, and a pull towards it elsewhere.
        let target = u64::from(self.config.orders_target);
        if self.below(2 * target) >= resting.min(2 * target) {
            return self.enter(at, instrument);
        }
        if self.below(1024) < TRADE_OF_1024 {
            return self.trade(at, instrument);
        }
        let chosen = self.below(resting) as usize;
        let order = self.shadows[at].remove(chosen);
        self.counters.cancels += 1;
        (
            Command::Cancel {
                client_order: order.name,
            },
            order.client,
        )
    }

    /// Moves the mid price by a tick now and then.
    fn wander(&mut self, at: usize) {
        let step = match self.below(64) {
            0 => 1,
            1 => -1,
            _ => 0,
        };
        let mid_ticks = &mut self.shadows[at].mid_ticks;
        *mid_ticks = (*mid_ticks + step).clamp(MID_MIN, MID_MAX);
    }

    fn name(&mut self) -> ClientOrderId {
        let name = ClientOrderId(self.name_next);
        self.name_next += 1;
        name
    }

    /// A limit order some ticks from the mid, near ones being likelier, and never across the book.
    fn enter(&mut self, at: usize, instrument: InstrumentId) -> (Command, u32) {
        let side = if self.below(2) == 0 {
            Side::Buy
        } else {
            Side::Sell
        };
        let distance = 1 + self.exponential(8).min(200) as i64;
        let size_lots = if self.below(2) == 0 {
            100
        } else {
            1 + self.below(100)
        };
        let name = self.name();
        let client = client_of(name.0, self.config.clients);
        let shadow = &mut self.shadows[at];
        let other = shadow
            .best(side.opposite())
            .map(|best| shadow.orders[best].price_ticks);
        let price_ticks = match side {
            Side::Buy => (shadow.mid_ticks - distance).min(other.map_or(i64::MAX, |ask| ask - 1)),
            Side::Sell => (shadow.mid_ticks + distance).max(other.map_or(i64::MIN, |bid| bid + 1)),
        };
        shadow.insert(Resting {
            name,
            client,
            side,
            price_ticks,
            open_lots: size_lots,
        });
        self.counters.limits += 1;
        let kind = OrderKind::Limit;
        (
            new_order(kind, side, instrument, name, price_ticks, size_lots),
            client,
        )
    }

    /// An immediate order that takes the best of a side.
    fn trade(&mut self, at: usize, instrument: InstrumentId) -> (Command, u32) {
        let side = if self.below(2) == 0 {
            Side::Buy
        } else {
            Side::Sell
        };
        let name = self.name();
        let clients = self.config.clients;
        let shadow = &mut self.shadows[at];
        // The caller has seen that there is an order, so one of the sides has a best.
        let best = shadow
            .best(side)
            .or_else(|| shadow.best(side.opposite()))
            .unwrap_or(0);
        let taken = shadow.remove(best);
        let client = (taken.client + 1) % clients;
        self.counters.iocs += 1;
        let (kind, price_ticks) = (OrderKind::ImmediateOrCancel, taken.price_ticks);
        let side = taken.side.opposite();
        (
            new_order(kind, side, instrument, name, price_ticks, taken.open_lots),
            client,
        )
    }

    /// Makes a resting order smaller; one of a single lot is cancelled.
    fn reduce(&mut self, at: usize) -> (Command, u32) {
        let chosen = self.below(self.shadows[at].orders.len() as u64) as usize;
        let Resting {
            name,
            client,
            open_lots,
            ..
        } = self.shadows[at].orders[chosen];
        if open_lots == 1 {
            self.shadows[at].remove(chosen);
            self.counters.cancels += 1;
            return (Command::Cancel { client_order: name }, client);
        }
        let by_lots = 1 + self.below(open_lots - 1);
        self.shadows[at].orders[chosen].open_lots -= by_lots;
        self.counters.reduces += 1;
        (
            Command::Reduce {
                client_order: name,
                by_lots,
            },
            client,
        )
    }
}

const fn new_order(
    kind: OrderKind,
    side: Side,
    instrument: InstrumentId,
    client_order: ClientOrderId,
    price_ticks: i64,
    size_lots: u64,
) -> Command {
    let self_trade = SelfTrade::Permit;
    Command::New {
        kind,
        side,
        self_trade,
        instrument,
        client_order,
        price_ticks,
        size_lots,
    }
}

impl OrderFlow for Generator {
    fn plan_next(&mut self, command: &mut Vec<u8>) -> Option<Planned> {
        let offset_ns = self.advance();
        let (next, client) = self.next_command();
        command.clear();
        next.encode(command);
        Some(Planned {
            offset_ns,
            sender: Sender::Client(client),
            lane: lane(command),
        })
    }

    fn counters(&self) -> &Counters {
        &self.counters
    }
}

#[cfg(test)]
mod tests;
