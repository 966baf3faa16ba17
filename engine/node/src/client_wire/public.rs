//! The frames of the public stream: asking for it, a stretch of it, and where a reader stands.
//!
//! Owns their layout and what makes a stretch one without holes. Never: who may read, or what an
//! event means.
//!
//! A stretch says from which position to which it reaches and holds every event in between, so a
//! reader that joins stretches end to end has missed nothing and seen nothing twice.

use super::decode::Reader;
use super::encode::{client_header, patch_u32, push_output, server_header};
use super::{FrameError, kind};
use crate::streams::StreamPosition;
use quorate_consensus::types::ValidatorIndex;

/// Where the id of a stretch stands in its frame.
const ID_AT: usize = 6;
/// Where the position behind it does.
const NEXT_AT: usize = 26;
/// Where the number of its blocks does.
const COUNT_AT: usize = 38;

/// What a client wants of the public stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublicAsk {
    /// Everything from a position on, now and as it comes; [`StreamPosition::LIVE`] for what comes.
    /// It takes the place of the connection's subscription before it.
    Subscribe {
        /// Where to begin.
        from: StreamPosition,
    },
    /// What lies between two positions, as much of it as one answer takes.
    Range {
        /// Where to begin.
        from: StreamPosition,
        /// Where to end; not before `from`.
        to: StreamPosition,
    },
    /// No more of the subscription.
    Stop,
}

impl PublicAsk {
    pub(super) fn decode(kind: u8, mut reader: Reader<'_>) -> Result<Self, FrameError> {
        let ask = match kind {
            kind::PUBLIC_SUBSCRIBE => Self::Subscribe {
                from: position(&mut reader)?,
            },
            kind::PUBLIC_ASK => {
                let (from, to) = (position(&mut reader)?, position(&mut reader)?);
                if to < from {
                    return Err(FrameError::Field("to"));
                }
                Self::Range { from, to }
            }
            kind::PUBLIC_STOP => Self::Stop,
            other => return Err(FrameError::Kind(other)),
        };
        reader.end()?;
        Ok(ask)
    }
}

pub(super) fn position(reader: &mut Reader<'_>) -> Result<StreamPosition, FrameError> {
    Ok(StreamPosition {
        height: reader.u64()?,
        index: reader.u32()?,
    })
}

/// A place in the stream: its end, wherever that is, is what a client asks from, and no answer. One
/// that went on from there would never come to anything.
pub(super) fn place(
    reader: &mut Reader<'_>,
    field: &'static str,
) -> Result<StreamPosition, FrameError> {
    let place = position(reader)?;
    match place == StreamPosition::LIVE {
        true => Err(FrameError::Field(field)),
        false => Ok(place),
    }
}

pub(super) fn push_position(position: StreamPosition, bytes: &mut Vec<u8>) {
    bytes.extend_from_slice(&position.height.to_le_bytes());
    bytes.extend_from_slice(&position.index.to_le_bytes());
}

/// Appends a subscription to the public stream.
pub fn encode_public_subscribe(id: u64, from: StreamPosition, bytes: &mut Vec<u8>) {
    client_header(kind::PUBLIC_SUBSCRIBE, bytes);
    bytes.extend_from_slice(&id.to_le_bytes());
    push_position(from, bytes);
}

/// Appends a question for a range of the public stream; `to` is not before `from`.
pub fn encode_public_ask(id: u64, from: StreamPosition, to: StreamPosition, bytes: &mut Vec<u8>) {
    client_header(kind::PUBLIC_ASK, bytes);
    bytes.extend_from_slice(&id.to_le_bytes());
    push_position(from, bytes);
    push_position(to, bytes);
}

/// Appends the end of a subscription.
pub fn encode_public_stop(id: u64, bytes: &mut Vec<u8>) {
    client_header(kind::PUBLIC_STOP, bytes);
    bytes.extend_from_slice(&id.to_le_bytes());
}

/// Where a subscription or a range stands. The numbers stand on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum PublicState {
    /// The subscription holds: everything from `next` on comes.
    Subscribed = 0,
    /// The range is told up to `next`; before its end, ask on from there.
    Done = 1,
    /// The subscription is over since its reader is too slow. It resumes at `next`.
    Cut = 2,
    /// Nothing is told: the position is older than `oldest`, the oldest one here.
    Gone = 3,
    /// Nothing is told: the block has fewer public outputs.
    Nowhere = 4,
    /// Nothing is told: the position is beyond `tip`, up to where this validator is.
    Ahead = 5,
    /// The subscription is over, as asked or since another one takes its place.
    Stopped = 6,
}

impl PublicState {
    const ALL: [Self; 7] = [
        Self::Subscribed,
        Self::Done,
        Self::Cut,
        Self::Gone,
        Self::Nowhere,
        Self::Ahead,
        Self::Stopped,
    ];

    fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.get(usize::from(byte)).copied()
    }
}

/// A validator's word on where a subscription or a range stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublicMark {
    /// As asked.
    pub id: u64,
    /// What it says.
    pub state: PublicState,
    /// Where the reader goes on; where nothing is told, the position that was asked for.
    pub next: StreamPosition,
    /// The oldest position here.
    pub oldest: StreamPosition,
    /// Behind everything that is published here.
    pub tip: StreamPosition,
}

impl PublicMark {
    pub(super) fn decode(mut reader: Reader<'_>) -> Result<Self, FrameError> {
        let id = reader.u64()?;
        let state = PublicState::from_byte(reader.u8()?).ok_or(FrameError::Field("state"))?;
        let next = match state {
            PublicState::Subscribed => place(&mut reader, "next")?,
            _ => position(&mut reader)?,
        };
        let (oldest, tip) = (position(&mut reader)?, position(&mut reader)?);
        reader.end()?;
        Ok(Self {
            id,
            state,
            next,
            oldest,
            tip,
        })
    }
}

/// Appends where a subscription or a range stands.
pub fn encode_public_mark(leader: Option<ValidatorIndex>, mark: &PublicMark, bytes: &mut Vec<u8>) {
    server_header(kind::PUBLIC_MARK, leader, bytes);
    bytes.extend_from_slice(&mark.id.to_le_bytes());
    bytes.push(mark.state as u8);
    for position in [mark.next, mark.oldest, mark.tip] {
        push_position(position, bytes);
    }
}

/// A stretch of the public stream in the making. Reused.
#[derive(Debug, Default)]
pub struct PublicFrame {
    bytes: Vec<u8>,
    blocks: u32,
    /// The block whose head is written when it turns out to have an event here.
    head: Option<(u64, u64, u32)>,
    count_at: usize,
    count: u32,
}

impl PublicFrame {
    /// Begins anew.
    pub fn begin(&mut self, leader: Option<ValidatorIndex>, id: u64, from: StreamPosition) {
        self.bytes.clear();
        (self.blocks, self.head) = (0, None);
        server_header(kind::PUBLIC, leader, &mut self.bytes);
        self.bytes.extend_from_slice(&id.to_le_bytes());
        push_position(from, &mut self.bytes);
        push_position(from, &mut self.bytes);
        self.bytes.extend_from_slice(&0_u32.to_le_bytes());
    }

    /// What follows is of this block, whose event `first` is next.
    pub fn begin_block(&mut self, height: u64, time_ns: u64, first: u32) {
        self.head = Some((height, time_ns, first));
    }

    /// Adds the next event of the block.
    pub fn push(&mut self, event: &[u8]) {
        if let Some((height, time_ns, first)) = self.head.take() {
            self.bytes.extend_from_slice(&height.to_le_bytes());
            self.bytes.extend_from_slice(&time_ns.to_le_bytes());
            self.bytes.extend_from_slice(&first.to_le_bytes());
            (self.count_at, self.count) = (self.bytes.len(), 0);
            self.bytes.extend_from_slice(&0_u32.to_le_bytes());
            self.blocks += 1;
        }
        push_output(event, &mut self.bytes);
        self.count += 1;
        patch_u32(&mut self.bytes, self.count_at, self.count);
    }

    /// Ends it: it reaches up to `next`.
    pub fn finish(&mut self, next: StreamPosition) {
        patch_u32(&mut self.bytes, COUNT_AT, self.blocks);
        if let Some(field) = self.bytes.get_mut(NEXT_AT..NEXT_AT + 8) {
            field.copy_from_slice(&next.height.to_le_bytes());
        }
        patch_u32(&mut self.bytes, NEXT_AT + 8, next.index);
    }

    /// The same stretch for another question.
    pub(crate) fn readdress(&mut self, id: u64) {
        if let Some(field) = self.bytes.get_mut(ID_AT..ID_AT + 8) {
            field.copy_from_slice(&id.to_le_bytes());
        }
    }

    /// Whether it holds no event.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.blocks == 0
    }

    /// Bytes so far.
    #[must_use]
    pub const fn bytes_len(&self) -> usize {
        self.bytes.len()
    }

    /// The frame, once it is ended.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// An event of the public stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublicEvent<'a> {
    /// Its address.
    pub position: StreamPosition,
    /// Replicated time of its block, nanoseconds since the Unix epoch.
    pub time_ns: u64,
    /// The application's bytes.
    pub bytes: &'a [u8],
}

/// A checked stretch of the public stream.
#[derive(Clone, Debug)]
pub struct Public<'a> {
    id: u64,
    from: StreamPosition,
    next: StreamPosition,
    items: Reader<'a>,
    block: BlockHead,
}

/// The events of one block that are still to come.
#[derive(Clone, Copy, Debug, Default)]
struct BlockHead {
    at: StreamPosition,
    time_ns: u64,
    left: u32,
}

impl BlockHead {
    fn read(reader: &mut Reader<'_>) -> Result<Self, FrameError> {
        let (height, time_ns, index) = (reader.u64()?, reader.u64()?, reader.u32()?);
        let left = reader.u32()?;
        if left == 0 || index.checked_add(left).is_none() {
            return Err(FrameError::Field("events"));
        }
        let at = StreamPosition { height, index };
        Ok(Self { at, time_ns, left })
    }
}

/// Whether a stretch without events may lead from one position to the other.
const fn leads_to(at: StreamPosition, next: StreamPosition) -> bool {
    if next.height == at.height {
        next.index == at.index
    } else {
        next.height > at.height && next.index == 0
    }
}

impl<'a> Public<'a> {
    pub(super) fn decode(mut reader: Reader<'a>) -> Result<Self, FrameError> {
        let id = reader.u64()?;
        let (from, next) = (position(&mut reader)?, place(&mut reader, "next")?);
        let blocks = reader.u32()?;
        let items = reader;
        let (mut at, mut told) = (from, None);
        for _ in 0..blocks {
            let head = BlockHead::read(&mut reader)?;
            if !leads_to(at, head.at) || told == Some(head.at.height) {
                return Err(FrameError::Field("block"));
            }
            for _ in 0..head.left {
                let bytes = reader.u32()? as usize;
                reader.bytes(bytes)?;
            }
            told = Some(head.at.height);
            at = head.at;
            at.index += head.left;
        }
        if !leads_to(at, next) {
            return Err(FrameError::Field("next"));
        }
        reader.end()?;
        Ok(Self {
            id,
            from,
            next,
            items,
            block: BlockHead::default(),
        })
    }

    /// As asked.
    #[must_use]
    pub const fn id(&self) -> u64 {
        self.id
    }

    /// Where it begins.
    #[must_use]
    pub const fn from(&self) -> StreamPosition {
        self.from
    }

    /// Where it ends, and the next one begins.
    #[must_use]
    pub const fn end(&self) -> StreamPosition {
        self.next
    }
}

impl<'a> Iterator for Public<'a> {
    type Item = PublicEvent<'a>;

    fn next(&mut self) -> Option<PublicEvent<'a>> {
        // The items were checked, so the only failure left is their end.
        if self.block.left == 0 {
            self.block = BlockHead::read(&mut self.items).ok()?;
        }
        let bytes = self.items.u32().ok()? as usize;
        let event = PublicEvent {
            position: self.block.at,
            time_ns: self.block.time_ns,
            bytes: self.items.bytes(bytes).ok()?,
        };
        self.block.left -= 1;
        self.block.at.index += 1;
        Some(event)
    }
}
