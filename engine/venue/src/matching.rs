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
use crate::config::LOOKS_MAX;
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

/// How an order would end is not seen within [`LOOKS_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooFar;

/// How many levels and orders were looked at for one order, together.
#[derive(Debug, Default)]
struct Looks(u32);

impl Looks {
    fn one(&mut self) -> Result<(), TooFar> {
        if self.0 == LOOKS_MAX {
            return Err(TooFar);
        }
        self.0 += 1;
        Ok(())
    }
}

/// Open orders of a session that are looked through, all of them; where it has more, the queues
/// are walked instead. Half, so that as much is left for the levels.
const OWN_LOOKS_MAX: u32 = LOOKS_MAX / 2;

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
    ///
    /// # Errors
    ///
    /// [`TooFar`] if that is not seen within [`LOOKS_MAX`] levels and orders.
    pub(crate) fn foresee(&self, incoming: &Incoming) -> Result<End, TooFar> {
        self.look_ahead(incoming, &mut Looks::default())
    }

    /// The same, with what it looked at. To ask so costs a client nothing, so whole levels are
    /// counted where that will do. Looked at are the own orders, if they are few, and the queue
    /// before one of these where that decides; the whole queue, if the own orders are many.
    fn look_ahead(&self, incoming: &Incoming, looks: &mut Looks) -> Result<End, TooFar> {
        let own = self.own_crossing(incoming, looks)?;
        let stops_at_own = incoming.self_trade == SelfTrade::CancelIncoming;
        let mut open_lots = incoming.open_lots;
        let book = self.book(incoming.instrument);
        for (price, level) in book.best_first(incoming.side.opposite()) {
            if !crosses(incoming.side, incoming.limit_ticks, price) {
                break;
            }
            looks.one()?;
            let own_lots = own.as_ref().map(|own| own.get(&price).copied());
            open_lots = match own_lots.map(Option::unwrap_or_default) {
                Some(0) => open_lots.saturating_sub(level.open_lots),
                Some(own) if !stops_at_own => open_lots.saturating_sub(level.open_lots - own),
                Some(own) if open_lots > level.open_lots - own => return Ok(End::SelfTrade),
                _ => match self.walk(incoming, level.first, open_lots, looks)? {
                    Some(open_lots) => open_lots,
                    None => return Ok(End::SelfTrade),
                },
            };
            if open_lots == 0 {
                return Ok(End::Filled);
            }
        }
        Ok(End::NothingLeft)
    }

    /// What the session of an order has open at each price that the order crosses and must not
    /// trade at; nothing if it has so many orders that they are not looked through.
    fn own_crossing(
        &self,
        incoming: &Incoming,
        looks: &mut Looks,
    ) -> Result<Option<BTreeMap<i64, u64>>, TooFar> {
        let mut own = BTreeMap::new();
        if incoming.self_trade == SelfTrade::Permit || !self.would_take(incoming) {
            return Ok(Some(own));
        }
        if self.orders.session_count(incoming.session) > OWN_LOOKS_MAX {
            return Ok(None);
        }
        for handle in self.orders.of(incoming.session) {
            looks.one()?;
            let order = self.orders.order(handle);
            let meets = order.instrument == incoming.instrument
                && order.side != incoming.side
                && crosses(incoming.side, incoming.limit_ticks, order.price_ticks);
            if meets {
                *own.entry(order.price_ticks).or_default() += order.open_lots;
            }
        }
        Ok(Some(own))
    }

    /// What is left of these lots behind the queue that begins here; nothing if the order meets
    /// one of its own before and is to stop there.
    fn walk(
        &self,
        incoming: &Incoming,
        first: Handle,
        mut open_lots: u64,
        looks: &mut Looks,
    ) -> Result<Option<u64>, TooFar> {
        let mut handle = first;
        while open_lots > 0 && handle != NONE {
            looks.one()?;
            let resting = self.orders.order(handle);
            if resting.session != incoming.session {
                open_lots = open_lots.saturating_sub(resting.open_lots);
            } else if incoming.self_trade == SelfTrade::CancelIncoming {
                return Ok(None);
            }
            handle = self.orders.level_link(handle).after;
        }
        Ok(Some(open_lots))
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
            market.add(ask(number, if number <= 1_000 { 1 } else { 2 }, 5));
        }
        market
    }

    fn ask(number: u64, session: u8, price_ticks: i64) -> Order {
        Order {
            number: OrderNumber(number),
            session: SessionId([session; 16]),
            client_order: ClientOrderId(number),
            instrument: InstrumentId(0),
            side: Side::Sell,
            price_ticks,
            open_lots: 1,
            executed_lots: 0,
        }
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

    fn look(market: &Market, incoming: &Incoming) -> (Result<End, TooFar>, u32) {
        let mut looks = Looks::default();
        (market.look_ahead(incoming, &mut looks), looks.0)
    }

    #[test]
    fn what_an_order_would_come_to_is_foreseen_without_a_look_at_every_order() {
        let market = market();
        let looks = |session, self_trade, lots| {
            let (end, looked) = look(&market, &bid(session, self_trade, lots));
            (end.unwrap(), looked)
        };
        for self_trade in SelfTrade::ALL {
            let stranger = looks(3, *self_trade, 1_001);
            assert_eq!(stranger, (End::Filled, 1), "{self_trade:?}");
            let more = looks(3, *self_trade, 1_002);
            assert_eq!(more, (End::NothingLeft, 1), "{self_trade:?}");
        }
        assert_eq!(looks(2, SelfTrade::Permit, 1_001), (End::Filled, 1));
        assert_eq!(looks(2, SelfTrade::CancelResting, 1_000), (End::Filled, 2));
        let short = looks(2, SelfTrade::CancelResting, 1_001);
        assert_eq!(short, (End::NothingLeft, 2));
        let own = looks(2, SelfTrade::CancelIncoming, 1_001);
        assert_eq!(own, (End::SelfTrade, 2), "all others are not enough");
        let before = looks(2, SelfTrade::CancelIncoming, 7);
        assert_eq!(before, (End::Filled, 9), "seven stand before the own one");
    }

    /// An ask of one lot by session 1 at each price from 1 on.
    fn ladder(levels: u64) -> Market {
        let mut market = Market::new(1, None);
        for number in 1..=levels {
            market.add(ask(number, 1, number.cast_signed()));
        }
        market
    }

    #[test]
    fn no_order_looks_at_more_than_the_bound_whoever_asks_and_whatever_it_does_with_its_own() {
        let market = ladder(65_536);
        for session in [1, 3] {
            for &self_trade in SelfTrade::ALL {
                let all = Incoming {
                    limit_ticks: i64::MAX,
                    ..bid(session, self_trade, 65_536)
                };
                let stops = session == 1 && self_trade == SelfTrade::CancelIncoming;
                let expected = match stops {
                    // Its first look is at the best level, the second at its own order there.
                    true => (Ok(End::SelfTrade), 2),
                    false => (Err(TooFar), LOOKS_MAX),
                };
                assert_eq!(look(&market, &all), expected, "{session} {self_trade:?}");
            }
        }
        let most = |open_lots| Incoming {
            limit_ticks: i64::MAX,
            ..bid(3, SelfTrade::CancelIncoming, open_lots)
        };
        assert_eq!(look(&market, &most(1_024)), (Ok(End::Filled), 1_024));
        assert_eq!(look(&market, &most(1_025)), (Err(TooFar), 1_024));
    }

    #[test]
    fn who_has_many_orders_elsewhere_still_foresees_and_a_long_queue_is_not_walked_whole() {
        let mut market = ladder(10);
        for number in 0..2_000 {
            market.add(ask(10_000 + number, 2, 1_000_000));
            market.add(ask(20_000 + number, 4, 11));
        }
        market.add(ask(30_000, 5, 11));
        let at = |session, limit_ticks, open_lots| Incoming {
            limit_ticks,
            ..bid(session, SelfTrade::CancelIncoming, open_lots)
        };
        // Ten levels, and the order at each.
        assert_eq!(look(&market, &at(2, 10, 10)), (Ok(End::Filled), 20));
        assert_eq!(look(&market, &at(2, 10, 11)), (Ok(End::NothingLeft), 20));
        // One own order and eleven levels, and of the queue before it what is left.
        assert_eq!(look(&market, &at(5, 11, 110)), (Ok(End::Filled), 112));
        assert_eq!(look(&market, &at(5, 11, 2_010)), (Err(TooFar), LOOKS_MAX));
        assert_eq!(look(&market, &at(5, 11, 2_011)), (Ok(End::SelfTrade), 12));
    }

    #[test]
    fn few_own_orders_are_all_looked_through_and_of_many_none_is_but_in_the_queue() {
        for own in [OWN_LOOKS_MAX, OWN_LOOKS_MAX + 1] {
            let mut market = Market::new(1, None);
            market.add(ask(1, 3, 1));
            for number in 0..u64::from(own) {
                market.add(ask(10 + number, 1, 2 + number.cast_signed()));
            }
            let few = own == OWN_LOOKS_MAX;
            for (self_trade, open_lots, end, looked) in [
                (SelfTrade::CancelResting, 1, End::Filled, 1),
                (SelfTrade::CancelIncoming, 1, End::Filled, 1),
                (SelfTrade::CancelIncoming, 2, End::SelfTrade, 2),
            ] {
                let incoming = Incoming {
                    limit_ticks: i64::MAX,
                    ..bid(1, self_trade, open_lots)
                };
                let looked = looked + if few { own } else { looked };
                assert_eq!(look(&market, &incoming), (Ok(end), looked), "{own}");
            }
        }
    }
}
