//! Clients of a validator that hangs: its connections stay up, and nothing comes of it any more.

use crate::support::{Cluster, PATIENCE, eventually, patient, stop_all};
use quorate::client::{Client, ClientOptions, PublicClient, PublicOptions};
use quorate::keys::KeyPair;
use quorate::node::Node;
use quorate::profiles::{Durability, Threading};
use quorate::state_machine::{Context, Lane, Output, SessionId, StateMachine};
use quorate::streams::StreamPosition;
use quorate_consensus::types::ValidatorIndex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Tells everybody each command, and the session that the command names; hangs in it for as long
/// as somebody holds the gate.
struct Hanging {
    gate: Arc<Mutex<()>>,
    /// Commands that have come as far as that.
    begun: Arc<AtomicUsize>,
    sum: u64,
}

impl Hanging {
    fn behind(gate: &Arc<Mutex<()>>) -> Self {
        Self {
            gate: Arc::clone(gate),
            begun: Arc::default(),
            sum: 0,
        }
    }
}

impl StateMachine for Hanging {
    fn sections(&self) -> &'static [&'static str] {
        &["sum"]
    }

    fn apply(&mut self, _: &Context, command: &[u8], output: &mut Output) {
        self.begun.fetch_add(1, Ordering::Relaxed);
        drop(self.gate.lock().unwrap());
        self.sum += 1;
        output.to_public(&self.sum.to_le_bytes());
        if let Some(session) = command.first_chunk() {
            output.to_session(SessionId(*session), &self.sum.to_le_bytes());
        }
    }

    fn section_root(&mut self, _: usize) -> [u8; 32] {
        let mut root = [0; 32];
        root[..8].copy_from_slice(&self.sum.to_le_bytes());
        root
    }

    fn snapshot_section(&self, _: usize, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.sum.to_le_bytes());
    }

    fn restore_section(&mut self, _: usize, bytes: &[u8]) -> Result<(), String> {
        let bytes = bytes.try_into().map_err(|_| "eight bytes".to_owned())?;
        self.sum = u64::from_le_bytes(bytes);
        Ok(())
    }

    fn query(&self, question: &[u8], answer: &mut Vec<u8>) {
        answer.extend(question.iter().take(4));
    }
}

fn client(cluster: &Cluster, seed: u8, options: ClientOptions) -> Client {
    let key = Arc::new(KeyPair::from_seed(&[seed; 32]));
    Client::connect(&cluster.genesis, key, options, PATIENCE).unwrap()
}

/// Only who listens, with as little patience as a test can have on a slow machine.
const LITTLE: Duration = Duration::from_secs(2);

#[test]
fn whoever_only_listens_leaves_a_validator_that_hangs_and_hears_the_others() {
    for threading in [Threading::Shared, Threading::Dedicated] {
        let mut cluster = Cluster::new("silent", 4, Durability::Sync);
        cluster.threading = threading;
        let gates: Vec<Arc<Mutex<()>>> = (0..4).map(|_| Arc::default()).collect();
        let start = |(place, gate): (u16, &Arc<Mutex<()>>)| {
            Node::start(cluster.config(place), Hanging::behind(gate)).unwrap()
        };
        let nodes: Vec<Node> = (0..).zip(&gates).map(start).collect();
        let key = Arc::new(KeyPair::from_seed(&[201; 32]));
        let options = PublicOptions {
            from: StreamPosition::BEGIN,
            patience: LITTLE,
            ..PublicOptions::default()
        };
        let mut reader = PublicClient::new(&cluster.genesis, key, options).unwrap();
        let options = ClientOptions {
            patience: LITTLE,
            ..ClientOptions::default()
        };
        let mut listener = client(&cluster, 202, options);
        let told = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&told);
        listener.on_stream(move |_| {
            counted.fetch_add(1, Ordering::Relaxed);
        });
        let key = KeyPair::from_seed(&[202; 32]).public();
        let session = quorate_consensus::payload::session_of_key(&key);
        let first = ValidatorIndex::new(1);
        let mut writer = client(&cluster, 203, ClientOptions { first, ..patient() });
        let mut say = || {
            let said = writer.submit_and_wait(Lane::Order, &session, PATIENCE);
            said.unwrap();
        };
        say();
        assert_eq!(reader.next(PATIENCE).unwrap().bytes, 1_u64.to_le_bytes());
        assert_eq!(reader.connected(), Some(ValidatorIndex::new(0)));

        let held = gates[0].lock().unwrap();
        say();
        assert_eq!(reader.next(PATIENCE).unwrap().bytes, 2_u64.to_le_bytes());
        assert_ne!(reader.connected(), Some(ValidatorIndex::new(0)));
        let (end, before) = (Instant::now() + PATIENCE, told.load(Ordering::Relaxed));
        while told.load(Ordering::Relaxed) == before {
            assert!(Instant::now() < end, "it still listens to one that hangs");
            listener.turn(LITTLE, |_, _| {}).unwrap();
            say();
        }
        drop(held);
        stop_all(nodes);
    }
}

/// Commands are sent for as long as the connection takes them, so that is full of them when the
/// question comes, and stays up: the validator hangs, and goes on then.
#[test]
fn a_question_behind_many_large_commands_is_answered() {
    let cluster = Cluster::new("crowded", 4, Durability::Sync);
    let gate = Arc::default();
    let hanging = Hanging::behind(&gate);
    let begun = Arc::clone(&hanging.begun);
    let mut nodes = vec![Node::start(cluster.config(0), hanging).unwrap()];
    let others = (1..4).map(|place| {
        let free = Hanging::behind(&Arc::default());
        Node::start(cluster.config(place), free).unwrap()
    });
    nodes.extend(others);
    let mut client = client(&cluster, 204, patient());
    let opened = client.submit_and_wait(Lane::Order, &[0; 16], PATIENCE);
    opened.unwrap();
    let (held, before) = (gate.lock().unwrap(), begun.load(Ordering::Relaxed));
    client.submit(Lane::Order, &[0; 16]).unwrap();
    eventually("it hangs", || begun.load(Ordering::Relaxed) > before);
    // One by one, each a frame of its own: what is left free is less than one of them.
    let large = vec![0; 4096];
    for _ in 0..8_000 {
        client.submit(Lane::Order, &large).unwrap();
    }
    drop(held);
    let answer = client.query(&[7; 60_000], PATIENCE / 4).unwrap();
    assert_eq!(answer, [7; 4]);
    stop_all(nodes);
}
