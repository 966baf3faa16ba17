//! A stream of random commands for a venue with accounts, from a seed.

use super::pit::{self, FEED, ROUND, validator};
use super::{ADMIN, Told, session};
use quorate::state_machine::SessionId;
use quorate_venue::{
    ClearingCommand, ClientOrderId, Command, ExerciseStyle, InstrumentId, OrderKind, PublicEvent,
    Right, SelfTrade, Side,
};

/// What happens next.
pub(crate) enum Step {
    /// A command comes.
    Command(SessionId, Command),
    /// So much time passes.
    Wait(u64),
}

/// Random steps; SplitMix64, so that a seed is the whole run.
pub(crate) struct Stream {
    state: u64,
    price: i64,
    /// The series that was listed last.
    series: u32,
    /// Observations of the round that are still to come.
    observers: u8,
}

impl Stream {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            state: seed,
            price: 1_000,
            series: 0,
            observers: 0,
        }
    }

    /// Learns which series there are.
    pub(crate) fn heard(&mut self, told: &Told) {
        if let Told::Public(PublicEvent::SeriesListed { instrument, .. }) = told {
            self.series = instrument.0;
        }
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn client(&mut self) -> SessionId {
        session(1 + self.below(6) as u8)
    }

    /// One of the last series, now and then one that does not exist.
    fn instrument(&mut self) -> InstrumentId {
        let back = self.below(4) as u32;
        let beyond = u32::from(self.below(50) == 0);
        InstrumentId((self.series + beyond).saturating_sub(back))
    }

    /// The next step, at this time.
    pub(crate) fn step(&mut self, time_ns: u64) -> Step {
        if self.observers > 0 {
            self.observers -= 1;
            let who = validator(self.observers);
            return Step::Command(who, self.observe(time_ns));
        }
        match self.below(100) {
            0..6 => self.pass(),
            6..8 => self.list(time_ns),
            8..14 => self.cash(),
            14..20 => {
                let instrument = self.instrument();
                let lots = self.below(12);
                let who = self.client();
                let command = ClearingCommand::Exercise { instrument, lots };
                Step::Command(who, Command::Clearing(command))
            }
            20..23 => {
                let command = ClearingCommand::ResumeFeed { feed: FEED };
                Step::Command(ADMIN, Command::Clearing(command))
            }
            23..85 => self.order(),
            _ => self.change(),
        }
    }

    /// A round passes, with or without prices, or many.
    fn pass(&mut self) -> Step {
        let moved = self.price * (self.below(101) as i64 - 50) / 500;
        self.price = (self.price + moved).clamp(300, 5_000);
        if self.below(50) == 0 {
            self.price = 300 + self.below(4_000) as i64;
        }
        let rounds = if self.below(40) == 0 {
            self.below(30)
        } else {
            1
        };
        self.observers = if self.below(12) == 0 { 2 } else { 4 };
        Step::Wait(rounds * ROUND + self.below(2) * (ROUND / 3))
    }

    fn observe(&mut self, time_ns: u64) -> Command {
        let spread = self.below(9) as i64 - 4;
        let price = match self.below(30) {
            0 => -1,
            1 => i64::MAX,
            _ => self.price + spread,
        };
        Command::Clearing(ClearingCommand::Observe {
            feed: FEED,
            round: time_ns / ROUND,
            price,
            confidence: 1,
            source_time_ns: time_ns,
        })
    }

    fn list(&mut self, time_ns: u64) -> Step {
        let choice = self.next();
        let command = ClearingCommand::ListSeries {
            feed: FEED,
            strike: self.price * (80 + self.below(40) as i64) / 100,
            expiry_ns: time_ns + (5 + self.below(60)) * ROUND + self.below(ROUND),
            right: if choice & 1 == 0 {
                Right::Call
            } else {
                Right::Put
            },
            style: [ExerciseStyle::European, ExerciseStyle::American][(choice >> 1 & 1) as usize],
            multiplier: 1 + (choice >> 2 & 3) as u32,
            price_ticks_max: 10_000,
            size_lots_max: 50,
        };
        Step::Command(ADMIN, Command::Clearing(command))
    }

    fn cash(&mut self) -> Step {
        let account = self.client();
        let amount = self.below(9_000) as i64;
        let (who, command) = match self.below(8) {
            0..4 => (ADMIN, ClearingCommand::Deposit { account, amount }),
            4 => (ADMIN, ClearingCommand::EndowFund { amount: amount / 8 }),
            _ => (account, ClearingCommand::Withdraw { amount }),
        };
        Step::Command(who, Command::Clearing(command))
    }

    fn order(&mut self) -> Step {
        let kind = OrderKind::ALL[self.below(5) as usize];
        let premium = 20 + self.below(60) as i64;
        let command = Command::New {
            kind,
            side: Side::ALL[self.below(2) as usize],
            self_trade: SelfTrade::ALL[self.below(3) as usize],
            instrument: self.instrument(),
            client_order: ClientOrderId(self.below(40)),
            price_ticks: if kind == OrderKind::Market {
                0
            } else {
                premium
            },
            size_lots: self.below(20),
        };
        Step::Command(self.client(), command)
    }

    fn change(&mut self) -> Step {
        let client_order = ClientOrderId(self.below(40));
        let command = match self.below(5) {
            0 => Command::MassCancel {
                instrument: Some(self.instrument()),
            },
            1 => Command::Cancel { client_order },
            2 => Command::Reduce {
                client_order,
                by_lots: self.below(10),
            },
            _ => Command::Replace {
                kind: OrderKind::Limit,
                self_trade: SelfTrade::CancelResting,
                client_order,
                new_client_order: ClientOrderId(self.below(40)),
                price_ticks: 20 + self.below(60) as i64,
                size_lots: self.below(30),
            },
        };
        Step::Command(self.client(), command)
    }
}

/// A venue for streams: roomier windows than the other tests have.
pub(crate) fn config() -> quorate_venue::VenueConfig {
    let mut config = pit::config();
    if let Some(clearing) = &mut config.clearing {
        clearing.rules.positions_per_account_max = 8;
    }
    config
}
