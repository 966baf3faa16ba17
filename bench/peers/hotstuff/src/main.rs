//! The adapter of `hotstuff_rs`: four replicas, each a process, over plain TCP.
//!
//! Owns the wiring, after the library's own integration tests, whose network and store it gives in
//! its own way. Never: changes the library's rules.

#![forbid(unsafe_code)]

mod application;
mod network;
mod pool;
mod store;

use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ed25519_dalek::SigningKey;
use hotstuff_rs::replica::{Configuration, Replica, ReplicaSpec};
use hotstuff_rs::types::data_types::{BufferSize, ChainID, EpochLength, Power};
use hotstuff_rs::types::update_sets::{AppStateUpdates, ValidatorSetUpdates};
use hotstuff_rs::types::validator_set::{ValidatorSet, ValidatorSetState};
use peer_kit::{About, Config, Durability, Failure, Gateway, Routing};

use application::Application;
use network::Network;
use pool::Pool;
use store::Memory;

const ABOUT: About = About {
    system: "hotstuff_rs 0.4.0, pipelined",
    nodes: 4,
    faults: "1 of 4 may lie",
    routing: Routing::Everyone,
    durabilities: &[Durability::Async],
    fsync: "none: its store is pluggable, and this adapter's is in memory, as that of its tests",
    signatures: "ed25519 on each vote, checked one by one; certificates are lists of them; links \
                 are neither authenticated nor encrypted",
    batching: "a block a view, all that waits up to 1 MiB; leaders take turns; a block is final \
               when two more stand on it",
    cannot: "two threads of each node look for work without ever waiting (its event bus and its \
             block server), so that with fewer cores than those threads hardly anything becomes \
             final; no store that syncs comes with it; no client sessions, no exactly once, no \
             encryption to the client",
};

/// Longest view. Views end with their certificate; this bounds those of a silent leader.
const VIEW_TIME: Duration = Duration::from_secs(1);
/// The tests' own settings, as far as they bear on nothing that is measured.
const EPOCH_VIEWS: u32 = 50;
const SYNC_ADVERTISE: Duration = Duration::from_secs(10);
const SYNC_RESPONSE: Duration = Duration::from_secs(3);
const SYNC_BLACKLIST: Duration = Duration::from_secs(10);
const SYNC_TRIGGER: Duration = Duration::from_secs(60);
/// Bytes of messages of later views that are kept.
const BUFFER_BYTES: u64 = 64 * 1024 * 1024;

fn main() -> ExitCode {
    peer_kit::main(&ABOUT, run)
}

fn key(index: usize) -> SigningKey {
    let mut seed = [7; 32];
    seed[0] = index as u8;
    SigningKey::from_bytes(&seed)
}

fn run(config: Config) -> Result<(), Failure> {
    let keys: Vec<SigningKey> = (0..config.peers.len()).map(key).collect();
    let mut updates = ValidatorSetUpdates::new();
    for key in &keys {
        updates.insert(key.verifying_key(), Power::new(1));
    }
    let mut validators = ValidatorSet::new();
    validators.apply_updates(&updates);
    let state = ValidatorSetState::new(validators.clone(), validators, None, true);
    let memory = Memory::default();
    Replica::initialize(memory.clone(), AppStateUpdates::new(), state);

    let public: Vec<_> = keys.iter().map(SigningKey::verifying_key).collect();
    let network = Network::start(&config, public)?;
    let gateway = Gateway::default();
    let pool = Arc::new(Mutex::new(Pool::new(gateway.clone())));
    let waker = Arc::default();
    let application = Application::new(Arc::clone(&pool), Arc::clone(&waker));
    let configuration = Configuration::builder()
        .me(key(config.index))
        .chain_id(ChainID::new(0))
        .block_sync_request_limit(10)
        .block_sync_server_advertise_time(SYNC_ADVERTISE)
        .block_sync_response_timeout(SYNC_RESPONSE)
        .block_sync_blacklist_expiry_time(SYNC_BLACKLIST)
        .block_sync_trigger_min_view_difference(2)
        .block_sync_trigger_timeout(SYNC_TRIGGER)
        .progress_msg_buffer_capacity(BufferSize::new(BUFFER_BYTES))
        .epoch_length(EpochLength::new(EPOCH_VIEWS))
        .max_view_time(VIEW_TIME)
        .log_events(false)
        .build();
    let finals = Arc::clone(&pool);
    let replica = ReplicaSpec::builder()
        .app(application)
        .network(network)
        .kv_store(memory)
        .configuration(configuration)
        .on_commit_block(move |event| {
            let mut pool = finals.lock().unwrap_or_else(PoisonError::into_inner);
            pool.finalize(event.block);
        })
        .build()
        .start();
    gateway.listen(config.client, move |commands| {
        let mut pool = pool.lock().unwrap_or_else(PoisonError::into_inner);
        pool.take(commands);
        waker.notify_all();
    })?;
    // The replica works in threads of its own; the process ends with its standard input.
    let _replica = replica;
    loop {
        std::thread::park();
    }
}
