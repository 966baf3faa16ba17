//! The state as hashes.
//!
//! Owns the tree over the resting orders, that over the accounts, and the hashes of the small
//! sections. Never: the bytes
//! of a section, which are `snapshot`'s.
//!
//! **The tree.** The book section is a set of orders, each with a number that is never given
//! twice, and everything else about the book (levels, queues, lists of sessions) follows from
//! that set: queues and lists stand in order of number. So its root is that of a radix tree over
//! the numbers, 16 levels of 16 children: a leaf is the hash of an order's canonical bytes, an
//! inner node the hash of its level and of those children that exist, each behind its place.
//! The shape depends on the set alone and not on how it came about.
//!
//! **Why a tree and not a sum.** Adding up hashes of orders would be cheaper, but clients choose
//! the orders, and against a plain sum of 256 bits the generalized birthday attack finds sets
//! that collide; a sum wide enough to resist (2 KiB) costs more than this tree. Here a collision
//! of roots is a collision of BLAKE3: leaf and inner inputs start with different bytes, and each
//! inner input says its level and which children it has.
//!
//! **What is hashed.** Integers are little-endian.
//!
//! | of | one byte, and behind it |
//! |---|---|
//! | an order | 0, its canonical bytes |
//! | an inner node | 1, its level u8 (0 above the leaves); for each child in order its place u8 and its hash |
//! | the book | 2, count of orders u64, the hash of the node at level 15 if there is one |
//! | another section | 3, length of its name u64, its name, its canonical bytes |
//! | an account | 4, its canonical bytes |
//! | the accounts | 5, count of accounts u64, the hash of the node at level 15 |
//!
//! An account's number in its tree is its place in the list, from 0.
//!
//! **Cost.** An order that is touched is noted, and hashed only when the root is asked for, so
//! one that came and went between two roots costs no hash. The work is at most 16 short hashes
//! for an order touched; as most are young and have neighbouring numbers they share nearly all
//! inner nodes. The shape cannot be bent: numbers are given by the venue, so no client can crowd
//! a node, and no node has more than 16 children.

use crate::orders::{Handle, Order, Orders};
use crate::reports::OrderNumber;
use crate::snapshot::ORDER_BYTES;
use std::collections::BTreeMap;

/// A BLAKE3 hash.
type Hash = [u8; 32];

/// Levels of inner nodes: 16 * 4 bits is the width of a number.
const INNER_LEVELS: u8 = 16;

/// Touched orders that are noted before they are hashed unasked. It bounds the notes, and how long
/// the venue stands still when a root is asked for: to some milliseconds in a book of 100,000
/// orders. A lower bound makes that shorter and the work as a whole greater, as fewer orders
/// share a hash.
const TOUCHED_MAX: usize = 1 << 12;

/// First byte of what is hashed, so that no input of one kind is one of another.
const DOMAIN_LEAF: u8 = 0;
const DOMAIN_INNER: u8 = 1;
const DOMAIN_BOOK: u8 = 2;
const DOMAIN_SECTION: u8 = 3;
const DOMAIN_ACCOUNT: u8 = 4;
const DOMAIN_ACCOUNTS: u8 = 5;

/// The hash of a small section: its name and its canonical bytes.
pub(crate) fn section_root(name: &str, bytes: &[u8]) -> Hash {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&[DOMAIN_SECTION]);
    hasher.update(&(name.len() as u64).to_le_bytes());
    hasher.update(name.as_bytes());
    hasher.update(bytes);
    *hasher.finalize().as_bytes()
}

fn leaf(order: &Order) -> Hash {
    let mut bytes = [0; 1 + ORDER_BYTES];
    bytes[0] = DOMAIN_LEAF;
    bytes[1..].copy_from_slice(&order.canonical_bytes());
    *blake3::hash(&bytes).as_bytes()
}

/// A tree of hashes over things that have numbers.
#[derive(Debug)]
pub(crate) struct HashTree {
    leaves: BTreeMap<u64, Hash>,
    /// `inner[level]` holds the nodes whose index is a number divided by `16^(level + 1)`.
    inner: Vec<BTreeMap<u64, Hash>>,
}

impl Default for HashTree {
    fn default() -> Self {
        Self {
            leaves: BTreeMap::new(),
            inner: vec![BTreeMap::new(); usize::from(INNER_LEVELS)],
        }
    }
}

impl HashTree {
    /// Sets the leaves of these numbers, or removes them; the numbers rise.
    pub(crate) fn update(&mut self, changes: impl Iterator<Item = (u64, Option<Hash>)>) {
        let mut parents = Vec::new();
        for (number, fresh) in changes {
            let old = match fresh {
                Some(hash) => self.leaves.insert(number, hash),
                None => self.leaves.remove(&number),
            };
            if old != fresh && parents.last() != Some(&(number >> 4)) {
                parents.push(number >> 4);
            }
        }
        let mut below = &self.leaves;
        for (level, nodes) in (0..INNER_LEVELS).zip(&mut self.inner) {
            for &index in &parents {
                match inner(level, index, below) {
                    Some(hash) => nodes.insert(index, hash),
                    None => nodes.remove(&index),
                };
            }
            for index in &mut parents {
                *index >>= 4;
            }
            parents.dedup();
            below = nodes;
        }
    }

    /// The root of a section of this many things.
    fn root(&self, domain: u8, count: u64) -> Hash {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&[domain]);
        hasher.update(&count.to_le_bytes());
        if let Some(top) = self.inner.last().and_then(|level| level.get(&0)) {
            hasher.update(top);
        }
        *hasher.finalize().as_bytes()
    }

    /// The root of the accounts section.
    pub(crate) fn accounts_root(&self, count: usize) -> Hash {
        self.root(DOMAIN_ACCOUNTS, count as u64)
    }
}

/// The hash of one account's canonical bytes.
pub(crate) fn account_leaf(bytes: &[u8]) -> Hash {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&[DOMAIN_ACCOUNT]);
    hasher.update(bytes);
    *hasher.finalize().as_bytes()
}

/// The tree over the resting orders.
#[derive(Debug, Default)]
pub(crate) struct OrderTree {
    tree: HashTree,
    /// Orders that came, changed or left since the nodes were hashed. Bound: [`TOUCHED_MAX`].
    touched: Vec<(u64, Handle)>,
}

impl OrderTree {
    /// Notes that an order came, changed or left.
    pub(crate) fn touch(&mut self, number: OrderNumber, handle: Handle) {
        self.touched.push((number.0, handle));
    }

    /// Hashes what was touched if so much was that the notes would grow without bound.
    pub(crate) fn relieve(&mut self, orders: &Orders) {
        if self.touched.len() >= TOUCHED_MAX {
            self.refresh(orders);
        }
    }

    /// The root of the book section.
    pub(crate) fn root(&mut self, orders: &Orders) -> Hash {
        self.refresh(orders);
        self.tree.root(DOMAIN_BOOK, orders.len() as u64)
    }

    fn refresh(&mut self, orders: &Orders) {
        let mut touched = core::mem::take(&mut self.touched);
        touched.sort_unstable();
        touched.dedup();
        let fresh = |&(number, handle): &(u64, Handle)| {
            (number, orders.live(handle, OrderNumber(number)).map(leaf))
        };
        self.tree.update(touched.iter().map(fresh));
        touched.clear();
        self.touched = touched;
    }
}

/// The hash of the inner node at `index` of `level` over its children, if it has any.
fn inner(level: u8, index: u64, below: &BTreeMap<u64, Hash>) -> Option<Hash> {
    let mut bytes = [0; 2 + 16 * 33];
    bytes[..2].copy_from_slice(&[DOMAIN_INNER, level]);
    let mut end = 2;
    // One search from below is cheaper than one for each end of the range.
    let from_first = below.range(index << 4..);
    for (child, hash) in from_first.take_while(|&(child, _)| child >> 4 == index) {
        bytes[end] = (child & 15) as u8;
        bytes[end + 1..end + 33].copy_from_slice(hash);
        end += 33;
    }
    (end > 2).then(|| *blake3::hash(&bytes[..end]).as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::{ClientOrderId, Command, OrderKind, SelfTrade, Side};
    use crate::config::{VenueConfig, VenueLimits};
    use crate::instruments::{Instrument, InstrumentId};
    use crate::venue::{SECTION_BOOK, Venue};
    use quorate::state_machine::{Context, Lane, Output, SessionId, StateMachine as _};

    fn order(number: u64) -> Order {
        Order {
            number: OrderNumber(number),
            session: SessionId([1; 16]),
            client_order: ClientOrderId(number),
            instrument: InstrumentId(0),
            side: Side::Buy,
            price_ticks: 10,
            open_lots: 5,
            executed_lots: 1,
        }
    }

    fn root_of(list: &[Order]) -> Hash {
        let (mut tree, mut orders) = (OrderTree::default(), Orders::default());
        for &order in list {
            let handle = orders.insert(order);
            tree.touch(order.number, handle);
        }
        tree.root(&orders)
    }

    #[test]
    fn the_root_depends_on_the_set_and_not_on_its_history() {
        let numbers = [1, 2, 15, 16, 17, 255, 256, 1 << 40, u64::MAX];
        let straight: Vec<Order> = numbers.iter().map(|&number| order(number)).collect();
        let expected = root_of(&straight);
        let backwards: Vec<Order> = straight.iter().rev().copied().collect();
        assert_eq!(root_of(&backwards), expected);

        // The same set with others that came and went, hashed in between or not.
        for hash_between in [false, true] {
            let (mut tree, mut orders) = (OrderTree::default(), Orders::default());
            for &passing in &[3, 18, 1 << 41, 300] {
                let handle = orders.insert(order(passing));
                tree.touch(OrderNumber(passing), handle);
                if hash_between {
                    assert_ne!(tree.root(&orders), root_of(&[]));
                }
                orders.remove(handle);
                tree.touch(OrderNumber(passing), handle);
            }
            for &order in &straight {
                let handle = orders.insert(order);
                tree.touch(order.number, handle);
            }
            assert_eq!(tree.root(&orders), expected);
        }
    }

    /// Of one byte that says what it is, and these parts.
    fn hash(domain: u8, parts: &[&[u8]]) -> Hash {
        *blake3::hash(&[&[domain], parts.concat().as_slice()].concat()).as_bytes()
    }

    /// The node at the top over a single one that is over the leaves 0x20 to 0x2f.
    fn top_over(lowest: Hash) -> Hash {
        let place = |level| if level == 1 { 2 } else { 0 };
        (1..16).fold(lowest, |below, level| {
            hash(1, &[&[level, place(level)], &below])
        })
    }

    #[test]
    fn a_root_is_the_hash_of_what_the_layout_says() {
        let (one, other) = (order(0x21), order(0x2f));
        let leaf = |order: &Order| hash(0, &[&order.canonical_bytes()]);
        let top = top_over(hash(1, &[&[0, 1], &leaf(&one)]));
        assert_eq!(root_of(&[one]), hash(2, &[&1_u64.to_le_bytes(), &top]));
        let top = top_over(hash(1, &[&[0, 1], &leaf(&one), &[15], &leaf(&other)]));
        let of_both = hash(2, &[&2_u64.to_le_bytes(), &top]);
        assert_eq!(root_of(&[one, other]), of_both);
        assert_eq!(root_of(&[]), hash(2, &[&0_u64.to_le_bytes()]));
        let venue = hash(3, &[&5_u64.to_le_bytes(), b"venue", b"x"]);
        assert_eq!(section_root("venue", b"x"), venue);
        let mut accounts = HashTree::default();
        accounts.update([(0x21, Some(account_leaf(b"x")))].into_iter());
        let top = top_over(hash(1, &[&[0, 1], &hash(4, &[b"x"])]));
        let expected = hash(5, &[&7_u64.to_le_bytes(), &top]);
        assert_eq!(accounts.accounts_root(7), expected);
    }

    #[test]
    fn an_emptied_tree_holds_no_node_and_has_the_root_of_a_new_one() {
        let (mut tree, mut orders) = (OrderTree::default(), Orders::default());
        let empty = tree.root(&orders);
        let handles: Vec<Handle> = (1..200).map(|n| orders.insert(order(n * 1000))).collect();
        for (&handle, number) in handles.iter().zip(1..) {
            tree.touch(OrderNumber(number * 1000), handle);
        }
        assert_ne!(tree.root(&orders), empty);
        for (&handle, number) in handles.iter().zip(1..) {
            orders.remove(handle);
            tree.touch(OrderNumber(number * 1000), handle);
        }
        assert_eq!(tree.root(&orders), empty);
        assert!(tree.tree.leaves.is_empty());
        assert!(tree.tree.inner.iter().all(BTreeMap::is_empty));
    }

    #[test]
    fn every_field_of_an_order_changes_the_root() {
        let base = [order(1), order(2)];
        let changes: [fn(&mut Order); 8] = [
            |o| o.number.0 = 3,
            |o| o.session.0[15] ^= 1,
            |o| o.client_order.0 ^= 1 << 63,
            |o| o.instrument.0 ^= 1,
            |o| o.side = Side::Sell,
            |o| o.price_ticks ^= 1,
            |o| o.open_lots ^= 1,
            |o| o.executed_lots ^= 1,
        ];
        let mut roots = vec![root_of(&base), root_of(&base[..1]), root_of(&[])];
        for change in changes {
            let mut list = base;
            change(&mut list[1]);
            roots.push(root_of(&list));
        }
        let count = roots.len();
        roots.sort_unstable();
        roots.dedup();
        assert_eq!(roots.len(), count, "each state has a root of its own");
    }

    #[test]
    fn notes_are_bounded_without_changing_the_root() {
        let (mut tree, mut orders) = (OrderTree::default(), Orders::default());
        let handle = orders.insert(order(1));
        for _ in 0..TOUCHED_MAX + 10 {
            tree.touch(OrderNumber(1), handle);
            tree.relieve(&orders);
        }
        assert!(tree.touched.len() < TOUCHED_MAX);
        assert_eq!(tree.root(&orders), root_of(&[order(1)]));
    }

    /// By commands, and by what is restored.
    #[test]
    fn a_venue_whose_root_nobody_asks_for_bounds_its_notes() {
        let config = || VenueConfig {
            instruments: vec![Instrument::with_symbol("ONE")],
            admins: Vec::new(),
            limits: VenueLimits::default(),
            clearing: None,
        };
        let mut venue = Venue::new(config()).unwrap();
        let (mut output, mut bytes) = (Output::new(), Vec::new());
        for seq in 1..=TOUCHED_MAX as u64 + 10 {
            let command = Command::New {
                kind: OrderKind::Limit,
                side: Side::Buy,
                self_trade: SelfTrade::CancelResting,
                instrument: InstrumentId(0),
                client_order: ClientOrderId(seq),
                price_ticks: 7,
                size_lots: 1,
            };
            bytes.clear();
            command.encode(&mut bytes);
            // All of one block: with the next one the root of the last would be made.
            let context = Context {
                height: 1,
                index: seq as u32,
                time_ns: 1,
                session: SessionId([1; 16]),
                seq,
                lane: Lane::Order,
            };
            output.clear();
            venue.apply(&context, &bytes, &mut output);
            assert!(venue.market.tree.touched.len() < TOUCHED_MAX);
        }
        assert!(venue.market.orders.len() > TOUCHED_MAX);
        let mut copy = Venue::new(config()).unwrap();
        for section in 0..venue.sections().len() {
            bytes.clear();
            venue.snapshot_section(section, &mut bytes);
            copy.restore_section(section, &bytes).unwrap();
        }
        assert!(copy.market.tree.touched.len() < TOUCHED_MAX);
        assert_eq!(
            copy.section_root(SECTION_BOOK),
            venue.section_root(SECTION_BOOK)
        );
    }

    #[test]
    fn a_changed_order_changes_the_root_only_once_it_is_touched() {
        let (mut tree, mut orders) = (OrderTree::default(), Orders::default());
        let handle = orders.insert(order(1));
        tree.touch(OrderNumber(1), handle);
        let before = tree.root(&orders);
        orders.order_mut(handle).open_lots = 4;
        tree.touch(OrderNumber(1), handle);
        let after = tree.root(&orders);
        assert_ne!(before, after);
        assert_eq!(
            after,
            root_of(&[Order {
                open_lots: 4,
                ..order(1)
            }])
        );
    }
}
