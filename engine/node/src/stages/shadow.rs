//! The shadow on a thread of its own: snapshots beside everything else.
//!
//! Owns the pace: nothing is read until a snapshot is due, and then half of the time is left to
//! those who vote. Never: anything that a vote, a result or a client waits for; a failure here is
//! an alarm and ends no validator.

use crate::metrics::Metrics;
use crate::pruning::Pruned;
use crate::shadow::{Progress, Shadow};
use crate::state_machine::StateMachine;
use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, bounded};
use quorate_consensus::attestation::StateCertificate;
use quorate_consensus::input::Input;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How often it is looked whether a snapshot is due.
const LOOK: Duration = Duration::from_millis(50);
/// Records read at a stretch.
const RECORDS_PER_STRETCH: usize = 256;
/// Things told to the thread that may wait.
const ASKS_MAX: usize = 64;

/// What the thread is told.
#[derive(Debug)]
pub(crate) enum ToShadow {
    /// A state is proven.
    Certificate(Box<StateCertificate>),
    /// A snapshot is wanted now.
    Ask,
    /// The state is another than the others'; this height was the last that all had alike.
    Diverged(u64),
}

/// The way to the thread. Whoever tells never waits: what finds no room is dropped.
#[derive(Clone, Debug)]
pub(crate) struct ShadowSender(Sender<ToShadow>);

impl ShadowSender {
    pub(crate) fn new() -> (Self, Receiver<ToShadow>) {
        let (sender, receiver) = bounded(ASKS_MAX);
        (Self(sender), receiver)
    }

    pub(crate) fn send(&self, ask: ToShadow) {
        if self.0.try_send(ask).is_err() {
            tracing::debug!("the shadow is busy or gone");
        }
    }
}

/// What the thread is made of.
pub(crate) struct ShadowParts {
    pub(crate) asks: Receiver<ToShadow>,
    pub(crate) metrics: Arc<Metrics>,
    /// Takes what is to be attested to the order stage.
    pub(crate) answer: Box<dyn Fn(Vec<Input>) + Send>,
    /// Where snapshots go that may be wrong.
    pub(crate) diverged: PathBuf,
    /// Set when the node ends.
    pub(crate) halt: super::dedicated::Halt,
}

/// Starts the thread. The shadow is made on it, since that may be to restore a snapshot.
pub(crate) fn start<S: StateMachine>(
    parts: ShadowParts,
    make: impl FnOnce() -> Result<Shadow<S>, crate::shadow::ShadowError> + Send + 'static,
) -> std::io::Result<JoinHandle<()>> {
    std::thread::Builder::new()
        .name("quorate-shadow".to_owned())
        .spawn(move || {
            let metrics = Arc::clone(&parts.metrics);
            let ended = make().and_then(|shadow| run(parts, shadow));
            if let Err(error) = ended {
                metrics.alarms.add(1);
                tracing::error!(%error, "no snapshots are taken any more in this run");
            }
        })
}

fn run<S: StateMachine>(
    parts: ShadowParts,
    mut shadow: Shadow<S>,
) -> Result<(), crate::shadow::ShadowError> {
    let mut prune_failed = false;
    while !parts.halt.is_set() {
        let height = parts.metrics.height.read();
        let is_due = shadow.next_due().is_some_and(|due| due <= height);
        let pause = if !parts.metrics.is_serving() {
            // Nothing is taken or removed; what to do with the snapshots is being told.
            LOOK
        } else if is_due {
            let start = Instant::now();
            match shadow.advance(RECORDS_PER_STRETCH)? {
                // What makes the record durable is on its way.
                Progress::Idle => LOOK,
                Progress::More => start.elapsed(),
                Progress::Taken(statement) => {
                    let elapsed = start.elapsed();
                    tracing::info!(
                        height = statement.height.number(),
                        ?elapsed,
                        "snapshot taken"
                    );
                    parts.metrics.snapshot_height.set(statement.height.number());
                    (parts.answer)(vec![Input::State(statement)]);
                    elapsed.min(LOOK)
                }
                Progress::Failed(error) => {
                    parts.metrics.alarms.add(1);
                    tracing::error!(%error, "a snapshot was not taken");
                    LOOK
                }
            }
        } else {
            prune(&mut shadow, &parts.metrics, &mut prune_failed)
        };
        match parts.asks.recv_timeout(pause) {
            Ok(ToShadow::Certificate(certificate)) => shadow.certify(*certificate),
            Ok(ToShadow::Diverged(common)) => {
                // What is in the log and below stays as it is: it is the evidence.
                tracing::warn!("no snapshots are taken and no log segments removed any more");
                shadow.set_aside(common, &parts.diverged)?;
                return Ok(());
            }
            Ok(ToShadow::Ask) => shadow.ask(parts.metrics.height.read()),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    Ok(())
}

/// Lets old log segments go while no snapshot is due; says how long to pause then.
fn prune<S: StateMachine>(
    shadow: &mut Shadow<S>,
    metrics: &Metrics,
    has_failed: &mut bool,
) -> Duration {
    let start = Instant::now();
    match shadow.prune(RECORDS_PER_STRETCH, start) {
        Ok(Pruned::Nothing | Pruned::Held) => LOOK,
        Ok(Pruned::More) => start.elapsed(),
        Ok(Pruned::Removed { bytes }) => {
            *has_failed = false;
            metrics.log_pruned_bytes.add(bytes);
            tracing::info!(bytes, "old log segments removed");
            start.elapsed().min(LOOK)
        }
        Err(error) => {
            // Once: the disk may refuse for long, and each look would say so.
            if !std::mem::replace(has_failed, true) {
                metrics.alarms.add(1);
                tracing::error!(%error, "old log segments cannot be removed");
            }
            LOOK
        }
    }
}
