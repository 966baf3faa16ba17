//! One payment for all series that are settled together.
//!
//! Owns what an account is due and owes over all of them, and how that is told series by series.
//! Never: who pays for whom; that is `Clearing::settle`.
//!
//! **Netting.** What an account is due in some of the series and owes in others is set off: only
//! the difference is paid. So it does not matter which series has the lower id.
//!
//! **What is told.** Series by series a claim is told in full, but where the account was paid less
//! than the difference it is due, or paid less than the difference it owes. Then what is missing is
//! taken off its claims on that side, each in proportion. So the amounts that an account is told
//! sum to what its cash changed by; and in each series what all accounts are told sums to what the
//! fund put in.

use super::{Claim, Fixed, claims, share};
use crate::accounts::{AccountIndex, FIRST, FUND};
use crate::clearing::{Change, Clearing};
use crate::instruments::InstrumentId;
use crate::reports::{Desk, PositionCause, PublicEvent};
use std::collections::BTreeMap;

/// What an account is due over all series of a payment, or what it owes.
#[derive(Debug, Default)]
struct Claimed {
    all: i128,
    /// What of it was met, by cash or by what it was set off against.
    met: i128,
    /// The claims that were told of before.
    told: i128,
}

impl Claimed {
    fn add(&mut self, amount: i128) {
        self.all += amount;
        self.met += amount;
    }

    /// What was met of the next claim. Never more than it, and over all claims what was met in all.
    fn tell(&mut self, amount: i128) -> i64 {
        let all = self.all.max(1);
        let before = share(self.told, self.met, all);
        self.told += amount;
        let Ok(met) = i64::try_from(share(self.told, self.met, all) - before) else {
            unreachable!("a position is bounded so that what it pays is an amount")
        };
        met
    }
}

/// Both sides of an account.
#[derive(Debug, Default)]
struct Balance {
    due: Claimed,
    owed: Claimed,
}

/// The holders of a series and their claims.
struct Legs {
    longs: Vec<(AccountIndex, u64)>,
    shorts: Vec<(AccountIndex, u64)>,
    due: Vec<Claim>,
    owed: Vec<Claim>,
}

/// Claims of very many accounts on one another can be more than a number of the wire holds.
fn bounded(amount: i128) -> i64 {
    amount.clamp(i64::MIN.into(), i64::MAX.into()) as i64
}

impl Clearing {
    /// Pays what these series are worth by one payment and ends all positions in them. Gives who
    /// was made to pay.
    pub(super) fn pay_out(&mut self, fixed: &[Fixed], desk: &mut Desk<'_>) -> Vec<AccountIndex> {
        let legs: Vec<_> = fixed.iter().map(|fixed| self.legs(fixed)).collect();
        let mut balances: BTreeMap<AccountIndex, Balance> = BTreeMap::new();
        for legs in &legs {
            for &(index, amount) in &legs.due {
                balances.entry(index).or_default().due.add(amount);
            }
            for &(index, amount) in &legs.owed {
                balances.entry(index).or_default().owed.add(amount);
            }
        }
        let net = balances.iter().map(|(&i, b)| (i, b.due.all - b.owed.all));
        let (due, owed): (Vec<Claim>, Vec<Claim>) =
            net.filter(|&(_, net)| net != 0).partition(|c| c.1 > 0);
        let owed: Vec<Claim> = owed.into_iter().map(|(i, net)| (i, -net)).collect();
        let payment = self.settle(&owed, &due);
        for (index, got) in payment.got {
            let balance = balances.entry(index).or_default();
            balance.due.met = balance.owed.all + i128::from(got);
        }
        for &(index, paid) in &payment.paid {
            let balance = balances.entry(index).or_default();
            balance.owed.met = balance.due.all + i128::from(paid);
        }
        for (fixed, legs) in fixed.iter().zip(&legs) {
            self.end_positions(fixed.id, legs);
            self.tell_settled(fixed, legs, &mut balances, desk);
        }
        payment.paid.iter().map(|&(index, _)| index).collect()
    }

    fn legs(&self, fixed: &Fixed) -> Legs {
        let series = &fixed.series;
        let units = series.terms.intrinsic(series.fixing);
        let (longs, shorts) = (self.longs(fixed.id), self.shorts(fixed.id));
        Legs {
            due: claims(series, units, &longs),
            owed: claims(series, units, &shorts),
            longs,
            shorts,
        }
    }

    /// All lots go through the fund, and what it was short itself ends there as well.
    fn end_positions(&mut self, id: InstrumentId, legs: &Legs) {
        for &(index, lots) in &legs.longs {
            self.accounts.transfer(index, FUND, id, lots);
        }
        for &(index, lots) in legs.shorts.iter().filter(|short| short.0 >= FIRST) {
            self.accounts.transfer(FUND, index, id, lots);
        }
    }

    fn tell_settled(
        &self,
        fixed: &Fixed,
        legs: &Legs,
        balances: &mut BTreeMap<AccountIndex, Balance>,
        desk: &mut Desk<'_>,
    ) {
        let Legs { longs, shorts, .. } = legs;
        let mut changes = Vec::with_capacity(longs.len() + shorts.len());
        let (mut to_longs, mut from_shorts) = (0, 0);
        for (&(index, lots), &(_, amount)) in longs.iter().zip(&legs.due) {
            let got = balances.entry(index).or_default().due.tell(amount);
            to_longs += i128::from(got);
            changes.push((index, -lots.cast_signed(), got));
        }
        let shorts = shorts.iter().zip(&legs.owed);
        for (&(index, lots), &(_, amount)) in shorts.filter(|((i, _), _)| *i >= FIRST) {
            let paid = balances.entry(index).or_default().owed.tell(amount);
            from_shorts += i128::from(paid);
            changes.push((index, lots.cast_signed(), -paid));
        }
        desk.publish(&PublicEvent::Settled {
            instrument: fixed.id,
            price: fixed.series.fixing,
            samples: fixed.samples,
            first_round: fixed.first_round,
            last_round: fixed.last_round,
            lots: longs.iter().map(|&(_, lots)| lots).sum(),
            paid: bounded(to_longs),
            fund_paid: bounded(to_longs - from_shorts),
        });
        for (index, lots, amount) in changes {
            let change = Change {
                instrument: fixed.id,
                cause: PositionCause::Settlement,
                lots,
                amount,
            };
            self.tell(index, change, desk);
        }
    }
}

#[cfg(test)]
mod tests;
