//! Every command is applied at most once, in the order of its session, alike on all validators.
//!
//! Owns the results of every height and a session table of its own, recomputed from the chain.

use std::collections::{BTreeMap, BTreeSet};

use quorate::results::{CommandResult, Outcome};
use quorate::state_machine::SessionId;

use super::Violation;

/// What came of a command, without what differs from one validator to the other.
type Told = (SessionId, u64, Outcome);

/// The results of the chain.
#[derive(Debug, Default)]
pub(crate) struct Results {
    heights: BTreeMap<u64, Vec<Told>>,
    /// Of blocks that wait to be judged, for each command whether its client has made it.
    made: BTreeMap<u64, Vec<bool>>,
    /// Heights up to this one are judged; the others wait for one below.
    judged: u64,
    last_seqs: BTreeMap<SessionId, u64>,
    applied: BTreeSet<(SessionId, u64)>,
}

impl Results {
    /// Of a chain that goes on after `height` with these sessions, each at its last number.
    pub(crate) fn new(height: u64, last_seqs: &BTreeMap<SessionId, u64>) -> Self {
        Self {
            judged: height,
            last_seqs: last_seqs.clone(),
            ..Self::default()
        }
    }

    /// A validator gives the results of a block. Where commands are signed `made` says of each
    /// whether its client has made it; elsewhere it is empty, and each is taken for its client's.
    pub(crate) fn see(
        &mut self,
        validator: usize,
        height: u64,
        commands: &[CommandResult],
        made: &[bool],
    ) -> Result<(), Violation> {
        let told: Vec<Told> = commands
            .iter()
            .map(|result| (result.session, result.seq, result.outcome))
            .collect();
        if let Some(first) = self.heights.get(&height) {
            if *first == told {
                return Ok(());
            }
            let what = format!("height {height} at v{validator}: {told:?}, elsewhere {first:?}");
            return Err(Violation::new("results", what));
        }
        self.heights.insert(height, told);
        self.made.insert(height, made.to_vec());
        while let Some(told) = self.heights.get(&(self.judged + 1)).cloned() {
            self.judged += 1;
            let height = self.judged;
            let made = self.made.remove(&height).unwrap_or_default();
            for (place, one) in told.iter().enumerate() {
                let is_made = made.get(place).copied().unwrap_or(true);
                self.judge(height, one, is_made)?;
            }
        }
        Ok(())
    }

    fn judge(
        &mut self,
        height: u64,
        &(session, seq, outcome): &Told,
        is_made: bool,
    ) -> Result<(), Violation> {
        let last = self.last_seqs.entry(session).or_insert(0);
        let expected = match seq.cmp(&(*last + 1)) {
            // What would apply and is not its client's does nothing.
            std::cmp::Ordering::Equal if !is_made => Outcome::BadSignature,
            std::cmp::Ordering::Equal => Outcome::Applied,
            std::cmp::Ordering::Less => Outcome::Duplicate,
            std::cmp::Ordering::Greater => Outcome::Gap,
        };
        if outcome == Outcome::Applied {
            *last = seq;
            if !self.applied.insert((session, seq)) {
                let what = format!("height {height}: {session:?} {seq} was applied before");
                return Err(Violation::new("results", what));
            }
        }
        if outcome == expected {
            return Ok(());
        }
        let what = format!("height {height}: {session:?} {seq} is {outcome:?}, not {expected:?}");
        Err(Violation::new("results", what))
    }

    /// Whether the command was applied at this place of the chain.
    pub(crate) fn is_applied_at(
        &self,
        session: SessionId,
        seq: u64,
        height: u64,
        index: u32,
    ) -> bool {
        let block = self.heights.get(&height);
        let told = block.and_then(|block| block.get(usize::try_from(index).ok()?));
        told == Some(&(session, seq, Outcome::Applied))
    }

    /// Whether the command was applied anywhere.
    pub(crate) fn is_applied(&self, session: SessionId, seq: u64) -> bool {
        self.applied.contains(&(session, seq))
    }

    /// Commands applied so far.
    pub(crate) fn applied_count(&self) -> u64 {
        self.applied.len() as u64
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) const ALICE: SessionId = SessionId([1; 16]);

    pub(crate) fn told(seq: u64, outcome: Outcome) -> CommandResult {
        CommandResult {
            session: ALICE,
            seq,
            outcome,
            applied: None,
            mark: None,
            finality_ns: 0,
        }
    }

    #[test]
    fn a_session_in_order_with_honest_duplicates_and_gaps_is_good() {
        let mut results = Results::default();
        let block = [told(1, Outcome::Applied), told(3, Outcome::Gap)];
        assert_eq!(results.see(0, 1, &block, &[]), Ok(()));
        assert_eq!(results.see(1, 1, &block, &[]), Ok(()));
        let block = [told(1, Outcome::Duplicate), told(2, Outcome::Applied)];
        assert_eq!(results.see(1, 2, &block, &[]), Ok(()));
        assert!(results.is_applied_at(ALICE, 2, 2, 1));
        assert!(!results.is_applied_at(ALICE, 2, 2, 0));
        assert_eq!(results.applied_count(), 2);
    }

    #[test]
    fn a_chain_that_goes_on_goes_on_with_its_sessions() {
        let begun = || Results::new(700, &BTreeMap::from([(ALICE, 2)]));
        let mut results = begun();
        assert_eq!(
            results.see(0, 701, &[told(3, Outcome::Applied)], &[]),
            Ok(())
        );
        assert_eq!(results.applied_count(), 1);
        let forgotten = begun().see(0, 701, &[told(1, Outcome::Applied)], &[]);
        assert!(forgotten.is_err());
    }

    #[test]
    fn a_forged_command_that_applies_and_a_true_one_that_is_refused_are_found() {
        let see = |outcome, made| Results::default().see(0, 1, &[told(1, outcome)], &[made]);
        assert_eq!(see(Outcome::BadSignature, false), Ok(()));
        assert_eq!(see(Outcome::Applied, true), Ok(()));
        assert!(see(Outcome::Applied, false).is_err());
        assert!(see(Outcome::BadSignature, true).is_err());
    }

    #[test]
    fn a_command_applied_twice_is_found() {
        let mut results = Results::default();
        results
            .see(0, 1, &[told(1, Outcome::Applied)], &[])
            .unwrap();
        assert!(
            results
                .see(0, 2, &[told(1, Outcome::Applied)], &[])
                .is_err()
        );
    }

    #[test]
    fn a_height_that_comes_late_is_judged_before_those_above_it() {
        let mut results = Results::default();
        results
            .see(0, 2, &[told(2, Outcome::Applied)], &[])
            .unwrap();
        assert_eq!(results.see(1, 1, &[told(1, Outcome::Applied)], &[]), Ok(()));
        assert!(
            results
                .see(1, 3, &[told(2, Outcome::Applied)], &[])
                .is_err()
        );
    }

    #[test]
    fn a_command_applied_over_a_gap_is_found() {
        let mut results = Results::default();
        assert!(
            results
                .see(0, 1, &[told(2, Outcome::Applied)], &[])
                .is_err()
        );
    }

    #[test]
    fn results_that_differ_between_validators_are_found() {
        let mut results = Results::default();
        results
            .see(0, 1, &[told(1, Outcome::Applied)], &[])
            .unwrap();
        assert!(results.see(1, 1, &[], &[]).is_err());
    }
}
