//! How a log is made: what its opener chooses. Owns no bytes; what an existing log has stands in
//! it.

use crate::backend::Fill;
use crate::identity::SALT_BYTES;
use crate::segment::SEGMENT_BYTES_DEFAULT;

/// How a log is made. An existing log keeps its salt and the lengths of its segments.
#[derive(Clone)]
pub struct LogConfig {
    /// Length of new segments: a multiple of 4096 from [`crate::SEGMENT_BYTES_MIN`] to
    /// [`crate::SEGMENT_BYTES_MAX`].
    pub segment_bytes: u32,
    /// Drawn at random for every new log and kept from everybody who can put bytes into a
    /// record: it makes records that cannot be forged inside a payload.
    pub salt: [u8; SALT_BYTES],
    /// Whether an existing log is read from the disk and not from memory that may pretend: for a
    /// start after a failed sync.
    pub distrusts_cache: bool,
    /// Whether new segments have their room reserved instead of filled with zeros, where the file
    /// system can do that: for a log whose syncs nobody waits for. Half of what the disk writes
    /// otherwise is these zeros; without them each sync of new bytes has to note besides that
    /// they are there. What is found after any crash is the same.
    pub reserves_room: bool,
}

impl LogConfig {
    /// Segments of the default length, and this salt if the log is new.
    #[must_use]
    pub fn new(salt: [u8; SALT_BYTES]) -> Self {
        Self {
            segment_bytes: SEGMENT_BYTES_DEFAULT,
            salt,
            distrusts_cache: false,
            reserves_room: false,
        }
    }

    /// How segments are filled for which somebody waits.
    pub(crate) fn fill(&self) -> Fill<'static> {
        Fill {
            is_reserved: self.reserves_room,
            rest: None,
        }
    }
}

impl std::fmt::Debug for LogConfig {
    // Without the salt, which has no place in a trace.
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("LogConfig")
            .field("segment_bytes", &self.segment_bytes)
            .finish_non_exhaustive()
    }
}
