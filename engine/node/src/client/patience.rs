//! Which validators a session leaves since they tell nothing.
//!
//! Owns the judging of it, at the end of a turn. Two things are too much for a session's patience:
//! that nothing is finalized while something waits, and, while nothing does, that a validator tells
//! nothing at all and does not answer either ([`super::silence`]). The latter is too much for a
//! connection that only listens as well, whatever waits: it is dialed again, and counts as one that
//! listens when the validator has answered. Never: chooses the next one.

use super::event::ClientEvent;
use super::sessions::{ClientRef, Clients, Table};
use super::silence::{SILENCE_ID, Silence};
use super::taking::Taking;
use super::watch::LinkUse;
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
        for of in std::mem::take(&mut self.table.stuck) {
            match of {
                LinkUse::Session(place) => self.judge_session(place, now, on_event),
                LinkUse::Watcher(place) if self.table.is_silent(of, now) => {
                    self.redial_watcher(place, now);
                }
                LinkUse::Watcher(_) => {}
            }
        }
    }

    fn judge_session(
        &mut self,
        place: usize,
        now: Instant,
        on_event: &mut impl FnMut(ClientRef, ClientEvent<'_>),
    ) {
        let session = &self.table.sessions[place];
        if !session.gateway.is_up() {
            return;
        }
        let is_stuck = session.is_stuck(now) && !self.release_overdue(place, now, on_event);
        let is_silent = self.table.is_silent(LinkUse::Session(place), now);
        if is_stuck {
            // It may name itself as the leader, or be named.
            let session = &mut self.table.sessions[place];
            session.unreached.idle(session.gateway.validator(), now);
        }
        if is_stuck || is_silent || self.table.is_unfed(place, now) {
            self.table.leaving.push((place, None));
        }
    }

    /// Tells a result that waits for those before it; whether there is one.
    pub(super) fn release_overdue(
        &mut self,
        place: usize,
        now: Instant,
        on_event: &mut impl FnMut(ClientRef, ClientEvent<'_>),
    ) -> bool {
        let session = &mut self.table.sessions[place];
        let first = session.pending.waiting().start;
        let kept = session.quorum.as_mut();
        let Some(seq) = kept.and_then(|quorum| quorum.lowest_kept(first)) else {
            return false;
        };
        let mut taking = Taking {
            table: &mut self.table,
            now,
            on_event,
        };
        taking.release(place, seq.saturating_add(1));
        true
    }

    /// Leaves the validator at which a session is for the next one, in the next turn.
    pub(super) fn turn_away(&mut self, client: ClientRef) {
        self.table.leaving.push((client.0, None));
        self.table.next_due = Instant::now();
    }

    /// Asks the validator of a connection on which nothing need come whether it is there, or notes
    /// that it did not answer, when one of them is due.
    pub(super) fn run_silence(&mut self, of: LinkUse, link: LinkId, now: Instant) {
        let Some((silence, patience)) = self.table.silence_of(of) else {
            return;
        };
        if silence.is_over(now, patience) {
            self.table.stuck.push(of);
        } else if silence.is_to_be_asked(now, patience) {
            silence.asked(now);
            self.frame.clear();
            encode_status_ask(SILENCE_ID, &mut self.frame);
            // Where it takes nothing any more, nothing is heard either.
            self.links.send(link, &self.frame).ok();
        }
        if let Some((silence, patience)) = self.table.silence_of(of)
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

    /// How silent the validator is to which a session with nothing waiting, or one that listens for
    /// it, is connected, and what the session's patience is.
    fn silence_of(&mut self, of: LinkUse) -> Option<(&mut Silence, Duration)> {
        let (session, gateway) = match of {
            LinkUse::Session(place) => {
                let session = self.sessions.get(place)?;
                let is_idle = session.pending.len() == 0;
                (session, is_idle.then_some(&session.gateway)?)
            }
            LinkUse::Watcher(place) => {
                let watcher = self.watchers.get(place)?;
                (self.sessions.get(watcher.of)?, &watcher.gateway)
            }
        };
        let validator = gateway.is_up().then(|| gateway.validator())?;
        let patience = session.options.patience;
        let silence = self.silences.get_mut(validator.place())?;
        Some((silence, patience))
    }

    fn is_silent(&mut self, of: LinkUse, now: Instant) -> bool {
        let silence = self.silence_of(of);
        silence.is_some_and(|(silence, patience)| silence.is_over(now, patience))
    }
}
