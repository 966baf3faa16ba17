//! Which validators a session leaves since they tell nothing.
//!
//! Owns the judging of it, at the end of a turn. Two things are too much for a session's patience:
//! that nothing is finalized while something waits, and, while nothing does, that a validator tells
//! nothing at all and does not answer either ([`super::silence`]). Never: chooses the next one.

use super::event::ClientEvent;
use super::quorum::Quorum;
use super::sessions::{ClientRef, Clients, Table};
use super::silence::{SILENCE_ID, Silence};
use super::taking::Taking;
use crate::client_wire::encode_status_ask;
use quorate_consensus::types::ValidatorIndex;
use quorate_net::LinkId;
use std::time::{Duration, Instant};

impl Clients {
    /// Gives up the validators that told nothing for too long. After what has come was read: where
    /// this process itself got no processor for so long, the answers wait in its sockets.
    pub(super) fn judge_stuck(
        &mut self,
        now: Instant,
        on_event: &mut impl FnMut(ClientRef, ClientEvent<'_>),
    ) {
        for place in std::mem::take(&mut self.table.stuck) {
            let session = &self.table.sessions[place];
            if !session.gateway.is_up() {
                continue;
            }
            let is_stuck = session.is_stuck(now) && !self.release_overdue(place, now, on_event);
            if is_stuck || self.table.is_silent(place, now) || self.table.is_unfed(place, now) {
                self.table.leaving.push((place, None));
            }
        }
    }

    /// Tells a result that waits for those before it, if there is one.
    pub(super) fn release_overdue(
        &mut self,
        place: usize,
        now: Instant,
        on_event: &mut impl FnMut(ClientRef, ClientEvent<'_>),
    ) -> bool {
        let session = &self.table.sessions[place];
        if !session.quorum.as_ref().is_some_and(Quorum::has_kept) {
            return false;
        }
        let mut taking = Taking {
            table: &mut self.table,
            now,
            on_event,
        };
        taking.release(place, true);
        true
    }

    /// Leaves the validator at which a session is for the next one, in the next turn.
    pub(super) fn turn_away(&mut self, client: ClientRef) {
        self.table.leaving.push((client.0, None));
        self.table.next_due = Instant::now();
    }

    /// Asks the validator of a session that has nothing waiting whether it is there, or notes that
    /// it did not answer, when one of them is due.
    pub(super) fn run_silence(&mut self, place: usize, link: LinkId, now: Instant) {
        let Some((silence, patience)) = self.table.silence_of(place) else {
            return;
        };
        if silence.is_over(now, patience) {
            self.table.stuck.push(place);
        } else if silence.is_to_be_asked(now, patience) {
            silence.asked(now);
            self.frame.clear();
            encode_status_ask(SILENCE_ID, &mut self.frame);
            // Where it takes nothing any more, nothing is heard either.
            self.links.send(link, &self.frame).ok();
        }
        if let Some((silence, patience)) = self.table.silence_of(place)
            && let Some(due) = silence.due(patience)
        {
            self.table.next_due = self.table.next_due.min(due.max(now));
        }
    }
}

impl Table {
    /// A validator has told something.
    pub(super) fn heard(&mut self, validator: ValidatorIndex, now: Instant) {
        if let Some(silence) = self.silences.get_mut(validator.place()) {
            silence.heard(now);
        }
    }

    /// How silent the validator of a session is that has nothing waiting, and what its patience is.
    fn silence_of(&mut self, place: usize) -> Option<(&mut Silence, Duration)> {
        let session = self.sessions.get(place)?;
        let is_idle = session.pending.len() == 0 && session.gateway.is_up();
        let validator = session.gateway.validator();
        let patience = session.options.patience;
        let silence = self.silences.get_mut(validator.place());
        silence.filter(|_| is_idle).zip(Some(patience))
    }

    fn is_silent(&mut self, place: usize, now: Instant) -> bool {
        let silence = self.silence_of(place);
        silence.is_some_and(|(silence, patience)| silence.is_over(now, patience))
    }
}
