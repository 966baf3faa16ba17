//! Commands and questions from the process that embeds the node.
//!
//! Owns the bounded queue between the embedding threads and the loop; `session` the answer given at
//! once; `room` how much may wait, and of whom; `waiting` whose turn it is. Never: touches the
//! pool; the loop takes from here as the pool has room, so a full pool shows as a full queue, to
//! each session as far as it is its own commands that find none.

mod room;
mod session;
mod waiting;

pub use session::{Admission, EmbeddedSession};

use crate::auth::CommandAuth;
use crate::client_wire::Verdict;
use crate::genesis::Genesis;
use crate::lanes::{CommandVerdict, Rejection};
use crate::metrics::Metrics;
use crate::sessions::SessionTable;
use crate::stages::wire::count_verdicts;
use crate::state_machine::{Lane, SessionId};
use crate::status::NodeStatus;
use crossbeam::channel::Sender;
use crossbeam::queue::ArrayQueue;
use quorate_consensus::payload::{
    self, Entry, FLAG_OPEN, FLAG_SESSION, PayloadError, encode_flagged_entry,
};
use room::Waits;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use waiting::Waiting;

/// Commands taken in one turn of the loop.
const COMMANDS_PER_TURN: usize = 1024;
/// Sessions whose command, no cancel, may find no room in one turn: the others have their turn in
/// the next one.
const BUSY_PER_TURN: usize = 64;

/// What the embedding process may ask the loop.
#[derive(Debug)]
pub(crate) enum Control {
    /// The node's status.
    Status(Sender<NodeStatus>),
    /// A read-only question to the application.
    Query(Vec<u8>, Sender<Vec<u8>>),
    /// How far a session is.
    SessionAt(SessionId, Sender<SessionAt>),
    /// Stop: admit nothing, let what is in flight become final for that long, then end.
    Shutdown(Duration),
}

/// How far a session is by the blocks that are executed here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SessionAt {
    /// There is none, or none is remembered.
    Unknown,
    /// It is open.
    Open {
        /// The number of its last applied command.
        seq_last: u64,
    },
    /// It has ended, and is opened anew with a higher number.
    Ended {
        /// The number of its last applied command.
        seq_last: u64,
    },
}

impl SessionAt {
    pub(crate) fn of(sessions: &SessionTable, id: &SessionId) -> Self {
        match sessions.session(id) {
            None => Self::Unknown,
            Some(ended) if ended.is_closed => Self::Ended {
                seq_last: ended.last_seq,
            },
            Some(open) => Self::Open {
                seq_last: open.last_seq,
            },
        }
    }
}

/// A number, and why its command was refused.
type Refused = (u64, Rejection);

/// What waits for the loop.
#[derive(Debug)]
struct Submitted {
    session: SessionId,
    lane: Lane,
    entry: Box<[u8]>,
    /// Where to say that it was refused.
    refused: Sender<Refused>,
    /// What waits of who submitted it.
    own: Arc<Waits>,
}

/// The queue of commands.
#[derive(Debug)]
pub(crate) struct Inlet {
    commands: ArrayQueue<Submitted>,
    /// What waits of all, here and with the reader.
    waits: Waits,
    is_stopping: AtomicBool,
    is_diverged: AtomicBool,
    command_bytes_max: usize,
    auth: Arc<CommandAuth>,
}

impl Inlet {
    pub(crate) fn new(genesis: &Genesis, auth: Arc<CommandAuth>) -> Self {
        Self {
            commands: ArrayQueue::new(room::COMMANDS_MAX + room::CANCELS_MAX),
            waits: Waits::default(),
            is_stopping: AtomicBool::new(false),
            command_bytes_max: genesis.file().limits.command_bytes_max as usize,
            auth,
            is_diverged: AtomicBool::new(false),
        }
    }

    /// Why nothing is taken any more, if nothing is.
    fn refuses(&self) -> Option<Rejection> {
        if self.is_stopping.load(Ordering::Acquire) {
            Some(Rejection::Stopping)
        } else if self.is_diverged.load(Ordering::Acquire) {
            Some(Rejection::Diverged)
        } else {
            None
        }
    }

    /// Whether nothing waits for the reader.
    pub(crate) fn is_empty(&self) -> bool {
        self.commands.is_empty()
    }

    /// Puts a command into the queue; whether there was room.
    fn offer(&self, submitted: Submitted) -> bool {
        if !self.waits.enter(&submitted.own, submitted.lane) {
            return false;
        }
        // What was counted has a place here, and never more was counted.
        let refused = self.commands.push(submitted).err();
        if let Some(submitted) = &refused {
            self.waits.leave(&submitted.own, submitted.lane);
        }
        refused.is_none()
    }

    /// Takes nothing more: what came of it could not be told.
    pub(crate) fn diverge(&self) {
        self.is_diverged.store(true, Ordering::Release);
    }

    /// Takes nothing more.
    pub(crate) fn close(&self) {
        self.is_stopping.store(true, Ordering::Release);
    }
}

/// The loop's end of the queue: takes as the pool has room.
#[derive(Debug)]
pub(crate) struct InletReader {
    inlet: Arc<Inlet>,
    waiting: Waiting,
    /// Sessions whose next command found no room in this turn.
    busy: Vec<SessionId>,
    has_more: bool,
}

impl InletReader {
    pub(crate) fn new(inlet: Arc<Inlet>) -> Self {
        Self {
            inlet,
            waiting: Waiting::default(),
            busy: Vec::new(),
            has_more: false,
        }
    }

    /// Nothing is held back.
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The last turn has left commands for the next one that nobody has looked at.
    pub(crate) const fn has_more(&self) -> bool {
        self.has_more
    }

    /// Takes nothing more from the embedding process.
    pub(crate) fn close(&self) {
        self.inlet.close();
    }

    /// Hands commands to `submit` until none waits that was not looked at, or enough were. Cancels
    /// come first; a session whose command finds no room waits by itself. Says how many were taken.
    pub(crate) fn take(
        &mut self,
        metrics: &Metrics,
        verdicts: &mut Vec<CommandVerdict>,
        mut submit: impl FnMut(&[u8], &mut Vec<CommandVerdict>) -> Result<(), PayloadError>,
    ) -> usize {
        if !metrics.is_serving() {
            self.inlet.diverge();
        }
        while let Some(submitted) = self.inlet.commands.pop() {
            self.waiting.push(submitted);
        }
        let (mut taken, mut looked_at, mut busy_others) = (0, 0, 0);
        while looked_at < COMMANDS_PER_TURN
            && let Some(session) = self.waiting.next(busy_others < BUSY_PER_TURN)
            && let Some(head) = self.waiting.head(&session)
        {
            looked_at += 1;
            verdicts.clear();
            let submitted = submit(&head.entry, verdicts);
            let first = verdicts.first().map(|one| one.verdict);
            if matches!(first, Some(Verdict::Busy { .. })) {
                busy_others += usize::from(head.lane != Lane::Cancel);
                self.busy.push(session);
                continue;
            }
            taken += 1;
            if let Err(error) = submitted {
                tracing::error!(%error, "an embedded command is malformed");
            }
            self.end(&session, metrics, verdicts);
        }
        // Where nothing found room, nothing does before something else happens.
        self.has_more = looked_at == COMMANDS_PER_TURN && taken > 0;
        for session in self.busy.drain(..) {
            self.waiting.line_up(session);
        }
        taken
    }

    /// The next command of a session is judged, and waits no more.
    fn end(&mut self, session: &SessionId, metrics: &Metrics, verdicts: &[CommandVerdict]) {
        let Some(submitted) = self.waiting.pop(session) else {
            return;
        };
        self.inlet.waits.leave(&submitted.own, submitted.lane);
        self.waiting.line_up(*session);
        count_verdicts(metrics, verdicts);
        for verdict in verdicts {
            if let Verdict::Rejected(rejection) = verdict.verdict {
                let (session, seq) = (verdict.session, verdict.seq);
                tracing::warn!(?session, seq, ?rejection, "an embedded command was refused");
                // Of an opening what was said first may not be heard yet.
                submitted.refused.try_send((seq, rejection)).ok();
            }
        }
    }
}

/// Whom a command is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The application.
    Application,
    /// The session table.
    Session,
}

impl Kind {
    const fn flags(self, is_opening: bool) -> u16 {
        let about = match self {
            Self::Application => 0,
            Self::Session => FLAG_SESSION,
        };
        if is_opening { about | FLAG_OPEN } else { about }
    }

    /// What is signed of an entry of this kind, an opening or not.
    pub(crate) fn unsigned(
        self,
        lane: payload::Lane,
        session: &[u8; 16],
        (seq, is_opening): (u64, bool),
        body: &[u8],
    ) -> Vec<u8> {
        payload::flagged_entry_unsigned(lane, session, seq, body, self.flags(is_opening))
    }

    /// Appends an entry of this kind, an opening or not.
    pub(crate) fn encode(self, entry: &Entry<'_>, is_opening: bool, bytes: &mut Vec<u8>) {
        encode_flagged_entry(entry, self.flags(is_opening), bytes);
    }
}

/// The lane of the payload that stands for a lane of the application.
pub(crate) const fn wire_lane(lane: Lane) -> payload::Lane {
    match lane {
        Lane::Cancel => payload::Lane::Cancel,
        Lane::Order => payload::Lane::Order,
        Lane::Price => payload::Lane::Price,
        Lane::Admin => payload::Lane::Admin,
    }
}

#[cfg(test)]
mod tests;
