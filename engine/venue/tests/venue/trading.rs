//! What happens to orders, told step by step.

use crate::support::{ADMIN, Desk, Told, limit, order, reduce, replace, session};
use quorate::state_machine::{SessionEvent, StateMachine};
use quorate_venue::query::DepthLevel;
use quorate_venue::{
    Answer, CancelReason, ClientOrderId, Command, InstrumentId, OrderKind, OrderNumber,
    PublicEvent, Question, Role, SelfTrade, SessionReport, Side, Status, VenueLimits,
};

fn desk() -> Desk {
    Desk::new(VenueLimits::default())
}

/// The trades among these outputs: resting order, price, size.
fn trades(told: &[Told]) -> Vec<(u64, i64, u64)> {
    let trade = |told: &Told| match *told {
        Told::Public(PublicEvent::Traded {
            resting,
            price_ticks,
            size_lots,
            ..
        }) => Some((resting.0, price_ticks, size_lots)),
        _ => None,
    };
    told.iter().filter_map(trade).collect()
}

#[test]
fn a_taking_order_tells_everyone_concerned_in_order() {
    let mut desk = desk();
    let told = desk.apply(session(1), &limit(7, Side::Sell, 20, 5));
    let (instrument, order) = (InstrumentId(0), OrderNumber(1));
    assert_eq!(
        told,
        [
            Told::Session(
                session(1),
                SessionReport::Accepted {
                    client_order: ClientOrderId(7),
                    order,
                    instrument,
                    side: Side::Sell,
                    kind: OrderKind::Limit,
                    price_ticks: 20,
                    size_lots: 5
                }
            ),
            Told::Public(PublicEvent::Added {
                instrument,
                order,
                side: Side::Sell,
                price_ticks: 20,
                open_lots: 5
            }),
        ]
    );
    let told = desk.apply(session(2), &limit(8, Side::Buy, 21, 3));
    let executed = |name, order, role, open_lots| SessionReport::Executed {
        client_order: ClientOrderId(name),
        order: OrderNumber(order),
        trade: 1,
        role,
        price_ticks: 20,
        size_lots: 3,
        open_lots,
    };
    assert_eq!(
        told[1..],
        [
            Told::Public(PublicEvent::Traded {
                instrument,
                trade: 1,
                resting: OrderNumber(1),
                incoming: OrderNumber(2),
                incoming_side: Side::Buy,
                price_ticks: 20,
                size_lots: 3,
                resting_open_lots: 2
            }),
            Told::Session(session(1), executed(7, 1, Role::Resting, 2)),
            Told::Session(session(2), executed(8, 2, Role::Incoming, 0)),
        ]
    );
}

#[test]
fn the_better_price_goes_first_and_then_the_earlier_order() {
    let mut desk = desk();
    for (name, price) in [(1, 21), (2, 20), (3, 20), (4, 19)] {
        desk.apply(session(1), &limit(name, Side::Sell, price, 5));
    }
    let told = desk.apply(session(2), &limit(1, Side::Buy, 20, 18));
    assert_eq!(trades(&told), [(4, 19, 5), (2, 20, 5), (3, 20, 5)]);
    let told = desk.apply(session(3), &limit(1, Side::Sell, 20, 1));
    assert_eq!(
        trades(&told),
        [(5, 20, 1)],
        "the remainder rests at its own price"
    );
}

#[test]
fn a_reduction_keeps_the_place_and_a_replacement_loses_it() {
    let mut desk = desk();
    for name in 1..=3 {
        desk.apply(session(1), &limit(name, Side::Sell, 20, 5));
    }
    desk.apply(session(1), &reduce(1, 2));
    desk.apply(session(1), &replace(2, 2, 20, 5));
    let told = desk.apply(session(2), &order(OrderKind::Market, 1, Side::Buy, 0, 13));
    assert_eq!(trades(&told), [(1, 20, 3), (3, 20, 5), (4, 20, 5)]);
}

#[test]
fn immediate_and_market_orders_never_rest() {
    let mut desk = desk();
    desk.apply(session(1), &limit(1, Side::Sell, 20, 5));
    desk.apply(session(1), &limit(2, Side::Sell, 30, 5));
    for (kind, price, left) in [
        (OrderKind::ImmediateOrCancel, 20, 7),
        (OrderKind::Market, 0, 2),
    ] {
        let told = desk.apply(session(2), &order(kind, 1, Side::Buy, price, left + 5));
        let Some(Told::Session(
            _,
            SessionReport::Cancelled {
                size_lots, reason, ..
            },
        )) = told.last()
        else {
            panic!("{told:?}")
        };
        assert_eq!((*size_lots, *reason), (left, CancelReason::Unfilled));
    }
    assert_eq!(desk.venue.order_count(), 0);
}

#[test]
fn self_trade_prevention_does_what_the_incoming_order_chose() {
    for (self_trade, traded, resting) in [
        (SelfTrade::CancelIncoming, vec![(1, 20, 5)], 2),
        (SelfTrade::CancelResting, vec![(1, 20, 5), (3, 20, 5)], 1),
        (
            SelfTrade::Permit,
            vec![(1, 20, 5), (2, 20, 5), (3, 20, 2)],
            1,
        ),
    ] {
        let mut desk = desk();
        desk.apply(session(1), &limit(1, Side::Sell, 20, 5));
        desk.apply(session(2), &limit(1, Side::Sell, 20, 5));
        desk.apply(session(1), &limit(3, Side::Sell, 20, 5));
        let incoming = Command::New {
            kind: OrderKind::Limit,
            side: Side::Buy,
            self_trade,
            instrument: InstrumentId(0),
            client_order: ClientOrderId(9),
            price_ticks: 20,
            size_lots: 12,
        };
        let told = desk.apply(session(2), &incoming);
        assert_eq!(trades(&told), traded, "{self_trade:?}");
        assert_eq!(desk.venue.order_count(), resting, "{self_trade:?}");
    }
}

#[test]
fn a_mass_cancel_takes_the_sessions_orders_oldest_first() {
    let mut desk = desk();
    for name in [5, 3, 9] {
        desk.apply(session(1), &limit(name, Side::Buy, 10, 1));
        desk.apply(session(2), &limit(name, Side::Buy, 10, 1));
    }
    let told = desk.apply(session(1), &Command::MassCancel { instrument: None });
    let names: Vec<u64> = told
        .iter()
        .filter_map(|told| match told {
            Told::Session(to, SessionReport::Cancelled { client_order, .. }) => {
                assert_eq!(*to, session(1));
                Some(client_order.0)
            }
            _ => None,
        })
        .collect();
    assert_eq!(names, [5, 3, 9]);
    let seq = desk.height;
    let done = Told::Session(session(1), SessionReport::MassCancelled { seq, count: 3 });
    assert_eq!(told.last(), Some(&done));
    assert_eq!(desk.venue.order_count(), 3);
}

#[test]
fn a_mass_cancel_of_one_instrument_leaves_the_others() {
    let mut desk = desk();
    desk.apply(session(1), &limit(1, Side::Buy, 10, 1));
    desk.apply(
        session(1),
        &Command::MassCancel {
            instrument: Some(InstrumentId(1)),
        },
    );
    assert_eq!(desk.venue.order_count(), 1);
    desk.apply(
        session(1),
        &Command::MassCancel {
            instrument: Some(InstrumentId(0)),
        },
    );
    assert_eq!(desk.venue.order_count(), 0);
}

#[test]
fn a_halt_is_told_to_all_and_instruments_are_apart() {
    let mut desk = desk();
    let instrument = InstrumentId(1);
    let told = desk.apply(ADMIN, &Command::Halt { instrument });
    let (seq, status) = (desk.height, Status::Halted);
    assert_eq!(
        told,
        [
            Told::Session(
                ADMIN,
                SessionReport::Administered {
                    seq,
                    instrument,
                    status
                }
            ),
            Told::Public(PublicEvent::StatusChanged { instrument, status }),
        ]
    );
    assert_eq!(desk.venue.status(InstrumentId(0)), Some(Status::Trading));
    assert_eq!(desk.venue.status(instrument), Some(status));
}

#[test]
fn questions_are_answered_from_the_state() {
    let mut desk = desk();
    desk.apply(session(1), &limit(1, Side::Buy, 10, 5));
    desk.apply(session(2), &limit(1, Side::Sell, 10, 2));
    let ask = |desk: &Desk, question: Question| {
        let (mut bytes, mut answer) = (Vec::new(), Vec::new());
        question.encode(&mut bytes);
        assert_eq!(Question::decode(&bytes), Ok(question));
        desk.venue.query(&bytes, &mut answer);
        let decoded = Answer::decode(&answer).unwrap();
        let mut again = Vec::new();
        decoded.encode(&mut again);
        assert_eq!(again, answer);
        decoded
    };
    let own = Question::Order {
        session: session(1),
        client_order: ClientOrderId(1),
    };
    let expected = Answer::Order {
        order: OrderNumber(1),
        instrument: InstrumentId(0),
        side: Side::Buy,
        price_ticks: 10,
        open_lots: 3,
        executed_lots: 2,
    };
    assert_eq!(ask(&desk, own), expected);
    let Answer::Depth { bids, asks, .. } = ask(
        &desk,
        Question::Best {
            instrument: InstrumentId(0),
        },
    ) else {
        panic!("no depth")
    };
    assert_eq!((bids.len(), bids[0].open_lots, asks.len()), (1, 3, 0));
    for (levels, is_one) in [(0, false), (1, true), (1_024, true), (1_025, false)] {
        let question = Question::Depth {
            instrument: InstrumentId(0),
            levels,
        };
        let mut bytes = Vec::new();
        question.encode(&mut bytes);
        assert_eq!(Question::decode(&bytes).is_ok(), is_one, "{levels}");
    }
    let Answer::Instrument { instrument, .. } = ask(
        &desk,
        Question::Instrument {
            instrument: InstrumentId(1),
        },
    ) else {
        panic!("no instrument")
    };
    assert_eq!(instrument.symbol, "BBB");
}

/// A reader of the best prices takes each side for one level.
#[test]
fn of_each_side_as_many_levels_are_told_as_were_asked_for_from_the_best_on() {
    let mut desk = desk();
    for price in [10, 11, 12] {
        desk.apply(session(1), &limit(price, Side::Buy, price as i64, 5));
        desk.apply(
            session(1),
            &limit(price + 10, Side::Sell, price as i64 + 10, 5),
        );
    }
    let instrument = InstrumentId(0);
    let depth = |levels| Question::Depth { instrument, levels };
    let rows: [(Question, &[i64], &[i64]); 4] = [
        (Question::Best { instrument }, &[12], &[20]),
        (depth(1), &[12], &[20]),
        (depth(2), &[12, 11], &[20, 21]),
        (depth(3), &[12, 11, 10], &[20, 21, 22]),
    ];
    for (question, expected_bids, expected_asks) in rows {
        let (mut bytes, mut answer) = (Vec::new(), Vec::new());
        question.encode(&mut bytes);
        desk.venue.query(&bytes, &mut answer);
        let Ok(Answer::Depth { bids, asks, .. }) = Answer::decode(&answer) else {
            panic!("{question:?}")
        };
        let prices = |side: &[DepthLevel]| -> Vec<i64> {
            side.iter().map(|level| level.price_ticks).collect()
        };
        assert_eq!(prices(&bids), expected_bids, "{question:?}");
        assert_eq!(prices(&asks), expected_asks, "{question:?}");
    }
}

#[test]
fn orders_of_a_session_that_is_silent_or_has_ended_leave_the_book_and_no_others() {
    for event in [
        SessionEvent::TimedOut,
        SessionEvent::Closed,
        SessionEvent::Evicted,
    ] {
        let mut desk = desk();
        desk.apply(session(1), &limit(1, Side::Sell, 20, 5));
        desk.apply(session(2), &limit(2, Side::Sell, 21, 5));
        desk.apply(session(1), &limit(3, Side::Buy, 10, 7));
        let opened = SessionEvent::Opened { key: [1; 32] };
        assert_eq!(desk.befall(session(1), opened), []);
        let before = desk.roots();
        let told = desk.befall(session(1), event);
        let cancelled: Vec<(u64, CancelReason)> = told
            .iter()
            .filter_map(|told| match *told {
                Told::Session(
                    to,
                    SessionReport::Cancelled {
                        client_order,
                        reason,
                        ..
                    },
                ) if to == session(1) => Some((client_order.0, reason)),
                _ => None,
            })
            .collect();
        let absent = CancelReason::Absent;
        assert_eq!(cancelled, [(1, absent), (3, absent)], "{event:?}");
        assert_eq!(desk.venue.order_count(), 1);
        assert_ne!(desk.roots(), before, "the roots know it");
        assert_eq!(desk.befall(session(1), event), [], "nothing is left");
        let told = desk.apply(session(3), &limit(4, Side::Buy, 30, 9));
        assert_eq!(trades(&told), [(2, 21, 5)]);
    }
}
