//! What a start found in the log and could not place: blocks whose parents stand in no log of this
//! validator, as below the block of a snapshot that it went on from (R12, R9).
//!
//! Owns their waiting for the headers, which voters send as of any chain. Never: fetches.

use super::WindowState;
use super::tree::{BlockPlace, Misfit};
use crate::header::Header;
use crate::types::{BlockId, Height, Point};
use crate::validators::ValidatorSet;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

/// Logged blocks of one window that wait for their parents, by parent. Bound: what the log holds of
/// the window.
#[derive(Debug, Default)]
pub(crate) struct Logged {
    waiting: BTreeMap<BlockId, Vec<(BlockId, Header)>>,
    /// Placed since they were last [taken](WindowState::take_placed).
    placed: Vec<(Height, BlockId)>,
}

impl WindowState {
    /// Places a block out of the log, or keeps it until its parent is placed.
    pub(crate) fn restore_block(&mut self, set: &ValidatorSet, header: Header, id: BlockId) {
        match self.tally.connect(set, &header, id) {
            // That it was logged does not say who made it.
            Ok((place, _)) => self.tally.tree.set_body(place, true),
            Err(Misfit::ParentUnknown) => {
                let children = self.logged.waiting.entry(header.parent_id).or_default();
                children.push((id, header));
            }
            Err(Misfit::Invalid) => {}
        }
    }

    /// Places a header, and above it what the log holds.
    pub(crate) fn connect(
        &mut self,
        set: &ValidatorSet,
        header: &Header,
        id: BlockId,
    ) -> Result<(BlockPlace, bool), Misfit> {
        let placed = self.tally.connect(set, header, id)?;
        if placed.1 && !self.logged.waiting.is_empty() {
            self.place_above(set, id);
        }
        Ok(placed)
    }

    /// Places what the log holds above a block.
    fn place_above(&mut self, set: &ValidatorSet, id: BlockId) {
        let mut parents = alloc::vec![id];
        while let Some(parent) = parents.pop() {
            for (id, header) in self.logged.waiting.remove(&parent).unwrap_or_default() {
                if let Ok((place, _)) = self.tally.connect(set, &header, id) {
                    self.tally.tree.set_body(place, true);
                    self.logged.placed.push((header.height, id));
                    parents.push(id);
                }
            }
        }
    }

    /// Blocks of the log that were placed since the last call.
    pub(crate) fn take_placed(&mut self) -> Vec<(Height, BlockId)> {
        core::mem::take(&mut self.logged.placed)
    }

    /// The block of the own tip, whose record could not be extended without it, when it has come:
    /// with its body, or final, since the body of a final block is waited for elsewhere.
    pub(crate) fn thaw(&mut self, finalized: &Point) -> Option<BlockPlace> {
        if !self.is_frozen {
            return None;
        }
        let tree = &self.tally.tree;
        let (index, id) = self.own.tip?;
        let tip = tree.find_connected(index, id)?;
        let last_final = tree.find_connected(finalized.index, finalized.id);
        let is_final = last_final.is_some_and(|last| tree.descends(last, tip));
        if !tree.block(tip).has_body && !is_final {
            return None;
        }
        self.own_tip = Some(tip);
        self.is_frozen = false;
        self.is_dirty = true;
        self.own_tip
    }
}
