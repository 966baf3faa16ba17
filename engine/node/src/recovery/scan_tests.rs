//! Which records may follow which: a log that no run can have written is refused, and not executed.

use std::path::PathBuf;
use std::sync::Arc;

use quorate_consensus::certificate::Target;
use quorate_consensus::machine::Durability;
use quorate_consensus::types::{Epoch, Height};
use quorate_log::{DataFolder, LeaseFile, LeaseRead, LogConfig, MemoryBackend, Opened};
use quorate_proof::events::EventHistory;

use super::*;
use crate::archive::{ARCHIVE_BYTES_MIN, Archive, ArchiveConfig};
use crate::journal::{KIND_BLOCK, encode_base, encode_block, encode_mark};
use crate::recovery::{OpenFolder, RecoveryConfig, initialize, recover};
use crate::state_machine::{Context, Output};
use crate::streams::{Block, PublicRing, PublicStream};
use crate::testing::{TemporaryFolder, final_block, sample_genesis};

const OWN: [u8; 32] = [9; 32];
const BOOT: [u8; 16] = [1; 16];

/// Keeps nothing.
#[derive(Debug, Default)]
struct Nothing;

impl StateMachine for Nothing {
    fn sections(&self) -> &'static [&'static str] {
        &["nothing"]
    }

    fn apply(&mut self, _: &Context, _: &[u8], _: &mut Output) {}

    fn section_root(&mut self, _: usize) -> [u8; 32] {
        [0; 32]
    }

    fn snapshot_section(&self, _: usize, _: &mut Vec<u8>) {}

    fn restore_section(&mut self, _: usize, _: &[u8]) -> Result<(), String> {
        Ok(())
    }

    fn query(&self, _: &[u8], _: &mut Vec<u8>) {}
}

/// A log that is written by hand.
struct Scene {
    set: Arc<ValidatorSet>,
    folder: DataFolder,
    log: Opened,
    executor: Executor<Nothing>,
    snapshot: Option<SnapshotBase>,
}

fn log_config() -> LogConfig {
    LogConfig {
        segment_bytes: 1 << 16,
        ..LogConfig::new([7; 32])
    }
}

fn recovery_config(snapshot: Option<SnapshotBase>) -> RecoveryConfig<'static> {
    RecoveryConfig {
        log: log_config(),
        genesis: b"genesis",
        durability: Durability::Sync,
        boot_id: BOOT,
        incarnation_min: 1,
        own: OWN,
        payload_bytes_max: 1000,
        cache_bytes_max: 1 << 20,
        snapshot,
    }
}

impl Scene {
    fn new() -> Self {
        Self::on(&MemoryBackend::new())
    }

    fn on(disk: &MemoryBackend) -> Self {
        let set = Arc::clone(sample_genesis(4).0.validator_set());
        let folder = DataFolder::in_memory(disk);
        initialize(&folder, &log_config(), b"genesis", BOOT, OWN).unwrap();
        Self {
            log: quorate_log::open(&folder, &log_config(), b"genesis").unwrap(),
            executor: Executor::new(Nothing, 8, set.genesis_time_ns()),
            set,
            folder,
            snapshot: None,
        }
    }

    /// Blocks of these texts, each on the one before.
    fn chain(&self, texts: &[&str]) -> Vec<FinalBlock> {
        let mut parent = self.set.genesis().id;
        let mut blocks = Vec::new();
        for (text, height) in texts.iter().zip(1..) {
            let commands = [(1, height, text.as_bytes())];
            let block = final_block(&self.set, height, parent, &commands);
            parent = block.id;
            blocks.push(block);
        }
        blocks
    }

    fn block(&mut self, block: &FinalBlock) -> RecordRef {
        let mut head = Vec::new();
        encode_block(&block.header, &mut head);
        let parts: [&[u8]; 2] = [&head, &block.payload];
        self.log.writer.append(KIND_BLOCK, &parts).unwrap()
    }

    /// A mark of one block, which says that it stands at a place.
    fn mark(&mut self, of: &FinalBlock, block: RecordRef, below: Option<RecordRef>) -> RecordRef {
        let mark = FinalMark {
            header: of.header,
            block,
            below,
        };
        let mut bytes = Vec::new();
        encode_mark(&mark, &mut bytes);
        self.log.writer.append(KIND_FINALIZED, &[&bytes]).unwrap()
    }

    /// A block and its mark.
    fn finalize(&mut self, block: &FinalBlock, below: Option<RecordRef>) -> RecordRef {
        let place = self.block(block);
        self.mark(block, place, below)
    }

    /// The height that a start comes to, or why it is refused.
    fn recover(mut self) -> Result<u64, &'static str> {
        self.log.syncer.sync(self.log.writer.unsynced()).unwrap();
        drop(self.log);
        let config = recovery_config(self.snapshot);
        match recover(&self.folder, &config, &self.set, &mut self.executor) {
            Ok(recovered) => Ok(recovered.restored.finalized.height.number()),
            Err(RecoveryError::Order { what, .. }) => Err(what),
            Err(RecoveryError::BaseMissing { .. }) => Err("the state below is missing"),
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn a_mark_that_does_not_name_the_newest_one_below_is_refused() {
    for names_the_newest in [true, false] {
        let mut scene = Scene::new();
        let blocks = scene.chain(&["a", "b", "c"]);
        let first = scene.finalize(&blocks[0], None);
        let second = scene.finalize(&blocks[1], Some(first));
        let below = if names_the_newest { second } else { first };
        scene.finalize(&blocks[2], Some(below));
        let expected = if names_the_newest {
            Ok(3)
        } else {
            Err("a finality mark does not name the one below")
        };
        assert_eq!(scene.recover(), expected);
    }
}

#[test]
fn a_mark_whose_place_holds_another_block_of_its_height_is_refused() {
    let mut scene = Scene::new();
    let (one, other) = (scene.chain(&["a"]), scene.chain(&["b"]));
    scene.block(&one[0]);
    let place = scene.block(&other[0]);
    scene.mark(&one[0], place, None);
    let refused = Err("a finality mark names another block");
    assert_eq!(scene.recover(), refused);
}

#[test]
fn a_mark_of_a_block_on_another_branch_than_what_is_final_is_refused() {
    let mut scene = Scene::new();
    let (one, other) = (scene.chain(&["a", "b"]), scene.chain(&["c", "d"]));
    let first = scene.finalize(&one[0], None);
    scene.finalize(&other[1], Some(first));
    let refused = Err("a finalized block does not follow the one below");
    assert_eq!(scene.recover(), refused);
}

/// The state is not that of the log's chain, whatever is executed on it.
#[test]
fn a_snapshot_of_another_block_than_the_log_has_there_is_refused() {
    for is_of_the_chain in [true, false] {
        let mut scene = Scene::new();
        let (one, other) = (scene.chain(&["a", "b", "c"]), scene.chain(&["a", "d"]));
        let mut below = None;
        for block in &one {
            below = Some(scene.finalize(block, below));
        }
        let of = if is_of_the_chain { &one } else { &other };
        for block in &of[..2] {
            let results = &mut BlockResults::new();
            scene.executor.execute(block, results).unwrap();
        }
        scene.snapshot = Some(SnapshotBase {
            header: of[1].header,
            root: [5; 32],
            is_certified: true,
            is_fetched: true,
        });
        let expected = if is_of_the_chain {
            Ok(3)
        } else {
            Err("a snapshot is of another block than the log has there")
        };
        assert_eq!(scene.recover(), expected);
    }
}

#[test]
fn a_base_of_the_newest_block_that_a_log_has_final_is_refused() {
    let mut scene = Scene::new();
    let blocks = scene.chain(&["a", "b"]);
    let first = scene.finalize(&blocks[0], None);
    scene.finalize(&blocks[1], Some(first));
    let (header, root) = (blocks[1].header, [5; 32]);
    let mut bytes = Vec::new();
    encode_base(&header, &root, &mut bytes);
    scene.log.writer.append(KIND_BASE, &[&bytes]).unwrap();
    // All else is in order: that snapshot is here.
    for block in &blocks {
        let results = &mut BlockResults::new();
        scene.executor.execute(block, results).unwrap();
    }
    scene.snapshot = Some(SnapshotBase {
        header,
        root,
        is_certified: true,
        is_fetched: true,
    });
    let refused = Err("a base is of a block that the log has");
    assert_eq!(scene.recover(), refused);
}

/// A full disk has lost nothing: whoever has room again votes where it may.
#[test]
fn r12_a_log_without_room_to_begin_anew_leaves_no_start_suspect() {
    let disk = MemoryBackend::new();
    let scene = Scene::on(&disk);
    let block = scene.chain(&["a"]).remove(0);
    let (set, folder, mut executor) = (scene.set, scene.folder, scene.executor);
    drop(scene.log);
    executor.execute(&block, &mut BlockResults::new()).unwrap();
    let config = recovery_config(Some(SnapshotBase {
        header: block.header,
        root: [5; 32],
        is_certified: true,
        is_fetched: true,
    }));
    let opened = OpenFolder::open(&folder, &config).unwrap();
    disk.refuse_writes(Some(std::io::ErrorKind::StorageFull));
    let refused = opened.recover(config.snapshot, &set, &mut executor);
    assert!(
        matches!(refused, Err(RecoveryError::Base { is_noted: true, .. })),
        "{:?}",
        refused.map(drop)
    );
    disk.refuse_writes(None);
    let Ok(LeaseRead::Present(bytes)) = LeaseFile::new(&folder).read() else {
        panic!("its lease is there");
    };
    let content = quorate_consensus::restart::LeaseFile::decode(&bytes).unwrap();
    assert!(!content.suspect);
    let recovered = recover(&folder, &config, &set, &mut executor).unwrap();
    assert_eq!(recovered.restored.finalized.height.number(), 1);
    assert!(recovered.summary.is_joined);
}

/// Every file of an archive, with its bytes.
fn files(config: &ArchiveConfig) -> Vec<(PathBuf, Vec<u8>)> {
    let entries = std::fs::read_dir(&config.folder).unwrap();
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let read = |path: PathBuf| (path.clone(), std::fs::read(path).unwrap());
    paths.into_iter().map(read).collect()
}

/// The archive of a run that came to height 9; nobody but it and the peers has those events.
fn archive_of_nine_blocks(config: &ArchiveConfig) -> Vec<(PathBuf, Vec<u8>)> {
    let mut archive = Archive::open(config.clone()).unwrap();
    archive.go_on_from(&EventHistory::default()).unwrap();
    for height in 1..=9 {
        let block = Block::from_parts(height, b"event".to_vec(), vec![5]).unwrap();
        archive.append(height, &block).unwrap();
    }
    archive.sync().unwrap();
    drop(archive);
    files(config)
}

#[test]
fn a_start_that_is_refused_leaves_the_archive_of_public_events_as_it_is() {
    type Ending = fn(&mut Scene, &FinalBlock, RecordRef);
    let base: Ending = |scene, block, _| {
        let mut bytes = Vec::new();
        encode_base(&block.header, &[5; 32], &mut bytes);
        scene.log.writer.append(KIND_BASE, &[&bytes]).unwrap();
    };
    let astray: Ending = |scene, block, _| {
        scene.finalize(block, None);
    };
    let good: Ending = |scene, block, below| {
        scene.finalize(block, Some(below));
    };
    let endings = [
        (base, Err("the state below is missing")),
        (astray, Err("a finality mark does not name the one below")),
        (good, Ok(2)),
    ];
    for (ending, expected) in endings {
        let folder = TemporaryFolder::new("scan-archive");
        let config = ArchiveConfig {
            folder: folder.path().join("public"),
            genesis_hash: [7; 32],
            bytes_max: ARCHIVE_BYTES_MIN,
        };
        let before = archive_of_nine_blocks(&config);
        let mut scene = Scene::new();
        let archive = Archive::open(config.clone());
        scene.executor = Executor::new(Nothing, 8, scene.set.genesis_time_ns())
            .keeping_public(PublicStream::new(PublicRing::new(1 << 20), Some(archive)));
        let blocks = scene.chain(&["a", "b"]);
        let first = scene.finalize(&blocks[0], None);
        ending(&mut scene, &blocks[1], first);
        assert_eq!(scene.recover(), expected);
        // What is executed again is written anew.
        assert_eq!(files(&config) == before, expected.is_err(), "{expected:?}");
    }
}

/// In a log that proves far above what it marks, each of them would be held while it is read.
#[test]
fn of_proofs_that_no_mark_reaches_the_newest_are_kept_and_so_many() {
    let scene = Scene::new();
    let store = Store::new(scene.log.reader.clone(), 1 << 20);
    let mut scan = Scan::new(&scene.set, store, None);
    let (place, genesis) = (scene.log.reader.start(), scene.set.genesis());
    let most = PROOFS_AHEAD_MAX as u64;
    for height in 1..=most + 3 {
        let point = Point {
            height: Height::new(height),
            ..genesis
        };
        let proof = Certificate {
            epoch: Epoch::ZERO,
            window: genesis.window,
            target: Target::Final {
                index: genesis.index,
                id: genesis.id,
            },
            records: Vec::new(),
            headers: Vec::new(),
        };
        scan.add_proof(place, point, proof);
    }
    let heights = scan
        .proofs_ahead
        .iter()
        .map(|(point, _)| point.height.number());
    assert!(heights.eq(4..=most + 3));
}
