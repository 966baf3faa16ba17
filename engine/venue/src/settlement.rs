//! Timers, exercise and payment.
//!
//! Owns what happens when a round closes, when a series expires and when a holder exercises, and
//! how a payment is shared when someone has too little. Never: a guess. Where too few samples were
//! recorded, settlement is deferred, and said to be.
//!
//! **Order of timers.** What is due first comes first. Of what is due at one time first all rounds
//! close, feeds by id; then the trading of all series that expire ends; then the settlement prices
//! of these are fixed, or deferred, by id; then all that are fixed are paid, by one payment; and
//! last accounts are measured, all together, so that no series is traded or liquidated, at whatever
//! the last price is, when its own fixing is due.
//!
//! **Fixing.** The settlement price is the mean of the samples of the last `window_rounds` rounds
//! that closed by the time the series is due, rounded down to a unit of price.
//!
//! **Payment.** Everyone who owes pays what it owes as far as its cash goes, then the fund pays
//! what is missing as far as its cash goes. If that is not enough, each who is due gets its share
//! of what there is, rounded down; what rounding leaves stays in the fund. Over series that are
//! settled together an account owes, or is due, the difference of both (see `netting`).

mod netting;

use crate::accounts::{AMOUNT_MAX, AccountIndex, FIRST, FUND};
use crate::clearing::{ACCOUNTS_MAX, Change, Clearing};
use crate::commands::Side;
use crate::config::INSTRUMENTS_MAX;
use crate::feeds::{Feed, FeedId};
use crate::instruments::InstrumentId;
use crate::orders::Handle;
use crate::refusal::Refusal;
use crate::reports::{CancelReason, Desk, PositionCause, PublicEvent, SessionReport};
use crate::series::{ExerciseStyle, NEVER_NS, Series, SeriesState};
use crate::venue::Venue;
use quorate::state_machine::Context;
use std::collections::BTreeSet;

/// An account and what it owes or is due: over many series, more than there is cash.
pub(crate) type Claim = (AccountIndex, i128);

/// What an account owes or is due at most, in all series that there can be.
const CLAIM_MAX: i128 = AMOUNT_MAX as i128 * INSTRUMENTS_MAX as i128;
/// What all accounts are due at most.
const CLAIMS_MAX: i128 = CLAIM_MAX * ACCOUNTS_MAX as i128;
/// Bits of a part that `share` takes in its second step.
const LOW_BITS: u32 = 32;
const LOW_MASK: i128 = (1 << LOW_BITS) - 1;

// No step of `share` overflows.
const _: () = assert!(CLAIM_MAX >> LOW_BITS <= i128::MAX / CLAIM_MAX);
const _: () = assert!(CLAIMS_MAX <= (i128::MAX - CLAIM_MAX * LOW_MASK) >> LOW_BITS);

/// What a payment came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Payment {
    /// What each payer paid, in their order.
    pub(crate) paid: Vec<(AccountIndex, i64)>,
    /// What each payee got, in their order.
    pub(crate) got: Vec<(AccountIndex, i64)>,
    /// What the payees got beyond what the payers paid. Below zero where rounding left the fund
    /// more than it gave.
    pub(crate) fund_paid: i64,
}

impl Payment {
    /// What all payees together got.
    pub(crate) fn total(&self) -> i64 {
        self.got.iter().map(|&(_, amount)| amount).sum()
    }
}

/// Shares lots in proportion to `holders`, whose lots are at least as many in all: each its share
/// rounded down, and what is left one lot each from the first on.
pub(crate) fn share_lots(lots: u64, holders: &[(AccountIndex, u64)]) -> Vec<(AccountIndex, u64)> {
    let all: u128 = holders.iter().map(|&(_, held)| u128::from(held)).sum();
    let share = |held: u64| (u128::from(lots) * u128::from(held) / all.max(1)) as u64;
    let mut shares: Vec<_> = holders.iter().map(|&(i, held)| (i, share(held))).collect();
    let mut left = lots - shares.iter().map(|&(_, share)| share).sum::<u64>();
    for (part, &(_, held)) in shares.iter_mut().zip(holders) {
        if left > 0 && part.1 < held {
            part.1 += 1;
            left -= 1;
        }
    }
    shares
}

/// `amount * part / all`, rounded down, where no part is above `all`. In two steps: the product of
/// what is claimed over many series would not fit.
fn share(amount: i128, part: i128, all: i128) -> i128 {
    let (high, low) = (part >> LOW_BITS, part & LOW_MASK);
    let of_high = amount * high;
    let rest = ((of_high % all) << LOW_BITS) + amount * low;
    ((of_high / all) << LOW_BITS) + rest / all
}

impl Clearing {
    /// Pays what is owed to those to whom it is due; both lists have the same sum.
    pub(crate) fn settle(&mut self, owed: &[Claim], due: &[Claim]) -> Payment {
        let fund_before = self.accounts.get(FUND).cash;
        let mut paid = Vec::with_capacity(owed.len());
        let mut from_payers = 0_i64;
        for &(index, amount) in owed.iter().filter(|&&(index, _)| index != FUND) {
            let cash = self.accounts.get(index).cash;
            let amount = i64::try_from(amount).map_or(cash, |amount| amount.min(cash));
            self.accounts.pay(index, FUND, amount);
            from_payers += amount;
            paid.push((index, amount));
        }
        let due_all: i128 = due.iter().map(|&(_, amount)| amount).sum();
        let missing = due_all - i128::from(from_payers);
        let pool = i128::from(from_payers) + missing.min(i128::from(fund_before));
        let mut got = Vec::with_capacity(due.len());
        let mut to_payees = 0;
        for &(index, amount) in due {
            let part = share(amount, pool, due_all.max(1));
            let Ok(part) = i64::try_from(part) else {
                unreachable!("a share is no more than the cash there is")
            };
            self.accounts.pay(FUND, index, part);
            to_payees += part;
            got.push((index, part));
        }
        Payment {
            paid,
            got,
            fund_paid: to_payees - from_payers,
        }
    }

    /// Accounts that are short in a series, and by how many lots.
    pub(crate) fn shorts(&self, id: InstrumentId) -> Vec<(AccountIndex, u64)> {
        let short = |(index, lots): (AccountIndex, i64)| (index, lots.unsigned_abs());
        self.accounts
            .held(id)
            .filter(|h| h.1 < 0)
            .map(short)
            .collect()
    }

    /// Accounts that are long in a series, and by how many lots.
    pub(crate) fn longs(&self, id: InstrumentId) -> Vec<(AccountIndex, u64)> {
        let long = |(index, lots): (AccountIndex, i64)| (index, lots.unsigned_abs());
        self.accounts
            .held(id)
            .filter(|h| h.1 > 0)
            .map(long)
            .collect()
    }

    /// When the next timer is due.
    pub(crate) fn due_ns(&self) -> Option<u64> {
        let rounds = self.feeds.iter().filter_map(Feed::due_ns);
        let all = rounds.chain(self.series.due_first_ns());
        all.filter(|&due_ns| due_ns < NEVER_NS).min()
    }

    /// The feeds whose round closes at this time.
    fn closing_at(&self, at_ns: u64) -> Vec<FeedId> {
        let feeds = (0..).zip(&self.feeds);
        let closing = feeds.filter(|(_, feed)| feed.due_ns() == Some(at_ns));
        closing.map(|(id, _)| FeedId(id)).collect()
    }
}

/// The cash of a position of each of these holders.
pub(crate) fn claims(series: &Series, units: i64, holders: &[(AccountIndex, u64)]) -> Vec<Claim> {
    let claim = |&(index, lots): &(AccountIndex, u64)| (index, series.terms.cash(units, lots));
    holders.iter().map(claim).collect()
}

impl Venue {
    /// Fires what is due at or before `now_ns`.
    pub(crate) fn run_timers(&mut self, now_ns: u64, desk: &mut Desk<'_>) {
        while let Some(clearing) = &self.market.clearing
            && let Some(at_ns) = clearing.due_ns().filter(|&due_ns| due_ns <= now_ns)
        {
            let closing = clearing.closing_at(at_ns);
            let expiring = clearing.series.due_at(at_ns);
            let mut taken = closing.clone();
            taken.retain(|&feed| self.close_round(feed, desk));
            for &id in &expiring {
                self.cancel_book(id, desk);
            }
            let mut fixed = Vec::new();
            for &id in &expiring {
                fixed.extend(self.fix(id, now_ns, desk));
            }
            let mut measured = BTreeSet::new();
            measured.extend(self.pay_out(&fixed, desk));
            measured.extend(self.exposed(&taken));
            let measured: Vec<_> = measured.into_iter().collect();
            self.review(&measured, desk);
        }
    }

    /// Closes a round, and says whether its price was taken.
    fn close_round(&mut self, id: FeedId, desk: &mut Desk<'_>) -> bool {
        let Some(clearing) = self.market.clearing.as_mut() else {
            return false;
        };
        let samples_max = clearing.rules.window_rounds;
        let closed = clearing.feeds[id.0 as usize].close(&clearing.validators, samples_max);
        let (round, price) = (closed.round, closed.price);
        desk.publish(&PublicEvent::PriceClosed {
            feed: id,
            round,
            state: closed.state,
            price,
            dispersion: closed.dispersion,
            fresh_stake: closed.fresh_stake,
            taken: closed.taken,
        });
        for (validator, observed) in closed.fresh {
            desk.publish(&PublicEvent::PriceObserved {
                feed: id,
                round,
                validator,
                price: observed,
                deviation: if price > 0 { observed - price } else { 0 },
            });
        }
        if let Some(before) = closed.halted_from {
            desk.publish(&PublicEvent::FeedChanged {
                feed: id,
                halted: true,
                before,
                price,
            });
        }
        closed.taken
    }

    /// Fixes the settlement price of a series whose trading has ended, or defers that.
    fn fix(&mut self, id: InstrumentId, now_ns: u64, desk: &mut Desk<'_>) -> Option<Fixed> {
        let clearing = self.market.clearing.as_mut()?;
        let series = *clearing.series.get(id)?;
        self.roots[crate::venue::SECTION_SERIES] = None;
        let (rules, feed) = (clearing.rules, clearing.feed_of(&series));
        let round_ns = feed.config.round_ns;
        let window = u64::from(rules.window_rounds);
        let last_round = (series.due_ns / round_ns).saturating_sub(1);
        let first_round = last_round.saturating_sub(window - 1);
        let (price, samples) = feed.mean(first_round, last_round);
        if samples < rules.samples_min {
            // The next whole window after now: a late block defers once and not once a window.
            let window_ns = window.saturating_mul(round_ns);
            let windows = (now_ns - series.due_ns) / window_ns + 1;
            let next_ns = series
                .due_ns
                .saturating_add(windows.saturating_mul(window_ns));
            let state = SeriesState::Deferred;
            let deferred = Series {
                state,
                due_ns: next_ns,
                ..series
            };
            clearing.series.set(id, deferred);
            desk.publish(&PublicEvent::SettlementDeferred {
                instrument: id,
                samples,
                samples_min: rules.samples_min,
                next_ns,
            });
            return None;
        }
        let settled = Series {
            state: SeriesState::Settled,
            due_ns: 0,
            fixing: price,
            ..series
        };
        clearing.series.set(id, settled);
        Some(Fixed {
            id,
            series: settled,
            samples,
            first_round,
            last_round,
        })
    }

    /// Pays the series that are fixed. Gives who was made to pay.
    fn pay_out(&mut self, fixed: &[Fixed], desk: &mut Desk<'_>) -> Vec<AccountIndex> {
        let clearing = self.market.clearing.as_mut();
        clearing.map_or_else(Vec::new, |clearing| clearing.pay_out(fixed, desk))
    }

    fn cancel_book(&mut self, id: InstrumentId, desk: &mut Desk<'_>) {
        let mut handles: Vec<Handle> = Vec::new();
        for side in [Side::Buy, Side::Sell] {
            let levels = self.market.book(id).best_first(side);
            for first in levels.map(|(_, level)| level.first) {
                let mut handle = first;
                while handle != crate::orders::NONE {
                    handles.push(handle);
                    handle = self.market.orders.level_link(handle).after;
                }
            }
        }
        for handle in handles {
            self.market.cancel(handle, CancelReason::Expired, desk);
        }
    }

    /// Lets a holder exercise lots of an American series at the price of the last round.
    pub(crate) fn exercise(
        &mut self,
        context: &Context,
        id: InstrumentId,
        lots: u64,
        desk: &mut Desk<'_>,
    ) -> Result<(), Refusal> {
        let (holder, series, price) = self.check_exercise(context, id, lots)?;
        let units = series.terms.intrinsic(price);
        let clearing = self.market.clearing_mut()?;
        if !clearing.exercised.note(context.height, holder, id) {
            return Err(Refusal::ExercisedInBlock);
        }
        let assigned = clearing.assign(holder, id, lots, units);
        let (assigned, payment) = assigned.ok_or(Refusal::NotSeries)?;
        let command_kind = crate::commands::ClearingCommand::EXERCISE;
        let seq = context.seq;
        desk.tell(
            context.session,
            &SessionReport::Applied { seq, command_kind },
        );
        let change = |cause, lots, amount| Change {
            instrument: id,
            cause,
            lots,
            amount,
        };
        let paid = payment.total();
        let of_holder = change(PositionCause::Exercise, -lots.cast_signed(), paid);
        clearing.tell(holder, of_holder, desk);
        let clients = assigned.iter().filter(|&&(index, _)| index >= FIRST);
        for (&(index, lots), &(_, amount)) in clients.clone().zip(&payment.paid) {
            let of_short = change(PositionCause::Assignment, lots.cast_signed(), -amount);
            clearing.tell(index, of_short, desk);
        }
        desk.publish(&PublicEvent::Exercised {
            instrument: id,
            lots,
            price,
            paid,
            fund_paid: payment.fund_paid,
        });
        let payers: Vec<_> = payment.paid.iter().map(|&(index, _)| index).collect();
        for &(index, lots) in clients {
            self.cancel_idle_bids(index, id, lots, desk);
        }
        self.review(&payers, desk);
        Ok(())
    }
}

impl Clearing {
    /// Pays for lots that a holder exercises and moves them: to whom how many, and what was paid.
    /// Touches nobody to whom no lot falls.
    fn assign(
        &mut self,
        holder: AccountIndex,
        id: InstrumentId,
        lots: u64,
        units: i64,
    ) -> Option<(Vec<(AccountIndex, u64)>, Payment)> {
        let series = *self.series.get(id)?;
        let mut assigned = share_lots(lots, &self.shorts(id));
        assigned.retain(|&(_, lots)| lots > 0);
        let owed = claims(&series, units, &assigned);
        let payment = self.settle(&owed, &claims(&series, units, &[(holder, lots)]));
        for &(index, lots) in &assigned {
            self.accounts.transfer(holder, index, id, lots);
        }
        Some((assigned, payment))
    }
}

/// Who has exercised in which series in the block that is executed. An exercise looks at all
/// holders of its series however few its lots are, so that without a bound one session could have
/// the venue do nothing else. No part of any section: the state is written between two blocks, and
/// the next block begins with nobody.
#[derive(Debug, Default)]
pub(crate) struct Exercised {
    height: u64,
    by: BTreeSet<(AccountIndex, InstrumentId)>,
}

impl Exercised {
    /// Notes an exercise in the block of this height; false when it is not the first one there.
    fn note(&mut self, height: u64, holder: AccountIndex, id: InstrumentId) -> bool {
        if self.height != height {
            self.height = height;
            self.by.clear();
        }
        self.by.insert((holder, id))
    }
}

impl Venue {
    /// Whether these lots may be exercised: the holder, the series and the price.
    fn check_exercise(
        &self,
        context: &Context,
        id: InstrumentId,
        lots: u64,
    ) -> Result<(AccountIndex, Series, i64), Refusal> {
        self.listing(id)?;
        let clearing = self.market.clearing.as_ref();
        let clearing = clearing.ok_or(Refusal::NoAccounts)?;
        let series = *clearing.series.get(id).ok_or(Refusal::NotSeries)?;
        let holder = clearing.accounts.find(context.session);
        let holder = holder.ok_or(Refusal::UnknownAccount)?;
        if series.state != SeriesState::Trading {
            return Err(Refusal::SeriesExpired);
        }
        if series.terms.style != ExerciseStyle::American {
            return Err(Refusal::NotAmerican);
        }
        if lots == 0 {
            return Err(Refusal::SizeZero);
        }
        let holding = clearing.accounts.get(holder).holding(id);
        if holding.long().saturating_sub(holding.sell_lots) < lots {
            return Err(Refusal::PositionTooSmall);
        }
        let usable = clearing.feed_of(&series).usable();
        let price = usable.ok_or(Refusal::PriceNotFresh)?;
        if series.terms.intrinsic(price) == 0 {
            return Err(Refusal::NotInTheMoney);
        }
        Ok((holder, series, price))
    }
}

/// A series whose settlement price is fixed, and what that was made of.
struct Fixed {
    id: InstrumentId,
    series: Series,
    samples: u32,
    first_round: u64,
    last_round: u64,
}

#[cfg(test)]
mod tests;
