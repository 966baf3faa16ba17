//! Forwarded commands that wait for the check of their signatures, each peer's turn in turn.
//!
//! Owns the runs and how far each is checked. A batch has as much of each peer as of any other, so
//! nobody's commands wait behind those of one that sends more. Of a run in which something is not
//! signed the rest is not looked at, nor what its peer had sent by then. Never: decides how large
//! a batch is, or when it is made.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;

use quorate_consensus::payload::{CommandView, parse_entries};
use quorate_consensus::types::ValidatorIndex;

use super::forwards::ForwardedRun;
use crate::auth::{Ahead, BatchCheck, Checked, CheckedAhead, CommandAuth, KeySource};

/// Commands walked over of one peer before the next one's, at least.
const SHARE_MIN: usize = 16;

/// Forwarded commands whose signatures are good.
#[derive(Debug)]
pub(crate) struct CheckedForward {
    /// The run that was checked.
    pub(crate) run: ForwardedRun,
    /// A run of entries; what cannot be parsed stands here as it came. One whose session is not
    /// known here is left out: its opening has not come, and the peer sends both again.
    pub(crate) commands: Vec<u8>,
    /// How many were found whose signature is not good; one at least when there is one.
    pub(crate) refused: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct ForwardQueue {
    /// Of each peer that has some, oldest first.
    peers: BTreeMap<ValidatorIndex, VecDeque<Piece>>,
    /// The peer that the last batch began with: the next one begins behind it.
    last: Option<ValidatorIndex>,
    bytes: usize,
    done: VecDeque<CheckedForward>,
}

/// A run of which the first commands are checked.
#[derive(Debug)]
struct Piece {
    run: ForwardedRun,
    /// Where each command ends.
    ends: Vec<u32>,
    /// How many are checked.
    at: usize,
    good: Vec<u8>,
    refused: u64,
}

impl Piece {
    /// None when the bytes are no run of entries.
    fn new(run: ForwardedRun) -> Result<Self, ForwardedRun> {
        let mut end = 0;
        let ends = parse_entries(&run.entries).map(|views| {
            let ends = views.map(|view| {
                end += view.entry.len() as u32;
                end
            });
            ends.collect()
        });
        match ends {
            Ok(ends) => Ok(Self {
                run,
                ends,
                at: 0,
                good: Vec::new(),
                refused: 0,
            }),
            Err(_) => Err(run),
        }
    }

    fn is_done(&self) -> bool {
        self.at >= self.ends.len()
    }

    /// Where the commands from one place to another stand.
    fn range(&self, from: usize, to: usize) -> Range<usize> {
        let start_of = |place: usize| match place.checked_sub(1) {
            Some(before) => self.ends.get(before).map_or(0, |end| *end as usize),
            None => 0,
        };
        start_of(from)..start_of(to.min(self.ends.len()))
    }

    fn views(&self, from: usize, to: usize) -> impl Iterator<Item = CommandView<'_>> {
        // A part of a run of entries is one.
        let part = self.run.entries.get(self.range(from, to));
        parse_entries(part.unwrap_or_default())
            .into_iter()
            .flatten()
    }

    /// Takes in what a batch says of the commands of a step.
    fn note(
        &mut self,
        step: &Step,
        is_batch_good: bool,
        auth: &CommandAuth,
        check: &mut BatchCheck,
    ) {
        if step.from != self.at {
            return;
        }
        let to = step.from + step.count;
        if is_batch_good && !step.is_bad {
            let part = self.run.entries.get(self.range(step.from, to));
            self.good.extend_from_slice(part.unwrap_or_default());
            self.at = to;
            return;
        }
        // Which one it is: each finds its verdict made.
        let (mut good, mut refused) = (Vec::new(), 0);
        let keep = |view: &CommandView<'_>, checked| match checked {
            Checked::Good => good.extend_from_slice(view.entry),
            Checked::Bad => refused += 1,
            Checked::Unknown => {}
        };
        auth.check_part(self.views(step.from, to), KeySource::Known, check, keep);
        self.good.append(&mut good);
        self.refused += refused;
        let is_at_fault = refused > 0 && self.run.find_fault();
        self.at = if is_at_fault { self.ends.len() } else { to };
    }
}

/// Commands of one run that a batch was made of.
#[derive(Debug)]
pub(crate) struct Step {
    peer: ValidatorIndex,
    place: usize,
    from: usize,
    count: usize,
    /// One of them has no key here, or was found not to be signed by it.
    is_bad: bool,
}

/// How far a peer's runs are walked over.
struct Line<'a> {
    peer: ValidatorIndex,
    pieces: &'a VecDeque<Piece>,
    place: usize,
    at: usize,
}

impl ForwardQueue {
    pub(crate) fn push(&mut self, run: ForwardedRun) {
        match Piece::new(run) {
            Ok(piece) => {
                self.bytes += piece.run.entries.len();
                self.peers
                    .entry(piece.run.from)
                    .or_default()
                    .push_back(piece);
            }
            // Whoever takes it finds out what is wrong.
            Err(run) => self.done.push_back(CheckedForward {
                commands: run.entries.to_vec(),
                run,
                refused: 0,
            }),
        }
    }

    /// Whether nothing waits for a check.
    pub(crate) fn is_empty(&self) -> bool {
        self.peers.is_empty()
    }

    /// Bytes of the runs that wait.
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Puts commands into a batch until it is full, of each peer about as many as of any other.
    pub(crate) fn walk<'a>(&'a self, ahead: &mut Ahead<'a>, commands_max: usize) -> Vec<Step> {
        let of = |(peer, pieces): (&ValidatorIndex, &'a VecDeque<Piece>)| Line {
            peer: *peer,
            pieces,
            place: 0,
            at: pieces.front().map_or(0, |piece| piece.at),
        };
        let last = self.last;
        let (behind, before): (Vec<_>, Vec<_>) = self
            .peers
            .iter()
            .map(of)
            .partition(|line| last.is_none_or(|last| line.peer > last));
        let mut lines: VecDeque<Line<'a>> = behind.into_iter().chain(before).collect();
        let share = (commands_max / lines.len().max(1)).max(SHARE_MIN);
        let mut steps = Vec::new();
        while let Some(mut line) = lines.pop_front() {
            if ahead.is_full() {
                break;
            }
            if let Some(step) = line.walk(ahead, share) {
                steps.push(step);
                lines.push_back(line);
            }
        }
        steps
    }

    /// Takes in what a batch says of the steps of its making.
    pub(crate) fn note(
        &mut self,
        steps: &[Step],
        checked: CheckedAhead,
        auth: &CommandAuth,
        check: &mut BatchCheck,
    ) {
        for step in steps {
            let pieces = self.peers.get_mut(&step.peer);
            if let Some(piece) = pieces.and_then(|pieces| pieces.get_mut(step.place)) {
                piece.note(step, checked.is_good, auth, check);
            }
        }
        self.last = steps.first().map(|step| step.peer).or(self.last);
        self.take_done();
    }

    /// Moves what is checked to where it is taken from, and forgets what is void.
    fn take_done(&mut self) {
        let (bytes, done) = (&mut self.bytes, &mut self.done);
        self.peers.retain(|_, pieces| {
            while let Some(piece) =
                pieces.pop_front_if(|piece| piece.is_done() || piece.run.is_void())
            {
                *bytes -= piece.run.entries.len();
                if piece.is_done() {
                    done.push_back(CheckedForward {
                        run: piece.run,
                        commands: piece.good,
                        refused: piece.refused,
                    });
                }
            }
            !pieces.is_empty()
        });
    }

    /// The next run that is checked.
    pub(crate) fn next(&mut self) -> Option<CheckedForward> {
        self.done.pop_front()
    }

    /// Commands that wait.
    #[cfg(test)]
    pub(crate) fn commands(&self) -> usize {
        let pieces = self.peers.values().flatten();
        pieces.map(|piece| piece.ends.len() - piece.at).sum()
    }
}

impl<'a> Line<'a> {
    /// Walks over the next `share` commands at most; none when there are none.
    fn walk(&mut self, ahead: &mut Ahead<'a>, share: usize) -> Option<Step> {
        let mut piece = self.pieces.get(self.place)?;
        if self.at >= piece.ends.len() {
            self.place += 1;
            piece = self.pieces.get(self.place)?;
            self.at = piece.at;
        }
        let views = piece.views(self.at, self.at.saturating_add(share));
        let walked = ahead.walk(views, KeySource::Known);
        let step = Step {
            peer: self.peer,
            place: self.place,
            from: self.at,
            count: walked.count,
            is_bad: walked.is_bad,
        };
        self.at += walked.count;
        Some(step)
    }
}
