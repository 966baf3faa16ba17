//! Cash and positions.
//!
//! Owns the accounts and the only two ways in which they change: `Accounts::pay` moves cash from
//! one account to another, `Accounts::transfer` moves lots. So the sum of all cash and the sum of
//! all positions of a series are zero at all times; that of the cash is kept besides and asserted
//! after every command. Never: how much must be paid, and why.
//!
//! Two accounts belong to nobody. `EXTERNAL` is the other side of deposits and withdrawals and
//! alone may be below zero: it stands at minus the cash there is. `FUND` is the shared fund that
//! stands behind losses.

use crate::commands::Side;
use crate::instruments::InstrumentId;
use crate::orders::Order;
use crate::roots::{HashTree, account_leaf};
use crate::series::Series;
use crate::wire::Writer;
use quorate::state_machine::SessionId;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Greatest amount of cash: of one payment, of one account and of all deposits together.
pub const AMOUNT_MAX: i64 = 1 << 62;

/// Place of an account among the accounts; given in the order of opening.
pub(crate) type AccountIndex = u32;

/// The other side of deposits and withdrawals.
pub(crate) const EXTERNAL: AccountIndex = 0;
/// The shared fund.
pub(crate) const FUND: AccountIndex = 1;
/// The first account of a session.
pub(crate) const FIRST: AccountIndex = 2;

/// What an account has in one series.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Holding {
    /// Above zero long, below zero short.
    pub(crate) lots: i64,
    /// Lots of its resting bids, and what they cost at their prices. These and those of its asks
    /// follow from the book.
    pub(crate) buy_lots: u64,
    pub(crate) buy_cost: i128,
    /// Lots of its resting asks.
    pub(crate) sell_lots: u64,
}

impl Holding {
    /// Lots that it is short.
    pub(crate) const fn short(&self) -> u64 {
        if self.lots < 0 {
            self.lots.unsigned_abs()
        } else {
            0
        }
    }

    /// Lots that it is long.
    pub(crate) const fn long(&self) -> u64 {
        if self.lots > 0 {
            self.lots.unsigned_abs()
        } else {
            0
        }
    }

    /// Lots that it would be short if all its asks were taken.
    pub(crate) fn short_worst(&self) -> u64 {
        (self.short() + self.sell_lots).saturating_sub(self.long())
    }

    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// One account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Account {
    /// Zeros for the two that belong to nobody.
    pub(crate) session: SessionId,
    /// Never below zero, but for [`EXTERNAL`].
    pub(crate) cash: i64,
    /// Those with lots or orders.
    pub(crate) holdings: BTreeMap<InstrumentId, Holding>,
}

impl Account {
    fn new(session: SessionId) -> Self {
        Self {
            session,
            cash: 0,
            holdings: BTreeMap::new(),
        }
    }

    /// What it has in this series.
    pub(crate) fn holding(&self, id: InstrumentId) -> Holding {
        self.holdings.get(&id).copied().unwrap_or_default()
    }

    /// The positions that are not zero.
    pub(crate) fn positions(&self) -> impl Iterator<Item = (InstrumentId, i64)> {
        let position = |(&id, holding): (&InstrumentId, &Holding)| (id, holding.lots);
        self.holdings
            .iter()
            .map(position)
            .filter(|&(_, lots)| lots != 0)
    }

    /// What all its resting bids cost.
    pub(crate) fn buy_costs(&self) -> i128 {
        self.holdings.values().map(|h| h.buy_cost).sum()
    }

    /// Its bytes in the accounts section, and under its leaf of the tree.
    pub(crate) fn write(&self, w: &mut Writer<'_>) {
        w.bytes(&self.session.0).i64(self.cash);
        w.u32(self.positions().count() as u32);
        for (id, lots) in self.positions() {
            w.u32(id.0).i64(lots);
        }
    }
}

/// All accounts.
#[derive(Debug)]
pub(crate) struct Accounts {
    list: Vec<Account>,
    /// Looked up in and never iterated.
    by_session: HashMap<SessionId, AccountIndex>,
    /// Who has lots of each series, ascending, so that who looks for them need not pass over all
    /// accounts. Follows from the positions; a series that nobody holds is not in it.
    holders: BTreeMap<InstrumentId, BTreeSet<AccountIndex>>,
    /// Kept apart from the payments' own arithmetic.
    cash_sum: i128,
    tree: HashTree,
    /// Accounts that changed since they were hashed; bounded by their number.
    touched: BTreeSet<AccountIndex>,
    /// How often an account was looked at.
    #[cfg(test)]
    pub(crate) visited: core::cell::Cell<usize>,
}

impl Default for Accounts {
    fn default() -> Self {
        let nobody = Account::new(SessionId([0; 16]));
        Self {
            list: vec![nobody.clone(), nobody],
            by_session: HashMap::new(),
            holders: BTreeMap::new(),
            cash_sum: 0,
            tree: HashTree::default(),
            touched: BTreeSet::from([EXTERNAL, FUND]),
            #[cfg(test)]
            visited: core::cell::Cell::default(),
        }
    }
}

impl Accounts {
    pub(crate) fn list(&self) -> &[Account] {
        #[cfg(test)]
        self.visited.set(self.visited.get() + self.list.len());
        &self.list
    }

    /// The places of the accounts of sessions.
    pub(crate) fn clients(&self) -> core::ops::Range<AccountIndex> {
        FIRST..self.list.len() as AccountIndex
    }

    pub(crate) fn find(&self, session: SessionId) -> Option<AccountIndex> {
        self.by_session.get(&session).copied()
    }

    pub(crate) fn get(&self, index: AccountIndex) -> &Account {
        #[cfg(test)]
        self.visited.set(self.visited.get() + 1);
        &self.list[index as usize]
    }

    fn touch(&mut self, index: AccountIndex) -> &mut Account {
        self.touched.insert(index);
        &mut self.list[index as usize]
    }

    /// Opens an account for a session that has none.
    pub(crate) fn open(&mut self, session: SessionId) -> AccountIndex {
        let index = self.list.len() as AccountIndex;
        self.list.push(Account::new(session));
        self.by_session.insert(session, index);
        self.touched.insert(index);
        index
    }

    /// Moves cash. The payer must have it, unless it is [`EXTERNAL`].
    pub(crate) fn pay(&mut self, from: AccountIndex, to: AccountIndex, amount: i64) {
        assert!(amount >= 0, "a payment has one direction");
        self.post(from, -amount);
        self.post(to, amount);
        let payer = self.get(from).cash;
        assert!(
            from == EXTERNAL || payer >= 0,
            "nobody pays what it has not"
        );
    }

    fn post(&mut self, index: AccountIndex, by: i64) {
        let account = self.touch(index);
        let Some(cash) = account.cash.checked_add(by) else {
            unreachable!("all cash together is at most AMOUNT_MAX")
        };
        account.cash = cash;
        self.cash_sum += i128::from(by);
    }

    /// Moves lots of a series; either side may be long or short.
    pub(crate) fn transfer(
        &mut self,
        from: AccountIndex,
        to: AccountIndex,
        id: InstrumentId,
        lots: u64,
    ) {
        let lots = lots.cast_signed();
        self.change(from, id, |holding| holding.lots -= lots);
        self.change(to, id, |holding| holding.lots += lots);
    }

    fn change(&mut self, index: AccountIndex, id: InstrumentId, by: impl FnOnce(&mut Holding)) {
        let account = self.touch(index);
        let holding = account.holdings.entry(id).or_default();
        let held = holding.lots != 0;
        by(holding);
        let holds = holding.lots != 0;
        if holding.is_empty() {
            account.holdings.remove(&id);
        }
        if holds && !held {
            self.holders.entry(id).or_default().insert(index);
        } else if held
            && !holds
            && let Some(holders) = self.holders.get_mut(&id)
        {
            holders.remove(&index);
            if holders.is_empty() {
                self.holders.remove(&id);
            }
        }
    }

    /// The accounts that have lots of a series, with how many, in the order of opening.
    pub(crate) fn held(&self, id: InstrumentId) -> impl Iterator<Item = (AccountIndex, i64)> {
        let holders = self.holders.get(&id).into_iter().flatten();
        holders.map(move |&index| (index, self.get(index).holding(id).lots))
    }

    /// Who is in the index of holders, by series and place.
    pub(crate) fn holders(&self) -> impl Iterator<Item = (InstrumentId, AccountIndex)> {
        let all = self.holders.iter();
        all.flat_map(|(&id, holders)| holders.iter().map(move |&index| (id, index)))
    }

    /// Reserves for an order, or for a part of one, that comes to rest.
    pub(crate) fn reserve(&mut self, order: &Order, series: &Series, lots: u64) {
        let Some(index) = self.find(order.session) else {
            return;
        };
        let cost = series.terms.cash(order.price_ticks, lots);
        self.change(index, order.instrument, |holding| match order.side {
            Side::Buy => {
                holding.buy_lots += lots;
                holding.buy_cost += cost;
            }
            Side::Sell => holding.sell_lots += lots,
        });
    }

    /// Gives back what [`reserve`](Self::reserve) reserved.
    pub(crate) fn release(&mut self, order: &Order, series: &Series, lots: u64) {
        let Some(index) = self.find(order.session) else {
            return;
        };
        let cost = series.terms.cash(order.price_ticks, lots);
        self.change(index, order.instrument, |holding| match order.side {
            Side::Buy => {
                holding.buy_lots -= lots;
                holding.buy_cost -= cost;
            }
            Side::Sell => holding.sell_lots -= lots,
        });
    }

    /// Asserts that the cash of all accounts sums to zero.
    pub(crate) fn assert_zero_sum(&self) {
        assert_eq!(self.cash_sum, 0, "cash came from nowhere or went there");
    }

    /// Brings the tree up to date and gives the root of the section.
    pub(crate) fn root(&mut self) -> [u8; 32] {
        let touched = core::mem::take(&mut self.touched);
        let mut bytes = Vec::new();
        let leaves = touched.iter().map(|&index| {
            bytes.clear();
            self.list[index as usize].write(&mut Writer(&mut bytes));
            (u64::from(index), Some(account_leaf(&bytes)))
        });
        self.tree.update(leaves);
        self.tree.accounts_root(self.list.len())
    }

    /// Accounts that changed since they were hashed.
    #[cfg(test)]
    pub(crate) fn touched(&self) -> usize {
        self.touched.len()
    }

    /// Accounts as a snapshot tells of them; the caller has checked them.
    pub(crate) fn restored(list: Vec<Account>) -> Self {
        let all = 0..list.len() as AccountIndex;
        let indexed = (0..).zip(&list).skip(FIRST as usize);
        let mut holders: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
        for (index, account) in (0..).zip(&list) {
            for (id, _) in account.positions() {
                holders.entry(id).or_default().insert(index);
            }
        }
        Self {
            holders,
            by_session: indexed.map(|(index, a)| (a.session, index)).collect(),
            cash_sum: list.iter().map(|account| i128::from(account.cash)).sum(),
            tree: HashTree::default(),
            touched: all.collect(),
            #[cfg(test)]
            visited: core::cell::Cell::default(),
            list,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cash_and_lots_only_move() {
        let mut accounts = Accounts::default();
        let a = accounts.open(SessionId([1; 16]));
        let b = accounts.open(SessionId([2; 16]));
        accounts.pay(EXTERNAL, a, 100);
        accounts.pay(a, b, 30);
        accounts.transfer(a, b, InstrumentId(0), 5);
        accounts.assert_zero_sum();
        let cash: Vec<i64> = accounts.list().iter().map(|account| account.cash).collect();
        assert_eq!(cash, [-100, 0, 70, 30]);
        let held = |index: AccountIndex| accounts.get(index).holding(InstrumentId(0));
        assert_eq!((held(a).short(), held(a).long()), (5, 0));
        assert_eq!((held(b).short(), held(b).long()), (0, 5));
    }

    #[test]
    fn the_holders_of_a_series_are_those_with_lots_of_it_also_after_a_restart() {
        let mut accounts = Accounts::default();
        let a = accounts.open(SessionId([1; 16]));
        let b = accounts.open(SessionId([2; 16]));
        let c = accounts.open(SessionId([3; 16]));
        let (one, other) = (InstrumentId(1), InstrumentId(2));
        let held = |accounts: &Accounts, id| accounts.held(id).collect::<Vec<_>>();
        accounts.transfer(a, b, one, 5);
        accounts.transfer(a, c, one, 2);
        accounts.transfer(c, a, other, 1);
        assert_eq!(held(&accounts, one), [(a, -7), (b, 5), (c, 2)]);
        assert_eq!(held(&accounts, other), [(a, 1), (c, -1)]);
        let restored = Accounts::restored(accounts.list().to_vec());
        assert_eq!(held(&restored, one), held(&accounts, one));
        assert!(restored.holders().eq(accounts.holders()));
        accounts.transfer(c, a, one, 2);
        assert_eq!(held(&accounts, one), [(a, -5), (b, 5)], "c has none left");
        accounts.transfer(b, a, one, 8);
        assert_eq!(
            held(&accounts, one),
            [(a, 3), (b, -3)],
            "from one side to the other"
        );
        accounts.transfer(a, b, one, 3);
        accounts.transfer(a, c, other, 1);
        assert!(
            accounts.holders.is_empty(),
            "a series that nobody holds takes no memory"
        );
    }

    #[test]
    #[should_panic(expected = "nobody pays what it has not")]
    fn to_pay_what_one_has_not_is_a_bug() {
        let mut accounts = Accounts::default();
        accounts.pay(FUND, EXTERNAL, 1);
    }

    #[test]
    fn the_root_follows_from_the_accounts_alone() {
        let mut first = Accounts::default();
        let a = first.open(SessionId([1; 16]));
        first.pay(EXTERNAL, a, 7);
        let early = first.root();
        first.pay(a, FUND, 3);
        assert_ne!(first.root(), early);
        first.transfer(a, FUND, InstrumentId(3), 1);
        first.transfer(FUND, a, InstrumentId(3), 1);
        let mut copy = Accounts::restored(first.list().to_vec());
        assert_eq!(copy.root(), first.root());
    }
}
