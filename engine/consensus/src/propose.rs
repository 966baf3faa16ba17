//! R2 PROPOSE: the leader's side.
//!
//! Owns what a leader has proposed and not sent yet. Never: which commands go into a block; the
//! caller brings a payload when [`Consensus::proposal_room`] says that there is room.

use crate::certificate::SignatureBytes;
use crate::effect::{Destination, Effect, Effects};
use crate::header::{HEADER_VERSION, Header};
use crate::limits;
use crate::machine::{Consensus, Disposition, Durability, Ignored};
use crate::message::{Message, Propose};
use crate::payload;
use crate::showing::both_ends;
use crate::types::{BlockId, Height, Index, Now, Window};
use crate::window::{ReadyParent, WindowState};
use crate::windows::Walked;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// T_sig's after which a missing signature is no longer a matter of time (5.1 e).
const SIGN_PERIODS: u64 = 10;

/// Room for one more block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProposalRoom {
    /// Window in which this validator leads.
    pub window: Window,
    /// Place of the block.
    pub index: Index,
    /// Its height.
    pub height: Height,
    /// The block it will stand on.
    pub parent_id: BlockId,
    /// Its time will be at least this, nanoseconds since the Unix epoch.
    pub time_ns_min: u64,
}

/// Blocks made and not sent yet, and the last one's signature.
#[derive(Debug, Default)]
pub(crate) struct Proposals {
    /// In `async` durability they wait for the leader's own record, which travels with the last.
    unsent: Vec<Propose>,
    /// Last own header that stands unsigned, and since when.
    pub(crate) unsigned: Option<(BlockId, Header, u64)>,
    pub(crate) is_signing: bool,
}

impl Proposals {
    /// Nothing made so far leaves any more.
    pub(crate) fn forget(&mut self) {
        self.unsent.clear();
        self.unsigned = None;
    }
}

/// What a new block stands on.
struct Base {
    room: ProposalRoom,
    /// Set at index 0 of a window: the parent to justify.
    parent: Option<ReadyParent>,
}

impl Consensus {
    /// Whether this validator may propose a block now (R2), and where.
    #[must_use]
    pub fn proposal_room(&self) -> Option<ProposalRoom> {
        self.proposal_base().map(|base| base.room)
    }

    /// R2, its guard: leader of an entered window, allowed to act, within the pipeline.
    fn proposal_base(&self) -> Option<Base> {
        let window = self.entered?;
        let state = self.windows.get(&window)?;
        let is_leader = self.config.set.leader(window) == self.config.own;
        let is_silent = self.shutdown || self.only_stops || self.is_behind || state.own.stop;
        if !is_leader || is_silent || !self.may_propose(window) {
            return None;
        }
        let Some(tip) = state.own_tip else {
            let parent = self.parent_to_build_on(window)?;
            let room = ProposalRoom {
                window,
                index: Index::ZERO,
                height: parent.point.height.next(),
                parent_id: parent.point.id,
                time_ns_min: parent.time_ns.saturating_add(1),
            };
            return Some(Base {
                room,
                parent: Some(parent),
            });
        };
        let header = state.tally.tree.block(tip).header?;
        let index = header.index.next();
        // Without waiting for votes, while fewer than K blocks are in flight.
        if index.number() >= self.config.set.slots() || !self.has_pipeline_room(state, index) {
            return None;
        }
        let room = ProposalRoom {
            window,
            index,
            height: header.height.next(),
            parent_id: state.tally.tree.block(tip).id,
            time_ns_min: header.time_ns.saturating_add(1),
        };
        Some(Base { room, parent: None })
    }

    /// R2: fewer than K blocks, and few enough bytes, above the highest notarized index.
    fn has_pipeline_room(&self, state: &WindowState, index: Index) -> bool {
        let notarized = state.tally.highest_notarized();
        let first = notarized.map_or(0, |at| at.next().number());
        let in_flight = index.number().saturating_sub(first);
        if in_flight >= limits::PIPELINE_BLOCKS.min(self.config.set.slots()) {
            return false;
        }
        let tree = &state.tally.tree;
        let bytes = state
            .own_tip
            .into_iter()
            .flat_map(|tip| tree.chain(tip))
            .map(|place| tree.block(place))
            .take_while(|block| notarized.is_none_or(|at| block.index > at))
            .filter_map(|block| block.header)
            .fold(0_u64, |sum, header| {
                sum.saturating_add(u64::from(header.payload_bytes))
            });
        bytes < limits::PIPELINE_BYTES
    }

    /// Highest parent whose bodies are here; with signed evidence when followers may lack theirs.
    pub(crate) fn parent_to_build_on(&self, window: Window) -> Option<ReadyParent> {
        let mut walked = Walked::default();
        let mut has_bodies =
            |parent: &ReadyParent| self.has_bodies_down(&parent.point, &mut walked);
        if self.needs_justification(window) {
            // One that cannot be shown would be voted for by nobody who does not have it.
            let shown = self.highest_shown(window, &mut has_bodies);
            if let Some((parent, _)) = shown {
                return Some(parent);
            }
        }
        // Where none can be shown, all may have counted one that is signed: its voters stand on
        // chains that are longer than a certificate holds.
        let needs_signed = self.needs_justification(window);
        let parents = self.windows.get(&window)?.parents.downward();
        parents
            .filter(|parent| parent.signed || !needs_signed)
            .find(has_bodies)
    }

    /// R2: with back-off, or after a failed window, the parent's certificates go inline.
    pub(crate) fn needs_justification(&self, window: Window) -> bool {
        let genesis = self.config.set.genesis();
        let after_failure = self.windows.get(&window).is_some_and(|state| {
            let begins = || state.parents.find(genesis.height, genesis.id).is_some();
            !(state.parents.follows_full() || window == Window::ZERO && begins())
        });
        self.pace.backoff > 0 && window != Window::ZERO || after_failure
    }

    /// R2 PROPOSE: makes one block of a payload. Never two blocks for one position: the block
    /// becomes the own tip at once, and R11/R12 keep that over restarts.
    pub(crate) fn r2_propose(
        &mut self,
        now: Now,
        bytes: Arc<[u8]>,
        effects: &mut Effects,
    ) -> Disposition {
        let Some(Base { room, parent }) = self.proposal_base() else {
            return Disposition::Ignored(Ignored::NotAllowed);
        };
        let set = &self.config.set;
        let header = Header {
            version: HEADER_VERSION,
            flags: 0,
            chain_id: *set.chain_id(),
            epoch: set.epoch(),
            set_hash: *set.set_hash(),
            window: room.window,
            index: room.index,
            height: room.height,
            time_ns: now.wall_ns.max(room.time_ns_min),
            parent_id: room.parent_id,
            payload_hash: *blake3::hash(&bytes).as_bytes(),
            payload_bytes: u32::try_from(bytes.len()).unwrap_or(u32::MAX),
        };
        if payload::check_made_block(set, &header, &bytes, &mut self.parsing).is_err() {
            return Disposition::Ignored(Ignored::NotAllowed);
        }
        let justification = match parent {
            Some(parent) if self.needs_justification(room.window) => {
                let is_it = |at: &ReadyParent| at.point.id == parent.point.id;
                let shown = self.highest_shown(room.window, is_it);
                shown.map_or_else(Vec::new, |(_, all)| both_ends(all))
            }
            _ => Vec::new(),
        };
        let id = header.id();
        if !self.take_own_block(now, id, header, &bytes, effects) {
            return Disposition::Ignored(Ignored::NotAllowed);
        }
        self.counters.proposals = self.counters.proposals.saturating_add(1);
        let propose = Propose {
            header,
            payload: bytes,
            justification,
            record: None,
        };
        match self.config.durability {
            // The bare proposal need not wait for the log (R11); the record follows it.
            Durability::Sync => {
                effects.push(Effect::Send {
                    to: Destination::All,
                    message: Message::Propose(propose),
                });
            }
            Durability::Async => self.proposals.unsent.push(propose),
        }
        let since = self
            .proposals
            .unsigned
            .map_or(now.mono_ns, |(_, _, since)| since);
        self.proposals.unsigned = Some((id, header, since));
        Disposition::Applied
    }

    /// R2, the exceptions to "idle makes no blocks": in both, a leader opens its window with an
    /// empty one. A turn ends by its length also when nobody wants anything, and what is kept of
    /// its windows is dropped below a proven block only: one is due after many windows without
    /// finality. And what the window stands on may be certified and never become final by itself,
    /// as who voted for it has stopped: nothing else brings what its clients wait for.
    pub(crate) fn r2_open_idle(&mut self, now: Now, effects: &mut Effects) -> bool {
        let many = self.finalized.window.plus(limits::WINDOWS_IDLE_MAX);
        let patience = self.proof_patience_ns();
        let is_due =
            self.entered.is_some_and(|entered| entered >= many) || self.tail_waits(now, patience);
        let opens = is_due
            && self
                .proposal_room()
                .is_some_and(|room| room.index == Index::ZERO);
        if !opens {
            return false;
        }
        let empty = payload::PayloadBuilder::new().finish();
        self.r2_propose(now, empty, effects) == Disposition::Applied
    }

    /// Notes since when the proven block has stood still below what the current window stands on,
    /// or below the own tip in it. While proofs keep coming nothing waits for one in vain.
    pub(crate) fn note_tail(&mut self, now: Now) {
        let proven = self.proven.height;
        let is_open = self
            .entered
            .and_then(|window| self.windows.get(&window))
            .is_some_and(|state| {
                let tip = state.own_tip.map(|tip| state.tally.tree.block(tip));
                let tip = tip.and_then(|block| block.header).map(|own| own.height);
                let parents = state.parents.height_max();
                parents.max(tip).is_some_and(|height| height > proven)
            });
        let held = self.pace.tail.filter(|&(below, _)| below == proven);
        let since = held.map_or(now.mono_ns, |(_, since)| since);
        self.pace.tail = is_open.then_some((proven, since));
    }

    /// Whether a block of the current window or below it has been without a proof for longer than
    /// this.
    pub(crate) fn tail_waits(&self, now: Now, longer_than_ns: u64) -> bool {
        let tail = self.pace.tail;
        tail.is_some_and(|(_, since)| now.mono_ns.saturating_sub(since) > longer_than_ns)
    }

    /// In this time what is final gets its signatures, and who lacks them has asked for them.
    pub(crate) fn proof_patience_ns(&self) -> u64 {
        self.sign_of_peers_ns()
            .saturating_mul(SIGN_PERIODS)
            .saturating_add(self.retransmit_ns())
    }

    /// Places the own block, logs it and first-votes it.
    fn take_own_block(
        &mut self,
        now: Now,
        id: BlockId,
        header: Header,
        payload: &Arc<[u8]>,
        effects: &mut Effects,
    ) -> bool {
        let Some(state) = self.windows.get_mut(&header.window) else {
            return false;
        };
        let Ok((place, _)) = state.tally.connect(&self.config.set, &header, id) else {
            return false;
        };
        state.tally.tree.block_mut(place).authentic = true;
        state.tally.tree.set_body(place, true);
        state.own.tip = Some((header.index, id));
        state.own_tip = Some(place);
        state.is_dirty = true;
        effects.push(Effect::PersistBlock {
            id,
            header,
            payload: Arc::clone(payload),
        });
        self.restart_timer(header.window, now);
        true
    }

    /// Sends the blocks that waited for the own record; the last one carries it. `true` when the
    /// record went with a block and needs no frame of its own.
    pub(crate) fn send_proposals(&mut self, window: Window, effects: &mut Effects) -> bool {
        if self.proposals.unsent.is_empty() {
            return false;
        }
        let Some(state) = self.windows.get(&window) else {
            return false;
        };
        let tip = state.durable.tip;
        let carried = self.proposals.unsent.last().is_some_and(|propose| {
            propose.header.window == window
                && tip == Some((propose.header.index, propose.header.id()))
        });
        if !carried {
            return false;
        }
        if let Some(last) = self.proposals.unsent.last_mut() {
            last.record = Some(state.durable.clone());
        }
        for propose in self.proposals.unsent.drain(..) {
            effects.push(Effect::Send {
                to: Destination::All,
                message: Message::Propose(propose),
            });
        }
        true
    }

    /// The last own header has been signed: its hash chain covers those below (5.2).
    pub(crate) fn handle_header_signed(
        &mut self,
        id: BlockId,
        signature: SignatureBytes,
        effects: &mut Effects,
    ) -> Disposition {
        self.proposals.is_signing = false;
        if self.is_recovering() {
            return Disposition::Ignored(Ignored::NotAllowed);
        }
        let header = self.windows.values().rev().find_map(|state| {
            let tip = state.own_tip?;
            state
                .tally
                .tree
                .chain(tip)
                .map(|place| state.tally.tree.block(place))
                .find(|block| block.id == id)
                .and_then(|block| block.header)
        });
        let Some(header) = header else {
            return Disposition::Ignored(Ignored::Stale);
        };
        effects.push(Effect::Send {
            to: Destination::All,
            message: Message::HeaderSignature { header, signature },
        });
        Disposition::Applied
    }
}
