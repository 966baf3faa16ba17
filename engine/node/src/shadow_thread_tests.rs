//! What the shadow's thread is told, whatever else comes to it.

use quorate_consensus::message::SnapshotPart;
use quorate_consensus::types::ValidatorIndex;

use super::*;
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
    let thread = start(parts, move || Ok(shadow)).unwrap();
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
    let thread = start(parts, move || Ok(shadow)).unwrap();
    assert_eq!(thread.join().unwrap(), None);
    assert!(folder.certificate(64).unwrap().is_some());
}

/// Where a panic does not abort, nobody waits for the thread.
#[test]
fn a_panic_of_the_second_instance_is_an_alarm() {
    let scene = Scene::new();
    let (_sender, parts) = parts(&scene);
    let metrics = Arc::clone(&parts.metrics);
    let thread = start(parts, || -> Result<Shadow<Count>, _> {
        panic!("as planted")
    });
    thread.unwrap().join().unwrap_err();
    assert_eq!(metrics.alarms.read(), 1);
}
