//! A validator's log as it lies on disk, read without opening it: nothing is written and no lock
//! is taken.
//!
//! Owns the way from a folder to its finalized chain. Whether the bytes are whole is judged by
//! `quorate_log`; here it is judged what they say. Never: repairs.
//!
//! `beside` judges the bytes of a log that its validator may be writing, `records` walks the
//! records, `whole` those of a log of which something is known, `chain` reads them as blocks, marks
//! and proofs, `replay` executes them.

pub(crate) mod beside;
pub(crate) mod chain;
pub(crate) mod records;
pub(crate) mod replay;
pub(crate) mod whole;

use std::io;
use std::path::{Path, PathBuf};

use quorate::node::StartError;
use quorate_log::{Damage, DataFolder, Fault, LockError, MarkedFaulty, OpenError, Verification};
use serde::Serialize;

use crate::failure::{Code, Failure};

/// How the names of segments begin; a number of ten digits follows.
const SEGMENT_PREFIX: &str = "segment-";
/// What a log that was pruned has besides.
pub(crate) const BASE: &str = "base";

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
/// None of them is one, or the system does not let it be looked at.
pub(crate) fn log_folder(given: &Path) -> Result<PathBuf, Failure> {
    let candidates = [
        given.to_path_buf(),
        given.join("log"),
        given.join("data").join("log"),
    ];
    for folder in candidates {
        if is_log(&folder).map_err(|error| unreadable(&folder, &error))? {
            return Ok(folder);
        }
    }
    let what = format!("{}: no log here", given.display());
    Err(Failure::new(Code::Configuration, what).remedy(format!(
        "name a folder that holds {SEGMENT_PREFIX}0000000000 or {BASE}, or the validator's folder"
    )))
}

/// Whether a folder holds anything of a log. One that has lost its beginning is one all the same:
/// what it has lost is for the judgement to say.
fn is_log(folder: &Path) -> io::Result<bool> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error)
            if [io::ErrorKind::NotFound, io::ErrorKind::NotADirectory].contains(&error.kind()) =>
        {
            return Ok(false);
        }
        Err(error) => return Err(error),
    };
    for entry in entries {
        let name = entry?.file_name();
        let name = name.to_string_lossy();
        let number = name.strip_prefix(SEGMENT_PREFIX).unwrap_or_default();
        let is_segment = number.len() == 10 && number.bytes().all(|byte| byte.is_ascii_digit());
        if is_segment || name == BASE {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether the segment is not there that the log is to begin with: nothing can be followed then.
pub(crate) fn lacks_beginning(found: &Verification) -> bool {
    let first = found.faults.first().map(|fault| fault.damage);
    let is_missing = matches!(
        first,
        Some(Damage::BeginningMissing | Damage::SegmentMissing)
    );
    is_missing && found.end.offset <= found.start.offset
}

/// Refuses a log of which nothing can be read. A running validator removes its first segments only
/// behind the file that says so: where that is missing, nobody puts it there any more.
///
/// # Errors
/// It has lost its beginning.
pub(crate) fn require_beginning(folder: &Path, found: &Verification) -> Result<(), Failure> {
    if !lacks_beginning(found) {
        return Ok(());
    }
    let what = format!(
        "{}: the beginning of the log is missing, or the file {BASE} that says what it is",
        folder.display()
    );
    Err(Failure::new(Code::Damaged, what).remedy("run quorate log verify"))
}

/// Files of a log that could not be read. A segment that was there when the log was judged, and is
/// gone, was removed by its validator.
pub(crate) fn unreadable(folder: &Path, error: &io::Error) -> Failure {
    let what = format!("{}: {error}", folder.display());
    match error {
        error if error.kind() == io::ErrorKind::NotFound => Failure::new(Code::TryAgain, what)
            .remedy("try again: its validator removes its oldest segments"),
        _ => Failure::of_refusal(what, error, Code::Configuration),
    }
}

/// Locks the log of a stopped validator, so that nobody writes it meanwhile.
///
/// # Errors
/// Somebody has it; or the system refuses, which no stop of a validator helps against.
pub(crate) fn lock(folder: &Path) -> Result<DataFolder, Failure> {
    DataFolder::open_to_read(folder).map_err(|error| {
        let is_held = matches!(error, LockError::Held { .. });
        let failure = Failure::from(StartError::from(error));
        match is_held {
            true => failure.remedy("stop the validator first"),
            false => failure,
        }
    })
}

/// The same where nobody has it: none of a running validator.
///
/// # Errors
/// The system refuses, so that it is not known whether one runs.
pub(crate) fn lock_unless_held(folder: &Path) -> Result<Option<DataFolder>, Failure> {
    match DataFolder::open_to_read(folder) {
        Err(LockError::Held { .. }) => Ok(None),
        locked => locked
            .map(Some)
            .map_err(|error| Failure::from(StartError::from(error))),
    }
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
        OpenError::Io { source, .. } => Failure::of_refusal(what, source, Code::Configuration),
        _ => Failure::new(Code::Configuration, what).remedy("check the path and its permissions"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_that_somebody_has_is_told_from_one_that_the_system_refuses() {
        let dir = std::env::temp_dir().join(format!("quorate-locked-{}", std::process::id()));
        let held = DataFolder::open(&dir).unwrap();
        let refused = lock(&dir).unwrap_err();
        assert_eq!(refused.code, Code::TryAgain);
        assert!(
            refused.to_string().contains("stop the validator"),
            "{refused}"
        );
        assert!(lock_unless_held(&dir).unwrap().is_none());
        drop(held);
        assert!(lock_unless_held(&dir).unwrap().is_some());
        std::fs::remove_file(dir.join("lock")).unwrap();
        std::os::unix::fs::symlink("lock", dir.join("lock")).unwrap();
        let refused = [lock(&dir).err(), lock_unless_held(&dir).err()];
        for told in refused.map(|refused| refused.unwrap().to_string()) {
            assert!(
                told.contains("symbolic links") && !told.contains("stop the"),
                "{told}"
            );
        }
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn a_log_that_has_lost_its_beginning_is_one_and_other_folders_are_none() {
        let dir = std::env::temp_dir().join(format!("quorate-inspect-{}", std::process::id()));
        let log = dir.join("data").join("log");
        std::fs::create_dir_all(&log).unwrap();
        let found = || log_folder(&dir).map_err(|failure| failure.to_string());
        assert!(found().is_err_and(|what| what.contains("no log here")));
        for other in ["segment-", "segment-00000000x1", "watermark"] {
            std::fs::write(log.join(other), b"").unwrap();
            assert!(found().is_err(), "{other}");
        }
        std::fs::write(log.join("segment-0000000007"), b"").unwrap();
        assert_eq!(found(), Ok(log));
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
