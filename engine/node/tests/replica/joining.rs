//! A validator that goes on from a snapshot of its peers: what the log then begins with, and that
//! nothing it ever said is forgotten.

#![expect(clippy::unwrap_used, reason = "tests may unwrap")]

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use quorate::join::Joiner;
use quorate::journal::{KIND_BASE, KIND_RECORD};
use quorate::recovery::{RecoveryError, declare_lost};
use quorate::serving::Serving;
use quorate::shadow::statement_of;
use quorate::snapshot::{self, MemoryDisk, Origin, SnapshotFolder};
use quorate_consensus::attestation::StateCertificate;
use quorate_consensus::machine::Durability;
use quorate_consensus::message::BlockRef;
use quorate_consensus::restart;
use quorate_consensus::signing::{self, Signer as _};
use quorate_consensus::types::Window;
use quorate_consensus::wire;
use quorate_log::{DataFolder, LeaseFile, LeaseRead, MemoryBackend};

use crate::moving::{merge, take};
use crate::repair::damage_the_middle;
use crate::world::{GENESIS, MS, World, commands, index, log_config};

static COUNT: AtomicU64 = AtomicU64::new(0);

/// A folder of snapshots, removed when dropped.
struct Snapshots {
    path: PathBuf,
    folder: SnapshotFolder,
}

impl Snapshots {
    fn new() -> Self {
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("quorate-joining-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        let folder = SnapshotFolder::new(path.join("snapshots"));
        Self { path, folder }
    }

    /// On a simulated disk, with no folder to remove.
    fn on(disk: &MemoryDisk) -> Self {
        Self {
            path: PathBuf::new(),
            folder: SnapshotFolder::in_memory(disk),
        }
    }
}

impl Drop for Snapshots {
    fn drop(&mut self) {
        if !self.path.as_os_str().is_empty() {
            drop(std::fs::remove_dir_all(&self.path));
        }
    }
}

/// Takes a snapshot of validator 0's state, with a certificate of validators 0 and 1.
fn take_snapshot(world: &mut World, into: &Snapshots) -> u64 {
    world.run_until("a state between two blocks", 20_000 * MS, |world| {
        let (_, running) = world.up().next().expect("validator 0 is up");
        let finalized = running.replica.consensus().finalized();
        running.replica.executor().height() == finalized.height.number()
    });
    let finalized = world.replica(0).consensus().finalized();
    let top = BlockRef {
        height: finalized.height,
        id: finalized.id,
    };
    let headers = world.replica(0).order().store().history(&top, 1).unwrap();
    let origin = Origin::of(&world.set);
    let executor = world.replica(0).executor_mut();
    let manifest = snapshot::take(executor, &headers[0], &origin, &into.folder).unwrap();
    let statement = statement_of(&manifest);
    let signatures = [0, 1].map(|signer| {
        let mut message = Vec::new();
        signing::state_message(&world.set, index(signer), &statement, &mut message);
        (index(signer), world.keys[signer].sign(&message))
    });
    let certificate = StateCertificate {
        statement,
        signatures: signatures.to_vec(),
    };
    let mut bytes = Vec::new();
    wire::encode_state_certificate(&certificate, &mut bytes);
    into.folder
        .put_certificate(manifest.height(), &bytes)
        .unwrap();
    manifest.height()
}

/// Fetches the newest snapshot of one folder into another, as validator 3.
fn fetch(world: &World, from: &Snapshots, into: &Snapshots) -> u64 {
    let mut serving = Serving::new(from.folder.clone());
    let (set, folder) = (Arc::clone(&world.set), into.folder.clone());
    let mut joiner = Joiner::new(set, index(3), folder, 1, 1).unwrap();
    for step in 1..1000 {
        let (now_ns, mut said) = (step * 100 * MS, Vec::new());
        if let Some(height) = joiner.turn(now_ns, 1, &mut said).unwrap() {
            return height;
        }
        for (_, part) in said {
            if let Some(answer) = serving.answer(now_ns, index(3), &part) {
                joiner.take(now_ns, index(0), answer).unwrap();
            }
        }
    }
    panic!("nothing came: {joiner:?}");
}

/// A world in which validator 3 is down and cannot have the log of the others: they go on without
/// it, and what it fetches is of a block far above its own.
struct Scene {
    world: World,
    here: Snapshots,
    height: u64,
    /// Height that validator 3 had itself.
    had: u64,
}

impl Scene {
    fn new() -> Self {
        let mut world = World::new(4, 1, 0, Durability::Sync);
        world.submit(0, &commands(1, 1, 10));
        world.run_until_applied(10, 500 * MS);
        world.run(300 * MS);
        let had = world.replica(3).executor().height();
        world.stop(3);
        world.submit(0, &commands(1, 11, 60));
        world.run_until_applied(60, 20_000 * MS);
        let (there, here) = (Snapshots::new(), Snapshots::new());
        let height = take_snapshot(&mut world, &there);
        assert!(height > had);
        assert_eq!(fetch(&world, &there, &here), height);
        world.slots[3].snapshots = Some(here.folder.clone());
        Self {
            world,
            here,
            height,
            had,
        }
    }

    fn kinds(&self) -> Vec<u16> {
        let folder = DataFolder::in_memory(&self.world.slots[3].memory);
        let opened = quorate_log::open(&folder, &log_config(), GENESIS).unwrap();
        let kinds = opened.reader.iter();
        kinds
            .map(|record| record.unwrap().kind().number())
            .collect()
    }

    /// Validator 3 is where the others are, with their state, and votes.
    fn assert_joined(&mut self) {
        let world = &mut self.world;
        world.run_until(
            "validator 3 is where the others are",
            60_000 * MS,
            |world| {
                let mut heights = world
                    .up()
                    .map(|(_, running)| running.replica.executor().height());
                let first = heights.next();
                let is_voting = |(_, running): (_, &crate::world::Running)| {
                    running.replica.consensus().is_voting()
                };
                heights.all(|height| Some(height) == first) && world.up().all(is_voting)
            },
        );
        let root = world.replica(0).executor_mut().root();
        assert_eq!(world.replica(3).executor_mut().root(), root);
    }
}

#[test]
fn a_validator_goes_on_from_a_snapshot_of_its_peers_and_votes() {
    let mut scene = Scene::new();
    scene.world.start(3).unwrap();
    let consensus = scene.world.replica(3).consensus();
    assert_eq!(consensus.delivered().number(), scene.height);
    // The note is gone: from now on the log has to reach the snapshot.
    let manifest = scene.here.folder.manifest(scene.height).unwrap();
    assert!(!scene.here.folder.is_fetched(&manifest).unwrap());
    scene.assert_joined();
    // What stands below the base was never executed here again.
    assert_eq!(scene.world.applied(3).len(), 0);
    // The others cannot go on without it.
    scene.world.stop(2);
    scene.world.submit(0, &commands(1, 61, 70));
    scene
        .world
        .run_until("votes of validator 3 count", 60_000 * MS, |world| {
            world.applied(0).len() >= 70 && world.applied(3).len() >= 10
        });
    scene.assert_joined();
    // And the log it has from there on is one to start from, and one to serve from.
    let height = scene.world.replica(3).executor().height();
    let finalized = scene.world.replica(3).consensus().finalized();
    scene.world.kill(3);
    scene.world.start(3).unwrap();
    assert_eq!(scene.world.replica(3).executor().height(), height);
    let top = BlockRef {
        height: finalized.height,
        id: finalized.id,
    };
    let store = scene.world.replica(3).order().store();
    let headers = store.history(&top, 10_000).unwrap();
    let lowest = headers.last().unwrap();
    assert_eq!(lowest.height.number(), scene.height + 1);
    let below = BlockRef {
        height: lowest.height.previous().unwrap(),
        id: lowest.parent_id,
    };
    assert!(store.history(&below, 10).unwrap().is_empty());
    // In the window of the base too, whose first blocks stand in no log of its own.
    scene.world.submit(0, &commands(1, 71, 75));
    scene
        .world
        .run_until("its votes count after that start", 60_000 * MS, |world| {
            world.applied(0).len() >= 75
        });
    scene.world.kill(3);
    assert!(scene.kinds().contains(&KIND_BASE.number()));
}

#[test]
fn joining_keeps_every_word_and_every_limit() {
    let mut scene = Scene::new();
    let lease = scene.world.lease(3);
    let words = |scene: &Scene| {
        let kinds = scene.kinds().into_iter();
        kinds.filter(|&kind| kind == KIND_RECORD.number()).count()
    };
    let said = words(&scene);
    assert!(said > 0 && scene.had > 0);
    // What an ordinary start from the same disk would hold to.
    let memory = scene.world.slots[3].memory.process_kill();
    let snapshots = scene.world.slots[3].snapshots.take();
    scene.world.start(3).unwrap();
    let records = |world: &mut World| {
        let consensus = world.replica(3).consensus();
        let proven = consensus.proven().window;
        let windows = (proven.number()..proven.number() + 1000).map(Window::new);
        let own =
            windows.filter_map(|window| Some((window, consensus.own_record(window)?.clone())));
        (
            proven,
            own.filter(|(_, own)| !own.is_empty()).collect::<Vec<_>>(),
        )
    };
    let usual = records(&mut scene.world);
    assert!(
        !usual.1.is_empty(),
        "it has said something that still binds"
    );
    scene.world.kill(3);
    scene.world.slots[3].memory = memory;
    scene.world.slots[3].snapshots = snapshots;
    scene.world.start(3).unwrap();
    assert_eq!(records(&mut scene.world), usual);
    let after = scene.world.lease(3);
    assert!(after.lease >= lease.lease && after.abstain_until >= lease.abstain_until);
    assert!(after.no_proposals_until >= lease.no_proposals_until);
    scene.world.kill(3);
    assert!(words(&scene) >= said);
}

#[test]
fn a_lost_disk_is_recovered_from_peers_whatever_snapshot_it_begins_with() {
    let mut scene = Scene::new();
    // The folder is gone. Whether the key has signed only an operator can say.
    scene.world.slots[3].memory = MemoryBackend::new();
    assert!(matches!(
        scene.world.start(3),
        Err(RecoveryError::LeaseMissing)
    ));
    let folder = DataFolder::in_memory(&scene.world.slots[3].memory);
    let owner = scene.world.keys[3].public();
    declare_lost(&folder, &log_config(), GENESIS, [5; 16], owner).unwrap();
    scene.world.start(3).unwrap();
    let consensus = scene.world.replica(3).consensus();
    assert_eq!(consensus.delivered().number(), scene.height);
    assert!(consensus.is_lost() && !consensus.is_voting());
    // R13 finds from which window on it may speak, and only then it does.
    scene.world.submit(0, &commands(1, 61, 65));
    scene.assert_joined();
    assert!(scene.world.lease(3).abstain_until.is_some());
}

#[test]
fn a_snapshot_above_the_log_that_peers_did_not_vouch_for_is_a_log_that_lost_its_end() {
    for is_noted in [false, true] {
        let mut scene = Scene::new();
        let (folder, height) = (&scene.here.folder, scene.height);
        if is_noted {
            // The note alone proves nothing: one signer is not enough.
            let bytes = folder.certificate(height).unwrap().unwrap();
            let mut certificate = wire::decode_state_certificate(&bytes).unwrap();
            certificate.signatures.pop();
            let mut bytes = Vec::new();
            wire::encode_state_certificate(&certificate, &mut bytes);
            folder.put_certificate(height, &bytes).unwrap();
        } else {
            folder.settle_fetched(height).unwrap();
        }
        let before = scene.kinds();
        let refused = scene.world.start(3).err();
        assert!(
            matches!(refused, Some(RecoveryError::SnapshotAhead { .. })),
            "{refused:?}"
        );
        assert_eq!(scene.kinds(), before, "the log was changed");
    }
}

#[test]
fn a_log_that_begins_with_a_snapshot_is_refused_without_it() {
    let mut scene = Scene::new();
    scene.world.start(3).unwrap();
    scene.assert_joined();
    scene.world.stop(3);
    scene.here.folder.remove(scene.height).unwrap();
    let refused = scene.world.start(3).err();
    let Some(RecoveryError::BaseMissing { first }) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(first, scene.height);
}

#[test]
fn a_crash_before_the_log_has_the_snapshot_begins_with_it_again() {
    let mut scene = Scene::new();
    let memory = scene.world.slots[3].memory.process_kill();
    scene.world.start(3).unwrap();
    // Nothing of that start reached the disk, and the note is there again.
    scene.world.kill(3);
    scene.world.slots[3].memory = memory;
    let there = Snapshots::new();
    std::fs::remove_dir_all(scene.here.folder.path()).unwrap();
    let height = take_snapshot(&mut scene.world, &there);
    assert_eq!(fetch(&scene.world, &there, &scene.here), height);
    scene.world.start(3).unwrap();
    scene.assert_joined();
    // A second base above the first, when it was away for too long again.
    scene.world.stop(3);
    let (had, first) = (scene.had, height);
    scene.world.submit(0, &commands(1, 61, 120));
    scene.world.run_until_applied(120, 60_000 * MS);
    let there = Snapshots::new();
    let height = take_snapshot(&mut scene.world, &there);
    assert!(had < first && first < height);
    assert_eq!(fetch(&scene.world, &there, &scene.here), height);
    scene.world.start(3).unwrap();
    scene.assert_joined();
    scene.world.kill(3);
    let bases = scene.kinds().into_iter();
    let bases = bases.filter(|&kind| kind == KIND_BASE.number()).count();
    assert_eq!(bases, 2);
    scene.world.start(3).unwrap();
    scene.assert_joined();
}

/// From then on nothing else says that the log goes on from it.
#[test]
fn power_lost_right_after_a_start_from_a_snapshot_takes_nothing_of_it_back() {
    let mut scene = Scene::new();
    let manifest = scene.here.folder.manifest(scene.height).unwrap();
    assert!(scene.here.folder.is_fetched(&manifest).unwrap());
    scene.world.start(3).unwrap();
    assert!(!scene.here.folder.is_fetched(&manifest).unwrap());
    scene.world.power_cut(3);
    scene.world.start(3).unwrap();
    assert_eq!(scene.world.replica(3).executor().height(), scene.height);
    scene.assert_joined();
}

/// What a failed sync left in memory may be read back and not be there after the next power cut.
#[test]
fn r12_a_sync_that_fails_when_the_log_is_to_begin_anew_leaves_the_next_start_suspect() {
    let mut scene = Scene::new();
    let stopped = scene.world.slots[3].memory.process_kill();
    let mut noted = 0;
    for syncs in 0.. {
        let memory = stopped.process_kill();
        scene.world.slots[3].memory = memory.clone();
        memory.fail_sync_after(syncs);
        match scene.world.start(3) {
            Ok(()) => break,
            Err(RecoveryError::Base { is_noted, .. }) => {
                assert!(is_noted, "the next sync succeeds");
                let after = memory.power_cut(|_| false);
                let file = LeaseFile::new(&DataFolder::in_memory(&after));
                let Ok(LeaseRead::Present(bytes)) = file.read() else {
                    panic!("its lease is there");
                };
                let content = restart::LeaseFile::decode(&bytes).unwrap();
                assert!(content.suspect, "after {syncs} syncs");
                noted += 1;
            }
            Err(RecoveryError::NotSynced { is_noted, .. }) => assert!(is_noted),
            // The lease file says what it said before, and the log is as it was.
            Err(RecoveryError::LeaseWrite(_) | RecoveryError::Io { .. }) => {}
            Err(error) => panic!("after {syncs} syncs: {error}"),
        }
    }
    assert!(noted > 0);
}

#[test]
fn a_base_of_another_snapshot_is_refused() {
    for is_other_root in [true, false] {
        let mut scene = Scene::new();
        scene.world.start(3).unwrap();
        scene.world.stop(3);
        // The same block with another state, or another height's block in its place.
        let folder = &scene.here.folder;
        let mut manifest = folder.manifest(scene.height).unwrap();
        if !is_other_root {
            manifest.header.time_ns += 1;
        }
        let mut sections = Vec::new();
        let mut reader = folder.open(scene.height).unwrap();
        for section in 0..manifest.sections.len() {
            sections.push(reader.section(section).unwrap());
        }
        if is_other_root {
            // An application's section, and its root with it.
            let last = sections.len() - 1;
            sections[last][0] ^= 1;
            manifest.sections[last].root = sections[last].clone().try_into().unwrap();
        }
        let mut writer = folder.write(scene.height).unwrap();
        for section in &sections {
            writer.push(section).unwrap();
        }
        writer.finish(manifest).unwrap();
        let refused = scene.world.start(3).err();
        let Some(RecoveryError::Order { what, .. }) = refused else {
            panic!("{refused:?}");
        };
        assert!(what.contains("snapshot"), "{what}");
    }
}

/// What was damaged is below the snapshot's block: the marks that led to it are lost with it.
#[test]
fn a_log_that_is_damaged_below_a_snapshot_goes_on_from_it_if_peers_vouch_for_it() {
    let mut world = World::new(4, 1, 0, Durability::Sync);
    say(&mut world, 0..6);
    // Its own: it was taken here, and is noted as nobody's.
    let own = Snapshots::new();
    let height = take_snapshot(&mut world, &own);
    let lease = stop_at(&mut world, height);
    damage_the_middle(&world.slots[3].memory);
    world.slots[3].snapshots = Some(own.folder.clone());
    world.start(3).unwrap();
    assert_eq!(world.replica(3).executor().height(), height);
    // R12: votes may be among what was lost.
    assert_eq!(world.lease(3).abstain_until, lease);
    world.submit(0, &commands(1, 61, 65));
    let mut scene = Scene {
        world,
        here: own,
        height,
        had: 0,
    };
    scene.assert_joined();
    scene.world.stop(3);
    scene.world.start(3).unwrap();
    scene.assert_joined();
}

/// Rounds of ten commands each, all of which are applied.
fn say(world: &mut World, rounds: std::ops::Range<u64>) {
    for round in rounds.clone() {
        world.submit(0, &commands(1, 10 * round + 1, 10 * round + 10));
        world.run(20 * MS);
    }
    world.run_until_applied(10 * rounds.end as usize, 20_000 * MS);
}

/// Stops validator 3 when it has the block of a height; how far it was leased.
fn stop_at(world: &mut World, height: u64) -> Option<Window> {
    world.run_until("validator 3 has its block", 20_000 * MS, |world| {
        let mut up = world.up();
        up.all(|(_, running)| running.replica.executor().height() >= height)
    });
    world.run(100 * MS);
    let lease = world.lease(3).lease;
    world.stop(3);
    lease
}

/// Damage that comes before the peers have attested the newest snapshot leaves that one of no use.
#[test]
fn r12_a_log_damaged_below_a_snapshot_that_nobody_vouches_for_goes_on_from_what_is_below() {
    for has_lower in [true, false] {
        let mut world = World::new(4, 1, 0, Durability::Sync);
        let own = Snapshots::new();
        say(&mut world, 0..2);
        let lower = has_lower.then(|| take_snapshot(&mut world, &own));
        say(&mut world, 2..8);
        let height = take_snapshot(&mut world, &own);
        own.folder.put_certificate(height, b"none").unwrap();
        let lease = stop_at(&mut world, height);
        damage_the_middle(&world.slots[3].memory);
        world.slots[3].snapshots = Some(own.folder.clone());
        world.start(3).unwrap();
        let reached = world.replica(3).executor().height();
        assert!(lower <= Some(reached) && reached > 0 && reached < height);
        assert_eq!(world.lease(3).abstain_until, lease);
        // The next start does not take it for what shows that the log has lost its end.
        assert!(own.folder.heights().unwrap().into_iter().eq(lower));
        world.run(200 * MS);
        world.kill(3);
        world.start(3).unwrap();
        world.submit(0, &commands(1, 81, 85));
        let mut scene = Scene {
            world,
            here: own,
            height,
            had: reached,
        };
        scene.assert_joined();
        assert!(scene.world.replica(3).executor().height() > height);
        assert_eq!(scene.world.alarms(), []);
    }
}

/// R12: once the log has the snapshot that it goes on from, nothing says any more that it was
/// damaged: what nobody vouches for above that snapshot must be gone by then, and the windows in
/// which it may not vote be in the lease file.
#[test]
fn r12_power_lost_at_any_step_of_a_start_above_damage_leaves_one_that_starts() {
    let mut world = World::new(4, 1, 0, Durability::Sync);
    say(&mut world, 0..6);
    let disk = MemoryDisk::new(&world.slots[3].memory);
    let own = Snapshots::on(&disk);
    let height = take_snapshot(&mut world, &own);
    say(&mut world, 6..8);
    let higher = take_snapshot(&mut world, &own);
    assert!(higher > height);
    own.folder.put_certificate(higher, b"none").unwrap();
    let lease = stop_at(&mut world, higher);
    assert!(lease.is_some() && world.lease(3).abstain_until.is_none());
    damage_the_middle(&world.slots[3].memory);
    let stopped = world.slots[3].memory.process_kill();
    let dies = |world: &mut World, steps, is_power_cut| {
        let memory = stopped.process_kill();
        let there = disk.process_kill(&memory);
        world.slots[3].memory = memory.clone();
        world.slots[3].snapshots = Some(SnapshotFolder::in_memory(&there));
        memory.power_off_after(steps);
        let is_done = world.start(3).is_ok();
        if is_done {
            world.kill(3);
        }
        let memory = match is_power_cut {
            true => memory.power_cut(|_| false),
            false => memory.process_kill(),
        };
        let snapshots = match is_power_cut {
            true => there.power_cut(&memory, |_| false),
            false => there.process_kill(&memory),
        };
        world.slots[3].memory = memory;
        world.slots[3].snapshots = Some(SnapshotFolder::in_memory(&snapshots));
        is_done
    };
    for steps in 0.. {
        let mut is_done = false;
        for is_power_cut in [false, true] {
            is_done = dies(&mut world, steps, is_power_cut);
            let started = world.start(3);
            assert!(started.is_ok(), "after {steps} steps: {started:?}");
            assert_eq!(world.replica(3).executor().height(), height);
            world.kill(3);
            // It is what keeps it from voting in this run and the next ones.
            let found = world.lease(3);
            assert!(
                !found.is_lost && found.abstain_until == lease,
                "after {steps} steps: {found:?}"
            );
        }
        if is_done {
            assert!(steps > 10, "{steps} steps are not all of a start");
            return;
        }
    }
}

/// It may have shown the snapshot's proof to its peers, as if its own log reached so far.
#[test]
fn the_proofs_up_to_the_snapshot_that_a_moved_validator_began_with_are_elsewhere() {
    let mut scene = Scene::new();
    scene.world.slots[3].memory = MemoryBackend::new();
    let folder = DataFolder::in_memory(&scene.world.slots[3].memory);
    let owner = scene.world.keys[3].public();
    declare_lost(&folder, &log_config(), GENESIS, [5; 16], owner).unwrap();
    let proofs_in = |world: &World| take(world, 3, &world.slots[3].memory.process_kill());
    assert_eq!(proofs_in(&scene.world).proofs_until, None);
    scene.world.start(3).unwrap();
    scene.world.kill(3);
    let manifest = scene.here.folder.manifest(scene.height).unwrap();
    let window = manifest.header.window;
    let state = proofs_in(&scene.world);
    assert_eq!(state.proofs_until, Some(window.number()));
    let new = MemoryBackend::new();
    merge(&scene.world, 3, &new, &state).unwrap();
    scene.world.slots[3].memory = new;
    assert_eq!(scene.world.lease(3).proofs_elsewhere, Some(window));
}
