//! R11 and R12: where this validator may act, and what a restart takes away.
//!
//! Owns the lease, the abstention and the fence. Never: files; the caller writes the lease file
//! and says when it is durable.

use crate::certificate::SignatureBytes;
use crate::effect::{Alarm, Destination, Effect, Effects};
use crate::last_words::LAST_WORDS_MAX;
use crate::limits;
use crate::machine::{Consensus, Disposition, Durability, Ignored, Restored};
use crate::message::{HeldRecord, Message};
use crate::record::Record;
use crate::trust::Lease;
use crate::types::{BlockId, Index, Now, Stake, ValidatorIndex, Window};
use crate::verify::Claim;
use crate::window::tally::Tally;
use alloc::vec;
use alloc::vec::Vec;
use core::mem;

/// Content of the lease file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct LeaseFile {
    /// Where this validator may act.
    pub lease: Lease,
    /// Boot of the machine under which it was written.
    pub boot_id: [u8; 16],
    /// The last run saw a failed sync: the next start does not believe the page cache.
    pub suspect: bool,
    /// The last run was one of `async` durability. False also where an earlier version wrote it.
    pub ran_async: bool,
    /// Public key of the one validator that may act under it: a folder that changed hands would
    /// hold the records of another.
    pub owner: [u8; 32],
    /// Number of the last start: peers keep only the newer of two processes with one key.
    pub incarnation: u64,
}

/// What is known at a start besides the lease file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StartFacts {
    /// Configured durability.
    pub durability: Durability,
    /// Present boot of the machine.
    pub boot_id: [u8; 16],
    /// A valid clean-stop marker that names the log's end.
    pub clean_stop: bool,
    /// The number of this start is at least this: a wall clock, so that it grows also where the
    /// file that held the last one is lost.
    pub incarnation_min: u64,
}

/// Bytes of an encoded lease file: three optional windows, boot id, what the last run was, loss,
/// owner, start. The window of proofs that may be elsewhere follows if there is one.
pub const LEASE_FILE_BYTES: usize = 3 * 9 + 16 + 1 + 1 + 32 + 8;

/// R12 RESTART: what the lease file must hold, durably, before the first frame of this run.
/// `abstain_until` and `no_proposals_until` never fall.
#[must_use]
pub fn plan(file: LeaseFile, facts: &StartFacts) -> LeaseFile {
    let mut lease = file.lease;
    if !facts.clean_stop {
        // A proposal may have left unlogged.
        lease.no_proposals_until = lease.no_proposals_until.max(lease.lease);
    }
    // What counts is how the run that ended was to log, whatever is configured since.
    let is_async = facts.durability == Durability::Async;
    let may_lack = file.ran_async || is_async;
    let lost_power = may_lack && facts.boot_id != file.boot_id && !facts.clean_stop;
    if lost_power || file.suspect {
        // Records may have left that the log does not hold.
        lease.abstain_until = lease.abstain_until.max(lease.lease);
    }
    LeaseFile {
        lease,
        boot_id: facts.boot_id,
        suspect: false,
        ran_async: is_async,
        owner: file.owner,
        incarnation: file
            .incarnation
            .saturating_add(1)
            .max(facts.incarnation_min),
    }
}

impl LeaseFile {
    /// Canonical bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![0; LEASE_FILE_BYTES];
        let windows = [
            self.lease.lease,
            self.lease.abstain_until,
            self.lease.no_proposals_until,
        ];
        for (field, window) in bytes[..27].chunks_exact_mut(9).zip(windows) {
            if let Some(window) = window {
                field[0] = 1;
                field[1..].copy_from_slice(&window.number().to_le_bytes());
            }
        }
        bytes[27..43].copy_from_slice(&self.boot_id);
        bytes[43] = u8::from(self.suspect) | u8::from(self.ran_async) << 1;
        bytes[44] = u8::from(self.lease.is_lost);
        bytes[45..77].copy_from_slice(&self.owner);
        bytes[77..].copy_from_slice(&self.incarnation.to_le_bytes());
        if let Some(window) = self.lease.proofs_elsewhere {
            bytes.extend_from_slice(&window.number().to_le_bytes());
        }
        bytes
    }

    /// Reads canonical bytes; anything else is none.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (bytes, elsewhere) = bytes.split_first_chunk::<LEASE_FILE_BYTES>()?;
        let proofs_elsewhere = match elsewhere {
            // As every version wrote it before there was this field.
            [] => None,
            number => Some(Window::new(u64::from_le_bytes(number.try_into().ok()?))),
        };
        let window = |at: usize| -> Option<Option<Window>> {
            let number = u64::from_le_bytes(bytes[at + 1..at + 9].try_into().ok()?);
            match (bytes[at], number) {
                (0, 0) => Some(None),
                (1, number) => Some(Some(Window::new(number))),
                _ => None,
            }
        };
        let flag = |at: usize| match bytes[at] {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        };
        let lease = Lease {
            lease: window(0)?,
            abstain_until: window(9)?,
            no_proposals_until: window(18)?,
            is_lost: flag(44)?,
            proofs_elsewhere,
        };
        let run = Some(bytes[43]).filter(|bits| *bits < 4)?;
        Some(Self {
            lease,
            boot_id: bytes[27..43].try_into().ok()?,
            suspect: run & 1 != 0,
            ran_async: run & 2 != 0,
            owner: bytes[45..77].try_into().ok()?,
            incarnation: u64::from_le_bytes(bytes[77..].try_into().ok()?),
        })
    }
}

/// The newest record of a validator that was counted in a window or waits for its headers.
fn held_in(window: Window, tally: &Tally, from: ValidatorIndex) -> Option<HeldRecord> {
    let voter = tally.voter(from)?;
    let record = Some(voter.newest()).filter(|record| !record.is_empty())?;
    let signature: Option<SignatureBytes> = voter
        .signed
        .as_ref()
        .filter(|(signed, _)| signed == record)
        .map(|(_, signature)| *signature);
    Some(HeldRecord {
        window,
        record: record.clone(),
        signature,
    })
}

/// The newest record of a validator in a window that it signed.
fn signed_in(window: Window, tally: &Tally, from: ValidatorIndex) -> Option<HeldRecord> {
    let (record, signature) = tally.voter(from)?.signed.as_ref()?;
    Some(HeldRecord {
        window,
        record: record.clone(),
        signature: Some(*signature),
    })
}

/// The fence of R12: before the first record of a run, peers say what they hold of this validator.
#[derive(Debug)]
pub(crate) struct Fence {
    answered: Vec<bool>,
    /// Peers that named a record that the log does not hold: they may be all that keeps this
    /// validator from voting twice, so the fence passes by others.
    doubts: Vec<bool>,
    /// Those of them whose answer was not signed.
    contradicted: Vec<bool>,
    /// Those of whom that was told once: an answer costs a liar nothing.
    alarmed: Vec<bool>,
    is_passed: bool,
    /// The disk is lost, or older than what was sent: no record before R13 has come to its end.
    pub(crate) is_failed: bool,
}

impl Fence {
    pub(crate) fn new(validators: usize) -> Self {
        let mut none = Vec::new();
        none.resize(validators, false);
        Self {
            answered: none.clone(),
            doubts: none.clone(),
            contradicted: none.clone(),
            alarmed: none,
            is_passed: false,
            is_failed: false,
        }
    }

    /// Whether a peer has answered, and holds nothing that the log does not.
    fn agrees(&self, peer: ValidatorIndex) -> bool {
        self.answered[peer.place()] && !self.doubts[peer.place()]
    }
}

impl Consensus {
    /// Puts back what the log says, before any other input (R12).
    pub(crate) fn restore(&mut self, now: Now, restored: Restored, effects: &mut Effects) {
        let set = self.config.set.clone();
        // Fetched bodies were logged as they came: parents first now.
        let mut blocks = restored.blocks;
        blocks.sort_by_key(|(_, header)| (header.window, header.index));
        for (id, header) in blocks {
            if let Some(state) = self.restored_window(header.window) {
                state.restore_block(&set, header, id);
            }
        }
        if restored.lease.is_lost {
            self.begin_recovery();
        }
        for own in restored.records {
            // The log's own records are ignored in windows of abstention, in every later run too,
            // and all of them while nobody knows how much they leave out (R13).
            if !self.may_speak_of(own.window) {
                continue;
            }
            let Some(state) = self.restored_window(own.window) else {
                continue;
            };
            state.own_tip = own
                .record
                .tip
                .and_then(|(index, id)| state.tally.tree.find_connected(index, id));
            // Without the block of its tip nothing is added that depends on its chain.
            state.is_frozen = own.record.tip.is_some() && state.own_tip.is_none();
            state.own = own.record.clone();
            state.persisted = own.record.clone();
            if let Some(tip) = state.own_tip {
                // R3 was satisfied of each block below it when the vote was made.
                self.mark_authentic(own.window, tip);
            }
            self.handle_durable(now, own, effects);
        }
        if set.is_genesis(&self.proven) {
            let genesis = crate::window::ReadyParent {
                point: set.genesis(),
                time_ns: set.genesis_time_ns(),
                signed: true,
            };
            if let Some(state) = self.window_mut(Window::ZERO) {
                state.add_parent(&set, genesis);
            }
        } else {
            // R9: the window of a proven block has been entered by whoever holds the proof.
            self.enter(self.proven.window, now, effects);
        }
        self.check_fence();
    }

    /// Restored state may lie above the range that peers' records are held to.
    fn restored_window(&mut self, window: Window) -> Option<&mut crate::window::WindowState> {
        if window < self.proven.window {
            return None;
        }
        let validators = self.config.set.len();
        Some(
            self.windows
                .entry(window)
                .or_insert_with(|| crate::window::WindowState::new(window, validators)),
        )
    }

    /// Goes on from records that could not be extended, where the blocks of their tips have come,
    /// and makes known which blocks of the log have found their places.
    pub(crate) fn place_logged(&mut self) {
        let finalized = self.finalized;
        let (mut placed, mut thawed) = (Vec::new(), Vec::new());
        for (window, state) in &mut self.windows {
            placed.extend(state.take_placed());
            thawed.extend(state.thaw(&finalized).map(|tip| (*window, tip)));
        }
        if !placed.is_empty() {
            // Bodies free votes in every window that stands on these blocks.
            self.windows
                .values_mut()
                .for_each(|state| state.is_dirty = true);
        }
        for (height, id) in placed {
            self.fetches.note_body(id);
            self.delivery.note_body(height, id);
        }
        for (window, tip) in thawed {
            self.mark_authentic(window, tip);
        }
    }

    /// Whether a record may be made in a window: where it may be said, and can be extended.
    pub(crate) fn may_act(&self, window: Window) -> bool {
        let state = self.windows.get(&window);
        self.may_say(window) && !state.is_some_and(|state| state.is_frozen)
    }

    /// Whether the own record of a window may be said, be it a new one or, to who has missed it,
    /// the one that stands: leased (R11), past the fence, not abstaining, and not settled: the
    /// fence takes no notice of what was said below the proven block, so nothing is said there
    /// again, not even in the turn in which the proof comes.
    pub(crate) fn may_say(&self, window: Window) -> bool {
        let leased = self.lease.lease.is_some_and(|lease| window <= lease);
        let abstains = self
            .lease
            .abstain_until
            .is_some_and(|until| window <= until);
        let is_settled = window < self.proven.window;
        self.fence.is_passed && !self.fence.is_failed && leased && !abstains && !is_settled
    }

    /// Whether a proposal may be made in a window now.
    pub(crate) fn may_propose(&self, window: Window) -> bool {
        self.may_act(window) && self.may_propose_ever(window)
    }

    /// Whether no restart forbids proposals in a window.
    pub(crate) fn may_propose_ever(&self, window: Window) -> bool {
        let lease = &self.lease;
        lease.no_proposals_until.is_none_or(|until| window > until)
            && lease.abstain_until.is_none_or(|until| window > until)
            && !self.fence.is_failed
    }

    /// Whether what this validator said is not known, and R13 has not found it yet.
    #[must_use]
    pub const fn is_lost(&self) -> bool {
        self.fence.is_failed
    }

    pub(crate) const fn is_recovering(&self) -> bool {
        !self.fence.is_passed || self.fence.is_failed
    }

    /// R11: `w + R` is leased in the background on entering `w`; not while abstaining there.
    pub(crate) fn extend_lease(&mut self, effects: &mut Effects) {
        let Some(entered) = self.entered else { return };
        if !self.may_speak_of(entered) {
            return;
        }
        let wanted = entered.plus(u64::from(self.config.set.turn_windows()));
        if self.lease_asked.is_none_or(|asked| asked < wanted) {
            self.lease_asked = Some(wanted);
            effects.push(Effect::PersistLease(Lease {
                lease: Some(wanted),
                ..self.lease
            }));
        }
    }

    pub(crate) fn handle_lease(&mut self, lease: Lease, effects: &mut Effects) -> Disposition {
        let has_recovered = self.finish_recovery(lease, effects);
        if !has_recovered && (lease.is_lost || lease.lease <= self.lease.lease) {
            return Disposition::Ignored(Ignored::Stale);
        }
        self.pace.timers_void |= self.entered > self.lease.lease;
        self.lease.lease = lease.lease;
        for state in self.windows.values_mut() {
            state.is_dirty = true;
        }
        Disposition::Applied
    }

    pub(crate) fn ask_fence(&self, peer: ValidatorIndex, effects: &mut Effects) {
        let is_over = self.fence.is_passed || self.fence.is_failed;
        if is_over || self.fence.agrees(peer) {
            return;
        }
        let message = Message::FenceAsk {
            incarnation: self.config.incarnation,
        };
        effects.push(Effect::Send {
            to: Destination::Peer(peer),
            message,
        });
    }

    /// Says what is held of the asker; a validator not past its own fence answers too, so that
    /// all can start at once.
    pub(crate) fn handle_fence_ask(
        &mut self,
        now: Now,
        from: ValidatorIndex,
        incarnation: u64,
        effects: &mut Effects,
    ) -> Disposition {
        if !self.may_answer(now, from) {
            return Disposition::Ignored(Ignored::Full);
        }
        let held = self.held_of(from);
        effects.push(Effect::Send {
            to: Destination::Peer(from),
            message: Message::FenceAnswer { incarnation, held },
        });
        Disposition::Applied
    }

    /// What shows best that the disk of a validator is older than what it said: its newest record
    /// of each window, highest first, for which it said last is not known; where that is not
    /// signed, the newest that is, too, since it is proof by itself; and its last words in windows
    /// that were dropped.
    fn held_of(&self, from: ValidatorIndex) -> Vec<HeldRecord> {
        let windows = self.windows.iter().rev();
        let records = windows.flat_map(|(window, state)| {
            let newest = held_in(*window, &state.tally, from);
            let lacks_signature = newest.as_ref().is_some_and(|one| one.signature.is_none());
            let signed = signed_in(*window, &state.tally, from).filter(|_| lacks_signature);
            newest.into_iter().chain(signed)
        });
        let dropped = self.last_words.of(from).cloned();
        let mut held: Vec<_> = records
            .take(limits::HELD_RECORDS_MAX - LAST_WORDS_MAX)
            .collect();
        held.extend(dropped);
        held
    }

    /// Keeps what everybody said last in windows below this one, which are about to be dropped.
    pub(crate) fn keep_last_words(&mut self, lowest: Window) {
        for (window, state) in self.windows.range(..lowest) {
            for index in self.config.set.indices() {
                let newest = held_in(*window, &state.tally, index);
                let signed = signed_in(*window, &state.tally, index);
                for held in newest.into_iter().chain(signed) {
                    self.last_words.hear(index, held);
                }
            }
        }
    }

    /// A record of a window that is settled here is counted nowhere any more, but it was said.
    pub(crate) fn hear_of_dropped(
        &mut self,
        from: ValidatorIndex,
        (window, record, signature): (Window, &Record, Option<SignatureBytes>),
    ) {
        if window < self.proven.window && !record.is_empty() {
            let held = HeldRecord {
                window,
                record: record.clone(),
                signature,
            };
            self.last_words.hear(from, held);
        }
    }

    /// An answer that comes after the fence has passed is read too: what it shows ends what would
    /// be said twice.
    pub(crate) fn handle_fence_answer(
        &mut self,
        from: ValidatorIndex,
        incarnation: u64,
        held: Vec<HeldRecord>,
        effects: &mut Effects,
    ) -> Disposition {
        if incarnation != self.config.incarnation {
            return Disposition::Ignored(Ignored::Stale);
        }
        let is_news = |held: &HeldRecord| self.is_news_of_own(held);
        let news: Vec<HeldRecord> = held.into_iter().filter(is_news).collect();
        let unsigned = news.iter().find(|one| one.signature.is_none());
        let unsigned = unsigned.map(|one| one.window);
        self.fence.answered[from.place()] = true;
        self.fence.doubts[from.place()] = !news.is_empty();
        if let Some(window) = unsigned {
            self.note_contradiction(from, window, effects);
        } else {
            self.fence.contradicted[from.place()] = false;
        }
        if let Some(held) = news.into_iter().find(|one| one.signature.is_some()) {
            let window = held.window;
            if !self.ask_check(from, Claim::FenceRecord { held }, effects) {
                // It may not be asked again: it counts as one without a signature does.
                self.note_contradiction(from, window, effects);
            }
        }
        self.check_fence();
        Disposition::Applied
    }

    /// Whether a peer holds something of this validator that its own log does not.
    fn is_news_of_own(&self, held: &HeldRecord) -> bool {
        if self
            .lease
            .abstain_until
            .is_some_and(|until| held.window <= until)
        {
            return false;
        }
        if self.lease.lease.is_none_or(|lease| held.window > lease) {
            return true;
        }
        let Some(state) = self.windows.get(&held.window) else {
            // Below the proven window every record is settled.
            return held.window >= self.proven.window;
        };
        let (own, held) = (&state.durable, &held.record);
        if !held.may_extend_to(own) {
            return true;
        }
        let tree = &state.tally.tree;
        let is_on_own_chain = |(index, id): (Index, BlockId)| {
            let Some(tip) = state.own_tip else {
                // The own chain is not here. What is below its tip came before, in order.
                return own.tip.is_some_and(|(tip, _)| index < tip);
            };
            let at = tree.ancestor_at(tip, index);
            at.is_some_and(|at| tree.block(at).id == id)
        };
        let tip_is_known = held.tip == own.tip || held.tip.is_none_or(is_on_own_chain);
        // A lost `also` is as bad as a lost vote: without it a Final could go above its fork.
        let is_covered = |entry: &(Index, BlockId)| {
            own.also.contains(entry)
                || tree
                    .find_connected(entry.0, entry.1)
                    .is_some_and(|place| state.own_supports(place))
        };
        // Headers of a branch may be missing here, since the bodies of final blocks are not waited
        // for. Own records are ordered: one that the own `also` cannot have grown to came before,
        // and the log, which holds a later one, covers it. What came after it the own `also` can
        // always have grown to, each entry to one of its own, so nothing that the log does not
        // cover passes for want of headers. One that neither can have grown to the other was said
        // beside it, over a copy of this disk.
        let is_earlier = !own.also_may_grow_to(held) && held.also_may_grow_to(own);
        !tip_is_known || !(is_earlier || held.also.iter().all(is_covered))
    }

    /// An unsigned contradiction counts only from weight AMP, so that one liar cannot silence us.
    fn note_contradiction(&mut self, from: ValidatorIndex, window: Window, effects: &mut Effects) {
        self.fence.contradicted[from.place()] = true;
        if !mem::replace(&mut self.fence.alarmed[from.place()], true) {
            self.alarm(Alarm::ForeignRecord(from), effects);
        }
        let set = &self.config.set;
        let weight: Stake = set
            .indices()
            .filter(|index| self.fence.contradicted[index.place()])
            .map(|index| set.stake(index))
            .sum();
        if weight >= set.thresholds().amplify {
            self.fail_fence(window, effects);
        }
    }

    /// A record with our own good signature that the log does not hold is proof by itself.
    pub(crate) fn take_fence_record(
        &mut self,
        from: ValidatorIndex,
        held: &HeldRecord,
        effects: &mut Effects,
    ) {
        if self.is_news_of_own(held) {
            self.fail_fence(held.window, effects);
        } else {
            // Settled meanwhile. Whatever else it holds, it says when it is asked again.
            self.fence.answered[from.place()] = false;
        }
    }

    fn fail_fence(&mut self, window: Window, effects: &mut Effects) {
        if !self.fence.is_failed {
            self.alarm(Alarm::DiskOlderThanSent(window), effects);
            self.begin_recovery();
            // Peers that know of it may be gone at the next start.
            effects.push(Effect::PersistLease(Lease {
                is_lost: true,
                ..self.lease
            }));
        }
    }

    /// Passes once peers of weight Q - w have answered that hold nothing which the log does not.
    pub(crate) fn check_fence(&mut self) {
        if self.fence.is_passed || self.fence.is_failed {
            return;
        }
        let set = &self.config.set;
        let answered: Stake = set
            .indices()
            .filter(|index| self.fence.agrees(*index))
            .map(|index| set.stake(index))
            .sum();
        if answered >= set.thresholds().quorum.minus(set.stake(self.config.own)) {
            self.fence.is_passed = true;
            // Time before this validator could act says nothing of a leader.
            self.pace.timers_void = true;
            for state in self.windows.values_mut() {
                state.is_dirty = true;
            }
        }
    }
}
