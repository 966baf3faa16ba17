//! What is told of commands that were taken by one validator and refused by another.

use super::*;
use crate::client::{ClientOptions, Clients};
use crate::keys::KeyPair;
use crate::state_machine::Lane;
use crate::testing::sample_genesis;
use std::sync::Arc;

struct Fixture {
    clients: Clients,
    client: ClientRef,
    told: Vec<String>,
}

impl Fixture {
    /// A session with commands 1 to 4 on their way to the first validator.
    fn new() -> Self {
        let (genesis, _) = sample_genesis(4);
        let mut clients = Clients::new(&genesis).expect("an event queue");
        let key = Arc::new(KeyPair::from_seed(&[5; 32]));
        let client = clients.add(key, ClientOptions::default());
        for seq in 1..=4 {
            let body = [seq; 8];
            let pushed = clients.submit(client, Lane::Order, &body, Instant::now());
            assert_eq!(pushed.expect("room"), u64::from(seq));
        }
        let mut fixture = Self {
            clients,
            client,
            told: Vec::new(),
        };
        fixture.send();
        fixture
    }

    fn send(&mut self) {
        let pending = &mut self.clients.table.sessions[0].pending;
        let count = pending.write_submit(Instant::now(), &mut Vec::new());
        pending.mark_sent(count);
    }

    /// The validator that is asked says this; whether the session leaves it.
    fn verdict(&mut self, seq_first: u64, count: u32, verdict: Verdict) -> bool {
        let told = &mut self.told;
        let mut taking = Taking {
            table: &mut self.clients.table,
            now: Instant::now(),
            on_event: &mut |_, event: ClientEvent<'_>| told.push(format!("{event:?}")),
        };
        let run = VerdictRun {
            seq_first,
            count,
            verdict,
        };
        taking.take_verdict(self.client.place(), run);
        !std::mem::take(&mut self.clients.table.leaving).is_empty()
    }

    /// It turns to the next validator, and sends all that waits again.
    fn next(&mut self) {
        let session = &mut self.clients.table.sessions[0];
        session.gateway.next(Instant::now());
        session.pending.rewind();
        self.send();
    }

    fn waiting(&self) -> std::ops::Range<u64> {
        self.clients.table.sessions[0].pending.waiting()
    }
}

const CONFLICT: Verdict = Verdict::Rejected(Rejection::Conflict);

#[test]
fn the_number_of_a_command_that_was_taken_is_not_free_because_another_validator_refuses_it() {
    let mut fixture = Fixture::new();
    assert!(!fixture.verdict(1, 3, Verdict::Accepted));
    fixture.next();
    assert!(fixture.verdict(2, 1, CONFLICT), "another one is asked");
    assert_eq!(fixture.waiting(), 1..5, "it waits as before");
    fixture.next();
    assert!(fixture.verdict(2, 1, CONFLICT));
    assert!(fixture.verdict(2, 1, CONFLICT), "each counts once");
    assert_eq!(fixture.waiting(), 1..5);
    assert!(!fixture.told.iter().any(|told| told.contains("Dropped")));
    // All but one refuse it now: the last one may never answer.
    fixture.next();
    assert!(!fixture.verdict(2, 1, CONFLICT));
    assert_eq!(fixture.waiting(), 1..2);
    assert!(fixture.told.iter().any(|told| told.contains("Dropped")));
}

#[test]
fn who_takes_a_refused_command_again_has_a_copy_that_the_others_know_nothing_of() {
    let mut fixture = Fixture::new();
    fixture.verdict(1, 4, Verdict::Accepted);
    for _ in 0..2 {
        fixture.next();
        assert!(fixture.verdict(2, 1, CONFLICT));
    }
    fixture.next();
    assert!(!fixture.verdict(1, 4, Verdict::Accepted));
    assert!(fixture.verdict(2, 1, CONFLICT));
    assert_eq!(fixture.waiting(), 1..5);
}

#[test]
fn a_command_that_nobody_took_and_one_of_a_session_that_has_ended_are_dropped_at_once() {
    let mut fixture = Fixture::new();
    fixture.verdict(1, 3, Verdict::Accepted);
    assert!(!fixture.verdict(4, 1, CONFLICT));
    assert_eq!(fixture.waiting(), 1..4);
    let ended = Verdict::Rejected(Rejection::SessionEnded);
    assert!(!fixture.verdict(1, 3, ended));
    assert_eq!(fixture.waiting(), 1..1);
}
