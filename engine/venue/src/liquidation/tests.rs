//! Tests of how much a liquidation looks at.

use super::*;
use crate::accounts::{EXTERNAL, FIRST};
use crate::clearing::ClearingConfig;
use crate::config::VenueConfig;
use crate::feeds::{FeedConfig, FeedValidator, PriceState};
use crate::instruments::Instrument;
use crate::orders::Order;
use crate::series::{ExerciseStyle, Right, SeriesTerms};
use quorate::state_machine::{Output, SessionId};

/// The instruments: a plain one, and calls of strike 100 at a price of 120.
const SPOT: InstrumentId = InstrumentId(0);
const CALLS: InstrumentId = InstrumentId(1);

/// The first account, of the session of this number.
const A: AccountIndex = FIRST;

fn session(index: AccountIndex) -> SessionId {
    let mut session = [0; 16];
    session[..4].copy_from_slice(&index.to_le_bytes());
    SessionId(session)
}

/// A venue with so many accounts of this cash.
fn venue(accounts: u32, cash: i64) -> Venue {
    let validator = FeedValidator {
        session: SessionId([9; 16]),
        stake: 1,
    };
    let clearing = ClearingConfig {
        validators: vec![validator],
        feeds: vec![FeedConfig::with_symbol("ABC")],
        ..ClearingConfig::default()
    };
    let instruments = ["SPOT", "CALLS"].map(Instrument::with_symbol).to_vec();
    let mut venue = Venue::new(VenueConfig {
        instruments,
        clearing: Some(clearing),
        ..VenueConfig::default()
    })
    .unwrap();
    let clearing = venue.market.clearing_mut().unwrap();
    let feed = &mut clearing.feeds[0];
    (feed.state, feed.mark, feed.reference) = (PriceState::Fresh, 120, 120);
    let terms = SeriesTerms {
        feed: FeedId(0),
        strike: 100,
        expiry_ns: 1,
        right: Right::Call,
        style: ExerciseStyle::European,
        multiplier: 1,
    };
    let series = Series {
        terms,
        state: SeriesState::Trading,
        due_ns: 1,
        fixing: 0,
        lots_max: 1_000_000,
    };
    clearing.series.set(CALLS, series);
    for index in A..A + accounts {
        assert_eq!(clearing.accounts.open(session(index)), index);
        clearing.accounts.pay(EXTERNAL, index, cash);
    }
    venue
}

fn order(number: u64, index: AccountIndex, instrument: InstrumentId, side: Side) -> Order {
    Order {
        number: OrderNumber(number),
        session: session(index),
        client_order: ClientOrderId(number),
        instrument,
        side,
        price_ticks: number.cast_signed(),
        open_lots: 1,
        executed_lots: 0,
    }
}

/// Measures these accounts. Gives how often an account was looked at.
fn review(venue: &mut Venue, accounts: &[AccountIndex]) -> usize {
    let (mut output, mut scratch) = (Output::new(), Vec::new());
    let mut desk = Desk {
        output: &mut output,
        scratch: &mut scratch,
    };
    // What is touched from here on is what the review touches.
    venue.market.clearing_mut().unwrap().accounts.root();
    visited(venue).set(0);
    venue.review(accounts, &mut desk);
    let looks = visited(venue).get();
    assert_eq!(venue.audit(), Ok(()));
    looks
}

fn visited(venue: &Venue) -> &core::cell::Cell<usize> {
    &venue.market.clearing.as_ref().unwrap().accounts.visited
}

fn sell(venue: &mut Venue, seller: AccountIndex, buyer: AccountIndex, lots: u64) {
    let clearing = venue.market.clearing_mut().unwrap();
    clearing.accounts.transfer(seller, buyer, CALLS, lots);
}

fn position(venue: &Venue, index: AccountIndex) -> i64 {
    let clearing = venue.market.clearing.as_ref().unwrap();
    clearing.accounts.get(index).holding(CALLS).lots
}

/// 32 is what a lot asks.
#[test]
fn who_loses_its_orders_in_series_has_none_looked_at_that_rests_elsewhere() {
    let mut venue = venue(1, 10);
    for number in 1..=10_000 {
        venue.market.add(order(number, A, SPOT, Side::Buy));
    }
    for number in 10_001..=10_003 {
        venue.market.add(order(number, A, CALLS, Side::Sell));
    }
    venue.market.orders.visited.set(0);
    let (mut output, mut scratch) = (Output::new(), Vec::new());
    let mut desk = Desk {
        output: &mut output,
        scratch: &mut scratch,
    };
    venue.disarm(A, &mut desk);
    let visited = venue.market.orders.visited.get();
    assert_eq!(venue.order_count(), 10_000);
    assert!((3..=60).contains(&visited), "{visited}");
}

/// A has 31 for its lot, and another one enough for all others.
#[test]
fn a_lot_that_is_closed_touches_whom_it_falls_to_and_no_other_who_is_long() {
    let mut venue = venue(1_002, 31);
    let (rich, longs) = (A + 1, A + 2..A + 1_002);
    let clearing = venue.market.clearing_mut().unwrap();
    clearing.accounts.pay(EXTERNAL, rich, 1_000_000);
    for long in longs.clone() {
        sell(&mut venue, rich, long, 2);
    }
    sell(&mut venue, A, rich, 1);
    review(&mut venue, &[A]);
    assert_eq!(position(&venue, A), 0);
    assert_eq!(position(&venue, longs.start), 1, "the oldest");
    let touched = venue.market.clearing.as_ref().unwrap().accounts.touched();
    assert_eq!(touched, 3, "both and the fund");
}

#[test]
fn accounts_that_end_together_look_once_at_those_that_are_long() {
    const EACH: u32 = 1_000;
    let mut venue = venue(2 * EACH, 31);
    let shorts: Vec<_> = (A..A + EACH).collect();
    for &short in &shorts {
        sell(&mut venue, short, short + EACH, 1);
    }
    let looks = review(&mut venue, &shorts);
    assert!((A..A + 2 * EACH).all(|index| position(&venue, index) == 0));
    let accounts = 2 * EACH as usize;
    assert!((accounts..=30 * accounts).contains(&looks), "{looks}");
}

#[test]
fn who_is_closed_against_has_no_order_looked_at_that_rests_elsewhere() {
    let mut venue = venue(2, 31);
    let long = A + 1;
    sell(&mut venue, A, long, 1);
    for number in 1..=10_000 {
        venue.market.add(order(number, long, SPOT, Side::Sell));
    }
    venue.market.add(order(10_001, long, CALLS, Side::Sell));
    venue.market.orders.visited.set(0);
    review(&mut venue, &[A]);
    assert_eq!(position(&venue, long), 0);
    let visited = venue.market.orders.visited.get();
    assert_eq!(venue.order_count(), 10_000);
    assert!((1..=30).contains(&visited), "{visited}");
}
