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

    /// The monotonic clock alone.
    pub(crate) fn mono_ns(self) -> u64 {
        nanoseconds(self.start.elapsed())
    }

    /// The machine's monotonic clock when this one stood at 0, which all processes share.
    pub(crate) fn base_ns(self) -> u64 {
        machine_ns().saturating_sub(self.mono_ns())
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

/// The machine's monotonic clock: the same for all its processes, nanoseconds.
pub(crate) fn machine_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    Duration::try_from(now).map_or(0, nanoseconds)
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
