//! Setting the pool right after execution.
//!
//! Owns what the pool does when a command that it took for applied was not, because its session's
//! key has not signed it: the session goes back to where the table has it, and what stood behind
//! the refused command, or gave way to it, is offered again. And what it does when a session has
//! ended, was opened although there seemed to be no room, or was not although there seemed to be.
//! Never: decides what was applied.

use std::collections::{HashMap, HashSet, VecDeque};

use quorate_consensus::payload::{PayloadError, parse_entries};

use super::commands_of_block;
use super::pool::{Admission, Lanes};
use super::queue::{Command, Origin};
use crate::results::Correction;
use crate::state_machine::SessionId;

/// Commands kept at most that gave way to another one with their number.
const LOSERS_MAX: usize = 4096;

/// Commands that were held here when another one with the same number became final. Which of the
/// two the client has signed is known after execution.
#[derive(Debug, Default)]
pub(super) struct Losers {
    commands: VecDeque<Command>,
}

impl Losers {
    pub(super) fn push(&mut self, command: Command) {
        if self.commands.len() >= LOSERS_MAX {
            self.commands.pop_front();
        }
        self.commands.push_back(command);
    }
}

impl Lanes {
    /// Nothing final waits for execution: what gave way need not be kept.
    pub fn drop_losers(&mut self) {
        self.losers.commands.clear();
    }

    /// Sets sessions right after the execution of a block. `block` is its payload and `refused`
    /// the places of the commands in it that are not their sessions'; `later` are the payloads of
    /// the finalized blocks above that are not executed yet, lowest first.
    ///
    /// # Errors
    /// When a payload is malformed, which a finalized one is not.
    pub fn correct<'p>(
        &mut self,
        now_ns: u64,
        corrections: &[Correction],
        (block, refused): (&[u8], &[u32]),
        later: impl Iterator<Item = &'p [u8]> + Clone,
    ) -> Result<(), PayloadError> {
        let ended = corrections.iter().filter(|one| one.has_ended);
        ended.for_each(|one| self.end_session(one.session, one.last_seq.unwrap_or(0)));
        let wrong = self.wrong_sessions(corrections, (block, refused), later.clone())?;
        if wrong.is_empty() {
            return Ok(());
        }
        let is_wrong = |one: &&Correction| wrong.contains(&one.session);
        for correction in corrections.iter().filter(is_wrong) {
            self.correct_session(now_ns, correction);
        }
        for (index, view) in (0_u32..).zip(commands_of_block(block)?) {
            let is_its = wrong.contains(&SessionId(*view.session));
            if is_its && refused.binary_search(&index).is_err() {
                self.take_of_block(now_ns, &view);
            }
        }
        self.offer_losers(now_ns, &wrong)?;
        for payload in later {
            self.finalize_again(now_ns, &wrong, payload)?;
        }
        Ok(())
    }

    /// The sessions that do not stand here where they should. Of most that are opened the pool
    /// knew: those are left as they are, with what stands of them in blocks.
    fn wrong_sessions<'p>(
        &mut self,
        corrections: &[Correction],
        (block, refused): (&[u8], &[u32]),
        later: impl Iterator<Item = &'p [u8]>,
    ) -> Result<HashSet<SessionId>, PayloadError> {
        let open = corrections.iter().filter(|one| !one.has_ended);
        let stands = open.map(|one| (one.session, one.last_seq));
        let mut stands: HashMap<SessionId, Option<u64>> = stands.collect();
        let mut wrong = HashSet::new();
        if stands.is_empty() {
            return Ok(wrong);
        }
        // Of what was refused its own block is the witness: all of the session is looked at anew.
        for (index, view) in (0_u32..).zip(commands_of_block(block)?) {
            let id = SessionId(*view.session);
            if refused.binary_search(&index).is_ok() && stands.remove(&id).is_some() {
                wrong.insert(id);
            }
        }
        // Where the blocks above take them, by the rule of the pool.
        for payload in later {
            for view in commands_of_block(payload)? {
                if let Some(Some(last_seq)) = stands.get_mut(&SessionId(*view.session))
                    && view.seq == last_seq.saturating_add(1)
                    && !view.is_open()
                {
                    *last_seq = view.seq;
                }
            }
        }
        for one in corrections {
            match stands.get(&one.session) {
                // There was no room for it, which its client is told.
                Some(None) => self.close_session(one.session),
                Some(&Some(last_seq)) if !self.is_at(one.session, last_seq) => {
                    wrong.insert(one.session);
                }
                _ => {}
            }
        }
        Ok(wrong)
    }

    /// Whether the session is open and this is its last number.
    fn is_at(&self, id: SessionId, last_seq: u64) -> bool {
        let slot = self.places.get(&id);
        slot.is_some_and(|slot| {
            let session = &self.sessions[slot as usize];
            session.is_open && session.last_seq == last_seq
        })
    }

    fn correct_session(&mut self, now_ns: u64, correction: &Correction) {
        let slot = self.slot_or_new(correction.session);
        let session = &mut self.sessions[slot as usize];
        let was_open = session.is_open;
        let gone = match correction.last_seq {
            Some(last_seq) => session.open_at(last_seq),
            None => session.close(),
        };
        self.open_sessions += u32::from(session.is_open);
        self.open_sessions -= u32::from(was_open);
        gone.into_iter()
            .for_each(|command| self.drop_command(command));
        self.make_ready(now_ns, slot);
        self.recount_gapped(slot);
        self.free_if_unused(slot);
    }

    /// Nothing of this session applies any more, up to its last number. What stands behind an
    /// opening with a higher one has come since, to open it anew.
    fn end_session(&mut self, id: SessionId, last_seq: u64) {
        self.openings.note_ended(id, last_seq);
        let Some(slot) = self.places.get(&id) else {
            return;
        };
        let session = &self.sessions[slot as usize];
        let is_anew = session.opening().is_some_and(|seq| seq > last_seq);
        if session.is_open || !is_anew {
            self.give_up(slot);
        }
    }

    /// The session was not opened. What is here of one that is not thought to be open has come
    /// since, to try again.
    fn close_session(&mut self, id: SessionId) {
        if let Some(slot) = self.places.get(&id)
            && self.sessions[slot as usize].is_open
        {
            self.give_up(slot);
        }
    }

    fn give_up(&mut self, slot: u32) {
        let session = &mut self.sessions[slot as usize];
        self.open_sessions -= u32::from(session.is_open);
        session.is_open = false;
        let gone: Vec<Command> = session.drain();
        gone.into_iter()
            .for_each(|command| self.drop_command(command));
        self.free_if_unused(slot);
    }

    fn offer_losers(
        &mut self,
        now_ns: u64,
        sessions: &HashSet<SessionId>,
    ) -> Result<(), PayloadError> {
        let losers = std::mem::take(&mut self.losers.commands);
        for command in losers {
            let Some(view) = parse_entries(&command.entry)?.next() else {
                continue;
            };
            if !sessions.contains(&SessionId(*view.session)) {
                self.losers.commands.push_back(command);
                continue;
            }
            let origin = if command.is_local() {
                Origin::Local
            } else {
                Origin::Block
            };
            let times = (command.admitted_ns.min(now_ns), command.received_ns);
            match self.admit(times, &view, origin) {
                // Nobody waits here for the verdict; it is counted.
                Admission::Judged(_) | Admission::Final => {}
            }
        }
        Ok(())
    }

    /// A block that was taken note of under what was wrong is taken note of again.
    fn finalize_again(
        &mut self,
        now_ns: u64,
        sessions: &HashSet<SessionId>,
        payload: &[u8],
    ) -> Result<(), PayloadError> {
        for view in commands_of_block(payload)? {
            if sessions.contains(&SessionId(*view.session)) {
                self.take_of_block(now_ns, &view);
            }
        }
        for (index, view) in (0_u32..).zip(commands_of_block(payload)?) {
            if sessions.contains(&SessionId(*view.session)) {
                self.finalize(now_ns, index, &view);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::forward::Way;
    use super::*;
    use crate::state_machine::Lane;

    #[test]
    fn of_commands_that_gave_way_the_newest_are_kept_and_no_more_than_there_is_room_for() {
        let mut losers = Losers::default();
        for number in 0..LOSERS_MAX as u64 + 1_000 {
            losers.push(Command {
                entry: Vec::new(),
                admitted_ns: number,
                received_ns: number,
                lane: Lane::Order,
                origin: Origin::Local,
                is_gapped: false,
                is_sent: false,
                way: Way::None,
                expires_ns: 0,
            });
        }
        let kept = losers.commands.iter().map(|command| command.admitted_ns);
        assert!(kept.eq(1_000..LOSERS_MAX as u64 + 1_000));
    }
}
