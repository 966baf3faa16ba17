//! The private streams of all sessions: what the newest blocks put out for each, addressed by
//! (height, number).
//!
//! Owns a ring of the newest blocks' private outputs, as many as a bound allows. An address follows
//! from the chain alone, so it means the same at every validator, and after any restart. Never: who
//! is connected, sockets, or a block that is not final.
//!
//! There is no index by session: a question walks over the outputs behind its position, a bounded
//! number of them a time, and most blocks are passed by what is known of whom they are for. What
//! the ring has passed is kept on disk (`archived`, and `stages::archive` for the thread).

pub(crate) mod archived;

use std::collections::VecDeque;
use std::sync::Arc;

use archived::{Height, PrivateOutputs};

use crate::archive::{Ring, Stream};
use crate::client_wire::{PrivateFrame, PrivateState};
use crate::results::{BlockResults, OwnShare};
use crate::state_machine::{Audience, OUTPUT_BYTES_MAX, SessionId};
use crate::streams::StreamPosition;

/// What a block takes in memory besides its outputs, bytes, about.
const BLOCK_BYTES: usize = 128;
/// A frame that has reached this length takes no further output, bytes.
const FRAME_BYTES_FULL: usize = 256 * 1024;
/// Outputs, of whomever, and blocks that one question walks over at most: it is answered by the
/// thread that executes, or also votes.
const WALK_MAX: usize = 8_192;

/// One output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    session: SessionId,
    /// Place among all outputs of the block.
    number: u32,
    /// Place in the block of the command that made it; none for a timer or a time-out.
    command: Option<u32>,
    /// Its owner had it with the result of that command.
    is_in_result: bool,
    /// Where it ends among the block's bytes.
    end: usize,
}

/// The private outputs of one block.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Block {
    time_ns: u64,
    /// A bit for each session that has something here; others may share it.
    whose: u64,
    entries: Box<[Entry]>,
    bytes: Box<[u8]>,
}

/// The bit of a session. Its name is a hash already.
const fn bit_of(session: SessionId) -> u64 {
    1 << (session.0[0] % 64)
}

impl Block {
    fn of(results: &BlockResults) -> Self {
        // PERF: asked for once; what is over is given back below.
        let mut entries = Vec::with_capacity(results.outputs_len());
        let mut bytes = Vec::with_capacity(results.outputs_bytes());
        let mut whose = 0;
        let mut share = (None, OwnShare::default());
        for output in results.outputs() {
            let Audience::Session(session) = output.audience else {
                continue;
            };
            if share.0 != output.command {
                share = (output.command, OwnShare::default());
            }
            let own = output.command.map(|at| results.commands.get(at as usize));
            let is_own = own.flatten().is_some_and(|own| own.session == session);
            let is_in_result = is_own && share.1.take(output.bytes.len());
            if output.bytes.len() > OUTPUT_BYTES_MAX {
                continue;
            }
            bytes.extend_from_slice(output.bytes);
            whose |= bit_of(session);
            entries.push(Entry {
                session,
                number: output.number,
                command: output.command,
                is_in_result,
                end: bytes.len(),
            });
        }
        Self {
            time_ns: results.time_ns,
            whose,
            entries: entries.into(),
            bytes: bytes.into(),
        }
    }

    const fn memory_bytes(&self) -> usize {
        BLOCK_BYTES + self.bytes.len() + self.entries.len() * size_of::<Entry>()
    }

    /// The outputs from a number on, each with its bytes.
    fn from(&self, number: u32) -> impl Iterator<Item = (&Entry, &[u8])> {
        let first = self.entries.partition_point(|entry| entry.number < number);
        let before = first.checked_sub(1).and_then(|at| self.entries.get(at));
        let mut start = before.map_or(0, |entry| entry.end);
        self.entries.iter().skip(first).map(move |entry| {
            let bytes = self.bytes.get(start..entry.end).unwrap_or_default();
            start = entry.end;
            (entry, bytes)
        })
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct PrivateRing {
    blocks: VecDeque<Arc<Block>>,
    /// Height of the first one kept.
    first: u64,
    bytes: usize,
    bytes_max: usize,
}

/// What a session asks for: what lies between two positions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PrivateRange {
    pub(crate) session: SessionId,
    pub(crate) from: StreamPosition,
    pub(crate) to: StreamPosition,
}

impl PrivateRange {
    pub(crate) const fn of(session: SessionId, from: StreamPosition, to: StreamPosition) -> Self {
        Self { session, from, to }
    }
}

impl PrivateRing {
    /// Keeps blocks of `bytes_max` together, and the newest one in any case; none where that is 0.
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            ..Self::default()
        }
    }

    /// Takes the private outputs of an executed block. After a start from a snapshot the ring
    /// begins there: it has no holes.
    pub(crate) fn push(&mut self, results: &BlockResults) {
        if self.bytes_max == 0 {
            return;
        }
        if results.height != self.end() {
            (self.first, self.bytes) = (results.height, 0);
            self.blocks.clear();
        }
        let block = Block::of(results);
        self.bytes += block.memory_bytes();
        self.blocks.push_back(Arc::new(block));
        while self.bytes > self.bytes_max
            && self.blocks.len() > 1
            && let Some(oldest) = self.blocks.pop_front()
        {
            self.bytes -= oldest.memory_bytes();
            self.first += 1;
        }
    }

    /// Height of the block that comes next.
    fn end(&self) -> u64 {
        self.first.saturating_add(self.blocks.len() as u64)
    }

    fn block(&self, height: u64) -> Option<&Arc<Block>> {
        let place = height.checked_sub(self.first)?;
        self.blocks.get(usize::try_from(place).ok()?)
    }

    /// The oldest position here, where blocks before `tip` have been executed.
    pub(crate) fn oldest(&self, tip: StreamPosition) -> StreamPosition {
        // Nothing may have been executed yet since a start from a snapshot.
        match self.end() == tip.height {
            true => StreamPosition::before(self.first),
            false => tip,
        }
    }

    /// Writes what a session asks for, as much of it as one answer takes, where blocks up to
    /// `height` have been executed and those from `archived` on are on disk.
    pub(crate) fn answer(
        &self,
        range: &PrivateRange,
        (height, archived): (u64, Option<u64>),
        frame: &mut PrivateFrame,
    ) {
        let tip = StreamPosition::before(height.saturating_add(1));
        let here = self.oldest(tip);
        let oldest = archived.map_or(here, |first| StreamPosition::before(first).min(here));
        let from = match range.from {
            StreamPosition::LIVE => tip,
            from => from,
        };
        let (state, next) = if from < here {
            (PrivateState::Gone, from)
        } else if from > tip {
            (PrivateState::Ahead, from)
        } else {
            let range = PrivateRange { from, ..*range };
            (PrivateState::Done, self.write(&range, tip, frame))
        };
        frame.finish(state, next, oldest, tip);
    }

    /// Says up to where.
    fn write(
        &self,
        range: &PrivateRange,
        tip: StreamPosition,
        frame: &mut PrivateFrame,
    ) -> StreamPosition {
        let (mut at, end) = (range.from, range.to.min(tip));
        let mut walked = 0;
        while at < end
            && let Some(block) = self.block(at.height)
        {
            let behind = StreamPosition::before(at.height.saturating_add(1)).min(end);
            if block.whose & bit_of(range.session) != 0 {
                for (entry, bytes) in block.from(at.index) {
                    let address = StreamPosition {
                        index: entry.number,
                        ..at
                    };
                    if address >= end {
                        break;
                    }
                    if walked >= WALK_MAX || frame.bytes_len() >= FRAME_BYTES_FULL {
                        return address;
                    }
                    walked += 1;
                    if entry.session == range.session {
                        frame.push(
                            address,
                            block.time_ns,
                            entry.command,
                            entry.is_in_result,
                            bytes,
                        );
                    }
                }
            }
            at = behind;
            walked += 1;
            if walked >= WALK_MAX {
                break;
            }
        }
        at
    }
}

impl Ring for PrivateRing {
    type Kind = PrivateOutputs;

    fn push(&mut self, results: &BlockResults) {
        self.push(results);
    }

    fn begin(&mut self, before: &Height) {
        (self.first, self.bytes) = (before.0.saturating_add(1), 0);
        self.blocks.clear();
    }

    fn first(&self) -> u64 {
        self.first
    }

    fn end(&self) -> u64 {
        self.end()
    }

    fn before(&self) -> Option<Height> {
        Some(Height(self.first.saturating_sub(1)))
    }

    fn block(&self, height: u64) -> Option<&Arc<Block>> {
        self.block(height)
    }
}

/// The private streams of what a start executes.
pub(crate) type PrivateStream = Stream<PrivateRing>;

#[cfg(test)]
#[path = "private_tests.rs"]
mod tests;
