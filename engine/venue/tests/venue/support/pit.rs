//! A venue with accounts, a clock that the test moves, and timers that fire as the engine fires
//! them: at the start of a block, before its commands. Everything is audited after every step.

use super::{ADMIN, Told};
use quorate::state_machine::{Audience, Context, Output, SessionId, StateMachine};
use quorate_venue::query::{AccountAnswer, FeedAnswer, SeriesAnswer};
use quorate_venue::{
    Answer, ClearingCommand, ClearingConfig, ClearingRules, ClientOrderId, Command, ExerciseStyle,
    FeedConfig, FeedId, FeedValidator, Instrument, InstrumentId, OrderKind, PublicEvent, Question,
    Refusal, Right, SelfTrade, SessionReport, Side, Venue, VenueConfig, VenueLimits, lane,
};

/// A round of the feed.
pub(crate) const ROUND: u64 = 1_000_000_000;
/// The feed of all series here, but for those that [`Pit::list_on`] lists.
pub(crate) const FEED: FeedId = FeedId(0);
/// The other feed of [`two_feeds`].
pub(crate) const OTHER: FeedId = FeedId(1);

/// The session of a validator of the feeds.
pub(crate) fn validator(number: u8) -> SessionId {
    SessionId([0xf0 + number; 16])
}

/// One instrument of the plain kind, one feed, four validators of equal stake; windows of five
/// rounds that need three samples; margins of a fifth and a tenth.
pub(crate) fn config() -> VenueConfig {
    let validator = |number| FeedValidator {
        session: validator(number),
        stake: 10,
    };
    VenueConfig {
        instruments: vec![Instrument::with_symbol("SPOT")],
        admins: vec![ADMIN],
        limits: VenueLimits::default(),
        clearing: Some(ClearingConfig {
            validators: (0..4).map(validator).collect(),
            feeds: vec![FeedConfig {
                price_max: 1_000_000,
                move_limit_bps: 5_000,
                ..FeedConfig::with_symbol("IDX")
            }],
            rules: ClearingRules {
                accounts_max: 8,
                positions_per_account_max: 3,
                window_rounds: 5,
                samples_min: 3,
                ..ClearingRules::default()
            },
        }),
    }
}

/// The same with a second feed of the same kind.
pub(crate) fn two_feeds() -> VenueConfig {
    let mut config = config();
    let clearing = config.clearing.as_mut().expect("it has accounts");
    let other = FeedConfig {
        symbol: "OTH".to_owned(),
        ..clearing.feeds[0].clone()
    };
    clearing.feeds.push(other);
    config
}

/// A venue with accounts under test.
pub(crate) struct Pit {
    pub(crate) venue: Venue,
    pub(crate) time_ns: u64,
    pub(crate) seq: u64,
    output: Output,
}

impl Pit {
    pub(crate) fn new() -> Self {
        Self::with(config())
    }

    pub(crate) fn with(config: VenueConfig) -> Self {
        Self {
            venue: Venue::new(config).expect("the configuration is good"),
            time_ns: 1_000 * ROUND,
            seq: 0,
            output: Output::new(),
        }
    }

    fn told(&self) -> Vec<Told> {
        assert_eq!(self.venue.audit(), Ok(()));
        let decode = |(audience, bytes): (Audience, &[u8])| match audience {
            Audience::Session(session) => Told::Session(
                session,
                SessionReport::decode(bytes).expect("outputs decode"),
            ),
            Audience::Public => Told::Public(PublicEvent::decode(bytes).expect("outputs decode")),
        };
        self.output.iter().map(decode).collect()
    }

    /// Moves the clock, and fires what is due.
    pub(crate) fn at(&mut self, time_ns: u64) -> Vec<Told> {
        assert!(time_ns >= self.time_ns, "replicated time never falls");
        self.time_ns = time_ns;
        self.output.clear();
        if self.venue.timer_next_ns().is_some_and(|due| due <= time_ns) {
            self.venue.apply_timers(self.seq, time_ns, &mut self.output);
            let next = self.venue.timer_next_ns();
            assert!(
                next.is_none_or(|due| due > time_ns),
                "all that is due fires"
            );
        }
        self.told()
    }

    /// Applies a command in the lane it belongs to.
    pub(crate) fn apply(&mut self, session: SessionId, command: &Command) -> Vec<Told> {
        let mut bytes = Vec::new();
        command.encode(&mut bytes);
        self.apply_bytes(session, &bytes)
    }

    pub(crate) fn apply_bytes(&mut self, session: SessionId, bytes: &[u8]) -> Vec<Told> {
        self.seq += 1;
        let context = Context {
            height: self.seq,
            index: 0,
            time_ns: self.time_ns,
            session,
            seq: self.seq,
            lane: lane(bytes),
        };
        self.output.clear();
        self.venue.apply(&context, bytes, &mut self.output);
        self.told()
    }

    /// Applies a command that must be done.
    pub(crate) fn done(&mut self, session: SessionId, command: &Command) -> Vec<Told> {
        let told = self.apply(session, command);
        if let Some(Told::Session(_, SessionReport::Refused { refusal, .. })) = told.first() {
            panic!("{command:?} is refused: {refusal:?}");
        }
        told
    }

    pub(crate) fn clear(&mut self, session: SessionId, command: ClearingCommand) -> Vec<Told> {
        self.done(session, &Command::Clearing(command))
    }

    /// Applies a command that must be refused, and gives the reason. Fails if anything changed.
    pub(crate) fn refusal(&mut self, session: SessionId, command: &Command) -> Refusal {
        let (before, roots) = (self.snapshot(), self.roots());
        let told = self.apply(session, command);
        assert_eq!(
            self.snapshot(),
            before,
            "a refused command changed the state"
        );
        assert_eq!(self.roots(), roots);
        match told.as_slice() {
            [Told::Session(to, SessionReport::Refused { refusal, .. })] if *to == session => {
                *refusal
            }
            other => panic!("not refused: {other:?}"),
        }
    }

    pub(crate) fn refused(&mut self, session: SessionId, command: ClearingCommand) -> Refusal {
        self.refusal(session, &Command::Clearing(command))
    }

    /// Brings cash into an account.
    pub(crate) fn deposit(&mut self, account: SessionId, amount: i64) {
        self.clear(ADMIN, ClearingCommand::Deposit { account, amount });
    }

    /// Lists a series of multiplier 1 that expires in so many rounds.
    pub(crate) fn list(&mut self, right: Right, style: ExerciseStyle, strike: i64, in_rounds: u64) {
        let command = self.series(right, style, strike, in_rounds);
        self.clear(ADMIN, command);
    }

    /// Lists a call of multiplier 1 on this feed that expires in so many rounds.
    pub(crate) fn list_on(&mut self, on: FeedId, style: ExerciseStyle, strike: i64, rounds: u64) {
        let mut command = self.series(Right::Call, style, strike, rounds);
        if let ClearingCommand::ListSeries { feed, .. } = &mut command {
            *feed = on;
        }
        self.clear(ADMIN, command);
    }

    /// The command that lists a series.
    pub(crate) fn series(
        &self,
        right: Right,
        style: ExerciseStyle,
        strike: i64,
        in_rounds: u64,
    ) -> ClearingCommand {
        ClearingCommand::ListSeries {
            feed: FEED,
            strike,
            expiry_ns: self.time_ns + in_rounds * ROUND,
            right,
            style,
            multiplier: 1,
            price_ticks_max: 1_000_000,
            size_lots_max: 1_000,
        }
    }

    /// The command with which a validator observes a price now.
    pub(crate) fn observation(&self, price: i64) -> ClearingCommand {
        ClearingCommand::Observe {
            feed: FEED,
            round: self.time_ns / ROUND,
            price,
            confidence: 0,
            source_time_ns: self.time_ns,
        }
    }

    /// All validators observe a price, and the round closes.
    pub(crate) fn price(&mut self, price: i64) -> Vec<Told> {
        self.price_by(0..4, price)
    }

    /// These validators observe a price, and the round closes.
    pub(crate) fn price_by(&mut self, by: std::ops::Range<u8>, price: i64) -> Vec<Told> {
        for number in by {
            let observation = self.observation(price);
            self.clear(validator(number), observation);
        }
        let next = (self.time_ns / ROUND + 1) * ROUND;
        self.at(next)
    }

    /// All validators observe these prices of these feeds, and the rounds close.
    pub(crate) fn prices_of(&mut self, prices: &[(FeedId, i64)]) -> Vec<Told> {
        for &(on, price) in prices {
            let mut observation = self.observation(price);
            if let ClearingCommand::Observe { feed, .. } = &mut observation {
                *feed = on;
            }
            for number in 0..4 {
                self.clear(validator(number), observation);
            }
        }
        let next = (self.time_ns / ROUND + 1) * ROUND;
        self.at(next)
    }

    /// Sells from one account to another at this premium.
    pub(crate) fn trade(
        &mut self,
        seller: SessionId,
        buyer: SessionId,
        series: u32,
        premium: i64,
        lots: u64,
    ) {
        self.done(seller, &ask(series, 900, premium, lots));
        self.done(buyer, &bid(series, 900, premium, lots));
    }

    pub(crate) fn ask(&self, question: Question) -> Answer {
        let (mut bytes, mut answer) = (Vec::new(), Vec::new());
        question.encode(&mut bytes);
        assert_eq!(Question::decode(&bytes), Ok(question));
        self.venue.query(&bytes, &mut answer);
        let decoded = Answer::decode(&answer).expect("answers decode");
        let mut again = Vec::new();
        decoded.encode(&mut again);
        assert_eq!(again, answer);
        decoded
    }

    pub(crate) fn account(&self, session: SessionId) -> AccountAnswer {
        match self.ask(Question::Account { session }) {
            Answer::Account(account) => account,
            other => panic!("{other:?}"),
        }
    }

    /// The account of a session, if it has one.
    pub(crate) fn find(&self, session: SessionId) -> Option<AccountAnswer> {
        match self.ask(Question::Account { session }) {
            Answer::Account(account) => Some(account),
            Answer::Refused(Refusal::UnknownAccount) => None,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn fund(&self) -> AccountAnswer {
        match self.ask(Question::Fund) {
            Answer::Account(account) => account,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn feed(&self) -> FeedAnswer {
        match self.ask(Question::Feed { feed: FEED }) {
            Answer::Feed(feed) => feed,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn series_state(&self, series: u32) -> SeriesAnswer {
        let instrument = InstrumentId(series);
        match self.ask(Question::Series { instrument }) {
            Answer::Series(series) => series,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn position(&self, session: SessionId, series: u32) -> i64 {
        let positions = self.account(session).positions;
        let found = positions.iter().find(|p| p.0 == InstrumentId(series));
        found.map_or(0, |p| p.1)
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

    /// A second venue restored from the bytes of the first.
    pub(crate) fn restored(&self) -> Self {
        let mut copy = Self::new();
        for (section, bytes) in self.snapshot().iter().enumerate() {
            copy.venue
                .restore_section(section, bytes)
                .expect("what a venue wrote");
        }
        (copy.time_ns, copy.seq) = (self.time_ns, self.seq);
        copy
    }
}

/// A limit bid in a series.
pub(crate) fn bid(series: u32, name: u64, price: i64, lots: u64) -> Command {
    limit(series, Side::Buy, name, price, lots)
}

/// A limit ask in a series.
pub(crate) fn ask(series: u32, name: u64, price: i64, lots: u64) -> Command {
    limit(series, Side::Sell, name, price, lots)
}

fn limit(series: u32, side: Side, name: u64, price_ticks: i64, size_lots: u64) -> Command {
    Command::New {
        kind: OrderKind::Limit,
        side,
        self_trade: SelfTrade::CancelResting,
        instrument: InstrumentId(series),
        client_order: ClientOrderId(name),
        price_ticks,
        size_lots,
    }
}

/// The public events among these outputs.
pub(crate) fn public(told: &[Told]) -> Vec<PublicEvent> {
    let event = |told: &Told| match told {
        Told::Public(event) => Some(*event),
        Told::Session(..) => None,
    };
    told.iter().filter_map(event).collect()
}
