//! The ranges of a configuration's numbers, whether they come of a file or of a program.
//!
//! Owns every range but the size of the log. Never: addresses, timers, cores.

use super::{LogConfig, NodeLimits, RateConfig, SnapshotConfig};
use crate::archive::ARCHIVE_BYTES_MIN;
use crate::file_error::FileError;
use crate::roots::ROOT_HEIGHTS;
use crate::trace::STAMPS_MAX;
use std::path::Path;

/// At most: a disk has other things to do.
const SCRUB_BYTES_PER_S_MAX: u64 = 1 << 30;

/// The numbers of a configuration.
pub(super) struct Bounds<'c> {
    pub(super) log: &'c LogConfig,
    pub(super) snapshots: &'c SnapshotConfig,
    pub(super) limits: &'c NodeLimits,
    pub(super) rates: &'c RateConfig,
}

/// At least, in memory before an archive: one that memory passes before the disk has taken it ends.
const PRIVATE_BYTES_MIN: u64 = 64 << 10;

/// A number with a range: its field, itself, the least and the most.
type Ranged = (&'static str, u64, u64, u64);

impl Bounds<'_> {
    pub(super) fn check(&self, path: &Path) -> Result<(), FileError> {
        for (field, value, least, most) in self.limit_ranges().into_iter().chain(self.ranges()) {
            check_range(path, field, value, (least, most))?;
        }
        let every_heights = self.snapshots.every_heights;
        if !every_heights.is_multiple_of(ROOT_HEIGHTS) {
            return Err(
                FileError::new(path, "snapshots.every_heights", "not a multiple of 64")
                    .value(every_heights)
                    .remedy("choose a multiple of 64, or 0 for no snapshots"),
            );
        }
        let (public, private) = (
            self.limits.public_archive_bytes_max,
            self.limits.private_archive_bytes_max,
        );
        for (field, bytes, what) in [
            ("limits.public_archive_bytes_max", public, "events"),
            ("limits.private_archive_bytes_max", private, "outputs"),
        ] {
            if (1..ARCHIVE_BYTES_MIN).contains(&bytes) {
                return Err(FileError::new(path, field, "out of range")
                    .value(bytes)
                    .remedy(format!(
                        "choose at least {ARCHIVE_BYTES_MIN}, or 0 to keep no older {what}"
                    )));
            }
        }
        let in_memory = self.limits.private_bytes_max as u64;
        if private > 0 && (1..PRIVATE_BYTES_MIN).contains(&in_memory) {
            let field = "limits.private_bytes_max";
            return Err(FileError::new(path, field, "too few before an archive")
                .value(in_memory)
                .remedy(format!(
                    "choose at least {PRIVATE_BYTES_MIN}, or limits.private_archive_bytes_max = 0"
                )));
        }
        Ok(())
    }

    const fn limit_ranges(&self) -> [Ranged; 7] {
        let limits = self.limits;
        let (commands, bytes) = (limits.pool_commands_max, limits.pool_bytes_max);
        let (queue, public) = (limits.finalized_queue_max, limits.public_bytes_max);
        let (clients, stamps) = (limits.clients_max, limits.trace_stamps);
        let private = limits.private_bytes_max as u64;
        [
            ("limits.clients_max", clients as u64, 1, 1 << 20),
            ("limits.pool_commands_max", commands as u64, 1, 1 << 26),
            ("limits.pool_bytes_max", bytes as u64, 1 << 20, 1 << 40),
            ("limits.finalized_queue_max", queue as u64, 1, 1 << 20),
            ("limits.public_bytes_max", public as u64, 64 << 10, 1 << 40),
            ("limits.private_bytes_max", private, 0, 1 << 40),
            ("limits.trace_stamps", stamps as u64, 0, STAMPS_MAX as u64),
        ]
    }

    const fn ranges(&self) -> [Ranged; 5] {
        let rates = self.rates;
        let (per_min, burst) = (rates.open_per_min, rates.open_burst);
        let (scrub, keep) = (self.log.scrub_bytes_per_s, self.snapshots.keep);
        [
            ("snapshots.keep", keep as u64, 1, 64),
            ("rates.burst_ms", rates.burst_ms as u64, 1, 60_000),
            ("rates.open_per_min", per_min as u64, 0, 6_000_000),
            ("rates.open_burst", burst as u64, 1, 1 << 20),
            ("log.scrub_bytes_per_s", scrub, 0, SCRUB_BYTES_PER_S_MAX),
        ]
    }
}

/// Refuses a number outside its range.
pub(super) fn check_range(
    path: &Path,
    field: &str,
    value: u64,
    (least, most): (u64, u64),
) -> Result<(), FileError> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(FileError::new(path, field, "out of range")
        .value(value)
        .remedy(format!("choose {least} to {most}")))
}
