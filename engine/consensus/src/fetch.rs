//! Requests for what is missing: headers, bodies, history.
//!
//! Owns what has been asked of whom and when to ask again. Never: what an answer is worth
//! (blocks, proofs).

mod asked;

use crate::delivery::Gap;
use crate::effect::{Destination, Effect, Effects};
use crate::header::Header;
use crate::limits;
use crate::machine::Consensus;
use crate::message::{BlockRef, Get, Message};
use crate::types::{BlockId, Height, Index, Now, Point, ValidatorIndex, Window};
use crate::window::WindowState;
use crate::window::tree::BlockPlace;
use crate::windows::Walked;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec;
use alloc::vec::Vec;
use asked::Asked;

/// What has been asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Wanted {
    /// Headers that a voter named.
    Headers(Window, ValidatorIndex),
    /// The body of a block in a live window.
    Body(BlockId),
    /// Bodies of history up to a height.
    Bodies,
    /// Headers of the chain of a block that may be a parent.
    Parent(BlockId),
    /// Headers of history below a height.
    History,
    /// A proof to cut a wide gap.
    Proof,
}

/// The chain of one voter's tip, which may come in many answers.
#[derive(Clone, Copy, Debug)]
struct Branch {
    /// The highest index of its last answer that fitted; none when its chain is wanted from the
    /// bottom, since what came last did not fit.
    above: Option<Index>,
    /// Something did not fit already: the next time it is asked at intervals.
    has_misfit: bool,
}

/// The heights that one question for history asks for, and how many were asked before it.
#[derive(Clone, Copy, Debug, Default)]
struct Stretch {
    top: Height,
    /// The first height that is not asked for.
    floor: Height,
    number: u64,
}

impl Stretch {
    /// The stretch to ask for now that all above `top` is here: what is left of the last one, for
    /// as long as not all of it is. An answer is one message, so whoever sends less than it was
    /// asked for has not served, and is waited for no longer.
    fn next(self, top: Height) -> Self {
        if self.floor < top && top <= self.top {
            return self;
        }
        let most = limits::HEADERS_PER_ANSWER_MAX as u64;
        Self {
            top,
            floor: Height::new(top.number().saturating_sub(most)),
            number: self.number.wrapping_add(1),
        }
    }
}

/// What is missing below a parent.
#[derive(Debug)]
enum Missing {
    /// Headers of the chain of this block; with how many came so far in its window.
    Headers(Point, u64),
    /// The lowest bodies.
    Bodies(Vec<BlockRef>),
    /// A block that another one names as its parent and whose place nobody has told.
    Place(BlockRef),
}

impl Missing {
    /// Another value means progress.
    fn mark(&self) -> u64 {
        const BODIES: u64 = 1 << 63;
        const PLACE: u64 = 1 << 62;
        match self {
            Self::Headers(_, brought) => *brought,
            Self::Bodies(blocks) => {
                let lowest = blocks.first().map_or(0, |block| block.height.number());
                BODIES | lowest
            }
            Self::Place(block) => PLACE | block.height.number(),
        }
    }
}

/// What is below a parent.
#[derive(Debug)]
enum Below {
    /// Nothing is missing that is not asked for already.
    Complete,
    /// Nothing can be asked for.
    Unknown,
    Missing(Missing),
}

/// A block of a chain that is walked down.
#[derive(Debug)]
struct Step {
    at: (Window, BlockPlace),
    id: BlockId,
    header: Header,
    has_body: bool,
}

/// How a walk down a chain ended.
#[derive(Clone, Copy, Debug)]
enum ChainEnd {
    /// At the finalized block, or beside it: nobody builds on such a chain.
    Closed,
    /// Where nothing is known below.
    Open,
    /// At a block of another walk, and whether that or anything below it lacks its body.
    Met { lacks_bodies: bool },
}

/// Requests on their way. Bound: one a voter and window, as of their branches, three of history,
/// and `FETCHES_MAX` each of bodies and of parents.
#[derive(Debug, Default)]
pub(crate) struct Fetches {
    asked: BTreeMap<Wanted, Asked>,
    /// Those for bodies of live windows. Bound: `FETCHES_MAX`.
    bodies: BTreeMap<Wanted, Asked>,
    /// Those for what is below parents. Bound: `FETCHES_MAX`.
    parents: BTreeMap<Wanted, Asked>,
    /// When those two were looked through last for what nobody wants any more.
    swept_ns: u64,
    /// How far the chains that voters were asked for have come.
    branches: BTreeMap<(Window, ValidatorIndex), Branch>,
    /// Blocks asked for whose place was not known, and the place when it is. Bound: `PLACES_MAX`.
    places: BTreeMap<BlockId, Option<Point>>,
    /// Blocks whose bodies were asked for since the chain of a parent lacks them. Bound:
    /// `PARENT_BODIES_MAX`.
    parent_bodies: BTreeSet<BlockId>,
    /// The last batch of final bodies asked for, and its number. Bound: `BODIES_PER_REQUEST_MAX`.
    batch: Vec<BlockRef>,
    batches: u64,
    /// The last question for history.
    history: Stretch,
    /// Whose turn it is to be asked for final blocks: the next one's when somebody has not served.
    server: u32,
}

const FETCHES_MAX: usize = 512;
/// After so many attempts without a peer that says it has something, any peer is asked.
const ATTEMPTS_UNABLE: u32 = 2;
/// Of one chain one place at a time is unknown, and there are few chains.
const PLACES_MAX: usize = 256;

/// One request for each parent that a window may have, and half as much again.
const PARENT_BODIES_MAX: usize = limits::VALIDATORS_MAX * limits::BODIES_PER_REQUEST_MAX * 3 / 2;

impl Fetches {
    fn want_parent_bodies(&mut self, blocks: &[BlockRef]) {
        for block in blocks {
            if self.parent_bodies.len() >= PARENT_BODIES_MAX {
                self.parent_bodies.pop_first();
            }
            self.parent_bodies.insert(block.id);
        }
    }

    /// Whether the body of this block was asked for although nothing that is counted here speaks
    /// for it.
    pub(crate) fn has_asked_for_body(&self, id: BlockId) -> bool {
        self.parent_bodies.contains(&id)
    }

    /// The body of a block is here.
    pub(crate) fn note_body(&mut self, id: BlockId) {
        self.parent_bodies.remove(&id);
    }

    pub(crate) fn forget_below(&mut self, window: Window) {
        self.asked
            .retain(|wanted, _| !matches!(wanted, Wanted::Headers(at, _) if *at < window));
        self.branches.retain(|&(at, _), _| at >= window);
        self.places
            .retain(|_, place| place.is_some_and(|point| point.window >= window));
    }

    fn want_place(&mut self, id: BlockId) {
        if self.places.len() >= PLACES_MAX {
            self.places.pop_first();
        }
        self.places.entry(id).or_insert(None);
    }

    /// A block has come: where it stands, if that was asked for. Its headers are fetched next.
    pub(crate) fn note_place(&mut self, point: Point) -> bool {
        let place = self.places.get_mut(&point.id);
        place.is_some_and(|place| place.replace(point).is_none())
    }

    /// Headers of a voter fitted, the last one at `index`: the next question goes on above it.
    pub(crate) fn note_headers(&mut self, window: Window, from: ValidatorIndex, index: Index) {
        let branch = self.branches.entry((window, from)).or_insert(Branch {
            above: None,
            has_misfit: false,
        });
        branch.above = Some(index);
    }

    /// Headers of a voter did not fit: its chain forks below what was asked for.
    pub(crate) fn note_misfit(&mut self, window: Window, from: ValidatorIndex) {
        let whole = Branch {
            above: None,
            has_misfit: true,
        };
        let before = self.branches.insert((window, from), whole);
        if before.is_none_or(|branch| !branch.has_misfit) {
            self.asked.remove(&Wanted::Headers(window, from));
        }
    }

    /// The mark of the next batch of bodies: it changes when nothing of the last one is wanted any
    /// more. Heights do not tell: one batch may hold the last blocks below a gap and one above it.
    fn batch_mark(&self, is_wanted: impl Fn(&BlockRef) -> bool) -> u64 {
        let is_done = !self.batch.iter().any(is_wanted);
        self.batches.wrapping_add(u64::from(is_done))
    }

    /// This batch is asked for.
    fn note_batch(&mut self, mark: u64, blocks: &[BlockRef]) {
        self.batches = mark;
        self.batch.clear();
        self.batch.extend_from_slice(blocks);
    }

    /// The mark of what is missing below a parent. Of bodies the same while the lowest of them is
    /// on its way: each body that comes would call for a whole batch else.
    fn parent_mark(&self, id: BlockId, missing: &Missing) -> u64 {
        let is_on_its_way = match missing {
            Missing::Bodies(blocks) => blocks
                .first()
                .is_some_and(|lowest| self.has_asked_for_body(lowest.id)),
            Missing::Headers(..) | Missing::Place(_) => false,
        };
        let last = self.parents.get(&Wanted::Parent(id));
        let last = last.filter(|_| is_on_its_way).map(|asked| asked.mark);
        last.unwrap_or_else(|| missing.mark())
    }

    const fn asked_of(&mut self, wanted: &Wanted) -> &mut BTreeMap<Wanted, Asked> {
        match wanted {
            Wanted::Body(_) => &mut self.bodies,
            Wanted::Parent(_) => &mut self.parents,
            Wanted::Headers(..) | Wanted::Bodies | Wanted::History | Wanted::Proof => {
                &mut self.asked
            }
        }
    }

    /// Whether one more request may be remembered. Where none can, what was asked for comes first:
    /// a request that is forgotten is made anew with every turn.
    fn has_room(&mut self, wanted: &Wanted, now: Now, retry_ns: u64) -> bool {
        if !matches!(wanted, Wanted::Body(_) | Wanted::Parent(_)) {
            return true;
        }
        if self.asked_of(wanted).len() >= FETCHES_MAX && self.swept_ns < now.mono_ns {
            self.swept_ns = now.mono_ns;
            let is_wanted = |asked: &Asked| asked.wanted_ns.saturating_add(retry_ns) >= now.mono_ns;
            self.bodies.retain(|_, asked| is_wanted(asked));
            self.parents.retain(|_, asked| is_wanted(asked));
        }
        self.asked_of(wanted).len() < FETCHES_MAX
    }
}

impl Consensus {
    pub(crate) fn retry_ns(&self) -> u64 {
        self.config.timers.retransmit_ns.saturating_mul(4)
    }

    /// Headers of unknown tips come from the voter that named them: at once when its record or my
    /// window is closed or my timer fired, else lazily (the leader usually brings them).
    pub(crate) fn fetch_headers(&mut self, now: Now, effects: &mut Effects) {
        let retry = self.retry_ns();
        let slots = self.config.set.slots();
        let lazy =
            now.mono_ns.saturating_sub(self.pace.progress_ns) >= self.config.timers.retransmit_ns;
        let mut requests = Vec::new();
        for (window, state) in &self.windows {
            if !state.tally.lacks_headers() {
                continue;
            }
            let closed = state.is_closed(slots) || state.timed_out;
            for index in self.config.set.indices() {
                let Some(voter) = state.tally.voter(index) else {
                    continue;
                };
                let record = voter.pending.as_ref().unwrap_or(&voter.counted);
                let eager = closed || lazy || record.is_closed(slots);
                if index == self.config.own || !eager || !self.peers[index.place()].is_up {
                    continue;
                }
                if let Some((at, id)) = state.tally.missing_of(index).first().copied() {
                    requests.push((*window, index, at, id, state.own_tip_index()));
                }
            }
        }
        for (window, voter, index, id, tip) in requests {
            // What this voter brought is progress; what the leader brings meanwhile is not.
            let tally = self.windows.get(&window).map(|state| &state.tally);
            let brought = tally.and_then(|tally| tally.voter(voter));
            let mark = brought.map_or(0, |voter| u64::from(voter.branch_headers));
            let wanted = Wanted::Headers(window, voter);
            let asked = self.fetches.is_due(wanted, (mark, 0), now, retry);
            if asked.is_none() {
                continue;
            }
            let above = match self.fetches.branches.get(&(window, voter)) {
                Some(branch) => branch.above,
                None => tip.min(self.connected_below(window, index)),
            };
            let above = above.filter(|at| *at < index);
            let message = Message::Get(Get::Headers {
                window,
                index,
                id,
                above,
            });
            self.ask(voter, message, effects);
        }
    }

    /// Highest index below `index` at which some block is connected.
    fn connected_below(&self, window: Window, index: Index) -> Option<Index> {
        let state = self.windows.get(&window)?;
        let tree = &state.tally.tree;
        (0..index.number().min(tree.slot_count()))
            .rev()
            .map(Index::new)
            .find(|&at| tree.slot(at).any(|place| tree.is_connected(place)))
    }

    fn ask(&mut self, to: ValidatorIndex, message: Message, effects: &mut Effects) {
        self.counters.fetches = self.counters.fetches.saturating_add(1);
        effects.push(Effect::Send {
            to: Destination::Peer(to),
            message,
        });
    }

    /// Bodies of live blocks that weight AMP supports, the lowest first, from a supporter; another
    /// one each time.
    pub(crate) fn fetch_bodies(&mut self, now: Now, effects: &mut Effects) {
        let amplify = self.config.set.thresholds().amplify;
        let retry = self.retry_ns();
        let mut wanted = Vec::new();
        // PERF: of many windows that are held none lacks anything, almost always.
        let lacking = |state: &WindowState| state.tally.tree.lacks_bodies();
        for (window, state) in self.windows.iter().filter(|(_, state)| lacking(state)) {
            let from = if *window == self.finalized.window {
                self.finalized.index
            } else {
                Index::ZERO
            };
            let places = state.bodies_wanted(amplify, from);
            let places = places.take(limits::BODIES_PER_REQUEST_MAX);
            wanted.extend(places.map(|place| (*window, place, state.tally.tree.block(place).id)));
        }
        for (window, place, id) in wanted {
            let due = self.fetches.is_due(Wanted::Body(id), (0, 0), now, retry);
            let Some(due) = due else {
                continue;
            };
            if let Some((to, block)) = self.supporter_of(window, place, due.attempt) {
                self.ask(to, Message::Get(Get::Bodies(alloc::vec![block])), effects);
            }
        }
    }

    /// A connected validator whose counted record supports a block; another one each attempt.
    fn supporter_of(
        &self,
        window: Window,
        place: BlockPlace,
        attempt: u32,
    ) -> Option<(ValidatorIndex, BlockRef)> {
        let set = &self.config.set;
        let tally = &self.windows.get(&window)?.tally;
        let block = tally.tree.block(place);
        let wanted = BlockRef {
            height: block.header?.height,
            id: block.id,
        };
        let mut supporters = set
            .indices()
            .filter(|index| *index != self.config.own && self.peers[index.place()].is_up)
            .filter(|&index| {
                let voter = tally.voter(index);
                voter.is_some_and(|voter| tally.record_supports(&voter.counted, place))
            });
        // Mostly the first one answers, and the others need not be looked for.
        let to = if attempt == 0 {
            supporters.next()?
        } else {
            let all: Vec<ValidatorIndex> = supporters.collect();
            *all.get(attempt as usize % all.len().max(1))?
        };
        Some((to, wanted))
    }

    /// Headers and bodies below the parents of the current window. A parent known by certificates
    /// alone has no votes counted here, so nothing else asks for what is missing of it.
    pub(crate) fn fetch_parents(&mut self, now: Now, effects: &mut Effects) {
        let Some(window) = self.entered else { return };
        let Some(state) = self.windows.get(&window) else {
            return;
        };
        // PERF: what lacked nothing once lacks nothing until it has another parent.
        let complete = (window, state.parents.changes(), self.finalized.id);
        if state.own_tip.is_some() || self.parents_complete == Some(complete) {
            return;
        }
        let (missing, is_complete) = self.missing_below_parents(state);
        if is_complete {
            self.parents_complete = Some(complete);
        }
        let retry = self.retry_ns();
        for (id, missing) in missing {
            let mark = self.fetches.parent_mark(id, &missing);
            if let Missing::Place(block) = &missing {
                self.fetches.want_place(block.id);
            }
            let wanted = Wanted::Parent(id);
            let due = self
                .fetches
                .is_due(wanted, (mark, missing.mark()), now, retry);
            let Some(due) = due else {
                continue;
            };
            if let Some(to) = self.peer_with(Height::ZERO, due.attempt, due.turn) {
                if let Missing::Bodies(blocks) = &missing {
                    self.fetches.want_parent_bodies(blocks);
                }
                let get = self.get_missing(to, missing);
                self.ask(to, Message::Get(get), effects);
            }
        }
    }

    /// What is missing below the parents of a window, each of it once and under the highest parent
    /// that lacks it; and whether nothing is.
    fn missing_below_parents(&self, state: &WindowState) -> (Vec<(BlockId, Missing)>, bool) {
        let (mut walked, mut missing) = (Walked::default(), Vec::new());
        let mut is_complete = true;
        for parent in state.parents.downward() {
            if parent.point.height <= self.finalized.height {
                continue;
            }
            match self.missing_below(parent.point, &mut walked) {
                Below::Complete => {}
                Below::Unknown => is_complete = false,
                Below::Missing(what) => missing.push((parent.point.id, what)),
            }
        }
        let is_complete = is_complete && missing.is_empty();
        (missing, is_complete)
    }

    /// What the chain from a parent down to the finalized block lacks, the topmost window first.
    ///
    /// PERF: a chain is walked down to what another parent's walk has met, and what is missing
    /// below that is asked for once: one leader can make thousands of parents of two chains.
    fn missing_below(&self, parent: Point, walked: &mut Walked) -> Below {
        let mut path = Vec::new();
        let (below, lacks_bodies) = self.look_below(parent, walked, &mut path);
        // Of each block whether it or anything below it lacks its body.
        let mut lacks = lacks_bodies;
        for step in path.iter().rev() {
            lacks |= !step.has_body;
            walked.set(step.at, lacks);
        }
        below
    }

    /// What is missing, and whether a body is below what was walked.
    fn look_below(&self, parent: Point, walked: &Walked, path: &mut Vec<Step>) -> (Below, bool) {
        let mut point = parent;
        loop {
            let Some(tally) = self.windows.get(&point.window).map(|state| &state.tally) else {
                return (Below::Unknown, false);
            };
            let Some(place) = tally.tree.find_connected(point.index, point.id) else {
                let voters = tally.voters(&self.config.set);
                let brought = voters.map(|(_, _, voter)| u64::from(voter.branch_headers));
                let headers = Missing::Headers(point, brought.sum());
                return (Below::Missing(headers), false);
            };
            let first = path.len();
            let end = self.walk_down((point.window, place), walked, path);
            if let ChainEnd::Met { lacks_bodies: true } = end {
                return (Below::Complete, true);
            }
            let bodiless = path[first..].iter().rev().filter(|step| !step.has_body);
            let bodies: Vec<BlockRef> = bodiless
                .take(limits::BODIES_PER_REQUEST_MAX)
                .map(|step| BlockRef {
                    height: step.header.height,
                    id: step.id,
                })
                .collect();
            if !bodies.is_empty() {
                return (Below::Missing(Missing::Bodies(bodies)), false);
            }
            let lowest = match (end, path[first..].last()) {
                (ChainEnd::Open, Some(step)) => step.header,
                (ChainEnd::Open, None) => return (Below::Unknown, false),
                (ChainEnd::Closed | ChainEnd::Met { .. }, _) => return (Below::Complete, false),
            };
            match self.place_below(&lowest) {
                Ok(below) => point = below,
                Err(below) => return (below, false),
            }
        }
    }

    /// Where the parent of the lowest block of a chain stands, which opens its window, or what is
    /// to be asked for to learn that. It is one of PR there: a set, of which this validator may
    /// hold the evidence for other members alone.
    fn place_below(&self, lowest: &Header) -> Result<Point, Below> {
        let id = lowest.parent_id;
        let state = self.windows.get(&lowest.window).ok_or(Below::Unknown)?;
        let height = lowest.height.previous().ok_or(Below::Unknown)?;
        let ready = state.parents.find(height, id).map(|parent| parent.point);
        let told = self.fetches.places.get(&id).copied().flatten();
        match ready.or(told) {
            Some(below) if below.window < lowest.window && below.height == height => Ok(below),
            Some(_) => Err(Below::Unknown),
            None => Err(Below::Missing(Missing::Place(BlockRef { height, id }))),
        }
    }

    /// Appends the chain of a block, highest first, down to the finalized one, to where nothing is
    /// known below, or to a block that another walk has met.
    fn walk_down(
        &self,
        top: (Window, BlockPlace),
        walked: &Walked,
        path: &mut Vec<Step>,
    ) -> ChainEnd {
        let mut next = Some(top);
        while let Some(at) = next {
            if let Some(lacks_bodies) = walked.get(at) {
                return ChainEnd::Met { lacks_bodies };
            }
            let Some(state) = self.windows.get(&at.0) else {
                break;
            };
            let block = state.tally.tree.block(at.1);
            let Some(header) = block.header else { break };
            if header.height <= self.finalized.height {
                return ChainEnd::Closed;
            }
            path.push(Step {
                at,
                id: block.id,
                header,
                has_body: block.has_body,
            });
            if header.height == self.finalized.height.next() {
                return ChainEnd::Closed;
            }
            next = self.below(at.0, block, &header);
        }
        ChainEnd::Open
    }

    fn get_missing(&self, from: ValidatorIndex, missing: Missing) -> Get {
        match missing {
            Missing::Bodies(blocks) => Get::Bodies(blocks),
            Missing::Place(block) => Get::Bodies(vec![block]),
            Missing::Headers(point, _) => {
                let branch = self.fetches.branches.get(&(point.window, from));
                let above = branch.and_then(|branch| branch.above);
                Get::Headers {
                    window: point.window,
                    index: point.index,
                    id: point.id,
                    above: above.filter(|above| *above < point.index),
                }
            }
        }
    }

    /// Finalized history: headers downward from what is known, then bodies upward.
    pub(crate) fn fetch_history(&mut self, now: Now, effects: &mut Effects) {
        if self.delivery.is_idle() {
            return;
        }
        let retry = self.retry_ns();
        let (wanted, marks, message, height) = match self.delivery.gap() {
            Some(Gap::History(top)) => {
                let count = u32::try_from(limits::HEADERS_PER_ANSWER_MAX).unwrap_or(u32::MAX);
                self.fetches.history = self.fetches.history.next(top.height);
                let mark = self.fetches.history.number;
                let get = Get::History { top, count };
                (Wanted::History, (mark, 0), get, top.height)
            }
            Some(Gap::Proof(at_least)) => {
                let get = Get::Finality { at_least };
                (Wanted::Proof, (at_least.number(), 0), get, at_least)
            }
            None => {
                let blocks = self.delivery.bodies_wanted(limits::BODIES_PER_REQUEST_MAX);
                let (Some(first), Some(last)) = (blocks.first(), blocks.last()) else {
                    return;
                };
                let (lowest, height) = (first.height.number(), last.height);
                // Asked again only when the whole last request has come, or when nothing of it has
                // for a while.
                let is_wanted = |block: &BlockRef| self.delivery.wants_body(block.height, block.id);
                let mark = self.fetches.batch_mark(is_wanted);
                (Wanted::Bodies, (mark, lowest), Get::Bodies(blocks), height)
            }
        };
        let Some(due) = self.fetches.is_due(wanted, marks, now, retry) else {
            return;
        };
        if let Get::Bodies(blocks) = &message {
            self.fetches.note_batch(marks.0, blocks);
        }
        // Whoever has served the last batch, and not slowly, is asked for the next one.
        self.fetches.server = self.fetches.server.wrapping_add(u32::from(due.passes));
        if let Some(to) = self.peer_with(height, due.attempt, self.fetches.server) {
            self.ask(to, Message::Get(message), effects);
        }
    }

    /// A connected peer that has finalized at least this height; another one each turn.
    fn peer_with(&self, height: Height, attempt: u32, turn: u32) -> Option<ValidatorIndex> {
        let able: Vec<ValidatorIndex> = self
            .config
            .set
            .indices()
            .filter(|index| {
                let peer = &self.peers[index.place()];
                *index != self.config.own && peer.is_up && peer.finalized >= height
            })
            .collect();
        let turn = turn as usize + self.config.own.place();
        if able.is_empty() && attempt >= ATTEMPTS_UNABLE {
            // Validators whose logs are damaged have more than they can say is final.
            let up = |index: &ValidatorIndex| {
                *index != self.config.own && self.peers[index.place()].is_up
            };
            let any: Vec<ValidatorIndex> = self.config.set.indices().filter(up).collect();
            return (!any.is_empty()).then(|| any[turn % any.len()]);
        }
        (!able.is_empty()).then(|| able[turn % able.len()])
    }
}

#[cfg(test)]
#[path = "fetch_tests.rs"]
mod tests;
