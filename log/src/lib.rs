//! The memory-mapped append-only log of Quorate.
//!
//! One log per validator holds what must outlive a crash, as opaque records: a kind and some
//! bytes. The log promises that what was synced is found again byte for byte, that what was not
//! synced is found as it was appended or not at all, and that everything else is reported as
//! damage and never mistaken for either. docs/log-format.md has the bytes and the decision table.
//!
//! The way of a record, and the reading order of the modules:
//! - `backend` and `memory`: the folder underneath, real or simulated, with its `lock`;
//! - `map`: shared memory with one writer, with `bus_error` the only `unsafe` code; `claim` and
//!   `published`: who may write it, and how far others may read;
//! - `identity`, `record`, `segment`, `position`: the bytes and where they stand; `config`: what of
//!   it is chosen;
//! - `writer`: append; `prepare` by `handover`: the next segment, ahead of need; `reader`: read;
//! - `sync`: make durable; `watermark`: remember how far;
//! - `create`: a new log;
//! - `readable`, `walk`, `fault`, `gaps`, `recovery`, `open`: what a start finds, what it means,
//!   what is done;
//! - `prune`: remove the oldest segments; `base`: where the log begins since;
//! - `scrub`: look at what the disk has while the log is open; `mend` with `shown`: bring back what
//!   it lost;
//! - `verify`: the same check, offline;
//! - `lease`, `clean_stop` over `sealed`: the two small files beside the log.
//!
//! ```
//! use quorate_log::{DataFolder, LogConfig, MemoryBackend, RecordKind, open};
//!
//! let folder = DataFolder::in_memory(&MemoryBackend::new());
//! let config = LogConfig { segment_bytes: 65536, ..LogConfig::new([7; 32]) };
//! let mut log = open(&folder, &config, b"genesis")?;
//! let place = log.writer.append(RecordKind::new(1), &[b"vote ", b"record"])?;
//! log.syncer.sync(log.writer.unsynced())?;
//! assert_eq!(&log.reader.read(place)?[..], b"vote record");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![deny(unsafe_code)]

mod atomics;
mod backend;
mod base;
mod bus_error;
mod bytes;
mod claim;
#[cfg(test)]
mod claim_tests;
mod clean_stop;
mod config;
mod create;
mod error;
mod fault;
mod gaps;
mod handover;
mod identity;
mod lease;
mod lock;
mod map;
mod memory;
mod mend;
mod open;
#[cfg(test)]
mod open_tests;
mod pieces;
mod position;
mod prepare;
mod prune;
mod published;
mod readable;
mod reader;
mod record;
mod recovery;
mod scrub;
mod sealed;
mod segment;
mod shared;
mod shown;
mod sync;
mod verify;
mod walk;
mod watermark;
mod writer;

pub use backend::DataFolder;
pub use bus_error::{BUS_ERROR_EXIT_CODE, end_on_bus_error};
pub use clean_stop::{CleanStopRead, remove_clean_stop};
pub use config::LogConfig;
pub use error::{LogError, OpenError, PruneError, ReadError, ScrubError};
pub use fault::{Damage, Fault};
pub use gaps::MarkedFaulty;
pub use identity::{SALT_BYTES, genesis_hash};
pub use lease::{LEASE_PAYLOAD_BYTES_MAX, LeaseError, LeaseFile, LeaseRead};
pub use lock::{FolderLock, LockError};
pub use memory::{MemoryBackend, SECTOR_BYTES, Unsynced};
pub use mend::{Broken, Mend, Mended};
pub use open::{Cut, Opened, Recovery, open, open_noting};
pub use position::{ChainHash, LogEnd, LogOffset, RecordIndex, RecordRef};
pub use prepare::{Prepared, Preparer};
pub use prune::Pruner;
pub use reader::{Reader, RecordBytes, RecordIter, Salvage};
pub use record::RecordKind;
pub use recovery::{Action, Row};
pub use scrub::{Scrubbed, Scrubber};
pub use sealed::SealDamage;
pub use segment::{
    FORMAT_VERSION, FORMAT_VERSION_MIN, SEGMENT_BYTES_DEFAULT, SEGMENT_BYTES_MAX, SEGMENT_BYTES_MIN,
};
pub use shared::LogUsage;
pub use sync::{SyncRange, Syncer};
pub use verify::{Verification, kept_genesis, segment_bytes, verify, verify_path};
pub use walk::FAULTS_MAX;
pub use writer::Writer;
