//! The log's threads.
//!
//! Owns the thread that syncs and writes leases, the one that makes the next log segment ready,
//! and, where threads are dedicated, the one that appends. A slow disk delays votes here, never
//! the network. Never: decides what is synced.

use super::clock::{Clock, nanoseconds};
use super::dedicated::Halt;
use crate::idle::{Received, receive};
use crate::journal::{EXIT_UNNOTED, Journal, Journaled, SyncDone, SyncError, SyncJob, SyncWorker};
use crate::metrics::Metrics;
use crate::node::NodeFailure;
use crate::parked::{Receiver, Sender, unbounded};
use crate::profiles::Placement;
use crate::queues::{AppBacklog, DiskBacklog, ToApp, ToJournal, ToOrder};
use crate::replica::ReplicaError;
use quorate_log::{LogError, Preparer};
use std::io::ErrorKind;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The sync thread as its owner sees it.
///
/// The queue has no bound of its own: the journal asks for the next sync only when it has the
/// answer to the last one, and so for leases.
#[derive(Debug)]
pub(crate) struct SyncThread {
    jobs: Option<Sender<SyncJob>>,
    thread: Option<JoinHandle<SyncWorker>>,
}

impl SyncThread {
    /// Starts the thread. `answer` takes what came of one call, without waiting for the owner.
    ///
    /// # Errors
    /// The system refuses a thread.
    pub(crate) fn start(
        worker: SyncWorker,
        metrics: Arc<Metrics>,
        answer: impl FnMut(Result<SyncDone, SyncError>) + Send + 'static,
    ) -> std::io::Result<Self> {
        let (jobs, waiting) = unbounded();
        let thread = std::thread::Builder::new()
            .name("quorate-sync".to_owned())
            .spawn(move || work(worker, &metrics, &waiting, answer))?;
        Ok(Self {
            jobs: Some(jobs),
            thread: Some(thread),
        })
    }

    /// Hands one call over.
    pub(crate) fn hand_over(&self, job: SyncJob) {
        // The thread ends only when it is stopped or panicked; then no answer comes, and without
        // one nothing leaves.
        if self
            .jobs
            .as_ref()
            .is_none_or(|jobs| jobs.send(job).is_err())
        {
            tracing::error!("the sync thread is gone");
        }
    }

    /// Ends the thread after what waits, and gives the worker back.
    pub(crate) fn stop(mut self) -> Option<SyncWorker> {
        self.jobs = None;
        self.thread.take()?.join().ok()
    }
}

fn work(
    mut worker: SyncWorker,
    metrics: &Metrics,
    waiting: &Receiver<SyncJob>,
    mut answer: impl FnMut(Result<SyncDone, SyncError>),
) -> SyncWorker {
    let mut looked_at = None::<Instant>;
    while let Some(job) = waiting.recv() {
        let start = Instant::now();
        let done = worker.run(job);
        if matches!(done, Ok(SyncDone::Synced(_))) {
            metrics.sync.record(nanoseconds(start.elapsed()));
        }
        if let Err(error) = &done {
            metrics.ending_code.set(error.exit_code().into());
        }
        answer(done);
        // Beside the syncs: where the disk hangs nobody waits for this either.
        if looked_at.is_none_or(|looked_at| looked_at.elapsed() >= LOOK_AGAIN) {
            looked_at = Some(Instant::now());
            note_free(&worker, metrics);
        }
    }
    worker
}

/// A full disk has one byte: 0 says that nobody has looked.
fn note_free(worker: &SyncWorker, metrics: &Metrics) {
    match worker.free_bytes() {
        Ok(Some(bytes)) => metrics.log_free_bytes.set(bytes.max(1)),
        Ok(None) => {}
        Err(error) => tracing::debug!(%error, "the file system does not say what it has left"),
    }
}

/// Starts the thread that keeps the next log segment ready. It ends when the log's writer is gone.
///
/// # Errors
/// The system refuses a thread.
pub(crate) fn start_preparer(
    mut preparer: Preparer,
    metrics: Arc<Metrics>,
) -> std::io::Result<JoinHandle<()>> {
    std::thread::Builder::new()
        .name("quorate-segment".to_owned())
        .spawn(move || {
            let mut refused = RefusedSegments::default();
            while let Err(error) = refused.prepare(&mut preparer) {
                let LogError::NoSegment { source } = &error else {
                    tracing::error!(%error, "no log segment is made ahead any more");
                    // The log takes nothing any more. The loop sees that and has it noted for the
                    // next start; a disk that hangs until then leaves no note.
                    if metrics.ending_code.read() == 0 {
                        metrics.ending_code.set(EXIT_UNNOTED.into());
                    }
                    return;
                };
                // The disk is full, or some limit is reached, which may pass.
                if refused.note(source.kind()) {
                    tracing::error!(%error, "no log segment can be made now");
                }
                std::thread::park_timeout(PREPARE_AGAIN);
            }
        })
}

/// Why no segment could be made when it was tried last: told when it begins, changes or ends, and
/// not as often as it is tried, which is for as long as a disk is full.
#[derive(Debug, Default)]
struct RefusedSegments(Option<ErrorKind>);

impl RefusedSegments {
    /// Makes segments until none is needed any more. What was refused is tried again first, by
    /// itself, so that it is seen when it succeeds.
    fn prepare(&mut self, preparer: &mut Preparer) -> Result<(), LogError> {
        if self.0.is_some() {
            preparer.prepare_next()?;
            self.0 = None;
            tracing::warn!("log segments can be made again");
        }
        preparer.run()
    }

    /// One was refused for this reason; whether that is to be told.
    fn note(&mut self, reason: ErrorKind) -> bool {
        self.0.replace(reason) != Some(reason)
    }
}

/// Time between two looks at what the file system has left, while something is synced.
const LOOK_AGAIN: Duration = Duration::from_secs(10);
/// Time between two tries to make a segment.
const PREPARE_AGAIN: Duration = Duration::from_millis(500);
/// Longest sleep of the journal thread.
const PARK_MAX: Duration = Duration::from_millis(50);

/// The journal stage on a thread of its own: the appending end of the log.
pub(crate) struct JournalThread {
    pub(crate) journal: Journal,
    pub(crate) items: Receiver<ToJournal>,
    pub(crate) order: Sender<ToOrder>,
    pub(crate) app: Sender<ToApp>,
    pub(crate) app_backlog: AppBacklog,
    pub(crate) disk: DiskBacklog,
    pub(crate) sync: SyncThread,
    pub(crate) clock: Clock,
    pub(crate) placement: Placement,
    pub(crate) halt: Halt,
}

impl JournalThread {
    /// Runs until order has nothing more; gives back what ends the log.
    ///
    /// # Errors
    /// [`NodeFailure`]: the disk refused, so this validator must not go on.
    pub(crate) fn run(mut self) -> Result<(Journal, SyncThread), NodeFailure> {
        super::pin_thread(self.placement.core_of(2));
        let (mut done, mut jobs) = (Vec::new(), Vec::new());
        let mut has_ended = false;
        while !has_ended && !self.halt.is_set() {
            let (_, now) = self.clock.read();
            let due_ns = self.journal.deadline_ns().saturating_sub(now.mono_ns);
            let timeout = Duration::from_nanos(due_ns).min(PARK_MAX);
            let mut received = receive(&self.items, self.placement.idle, timeout);
            let (_, now) = self.clock.read();
            // All that waits is appended before the next sync is asked for: one serves it all.
            while let Received::Item(item) = received {
                match item {
                    ToJournal::Append(ops) => {
                        let (ops, _counted) = ops.into_parts();
                        self.journal
                            .append_all(now.mono_ns, ops, &mut done)
                            .map_err(ReplicaError::from)?;
                    }
                    ToJournal::Done(finished) => {
                        self.journal
                            .complete(finished, &mut done)
                            .map_err(ReplicaError::from)?;
                    }
                    ToJournal::End => has_ended = true,
                }
                received = match self.items.try_recv() {
                    Ok(item) => Received::Item(item),
                    Err(_) => Received::Nothing,
                };
            }
            self.journal
                .retry(now.mono_ns, &mut done)
                .map_err(ReplicaError::from)?;
            self.disk.set_crowded(self.journal.is_crowded());
            self.hand_on(&mut done);
            self.journal.sync_jobs(now.mono_ns, &mut jobs);
            for job in jobs.drain(..) {
                self.sync.hand_over(job);
            }
        }
        drop(self.app.send(ToApp::End));
        Ok((self.journal, self.sync))
    }

    /// Blocks to execute go to the app, everything else back to order.
    fn hand_on(&self, done: &mut Vec<Journaled>) {
        let mut back = Vec::with_capacity(done.len());
        for item in done.drain(..) {
            match item {
                Journaled::Executable(block) => {
                    let block = Box::new(self.app_backlog.take(block));
                    drop(self.app.send(ToApp::Execute(block)));
                }
                other => back.push(other),
            }
        }
        if !back.is_empty() {
            drop(self.order.send(ToOrder::Journaled(back)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::{JournalOp, JournalStart};
    use crate::profiles::{Idle, Profile, Threading};
    use crate::queues::{Gate, StageBytes, WaitingOps};
    use quorate_consensus::machine::Durability;
    use quorate_consensus::record::{OwnRecord, Record};
    use quorate_consensus::restart;
    use quorate_consensus::types::{Epoch, Window};
    use quorate_log::{DataFolder, LeaseFile, LogConfig, MemoryBackend, open};

    /// Waits until something is so.
    fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
        let begun = Instant::now();
        while !is_so() {
            assert!(begun.elapsed() < Duration::from_secs(60), "{what}");
            std::thread::yield_now();
        }
    }

    #[test]
    fn segments_are_made_ahead_again_when_a_full_disk_has_room() {
        let memory = MemoryBackend::new();
        let config = LogConfig {
            segment_bytes: 65_536,
            ..LogConfig::new([7; 32])
        };
        let opened = open(&DataFolder::in_memory(&memory), &config, b"genesis").unwrap();
        let before = memory.file_names();
        memory.set_full(true);
        let thread = start_preparer(opened.preparer, Arc::default()).unwrap();
        wait_until("a segment is refused", || memory.refused_files() > 0);
        assert_eq!(memory.file_names(), before);
        memory.set_full(false);
        wait_until("a segment is made", || {
            assert!(!thread.is_finished(), "nobody makes one any more");
            thread.thread().unpark();
            memory.file_names().len() > before.len()
        });
        drop(opened.writer);
        thread.join().unwrap();
    }

    #[test]
    fn why_no_segment_can_be_made_is_told_once_and_again_after_one_was_made() {
        let memory = MemoryBackend::new();
        let folder = DataFolder::in_memory(&memory);
        let config = LogConfig {
            segment_bytes: 65_536,
            ..LogConfig::new([7; 32])
        };
        let mut opened = open(&folder, &config, b"genesis").unwrap();
        let mut refused = RefusedSegments::default();
        // What is told while no segment can be made, each time that one is tried.
        let mut told = |preparer: &mut Preparer| {
            let Err(LogError::NoSegment { source }) = refused.prepare(preparer) else {
                panic!("one was made");
            };
            refused.note(source.kind())
        };
        memory.set_full(true);
        let preparer = &mut opened.preparer;
        assert_eq!(
            [(); 4].map(|()| told(preparer)),
            [true, false, false, false]
        );
        memory.set_full(false);
        preparer.prepare_next().unwrap();
        drop(opened.writer);
        assert!(refused.prepare(preparer).is_ok());
        assert!(
            refused.note(ErrorKind::StorageFull),
            "it was made in between"
        );
        assert!(
            refused.note(ErrorKind::PermissionDenied),
            "it is for another reason"
        );
    }

    #[test]
    fn r12_a_segment_whose_sync_fails_forbids_a_restart_until_it_is_noted() {
        let memory = MemoryBackend::new();
        let folder = DataFolder::in_memory(&memory);
        let opened = open(&folder, &LogConfig::new([7; 32]), b"genesis").unwrap();
        memory.fail_sync_after(0);
        let metrics = Arc::new(Metrics::default());
        let thread = start_preparer(opened.preparer, Arc::clone(&metrics)).unwrap();
        thread.join().unwrap();
        // The process may end here, before the loop has left a note for the next start.
        assert_eq!(metrics.ending_code.read(), 4);
    }

    #[test]
    fn r12_what_another_thread_has_said_of_the_end_stays() {
        let memory = MemoryBackend::new();
        let folder = DataFolder::in_memory(&memory);
        let opened = open(&folder, &LogConfig::new([7; 32]), b"genesis").unwrap();
        memory.fail_sync_after(0);
        let metrics = Arc::new(Metrics::default());
        metrics.ending_code.set(70);
        let thread = start_preparer(opened.preparer, Arc::clone(&metrics)).unwrap();
        thread.join().unwrap();
        assert_eq!(metrics.ending_code.read(), 70);
    }

    fn record(window: u64) -> JournalOp {
        JournalOp::Record(OwnRecord {
            window: Window::new(window),
            record: Record::default(),
        })
    }

    /// What waits for room waits in the journal, whose queue is empty meanwhile.
    #[test]
    fn a_disk_that_is_full_for_long_closes_the_gate_until_there_is_room() {
        let memory = MemoryBackend::new();
        let folder = DataFolder::in_memory(&memory);
        let opened = open(&folder, &LogConfig::new([7; 32]), b"genesis").unwrap();
        let start = JournalStart::default();
        let (durability, epoch) = (Durability::Async, Epoch::ZERO);
        let lease_file = LeaseFile::new(&folder);
        let worker = SyncWorker::new(opened.syncer, lease_file, restart::LeaseFile::default());
        let ((order, _ordered), (app, _applied)) = (unbounded(), unbounded());
        let (to_journal, items) = unbounded();
        let disk = DiskBacklog::default();
        let journal = JournalThread {
            journal: Journal::new(opened.writer, start, durability, epoch, 1_000_000),
            items,
            order,
            app,
            app_backlog: AppBacklog::default(),
            disk: disk.clone(),
            sync: SyncThread::start(worker, Arc::default(), |_| {}).unwrap(),
            clock: Clock::new(),
            placement: Placement {
                profile: Profile::Lan,
                threading: Threading::Dedicated,
                idle: Idle::Park,
                cores: Vec::new(),
                is_crowded: false,
                remark: None,
            },
            halt: Halt::default(),
        };
        memory.refuse_writes(Some(ErrorKind::StorageFull));
        let thread = std::thread::spawn(move || journal.run().map(drop));
        let bytes = StageBytes::default();
        assert!(
            to_journal
                .send(ToJournal::Append(WaitingOps::new(vec![record(1)], &bytes)))
                .is_ok()
        );
        let many = WaitingOps::new((2..40_000).map(record).collect(), &bytes);
        assert!(to_journal.send(ToJournal::Append(many)).is_ok());
        let gate = Gate::new(vec![Box::new({
            let disk = disk.clone();
            move || disk.depth()
        })]);
        wait_until("the gate is closed", || !gate.is_open());
        memory.refuse_writes(None);
        wait_until("the gate is open again", || gate.is_open());
        assert!(to_journal.send(ToJournal::End).is_ok());
        thread.join().unwrap().unwrap();
    }

    #[test]
    fn what_the_file_system_has_left_is_known_from_the_first_sync_on() {
        let name = format!("quorate-free-bytes-{}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        let folder = DataFolder::open(&dir).unwrap();
        let config = LogConfig {
            segment_bytes: 65_536,
            ..LogConfig::new([7; 32])
        };
        let opened = open(&folder, &config, b"genesis").unwrap();
        let lease_file = LeaseFile::new(&folder);
        let worker = SyncWorker::new(opened.syncer, lease_file, restart::LeaseFile::default());
        let metrics = Arc::new(Metrics::default());
        let thread = SyncThread::start(worker, Arc::clone(&metrics), |done| {
            assert!(done.is_ok());
        })
        .unwrap();
        assert_eq!(metrics.log_free_bytes.read(), 0);
        thread.hand_over(SyncJob::Sync(opened.writer.unsynced()));
        assert!(thread.stop().is_some());
        assert!(metrics.log_free_bytes.read() > 0);
        drop(opened.writer);
        std::fs::remove_dir_all(dir).unwrap();
    }
}
