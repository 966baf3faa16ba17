//! What the shadow's thread is told, whatever else comes to it.

use quorate_consensus::input::Input;
use quorate_consensus::message::SnapshotPart;
use quorate_consensus::types::ValidatorIndex;

use super::*;
use crate::snapshot::MemoryDisk;
use crate::snapshot_work::LOOK;
use crate::stages::scrub::ScrubSender;
use crate::stages::shadow::{ShadowParts, ShadowSender, start};

/// The parts of a thread that is told by the sender, of a validator of this scene.
fn parts(scene: &Scene) -> (ShadowSender, ShadowParts) {
    let (sender, asks) = ShadowSender::new(ValidatorIndex::new(0));
    let metrics = Arc::<crate::metrics::Metrics>::default();
    metrics.height.set(scene.height);
    let folder = SnapshotFolder::new(scene.temporary.path().join("snapshots"));
    let exchange = ExchangeParts {
        set: Arc::clone(&scene.set),
        own: ValidatorIndex::new(0),
        folder: folder.clone(),
        mailbox: Arc::clone(&asks.mailbox),
        metrics: Arc::clone(&metrics),
    };
    let parts = ShadowParts {
        asks,
        folder,
        metrics,
        scrub: ScrubSender::new().0,
        answer: Box::new(drop),
        exchange,
        stop: Box::new(|| ()),
        diverged: scene.temporary.path().join("diverged"),
        halt: crate::stages::dedicated::Halt::default(),
    };
    (sender, parts)
}

fn certificate(statement: StateStatement) -> StateCertificate {
    StateCertificate {
        statement,
        signatures: vec![(ValidatorIndex::new(1), [4; 64])],
    }
}

/// One that is lost never comes again: nothing would be attested here, and nothing pruned.
#[test]
fn what_peers_ask_takes_no_room_from_certificates_nor_from_the_word_of_another_state() {
    let mut scene = Scene::new();
    let mut shadow = scene.shadow(64, None);
    scene.append_to(128);
    scene.sync();
    let taken = taken(&mut shadow);
    let (sender, parts) = parts(&scene);
    let diverged = parts.diverged.clone();
    let ask = || {
        for _ in 0..100 {
            sender.send_part(ValidatorIndex::new(2), SnapshotPart::Ask);
        }
    };
    ask();
    sender.send_proven(&certificate(taken[0].clone()));
    ask();
    sender.send_diverged(100);
    sender.send_diverged(60);
    sender.send_diverged(70);
    // All of it waits before the thread looks for the first time, and nothing comes after it.
    drop(sender);
    let folder = shadow.folder.clone();
    let thread = start(parts, move || shadow).unwrap();
    assert_eq!(thread.join().unwrap(), None);
    assert!(folder.certificate(64).unwrap().is_some());
    assert_eq!(folder.heights().unwrap(), [64]);
    assert!(diverged.exists());
}

#[test]
fn of_more_certificates_than_there_is_room_for_the_newest_reach_the_thread() {
    let mut scene = Scene::new();
    let mut shadow = scene.shadow(64, None);
    scene.append_to(64);
    scene.sync();
    let taken = taken(&mut shadow).remove(0);
    let (sender, parts) = parts(&scene);
    for height in 1000..1200 {
        sender.send_proven(&certificate(StateStatement {
            height: Height::new(height),
            ..taken.clone()
        }));
    }
    sender.send_proven(&certificate(taken));
    drop(sender);
    let folder = shadow.folder.clone();
    let thread = start(parts, move || shadow).unwrap();
    assert_eq!(thread.join().unwrap(), None);
    assert!(folder.certificate(64).unwrap().is_some());
}

/// Where a panic does not abort, nobody waits for the thread.
#[test]
fn a_panic_of_the_second_instance_is_an_alarm() {
    let scene = Scene::new();
    let (_sender, parts) = parts(&scene);
    let metrics = Arc::clone(&parts.metrics);
    let thread = start(parts, || -> Shadow<Count> { panic!("as planted") });
    thread.unwrap().join().unwrap_err();
    assert_eq!(metrics.alarms.read(), 1);
}

/// Asked for while the system was too short of something for the second instance to begin.
#[test]
fn what_is_asked_for_before_the_shadow_stands_where_it_begins_counts_from_there() {
    let mut scene = Scene::new();
    let disk = MemoryDisk::new(&scene.memory);
    let mut first = scene.shadow(64, None);
    first.folder = SnapshotFolder::in_memory(&disk);
    scene.append_to(64);
    scene.sync();
    assert_eq!(taken(&mut first).len(), 1);
    let base = *first.marks.last().unwrap();
    scene.append_to(192);
    scene.sync();
    let executor = Executor::new(Count::default(), 8, scene.set.genesis_time_ns());
    let policy = SnapshotPolicy {
        folder: first.folder.clone(),
        every_heights: 0,
        keep: 2,
    };
    let reader = scene.reader.clone();
    let mut shadow = Shadow::unbegun(executor, &scene.set, policy, reader, Some(base));
    assert_eq!(shadow.height(), 64);
    shadow.ask(70);
    assert_eq!(
        shadow.next_due(),
        Some(128),
        "that of its own height is there"
    );
    assert_eq!(taken(&mut shadow).len(), 1);
}

/// A validator whose peers have pruned their logs: nothing but their snapshot helps it.
#[test]
fn joining_does_not_wait_for_a_shadow_that_cannot_begin() {
    const FAR_NS: u64 = 60_000_000_000;
    let mut scene = Scene::new();
    scene.append_to(64);
    scene.sync();
    let asks = |inputs: &[Input]| {
        let ask = |input: &Input| {
            matches!(
                input,
                Input::Say {
                    part: SnapshotPart::Ask,
                    ..
                }
            )
        };
        inputs.iter().any(ask)
    };
    let executor = || Executor::new(Count::default(), 8, scene.set.genesis_time_ns());
    let disk = MemoryDisk::new(&scene.memory);
    let unbegun = |base| {
        let policy = SnapshotPolicy {
            folder: SnapshotFolder::in_memory(&disk),
            every_heights: 64,
            keep: 2,
        };
        Shadow::unbegun(executor(), &scene.set, policy, scene.reader.clone(), base)
    };
    // Of a system that is short of something.
    disk.refuse_looks(1);
    let mut work = scene.work(unbegun(None));
    work.metrics().height_peers.set(scene.height + 1000);
    let (mut inputs, mut now) = (Vec::new(), std::time::Instant::now());
    for now_ns in [0, FAR_NS] {
        work.turn(now_ns, now, true, &mut inputs).unwrap();
    }
    assert!(asks(&inputs));
    assert_eq!(work.metrics().alarms.read(), 1);
    inputs.clear();
    now += std::time::Duration::from_nanos(FAR_NS);
    work.turn(FAR_NS + 1, now, true, &mut inputs).unwrap();
    let is_state = |input: &Input| matches!(input, Input::State(_));
    assert!(inputs.iter().any(is_state), "{inputs:?}");
    // Of a snapshot that is not what it was.
    let mark = scene.reader.start();
    let folder = SnapshotFolder::in_memory(&disk);
    let manifest = folder.manifest(64).unwrap();
    folder.remove(64).unwrap();
    folder
        .write(64)
        .unwrap()
        .finish(Manifest {
            sections: Vec::new(),
            ..manifest
        })
        .unwrap();
    let mut work = scene.work(unbegun(Some((64, mark))));
    work.metrics().height_peers.set(scene.height + 1000);
    inputs.clear();
    work.turn(0, now, true, &mut inputs).unwrap_err();
    let worked = work.turn(FAR_NS, now, true, &mut inputs).unwrap();
    assert!(asks(&inputs));
    assert_eq!(worked.rest, Some(LOOK), "it does not spin from here on");
}
