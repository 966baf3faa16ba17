//! The bytes that clients read and write, field by field: what they are today is what they stay. A
//! round trip holds for any order of fields and for any numbers.

use quorate::state_machine::SessionId;
use quorate_venue::query::{AccountAnswer, DepthLevel, FeedAnswer, SeriesAnswer};
use quorate_venue::{
    Answer, CancelReason, CashCause, ClearingCommand, ClientOrderId, Command, DecodeError,
    ExerciseStyle, FeedId, Instrument, InstrumentId, LiquidationStep, OrderKind, OrderNumber,
    PositionCause, PriceState, PublicEvent, Question, Refusal, Right, Role, SelfTrade, SeriesState,
    SeriesTerms, SessionReport, Side, Status,
};
use std::fmt::Debug;

/// Each value of an enumeration with its number.
fn numbers<T: Copy + Debug>(all: &[T], number: fn(T) -> u8) -> String {
    let told = all
        .iter()
        .map(|&value| format!("{value:?} {}", number(value)));
    told.collect::<Vec<_>>().join(", ")
}

#[test]
fn the_numbers_of_every_enumeration_are_fixed() {
    let rows = [
        (numbers(Side::ALL, |of| of as u8), "Buy 0, Sell 1"),
        (
            numbers(OrderKind::ALL, |of| of as u8),
            "Limit 0, PostOnly 1, ImmediateOrCancel 2, FillOrKill 3, Market 4",
        ),
        (
            numbers(SelfTrade::ALL, |of| of as u8),
            "CancelIncoming 0, CancelResting 1, Permit 2",
        ),
        (numbers(Status::ALL, |of| of as u8), "Trading 0, Halted 1"),
        (numbers(Role::ALL, |of| of as u8), "Resting 0, Incoming 1"),
        (
            numbers(CancelReason::ALL, |of| of as u8),
            "Asked 1, MassCancel 2, Unfilled 3, SelfTrade 4, Expired 5, Margin 6, Absent 7",
        ),
        (
            numbers(CashCause::ALL, |of| of as u8),
            "Deposit 1, Withdrawal 2",
        ),
        (
            numbers(PositionCause::ALL, |of| of as u8),
            "Trade 1, Exercise 2, Assignment 3, Settlement 4, TakenOver 5, Deleveraging 6",
        ),
        (
            numbers(LiquidationStep::ALL, |of| of as u8),
            "BoughtBack 1, TakenOver 2, Deleveraged 3",
        ),
        (
            numbers(PriceState::ALL, |of| of as u8),
            "Stale 0, Degraded 1, Fresh 2",
        ),
        (numbers(Right::ALL, |of| of as u8), "Call 0, Put 1"),
        (
            numbers(ExerciseStyle::ALL, |of| of as u8),
            "European 0, American 1",
        ),
        (
            numbers(SeriesState::ALL, |of| of as u8),
            "Trading 0, Deferred 1, Settled 2",
        ),
    ];
    for (told, expected) in rows {
        assert_eq!(told, expected);
    }
}

#[test]
fn the_numbers_of_refusals_are_fixed() {
    let expected = "Malformed 1, WrongLane 2, UnknownInstrument 3, Halted 4, SizeZero 5, \
        SizeAboveMax 6, \
        PriceOutOfBounds 7, DuplicateClientOrder 8, UnknownOrder 9, NotAdmin 10, \
        WouldTake 11, NotFillable 12, SessionOrdersFull 13, OrdersFull 14, LevelsFull 15, \
        SizeNotAboveExecuted 16, AlreadyHalted 17, AlreadyTrading 18, NumbersExhausted 19, \
        NoAccounts 20, NotValidator 21, UnknownFeed 22, PriceAbsurd 23, ConfidenceAbsurd 24, \
        ObservationStale 25, ObservationAhead 26, ObservationRepeated 27, UnknownAccount 28, \
        AmountOutOfBounds 29, AmountOverflow 30, MarginInsufficient 31, PriceNotFresh 32, \
        ExpiryPast 33, TermsOutOfBounds 34, SeriesTwice 35, SeriesFull 36, SeriesExpired 37, \
        NotSeries 38, NotAmerican 39, NotInTheMoney 40, PositionTooSmall 41, \
        PositionFull 42, AccountsFull 43, MarketInSeries 44, FeedNotHalted 45, TooDeep 46, \
        ExercisedInBlock 47";
    assert_eq!(numbers(Refusal::ALL, |of| of as u8), expected);
}

/// Every message has these bytes, and they are read as that message.
fn are_fixed<T: Debug + PartialEq>(
    rows: &[(T, &str)],
    encode: fn(&T, &mut Vec<u8>),
    decode: fn(&[u8]) -> Result<T, DecodeError>,
) {
    for (message, expected) in rows {
        let mut bytes = Vec::new();
        encode(message, &mut bytes);
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, expected.replace(' ', ""), "{message:?}");
        assert_eq!(decode(&bytes).as_ref(), Ok(message));
    }
}

const COMMANDS: [(Command, &str); 15] = [
    (
        Command::New {
            kind: OrderKind::FillOrKill,
            side: Side::Sell,
            self_trade: SelfTrade::Permit,
            instrument: InstrumentId(4),
            client_order: ClientOrderId(5),
            price_ticks: -6,
            size_lots: 7,
        },
        "01 03 01 02 04000000 0500000000000000 faffffffffffffff 0700000000000000",
    ),
    (
        Command::Cancel {
            client_order: ClientOrderId(0x1122_3344_5566_7788),
        },
        "02 8877665544332211",
    ),
    (
        Command::Replace {
            kind: OrderKind::PostOnly,
            self_trade: SelfTrade::Permit,
            client_order: ClientOrderId(3),
            new_client_order: ClientOrderId(4),
            price_ticks: -5,
            size_lots: 6,
        },
        "03 01 02 0300000000000000 0400000000000000 fbffffffffffffff 0600000000000000",
    ),
    (
        Command::Reduce {
            client_order: ClientOrderId(1),
            by_lots: 2,
        },
        "04 0100000000000000 0200000000000000",
    ),
    (Command::MassCancel { instrument: None }, "05"),
    (
        Command::MassCancel {
            instrument: Some(InstrumentId(0x0102_0304)),
        },
        "06 04030201",
    ),
    (
        Command::Halt {
            instrument: InstrumentId(1),
        },
        "07 01000000",
    ),
    (
        Command::Resume {
            instrument: InstrumentId(2),
        },
        "08 02000000",
    ),
    (
        Command::Clearing(ClearingCommand::Observe {
            feed: FeedId(1),
            round: 2,
            price: 3,
            confidence: 4,
            source_time_ns: 5,
        }),
        "09 01000000 0200000000000000 0300000000000000 0400000000000000 \
             0500000000000000",
    ),
    (
        Command::Clearing(ClearingCommand::ListSeries {
            feed: FeedId(2),
            strike: 3,
            expiry_ns: 4,
            right: Right::Put,
            style: ExerciseStyle::European,
            multiplier: 5,
            price_ticks_max: 6,
            size_lots_max: 7,
        }),
        "0a 02000000 0300000000000000 0400000000000000 01 00 05000000 \
             0600000000000000 0700000000000000",
    ),
    (
        Command::Clearing(ClearingCommand::Deposit {
            account: SessionId([0xab; 16]),
            amount: 1,
        }),
        "0b abababababababababababababababab 0100000000000000",
    ),
    (
        Command::Clearing(ClearingCommand::EndowFund { amount: 1 }),
        "0c 0100000000000000",
    ),
    (
        Command::Clearing(ClearingCommand::Withdraw { amount: 2 }),
        "0d 0200000000000000",
    ),
    (
        Command::Clearing(ClearingCommand::Exercise {
            instrument: InstrumentId(1),
            lots: 2,
        }),
        "0e 01000000 0200000000000000",
    ),
    (
        Command::Clearing(ClearingCommand::ResumeFeed { feed: FeedId(1) }),
        "0f 01000000",
    ),
];

#[test]
fn the_bytes_of_every_command_are_fixed() {
    are_fixed(&COMMANDS, Command::encode, Command::decode);
}

const REPORTS: [(SessionReport, &str); 12] = [
    (
        SessionReport::Accepted {
            client_order: ClientOrderId(2),
            order: OrderNumber(3),
            instrument: InstrumentId(4),
            side: Side::Sell,
            kind: OrderKind::Limit,
            price_ticks: 5,
            size_lots: 6,
        },
        "01 0200000000000000 0300000000000000 04000000 01 00 0500000000000000 \
             0600000000000000",
    ),
    (
        SessionReport::Executed {
            client_order: ClientOrderId(2),
            order: OrderNumber(3),
            trade: 4,
            role: Role::Incoming,
            price_ticks: -5,
            size_lots: 6,
            open_lots: 7,
        },
        "02 0200000000000000 0300000000000000 0400000000000000 01 fbffffffffffffff \
             0600000000000000 0700000000000000",
    ),
    (
        SessionReport::Cancelled {
            client_order: ClientOrderId(1),
            order: OrderNumber(2),
            size_lots: 3,
            reason: CancelReason::SelfTrade,
        },
        "03 0100000000000000 0200000000000000 0300000000000000 04",
    ),
    (
        SessionReport::Reduced {
            client_order: ClientOrderId(1),
            order: OrderNumber(2),
            open_lots: 3,
        },
        "04 0100000000000000 0200000000000000 0300000000000000",
    ),
    (
        SessionReport::Replaced {
            replaced: ClientOrderId(2),
            client_order: ClientOrderId(3),
            order: OrderNumber(4),
            kind: OrderKind::PostOnly,
            price_ticks: 5,
            open_lots: 6,
        },
        "05 0200000000000000 0300000000000000 0400000000000000 01 0500000000000000 \
             0600000000000000",
    ),
    (
        SessionReport::MassCancelled { seq: 1, count: 2 },
        "06 0100000000000000 02000000",
    ),
    (
        SessionReport::Refused {
            seq: 1,
            command_kind: 2,
            client_order: ClientOrderId(3),
            refusal: Refusal::ExercisedInBlock,
        },
        "07 0100000000000000 02 0300000000000000 2f",
    ),
    (
        SessionReport::Administered {
            seq: 2,
            instrument: InstrumentId(3),
            status: Status::Halted,
        },
        "08 0200000000000000 03000000 01",
    ),
    (
        SessionReport::Applied {
            seq: 1,
            command_kind: 2,
        },
        "09 0100000000000000 02",
    ),
    (
        SessionReport::Listed {
            seq: 1,
            instrument: InstrumentId(2),
        },
        "0a 0100000000000000 02000000",
    ),
    (
        SessionReport::CashChanged {
            cause: CashCause::Withdrawal,
            amount: -3,
            cash: 4,
        },
        "0b 02 fdffffffffffffff 0400000000000000",
    ),
    (
        SessionReport::PositionChanged {
            instrument: InstrumentId(1),
            cause: PositionCause::Deleveraging,
            lots: -2,
            amount: 3,
            position_lots: 4,
            cash: 5,
        },
        "0c 01000000 06 feffffffffffffff 0300000000000000 0400000000000000 \
             0500000000000000",
    ),
];

#[test]
fn the_bytes_of_every_report_are_fixed() {
    are_fixed(&REPORTS, SessionReport::encode, SessionReport::decode);
}

const EVENTS: [(PublicEvent, &str); 13] = [
    (
        PublicEvent::Added {
            instrument: InstrumentId(2),
            order: OrderNumber(3),
            side: Side::Sell,
            price_ticks: 4,
            open_lots: 5,
        },
        "41 02000000 0300000000000000 01 0400000000000000 0500000000000000",
    ),
    (
        PublicEvent::Traded {
            instrument: InstrumentId(2),
            trade: 3,
            resting: OrderNumber(4),
            incoming: OrderNumber(5),
            incoming_side: Side::Sell,
            price_ticks: 6,
            size_lots: 7,
            resting_open_lots: 8,
        },
        "42 02000000 0300000000000000 0400000000000000 0500000000000000 01 \
             0600000000000000 0700000000000000 0800000000000000",
    ),
    (
        PublicEvent::Reduced {
            instrument: InstrumentId(1),
            order: OrderNumber(2),
            open_lots: 3,
        },
        "43 01000000 0200000000000000 0300000000000000",
    ),
    (
        PublicEvent::Removed {
            instrument: InstrumentId(1),
            order: OrderNumber(2),
        },
        "44 01000000 0200000000000000",
    ),
    (
        PublicEvent::StatusChanged {
            instrument: InstrumentId(2),
            status: Status::Halted,
        },
        "45 02000000 01",
    ),
    (
        PublicEvent::PriceClosed {
            feed: FeedId(3),
            round: 4,
            state: PriceState::Fresh,
            price: 5,
            dispersion: 6,
            fresh_stake: 7,
            taken: true,
        },
        "46 03000000 0400000000000000 02 0500000000000000 0600000000000000 \
             0700000000000000 01",
    ),
    (
        PublicEvent::PriceObserved {
            feed: FeedId(1),
            round: 2,
            validator: 3,
            price: 4,
            deviation: -5,
        },
        "47 01000000 0200000000000000 03000000 0400000000000000 fbffffffffffffff",
    ),
    (
        PublicEvent::FeedChanged {
            feed: FeedId(2),
            halted: true,
            before: 3,
            price: 4,
        },
        "48 02000000 01 0300000000000000 0400000000000000",
    ),
    (
        PublicEvent::SeriesListed {
            instrument: InstrumentId(2),
            feed: FeedId(3),
            strike: 4,
            expiry_ns: 5,
            right: Right::Call,
            style: ExerciseStyle::American,
            multiplier: 6,
            price_ticks_max: 7,
            size_lots_max: 8,
        },
        "49 02000000 03000000 0400000000000000 0500000000000000 00 01 06000000 \
             0700000000000000 0800000000000000",
    ),
    (
        PublicEvent::SettlementDeferred {
            instrument: InstrumentId(1),
            samples: 2,
            samples_min: 3,
            next_ns: 4,
        },
        "4a 01000000 02000000 03000000 0400000000000000",
    ),
    (
        PublicEvent::Settled {
            instrument: InstrumentId(1),
            price: 2,
            samples: 3,
            first_round: 4,
            last_round: 5,
            lots: 6,
            paid: 7,
            fund_paid: -8,
        },
        "4b 01000000 0200000000000000 03000000 0400000000000000 0500000000000000 \
             0600000000000000 0700000000000000 f8ffffffffffffff",
    ),
    (
        PublicEvent::Exercised {
            instrument: InstrumentId(1),
            lots: 2,
            price: 3,
            paid: 4,
            fund_paid: 5,
        },
        "4c 01000000 0200000000000000 0300000000000000 0400000000000000 \
             0500000000000000",
    ),
    (
        PublicEvent::Liquidated {
            instrument: InstrumentId(2),
            step: LiquidationStep::BoughtBack,
            lots: 3,
            price: 4,
            paid: 5,
            fund_paid: 6,
        },
        "4d 02000000 01 0300000000000000 0400000000000000 0500000000000000 \
             0600000000000000",
    ),
];

#[test]
fn the_bytes_of_every_public_event_are_fixed() {
    are_fixed(&EVENTS, PublicEvent::encode, PublicEvent::decode);
}

const QUESTIONS: [(Question, &str); 9] = [
    (
        Question::Best {
            instrument: InstrumentId(1),
        },
        "01 01000000",
    ),
    (
        Question::Depth {
            instrument: InstrumentId(1),
            levels: 0x0302,
        },
        "02 01000000 0203",
    ),
    (
        Question::Order {
            session: SessionId([0xab; 16]),
            client_order: ClientOrderId(1),
        },
        "03 abababababababababababababababab 0100000000000000",
    ),
    (
        Question::Instrument {
            instrument: InstrumentId(1),
        },
        "04 01000000",
    ),
    (Question::Roots, "05"),
    (
        Question::Account {
            session: SessionId([0xab; 16]),
        },
        "06 abababababababababababababababab",
    ),
    (Question::Fund, "07"),
    (Question::Feed { feed: FeedId(1) }, "08 01000000"),
    (
        Question::Series {
            instrument: InstrumentId(1),
        },
        "09 01000000",
    ),
];

#[test]
fn the_bytes_of_every_question_are_fixed() {
    are_fixed(&QUESTIONS, Question::encode, Question::decode);
}

fn level(price_ticks: i64, open_lots: u64, order_count: u32) -> DepthLevel {
    DepthLevel {
        price_ticks,
        open_lots,
        order_count,
    }
}

#[test]
fn the_bytes_of_answers_about_orders_and_roots_are_fixed() {
    let rows = [
        (Answer::Refused(Refusal::Malformed), "00 01"),
        (
            Answer::Depth {
                instrument: InstrumentId(1),
                bids: vec![level(-4, 5, 6), level(-7, 8, 9)],
                asks: vec![level(10, 11, 12)],
            },
            "02 01000000 0200 0100 fcffffffffffffff 0500000000000000 06000000 \
             f9ffffffffffffff 0800000000000000 09000000 0a00000000000000 \
             0b00000000000000 0c000000",
        ),
        (
            Answer::Order {
                order: OrderNumber(2),
                instrument: InstrumentId(3),
                side: Side::Sell,
                price_ticks: 4,
                open_lots: 5,
                executed_lots: 6,
            },
            "03 0200000000000000 03000000 01 0400000000000000 0500000000000000 \
             0600000000000000",
        ),
        (
            Answer::Instrument {
                id: InstrumentId(2),
                status: Status::Halted,
                instrument: Instrument {
                    symbol: "AB".to_owned(),
                    price_ticks_min: -3,
                    price_ticks_max: 4,
                    size_lots_max: 5,
                },
            },
            "04 02000000 01 fdffffffffffffff 0400000000000000 0500000000000000 4142",
        ),
        (
            Answer::Roots(vec![Some([0xab; 32]), None]),
            "05 01 abababababababababababababababababababababababababababababababab 00 \
             0000000000000000000000000000000000000000000000000000000000000000",
        ),
    ];
    are_fixed(&rows, Answer::encode, Answer::decode);
}

#[test]
fn the_bytes_of_answers_about_accounts_feeds_and_series_are_fixed() {
    let rows = [
        (
            Answer::Account(AccountAnswer {
                cash: 1,
                initial: 2,
                maintenance: 3,
                positions: vec![(InstrumentId(4), -5), (InstrumentId(6), 7)],
            }),
            "06 0100000000000000 0200000000000000 0300000000000000 02000000 04000000 \
             fbffffffffffffff 06000000 0700000000000000",
        ),
        (
            Answer::Feed(FeedAnswer {
                feed: FeedId(3),
                state: PriceState::Fresh,
                halted: true,
                price: 4,
                mark: 5,
                open_round: 6,
            }),
            "08 03000000 02 01 0400000000000000 0500000000000000 0600000000000000",
        ),
        (
            Answer::Series(SeriesAnswer {
                instrument: InstrumentId(3),
                terms: SeriesTerms {
                    feed: FeedId(4),
                    strike: 5,
                    expiry_ns: 6,
                    right: Right::Put,
                    style: ExerciseStyle::European,
                    multiplier: 7,
                },
                state: SeriesState::Settled,
                due_ns: 8,
                fixing: 9,
            }),
            "09 03000000 04000000 0500000000000000 0600000000000000 01 00 07000000 02 \
             0800000000000000 0900000000000000",
        ),
    ];
    are_fixed(&rows, Answer::encode, Answer::decode);
}
