//! What genesis and configuration say reaches the parts that go by it.

use super::*;
use crate::genesis::{ChainLimits, GenesisPlan};
use crate::profiles::Profile;
use crate::testing::{TemporaryFolder, plan_of_stakes};

/// The configuration of a validator of a chain with such bounds, changed like that.
fn config(limits: ChainLimits, change: impl FnOnce(&mut NodeConfig)) -> ReplicaConfig {
    let folder = TemporaryFolder::new("start-config");
    let (plan, mut keys) = plan_of_stakes(&[1; 4]);
    let genesis = Genesis::build(GenesisPlan { limits, ..plan }).unwrap();
    let key = keys.swap_remove(2);
    let mut config = NodeConfig::embed(genesis, key, folder.path(), Profile::Laptop).unwrap();
    change(&mut config);
    replica_config(&config).unwrap()
}

#[test]
fn the_bounds_of_the_chain_and_of_the_validator_reach_its_pool() {
    let limits = ChainLimits {
        command_bytes_max: 1_000,
        payload_bytes_max: 70_000,
        block_commands_max: 7,
        sessions_max: 5,
        ..ChainLimits::default()
    };
    let lanes = config(limits, |config| {
        config.limits.pool_commands_max = 11;
        config.limits.pool_bytes_max = 2 << 20;
        config.timers.hold_ns = 13;
        config.timers.fan_out_ns = 17;
    })
    .lanes;
    assert_eq!(lanes.command_bytes_max, 1_000);
    assert_eq!(lanes.payload_bytes_max, 70_000);
    assert_eq!(lanes.block_commands_max, 7);
    assert_eq!(lanes.sessions_max, 5);
    assert_eq!((lanes.commands_max, lanes.bytes_max), (11, 2 << 20));
    assert_eq!((lanes.hold_ns, lanes.fan_ns), (13, 17));
}

#[test]
fn what_a_validator_is_configured_to_keep_and_to_sync_reaches_it() {
    let of = |durability: Durability| {
        config(ChainLimits::default(), |config| {
            config.durability = durability;
            config.limits.public_bytes_max = 3 << 20;
            config.limits.private_bytes_max = 5 << 20;
            config.snapshots.every_heights = 192;
        })
    };
    let sync = of(Durability::Sync);
    assert_eq!(sync.durability, machine::Durability::Sync);
    assert_eq!(of(Durability::Async).durability, machine::Durability::Async);
    assert_eq!(sync.own.number(), 2);
    let kept = (sync.public_bytes_max, sync.private_bytes_max);
    assert_eq!(kept, (3 << 20, 5 << 20));
    assert_eq!(sync.snapshot_heights, 192);
}

#[test]
fn segments_are_filled_with_zeros_where_votes_wait_for_syncs_and_nowhere_else() {
    for durability in [Durability::Sync, Durability::Async] {
        let replica = config(ChainLimits::default(), |config| {
            config.durability = durability;
        });
        let reserves = durability == Durability::Async;
        assert_eq!(replica.log.reserves_room, reserves, "{durability:?}");
    }
}
