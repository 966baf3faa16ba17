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
use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Certificates of snapshots that may wait for the thread; of more the newest stay.
const CERTIFICATES_MAX: usize = 64;

/// How often the newest certificate of a state is written at most. Proofs of outputs need one that
/// is above their block, and not a certain one.
const ATTESTED_EVERY: Duration = Duration::from_secs(1);

/// What the thread is told. Each kind has room of its own: none of it is lost for what peers send.
#[derive(Debug, Default)]
pub(crate) struct Told {
    /// States are proven of which a snapshot was taken.
    certificates: VecDeque<StateCertificate>,
    /// The newest certificate of a state. There are many of them, and each is as good as those
    /// before it.
    attested: Option<Box<StateCertificate>>,
    /// A snapshot is wanted now.
    is_asked: bool,
    /// The state is another than the others'; this height was the last that all had alike.
    diverged: Option<u64>,
}

impl Told {
    fn push_certificate(&mut self, certificate: StateCertificate) {
        if self.certificates.len() >= CERTIFICATES_MAX {
            self.certificates.pop_front();
        }
        self.certificates.push_back(certificate);
    }
}

/// The way to the thread. Whoever tells never waits.
#[derive(Clone, Debug)]
pub(crate) struct ShadowSender {
    /// Wakes the thread, which then looks at all there is. One that waits already is enough.
    bell: Sender<()>,
    told: Arc<Mutex<Told>>,
    mailbox: Arc<Mailbox>,
    /// What is not for this thread but for that of the archive.
    events: Arc<EventMail>,
}

/// The other end of it, for the thread.
#[derive(Debug)]
pub(crate) struct Asks {
    bell: Receiver<()>,
    told: Arc<Mutex<Told>>,
    pub(crate) mailbox: Arc<Mailbox>,
}

impl ShadowSender {
    pub(crate) fn new() -> (Self, Asks) {
        let (bell, bell_end) = bounded(1);
        let told = Arc::<Mutex<Told>>::default();
        let mailbox = Arc::<Mailbox>::default();
        let asks = Asks {
            bell: bell_end,
            told: Arc::clone(&told),
            mailbox: Arc::clone(&mailbox),
        };
        let sender = Self {
            bell,
            told,
            mailbox,
            events: Arc::default(),
        };
        (sender, asks)
    }

    /// A state is proven.
    pub(crate) fn send_proven(&self, certificate: &StateCertificate) {
        let certificate = certificate.clone();
        if certificate.statement.snapshot.is_some() {
            self.tell(|told| told.push_certificate(certificate));
        } else {
            // It has time until the thread is awake for something else.
            self.told.lock().attested = Some(Box::new(certificate));
        }
    }

    /// A snapshot is wanted now.
    pub(crate) fn ask(&self) {
        self.tell(|told| told.is_asked = true);
    }

    /// The state is another than the others', which all had it alike up to this height.
    pub(crate) fn send_diverged(&self, common: u64) {
        self.tell(|told| {
            let lowest = told.diverged.map_or(common, |before| before.min(common));
            told.diverged = Some(lowest);
        });
    }

    fn tell(&self, note: impl FnOnce(&mut Told)) {
        note(&mut self.told.lock());
        self.ring();
    }

    fn ring(&self) {
        // Where there is no room, the thread is woken already and has not looked since; or it is
        // gone, and nobody looks.
        self.bell.try_send(()).ok();
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
            self.ring();
        }
    }
}

/// What the thread is made of.
pub(crate) struct ShadowParts {
    pub(crate) asks: Asks,
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
        told: Arc::clone(&asks.told),
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
        if asks.bell.recv_timeout(pause) == Err(RecvTimeoutError::Disconnected) {
            break;
        }
        if let Some(common) = heed(&asks.told, &mut work, &metrics) {
            // What is in the log and below stays as it is: it is the evidence.
            tracing::warn!("no snapshots are taken and no log segments removed any more");
            work.shadow_mut().set_aside(common, &diverged)?;
            return Ok(None);
        }
    }
    Ok(None)
}

/// Does what the thread was told; the last common height when the state is another than the
/// others', which is told after the certificates, since who has one is not set aside.
fn heed<S: StateMachine>(
    told: &Mutex<Told>,
    work: &mut SnapshotWork<S>,
    metrics: &Metrics,
) -> Option<u64> {
    let (certificates, is_asked, diverged) = {
        let mut told = told.lock();
        let certificates = std::mem::take(&mut told.certificates);
        let is_asked = std::mem::take(&mut told.is_asked);
        (certificates, is_asked, told.diverged.take())
    };
    for certificate in certificates {
        work.certify(certificate);
    }
    if is_asked {
        work.shadow_mut().ask(metrics.height.read());
    }
    diverged
}

/// Keeps the newest certificate of a state where `quorate proof make` finds it.
struct Keeper {
    told: Arc<Mutex<Told>>,
    folder: SnapshotFolder,
    wrote: Option<Instant>,
}

impl Keeper {
    fn turn(&mut self, now: Instant) {
        let is_early = |wrote| now.saturating_duration_since(wrote) < ATTESTED_EVERY;
        if self.wrote.is_some_and(is_early) {
            return;
        }
        let Some(certificate) = self.told.lock().attested.take() else {
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
