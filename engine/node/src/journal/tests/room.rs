//! A disk that has no room for bytes of a segment that is there, as may be where its blocks are
//! shared with another file; and one that refuses a write for another reason.

use std::io::ErrorKind;

use super::*;

/// A journal whose disk has no room, and a record that has found none.
fn without_room(durability: Durability) -> Fixture {
    let mut fixture = fixture(durability);
    fixture.append(0, block(1));
    let reason = Some(ErrorKind::StorageFull);
    fixture.memory.refuse_writes(reason);
    assert_eq!(fixture.append(0, record(0)), ["full true"]);
    fixture
}

impl Fixture {
    fn retry(&mut self, now_ns: u64) -> Vec<String> {
        self.journal
            .retry(now_ns, &mut self.done)
            .expect("the log takes it");
        self.drain()
    }
}

#[test]
fn what_has_no_room_is_not_done_and_nothing_comes_before_it() {
    let mut fixture = without_room(Durability::Async);
    assert_eq!(fixture.append(MS, finalized(1)), [""; 0]);
    assert_eq!(fixture.append(MS, record(1)), [""; 0]);
    let due_ns = fixture.journal.deadline_ns().max(101 * MS);
    assert_eq!(fixture.retry(due_ns), [""; 0], "there is no room yet");
    fixture.memory.refuse_writes(None);
    assert_eq!(fixture.retry(due_ns), [""; 0], "it is not time to try");
    assert_eq!(fixture.kinds(), [KIND_BLOCK.number()]);
    let expected = ["record", "mark 1", "executable 1", "record", "full false"];
    assert_eq!(fixture.retry(1_000 * MS), expected);
    assert_eq!(fixture.kinds(), [1, 2, 3, 2]);
    assert_eq!(fixture.append(1_000 * MS, record(2)), ["record"]);
}

#[test]
fn r11_in_sync_what_has_no_room_asks_for_no_sync_before_it_has_some_and_then_for_one() {
    let mut fixture = without_room(Durability::Sync);
    // Of the block before.
    let jobs = fixture.jobs(MS);
    assert_eq!(jobs.len(), 1);
    assert_eq!(fixture.finish(jobs[0]), [""; 0]);
    let due_ns = fixture.journal.deadline_ns();
    assert!(due_ns > 50 * MS, "nothing to do at once: {due_ns}");
    assert_eq!(fixture.jobs(2 * MS), []);
    fixture.memory.refuse_writes(None);
    assert_eq!(fixture.retry(due_ns), ["full false"]);
    let jobs = fixture.jobs(due_ns);
    assert_eq!(jobs.len(), 1);
    assert_eq!(fixture.finish(jobs[0]), ["record"]);
    // And it is there after a loss of power.
    let after = DataFolder::in_memory(&fixture.memory.power_cut(|_| false));
    assert_eq!(opened(&after).recovery.end.index, RecordIndex::new(3));
}

#[test]
fn r11_in_async_what_has_waited_for_room_is_synced_soon_after_it_is_written() {
    let mut fixture = without_room(Durability::Async);
    // Of the block before: nothing is left that a sync is due for.
    let jobs = fixture.jobs(5 * MS);
    assert_eq!(jobs.len(), 1);
    assert_eq!(fixture.finish(jobs[0]), [""; 0]);
    let due_ns = fixture.journal.deadline_ns();
    assert!(due_ns > 50 * MS, "nothing to do before the next try");
    fixture.memory.refuse_writes(None);
    assert_eq!(fixture.retry(due_ns), ["record", "full false"]);
    let sync_ns = due_ns + 5 * MS;
    assert_eq!(fixture.journal.deadline_ns(), sync_ns);
    let jobs = fixture.jobs(sync_ns);
    assert_eq!(jobs.len(), 1);
    assert_eq!(fixture.finish(jobs[0]), [""; 0]);
    let after = DataFolder::in_memory(&fixture.memory.power_cut(|_| false));
    assert_eq!(opened(&after).recovery.end.index, RecordIndex::new(3));
}

#[test]
fn of_several_that_are_written_at_once_none_is_done_when_there_is_no_room() {
    let mut fixture = fixture(Durability::Async);
    fixture.memory.refuse_writes(Some(ErrorKind::QuotaExceeded));
    let ops = [block(1), record(0), finalized(1), proof(1)];
    fixture
        .journal
        .append_all(0, ops, &mut fixture.done)
        .unwrap();
    assert_eq!(fixture.drain(), ["full true"]);
    fixture.memory.refuse_writes(None);
    let expected = [
        "block",
        "record",
        "mark 1",
        "executable 1",
        "proof 1",
        "full false",
    ];
    assert_eq!(fixture.retry(1_000 * MS), expected);
}

#[test]
fn r12_a_stop_while_something_has_no_room_is_no_clean_one() {
    let fixture = without_room(Durability::Sync);
    fixture
        .journal
        .stop(fixture.sync)
        .expect("what is in the log can be synced");
    let disk = fixture.memory.process_kill();
    let found = opened(&DataFolder::in_memory(&disk)).recovery;
    assert_eq!(found.clean_stop, CleanStopRead::Missing);
    assert_eq!(found.end.index, RecordIndex::new(2));
}

#[test]
fn r12_a_write_that_fails_otherwise_ends_the_run_with_a_note_as_a_failed_sync_does() {
    for durability in [Durability::Sync, Durability::Async] {
        let mut fixture = fixture(durability);
        fixture.append(0, block(1));
        fixture.memory.refuse_writes(Some(ErrorKind::Other));
        assert_eq!(fixture.append(0, record(0)), ["full true"]);
        fixture.memory.refuse_writes(None);
        assert_eq!(fixture.retry(1_000 * MS), [""; 0], "it never comes");
        assert_eq!(fixture.journal.deadline_ns(), 0);
        let jobs = fixture.jobs(1_000 * MS);
        let failed = fixture.sync.run(jobs[0]);
        let ended = fixture.journal.complete(failed, &mut fixture.done);
        let Err(JournalError::Sync(error)) = ended else {
            panic!("{ended:?}");
        };
        assert_eq!(error.exit_code(), 70, "{error}");
        assert!(fixture.done.is_empty());
        assert!(content_of(&fixture.memory).suspect);
    }
}

/// Whoever takes nothing more in while it is crowded never has more to wait than may.
#[test]
fn any_number_of_entries_waits_for_room_with_whoever_heeds_that_it_is_crowded() {
    let mut fixture = without_room(Durability::Async);
    let (mut offered, mut done) = (0_u64, Vec::new());
    let mut offer = |fixture: &mut Fixture, count: u64| {
        while offered < count && !fixture.journal.is_crowded() {
            offered += 1;
            let taken = fixture.append(0, record(offered));
            done.extend(taken);
        }
        offered
    };
    let held_back_from = offer(&mut fixture, 70_000);
    assert_eq!(held_back_from, 32_769, "half of what may wait");
    let retried = fixture.retry(500 * MS);
    assert_eq!(retried, [""; 0], "there is no room yet");
    assert_eq!(offer(&mut fixture, 70_000), held_back_from);
    fixture.memory.refuse_writes(None);
    let mut passed = fixture.retry(1_000 * MS);
    assert_eq!(passed.pop().as_deref(), Some("full false"));
    assert!(!fixture.journal.is_crowded());
    assert_eq!(offer(&mut fixture, 70_000), 70_000);
    passed.append(&mut done);
    // And the one that found no room at first.
    assert_eq!(passed.len(), 70_001);
    assert!(passed.iter().all(|done| done == "record"));
}
