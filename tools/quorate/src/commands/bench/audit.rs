//! What one validator's log says over all its lives: what it voted, and what became final where.
//!
//! Owns the two checks that need the whole log: that every own vote record contradicts neither
//! itself nor the one before it of the same window, and that a command told to a client stands in
//! the finalized chain. Reads the bytes itself, without the code that recovers, and judges votes by
//! protocol.md in code of its own, not by the code that cast them. Never: writes.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read as _, Seek as _};
use std::path::Path;

use quorate::journal::{JournalEntry, decode};
use quorate_bench::load::Acknowledged;
use quorate_consensus::header::Header;
use quorate_consensus::payload::PayloadView;
use quorate_consensus::record::Record;
use quorate_consensus::types::{BlockId, Index, Window};
use quorate_log::{LogOffset, Verification};

use crate::inspect::records::{self, tail_of};

/// Bytes of a chain hash.
const HASH_BYTES: usize = 32;

/// A place in a log and the chain hash before it, which covers every byte from the genesis on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    place: LogOffset,
    hash: [u8; HASH_BYTES],
}

impl Mark {
    /// The start of the last record of a log that nobody writes, at or after an earlier mark. The
    /// record itself may be torn; all before it is not.
    ///
    /// # Errors
    /// A segment cannot be read.
    pub(super) fn take(folder: &Path, after: Option<Self>) -> io::Result<Option<Self>> {
        let from = after.map(|mark| mark.place);
        let Some(place) = tail_of(folder, from)? else {
            return Ok(after);
        };
        Ok(Some(Self {
            place,
            hash: hash_before(folder, place)?,
        }))
    }

    /// Whether the log still is what it was up to here.
    ///
    /// # Errors
    /// The segment cannot be read.
    pub(super) fn stands(&self, folder: &Path) -> io::Result<bool> {
        Ok(hash_before(folder, self.place)? == self.hash)
    }
}

fn hash_before(folder: &Path, place: LogOffset) -> io::Result<[u8; HASH_BYTES]> {
    let mut file = fs::File::open(folder.join(records::segment_name(place.segment())))?;
    let mut hash = [0; HASH_BYTES];
    let at = u64::from(place.bytes()).saturating_sub(HASH_BYTES as u64);
    file.seek(io::SeekFrom::Start(at))?;
    file.read_exact(&mut hash)?;
    Ok(hash)
}

/// Where a command stands in the finalized chain.
#[derive(Debug)]
struct Heights {
    first: u64,
    /// Empty, and without room, for nearly every command.
    more: Vec<u64>,
}

impl Heights {
    const fn of(first: u64) -> Self {
        let more = Vec::new();
        Self { first, more }
    }

    fn contains(&self, height: u64) -> bool {
        self.first == height || self.more.contains(&height)
    }
}

/// What a validator has voted in lives whose logs are gone, for the audit of the log after them.
#[derive(Debug, Default)]
pub(super) struct Lives {
    headers: BTreeMap<BlockId, Header>,
    newest: BTreeMap<Window, Record>,
}

/// What a log says.
#[derive(Debug, Default)]
pub(super) struct Audit {
    /// Own vote records.
    pub(super) vote_records: u64,
    /// Of those, the ones that contradict themselves, or do not extend the one before them of their
    /// window.
    pub(super) conflicting_votes: u64,
    /// Finalized heights of each command, the lowest first: one that stood behind a gap had no
    /// effect there, and stands in a later block again.
    commands: BTreeMap<([u8; 16], u64), Heights>,
    headers: BTreeMap<BlockId, Header>,
    /// Commands of each block whose mark may come.
    bodies: BTreeMap<BlockId, Vec<([u8; 16], u64)>>,
    newest: BTreeMap<Window, Record>,
    /// Slots of a window.
    window_slots: u32,
}

impl Audit {
    /// Reads a log as far as it was found whole.
    ///
    /// # Errors
    /// A segment cannot be read.
    pub(super) fn read(
        lives: Lives,
        window_slots: u32,
        folder: &Path,
        found: &Verification,
    ) -> io::Result<Self> {
        let mut audit = Self::after(lives, window_slots);
        records::visit(folder, found, &mut |record| {
            // What cannot be decoded is found by the comparison of the chains.
            if let Ok(entry) = decode(record.kind, record.payload) {
                audit.take(entry);
            }
        })?;
        Ok(audit)
    }

    /// The audit of a log that a validator began anew after those lives: their votes bind it still.
    /// It abstains in their windows (R13), so that any vote there is to extend the last one.
    fn after(lives: Lives, window_slots: u32) -> Self {
        Self {
            headers: lives.headers,
            newest: lives.newest,
            window_slots,
            ..Self::default()
        }
    }

    fn take(&mut self, entry: JournalEntry<'_>) {
        match entry {
            JournalEntry::Block { header, payload } => {
                let id = header.id();
                self.headers.insert(id, header);
                if let Ok(view) = PayloadView::parse(payload) {
                    let commands = view.iter().map(|command| (*command.session, command.seq));
                    self.bodies.insert(id, commands.collect());
                }
            }
            JournalEntry::Record { own, .. } => self.take_record(own.window, own.record),
            JournalEntry::Finalized(mark) => {
                let height = mark.header.height.number();
                for command in self.bodies.remove(&mark.header.id()).unwrap_or_default() {
                    self.commands
                        .entry(command)
                        .and_modify(|heights| heights.more.push(height))
                        .or_insert_with(|| Heights::of(height));
                }
            }
            _ => {}
        }
    }

    fn take_record(&mut self, window: Window, record: Record) {
        self.vote_records += 1;
        let before = self.newest.get(&window);
        let follows = before.is_none_or(|before| self.extends(window, before, &record));
        if !follows || !self.is_consistent(window, &record) {
            self.conflicting_votes += 1;
        }
        self.newest.insert(window, record);
    }

    /// Whether a record contradicts itself in nothing: final only what was voted for, nothing final
    /// at or above a fallback (rule X), no fallback in a window that is open.
    fn is_consistent(&self, window: Window, record: &Record) -> bool {
        let last = self.window_slots.saturating_sub(1);
        let inside = |index: Index| index.number() <= last;
        let tip = record.tip.map(|(index, _)| index);
        let falls_back = record.skip_fallback.is_some() || !record.also.is_empty();
        let is_full = tip.is_some_and(|index| index.number() == last);
        let differences = record
            .also
            .iter()
            .filter_map(|&(_, id)| self.first_difference(window, record.tip, id));
        let lowest_fallback = differences.chain(record.skip_fallback).min();
        let final_fits = match (record.fin, tip) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(fin), Some(tip)) => {
                fin <= tip && lowest_fallback.is_none_or(|fallback| fin < fallback)
            }
        };
        final_fits
            && (!falls_back || record.stop || is_full)
            && tip.is_none_or(inside)
            && record.skip_fallback.is_none_or(inside)
            && record.also.iter().all(|&(index, _)| inside(index))
    }

    /// Whether `newer` says all that `older` says, and more.
    fn extends(&self, window: Window, older: &Record, newer: &Record) -> bool {
        let tip_grows = match (older.tip, newer.tip) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some((_, old)), Some((_, new))) => self.is_ancestor(window, old, new),
        };
        let stop_stays = !older.stop || (newer.stop && newer.tip == older.tip);
        let final_stays = match (older.fin, newer.fin) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(old), Some(new)) => old <= new,
        };
        let skip_stays = match (older.skip_fallback, newer.skip_fallback) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(old), Some(new)) => new <= old,
        };
        let also_stays = older.also.iter().all(|&(_, old)| {
            let mut chains = newer.also.iter();
            chains.any(|&(_, new)| self.is_ancestor(window, old, new))
        });
        tip_grows && stop_stays && final_stays && skip_stays && also_stays
    }

    /// The lowest index at which the chain of `id` is not the chain of the tip. None where it is
    /// all on that chain, or where one of the two is not known down to the window's first block.
    fn first_difference(
        &self,
        window: Window,
        tip: Option<(Index, BlockId)>,
        id: BlockId,
    ) -> Option<Index> {
        let Some((_, tip)) = tip else {
            return Some(Index::ZERO);
        };
        let (own, other) = (self.chain(window, tip)?, self.chain(window, id)?);
        let differs = |at: &usize| own.get(*at) != other.get(*at);
        let first = (0..other.len()).find(differs)?;
        u32::try_from(first).ok().map(Index::new)
    }

    /// The blocks of a window up to this one, the lowest first.
    fn chain(&self, window: Window, id: BlockId) -> Option<Vec<BlockId>> {
        let (mut chain, mut at) = (Vec::new(), id);
        loop {
            let header = self.headers.get(&at)?;
            if header.window != window {
                return None;
            }
            chain.push(at);
            if header.index == Index::ZERO {
                chain.reverse();
                return Some(chain);
            }
            at = header.parent_id;
        }
    }

    /// Whether `old` stands on the chain of `new` inside the window. Every block that a record
    /// names stands in the log before it (R11); one that does not is no ancestor.
    fn is_ancestor(&self, window: Window, old: BlockId, new: BlockId) -> bool {
        let mut at = new;
        while at != old {
            match self.headers.get(&at) {
                Some(header) if header.window == window => at = header.parent_id,
                _ => return false,
            }
        }
        true
    }

    /// What a validator that loses this log has said all the same.
    pub(super) fn into_lives(self) -> Lives {
        Lives {
            headers: self.headers,
            newest: self.newest,
        }
    }

    /// How many of these are not in the finalized chain, at the height that was told if one was.
    pub(super) fn lost(&self, acknowledged: &[Acknowledged]) -> u64 {
        let is_lost = |told: &&Acknowledged| {
            let heights = self.commands.get(&(told.session, told.seq));
            heights.is_none_or(|heights| told.height.is_some_and(|told| !heights.contains(told)))
        };
        acknowledged.iter().filter(is_lost).count() as u64
    }
}

#[cfg(test)]
#[path = "audit_tests.rs"]
mod tests;
