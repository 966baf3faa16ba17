//! One download against real serving sides over folders: sources that lie in each part, that are
//! silent, that have lost it, and a restart in the middle.

use quorate_consensus::attestation::StateStatement;
use quorate_consensus::header::Header;
use quorate_consensus::signing::{self, Signer as _, ValidatorKey};
use quorate_consensus::types::BlockId;

use super::*;
use crate::serving::Serving;
use crate::snapshot::{CHUNK_BYTES, SectionEntry};
use crate::testing::{TemporaryFolder, final_block, sample_genesis};

const STEP_NS: u64 = 100_000_000;
const CHUNKS: u64 = 5;

/// How a peer answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    Honest,
    Silent,
    /// It answers questions about what there is, and never sends a chunk.
    SilentAboutChunks,
    /// It has lost its folder after it said what there is.
    Lost,
    LiesAboutChunks,
    LiesAboutTheManifest,
    /// Signatures of weight F, which all liars can make together.
    TooFewSigners,
    /// A signature that is none.
    ForgedSigner,
}

struct Peer {
    manner: Manner,
    serving: Serving,
    folder: SnapshotFolder,
    _temporary: TemporaryFolder,
    /// Chunks that it was asked for.
    asked: usize,
}

struct World {
    set: Arc<ValidatorSet>,
    keys: Vec<ValidatorKey>,
    peers: Vec<Peer>,
    own: TemporaryFolder,
    joiner: Option<Joiner>,
    now_ns: u64,
    lies: Vec<(u16, Lie)>,
}

fn text() -> Vec<u8> {
    let bytes = CHUNK_BYTES as usize * (CHUNKS as usize - 1) + 77;
    (0..bytes).map(|at| (at / 1000) as u8).collect()
}

fn header(set: &ValidatorSet, height: u64) -> Header {
    final_block(set, height, BlockId::new([3; 32]), &[]).header
}

/// A snapshot of a height in a folder, and what is attested of it.
fn write(set: &ValidatorSet, folder: &SnapshotFolder, height: u64) -> StateStatement {
    let mut writer = folder.write(height).unwrap();
    writer.push(&text()).unwrap();
    let manifest = writer.finish(Manifest {
        genesis_hash: *set.genesis_hash(),
        header: header(set, height),
        sections: vec![SectionEntry {
            name: "text".to_owned(),
            root: [5; 32],
            bytes: text().len() as u64,
        }],
        chunks: Vec::new(),
    });
    statement_of(&manifest.unwrap())
}

impl World {
    /// Validators 0 to 2 have a snapshot of a height, with its certificate; validator 3 joins.
    fn new(manners: [Manner; 3], height: u64) -> Self {
        let (genesis, keys) = sample_genesis(4);
        let set = Arc::clone(genesis.validator_set());
        let mut world = Self {
            set,
            keys: keys
                .iter()
                .map(|key| ValidatorKey::from_seed(&key.seed()))
                .collect(),
            peers: Vec::new(),
            own: TemporaryFolder::new("join"),
            joiner: None,
            now_ns: 1,
            lies: Vec::new(),
        };
        for manner in manners {
            let temporary = TemporaryFolder::new("join-peer");
            let folder = SnapshotFolder::new(temporary.path().join("snapshots"));
            world.peers.push(Peer {
                manner,
                serving: Serving::new(folder.clone()),
                folder,
                _temporary: temporary,
                asked: 0,
            });
            world.take_snapshot(world.peers.len() - 1, height);
        }
        world.join(1);
        world
    }

    fn take_snapshot(&self, peer: usize, height: u64) {
        let peer = &self.peers[peer];
        let statement = write(&self.set, &peer.folder, height);
        let mut certificate = self.certify(&statement, &[0, 1]);
        match peer.manner {
            Manner::TooFewSigners => drop(certificate.signatures.pop()),
            Manner::ForgedSigner => certificate.signatures[1].1[0] ^= 1,
            _ => {}
        }
        let bytes = certificate_bytes(&certificate);
        peer.folder.put_certificate(height, &bytes).unwrap();
    }

    fn certify(&self, statement: &StateStatement, signers: &[u16]) -> StateCertificate {
        let sign = |&signer: &u16| {
            let signer = ValidatorIndex::new(signer);
            let mut message = Vec::new();
            signing::state_message(&self.set, signer, statement, &mut message);
            (signer, self.keys[signer.place()].sign(&message))
        };
        StateCertificate {
            statement: statement.clone(),
            signatures: signers.iter().map(sign).collect(),
        }
    }

    fn folder(&self) -> SnapshotFolder {
        SnapshotFolder::new(self.own.path().join("snapshots"))
    }

    /// Starts the joining side, again when it ran before.
    fn join(&mut self, above: u64) {
        let (set, own) = (Arc::clone(&self.set), ValidatorIndex::new(3));
        let joiner = Joiner::new(set, own, self.folder(), above, self.now_ns).unwrap();
        self.joiner = Some(joiner);
    }

    /// What a peer says to it.
    fn answer(&mut self, peer: usize, part: &SnapshotPart) -> Option<SnapshotPart> {
        let (now_ns, own) = (self.now_ns, ValidatorIndex::new(3));
        let peer = &mut self.peers[peer];
        let is_get = matches!(part, SnapshotPart::Get { .. });
        peer.asked += usize::from(is_get);
        if peer.manner == Manner::Lost && is_get {
            std::fs::remove_dir_all(peer.folder.path()).ok();
        }
        let answer = peer.serving.answer(now_ns, own, part)?;
        match (peer.manner, answer) {
            (Manner::Silent, _) => None,
            (Manner::SilentAboutChunks, SnapshotPart::Chunk { .. }) => None,
            (Manner::LiesAboutChunks, SnapshotPart::Chunk { root, chunk, bytes }) => {
                let mut bytes = bytes.to_vec();
                bytes[7] ^= 1;
                let bytes = bytes.into();
                Some(SnapshotPart::Chunk { root, chunk, bytes })
            }
            (
                Manner::LiesAboutTheManifest,
                SnapshotPart::Offer {
                    certificate,
                    manifest,
                },
            ) => {
                let mut manifest = Manifest::decode(&manifest).unwrap();
                manifest.chunks[0] = [9; 32];
                let manifest = manifest.encode().into();
                Some(SnapshotPart::Offer {
                    certificate,
                    manifest,
                })
            }
            (_, answer) => Some(answer),
        }
    }

    /// One step of time; the height of a snapshot that has become whole in it.
    fn step(&mut self, above: u64) -> Option<u64> {
        self.now_ns += STEP_NS;
        let mut said = Vec::new();
        let joiner = self.joiner.as_mut().unwrap();
        let whole = joiner.turn(self.now_ns, above, &mut said).unwrap();
        for (to, part) in said {
            for peer in 0..self.peers.len() {
                let is_for = match to {
                    Destination::All => true,
                    Destination::Peer(to) => to.place() == peer,
                };
                if let Some(answer) = is_for.then(|| self.answer(peer, &part)).flatten() {
                    self.take(peer, answer);
                }
            }
        }
        whole
    }

    fn take(&mut self, peer: usize, answer: SnapshotPart) -> Judged {
        let from = ValidatorIndex::new(peer as u16);
        let joiner = self.joiner.as_mut().unwrap();
        let judged = joiner.take(self.now_ns, from, answer).unwrap();
        if let Judged::Lie(lie) = judged {
            self.lies.push((from.number(), lie));
        }
        judged
    }

    /// Runs until a snapshot is whole.
    fn run(&mut self, above: u64) -> u64 {
        for _ in 0..2000 {
            if let Some(height) = self.step(above) {
                return height;
            }
        }
        panic!("nothing came: {:?}", self.joiner);
    }

    fn progress(&self) -> JoinProgress {
        self.joiner.as_ref().unwrap().progress()
    }

    fn step_until(&mut self, chunks: u64) {
        for _ in 0..2000 {
            if self.progress().chunks >= chunks {
                return;
            }
            assert_eq!(self.step(1), None);
        }
        panic!("nothing came: {:?}", self.joiner);
    }

    /// Bytes that are stored of what is being fetched.
    fn stored_bytes(&self) -> u64 {
        let data = self.folder().path().join("joining.data");
        std::fs::metadata(data).map_or(0, |data| data.len())
    }
}

#[test]
fn a_snapshot_comes_from_all_peers_at_once_and_is_the_same_byte_for_byte() {
    let mut world = World::new([Manner::Honest; 3], 64);
    assert_eq!(world.run(1), 64);
    let (here, there) = (world.folder(), world.peers[0].folder.clone());
    assert_eq!(here.verify(64).unwrap(), there.verify(64).unwrap());
    assert_eq!(
        here.certificate(64).unwrap(),
        there.certificate(64).unwrap()
    );
    assert!(here.is_fetched(&here.manifest(64).unwrap()).unwrap());
    assert!(world.peers.iter().all(|peer| peer.asked > 0));
    // Nothing is left of the making of it.
    let names = std::fs::read_dir(here.path()).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert_eq!(names.filter(|name| name.starts_with("joining")).count(), 0);
    // Another start cleans nothing of it away, and what settles it is the log.
    here.clean().unwrap();
    assert_eq!(here.heights().unwrap(), [64]);
    here.settle_fetched(64).unwrap();
    assert!(!here.is_fetched(&here.manifest(64).unwrap()).unwrap());
}

#[test]
fn a_lie_about_a_chunk_is_found_before_a_byte_is_stored_and_the_others_serve_it() {
    for honest in [
        [Manner::LiesAboutChunks, Manner::Silent, Manner::Silent],
        [Manner::LiesAboutChunks, Manner::Honest, Manner::Silent],
    ] {
        let mut world = World::new(honest, 64);
        if honest[1] == Manner::Honest {
            assert_eq!(world.run(1), 64);
            assert_eq!(world.folder().verify(64).unwrap().height(), 64);
        } else {
            (0..50).for_each(|_| assert_eq!(world.step(1), None));
            assert_eq!(world.progress().height, 64);
            assert_eq!(world.stored_bytes(), 0, "a byte of a lie was stored");
        }
        assert_eq!(world.lies, [(0, Lie::Chunk)]);
        assert_eq!(world.peers[0].asked, 1, "a liar is not asked again");
    }
}

#[test]
fn a_lie_about_manifest_or_certificate_begins_no_download() {
    for (manner, lie) in [
        (Manner::LiesAboutTheManifest, Lie::Manifest),
        (Manner::TooFewSigners, Lie::Certificate),
        (Manner::ForgedSigner, Lie::Certificate),
    ] {
        let mut world = World::new([manner, Manner::Silent, Manner::Silent], 64);
        (0..50).for_each(|_| assert_eq!(world.step(1), None));
        assert_eq!(world.lies, [(0, lie)]);
        assert_eq!(world.progress(), JoinProgress::default());
        assert_eq!(world.peers[0].asked, 0, "a chunk was asked for");
        assert!(!world.folder().path().exists(), "something was stored");
        // Beside honest ones it does no harm.
        let mut world = World::new([manner, Manner::Honest, Manner::Honest], 64);
        assert_eq!(world.run(1), 64);
        assert_eq!(world.lies, [(0, lie)]);
        assert_eq!(world.peers[0].asked, 0, "a chunk of theirs was asked for");
    }
}

#[test]
fn one_offer_of_a_peer_is_looked_at_for_each_question() {
    let mut world = World::new([Manner::Honest, Manner::Silent, Manner::Silent], 64);
    world.step(1);
    let manifest = world.peers[0].folder.manifest(64).unwrap();
    let garbage = |world: &World| SnapshotPart::Offer {
        certificate: Box::new(world.certify(&statement_of(&manifest), &[0, 1])),
        manifest: Arc::from([1; 40]),
    };
    let part = garbage(&world);
    assert_eq!(world.take(0, part), Judged::Idle, "it has answered");
    let part = garbage(&world);
    assert_eq!(world.take(1, part), Judged::Lie(Lie::Manifest));
    assert_eq!(world.lies, [(1, Lie::Manifest)]);
}

#[test]
fn a_certificate_of_another_state_or_chain_is_a_lie() {
    let mut world = World::new([Manner::Silent; 3], 64);
    world.step(1);
    // A good certificate over another snapshot of the same height.
    let mut other = world.peers[0].folder.manifest(64).unwrap();
    let statement = statement_of(&other);
    other.sections[0].root = [6; 32];
    let offer = |certificate, manifest: &Manifest| SnapshotPart::Offer {
        certificate: Box::new(certificate),
        manifest: manifest.encode().into(),
    };
    let certificate = world.certify(&statement, &[0, 1]);
    let judged = world.take(0, offer(certificate, &other));
    assert_eq!(judged, Judged::Lie(Lie::Manifest));
    // A certificate that fits, of another genesis.
    let mut foreign = world.peers[1].folder.manifest(64).unwrap();
    foreign.genesis_hash = [1; 32];
    let certificate = world.certify(&statement_of(&foreign), &[0, 1]);
    let judged = world.take(1, offer(certificate, &foreign));
    assert_eq!(judged, Judged::Lie(Lie::Manifest));
    // Bytes that are no manifest.
    let certificate = world.certify(&statement, &[0, 1]);
    let part = SnapshotPart::Offer {
        certificate: Box::new(certificate),
        manifest: Arc::from([1; 40]),
    };
    assert_eq!(world.take(2, part), Judged::Lie(Lie::Manifest));
    assert_eq!(world.progress(), JoinProgress::default());
}

#[test]
fn a_silent_source_and_one_that_has_lost_it_are_left_for_another() {
    for manner in [Manner::SilentAboutChunks, Manner::Lost] {
        let mut world = World::new([manner, manner, Manner::Honest], 64);
        assert_eq!(world.run(1), 64);
        assert_eq!(world.lies, []);
        assert!(world.peers[0].asked > 0 && world.peers[1].asked > 0);
    }
}

#[test]
fn a_chunk_is_asked_of_one_source_at_a_time() {
    let manners = [Manner::SilentAboutChunks, Manner::Honest, Manner::Honest];
    let mut world = World::new(manners, 64);
    let asked = |world: &World| world.peers.iter().map(|peer| peer.asked).sum::<usize>();
    world.step_until(CHUNKS - 1);
    // The last one is that of the silent source, which still has time; the others wait.
    let until_ns = world.now_ns + CHUNK_WAIT_NS / 2;
    while world.now_ns < until_ns {
        assert_eq!(world.step(1), None);
        assert_eq!(asked(&world), CHUNKS as usize);
    }
    assert_eq!(world.run(1), 64);
    assert_eq!(asked(&world), CHUNKS as usize + 1);
}

#[test]
fn a_restart_goes_on_with_the_chunks_it_has_and_looks_at_each_again() {
    let mut world = World::new([Manner::Honest, Manner::Silent, Manner::Silent], 64);
    world.step_until(3);
    world.joiner = None;
    // One of them rots meanwhile.
    let data = world.folder().path().join("joining.data");
    let mut bytes = std::fs::read(&data).unwrap();
    bytes[CHUNK_BYTES as usize + 5] ^= 1;
    std::fs::write(&data, bytes).unwrap();
    world.peers[0].asked = 0;
    world.join(1);
    assert_eq!(world.progress().chunks, 2);
    assert_eq!(world.run(1), 64);
    assert_eq!(world.peers[0].asked, 3);
    assert_eq!(world.folder().verify(64).unwrap().height(), 64);
}

#[test]
fn a_restart_believes_what_it_has_stored_only_by_its_certificate() {
    for is_damaged in [false, true] {
        let mut world = World::new([Manner::Honest, Manner::Silent, Manner::Silent], 64);
        world.step_until(3);
        world.joiner = None;
        let path = world.folder().path().join("joining.certificate");
        let bytes = if is_damaged {
            vec![7; 40]
        } else {
            // Of the same state, by fewer than are needed.
            let statement = statement_of(&world.peers[0].folder.manifest(64).unwrap());
            certificate_bytes(&world.certify(&statement, &[0]))
        };
        std::fs::write(&path, bytes).unwrap();
        world.join(1);
        assert_eq!(world.progress(), JoinProgress::default());
        assert_eq!(world.stored_bytes(), 0, "what nobody vouches for is kept");
        assert_eq!(world.run(1), 64);
    }
}

#[test]
fn what_was_fetched_of_a_snapshot_that_is_overtaken_goes() {
    let mut world = World::new([Manner::Honest, Manner::Silent, Manner::Silent], 64);
    world.step_until(3);
    world.join(65);
    assert_eq!(world.progress().height, 0);
    assert_eq!(world.stored_bytes(), 0);
    // And so it does in the middle of a run.
    let mut world = World::new([Manner::Honest, Manner::Silent, Manner::Silent], 64);
    world.step_until(3);
    (0..50).for_each(|_| assert_eq!(world.step(65), None));
    assert_eq!(world.progress().height, 0);
    assert_eq!(world.stored_bytes(), 0);
}

#[test]
fn the_newest_snapshot_that_is_offered_is_fetched() {
    let world = &mut World::new([Manner::Honest; 3], 64);
    world.take_snapshot(1, 128);
    assert_eq!(world.run(1), 128);
    assert_eq!(world.peers[1].asked as u64, CHUNKS);
}

/// Peers answer one after the other, and the first one may be the one that is behind.
#[test]
fn a_newer_snapshot_that_is_offered_a_little_later_is_fetched() {
    let manners = [Manner::Honest, Manner::Silent, Manner::Silent];
    let world = &mut World::new(manners, 64);
    world.take_snapshot(1, 128);
    world.step(1);
    for _ in 0..OFFER_WAIT_NS / STEP_NS / 2 {
        assert_eq!(world.step(1), None);
    }
    assert_eq!(world.progress().height, 0, "better offers are waited for");
    world.peers[1].manner = Manner::Honest;
    let offer = world.answer(1, &SnapshotPart::Ask).unwrap();
    assert_eq!(world.take(1, offer), Judged::Taken);
    assert_eq!(world.run(1), 128);
    assert_eq!(world.lies, []);
}

#[test]
fn a_snapshot_that_nobody_has_any_more_gives_way_to_a_newer_one() {
    let world = &mut World::new([Manner::Honest, Manner::Honest, Manner::Silent], 64);
    world.step_until(2);
    for peer in 0..2 {
        world.take_snapshot(peer, 128);
        world.peers[peer].folder.keep_newest(1, &[]).unwrap();
        // What is open is read to its end; after a restart of the peer it is not.
        world.peers[peer].serving = Serving::new(world.peers[peer].folder.clone());
    }
    assert_eq!(world.run(1), 128);
    assert_eq!(world.lies, []);
    assert_eq!(world.folder().heights().unwrap(), [128]);
}

#[test]
fn a_source_that_gives_a_chunk_now_and_then_keeps_nobody_from_a_newer_snapshot() {
    let manners = [Manner::SilentAboutChunks, Manner::Silent, Manner::Silent];
    let world = &mut World::new(manners, 64);
    while world.peers[0].asked == 0 {
        world.step(1);
    }
    world.take_snapshot(1, 128);
    let newer = &mut world.peers[1];
    newer.folder.keep_newest(1, &[]).unwrap();
    newer.manner = Manner::Honest;
    let mut reader = world.peers[0].folder.clone().open(64).unwrap();
    let root = reader.manifest().root();
    let began_ns = world.now_ns;
    // Always in time for it to seem to come.
    for chunk in 0..CHUNKS as u32 - 1 {
        (0..140).for_each(|_| assert_eq!(world.step(1), None));
        let bytes = reader.chunk(chunk).unwrap().into();
        let part = SnapshotPart::Chunk { root, chunk, bytes };
        assert_eq!(world.take(0, part), Judged::Taken);
        assert_eq!(world.progress().height, 64);
    }
    assert!(
        world.now_ns < began_ns + PACE_NS,
        "it may be slow until then"
    );
    assert_eq!(world.run(1), 128);
    assert!(world.now_ns < began_ns + PACE_NS + PATIENCE_NS);
}

#[test]
fn an_older_snapshot_takes_the_place_of_none_that_is_newer() {
    let manners = [Manner::Honest, Manner::Silent, Manner::Silent];
    let world = &mut World::new(manners, 128);
    world.step_until(4);
    // Who has it is silent for long, and others have only the one before.
    world.peers[0].manner = Manner::Silent;
    world.take_snapshot(1, 64);
    let older = &mut world.peers[1];
    older.folder.remove(128).unwrap();
    older.manner = Manner::Honest;
    for _ in 0..2 * PATIENCE_NS / STEP_NS {
        assert_eq!(world.step(1), None);
        assert_eq!((world.progress().height, world.progress().chunks), (128, 4));
    }
    world.peers[0].manner = Manner::Honest;
    assert_eq!(world.run(1), 128);
}

#[test]
fn an_older_snapshot_is_fetched_when_the_sources_of_the_newer_one_are_gone() {
    let manners = [Manner::Honest, Manner::Silent, Manner::Silent];
    let world = &mut World::new(manners, 128);
    world.step_until(2);
    // Who has it is gone, after one chunk more, and others have only the one before.
    let mut reader = world.peers[0].folder.clone().open(128).unwrap();
    world.peers[0].manner = Manner::Silent;
    world.take_snapshot(1, 64);
    let older = &mut world.peers[1];
    older.folder.remove(128).unwrap();
    older.manner = Manner::Honest;
    for _ in 0..GONE_NS / STEP_NS {
        assert_eq!(world.step(1), None);
    }
    let (root, chunk) = (reader.manifest().root(), 2);
    let bytes = reader.chunk(chunk).unwrap().into();
    // The one that it is asked for again and again.
    let last = SnapshotPart::Chunk { root, chunk, bytes };
    assert_eq!(world.take(0, last), Judged::Taken);
    let last_ns = world.now_ns;
    while world.progress().height == 128 {
        assert_eq!(world.progress().chunks, 3);
        assert_eq!(world.step(1), None);
        assert!(world.now_ns < last_ns + GONE_NS + 2 * PATIENCE_NS);
    }
    assert!(world.now_ns >= last_ns + GONE_NS, "it may come back");
    assert_eq!(world.run(1), 64);
    assert_eq!(world.lies, []);
}

#[test]
fn a_chunk_that_comes_late_is_taken_and_one_that_nobody_asked_for_is_not() {
    let manners = [Manner::SilentAboutChunks, Manner::Silent, Manner::Silent];
    let world = &mut World::new(manners, 64);
    while world.peers[0].asked == 0 {
        world.step(1);
    }
    let folder = world.peers[0].folder.clone();
    let mut reader = folder.open(64).unwrap();
    let root = reader.manifest().root();
    let mut chunk = |chunk| SnapshotPart::Chunk {
        root,
        chunk,
        bytes: reader.chunk(chunk).unwrap().into(),
    };
    // Of validator 1 nothing was asked: it has offered nothing.
    assert_eq!(world.take(1, chunk(0)), Judged::Idle);
    (0..(CHUNK_WAIT_NS / STEP_NS)).for_each(|_| assert_eq!(world.step(1), None));
    assert_eq!(world.take(0, chunk(0)), Judged::Taken);
    assert_eq!(world.progress().chunks, 1);
    assert_eq!(world.take(0, chunk(0)), Judged::Idle);
}

#[test]
fn no_source_has_more_than_one_chunk_in_flight() {
    let world = &mut World::new([Manner::SilentAboutChunks; 3], 64);
    while world.peers[0].asked == 0 {
        world.step(1);
    }
    (0..10).for_each(|_| assert_eq!(world.step(1), None));
    assert!(world.peers.iter().all(|peer| peer.asked == 1));
}
