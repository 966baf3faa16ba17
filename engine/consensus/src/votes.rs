//! Records coming in, own records going out.
//!
//! Owns the one path on which a record is counted, the evaluation of R3 to R7, and the order
//! persist, count, send, sign of own records (R11). Never: what the guards are (window::rules).

use crate::accuse::{accuse, accuse_of_two};
use crate::certificate::{SignatureBytes, SignedRecord};
use crate::effect::{Alarm, Destination, Effect, Effects};
use crate::machine::{Consensus, Disposition, Durability, Ignored, PeerFault};
use crate::message::{Message, Vote};
use crate::record::{OwnRecord, Record};
use crate::types::{BlockId, Index, Now, ValidatorIndex, Window};
use crate::verify::Claim;
use crate::window::WindowState;
use crate::window::rules::{StopReason, Surroundings};
use crate::window::tally::Counting;
use crate::windows::Walked;
use alloc::vec::Vec;

impl Consensus {
    /// A vote over its author's own channel: counted at once; its signature is checked later.
    pub(crate) fn handle_vote(
        &mut self,
        now: Now,
        from: ValidatorIndex,
        vote: Vote,
        effects: &mut Effects,
    ) -> Disposition {
        let Vote {
            epoch,
            window,
            record,
            signature,
        } = vote;
        if epoch != self.config.set.epoch() {
            return Disposition::Ignored(Ignored::OtherEpoch);
        }
        if !self.is_in_range(window) {
            self.hear_of_dropped(from, (window, &record, signature));
            return Disposition::Ignored(Ignored::OutOfRange);
        }
        let is_news = self.is_signature_news(from, window, &record);
        let peer = &mut self.peers[from.place()];
        if is_news {
            // What is held signed owes no signature: R10 sends it again.
            peer.unsigned_since_ns.get_or_insert(now.mono_ns);
        }
        // A peer whose signatures failed or fail to come counts only after verification (5.1 e).
        let counts = !peer.verify_first;
        if let Some(signature) = signature
            && is_news
            && self.may_check_record_of(now, from)
        {
            let signed = SignedRecord {
                validator: from,
                record: record.clone(),
                signature,
            };
            let is_asked = self.ask_check(from, Claim::Record { window, signed }, effects);
            self.peers[from.place()].signatures_checked |= is_asked;
        }
        if !counts {
            return Disposition::Ignored(Ignored::Pending);
        }
        self.count_record(from, window, &record, effects)
    }

    fn is_signature_news(&self, from: ValidatorIndex, window: Window, record: &Record) -> bool {
        let held = self
            .windows
            .get(&window)
            .and_then(|state| state.tally.voter(from))
            .and_then(|voter| voter.signed.as_ref());
        held.is_none_or(|(held, _)| held != record)
    }

    /// Counts a record of a validator: the same path for peers and for this one.
    pub(crate) fn count_record(
        &mut self,
        from: ValidatorIndex,
        window: Window,
        record: &Record,
        effects: &mut Effects,
    ) -> Disposition {
        let set = self.config.set.clone();
        let Some(state) = self.window_mut(window) else {
            return Disposition::Ignored(Ignored::OutOfRange);
        };
        match state.tally.count(&set, from, record) {
            Counting::Counted => {
                state.is_dirty = true;
                Disposition::Applied
            }
            Counting::Stale => Disposition::Ignored(Ignored::Stale),
            Counting::Pending => Disposition::Ignored(Ignored::Pending),
            Counting::Conflict => {
                self.note_misbehaviour(from, window, PeerFault::Conflict, effects)
            }
            Counting::Inconsistent => {
                self.note_misbehaviour(from, window, PeerFault::Inconsistent, effects)
            }
        }
    }

    /// A record that contradicts another is local knowledge (2.10): an alarm, not evidence. One a
    /// window says all that there is to say, and a window has room for thousands of such records.
    fn note_misbehaviour(
        &mut self,
        from: ValidatorIndex,
        window: Window,
        fault: PeerFault,
        effects: &mut Effects,
    ) -> Disposition {
        self.counters.conflicts = self.counters.conflicts.saturating_add(1);
        let peer = self.peers.get_mut(from.place());
        if peer.is_some_and(|peer| peer.is_conflict_news(window)) {
            self.alarm(Alarm::Equivocation(from), effects);
        }
        Disposition::Fault(fault)
    }

    /// Counts held records whose headers have come, and compares signed ones that waited for them.
    pub(crate) fn count_pending(&mut self, effects: &mut Effects) -> bool {
        let set = self.config.set.clone();
        let (mut misbehaved, mut accused) = (Vec::new(), Vec::new());
        let mut changed = false;
        for (&window, state) in &mut self.windows {
            if state.is_dirty && state.tally.lacks_headers() {
                let mut found = Vec::new();
                let counted = state.tally.retry_pending(&set, &mut found);
                misbehaved.extend(found.into_iter().map(|(validator, _)| (validator, window)));
                state.is_signed_dirty |= counted;
                changed |= counted;
                while let Some((before, newest)) = state.tally.take_comparable(&set) {
                    accused.extend(accuse_of_two(&set, state, &before, &newest));
                }
            }
        }
        for (validator, window) in misbehaved {
            self.note_misbehaviour(validator, window, PeerFault::Conflict, effects);
        }
        for evidence in accused {
            self.tell_evidence(evidence, effects);
        }
        changed
    }

    /// A record with a good signature: kept as transferable, and counted. Two that are not
    /// ordered are evidence E2, one that contradicts itself is E3.
    pub(crate) fn take_signed_record(
        &mut self,
        now: Now,
        window: Window,
        signed: SignedRecord,
        effects: &mut Effects,
    ) {
        let set = self.config.set.clone();
        let Some(state) = self.window_mut(window) else {
            // Its window was settled while the signature was checked.
            self.note_good_signature(now, signed.validator);
            let word = (window, &signed.record, Some(signed.signature));
            self.hear_of_dropped(signed.validator, word);
            return;
        };
        if let Some(evidence) = accuse(&set, state, &signed) {
            self.tell_evidence(evidence, effects);
            return;
        }
        let SignedRecord {
            validator,
            record,
            signature,
        } = signed;
        let Some(voter) = state.tally.voter(validator) else {
            return;
        };
        let is_older = voter.signed.as_ref().is_some_and(|(held, _)| {
            held == &record || !held.may_extend_to(&record) || !held.also_may_grow_to(&record)
        });
        if is_older {
            return;
        }
        let before = state
            .tally
            .keep_signed(validator, (record.clone(), signature));
        // Compared above, as far as the headers are here; when they are not, once they are.
        if state.tally.knows_all_of(&record) {
            state.tally.keep_before(validator, None);
        } else if before
            .as_ref()
            .is_some_and(|(held, _)| state.tally.knows_all_of(held))
        {
            state.tally.keep_before(validator, before);
        }
        state.is_signed_dirty = true;
        state.is_dirty = true;
        self.note_good_signature(now, validator);
        if validator != self.config.own {
            self.count_record(validator, window, &record, effects);
        }
    }

    pub(crate) const fn handle_waiting(&mut self, oldest_ns: Option<u64>) -> Disposition {
        self.pace.waiting_since_ns = oldest_ns;
        Disposition::Applied
    }

    /// Execution is behind, or no more (2.9). What was held is voted for at the end of this turn.
    pub(crate) fn handle_behind(&mut self, is_behind: bool) -> Disposition {
        if self.is_behind == is_behind {
            return Disposition::Ignored(Ignored::Stale);
        }
        self.is_behind = is_behind;
        self.counters.behind = self.counters.behind.saturating_add(is_behind.into());
        if !is_behind {
            self.pace.was_behind = true;
            for state in self.windows.values_mut() {
                state.is_dirty = true;
            }
        }
        Disposition::Applied
    }

    /// R3 to R7 over every window in which this validator may act. `true` when a record changed.
    pub(crate) fn vote(&mut self, now: Now, effects: &mut Effects) -> bool {
        let dirty = self.select(|consensus, window, state| {
            state.is_dirty || state.is_due(now) || consensus.must_stop(window, state, now).is_some()
        });
        let mut changed = false;
        for &window in &dirty {
            if self.may_say(window) {
                changed |= self.vote_in(window, now, effects);
            }
            self.restart_on_notarized(window, now);
            if let Some(state) = self.windows.get_mut(&window) {
                state.is_dirty = false;
            }
        }
        self.give_back(dirty);
        changed
    }

    fn vote_in(&mut self, window: Window, now: Now, effects: &mut Effects) -> bool {
        let set = self.config.set.clone();
        let stop = self
            .windows
            .get(&window)
            .and_then(|state| self.must_stop(window, state, now));
        let may_stop = self.entered.is_some_and(|entered| window <= entered);
        let speaks = !self.only_stops;
        let finalized = self.finalized;
        let judged = self.judge(window, now, |state, around| {
            // A stop and a skip depend on the tip's index alone, and others may need them (R12).
            let extends = speaks && !state.is_frozen;
            let first = extends && state.r3_first_vote(around);
            state.arrives_ns = state.r3_arrives_ns(around);
            let reason = if state.is_closed(set.slots()) || !may_stop {
                None
            } else if state.r5_predicate_holds(&set) {
                Some(StopReason::Predicate)
            } else {
                stop
            };
            if reason.is_some() {
                state.r5_stop();
            }
            let fin = extends && state.r4_final(around);
            let also = extends && state.r6_also(&set, finalized);
            let skip = speaks && state.r7_skip_fallback(&set);
            state.sign_now |= reason.is_some() || also || skip;
            (first, reason, fin, also, skip)
        });
        let Some((first, reason, fin, also, skip)) = judged else {
            return false;
        };
        self.count_rules(fin, also, skip);
        if let Some(reason) = reason {
            self.note_stop(now, window, reason, effects);
            // Where T_prog is 0, whoever was first to stop has waited for nothing, and who gives up
            // an own window for none.
            if !matches!(stop, Some(StopReason::Policy | StopReason::Slow)) {
                self.back_off(window);
            }
        }
        if first {
            self.restart_timer(window, now);
        }
        first || fin || also || skip || reason.is_some()
    }

    /// R3 alone in one window, and R4 with it: a Final goes along with any other change of the
    /// record. `true` when the own tip moved.
    pub(crate) fn first_vote_in(&mut self, window: Window, now: Now) -> bool {
        let speaks = !self.only_stops;
        let judged = self.judge(window, now, |state, around| {
            let first = speaks && !state.is_frozen && state.r3_first_vote(around);
            (first, first && state.r4_final(around))
        });
        let (first, fin) = judged.unwrap_or_default();
        self.count_rules(fin, false, false);
        if first {
            self.restart_timer(window, now);
        }
        first
    }

    /// Judges rules of a window with what they need to know of the world outside it.
    fn judge<R>(
        &mut self,
        window: Window,
        now: Now,
        rules: impl FnOnce(&mut WindowState, &Surroundings<'_>) -> R,
    ) -> Option<R> {
        let set = self.config.set.clone();
        let bodies = self.parents_with_bodies(window);
        let holdoff = self.final_holdoff_ns();
        let settled = self.settled_in(window);
        let (peers, own) = (&self.peers, self.config.own);
        let is_away = |peer: ValidatorIndex| {
            peer != own && peers.get(peer.place()).is_none_or(|peer| !peer.is_up)
        };
        let state = self.windows.get_mut(&window)?;
        let around = Surroundings {
            set: &set,
            now,
            parent_has_bodies: &|id| bodies.contains(&id),
            final_holdoff_ns: holdoff,
            is_away: &is_away,
            settled,
            is_behind: self.is_behind,
        };
        Some(rules(state, &around))
    }

    fn count_rules(&mut self, fin: bool, also: bool, skip: bool) {
        let add = |counter: &mut u64, by: bool| *counter = counter.saturating_add(u64::from(by));
        add(&mut self.counters.finals, fin);
        add(&mut self.counters.also, also);
        add(&mut self.counters.skip_fallbacks, skip);
    }

    /// Parents of a window on which a first block stands that is here with its body, and that
    /// have all bodies below them.
    ///
    /// PERF: of thousands of parents the few are looked at that a block names.
    pub(crate) fn parents_with_bodies(&self, window: Window) -> Vec<BlockId> {
        let Some(state) = self.windows.get(&window) else {
            return Vec::new();
        };
        if state.own_tip.is_some() || state.own.stop {
            return Vec::new();
        }
        let tree = &state.tally.tree;
        let firsts = tree.slot(Index::ZERO).map(|place| tree.block(place));
        let headers = firsts
            .filter(|block| block.has_body)
            .filter_map(|block| block.header);
        let mut walked = Walked::default();
        headers
            .filter_map(|header| state.parent_of(&header))
            .filter(|parent| self.has_bodies_down(&parent.point, &mut walked))
            .map(|parent| parent.point.id)
            .collect()
    }

    /// R11 ORDER: a changed record goes to the journal first.
    pub(crate) fn persist_records(&mut self, effects: &mut Effects) {
        for (window, state) in &mut self.windows {
            if state.own != state.persisted {
                state.persisted = state.own.clone();
                let record = OwnRecord {
                    window: *window,
                    record: state.own.clone(),
                };
                effects.push(Effect::PersistRecord(record));
            }
        }
    }

    /// R11: past the journal; counted now, and sent at the end of the turn.
    pub(crate) fn handle_durable(
        &mut self,
        now: Now,
        own: OwnRecord,
        effects: &mut Effects,
    ) -> Disposition {
        let OwnRecord { window, record } = own;
        let index = self.config.own;
        if !self.may_speak_of(window) {
            return Disposition::Ignored(Ignored::NotAllowed);
        }
        let Some(state) = self.windows.get_mut(&window) else {
            return Disposition::Ignored(Ignored::Stale);
        };
        if !state.durable.may_extend_to(&record) {
            return Disposition::Ignored(Ignored::Stale);
        }
        state.durable = record.clone();
        state.is_unsent = true;
        state.unsigned_since_ns.get_or_insert(now.mono_ns);
        let counted = self.count_record(index, window, &record, effects);
        debug_assert!(
            !matches!(counted, Disposition::Fault(_)),
            "own records are ordered (I5)"
        );
        counted
    }

    /// Sends each own record that became durable in this turn, once. `true` when there was one.
    pub(crate) fn send_records(&mut self, now: Now, effects: &mut Effects) -> bool {
        // R12: the fence comes before the first vote of a run, a restored one included.
        if self.is_recovering() {
            return false;
        }
        let windows = self.select(|_, _, state| state.is_unsent);
        let is_any = !windows.is_empty();
        for &window in &windows {
            let went_along =
                self.config.durability == Durability::Async && self.send_proposals(window, effects);
            let Some(state) = self.windows.get_mut(&window) else {
                continue;
            };
            state.is_unsent = false;
            let record = state.durable.clone();
            let last = Index::new(self.config.set.slots().saturating_sub(1));
            state.sign_now |= record.tip.is_some_and(|(index, _)| index == last);
            let is_stopped = record.stop && !state.is_stop_sent;
            state.is_stop_sent |= record.stop;
            if !went_along {
                self.send_vote(Destination::All, window, record, None, effects);
            }
            if is_stopped {
                self.accompany_stop(window, effects);
            }
            self.note_own_progress(now);
            self.follow_vote(now, window);
        }
        self.give_back(windows);
        is_any
    }

    /// The time until the own vote's block is final is taken.
    fn follow_vote(&mut self, now: Now, window: Window) {
        let Some(state) = self.windows.get(&window) else {
            return;
        };
        let tip = state
            .own_tip
            .and_then(|tip| state.tally.tree.block(tip).header);
        if let Some(header) = tip.filter(|header| header.height > self.finalized.height) {
            self.pace.settling.voted(header.height, now.mono_ns);
        }
    }

    pub(crate) fn send_vote(
        &self,
        to: Destination,
        window: Window,
        record: Record,
        signature: Option<SignatureBytes>,
        effects: &mut Effects,
    ) {
        let epoch = self.config.set.epoch();
        let vote = Vote {
            epoch,
            window,
            record,
            signature,
        };
        effects.push(Effect::Send {
            to,
            message: Message::Vote(vote),
        });
    }

    /// Signs rarely: at Stop, fallbacks and the window's end at once, else the newest record at
    /// latest T_sig after its change, also when idle and after the window was left (5.2).
    pub(crate) fn ask_signatures(&mut self, now: Now, effects: &mut Effects) {
        // R12: what comes back signed is sent.
        if self.is_recovering() {
            return;
        }
        let sign_ns = self.sign_ns();
        let slots = self.config.set.slots();
        for (window, state) in &mut self.windows {
            // A stop or fallback on its way to the log: the signature waits for it.
            let is_behind = state.own.is_closed(slots) && state.own != state.durable;
            let due = state.unsigned_since_ns.is_some_and(|since| {
                (state.sign_now && !is_behind) || now.mono_ns >= since.saturating_add(sign_ns)
            });
            if due && state.signing.is_none() {
                let record = state.durable.clone();
                state.signing = Some(record.clone());
                state.unsigned_since_ns = None;
                // What is on its way to the log is what was to be signed at once.
                state.sign_now &= is_behind;
                state.signed_at_ns = Some(now.mono_ns);
                effects.push(Effect::SignRecord {
                    window: *window,
                    record,
                });
            }
        }
        if let Some((id, header, since)) = self.proposals.unsigned
            && !self.proposals.is_signing
            && now.mono_ns >= since.saturating_add(sign_ns)
        {
            self.proposals.unsigned = None;
            self.proposals.is_signing = true;
            effects.push(Effect::SignHeader { id, header });
        }
    }

    /// An own record came back signed: it is transferable now, and everyone is told.
    pub(crate) fn handle_signed(
        &mut self,
        now: Now,
        window: Window,
        record: Record,
        signature: SignatureBytes,
        effects: &mut Effects,
    ) -> Disposition {
        if !self.may_speak_of(window) {
            return Disposition::Ignored(Ignored::NotAllowed);
        }
        let Some(state) = self.windows.get_mut(&window) else {
            return Disposition::Ignored(Ignored::Stale);
        };
        state.signing = None;
        let signed = SignedRecord {
            validator: self.config.own,
            record: record.clone(),
            signature,
        };
        self.take_signed_record(now, window, signed, effects);
        self.send_vote(Destination::All, window, record, Some(signature), effects);
        Disposition::Applied
    }

    /// A bad signature on a peer's own channel: alarm, and count that peer only after
    /// verification from now on (5.1 e). The record counted before stays.
    pub(crate) fn handle_refused(
        &mut self,
        now: Now,
        from: ValidatorIndex,
        own_record: bool,
        effects: &mut Effects,
    ) -> Disposition {
        if own_record {
            if self.is_bad_record_news(now, from) {
                self.alarm(Alarm::BadSignature(from), effects);
            }
            return Disposition::Fault(PeerFault::BadSignature);
        }
        Disposition::Fault(PeerFault::InvalidCertificate)
    }
}
