//! The frames of a session's private stream: asking for a stretch of it, and the stretch.
//!
//! Owns their layout. Never: who may ask for whose, which the connection says.
//!
//! A stretch says from where it goes on and holds every output before that from the position that
//! was asked for, so a client that asks on from there has missed nothing and seen nothing twice.

use super::decode::Reader;
use super::encode::{client_header, patch_u32, push_output, server_header};
use super::public::{place, position, push_position};
use super::{FrameError, kind};
use crate::streams::StreamPosition;
use quorate_consensus::types::ValidatorIndex;

/// Where the state of a stretch stands in its frame; behind it come the three positions.
const STATE_AT: usize = 14;
/// Where the number of its outputs does.
const COUNT_AT: usize = STATE_AT + 1 + 3 * 12;
/// Place of an output that no command made.
const NO_COMMAND: u32 = u32::MAX;

/// Appends a question for what lies between two positions of the own private stream; `to` is not
/// before `from`. With [`StreamPosition::LIVE`] for both it asks where the stream ends now.
pub fn encode_private_ask(id: u64, from: StreamPosition, to: StreamPosition, bytes: &mut Vec<u8>) {
    client_header(kind::PRIVATE_ASK, bytes);
    bytes.extend_from_slice(&id.to_le_bytes());
    push_position(from, bytes);
    push_position(to, bytes);
}

/// The two positions of a question.
pub(super) fn decode_ask(
    mut reader: Reader<'_>,
) -> Result<(StreamPosition, StreamPosition), FrameError> {
    let (from, to) = (position(&mut reader)?, position(&mut reader)?);
    reader.end()?;
    match to < from {
        true => Err(FrameError::Field("to")),
        false => Ok((from, to)),
    }
}

/// What an answer holds. The numbers stand on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum PrivateState {
    /// Everything up to `next`; before the end that was asked for, ask on from there.
    Done = 1,
    /// Nothing: the position is older than `oldest`, the oldest one here.
    Gone = 3,
    /// Nothing: the position is beyond `tip`, up to where this validator is.
    Ahead = 5,
}

impl PrivateState {
    fn from_byte(byte: u8) -> Option<Self> {
        [Self::Done, Self::Gone, Self::Ahead]
            .into_iter()
            .find(|state| *state as u8 == byte)
    }
}

/// A stretch of a private stream in the making.
#[derive(Debug, Default)]
pub struct PrivateFrame {
    bytes: Vec<u8>,
    count: u32,
}

impl PrivateFrame {
    /// Begins one for this question.
    #[must_use]
    pub fn new(leader: Option<ValidatorIndex>, id: u64) -> Self {
        let mut bytes = Vec::new();
        server_header(kind::PRIVATE, leader, &mut bytes);
        bytes.extend_from_slice(&id.to_le_bytes());
        bytes.resize(COUNT_AT + 4, 0);
        Self { bytes, count: 0 }
    }

    /// Adds an output, which stands behind those before it.
    pub fn push(
        &mut self,
        address: StreamPosition,
        time_ns: u64,
        command: Option<u32>,
        is_in_result: bool,
        output: &[u8],
    ) {
        self.bytes.extend_from_slice(&address.height.to_le_bytes());
        self.bytes.extend_from_slice(&time_ns.to_le_bytes());
        self.bytes.extend_from_slice(&address.index.to_le_bytes());
        let command = command.unwrap_or(NO_COMMAND);
        self.bytes.extend_from_slice(&command.to_le_bytes());
        self.bytes.push(u8::from(is_in_result));
        push_output(output, &mut self.bytes);
        self.count += 1;
    }

    /// Ends it.
    pub fn finish(
        &mut self,
        state: PrivateState,
        next: StreamPosition,
        oldest: StreamPosition,
        tip: StreamPosition,
    ) {
        let mut head = vec![state as u8];
        for position in [next, oldest, tip] {
            push_position(position, &mut head);
        }
        if let Some(field) = self.bytes.get_mut(STATE_AT..COUNT_AT) {
            field.copy_from_slice(&head);
        }
        patch_u32(&mut self.bytes, COUNT_AT, self.count);
    }

    /// Bytes so far.
    #[must_use]
    pub const fn bytes_len(&self) -> usize {
        self.bytes.len()
    }

    /// The frame, once it is ended.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

/// An output of a private stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrivateItem<'a> {
    /// Its address: its block's height, and its place among all outputs of the block.
    pub address: StreamPosition,
    /// Replicated time of its block, nanoseconds since the Unix epoch.
    pub time_ns: u64,
    /// Place in the block of the command that made it; none for a timer or a time-out.
    pub command: Option<u32>,
    /// It was told with the result of that command, which is the session's own, and not by the
    /// stream.
    pub is_in_result: bool,
    /// The application's bytes.
    pub bytes: &'a [u8],
}

/// A checked stretch of a private stream.
#[derive(Clone, Debug)]
pub struct Private<'a> {
    id: u64,
    state: PrivateState,
    next: StreamPosition,
    oldest: StreamPosition,
    tip: StreamPosition,
    items: Reader<'a>,
}

impl<'a> Private<'a> {
    pub(super) fn decode(mut reader: Reader<'a>) -> Result<Self, FrameError> {
        let id = reader.u64()?;
        let state = PrivateState::from_byte(reader.u8()?).ok_or(FrameError::Field("state"))?;
        let (next, oldest) = (place(&mut reader, "next")?, position(&mut reader)?);
        let tip = place(&mut reader, "tip")?;
        let count = reader.u32()?;
        let items = reader;
        let mut last = None;
        for _ in 0..count {
            let item = read_item(&mut reader)?;
            if last >= Some(item.address) || item.address >= next {
                return Err(FrameError::Field("address"));
            }
            last = Some(item.address);
        }
        reader.end()?;
        if state != PrivateState::Done && count > 0 {
            return Err(FrameError::Field("count"));
        }
        Ok(Self {
            id,
            state,
            next,
            oldest,
            tip,
            items,
        })
    }

    /// As asked.
    #[must_use]
    pub const fn id(&self) -> u64 {
        self.id
    }

    /// What it holds.
    #[must_use]
    pub const fn state(&self) -> PrivateState {
        self.state
    }

    /// Where it goes on; where nothing is told, the position that was asked for.
    #[must_use]
    pub const fn end(&self) -> StreamPosition {
        self.next
    }

    /// The oldest position that this validator has.
    #[must_use]
    pub const fn oldest(&self) -> StreamPosition {
        self.oldest
    }

    /// Behind everything that this validator has executed.
    #[must_use]
    pub const fn tip(&self) -> StreamPosition {
        self.tip
    }
}

fn read_item<'a>(reader: &mut Reader<'a>) -> Result<PrivateItem<'a>, FrameError> {
    let (height, time_ns, index) = (reader.u64()?, reader.u64()?, reader.u32()?);
    let command = reader.u32()?;
    let is_in_result = match reader.u8()? {
        0 => false,
        1 if command != NO_COMMAND => true,
        _ => return Err(FrameError::Field("in result")),
    };
    let bytes = reader.u32()? as usize;
    Ok(PrivateItem {
        address: StreamPosition { height, index },
        time_ns,
        command: (command != NO_COMMAND).then_some(command),
        is_in_result,
        bytes: reader.bytes(bytes)?,
    })
}

impl<'a> Iterator for Private<'a> {
    type Item = PrivateItem<'a>;

    fn next(&mut self) -> Option<PrivateItem<'a>> {
        // The items were checked, so the only failure left is their end.
        read_item(&mut self.items).ok()
    }
}
