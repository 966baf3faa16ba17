//! One thread for net, order, journal and app, in that order, without a queue between them.
//!
//! Owns the loop: what came is handed to the replica, the replica's turn is run, and what it asks
//! for is done. Syncs and validators' signatures are on other threads, which wake this one. Those
//! of clients are checked here, in bounded batches at the end of a turn: what it has to send has
//! left by then, and what arrives meanwhile waits for their end. A turn reads each clock at most
//! twice and writes each socket at most once. Never: waits for the disk.

use super::check::{Submission, Submissions};
use super::clock::{Clock, nanoseconds};
use super::courtesy::Courtesy;
use super::dedicated::copy_order;
use super::door::Room;
use super::executed::{count_block, tell_block};
use super::inlet::{Control, InletReader, SessionAt};
use super::journal::SyncThread;
use super::patience::Patience;
use super::publisher::Publisher;
use super::questions::answer_of;
use super::scrub::{ScrubSender, ToScrub};
use super::session_ask;
use super::shadow::ShadowSender;
use super::verify::VerifyWorker;
use super::wire::{Caller, Inward, Replies, WireStage, count_verdicts};
use crate::client_wire::{self, ClientFrame};
use crate::drift::Recorder;
use crate::executor::PrivateAnswer;
use crate::journal::{SyncDone, SyncError};
use crate::lanes::CommandVerdict;
use crate::metrics::Metrics;
use crate::node::NodeFailure;
use crate::private::PrivateRange;
use crate::profiles::{Idle, Placement};
use crate::replica::{Event, FrameOutcome, Job, Outbox, Replica};
use crate::state_machine::StateMachine;
use crate::status::{NodeStatus, StatusFacts};
use crossbeam::channel::Receiver;
use quorate_consensus::effect::Alarm;
use quorate_consensus::input::Input;
use quorate_consensus::types::{Now, ValidatorIndex};
use quorate_net::ClientId;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Longest sleep: the consensus asks to be looked at far more often.
const PARK_MAX: Duration = Duration::from_millis(100);
/// How long to wait for other threads before sockets that are left unread are thought of again.
const FULL_PAUSE: Duration = Duration::from_micros(200);
/// How often the net's numbers are copied for readers.
const COPY_INTERVAL_NS: u64 = 50_000_000;

/// What the loop is made of.
pub(crate) struct SharedParts<S> {
    pub(crate) own: ValidatorIndex,
    pub(crate) replica: Replica<S>,
    pub(crate) wire: WireStage,
    pub(crate) sync: SyncThread,
    pub(crate) verify: VerifyWorker,
    pub(crate) clock: Clock,
    pub(crate) placement: Placement,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) inlet: InletReader,
    pub(crate) sync_done: Receiver<Result<SyncDone, SyncError>>,
    pub(crate) verify_done: Receiver<Vec<Input>>,
    pub(crate) control: Receiver<Control>,
    pub(crate) finalized: Publisher,
    pub(crate) shadow: ShadowSender,
    pub(crate) scrub: ScrubSender,
    pub(crate) recorder: Recorder,
}

/// The loop.
pub(crate) struct SharedLoop<S> {
    parts: SharedParts<S>,
    outbox: Outbox,
    submissions: Submissions,
    verdicts: Vec<CommandVerdict>,
    /// When the loop ends although commands wait, by the monotonic clock.
    stop_at_ns: Option<u64>,
    copied_at_ns: u64,
    courtesy: Courtesy,
    patience: Patience,
}

impl<S: StateMachine> SharedLoop<S> {
    pub(crate) fn new(mut parts: SharedParts<S>) -> Self {
        parts.wire.set_linger(parts.placement.idle.linger());
        let auth = Arc::clone(parts.replica.executor().auth());
        Self {
            parts,
            submissions: Submissions::new(auth),
            outbox: Outbox::new(),
            verdicts: Vec::new(),
            stop_at_ns: None,
            copied_at_ns: 0,
            courtesy: Courtesy::default(),
            patience: Patience::default(),
        }
    }

    /// Runs until it is told to stop, then ends the log cleanly.
    ///
    /// # Errors
    /// [`NodeFailure`]: this validator must not go on.
    pub(crate) fn run(mut self) -> Result<(), NodeFailure> {
        super::pin_thread(self.parts.placement.core_of(0));
        super::own_memory::reserve();
        let mut deadline_ns = 0;
        while !self.is_done() {
            deadline_ns = self.turn(deadline_ns)?;
        }
        self.stop()
    }

    /// One turn; says when the next one is due at latest.
    fn turn(&mut self, deadline_ns: u64) -> Result<u64, NodeFailure> {
        let net_work = self.take_in(deadline_ns)?;
        self.patience.end_sleep();
        let (awake, now) = self.parts.clock.read();
        self.act(awake, now, net_work)
    }

    /// What follows from what came in.
    fn act(&mut self, awake: Instant, now: Now, net_work: usize) -> Result<u64, NodeFailure> {
        let mut work = net_work + self.take_completions(now)?;
        work += self.take_control(now);
        let (parts, verdicts) = (&mut self.parts, &mut self.verdicts);
        work += parts
            .inlet
            .take(&parts.metrics, verdicts, |entry, verdicts| {
                let times = (now, now.mono_ns);
                parts.replica.submit_checked(times, None, entry, verdicts)
            });
        self.parts.replica.turn_unchecked(now, &mut self.outbox)?;
        work += self.dispatch();
        let given_up = self.flush();
        self.hand_over();
        let has_served = self.serve()?;
        let checked = self.check(now)?;
        self.finish_turn(awake + given_up, now, work + checked);
        if checked > 0 || has_served || self.parts.inlet.has_more() {
            // What came of it is proposed and told without a sleep before, behind what came
            // meanwhile.
            return Ok(0);
        }
        let replica_ns = self.parts.replica.deadline_ns(now);
        // While blocks wait for their signatures submissions do; the replica knows when it goes on.
        let submissions_ns = match self.parts.replica.is_behind() {
            true => u64::MAX,
            false => self.submissions.deadline_ns(),
        };
        Ok(replica_ns.min(submissions_ns))
    }

    /// Takes in what the sockets have, or sleeps until they have something; when too much is final
    /// and not executed they are left unread, and their buffers hold the senders back.
    fn take_in(&mut self, deadline_ns: u64) -> Result<usize, NodeFailure> {
        let parts = &mut self.parts;
        let (instant, now) = parts.clock.read();
        let timeout = match parts.placement.idle {
            Idle::Linger | Idle::Park => {
                Duration::from_nanos(deadline_ns.saturating_sub(now.mono_ns))
            }
            Idle::Yield | Idle::Spin => Duration::ZERO,
        };
        if parts.replica.is_full() {
            let answered = parts.verify_done.recv_timeout(timeout.min(FULL_PAUSE));
            return Ok(answered.map_or(0, |inputs| take_verified(&mut parts.replica, now, inputs)));
        }
        let timeout = timeout.min(PARK_MAX);
        let (wire, mut inward) = self.inward();
        Ok(wire.turn(instant, timeout, &mut inward)?)
    }

    /// The sockets, and to whom what they have is handed.
    fn inward(&mut self) -> (&mut WireStage, Inner<'_, S>) {
        let parts = &mut self.parts;
        let inward = Inner {
            replica: &mut parts.replica,
            clock: parts.clock,
            now: None,
            verdicts: &mut self.verdicts,
            submissions: &mut self.submissions,
            metrics: &parts.metrics,
            own: parts.own,
            placement: &parts.placement,
            patience: &mut self.patience,
        };
        (&mut parts.wire, inward)
    }

    fn finish_turn(&mut self, awake: Instant, now: Now, work: usize) {
        let metrics = &self.parts.metrics;
        if work > 0 {
            metrics.turns.add(1);
            metrics.turn.record(nanoseconds(awake.elapsed()));
        } else if self.parts.placement.idle == Idle::Yield {
            std::thread::yield_now();
        } else {
            std::hint::spin_loop();
        }
        if now.mono_ns.saturating_sub(self.copied_at_ns) >= COPY_INTERVAL_NS {
            self.copied_at_ns = now.mono_ns;
            self.copy_metrics();
        }
    }

    fn copy_metrics(&self) {
        let (metrics, order) = (&self.parts.metrics, self.parts.replica.order());
        self.parts.wire.copy_metrics();
        copy_order(metrics, order);
        let hold_us = order.lanes().orders_hold_us(self.copied_at_ns);
        metrics.orders_hold_us.set(u64::from(hold_us.unwrap_or(0)));
    }

    /// Takes what the workers have done.
    fn take_completions(&mut self, now: Now) -> Result<usize, NodeFailure> {
        let mut work = 0;
        while let Ok(done) = self.parts.sync_done.try_recv() {
            self.parts.replica.complete_sync(now, done)?;
            work += 1;
        }
        while let Ok(inputs) = self.parts.verify_done.try_recv() {
            work += take_verified(&mut self.parts.replica, now, inputs);
        }
        Ok(work)
    }

    /// Serves peers that ask, now that the own frames have left; says whether the next turn is to
    /// send something.
    fn serve(&mut self) -> Result<bool, NodeFailure> {
        let Self { parts, outbox, .. } = self;
        let has_served = parts.replica.serve(outbox)?;
        parts.wire.send_frames(&outbox.frames);
        outbox.frames.clear();
        Ok(has_served)
    }

    /// Goes on with clients' signatures, a bounded piece: those of blocks, and of what was
    /// submitted. The last thing in a turn: no frame of it waits for them. Says how many
    /// submissions are checked.
    fn check(&mut self, now: Now) -> Result<usize, NodeFailure> {
        self.parts.replica.run_checks(now, &mut self.outbox)?;
        Ok(self.check_submissions(now))
    }

    fn check_submissions(&mut self, now: Now) -> usize {
        let Self {
            parts,
            submissions,
            verdicts,
            ..
        } = self;
        if parts.replica.is_behind() {
            return 0;
        }
        let leader = Some(parts.replica.consensus().leader());
        submissions.turn(now.mono_ns);
        let mut work = 0;
        while let Some(submission) = submissions.next() {
            work += 1;
            let (from, entries, received_ns) = match submission {
                Submission::Good(from, entries, received_ns) => (from, entries, received_ns),
                Submission::Forged(from, bad) => {
                    parts.wire.cut_off(from.client, leader, &bad);
                    continue;
                }
            };
            verdicts.clear();
            let session = Some(from.session);
            let (replica, times) = (&mut parts.replica, (now, received_ns));
            match replica.submit_checked(times, session, &entries, verdicts) {
                Ok(()) => {
                    count_verdicts(&parts.metrics, verdicts);
                    let replies = parts.wire.replies();
                    replies.push_verdicts(from.client, leader, verdicts);
                }
                Err(error) => tracing::debug!(%error, "a submission is malformed"),
            }
        }
        work
    }

    /// Takes what the embedding process asks.
    fn take_control(&mut self, now: Now) -> usize {
        let mut work = 0;
        while let Ok(control) = self.parts.control.try_recv() {
            work += 1;
            let replica = &mut self.parts.replica;
            match control {
                Control::Status(reply) => {
                    self.parts.wire.copy_metrics();
                    let (own, metrics) = (self.parts.own, &self.parts.metrics);
                    let status = status_of(own, replica, &self.parts.placement, metrics);
                    // Whoever asked may have stopped waiting.
                    drop(reply.try_send(status));
                }
                Control::Query(question, reply) => {
                    let mut answer = Vec::new();
                    replica.executor().query(&question, &mut answer);
                    drop(reply.try_send(answer));
                }
                Control::SessionAt(session, reply) => {
                    let at = SessionAt::of(replica.executor().sessions(), &session);
                    if reply.try_send(at).is_err() {
                        tracing::debug!("nobody waits for the answer");
                    }
                }
                Control::Shutdown(drain) => {
                    if self.stop_at_ns.is_none() {
                        self.parts.inlet.close();
                        replica.shut_down(now);
                        self.stop_at_ns = Some(now.mono_ns.saturating_add(nanoseconds(drain)));
                    }
                }
            }
        }
        work
    }

    /// Does what the turn asked for.
    fn dispatch(&mut self) -> usize {
        let Self { parts, outbox, .. } = self;
        let work = outbox.frames.len() + outbox.results.len() + outbox.sync.len();
        parts.wire.send_frames(&outbox.frames);
        if parts.replica.awaits_syncs() {
            outbox
                .sync
                .drain(..)
                .for_each(|job| parts.sync.hand_over(job));
        }
        for results in &outbox.results {
            parts.recorder.note(results);
        }
        for event in &outbox.events {
            if let Event::Diverged(found) = event {
                let names = parts.replica.executor().section_names();
                parts.recorder.report(found, &names);
            }
            note_event(
                event,
                &parts.metrics,
                &mut parts.wire,
                (&parts.finalized, &parts.shadow, &parts.scrub),
            );
        }
        let leader = Some(parts.replica.consensus().leader());
        if parts.metrics.is_serving() {
            for results in &outbox.results {
                parts.wire.send_block(leader, results);
            }
        }
        if !outbox.repeats.is_empty() && parts.metrics.is_serving() {
            parts.wire.with_clients(|clients, send| {
                let mut send = |client, frame: &[u8]| send(client, frame);
                clients.send_repeats(leader, &outbox.repeats, &mut send);
            });
        }
        for results in &outbox.results {
            count_block(&parts.metrics, results);
            tell_block(results);
        }
        parts.finalized.publish(&parts.metrics, &mut outbox.results);
        work
    }

    /// The leader has the votes first: its clients wait for them. Where validators have to share
    /// cores, the next one's vote for the leader goes before this one's for others.
    /// Says how long the core was given up for.
    fn flush(&mut self) -> Duration {
        let Self {
            parts,
            outbox,
            courtesy,
            ..
        } = self;
        let leader = parts.replica.consensus().leader();
        let has_votes = leader != parts.own && !outbox.frames.is_empty();
        let is_ahead = has_votes && parts.wire.flush_first(leader);
        let mut given_up = Duration::ZERO;
        if is_ahead && parts.placement.is_crowded {
            // The next leader waits for own signatures after a window that failed.
            if outbox.jobs.iter().any(Job::is_signature) {
                parts.verify.hand_over(&mut outbox.jobs);
            }
            given_up = courtesy.give_core();
        }
        parts.wire.flush();
        given_up
    }

    /// Wakes other threads for what has time, now that the votes are out.
    fn hand_over(&mut self) {
        let Self { parts, outbox, .. } = self;
        outbox
            .sync
            .drain(..)
            .for_each(|job| parts.sync.hand_over(job));
        let mut jobs = std::mem::take(&mut outbox.jobs);
        parts.verify.hand_over(&mut jobs);
        outbox.clear();
        outbox.jobs = jobs;
    }

    /// Whether a stop was asked for and nothing is in flight, or its time is over.
    fn is_done(&self) -> bool {
        let Some(stop_at_ns) = self.stop_at_ns else {
            return false;
        };
        let (_, now) = self.parts.clock.read();
        let lanes = self.parts.replica.order().lanes();
        let is_idle = lanes.is_empty()
            && self.parts.inlet.is_empty()
            && self.submissions.is_empty()
            && !self.parts.replica.is_checking()
            && !self.parts.replica.is_unfinished();
        now.mono_ns >= stop_at_ns || is_idle
    }

    /// Ends the log: the last sync, then the clean-stop marker as the last thing.
    fn stop(mut self) -> Result<(), NodeFailure> {
        // What the last turn's checks have brought, and what was read for peers.
        self.dispatch();
        self.parts.wire.flush();
        let SharedParts {
            replica,
            wire,
            sync,
            verify,
            metrics,
            ..
        } = self.parts;
        drop(verify);
        // No frame leaves after the marker.
        drop(wire);
        let worker = sync.stop().ok_or(NodeFailure::ThreadLost("sync"))?;
        copy_order(&metrics, replica.order());
        replica.stop(worker).map_err(NodeFailure::Sync)
    }
}

/// Gives what the signatures' thread has found out to the replica; it counts as one piece of work.
fn take_verified<S: StateMachine>(replica: &mut Replica<S>, now: Now, inputs: Vec<Input>) -> usize {
    for input in inputs {
        replica.input(now, input);
    }
    1
}

pub(crate) fn note_event(
    event: &Event,
    metrics: &Metrics,
    wire: &mut WireStage,
    (publisher, shadow, scrub): (&Publisher, &ShadowSender, &ScrubSender),
) {
    match event {
        Event::Entered { window, leader } => {
            tracing::debug!(
                window = window.number(),
                leader = leader.number(),
                "entered"
            );
        }
        Event::Stopped(window) => tracing::info!(window = window.number(), "window stopped"),
        Event::Proven(_) => {}
        Event::Durable(height) => publisher.publish_durable(*height),
        Event::StateProven(proven) => {
            let height = proven.statement.height.number();
            tracing::debug!(height, "state attested");
            // Snapshots, and states with the own word, come after higher ones.
            let highest = metrics.height_attested.read().max(height);
            metrics.height_attested.set(highest);
            shadow.send_proven(proven);
        }
        Event::Alarm(Alarm::Recovered(until)) => {
            let until = until.number();
            tracing::warn!(until, "recovered: nothing is said up to this window");
        }
        Event::Snapshot { from, part } => shadow.send_part(*from, part.clone()),
        Event::Faulty(fault) => scrub.note_unreadable(fault),
        Event::Mended(block) => scrub.send(ToScrub::Block(block.clone())),
        Event::Diverged(found) => {
            metrics.alarms.add(1);
            // A start that found the bundle of an earlier run has said since when.
            if metrics.is_serving() {
                metrics.diverged_height.set(found.own.height.number());
            }
            let common = found.common.as_ref();
            let common = common.map_or(0, |common| common.height.number());
            shadow.send_diverged(common);
            wire.stop_serving();
        }
        // The log has it in words.
        Event::Evidence(_) => metrics.alarms.add(1),
        Event::Alarm(Alarm::StateDiffers { height, section }) => {
            metrics.alarms.add(1);
            let (height, section) = (height.number(), metrics.section_name(*section));
            tracing::error!(
                height,
                section,
                "alarm: StateDiffers: two instances of the application, or validators, differ"
            );
        }
        Event::Alarm(alarm) => {
            metrics.alarms.add(1);
            tracing::error!(?alarm, "alarm");
        }
        Event::PeerFault(peer) => wire.drop_peer(*peer),
    }
}

fn status_of<S: StateMachine>(
    own: ValidatorIndex,
    replica: &mut Replica<S>,
    placement: &Placement,
    metrics: &Metrics,
) -> NodeStatus {
    let root = replica.executor_mut().root_once();
    let facts = StatusFacts {
        own,
        order: replica.order(),
        root: &root,
        threading: placement.threading,
        idle: placement.idle,
    };
    NodeStatus::new(&facts, metrics)
}

/// The replica as the wire stage sees it: no queue in between.
struct Inner<'t, S> {
    replica: &'t mut Replica<S>,
    clock: Clock,
    /// Read when the first thing comes in: the turn may have slept before.
    now: Option<Now>,
    verdicts: &'t mut Vec<CommandVerdict>,
    submissions: &'t mut Submissions,
    metrics: &'t Metrics,
    own: ValidatorIndex,
    placement: &'t Placement,
    patience: &'t mut Patience,
}

impl<S> Inner<'_, S> {
    fn now(&mut self) -> Now {
        *self.now.get_or_insert_with(|| self.clock.read().1)
    }
}

impl<S: StateMachine> Inward for Inner<'_, S> {
    fn peer_up(&mut self, peer: ValidatorIndex) {
        let now = self.now();
        self.replica.peer_up(now, peer);
    }

    fn peer_down(&mut self, peer: ValidatorIndex) {
        let now = self.now();
        self.replica.peer_down(now, peer);
    }

    fn peer_frame(&mut self, peer: ValidatorIndex, frame: &[u8]) -> bool {
        let now = self.now();
        let outcome = self.replica.peer_frame(now, peer, frame);
        if outcome.is_fault() {
            tracing::warn!(peer = peer.number(), ?outcome, "a peer is at fault");
        }
        if matches!(outcome, FrameOutcome::Malformed(_)) {
            self.metrics.peer_frames_malformed.add(1);
        }
        !outcome.is_fault()
    }

    fn is_reason(&mut self, peer: ValidatorIndex) -> bool {
        let consensus = self.replica.consensus();
        !self.placement.is_crowded || self.patience.is_reason(consensus, peer)
    }

    fn waited_in_vain(&mut self) {
        self.patience.waited_in_vain();
    }

    fn room(&mut self) -> Room {
        let now = self.now();
        let pool = self.replica.order().lanes().orders_hold_us(now.mono_ns);
        Room {
            cancels_hold_us: None,
            urgent_hold_us: self.submissions.urgent_hold_us(),
            orders_hold_us: self.submissions.orders_hold_us().or(pool),
        }
    }

    fn has_room_for_question(&mut self, _: ClientId) -> bool {
        true
    }

    fn request(&mut self, from: Caller, request: ClientFrame<'_>, replies: &mut Replies) {
        let now = self.now();
        let leader = Some(self.replica.consensus().leader());
        match request {
            ClientFrame::Submit { entries, .. } if self.submissions.is_signed() => {
                if let Err(busy) = self.submissions.push(now.mono_ns, from, entries) {
                    count_verdicts(self.metrics, &busy);
                    replies.push_verdicts(from.client, leader, &busy);
                }
            }
            ClientFrame::Submit { commands, .. } => {
                self.verdicts.clear();
                let session = Some(from.session);
                self.replica
                    .submit_unsigned(now, session, commands, self.verdicts);
                count_verdicts(self.metrics, self.verdicts);
                replies.push_verdicts(from.client, leader, self.verdicts);
            }
            ClientFrame::Query { id, question } => {
                let answer = answer_of(self.replica.executor(), from.session, question);
                replies.push(from.client, |bytes| {
                    client_wire::encode_answer(leader, id, &answer, bytes);
                });
            }
            ClientFrame::StatusAsk { id } => {
                let status = status_of(self.own, self.replica, self.placement, self.metrics);
                let json = status.to_json();
                replies.push(from.client, |bytes| {
                    client_wire::encode_status(leader, id, &json, bytes);
                });
            }
            ClientFrame::RootAsk { id } => {
                let root = self.replica.executor_mut().root_once();
                replies.push(from.client, |bytes| {
                    let sections = root.sections.iter().copied();
                    client_wire::encode_root(
                        leader,
                        id,
                        root.height,
                        &root.combined,
                        sections,
                        bytes,
                    );
                });
            }
            ClientFrame::PrivateAsk { id, from: at, to } => {
                let range = PrivateRange::of(from.session, at, to);
                let executor = self.replica.executor_mut();
                let answer = executor.answer_private(leader, (from.client, id), &range);
                if matches!(answer, PrivateAnswer::Busy) {
                    self.metrics.questions_busy.add(1);
                }
                replies.push_private(from.client, leader, id, answer);
            }
            // The wire stage answers these itself.
            ClientFrame::Public { .. } => {}
            ClientFrame::SessionAsk { id } => {
                let (executor, metrics) = (self.replica.executor(), self.metrics);
                replies.push(from.client, |bytes| {
                    session_ask::encode(executor, metrics, leader, (&from.session, id), bytes);
                });
            }
        }
    }
}

#[cfg(test)]
#[path = "shared_tests.rs"]
mod tests;
