//! Commands and questions from the process that embeds the node.
//!
//! Owns the bounded queue between the embedding threads and the loop, and the answer given at
//! once. Never: touches the pool; the loop takes from here as the pool has room, so a full pool
//! shows as a full queue.

use crate::auth::CommandAuth;
use crate::client_wire::Verdict;
use crate::genesis::Genesis;
use crate::keys::KeyPair;
use crate::lanes::{CommandVerdict, Rejection};
use crate::metrics::Metrics;
use crate::sessions::SessionCommand;
use crate::stages::clock::wall_ns;
use crate::stages::wire::count_verdicts;
use crate::state_machine::{Lane, SessionId};
use crate::status::NodeStatus;
use crossbeam::channel::Sender;
use crossbeam::queue::ArrayQueue;
use quorate_consensus::payload::{
    self, Entry, FLAG_OPEN, FLAG_SESSION, PayloadError, encode_flagged_entry,
};
use quorate_net::Waker;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Commands between the embedding threads and the loop.
const COMMANDS_MAX: usize = 16_384;
/// Commands taken in one turn of the loop.
const COMMANDS_PER_TURN: usize = 1024;
/// When to try again after the queue was full.
const RETRY_AFTER_US: u32 = 200;

/// What the embedding process may ask the loop.
#[derive(Debug)]
pub(crate) enum Control {
    /// The node's status.
    Status(Sender<NodeStatus>),
    /// A read-only question to the application.
    Query(Vec<u8>, Sender<Vec<u8>>),
    /// Number of a session's last applied command.
    LastSeq(SessionId, Sender<u64>),
    /// Stop: admit nothing, let what is in flight become final for that long, then end.
    Shutdown(Duration),
}

/// The queue of commands.
#[derive(Debug)]
pub(crate) struct Inlet {
    commands: ArrayQueue<Box<[u8]>>,
    is_stopping: AtomicBool,
    is_diverged: AtomicBool,
    command_bytes_max: usize,
    auth: Arc<CommandAuth>,
}

impl Inlet {
    pub(crate) fn new(genesis: &Genesis, auth: Arc<CommandAuth>) -> Self {
        Self {
            commands: ArrayQueue::new(COMMANDS_MAX),
            is_stopping: AtomicBool::new(false),
            command_bytes_max: genesis.file().limits.command_bytes_max as usize,
            auth,
            is_diverged: AtomicBool::new(false),
        }
    }

    /// The next command's entry.
    pub(crate) fn pop(&self) -> Option<Box<[u8]>> {
        self.commands.pop()
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.commands.is_empty()
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
    /// A command that found no room yet.
    held: Option<Box<[u8]>>,
}

impl InletReader {
    pub(crate) const fn new(inlet: Arc<Inlet>) -> Self {
        Self { inlet, held: None }
    }

    /// Nothing is held back.
    pub(crate) const fn is_empty(&self) -> bool {
        self.held.is_none()
    }

    /// Takes nothing more from the embedding process.
    pub(crate) fn close(&self) {
        self.inlet.close();
    }

    /// Hands commands to `submit` until none waits, the pool is busy, or enough were taken. Says
    /// how many.
    pub(crate) fn take(
        &mut self,
        metrics: &Metrics,
        verdicts: &mut Vec<CommandVerdict>,
        mut submit: impl FnMut(&[u8], &mut Vec<CommandVerdict>) -> Result<(), PayloadError>,
    ) -> usize {
        if !metrics.is_serving() {
            self.inlet.diverge();
        }
        let mut taken = 0;
        while taken < COMMANDS_PER_TURN {
            let Some(entry) = self.held.take().or_else(|| self.inlet.pop()) else {
                break;
            };
            taken += 1;
            verdicts.clear();
            if let Err(error) = submit(&entry, verdicts) {
                tracing::error!(%error, "an embedded command is malformed");
                continue;
            }
            if let Some(CommandVerdict {
                verdict: Verdict::Busy { .. },
                ..
            }) = verdicts.first()
            {
                self.held = Some(entry);
                break;
            }
            count_verdicts(metrics, verdicts);
            for verdict in verdicts.iter() {
                if let Verdict::Rejected(rejection) = verdict.verdict {
                    let (session, seq) = (verdict.session, verdict.seq);
                    tracing::warn!(?session, seq, ?rejection, "an embedded command was refused");
                }
            }
        }
        taken
    }
}

/// A session of the embedding process. Its numbers rise by one with each accepted command; one
/// thread at a time may use it.
#[derive(Debug)]
pub struct EmbeddedSession {
    inlet: Arc<Inlet>,
    waker: Waker,
    session: SessionId,
    key: [u8; 32],
    /// What signs its commands, in a chain whose commands are signed.
    signer: Option<Arc<KeyPair>>,
    /// The next command opens the session, and its number is the time.
    opens: bool,
    seq_next: u64,
    body: Vec<u8>,
}

/// The answer to [`EmbeddedSession::submit`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It is on its way into the pool, under this number. Only a finalized result says more.
    Accepted {
        /// Its number in the session.
        seq: u64,
    },
    /// There is no room now; nothing was taken.
    Busy {
        /// When to try again, microseconds.
        retry_after_us: u32,
    },
    /// It will not be taken as it is.
    Rejected(Rejection),
}

impl Admission {
    /// The same in the words of the client protocol.
    #[must_use]
    pub const fn verdict(self) -> Verdict {
        match self {
            Self::Accepted { .. } => Verdict::Accepted,
            Self::Busy { retry_after_us } => Verdict::Busy { retry_after_us },
            Self::Rejected(rejection) => Verdict::Rejected(rejection),
        }
    }
}

impl EmbeddedSession {
    pub(crate) fn new(inlet: Arc<Inlet>, waker: Waker, key: [u8; 32], seq_last: u64) -> Self {
        let session = SessionId(payload::session_of_key(&key));
        let opens = seq_last == 0;
        let seq_next = match opens {
            true => wall_ns(),
            false => seq_last.saturating_add(1),
        };
        Self {
            inlet,
            waker,
            session,
            key,
            signer: None,
            opens,
            seq_next,
            body: Vec::new(),
        }
    }

    /// The same, signing with `signer`, which is the pair of its key.
    #[must_use]
    pub(crate) fn signing(mut self, signer: Arc<KeyPair>) -> Self {
        self.signer = Some(signer);
        self
    }

    /// The session's name.
    #[must_use]
    pub const fn id(&self) -> SessionId {
        self.session
    }

    /// The number that the next command gets; one that opens the session gets the time then.
    #[must_use]
    pub const fn seq_next(&self) -> u64 {
        self.seq_next
    }

    /// Submits a command; never waits.
    pub fn submit(&mut self, lane: Lane, body: &[u8]) -> Admission {
        self.submit_as(Kind::Application, lane, body)
    }

    /// Submits a word of the session about itself; never waits.
    pub fn submit_session(&mut self, command: SessionCommand) -> Admission {
        let mut body = Vec::new();
        command.encode(&mut body);
        self.submit_as(Kind::Session, Lane::Order, &body)
    }

    fn submit_as(&mut self, kind: Kind, lane: Lane, body: &[u8]) -> Admission {
        if self.inlet.is_stopping.load(Ordering::Acquire) {
            return Admission::Rejected(Rejection::Stopping);
        }
        if self.inlet.is_diverged.load(Ordering::Acquire) {
            return Admission::Rejected(Rejection::Diverged);
        }
        if self.opens {
            self.seq_next = self.seq_next.max(wall_ns());
        }
        let (seq, is_opening) = (self.seq_next, self.opens);
        let opening = usize::from(is_opening) * self.key.len();
        if body.len() + opening > self.inlet.command_bytes_max {
            return Admission::Rejected(Rejection::TooLarge);
        }
        let body = if is_opening {
            self.body.clear();
            self.body.extend_from_slice(&self.key);
            self.body.extend_from_slice(body);
            &self.body
        } else {
            body
        };
        let lane = wire_lane(lane);
        let mut entry = Vec::with_capacity(payload::ENTRY_BYTES_FIXED + 64 + body.len());
        let session = &self.session.0;
        let auth = &self.inlet.auth;
        let signature = match (&self.signer, auth.is_signed()) {
            (_, false) => None,
            (None, true) => return Admission::Rejected(Rejection::BadSignature),
            (Some(signer), true) => auth
                .message(&kind.unsigned(lane, session, (seq, is_opening), body))
                .map(|message| signer.sign(&message)),
        };
        let parts = Entry {
            lane,
            session,
            seq,
            signature: signature.as_ref(),
            body,
        };
        kind.encode(&parts, is_opening, &mut entry);
        if signature.is_some() {
            auth.note_own(&self.key, &entry);
        }
        if self.inlet.commands.push(entry.into_boxed_slice()).is_err() {
            return Admission::Busy {
                retry_after_us: RETRY_AFTER_US,
            };
        }
        self.opens = false;
        self.seq_next = seq.saturating_add(1);
        self.waker.wake();
        Admission::Accepted { seq }
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
