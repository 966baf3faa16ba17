//! Connections that only listen: each of a session's connections gets all of its results.
//!
//! Owns one connection to every validator for each session that takes no single validator's word.
//! Never: submits, or judges what comes; [`super::quorum`] does.

use std::sync::Arc;
use std::time::Instant;

use quorate_consensus::types::{Stake, ValidatorIndex};

use super::ClientError;
use super::gateway::{Gateway, State};
use super::identity::Identity;
use super::quorum::{Quorum, Trust};
use super::sessions::Clients;

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LinkUse {
    /// The commands and everything else of the session at this place.
    Session(usize),
    /// The results of a session, by the watcher at this place.
    Watcher(usize),
}

/// One listening connection.
pub(super) struct Watcher {
    /// The session.
    pub(super) of: usize,
    /// Knows one validator only.
    pub(super) gateway: Gateway,
}

impl Clients {
    /// Whether enough validators can be listened to for a session that trusts so.
    ///
    /// # Errors
    /// [`ClientError::TooFewAddresses`]: it would never send anything.
    pub(super) fn can_listen(&self, trust: Trust) -> Result<(), ClientError> {
        let reached = self.contacts.iter().map(|one| one.validator);
        let quorum = Quorum::new(Arc::clone(&self.set));
        if trust == Trust::OneValidator || quorum.can_agree(reached.clone()) {
            return Ok(());
        }
        let stake: Stake = reached.map(|validator| self.set.stake(validator)).sum();
        let fault = self.set.thresholds().fault.amount();
        Err(ClientError::TooFewAddresses {
            stake: stake.amount(),
            needed: fault.saturating_mul(2).saturating_add(1),
        })
    }

    /// Gives the session its listening connections, if it wants them.
    pub(super) fn add_watchers(&mut self, of: usize, trust: Trust, now: Instant) {
        if trust == Trust::OneValidator {
            return;
        }
        if let Err(error) = self.can_listen(trust) {
            // Questions are answered all the same.
            tracing::error!(%error, "this session will never send a command");
        }
        if let Some(session) = self.table.sessions.get_mut(of) {
            session.quorum = Some(Quorum::new(Arc::clone(&self.set)));
        }
        for contact in self.contacts.iter() {
            let (validator, contacts) = (contact.validator, Arc::from([contact.clone()]));
            let gateway = Gateway::new(contacts, validator, now);
            self.table.watchers.push(Watcher { of, gateway });
        }
    }

    /// Dials those that are down and due, asks those that are silent whether they are there, and
    /// says when the next one is due.
    pub(super) fn run_watchers(&mut self, now: Instant) {
        for place in 0..self.table.watchers.len() {
            match self.table.watchers[place].gateway.state {
                State::Down { dial_at } if dial_at <= now => self.dial_watcher(place, now),
                State::Up { link } => self.run_silence(LinkUse::Watcher(place), link, now),
                State::Down { .. } | State::Dialing { .. } => {}
            }
            if let State::Down { dial_at } = self.table.watchers[place].gateway.state {
                self.table.next_due = self.table.next_due.min(dial_at);
            }
        }
    }

    fn dial_watcher(&mut self, place: usize, now: Instant) {
        let Some(watcher) = self.table.watchers.get_mut(place) else {
            return;
        };
        let wanted = watcher.gateway.validator();
        let Some(session) = self.table.sessions.get(watcher.of) else {
            return;
        };
        let identity = Identity::new(Arc::clone(&session.key), Arc::clone(&self.set), wanted);
        let Some(address) = watcher.gateway.address() else {
            return watcher.gateway.next(now);
        };
        match self
            .links
            .connect(now, address, self.chain, Arc::new(identity))
        {
            Ok(link) => {
                watcher.gateway.dialing(link);
                self.table.by_link.insert(link, LinkUse::Watcher(place));
            }
            Err(error) => {
                tracing::debug!(%error, address, "cannot dial");
                watcher.gateway.next(now);
            }
        }
    }

    /// Gives up the connection of one whose validator tells nothing: one that hangs would count as
    /// one that listens.
    pub(super) fn redial_watcher(&mut self, place: usize, now: Instant) {
        let Some(watcher) = self.table.watchers.get_mut(place) else {
            return;
        };
        if let Some(link) = watcher.gateway.link() {
            self.links.close(link);
            self.table.by_link.remove(&link);
        }
        watcher.gateway.next(now);
        self.table.next_due = now;
    }

    /// Whether a session's commands may be sent: enough validators listen to tell their results.
    pub(super) fn may_send(&self, place: usize) -> bool {
        let Some(session) = self.table.sessions.get(place) else {
            return false;
        };
        session.quorum.as_ref().is_none_or(|quorum| {
            let own = self.table.watchers.iter().filter(|one| one.of == place);
            let up = own.filter(|one| one.gateway.is_up());
            quorum.can_agree(up.map(|one| -> ValidatorIndex { one.gateway.validator() }))
        })
    }
}
