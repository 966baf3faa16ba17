//! When a question is asked again, and when it is given up.

use super::*;
use crate::client::identity::Identity;
use crate::client::watch::LinkUse;
use crate::client_wire::{Verdict, VerdictRun};
use crate::testing::sample_genesis;
use quorate_net::LinkId;
use std::cell::Cell;
use std::net::TcpListener;

/// A client that nobody answers.
fn client() -> Client {
    let (genesis, _) = sample_genesis(4);
    let mut clients = Clients::new(&genesis).unwrap();
    let options = ClientOptions::default();
    let patience = options.patience;
    let client = clients.add(Arc::new(KeyPair::from_seed(&[7; 32])), options);
    Client {
        clients,
        client,
        patience,
        on_stream: OnStream::default(),
        asks_since: None,
    }
}

/// The session is logged in behind this door.
fn come_up(clients: &mut Clients, door: &TcpListener) -> LinkId {
    let address = door.local_addr().unwrap().to_string();
    let session = &clients.table.sessions[0];
    let (key, wanted) = (Arc::clone(&session.key), session.gateway.validator());
    let identity = Arc::new(Identity::new(key, Arc::clone(&clients.set), wanted));
    let (links, chain) = (&mut clients.links, clients.chain);
    let link = links.connect(Instant::now(), &address, chain, identity);
    let link = link.expect("a connection on its way");
    clients.table.sessions[0].gateway.up(link);
    clients.table.by_link.insert(link, LinkUse::Session(0));
    link
}

/// How often a question is asked that may cost two connections, when `happens` after the first two
/// times, and what came of it; the third time is refused.
fn asked(happens: impl Fn(&mut Clients, TcpListener, u16)) -> (u64, ClientError) {
    let count = Cell::new(0);
    let ask = |clients: &mut Clients, _: ClientRef| {
        count.set(count.get() + 1);
        if count.get() == 3 {
            return Err(ClientError::Full { pending: 0 });
        }
        let door = TcpListener::bind("127.0.0.1:0").unwrap();
        come_up(clients, &door);
        happens(clients, door, count.get());
        Ok(u64::from(count.get()))
    };
    let limits = (Duration::from_secs(60), 2);
    let ended = client().question_until(limits, ask, |_, _| None::<()>);
    (u64::from(count.get()), ended.unwrap_err())
}

/// Each call has less time than it takes to lose patience.
#[test]
fn a_validator_that_does_not_say_where_the_session_stands_is_left_however_short_the_calls_are() {
    let asks = |patience: Duration, calls: usize| {
        let mut client = client();
        let door = TcpListener::bind("127.0.0.1:0").unwrap();
        come_up(&mut client.clients, &door);
        client.patience = patience;
        let now = Instant::now();
        let pending = &mut client.clients.table.sessions[0].pending;
        pending.push(Lane::Order, b"order", now);
        pending.mark_sent(1);
        let refused = VerdictRun {
            seq_first: pending.waiting().start,
            count: 1,
            verdict: Verdict::Rejected(Rejection::SessionOpen),
        };
        pending.on_verdict(refused, now);
        let first = client.clients.table.sessions[0].gateway.validator();
        let mut since = Vec::new();
        for _ in 0..calls {
            let asked = client.find_session(Duration::from_millis(1));
            assert!(matches!(asked, Err(ClientError::Timeout)), "{asked:?}");
            since.push(client.asks_since);
        }
        let mut ignored = |_: ClientRef, _: ClientEvent<'_>| ();
        client.clients.leave(now, &mut ignored);
        let is_there = client.clients.table.sessions[0].gateway.validator() == first;
        (is_there, since)
    };
    let (is_there, since) = asks(Duration::from_secs(3600), 2);
    assert!(is_there && since[0].is_some(), "it is given time");
    assert_eq!(since[0], since[1], "all calls together");
    let (is_there, since) = asks(Duration::from_millis(1), 1);
    assert!(!is_there);
    assert_eq!(since[0], None, "the next one has its own time");
}

/// No validator has ended where the client itself went on to another one.
#[test]
fn a_question_is_asked_again_after_each_change_of_leader_and_not_after_two_losses() {
    let (count, error) = asked(|clients, _door, time| {
        let leader = ValidatorIndex::new(time);
        clients.table.leaving.push((0, Some(leader)));
    });
    assert!(matches!(error, ClientError::Full { .. }), "{error:?}");
    assert_eq!(count, 3);
    // Nobody is behind the door any more.
    let (count, error) = asked(|_, door, _| {
        drop(door.accept().unwrap());
    });
    assert!(
        matches!(error, ClientError::QuestionLost { losses: 2 }),
        "{error:?}"
    );
    assert_eq!(count, 2);
}
