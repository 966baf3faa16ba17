//! A log that its validator may be writing, looked at beside it.
//!
//! Owns the difference between what is wrong with a log and what only moved while it was read: its
//! end, which is read before the watermark that proves how far it had come, and its beginning,
//! which a running validator removes. Never: takes a fault for the validator's work that stands
//! where it stood.

use std::path::Path;

use quorate_log::{OpenError, Verification, verify_path};

use super::failure_of;
use crate::failure::{Code, Failure};

/// Looks at a log of which each moves something, before nothing is said of it. One suffices where
/// only the end moves.
const LOOKS_MAX: usize = 8;

/// Verifies a log that may be written meanwhile. Its faults are those alone that stand; everything
/// that was synced when the last look began stands before its end, if there are none.
///
/// # Errors
/// There is no log, it cannot be read, or its beginning moves faster than it is read.
pub(crate) fn verify_beside(folder: &Path) -> Result<Verification, Failure> {
    stand(&mut || verify_path(folder))
        .map_err(|error| failure_of(folder, &error))?
        .ok_or_else(|| {
            let what = format!(
                "{}: its validator changes it faster than it is read",
                folder.display()
            );
            Failure::new(Code::TryAgain, what).remedy("try again, or stop the validator first")
        })
}

/// What of the faults that are seen is seen again.
fn stand(
    look: &mut dyn FnMut() -> Result<Verification, OpenError>,
) -> Result<Option<Verification>, OpenError> {
    let mut before = look()?;
    for _ in 1..LOOKS_MAX {
        if before.faults.is_empty() {
            return Ok(Some(before));
        }
        let mut next = look()?;
        // A lost end tells how far the log had come, and that may be another number each time.
        if next.end == before.end && next.start == before.start {
            return Ok(Some(next));
        }
        let mut standing = next.faults.clone();
        standing.retain(|fault| before.faults.contains(fault));
        // What had been synced before this look is all before its end: the rest came meanwhile.
        let is_reached = next.end.index >= before.synced_index;
        if is_reached || !standing.is_empty() {
            next.faults = standing;
            return Ok(Some(next));
        }
        before = next;
    }
    Ok(before.faults.is_empty().then_some(before))
}

#[cfg(test)]
#[path = "beside_tests.rs"]
mod tests;
