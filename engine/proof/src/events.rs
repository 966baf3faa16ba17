//! What the application told everybody, as one hash that stands on no private output: a tree over
//! the public events of all blocks of the chain. docs/proof-format.md says why it stands beside the
//! tree over all outputs.
//!
//! Owns how public events are hashed, for the validator that executes, for one that keeps them, and
//! for one that fetches them. Never: which events are published, or where they are kept.

use crate::outputs::{HistoryError, OutputHistory, keyed, node_hash};
use crate::tree::Hash;

/// Place of the section of public events among the sections of a state, in root order.
pub const EVENTS_PLACE: usize = 2;
/// Tops of complete subtrees that a history has at most.
pub const EVENT_TOPS_MAX: usize = u64::BITS as usize;

const BLOCK_KEY: &Hash = b"quorate/events/v1/block.........";
const ROOT_KEY: &Hash = b"quorate/events/v1/root..........";
/// The leaf of a block without public events. It is the same at every height, so that the top of a
/// silent stretch follows from its length. No input has this hash that anybody could find.
const SILENCE: Hash = [0; 32];

/// The leaf of a block: its height, its time and its public events in their order.
#[must_use]
pub fn events_leaf<'a>(
    height: u64,
    time_ns: u64,
    events: impl IntoIterator<Item = &'a [u8]>,
) -> [u8; 32] {
    let mut events = events.into_iter().peekable();
    if events.peek().is_none() {
        return SILENCE;
    }
    let mut hasher = blake3::Hasher::new_keyed(BLOCK_KEY);
    hasher.update(&height.to_le_bytes());
    hasher.update(&time_ns.to_le_bytes());
    for event in events {
        hasher.update(&(event.len() as u64).to_le_bytes());
        hasher.update(event);
    }
    *hasher.finalize().as_bytes()
}

/// The tree over the public events of all blocks from height 1 on, as far as it takes to go on: the
/// complete subtrees. This is the section of public events of the replicated state.
///
/// Two of one height are equal only when every event of every block was: so one history, the blocks
/// behind it and the history behind those prove one another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventHistory {
    tree: OutputHistory,
}

impl EventHistory {
    /// Height of the last block in it; 0 at genesis.
    #[must_use]
    pub const fn height(&self) -> u64 {
        self.tree.height()
    }

    /// Tops of the complete subtrees, the greatest first: one a bit that is set in the height.
    #[must_use]
    pub fn tops(&self) -> &[[u8; 32]] {
        self.tree.tops()
    }

    /// One after the block `height`, of which these are the tops; none when it has another number
    /// of them.
    #[must_use]
    pub fn from_tops(height: u64, tops: &[[u8; 32]]) -> Option<Self> {
        let tree = OutputHistory::from_tops(height, tops)?;
        Some(Self { tree })
    }

    /// Adds the next block by its [leaf](events_leaf).
    pub fn push(&mut self, leaf: &[u8; 32]) {
        self.tree.push_tree(0, *leaf);
    }

    /// Adds blocks without public events up to this height, in a time that hardly grows with their
    /// number.
    pub fn be_silent_until(&mut self, height: u64) {
        let mut tops = vec![SILENCE];
        while let Some(left) = height.checked_sub(self.height()).filter(|left| *left > 0) {
            // The greatest complete subtree that begins here and ends in time.
            let level = self.height().trailing_zeros().min(left.ilog2());
            while tops.len() <= level as usize {
                let below = tops.last().copied().unwrap_or(SILENCE);
                tops.push(node_hash(&below, &below));
            }
            let top = tops.get(level as usize).copied().unwrap_or(SILENCE);
            self.tree.push_tree(level, top);
        }
    }

    /// The root of the section.
    #[must_use]
    pub fn root(&self) -> [u8; 32] {
        let mut bytes = [0; 40];
        bytes[..8].copy_from_slice(&self.height().to_le_bytes());
        bytes[8..].copy_from_slice(&self.tree.top());
        keyed(ROOT_KEY, &bytes)
    }

    /// Appends the canonical bytes of the section.
    pub fn encode(&self, bytes: &mut Vec<u8>) {
        self.tree.encode(bytes);
    }

    /// Reads the canonical bytes of the section.
    ///
    /// # Errors
    /// [`HistoryError`]: they are of another length than the tree has that they tell of.
    pub fn decode(bytes: &[u8]) -> Result<Self, HistoryError> {
        let tree = OutputHistory::decode(bytes)?;
        Ok(Self { tree })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leaf_says_where_when_and_what_and_where_one_event_ends() {
        let leaf = events_leaf(5, 7, [&b"ab"[..], b"c"]);
        assert_ne!(leaf, events_leaf(6, 7, [&b"ab"[..], b"c"]));
        assert_ne!(leaf, events_leaf(5, 8, [&b"ab"[..], b"c"]));
        assert_ne!(leaf, events_leaf(5, 7, [&b"a"[..], b"bc"]));
        assert_ne!(leaf, events_leaf(5, 7, [&b"ab"[..]]));
        assert_ne!(leaf, events_leaf(5, 7, [&b"c"[..], b"ab"]));
        assert_eq!(events_leaf(5, 7, []), events_leaf(6, 8, []));
        assert_ne!(events_leaf(5, 7, [&b""[..]]), events_leaf(5, 7, []));
    }

    fn hash(key: &str, parts: &[&[u8]]) -> Hash {
        let key = format!("{key:.<32}").into_bytes().try_into();
        keyed(&key.expect("32 bytes"), &parts.concat())
    }

    /// docs/proof-format.md, *How public events are hashed*: validators of two builds attest one
    /// state, and readers of other makes check it.
    #[test]
    fn a_leaf_and_a_root_are_hashes_of_these_bytes() {
        let number = |number: u64| number.to_le_bytes();
        let leaf = events_leaf(5, 7, [&b"ab"[..], b"c"]);
        let parts = [number(5), number(7), number(2), number(1)];
        let [height, time, long, short] = &parts;
        let parts: [&[u8]; 6] = [height, time, long, b"ab", short, b"c"];
        assert_eq!(leaf, hash("quorate/events/v1/block", &parts));
        let mut history = EventHistory::default();
        let root = |blocks, top: &Hash| hash("quorate/events/v1/root", &[&number(blocks), top]);
        history.push(&leaf);
        assert_eq!(history.root(), root(1, &leaf));
        history.be_silent_until(2);
        let top = hash("quorate/outputs/v1/node", &[&leaf, &[0; 32]]);
        assert_eq!(history.root(), root(2, &top));
    }

    #[test]
    fn silence_of_any_length_from_any_height_is_that_of_block_after_block() {
        for from in 0..40_u64 {
            let mut start = EventHistory::default();
            (1..=from).for_each(|height| start.push(&[height as u8; 32]));
            let mut one_by_one = start.clone();
            for until in from..from + 70 {
                let mut at_once = start.clone();
                at_once.be_silent_until(until);
                assert_eq!(at_once, one_by_one, "{from} to {until}");
                one_by_one.push(&events_leaf(until + 1, 9, []));
            }
        }
        let mut long = EventHistory::default();
        long.be_silent_until(u64::MAX);
        assert_eq!(long.height(), u64::MAX);
        assert_eq!(long.tops().len(), EVENT_TOPS_MAX);
        long.be_silent_until(3);
        assert_eq!(long.height(), u64::MAX, "it goes up only");
    }

    #[test]
    fn a_root_says_how_many_blocks_there_are_and_what_they_told() {
        let mut roots = std::collections::BTreeSet::new();
        let mut silent = EventHistory::default();
        let mut loud = EventHistory::default();
        assert!(roots.insert(silent.root()));
        for height in 1..70 {
            loud.push(&events_leaf(height, 9, [&b"event"[..]]));
            silent.be_silent_until(height);
            assert!(roots.insert(loud.root()), "{height}");
            assert!(roots.insert(silent.root()), "{height} silent");
            assert_eq!(loud.clone().root(), loud.root());
        }
    }

    #[test]
    fn the_section_comes_back_from_its_bytes_and_its_tops_and_is_another_one_than_that_of_outputs()
    {
        let mut history = EventHistory::default();
        for height in 1..70 {
            history.push(&[height as u8; 32]);
            let mut bytes = Vec::new();
            history.encode(&mut bytes);
            assert_eq!(EventHistory::decode(&bytes).as_ref(), Ok(&history));
            assert_ne!(history.root(), history.tree.root());
            let tops = history.tops();
            assert_eq!(EventHistory::from_tops(height, tops), Some(history.clone()));
            assert_eq!(EventHistory::from_tops(height, &tops[1..]), None);
        }
    }
}
