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
    /// What settlement and exercise brought to all accounts and the fund together.
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
    use quorate::state_machine::SessionId;

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
