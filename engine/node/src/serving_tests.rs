//! What is served, to whom it is held, and for how long.

use std::sync::Arc;

use quorate_consensus::attestation::StateCertificate;
use quorate_consensus::types::{BlockId, Height};
use quorate_consensus::validators::ValidatorSet;

use super::*;
use crate::snapshot::{Manifest, SectionEntry};
use crate::testing::{TemporaryFolder, final_block, sample_genesis};

struct Scene {
    set: Arc<ValidatorSet>,
    folder: SnapshotFolder,
    serving: Serving,
    _temporary: TemporaryFolder,
}

impl Scene {
    fn new() -> Self {
        let temporary = TemporaryFolder::new("serving");
        let folder = SnapshotFolder::new(temporary.path().join("snapshots"));
        Self {
            set: Arc::clone(sample_genesis(4).0.validator_set()),
            serving: Serving::new(folder.clone()),
            folder,
            _temporary: temporary,
        }
    }

    /// A snapshot of one chunk; what its certificate says is not judged by who serves it.
    fn write(&self, height: u64, is_certified: bool) -> Manifest {
        let mut writer = self.folder.write(height).unwrap();
        writer.push(b"state").unwrap();
        let sections = vec![SectionEntry {
            name: "text".to_owned(),
            root: [5; 32],
            bytes: 5,
        }];
        let manifest = writer.finish(Manifest {
            genesis_hash: *self.set.genesis_hash(),
            header: final_block(&self.set, height, BlockId::new([3; 32]), &[]).header,
            sections,
            chunks: Vec::new(),
        });
        let manifest = manifest.unwrap();
        if is_certified {
            let certificate = StateCertificate {
                statement: statement_of(&manifest),
                signatures: Vec::new(),
            };
            let mut bytes = Vec::new();
            wire::encode_state_certificate(&certificate, &mut bytes);
            self.folder.put_certificate(height, &bytes).unwrap();
        }
        manifest
    }

    fn offered(&mut self, now_ns: u64, from: u16) -> Option<u64> {
        let from = ValidatorIndex::new(from);
        match self.serving.answer(now_ns, from, &SnapshotPart::Ask)? {
            SnapshotPart::Offer { manifest, .. } => {
                Some(Manifest::decode(&manifest).unwrap().height())
            }
            other => panic!("{other:?}"),
        }
    }

    fn get(&mut self, now_ns: u64, from: u16, manifest: &Manifest, chunk: u32) -> Vec<u8> {
        let place = (manifest.height(), manifest.root(), chunk);
        self.get_at(now_ns, from, place)
    }

    /// The chunk of this height, root and number.
    fn get_at(
        &mut self,
        now_ns: u64,
        from: u16,
        (height, root, chunk): (u64, [u8; 32], u32),
    ) -> Vec<u8> {
        let part = SnapshotPart::Get {
            height: Height::new(height),
            root,
            chunk,
        };
        let from = ValidatorIndex::new(from);
        match self.serving.answer(now_ns, from, &part) {
            Some(SnapshotPart::Chunk { bytes, .. }) => bytes.to_vec(),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn the_newest_snapshot_that_is_vouched_for_is_offered_and_not_too_often() {
    let mut scene = Scene::new();
    assert_eq!(scene.offered(0, 1), None);
    scene.write(64, true);
    scene.write(128, true);
    scene.write(192, false);
    assert_eq!(scene.offered(OFFER_PAUSE_NS - 1, 1), None);
    assert_eq!(scene.offered(OFFER_PAUSE_NS, 1), Some(128));
    assert_eq!(scene.offered(OFFER_PAUSE_NS, 2), Some(128));
}

#[test]
fn a_chunk_is_served_by_root_and_what_is_not_here_is_said_to_be_none() {
    let mut scene = Scene::new();
    let manifest = scene.write(64, true);
    assert_eq!(scene.get(0, 1, &manifest, 0), b"state");
    assert!(scene.get(0, 1, &manifest, 1).is_empty());
    let mut other = manifest.clone();
    other.sections[0].root = [6; 32];
    assert!(scene.get(0, 1, &other, 0).is_empty());
    // Damage is not served as if it were the chunk.
    let data = scene
        .folder
        .path()
        .join(format!("snapshot-{:020}.data", 64));
    std::fs::write(data, b"stale").unwrap();
    assert!(scene.get(0, 1, &manifest, 0).is_empty());
}

#[test]
fn what_a_peer_is_fetching_is_held_until_it_pauses() {
    let mut scene = Scene::new();
    let manifest = scene.write(64, true);
    assert_eq!(scene.serving.held(0), [0; 0]);
    assert_eq!(scene.offered(0, 1), Some(64));
    assert_eq!(scene.serving.held(HOLD_NS - 1), [64]);
    scene.get(HOLD_NS - 1, 1, &manifest, 0);
    // A newer one does not take its place while more sources are looked for.
    scene.write(128, true);
    assert_eq!(scene.offered(HOLD_NS - 1, 1), Some(128));
    assert_eq!(scene.serving.held(2 * HOLD_NS - 2), [64]);
    assert_eq!(scene.serving.held(2 * HOLD_NS - 1), [0; 0]);
}

/// What is held and is not here would hold the log whole, which the next one asked for does anew.
#[test]
fn who_asks_for_what_is_not_here_holds_nothing() {
    let mut scene = Scene::new();
    let manifest = scene.write(64, true);
    let (root, other) = (manifest.root(), [8; 32]);
    let vain = [
        (1, root, 0),
        (64, other, 0),
        (64, root, 1),
        (1, root, 0),
        (63, root, 0),
        (65, root, 0),
    ];
    for (now_ns, place) in (0..).zip(vain) {
        assert!(scene.get_at(now_ns, 1, place).is_empty(), "{place:?}");
        assert_eq!(scene.serving.held(now_ns), [0; 0], "{place:?}");
    }
    // The same while it is open for another peer.
    for (now_ns, place) in (10..).zip(vain) {
        assert_eq!(scene.get(now_ns, 2, &manifest, 0), b"state");
        assert!(scene.get_at(now_ns, 1, place).is_empty(), "{place:?}");
        assert_eq!(scene.serving.held(now_ns), [64], "{place:?}");
    }
}

#[test]
fn no_snapshot_is_held_for_ever_by_one_peer_after_the_other() {
    let mut scene = Scene::new();
    let manifest = scene.write(64, true);
    let mut now_ns = 0;
    while now_ns < HOLD_MAX_NS {
        scene.get(now_ns, (now_ns / HOLD_NS % 3) as u16, &manifest, 0);
        assert_eq!(scene.serving.held(now_ns), [64]);
        now_ns += HOLD_NS / 2;
    }
    for from in 0..3 {
        scene.get(now_ns, from, &manifest, 0);
    }
    assert_eq!(scene.serving.held(now_ns), [0; 0]);
    now_ns += 2 * HOLD_NS;
    scene.get(now_ns, 0, &manifest, 0);
    assert_eq!(scene.serving.held(now_ns), [0; 0]);
    // The next one has its own time.
    let newer = scene.write(128, true);
    scene.get(now_ns, 0, &newer, 0);
    assert_eq!(scene.serving.held(now_ns), [128]);
}

#[test]
fn peers_cannot_hold_more_than_a_few_snapshots() {
    let mut scene = Scene::new();
    let manifests: Vec<Manifest> = (1..=4).map(|at| scene.write(64 * at, true)).collect();
    for (from, manifest) in manifests.iter().enumerate() {
        scene.get(from as u64, from as u16, manifest, 0);
    }
    // Who came first keeps its own, and who asked last is fetching now.
    assert_eq!(scene.serving.held(9), [64, 256]);
    scene.get(10, 2, &manifests[2], 0);
    assert_eq!(scene.serving.held(10), [64, 192]);
    scene.get(11, 0, &manifests[0], 0);
    assert_eq!(scene.serving.held(11), [64, 128]);
    scene.folder.keep_newest(1, &[64, 192]).unwrap();
    assert_eq!(scene.folder.heights().unwrap(), [64, 192, 256]);
}

#[test]
fn a_chunk_behind_the_last_one_is_nothing_and_no_fault_of_the_disk() {
    let mut scene = Scene::new();
    let manifest = scene.write(8, true);
    let mut reader = scene.folder.open(8).unwrap();
    assert_eq!(reader.chunk(0).unwrap(), b"state");
    for behind in [1, 2, u32::MAX] {
        assert_eq!(reader.chunk(behind).unwrap(), b"", "{behind}");
        let root = manifest.root();
        assert_eq!(scene.serving.chunk(8, &root, behind), None, "{behind}");
        assert!(scene.serving.open.is_some(), "it is not opened anew");
    }
}

#[test]
fn what_nobody_fetches_any_more_is_not_held_open() {
    let mut scene = Scene::new();
    let manifest = scene.write(64, true);
    scene.get(0, 1, &manifest, 0);
    assert_eq!(scene.serving.held(HOLD_NS - 1), [64]);
    assert!(scene.serving.open.is_some());
    assert_eq!(scene.serving.held(HOLD_NS), [0; 0]);
    assert!(scene.serving.open.is_none(), "it takes room on the disk");
}
