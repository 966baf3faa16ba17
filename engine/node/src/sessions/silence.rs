//! Who is silent: which session times out next, and which has been idle longest.
//!
//! Owns two indexes over the table, each of which only says where to look; the table has the last
//! word, so that a validator that restored a snapshot comes to the same answers. Never: changes a
//! session.

use std::collections::{BTreeSet, HashMap, VecDeque};

use super::Session;
use crate::state_machine::SessionId;

/// Idle sessions that one look at the whole table notes.
const IDLE_NOTED_MAX: usize = 1024;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Silence {
    /// When a session with a time-out may be due, each session once. Never later than it is due.
    due: BTreeSet<(u64, SessionId)>,
    /// Under which time each of these stands there. Looked up, never walked.
    noted: HashMap<SessionId, u64>,
    /// The sessions that had been idle longest, longest first, at the last look, none of them heard
    /// in the block of the look: whoever is heard in that block afterwards, or later, so comes
    /// behind all of these, whatever its name.
    idle: VecDeque<(u64, SessionId)>,
    /// No session is idle enough before this time.
    idle_from_ns: u64,
}

/// When a session times out, if nothing more is heard of it.
pub(super) fn due_ns(session: &Session) -> Option<u64> {
    let has_deadline = session.timeout_ns > 0 && !session.is_lapsed && !session.is_closed;
    has_deadline.then(|| session.heard_ns.saturating_add(session.timeout_ns))
}

impl Silence {
    /// A session has changed, or is gone.
    pub(super) fn note(&mut self, id: SessionId, due_ns: Option<u64>) {
        let noted = self.noted.get(&id).copied();
        // A deadline that has only moved on is looked at when it comes up.
        if let (Some(noted), Some(due_ns)) = (noted, due_ns)
            && noted <= due_ns
        {
            return;
        }
        if let Some(noted) = noted {
            self.due.remove(&(noted, id));
            self.noted.remove(&id);
        }
        if let Some(due_ns) = due_ns {
            self.due.insert((due_ns, id));
            self.noted.insert(id, due_ns);
        }
    }

    /// The session that is due first, with the time, by what `look` says of each.
    pub(super) fn first_due<'s>(
        &mut self,
        mut look: impl FnMut(&SessionId) -> Option<&'s Session>,
    ) -> Option<(u64, SessionId)> {
        while let Some(first) = self.due.first().copied() {
            let (noted_ns, id) = first;
            let now_due = look(&id).and_then(due_ns);
            if now_due == Some(noted_ns) {
                return Some(first);
            }
            self.due.remove(&first);
            self.noted.remove(&id);
            if let Some(due_ns) = now_due {
                self.due.insert((due_ns, id));
                self.noted.insert(id, due_ns);
            }
        }
        None
    }

    /// The session that has been idle longest, if that is `idle_min_ns` at least.
    pub(super) fn longest_idle<'s>(
        &mut self,
        sessions: &'s [Session],
        now_ns: u64,
        idle_min_ns: u64,
        mut look: impl FnMut(&SessionId) -> Option<&'s Session>,
    ) -> Option<SessionId> {
        if now_ns < self.idle_from_ns {
            return None;
        }
        let is_idle = |heard_ns: u64| heard_ns.saturating_add(idle_min_ns) <= now_ns;
        loop {
            while let Some(&(heard_ns, id)) = self.idle.front() {
                if look(&id).is_some_and(|session| session.heard_ns == heard_ns) {
                    if is_idle(heard_ns) {
                        return Some(id);
                    }
                    self.idle_from_ns = heard_ns.saturating_add(idle_min_ns);
                    return None;
                }
                self.idle.pop_front();
            }
            self.look_around(sessions, now_ns);
            if self.idle.is_empty() {
                // Every one has been heard in this very block.
                self.idle_from_ns = now_ns.saturating_add(idle_min_ns);
                return None;
            }
        }
    }

    fn look_around(&mut self, sessions: &[Session], now_ns: u64) {
        let mut all: Vec<(u64, SessionId)> = sessions
            .iter()
            .map(|session| (session.heard_ns, session.id))
            .filter(|(heard_ns, _)| *heard_ns < now_ns)
            .collect();
        if all.len() > IDLE_NOTED_MAX {
            all.select_nth_unstable(IDLE_NOTED_MAX);
            all.truncate(IDLE_NOTED_MAX);
        }
        all.sort_unstable();
        self.idle = all.into();
    }
}
