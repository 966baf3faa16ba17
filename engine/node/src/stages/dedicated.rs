//! A thread a stage: net, order, journal, app, besides verify and sync.
//!
//! Owns the wiring, the net thread's loop, and the end: order drains, then the journal, then the
//! app; only then do the sockets close and the log is ended. A failure of one thread halts all.
//! Never: different rules from `shared`; both move the same parts.

use super::answers::Answers;
use super::app::AppThread;
use super::check::{CheckSender, CheckWorkers};
use super::clock::{Clock, nanoseconds};
use super::door::Room;
use super::executed::{count_block, tell_block};
use super::inlet::{Control, Inlet, InletReader};
use super::journal::{JournalThread, SyncThread};
use super::order::OrderThread;
use super::publisher::Publisher;
use super::scrub::ScrubSender;
use super::shadow::ShadowSender;
use super::shared::note_event;
use super::verify::{VerifyParts, VerifyWorker};
use super::wire::{Caller, Inward, QUESTION_RETRY_US, Replies, WireStage};
use crate::client_wire::{self, ClientFrame};
use crate::drift::Recorder;
use crate::executor::Executor;
use crate::journal::SyncWorker;
use crate::metrics::Metrics;
use crate::node::NodeFailure;
use crate::parked::{Receiver, Sender, unbounded};
use crate::private::PrivateRange;
use crate::profiles::{Idle, Placement};
use crate::queues::{
    AppBacklog, Backlog, DiskBacklog, Gate, NetSender, PeerBacklog, StageBytes, StatusReply, ToApp,
    ToJournal, ToNet, ToOrder,
};
use crate::replica::{OrderStage, Parts};
use crate::state_machine::StateMachine;
use crate::trace::Trace;
use crossbeam::channel;
use quorate_consensus::input::Input;
use quorate_consensus::trust::Authenticated;
use quorate_consensus::types::ValidatorIndex;
use quorate_consensus::wire;
use quorate_net::{ClientId, Waker};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Longest sleep of the net thread.
const PARK_MAX: Duration = Duration::from_millis(50);
/// Sleep while the gate is closed.
const GATE_PAUSE: Duration = Duration::from_micros(200);
/// How often the net's numbers are copied for readers.
const COPY_INTERVAL: Duration = Duration::from_millis(50);
/// What may wait for the thread that is to answer a question, when one more is let through.
const QUESTIONS_QUEUED_MAX: usize = 256;

/// Set once; every thread looks at it each turn.
#[derive(Clone, Debug, Default)]
pub(crate) struct Halt(Arc<AtomicBool>);

impl Halt {
    pub(crate) fn set(&self) {
        self.0.store(true, Ordering::Release);
    }

    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// The leader as the order thread told it last.
pub(crate) fn leader_of(metrics: &Metrics) -> Option<ValidatorIndex> {
    u16::try_from(metrics.leader.read())
        .ok()
        .map(ValidatorIndex::new)
}

/// Copies what readers of the metrics want to know of the order stage.
pub(crate) fn copy_order(metrics: &Metrics, order: &OrderStage) {
    let (consensus, lanes) = (order.consensus(), order.lanes());
    let counters = consensus.counters();
    metrics.height.set(consensus.delivered().number());
    metrics
        .height_proven
        .set(consensus.proven().height.number());
    metrics.height_durable.set(consensus.durable().number());
    metrics.height_peers.set(consensus.peers_height().number());
    metrics.peers_heard.set(consensus.has_heard_peers().into());
    metrics.log_bytes.set(order.store().log_usage().bytes);
    metrics.window.set(consensus.window().number());
    metrics.leader.set(u64::from(consensus.leader().number()));
    metrics.voting.set(u64::from(consensus.is_voting()));
    metrics.recovering.set(u64::from(consensus.is_lost()));
    metrics.disk_full.set(u64::from(lanes.is_disk_full()));
    metrics.pool_commands.set(lanes.len() as u64);
    metrics.pool_bytes.set(lanes.bytes() as u64);
    metrics.proposals.set(counters.proposals);
    metrics.windows_entered.set(counters.windows_entered);
    metrics.stops_timer.set(counters.stops_timer);
    metrics.stops_slow.set(counters.stops_slow);
    metrics.votes_held.set(counters.behind);
    metrics
        .forwarded_signatures_bad
        .set(lanes.counters().forwards_refused);
    metrics.forwards_left_out.set(order.forwards_left_out());
}

/// What the threads are made of.
pub(crate) struct DedicatedParts<S> {
    pub(crate) own: ValidatorIndex,
    pub(crate) parts: Parts<S>,
    pub(crate) wire: WireStage,
    pub(crate) waker: Waker,
    pub(crate) sync: SyncWorker,
    pub(crate) verify: VerifyParts,
    pub(crate) clock: Clock,
    pub(crate) placement: Placement,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) inlet: Arc<Inlet>,
    pub(crate) control: channel::Receiver<Control>,
    pub(crate) finalized: Publisher,
    pub(crate) shadow: ShadowSender,
    pub(crate) scrub: ScrubSender,
    pub(crate) recorder: Recorder,
}

type Ended<T> = JoinHandle<Result<T, NodeFailure>>;

/// The running threads.
pub(crate) struct Dedicated {
    order: Ended<()>,
    app: Ended<()>,
    journal: Ended<(crate::journal::Journal, SyncThread)>,
    net: Ended<()>,
    check: CheckWorkers,
    net_sender: NetSender,
    order_sender: Sender<ToOrder>,
    halt: Halt,
}

impl Dedicated {
    /// A way for inputs from beside the stages.
    pub(crate) fn inputs(&self) -> impl Fn(Vec<Input>) + Clone + Send + 'static {
        let order = self.order_sender.clone();
        move |inputs| drop(order.send(ToOrder::Inputs(inputs)))
    }

    /// Starts all threads.
    ///
    /// # Errors
    /// The system refuses a thread; those that run end when this returns.
    pub(crate) fn start<S: StateMachine>(all: DedicatedParts<S>) -> std::io::Result<Self> {
        let (metrics, placement, clock) = (all.metrics, all.placement, all.clock);
        let ((to_order, order_items), (to_journal, journal_items)) = (unbounded(), unbounded());
        let (halt, backlogs) = (Halt::default(), Backlogs::new(all.verify.set.len()));
        let ((to_app, app_items), (to_net, net_items)) = (unbounded(), channel::unbounded());
        let net_sender = NetSender::new(to_net, all.waker);
        let auth = all.parts.executor.auth();
        let (check, checks) = CheckWorkers::start(auth, &placement, &to_order, &net_sender)?;
        let client_checks = auth.is_signed().then(|| checks.clone());
        let depths = depths((&to_order, &to_journal, &to_app), &backlogs, &checks);
        let sync = start_sync(all.sync, &metrics, to_journal.clone())?;
        let (journal, threads) = (
            (all.parts.journal, journal_items),
            (clock, &placement, &halt),
        );
        let journal = journal_thread(journal, (&to_order, &to_app), &backlogs, sync, threads);
        let ways = (app_items, &to_order, &net_sender);
        let around = (&placement, &metrics, &halt);
        let applied = (all.parts.executor, all.recorder, all.wire.trace());
        let app = app_thread(applied, ways, &checks, around);
        let order = OrderThread {
            own: all.own,
            stage: all.parts.order,
            items: order_items,
            net: net_sender.clone(),
            journal: to_journal,
            journal_bytes: backlogs.ops,
            app: to_app.clone(),
            verify: start_verify(all.verify, to_order.clone())?,
            checks,
            inlet: InletReader::new(Arc::clone(&all.inlet)),
            clock,
            placement: placement.clone(),
            metrics: Arc::clone(&metrics),
            halt: halt.clone(),
        };
        let net = NetThread {
            trace: all.wire.trace().clone(),
            wire: all.wire,
            items: net_items,
            order: to_order.clone(),
            app: to_app,
            checks: client_checks,
            gate: Gate::new(depths),
            backlog: Backlog::default(),
            peers: backlogs.peers,
            inlet: all.inlet,
            control: all.control,
            placement,
            metrics,
            finalized: all.finalized,
            shadow: all.shadow,
            scrub: all.scrub,
            halt: halt.clone(),
            answers: Answers::default(),
            is_last: false,
        };
        Ok(Self {
            order: spawn("quorate-order", &halt, move || order.run())?,
            journal: spawn("quorate-journal", &halt, move || journal.run())?,
            app: spawn("quorate-app", &halt, move || app.run())?,
            net: spawn("quorate-net", &halt, move || net.run())?,
            check,
            net_sender,
            order_sender: to_order,
            halt,
        })
    }

    /// Waits for the end, which order begins, and ends the log.
    ///
    /// # Errors
    /// The first [`NodeFailure`] of any thread, or the log could not be ended cleanly.
    pub(crate) fn run(self) -> Result<(), NodeFailure> {
        let order = joined(self.order, "order");
        let journal = joined(self.journal, "journal");
        let app = joined(self.app, "app");
        let has_ended_well = order.is_ok() && journal.is_ok() && app.is_ok();
        end_net(&self.net_sender, &self.halt, has_ended_well);
        // No frame leaves after the marker.
        let net = joined(self.net, "net");
        self.check.join();
        let (journal, sync) = journal?;
        let worker = sync.stop().ok_or(NodeFailure::ThreadLost("sync"))?;
        order.and(app).and(net)?;
        journal.stop(worker).map_err(NodeFailure::Sync)
    }
}

fn start_sync(
    worker: SyncWorker,
    metrics: &Arc<Metrics>,
    journal: Sender<ToJournal>,
) -> std::io::Result<SyncThread> {
    SyncThread::start(worker, Arc::clone(metrics), move |done| {
        drop(journal.send(ToJournal::Done(done)));
    })
}

fn journal_thread(
    (journal, items): (crate::journal::Journal, Receiver<ToJournal>),
    (order, app): (&Sender<ToOrder>, &Sender<ToApp>),
    backlogs: &Backlogs,
    sync: SyncThread,
    (clock, placement, halt): (Clock, &Placement, &Halt),
) -> JournalThread {
    JournalThread {
        journal,
        items,
        order: order.clone(),
        app: app.clone(),
        app_backlog: backlogs.blocks.clone(),
        disk: backlogs.disk.clone(),
        sync,
        clock,
        placement: placement.clone(),
        halt: halt.clone(),
    }
}

fn app_thread<S: StateMachine>(
    (executor, recorder, trace): (Executor<S>, Recorder, &Trace),
    (items, order, net): (Receiver<ToApp>, &Sender<ToOrder>, &NetSender),
    checks: &CheckSender,
    (placement, metrics, halt): (&Placement, &Arc<Metrics>, &Halt),
) -> AppThread<S> {
    AppThread {
        executor,
        items,
        order: order.clone(),
        net: net.clone(),
        checking: checks.in_flight().clone(),
        placement: placement.clone(),
        metrics: Arc::clone(metrics),
        recorder,
        trace: trace.clone(),
        halt: halt.clone(),
    }
}

fn start_verify(parts: VerifyParts, order: Sender<ToOrder>) -> std::io::Result<VerifyWorker> {
    VerifyWorker::start(parts, move |inputs| {
        drop(order.send(ToOrder::Inputs(inputs)))
    })
}

/// What waits between the threads, where its number does not bound it.
struct Backlogs {
    peers: PeerBacklog,
    ops: StageBytes,
    blocks: AppBacklog,
    disk: DiskBacklog,
}

impl Backlogs {
    fn new(validators: usize) -> Self {
        Self {
            peers: PeerBacklog::new(validators),
            ops: StageBytes::default(),
            blocks: AppBacklog::default(),
            disk: DiskBacklog::default(),
        }
    }
}

/// What the gate looks at.
fn depths(
    (order, journal, app): (&Sender<ToOrder>, &Sender<ToJournal>, &Sender<ToApp>),
    backlogs: &Backlogs,
    checks: &CheckSender,
) -> Vec<Box<dyn Fn() -> usize + Send>> {
    let (checks, peers, ops) = (checks.clone(), backlogs.peers.clone(), backlogs.ops.clone());
    let (blocks, disk) = (backlogs.blocks.clone(), backlogs.disk.clone());
    vec![
        depth(order),
        depth(journal),
        depth(app),
        Box::new(move || peers.depth()),
        Box::new(move || ops.depth()),
        Box::new(move || blocks.depth()),
        Box::new(move || disk.depth()),
        // Forwarded commands have a bound of their own: one peer's must not keep everybody's votes
        // out.
        Box::new(move || checks.depth()),
    ]
}

fn depth<T: Send + 'static>(sender: &Sender<T>) -> Box<dyn Fn() -> usize + Send> {
    let sender = sender.clone();
    Box::new(move || sender.len())
}

/// Starts a thread whose failure, or panic, halts all others.
fn spawn<T: Send + 'static>(
    name: &str,
    halt: &Halt,
    run: impl FnOnce() -> Result<T, NodeFailure> + Send + 'static,
) -> std::io::Result<Ended<T>> {
    let mut guard = HaltOnDrop {
        halt: halt.clone(),
        is_armed: true,
    };
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || {
            super::own_memory::reserve();
            let ended = run();
            guard.disarm(ended.is_ok());
            ended
        })
}

/// Halts all threads when one ends by a failure or a panic.
struct HaltOnDrop {
    halt: Halt,
    is_armed: bool,
}

impl HaltOnDrop {
    const fn disarm(&mut self, is_well: bool) {
        self.is_armed = !is_well;
    }
}

impl Drop for HaltOnDrop {
    fn drop(&mut self) {
        if self.is_armed {
            self.halt.set();
        }
    }
}

/// Ends the net thread behind what the others have told, or at once when one of them has failed:
/// then nothing more is said of what may be in no log.
fn end_net(net: &NetSender, halt: &Halt, has_ended_well: bool) {
    if has_ended_well {
        net.send(ToNet::End);
    } else {
        halt.set();
        net.wake();
    }
}

fn joined<T>(thread: Ended<T>, name: &'static str) -> Result<T, NodeFailure> {
    thread.join().unwrap_or(Err(NodeFailure::ThreadLost(name)))
}

/// The message path's loop.
struct NetThread {
    wire: WireStage,
    items: channel::Receiver<ToNet>,
    order: Sender<ToOrder>,
    app: Sender<ToApp>,
    /// In a chain of signed commands.
    checks: Option<CheckSender>,
    gate: Gate,
    backlog: Backlog,
    peers: PeerBacklog,
    inlet: Arc<Inlet>,
    control: channel::Receiver<Control>,
    placement: Placement,
    metrics: Arc<Metrics>,
    finalized: Publisher,
    shadow: ShadowSender,
    scrub: ScrubSender,
    halt: Halt,
    trace: Trace,
    answers: Answers,
    /// Whether the other threads have ended and all that they told was taken.
    is_last: bool,
}

impl NetThread {
    fn run(mut self) -> Result<(), NodeFailure> {
        super::pin_thread(self.placement.core_of(0));
        self.wire.set_linger(self.placement.idle.linger());
        let mut copied_at = Instant::now();
        while !self.halt.is_set() && !self.is_last {
            let mut work = self.take_in()?;
            work += self.take_items();
            self.take_control();
            if !self.inlet.is_empty() && self.order.is_empty() {
                drop(self.order.send(ToOrder::Poke));
            }
            self.wire.flush();
            self.answers.settle(|client| self.wire.waiting(client));
            if work == 0 && self.placement.idle == Idle::Yield {
                std::thread::yield_now();
            }
            if copied_at.elapsed() >= COPY_INTERVAL {
                copied_at = Instant::now();
                self.wire.copy_metrics();
            }
        }
        Ok(())
    }

    /// Takes in what the sockets have, unless those behind are full.
    fn take_in(&mut self) -> Result<usize, NodeFailure> {
        if !self.gate.is_open() {
            // Frames outward still go; the sockets' buffers hold the senders back.
            return match self.items.recv_timeout(GATE_PAUSE) {
                Ok(item) => {
                    self.take(item);
                    Ok(1)
                }
                Err(_) => Ok(0),
            };
        }
        let timeout = match self.placement.idle {
            Idle::Linger | Idle::Park => PARK_MAX,
            Idle::Yield | Idle::Spin => Duration::ZERO,
        };
        let mut outward = Outward {
            backlog: &self.backlog,
            peers: &self.peers,
            order: &self.order,
            app: &self.app,
            checks: self.checks.as_ref(),
            metrics: &self.metrics,
            trace: &self.trace,
            clock: self.wire.clock(),
            received_ns: None,
            answers: &mut self.answers,
        };
        Ok(self.wire.turn(Instant::now(), timeout, &mut outward)?)
    }

    fn take_items(&mut self) -> usize {
        let mut taken = 0;
        // An answer comes behind the blocks below its tip.
        self.wire.note_due();
        // What is there now: more may come as fast as it is taken.
        let waiting = self.items.len();
        while taken < waiting
            && let Ok(item) = self.items.try_recv()
        {
            self.take(item);
            taken += 1;
        }
        taken
    }

    fn take(&mut self, item: ToNet) {
        let leader = leader_of(&self.metrics);
        match item {
            ToNet::Frames(frames) => self.wire.send_frames(&frames),
            ToNet::Events(events) => {
                for event in &events {
                    note_event(
                        event,
                        &self.metrics,
                        &mut self.wire,
                        (&self.finalized, &self.shadow, &self.scrub),
                    );
                }
            }
            ToNet::Verdicts(client, verdicts) => {
                self.wire.replies().push_verdicts(client, leader, &verdicts);
            }
            ToNet::Forged(client, verdicts) => self.wire.cut_off(client, leader, &verdicts),
            ToNet::Reply(client, frame) => {
                self.wire
                    .replies()
                    .push(client, |bytes| bytes.extend_from_slice(&frame));
            }
            ToNet::Answer(client, answer) => {
                self.wire
                    .replies()
                    .push(client, |bytes| bytes.extend_from_slice(&answer.frame));
                self.answers.hand_over(client, answer);
            }
            ToNet::Busy(client, id) => {
                self.metrics.questions_busy.add(1);
                self.wire.replies().push(client, |bytes| {
                    client_wire::encode_busy(leader, id, QUESTION_RETRY_US, bytes);
                });
            }
            ToNet::Block(results) => {
                if self.metrics.is_serving() {
                    self.wire.send_block(leader, &results);
                }
                count_block(&self.metrics, &results);
                tell_block(&results);
                self.finalized.publish(&self.metrics, &mut vec![*results]);
            }
            ToNet::Repeats(_) if !self.metrics.is_serving() => {}
            ToNet::Repeats(repeats) => self.wire.with_clients(|clients, send| {
                clients.send_repeats(leader, &repeats, &mut |client, frame| send(client, frame));
            }),
            ToNet::End => self.is_last = true,
        }
    }

    fn take_control(&self) {
        while let Ok(control) = self.control.try_recv() {
            match control {
                Control::Status(reply) => {
                    self.wire.copy_metrics();
                    drop(
                        self.order
                            .send(ToOrder::Status(StatusReply::Embedder(reply))),
                    );
                }
                Control::Shutdown(drain) => {
                    self.inlet.close();
                    drop(self.order.send(ToOrder::Shutdown(nanoseconds(drain))));
                }
                other @ (Control::Query(..) | Control::SessionAt(..)) => {
                    drop(self.app.send(ToApp::Control(other)));
                }
            }
        }
    }
}

/// The other threads as the wire stage sees them.
struct Outward<'t> {
    backlog: &'t Backlog,
    peers: &'t PeerBacklog,
    order: &'t Sender<ToOrder>,
    app: &'t Sender<ToApp>,
    checks: Option<&'t CheckSender>,
    metrics: &'t Metrics,
    trace: &'t Trace,
    clock: Clock,
    /// Read when the first submission comes in: the turn may have slept before.
    received_ns: Option<u64>,
    answers: &'t mut Answers,
}

impl Inward for Outward<'_> {
    fn peer_up(&mut self, peer: ValidatorIndex) {
        drop(self.order.send(ToOrder::PeerUp(peer)));
    }

    fn peer_down(&mut self, peer: ValidatorIndex) {
        drop(self.order.send(ToOrder::PeerDown(peer)));
    }

    fn peer_frame(&mut self, peer: ValidatorIndex, frame: &[u8]) -> bool {
        let at_ns = self.trace.now_ns();
        match wire::decode(frame) {
            Ok(message) => {
                let message = message.into_message();
                self.trace.received(at_ns, peer, &message);
                // The frame came over the channel of this peer.
                let message = Authenticated::assert_authenticated(peer, message);
                match self.peers.take(message, frame.len()) {
                    Some(message) => drop(self.order.send(ToOrder::Message(Box::new(message)))),
                    None => self.metrics.peer_frames_dropped.add(1),
                }
                true
            }
            Err(error) => {
                tracing::warn!(peer = peer.number(), %error, "a peer's frame is malformed");
                self.metrics.peer_frames_malformed.add(1);
                false
            }
        }
    }

    fn room(&mut self) -> Room {
        let room = self.backlog.room();
        let pool = u32::try_from(self.metrics.orders_hold_us.read()).unwrap_or(u32::MAX);
        Room {
            orders_hold_us: room.orders_hold_us.or_else(|| (pool > 0).then_some(pool)),
            ..room
        }
    }

    fn has_room_for_question(&mut self, client: ClientId) -> bool {
        self.answers.has_room(client)
            && self.app.len() < QUESTIONS_QUEUED_MAX
            && self.order.len() < QUESTIONS_QUEUED_MAX
    }

    fn request(&mut self, from: Caller, request: ClientFrame<'_>, _replies: &mut Replies) {
        match request {
            ClientFrame::Submit { entries, .. } => {
                let clock = self.clock;
                let received_ns = *self.received_ns.get_or_insert_with(|| clock.mono_ns());
                let entries = self.backlog.take(entries, received_ns);
                match self.checks {
                    Some(checks) => checks.submit(from, entries),
                    None => drop(self.order.send(ToOrder::Submit(from, entries))),
                }
            }
            ClientFrame::Query { id, question } => {
                let room = self.answers.room(from.client);
                let question = question.into();
                drop(self.app.send(ToApp::Query(from, id, question, room)));
            }
            ClientFrame::StatusAsk { id } => {
                drop(
                    self.order
                        .send(ToOrder::Status(StatusReply::Client(from.client, id))),
                );
            }
            ClientFrame::RootAsk { id } => drop(self.app.send(ToApp::Root(from.client, id))),
            ClientFrame::SessionAsk { id } => drop(self.app.send(ToApp::Session(from, id))),
            ClientFrame::PrivateAsk { id, from: at, to } => {
                let range = PrivateRange::of(from.session, at, to);
                let room = self.answers.room(from.client);
                drop(self.app.send(ToApp::Private(from.client, id, range, room)));
            }
            // The wire stage answers these itself.
            ClientFrame::Public { .. } => {}
        }
    }
}

#[cfg(test)]
#[path = "dedicated_tests.rs"]
mod tests;
