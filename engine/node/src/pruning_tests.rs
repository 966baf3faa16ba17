//! What keeps a segment, and for how long.

use super::*;
use crate::journal::{KIND_BLOCK, KIND_EVIDENCE, KIND_RECORD, encode_record};
use crate::testing::sample_genesis;
use quorate_consensus::header::{HEADER_VERSION, Header};
use quorate_consensus::record::{OwnRecord, Record};
use quorate_consensus::types::{BlockId, Epoch, Index};
use quorate_consensus::wire;
use quorate_log::{DataFolder, LogConfig, MemoryBackend, Opened};

/// A log of segments of 4 KiB, each with three blocks of one window and height.
struct Scene {
    disk: MemoryBackend,
    log: Opened,
    places: Vec<RecordRef>,
    served: Arc<Served>,
}

fn header(window: u64, height: u64) -> Header {
    let set = sample_genesis(4).0;
    let set = set.validator_set();
    Header {
        version: HEADER_VERSION,
        flags: 0,
        chain_id: *set.chain_id(),
        epoch: Epoch::ZERO,
        set_hash: *set.set_hash(),
        window: Window::new(window),
        index: Index::ZERO,
        height: Height::new(height),
        time_ns: set.genesis_time_ns() + height,
        parent_id: BlockId::new([1; 32]),
        payload_hash: *blake3::hash(&[0; 1000]).as_bytes(),
        payload_bytes: 1000,
    }
}

impl Scene {
    fn new(blocks: u64) -> Self {
        let disk = MemoryBackend::new();
        let folder = DataFolder::in_memory(&disk);
        let config = LogConfig {
            segment_bytes: 4096,
            ..LogConfig::new([7; 32])
        };
        let log = quorate_log::open(&folder, &config, b"genesis").unwrap();
        let (places, served) = (Vec::new(), Arc::default());
        let mut scene = Self {
            disk,
            log,
            places,
            served,
        };
        (1..=blocks).for_each(|number| scene.block(number, number));
        scene.sync();
        scene
    }

    fn block(&mut self, window: u64, height: u64) {
        let mut bytes = crate::journal::ENTRY_VERSION.to_le_bytes().to_vec();
        wire::encode_header(&header(window, height), &mut bytes);
        let place = self.log.writer.append(KIND_BLOCK, &[&bytes, &[0; 1000]]);
        self.places.push(place.unwrap());
    }

    fn sync(&mut self) {
        self.log.syncer.sync(self.log.writer.unsynced()).unwrap();
    }

    fn pruning(&mut self, bytes_max: u64) -> Pruning {
        let folder = DataFolder::in_memory(&MemoryBackend::new());
        let other = quorate_log::open(&folder, &LogConfig::new([1; 32]), b"other").unwrap();
        let pruner = std::mem::replace(&mut self.log.pruner, other.pruner);
        let served = Arc::clone(&self.served);
        Pruning::new(pruner, self.log.reader.clone(), served, bytes_max)
    }

    /// A start needs what is above this height and window, and the records at their block.
    fn needed(&self, height: u64, window: u64) -> Needed {
        let place = |number: u64| self.places[usize::try_from(number).unwrap() - 1];
        Needed {
            height: Height::new(height),
            mark: place(height),
            window: Window::new(window),
            proof: place(window),
        }
    }

    fn first(&self) -> u32 {
        self.log.reader.start().offset.segment()
    }
}

/// Steps until nothing more goes; what the last one said.
fn run(pruning: &mut Pruning, needed: &Needed, now: Instant) -> Pruned {
    loop {
        match pruning.step(needed, 5, now).unwrap() {
            Pruned::More | Pruned::Removed { .. } => {}
            done => return done,
        }
    }
}

#[test]
fn the_oldest_segments_go_until_the_budget_holds() {
    let mut scene = Scene::new(60);
    let needed = scene.needed(60, 60);
    let last = scene.log.writer.end().offset.segment();
    let mut never = scene.pruning(0);
    assert_eq!(run(&mut never, &needed, Instant::now()), Pruned::Nothing);
    assert_eq!(scene.first(), 0);

    let mut scene = Scene::new(60);
    let mut pruning = scene.pruning(6 * 4096);
    assert_eq!(run(&mut pruning, &needed, Instant::now()), Pruned::Nothing);
    assert_eq!(scene.first(), last - 5);
    assert!(!pruning.is_due());
}

#[test]
fn nothing_goes_that_a_start_from_the_snapshot_needs() {
    // The mark, the proof, a body above the snapshot, a block or word of a window that is open.
    for (height, window) in [(20, 50), (50, 20)] {
        let mut scene = Scene::new(60);
        let needed = scene.needed(height, window);
        let mut pruning = scene.pruning(4 * 4096);
        run(&mut pruning, &needed, Instant::now());
        assert_eq!(scene.first(), scene.places[19].offset.segment());
    }
    for (window, height) in [(1, 58), (57, 1), (56, 1)] {
        let mut scene = Scene::new(20);
        scene.block(window, height);
        let held = *scene.places.last().unwrap();
        (22..=60).for_each(|number| scene.block(number, number));
        scene.sync();
        let needed = scene.needed(56, 56);
        let mut pruning = scene.pruning(4 * 4096);
        run(&mut pruning, &needed, Instant::now());
        assert_eq!(scene.first(), held.offset.segment());
        // When the snapshot and the proof are above it, it goes too.
        let needed = scene.needed(59, 59);
        run(&mut pruning, &needed, Instant::now());
        assert!(scene.first() > held.offset.segment());
    }
}

/// Old segments were looked at for a high snapshot; then a peer begins to fetch a lower one.
#[test]
fn what_was_passed_for_a_higher_snapshot_is_looked_at_again_for_a_lower_one() {
    for (window, height, lower) in [(1, 41, (40, 58)), (41, 1, (58, 40))] {
        let mut scene = Scene::new(20);
        scene.block(window, height);
        let held = *scene.places.last().unwrap();
        (22..=60).for_each(|number| scene.block(number, number));
        scene.sync();
        let higher = scene.needed(58, 58);
        let mut pruning = scene.pruning(4 * 4096);
        // All below the higher one is looked at in one go, of which one segment goes.
        let step = pruning.step(&higher, 1000, Instant::now()).unwrap();
        assert!(matches!(step, Pruned::Removed { .. }), "{step:?}");
        assert!(scene.first() < held.offset.segment());
        let lower = scene.needed(lower.0, lower.1);
        assert!(held.offset.segment() < lower.segment());
        run(&mut pruning, &lower, Instant::now());
        assert_eq!(scene.first(), held.offset.segment());
        run(&mut pruning, &higher, Instant::now());
        assert!(scene.first() > held.offset.segment());
    }
}

/// A start votes on in the window of the proof, from what it said there last.
#[test]
fn an_own_word_of_the_proven_window_stays_and_one_below_goes() {
    let mut scene = Scene::new(20);
    let own = OwnRecord {
        window: Window::new(57),
        record: Record::default(),
    };
    let mut bytes = Vec::new();
    encode_record(Epoch::ZERO, &own, &mut bytes);
    let held = scene.log.writer.append(KIND_RECORD, &[&bytes]).unwrap();
    (21..=60).for_each(|number| scene.block(number, number));
    scene.sync();
    let mut pruning = scene.pruning(4 * 4096);
    let needed = scene.needed(59, 57);
    run(&mut pruning, &needed, Instant::now());
    assert_eq!(scene.first(), held.offset.segment());
    let needed = scene.needed(59, 58);
    run(&mut pruning, &needed, Instant::now());
    assert!(scene.first() > held.offset.segment());
}

#[test]
fn a_record_that_is_not_understood_stays() {
    for kind in [KIND_RECORD, KIND_EVIDENCE, RecordKind::new(99)] {
        let mut scene = Scene::new(20);
        let held = scene.log.writer.append(kind, &[&[9; 40]]).unwrap();
        (21..=60).for_each(|number| scene.block(number, number));
        scene.sync();
        let needed = scene.needed(60, 60);
        let mut pruning = scene.pruning(4 * 4096);
        run(&mut pruning, &needed, Instant::now());
        assert_eq!(scene.first(), held.offset.segment());
    }
}

#[test]
fn a_record_that_cannot_be_read_stays_and_is_told_of_once() {
    let mut scene = Scene::new(60);
    let needed = scene.needed(60, 60);
    let mut pruning = scene.pruning(4 * 4096);
    let rot = |number: usize| {
        let place = scene.places[number];
        let name = format!("segment-{:010}", place.offset.segment());
        let at = place.offset.bytes() as usize + 100;
        scene.disk.rot(&name, at, 1, true);
        place.offset.segment()
    };
    let told = |pruning: &mut Pruning| match run(pruning, &needed, Instant::now()) {
        Pruned::Unreadable {
            error: ReadError::Faulty(fault),
            is_new,
        } => (fault.segment, is_new),
        other => panic!("{other:?}"),
    };
    let (low, high) = (rot(21), rot(31));
    assert_eq!(told(&mut pruning), (low, true));
    assert_eq!(scene.first(), low);
    (0..3).for_each(|_| assert_eq!(told(&mut pruning), (low, false)));
    // Once it is mended it goes, and the next one is told of.
    rot(21);
    assert_eq!(told(&mut pruning), (high, true));
    assert_eq!(scene.first(), high);
    assert_eq!(told(&mut pruning), (high, false));
}

#[test]
fn a_peer_that_is_served_holds_old_segments_for_a_bounded_time() {
    let mut scene = Scene::new(60);
    let needed = scene.needed(58, 58);
    let mut pruning = scene.pruning(4 * 4096);
    let start = Instant::now();
    let after = |seconds| start + Duration::from_secs(seconds);
    // From what stays anyway: that holds nothing.
    scene.served.note(needed.segment());
    assert!(matches!(
        pruning.step(&needed, 5, start),
        Ok(Pruned::More | Pruned::Removed { .. })
    ));
    for seconds in [0, 30, 60] {
        scene.served.note(3);
        assert_eq!(run(&mut pruning, &needed, after(seconds)), Pruned::Held);
    }
    assert_eq!(run(&mut pruning, &needed, after(119)), Pruned::Held);
    let held_at = scene.first();
    assert_eq!(run(&mut pruning, &needed, after(120)), Pruned::Nothing);
    assert!(scene.first() > held_at);

    let mut scene = Scene::new(60);
    let mut pruning = scene.pruning(4 * 4096);
    for seconds in (0..600).step_by(30) {
        scene.served.note(0);
        assert_eq!(run(&mut pruning, &needed, after(seconds)), Pruned::Held);
    }
    // Without a pause, but for too long.
    scene.served.note(0);
    assert_eq!(run(&mut pruning, &needed, after(600)), Pruned::Nothing);
    assert!(scene.first() > 0);
}

#[test]
fn a_log_is_overgrown_when_it_is_larger_than_its_budget_by_half() {
    let mut pruning = Scene::new(30).pruning(0);
    let bytes = pruning.pruner.log_bytes();
    assert!(!pruning.is_overgrown(), "it has no budget");
    for (budget, is_overgrown) in [
        (bytes, false),
        (bytes * 2 / 3 + 1, false),
        (bytes * 2 / 3 - 2, true),
        (1, true),
        (u64::MAX, false),
    ] {
        pruning.bytes_max = budget;
        assert_eq!(pruning.is_overgrown(), is_overgrown, "{budget} of {bytes}");
    }
}
