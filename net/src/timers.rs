//! What is due: dials, deadlines, keep-alives.
//!
//! Owns: finding out, seldom, by looking at everything; in between one comparison a turn. Never: a
//! clock.

use std::time::Instant;

use crate::error::{CloseReason, NetError};
use crate::limits::Limits;
use crate::link::{Link, Role};
use crate::peers::Peer;
use crate::poller::Net;

impl Net {
    /// Does what is due and finds out when the next thing is. Costs one comparison when nothing is.
    pub(crate) fn run_timers(&mut self) -> Result<usize, NetError> {
        let answers = self.take_answers();
        if self.now < self.next_timer {
            return Ok(answers);
        }
        let mut next = self.now + self.limits.keepalive_interval;
        for index in self.peers.indices() {
            match self.peers.get(index).and_then(Peer::dial_at) {
                Some(at) if at <= self.now => self.begin_dial(index)?,
                Some(_) | None => {}
            }
            if let Some(at) = self.peers.get(index).and_then(Peer::dial_at) {
                next = next.min(at);
            }
        }
        next = self.release_held().map_or(next, |at| next.min(at));
        for listener in self.listeners.iter().flatten() {
            next = listener.paused_until().map_or(next, |at| next.min(at));
        }
        let mut due = Vec::new();
        self.silent.clear();
        for (slot, link) in self.links.iter_mut() {
            match link_timer(link, self.now, &self.limits) {
                Timer::At(at) => next = next.min(at),
                Timer::Close(reason) => due.push((slot, reason)),
                Timer::Silent => self.silent.push(slot),
                Timer::None => {}
            }
        }
        for (slot, reason) in &due {
            self.doom(*slot, *reason);
        }
        self.keep_alive();
        self.next_timer = next;
        Ok(answers + due.len() + self.silent.len())
    }

    /// Closes those that have been silent for too long and are so still, now that what waited has
    /// been read. When events were left for the next turn, so is this.
    pub(crate) fn judge_silence(&mut self, has_all_events: bool) {
        let mut silent = std::mem::take(&mut self.silent);
        if !silent.is_empty() {
            // What is due on those that are not silent has not been found out.
            self.next_timer = self.now;
        }
        for slot in silent.drain(..).filter(|_| has_all_events) {
            let is_silent = self.links.get(slot).is_some_and(|link| {
                self.now.duration_since(link.received) >= self.limits.silence_max
            });
            if is_silent {
                self.doom(slot, CloseReason::Silent);
            }
        }
        self.silent = silent;
    }

    fn keep_alive(&mut self) {
        for index in 0..self.peers.index_end() {
            let Some(slot) = self.peers.get(index).and_then(Peer::send_on) else {
                continue;
            };
            let Some(link) = self.links.get_mut(slot) else {
                continue;
            };
            if self.now.duration_since(link.sent) < self.limits.keepalive_interval {
                continue;
            }
            match link.connection.keep_alive() {
                Ok(()) => self.flush_link(slot),
                Err(reason) => self.doom(slot, reason),
            }
        }
    }
}

enum Timer {
    None,
    At(Instant),
    Close(CloseReason),
    Silent,
}

fn link_timer(link: &Link, now: Instant, limits: &Limits) -> Timer {
    let (at, reason) = match &link.role {
        Role::Pending(pending) => (pending.deadline, CloseReason::HandshakeTimeout),
        Role::Peer {
            retired: Some(retired),
            ..
        } => (retired.deadline, CloseReason::Duplicate),
        Role::Peer { .. } if now.duration_since(link.received) >= limits.silence_max => {
            return Timer::Silent;
        }
        Role::Peer { .. } => {
            let silent = link.received + limits.silence_max;
            let quiet = link.sent + limits.keepalive_interval;
            // A keep-alive that is due now is sent in this run.
            return Timer::At(if quiet > now {
                silent.min(quiet)
            } else {
                silent
            });
        }
        Role::Client { .. } => return Timer::None,
    };
    if at <= now {
        Timer::Close(reason)
    } else {
        Timer::At(at)
    }
}
