//! One command as bytes: a fixed part, a signature when there is one, the body.

use super::PayloadError;
use crate::certificate::SignatureBytes;
use crate::limits::COMMAND_BYTES_MAX;
use alloc::vec::Vec;
use core::fmt;

/// Bytes of the fixed part: lane, auth, flags, body bytes, session, seq.
pub const ENTRY_BYTES_FIXED: usize = 1 + 1 + 2 + 4 + 16 + 8;
/// The first command of a session: its body begins with the session's public key.
pub const FLAG_OPEN: u16 = 1;
/// The body is the session's word about itself and not the application's.
pub const FLAG_SESSION: u16 = 2;
/// Bytes of the public key that an opening body begins with.
const KEY_BYTES: usize = 32;

/// In what order commands stand in a block; how much of it they may fill is the chain's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    /// Cancels and kill switches: always first.
    Cancel = 0,
    /// Orders.
    Order = 1,
    /// Prices from outside.
    Price = 2,
    /// Administration.
    Admin = 3,
}

impl Lane {
    /// All lanes, in block order.
    pub const ALL: [Self; 4] = [Self::Cancel, Self::Order, Self::Price, Self::Admin];

    const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            0 => Some(Self::Cancel),
            1 => Some(Self::Order),
            2 => Some(Self::Price),
            3 => Some(Self::Admin),
            _ => None,
        }
    }
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cancel => "cancel",
            Self::Order => "order",
            Self::Price => "price",
            Self::Admin => "admin",
        })
    }
}

/// How a command proves whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Auth {
    /// Not at all: the validator that admitted it vouches for it, and nobody else can check.
    None = 0,
    /// By an Ed25519 signature of the session's key.
    Ed25519 = 1,
}

impl Auth {
    const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            0 => Some(Self::None),
            1 => Some(Self::Ed25519),
            _ => None,
        }
    }
}

/// One command inside a payload or a run of entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommandView<'a> {
    /// Its lane.
    pub lane: Lane,
    /// How it is authenticated.
    pub auth: Auth,
    /// Flags: [`FLAG_OPEN`] and [`FLAG_SESSION`].
    pub flags: u16,
    /// Whose it is: the first 16 bytes of BLAKE3 of the session's public key.
    pub session: &'a [u8; 16],
    /// Number in its session, at least 1.
    pub seq: u64,
    /// Present exactly when `auth` asks for it.
    pub signature: Option<&'a SignatureBytes>,
    /// What the application reads; of an opening command this begins with the public key.
    pub body: &'a [u8],
    /// All bytes of the entry.
    pub entry: &'a [u8],
}

impl CommandView<'_> {
    /// Whether this opens its session, whose numbers go on from this one.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        self.flags & FLAG_OPEN != 0
    }

    /// Whether the body is about the session itself, behind the key if it opens it.
    #[must_use]
    pub const fn is_session(&self) -> bool {
        self.flags & FLAG_SESSION != 0
    }

    /// The public key that an opening command brings.
    #[must_use]
    pub fn opening_key(&self) -> Option<&[u8; 32]> {
        self.body
            .first_chunk::<KEY_BYTES>()
            .filter(|_| self.is_open())
    }

    /// The entry without its signature, which is what the client signed
    /// (`signing::command_message`).
    #[must_use]
    pub fn entry_unsigned(&self) -> Vec<u8> {
        self.entry_unsigned_parts().concat()
    }

    /// The same in the two parts that stand in the entry.
    #[must_use]
    pub fn entry_unsigned_parts(&self) -> [&[u8]; 2] {
        [&self.entry[..ENTRY_BYTES_FIXED], self.body]
    }
}

/// The entries of a checked run, in their order.
#[derive(Clone, Debug)]
pub struct Commands<'a> {
    rest: &'a [u8],
}

impl<'a> Commands<'a> {
    /// Walks entries that have been checked.
    pub(super) const fn of_checked(entries: &'a [u8]) -> Self {
        Self { rest: entries }
    }
}

impl<'a> Iterator for Commands<'a> {
    type Item = CommandView<'a>;

    fn next(&mut self) -> Option<CommandView<'a>> {
        // The run was checked, so the only failure left is its end.
        let command = read_entry(self.rest, 0).ok()?;
        self.rest = &self.rest[command.entry.len()..];
        Some(command)
    }
}

impl core::iter::FusedIterator for Commands<'_> {}

/// What an entry is made of. Auth follows from it.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// Its lane.
    pub lane: Lane,
    /// Whose it is, see [`session_of_key`].
    pub session: &'a [u8; 16],
    /// Number in its session, at least 1.
    pub seq: u64,
    /// The session's signature of [`entry_unsigned`], if it signs.
    pub signature: Option<&'a SignatureBytes>,
    /// The body; that of an opening begins with the session's public key.
    pub body: &'a [u8],
}

/// Appends an entry's bytes. Number 1 opens its session; any other number is one of an open
/// session.
pub fn encode_entry(entry: &Entry<'_>, bytes: &mut Vec<u8>) {
    encode_flagged_entry(entry, 0, bytes);
}

/// Appends the bytes of an entry with these flags: [`FLAG_OPEN`], [`FLAG_SESSION`], both or none.
/// Number 1 opens its session in any case.
pub fn encode_flagged_entry(entry: &Entry<'_>, flags: u16, bytes: &mut Vec<u8>) {
    put_entry(entry, flags, bytes);
}

/// Appends the bytes of an entry whose body is about the session itself.
pub fn encode_session_entry(entry: &Entry<'_>, bytes: &mut Vec<u8>) {
    put_entry(entry, FLAG_SESSION, bytes);
}

fn put_entry(entry: &Entry<'_>, flags: u16, bytes: &mut Vec<u8>) {
    let auth = if entry.signature.is_some() {
        Auth::Ed25519
    } else {
        Auth::None
    };
    put_fixed(entry, auth, flags, bytes);
    if let Some(signature) = entry.signature {
        bytes.extend_from_slice(signature);
    }
    bytes.extend_from_slice(entry.body);
}

/// The bytes that a client signs for an entry that will carry its signature.
#[must_use]
pub fn entry_unsigned(lane: Lane, session: &[u8; 16], seq: u64, body: &[u8]) -> Vec<u8> {
    unsigned(lane, session, seq, body, 0)
}

/// The same for an entry with these flags, see [`encode_flagged_entry`].
#[must_use]
pub fn flagged_entry_unsigned(
    lane: Lane,
    session: &[u8; 16],
    seq: u64,
    body: &[u8],
    flags: u16,
) -> Vec<u8> {
    unsigned(lane, session, seq, body, flags)
}

/// The same for an entry whose body is about the session itself.
#[must_use]
pub fn session_entry_unsigned(lane: Lane, session: &[u8; 16], seq: u64, body: &[u8]) -> Vec<u8> {
    unsigned(lane, session, seq, body, FLAG_SESSION)
}

fn unsigned(lane: Lane, session: &[u8; 16], seq: u64, body: &[u8], flags: u16) -> Vec<u8> {
    let entry = Entry {
        lane,
        session,
        seq,
        signature: None,
        body,
    };
    let mut bytes = Vec::with_capacity(ENTRY_BYTES_FIXED + body.len());
    put_fixed(&entry, Auth::Ed25519, flags, &mut bytes);
    bytes.extend_from_slice(body);
    bytes
}

/// The name of the session of a public key: the first 16 bytes of its BLAKE3.
#[must_use]
pub fn session_of_key(key: &[u8; 32]) -> [u8; 16] {
    let hash = blake3::hash(key);
    let mut session = [0; 16];
    session.copy_from_slice(&hash.as_bytes()[..16]);
    session
}

fn put_fixed(entry: &Entry<'_>, auth: Auth, flags: u16, bytes: &mut Vec<u8>) {
    let flags = flags | if entry.seq == 1 { FLAG_OPEN } else { 0 };
    // A body beyond 32 bits is far beyond what a parser takes.
    let body_bytes = u32::try_from(entry.body.len()).unwrap_or(u32::MAX);
    bytes.push(entry.lane as u8);
    bytes.push(auth as u8);
    bytes.extend_from_slice(&flags.to_le_bytes());
    bytes.extend_from_slice(&body_bytes.to_le_bytes());
    bytes.extend_from_slice(entry.session);
    bytes.extend_from_slice(&entry.seq.to_le_bytes());
}

/// Splits the first entry off `bytes` by its layout. `place` only names it in errors.
pub(super) fn read_entry(bytes: &[u8], place: usize) -> Result<CommandView<'_>, PayloadError> {
    let truncated = PayloadError::Truncated { command: place };
    let (&[lane, auth], rest) = bytes.split_first_chunk().ok_or(truncated)?;
    let (flags, rest) = rest.split_first_chunk().ok_or(truncated)?;
    let (body_bytes, rest) = rest.split_first_chunk().ok_or(truncated)?;
    let (session, rest) = rest.split_first_chunk().ok_or(truncated)?;
    let (seq, rest) = rest.split_first_chunk().ok_or(truncated)?;
    let lane = Lane::from_byte(lane).ok_or(PayloadError::UnknownLane {
        command: place,
        lane,
    })?;
    let auth = Auth::from_byte(auth).ok_or(PayloadError::UnknownAuth {
        command: place,
        auth,
    })?;
    let body_bytes = u32::from_le_bytes(*body_bytes) as usize;
    if body_bytes > COMMAND_BYTES_MAX {
        return Err(PayloadError::BodyTooLarge {
            command: place,
            bytes: body_bytes,
            max: COMMAND_BYTES_MAX,
        });
    }
    let (signature, rest) = match auth {
        Auth::None => (None, rest),
        Auth::Ed25519 => {
            let (signature, rest) = rest.split_first_chunk().ok_or(truncated)?;
            (Some(signature), rest)
        }
    };
    let (body, rest) = rest.split_at_checked(body_bytes).ok_or(truncated)?;
    Ok(CommandView {
        lane,
        auth,
        flags: u16::from_le_bytes(*flags),
        session,
        seq: u64::from_le_bytes(*seq),
        signature,
        body,
        entry: &bytes[..bytes.len() - rest.len()],
    })
}

/// Checks what the layout leaves open: flags, the number, and that an opening key is the
/// session's.
pub(super) fn check_entry(command: &CommandView<'_>, place: usize) -> Result<(), PayloadError> {
    if command.flags & !(FLAG_OPEN | FLAG_SESSION) != 0 {
        return Err(PayloadError::UnknownFlags {
            command: place,
            flags: command.flags,
        });
    }
    if command.seq == 0 {
        return Err(PayloadError::SeqZero { command: place });
    }
    // A session's numbers go on from its opening's, so number 1 can be nothing else.
    if command.seq == 1 && !command.is_open() {
        return Err(PayloadError::OpenMisplaced {
            command: place,
            seq: command.seq,
        });
    }
    if command.is_open() {
        let is_its_own = |key: &[u8; 32]| session_of_key(key) == *command.session;
        if !command.opening_key().is_some_and(is_its_own) {
            return Err(PayloadError::OpenKey { command: place });
        }
    }
    Ok(())
}
