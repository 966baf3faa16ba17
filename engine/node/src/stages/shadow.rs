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
use crate::shadow::{Shadow, ShadowError};
use crate::snapshot::SnapshotFolder;
use crate::snapshot_work::{LOOK, SnapshotWork, Worked};
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
    /// before it, but for those that have the own word: what a start holds its own state against
    /// is to be what this validator said itself.
    attested: Option<Attested>,
    /// Heights of the highest ones that were kept, in this run or before: whoever signed them, and
    /// with the own word.
    attested_up_to: [u64; 2],
    /// A snapshot is wanted now.
    is_asked: bool,
    /// The state is another than the others'; this height was the last that all had alike.
    diverged: Option<u64>,
}

#[derive(Debug)]
struct Attested {
    certificate: Box<StateCertificate>,
    has_own: bool,
}

impl Told {
    fn put_attested(&mut self, certificate: StateCertificate, own: ValidatorIndex) {
        let has_own = has_word_of(&certificate, own);
        // They come in any order: what was said of a lower height may have been on its way longer.
        let height = certificate.statement.height.number();
        let is_better = has_own || self.attested.as_ref().is_none_or(|kept| !kept.has_own);
        if is_better && !self.is_passed(height, has_own) {
            self.note_kept(height, has_own);
            let certificate = Box::new(certificate);
            self.attested = Some(Attested {
                certificate,
                has_own,
            });
        }
    }

    /// Whether one that is as good was of a higher height, or a better one of the same.
    const fn is_passed(&self, height: u64, has_own: bool) -> bool {
        let [highest, highest_own] = self.attested_up_to;
        if has_own {
            height < highest_own
        } else {
            height < highest || height <= highest_own
        }
    }

    fn note_kept(&mut self, height: u64, has_own: bool) {
        let [highest, highest_own] = &mut self.attested_up_to;
        *highest = height.max(*highest);
        if has_own {
            *highest_own = height.max(*highest_own);
        }
    }

    fn push_certificate(&mut self, certificate: StateCertificate) {
        if self.certificates.len() >= CERTIFICATES_MAX {
            self.certificates.pop_front();
        }
        self.certificates.push_back(certificate);
    }
}

fn has_word_of(certificate: &StateCertificate, validator: ValidatorIndex) -> bool {
    let mut signers = certificate.signatures.iter();
    signers.any(|&(signer, _)| signer == validator)
}

/// The way to the thread. Whoever tells never waits.
#[derive(Clone, Debug)]
pub(crate) struct ShadowSender {
    own: ValidatorIndex,
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
    /// The way of this validator.
    pub(crate) fn new(own: ValidatorIndex) -> (Self, Asks) {
        let (bell, bell_end) = bounded(1);
        let told = Arc::<Mutex<Told>>::default();
        let mailbox = Arc::<Mailbox>::default();
        let asks = Asks {
            bell: bell_end,
            told: Arc::clone(&told),
            mailbox: Arc::clone(&mailbox),
        };
        let sender = Self {
            own,
            bell,
            told,
            mailbox,
            events: Arc::default(),
        };
        (sender, asks)
    }

    /// An earlier run has kept this certificate of a state.
    pub(crate) fn resume(&self, kept: &StateCertificate) {
        let has_own = has_word_of(kept, self.own);
        let height = kept.statement.height.number();
        self.told.lock().note_kept(height, has_own);
    }

    /// A state is proven.
    pub(crate) fn send_proven(&self, certificate: &StateCertificate) {
        let certificate = certificate.clone();
        if certificate.statement.snapshot.is_some() {
            self.tell(|told| told.push_certificate(certificate));
        } else {
            // It has time until the thread is awake for something else.
            self.told.lock().put_attested(certificate, self.own);
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

/// Starts the thread, which begins the shadow, since that may be to restore a snapshot. Its end
/// tells the height of a snapshot of peers with which the node is to begin anew, if there is one.
pub(crate) fn start<S: StateMachine>(
    parts: ShadowParts,
    make: impl FnOnce() -> Shadow<S> + Send + 'static,
) -> std::io::Result<JoinHandle<Option<u64>>> {
    std::thread::Builder::new()
        .name("quorate-shadow".to_owned())
        .spawn(move || {
            let metrics = Arc::clone(&parts.metrics);
            let _unwinding = Unwinding(Arc::clone(&metrics));
            run(parts, make()).unwrap_or_else(|error| {
                tell_ended(&metrics, &error);
                None
            })
        })
}

fn tell_ended(metrics: &Metrics, error: &ShadowError) {
    metrics.alarms.add(1);
    tracing::error!(%error, "no snapshots are taken any more in this run");
}

/// Where a panic does not abort, it ends this thread alone, and nobody waits for that.
struct Unwinding(Arc<Metrics>);

impl Drop for Unwinding {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.alarms.add(1);
            tracing::error!(
                "the thread of snapshots panicked: none are taken any more in this run"
            );
        }
    }
}

fn run<S: StateMachine>(parts: ShadowParts, shadow: Shadow<S>) -> Result<Option<u64>, ShadowError> {
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
        waits_since: None,
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
            let worked = work.turn(now_ns, now, now >= rests_until, &mut inputs);
            // Peers are served all the same, and joined by.
            let worked = worked.unwrap_or_else(|error| {
                tell_ended(&metrics, &error);
                Worked::default()
            });
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

/// Keeps the newest certificate of a state where `quorate proof make` and the next start find it.
struct Keeper {
    told: Arc<Mutex<Told>>,
    folder: SnapshotFolder,
    wrote: Option<Instant>,
    /// Since when there is one that waits for the own word.
    waits_since: Option<Instant>,
}

impl Keeper {
    fn turn(&mut self, now: Instant) {
        let is_early = |since| now.saturating_duration_since(since) < ATTESTED_EVERY;
        if self.wrote.is_some_and(is_early) {
            return;
        }
        let Some(certificate) = self.take(is_early, now) else {
            return;
        };
        self.wrote = Some(now);
        let mut bytes = Vec::new();
        wire::encode_state_certificate(&certificate, &mut bytes);
        if let Err(error) = self.folder.put_attested(&bytes) {
            tracing::error!(%error, "the newest certificate of a state was not written");
        }
    }

    /// One that the others have made before the own word was there has time until it is.
    fn take(
        &mut self,
        is_early: impl Fn(Instant) -> bool,
        now: Instant,
    ) -> Option<Box<StateCertificate>> {
        let mut told = self.told.lock();
        let attested = told.attested.take()?;
        if !attested.has_own && is_early(*self.waits_since.get_or_insert(now)) {
            told.attested = Some(attested);
            return None;
        }
        self.waits_since = None;
        Some(attested.certificate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TemporaryFolder;
    use quorate_consensus::attestation::StateStatement;
    use quorate_consensus::types::{BlockId, Height};

    /// A certificate of this height by these validators.
    fn certificate(height: u64, signers: &[u16]) -> StateCertificate {
        let signed = |&signer: &u16| (ValidatorIndex::new(signer), [4; 64]);
        StateCertificate {
            statement: StateStatement {
                height: Height::new(height),
                id: BlockId::new([3; 32]),
                sections: vec![[1; 32]],
                snapshot: None,
            },
            signatures: signers.iter().map(signed).collect(),
        }
    }

    /// What validator 0 is told, and what it keeps of that.
    struct Scene {
        _temporary: TemporaryFolder,
        sender: ShadowSender,
        keeper: Keeper,
        start: Instant,
        _asks: Asks,
    }

    impl Scene {
        fn new() -> Self {
            let temporary = TemporaryFolder::new("keeper");
            let (sender, asks) = ShadowSender::new(ValidatorIndex::new(0));
            let keeper = Keeper {
                told: Arc::clone(&asks.told),
                folder: SnapshotFolder::new(temporary.path().join("snapshots")),
                wrote: None,
                waits_since: None,
            };
            Self {
                _temporary: temporary,
                sender,
                keeper,
                start: Instant::now(),
                _asks: asks,
            }
        }

        /// Height of the certificate in the folder after a look this long after the start, and
        /// whether the own word is in it.
        fn kept_after(&mut self, milliseconds: u64) -> Option<(u64, bool)> {
            self.keeper
                .turn(self.start + Duration::from_millis(milliseconds));
            let bytes = self.keeper.folder.attested().unwrap()?;
            let kept = wire::decode_state_certificate(&bytes).unwrap();
            let own = ValidatorIndex::new(0);
            let has_own = kept.signatures.iter().any(|&(signer, _)| signer == own);
            Some((kept.statement.height.number(), has_own))
        }
    }

    /// Where panics unwind, nobody else would tell of it.
    #[test]
    fn a_thread_that_panics_is_an_alarm_and_one_that_ends_is_none() {
        for panics in [false, true] {
            let metrics = Arc::<Metrics>::default();
            let of_thread = Arc::clone(&metrics);
            let thread = std::thread::spawn(move || {
                let _unwinding = Unwinding(of_thread);
                assert!(!panics, "as an application might");
            });
            assert_eq!(thread.join().is_err(), panics);
            assert_eq!(metrics.alarms.read(), u64::from(panics));
        }
    }

    #[test]
    fn of_certificates_one_with_the_own_word_is_kept_where_that_comes_in_time() {
        let mut scene = Scene::new();
        scene.sender.send_proven(&certificate(64, &[1, 2]));
        assert_eq!(scene.kept_after(0), None);
        scene.sender.send_proven(&certificate(64, &[0, 1, 2]));
        scene.sender.send_proven(&certificate(128, &[1, 2]));
        assert_eq!(scene.kept_after(10), Some((64, true)));
        scene.sender.send_proven(&certificate(192, &[0, 1]));
        scene.sender.send_proven(&certificate(256, &[0, 1]));
        assert_eq!(scene.kept_after(1009), Some((64, true)), "once a second");
        assert_eq!(scene.kept_after(1010), Some((256, true)), "the newest");
        // A validator that is a second behind the others has one all the same.
        for height in [320, 384] {
            scene.sender.send_proven(&certificate(height, &[1, 2]));
        }
        assert_eq!(scene.kept_after(2010), Some((256, true)));
        assert_eq!(scene.kept_after(3009), Some((256, true)));
        assert_eq!(scene.kept_after(3010), Some((384, false)));
        scene.sender.send_proven(&certificate(448, &[1, 2]));
        assert_eq!(scene.kept_after(4010), Some((384, false)), "each has time");
    }

    /// What peers said of a lower height may come later: they are not all equally far.
    #[test]
    fn no_certificate_replaces_one_that_is_as_good_and_of_a_higher_height() {
        let mut scene = Scene::new();
        scene.sender.send_proven(&certificate(192, &[0, 1]));
        scene.sender.send_proven(&certificate(128, &[0, 2]));
        assert_eq!(scene.kept_after(0), Some((192, true)));
        scene.sender.send_proven(&certificate(64, &[0, 2]));
        scene.sender.send_proven(&certificate(128, &[1, 2]));
        for milliseconds in [1000, 2000, 3000] {
            let kept = scene.kept_after(milliseconds);
            assert_eq!(kept, Some((192, true)), "nor one that is written");
        }
        scene.sender.send_proven(&certificate(320, &[1, 2]));
        scene.sender.send_proven(&certificate(256, &[1, 2]));
        assert_eq!(scene.kept_after(4000), Some((192, true)));
        assert_eq!(scene.kept_after(5000), Some((320, false)));
        // None that was not kept stands in the way of one that is better than what is.
        scene.sender.send_proven(&certificate(320, &[0, 1]));
        scene.sender.send_proven(&certificate(448, &[1, 2]));
        assert_eq!(scene.kept_after(6000), Some((320, true)));
        scene.sender.send_proven(&certificate(384, &[1, 2]));
        assert_eq!(scene.kept_after(7000), Some((320, true)), "each has time");
        assert_eq!(scene.kept_after(8000), Some((384, false)));
    }

    /// A certificate with the own word is what the next start is held against: after a restart no
    /// peer's may take its place unless it is of a higher state.
    #[test]
    fn what_an_earlier_run_has_kept_gives_way_to_a_better_one_alone() {
        for (kept, height, signers, expected) in [
            (&[0, 1][..], 192, &[1, 2][..], None),
            (&[0, 1], 128, &[0, 1, 2], None),
            (&[0, 1], 192, &[0, 1, 2], Some((192, true))),
            (&[0, 1], 256, &[1, 2], Some((256, false))),
            (&[1, 2], 128, &[1, 2], None),
            (&[1, 2], 192, &[1, 2], Some((192, false))),
            (&[1, 2], 128, &[0, 2], Some((128, true))),
        ] {
            let mut scene = Scene::new();
            scene.sender.resume(&certificate(192, kept));
            scene.sender.send_proven(&certificate(height, signers));
            scene.kept_after(0);
            assert_eq!(scene.kept_after(2000), expected, "{kept:?} {height}");
        }
    }

    #[test]
    fn of_a_higher_height_and_with_the_own_word_one_is_better_than_any() {
        let mut scene = Scene::new();
        scene.sender.send_proven(&certificate(320, &[1, 2]));
        scene.kept_after(4000);
        assert_eq!(scene.kept_after(5000), Some((320, false)));
        // With the own word one is better than any of others, and the next with it better still.
        scene.sender.send_proven(&certificate(256, &[0, 1, 2]));
        assert_eq!(scene.kept_after(6000), Some((256, true)));
        scene.sender.send_proven(&certificate(320, &[0, 1, 2]));
        assert_eq!(scene.kept_after(7000), Some((320, true)));
    }
}
