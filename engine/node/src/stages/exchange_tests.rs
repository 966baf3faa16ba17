//! When joining begins, how fast peers are served, and what a mailbox takes.

use quorate_consensus::attestation::StateCertificate;
use quorate_consensus::signing;
use quorate_consensus::types::{BlockId, Height};
use quorate_consensus::wire;
use quorate_log::MemoryBackend;

use super::*;
use crate::shadow::statement_of;
use crate::snapshot::{CHUNK_BYTES, Manifest, MemoryDisk, SectionEntry};
use crate::testing::{TemporaryFolder, final_block, sample_genesis};

struct Scene {
    exchange: Exchange,
    mailbox: Arc<Mailbox>,
    metrics: Arc<Metrics>,
    _temporary: TemporaryFolder,
}

fn scene() -> Scene {
    let temporary = TemporaryFolder::new("exchange");
    let folder = SnapshotFolder::new(temporary.path().join("snapshots"));
    scene_over(folder, temporary)
}

fn scene_over(folder: SnapshotFolder, temporary: TemporaryFolder) -> Scene {
    let (mailbox, metrics) = (Arc::<Mailbox>::default(), Arc::<Metrics>::default());
    let exchange = Exchange::new(ExchangeParts {
        set: Arc::clone(sample_genesis(4).0.validator_set()),
        own: ValidatorIndex::new(3),
        folder,
        mailbox: Arc::clone(&mailbox),
        metrics: Arc::clone(&metrics),
    });
    Scene {
        exchange,
        mailbox,
        metrics,
        _temporary: temporary,
    }
}

impl Scene {
    /// What is said in one turn.
    fn turn(&mut self, now_ns: u64) -> Vec<(Destination, SnapshotPart)> {
        let mut inputs = Vec::new();
        assert_eq!(self.exchange.turn(now_ns, &mut inputs), None);
        let said = inputs.into_iter().map(|input| match input {
            Input::Say { to, part } => (to, part),
            other => panic!("{other:?}"),
        });
        said.collect()
    }

    fn asks(&mut self, now_ns: u64) -> bool {
        self.turn(now_ns) == [(Destination::All, SnapshotPart::Ask)]
    }
}

fn get(chunk: u32) -> SnapshotPart {
    SnapshotPart::Get {
        height: Height::new(64),
        root: [1; 32],
        chunk,
    }
}

fn chunk(chunk: u32) -> SnapshotPart {
    SnapshotPart::Chunk {
        root: [1; 32],
        chunk,
        bytes: Arc::default(),
    }
}

#[test]
fn joining_begins_when_peers_are_far_ahead_and_nothing_comes() {
    let mut scene = scene();
    scene.metrics.height.set(100);
    assert!(!scene.asks(0));
    // A validator that is not behind by a snapshot waits for its log.
    scene.metrics.height_peers.set(100 + ROOT_HEIGHTS - 1);
    assert!(!scene.asks(STALL_NS));
    // One that is, but goes on, does too.
    scene.metrics.height_peers.set(1000);
    scene.metrics.height.set(101);
    assert!(!scene.asks(STALL_NS + 1));
    assert!(!scene.asks(2 * STALL_NS));
    assert!(scene.asks(2 * STALL_NS + 1));
    // Once it has begun, a little of the log does not end it; having caught up does.
    scene.metrics.height.set(102);
    scene.turn(2 * STALL_NS + 2);
    assert!(scene.exchange.joiner.is_some());
    // And then nothing is left of what was fetched.
    let folder = scene.exchange.parts.folder.path().to_path_buf();
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("joining.data"), b"chunks").unwrap();
    scene.metrics.height.set(1000);
    scene.turn(2 * STALL_NS + 3);
    assert!(scene.exchange.joiner.is_none());
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0);
}

#[test]
fn joining_begins_late_when_peers_are_a_little_ahead_and_ends_when_the_log_goes_on() {
    let mut scene = scene();
    scene.metrics.height.set(100);
    scene.metrics.height_peers.set(101);
    assert!(!scene.asks(1));
    assert!(!scene.asks(STUCK_NS));
    assert!(scene.asks(STUCK_NS + 1));
    scene.turn(STUCK_NS + 2);
    assert!(scene.exchange.joiner.is_some());
    // Blocks come after all, and it may stay a little behind for as long as it likes.
    for step in 1..=20 {
        scene.metrics.height.set(100 + step);
        scene.metrics.height_peers.set(101 + step);
        assert!(!scene.asks(STUCK_NS + 2 + step * (STUCK_NS - 1)));
        assert!(scene.exchange.joiner.is_none());
    }
    // Level with the others it waits for nothing.
    scene.metrics.height.set(121);
    scene.turn(30 * STUCK_NS);
    assert!(!scene.asks(40 * STUCK_NS));
}

#[test]
fn a_validator_that_was_cut_off_waits_for_its_log_from_when_it_hears_its_peers() {
    let mut scene = scene();
    let reaches = |scene: &mut Scene, own: u64, peers: u64| {
        scene.metrics.height.set(own);
        scene.metrics.height_peers.set(peers);
    };
    reaches(&mut scene, 100, 100);
    assert!(!scene.asks(0));
    // Cut off level with the others, or in a chain to which nobody has sent anything.
    reaches(&mut scene, 100, 1000);
    assert!(!scene.asks(10 * STALL_NS));
    assert!(!scene.asks(11 * STALL_NS - 1));
    assert!(scene.asks(11 * STALL_NS));
    // The log came after all. Cut off one behind the others, so that it asks them in vain.
    reaches(&mut scene, 1000, 1001);
    let begun_ns = 20 * STALL_NS;
    assert!(!scene.asks(begun_ns));
    assert!(scene.asks(begun_ns + STUCK_NS));
    reaches(&mut scene, 1000, 2000);
    let heard_ns = begun_ns + 3 * STUCK_NS;
    assert!(!scene.asks(heard_ns));
    assert!(!scene.asks(heard_ns + STALL_NS - 1));
    // Blocks come.
    reaches(&mut scene, 1500, 2000);
    assert!(!scene.asks(heard_ns + STALL_NS));
    assert!(!scene.asks(heard_ns + 2 * STALL_NS - 1));
    assert!(scene.asks(heard_ns + 2 * STALL_NS));
}

/// A snapshot of two chunks that validator 0 has and vouches for with validator 1.
fn snapshot_of_a_peer(height: u64) -> SnapshotFolder {
    let (genesis, keys) = sample_genesis(4);
    let set = genesis.validator_set();
    let folder = SnapshotFolder::in_memory(&MemoryDisk::new(&MemoryBackend::new()));
    let mut writer = folder.write(height).unwrap();
    let text = vec![7; CHUNK_BYTES as usize + 9];
    writer.push(&text).unwrap();
    let manifest = Manifest {
        genesis_hash: *set.genesis_hash(),
        header: final_block(set, height, BlockId::new([3; 32]), &[]).header,
        sections: vec![SectionEntry {
            name: "text".to_owned(),
            root: [5; 32],
            bytes: text.len() as u64,
        }],
        chunks: Vec::new(),
    };
    let statement = statement_of(&writer.finish(manifest).unwrap());
    let sign = |number: u16| {
        let signer = ValidatorIndex::new(number);
        let mut message = Vec::new();
        signing::state_message(set, signer, &statement, &mut message);
        (signer, keys[signer.place()].sign(&message))
    };
    let signatures = [0, 1].map(sign).to_vec();
    let certificate = StateCertificate {
        statement,
        signatures,
    };
    let mut bytes = Vec::new();
    wire::encode_state_certificate(&certificate, &mut bytes);
    folder.put_certificate(height, &bytes).unwrap();
    folder
}

/// The log is on the same disk, and without it there is no vote.
#[test]
fn a_download_that_finds_no_room_gives_back_what_it_has_and_does_not_come_again_at_once() {
    let disk = MemoryDisk::new(&MemoryBackend::new());
    let folder = SnapshotFolder::in_memory(&disk);
    let mut scene = scene_over(folder.clone(), TemporaryFolder::new("exchange"));
    let mut peer = Serving::new(snapshot_of_a_peer(1024));
    scene.metrics.height.set(100);
    scene.metrics.height_peers.set(2000);
    scene.turn(0);
    let mut now_ns = STALL_NS;
    // Turns until so many chunks are here, or joining has stopped.
    let mut fetch = |scene: &mut Scene, now_ns: &mut u64, chunks: u64| {
        for _ in 0..50 {
            for (_, part) in scene.turn(*now_ns) {
                let answer = peer.answer(*now_ns, ValidatorIndex::new(3), &part);
                let from = ValidatorIndex::new(0);
                answer.map(|answer| scene.mailbox.put(from, answer));
            }
            *now_ns += STALL_NS / 10;
            let progress = scene.exchange.progress();
            if scene.exchange.joiner.is_none() || progress.height > 0 && progress.chunks == chunks {
                return progress.chunks;
            }
        }
        panic!("nothing comes: {:?}", scene.exchange.joiner);
    };
    // Nothing is begun that would leave the log too little.
    disk.set_bytes_max(Some(CHUNK_BYTES as usize));
    fetch(&mut scene, &mut now_ns, 1);
    assert!(scene.exchange.joiner.is_none());
    assert_eq!(folder.names().unwrap(), Vec::<String>::new());
    assert!(!scene.asks(now_ns + ROOM_RETRY_NS - STALL_NS));
    now_ns += ROOM_RETRY_NS;
    // And what was begun while there was room goes when others have taken it.
    disk.set_bytes_max(None);
    assert_eq!(fetch(&mut scene, &mut now_ns, 1), 1);
    assert_eq!(folder.names().unwrap().len(), 3);
    disk.set_bytes_max(Some(2 * CHUNK_BYTES as usize));
    fetch(&mut scene, &mut now_ns, 2);
    assert!(scene.exchange.joiner.is_none());
    assert_eq!(folder.names().unwrap(), Vec::<String>::new());
    assert_eq!(scene.metrics.alarms.read(), 2);
}

#[test]
fn a_restart_keeps_what_was_fetched_until_the_own_log_goes_on() {
    let mut scene = scene();
    let folder = scene.exchange.parts.folder.path().to_path_buf();
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("joining.data"), b"chunks").unwrap();
    let is_kept = || folder.join("joining.data").exists();
    scene.metrics.height.set(10);
    scene.turn(0);
    // Of the first two that speak one lies, and then an honest one more speaks.
    scene.metrics.height_peers.set(1);
    scene.turn(1);
    assert!(is_kept(), "thrown away on the word of a liar");
    scene.metrics.height_peers.set(2000);
    scene.turn(2);
    assert!(is_kept());
    // Level with the others for as long as nothing comes, too.
    scene.metrics.height_peers.set(10);
    scene.turn(3);
    assert!(is_kept());
    scene.metrics.height.set(11);
    scene.metrics.height_peers.set(11);
    scene.turn(4);
    assert!(!is_kept(), "the log goes on");
}

#[test]
fn a_mailbox_holds_one_question_and_one_answer_a_peer_and_answers_only_if_wanted() {
    let mut scene = scene();
    let (one, other) = (ValidatorIndex::new(0), ValidatorIndex::new(1));
    assert!(scene.mailbox.put(one, get(1)));
    assert!(!scene.mailbox.put(one, chunk(1)), "nobody has asked");
    scene.metrics.height_peers.set(1000);
    scene.turn(0);
    scene.turn(STALL_NS);
    assert!(scene.exchange.joiner.is_some());
    for number in 0..100 {
        // The thread is woken once for all that waits until it looks.
        assert_eq!(scene.mailbox.put(one, get(number)), number == 0);
        assert!(!scene.mailbox.put(other, chunk(number)));
    }
    let held = scene.mailbox.take();
    assert_eq!(held.len(), 2);
    assert_eq!(held.get(&(false, one)), Some(&get(99)));
    assert_eq!(held.get(&(true, other)), Some(&chunk(99)));
    assert!(scene.mailbox.put(other, chunk(100)));
}

#[test]
fn peers_are_served_in_turn_and_one_at_a_time() {
    let mut scene = scene();
    let peers = [0, 1, 2].map(ValidatorIndex::new);
    let mut told = Vec::new();
    for step in 0..6 {
        for peer in peers {
            scene.mailbox.put(peer, get(step));
        }
        let now_ns = u64::from(step) * SERVE_PAUSE_NS;
        let said = scene.turn(now_ns);
        // Not here: that is said, and costs the asker no wait.
        let [(Destination::Peer(to), SnapshotPart::Chunk { bytes, .. })] = &said[..] else {
            panic!("{said:?}");
        };
        assert!(bytes.is_empty());
        told.push(to.number());
        assert_eq!(scene.turn(now_ns + SERVE_PAUSE_NS - 1), []);
    }
    assert_eq!(told, [1, 2, 0, 1, 2, 0]);
}
