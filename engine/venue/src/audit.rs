//! The sums that must be zero, counted anew.
//!
//! Owns the check of all that the accounts keep against the books, from scratch. Never: part of a
//! command; it is a pass over the whole state, for tests, for restored snapshots and for whoever
//! wants to see it hold.

use crate::accounts::{AMOUNT_MAX, Account, AccountIndex, EXTERNAL, FUND, Holding};
use crate::clearing::Clearing;
use crate::commands::Side;
use crate::instruments::InstrumentId;
use crate::orders::Orders;
use crate::series::SeriesState;
use crate::venue::Venue;
use quorate::state_machine::SessionId;
use std::collections::{BTreeMap, BTreeSet};
use thiserror::Error;

/// What does not hold among the accounts.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AuditError {
    /// Cash came from nowhere or went there.
    #[error("the cash of all accounts sums to {0}, not to zero")]
    CashSum(i128),
    /// An account stands where none may.
    #[error("account {index} has {cash} units of cash")]
    Cash {
        /// Its place among the accounts.
        index: usize,
        /// What it has.
        cash: i64,
    },
    /// Longs and shorts differ.
    #[error("the positions in instrument {0} sum to {1}, not to zero")]
    PositionSum(u32, i128),
    /// A position that cannot be.
    #[error("account {index}: {fault}")]
    Position {
        /// Its place among the accounts.
        index: usize,
        /// What is wrong with it.
        fault: &'static str,
    },
    /// An order in a series has no account behind it.
    #[error("an order of session {0:?} in a series has no account")]
    Orphan(SessionId),
}

impl Venue {
    /// Counts anew that all cash and all positions sum to zero, that nobody is below zero, and
    /// that what is reserved for orders is what stands in the books. Takes a pass over all orders
    /// and accounts.
    ///
    /// # Errors
    ///
    /// Says what does not hold; a venue without accounts has nothing that could not.
    pub fn audit(&self) -> Result<(), AuditError> {
        let Some(clearing) = &self.market.clearing else {
            return Ok(());
        };
        let mut cash_sum = 0;
        let mut position_sums: BTreeMap<InstrumentId, i128> = BTreeMap::new();
        let mut unseen: BTreeSet<_> = clearing.accounts.holders().collect();
        for (index, account) in clearing.accounts.list().iter().enumerate() {
            cash_sum += i128::from(account.cash);
            for (id, lots) in account.positions() {
                *position_sums.entry(id).or_default() += i128::from(lots);
                if !unseen.remove(&(id, index as AccountIndex)) {
                    let fault = "it is not among the holders of a series that it holds";
                    return Err(AuditError::Position { index, fault });
                }
            }
            check_account(clearing, index, account)?;
        }
        if let Some((_, index)) = unseen.pop_first() {
            let fault = "it is among the holders of a series that it does not hold";
            let index = index as usize;
            return Err(AuditError::Position { index, fault });
        }
        if cash_sum != 0 {
            return Err(AuditError::CashSum(cash_sum));
        }
        if let Some((id, &sum)) = position_sums.iter().find(|&(_, &sum)| sum != 0) {
            return Err(AuditError::PositionSum(id.0, sum));
        }
        check_reserved(clearing, &self.market.orders)
    }
}

fn check_account(clearing: &Clearing, index: usize, account: &Account) -> Result<(), AuditError> {
    let cash = account.cash;
    let bounds = if index == EXTERNAL as usize {
        -AMOUNT_MAX..=0
    } else {
        0..=AMOUNT_MAX
    };
    if !bounds.contains(&cash) {
        return Err(AuditError::Cash { index, cash });
    }
    let fault = |fault| Err(AuditError::Position { index, fault });
    for (id, lots) in account.positions() {
        let Some(series) = clearing.series.get(id) else {
            return fault("it has a position in no series");
        };
        if series.state == SeriesState::Settled {
            return fault("it has a position in a settled series");
        }
        if lots.unsigned_abs() > series.lots_max {
            return fault("its position is above its bound");
        }
        if index == EXTERNAL as usize || (index == FUND as usize && lots > 0) {
            return fault("it has a position that it cannot have");
        }
    }
    for (&id, holding) in &account.holdings {
        let lots_max = clearing.series.get(id).map_or(0, |series| series.lots_max);
        let long = holding.long().saturating_add(holding.buy_lots);
        let short = holding.short().saturating_add(holding.sell_lots);
        if long > lots_max || short > lots_max {
            return fault("its orders could take its position above its bound");
        }
    }
    if account.buy_costs() > i128::from(cash.max(0)) {
        return fault("its bids cost more than it has");
    }
    Ok(())
}

/// Compares what is reserved with the orders in the books.
fn check_reserved(clearing: &Clearing, orders: &Orders) -> Result<(), AuditError> {
    let mut reserved: BTreeMap<(usize, InstrumentId), Holding> = BTreeMap::new();
    for order in orders.iter() {
        let Some(series) = clearing.series.get(order.instrument) else {
            continue;
        };
        let index = clearing.accounts.find(order.session);
        let index = index.ok_or(AuditError::Orphan(order.session))? as usize;
        let holding = reserved.entry((index, order.instrument)).or_default();
        match order.side {
            Side::Buy => {
                holding.buy_lots += order.open_lots;
                holding.buy_cost += series.terms.cash(order.price_ticks, order.open_lots);
            }
            Side::Sell => holding.sell_lots += order.open_lots,
        }
    }
    for (index, account) in clearing.accounts.list().iter().enumerate() {
        for (&id, holding) in &account.holdings {
            let lots = holding.lots;
            let expected = reserved.remove(&(index, id)).unwrap_or_default();
            if *holding != (Holding { lots, ..expected }) {
                let fault = "what it has reserved is not what stands in the books";
                return Err(AuditError::Position { index, fault });
            }
        }
    }
    match reserved.first_key_value() {
        Some((&(index, _), _)) => {
            let fault = "it has reserved nothing for an order in the books";
            Err(AuditError::Position { index, fault })
        }
        None => Ok(()),
    }
}
