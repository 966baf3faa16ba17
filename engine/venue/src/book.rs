//! The ladder of one instrument.
//!
//! Owns the price levels and the queue of orders at each. Never: the orders themselves, which lie
//! in [`Orders`], nor who trades with whom, which is `matching`.
//!
//! A level is a doubly linked list through the arena, so joining, leaving and trading at the best
//! price cost one look-up of the level and nothing else. A level without orders does not exist.

use crate::commands::Side;
use crate::orders::{Handle, Link, NONE, Orders};
use std::collections::BTreeMap;

/// The queue at one price.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Level {
    pub(crate) first: Handle,
    last: Handle,
    /// Invariant: at least 1.
    pub(crate) count: u32,
    /// Sum of the open sizes. Fits: the limits bound orders times size.
    pub(crate) open_lots: u64,
}

/// Both sides of one instrument.
#[derive(Debug, Default)]
pub(crate) struct Book {
    bids: BTreeMap<i64, Level>,
    asks: BTreeMap<i64, Level>,
}

/// Whether an order of `side` that accepts `limit_ticks` trades with one resting at
/// `resting_ticks`.
pub(crate) const fn crosses(side: Side, limit_ticks: i64, resting_ticks: i64) -> bool {
    match side {
        Side::Buy => resting_ticks <= limit_ticks,
        Side::Sell => resting_ticks >= limit_ticks,
    }
}

impl Book {
    const fn levels(&self, side: Side) -> &BTreeMap<i64, Level> {
        match side {
            Side::Buy => &self.bids,
            Side::Sell => &self.asks,
        }
    }

    const fn levels_mut(&mut self, side: Side) -> &mut BTreeMap<i64, Level> {
        match side {
            Side::Buy => &mut self.bids,
            Side::Sell => &mut self.asks,
        }
    }

    /// How many levels the side has.
    pub(crate) fn level_count(&self, side: Side) -> usize {
        self.levels(side).len()
    }

    /// The level at this price.
    pub(crate) fn level(&self, side: Side, price_ticks: i64) -> Option<&Level> {
        self.levels(side).get(&price_ticks)
    }

    /// The level that trades first.
    pub(crate) fn best(&self, side: Side) -> Option<(i64, Level)> {
        let best = match side {
            Side::Buy => self.bids.last_key_value(),
            Side::Sell => self.asks.first_key_value(),
        };
        best.map(|(&price_ticks, &level)| (price_ticks, level))
    }

    /// The levels of a side from the best on.
    pub(crate) fn best_first(&self, side: Side) -> impl Iterator<Item = (i64, &Level)> {
        let ascending = (side == Side::Sell).then(|| self.asks.iter());
        let descending = (side == Side::Buy).then(|| self.bids.iter().rev());
        let levels = ascending
            .into_iter()
            .flatten()
            .chain(descending.into_iter().flatten());
        levels.map(|(&price_ticks, level)| (price_ticks, level))
    }

    /// Puts an order behind all others of its price.
    pub(crate) fn join(&mut self, orders: &mut Orders, handle: Handle) {
        let order = *orders.order(handle);
        let level = self
            .levels_mut(order.side)
            .entry(order.price_ticks)
            .or_insert(Level {
                first: NONE,
                last: NONE,
                count: 0,
                open_lots: 0,
            });
        let last = level.last;
        level.last = handle;
        level.count += 1;
        level.open_lots += order.open_lots;
        if last == NONE {
            level.first = handle;
        } else {
            orders.level_link_mut(last).after = handle;
        }
        *orders.level_link_mut(handle) = Link {
            before: last,
            after: NONE,
        };
    }

    /// Takes an order out of its queue, with all of its open size.
    pub(crate) fn leave(&mut self, orders: &mut Orders, handle: Handle) {
        let order = *orders.order(handle);
        let Link { before, after } = orders.level_link(handle);
        if before != NONE {
            orders.level_link_mut(before).after = after;
        }
        if after != NONE {
            orders.level_link_mut(after).before = before;
        }
        let levels = self.levels_mut(order.side);
        let Some(level) = levels.get_mut(&order.price_ticks) else {
            unreachable!("a resting order has a level");
        };
        level.count -= 1;
        level.open_lots -= order.open_lots;
        if level.first == handle {
            level.first = after;
        }
        if level.last == handle {
            level.last = before;
        }
        if level.count == 0 {
            levels.remove(&order.price_ticks);
        }
    }

    /// Makes an order smaller in its place; it must stay larger than zero.
    pub(crate) fn shrink(&mut self, orders: &mut Orders, handle: Handle, by_lots: u64) {
        let order = orders.order_mut(handle);
        debug_assert!(
            by_lots < order.open_lots,
            "an order that ends leaves instead"
        );
        order.open_lots -= by_lots;
        let (side, price_ticks) = (order.side, order.price_ticks);
        let Some(level) = self.levels_mut(side).get_mut(&price_ticks) else {
            unreachable!("a resting order has a level");
        };
        level.open_lots -= by_lots;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::ClientOrderId;
    use crate::instruments::InstrumentId;
    use crate::orders::Order;
    use crate::reports::OrderNumber;
    use quorate::state_machine::SessionId;

    fn rest(book: &mut Book, orders: &mut Orders, side: Side, number: u64, price: i64) -> Handle {
        let handle = orders.insert(Order {
            number: OrderNumber(number),
            session: SessionId([0; 16]),
            client_order: ClientOrderId(number),
            instrument: InstrumentId(0),
            side,
            price_ticks: price,
            open_lots: 10,
            executed_lots: 0,
        });
        book.join(orders, handle);
        handle
    }

    #[test]
    fn the_best_bid_is_the_highest_and_the_best_ask_the_lowest() {
        let (mut book, mut orders) = (Book::default(), Orders::default());
        for (number, price) in [(1, 5), (2, 9), (3, 7)] {
            rest(&mut book, &mut orders, Side::Buy, number, price);
            rest(&mut book, &mut orders, Side::Sell, number + 10, price + 100);
        }
        assert_eq!(book.best(Side::Buy).unwrap().0, 9);
        assert_eq!(book.best(Side::Sell).unwrap().0, 105);
        let prices = |side| {
            book.best_first(side)
                .map(|(price, _)| price)
                .collect::<Vec<_>>()
        };
        assert_eq!(prices(Side::Buy), [9, 7, 5]);
        assert_eq!(prices(Side::Sell), [105, 107, 109]);
    }

    #[test]
    fn a_queue_survives_the_leaving_of_any_member() {
        for leaver in 0..3_usize {
            let (mut book, mut orders) = (Book::default(), Orders::default());
            let handles: Vec<Handle> = (0..3)
                .map(|number| rest(&mut book, &mut orders, Side::Buy, number, 5))
                .collect();
            book.leave(&mut orders, handles[leaver]);
            orders.remove(handles[leaver]);
            let late = rest(&mut book, &mut orders, Side::Buy, 9, 5);
            let level = *book.level(Side::Buy, 5).unwrap();
            assert_eq!((level.count, level.open_lots), (3, 30));
            let mut queue = Vec::new();
            let mut handle = level.first;
            while handle != NONE {
                queue.push(orders.order(handle).number.0);
                handle = orders.level_link(handle).after;
            }
            let mut expected: Vec<u64> = (0..3).filter(|&n| n != leaver as u64).collect();
            expected.push(9);
            assert_eq!(queue, expected);
            assert_eq!(level.last, late);
        }
    }

    #[test]
    fn a_level_without_orders_is_gone() {
        let (mut book, mut orders) = (Book::default(), Orders::default());
        let handle = rest(&mut book, &mut orders, Side::Sell, 1, 5);
        book.shrink(&mut orders, handle, 4);
        assert_eq!(book.best(Side::Sell).unwrap().1.open_lots, 6);
        book.leave(&mut orders, handle);
        assert_eq!(book.level_count(Side::Sell), 0);
        assert_eq!(book.best(Side::Sell), None);
    }
}
