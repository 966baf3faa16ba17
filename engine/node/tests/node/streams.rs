//! The public stream of whole nodes: the same bytes from every validator, from any position, over
//! restarts, and for readers who do not keep up.

use crate::support::{Cluster, PATIENCE, agree, eventually, patient, stop_all};
use quorate::client::{
    Client, ClientError, ClientOptions, PublicClient, PublicItem, PublicOptions, PublicReader,
    PublicUpdate,
};
use quorate::config::NodeConfig;
use quorate::keys::KeyPair;
use quorate::node::Node;
use quorate::profiles::{Durability, Threading};
use quorate::state_machine::{Context, Lane, Output, StateMachine};
use quorate::streams::StreamPosition;
use quorate_consensus::types::ValidatorIndex;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// More than anything that is asked for here.
const MUCH_BYTES: usize = 64 << 20;

/// Tells everybody each command: once, or as often as its first byte says, made longer to 4 KiB
/// where its second byte says so.
#[derive(Debug, Default)]
struct Crier {
    told: u64,
}

impl StateMachine for Crier {
    fn sections(&self) -> &'static [&'static str] {
        &["told"]
    }

    fn apply(&mut self, context: &Context, command: &[u8], output: &mut Output) {
        output.to_session(context.session, b"heard");
        let &[times, long, ..] = command else { return };
        let bytes = vec![times; if long > 0 { 4096 } else { 8 }];
        for _ in 0..times {
            self.told += 1;
            output.to_public(&[&self.told.to_le_bytes(), bytes.as_slice()].concat());
        }
    }

    fn section_root(&mut self, _section: usize) -> [u8; 32] {
        let mut root = [0; 32];
        root[..8].copy_from_slice(&self.told.to_le_bytes());
        root
    }

    fn snapshot_section(&self, _section: usize, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.told.to_le_bytes());
    }

    fn restore_section(&mut self, _section: usize, bytes: &[u8]) -> Result<(), String> {
        let bytes = bytes.try_into().map_err(|_| "eight bytes".to_owned())?;
        self.told = u64::from_le_bytes(bytes);
        Ok(())
    }

    fn query(&self, _question: &[u8], _answer: &mut Vec<u8>) {}
}

fn start_with(cluster: &Cluster, place: u16, change: impl FnOnce(&mut NodeConfig)) -> Node {
    let mut config = cluster.config(place);
    change(&mut config);
    Node::start(config, Crier::default()).unwrap()
}

fn start(cluster: &Cluster, place: u16) -> Node {
    start_with(cluster, place, |_| {})
}

fn start_all(cluster: &Cluster) -> Vec<Node> {
    (0..4).map(|place| start(cluster, place)).collect()
}

fn client(cluster: &Cluster, seed: u8) -> Client {
    let key = Arc::new(KeyPair::from_seed(&[100 + seed; 32]));
    let options = ClientOptions { ..patient() };
    Client::connect(&cluster.genesis, key, options, PATIENCE).unwrap()
}

/// A reader of one validator alone, whose key has never opened a session.
fn reader(cluster: &Cluster, place: u16, from: StreamPosition) -> PublicClient {
    let options = PublicOptions {
        first: ValidatorIndex::new(place),
        only_first: true,
        from,
        ..PublicOptions::default()
    };
    let key = Arc::new(KeyPair::from_seed(&[200; 32]));
    PublicClient::new(&cluster.genesis, key, options).unwrap()
}

fn take(reader: &mut PublicClient, count: usize) -> Vec<PublicItem> {
    (0..count).map(|_| reader.next(PATIENCE).unwrap()).collect()
}

fn say(client: &mut Client, commands: &[[u8; 2]]) {
    for command in commands {
        client
            .submit_and_wait(Lane::Order, command, PATIENCE)
            .unwrap();
    }
}

/// The sum of what is said, by the application's own count in each event.
fn assert_whole(items: &[PublicItem]) {
    for (item, number) in items.iter().zip(1_u64..) {
        assert_eq!(
            item.bytes[..8],
            number.to_le_bytes(),
            "at {}",
            item.position
        );
    }
    assert!(items.is_sorted_by(|one, next| one.position < next.position));
}

#[test]
fn every_validator_tells_the_same_bytes_and_still_does_after_a_restart() {
    for threading in [Threading::Shared, Threading::Dedicated] {
        let mut cluster = Cluster::new("public", 4, Durability::Sync);
        cluster.threading = threading;
        let mut nodes = start_all(&cluster);
        let mut live: Vec<_> = (0..4)
            .map(|place| reader(&cluster, place, StreamPosition::BEGIN))
            .collect();
        let mut client = client(&cluster, 1);
        say(&mut client, &[[1, 0], [0, 0], [3, 0], [2, 1]]);
        let first: Vec<_> = live.iter_mut().map(|one| take(one, 6)).collect();
        assert_whole(&first[0]);
        assert!(first.iter().all(|told| *told == first[0]));
        // One stops, the others go on, and it comes back.
        drop(nodes.remove(3));
        say(&mut client, &[[1, 0], [2, 0]]);
        nodes.push(start(&cluster, 3));
        say(&mut client, &[[1, 0]]);
        agree(&nodes, 1);
        let all: Vec<_> = live.iter_mut().map(|one| take(one, 4)).collect();
        assert!(
            all.iter().all(|told| *told == all[0]),
            "its reader went on without hole or double"
        );
        // Late ones, who replay all of it from each, the restarted one among them.
        let late: Vec<_> = (0..4)
            .map(|place| take(&mut reader(&cluster, place, StreamPosition::BEGIN), 10))
            .collect();
        assert_whole(&late[0]);
        assert!(late.iter().all(|told| *told == late[0]));
        assert_eq!([&first[0][..], &all[0][..]].concat(), late[0]);
        // Its stamps begin when it is level with the others.
        eventually("stamps of what the restarted one publishes", || {
            say(&mut client, &[[0, 0]]);
            let status = nodes[3].status().unwrap();
            !status.published.is_empty() && status.publish.count > 0
        });
        assert_eq!(nodes[3].status().unwrap().public_oldest, 1);
        stop_all(nodes);
    }
}

#[test]
fn a_whole_cluster_that_starts_again_numbers_nothing_anew() {
    let cluster = Cluster::new("public-again", 4, Durability::Sync);
    let nodes = start_all(&cluster);
    say(&mut client(&cluster, 1), &[[2, 0], [1, 0]]);
    let before = take(&mut reader(&cluster, 2, StreamPosition::BEGIN), 3);
    agree(&nodes, 1);
    stop_all(nodes);
    let nodes = start_all(&cluster);
    let mut again = reader(&cluster, 1, StreamPosition::BEGIN);
    assert_eq!(take(&mut again, 3), before);
    say(&mut client(&cluster, 1), &[[1, 0]]);
    assert_eq!(
        again.next(PATIENCE).unwrap().bytes[..8],
        4_u64.to_le_bytes()
    );
    stop_all(nodes);
}

#[test]
fn a_gap_is_filled_by_request_and_a_position_that_is_none_is_refused() {
    let cluster = Cluster::new("public-gap", 4, Durability::Async);
    let nodes = start_all(&cluster);
    let mut filler = reader(&cluster, 0, StreamPosition::LIVE);
    say(
        &mut client(&cluster, 1),
        &[[3, 0], [1, 0], [250, 1], [250, 1], [2, 0]],
    );
    let all = take(&mut reader(&cluster, 0, StreamPosition::BEGIN), 506);
    assert_whole(&all);
    // Longer than one answer.
    let (from, to) = (all[1].position, all[505].position);
    let (gap, end) = filler.range((from, to), MUCH_BYTES, PATIENCE).unwrap();
    assert_eq!((&gap[..], end), (&all[1..505], to));
    let (none, end) = filler.range((from, from), MUCH_BYTES, PATIENCE).unwrap();
    assert_eq!((none.len(), end), (0, from));
    let nowhere = StreamPosition {
        height: from.height,
        index: 9_999,
    };
    let refused = filler.range((nowhere, to), MUCH_BYTES, PATIENCE);
    assert!(
        matches!(refused, Err(ClientError::NoSuchPosition { position }) if position == nowhere),
        "{refused:?}"
    );
    let before = StreamPosition::before(0);
    let refused = filler.range((before, to), MUCH_BYTES, PATIENCE);
    assert!(
        matches!(refused, Err(ClientError::Gone { position, .. }) if position == before),
        "{refused:?}"
    );
    // The same where every validator is asked in turn, each of which takes the subscription.
    let key = Arc::new(KeyPair::from_seed(&[202; 32]));
    let mut anywhere = PublicClient::new(&cluster.genesis, key, PublicOptions::default()).unwrap();
    let refused = anywhere.range((before, to), MUCH_BYTES, PATIENCE);
    assert!(
        matches!(refused, Err(ClientError::Gone { position, .. }) if position == before),
        "{refused:?}"
    );
    stop_all(nodes);
}

#[test]
fn a_range_comes_in_pieces_of_so_many_bytes_and_the_subscription_waits_without_a_hole() {
    let cluster = Cluster::new("public-pieces", 4, Durability::Async);
    let nodes = start_all(&cluster);
    say(&mut client(&cluster, 1), &[[250, 1], [3, 0], [250, 1]]);
    let all = take(&mut reader(&cluster, 0, StreamPosition::BEGIN), 503);
    // All of it comes by the subscription as well, which has as much room as the range.
    let mut filler = reader(&cluster, 0, StreamPosition::BEGIN);
    let (mut at, to) = (StreamPosition::BEGIN, all[502].position);
    let (mut ranged, mut pieces) = (Vec::new(), 0);
    let bytes_max = 256 << 10;
    while at < to {
        let (piece, next) = filler.range((at, to), bytes_max, PATIENCE).unwrap();
        let bytes: usize = piece.iter().map(|item| item.bytes.len()).sum();
        assert!(!piece.is_empty() && bytes <= bytes_max, "{bytes} at {at}");
        ranged.extend(piece);
        (at, pieces) = (next, pieces + 1);
    }
    assert!(pieces > 6, "{pieces}");
    assert!(ranged[..] == all[..502]);
    assert!(take(&mut filler, 503) == all);
    stop_all(nodes);
}

#[test]
fn a_slow_reader_is_cut_and_resumes_at_another_validator_without_hole_or_double() {
    let cluster = Cluster::new("public-slow", 4, Durability::Async);
    let little = |config: &mut NodeConfig| {
        config.limits.public_bytes_max = 2 << 20;
        config.limits.public_archive_bytes_max = 0;
    };
    let mut nodes = vec![start_with(&cluster, 0, little)];
    nodes.extend((1..4).map(|place| start(&cluster, place)));
    let options = PublicOptions {
        first: ValidatorIndex::new(0),
        only_first: false,
        from: StreamPosition::BEGIN,
        ..PublicOptions::default()
    };
    let key = Arc::new(KeyPair::from_seed(&[201; 32]));
    let mut slow = PublicReader::new(&cluster.genesis, key, options).unwrap();
    let mut is_subscribed = false;
    eventually("the reader is subscribed", || {
        let turn = slow.turn(Instant::now(), Duration::from_millis(20), |update| {
            is_subscribed |= matches!(update, PublicUpdate::Subscribed { .. });
        });
        turn.unwrap();
        is_subscribed
    });
    // It reads nothing while more is told than sockets, queue and ring hold together.
    let mut client = client(&cluster, 1);
    let mut said = 0;
    eventually("the reader is cut", || {
        say(&mut client, &[[250, 1]]);
        said += 250;
        nodes[0].metrics().public_cuts.read() > 0
    });
    agree(&nodes, 1);
    let (mut seen, mut cuts) = (Vec::new(), 0);
    eventually("everything is told", || {
        let turn = slow.turn(
            Instant::now(),
            Duration::from_millis(20),
            |update| match update {
                PublicUpdate::Event(event) => seen.push(PublicItem {
                    position: event.position,
                    time_ns: event.time_ns,
                    bytes: event.bytes[..8].to_vec(),
                }),
                PublicUpdate::Cut(_) => cuts += 1,
                _ => {}
            },
        );
        turn.unwrap();
        seen.len() >= said
    });
    assert_eq!((seen.len(), cuts), (said, 1));
    assert_whole(&seen);
    assert_ne!(
        slow.connected(),
        Some(ValidatorIndex::new(0)),
        "where it was cut, it is gone"
    );
    // The little one says what it has.
    let gone = reader(&cluster, 0, StreamPosition::BEGIN).next(PATIENCE);
    assert!(
        matches!(gone, Err(ClientError::Gone { oldest, .. }) if oldest.height > 1),
        "{gone:?}"
    );
    stop_all(nodes);
}

#[test]
fn who_waits_without_an_end_is_served_like_anybody() {
    let cluster = Cluster::new("no-end", 4, Durability::Async);
    let nodes = start_all(&cluster);
    let key = Arc::new(KeyPair::from_seed(&[100; 32]));
    let options = ClientOptions {
        patience: Duration::MAX,
        ..ClientOptions::default()
    };
    let mut client = Client::connect(&cluster.genesis, key, options, Duration::MAX).unwrap();
    client
        .submit_and_wait(Lane::Order, &[2, 0], Duration::MAX)
        .unwrap();
    client.query(b"?", Duration::MAX).unwrap();
    let mut reader = reader(&cluster, 0, StreamPosition::BEGIN);
    let told: Vec<_> = (0..2)
        .map(|_| reader.next(Duration::MAX).unwrap())
        .collect();
    let (from, to) = (told[0].position, told[1].position);
    let ranged = reader.range((from, to), MUCH_BYTES, Duration::MAX).unwrap();
    assert_eq!(ranged, (told[..1].to_vec(), to));
    drop((client, reader));
    stop_all(nodes);
}
