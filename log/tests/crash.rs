//! Crashes: the power goes, or the process dies, at every step of a run and of a recovery.
//!
//! The oracle: what was synced <= what is recovered <= what was appended, as a prefix, byte for
//! byte; and the log opens. Damage must never be reported, since none was done: the decision is to
//! go on or to cut, nothing is marked, and the watermark is there.

mod support;

use proptest::prelude::*;
use quorate_log::{Action, MemoryBackend, Recovery, Row, Unsynced};
use support::{
    KEEPS, KIND, Keep, append, open_memory, payload, payloads, power_cut, sync, try_open,
};

/// What a run did before the power went.
#[derive(Default)]
struct Journal {
    appended: Vec<Vec<u8>>,
    synced_count: usize,
}

/// A run that crosses segments, syncs now and then, and prepares some of its segments.
fn run(memory: &MemoryBackend) -> Journal {
    let mut journal = Journal::default();
    let Ok(mut log) = try_open(memory) else {
        return journal;
    };
    for number in 1..=18_u64 {
        let bytes = payload(number, [0, 5, 90, 1500, 64, 700, 130][number as usize % 7]);
        if log.writer.append(KIND, &[&bytes]).is_err() {
            return journal;
        }
        journal.appended.push(bytes);
        if number % 5 == 2 && log.preparer.prepare_next().is_err() {
            return journal;
        }
        if number.is_multiple_of(4) {
            if log.syncer.sync(log.writer.unsynced()).is_err() {
                return journal;
            }
            journal.synced_count = journal.appended.len();
        }
    }
    journal
}

/// Opens what a crash left and checks the oracle; says which row it was.
fn check(memory: &MemoryBackend, journal: &Journal, what: &dyn std::fmt::Debug) -> Row {
    let log = try_open(memory).unwrap_or_else(|error| panic!("{what:?}: {error}"));
    let recovered = payloads(&log.reader);
    assert!(
        recovered.len() >= journal.synced_count,
        "{what:?}: lost a synced record"
    );
    assert!(
        journal.appended.starts_with(&recovered),
        "{what:?}: not a prefix"
    );
    check_is_no_damage(&log.recovery, what);
    log.recovery.row
}

/// A validator that takes its crash for damage abstains for a lease, or asks its peers what it
/// said.
fn check_is_no_damage(recovery: &Recovery, what: &dyn std::fmt::Debug) {
    let row = recovery.row;
    assert!(
        matches!(row.action(), Action::Continue | Action::Cut),
        "{what:?}: a crash was taken for damage: {row:?}"
    );
    let is_suspect = recovery.is_unvouched || !recovery.has_watermark;
    assert!(
        recovery.marked.is_empty() && !is_suspect,
        "{what:?}: a crash made the start suspect"
    );
}

/// Appends after a recovery, and finds all of it again.
fn check_goes_on(memory: &MemoryBackend, what: &dyn std::fmt::Debug) {
    let mut log = open_memory(memory);
    let mut expected = payloads(&log.reader);
    for number in 100..104 {
        expected.push(payload(number, 900));
        append(&mut log, &expected[expected.len() - 1]);
    }
    sync(&mut log);
    drop(log);
    let log = open_memory(&memory.power_cut(|_| false));
    assert_eq!(payloads(&log.reader), expected, "{what:?}");
    check_is_no_damage(&log.recovery, what);
}

fn steps_of_a_run() -> u64 {
    let memory = MemoryBackend::new();
    assert_eq!(
        run(&memory).appended.len(),
        18,
        "with power, the run is complete"
    );
    memory.steps_used()
}

#[test]
fn power_lost_at_every_step_leaves_a_prefix_with_all_that_was_synced() {
    let mut rows = Vec::new();
    for step in 0..=steps_of_a_run() {
        let memory = MemoryBackend::new();
        memory.power_off_after(step);
        let journal = run(&memory);
        for keep in KEEPS {
            let after = power_cut(&memory, keep, step);
            rows.push(check(&after, &journal, &(step, keep)));
            if step.is_multiple_of(13) {
                check_goes_on(&after, &(step, keep));
            }
        }
    }
    for row in [Row::CleanEnd, Row::TornTail, Row::TornGroup] {
        assert!(rows.contains(&row), "{row:?} was never reached");
    }
}

#[test]
fn a_process_killed_at_every_step_loses_no_whole_record() {
    for step in 0..=steps_of_a_run() {
        let memory = MemoryBackend::new();
        memory.power_off_after(step);
        let journal = run(&memory);
        let after = memory.process_kill();
        check(&after, &journal, &step);
        check_goes_on(&memory.process_kill(), &step);
        // What the recovery called recovered is durable, although the dead run never synced it.
        let log = open_memory(&after);
        let recovered = payloads(&log.reader);
        drop(log);
        let log = open_memory(&after.power_cut(|_| false));
        assert_eq!(payloads(&log.reader), recovered, "step {step}");
        assert_eq!(log.recovery.row, Row::CleanEnd, "step {step}");
    }
}

#[test]
fn power_lost_again_at_every_step_of_a_recovery_changes_nothing() {
    for step in (0..=steps_of_a_run()).step_by(29) {
        let memory = MemoryBackend::new();
        memory.power_off_after(step);
        let journal = run(&memory);
        for keep in [
            Keep::Alternate(true),
            Keep::Random(step),
            Keep::Random(step + 1),
        ] {
            let crashed = power_cut(&memory, keep, step);
            let whole = crashed.process_kill();
            let before = whole.steps_used();
            drop(try_open(&whole).expect("a recovery with power"));
            for recovery_step in 0..=whole.steps_used() - before {
                let memory = crashed.process_kill();
                memory.power_off_after(recovery_step);
                drop(try_open(&memory));
                for again in [Keep::Nothing, Keep::Everything, Keep::Random(recovery_step)] {
                    let after = power_cut(&memory, again, recovery_step);
                    check(&after, &journal, &(step, keep, recovery_step, again));
                }
            }
        }
    }
}

/// What a run that was killed has written and not synced is durable before the watermark says that
/// it is: else the next start misses what it takes for synced.
#[test]
fn power_lost_at_every_step_of_a_recovery_from_a_kill_is_taken_for_no_damage() {
    for step in (0..=steps_of_a_run()).step_by(29) {
        let memory = MemoryBackend::new();
        memory.power_off_after(step);
        let journal = run(&memory);
        let whole = memory.process_kill();
        let before = whole.steps_used();
        drop(try_open(&whole).expect("a recovery with power"));
        for recovery_step in 0..=whole.steps_used() - before {
            let memory = memory.process_kill();
            memory.power_off_after(recovery_step);
            drop(try_open(&memory));
            for keep in KEEPS {
                let after = power_cut(&memory, keep, recovery_step);
                check(&after, &journal, &(step, recovery_step, keep));
            }
        }
    }
}

#[test]
fn a_last_record_torn_at_every_byte_is_cut_and_the_log_goes_on() {
    let memory = MemoryBackend::new();
    let places = support::small_log(&memory, 6, &[5]);
    let last = places[5].offset.bytes() as usize;
    let whole = memory.file("segment-0000000000").unwrap();
    let record_bytes = 64 + 222_usize.next_multiple_of(8);
    for torn_at in 0..record_bytes {
        let memory = memory.process_kill();
        support::edit(&memory, "segment-0000000000", |bytes| {
            bytes[last + torn_at..].fill(0)
        });
        let log = open_memory(&memory);
        assert_eq!(payloads(&log.reader).len(), 5, "torn at {torn_at}");
        let is_gone = whole[last..last + torn_at].iter().all(|byte| *byte == 0);
        let row = if is_gone {
            Row::CleanEnd
        } else {
            Row::TornTail
        };
        assert_eq!(log.recovery.row, row, "torn at {torn_at}");
        assert_eq!(log.recovery.cut.is_some(), row == Row::TornTail);
        drop(log);
        let tail = memory.file("segment-0000000000").unwrap().split_off(last);
        assert!(tail.iter().all(|byte| *byte == 0), "the tail was not cut");
        check_goes_on(&memory, &torn_at);
    }
}

#[test]
fn a_torn_group_over_several_segments_is_cut_whole() {
    let memory = MemoryBackend::new();
    let mut log = open_memory(&memory);
    append(&mut log, b"synced");
    sync(&mut log);
    for number in 0..12 {
        append(&mut log, &payload(number, 1700));
    }
    assert_eq!(log.writer.end().offset.segment(), 6);
    drop(log);
    // Only the first lost sector of the group stays lost: the later segments are all there.
    let mut is_first = true;
    let after = memory.power_cut(|thing| match thing {
        Unsynced::Sector { name, .. } if name.starts_with("segment") => {
            !std::mem::replace(&mut is_first, false)
        }
        _ => true,
    });
    let log = open_memory(&after);
    assert_eq!(log.recovery.row, Row::TornGroup);
    assert_eq!(payloads(&log.reader), [b"synced"]);
    let segments = after
        .file_names()
        .iter()
        .filter(|name| name.starts_with("segment"))
        .count();
    assert_eq!(segments, 1, "the segments of the cut tail are gone");
    drop(log);
    check_goes_on(&after, &"after the cut");
}

/// One action of a random life of a log.
#[derive(Clone, Debug)]
enum Act {
    Append(usize),
    Sync,
    Prepare,
    Stop,
    Kill,
    PowerCut(u64),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        8 => (0..1800_usize).prop_map(Act::Append),
        3 => Just(Act::Sync),
        1 => Just(Act::Prepare),
        1 => Just(Act::Stop),
        1 => Just(Act::Kill),
        2 => any::<u64>().prop_map(Act::PowerCut),
    ];
    prop::collection::vec(act, 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 300,
        failure_persistence: None,
        ..Default::default()
    })]

    #[test]
    fn any_life_of_a_log_keeps_its_synced_prefix(acts in acts()) {
        let mut memory = MemoryBackend::new();
        let mut log = open_memory(&memory);
        let mut journal = Journal::default();
        for (number, act) in acts.into_iter().enumerate() {
            match act {
                Act::Append(payload_bytes) => {
                    let bytes = payload(number as u64, payload_bytes);
                    append(&mut log, &bytes);
                    journal.appended.push(bytes);
                    continue;
                }
                Act::Sync => {
                    sync(&mut log);
                    journal.synced_count = journal.appended.len();
                    continue;
                }
                Act::Prepare => {
                    log.preparer.prepare_next().unwrap();
                    continue;
                }
                Act::Stop => {
                    log.syncer.stop(log.writer).unwrap();
                    journal.synced_count = journal.appended.len();
                    memory = memory.power_cut(|_| false);
                }
                Act::Kill => {
                    memory = memory.process_kill();
                    journal.synced_count = journal.appended.len();
                }
                Act::PowerCut(seed) => memory = power_cut(&memory, Keep::Random(seed), seed),
            }
            log = open_memory(&memory);
            check_is_no_damage(&log.recovery, &number);
            let recovered = payloads(&log.reader);
            prop_assert!(recovered.len() >= journal.synced_count);
            prop_assert!(journal.appended.starts_with(&recovered));
            // What was recovered is durable, and the base of what follows.
            journal.synced_count = recovered.len();
            journal.appended = recovered;
        }
    }
}
