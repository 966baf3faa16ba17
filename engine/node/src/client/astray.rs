//! A session that is another one than it was taken for: open already, or ended.
//!
//! Owns how a [`Client`] goes on by itself. Never: decides that for the owner of a [`Clients`], who
//! is told and asks where the session stands.

use super::ClientError;
use super::blocking::Client;
use super::event::ClientEvent;
use super::sessions::{ClientRef, Clients};
use crate::sessions::SessionCommand;
use std::time::{Duration, Instant};

impl Clients {
    /// Whether where the session stands must be asked before its next command. Not while commands
    /// wait: what comes of them is told first.
    pub(super) fn is_astray(&self, client: ClientRef) -> bool {
        let session = self.table.sessions.get(client.0);
        session.is_some_and(|session| session.pending.is_astray() && session.pending.len() == 0)
    }

    /// Whether signs of life wait: one that is sent by itself would have a number of the session
    /// that is not there, and be what waits.
    pub(super) fn rest_heartbeats(&mut self, client: ClientRef, do_rest: bool) {
        if let Some(session) = self.table.sessions.get_mut(client.0) {
            session.rests_heartbeats = do_rest;
        }
    }

    /// Goes on where a validator says that the session stands. Its last command is none before one
    /// that was seen to be final: that validator has not come so far. Numbers that were given once
    /// more could meet their first commands, and be taken for those.
    pub(super) fn go_on(&mut self, client: ClientRef, (seq_last, has_ended): (u64, bool)) {
        let session = self.table.sessions.get(client.0);
        let seen = session.map_or(0, |session| session.pending.final_to());
        // Where there is none it is opened above all that were sent.
        let seq_last = match seq_last {
            0 => 0,
            seq_last => seq_last.max(seen),
        };
        let goes_on = match has_ended {
            true => self.reopen(client, seq_last),
            false => self.resume(client, seq_last),
        };
        let Some(session) = self.table.sessions.get_mut(client.0) else {
            return;
        };
        // Whoever has opened it may have declared none; before an opening it is declared anyway.
        let is_open = goes_on && !session.pending.needs_opening();
        if let Some(ns) = session.timeout_ns.filter(|_| is_open) {
            let command = SessionCommand::Timeout(ns);
            session.pending.push_session(command, Instant::now());
            self.table.soil(client.0);
        }
    }
}

impl Client {
    /// Learns where the session stands, and goes on there.
    pub(super) fn learn_session(&mut self, timeout: Duration) -> Result<(), ClientError> {
        let told = self.question(timeout, Clients::ask_session, |id, event| match event {
            ClientEvent::Session {
                id: of,
                seq_last,
                has_ended,
            } if *of == id => Some((*seq_last, *has_ended)),
            _ => None,
        })?;
        self.clients.go_on(self.client, told);
        Ok(())
    }

    /// The same where it was told to be another one than it was taken for.
    pub(super) fn find_session(&mut self, timeout: Duration) -> Result<(), ClientError> {
        if !self.clients.is_astray(self.client) {
            return Ok(());
        }
        self.asks_since = self.asks_since.or_else(|| Some(Instant::now()));
        self.clients.rest_heartbeats(self.client, true);
        let learned = self.learn_session(timeout);
        self.clients.rest_heartbeats(self.client, false);
        self.lose_patience(timeout, matches!(learned, Err(ClientError::Timeout)));
        learned
    }

    /// Leaves a validator that has not answered in calls that were each too short for that.
    fn lose_patience(&mut self, timeout: Duration, is_unanswered: bool) {
        // In a longer one the question goes to the next validator by itself.
        let is_kept = is_unanswered && timeout <= self.patience;
        let is_up = self.clients.connected(self.client).is_some();
        let since = self.asks_since.filter(|_| is_kept && is_up);
        let is_over = since.is_some_and(|since| since.elapsed() >= self.patience);
        if is_over {
            self.clients.turn_away(self.client);
        }
        self.asks_since = since.filter(|_| !is_over);
    }
}
