//! Private outputs that memory has passed: read from disk by whose they are, at any validator, and
//! after it has started again.

use crate::support::{Cluster, PATIENCE, agree, eventually, patient, stop_all};
use quorate::client::{Client, ClientError, ClientOptions, PrivateOutput, ValidatorIndex};
use quorate::client_wire::Outcome;
use quorate::keys::KeyPair;
use quorate::node::{Node, snapshots_path};
use quorate::profiles::{Durability, Threading};
use quorate::snapshot::SnapshotFolder;
use quorate::state_machine::{Context, Lane, Output, SessionId, StateMachine};
use quorate::streams::StreamPosition;
use std::sync::Arc;

const EVERY: u64 = 64;
/// Bytes in memory of which the blocks of such a test have several times as many.
const LITTLE: usize = 64 << 10;
/// Bytes behind each output.
const FILLING: [u8; 1024] = [b' '; 1024];

/// Tells each session what it has said, and whoever spoke before as well.
#[derive(Debug, Default)]
struct Echo {
    before: Option<SessionId>,
}

impl StateMachine for Echo {
    fn sections(&self) -> &'static [&'static str] {
        &["before"]
    }

    fn apply(&mut self, context: &Context, command: &[u8], output: &mut Output) {
        output.to_session(context.session, &[command, &FILLING].concat());
        if let Some(before) = self.before.replace(context.session) {
            output.to_session(before, &[command, b" after", &FILLING].concat());
        }
    }

    fn section_root(&mut self, _section: usize) -> [u8; 32] {
        let mut bytes = Vec::new();
        self.snapshot_section(0, &mut bytes);
        bytes.resize(32, 0);
        bytes.try_into().unwrap()
    }

    fn snapshot_section(&self, _section: usize, bytes: &mut Vec<u8>) {
        bytes.extend(self.before.iter().flat_map(|before| before.0));
    }

    fn restore_section(&mut self, _section: usize, bytes: &[u8]) -> Result<(), String> {
        self.before = bytes.try_into().ok().map(SessionId);
        Ok(())
    }

    fn query(&self, _question: &[u8], _answer: &mut Vec<u8>) {}
}

/// The first keeps little in memory and the rest on disk, the second all in memory, the
/// third next to nothing, and the last both.
fn start(cluster: &Cluster, place: u16) -> Node {
    let mut config = cluster.config(place);
    config.snapshots.every_heights = EVERY;
    let limits = &mut config.limits;
    match place {
        0 => (limits.private_bytes_max, limits.private_archive_bytes_max) = (LITTLE, 1 << 30),
        1 => limits.private_archive_bytes_max = 0,
        2 => (limits.private_bytes_max, limits.private_archive_bytes_max) = (1, 0),
        _ => {}
    }
    Node::start_with_snapshots(config, Echo::default(), Echo::default()).unwrap()
}

pub(crate) fn client_at(cluster: &Cluster, seed: u8, place: u16) -> Client {
    let options = ClientOptions {
        first: ValidatorIndex::new(place),
        ..patient()
    };
    let key = Arc::new(KeyPair::from_seed(&[seed; 32]));
    Client::connect(&cluster.genesis, key, options, PATIENCE).unwrap()
}

fn say(client: &mut Client, text: &str) {
    let done = client.submit_and_wait(Lane::Order, text.as_bytes(), PATIENCE);
    assert_eq!(done.unwrap().outcome, Outcome::Applied);
}

/// A session's stream between two positions, in however many answers of whoever has it.
pub(crate) fn told_to(
    client: &mut Client,
    (from, to): (StreamPosition, StreamPosition),
) -> Vec<PrivateOutput> {
    let (mut at, mut told) = (from, Vec::new());
    while at < to {
        let piece = client.private(at, to, PATIENCE).unwrap();
        assert!(piece.next > at, "it goes on");
        told.extend(piece.outputs);
        at = piece.next;
    }
    told
}

/// All of a session's stream up to the block of a height, as one validator tells it.
fn all_of(cluster: &Cluster, seed: u8, place: u16, height: u64) -> Vec<PrivateOutput> {
    let mut client = client_at(cluster, seed, place);
    let all = (StreamPosition::BEGIN, StreamPosition::before(height + 1));
    let told = told_to(&mut client, all);
    assert_eq!(client.connected(), Some(ValidatorIndex::new(place)));
    told
}

fn texts(told: &[PrivateOutput]) -> Vec<String> {
    let text = |one: &PrivateOutput| String::from_utf8(one.bytes.clone()).unwrap();
    told.iter()
        .map(|one| text(one).trim_end().to_owned())
        .collect()
}

/// Waits until all have executed the same blocks, and says up to which height.
fn level(nodes: &[Node]) -> u64 {
    agree(nodes, 1);
    nodes[0].status().unwrap().state_height
}

/// Height of the oldest private outputs that a validator has.
fn oldest(node: &Node) -> u64 {
    node.metrics().private_oldest.read()
}

#[test]
fn what_memory_has_passed_is_read_once_and_in_order_and_after_a_restart_and_by_nobody_else() {
    for threading in [Threading::Shared, Threading::Dedicated] {
        let mut cluster = Cluster::new("private", 4, Durability::Sync);
        cluster.threading = threading;
        let mut nodes: Vec<Node> = (0..4).map(|place| start(&cluster, place)).collect();
        let (mut ann, mut ben) = (client_at(&cluster, 101, 1), client_at(&cluster, 102, 3));
        let (mut of_ann, mut of_ben) = (Vec::new(), Vec::new());
        let talk = |ann: &mut Client, ben: &mut Client, number: usize| {
            say(ann, &format!("ann {number}"));
            say(ben, &format!("ben {number}"));
        };
        let mut expect = |number: usize| {
            if number > 0 {
                of_ben.push(format!("ann {number} after"));
            }
            of_ann.extend([format!("ann {number}"), format!("ben {number} after")]);
            of_ben.push(format!("ben {number}"));
            (of_ann.clone(), of_ben.clone())
        };
        let mut expected = expect(0);
        talk(&mut ann, &mut ben, 0);
        let mut number = 0;
        let height = |nodes: &[Node]| nodes.iter().map(|node| node.metrics().height.read()).max();
        while height(&nodes) < Some(EVERY + 6) {
            number += 1;
            expected = expect(number);
            talk(&mut ann, &mut ben, number);
        }
        let end = level(&nodes);
        let both = |place| [101, 102].map(|seed| all_of(&cluster, seed, place, end));
        let told = both(1);
        assert_eq!(
            told.clone().map(|told| texts(&told)),
            [expected.0, expected.1]
        );
        for place in [0, 3] {
            assert!(both(place) == told, "{place}");
        }
        assert_eq!(all_of(&cluster, 103, 0, end), [], "nobody else's");
        // One that keeps neither says so, and so the client asks the next one.
        let mut third = client_at(&cluster, 101, 2);
        third
            .private(StreamPosition::BEGIN, StreamPosition::before(end), PATIENCE)
            .unwrap();
        assert_ne!(third.connected(), Some(ValidatorIndex::new(2)));

        // It begins with a snapshot, and has what it does not execute again.
        let folder = SnapshotFolder::new(snapshots_path(&cluster.data(0)));
        eventually("a snapshot with its certificate", || {
            folder.certificate(EVERY).unwrap().is_some()
        });
        assert_eq!(oldest(&nodes[0]), 1);
        drop(nodes.remove(0));
        nodes.insert(0, start(&cluster, 0));
        assert_eq!(nodes[0].metrics().snapshot_height.read(), EVERY);
        say(&mut ben, "last");
        let last = level(&nodes);
        assert!(both(0) == told, "after a restart");
        assert_eq!(oldest(&nodes[0]), 1);
        let more = all_of(&cluster, 102, 0, last);
        assert_eq!(texts(&more).last().map(String::as_str), Some("last after"));
        assert_eq!(more[..told[1].len()], told[1]);
        assert!(nodes.iter().all(|node| node.metrics().alarms.read() == 0));
        stop_all(nodes);
    }
}

#[test]
fn an_archive_that_is_not_wanted_any_more_is_removed_and_what_was_there_is_gone() {
    let cluster = Cluster::new("private-none", 1, Durability::Async);
    let little = |archive: u64| {
        let mut config = cluster.config(0);
        config.limits.private_bytes_max = if archive > 0 { LITTLE } else { 1 };
        config.limits.private_archive_bytes_max = archive;
        Node::start(config, Echo::default()).unwrap()
    };
    let node = little(1 << 20);
    let mut ann = client_at(&cluster, 101, 0);
    (0..5).for_each(|number| say(&mut ann, &number.to_string()));
    let end = node.status().unwrap().state_height;
    assert_eq!(all_of(&cluster, 101, 0, end).len(), 9);
    drop((ann, node));
    let node = little(0);
    assert!(!cluster.data(0).join("private").exists());
    let mut ann = client_at(&cluster, 101, 0);
    let refused = ann.private(StreamPosition::BEGIN, StreamPosition::LIVE, PATIENCE);
    assert!(
        matches!(refused, Err(ClientError::Gone { .. })),
        "{refused:?}"
    );
    assert_eq!(oldest(&node), 0);
    stop_all(vec![node]);
}
