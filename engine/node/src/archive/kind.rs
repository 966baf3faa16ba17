//! What kinds of archive there are: what each keeps of a block, and what it knows of all blocks
//! before one.
//!
//! Owns what differs between them. Never: files, or when something is written.

use std::fmt::Debug;

use quorate_proof::events::EventHistory;

use crate::streams::Block;

/// What an archive keeps of one block.
pub trait Kept: Debug + Default + Send + Sync + 'static {
    /// Bytes that an entry takes in the body of a record besides its content.
    const ENTRY_BYTES: usize;

    /// The block's replicated time.
    fn time_ns(&self) -> u64;
    /// How many entries there are.
    fn entries_len(&self) -> usize;
    /// Bytes of the body of its record.
    fn body_bytes(&self) -> usize;
    /// Bytes that it takes in memory, about.
    fn memory_bytes(&self) -> usize;
    /// Appends the body.
    fn encode(&self, buffer: &mut Vec<u8>);
    /// Reads a body of so many entries, which has room for what each takes besides its content;
    /// none when it is no such.
    fn decode(time_ns: u64, count: usize, body: Vec<u8>) -> Option<Self>;
}

/// What is known of all blocks before one.
pub trait Before: Clone + Debug + Default + PartialEq + Send + 'static {
    /// What is kept of one.
    type Block;

    /// Height of the last of them; 0 before the first.
    fn height(&self) -> u64;
    /// What stands of it in the head of a segment.
    fn tops(&self) -> &[[u8; 32]];
    /// How many of those there are behind the block of a height.
    fn tops_len(height: u64) -> usize;
    /// From these again; none when they are not as many.
    fn from_tops(height: u64, tops: &[[u8; 32]]) -> Option<Self>;
    /// Adds blocks of which nothing is kept, up to this height.
    fn pass_silent(&mut self, height: u64);
    /// Adds the next block.
    fn pass(&mut self, height: u64, block: &Self::Block);
}

/// For whom there may be something in a segment. It never denies what is there.
pub trait Index: Debug + Default + Send + 'static {
    /// What is kept of a block.
    type Block;
    /// For whom something is read.
    type Wanted;
    /// Extension of the file that keeps it beside its segment; none where there is none.
    const SUFFIX: Option<&'static str>;

    /// Adds what a block has.
    fn note(&mut self, block: &Self::Block);
    /// Whether there may be something for this one.
    fn may_have(&self, wanted: Self::Wanted) -> bool;
    /// As it stands in the file.
    fn bytes(&self) -> &[u8];
    /// From these bytes again; none when they are not as many.
    fn from_bytes(bytes: &[u8]) -> Option<Self>;
}

/// A kind of archive.
pub trait Kind: Debug + Send + 'static {
    /// Begins each segment; the last byte is the version.
    const MAGIC: &'static [u8; 8];
    /// What is kept, for the log.
    const WHAT: &'static str;
    /// Whether peers can give again what is let go of here.
    const IS_REFETCHED: bool;
    /// Whether a segment that is not in its folder is lost, as whoever waits for what cannot be
    /// read for now would wait without end; else that is told as gone, and it may come back.
    const IS_MISSING_LOST: bool;
    /// What is kept of a block.
    type Block: Kept;
    /// What is known of all blocks before one.
    type Before: Before<Block = Self::Block>;
    /// For whom something is read.
    type Wanted: Copy + Debug;
    /// For whom there may be something in a segment.
    type Index: Index<Block = Self::Block, Wanted = Self::Wanted>;

    /// What of a block one is to have; none where that is nothing.
    fn select(block: Self::Block, wanted: Self::Wanted) -> Option<Self::Block>;
}

/// The public stream: everybody may have all of it, and what is known of older blocks is the tree
/// over their events, which is replicated state.
#[derive(Clone, Copy, Debug)]
pub struct PublicEvents;

impl Kind for PublicEvents {
    const MAGIC: &'static [u8; 8] = b"QRTPUBL\x01";
    const WHAT: &'static str = "public events";
    const IS_REFETCHED: bool = true;
    const IS_MISSING_LOST: bool = false;
    type Block = Block;
    type Before = EventHistory;
    type Wanted = ();
    type Index = Everybody;

    fn select(block: Block, (): ()) -> Option<Block> {
        (block.outputs_len() > 0).then_some(block)
    }
}

/// There is something for everybody in every segment.
#[derive(Clone, Copy, Debug, Default)]
pub struct Everybody;

impl Index for Everybody {
    type Block = Block;
    type Wanted = ();
    const SUFFIX: Option<&'static str> = None;

    fn note(&mut self, _: &Block) {}

    fn may_have(&self, (): ()) -> bool {
        true
    }

    fn bytes(&self) -> &[u8] {
        &[]
    }

    fn from_bytes(_: &[u8]) -> Option<Self> {
        None
    }
}

impl Kept for Block {
    const ENTRY_BYTES: usize = 4;

    fn time_ns(&self) -> u64 {
        self.time_ns()
    }

    fn entries_len(&self) -> usize {
        self.ends().len()
    }

    fn body_bytes(&self) -> usize {
        self.ends().len() * Self::ENTRY_BYTES + self.bytes().len()
    }

    fn memory_bytes(&self) -> usize {
        self.bytes_len()
    }

    fn encode(&self, buffer: &mut Vec<u8>) {
        for &end in self.ends() {
            buffer.extend_from_slice(&u32::try_from(end).unwrap_or(u32::MAX).to_le_bytes());
        }
        buffer.extend_from_slice(self.bytes());
    }

    fn decode(time_ns: u64, count: usize, mut body: Vec<u8>) -> Option<Self> {
        let events = body.split_off(count * Self::ENTRY_BYTES);
        let ends = body
            .chunks_exact(Self::ENTRY_BYTES)
            .map(|end| u32::from_le_bytes(std::array::from_fn(|byte| end[byte])) as usize);
        Self::from_parts(time_ns, events, ends.collect())
    }
}

impl Before for EventHistory {
    type Block = Block;

    fn height(&self) -> u64 {
        self.height()
    }

    fn tops(&self) -> &[[u8; 32]] {
        self.tops()
    }

    fn tops_len(height: u64) -> usize {
        height.count_ones() as usize
    }

    fn from_tops(height: u64, tops: &[[u8; 32]]) -> Option<Self> {
        Self::from_tops(height, tops)
    }

    fn pass_silent(&mut self, height: u64) {
        self.be_silent_until(height);
    }

    fn pass(&mut self, height: u64, block: &Block) {
        self.push(&block.leaf(height));
    }
}
