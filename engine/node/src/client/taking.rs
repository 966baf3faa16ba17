//! What a validator says to a session, frame by frame: the callbacks of a client's turn.
//!
//! Owns the way from a frame to the change of a session and the event for its owner. Never:
//! touches the connections; what is to be left is noted for the end of the turn.

use super::event::ClientEvent;
use super::gateway::Gateway;
use super::pending::Change;
use super::quorum::{Counted, Whose};
use super::refusals::Needed;
use super::sessions::{ClientRef, FOLLOW_INTERVAL, Session, Table};
use super::silence::SILENCE_ID;
use super::unreached::Unreached;
use super::watch::LinkUse;
use crate::client_wire::{Outcome, Rejection, ResultView, ServerFrame, Verdict, VerdictRun};
use quorate_consensus::types::ValidatorIndex;
use quorate_net::{CloseReason, LinkHandler, LinkId};
use std::time::Instant;

/// The callbacks of one turn.
pub(super) struct Taking<'t, F> {
    pub(super) table: &'t mut Table,
    pub(super) now: Instant,
    pub(super) on_event: &'t mut F,
}

impl<F: FnMut(ClientRef, ClientEvent<'_>)> LinkHandler for Taking<'_, F> {
    fn link_up(&mut self, link: LinkId, _validator: u16, _incarnation: u64) {
        let place = match self.table.by_link.get(&link) {
            Some(&LinkUse::Session(place)) => place,
            Some(&LinkUse::Watcher(place)) => return self.watcher_up(place, link),
            None => return,
        };
        let Some(session) = self.table.sessions.get_mut(place) else {
            return;
        };
        // That none could be reached says nothing of any.
        if session.gateway.has_failed_everywhere() {
            session.unreached = Unreached::default();
        }
        session.gateway.up(link);
        // It says so again if it still serves nobody.
        if session.refused_by == Some(session.gateway.validator()) {
            session.refused_by = None;
        }
        session.unreached.reached(session.gateway.validator());
        session.first_here = session.pending.waiting().end;
        // However long the dials took, it is to get something done here.
        session.followed_at = self.now;
        session.pending.rewind();
        if let Some(feed) = &mut session.feed {
            feed.connected(self.now);
        }
        session.pending.restart_patience(self.now);
        let validator = session.gateway.validator();
        self.table.heard(validator, self.now);
        (self.on_event)(ClientRef(place), ClientEvent::Connected(validator));
        self.table.soil(place);
    }

    fn link_down(&mut self, link: LinkId, reason: CloseReason) {
        let place = match self.table.by_link.remove(&link) {
            Some(LinkUse::Session(place)) => place,
            Some(LinkUse::Watcher(place)) => {
                if let Some(watcher) = self.table.watchers.get_mut(place) {
                    watcher.gateway.next(self.now);
                    self.table.next_due = self.now;
                }
                return;
            }
            None => return,
        };
        let Some(session) = self.table.sessions.get_mut(place) else {
            return;
        };
        let (was_up, validator) = (session.gateway.is_up(), session.gateway.validator());
        tracing::debug!(
            validator = validator.number(),
            reason = reason.name(),
            "connection ended"
        );
        if !was_up {
            session.unreached.note(validator, self.now);
        }
        session.gateway.next(self.now);
        session.losses += u64::from(was_up);
        self.table.next_due = self.now;
        if was_up {
            (self.on_event)(ClientRef(place), ClientEvent::Disconnected(validator));
        }
    }

    fn link_bytes(&mut self, link: LinkId) {
        let gateway = match self.table.by_link.get(&link) {
            Some(&LinkUse::Session(place)) => {
                self.table.sessions.get(place).map(|one| &one.gateway)
            }
            Some(&LinkUse::Watcher(place)) => {
                self.table.watchers.get(place).map(|one| &one.gateway)
            }
            None => None,
        };
        if let Some(validator) = gateway.map(Gateway::validator) {
            self.table.heard(validator, self.now);
        }
    }

    fn link_frame(&mut self, link: LinkId, frame: &[u8]) {
        let place = match self.table.by_link.get(&link) {
            Some(&LinkUse::Session(place)) => place,
            Some(&LinkUse::Watcher(place)) => return self.watcher_frame(place, frame),
            None => return,
        };
        let (leader, content) = match ServerFrame::decode(frame) {
            Ok(decoded) => decoded,
            Err(error) => {
                tracing::warn!(%error, "a validator's frame is malformed");
                self.table.leaving.push((place, None));
                return;
            }
        };
        if let Some(session) = self.table.sessions.get(place) {
            let validator = session.gateway.validator();
            self.table.heard(validator, self.now);
        }
        self.take_leader(place, leader);
        self.take_content(place, content);
    }
}

impl<F: FnMut(ClientRef, ClientEvent<'_>)> Taking<'_, F> {
    pub(super) fn tell(&mut self, place: usize, event: ClientEvent<'_>) {
        (self.on_event)(ClientRef(place), event);
    }

    fn take_leader(&mut self, place: usize, leader: Option<ValidatorIndex>) {
        let Some(session) = self.table.sessions.get_mut(place) else {
            return;
        };
        session.leader = leader;
        let Some(leader) = leader.filter(|_| session.options.follow_leader) else {
            return;
        };
        let rested = self.now.saturating_duration_since(session.followed_at) >= FOLLOW_INTERVAL;
        let is_there = leader == session.gateway.validator();
        // Whoever refused everything or cannot be reached is not turned to as the leader.
        let is_of_use =
            session.refused_by != Some(leader) && !session.unreached.is_paused(leader, self.now);
        if !is_there && rested && is_of_use {
            self.table.leaving.push((place, Some(leader)));
        }
    }

    fn take_content(&mut self, place: usize, content: ServerFrame<'_>) {
        match content {
            // Nobody has asked but the library, whether the validator is there.
            ServerFrame::Status { id, .. } | ServerFrame::Busy { id, .. } if id == SILENCE_ID => {}
            ServerFrame::Verdicts(runs) => {
                for run in runs {
                    self.take_verdict(place, run);
                }
            }
            ServerFrame::Results(results) => {
                let (height, time_ns) = (results.height(), results.time_ns());
                for result in results {
                    self.take_result(place, height, time_ns, result);
                }
            }
            ServerFrame::Stream(stream) => self.take_stream(place, stream),
            ServerFrame::Private(answer) => self.take_private(place, answer),
            ServerFrame::Answer { id, answer } => {
                self.tell(place, ClientEvent::Answer { id, answer });
            }
            ServerFrame::Status { id, json } => self.tell(place, ClientEvent::Status { id, json }),
            ServerFrame::Root {
                id,
                height,
                root,
                sections,
            } => {
                self.tell(
                    place,
                    ClientEvent::Root {
                        id,
                        height,
                        root,
                        sections,
                    },
                );
            }
            ServerFrame::Session {
                id,
                seq_last,
                has_ended,
            } => {
                let event = ClientEvent::Session {
                    id,
                    seq_last,
                    has_ended,
                };
                self.tell(place, event);
            }
            // A session subscribes to nothing; a reader of the public stream does.
            ServerFrame::Public(_) | ServerFrame::PublicMark(_) => {}
            ServerFrame::Busy { id, retry_after_us } => {
                if self.take_busy_feed(place, id, retry_after_us) {
                    return;
                }
                self.tell(place, ClientEvent::Busy { id, retry_after_us });
            }
            ServerFrame::Refused { id, reason } => {
                if let Some(session) = self.table.sessions.get_mut(place) {
                    session.refused_by = Some(session.gateway.validator());
                }
                self.tell(place, ClientEvent::Refused { id, reason });
                self.table.leaving.push((place, None));
            }
        }
    }

    fn take_verdict(&mut self, place: usize, run: VerdictRun) {
        let Some(session) = self.table.sessions.get_mut(place) else {
            return;
        };
        // A run may begin below what waits, and end above what there is.
        let waiting = session.pending.waiting();
        let seq_first = run.seq_first.max(waiting.start);
        let end = run.seq_first.saturating_add(u64::from(run.count));
        let end = end.min(waiting.end);
        let is_of_opening = session.pending.opening() == Some(seq_first);
        if seq_first < end
            && let Some(needed) = session.needed(run.verdict, seq_first)
        {
            let validator = session.gateway.validator();
            let refusals = &mut session.refusals;
            if !refusals.count(validator, seq_first, needed, waiting.start) {
                // One validator's word, or it was taken elsewhere and may be applied yet.
                self.table.leaving.push((place, None));
                return;
            }
        }
        let change = session.pending.on_verdict(run, self.now);
        if run.verdict == Verdict::Accepted {
            session.refusals.taken(end);
        }
        match run.verdict {
            Verdict::Accepted if end > session.accepted_to.max(seq_first) => {
                let seq_first = seq_first.max(session.accepted_to);
                session.accepted_to = end;
                // That one is the library's own.
                if !is_of_opening {
                    self.tell(
                        place,
                        ClientEvent::Accepted {
                            seq_first,
                            count: end - seq_first,
                        },
                    );
                }
            }
            Verdict::Busy { .. } => self.tell(place, ClientEvent::Held(run)),
            Verdict::Accepted | Verdict::Rejected(_) => {}
        }
        self.take_change(place, change, seq_first);
        // What was held back or begins anew is sent when its time comes.
        self.table.soil(place);
    }

    fn watcher_up(&mut self, place: usize, link: LinkId) {
        if let Some(watcher) = self.table.watchers.get_mut(place) {
            watcher.gateway.up(link);
            let (of, validator) = (watcher.of, watcher.gateway.validator());
            self.table.heard(validator, self.now);
            // Its commands may have waited for enough listeners.
            self.table.soil(of);
        }
    }

    /// A frame of a validator that is only listened to: its results count, and nothing else does.
    fn watcher_frame(&mut self, place: usize, frame: &[u8]) {
        let Some(watcher) = self.table.watchers.get(place) else {
            return;
        };
        let (of, validator) = (watcher.of, watcher.gateway.validator());
        self.table.heard(validator, self.now);
        if let Ok((_, ServerFrame::Results(results))) = ServerFrame::decode(frame) {
            let block = (results.height(), results.time_ns());
            for result in results {
                self.count_result(of, validator, block, result);
            }
        }
    }

    /// Takes a result of the session's own validator, or counts it where that is not enough.
    fn take_result(&mut self, place: usize, height: u64, time_ns: u64, result: ResultView<'_>) {
        let Some(session) = self.table.sessions.get(place) else {
            return;
        };
        if session.quorum.is_none() {
            return self.believe(place, height, time_ns, result);
        }
        let validator = session.gateway.validator();
        self.count_result(place, validator, (height, time_ns), result);
    }

    fn count_result(
        &mut self,
        place: usize,
        validator: ValidatorIndex,
        block: (u64, u64),
        result: ResultView<'_>,
    ) {
        let Some(session) = self.table.sessions.get_mut(place) else {
            return;
        };
        let Some(quorum) = session.quorum.as_mut() else {
            return;
        };
        let (waiting, seq) = (session.pending.waiting(), result.item.seq);
        quorum.forget_outside(waiting.start, waiting.end);
        let own = waiting.contains(&seq).then(|| session.pending.mark(seq));
        let liars = match quorum.count(validator, block, &result, own) {
            Counted::Waits => return,
            Counted::Contradicts => vec![validator],
            Counted::Agreed(liars)
                if seq > waiting.start && result.item.outcome == Outcome::Applied =>
            {
                quorum.keep(block, &result);
                liars
            }
            Counted::Agreed(liars) => {
                self.believe(place, block.0, block.1, result);
                liars
            }
            Counted::Applied(of) => return self.pass(place, seq, of),
        };
        for validator in liars {
            tracing::warn!(
                validator = validator.number(),
                seq,
                "contradicts the others"
            );
            self.tell(place, ClientEvent::Contradicted { seq, validator });
        }
        self.release(place, 0);
    }

    /// Validators of enough stake repeat that the number was applied.
    fn pass(&mut self, place: usize, seq: u64, of: Whose) {
        // What is known of those before it would go unsaid.
        self.release(place, seq);
        let Some(session) = self.table.sessions.get_mut(place) else {
            return;
        };
        let told = (Outcome::Duplicate, of);
        let change = session.pending.on_result(seq, told, self.now);
        session.note_progress(change, seq);
        self.take_change(place, change, seq);
        self.table.soil(place);
        let (seq_first, count) = (seq, 1);
        match change {
            Change::Finalized { whose, .. } => {
                let event = match whose {
                    Whose::Own => ClientEvent::Passed { seq_first, count },
                    Whose::Another => ClientEvent::Displaced { seq },
                    Whose::Unknown => unsure(seq_first, count),
                };
                self.tell(place, event);
            }
            Change::Opened => self.tell(place, ClientEvent::Opened { seq, result: None }),
            _ => {}
        }
        self.release(place, 0);
    }

    /// Tells the kept results that nothing before them waits for any more, and those below `end` in
    /// any case.
    pub(super) fn release(&mut self, place: usize, end: u64) {
        loop {
            let Some(session) = self.table.sessions.get_mut(place) else {
                return;
            };
            let first = session.pending.waiting().start;
            let kept = session.quorum.as_mut();
            let Some(frame) = kept.and_then(|quorum| quorum.next_kept(first, end)) else {
                return;
            };
            if let Ok((_, ServerFrame::Results(results))) = ServerFrame::decode(&frame) {
                let (height, time_ns) = (results.height(), results.time_ns());
                for result in results {
                    self.believe(place, height, time_ns, result);
                }
            }
        }
    }

    fn believe(&mut self, place: usize, height: u64, time_ns: u64, result: ResultView<'_>) {
        let Some(session) = self.table.sessions.get_mut(place) else {
            return;
        };
        let (seq, outcome) = (result.item.seq, result.item.outcome);
        let is_waiting = session.pending.waiting().contains(&seq);
        let own = is_waiting.then(|| session.pending.mark(seq));
        let whose = own.map_or(Whose::Own, |own| Whose::of(result.item.mark, own));
        let told = (outcome, whose);
        let change = session.pending.on_result(seq, told, self.now);
        session.note_progress(change, seq);
        self.take_change(place, change, seq);
        // There is room for what waited for it.
        self.table.soil(place);
        let event = match change {
            Change::Finalized { whose, .. } => match whose {
                Whose::Own => ClientEvent::Result {
                    height,
                    time_ns,
                    result,
                },
                Whose::Another => ClientEvent::Displaced { seq },
                Whose::Unknown => ClientEvent::Unsure {
                    seq_first: seq,
                    count: 1,
                    result: Some(result),
                },
            },
            Change::Opened => ClientEvent::Opened {
                seq,
                result: Some(result),
            },
            _ => return,
        };
        self.tell(place, event);
    }

    /// Tells what a change means besides; `seq` is the finalized command.
    fn take_change(&mut self, place: usize, change: Change, seq: u64) {
        match change {
            Change::None | Change::Opened | Change::Finalized { passed: 0, .. } => {}
            Change::Finalized {
                passed: count,
                are_own,
                ..
            } => {
                let seq_first = seq.saturating_sub(count);
                let event = match are_own {
                    true => ClientEvent::Passed { seq_first, count },
                    false => unsure(seq_first, count),
                };
                self.tell(place, event);
            }
            Change::Held => {
                let run = VerdictRun {
                    seq_first: seq,
                    count: 1,
                    verdict: Verdict::Rejected(Rejection::TableFull),
                };
                self.tell(place, ClientEvent::Held(run));
            }
            Change::Dropped {
                seq_first,
                unsure: 0,
                count,
                rejection,
            } => self.tell_dropped(place, (seq_first, count), rejection),
            Change::Dropped {
                seq_first,
                unsure: sent,
                count,
                rejection,
            } => {
                self.tell_dropped(place, (seq_first, 1), rejection);
                self.tell(place, unsure(seq_first + 1, sent));
                let others = (seq_first + 1 + sent, count - 1 - sent);
                self.tell_dropped(place, others, rejection);
            }
            Change::Ended {
                seq_first,
                unsure: count,
                not_applied,
            } => {
                if count > 0 {
                    self.tell(place, unsure(seq_first, count));
                }
                let others = (seq_first + count, not_applied);
                self.tell_dropped(place, others, Rejection::SessionEnded);
            }
            Change::Leave => self.table.leaving.push((place, None)),
        }
    }

    /// Commands were given up, and their numbers are free.
    fn tell_dropped(&mut self, place: usize, (seq_first, count): (u64, u64), rejection: Rejection) {
        if let Some(session) = self.table.sessions.get_mut(place) {
            let waiting = session.pending.waiting();
            let next = waiting.end;
            session.accepted_to = session.accepted_to.min(next);
            // Before they are given anew: what was told of them is not of the next ones.
            if let Some(quorum) = &mut session.quorum {
                quorum.forget_outside(waiting.start, next);
            }
            session.refusals.forget();
        }
        if count > 0 {
            let event = ClientEvent::Dropped {
                seq_first,
                count,
                rejection,
            };
            self.tell(place, event);
        }
    }
}

/// That nothing more is known of these commands.
const fn unsure<'a>(seq_first: u64, count: u64) -> ClientEvent<'a> {
    ClientEvent::Unsure {
        seq_first,
        count,
        result: None,
    }
}

impl Session {
    /// The validator is of use where what it alone was given has become final.
    fn note_progress(&mut self, change: Change, seq: u64) {
        let is_final = matches!(change, Change::Finalized { .. });
        if is_final && seq >= self.first_here && self.gateway.is_up() {
            let contacts = self.gateway.contacts_len();
            let validator = self.gateway.validator();
            self.unreached.brought_on(validator, contacts);
        }
    }

    /// How many must say this of a command of theirs before it counts; none where the one
    /// validator's word is enough.
    fn needed(&self, verdict: Verdict, seq: u64) -> Option<Needed> {
        let Verdict::Rejected(reason) = verdict else {
            return None;
        };
        let is_for_now = match reason {
            Rejection::TooFarAhead | Rejection::Stopping | Rejection::TableFull => true,
            // An opening that meets another one is given up.
            Rejection::Conflict => self.pending.opening() != Some(seq),
            _ => false,
        };
        // The number of a session which has ended goes to nobody.
        let frees_number =
            !is_for_now && !matches!(reason, Rejection::Diverged | Rejection::SessionEnded);
        if frees_number && seq < self.accepted_to {
            return Some(Needed::AllThatAnswer);
        }
        (!is_for_now && self.quorum.is_some()).then_some(Needed::AboveFault)
    }
}

#[cfg(test)]
mod tests;
