//! A client that sends more than it may, over sockets.

use crate::support::{Adder, Cluster, PATIENCE, eventually, stop_all};
use quorate::client::{Client, ClientEvent, ClientOptions, Clients};
use quorate::config::RateConfig;
use quorate::keys::KeyPair;
use quorate::node::Node;
use quorate::profiles::{Durability, Threading};
use quorate::state_machine::Lane;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// More than a burst of them, and less than would take long at the rate.
const COMMANDS: u64 = 100;

/// Both clients' commands are applied once and in order, whatever is refused in between: the client
/// library waits as it is told to.
fn rates_are_answered_busy_and_nothing_is_lost(name: &str, threading: Threading) {
    let mut cluster = Cluster::signed(name, 4, Durability::Async);
    cluster.threading = threading;
    let start = |place| {
        let mut config = cluster.config(place);
        config.rates = RateConfig {
            order: 200,
            burst_ms: 100,
            ..RateConfig::default()
        };
        Node::start(config, Adder::default()).unwrap()
    };
    let nodes: Vec<Node> = (0..4).map(start).collect();
    let mut clients = Clients::new(&cluster.genesis).unwrap();
    let key = Arc::new(KeyPair::from_seed(&[91; 32]));
    let flooding = clients.add(key, ClientOptions::default());
    let mut end = 0;
    for _ in 0..COMMANDS {
        end = clients
            .submit(flooding, Lane::Order, b"12345678", Instant::now())
            .unwrap();
    }
    let mut last = 0;
    let mut turn = |clients: &mut Clients| {
        let pause = Some(Duration::from_millis(5));
        let on_event = |_, event: ClientEvent<'_>| {
            if let ClientEvent::Result { result, .. } = event {
                last = last.max(result.item.seq);
            }
        };
        clients.turn(Instant::now(), pause, on_event).unwrap();
        last
    };
    eventually("the first of them is told to be final", || {
        turn(&mut clients) > 0
    });
    // Another session's cancel does not wait for the rest.
    let key = Arc::new(KeyPair::from_seed(&[92; 32]));
    let options = ClientOptions::default();
    let mut calm = Client::connect(&cluster.genesis, key, options, PATIENCE).unwrap();
    calm.submit_and_wait(Lane::Cancel, b"12345678", PATIENCE)
        .unwrap();
    eventually("all of them", || turn(&mut clients) == end);
    assert_eq!(clients.pending(flooding), 0);
    let over_rate = |node: &Node| {
        let faults = node.status().unwrap().faults;
        faults.get("commands_over_rate").copied().unwrap_or(0)
    };
    eventually("the refusals are counted", || {
        nodes.iter().map(over_rate).sum::<u64>() > 0
    });
    stop_all(nodes);
}

#[test]
fn rates_hold_on_one_thread() {
    rates_are_answered_busy_and_nothing_is_lost("rates-shared", Threading::Shared);
}

#[test]
fn rates_hold_on_threads_of_their_own() {
    rates_are_answered_busy_and_nothing_is_lost("rates-dedicated", Threading::Dedicated);
}
