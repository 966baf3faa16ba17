//! Finalized blocks on their way out, in height order, each once, parents first (I4).
//!
//! Owns the gap between what is final and what has been delivered: headers found from a finalized
//! block downward, and which bodies are still missing. Never: who is asked for them.

use crate::effect::FinalPath;
use crate::header::Header;
use crate::limits;
use crate::message::BlockRef;
use crate::types::{BlockId, Height, Point};
use alloc::collections::btree_map::Entry;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

#[derive(Debug)]
struct Undelivered {
    id: BlockId,
    header: Header,
    path: FinalPath,
    has_body: bool,
}

/// The queue of finalized, undelivered blocks.
#[derive(Debug)]
pub(crate) struct Delivery {
    delivered: Height,
    delivered_id: BlockId,
    /// Bound: `UNDELIVERED_BLOCKS_MAX` from above, `BACKFILL_HEADERS_MAX` of history.
    waiting: BTreeMap<Height, Undelivered>,
    /// Heights of `waiting` whose bodies are not here.
    bodiless: BTreeSet<Height>,
    /// Where a gap too wide for one pass is cut: the lowest proof found above `delivered`.
    stage: Option<BlockRef>,
}

/// What has to be asked for next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gap {
    /// Headers from this block downward.
    History(BlockRef),
    /// A finality proof at or a little above this height: the gap is too wide to hold.
    Proof(Height),
}

impl Delivery {
    pub(crate) const fn new(delivered: Point) -> Self {
        Self {
            delivered: delivered.height,
            delivered_id: delivered.id,
            waiting: BTreeMap::new(),
            bodiless: BTreeSet::new(),
            stage: None,
        }
    }

    pub(crate) const fn delivered(&self) -> Height {
        self.delivered
    }

    /// Adds a finalized block known from a live window.
    pub(crate) fn push(&mut self, id: BlockId, header: Header, path: FinalPath, has_body: bool) {
        if header.height <= self.delivered {
            return;
        }
        let entry = Undelivered {
            id,
            header,
            path,
            has_body,
        };
        if let Entry::Vacant(place) = self.waiting.entry(header.height) {
            place.insert(entry);
            if !has_body {
                self.bodiless.insert(header.height);
            }
            self.drop_beyond_bound();
        }
    }

    /// Keeps the lowest blocks, which are delivered first, and the highest one, below which history
    /// brings the rest again.
    fn drop_beyond_bound(&mut self) {
        if self.waiting.len() <= limits::UNDELIVERED_BLOCKS_MAX {
            return;
        }
        let Some((&highest, _)) = self.waiting.last_key_value() else {
            return;
        };
        if let Some((&second, _)) = self.waiting.range(..highest).next_back() {
            self.waiting.remove(&second);
            self.bodiless.remove(&second);
        }
    }

    /// Whether this block waits to be delivered.
    pub(crate) fn holds(&self, height: Height, id: BlockId) -> bool {
        let held = self.waiting.get(&height);
        held.is_some_and(|entry| entry.id == id)
    }

    fn holds_header(&self, header: &Header) -> bool {
        let held = self.waiting.get(&header.height);
        held.is_some_and(|entry| entry.header == *header)
    }

    /// The next block, when its parent is delivered and its body is here.
    pub(crate) fn pop(&mut self) -> Option<(BlockId, Header, FinalPath)> {
        let first = self.waiting.first_entry()?;
        let fits = *first.key() == self.delivered.next()
            && first.get().header.parent_id == self.delivered_id
            && first.get().has_body;
        if !fits {
            return None;
        }
        let Undelivered {
            id, header, path, ..
        } = first.remove();
        self.delivered = header.height;
        self.delivered_id = id;
        if self
            .stage
            .is_some_and(|stage| stage.height <= self.delivered)
        {
            self.stage = None;
        }
        Some((id, header, path))
    }

    /// What stands between the delivered block and the lowest header above it that links down.
    pub(crate) fn gap(&self) -> Option<Gap> {
        let lowest = self.lowest_linked()?;
        if lowest.height <= self.delivered {
            return None;
        }
        let missing = lowest
            .height
            .number()
            .saturating_sub(self.delivered.number());
        if missing > limits::BACKFILL_HEADERS_MAX as u64 && self.stage.is_none() {
            let half = (limits::BACKFILL_HEADERS_MAX / 2) as u64;
            return Some(Gap::Proof(self.delivered.plus(half)));
        }
        Some(Gap::History(lowest))
    }

    /// The parent of the lowest header held above `delivered` (below the stage, when one is set).
    fn lowest_linked(&self) -> Option<BlockRef> {
        let (height, first) = self.waiting.first_key_value()?;
        if *height == self.delivered.next() {
            return None;
        }
        let parent = BlockRef {
            height: height.previous()?,
            id: first.header.parent_id,
        };
        match self.stage {
            Some(stage) if stage.height < *height => Some(stage),
            _ => Some(parent),
        }
    }

    /// Sets where to cut a wide gap, from a verified proof. One that stands lower than was asked
    /// for cuts off too little, and none takes the place of another: a peer that told of each block
    /// by itself would have them fetched one by one.
    pub(crate) fn set_stage(&mut self, point: Point) {
        let Some(Gap::Proof(at_least)) = self.gap() else {
            return;
        };
        let reach = self.delivered.plus(limits::BACKFILL_HEADERS_MAX as u64);
        if point.height >= at_least && point.height <= reach {
            self.stage = Some(BlockRef {
                height: point.height,
                id: point.id,
            });
        }
    }

    /// Takes headers of history, highest first, as far as each is named by the one above it; what
    /// is held already is passed over, since two may have answered. `true` when one was new.
    pub(crate) fn push_history(&mut self, headers: &[Header]) -> bool {
        let mut taken = false;
        let mut next = headers.iter().peekable();
        while next.next_if(|header| self.holds_header(header)).is_some() {}
        for header in next {
            let Some(Gap::History(wanted)) = self.gap() else {
                break;
            };
            let id = header.id();
            if wanted.id != id || wanted.height != header.height {
                break;
            }
            let entry = Undelivered {
                id,
                header: *header,
                path: FinalPath::Proof,
                has_body: false,
            };
            self.waiting.insert(header.height, entry);
            self.bodiless.insert(header.height);
            taken = true;
        }
        taken
    }

    /// Whether the body of this block is what delivery waits for.
    pub(crate) fn wants_body(&self, height: Height, id: BlockId) -> bool {
        self.waiting
            .get(&height)
            .is_some_and(|entry| entry.id == id && !entry.has_body)
    }

    /// Notes that a body is with the journal now.
    pub(crate) fn note_body(&mut self, height: Height, id: BlockId) {
        if let Some(entry) = self.waiting.get_mut(&height)
            && entry.id == id
        {
            entry.has_body = true;
            self.bodiless.remove(&height);
        }
    }

    /// The lowest blocks whose bodies are missing and whose headers link down to the delivered
    /// block, so that each body can be delivered as it comes.
    pub(crate) fn bodies_wanted(&self, count_max: usize) -> Vec<BlockRef> {
        if self.gap().is_some() {
            return Vec::new();
        }
        self.bodiless
            .iter()
            .take(count_max)
            .filter_map(|height| self.waiting.get(height))
            .map(|entry| BlockRef {
                height: entry.header.height,
                id: entry.id,
            })
            .collect()
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::header::HEADER_VERSION;
    use crate::types::{Epoch, Index, Window};

    fn id(mark: u8) -> BlockId {
        BlockId::new([mark; 32])
    }

    fn header(height: u64, parent_id: BlockId) -> Header {
        Header {
            version: HEADER_VERSION,
            flags: 0,
            chain_id: [0; 32],
            epoch: Epoch::ZERO,
            set_hash: [0; 32],
            window: Window::ZERO,
            index: Index::ZERO,
            height: Height::new(height),
            time_ns: height,
            parent_id,
            payload_hash: [0; 32],
            payload_bytes: 0,
        }
    }

    fn point(height: u64, id: BlockId) -> Point {
        header(height, id).point(id)
    }

    fn fresh() -> Delivery {
        Delivery::new(point(0, id(0)))
    }

    const FAST: FinalPath = FinalPath::Fast;

    #[test]
    fn a_block_is_delivered_on_its_parent_alone_and_with_its_body() {
        let mut delivery = fresh();
        delivery.push(id(9), header(1, id(8)), FAST, true);
        assert!(delivery.pop().is_none(), "another parent");
        let mut delivery = fresh();
        delivery.push(id(2), header(2, id(0)), FAST, true);
        assert!(delivery.pop().is_none(), "over a gap");
        let mut delivery = fresh();
        delivery.push(id(1), header(1, id(0)), FAST, false);
        assert!(delivery.pop().is_none(), "without its body");
        assert!(!delivery.wants_body(Height::new(1), id(2)));
        assert!(delivery.wants_body(Height::new(1), id(1)));
        delivery.note_body(Height::new(1), id(1));
        assert!(!delivery.wants_body(Height::new(1), id(1)), "it is here");
        assert!(delivery.pop().is_some() && delivery.is_idle());
        // What was delivered does not come again.
        delivery.push(id(1), header(1, id(0)), FAST, true);
        assert!(delivery.is_idle());
    }

    #[test]
    fn the_body_of_another_block_of_its_height_is_none_of_a_final_one() {
        let mut delivery = fresh();
        delivery.push(id(1), header(1, id(0)), FAST, false);
        delivery.note_body(Height::new(1), id(2));
        assert!(delivery.pop().is_none());
        assert_eq!(delivery.bodies_wanted(9).len(), 1, "still asked for");
        delivery.note_body(Height::new(1), id(1));
        assert_eq!(delivery.pop().map(|(id, ..)| id), Some(id(1)));
    }

    #[test]
    fn history_is_taken_as_far_as_each_header_is_named_by_the_one_above() {
        let mut delivery = fresh();
        let below = header(1, id(0));
        let middle = header(2, below.id());
        delivery.push(id(3), header(3, middle.id()), FAST, true);
        let wanted = |height, id| Some(Gap::History(BlockRef { height, id }));
        assert_eq!(delivery.gap(), wanted(Height::new(2), middle.id()));
        let other = header(2, id(7));
        assert!(!delivery.push_history(&[other]));
        assert!(delivery.push_history(&[middle, other, below]));
        assert_eq!(delivery.gap(), wanted(Height::new(1), below.id()));
        assert!(delivery.push_history(&[below]));
        assert_eq!(delivery.gap(), None);
        let wanted = delivery.bodies_wanted(9);
        assert_eq!(wanted.len(), 2);
    }

    #[test]
    fn a_gap_that_is_too_wide_to_hold_is_cut_by_a_proof_that_is_near_enough() {
        let most = limits::BACKFILL_HEADERS_MAX as u64;
        let top = |height| {
            let mut delivery = fresh();
            delivery.push(id(9), header(height, id(8)), FAST, true);
            delivery
        };
        let is_history = |delivery: &Delivery| matches!(delivery.gap(), Some(Gap::History(_)));
        assert!(is_history(&top(most + 1)));
        let mut delivery = top(most + 2);
        let far = Some(Gap::Proof(Height::new(most / 2)));
        assert_eq!(delivery.gap(), far);
        delivery.set_stage(point(most + 1, id(5)));
        assert_eq!(delivery.gap(), far, "out of reach");
        delivery.set_stage(point(0, id(5)));
        assert_eq!(delivery.gap(), far, "delivered");
        delivery.set_stage(point(most / 2 - 1, id(5)));
        assert_eq!(delivery.gap(), far, "lower than was asked for");
        delivery.set_stage(point(most, id(5)));
        let stage = |height, id| {
            let height = Height::new(height);
            Some(Gap::History(BlockRef { height, id }))
        };
        assert_eq!(delivery.gap(), stage(most, id(5)));
        delivery.set_stage(point(most / 2, id(4)));
        assert_eq!(delivery.gap(), stage(most, id(5)), "it has one");
        // From the stage the history goes on downward.
        let blocks = chain(limits::BACKFILL_HEADERS_MAX / 2);
        let mut history: Vec<Header> = blocks.iter().map(|(_, header)| *header).collect();
        history.reverse();
        let mut delivery = top(3 * most);
        delivery.set_stage(history[0].point(history[0].id()));
        assert!(delivery.push_history(&history[..1]));
        assert_eq!(delivery.gap(), stage(most / 2 - 1, history[1].id()));
        assert!(!delivery.push_history(&history[..1]), "it is held");
        // What another peer sent meanwhile spoils no answer.
        assert!(delivery.push_history(&history));
        assert_eq!(delivery.gap(), None);
        // A stage that is reached is none any more.
        for (id, header) in &blocks {
            delivery.note_body(header.height, *id);
            assert!(delivery.pop().is_some());
        }
        let next = Some(Gap::Proof(Height::new(most)));
        assert_eq!(delivery.gap(), next);
    }

    /// A chain from height 1, each block named by the one above it.
    fn chain(count: usize) -> Vec<(BlockId, Header)> {
        let mut below = id(0);
        let mut blocks = Vec::new();
        for height in 1..=count as u64 {
            let header = header(height, below);
            below = header.id();
            blocks.push((below, header));
        }
        blocks
    }

    const MOST: usize = limits::UNDELIVERED_BLOCKS_MAX;

    #[test]
    fn what_is_final_above_a_gap_is_held_up_to_a_bound_and_the_highest_of_it() {
        let mut delivery = fresh();
        for height in 3..3 + 2 * MOST as u64 {
            delivery.push(id(1), header(height, id(1)), FAST, height % 2 == 0);
            assert!(delivery.waiting.len() <= MOST);
        }
        assert_eq!(delivery.waiting.len(), MOST);
        let heights: Vec<u64> = delivery.waiting.keys().map(|at| at.number()).collect();
        assert_eq!(heights[MOST - 2], MOST as u64 + 1, "the lowest are kept");
        assert_eq!(
            heights[MOST - 1],
            2 * MOST as u64 + 2,
            "and the highest one"
        );
        assert_eq!(
            delivery.bodiless.len(),
            MOST / 2,
            "what goes is wanted no more"
        );
        assert!(delivery.holds(Height::new(3), id(1)) && !delivery.holds(Height::new(3), id(2)));
        assert!(!delivery.holds(Height::new(MOST as u64 + 2), id(1)));
    }

    /// A chain comes highest first, and its lowest part belongs to what is kept.
    #[test]
    fn what_is_dropped_is_the_highest_but_one_in_whichever_order_a_chain_comes() {
        let mut delivery = fresh();
        let held = MOST as u64;
        for height in 2..held {
            delivery.push(id(1), header(height, id(1)), FAST, true);
        }
        for height in (held..held + 9).rev() {
            delivery.push(id(1), header(height, id(1)), FAST, true);
        }
        let top: Vec<u64> = delivery.waiting.keys().map(|at| at.number()).collect();
        assert_eq!(top[MOST - 3..], [held - 1, held, held + 8]);
    }

    /// What was not held comes as history, cut by proofs where that is too long as well.
    #[test]
    fn a_gap_below_more_than_is_held_closes_and_everything_is_delivered_once_in_order() {
        let gap = limits::BACKFILL_HEADERS_MAX * 3 / 2;
        let blocks = chain(gap + 3 * MOST / 2);
        let mut delivery = fresh();
        for (id, header) in &blocks[gap..] {
            delivery.push(*id, *header, FAST, true);
        }
        let mut delivered = Vec::new();
        let (mut proofs, mut bodies) = (0, 0);
        while !delivery.is_idle() {
            match delivery.gap() {
                Some(Gap::History(top)) => {
                    let top = top.height.number() as usize;
                    let from = top.saturating_sub(limits::HEADERS_PER_ANSWER_MAX);
                    let answer = blocks[from..top].iter().rev();
                    let answer: Vec<Header> = answer.map(|(_, header)| *header).collect();
                    assert!(delivery.push_history(&answer), "{top}");
                }
                Some(Gap::Proof(at_least)) => {
                    proofs += 1;
                    let (id, header) = &blocks[at_least.number() as usize - 1];
                    delivery.set_stage(header.point(*id));
                }
                None => {
                    let wanted = delivery.bodies_wanted(limits::BODIES_PER_REQUEST_MAX);
                    bodies += wanted.len();
                    for block in &wanted {
                        delivery.note_body(block.height, block.id);
                    }
                    let before = delivered.len();
                    while let Some((id, header, _)) = delivery.pop() {
                        delivered.push((id, header));
                    }
                    assert!(delivered.len() > before, "stuck at {before}");
                }
            }
            assert!(delivery.waiting.len() <= MOST + limits::BACKFILL_HEADERS_MAX);
        }
        assert!(delivered == blocks, "all of them, once, in order");
        assert_eq!(
            bodies,
            gap + MOST / 2,
            "what was held is not asked for again"
        );
        assert_eq!(proofs, 3, "both gaps were too wide");
    }
}
