//! What the shadow's thread does for joining: serving peers' questions, and the own download.
//!
//! Owns when a validator begins to join: when its peers are far ahead and nothing comes any more,
//! which is what logs that do not go back far enough look like. Owns the mailbox between the loop
//! and this thread, and the pace of serving. Never: a vote, or anything that one waits for; what
//! finds no room is dropped, and asked for again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use quorate_consensus::effect::Destination;
use quorate_consensus::input::Input;
use quorate_consensus::message::SnapshotPart;
use quorate_consensus::types::ValidatorIndex;
use quorate_consensus::validators::ValidatorSet;

use crate::join::{JoinProgress, Joiner, Judged};
use crate::metrics::Metrics;
use crate::roots::ROOT_HEIGHTS;
use crate::serving::Serving;
use crate::snapshot::{SnapshotError, SnapshotFolder};

/// Nothing has become final here for so long, while peers were ahead by a snapshot or more: the log
/// they have does not reach down to here.
const STALL_NS: u64 = 5_000_000_000;
/// The same where peers are ahead by less than lies between two snapshots: they may have pruned up
/// to one in between, and without load nothing more comes that would tell. Until then it is far
/// likelier that blocks are on their way.
const STUCK_NS: u64 = 12 * STALL_NS;
/// One chunk is read and sent in this time at most, to whomever: 50 MiB a second.
const SERVE_PAUSE_NS: u64 = 20_000_000;
/// After the disk has refused, joining is tried again.
const RETRY_NS: u64 = 30_000_000_000;
/// After it had no room: somebody has to make some.
const ROOM_RETRY_NS: u64 = 10 * RETRY_NS;
/// A turn is due at latest after this while something is being fetched or served.
const PAUSE: Duration = Duration::from_millis(20);

/// What peers say of snapshots, on its way to this thread: the newest question and the newest
/// answer of each, so that none can fill it. Bound: two parts a validator.
#[derive(Debug, Default)]
pub(crate) struct Mailbox {
    parts: Mutex<BTreeMap<(bool, ValidatorIndex), SnapshotPart>>,
    /// Whether answers are wanted at all.
    expects: AtomicBool,
}

impl Mailbox {
    /// Puts a part in; whether the thread is to be woken for it. Not when nobody wants it, nor when
    /// something waits already: the thread was woken for that.
    pub(crate) fn put(&self, from: ValidatorIndex, part: SnapshotPart) -> bool {
        let is_answer = matches!(
            part,
            SnapshotPart::Offer { .. } | SnapshotPart::Chunk { .. }
        );
        if is_answer && !self.expects.load(Ordering::Relaxed) {
            return false;
        }
        let mut parts = self.parts.lock();
        let is_first = parts.is_empty();
        parts.insert((is_answer, from), part);
        is_first
    }

    fn take(&self) -> BTreeMap<(bool, ValidatorIndex), SnapshotPart> {
        std::mem::take(&mut *self.parts.lock())
    }
}

/// What it is made of.
#[derive(Debug)]
pub(crate) struct ExchangeParts {
    pub(crate) set: Arc<ValidatorSet>,
    pub(crate) own: ValidatorIndex,
    pub(crate) folder: SnapshotFolder,
    pub(crate) mailbox: Arc<Mailbox>,
    pub(crate) metrics: Arc<Metrics>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Exchange {
    parts: ExchangeParts,
    serving: Serving,
    /// Questions that are not answered yet, the newest of each peer.
    questions: BTreeMap<ValidatorIndex, SnapshotPart>,
    /// Who was answered last: the next one comes after it.
    served: ValidatorIndex,
    serve_ns: u64,
    joiner: Option<Joiner>,
    /// Whether nothing is left of a download that is not worth it any more.
    is_clean: bool,
    /// The own height.
    height: u64,
    /// Since when it has stood while peers were ahead, by whatever and by a snapshot. A validator
    /// that was cut off, or that nobody sent a command, has stood for long before it sees them so.
    ahead_since: Option<u64>,
    far_since: Option<u64>,
    join_ns: u64,
    /// The own height when peers had first said theirs in this run.
    began: Option<u64>,
}

impl Exchange {
    pub(crate) fn new(parts: ExchangeParts) -> Self {
        Self {
            serving: Serving::new(parts.folder.clone()),
            questions: BTreeMap::new(),
            served: ValidatorIndex::new(0),
            serve_ns: 0,
            joiner: None,
            is_clean: false,
            height: 0,
            ahead_since: None,
            far_since: None,
            join_ns: 0,
            began: None,
            parts,
        }
    }

    /// A peer asks or answers about snapshots.
    pub(crate) fn put(&self, from: ValidatorIndex, part: SnapshotPart) {
        self.parts.mailbox.put(from, part);
    }

    /// How far joining has come.
    pub(crate) fn progress(&self) -> JoinProgress {
        let progress = self.joiner.as_ref().map(Joiner::progress);
        progress.unwrap_or_default()
    }

    /// Who has lied about a part of a snapshot in the present download.
    pub(crate) fn liars(&self) -> impl Iterator<Item = ValidatorIndex> {
        self.joiner.iter().flat_map(Joiner::liars)
    }

    /// Heights of the snapshots that peers are fetching, ascending.
    pub(crate) fn held(&mut self, now_ns: u64) -> Vec<u64> {
        self.serving.held(now_ns)
    }

    /// How long this thread may sleep, if at all.
    pub(crate) fn pause(&self) -> Option<Duration> {
        (self.joiner.is_some() || !self.questions.is_empty()).then_some(PAUSE)
    }

    /// Takes what has come and does what is due; what is to be said is appended to `inputs`. The
    /// height of a snapshot of peers that is whole, above everything here: the node is to begin
    /// anew with it.
    pub(crate) fn turn(&mut self, now_ns: u64, inputs: &mut Vec<Input>) -> Option<u64> {
        let mut answers = Vec::new();
        for ((is_answer, from), part) in self.parts.mailbox.take() {
            if is_answer {
                answers.push((from, part));
            } else {
                self.questions.insert(from, part);
            }
        }
        self.serve(now_ns, inputs);
        self.decide(now_ns);
        let outcome = self.join(now_ns, answers, inputs);
        let whole = outcome.unwrap_or_else(|error| {
            tracing::error!(%error, "joining stops for now: the disk refuses");
            self.pause_joining(&error, now_ns);
            None
        });
        if whole.is_some() {
            self.joiner = None;
        }
        self.tell();
        let expects = self.joiner.is_some();
        self.parts.mailbox.expects.store(expects, Ordering::Relaxed);
        whole.filter(|&height| height > self.parts.metrics.height.read())
    }

    /// Answers one question at most, of each peer in turn.
    fn serve(&mut self, now_ns: u64, inputs: &mut Vec<Input>) {
        if now_ns < self.serve_ns {
            return;
        }
        let after = (
            std::ops::Bound::Excluded(self.served),
            std::ops::Bound::Unbounded,
        );
        let next = self.questions.range(after).next();
        let next = next.or_else(|| self.questions.first_key_value());
        let Some(from) = next.map(|(&from, _)| from) else {
            return;
        };
        let Some(question) = self.questions.remove(&from) else {
            return;
        };
        self.served = from;
        self.serve_ns = now_ns.saturating_add(SERVE_PAUSE_NS);
        if let Some(part) = self.serving.answer(now_ns, from, &question) {
            if matches!(part, SnapshotPart::Chunk { .. }) {
                self.parts.metrics.snapshot_chunks_served.add(1);
            }
            let to = Destination::Peer(from);
            inputs.push(Input::Say { to, part });
        }
    }

    /// Begins to join, or stops it, as far as peers are ahead and the own height stands.
    fn decide(&mut self, now_ns: u64) {
        // Told after the own one: where it is known, that is too.
        let peers = self.parts.metrics.height_peers.read();
        let height = self.parts.metrics.height.read();
        let was_far = self.far_since.is_some();
        if std::mem::replace(&mut self.height, height) != height {
            (self.ahead_since, self.far_since) = (None, None);
        }
        let since = |since: Option<u64>, is_so: bool| is_so.then(|| since.unwrap_or(now_ns));
        self.ahead_since = since(self.ahead_since, peers > height);
        self.far_since = since(self.far_since, peers >= height.saturating_add(ROOT_HEIGHTS));
        // Peers that a validator that was cut off hears again: it has waited for nobody yet.
        if !was_far && self.far_since.is_some() && self.progress().height == 0 {
            self.joiner = None;
            self.ahead_since = self.far_since;
        }
        let has_stood = |since: Option<u64>, wait_ns: u64| {
            since.is_some_and(|since| now_ns.saturating_sub(since) >= wait_ns)
        };
        let is_stuck = has_stood(self.ahead_since, STUCK_NS);
        let is_behind = is_stuck || self.far_since.is_some();
        if !is_behind && peers > 0 {
            self.joiner = None;
            // The first that speak after a start may be far behind the others, or lie: what was
            // fetched stays until the own log has gone on.
            if height > *self.began.get_or_insert(height) {
                self.forget();
            }
        }
        let is_due = is_stuck || has_stood(self.far_since, STALL_NS);
        if self.joiner.is_some() || !is_due || now_ns < self.join_ns {
            return;
        }
        tracing::warn!(
            height,
            peers,
            "peers have no log to go on from here: joining by a snapshot of theirs"
        );
        let (set, folder) = (Arc::clone(&self.parts.set), self.parts.folder.clone());
        match Joiner::new(set, self.parts.own, folder, height + 1, now_ns) {
            Ok(joiner) => {
                self.joiner = Some(joiner);
                self.is_clean = false;
            }
            Err(error) => {
                tracing::error!(%error, "joining does not begin: the disk refuses");
                self.pause_joining(&error, now_ns);
            }
        }
    }

    /// The disk has refused. Where it has no room, what was fetched goes: the log needs it, without
    /// which there is no vote.
    fn pause_joining(&mut self, error: &SnapshotError, now_ns: u64) {
        self.parts.metrics.alarms.add(1);
        self.joiner = None;
        let pause_ns = if error.is_want_of_room() {
            self.is_clean = false;
            self.forget();
            ROOM_RETRY_NS
        } else {
            RETRY_NS
        };
        self.join_ns = now_ns.saturating_add(pause_ns);
    }

    /// The own log goes on: what was fetched, in this run or an earlier one, is of no use.
    fn forget(&mut self) {
        self.joiner = None;
        if std::mem::replace(&mut self.is_clean, true) {
            return;
        }
        if let Err(error) = self.parts.folder.forget() {
            tracing::error!(%error, "what was fetched of a snapshot stays on the disk");
        }
    }

    fn join(
        &mut self,
        now_ns: u64,
        answers: Vec<(ValidatorIndex, SnapshotPart)>,
        inputs: &mut Vec<Input>,
    ) -> Result<Option<u64>, SnapshotError> {
        let Some(joiner) = &mut self.joiner else {
            return Ok(None);
        };
        for (from, part) in answers {
            if let Judged::Lie(lie) = joiner.take(now_ns, from, part)? {
                self.parts.metrics.joining_lies.add(1);
                let peer = from.number();
                tracing::error!(
                    peer,
                    ?lie,
                    "a part of a snapshot is not what it was said to be"
                );
            }
        }
        let mut said = Vec::new();
        let whole = joiner.turn(now_ns, self.height + 1, &mut said)?;
        let say = |(to, part)| Input::Say { to, part };
        inputs.extend(said.into_iter().map(say));
        if let Some(height) = whole {
            tracing::info!(height, "a snapshot of peers is here, whole");
        }
        Ok(whole)
    }

    /// For metrics and status.
    fn tell(&self) {
        let JoinProgress {
            height,
            chunks,
            chunks_all,
            sources,
        } = self.progress();
        let metrics = &self.parts.metrics;
        metrics.joining_height.set(height);
        metrics.joining_chunks.set(chunks);
        metrics.joining_chunks_all.set(chunks_all);
        metrics.joining_sources.set(sources);
    }
}

#[cfg(test)]
#[path = "exchange_tests.rs"]
mod tests;
