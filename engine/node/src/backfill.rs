//! Fetching public events of blocks before those that this validator has: what is asked of whom,
//! and what is kept of the answers until a stretch of them is whole.
//!
//! Newest first: a stream has no holes, so each stretch that is added serves readers at once, and
//! what an archive's budget does not take is the oldest, which it would let go first.
//!
//! Owns the one question that is under way and the one stretch in the making. Never: reads a clock,
//! opens a socket or a file, or believes anything; the archive checks a whole stretch against the
//! tree over public events before a byte of it is stored. A source that sends what is none of the
//! chain is not asked again in this run; one that is silent, has nothing older, or gives it at less
//! than a least rate, is asked again later. What is in the making is lost with the process: what
//! has been stored says where to go on.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use quorate_consensus::message::{EventStretch, SnapshotPart};
use quorate_consensus::types::{Height, ValidatorIndex};
use quorate_proof::events::EventHistory;

use crate::archive::BODY_BYTES_MAX;
use crate::client_wire::{PublicEvent, ServerFrame};
use crate::join;
use crate::snapshot::CHUNK_BYTES;
use crate::streams::{Block, StreamPosition};

/// How long a source may take for an answer.
pub(crate) const WAIT_NS: u64 = 3_000_000_000;
/// How long one that was silent is left alone.
pub(crate) const AWAY_NS: u64 = 5_000_000_000;
/// How long one that has nothing older is left alone: it may be fetching them itself.
pub(crate) const NOTHING_NS: u64 = 30_000_000_000;
/// How long one is left alone whose stretch has no room here: it may be as long as that, and it may
/// be a lie, so others are asked all the same.
pub(crate) const FULL_NS: u64 = 600_000_000_000;
/// One question in this time at most: with answers of 256 KiB, 5 MiB a second.
pub(crate) const PAUSE_NS: u64 = 50_000_000;
/// Events of one stretch, bytes: a peer's whole segment and a last block as long again.
pub(crate) const STRETCH_BYTES_MAX: u64 = 32 * 1024 * 1024;
/// The same where more than half of the peers have begun a longer one: its last block may be as
/// long as an archive takes it. One of them alone may be a liar, whom so much memory is not lent.
pub(crate) const LONG_STRETCH_BYTES_MAX: u64 = STRETCH_BYTES_MAX + BODY_BYTES_MAX as u64;
/// A stretch has so long besides what its bytes take: as long as a snapshot is waited for of which
/// nothing comes.
pub(crate) const GRACE_NS: u64 = join::PATIENCE_NS;
/// How long one is left alone that is slower: far longer than it could hold others up again.
pub(crate) const SLOW_NS: u64 = 120_000_000_000;
/// What an event counts besides its bytes.
const EVENT_BYTES: u64 = 8;
/// What a block with events counts besides them.
const BLOCK_BYTES: u64 = 128;

/// What is known of a peer as a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Ready,
    /// Not asked before then.
    Away {
        until_ns: u64,
    },
    /// It sent what is none of the chain.
    Liar,
}

/// The question that is under way.
#[derive(Clone, Copy, Debug)]
struct Asked {
    of: ValidatorIndex,
    below: u64,
    at_ns: u64,
}

/// The events of a block as they come.
#[derive(Debug)]
struct Coming {
    height: u64,
    time_ns: u64,
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

/// A stretch in the making, all of it from one source.
#[derive(Debug)]
struct Making {
    source: ValidatorIndex,
    below: u64,
    /// When its first question was asked.
    begun_ns: u64,
    before: EventHistory,
    /// Up to where it is here.
    at: StreamPosition,
    blocks: Vec<Coming>,
    bytes: u64,
}

/// A stretch that is whole, and that nobody has checked.
#[derive(Debug)]
pub(crate) struct Stretch {
    /// Who sent it.
    pub(crate) source: ValidatorIndex,
    /// The tree over the events of all blocks before it, as the source says.
    pub(crate) before: EventHistory,
    /// Blocks with events, ascending.
    pub(crate) blocks: Vec<(u64, Arc<Block>)>,
}

/// What came of an answer.
#[derive(Debug)]
pub(crate) enum Taken {
    /// More is to be asked, or nobody had asked for it.
    More,
    /// A stretch is whole.
    Whole(Stretch),
    /// It cannot be what was asked for.
    Lie,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Backfill {
    sources: BTreeMap<ValidatorIndex, Source>,
    /// Who was asked last: the next source comes after it.
    last: ValidatorIndex,
    asked: Option<Asked>,
    making: Option<Making>,
    /// Peers whose stretch before this height was longer than [`STRETCH_BYTES_MAX`].
    long: (u64, BTreeSet<ValidatorIndex>),
    next_ns: u64,
    /// Who was found to be slow, until somebody is told.
    slow: Option<ValidatorIndex>,
}

/// How long a stretch may have been in the making when so many bytes of it are here. Whoever
/// answers can be an honest source for a chunk of a snapshot in [`join::CHUNK_WAIT_NS`], or no
/// source at all; the same rate, 341 KiB a second, is the least one here. Without it, one event a
/// piece would hold all other sources up for as long as [`STRETCH_BYTES_MAX`] take that way.
const fn time_for(bytes: u64) -> u64 {
    let sending_ns = bytes.saturating_mul(join::CHUNK_WAIT_NS) / CHUNK_BYTES as u64;
    GRACE_NS.saturating_add(sending_ns)
}

impl Backfill {
    /// Of these peers.
    pub(crate) fn new(peers: impl IntoIterator<Item = ValidatorIndex>) -> Self {
        let ready = |peer| (peer, Source::Ready);
        Self {
            sources: peers.into_iter().map(ready).collect(),
            last: ValidatorIndex::new(0),
            asked: None,
            making: None,
            long: (0, BTreeSet::new()),
            next_ns: 0,
            slow: None,
        }
    }

    /// Of whom an answer is waited for.
    pub(crate) fn expects(&self) -> Option<ValidatorIndex> {
        self.asked.map(|asked| asked.of)
    }

    /// Who was left because it is slow, once each time.
    pub(crate) const fn take_slow(&mut self) -> Option<ValidatorIndex> {
        self.slow.take()
    }

    /// What is to be asked now, when the oldest block here is `below`; to be called after each
    /// answer, and now and then.
    pub(crate) fn turn(
        &mut self,
        now_ns: u64,
        below: u64,
    ) -> Option<(ValidatorIndex, SnapshotPart)> {
        if self.making.as_ref().is_some_and(|one| one.below != below) {
            self.making = None;
        }
        self.asked.take_if(|asked| asked.below != below);
        if self.long.0 != below {
            self.long = (below, BTreeSet::new());
        }
        let silent = |asked: &mut Asked| asked.at_ns.saturating_add(WAIT_NS) <= now_ns;
        if let Some(silent) = self.asked.take_if(silent) {
            self.leave(silent.of, now_ns.saturating_add(AWAY_NS));
        }
        if let Some(source) = self.slow_source(now_ns) {
            self.asked = None;
            self.leave(source, now_ns.saturating_add(SLOW_NS));
            self.slow = Some(source);
        }
        if below <= 1 || self.asked.is_some() || now_ns < self.next_ns {
            return None;
        }
        let of = match &self.making {
            Some(making) => making.source,
            None => self.choose(now_ns)?,
        };
        self.last = of;
        self.next_ns = now_ns.saturating_add(PAUSE_NS);
        let at_ns = now_ns;
        self.asked = Some(Asked { of, below, at_ns });
        let from = self.making.as_ref().map(|one| one.at);
        let ask = SnapshotPart::GetEvents {
            below: Height::new(below),
            from: from.map(|at| (Height::new(at.height), at.index)),
        };
        Some((of, ask))
    }

    /// Whose stretch has been in the making for longer than its bytes may take.
    fn slow_source(&self, now_ns: u64) -> Option<ValidatorIndex> {
        let making = self.making.as_ref()?;
        let end_ns = making.begun_ns.saturating_add(time_for(making.bytes));
        (end_ns <= now_ns).then_some(making.source)
    }

    /// The next source in turn, if one may be asked.
    fn choose(&self, now_ns: u64) -> Option<ValidatorIndex> {
        let is_ready = |source: &Source| match *source {
            Source::Ready => true,
            Source::Away { until_ns } => until_ns <= now_ns,
            Source::Liar => false,
        };
        let ready = self.sources.iter().filter(|(_, source)| is_ready(source));
        let mut ready = ready.map(|(&peer, _)| peer).collect::<Vec<_>>();
        let behind = ready.partition_point(|peer| *peer <= self.last);
        ready.rotate_left(behind);
        ready.first().copied()
    }

    /// Nothing more of what this source has begun; it is not asked before then.
    fn leave(&mut self, source: ValidatorIndex, until_ns: u64) {
        self.making = None;
        if self.sources.get(&source) != Some(&Source::Liar) {
            self.sources.insert(source, Source::Away { until_ns });
        }
    }

    /// Whether more than half of the peers have a longer stretch than one alone is believed.
    fn is_long(&self) -> bool {
        self.long.1.len() > self.sources.len() / 2
    }

    /// What this source has is longer than is taken of it now. When enough of them say so it is
    /// taken, from whichever of them is next.
    fn note_long(&mut self, source: ValidatorIndex, now_ns: u64) {
        self.leave(source, now_ns.saturating_add(FULL_NS));
        let was_long = self.is_long();
        self.long.1.insert(source);
        if !was_long && self.is_long() {
            for (peer, source) in &mut self.sources {
                if self.long.1.contains(peer) && *source != Source::Liar {
                    *source = Source::Ready;
                }
            }
        }
    }

    /// What this source sent is none of the chain: it is not asked again.
    pub(crate) fn accuse(&mut self, source: ValidatorIndex) {
        self.making = None;
        self.sources.insert(source, Source::Liar);
    }

    /// Takes an answer; of the events of a stretch `room` bytes at most are kept.
    pub(crate) fn take(
        &mut self,
        now_ns: u64,
        (from, below): (ValidatorIndex, u64),
        stretch: Option<&EventStretch>,
        room: u64,
    ) -> Taken {
        let is_asked = |asked: &mut Asked| asked.of == from && asked.below == below;
        let Some(asked) = self.asked.take_if(is_asked) else {
            return Taken::More;
        };
        let Some(stretch) = stretch else {
            self.leave(from, now_ns.saturating_add(NOTHING_NS));
            return Taken::More;
        };
        let Some(making) = self.extend(asked, stretch) else {
            self.accuse(from);
            return Taken::Lie;
        };
        let (bytes, is_whole) = (making.bytes, making.at >= StreamPosition::before(below));
        let bytes_max = match self.is_long() {
            true => LONG_STRETCH_BYTES_MAX,
            false => STRETCH_BYTES_MAX,
        };
        if bytes > room {
            self.leave(from, now_ns.saturating_add(FULL_NS));
            return Taken::More;
        }
        if bytes > bytes_max {
            self.note_long(from, now_ns);
            return Taken::More;
        }
        if !is_whole {
            return Taken::More;
        }
        let Some(whole) = self.making.take().and_then(Making::finish) else {
            self.accuse(from);
            return Taken::Lie;
        };
        Taken::Whole(whole)
    }

    /// Adds an answer to the stretch in the making; none when it is no answer to the question.
    fn extend(&mut self, asked: Asked, part: &EventStretch) -> Option<&Making> {
        let (_, ServerFrame::Public(public)) = ServerFrame::decode(&part.frame).ok()? else {
            return None;
        };
        let first = part.first.number();
        if self.making.is_none() {
            let before = EventHistory::from_tops(first.checked_sub(1)?, &part.tops)?;
            self.making = Some(Making {
                source: asked.of,
                below: asked.below,
                begun_ns: asked.at_ns,
                before,
                at: StreamPosition::before(first),
                blocks: Vec::new(),
                bytes: 0,
            });
        }
        let making = self.making.as_mut()?;
        let (from, end) = (public.from(), public.end());
        let is_next = from == making.at && end > from && end <= StreamPosition::before(asked.below);
        is_next.then_some(())?;
        making.at = end;
        for event in public {
            making.push(&event)?;
        }
        Some(making)
    }
}

impl Making {
    fn push(&mut self, event: &PublicEvent<'_>) -> Option<()> {
        let (height, time_ns) = (event.position.height, event.time_ns);
        if self.blocks.last().is_none_or(|last| last.height != height) {
            self.bytes = self.bytes.saturating_add(BLOCK_BYTES);
            self.blocks.push(Coming {
                height,
                time_ns,
                bytes: Vec::new(),
                ends: Vec::new(),
            });
        }
        let last = self.blocks.last_mut()?;
        (last.time_ns == time_ns).then_some(())?;
        last.bytes.extend_from_slice(event.bytes);
        last.ends.push(last.bytes.len());
        let bytes = EVENT_BYTES.saturating_add(event.bytes.len() as u64);
        self.bytes = self.bytes.saturating_add(bytes);
        Some(())
    }

    fn finish(self) -> Option<Stretch> {
        let block = |one: Coming| {
            let block = Block::from_parts(one.time_ns, one.bytes, one.ends)?;
            Some((one.height, Arc::new(block)))
        };
        Some(Stretch {
            source: self.source,
            before: self.before,
            blocks: self.blocks.into_iter().map(block).collect::<Option<_>>()?,
        })
    }
}

#[cfg(test)]
#[path = "backfill_tests.rs"]
mod tests;
