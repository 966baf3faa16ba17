//! Builds a payload that every validator will find valid: what is pushed has been checked, and
//! every payload finished parses.

use super::entry::{check_entry, read_entry};
use super::rules::Sizes;
use super::{BlockRules, COUNT_BYTES, Lane, PayloadError};
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

/// A payload in the making. Reused: finishing empties it and keeps its memory.
#[derive(Debug)]
pub struct PayloadBuilder {
    /// Begins with room for the count.
    bytes: Vec<u8>,
    count: u32,
    lane: Lane,
    sizes: Sizes,
    rules: BlockRules,
    /// The last number of each session but that of `run`.
    seqs: BTreeMap<[u8; 16], u64>,
    /// The session pushed last and its last number: what comes is mostly of the same one.
    run: Option<([u8; 16], u64)>,
}

impl Default for PayloadBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl PayloadBuilder {
    /// An empty payload, of a chain whose rules are the built-in ones.
    #[must_use]
    pub fn new() -> Self {
        Self::with_rules(BlockRules::default())
    }

    /// An empty payload of a chain with these rules.
    #[must_use]
    pub fn with_rules(rules: BlockRules) -> Self {
        Self {
            bytes: alloc::vec![0; COUNT_BYTES],
            count: 0,
            lane: Lane::Cancel,
            sizes: Sizes::default(),
            rules,
            seqs: BTreeMap::new(),
            run: None,
        }
    }

    /// Appends one entry. Entries come in lane order; a refused one changes nothing.
    ///
    /// # Errors
    ///
    /// [`PushError`]: the payload is full, or the entry cannot stand here.
    pub fn push_entry(&mut self, entry: &[u8]) -> Result<(), PushError> {
        let place = self.count as usize;
        let command = read_entry(entry, place).map_err(PushError::Invalid)?;
        check_entry(&command, place).map_err(PushError::Invalid)?;
        if command.entry.len() != entry.len() {
            let bytes = entry.len() - command.entry.len();
            return Err(PushError::Invalid(PayloadError::Trailing { bytes }));
        }
        if command.lane < self.lane {
            return Err(PushError::Invalid(PayloadError::LaneOrder {
                command: place,
            }));
        }
        let bytes_after = self.bytes.len() + entry.len();
        let mut sizes = self.sizes;
        sizes.payload = bytes_after;
        sizes.add(command.lane, entry.len(), command.body.len());
        match self.rules.check(&sizes) {
            Ok(()) => {}
            Err(PayloadError::TooLarge { .. } | PayloadError::TooManyCommands { .. }) => {
                return Err(PushError::Full);
            }
            Err(PayloadError::LaneShare { .. }) => return Err(PushError::LaneFull(command.lane)),
            Err(error) => return Err(PushError::Invalid(error)),
        }
        if let Some(before) = self.last_of(command.session)
            && before.checked_add(1) != Some(command.seq)
        {
            let seq = command.seq;
            return Err(PushError::Invalid(PayloadError::Sequence {
                command: place,
                before,
                seq,
            }));
        }
        if let Some((session, seq)) = self.run.replace((*command.session, command.seq))
            && session != *command.session
        {
            self.seqs.insert(session, seq);
        }
        self.lane = command.lane;
        self.sizes = sizes;
        self.count += 1;
        self.bytes.extend_from_slice(entry);
        Ok(())
    }

    /// The number of the last command of `session` so far.
    fn last_of(&self, session: &[u8; 16]) -> Option<u64> {
        match &self.run {
            Some((of_run, seq)) if of_run == session => Some(*seq),
            _ => self.seqs.get(session).copied(),
        }
    }

    /// Commands pushed so far.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether nothing has been pushed.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes that the payload has now.
    #[must_use]
    pub const fn payload_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The payload; the builder is empty afterwards.
    #[must_use]
    pub fn finish(&mut self) -> Arc<[u8]> {
        self.bytes[..COUNT_BYTES].copy_from_slice(&self.count.to_le_bytes());
        let payload = Arc::from(self.bytes.as_slice());
        self.clear();
        payload
    }

    /// Drops what was pushed.
    pub fn clear(&mut self) {
        self.bytes.truncate(COUNT_BYTES);
        self.count = 0;
        self.lane = Lane::Cancel;
        self.sizes = Sizes::default();
        self.seqs.clear();
        self.run = None;
    }
}

/// Why an entry was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PushError {
    /// No room for this entry; a smaller one may still fit.
    Full,
    /// The entry's lane has no room now; entries of other lanes may still fit.
    LaneFull(Lane),
    /// The entry is malformed, or cannot stand at this place.
    Invalid(PayloadError),
}

impl fmt::Display for PushError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => f.write_str("the payload is full"),
            Self::LaneFull(lane) => write!(f, "lane {lane} has its share of the payload"),
            Self::Invalid(error) => write!(f, "{error}"),
        }
    }
}

impl core::error::Error for PushError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Full | Self::LaneFull(_) => None,
            Self::Invalid(error) => Some(error),
        }
    }
}
