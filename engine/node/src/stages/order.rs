//! The order stage on a thread of its own: consensus and pool.
//!
//! Owns the loop around an [`OrderStage`]: what came is handed over, the stage is settled, what it
//! asks for goes to the other threads. Never: waits for any of them; answers come as items.

use super::check::CheckSender;
use super::clock::{Clock, nanoseconds};
use super::dedicated::{Halt, copy_order};
use super::inlet::InletReader;
use super::verify::VerifyWorker;
use super::wire::count_verdicts;
use crate::idle::{Received, receive};
use crate::metrics::Metrics;
use crate::node::NodeFailure;
use crate::parked::{Receiver, Sender};
use crate::profiles::{Idle, Placement};
use crate::queues::{
    NetSender, StageBytes, StatusReply, ToApp, ToJournal, ToNet, ToOrder, WaitingOps,
};
use crate::replica::{Event, Job, OrderOut, OrderStage, ReplicaError};
use crate::roots::StateRoot;
use crate::status::{NodeStatus, StatusFacts};
use quorate_consensus::input::Input;
use quorate_consensus::machine::Disposition;
use quorate_consensus::types::{Now, ValidatorIndex};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Items taken in one turn: rules are judged at its end, and timers after that.
pub(super) const ITEMS_PER_TURN: usize = 1024;
/// Settling passes of one turn at most.
const PASSES_PER_TURN: usize = 8;
/// Longest sleep.
const PARK_MAX: Duration = Duration::from_millis(50);

/// What the thread is made of.
pub(crate) struct OrderThread {
    pub(crate) own: ValidatorIndex,
    pub(crate) stage: OrderStage,
    pub(crate) items: Receiver<ToOrder>,
    pub(crate) net: NetSender,
    pub(crate) journal: Sender<ToJournal>,
    pub(crate) journal_bytes: StageBytes,
    pub(crate) app: Sender<ToApp>,
    pub(crate) verify: VerifyWorker,
    pub(crate) checks: CheckSender,
    pub(crate) inlet: InletReader,
    pub(crate) clock: Clock,
    pub(crate) placement: Placement,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) halt: Halt,
}

impl OrderThread {
    /// Runs until a stop was asked for and nothing is in flight, then ends the journal's input.
    ///
    /// # Errors
    /// [`NodeFailure`]: this validator must not go on.
    pub(crate) fn run(mut self) -> Result<(), NodeFailure> {
        super::pin_thread(self.placement.core_of(1));
        let mut out = OrderOut::default();
        let mut jobs: Vec<Job> = Vec::new();
        let mut stop_at_ns = None;
        while !self.halt.is_set() {
            let work = self.take_items(&mut stop_at_ns)?;
            let (_, now) = self.clock.read();
            let start = Instant::now();
            self.settle(now, &mut out, &mut jobs)?;
            if work > 0 {
                self.metrics.turns.add(1);
                self.metrics.turn.record(nanoseconds(start.elapsed()));
                copy_order(&self.metrics, &self.stage);
                let hold_us = self.stage.lanes().orders_hold_us(now.mono_ns).unwrap_or(0);
                self.metrics.orders_hold_us.set(u64::from(hold_us));
            }
            if stop_at_ns.is_some_and(|at_ns| self.is_done(now, at_ns)) {
                break;
            }
        }
        // The journal may be gone already, after a failure of its own.
        drop(self.journal.send(ToJournal::End));
        Ok(())
    }

    fn is_done(&self, now: Now, stop_at_ns: u64) -> bool {
        let is_idle = self.stage.lanes().is_empty() && self.inlet.is_empty();
        now.mono_ns >= stop_at_ns || is_idle
    }

    /// Waits for something and takes all that is there, up to a bound.
    pub(super) fn take_items(
        &mut self,
        stop_at_ns: &mut Option<u64>,
    ) -> Result<usize, NodeFailure> {
        let (_, now) = self.clock.read();
        let due_ns = match self.inlet.has_more() {
            true => 0,
            false => self.stage.deadline_ns(now).saturating_sub(now.mono_ns),
        };
        let timeout = Duration::from_nanos(due_ns).min(PARK_MAX);
        // A due turn looks without waiting, whatever the idling.
        let idle = if due_ns == 0 {
            Idle::Spin
        } else {
            self.placement.idle
        };
        let Received::Item(first) = receive(&self.items, idle, timeout) else {
            return Ok(0);
        };
        let (_, now) = self.clock.read();
        self.take(now, first, stop_at_ns)?;
        let mut taken = 1;
        while taken < ITEMS_PER_TURN
            && let Ok(item) = self.items.try_recv()
        {
            self.take(now, item, stop_at_ns)?;
            taken += 1;
        }
        Ok(taken)
    }

    pub(super) fn take(
        &mut self,
        now: Now,
        item: ToOrder,
        stop_at_ns: &mut Option<u64>,
    ) -> Result<(), NodeFailure> {
        match item {
            ToOrder::PeerUp(peer) => {
                self.stage.input(now, Input::PeerUp(peer));
            }
            ToOrder::PeerDown(peer) => {
                self.stage.input(now, Input::PeerDown(peer));
            }
            ToOrder::Message(message) => {
                let message = message.into_message();
                let from = message.from();
                let disposition = self.stage.input(now, Input::Message(message));
                if let Disposition::Fault(fault) = disposition {
                    tracing::warn!(peer = from.number(), ?fault, "a peer is at fault");
                    self.net.send(ToNet::Events(vec![Event::PeerFault(from)]));
                }
            }
            ToOrder::Submit(from, entries) => {
                let mut verdicts = Vec::new();
                let session = Some(from.session);
                let times = (now, entries.received_ns);
                let commands = entries.commands();
                self.stage
                    .submit_entries(times, session, commands, &mut verdicts);
                count_verdicts(&self.metrics, &verdicts);
                self.net.send(ToNet::Verdicts(from.client, verdicts));
            }
            ToOrder::Forwarded(forward) => {
                if self.stage.take_forwarded(now, &forward) {
                    let fault = Event::PeerFault(forward.run.from);
                    self.net.send(ToNet::Events(vec![fault]));
                }
            }
            ToOrder::Settled(height, corrections, refused) => {
                self.stage
                    .settled(now, height, &corrections, &refused)
                    .map_err(ReplicaError::from)?;
            }
            ToOrder::Journaled(all) => {
                for done in all {
                    self.stage.journaled(now, done);
                }
            }
            ToOrder::Inputs(inputs) => {
                for input in inputs {
                    self.stage.input(now, input);
                }
            }
            ToOrder::TimerNext(due_ns) => self.stage.set_timer_next(due_ns),
            ToOrder::Status(reply) => self.status(reply),
            ToOrder::Poke => {}
            ToOrder::Shutdown(drain_ns) => {
                if stop_at_ns.is_none() {
                    self.inlet.close();
                    self.stage.input(now, Input::Shutdown);
                    *stop_at_ns = Some(now.mono_ns.saturating_add(drain_ns));
                }
            }
        }
        Ok(())
    }

    /// Fills in what this thread knows; the app thread adds the state root.
    fn status(&self, reply: StatusReply) {
        let root = StateRoot::combine(0, Vec::new());
        let facts = StatusFacts {
            own: self.own,
            order: &self.stage,
            root: &root,
            threading: self.placement.threading,
            idle: self.placement.idle,
        };
        let status = Box::new(NodeStatus::new(&facts, &self.metrics));
        drop(self.app.send(ToApp::Status(status, reply)));
    }

    /// Judges the rules and sends what follows, until nothing new is proposed.
    pub(super) fn settle(
        &mut self,
        now: Now,
        out: &mut OrderOut,
        jobs: &mut Vec<Job>,
    ) -> Result<(), NodeFailure> {
        let mut verdicts = Vec::new();
        let (stage, metrics) = (&mut self.stage, &self.metrics);
        self.inlet.take(metrics, &mut verdicts, |entry, verdicts| {
            stage.submit((now, now.mono_ns), None, entry, verdicts)
        });
        for _ in 0..PASSES_PER_TURN {
            self.stage.settle(now, out).map_err(ReplicaError::from)?;
            self.hand_over(out, jobs);
            let has_proposed = self.stage.propose(now, out).map_err(ReplicaError::from)?;
            self.hand_over(out, jobs);
            if !has_proposed {
                break;
            }
        }
        // The own records are on their way to the journal. A read may have to come from the disk.
        self.stage.serve(out).map_err(ReplicaError::from)?;
        self.hand_over(out, jobs);
        Ok(())
    }

    /// Gives everything to the thread whose it is. The journal first: a frame never tells of
    /// what is not on its way to the log.
    fn hand_over(&self, out: &mut OrderOut, jobs: &mut Vec<Job>) {
        if !out.journal.is_empty() {
            let ops = WaitingOps::new(std::mem::take(&mut out.journal), &self.journal_bytes);
            if self.journal.send(ToJournal::Append(ops)).is_err() {
                // Without a journal nothing may leave.
                self.halt.set();
                return;
            }
        }
        if !out.frames.is_empty() {
            self.net
                .send(ToNet::Frames(std::mem::take(&mut out.frames)));
        }
        for event in &out.events {
            if let Event::Diverged(found) = event {
                drop(self.app.send(ToApp::Diverged(found.clone())));
            }
        }
        if !out.events.is_empty() {
            self.net
                .send(ToNet::Events(std::mem::take(&mut out.events)));
        }
        if !out.repeats.is_empty() {
            drop(
                self.app
                    .send(ToApp::Repeats(std::mem::take(&mut out.repeats))),
            );
        }
        for check in out.checks.drain(..) {
            self.checks.ask(check);
        }
        jobs.append(&mut out.jobs);
        self.verify.hand_over(jobs);
    }
}
