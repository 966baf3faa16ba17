//! Making the next segment ready off the append path.
//!
//! Writing and syncing 64 MiB of zeros takes tens of milliseconds. Somebody other than the writer
//! does it ahead of need: a thread in [`Preparer::run`], or whoever calls
//! [`Preparer::prepare_next`]. A writer that outruns the preparation waits for it, or does it
//! itself, so no append ever lands in a segment whose blocks the disk has not promised.
//!
//! Zeros that are made ahead are made with rests: the logs of several validators fill alike, and
//! segments made in one go take both processors of a small machine, and its disk, from all of them
//! at once. Where nobody waits for syncs ([`LogConfig::reserves_room`]) blocks are reserved
//! instead: the promise is the same, the disk writes half as much, and there is nothing to rest
//! from.
//!
//! [`LogConfig::reserves_room`]: crate::LogConfig::reserves_room

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::backend::{Backend, CreateError, Fill, Rest, TEMPORARY_SUFFIX};
use crate::error::LogError;
use crate::handover::Handover;
use crate::map::RegionWriter;
use crate::segment::segment_name;
use crate::shared::Shared;

/// Where a ready segment waits for the writer. One at a time.
#[derive(Debug)]
pub(crate) struct PrepareSlot {
    handover: Handover<RegionWriter>,
    /// The writer waits for what is being made, or is gone: no more rests.
    is_urgent: AtomicBool,
}

/// How much longer a rest is than what it follows.
const REST_TIMES: u32 = 4;
/// Longest rest: what a writer that has come to need the segment may wait in vain.
const REST_MAX: Duration = Duration::from_millis(4);

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
        Self {
            handover: Handover::new(number, ready),
            is_urgent: AtomicBool::new(false),
        }
    }

    /// Rests after a piece that took so long, unless somebody waits.
    #[expect(
        clippy::disallowed_methods,
        reason = "time is what is given to others; nothing is waited for"
    )]
    fn rest(&self, took: Duration) {
        std::thread::sleep(self.rest_after(took));
    }

    /// How long to rest after a piece that took so long.
    fn rest_after(&self, took: Duration) -> Duration {
        // Only how soon something is done hangs on it; the lock orders the rest.
        if self.is_urgent.load(Ordering::Relaxed) {
            return Duration::ZERO;
        }
        took.saturating_mul(REST_TIMES).min(REST_MAX)
    }

    /// Takes the segment with the next number, making it if nobody has.
    pub(crate) fn take(&self, shared: &Shared) -> Result<(u32, RegionWriter), LogError> {
        self.is_urgent.store(true, Ordering::Relaxed);
        let taken = self
            .handover
            .take(|number| make_segment(shared, number, None));
        self.is_urgent.store(false, Ordering::Relaxed);
        taken?.ok_or(LogError::SegmentsExhausted)
    }

    /// No segment will be needed any more.
    pub(crate) fn close(&self) {
        self.is_urgent.store(true, Ordering::Relaxed);
        self.handover.close();
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
        let rest = |took| self.slot.rest(took);
        let made = self.slot.handover.prepare(|number| {
            self.shared.check_not_poisoned()?;
            make_segment(&self.shared, number, Some(&rest))
        })?;
        Ok(if made {
            Prepared::Made
        } else {
            Prepared::NothingToDo
        })
    }

    /// Keeps the next segment ready until the writer is gone. For a thread of its own.
    ///
    /// # Errors
    /// As [`Self::prepare_next`]. The log goes on without the thread, making segments on the
    /// append path; the owner may run it again.
    pub fn run(&mut self) -> Result<(), LogError> {
        while self.slot.handover.wait_until_needed() {
            self.prepare_next()?;
        }
        Ok(())
    }
}

fn make_segment(
    shared: &Shared,
    number: u32,
    rest: Option<Rest<'_>>,
) -> Result<RegionWriter, LogError> {
    let name = segment_name(number);
    let backend = shared.folder.backend.as_ref();
    // Just before pages are wanted for as many bytes: memory that the system has to find, clear or
    // ask a hypervisor for costs several times what a page costs that was just given back.
    shared.release_sealed();
    let fill = Fill {
        is_reserved: shared.reserves_room,
        rest,
    };
    let made = create_segment(backend, &name, &[], shared.segment_bytes, fill);
    made.map_err(|error| match error {
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
/// byte of it is on the disk, or has its room there.
pub(crate) fn create_segment(
    backend: &dyn Backend,
    name: &str,
    head: &[u8],
    segment_bytes: u32,
    fill: Fill<'_>,
) -> Result<(), CreateError> {
    let temporary = format!("{name}{TEMPORARY_SUFFIX}");
    if let Err(error) = backend.create_with(&temporary, head, segment_bytes as usize, fill) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::DataFolder;
    use crate::config::LogConfig;
    use crate::memory::MemoryBackend;
    use crate::open::{Opened, open};
    use std::sync::mpsc;
    use std::time::Instant;

    /// Longer than anybody has to wait, and what a test that fails takes.
    const LONG: Duration = Duration::from_secs(10);

    fn opened() -> Opened {
        let mut config = LogConfig::new([7; 32]);
        config.segment_bytes = 4096;
        open(&DataFolder::in_memory(&MemoryBackend::new()), &config, b"g").unwrap()
    }

    /// Whether who makes a segment sees that it is urgent while somebody does what is given.
    fn is_urgent_during(log: &Opened, does: impl FnOnce()) -> bool {
        let slot = &log.preparer.slot;
        let (is_making, making) = mpsc::channel();
        std::thread::scope(|scope| {
            let maker = scope.spawn(move || {
                let mut seen = false;
                let made = slot.handover.prepare(|_| {
                    is_making.send(()).unwrap();
                    let began = Instant::now();
                    while !seen && began.elapsed() < LONG {
                        std::thread::yield_now();
                        seen = slot.rest_after(LONG).is_zero();
                    }
                    Err(())
                });
                assert_eq!(made, Err(()));
                seen
            });
            making.recv().unwrap();
            does();
            maker.join().unwrap()
        })
    }

    #[test]
    fn who_makes_a_segment_rests_until_somebody_waits_for_it() {
        let log = opened();
        let slot = &log.preparer.slot;
        let took = REST_MAX / (2 * REST_TIMES);
        assert_eq!(slot.rest_after(took), REST_MAX / 2);
        assert_eq!(slot.rest_after(LONG), REST_MAX);
        let is_urgent = is_urgent_during(&log, || {
            let (number, _) = slot.take(&log.preparer.shared).unwrap();
            assert_eq!(number, 1);
        });
        assert!(is_urgent, "a writer waited");
        assert_eq!(slot.rest_after(LONG), REST_MAX, "nobody waits any more");
    }

    #[test]
    fn who_makes_a_segment_does_not_rest_when_the_writer_is_gone() {
        let log = opened();
        let slot = &log.preparer.slot;
        assert!(is_urgent_during(&log, || slot.close()), "nobody needs it");
        assert_eq!(slot.rest_after(LONG), Duration::ZERO);
    }
}
