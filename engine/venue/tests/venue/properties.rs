//! Random command sequences: the venue against a naive second one, and what must hold always.

use crate::support::naive::Naive;
use crate::support::{ADMIN, Desk, Told, session};
use proptest::prelude::*;
use quorate::state_machine::{SessionId, StateMachine};
use quorate_venue::query::DepthLevel;
use quorate_venue::{
    Answer, ClientOrderId, Command, InstrumentId, OrderKind, PublicEvent, Question, SelfTrade,
    Side, VenueLimits,
};
use std::collections::BTreeMap;

/// Limits that random sequences reach.
const TIGHT: VenueLimits = VenueLimits {
    orders_max: 12,
    orders_per_session_max: 6,
    levels_per_side_max: 4,
};

fn choice<T: Copy + std::fmt::Debug + 'static>(all: &'static [T]) -> impl Strategy<Value = T> {
    (0..all.len()).prop_map(move |at| all[at])
}

/// Prices near one another, so that orders meet, with a few out of bounds.
fn price() -> impl Strategy<Value = i64> {
    prop_oneof![40 => 95..=105_i64, 1 => Just(0), 1 => Just(1001), 1 => Just(i64::MIN)]
}

fn size() -> impl Strategy<Value = u64> {
    prop_oneof![40 => 1..=20_u64, 2 => Just(100), 1 => Just(0), 1 => Just(101), 1 => Just(u64::MAX)]
}

fn name() -> impl Strategy<Value = ClientOrderId> {
    (0..10_u64).prop_map(ClientOrderId)
}

fn instrument() -> impl Strategy<Value = InstrumentId> {
    prop_oneof![20 => Just(0), 10 => Just(1), 1 => Just(2)].prop_map(InstrumentId)
}

fn new_order() -> impl Strategy<Value = Command> {
    let parts = (
        choice(OrderKind::ALL),
        choice(Side::ALL),
        choice(SelfTrade::ALL),
        instrument(),
        name(),
        price(),
        size(),
    );
    parts.prop_map(
        |(kind, side, self_trade, instrument, client_order, price, size_lots)| {
            let price_ticks = if kind == OrderKind::Market { 0 } else { price };
            Command::New {
                kind,
                side,
                self_trade,
                instrument,
                client_order,
                price_ticks,
                size_lots,
            }
        },
    )
}

fn replacement() -> impl Strategy<Value = Command> {
    let kind = choice(&[OrderKind::Limit, OrderKind::PostOnly]);
    let parts = (
        kind,
        choice(SelfTrade::ALL),
        name(),
        name(),
        price(),
        size(),
    );
    parts.prop_map(
        |(kind, self_trade, client_order, new_client_order, price_ticks, size_lots)| {
            Command::Replace {
                kind,
                self_trade,
                client_order,
                new_client_order,
                price_ticks,
                size_lots,
            }
        },
    )
}

fn step() -> impl Strategy<Value = (SessionId, Command)> {
    let client = || (1..=3_u8).prop_map(session);
    let halting = prop_oneof![
        instrument().prop_map(|instrument| Command::Halt { instrument }),
        instrument().prop_map(|instrument| Command::Resume { instrument }),
    ];
    let admin = prop_oneof![4 => Just(ADMIN), 1 => client()];
    let by = prop_oneof![10 => 1..=20_u64, 1 => Just(0)];
    prop_oneof![
        30 => (client(), new_order()),
        8 => (client(), replacement()),
        5 => (client(), name().prop_map(|client_order| Command::Cancel { client_order })),
        5 => (client(), (name(), by).prop_map(|(client_order, by_lots)| Command::Reduce {
            client_order,
            by_lots,
        })),
        1 => (client(), prop::option::of(instrument()).prop_map(|instrument| {
            Command::MassCancel { instrument }
        })),
        2 => (admin, halting),
    ]
}

fn limits() -> impl Strategy<Value = VenueLimits> {
    prop_oneof![Just(TIGHT), Just(VenueLimits::default())]
}

/// The book section that the naive venue's orders make.
fn book_section(naive: &Naive) -> Vec<u8> {
    let mut orders = naive.orders.clone();
    orders.sort_by_key(|order| order.number);
    let mut bytes = vec![1];
    bytes.extend((orders.len() as u64).to_le_bytes());
    for order in orders {
        bytes.extend(order.number.to_le_bytes());
        bytes.extend(order.session.0);
        bytes.extend(order.name.0.to_le_bytes());
        bytes.extend(order.instrument.0.to_le_bytes());
        bytes.push(order.side as u8);
        bytes.extend(order.price.to_le_bytes());
        bytes.extend(order.open.to_le_bytes());
        bytes.extend(order.executed.to_le_bytes());
    }
    bytes
}

/// Price, open size and count of orders of a level.
type Rung = (i64, u64, u32);

fn depth(desk: &Desk, instrument: InstrumentId) -> [Vec<Rung>; 2] {
    let (mut question, mut answer) = (Vec::new(), Vec::new());
    Question::Depth {
        instrument,
        levels: 1024,
    }
    .encode(&mut question);
    desk.venue.query(&question, &mut answer);
    let Ok(Answer::Depth { bids, asks, .. }) = Answer::decode(&answer) else {
        panic!("no depth in {answer:?}")
    };
    let rung = |level: &DepthLevel| (level.price_ticks, level.open_lots, level.order_count);
    [bids, asks].map(|levels| levels.iter().map(rung).collect())
}

fn naive_depth(naive: &Naive, instrument: InstrumentId, side: Side) -> Vec<Rung> {
    let mut levels: BTreeMap<i64, (u64, u32)> = BTreeMap::new();
    for order in &naive.orders {
        if order.instrument == instrument && order.side == side {
            let level = levels.entry(order.price).or_default();
            *level = (level.0 + order.open, level.1 + 1);
        }
    }
    let mut levels: Vec<_> = levels
        .into_iter()
        .map(|(p, (open, n))| (p, open, n))
        .collect();
    if side == Side::Buy {
        levels.reverse();
    }
    levels
}

/// The full book as a listener keeps it from the public events alone: number to open size.
fn listen(seen: &mut BTreeMap<u64, u64>, told: &[Told]) {
    for event in told {
        let Told::Public(event) = event else { continue };
        match *event {
            PublicEvent::Added {
                order, open_lots, ..
            } => {
                assert_eq!(seen.insert(order.0, open_lots), None);
            }
            PublicEvent::Traded {
                resting,
                size_lots,
                resting_open_lots,
                ..
            } => {
                let open = seen
                    .get_mut(&resting.0)
                    .expect("only resting orders are traded with");
                *open -= size_lots;
                assert_eq!(*open, resting_open_lots);
                if *open == 0 {
                    seen.remove(&resting.0);
                }
            }
            PublicEvent::Reduced {
                order, open_lots, ..
            } => {
                let before = seen
                    .insert(order.0, open_lots)
                    .expect("only resting orders shrink");
                assert!(0 < open_lots && open_lots < before);
            }
            PublicEvent::Removed { order, .. } => {
                seen.remove(&order.0)
                    .expect("only resting orders are removed");
            }
            _ => {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 256,
        failure_persistence: None,
        ..Default::default()
    })]

    #[test]
    fn the_venue_tells_and_holds_what_the_naive_venue_does(
        limits in limits(),
        steps in prop::collection::vec(step(), 1..200),
    ) {
        let mut desk = Desk::new(limits);
        let mut naive = Naive::new(limits);
        let mut seen = BTreeMap::new();
        for (session, command) in &steps {
            let told = desk.apply(*session, command);
            let expected = naive.apply(*session, desk.height, command);
            prop_assert_eq!(&told, &expected, "{:?}", command);
            listen(&mut seen, &told);
            prop_assert_eq!(desk.snapshot()[2].clone(), book_section(&naive));
            let open: BTreeMap<u64, u64> =
                naive.orders.iter().map(|order| (order.number, order.open)).collect();
            prop_assert_eq!(&seen, &open, "a listener keeps the same book");
            for instrument in [InstrumentId(0), InstrumentId(1)] {
                let [bids, asks] = depth(&desk, instrument);
                prop_assert_eq!(&bids, &naive_depth(&naive, instrument, Side::Buy));
                prop_assert_eq!(&asks, &naive_depth(&naive, instrument, Side::Sell));
                if let (Some(bid), Some(ask)) = (bids.first(), asks.first()) {
                    prop_assert!(bid.0 < ask.0, "the book is never crossed");
                }
            }
        }
    }

    #[test]
    fn a_restored_venue_has_the_same_roots_and_the_same_future(
        before in prop::collection::vec(step(), 0..120),
        after in prop::collection::vec(step(), 1..60),
    ) {
        let mut first = Desk::new(TIGHT);
        for (at, (session, command)) in before.iter().enumerate() {
            first.apply(*session, command);
            if at % 7 == 0 {
                first.roots();
            }
        }
        let sections = first.snapshot();
        let mut second = Desk::new(VenueLimits::default());
        second.height = first.height;
        for (section, bytes) in sections.iter().enumerate() {
            second.venue.restore_section(section, bytes).unwrap();
        }
        prop_assert_eq!(second.snapshot(), sections);
        prop_assert_eq!(second.roots(), first.roots());
        for (session, command) in &after {
            prop_assert_eq!(first.apply(*session, command), second.apply(*session, command));
        }
        prop_assert_eq!(second.snapshot(), first.snapshot());
        prop_assert_eq!(second.roots(), first.roots());
    }

    #[test]
    fn roots_differ_exactly_where_sections_do(steps in prop::collection::vec(step(), 1..80)) {
        let mut desk = Desk::new(TIGHT);
        let (mut sections, mut roots) = (desk.snapshot(), desk.roots());
        for (session, command) in &steps {
            desk.apply(*session, command);
            let (sections_now, roots_now) = (desk.snapshot(), desk.roots());
            for at in 0..sections.len() {
                prop_assert_eq!(sections[at] == sections_now[at], roots[at] == roots_now[at]);
            }
            (sections, roots) = (sections_now, roots_now);
        }
    }

    #[test]
    fn no_bytes_make_the_venue_panic(
        commands in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..48), 1..60),
        questions in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..32), 1..20),
        section in 0..4_usize,
        bytes in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let mut desk = Desk::new(TIGHT);
        for command in &commands {
            let told = desk.apply_bytes(session(1), command, quorate_venue::lane(command));
            prop_assert!(!told.is_empty());
        }
        for question in &questions {
            let mut answer = Vec::new();
            desk.venue.query(question, &mut answer);
            prop_assert!(Answer::decode(&answer).is_ok());
        }
        if desk.venue.restore_section(section, &bytes).is_ok() {
            prop_assert_eq!(&desk.snapshot()[section], &bytes);
        }
    }
}
