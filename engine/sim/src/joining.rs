//! Snapshots, the pruning of logs for them, and joining by those of peers.
//!
//! Owns the turns of what each validator does about snapshots, in runs that have them, the crashes
//! in the middle of a join, and the judgement of both. Never: a snapshot, or when somebody joins,
//! which are the product's; its thread is what stands here.
//!
//! A run lasts some seconds, and so long does a validator wait before it joins: the clock of all
//! this runs faster.

use std::sync::Arc;
use std::time::{Duration, Instant};

use quorate::auth::CommandAuth;
use quorate::executor::Executor;
use quorate::replica::Event;
use quorate::shadow::{ShadowError, SnapshotPolicy};
use quorate::snapshot::SnapshotFolder;
use quorate::snapshot_work::{LOOK, SnapshotParts, SnapshotWork, Worked};
use quorate::state_machine::StateMachine;
use quorate::store::Served;
use quorate_consensus::input::Input;
use quorate_consensus::machine::Durability;
use quorate_consensus::message::SnapshotPart;
use quorate_consensus::types::ValidatorIndex;
use quorate_consensus::validators::ValidatorSet;
use quorate_log::{Pruner, Reader, RecordRef};

use crate::checks::Violation;
use crate::disk::Ending;
use crate::member::SESSIONS_MAX;
use crate::queue::Due;
use crate::schedule::Again;
use crate::world::{MS, World};

/// So many times as fast runs the clock of whatever is done about snapshots.
const CLOCK_SPEED: u64 = 8;
/// The lowest interval that the product allows.
pub(crate) const EVERY_HEIGHTS: u64 = 64;
/// Snapshots kept, of which the oldest may be the one that a peer is fetching.
const KEEP: usize = 2;
/// Two segments and a half, so that logs are pruned soon.
const LOG_BYTES_MAX: u64 = 160 * 1024;
/// A join is broken off by a crash so often at most.
const BROKEN_MAX: u64 = 3;
/// So likely, of a hundred, in each turn in which something is being fetched.
const BREAK_PERCENT: u64 = 8;
/// So likely goes the power in the middle of such a turn, if the disk is used enough in it.
const TORN_PERCENT: u64 = 30;
/// Calls of the disk in a turn, about: that in which a snapshot becomes whole has most.
const TORN_STEPS: u64 = 32;
/// So likely where a snapshot of peers was just made whole.
const BREAK_WHOLE_PERCENT: u64 = 40;

/// The parts of an opened log that this is about.
pub(crate) type OfLog = (Reader, Option<(u64, RecordRef)>, Pruner, Arc<Served>);

/// What one life of a validator does about snapshots.
pub(crate) struct Keeping<S> {
    work: SnapshotWork<S>,
    /// It stands for the beginning of the product's clock: spans alone count.
    anchor: Instant,
    /// Height of the snapshot being fetched that was seen last.
    fetching: u64,
    /// Who sent the last chunk.
    source: Option<ValidatorIndex>,
    lies: u64,
    pruned_bytes: u64,
}

/// What a turn came to.
struct Turned {
    worked: Result<Worked, ShadowError>,
    inputs: Vec<Input>,
    liars: Vec<ValidatorIndex>,
    lies: u64,
    pruned_bytes: u64,
    /// Chunks that were here when it was first seen that something is fetched.
    begun: Option<u64>,
    is_fetching: bool,
    delay_ns: u64,
}

impl<S: StateMachine> Keeping<S> {
    /// Begins with what the disk has and a second instance; nothing without power for that.
    pub(crate) fn open(
        (folder, app): (SnapshotFolder, S),
        own: ValidatorIndex,
        set: &Arc<ValidatorSet>,
        auth: &CommandAuth,
        (reader, base, pruner, served): OfLog,
    ) -> Option<Self> {
        let executor = Executor::new(app, SESSIONS_MAX, set.genesis_time_ns());
        let executor = executor.with_auth(Arc::new(auth.verdicts_alone()));
        let policy = SnapshotPolicy {
            folder,
            every_heights: EVERY_HEIGHTS,
            keep: KEEP,
        };
        let work = SnapshotWork::open(SnapshotParts {
            executor,
            set: Arc::clone(set),
            own,
            policy,
            reader,
            base,
            pruner,
            served,
            log_bytes_max: LOG_BYTES_MAX,
        });
        Some(Self {
            work: work.ok()?,
            anchor: Instant::now(),
            fetching: 0,
            source: None,
            lies: 0,
            pruned_bytes: 0,
        })
    }

    fn turn(&mut self, now_ns: u64) -> Turned {
        let mut inputs = Vec::new();
        let now = self.anchor + Duration::from_nanos(now_ns);
        let worked = self.work.turn(now_ns, now, true, &mut inputs);
        let progress = self.work.progress();
        let was = std::mem::replace(&mut self.fetching, progress.height);
        let metrics = self.work.metrics();
        let (lies, pruned_bytes) = (metrics.joining_lies.read(), metrics.log_pruned_bytes.read());
        let pause = self.work.pause().unwrap_or(LOOK).min(LOOK);
        let pause_ns = u64::try_from(pause.as_nanos()).unwrap_or(u64::MAX);
        Turned {
            worked,
            inputs,
            liars: self.work.liars().collect(),
            lies: lies - std::mem::replace(&mut self.lies, lies),
            pruned_bytes: pruned_bytes - std::mem::replace(&mut self.pruned_bytes, pruned_bytes),
            begun: (progress.height > 0 && progress.height != was).then_some(progress.chunks),
            is_fetching: progress.height > 0,
            delay_ns: pause_ns / CLOCK_SPEED,
        }
    }
}

impl<S: StateMachine> World<S> {
    /// A validator was just started.
    pub(crate) fn begin_snapshots(&mut self, at: usize) {
        if !self.plan.has_snapshots {
            return;
        }
        let member = &self.members[at];
        let has_none = member
            .life
            .as_ref()
            .is_some_and(|life| life.snapshots.is_none());
        if has_none && !self.is_byzantine(at) {
            let what = format!("v{at} cannot begin with the snapshots that it has");
            self.checks.take(Err(Violation::new("snapshots", what)));
        }
        let life = self.members[at].lives;
        self.schedule(MS, Due::Snapshots { at, life });
    }

    /// What a turn brought that concerns snapshots.
    pub(crate) fn tell_snapshots(&mut self, at: usize, events: &[Event]) {
        let life = self.members[at].life.as_mut();
        let Some(keeping) = life.and_then(|life| life.snapshots.as_mut()) else {
            return;
        };
        let mut changed = 0;
        for event in events {
            if let Event::Snapshot { from, part } = event
                && let SnapshotPart::Chunk { bytes, .. } = part
                && !bytes.is_empty()
            {
                let before = keeping.source.replace(*from);
                changed += u64::from(before.is_some_and(|before| before != *from));
            }
            keeping.work.take(event);
        }
        self.reached_of(at).note("join_source_changed", changed);
    }

    /// The thread's next turn.
    pub(crate) fn work_on_snapshots(&mut self, at: usize) {
        let now_ns = self.now(at).mono_ns.saturating_mul(CLOCK_SPEED);
        let is_torn = self.tear_power(at);
        let Some(life) = self.members[at].life.as_mut() else {
            return;
        };
        let Some(keeping) = life.snapshots.as_mut() else {
            return;
        };
        keeping.work.see(life.replica.consensus());
        let turned = keeping.turn(now_ns);
        if self.members[at].disk.is_off() {
            self.end_torn(at, is_torn);
            return;
        }
        if is_torn {
            self.members[at].disk.keep_power();
        }
        self.note_snapshots(at, &turned);
        self.see_handed(at, std::iter::empty());
        let Turned {
            worked,
            inputs,
            is_fetching,
            delay_ns,
            ..
        } = turned;
        if !inputs.is_empty() {
            self.with_life(at, |life, now| {
                for input in inputs {
                    life.replica.input(now, input);
                }
            });
        }
        match worked {
            Err(error) => self.give_up_snapshots(at, &error),
            Ok(Worked {
                whole: Some(height),
                ..
            }) => self.begin_anew(at, height),
            Ok(_) => {
                let life = self.members[at].lives;
                self.schedule(delay_ns, Due::Snapshots { at, life });
                if is_fetching {
                    self.break_join(at, BREAK_PERCENT);
                }
            }
        }
    }

    fn note_snapshots(&mut self, at: usize, turned: &Turned) {
        let taken = |input: &&Input| matches!(input, Input::State(_));
        let served = |input: &&Input| {
            let Input::Say { part, .. } = input else {
                return false;
            };
            matches!(part, SnapshotPart::Chunk { bytes, .. } if !bytes.is_empty())
        };
        let count = |inputs: &[Input], is: &dyn Fn(&&Input) -> bool| {
            inputs.iter().filter(|input| is(input)).count() as u64
        };
        let has_pruned = turned.pruned_bytes > 0;
        let is_below_somebody = has_pruned && self.is_somebody_far_behind(at);
        let reached = self.reached_of(at);
        reached.note("join_snapshot_taken", count(&turned.inputs, &taken));
        reached.note("join_chunk_served", count(&turned.inputs, &served));
        reached.note("join_log_pruned", u64::from(has_pruned));
        reached.note("join_pruned_below_somebody", u64::from(is_below_somebody));
        reached.note("join_lie_refused", turned.lies);
        if let Some(chunks) = turned.begun {
            reached.note("join_begun", 1);
            reached.note("join_resumed", u64::from(chunks > 0));
            self.trace.tell(
                self.now_ns,
                format_args!("v{at} joins: {chunks} chunks are here"),
            );
        }
        for &liar in &turned.liars {
            if !self.is_byzantine(at) && !self.may_be_accused(liar) {
                let what = format!("v{at} takes {liar:?} for a liar about a snapshot");
                self.checks.take(Err(Violation::new("conduct", what)));
            }
        }
    }

    /// Whether some other validator is further behind than what is kept above a snapshot.
    fn is_somebody_far_behind(&self, at: usize) -> bool {
        let height = |place: usize| {
            let life = self.members[place].life.as_ref();
            life.map_or(0, |life| life.replica.consensus().delivered().number())
        };
        let own = height(at);
        (0..self.members.len()).any(|place| height(place) + 2 * EVERY_HEIGHTS < own)
    }

    /// The product takes no snapshots any more in this life. It has no reason to where its disk
    /// has not failed.
    fn give_up_snapshots(&mut self, at: usize, error: &ShadowError) {
        self.trace.tell(
            self.now_ns,
            format_args!("v{at} takes no snapshots: {error}"),
        );
        if !self.is_byzantine(at) {
            let what = format!("v{at} takes no snapshots any more: {error:?}");
            self.checks.take(Err(Violation::new("snapshots", what)));
        }
        if let Some(life) = self.members[at].life.as_mut() {
            life.snapshots = None;
        }
    }

    /// A snapshot of peers is whole: the process stops in good order and is started again, unless
    /// it dies before that or in its next start.
    fn begin_anew(&mut self, at: usize, height: u64) {
        self.reached_of(at).note("join_fetched", 1);
        self.trace
            .note(self.now_ns, b'j', at, 0, &height.to_le_bytes());
        self.trace.tell(
            self.now_ns,
            format_args!("v{at} has the snapshot of {height}"),
        );
        if self.break_join(at, BREAK_WHOLE_PERCENT) {
            return;
        }
        let down_ns = self.dice.between(1, 50) * MS;
        self.stop(at, down_ns);
    }

    /// Whether it may die now because it joins.
    fn may_break(&self, at: usize) -> bool {
        let member = &self.members[at];
        let has_left = member.joins_broken < BROKEN_MAX;
        has_left && !self.is_healed && !member.disk.has_power_off_pending()
    }

    /// Whether it may lose what it has not synced.
    fn may_lose_power(&self, at: usize) -> bool {
        self.plan.durability == Durability::Sync || self.plan.abstainers.contains(&at)
    }

    /// Now and then the power is to go in the coming turn of one that is fetching.
    fn tear_power(&mut self, at: usize) -> bool {
        let life = self.members[at].life.as_ref();
        let keeping = life.and_then(|life| life.snapshots.as_ref());
        let is_fetching = keeping.is_some_and(|keeping| keeping.fetching > 0);
        let is_torn = is_fetching
            && self.may_break(at)
            && self.may_lose_power(at)
            && self.dice.percent(TORN_PERCENT);
        if is_torn {
            let steps = self.dice.below(TORN_STEPS);
            self.members[at].disk.power_off_after(steps);
        }
        is_torn
    }

    /// The power went in the middle of a turn, by what was drawn for this one or before.
    fn end_torn(&mut self, at: usize, is_torn: bool) {
        self.end_life(at, Ending::Power);
        if is_torn {
            self.members[at].joins_broken += 1;
            self.faults_of(at).torn_power_cuts += 1;
            self.reached_of(at).note("join_torn", 1);
            let down_ns = self.dice.between(1, 100) * MS;
            self.schedule(down_ns, Due::Start { at });
        }
    }

    /// Now and then a validator dies while it joins, in all ways that it may; whether it does.
    fn break_join(&mut self, at: usize, percent: u64) -> bool {
        if !self.may_break(at) || !self.dice.percent(percent) {
            return false;
        }
        let may_lose_power = self.may_lose_power(at);
        self.members[at].joins_broken += 1;
        self.reached_of(at).note("join_broken", 1);
        let down_ns = self.dice.between(1, 100) * MS;
        match self.dice.below(3) {
            0 if may_lose_power => {
                self.die(at, Ending::Process, down_ns);
                let steps = self.dice.skewed(12);
                self.members[at].crash_again = Some(Again::Power { steps });
            }
            1 if may_lose_power => {
                self.faults_of(at).power_cuts += 1;
                self.die(at, Ending::Power, down_ns);
            }
            _ => {
                self.faults_of(at).kills += 1;
                self.die(at, Ending::Process, down_ns);
            }
        }
        true
    }
}
