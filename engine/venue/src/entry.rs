//! How an order comes in, new or in the place of another.
//!
//! Owns the checks of such an order, in a fixed order, and what follows from its kind. Never: the
//! taking itself, which is `matching`'s; nor a change of state before the last check has passed.
//!
//! The checks of a new order, the first that fails being the refusal: the bytes, the lane, the
//! instrument, its status, the size, the price, the name, what the kind of the order asks of the
//! book, the limits, and last, in a series, what its account can stand behind. The limits are
//! those of the state as the order finds it: an order that would rest is refused by a full limit
//! even where its own trades would have made room. What it would come to is foreseen within a
//! bound of levels and orders; beyond it a fill-or-kill order is refused, and so is, where a limit
//! is full, one that might rest.

use crate::commands::{Command, OrderKind, Side};
use crate::instruments::{InstrumentId, Status};
use crate::margin::Asked;
use crate::matching::{End, Incoming, TooFar};
use crate::orders::Handle;
use crate::refusal::Refusal;
use crate::reports::{CancelReason, Desk, OrderNumber, PublicEvent, SessionReport};
use crate::venue::Venue;
use quorate::state_machine::Context;

/// What a new order and a replacement have in common.
#[derive(Clone, Copy, Debug)]
struct Entry {
    incoming: Incoming,
    kind: OrderKind,
    /// The order that goes when this one comes.
    replaced: Option<Handle>,
}

impl Venue {
    pub(crate) fn enter(
        &mut self,
        context: &Context,
        command: &Command,
        desk: &mut Desk<'_>,
    ) -> Result<(), Refusal> {
        let Command::New {
            kind,
            side,
            self_trade,
            instrument,
            client_order,
            price_ticks,
            size_lots,
        } = *command
        else {
            return Err(Refusal::Malformed);
        };
        self.check_terms(instrument, kind, price_ticks, size_lots)?;
        if self
            .market
            .orders
            .find(context.session, client_order)
            .is_some()
        {
            return Err(Refusal::DuplicateClientOrder);
        }
        let limit_ticks = match (kind, side) {
            (OrderKind::Market, Side::Buy) => i64::MAX,
            (OrderKind::Market, Side::Sell) => i64::MIN,
            _ => price_ticks,
        };
        let incoming = Incoming {
            session: context.session,
            client_order,
            number: OrderNumber(self.market.order_next),
            instrument,
            side,
            self_trade,
            limit_ticks,
            open_lots: size_lots,
            executed_lots: 0,
        };
        let entry = Entry {
            incoming,
            kind,
            replaced: None,
        };
        self.check_entry(&entry)?;
        let report = SessionReport::Accepted {
            client_order,
            order: incoming.number,
            instrument,
            side,
            kind,
            price_ticks,
            size_lots,
        };
        desk.tell(context.session, &report);
        self.execute(entry, desk);
        Ok(())
    }

    pub(crate) fn replace(
        &mut self,
        context: &Context,
        command: &Command,
        desk: &mut Desk<'_>,
    ) -> Result<(), Refusal> {
        let Command::Replace {
            kind,
            self_trade,
            client_order: replaced,
            new_client_order: client_order,
            price_ticks,
            size_lots,
        } = *command
        else {
            return Err(Refusal::Malformed);
        };
        let handle = self.find(context, replaced)?;
        let old = *self.market.orders.order(handle);
        self.check_terms(old.instrument, kind, price_ticks, size_lots)?;
        if client_order != replaced
            && self
                .market
                .orders
                .find(context.session, client_order)
                .is_some()
        {
            return Err(Refusal::DuplicateClientOrder);
        }
        let open_lots = size_lots.saturating_sub(old.executed_lots);
        if open_lots == 0 {
            return Err(Refusal::SizeNotAboveExecuted);
        }
        let incoming = Incoming {
            session: context.session,
            client_order,
            number: OrderNumber(self.market.order_next),
            instrument: old.instrument,
            side: old.side,
            self_trade,
            limit_ticks: price_ticks,
            open_lots,
            executed_lots: old.executed_lots,
        };
        let entry = Entry {
            incoming,
            kind,
            replaced: Some(handle),
        };
        self.check_entry(&entry)?;
        self.market.remove(handle);
        let order = incoming.number;
        desk.tell(
            context.session,
            &SessionReport::Replaced {
                replaced,
                client_order,
                order,
                kind,
                price_ticks,
                open_lots,
            },
        );
        desk.publish(&PublicEvent::Removed {
            instrument: old.instrument,
            order: old.number,
        });
        self.execute(entry, desk);
        Ok(())
    }

    /// Checks what can be checked without looking at the book.
    fn check_terms(
        &self,
        instrument: InstrumentId,
        kind: OrderKind,
        price_ticks: i64,
        size_lots: u64,
    ) -> Result<(), Refusal> {
        let listing = self.listing(instrument)?;
        let clearing = self.market.clearing.as_ref();
        let closed = clearing.and_then(|clearing| clearing.closed(instrument));
        if listing.status == Status::Halted {
            Err(Refusal::Halted)
        } else if let Some(refusal) = closed {
            Err(refusal)
        } else if kind == OrderKind::Market && self.market.is_series(instrument) {
            Err(Refusal::MarketInSeries)
        } else if size_lots == 0 {
            Err(Refusal::SizeZero)
        } else if size_lots > listing.instrument.size_lots_max {
            Err(Refusal::SizeAboveMax)
        } else if kind != OrderKind::Market && !listing.instrument.allows_price(price_ticks) {
            Err(Refusal::PriceOutOfBounds)
        } else {
            Ok(())
        }
    }

    /// Checks what the kind of the order asks of the book, the limits and the numbers.
    fn check_entry(&self, entry: &Entry) -> Result<(), Refusal> {
        let incoming = &entry.incoming;
        match entry.kind {
            OrderKind::PostOnly if self.market.would_take(incoming) => {
                return Err(Refusal::WouldTake);
            }
            OrderKind::FillOrKill => match self.market.foresee(incoming) {
                Ok(End::Filled) => {}
                Ok(_) => return Err(Refusal::NotFillable),
                Err(TooFar) => return Err(Refusal::TooDeep),
            },
            _ => {}
        }
        if let Some(full) = self.full(entry)
            && entry.kind.may_rest()
            // One that is not seen to need no room might need it.
            && matches!(self.market.foresee(incoming), Ok(End::NothingLeft) | Err(TooFar))
        {
            return Err(full);
        }
        self.check_account(entry)?;
        if self.market.numbers_exhausted() {
            return Err(Refusal::NumbersExhausted);
        }
        Ok(())
    }

    /// Checks that the account of an order in a series can stand behind it.
    fn check_account(&self, entry: &Entry) -> Result<(), Refusal> {
        let incoming = &entry.incoming;
        let Some(clearing) = &self.market.clearing else {
            return Ok(());
        };
        if !self.market.is_series(incoming.instrument) {
            return Ok(());
        }
        let index = clearing.accounts.find(incoming.session);
        let account = clearing.accounts.get(index.ok_or(Refusal::UnknownAccount)?);
        let asked = Asked {
            instrument: incoming.instrument,
            side: incoming.side,
            price_ticks: incoming.limit_ticks,
            size_lots: incoming.open_lots,
            replaced: entry
                .replaced
                .map(|handle| *self.market.orders.order(handle)),
        };
        clearing.check_order(account, &asked)
    }

    /// The limit that leaves no room for the order to rest, if there is one.
    fn full(&self, entry: &Entry) -> Option<Refusal> {
        let Incoming {
            session,
            instrument,
            side,
            limit_ticks,
            ..
        } = entry.incoming;
        let market = &self.market;
        let book = market.book(instrument);
        // A replaced order leaves a place to its successor, but its level only if it stood alone.
        let level_freed = entry.replaced.is_some_and(|handle| {
            let price_ticks = market.orders.order(handle).price_ticks;
            book.level(side, price_ticks)
                .is_some_and(|level| level.count == 1)
        });
        let levels = book.level_count(side) - usize::from(level_freed);
        if entry.replaced.is_none() {
            if market.orders.session_count(session) >= self.limits.orders_per_session_max {
                return Some(Refusal::SessionOrdersFull);
            }
            if market.orders.len() >= self.limits.orders_max as usize {
                return Some(Refusal::OrdersFull);
            }
        }
        let level_needed = book.level(side, limit_ticks).is_none();
        let levels_full = levels >= self.limits.levels_per_side_max as usize;
        (level_needed && levels_full).then_some(Refusal::LevelsFull)
    }

    /// Lets a checked order take and rest.
    fn execute(&mut self, entry: Entry, desk: &mut Desk<'_>) {
        let Entry {
            mut incoming, kind, ..
        } = entry;
        self.market.order_next += 1;
        let reason = match self.market.take(&mut incoming, desk) {
            End::Filled => return,
            End::NothingLeft if kind.may_rest() => {
                self.market.rest(&incoming, desk);
                return;
            }
            End::NothingLeft => CancelReason::Unfilled,
            End::SelfTrade => CancelReason::SelfTrade,
        };
        let report = SessionReport::Cancelled {
            client_order: incoming.client_order,
            order: incoming.number,
            size_lots: incoming.open_lots,
            reason,
        };
        desk.tell(incoming.session, &report);
    }
}
