//! The adapter of `commonware-consensus`: its simplex engine over its own authenticated network.
//!
//! Owns the wiring, after the project's own `examples/log`. Never: changes the engine's rules; the
//! rate limits of the example, which would cap the views a second, are out of the way.

#![forbid(unsafe_code)]

mod application;
mod chain;

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use commonware_consensus::simplex::config::{Floor, ForwardPolicy, SkipBudget, SkipPolicy};
use commonware_consensus::simplex::elector::RoundRobin;
use commonware_consensus::simplex::scheme::ed25519::Scheme;
use commonware_consensus::simplex::{Engine, config};
use commonware_consensus::types::{Epoch, ViewDelta};
use commonware_cryptography::ed25519::PublicKey;
use commonware_cryptography::sha256::Digest;
use commonware_cryptography::{ChaCha20Poly1305, Sha256, Signer as _, ed25519};
use commonware_p2p::authenticated::lookup::{Config as NetConfig, Network};
use commonware_p2p::{Address, AddressableManager as _, Receiver, Recipients, Sender};
use commonware_parallel::Sequential;
use commonware_runtime::buffer::paged::CacheRef;
use commonware_runtime::{Clock, Quota, Runner as _, Spawner as _, Supervisor as _, tokio};
use commonware_stream::cups::{self, Cups};
use commonware_stream::sake::{self, Sake};
use commonware_utils::ordered::{Map, Set};
use commonware_utils::{NZDuration, NZU16, NZU32, NZUsize};
use peer_kit::{About, Config, Durability, Failure, Gateway, Routing};

use application::Application;
use chain::{BLOCK_BYTES_MAX, Chain, genesis};

const ABOUT: About = About {
    system: "commonware-consensus 2026.10.0, simplex",
    nodes: 4,
    faults: "1 of 4 may lie",
    routing: Routing::Everyone,
    durabilities: &[Durability::Async, Durability::Sync],
    fsync: "each vote is journalled and synced before it leaves; async: the journal is on tmpfs, \
            where that costs nothing",
    signatures: "ed25519 on each vote, batches verified; certificates are lists of them; links \
                 are encrypted (ChaCha20-Poly1305)",
    batching: "a block a view, all that waits up to 1 MiB; leaders take turns; a lone command is \
               proposed at once",
    cannot: "no blocks of its own in simplex: this adapter sends them whole over the same network \
             and does not store them; no client sessions, no exactly once, no encryption to the \
             client",
};

/// Messages a second on a channel and link, far above what is sent. Mailboxes are as long.
const RATE: u32 = 16_384;
/// How long a leader without commands may stay silent before it proposes an empty block.
const IDLE: Duration = Duration::from_millis(250);
/// What is sent where blocks are asked for until all nodes have one another, and how often.
const GREETING: &[u8] = &[0];
const GREET: Duration = Duration::from_millis(50);
/// Time between two looks for a block that was missed. It is asked for at the second one: far above
/// what a block takes that is on its way.
const LOOK: Duration = Duration::from_millis(25);
/// The example's, as are those below.
const LEADER_TIMEOUT: Duration = Duration::from_secs(1);
const CERTIFICATION_TIMEOUT: Duration = Duration::from_secs(2);
const RETRY: Duration = Duration::from_secs(10);
const SKIP: Duration = Duration::from_secs(11);

fn main() -> ExitCode {
    peer_kit::main(&ABOUT, run)
}

fn key(index: usize) -> ed25519::PrivateKey {
    ed25519::PrivateKey::from_seed(index as u64)
}

/// The network of one node.
fn network(config: &Config) -> NetConfig<Cups<Sake<ed25519::PrivateKey>, ChaCha20Poly1305>> {
    let handshake = Cups::<_, ChaCha20Poly1305>::new(
        Sake {
            signer: key(config.index),
            synchrony_bound: Duration::from_secs(5),
            max_handshake_age: Duration::from_secs(10),
            version: sake::Version::V1,
        },
        cups::Version::V1,
    );
    let mut network = NetConfig::local(
        handshake,
        b"quorate-peers",
        config.peers[config.index],
        NZUsize!(4),
        2 * BLOCK_BYTES_MAX as u32,
        NZUsize!(1_024),
    );
    network.tracked_peer_sets = NZUsize!(1);
    network
}

type Members = (Map<PublicKey, Address>, Set<PublicKey>);

/// Where all are, and who may vote.
fn members(node: &Config) -> Result<Members, Failure> {
    let keys = (0..node.peers.len()).map(|index| key(index).public_key());
    let addresses = node.peers.iter().map(|address| Address::from(*address));
    let addresses: Vec<_> = keys.clone().zip(addresses).collect();
    let addresses: Map<_, _> = addresses.try_into().map_err(|_| "two equal keys")?;
    let participants: Vec<_> = keys.collect();
    let participants: Set<_> = participants.try_into().map_err(|_| "two equal keys")?;
    Ok((addresses, participants))
}

/// The chain, shared by the engine, the network and the load.
type Shared = Arc<Mutex<Chain>>;

fn lock(chain: &Shared) -> MutexGuard<'_, Chain> {
    chain.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes blocks of other nodes in, and asks who gave one that was missed for the next such.
async fn receive(
    mut blocks: impl Receiver<PublicKey = PublicKey>,
    mut wants: impl Sender<PublicKey = PublicKey>,
    chain: Shared,
) {
    while let Ok((who, block)) = blocks.recv().await {
        let next = lock(&chain).receive(block.as_ref());
        if let Some(next) = next {
            wants.send(Recipients::One(who), next.as_ref().to_vec(), true);
        }
    }
}

/// Asks for a block that was missed, and proposes where there is nothing to propose, for good.
async fn attend(
    clock: &impl Clock,
    chain: &Shared,
    wants: &mut impl Sender<PublicKey = PublicKey>,
) -> Result<(), Failure> {
    loop {
        for _ in 0..IDLE.as_millis() / LOOK.as_millis() {
            clock.sleep(LOOK).await;
            let missing = lock(chain).missing();
            if let Some(missing) = missing {
                wants.send(Recipients::All, missing.as_ref().to_vec(), true);
            }
        }
        lock(chain).propose_idle(true);
    }
}

/// Nodes that were heard of.
type Met = Arc<Mutex<BTreeSet<PublicKey>>>;

fn met_of(met: &Met) -> MutexGuard<'_, BTreeSet<PublicKey>> {
    met.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Gives nodes that missed a block the block, and notes who greets.
async fn answer(
    mut wants: impl Receiver<PublicKey = PublicKey>,
    mut blocks: impl Sender<PublicKey = PublicKey>,
    chain: Shared,
    met: Met,
) {
    while let Ok((who, wanted)) = wants.recv().await {
        if wanted.as_ref() == GREETING {
            met_of(&met).insert(who);
            continue;
        }
        let block = wanted.as_ref().first_chunk();
        let block = block.and_then(|digest| lock(&chain).bytes(&Digest(*digest)));
        if let Some(block) = block {
            blocks.send(Recipients::One(who), block, false);
        }
    }
}

/// Greets all others until each of so many has been heard. A link is one in both directions, so at
/// the last greeting all are reached; whoever was heard late may have missed those before.
async fn meet(
    clock: &impl Clock,
    wants: &mut impl Sender<PublicKey = PublicKey>,
    met: &Met,
    others: usize,
) {
    while met_of(met).len() < others {
        wants.send(Recipients::All, GREETING.to_vec(), true);
        clock.sleep(GREET).await;
    }
    wants.send(Recipients::All, GREETING.to_vec(), true);
}

/// Takes commands of the load from now on.
fn listen(gateway: &Gateway, node: &Config, chain: Shared) -> Result<(), Failure> {
    gateway.listen(node.client, move |commands| {
        lock(&chain).take(commands);
    })
}

fn run(node: Config) -> Result<(), Failure> {
    let storage = node.folder.join("storage");
    let runtime = tokio::Config::new().with_storage_directory(storage);
    let executor = tokio::Runner::new(runtime);
    executor.start(|context| async move {
        let (mut network, mut oracle) = Network::new(context.child("network"), network(&node));
        let (addresses, participants) = members(&node)?;
        oracle.track(0, addresses);
        let quota = Quota::per_second(NZU32!(RATE));
        let votes = network.register(0, quota);
        let certificates = network.register(1, quota);
        let resolver = network.register(2, quota);
        let (blocks_out, blocks_in) = network.register(3, Quota::per_second(NZU32!(4_096)));
        let (mut wants_out, wants_in) = network.register(4, Quota::per_second(NZU32!(4_096)));
        let answers_out = blocks_out.clone();

        let gateway = Gateway::default();
        let chain = Arc::new(Mutex::new(Chain::new(gateway.clone())));
        let application = Application::new(Arc::clone(&chain), blocks_out);
        let scheme = Scheme::signer(b"quorate-peers", participants, key(node.index))
            .ok_or("this node is no participant")?;
        let engine = Engine::new(
            context.child("engine"),
            config::Config {
                scheme,
                elector: RoundRobin::<Sha256>::default(),
                blocker: oracle,
                automaton: application.clone(),
                relay: application.clone(),
                reporter: application,
                strategy: Sequential,
                partition: "votes".to_owned(),
                mailbox_size: NZUsize!(1_024),
                epoch: Epoch::zero(),
                floor: Floor::Genesis(genesis()),
                leader_timeout: LEADER_TIMEOUT,
                certification_timeout: CERTIFICATION_TIMEOUT,
                timeout_retry: RETRY,
                fetch_timeout: NZDuration!(Duration::from_secs(1)),
                fetch_retry_delay: Duration::from_millis(100),
                view_retention: ViewDelta::new(10),
                skip: SkipPolicy::Enabled {
                    timeout: SKIP,
                    budget: SkipBudget::Participants,
                },
                replay_buffer: NZUsize!(1024 * 1024),
                write_buffer: NZUsize!(1024 * 1024),
                page_cache: CacheRef::new(NZU16!(16_384), NZUsize!(1_000)),
                forward: ForwardPolicy::Disabled,
                track_historical_votes: false,
            },
        );
        network.start();
        let (theirs, next_out) = (Arc::clone(&chain), wants_out.clone());
        context
            .child("blocks")
            .spawn(move |_| receive(blocks_in, next_out, theirs));
        let asked = Arc::clone(&chain);
        let met = Met::default();
        let greeted = Arc::clone(&met);
        context
            .child("answers")
            .spawn(move |_| answer(wants_in, answers_out, asked, greeted));
        // An engine that began before would wait for its timeouts first.
        meet(&context, &mut wants_out, &met, node.peers.len() - 1).await;
        engine.start(votes, certificates, resolver);
        listen(&gateway, &node, Arc::clone(&chain))?;
        attend(&context, &chain, &mut wants_out).await
    })
}
