//! What happens to an account that has less than it must.
//!
//! Owns the waterfall. Never: when margins are measured; that is after every price that is taken,
//! and after every payment that an account made without having asked for it.
//!
//! An account with less cash than its bids cost and than its maintenance requirement would be if
//! all its asks were taken loses its orders; with less than its maintenance requirement it is
//! liquidated. Of accounts that are measured together all come through step 1 before one comes to
//! step 2, so that nobody buys back from asks that nobody stands behind. Each leaves at the first
//! step after which it has enough:
//!
//! 1. its orders in all series are cancelled;
//! 2. for one series after another, by id, where it is short and the price can be used:
//!    1. it buys back from the book, at no more for a lot than the maintenance margin of a lot,
//!       and at no more in all than its cash;
//!    2. what is left goes to the fund together with the maintenance margin of it, as far as the
//!       account has that, provided that the fund then has the maintenance margin of all it is
//!       short;
//!    3. otherwise it is closed against the long accounts, in proportion, at intrinsic value: the
//!       account pays as far as its cash goes, then the fund, and the rest is the loss of the long
//!       accounts.
//!
//! A series whose price cannot be used, or that has expired, is left alone.

use crate::accounts::{AccountIndex, FUND};
use crate::clearing::{Change, Clearing};
use crate::commands::{ClientOrderId, SelfTrade, Side};
use crate::feeds::FeedId;
use crate::instruments::{InstrumentId, Status};
use crate::margin::lot_margin;
use crate::matching::Incoming;
use crate::orders::Handle;
use crate::reports::{
    CancelReason, Desk, LiquidationStep, OrderNumber, PositionCause, PublicEvent,
};
use crate::series::{Series, SeriesState};
use crate::settlement::{claims, share_lots};
use crate::venue::Venue;

impl Clearing {
    /// What the account has above its maintenance requirement; below zero it must be liquidated.
    fn surplus(&self, index: AccountIndex) -> i128 {
        let account = self.accounts.get(index);
        i128::from(account.cash) - self.maintenance(account)
    }

    /// The series that the account can be liquidated in next, with the price of its feed: the
    /// first after `after`.
    fn liquidable(
        &self,
        index: AccountIndex,
        after: Option<InstrumentId>,
    ) -> Option<(InstrumentId, Series, i64)> {
        let holdings = self.accounts.get(index).holdings.iter();
        let mut short = holdings
            .filter(|&(&id, holding)| holding.short() > 0 && after.is_none_or(|after| id > after));
        short.find_map(|(&id, _)| {
            let series = *self.series.get(id)?;
            let price = self.feed_of(&series).usable()?;
            (series.state == SeriesState::Trading).then_some((id, series, price))
        })
    }
}

impl Venue {
    /// The accounts that are short in a series of one of these feeds, or would be if their asks
    /// were taken.
    pub(crate) fn exposed(&self, feeds: &[FeedId]) -> Vec<AccountIndex> {
        let Some(clearing) = self.market.clearing.as_ref().filter(|_| !feeds.is_empty()) else {
            return Vec::new();
        };
        let of_feeds = |id| {
            let series = clearing.series.get(id);
            series.is_some_and(|series| feeds.contains(&series.terms.feed))
        };
        let short = |&index: &AccountIndex| {
            let mut holdings = clearing.accounts.get(index).holdings.iter();
            holdings.any(|(&id, holding)| holding.short_worst() > 0 && of_feeds(id))
        };
        clearing.accounts.clients().filter(short).collect()
    }

    /// Measures these accounts, and takes those that have too little through the waterfall.
    pub(crate) fn review(&mut self, accounts: &[AccountIndex], desk: &mut Desk<'_>) {
        for &index in accounts {
            self.disarm(index, desk);
        }
        for &index in accounts {
            self.restore_margin(index, desk);
        }
    }

    /// Step 1: cancels the orders of an account that cannot stand behind them.
    fn disarm(&mut self, index: AccountIndex, desk: &mut Desk<'_>) {
        let Some(clearing) = &self.market.clearing else {
            return;
        };
        let account = clearing.accounts.get(index);
        let need = account.buy_costs() + clearing.maintenance_worst(account);
        if i128::from(account.cash) >= need {
            return;
        }
        // It has orders in no series but these; what it has in other instruments is not looked at.
        let orders = &self.market.orders;
        let series = account.holdings.keys();
        let of_series = series.flat_map(|&id| orders.of_in(account.session, id));
        let mut handles: Vec<Handle> = of_series.collect();
        handles.sort_unstable_by_key(|&handle| orders.order(handle).number);
        for handle in handles {
            self.market.cancel(handle, CancelReason::Margin, desk);
        }
    }

    /// Step 2: closes what an account is short until it has enough.
    fn restore_margin(&mut self, index: AccountIndex, desk: &mut Desk<'_>) {
        let mut after = None;
        while let Some(clearing) = &self.market.clearing
            && clearing.surplus(index) < 0
            && let Some((id, series, price)) = clearing.liquidable(index, after)
        {
            after = Some(id);
            self.liquidate(index, id, &series, price, desk);
        }
    }

    fn liquidate(
        &mut self,
        index: AccountIndex,
        id: InstrumentId,
        series: &Series,
        price: i64,
        desk: &mut Desk<'_>,
    ) {
        self.buy_back(index, id, series, price, desk);
        let Some(clearing) = self.market.clearing.as_mut() else {
            return;
        };
        let lots = clearing.accounts.get(index).holding(id).short();
        if lots > 0
            && clearing.surplus(index) < 0
            && !clearing.take_over(index, id, series, price, desk)
        {
            self.deleverage(index, id, series, price, desk);
        }
    }

    /// Step 2.1: buys back from the book.
    fn buy_back(
        &mut self,
        index: AccountIndex,
        id: InstrumentId,
        series: &Series,
        price: i64,
        desk: &mut Desk<'_>,
    ) {
        let Some(clearing) = &self.market.clearing else {
            return;
        };
        let account = clearing.accounts.get(index);
        let (lots, cash) = (account.holding(id).short(), account.cash);
        let bps = clearing.rules.maintenance_bps;
        let units = lot_margin(&series.terms, price, bps) / series.terms.cash(1, 1);
        let affordable = i128::from(cash) / series.terms.cash(1, lots).max(1);
        let limit_ticks = i64::try_from(units.min(affordable)).unwrap_or_default();
        let trading = self.status(id) == Some(Status::Trading);
        if limit_ticks < 1 || !trading || self.market.numbers_exhausted() {
            return;
        }
        let mut incoming = Incoming {
            session: account.session,
            client_order: ClientOrderId(0),
            number: OrderNumber(self.market.order_next),
            instrument: id,
            side: Side::Buy,
            self_trade: SelfTrade::CancelResting,
            limit_ticks,
            open_lots: lots,
            executed_lots: 0,
        };
        self.market.order_next += 1;
        self.market.take(&mut incoming, desk);
        let after = &self.market.clearing;
        let left = after.as_ref().map_or(0, |c| c.accounts.get(index).cash);
        if incoming.executed_lots > 0 {
            desk.publish(&PublicEvent::Liquidated {
                instrument: id,
                step: LiquidationStep::BoughtBack,
                lots: incoming.executed_lots,
                price,
                paid: cash - left,
                fund_paid: 0,
            });
        }
    }

    /// Step 2.3: closes against the long accounts.
    fn deleverage(
        &mut self,
        index: AccountIndex,
        id: InstrumentId,
        series: &Series,
        price: i64,
        desk: &mut Desk<'_>,
    ) {
        let Some(clearing) = self.market.clearing.as_mut() else {
            return;
        };
        let lots = clearing.accounts.get(index).holding(id).short();
        let units = series.terms.intrinsic(price);
        let closed = share_lots(lots, &clearing.longs(id));
        let owed = claims(series, units, &[(index, lots)]);
        let payment = clearing.settle(&owed, &claims(series, units, &closed));
        for &(long, lots) in &closed {
            clearing.accounts.transfer(long, index, id, lots);
        }
        let cause = PositionCause::Deleveraging;
        let change = |lots, amount| Change {
            instrument: id,
            cause,
            lots,
            amount,
        };
        let paid: i64 = payment.paid.iter().map(|&(_, amount)| amount).sum();
        clearing.tell(index, change(lots.cast_signed(), -paid), desk);
        for (&(long, lots), &(_, got)) in closed.iter().zip(&payment.got) {
            if lots > 0 {
                clearing.tell(long, change(-lots.cast_signed(), got), desk);
            }
        }
        desk.publish(&PublicEvent::Liquidated {
            instrument: id,
            step: LiquidationStep::Deleveraged,
            lots,
            price,
            paid: payment.total(),
            fund_paid: payment.fund_paid,
        });
        // An ask that was to close a position may now have nothing to close.
        for (long, _) in closed.into_iter().filter(|&(_, lots)| lots > 0) {
            self.cancel_asks(long, id, desk);
        }
    }

    fn cancel_asks(&mut self, index: AccountIndex, id: InstrumentId, desk: &mut Desk<'_>) {
        let Some(clearing) = &self.market.clearing else {
            return;
        };
        let session = clearing.accounts.get(index).session;
        let handles: Vec<Handle> = self.market.orders.of_in(session, id).collect();
        for handle in handles {
            if self.market.orders.order(handle).side == Side::Sell {
                self.market.cancel(handle, CancelReason::Margin, desk);
            }
        }
    }
}

impl Clearing {
    /// Step 2.2: the fund takes the position, if it can stand behind it.
    fn take_over(
        &mut self,
        index: AccountIndex,
        id: InstrumentId,
        series: &Series,
        price: i64,
        desk: &mut Desk<'_>,
    ) -> bool {
        let account = self.accounts.get(index);
        let lots = account.holding(id).short();
        let margin = lot_margin(&series.terms, price, self.rules.maintenance_bps);
        let margin = margin * i128::from(lots);
        let cash = i128::from(account.cash);
        let amount = i64::try_from(margin.min(cash)).unwrap_or(account.cash);
        let fund_short = self.accounts.get(FUND).holding(id).short();
        let enough = self.surplus(FUND) + i128::from(amount) >= margin;
        if !enough || fund_short + lots > series.lots_max {
            return false;
        }
        self.accounts.pay(index, FUND, amount);
        self.accounts.transfer(FUND, index, id, lots);
        let change = Change {
            instrument: id,
            cause: PositionCause::TakenOver,
            lots: lots.cast_signed(),
            amount: -amount,
        };
        self.tell(index, change, desk);
        desk.publish(&PublicEvent::Liquidated {
            instrument: id,
            step: LiquidationStep::TakenOver,
            lots,
            price,
            paid: amount,
            fund_paid: 0,
        });
        true
    }
}

#[cfg(test)]
mod tests;
