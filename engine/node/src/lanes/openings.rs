//! Sessions that are not open: what may open them, and what is kept until something does.
//!
//! Owns the time by which openings are judged before execution, and which names have ended a short
//! while ago. All of it spares work and tells clients early; the session table decides. Never: the
//! numbers of sessions that are open.

use std::collections::HashMap;

use quorate_consensus::payload::CommandView;

use super::pool::Lanes;
use super::queue::{Command, Origin, SessionQueue};
use super::verdict::{Rejection, Verdict};
use crate::sessions::{Opening, is_past};
use crate::state_machine::SessionId;

/// Sessions that wait to be opened although the table is full, at most.
const OPENINGS_WHEN_FULL: usize = 64;
/// Names that have ended below which none is looked at again.
const ENDED_MIN: usize = 1024;

/// Numbers above the last one of a session that has ended are its own up to so many; as a time that
/// is no time at all.
const ENDED_NEAR: u64 = 65_536;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Openings {
    /// Replicated time of the block that is final last.
    pub(super) block_time_ns: u64,
    /// The time when a client spoke last, by the wall clock.
    pub(super) wall_ns: u64,
    /// Sessions that have ended, with their last numbers. Bound: twice as many as the table holds
    /// places for, since one is forgotten as soon there as here. Looked up, never walked.
    ended: HashMap<SessionId, u64>,
    /// How many were left when they were looked through last.
    ended_left: usize,
}

impl Openings {
    /// A session has ended with this number.
    pub(super) fn note_ended(&mut self, id: SessionId, last_seq: u64) {
        if self.ended.len() >= 2 * self.ended_left.max(ENDED_MIN) {
            let now_ns = self.block_time_ns;
            self.ended.retain(|_, last_seq| !is_past(*last_seq, now_ns));
            self.ended_left = self.ended.len();
        }
        self.ended.insert(id, last_seq);
    }

    fn has_ended(&self, id: &SessionId, seq: u64) -> bool {
        self.ended.get(id).is_some_and(|last_seq| seq <= *last_seq)
    }

    /// Whether a block of this time opens a session with this number.
    pub(super) fn opens(&self, id: &SessionId, seq: u64) -> bool {
        !self.has_ended(id, seq) && Opening::of(seq, self.block_time_ns) == Opening::InTime
    }

    /// Judges a command of a session that is not open. Clients are told by the time of the block
    /// that is to come, as it seems here; what peers hand on is not held to a clock of this
    /// machine. `opening` is that of its session which is held.
    fn judge(
        &self,
        view: &CommandView<'_>,
        opening: Option<u64>,
        origin: Origin,
    ) -> Result<(), Rejection> {
        let id = SessionId(*view.session);
        if !view.is_open() {
            // One that is open elsewhere already is not as old as the last block here, and one that
            // was opened anew has numbers far above those of before.
            let before = view.seq.saturating_sub(ENDED_NEAR);
            let is_behind = opening.is_some_and(|opening| opening < view.seq);
            let is_old = !is_behind && self.has_ended(&id, before);
            let is_over = is_old || is_past(view.seq, self.block_time_ns);
            return if is_over {
                Err(Rejection::SessionEnded)
            } else {
                Ok(())
            };
        }
        if self.has_ended(&id, view.seq) {
            return Err(Rejection::SessionEnded);
        }
        let now_ns = match origin {
            Origin::Local => self.block_time_ns.max(self.wall_ns),
            Origin::Peer(_) | Origin::Block => self.block_time_ns,
        };
        match Opening::of(view.seq, now_ns) {
            Opening::InTime => Ok(()),
            Opening::TooOld => Err(Rejection::OpeningTooOld),
            // The clock of a peer may be ahead of an idle chain.
            Opening::TooFarAhead if origin != Origin::Local => Ok(()),
            Opening::TooFarAhead => Err(Rejection::OpeningTooFarAhead),
        }
    }
}

impl Lanes {
    /// Judges a command of a session that is not open here. Gives the number below which nothing
    /// is waited for, and the lowest one that is missing.
    pub(super) fn judge_unopened(
        &self,
        view: &CommandView<'_>,
        session: Option<&SessionQueue>,
        origin: Origin,
    ) -> Result<(u64, u64), Verdict> {
        let held = session.and_then(SessionQueue::opening);
        self.openings
            .judge(view, held, origin)
            .map_err(Verdict::Rejected)?;
        let (seq, is_opening) = (view.seq, view.is_open());
        let is_opened = is_opening || held.is_some();
        if !self.has_room_to_open(is_opened, session.is_some()) {
            return Err(Verdict::Rejected(Rejection::TableFull));
        }
        let Some(session) = session else {
            let below = if is_opening { 1 } else { 2 };
            let floor = seq.saturating_sub(below);
            return Ok((floor, floor.saturating_add(1)));
        };
        if let Some(held) = held.filter(|_| is_opening) {
            let is_local = session.command(held).is_some_and(Command::is_local);
            let is_chained = session.chained_seq >= held;
            let is_newer = seq > held && (origin == Origin::Local || !is_local);
            if is_chained || !is_newer {
                return Err(Verdict::Rejected(Rejection::Conflict));
            }
        }
        let gap_max = u64::from(self.config.gap_max);
        let floor = session.floor_with(seq, is_opening, gap_max);
        floor.ok_or(Verdict::Rejected(Rejection::TooFarAhead))
    }

    /// Whether something is kept of a session that is not open, whose opening is here or not: in
    /// a full table another one may have to end for it, which execution decides, so a few are let
    /// through. What only waits for its opening has no claim to one of these places: nothing brings
    /// it on, so it would hold it for as long as its sender likes.
    fn has_room_to_open(&self, is_opened: bool, is_known: bool) -> bool {
        let known = self.places.len();
        let opening = known.saturating_sub(self.open_sessions as usize);
        let is_full = self.open_sessions >= self.config.sessions_max;
        !is_full || (is_opened && (is_known || opening < OPENINGS_WHEN_FULL))
    }

    /// Makes a place for a command of a session that is not open: an opening takes that of what is
    /// below it, and of an older one.
    pub(super) fn make_way(&mut self, slot: u32, view: &CommandView<'_>) {
        let session = &mut self.sessions[slot as usize];
        let gone = session.make_way(view.seq, view.is_open());
        gone.into_iter()
            .for_each(|command| self.drop_command(command));
    }

    /// A final block opens the session with this number.
    pub(super) fn begin(&mut self, slot: u32, seq: u64) {
        self.open_sessions += 1;
        let gone = self.sessions[slot as usize].open_with(seq);
        gone.iter().for_each(|command| self.forget(command));
        if self.config.is_signed {
            // Execution will say whether this one is its key's at all.
            gone.into_iter().for_each(|one| self.losers.push(one));
        }
        // What stood behind another opening waits for numbers now that nobody may ever send.
        self.recount_gapped(slot);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_ended_long_ago_are_forgotten_and_young_ones_stay_refused() {
        const SECOND_NS: u64 = 1_000_000_000;
        let id = |number: u64| {
            let mut id = [0; 16];
            id[..8].copy_from_slice(&number.to_le_bytes());
            SessionId(id)
        };
        let mut openings = Openings::default();
        for number in 1_000..11_000 {
            openings.block_time_ns = number * SECOND_NS;
            openings.note_ended(id(number), number * SECOND_NS);
            assert!(openings.ended.len() <= 2 * ENDED_MIN);
        }
        // As many as had ended within the five minutes in which their openings apply.
        for number in 10_700..11_000 {
            let seq = number * SECOND_NS;
            assert!(!openings.opens(&id(number), seq), "{number}");
            assert!(openings.opens(&id(number), seq + 1), "{number}");
        }
    }
}
