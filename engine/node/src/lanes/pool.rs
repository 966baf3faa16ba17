//! The pool itself: sessions by name, the lines of the four lanes, and what has waited longest.
//!
//! Owns admission, and the memory of what is final and what is chained. What finds room is said in
//! `room`, the making of payloads stands in `block`, the sending to leaders in `forward`. Never:
//! parses untrusted bytes (it is handed checked commands), sends, reads a clock.

use std::collections::VecDeque;

use quorate_consensus::payload::CommandView;

use super::correct::Losers;
use super::forward::{Forwarding, Way};
use super::gaps::Gaps;
use super::openings::Openings;
use super::peers::PeerShares;
use super::places::Places;
use super::pressure::Pressure;
use super::queue::{Command, Origin, SessionQueue, Times};
use super::spare::Spare;
use super::unchecked::Unchecked;
use super::verdict::{Admitted, LanesConfig, Rejection, Verdict};
use crate::state_machine::{Lane, SessionId};

/// Lanes there are.
pub(super) const LANES: usize = 4;

/// Highest number of a command that is kept, whoever sent it. A session's numbers begin with a time
/// in nanoseconds since 1970 and this is one in 2262, so none comes near it; and numbers can be
/// counted on from here without an end.
pub(crate) const SEQ_MAX: u64 = i64::MAX as u64;

/// Names one command for as long as it is kept; says nothing once it is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Handle {
    pub(super) slot: u32,
    pub(super) generation: u32,
    pub(super) seq: u64,
}

/// A handle and a time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timed {
    pub(super) at_ns: u64,
    pub(super) handle: Handle,
}

/// What admission did with a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    /// See the verdict.
    Judged(Verdict),
    /// It is final already: its result is asked for.
    Final,
}

/// What the pool counts, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LanesCounters {
    /// Commands taken from clients of this validator.
    pub accepted: u64,
    /// Commands taken from peers and abandoned blocks.
    pub taken_over: u64,
    /// Answers `Busy`.
    pub busy: u64,
    /// Answers `Rejected`.
    pub rejected: u64,
    /// Commands dropped because the number before them never came.
    pub gaps_expired: u64,
    /// Commands sent to every validator because they waited too long.
    pub fanned_out: u64,
    /// Commands of peers that were left out because their signatures are not good.
    pub forwards_refused: u64,
}

/// The command pool of one validator.
#[derive(Debug)]
pub struct Lanes {
    pub(super) config: LanesConfig,
    pub(super) sessions: Vec<SessionQueue>,
    pub(super) places: Places,
    free: Vec<u32>,
    pub(super) open_sessions: u32,
    /// Sessions whose head may be proposed, by the lane of the head. An entry that is no longer
    /// right is dropped when it is met.
    pub(super) lines: [VecDeque<u32>; LANES],
    /// Sessions with chained commands that are not final.
    pub(super) chained: Vec<u32>,
    /// Commands in the order in which they became ready; those gone are dropped at the front.
    pub(super) ages: VecDeque<Timed>,
    /// Commands behind a missing number, by when they are given up.
    pub(super) gapped: VecDeque<Timed>,
    /// Those that have come to wait for one again: when they are given up is not said yet.
    pub(super) regapped: Vec<Handle>,
    pub(super) forwarding: Forwarding,
    pub(super) losers: Losers,
    pub(super) unchecked: Unchecked,
    pub(super) pressure: Pressure,
    pub(super) openings: Openings,
    pub(super) commands: usize,
    /// The same by lane.
    pub(super) in_lane: [usize; LANES],
    /// How much of it no block can take yet, since a number before it is missing.
    pub(super) gaps: Gaps,
    /// How much of it is which peer's.
    pub(super) peers: PeerShares,
    pub(super) bytes: usize,
    pub(super) spare: Spare,
    is_stopping: bool,
    pub(super) is_disk_full: bool,
    pub(super) counters: LanesCounters,
}

impl Lanes {
    /// An empty pool.
    #[must_use]
    pub fn new(config: LanesConfig) -> Self {
        let forwarding = Forwarding::new(&config);
        Self {
            config,
            sessions: Vec::new(),
            places: Places::default(),
            free: Vec::new(),
            open_sessions: 0,
            lines: Default::default(),
            chained: Vec::new(),
            ages: VecDeque::new(),
            gapped: VecDeque::new(),
            regapped: Vec::new(),
            forwarding,
            losers: Losers::default(),
            unchecked: Unchecked::default(),
            pressure: Pressure::default(),
            openings: Openings::default(),
            commands: 0,
            in_lane: [0; LANES],
            gaps: Gaps::default(),
            peers: PeerShares::default(),
            bytes: 0,
            spare: Spare::default(),
            is_stopping: false,
            is_disk_full: false,
            counters: LanesCounters::default(),
        }
    }

    /// Says how far a session of the restored table is. Before anything else.
    pub fn restore_session(&mut self, id: SessionId, last_seq: u64) {
        let slot = self.slot_or_new(id);
        let session = &mut self.sessions[slot as usize];
        self.open_sessions += u32::from(!session.is_open);
        let gone = session.open_at(last_seq);
        debug_assert!(gone.is_empty(), "nothing is held yet");
    }

    /// Says that a session of the restored table has ended, with this last number. Before anything
    /// else.
    pub fn restore_ended(&mut self, id: SessionId, last_seq: u64) {
        self.openings.note_ended(id, last_seq);
    }

    /// Says the time of the block that is final last, or of the state that was restored.
    pub const fn note_block_time(&mut self, time_ns: u64) {
        self.openings.block_time_ns = time_ns;
    }

    /// Says what time it is by the wall clock, about that of the next block.
    pub const fn note_wall_time(&mut self, wall_ns: u64) {
        self.openings.wall_ns = wall_ns;
    }

    /// Whether commands carry their clients' signatures.
    pub(crate) const fn is_signed(&self) -> bool {
        self.config.is_signed
    }

    /// What a peer has of its commands at the leader at most.
    pub(crate) const fn forward_bytes_max(&self) -> usize {
        self.config.forward_bytes_max
    }

    /// How long what waits may be held back for a larger block.
    pub(crate) const fn hold_ns(&self) -> u64 {
        self.config.hold_ns
    }

    /// Commands kept.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.commands
    }

    /// Whether no command is kept.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.commands == 0
    }

    /// Bytes of the commands kept.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// What has been counted since the start.
    #[must_use]
    pub const fn counters(&self) -> &LanesCounters {
        &self.counters
    }

    /// A peer's commands were left out before they came here.
    pub(crate) const fn note_refused(&mut self, count: u64) {
        self.counters.forwards_refused += count;
    }

    /// From here on no client's command is taken.
    pub const fn stop_admitting(&mut self) {
        self.is_stopping = true;
    }

    /// While nothing can be logged clients are told to come again: what would be admitted now
    /// could not become final here.
    pub(crate) const fn set_disk_full(&mut self, is_full: bool) {
        self.is_disk_full = is_full;
    }

    /// Whether nothing can be logged for want of room.
    pub(crate) const fn is_disk_full(&self) -> bool {
        self.is_disk_full
    }

    /// When the command that has waited longest became ready, by the monotonic clock.
    pub fn oldest_waiting_ns(&mut self) -> Option<u64> {
        while let Some(front) = self.ages.front() {
            if self.is_ready(front.handle) {
                return Some(front.at_ns);
            }
            self.ages.pop_front();
        }
        None
    }

    pub(super) fn is_ready(&self, handle: Handle) -> bool {
        self.session(handle)
            .is_some_and(|session| session.is_ready(handle.seq))
    }

    pub(super) fn session(&self, handle: Handle) -> Option<&SessionQueue> {
        let session = self.sessions.get(handle.slot as usize)?;
        (session.generation == handle.generation).then_some(session)
    }

    pub(super) fn command(&self, handle: Handle) -> Option<&Command> {
        self.session(handle)?.command(handle.seq)
    }

    pub(super) fn handle(&self, slot: u32, seq: u64) -> Handle {
        Handle {
            slot,
            generation: self.sessions[slot as usize].generation,
            seq,
        }
    }

    pub(super) fn slot_or_new(&mut self, id: SessionId) -> u32 {
        if let Some(slot) = self.places.find(&id) {
            return slot;
        }
        let slot = if let Some(slot) = self.free.pop() {
            let generation = self.sessions[slot as usize].generation.wrapping_add(1);
            self.sessions[slot as usize] = SessionQueue::new(id, generation);
            slot
        } else {
            self.sessions.push(SessionQueue::new(id, 0));
            u32::try_from(self.sessions.len() - 1).unwrap_or(u32::MAX)
        };
        self.places.insert(id, slot);
        slot
    }

    /// Frees the place of a session that the chain does not know and that holds nothing.
    pub(super) fn free_if_unused(&mut self, slot: u32) {
        let session = &mut self.sessions[slot as usize];
        if !session.is_open && session.held() == 0 {
            let is_there = self.places.remove(&session.id);
            if is_there {
                session.release();
                self.free.push(slot);
            }
        }
    }

    /// Judges one command and keeps it if it is taken. Everything counts from now, but for what
    /// its client is told of finality, which counts from when it was received.
    pub(super) fn admit(
        &mut self,
        times: Times,
        view: &CommandView<'_>,
        origin: Origin,
    ) -> Admission {
        let id = SessionId(*view.session);
        let lane = Lane::from_u8(view.lane as u8).unwrap_or(Lane::Admin);
        let known = self.places.find(&id);
        let admission = match self.judge(times, view, known, lane, origin) {
            Ok(None) => {
                let slot = known.unwrap_or_else(|| self.slot_or_new(id));
                self.keep(times, slot, view, lane, origin);
                Admission::Judged(Verdict::Accepted)
            }
            Ok(Some(admission)) => admission,
            Err(verdict) => Admission::Judged(verdict),
        };
        match (origin, admission) {
            (Origin::Local, Admission::Judged(Verdict::Accepted)) => self.counters.accepted += 1,
            (_, Admission::Judged(Verdict::Accepted)) => self.counters.taken_over += 1,
            (_, Admission::Judged(Verdict::Busy { .. })) => self.counters.busy += 1,
            (_, Admission::Judged(Verdict::Rejected(_))) => self.counters.rejected += 1,
            (_, Admission::Final) => {}
        }
        admission
    }

    /// `Ok(None)`: keep it. `Ok(Some(_))`: nothing is left to do.
    fn judge(
        &mut self,
        times: Times,
        view: &CommandView<'_>,
        known: Option<u32>,
        lane: Lane,
        origin: Origin,
    ) -> Result<Option<Admission>, Verdict> {
        let now_ns = times.0;
        if view.body.len() > self.config.command_bytes_max {
            return Err(Verdict::Rejected(Rejection::TooLarge));
        }
        if view.seq > SEQ_MAX {
            // Whatever the clock says: an opening's number is a time.
            let reason = match view.is_open() {
                true => Rejection::OpeningTooFarAhead,
                false => Rejection::TooFarAhead,
            };
            return Err(Verdict::Rejected(reason));
        }
        let session = known.map(|slot| &self.sessions[slot as usize]);
        let open = session.filter(|session| session.is_open);
        if open.is_some_and(|open| view.seq <= open.last_seq) {
            return Ok(Some(Admission::Final));
        }
        if open.is_some() && view.is_open() {
            return Err(Verdict::Rejected(Rejection::SessionOpen));
        }
        if origin == Origin::Local && self.is_stopping {
            return Err(Verdict::Rejected(Rejection::Stopping));
        }
        if let Some(slot) = known
            && let Some(verdict) = self.meet_held(times, slot, view, lane, origin)
        {
            return verdict.map(|()| Some(Admission::Judged(Verdict::Accepted)));
        }
        let session = known.map(|slot| &self.sessions[slot as usize]);
        let (last_seq, ready_end) = match session.filter(|session| session.is_open) {
            Some(open) => (open.last_seq, open.ready_end),
            None => self.judge_unopened(view, session, origin)?,
        };
        if view.seq > ready_end.saturating_add(u64::from(self.config.gap_max)) {
            return Err(Verdict::Rejected(Rejection::TooFarAhead));
        }
        let rank = self.rank(now_ns, lane, origin);
        let session_max = u64::from(self.config.session_commands_max);
        let is_session_full = view.seq - last_seq > rank.share(session_max);
        let is_refused = self.is_disk_full && origin == Origin::Local;
        let bytes = view.entry.len();
        let is_gapped = view.seq > ready_end;
        let is_refused =
            is_refused || (is_gapped && !self.has_gap_room(now_ns, view, lane, origin));
        let is_refused = is_refused || !self.has_peer_room(origin, bytes);
        if is_refused || is_session_full || !self.has_room(now_ns, bytes, rank) {
            let retry_after_us = self.retry_after_us(now_ns);
            return Err(Verdict::Busy { retry_after_us });
        }
        Ok(None)
    }

    /// What to do with a command whose number is held already; `None` when it is not held.
    fn meet_held(
        &mut self,
        times: Times,
        slot: u32,
        view: &CommandView<'_>,
        lane: Lane,
        origin: Origin,
    ) -> Option<Result<(), Verdict>> {
        let session = &self.sessions[slot as usize];
        let is_chained = view.seq <= session.chained_seq;
        let held = session.command(view.seq)?;
        let is_same = *held.entry == *view.entry;
        if !is_same && (held.is_local() || origin != Origin::Local || is_chained) {
            return Some(Err(Verdict::Rejected(Rejection::Conflict)));
        }
        if held.is_local() || origin != Origin::Local {
            return Some(Ok(()));
        }
        // The client itself stands here; what a peer said in its name gives way, if what is longer
        // in the client's own finds room.
        let bytes = self.bytes - held.entry.len() + view.entry.len();
        let rank = self.rank(times.0, lane, Origin::Local);
        let bytes_max = rank.share(self.config.bytes_max as u64);
        if bytes > self.bytes && bytes as u64 > bytes_max {
            let retry_after_us = self.retry_after_us(times.0);
            return Some(Err(Verdict::Busy { retry_after_us }));
        }
        self.make_own(times, slot, view, lane);
        Some(Ok(()))
    }

    /// A command that is held is a client's of this validator from here on, as the client says it.
    fn make_own(&mut self, times: Times, slot: u32, view: &CommandView<'_>, lane: Lane) {
        let handle = self.handle(slot, view.seq);
        let Some(held) = self.sessions[slot as usize].command_mut(view.seq) else {
            return;
        };
        if held.is_gapped {
            self.gaps.end(held);
        }
        self.peers.subtract(held);
        if *held.entry != *view.entry {
            self.forwarding.give_back(held);
            held.way = Way::None;
            self.bytes = self.bytes - held.entry.len() + view.entry.len();
            let entry = self.spare.filled(view.entry);
            self.spare
                .give_back(std::mem::replace(&mut held.entry, entry));
            self.in_lane[held.lane as usize] -= 1;
            self.in_lane[lane as usize] += 1;
            held.lane = lane;
        }
        held.origin = Origin::Local;
        (held.admitted_ns, held.received_ns) = times;
        if held.is_gapped {
            self.gaps.begin(held);
        }
        self.forwarding.admitted(handle, held);
    }

    /// Drops what is gone from the middle of the lists, once most of a list is gone.
    pub(super) fn compact(&mut self) {
        let limit = 1024 + 2 * self.commands;
        if self.ages.len() > limit {
            let mut ages = std::mem::take(&mut self.ages);
            ages.retain(|timed| self.is_ready(timed.handle));
            self.ages = ages;
        }
        if self.gapped.len() > limit {
            let mut gapped = std::mem::take(&mut self.gapped);
            let waits = |timed: &Timed| {
                let command = self.command(timed.handle);
                command.is_some_and(|command| command.expires_ns == timed.at_ns)
            };
            gapped.retain(waits);
            self.gapped = gapped;
        }
    }

    /// Notes what became ready and puts the session into line.
    pub(super) fn make_ready(&mut self, now_ns: u64, slot: u32) {
        let session = &mut self.sessions[slot as usize];
        let generation = session.generation;
        for seq in session.extend_ready() {
            let handle = Handle {
                slot,
                generation,
                seq,
            };
            let command = session.command_mut(seq);
            if let Some(command) = command.filter(|command| command.is_gapped) {
                self.gaps.end(command);
                command.is_gapped = false;
                self.forwarding.found(handle, command);
            }
            self.ages.push_back(Timed {
                at_ns: now_ns,
                handle,
            });
        }
        self.line_up(slot);
    }

    pub(super) fn forget(&mut self, command: &Command) {
        self.commands -= 1;
        self.peers.subtract(command);
        self.forwarding.give_back(command);
        self.in_lane[command.lane as usize] -= 1;
        if command.is_gapped {
            self.gaps.end(command);
        }
        self.bytes -= command.entry.len();
    }

    /// Takes note of one command of a finalized block, by the rule of the session table; the
    /// order of calls is the finalized order.
    pub(super) fn finalize(
        &mut self,
        now_ns: u64,
        index: u32,
        view: &CommandView<'_>,
    ) -> Option<Admitted> {
        let (id, seq) = (SessionId(*view.session), view.seq);
        let known = self.places.find(&id);
        let is_open = known.is_some_and(|slot| self.sessions[slot as usize].is_open);
        if !is_open && view.is_open() {
            // However often an old one is put into blocks again.
            let is_timely = self.openings.opens(&id, seq);
            if !is_timely || self.open_sessions >= self.config.sessions_max {
                self.drop_opening(known?, seq);
                return None;
            }
            let slot = self.slot_or_new(id);
            self.begin(slot, seq);
            return self.apply_next(now_ns, index, slot, view);
        }
        let slot = known?;
        let is_next = is_open && !view.is_open();
        if is_next && seq == self.sessions[slot as usize].last_seq.saturating_add(1) {
            return self.apply_next(now_ns, index, slot, view);
        }
        self.notice_gap(slot, seq);
        None
    }

    /// A command was final that could not apply: if that is because what was thought to stand
    /// before it does not, all of the session is offered again.
    pub(super) fn notice_gap(&mut self, slot: u32, seq: u64) {
        let session = &mut self.sessions[slot as usize];
        if seq > session.last_seq && seq <= session.chained_seq {
            session.unchain();
            self.recount_gapped(slot);
            self.line_up(slot);
        }
    }

    pub(super) fn apply_next(
        &mut self,
        now_ns: u64,
        index: u32,
        slot: u32,
        view: &CommandView<'_>,
    ) -> Option<Admitted> {
        let session = &mut self.sessions[slot as usize];
        if session.held() == 0 {
            // Nearly every command where its client is not: nothing of it waits here to be ready.
            session.pass_next();
            return None;
        }
        let command = session.finalize_next();
        self.make_ready(now_ns, slot);
        let command = command?;
        if self.config.is_signed && *command.entry != *view.entry {
            // Execution will say which of the two was the client's.
            self.forget(&command);
            self.losers.push(command);
            return None;
        }
        let admitted = command.is_local().then(|| Admitted {
            index,
            latency_ns: now_ns.saturating_sub(command.received_ns),
        });
        self.drop_command(command);
        admitted
    }

    /// The session is not opened by this number, as far as the pool knows. If that is the opening
    /// held here, nothing of the session applies; else another one is, to which this is nothing.
    fn drop_opening(&mut self, slot: u32, seq: u64) {
        if self.sessions[slot as usize].opening() != Some(seq) {
            return;
        }
        let gone: Vec<Command> = self.sessions[slot as usize].drain();
        for command in &gone {
            self.forget(command);
        }
        // Another session may have ended for it, which execution will say.
        gone.into_iter()
            .for_each(|command| self.losers.push(command));
        self.free_if_unused(slot);
    }

    /// Takes note that a command stands in a block of the chain that is built on.
    pub(super) fn chain(&mut self, now_ns: u64, id: SessionId, seq: u64) {
        // Of a session that nothing is known of nothing is kept here that it could make ready.
        let Some(slot) = self.places.find(&id) else {
            return;
        };
        let session = &mut self.sessions[slot as usize];
        if seq == session.chained_seq.saturating_add(1) {
            session.chained_seq = seq;
            self.list_chained(slot);
            self.make_ready(now_ns, slot);
        }
    }

    pub(super) fn list_chained(&mut self, slot: u32) {
        let session = &mut self.sessions[slot as usize];
        if !session.is_listed_chained {
            session.is_listed_chained = true;
            self.chained.push(slot);
        }
    }

    /// The chain built on is given up: what stood in its blocks and is not final is offered
    /// again, before everything else, each session in its own order.
    pub fn unchain_all(&mut self) {
        let mut chained = std::mem::take(&mut self.chained);
        for &slot in chained.iter().rev() {
            let session = &mut self.sessions[slot as usize];
            session.is_listed_chained = false;
            session.unchain();
            self.line_up_first(slot);
            self.recount_gapped(slot);
        }
        chained.clear();
        self.chained = chained;
    }
}
