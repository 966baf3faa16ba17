//! What is durable when, and in which order.

use quorate_consensus::certificate::Target;
use quorate_consensus::header::HEADER_VERSION;
use quorate_consensus::message::OwnAnswer;
use quorate_consensus::record::Record;
use quorate_consensus::types::Index;
use quorate_log::{
    CleanStopRead, DataFolder, LeaseFile, LeaseRead, LogConfig, MemoryBackend, Opened, Preparer,
    Reader, open,
};

use super::*;

mod bodies;
mod room;

const MS: u64 = 1_000_000;

struct Fixture {
    journal: Journal,
    sync: SyncWorker,
    preparer: Preparer,
    reader: Reader,
    memory: MemoryBackend,
    done: Vec<Journaled>,
    jobs: Vec<SyncJob>,
}

fn opened(folder: &DataFolder) -> Opened {
    let config = LogConfig {
        segment_bytes: 65_536,
        ..LogConfig::new([7; 32])
    };
    open(folder, &config, b"genesis").expect("a sound log")
}

fn fixture(durability: Durability) -> Fixture {
    let memory = MemoryBackend::new();
    let folder = DataFolder::in_memory(&memory);
    let Opened {
        writer,
        syncer,
        preparer,
        reader,
        ..
    } = opened(&folder);
    let content = quorate_consensus::restart::LeaseFile::default();
    let mut lease_file = LeaseFile::new(&folder);
    lease_file.replace(&content.encode()).expect("memory");
    Fixture {
        journal: Journal::new(
            writer,
            JournalStart::default(),
            durability,
            Epoch::ZERO,
            5 * MS,
        ),
        sync: SyncWorker::new(syncer, lease_file, content),
        preparer,
        reader,
        memory,
        done: Vec::new(),
        jobs: Vec::new(),
    }
}

impl Fixture {
    fn append(&mut self, now_ns: u64, op: JournalOp) -> Vec<String> {
        self.journal
            .append(now_ns, op, &mut self.done)
            .expect("the log takes it");
        self.drain()
    }

    fn drain(&mut self) -> Vec<String> {
        let name = |done: Journaled| match done {
            Journaled::Block { .. } => "block".to_owned(),
            Journaled::Mark { height, .. } => format!("mark {}", height.number()),
            Journaled::Executable(block) => format!("executable {}", block.header.height.number()),
            Journaled::Proof { height, .. } => format!("proof {}", height.number()),
            Journaled::Record(_) => "record".to_owned(),
            Journaled::Answer(_) => "answer".to_owned(),
            Journaled::Flushed(height) => format!("flushed {}", height.number()),
            Journaled::Lease(_) => "lease".to_owned(),
            Journaled::Full(is_full) => format!("full {is_full}"),
        };
        self.done.drain(..).map(name).collect()
    }

    fn jobs(&mut self, now_ns: u64) -> Vec<SyncJob> {
        self.jobs.clear();
        self.journal.sync_jobs(now_ns, &mut self.jobs);
        self.jobs.clone()
    }

    fn finish(&mut self, job: SyncJob) -> Vec<String> {
        let finished = self.sync.run(job);
        self.journal
            .complete(finished, &mut self.done)
            .expect("the disk is good");
        self.drain()
    }

    fn kinds(&self) -> Vec<u16> {
        let kind = |record: quorate_log::RecordBytes| record.kind().number();
        self.reader
            .iter()
            .skip(1)
            .map(|record| kind(record.expect("whole")))
            .collect()
    }
}

fn header(height: u64) -> Header {
    Header {
        version: HEADER_VERSION,
        flags: 0,
        chain_id: [1; 32],
        epoch: Epoch::ZERO,
        set_hash: [2; 32],
        window: Window::new(height / 10),
        index: Index::ZERO,
        height: Height::new(height),
        time_ns: height,
        parent_id: BlockId::new([3; 32]),
        payload_hash: [4; 32],
        payload_bytes: 2,
    }
}

fn block(height: u64) -> JournalOp {
    let header = header(height);
    JournalOp::Block {
        id: header.id(),
        header,
        payload: Arc::from(*b"pp"),
    }
}

fn finalized(height: u64) -> JournalOp {
    let header = header(height);
    JournalOp::Finalized(FinalBlock {
        id: header.id(),
        header,
        payload: Arc::from(*b"pp"),
        path: None,
        final_ns: 0,
        admitted: Vec::new(),
    })
}

fn record(window: u64) -> JournalOp {
    let record = Record {
        stop: true,
        ..Record::default()
    };
    JournalOp::Record(OwnRecord {
        window: Window::new(window),
        record,
    })
}

fn proof(height: u64) -> JournalOp {
    let header = header(height);
    let id = header.id();
    let proof = Certificate {
        epoch: Epoch::ZERO,
        window: header.window,
        target: Target::Final {
            index: header.index,
            id,
        },
        records: Vec::new(),
        headers: vec![header],
    };
    JournalOp::Proof {
        point: header.point(id),
        proof,
    }
}

#[test]
fn r11_an_answer_of_r13_is_durable_when_a_record_would_be() {
    let answer = JournalOp::Answer(OwnAnswer {
        asker: quorate_consensus::types::ValidatorIndex::new(2),
        nonce: [5; 32],
        window: Window::new(1),
    });
    let mut written = fixture(Durability::Async);
    assert_eq!(written.append(0, answer.clone()), ["answer"]);
    let mut synced = fixture(Durability::Sync);
    assert_eq!(synced.append(0, answer), [""; 0]);
    let jobs = synced.jobs(0);
    assert_eq!(jobs.len(), 1, "it waits for nothing else");
    assert_eq!(synced.finish(jobs[0]), ["answer"]);
    assert_eq!(synced.kinds(), [KIND_ANSWER.number()]);
}

#[test]
fn r11_in_sync_a_record_is_durable_only_after_the_sync_that_covers_it() {
    let mut fixture = fixture(Durability::Sync);
    assert_eq!(fixture.append(0, block(1)), ["block"]);
    assert_eq!(fixture.append(0, record(0)), [""; 0]);
    let first = fixture.jobs(0);
    assert_eq!(first.len(), 1);
    // While the disk works another record comes: the sync under way does not cover it.
    assert_eq!(fixture.append(1, record(1)), [""; 0]);
    assert_eq!(fixture.jobs(1), []);
    assert_eq!(
        fixture.journal.deadline_ns(),
        u64::MAX,
        "the completion wakes the caller"
    );
    assert_eq!(fixture.finish(first[0]), ["record"]);
    assert_eq!(fixture.journal.deadline_ns(), 0);
    let second = fixture.jobs(2);
    assert_eq!(fixture.finish(second[0]), ["record"]);
    assert_eq!(fixture.jobs(1_000 * MS), []);
}

#[test]
fn r11_in_async_a_record_is_durable_when_the_mapping_has_it_and_is_synced_soon_after() {
    let mut fixture = fixture(Durability::Async);
    assert_eq!(fixture.append(MS, record(0)), ["record"]);
    assert_eq!(fixture.jobs(MS), []);
    assert_eq!(fixture.journal.deadline_ns(), 6 * MS);
    let jobs = fixture.jobs(6 * MS);
    assert_eq!(fixture.finish(jobs[0]), [""; 0]);
    // Nothing was appended since.
    assert_eq!(fixture.journal.deadline_ns(), u64::MAX);
}

#[test]
fn r11_records_stand_in_the_log_in_the_order_in_which_they_came() {
    let mut fixture = fixture(Durability::Async);
    for op in [
        block(1),
        record(0),
        block(2),
        record(0),
        finalized(1),
        proof(1),
        finalized(2),
    ] {
        fixture.append(0, op);
    }
    assert_eq!(fixture.kinds(), [1, 2, 1, 2, 3, 4, 3]);
}

#[test]
fn a_block_goes_on_to_execution_only_behind_its_mark() {
    let mut fixture = fixture(Durability::Sync);
    fixture.append(0, block(1));
    assert_eq!(fixture.append(0, finalized(1)), ["mark 1", "executable 1"]);
    let error = fixture.journal.append(0, finalized(2), &mut fixture.done);
    assert!(
        matches!(error, Err(JournalError::BlockMissing { .. })),
        "{error:?}"
    );
    assert!(fixture.done.is_empty());
}

#[test]
fn a_proof_is_flushed_after_a_sync_of_it_and_of_everything_before_it() {
    for durability in [Durability::Sync, Durability::Async] {
        let mut fixture = fixture(durability);
        fixture.append(0, block(1));
        assert_eq!(fixture.append(0, proof(1)), ["proof 1"]);
        let jobs = fixture.jobs(0);
        assert_eq!(fixture.finish(jobs[0]), ["flushed 1"]);
        // With the power cut now, the proof and the block are still there.
        let after = fixture.memory.power_cut(|_| false);
        let config = LogConfig {
            segment_bytes: 65_536,
            ..LogConfig::new([7; 32])
        };
        let folder = DataFolder::in_memory(&after);
        let opened = open(&folder, &config, b"genesis").expect("a good log");
        assert_eq!(opened.recovery.end.index, RecordIndex::new(3));
    }
}

#[test]
fn marks_are_chained_downward() {
    let mut fixture = fixture(Durability::Async);
    for height in 1..=3 {
        fixture.append(0, block(height));
        fixture.append(0, finalized(height));
    }
    let mut marks = Vec::new();
    for read in fixture.reader.iter() {
        let read = read.expect("whole");
        if let Ok(JournalEntry::Finalized(mark)) = decode(read.kind(), &read) {
            marks.push((read.place(), mark));
        }
    }
    assert_eq!(marks.len(), 3);
    assert_eq!(marks[0].1.below, None);
    assert_eq!(marks[1].1.below, Some(marks[0].0));
    assert_eq!(marks[2].1.below, Some(marks[1].0));
}

#[test]
fn forgotten_windows_do_not_take_the_blocks_of_later_ones_with_them() {
    let mut fixture = fixture(Durability::Async);
    fixture.append(0, block(5));
    fixture.append(0, block(15));
    fixture.append(0, JournalOp::Forget(Window::new(1)));
    assert_eq!(
        fixture.append(0, finalized(15)),
        ["mark 15", "executable 15"]
    );
    let error = fixture.journal.append(0, finalized(5), &mut fixture.done);
    assert!(matches!(error, Err(JournalError::BlockMissing { .. })));
}

/// What is fetched again is logged again, and the mark names that place.
#[test]
fn forgotten_blocks_are_final_once_they_are_logged_again() {
    let mut fixture = fixture(Durability::Async);
    for height in [5, 6] {
        fixture.append(0, block(height));
    }
    let id_of = |op: JournalOp| match op {
        JournalOp::Block { id, .. } => id,
        other => panic!("{other:?}"),
    };
    fixture.append(0, JournalOp::ForgetBlocks(vec![id_of(block(5))]));
    assert_eq!(fixture.append(0, finalized(6)), ["mark 6", "executable 6"]);
    let error = fixture.journal.append(0, finalized(5), &mut fixture.done);
    assert!(matches!(error, Err(JournalError::BlockMissing { .. })));
    fixture.append(0, block(5));
    assert_eq!(fixture.append(0, finalized(5)), ["mark 5", "executable 5"]);
}

#[test]
fn r11_a_lease_is_durable_when_its_file_is_and_the_newest_one_wins() {
    let mut fixture = fixture(Durability::Sync);
    let lease = |window| Lease {
        lease: Some(Window::new(window)),
        ..Lease::default()
    };
    fixture.append(0, JournalOp::Lease(lease(1)));
    let jobs = fixture.jobs(0);
    assert_eq!(jobs, [SyncJob::Lease(lease(1))]);
    fixture.append(0, JournalOp::Lease(lease(2)));
    fixture.append(0, JournalOp::Lease(lease(3)));
    assert_eq!(fixture.jobs(0), [], "one at a time");
    assert_eq!(fixture.finish(jobs[0]), ["lease"]);
    let jobs = fixture.jobs(0);
    assert_eq!(jobs, [SyncJob::Lease(lease(3))]);
    assert_eq!(fixture.finish(jobs[0]), ["lease"]);
    let after = fixture.memory.power_cut(|_| false);
    let read = LeaseFile::new(&DataFolder::in_memory(&after))
        .read()
        .expect("memory");
    let LeaseRead::Present(bytes) = read else {
        panic!("{read:?}")
    };
    let content = quorate_consensus::restart::LeaseFile::decode(&bytes).expect("own bytes");
    assert_eq!(content.lease, lease(3));
}

#[test]
fn r12_a_failed_sync_is_noted_for_the_next_start_and_nothing_is_appended_after() {
    let mut fixture = fixture(Durability::Sync);
    fixture.append(0, record(0));
    let jobs = fixture.jobs(0);
    fixture.memory.fail_sync_after(0);
    let failed = fixture.sync.run(jobs[0]);
    assert!(
        matches!(failed, Err(SyncError::Log { is_noted: true, .. })),
        "{failed:?}"
    );
    assert!(fixture.journal.complete(failed, &mut fixture.done).is_err());
    assert!(fixture.done.is_empty(), "the record never left");
    // Whoever goes on all the same gets nothing done, and nothing stands in the log.
    let kinds = fixture.kinds();
    assert_eq!(fixture.append(0, record(1)), ["full true"]);
    assert_eq!(fixture.append(0, record(2)), [""; 0]);
    assert_eq!(fixture.kinds(), kinds);
    let folder = DataFolder::in_memory(&fixture.memory);
    let read = LeaseFile::new(&folder).read().expect("memory");
    let LeaseRead::Present(bytes) = read else {
        panic!("{read:?}")
    };
    let content = quorate_consensus::restart::LeaseFile::decode(&bytes).expect("own bytes");
    assert!(content.suspect);
}

#[test]
fn a_failed_sync_is_told_by_its_own_thread_before_anybody_has_taken_the_answer() {
    let mut fixture = fixture(Durability::Sync);
    fixture.append(0, record(0));
    let jobs = fixture.jobs(0);
    fixture.memory.fail_sync_after(0);
    let metrics = Arc::new(crate::metrics::Metrics::default());
    let (answer, answers) = std::sync::mpsc::channel();
    let told = Arc::clone(&metrics);
    let thread = crate::stages::journal::SyncThread::start(fixture.sync, metrics, move |done| {
        answer.send((done.is_err(), told.ending_code.read())).ok();
    })
    .expect("a thread");
    thread.hand_over(jobs[0]);
    assert_eq!(answers.recv(), Ok((true, 70)));
    thread.stop();
}

#[test]
fn on_a_full_disk_everything_waits_in_order_and_no_record_is_durable_before_its_turn() {
    let mut fixture = fixture(Durability::Async);
    fixture.memory.set_full(true);
    let mut height = 0;
    loop {
        height += 1;
        let done = fixture.append(0, block(height));
        if done == ["full true"] {
            break;
        }
        assert_eq!(done, ["block"]);
        assert!(height < 1_000, "one segment holds more than it can");
    }
    // Nothing that comes after is done before, however small it is.
    assert_eq!(fixture.append(0, finalized(height)), [""; 0]);
    assert_eq!(fixture.append(0, record(7)), [""; 0]);
    let retry_ns = fixture.journal.deadline_ns().min(200 * MS);
    fixture.journal.retry(retry_ns, &mut fixture.done).unwrap();
    assert_eq!(fixture.drain(), [""; 0], "there is no room yet");
    fixture.memory.set_full(false);
    fixture
        .journal
        .retry(1_000 * MS, &mut fixture.done)
        .unwrap();
    let mark = format!("mark {height}");
    let executable = format!("executable {height}");
    assert_eq!(
        fixture.drain(),
        ["block", &mark, &executable, "record", "full false"]
    );
    assert_eq!(fixture.append(1_000 * MS, record(8)), ["record"]);
}

#[test]
fn a_lease_that_finds_no_room_is_tried_again_and_not_acted_upon_before() {
    let mut fixture = fixture(Durability::Sync);
    let lease = Lease {
        lease: Some(Window::new(9)),
        ..Lease::default()
    };
    fixture.memory.set_full(true);
    assert_eq!(fixture.append(0, JournalOp::Lease(lease)), [""; 0]);
    let jobs = fixture.jobs(0);
    assert_eq!(jobs, [SyncJob::Lease(lease)]);
    assert_eq!(fixture.finish(jobs[0]), [""; 0]);
    assert_eq!(fixture.jobs(0), [], "not at once");
    fixture.memory.set_full(false);
    let due_ns = fixture.journal.deadline_ns();
    assert!(due_ns < 1_000 * MS, "{due_ns}");
    let jobs = fixture.jobs(due_ns);
    assert_eq!(fixture.finish(jobs[0]), ["lease"]);
}

/// The newer one may say that the validator abstains, or that its disk is lost.
#[test]
fn a_lease_that_finds_no_room_is_not_written_over_one_that_was_ordered_since() {
    let mut fixture = fixture(Durability::Sync);
    let older = Lease {
        lease: Some(Window::new(9)),
        ..Lease::default()
    };
    let newer = Lease {
        abstain_until: Some(Window::new(9)),
        is_lost: true,
        ..older
    };
    fixture.memory.set_full(true);
    fixture.append(0, JournalOp::Lease(older));
    let jobs = fixture.jobs(0);
    assert_eq!(jobs, [SyncJob::Lease(older)]);
    fixture.append(0, JournalOp::Lease(newer));
    assert_eq!(fixture.finish(jobs[0]), [""; 0], "there is no room");
    assert_eq!(fixture.jobs(0), []);
    fixture.memory.set_full(false);
    let due_ns = fixture.journal.deadline_ns();
    let jobs = fixture.jobs(due_ns);
    assert_eq!(jobs, [SyncJob::Lease(newer)]);
    assert_eq!(fixture.finish(jobs[0]), ["lease"]);
    assert_eq!(fixture.jobs(due_ns + 1_000 * MS), [], "and nothing after");
    assert_eq!(content_of(&fixture.memory).lease, newer);
}

#[test]
fn r12_after_a_failed_sync_nothing_is_done_and_the_note_comes_before_the_end() {
    for durability in [Durability::Sync, Durability::Async] {
        let mut fixture = fixture(durability);
        fixture.append(0, record(0));
        let jobs = fixture.jobs(10 * MS);
        fixture.memory.fail_sync_after(0);
        let failed = fixture.sync.run(jobs[0]);
        // The answer is still on its way: what comes meanwhile neither happens nor ends the run
        // before the note is known to be written.
        assert_eq!(fixture.append(11 * MS, record(1)), ["full true"]);
        assert_eq!(fixture.append(12 * MS, block(1)), [""; 0]);
        let mut done = Vec::new();
        let ended = fixture.journal.complete(failed, &mut done);
        assert!(matches!(
            ended,
            Err(JournalError::Sync(SyncError::Log { is_noted: true, .. }))
        ));
        assert!(done.is_empty(), "{done:?}");
    }
}

/// What the lease file says after a loss of all that was not synced.
fn content_of(memory: &MemoryBackend) -> quorate_consensus::restart::LeaseFile {
    let folder = DataFolder::in_memory(&memory.power_cut(|_| false));
    let read = LeaseFile::new(&folder).read().expect("memory");
    let LeaseRead::Present(bytes) = read else {
        panic!("{read:?}")
    };
    quorate_consensus::restart::LeaseFile::decode(&bytes).expect("own bytes")
}

#[test]
fn r12_a_failure_that_another_part_met_is_noted_though_nothing_is_appended() {
    let mut fixture = fixture(Durability::Async);
    assert_eq!(fixture.jobs(10 * MS), []);
    fixture.memory.fail_sync_after(0);
    assert!(fixture.preparer.prepare_next().is_err());
    assert_eq!(fixture.journal.deadline_ns(), 0);
    let jobs = fixture.jobs(10 * MS);
    assert_eq!(jobs.len(), 1);
    assert_eq!(fixture.jobs(10 * MS), [], "one at a time");
    let failed = fixture.sync.run(jobs[0]);
    assert!(matches!(failed, Err(SyncError::Log { is_noted: true, .. })));
    assert!(content_of(&fixture.memory).suspect);
    // A lease that was on its way does not take the note back.
    fixture.sync.run(SyncJob::Lease(Lease::default())).unwrap();
    assert!(content_of(&fixture.memory).suspect);
}

/// A run with syncs, leases and segments, and its stop.
fn run_to_the_end(mut fixture: Fixture) -> Result<(), JournalError> {
    for number in 1..=4 {
        let lease = Lease {
            lease: Some(Window::new(number)),
            ..Lease::default()
        };
        let ops = [block(number), record(number), JournalOp::Lease(lease)];
        for op in ops {
            fixture.journal.append(0, op, &mut fixture.done)?;
        }
        // Whatever it comes to, the log itself says so below.
        drop(fixture.preparer.prepare_next());
        for job in fixture.jobs(10 * MS) {
            let finished = fixture.sync.run(job);
            fixture.journal.complete(finished, &mut fixture.done)?;
        }
    }
    Ok(fixture.journal.stop(fixture.sync)?)
}

#[test]
fn r12_whichever_sync_of_a_run_and_its_stop_fails_the_next_start_is_suspect() {
    for durability in [Durability::Sync, Durability::Async] {
        let mut failed = 0;
        for sync in 0.. {
            let fixture = fixture(durability);
            let memory = fixture.memory.clone();
            memory.fail_sync_after(sync);
            match run_to_the_end(fixture) {
                Err(JournalError::Sync(error)) => {
                    assert_eq!(error.exit_code(), 70, "sync {sync}: {error}");
                    assert!(content_of(&memory).suspect, "sync {sync}: {error}");
                    failed += 1;
                }
                Err(error) => panic!("sync {sync}: {error}"),
                Ok(()) => {
                    assert!(!content_of(&memory).suspect);
                    break;
                }
            }
        }
        // Of each turn the log, the lease and its folder; the watermark and the marker of the end.
        assert!(failed >= 4 * 3 + 3, "{failed}");
    }
}

/// The next start abstains up to the lease in the note: with an older one it would say anew what it
/// may have said since.
#[test]
fn r12_the_note_of_a_failure_has_the_newest_lease_that_was_written() {
    for is_of_a_lease in [false, true] {
        let mut fixture = fixture(Durability::Sync);
        let lease = |window| Lease {
            lease: Some(Window::new(window)),
            ..Lease::default()
        };
        for window in [3, 7] {
            let written = fixture.sync.run(SyncJob::Lease(lease(window)));
            assert_eq!(written.unwrap(), SyncDone::Leased(lease(window)));
        }
        fixture.append(0, record(0));
        let of_log = fixture.jobs(0)[0];
        fixture.memory.fail_sync_after(0);
        let job = if is_of_a_lease {
            SyncJob::Lease(lease(9))
        } else {
            of_log
        };
        assert_eq!(fixture.sync.run(job).unwrap_err().exit_code(), 70);
        let content = content_of(&fixture.memory);
        assert_eq!((content.lease, content.suspect), (lease(7), true));
    }
}

#[test]
fn r12_a_failure_of_which_no_note_can_be_left_forbids_a_restart() {
    let lease = SyncJob::Lease(Lease::default());
    for job in [None, Some(lease)] {
        let mut fixture = fixture(Durability::Sync);
        fixture.append(0, record(0));
        let job = job.unwrap_or_else(|| fixture.jobs(0)[0]);
        fixture.memory.power_off_after(0);
        let error = fixture.sync.run(job).unwrap_err();
        assert_eq!(error.exit_code(), 4, "{error}");
    }
    let fixture = fixture(Durability::Sync);
    fixture.memory.power_off_after(0);
    let error = fixture.journal.stop(fixture.sync);
    assert_eq!(error.unwrap_err().exit_code(), 4);
}

#[test]
fn a_stop_without_room_for_its_marker_is_a_stop_all_the_same() {
    let mut fixture = fixture(Durability::Sync);
    fixture.append(0, record(0));
    fixture.memory.set_full(true);
    fixture.journal.stop(fixture.sync).unwrap();
    let names = fixture.memory.file_names();
    assert!(!names.iter().any(|name| name == "clean-stop"), "{names:?}");
    assert!(!content_of(&fixture.memory).suspect);
}

#[test]
fn r12_a_log_that_another_part_found_failed_is_noted_too() {
    let mut fixture = fixture(Durability::Async);
    fixture.append(0, record(0));
    let jobs = fixture.jobs(10 * MS);
    fixture.memory.fail_sync_after(0);
    assert!(fixture.sync.run(jobs[0]).is_err());
    // As if the failure had been somebody else's: the next sync is asked for at once.
    fixture.journal.is_syncing = false;
    fixture.append(11 * MS, record(1));
    let jobs = fixture.jobs(11 * MS);
    let failed = fixture.sync.run(jobs[0]);
    assert!(matches!(failed, Err(SyncError::Log { is_noted: true, .. })));
}

/// R11: in `sync` durability a block leaves before its entry is written. Was that entry waiting for
/// room when the run ended, a marker would let the next one propose in the same place.
#[test]
fn r12_a_stop_while_something_waits_for_room_is_no_clean_one() {
    for is_full in [false, true] {
        let mut fixture = fixture(Durability::Sync);
        fixture.memory.set_full(is_full);
        let heights = if is_full { 1..1_000 } else { 1..5 };
        let has_waited = heights
            .map(|height| fixture.append(0, block(height)))
            .any(|done| done == ["full true"]);
        assert_eq!(has_waited, is_full);
        fixture
            .journal
            .stop(fixture.sync)
            .expect("what is in the log can be synced");
        let disk = fixture.memory.process_kill();
        disk.set_full(false);
        let found = opened(&DataFolder::in_memory(&disk)).recovery.clean_stop;
        let expected = match is_full {
            false => CleanStopRead::Matches,
            true => CleanStopRead::Missing,
        };
        assert_eq!(found, expected);
    }
}
