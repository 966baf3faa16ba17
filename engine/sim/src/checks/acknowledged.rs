//! Nothing that a client was told is lost.
//!
//! Owns every result that a client received. At the end each must stand in the chain where the
//! client was told.

use std::collections::BTreeMap;

use quorate::results::{CommandResult, Outcome};
use quorate::state_machine::SessionId;

use super::Violation;
use super::results::Results;

/// What clients were told.
#[derive(Debug, Default)]
pub(crate) struct Acknowledged {
    /// Places by command; none where the validator no longer knew it.
    told: BTreeMap<(SessionId, u64), Option<(u64, u32)>>,
}

impl Acknowledged {
    /// A client received a result that says that its command was applied, now or before.
    pub(crate) fn see(&mut self, result: &CommandResult) -> Result<(), Violation> {
        if !matches!(result.outcome, Outcome::Applied | Outcome::Duplicate) {
            return Ok(());
        }
        let place = result.applied.map(|place| (place.height, place.index));
        let key = (result.session, result.seq);
        let known = self.told.entry(key).or_insert(place);
        match (*known, place) {
            (Some(first), Some(second)) if first != second => {
                let what = format!("{key:?} was told to be at {first:?} and at {second:?}");
                Err(Violation::new("acknowledged", what))
            }
            (None, place) => {
                *known = place;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// A client was told that its session has ended, and takes from it that this command of it was
    /// applied before.
    pub(crate) fn see_ended(&mut self, session: SessionId, seq: u64) {
        self.told.entry((session, seq)).or_insert(None);
    }

    /// Judges all that was told, against the chain.
    pub(crate) fn finish(&self, results: &Results) -> Result<(), Violation> {
        for (&(session, seq), place) in &self.told {
            let is_kept = match *place {
                Some((height, index)) => results.is_applied_at(session, seq, height, index),
                None => results.is_applied(session, seq),
            };
            if !is_kept {
                let what = format!("{session:?} {seq} was acknowledged at {place:?} and is lost");
                return Err(Violation::new("acknowledged", what));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::results::tests::told;
    use super::*;
    use quorate::results::Place;

    fn at(height: u64, seq: u64) -> CommandResult {
        CommandResult {
            applied: Some(Place { height, index: 0 }),
            ..told(seq, Outcome::Applied)
        }
    }

    #[test]
    fn what_stands_where_the_client_was_told_is_kept() {
        let mut results = Results::default();
        results.see(0, 1, &[at(1, 1)], &[]).unwrap();
        let mut acknowledged = Acknowledged::default();
        acknowledged.see(&at(1, 1)).unwrap();
        acknowledged.see(&told(1, Outcome::Duplicate)).unwrap();
        assert_eq!(acknowledged.finish(&results), Ok(()));
    }

    #[test]
    fn an_acknowledged_command_outside_the_chain_is_found() {
        let mut acknowledged = Acknowledged::default();
        acknowledged.see(&at(1, 1)).unwrap();
        assert!(acknowledged.finish(&Results::default()).is_err());
    }

    #[test]
    fn a_command_that_an_ended_session_never_had_is_found() {
        let mut results = Results::default();
        results.see(0, 1, &[at(1, 1)], &[]).unwrap();
        let mut acknowledged = Acknowledged::default();
        acknowledged.see_ended(told(1, Outcome::Applied).session, 1);
        assert_eq!(acknowledged.finish(&results), Ok(()));
        acknowledged.see_ended(told(1, Outcome::Applied).session, 2);
        assert!(acknowledged.finish(&results).is_err());
    }

    #[test]
    fn two_places_for_one_command_are_found() {
        let mut acknowledged = Acknowledged::default();
        acknowledged.see(&at(1, 1)).unwrap();
        assert!(acknowledged.see(&at(2, 1)).is_err());
    }
}
