//! Making the next segment ready off the append path.
//!
//! Writing and syncing 64 MiB of zeros takes tens of milliseconds. Somebody other than the writer
//! does it ahead of need: a thread in [`Preparer::run`], or whoever calls
//! [`Preparer::prepare_next`]. A writer that outruns the preparation waits for it, or does it
//! itself, so no append ever lands in a segment whose blocks the disk has not promised.

use std::sync::{Arc, Condvar, Mutex, PoisonError};

use crate::backend::{Backend, CreateError, TEMPORARY_SUFFIX};
use crate::error::LogError;
use crate::map::RegionWriter;
use crate::segment::segment_name;
use crate::shared::{Shared, locked};

/// Where a ready segment waits for the writer. One at a time.
#[derive(Debug)]
pub(crate) struct PrepareSlot {
    state: Mutex<SlotState>,
    changed: Condvar,
}

#[derive(Debug)]
struct SlotState {
    ready: Option<RegionWriter>,
    /// The number of the segment that is ready or is to be made; `None` past the last number.
    number: Option<u32>,
    is_closed: bool,
}

/// What [`Preparer::prepare_next`] found to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prepared {
    /// A segment was made ready.
    Made,
    /// One was ready already, or none will be needed.
    NothingToDo,
}

/// Makes the next segment ready. It may live on a thread of its own.
#[derive(Debug)]
pub struct Preparer {
    pub(crate) shared: Arc<Shared>,
    pub(crate) slot: Arc<PrepareSlot>,
}

impl PrepareSlot {
    /// `number` is that of the next segment; `ready` is it, if it was found ready.
    pub(crate) fn new(number: Option<u32>, ready: Option<RegionWriter>) -> Self {
        let state = Mutex::new(SlotState {
            ready,
            number,
            is_closed: false,
        });
        Self {
            state,
            changed: Condvar::new(),
        }
    }

    /// Takes the segment with the next number, making it if nobody has.
    pub(crate) fn take(&self, shared: &Shared) -> Result<(u32, RegionWriter), LogError> {
        let mut state = locked(&self.state);
        let number = state.number.ok_or(LogError::SegmentsExhausted)?;
        let region = match state.ready.take() {
            Some(region) => region,
            None => make_segment(shared, number)?,
        };
        state.number = number.checked_add(1);
        drop(state);
        self.changed.notify_all();
        Ok((number, region))
    }

    /// No segment will be needed any more.
    pub(crate) fn close(&self) {
        locked(&self.state).is_closed = true;
        self.changed.notify_all();
    }
}

impl Preparer {
    /// Makes the next segment ready, unless it is. Blocks for as long as the disk takes.
    ///
    /// # Errors
    /// [`LogError::NoSegment`] if the system refuses to make the file: nothing is lost, and the
    /// writer will try again when it needs it. [`LogError::SyncFailed`] if its sync failed, which
    /// poisons the log; [`LogError::Poisoned`] after that.
    pub fn prepare_next(&mut self) -> Result<Prepared, LogError> {
        // Held while the file is made: a writer in need waits here rather than make a second one.
        let mut state = locked(&self.slot.state);
        match state.number {
            Some(number) if state.ready.is_none() && !state.is_closed => {
                self.shared.check_not_poisoned()?;
                state.ready = Some(make_segment(&self.shared, number)?);
                Ok(Prepared::Made)
            }
            _ => Ok(Prepared::NothingToDo),
        }
    }

    /// Keeps the next segment ready until the writer is gone. For a thread of its own.
    ///
    /// # Errors
    /// As [`Self::prepare_next`]. The log goes on without the thread, making segments on the
    /// append path; the owner may run it again.
    pub fn run(&mut self) -> Result<(), LogError> {
        while self.wait_until_needed() {
            self.prepare_next()?;
        }
        Ok(())
    }

    /// Blocks until a segment is needed, or says that none will be.
    fn wait_until_needed(&self) -> bool {
        let state = locked(&self.slot.state);
        let state = self
            .slot
            .changed
            .wait_while(state, |state| {
                !state.is_closed && (state.ready.is_some() || state.number.is_none())
            })
            .unwrap_or_else(PoisonError::into_inner);
        !state.is_closed
    }
}

fn make_segment(shared: &Shared, number: u32) -> Result<RegionWriter, LogError> {
    let name = segment_name(number);
    let backend = shared.folder.backend.as_ref();
    create_segment(backend, &name, &[], shared.segment_bytes).map_err(|error| match error {
        CreateError::Write(source) => LogError::NoSegment { source },
        CreateError::Sync(source) => {
            // The same disk as the log's: it has begun to lose what it was given.
            shared.poison();
            LogError::SyncFailed { source }
        }
    })?;
    backend
        .map(&name, &shared.claim)
        .map_err(|source| LogError::NoSegment { source })
}

/// Creates a segment file that starts with `head`: it gets its name, durably, only when every
/// byte of it is on the disk.
pub(crate) fn create_segment(
    backend: &dyn Backend,
    name: &str,
    head: &[u8],
    segment_bytes: u32,
) -> Result<(), CreateError> {
    let temporary = format!("{name}{TEMPORARY_SUFFIX}");
    if let Err(error) = backend.create(&temporary, head, segment_bytes as usize) {
        // Half a segment on a full disk would keep it full, also for the lease. If it cannot be
        // removed now, the next start does it.
        if let Err(source) = backend.remove(&temporary) {
            tracing::warn!(name = temporary, %source, "an unfinished segment was not removed");
        }
        return Err(error);
    }
    backend
        .rename(&temporary, name)
        .map_err(CreateError::Write)?;
    backend.sync_folder().map_err(CreateError::Sync)
}
