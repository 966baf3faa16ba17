//! The shape that all trees of hashes here have: the left part of a tree is the largest power of
//! two below its size. BLAKE3 hashes long inputs so, and certificate transparency its logs.
//!
//! Owns the way from a leaf to the root. Never: what is hashed at a node.

/// A BLAKE3 hash, or a chaining value.
pub(crate) type Hash = [u8; 32];

/// The sibling at one level of the way up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    /// It stands on the left.
    pub(crate) is_left: bool,
    /// The leaves below it: the first, and the one behind the last.
    pub(crate) leaves: [u64; 2],
    /// The node above both is the root.
    pub(crate) is_last: bool,
}

/// The siblings from a leaf of a tree up to its root; none for the only leaf.
#[derive(Clone, Debug)]
pub(crate) struct Steps {
    /// Place of the node at this level.
    place: u64,
    /// Place of the last node at this level.
    last: u64,
    level: u32,
    count: u64,
}

impl Steps {
    /// Of the leaf at `index` among `count`; none when there is no such leaf.
    pub(crate) fn new(index: u64, count: u64) -> Option<Self> {
        let last = count.checked_sub(1)?;
        (index <= last).then_some(Self {
            place: index,
            last,
            level: 0,
            count,
        })
    }

    const fn up(&mut self) {
        self.place >>= 1;
        self.last >>= 1;
        self.level += 1;
    }

    /// First leaf below a node of this level.
    const fn first_leaf(&self, place: u64) -> u64 {
        place.saturating_mul(1 << self.level)
    }
}

impl Iterator for Steps {
    type Item = Step;

    fn next(&mut self) -> Option<Step> {
        if self.last == 0 {
            return None;
        }
        // The last node of a level with an odd number of them has its sibling further up.
        while self.place == self.last && self.place.is_multiple_of(2) {
            self.up();
        }
        let is_left = !self.place.is_multiple_of(2);
        let leaves = if is_left {
            [self.place - 1, self.place].map(|place| self.first_leaf(place))
        } else {
            let behind = self.first_leaf(self.place.saturating_add(2));
            [self.first_leaf(self.place + 1), behind.min(self.count)]
        };
        self.up();
        Some(Step {
            is_left,
            leaves,
            is_last: self.last == 0,
        })
    }
}

/// The root above the leaf `index` of `count`, given its siblings bottom up; `merge` makes a node
/// of its two parts and is told whether it is the root. None when the way has another length.
pub(crate) fn climb(
    (index, count): (u64, u64),
    leaf: Hash,
    path: &[Hash],
    mut merge: impl FnMut(&Hash, &Hash, bool) -> Hash,
) -> Option<Hash> {
    let (mut node, mut siblings) = (leaf, path.iter());
    for step in Steps::new(index, count)? {
        let sibling = siblings.next()?;
        node = match step.is_left {
            true => merge(sibling, &node, step.is_last),
            false => merge(&node, sibling, step.is_last),
        };
    }
    siblings.next().is_none().then_some(node)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaf(number: u64) -> Hash {
        *blake3::hash(&number.to_le_bytes()).as_bytes()
    }

    fn node(left: &Hash, right: &Hash) -> Hash {
        *blake3::hash(&[*left, *right].concat()).as_bytes()
    }

    /// By the definition.
    fn root(from: u64, to: u64) -> Hash {
        match to - from {
            1 => leaf(from),
            count => {
                let left = count.div_ceil(2).next_power_of_two();
                node(&root(from, from + left), &root(from + left, to))
            }
        }
    }

    #[test]
    fn every_leaf_of_every_small_tree_leads_to_its_root() {
        for count in 1..=70 {
            for index in 0..count {
                let steps = Steps::new(index, count).expect("a leaf");
                let path: Vec<Hash> = steps
                    .map(|step| root(step.leaves[0], step.leaves[1]))
                    .collect();
                let mut roots = 0;
                let top = climb(
                    (index, count),
                    leaf(index),
                    &path,
                    |left, right, is_root| {
                        roots += u32::from(is_root);
                        node(left, right)
                    },
                );
                assert_eq!(top, Some(root(0, count)), "{index} of {count}");
                assert_eq!(roots, u32::from(count > 1));
                let longer = [&path[..], &[leaf(0)]].concat();
                let merge = |left: &Hash, right: &Hash, _| node(left, right);
                assert_eq!(climb((index, count), leaf(index), &longer, merge), None);
                if let Some((_, shorter)) = path.split_last() {
                    assert_eq!(climb((index, count), leaf(index), shorter, merge), None);
                }
            }
        }
    }

    #[test]
    fn a_leaf_that_is_not_there_has_no_way_and_huge_trees_have_short_ones() {
        assert!(Steps::new(0, 0).is_none());
        assert!(Steps::new(7, 7).is_none());
        for (index, count) in [(0, u64::MAX), (u64::MAX - 1, u64::MAX), (1 << 63, u64::MAX)] {
            let steps = Steps::new(index, count).expect("a leaf");
            assert!(steps.count() <= 64);
        }
    }
}
