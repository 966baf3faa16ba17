//! Who is silent: which session times out next.
//!
//! Owns an index over the table that only says where to look; the table has the last word, so that
//! a validator that restored a snapshot comes to the same answers. Never: changes a session.

use std::collections::BTreeSet;

use super::Session;
use crate::state_machine::{SessionId, SessionMap};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Silence {
    /// When a session with a time-out may be due, each session once. Never later than it is due.
    due: BTreeSet<(u64, SessionId)>,
    /// Under which time each of these stands there. Looked up, never walked.
    noted: SessionMap<u64>,
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
}
