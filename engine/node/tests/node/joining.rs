//! A whole node whose peers' logs do not go back to where it stands: it joins by a snapshot.

use crate::private::{client_at, told_to};
use crate::support::{Adder, Cluster, PATIENCE, agree, eventually, patient, stop_all};
use quorate::client::{Client, PublicClient, PublicItem, PublicOptions};
use quorate::config::NodeConfig;
use quorate::keys::KeyPair;
use quorate::node::{Node, NodeFailure, snapshots_path};
use quorate::profiles::{Durability, Threading};
use quorate::snapshot::SnapshotFolder;
use quorate::state_machine::{Context, Lane, Output, StateMachine};
use quorate::streams::StreamPosition;
use quorate_consensus::types::ValidatorIndex;
use std::sync::Arc;
use std::time::{Duration, Instant};

const EVERY: u64 = 64;
/// Bytes of a state that takes several whole chunks.
const WIDTH: usize = (3 << 20) + 5;

/// An adder with a wide state.
#[derive(Debug, Default)]
struct Wide(Adder);

impl StateMachine for Wide {
    fn sections(&self) -> &'static [&'static str] {
        self.0.sections()
    }

    fn apply(&mut self, context: &Context, command: &[u8], output: &mut Output) {
        self.0.apply(context, &command[..8], output);
        output.to_public(&context.time_ns.to_le_bytes());
    }

    fn section_root(&mut self, section: usize) -> [u8; 32] {
        self.0.section_root(section)
    }

    fn snapshot_section(&self, section: usize, bytes: &mut Vec<u8>) {
        self.0.snapshot_section(section, bytes);
        let narrow = bytes.len();
        bytes.extend((narrow..WIDTH).map(|at| (at / 7) as u8));
    }

    fn restore_section(&mut self, section: usize, bytes: &[u8]) -> Result<(), String> {
        self.0.restore_section(section, &bytes[..8])
    }

    fn query(&self, question: &[u8], answer: &mut Vec<u8>) {
        self.0.query(question, answer);
    }
}

fn start(cluster: &Cluster, place: u16) -> Node {
    start_with(cluster, place, |config| config.log.bytes_max = 1)
}

pub(crate) fn start_with(
    cluster: &Cluster,
    place: u16,
    change: impl FnOnce(&mut NodeConfig),
) -> Node {
    let mut config = cluster.config(place);
    config.snapshots.every_heights = EVERY;
    config.log.segment_bytes = 1_310_720;
    change(&mut config);
    Node::start_with_snapshots(config, Wide::default(), Wide::default()).unwrap()
}

/// Adds ones as a client of its own for as long as it is to; says how many.
pub(crate) fn add(cluster: &Cluster, client: u8, mut goes_on: impl FnMut() -> bool) -> u64 {
    let key = Arc::new(KeyPair::from_seed(&[client; 32]));
    let options = patient();
    let mut client = Client::connect(&cluster.genesis, key, options, PATIENCE).unwrap();
    let mut command = 1_u64.to_le_bytes().to_vec();
    command.resize(60_000, 0);
    let mut count = 0;
    while goes_on() {
        client
            .submit_and_wait(Lane::Order, &command, PATIENCE)
            .unwrap();
        count += 1;
    }
    count
}

/// Adds ones without a pause until all have pruned their logs; says how many. A few seconds do, by
/// the snapshots that are taken, attested and pruned for beside such a load.
pub(crate) fn add_until_pruned(cluster: &Cluster, client: u8, nodes: &[Node]) -> u64 {
    let end = Instant::now() + 2 * PATIENCE;
    add(cluster, client, || {
        assert!(Instant::now() < end, "no log is pruned under load");
        let pruned = |node: &Node| node.metrics().log_pruned_bytes.read();
        nodes.iter().any(|node| pruned(node) == 0)
    })
}

/// So many events from the beginning of the chain on, as one validator tells them.
fn first_events(cluster: &Cluster, place: u16, count: u64) -> Vec<PublicItem> {
    let key = Arc::new(KeyPair::from_seed(&[90; 32]));
    let options = PublicOptions {
        first: ValidatorIndex::new(place),
        only_first: true,
        from: StreamPosition::BEGIN,
        ..PublicOptions::default()
    };
    let mut reader = PublicClient::new(&cluster.genesis, key, options).unwrap();
    let events = (0..count).map(|_| reader.next(PATIENCE).unwrap());
    events.collect()
}

/// What sessions were told before the last one joined, its peers alone have, and from there on it
/// tells the same.
fn private_outputs_begin_with_it(cluster: &Cluster, nodes: &[Node], joined: u64) {
    let first = StreamPosition::before(joined + 1);
    let oldest = |node: &Node| node.metrics().private_oldest.read();
    assert_eq!(oldest(&nodes[3]), first.height);
    assert_eq!(oldest(&nodes[0]), 1);
    let mut is_unheard = true;
    add(cluster, 79, || std::mem::take(&mut is_unheard));
    agree(nodes, joined);
    let end = StreamPosition::before(nodes[3].status().unwrap().state_height + 1);
    for seed in [77, 79] {
        let [mut own, mut other] = [3, 0].map(|place| client_at(cluster, seed, place));
        let since = told_to(&mut own, (first, end));
        assert_eq!(own.connected(), Some(ValidatorIndex::new(3)));
        assert_eq!(since, told_to(&mut other, (first, end)));
        assert!(
            seed == 77 || !since.is_empty(),
            "it spoke while all were there"
        );
        let all = told_to(&mut own, (StreamPosition::BEGIN, end));
        assert_ne!(own.connected(), Some(ValidatorIndex::new(3)));
        assert_eq!(all, told_to(&mut other, (StreamPosition::BEGIN, end)));
        assert!(all.len() >= since.len() && !all.is_empty());
    }
}

#[test]
fn a_node_that_its_peers_logs_do_not_reach_joins_by_a_snapshot_and_begins_anew() {
    for threading in [Threading::Shared, Threading::Dedicated] {
        let mut cluster = Cluster::with_windows("joined", 4, Durability::Async, Some(16));
        cluster.threading = threading;
        let mut nodes: Vec<Node> = (0..3).map(|place| start(&cluster, place)).collect();
        let mut count = 0;
        let was_there = threading == Threading::Dedicated;
        if was_there {
            // Long gone, with words of its own; the other one was never there.
            let gone = start(&cluster, 3);
            count += add(&cluster, 76, || gone.metrics().height.read() == 0);
            gone.shutdown(Duration::ZERO).unwrap();
        }
        count += add_until_pruned(&cluster, 77, &nodes);

        let joining = start(&cluster, 3);
        eventually("a snapshot of peers", || joining.is_finished());
        assert_eq!(joining.metrics().joining_lies.read(), 0);
        let Err(NodeFailure::SnapshotFetched { height }) = joining.wait() else {
            panic!("it ended for another reason");
        };
        let served = nodes
            .iter()
            .map(|node| node.metrics().snapshot_chunks_served.read());
        assert!(served.sum::<u64>() >= 4);
        let folder = SnapshotFolder::new(snapshots_path(&cluster.data(3)));
        assert_eq!(folder.heights().unwrap(), [height]);
        assert_eq!(height % EVERY, 0);

        // As an embedder does who is told so.
        nodes.push(start(&cluster, 3));
        assert_eq!(nodes[3].metrics().snapshot_height.read(), height);
        agree(&nodes, height);
        eventually("it votes", || nodes[3].status().unwrap().voting);
        assert_eq!(nodes[3].status().unwrap().joining, None);
        assert_eq!(nodes[3].query(b"").unwrap(), count.to_le_bytes());

        // What was told before it joined comes from the others while the load goes on.
        let is_whole = || nodes[3].metrics().events_first.read() == 1;
        count += add(&cluster, 78, || !is_whole());
        let [own, other] = [3, 0].map(|place| first_events(&cluster, place, count));
        assert_eq!(own, other);
        assert_eq!(nodes[3].metrics().events_lies.read(), 0);
        private_outputs_begin_with_it(&cluster, &nodes, height);
        let alarms = nodes.iter().map(|node| node.metrics().alarms.read());
        assert_eq!(alarms.sum::<u64>(), 0);
        stop_all(nodes);
    }
}
