//! Across windows: ParentReady, R1 ENTER, R8 FINALIZE, R9 JUMP, and what is dropped when.
//!
//! Owns the walk from one window to the next and from a block to its ancestors in earlier windows.
//! Never: votes (window::rules), requests (repair), timers' values (timers).

use crate::effect::{Destination, Effect, Effects, FinalPath};
use crate::header::Header;
use crate::limits;
use crate::machine::Consensus;
use crate::message::Message;
use crate::showing::both_ends;
use crate::types::{BlockId, Height, Index, Now, Point, ValidatorIndex, Window};
use crate::window::tree::BlockPlace;
use crate::window::{ReadyParent, WindowState};
use alloc::vec::Vec;

/// A block of a chain: its name, its header, and whether its body is here.
pub(crate) type Linked = (BlockId, Header, bool);

/// Blocks of a finalized chain whose memory is kept: a jump may finalize many at once.
const CHAIN_KEPT: usize = 64;

impl Consensus {
    /// Finds a connected block of a live window by name and height, the newest window first.
    pub(crate) fn locate(&self, height: Height, id: BlockId) -> Option<(Window, BlockPlace)> {
        self.windows.iter().rev().find_map(|(window, state)| {
            state
                .tally
                .tree
                .find_by_height(height, id)
                .map(|place| (*window, place))
        })
    }

    /// Appends the chain of a block down to, not including, the finalized one, highest first, and
    /// says whether it arrives there.
    pub(crate) fn chain_down(
        &self,
        window: Window,
        place: BlockPlace,
        chain: &mut Vec<Linked>,
    ) -> bool {
        let mut at = Some((window, place));
        while let Some((window, place)) = at {
            let Some(state) = self.windows.get(&window) else {
                break;
            };
            let block = state.tally.tree.block(place);
            let Some(header) = block.header else { break };
            if header.height <= self.finalized.height {
                return block.id == self.finalized.id;
            }
            chain.push((block.id, header, block.has_body));
            if header.height == self.finalized.height.next() {
                return header.parent_id == self.finalized.id;
            }
            at = match block.parent {
                Some(parent) => Some((window, parent)),
                None => header
                    .height
                    .previous()
                    .and_then(|below| self.locate(below, header.parent_id)),
            };
        }
        false
    }

    /// Whether a block and its ancestors down to the finalized one have all their bodies here.
    pub(crate) fn has_bodies_down(&self, id: BlockId) -> bool {
        if id == self.finalized.id {
            return true;
        }
        let place = self.windows.iter().rev().find_map(|(window, state)| {
            let parents = self.windows.values().flat_map(|state| &state.parents);
            let point = parents
                .map(|parent| parent.point)
                .find(|point| point.id == id)?;
            let place = state.tally.tree.find_connected(point.index, id)?;
            (point.window == *window).then_some((*window, place))
        });
        let Some((window, place)) = place else {
            return false;
        };
        let mut chain = Vec::new();
        let arrives = self.chain_down(window, place, &mut chain);
        arrives && chain.iter().all(|&(_, _, has_body)| has_body)
    }

    /// ParentReady: what each window hands to the next one, by own count, verified certificate or
    /// finality. `true` when something was added.
    pub(crate) fn extend_ready(&mut self) -> bool {
        let windows = self.select(|_, _, _| true);
        let mut handed = core::mem::take(&mut self.handed);
        let mut changed = false;
        for &window in &windows {
            handed.clear();
            self.hand_on(window, &mut handed);
            if handed.is_empty() {
                continue;
            }
            let finalized = self.finalized;
            let Some(next) = self.window_mut(window.next()) else {
                continue;
            };
            for &parent in &handed {
                // Blocks below a finalized one are no parents any more.
                if parent.point.height >= finalized.height || window.next() <= finalized.window {
                    changed |= next.add_parent(parent);
                }
            }
        }
        handed.clear();
        self.handed = handed;
        self.give_back(windows);
        changed
    }

    /// PR of the next window as far as this one shows it.
    fn hand_on(&self, window: Window, handed: &mut Vec<ReadyParent>) {
        let set = &self.config.set;
        let Some(state) = self.windows.get(&window) else {
            return;
        };
        let last = Index::new(set.slots().saturating_sub(1));
        let tally = &state.tally;
        let skip = lowest(tally.skip_start(set), state.skip_fact);
        let reaches_end = tally.tree.slot_count() >= set.slots();
        let known = self.known_certified(state);
        if skip.is_none() && !reaches_end && known.clone().next().is_none() {
            return;
        }
        let signed_skip = lowest(tally.signed_skip_start(set), state.skip_fact);
        // A certified block at t is handed on when t = W-1 or everything above t is skipped.
        let from = skip.map_or(last, |skip| skip.previous().unwrap_or(Index::ZERO));
        let clears = |start: Option<Index>, index: Index| {
            index == last || start.is_some_and(|start| start <= index.next())
        };
        for place in tally.certified_from(set, from) {
            let block = tally.tree.block(place);
            let Some(header) = block.header else { continue };
            let signed = clears(signed_skip, block.index)
                && tally.signed_support(set, place) >= set.thresholds().quorum;
            let point = header.point(block.id);
            let time_ns = header.time_ns;
            handed.push(ReadyParent {
                point,
                time_ns,
                signed,
            });
        }
        for parent in known {
            if clears(skip, parent.point.index) {
                let signed = parent.signed && clears(signed_skip, parent.point.index);
                handed.push(ReadyParent { signed, ..parent });
            }
        }
        if skip == Some(Index::ZERO) {
            let whole = signed_skip == Some(Index::ZERO);
            let parents = state.parents.iter();
            handed.extend(parents.map(|parent| ReadyParent {
                signed: parent.signed && whole,
                ..*parent
            }));
        }
    }

    /// Blocks of a window that are certified without a count here: by a verified certificate, or
    /// because they are final.
    fn known_certified<'s>(
        &self,
        state: &'s WindowState,
    ) -> impl Iterator<Item = ReadyParent> + Clone + use<'s> {
        let facts = state.certified_facts.iter();
        let certified = facts.map(|&(point, time_ns)| ReadyParent {
            point,
            time_ns,
            signed: true,
        });
        let proof = self.proof.as_ref();
        let proven_time = proof
            .and_then(|proof| proof.headers.first())
            .map(|header| header.time_ns);
        let here = |point: Point, time_ns: Option<u64>, signed: bool| {
            let is_here = point.window == state.window && !self.config.set.is_genesis(&point);
            time_ns.filter(|_| is_here).map(|time_ns| ReadyParent {
                point,
                time_ns,
                signed,
            })
        };
        let proven = here(self.proven, proven_time, true);
        let finalized = here(self.finalized, Some(self.finalized_time_ns), false);
        certified.chain(proven).chain(finalized)
    }

    /// R1 ENTER: the highest window above the current one that has a parent.
    pub(crate) fn r1_enter(&mut self, now: Now, effects: &mut Effects) -> bool {
        let next = self
            .windows
            .iter()
            .rev()
            .find(|(window, state)| {
                self.entered.is_none_or(|entered| **window > entered) && !state.parents.is_empty()
            })
            .map(|(window, _)| *window);
        let Some(window) = next else { return false };
        self.enter(window, now, effects);
        true
    }

    /// Enters a window: starts its timer and those of every lower unclosed one, entered before or
    /// not (a window jumped over still has to close, else one liar halts the rest).
    pub(crate) fn enter(&mut self, window: Window, now: Now, effects: &mut Effects) {
        self.entered = Some(window);
        self.counters.windows_entered = self.counters.windows_entered.saturating_add(1);
        self.note_turn(window, now);
        let slots = self.config.set.slots();
        let mut lower = self.proven.window;
        while lower <= window {
            if let Some(state) = self.window_mut(lower) {
                state.is_dirty = true;
                if !state.is_closed(slots) {
                    self.restart_timer(lower, now);
                }
            }
            lower = lower.next();
        }
        let leader = self.config.set.leader(window);
        if leader == self.config.own && !self.may_propose_ever(window) {
            // Nobody has to wait for it when all are told at once.
            self.hurry_statuses(now);
        }
        effects.push(Effect::Entered { window, leader });
    }

    /// R1: the certificates behind PR of a window entered after a failed one go to its leader
    /// once, as soon as signed evidence for them is here.
    pub(crate) fn announce_ready(&mut self, effects: &mut Effects) {
        let Some(window) = self.entered else { return };
        let leader = self.config.set.leader(window);
        let Some(state) = self.windows.get(&window) else {
            return;
        };
        let follows = |parent| self.follows_full_window(window, parent);
        let is_due = !state.parents.iter().any(follows);
        if state.is_announced || leader == self.config.own || !is_due {
            return;
        }
        if let Some((_, certificates)) = self.highest_shown(window, |_| true) {
            self.send_certificates(leader, both_ends(certificates), effects);
            if let Some(state) = self.windows.get_mut(&window) {
                state.is_announced = true;
            }
        }
    }

    /// Whether a parent is the last block of the window before: then the steady state brings its
    /// evidence to everyone.
    pub(crate) fn follows_full_window(&self, window: Window, parent: &ReadyParent) -> bool {
        let last = self.config.set.slots().saturating_sub(1);
        parent.point.window.next() == window
            && parent.point.index.number() == last
            && !self.config.set.is_genesis(&parent.point)
    }

    /// R5: a stop brings what its receivers may lack to judge it: the headers from each peer's
    /// last acknowledged index to the own tip, and the certificates behind PR of the window.
    pub(crate) fn accompany_stop(&mut self, window: Window, effects: &mut Effects) {
        let Some(state) = self.windows.get(&window) else {
            return;
        };
        let peers: Vec<ValidatorIndex> = self
            .config
            .set
            .indices()
            .filter(|peer| self.peers[peer.place()].is_up)
            .collect();
        for &peer in &peers {
            let headers = self.headers_unacknowledged(state, peer);
            if !headers.is_empty() {
                let message = Message::Headers { window, headers };
                let to = Destination::Peer(peer);
                effects.push(Effect::Send { to, message });
            }
        }
        let failed = state
            .parents
            .iter()
            .any(|parent| parent.signed && !self.follows_full_window(window, parent));
        let shown = self.highest_shown(window, |_| failed);
        let Some(certificates) = shown.map(|(_, all)| both_ends(all)) else {
            return;
        };
        for peer in peers {
            self.send_certificates(peer, certificates.clone(), effects);
        }
    }

    /// Headers of the own chain above what a peer's counted record shows, lowest first.
    fn headers_unacknowledged(&self, state: &WindowState, peer: ValidatorIndex) -> Vec<Header> {
        let tree = &state.tally.tree;
        let Some(tip) = state.own_tip else {
            return Vec::new();
        };
        let counted = state.tally.voter(peer).and_then(|voter| voter.counted.tip);
        // Genesis stands in no window, whatever its position says.
        let is_genesis = self.config.set.is_genesis(&self.finalized);
        let is_here = self.finalized.window == state.window && !is_genesis;
        let settled = is_here.then_some(self.finalized.index);
        let above = counted.map(|(index, _)| index).or(settled);
        let mut headers: Vec<Header> = tree
            .chain(tip)
            .map(|place| tree.block(place))
            .take_while(|block| above.is_none_or(|above| block.index > above))
            .filter_map(|block| block.header)
            .collect();
        headers.reverse();
        headers.truncate(limits::HEADERS_PER_ANSWER_MAX);
        headers
    }

    /// R8 FINALIZE: the highest block final by count and all its ancestors.
    pub(crate) fn r8_finalize(&mut self, _effects: &mut Effects) -> bool {
        let best = self.windows.iter().rev().find_map(|(window, state)| {
            let (place, fast) = state.tally.final_by_count()?;
            let header = state.tally.tree.block(place).header?;
            (header.height > self.finalized.height).then_some((*window, place, fast))
        });
        let Some((window, place, fast)) = best else {
            return false;
        };
        let path = if fast {
            FinalPath::Fast
        } else {
            FinalPath::Slow
        };
        self.finalize(window, place, path);
        true
    }

    fn finalize(&mut self, window: Window, place: BlockPlace, path: FinalPath) {
        let mut chain = core::mem::take(&mut self.chain);
        self.chain_down(window, place, &mut chain);
        for &(id, header, has_body) in &chain {
            self.delivery.push(id, header, path, has_body);
        }
        let highest = chain.first().copied();
        chain.clear();
        chain.shrink_to(CHAIN_KEPT);
        self.chain = chain;
        let Some((id, header, _)) = highest else {
            return;
        };
        self.finalized = header.point(id);
        self.finalized_time_ns = header.time_ns;
        if let Some(state) = self.windows.get_mut(&window) {
            state.is_signed_dirty = true;
        }
        // A finality of window w makes the parent of its index-0 ancestor a parent of w.
        self.add_parent_below(window, place);
    }

    fn add_parent_below(&mut self, window: Window, place: BlockPlace) {
        let Some(header) = self.final_first(window, place) else {
            return;
        };
        let below = header
            .height
            .previous()
            .and_then(|height| self.locate(height, header.parent_id));
        let Some((parent_window, parent)) = below else {
            return;
        };
        let Some(found) = self.windows.get(&parent_window) else {
            return;
        };
        let block = found.tally.tree.block(parent);
        let Some(parent_header) = block.header else {
            return;
        };
        let ready = ReadyParent {
            point: parent_header.point(block.id),
            time_ns: parent_header.time_ns,
            signed: false,
        };
        if let Some(state) = self.windows.get_mut(&window) {
            state.add_parent(ready);
        }
    }

    /// Header of the lowest block of a window below a final one.
    fn final_first(&mut self, window: Window, place: BlockPlace) -> Option<Header> {
        let state = self.windows.get_mut(&window)?;
        let tree = &state.tally.tree;
        // PERF: what is final in a window is one chain, so its first block is looked for once: a
        // walk with every block would go down the whole window each time.
        let first = match state.final_first {
            Some(first) => first,
            None => tree.chain(place).last()?,
        };
        let header = tree.block(first).header?;
        if header.index == Index::ZERO {
            state.final_first = Some(first);
        }
        Some(header)
    }

    /// R9 JUMP: a verified proof above the proven block is adopted; history is fetched by
    /// `repair`, and its window is entered when it lies above the current one.
    pub(crate) fn r9_jump(
        &mut self,
        now: Now,
        point: Point,
        header: Header,
        proof: crate::certificate::Certificate,
        effects: &mut Effects,
    ) {
        if point.height <= self.proven.height {
            self.delivery.set_stage(point);
            return;
        }
        self.adopt_proof(point, proof, effects);
        if point.height > self.finalized.height {
            self.counters.jumps = self.counters.jumps.saturating_add(1);
            self.finalize_by_proof(point, header);
        }
        if self.entered.is_none_or(|entered| entered < point.window) {
            self.enter(point.window, now, effects);
        }
    }

    fn finalize_by_proof(&mut self, point: Point, header: Header) {
        if let Some((window, place)) = self.locate(point.height, point.id) {
            self.finalize(window, place, FinalPath::Proof);
            return;
        }
        self.delivery
            .push(point.id, header, FinalPath::Proof, false);
        self.finalized = point;
        self.finalized_time_ns = header.time_ns;
    }

    /// Drops what the proven block makes unnecessary. Never below a finality known by count only:
    /// `proven` is at or below it.
    pub(crate) fn drop_windows(&mut self) {
        let lowest = self.proven.window;
        if self
            .windows
            .first_key_value()
            .is_some_and(|(window, _)| *window < lowest)
        {
            self.windows = self.windows.split_off(&lowest);
            self.fetches.forget_below(lowest);
        }
    }

    /// The finalized block, when it stands in this window, which was entered, and the bodies of all
    /// its chain have come.
    pub(crate) fn settled_in(&self, window: Window) -> Option<Point> {
        let is_genesis = self.config.set.is_genesis(&self.finalized);
        let is_here = self.finalized.window == window && !is_genesis;
        let is_entered = self.entered.is_some_and(|entered| window <= entered);
        let has_bodies = self.delivery.delivered() >= self.finalized.height;
        (is_here && is_entered && has_bodies).then_some(self.finalized)
    }

    /// Hands out finalized blocks in height order.
    pub(crate) fn deliver(&mut self, effects: &mut Effects) {
        let before = self.delivery.delivered();
        while let Some((id, header, path)) = self.delivery.pop() {
            let counter = match path {
                FinalPath::Fast => &mut self.counters.finalized_fast,
                FinalPath::Slow => &mut self.counters.finalized_slow,
                FinalPath::Proof => &mut self.counters.finalized_proof,
            };
            *counter = counter.saturating_add(1);
            effects.push(Effect::Finalized { id, header, path });
        }
        // What has come may be voted for by whoever has not (R3).
        let finalized = self.finalized;
        if self.delivery.delivered() > before
            && let Some(state) = self.windows.get_mut(&finalized.window)
        {
            state.is_dirty |= state.own_tip_index() < Some(finalized.index);
        }
    }
}

/// The lower of two optional indices.
pub(crate) fn lowest(a: Option<Index>, b: Option<Index>) -> Option<Index> {
    a.into_iter().chain(b).min()
}
