//! R10 REPAIR: Status, its answers, and requests for what is missing.
//!
//! Owns what is known of each peer and what has been asked of whom. Never: what an answer is worth
//! (blocks, proofs).

use crate::effect::{Destination, Effect, Effects};
use crate::limits;
use crate::machine::{Consensus, Disposition, Ignored};
use crate::message::{BlockRef, Get, Message, Status};
use crate::record::Record;
use crate::recover::Told;
use crate::types::{BlockId, Height, Index, Now, Stake, ValidatorIndex, Window};
use alloc::vec::Vec;

/// What is known of one peer.
#[derive(Debug, Default)]
pub(crate) struct Peer {
    pub(crate) is_up: bool,
    pub(crate) was_up: bool,
    /// The connection was lost and nothing has come since.
    pub(crate) is_lost: bool,
    /// Its last Status said that it may not propose in this window.
    pub(crate) cannot_lead: Option<Window>,
    pub(crate) heard_ns: u64,
    /// Its records count only after verification (5.1 e).
    pub(crate) verify_first: bool,
    good_signatures_since_ns: Option<u64>,
    /// A bad signature of it was told, and it has not been trusted again since.
    is_bad_told: bool,
    /// Bad signatures of its records since `bad_since_ns`, within one T_sig.
    bad_records: u32,
    bad_since_ns: u64,
    /// The highest window in which a record of it was told to contradict another.
    conflict_told: Option<Window>,
    /// Since when it has sent records without any good signature of its own.
    pub(crate) unsigned_since_ns: Option<u64>,
    /// A signature of it is being checked: its own slowness is not the peer's.
    pub(crate) signatures_checked: bool,
    /// Requests of it answered since `answers_since_ns`.
    answers: u32,
    answers_since_ns: u64,
    /// Claims of it whose signatures are being checked.
    pub(crate) checks: u32,
    /// Bytes that these take up, at most: of one that was refused they count until none is checked.
    pub(crate) check_bytes: usize,
    /// It is answered in R13 again from then on.
    pub(crate) recover_after_ns: u64,
    /// A question of it that was not asked before may cost a line of the log from then on.
    pub(crate) recover_line_after_ns: u64,
    /// The last answer that it was given, or is to be.
    pub(crate) told: Option<Told>,
    /// Evidence told against it in this run.
    pub(crate) evidence: u32,
    /// A certificate of it is being checked.
    pub(crate) certificates_checked: bool,
    /// So is one piece of evidence.
    pub(crate) evidence_checked: bool,
    pub(crate) retransmit_doublings: u32,
    next_status_ns: u64,
    last_status_ns: u64,
    /// When it was told the newest own states last, besides when they were new.
    state_told_ns: u64,
    answer_after_ns: u64,
    pub(crate) finalized: Height,
    flushed: Height,
    /// Window and tip of its last Status.
    last_tip: Option<(Window, Option<Index>)>,
    /// Since when that tip has stood, and how often blocks were sent again for it.
    tip_since_ns: u64,
    resends: u32,
    /// How many certificates of a parent that it lacks it was sent (R10).
    pub(crate) shown: usize,
}

impl Peer {
    /// A signature of it was bad: the second of good ones begins again.
    pub(crate) const fn forget_good_signatures(&mut self) {
        self.signatures_checked = false;
        self.good_signatures_since_ns = None;
    }

    /// A signature of a record of it was bad. Whether that is to be told: not again before it was
    /// trusted again, since the next bad one costs it nothing.
    fn note_bad_record(&mut self, now: Now, period_ns: u64) -> bool {
        self.verify_first = true;
        self.forget_good_signatures();
        if now.mono_ns.saturating_sub(self.bad_since_ns) >= period_ns {
            self.bad_since_ns = now.mono_ns;
            self.bad_records = 0;
        }
        self.bad_records = self.bad_records.saturating_add(1);
        !core::mem::replace(&mut self.is_bad_told, true)
    }

    /// Whether a record of it may be checked. Whoever had a bad signature could keep the thread
    /// that checks busy for nothing otherwise; an honest validator signs about once in a period.
    const fn is_worth_a_check(&self, now: Now, period_ns: u64) -> bool {
        let max = limits::BAD_RECORDS_PER_PERIOD_MAX;
        let is_over = now.mono_ns.saturating_sub(self.bad_since_ns) >= period_ns;
        !self.is_bad_told || (self.checks < max && (is_over || self.bad_records < max))
    }

    /// Whether a contradiction in this window is to be told: once a window, and none below.
    pub(crate) fn is_conflict_news(&mut self, window: Window) -> bool {
        let is_news = self.conflict_told < Some(window);
        self.conflict_told = self.conflict_told.max(Some(window));
        is_news
    }
}

/// Bytes of payloads a leader sends again for one Status.
const RESEND_BYTES_MAX: u64 = 512 * 1024;
/// Doublings of the wait before blocks are sent again for the same tip.
const RESEND_DOUBLINGS_MAX: u32 = 6;
/// Periods of T_sig without a good signature after which a peer counts only after verification.
const UNSIGNED_PERIODS: u64 = 10;
/// Periods of T_hb after the last vote for which a validator counts as busy, and not as idle.
const BUSY_PERIODS: u64 = 4;

impl Consensus {
    pub(crate) fn handle_peer_up(
        &mut self,
        now: Now,
        peer: ValidatorIndex,
        effects: &mut Effects,
    ) -> Disposition {
        if !self.config.set.contains(peer) || peer == self.config.own {
            return Disposition::Ignored(Ignored::Unasked);
        }
        let known = &mut self.peers[peer.place()];
        known.is_up = true;
        known.was_up = true;
        known.is_lost = false;
        known.heard_ns = now.mono_ns;
        known.next_status_ns = now.mono_ns;
        known.retransmit_doublings = 0;
        self.ask_fence(peer, effects);
        self.ask_recover(now, peer, effects);
        self.repeat_state(now, peer, effects);
        Disposition::Applied
    }

    /// Everything that is sent at intervals or asked for again.
    pub(crate) fn repair(&mut self, now: Now, effects: &mut Effects) {
        self.mark_turn(now);
        self.demote_unsigned(now);
        self.announce_ready(effects);
        self.send_statuses(now, effects);
        self.fetch_headers(now, effects);
        self.fetch_bodies(now, effects);
        self.fetch_parents(now, effects);
        self.fetch_history(now, effects);
    }

    /// The next Status goes to everybody at once.
    pub(crate) fn hurry_statuses(&mut self, now: Now) {
        for peer in &mut self.peers {
            peer.next_status_ns = peer.next_status_ns.min(now.mono_ns);
        }
    }

    fn send_statuses(&mut self, now: Now, effects: &mut Effects) {
        let timers = self.config.timers;
        let retransmit_ns = self.retransmit_ns();
        let since_progress_ns = now.mono_ns.saturating_sub(self.pace.progress_ns);
        let unsettled = self.is_unsettled(now);
        self.restart_own_timer(now);
        let mut status = None;
        for index in self.config.set.indices() {
            let peer = &self.peers[index.place()];
            if index == self.config.own
                || !peer.is_up
                || now.mono_ns < self.status_due_ns(index, unsettled)
            {
                continue;
            }
            let message = status.get_or_insert_with(|| self.status()).clone();
            let interval = if unsettled {
                (retransmit_ns << peer.retransmit_doublings.min(8)).min(timers.retransmit_max_ns)
            } else if since_progress_ns < timers.heartbeat_ns().saturating_mul(BUSY_PERIODS) {
                // Votes say that this validator is there, and most of what a Status does.
                timers.heartbeat_ns().max(retransmit_ns)
            } else {
                timers.heartbeat_ns()
            };
            let peer = &mut self.peers[index.place()];
            peer.next_status_ns = now.mono_ns.saturating_add(interval);
            peer.last_status_ns = now.mono_ns;
            if unsettled {
                peer.retransmit_doublings = peer.retransmit_doublings.saturating_add(1).min(8);
            }
            let message = Message::Status(message);
            effects.push(Effect::Send {
                to: Destination::Peer(index),
                message,
            });
            self.ask_fence(index, effects);
            self.ask_recover(now, index, effects);
            let told_ns = self.peers[index.place()].state_told_ns;
            if now.mono_ns >= told_ns.saturating_add(limits::STATE_REPEAT_NS) {
                self.repeat_state(now, index, effects);
            }
        }
    }

    fn repeat_state(&mut self, now: Now, peer: ValidatorIndex, effects: &mut Effects) {
        self.peers[peer.place()].state_told_ns = now.mono_ns;
        self.tell_state(peer, effects);
    }

    /// An interval set while idle is cut short when this validator becomes unsettled, but never
    /// below T_retx: an answer must not call for the next question.
    fn status_due_ns(&self, index: ValidatorIndex, unsettled: bool) -> u64 {
        let peer = &self.peers[index.place()];
        let retransmit = self.retransmit_ns();
        let soon = self
            .pace
            .progress_ns
            .max(peer.last_status_ns)
            .saturating_add(retransmit);
        if unsettled && peer.retransmit_doublings == 0 {
            peer.next_status_ns.min(soon)
        } else {
            peer.next_status_ns
        }
    }

    pub(crate) fn next_status_ns(&self) -> u64 {
        let waits = self.has_unsettled_state();
        self.config
            .set
            .indices()
            .filter(|&index| index != self.config.own && self.peers[index.place()].is_up)
            .map(|index| self.status_due_ns(index, waits))
            .min()
            .unwrap_or(u64::MAX)
    }

    fn is_unsettled(&self, now: Now) -> bool {
        let since = now.mono_ns.saturating_sub(self.pace.progress_ns);
        since >= self.retransmit_ns() && self.has_unsettled_state()
    }

    /// An own-voted position is not final yet, a window is closed and not left, or something is
    /// missing here.
    fn has_unsettled_state(&self) -> bool {
        let slots = self.config.set.slots();
        let voted = self
            .windows
            .range(self.finalized.window..)
            .any(|(_, state)| {
                let is_above = state.own_tip.is_some_and(|tip| {
                    let header = state.tally.tree.block(tip).header;
                    header.is_some_and(|header| header.height > self.finalized.height)
                });
                is_above || state.is_frozen
            });
        let closed = self
            .entered
            .and_then(|entered| self.windows.get(&entered))
            .is_some_and(|state| state.is_closed(slots));
        voted || closed || self.is_recovering() || !self.delivery.is_idle()
    }

    fn status(&self) -> Status {
        let window = self.window();
        let may_say = self.may_say(window);
        let state = self.windows.get(&window);
        Status {
            epoch: self.config.set.epoch(),
            finalized: self.finalized,
            proven: self.proven,
            window,
            record: state
                .filter(|_| may_say)
                .map_or_else(Record::default, |state| state.durable.clone()),
            gap: self.gap_window(),
            ready: self.ready_summary(window),
            flushed: self.flushed,
            abstains: self
                .lease
                .abstain_until
                .is_some_and(|until| window <= until),
            recovering: self.is_recovering(),
            no_proposals: !self.may_propose_ever(window),
        }
    }

    /// Lowest window from the proven one whose successor's PR has no signed evidence here.
    fn gap_window(&self) -> Option<Window> {
        let entered = self.entered?;
        let mut window = self.proven.window;
        while window < entered {
            let signed = self
                .windows
                .get(&window.next())
                .is_some_and(|state| state.parents.has_signed());
            if !signed {
                return Some(window);
            }
            window = window.next();
        }
        None
    }

    pub(crate) fn handle_status(
        &mut self,
        now: Now,
        from: ValidatorIndex,
        status: Status,
        effects: &mut Effects,
    ) -> Disposition {
        if status.epoch != self.config.set.epoch() {
            return Disposition::Ignored(Ignored::OtherEpoch);
        }
        let peer = &mut self.peers[from.place()];
        peer.finalized = status.finalized.height;
        // Not the highest of all that it said: it may have lost its disk since.
        peer.flushed = status.flushed;
        let cannot_lead = status.no_proposals || status.abstains;
        peer.cannot_lead = cannot_lead.then_some(status.window);
        let tip = status.record.tip.map(|(index, _)| index);
        if peer.last_tip != Some((status.window, tip)) {
            peer.last_tip = Some((status.window, tip));
            peer.tip_since_ns = now.mono_ns;
            peer.resends = 0;
        }
        let answers = now.mono_ns >= peer.answer_after_ns;
        self.note_peers_height();
        self.note_durable(effects);
        if self.config.set.leader(status.window) == from {
            self.restart_on_leader_status(now, status.window, tip);
        }
        self.hear_of_dropped(from, (status.window, &status.record, None));
        let mut disposition = Disposition::Applied;
        if !status.record.is_empty()
            && self.is_in_range(status.window)
            && !self.peers[from.place()].verify_first
        {
            disposition = self.count_record(from, status.window, &status.record, effects);
        }
        if answers {
            self.peers[from.place()].answer_after_ns =
                now.mono_ns.saturating_add(self.config.timers.retransmit_ns);
            self.r10_answer(now, from, &status, effects);
            self.resend_blocks(now, from, &status, effects);
        }
        match disposition {
            Disposition::Fault(_) => disposition,
            _ => Disposition::Applied,
        }
    }

    /// R10 REPAIR: what the peer lacks and I can prove, and my newest records of its window and
    /// of its gap window, whatever window I am in.
    fn r10_answer(&mut self, now: Now, to: ValidatorIndex, status: &Status, effects: &mut Effects) {
        if status.proven.height < self.proven.height
            && let Some(proof) = self.proof.clone()
        {
            self.send_certificates(to, alloc::vec![proof], effects);
        }
        let lacking = status.gap.map_or(status.window, |gap| gap).next();
        let entered = self.entered.unwrap_or(Window::ZERO);
        if (status.gap.is_some() || lacking <= entered)
            && let Some(certificates) = self.certificates_behind(lacking)
        {
            self.send_certificates(to, certificates, effects);
        }
        self.show_parent(to, status, effects);
        self.answer_with_record(now, to, status.window, status, effects);
        if let Some(gap) = status.gap
            && gap != status.window
        {
            self.answer_with_record(now, to, gap, status, effects);
        }
    }

    /// My newest signed record of a window, plus the newest unsigned one. That is signed now unless
    /// a record of the window was within the last T_sig: every Status asks, and while votes flow it
    /// would be several times as many signatures, each checked by everybody, for what T_sig brings
    /// anyway. Left out only when the peer's proven block already covers all that I voted there.
    fn answer_with_record(
        &mut self,
        now: Now,
        to: ValidatorIndex,
        window: Window,
        status: &Status,
        effects: &mut Effects,
    ) {
        if !self.may_say(window) {
            return;
        }
        let own = self.config.own;
        let sign_ns = self.sign_ns();
        let Some(state) = self.windows.get_mut(&window) else {
            return;
        };
        if state.durable.is_empty() {
            return;
        }
        let covered = !state.durable.stop
            && state.own_tip.is_some_and(|tip| {
                let header = state.tally.tree.block(tip).header;
                header.is_some_and(|header| header.height <= status.proven.height)
            });
        if covered && status.gap.is_none() {
            return;
        }
        let signed = state
            .tally
            .voter(own)
            .and_then(|voter| voter.signed.clone());
        let newest = state.durable.clone();
        let is_signed = signed.as_ref().is_some_and(|(record, _)| *record == newest);
        if !is_signed && state.signing.is_none() {
            let next_ns = state.signed_at_ns.map(|at| at.saturating_add(sign_ns));
            state.sign_now |= next_ns.is_none_or(|next_ns| now.mono_ns >= next_ns);
            state.unsigned_since_ns.get_or_insert(now.mono_ns);
        }
        if let Some((record, signature)) = signed {
            self.send_vote(
                Destination::Peer(to),
                window,
                record,
                Some(signature),
                effects,
            );
        }
        if !is_signed {
            self.send_vote(Destination::Peer(to), window, newest, None, effects);
        }
    }

    /// The leader sends unacknowledged blocks again: the peer's record shows its tip. A tip that
    /// stands for a while only, and few bytes at once: what is slow must not be made slower.
    fn resend_blocks(
        &mut self,
        now: Now,
        to: ValidatorIndex,
        status: &Status,
        effects: &mut Effects,
    ) {
        if self.config.set.leader(status.window) != self.config.own || status.record.stop {
            return;
        }
        let timers = &self.config.timers;
        let patience = (timers.progress_ns / 2).max(timers.retransmit_ns);
        let peer = &mut self.peers[to.place()];
        let stood = now.mono_ns.saturating_sub(peer.tip_since_ns);
        let doublings = peer.resends.min(RESEND_DOUBLINGS_MAX);
        let after = u64::from(peer.resends - doublings) << RESEND_DOUBLINGS_MAX;
        if stood < patience.saturating_mul((1 << doublings) + after) {
            return;
        }
        let above = status.record.tip.map(|(index, _)| index);
        let blocks = self.blocks_above(status.window, above);
        if !blocks.is_empty() {
            let peer = &mut self.peers[to.place()];
            peer.resends = peer.resends.saturating_add(1);
            effects.push(Effect::ServeBodies { to, blocks });
        }
    }

    /// The lowest blocks of the own chain above an index, up to `RESEND_BYTES_MAX` but one at
    /// least.
    fn blocks_above(&self, window: Window, above: Option<Index>) -> Vec<BlockRef> {
        let Some(state) = self.windows.get(&window) else {
            return Vec::new();
        };
        let Some(tip) = state.own_tip else {
            return Vec::new();
        };
        let tree = &state.tally.tree;
        let mut headers: Vec<_> = tree
            .chain(tip)
            .map(|place| tree.block(place))
            .take_while(|block| above.is_none_or(|above| block.index > above))
            .filter_map(|block| Some((block.id, block.header?)))
            .collect();
        headers.reverse();
        let mut bytes = 0_u64;
        headers
            .into_iter()
            .take_while(|(_, header)| {
                let first = bytes == 0;
                bytes = bytes.saturating_add(u64::from(header.payload_bytes).max(1));
                first || bytes <= RESEND_BYTES_MAX
            })
            .map(|(id, header)| BlockRef {
                height: header.height,
                id,
            })
            .collect()
    }

    /// Whether one more request of a peer is answered in this period: an answer costs far more than
    /// a question.
    pub(crate) fn may_answer(&mut self, now: Now, from: ValidatorIndex) -> bool {
        let period = self.config.timers.retransmit_ns;
        let peer = &mut self.peers[from.place()];
        if now.mono_ns.saturating_sub(peer.answers_since_ns) >= period {
            peer.answers = 0;
            peer.answers_since_ns = now.mono_ns;
        }
        let may = peer.answers < limits::ANSWERS_PER_PERIOD_MAX;
        peer.answers = peer.answers.saturating_add(u32::from(may));
        may
    }

    pub(crate) fn handle_get(
        &mut self,
        now: Now,
        from: ValidatorIndex,
        get: Get,
        effects: &mut Effects,
    ) -> Disposition {
        let is_costly = matches!(
            get,
            Get::Headers { .. } | Get::Ready { .. } | Get::History { .. }
        );
        if is_costly && !self.may_answer(now, from) {
            return Disposition::Ignored(Ignored::Full);
        }
        match get {
            Get::Headers {
                window,
                index,
                id,
                above,
            } => {
                return self.serve_headers(from, window, index, id, above, effects);
            }
            Get::Bodies(blocks) => effects.push(Effect::ServeBodies { to: from, blocks }),
            Get::History { top, count } => {
                let most = u32::try_from(limits::HEADERS_PER_ANSWER_MAX).unwrap_or(u32::MAX);
                effects.push(Effect::ServeHistory {
                    to: from,
                    top,
                    count: count.min(most),
                });
            }
            Get::Finality { at_least } => {
                effects.push(Effect::ServeFinality { to: from, at_least });
            }
            Get::Ready { window } => {
                let Some(certificates) = self.certificates_behind(window) else {
                    return Disposition::Ignored(Ignored::OutOfRange);
                };
                self.send_certificates(from, certificates, effects);
            }
        }
        Disposition::Applied
    }

    fn serve_headers(
        &self,
        to: ValidatorIndex,
        window: Window,
        index: Index,
        id: BlockId,
        above: Option<Index>,
        effects: &mut Effects,
    ) -> Disposition {
        let found = self.windows.get(&window).and_then(|state| {
            let tree = &state.tally.tree;
            tree.find_connected(index, id).map(|place| (tree, place))
        });
        let Some((tree, place)) = found else {
            return Disposition::Ignored(Ignored::OutOfRange);
        };
        let mut headers: Vec<_> = tree
            .chain(place)
            .take_while(|&at| above.is_none_or(|above| tree.block(at).index > above))
            .filter_map(|at| tree.block(at).header)
            .collect();
        headers.reverse();
        headers.truncate(limits::HEADERS_PER_ANSWER_MAX);
        let message = Message::Headers { window, headers };
        effects.push(Effect::Send {
            to: Destination::Peer(to),
            message,
        });
        Disposition::Applied
    }

    /// 5.1 e: a peer whose newest records have lacked a good signature for too long counts only
    /// after verification: its votes could convince nobody else.
    fn demote_unsigned(&mut self, now: Now) {
        let limit = self.sign_of_peers_ns().saturating_mul(UNSIGNED_PERIODS);
        for peer in &mut self.peers {
            let late = peer
                .unsigned_since_ns
                .is_some_and(|since| now.mono_ns.saturating_sub(since) > limit);
            if late && peer.is_up && !peer.signatures_checked {
                peer.verify_first = true;
                peer.good_signatures_since_ns = None;
            }
        }
    }

    /// Whether a signed record of this peer may be checked now.
    pub(crate) fn may_check_record_of(&self, now: Now, from: ValidatorIndex) -> bool {
        self.peers[from.place()].is_worth_a_check(now, self.sign_of_peers_ns())
    }

    /// A signature of a record of this peer was bad. Whether that is news.
    pub(crate) fn is_bad_record_news(&mut self, now: Now, from: ValidatorIndex) -> bool {
        let period_ns = self.sign_of_peers_ns();
        let peer = self.peers.get_mut(from.place());
        peer.is_some_and(|peer| peer.note_bad_record(now, period_ns))
    }

    pub(crate) fn note_signature_checked(&mut self, validator: ValidatorIndex) {
        if let Some(peer) = self.peers.get_mut(validator.place()) {
            peer.signatures_checked = false;
        }
    }

    /// A signature of a record newer than what was held signed. A validator counted after
    /// verification only is trusted again after a second of such signatures in time.
    pub(crate) fn note_good_signature(&mut self, now: Now, validator: ValidatorIndex) {
        const PROBATION_NS: u64 = 1_000_000_000;
        let Some(peer) = self.peers.get_mut(validator.place()) else {
            return;
        };
        peer.unsigned_since_ns = None;
        if !peer.verify_first {
            return;
        }
        let since = *peer.good_signatures_since_ns.get_or_insert(now.mono_ns);
        if now.mono_ns.saturating_sub(since) >= PROBATION_NS {
            peer.verify_first = false;
            peer.is_bad_told = false;
            peer.good_signatures_since_ns = None;
        }
    }

    pub(crate) fn handle_flushed(&mut self, height: Height, effects: &mut Effects) -> Disposition {
        self.flushed = self.flushed.max(height);
        self.note_durable(effects);
        Disposition::Applied
    }

    /// Notes how far peers of weight AMP say that finality is.
    fn note_peers_height(&mut self) {
        let set = &self.config.set;
        let others = set.indices().filter(|&peer| peer != self.config.own);
        let mut said: Vec<(Height, Stake)> = others
            .map(|peer| (self.peers[peer.place()].finalized, set.stake(peer)))
            .collect();
        said.sort_unstable_by(|one, other| other.cmp(one));
        let mut weight = Stake::ZERO;
        let reached = said.into_iter().find_map(|(height, stake)| {
            weight.add(stake);
            (weight >= set.thresholds().amplify).then_some(height)
        });
        self.peers_height = reached.unwrap_or(Height::ZERO);
        if !self.peers_heard {
            let has_said = |peer: &ValidatorIndex| self.peers[peer.place()].last_tip.is_some();
            let heard = set.indices().filter(|&peer| peer != self.config.own);
            let heard: Stake = heard.filter(has_said).map(|peer| set.stake(peer)).sum();
            self.peers_heard = heard >= set.thresholds().amplify;
        }
    }

    /// Durable finality: proof and bodies on the disks of weight 2F+1.
    fn note_durable(&mut self, effects: &mut Effects) {
        let set = &self.config.set;
        let own = self.config.own;
        let mut announced: Vec<(Height, Stake)> = set
            .indices()
            .map(|index| {
                let flushed = if index == own {
                    self.flushed
                } else {
                    self.peers[index.place()].flushed
                };
                (flushed, set.stake(index))
            })
            .collect();
        announced.sort_unstable_by(|a, b| b.cmp(a));
        let fault = set.thresholds().fault;
        let needed = fault.plus(fault).plus(Stake::new(1));
        let mut weight = Stake::ZERO;
        let reached = announced.into_iter().find_map(|(height, stake)| {
            weight.add(stake);
            (weight >= needed).then_some(height)
        });
        if let Some(height) = reached.filter(|height| *height > self.durable) {
            self.durable = height;
            effects.push(Effect::Durable(height));
        }
    }
}
