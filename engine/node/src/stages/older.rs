//! What the archive's thread does for peers and with them: older public events are given to those
//! that lack them, and fetched from those that have them.
//!
//! Owns the mailbox between the loop and this thread, and the pace of serving. Never: a vote, or
//! anything that one waits for; what finds no room is dropped, and asked for again.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use quorate_consensus::effect::Destination;
use quorate_consensus::input::Input;
use quorate_consensus::limits::EVENTS_BYTES_MAX;
use quorate_consensus::message::{EventStretch, SnapshotPart};
use quorate_consensus::types::{Height, ValidatorIndex};
use quorate_consensus::validators::ValidatorSet;

use super::clock::nanoseconds;
use crate::archive::{Archive, Prepended};
use crate::backfill::{Backfill, Taken};
use crate::client_wire::PublicFrame;
use crate::metrics::Metrics;
use crate::streams::StreamPosition;

/// One piece is read and sent in this time at most, to whomever: 12 MiB a second.
const SERVE_PAUSE_NS: u64 = 20_000_000;
/// How long nothing older is asked for when the disk had no room for what came.
const ROOM_REST_NS: u64 = 30_000_000_000;
/// Bytes of one piece that are read, about.
const PIECE_BYTES: usize = 256 * 1024;
/// A frame ends with the event that fills it.
const _: () = assert!(
    crate::streams::FRAME_BYTES_FULL + crate::streams::PUBLIC_OUTPUT_BYTES_MAX + 1024
        <= EVENTS_BYTES_MAX
);

/// What is asked for: up to before which height, and from where on.
pub(crate) type Question = (Height, Option<(Height, u32)>);
type Answer = (ValidatorIndex, Height, Option<Box<EventStretch>>);

#[derive(Debug, Default)]
struct Letters {
    /// The newest question of each peer.
    questions: BTreeMap<ValidatorIndex, Question>,
    /// Whose answer is waited for.
    expects: Option<ValidatorIndex>,
    answer: Option<Answer>,
}

/// What peers say of older events, on its way to the thread. Bound: a question a validator, and one
/// answer.
#[derive(Default)]
pub(crate) struct EventMail {
    letters: Mutex<Letters>,
    /// The way to the order stage, which is made after this.
    say: Mutex<Option<Say>>,
}

type Say = Box<dyn Fn(Vec<Input>) + Send>;

impl std::fmt::Debug for EventMail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("EventMail").field(&self.letters).finish()
    }
}

impl EventMail {
    /// From here on what the thread says comes to the order stage.
    pub(crate) fn connect(&self, say: impl Fn(Vec<Input>) + Send + 'static) {
        *self.say.lock() = Some(Box::new(say));
    }

    /// Puts in what a peer says of older events; gives back what is about something else.
    pub(crate) fn put(&self, from: ValidatorIndex, part: SnapshotPart) -> Option<SnapshotPart> {
        match part {
            SnapshotPart::GetEvents { below, from: at } => {
                self.letters.lock().questions.insert(from, (below, at));
            }
            SnapshotPart::Events { below, stretch } => {
                let mut letters = self.letters.lock();
                if letters.expects.take_if(|of| *of == from).is_some() {
                    letters.answer = Some((from, below, stretch));
                }
            }
            other => return Some(other),
        }
        None
    }
}

/// What is answered to a question, of about so many bytes; none when it is not here.
pub(crate) fn piece(
    archive: &mut Archive,
    frame: &mut PublicFrame,
    (below, from): Question,
    bytes: usize,
) -> Option<Box<EventStretch>> {
    let below = below.number();
    let before = archive.stretch_before(below)?;
    let first = before.height().saturating_add(1);
    let from = from.map_or_else(
        || StreamPosition::before(first),
        |(height, index)| {
            let height = height.number();
            StreamPosition { height, index }
        },
    );
    let to = StreamPosition::before(below);
    if from.height < first || from >= to {
        return None;
    }
    let read = archive.read((from, to), bytes);
    let chunk = read.ok().filter(|chunk| chunk.end > from)?;
    frame.begin(None, 0, from);
    chunk.write(from, frame);
    Some(Box::new(EventStretch {
        first: Height::new(first),
        tops: before.tops().to_vec(),
        frame: frame.bytes().into(),
    }))
}

/// The way to peers.
#[derive(Debug)]
pub(crate) struct PeerParts {
    pub(crate) own: ValidatorIndex,
    pub(crate) peers: Vec<ValidatorIndex>,
    pub(crate) mail: Arc<EventMail>,
}

impl PeerParts {
    pub(crate) fn new(set: &ValidatorSet, own: ValidatorIndex, mail: Arc<EventMail>) -> Self {
        let peers = set.indices().filter(|peer| *peer != own).collect();
        Self { own, peers, mail }
    }
}

/// See the module.
pub(crate) struct Peers {
    parts: PeerParts,
    metrics: Arc<Metrics>,
    begun: Instant,
    backfill: Backfill,
    /// Nothing older is wanted in this run: there is no room, the disk refuses, or the oldest
    /// segment here is damaged.
    is_done: bool,
    /// Nothing older is asked for before then: the disk was full.
    rests_until_ns: u64,
    /// Who was answered last: the next one comes after it.
    served: ValidatorIndex,
    serve_ns: u64,
    frame: PublicFrame,
}

impl Drop for Peers {
    /// Nobody is told anything any more.
    fn drop(&mut self) {
        *self.parts.mail.say.lock() = None;
    }
}

impl Peers {
    pub(crate) fn new(parts: PeerParts, metrics: Arc<Metrics>) -> Self {
        let own = parts.own;
        Self {
            backfill: Backfill::new(parts.peers.iter().copied()),
            parts,
            metrics,
            begun: Instant::now(),
            is_done: false,
            rests_until_ns: 0,
            served: own,
            serve_ns: 0,
            frame: PublicFrame::default(),
        }
    }

    /// Takes what has come and does what is due.
    pub(crate) fn turn(&mut self, archive: &mut Archive) {
        // What a validator of another state has is not to be given, nor to be added to.
        if !self.metrics.is_serving() {
            return;
        }
        let now_ns = nanoseconds(self.begun.elapsed());
        let mut said = Vec::new();
        said.extend(self.serve(now_ns, archive));
        let answer = self.parts.mail.letters.lock().answer.take();
        if let Some(answer) = answer {
            self.take(now_ns, archive, answer);
        }
        self.metrics.events_first.set(archive.first());
        if !self.is_done && now_ns >= self.rests_until_ns && archive.room() > 0 {
            let asked = self.backfill.turn(now_ns, archive.first());
            if let Some(slow) = self.backfill.take_slow() {
                let peer = slow.number();
                tracing::warn!(peer, "a peer gives older public events too slowly");
            }
            self.parts.mail.letters.lock().expects = self.backfill.expects();
            said.extend(asked);
        }
        if !said.is_empty() {
            let to = Destination::Peer;
            let say = |(peer, part)| Input::Say { to: to(peer), part };
            if let Some(way) = &*self.parts.mail.say.lock() {
                way(said.into_iter().map(say).collect());
            }
        }
    }

    /// Answers one question at most, of each peer in turn.
    fn serve(
        &mut self,
        now_ns: u64,
        archive: &mut Archive,
    ) -> Option<(ValidatorIndex, SnapshotPart)> {
        if now_ns < self.serve_ns {
            return None;
        }
        let (peer, (below, from)) = {
            let questions = &mut self.parts.mail.letters.lock().questions;
            let after = (Bound::Excluded(self.served), Bound::Unbounded);
            let next = questions.range(after).next();
            let peer = *next.or_else(|| questions.first_key_value())?.0;
            questions.remove_entry(&peer)?
        };
        self.served = peer;
        self.serve_ns = now_ns.saturating_add(SERVE_PAUSE_NS);
        let stretch = piece(archive, &mut self.frame, (below, from), PIECE_BYTES);
        Some((peer, SnapshotPart::Events { below, stretch }))
    }

    fn take(&mut self, now_ns: u64, archive: &mut Archive, (from, below, part): Answer) {
        let room = archive.room();
        let below = below.number();
        let taken = self
            .backfill
            .take(now_ns, (from, below), part.as_deref(), room);
        let stretch = match taken {
            Taken::More => return,
            Taken::Lie => return self.tell_lie(from),
            Taken::Whole(stretch) => stretch,
        };
        match archive.prepend(&stretch.before, &stretch.blocks) {
            Ok(Prepended::Taken) => {
                let (first, last) = (archive.first(), below - 1);
                tracing::info!(first, last, "older public events of a peer are here");
            }
            Ok(Prepended::Lie) => {
                self.backfill.accuse(stretch.source);
                self.tell_lie(stretch.source);
            }
            Ok(Prepended::Full) => self.end("there is no room for what is older still"),
            Ok(Prepended::Headless) => {
                self.metrics.alarms.add(1);
                let first = archive.first();
                tracing::error!(first, "the head of the oldest archived segment is damaged");
                self.end("the oldest segment here does not tell what comes before it");
            }
            Err(error) if error.is_for_want_of_room() => {
                self.rests_until_ns = now_ns.saturating_add(ROOM_REST_NS);
                tracing::warn!(%error, "the disk is full: older public events are fetched later");
            }
            Err(error) => {
                self.metrics.alarms.add(1);
                tracing::error!(%error, "older public events cannot be written");
                self.end("the disk refuses");
            }
        }
    }

    fn tell_lie(&self, peer: ValidatorIndex) {
        self.metrics.events_lies.add(1);
        let peer = peer.number();
        tracing::error!(
            peer,
            "older public events of a peer are not those of the chain"
        );
    }

    fn end(&mut self, why: &str) {
        tracing::info!(
            why,
            "no older public events are fetched any more in this run"
        );
        self.is_done = true;
    }
}

#[cfg(test)]
#[path = "older_tests.rs"]
mod tests;
