//! What the shadow reads, when it takes a snapshot, and what it keeps beside one.

use std::sync::Arc;

use quorate_consensus::certificate::{Certificate, Target};
use quorate_consensus::machine::Durability;
use quorate_consensus::types::Epoch;
use quorate_log::{DataFolder, LogConfig, MemoryBackend, Opened, Syncer};

use super::*;
use crate::journal::{Journal, JournalOp, JournalStart, Journaled};
use crate::snapshot_work::SnapshotWork;
use crate::stages::exchange::{Exchange, ExchangeParts};
use crate::state_machine::{Context, Output};
use crate::testing::{TemporaryFolder, final_block, sample_genesis};

/// Counts commands.
#[derive(Debug, Default)]
struct Count(u64);

impl StateMachine for Count {
    fn sections(&self) -> &'static [&'static str] {
        &["count"]
    }

    fn apply(&mut self, _: &Context, _: &[u8], _: &mut Output) {
        self.0 += 1;
    }

    fn section_root(&mut self, _: usize) -> [u8; 32] {
        *blake3::hash(&self.0.to_le_bytes()).as_bytes()
    }

    fn snapshot_section(&self, _: usize, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.0.to_le_bytes());
    }

    fn restore_section(&mut self, _: usize, bytes: &[u8]) -> Result<(), String> {
        self.0 = u64::from_le_bytes(bytes.try_into().map_err(|_| "no number".to_owned())?);
        Ok(())
    }

    fn query(&self, _: &[u8], _: &mut Vec<u8>) {}
}

const OWN: [u8; 32] = [9; 32];

fn log_config() -> LogConfig {
    LogConfig {
        segment_bytes: 1 << 16,
        ..LogConfig::new([7; 32])
    }
}

/// A log that grows, with the executor of the validator that writes it.
struct Scene {
    memory: MemoryBackend,
    set: Arc<ValidatorSet>,
    folder: DataFolder,
    journal: Journal,
    syncer: Syncer,
    reader: Reader,
    pruner: Option<quorate_log::Pruner>,
    scrubber: Option<quorate_log::Scrubber>,
    served: Arc<crate::store::Served>,
    executor: Executor<Count>,
    parent: quorate_consensus::types::BlockId,
    height: u64,
    temporary: TemporaryFolder,
}

impl Scene {
    fn new() -> Self {
        let set = Arc::clone(sample_genesis(4).0.validator_set());
        let memory = MemoryBackend::new();
        let folder = DataFolder::in_memory(&memory);
        crate::recovery::initialize(&folder, &log_config(), b"genesis", [1; 16], OWN).unwrap();
        let opened = quorate_log::open(&folder, &log_config(), b"genesis").unwrap();
        let Opened {
            writer,
            syncer,
            reader,
            pruner,
            scrubber,
            ..
        } = opened;
        let start = JournalStart::default();
        Self {
            journal: Journal::new(writer, start, Durability::Async, Epoch::ZERO, 1),
            memory,
            folder,
            syncer,
            reader,
            pruner: Some(pruner),
            scrubber: Some(scrubber),
            served: Arc::default(),
            executor: Executor::new(Count::default(), 8, set.genesis_time_ns()),
            parent: set.genesis().id,
            set,
            height: 0,
            temporary: TemporaryFolder::new("shadow"),
        }
    }

    /// Appends blocks up to a height; without the sync nobody may build on them.
    fn append_to(&mut self, height: u64) {
        while self.height < height {
            self.height += 1;
            let commands = [(1, self.height, &b"x"[..])];
            let block = final_block(&self.set, self.height, self.parent, &commands);
            self.parent = block.id;
            self.executor
                .execute(&block, &mut BlockResults::new())
                .unwrap();
            let (id, header) = (block.id, block.header);
            let payload = Arc::clone(&block.payload);
            let append = JournalOp::Block {
                id,
                header,
                payload,
            };
            for op in [append, JournalOp::Finalized(block)] {
                self.journal.append(0, op, &mut Vec::new()).unwrap();
            }
        }
    }

    fn sync(&mut self) {
        let mut jobs = Vec::new();
        self.journal.sync_jobs(u64::MAX, &mut jobs);
        for job in jobs {
            if let crate::journal::SyncJob::Sync(range) = job {
                let end = self.syncer.sync(range).unwrap();
                let done = Ok(crate::journal::SyncDone::Synced(end));
                self.journal.complete(done, &mut Vec::new()).unwrap();
            }
        }
    }

    fn shadow(&self, every_heights: u64, base: Option<(u64, RecordRef)>) -> Shadow<Count> {
        self.shadow_of(Count::default(), every_heights, base)
    }

    fn shadow_of<S: StateMachine>(
        &self,
        app: S,
        every_heights: u64,
        base: Option<(u64, RecordRef)>,
    ) -> Shadow<S> {
        let policy = SnapshotPolicy {
            folder: SnapshotFolder::new(self.temporary.path().join("snapshots")),
            every_heights,
            keep: 2,
        };
        let executor = Executor::new(app, 8, self.set.genesis_time_ns());
        Shadow::new(executor, &self.set, policy, self.reader.clone(), base).unwrap()
    }
}

/// Everything that is taken until nothing is left.
fn taken<S: StateMachine>(shadow: &mut Shadow<S>) -> Vec<StateStatement> {
    let mut all = Vec::new();
    loop {
        match shadow.advance(7).unwrap() {
            Progress::More => {}
            Progress::Idle => return all,
            Progress::Taken(statement) => all.push(statement),
            Progress::Faulty(fault) => panic!("{fault}"),
            Progress::Failed(error) | Progress::Forgotten(error) => panic!("{error}"),
        }
    }
}

#[test]
fn a_snapshot_is_taken_at_its_height_with_the_roots_of_the_validator_s_own_state() {
    let mut scene = Scene::new();
    let mut shadow = scene.shadow(128, None).giving_way();
    scene.append_to(128);
    let mut root = scene.executor.root().statement(scene.parent, None);
    scene.append_to(200);
    scene.sync();
    let taken = taken(&mut shadow);
    assert_eq!(taken.len(), 1);
    root.snapshot = taken[0].snapshot;
    assert_eq!(taken[0], root);
    assert_eq!(shadow.folder.heights().unwrap(), [128]);
    assert_eq!(shadow.height(), 200);
}

#[test]
fn what_a_power_cut_could_take_back_is_in_no_snapshot() {
    let mut scene = Scene::new();
    let mut shadow = scene.shadow(64, None);
    scene.append_to(63);
    scene.sync();
    scene.append_to(64);
    assert!(taken(&mut shadow).is_empty());
    assert_eq!(shadow.height(), 63);
    scene.sync();
    assert_eq!(taken(&mut shadow).len(), 1);
}

#[test]
fn a_shadow_that_begins_with_a_snapshot_goes_on_as_one_that_read_it_all() {
    let mut scene = Scene::new();
    let mut shadow = scene.shadow(64, None);
    scene.append_to(64);
    let mark = scene.reader.iter().map(Result::unwrap);
    let mark = mark.filter(|record| record.kind() == KIND_FINALIZED).last();
    let mark = mark.unwrap().place();
    scene.sync();
    taken(&mut shadow);
    let mut second = scene.shadow(64, Some((64, mark)));
    scene.append_to(200);
    scene.sync();
    assert_eq!(taken(&mut shadow), taken(&mut second));
    assert_eq!(second.executor.root(), scene.executor.root());
    // The policy keeps two.
    assert_eq!(shadow.folder.heights().unwrap(), [128, 192]);
}

#[test]
fn a_snapshot_out_of_turn_is_of_the_newest_attested_state() {
    let mut scene = Scene::new();
    let mut shadow = scene.shadow(0, None);
    assert_eq!(shadow.next_due(), None);
    scene.append_to(150);
    scene.sync();
    shadow.ask(150);
    assert_eq!(shadow.next_due(), Some(128));
    assert_eq!(taken(&mut shadow)[0].height.number(), 128);
    shadow.ask(150);
    assert_eq!(shadow.next_due(), Some(192));
}

#[test]
fn a_certificate_stands_beside_its_snapshot_and_never_beside_another() {
    let mut scene = Scene::new();
    let mut shadow = scene.shadow(64, None);
    scene.append_to(64);
    scene.sync();
    let root = scene.executor.root().statement(scene.parent, None);
    let of = |statement: StateStatement| StateCertificate {
        statement,
        signatures: vec![(quorate_consensus::types::ValidatorIndex::new(1), [4; 64])],
    };
    // It comes before the snapshot is there: one that is true, and one that is not.
    let mut copy = scene.shadow(64, None);
    let snapshot = taken(&mut copy)[0].snapshot;
    shadow.folder.remove(64).unwrap();
    shadow.certify(of(StateStatement {
        snapshot: Some([1; 32]),
        ..root.clone()
    }));
    shadow.certify(of(StateStatement {
        snapshot,
        ..root.clone()
    }));
    assert_eq!(shadow.folder.certificate(64).unwrap(), None);
    let taken = taken(&mut shadow);
    let bytes = shadow.folder.certificate(64).unwrap().expect("it is there");
    let certificate = wire::decode_state_certificate(&bytes).unwrap();
    assert_eq!(certificate.statement, taken[0]);
}

impl Scene {
    /// A finality proof of the newest block, said to be of this window. Says where it stands.
    fn prove(&mut self, window: u64) -> RecordRef {
        self.prove_at(window, self.height)
    }

    /// The same of a block that need not be there yet.
    fn prove_at(&mut self, window: u64, height: u64) -> RecordRef {
        let block = final_block(&self.set, height, self.parent, &[]);
        let point = Point {
            height: Height::new(height),
            window: Window::new(window),
            index: block.header.index,
            id: self.parent,
        };
        let proof = Certificate {
            epoch: Epoch::ZERO,
            window: point.window,
            target: Target::Final {
                index: point.index,
                id: point.id,
            },
            records: Vec::new(),
            headers: vec![block.header],
        };
        let (op, mut done) = (JournalOp::Proof { point, proof }, Vec::new());
        self.journal.append(0, op, &mut done).unwrap();
        let [Journaled::Proof { place, .. }] = done[..] else {
            panic!("{done:?}");
        };
        place
    }

    fn pruning_shadow(&mut self, bytes_max: u64) -> Shadow<Count> {
        let pruning = self.pruning(bytes_max);
        self.shadow(256, None).with_pruning(pruning)
    }

    fn pruning(&mut self, bytes_max: u64) -> Pruning {
        let pruner = self.pruner.take().unwrap();
        let (reader, served) = (self.reader.clone(), Arc::clone(&self.served));
        Pruning::new(pruner, reader, served, bytes_max)
    }

    fn first(&self) -> u32 {
        self.reader.start().offset.segment()
    }

    /// Recovers from what the log and the snapshots hold, as a start does.
    fn recover(
        folder: &DataFolder,
        set: &ValidatorSet,
        snapshots: &SnapshotFolder,
    ) -> Result<(u64, crate::recovery::Recovered), crate::recovery::RecoveryError> {
        let mut executor = Executor::new(Count::default(), 8, set.genesis_time_ns());
        let snapshot = crate::recovery::restore_newest(snapshots, set, &mut executor, None)?;
        let config = crate::recovery::RecoveryConfig {
            log: log_config(),
            genesis: b"genesis",
            durability: Durability::Async,
            boot_id: [1; 16],
            incarnation_min: 1,
            own: OWN,
            payload_bytes_max: 1000,
            cache_bytes_max: 1 << 20,
            snapshot,
        };
        let recovered = crate::recovery::recover(folder, &config, set, &mut executor)?;
        Ok((executor.app().0, recovered))
    }
}

fn vouch(shadow: &mut Shadow<Count>, statement: StateStatement) {
    let signatures = vec![(quorate_consensus::types::ValidatorIndex::new(1), [4; 64])];
    shadow.certify(StateCertificate {
        statement,
        signatures,
    });
}

/// Prunes until nothing more goes.
fn prune(shadow: &mut Shadow<Count>) -> Pruned {
    loop {
        match shadow.prune(50, std::time::Instant::now()).unwrap() {
            Pruned::More | Pruned::Removed { .. } => {}
            done => return done,
        }
    }
}

#[test]
fn segments_go_only_below_a_snapshot_that_is_attested_and_a_proof_that_is_synced() {
    let mut scene = Scene::new();
    let mut shadow = scene.pruning_shadow(1 << 16);
    scene.append_to(500);
    scene.prove(1);
    scene.append_to(512);
    scene.sync();
    let taken = taken(&mut shadow);
    assert_eq!(taken.len(), 2);
    assert_eq!((prune(&mut shadow), scene.first()), (Pruned::Nothing, 0));
    vouch(&mut shadow, taken[0].clone());
    prune(&mut shadow);
    let first = scene.first();
    assert!(first > 0, "what stands below the first snapshot is gone");
    let place = |shadow: &Shadow<Count>, height: u64| {
        let mark = shadow.marks.iter().find(|(at, _)| *at == height);
        mark.expect("it was taken").1.offset.segment()
    };
    assert!(first <= place(&shadow, 256));
    // One whose data is not what it was lets nothing go.
    let data = shadow
        .folder
        .path()
        .join("snapshot-00000000000000000512.data");
    let sound = std::fs::read(&data).unwrap();
    std::fs::write(&data, vec![7; sound.len()]).unwrap();
    vouch(&mut shadow, taken[1].clone());
    prune(&mut shadow);
    assert_eq!(scene.first(), first);
}

#[test]
fn a_validator_starts_from_a_pruned_log_and_its_snapshot_and_serves_the_rest() {
    let mut scene = Scene::new();
    let mut shadow = scene.pruning_shadow(1 << 16);
    scene.append_to(300);
    scene.prove(1);
    scene.append_to(512);
    scene.sync();
    let statement = taken(&mut shadow).pop().unwrap();
    vouch(&mut shadow, statement);
    prune(&mut shadow);
    scene.append_to(600);
    scene.sync();
    assert!(scene.first() > 0);
    let (set, folder, commands) = (Arc::clone(&scene.set), scene.folder, scene.executor.app().0);
    let snapshots = SnapshotFolder::new(scene.temporary.path().join("snapshots"));
    drop((scene.journal, scene.syncer, scene.reader, shadow));
    drop(scene.scrubber);

    let (applied, recovered) = Scene::recover(&folder, &set, &snapshots).unwrap();
    assert_eq!(
        (applied, recovered.restored.finalized.height.number()),
        (commands, 600)
    );
    assert_eq!(recovered.restored.proven.window, Window::new(1));
    assert!(recovered.snapshot_mark.is_some());
    let store = &recovered.store;
    let top = quorate_consensus::message::BlockRef {
        height: recovered.restored.finalized.height,
        id: recovered.restored.finalized.id,
    };
    let headers = store.history(&top, 1000).unwrap();
    let lowest = headers.last().unwrap();
    assert!(headers.len() < 600 && headers.len() > 600 - 512);
    let below = |header: &Header| quorate_consensus::message::BlockRef {
        height: Height::new(header.height.number() - 1),
        id: header.parent_id,
    };
    assert!(store.history(&below(lowest), 10).unwrap().is_empty());
    assert!(store.block(&below(lowest)).unwrap().is_none());
    assert!(store.block(&below(&headers[0])).unwrap().is_some());
    let lowest_height = lowest.height.number();
    drop(recovered);

    // Without the snapshot nothing says what the state was where the log begins.
    for height in snapshots.heights().unwrap() {
        snapshots.remove(height).unwrap();
    }
    let error = Scene::recover(&folder, &set, &snapshots)
        .map(drop)
        .unwrap_err();
    let crate::recovery::RecoveryError::BaseMissing { first } = error else {
        panic!("{error}")
    };
    assert_eq!(first, lowest_height);
}

#[test]
fn what_cannot_be_read_beside_a_whole_snapshot_refuses_no_start() {
    let mut scene = Scene::new();
    let mut shadow = scene.shadow(64, None);
    scene.append_to(150);
    scene.sync();
    assert_eq!(taken(&mut shadow).len(), 2);
    let path = scene.temporary.path().join("snapshots");
    let (set, folder) = (Arc::clone(&scene.set), scene.folder);
    drop((scene.journal, scene.syncer, scene.reader, shadow));
    drop((scene.pruner, scene.scrubber));
    let named = |height: u64, ending: &str| path.join(format!("snapshot-{height:020}.{ending}"));
    for ending in ["certificate", "fetched"] {
        std::fs::create_dir(named(128, ending)).unwrap();
    }
    // Under a name that is not its own.
    for ending in ["data", "manifest"] {
        std::fs::copy(named(64, ending), named(192, ending)).unwrap();
    }
    let snapshots = SnapshotFolder::new(path.clone());
    let (_, recovered) = Scene::recover(&folder, &set, &snapshots).unwrap();
    assert_eq!(recovered.summary.snapshot, 128);
    assert_eq!(recovered.summary.height, 150);
}

#[test]
fn a_snapshot_that_a_peer_is_fetching_stays_and_so_does_the_log_above_it() {
    let mut scene = Scene::new();
    let mut shadow = scene.pruning_shadow(1 << 16);
    scene.append_to(500);
    scene.prove(1);
    scene.append_to(1024);
    scene.sync();
    // The policy keeps two of the four; a peer is fetching the first one.
    shadow.hold(vec![256]);
    for statement in taken(&mut shadow) {
        vouch(&mut shadow, statement);
    }
    assert_eq!(shadow.folder.heights().unwrap(), [256, 768, 1024]);
    let place = |shadow: &Shadow<Count>, height: u64| {
        let mark = shadow.marks.iter().find(|(at, _)| *at == height);
        mark.map(|(_, mark)| mark.offset.segment())
    };
    let held = place(&shadow, 256).expect("it is held");
    prune(&mut shadow);
    assert!(scene.first() <= held && held < place(&shadow, 1024).unwrap());
    // What is held and stands nobody knows where holds all.
    shadow.hold(vec![64]);
    assert_eq!(prune(&mut shadow), Pruned::Held);
    shadow.hold(Vec::new());
    prune(&mut shadow);
    assert!(scene.first() > held, "what nobody needs goes");
}

/// What follows an older proof is needed until the shadow has the block that a newer one is of.
#[test]
fn a_proof_of_a_block_that_is_not_executed_lets_nothing_go() {
    let mut scene = Scene::new();
    let mut shadow = scene.pruning_shadow(1 << 16);
    scene.append_to(300);
    let older = scene.prove(1);
    scene.append_to(600);
    // As they come to a validator that is behind; the lowest one counts first.
    let first_ahead = scene.prove_at(2, 700);
    scene.append_to(650);
    let second_ahead = scene.prove_at(3, 800);
    scene.sync();
    let attested = taken(&mut shadow).pop().unwrap();
    assert_eq!((attested.height.number(), shadow.height()), (512, 650));
    vouch(&mut shadow, attested);
    prune(&mut shadow);
    assert_eq!(scene.first(), older.offset.segment());
    assert!(older.offset.segment() < first_ahead.offset.segment());

    scene.append_to(750);
    scene.sync();
    assert!(taken(&mut shadow).is_empty());
    prune(&mut shadow);
    let marks = shadow.marks.iter();
    let mark = marks.map(|(_, mark)| mark.offset.segment()).max();
    assert_eq!(Some(scene.first()), mark, "up to the snapshot");
    assert!(mark.unwrap() < second_ahead.offset.segment());
}

/// Under a load that makes a snapshot due each few moments the others attest late, and must still
/// find some that are there: peers join by those, and the log is pruned for them.
#[test]
fn snapshots_get_rarer_while_they_go_unattested_and_an_attested_one_stays() {
    let mut scene = Scene::new();
    let mut shadow = scene.shadow(64, None);
    scene.append_to(64 * 16);
    scene.sync();
    let heights = |taken: &[StateStatement]| -> Vec<u64> {
        let heights = taken.iter().map(|one| one.height.number() / 64);
        heights.collect()
    };
    let first = taken(&mut shadow);
    // Two are kept, so that the third and each after it pushes one out that nobody attested.
    assert_eq!(heights(&first), [1, 2, 3, 4, 8, 16]);
    assert_eq!(shadow.folder.heights().unwrap(), [8 * 64, 16 * 64]);

    // One that is attested stays, however many follow.
    vouch(&mut shadow, first[4].clone());
    scene.append_to(64 * 64);
    scene.sync();
    let second = taken(&mut shadow);
    assert_eq!(heights(&second), [32, 48, 64]);
    assert_eq!(shadow.folder.heights().unwrap(), [8 * 64, 48 * 64, 64 * 64]);
    assert!(shadow.marks.iter().any(|(height, _)| *height == 8 * 64));
}

/// One that goes below an attested one has not been taken in vain.
#[test]
fn snapshots_stay_as_frequent_while_a_newer_one_than_what_goes_is_attested() {
    let mut scene = Scene::new();
    let mut shadow = scene.shadow(64, None);
    for number in 1..=4 {
        scene.append_to(64 * number);
        scene.sync();
        let statement = taken(&mut shadow).pop().expect("it is due");
        (number == 2).then(|| vouch(&mut shadow, statement));
    }
    assert_eq!(shadow.next_due(), Some(64 * 5));
}

/// One that is slower than those who attest together takes what they attested.
#[test]
fn a_snapshot_that_others_attest_is_taken_when_its_height_is_come_to() {
    let mut scene = Scene::new();
    let mut ahead = scene.shadow(64, None);
    scene.append_to(64 * 9);
    scene.sync();
    let mut late = scene.shadow(64, None);
    // As one whose own were all in vain: the next that it would take is the 16th.
    for _ in 0..4 {
        late.schedule.adapt(true, false);
    }
    let mut attested = None;
    while attested.is_none() {
        match ahead.advance(1).unwrap() {
            Progress::Taken(statement) if statement.height.number() == 64 * 3 => {
                attested = Some(statement);
            }
            Progress::Idle => panic!("the third is due"),
            _ => {}
        }
    }
    ahead.folder.remove(64 * 3).unwrap();
    vouch(&mut late, attested.unwrap());
    let taken = taken(&mut late);
    assert_eq!(taken.len(), 1);
    assert_eq!(taken[0].height.number(), 64 * 3);
    assert!(late.is_attested(64 * 3));
}

/// The next snapshot may be due for long, since what makes its block durable is late; and under
/// load one is due after the other.
#[test]
fn old_segments_go_while_a_snapshot_is_due() {
    let mut scene = Scene::new();
    let mut shadow = scene.pruning_shadow(1 << 16);
    scene.append_to(500);
    scene.prove(1);
    scene.append_to(512);
    scene.sync();
    for statement in taken(&mut shadow) {
        vouch(&mut shadow, statement);
    }
    scene.append_to(800);
    assert_eq!(shadow.next_due(), Some(768));
    let mut work = scene.work(shadow);
    let now = std::time::Instant::now();
    for turn in 0..100 {
        work.turn(turn, now, true, &mut Vec::new()).unwrap();
    }
    assert_eq!(work.shadow_mut().next_due(), Some(768));
    assert!(scene.first() > 0, "the log is as long as before");
}

impl Scene {
    /// What a node does about snapshots, when it is where the log is.
    fn work<S: StateMachine>(&self, shadow: Shadow<S>) -> SnapshotWork<S> {
        let metrics = Arc::<crate::metrics::Metrics>::default();
        metrics.height.set(self.height);
        let exchange = Exchange::new(ExchangeParts {
            set: Arc::clone(&self.set),
            own: quorate_consensus::types::ValidatorIndex::new(0),
            folder: shadow.folder.clone(),
            mailbox: Arc::default(),
            metrics: Arc::clone(&metrics),
        });
        SnapshotWork::new(shadow, exchange, metrics)
    }

    /// Changes a byte inside the record, or changes it back.
    fn rot(&self, record: RecordRef) {
        let (segment, byte) = (record.offset.segment(), record.offset.bytes() as usize);
        let name = format!("segment-{segment:010}");
        self.memory.rot(&name, byte + 40, 0x5a, true);
    }

    fn places(&self, kind: quorate_log::RecordKind) -> Vec<RecordRef> {
        let records = self.reader.iter().map(Result::unwrap);
        let records = records.filter(|record| record.kind() == kind);
        records.map(|record| record.place()).collect()
    }
}

/// The disk may lose a record before it is read here, and the scrubber bring it back.
#[test]
fn a_record_that_rots_before_it_is_read_is_read_when_it_is_mended() {
    let mut scene = Scene::new();
    let mut shadow = scene.shadow(64, None);
    scene.append_to(64);
    scene.sync();
    let mark = scene.places(KIND_FINALIZED)[40];
    scene.rot(mark);
    for _ in 0..3 {
        assert!(matches!(shadow.advance(1000).unwrap(), Progress::Faulty(_)));
        assert_eq!(shadow.height(), 40);
    }
    scene.rot(mark);
    // The body of the next block has been read by the way, and is lost before its mark is.
    while shadow.height() < 41 {
        assert!(matches!(shadow.advance(1).unwrap(), Progress::More));
    }
    let body = scene.places(crate::journal::KIND_BLOCK)[41];
    while shadow.next.index <= body.index {
        assert!(matches!(shadow.advance(1).unwrap(), Progress::More));
    }
    scene.rot(body);
    for _ in 0..3 {
        assert!(matches!(shadow.advance(1000).unwrap(), Progress::Faulty(_)));
        assert_eq!(shadow.height(), 41);
    }
    scene.rot(body);
    let taken = taken(&mut shadow);
    assert_eq!(taken.len(), 1);
    let root = scene.executor.root().statement(scene.parent, None);
    assert_eq!(taken[0].sections, root.sections);
}

#[path = "shadow_archive_tests.rs"]
mod archive;

#[path = "shadow_damage_tests.rs"]
mod damage;

#[path = "shadow_forgotten_tests.rs"]
mod forgotten;

#[path = "shadow_thread_tests.rs"]
mod thread;
