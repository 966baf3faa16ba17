//! What the finalized blocks came to, read from the blocks alone.
//!
//! Owns the sums over one validator's results, block by block: which commands were applied, what
//! was settled, and how the prices stood. Never: believes what a client was told; that is held
//! against it.

use std::collections::BTreeMap;

use quorate::results::{BlockResults, Outcome};
use quorate::state_machine::Audience;
use quorate_venue::{PositionCause, PriceState, PublicEvent, SessionReport};
use serde::Serialize;

use crate::load::Acknowledged;

/// Closed rounds by the state of their price.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PriceCounts {
    /// More than two thirds of stake were fresh.
    pub fresh: u64,
    /// More than a third.
    pub degraded: u64,
    /// Less.
    pub stale: u64,
}

/// The sums.
#[derive(Debug, Default)]
pub struct Ledger {
    /// Where each command was applied.
    applied: BTreeMap<([u8; 16], u64), u64>,
    /// Number of the last applied command of each session.
    last: BTreeMap<[u8; 16], u64>,
    /// Commands that were applied twice, or not behind the one before them.
    pub misapplied: u64,
    /// Closed rounds.
    pub prices: PriceCounts,
    /// Settled series.
    pub settled: u64,
    /// Cash that settlements brought to the long accounts.
    pub settled_amount: i128,
    /// Settlements that were put off for too few samples.
    pub deferred: u64,
    /// Lots that were exercised by command.
    pub exercised_lots: u64,
    /// What settlement and exercise brought to all accounts and the fund together. The events say
    /// what the fund gave without what rounding left in it.
    pub settlement_sum: i128,
}

impl Ledger {
    /// Takes the results of the next block.
    pub fn take(&mut self, results: &BlockResults) {
        for command in &results.commands {
            if command.outcome != Outcome::Applied {
                continue;
            }
            let key = (command.session.0, command.seq);
            let last = self.last.entry(command.session.0).or_default();
            // A session begins with the number of its opening.
            let is_next = *last == 0 || command.seq == *last + 1;
            *last = (*last).max(command.seq);
            let before = self.applied.insert(key, results.height);
            self.misapplied += u64::from(!is_next || before.is_some());
        }
        for output in results.outputs() {
            match output.audience {
                Audience::Public => self.public(output.bytes),
                Audience::Session(_) => self.private(output.bytes),
            }
        }
    }

    fn public(&mut self, event: &[u8]) {
        match PublicEvent::decode(event) {
            Ok(PublicEvent::PriceClosed { state, .. }) => {
                let count = match state {
                    PriceState::Fresh => &mut self.prices.fresh,
                    PriceState::Degraded => &mut self.prices.degraded,
                    PriceState::Stale => &mut self.prices.stale,
                };
                *count += 1;
            }
            Ok(PublicEvent::Settled {
                paid, fund_paid, ..
            }) => {
                self.settled += 1;
                self.settled_amount += i128::from(paid);
                self.settlement_sum -= i128::from(fund_paid);
            }
            Ok(PublicEvent::Exercised {
                lots, fund_paid, ..
            }) => {
                self.exercised_lots += lots;
                self.settlement_sum -= i128::from(fund_paid);
            }
            Ok(PublicEvent::SettlementDeferred { .. }) => self.deferred += 1,
            _ => {}
        }
    }

    fn private(&mut self, report: &[u8]) {
        if let Ok(SessionReport::PositionChanged { cause, amount, .. }) =
            SessionReport::decode(report)
            && matches!(
                cause,
                PositionCause::Settlement | PositionCause::Exercise | PositionCause::Assignment
            )
        {
            self.settlement_sum += i128::from(amount);
        }
    }

    /// How many of these were not applied, or elsewhere than was told.
    #[must_use]
    pub fn lost(&self, acknowledged: &[Acknowledged]) -> u64 {
        let is_lost = |told: &&Acknowledged| {
            let height = self.applied.get(&(told.session, told.seq));
            height.is_none_or(|height| told.height.is_some_and(|told| told != *height))
        };
        acknowledged.iter().filter(is_lost).count() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate::results::{CommandResult, Place};
    use quorate::state_machine::{Context, Output, SessionId, StateMachine};
    use quorate_venue::{
        ClearingCommand, ClearingConfig, ClearingRules, ClientOrderId, Command, ExerciseStyle,
        FeedConfig, FeedId, FeedValidator, Instrument, InstrumentId, OrderKind, Right, SelfTrade,
        Side, Venue, VenueConfig, VenueLimits, lane,
    };

    fn block(height: u64, commands: &[(u8, u64, Outcome)]) -> BlockResults {
        let mut results = BlockResults::new();
        results.height = height;
        for (index, (session, seq, outcome)) in (0..).zip(commands) {
            results.commands.push(CommandResult {
                session: SessionId([*session; 16]),
                seq: *seq,
                outcome: *outcome,
                applied: Some(Place { height, index }),
                mark: None,
                finality_ns: 0,
            });
        }
        results
    }

    const ROUND_NS: u64 = 1_000_000_000;

    const fn session(number: u8) -> SessionId {
        SessionId([number; 16])
    }

    /// Session 1 administers, session 2 observes; a fixing is one sample, and margins are low.
    fn venue() -> Venue {
        let config = ClearingConfig {
            validators: vec![FeedValidator {
                session: session(2),
                stake: 1,
            }],
            feeds: vec![FeedConfig {
                round_ns: ROUND_NS,
                move_limit_bps: 10_000,
                price_max: 1_000,
                ..FeedConfig::with_symbol("IDX")
            }],
            rules: ClearingRules {
                window_rounds: 1,
                samples_min: 1,
                initial_bps: 100,
                maintenance_bps: 100,
                ..ClearingRules::default()
            },
        };
        Venue::new(VenueConfig {
            instruments: vec![Instrument::with_symbol("SPOT")],
            admins: vec![session(1)],
            limits: VenueLimits::default(),
            clearing: Some(config),
        })
        .unwrap()
    }

    /// In the order of their rounds: a writer sells a call to each of three holders for 1, and
    /// has 10 then; at the fixing each is worth 100.
    fn steps() -> Vec<(u64, SessionId, Command)> {
        let (admin, feed, writer) = (session(1), session(2), session(3));
        let order = |side, size_lots| Command::New {
            kind: OrderKind::Limit,
            side,
            self_trade: SelfTrade::CancelResting,
            instrument: InstrumentId(1),
            client_order: ClientOrderId(1),
            price_ticks: 1,
            size_lots,
        };
        let deposit =
            |account, amount| Command::Clearing(ClearingCommand::Deposit { account, amount });
        let observe = |round, price| {
            Command::Clearing(ClearingCommand::Observe {
                feed: FeedId(0),
                round,
                price,
                confidence: 0,
                source_time_ns: round * ROUND_NS,
            })
        };
        let list = ClearingCommand::ListSeries {
            feed: FeedId(0),
            strike: 100,
            expiry_ns: 12 * ROUND_NS,
            right: Right::Call,
            style: ExerciseStyle::European,
            multiplier: 1,
            price_ticks_max: 10,
            size_lots_max: 10,
        };
        let mut steps = vec![
            (10, feed, observe(10, 100)),
            (11, admin, Command::Clearing(list)),
            (11, admin, deposit(writer, 7)),
            (11, writer, order(Side::Sell, 3)),
        ];
        for holder in [4, 5, 6].map(session) {
            steps.push((11, admin, deposit(holder, 1)));
            steps.push((11, holder, order(Side::Buy, 1)));
        }
        steps.push((11, feed, observe(11, 200)));
        steps
    }

    /// What the venue tells when the series is settled.
    fn settled_beyond_the_fund() -> Output {
        let mut venue = venue();
        let (mut output, mut scratch) = (Output::new(), Vec::new());
        for (seq, (round, session, command)) in (1..).zip(steps()) {
            let time_ns = round * ROUND_NS;
            if venue
                .timer_next_ns()
                .is_some_and(|due_ns| due_ns <= time_ns)
            {
                venue.apply_timers(seq, time_ns, &mut output);
            }
            scratch.clear();
            command.encode(&mut scratch);
            let context = Context {
                height: seq,
                index: 0,
                time_ns,
                session,
                seq,
                lane: lane(&scratch),
            };
            venue.apply(&context, &scratch, &mut output);
        }
        output.clear();
        venue.apply_timers(99, 12 * ROUND_NS, &mut output);
        output
    }

    #[test]
    fn a_settlement_beyond_the_fund_sums_to_zero() {
        let mut ledger = Ledger::default();
        for (audience, bytes) in settled_beyond_the_fund().iter() {
            match audience {
                Audience::Public => ledger.public(bytes),
                Audience::Session(_) => ledger.private(bytes),
            }
        }
        assert_eq!((ledger.settled, ledger.settled_amount), (1, 9));
        assert_eq!(ledger.settlement_sum, 0);
    }

    fn told(session: u8, seq: u64, height: Option<u64>) -> Acknowledged {
        Acknowledged {
            session: [session; 16],
            seq,
            height,
        }
    }

    #[test]
    fn a_command_counts_once_and_in_the_order_of_its_session() {
        let mut ledger = Ledger::default();
        let (applied, duplicate) = (Outcome::Applied, Outcome::Duplicate);
        ledger.take(&block(1, &[(1, 1, applied), (2, 1, applied)]));
        ledger.take(&block(2, &[(1, 1, duplicate), (1, 2, applied)]));
        assert_eq!(ledger.misapplied, 0);
        let all = [told(1, 1, Some(1)), told(1, 2, None), told(2, 1, Some(1))];
        assert_eq!(ledger.lost(&all), 0);
        assert_eq!(ledger.lost(&[told(1, 1, Some(2))]), 1, "told elsewhere");
        assert_eq!(ledger.lost(&[told(2, 2, None)]), 1, "never applied");
        ledger.take(&block(3, &[(1, 2, applied)]));
        assert_eq!(ledger.misapplied, 1, "twice");
        ledger.take(&block(4, &[(2, 3, applied)]));
        assert_eq!(ledger.misapplied, 2, "over a gap");
    }
}
