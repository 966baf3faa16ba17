//! The sessions of the exchange and the loop that drives them.
//!
//! Owns who sends what when. Never: what a command means, or what came of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use quorate::client::{ClientError, ClientOptions, ClientRef, Clients};
use quorate::genesis::Genesis;
use quorate::keys::KeyPair;
use quorate::state_machine::SessionId;
use quorate_consensus::payload::session_of_key;
use quorate_consensus::types::ValidatorIndex;
use quorate_venue::{ClearingCommand, Command, InstrumentId, Question, lane};

use super::book::Book;
use super::desk::Desk;
use super::market::{FEED, LISTINGS, ROUND_NS, Walk};
use super::{ExchangeError, ExchangeKeys, ExchangeOutcome, ExchangePlan, TRADERS};
use crate::prices::{Feeder, PriceLine};

/// Cash brought in for each trader, and for the fund.
const DEPOSIT: i64 = 1_000_000_000;
/// How often somebody trades.
const TRADE_EVERY: Duration = Duration::from_millis(40);
/// In the last part of its life a series is left alone, as it may have expired on arrival.
const LAST_TRADE: Duration = Duration::from_millis(400);
/// From when on the American series is exercised, in percent of the run.
const EXERCISE_PERCENT: u32 = 50;
/// How often that is tried, until it is applied: a price may not be fresh, or lots may be offered.
const EXERCISE_EVERY: Duration = Duration::from_millis(200);
/// How often it is asked whether the series are settled.
const ASK_EVERY: Duration = Duration::from_millis(100);
/// How long the administrator's first result may take.
const BEGIN: Duration = Duration::from_secs(120);
/// How long after the run settlement and the last results may take.
const SETTLE: Duration = Duration::from_secs(120);
/// Longest wait for anything to come.
const TURN: Duration = Duration::from_millis(5);
/// Commands of one session that may wait.
const PENDING_MAX: usize = 4_096;

/// Place of the administrator among the sessions; behind it come the feeds, then the traders.
const ADMIN: usize = 0;

/// What the exchange and whoever runs it tell each other meanwhile.
#[derive(Debug, Default)]
pub struct Signs {
    /// Validators that observe nothing, a bit each: their feeds stand beside them.
    pub down: AtomicU64,
    /// The clock of the run has begun: the first command of the exchange has a result.
    pub has_begun: AtomicBool,
}

/// Does business until the run is over and every series is settled, or until `stop` is set.
///
/// # Errors
/// No session can be made. What was not settled or answered in time is no error.
pub fn run(
    genesis: &Genesis,
    keys: &ExchangeKeys,
    plan: ExchangePlan,
    signs: &Signs,
    stop: &AtomicBool,
) -> Result<ExchangeOutcome, ExchangeError> {
    let down = &signs.down;
    let mut driver = Driver::new(genesis, keys, plan)?;
    driver.bring_cash()?;
    driver.wait_for_a_result(stop)?;
    driver.begin();
    signs.has_begun.store(true, Ordering::Relaxed);
    driver.list()?;
    while !driver.is_over() && !stop.load(Ordering::Relaxed) {
        driver.observe(down.load(Ordering::Relaxed))?;
        driver.trade()?;
        driver.exercise()?;
        driver.ask()?;
        driver.turn()?;
    }
    Ok(driver.conclude())
}

struct Driver {
    clients: Clients,
    sessions: Vec<(ClientRef, SessionId)>,
    feeds: Vec<Feeder>,
    walk: Walk,
    desk: Desk,
    book: Book,
    start: Instant,
    start_ns: u64,
    run: Duration,
    trade_at: Instant,
    ask_at: Instant,
    exercise_at: Instant,
}

impl Driver {
    fn new(
        genesis: &Genesis,
        keys: &ExchangeKeys,
        plan: ExchangePlan,
    ) -> Result<Self, ExchangeError> {
        let mut clients = Clients::new(genesis)?;
        let members = genesis.file().validators.len().max(1);
        let mut add = |key: &Arc<KeyPair>, first: usize| {
            let options = ClientOptions {
                first: ValidatorIndex::new(u16::try_from(first % members).unwrap_or(0)),
                pending_max: PENDING_MAX,
                ..ClientOptions::default()
            };
            let client = clients.add(Arc::clone(key), options);
            (client, SessionId(session_of_key(&key.public())))
        };
        let mut sessions = vec![add(&keys.admin, 0)];
        sessions.extend(keys.feeds.iter().enumerate().map(|(at, key)| add(key, at)));
        sessions.extend(
            keys.traders
                .iter()
                .enumerate()
                .map(|(at, key)| add(key, at)),
        );
        let feed = [quorate_venue::FeedConfig {
            round_ns: ROUND_NS,
            ..quorate_venue::FeedConfig::with_symbol("IDX")
        }];
        let now = Instant::now();
        Ok(Self {
            clients,
            sessions,
            feeds: vec![Feeder::new(&feed); keys.feeds.len()],
            walk: Walk::new(plan.seed),
            desk: Desk::new(plan.seed),
            book: Book::default(),
            start: now,
            start_ns: wall_clock_ns(),
            run: Duration::from_secs(plan.seconds),
            trade_at: now,
            ask_at: now,
            exercise_at: now,
        })
    }

    /// Cash for everyone.
    fn bring_cash(&mut self) -> Result<(), ExchangeError> {
        let fund = ClearingCommand::EndowFund { amount: DEPOSIT };
        self.submit(ADMIN, Command::Clearing(fund))?;
        for trader in 0..TRADERS {
            let account = self.sessions[self.trader(trader)].1;
            let amount = DEPOSIT;
            let deposit = ClearingCommand::Deposit { account, amount };
            self.submit(ADMIN, Command::Clearing(deposit))?;
        }
        Ok(())
    }

    /// Until sessions are open nothing has a time: what expires would before it is listed.
    fn wait_for_a_result(&mut self, stop: &AtomicBool) -> Result<(), ExchangeError> {
        let end = Instant::now() + BEGIN;
        while self.book.outcome.acknowledged.is_empty()
            && Instant::now() < end
            && !stop.load(Ordering::Relaxed)
        {
            self.turn()?;
        }
        Ok(())
    }

    /// The clock of the run begins now.
    fn begin(&mut self) {
        let now = Instant::now();
        (self.start, self.start_ns) = (now, wall_clock_ns());
        (self.trade_at, self.ask_at, self.exercise_at) = (now, now, now);
    }

    /// The series, by the clock of the run.
    fn list(&mut self) -> Result<(), ExchangeError> {
        let run_ns = u64::try_from(self.run.as_nanos()).unwrap_or(u64::MAX);
        for listing in LISTINGS {
            let expiry_ns = listing.expiry_ns(self.start_ns, run_ns);
            self.submit(ADMIN, Command::Clearing(listing.command(expiry_ns)))?;
        }
        Ok(())
    }

    fn trader(&self, trader: usize) -> usize {
        1 + self.feeds.len() + trader
    }

    /// A full session is passed over: the load is open, and what is late is of no use.
    fn submit(&mut self, place: usize, command: Command) -> Result<bool, ExchangeError> {
        let mut body = Vec::with_capacity(64);
        command.encode(&mut body);
        let client = self.sessions[place].0;
        let lane = lane(&body);
        match self.clients.submit(client, lane, &body, Instant::now()) {
            Ok(_) => Ok(true),
            Err(ClientError::Full { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Each validator that is up observes each round once.
    fn observe(&mut self, down: u64) -> Result<(), ExchangeError> {
        let now_ns = wall_clock_ns();
        let round = now_ns / ROUND_NS;
        for place in 0..self.feeds.len() {
            if down >> place & 1 == 1 {
                continue;
            }
            let (price, confidence) = self.walk.view(round);
            let line = PriceLine {
                feed: FEED,
                price,
                confidence,
                source_time_ns: now_ns,
            };
            if let Ok(Some(command)) = self.feeds[place].observe(&line, now_ns) {
                self.submit(1 + place, command)?;
                self.book.outcome.observations += 1;
            }
        }
        Ok(())
    }

    /// Somebody writes an option and somebody buys it.
    fn trade(&mut self) -> Result<(), ExchangeError> {
        if Instant::now() < self.trade_at {
            return Ok(());
        }
        self.trade_at += TRADE_EVERY;
        let Some((listing, instrument)) = self.any_alive() else {
            return Ok(());
        };
        let price = self.walk.price(wall_clock_ns() / ROUND_NS);
        let orders = self
            .desk
            .trade(instrument, LISTINGS[listing].intrinsic(price));
        for order in orders {
            self.submit(self.trader(order.trader), order.command)?;
        }
        Ok(())
    }

    /// A series that still trades.
    fn any_alive(&mut self) -> Option<(usize, InstrumentId)> {
        let gone = self.start.elapsed() + LAST_TRADE;
        let alive: Vec<(usize, InstrumentId)> = (0..LISTINGS.len())
            .filter(|at| gone < self.expires(*at))
            .filter_map(|at| Some((at, *self.book.series.get(at)?)))
            .collect();
        let count = alive.len() as u64;
        if count == 0 {
            return None;
        }
        let drawn = self.desk.below(count);
        alive.get(usize::try_from(drawn).ok()?).copied()
    }

    /// How far into the run a series expires.
    fn expires(&self, listing: usize) -> Duration {
        let percent = u32::try_from(LISTINGS[listing].expiry_percent).unwrap_or(100);
        self.run / 100 * percent
    }

    /// Until it is applied, whoever is longest of the American series exercises half of it.
    fn exercise(&mut self) -> Result<(), ExchangeError> {
        let elapsed = self.start.elapsed();
        let is_time = elapsed >= self.run / 100 * EXERCISE_PERCENT
            && elapsed < self.expires(LISTINGS.len() - 1)
            && Instant::now() >= self.exercise_at;
        if self.book.has_exercised || !is_time {
            return Ok(());
        }
        let series = self.book.series.last().copied();
        let Some((instrument, (place, held))) =
            series.and_then(|id| Some((id, self.book.longest(id)?)))
        else {
            return Ok(());
        };
        let lots = held.div_ceil(2);
        let exercise = ClearingCommand::Exercise { instrument, lots };
        self.exercise_at = Instant::now() + EXERCISE_EVERY;
        self.submit(place, Command::Clearing(exercise))?;
        Ok(())
    }

    /// After the last expiry it is asked until every series is settled.
    fn ask(&mut self) -> Result<(), ExchangeError> {
        let last = self.expires(LISTINGS.len() - 1);
        if self.start.elapsed() < last || Instant::now() < self.ask_at {
            return Ok(());
        }
        self.ask_at = Instant::now() + ASK_EVERY;
        self.book.asked.clear();
        for instrument in self.book.series.clone() {
            if self.book.settled.contains(&instrument) {
                continue;
            }
            let mut question = Vec::new();
            Question::Series { instrument }.encode(&mut question);
            match self.clients.query(self.sessions[ADMIN].0, &question) {
                Ok(id) => drop(self.book.asked.insert(id, instrument)),
                Err(ClientError::NotConnected | ClientError::Crowded) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn turn(&mut self) -> Result<(), ExchangeError> {
        let (book, sessions) = (&mut self.book, &self.sessions);
        self.clients
            .turn(Instant::now(), Some(TURN), |client, event| {
                if let Some((_, session)) = sessions.get(client.place()) {
                    book.take(client.place(), *session, &event);
                }
            })?;
        Ok(())
    }

    fn waiting(&self) -> u64 {
        let pending = |(client, _): &(ClientRef, SessionId)| self.clients.pending(*client) as u64;
        self.sessions.iter().map(pending).sum()
    }

    fn is_over(&self) -> bool {
        let elapsed = self.start.elapsed();
        let is_settled = self.book.settled.len() == LISTINGS.len();
        let is_done = elapsed >= self.run && is_settled;
        is_done || elapsed >= self.run + SETTLE
    }

    /// Waits for the last results.
    fn conclude(mut self) -> ExchangeOutcome {
        let end = Instant::now() + SETTLE;
        while self.waiting() > 0 && Instant::now() < end && self.turn().is_ok() {}
        let mut outcome = std::mem::take(&mut self.book.outcome);
        outcome.unanswered = self.waiting();
        outcome.series = LISTINGS.len();
        outcome.settled = self.book.settled.len();
        outcome
    }
}

fn wall_clock_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    })
}
