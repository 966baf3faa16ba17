//! What a validator does about snapshots beside its votes: takes them, prunes the log for them,
//! serves them to peers, and joins by one of theirs.
//!
//! Owns one turn of all that, in the order in which it is safe. A node gives it a thread
//! (`stages::shadow`); a simulator calls it under virtual time. Both run this code. Never: reads a
//! clock to decide anything, waits, or does anything that a vote, a result or a client waits for.

use std::sync::Arc;
use std::time::{Duration, Instant};

use quorate_consensus::attestation::StateCertificate;
use quorate_consensus::input::Input;
use quorate_consensus::machine::Consensus;
use quorate_consensus::message::SnapshotPart;
use quorate_consensus::types::ValidatorIndex;
use quorate_consensus::validators::ValidatorSet;
use quorate_log::{Fault, Pruner, ReadError, Reader, RecordRef};

use crate::executor::Executor;
use crate::join::JoinProgress;
use crate::metrics::Metrics;
use crate::pruning::{Pruned, Pruning};
use crate::replica::Event;
use crate::shadow::{Progress, Shadow, ShadowError, SnapshotPolicy};
use crate::snapshot::SnapshotError;
use crate::stages::exchange::{Exchange, ExchangeParts, Mailbox};
use crate::state_machine::StateMachine;
use crate::store::Served;

/// How often it is looked whether a snapshot is due, while nothing is fetched or served.
pub const LOOK: Duration = Duration::from_millis(50);
/// How long a damaged record may take to be mended before that is an alarm: some passes of the
/// scrubber over what was written last.
const REPAIR_MAX: Duration = Duration::from_secs(120);
/// How often the scrubber is asked to look at a segment of which a record cannot be read.
const HINT_PAUSE: Duration = Duration::from_secs(10);
/// After the disk has refused what the shadow begins with, it is asked again.
const BEGIN_PAUSE: Duration = Duration::from_secs(30);
/// Records read at a stretch.
const RECORDS_PER_STRETCH: usize = 256;

/// What it is made of, for a caller that has no thread for it.
#[derive(Debug)]
pub struct SnapshotParts<S> {
    /// A second instance, at genesis or at the state that the chain begins with.
    pub executor: Executor<S>,
    /// Whose snapshots count.
    pub set: Arc<ValidatorSet>,
    /// Which validator this is.
    pub own: ValidatorIndex,
    /// Which snapshots are taken.
    pub policy: SnapshotPolicy,
    /// Reads the log.
    pub reader: Reader,
    /// Height of the snapshot that the run began with, and where its block's mark stands.
    pub base: Option<(u64, RecordRef)>,
    /// Removes old segments of the log.
    pub pruner: Pruner,
    /// From which segments peers are being served.
    pub served: Arc<Served>,
    /// Bytes that the log should have at most; 0 for no pruning.
    pub log_bytes_max: u64,
}

/// What a turn came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Worked {
    /// A snapshot of peers is whole, of this height: the validator is to stop in good order and to
    /// begin anew with it.
    pub whole: Option<u64>,
    /// How long to rest before more is read, when something was, so that half of the time is left
    /// to those who vote.
    pub rest: Option<Duration>,
    /// Segments of which a record could not be read: the scrubber is to look at them
    /// ([`Scrub::look_at`](crate::scrub::Scrub::look_at)), which its own passes do late, and
    /// never where the disk is whole and memory alone shows something else.
    pub look_at: Vec<u32>,
}

/// Since when a record that is to be read has been damaged.
#[derive(Clone, Copy, Debug)]
struct Damaged {
    since: Instant,
    /// Whether that was too long, and said.
    is_told: bool,
}

/// Which segment the scrubber was asked to look at, and when.
#[derive(Debug, Default)]
struct Hint(Option<(u32, Instant)>);

impl Hint {
    /// Asks for a segment, unless that was just done.
    fn give(&mut self, segment: u32, now: Instant, look_at: &mut Vec<u32>) {
        let is_fresh = self.0.is_some_and(|(last, at)| {
            last == segment && now.saturating_duration_since(at) < HINT_PAUSE
        });
        if !is_fresh {
            self.0 = Some((segment, now));
            look_at.push(segment);
        }
    }
}

/// See the module.
#[derive(Debug)]
pub struct SnapshotWork<S> {
    shadow: Shadow<S>,
    exchange: Exchange,
    metrics: Arc<Metrics>,
    /// When the shadow is to begin again, when it could not.
    begin_at: Option<Instant>,
    /// That it could not was told.
    is_refusal_told: bool,
    /// The shadow must not be used further.
    is_ended: bool,
    prune_failed: bool,
    /// What the shadow waits for, when it cannot read on.
    damaged: Option<Damaged>,
    reading_hint: Hint,
    pruning_hint: Hint,
}

impl<S: StateMachine> SnapshotWork<S> {
    /// Begins with what the folder has. Its numbers are its own.
    ///
    /// # Errors
    /// [`ShadowError`] when the folder cannot be read, or the snapshot that the run began with not
    /// be restored.
    pub fn open(parts: SnapshotParts<S>) -> Result<Self, ShadowError> {
        let metrics = Arc::<Metrics>::default();
        let exchange = Exchange::new(ExchangeParts {
            set: Arc::clone(&parts.set),
            own: parts.own,
            folder: parts.policy.folder.clone(),
            mailbox: Arc::<Mailbox>::default(),
            metrics: Arc::clone(&metrics),
        });
        let reader = parts.reader.clone();
        let pruning = Pruning::new(parts.pruner, reader, parts.served, parts.log_bytes_max);
        let (policy, base) = (parts.policy, parts.base);
        let shadow = Shadow::new(parts.executor, &parts.set, policy, parts.reader, base)?;
        Ok(Self::new(shadow.with_pruning(pruning), exchange, metrics))
    }

    /// Of parts that a node has made.
    pub(crate) fn new(shadow: Shadow<S>, exchange: Exchange, metrics: Arc<Metrics>) -> Self {
        Self {
            shadow,
            exchange,
            metrics,
            begin_at: None,
            is_refusal_told: false,
            is_ended: false,
            prune_failed: false,
            damaged: None,
            reading_hint: Hint::default(),
            pruning_hint: Hint::default(),
        }
    }

    /// Takes what a turn of the replica told; what is not about snapshots is left alone.
    pub fn take(&mut self, event: &Event) {
        match event {
            Event::StateProven(proven) if proven.statement.snapshot.is_some() => {
                self.certify(StateCertificate::clone(proven));
            }
            Event::Snapshot { from, part } => self.take_part(*from, part.clone()),
            _ => {}
        }
    }

    /// A state is proven of which a snapshot was taken.
    pub(crate) fn certify(&mut self, certificate: StateCertificate) {
        self.shadow.certify(certificate);
    }

    fn take_part(&self, from: ValidatorIndex, part: SnapshotPart) {
        let is_of_events = matches!(
            part,
            SnapshotPart::GetEvents { .. } | SnapshotPart::Events { .. }
        );
        if !is_of_events {
            self.exchange.put(from, part);
        }
    }

    /// Sees how far this validator is, and its peers; before each turn.
    pub fn see(&self, consensus: &Consensus) {
        self.metrics.height.set(consensus.delivered().number());
        let peers = consensus.peers_height().number();
        self.metrics.height_peers.set(peers);
        self.metrics
            .peers_heard
            .set(consensus.has_heard_peers().into());
    }

    /// One turn: what came is judged and answered, and when `may_read` says so the log is read on
    /// for a stretch, or old segments of it go. What is to be said is appended to `inputs`.
    /// `now_ns` counts from any beginning; `now` goes with it.
    ///
    /// # Errors
    /// [`ShadowError`], once: no snapshots are taken any more in this run. The validator can go on,
    /// and so do serving and joining with the turns that follow.
    pub fn turn(
        &mut self,
        now_ns: u64,
        now: Instant,
        may_read: bool,
        inputs: &mut Vec<Input>,
    ) -> Result<Worked, ShadowError> {
        let whole = self.exchange.turn(now_ns, inputs);
        let (mut rest, mut look_at) = (None, Vec::new());
        if whole.is_none() {
            self.shadow.hold(self.exchange.held(now_ns));
            if may_read && self.is_ended {
                rest = Some(LOOK);
            } else if may_read {
                let read = self.read(now, inputs, &mut look_at);
                self.is_ended = read.is_err();
                rest = Some(read?);
            }
        }
        Ok(Worked {
            whole,
            rest,
            look_at,
        })
    }

    /// How long the next turn may be away, if it is to be sooner than [`LOOK`].
    #[must_use]
    pub fn pause(&self) -> Option<Duration> {
        self.exchange.pause()
    }

    /// How far joining has come.
    #[must_use]
    pub fn progress(&self) -> JoinProgress {
        self.exchange.progress()
    }

    /// Who has lied about a part of a snapshot in the present download.
    pub fn liars(&self) -> impl Iterator<Item = ValidatorIndex> {
        self.exchange.liars()
    }

    /// What is counted here.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    pub(crate) const fn shadow_mut(&mut self) -> &mut Shadow<S> {
        &mut self.shadow
    }

    /// One stretch of pruning, and one of reading when a snapshot is due; says how long to rest
    /// then. Pruning is part of every turn: under a load that makes one snapshot due after another
    /// the log grows fastest.
    fn read(
        &mut self,
        now: Instant,
        inputs: &mut Vec<Input>,
        look_at: &mut Vec<u32>,
    ) -> Result<Duration, ShadowError> {
        if !self.begin(now)? {
            return Ok(LOOK);
        }
        let start = Instant::now();
        let pruned = self.prune(now, look_at);
        let height = self.metrics.height.read();
        if self.shadow.next_due().is_none_or(|due| due > height) {
            return Ok(pruned);
        }
        let progress = self.shadow.advance(RECORDS_PER_STRETCH)?;
        if !matches!(progress, Progress::Faulty(_)) {
            self.damaged = None;
        }
        Ok(match progress {
            // What makes the record durable is on its way.
            Progress::Idle => pruned,
            Progress::Faulty(fault) => {
                self.reading_hint.give(fault.segment, now, look_at);
                self.wait_for_repair(&fault, now);
                pruned
            }
            Progress::More => start.elapsed(),
            Progress::Taken(statement) => {
                let elapsed = start.elapsed();
                let height = statement.height.number();
                tracing::info!(height, ?elapsed, "snapshot taken");
                self.metrics.snapshot_height.set(height);
                inputs.push(Input::State(statement));
                elapsed.min(LOOK)
            }
            Progress::Failed(error) => {
                self.metrics.alarms.add(1);
                tracing::error!(%error, "a snapshot was not taken");
                if !self.shadow.is_begun() {
                    // It goes back to the one before: not without end at once.
                    self.begin_at = Some(now + BEGIN_PAUSE);
                }
                LOOK
            }
            Progress::Forgotten(error) => {
                self.metrics.alarms.add(1);
                tell_forgotten(&error);
                LOOK
            }
        })
    }

    /// Whether the shadow stands where it begins. A system that refuses that is asked again: what
    /// was short may be there, and a disk may give what it has given before.
    fn begin(&mut self, now: Instant) -> Result<bool, ShadowError> {
        if self.begin_at.is_some_and(|due| now < due) {
            return Ok(false);
        }
        match self.shadow.begin() {
            Ok(()) => {
                self.begin_at = None;
                if std::mem::take(&mut self.is_refusal_told) {
                    tracing::info!("snapshots are taken again");
                }
                Ok(true)
            }
            Err(error) if error.may_pass() => {
                if !std::mem::replace(&mut self.is_refusal_told, true) {
                    self.metrics.alarms.add(1);
                    tracing::error!(%error, "no snapshots are taken for now");
                }
                self.begin_at = Some(now + BEGIN_PAUSE);
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// The disk has lost what is to be read next. The scrubber brings such records back; one that
    /// stays lost is an alarm, once.
    fn wait_for_repair(&mut self, fault: &Fault, now: Instant) {
        let damaged = self.damaged.get_or_insert_with(|| {
            tracing::warn!(%fault, "no snapshot is taken before this record of the log is mended");
            let (since, is_told) = (now, false);
            Damaged { since, is_told }
        });
        if !damaged.is_told && now.saturating_duration_since(damaged.since) >= REPAIR_MAX {
            damaged.is_told = true;
            self.metrics.alarms.add(1);
            tracing::error!(%fault, "a record stays damaged: no snapshots are taken meanwhile");
        }
    }

    /// Lets old log segments go; says how long to pause then.
    fn prune(&mut self, now: Instant, look_at: &mut Vec<u32>) -> Duration {
        let start = Instant::now();
        match self.shadow.prune(RECORDS_PER_STRETCH, now) {
            Ok(Pruned::Nothing | Pruned::Held) => LOOK,
            Ok(Pruned::More) => start.elapsed(),
            Ok(Pruned::Unreadable { error, is_new }) => {
                if is_new {
                    tracing::error!(%error, "nothing from this record on is pruned");
                }
                if let ReadError::Faulty(fault) = error {
                    self.pruning_hint.give(fault.segment, now, look_at);
                }
                LOOK
            }
            Ok(Pruned::Removed { bytes }) => {
                self.prune_failed = false;
                self.metrics.log_pruned_bytes.add(bytes);
                tracing::info!(bytes, "old log segments removed");
                start.elapsed().min(LOOK)
            }
            Err(error) => {
                // Once: the disk may refuse for long, and each look would say so.
                if !std::mem::replace(&mut self.prune_failed, true) {
                    self.metrics.alarms.add(1);
                    tracing::error!(%error, "old log segments cannot be removed");
                }
                LOOK
            }
        }
    }
}

/// The shadow is what came of a snapshot that was not restored. Who has to do something about it
/// depends on whether what was written is there.
fn tell_forgotten(error: &SnapshotError) {
    if error.remedy().is_some() {
        tracing::error!(
            %error,
            "THE APPLICATION DOES NOT RESTORE ITS OWN SNAPSHOT: there is none of this state, and \
             none is taken any more in this run. Its snapshot_section or restore_section is at \
             fault, not the disk; the log is not pruned further"
        );
    } else {
        tracing::error!(
            %error,
            "the disk did not give a snapshot back while it was restored: none is taken any more \
             in this run, and the log is not pruned further. Look at the disk, then start again"
        );
    }
}
