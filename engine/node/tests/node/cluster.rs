//! Whole nodes on loopback: clients, embedding, stopping and starting again.

use crate::support::{Cluster, PATIENCE, agree, eventually, patient, stop_all};
use quorate::client::{
    Client, ClientError, ClientEvent, ClientOptions, Clients, ValidatorIndex, Waker,
};
use quorate::client_wire::{Outcome, QUESTION_BYTES_MAX, Rejection};
use quorate::keys::KeyPair;
use quorate::node::{Admission, EmbeddedSession, Node, Receiver};
use quorate::profiles::{Durability, Idle, Threading};
use quorate::results::{BlockId, BlockResults, FinalPath};
use quorate::sessions::SessionCommand;
use quorate::state_machine::Lane;
use std::sync::Arc;
use std::time::{Duration, Instant};

fn client(cluster: &Cluster, seed: u8, first: u16) -> Client {
    let key = Arc::new(KeyPair::from_seed(&[100 + seed; 32]));
    let options = ClientOptions {
        first: ValidatorIndex::new(first),
        ..patient()
    };
    Client::connect(&cluster.genesis, key, options, PATIENCE).unwrap()
}

fn add(client: &mut Client, number: u64) -> u64 {
    let done = client
        .submit_and_wait(Lane::Order, &number.to_le_bytes(), PATIENCE)
        .unwrap();
    assert_eq!(done.outcome, Outcome::Applied);
    u64::from_le_bytes(done.outputs[0].as_slice().try_into().unwrap())
}

/// Submits for as long as it takes: the first command until the session is open.
fn put(session: &mut EmbeddedSession, command: &[u8]) -> u64 {
    let end = Instant::now() + PATIENCE;
    loop {
        match session.submit(Lane::Order, command) {
            Admission::Accepted { seq } => return seq,
            Admission::Busy { .. } => std::thread::yield_now(),
            refused => panic!("{refused:?}"),
        }
        assert!(Instant::now() < end, "no room within {PATIENCE:?}");
    }
}

/// Four clients at four validators; then everybody agrees.
fn serve_and_agree(cluster: &Cluster) {
    let nodes = cluster.start_all();
    let mut sum = 0;
    for place in 0..4 {
        let mut client = client(cluster, u8::try_from(place).unwrap(), place);
        assert_eq!(client.connected(), Some(ValidatorIndex::new(place)));
        for number in 1..=5 {
            sum += number;
            assert_eq!(add(&mut client, number), sum);
        }
        assert_eq!(client.query(b"!", PATIENCE).unwrap()[0], b'!');
        let longest = client.query(&[b'?'; QUESTION_BYTES_MAX], PATIENCE).unwrap();
        assert_eq!(longest.len(), QUESTION_BYTES_MAX + 8);
        let refused = client.query(&[b'?'; QUESTION_BYTES_MAX + 1], PATIENCE);
        assert!(matches!(refused, Err(ClientError::Length { .. })));
    }
    agree(&nodes, 1);
    let answer = nodes[2].query(b"?").unwrap();
    assert_eq!(answer, [b"?".as_slice(), &sum.to_le_bytes()].concat());
    stop_all(nodes);
}

#[test]
fn a_client_of_any_validator_gets_its_results_and_all_validators_agree() {
    for durability in [Durability::Async, Durability::Sync] {
        serve_and_agree(&Cluster::new("agree", 4, durability));
    }
}

#[test]
fn every_way_of_spreading_stages_and_of_idling_serves_the_same() {
    for (threading, idle, durability) in [
        (Threading::Dedicated, Idle::Linger, Durability::Sync),
        (Threading::Shared, Idle::Park, Durability::Async),
        (Threading::Dedicated, Idle::Yield, Durability::Async),
        (Threading::Shared, Idle::Yield, Durability::Async),
    ] {
        let mut cluster = Cluster::new("spread", 4, durability);
        (cluster.threading, cluster.idle) = (threading, idle);
        serve_and_agree(&cluster);
    }
}

#[test]
fn dedicated_threads_stop_cleanly_and_go_on_and_serve_an_embedding_program() {
    let mut cluster = Cluster::new("dedicated", 4, Durability::Sync);
    cluster.threading = Threading::Dedicated;
    let key = KeyPair::from_seed(&[56; 32]).public();
    let mut begun = 0;
    for round in 0..2 {
        let nodes = cluster.start_all();
        let finalized = nodes[0].finalized();
        let mut session = nodes[0].session(key).unwrap();
        // The session is opened once, and its numbers begin with the time then.
        let next = if round > 0 { begun + 50 } else { 0 };
        assert_eq!(session.seq_next(), next);
        for number in 1..=50 {
            begun = put(&mut session, &u64::to_le_bytes(number)) + 1 - number;
        }
        let mut seen = 0;
        while seen < 50 {
            let block = finalized.recv_timeout(PATIENCE).unwrap();
            let own = block.commands.iter().filter(|one| one.seq >= begun);
            seen += own.count();
        }
        agree(&nodes, 1);
        assert_eq!(nodes[0].status().unwrap().threads, "dedicated");
        stop_all(nodes);
    }
}

#[test]
fn a_cluster_that_was_stopped_goes_on_with_the_same_state_and_sessions() {
    let cluster = Cluster::new("restart", 4, Durability::Sync);
    let nodes = cluster.start_all();
    let mut first = client(&cluster, 1, 0);
    for _ in 0..20 {
        add(&mut first, 1);
    }
    drop(first);
    agree(&nodes, 1);
    stop_all(nodes);
    let nodes = cluster.start_all();
    let mut again = client(&cluster, 1, 3);
    assert_eq!(add(&mut again, 5), 25);
    agree(&nodes, 1);
    stop_all(nodes);
}

#[test]
fn a_validator_that_is_stopped_costs_its_clients_nothing() {
    let cluster = Cluster::new("gateway", 4, Durability::Async);
    let mut nodes = cluster.start_all();
    let mut client = client(&cluster, 1, 3);
    assert_eq!(add(&mut client, 1), 1);
    nodes.remove(3).shutdown(Duration::ZERO).unwrap();
    for number in 2..=10 {
        assert_eq!(add(&mut client, 1), number);
    }
    assert_ne!(client.connected(), Some(ValidatorIndex::new(3)));
    let back = cluster.start(3);
    nodes.push(back);
    agree(&nodes, 1);
    stop_all(nodes);
}

/// A program names all types of the interface without the crates that they are of.
#[test]
fn the_interface_names_its_types() {
    let _: fn(&Node) -> Receiver<BlockResults> = Node::finalized;
    let _: fn(&Node) -> ValidatorIndex = Node::index;
    let _: fn(&Clients) -> Waker = Clients::waker;
    let _: fn(&BlockResults) -> Option<BlockId> = |block| block.id;
    let _: fn(&BlockResults) -> Option<FinalPath> = |block| block.path;
}

#[test]
fn an_embedding_program_submits_and_sees_every_finalized_block() {
    let cluster = Cluster::new("embed", 4, Durability::Async);
    let nodes = cluster.start_all();
    let finalized = nodes[1].finalized();
    let key = KeyPair::from_seed(&[55; 32]).public();
    let mut session = nodes[1].session(key).unwrap();
    let first = session.submit(Lane::Order, &1_u64.to_le_bytes());
    assert!(matches!(first, Admission::Busy { .. }), "{first:?}");
    // The opening has the number before, and is a sign of life.
    let base = put(&mut session, &1_u64.to_le_bytes()) - 1;
    let mut accepted = 2;
    while accepted < 500 {
        assert_eq!(put(&mut session, &1_u64.to_le_bytes()), base + accepted);
        accepted += 1;
    }
    let (mut seen, mut height) = (0, 0);
    while seen < accepted {
        let block = finalized.recv_timeout(PATIENCE).unwrap();
        assert!(
            height == 0 || block.height == height + 1,
            "no block is left out"
        );
        height = block.height;
        for command in &block.commands {
            let told = (command.seq, command.outcome);
            assert_eq!(told, (base + seen, Outcome::Applied));
            seen += 1;
            assert!(command.finality_ns > 0);
        }
    }
    agree(&nodes, height);
    // Of heights that nobody takes the newest stands, so the last one comes in the end.
    let durable = nodes[1].durable();
    let mut survives = 0;
    while survives < height {
        let next = durable.recv_timeout(PATIENCE).unwrap();
        assert!(next > survives, "durable heights only rise");
        survives = next;
    }
    let mut again = nodes[1].session(key).unwrap();
    assert_eq!(again.seq_next(), base + accepted);
    assert!(matches!(
        again.submit(Lane::Order, b"12345678"),
        Admission::Accepted { .. }
    ));
    stop_all(nodes);
}

#[test]
fn an_embedding_program_ends_its_session() {
    let cluster = Cluster::new("embed-end", 4, Durability::Async);
    let nodes = cluster.start_all();
    let finalized = nodes[1].finalized();
    let key = KeyPair::from_seed(&[157; 32]).public();
    let mut session = nodes[1].session(key).unwrap();
    let first = put(&mut session, &1_u64.to_le_bytes());
    let Admission::Accepted { seq: last } = session.submit_session(SessionCommand::Close) else {
        panic!("it is open");
    };
    assert_eq!(last, first + 1);
    let mut outcomes = Vec::new();
    while outcomes.len() < 3 {
        let block = finalized.recv_timeout(PATIENCE).unwrap();
        outcomes.extend(block.commands.iter().map(|command| command.outcome));
    }
    assert_eq!(outcomes, [Outcome::Applied; 3]);
    // The program is told that nothing is taken any more, and then opens it anew.
    let mut lost = None;
    eventually("it is told", || {
        if let Admission::Lost { seq, rejection } = session.submit(Lane::Order, b"12345678") {
            lost = Some((seq, rejection));
        }
        lost.is_some()
    });
    let (seq, rejection) = lost.unwrap();
    assert_eq!(rejection, Rejection::SessionEnded);
    assert!(seq > last, "{seq} behind {last}");
    let anew = put(&mut session, &1_u64.to_le_bytes());
    assert!(anew > seq, "{anew} behind {seq}");
    let ours = |block: &BlockResults| {
        let results = block.commands.iter().find(|result| result.seq == anew);
        results.map(|result| result.outcome)
    };
    let outcome = loop {
        if let Some(outcome) = ours(&finalized.recv_timeout(PATIENCE).unwrap()) {
            break outcome;
        }
    };
    assert_eq!(outcome, Outcome::Applied);
    // Whoever has the key goes on behind all that it had.
    let key = Arc::new(KeyPair::from_seed(&[157; 32]));
    let mut late = Client::connect(&cluster.genesis, key, patient(), PATIENCE).unwrap();
    let again = late
        .submit_and_wait(Lane::Order, &1_u64.to_le_bytes(), PATIENCE)
        .unwrap();
    assert_eq!(again.outcome, Outcome::Applied);
    assert!(again.seq > last, "{} behind {last}", again.seq);
    stop_all(nodes);
}

#[test]
fn status_tells_what_a_validator_is_doing() {
    let cluster = Cluster::new("status", 4, Durability::Async);
    let nodes = cluster.start_all();
    let mut client = client(&cluster, 1, 2);
    for _ in 0..10 {
        add(&mut client, 1);
    }
    eventually("all peers connected", || {
        nodes
            .iter()
            .all(|node| node.status().unwrap().connected == 3)
    });
    let json = client.status(PATIENCE).unwrap();
    let status: quorate::status::NodeStatus = serde_json::from_str(&json).unwrap();
    assert_eq!(status.index, 2);
    assert!(status.height >= 1 && status.voting, "{json}");
    assert_eq!(status.commands_finalized, 11, "with the opening");
    assert_eq!(status.finality.count, 11);
    let (height, root) = client.state_root(PATIENCE).unwrap();
    let root: String = root.iter().map(|byte| format!("{byte:02x}")).collect();
    assert!(height > status.state_height || root == status.state_root);
    stop_all(nodes);
}

#[test]
fn a_session_lives_by_its_heartbeats_and_ends_when_it_says_so_until_it_is_opened_anew() {
    let cluster = Cluster::new("ends", 4, Durability::Async);
    let nodes = cluster.start_all();
    let mut client = client(&cluster, 9, 0);
    assert_eq!(add(&mut client, 5), 5);
    let declare = SessionCommand::Timeout(60_000_000_000);
    let done = client.tell_session(declare, PATIENCE).unwrap();
    assert_eq!(done.outcome, Outcome::Applied);
    let second = done.seq;
    assert!(done.outputs.is_empty(), "it is not the application's");
    let done = client.tell_session(SessionCommand::Heartbeat, PATIENCE);
    assert_eq!(done.unwrap().seq, second + 1);
    // A client that lost its memory asks where its numbers stand: whoever has applied them all.
    agree(&nodes, 1);
    let mut again = self::client(&cluster, 9, 1);
    assert_eq!(add(&mut again, 6), 11);
    let done = again.tell_session(SessionCommand::Close, PATIENCE).unwrap();
    assert_eq!((done.seq, done.outcome), (second + 3, Outcome::Applied));
    let ended = again.submit_and_wait(Lane::Order, b"12345678", PATIENCE);
    assert!(matches!(
        ended,
        Err(ClientError::Rejected(Rejection::SessionEnded))
    ));
    agree(&nodes, 1);
    let key = Arc::new(KeyPair::from_seed(&[109; 32]));
    let options = patient();
    let mut anew = Client::connect(&cluster.genesis, key, options, PATIENCE).unwrap();
    let one = 1_u64.to_le_bytes();
    let done = anew.submit_and_wait(Lane::Order, &one, PATIENCE).unwrap();
    assert_eq!(done.outcome, Outcome::Applied);
    assert!(done.seq > second + 3, "above all numbers of before");
    agree(&nodes, 1);
    stop_all(nodes);
}

/// Both of two found no session, and one of them opened it; and it is closed while one goes on.
#[test]
fn a_client_whose_session_is_another_one_than_it_took_it_for_goes_on_by_itself() {
    let cluster = Cluster::new("astray", 4, Durability::Async);
    let nodes = cluster.start_all();
    let mut late = client(&cluster, 11, 0);
    let mut early = client(&cluster, 11, 0);
    let one = 1_u64.to_le_bytes();
    let opened = early.submit_and_wait(Lane::Order, &one, PATIENCE).unwrap();
    agree(&nodes, 1);
    let declare = SessionCommand::Timeout(60_000_000_000);
    let refused = late.tell_session(declare, PATIENCE);
    let is_open = |end| matches!(end, Err(ClientError::Rejected(Rejection::SessionOpen)));
    assert!(is_open(refused));
    let done = late.submit_and_wait(Lane::Order, &one, PATIENCE).unwrap();
    assert_eq!(done.outcome, Outcome::Applied);
    assert_eq!(done.seq, opened.seq + 2, "behind the time-out");
    late.tell_session(SessionCommand::Close, PATIENCE).unwrap();
    agree(&nodes, 1);
    let ended = late.submit_and_wait(Lane::Order, &one, PATIENCE);
    assert!(matches!(
        ended,
        Err(ClientError::Rejected(Rejection::SessionEnded))
    ));
    let seq = late.submit(Lane::Order, &one).unwrap();
    assert!(seq > done.seq + 1, "of a session that is opened anew");
    let mut outcome = None;
    eventually("it is applied", || {
        late.turn(Duration::from_millis(20), |of, end| {
            outcome = (of == seq).then(|| end.unwrap().outcome).or(outcome);
        })
        .unwrap();
        outcome == Some(Outcome::Applied)
    });
    stop_all(nodes);
}

#[test]
fn a_client_that_has_declared_a_time_out_gives_signs_of_life_by_itself() {
    let cluster = Cluster::new("beats", 4, Durability::Async);
    let nodes = cluster.start_all();
    let mut clients = Clients::new(&cluster.genesis).unwrap();
    let key = Arc::new(KeyPair::from_seed(&[110; 32]));
    let client = clients.add(key, patient());
    // As short as it may be; a zero of it would be a flood.
    let declare = SessionCommand::Timeout(1);
    let first = clients.tell_session(client, declare, Instant::now());
    let first = first.unwrap();
    let mut seqs = Vec::new();
    eventually("three signs of life", || {
        let pause = Some(Duration::from_millis(20));
        let on_event = |_, event: ClientEvent<'_>| {
            if let ClientEvent::Result { result, .. } = event {
                seqs.push(result.item.seq);
            }
        };
        clients.turn(Instant::now(), pause, on_event).unwrap();
        seqs.len() >= 4
    });
    assert_eq!(seqs[..4], [first, first + 1, first + 2, first + 3]);
    stop_all(nodes);
}

/// Whoever sent it was told that it is accepted: it must not be lost by a planned stop.
#[test]
fn a_stop_lets_what_was_accepted_become_final_as_long_as_its_time_lasts() {
    for threading in [Threading::Dedicated, Threading::Shared] {
        let mut cluster = Cluster::new("drain", 4, Durability::Sync);
        cluster.threading = threading;
        let mut nodes = cluster.start_all();
        let key = KeyPair::from_seed(&[58; 32]).public();
        let mut session = nodes[0].session(key).unwrap();
        let first = put(&mut session, &1_u64.to_le_bytes());
        // Not only the opening is final, which has a block of its own.
        let waiting = |node: &Node| node.status().unwrap().pool_commands;
        eventually("the pool is empty", || waiting(&nodes[0]) == 0);
        agree(&nodes, 1);
        // Nothing becomes final by two alone.
        for node in nodes.drain(2..) {
            node.shutdown(Duration::ZERO).unwrap();
        }
        let finalized = nodes[0].finalized();
        let last = (0..10).map(|_| put(&mut session, &1_u64.to_le_bytes()));
        let last = last.max().unwrap();
        eventually("they are in the pool", || waiting(&nodes[0]) >= 10);
        let stopped = nodes.remove(0);
        let stopping = std::thread::spawn(move || stopped.shutdown(PATIENCE));
        eventually("it admits nothing", || {
            let admission = session.submit(Lane::Order, &1_u64.to_le_bytes());
            admission == Admission::Rejected(Rejection::Stopping)
        });
        nodes.extend([2, 3].map(|place| cluster.start(place)));
        stopping.join().unwrap().unwrap();
        let blocks = finalized.try_iter();
        let seqs = blocks.flat_map(|block| block.commands.into_iter().map(|one| one.seq));
        let seqs: Vec<_> = seqs
            .filter(|seq| (first + 1..=last).contains(seq))
            .collect();
        assert_eq!(seqs, (first + 1..=last).collect::<Vec<_>>());
        stop_all(nodes);
    }
}
