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

/// Measures these accounts.
fn review(venue: &mut Venue, accounts: &[AccountIndex]) {
    let (mut output, mut scratch) = (Output::new(), Vec::new());
    let mut desk = Desk {
        output: &mut output,
        scratch: &mut scratch,
    };
    venue.review(accounts, &mut desk);
    assert_eq!(venue.audit(), Ok(()));
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
