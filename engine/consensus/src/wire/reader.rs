//! A cursor over received bytes: every read is checked, nothing is allocated on a remote count.

use super::DecodeError;
use crate::types::{BlockId, Epoch, Height, Index, ValidatorIndex, Window};
use alloc::vec::Vec;

/// What is left to read.
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Starts at the beginning.
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Reads one value that must take all the bytes.
    pub(super) fn whole<T>(
        bytes: &'a [u8],
        read: impl FnOnce(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<T, DecodeError> {
        let mut reader = Self::new(bytes);
        let value = read(&mut reader)?;
        match reader.rest.len() {
            0 => Ok(value),
            left => Err(DecodeError::Trailing { left }),
        }
    }

    /// The next `length` bytes.
    pub(super) fn take(
        &mut self,
        what: &'static str,
        length: usize,
    ) -> Result<&'a [u8], DecodeError> {
        let Some((head, tail)) = self.rest.split_at_checked(length) else {
            return Err(DecodeError::Truncated {
                what,
                needed: length,
                left: self.rest.len(),
            });
        };
        self.rest = tail;
        Ok(head)
    }

    /// The next `N` bytes.
    pub(super) fn array<const N: usize>(
        &mut self,
        what: &'static str,
    ) -> Result<[u8; N], DecodeError> {
        let Some((head, tail)) = self.rest.split_first_chunk() else {
            return Err(DecodeError::Truncated {
                what,
                needed: N,
                left: self.rest.len(),
            });
        };
        self.rest = tail;
        Ok(*head)
    }

    pub(super) fn byte(&mut self, what: &'static str) -> Result<u8, DecodeError> {
        self.array::<1>(what).map(|[byte]| byte)
    }

    pub(super) fn u16(&mut self, what: &'static str) -> Result<u16, DecodeError> {
        self.array(what).map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self, what: &'static str) -> Result<u32, DecodeError> {
        self.array(what).map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self, what: &'static str) -> Result<u64, DecodeError> {
        self.array(what).map(u64::from_le_bytes)
    }

    /// A byte that is 0 or 1.
    pub(super) fn flag(&mut self, what: &'static str) -> Result<bool, DecodeError> {
        match self.byte(what)? {
            0 => Ok(false),
            1 => Ok(true),
            byte => Err(DecodeError::NotCanonical { what, byte }),
        }
    }

    /// A presence byte, and the value when it says so.
    pub(super) fn option<T>(
        &mut self,
        what: &'static str,
        read: impl FnOnce(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Option<T>, DecodeError> {
        if self.flag(what)? {
            read(self).map(Some)
        } else {
            Ok(None)
        }
    }

    /// A count of elements that take at least `bytes_each_min` bytes each: refused above `max` and
    /// above what the bytes left could hold, so that what is allocated for it is bounded by what
    /// was received.
    pub(super) fn count(
        &mut self,
        what: &'static str,
        max: usize,
        bytes_each_min: usize,
    ) -> Result<usize, DecodeError> {
        let count = self.u32(what)? as usize;
        if count > max {
            return Err(DecodeError::TooMany { what, count, max });
        }
        // Bounds are small constants: the product is far inside 64 bits.
        let needed = count.saturating_mul(bytes_each_min);
        if needed > self.rest.len() {
            return Err(DecodeError::Truncated {
                what,
                needed,
                left: self.rest.len(),
            });
        }
        Ok(count)
    }

    /// A counted list.
    pub(super) fn list<T>(
        &mut self,
        what: &'static str,
        max: usize,
        bytes_each_min: usize,
        mut read: impl FnMut(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Vec<T>, DecodeError> {
        let count = self.count(what, max, bytes_each_min)?;
        let mut list = Vec::with_capacity(count);
        for _ in 0..count {
            list.push(read(self)?);
        }
        Ok(list)
    }

    pub(super) fn epoch(&mut self) -> Result<Epoch, DecodeError> {
        self.u64("epoch").map(Epoch::new)
    }

    pub(super) fn window(&mut self) -> Result<Window, DecodeError> {
        self.u64("window").map(Window::new)
    }

    pub(super) fn index(&mut self) -> Result<Index, DecodeError> {
        self.u32("index").map(Index::new)
    }

    pub(super) fn height(&mut self) -> Result<Height, DecodeError> {
        self.u64("height").map(Height::new)
    }

    pub(super) fn block_id(&mut self) -> Result<BlockId, DecodeError> {
        self.array("block id").map(BlockId::new)
    }

    pub(super) fn validator(&mut self) -> Result<ValidatorIndex, DecodeError> {
        self.u16("validator").map(ValidatorIndex::new)
    }

    /// A place in a window and the block there.
    pub(super) fn place(&mut self) -> Result<(Index, BlockId), DecodeError> {
        Ok((self.index()?, self.block_id()?))
    }
}
