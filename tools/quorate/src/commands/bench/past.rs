//! What is known of one validator from the moments at which it was down: how far its log was whole,
//! what it had voted, and in which windows it would say nothing.
//!
//! Owns what one life must leave to the next: whole records stand where they stood, a vote binds
//! whether or not it is still there, and nobody doubts a disk to which nothing was done. What two
//! votes are to one another is judged by `audit`. Never: writes, or ends a life.

use std::io;
use std::path::Path;

use quorate_consensus::restart;
use quorate_consensus::types::Window;
use quorate_log::{LeaseFile, LeaseRead, Verification};

use super::audit::{Audit, Ending, Lives, Mark};
use super::toll::Toll;

/// Of which windows a validator's lease file says that it may have spoken there and does not know
/// what. A death changes nothing of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Doubts {
    /// It says nothing up to this window.
    pub(super) abstain_until: Option<Window>,
    /// It has found out by its peers what it had said up to this window (R13).
    pub(super) recovered_until: Option<Window>,
    /// It still has to find out.
    pub(super) is_lost: bool,
}

impl Doubts {
    /// Those of the lease file in this folder; none when that is missing or damaged.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(super) fn read(log: &Path) -> io::Result<Option<Self>> {
        let held = match LeaseFile::look_at(log)? {
            LeaseRead::Present(bytes) => restart::LeaseFile::decode(&bytes),
            LeaseRead::Missing | LeaseRead::Damaged(_) => None,
        };
        Ok(held.map(|held| Self {
            abstain_until: held.lease.abstain_until,
            recovered_until: held.lease.proofs_elsewhere,
            is_lost: held.lease.is_lost,
        }))
    }
}

/// What is known of a validator.
#[derive(Debug)]
pub(super) struct Past {
    validator: usize,
    /// Slots of a window.
    window_slots: u32,
    /// With what its log ended at each of its deaths.
    endings: Vec<Ending>,
    /// What it has voted.
    lives: Lives,
    doubts: Doubts,
    /// Something else than a death befell its disk, so that the present life may doubt it.
    may_doubt: bool,
    /// The same of any of its lives, which may have marked a part of its log as faulty.
    may_have_marked: bool,
}

impl Past {
    /// Of a validator with a folder that is new.
    pub(super) fn new(validator: usize, window_slots: u32) -> Self {
        Self {
            validator,
            window_slots,
            endings: Vec::new(),
            lives: Lives::default(),
            doubts: Doubts::default(),
            may_doubt: false,
            may_have_marked: false,
        }
    }

    /// A life is over: reads what is whole in its log behind the last death, and what its lease
    /// file says.
    ///
    /// # Errors
    /// A file cannot be read.
    pub(super) fn take_death(&mut self, log: &Path, toll: &mut Toll) -> io::Result<()> {
        let (lives, mark) = self.judged(log)?;
        let (audit, ending) = Audit::read_behind(lives, self.window_slots, log, mark)?;
        toll.vote_records += audit.vote_records;
        toll.note_conflicts(self.validator, &audit);
        self.lives = audit.into_lives();
        self.endings.push(ending);
        toll.places += 1;
        self.judge_doubts(log, toll)
    }

    /// What was voted before, and up to where the log is as it was judged. Where it was rewritten
    /// it says something new.
    fn judged(&mut self, log: &Path) -> io::Result<(Lives, Option<Mark>)> {
        let mut lives = std::mem::take(&mut self.lives);
        let endings = self.endings.iter().rev();
        for mark in endings.flat_map(|ending| [ending.end, ending.begin]) {
            if mark.stands(log)? {
                lives.go_on_behind(mark);
                return Ok((lives, Some(mark)));
            }
        }
        lives.begin_anew();
        Ok((lives, None))
    }

    /// How many places, noted at deaths, are not what they were.
    ///
    /// # Errors
    /// A segment cannot be read.
    pub(super) fn rewritten(&self, log: &Path) -> io::Result<u64> {
        let mut count = 0;
        for ending in &self.endings {
            count += u64::from(!ending.end.stands(log)?);
        }
        Ok(count)
    }

    /// Holds what the lease file says against what it said before the life that is over.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(super) fn judge_doubts(&mut self, log: &Path, toll: &mut Toll) -> io::Result<()> {
        let may_doubt = std::mem::take(&mut self.may_doubt);
        let (validator, before) = (self.validator, self.doubts);
        let Some(found) = Doubts::read(log)? else {
            let what = format!("the lease file of validator {validator} is gone or damaged");
            toll.differences.extend((!may_doubt).then_some(what));
            return Ok(());
        };
        self.doubts = found;
        if found != before && !may_doubt {
            toll.differences.push(format!(
                "nothing was done to the disk of validator {validator}, and it doubts otherwise \
                 what it has said: {found:?} after {before:?}"
            ));
        }
        Ok(())
    }

    /// Something else than a death befalls the disk: the next life may doubt it, and mark what it
    /// finds faulty.
    pub(super) const fn expect_doubts(&mut self) {
        self.may_doubt = true;
        self.may_have_marked = true;
    }

    /// The log is about to go: what stood in it is not to be looked for in the next one.
    ///
    /// # Errors
    /// A file cannot be read.
    pub(super) fn lose_log(&mut self, log: &Path, toll: &mut Toll) -> io::Result<()> {
        self.take_death(log, toll)?;
        toll.rewritten += self.rewritten(log)?;
        self.endings.clear();
        self.expect_doubts();
        Ok(())
    }

    /// An older copy of the log stands in its place, whole up to here.
    pub(super) fn put_back(&mut self, end: Mark) {
        let begin = end;
        self.endings = vec![Ending { begin, end }];
    }

    /// What was put back is gone again: the next log begins anew.
    pub(super) fn remove_log(&mut self) {
        self.endings.clear();
    }

    /// Reads all of the log as far as it was found whole, of a validator that lives no more.
    ///
    /// # Errors
    /// A file cannot be read.
    pub(super) fn audit(&mut self, log: &Path, found: &Verification) -> io::Result<Audit> {
        let (lives, _) = self.judged(log)?;
        Audit::read(lives, self.window_slots, log, found)
    }

    /// Whether a life may have marked a part of the log as faulty.
    pub(super) const fn may_have_marked(&self) -> bool {
        self.may_have_marked
    }
}

#[cfg(test)]
#[path = "past_tests.rs"]
mod tests;
