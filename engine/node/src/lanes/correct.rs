//! Setting the pool right after execution.
//!
//! Owns what the pool does when a command that it took for applied was not, because its session's
//! key has not signed it: the session goes back to where the table has it, and what stood behind
//! the refused command, or gave way to it, is offered again. And what it does when a session has
//! ended, or another one ended for it. Never: decides what was applied.

use std::collections::VecDeque;

use quorate_consensus::payload::{PayloadError, parse_entries};

use super::commands_of_block;
use super::pool::{Admission, Lanes, Origin};
use super::queue::Command;
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
        for correction in corrections {
            let session = correction.session;
            if correction.has_ended {
                self.end_session(session);
                continue;
            }
            self.correct_session(now_ns, correction);
            for (index, view) in (0_u32..).zip(commands_of_block(block)?) {
                if *view.session == session.0 && !refused.contains(&index) {
                    self.take_of_block(now_ns, &view);
                }
            }
            self.offer_losers(now_ns, session)?;
            for payload in later.clone() {
                self.finalize_again(now_ns, session, payload)?;
            }
        }
        Ok(())
    }

    fn correct_session(&mut self, now_ns: u64, correction: &Correction) {
        let slot = self.slot_or_new(correction.session);
        let session = &mut self.sessions[slot as usize];
        let was_open = session.is_open;
        session.is_open = correction.last_seq.is_some();
        self.open_sessions += u32::from(session.is_open);
        self.open_sessions -= u32::from(was_open);
        let gone = session.correct(correction.last_seq.unwrap_or(0));
        for command in &gone {
            self.forget(command);
        }
        self.make_ready(now_ns, slot);
        self.recount_gapped(slot);
        self.free_if_unused(slot);
    }

    /// Nothing of this session applies any more.
    fn end_session(&mut self, id: SessionId) {
        self.ended.insert(id);
        let Some(&slot) = self.places.get(&id) else {
            return;
        };
        let session = &mut self.sessions[slot as usize];
        self.open_sessions -= u32::from(session.is_open);
        session.is_open = false;
        let gone: Vec<Command> = session.drain().collect();
        for command in &gone {
            self.forget(command);
        }
        self.free_if_unused(slot);
    }

    fn offer_losers(&mut self, now_ns: u64, session: SessionId) -> Result<(), PayloadError> {
        let losers = std::mem::take(&mut self.losers.commands);
        for command in losers {
            let Some(view) = parse_entries(&command.entry)?.next() else {
                continue;
            };
            if *view.session != session.0 {
                self.losers.commands.push_back(command);
                continue;
            }
            let origin = if command.is_local {
                Origin::Local
            } else {
                Origin::Block
            };
            match self.admit(command.admitted_ns.min(now_ns), &view, origin) {
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
        session: SessionId,
        payload: &[u8],
    ) -> Result<(), PayloadError> {
        for view in commands_of_block(payload)? {
            if *view.session == session.0 {
                self.take_of_block(now_ns, &view);
            }
        }
        for (index, view) in (0_u32..).zip(commands_of_block(payload)?) {
            if *view.session == session.0 {
                self.finalize(now_ns, index, &view);
            }
        }
        Ok(())
    }
}
