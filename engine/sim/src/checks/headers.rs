//! Every header that was ever on the wire: what descends from what.
//!
//! Owns the parents of blocks, for the checkers that judge chains. Never: trusts a validator's
//! own view of a chain.

use std::collections::HashMap;

use quorate_consensus::header::Header;
use quorate_consensus::types::{BlockId, Index, Window};

/// What is known of one block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) window: Window,
    pub(crate) index: Index,
    pub(crate) height: u64,
    pub(crate) time_ns: u64,
    pub(crate) parent: BlockId,
}

/// All headers seen; they are looked up and never listed, so their order plays no part.
#[derive(Debug, Default)]
pub(crate) struct HeaderBook(HashMap<BlockId, Known>);

impl HeaderBook {
    pub(crate) fn add(&mut self, header: &Header) -> BlockId {
        let id = header.id();
        self.0.entry(id).or_insert_with(|| Known {
            window: header.window,
            index: header.index,
            height: header.height.number(),
            time_ns: header.time_ns,
            parent: header.parent_id,
        });
        id
    }

    pub(crate) fn get(&self, id: &BlockId) -> Option<&Known> {
        self.0.get(id)
    }

    /// The block at `index` on the chain of `id` in `window`; none when a header in between was
    /// never seen, or there is no such block.
    pub(crate) fn ancestor_at(&self, window: Window, id: BlockId, index: Index) -> Option<BlockId> {
        let mut at = id;
        loop {
            let known = self.0.get(&at).filter(|known| known.window == window)?;
            match known.index.cmp(&index) {
                std::cmp::Ordering::Equal => return Some(at),
                std::cmp::Ordering::Less => return None,
                std::cmp::Ordering::Greater => at = known.parent,
            }
        }
    }

    /// Whether every header of the chain of `id` down to the start of its window was seen.
    pub(crate) fn is_whole(&self, window: Window, id: BlockId) -> bool {
        self.ancestor_at(window, id, Index::ZERO).is_some()
    }
}
