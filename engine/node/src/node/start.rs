//! The start of a node, in the one order that is safe: lock the folder, take the ports, recover,
//! open the ports, start the threads. Owns nothing that outlives it.

use super::addresses::Addresses;
use super::diverged::Diverged;
use super::early::early_start;
use super::first::{bring_first, first_state, recovery_error};
use super::public::{archive_config, forget_unwanted, private_archive_config, stream_stages};
use super::shared_ask::SharedAsk;
use super::{ASK_TIMEOUT, Asker, Node, NodeFailure, StartError};
use crate::archive::Archived;
use crate::auth::{BatchSeed, CommandAuth};
use crate::begins::FirstState;
use crate::config::{NodeConfig, RateConfig};
use crate::drift;
use crate::executor::Executor;
use crate::genesis::{Auth, Genesis};
use crate::hex;
use crate::http::{HttpServer, Question, Reply};
use crate::lanes::LanesConfig;
use crate::metrics::Metrics;
use crate::profiles::{Durability, STAGES, Threading};
use crate::pruning::Pruning;
use crate::recovery::{self, RecoverySummary};
use crate::replica::{Companions, Parts, Replica, ReplicaConfig};
use crate::scrub::Scrub;
use crate::shadow::{Second, Shadow, SnapshotPolicy};
use crate::snapshot::SnapshotFolder;
use crate::stages::clock::{Clock, machine_ns, wall_ns};
use crate::stages::dedicated::{Dedicated, DedicatedParts, Halt};
use crate::stages::exchange::ExchangeParts;
use crate::stages::identity::ValidatorIdentity;
use crate::stages::inlet::{Control, Inlet, InletReader};
use crate::stages::journal::{SyncThread, start_preparer};
use crate::stages::older::PeerParts;
use crate::stages::private::PrivateStage;
use crate::stages::public::PublicStage;
use crate::stages::publisher::Publisher;
use crate::stages::scrub::{self, ScrubAsks, ScrubParts, ScrubSender};
use crate::stages::shadow::{self, Asks, ShadowParts};
use crate::stages::shared::{SharedLoop, SharedParts};
use crate::stages::verify::{VerifyParts, VerifyWorker};
use crate::stages::wire::WireStage;
use crate::state_machine::StateMachine;
use crate::status::NodeStatus;
use crate::trace::Trace;
use crate::vote_state::{self, KeepError, VoteState};
use crossbeam::channel::{Receiver, bounded, unbounded};
use quorate_consensus::input::Input;
use quorate_consensus::machine;
use quorate_consensus::signing::ValidatorKey;
use quorate_consensus::types::ValidatorIndex;
use quorate_consensus::validators::ValidatorSet;
use quorate_log::{DataFolder, LogConfig, Reader, RecordRef, Scrubber};
use quorate_net::{Net, Reserved, Waker};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

/// Questions of other threads that may wait for the loop.
const CONTROLS_MAX: usize = 64;
/// Bytes of payloads kept in memory for peers and delivery: a tenth of a second of what two cores
/// bear, beyond which they are read from the log. More is no quicker: a block that comes takes the
/// memory of the one that goes, and the longer ago that was written the colder it is.
const CACHE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Folder of the log inside the data folder.
const LOG_FOLDER: &str = "log";
/// Folder of the snapshots inside the data folder.
const SNAPSHOTS_FOLDER: &str = "snapshots";
/// Where Linux says which boot this is.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// Says that the disk of this validator is lost, or an old copy: the next starts ask its peers from
/// which window on it may vote. An operator's act and never a part of a start; safe at any time.
///
/// # Errors
/// The folder is another validator's or chain's, is in use, or cannot be written.
pub fn declare_lost(config: &NodeConfig) -> Result<(), StartError> {
    let path = log_path(&config.data);
    let folder = open_folder(&path)?;
    let log = log_config(config)?;
    let (genesis, owner) = (config.genesis.bytes(), config.key.public());
    recovery::declare_lost(&folder, &log, genesis, boot_id()?, owner)
        .map_err(|source| recovery_error(config, path, source))
}

/// Takes what a stopped validator has said out of its folder, for another machine; `keep` makes it
/// durable elsewhere, after the folder has lost the right to vote ([`vote_state::export`]).
///
/// # Errors
/// The folder is not one to start from, or in use, or `keep` fails.
pub fn export_votes(
    config: &NodeConfig,
    keep: &mut dyn FnMut(&VoteState) -> Result<(), KeepError>,
) -> Result<VoteState, StartError> {
    let path = log_path(&config.data);
    let folder = open_folder(&path)?;
    let replica = replica_config(config)?;
    vote_state::export(&folder, &replica.recovery(), keep).map_err(|source| StartError::VoteState {
        folder: path,
        source,
    })
}

/// Merges what a validator has said elsewhere into its folder here, which is made when there is
/// none ([`vote_state::import`]).
///
/// # Errors
/// The state is of another chain or validator, or contradicts the folder, or that is in use.
pub fn import_votes(config: &NodeConfig, state: &VoteState) -> Result<(), StartError> {
    let path = log_path(&config.data);
    let folder = open_folder(&path)?;
    let replica = replica_config(config)?;
    vote_state::import(&folder, &replica.recovery(), &replica.set, state).map_err(|source| {
        StartError::VoteState {
            folder: path,
            source,
        }
    })
}

/// Where the log of a data folder is.
#[must_use]
pub fn log_path(data: &Path) -> PathBuf {
    data.join(LOG_FOLDER)
}

/// Where the snapshots of a data folder are.
#[must_use]
pub fn snapshots_path(data: &Path) -> PathBuf {
    data.join(SNAPSHOTS_FOLDER)
}

pub(super) fn open_folder(path: &Path) -> Result<DataFolder, StartError> {
    crate::keys::create_private_folder(path)?;
    Ok(DataFolder::open(path)?)
}

pub(super) fn log_config(config: &NodeConfig) -> Result<LogConfig, StartError> {
    let mut log = LogConfig::new(random()?);
    log.segment_bytes = config.log.segment_bytes;
    // In `sync` each vote would wait until the file system has noted that its blocks are written.
    log.reserves_room = config.durability == Durability::Async;
    Ok(log)
}

pub(super) fn random<const N: usize>() -> Result<[u8; N], StartError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| std::io::Error::other(error.to_string()))?;
    Ok(bytes)
}

/// The present boot of this machine. Where it cannot be told every start counts as a new boot,
/// which costs some windows of silence and never safety.
pub(super) fn boot_id() -> Result<[u8; 16], StartError> {
    let text = std::fs::read_to_string(BOOT_ID).unwrap_or_default();
    let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
    let mut id = [0; 16];
    if hex::decode_into(digits.as_bytes(), &mut id) {
        Ok(id)
    } else {
        random()
    }
}

fn replica_config(config: &NodeConfig) -> Result<ReplicaConfig, StartError> {
    let chain = config.genesis.file().limits;
    let mut lanes = LanesConfig::new(chain.sessions_max, config.timers.fan_out_ns);
    lanes.hold_ns = config.timers.hold_ns;
    lanes.commands_max = config.limits.pool_commands_max;
    lanes.bytes_max = config.limits.pool_bytes_max;
    lanes.command_bytes_max = chain.command_bytes_max as usize;
    lanes.payload_bytes_max = chain.payload_bytes_max as usize;
    lanes.block_commands_max = chain.block_commands_max as usize;
    Ok(ReplicaConfig {
        own: config.own,
        set: Arc::clone(config.genesis.validator_set()),
        durability: match config.durability {
            Durability::Sync => machine::Durability::Sync,
            Durability::Async => machine::Durability::Async,
        },
        timers: config.timers.consensus,
        incarnation_min: wall_ns(),
        nonce_seed: random()?,
        snapshot_heights: config.snapshots.every_heights,
        boot_id: boot_id()?,
        genesis: Arc::clone(config.genesis.bytes()),
        log: log_config(config)?,
        lanes,
        cache_bytes_max: CACHE_BYTES_MAX,
        public_bytes_max: config.limits.public_bytes_max,
        private_bytes_max: config.limits.private_bytes_max,
        public_archive: archive_config(config),
        private_archive: private_archive_config(config),
        auth: Arc::new(command_auth(config)?),
        snapshots: Some(SnapshotFolder::new(snapshots_path(&config.data))),
        first: first_state(config),
    })
}

/// The chain's rule for commands.
fn command_auth(config: &NodeConfig) -> Result<CommandAuth, StartError> {
    Ok(CommandAuth::of(&config.genesis)?.timed_by(machine_ns))
}

pub(super) fn start<S: StateMachine>(
    config: NodeConfig,
    app: S,
    second: Option<Second<S>>,
) -> Result<Node, StartError> {
    config.check()?;
    tell_start(&config);
    let clock = Clock::new();
    let mut diverged = Diverged::find(&config)?;
    let (mut parts, companions, trace, addresses) = open_parts(&config, app, clock)?;
    diverged.compare(&config, parts.executor.roots(), companions.summary.snapshot)?;
    let (shadow_sender, asks) = Diverged::shadow_way(&config);
    let bytes_max = config.log.bytes_max;
    let (reader, served) = (companions.reader, companions.served);
    let (scrub, scrub_sender) = scrub_parts(&config, companions.scrubber, &reader);
    let pruning = Pruning::new(companions.pruner, reader.clone(), served, bytes_max);
    let origin = (reader, companions.snapshot, pruning, scrub_sender.clone());
    // A state that differs is no state to take snapshots of, and its log is not to be pruned.
    let plan = |second| ShadowPlan::new(&config, second, origin, asks, &parts.executor);
    let shadow = second.filter(|_| !diverged.is_known()).map(plan);
    tell_pruning(bytes_max, shadow.is_some());
    let set = Arc::clone(config.genesis.validator_set());
    let validator_key = ValidatorKey::from_seed(&config.key.seed());
    let identity = ValidatorIdentity::new(Arc::clone(&set), config.own, config.key);
    let (net, for_metrics) = addresses.open(companions.summary.lease.incarnation, identity)?;
    let (peer_address, client_address) = (net.peer_address(), net.client_address());
    let metrics = first_metrics(companions.summary.snapshot, bytes_max, &parts.executor);
    let peers = PeerParts::new(&set, config.own, shadow_sender.events());
    let streams = stream_stages(&mut parts, &config.limits, peers, &metrics, &net.waker())?;
    let (publisher, finalized) = Publisher::new(config.limits.finalized_queue_max);
    let (is_wanted, durable) = publisher.ends();
    let inlet = inlet_of(&config.genesis, parts.executor.auth());
    let (asker, controls) = asker(net.waker());
    let http = start_http(for_metrics, &asker, &metrics, &trace)?;
    let core = config.placement.core_of(STAGES - 1);
    let verify = verify_parts(set, config.own, validator_key, core, &metrics)?;
    let preparer = start_preparer(companions.preparer, Arc::clone(&metrics))?;
    let parts = DedicatedParts {
        recorder: diverged.recorder(&parts.executor, &metrics, &inlet),
        own: config.own,
        parts,
        waker: net.waker(),
        wire: wire_stage(net, &config.rates, &metrics, (clock, trace), streams),
        sync: companions.sync,
        verify,
        clock,
        placement: config.placement,
        metrics: Arc::clone(&metrics),
        inlet: Arc::clone(&inlet),
        control: controls,
        finalized: publisher,
        shadow: shadow_sender.clone(),
        scrub: scrub_sender,
    };
    let besides = Besides(preparer, shadow, scrub, asker.clone());
    Ok(Node {
        own: config.own,
        peer_address,
        client_address,
        metrics,
        asker,
        inlet,
        finalized,
        durable,
        is_wanted,
        http,
        shadow: shadow_sender,
        thread: Some(start_threads(parts, besides)?),
    })
}

fn wire_stage(
    net: Net,
    rates: &RateConfig,
    metrics: &Arc<Metrics>,
    (clock, trace): (Clock, Trace),
    (public, private): (PublicStage, PrivateStage),
) -> WireStage {
    WireStage::new(net, rates, metrics, trace, (clock, public)).with_private(private)
}

/// The way for commands of the embedding process.
fn inlet_of(genesis: &Genesis, auth: &Arc<CommandAuth>) -> Arc<Inlet> {
    Arc::new(Inlet::new(genesis, Arc::clone(auth)))
}

/// The way for questions of other threads, and its end in the loop.
fn asker(waker: Waker) -> (Asker, Receiver<Control>) {
    let (control, controls) = bounded(CONTROLS_MAX);
    (Asker::new(control, waker), controls)
}

fn tell_start(config: &NodeConfig) {
    let (placement, timers) = (&config.placement, &config.timers);
    tracing::info!(validator = config.own.number(), %placement, %timers, "starting");
    for line in config.genesis.summary() {
        let is_forgeable = line == Auth::Session.remark();
        match line.strip_prefix("warning: ") {
            Some(warning) => tracing::warn!("{warning}"),
            None if is_forgeable => tracing::warn!("{line}"),
            None => tracing::info!("{line}"),
        }
    }
}

/// What is known before anything runs.
fn first_metrics<S: StateMachine>(
    snapshot_height: u64,
    log_bytes_max: u64,
    executor: &Executor<S>,
) -> Arc<Metrics> {
    let metrics = Metrics {
        sections: executor.section_names(),
        ..Metrics::default()
    };
    metrics.snapshot_height.set(snapshot_height);
    metrics.log_bytes_max.set(log_bytes_max);
    Arc::new(metrics)
}

fn tell_pruning(bytes_max: u64, has_snapshots: bool) {
    if bytes_max > 0 && !has_snapshots {
        tracing::warn!("log.bytes_max has no effect: this node was started without snapshots");
    }
}

fn tell_recovered(summary: &RecoverySummary) {
    tracing::info!(?summary, "recovered");
    if summary.lease.lease.is_lost {
        tracing::warn!("the lease is lost: no vote before enough peers have said what they know");
    }
}

/// Recovers the validator from its folders, ready to stamp if it is to.
/// The ports are taken under the lock of the folder: who has it may have them too, and is the news.
fn open_parts<S: StateMachine>(
    config: &NodeConfig,
    app: S,
    clock: Clock,
) -> Result<(Parts<S>, Companions, Trace, Addresses), StartError> {
    let path = log_path(&config.data);
    let folder = open_folder(&path)?;
    let addresses = Addresses::take(config)?;
    bring_first(config)?;
    let replica_config = replica_config(config)?;
    let (_, now) = clock.read();
    let opened = Parts::open(&folder, &replica_config, app, now);
    let (mut parts, companions) = opened.map_err(|source| recovery_error(config, path, source))?;
    forget_unwanted(config);
    tell_recovered(&companions.summary);
    if let Some(early) = early_start(config.genesis.file().genesis_time_ns, wall_ns()) {
        tracing::warn!("{early}");
    }
    let trace = Trace::new(clock, config.limits.trace_stamps);
    parts.order.set_trace(trace.clone());
    Ok((parts, companions, trace, addresses))
}

fn verify_parts(
    set: Arc<ValidatorSet>,
    own: ValidatorIndex,
    key: ValidatorKey,
    core: Option<usize>,
    metrics: &Arc<Metrics>,
) -> Result<VerifyParts, StartError> {
    let metrics = Arc::clone(metrics);
    Ok(VerifyParts {
        set,
        own,
        key,
        seed: BatchSeed::from_system()?,
        core,
        metrics,
    })
}

/// Starts the stages, spread as the placement says, and the thread that sees them end.
fn start_threads<S: StateMachine>(
    parts: DedicatedParts<S>,
    besides: Besides<S>,
) -> Result<JoinHandle<Result<(), NodeFailure>>, StartError> {
    let builder = std::thread::Builder::new().name("quorate-loop".to_owned());
    let (metrics, told) = (Arc::clone(&parts.metrics), Arc::clone(&parts.metrics));
    let events = parts.shadow.events();
    if parts.placement.threading == Threading::Dedicated {
        let stages = Dedicated::start(parts)?;
        events.connect(stages.inputs());
        let beside = Beside::start(besides, metrics, stages.inputs())?;
        return Ok(builder.spawn(move || report(stages.run(), beside, &told))?);
    }
    let (answer, verify_done) = unbounded();
    let waker = parts.waker.clone();
    let answer = move |inputs| {
        if answer.send(inputs).is_ok() {
            waker.wake();
        }
    };
    events.connect(answer.clone());
    let beside = Beside::start(besides, metrics, answer.clone())?;
    let verify = VerifyWorker::start(parts.verify, answer)?;
    let (answer, sync_done) = unbounded();
    let waker = parts.waker.clone();
    let sync = SyncThread::start(parts.sync, Arc::clone(&parts.metrics), move |done| {
        if answer.send(done).is_ok() {
            waker.wake();
        }
    })?;
    let shared = SharedLoop::new(SharedParts {
        own: parts.own,
        replica: Replica::new(parts.parts),
        wire: parts.wire,
        sync,
        sync_done,
        verify,
        verify_done,
        clock: parts.clock,
        placement: parts.placement,
        metrics: parts.metrics,
        inlet: InletReader::new(parts.inlet),
        control: parts.control,
        finalized: parts.finalized,
        shadow: parts.shadow,
        scrub: parts.scrub,
        recorder: parts.recorder,
    });
    Ok(builder.spawn(move || report(shared.run(), beside, &told))?)
}

/// What a shadow is made of.
struct ShadowPlan<S> {
    second: Second<S>,
    sessions_max: u32,
    set: Arc<ValidatorSet>,
    policy: SnapshotPolicy,
    reader: Reader,
    base: Option<(u64, RecordRef)>,
    first: Option<FirstState>,
    pruning: Pruning,
    scrub: ScrubSender,
    own: ValidatorIndex,
    asks: Asks,
    archived: Vec<Arc<Archived>>,
    auth: CommandAuth,
    diverged: PathBuf,
}

/// What the shadow reads, and where it begins; what old segments go by, and who is told of damage.
type ShadowOrigin = (Reader, Option<(u64, RecordRef)>, Pruning, ScrubSender);

impl<S: StateMachine> ShadowPlan<S> {
    fn new(
        config: &NodeConfig,
        second: Second<S>,
        (reader, base, pruning, scrub): ShadowOrigin,
        asks: Asks,
        first: &Executor<S>,
    ) -> Self {
        Self {
            second,
            sessions_max: config.genesis.file().limits.sessions_max,
            set: Arc::clone(config.genesis.validator_set()),
            policy: SnapshotPolicy {
                folder: SnapshotFolder::new(snapshots_path(&config.data)),
                every_heights: config.snapshots.every_heights,
                keep: config.snapshots.keep,
            },
            reader,
            base,
            first: first_state(config).filter(|_| base.is_none()),
            pruning,
            scrub,
            own: config.own,
            asks,
            archived: first.archived(),
            auth: first.auth().verdicts_alone(),
            diverged: drift::diverged_folder(&config.data),
        }
    }
}

/// What the threads that nothing waits for are made of.
struct Besides<S>(
    JoinHandle<()>,
    Option<ShadowPlan<S>>,
    Option<(Scrub, ScrubAsks)>,
    Asker,
);

/// What looks at the log, if it is to be looked at, and the way to it.
fn scrub_parts(
    config: &NodeConfig,
    scrubber: Scrubber,
    reader: &Reader,
) -> (Option<(Scrub, ScrubAsks)>, ScrubSender) {
    let (sender, asks) = ScrubSender::new();
    let rate = config.log.scrub_bytes_per_s;
    let set = config.genesis.validator_set();
    let peers = set.indices().filter(|&peer| peer != config.own).collect();
    let genesis = Arc::clone(config.genesis.bytes());
    let scrub = || Scrub::new(scrubber, reader.clone(), genesis, peers, rate);
    ((rate > 0).then(|| (scrub(), asks)), sender)
}

/// The threads that nothing waits for, but whose end the folder needs to be free.
struct Beside {
    preparer: JoinHandle<()>,
    shadow: Option<JoinHandle<Option<u64>>>,
    scrub: Option<JoinHandle<()>>,
    halt: Halt,
}

impl Beside {
    fn start<S: StateMachine>(
        besides: Besides<S>,
        metrics: Arc<Metrics>,
        answer: impl Fn(Vec<Input>) + Clone + Send + 'static,
    ) -> std::io::Result<Self> {
        let Besides(preparer, shadow, scrub, asker) = besides;
        let halt = Halt::default();
        let start_scrub = |(scrub, asks)| {
            let parts = ScrubParts {
                scrub,
                asks,
                metrics: Arc::clone(&metrics),
                answer: Box::new(answer.clone()),
                halt: halt.clone(),
            };
            scrub::start(parts)
        };
        let scrub = scrub.map(start_scrub).transpose()?;
        let start = |plan: ShadowPlan<S>| {
            let folder = plan.policy.folder.clone();
            let mailbox = Arc::clone(&plan.asks.mailbox);
            let parts = ShadowParts {
                asks: plan.asks,
                folder: folder.clone(),
                exchange: ExchangeParts {
                    set: Arc::clone(&plan.set),
                    own: plan.own,
                    folder,
                    mailbox,
                    metrics: Arc::clone(&metrics),
                },
                metrics,
                scrub: plan.scrub,
                answer: Box::new(answer),
                stop: Box::new(move || asker.stop(Duration::ZERO)),
                diverged: plan.diverged,
                halt: halt.clone(),
            };
            let Second(app, fresh) = plan.second;
            let (sessions_max, set) = (plan.sessions_max, plan.set);
            let (policy, reader, base) = (plan.policy, plan.reader, plan.base);
            let (pruning, auth, first) = (plan.pruning, plan.auth, plan.first);
            let archived = plan.archived;
            shadow::start(parts, move || {
                let executor = Executor::new(app, sessions_max, set.genesis_time_ns());
                let executor = executor.with_auth(Arc::new(auth));
                let shadow = Shadow::unbegun(executor, &set, policy, reader, base);
                let shadow = shadow.with_first_state(first).with_pruning(pruning);
                shadow.behind(archived).afresh(fresh).giving_way()
            })
        };
        let shadow = shadow.map(start).transpose()?;
        Ok(Self {
            preparer,
            shadow,
            scrub,
            halt,
        })
    }

    /// Waits for their end; the height of a snapshot of peers with which to begin anew.
    fn join(self) -> Option<u64> {
        self.halt.set();
        let shadow = self.shadow.map_or(Ok(None), JoinHandle::join);
        let scrub = self.scrub.map_or(Ok(()), JoinHandle::join);
        if self.preparer.join().is_err() || shadow.is_err() || scrub.is_err() {
            tracing::error!("a thread that makes segments or snapshots, or scrubs, panicked");
        }
        shadow.ok().flatten()
    }
}

/// Says why a node ended, since nobody may be waiting for it, when all of it has: the threads
/// besides end with the log's writer or are told to, and then the folder is free.
fn report(
    ended: Result<(), NodeFailure>,
    beside: Beside,
    metrics: &Metrics,
) -> Result<(), NodeFailure> {
    if let Err(error) = &ended {
        metrics.ending_code.set(error.exit_code().into());
    }
    let fetched = beside.join();
    let ended = match (ended, fetched) {
        (Ok(()), Some(height)) => Err(NodeFailure::SnapshotFetched { height }),
        (ended, _) => ended,
    };
    match &ended {
        Ok(()) => tracing::info!("stopped"),
        Err(error @ NodeFailure::SnapshotFetched { .. }) => tracing::info!(%error, "begin anew"),
        Err(error) => tracing::error!(%error, code = error.exit_code(), "this validator ends"),
    }
    ended
}

fn start_http(
    address: Option<(String, Reserved)>,
    asker: &Asker,
    metrics: &Arc<Metrics>,
    trace: &Trace,
) -> Result<Option<HttpServer>, StartError> {
    let Some((address, reserved)) = address else {
        return Ok(None);
    };
    let status = SharedAsk::new(asker.clone(), Control::Status, ASK_TIMEOUT);
    let (metrics, trace) = (Arc::clone(metrics), trace.clone());
    let answer = move |question| match question {
        Question::Trace => answer_trace(&trace),
        question => answer_http(question, &status, &metrics),
    };
    match HttpServer::start(reserved, answer) {
        Ok(server) => Ok(Some(server)),
        Err(source) => Err(StartError::Metrics { address, source }),
    }
}

fn answer_trace(trace: &Trace) -> Reply {
    let (code, body) = match trace.take_text() {
        Some(text) => (200, text),
        None => (404, "limits.trace_stamps is 0\n".to_owned()),
    };
    Reply {
        code,
        content_type: "text/plain",
        body,
    }
}

fn answer_http(question: Question, status: &SharedAsk<NodeStatus>, metrics: &Metrics) -> Reply {
    const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0";
    let text = |code, body: String| Reply {
        code,
        content_type: "text/plain",
        body,
    };
    if question == Question::Metrics {
        return Reply {
            code: 200,
            content_type: OPENMETRICS,
            body: metrics.render(),
        };
    }
    // A loop that answers is a loop that runs.
    let status = match status.ask() {
        Ok(status) => status,
        Err(error) => return text(503, format!("{error}\n")),
    };
    match question {
        Question::Ready if !status.voting => {
            text(503, "this validator may not vote yet\n".to_owned())
        }
        Question::Ready if status.disk_full => text(503, "the disk is full\n".to_owned()),
        Question::Ready if status.diverged.is_some() => {
            text(503, "the state of this validator diverged\n".to_owned())
        }
        Question::Metrics | Question::Trace | Question::Health | Question::Ready => {
            text(200, "ok\n".to_owned())
        }
        Question::Status => {
            let body = status.to_json();
            Reply {
                code: 200,
                content_type: "application/json",
                body,
            }
        }
    }
}

/// How long a stop waits for what is in flight, unless it is told otherwise.
pub const DRAIN_DEFAULT: Duration = Duration::from_secs(2);

#[cfg(test)]
#[path = "start_tests.rs"]
mod tests;
