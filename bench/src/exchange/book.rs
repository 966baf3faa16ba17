//! What the sessions are told, kept.
//!
//! Owns the acknowledgements, the ids of the listed series, the traders' long positions and the
//! counts of refusals. Never: sends, or judges what it is told.

use std::collections::{BTreeMap, BTreeSet};

use quorate::client::ClientEvent;
use quorate::state_machine::SessionId;
use quorate_venue::{Answer, InstrumentId, PositionCause, Refusal, SeriesState, SessionReport};

use super::ExchangeOutcome;
use crate::load::Acknowledged;

#[derive(Debug, Default)]
pub(super) struct Book {
    pub(super) outcome: ExchangeOutcome,
    /// Series in the order in which they were listed.
    pub(super) series: Vec<InstrumentId>,
    /// Series that a validator has called settled.
    pub(super) settled: BTreeSet<InstrumentId>,
    /// Positions by session place, as told last.
    positions: BTreeMap<(usize, InstrumentId), i64>,
    /// An exercise was applied.
    pub(super) has_exercised: bool,
    /// Series asked about, by the id of the question.
    pub(super) asked: BTreeMap<u64, InstrumentId>,
}

impl Book {
    /// Takes what a turn tells about the session at a place.
    pub(super) fn take(&mut self, place: usize, session: SessionId, event: &ClientEvent<'_>) {
        match event {
            ClientEvent::Result { result, .. } => {
                let applied = result.item.applied.map(|at| at.height);
                self.acknowledge(session, result.item.seq, applied);
                for output in result.outputs.clone() {
                    self.report(place, output);
                }
            }
            ClientEvent::Passed { seq_first, count } => {
                for seq in *seq_first..seq_first.saturating_add(*count) {
                    self.acknowledge(session, seq, None);
                }
            }
            ClientEvent::Dropped { count, .. } => self.outcome.dropped += count,
            ClientEvent::Stream(stream) => {
                for (_, output) in stream.clone() {
                    self.report(place, output);
                }
            }
            ClientEvent::Answer { id, answer } => self.answer(*id, answer),
            _ => {}
        }
    }

    fn acknowledge(&mut self, session: SessionId, seq: u64, height: Option<u64>) {
        self.outcome.height = self.outcome.height.max(height.unwrap_or(0));
        self.outcome.acknowledged.push(Acknowledged {
            session: session.0,
            seq,
            height,
        });
    }

    fn report(&mut self, place: usize, output: &[u8]) {
        match SessionReport::decode(output) {
            Ok(SessionReport::Listed { instrument, .. }) => self.series.push(instrument),
            Ok(SessionReport::PositionChanged {
                instrument,
                cause,
                position_lots,
                ..
            }) => {
                self.has_exercised |= cause == PositionCause::Exercise;
                self.positions.insert((place, instrument), position_lots);
            }
            Ok(SessionReport::Refused { refusal, .. }) => self.refused(refusal),
            _ => {}
        }
    }

    fn refused(&mut self, refusal: Refusal) {
        let reason = format!("{refusal:?}");
        *self.outcome.refused.entry(reason).or_default() += 1;
    }

    fn answer(&mut self, id: u64, answer: &[u8]) {
        let Some(instrument) = self.asked.remove(&id) else {
            return;
        };
        if let Ok(Answer::Series(series)) = Answer::decode(answer)
            && series.state == SeriesState::Settled
        {
            self.settled.insert(instrument);
        }
    }

    /// The session that holds most lots of a series, and how many; none if nobody is long.
    pub(super) fn longest(&self, instrument: InstrumentId) -> Option<(usize, u64)> {
        let of = |((place, id), lots): (&(usize, InstrumentId), &i64)| {
            let lots = u64::try_from(*lots).ok()?;
            (*id == instrument && lots > 0).then_some((*place, lots))
        };
        self.positions.iter().filter_map(of).max_by_key(|at| at.1)
    }
}
