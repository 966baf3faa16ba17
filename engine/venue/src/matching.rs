//! How an incoming order meets the book.
//!
//! Owns the orders and the books together, so that every change of one is a change of the other
//! and is noted for the root. Never: whether a command may be done at all, which
//! [`venue`](crate::venue) decides before it calls anything here that changes state.
//!
//! An incoming order takes the best price first and at each price the lowest order number, at
//! the price of the resting order.

use crate::book::{Book, crosses};
use crate::clearing::{ClearedTrade, Clearing};
use crate::commands::{ClientOrderId, SelfTrade, Side};
use crate::instruments::InstrumentId;
use crate::orders::{Handle, NONE, Order, Orders};
use crate::refusal::Refusal;
use crate::reports::{CancelReason, Desk, OrderNumber, PublicEvent, Role, SessionReport};
use crate::roots::OrderTree;
use quorate::state_machine::SessionId;
use std::collections::BTreeMap;

/// All orders and books, and the numbers that will be given next.
#[derive(Debug)]
pub(crate) struct Market {
    pub(crate) orders: Orders,
    pub(crate) books: Vec<Book>,
    pub(crate) tree: OrderTree,
    /// The number of the next order; from 1.
    pub(crate) order_next: u64,
    /// The number of the next trade; from 1.
    pub(crate) trade_next: u64,
    /// Accounts, feeds and series, if the venue keeps them: what trades here moves there.
    pub(crate) clearing: Option<Box<Clearing>>,
}

/// Orders and trades whose numbers must be left for a command to be taken: more than one command
/// can use up.
const NUMBERS_LEFT_MIN: u64 = 1 << 32;

const _: () = assert!(NUMBERS_LEFT_MIN > crate::config::ORDERS_MAX as u64);

/// An order on its way into the book.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Incoming {
    pub(crate) session: SessionId,
    pub(crate) client_order: ClientOrderId,
    pub(crate) number: OrderNumber,
    pub(crate) instrument: InstrumentId,
    pub(crate) side: Side,
    pub(crate) self_trade: SelfTrade,
    /// The worst price it accepts.
    pub(crate) limit_ticks: i64,
    pub(crate) open_lots: u64,
    pub(crate) executed_lots: u64,
}

/// Why an incoming order stopped taking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// It is filled.
    Filled,
    /// Nothing is left at its price.
    NothingLeft,
    /// It met an order of its own session, and had chosen to stop there.
    SelfTrade,
}

impl Market {
    /// Empty books of this many instruments.
    pub(crate) fn new(instrument_count: usize, clearing: Option<Box<Clearing>>) -> Self {
        Self {
            orders: Orders::default(),
            books: (0..instrument_count).map(|_| Book::default()).collect(),
            tree: OrderTree::default(),
            order_next: 1,
            trade_next: 1,
            clearing,
        }
    }

    /// Whether so few numbers are left that no command is taken any more.
    pub(crate) const fn numbers_exhausted(&self) -> bool {
        let last = u64::MAX - NUMBERS_LEFT_MIN;
        self.order_next > last || self.trade_next > last
    }

    /// The accounts, if there are any.
    pub(crate) fn clearing_mut(&mut self) -> Result<&mut Clearing, Refusal> {
        self.clearing.as_deref_mut().ok_or(Refusal::NoAccounts)
    }

    /// Whether an instrument is an option series.
    pub(crate) fn is_series(&self, id: InstrumentId) -> bool {
        let clearing = self.clearing.as_ref();
        clearing.is_some_and(|clearing| clearing.series.get(id).is_some())
    }

    pub(crate) fn book(&self, instrument: InstrumentId) -> &Book {
        &self.books[instrument.0 as usize]
    }

    /// Whether the order would take anything now, or meet an order of its own session.
    pub(crate) fn would_take(&self, incoming: &Incoming) -> bool {
        let best = self
            .book(incoming.instrument)
            .best(incoming.side.opposite());
        best.is_some_and(|(price, _)| crosses(incoming.side, incoming.limit_ticks, price))
    }

    /// How the order would end if it took now; changes nothing.
    pub(crate) fn foresee(&self, incoming: &Incoming) -> End {
        self.look_ahead(incoming).0
    }

    /// The same, and how many resting orders it looked at. To ask so costs a client nothing,
    /// so whole levels are counted; looked at are the own orders, unless they may be traded with,
    /// and the queue before one of these where that decides.
    fn look_ahead(&self, incoming: &Incoming) -> (End, usize) {
        let (own, mut looked) = self.own_crossing(incoming);
        let mut open_lots = incoming.open_lots;
        let book = self.book(incoming.instrument);
        for (price, level) in book.best_first(incoming.side.opposite()) {
            if !crosses(incoming.side, incoming.limit_ticks, price) {
                break;
            }
            let own_lots = own.get(&price).copied().unwrap_or_default();
            let theirs = level.open_lots - own_lots;
            if own_lots > 0 && incoming.self_trade == SelfTrade::CancelIncoming {
                if open_lots > theirs {
                    return (End::SelfTrade, looked);
                }
                let mut handle = level.first;
                while open_lots > 0 {
                    looked += 1;
                    let resting = self.orders.order(handle);
                    if resting.session == incoming.session {
                        return (End::SelfTrade, looked);
                    }
                    open_lots = open_lots.saturating_sub(resting.open_lots);
                    handle = self.orders.level_link(handle).after;
                }
            }
            open_lots = open_lots.saturating_sub(theirs);
            if open_lots == 0 {
                return (End::Filled, looked);
            }
        }
        (End::NothingLeft, looked)
    }

    /// What the session of an order has open at each price that the order crosses and must not
    /// trade at; and how many of its orders were looked at.
    fn own_crossing(&self, incoming: &Incoming) -> (BTreeMap<i64, u64>, usize) {
        let mut own = BTreeMap::new();
        let mut looked = 0;
        if incoming.self_trade == SelfTrade::Permit || !self.would_take(incoming) {
            return (own, looked);
        }
        let mut handle = self.orders.session_first(incoming.session);
        while handle != NONE {
            looked += 1;
            let order = self.orders.order(handle);
            let meets = order.instrument == incoming.instrument
                && order.side != incoming.side
                && crosses(incoming.side, incoming.limit_ticks, order.price_ticks);
            if meets {
                *own.entry(order.price_ticks).or_default() += order.open_lots;
            }
            handle = self.orders.session_next(handle);
        }
        (own, looked)
    }

    /// Lets the order take all it can, and tells of it.
    pub(crate) fn take(&mut self, incoming: &mut Incoming, desk: &mut Desk<'_>) -> End {
        while incoming.open_lots > 0 {
            let best = self
                .book(incoming.instrument)
                .best(incoming.side.opposite());
            let Some((price_ticks, level)) = best else {
                return End::NothingLeft;
            };
            if !crosses(incoming.side, incoming.limit_ticks, price_ticks) {
                return End::NothingLeft;
            }
            let resting = *self.orders.order(level.first);
            if resting.session == incoming.session {
                match incoming.self_trade {
                    SelfTrade::CancelIncoming => return End::SelfTrade,
                    SelfTrade::CancelResting => {
                        self.cancel(level.first, CancelReason::SelfTrade, desk);
                        continue;
                    }
                    SelfTrade::Permit => {}
                }
            }
            self.trade(incoming, level.first, &resting, desk);
        }
        End::Filled
    }

    fn trade(
        &mut self,
        incoming: &mut Incoming,
        handle: Handle,
        resting: &Order,
        desk: &mut Desk<'_>,
    ) {
        let size_lots = incoming.open_lots.min(resting.open_lots);
        let resting_open_lots = resting.open_lots - size_lots;
        let price_ticks = resting.price_ticks;
        let trade = self.trade_next;
        self.trade_next += 1;
        incoming.open_lots -= size_lots;
        incoming.executed_lots += size_lots;
        self.orders.order_mut(handle).executed_lots += size_lots;
        if resting_open_lots == 0 {
            self.remove(handle);
        } else {
            self.shrink(handle, size_lots);
        }
        desk.publish(&PublicEvent::Traded {
            instrument: incoming.instrument,
            trade,
            resting: resting.number,
            incoming: incoming.number,
            incoming_side: incoming.side,
            price_ticks,
            size_lots,
            resting_open_lots,
        });
        let executed = |client_order, order, role, open_lots| SessionReport::Executed {
            client_order,
            order,
            trade,
            role,
            price_ticks,
            size_lots,
            open_lots,
        };
        let of_resting = executed(
            resting.client_order,
            resting.number,
            Role::Resting,
            resting_open_lots,
        );
        desk.tell(resting.session, &of_resting);
        let of_incoming = executed(
            incoming.client_order,
            incoming.number,
            Role::Incoming,
            incoming.open_lots,
        );
        desk.tell(incoming.session, &of_incoming);
        if let Some(clearing) = &mut self.clearing {
            let (buyer, seller) = match incoming.side {
                Side::Buy => (incoming.session, resting.session),
                Side::Sell => (resting.session, incoming.session),
            };
            let trade = ClearedTrade {
                instrument: incoming.instrument,
                buyer,
                seller,
                price_ticks,
                size_lots,
            };
            clearing.traded(&trade, desk);
        }
    }

    /// Puts what is open of the order into the book, and tells of it.
    pub(crate) fn rest(&mut self, incoming: &Incoming, desk: &mut Desk<'_>) {
        self.add(Order {
            number: incoming.number,
            session: incoming.session,
            client_order: incoming.client_order,
            instrument: incoming.instrument,
            side: incoming.side,
            price_ticks: incoming.limit_ticks,
            open_lots: incoming.open_lots,
            executed_lots: incoming.executed_lots,
        });
        desk.publish(&PublicEvent::Added {
            instrument: incoming.instrument,
            order: incoming.number,
            side: incoming.side,
            price_ticks: incoming.limit_ticks,
            open_lots: incoming.open_lots,
        });
    }

    /// Puts an order into the arena and the book, silently.
    pub(crate) fn add(&mut self, order: Order) {
        let handle = self.orders.insert(order);
        self.books[order.instrument.0 as usize].join(&mut self.orders, handle);
        self.tree.touch(order.number, handle);
        if let Some(clearing) = &mut self.clearing {
            clearing.rested(&order);
        }
    }

    /// Takes an order out of the book and the arena, silently.
    pub(crate) fn remove(&mut self, handle: Handle) -> Order {
        let instrument = self.orders.order(handle).instrument;
        self.books[instrument.0 as usize].leave(&mut self.orders, handle);
        let order = self.orders.remove(handle);
        self.tree.touch(order.number, handle);
        if let Some(clearing) = &mut self.clearing {
            clearing.left(&order, order.open_lots);
        }
        order
    }

    /// Makes an order smaller in its place, silently.
    pub(crate) fn shrink(&mut self, handle: Handle, by_lots: u64) {
        let order = *self.orders.order(handle);
        self.books[order.instrument.0 as usize].shrink(&mut self.orders, handle, by_lots);
        self.tree.touch(order.number, handle);
        if let Some(clearing) = &mut self.clearing {
            clearing.left(&order, by_lots);
        }
    }

    /// Takes an order out of the book, and tells its session and everyone.
    pub(crate) fn cancel(&mut self, handle: Handle, reason: CancelReason, desk: &mut Desk<'_>) {
        let order = self.remove(handle);
        let report = SessionReport::Cancelled {
            client_order: order.client_order,
            order: order.number,
            size_lots: order.open_lots,
            reason,
        };
        desk.tell(order.session, &report);
        desk.publish(&PublicEvent::Removed {
            instrument: order.instrument,
            order: order.number,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A thousand asks of one lot by session 1, behind them at the same price one of session 2.
    fn market() -> Market {
        let mut market = Market::new(1, None);
        for number in 1..=1_001 {
            market.add(Order {
                number: OrderNumber(number),
                session: SessionId([if number <= 1_000 { 1 } else { 2 }; 16]),
                client_order: ClientOrderId(number),
                instrument: InstrumentId(0),
                side: Side::Sell,
                price_ticks: 5,
                open_lots: 1,
                executed_lots: 0,
            });
        }
        market
    }

    fn bid(session: u8, self_trade: SelfTrade, open_lots: u64) -> Incoming {
        Incoming {
            session: SessionId([session; 16]),
            client_order: ClientOrderId(1),
            number: OrderNumber(2_000),
            instrument: InstrumentId(0),
            side: Side::Buy,
            self_trade,
            limit_ticks: 5,
            open_lots,
            executed_lots: 0,
        }
    }

    #[test]
    fn what_an_order_would_come_to_is_foreseen_without_a_look_at_every_order() {
        let market = market();
        let looks = |session, self_trade, lots| market.look_ahead(&bid(session, self_trade, lots));
        for self_trade in SelfTrade::ALL {
            let stranger = looks(3, *self_trade, 1_001);
            assert_eq!(stranger, (End::Filled, 0), "{self_trade:?}");
            let more = looks(3, *self_trade, 1_002);
            assert_eq!(more, (End::NothingLeft, 0), "{self_trade:?}");
        }
        assert_eq!(looks(2, SelfTrade::Permit, 1_001), (End::Filled, 0));
        assert_eq!(looks(2, SelfTrade::CancelResting, 1_000), (End::Filled, 1));
        let short = looks(2, SelfTrade::CancelResting, 1_001);
        assert_eq!(short, (End::NothingLeft, 1));
        let own = looks(2, SelfTrade::CancelIncoming, 1_001);
        assert_eq!(own, (End::SelfTrade, 1), "all others are not enough");
        let before = looks(2, SelfTrade::CancelIncoming, 7);
        assert_eq!(before, (End::Filled, 8), "seven stand before the own one");
    }
}
