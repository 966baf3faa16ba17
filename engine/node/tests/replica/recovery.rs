//! Crashes, restarts and folders that must be refused.

use quorate::journal::{JournalError, KIND_PROOF, KIND_RECORD, SyncError};
use quorate::lanes::Verdict;
use quorate::recovery::{RecoveryError, declare_lost, initialize};
use quorate::replica::{Event, Replica, ReplicaError};
use quorate::results::Outcome;
use quorate_consensus::effect::Alarm;
use quorate_consensus::machine::Durability;
use quorate_consensus::types::Window;
use quorate_log::{DataFolder, MemoryBackend, OpenError};

use crate::moving::{lease_in, merge, take};
use crate::world::{GENESIS, MS, Tape, World, command, commands, index, log_config};

const BOTH: [Durability; 2] = [Durability::Sync, Durability::Async];

fn is_voting(world: &World, place: usize) -> bool {
    world
        .up()
        .any(|(up, running)| up == place && running.replica.consensus().is_voting())
}

#[test]
fn a_killed_validator_comes_back_with_its_history_and_votes_again() {
    for durability in BOTH {
        let mut world = World::new(4, 1, 0, durability);
        world.submit(0, &commands(1, 1, 30));
        world.run_until_applied(30, 500 * MS);
        let height = world.replica(2).executor().height();
        world.kill(2);
        world.start(2).expect("its disk is good");
        // Before a single frame: everything that was final is executed again.
        assert_eq!(world.replica(2).executor().height(), height);
        assert_eq!(world.applied(2).len(), 30);
        world.run_until("it votes", 5_000 * MS, |world| is_voting(world, 2));
        world.submit(2, &commands(1, 31, 40));
        world.run_until_applied(40, 5_000 * MS);
        world.assert_equal_states();
        assert_eq!(world.answered(2, Outcome::Applied), 10);
        assert_eq!(world.alarms(), []);
    }
}

#[test]
fn a_validator_that_missed_much_fetches_it_from_the_others_logs() {
    let mut world = World::new(4, 1, 0, Durability::Async);
    world.submit(0, &commands(1, 1, 3));
    world.run_until_applied(3, 500 * MS);
    world.kill(3);
    // More blocks than windows have slots and than the others keep in memory.
    let text = "x".repeat(2_000);
    for seq in 1..=300 {
        world.submit(0, &[command(2, seq, &text)]);
        world.run(2 * MS);
    }
    world.run_until_applied(303, 10_000 * MS);
    let (_, cached_bytes, _) = world.replica(0).order().store().sizes();
    assert!(cached_bytes <= 64 * 1024 + 4_096, "{cached_bytes}");
    world.start(3).expect("its disk is good");
    world.run_until_applied(303, 20_000 * MS);
    world.assert_equal_states();
    assert_eq!(world.alarms(), []);
}

#[test]
fn all_validators_killed_at_once_go_on_where_they_were() {
    for durability in BOTH {
        let mut world = World::new(4, 1, 0, durability);
        world.submit(0, &commands(1, 1, 10));
        world.run_until_applied(10, 500 * MS);
        world.submit(1, &commands(2, 1, 10));
        world.run(MS / 4);
        for place in 0..4 {
            world.kill(place);
        }
        for place in 0..4 {
            world.start(place).expect("its disk is good");
            assert!(world.applied(place).len() >= 10);
        }
        // The client asks again, as a client does that has no result.
        world.submit(3, &commands(2, 1, 10));
        world.run_until_applied(20, 10_000 * MS);
        world.assert_equal_states();
        assert_eq!(world.alarms(), []);
    }
}

#[test]
fn sync_durability_outlives_the_power_of_all_machines() {
    let mut world = World::new(4, 1, 0, Durability::Sync);
    world.submit(0, &commands(1, 1, 10));
    world.run_until_applied(10, 500 * MS);
    world.run(100 * MS);
    let roots: Vec<_> = (0..4)
        .map(|place| world.replica(place).executor_mut().root().combined)
        .collect();
    for place in 0..4 {
        world.power_cut(place);
    }
    for (place, root) in roots.iter().enumerate() {
        world.start(place).expect("its disk is good");
        assert_eq!(world.replica(place).executor_mut().root().combined, *root);
    }
    world.submit(2, &commands(1, 11, 12));
    world.run_until_applied(12, 10_000 * MS);
    world.assert_equal_states();
    assert_eq!(world.alarms(), []);
}

#[test]
fn r12_after_a_power_cut_in_async_a_validator_abstains_and_the_others_go_on() {
    let mut world = World::new(4, 1, 0, Durability::Async);
    world.submit(0, &commands(1, 1, 10));
    world.run_until_applied(10, 500 * MS);
    world.power_cut(1);
    world.start(1).expect("its disk is good");
    let lease = world.lease(1);
    assert!(lease.abstain_until.is_some());
    assert_eq!(lease.proofs_elsewhere, None, "what was flushed is here");
    assert_eq!(lease.abstain_until, lease.lease);
    world.submit(0, &commands(1, 11, 20));
    world.run_until_applied(20, 10_000 * MS);
    assert!(!is_voting(&world, 1));
    world.assert_equal_states();
    assert_eq!(world.alarms(), []);
}

#[test]
fn r12_a_power_cut_in_async_is_one_although_sync_is_configured_since() {
    let mut world = World::new(4, 1, 0, Durability::Async);
    world.submit(0, &commands(1, 1, 10));
    world.run_until_applied(10, 500 * MS);
    world.power_cut(1);
    world.durability = Durability::Sync;
    world.start(1).expect("its disk is good");
    let after_async = world.lease(1);
    assert!(after_async.abstain_until.is_some());
    assert_eq!(after_async.abstain_until, after_async.lease);
}

#[test]
fn r12_a_kill_takes_away_proposals_and_a_clean_stop_takes_nothing() {
    for durability in BOTH {
        let mut world = World::new(4, 1, 0, durability);
        world.submit(0, &commands(1, 1, 10));
        world.run_until_applied(10, 500 * MS);
        world.run(200 * MS);
        world.stop(1);
        world.start(1).expect("it stopped cleanly");
        let after_stop = world.lease(1);
        assert!(after_stop.lease.is_some());
        assert_eq!(
            (after_stop.no_proposals_until, after_stop.abstain_until),
            (None, None)
        );
        // The marker of that stop is spent: this is no clean stop.
        world.kill(1);
        world.start(1).expect("its disk is good");
        let after_kill = world.lease(1);
        assert_eq!(after_kill.no_proposals_until, after_kill.lease);
        assert_eq!(after_kill.abstain_until, None);
        world.submit(0, &commands(1, 11, 12));
        world.run_until_applied(12, 10_000 * MS);
    }
}

/// Else a power cut in the middle of the start would count as an unclean stop of the run before.
#[test]
fn r12_power_lost_at_any_step_of_a_start_leaves_the_clean_stop_until_the_lease_is_written() {
    let mut world = World::new(4, 1, 0, Durability::Sync);
    world.submit(0, &commands(1, 1, 10));
    world.run_until_applied(10, 500 * MS);
    world.run(200 * MS);
    world.stop(1);
    let stopped = world.slots[1].memory.power_cut(|_| false);
    let before = stopped.file("lease");
    let mut unwritten = 0;
    for step in 0.. {
        let memory = stopped.process_kill();
        world.slots[1].memory = memory.clone();
        memory.power_off_after(step);
        let is_cut_short = world.start(1).is_err();
        if !is_cut_short {
            world.kill(1);
            break;
        }
        let after = memory.power_cut(|_| false);
        let is_unwritten = after.file("lease") == before;
        world.slots[1].memory = after;
        world.start(1).expect("the disk is good");
        if is_unwritten {
            assert_eq!(world.lease(1).no_proposals_until, None, "{step}");
            unwritten += 1;
        }
        world.kill(1);
    }
    assert!(unwritten > 2, "{unwritten} steps come before");
}

/// A marker names the end of the log that it was written for: one that outlived its removal says
/// nothing of what came later.
#[test]
fn r12_a_clean_stop_marker_for_another_end_counts_for_nothing() {
    let mut world = World::new(4, 1, 0, Durability::Sync);
    world.submit(0, &commands(1, 1, 10));
    world.run_until_applied(10, 500 * MS);
    world.run(200 * MS);
    world.stop(1);
    let marker = world.slots[1].memory.file("clean-stop");
    let marker = marker.expect("a clean stop leaves it");
    world.start(1).expect("it stopped cleanly");
    world.submit(0, &commands(1, 11, 20));
    world.run_until_applied(20, 10_000 * MS);
    world.kill(1);
    world.slots[1].memory.set_file("clean-stop", &marker);
    world.start(1).expect("its disk is good");
    let lease = world.lease(1);
    assert!(lease.no_proposals_until.is_some());
    assert_eq!(lease.no_proposals_until, lease.lease);
}

#[test]
fn r12_a_failed_sync_ends_the_run_and_makes_the_next_start_suspect() {
    let mut world = World::new(4, 1, 0, Durability::Sync);
    world.submit(0, &commands(1, 1, 10));
    world.run_until_applied(10, 500 * MS);
    world.run(100 * MS);
    world.slots[3].memory.fail_sync_after(0);
    world.submit(0, &commands(1, 11, 20));
    world.run_until_applied(20, 10_000 * MS);
    let failure = world.slots[3].failure.take().expect("its disk failed");
    assert!(
        matches!(
            failure,
            ReplicaError::Journal(JournalError::Sync(SyncError::Log { is_noted: true, .. }))
        ),
        "{failure:?}"
    );
    world.slots[3].memory = world.slots[3].memory.process_kill();
    let leased = world.lease(3).lease;
    assert!(leased.is_some(), "it has voted under it");
    world.start(3).expect("the disk works again");
    let lease = world.lease(3);
    assert_eq!((lease.abstain_until, lease.is_lost), (leased, false));
    world.run_until_applied(20, 10_000 * MS);
    assert!(!is_voting(&world, 3));
}

#[test]
fn r12_a_crash_of_the_leader_at_any_moment_forks_nothing_and_loses_nothing() {
    for durability in BOTH {
        for step in 0..12 {
            let mut world = World::new(4, 1, 0, durability);
            world.submit(0, &commands(1, 1, 3));
            world.run_until_applied(3, 500 * MS);
            let leader = world.leader();
            world.submit((leader + 1) % 4, &commands(2, 1, 5));
            world.run(step * MS / 10);
            world.kill(leader);
            world.start(leader).expect("its disk is good");
            world.run_until_applied(8, 10_000 * MS);
            world.assert_equal_states();
            assert_eq!(world.alarms(), [], "{durability:?} after {step} steps");
        }
    }
}

#[test]
fn a_log_that_lost_votes_it_had_sent_is_found_out_by_the_fence() {
    let mut world = World::new(4, 1, 0, Durability::Sync);
    world.submit(0, &commands(1, 1, 3));
    world.run_until_applied(3, 500 * MS);
    world.run(100 * MS);
    let old = world.slots[2].memory.process_kill();
    world.submit(0, &commands(1, 4, 10));
    world.run_until_applied(10, 1_000 * MS);
    world.run(100 * MS);
    world.kill(2);
    // Somebody restored a copy of the disk.
    world.slots[2].memory = old;
    world.start(2).expect("the copy is a good log");
    let is_found = |alarm: Alarm| Event::Alarm(alarm);
    world.run(500 * MS);
    let alarms: Vec<Event> = world.alarms().into_iter().map(|(_, event)| event).collect();
    let window = world.lease(2).abstain_until.expect("R13 has found it");
    assert!(
        alarms.contains(&is_found(Alarm::Recovered(window))),
        "{alarms:?}"
    );
    let is_old = |event: &Event| matches!(event, Event::Alarm(Alarm::DiskOlderThanSent(_)));
    assert!(alarms.iter().any(is_old), "{alarms:?}");
    assert!(!is_voting(&world, 2));
}

/// The log of a validator that has learnt of a proof above every window in which it said anything.
fn prove_a_window_above(memory: &MemoryBackend, window: Window) {
    let folder = DataFolder::in_memory(memory);
    let mut log = quorate_log::open(&folder, &log_config(), GENESIS).expect("a good log");
    let records = log
        .reader
        .iter()
        .map(|record| record.expect("a good record"));
    let proofs = records.filter(|record| record.kind() == KIND_PROOF);
    let mut proof = proofs.last().expect("blocks were proven").to_vec();
    // Behind the version stands the window of what is proven.
    proof[2..10].copy_from_slice(&(window.number() + 5).to_le_bytes());
    log.writer.append(KIND_PROOF, &[&proof]).expect("room");
    log.syncer.sync(log.writer.unsynced()).expect("a good disk");
}

/// A word of the lowest window in the log stands behind all others.
fn say_again_below(memory: &MemoryBackend) {
    let folder = DataFolder::in_memory(memory);
    let mut log = quorate_log::open(&folder, &log_config(), GENESIS).expect("a good log");
    let mut records = log
        .reader
        .iter()
        .map(|record| record.expect("a good record"));
    let word = records.find(|record| record.kind() == KIND_RECORD);
    let word = word.expect("it has spoken").to_vec();
    log.writer.append(KIND_RECORD, &[&word]).expect("room");
    log.syncer.sync(log.writer.unsynced()).expect("a good disk");
}

/// Where one ends, no lease of before says what this one has lost: limits that no start may forget.
#[test]
fn r11_a_lease_older_than_the_records_beside_it_counts_as_lost() {
    for durability in BOTH {
        let mut world = World::new(4, 1, 0, durability);
        world.run(100 * MS);
        let old = world.slots[2].memory.file("lease").expect("it was begun");
        let old_limit = world.lease(2).lease.expect("it votes");
        let state = take(&world, 2, &world.slots[2].memory.process_kill());
        let mut seq = 0;
        while world.replica(2).consensus().window() <= old_limit {
            seq += 1;
            world.submit(0, &[command(1, seq, "x")]);
            world.run(2 * MS);
        }
        world.submit(0, &[command(1, seq + 1, "the first of a window above it")]);
        world.run(100 * MS);
        let said_in = world.replica(2).consensus().window();
        world.kill(2);
        world.slots[2].memory.set_file("lease", &old);
        let exported = take(&world, 2, &world.slots[2].memory.process_kill());
        assert!(
            exported.is_lost,
            "nor does whoever it is moved to know them"
        );
        // Words of several windows stand in the log as they were said.
        say_again_below(&world.slots[2].memory);
        let exported = take(&world, 2, &world.slots[2].memory.process_kill());
        assert!(exported.is_lost, "it is the highest window that tells");
        let over = world.slots[2].memory.process_kill();
        prove_a_window_above(&over, said_in);
        assert!(take(&world, 2, &over).is_lost, "where all it said is over");
        let merged = world.slots[2].memory.process_kill();
        merge(&world, 2, &merged, &state).expect("its log is good");
        assert!(lease_in(&merged).is_lost, "nor did whoever it was moved to");
        world.start(2).expect("its log is good");
        assert!(world.lease(2).is_lost && !is_voting(&world, 2));
        world.run_until("R13 is over", 2_000 * MS, |world| !world.lease(2).is_lost);
        assert!(
            world.lease(2).abstain_until >= Some(said_in),
            "{durability:?}"
        );
        assert!(!is_voting(&world, 2), "what it said there is not known");
        // From here on the lease is that of the log again.
        world.kill(2);
        world.start(2).expect("its log is good");
        assert!(!world.lease(2).is_lost);
        world.assert_equal_states();
    }
}

/// A key that its peers have heard, in a folder that was made as for one that never signed: an
/// operator's error, and what a cloned key looks like. The folder says that nothing was said, and
/// the peers know better.
#[test]
fn r13_a_blank_folder_for_a_key_that_has_signed_is_found_out_by_the_fence() {
    for durability in BOTH {
        let mut world = World::new(4, 1, 0, durability);
        world.submit(0, &commands(1, 1, 10));
        world.run_until_applied(10, 1_000 * MS);
        world.run(100 * MS);
        world.kill(2);
        let memory = MemoryBackend::new();
        let folder = DataFolder::in_memory(&memory);
        let owner = world.set.validator(index(2)).expect("a member").key;
        initialize(&folder, &log_config(), GENESIS, [2; 16], owner).expect("an empty folder");
        drop(folder);
        world.slots[2].memory = memory;
        world
            .start(2)
            .expect("nothing here says that it has signed");
        assert!(!is_voting(&world, 2), "it asks before it votes");
        world.run(500 * MS);
        let alarms: Vec<Event> = world.alarms().into_iter().map(|(_, event)| event).collect();
        let is_old = |event: &Event| matches!(event, Event::Alarm(Alarm::DiskOlderThanSent(_)));
        assert!(alarms.iter().any(is_old), "{alarms:?}");
        assert!(world.lease(2).abstain_until.is_some(), "R13 has found it");
        assert!(!is_voting(&world, 2));
    }
}

/// The others' windows must pass before one that forgot what it said may vote again.
fn run_windows_past_recovery(world: &mut World, place: usize) {
    for round in 0..40_u64 {
        let seq = round * 10;
        let sender = (place + 1) % 4;
        world.submit(sender, &commands(9, seq + 1, seq + 10));
        world.run(2_000 * MS);
        if is_voting(world, place) {
            return;
        }
        // Whoever leads is restarted: its window ends.
        let leader = world.leader();
        if leader != place {
            world.kill(leader);
            world.run(500 * MS);
            world.start(leader).expect("its disk is good");
        }
    }
    panic!("v{place} does not vote again: {:?}", world.brief());
}

#[test]
fn r13_a_validator_whose_disk_is_lost_follows_and_votes_again_in_later_windows() {
    for durability in BOTH {
        let mut world = World::new(4, 1, 0, durability);
        world.submit(0, &commands(1, 1, 10));
        world.run_until_applied(10, 500 * MS);
        world.run(100 * MS);
        world.kill(2);
        let memory = MemoryBackend::new();
        let owner = world.set.validator(index(2)).expect("a member").key;
        declare_lost(
            &DataFolder::in_memory(&memory),
            &log_config(),
            GENESIS,
            [5; 16],
            owner,
        )
        .expect("an empty folder");
        world.slots[2].memory = memory;
        world.start(2).expect("a lost disk is one to start from");
        assert!(world.lease(2).is_lost);
        world.run_until("it has asked", 2_000 * MS, |world| !world.lease(2).is_lost);
        let lease = world.lease(2);
        assert!(
            lease.proofs_elsewhere.is_some(),
            "they are on the lost disk"
        );
        assert_eq!(lease.proofs_elsewhere, lease.abstain_until);
        world.run_until_applied(10, 5_000 * MS);
        run_windows_past_recovery(&mut world, 2);
        world.assert_equal_states();
    }
}

#[test]
fn r13_a_lost_disk_is_still_lost_after_a_crash_before_enough_have_answered() {
    let mut world = World::new(4, 1, 0, Durability::Sync);
    world.submit(0, &commands(1, 1, 10));
    world.run_until_applied(10, 500 * MS);
    world.kill(2);
    world.slots[2].memory.remove_file("lease");
    world.kill(3);
    world.start(2).expect("a log without its lease");
    world.run(500 * MS);
    assert!(world.lease(2).is_lost, "2F + P + 1 = 3 must answer");
    world.kill(2);
    world.start(2).expect("the same");
    assert!(world.lease(2).is_lost);
    world.start(3).expect("its disk is good");
    world.run_until("enough", 2_000 * MS, |world| !world.lease(2).is_lost);
}

pub(crate) fn open(
    world: &World,
    memory: &MemoryBackend,
    genesis: &[u8],
) -> Result<(), RecoveryError> {
    let mut config = world.config(0);
    config.genesis = genesis.into();
    let folder = DataFolder::in_memory(memory);
    Replica::open(&folder, &config, Tape::default(), world.now).map(drop)
}

#[test]
fn r13_a_log_without_its_lease_recovers_and_a_folder_without_either_is_refused() {
    let mut world = World::new(4, 1, 0, Durability::Sync);
    world.submit(0, &commands(1, 1, 3));
    world.run_until_applied(3, 500 * MS);
    world.kill(0);
    let memory = world.slots[0].memory.process_kill();
    memory.remove_file("lease");
    let again = initialize(
        &DataFolder::in_memory(&memory),
        &log_config(),
        GENESIS,
        [0; 16],
        [1; 32],
    );
    assert!(
        matches!(again, Err(RecoveryError::LogWithoutLease { .. })),
        "{again:?}"
    );
    world.slots[0].memory = memory;
    world
        .start(0)
        .expect("the log is here, and peers know the rest");
    assert!(world.lease(0).is_lost);
    let unused = MemoryBackend::new();
    let folder = DataFolder::in_memory(&unused);
    initialize(&folder, &log_config(), GENESIS, [0; 16], [1; 32]).expect("a new folder");
    unused.remove_file("lease");
    assert!(matches!(
        open(&world, &unused, GENESIS),
        Err(RecoveryError::LeaseMissing)
    ));
    let empty = MemoryBackend::new();
    assert!(matches!(
        open(&world, &empty, GENESIS),
        Err(RecoveryError::LeaseMissing)
    ));
    assert_eq!(
        empty.file_names(),
        Vec::<String>::new(),
        "a refusal leaves nothing behind"
    );
}

#[test]
fn a_foreign_genesis_and_a_log_with_a_hole_are_refused_and_a_damaged_lease_recovers() {
    let mut world = World::new(4, 1, 0, Durability::Sync);
    world.submit(0, &commands(1, 1, 3));
    world.run_until_applied(3, 500 * MS);
    world.run(200 * MS);
    world.stop(0);
    let good = &world.slots[0].memory;

    let memory = good.process_kill();
    let mut lease = memory.file("lease").expect("it is there");
    lease[20] ^= 1;
    memory.set_file("lease", &lease);
    assert!(
        open(&world, &memory, GENESIS).is_ok(),
        "R13 finds a new one"
    );
    let alone = MemoryBackend::new();
    alone.set_file("lease", &lease);
    assert!(matches!(
        open(&world, &alone, GENESIS),
        Err(RecoveryError::LeaseDamaged(_))
    ));
    assert_eq!(alone.file_names(), ["lease"], "left as it is");

    let memory = good.process_kill();
    let foreign = open(&world, &memory, b"another genesis");
    assert!(
        matches!(foreign, Err(RecoveryError::Log(OpenError::Genesis { .. }))),
        "{foreign:?}"
    );

    let memory = good.process_kill();
    let name = memory
        .file_names()
        .into_iter()
        .find(|name| name.contains("0000"))
        .expect("a segment");
    let mut segment = memory.file(&name).expect("it is there");
    segment.truncate(segment.len() / 2);
    memory.set_file(&name, &segment);
    let damaged = open(&world, &memory, GENESIS);
    assert!(
        matches!(damaged, Err(RecoveryError::Log(OpenError::Damaged { .. }))),
        "{damaged:?}"
    );

    assert!(open(&world, &good.process_kill(), GENESIS).is_ok());
}

/// Safe at any time, so nobody has to know how much is lost; but nobody else's folder.
#[test]
fn r13_a_disk_declared_lost_keeps_its_log_and_the_limits_of_its_lease() {
    let mut world = World::new(4, 1, 0, Durability::Sync);
    world.submit(0, &commands(1, 1, 3));
    world.run_until_applied(3, 500 * MS);
    let before = world.lease(1);
    world.kill(1);
    let memory = world.slots[1].memory.process_kill();
    let declare = |place: usize| {
        let owner = world.set.validator(index(place)).expect("a member").key;
        let folder = DataFolder::in_memory(&memory);
        declare_lost(&folder, &log_config(), GENESIS, [5; 16], owner)
    };
    let other = declare(0);
    assert!(
        matches!(other, Err(RecoveryError::OtherValidator { .. })),
        "{other:?}"
    );
    declare(1).expect("its own folder");
    world.slots[1].memory = memory;
    let after = world.lease(1);
    assert!(after.is_lost && after.lease == before.lease);
    world.start(1).expect("the log is good");
    assert_eq!(
        world.applied(1).len(),
        3,
        "what was final is executed again"
    );
}

#[test]
fn a_full_disk_is_busy_to_clients_and_service_resumes_when_there_is_room() {
    let mut world = World::new(4, 1, 0, Durability::Sync);
    world.slots[3].memory.set_full(true);
    let text = "x".repeat(16 * 1024);
    let mut seq = 0;
    let is_busy = |verdicts: &[Verdict]| matches!(verdicts, [Verdict::Busy { .. }]);
    // More than one segment of its log holds.
    let mut client = 0;
    while !is_busy(&world.submit(3, &[command(9, client + 1, "mine")])) {
        client += 1;
        seq += 1;
        world.submit(0, &[command(1, seq, &text)]);
        world.run(5 * MS);
        assert!(seq < 1_000, "its segment never ends");
    }
    assert!(
        world.slots[3].failure.is_none(),
        "{:?}",
        world.slots[3].failure
    );
    // The others go on without it, and it still answers them.
    world.submit(1, &commands(2, 1, 20));
    let count = usize::try_from(seq + client).unwrap() + 20;
    world.run_until("the others go on", 20_000 * MS, |world| {
        (0..3).all(|place| world.applied(place).len() >= count)
    });
    assert!(world.applied(3).len() < count);
    world.slots[3].memory.set_full(false);
    world.run_until_applied(count, 20_000 * MS);
    world.assert_equal_states();
    assert!(!is_busy(
        &world.submit(3, &[command(9, client + 1, "mine")])
    ));
    world.run_until_applied(count + 1, 20_000 * MS);
    assert_eq!(world.alarms(), []);
}
