//! Tests of payments: who pays when someone has too little, and how lots are shared.

use super::*;
use crate::accounts::{EXTERNAL, FIRST};
use crate::clearing::ClearingConfig;
use crate::config::VenueConfig;
use crate::feeds::{FeedConfig, FeedValidator};
use crate::instruments::Instrument;
use crate::series::{Right, SeriesTerms};
use proptest::prelude::*;
use quorate::state_machine::{Output, SessionId};

fn config() -> ClearingConfig {
    ClearingConfig {
        validators: vec![FeedValidator {
            session: SessionId([9; 16]),
            stake: 1,
        }],
        feeds: vec![FeedConfig::with_symbol("ABC")],
        ..ClearingConfig::default()
    }
}

/// Accounts with this cash, the fund first.
pub(super) fn clearing(fund: i64, cash: &[i64]) -> Clearing {
    let mut clearing = Clearing::new(config()).unwrap();
    clearing.accounts.pay(EXTERNAL, FUND, fund);
    for (number, &amount) in (1..).zip(cash) {
        let index = clearing.accounts.open(SessionId([number; 16]));
        clearing.accounts.pay(EXTERNAL, index, amount);
    }
    clearing
}

pub(super) fn cash(clearing: &Clearing) -> Vec<i64> {
    let accounts = clearing.accounts.list().iter().skip(1);
    accounts.map(|account| account.cash).collect()
}

const A: AccountIndex = FIRST;
const B: AccountIndex = FIRST + 1;
const C: AccountIndex = FIRST + 2;

#[test]
fn who_can_pay_pays_in_full_and_the_fund_is_not_touched() {
    let mut clearing = clearing(5, &[100, 50, 0]);
    let payment = clearing.settle(&[(A, 60), (B, 40)], &[(C, 100)]);
    assert_eq!(cash(&clearing), [5, 40, 10, 100]);
    assert_eq!((payment.fund_paid, payment.total()), (0, 100));
}

#[test]
fn the_fund_pays_what_a_payer_has_not() {
    let mut clearing = clearing(50, &[10, 0]);
    let payment = clearing.settle(&[(A, 30)], &[(B, 30)]);
    assert_eq!(cash(&clearing), [30, 0, 30]);
    assert_eq!((payment.fund_paid, payment.paid), (20, vec![(A, 10)]));
}

#[test]
fn beyond_the_fund_the_payees_share_what_there_is_rounded_down() {
    let mut clearing = clearing(3, &[7, 0, 0]);
    // 10 of 30: the shares are 6.67 and 3.33, and the unit that rounding leaves is the fund's.
    let payment = clearing.settle(&[(A, 30)], &[(B, 20), (C, 10)]);
    assert_eq!(payment.got, [(B, 6), (C, 3)]);
    assert_eq!(cash(&clearing), [1, 0, 6, 3]);
    clearing.accounts.assert_zero_sum();
}

#[test]
fn what_the_fund_paid_is_told_without_what_rounding_leaves_in_it() {
    // The pool is 10 and each gets 3 of the 100 it is due.
    for (fund, payer) in [(10, 0), (3, 7), (1, 9), (0, 10)] {
        let mut clearing = clearing(fund, &[payer, 0, 0, 0]);
        let due = [(B, 100), (C, 100), (C + 1, 100)];
        let payment = clearing.settle(&[(A, 300)], &due);
        assert_eq!(cash(&clearing), [1, 0, 3, 3, 3]);
        assert_eq!(payment.fund_paid, fund - 1);
        let paid: i64 = payment.paid.iter().map(|&(_, amount)| amount).sum();
        assert_eq!(payment.total() - paid - payment.fund_paid, 0);
    }
}

#[test]
fn a_share_of_the_greatest_claims_is_exact() {
    assert_eq!(share(CLAIM_MAX, CLAIM_MAX, CLAIM_MAX), CLAIM_MAX);
    assert_eq!(share(CLAIM_MAX, CLAIM_MAX - 1, CLAIM_MAX), CLAIM_MAX - 1);
    let amount_max = i128::from(AMOUNT_MAX);
    let each = amount_max / i128::from(ACCOUNTS_MAX);
    assert_eq!(share(CLAIM_MAX, amount_max, CLAIMS_MAX), each);
    assert_eq!(share(CLAIM_MAX - 1, amount_max, CLAIMS_MAX), each - 1);
}

#[test]
fn the_fund_pays_for_what_it_is_short_itself() {
    let mut clearing = clearing(25, &[10, 0]);
    let payment = clearing.settle(&[(FUND, 20), (A, 10)], &[(B, 30)]);
    assert_eq!(cash(&clearing), [5, 0, 30]);
    assert_eq!((payment.fund_paid, payment.paid), (20, vec![(A, 10)]));
}

proptest! {
    #[test]
    fn a_share_is_the_product_divided(
        amount in 0..1_i128 << 62,
        part in 0..1_i128 << 62,
        above in 0..1_i128 << 62,
    ) {
        let all = (part + above).max(1);
        prop_assert_eq!(share(amount, part, all), amount * part / all);
    }

    #[test]
    fn a_share_is_within_a_lot_of_its_proportion_and_all_are_shared(
        held in prop::collection::vec(1..1_000_u64, 1..20),
        part in 0..=1_000_u64,
    ) {
        let all: u64 = held.iter().sum();
        let lots = all * part / 1_000;
        let holders: Vec<_> = (FIRST..).zip(held).collect();
        let shares = share_lots(lots, &holders);
        prop_assert_eq!(shares.iter().map(|s| s.1).sum::<u64>(), lots);
        for (&(index, held), &(same, share)) in holders.iter().zip(&shares) {
            prop_assert_eq!(index, same);
            prop_assert!(share <= held);
            let scaled = u128::from(lots) * u128::from(held);
            let exact = u128::from(share) * u128::from(all);
            // One whose share is even may get one of the lots that are left: a whole lot more.
            prop_assert!(scaled.abs_diff(exact) <= u128::from(all));
        }
    }

    #[test]
    fn nobody_pays_more_than_it_owes_or_gets_more_than_is_due(
        fund in 0..50_i64,
        payers in prop::collection::vec((0..50_i64, 0..50_i64), 1..5),
        shares in prop::collection::vec(0..50_i64, 1..4),
    ) {
        let has: Vec<i64> = payers.iter().map(|p| p.0).collect();
        let all = [has.as_slice(), vec![0; shares.len()].as_slice()].concat();
        let mut clearing = clearing(fund, &all);
        let owes = payers.iter().map(|&(_, owes)| i128::from(owes));
        let mut owed: Vec<Claim> = (FIRST..).zip(owes).collect();
        let first_payee = FIRST + payers.len() as AccountIndex;
        let due: Vec<Claim> = (first_payee..).zip(shares.iter().map(|&s| i128::from(s))).collect();
        // Both sides have the same sum: the last payer owes the difference, or the fund does.
        let sum = |claims: &[Claim]| claims.iter().map(|claim| claim.1).sum::<i128>();
        let difference = sum(&due) - sum(&owed);
        prop_assume!(difference >= 0);
        owed.push((FUND, difference));
        let payment = clearing.settle(&owed, &due);
        clearing.accounts.assert_zero_sum();
        for (&(_, owes), &(index, paid)) in owed.iter().zip(&payment.paid) {
            prop_assert!(i128::from(paid) <= owes);
            prop_assert!(i128::from(paid) == owes || clearing.accounts.get(index).cash == 0);
        }
        let due_all = sum(&due);
        for (&(_, due), &(_, got)) in due.iter().zip(&payment.got) {
            prop_assert!(i128::from(got) <= due);
        }
        let short = i128::from(payment.total()) < due_all;
        prop_assert!(!short || clearing.accounts.get(FUND).cash < shares.len() as i64);
    }
}

pub(super) fn series() -> Series {
    let terms = SeriesTerms {
        feed: FeedId(0),
        strike: 100,
        expiry_ns: 1,
        right: Right::Call,
        style: ExerciseStyle::American,
        multiplier: 1,
    };
    Series {
        terms,
        state: SeriesState::Trading,
        due_ns: 1,
        fixing: 0,
        lots_max: 1_000,
    }
}

/// To its own time it would be deferred again and again; to the time of its block, twice.
#[test]
fn a_deferral_is_to_the_next_whole_window_after_the_block_it_comes_in() {
    const DUE: u64 = 1_000_000_000_000;
    let id = InstrumentId(0);
    let rules = config().rules;
    let window = u64::from(rules.window_rounds) * config().feeds[0].round_ns;
    let rows = [
        (0, 1),
        (1, 1),
        (window - 1, 1),
        (window, 2),
        (window + 1, 2),
        (3 * window, 4),
    ];
    for (late, windows) in rows {
        let mut venue = Venue::new(VenueConfig {
            instruments: vec![Instrument::with_symbol("ABC")],
            clearing: Some(config()),
            ..VenueConfig::default()
        })
        .unwrap();
        let waiting = Series {
            due_ns: DUE,
            ..series()
        };
        venue.market.clearing_mut().unwrap().series.set(id, waiting);
        let (mut output, mut scratch) = (Output::new(), Vec::new());
        let mut desk = Desk {
            output: &mut output,
            scratch: &mut scratch,
        };
        assert!(venue.fix(id, DUE + late, &mut desk).is_none());
        let due = venue.market.clearing_mut().unwrap().series.due_first_ns();
        assert_eq!(due, Some(DUE + windows * window), "{late} ns late");
    }
}

#[test]
fn an_exercise_visits_the_accounts_of_its_series_and_no_others() {
    let mut clearing = clearing(0, &[]);
    let mut open = |number: u64| {
        let mut session = [0; 16];
        session[..8].copy_from_slice(&number.to_le_bytes());
        let index = clearing.accounts.open(SessionId(session));
        clearing.accounts.pay(EXTERNAL, index, 100);
        index
    };
    let indices: Vec<_> = (1..=10_000).map(&mut open).collect();
    let (holder, short) = (indices[70], indices[9_000]);
    let (id, other) = (InstrumentId(0), InstrumentId(1));
    clearing.series.set(id, series());
    clearing.accounts.transfer(short, holder, id, 2);
    for &index in &indices[..5_000] {
        clearing.accounts.transfer(index, indices[5_000], other, 1);
    }
    clearing.accounts.root();
    clearing.accounts.visited.set(0);
    let (assigned, payment) = clearing.assign(holder, id, 1, 10).unwrap();
    assert_eq!(
        (assigned, payment.paid),
        (vec![(short, 1)], vec![(short, 10)])
    );
    // Each of the two for its lots, and the payers, payee and fund again to be paid.
    let visited = clearing.accounts.visited.get();
    assert!((2..=20).contains(&visited), "{visited}");
    assert_eq!(clearing.accounts.touched(), 3);
}

#[test]
fn an_exercise_of_one_lot_touches_holder_fund_and_one_short_account_however_many_there_are() {
    let mut clearing = clearing(0, &[100; 100]);
    let id = InstrumentId(0);
    clearing.series.set(id, series());
    for index in B..A + 100 {
        clearing.accounts.transfer(index, A, id, 2);
    }
    clearing.accounts.root();
    let (assigned, payment) = clearing.assign(A, id, 1, 10).unwrap();
    assert_eq!((assigned, payment.paid), (vec![(B, 1)], vec![(B, 10)]));
    assert_eq!(clearing.accounts.touched(), 3);
}
