//! Applications whose snapshots lack a part of the state.

use super::*;
use crate::snapshot::MemoryDisk;
use crate::snapshot_work::LOOK;
use crate::testing::logged;

/// What the snapshot lacks of it.
#[derive(Clone, Copy, Debug)]
enum Forgets {
    /// What the root covers: no start gets past such a snapshot.
    Sum,
    /// What neither root nor snapshot has, and outputs tell: what is told changes with a start.
    Told,
    /// The same, and restoring leaves it in its place: one that goes on in the same instance
    /// forgets nothing before a start.
    Left,
}

/// Counts commands, twice over.
#[derive(Debug)]
struct Forgetful {
    forgets: Forgets,
    count: u64,
    sum: u64,
    told: u64,
}

impl Forgetful {
    const fn new(forgets: Forgets) -> Self {
        Self {
            forgets,
            count: 0,
            sum: 0,
            told: 0,
        }
    }

    const fn tells(&self) -> bool {
        matches!(self.forgets, Forgets::Told | Forgets::Left)
    }
}

impl StateMachine for Forgetful {
    fn sections(&self) -> &'static [&'static str] {
        &["sum"]
    }

    fn apply(&mut self, context: &Context, _: &[u8], output: &mut Output) {
        self.count += 1;
        self.sum += self.count;
        self.told += 1;
        if self.tells() {
            output.to_session(context.session, &self.told.to_le_bytes());
        }
    }

    fn section_root(&mut self, _: usize) -> [u8; 32] {
        let both = [self.count.to_le_bytes(), self.sum.to_le_bytes()].concat();
        *blake3::hash(&both).as_bytes()
    }

    fn snapshot_section(&self, _: usize, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.count.to_le_bytes());
        if self.tells() {
            bytes.extend_from_slice(&self.sum.to_le_bytes());
        }
    }

    fn restore_section(&mut self, _: usize, bytes: &[u8]) -> Result<(), String> {
        let left = match self.forgets {
            Forgets::Left => self.told,
            Forgets::Sum | Forgets::Told => 0,
        };
        *self = Self::new(self.forgets);
        self.told = left;
        let (count, sum) = bytes.split_first_chunk().ok_or("no count")?;
        self.count = u64::from_le_bytes(*count);
        self.sum = sum.first_chunk().map_or(0, |sum| u64::from_le_bytes(*sum));
        Ok(())
    }

    fn query(&self, _: &[u8], _: &mut Vec<u8>) {}
}

/// Every validator would write the same bytes, so all would vouch for them, and let the log go.
#[test]
fn of_a_state_that_is_not_restored_nothing_is_attested_and_nothing_pruned() {
    let mut scene = Scene::new();
    let pruning = scene.pruning(1 << 16);
    let shadow = scene.shadow_of(Forgetful::new(Forgets::Sum), 256, None);
    let folder = shadow.folder.clone();
    let shadow = shadow.with_pruning(pruning);
    scene.append_to(700);
    scene.prove(1);
    scene.append_to(1024);
    scene.sync();
    let mut work = scene.work(shadow);
    let (mut inputs, mut now) = (Vec::new(), std::time::Instant::now());
    for turn in 0..100 {
        now += LOOK;
        work.turn(turn, now, true, &mut inputs).unwrap();
    }
    assert!(inputs.is_empty(), "{inputs:?}");
    assert!(folder.heights().unwrap().is_empty());
    assert_eq!(work.metrics().alarms.read(), 1, "it is said, once");
    assert_eq!(scene.first(), 0, "the log is all that is left");
    assert_eq!(work.shadow_mut().next_due(), None);
}

/// Where a shadow differs from the first instance after its first snapshot, which it goes on from
/// in itself or, with `fresh`, in another instance.
fn differences_after(forgets: Forgets, fresh: Option<Fresh<Forgetful>>) -> Vec<usize> {
    let mut scene = Scene::new();
    scene.append_to(128);
    scene.sync();
    let shadow_of = |every| scene.shadow_of(Forgetful::new(forgets), every, None);
    let (mut first, mut shadow) = (shadow_of(0), shadow_of(64).afresh(fresh));
    let [before, after] = &taken(&mut shadow)[..] else {
        panic!("two are due");
    };
    while first.height() < 64 {
        first.advance(1).unwrap();
    }
    let root = first.executor.root().statement(before.id, before.snapshot);
    assert_eq!(*before, root);
    assert!(taken(&mut first).is_empty());
    let root = first.executor.root().statement(after.id, after.snapshot);
    quorate_consensus::attestation::differences(&root, after).collect()
}

/// Sessions keep the hash of what they were told.
const TOLD: [usize; 2] = [0, quorate_proof::outputs::OUTPUTS_PLACE];

/// The first instance goes on with what the snapshot lacks, and this one without it.
#[test]
fn what_a_snapshot_lacks_and_outputs_tell_shows_in_the_roots_of_the_next_one() {
    assert_eq!(differences_after(Forgets::Told, None), TOLD);
}

#[test]
fn what_restoring_does_not_touch_is_gone_in_another_instance() {
    let nothing: [usize; 0] = [];
    assert_eq!(differences_after(Forgets::Left, None), nothing, "in place");
    let fresh = Fresh::new(|| Ok(Forgetful::new(Forgets::Left)));
    assert_eq!(differences_after(Forgets::Left, Some(fresh)), TOLD);
}

#[test]
fn without_an_instance_to_restore_into_there_is_no_snapshot_and_the_shadow_goes_on() {
    let mut scene = Scene::new();
    scene.append_to(128);
    scene.sync();
    let shadow = scene.shadow_of(Forgetful::new(Forgets::Told), 64, None);
    let mut shadow = shadow.afresh(Some(Fresh::new(|| Err("none".to_owned()))));
    let mut failed = 0;
    while let Ok(progress) = shadow.advance(1) {
        match progress {
            Progress::Failed(SnapshotError::Instance { what }) if what == "none" => failed += 1,
            Progress::Idle => break,
            Progress::More => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((failed, shadow.height()), (2, 128));
    assert!(shadow.folder.heights().unwrap().is_empty());
}

/// One chunk holds the state: it is read once to be checked, and once more for each section.
#[test]
fn a_disk_that_refuses_a_read_within_the_trial_is_not_told_as_the_application() {
    for reads in 0..=2 {
        let mut scene = Scene::new();
        let mut shadow = scene.shadow(64, None);
        let disk = MemoryDisk::new(&scene.memory);
        shadow.folder = SnapshotFolder::in_memory(&disk);
        shadow.policy.folder = shadow.folder.clone();
        scene.append_to(128);
        scene.sync();
        let mut work = scene.work(shadow);
        disk.set_reads_left(Some(reads));
        let now = std::time::Instant::now();
        let mut turn = |inputs: &mut Vec<_>| {
            // Two turns would come to the next one.
            let before = work.metrics().alarms.read() + inputs.len() as u64;
            while work.metrics().alarms.read() + inputs.len() as u64 == before {
                work.turn(0, now, true, inputs).unwrap();
                if work.shadow_mut().next_due().is_none() {
                    break;
                }
            }
            work.shadow_mut().next_due()
        };
        let (mut inputs, mut due) = (Vec::new(), None);
        let lines = logged(|| due = turn(&mut inputs));
        assert!(inputs.is_empty(), "{inputs:?}");
        let says = |word: &str| lines.iter().any(|line| line.contains(word));
        assert!(!says("DOES NOT RESTORE"), "{lines:?}");
        disk.set_reads_left(None);
        // With the first section the state is what came of it.
        if reads < 2 {
            assert!(says("a snapshot was not taken"), "{reads}: {lines:?}");
            assert_eq!(due, Some(128), "{reads}");
            turn(&mut inputs);
            assert_eq!(inputs.len(), 1, "{reads}");
        } else {
            assert!(says("the disk did not give a snapshot back"), "{lines:?}");
            assert_eq!(due, None);
        }
    }
}

/// The instance that the snapshot was of is gone then, but not all that there is.
#[test]
fn a_disk_that_refuses_a_read_within_the_trial_costs_one_snapshot_where_there_is_an_older_one() {
    let mut scene = Scene::new();
    let disk = MemoryDisk::new(&scene.memory);
    let mut shadow = scene.shadow(64, None);
    shadow.folder = SnapshotFolder::in_memory(&disk);
    shadow.policy.folder = shadow.folder.clone();
    let shadow = shadow.afresh(Some(Fresh::new(|| Ok(Count::default()))));
    scene.append_to(192);
    scene.sync();
    let mut work = scene.work(shadow);
    let (mut inputs, mut now) = (Vec::new(), std::time::Instant::now());
    work.metrics().height.set(127);
    for _ in 0..10 {
        work.turn(0, now, true, &mut inputs).unwrap();
    }
    assert_eq!(inputs.len(), 1);
    // Read whole, and then not given back.
    disk.set_reads_left(Some(1));
    work.metrics().height.set(192);
    for _ in 0..10 {
        work.turn(0, now, true, &mut inputs).unwrap();
    }
    assert_eq!((inputs.len(), work.metrics().alarms.read()), (1, 1));
    assert_eq!(work.shadow_mut().height(), 64, "where it is to begin");
    // As long as it refuses the older one too there is none, which is told once.
    disk.set_reads_left(Some(0));
    for _ in 0..4 {
        now += std::time::Duration::from_secs(60);
        work.turn(0, now, true, &mut inputs).unwrap();
    }
    assert_eq!((inputs.len(), work.metrics().alarms.read()), (1, 2));
    disk.set_reads_left(None);
    now += std::time::Duration::from_secs(60);
    for _ in 0..10 {
        work.turn(0, now, true, &mut inputs).unwrap();
    }
    assert_eq!((inputs.len(), work.metrics().alarms.read()), (3, 2));
    // As of an instance to which nothing has happened.
    let expected = taken(&mut scene.shadow(64, None));
    let states = inputs.into_iter().map(|input| match input {
        quorate_consensus::input::Input::State(statement) => statement,
        other => panic!("{other:?}"),
    });
    assert_eq!(states.collect::<Vec<_>>(), expected);
}
