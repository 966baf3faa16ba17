//! How much cash an account must have.
//!
//! Owns the two formulas, and the check of an order before it trades. Never: what happens to an
//! account that has too little, which is `liquidation`.
//!
//! All in integers, for a price `S` of the underlying and a strike `K`:
//!
//! - margin of one short lot = (intrinsic(S) + ceil(S * bps / 10000)) * multiplier; of a put at
//!   most K * multiplier, as it cannot lose more;
//! - initial requirement = cost of all resting bids + over the series, initial margin of the lots
//!   that the account would be short if all its asks were taken;
//! - maintenance requirement = over the series, maintenance margin of the lots it is short.
//!
//! Long options are paid in full and give no credit. A resting bid is reserved for at its own
//! price, so a trade can always be paid. An order that only closes, and a position whose price is
//! not fresh, are measured at the last price that was taken.
//!
//! A bid that only closes needs cash for the bids, the maintenance requirement, and the initial
//! margin of the lots that resting asks would add to what the account is short: what stands behind
//! them is not for spending. Where that leaves less than the initial requirement, it bids no more
//! for a lot than the initial margin of a lot, so that closing lot by lot is no way to take out
//! what a withdrawal must leave.
//!
//! Where the initial requirement is not known, which refuses every withdrawal, lots whose price is
//! missing are measured as if all of the price were asked for, and what leaves less than that bids
//! no more for a lot than the maintenance margin of a lot. So cash helps whoever wants to get out
//! at another price than the last one; and for who has none, whatever the price that is missing
//! elsewhere comes to, a close leaves no less above the maintenance requirement than there was.
//! Where it is the series' own price that is missing, that is so at the last price that was taken
//! and at the one that is shown, if there is one; of a stale feed none is.
//!
//! An ask that only closes brings cash and needs as much as the account must have in any case.
//!
//! A bid closes by what the account is short when it comes. Where an exercise takes that position
//! away, a bid that rests would open, and goes unless the account could enter it so. One that would
//! have opened before stays.

use crate::accounts::{AMOUNT_MAX, Account, Holding};
use crate::clearing::{BPS, Clearing};
use crate::commands::Side;
use crate::instruments::InstrumentId;
use crate::orders::Order;
use crate::refusal::Refusal;
use crate::series::{Right, Series, SeriesTerms};

/// The margin of one short lot when the underlying stands at `price`.
pub(crate) fn lot_margin(terms: &SeriesTerms, price: i64, bps: u32) -> i128 {
    let (wide, bps) = (i128::from(price), i128::from(bps));
    let part = (wide * bps + i128::from(BPS) - 1) / i128::from(BPS);
    let units = i128::from(terms.intrinsic(price)) + part;
    let units = match terms.right {
        Right::Call => units,
        Right::Put => units.min(i128::from(terms.strike)),
    };
    units * i128::from(terms.multiplier)
}

/// An order as the check sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    pub(crate) instrument: InstrumentId,
    pub(crate) side: Side,
    pub(crate) price_ticks: i64,
    pub(crate) size_lots: u64,
    /// The resting order that goes when this one comes.
    pub(crate) replaced: Option<Order>,
}

impl Clearing {
    /// What the account must have not to be liquidated, at the last prices that were taken.
    pub(crate) fn maintenance(&self, account: &Account) -> i128 {
        self.margin(account, self.rules.maintenance_bps, Holding::short)
    }

    /// The same if all its asks were taken.
    pub(crate) fn maintenance_worst(&self, account: &Account) -> i128 {
        self.margin(account, self.rules.maintenance_bps, Holding::short_worst)
    }

    /// Over the series, the margin of these lots at the last prices that were taken.
    fn margin(&self, account: &Account, bps: u32, lots: impl Fn(&Holding) -> u64) -> i128 {
        let margin = |(&id, holding): (&InstrumentId, &Holding)| {
            let series = self.series.get(id);
            series.map_or(0, |series| {
                let price = self.feed_of(series).mark;
                i128::from(lots(holding)) * lot_margin(&series.terms, price, bps)
            })
        };
        account.holdings.iter().map(margin).sum()
    }

    /// What the account must have to open more, or to withdraw.
    ///
    /// # Errors
    ///
    /// [`Refusal::PriceNotFresh`] if it is short, or might be, where no price can be used.
    pub(crate) fn initial(&self, account: &Account) -> Result<i128, Refusal> {
        let margins = account.holdings.iter().map(|(&id, holding)| {
            let series = self.series.get(id);
            series.map_or(Ok(0), |series| self.holding_initial(series, holding))
        });
        margins.sum()
    }

    fn holding_initial(&self, series: &Series, holding: &Holding) -> Result<i128, Refusal> {
        let short = holding.short_worst();
        if short == 0 {
            return Ok(holding.buy_cost);
        }
        let usable = self.feed_of(series).usable();
        let price = usable.ok_or(Refusal::PriceNotFresh)?;
        let margin = lot_margin(&series.terms, price, self.rules.initial_bps);
        Ok(holding.buy_cost + i128::from(short) * margin)
    }

    /// Whether the account has more bids in a series than it is short of, and had not before these
    /// lots were assigned to it, with less cash than it must have to bid so, or what that is not
    /// known. Bids that would have opened before are reserved for as they were.
    pub(crate) fn bids_idly(&self, account: &Account, id: InstrumentId, assigned: u64) -> bool {
        let holding = account.holding(id);
        let is_covered = || {
            let need = self.initial(account);
            need.is_ok_and(|need| need <= i128::from(account.cash))
        };
        let closed = holding.buy_lots <= holding.short().saturating_add(assigned);
        closed && holding.buy_lots > holding.short() && !is_covered()
    }

    /// Whether an account can stand behind an order in a series.
    pub(crate) fn check_order(&self, account: &Account, asked: &Asked) -> Result<(), Refusal> {
        let id = asked.instrument;
        let series = self.series.get(id).ok_or(Refusal::NotSeries)?;
        let cost = series.terms.cash(asked.price_ticks, asked.size_lots);
        if cost > i128::from(AMOUNT_MAX) {
            return Err(Refusal::AmountOverflow);
        }
        let before = account.holding(id);
        let mut after = before;
        if let Some(old) = asked.replaced {
            match old.side {
                Side::Buy => {
                    after.buy_lots -= old.open_lots;
                    after.buy_cost -= series.terms.cash(old.price_ticks, old.open_lots);
                }
                Side::Sell => after.sell_lots -= old.open_lots,
            }
        }
        let (closes, most) = match asked.side {
            Side::Buy => {
                after.buy_lots += asked.size_lots;
                after.buy_cost += cost;
                let closes = after.buy_lots <= after.short();
                (closes, after.long() + after.buy_lots)
            }
            Side::Sell => {
                after.sell_lots += asked.size_lots;
                let closes = after.sell_lots <= after.long();
                (closes, after.short() + after.sell_lots)
            }
        };
        let positions_max = self.rules.positions_per_account_max as usize;
        let more = !account.holdings.contains_key(&id) && account.holdings.len() >= positions_max;
        if more || most > series.lots_max {
            return Err(Refusal::PositionFull);
        }
        if closes {
            let bids = account.buy_costs() + after.buy_cost - before.buy_cost;
            return self.check_closing(account, series, asked, bids);
        }
        let usable = self.feed_of(series).usable();
        usable.ok_or(Refusal::PriceNotFresh)?;
        let need = self.initial(account)? + self.holding_initial(series, &after)?
            - self.holding_initial(series, &before)?;
        if need > i128::from(account.cash) {
            return Err(Refusal::MarginInsufficient);
        }
        Ok(())
    }

    /// What an account must have besides its bids to close at any price: the initial margin of the
    /// lots it would be short if all its asks were taken; and of those whose feed cannot be used,
    /// as if all of the price were asked for beside the intrinsic value. At the higher one of the
    /// prices that are known, that is what a call owes at twice the price, and all that a put can.
    fn margin_whole(&self, account: &Account) -> i128 {
        let margin = |(&id, holding): (&InstrumentId, &Holding)| {
            let series = self.series.get(id);
            series.map_or(0, |series| {
                let feed = self.feed_of(series);
                let (price, bps) = match feed.usable() {
                    Some(price) => (price, self.rules.initial_bps),
                    None => (feed.mark.max(feed.shown), BPS),
                };
                i128::from(holding.short_worst()) * lot_margin(&series.terms, price, bps)
            })
        };
        account.holdings.iter().map(margin).sum()
    }

    /// The margin of which a close frees an account, a lot: the lower one at the last price that
    /// was taken and at the one that is shown. They differ while the feed cannot be used: everybody
    /// reads the shown one, and who bid what a lot asked at the other would leave that much less
    /// behind the rest when it is taken.
    fn lot_freed(&self, series: &Series, bps: u32) -> i128 {
        let feed = self.feed_of(series);
        let at = |price| lot_margin(&series.terms, price, bps);
        let of_mark = at(feed.mark);
        match feed.shown {
            0 => of_mark,
            shown => of_mark.min(at(shown)),
        }
    }

    /// Whether an account can stand behind an order that only closes; `bids` is what its resting
    /// bids cost with this order.
    fn check_closing(
        &self,
        account: &Account,
        series: &Series,
        asked: &Asked,
        bids: i128,
    ) -> Result<(), Refusal> {
        let initial_bps = self.rules.initial_bps;
        let cash = i128::from(account.cash);
        let mut need = bids + self.maintenance(account);
        let mut is_dear = false;
        if asked.side == Side::Buy {
            let of_asks = |holding: &Holding| holding.short_worst() - holding.short();
            need += self.margin(account, initial_bps, of_asks);
            let bps = match self.initial(account) {
                Err(_) => self.rules.maintenance_bps,
                Ok(_) => initial_bps,
            };
            let lot = self.lot_freed(series, bps);
            is_dear = bids + self.margin_whole(account) > cash
                && series.terms.cash(asked.price_ticks, 1) > lot;
        }
        if need > cash || is_dear {
            return Err(Refusal::MarginInsufficient);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feeds::FeedId;
    use crate::series::ExerciseStyle;

    #[test]
    fn the_margin_of_a_lot_is_its_value_and_a_part_of_the_price_rounded_up() {
        let terms = |right| SeriesTerms {
            feed: FeedId(0),
            strike: 100,
            expiry_ns: 1,
            right,
            style: ExerciseStyle::European,
            multiplier: 10,
        };
        let (call, put) = (terms(Right::Call), terms(Right::Put));
        assert_eq!(lot_margin(&call, 90, 1_000), 90);
        assert_eq!(lot_margin(&call, 91, 1_000), 100, "9.1 is rounded up");
        assert_eq!(lot_margin(&call, 120, 1_000), (20 + 12) * 10);
        assert_eq!(lot_margin(&put, 80, 1_000), (20 + 8) * 10);
        assert_eq!(
            lot_margin(&put, 1, 10_000),
            1_000,
            "no more than the strike"
        );
    }
}
