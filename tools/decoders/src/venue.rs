//! The reference application's commands, questions, reports and snapshots.

use crate::decoder::{Cap, Decode, Decoder, Verdict};
use quorate::state_machine::{Audience, Context, Output, SessionId, StateMachine};
use quorate_venue::{
    Answer, ClearingCommand, ClearingConfig, ClearingRules, ClientOrderId, Command, ExerciseStyle,
    FeedConfig, FeedId, FeedValidator, Instrument, InstrumentId, OrderKind, PublicEvent, Question,
    Right, SelfTrade, SessionReport, Side, Venue, VenueConfig, VenueLimits, lane,
};

const ADMIN: SessionId = SessionId([0xad; 16]);
const SELLER: SessionId = SessionId([1; 16]);
const BUYER: SessionId = SessionId([2; 16]);
const VALIDATOR: SessionId = SessionId([3; 16]);
/// The option series that is listed behind the two instruments.
const SERIES: InstrumentId = InstrumentId(2);
const ROUND_NS: u64 = 1_000_000_000;

/// Messages are of fixed width, but for an answer's levels, each counted in 16 bits.
const CAP: Cap = Cap {
    base_bytes: 4096,
    per_byte: 8,
};
/// A snapshot may list 4,096 instruments, each of which has a book; and an empty venue is held
/// besides.
const CAP_SNAPSHOT: Cap = Cap {
    base_bytes: 2 << 20,
    per_byte: 32,
};

/// Decodes with `$type::decode` and encodes again with `$type::encode`.
macro_rules! canonical {
    ($type:ty) => {
        Box::new(|input: &[u8]| {
            <$type>::decode(input).map_or(Verdict::Refused, |value| {
                let mut again = Vec::with_capacity(input.len());
                value.encode(&mut again);
                Verdict::canonical(input, &again)
            })
        }) as Decode
    };
}

pub(crate) fn decoders() -> Vec<Decoder> {
    let day = trading_day();
    let decoder = |name, share, corpus, cap, decode| Decoder {
        name,
        share,
        is_text: false,
        corpus,
        cap,
        decode,
        mend: None,
    };
    vec![
        decoder("venue.command", 6, day.commands, CAP, canonical!(Command)),
        decoder("venue.question", 4, questions(), CAP, canonical!(Question)),
        decoder("venue.answer", 4, day.answers, CAP, canonical!(Answer)),
        decoder(
            "venue.report",
            4,
            day.reports,
            CAP,
            canonical!(SessionReport),
        ),
        decoder("venue.event", 4, day.events, CAP, canonical!(PublicEvent)),
        decoder(
            "venue.snapshot",
            2,
            with_places(&day.sections),
            CAP_SNAPSHOT,
            decode_section(day.sections),
        ),
    ]
}

fn venue() -> Venue {
    let instrument = |symbol| Instrument {
        price_ticks_min: 1,
        price_ticks_max: 1000,
        size_lots_max: 100,
        ..Instrument::with_symbol(symbol)
    };
    let config = VenueConfig {
        instruments: vec![instrument("AAA"), instrument("BBB")],
        admins: vec![ADMIN],
        limits: VenueLimits {
            orders_max: 1024,
            orders_per_session_max: 64,
            levels_per_side_max: 64,
        },
        clearing: Some(ClearingConfig {
            validators: vec![FeedValidator {
                session: VALIDATOR,
                stake: 5,
            }],
            feeds: vec![FeedConfig::with_symbol("IDX")],
            rules: ClearingRules {
                samples_min: 1,
                ..ClearingRules::default()
            },
        }),
    };
    Venue::new(config).expect("a good configuration")
}

fn commands() -> Vec<(SessionId, Command)> {
    let instrument = InstrumentId(0);
    let new = |side, name, price_ticks, size_lots| Command::New {
        kind: OrderKind::Limit,
        side,
        self_trade: SelfTrade::CancelIncoming,
        instrument,
        client_order: ClientOrderId(name),
        price_ticks,
        size_lots,
    };
    let cancel = |name| Command::Cancel {
        client_order: ClientOrderId(name),
    };
    vec![
        (SELLER, new(Side::Sell, 1, 100, 10)),
        (SELLER, new(Side::Sell, 2, 101, 20)),
        (SELLER, new(Side::Sell, 3, 102, 30)),
        (BUYER, new(Side::Buy, 1, 99, 5)),
        (BUYER, new(Side::Buy, 2, 101, 15)),
        (BUYER, new(Side::Buy, 3, 98, 7)),
        (
            SELLER,
            Command::Reduce {
                client_order: ClientOrderId(3),
                by_lots: 4,
            },
        ),
        (
            BUYER,
            Command::Replace {
                kind: OrderKind::PostOnly,
                self_trade: SelfTrade::CancelIncoming,
                client_order: ClientOrderId(3),
                new_client_order: ClientOrderId(4),
                price_ticks: 97,
                size_lots: 9,
            },
        ),
        (BUYER, cancel(1)),
        (BUYER, cancel(77)),
        (ADMIN, Command::Halt { instrument }),
        (ADMIN, Command::Resume { instrument }),
        (
            ADMIN,
            Command::MassCancel {
                instrument: Some(InstrumentId(1)),
            },
        ),
        (ADMIN, Command::MassCancel { instrument: None }),
    ]
}

/// A day in the life of two option series.
fn clearing_commands() -> Vec<(SessionId, Command)> {
    vec![
        (ADMIN, endow(1_000)),
        (ADMIN, deposit(SELLER)),
        (ADMIN, deposit(BUYER)),
        (VALIDATOR, observe()),
        (ADMIN, list_series(1_004)),
        (ADMIN, list_series(9_000)),
        (SELLER, in_series(Side::Sell, 20, SERIES)),
        (BUYER, in_series(Side::Buy, 20, SERIES)),
        (SELLER, in_series(Side::Sell, 21, InstrumentId(3))),
        (BUYER, in_series(Side::Buy, 21, InstrumentId(3))),
        (
            BUYER,
            Command::Clearing(ClearingCommand::Exercise {
                instrument: InstrumentId(3),
                lots: 1,
            }),
        ),
        (
            BUYER,
            Command::Clearing(ClearingCommand::Withdraw { amount: 10 }),
        ),
        (
            ADMIN,
            Command::Clearing(ClearingCommand::ResumeFeed { feed: FeedId(0) }),
        ),
    ]
}

fn endow(amount: i64) -> Command {
    Command::Clearing(ClearingCommand::EndowFund { amount })
}

fn deposit(account: SessionId) -> Command {
    let amount = 10_000;
    Command::Clearing(ClearingCommand::Deposit { account, amount })
}

fn observe() -> Command {
    Command::Clearing(ClearingCommand::Observe {
        feed: FeedId(0),
        round: 1_000,
        price: 110,
        confidence: 2,
        source_time_ns: 1_000 * ROUND_NS,
    })
}

fn list_series(expiry_round: u64) -> Command {
    Command::Clearing(ClearingCommand::ListSeries {
        feed: FeedId(0),
        strike: 100,
        expiry_ns: expiry_round * ROUND_NS,
        right: Right::Call,
        style: ExerciseStyle::American,
        multiplier: 2,
        price_ticks_max: 1_000,
        size_lots_max: 100,
    })
}

fn in_series(side: Side, name: u64, instrument: InstrumentId) -> Command {
    let size_lots = match side {
        Side::Buy => 4,
        Side::Sell => 6,
    };
    Command::New {
        kind: OrderKind::Limit,
        side,
        self_trade: SelfTrade::CancelIncoming,
        instrument,
        client_order: ClientOrderId(name),
        price_ticks: 12,
        size_lots,
    }
}

fn questions() -> Vec<Vec<u8>> {
    let instrument = InstrumentId(0);
    [
        Question::Best { instrument },
        Question::Depth {
            instrument,
            levels: 5,
        },
        Question::Order {
            session: SELLER,
            client_order: ClientOrderId(3),
        },
        Question::Instrument { instrument },
        Question::Roots,
        Question::Account { session: BUYER },
        Question::Fund,
        Question::Feed { feed: FeedId(0) },
        Question::Series { instrument: SERIES },
    ]
    .iter()
    .map(|question| {
        let mut bytes = Vec::new();
        question.encode(&mut bytes);
        bytes
    })
    .collect()
}

/// All that a venue took in and gave out in a few commands.
struct Day {
    commands: Vec<Vec<u8>>,
    reports: Vec<Vec<u8>>,
    events: Vec<Vec<u8>>,
    answers: Vec<Vec<u8>>,
    sections: Vec<Vec<u8>>,
}

fn trading_day() -> Day {
    let mut venue = venue();
    let mut day = Day {
        commands: Vec::new(),
        reports: Vec::new(),
        events: Vec::new(),
        answers: Vec::new(),
        sections: Vec::new(),
    };
    let mut time_ns = 994 * ROUND_NS;
    for (place, (session, command)) in (0..).zip(commands().into_iter().chain(clearing_commands()))
    {
        let mut bytes = Vec::new();
        command.encode(&mut bytes);
        // A round passes before each command of an administrator.
        time_ns += if session == ADMIN { ROUND_NS } else { 0 };
        let context = Context {
            height: 1,
            index: place,
            time_ns,
            session,
            seq: u64::from(place) + 1,
            lane: lane(&bytes),
        };
        let mut output = Output::new();
        if venue.timer_next_ns().is_some_and(|due| due <= time_ns) {
            venue.apply_timers(1, time_ns, &mut output);
        }
        venue.apply(&context, &bytes, &mut output);
        for (audience, bytes) in output.iter() {
            match audience {
                Audience::Session(_) => day.reports.push(bytes.to_vec()),
                Audience::Public => day.events.push(bytes.to_vec()),
            }
        }
        day.commands.push(bytes);
    }
    for question in questions().iter().chain([&vec![0xff]]) {
        let mut answer = Vec::new();
        venue.query(question, &mut answer);
        day.answers.push(answer);
    }
    for section in 0..venue.sections().len() {
        let mut bytes = Vec::new();
        venue.snapshot_section(section, &mut bytes);
        day.sections.push(bytes);
    }
    day
}

/// Each section behind the byte of its place, so that one input is one restoring.
fn with_places(sections: &[Vec<u8>]) -> Vec<Vec<u8>> {
    (0..)
        .zip(sections)
        .map(|(place, bytes)| [&[place], bytes.as_slice()].concat())
        .collect()
}

/// Restores the sections before the damaged one, then that one.
fn decode_section(sections: Vec<Vec<u8>>) -> Decode {
    Box::new(move |input| {
        let Some((&place, input)) = input.split_first() else {
            return Verdict::Refused;
        };
        let mut venue = venue();
        let section = usize::from(place);
        for (earlier, bytes) in sections.iter().enumerate().take(section) {
            venue
                .restore_section(earlier, bytes)
                .expect("what a venue wrote");
        }
        if venue.restore_section(section, input).is_err() {
            return Verdict::Refused;
        }
        let mut again = Vec::with_capacity(input.len());
        venue.snapshot_section(section, &mut again);
        Verdict::canonical(input, &again)
    })
}
