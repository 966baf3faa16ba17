//! A venue with a clock and sessions that count, for the tests of this crate.

pub(crate) mod naive;
pub(crate) mod pit;
pub(crate) mod stream;

use quorate::state_machine::{Audience, Context, Output, SessionEvent, SessionId, StateMachine};
use quorate_venue::{
    ClientOrderId, Command, Instrument, InstrumentId, OrderKind, PublicEvent, Refusal, SelfTrade,
    SessionReport, Side, Venue, VenueConfig, VenueLimits, lane,
};

/// One output, decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// To one session.
    Session(SessionId, SessionReport),
    /// To all.
    Public(PublicEvent),
}

pub(crate) const ADMIN: SessionId = SessionId([0xad; 16]);

/// The session of this number.
pub(crate) fn session(number: u8) -> SessionId {
    SessionId([number; 16])
}

pub(crate) const PRICE_MAX: i64 = 1000;
pub(crate) const SIZE_MAX: u64 = 100;

/// Two instruments with narrow bounds.
pub(crate) fn config(limits: VenueLimits) -> VenueConfig {
    let instrument = |symbol| Instrument {
        price_ticks_min: 1,
        price_ticks_max: PRICE_MAX,
        size_lots_max: SIZE_MAX,
        ..Instrument::with_symbol(symbol)
    };
    VenueConfig {
        instruments: vec![instrument("AAA"), instrument("BBB")],
        admins: vec![ADMIN],
        limits,
        clearing: None,
    }
}

/// A venue under test.
pub(crate) struct Desk {
    pub(crate) venue: Venue,
    pub(crate) height: u64,
    output: Output,
}

impl Desk {
    pub(crate) fn new(limits: VenueLimits) -> Self {
        let venue = Venue::new(config(limits)).expect("the configuration is good");
        Self {
            venue,
            height: 0,
            output: Output::new(),
        }
    }

    /// Applies a command in the lane it belongs to, at a height of its own.
    pub(crate) fn apply(&mut self, session: SessionId, command: &Command) -> Vec<Told> {
        let mut bytes = Vec::new();
        command.encode(&mut bytes);
        self.apply_bytes(session, &bytes, lane(&bytes))
    }

    pub(crate) fn apply_bytes(
        &mut self,
        session: SessionId,
        bytes: &[u8],
        lane: quorate::state_machine::Lane,
    ) -> Vec<Told> {
        self.height += 1;
        let time_ns = self.height * 1000;
        let (height, seq) = (self.height, self.height);
        let context = Context {
            height,
            index: 0,
            time_ns,
            session,
            seq,
            lane,
        };
        self.output.clear();
        self.venue.apply(&context, bytes, &mut self.output);
        self.told()
    }

    /// Tells the venue what befell a session.
    pub(crate) fn befall(&mut self, session: SessionId, event: SessionEvent) -> Vec<Told> {
        self.height += 1;
        let context = Context {
            height: self.height,
            index: 0,
            time_ns: self.height * 1000,
            session,
            seq: 1,
            lane: quorate::state_machine::Lane::Admin,
        };
        self.output.clear();
        self.venue.apply_session(&context, event, &mut self.output);
        self.told()
    }

    fn told(&self) -> Vec<Told> {
        let decode = |(audience, bytes): (Audience, &[u8])| match audience {
            Audience::Session(session) => Told::Session(
                session,
                SessionReport::decode(bytes).expect("outputs decode"),
            ),
            Audience::Public => Told::Public(PublicEvent::decode(bytes).expect("outputs decode")),
        };
        self.output.iter().map(decode).collect()
    }

    /// Applies a command that must be refused, and gives the reason. Fails if anything changed.
    pub(crate) fn refusal(&mut self, session: SessionId, command: &Command) -> Refusal {
        let before = self.snapshot();
        let told = self.apply(session, command);
        assert_eq!(
            self.snapshot(),
            before,
            "a refused command changed the state"
        );
        match told.as_slice() {
            [Told::Session(to, SessionReport::Refused { refusal, seq, .. })] => {
                assert_eq!((*to, *seq), (session, self.height));
                *refusal
            }
            other => panic!("not refused: {other:?}"),
        }
    }

    /// The bytes of all sections.
    pub(crate) fn snapshot(&self) -> Vec<Vec<u8>> {
        let sections = 0..self.venue.sections().len();
        let section = |section| {
            let mut bytes = Vec::new();
            self.venue.snapshot_section(section, &mut bytes);
            bytes
        };
        sections.map(section).collect()
    }

    pub(crate) fn roots(&mut self) -> Vec<[u8; 32]> {
        let sections = 0..self.venue.sections().len();
        sections
            .map(|section| self.venue.section_root(section))
            .collect()
    }
}

/// A limit order in the first instrument.
pub(crate) fn limit(name: u64, side: Side, price_ticks: i64, size_lots: u64) -> Command {
    order(OrderKind::Limit, name, side, price_ticks, size_lots)
}

/// An order in the first instrument that cancels resting orders of its own session.
pub(crate) fn order(
    kind: OrderKind,
    name: u64,
    side: Side,
    price_ticks: i64,
    size_lots: u64,
) -> Command {
    Command::New {
        kind,
        side,
        self_trade: SelfTrade::CancelResting,
        instrument: InstrumentId(0),
        client_order: ClientOrderId(name),
        price_ticks,
        size_lots,
    }
}

/// Cancels the order of this name.
pub(crate) fn cancel(name: u64) -> Command {
    Command::Cancel {
        client_order: ClientOrderId(name),
    }
}

/// Makes the order of this name smaller.
pub(crate) fn reduce(name: u64, by_lots: u64) -> Command {
    Command::Reduce {
        client_order: ClientOrderId(name),
        by_lots,
    }
}

/// Replaces one order by a limit order.
pub(crate) fn replace(old: u64, new: u64, price_ticks: i64, size_lots: u64) -> Command {
    Command::Replace {
        kind: OrderKind::Limit,
        self_trade: SelfTrade::CancelResting,
        client_order: ClientOrderId(old),
        new_client_order: ClientOrderId(new),
        price_ticks,
        size_lots,
    }
}
