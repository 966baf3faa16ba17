//! What one validator's log says over all its lives: what it voted, and what became final where.
//!
//! Owns the two checks of what a log says: that every own vote record contradicts neither
//! itself nor the one before it of the same window, and that a command told to a client stands in
//! the finalized chain. Reads the bytes itself, without the code that recovers; votes are judged by
//! `vote_order`. Never: writes.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io::{self, Read as _, Seek as _};
use std::path::Path;

use quorate::journal::{JournalEntry, decode};
use quorate_bench::load::Acknowledged;
use quorate_consensus::payload::PayloadView;
use quorate_consensus::record::Record;
use quorate_consensus::types::{BlockId, Window};
use quorate_log::{LogOffset, RecordKind, Verification};

use super::vote_order::{Headers, Verdict, VoteOrder};
use crate::inspect::records::{self, first_segment};
use crate::inspect::whole::visit_whole;

/// Conflicts of one log that are told in words: one is enough to begin with.
const CONFLICTS_TOLD_MAX: usize = 4;

/// Bytes of a chain hash.
const HASH_BYTES: usize = 32;
/// What reading a place gives whose segment is gone, or ends before it.
const GONE: [io::ErrorKind; 2] = [io::ErrorKind::NotFound, io::ErrorKind::UnexpectedEof];

/// A place in a log and the chain hash before it, which covers every byte from the genesis on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    place: LogOffset,
    hash: [u8; HASH_BYTES],
}

impl Mark {
    /// The end of what is whole in a log that nobody writes.
    ///
    /// # Errors
    /// The segment cannot be read.
    pub(super) fn at_end(folder: &Path, found: &Verification) -> io::Result<Self> {
        Self::at(folder, found.end.offset)
    }

    fn at(folder: &Path, place: LogOffset) -> io::Result<Self> {
        Ok(Self {
            place,
            hash: hash_before(folder, place)?,
        })
    }

    /// Whether the log still is what it was up to here. What was pruned is not looked for.
    ///
    /// # Errors
    /// The segment cannot be read.
    pub(super) fn stands(&self, folder: &Path) -> io::Result<bool> {
        if self.place.segment() < first_segment(folder)? {
            return Ok(true);
        }
        match hash_before(folder, self.place) {
            Ok(hash) => Ok(hash == self.hash),
            Err(error) if GONE.contains(&error.kind()) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// The last record of a log.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ending {
    /// Behind what stands before it, which stands where it alone is cut.
    pub(super) begin: Mark,
    pub(super) end: Mark,
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

/// A vote record and the one before it of its window.
#[derive(Debug)]
struct Pair {
    window: Window,
    before: Option<Record>,
    record: Record,
}

impl Pair {
    fn verdict(&self, headers: &[&Headers], window_slots: u32) -> Verdict {
        let order = VoteOrder {
            headers,
            window: self.window,
            window_slots,
        };
        order.judge(self.before.as_ref(), &self.record)
    }
}

impl fmt::Display for Pair {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            window,
            before,
            record,
        } = self;
        let number = window.number();
        write!(to, "in window {number} it said {before:?}, then {record:?}")
    }
}

/// What a validator has voted in lives that are over, for the audit of what its log says after
/// them.
#[derive(Debug, Default)]
pub(super) struct Lives {
    headers: Headers,
    newest: BTreeMap<Window, Record>,
    open: Vec<Pair>,
    /// Where the log says something new: what stands before was judged, in this log or in the one
    /// of which it is a copy.
    judged_until: Option<LogOffset>,
}

impl Lives {
    /// The log is what was judged up to this place.
    pub(super) const fn go_on_behind(&mut self, mark: Mark) {
        self.judged_until = Some(mark.place);
    }

    /// The next log holds nothing of the last one.
    pub(super) const fn begin_anew(&mut self) {
        self.judged_until = None;
    }
}

/// What a log says.
#[derive(Debug, Default)]
pub(super) struct Audit {
    /// Records that cannot be decoded: nobody knows what was said by them.
    pub(super) undecoded: u64,
    /// Own vote records.
    pub(super) vote_records: u64,
    /// Of those, the ones that contradict themselves, or do not extend the one before them of their
    /// window.
    pub(super) conflicting_votes: u64,
    /// What the first of them say, for who has to find out why.
    pub(super) conflicts: Vec<String>,
    /// Finalized heights of each command, the lowest first: one that stood behind a gap had no
    /// effect there, and stands in a later block again.
    commands: BTreeMap<([u8; 16], u64), Heights>,
    headers: Headers,
    /// Commands of each block whose mark may come.
    bodies: BTreeMap<BlockId, Vec<([u8; 16], u64)>>,
    newest: BTreeMap<Window, Record>,
    /// What cannot be judged yet.
    open: Vec<Pair>,
    /// Own votes below this place were judged before.
    judged_until: Option<LogOffset>,
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
            audit.take_bytes(record.place, record.kind, record.payload);
        })?;
        Ok(audit)
    }

    /// Reads what is whole behind a mark in a log that nobody writes; gives where the last record
    /// of that begins and ends.
    ///
    /// # Errors
    /// A segment cannot be read.
    pub(super) fn read_behind(
        lives: Lives,
        window_slots: u32,
        folder: &Path,
        mark: Option<Mark>,
    ) -> io::Result<(Self, Ending)> {
        let mut audit = Self::after(lives, window_slots);
        let from = mark.map(|mark| mark.place);
        let mut last = None;
        let end = visit_whole(folder, from, &mut |record| {
            last = Some(record.place);
            audit.take_bytes(record.place, record.kind, record.payload);
        })?;
        let ending = Ending {
            begin: Mark::at(folder, last.unwrap_or(end))?,
            end: Mark::at(folder, end)?,
        };
        Ok((audit, ending))
    }

    /// The audit of what a validator says after those lives: their votes bind it still. Where it
    /// began its log anew it abstains in their windows (R13), so that any vote there is to extend
    /// the last one.
    fn after(lives: Lives, window_slots: u32) -> Self {
        Self {
            headers: lives.headers,
            newest: lives.newest,
            open: lives.open,
            judged_until: lives.judged_until,
            window_slots,
            ..Self::default()
        }
    }

    fn take_bytes(&mut self, place: LogOffset, kind: RecordKind, payload: &[u8]) {
        if kind == RecordKind::GENESIS {
            return;
        }
        match decode(kind, payload) {
            Ok(entry) => self.take(place, entry),
            // It may be the vote that contradicts another one.
            Err(_) => self.undecoded += 1,
        }
    }

    fn take(&mut self, place: LogOffset, entry: JournalEntry<'_>) {
        match entry {
            JournalEntry::Block { header, payload } => {
                let id = header.id();
                self.headers.insert(id, header);
                if let Ok(view) = PayloadView::parse(payload) {
                    let commands = view.iter().map(|command| (*command.session, command.seq));
                    self.bodies.insert(id, commands.collect());
                }
            }
            JournalEntry::Record { own, .. }
                if self.judged_until.is_none_or(|until| place >= until) =>
            {
                self.take_record(own.window, own.record);
            }
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
        let before = self.newest.insert(window, record.clone());
        let pair = Pair {
            window,
            before,
            record,
        };
        match pair.verdict(&[&self.headers], self.window_slots) {
            Verdict::Follows => {}
            Verdict::Conflicts => self.note_conflict(&pair),
            Verdict::Open => self.open.push(pair),
        }
    }

    fn note_conflict(&mut self, pair: &Pair) {
        self.conflicting_votes += 1;
        if self.conflicts.len() < CONFLICTS_TOLD_MAX {
            self.conflicts.push(pair.to_string());
        }
    }

    /// Judges what was left open, by these headers besides its own. A block that none of the logs
    /// holds is on no chain.
    pub(super) fn close(&mut self, headers_of_all: &[&Headers]) {
        let mut headers = vec![&self.headers];
        headers.extend(headers_of_all);
        let slots = self.window_slots;
        let open = std::mem::take(&mut self.open).into_iter();
        let conflicts: Vec<_> = open
            .filter(|pair| pair.verdict(&headers, slots) != Verdict::Follows)
            .collect();
        for pair in &conflicts {
            self.note_conflict(pair);
        }
    }

    /// What the validator has said, whatever becomes of this log.
    pub(super) fn into_lives(self) -> Lives {
        Lives {
            headers: self.headers,
            newest: self.newest,
            open: self.open,
            judged_until: None,
        }
    }

    /// The headers of the blocks that the log holds.
    pub(super) const fn headers(&self) -> &Headers {
        &self.headers
    }

    /// Lets go of the commands of the chain, which are much and are needed for `lost` alone.
    pub(super) fn forget_commands(&mut self) {
        self.commands = BTreeMap::new();
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
