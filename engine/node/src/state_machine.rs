//! What the engine asks of an application.
//!
//! Owns the [`StateMachine`] trait and the buffers handed to it. Never: threads, clocks, files.
//! The engine calls a state machine from one thread, in the finalized order, exactly once a
//! command. Everything an application may depend on comes through [`Context`]; an implementation
//! that reads a clock, an address or the order of a hash map will drift and be found out by its
//! roots.

use core::fmt;

/// Longest answer to a client's question, bytes.
pub const ANSWER_BYTES_MAX: usize = 1024 * 1024;
/// Bytes of outputs that a client is told with one result, or as one output of its stream.
pub const OUTPUT_BYTES_MAX: usize = 1024 * 1024;

/// A client's session: the first 16 bytes of BLAKE3 of the client's public key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub [u8; 16]);

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.0 {
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

/// What is looked up by a session's name, several times for each command. Clients choose their
/// names, so the hash is seeded at random; never walked, so that nothing depends on the seed.
pub(crate) type SessionMap<V> =
    std::collections::HashMap<SessionId, V, foldhash::fast::RandomState>;

/// The order of classes of commands inside a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Lane {
    /// Cancels and the kill switch.
    Cancel = 0,
    /// Orders.
    Order = 1,
    /// Price observations.
    Price = 2,
    /// Administration.
    Admin = 3,
}

impl Lane {
    /// How many there are.
    pub const COUNT: usize = 4;

    /// The lane with this number, if there is one.
    #[must_use]
    pub const fn from_u8(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Cancel),
            1 => Some(Self::Order),
            2 => Some(Self::Price),
            3 => Some(Self::Admin),
            _ => None,
        }
    }
}

/// Where a command stands in the finalized order, and all that it may depend on besides state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Context {
    /// Gap-free place of the block in the finalized chain; the first block is 1.
    pub height: u64,
    /// Place of the command in its block.
    pub index: u32,
    /// Replicated time of the block, nanoseconds since the Unix epoch; never falls.
    pub time_ns: u64,
    /// Who sent the command.
    pub session: SessionId,
    /// The session's own number of the command. The first is that of the command which opened the
    /// session: the time of that, nanoseconds since the Unix epoch; the others follow it by one.
    pub seq: u64,
    /// The class of the command.
    pub lane: Lane,
}

/// What befell a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionEvent {
    /// It is open from here on, for the first time or anew after an end; its public key is known.
    Opened {
        /// The Ed25519 public key whose hash names the session.
        key: [u8; 32],
    },
    /// Nothing of it was finalized for as long as it had declared. It may come back; what it left
    /// behind, such as resting orders, is the application's to withdraw.
    TimedOut,
    /// It has ended itself. Nothing more comes of it unless its key opens it anew: the same name,
    /// with higher numbers than all it had.
    Closed,
    /// The chain has ended it to make room: it had been idle longest of those that were looked at,
    /// and the application did not [keep](StateMachine::keeps) it. Its key may open it anew, where
    /// there is room.
    Evicted,
}

impl SessionEvent {
    /// Whether the client is gone, for now or for good: its resting orders should be.
    #[must_use]
    pub const fn is_absence(self) -> bool {
        !matches!(self, Self::Opened { .. })
    }
}

/// To whom an output goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// One session's private stream.
    Session(SessionId),
    /// The public stream.
    Public,
}

/// Collects the ordered outputs of one call; reused by the engine, so that the steady state does
/// not allocate.
#[derive(Debug, Default)]
pub struct Output {
    bytes: Vec<u8>,
    entries: Vec<(Audience, u32)>,
}

impl Output {
    /// An empty buffer.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Forgets all entries and keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.entries.clear();
    }

    /// Appends an output for one session. Outputs are numbered in the order of these calls.
    ///
    /// A client is told of [`OUTPUT_BYTES_MAX`] (1 MiB) and 65,535 outputs with one result: of
    /// those that a command puts out for its own session it gets as many of the first as fit, and
    /// from the one on that does not all others by its private stream. An output for another
    /// session, or of a timer or session event, comes by that stream too. One above that bound is
    /// left out, and each validator's log has a line that says so; it is state and proven all the
    /// same, and an embedding program gets it with the block.
    pub fn to_session(&mut self, session: SessionId, bytes: &[u8]) {
        self.push(Audience::Session(session), bytes);
    }

    /// Appends an output of the public stream. One above
    /// [`PUBLIC_OUTPUT_BYTES_MAX`](crate::streams::PUBLIC_OUTPUT_BYTES_MAX) is left out of it, by
    /// every validator alike.
    pub fn to_public(&mut self, bytes: &[u8]) {
        self.push(Audience::Public, bytes);
    }

    fn push(&mut self, audience: Audience, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        let end = u32::try_from(self.bytes.len()).unwrap_or(u32::MAX);
        self.entries.push((audience, end));
    }

    /// The outputs, in order.
    pub fn iter(&self) -> impl Iterator<Item = (Audience, &[u8])> {
        let mut start = 0;
        self.entries.iter().map(move |&(audience, end)| {
            let end = end as usize;
            let slice = self.bytes.get(start..end).unwrap_or_default();
            start = end;
            (audience, slice)
        })
    }

    /// How many outputs there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

/// A deterministic application.
///
/// Two instances that got the same calls hold the same state, give the same outputs and the same
/// roots, byte for byte. No call may panic on any command bytes: what cannot be done is answered
/// by an output. A command on which one does ends every validator and each start again; the log
/// names it (docs/operations.md, *the application panics*).
pub trait StateMachine: Send + 'static {
    /// Names of the state's sections, in root order; the same for the life of the instance, and at
    /// every validator. At most [`SECTIONS_MAX`](crate::executor::SECTIONS_MAX) (29), each of 1 to
    /// 64 bytes of printable ASCII without spaces, none twice, and none of the engine's own names,
    /// `sessions`, `outputs` and `events`. No validator starts with others
    /// ([`SectionsError`](crate::executor::SectionsError)).
    fn sections(&self) -> &'static [&'static str];

    /// Applies one command.
    fn apply(&mut self, context: &Context, command: &[u8], output: &mut Output);

    /// The replicated time of the earliest timer that is set, if any. A pure function of the
    /// state, asked after each block: no more than a look-up.
    ///
    /// A chain without commands makes a block for a timer as soon as clocks say that it is due.
    /// One at or before the time of the block that set it, so in the past, is due in the next
    /// block, which is made at once.
    fn timer_next_ns(&self) -> Option<u64> {
        None
    }

    /// Fires every timer that is due at `time_ns`. Called at the start of a block, before its
    /// commands, when [`timer_next_ns`](Self::timer_next_ns) is at or before its time.
    ///
    /// It must clear what is due, or set it to later than `time_ns`. A timer that stays is due in
    /// each next block, so that an idle chain makes one empty block after another, as fast as it
    /// can, and all of them are logged.
    fn apply_timers(&mut self, height: u64, time_ns: u64, output: &mut Output) {
        let (_, _, _) = (height, time_ns, output);
    }

    /// Tells of a session event. [`SessionEvent::Opened`] comes before the command that opened the
    /// session, the events of a block's time before its timers, with index 0, the session's last
    /// number and the lane of administration.
    fn apply_session(&mut self, context: &Context, event: SessionEvent, output: &mut Output) {
        let (_, _, _) = (context, event, output);
    }

    /// Whether this session must not be ended to make room in a full table for another one, however
    /// long it has been silent: its key opens it anew only when there is room, and what only that
    /// name can do, or only it can reach, has to wait until then. Strangers can make any session's
    /// turn come; it stays fair to others as long as not everybody can be kept at no cost.
    ///
    /// A pure function of the replicated state, as it stands before the command that wants room:
    /// every validator must answer alike, also one that has just restored a snapshot. Asked up to
    /// [`LOOKED_AT_MAX`](crate::sessions::LOOKED_AT_MAX) times a command, so it must cost no more
    /// than looking something up.
    fn keeps(&self, session: SessionId) -> bool {
        let _ = session;
        false
    }

    /// The root of one section. Kept up incrementally: asked for at every 64th height, at a stop
    /// and by `status`, it must cost far less than a pass over the state.
    fn section_root(&mut self, section: usize) -> [u8; 32];

    /// Appends the canonical bytes of one section to `bytes`: all of it that anything later depends
    /// on.
    fn snapshot_section(&self, section: usize, bytes: &mut Vec<u8>);

    /// Replaces one section by what [`snapshot_section`](Self::snapshot_section) wrote. Called in a
    /// new instance, and in one that has executed blocks: nothing of what that had in the section
    /// may stay.
    ///
    /// # Errors
    ///
    /// Says what is wrong with the bytes; the instance must not be used further then.
    fn restore_section(&mut self, section: usize, bytes: &[u8]) -> Result<(), String>;

    /// Answers a read-only question about the state as it stands between two blocks.
    ///
    /// A client is answered [`ANSWER_BYTES_MAX`] (1 MiB) at most: a longer answer is not cut but
    /// left out, and the client gets an empty one. Let a question name the part that it asks for,
    /// and no whole answer be empty, so that a client can tell the two. What the embedding program
    /// asks is answered whole, whatever its length.
    ///
    /// No question may panic either: anybody may ask, and the validator that is asked ends. A
    /// client whose validator is lost asks the next one, so one such question can end all of them.
    /// The client of this crate gives a question up after two
    /// ([`ClientError::QuestionLost`](crate::client::ClientError::QuestionLost)); others need not.
    fn query(&self, question: &[u8], answer: &mut Vec<u8>);

    /// Answers a question of a client that has logged in with the key of the session `asker`; it
    /// need not be open. Any key may ask, so an application with answers that are not for everybody
    /// says here who gets them. Without this method everybody is answered as by
    /// [`query`](Self::query), which the embedding program alone uses otherwise. An application
    /// that hands calls on to another one must hand on this one as well.
    fn query_from(&self, asker: SessionId, question: &[u8], answer: &mut Vec<u8>) {
        let _ = asker;
        self.query(question, answer);
    }
}
