//! How fast those who ask may keep the disk of an archive reading.
//!
//! A question of a few bytes makes an archive read megabytes where most of them are of others, so
//! whoever asks again as soon as it is answered would have all of a disk, and much of a core.
//!
//! Owns the pace of all readers together. Never: whose turn it is: who asked first is answered
//! first.

use std::time::{Duration, Instant};

/// What has not been read for so long may be read at once.
const SAVED: Duration = Duration::from_millis(100);

/// So many bytes a second, at most.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reads {
    bytes_per_s: u64,
    /// Nothing more is read before.
    free_at: Instant,
}

impl Reads {
    pub(super) fn new(bytes_per_s: u64, now: Instant) -> Self {
        Self {
            bytes_per_s: bytes_per_s.max(1),
            free_at: now,
        }
    }

    pub(super) fn is_free(&self, now: Instant) -> bool {
        self.free_at <= now
    }

    /// How long until the next question may be read.
    pub(super) fn wait(&self, now: Instant) -> Duration {
        self.free_at.saturating_duration_since(now)
    }

    /// So many bytes have been read.
    pub(super) fn spend(&mut self, bytes: u64, now: Instant) {
        let from = now
            .checked_sub(SAVED)
            .map_or(self.free_at, |saved| saved.max(self.free_at));
        let cost_ns = bytes.saturating_mul(1_000_000_000) / self.bytes_per_s;
        self.free_at = from + Duration::from_nanos(cost_ns);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1024 * 1024;

    #[test]
    fn what_was_read_is_paid_for_in_time_and_little_is_saved() {
        let start = Instant::now();
        let mut reads = Reads::new(64 * MIB, start);
        assert!(reads.is_free(start));
        // A sixteenth of a second's worth, out of nothing saved.
        reads.spend(4 * MIB, start);
        assert!(!reads.is_free(start));
        assert_eq!(reads.wait(start), Duration::from_micros(62_500));
        // Two more are paid one after the other, however early they were read.
        reads.spend(8 * MIB, start);
        assert_eq!(reads.wait(start), Duration::from_micros(187_500));
        let paid = start + Duration::from_micros(187_500);
        assert!(reads.is_free(paid));
        assert_eq!(reads.wait(paid), Duration::ZERO);

        // An hour of silence pays for a tenth of a second, and no more.
        let late = paid + Duration::from_secs(3_600);
        reads.spend(6 * MIB, late);
        assert!(reads.is_free(late));
        reads.spend(64 * MIB, late);
        assert!(reads.wait(late) > Duration::from_millis(900));
    }
}
