//! Folders before their first start: how one is made, and whose a start refuses.

use quorate::recovery::{RecoveryError, initialize};
use quorate::replica::Replica;
use quorate_consensus::machine::Durability;
use quorate_log::{DataFolder, LogConfig, MemoryBackend};

use crate::recovery::open;
use crate::world::{GENESIS, MS, Tape, World, commands, index, log_config};

#[test]
fn r12_the_folder_of_another_validator_is_refused_and_left_as_it_is() {
    let mut world = World::new(4, 1, 0, Durability::Sync);
    world.submit(0, &commands(1, 1, 3));
    world.run_until_applied(3, 500 * MS);
    world.kill(1);
    let memory = world.slots[1].memory.process_kill();
    let before = memory.file("lease");
    let outcome = open(&world, &memory, GENESIS);
    let member = |place| world.set.validator(index(place)).expect("a member").key;
    assert!(
        matches!(
            outcome,
            Err(RecoveryError::OtherValidator { owner, own })
                if owner == member(1) && own == member(0)
        ),
        "{outcome:?}"
    );
    assert_eq!(memory.file("lease"), before);
}

#[test]
fn a_folder_is_initialized_once_and_an_interrupted_try_can_be_repeated() {
    let memory = MemoryBackend::new();
    let folder = || DataFolder::in_memory(&memory);
    initialize(&folder(), &log_config(), GENESIS, [0; 16], [1; 32]).expect("a new folder");
    let again = initialize(&folder(), &log_config(), GENESIS, [0; 16], [1; 32]);
    assert!(matches!(again, Err(RecoveryError::AlreadyInitialized)));
    // As if the first call had been cut short before the lease.
    memory.remove_file("lease");
    initialize(&folder(), &log_config(), GENESIS, [0; 16], [1; 32])
        .expect("nothing was signed yet");
}

/// What it said once cannot be read, and is said all the same: an empty lease would forget it.
#[test]
fn r13_a_folder_whose_lease_is_damaged_is_not_initialized_anew() {
    for has_log in [true, false] {
        let memory = MemoryBackend::new();
        let folder = || DataFolder::in_memory(&memory);
        initialize(&folder(), &log_config(), GENESIS, [0; 16], [1; 32]).expect("a new folder");
        for name in memory.file_names() {
            if !has_log && name != "lease" {
                memory.remove_file(&name);
            }
        }
        let mut damaged = memory.file("lease").expect("it was written");
        damaged[9] ^= 1;
        memory.set_file("lease", &damaged);
        let names = memory.file_names();
        let again = initialize(&folder(), &log_config(), GENESIS, [0; 16], [1; 32]);
        assert!(
            matches!(again, Err(RecoveryError::AlreadyInitialized)),
            "{again:?}"
        );
        assert_eq!(memory.file("lease"), Some(damaged));
        assert_eq!(memory.file_names(), names);
    }
}

#[test]
fn segments_too_small_for_the_largest_block_are_refused_at_the_start() {
    let world = World::new(4, 1, 0, Durability::Sync);
    let memory = MemoryBackend::new();
    let small = LogConfig {
        segment_bytes: 64 * 1024,
        ..log_config()
    };
    initialize(
        &DataFolder::in_memory(&memory),
        &small,
        GENESIS,
        [0; 16],
        world.set.validator(index(0)).expect("a member").key,
    )
    .expect("a new folder");
    let mut config = world.config(0);
    config.log = small;
    let opened = Replica::open(
        &DataFolder::in_memory(&memory),
        &config,
        Tape::default(),
        world.now,
    );
    assert!(matches!(
        opened,
        Err(RecoveryError::SegmentsTooSmall { .. })
    ));
}
