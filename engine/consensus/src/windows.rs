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
use crate::window::parents::Known;
use crate::window::tree::{Block, BlockPlace, PerBlock};
use crate::window::{ReadyParent, WindowState};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::cell::OnceCell;

/// A block of a chain: its name, its header, and whether its body is here.
pub(crate) type Linked = (BlockId, Header, bool);

/// Blocks of a finalized chain whose memory is kept: a jump may finalize many at once. As many
/// parents that a window hands on at once.
const CHAIN_KEPT: usize = 64;

/// What was found of blocks of several windows, by who walks down many chains: they meet, and what
/// is below is looked at once.
#[derive(Debug, Default)]
pub(crate) struct Walked(BTreeMap<Window, PerBlock<bool>>);

impl Walked {
    pub(crate) fn get(&self, (window, place): (Window, BlockPlace)) -> Option<bool> {
        self.0.get(&window)?.get(place)
    }

    pub(crate) fn set(&mut self, (window, place): (Window, BlockPlace), found: bool) {
        self.0.entry(window).or_default().set(place, found);
    }
}

/// What one window hands to the next one.
#[derive(Debug, Default)]
pub(crate) struct Handing {
    parents: Vec<ReadyParent>,
    /// Which of them are blocks of the window itself, and whether signed records show it.
    blocks: Vec<(BlockPlace, bool)>,
    /// Whether its own parents go on, and whether signed records show that.
    goes_on: Option<bool>,
}

impl Handing {
    fn clear(&mut self) {
        self.parents.clear();
        self.parents.shrink_to(CHAIN_KEPT);
        self.blocks.clear();
        self.blocks.shrink_to(CHAIN_KEPT);
        self.goes_on = None;
    }
}

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

    /// Appends the chain of a block down to, not including, the finalized one, highest first.
    fn chain_down(&self, window: Window, place: BlockPlace, chain: &mut Vec<Linked>) {
        let mut at = Some((window, place));
        while let Some((window, place)) = at {
            let Some(state) = self.windows.get(&window) else {
                break;
            };
            let block = state.tally.tree.block(place);
            let Some(header) = block.header else { break };
            if header.height <= self.finalized.height {
                break;
            }
            chain.push((block.id, header, block.has_body));
            if header.height == self.finalized.height.next() {
                break;
            }
            at = self.below(window, block, &header);
        }
    }

    /// The block below a connected one, in its window or an earlier one.
    pub(crate) fn below(
        &self,
        window: Window,
        block: &Block,
        header: &Header,
    ) -> Option<(Window, BlockPlace)> {
        match block.parent {
            Some(parent) => Some((window, parent)),
            None => header
                .height
                .previous()
                .and_then(|below| self.locate(below, header.parent_id)),
        }
    }

    /// The place of a block in its window, if that is held and the block connected there.
    pub(crate) fn place_of(&self, point: &Point) -> Option<(Window, BlockPlace)> {
        let tree = &self.windows.get(&point.window)?.tally.tree;
        let place = tree.find_connected(point.index, point.id)?;
        Some((point.window, place))
    }

    /// Whether a block and its ancestors down to the finalized one have all their bodies here.
    /// `walked` remembers it of each block that was looked at: of many parents each chain is walked
    /// once.
    pub(crate) fn has_bodies_down(&self, point: &Point, walked: &mut Walked) -> bool {
        if point.id == self.finalized.id {
            return true;
        }
        let mut path = Vec::new();
        let mut at = self.place_of(point);
        let has_bodies = loop {
            let Some((window, place)) = at else {
                break false;
            };
            if let Some(found) = walked.get((window, place)) {
                break found;
            }
            let Some(state) = self.windows.get(&window) else {
                break false;
            };
            let block = state.tally.tree.block(place);
            let Some(header) = block.header else {
                break false;
            };
            if header.height <= self.finalized.height {
                break block.id == self.finalized.id;
            }
            if !block.has_body {
                break false;
            }
            path.push((window, place));
            if header.height == self.finalized.height.next() {
                break header.parent_id == self.finalized.id;
            }
            at = self.below(window, block, &header);
        };
        for at in path {
            walked.set(at, has_bodies);
        }
        has_bodies
    }

    /// ParentReady: what each window hands to the next one, by own count, verified certificate or
    /// finality. `true` when something was added. A window in which nothing has changed since is
    /// not looked at: one leader can make thousands of parents.
    pub(crate) fn extend_ready(&mut self) -> bool {
        self.note_final_known();
        let windows = self.select(|_, _, _| true);
        let mut handing = core::mem::take(&mut self.handing);
        let mut changed = false;
        for &window in &windows {
            let Some(state) = self.windows.get(&window) else {
                continue;
            };
            let known = state.known();
            if state.handed_on.known == Some(known) {
                continue;
            }
            handing.clear();
            self.hand_on(state, &mut handing);
            changed |= self.take_over(window, known, &handing);
        }
        handing.clear();
        self.handing = handing;
        self.give_back(windows);
        changed
    }

    /// A block that became final or proven is one that its window may hand on. What stood below a
    /// final block of a lower window is a parent again of those that finality has passed: its
    /// evidence may be asked for.
    fn note_final_known(&mut self) {
        let known = (self.proven.id, self.finalized.id);
        if self.handed_for.replace(known) == Some(known) {
            return;
        }
        let ends = [self.proven.window, self.finalized.window];
        for (window, state) in &mut self.windows {
            if state.handed_on.has_left && window.next() <= self.finalized.window {
                state.hand_on_anew();
            }
            if ends.contains(window) {
                state.handed_on.known = None;
            }
        }
    }

    /// The next window takes what this one hands to it. Where it is out of range, this one is
    /// looked at again.
    fn take_over(&mut self, window: Window, known: Known, handing: &Handing) -> bool {
        let set = self.config.set.clone();
        let finalized = self.finalized;
        let (mut changed, mut has_left) = (false, false);
        if !handing.parents.is_empty() {
            let Some(next) = self.window_mut(window.next()) else {
                return false;
            };
            for &parent in &handing.parents {
                // Blocks below a finalized one are no parents any more.
                if parent.point.height >= finalized.height || window.next() <= finalized.window {
                    changed |= next.add_parent(&set, parent);
                } else {
                    has_left = true;
                }
            }
        }
        if let Some(state) = self.windows.get_mut(&window) {
            state.handed_on.known = Some(known);
            state.handed_on.has_left |= has_left;
            for &(place, signed) in &handing.blocks {
                state.handed_on.blocks.set(place, signed);
            }
            if let Some(is_signed) = handing.goes_on {
                state.parents.note_handed(is_signed);
            }
        }
        changed
    }

    /// What of PR of the next window this one shows and has not handed on yet.
    fn hand_on(&self, state: &WindowState, handing: &mut Handing) {
        let set = &self.config.set;
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
        let supports = OnceCell::new();
        let is_signed = |place: BlockPlace| {
            clears(signed_skip, tally.tree.block(place).index)
                && supports
                    .get_or_init(|| tally.signed_supports(set, from))
                    .of(place)
                    >= set.thresholds().quorum
        };
        let handed_on = &state.handed_on;
        // PERF: that nothing signed is new shows that those handed on unsigned stay so.
        let is_signed_news = handed_on.known.is_none_or(|before| {
            let now = state.known();
            (before.signed, before.facts) != (now.signed, now.facts)
        });
        for place in tally.certified_from(set, from) {
            let before = handed_on.blocks.get(place);
            if before == Some(true) || before == Some(false) && !is_signed_news {
                continue;
            }
            let block = tally.tree.block(place);
            let Some(header) = block.header else { continue };
            let signed = is_signed(place);
            if before == Some(signed) {
                continue;
            }
            handing.blocks.push((place, signed));
            handing.parents.push(ReadyParent {
                point: header.point(block.id),
                time_ns: header.time_ns,
                signed,
            });
        }
        for parent in known {
            if clears(skip, parent.point.index) {
                let signed = parent.signed && clears(signed_skip, parent.point.index);
                handing.parents.push(ReadyParent { signed, ..parent });
            }
        }
        if skip == Some(Index::ZERO) {
            let is_signed = signed_skip == Some(Index::ZERO);
            state.parents.hand_on(is_signed, &mut handing.parents);
            handing.goes_on = Some(is_signed);
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
        let is_due = !state.parents.follows_full();
        if state.is_announced || leader == self.config.own || !is_due {
            return;
        }
        // PERF: what nothing showed is not looked for again before something new is known.
        let known = self.evidence_known();
        if state.unshown_at == Some(known) {
            return;
        }
        let shown = self.highest_shown(window, |_| true);
        if let Some(state) = self.windows.get_mut(&window) {
            state.is_announced = shown.is_some();
            state.unshown_at = Some(known);
        }
        if let Some((_, certificates)) = shown {
            self.send_certificates(leader, both_ends(certificates), effects);
        }
    }

    /// Another value means that there is more evidence, or that it is found elsewhere.
    fn evidence_known(&self) -> (BlockId, u64) {
        let known = self.windows.values().map(WindowState::known);
        let changes = known.map(|known| known.signed + known.facts + known.parents);
        (self.proven.id, changes.fold(0, u64::saturating_add))
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
        let failed = state.parents.has_signed_other();
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
        // Of what is counted the bodies are here, but for what comes late.
        if chain.iter().any(|&(_, _, has_body)| !has_body) {
            self.judge_again_from(window);
        }
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
            state.add_parent(&self.config.set, ready);
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
        self.judge_again_from(point.window);
        if let Some((window, place)) = self.locate(point.height, point.id) {
            self.finalize(window, place, FinalPath::Proof);
            return;
        }
        self.delivery
            .push(point.id, header, FinalPath::Proof, false);
        self.finalized = point;
        self.finalized_time_ns = header.time_ns;
    }

    /// What stands on a final block may be voted for also by whoever lacks its header or its body
    /// (R3): nothing else may be to come that would have these windows looked at.
    fn judge_again_from(&mut self, window: Window) {
        for (_, state) in self.windows.range_mut(window..) {
            state.is_dirty = true;
        }
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
            self.keep_last_words(lowest);
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

#[cfg(test)]
#[path = "windows_tests.rs"]
mod tests;
