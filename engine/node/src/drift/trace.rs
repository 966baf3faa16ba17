//! What every command of the last blocks came to, in eight bytes each.
//!
//! Owns the fingerprints, the bound on them and their file. Never: the state itself, whose root
//! costs too much after each command; a command that changes the state and puts out nothing looks
//! as it should here.
//!
//! A fingerprint tells two results apart by accident and not against an adversary: it is this
//! validator's own note to itself.

use std::collections::VecDeque;

use crate::results::BlockResults;
use crate::state_machine::Audience;

/// Blocks kept. States are compared every 64; this many pass in between only if the others are
/// silent.
pub const TRACE_BLOCKS_MAX: usize = 4096;
/// Commands kept, 16 MiB of fingerprints: 128 full blocks.
pub const TRACE_COMMANDS_MAX: usize = 1 << 21;

/// First bytes of the file.
const MAGIC: &[u8; 8] = b"QTRACE\x01\0";
/// BLAKE3 of all that stands before it.
const HASH_BYTES: usize = 32;

/// What the commands of one block came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BlockTrace {
    /// Height of the block.
    pub height: u64,
    /// Its name.
    pub id: [u8; 32],
    /// Fingerprint of what timers put out before the first command.
    pub timers: u64,
    /// Fingerprint of each command's outcome and outputs, by index.
    pub commands: Vec<u64>,
}

/// Why bytes are no trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TraceError {
    /// Another file, or another version of it.
    #[error("not a trace of this version")]
    Magic,
    /// It ends before its content does.
    #[error("the trace ends too early")]
    Truncated,
    /// Its hash is that of other bytes.
    #[error("the trace is damaged: its hash is another")]
    Hash,
    /// Heights that do not rise by one.
    #[error("block {height} of the trace does not follow the one before it")]
    Height {
        /// The height that is out of order.
        height: u64,
    },
    /// More than this build keeps.
    #[error("the trace holds more than {TRACE_BLOCKS_MAX} blocks or {TRACE_COMMANDS_MAX} commands")]
    Bound,
}

/// The last blocks, without gaps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    /// Ascending. Bounds: [`TRACE_BLOCKS_MAX`] and [`TRACE_COMMANDS_MAX`].
    blocks: VecDeque<BlockTrace>,
    commands: usize,
}

impl Trace {
    /// Adds what came of the next block; the oldest ones go when there are too many.
    pub fn note(&mut self, results: &BlockResults) {
        let newest = self.blocks.back().map(|block| block.height);
        if newest.is_some_and(|newest| newest.checked_add(1) != Some(results.height)) {
            self.blocks.clear();
            self.commands = 0;
        }
        let mut spare = BlockTrace::default();
        while self.blocks.len() >= TRACE_BLOCKS_MAX
            || self.commands.saturating_add(results.commands.len()) > TRACE_COMMANDS_MAX
        {
            let Some(oldest) = self.blocks.pop_front() else {
                break;
            };
            self.commands -= oldest.commands.len();
            spare = oldest;
        }
        fill(&mut spare, results);
        self.commands += spare.commands.len();
        self.blocks.push_back(spare);
    }

    /// The blocks, by height.
    pub fn blocks(&self) -> impl ExactSizeIterator<Item = &BlockTrace> {
        self.blocks.iter()
    }

    /// The block of a height.
    #[must_use]
    pub fn at(&self, height: u64) -> Option<&BlockTrace> {
        let first = self.blocks.front()?.height;
        let place = usize::try_from(height.checked_sub(first)?).ok()?;
        self.blocks.get(place)
    }

    /// Heights of the first and the last block; none while it is empty.
    #[must_use]
    pub fn range(&self) -> Option<[u64; 2]> {
        Some([self.blocks.front()?.height, self.blocks.back()?.height])
    }

    /// The bytes of the file.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&(self.blocks.len() as u32).to_le_bytes());
        for block in &self.blocks {
            bytes.extend_from_slice(&block.height.to_le_bytes());
            bytes.extend_from_slice(&block.id);
            bytes.extend_from_slice(&block.timers.to_le_bytes());
            bytes.extend_from_slice(&(block.commands.len() as u32).to_le_bytes());
            for command in &block.commands {
                bytes.extend_from_slice(&command.to_le_bytes());
            }
        }
        let hash = blake3::hash(&bytes);
        bytes.extend_from_slice(hash.as_bytes());
        bytes
    }

    /// Reads the bytes of a file.
    ///
    /// # Errors
    /// [`TraceError`]: it is none, or damaged.
    pub fn decode(bytes: &[u8]) -> Result<Self, TraceError> {
        let mut rest = bytes.strip_prefix(MAGIC).ok_or(TraceError::Magic)?;
        let content = bytes.len().checked_sub(HASH_BYTES);
        let content = content.ok_or(TraceError::Truncated)?;
        let (content, hash) = bytes.split_at(content);
        if blake3::hash(content).as_bytes() != hash {
            return Err(TraceError::Hash);
        }
        let mut trace = Self::default();
        let count = u32::from_le_bytes(take(&mut rest)?);
        for _ in 0..count {
            let block = decode_block(&mut rest)?;
            let newest = trace.blocks.back().map(|block| block.height);
            if newest.is_some_and(|newest| newest.checked_add(1) != Some(block.height)) {
                let height = block.height;
                return Err(TraceError::Height { height });
            }
            trace.commands += block.commands.len();
            trace.blocks.push_back(block);
            if trace.blocks.len() > TRACE_BLOCKS_MAX || trace.commands > TRACE_COMMANDS_MAX {
                return Err(TraceError::Bound);
            }
        }
        match rest.len() {
            HASH_BYTES => Ok(trace),
            _ => Err(TraceError::Truncated),
        }
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], TraceError> {
    let (head, tail) = rest.split_first_chunk().ok_or(TraceError::Truncated)?;
    *rest = tail;
    Ok(*head)
}

fn decode_block(rest: &mut &[u8]) -> Result<BlockTrace, TraceError> {
    let mut block = BlockTrace {
        height: u64::from_le_bytes(take(rest)?),
        id: take(rest)?,
        timers: u64::from_le_bytes(take(rest)?),
        commands: Vec::new(),
    };
    let count = u32::from_le_bytes(take(rest)?) as usize;
    let bytes = count.checked_mul(8).ok_or(TraceError::Truncated)?;
    let (words, tail) = rest.split_at_checked(bytes).ok_or(TraceError::Truncated)?;
    *rest = tail;
    let (words, _) = words.as_chunks::<8>();
    block
        .commands
        .extend(words.iter().map(|word| u64::from_le_bytes(*word)));
    Ok(block)
}

/// What the commands of a block came to.
#[must_use]
pub fn trace_of(results: &BlockResults) -> BlockTrace {
    let mut block = BlockTrace::default();
    fill(&mut block, results);
    block
}

fn fill(block: &mut BlockTrace, results: &BlockResults) {
    block.height = results.height;
    block.id = results.id.map_or([0; 32], |id| *id.as_bytes());
    block.timers = START;
    block.commands.clear();
    // Room is taken over from the block that goes. Kept as it is, 127 full blocks at moving places
    // would in time make every one of the kept blocks as large as a full one.
    let count = results.commands.len();
    if block.commands.capacity() > count.saturating_mul(2) {
        block.commands.shrink_to(count);
    }
    let outcomes = results.commands.iter();
    block
        .commands
        .extend(outcomes.map(|command| mix(START, command.outcome as u64)));
    for output in results.outputs() {
        let place = output.command.map(|index| index as usize);
        let print = match place {
            None => Some(&mut block.timers),
            Some(place) => block.commands.get_mut(place),
        };
        let Some(print) = print else {
            continue;
        };
        if let Audience::Session(session) = output.audience {
            *print = mix_bytes(*print, &session.0);
        }
        *print = mix_bytes(*print, output.bytes);
    }
}

/// An odd constant with well spread bits.
const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
const START: u64 = 0xc2b2_ae3d_27d4_eb4f;

const fn mix(print: u64, word: u64) -> u64 {
    let mixed = (print ^ word).wrapping_mul(FACTOR);
    mixed ^ (mixed >> 29)
}

/// The length first: what stands in one run of bytes cannot move into the next.
fn mix_bytes(print: u64, bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let words = words.iter().map(|word| u64::from_le_bytes(*word));
    let print = words.fold(mix(print, bytes.len() as u64), mix);
    let mut last = [0; 8];
    last.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
    mix(print, u64::from_le_bytes(last))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::{CommandResult, Outcome};
    use crate::state_machine::{Output, SessionId};
    use quorate_consensus::types::BlockId;

    fn results(height: u64, outputs: &[&[u8]]) -> BlockResults {
        let mut results = BlockResults::new();
        results.height = height;
        results.id = Some(BlockId::new([height as u8; 32]));
        for (index, bytes) in (0..).zip(outputs) {
            let mut output = Output::new();
            if !bytes.is_empty() {
                output.to_session(SessionId([1; 16]), bytes);
            }
            results.collect(Some(index), &output);
            results.commands.push(CommandResult {
                session: SessionId([1; 16]),
                seq: u64::from(index) + 1,
                outcome: Outcome::Applied,
                applied: None,
                mark: None,
                finality_ns: u64::from(index),
            });
        }
        results
    }

    #[test]
    fn a_command_s_outputs_outcome_and_audience_show_and_its_latency_does_not() {
        let same = trace_of(&results(7, &[b"filled", b"", b"refused"]));
        let mut other = results(7, &[b"filled", b"", b"refused"]);
        other.commands[1].finality_ns = 99;
        assert_eq!(trace_of(&other), same);
        other.commands[1].outcome = Outcome::Gap;
        assert_ne!(trace_of(&other).commands[1], same.commands[1]);
        assert_eq!(trace_of(&other).commands[2], same.commands[2]);
        let moved = trace_of(&results(7, &[b"filled", b"refused", b""]));
        assert_eq!(moved.commands[0], same.commands[0]);
        assert_ne!(moved.commands[1..], same.commands[1..]);
        let mut timer = results(7, &[]);
        let before = trace_of(&timer).timers;
        let mut output = Output::new();
        output.to_public(b"tick");
        timer.collect(None, &output);
        assert_ne!(trace_of(&timer).timers, before);
        let public = trace_of(&timer).timers;
        output.clear();
        output.to_session(SessionId([0; 16]), b"tick");
        let mut timer = results(7, &[]);
        timer.collect(None, &output);
        assert_ne!(trace_of(&timer).timers, public);
    }

    #[test]
    fn the_newest_blocks_are_kept_within_both_bounds() {
        let mut trace = Trace::default();
        for height in 1..=TRACE_BLOCKS_MAX as u64 + 3 {
            trace.note(&results(height, &[]));
        }
        assert_eq!(trace.range(), Some([4, TRACE_BLOCKS_MAX as u64 + 3]));
        assert_eq!(trace.at(3), None);
        assert_eq!(trace.at(4).map(|block| block.height), Some(4));
        // A gap: what was before it says nothing about what follows.
        trace.note(&results(9000, &[b"x"]));
        assert_eq!(trace.range(), Some([9000, 9000]));
        let many = vec![b"".as_slice(); TRACE_COMMANDS_MAX / 2];
        for height in 9001..9004 {
            trace.note(&results(height, &many));
        }
        assert_eq!(trace.range(), Some([9002, 9003]));
    }

    #[test]
    fn room_is_given_back_when_full_blocks_move_through_the_trace() {
        let mut trace = Trace::default();
        let full = results(1, &vec![b"".as_slice(); 16_384]);
        // 64 full blocks among as many as are kept, each time at other places.
        let mut height = 0;
        for turn in 0..6 {
            for place in 0..TRACE_BLOCKS_MAX {
                height += 1;
                let mut next = results(height, &[b"x"]);
                if place % 64 == turn {
                    next.commands.clone_from(&full.commands);
                }
                trace.note(&next);
            }
        }
        assert_eq!(trace.blocks().len(), TRACE_BLOCKS_MAX);
        let room: usize = trace.blocks().map(|block| block.commands.capacity()).sum();
        assert!(room <= 2 * TRACE_COMMANDS_MAX, "room for {room} commands");
    }

    #[test]
    fn the_file_comes_back_and_no_damaged_one_does() {
        let mut trace = Trace::default();
        trace.note(&results(3, &[b"a", b""]));
        trace.note(&results(4, &[]));
        let bytes = trace.encode();
        assert_eq!(Trace::decode(&bytes), Ok(trace));
        for cut in 0..bytes.len() {
            assert!(Trace::decode(&bytes[..cut]).is_err(), "cut at {cut}");
        }
        for place in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[place] ^= 1;
            assert!(Trace::decode(&bad).is_err(), "flipped at {place}");
        }
    }

    /// The file with another content and the hash that fits it.
    fn sealed(mut content: Vec<u8>) -> Vec<u8> {
        let hash = blake3::hash(&content);
        content.extend_from_slice(hash.as_bytes());
        content
    }

    #[test]
    fn counts_that_the_bytes_do_not_bear_out_and_heights_out_of_order_are_refused() {
        let block = |height: u64, count: u32| {
            let mut bytes = height.to_le_bytes().to_vec();
            bytes.extend_from_slice(&[0; 40]);
            bytes.extend_from_slice(&count.to_le_bytes());
            bytes
        };
        let of = |count: u32, blocks: &[Vec<u8>]| {
            let head = [&MAGIC[..], &count.to_le_bytes()].concat();
            Trace::decode(&sealed([head, blocks.concat()].concat()))
        };
        assert!(of(2, &[block(1, 0), block(2, 0)]).is_ok());
        let gap = of(2, &[block(1, 0), block(3, 0)]);
        assert_eq!(gap, Err(TraceError::Height { height: 3 }));
        assert!(of(u32::MAX, &[block(1, 0)]).is_err());
        assert!(of(1, &[block(1, u32::MAX)]).is_err());
        assert!(of(1, &[block(1, 0), block(2, 0)]).is_err());
    }
}
