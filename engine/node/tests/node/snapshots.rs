//! Snapshots of whole nodes: taken beside the work, vouched for by the others, started from.

use crate::support::{Adder, Cluster, PATIENCE, agree, eventually, patient, stop_all};
use quorate::client::{Client, ClientOptions};
use quorate::keys::KeyPair;
use quorate::node::{Node, snapshots_path};
use quorate::profiles::{Durability, Threading};
use quorate::snapshot::SnapshotFolder;
use quorate::state_machine::{Context, Lane, Output, StateMachine};
use quorate_consensus::types::ValidatorIndex;
use quorate_consensus::wire;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};

const EVERY: u64 = 64;

fn start(cluster: &Cluster, place: u16) -> Node {
    let mut config = cluster.config(place);
    config.snapshots.every_heights = EVERY;
    Node::start_with_snapshots(config, Adder::default(), Adder::default()).unwrap()
}

fn start_all(cluster: &Cluster) -> Vec<Node> {
    (0..4).map(|place| start(cluster, place)).collect()
}

fn folder(cluster: &Cluster, place: u16) -> SnapshotFolder {
    SnapshotFolder::new(snapshots_path(&cluster.data(place)))
}

fn client(cluster: &Cluster) -> Client {
    let key = Arc::new(KeyPair::from_seed(&[77; 32]));
    Client::connect(&cluster.genesis, key, patient(), PATIENCE).unwrap()
}

/// One command a block, until the chain is a little above a snapshot's height.
fn pass_a_snapshot(cluster: &Cluster, nodes: &[Node]) -> u64 {
    let mut client = client(cluster);
    let mut count = 0;
    // Of the one that is furthest: another one may be far behind where all share few cores.
    let height = || nodes.iter().map(|node| node.metrics().height.read()).max();
    while height() < Some(EVERY + 6) {
        client
            .submit_and_wait(Lane::Order, &1_u64.to_le_bytes(), PATIENCE)
            .unwrap();
        count += 1;
    }
    count
}

#[test]
fn snapshots_are_vouched_for_and_a_start_begins_with_the_newest_one() {
    for threading in [Threading::Shared, Threading::Dedicated] {
        let mut cluster = Cluster::new("snapshots", 4, Durability::Sync);
        cluster.threading = threading;
        let nodes = start_all(&cluster);
        let count = pass_a_snapshot(&cluster, &nodes);
        let mut roots = Vec::new();
        for place in 0..4 {
            let folder = folder(&cluster, place);
            eventually("a snapshot with its certificate", || {
                folder.certificate(EVERY).unwrap().is_some()
            });
            let manifest = folder.verify(EVERY).unwrap();
            let bytes = folder.certificate(EVERY).unwrap().unwrap();
            let certificate = wire::decode_state_certificate(&bytes).unwrap();
            assert_eq!(certificate.statement.snapshot, Some(manifest.root()));
            roots.push(manifest.root());
        }
        assert!(roots.windows(2).all(|pair| pair[0] == pair[1]));
        assert!(nodes.iter().all(|node| node.metrics().alarms.read() == 0));
        stop_all(nodes);

        // One of them is damaged: it is passed over.
        let data = snapshots_path(&cluster.data(3)).join("snapshot-00000000000000000064.data");
        let mut bytes = std::fs::read(&data).unwrap();
        bytes[0] ^= 1;
        std::fs::write(&data, &bytes).unwrap();
        let nodes = start_all(&cluster);
        let begun: Vec<u64> = nodes
            .iter()
            .map(|node| node.metrics().snapshot_height.read())
            .collect();
        assert_eq!(begun, [EVERY, EVERY, EVERY, 0]);
        agree(&nodes, EVERY + 6);
        for node in &nodes {
            assert_eq!(node.query(b"").unwrap(), count.to_le_bytes());
        }
        // The session goes on where it was.
        let mut client = client(&cluster);
        client
            .submit_and_wait(Lane::Order, &1_u64.to_le_bytes(), PATIENCE)
            .unwrap();
        stop_all(nodes);
    }
}

#[test]
fn a_snapshot_can_be_asked_for_at_any_time() {
    let cluster = Cluster::new("asked", 4, Durability::Async);
    let start = |place| {
        let mut config = cluster.config(place);
        config.snapshots.every_heights = 0;
        Node::start_with_snapshots(config, Adder::default(), Adder::default()).unwrap()
    };
    let nodes: Vec<Node> = (0..4).map(start).collect();
    pass_a_snapshot(&cluster, &nodes);
    assert!(folder(&cluster, 1).heights().unwrap().is_empty());
    nodes[1].take_snapshot();
    // The chain may have gone on past the next such height meanwhile.
    eventually("the snapshot", || {
        let heights = folder(&cluster, 1).heights().unwrap();
        matches!(heights[..], [height] if height.is_multiple_of(EVERY))
    });
    assert!(folder(&cluster, 2).heights().unwrap().is_empty());
    stop_all(nodes);
}

#[test]
fn a_snapshot_of_a_height_that_the_log_does_not_reach_is_refused() {
    let cluster = Cluster::new("ahead", 4, Durability::Sync);
    let nodes = start_all(&cluster);
    pass_a_snapshot(&cluster, &nodes);
    eventually("a snapshot", || {
        !folder(&cluster, 0).heights().unwrap().is_empty()
    });
    stop_all(nodes);
    // A log that was lost and made anew, beside the snapshots of the old one.
    std::fs::remove_dir_all(quorate::node::log_path(&cluster.data(0))).unwrap();
    quorate::node::initialize(&cluster.config(0)).unwrap();
    let refused = cluster.try_start(0).err().unwrap();
    let cause = std::error::Error::source(&refused).unwrap().to_string();
    assert!(cause.contains("ahead of the log"), "{cause}");
}

/// Holds up whoever writes a snapshot until it is opened.
#[derive(Debug, Default)]
struct Gate {
    has_arrived: AtomicBool,
    is_open: Mutex<bool>,
    opened: Condvar,
}

impl Gate {
    fn pass(&self) {
        self.has_arrived.store(true, Ordering::Release);
        let mut is_open = self.is_open.lock().unwrap();
        while !*is_open {
            is_open = self.opened.wait(is_open).unwrap();
        }
    }

    fn open(&self) {
        *self.is_open.lock().unwrap() = true;
        self.opened.notify_all();
    }
}

/// An adder whose state takes as long to write as its gate says.
#[derive(Debug, Default)]
struct Slow {
    adder: Adder,
    gate: Option<Arc<Gate>>,
}

impl StateMachine for Slow {
    fn sections(&self) -> &'static [&'static str] {
        self.adder.sections()
    }

    fn apply(&mut self, context: &Context, command: &[u8], output: &mut Output) {
        self.adder.apply(context, command, output);
    }

    fn section_root(&mut self, section: usize) -> [u8; 32] {
        self.adder.section_root(section)
    }

    fn snapshot_section(&self, section: usize, bytes: &mut Vec<u8>) {
        if let Some(gate) = &self.gate {
            gate.pass();
        }
        self.adder.snapshot_section(section, bytes);
    }

    fn restore_section(&mut self, section: usize, bytes: &[u8]) -> Result<(), String> {
        self.adder.restore_section(section, bytes)
    }

    fn query(&self, question: &[u8], answer: &mut Vec<u8>) {
        self.adder.query(question, answer);
    }
}

#[test]
fn a_validator_serves_while_its_snapshot_takes_as_long_as_it_likes() {
    for threading in [Threading::Shared, Threading::Dedicated] {
        let mut cluster = Cluster::new("slow", 4, Durability::Async);
        cluster.threading = threading;
        let gate = Arc::new(Gate::default());
        let start = |place| {
            let mut config = cluster.config(place);
            config.snapshots.every_heights = EVERY;
            let second = Slow {
                gate: (place == 0).then(|| Arc::clone(&gate)),
                ..Slow::default()
            };
            Node::start_with_snapshots(config, Slow::default(), second).unwrap()
        };
        let nodes: Vec<Node> = (0..4).map(start).collect();
        pass_a_snapshot(&cluster, &nodes);
        eventually("the snapshot has begun", || {
            gate.has_arrived.load(Ordering::Acquire)
        });
        // It is not done, and will not be for now; its own clients notice nothing of it.
        let options = ClientOptions {
            first: ValidatorIndex::new(0),
            ..patient()
        };
        let key = Arc::new(KeyPair::from_seed(&[78; 32]));
        let mut client = Client::connect(&cluster.genesis, key, options, PATIENCE).unwrap();
        for _ in 0..10 {
            client
                .submit_and_wait(Lane::Order, &1_u64.to_le_bytes(), PATIENCE)
                .unwrap();
        }
        assert_eq!(client.connected(), Some(ValidatorIndex::new(0)));
        assert!(folder(&cluster, 0).heights().unwrap().is_empty());
        gate.open();
        eventually("the snapshot", || {
            !folder(&cluster, 0).heights().unwrap().is_empty()
        });
        stop_all(nodes);
    }
}

#[test]
fn validators_prune_their_logs_below_an_attested_snapshot_and_start_again() {
    let cluster = Cluster::with_windows("pruned", 4, Durability::Async, Some(16));
    let start = |place| {
        let mut config = cluster.config(place);
        config.snapshots.every_heights = EVERY;
        config.log.segment_bytes = 1_310_720;
        config.log.bytes_max = 1;
        Node::start_with_snapshots(config, Adder::default(), Adder::default()).unwrap()
    };
    let nodes: Vec<Node> = (0..4).map(start).collect();
    let mut first_client = client(&cluster);
    let mut command = 1_u64.to_le_bytes().to_vec();
    command.resize(60_000, 0);
    let mut count = 0_u64;
    let mut submit = |client: &mut Client| {
        let sent = client.submit_and_wait(Lane::Order, &command, PATIENCE);
        sent.unwrap();
        count += 1;
        count
    };
    let first_segment = |place| {
        let log = quorate::node::log_path(&cluster.data(place));
        quorate_log::verify_path(&log)
            .unwrap()
            .start
            .offset
            .segment()
    };
    // The snapshot of height 256 and a proof before it stand behind the first segment.
    while nodes[0].metrics().height.read() < 4 * EVERY + 6 {
        submit(&mut first_client);
    }
    eventually("old segments go", || {
        let mut gone = nodes
            .iter()
            .map(|node| node.metrics().log_pruned_bytes.read());
        gone.all(|bytes| bytes > 0)
    });
    let status = nodes[0].status().unwrap();
    assert!(status.log_bytes > 0 && status.log_bytes_max == 1);
    drop(first_client);
    stop_all(nodes);
    assert!((0..4).all(|place| first_segment(place) > 0));

    let nodes: Vec<Node> = (0..4).map(start).collect();
    agree(&nodes, 4 * EVERY + 6);
    let count = submit(&mut client(&cluster));
    eventually("the sum is the same at all", || {
        let sums = nodes.iter().map(|node| node.query(b"").unwrap());
        sums.into_iter().all(|sum| sum == count.to_le_bytes())
    });
    assert!(nodes.iter().all(|node| node.metrics().alarms.read() == 0));
    stop_all(nodes);
}
