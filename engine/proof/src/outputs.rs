//! What the application put out, as one hash: a list of hashes for each block, and a tree over all
//! blocks of the chain. docs/proof-format.md says why it is built so.
//!
//! Owns the hashing of outputs, for the validator that executes and for who checks it. Never:
//! execution, or who may see an output.

use blake3::hazmat::{HasherExt as _, Mode, merge_subtrees_non_root, merge_subtrees_root};

use crate::tree::{Hash, Steps, climb};

/// Place of the section of outputs among the sections of a state, in root order.
pub const OUTPUTS_PLACE: usize = 1;

/// BLAKE3 keys: what is hashed under one of them is never taken for what is hashed under another.
const OUTPUT_KEY: &Hash = b"quorate/outputs/v1/output.......";
const OUTCOMES_KEY: &Hash = b"quorate/outputs/v1/outcomes.....";
const LIST_KEY: &Hash = b"quorate/outputs/v1/list.........";
const BLOCK_KEY: &Hash = b"quorate/outputs/v1/block........";
const NODE_KEY: &Hash = b"quorate/outputs/v1/node.........";
const ROOT_KEY: &Hash = b"quorate/outputs/v1/root.........";

const HASH_BYTES: usize = 32;
/// Hashes that one chunk of BLAKE3 takes.
pub(crate) const HASHES_PER_CHUNK: usize = blake3::CHUNK_LEN / HASH_BYTES;
/// Stands for the command of an output that a timer or a time-out made.
pub(crate) const NO_COMMAND: u32 = u32::MAX;

pub(crate) fn keyed(key: &Hash, bytes: &[u8]) -> Hash {
    *blake3::keyed_hash(key, bytes).as_bytes()
}

/// Appends what stands before an output's bytes: its number in the block, the command that made
/// it, and for whom it is.
pub(crate) fn put_head(
    number: u32,
    command: Option<u32>,
    session: Option<&[u8; 16]>,
    bytes: &mut Vec<u8>,
) {
    bytes.extend_from_slice(&number.to_le_bytes());
    bytes.extend_from_slice(&command.unwrap_or(NO_COMMAND).to_le_bytes());
    bytes.push(u8::from(session.is_some()));
    bytes.extend_from_slice(session.map_or(&[], |session| &session[..]));
}

/// The hash of an output, from its head and its bytes.
pub(crate) fn output_hash(encoded: &[u8]) -> Hash {
    keyed(OUTPUT_KEY, encoded)
}

/// The hash of the outcomes of a block's commands, a byte each.
pub(crate) fn outcomes_hash(outcomes: &[u8]) -> Hash {
    keyed(OUTCOMES_KEY, outcomes)
}

/// The hashes of everything that one block put out, in the order of their numbers, and behind them
/// that of its commands' outcomes. Reused: [`clear`](Self::clear) keeps the memory.
#[derive(Clone, Debug, Default)]
pub struct BlockOutputs {
    /// Hash behind hash.
    hashes: Vec<u8>,
    scratch: Vec<u8>,
}

/// All that one block put out, in short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListRoot {
    /// Hashes in its list: one more than it has outputs.
    pub count: u32,
    /// The hash of the list.
    pub hash: [u8; 32],
}

/// The way from one hash of a block's list to the hash of the list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListPath {
    /// Hashes in the list.
    pub count: u32,
    /// The others of the 32 hashes, or fewer at the end of the list, among which it stands. Bound:
    /// 31.
    pub neighbours: Vec<[u8; 32]>,
    /// Siblings of these 32, bottom up. Bound: 32.
    pub path: Vec<[u8; 32]>,
}

impl BlockOutputs {
    /// Forgets the block and keeps the memory.
    pub fn clear(&mut self) {
        self.hashes.clear();
    }

    /// Adds the block's next output: the command that made it, none for a timer; the session that
    /// gets it, none for the public stream.
    pub fn push(&mut self, command: Option<u32>, session: Option<&[u8; 16]>, bytes: &[u8]) {
        let number = self.len();
        self.scratch.clear();
        put_head(number, command, session, &mut self.scratch);
        self.scratch.extend_from_slice(bytes);
        self.hashes.extend_from_slice(&output_hash(&self.scratch));
    }

    /// Ends the block by what became of its commands.
    pub fn close(&mut self, outcomes: impl IntoIterator<Item = u8>) {
        self.scratch.clear();
        self.scratch.extend(outcomes);
        self.hashes.extend_from_slice(&outcomes_hash(&self.scratch));
    }

    /// How many hashes there are.
    #[must_use]
    pub fn len(&self) -> u32 {
        u32::try_from(self.hashes.len() / HASH_BYTES).unwrap_or(u32::MAX)
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }

    /// The hashes from this place on, end to end.
    #[must_use]
    pub fn since(&self, place: u32) -> &[u8] {
        let start = (place as usize).saturating_mul(HASH_BYTES);
        self.hashes.get(start..).unwrap_or_default()
    }

    /// The whole list.
    #[must_use]
    pub fn root(&self) -> ListRoot {
        ListRoot {
            count: self.len(),
            hash: keyed(LIST_KEY, &self.hashes),
        }
    }

    /// How the hash at a place leads to [`root`](Self::root); none when there is no such place.
    #[must_use]
    pub fn path(&self, place: u32) -> Option<ListPath> {
        let (hashes, _) = self.hashes.as_chunks::<HASH_BYTES>();
        hashes.get(place as usize)?;
        let chunk = place as usize / HASHES_PER_CHUNK;
        let chunks = hashes.len().div_ceil(HASHES_PER_CHUNK);
        let own = hashes.chunks(HASHES_PER_CHUNK).nth(chunk)?;
        let others = own.iter().enumerate();
        let others = others.filter(|(other, _)| *other != place as usize % HASHES_PER_CHUNK);
        let below = |[from, to]: [u64; 2]| {
            let [from, to] = [from, to].map(|chunk| chunk as usize * blake3::CHUNK_LEN);
            let bytes = self.hashes.get(from..to.min(self.hashes.len()));
            part_of_list(from as u64, bytes.unwrap_or_default())
        };
        let steps = Steps::new(chunk as u64, chunks as u64)?;
        Some(ListPath {
            count: self.len(),
            neighbours: others.map(|(_, hash)| *hash).collect(),
            path: steps.map(|step| below(step.leaves)).collect(),
        })
    }
}

/// The chaining value of a part of a list that is not all of it.
fn part_of_list(offset: u64, bytes: &[u8]) -> Hash {
    let mut hasher = blake3::Hasher::new_keyed(LIST_KEY);
    hasher.set_input_offset(offset);
    hasher.update(bytes);
    hasher.finalize_non_root()
}

impl ListPath {
    /// The list that has `hash` at `place`; none when the way is of another shape than a list of so
    /// many hashes has.
    #[must_use]
    pub fn root(&self, place: u32, hash: &[u8; 32]) -> Option<ListRoot> {
        let (count, hash) = (self.count, self.hash_of_list(place, hash)?);
        Some(ListRoot { count, hash })
    }

    fn hash_of_list(&self, place: u32, hash: &Hash) -> Option<Hash> {
        let (count, at) = (self.count as usize, place as usize);
        if at >= count {
            return None;
        }
        let (chunk, slot) = (at / HASHES_PER_CHUNK, at % HASHES_PER_CHUNK);
        let begin = chunk * HASHES_PER_CHUNK;
        if self.neighbours.len() + 1 != HASHES_PER_CHUNK.min(count - begin) {
            return None;
        }
        let mut bytes = Vec::with_capacity(blake3::CHUNK_LEN);
        let (before, behind) = self.neighbours.split_at_checked(slot)?;
        bytes.extend_from_slice(before.as_flattened());
        bytes.extend_from_slice(hash);
        bytes.extend_from_slice(behind.as_flattened());
        if count <= HASHES_PER_CHUNK {
            return self.path.is_empty().then(|| keyed(LIST_KEY, &bytes));
        }
        let leaf = part_of_list((begin * HASH_BYTES) as u64, &bytes);
        let chunks = count.div_ceil(HASHES_PER_CHUNK) as u64;
        climb(
            (chunk as u64, chunks),
            leaf,
            &self.path,
            |left, right, is_root| {
                let mode = Mode::KeyedHash(LIST_KEY);
                match is_root {
                    true => *merge_subtrees_root(left, right, mode).as_bytes(),
                    false => merge_subtrees_non_root(left, right, mode),
                }
            },
        )
    }
}

fn block_hash(height: u64, id: &Hash, list: &ListRoot) -> Hash {
    let mut bytes = [0; 76];
    bytes[..8].copy_from_slice(&height.to_le_bytes());
    bytes[8..40].copy_from_slice(id);
    bytes[40..44].copy_from_slice(&list.count.to_le_bytes());
    bytes[44..].copy_from_slice(&list.hash);
    keyed(BLOCK_KEY, &bytes)
}

pub(crate) fn node_hash(left: &Hash, right: &Hash) -> Hash {
    let mut bytes = [0; 64];
    bytes[..32].copy_from_slice(left);
    bytes[32..].copy_from_slice(right);
    keyed(NODE_KEY, &bytes)
}

fn section_root(count: u64, top: &Hash) -> Hash {
    let mut bytes = [0; 40];
    bytes[..8].copy_from_slice(&count.to_le_bytes());
    bytes[8..].copy_from_slice(top);
    keyed(ROOT_KEY, &bytes)
}

/// The tree over the outputs of all blocks from height 1 on, as far as it takes to go on: the
/// complete subtrees. This is the section of outputs of the replicated state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OutputHistory {
    /// Blocks in the tree: the height of the last one.
    count: u64,
    /// Tops of the complete subtrees, the greatest first: one a bit that is set in `count`.
    peaks: Vec<Hash>,
}

/// Why bytes are no section of outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{found} bytes are not those of the outputs of {blocks} blocks")]
pub struct HistoryError {
    /// How many bytes there are.
    found: usize,
    /// How many blocks the first eight of them tell of; 0 when there are fewer than eight.
    blocks: u64,
}

impl OutputHistory {
    /// Height of the last block in it; 0 at genesis.
    #[must_use]
    pub const fn height(&self) -> u64 {
        self.count
    }

    /// Adds the next block, by its name and its list.
    pub fn push(&mut self, id: &[u8; 32], list: &ListRoot) {
        self.push_tree(0, block_hash(self.count.saturating_add(1), id, list));
    }

    /// Adds a complete subtree over `2^level` leaves; so many divide the height.
    pub(crate) fn push_tree(&mut self, level: u32, top: Hash) {
        let (mut node, mut count) = (top, self.count >> level);
        while count % 2 == 1
            && let Some(left) = self.peaks.pop()
        {
            node = node_hash(&left, &node);
            count /= 2;
        }
        self.peaks.push(node);
        self.count = self.count.saturating_add(1 << level);
    }

    /// Tops of the complete subtrees, the greatest first.
    pub(crate) fn tops(&self) -> &[Hash] {
        &self.peaks
    }

    /// None when a tree of so many leaves has another number of tops.
    pub(crate) fn from_tops(count: u64, tops: &[Hash]) -> Option<Self> {
        let peaks = tops.to_vec();
        (peaks.len() == count.count_ones() as usize).then_some(Self { count, peaks })
    }

    /// The top of the whole tree; zero when it is empty.
    pub(crate) fn top(&self) -> Hash {
        let mut peaks = self.peaks.iter().rev();
        let last = peaks.next().copied().unwrap_or_default();
        peaks.fold(last, |right, left| node_hash(left, &right))
    }

    /// The root of the section.
    #[must_use]
    pub fn root(&self) -> [u8; 32] {
        section_root(self.count, &self.top())
    }

    /// Appends the canonical bytes of the section.
    pub fn encode(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.count.to_le_bytes());
        bytes.extend_from_slice(self.peaks.as_flattened());
    }

    /// Reads the canonical bytes of the section.
    ///
    /// # Errors
    /// [`HistoryError`]: they are of another length than the tree has that they tell of.
    pub fn decode(bytes: &[u8]) -> Result<Self, HistoryError> {
        let found = bytes.len();
        let none = HistoryError { found, blocks: 0 };
        let (count, rest) = bytes.split_first_chunk().ok_or(none)?;
        let count = u64::from_le_bytes(*count);
        let (peaks, odd) = rest.as_chunks::<HASH_BYTES>();
        if peaks.len() != count.count_ones() as usize || !odd.is_empty() {
            let blocks = count;
            return Err(HistoryError { found, blocks });
        }
        let peaks = peaks.to_vec();
        Ok(Self { count, peaks })
    }

    /// Begins the way from the next block, which is not in here yet, to the top of the tree of all
    /// blocks up to `height`. None when the next block is above that.
    #[must_use]
    pub fn way_to(&self, height: u64) -> Option<HistoryPath> {
        let mut peaks = self.peaks.iter().rev();
        let (mut path, mut missing) = (Vec::new(), Vec::new());
        for step in Steps::new(self.count, height)? {
            match step.is_left {
                // What stands left of the next leaf are the complete subtrees, smallest first.
                true => path.push(peaks.next().copied().unwrap_or_default()),
                false => {
                    missing.push((path.len(), step.leaves[1]));
                    path.push([0; 32]);
                }
            }
        }
        missing.reverse();
        Some(HistoryPath {
            blocks: self.count.saturating_add(1),
            path,
            missing,
            part: Self::default(),
        })
    }
}

/// The way from one block to the top of a later tree, in the making.
#[derive(Clone, Debug)]
pub struct HistoryPath {
    /// Blocks up to here are known: the one in question, and those after it that were told.
    blocks: u64,
    path: Vec<Hash>,
    /// Places in the way that wait, and up to which block each; the next one last.
    missing: Vec<(usize, u64)>,
    /// What is known of the next one.
    part: OutputHistory,
}

impl HistoryPath {
    /// Takes the block that comes after the one in question, and then each next one.
    pub fn push(&mut self, id: &[u8; 32], list: &ListRoot) {
        self.blocks = self.blocks.saturating_add(1);
        let leaf = block_hash(self.blocks, id, list);
        let Some(&(place, end)) = self.missing.last() else {
            return;
        };
        self.part.push_tree(0, leaf);
        if self.blocks == end {
            let part = std::mem::take(&mut self.part);
            if let Some(sibling) = self.path.get_mut(place) {
                *sibling = part.top();
            }
            self.missing.pop();
        }
    }

    /// The siblings bottom up, once all blocks were told.
    #[must_use]
    pub fn finish(self) -> Option<Vec<[u8; 32]>> {
        self.missing.is_empty().then_some(self.path)
    }
}

/// The root of the section of outputs after the block `last`, given the way from the block of
/// `height` up; none when the way is of another length.
pub(crate) fn history_root(
    (height, last): (u64, u64),
    id: &Hash,
    list: &ListRoot,
    path: &[Hash],
) -> Option<Hash> {
    let place = height.checked_sub(1)?;
    let leaf = block_hash(height, id, list);
    let merge = |left: &Hash, right: &Hash, _| node_hash(left, right);
    let top = climb((place, last), leaf, path, merge)?;
    Some(section_root(last, &top))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: ListRoot = ListRoot {
        count: 1,
        hash: [2; 32],
    };

    fn list(outputs: u32) -> BlockOutputs {
        let mut list = BlockOutputs::default();
        for number in 0..outputs {
            let session = [number as u8; 16];
            let session = number.is_multiple_of(2).then_some(&session);
            list.push(number.checked_sub(1), session, &number.to_le_bytes());
        }
        list.close([0; 3]);
        list
    }

    #[test]
    fn every_hash_of_a_list_leads_to_its_root_and_to_no_other_from_another_place() {
        for outputs in [0, 1, 30, 31, 32, 33, 62, 63, 64, 65, 150, 333] {
            let list = list(outputs);
            let (hashes, _) = list.hashes.as_chunks::<32>();
            for (place, hash) in (0..).zip(hashes) {
                let path = list.path(place).expect("there");
                assert_eq!(
                    path.root(place, hash),
                    Some(list.root()),
                    "{place} of {outputs}"
                );
                assert_ne!(path.root(place, &[0; 32]), Some(list.root()));
                if let Some(before) = place.checked_sub(1) {
                    assert_ne!(path.root(before, hash), Some(list.root()));
                }
                assert_eq!(path.root(path.count, hash), None);
            }
            assert_eq!(list.path(outputs + 1), None);
        }
    }

    #[test]
    fn a_list_says_what_is_in_it_and_a_cleared_one_is_like_new() {
        let mut list = list(40);
        let all = list.hashes.clone();
        assert!(!list.is_empty() && list.len() == 41);
        assert_eq!(list.since(0), all);
        assert_eq!(list.since(40), &all[40 * 32..]);
        for nothing in [41, 42, u32::MAX] {
            assert_eq!(list.since(nothing), [0; 0]);
        }
        list.clear();
        assert!(list.is_empty());
        assert_eq!(list.len(), 0);
        assert_eq!(list.since(0), [0; 0]);
        assert_eq!(list.root(), BlockOutputs::default().root());
        let again = |list: &mut BlockOutputs| {
            list.push(None, None, b"timer");
            list.close([1]);
            list.root()
        };
        assert_eq!(again(&mut list), again(&mut BlockOutputs::default()));
    }

    #[test]
    fn an_output_says_where_it_is_from_whose_it_is_and_what_it_is() {
        let root = |command: Option<u32>, session: Option<&[u8; 16]>, bytes: &[u8]| {
            let mut list = BlockOutputs::default();
            list.push(command, session, bytes);
            list.close([0]);
            list.root()
        };
        let same = root(Some(1), None, b"fill");
        assert_eq!(root(Some(1), None, b"fill"), same);
        assert_ne!(root(Some(2), None, b"fill"), same);
        assert_ne!(root(None, None, b"fill"), same);
        assert_ne!(root(Some(1), Some(&[0; 16]), b"fill"), same);
        assert_ne!(root(Some(1), None, b"fil"), same);
        let mut other = BlockOutputs::default();
        other.push(Some(1), None, b"fill");
        other.close([1]);
        assert_ne!(other.root(), same);
    }

    #[test]
    fn a_block_of_any_height_leads_to_every_later_root_of_the_history() {
        let of = |height: u64| {
            let (count, hash) = (height as u32, [height as u8 ^ 0x55; 32]);
            ([height as u8; 32], ListRoot { count, hash })
        };
        for last in 1..=70 {
            let mut history = OutputHistory::default();
            let mut ways = Vec::new();
            for height in 1..=last {
                assert_eq!(history.height(), height - 1);
                let (id, root) = of(height);
                for (_, way) in &mut ways {
                    HistoryPath::push(way, &id, &root);
                }
                ways.push((height, history.way_to(last).expect("below")));
                history.push(&id, &root);
            }
            assert!(history.way_to(last).is_none());
            for (height, way) in ways {
                let path = way.finish().expect("all blocks were told");
                let (id, root) = of(height);
                let at = (height, last);
                assert_eq!(history_root(at, &id, &root, &path), Some(history.root()));
                assert_ne!(
                    history_root(at, &root.hash, &root, &path),
                    Some(history.root())
                );
                let other = ListRoot { count: 0, ..root };
                assert_ne!(history_root(at, &id, &other, &path), Some(history.root()));
                let below = (height - 1, last);
                assert_ne!(history_root(below, &id, &root, &path), Some(history.root()));
                let other = (height, last + 1);
                assert_ne!(history_root(other, &id, &root, &path), Some(history.root()));
            }
        }
    }

    #[test]
    fn a_way_that_was_not_told_all_blocks_is_none() {
        let mut way = OutputHistory::default().way_to(3).expect("below");
        way.push(&[2; 32], &LIST);
        assert_eq!(way.finish(), None);
    }

    #[test]
    fn the_section_comes_back_and_goes_on_and_bytes_of_another_length_are_none() {
        let mut history = OutputHistory::default();
        for height in 0..70 {
            let mut bytes = Vec::new();
            history.encode(&mut bytes);
            assert_eq!(bytes.len(), 8 + 32 * u64::count_ones(height) as usize);
            let again = OutputHistory::decode(&bytes).expect("the section");
            assert_eq!((again.root(), again.height()), (history.root(), height));
            for cut in 0..bytes.len() {
                assert!(OutputHistory::decode(&bytes[..cut]).is_err());
            }
            bytes.push(0);
            assert!(OutputHistory::decode(&bytes).is_err());
            history = again;
            history.push(&[1; 32], &LIST);
        }
    }
}
