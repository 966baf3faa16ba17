//! What a chain's genesis asks of every block's payload, beside its format.
//!
//! Owns the bounds, the shares of the lanes and their check, which is part of a block's validity
//! (R3): from the payload and the epoch's configuration alone. Never: the format itself, or what
//! waits in a pool.

use super::{Lane, PayloadError};
use crate::limits::{BLOCK_COMMANDS_MAX, COMMAND_BYTES_MAX, PAYLOAD_BYTES_MAX};

/// Payloads of at most this many bytes are free of lane shares.
pub const LANE_SHARES_FROM_BYTES: usize = 64 * 1024;
/// Percent of a payload's bytes that each lane may take, in a chain that says nothing else.
pub const LANE_PERCENT_DEFAULT: [u8; Lane::ALL.len()] = [100, 100, 50, 25];

/// The rules of one chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockRules {
    /// Bytes of a payload at most; not above the built-in bound.
    pub payload_bytes_max: usize,
    /// Commands of a payload at most; not above the built-in bound.
    pub commands_max: usize,
    /// Bytes of one command's body at most; not above the built-in bound.
    pub command_bytes_max: usize,
    /// Percent, 1 to 100, of the bytes of a payload above [`LANE_SHARES_FROM_BYTES`] that each
    /// lane's entries may take, in lane order. That of the cancels is 100: nothing holds them
    /// back.
    pub lane_percent: [u8; Lane::ALL.len()],
}

impl Default for BlockRules {
    fn default() -> Self {
        Self {
            payload_bytes_max: PAYLOAD_BYTES_MAX,
            commands_max: BLOCK_COMMANDS_MAX,
            command_bytes_max: COMMAND_BYTES_MAX,
            lane_percent: LANE_PERCENT_DEFAULT,
        }
    }
}

impl BlockRules {
    /// Percent of a payload's bytes that the lane's entries may take.
    #[must_use]
    pub const fn percent(&self, lane: Lane) -> u8 {
        self.lane_percent[lane as usize]
    }

    /// Judges what a payload of `sizes` takes.
    ///
    /// # Errors
    ///
    /// [`PayloadError`], which names the bound that is broken.
    pub(super) fn check(&self, sizes: &Sizes) -> Result<(), PayloadError> {
        if sizes.payload > self.payload_bytes_max {
            return Err(PayloadError::TooLarge {
                bytes: sizes.payload,
                max: self.payload_bytes_max,
            });
        }
        if sizes.commands > self.commands_max {
            let (count, max) = (sizes.commands, self.commands_max);
            return Err(PayloadError::TooManyCommands { count, max });
        }
        let (command, bytes) = sizes.longest;
        if bytes > self.command_bytes_max {
            let max = self.command_bytes_max;
            return Err(PayloadError::BodyTooLarge {
                command,
                bytes,
                max,
            });
        }
        self.check_shares(sizes)
    }

    fn check_shares(&self, sizes: &Sizes) -> Result<(), PayloadError> {
        if sizes.payload <= LANE_SHARES_FROM_BYTES {
            return Ok(());
        }
        for lane in Lane::ALL {
            let (bytes, percent) = (sizes.lanes[lane as usize], self.percent(lane));
            // Both are at most PAYLOAD_BYTES_MAX.
            if bytes * 100 > sizes.payload * usize::from(percent) {
                return Err(PayloadError::LaneShare {
                    lane,
                    bytes,
                    payload_bytes: sizes.payload,
                    percent,
                });
            }
        }
        Ok(())
    }
}

/// What a payload takes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sizes {
    /// Bytes of the whole payload.
    pub(super) payload: usize,
    /// Bytes of each lane's entries.
    lanes: [usize; Lane::ALL.len()],
    commands: usize,
    /// Place and bytes of the longest body.
    longest: (usize, usize),
}

impl Sizes {
    /// Of a payload of so many bytes, before its entries are counted.
    pub(super) fn of(payload_bytes: usize) -> Self {
        Self {
            payload: payload_bytes,
            ..Self::default()
        }
    }

    /// Counts an entry of a payload; the payload's own length is the caller's to set.
    pub(super) fn add(&mut self, lane: Lane, entry_bytes: usize, body_bytes: usize) {
        self.lanes[lane as usize] += entry_bytes;
        if body_bytes > self.longest.1 {
            self.longest = (self.commands, body_bytes);
        }
        self.commands += 1;
    }
}
