//! The canonical bytes of the session table.
//!
//! Owns the layout and every check of bytes from elsewhere: what decodes encodes to the same
//! bytes. Never: rules of sessions.
//!
//! ```text
//! bound u32, sessions u32, the sessions in their order
//! session: id 16, key 32, base_seq u64, last_seq u64, height u64, index u32, outputs_hash 32,
//!          heard_ns u64, timeout_ns u64, flags u8 (1 lapsed, 2 closed)
//! ```

use super::{LastResult, Session, SessionTable, TIMEOUT_MAX_NS, TIMEOUT_MIN_NS};
use crate::state_machine::SessionId;

/// Bytes of one session.
pub(super) const SESSION_BYTES: usize = 16 + 32 + 8 + 8 + 8 + 4 + 32 + 8 + 8 + 1;
/// Bytes before the sessions: bound and count.
pub(super) const PREFIX_BYTES: usize = 4 + 4;
const FLAG_LAPSED: u8 = 1;
const FLAG_CLOSED: u8 = 2;

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
    /// More sessions than the bound, one session twice, one that never applied anything, or one
    /// with a time-out out of bounds or flags that contradict it.
    #[error("session {place} of the table cannot stand there")]
    Entry {
        /// Its place in the table.
        place: usize,
    },
}

impl SessionTable {
    pub(super) fn prefix(&self) -> [u8; PREFIX_BYTES] {
        let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX).to_le_bytes();
        let mut prefix = [0; PREFIX_BYTES];
        prefix[..4].copy_from_slice(&self.sessions_max.to_le_bytes());
        prefix[4..].copy_from_slice(&count(self.sessions.len()));
        prefix
    }

    /// Appends the canonical bytes of the table.
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
        let (prefix, rest) = bytes
            .split_first_chunk::<PREFIX_BYTES>()
            .ok_or_else(|| length_error(0))?;
        let word = |at: usize| {
            let word = prefix[at..].first_chunk().copied().unwrap_or_default();
            u32::from_le_bytes(word)
        };
        let (bound, count) = (word(0), word(4) as usize);
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
            let is_known = table.places.contains_key(&session.id);
            if is_full || is_known {
                return Err(SessionTableError::Entry { place });
            }
            table.append(session);
        }
        Ok(table)
    }
}

pub(super) fn encode_session(session: &Session, bytes: &mut Vec<u8>) {
    bytes.extend_from_slice(&session.id.0);
    bytes.extend_from_slice(&session.key);
    bytes.extend_from_slice(&session.base_seq.to_le_bytes());
    bytes.extend_from_slice(&session.last_seq.to_le_bytes());
    bytes.extend_from_slice(&session.last.height.to_le_bytes());
    bytes.extend_from_slice(&session.last.index.to_le_bytes());
    bytes.extend_from_slice(&session.last.outputs_hash);
    bytes.extend_from_slice(&session.heard_ns.to_le_bytes());
    bytes.extend_from_slice(&session.timeout_ns.to_le_bytes());
    let lapsed = if session.is_lapsed { FLAG_LAPSED } else { 0 };
    let closed = if session.is_closed { FLAG_CLOSED } else { 0 };
    bytes.push(lapsed | closed);
}

fn decode_session(entry: &[u8]) -> Option<Session> {
    let (id, rest) = entry.split_first_chunk::<16>()?;
    let (key, rest) = rest.split_first_chunk::<32>()?;
    let (base_seq, rest) = rest.split_first_chunk::<8>()?;
    let (last_seq, rest) = rest.split_first_chunk::<8>()?;
    let (height, rest) = rest.split_first_chunk::<8>()?;
    let (index, rest) = rest.split_first_chunk::<4>()?;
    let (outputs_hash, rest) = rest.split_first_chunk::<32>()?;
    let (heard_ns, rest) = rest.split_first_chunk::<8>()?;
    let (timeout_ns, rest) = rest.split_first_chunk::<8>()?;
    let &[flags] = rest else { return None };
    let last = LastResult {
        height: u64::from_le_bytes(*height),
        index: u32::from_le_bytes(*index),
        outputs_hash: *outputs_hash,
    };
    let session = Session {
        id: SessionId(*id),
        key: *key,
        base_seq: u64::from_le_bytes(*base_seq),
        last_seq: u64::from_le_bytes(*last_seq),
        last,
        heard_ns: u64::from_le_bytes(*heard_ns),
        timeout_ns: u64::from_le_bytes(*timeout_ns),
        is_lapsed: flags & FLAG_LAPSED != 0,
        is_closed: flags & FLAG_CLOSED != 0,
    };
    let is_bounded = matches!(session.timeout_ns, 0 | TIMEOUT_MIN_NS..=TIMEOUT_MAX_NS);
    let is_sound = match flags {
        0 | FLAG_CLOSED => true,
        FLAG_LAPSED => session.timeout_ns > 0,
        _ => false,
    };
    let is_numbered = (1..=session.last_seq).contains(&session.base_seq);
    (is_numbered && is_bounded && is_sound).then_some(session)
}
