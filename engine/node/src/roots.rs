//! State roots: one hash a section, one over all of them, and the newest ones kept.
//!
//! Owns how section roots combine and the ring of the last roots. Never: when a root is due
//! (`executor`) or what it is compared with.

use std::collections::VecDeque;

use quorate_consensus::attestation::StateStatement;
use quorate_consensus::limits::STATE_HEIGHTS;
use quorate_consensus::types::{BlockId, Height};

/// A root is taken after every block whose height is a multiple of this, and attested.
pub const ROOT_HEIGHTS: u64 = STATE_HEIGHTS;

/// Name of the section of outputs (docs/proof-format.md), the second in root order.
pub const OUTPUTS_SECTION: &str = "outputs";
/// Name of the section of public events (docs/proof-format.md), the third in root order.
pub const EVENTS_SECTION: &str = "events";

/// Roots kept: the last 65,536 heights.
pub const ROOTS_KEPT: usize = 1024;

/// The state after one block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateRoot {
    /// Height of the block.
    pub height: u64,
    /// Hash over all sections.
    pub combined: [u8; 32],
    /// Each section and its root, the engine's own first.
    pub sections: Vec<(&'static str, [u8; 32])>,
}

impl StateRoot {
    /// Combines section roots. The height is not hashed here; the section of outputs has it.
    #[must_use]
    pub fn combine(height: u64, sections: Vec<(&'static str, [u8; 32])>) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"quorate/state/v1");
        for (name, root) in &sections {
            // The length before the name keeps two lists of names from meeting in one input.
            hasher.update(&(name.len() as u64).to_le_bytes());
            hasher.update(name.as_bytes());
            hasher.update(root);
        }
        Self {
            height,
            combined: *hasher.finalize().as_bytes(),
            sections,
        }
    }
}

impl StateRoot {
    /// What a validator attests of this state, which is that after the block `id`.
    #[must_use]
    pub fn statement(&self, id: BlockId, snapshot: Option<[u8; 32]>) -> StateStatement {
        StateStatement {
            height: Height::new(self.height),
            id,
            sections: self.sections.iter().map(|(_, root)| *root).collect(),
            snapshot,
        }
    }
}

/// The newest roots, by height.
#[derive(Debug, Default)]
pub struct RootRing {
    /// Ascending heights. Bound: `ROOTS_KEPT`.
    roots: VecDeque<StateRoot>,
}

impl RootRing {
    /// Keeps a root; the oldest one goes when there are too many. A second root of one height is
    /// the same root and is not kept twice.
    pub fn push(&mut self, root: StateRoot) {
        if self
            .roots
            .back()
            .is_some_and(|newest| newest.height >= root.height)
        {
            return;
        }
        if self.roots.len() == ROOTS_KEPT {
            self.roots.pop_front();
        }
        self.roots.push_back(root);
    }

    /// The newest root kept.
    #[must_use]
    pub fn newest(&self) -> Option<&StateRoot> {
        self.roots.back()
    }

    /// The root after the block of this height, if it was taken and is still kept.
    #[must_use]
    pub fn at(&self, height: u64) -> Option<&StateRoot> {
        let place = self
            .roots
            .binary_search_by_key(&height, |root| root.height)
            .ok()?;
        self.roots.get(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_combined_root_depends_on_every_name_and_every_section() {
        let root = |sections: &[(&'static str, u8)]| {
            let sections = sections
                .iter()
                .map(|&(name, byte)| (name, [byte; 32]))
                .collect();
            StateRoot::combine(64, sections).combined
        };
        let all = [
            root(&[("a", 1), ("b", 2)]),
            root(&[("a", 2), ("b", 1)]),
            root(&[("b", 1), ("a", 2)]),
            root(&[("ab", 1)]),
            root(&[("a", 1)]),
            root(&[]),
        ];
        for (place, first) in all.iter().enumerate() {
            assert!(all[place + 1..].iter().all(|second| second != first));
        }
        assert_eq!(all[0], root(&[("a", 1), ("b", 2)]));
    }

    #[test]
    fn the_ring_keeps_the_newest_roots_and_finds_them_by_height() {
        let mut ring = RootRing::default();
        for number in 1..=ROOTS_KEPT as u64 + 5 {
            ring.push(StateRoot::combine(number * ROOT_HEIGHTS, Vec::new()));
        }
        assert_eq!(ring.at(5 * ROOT_HEIGHTS), None);
        assert_eq!(
            ring.at(6 * ROOT_HEIGHTS).map(|root| root.height),
            Some(6 * ROOT_HEIGHTS)
        );
        assert_eq!(ring.at(6 * ROOT_HEIGHTS + 1), None);
        let newest = (ROOTS_KEPT as u64 + 5) * ROOT_HEIGHTS;
        assert_eq!(ring.newest().map(|root| root.height), Some(newest));
    }
}
