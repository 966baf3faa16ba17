//! Results that validators of enough stake tell alike.
//!
//! Owns who has told what of which command, and when that is enough: stake above F, so that one
//! honest validator at least is among those who tell it. Never: sockets, or which validators are
//! asked.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use quorate_consensus::types::{Stake, ValidatorIndex};
use quorate_consensus::validators::ValidatorSet;

use crate::client_wire::{Outcome, ResultView, ResultsFrame};
use crate::results::Mark;

/// Results that are remembered after they were told, to know who told another.
const AGREED_MAX: usize = 4096;

/// Whose word a client takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Trust {
    /// That of the validator at which it is logged in.
    #[default]
    OneValidator,
    /// That of validators with stake F + 1 who tell the same: a result is told when height, place,
    /// outcome and outputs are the same from all of them. Costs a connection to every validator.
    ///
    /// Covers results, and that a command is refused for good. Answers to queries, the private
    /// stream and the number of the session's last command stay one validator's word, that of
    /// whoever the client is logged in at.
    FaultStake,
}

/// Which command was applied under a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whose {
    /// The one that waits here.
    Own,
    /// Another one of the same key.
    Another,
    /// The validator does not know.
    Unknown,
}

impl Whose {
    /// By the mark that a validator tells, and that of the command which waits here.
    pub(super) fn of(told: Option<Mark>, own: Mark) -> Self {
        match told.map(|told| told == own) {
            Some(true) => Self::Own,
            Some(false) => Self::Another,
            None => Self::Unknown,
        }
    }
}

/// What one validator has told of one command.
#[derive(Clone, Debug)]
struct Told {
    validator: ValidatorIndex,
    /// Hash of the whole result, if it has told one, and whether it was one of an applied command.
    result: Option<([u8; 32], bool)>,
    /// It has said that the number was applied before, by which command.
    repeated: Option<Whose>,
}

/// What a result came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Counted {
    /// Too few have told it.
    Waits,
    /// Enough have told it now; these validators have told another one.
    Agreed(Vec<ValidatorIndex>),
    /// Enough say that the number was applied, and too few what came of it.
    Applied(Whose),
    /// It had been told; this validator tells another one.
    Contradicts,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Quorum {
    set: Arc<ValidatorSet>,
    /// By number; only of commands that wait.
    told: BTreeMap<u64, Vec<Told>>,
    agreed: VecDeque<(u64, [u8; 32])>,
    /// Results that enough have told while commands before theirs wait for theirs, as frames.
    /// Whoever tells the last of a block alone must not take the others' results away.
    kept: BTreeMap<u64, Vec<u8>>,
}

impl Quorum {
    pub(super) const fn new(set: Arc<ValidatorSet>) -> Self {
        Self {
            set,
            told: BTreeMap::new(),
            agreed: VecDeque::new(),
            kept: BTreeMap::new(),
        }
    }

    /// Whether validators of this stake are enough to begin with: F of them may lie.
    pub(super) fn can_agree(&self, up: impl Iterator<Item = ValidatorIndex>) -> bool {
        let stake: Stake = up.map(|validator| self.set.stake(validator)).sum();
        let fault = self.set.thresholds().fault.amount();
        stake.amount() > fault.saturating_mul(2)
    }

    /// Numbers below have results; those at `end` and above do not exist.
    pub(super) fn forget_outside(&mut self, first: u64, end: u64) {
        self.told = self.told.split_off(&first);
        self.told.split_off(&end);
        self.kept = self.kept.split_off(&first);
        self.kept.split_off(&end);
    }

    /// Keeps a result that enough have told until those before it are known.
    pub(super) fn keep(&mut self, (height, time_ns): (u64, u64), result: &ResultView<'_>) {
        let mut frame = ResultsFrame::default();
        frame.begin(None, height, time_ns);
        frame.push(result.item, result.outputs.clone());
        self.kept.insert(result.item.seq, frame.finish().to_vec());
    }

    /// The next kept result, when `first` is the first number without one; below `end` though
    /// others are missing before it.
    pub(super) fn next_kept(&mut self, first: u64, end: u64) -> Option<Vec<u8>> {
        self.forget_kept_below(first);
        let (&seq, _) = self.kept.first_key_value()?;
        (seq == first || seq < end).then(|| self.kept.remove(&seq))?
    }

    /// The lowest number of which a result is kept, when `first` is the first one without.
    pub(super) fn lowest_kept(&mut self, first: u64) -> Option<u64> {
        self.forget_kept_below(first);
        self.kept.first_key_value().map(|(&seq, _)| seq)
    }

    /// What is kept of these numbers is not waited for any more, and would be for ever.
    fn forget_kept_below(&mut self, first: u64) {
        self.kept = self.kept.split_off(&first);
    }

    /// Counts what a validator tells of a command: one that waits with this mark, or that is told
    /// already.
    pub(super) fn count(
        &mut self,
        validator: ValidatorIndex,
        block: (u64, u64),
        result: &ResultView<'_>,
        own: Option<Mark>,
    ) -> Counted {
        let (seq, outcome) = (result.item.seq, result.item.outcome);
        let digest = digest_of(block, result);
        let own = own.filter(|_| !self.kept.contains_key(&seq));
        let Some(own) = own else {
            let known = self.agreed.iter().find(|(of, _)| *of == seq);
            let is_other = known.is_some_and(|(_, agreed)| *agreed != digest);
            // One that did not apply may have stood in an earlier block.
            return match is_other && outcome == Outcome::Applied {
                true => Counted::Contradicts,
                false => Counted::Waits,
            };
        };
        let told = self.told.entry(seq).or_default();
        let one = told_by(told, validator);
        let is_enough = |told: &[Told], counts: &dyn Fn(&Told) -> bool| {
            let who = told.iter().filter(|one| counts(one));
            let stake: Stake = who.map(|one| self.set.stake(one.validator)).sum();
            stake > self.set.thresholds().fault
        };
        if outcome == Outcome::Duplicate {
            one.repeated = Some(Whose::of(result.item.mark, own));
            let is_told = |whose| is_enough(told, &|one| one.repeated == Some(whose));
            let certain = [Whose::Own, Whose::Another];
            if let Some(whose) = certain.into_iter().find(|whose| is_told(*whose)) {
                return Counted::Applied(whose);
            }
            let may_be_own = |one: &Told| matches!(one.repeated, Some(Whose::Own | Whose::Unknown));
            return match is_enough(told, &may_be_own) {
                true => Counted::Applied(Whose::Unknown),
                false => Counted::Waits,
            };
        }
        one.result = Some((digest, outcome == Outcome::Applied));
        let is_same = |one: &Told| one.result.is_some_and(|(other, _)| other == digest);
        if !is_enough(told, &is_same) {
            return Counted::Waits;
        }
        // Blocks of several heights may hold a command that does not apply: no lie in that.
        let is_other = |one: &&Told| {
            let other = one.result.filter(|(_, is_applied)| *is_applied);
            other.is_some_and(|(other, _)| other != digest)
        };
        let others = told.iter().filter(is_other);
        let others: Vec<_> = others.map(|one| one.validator).collect();
        self.told.remove(&seq);
        if outcome == Outcome::Applied {
            self.agreed.truncate(AGREED_MAX - 1);
            self.agreed.push_front((seq, digest));
            return Counted::Agreed(others);
        }
        Counted::Agreed(Vec::new())
    }
}

/// What this validator has told; its newest result stands, and a repeat takes none back.
fn told_by(told: &mut Vec<Told>, validator: ValidatorIndex) -> &mut Told {
    let place = told.iter().position(|one| one.validator == validator);
    let place = place.unwrap_or_else(|| {
        told.push(Told {
            validator,
            result: None,
            repeated: None,
        });
        told.len() - 1
    });
    &mut told[place]
}

/// Over everything that is the same on every validator.
fn digest_of((height, time_ns): (u64, u64), result: &ResultView<'_>) -> [u8; 32] {
    let item = &result.item;
    let (at, index) = item.applied.map_or((0, 0), |at| (at.height, at.index));
    let mut hasher = blake3::Hasher::new();
    for number in [height, time_ns, item.seq, at] {
        hasher.update(&number.to_le_bytes());
    }
    hasher.update(&index.to_le_bytes());
    hasher.update(&[item.outcome as u8]);
    hasher.update(&item.mark.map_or(0, Mark::get).to_le_bytes());
    for output in result.outputs.clone() {
        hasher.update(&(output.len() as u64).to_le_bytes());
        hasher.update(output);
    }
    *hasher.finalize().as_bytes()
}

#[cfg(test)]
mod tests;
