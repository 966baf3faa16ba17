//! The session table: which commands of which clients have been applied. Replicated state.
//!
//! Owns the rule of exactly once: a session's next number applies, a lower one is a duplicate, a
//! higher one is a refusal, and neither of these moves anything. It owns when a session ends too,
//! and the root and the canonical bytes of the section `sessions`. Never: commands, outputs,
//! clients' connections.
//!
//! A session times out when nothing of it was finalized for as long as it has declared; that ends
//! nothing, the application is told. It ends when it says so, or when the table is full, another
//! one wants in, and it has been idle longest of those looked at, for [`IDLE_MIN_NS`] at least.
//!
//! **Nothing is remembered for ever.** The old commands of a session that has ended are still
//! about, and must never be applied again, also when its owner opens it anew. An opening's number
//! is a time ([`Opening`]), so old ones are refused by their age. Until its own opening is that
//! old, a session that was closed keeps its place: a new opening must have a higher number than all
//! it had, and the old commands have lower ones than that. After that, or when it has been idle for
//! an hour, it is forgotten as if it had never been, the moment that its place is wanted.
//!
//! **Who makes room.** One block looks at [`LOOKED_AT_MAX`] places of the table, the next block at
//! those behind them, around and around; a table of no more is looked at whole. It passes over
//! whom the [application keeps](crate::state_machine::StateMachine::keeps). The answer follows from
//! the table, the application's state and the height alone: whom the application keeps can change
//! without a word of that session, so nothing that was found before may be gone by, and a look at
//! all of a large table for every command would cost too much.
//!
//! Sessions stand in the order in which they were opened, but that the last one takes the place of
//! one that ends. That is the finalized order and so the same on every validator; the hash map
//! only finds a place in that order and is never walked.

mod bytes;
mod command;
mod opening;
mod silence;

pub use bytes::SessionTableError;
pub use command::{SessionCommand, TIMEOUT_MAX_NS, TIMEOUT_MIN_NS};
pub use opening::{OPENING_LIFE_NS, Opening, is_past};

use crate::results::Mark;
use crate::state_machine::{SessionId, SessionMap};
use bytes::encode_session;
use silence::{Silence, due_ns};

/// Name of the table's section in every state root.
pub const SESSIONS_SECTION: &str = "sessions";
/// A session that was heard of less long ago is never ended for want of room: an hour.
pub const IDLE_MIN_NS: u64 = 3_600_000_000_000;
/// Places of the table that one block looks at for a session that could end for want of room.
pub const LOOKED_AT_MAX: usize = 1024;
/// Time-outs of one block at most; the others come with the next one.
pub const TIMEOUTS_PER_BLOCK: usize = 256;
/// Outputs of one block's time-outs from which on the others come with the next block: what an
/// application does about a session may be as much as it holds of it, and puts out of each thing
/// something. One session's may go beyond.
pub const TIMEOUT_OUTPUTS_PER_BLOCK: u32 = 1 << 16;

/// Sessions hashed together: a block's changes are rehashed in pieces of this size.
const BUCKET_SESSIONS: usize = 64;

/// Where a session's newest command was applied, and what came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastResult {
    /// Height of its block.
    pub height: u64,
    /// Its place in the block.
    pub index: u32,
    /// BLAKE3 of the hashes of the command's outputs, in order; zero when it had none.
    pub outputs_hash: [u8; 32],
}

/// One session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    /// Its name: the first 16 bytes of BLAKE3 of the key.
    pub id: SessionId,
    /// The client's Ed25519 public key.
    pub key: [u8; 32],
    /// Number of its opening, at least 1: what is below is of the session that it was before, or of
    /// nothing at all.
    pub base_seq: u64,
    /// Number of the newest applied command, at least `base_seq`.
    pub last_seq: u64,
    /// What came of that command.
    pub last: LastResult,
    /// Replicated time of its block, nanoseconds.
    pub heard_ns: u64,
    /// Silence after which it times out, nanoseconds; 0 for never.
    pub timeout_ns: u64,
    /// It has timed out, and nothing was heard of it since.
    pub is_lapsed: bool,
    /// It has ended and keeps its place until its opening can apply no more.
    pub is_closed: bool,
}

/// Place of a session in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionSlot(u32);

/// What decides, besides the table, whether a session ends to make room for another one.
#[derive(Clone, Copy)]
pub struct Room<'r> {
    /// Height of the block.
    pub height: u64,
    /// Its replicated time.
    pub now_ns: u64,
    /// What the application says of a session:
    /// [`StateMachine::keeps`](crate::state_machine::StateMachine::keeps).
    pub keeps: &'r dyn Fn(&SessionId) -> bool,
}

impl core::fmt::Debug for Room<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Room")
            .field("height", &self.height)
            .field("now_ns", &self.now_ns)
            .finish_non_exhaustive()
    }
}

/// What the table says of a command before it is applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is the session's next one.
    Next(SessionSlot),
    /// It opens its session, for which there is room.
    Opens,
    /// It was applied before, since the session was opened; where, if it is the newest one applied.
    Duplicate(Option<LastResult>),
    /// A number before it has not been applied, or its session is unknown.
    Gap,
    /// It opens its session, for which this one must end.
    OpensInstead(SessionId),
    /// It would open a session and the table is full.
    TableFull,
    /// It would open a session at a time that is not its own.
    Untimely(Opening),
    /// Its session has ended, also if it was opened anew since, or never was and can be no more.
    Ended,
}

/// Every session of the chain, with what has been applied of it.
#[derive(Debug)]
pub struct SessionTable {
    /// In the order of opening. Bound: `sessions_max`.
    sessions: Vec<Session>,
    places: SessionMap<u32>,
    /// Place of the session that was spoken of last: the next command is mostly its own. Whatever
    /// stands there now is looked at, so that it need not be right.
    place_last: u32,
    sessions_max: u32,
    /// Hash of each bucket as of the last root.
    bucket_hashes: Vec<[u8; 32]>,
    /// Buckets changed since, each once.
    dirty: Vec<u32>,
    is_dirty: Vec<bool>,
    silence: Silence,
    /// The mark of each session's last command, as far as it was applied here. Not of the state: a
    /// validator that began with a snapshot does not know those before.
    marks: Vec<Option<Mark>>,
}

impl SessionTable {
    /// An empty table that takes at most `sessions_max` sessions; the bound is the genesis', so
    /// that every validator refuses alike.
    #[must_use]
    pub fn new(sessions_max: u32) -> Self {
        Self {
            sessions: Vec::new(),
            places: SessionMap::default(),
            place_last: 0,
            sessions_max,
            bucket_hashes: Vec::new(),
            dirty: Vec::new(),
            is_dirty: Vec::new(),
            silence: Silence::default(),
            marks: Vec::new(),
        }
    }

    /// How many sessions it takes at most.
    #[must_use]
    pub const fn sessions_max(&self) -> u32 {
        self.sessions_max
    }

    /// How many sessions there are, with those that have ended and keep their places.
    #[must_use]
    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Whether no session has been opened yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    /// The sessions, in the order of opening.
    pub fn iter(&self) -> impl Iterator<Item = &Session> {
        self.sessions.iter()
    }

    /// The sessions that have ended and keep their places.
    pub fn ended(&self) -> impl Iterator<Item = &Session> {
        self.sessions.iter().filter(|session| session.is_closed)
    }

    /// The session of this name.
    #[must_use]
    pub fn session(&self, id: &SessionId) -> Option<&Session> {
        self.places
            .get(id)
            .and_then(|&place| self.sessions.get(place as usize))
    }

    /// The place of the session of this name.
    fn place(&self, id: &SessionId) -> Option<u32> {
        match self.sessions.get(self.place_last as usize) {
            Some(last) if last.id == *id => Some(self.place_last),
            _ => self.places.get(id).copied(),
        }
    }

    /// The session at this place.
    pub(crate) fn at(&self, slot: SessionSlot) -> &Session {
        &self.sessions[slot.0 as usize]
    }

    /// Whether the session of this name has ended and is not forgotten yet.
    #[must_use]
    pub fn has_ended(&self, id: &SessionId) -> bool {
        self.session(id).is_some_and(|known| known.is_closed)
    }

    /// What is to be done with command `seq` of session `id`, an opening or not.
    #[must_use]
    pub fn standing(
        &self,
        id: &SessionId,
        (seq, is_opening): (u64, bool),
        room: &Room<'_>,
    ) -> Standing {
        let Some(place) = self.place(id) else {
            return match is_opening {
                true => self.standing_of_opening(id, seq, room),
                // Whatever opened it is older than this, so it will not come.
                false if is_past(seq, room.now_ns) => Standing::Ended,
                false => Standing::Gap,
            };
        };
        let session = &self.sessions[place as usize];
        if session.is_closed {
            match is_opening && seq > session.last_seq {
                true => self.standing_of_opening(id, seq, room),
                false => Standing::Ended,
            }
        } else if seq == session.last_seq.saturating_add(1) && !is_opening {
            Standing::Next(SessionSlot(place))
        } else if seq < session.base_seq {
            // Whether it was applied is not known any more, and never will be.
            Standing::Ended
        } else if seq <= session.last_seq {
            Standing::Duplicate((seq == session.last_seq).then_some(session.last))
        } else {
            Standing::Gap
        }
    }

    /// What comes of an opening of a name that is free.
    fn standing_of_opening(&self, id: &SessionId, seq: u64, room: &Room<'_>) -> Standing {
        let opening = Opening::of(seq, room.now_ns);
        if opening != Opening::InTime {
            Standing::Untimely(opening)
        } else if self.sessions.len() < self.sessions_max as usize || self.has_ended(id) {
            Standing::Opens
        } else {
            let room = self.longest_idle(room);
            room.map_or(Standing::TableFull, Standing::OpensInstead)
        }
    }

    /// The session that has been idle longest of those that this block looks at, the lower name
    /// first among equals, if that is [`IDLE_MIN_NS`] at least; before all of them one that has
    /// ended and need not be remembered.
    fn longest_idle(&self, room: &Room<'_>) -> Option<SessionId> {
        if self.sessions.is_empty() {
            return None;
        }
        let windows = self.sessions.len().div_ceil(LOOKED_AT_MAX) as u64;
        let start = (room.height % windows) as usize * LOOKED_AT_MAX;
        let window = self.sessions.iter().skip(start).take(LOOKED_AT_MAX);
        let mut longest: Option<(u64, SessionId)> = None;
        for session in window {
            if session.is_closed {
                if is_past(session.last_seq, room.now_ns) {
                    return Some(session.id);
                }
                continue;
            }
            let idle = (session.heard_ns, session.id);
            let is_idle = session.heard_ns.saturating_add(IDLE_MIN_NS) <= room.now_ns
                && is_past(session.last_seq, room.now_ns);
            if is_idle && longest.is_none_or(|found| idle < found) && !(room.keeps)(&session.id) {
                longest = Some(idle);
            }
        }
        longest.map(|(_, id)| id)
    }

    /// Opens a session by its first command, `seq`. Only after [`Standing::Opens`], or when room
    /// has been made.
    ///
    /// # Panics
    /// When the session is open or the table is full: an error of the caller.
    pub fn open(
        &mut self,
        id: SessionId,
        (key, seq): ([u8; 32], u64),
        last: LastResult,
        now_ns: u64,
    ) -> SessionSlot {
        if self.has_ended(&id) {
            self.forget(&id);
        }
        assert!(
            self.sessions.len() < self.sessions_max as usize,
            "the table has room"
        );
        self.append(Session {
            id,
            key,
            base_seq: seq,
            last_seq: seq,
            last,
            heard_ns: now_ns,
            timeout_ns: 0,
            is_lapsed: false,
            is_closed: false,
        })
    }

    fn append(&mut self, session: Session) -> SessionSlot {
        let place = u32::try_from(self.sessions.len()).unwrap_or(u32::MAX);
        let before = self.places.insert(session.id, place);
        assert!(before.is_none(), "a session is opened once");
        self.silence.note(session.id, due_ns(&session));
        self.sessions.push(session);
        self.marks.push(None);
        self.touch(place);
        SessionSlot(place)
    }

    /// Notes which command was applied last; nothing replicated follows from it.
    pub(crate) fn note_mark(&mut self, slot: SessionSlot, mark: Mark) {
        if let Some(noted) = self.marks.get_mut(slot.0 as usize) {
            *noted = Some(mark);
        }
    }

    /// The mark of the session's last command, if it was applied here.
    pub(crate) fn mark(&self, id: &SessionId) -> Option<Mark> {
        let place = *self.places.get(id)?;
        *self.marks.get(place as usize)?
    }

    /// Writes down that the session's next command has been applied, in a block of this time.
    pub fn advance(&mut self, slot: SessionSlot, last: LastResult, now_ns: u64) {
        self.marks[slot.0 as usize] = None;
        self.place_last = slot.0;
        let session = &mut self.sessions[slot.0 as usize];
        session.last_seq = session.last_seq.saturating_add(1);
        session.last = last;
        session.heard_ns = now_ns;
        session.is_lapsed = false;
        if session.timeout_ns > 0 {
            self.silence.note(session.id, due_ns(session));
        }
        self.touch(slot.0);
    }

    /// The session declares its time-out, nanoseconds; 0 for none.
    pub fn set_timeout(&mut self, id: &SessionId, timeout_ns: u64) {
        if let Some(&place) = self.places.get(id) {
            let session = &mut self.sessions[place as usize];
            session.timeout_ns = timeout_ns;
            session.is_lapsed = false;
            self.silence.note(*id, due_ns(session));
            self.touch(place);
        }
    }

    /// The next session that has timed out at this time, which is noted of it.
    pub fn time_out(&mut self, now_ns: u64) -> Option<Session> {
        let (_, id) = self.next_due().filter(|(due_ns, _)| *due_ns <= now_ns)?;
        let &place = self.places.get(&id)?;
        let session = &mut self.sessions[place as usize];
        session.is_lapsed = true;
        let lapsed = *session;
        self.silence.note(id, None);
        self.touch(place);
        Some(lapsed)
    }

    /// When the next session times out, by replicated time.
    pub fn due_next_ns(&mut self) -> Option<u64> {
        self.next_due().map(|(due_ns, _)| due_ns)
    }

    fn next_due(&mut self) -> Option<(u64, SessionId)> {
        let (sessions, places) = (&self.sessions, &self.places);
        self.silence.first_due(|id| look_up(sessions, places, id))
    }

    /// Ends a session at this time. It keeps its place for as long as its opening could apply
    /// again.
    pub fn end(&mut self, id: &SessionId, now_ns: u64) {
        let Some(&place) = self.places.get(id) else {
            return;
        };
        let session = &mut self.sessions[place as usize];
        if is_past(session.last_seq, now_ns) {
            return self.forget(id);
        }
        session.is_closed = true;
        session.is_lapsed = false;
        self.silence.note(*id, None);
        self.touch(place);
    }

    /// Takes a session out, as if it had never been.
    fn forget(&mut self, id: &SessionId) {
        let Some(place) = self.places.remove(id) else {
            return;
        };
        self.silence.note(*id, None);
        self.touch(place);
        let last = u32::try_from(self.sessions.len() - 1).unwrap_or(u32::MAX);
        self.touch(last);
        self.sessions.swap_remove(place as usize);
        self.marks.swap_remove(place as usize);
        if let Some(moved) = self.sessions.get(place as usize) {
            self.places.insert(moved.id, place);
        }
    }

    fn touch(&mut self, place: u32) {
        let bucket = place / BUCKET_SESSIONS as u32;
        if bucket as usize >= self.is_dirty.len() {
            self.is_dirty.push(false);
            self.bucket_hashes.push([0; 32]);
        }
        let flag = &mut self.is_dirty[bucket as usize];
        if !*flag {
            *flag = true;
            self.dirty.push(bucket);
        }
    }

    /// The section's root: over the bound, the count and every bucket. Costs a
    /// pass over the buckets changed since the last call and 32 bytes for each other one.
    pub fn root(&mut self) -> [u8; 32] {
        let mut bytes = Vec::with_capacity(BUCKET_SESSIONS * bytes::SESSION_BYTES);
        while let Some(bucket) = self.dirty.pop() {
            self.is_dirty[bucket as usize] = false;
            let first = bucket as usize * BUCKET_SESSIONS;
            if first >= self.sessions.len() {
                continue;
            }
            let last = (first + BUCKET_SESSIONS).min(self.sessions.len());
            bytes.clear();
            for session in &self.sessions[first..last] {
                encode_session(session, &mut bytes);
            }
            self.bucket_hashes[bucket as usize] = *blake3::hash(&bytes).as_bytes();
        }
        let buckets = self.sessions.len().div_ceil(BUCKET_SESSIONS);
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"quorate/sessions/v3");
        hasher.update(&self.prefix());
        for hash in self.bucket_hashes.iter().take(buckets) {
            hasher.update(hash);
        }
        *hasher.finalize().as_bytes()
    }
}

fn look_up<'s>(
    sessions: &'s [Session],
    places: &SessionMap<u32>,
    id: &SessionId,
) -> Option<&'s Session> {
    let place = *places.get(id)?;
    sessions.get(place as usize)
}

#[cfg(test)]
mod tests;
