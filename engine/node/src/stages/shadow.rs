//! The shadow on a thread of its own: snapshots beside everything else.
//!
//! Owns the pace: nothing is read until a snapshot is due, and then half of the time is left to
//! those who vote. Never: anything that a vote, a result or a client waits for; a failure here is
//! an alarm and ends no validator.

use super::clock::nanoseconds;
use super::exchange::{Exchange, ExchangeParts, Mailbox};
use super::older::EventMail;
use super::scrub::{ScrubSender, ToScrub};
use crate::metrics::Metrics;
use crate::parked::{Receiver, Sender, bounded};
use crate::shadow::Shadow;
use crate::snapshot::SnapshotFolder;
use crate::snapshot_work::{LOOK, SnapshotWork};
use crate::state_machine::StateMachine;
use crossbeam::channel::RecvTimeoutError;
use parking_lot::Mutex;
use quorate_consensus::attestation::StateCertificate;
use quorate_consensus::input::Input;
use quorate_consensus::message::SnapshotPart;
use quorate_consensus::types::ValidatorIndex;
use quorate_consensus::wire;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Things told to the thread that may wait.
const ASKS_MAX: usize = 64;

/// How often the newest certificate of a state is written at most. Proofs of outputs need one that
/// is above their block, and not a certain one.
const ATTESTED_EVERY: Duration = Duration::from_secs(1);

/// What the thread is told.
#[derive(Debug)]
pub(crate) enum ToShadow {
    /// A state is proven of which a snapshot was taken.
    Certificate(Box<StateCertificate>),
    /// A snapshot is wanted now.
    Ask,
    /// There is something in the mailbox.
    Parts,
    /// The state is another than the others'; this height was the last that all had alike.
    Diverged(u64),
}

/// The way to the thread. Whoever tells never waits: what finds no room is dropped.
#[derive(Clone, Debug)]
pub(crate) struct ShadowSender {
    sender: Sender<ToShadow>,
    mailbox: Arc<Mailbox>,
    /// What is not for this thread but for that of the archive.
    events: Arc<EventMail>,
    attested: Arc<Attested>,
}

/// The newest certificate of a state, until the thread writes it. Apart from what the thread is
/// told: there are many of them, and each is as good as those before it.
type Attested = Mutex<Option<Box<StateCertificate>>>;

/// The other end of it, for the thread.
#[derive(Debug)]
pub(crate) struct Asks {
    pub(crate) receiver: Receiver<ToShadow>,
    pub(crate) mailbox: Arc<Mailbox>,
    pub(crate) attested: Arc<Attested>,
}

impl ShadowSender {
    pub(crate) fn new() -> (Self, Asks) {
        let (sender, receiver) = bounded(ASKS_MAX);
        let mailbox = Arc::<Mailbox>::default();
        let attested = Arc::<Attested>::default();
        let asks = Asks {
            receiver,
            mailbox: Arc::clone(&mailbox),
            attested: Arc::clone(&attested),
        };
        let sender = Self {
            sender,
            mailbox,
            events: Arc::default(),
            attested,
        };
        (sender, asks)
    }

    /// A state is proven.
    pub(crate) fn send_proven(&self, certificate: &StateCertificate) {
        let certificate = Box::new(certificate.clone());
        match certificate.statement.snapshot {
            Some(_) => self.send(ToShadow::Certificate(certificate)),
            None => *self.attested.lock() = Some(certificate),
        }
    }

    pub(crate) fn send(&self, ask: ToShadow) {
        if self.sender.try_send(ask).is_err() {
            tracing::debug!("the shadow is busy or gone");
        }
    }

    /// Where peers' words on older public events wait.
    pub(crate) fn events(&self) -> Arc<EventMail> {
        Arc::clone(&self.events)
    }

    /// A peer asks or answers about snapshots, or about what lies before them.
    pub(crate) fn send_part(&self, from: ValidatorIndex, part: SnapshotPart) {
        let Some(part) = self.events.put(from, part) else {
            return;
        };
        if self.mailbox.put(from, part) {
            // When there is no room for it the thread is awake, and looks by itself.
            self.sender.try_send(ToShadow::Parts).ok();
        }
    }
}

/// What the thread is made of.
pub(crate) struct ShadowParts {
    pub(crate) asks: Receiver<ToShadow>,
    pub(crate) attested: Arc<Attested>,
    /// Where the newest certificate of a state is kept.
    pub(crate) folder: SnapshotFolder,
    pub(crate) metrics: Arc<Metrics>,
    /// Where damage is told that is met here.
    pub(crate) scrub: ScrubSender,
    /// Takes what is to be attested to the order stage.
    pub(crate) answer: Box<dyn Fn(Vec<Input>) + Send>,
    /// For joining, and peers that join.
    pub(crate) exchange: ExchangeParts,
    /// Stops the node, so that it can begin anew with a snapshot of peers.
    pub(crate) stop: Box<dyn Fn() + Send>,
    /// Where snapshots go that may be wrong.
    pub(crate) diverged: PathBuf,
    /// Set when the node ends.
    pub(crate) halt: super::dedicated::Halt,
}

/// Starts the thread. The shadow is made on it, since that may be to restore a snapshot. Its end
/// tells the height of a snapshot of peers with which the node is to begin anew, if there is one.
pub(crate) fn start<S: StateMachine>(
    parts: ShadowParts,
    make: impl FnOnce() -> Result<Shadow<S>, crate::shadow::ShadowError> + Send + 'static,
) -> std::io::Result<JoinHandle<Option<u64>>> {
    std::thread::Builder::new()
        .name("quorate-shadow".to_owned())
        .spawn(move || {
            let metrics = Arc::clone(&parts.metrics);
            let ended = make().and_then(|shadow| run(parts, shadow));
            ended.unwrap_or_else(|error| {
                metrics.alarms.add(1);
                tracing::error!(%error, "no snapshots are taken any more in this run");
                None
            })
        })
}

fn run<S: StateMachine>(
    parts: ShadowParts,
    shadow: Shadow<S>,
) -> Result<Option<u64>, crate::shadow::ShadowError> {
    let ShadowParts {
        asks,
        attested,
        folder,
        metrics,
        scrub,
        answer,
        exchange,
        stop,
        diverged,
        halt,
    } = parts;
    let exchange = Exchange::new(exchange);
    let mut work = SnapshotWork::new(shadow, exchange, Arc::clone(&metrics));
    let mut keeper = Keeper {
        attested,
        folder,
        wrote: None,
    };
    let begun = Instant::now();
    // What peers ask for does not take the rest of the pace.
    let mut rests_until = begun;
    while !halt.is_set() {
        let mut pause = LOOK;
        // Of a state that differs nothing is taken, removed, given or fetched; what to do with the
        // snapshots is being told.
        if metrics.is_serving() {
            let mut inputs = Vec::new();
            let now = Instant::now();
            let now_ns = nanoseconds(now.saturating_duration_since(begun));
            let worked = work.turn(now_ns, now, now >= rests_until, &mut inputs)?;
            for segment in worked.look_at {
                scrub.send(ToScrub::LookAt(segment));
            }
            if let Some(height) = worked.whole {
                stop();
                return Ok(Some(height));
            }
            if let Some(rest) = worked.rest {
                rests_until = Instant::now() + rest;
            }
            if !inputs.is_empty() {
                answer(inputs);
            }
            keeper.turn(Instant::now());
            let rest = rests_until.saturating_duration_since(Instant::now());
            pause = work.pause().map_or(rest, |most| rest.min(most));
        }
        match asks.recv_timeout(pause) {
            Ok(ToShadow::Certificate(certificate)) => work.certify(*certificate),
            Ok(ToShadow::Diverged(common)) => {
                // What is in the log and below stays as it is: it is the evidence.
                tracing::warn!("no snapshots are taken and no log segments removed any more");
                work.shadow_mut().set_aside(common, &diverged)?;
                return Ok(None);
            }
            Ok(ToShadow::Ask) => work.shadow_mut().ask(metrics.height.read()),
            Ok(ToShadow::Parts) | Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    Ok(None)
}

/// Keeps the newest certificate of a state where `quorate proof make` finds it.
struct Keeper {
    attested: Arc<Attested>,
    folder: SnapshotFolder,
    wrote: Option<Instant>,
}

impl Keeper {
    fn turn(&mut self, now: Instant) {
        let is_early = |wrote| now.saturating_duration_since(wrote) < ATTESTED_EVERY;
        if self.wrote.is_some_and(is_early) {
            return;
        }
        let Some(certificate) = self.attested.lock().take() else {
            return;
        };
        self.wrote = Some(now);
        let mut bytes = Vec::new();
        wire::encode_state_certificate(&certificate, &mut bytes);
        if let Err(error) = self.folder.put_attested(&bytes) {
            tracing::error!(%error, "the newest certificate of a state was not written");
        }
    }
}
