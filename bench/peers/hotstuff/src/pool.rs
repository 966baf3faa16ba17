//! Commands that wait, and what the blocks that are not final hold.
//!
//! Owns both. Every replica is told every command, so that each leader can propose all that waits;
//! what stands in an ancestor is left out. Never: decides anything.

use std::collections::{BTreeMap, HashMap, HashSet};

use hotstuff_rs::types::block::Block;
use hotstuff_rs::types::data_types::CryptoHash;
use peer_kit::{Command, Gateway};

/// Bytes of commands that a block holds.
const BLOCK_BYTES_MAX: usize = 1024 * 1024;
/// Bytes before each command: its number and its length.
const HEAD_BYTES: usize = 12;

type Hash = [u8; 32];

struct Held {
    parent: Hash,
    ids: Vec<u64>,
}

/// All of it.
pub(crate) struct Pool {
    gateway: Gateway,
    waiting: BTreeMap<u64, Command>,
    /// Blocks that were proposed and are not known to be final.
    blocks: HashMap<Hash, Held>,
    /// Numbers that became final before their command came from the load.
    early: HashSet<u64>,
}

impl Pool {
    pub(crate) fn new(gateway: Gateway) -> Self {
        Self {
            gateway,
            waiting: BTreeMap::new(),
            blocks: HashMap::new(),
            early: HashSet::new(),
        }
    }

    pub(crate) fn take(&mut self, commands: Vec<Command>) {
        let mut done = Vec::new();
        for command in commands {
            if !self.early.remove(&command.id) {
                self.waiting.insert(command.id, command);
            } else {
                done.push(command.id);
            }
        }
        self.gateway.finalized(&done);
    }

    /// Whether a block on `parent` has nothing to carry and no command below it to make final.
    pub(crate) fn is_idle(&self, parent: Option<CryptoHash>) -> bool {
        let is_empty = |held: &&Held| held.ids.is_empty();
        self.waiting.is_empty() && self.ancestors(parent).all(|held| is_empty(&held))
    }

    fn ancestors(&self, parent: Option<CryptoHash>) -> impl Iterator<Item = &Held> {
        let first = parent.and_then(|parent| self.blocks.get(&parent.bytes()));
        std::iter::successors(first, |held| self.blocks.get(&held.parent))
    }

    /// What waits and stands in no ancestor, as a block's data.
    pub(crate) fn fill(&self, parent: Option<CryptoHash>) -> Vec<u8> {
        let taken = self.ancestors(parent).flat_map(|held| &held.ids);
        let taken: HashSet<u64> = taken.copied().collect();
        let mut bytes = Vec::new();
        let free = self.waiting.values().filter(|one| !taken.contains(&one.id));
        for command in free {
            if bytes.len() + HEAD_BYTES + command.body.len() > BLOCK_BYTES_MAX {
                break;
            }
            bytes.extend_from_slice(&command.id.to_le_bytes());
            bytes.extend_from_slice(&(command.body.len() as u32).to_le_bytes());
            bytes.extend_from_slice(&command.body);
        }
        bytes
    }

    /// Notes a block that was proposed; false when its data is no list of commands.
    pub(crate) fn know(&mut self, block: &Block) -> bool {
        let [datum] = block.data.vec().as_slice() else {
            return false;
        };
        let Some(ids) = parse(datum.bytes()) else {
            return false;
        };
        let parent = block.justify.block.bytes();
        self.blocks.insert(block.hash.bytes(), Held { parent, ids });
        true
    }

    /// That block is final.
    pub(crate) fn finalize(&mut self, hash: CryptoHash) {
        let Some(held) = self.blocks.remove(&hash.bytes()) else {
            return;
        };
        let mut done = Vec::new();
        for id in held.ids {
            match self.waiting.remove(&id) {
                Some(_) => done.push(id),
                None => drop(self.early.insert(id)),
            }
        }
        self.gateway.finalized(&done);
    }
}

fn parse(mut bytes: &[u8]) -> Option<Vec<u64>> {
    let mut ids = Vec::new();
    while let Some((id, after)) = bytes.split_first_chunk::<8>() {
        let (length, after) = after.split_first_chunk::<4>()?;
        ids.push(u64::from_le_bytes(*id));
        bytes = after.get(u32::from_le_bytes(*length) as usize..)?;
    }
    bytes.is_empty().then_some(ids)
}
