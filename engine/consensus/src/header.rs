//! What is hashed and voted on: the header of a block. Its bytes stand in `wire::header`.

use crate::types::{BlockId, Epoch, Height, Index, Point, Window};

/// The version of headers this code makes and understands.
pub const HEADER_VERSION: u16 = 1;

/// The header of a block. Everything a vote depends on is here or in the payload it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Format version; an unknown one makes the block invalid.
    pub version: u16,
    /// No flag is defined yet; an unknown one makes the block invalid.
    pub flags: u16,
    /// Which chain.
    pub chain_id: [u8; 32],
    /// Which validator set.
    pub epoch: Epoch,
    /// Hash of that set and its schedule.
    pub set_hash: [u8; 32],
    /// Whose tenure.
    pub window: Window,
    /// Place in the window.
    pub index: Index,
    /// Parent's height plus one.
    pub height: Height,
    /// Leader's time, nanoseconds since the Unix epoch; above the parent's.
    pub time_ns: u64,
    /// The block before.
    pub parent_id: BlockId,
    /// Plain BLAKE3 of the payload.
    pub payload_hash: [u8; 32],
    /// Bytes of the payload.
    pub payload_bytes: u32,
}

impl Header {
    /// The point of this block, given its name.
    #[must_use]
    pub const fn point(&self, id: BlockId) -> Point {
        Point {
            window: self.window,
            index: self.index,
            height: self.height,
            id,
        }
    }

    /// Whether `self` may follow `parent` in the same window.
    #[must_use]
    pub fn follows_in_window(&self, parent: &Self, parent_id: BlockId) -> bool {
        self.parent_id == parent_id
            && self.window == parent.window
            && self.index == parent.index.next()
            && self.height == parent.height.next()
            && self.time_ns > parent.time_ns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_follows_its_parent_in_each_respect() {
        let parent = Header {
            version: HEADER_VERSION,
            flags: 0,
            chain_id: [0; 32],
            epoch: Epoch::ZERO,
            set_hash: [0; 32],
            window: Window::new(3),
            index: Index::new(4),
            height: Height::new(5),
            time_ns: 6,
            parent_id: BlockId::new([1; 32]),
            payload_hash: [0; 32],
            payload_bytes: 0,
        };
        let good = Header {
            index: Index::new(5),
            height: Height::new(6),
            time_ns: 7,
            parent_id: parent.id(),
            ..parent
        };
        let follows = |header: &Header| header.follows_in_window(&parent, parent.id());
        assert!(follows(&good));
        let changes: [fn(&mut Header); 5] = [
            |header| header.parent_id = BlockId::new([2; 32]),
            |header| header.window = Window::new(4),
            |header| header.index = Index::new(6),
            |header| header.height = Height::new(7),
            |header| header.time_ns = 6,
        ];
        for (place, change) in changes.into_iter().enumerate() {
            let mut header = good;
            change(&mut header);
            assert!(!follows(&header), "{place}");
        }
    }
}
