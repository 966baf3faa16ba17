//! Private outputs of older blocks as an archive keeps them: the bytes of a block, whose they are,
//! and the answer to one session.
//!
//! Owns these. Never: files, and never an output for anybody but its session.

use std::sync::Arc;

use super::{Block, Entry, FRAME_BYTES_FULL, PrivateRange, bit_of};
use crate::archive::{Before, Budget, Chunk, Index, Kept, Kind, Store};
use crate::client_wire::PrivateFrame;
use crate::state_machine::SessionId;
use crate::streams::{StreamPosition, Unavailable};

/// Bytes of the archive that one question reads at most, whosever they are.
const READ_BYTES: usize = 4 * 1024 * 1024;
/// Place of an output that no command made.
const NO_COMMAND: u32 = u32::MAX;
/// Bytes of what is known of the sessions of a segment.
const FILTER_BYTES: usize = 8 * 1024;
/// Bits that each session sets there.
const FILTER_BITS: usize = 4;

/// The private streams of all sessions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PrivateOutputs;

impl Kind for PrivateOutputs {
    const MAGIC: &'static [u8; 8] = b"QRTPRIV\x01";
    const WHAT: &'static str = "private outputs";
    // They cannot be checked one by one.
    const IS_REFETCHED: bool = false;
    const IS_MISSING_LOST: bool = true;
    type Block = Block;
    type Before = Height;
    type Wanted = SessionId;
    type Index = SessionFilter;

    fn select(block: Block, session: SessionId) -> Option<Block> {
        block.of_session(session)
    }
}

impl Block {
    /// What is of one session; none where nothing is.
    fn of_session(&self, session: SessionId) -> Option<Self> {
        if self.whose & bit_of(session) == 0 {
            return None;
        }
        let (mut entries, mut bytes) = (Vec::new(), Vec::new());
        for (entry, output) in self.from(0).filter(|(entry, _)| entry.session == session) {
            bytes.extend_from_slice(output);
            let end = bytes.len();
            entries.push(Entry { end, ..*entry });
        }
        (!entries.is_empty()).then(|| Self {
            time_ns: self.time_ns,
            whose: bit_of(session),
            entries: entries.into(),
            bytes: bytes.into(),
        })
    }
}

fn number(value: usize) -> [u8; 4] {
    u32::try_from(value).unwrap_or(u32::MAX).to_le_bytes()
}

impl Kept for Block {
    const ENTRY_BYTES: usize = 29;

    fn time_ns(&self) -> u64 {
        self.time_ns
    }

    fn entries_len(&self) -> usize {
        self.entries.len()
    }

    fn body_bytes(&self) -> usize {
        self.entries.len() * Self::ENTRY_BYTES + self.bytes.len()
    }

    fn memory_bytes(&self) -> usize {
        self.memory_bytes()
    }

    fn encode(&self, buffer: &mut Vec<u8>) {
        for entry in &self.entries {
            buffer.extend_from_slice(&entry.session.0);
            buffer.extend_from_slice(&entry.number.to_le_bytes());
            let command = entry.command.unwrap_or(NO_COMMAND);
            buffer.extend_from_slice(&command.to_le_bytes());
            buffer.push(u8::from(entry.is_in_result));
            buffer.extend_from_slice(&number(entry.end));
        }
        buffer.extend_from_slice(&self.bytes);
    }

    fn decode(time_ns: u64, count: usize, mut body: Vec<u8>) -> Option<Self> {
        let bytes = body.split_off(count * Self::ENTRY_BYTES);
        let (heads, _) = body.as_chunks::<{ Self::ENTRY_BYTES }>();
        let entries: Option<Vec<Entry>> = heads.iter().map(entry_of).collect();
        let entries = entries?;
        let is_whole = entries.is_sorted_by(|a, b| a.number < b.number && a.end <= b.end)
            && entries.last().map_or(0, |last| last.end) == bytes.len();
        is_whole.then(|| Self {
            time_ns,
            whose: entries
                .iter()
                .fold(0, |whose, entry| whose | bit_of(entry.session)),
            entries: entries.into(),
            bytes: bytes.into(),
        })
    }
}

fn entry_of(head: &[u8; Block::ENTRY_BYTES]) -> Option<Entry> {
    let u32_at = |at: usize| u32::from_le_bytes(std::array::from_fn(|byte| head[at + byte]));
    let command = Some(u32_at(20)).filter(|command| *command != NO_COMMAND);
    let is_in_result = match head[24] {
        0 => false,
        1 if command.is_some() => true,
        _ => return None,
    };
    Some(Entry {
        session: SessionId(std::array::from_fn(|byte| head[byte])),
        number: u32_at(16),
        command,
        is_in_result,
        end: u32_at(25) as usize,
    })
}

/// Of all private outputs before a block nothing is known but the block's height: no section of the
/// state tells of them alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Height(pub(crate) u64);

impl Before for Height {
    type Block = Block;

    fn height(&self) -> u64 {
        self.0
    }

    fn tops(&self) -> &[[u8; 32]] {
        &[]
    }

    fn tops_len(_: u64) -> usize {
        0
    }

    fn from_tops(height: u64, tops: &[[u8; 32]]) -> Option<Self> {
        tops.is_empty().then_some(Self(height))
    }

    fn pass_silent(&mut self, height: u64) {
        self.0 = self.0.max(height);
    }

    fn pass(&mut self, height: u64, _: &Block) {
        self.0 = height;
    }
}

/// Whose outputs may be in a segment: bits of each session's name, which is a hash.
#[derive(Debug)]
pub(crate) struct SessionFilter(Box<[u8]>);

impl Default for SessionFilter {
    fn default() -> Self {
        Self(vec![0; FILTER_BYTES].into())
    }
}

/// The places of a session's bits.
fn places(session: SessionId) -> [usize; FILTER_BITS] {
    std::array::from_fn(|place| {
        let bytes = [session.0[2 * place], session.0[2 * place + 1]];
        usize::from(u16::from_le_bytes(bytes)) % (8 * FILTER_BYTES)
    })
}

impl Index for SessionFilter {
    type Block = Block;
    type Wanted = SessionId;
    const SUFFIX: Option<&'static str> = Some("sessions");

    fn note(&mut self, block: &Block) {
        for place in block.entries.iter().flat_map(|one| places(one.session)) {
            self.0[place / 8] |= 1 << (place % 8);
        }
    }

    fn may_have(&self, session: SessionId) -> bool {
        let is_set = |place: usize| self.0[place / 8] & (1 << (place % 8)) != 0;
        places(session).into_iter().all(is_set)
    }

    fn bytes(&self) -> &[u8] {
        &self.0
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        (bytes.len() == FILTER_BYTES).then(|| Self(bytes.into()))
    }
}

/// What an archive has of what a session asks for.
#[derive(Debug)]
pub(crate) enum PrivatePiece {
    /// All of it up to where the chunk ends; and the height of the oldest block.
    Here(Chunk<Block>, u64),
    /// Nothing is older than the block of this height.
    Gone(u64),
    /// It is there and cannot be read now.
    Busy,
}

/// Reads one piece of what a session asks for.
pub(crate) fn read(
    archive: &mut Store<PrivateOutputs>,
    range: &PrivateRange,
) -> Result<PrivatePiece, Unavailable> {
    let left = Budget {
        read: READ_BYTES,
        taken: FRAME_BYTES_FULL,
        spent: 0,
    };
    let read = archive.read_wanted((range.from, range.to), range.session, left);
    let first = archive.first();
    match read {
        Ok(chunk) => Ok(PrivatePiece::Here(chunk, first)),
        Err(Unavailable::Gone) if first > range.from.height => Ok(PrivatePiece::Gone(first)),
        // For want of descriptors, memory, rights or room.
        Err(Unavailable::Gone | Unavailable::Ahead) => Ok(PrivatePiece::Busy),
        Err(why) => Err(why),
    }
}

/// Writes what was read for a range, as much as one answer takes, and says up to where.
pub(crate) fn write(
    range: &PrivateRange,
    chunk: &Chunk<Block>,
    frame: &mut PrivateFrame,
) -> StreamPosition {
    let end = chunk.end.min(range.to).max(range.from);
    for (height, block) in &chunk.blocks {
        let before = StreamPosition::before(*height);
        let first = range.from.max(before);
        for (entry, bytes) in Arc::as_ref(block).from(first.index) {
            let index = entry.number;
            let address = StreamPosition { index, ..before };
            // Nobody is told what is another one's, whatever was read.
            if address >= end || entry.session != range.session {
                continue;
            }
            if frame.bytes_len() >= FRAME_BYTES_FULL {
                return address;
            }
            let (command, is_in_result) = (entry.command, entry.is_in_result);
            frame.push(address, block.time_ns, command, is_in_result, bytes);
        }
    }
    end
}

#[cfg(test)]
#[path = "archived_tests.rs"]
mod tests;
