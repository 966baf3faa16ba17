//! A validator whose state is another than the others': it serves nobody, votes on, and does not
//! come back by a restart alone (protocol.md 5.6).

use crate::support::{Adder, Cluster, PATIENCE, eventually, http, patient, stop_all};
use quorate::client::{Client, ClientOptions};
use quorate::drift::{DIVERGED_FOLDER, read_bundle, read_trace};
use quorate::keys::KeyPair;
use quorate::lanes::Rejection;
use quorate::node::{Admission, Node, NodeFailure};
use quorate::profiles::{Durability, Threading};
use quorate::state_machine::Lane;
use quorate_consensus::types::ValidatorIndex;
use std::sync::Arc;

const WRONG: u16 = 3;

fn client(cluster: &Cluster, seed: u8, first: u16) -> Client {
    let key = Arc::new(KeyPair::from_seed(&[100 + seed; 32]));
    let options = ClientOptions {
        first: ValidatorIndex::new(first),
        ..patient()
    };
    Client::connect(&cluster.genesis, key, options, PATIENCE).unwrap()
}

fn add(client: &mut Client) {
    let one = 1_u64.to_le_bytes();
    client.submit_and_wait(Lane::Order, &one, PATIENCE).unwrap();
}

fn start(cluster: &Cluster, wrong: Adder) -> Vec<Node> {
    let mut nodes: Vec<Node> = (0..WRONG).map(|place| cluster.start(place)).collect();
    let mut config = cluster.config(WRONG);
    config.listen_metrics = Some("127.0.0.1:0".to_owned());
    nodes.push(Node::start(config, wrong).unwrap());
    nodes
}

fn is_refused<T>(answer: &Result<T, NodeFailure>) -> bool {
    matches!(answer, Err(NodeFailure::Diverged { height: 64 }))
}

/// Whether it tells operators that it works, and that no client is to be sent to it.
fn is_unready(node: &Node) -> bool {
    let address = node.metrics_address().unwrap();
    http(address, "/health").starts_with("HTTP/1.1 200")
        && http(address, "/ready").ends_with("the state of this validator diverged\n")
}

/// From the first block to the one whose state is compared, and a little further.
fn diverge(cluster: &Cluster) {
    let nodes = start(cluster, Adder { sum: 5 });
    let wrong = &nodes[usize::from(WRONG)];
    let mut embedded = wrong.session([55; 32]).unwrap();
    let mut there = client(cluster, 1, WRONG);
    assert_eq!(there.connected(), Some(ValidatorIndex::new(WRONG)));
    let mut elsewhere = client(cluster, 2, 0);
    eventually("the state has diverged", || {
        add(&mut elsewhere);
        wrong.diverged().is_some() && wrong.metrics().diverged_height.read() > 0
    });
    let found = wrong.status().unwrap().diverged.unwrap();
    assert_eq!((found.height, found.section.as_str()), (64, "sum"));
    assert!(is_refused(&wrong.query(b"?")));
    assert!(is_refused(&wrong.session([56; 32])));
    eventually("commands of the embedding program are refused", || {
        let admission = embedded.submit(Lane::Order, b"");
        admission == Admission::Rejected(Rejection::Diverged)
    });
    // Whoever was there, and whoever comes now, is served by another one.
    add(&mut there);
    assert_ne!(there.connected(), Some(ValidatorIndex::new(WRONG)));
    let mut late = client(cluster, 3, WRONG);
    assert_ne!(late.connected(), Some(ValidatorIndex::new(WRONG)));
    // It follows and votes, and gives no results away.
    let finalized = wrong.finalized();
    let height = nodes[0].status().unwrap().height;
    eventually("operators are told", || is_unready(wrong));
    (0..3).for_each(|_| add(&mut late));
    eventually("it goes on", || wrong.status().unwrap().height > height + 2);
    assert!(finalized.try_recv().is_err());
    assert!(wrong.status().unwrap().voting);
    assert!(nodes[..3].iter().all(|node| node.diverged().is_none()));
    stop_all(nodes);
}

fn diverges_and_is_mended(threading: Threading) {
    let mut cluster = Cluster::new("drift", 4, Durability::Async);
    cluster.threading = threading;
    let folder = cluster.data(WRONG).join(DIVERGED_FOLDER);
    diverge(&cluster);
    let bundle = read_bundle(&folder).unwrap();
    assert_eq!((bundle.validator, bundle.common), (WRONG, None));
    assert_eq!((bundle.section.as_str(), bundle.blocks), ("sum", [1, 64]));
    let trace = read_trace(&folder).unwrap();
    assert_eq!(trace.at(64).unwrap().id, bundle.own.block.0);
    // With the right application, but without the operator's word.
    let nodes = start(&cluster, Adder::default());
    let wrong = &nodes[usize::from(WRONG)];
    assert!(wrong.diverged().is_some());
    eventually("operators are told again", || is_unready(wrong));
    assert!(is_refused(&wrong.query(b"?")));
    assert!(is_refused(&wrong.session([56; 32])));
    stop_all(nodes);
    std::fs::rename(&folder, cluster.folder.join("kept")).unwrap();
    let nodes = start(&cluster, Adder::default());
    let mended = client(&cluster, 4, WRONG);
    assert_eq!(mended.connected(), Some(ValidatorIndex::new(WRONG)));
    let address = nodes[usize::from(WRONG)].metrics_address().unwrap();
    eventually("it is ready", || {
        http(address, "/ready").starts_with("HTTP/1.1 200")
    });
    stop_all(nodes);
}

#[test]
fn a_validator_that_computes_another_state_serves_nobody_until_it_is_mended() {
    diverges_and_is_mended(Threading::Shared);
}

#[test]
fn so_it_is_with_a_thread_a_stage() {
    diverges_and_is_mended(Threading::Dedicated);
}
