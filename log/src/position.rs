//! Where things are in the log: segment and offset, index, and the end of the log.
//!
//! Plain numbers with names; nothing here reads or writes a byte of the log.

use std::fmt;

/// The count of records before a record, from the log's first: the genesis has index 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordIndex(u64);

impl RecordIndex {
    /// The index of the genesis record.
    pub const GENESIS: Self = Self(0);

    /// The index with `count` records before it.
    #[must_use]
    pub const fn new(count: u64) -> Self {
        Self(count)
    }

    /// How many records stand before this one.
    #[must_use]
    pub const fn count(self) -> u64 {
        self.0
    }

    /// The index of the record after this one.
    pub(crate) const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for RecordIndex {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.0)
    }
}

/// A byte position in the log: segment number, then offset from the segment's first byte.
///
/// Ordered as the log is ordered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogOffset {
    segment: u32,
    bytes: u32,
}

impl LogOffset {
    /// The position `bytes` after the first byte of segment number `segment`.
    #[must_use]
    pub const fn new(segment: u32, bytes: u32) -> Self {
        Self { segment, bytes }
    }

    /// The number of the segment.
    #[must_use]
    pub const fn segment(self) -> u32 {
        self.segment
    }

    /// Bytes from the first byte of the segment.
    #[must_use]
    pub const fn bytes(self) -> u32 {
        self.bytes
    }

    /// One number that keeps the order, for atomics and files.
    pub(crate) fn to_u64(self) -> u64 {
        (u64::from(self.segment) << 32) | u64::from(self.bytes)
    }

    /// The inverse of [`Self::to_u64`].
    pub(crate) const fn from_u64(packed: u64) -> Self {
        Self {
            segment: (packed >> 32) as u32,
            bytes: (packed & 0xffff_ffff) as u32,
        }
    }
}

impl fmt::Display for LogOffset {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}", self.segment, self.bytes)
    }
}

/// Names one record: where it stands and which it is. Both are checked when it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordRef {
    /// The first byte of the record's header.
    pub offset: LogOffset,
    /// The record's index.
    pub index: RecordIndex,
}

/// A link of the BLAKE3 chain: covers every record up to and including the one it belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ChainHash([u8; 32]);

impl ChainHash {
    /// The hash with these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes of the hash.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for ChainHash {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.0 {
            write!(out, "{byte:02x}")?;
        }
        Ok(())
    }
}

/// The position right after a record: everything before it belongs to the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogEnd {
    /// The first byte after the last record.
    pub offset: LogOffset,
    /// The index that the next record gets, which is also the count of records.
    pub index: RecordIndex,
    /// The chain hash of the last record.
    pub hash: ChainHash,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packed_offsets_keep_order_and_come_back() {
        let offsets = [
            LogOffset::new(0, 0),
            LogOffset::new(0, u32::MAX),
            LogOffset::new(1, 0),
            LogOffset::new(1, 512),
            LogOffset::new(u32::MAX, u32::MAX),
        ];
        for pair in offsets.windows(2) {
            assert!(pair[0] < pair[1]);
            assert!(pair[0].to_u64() < pair[1].to_u64());
        }
        for offset in offsets {
            assert_eq!(LogOffset::from_u64(offset.to_u64()), offset);
        }
    }
}
