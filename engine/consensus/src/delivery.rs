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
    /// Bound: the live windows above, `BACKFILL_HEADERS_MAX` below.
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
        }
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

    /// Sets where to cut a wide gap, from a verified proof.
    pub(crate) fn set_stage(&mut self, point: Point) {
        let reach = self.delivered.plus(limits::BACKFILL_HEADERS_MAX as u64);
        if point.height > self.delivered && point.height <= reach {
            self.stage = Some(BlockRef {
                height: point.height,
                id: point.id,
            });
        }
    }

    /// Takes headers of history, highest first, as far as each is named by the one above it.
    /// `true` when at least one was new.
    pub(crate) fn push_history(&mut self, headers: &[Header]) -> bool {
        let mut taken = false;
        for header in headers {
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
