//! Every command is applied at most once, in the order of its session, alike on all validators.
//!
//! Owns the results of every height and a session table of its own, recomputed from the chain and
//! from what clients said that their commands do with their sessions. It forgets nothing: what was
//! applied once, in whichever visit of its client, is never applied again.

use std::collections::{BTreeMap, BTreeSet};

use quorate::results::{CommandResult, Mark, Outcome};
use quorate::state_machine::SessionId;

use super::Violation;
use crate::visits::Deed;

/// What came of a command, without what differs from one validator to the other: for how long it
/// was on its way, and the mark of a duplicate, which only those have that saw the command applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Told {
    session: SessionId,
    seq: u64,
    outcome: Outcome,
    /// Height and index.
    applied: Option<(u64, u32)>,
    mark: Option<Mark>,
}

impl Told {
    fn of(result: &CommandResult) -> Self {
        let is_repeat = result.outcome == Outcome::Duplicate;
        Self {
            session: result.session,
            seq: result.seq,
            outcome: result.outcome,
            applied: result.applied.map(|place| (place.height, place.index)),
            mark: result.mark.filter(|_| !is_repeat),
        }
    }
}

/// Where a session stands.
#[derive(Clone, Copy, Debug)]
struct Stand {
    /// Number of its opening.
    base_seq: u64,
    last_seq: u64,
    is_closed: bool,
}

/// The results of the chain.
#[derive(Debug, Default)]
pub(crate) struct Results {
    heights: BTreeMap<u64, Vec<Told>>,
    /// Hash of all that each block put out.
    outputs: BTreeMap<u64, [u8; 32]>,
    /// The chain goes on after this height; where commands before it stand nobody knows here.
    begin: u64,
    /// Of blocks that wait to be judged, for each command whether its client has made it.
    made: BTreeMap<u64, Vec<bool>>,
    /// Heights up to this one are judged; the others wait for one below.
    judged: u64,
    sessions: BTreeMap<SessionId, Stand>,
    /// What those commands do that do something with their sessions.
    deeds: BTreeMap<(SessionId, u64), Deed>,
    applied: BTreeSet<(SessionId, u64)>,
    /// Sessions opened anew, and openings refused, that nobody has asked for yet.
    openings: (u64, u64),
}

impl Results {
    /// Of a chain that goes on after `height` with these sessions, each at its last number.
    pub(crate) fn new(height: u64, last_seqs: &BTreeMap<SessionId, u64>) -> Self {
        Self {
            begin: height,
            judged: height,
            sessions: last_seqs
                .iter()
                .map(|(&session, &last_seq)| {
                    let is_closed = false;
                    (
                        session,
                        Stand {
                            // A chain of clients that close nothing.
                            base_seq: 1,
                            last_seq,
                            is_closed,
                        },
                    )
                })
                .collect(),
            ..Self::default()
        }
    }

    /// A client has made the command of this number, which does that.
    pub(crate) fn expect(&mut self, session: SessionId, seq: u64, deed: Deed) {
        if deed != Deed::Commands {
            self.deeds.insert((session, seq), deed);
        }
    }

    /// What the command of this number does. Number 1 opens its session in any case.
    fn deed(&self, session: SessionId, seq: u64) -> Deed {
        let unsaid = if seq == 1 {
            Deed::Opens
        } else {
            Deed::Commands
        };
        self.deeds.get(&(session, seq)).copied().unwrap_or(unsaid)
    }

    /// Whether the command of this number is an opening.
    pub(crate) fn is_opening(&self, session: SessionId, seq: u64) -> bool {
        self.deed(session, seq).opens()
    }

    /// How many sessions were opened anew, and openings refused in blocks, since this was called.
    pub(crate) fn take_openings(&mut self) -> (u64, u64) {
        std::mem::take(&mut self.openings)
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
        let told: Vec<Told> = commands.iter().map(Told::of).collect();
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
                self.judge_place((height, place), one)?;
            }
        }
        Ok(())
    }

    /// Holds what was judged against the height of the chain: above a block whose results nobody
    /// told nothing was.
    pub(crate) fn finish(&self, height: u64) -> Result<(), Violation> {
        if self.judged >= height {
            return Ok(());
        }
        let what = format!(
            "of {height} heights those above {} were not judged",
            self.judged
        );
        Err(Violation::new("results", what))
    }

    /// What a block put out, all of it in its order, is the same everywhere.
    pub(crate) fn see_outputs(
        &mut self,
        validator: usize,
        height: u64,
        outputs: [u8; 32],
    ) -> Result<(), Violation> {
        let first = *self.outputs.entry(height).or_insert(outputs);
        if first == outputs {
            return Ok(());
        }
        let what = format!("height {height} puts out something else at v{validator}");
        Err(Violation::new("results", what))
    }

    /// What is applied is applied where it stands, and a repeat tells where that was.
    fn judge_place(&self, (height, index): (u64, usize), told: &Told) -> Result<(), Violation> {
        let here = u32::try_from(index).ok().map(|index| (height, index));
        let is_right = match (told.outcome, told.applied) {
            (Outcome::Applied, applied) => applied == here,
            (Outcome::Duplicate, Some((at, index))) if at > self.begin => {
                at <= height && self.is_applied_at(told.session, told.seq, at, index)
            }
            (Outcome::Duplicate, _) => true,
            (_, applied) => applied.is_none(),
        };
        if is_right {
            return Ok(());
        }
        let what = format!("height {height}, command {index}: {told:?} is told of another place");
        Err(Violation::new("results", what))
    }

    fn judge(&mut self, height: u64, told: &Told, is_made: bool) -> Result<(), Violation> {
        let &Told {
            session,
            seq,
            outcome,
            ..
        } = told;
        let deed = self.deed(session, seq);
        let stand = self.sessions.get(&session).copied();
        let expected = match expected(stand, seq, deed) {
            // What would apply and is not its client's does nothing.
            Outcome::Applied if !is_made => Outcome::BadSignature,
            expected => expected,
        };
        if outcome == Outcome::Applied {
            let is_closed = deed == Deed::Closes;
            let base_seq = stand
                .filter(|_| !deed.opens())
                .map_or(seq, |open| open.base_seq);
            let now = Stand {
                base_seq,
                last_seq: seq,
                is_closed,
            };
            self.sessions.insert(session, now);
            self.openings.0 += u64::from(stand.is_some_and(|before| before.is_closed));
            if !self.applied.insert((session, seq)) {
                let what = format!("height {height}: {session:?} {seq} was applied before");
                return Err(Violation::new("results", what));
            }
        } else if deed.opens() && outcome != Outcome::Duplicate {
            self.openings.1 += 1;
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
        told.is_some_and(|told| {
            (told.session, told.seq, told.outcome) == (session, seq, Outcome::Applied)
        })
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

/// What has to come of a command of its client, by the rules of sessions (docs/client-protocol.md).
fn expected(stand: Option<Stand>, seq: u64, deed: Deed) -> Outcome {
    let opens = |deed| match deed {
        Deed::OpensTooFar => Outcome::OpeningTooFarAhead,
        _ => Outcome::Applied,
    };
    match stand {
        None if deed.opens() => opens(deed),
        None => Outcome::Gap,
        Some(ended) if ended.is_closed && deed.opens() && seq > ended.last_seq => opens(deed),
        Some(ended) if ended.is_closed => Outcome::SessionEnded,
        Some(open) if seq < open.base_seq => Outcome::SessionEnded,
        Some(open) if seq <= open.last_seq => Outcome::Duplicate,
        Some(open) if seq == open.last_seq + 1 && !deed.opens() => Outcome::Applied,
        Some(_) => Outcome::Gap,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    use quorate::results::Place;

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

    /// As it is told when it stands first in the block of this height.
    fn applied(height: u64, seq: u64) -> CommandResult {
        placed(height, 0, told(seq, Outcome::Applied))
    }

    fn placed(height: u64, index: u32, result: CommandResult) -> CommandResult {
        CommandResult {
            applied: Some(Place { height, index }),
            ..result
        }
    }

    #[test]
    fn a_place_or_outputs_that_differ_or_are_of_another_command_are_found() {
        let mut results = Results::default();
        results.see(0, 1, &[applied(1, 1)], &[]).unwrap();
        assert!(results.see(1, 1, &[applied(2, 1)], &[]).is_err());
        let elsewhere = Results::default().see(0, 1, &[applied(2, 1)], &[]);
        assert!(elsewhere.is_err(), "not where it stands");
        let repeat = |height| placed(height, 0, told(1, Outcome::Duplicate));
        assert_eq!(results.see(0, 2, &[repeat(1)], &[]), Ok(()));
        assert!(results.see(0, 3, &[repeat(2)], &[]).is_err());
        let gap = placed(4, 0, told(9, Outcome::Gap));
        assert!(results.see(0, 4, &[gap], &[]).is_err(), "applied nowhere");
        assert_eq!(results.see_outputs(0, 1, [1; 32]), Ok(()));
        assert_eq!(results.see_outputs(1, 1, [1; 32]), Ok(()));
        assert!(results.see_outputs(2, 1, [2; 32]).is_err());
    }

    #[test]
    fn a_mark_that_differs_is_found_unless_it_is_that_of_a_repeat() {
        let marked = |result: CommandResult, entry: u8| CommandResult {
            mark: Some(Mark::of(&[entry])),
            ..result
        };
        let see = |one: CommandResult, other: CommandResult| {
            let mut results = Results::default();
            results.see(0, 1, &[one], &[])?;
            results.see(1, 1, &[other], &[])
        };
        let first = applied(1, 1);
        assert_eq!(see(marked(first, 7), marked(first, 7)), Ok(()));
        assert!(see(marked(first, 7), marked(first, 8)).is_err());
        let mut results = Results::default();
        results.see(0, 1, &[first], &[]).unwrap();
        let repeat = told(1, Outcome::Duplicate);
        assert_eq!(results.see(0, 2, &[marked(repeat, 7)], &[]), Ok(()));
        assert_eq!(results.see(1, 2, &[repeat], &[]), Ok(()));
    }

    #[test]
    fn a_session_in_order_with_honest_duplicates_and_gaps_is_good() {
        let mut results = Results::default();
        let block = [applied(1, 1), told(3, Outcome::Gap)];
        assert_eq!(results.see(0, 1, &block, &[]), Ok(()));
        assert_eq!(results.see(1, 1, &block, &[]), Ok(()));
        let second = placed(2, 1, told(2, Outcome::Applied));
        let block = [told(1, Outcome::Duplicate), second];
        assert_eq!(results.see(1, 2, &block, &[]), Ok(()));
        assert!(results.is_applied_at(ALICE, 2, 2, 1));
        assert!(!results.is_applied_at(ALICE, 2, 2, 0));
        assert_eq!(results.applied_count(), 2);
    }

    #[test]
    fn a_chain_that_goes_on_goes_on_with_its_sessions() {
        let begun = || Results::new(700, &BTreeMap::from([(ALICE, 2)]));
        let mut results = begun();
        assert_eq!(results.see(0, 701, &[applied(701, 3)], &[]), Ok(()));
        assert_eq!(results.applied_count(), 1);
        let forgotten = begun().see(0, 701, &[applied(701, 1)], &[]);
        assert!(forgotten.is_err());
    }

    #[test]
    fn a_forged_command_that_applies_and_a_true_one_that_is_refused_are_found() {
        let see = |outcome, made| {
            let result = match outcome {
                Outcome::Applied => applied(1, 1),
                other => told(1, other),
            };
            Results::default().see(0, 1, &[result], &[made])
        };
        assert_eq!(see(Outcome::BadSignature, false), Ok(()));
        assert_eq!(see(Outcome::Applied, true), Ok(()));
        assert!(see(Outcome::Applied, false).is_err());
        assert!(see(Outcome::BadSignature, true).is_err());
    }

    #[test]
    fn a_command_applied_twice_is_found() {
        let mut results = Results::default();
        results.see(0, 1, &[applied(1, 1)], &[]).unwrap();
        assert!(results.see(0, 2, &[applied(2, 1)], &[]).is_err());
    }

    /// A session that number 2 closed, in the first block.
    fn closed() -> Results {
        let mut results = Results::default();
        results.expect(ALICE, 2, Deed::Closes);
        let end = placed(1, 1, told(2, Outcome::Applied));
        results.see(0, 1, &[applied(1, 1), end], &[]).unwrap();
        results
    }

    #[test]
    fn a_closed_session_is_opened_anew_by_an_opening_in_time_and_nothing_of_it_applies_again() {
        let mut results = closed();
        results.expect(ALICE, 700, Deed::Opens);
        results.expect(ALICE, 900, Deed::OpensTooFar);
        let ended = [1, 2, 3, 701].map(|seq| told(seq, Outcome::SessionEnded));
        assert_eq!(results.see(0, 2, &ended, &[]), Ok(()));
        let far = told(900, Outcome::OpeningTooFarAhead);
        assert_eq!(results.see(0, 3, &[far], &[]), Ok(()));
        assert_eq!(results.see(0, 4, &[applied(4, 700)], &[]), Ok(()));
        let below = [1, 2, 3].map(|seq| told(seq, Outcome::SessionEnded));
        let again = told(700, Outcome::Duplicate);
        let [one, two, three] = below;
        assert_eq!(results.see(0, 5, &[one, two, three, again], &[]), Ok(()));
        assert_eq!(results.see(0, 6, &[applied(6, 701)], &[]), Ok(()));
        assert_eq!(results.take_openings(), (1, 3));
        assert!(results.is_opening(ALICE, 1) && !results.is_opening(ALICE, 2));
    }

    #[test]
    fn what_applies_in_a_closed_session_and_an_opening_that_is_refused_are_found() {
        let see = |seq, deed, outcome| {
            let mut results = closed();
            results.expect(ALICE, seq, deed);
            let result = match outcome {
                Outcome::Applied => applied(2, seq),
                other => told(seq, other),
            };
            results.see(0, 2, &[result], &[])
        };
        assert!(see(1, Deed::Opens, Outcome::Applied).is_err(), "again");
        assert!(
            see(2, Deed::Opens, Outcome::Applied).is_err(),
            "a number that it had"
        );
        assert!(see(3, Deed::Commands, Outcome::Applied).is_err());
        assert!(see(700, Deed::OpensTooFar, Outcome::Applied).is_err());
        assert!(see(700, Deed::Opens, Outcome::SessionEnded).is_err());
        assert_eq!(see(700, Deed::Opens, Outcome::Applied), Ok(()));
    }

    #[test]
    fn a_height_that_comes_late_is_judged_before_those_above_it() {
        let mut results = Results::default();
        results.see(0, 2, &[applied(2, 2)], &[]).unwrap();
        assert_eq!(results.see(1, 1, &[applied(1, 1)], &[]), Ok(()));
        assert!(results.see(1, 3, &[applied(3, 2)], &[]).is_err());
    }

    #[test]
    fn a_height_that_nobody_told_and_all_above_it_are_not_taken_for_judged() {
        let mut results = Results::default();
        assert_eq!(results.finish(0), Ok(()));
        results.see(0, 2, &[applied(2, 2)], &[]).unwrap();
        assert!(results.finish(2).is_err());
        results.see(1, 1, &[applied(1, 1)], &[]).unwrap();
        assert_eq!(results.finish(2), Ok(()));
        assert!(results.finish(3).is_err(), "restored, and told by nobody");
    }

    #[test]
    fn a_command_applied_over_a_gap_is_found() {
        let mut results = Results::default();
        assert!(results.see(0, 1, &[applied(1, 2)], &[]).is_err());
    }

    #[test]
    fn results_that_differ_between_validators_are_found() {
        let mut results = Results::default();
        results.see(0, 1, &[applied(1, 1)], &[]).unwrap();
        assert!(results.see(1, 1, &[], &[]).is_err());
        let alice = applied(1, 1);
        let bob = CommandResult {
            session: SessionId([2; 16]),
            ..alice
        };
        let moved = placed(1, 1, alice);
        let unplaced = told(1, Outcome::Applied);
        let refused = told(1, Outcome::Gap);
        for other in [bob, applied(1, 2), moved, unplaced, refused] {
            let mut results = Results::default();
            results.see(0, 1, &[alice], &[]).unwrap();
            assert!(results.see(1, 1, &[other], &[]).is_err(), "{other:?}");
        }
        let mut results = Results::default();
        results.see(0, 1, &[alice], &[]).unwrap();
        let later = CommandResult {
            finality_ns: 7,
            ..alice
        };
        assert_eq!(results.see(1, 1, &[later], &[]), Ok(()), "no part of it");
    }

    #[test]
    fn what_is_applied_without_a_place_is_found_and_so_is_a_repeat_of_what_comes_after() {
        let unplaced = told(1, Outcome::Applied);
        assert!(Results::default().see(0, 1, &[unplaced], &[]).is_err());
        let ahead = placed(3, 0, told(1, Outcome::Duplicate));
        let mut results = Results::default();
        results.see(0, 1, &[applied(1, 1)], &[]).unwrap();
        assert!(results.see(0, 2, &[ahead], &[]).is_err());
    }
}
