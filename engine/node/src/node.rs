//! The embedding interface: a validator in this process.
//!
//! Owns the start (folder, recovery, ports, threads, in that order), the handles to the running
//! node, and the stop. Never: work on the path of a command.

mod addresses;
mod ask;
mod diverged;
mod early;
mod failing;
mod failure;
mod first;
mod made;
mod public;
mod shared_ask;
mod start;

// What stands in the functions of a node.
pub use crossbeam::channel::Receiver;
pub use quorate_consensus::types::ValidatorIndex;

pub use crate::refused::system_code;
pub use crate::stages::inlet::{Admission, EmbeddedSession};
pub use ask::{PeerWord, ask_peers};
pub use failing::Failing;
pub use failure::{NodeFailure, StartError};
pub use made::{initialize, is_unused};
pub use start::{
    DRAIN_DEFAULT, declare_lost, export_votes, import_votes, log_path, snapshots_path,
};

use crate::config::NodeConfig;
use crate::drift::DivergedStatus;
use crate::http::HttpServer;
use crate::keys::KeyPair;
use crate::metrics::Metrics;
use crate::results::BlockResults;
use crate::shadow::{Fresh, Second};
use crate::stages::inlet::{Control, Inlet};
use crate::stages::shadow::ShadowSender;
use crate::state_machine::StateMachine;
use crate::status::NodeStatus;
use crossbeam::channel::{RecvTimeoutError, SendTimeoutError, Sender, bounded};
use quorate_net::Waker;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// How long a question to the running loop may take.
const ASK_TIMEOUT: Duration = Duration::from_secs(5);

/// A running validator. Dropping it stops it without waiting for what is in flight.
#[derive(Debug)]
pub struct Node {
    own: ValidatorIndex,
    peer_address: Option<SocketAddr>,
    client_address: Option<SocketAddr>,
    metrics: Arc<Metrics>,
    asker: Asker,
    inlet: Arc<Inlet>,
    finalized: Receiver<BlockResults>,
    durable: Receiver<u64>,
    is_wanted: Arc<AtomicBool>,
    http: Option<HttpServer>,
    shadow: ShadowSender,
    thread: Option<JoinHandle<Result<(), NodeFailure>>>,
}

/// A way to ask the loop, for any thread.
#[derive(Clone, Debug)]
pub(crate) struct Asker {
    control: Sender<Control>,
    waker: Waker,
}

impl Asker {
    pub(crate) const fn new(control: Sender<Control>, waker: Waker) -> Self {
        Self { control, waker }
    }

    /// Asks without waiting, for an answer or for room; none where there is no room.
    pub(crate) fn try_ask<T>(
        &self,
        make: impl FnOnce(Sender<T>) -> Control,
    ) -> Option<Receiver<T>> {
        let (reply, answer) = bounded(1);
        self.control.try_send(make(reply)).ok()?;
        self.waker.wake();
        Some(answer)
    }

    /// Makes the loop look at what was handed to it.
    pub(crate) fn wake(&self) {
        self.waker.wake();
    }

    fn ask<T>(&self, make: impl FnOnce(Sender<T>) -> Control) -> Result<T, NodeFailure> {
        self.ask_within(ASK_TIMEOUT, make)
    }

    /// Waits so long for room, and again for the answer.
    fn ask_within<T>(
        &self,
        patience: Duration,
        make: impl FnOnce(Sender<T>) -> Control,
    ) -> Result<T, NodeFailure> {
        let answer = self.put(patience, make)?;
        wait_for(&answer, patience)
    }

    /// Hands a question over, for which there must be room within so long.
    fn put<T>(
        &self,
        patience: Duration,
        make: impl FnOnce(Sender<T>) -> Control,
    ) -> Result<Receiver<T>, NodeFailure> {
        let (reply, answer) = bounded(1);
        match self.control.send_timeout(make(reply), patience) {
            Ok(()) => self.waker.wake(),
            Err(SendTimeoutError::Timeout(_)) => return Err(NodeFailure::NoAnswer),
            Err(SendTimeoutError::Disconnected(_)) => return Err(NodeFailure::Stopped),
        }
        Ok(answer)
    }

    pub(crate) fn status(&self) -> Result<NodeStatus, NodeFailure> {
        self.ask(Control::Status)
    }

    /// Asks the loop to stop. One that has failed takes nothing any more; its reason is found by
    /// joining it.
    pub(crate) fn stop(&self, drain: Duration) {
        let stop = Control::Shutdown(drain);
        if self.control.send_timeout(stop, ASK_TIMEOUT).is_ok() {
            self.waker.wake();
        }
    }
}

fn wait_for<T>(answer: &Receiver<T>, patience: Duration) -> Result<T, NodeFailure> {
    answer.recv_timeout(patience).map_err(|error| match error {
        RecvTimeoutError::Timeout => NodeFailure::NoAnswer,
        // The question is gone with the loop.
        RecvTimeoutError::Disconnected => NodeFailure::Stopped,
    })
}

impl Node {
    /// Starts a validator: recovers it from its folder, opens its ports, starts its threads. The
    /// folder must have been made ready by [`initialize`].
    ///
    /// # Errors
    /// [`StartError`]; nothing is left running.
    pub fn start(config: NodeConfig, app: impl StateMachine) -> Result<Self, StartError> {
        start::start(config, app, None)
    }

    /// As [`start`](Self::start), and takes snapshots as the configuration says. `second` is
    /// another instance of the same application in the same first state: it executes the same
    /// blocks on a thread of its own, and is what snapshots are taken of, so that `app` is never
    /// stopped for one. It costs its memory and as much work again. Only such a node gives its
    /// peers snapshots, and can join by one of theirs: then [`wait`](Self::wait) ends with
    /// [`NodeFailure::SnapshotFetched`], and it is to be started again.
    ///
    /// # Errors
    /// [`StartError`]; nothing is left running.
    pub fn start_with_snapshots<S: StateMachine>(
        config: NodeConfig,
        app: S,
        second: S,
    ) -> Result<Self, StartError> {
        start::start(config, app, Some(Second(second, None)))
    }

    /// As [`start_with_snapshots`](Self::start_with_snapshots), with a second instance that `make`
    /// makes, and another one for each snapshot: that is restored from it, and takes its place. So
    /// nothing goes on but what is in snapshots, as after a start; what they lack shows in the next
    /// roots, which are compared with those of `app`, also where `restore_section` does not touch
    /// it. While a snapshot is restored it costs no more memory: the old instance goes first.
    ///
    /// `make` gives an instance in the first state of `app`, each time the same; it is called on a
    /// thread that nothing waits for. Where it cannot, that snapshot is not taken.
    ///
    /// # Errors
    /// [`StartError`]; nothing is left running.
    pub fn start_with_snapshots_of<S: StateMachine>(
        config: NodeConfig,
        app: S,
        make: impl Fn() -> Result<S, String> + Send + 'static,
    ) -> Result<Self, StartError> {
        let fresh = Fresh::new(make);
        let second = Second(fresh.make()?, Some(fresh));
        start::start(config, app, Some(second))
    }

    /// Asks for a snapshot of the newest state whose root is attested, now and out of turn; it is
    /// taken in the background. Nothing happens at a node that was started without snapshots.
    pub fn take_snapshot(&self) {
        self.shadow.ask();
    }

    /// Which validator this is.
    #[must_use]
    pub const fn index(&self) -> ValidatorIndex {
        self.own
    }

    /// Where validators connect to.
    #[must_use]
    pub const fn peer_address(&self) -> Option<SocketAddr> {
        self.peer_address
    }

    /// Where clients connect to, if there is such a port.
    #[must_use]
    pub const fn client_address(&self) -> Option<SocketAddr> {
        self.client_address
    }

    /// Where metrics are served, if they are.
    #[must_use]
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.http.as_ref().map(HttpServer::address)
    }

    /// The node's numbers; readable at any time.
    #[must_use]
    pub const fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// What a thread of the program watches, to end the process when the node has failed and
    /// [`wait`](Self::wait) does not return, since a thread hangs in a disk that does not answer.
    #[must_use]
    pub fn failing(&self) -> Failing {
        Failing::new(&self.metrics)
    }

    /// A session of this process, by its public key. Its numbers go on where the chain says; where
    /// it is not open, its first commands are answered with [`Admission::Busy`] until a block has
    /// opened it. Use one handle a key, and no client elsewhere with the same key at the same time.
    ///
    /// # Errors
    /// The node has stopped, does not answer in time ([`NodeFailure::NoAnswer`]), or its state is
    /// another than the others'.
    pub fn session(&self, key: [u8; 32]) -> Result<EmbeddedSession, NodeFailure> {
        self.check_serving()?;
        let id = crate::state_machine::SessionId(quorate_consensus::payload::session_of_key(&key));
        let at = self.asker.ask(|reply| Control::SessionAt(id, reply))?;
        let (inlet, asker) = (Arc::clone(&self.inlet), self.asker.clone());
        Ok(EmbeddedSession::new(inlet, asker, key, at))
    }

    /// As [`session`](Self::session), with the key pair: in a chain of signed commands a session
    /// must sign, and one by its public key alone is refused every command.
    ///
    /// # Errors
    /// The node has stopped, or does not answer in time ([`NodeFailure::NoAnswer`]).
    pub fn signing_session(&self, key: Arc<KeyPair>) -> Result<EmbeddedSession, NodeFailure> {
        Ok(self.session(key.public())?.signing(key))
    }

    /// Finalized blocks with all results and outputs, from the next one on. There is one queue:
    /// several receivers share it. Its bounds are `limits.finalized_queue_max` and 256 MiB; a
    /// block that finds it full is left out, which shows as a missing height.
    #[must_use]
    pub fn finalized(&self) -> Receiver<BlockResults> {
        self.is_wanted.store(true, Ordering::Release);
        self.finalized.clone()
    }

    /// Heights up to which finality is durable: stake of 2F + 1 has proof and blocks on its disks,
    /// so that they survive the loss of the whole site. Each rise is told; of those that nobody
    /// took, the newest alone. An effect outside that must not be undone waits for this. Several
    /// receivers share it.
    #[must_use]
    pub fn durable(&self) -> Receiver<u64> {
        self.durable.clone()
    }

    /// Asks the application a read-only question about the state between two blocks.
    ///
    /// # Errors
    /// The node has stopped, does not answer in time ([`NodeFailure::NoAnswer`]), or its state is
    /// another than the others'.
    pub fn query(&self, question: &[u8]) -> Result<Vec<u8>, NodeFailure> {
        self.check_serving()?;
        self.asker
            .ask(|reply| Control::Query(question.to_vec(), reply))
    }

    /// The node's condition.
    ///
    /// # Errors
    /// The node has stopped, or does not answer in time ([`NodeFailure::NoAnswer`]).
    pub fn status(&self) -> Result<NodeStatus, NodeFailure> {
        self.asker.status()
    }

    /// Where the state is another than the others', if it is. Such a node votes on, and serves
    /// nobody: no blocks come from [`finalized`](Self::finalized), questions and commands are
    /// refused. It stays so over restarts until the bundle is moved out of the data folder.
    #[must_use]
    pub fn diverged(&self) -> Option<&DivergedStatus> {
        self.metrics.diverged.get()
    }

    fn check_serving(&self) -> Result<(), NodeFailure> {
        match self.metrics.diverged_height.read() {
            0 => Ok(()),
            height => Err(NodeFailure::Diverged { height }),
        }
    }

    /// Whether the node has ended, by itself or because it was told to.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Stops: nothing more is admitted or proposed, what waits here may still become final for as
    /// long as `drain`, then the log is synced and marked as cleanly stopped.
    ///
    /// # Errors
    /// [`NodeFailure`]: it had failed, or the log could not be ended cleanly.
    pub fn shutdown(mut self, drain: Duration) -> Result<(), NodeFailure> {
        self.tell_stop(drain);
        match self.join() {
            // It would have begun anew; now it does at the next start.
            Err(NodeFailure::SnapshotFetched { .. }) => Ok(()),
            ended => ended,
        }
    }

    /// Waits until the node ends by itself, which is a failure, or since it is to begin anew. All
    /// of its threads have ended then, and one may hang: see [`failing`](Self::failing).
    ///
    /// # Errors
    /// [`NodeFailure`]: why it ended. After [`NodeFailure::SnapshotFetched`] it is to be started
    /// again, with a fresh application: this validator was away for longer than its peers' logs
    /// go back, and goes on from a snapshot of theirs.
    pub fn wait(mut self) -> Result<(), NodeFailure> {
        self.join()
    }

    fn tell_stop(&self, drain: Duration) {
        self.inlet.close();
        self.asker.stop(drain);
    }

    fn join(&mut self) -> Result<(), NodeFailure> {
        self.http = None;
        match self.thread.take().map(JoinHandle::join) {
            None => Ok(()),
            Some(Ok(ended)) => ended,
            Some(Err(_)) => Err(NodeFailure::ThreadLost("loop")),
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if self.thread.is_some() {
            self.tell_stop(Duration::ZERO);
            if let Err(error) = self.join() {
                tracing::error!(%error, "the node did not end cleanly");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asker(questions_max: usize) -> (Asker, Receiver<Control>) {
        let links = quorate_net::ClientLinks::new(quorate_net::Limits::default()).unwrap();
        let (control, controls) = bounded(questions_max);
        (Asker::new(control, links.waker()), controls)
    }

    #[test]
    fn a_node_that_does_not_answer_in_time_has_not_stopped() {
        let (asker, controls) = asker(1);
        let ask = || asker.ask_within(Duration::ZERO, Control::Status);
        // It was heard and not answered; then there is no room.
        for _ in 0..2 {
            assert!(matches!(ask(), Err(NodeFailure::NoAnswer)));
        }
        drop(controls);
        assert!(matches!(ask(), Err(NodeFailure::Stopped)));
    }

    #[test]
    fn a_node_that_ends_over_a_question_has_stopped() {
        let (asker, controls) = asker(1);
        let ending = std::thread::spawn(move || drop(controls.recv()));
        let answer = asker.ask_within(Duration::from_secs(60), Control::Status);
        assert!(matches!(answer, Err(NodeFailure::Stopped)));
        ending.join().unwrap();
    }
}
