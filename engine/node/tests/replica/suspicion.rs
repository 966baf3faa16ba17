//! A log that may hold less than what was said: whatever is done with its folder before the next
//! start, that start still knows.

use quorate::executor::Executor;
use quorate::recovery::{RecoveryConfig, RecoveryError, declare_lost, recover};
use quorate::replica::Replica;
use quorate::vote_state::{KeepError, SaidRecord, VoteState, VoteStateError, export};
use quorate_consensus::machine::Durability;
use quorate_consensus::record::Record;
use quorate_consensus::restart;
use quorate_consensus::types::{BlockId, Index, Window};
use quorate_consensus::wire;
use quorate_log::{DataFolder, LeaseFile, LeaseRead, MemoryBackend};

use crate::moving::{config, merge, take};
use crate::repair::damage_the_middle;
use crate::world::{GENESIS, MS, Tape, World, commands, log_config};

/// A world in which validator 1 is down, its folder, and how far it was leased.
fn stopped(durability: Durability) -> (World, MemoryBackend, Window) {
    let mut world = World::new(4, 1, 0, durability);
    world.submit(0, &commands(1, 1, 10));
    world.run_until_applied(10, 500 * MS);
    world.run(200 * MS);
    world.kill(1);
    let memory = world.slots[1].memory.process_kill();
    let lease = world.lease(1).lease.expect("it has voted");
    assert_eq!(world.lease(1).abstain_until, None, "nothing is suspect yet");
    (world, memory, lease)
}

/// A file that brings one record of a window that the folder has never seen, and no limit.
fn file_with_a_word(world: &World, memory: &MemoryBackend) -> VoteState {
    let state = take(world, 1, &memory.process_kill());
    VoteState {
        lease: None,
        abstain_until: None,
        no_proposals_until: None,
        is_lost: false,
        complete_from: 0,
        records: vec![said(60, &record(1, &[]))],
        ..state
    }
}

fn record(tip: u32, also: &[(u32, u8)]) -> Record {
    let block = |(index, id)| (Index::new(index), BlockId::new([id; 32]));
    Record {
        tip: Some(block((tip, 1))),
        stop: true,
        fin: None,
        skip_fallback: None,
        also: also.iter().copied().map(block).collect(),
    }
}

fn said(window: u64, record: &Record) -> SaidRecord {
    let mut bytes = Vec::new();
    wire::encode_record(record, &mut bytes);
    SaidRecord {
        window,
        record: quorate::hex::encode(&bytes),
    }
}

fn lease_of(memory: &MemoryBackend) -> restart::LeaseFile {
    let file = LeaseFile::new(&DataFolder::in_memory(memory));
    match file.read().expect("memory can be read") {
        LeaseRead::Present(bytes) => restart::LeaseFile::decode(&bytes).expect("own bytes"),
        other => panic!("{other:?}"),
    }
}

fn start(world: &World, memory: &MemoryBackend) -> bool {
    let folder = DataFolder::in_memory(memory);
    Replica::open(&folder, &world.config(1), Tape::default(), world.now).is_ok()
}

#[test]
fn r12_a_damaged_log_that_is_exported_takes_its_abstention_along() {
    for durability in [Durability::Sync, Durability::Async] {
        let (world, memory, lease) = stopped(durability);
        damage_the_middle(&memory);
        let state = take(&world, 1, &memory);
        assert_eq!(state.abstain_until, Some(lease.number()), "{durability:?}");
        let (_, whole, _) = stopped(durability);
        assert_eq!(take(&world, 1, &whole).abstain_until, None, "no reason to");
    }
}

#[test]
fn r12_an_import_into_a_folder_without_watermark_forgets_no_suspicion() {
    let (world, memory, lease) = stopped(Durability::Sync);
    let state = file_with_a_word(&world, &memory);
    memory.remove_file("watermark");
    merge(&world, 1, &memory, &state).expect("the same validator's");
    assert!(start(&world, &memory));
    assert!(lease_of(&memory).lease.abstain_until >= Some(lease));
}

#[test]
fn r12_an_import_behind_damage_forgets_no_suspicion() {
    let (world, memory, lease) = stopped(Durability::Sync);
    let state = file_with_a_word(&world, &memory);
    damage_the_middle(&memory);
    merge(&world, 1, &memory, &state).expect("the same validator's");
    assert!(start(&world, &memory));
    assert!(lease_of(&memory).lease.abstain_until >= Some(lease));
}

#[test]
fn r12_an_import_after_a_loss_of_power_forgets_it_not() {
    let mut world = World::new(4, 1, 0, Durability::Async);
    world.submit(0, &commands(1, 1, 10));
    world.run_until_applied(10, 500 * MS);
    world.run(200 * MS);
    world.power_cut(1);
    let memory = world.slots[1].memory.process_kill();
    let lease = world.lease(1).lease.expect("it has voted");
    // What was taken before says nothing of the loss.
    let state = file_with_a_word(&world, &memory);
    merge(&world, 1, &memory, &state).expect("the same validator's");
    assert!(start(&world, &memory));
    assert!(lease_of(&memory).lease.abstain_until >= Some(lease));
}

#[test]
fn r12_an_import_that_dies_anywhere_forgets_no_suspicion() {
    let (world, memory, lease) = stopped(Durability::Sync);
    let state = file_with_a_word(&world, &memory);
    damage_the_middle(&memory);
    for has_watermark in [true, false] {
        if !has_watermark {
            memory.remove_file("watermark");
        }
        let import = |memory: &MemoryBackend| merge(&world, 1, memory, &state).is_ok();
        dies_anywhere(&world, &memory, lease, &import);
    }
}

/// The power goes after each step of `act`, which takes the folder; the next start must still know
/// that the log may hold less than what was said.
fn dies_anywhere(
    world: &World,
    memory: &MemoryBackend,
    lease: Window,
    act: &dyn Fn(&MemoryBackend) -> bool,
) {
    let mut is_done = false;
    let mut steps = 0;
    while !is_done {
        for is_power_cut in [false, true] {
            let dying = memory.process_kill();
            dying.power_off_after(steps);
            is_done = act(&dying);
            let left = match is_power_cut {
                true => dying.power_cut(|_| true),
                false => dying.process_kill(),
            };
            assert!(start(world, &left), "after {steps} steps");
            let found = lease_of(&left).lease;
            assert!(
                found.is_lost || found.abstain_until >= Some(lease),
                "after {steps} steps: {found:?}"
            );
        }
        steps += 1;
        assert!(steps < 1_000, "it never comes to an end");
    }
}

#[test]
fn r12_a_first_start_that_dies_anywhere_leaves_the_second_suspect() {
    let (world, memory, lease) = stopped(Durability::Sync);
    memory.remove_file("watermark");
    dies_anywhere(&world, &memory, lease, &|memory| start(&world, memory));
}

#[test]
fn r12_a_refused_start_export_or_loss_leaves_the_next_start_suspect() {
    let (world, memory, lease) = stopped(Durability::Sync);
    memory.remove_file("watermark");
    // A start that is refused after the log was opened.
    let refused = memory.process_kill();
    let folder = DataFolder::in_memory(&refused);
    let too_large = RecoveryConfig {
        payload_bytes_max: 1 << 30,
        ..config(&world, 1)
    };
    let mut executor = Executor::new(Tape::default(), 8, world.set.genesis_time_ns());
    let outcome = recover(&folder, &too_large, &world.set, &mut executor);
    assert!(matches!(
        outcome,
        Err(RecoveryError::SegmentsTooSmall { .. })
    ));
    drop(folder);
    assert!(start(&world, &refused));
    assert_eq!(lease_of(&refused).lease.abstain_until, Some(lease));

    let unkept = memory.process_kill();
    let folder = DataFolder::in_memory(&unkept);
    let full = &mut |_: &VoteState| Err(KeepError::Undone(std::io::ErrorKind::StorageFull.into()));
    let outcome = export(&folder, &config(&world, 1), full);
    assert!(matches!(outcome, Err(VoteStateError::Keep(_))));
    drop(folder);
    assert!(start(&world, &unkept));
    assert!(lease_of(&unkept).lease.abstain_until >= Some(lease));

    let owner = config(&world, 1).own;
    dies_anywhere(&world, &memory, lease, &|memory| {
        let folder = DataFolder::in_memory(memory);
        declare_lost(&folder, &log_config(), GENESIS, [5; 16], owner).is_ok()
    });
}

/// The files of a log, its watermark included, or not.
fn log_files(memory: &MemoryBackend, with_watermark: bool) -> Vec<(String, Vec<u8>)> {
    let is_of_it =
        |name: &String| name.starts_with("segment-") || (with_watermark && name == "watermark");
    let names = memory.file_names().into_iter().filter(is_of_it);
    let read = |name: String| (name.clone(), memory.file(&name).expect("a file"));
    names.map(read).collect()
}

/// The operator has taken something away, and puts it back.
#[test]
fn r12_a_log_that_is_refused_leaves_the_lease_as_it_is_and_the_next_start_as_sound() {
    let (world, memory, _) = stopped(Durability::Sync);
    let lease = memory.file("lease");
    let is_refused = |memory: &MemoryBackend| {
        assert!(!start(&world, memory));
        assert!(memory.file("lease") == lease, "the lease was changed");
    };
    // No segment tells which log it is.
    let segments = log_files(&memory, false);
    for (name, _) in &segments {
        memory.remove_file(name);
    }
    is_refused(&memory);
    // One of another validator tells another log.
    let (first, _) = &segments[0];
    let (_, of_another) = &log_files(&world.slots[2].memory.process_kill(), false)[0];
    for (name, bytes) in &segments {
        memory.set_file(name, bytes);
    }
    memory.set_file("segment-0000000009", &segments[0].1);
    memory.set_file(first, of_another);
    is_refused(&memory);
    memory.remove_file("segment-0000000009");
    memory.set_file(first, &segments[0].1);
    assert!(start(&world, &memory));
    assert_eq!(lease_of(&memory).lease.abstain_until, None);
}

#[test]
fn r12_a_new_log_beside_an_older_lease_is_suspect_wherever_its_first_start_dies() {
    let (world, memory, lease) = stopped(Durability::Sync);
    for (name, _) in log_files(&memory, true) {
        memory.remove_file(&name);
    }
    dies_anywhere(&world, &memory, lease, &|memory| start(&world, memory));
}

#[test]
fn r12_a_sync_that_fails_in_a_start_leaves_the_next_start_suspect() {
    let (world, memory, lease) = stopped(Durability::Sync);
    let mut failed_count = 0;
    for syncs in 0.. {
        let failing = memory.process_kill();
        failing.fail_sync_after(syncs);
        let folder = DataFolder::in_memory(&failing);
        let mut executor = Executor::new(Tape::default(), 8, world.set.genesis_time_ns());
        let outcome = recover(&folder, &config(&world, 1), &world.set, &mut executor).map(drop);
        drop(folder);
        match outcome {
            Ok(()) => break,
            Err(RecoveryError::NotSynced { is_noted, .. }) => {
                assert!(is_noted, "the next sync succeeds");
                failed_count += 1;
                assert!(start(&world, &failing));
                let found = lease_of(&failing).lease;
                assert_eq!(found.abstain_until, Some(lease), "after {syncs} syncs");
            }
            // The lease file says what it said before.
            Err(RecoveryError::LeaseWrite(_) | RecoveryError::Io { .. }) => {
                assert!(start(&world, &failing))
            }
            Err(error) => panic!("after {syncs} syncs: {error}"),
        }
    }
    assert!(
        failed_count >= 3,
        "the folder, the log and the watermark are synced"
    );
}

/// Records in the log of a folder that nobody has open.
fn records_in(memory: &MemoryBackend) -> usize {
    let folder = DataFolder::in_memory(memory);
    let opened = quorate_log::open(&folder, &log_config(), GENESIS).expect("a good log");
    opened.reader.iter().count()
}

/// After a failed sync the system may show what never got to the disk: whatever a start believes of
/// that, and announces as durable, the next loss of power takes away.
#[test]
fn r12_a_log_under_a_suspect_lease_is_read_from_the_disk() {
    let mut world = World::new(4, 1, 0, Durability::Async);
    world.submit(0, &commands(1, 1, 10));
    world.run_until_applied(10, 500 * MS);
    world.kill(1);
    let memory = world.slots[1].memory.process_kill();
    let on_disk = records_in(&memory.power_cut(|_| false));
    assert!(
        records_in(&memory.process_kill()) > on_disk,
        "not all is synced"
    );
    memory.forget_unsynced();
    for suspect in [false, true] {
        let memory = memory.process_kill();
        let folder = DataFolder::in_memory(&memory);
        let content = restart::LeaseFile {
            suspect,
            ..lease_of(&memory)
        };
        let mut lease_file = LeaseFile::new(&folder);
        lease_file.replace(&content.encode()).expect("memory");
        let mut executor = Executor::new(Tape::default(), 8, world.set.genesis_time_ns());
        let started = recover(&folder, &config(&world, 1), &world.set, &mut executor);
        drop(started.expect("a good folder"));
        drop(folder);
        assert_eq!(records_in(&memory) == on_disk, suspect);
    }
}

fn import_both(held: &Record, file: &Record) -> Result<Vec<SaidRecord>, VoteStateError> {
    let (world, memory, _) = stopped(Durability::Sync);
    let of = |record| VoteState {
        records: vec![said(60, record)],
        ..file_with_a_word(&world, &memory)
    };
    let new = MemoryBackend::new();
    merge(&world, 1, &new, &of(held)).expect("a new folder");
    merge(&world, 1, &new, &of(file))?;
    Ok(take(&world, 1, &new).records)
}

#[test]
fn an_import_drops_no_word_on_either_side() {
    let (bare, full) = (record(41, &[]), record(41, &[(42, 7)]));
    for (held, file) in [(&bare, &full), (&full, &bare)] {
        let kept = import_both(held, file).expect("one says more");
        assert_eq!(kept, [said(60, &full)]);
    }
    // Each has a word that the other lacks.
    let pairs = [
        (record(41, &[(42, 7)]), record(41, &[(42, 8)])),
        (
            record(41, &[(41, 7), (42, 9)]),
            record(41, &[(41, 8), (42, 9)]),
        ),
    ];
    for (held, file) in &pairs {
        let outcome = import_both(held, file);
        assert!(
            matches!(outcome, Err(VoteStateError::Conflict { window: 60 })),
            "{outcome:?}"
        );
    }
    // A lower word beside a higher one that both hold is not lost for it.
    let (less, more) = (record(41, &[(42, 9)]), record(41, &[(41, 7), (42, 9)]));
    for (held, file) in [(&less, &more), (&more, &less)] {
        let kept = import_both(held, file).expect("one says more");
        assert_eq!(kept, [said(60, &more)]);
    }
}
