//! The traders' orders.
//!
//! Owns who quotes and who takes, and the names of the orders. Never: what a session holds, which
//! the book keeps from what it is told.

use quorate_venue::{ClientOrderId, Command, InstrumentId, OrderKind, SelfTrade, Side};
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

use super::TRADERS;
use super::market::LOTS_MAX;

/// What the writer of an option asks above its worth at most.
const PREMIUM_MAX: u64 = 50;

/// An order of a trader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Order {
    /// Whose, from 0.
    pub(super) trader: usize,
    pub(super) command: Command,
}

#[derive(Debug)]
pub(super) struct Desk {
    noise: ChaCha8Rng,
    named: u64,
}

impl Desk {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            // Another stream than that of the walk of the same seed.
            noise: ChaCha8Rng::seed_from_u64(!seed),
            named: 0,
        }
    }

    /// One trader writes lots of a series somewhat above their worth, another buys them.
    pub(super) fn trade(&mut self, instrument: InstrumentId, intrinsic: i64) -> [Order; 2] {
        let writer = self.below(TRADERS as u64);
        let buyer = (writer + 1 + self.below(TRADERS as u64 - 1)) % TRADERS as u64;
        let price_ticks = intrinsic + 1 + self.below(PREMIUM_MAX).cast_signed();
        let size_lots = 1 + self.below(LOTS_MAX);
        let mut order = |trader: u64, side| {
            self.named += 1;
            Order {
                trader: usize::try_from(trader).unwrap_or(0),
                command: Command::New {
                    kind: OrderKind::Limit,
                    side,
                    self_trade: SelfTrade::CancelResting,
                    instrument,
                    client_order: ClientOrderId(self.named),
                    price_ticks,
                    size_lots,
                },
            }
        };
        [order(writer, Side::Sell), order(buyer, Side::Buy)]
    }

    /// A number below `bound`, which is not zero.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.noise.next_u64()) * u128::from(bound)) >> 64) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_different_traders_meet_at_one_price() {
        let mut desk = Desk::new(7);
        for _ in 0..1_000 {
            let [sell, buy] = desk.trade(InstrumentId(3), 100);
            assert_ne!(sell.trader, buy.trader);
            assert!(sell.trader < TRADERS && buy.trader < TRADERS);
            let terms = |order: Order| match order.command {
                Command::New {
                    price_ticks,
                    size_lots,
                    ..
                } => (price_ticks, size_lots),
                other => panic!("{other:?}"),
            };
            assert_eq!(terms(sell), terms(buy));
            assert!((101..=150).contains(&terms(sell).0) && terms(sell).1 <= LOTS_MAX);
        }
    }
}
