//! Snapshots, and the archives that they wait for.

use std::sync::atomic::Ordering;

use super::*;

/// Or a start from it would never come to those that a power cut took back.
#[test]
fn no_snapshot_is_taken_before_the_public_events_up_to_its_block_are_durable() {
    let mut scene = Scene::new();
    let archived = Arc::<Archived>::default();
    let mut shadow = scene.shadow(64, None).behind(vec![Arc::clone(&archived)]);
    scene.append_to(100);
    scene.sync();
    assert!(taken(&mut shadow).is_empty());
    assert_eq!(shadow.height(), 63);
    assert!(shadow.folder.heights().unwrap().is_empty());
    // Nothing more is archived in this run: a start from below executes it again.
    archived.fail();
    assert!(taken(&mut shadow).is_empty());
    archived.synced.store(101, Ordering::Release);
    assert_eq!(taken(&mut shadow).len(), 1);
    assert_eq!(shadow.height(), 100);
}

/// That of private outputs is asked however far that of public events is, and is told that somebody
/// waits.
#[test]
fn no_snapshot_is_taken_before_the_last_of_two_archives_is_durable_up_to_its_block() {
    for last in [0, 1] {
        let mut scene = Scene::new();
        let archived = [(); 2].map(|()| Arc::<Archived>::default());
        let mut shadow = scene.shadow(64, None).behind(archived.to_vec());
        scene.append_to(100);
        scene.sync();
        assert!(taken(&mut shadow).is_empty());
        let wanted = archived
            .each_ref()
            .map(|one| one.wanted.load(Ordering::Acquire));
        assert_eq!(wanted, [65; 2], "each is told");
        archived[1 - last].synced.store(101, Ordering::Release);
        assert!(taken(&mut shadow).is_empty(), "{last}");
        archived[last].synced.store(101, Ordering::Release);
        assert_eq!(taken(&mut shadow).len(), 1);
    }
}

/// Neither an archive that ended, nor one whose disk is full while there is room for the log. One
/// that has fallen behind for a moment is waited for however large the log is.
#[test]
fn a_log_beyond_its_budget_does_not_grow_for_an_archive_that_is_held_up() {
    for bytes_max in [0, 1, u64::MAX] {
        for (hold_up, is_waited_for) in [
            (None, true),
            (Some(Archived::fail as fn(&Archived)), bytes_max != 1),
            (
                Some(|archived| assert!(archived.begin_waiting())),
                bytes_max != 1,
            ),
        ] {
            let mut scene = Scene::new();
            let archived = Arc::<Archived>::default();
            let (reader, served) = (scene.reader.clone(), Arc::clone(&scene.served));
            let pruning = Pruning::new(scene.pruner.take().unwrap(), reader, served, bytes_max);
            let shadow = scene.shadow(64, None).with_pruning(pruning);
            let mut shadow = shadow.behind(vec![Arc::clone(&archived)]);
            scene.append_to(100);
            scene.sync();
            hold_up.iter().for_each(|hold_up| hold_up(&archived));
            assert_eq!(taken(&mut shadow).is_empty(), is_waited_for, "{bytes_max}");
        }
    }
}
