//! What a block carries: commands in lane order.
//!
//! Owns the payload's bytes and everything that can be judged from them alone. Never: what a
//! command means, whether its signature is good, or what a session did in earlier blocks; the
//! session table decides that at execution, because validity must not depend on state (R3).
//!
//! Layout: a `u32` count, then that many entries ([`entry`](CommandView)), nothing after. Within
//! a payload lanes do not fall and each session's sequence numbers rise by one. A lane has a share
//! of the payload's bytes ([`BlockRules`], a parameter of the chain), judged above
//! [`LANE_SHARES_FROM_BYTES`] only, so that a small block is never held back by it.

mod block;
mod builder;
mod entry;
mod error;
mod rules;

pub(crate) use block::check_made_block;
pub use block::{BlockError, check_block, check_block_in};
pub use builder::{PayloadBuilder, PushError};
pub use entry::{
    Auth, CommandView, Commands, ENTRY_BYTES_FIXED, Entry, FLAG_OPEN, FLAG_SESSION, Lane,
    encode_entry, encode_flagged_entry, encode_session_entry, entry_unsigned,
    flagged_entry_unsigned, session_entry_unsigned, session_of_key,
};
pub use error::PayloadError;
pub use rules::{BlockRules, LANE_PERCENT_DEFAULT, LANE_SHARES_FROM_BYTES};

use crate::limits::{BLOCK_COMMANDS_MAX, FORWARD_BYTES_MAX, PAYLOAD_BYTES_MAX};
use alloc::vec::Vec;
use entry::{check_entry, read_entry};
use rules::Sizes;

/// Bytes of the count that a payload starts with.
const COUNT_BYTES: usize = 4;

/// A payload whose structure has been checked.
#[derive(Clone, Copy, Debug)]
pub struct PayloadView<'a> {
    count: usize,
    entries: &'a [u8],
    sizes: Sizes,
}

impl<'a> PayloadView<'a> {
    /// Checks everything structural that is the same in all chains; what this one's genesis asks
    /// besides is [`check_rules`](Self::check_rules)'s.
    ///
    /// # Errors
    ///
    /// [`PayloadError`], which names the command and what is wrong with it.
    pub fn parse(payload: &'a [u8]) -> Result<Self, PayloadError> {
        Self::parse_in(payload, &mut ParseBuffer::default())
    }

    /// As [`parse`](Self::parse), in memory that is used again.
    ///
    /// # Errors
    ///
    /// As [`parse`](Self::parse).
    pub fn parse_in(payload: &'a [u8], buffer: &mut ParseBuffer) -> Result<Self, PayloadError> {
        if payload.len() > PAYLOAD_BYTES_MAX {
            return Err(PayloadError::TooLarge {
                bytes: payload.len(),
                max: PAYLOAD_BYTES_MAX,
            });
        }
        let Some((count, entries)) = payload.split_first_chunk::<COUNT_BYTES>() else {
            return Err(PayloadError::Truncated { command: 0 });
        };
        let count = u32::from_le_bytes(*count) as usize;
        // Before anything is allocated for them.
        if count > BLOCK_COMMANDS_MAX {
            let max = BLOCK_COMMANDS_MAX;
            return Err(PayloadError::TooManyCommands { count, max });
        }
        if count.saturating_mul(ENTRY_BYTES_FIXED) > entries.len() {
            return Err(PayloadError::Truncated { command: count });
        }
        let mut rest = entries;
        let runs = &mut buffer.0;
        runs.clear();
        let mut sizes = Sizes::of(payload.len());
        let mut lane_before = Lane::Cancel;
        for place in 0..count {
            let command = read_entry(rest, place)?;
            check_entry(&command, place)?;
            if command.lane < lane_before {
                return Err(PayloadError::LaneOrder { command: place });
            }
            lane_before = command.lane;
            sizes.add(command.lane, command.entry.len(), command.body.len());
            let session = u128::from_le_bytes(*command.session);
            match runs.last_mut() {
                Some(run) if run.is_followed_by(session, command.seq) => run.last = command.seq,
                _ => runs.push(Run::new(session, command.seq, place)),
            }
            rest = &rest[command.entry.len()..];
        }
        if !rest.is_empty() {
            return Err(PayloadError::Trailing { bytes: rest.len() });
        }
        check_sequences(runs)?;
        Ok(Self {
            count,
            entries,
            sizes,
        })
    }

    /// Checks what the chain asks of a payload besides its format: bounds, and no lane above its
    /// share.
    ///
    /// # Errors
    ///
    /// [`PayloadError`], which names the bound that is broken.
    pub fn check_rules(&self, rules: &BlockRules) -> Result<(), PayloadError> {
        rules.check(&self.sizes)
    }

    /// How many commands there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.count
    }

    /// Whether there is no command; legal.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The commands in their order.
    #[must_use]
    pub const fn iter(&self) -> Commands<'a> {
        Commands::of_checked(self.entries)
    }
}

impl<'a> IntoIterator for PayloadView<'a> {
    type Item = CommandView<'a>;
    type IntoIter = Commands<'a>;

    fn into_iter(self) -> Commands<'a> {
        self.iter()
    }
}

impl<'a> IntoIterator for &PayloadView<'a> {
    type Item = CommandView<'a>;
    type IntoIter = Commands<'a>;

    fn into_iter(self) -> Commands<'a> {
        self.iter()
    }
}

/// Checks a run of entries without a count, as pools hold and `Forward` carries them: each entry
/// on its own, in any order.
///
/// # Errors
///
/// [`PayloadError`], which names the entry and what is wrong with it.
pub fn parse_entries(bytes: &[u8]) -> Result<Commands<'_>, PayloadError> {
    count_entries(bytes).map(|_| Commands::of_checked(bytes))
}

/// The same check; how many entries there are.
///
/// # Errors
///
/// As [`parse_entries`].
pub fn count_entries(bytes: &[u8]) -> Result<usize, PayloadError> {
    if bytes.len() > FORWARD_BYTES_MAX {
        return Err(PayloadError::TooLarge {
            bytes: bytes.len(),
            max: FORWARD_BYTES_MAX,
        });
    }
    let mut rest = bytes;
    let mut count = 0;
    while !rest.is_empty() {
        if count == BLOCK_COMMANDS_MAX {
            return Err(PayloadError::TooManyCommands {
                count: count + 1,
                max: BLOCK_COMMANDS_MAX,
            });
        }
        let command = read_entry(rest, count)?;
        check_entry(&command, count)?;
        rest = &rest[command.entry.len()..];
        count += 1;
    }
    Ok(count)
}

/// The entries of a run that [was checked](parse_entries) before, without another check. Of one
/// that was not, those before what is no entry by its layout; what they say may be anything.
#[must_use]
pub const fn checked_entries(bytes: &[u8]) -> Commands<'_> {
    Commands::of_checked(bytes)
}

/// Hands over each command of a payload that was checked before, as one that was voted for or
/// logged, with its place: one walk in place of two.
///
/// # Errors
///
/// [`PayloadError`] when the entries are not as many as counted, or none by their layout: then the
/// payload never was checked. Those before that have been handed over.
pub fn walk_checked<'a>(
    payload: &'a [u8],
    mut each: impl FnMut(u32, CommandView<'a>),
) -> Result<(), PayloadError> {
    let Some((count, mut rest)) = payload.split_first_chunk::<COUNT_BYTES>() else {
        return Err(PayloadError::Truncated { command: 0 });
    };
    for place in 0..u32::from_le_bytes(*count) {
        let command = read_entry(rest, place as usize)?;
        rest = &rest[command.entry.len()..];
        each(place, command);
    }
    if !rest.is_empty() {
        return Err(PayloadError::Trailing { bytes: rest.len() });
    }
    Ok(())
}

/// Memory that checks of payloads use again. Bound: what a payload of
/// [`BLOCK_COMMANDS_MAX`] commands needs.
#[derive(Debug, Default)]
pub struct ParseBuffer(Vec<Run>);

/// Commands of one session that stand side by side with rising numbers, as builders put them: one
/// look at their session and one place to sort for all of them. The order of the first two fields
/// is the order of sorting, and no two runs begin at one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Run {
    session: u128,
    /// Of its first command.
    place: u32,
    first: u64,
    last: u64,
}

impl Run {
    const fn new(session: u128, seq: u64, place: usize) -> Self {
        // Places are below BLOCK_COMMANDS_MAX.
        Self {
            session,
            place: place as u32,
            first: seq,
            last: seq,
        }
    }

    fn is_followed_by(&self, session: u128, seq: u64) -> bool {
        self.session == session && self.last.checked_add(1) == Some(seq)
    }
}

/// Within one session each command's number is that of the one before plus one.
fn check_sequences(runs: &mut [Run]) -> Result<(), PayloadError> {
    // Sorting brings a session's runs together, in block order, with no map to be flooded.
    runs.sort_unstable();
    let broken = runs.windows(2).find(|pair| {
        let (before, next) = (&pair[0], &pair[1]);
        before.session == next.session && !before.is_followed_by(next.session, next.first)
    });
    match broken {
        Some(pair) => Err(PayloadError::Sequence {
            command: pair[1].place as usize,
            before: pair[0].last,
            seq: pair[1].first,
        }),
        None => Ok(()),
    }
}
