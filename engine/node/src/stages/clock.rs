//! The one place of a node that reads clocks.

use quorate_consensus::types::Now;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Both clocks, from one start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: Instant,
}

impl Clock {
    pub(crate) fn new() -> Self {
        Self {
            start: Instant::now(),
        }
    }

    /// What time it is.
    pub(crate) fn read(self) -> (Instant, Now) {
        let instant = Instant::now();
        let mono_ns = nanoseconds(instant.saturating_duration_since(self.start));
        (
            instant,
            Now {
                mono_ns,
                wall_ns: wall_ns(),
            },
        )
    }
}

/// The wall clock, nanoseconds since the Unix epoch; 0 before it.
pub(crate) fn wall_ns() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, nanoseconds)
}

pub(crate) fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
