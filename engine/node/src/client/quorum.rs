//! Results that validators of enough stake tell alike.
//!
//! Owns who has told what of which command, and when that is enough: stake above F, so that one
//! honest validator at least is among those who tell it. Never: sockets, or which validators are
//! asked.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use quorate_consensus::types::{Stake, ValidatorIndex};
use quorate_consensus::validators::ValidatorSet;

use crate::client_wire::{Outcome, ResultView};

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
    FaultStake,
}

/// What one validator has told of one command.
#[derive(Clone, Debug)]
struct Told {
    validator: ValidatorIndex,
    /// Hash of the whole result, if it has told one.
    digest: Option<[u8; 32]>,
    is_applied: bool,
}

/// What a result came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Counted {
    /// Too few have told it.
    Waits,
    /// Enough have told it now; these validators have told another one.
    Agreed(Vec<ValidatorIndex>),
    /// Enough say that the command was applied, and too few what came of it.
    Applied,
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
    /// The command that was refused last, and by whom.
    refused: (u64, Vec<ValidatorIndex>),
}

impl Quorum {
    pub(super) const fn new(set: Arc<ValidatorSet>) -> Self {
        Self {
            set,
            told: BTreeMap::new(),
            agreed: VecDeque::new(),
            refused: (0, Vec::new()),
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
    }

    /// Counts that a validator refuses a command for good; whether enough have.
    pub(super) fn refuse(&mut self, validator: ValidatorIndex, seq: u64) -> bool {
        if self.refused.0 != seq {
            self.refused = (seq, Vec::new());
        }
        let who = &mut self.refused.1;
        if !who.contains(&validator) {
            who.push(validator);
        }
        let stake: Stake = who.iter().map(|one| self.set.stake(*one)).sum();
        stake > self.set.thresholds().fault
    }

    /// Counts what a validator tells of a command that waits, or `is_told` already.
    pub(super) fn count(
        &mut self,
        validator: ValidatorIndex,
        block: (u64, u64),
        result: &ResultView<'_>,
        is_waiting: bool,
    ) -> Counted {
        let seq = result.item.seq;
        let is_repeat = result.item.outcome == Outcome::Duplicate;
        let digest = digest_of(block, result);
        if !is_waiting {
            let known = self.agreed.iter().find(|(of, _)| *of == seq);
            let is_other = !is_repeat && known.is_some_and(|(_, agreed)| *agreed != digest);
            return if is_other {
                Counted::Contradicts
            } else {
                Counted::Waits
            };
        }
        let told = self.told.entry(seq).or_default();
        note(told, validator, digest, result.item.outcome);
        let weight = |counts: &dyn Fn(&Told) -> bool| -> Stake {
            let who = told.iter().filter(|one| counts(one));
            who.map(|one| self.set.stake(one.validator)).sum()
        };
        let is_enough = |stake: Stake| stake > self.set.thresholds().fault;
        if is_repeat {
            return if is_enough(weight(&|one| one.is_applied)) {
                Counted::Applied
            } else {
                Counted::Waits
            };
        }
        if !is_enough(weight(&|one| one.digest == Some(digest))) {
            return Counted::Waits;
        }
        let is_other = |one: &&Told| one.digest.is_some_and(|other| other != digest);
        let others = told.iter().filter(is_other);
        let others = others.map(|one| one.validator).collect();
        self.told.remove(&seq);
        if result.item.outcome == Outcome::Applied {
            self.agreed.truncate(AGREED_MAX - 1);
            self.agreed.push_front((seq, digest));
            return Counted::Agreed(others);
        }
        // Blocks of several heights may hold a command that does not apply: no lie in that.
        Counted::Agreed(Vec::new())
    }
}

/// A validator's newest word stands, but that a repeat takes no result back.
fn note(told: &mut Vec<Told>, validator: ValidatorIndex, digest: [u8; 32], outcome: Outcome) {
    let is_applied = matches!(outcome, Outcome::Applied | Outcome::Duplicate);
    let digest = (outcome != Outcome::Duplicate).then_some(digest);
    match told.iter_mut().find(|one| one.validator == validator) {
        Some(one) if digest.is_none() => one.is_applied = true,
        Some(one) => {
            one.digest = digest;
            one.is_applied = is_applied;
        }
        None => told.push(Told {
            validator,
            digest,
            is_applied,
        }),
    }
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
    for output in result.outputs.clone() {
        hasher.update(&(output.len() as u64).to_le_bytes());
        hasher.update(output);
    }
    *hasher.finalize().as_bytes()
}

#[cfg(test)]
mod tests;
