//! Moving a validator: what it said goes along, and nothing of it is ever taken back.

use quorate::recovery::{RecoveryConfig, RecoveryError};
use quorate::vote_state::{
    KeepError, VOTE_STATE_FORMAT, VoteState, VoteStateError, export, import,
};
use quorate_consensus::machine::Durability;
use quorate_consensus::record::Record;
use quorate_consensus::restart::LeaseFile as LeaseContent;
use quorate_consensus::trust::Lease;
use quorate_consensus::types::{Index, Window};
use quorate_consensus::wire;
use quorate_log::{DataFolder, LeaseFile, LeaseRead, MemoryBackend};

use crate::world::{GENESIS, MS, World, commands, index, log_config};

pub(crate) fn config(world: &World, place: usize) -> RecoveryConfig<'static> {
    RecoveryConfig {
        log: log_config(),
        genesis: GENESIS,
        durability: world.durability,
        boot_id: world.config(place).boot_id,
        incarnation_min: 1,
        own: world.set.validator(index(place)).expect("a member").key,
        payload_bytes_max: 1024 * 1024,
        cache_bytes_max: 64 * 1024,
        snapshot: None,
    }
}

pub(crate) fn take(world: &World, place: usize, memory: &MemoryBackend) -> VoteState {
    let folder = DataFolder::in_memory(memory);
    export(&folder, &config(world, place), &mut |_| Ok(())).expect("a good folder")
}

pub(crate) fn merge(
    world: &World,
    place: usize,
    memory: &MemoryBackend,
    state: &VoteState,
) -> Result<(), VoteStateError> {
    let folder = DataFolder::in_memory(memory);
    let sealed = state.clone().sealed();
    import(&folder, &config(world, place), &world.set, &sealed)
}

/// A world in which validator 1 has voted and is down, and what it said.
fn moved(durability: Durability) -> (World, VoteState) {
    let mut world = World::new(4, 1, 0, durability);
    world.submit(0, &commands(1, 1, 10));
    world.run_until_applied(10, 500 * MS);
    world.run(200 * MS);
    world.kill(1);
    let memory = world.slots[1].memory.process_kill();
    let state = take(&world, 1, &memory);
    world.slots[1].memory = memory;
    (world, state)
}

/// What the lease file of a folder says.
pub(crate) fn lease_in(memory: &MemoryBackend) -> Lease {
    let lease = LeaseFile::new(&DataFolder::in_memory(memory)).read();
    let Ok(LeaseRead::Present(bytes)) = lease else {
        panic!("{lease:?}");
    };
    LeaseContent::decode(&bytes).expect("own bytes").lease
}

fn record_of(state: &VoteState, place: usize) -> Record {
    let text = &state.records[place].record;
    let digits: Vec<u8> = (0..text.len() / 2)
        .map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).expect("hex"))
        .collect();
    wire::decode_record(&digits).expect("own bytes")
}

#[test]
fn a_moved_validator_goes_on_under_the_limits_and_words_it_had() {
    for durability in [Durability::Sync, Durability::Async] {
        let (mut world, state) = moved(durability);
        assert!(!state.is_lost && !state.records.is_empty());
        let new = MemoryBackend::new();
        merge(&world, 1, &new, &state).expect("a new folder");
        let old = std::mem::replace(&mut world.slots[1].memory, new);
        let lease = world.lease(1);
        assert!(lease.lease >= state.lease.map(Window::new) && !lease.is_lost);
        let elsewhere = state.proofs_until.map(Window::new);
        assert!(elsewhere.is_some(), "blocks were final");
        assert_eq!(lease.proofs_elsewhere, elsewhere);
        world.start(1).expect("a folder to start from");
        world.run_until_applied(10, 5_000 * MS);
        world.submit(0, &commands(1, 11, 20));
        world.run_until_applied(20, 5_000 * MS);
        world.assert_equal_states();
        assert_eq!(world.alarms(), [], "it contradicts nothing it said before");
        // The right to vote has left the folder that was moved.
        world.kill(1);
        assert_eq!(world.lease(1).proofs_elsewhere, elsewhere, "a run keeps it");
        world.slots[1].memory = old;
        assert!(world.lease(1).is_lost);
    }
}

#[test]
fn an_import_lowers_no_limit_and_can_be_repeated() {
    let (world, state) = moved(Durability::Sync);
    let memory = MemoryBackend::new();
    let higher = VoteState {
        lease: Some(90),
        abstain_until: Some(70),
        no_proposals_until: Some(80),
        incarnation: 50,
        proofs_until: Some(60),
        ..state.clone()
    };
    merge(&world, 1, &memory, &higher).expect("a new folder");
    merge(&world, 1, &memory, &state).expect("the same folder");
    let again = take(&world, 1, &memory);
    assert_eq!(
        (again.lease, again.abstain_until),
        (Some(90), Some(70)),
        "the larger of both"
    );
    assert!(again.no_proposals_until >= Some(80));
    assert!(again.incarnation >= 50, "peers refuse an older process");
    assert_eq!(again.proofs_until, Some(60), "it has not proven more here");
    assert_eq!(again.records, state.records, "each once");
}

/// What it said is not known where it comes from, so it is not known where it goes to.
#[test]
fn r13_a_state_of_a_lost_disk_makes_the_folder_lost_that_it_comes_to() {
    let (world, state) = moved(Durability::Sync);
    let lost = VoteState {
        is_lost: true,
        ..state.clone()
    };
    for is_new in [true, false] {
        let memory = MemoryBackend::new();
        if !is_new {
            merge(&world, 1, &memory, &state).expect("a new folder");
        }
        merge(&world, 1, &memory, &lost).expect("a good folder");
        assert!(lease_in(&memory).is_lost, "{is_new}");
        // Another state that is whole does not bring back what was lost.
        merge(&world, 1, &memory, &state).expect("a good folder");
        assert!(lease_in(&memory).is_lost, "{is_new}");
    }
}

/// A lease allows to add to what was said, so it must not outlive the words.
#[test]
fn power_lost_at_any_step_of_an_import_leaves_no_limits_without_the_words() {
    let (world, state) = moved(Durability::Sync);
    assert!(state.lease.is_some() && !state.records.is_empty());
    for step in 0.. {
        let memory = MemoryBackend::new();
        memory.power_off_after(step);
        let is_done = merge(&world, 1, &memory, &state).is_ok();
        let folder = DataFolder::in_memory(&memory.power_cut(|_| false));
        let found = export(&folder, &config(&world, 1), &mut |_| Ok(()));
        let has_limits = matches!(&found, Ok(found) if found.lease == state.lease);
        assert!(has_limits || !is_done, "{step}: {found:?}");
        if has_limits {
            assert_eq!(found.expect("it has").records, state.records, "{step}");
        }
        if is_done {
            assert!(step > 5, "there are several steps");
            break;
        }
    }
}

/// The words come before the lease that they stand under. Whoever repeats the import brings that.
#[test]
fn an_import_that_was_cut_short_is_not_taken_for_an_older_lease_when_it_is_repeated() {
    let (world, state) = moved(Durability::Sync);
    let less = VoteState {
        lease: None,
        records: Vec::new(),
        ..state.clone()
    };
    let mut cut_between = 0;
    for step in 0.. {
        let memory = MemoryBackend::new();
        merge(&world, 1, &memory, &less).expect("a new folder");
        memory.power_off_after(step);
        let is_done = merge(&world, 1, &memory, &state).is_ok();
        let left = memory.power_cut(|_| false);
        let is_leased = lease_in(&left).lease == state.lease.map(Window::new);
        merge(&world, 1, &left, &state).expect("a good folder");
        assert!(!lease_in(&left).is_lost, "{step}");
        let again = take(&world, 1, &left);
        assert_eq!((again.lease, &again.records), (state.lease, &state.records));
        cut_between += usize::from(!is_leased);
        if is_done {
            break;
        }
    }
    assert!(cut_between > 2, "{cut_between} steps come before the lease");
}

/// The log of a validator that has acted is more than an import leaves: its limits are lost.
#[test]
fn r13_a_log_without_its_lease_is_lost_to_an_import_of_its_own_words_too() {
    let (world, state) = moved(Durability::Sync);
    let memory = world.slots[1].memory.process_kill();
    memory.remove_file("lease");
    merge(&world, 1, &memory, &state).expect("a good log");
    assert!(lease_in(&memory).is_lost);
}

#[test]
fn r12_a_sync_that_fails_in_an_import_leaves_the_next_start_suspect() {
    let (world, state) = moved(Durability::Sync);
    let held = MemoryBackend::new();
    let none = VoteState {
        records: Vec::new(),
        ..state.clone()
    };
    merge(&world, 1, &held, &none).expect("a new folder");
    let (mut noted, mut unwritten) = (0, 0);
    for syncs in 0.. {
        let memory = held.process_kill();
        memory.fail_sync_after(syncs);
        match merge(&world, 1, &memory, &state) {
            Ok(()) => break,
            Err(VoteStateError::Folder(RecoveryError::NotSynced { is_noted, .. })) => {
                assert!(is_noted, "the next sync succeeds");
                let lease = LeaseFile::new(&DataFolder::in_memory(&memory)).read();
                let Ok(LeaseRead::Present(bytes)) = lease else {
                    panic!("{lease:?}");
                };
                assert!(LeaseContent::decode(&bytes).expect("own bytes").suspect);
                noted += 1;
            }
            // The lease file says what it said before.
            Err(VoteStateError::Folder(
                RecoveryError::LeaseWrite(_) | RecoveryError::Io { .. },
            )) => unwritten += 1,
            Err(error) => panic!("after {syncs} syncs: {error}"),
        }
    }
    assert!(noted > 3 && unwritten > 0, "{noted} {unwritten}");
}

#[test]
fn nothing_may_be_said_in_windows_of_which_the_file_knows_nothing() {
    let (world, state) = moved(Durability::Sync);
    let memory = MemoryBackend::new();
    let later = VoteState {
        complete_from: 5,
        abstain_until: None,
        records: Vec::new(),
        ..state
    };
    merge(&world, 1, &memory, &later).expect("a new folder");
    assert_eq!(take(&world, 1, &memory).abstain_until, Some(4));
}

/// What a log holds of window 0 is none of nothing, and nothing is none of window 0.
#[test]
fn the_proofs_of_the_folder_before_are_marked_as_elsewhere_from_window_0_on() {
    let (world, state) = moved(Durability::Sync);
    for proofs_until in [None, Some(0), Some(1)] {
        let memory = MemoryBackend::new();
        let moved = VoteState {
            complete_from: 0,
            records: Vec::new(),
            proofs_until,
            ..state.clone()
        };
        merge(&world, 1, &memory, &moved).expect("a new folder");
        let again = take(&world, 1, &memory);
        assert_eq!(again.proofs_until, proofs_until);
        let lease = lease_in(&memory);
        assert_eq!(lease.proofs_elsewhere, proofs_until.map(Window::new));
    }
}

#[test]
fn a_file_of_another_validator_chain_or_version_and_a_contradicting_one_are_refused() {
    let (world, state) = moved(Durability::Sync);
    let memory = MemoryBackend::new();
    let other = merge(&world, 2, &memory, &state);
    assert!(matches!(other, Err(VoteStateError::OtherValidator { .. })));
    let mut chain = state.clone();
    chain.genesis_hash.0[0] ^= 1;
    let chain = merge(&world, 1, &memory, &chain);
    assert!(matches!(chain, Err(VoteStateError::OtherChain { .. })));
    let version = VoteState {
        format: VOTE_STATE_FORMAT + 1,
        ..state.clone()
    };
    let version = merge(&world, 1, &memory, &version);
    assert!(matches!(version, Err(VoteStateError::Format(4))));
    assert_eq!(memory.file_names(), Vec::<String>::new(), "nothing is left");

    let mut rival = state.clone();
    let mut record = record_of(&state, 0);
    let (at, _) = record.tip.expect("it voted");
    record.tip = Some((at, quorate_consensus::types::BlockId::new([9; 32])));
    let mut bytes = Vec::new();
    wire::encode_record(&record, &mut bytes);
    rival.records[0].record = quorate::hex::encode(&bytes);
    let slot = world.slots[1].memory.process_kill();
    let conflict = merge(&world, 1, &slot, &rival);
    assert!(
        matches!(conflict, Err(VoteStateError::Conflict { .. })),
        "{conflict:?}"
    );
}

/// Merges the bytes of a file into a new folder; what that says afterwards, if they were taken.
fn merge_bytes(world: &World, bytes: &[u8]) -> Option<VoteState> {
    let state: VoteState = serde_json::from_slice(bytes).ok()?;
    let memory = MemoryBackend::new();
    let folder = DataFolder::in_memory(&memory);
    import(&folder, &config(world, 1), &world.set, &state).ok()?;
    drop(folder);
    Some(take(world, 1, &memory))
}

#[test]
fn a_file_of_which_any_bit_is_another_is_refused_or_says_the_same() {
    let (world, state) = moved(Durability::Sync);
    // What no file says now may not be said by a damaged one either.
    let state = VoteState {
        abstain_until: Some(12),
        no_proposals_until: Some(345),
        proofs_until: Some(67),
        ..state
    }
    .sealed();
    let bytes = serde_json::to_vec_pretty(&state).expect("it is plain");
    let whole = merge_bytes(&world, &bytes).expect("it is whole");
    let mut refused = 0;
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        match merge_bytes(&world, &flipped) {
            None => refused += 1,
            Some(said) => assert_eq!(said, whole, "bit {bit}"),
        }
    }
    assert!(refused > bytes.len() * 6, "{refused}");
}

#[test]
fn a_file_without_a_check_is_told_of_by_its_version() {
    let (world, state) = moved(Durability::Sync);
    let old = VoteState { format: 1, ..state };
    let mut old = serde_json::to_value(&old).expect("it is plain");
    old.as_object_mut().expect("fields").remove("check");
    let old: VoteState = serde_json::from_value(old).expect("the fields of format 1");
    let folder = DataFolder::in_memory(&MemoryBackend::new());
    let refused = import(&folder, &config(&world, 1), &world.set, &old);
    assert!(matches!(refused, Err(VoteStateError::Format(1))));
    // A present one has to have it, whatever else is right.
    let unchecked = VoteState {
        format: VOTE_STATE_FORMAT,
        ..old
    };
    let refused = import(&folder, &config(&world, 1), &world.set, &unchecked);
    assert!(matches!(refused, Err(VoteStateError::Damaged { .. })));
}

#[test]
fn a_record_that_contradicts_itself_is_refused() {
    let (world, state) = moved(Durability::Sync);
    let voted = record_of(&state, 0);
    let (at, id) = voted.tip.expect("it voted");
    let contradictions = [
        Record {
            fin: Some(at.next()),
            ..voted.clone()
        },
        Record {
            stop: false,
            also: vec![(Index::ZERO, id)],
            ..voted.clone()
        },
        Record {
            tip: Some((Index::new(world.set.slots()), id)),
            ..voted
        },
    ];
    for record in contradictions {
        let mut bad = state.clone();
        let mut bytes = Vec::new();
        wire::encode_record(&record, &mut bytes);
        bad.records[0].record = quorate::hex::encode(&bytes);
        let outcome = merge(&world, 1, &MemoryBackend::new(), &bad);
        let Err(VoteStateError::Record { what, .. }) = outcome else {
            panic!("{outcome:?}");
        };
        assert_eq!(what, "contradicts itself");
    }
}

#[test]
fn records_that_cannot_be_read_are_refused_by_their_window() {
    let (world, state) = moved(Durability::Sync);
    for (spoiled, what) in [("0", "hex"), ("zz", "hex"), ("00", "read")] {
        let mut bad = state.clone();
        bad.records[0].record = spoiled.to_owned();
        let outcome = merge(&world, 1, &MemoryBackend::new(), &bad);
        let Err(VoteStateError::Record { what: found, .. }) = outcome else {
            panic!("{outcome:?}");
        };
        assert!(found.contains(what), "{found}");
    }
    let mut twice = state.clone();
    twice.records.push(state.records[0].clone());
    let mut below = state.clone();
    below.complete_from = state.records[0].window + 1;
    below.records.truncate(1);
    for bad in [twice, below] {
        let outcome = merge(&world, 1, &MemoryBackend::new(), &bad);
        let Err(VoteStateError::Record { what, .. }) = outcome else {
            panic!("{outcome:?}");
        };
        assert_eq!(what, "is out of order");
    }
}

#[test]
fn what_could_not_be_kept_elsewhere_stays_where_it_is() {
    let mut world = World::new(4, 1, 0, Durability::Sync);
    world.submit(0, &commands(1, 1, 10));
    world.run_until_applied(10, 500 * MS);
    world.kill(1);
    let folder = DataFolder::in_memory(&world.slots[1].memory);
    let full = &mut |_: &VoteState| Err(KeepError::Undone(std::io::ErrorKind::StorageFull.into()));
    let outcome = export(&folder, &config(&world, 1), full);
    assert!(
        matches!(outcome, Err(VoteStateError::Keep(_))),
        "{outcome:?}"
    );
    drop(folder);
    assert!(!world.lease(1).is_lost);
}

#[test]
fn while_the_state_is_written_elsewhere_and_if_it_may_be_there_the_folder_has_no_right_to_vote() {
    let mut world = World::new(4, 1, 0, Durability::Sync);
    world.submit(0, &commands(1, 1, 10));
    world.run_until_applied(10, 500 * MS);
    world.kill(1);
    let is_lost = |memory: &MemoryBackend| lease_in(memory).is_lost;
    let memory = world.slots[1].memory.clone();
    let folder = DataFolder::in_memory(&memory);
    let mut was_lost = false;
    let outcome = export(&folder, &config(&world, 1), &mut |_| {
        // As a loss of power would leave it now.
        was_lost = is_lost(&memory.power_cut(|_| false));
        Err(KeepError::Left(std::io::ErrorKind::StorageFull.into()))
    });
    assert!(matches!(
        outcome,
        Err(VoteStateError::Keep(KeepError::Left(_)))
    ));
    assert!(was_lost && is_lost(&memory));
}

#[test]
fn the_folder_of_another_validator_gives_no_vote_state() {
    let (world, _) = moved(Durability::Sync);
    let folder = DataFolder::in_memory(&world.slots[1].memory);
    let outcome = export(&folder, &config(&world, 0), &mut |_| Ok(()));
    assert!(matches!(
        outcome,
        Err(VoteStateError::Folder(RecoveryError::OtherValidator { .. }))
    ));
}
