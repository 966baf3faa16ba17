//! What came of the commands of one finalized block, on its way to gateways and embedders.
//!
//! Owns the buffers of one block's results and outputs, and the addresses in them. Never: who
//! is connected; a gateway picks its own sessions out.

use std::num::NonZeroU32;

// What stands in the results of a block.
pub use quorate_consensus::effect::FinalPath;
pub use quorate_consensus::types::BlockId;

use quorate_consensus::attestation::StateStatement;

use crate::client_wire::RESULT_OUTPUTS_MAX;
use crate::roots::StateRoot;
use crate::state_machine::{Audience, Lane, OUTPUT_BYTES_MAX, Output, SessionId};

/// Blocks after which the order stage hears how far execution is, at latest.
const SETTLE_HEIGHTS: u64 = 16;
/// Bytes of a payload from which on the order stage hears of its execution at once: what it has not
/// heard of is so no more than `SETTLE_HEIGHTS` times this, far below where votes are held (2.9),
/// and no vote is held for blocks that are all executed.
const SETTLE_BYTES: usize = 16 * 1024;

/// What came of a command. The numbers stand on the client wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Outcome {
    /// It was its session's next command and has been applied.
    Applied = 0,
    /// It had been applied before: nothing was done again.
    Duplicate = 1,
    /// A number before it has not been applied: nothing was done, and it may still come.
    Gap = 2,
    /// It would have opened a session and the chain's table is full.
    TableFull = 3,
    /// It was its session's next command, but the session's key has not signed it: nothing was
    /// done, and the one that the client has signed may still come.
    BadSignature = 4,
    /// Its session has ended, or is not and will not be opened before it: nothing was done.
    SessionEnded = 5,
    /// It would have opened a session and was made too long ago for that.
    OpeningTooOld = 6,
    /// It would have opened a session and says that it is of a time to come.
    OpeningTooFarAhead = 7,
}

impl Outcome {
    /// The outcome with this number, if there is one.
    #[must_use]
    pub const fn from_u8(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Applied),
            1 => Some(Self::Duplicate),
            2 => Some(Self::Gap),
            3 => Some(Self::TableFull),
            4 => Some(Self::BadSignature),
            5 => Some(Self::SessionEnded),
            6 => Some(Self::OpeningTooOld),
            7 => Some(Self::OpeningTooFarAhead),
            _ => None,
        }
    }
}

/// Where a command was applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Height of the block.
    pub height: u64,
    /// Place of the command in it.
    pub index: u32,
}

/// Tells commands of one number apart: CRC-32 (that of zip and zlib) of the entry as it stands in
/// a block, with 1 in place of 0.
///
/// A session's key may have numbered two commands alike, one before its client lost its memory and
/// one after; nobody else can. So no more is asked of it than that two commands of one client
/// seldom have the same one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mark(NonZeroU32);

impl Mark {
    /// That of an entry.
    #[must_use]
    pub fn of(entry: &[u8]) -> Self {
        Self(NonZeroU32::new(crc32fast::hash(entry)).unwrap_or(NonZeroU32::MIN))
    }

    /// As it stands on the client wire, where 0 is none.
    #[must_use]
    pub fn from_wire(number: u32) -> Option<Self> {
        NonZeroU32::new(number).map(Self)
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0.get()
    }
}

/// What came of one command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommandResult {
    /// Whose command.
    pub session: SessionId,
    /// The session's number of it.
    pub seq: u64,
    /// What came of it.
    pub outcome: Outcome,
    /// Where it was applied: here, or for a duplicate earlier, if that is still known.
    pub applied: Option<Place>,
    /// The command's mark; of a duplicate that of the command which was applied under its number,
    /// where this validator has seen it applied and it is its session's last one.
    pub mark: Option<Mark>,
    /// From its receipt by this validator to its finality here; 0 when another one accepted it.
    pub finality_ns: u64,
}

/// Where a session stands after a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Correction {
    /// The session.
    pub session: SessionId,
    /// Number of its last applied command; none when the table does not have it.
    pub last_seq: Option<u64>,
    /// It has ended: nothing of it applies until it is opened with a higher number.
    pub has_ended: bool,
}

/// One output, with its address: (height of the block, `number`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutputItem<'a> {
    /// Place among all outputs of the block, from 0.
    pub number: u32,
    /// Place in the block of the command that made it; none for a timer or a time-out.
    pub command: Option<u32>,
    /// For whom it is.
    pub audience: Audience,
    /// The application's bytes.
    pub bytes: &'a [u8],
}

#[derive(Clone, Copy, Debug)]
struct OutputEntry {
    command: Option<u32>,
    audience: Audience,
    end: usize,
}

/// What the result of one command takes of the outputs that it made for its own session; the rest
/// goes into the session's stream, where nothing is lost.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct OwnShare {
    outputs: usize,
    /// Of all that came, also those that were not taken: what is behind one of them is not either.
    bytes: usize,
}

impl OwnShare {
    /// Whether the result takes the next one, of this length.
    pub(crate) const fn take(&mut self, output_bytes: usize) -> bool {
        self.bytes = self.bytes.saturating_add(output_bytes);
        let has_room = self.bytes <= OUTPUT_BYTES_MAX && self.outputs < RESULT_OUTPUTS_MAX;
        if has_room {
            self.outputs += 1;
        }
        has_room
    }
}

/// Everything that came of one block. Reused: [`clear`](Self::clear) keeps the memory.
#[derive(Debug, Default)]
pub struct BlockResults {
    /// Height of the block; 0 while empty.
    pub height: u64,
    /// Name of the block.
    pub id: Option<BlockId>,
    /// Its replicated time, nanoseconds since the Unix epoch.
    pub time_ns: u64,
    /// How it became final here; none when it was replayed from the log.
    pub path: Option<FinalPath>,
    /// When it became final here, by this process's monotonic clock; 0 when it was replayed.
    pub final_ns: u64,
    /// One a command, in block order: the place in this list is the command's index.
    pub commands: Vec<CommandResult>,
    /// The state root after the block, where one was due.
    pub root: Option<StateRoot>,
    /// The block's leaf in the tree over public events; none while nobody has hashed them.
    pub events_leaf: Option<[u8; 32]>,
    /// Where the sessions stand that began or ended here, found no room, or had a command refused,
    /// each once: a pool, which goes by the blocks alone, may have them elsewhere.
    pub corrections: Vec<Correction>,
    /// How long its execution took here; 0 when it was replayed.
    pub execution_ns: u64,
    /// Private outputs that are too long for any client to be told of them, and whose the first is.
    pub(crate) too_long: (u32, Option<SessionId>),
    payload_bytes: usize,
    /// Commands of each lane, in the order in which they stand in the block.
    lanes: [u32; Lane::COUNT],
    outputs: Vec<OutputEntry>,
    bytes: Vec<u8>,
}

impl BlockResults {
    /// Empty buffers.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Forgets the block and keeps the memory.
    pub fn clear(&mut self) {
        self.height = 0;
        self.id = None;
        self.time_ns = 0;
        self.path = None;
        self.final_ns = 0;
        self.execution_ns = 0;
        self.too_long = (0, None);
        self.payload_bytes = 0;
        self.lanes = [0; Lane::COUNT];
        self.root = None;
        self.events_leaf = None;
        self.corrections.clear();
        self.commands.clear();
        self.outputs.clear();
        self.bytes.clear();
    }

    /// Takes over what one call of the application put out.
    pub(crate) fn collect(&mut self, command: Option<u32>, output: &Output) {
        for (audience, bytes) in output.iter() {
            if let Audience::Session(session) = audience
                && bytes.len() > OUTPUT_BYTES_MAX
            {
                let (count, first) = self.too_long;
                self.too_long = (count.saturating_add(1), first.or(Some(session)));
            }
            self.bytes.extend_from_slice(bytes);
            self.outputs.push(OutputEntry {
                command,
                audience,
                end: self.bytes.len(),
            });
        }
    }

    /// Takes note of the payload's length.
    pub(crate) const fn note_payload(&mut self, bytes: usize) {
        self.payload_bytes = bytes;
    }

    /// Memory that it holds, bytes, itself included.
    pub(crate) const fn memory_bytes(&self) -> usize {
        size_of::<Self>()
            + self.commands.capacity() * size_of::<CommandResult>()
            + self.corrections.capacity() * size_of::<Correction>()
            + self.outputs.capacity() * size_of::<OutputEntry>()
            + self.bytes.capacity()
    }

    /// Takes note that the next command is of this lane.
    pub(crate) fn count_lane(&mut self, lane: usize) {
        if let Some(count) = self.lanes.get_mut(lane) {
            *count += 1;
        }
    }

    /// The commands with their lanes, by number: in a block one lane follows another.
    pub(crate) fn commands_by_lane(&self) -> impl Iterator<Item = (usize, &CommandResult)> {
        let lanes = self.lanes.iter().enumerate();
        let lanes = lanes.flat_map(|(lane, &count)| std::iter::repeat_n(lane, count as usize));
        lanes.zip(&self.commands)
    }

    /// Whether the order stage is to hear of this block's execution now: there is something that
    /// its pool cannot know, or enough blocks have been executed since the last time, or this one
    /// alone is enough.
    #[must_use]
    pub fn settles(&self) -> bool {
        !self.corrections.is_empty()
            || self.height.is_multiple_of(SETTLE_HEIGHTS)
            || self.payload_bytes >= SETTLE_BYTES
    }

    /// Places of the commands that their sessions' keys have not signed.
    #[must_use]
    pub fn refused(&self) -> Vec<u32> {
        if self.corrections.is_empty() {
            return Vec::new();
        }
        let places = (0_u32..).zip(&self.commands);
        places
            .filter(|(_, result)| result.outcome == Outcome::BadSignature)
            .map(|(place, _)| place)
            .collect()
    }

    /// What is to be attested of the state after the block, where its root was due.
    #[must_use]
    pub fn statement(&self) -> Option<StateStatement> {
        Some(self.root.as_ref()?.statement(self.id?, None))
    }

    /// The outputs of the block, in order.
    pub fn outputs(&self) -> impl Iterator<Item = OutputItem<'_>> {
        let mut start = 0;
        self.outputs.iter().enumerate().map(move |(number, entry)| {
            let bytes = &self.bytes[start..entry.end];
            start = entry.end;
            OutputItem {
                number: u32::try_from(number).unwrap_or(u32::MAX),
                command: entry.command,
                audience: entry.audience,
                bytes,
            }
        })
    }

    /// Bytes of all of them.
    pub(crate) const fn outputs_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// How many outputs the block had.
    #[must_use]
    pub fn outputs_len(&self) -> usize {
        self.outputs.len()
    }
}
