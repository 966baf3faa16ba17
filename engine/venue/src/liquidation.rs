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
//! 2. for one series after another, by id, where the price can be used, those that are short there,
//!    in the order of opening:
//!    1. it buys back from the book, at no more for a lot than the maintenance margin of a lot,
//!       and at no more in all than its cash;
//!    2. what is left goes to the fund together with the maintenance margin of it, as far as the
//!       account has that, provided that the fund then has the maintenance margin of all it is
//!       short;
//!    3. what is left of all of them is closed at one time against the long accounts, in
//!       proportion, at intrinsic value: each pays as far as its cash goes, then the fund, and the
//!       rest is the loss of the long accounts.
//!
//! Step 2.3 is one for all, since to share lots is to round: account by account the same few would
//! be closed against each time, and all who are long would be passed over as often.
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
use crate::settlement::{Payment, claims, share_lots};
use crate::venue::Venue;
use std::collections::{BTreeMap, BTreeSet};

/// Accounts that have too little, by the series in which they are liquidated next.
type Waiting = BTreeMap<InstrumentId, BTreeSet<AccountIndex>>;

impl Clearing {
    /// What the account has above its maintenance requirement; below zero it must be liquidated.
    fn surplus(&self, index: AccountIndex) -> i128 {
        let account = self.accounts.get(index);
        i128::from(account.cash) - self.maintenance(account)
    }

    /// A series in which accounts can be liquidated, with the price of its feed.
    fn liquid(&self, id: InstrumentId) -> Option<(Series, i64)> {
        let series = *self.series.get(id)?;
        let price = self.feed_of(&series).usable()?;
        (series.state == SeriesState::Trading).then_some((series, price))
    }

    /// The series that the account can be liquidated in next: the first after `after`.
    fn liquidable(&self, index: AccountIndex, after: Option<InstrumentId>) -> Option<InstrumentId> {
        let holdings = self.accounts.get(index).holdings.iter();
        let mut short = holdings
            .filter(|&(&id, holding)| holding.short() > 0 && after.is_none_or(|after| id > after));
        short.find_map(|(&id, _)| self.liquid(id).map(|_| id))
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
        let mut waiting = Waiting::new();
        for &index in accounts {
            self.line_up(index, None, &mut waiting);
        }
        while let Some((id, accounts)) = waiting.pop_first() {
            self.liquidate_all(id, &accounts, desk);
            for index in accounts {
                self.line_up(index, Some(id), &mut waiting);
            }
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

    /// Has an account with too little wait for its next series: the first after `after`.
    fn line_up(&self, index: AccountIndex, after: Option<InstrumentId>, waiting: &mut Waiting) {
        let Some(clearing) = &self.market.clearing else {
            return;
        };
        if clearing.surplus(index) < 0
            && let Some(id) = clearing.liquidable(index, after)
        {
            waiting.entry(id).or_default().insert(index);
        }
    }

    /// Step 2 in one series: closes what these accounts are short until they have enough.
    fn liquidate_all(
        &mut self,
        id: InstrumentId,
        accounts: &BTreeSet<AccountIndex>,
        desk: &mut Desk<'_>,
    ) {
        let Some((series, price)) = self.market.clearing.as_ref().and_then(|c| c.liquid(id)) else {
            return;
        };
        let mut left = Vec::new();
        for &index in accounts {
            left.extend(self.liquidate(index, id, &series, price, desk));
        }
        if !left.is_empty() {
            self.deleverage(&left, id, &series, price, desk);
        }
    }

    /// Steps 2.1 and 2.2. Gives what is left for step 2.3.
    fn liquidate(
        &mut self,
        index: AccountIndex,
        id: InstrumentId,
        series: &Series,
        price: i64,
        desk: &mut Desk<'_>,
    ) -> Option<(AccountIndex, u64)> {
        let has_too_little = |venue: &Self| {
            let clearing = venue.market.clearing.as_ref();
            clearing.is_some_and(|clearing| clearing.surplus(index) < 0)
        };
        // What it was long elsewhere may have brought cash while it waited.
        if !has_too_little(self) {
            return None;
        }
        self.buy_back(index, id, series, price, desk);
        let is_left = has_too_little(self);
        let clearing = self.market.clearing.as_mut()?;
        let lots = clearing.accounts.get(index).holding(id).short();
        let is_left = is_left && lots > 0 && !clearing.take_over(index, id, series, price, desk);
        is_left.then_some((index, lots))
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

    /// Step 2.3: closes what these accounts are short against the long accounts.
    fn deleverage(
        &mut self,
        shorts: &[(AccountIndex, u64)],
        id: InstrumentId,
        series: &Series,
        price: i64,
        desk: &mut Desk<'_>,
    ) {
        let Some(clearing) = self.market.clearing.as_mut() else {
            return;
        };
        let (longs, payment) = clearing.close(shorts, id, series, price);
        let change = |lots: i64, amount| Change {
            instrument: id,
            cause: PositionCause::Deleveraging,
            lots,
            amount,
        };
        for (&(short, lots), &(_, paid)) in shorts.iter().zip(&payment.paid) {
            clearing.tell(short, change(lots.cast_signed(), -paid), desk);
        }
        for (&(long, lots), &(_, got)) in longs.iter().zip(&payment.got) {
            clearing.tell(long, change(-lots.cast_signed(), got), desk);
        }
        desk.publish(&PublicEvent::Liquidated {
            instrument: id,
            step: LiquidationStep::Deleveraged,
            lots: shorts.iter().map(|&(_, lots)| lots).sum(),
            price,
            paid: payment.total(),
            fund_paid: payment.fund_paid,
        });
        // An ask that was to close a position may now have nothing to close.
        for (long, _) in longs {
            self.cancel_side(long, id, Side::Sell, desk);
        }
    }

    /// Cancels the bids of an account that was assigned in a series, if they no longer close there
    /// and it could not enter them so. They were measured as bids that free what they cost.
    pub(crate) fn cancel_idle_bids(
        &mut self,
        index: AccountIndex,
        id: InstrumentId,
        assigned: u64,
        desk: &mut Desk<'_>,
    ) {
        let Some(clearing) = &self.market.clearing else {
            return;
        };
        if clearing.bids_idly(clearing.accounts.get(index), id, assigned) {
            self.cancel_side(index, id, Side::Buy, desk);
        }
    }

    fn cancel_side(
        &mut self,
        index: AccountIndex,
        id: InstrumentId,
        side: Side,
        desk: &mut Desk<'_>,
    ) {
        let Some(clearing) = &self.market.clearing else {
            return;
        };
        let session = clearing.accounts.get(index).session;
        let handles: Vec<Handle> = self.market.orders.of_in(session, id).collect();
        for handle in handles {
            if self.market.orders.order(handle).side == side {
                self.market.cancel(handle, CancelReason::Margin, desk);
            }
        }
    }
}

impl Clearing {
    /// Moves lots of the long accounts to these, and pays for them: to whom how many, and what was
    /// paid. Touches no long account to which no lot falls.
    fn close(
        &mut self,
        shorts: &[(AccountIndex, u64)],
        id: InstrumentId,
        series: &Series,
        price: i64,
    ) -> (Vec<(AccountIndex, u64)>, Payment) {
        let lots = shorts.iter().map(|&(_, lots)| lots).sum();
        let mut longs = share_lots(lots, &self.longs(id));
        longs.retain(|&(_, lots)| lots > 0);
        let units = series.terms.intrinsic(price);
        let (owed, due) = (claims(series, units, shorts), claims(series, units, &longs));
        let payment = self.settle(&owed, &due);
        for &(long, lots) in &longs {
            self.accounts.transfer(long, FUND, id, lots);
        }
        for &(short, lots) in shorts {
            self.accounts.transfer(FUND, short, id, lots);
        }
        (longs, payment)
    }

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
