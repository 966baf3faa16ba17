//! Tests of how many orders a command looks at.

use super::*;
use crate::commands::Side;
use crate::orders::Order;
use crate::reports::OrderNumber;
use quorate::state_machine::Lane;

/// As many as a session may have had by default in any version.
const MANY: u64 = 1 << 16;

const WHO: SessionId = SessionId([1; 16]);

/// A bid of [`WHO`] at a price of its own.
fn bid(number: u64, instrument: u32) -> Order {
    Order {
        number: OrderNumber(number),
        session: WHO,
        client_order: ClientOrderId(number),
        instrument: InstrumentId(instrument),
        side: Side::Buy,
        price_ticks: number.cast_signed(),
        open_lots: 1,
        executed_lots: 0,
    }
}

/// Cancels all orders of [`WHO`] in an instrument: how many there were, and how often an order was
/// looked at.
fn mass_cancel(venue: &mut Venue, instrument: u32) -> (usize, usize) {
    let command = Command::MassCancel {
        instrument: Some(InstrumentId(instrument)),
    };
    let mut bytes = Vec::new();
    command.encode(&mut bytes);
    let context = Context {
        height: 1,
        index: 0,
        time_ns: 1,
        session: WHO,
        seq: 1,
        lane: Lane::Cancel,
    };
    let (before, mut output) = (venue.order_count(), Output::new());
    venue.market.orders.visited.set(0);
    venue.apply(&context, &bytes, &mut output);
    let visited = venue.market.orders.visited.get();
    (before - venue.order_count(), visited)
}

/// It costs a client nothing, and a block holds thousands.
#[test]
fn a_mass_cancel_in_one_instrument_looks_at_no_order_in_another() {
    let instruments = ["AAA", "BBB"].map(Instrument::with_symbol).to_vec();
    let mut venue = Venue::new(VenueConfig {
        instruments,
        ..VenueConfig::default()
    })
    .unwrap();
    for number in 1..=MANY {
        venue.market.add(bid(number, 0));
    }
    venue.conclude();
    assert_eq!(mass_cancel(&mut venue, 1), (0, 0));
    for number in 1..=3 {
        venue.market.add(bid(MANY + number, 1));
    }
    let (count, visited) = mass_cancel(&mut venue, 1);
    assert_eq!(count, 3);
    assert!((3..=30).contains(&visited), "{visited}");
    assert_eq!(mass_cancel(&mut venue, 0).0, MANY as usize);
}
