//! Which validator a session speaks to, and which one next.
//!
//! Owns the order of validators and addresses and the waits between dials. Never: sockets.

use crate::genesis::Genesis;
use quorate_consensus::types::ValidatorIndex;
use quorate_net::LinkId;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// First wait after every validator failed once.
const REDIAL_MIN: Duration = Duration::from_millis(20);
/// Longest wait.
const REDIAL_MAX: Duration = Duration::from_secs(2);

/// A validator that clients can reach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Contact {
    pub(super) validator: ValidatorIndex,
    pub(super) addresses: Vec<String>,
}

/// The validators of a genesis that have client addresses.
pub(super) fn contacts(genesis: &Genesis) -> Arc<[Contact]> {
    genesis
        .validator_set()
        .indices()
        .zip(&genesis.file().validators)
        .filter(|(_, member)| !member.client_addresses.is_empty())
        .map(|(validator, member)| Contact {
            validator,
            addresses: member.client_addresses.clone(),
        })
        .collect()
}

/// Where a session stands with its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Not connected; dials at that time.
    Down { dial_at: Instant },
    /// On its way.
    Dialing { link: LinkId },
    /// Logged in.
    Up { link: LinkId },
}

/// The connection of one session.
#[derive(Debug)]
pub(super) struct Gateway {
    contacts: Arc<[Contact]>,
    /// Place of the present validator in `contacts`.
    at: usize,
    address: usize,
    /// Dials that failed since the last login.
    failures: usize,
    pub(super) state: State,
}

impl Gateway {
    /// Begins with the validator `first`, or the one after it that has an address. `contacts` is
    /// not empty.
    pub(super) fn new(contacts: Arc<[Contact]>, first: ValidatorIndex, now: Instant) -> Self {
        let at = contacts
            .iter()
            .position(|contact| contact.validator >= first)
            .unwrap_or(0);
        Self {
            contacts,
            at,
            address: 0,
            failures: 0,
            state: State::Down { dial_at: now },
        }
    }

    /// The validator that is dialed or connected.
    pub(super) fn validator(&self) -> ValidatorIndex {
        self.contacts
            .get(self.at)
            .map_or(ValidatorIndex::new(0), |contact| contact.validator)
    }

    /// Whether none could be reached since it was connected last.
    pub(super) fn has_failed_everywhere(&self) -> bool {
        self.failures >= self.contacts.len()
    }

    /// How many validators there are to turn to.
    pub(super) fn contacts_len(&self) -> usize {
        self.contacts.len()
    }

    /// Its address, which changes from dial to dial where there are several.
    pub(super) fn address(&self) -> Option<&str> {
        let addresses = &self.contacts.get(self.at)?.addresses;
        addresses
            .get(self.address.checked_rem(addresses.len())?)
            .map(String::as_str)
    }

    pub(super) const fn link(&self) -> Option<LinkId> {
        match self.state {
            State::Down { .. } => None,
            State::Dialing { link } | State::Up { link } => Some(link),
        }
    }

    pub(super) const fn is_up(&self) -> bool {
        matches!(self.state, State::Up { .. })
    }

    pub(super) fn dialing(&mut self, link: LinkId) {
        self.state = State::Dialing { link };
    }

    pub(super) fn up(&mut self, link: LinkId) {
        self.failures = 0;
        self.state = State::Up { link };
    }

    /// The connection is lost or was given up: on to the next validator. At once while there is
    /// one that has not failed since the last login, then with growing waits.
    pub(super) fn next(&mut self, now: Instant) {
        self.failures = self.failures.saturating_add(1);
        self.at = (self.at + 1) % self.contacts.len().max(1);
        if self.at == 0 {
            self.address = self.address.wrapping_add(1);
        }
        let rounds = self.failures / self.contacts.len().max(1);
        let wait = match rounds {
            0 => Duration::ZERO,
            rounds => {
                let doublings = u32::try_from(rounds - 1).unwrap_or(u32::MAX).min(10);
                REDIAL_MIN.saturating_mul(1 << doublings).min(REDIAL_MAX)
            }
        };
        self.state = State::Down {
            dial_at: now + wait,
        };
    }

    /// Nobody is dialed before, now that it is not connected.
    pub(super) fn rest_until(&mut self, until: Instant) {
        if let State::Down { dial_at } = &mut self.state {
            *dial_at = (*dial_at).max(until);
        }
    }

    /// Turns to a certain validator. False if it has no address or is the present one.
    pub(super) fn turn_to(&mut self, validator: ValidatorIndex, now: Instant) -> bool {
        if validator == self.validator() {
            return false;
        }
        let Some(at) = self
            .contacts
            .iter()
            .position(|contact| contact.validator == validator)
        else {
            return false;
        };
        self.at = at;
        self.state = State::Down { dial_at: now };
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::sample_genesis;

    fn gateway(first: u16, now: Instant) -> Gateway {
        let (genesis, _) = sample_genesis(4);
        Gateway::new(contacts(&genesis), ValidatorIndex::new(first), now)
    }

    fn wait(gateway: &Gateway, now: Instant) -> Duration {
        match gateway.state {
            State::Down { dial_at } => dial_at - now,
            State::Dialing { .. } | State::Up { .. } => panic!("not down"),
        }
    }

    #[test]
    fn every_validator_is_tried_at_once_and_only_then_is_there_a_wait() {
        let now = Instant::now();
        let mut gateway = gateway(2, now);
        let mut tried = vec![gateway.validator().number()];
        for _ in 0..3 {
            gateway.next(now);
            assert_eq!(wait(&gateway, now), Duration::ZERO);
            tried.push(gateway.validator().number());
        }
        assert_eq!(tried, [2, 3, 0, 1]);
        gateway.next(now);
        assert_eq!(wait(&gateway, now), REDIAL_MIN);
        for _ in 0..1000 {
            gateway.next(now);
            assert!(wait(&gateway, now) <= REDIAL_MAX);
        }
        assert_eq!(wait(&gateway, now), REDIAL_MAX);
    }

    #[test]
    fn the_leader_is_turned_to_unless_it_is_the_present_validator_or_unknown() {
        let now = Instant::now();
        let mut gateway = gateway(0, now);
        assert!(!gateway.turn_to(ValidatorIndex::new(0), now));
        assert!(!gateway.turn_to(ValidatorIndex::new(9), now));
        assert!(gateway.turn_to(ValidatorIndex::new(3), now));
        assert_eq!(gateway.address(), Some("127.0.0.1:7013"));
    }
    #[test]
    fn each_address_of_a_validator_that_has_several_is_dialed_in_its_turn() {
        let now = Instant::now();
        let contact = |number: u16| Contact {
            validator: ValidatorIndex::new(number),
            addresses: ["first", "second"]
                .map(|of| format!("{of} of {number}"))
                .into(),
        };
        let contacts: Arc<[Contact]> = (0..2).map(contact).collect();
        let mut gateway = Gateway::new(contacts, ValidatorIndex::new(0), now);
        let mut dialed = Vec::new();
        for _ in 0..5 {
            dialed.extend(gateway.address().map(str::to_owned));
            gateway.next(now);
        }
        assert_eq!(
            dialed,
            [
                "first of 0",
                "first of 1",
                "second of 0",
                "second of 1",
                "first of 0"
            ]
        );
    }
}
