//! A whole node that lacks older public events, and a peer on the wire that lies about them.

use crate::support::{Adder, Cluster, PATIENCE, eventually, key, patient, stop_all};
use quorate::client::{Client, ClientError, PublicClient, PublicItem, PublicOptions};
use quorate::client_wire::PublicFrame;
use quorate::keys::KeyPair;
use quorate::node::Node;
use quorate::profiles::{Durability, Threading};
use quorate::state_machine::{Context, Lane, Output, StateMachine};
use quorate::streams::StreamPosition;
use quorate_consensus::message::{EventStretch, Message, SnapshotPart};
use quorate_consensus::signing::hello_message;
use quorate_consensus::types::{Height, ValidatorIndex};
use quorate_consensus::validators::ValidatorSet;
use quorate_consensus::{verify, wire};
use quorate_net::{
    Authenticator, ChainIds, Class, ClientId, CloseReason, Handler, Limits, Net, NetConfig,
};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const EVERY: u64 = 64;
/// The first that is asked.
const LIAR: u16 = 1;
/// Who lacks them.
const ASKER: u16 = 3;
/// Events of one answer of the liar: what it says takes several.
const PIECE: usize = 25;

/// An adder that tells everybody each sum.
#[derive(Debug, Default)]
struct Telling(Adder);

impl StateMachine for Telling {
    fn sections(&self) -> &'static [&'static str] {
        self.0.sections()
    }

    fn apply(&mut self, context: &Context, command: &[u8], output: &mut Output) {
        self.0.apply(context, command, output);
        output.to_public(&self.0.sum.to_le_bytes());
    }

    fn section_root(&mut self, section: usize) -> [u8; 32] {
        self.0.section_root(section)
    }

    fn snapshot_section(&self, section: usize, bytes: &mut Vec<u8>) {
        self.0.snapshot_section(section, bytes);
    }

    fn restore_section(&mut self, section: usize, bytes: &[u8]) -> Result<(), String> {
        self.0.restore_section(section, bytes)
    }

    fn query(&self, question: &[u8], answer: &mut Vec<u8>) {
        self.0.query(question, answer);
    }
}

fn start(cluster: &Cluster, place: u16) -> Node {
    let mut config = cluster.config(place);
    config.snapshots.every_heights = EVERY;
    Node::start_with_snapshots(config, Telling::default(), Telling::default()).unwrap()
}

fn reader(cluster: &Cluster, place: u16, from: StreamPosition) -> PublicClient {
    let options = PublicOptions {
        first: ValidatorIndex::new(place),
        only_first: true,
        from,
        ..PublicOptions::default()
    };
    let key = Arc::new(KeyPair::from_seed(&[90; 32]));
    PublicClient::new(&cluster.genesis, key, options).unwrap()
}

/// Everything before a height, as one validator tells it.
fn told(cluster: &Cluster, place: u16, below: u64) -> Vec<PublicItem> {
    let mut reader = reader(cluster, place, StreamPosition::LIVE);
    let stretch = (StreamPosition::BEGIN, StreamPosition::before(below));
    reader.range(stretch, usize::MAX, PATIENCE).unwrap().0
}

/// What a liar makes of the last answer of a stretch: of the events in it, and of its bytes.
#[derive(Clone, Copy)]
struct Lie {
    what: &'static str,
    events: fn(&mut Vec<PublicItem>),
    frame: fn(&mut Vec<u8>),
}

const LIES: [Lie; 6] = [
    Lie {
        what: "a wrong byte",
        events: |all| all[3].bytes[0] ^= 1,
        frame: |_| {},
    },
    Lie {
        what: "an event in the block before its own",
        events: |all| {
            all[1].position = all[0].position;
            all[1].position.index += 1;
        },
        frame: |_| {},
    },
    Lie {
        what: "two events in one another's place",
        events: |all| {
            let (one, next) = (all[0].bytes.clone(), all[1].bytes.clone());
            (all[0].bytes, all[1].bytes) = (next, one);
        },
        frame: |_| {},
    },
    Lie {
        what: "cut, and said to be whole",
        events: |all| all.truncate(4),
        frame: |_| {},
    },
    Lie {
        what: "cut in its bytes",
        events: |_| {},
        frame: |bytes| bytes.truncate(bytes.len() - 3),
    },
    Lie {
        what: "one event twice",
        events: |all| {
            let mut last = all.last().unwrap().clone();
            last.position.index += 1;
            all.push(last);
        },
        frame: |_| {},
    },
];

/// A validator that knows the events and nothing else, and tells them as its lie is.
struct Liar {
    truth: Vec<PublicItem>,
    lie: Lie,
    asked: Arc<AtomicU64>,
    replies: Vec<(u16, Vec<u8>)>,
}

impl Liar {
    fn answer(&self, below: u64, from: StreamPosition) -> EventStretch {
        let end = StreamPosition::before(below);
        let all = self.truth.iter();
        let all = all.filter(|item| (from..end).contains(&item.position));
        let mut all: Vec<PublicItem> = all.cloned().collect();
        let is_last = all.len() <= PIECE;
        let next = all.get(PIECE).map_or(end, |item| item.position);
        all.truncate(PIECE);
        if is_last {
            (self.lie.events)(&mut all);
        }
        let mut frame = PublicFrame::default();
        frame.begin(None, 0, from);
        let mut height = 0;
        for item in &all {
            if item.position.height != height {
                height = item.position.height;
                frame.begin_block(height, item.time_ns, item.position.index);
            }
            frame.push(&item.bytes);
        }
        frame.finish(next);
        let mut bytes = frame.bytes().to_vec();
        if is_last {
            (self.lie.frame)(&mut bytes);
        }
        EventStretch {
            first: Height::new(1),
            tops: Vec::new(),
            frame: bytes.into(),
        }
    }
}

impl Handler for Liar {
    fn peer_up(&mut self, _: u16, _: u64) {}
    fn peer_down(&mut self, _: u16, _: CloseReason) {}
    fn client_up(&mut self, _: ClientId, _: [u8; 32]) {}
    fn client_down(&mut self, _: ClientId) {}
    fn client_frame(&mut self, _: ClientId, _: &[u8]) {}

    fn peer_frame(&mut self, peer: u16, frame: &[u8]) {
        let message = wire::decode(frame).unwrap().into_message();
        let Message::Snapshot(SnapshotPart::GetEvents { below, from }) = message else {
            return;
        };
        self.asked.fetch_add(1, Ordering::AcqRel);
        let from = from.map_or(StreamPosition::BEGIN, |(height, index)| StreamPosition {
            height: height.number(),
            index,
        });
        let stretch = Some(Box::new(self.answer(below.number(), from)));
        let part = SnapshotPart::Events { below, stretch };
        let mut bytes = Vec::new();
        wire::encode(&Message::Snapshot(part), &mut bytes);
        self.replies.push((peer, bytes));
    }
}

/// Signs as the validator whose key it has.
struct Identity(Arc<ValidatorSet>);

impl Authenticator for Identity {
    fn sign_hello(&self, handshake_hash: &[u8; 32], peer: u16) -> [u8; 64] {
        key(LIAR).sign(&hello_message(&self.0, handshake_hash, LIAR, peer))
    }

    fn verify_hello(&self, hash: &[u8; 32], signer: u16, to: u16, signature: &[u8; 64]) -> bool {
        let member = self.0.validator(ValidatorIndex::new(signer)).unwrap();
        let message = hello_message(&self.0, hash, signer, to);
        verify::single(&member.key, &message, signature)
    }

    fn verify_login(&self, _: &[u8; 32], _: &[u8; 32], _: &[u8; 64]) -> bool {
        false
    }
}

/// Turns without a question after which none is on its way.
const IDLE_TURNS: u64 = 20;

/// The liar on the wire, until it is dropped.
struct Lying {
    asked: Arc<AtomicU64>,
    /// Turns since it was asked last.
    idle: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Lying {
    fn start(cluster: &Cluster, truth: &[PublicItem], lie: Lie, incarnation: u64) -> Self {
        let genesis = &cluster.genesis;
        let members = genesis.file().validators.iter().zip(0_u16..);
        let peers = members.map(|(member, index)| (index, member.peer_address.clone()));
        let (own, peers): (Vec<_>, Vec<_>) = peers.partition(|(index, _)| *index == LIAR);
        let config = NetConfig {
            index: LIAR,
            incarnation,
            chain: ChainIds {
                chain_id: *genesis.chain_id(),
                genesis_hash: *genesis.hash(),
            },
            peer_listen: own[0].1.clone(),
            client_listen: None,
            peers,
            limits: Limits::default(),
            jitter_seed: 1,
        };
        let identity = Identity(Arc::clone(genesis.validator_set()));
        let mut net = Net::bind(config, Arc::new(identity)).unwrap();
        let (asked, stop) = (Arc::<AtomicU64>::default(), Arc::<AtomicBool>::default());
        let mut liar = Liar {
            truth: truth.to_vec(),
            lie,
            asked: Arc::clone(&asked),
            replies: Vec::new(),
        };
        let idle = Arc::<AtomicU64>::default();
        let (is_over, turns) = (Arc::clone(&stop), Arc::clone(&idle));
        let thread = std::thread::spawn(move || {
            while !is_over.load(Ordering::Acquire) {
                let pause = Some(Duration::from_millis(20));
                let before = liar.asked.load(Ordering::Relaxed);
                net.turn(Instant::now(), pause, &mut liar).unwrap();
                if liar.asked.load(Ordering::Relaxed) == before {
                    turns.fetch_add(1, Ordering::Release);
                } else {
                    turns.store(0, Ordering::Release);
                }
                for (peer, frame) in liar.replies.drain(..) {
                    // A link that was just lost: it is asked again.
                    net.send_peer(peer, &frame, Class::Bulk).ok();
                }
                net.flush();
            }
        });
        Self {
            asked,
            idle,
            stop,
            thread: Some(thread),
        }
    }
}

impl Drop for Lying {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(std::thread::panicking() || ended.is_some_and(|ended| ended.is_ok()));
    }
}

/// A chain that is a little longer than to its first snapshot, everything before it as an honest
/// validator tells it, and all of them stopped.
fn past(cluster: &Cluster) -> Vec<PublicItem> {
    let nodes: Vec<Node> = (0..4).map(|place| start(cluster, place)).collect();
    let client = Arc::new(KeyPair::from_seed(&[77; 32]));
    let options = patient();
    let mut client = Client::connect(&cluster.genesis, client, options, PATIENCE).unwrap();
    let is_past = |node: &Node| {
        let metrics = node.metrics();
        metrics.height.read() > EVERY + 6 && metrics.snapshot_height.read() >= EVERY
    };
    while !nodes.iter().all(is_past) {
        client
            .submit_and_wait(Lane::Order, &1_u64.to_le_bytes(), PATIENCE)
            .unwrap();
    }
    let truth = told(cluster, 0, EVERY + 1);
    assert!(truth.len() > 2 * PIECE, "{}", truth.len());
    drop(client);
    stop_all(nodes);
    truth
}

fn archive_path(cluster: &Cluster) -> PathBuf {
    cluster.data(ASKER).join("public")
}

fn archived(cluster: &Cluster) -> BTreeSet<OsString> {
    let found = std::fs::read_dir(archive_path(cluster)).unwrap();
    found.map(|entry| entry.unwrap().file_name()).collect()
}

/// Begins without older events and beside the liar alone; then the others come.
fn lie_to_a_node(cluster: &Cluster, truth: &[PublicItem], lie: Lie, incarnation: u64) {
    let what = lie.what;
    std::fs::remove_dir_all(archive_path(cluster)).unwrap();
    let liar = Lying::start(cluster, truth, lie, incarnation);
    let asker = start(cluster, ASKER);
    eventually("the lie is found", || {
        asker.metrics().events_lies.read() == 1
    });
    // What was asked before the lie was found may be on its way still.
    eventually("nothing more is asked of the liar", || {
        liar.idle.load(Ordering::Acquire) > IDLE_TURNS
    });
    // It had taken what was true of it.
    let asked = liar.asked.load(Ordering::Acquire);
    assert!(asked > 1, "{what}: {asked}");
    let first = asker.metrics().events_first.read();
    assert!(first > EVERY, "{what}: {first}");
    let stored = archived(cluster);
    assert_eq!(stored.len(), 1, "{what}: {stored:?}");
    let gone = reader(cluster, ASKER, StreamPosition::BEGIN).next(PATIENCE);
    let oldest = StreamPosition::before(first);
    assert!(
        matches!(&gone, Err(ClientError::Gone { oldest: at, .. }) if *at == oldest),
        "{what}: {gone:?}"
    );

    let mut nodes: Vec<Node> = [0, 2].map(|place| start(cluster, place)).into();
    eventually("the others are asked", || {
        asker.metrics().events_first.read() == 1
    });
    assert!(told(cluster, ASKER, EVERY + 1) == truth, "{what}");
    assert_eq!(liar.asked.load(Ordering::Acquire), asked, "{what}: again");
    assert_eq!(asker.metrics().events_lies.read(), 1, "{what}");
    assert!(asker.metrics().is_serving(), "{what}");
    nodes.push(asker);
    stop_all(nodes);
}

#[test]
fn a_peer_that_lies_about_older_events_is_found_out_and_the_next_one_is_asked() {
    for threading in [Threading::Shared, Threading::Dedicated] {
        let mut cluster = Cluster::new("older", 4, Durability::Async);
        cluster.threading = threading;
        let truth = past(&cluster);
        let is_dedicated = threading == Threading::Dedicated;
        let lies = LIES.into_iter().skip(usize::from(is_dedicated)).step_by(2);
        for (lie, incarnation) in lies.zip(1_000..) {
            lie_to_a_node(&cluster, &truth, lie, incarnation);
        }
    }
}
