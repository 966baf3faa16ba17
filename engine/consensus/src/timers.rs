//! Time: progress timers, back-off, turns, suspicion. Touches liveness only, never safety.
//!
//! Owns when a window is given up for its leader's silence. Never: what a stop means
//! (window::rules), what is sent at intervals (repair).

use crate::effect::{Effect, Effects};
use crate::machine::{Consensus, Disposition, Ignored};
use crate::settling::Settling;
use crate::types::{Height, Index, Now, Stake, ValidatorIndex, Window};
use crate::window::WindowState;
use crate::window::rules::StopReason;

/// Timer settings, nanoseconds: those of a machine that bears its load. T_prog, T_retx, T_sig and
/// the holdoff of a Final stretch from there while finality takes longer (`settling`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimerConfig {
    /// T_prog: a window without progress for this long is stopped.
    pub progress_ns: u64,
    /// Cap of T_prog under back-off.
    pub progress_max_ns: u64,
    /// T_retx: an unsettled validator repeats its Status at this interval.
    pub retransmit_ns: u64,
    /// Cap of that interval for a peer that does not answer.
    pub retransmit_max_ns: u64,
    /// T_sig: the newest record is signed at latest this long after its change.
    pub sign_ns: u64,
    /// t_flush: the newest proof is logged at least this often.
    pub flush_ns: u64,
    /// T_censor: a command that waits longer marks the turn.
    pub censor_ns: u64,
    /// T_turn: a turn that lasts longer is marked.
    pub turn_ns: u64,
    /// T_turn while a command older than T_censor is held.
    pub turn_censored_ns: u64,
    /// How long a lone Final waits for the fast path.
    pub final_holdoff_ns: u64,
}

const MS: u64 = 1_000_000;

impl TimerConfig {
    /// For a shared or small machine.
    #[must_use]
    pub const fn laptop() -> Self {
        Self {
            progress_ns: 50 * MS,
            progress_max_ns: 2_000 * MS,
            retransmit_ns: 5 * MS,
            retransmit_max_ns: 50 * MS,
            sign_ns: 20 * MS,
            flush_ns: 20 * MS,
            censor_ns: 5_000 * MS,
            turn_ns: 30_000 * MS,
            turn_censored_ns: 2_000 * MS,
            final_holdoff_ns: MS / 2,
        }
    }

    /// For machines in one local network.
    #[must_use]
    pub const fn lan() -> Self {
        Self {
            retransmit_ns: 2 * MS,
            ..Self::laptop()
        }
    }

    /// For co-located machines with dedicated cores.
    #[must_use]
    pub const fn colo() -> Self {
        Self {
            progress_ns: 5 * MS,
            retransmit_ns: MS,
            sign_ns: MS,
            flush_ns: MS,
            censor_ns: 500 * MS,
            final_holdoff_ns: MS / 10,
            ..Self::laptop()
        }
    }

    /// The same where the stages of a validator share cores: what a signature, a check, a sync or a
    /// frame of its own takes is then missing on the way of the votes. T_prog stays, and with it
    /// what a lost leader costs.
    #[must_use]
    pub const fn on_shared_cores(self) -> Self {
        let patient = Self::laptop();
        Self {
            retransmit_ns: longer(self.retransmit_ns, patient.retransmit_ns),
            sign_ns: longer(self.sign_ns, patient.sign_ns),
            flush_ns: longer(self.flush_ns, patient.flush_ns),
            final_holdoff_ns: longer(self.final_holdoff_ns, patient.final_holdoff_ns),
            ..self
        }
    }

    /// T_hb: the interval of Status when idle.
    #[must_use]
    pub const fn heartbeat_ns(&self) -> u64 {
        self.progress_ns / 4
    }
}

const fn longer(one_ns: u64, other_ns: u64) -> u64 {
    if one_ns < other_ns { other_ns } else { one_ns }
}

/// Where this validator stands in time.
#[derive(Debug)]
pub(crate) struct Pace {
    /// k: doubles T_prog for each turn in which a window was stopped that had time.
    pub(crate) backoff: u32,
    /// Arrival of the oldest command that waits.
    pub(crate) waiting_since_ns: Option<u64>,
    turn: Option<u64>,
    turn_started_ns: u64,
    /// The turn whose windows are all to be stopped.
    marked: Option<u64>,
    turn_had_stop: bool,
    /// When an own window was last ended for having lost the fast path.
    pub(crate) gave_up_ns: Option<u64>,
    settled_ns: u64,
    /// Running timers measured a time in which this validator could not act.
    pub(crate) timers_void: bool,
    /// Execution was behind until this turn.
    pub(crate) was_behind: bool,
    /// Height of the proven block, and since when it has stood still below a block that the current
    /// window stands on, or that was voted for in it.
    pub(crate) tail: Option<(Height, u64)>,
    /// Last change of the own records or of finality.
    pub(crate) progress_ns: u64,
    pub(crate) settling: Settling,
}

/// Doublings of T_prog at most.
const BACKOFF_DOUBLINGS_MAX: u32 = 9;
/// Idle Status periods after which a silent leader is suspected.
const SILENT_PERIODS: u64 = 10;

impl Pace {
    pub(crate) const fn new(now: Now) -> Self {
        Self {
            backoff: 0,
            waiting_since_ns: None,
            turn: None,
            turn_started_ns: now.mono_ns,
            marked: None,
            turn_had_stop: false,
            gave_up_ns: None,
            settled_ns: now.mono_ns,
            timers_void: false,
            was_behind: false,
            tail: None,
            progress_ns: now.mono_ns,
            settling: Settling::new(),
        }
    }
}

impl Consensus {
    /// T_sig as it is at present.
    pub(crate) const fn sign_ns(&self) -> u64 {
        self.pace.settling.sign_ns(&self.config.timers)
    }

    /// T_sig as others may have it, whatever this one's is: by it they are judged. Whose stages
    /// share cores signs less often than who has a core for signatures.
    pub(crate) const fn sign_of_peers_ns(&self) -> u64 {
        longer(self.sign_ns(), TimerConfig::laptop().sign_ns)
    }

    /// `final_holdoff` as it is at present.
    pub(crate) const fn final_holdoff_ns(&self) -> u64 {
        self.pace.settling.final_holdoff_ns(&self.config.timers)
    }

    /// T_retx as it is at present. The leader's Status keeps the timers of the others from running
    /// out, so its interval grows no longer than T_hb.
    pub(crate) fn retransmit_ns(&self) -> u64 {
        let timers = &self.config.timers;
        let stretched = self.pace.settling.retransmit_ns(timers);
        if self.leader() == self.config.own {
            stretched.min(timers.heartbeat_ns().max(timers.retransmit_ns))
        } else {
            stretched
        }
    }

    /// T_prog with the present back-off.
    pub(crate) fn progress_timeout_ns(&self) -> u64 {
        let timers = &self.config.timers;
        let doubled = timers.progress_ns << self.pace.backoff.min(BACKOFF_DOUBLINGS_MAX);
        let longest = timers.progress_max_ns.max(timers.progress_ns);
        let least = self.pace.settling.progress_ns(timers);
        doubled.max(least).min(longest)
    }

    /// When the caller must come back with `Settle` at latest, by the monotonic clock. Often
    /// enough that an own suspension is noticed.
    #[must_use]
    pub fn next_deadline_ns(&self) -> u64 {
        let settled = self.pace.settled_ns;
        let timers = &self.config.timers;
        let sign_ns = self.sign_ns();
        let per_window = self.windows.values().flat_map(|state| {
            let unsigned = state.unsigned_since_ns.filter(|_| state.signing.is_none());
            [
                state.timer_ns,
                unsigned.map(|since| since.saturating_add(sign_ns)),
                state.final_due_ns,
                state.arrives_ns,
            ]
        });
        let header = self.proposals.unsigned;
        let header = header.filter(|_| !self.proposals.is_signing);
        let header = header.map(|(_, _, since)| since.saturating_add(sign_ns));
        // What was due at the last turn was judged there; it does not call for another one.
        per_window
            .flatten()
            .chain(header)
            .chain([self.next_status_ns()])
            .filter(|&at| at > settled)
            .fold(settled.saturating_add(timers.progress_ns / 8), u64::min)
    }

    /// One's own suspension is not evidence against the leader: after a gap longer than a quarter
    /// of the timeout all timers start anew.
    pub(crate) fn notice_suspension(&mut self, now: Now) {
        let gap = now.mono_ns.saturating_sub(self.pace.settled_ns);
        self.pace.settled_ns = now.mono_ns;
        let void = core::mem::take(&mut self.pace.timers_void);
        let suspended = gap > self.progress_timeout_ns() / 4;
        if !void && !suspended {
            return;
        }
        self.counters.suspensions = self
            .counters
            .suspensions
            .saturating_add(u64::from(suspended));
        self.restart_timers(now);
        // However long it was, nobody is silent for it; and whoever is has half of the time again.
        let silent_ns = self.config.timers.heartbeat_ns() * SILENT_PERIODS;
        let since_ns = now.mono_ns.saturating_sub(gap.min(silent_ns) / 2);
        for peer in &mut self.peers {
            peer.heard_ns = peer.heard_ns.max(since_ns);
            peer.unsigned_since_ns = None;
        }
    }

    /// No more is the own slowness to execute (2.9): no timer runs out while this validator keeps
    /// its votes back, and each has its whole time when it has gone on.
    pub(crate) fn hold_timers(&mut self, now: Now) {
        if self.is_behind || core::mem::take(&mut self.pace.was_behind) {
            self.restart_timers(now);
        }
    }

    fn restart_timers(&mut self, now: Now) {
        let windows = self.select(|_, _, state| state.timer_ns.is_some());
        for &window in &windows {
            self.restart_timer(window, now);
        }
        self.give_back(windows);
    }

    /// Starts the progress timer of a window anew; none once it is closed or `sfin` is above it.
    pub(crate) fn restart_timer(&mut self, window: Window, now: Now) {
        let timeout = self.progress_timeout_ns();
        let slots = self.config.set.slots();
        let above = self.proven.window > window;
        if let Some(state) = self.windows.get_mut(&window) {
            let runs = !above && !state.is_closed(slots);
            state.timer_ns = runs.then(|| now.mono_ns.saturating_add(timeout));
        }
    }

    /// A new index notarized restarts the timer of its window.
    pub(crate) fn restart_on_notarized(&mut self, window: Window, now: Now) {
        let Some(state) = self.windows.get_mut(&window) else {
            return;
        };
        let notarized = state.tally.highest_notarized();
        if notarized > state.timer_notarized {
            state.timer_notarized = notarized;
            if state.timer_ns.is_some() {
                self.restart_timer(window, now);
            }
        }
    }

    /// The current leader's Status with a tip at least mine restarts the current window's timer,
    /// while no command has waited longer than T_prog, and no block of the window or below it for
    /// its proof; never that of a lower window.
    pub(crate) fn restart_on_leader_status(
        &mut self,
        now: Now,
        window: Window,
        tip: Option<Index>,
    ) {
        let patience = self.progress_timeout_ns();
        let waits = self
            .pace
            .waiting_since_ns
            .is_some_and(|since| now.mono_ns.saturating_sub(since) > patience)
            || self.tail_waits(now, patience.saturating_add(self.proof_patience_ns()));
        let level = self
            .windows
            .get(&window)
            .is_some_and(|state| tip >= state.own_tip_index());
        if self.entered == Some(window) && level && !waits {
            self.restart_timer(window, now);
        }
    }

    /// An idle leader's own Status restarts its own timer too: it would stop itself while everyone
    /// else sees it alive.
    pub(crate) fn restart_own_timer(&mut self, now: Now) {
        let Some(window) = self.entered else { return };
        if self.config.set.leader(window) != self.config.own {
            return;
        }
        let tip = self
            .windows
            .get(&window)
            .and_then(WindowState::own_tip_index);
        self.restart_on_leader_status(now, window, tip);
    }

    /// Notes the start of another turn, and what the last one does to the back-off.
    pub(crate) fn note_turn(&mut self, window: Window, now: Now) {
        let turn = self.config.set.turn(window);
        if self.pace.turn == Some(turn) {
            return;
        }
        if self.pace.turn.is_some() && !self.pace.turn_had_stop {
            self.pace.backoff = self.pace.backoff.saturating_sub(1);
        }
        self.pace.turn = Some(turn);
        self.pace.turn_started_ns = now.mono_ns;
        self.pace.turn_had_stop = false;
    }

    /// Marks a turn that lasts too long, the more so while a command is kept waiting (2.6): it
    /// bounds a withholding leader and an abstention after a restart.
    fn is_turn_marked(&self, window: Window, now: Now) -> bool {
        let turn = self.config.set.turn(window);
        if self.pace.marked == Some(turn) {
            return true;
        }
        if self.pace.turn != Some(turn) {
            return false;
        }
        let timers = &self.config.timers;
        let lasted = now.mono_ns.saturating_sub(self.pace.turn_started_ns);
        let waited = self
            .pace
            .waiting_since_ns
            .map_or(0, |since| now.mono_ns.saturating_sub(since));
        let censored = waited > timers.censor_ns;
        lasted > timers.turn_ns || (censored && lasted > timers.turn_censored_ns)
    }

    /// R5 STOP, its reasons outside the votes: timer, marked turn, suspected or faulty leader,
    /// shutdown. Only in a window that was entered, or that lies below one (R13 rests on this).
    pub(crate) fn must_stop(
        &self,
        window: Window,
        state: &WindowState,
        now: Now,
    ) -> Option<StopReason> {
        let entered = self.entered.is_some_and(|entered| window <= entered);
        if !entered || state.is_closed(self.config.set.slots()) || !self.may_say(window) {
            return None;
        }
        if state.timer_ns.is_some_and(|at| now.mono_ns >= at) {
            return Some(StopReason::Timer);
        }
        let policy = self.shutdown
            || state.leader_fault
            || self.is_turn_marked(window, now)
            || self.is_suspected(window, now);
        if policy {
            return Some(StopReason::Policy);
        }
        self.gives_up_slow_window(window, state, now)
            .then_some(StopReason::Slow)
    }

    /// Whether the leader of a window is given no time at all (T_prog := 0).
    fn is_suspected(&self, window: Window, now: Now) -> bool {
        let leader = self.config.set.leader(window);
        if leader == self.config.own {
            return self.shutdown || !self.may_propose_ever(window);
        }
        let peer = &self.peers[leader.place()];
        let heartbeat = self.config.timers.heartbeat_ns();
        let silent = now.mono_ns.saturating_sub(peer.heard_ns)
            > heartbeat.saturating_mul(SILENT_PERIODS)
            && self.active_weight(now) >= self.config.set.thresholds().quorum
            && peer.was_up;
        peer.is_lost
            || silent
            || self.has_announced_no_blocks(window, leader)
            || self.follows_failure(window)
    }

    /// The leader has said that it may not propose in this turn. What it said of an earlier turn
    /// has ended with that one: were it taken for more, the windows of all who have started again
    /// would burn before any of them can say that it may propose by now.
    fn has_announced_no_blocks(&self, window: Window, leader: ValidatorIndex) -> bool {
        let turn = |window| self.config.set.turn(window);
        let announced = self.peers[leader.place()].cannot_lead;
        announced.is_some_and(|at| turn(at) >= turn(window))
    }

    /// Weight of validators heard within the silence limit, this one included.
    fn active_weight(&self, now: Now) -> Stake {
        let limit = self
            .config
            .timers
            .heartbeat_ns()
            .saturating_mul(SILENT_PERIODS);
        self.config
            .set
            .indices()
            .filter(|&index| {
                index == self.config.own
                    || now
                        .mono_ns
                        .saturating_sub(self.peers[index.place()].heard_ns)
                        <= limit
            })
            .map(|index| self.config.set.stake(index))
            .sum()
    }

    /// PR of this window rests on a Skip of the one before, in the same turn, and no block of
    /// that one was notarized: the rest of a dead leader's turn burns at network speed.
    fn follows_failure(&self, window: Window) -> bool {
        let Some(before) = window.previous() else {
            return false;
        };
        if self.config.set.turn(before) != self.config.set.turn(window) {
            return false;
        }
        let Some(failed) = self.windows.get(&before) else {
            return false;
        };
        let skipped =
            crate::windows::lowest(failed.tally.skip_start(&self.config.set), failed.skip_fact);
        skipped == Some(Index::ZERO) && failed.tally.highest_notarized().is_none()
    }

    /// Books a stop.
    pub(crate) fn note_stop(
        &mut self,
        now: Now,
        window: Window,
        reason: StopReason,
        effects: &mut Effects,
    ) {
        let counter = match reason {
            StopReason::Timer => &mut self.counters.stops_timer,
            StopReason::Predicate => &mut self.counters.stops_predicate,
            StopReason::Policy => &mut self.counters.stops_policy,
            StopReason::Slow => {
                self.pace.gave_up_ns = Some(now.mono_ns);
                &mut self.counters.stops_slow
            }
        };
        *counter = counter.saturating_add(1);
        if let Some(state) = self.windows.get_mut(&window) {
            state.timed_out |= reason == StopReason::Timer;
            state.timer_ns = None;
        }
        effects.push(Effect::Stopped(window));
    }

    /// Back-off after the stop of a window whose leader was given time, at most once a turn. By
    /// the votes of others as by the own timer: of those who wait equally long one timer fires
    /// first, and what it says stops the rest beside a Byzantine validator that always stops. If
    /// that lowered their k, they would take turns at being first, and T_prog would never become
    /// long enough for an honest one that is slow.
    pub(crate) fn back_off(&mut self, window: Window) {
        let turn = self.config.set.turn(window);
        if self.pace.turn == Some(turn) && !self.pace.turn_had_stop {
            self.pace.turn_had_stop = true;
            let longer = self.pace.backoff.saturating_add(1);
            self.pace.backoff = longer.min(BACKOFF_DOUBLINGS_MAX);
        }
    }

    /// Marks the turn of a window whose leader put commands into a block that their clients have
    /// not signed, if it has not ended (2.6). Each costs every validator a check of its own, and a
    /// leader that may go on brings them faster than they are checked.
    pub(crate) fn mark_turn_of(&mut self, window: Window) -> Disposition {
        let turn = self.config.set.turn(window);
        let is_own = self.config.set.leader(window) == self.config.own;
        let current = self.entered.map(|entered| self.config.set.turn(entered));
        if is_own || current != Some(turn) {
            return Disposition::Ignored(Ignored::Stale);
        }
        self.note_marked(turn);
        Disposition::Applied
    }

    fn note_marked(&mut self, turn: u64) {
        if self.pace.marked != Some(turn) {
            self.pace.marked = Some(turn);
            self.counters.turns_marked = self.counters.turns_marked.saturating_add(1);
        }
    }

    /// Keeps a marked turn marked until it ends.
    pub(crate) fn mark_turn(&mut self, now: Now) {
        let Some(window) = self.entered else { return };
        let turn = self.config.set.turn(window);
        if self.is_turn_marked(window, now) {
            self.note_marked(turn);
        }
    }

    pub(crate) fn note_own_progress(&mut self, now: Now) {
        self.pace.progress_ns = now.mono_ns;
    }

    pub(crate) fn note_heard(&mut self, now: Now, from: ValidatorIndex) {
        let peer = &mut self.peers[from.place()];
        peer.heard_ns = now.mono_ns;
        peer.is_lost = false;
        peer.retransmit_doublings = 0;
    }

    pub(crate) fn handle_peer_down(&mut self, peer: ValidatorIndex) -> Disposition {
        let Some(peer) = self.peers.get_mut(peer.place()) else {
            return Disposition::Ignored(Ignored::Stale);
        };
        peer.is_lost = peer.was_up;
        peer.is_up = false;
        peer.unsigned_since_ns = None;
        Disposition::Applied
    }
}
