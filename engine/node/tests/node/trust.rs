//! A client that takes no single validator's word, beside a validator that lies.

use crate::support::{Cluster, PATIENCE, key, stop_all};
use quorate::client::{Client, ClientEvent, ClientOptions, Clients, Trust};
use quorate::client_wire::{
    ClientFrame, Mark, Outcome, Place, ResultItem, ResultsFrame, Verdict, VerdictsWriter,
    encode_busy, encode_session,
};
use quorate::keys::KeyPair;
use quorate::profiles::Durability;
use quorate::state_machine::Lane;
use quorate_consensus::signing::hello_message;
use quorate_consensus::types::ValidatorIndex;
use quorate_consensus::validators::ValidatorSet;
use quorate_net::{
    Authenticator, ChainIds, ClientId, CloseReason, Handler, Limits, Net, NetConfig,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const LIAR: u16 = 3;

/// Signs as the validator whose key it has, and takes every client.
struct Identity {
    set: Arc<ValidatorSet>,
    key: KeyPair,
}

impl Authenticator for Identity {
    fn sign_hello(&self, handshake_hash: &[u8; 32], peer: u16) -> [u8; 64] {
        let message = hello_message(&self.set, handshake_hash, LIAR, peer);
        self.key.sign(&message)
    }

    fn verify_hello(&self, _: &[u8; 32], _: u16, _: u16, _: &[u8; 64]) -> bool {
        false
    }

    fn verify_login(&self, _: &[u8; 32], _: &[u8; 32], _: &[u8; 64]) -> bool {
        true
    }
}

/// Answers every command at once with an output of its own making; or nobody anything; or tells who
/// asks for a session to come again after more than an hour.
#[derive(Default)]
struct Lies {
    is_silent: bool,
    is_busy: bool,
    replies: Vec<(ClientId, Vec<u8>)>,
    /// The last number that it answered.
    answered: Option<u64>,
}

impl Handler for Lies {
    fn peer_up(&mut self, _: u16, _: u64) {}
    fn peer_down(&mut self, _: u16, _: CloseReason) {}
    fn peer_frame(&mut self, _: u16, _: &[u8]) {}
    fn client_up(&mut self, _: ClientId, _: [u8; 32]) {}
    fn client_down(&mut self, _: ClientId) {}

    fn client_frame(&mut self, client: ClientId, frame: &[u8]) {
        if self.is_silent {
            return;
        }
        match ClientFrame::decode(frame) {
            Ok(ClientFrame::SessionAsk { id }) => {
                let mut bytes = Vec::new();
                if self.is_busy {
                    encode_busy(None, id, u32::MAX, &mut bytes);
                } else {
                    encode_session(None, id, (0, false), &mut bytes);
                }
                self.replies.push((client, bytes));
            }
            Ok(ClientFrame::Submit { commands, .. }) => {
                let mut verdicts = Vec::new();
                let mut writer = VerdictsWriter::new(None, &mut verdicts);
                let mut results = ResultsFrame::default();
                results.begin(None, 1, 1);
                for command in commands {
                    writer.push(command.seq, Verdict::Accepted);
                    let place = Place {
                        height: 1,
                        index: 0,
                    };
                    let item = ResultItem {
                        seq: command.seq,
                        outcome: Outcome::Applied,
                        applied: Some(place),
                        mark: Some(Mark::of(command.entry)),
                        finality_ns: 1,
                    };
                    results.push(item, [&[0xff; 8][..]].into_iter());
                    self.answered = Some(command.seq);
                }
                writer.finish();
                self.replies.push((client, verdicts));
                self.replies.push((client, results.finish().to_vec()));
            }
            _ => {}
        }
    }
}

/// The liar's client port.
fn bind(cluster: &Cluster) -> Net {
    let genesis = &cluster.genesis;
    let address = genesis.file().validators[usize::from(LIAR)].client_addresses[0].clone();
    let identity = Identity {
        set: Arc::clone(genesis.validator_set()),
        key: key(LIAR),
    };
    let config = NetConfig {
        index: LIAR,
        incarnation: 1,
        chain: ChainIds {
            chain_id: *genesis.chain_id(),
            genesis_hash: *genesis.hash(),
        },
        peer_listen: "127.0.0.1:0".to_owned(),
        client_listen: Some(address),
        peers: Vec::new(),
        limits: Limits::default(),
        jitter_seed: 1,
    };
    Net::bind(config, Arc::new(identity)).unwrap()
}

/// Takes what has come, for a while, and answers it.
fn turn(net: &mut Net, lies: &mut Lies) {
    let pause = Some(Duration::from_millis(20));
    net.turn(Instant::now(), pause, lies).unwrap();
    for (client, frame) in lies.replies.drain(..) {
        net.send_client(client, &frame).unwrap();
    }
    net.flush();
}

/// Runs the liar until it is told to stop.
fn lie(cluster: &Cluster, mut lies: Lies, stop: Arc<AtomicBool>) -> std::thread::JoinHandle<()> {
    let mut net = bind(cluster);
    std::thread::spawn(move || {
        while !stop.load(Ordering::Acquire) {
            turn(&mut net, &mut lies);
        }
    })
}

/// Submits 1 to 5 and gives the sums that were told, and who contradicted.
fn sums(cluster: &Cluster, trust: Trust) -> (Vec<Option<u64>>, Vec<u16>) {
    let mut clients = Clients::new(&cluster.genesis).unwrap();
    let patience = match trust {
        // It is to be left: what it takes goes no further.
        Trust::FaultStake => Duration::from_secs(2),
        Trust::OneValidator => PATIENCE,
    };
    let options = ClientOptions {
        first: ValidatorIndex::new(LIAR),
        patience,
        trust,
        ..ClientOptions::default()
    };
    let seed = 120 + u8::from(trust == Trust::FaultStake);
    let client = clients.add(Arc::new(KeyPair::from_seed(&[seed; 32])), options);
    let mut last = 0;
    for number in 1..=5_u64 {
        let now = Instant::now();
        last = clients
            .submit(client, Lane::Order, &number.to_le_bytes(), now)
            .unwrap();
    }
    let (mut told, mut liars) = (vec![None; 5], Vec::new());
    let end = Instant::now() + PATIENCE;
    let is_due = |told: &[Option<u64>], liars: &[u16]| {
        told.contains(&None) || (trust == Trust::FaultStake && liars.is_empty())
    };
    while is_due(&told, &liars) {
        assert!(Instant::now() < end, "{told:?} {liars:?}");
        let pause = Some(Duration::from_millis(50));
        let on_event = |_, event: ClientEvent<'_>| match event {
            ClientEvent::Result { result, .. } => {
                let place = usize::try_from(result.item.seq + 4 - last).unwrap();
                let output = result.outputs.clone().next().unwrap();
                told[place] = Some(u64::from_le_bytes(output.try_into().unwrap()));
            }
            ClientEvent::Contradicted { validator, .. } => liars.push(validator.number()),
            _ => {}
        };
        clients.turn(Instant::now(), pause, on_event).unwrap();
    }
    liars.dedup();
    (told, liars)
}

#[test]
fn a_lying_validator_is_believed_alone_and_outvoted_and_named_by_stake() {
    let cluster = Cluster::new("trust", 4, Durability::Async);
    let nodes: Vec<_> = (0..LIAR).map(|place| cluster.start(place)).collect();
    let stop = Arc::new(AtomicBool::new(false));
    let liar = lie(&cluster, Lies::default(), Arc::clone(&stop));
    let (told, _) = sums(&cluster, Trust::OneValidator);
    assert_eq!(told, [Some(u64::MAX); 5]);
    let (told, liars) = sums(&cluster, Trust::FaultStake);
    assert_eq!(told, [1, 3, 6, 10, 15].map(Some));
    assert_eq!(liars, [LIAR]);
    stop.store(true, Ordering::Release);
    liar.join().unwrap();
    stop_all(nodes);
}

#[test]
fn a_validator_that_takes_a_client_and_says_nothing_is_left_by_whoever_asks_it() {
    let cluster = Cluster::new("silent", 4, Durability::Async);
    let nodes: Vec<_> = (0..LIAR).map(|place| cluster.start(place)).collect();
    let stop = Arc::new(AtomicBool::new(false));
    let silent = Lies {
        is_silent: true,
        ..Lies::default()
    };
    let silent = lie(&cluster, silent, Arc::clone(&stop));
    let options = ClientOptions {
        first: ValidatorIndex::new(LIAR),
        patience: Duration::from_millis(300),
        ..ClientOptions::default()
    };
    let key = Arc::new(KeyPair::from_seed(&[130; 32]));
    let mut client = Client::connect(&cluster.genesis, key, options, PATIENCE).unwrap();
    let told = client.submit_and_wait(Lane::Order, &7_u64.to_le_bytes(), PATIENCE);
    // An honest one that was slow was left, too, and the command came twice.
    let outcome = told.unwrap().outcome;
    assert!(matches!(outcome, Outcome::Applied | Outcome::Duplicate));
    assert_ne!(client.connected(), Some(ValidatorIndex::new(LIAR)));
    stop.store(true, Ordering::Release);
    silent.join().unwrap();
    stop_all(nodes);
}

#[test]
fn a_validator_that_is_busy_for_more_than_an_hour_is_left_by_whoever_asks_it() {
    let cluster = Cluster::new("busy", 4, Durability::Async);
    let nodes: Vec<_> = (0..LIAR).map(|place| cluster.start(place)).collect();
    let stop = Arc::new(AtomicBool::new(false));
    let busy = Lies {
        is_busy: true,
        ..Lies::default()
    };
    let busy = lie(&cluster, busy, Arc::clone(&stop));
    let options = ClientOptions {
        first: ValidatorIndex::new(LIAR),
        patience: Duration::from_millis(300),
        ..ClientOptions::default()
    };
    let key = Arc::new(KeyPair::from_seed(&[132; 32]));
    // Far more than this takes, and less than a mutant is given.
    let timeout = Duration::from_secs(30);
    let client = Client::connect(&cluster.genesis, key, options, timeout).unwrap();
    assert_ne!(client.connected(), Some(ValidatorIndex::new(LIAR)));
    stop.store(true, Ordering::Release);
    busy.join().unwrap();
    stop_all(nodes);
}

#[test]
fn an_answer_that_waits_in_the_socket_is_read_before_its_validator_is_given_up() {
    let cluster = Cluster::new("late", 4, Durability::Async);
    let (mut net, mut lies) = (bind(&cluster), Lies::default());
    let mut clients = Clients::new(&cluster.genesis).unwrap();
    let options = ClientOptions {
        first: ValidatorIndex::new(LIAR),
        patience: PATIENCE,
        ..ClientOptions::default()
    };
    let client = clients.add(Arc::new(KeyPair::from_seed(&[131; 32])), options);
    let submitted = clients.submit(client, Lane::Order, &[7; 8], Instant::now());
    let seq = submitted.unwrap();
    let end = Instant::now() + PATIENCE;
    let mut results = Vec::new();
    while lies.answered != Some(seq) {
        assert!(Instant::now() < end, "it was not asked");
        let none = Some(Duration::ZERO);
        clients.turn(Instant::now(), none, |_, _| ()).unwrap();
        turn(&mut net, &mut lies);
    }
    // Its next turn is one that comes later than the session is patient.
    let late = Instant::now() + 2 * PATIENCE;
    let on_event = |_, event: ClientEvent<'_>| {
        if let ClientEvent::Result { result, .. } = event {
            results.push(result.item.seq);
        }
    };
    clients.turn(late, Some(Duration::ZERO), on_event).unwrap();
    assert_eq!(results, [seq]);
    assert_eq!(clients.connected(client), Some(ValidatorIndex::new(LIAR)));
    // Who has told nothing since is given up.
    let submitted = clients.submit(client, Lane::Order, &[8; 8], late);
    submitted.unwrap();
    let later = late + 2 * PATIENCE;
    clients
        .turn(later, Some(Duration::ZERO), |_, _| ())
        .unwrap();
    assert_ne!(clients.connected(client), Some(ValidatorIndex::new(LIAR)));
}
