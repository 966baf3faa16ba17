//! What the loop has taken from the embedding threads and the pool has not taken yet.
//!
//! Owns one queue for each session, in the order of its numbers, and the two lines in which
//! sessions wait for their turn: those whose next command is a cancel stand in the first one. So
//! nobody waits for another session's command that finds no room, and a cancel waits for commands
//! of its own session alone, which have to be applied before it. Never: judges a command.

use super::Submitted;
use crate::state_machine::{Lane, SessionId, SessionMap};
use std::collections::VecDeque;

/// Queues kept to be used again.
const SPARE_MAX: usize = 64;

/// See the module. Bound: what may wait in all ([`super::room`]).
#[derive(Debug, Default)]
pub(super) struct Waiting {
    // Looked up, never walked. No queue is empty.
    sessions: SessionMap<VecDeque<Submitted>>,
    cancels: VecDeque<SessionId>,
    others: VecDeque<SessionId>,
    spare: Vec<VecDeque<Submitted>>,
}

impl Waiting {
    pub(super) fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    /// Puts a command behind those of its session.
    pub(super) fn push(&mut self, submitted: Submitted) {
        let session = submitted.session;
        let spare = &mut self.spare;
        let queue = self.sessions.entry(session);
        let queue = queue.or_insert_with(|| spare.pop().unwrap_or_default());
        queue.push_back(submitted);
        if queue.len() == 1 {
            self.line_up(session);
        }
    }

    /// The session whose turn it is, which stands in no line then: a cancel's before any other, and
    /// any other only if `takes_others`.
    pub(super) fn next(&mut self, takes_others: bool) -> Option<SessionId> {
        let others = &mut self.others;
        let next = self.cancels.pop_front();
        next.or_else(|| takes_others.then(|| others.pop_front())?)
    }

    /// Puts a session with something left to the back of the line of its next command.
    pub(super) fn line_up(&mut self, session: SessionId) {
        match self.head(&session).map(|head| head.lane) {
            Some(Lane::Cancel) => self.cancels.push_back(session),
            Some(Lane::Order | Lane::Price | Lane::Admin) => self.others.push_back(session),
            None => {}
        }
    }

    /// The next command of a session.
    pub(super) fn head(&self, session: &SessionId) -> Option<&Submitted> {
        self.sessions.get(session)?.front()
    }

    /// Takes the next command of a session out.
    pub(super) fn pop(&mut self, session: &SessionId) -> Option<Submitted> {
        let queue = self.sessions.get_mut(session)?;
        let popped = queue.pop_front();
        if queue.is_empty()
            && let Some(queue) = self.sessions.remove(session)
            && self.spare.len() < SPARE_MAX
        {
            self.spare.push(queue);
        }
        popped
    }
}
