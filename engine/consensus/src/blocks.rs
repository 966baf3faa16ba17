//! Blocks and headers coming in.
//!
//! Owns the checks before a block enters a window's tree, and the bounds on what is held of a
//! leader or a voter. Never: whether a block is voted for (window::rules).

use crate::certificate::SignatureBytes;
use crate::effect::{Alarm, Effect, Effects};
use crate::evidence::{Evidence, SignedHeader};
use crate::header::Header;
use crate::limits;
use crate::machine::{Consensus, Disposition, Ignored, PeerFault};
use crate::message::Propose;
use crate::payload;
use crate::types::{BlockId, Index, ValidatorIndex, Window};
use crate::verify::{Claim, header_fits};
use crate::window::SIGNED_HEADERS_MAX;
use crate::window::tree::{BlockPlace, Misfit};
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

impl Consensus {
    /// A block over its leader's own channel.
    pub(crate) fn handle_propose(
        &mut self,
        from: ValidatorIndex,
        propose: Propose,
        effects: &mut Effects,
    ) -> Disposition {
        let Propose {
            header,
            payload,
            justification,
            record,
        } = propose;
        let window = header.window;
        if header.epoch != self.config.set.epoch() {
            return Disposition::Ignored(Ignored::OtherEpoch);
        }
        if self.config.set.leader(window) != from {
            return Disposition::Fault(PeerFault::NotLeader);
        }
        if !self.is_in_range(window) {
            if let Some(record) = record {
                self.hear_of_dropped(from, (window, &record, None));
            }
            return Disposition::Ignored(Ignored::OutOfRange);
        }
        self.peers[from.place()].cannot_lead = None;
        if !justification.is_empty() && header.index == Index::ZERO {
            self.take_justification(from, &header, justification, effects);
        }
        let placed = self.take_leader_block(header, payload, effects);
        if let Some(record) = record
            && !self.peers[from.place()].verify_first
        {
            let counted = self.count_record(from, window, &record, effects);
            if let Disposition::Fault(_) = counted {
                return counted;
            }
        }
        placed
    }

    /// Certificates that come with a proposal are checked when its parent lacks evidence here.
    fn take_justification(
        &mut self,
        from: ValidatorIndex,
        header: &Header,
        certificates: Vec<crate::certificate::Certificate>,
        effects: &mut Effects,
    ) {
        let Some(state) = self.window_mut(header.window) else {
            return;
        };
        let parent = state.parent_of(header);
        let is_known = parent.is_some_and(|parent| parent.signed);
        // A leader makes one such block a window; a second one proves equivocation.
        if is_known || state.justifications >= limits::BLOCKS_PER_POSITION_MAX {
            return;
        }
        state.justifications = state.justifications.saturating_add(1);
        self.ask_check(from, Claim::Certificates { certificates }, effects);
    }

    /// A block known to come from the leader of its window.
    fn take_leader_block(
        &mut self,
        header: Header,
        payload: Arc<[u8]>,
        effects: &mut Effects,
    ) -> Disposition {
        let window = header.window;
        let id = header.id();
        let (set, parsing) = (&self.config.set, &mut self.parsing);
        if let Err(error) = payload::check_block_in(set, &header, &payload, parsing) {
            // Wrong bytes under a good header say nothing of the block: a leader that sends them
            // to some only must not make honest votes for it look like another decoder's.
            let invalid = error.condemns_block().then_some((header.index, id));
            return self.refuse_leader(window, invalid, PeerFault::InvalidBlock, effects);
        }
        let disposition = self.place_leader_block(id, header, payload, effects);
        self.place_early(window, effects);
        disposition
    }

    /// A checked block of the leader finds its place, or waits for its parent.
    fn place_leader_block(
        &mut self,
        id: BlockId,
        header: Header,
        payload: Arc<[u8]>,
        effects: &mut Effects,
    ) -> Disposition {
        let window = header.window;
        let held = self.authentic_rivals(&header, id);
        if held > 0 {
            self.refuse_leader(window, None, PeerFault::SecondBlock, effects);
            if held >= usize::from(limits::BLOCKS_PER_POSITION_MAX) {
                return Disposition::Ignored(Ignored::Full);
            }
        }
        match self.place_block(&header, id) {
            Ok(place) => {
                self.mark_authentic(window, place);
                self.take_body(window, place, payload, effects);
                Disposition::Applied
            }
            Err(Misfit::Invalid) => self.refuse_leader(
                window,
                Some((header.index, id)),
                PeerFault::InvalidHeader,
                effects,
            ),
            Err(Misfit::ParentUnknown) => self.hold_early(header, payload),
        }
    }

    /// Other blocks for the position of a header that are known to be its leader's.
    fn authentic_rivals(&self, header: &Header, id: BlockId) -> usize {
        self.windows.get(&header.window).map_or(0, |state| {
            let tree = &state.tally.tree;
            let others = tree.slot(header.index).map(|place| tree.block(place));
            others
                .filter(|block| block.authentic && block.id != id)
                .count()
        })
    }

    /// R5, local policy: an invalid block, or two for one position, stops the leader's window.
    pub(crate) fn refuse_leader(
        &mut self,
        window: Window,
        invalid: Option<(Index, BlockId)>,
        fault: PeerFault,
        effects: &mut Effects,
    ) -> Disposition {
        let leader = self.config.set.leader(window);
        let Some(state) = self.window_mut(window) else {
            return Disposition::Fault(fault);
        };
        let first = !state.leader_fault;
        state.leader_fault = true;
        state.is_dirty = true;
        if let Some(block) = invalid
            && !state.refused.contains(&block)
            && state.refused.len() < usize::from(limits::BLOCKS_PER_POSITION_MAX)
        {
            state.refused.push(block);
        } else if let Some(block) = invalid {
            self.refuse_supported(window, block);
        }
        if first && fault == PeerFault::SecondBlock {
            self.alarm(Alarm::TwoBlocks(leader), effects);
        }
        Disposition::Fault(fault)
    }

    /// Remembers a refused block that weight AMP votes first for, whoever brought it and whatever
    /// was refused before it: its leader's junk would hide it else. One is enough for the alarm.
    fn refuse_supported(&mut self, window: Window, (index, id): (Index, BlockId)) {
        let amplify = self.config.set.thresholds().amplify;
        if let Some(state) = self.windows.get_mut(&window)
            && !self.only_stops
            && !state.refused.contains(&(index, id))
            && state.tally.tree.has_first_votes(index, id, amplify)
        {
            state.refused.push((index, id));
        }
    }

    /// Weight AMP behind a block that is refused here includes an honest validator: decoder or
    /// configuration differ. A fatal alarm; only stops from then on (2.5).
    pub(crate) fn notice_refused_support(&mut self, effects: &mut Effects) {
        if self.only_stops {
            return;
        }
        let amplify = self.config.set.thresholds().amplify;
        let supported = self.windows.values().find_map(|state| {
            let tree = &state.tally.tree;
            let mut refused = state.refused.iter().copied();
            refused.find(|&(index, id)| tree.has_first_votes(index, id, amplify))
        });
        if let Some((_, id)) = supported {
            self.only_stops = true;
            self.alarm(Alarm::InvalidBlockSupported(id), effects);
        }
    }

    fn place_block(&mut self, header: &Header, id: BlockId) -> Result<BlockPlace, Misfit> {
        let set = Arc::clone(&self.config.set);
        let state = self
            .window_mut(header.window)
            .ok_or(Misfit::ParentUnknown)?;
        let (place, new) = state.connect(&set, header, id)?;
        state.is_dirty |= new;
        Ok(place)
    }

    pub(crate) fn mark_authentic(&mut self, window: Window, place: BlockPlace) {
        if let Some(state) = self.windows.get_mut(&window) {
            // The hash chain covers the blocks below (5.2).
            let tree = &mut state.tally.tree;
            let mut next = Some(place);
            while let Some(at) = next
                && !tree.block(at).authentic
            {
                let block = tree.block_mut(at);
                block.authentic = true;
                next = block.parent;
                state.is_dirty = true;
            }
        }
    }

    /// Hands a checked body of a placed block to the journal, once.
    fn take_body(
        &mut self,
        window: Window,
        place: BlockPlace,
        payload: Arc<[u8]>,
        effects: &mut Effects,
    ) {
        let Some(state) = self.windows.get_mut(&window) else {
            return;
        };
        let block = state.tally.tree.block(place);
        let Some(header) = block.header else { return };
        let id = block.id;
        if block.has_body {
            self.delivery.note_body(header.height, id);
            return;
        }
        state.tally.tree.set_body(place, true);
        self.fetches.note_body(id);
        // Bodies free votes here and in every later window that stands on this block.
        for later in self.windows.range_mut(window..) {
            later.1.is_dirty = true;
        }
        self.delivery.note_body(header.height, id);
        effects.push(Effect::PersistBlock {
            id,
            header,
            payload,
        });
    }

    fn hold_early(&mut self, header: Header, payload: Arc<[u8]>) -> Disposition {
        let Some(state) = self.window_mut(header.window) else {
            return Disposition::Ignored(Ignored::OutOfRange);
        };
        if state.early.iter().any(|(held, _)| *held == header) {
            return Disposition::Ignored(Ignored::Pending);
        }
        let held = state.early.iter().map(|(_, payload)| payload.len() as u64);
        let bytes = held.fold(payload.len() as u64, u64::saturating_add);
        if state.early.len() >= limits::PIPELINE_BLOCKS as usize || bytes > limits::PIPELINE_BYTES {
            return Disposition::Ignored(Ignored::Full);
        }
        state.early.push((header, payload));
        Disposition::Ignored(Ignored::Pending)
    }

    /// Places blocks that came before their parents, as far as they fit now: lowest first, so that
    /// each is looked at once.
    fn place_early(&mut self, window: Window, effects: &mut Effects) {
        let Some(state) = self.windows.get_mut(&window) else {
            return;
        };
        if state.early.is_empty() {
            return;
        }
        let mut early = core::mem::take(&mut state.early);
        early.sort_by_key(|(header, _)| header.index);
        for (header, payload) in early {
            self.place_leader_block(header.id(), header, payload, effects);
        }
    }

    /// A whole block that was asked for, or that the leader sends again.
    pub(crate) fn handle_block(
        &mut self,
        from: ValidatorIndex,
        header: Header,
        payload: Arc<[u8]>,
        effects: &mut Effects,
    ) -> Disposition {
        let id = header.id();
        let (set, parsing) = (&self.config.set, &mut self.parsing);
        if let Err(error) = payload::check_block_in(set, &header, &payload, parsing) {
            if error.condemns_block() {
                self.refuse_supported(header.window, (header.index, id));
            }
            return Disposition::Fault(PeerFault::InvalidBlock);
        }
        let from_leader = self.config.set.leader(header.window) == from;
        let known = self
            .windows
            .get(&header.window)
            .and_then(|state| state.tally.tree.find_connected(header.index, id));
        if let Some(place) = known {
            if self.wants_body(header.window, place) {
                if from_leader {
                    self.mark_authentic(header.window, place);
                }
                self.take_body(header.window, place, payload, effects);
                return Disposition::Applied;
            }
            if from_leader && self.is_in_range(header.window) {
                let window = header.window;
                let disposition = self.place_leader_block(id, header, payload, effects);
                self.place_early(window, effects);
                return disposition;
            }
            // Anybody can name any header (2.9): that one is known is no reason to log its body.
            return Disposition::Ignored(Ignored::Unasked);
        }
        if self.delivery.wants_body(header.height, id) {
            self.delivery.note_body(header.height, id);
            effects.push(Effect::PersistBlock {
                id,
                header,
                payload,
            });
            return Disposition::Applied;
        }
        if self.fetches.note_place(header.point(id)) {
            return Disposition::Applied;
        }
        if from_leader && self.is_in_range(header.window) {
            return self.take_leader_block(header, payload, effects);
        }
        Disposition::Ignored(Ignored::Unasked)
    }

    /// Whether the body of a known block is taken of whoever brings it: an honest validator may
    /// have voted for the block, or it was asked for, or its leader is known to have made it and
    /// few others there.
    fn wants_body(&self, window: Window, place: BlockPlace) -> bool {
        let Some(state) = self.windows.get(&window) else {
            return false;
        };
        let tree = &state.tally.tree;
        let block = tree.block(place);
        let rivals = tree.slot(block.index).filter(|&at| at != place);
        let bodies = rivals.filter(|&at| tree.block(at).has_body).count();
        let is_of_leader = block.authentic && bodies < usize::from(limits::BLOCKS_PER_POSITION_MAX);
        let height = block.header.map(|header| header.height);
        is_of_leader
            || block.support() >= self.config.set.thresholds().amplify
            || self.fetches.has_asked_for_body(block.id)
            || height.is_some_and(|height| self.delivery.wants_body(height, block.id))
    }

    /// Headers of a live window from a voter that named them. One branch a voter is held.
    pub(crate) fn handle_headers(
        &mut self,
        from: ValidatorIndex,
        window: Window,
        headers: &[Header],
        effects: &mut Effects,
    ) -> Disposition {
        if !self.is_in_range(window) {
            return Disposition::Ignored(Ignored::OutOfRange);
        }
        let disposition = self.connect_headers(from, window, headers);
        // Also where a later one does not fit: nothing else brings what waited for those before it.
        self.place_early(window, effects);
        disposition
    }

    fn connect_headers(
        &mut self,
        from: ValidatorIndex,
        window: Window,
        headers: &[Header],
    ) -> Disposition {
        let set = Arc::clone(&self.config.set);
        let budget = set.slots().saturating_add(limits::PIPELINE_BLOCKS);
        for header in headers {
            let is_here = header.window == window;
            if !is_here || header_fits(&set, header).is_err() {
                if is_here {
                    self.refuse_supported(window, (header.index, header.id()));
                }
                return Disposition::Fault(PeerFault::InvalidHeader);
            }
            let Some(state) = self.window_mut(window) else {
                return Disposition::Ignored(Ignored::Full);
            };
            if state
                .tally
                .voter(from)
                .is_none_or(|voter| voter.branch_headers >= budget)
            {
                return Disposition::Ignored(Ignored::Full);
            }
            // A record names no more than a tip and its `also`, so its voter needs no more at one
            // index; each search of a slot looks at all of them.
            let (id, tree) = (header.id(), &state.tally.tree);
            let brought = || tree.brought(header.index, from);
            if tree.find(header.index, id).is_none() && brought() > limits::ALSO_ENTRIES_MAX {
                return Disposition::Ignored(Ignored::Full);
            }
            match state.connect(&set, header, id) {
                Ok((place, new)) => {
                    state.is_dirty |= new;
                    if new {
                        state.tally.tree.note_brought(place, from);
                    }
                    if let Some(voter) = state.tally.voter_mut(from) {
                        voter.branch_headers = voter.branch_headers.saturating_add(u32::from(new));
                    }
                }
                Err(Misfit::Invalid) => {
                    self.refuse_supported(window, (header.index, id));
                    return Disposition::Fault(PeerFault::InvalidHeader);
                }
                Err(Misfit::ParentUnknown) => {
                    self.fetches.note_misfit(window, from);
                    return Disposition::Ignored(Ignored::Pending);
                }
            }
        }
        if let Some(last) = headers.last() {
            self.fetches.note_headers(window, from, last.index);
        }
        Disposition::Applied
    }

    /// Headers of finalized history: each is named by the one above it.
    pub(crate) fn handle_history(&mut self, headers: &[Header]) -> Disposition {
        if !self.delivery.push_history(headers) {
            return Disposition::Ignored(Ignored::Unasked);
        }
        for header in headers {
            let id = header.id();
            let held = self
                .locate(header.height, id)
                .is_some_and(|(window, place)| {
                    let state = self.windows.get(&window);
                    state.is_some_and(|state| state.tally.tree.block(place).has_body)
                });
            if held {
                self.delivery.note_body(header.height, id);
            }
        }
        Disposition::Applied
    }

    pub(crate) fn handle_header_signature(
        &mut self,
        from: ValidatorIndex,
        header: Header,
        signature: SignatureBytes,
        effects: &mut Effects,
    ) -> Disposition {
        if !self.is_in_range(header.window) || header_fits(&self.config.set, &header).is_err() {
            return Disposition::Ignored(Ignored::OutOfRange);
        }
        let held = self.windows.get(&header.window).is_some_and(|state| {
            state
                .signed_headers
                .iter()
                .any(|held| held.header == header)
        });
        if held {
            return Disposition::Ignored(Ignored::Stale);
        }
        if !self.ask_check(from, Claim::Header { header, signature }, effects) {
            return Disposition::Ignored(Ignored::Full);
        }
        Disposition::Applied
    }

    /// A header with its leader's good signature: authentic whoever brought it. Two of one
    /// position are evidence E1.
    pub(crate) fn take_signed_header(
        &mut self,
        header: Header,
        signature: SignatureBytes,
        effects: &mut Effects,
    ) {
        let id = header.id();
        // A leader can sign any number of headers; two for a position are all that is held.
        let is_one_too_many =
            self.authentic_rivals(&header, id) >= usize::from(limits::BLOCKS_PER_POSITION_MAX);
        if !is_one_too_many && let Ok(place) = self.place_block(&header, id) {
            self.mark_authentic(header.window, place);
        }
        let Some(state) = self.window_mut(header.window) else {
            return;
        };
        let signed = SignedHeader { header, signature };
        let rival = state
            .signed_headers
            .iter()
            .find(|held| held.header.index == header.index && held.header != header)
            .cloned();
        if let Some(rival) = rival {
            state.leader_fault = true;
            let pair = Box::new([rival, signed]);
            self.tell_evidence(Evidence::TwoHeaders(pair), effects);
            return;
        }
        if state.signed_headers.len() >= SIGNED_HEADERS_MAX {
            state.signed_headers.remove(0);
        }
        state.signed_headers.push(signed);
    }

    /// Evidence from a peer is checked, then handed out; it never changes counting.
    pub(crate) fn handle_evidence(
        &mut self,
        from: ValidatorIndex,
        evidence: Evidence,
        effects: &mut Effects,
    ) -> Disposition {
        if !self.wants_evidence(&evidence) {
            return Disposition::Ignored(Ignored::Stale);
        }
        // The headers of one piece of evidence take longer to check than thousands of votes.
        if self.peers[from.place()].evidence_checked
            || !self.ask_check(from, Claim::Evidence(evidence), effects)
        {
            return Disposition::Ignored(Ignored::Full);
        }
        self.peers[from.place()].evidence_checked = true;
        Disposition::Applied
    }
}
