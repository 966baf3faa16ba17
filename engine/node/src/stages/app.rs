//! The app stage on a thread of its own: sessions and the application.
//!
//! Owns the loop around an [`Executor`]: finalized blocks in, results and answers out. Never:
//! asked before a vote; of consensus nothing waits for it but what would make more final while
//! execution is behind (protocol.md 2.9).

use super::answers::AnswerRoom;
use super::check::InFlight;
use super::dedicated::Halt;
use super::inlet::{Control, SessionAt};
use super::questions::answer_of;
use super::session_ask;
use crate::client_wire;
use crate::drift::Recorder;
use crate::executor::{Executor, PrivateAnswer};
use crate::idle::{Received, receive};
use crate::metrics::Metrics;
use crate::node::NodeFailure;
use crate::parked::{Receiver, Sender};
use crate::private::PrivateRange;
use crate::profiles::Placement;
use crate::queues::{NetSender, StatusReply, ToApp, ToNet, ToOrder};
use crate::replica::ReplicaError;
use crate::results::BlockResults;
use crate::state_machine::StateMachine;
use crate::status::NodeStatus;
use crate::trace::Trace;
use quorate_consensus::input::Input;
use quorate_consensus::types::ValidatorIndex;
use quorate_net::ClientId;
use std::sync::Arc;
use std::time::Duration;

/// Longest sleep.
const PARK_MAX: Duration = Duration::from_millis(50);

/// What the thread is made of.
pub(crate) struct AppThread<S> {
    pub(crate) executor: Executor<S>,
    pub(crate) items: Receiver<ToApp>,
    pub(crate) order: Sender<ToOrder>,
    pub(crate) net: NetSender,
    /// Blocks whose signatures are being checked.
    pub(crate) checking: InFlight,
    pub(crate) placement: Placement,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) recorder: Recorder,
    pub(crate) trace: Trace,
    pub(crate) halt: Halt,
}

impl<S: StateMachine> AppThread<S> {
    /// Runs until the journal has nothing more.
    ///
    /// # Errors
    /// [`NodeFailure`]: a block cannot be executed, so this validator must not go on.
    pub(crate) fn run(mut self) -> Result<(), NodeFailure> {
        super::pin_thread(self.placement.core_of(3));
        let mut timer_next_ns = self.executor.timer_next_ns();
        while !self.halt.is_set() {
            let item = match receive(&self.items, self.placement.idle, PARK_MAX) {
                Received::Item(ToApp::End) | Received::Closed => break,
                Received::Item(item) => item,
                Received::Nothing => continue,
            };
            if let Err(error) = self.take(item) {
                // Said before this is dropped, which waits for the disk.
                self.halt.set();
                return Err(error);
            }
            if self.executor.timer_next_ns() != timer_next_ns {
                timer_next_ns = self.executor.timer_next_ns();
                drop(self.order.send(ToOrder::TimerNext(timer_next_ns)));
            }
        }
        Ok(())
    }

    fn take(&mut self, item: ToApp) -> Result<(), NodeFailure> {
        match item {
            ToApp::Execute(block) => {
                let mut results = Box::new(BlockResults::new());
                // The votes have not waited for this.
                self.checking.wait(&block.id);
                self.executor
                    .execute(&block, &mut results)
                    .map_err(ReplicaError::from)?;
                self.trace.executed(results.height, results.execution_ns);
                if let Some(statement) = results.statement() {
                    let inputs = vec![Input::State(statement)];
                    drop(self.order.send(ToOrder::Inputs(inputs)));
                }
                if results.settles() {
                    let (refused, corrections) = (results.refused(), results.corrections.clone());
                    let settled = ToOrder::Settled(results.height, corrections, refused);
                    drop(self.order.send(settled));
                }
                self.recorder.note(&results);
                self.net.send(ToNet::Block(results));
            }
            ToApp::Repeats(repeats) => {
                let repeats = repeats.into_iter();
                let known: Vec<_> = repeats
                    .filter_map(|(session, seq)| self.executor.repeat_result(session, seq))
                    .collect();
                if !known.is_empty() {
                    self.net.send(ToNet::Repeats(known));
                }
            }
            ToApp::Query(from, id, question, room) => {
                self.answer((from.client, id), &room, |leader| {
                    let answer = answer_of(&self.executor, from.session, &question);
                    let mut frame = Vec::new();
                    client_wire::encode_answer(leader, id, &answer, &mut frame);
                    frame
                });
            }
            ToApp::Root(client, id) => {
                let root = self.executor.root_once();
                self.reply(client, |leader, bytes| {
                    let (height, sections) = (root.height, root.sections.iter().copied());
                    client_wire::encode_root(leader, id, height, &root.combined, sections, bytes);
                });
            }
            ToApp::Session(from, id) => {
                let (executor, metrics) = (&self.executor, &self.metrics);
                self.reply(from.client, |leader, bytes| {
                    session_ask::encode(executor, metrics, leader, (&from.session, id), bytes);
                });
            }
            ToApp::Private(client, id, range, room) => {
                self.answer_private((client, id), &range, &room);
            }
            ToApp::Status(status, reply) => self.status(status, reply),
            ToApp::Control(control) => self.control(control),
            ToApp::Diverged(found) => {
                let names = self.executor.section_names();
                self.recorder.report(&found, &names);
            }
            ToApp::End => {}
        }
        Ok(())
    }

    fn status(&mut self, mut status: Box<NodeStatus>, reply: StatusReply) {
        let root = self.executor.root_once();
        status.state_root = crate::hex::encode(&root.combined);
        status.state_height = root.height;
        match reply {
            // Whoever asked may have stopped waiting.
            StatusReply::Embedder(reply) => drop(reply.try_send(*status)),
            StatusReply::Client(client, id) => {
                let json = status.to_json();
                self.reply(client, |leader, bytes| {
                    client_wire::encode_status(leader, id, &json, bytes);
                });
            }
        }
    }

    fn control(&self, control: Control) {
        match control {
            Control::Query(question, reply) => {
                let mut answer = Vec::new();
                self.executor.query(&question, &mut answer);
                drop(reply.try_send(answer));
            }
            Control::SessionAt(session, reply) => {
                let at = SessionAt::of(self.executor.sessions(), &session);
                if reply.try_send(at).is_err() {
                    tracing::debug!("nobody waits for the answer");
                }
            }
            // The net thread sends these elsewhere.
            Control::Status(_) | Control::Shutdown(_) => {}
        }
    }

    /// Answers what is in memory, if there is room for that; the rest comes from disk.
    fn answer_private(&mut self, from: (ClientId, u64), range: &PrivateRange, room: &AnswerRoom) {
        let leader = super::dedicated::leader_of(&self.metrics);
        let answer = match room.is_open() {
            true => self.executor.answer_private(leader, from, range),
            false => PrivateAnswer::Busy,
        };
        self.net.send(match answer {
            PrivateAnswer::Frame(frame) => ToNet::Answer(from.0, room.take(frame)),
            PrivateAnswer::Busy => ToNet::Busy(from.0, from.1),
            PrivateAnswer::Later => return,
        });
    }

    /// Makes an answer that may be long, if there is room for it.
    fn answer(
        &self,
        (client, id): (ClientId, u64),
        room: &AnswerRoom,
        make: impl FnOnce(Option<ValidatorIndex>) -> Vec<u8>,
    ) {
        let told = match room.is_open() {
            true => {
                let frame = make(super::dedicated::leader_of(&self.metrics));
                ToNet::Answer(client, room.take(frame))
            }
            false => ToNet::Busy(client, id),
        };
        self.net.send(told);
    }

    fn reply(&self, client: ClientId, write: impl FnOnce(Option<ValidatorIndex>, &mut Vec<u8>)) {
        let mut bytes = Vec::new();
        write(super::dedicated::leader_of(&self.metrics), &mut bytes);
        self.net.send(ToNet::Reply(client, bytes));
    }
}

#[cfg(test)]
#[path = "app_tests.rs"]
mod tests;
