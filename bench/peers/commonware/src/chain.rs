//! Blocks of commands on the way to finality at one node.
//!
//! Owns what waits, the blocks that are known, and who waits for one. Simplex agrees on digests;
//! what a digest stands for is the application's: here the digest of the parent and a list of
//! commands. Never: touches the network.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use commonware_consensus::simplex::types::Context;
use commonware_cryptography::ed25519::PublicKey;
use commonware_cryptography::sha256::Digest;
use commonware_cryptography::{Hasher as _, Sha256};
use commonware_utils::channel::oneshot;
use peer_kit::{Command, Gateway};

/// Bytes of commands that a block holds.
pub(crate) const BLOCK_BYTES_MAX: usize = 1024 * 1024;
/// Bytes of blocks below the tip that are kept, for nodes that missed some: at hundreds of small
/// blocks a second, a number of blocks would be gone before such a node has asked for the first.
const FINALS_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Bytes of a digest.
const DIGEST_BYTES: usize = 32;
/// Bytes before each command: its number and its length.
const HEAD_BYTES: usize = 12;

/// The block that stands for the beginning.
pub(crate) fn genesis() -> Digest {
    Sha256::hash(&[b"beginning".as_slice()])
}

struct Block {
    parent: Digest,
    ids: Vec<u64>,
    bytes: Vec<u8>,
}

/// All of it.
pub(crate) struct Chain {
    gateway: Gateway,
    /// Commands that are not final, by number.
    waiting: BTreeMap<u64, Command>,
    blocks: HashMap<Digest, Block>,
    /// The last block that is final.
    tip: Digest,
    /// A block that is final as soon as it and those before it are known.
    decided: Option<Digest>,
    /// What was missing of these when somebody last looked.
    missed: Option<Digest>,
    /// What was asked for last, and has not come.
    wanted: Option<Digest>,
    /// The last blocks below the tip.
    finals: VecDeque<Digest>,
    /// Bytes of these.
    finals_bytes: usize,
    /// Numbers that became final before their command came from the load.
    early: HashSet<u64>,
    /// Proposals that wait for a command.
    idle: Vec<(Context<Digest, PublicKey>, oneshot::Sender<Digest>)>,
    /// Votes that wait for a block.
    asked: HashMap<Digest, Vec<(Digest, oneshot::Sender<bool>)>>,
}

impl Chain {
    pub(crate) fn new(gateway: Gateway) -> Self {
        Self {
            gateway,
            waiting: BTreeMap::new(),
            blocks: HashMap::new(),
            tip: genesis(),
            decided: None,
            missed: None,
            wanted: None,
            finals: VecDeque::new(),
            finals_bytes: 0,
            early: HashSet::new(),
            idle: Vec::new(),
            asked: HashMap::new(),
        }
    }

    /// Commands of the load; a proposal that waited for one is made.
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
        self.propose_idle(false);
    }

    /// A proposal is wanted: at once if something waits, else when something comes.
    pub(crate) fn propose(
        &mut self,
        context: Context<Digest, PublicKey>,
    ) -> oneshot::Receiver<Digest> {
        let (answer, wanted) = oneshot::channel();
        self.idle.push((context, answer));
        self.propose_idle(false);
        wanted
    }

    /// Makes the proposals that wait, empty ones only where `even_empty`.
    pub(crate) fn propose_idle(&mut self, even_empty: bool) {
        for (context, answer) in std::mem::take(&mut self.idle) {
            if answer.is_closed() {
                continue;
            }
            let block = self.fill(&context);
            if block.ids.is_empty() && !even_empty {
                self.idle.push((context, answer));
                continue;
            }
            let digest = Sha256::hash(&[block.bytes.as_slice()]);
            self.know(digest, block);
            // The view may be over.
            answer.send(digest).ok();
        }
    }

    /// A block on the context's parent with what waits and stands in none of its ancestors.
    fn fill(&self, context: &Context<Digest, PublicKey>) -> Block {
        let mut taken = HashSet::new();
        let mut at = context.parent.1;
        while let Some(block) = self.blocks.get(&at).filter(|_| at != self.tip) {
            taken.extend(block.ids.iter().copied());
            at = block.parent;
        }
        let mut bytes = context.parent.1.as_ref().to_vec();
        // The view, so that two empty blocks on one parent differ.
        bytes.extend_from_slice(&context.round.view().get().to_le_bytes());
        let mut ids = Vec::new();
        let free = self.waiting.values().filter(|one| !taken.contains(&one.id));
        for command in free {
            if bytes.len() + HEAD_BYTES + command.body.len() > BLOCK_BYTES_MAX {
                break;
            }
            bytes.extend_from_slice(&command.id.to_le_bytes());
            bytes.extend_from_slice(&(command.body.len() as u32).to_le_bytes());
            bytes.extend_from_slice(&command.body);
            ids.push(command.id);
        }
        Block {
            parent: context.parent.1,
            ids,
            bytes,
        }
    }

    /// The bytes of a block, to be sent.
    pub(crate) fn bytes(&self, digest: &Digest) -> Option<Vec<u8>> {
        Some(self.blocks.get(digest)?.bytes.clone())
    }

    /// A block of another node; nothing when it is none. Gives the next block to ask for, where
    /// this was the last one that was: who missed many would else fetch one a look.
    pub(crate) fn receive(&mut self, bytes: &[u8]) -> Option<Digest> {
        let digest = Sha256::hash(&[bytes]);
        // One that comes again, as it does when it is sent on, is known.
        if self.blocks.contains_key(&digest) {
            return None;
        }
        let (parent, ids) = parse(bytes)?;
        let bytes = bytes.to_vec();
        self.know(digest, Block { parent, ids, bytes });
        if self.wanted != Some(digest) {
            return None;
        }
        self.wanted = self.lacking();
        self.wanted
    }

    fn know(&mut self, digest: Digest, block: Block) {
        for (parent, answer) in self.asked.remove(&digest).unwrap_or_default() {
            // The view may be over.
            answer.send(parent == block.parent).ok();
        }
        self.blocks.insert(digest, block);
        if let Some(decided) = self.decided {
            self.finalize(decided);
        }
    }

    /// Whether the block is one on that parent, as soon as it is here.
    pub(crate) fn verify(&mut self, parent: Digest, digest: Digest) -> oneshot::Receiver<bool> {
        let (answer, wanted) = oneshot::channel();
        match self.blocks.get(&digest) {
            // The engine may have lost interest.
            Some(block) => drop(answer.send(block.parent == parent)),
            None => self.asked.entry(digest).or_default().push((parent, answer)),
        }
        wanted
    }

    /// The highest block that is final, or below a final one, and not here.
    fn lacking(&self) -> Option<Digest> {
        let mut at = self.decided;
        while let Some(block) = at.and_then(|at| self.blocks.get(&at)) {
            at = Some(block.parent);
        }
        at
    }

    /// A block that has to be asked for: missing since the last look, so that it is not merely on
    /// its way.
    pub(crate) fn missing(&mut self) -> Option<Digest> {
        let at = self.lacking();
        let before = std::mem::replace(&mut self.missed, at);
        let asked = at.filter(|_| at == before);
        self.wanted = asked.or(self.wanted);
        asked
    }

    /// That block is final and all before it are.
    pub(crate) fn finalize(&mut self, decided: Digest) {
        let mut path = Vec::new();
        let mut at = decided;
        while at != self.tip {
            let Some(block) = self.blocks.get(&at) else {
                self.decided = Some(decided);
                return;
            };
            path.push(at);
            at = block.parent;
        }
        self.decided = None;
        let mut done = Vec::new();
        for digest in path.iter().rev() {
            let old = std::mem::replace(&mut self.tip, *digest);
            self.keep(old);
            let ids = self.blocks.get(digest).map_or(&[][..], |block| &block.ids);
            for id in ids {
                match self.waiting.remove(id) {
                    Some(_) => done.push(*id),
                    None => drop(self.early.insert(*id)),
                }
            }
        }
        self.gateway.finalized(&done);
    }

    /// Keeps a block below the tip, as long as there is room for it and those above.
    fn keep(&mut self, digest: Digest) {
        self.finals.push_back(digest);
        self.finals_bytes += self
            .blocks
            .get(&digest)
            .map_or(0, |block| block.bytes.len());
        while self.finals_bytes > FINALS_BYTES_MAX {
            let Some(last) = self.finals.pop_front() else {
                break;
            };
            let gone = self.blocks.remove(&last);
            self.finals_bytes -= gone.map_or(0, |block| block.bytes.len());
        }
    }
}

fn parse(bytes: &[u8]) -> Option<(Digest, Vec<u64>)> {
    let (parent, rest) = bytes.split_first_chunk::<DIGEST_BYTES>()?;
    let (_, mut rest) = rest.split_first_chunk::<8>()?;
    let mut ids = Vec::new();
    while let Some((id, after)) = rest.split_first_chunk::<8>() {
        let (length, after) = after.split_first_chunk::<4>()?;
        ids.push(u64::from_le_bytes(*id));
        rest = after.get(u32::from_le_bytes(*length) as usize..)?;
    }
    rest.is_empty().then_some((Digest(*parent), ids))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A block of no command on a parent.
    fn block(parent: Digest, view: u64) -> (Digest, Vec<u8>) {
        let mut bytes = parent.as_ref().to_vec();
        bytes.extend_from_slice(&view.to_le_bytes());
        (Sha256::hash(&[bytes.as_slice()]), bytes)
    }

    #[test]
    fn a_block_that_was_missed_is_asked_for_and_given_by_who_has_it() {
        let (first, first_bytes) = block(genesis(), 1);
        let (second, second_bytes) = block(first, 2);
        let mut behind = Chain::new(Gateway::default());
        behind.receive(&second_bytes);
        behind.finalize(second);
        assert_eq!(behind.missing(), None, "it may be on its way");
        assert_eq!(behind.missing(), Some(first));
        let mut ahead = Chain::new(Gateway::default());
        ahead.receive(&first_bytes);
        ahead.receive(&second_bytes);
        ahead.finalize(second);
        assert_eq!(ahead.missing(), None);
        // Final there, and kept for a while.
        let given = ahead.bytes(&first).expect("it is kept");
        assert_eq!(behind.receive(&given), None);
        assert_eq!((behind.tip, behind.missing()), (second, None));
    }

    #[test]
    fn who_missed_a_hundred_blocks_comes_level_by_the_answers_alone() {
        let mut ahead = Chain::new(Gateway::default());
        let (mut tip, mut bytes) = (genesis(), Vec::new());
        for view in 1..=100 {
            (tip, bytes) = block(tip, view);
            ahead.receive(&bytes);
            ahead.finalize(tip);
        }
        let mut behind = Chain::new(Gateway::default());
        behind.receive(&bytes);
        behind.finalize(tip);
        assert_eq!(behind.missing(), None);
        // Two looks for the first one, and none for those after it.
        let mut wanted = behind.missing();
        let mut answers = 0;
        while let Some(digest) = wanted {
            let given = ahead.bytes(&digest).expect("it is kept");
            wanted = behind.receive(&given);
            answers += 1;
            // The other nodes answered, too.
            assert_eq!(behind.receive(&given), None);
        }
        assert_eq!((behind.tip, answers), (tip, 99));
    }

    #[test]
    fn a_block_that_nobody_asked_for_asks_for_none() {
        let (first, _) = block(genesis(), 1);
        let (second, second_bytes) = block(first, 2);
        let (_, third_bytes) = block(second, 3);
        let mut chain = Chain::new(Gateway::default());
        chain.receive(&second_bytes);
        chain.finalize(second);
        assert_eq!(
            chain.receive(&third_bytes),
            None,
            "the first may be on its way"
        );
    }

    #[test]
    fn blocks_below_the_tip_are_kept_up_to_so_many_bytes() {
        let mut chain = Chain::new(Gateway::default());
        let mut digests = vec![genesis()];
        let most = FINALS_BYTES_MAX / BLOCK_BYTES_MAX;
        for view in 0..most as u64 + 2 {
            let (_, mut bytes) = block(digests[digests.len() - 1], view);
            bytes.extend_from_slice(&view.to_le_bytes());
            let length = BLOCK_BYTES_MAX - bytes.len() - 4;
            bytes.extend_from_slice(&(length as u32).to_le_bytes());
            bytes.resize(BLOCK_BYTES_MAX, 0);
            digests.push(Sha256::hash(&[bytes.as_slice()]));
            chain.receive(&bytes);
            chain.finalize(digests[digests.len() - 1]);
        }
        let is_kept = |place: usize| chain.bytes(&digests[place]).is_some();
        // The tip, and below it as many as fit.
        assert!((2..digests.len()).all(is_kept) && !is_kept(1));
        assert_eq!(chain.finals_bytes, FINALS_BYTES_MAX);
    }
}
