//! Every refusal, by the command that earns it. `Desk::refusal` checks that nothing changed.

use crate::support::{ADMIN, Desk, Told, cancel, limit, order, reduce, replace, session};
use quorate::state_machine::{Lane, StateMachine};
use quorate_venue::{
    ClientOrderId, Command, InstrumentId, OrderKind, Refusal, SelfTrade, SessionReport, Side,
    VenueLimits,
};

fn roomy() -> Desk {
    Desk::new(VenueLimits::default())
}

fn in_instrument(instrument: u32) -> Command {
    Command::New {
        kind: OrderKind::Limit,
        side: Side::Buy,
        self_trade: SelfTrade::Permit,
        instrument: InstrumentId(instrument),
        client_order: ClientOrderId(1),
        price_ticks: 10,
        size_lots: 1,
    }
}

#[test]
fn bytes_that_are_no_command_are_malformed() {
    let mut desk = roomy();
    for bytes in [&[][..], &[0], &[1, 2], &[2; 10], &[255; 32]] {
        let before = desk.snapshot();
        let told = desk.apply_bytes(session(1), bytes, quorate_venue::lane(bytes));
        let refused = SessionReport::Refused {
            seq: desk.height,
            command_kind: bytes.first().copied().unwrap_or(0),
            client_order: ClientOrderId(0),
            refusal: Refusal::Malformed,
        };
        assert_eq!(told, [Told::Session(session(1), refused)]);
        assert_eq!(desk.snapshot(), before);
    }
}

#[test]
fn an_order_cannot_overtake_by_calling_itself_a_cancel() {
    let mut desk = roomy();
    let mut bytes = Vec::new();
    limit(1, Side::Buy, 10, 1).encode(&mut bytes);
    for lane in [Lane::Cancel, Lane::Price, Lane::Admin] {
        let told = desk.apply_bytes(session(1), &bytes, lane);
        let wrong = |told: &[Told]| {
            let refusal = Refusal::WrongLane;
            match told {
                [Told::Session(_, SessionReport::Refused { refusal: r, .. })] => *r == refusal,
                _ => false,
            }
        };
        assert!(wrong(&told), "{told:?}");
    }
    assert_eq!(desk.venue.order_count(), 0);
    desk.apply_bytes(session(1), &bytes, Lane::Order);
    assert_eq!(desk.venue.order_count(), 1);
}

#[test]
fn a_cancel_may_stand_among_the_orders() {
    let mut desk = roomy();
    desk.apply(session(1), &limit(1, Side::Buy, 10, 1));
    let mut bytes = Vec::new();
    cancel(1).encode(&mut bytes);
    desk.apply_bytes(session(1), &bytes, Lane::Order);
    assert_eq!(desk.venue.order_count(), 0);
}

/// It costs nothing, and could keep prices and administrators waiting.
#[test]
fn a_cancel_may_stand_nowhere_else() {
    let mut desk = roomy();
    desk.apply(session(1), &limit(1, Side::Buy, 10, 1));
    for command in [cancel(1), Command::MassCancel { instrument: None }] {
        let mut bytes = Vec::new();
        command.encode(&mut bytes);
        for lane in [Lane::Price, Lane::Admin] {
            let told = desk.apply_bytes(session(1), &bytes, lane);
            let refused = SessionReport::Refused {
                seq: desk.height,
                command_kind: command.kind(),
                client_order: command.client_order(),
                refusal: Refusal::WrongLane,
            };
            assert_eq!(told, [Told::Session(session(1), refused)]);
        }
    }
    assert_eq!(desk.venue.order_count(), 1);
}

/// Of a replacement that is the new one: the old one still rests.
#[test]
fn a_refusal_names_the_order_that_the_command_would_have_made_or_changed() {
    let mut desk = roomy();
    desk.apply(session(1), &limit(1, Side::Buy, 10, 5));
    let instrument = InstrumentId(0);
    let unknown = Some(InstrumentId(9));
    let rows: [(Command, u8, u64, Refusal); 7] = [
        (
            limit(1, Side::Buy, 10, 5),
            1,
            1,
            Refusal::DuplicateClientOrder,
        ),
        (cancel(7), 2, 7, Refusal::UnknownOrder),
        (replace(1, 2, 0, 5), 3, 2, Refusal::PriceOutOfBounds),
        (reduce(8, 1), 4, 8, Refusal::UnknownOrder),
        (
            Command::MassCancel {
                instrument: unknown,
            },
            6,
            0,
            Refusal::UnknownInstrument,
        ),
        (Command::Halt { instrument }, 7, 0, Refusal::NotAdmin),
        (Command::Resume { instrument }, 8, 0, Refusal::NotAdmin),
    ];
    let refused = |seq, command_kind, name, refusal| {
        let report = SessionReport::Refused {
            seq,
            command_kind,
            client_order: ClientOrderId(name),
            refusal,
        };
        [Told::Session(session(1), report)]
    };
    for (command, kind, name, refusal) in rows {
        let told = desk.apply(session(1), &command);
        assert_eq!(told, refused(desk.height, kind, name, refusal));
    }
    let mut bytes = Vec::new();
    replace(1, 2, 11, 5).encode(&mut bytes);
    let told = desk.apply_bytes(session(1), &bytes, Lane::Cancel);
    assert_eq!(told, refused(desk.height, 3, 2, Refusal::WrongLane));
}

#[test]
fn an_instrument_that_does_not_exist_is_unknown() {
    let mut desk = roomy();
    let instrument = InstrumentId(2);
    for (who, command) in [
        (session(1), in_instrument(2)),
        (session(1), in_instrument(u32::MAX)),
        (
            session(1),
            Command::MassCancel {
                instrument: Some(instrument),
            },
        ),
        (ADMIN, Command::Halt { instrument }),
        (ADMIN, Command::Resume { instrument }),
    ] {
        assert_eq!(desk.refusal(who, &command), Refusal::UnknownInstrument);
    }
}

#[test]
fn a_halted_instrument_takes_cancels_and_reductions_only() {
    let mut desk = roomy();
    let instrument = InstrumentId(0);
    for name in 1..=3 {
        desk.apply(session(1), &limit(name, Side::Buy, 10, 5));
    }
    desk.apply(ADMIN, &Command::Halt { instrument });
    assert_eq!(desk.refusal(session(1), &in_instrument(0)), Refusal::Halted);
    assert_eq!(
        desk.refusal(session(1), &replace(1, 9, 11, 5)),
        Refusal::Halted
    );
    desk.apply(session(1), &in_instrument(1));
    desk.apply(session(1), &cancel(1));
    desk.apply(session(1), &reduce(2, 1));
    desk.apply(
        session(1),
        &Command::MassCancel {
            instrument: Some(instrument),
        },
    );
    assert_eq!(desk.venue.order_count(), 0);
    desk.apply(ADMIN, &Command::Resume { instrument });
    desk.apply(session(1), &in_instrument(0));
    assert_eq!(desk.venue.order_count(), 1);
}

#[test]
fn sizes_and_prices_are_bounded() {
    let mut desk = roomy();
    desk.apply(session(1), &limit(1, Side::Buy, 10, 5));
    let client = session(1);
    for (price, size, refusal) in [
        (10, 0, Refusal::SizeZero),
        (10, 101, Refusal::SizeAboveMax),
        (10, u64::MAX, Refusal::SizeAboveMax),
        (0, 5, Refusal::PriceOutOfBounds),
        (1001, 5, Refusal::PriceOutOfBounds),
        (i64::MIN, 5, Refusal::PriceOutOfBounds),
        (i64::MAX, 5, Refusal::PriceOutOfBounds),
    ] {
        assert_eq!(
            desk.refusal(client, &limit(2, Side::Buy, price, size)),
            refusal
        );
        assert_eq!(desk.refusal(client, &replace(1, 2, price, size)), refusal);
    }
    assert_eq!(desk.refusal(client, &reduce(1, 0)), Refusal::SizeZero);
    for (price, name) in [(1, 2), (1000, 3)] {
        desk.apply(
            session(2),
            &order(OrderKind::PostOnly, name, Side::Sell, price + 10, 1),
        );
        desk.apply(
            session(2),
            &order(OrderKind::ImmediateOrCancel, 9, Side::Sell, price, 100),
        );
    }
}

#[test]
fn a_name_in_use_is_a_duplicate_and_free_again_afterwards() {
    let mut desk = roomy();
    desk.apply(session(1), &limit(1, Side::Buy, 10, 5));
    desk.apply(session(1), &limit(2, Side::Buy, 10, 5));
    let again = limit(1, Side::Sell, 20, 5);
    assert_eq!(
        desk.refusal(session(1), &again),
        Refusal::DuplicateClientOrder
    );
    assert_eq!(
        desk.refusal(session(1), &replace(1, 2, 9, 5)),
        Refusal::DuplicateClientOrder
    );
    desk.apply(session(2), &again);
    assert_eq!(desk.venue.order_count(), 3);
    desk.apply(session(1), &cancel(1));
    desk.apply(session(1), &again);
    assert_eq!(desk.venue.order_count(), 3);
}

#[test]
fn the_order_of_another_session_is_unknown() {
    let mut desk = roomy();
    desk.apply(session(1), &limit(1, Side::Buy, 10, 5));
    for command in [cancel(1), reduce(1, 1), replace(1, 2, 10, 5)] {
        assert_eq!(desk.refusal(session(2), &command), Refusal::UnknownOrder);
    }
    desk.apply(session(2), &Command::MassCancel { instrument: None });
    assert_eq!(desk.venue.order_count(), 1);
}

#[test]
fn only_administrators_halt_and_resume_and_only_what_is_not_already() {
    let mut desk = roomy();
    let instrument = InstrumentId(0);
    let (halt, resume) = (Command::Halt { instrument }, Command::Resume { instrument });
    assert_eq!(desk.refusal(session(1), &halt), Refusal::NotAdmin);
    assert_eq!(desk.refusal(ADMIN, &resume), Refusal::AlreadyTrading);
    desk.apply(ADMIN, &halt);
    assert_eq!(desk.refusal(ADMIN, &halt), Refusal::AlreadyHalted);
    assert_eq!(desk.refusal(session(1), &resume), Refusal::NotAdmin);
}

#[test]
fn a_post_only_order_does_not_take() {
    let mut desk = roomy();
    desk.apply(session(1), &limit(1, Side::Sell, 20, 5));
    let post = |side, price| order(OrderKind::PostOnly, 2, side, price, 5);
    assert_eq!(
        desk.refusal(session(2), &post(Side::Buy, 20)),
        Refusal::WouldTake
    );
    assert_eq!(
        desk.refusal(session(1), &post(Side::Buy, 20)),
        Refusal::WouldTake
    );
    desk.apply(session(2), &post(Side::Buy, 19));
    assert_eq!(desk.venue.order_count(), 2);
}

#[test]
fn a_fill_or_kill_order_fills_or_leaves_no_trace() {
    let mut desk = roomy();
    desk.apply(session(1), &limit(1, Side::Sell, 20, 5));
    desk.apply(session(2), &limit(2, Side::Sell, 21, 5));
    let kill = |size, price| order(OrderKind::FillOrKill, 3, Side::Buy, price, size);
    assert_eq!(desk.refusal(session(3), &kill(6, 20)), Refusal::NotFillable);
    assert_eq!(
        desk.refusal(session(3), &kill(11, 21)),
        Refusal::NotFillable
    );
    // Its own resting orders do not count, and are not cancelled unless it fills.
    assert_eq!(desk.refusal(session(1), &kill(6, 21)), Refusal::NotFillable);
    desk.apply(session(3), &kill(10, 21));
    assert_eq!(desk.venue.order_count(), 0);
}

#[test]
fn full_limits_refuse_only_what_would_rest() {
    let mut desk = Desk::new(VenueLimits {
        orders_max: 4,
        orders_per_session_max: 2,
        levels_per_side_max: 2,
    });
    let buy = |name, price| limit(name, Side::Buy, price, 5);
    desk.apply(session(1), &buy(1, 10));
    desk.apply(session(1), &buy(2, 11));
    assert_eq!(
        desk.refusal(session(1), &buy(3, 10)),
        Refusal::SessionOrdersFull
    );
    assert_eq!(desk.refusal(session(2), &buy(3, 12)), Refusal::LevelsFull);
    desk.apply(session(2), &buy(3, 10));
    desk.apply(session(2), &buy(4, 10));
    assert_eq!(desk.refusal(session(3), &buy(5, 10)), Refusal::OrdersFull);
    let sell = |size| limit(6, Side::Sell, 10, size);
    assert_eq!(desk.refusal(session(3), &sell(21)), Refusal::OrdersFull);
    desk.apply(session(3), &sell(20));
    assert_eq!(
        desk.venue.order_count(),
        0,
        "what fills at once needs no room"
    );
}

#[test]
fn a_replacement_needs_no_room_but_that_of_the_order_it_replaces() {
    let mut desk = Desk::new(VenueLimits {
        orders_max: 2,
        orders_per_session_max: 2,
        levels_per_side_max: 2,
    });
    desk.apply(session(1), &limit(1, Side::Buy, 10, 5));
    desk.apply(session(1), &limit(2, Side::Buy, 11, 5));
    desk.apply(session(1), &replace(1, 1, 12, 5));
    desk.apply(session(1), &replace(2, 3, 12, 5));
    desk.apply(session(1), &replace(1, 1, 11, 5));
    assert_eq!(desk.venue.order_count(), 2);
    desk.apply(session(1), &replace(1, 1, 12, 5));
    let mut desk = Desk::new(VenueLimits {
        levels_per_side_max: 1,
        ..VenueLimits::default()
    });
    desk.apply(session(1), &limit(1, Side::Buy, 10, 5));
    desk.apply(session(1), &limit(2, Side::Buy, 10, 5));
    assert_eq!(
        desk.refusal(session(1), &replace(1, 3, 9, 5)),
        Refusal::LevelsFull
    );
}

#[test]
fn a_replacement_cannot_ask_for_less_than_has_traded() {
    let mut desk = roomy();
    desk.apply(session(1), &limit(1, Side::Buy, 10, 10));
    desk.apply(session(2), &limit(1, Side::Sell, 10, 6));
    assert_eq!(
        desk.refusal(session(1), &replace(1, 2, 10, 6)),
        Refusal::SizeNotAboveExecuted
    );
    desk.apply(session(1), &replace(1, 2, 10, 7));
    // One lot is open now, so reducing by one takes the order away.
    desk.apply(session(1), &reduce(2, 1));
    assert_eq!(desk.venue.order_count(), 0);
}

#[test]
fn numbers_are_never_given_twice_even_at_their_end() {
    let mut desk = roomy();
    let mut section = desk.snapshot()[0].clone();
    section[13..21].copy_from_slice(&u64::MAX.to_le_bytes());
    desk.venue.restore_section(0, &section).unwrap();
    assert_eq!(
        desk.refusal(session(1), &in_instrument(0)),
        Refusal::NumbersExhausted
    );
    section[13..21].copy_from_slice(&1_u64.to_le_bytes());
    section[21..29].copy_from_slice(&u64::MAX.to_le_bytes());
    desk.venue.restore_section(0, &section).unwrap();
    assert_eq!(
        desk.refusal(session(1), &in_instrument(0)),
        Refusal::NumbersExhausted
    );
}

#[test]
fn a_fill_or_kill_order_that_would_have_to_look_too_far_is_refused_as_too_deep() {
    let mut desk = roomy();
    // A lot of another session, and behind it a long queue of one session at the same price.
    desk.apply(session(2), &limit(1, Side::Sell, 20, 1));
    for number in 1..=1_100 {
        desk.apply(session(1), &limit(number, Side::Sell, 20, 1));
    }
    let kill = |size, price| order(OrderKind::FillOrKill, 5_000, Side::Buy, price, size);
    // Nobody else needs to look at more than one level, however many stand there.
    assert_eq!(desk.refusal(session(3), &kill(1, 19)), Refusal::NotFillable);
    // Its own orders are many, so it looks at the queue, and at no more than the bound of that.
    assert_eq!(desk.refusal(session(1), &kill(2, 20)), Refusal::TooDeep);
    let before = desk.venue.order_count();
    desk.apply(session(3), &kill(100, 20));
    assert_eq!(desk.venue.order_count(), before - 100);
}

#[test]
fn an_order_that_finds_a_limit_full_and_may_need_room_further_on_than_is_looked_is_refused() {
    let mut desk = Desk::new(VenueLimits {
        orders_per_session_max: 1_100,
        ..VenueLimits::default()
    });
    for number in 1..=1_100 {
        desk.apply(session(1), &limit(number, Side::Sell, 20, 1));
    }
    desk.apply(session(2), &limit(1, Side::Sell, 19, 1));
    desk.apply(session(2), &limit(2, Side::Sell, 21, 1));
    let buy = limit(5_000, Side::Buy, 21, 2);
    assert_eq!(desk.refusal(session(1), &buy), Refusal::SessionOrdersFull);
    let fills = limit(5_000, Side::Buy, 21, 1);
    desk.apply(session(1), &fills);
    assert_eq!(
        desk.venue.order_count(),
        1_101,
        "what is seen to fill needs no room"
    );
}
