//! Which of the oldest log segments nobody needs any more, and when they go.
//!
//! Owns the choice: over the byte budget, whole segments go from the oldest on, as long as a start
//! from the newest attested snapshot needs nothing of them, no own word in them still binds, and
//! no peer is being served from them. Looks at every record of a segment before it goes. Never:
//! removes anything for the budget's sake that one of these needs, so the log may be larger; how
//! the log stays whole meanwhile is `quorate_log`'s.

use std::sync::Arc;
use std::time::{Duration, Instant};

use quorate_consensus::types::{Height, Window};
use quorate_log::{PruneError, Pruner, ReadError, Reader, RecordKind, RecordRef};

use crate::journal::{EntryError, JournalEntry, decode};
use crate::store::Served;

/// A peer that was served from old segments holds them this long.
const HOLD: Duration = Duration::from_secs(60);
/// Peers that are served without a pause hold them no longer than this.
const HOLD_MAX: Duration = Duration::from_secs(600);

/// What a start needs of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Needed {
    /// Height of the newest snapshot that is attested and whole.
    pub(crate) height: Height,
    /// Where the mark of its block stands.
    pub(crate) mark: RecordRef,
    /// Window of the newest synced finality proof: own words below it bind no more.
    pub(crate) window: Window,
    /// Where that proof stands.
    pub(crate) proof: RecordRef,
}

impl Needed {
    /// The segment below which only the records of older windows and heights matter.
    fn segment(&self) -> u32 {
        let places = self.mark.offset.min(self.proof.offset);
        places.segment()
    }
}

/// What one call did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pruned {
    /// Nothing: within the budget, or all that is left is needed.
    Nothing,
    /// There are more records to look at.
    More,
    /// Peers are being served from what would go.
    Held,
    /// Old segments were removed.
    Removed {
        /// Bytes that were freed.
        bytes: u64,
    },
    /// A record cannot be read, so that it may be one that is needed: it stays, and what follows
    /// it. It is read again by the next call.
    Unreadable {
        /// Why.
        error: ReadError,
        /// Whether no call has said so of this record yet.
        is_new: bool,
    },
}

/// How far the records were looked at.
enum Looked {
    /// There are more.
    More,
    /// Up to one that is needed, or all.
    Done,
    /// Up to one that cannot be read.
    Unreadable(ReadError),
}

/// Since when and until when peers were served from old segments.
#[derive(Clone, Copy, Debug)]
struct Hold {
    since: Instant,
    last: Instant,
}

/// The choice.
#[derive(Debug)]
pub(crate) struct Pruning {
    pruner: Pruner,
    reader: Reader,
    served: Arc<Served>,
    bytes_max: u64,
    /// The next record to look at; nothing before it is needed for what was looked for.
    next: RecordRef,
    /// What the records before `next` were not needed for: nor are they for anything higher.
    looked_for: (Height, Window),
    /// The record that was told last to be unreadable.
    told: Option<RecordRef>,
    hold: Option<Hold>,
}

impl Pruning {
    /// Keeps a log within `bytes_max` bytes; never prunes when 0.
    #[must_use]
    pub(crate) fn new(pruner: Pruner, reader: Reader, served: Arc<Served>, bytes_max: u64) -> Self {
        Self {
            next: reader.start(),
            looked_for: (Height::default(), Window::default()),
            pruner,
            reader,
            served,
            bytes_max,
            told: None,
            hold: None,
        }
    }

    /// Whether the log is larger than it should be.
    pub(crate) fn is_due(&self) -> bool {
        self.bytes_max > 0 && self.pruner.log_bytes() > self.bytes_max
    }

    /// Whether the log is larger than it should be by half: what lets it grow without being needed
    /// for a vote may not do so any longer.
    pub(crate) fn is_overgrown(&self) -> bool {
        let most = self.bytes_max.saturating_add(self.bytes_max / 2);
        self.bytes_max > 0 && self.pruner.log_bytes() > most
    }

    /// Looks at no more than `records` records, and removes no more than one segment, or one
    /// marked stretch whole.
    ///
    /// # Errors
    /// [`PruneError`]: nothing that is needed is gone, and a later call may do it.
    pub(crate) fn step(
        &mut self,
        needed: &Needed,
        records: usize,
        now: Instant,
    ) -> Result<Pruned, PruneError> {
        if !self.is_due() {
            return Ok(Pruned::Nothing);
        }
        let limit = needed.segment();
        if self.is_held(limit, now) {
            return Ok(Pruned::Held);
        }
        // A peer may have begun to fetch an older snapshot, and needs bodies that were passed.
        let (height, window) = self.looked_for;
        if needed.height < height || needed.window < window {
            self.next = self.reader.start();
        }
        self.looked_for = (needed.height, needed.window);
        let looked = self.look(needed, limit, records);
        let end = limit.min(self.next.offset.segment());
        let mut firsts = self.pruner.first().saturating_add(1)..=end;
        if let Some(first) = firsts.find(|&first| self.pruner.may_begin_with(first)) {
            let bytes = self.pruner.prune(first)?;
            return Ok(Pruned::Removed { bytes });
        }
        Ok(match looked {
            Looked::More => Pruned::More,
            Looked::Done => Pruned::Nothing,
            Looked::Unreadable(error) => {
                let is_new = self.told.replace(self.next) != Some(self.next);
                Pruned::Unreadable { error, is_new }
            }
        })
    }

    /// Looks on, up to the first record that is needed.
    fn look(&mut self, needed: &Needed, limit: u32, records: usize) -> Looked {
        let mut iter = self.reader.iter_from(self.next);
        for _ in 0..records {
            if self.next.offset.segment() >= limit {
                return Looked::Done;
            }
            let is_needed = match iter.next() {
                Some(Ok(record)) => {
                    self.next = record.place();
                    self.next.offset.segment() >= limit
                        || is_needed(needed, decode(record.kind(), &record))
                }
                Some(Err(error)) => return Looked::Unreadable(error),
                None => true,
            };
            if is_needed {
                return Looked::Done;
            }
            match iter.position() {
                Some(next) => self.next = next,
                None => return Looked::Done,
            }
        }
        Looked::More
    }

    /// Whether peers are being served from segments below `limit`, or were until just now.
    fn is_held(&mut self, limit: u32, now: Instant) -> bool {
        if self
            .served
            .take_lowest()
            .is_some_and(|lowest| lowest < limit)
        {
            let since = self.hold.map_or(now, |hold| hold.since);
            self.hold = Some(Hold { since, last: now });
        }
        // A pause ends the hold, and only then another one can begin.
        self.hold = self
            .hold
            .filter(|hold| now.duration_since(hold.last) < HOLD);
        self.hold
            .is_some_and(|hold| now.duration_since(hold.since) < HOLD_MAX)
    }
}

/// Whether a start may need a record below both the mark and the proof: the body of a block above
/// the snapshot, a block that may still become final, an own word that still binds.
fn is_needed(needed: &Needed, entry: Result<JournalEntry<'_>, EntryError>) -> bool {
    match entry {
        Ok(JournalEntry::Block { header, .. }) => {
            header.height > needed.height || header.window >= needed.window
        }
        Ok(JournalEntry::Record { own, .. }) => own.window >= needed.window,
        Ok(
            JournalEntry::Finalized(_)
            | JournalEntry::Proof { .. }
            | JournalEntry::Evidence(_)
            | JournalEntry::Answer { .. }
            | JournalEntry::Base { .. },
        ) => false,
        // The genesis is kept beside the log; anything else that is unknown may matter.
        Err(EntryError::UnknownKind { kind }) => kind != RecordKind::GENESIS,
        Err(_) => true,
    }
}

#[cfg(test)]
#[path = "pruning_tests.rs"]
mod tests;
