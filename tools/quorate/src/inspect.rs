//! A validator's log as it lies on disk, read without opening it: nothing is written and no lock
//! is taken.
//!
//! Owns the way from a folder to its finalized chain. Whether the bytes are whole is judged by
//! `quorate_log`; here it is judged what they say. Never: repairs.
//!
//! `records` walks the records, `chain` reads them as blocks, marks and proofs, `replay` executes
//! them.

pub(crate) mod chain;
pub(crate) mod records;
pub(crate) mod replay;

use std::path::{Path, PathBuf};

use quorate_log::{Damage, Fault, MarkedFaulty, OpenError};
use serde::Serialize;

use crate::failure::{Code, Failure};

/// First segment of every log.
const FIRST_SEGMENT: &str = "segment-0000000000";
/// What a log that was pruned has in its place.
const BASE: &str = "base";

/// What kind of trouble a place is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Trouble {
    /// A crash left it; the next start cuts it off.
    Torn,
    /// Damage that no crash explains.
    Faulty,
    /// It belongs to another log or another genesis.
    Foreign,
    /// It was found faulty by an earlier start, which went on behind it.
    Marked,
}

/// One place of a log that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    /// Number of the segment.
    pub(crate) segment: u32,
    /// Bytes from the segment's first byte.
    pub(crate) offset: u32,
    /// Height of the block concerned, where one is.
    pub(crate) height: Option<u64>,
    /// What is wrong.
    pub(crate) what: String,
    /// Of which kind it is.
    pub(crate) kind: Trouble,
}

impl Finding {
    /// A stretch that an earlier start has marked.
    pub(crate) fn of_mark(mark: &MarkedFaulty) -> Self {
        Self {
            segment: mark.from.segment(),
            offset: mark.from.bytes(),
            height: None,
            what: format!(
                "from record {} on; the log goes on with record {} in segment {}",
                mark.index, mark.resumed_at, mark.resumed_in
            ),
            kind: Trouble::Marked,
        }
    }

    /// What `quorate_log` found.
    pub(crate) fn of_fault(fault: &Fault, kind: Trouble) -> Self {
        let kind = if fault.damage == Damage::SegmentOfAnotherLog {
            Trouble::Foreign
        } else {
            kind
        };
        let record = fault
            .index
            .map(|index| format!("record {index}: "))
            .unwrap_or_default();
        Self {
            segment: fault.segment,
            offset: fault.offset,
            height: None,
            what: format!("{record}{}", fault.damage),
            kind,
        }
    }
}

/// The log folder that is meant by a log folder, a data folder or a validator's folder.
///
/// # Errors
/// None of them is one.
pub(crate) fn log_folder(given: &Path) -> Result<PathBuf, Failure> {
    let candidates = [
        given.to_path_buf(),
        given.join("log"),
        given.join("data").join("log"),
    ];
    candidates
        .into_iter()
        .find(|folder| {
            let begins_with = |name| folder.join(name).is_file();
            begins_with(FIRST_SEGMENT) || begins_with(BASE)
        })
        .ok_or_else(|| {
            Failure::new(
                Code::Configuration,
                format!("{}: no log here", given.display()),
            )
            .remedy(format!(
                "name a folder that holds {FIRST_SEGMENT} or {BASE}, or the validator's folder"
            ))
        })
}

/// A log that could not be judged at all.
pub(crate) fn failure_of(folder: &Path, error: &OpenError) -> Failure {
    let what = match std::error::Error::source(error) {
        Some(source) => format!("{}: {error}: {source}", folder.display()),
        None => format!("{}: {error}", folder.display()),
    };
    match error {
        OpenError::Damaged { .. } | OpenError::LogLost { .. } => Failure::new(Code::Damaged, what)
            .remedy("keep the folder as it is; see the recovery paths in docs/operations.md"),
        OpenError::Version { .. } => {
            Failure::new(Code::Configuration, what).remedy("use the version that wrote it")
        }
        OpenError::SyncFailed { .. } => {
            Failure::new(Code::DiskFailed, what).remedy("repair the disk")
        }
        _ => Failure::new(Code::Configuration, what).remedy("check the path and its permissions"),
    }
}
