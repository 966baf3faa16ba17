//! The session table: which commands of which clients have been applied. Replicated state.
//!
//! Owns the rule of exactly once: a session's next number applies, a lower one is a duplicate, a
//! higher one is a refusal, and neither of these moves anything. It also owns the root and the
//! canonical bytes of the section `sessions`. Never: commands, outputs, clients' connections.
//!
//! Sessions stand in the order in which they were opened, which is the finalized order and so the
//! same on every validator; the hash map only finds a place in that order and is never walked.

use std::collections::HashMap;

use crate::state_machine::SessionId;

/// Name of the table's section in every state root.
pub const SESSIONS_SECTION: &str = "sessions";

/// Sessions hashed together: a block's changes are rehashed in pieces of this size.
const BUCKET_SESSIONS: usize = 64;

/// Bytes of one session in the canonical form.
const SESSION_BYTES: usize = 16 + 32 + 8 + 8 + 4 + 32;

/// Bytes before the sessions in the canonical form: bound and count.
const PREFIX_BYTES: usize = 4 + 4;

/// Where a session's newest command was applied, and what came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastResult {
    /// Height of its block.
    pub height: u64,
    /// Its place in the block.
    pub index: u32,
    /// BLAKE3 of the outputs of the command, in order; zero when it had none.
    pub outputs_hash: [u8; 32],
}

/// One session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    /// Its name: the first 16 bytes of BLAKE3 of the key.
    pub id: SessionId,
    /// The client's Ed25519 public key.
    pub key: [u8; 32],
    /// Number of the newest applied command, from 1.
    pub last_seq: u64,
    /// What came of that command.
    pub last: LastResult,
}

/// Place of a session in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionSlot(u32);

/// What the table says of a command before it is applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is the session's next one.
    Next(SessionSlot),
    /// It opens its session, for which there is room.
    Opens,
    /// It was applied before; where, if it is the newest one applied.
    Duplicate(Option<LastResult>),
    /// A number before it has not been applied, or its session is unknown.
    Gap,
    /// It would open a session and the table is full.
    TableFull,
}

/// Why bytes are not a session table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SessionTableError {
    /// The length does not fit the count.
    #[error("a session table of {count} sessions does not take {bytes} bytes")]
    Length {
        /// Sessions it says it holds.
        count: usize,
        /// Bytes it has.
        bytes: usize,
    },
    /// Another bound than this chain's.
    #[error("the table is bounded to {found} sessions, this chain's to {expected}")]
    Bound {
        /// The bound in the bytes.
        found: u32,
        /// The chain's bound.
        expected: u32,
    },
    /// More sessions than the bound, one session twice, or one that never applied anything.
    #[error("session {place} of the table cannot stand there")]
    Entry {
        /// Its place in the table.
        place: usize,
    },
}

/// Every session of the chain, with what has been applied of it.
#[derive(Debug)]
pub struct SessionTable {
    /// In the order of opening. Bound: `sessions_max`.
    sessions: Vec<Session>,
    places: HashMap<SessionId, u32>,
    sessions_max: u32,
    /// Hash of each bucket as of the last root.
    bucket_hashes: Vec<[u8; 32]>,
    /// Buckets changed since, each once.
    dirty: Vec<u32>,
    is_dirty: Vec<bool>,
}

impl SessionTable {
    /// An empty table that takes at most `sessions_max` sessions; the bound is the genesis', so
    /// that every validator refuses alike.
    #[must_use]
    pub fn new(sessions_max: u32) -> Self {
        Self {
            sessions: Vec::new(),
            places: HashMap::new(),
            sessions_max,
            bucket_hashes: Vec::new(),
            dirty: Vec::new(),
            is_dirty: Vec::new(),
        }
    }

    /// How many sessions it takes at most.
    #[must_use]
    pub const fn sessions_max(&self) -> u32 {
        self.sessions_max
    }

    /// How many sessions there are.
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

    /// The session of this name.
    #[must_use]
    pub fn session(&self, id: &SessionId) -> Option<&Session> {
        self.places
            .get(id)
            .and_then(|&place| self.sessions.get(place as usize))
    }

    /// The session at this place.
    pub(crate) fn at(&self, slot: SessionSlot) -> &Session {
        &self.sessions[slot.0 as usize]
    }

    /// What is to be done with command `seq` of session `id`.
    #[must_use]
    pub fn standing(&self, id: &SessionId, seq: u64) -> Standing {
        let Some(&place) = self.places.get(id) else {
            return match seq {
                1 if self.sessions.len() < self.sessions_max as usize => Standing::Opens,
                1 => Standing::TableFull,
                _ => Standing::Gap,
            };
        };
        let session = &self.sessions[place as usize];
        if seq == session.last_seq.saturating_add(1) {
            Standing::Next(SessionSlot(place))
        } else if seq <= session.last_seq {
            Standing::Duplicate((seq == session.last_seq).then_some(session.last))
        } else {
            Standing::Gap
        }
    }

    /// Opens a session by its first command. Only after [`Standing::Opens`].
    ///
    /// # Panics
    /// When the session is open or the table is full: an error of the caller.
    pub fn open(&mut self, id: SessionId, key: [u8; 32], last: LastResult) {
        assert!(
            self.sessions.len() < self.sessions_max as usize,
            "the table has room"
        );
        let place = u32::try_from(self.sessions.len()).unwrap_or(u32::MAX);
        let before = self.places.insert(id, place);
        assert!(before.is_none(), "a session is opened once");
        self.sessions.push(Session {
            id,
            key,
            last_seq: 1,
            last,
        });
        self.touch(place);
    }

    /// Writes down that the session's next command has been applied.
    pub fn advance(&mut self, slot: SessionSlot, last: LastResult) {
        let session = &mut self.sessions[slot.0 as usize];
        session.last_seq = session.last_seq.saturating_add(1);
        session.last = last;
        self.touch(slot.0);
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

    /// The section's root: over the bound, the count and the hash of every bucket. Costs a pass
    /// over the buckets changed since the last call and 32 bytes for each other one.
    pub fn root(&mut self) -> [u8; 32] {
        let mut bytes = Vec::with_capacity(BUCKET_SESSIONS * SESSION_BYTES);
        while let Some(bucket) = self.dirty.pop() {
            self.is_dirty[bucket as usize] = false;
            let first = bucket as usize * BUCKET_SESSIONS;
            let last = (first + BUCKET_SESSIONS).min(self.sessions.len());
            bytes.clear();
            for session in &self.sessions[first..last] {
                encode_session(session, &mut bytes);
            }
            self.bucket_hashes[bucket as usize] = *blake3::hash(&bytes).as_bytes();
        }
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"quorate/sessions/v1");
        hasher.update(&self.prefix());
        for hash in &self.bucket_hashes {
            hasher.update(hash);
        }
        *hasher.finalize().as_bytes()
    }

    fn prefix(&self) -> [u8; PREFIX_BYTES] {
        let count = u32::try_from(self.sessions.len()).unwrap_or(u32::MAX);
        let mut prefix = [0; PREFIX_BYTES];
        prefix[..4].copy_from_slice(&self.sessions_max.to_le_bytes());
        prefix[4..].copy_from_slice(&count.to_le_bytes());
        prefix
    }

    /// Appends the canonical bytes of the table: bound, count, the sessions in order of opening.
    pub fn encode(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.prefix());
        for session in &self.sessions {
            encode_session(session, bytes);
        }
    }

    /// The table that [`encode`](Self::encode) wrote, for a chain whose bound is `sessions_max`.
    ///
    /// # Errors
    /// [`SessionTableError`] when the bytes are not exactly what a table of this chain encodes to.
    pub fn decode(bytes: &[u8], sessions_max: u32) -> Result<Self, SessionTableError> {
        let length_error = |count| SessionTableError::Length {
            count,
            bytes: bytes.len(),
        };
        let (bound, rest) = bytes
            .split_first_chunk::<4>()
            .ok_or_else(|| length_error(0))?;
        let (count, rest) = rest
            .split_first_chunk::<4>()
            .ok_or_else(|| length_error(0))?;
        let (bound, count) = (
            u32::from_le_bytes(*bound),
            u32::from_le_bytes(*count) as usize,
        );
        if bound != sessions_max {
            return Err(SessionTableError::Bound {
                found: bound,
                expected: sessions_max,
            });
        }
        if count.checked_mul(SESSION_BYTES) != Some(rest.len()) {
            return Err(length_error(count));
        }
        let mut table = Self::new(sessions_max);
        for (place, entry) in rest.chunks_exact(SESSION_BYTES).enumerate() {
            let session = decode_session(entry).ok_or(SessionTableError::Entry { place })?;
            let is_full = table.sessions.len() >= sessions_max as usize;
            if is_full || session.last_seq == 0 || table.places.contains_key(&session.id) {
                return Err(SessionTableError::Entry { place });
            }
            table.open(session.id, session.key, session.last);
            table.sessions[place].last_seq = session.last_seq;
        }
        Ok(table)
    }
}

fn encode_session(session: &Session, bytes: &mut Vec<u8>) {
    bytes.extend_from_slice(&session.id.0);
    bytes.extend_from_slice(&session.key);
    bytes.extend_from_slice(&session.last_seq.to_le_bytes());
    bytes.extend_from_slice(&session.last.height.to_le_bytes());
    bytes.extend_from_slice(&session.last.index.to_le_bytes());
    bytes.extend_from_slice(&session.last.outputs_hash);
}

fn decode_session(entry: &[u8]) -> Option<Session> {
    let (id, rest) = entry.split_first_chunk::<16>()?;
    let (key, rest) = rest.split_first_chunk::<32>()?;
    let (last_seq, rest) = rest.split_first_chunk::<8>()?;
    let (height, rest) = rest.split_first_chunk::<8>()?;
    let (index, rest) = rest.split_first_chunk::<4>()?;
    let outputs_hash = rest.try_into().ok()?;
    let last = LastResult {
        height: u64::from_le_bytes(*height),
        index: u32::from_le_bytes(*index),
        outputs_hash,
    };
    Some(Session {
        id: SessionId(*id),
        key: *key,
        last_seq: u64::from_le_bytes(*last_seq),
        last,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u32) -> SessionId {
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&number.to_le_bytes());
        SessionId(bytes)
    }

    fn last(height: u64) -> LastResult {
        LastResult {
            height,
            index: 3,
            outputs_hash: [7; 32],
        }
    }

    fn advance(table: &mut SessionTable, number: u32, seq: u64, height: u64) {
        match table.standing(&id(number), seq) {
            Standing::Next(slot) => table.advance(slot, last(height)),
            Standing::Opens => table.open(id(number), [1; 32], last(height)),
            other => panic!("command {seq} of {number} stands as {other:?}"),
        }
    }

    #[test]
    fn the_next_number_applies_and_a_lower_or_higher_one_moves_nothing() {
        let mut table = SessionTable::new(4);
        advance(&mut table, 1, 1, 10);
        advance(&mut table, 1, 2, 11);
        let root = table.root();
        assert_eq!(
            table.standing(&id(1), 2),
            Standing::Duplicate(Some(last(11)))
        );
        assert_eq!(table.standing(&id(1), 1), Standing::Duplicate(None));
        assert_eq!(table.standing(&id(1), 4), Standing::Gap);
        assert_eq!(table.standing(&id(2), 2), Standing::Gap);
        assert_eq!(table.root(), root);
        advance(&mut table, 1, 3, 12);
        assert_ne!(table.root(), root);
    }

    #[test]
    fn a_full_table_refuses_new_sessions_and_serves_the_old_ones() {
        let mut table = SessionTable::new(2);
        advance(&mut table, 1, 1, 1);
        advance(&mut table, 2, 1, 1);
        assert_eq!(table.standing(&id(3), 1), Standing::TableFull);
        advance(&mut table, 2, 2, 2);
        assert_eq!(table.len(), 2);
    }

    #[test]
    fn the_root_kept_up_equals_the_root_of_a_table_read_back_whole() {
        let mut table = SessionTable::new(1000);
        for step in 0..900u64 {
            let number = u32::try_from(step * 7 % 301).expect("small");
            let seq = table
                .session(&id(number))
                .map_or(1, |session| session.last_seq + 1);
            advance(&mut table, number, seq, step);
            if step % 50 == 0 {
                let mut bytes = Vec::new();
                table.encode(&mut bytes);
                let mut copy = SessionTable::decode(&bytes, 1000).expect("own bytes");
                assert_eq!(table.root(), copy.root());
            }
        }
    }

    #[test]
    fn every_flipped_bit_of_the_canonical_bytes_is_refused_or_changes_the_root() {
        let mut table = SessionTable::new(9);
        for number in 0..3 {
            advance(&mut table, number, 1, 5);
        }
        let root = table.root();
        let mut bytes = Vec::new();
        table.encode(&mut bytes);
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            if let Ok(mut other) = SessionTable::decode(&bytes, 9) {
                assert_ne!(other.root(), root, "bit {bit}");
            }
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        for cut in 0..bytes.len() {
            assert!(
                SessionTable::decode(&bytes[..cut], 9).is_err(),
                "cut at {cut}"
            );
        }
    }

    #[test]
    fn a_repeated_session_and_another_bound_are_refused() {
        let mut table = SessionTable::new(9);
        advance(&mut table, 1, 1, 5);
        advance(&mut table, 2, 1, 5);
        let mut bytes = Vec::new();
        table.encode(&mut bytes);
        assert_eq!(
            SessionTable::decode(&bytes, 8).map(|_| ()),
            Err(SessionTableError::Bound {
                found: 9,
                expected: 8
            })
        );
        let (first, second) = (PREFIX_BYTES, PREFIX_BYTES + SESSION_BYTES);
        bytes.copy_within(first..first + SESSION_BYTES, second);
        assert_eq!(
            SessionTable::decode(&bytes, 9).map(|_| ()),
            Err(SessionTableError::Entry { place: 1 })
        );
    }
}
