//! The index over a real journal in memory: what is found again, what is forgotten, what is kept.
//! Never: a consensus; the blocks are made up.

use quorate_consensus::certificate::Target;
use quorate_consensus::header::HEADER_VERSION;
use quorate_consensus::machine::Durability;
use quorate_consensus::types::Epoch;
use quorate_log::{DataFolder, LogConfig, MemoryBackend, Pruner, Syncer, open};

use super::*;
use crate::executor::FinalBlock;
use crate::journal::{Journal, JournalOp, JournalStart, Journaled, SyncJob};

/// A journal and a store over one log, as the stages hold them.
struct Fixture {
    journal: Journal,
    store: Store,
    newest: BlockId,
}

fn fixture(cache_bytes_max: usize) -> Fixture {
    fixture_with(cache_bytes_max, 1 << 20).0
}

fn fixture_with(cache_bytes_max: usize, segment_bytes: u32) -> (Fixture, Syncer, Pruner) {
    let folder = DataFolder::in_memory(&MemoryBackend::new());
    let config = LogConfig {
        segment_bytes,
        ..LogConfig::new([7; 32])
    };
    let opened = open(&folder, &config, b"genesis").expect("a new log");
    let start = JournalStart::default();
    let journal = Journal::new(opened.writer, start, Durability::Async, Epoch::ZERO, 1);
    let store = Store::new(opened.reader, cache_bytes_max);
    let fixture = Fixture {
        journal,
        store,
        newest: BlockId::new([0; 32]),
    };
    (fixture, opened.syncer, opened.pruner)
}

/// Ten heights a window.
fn header(height: u64, parent_id: BlockId, salt: u8) -> Header {
    Header {
        version: HEADER_VERSION,
        flags: 0,
        chain_id: [1; 32],
        epoch: Epoch::ZERO,
        set_hash: [salt; 32],
        window: Window::new(height / 10),
        index: Index::new(u32::try_from(height % 10).expect("small")),
        height: Height::new(height),
        time_ns: height,
        parent_id,
        payload_hash: [4; 32],
        payload_bytes: 8,
    }
}

fn payload(height: u64) -> Arc<[u8]> {
    Arc::from(height.to_le_bytes())
}

impl Fixture {
    fn op(&mut self, op: JournalOp) {
        let mut done = Vec::new();
        self.journal
            .append(0, op, &mut done)
            .expect("the log takes it");
        for done in done {
            match done {
                Journaled::Block { id, place } => self.store.note_block(id, place),
                Journaled::Mark { height, place } => self.store.note_mark(height, place),
                Journaled::Proof { height, place } => self.store.note_proof(height, place),
                _ => {}
            }
        }
    }

    fn log(&mut self, header: Header) -> BlockId {
        let id = header.id();
        let payload = payload(header.height.number());
        self.store.add_block(id, header, Some(Arc::clone(&payload)));
        self.op(JournalOp::Block {
            id,
            header,
            payload,
        });
        id
    }

    /// Logs and finalizes the next block of the chain.
    fn grow(&mut self, height: u64) -> BlockRef {
        let header = header(height, self.newest, 0);
        let id = self.log(header);
        self.newest = id;
        self.store.finalize(id, &header);
        let payload = payload(height);
        let block = FinalBlock {
            id,
            header,
            payload,
            path: None,
            final_ns: 0,
            admitted: Vec::new(),
        };
        self.op(JournalOp::Finalized(block));
        BlockRef {
            height: header.height,
            id,
        }
    }

    fn prove(&mut self, height: u64) {
        let header = header(height, BlockId::new([0; 32]), 0);
        let proof = Certificate {
            epoch: Epoch::ZERO,
            window: header.window,
            target: Target::Final {
                index: header.index,
                id: header.id(),
            },
            records: Vec::new(),
            headers: vec![header],
        };
        self.op(JournalOp::Proof {
            point: header.point(header.id()),
            proof,
        });
    }
}

#[test]
fn blocks_that_nobody_counts_on_go_and_are_taken_again() {
    let mut fixture = fixture(0);
    let headers: Vec<Header> = (1..=9)
        .map(|height| header(height, BlockId::new([0; 32]), 0))
        .collect();
    let ids: Vec<BlockId> = headers.iter().map(|header| fixture.log(*header)).collect();
    let mut gone = fixture
        .store
        .keep_if(|id, header| header.height.number() <= 3 || *id == ids[8]);
    gone.sort_unstable();
    let mut expected = ids[3..8].to_vec();
    expected.sort_unstable();
    assert_eq!(gone, expected);
    assert_eq!(fixture.store.live_blocks(), 4);
    let payload_of = |fixture: &Fixture, place: usize| fixture.store.payload(&ids[place]).unwrap();
    assert!(payload_of(&fixture, 2).is_some() && payload_of(&fixture, 8).is_some());
    assert!(payload_of(&fixture, 5).is_none());
    // Its commands are not offered again by a later call.
    let pending: Vec<BlockId> = fixture
        .store
        .take_pending(|_| false)
        .iter()
        .map(|of| of.id)
        .collect();
    assert_eq!(pending.len(), 4);
    assert!(!pending.contains(&ids[5]));
    fixture.log(headers[5]);
    assert_eq!(payload_of(&fixture, 5), Some(payload(6)));
}

#[test]
fn every_finalized_block_is_found_again_after_its_window_was_forgotten() {
    let cache_bytes_max = 8 * (8 + CACHED_BYTES_BESIDES);
    let mut fixture = fixture(cache_bytes_max);
    let chain: Vec<_> = (1..=300).map(|height| fixture.grow(height)).collect();
    assert!(fixture.store.prune(Window::new(29)).is_empty());
    let (live, cached_bytes, _) = fixture.store.sizes();
    assert_eq!(live, 11);
    assert_eq!(cached_bytes, cache_bytes_max);
    for wanted in &chain {
        let found = fixture
            .store
            .block(wanted)
            .expect("a good log")
            .expect("it is there");
        assert_eq!(found.header.height, wanted.height);
        assert_eq!(found.payload, payload(wanted.height.number()));
    }
    let above = BlockRef {
        height: Height::new(301),
        id: chain[0].id,
    };
    assert_eq!(fixture.store.block(&above).expect("a good log"), None);
    let other = BlockRef {
        height: Height::new(5),
        id: chain[0].id,
    };
    assert_eq!(
        fixture.store.block(&other).expect("a good log"),
        None,
        "not of that name"
    );
    let genesis = BlockRef {
        height: Height::ZERO,
        id: chain[0].id,
    };
    assert_eq!(fixture.store.block(&genesis).expect("a good log"), None);
}

#[test]
fn history_runs_downward_from_the_named_block_and_ends_at_the_count_or_the_first_block() {
    let mut fixture = fixture(64);
    let chain: Vec<_> = (1..=150).map(|height| fixture.grow(height)).collect();
    let heights = |top: &BlockRef, count| {
        let headers = fixture.store.history(top, count).expect("a good log");
        headers
            .iter()
            .map(|header| header.height.number())
            .collect::<Vec<_>>()
    };
    assert_eq!(heights(&chain[149], 3), [150, 149, 148]);
    assert_eq!(heights(&chain[129], 2), [130, 129]);
    assert_eq!(heights(&chain[2], 10), [3, 2, 1]);
    let stranger = BlockRef {
        height: Height::new(3),
        id: chain[0].id,
    };
    assert_eq!(heights(&stranger, 10), [0; 0]);
}

#[test]
fn the_lowest_proof_at_or_above_a_height_is_found() {
    let mut fixture = fixture(64);
    for height in [5, 9, 12] {
        fixture.prove(height);
    }
    let found = |at_least| {
        let proof = fixture
            .store
            .proof(Height::new(at_least))
            .expect("a good log")?;
        proof.headers.first().map(|header| header.height.number())
    };
    assert_eq!(found(0), Some(5));
    assert_eq!(found(5), Some(5));
    assert_eq!(found(6), Some(9));
    assert_eq!(found(13), None);
}

impl Fixture {
    /// All that is logged is on the disk, so that it may be pruned.
    fn sync(&mut self, syncer: &mut Syncer) {
        let mut jobs = Vec::new();
        self.journal.sync_jobs(1_000_000_000, &mut jobs);
        for job in jobs {
            if let SyncJob::Sync(range) = job {
                syncer.sync(range).unwrap();
            }
        }
    }
}

#[test]
fn where_pruned_marks_and_proofs_stood_is_forgotten_and_the_others_are_found() {
    let (mut fixture, mut syncer, mut pruner) = fixture_with(64, 4096);
    let chain: Vec<_> = (1..=2_000).map(|height| fixture.grow(height)).collect();
    for height in 1..=1_000 {
        fixture.prove(height);
    }
    fixture.sync(&mut syncer);
    let places = |store: &Store| (store.anchors.len(), store.proofs.len());
    fixture.store.prune(Window::new(201));
    assert_eq!(places(&fixture.store), (31, 1_000), "nothing is pruned yet");
    let below = fixture.store.anchors[24];
    pruner.prune(below.offset.segment()).unwrap();
    fixture.store.prune(Window::new(202));
    assert_eq!(places(&fixture.store).0, 31 - 24);
    for block in &chain[25 * 64 - 1..] {
        let mark = fixture.store.mark(block.height).expect("a good log");
        assert_eq!(mark.map(|mark| mark.header.id()), Some(block.id));
    }
    let lowest = fixture.store.mark(Height::new(3)).expect("a good log");
    assert_eq!(lowest, None, "it is not in the log");
    // And all marks with a half of the proofs.
    let (_, above) = fixture.store.proofs[600];
    pruner.prune(above.offset.segment()).unwrap();
    fixture.store.prune(Window::new(203));
    let (anchors, proofs) = places(&fixture.store);
    assert!(
        anchors == 0 && (390..=410).contains(&proofs),
        "{anchors} {proofs}"
    );
    let found = fixture.store.proof(Height::new(700)).unwrap().unwrap();
    assert_eq!(found.headers[0].height, Height::new(700));
}

/// Where the marks stood from which a look begins is forgotten with what is below a snapshot.
#[test]
fn a_log_that_begins_anew_is_looked_through_from_its_own_marks() {
    let mut fixture = fixture(64);
    for height in 1..=150 {
        fixture.grow(height);
    }
    fixture.store.begin_anew();
    let above: Vec<_> = (1_001..=1_300).map(|height| fixture.grow(height)).collect();
    fixture.store.prune(Window::new(130));
    for wanted in [above[9], above[150], above[290]] {
        let before = fixture.store.reads();
        let found = fixture.store.block(&wanted).expect("a good log");
        assert_eq!(found.map(|found| found.header.height), Some(wanted.height));
        let reads = fixture.store.reads() - before;
        // One for each mark since the last place that is known, and the block.
        assert!(reads <= ANCHOR_HEIGHTS + 1, "{reads} for {wanted:?}");
    }
}

/// A leader may fill windows with blocks of no command.
#[test]
fn empty_blocks_take_their_share_of_the_memory_for_payloads() {
    let mut fixture = fixture(64 * 1024);
    for height in 1..=2_000 {
        fixture.grow(height);
    }
    let (_, cached_bytes, _) = fixture.store.sizes();
    assert!(cached_bytes <= 64 * 1024, "{cached_bytes}");
    assert!(fixture.store.payloads.len() < 400);
    assert_eq!(fixture.store.payloads.len(), fixture.store.cached.len());
}

/// Another thread prunes: a proof whose place was found may be gone when it is read.
#[test]
fn a_proof_that_is_pruned_while_it_is_looked_for_is_none_and_no_damage() {
    let (mut fixture, mut syncer, mut pruner) = fixture_with(64, 4096);
    for height in 1..=64 {
        fixture.prove(height);
    }
    let (_, lowest) = fixture.store.proofs[0];
    assert!(unless_pruned(fixture.store.read_proof(lowest)).is_ok_and(|proof| proof.is_some()));
    fixture.store.served.take_lowest();
    assert!(matches!(fixture.store.proof(Height::ZERO), Ok(Some(_))));
    assert_eq!(
        fixture.store.served.take_lowest(),
        Some(0),
        "not to be pruned"
    );
    // What is not synced is not pruned.
    fixture.sync(&mut syncer);
    pruner.prune(2).unwrap();
    let gone = unless_pruned(fixture.store.read_proof(lowest));
    assert!(matches!(gone, Ok(None)), "{gone:?}");
    let found = fixture.store.proof(Height::ZERO).unwrap().unwrap();
    assert!(found.headers[0].height > Height::new(1));
}

/// Whoever prunes leaves the segments for a while from which peers were given something.
#[test]
fn the_lowest_segment_from_which_a_block_or_a_header_was_given_is_told() {
    let (mut fixture, _syncer, _pruner) = fixture_with(64, 4096);
    let chain: Vec<_> = (1..=100).map(|height| fixture.grow(height)).collect();
    fixture.store.prune(Window::new(9));
    let segment = |fixture: &Fixture, wanted: &BlockRef| {
        let mark = fixture.store.mark(wanted.height).expect("a good log");
        mark.expect("it is final").block.offset.segment()
    };
    let (old, above) = (chain[39], chain[79]);
    let (lower, upper) = (segment(&fixture, &old), segment(&fixture, &above));
    assert!(0 < lower && lower < upper, "{lower} {upper}");
    assert_eq!(fixture.store.served.take_lowest(), None);
    for wanted in [&above, &old, &above] {
        assert!(matches!(fixture.store.block(wanted), Ok(Some(_))));
    }
    assert_eq!(fixture.store.served.take_lowest(), Some(lower));
    assert_eq!(fixture.store.served.take_lowest(), None, "told once");
    assert!(matches!(fixture.store.block(&above), Ok(Some(_))));
    assert_eq!(fixture.store.served.take_lowest(), Some(upper));
    // From the one above down to the old one.
    assert_eq!(fixture.store.history(&above, 41).unwrap().len(), 41);
    assert_eq!(fixture.store.served.take_lowest(), Some(lower));
}

#[test]
fn proofs_are_thinned_and_the_newest_ones_all_kept() {
    let mut fixture = fixture(64);
    fixture.prove(1);
    let (_, place) = fixture.store.proofs[0];
    for height in 2..40_000 {
        fixture.store.note_proof(Height::new(height), place);
    }
    let heights: Vec<_> = fixture
        .store
        .proofs
        .iter()
        .map(|(height, _)| height.number())
        .collect();
    assert!(heights.len() < PROOFS_MAX + 20, "{}", heights.len());
    assert!(heights.ends_with(&[39_997, 39_998, 39_999]));
    // From anywhere the next one is near enough to be a step of catching up.
    let mut before = 0;
    for height in heights {
        assert!(
            height > before && height - before <= PROOF_HEIGHTS + 1,
            "{before} {height}"
        );
        before = height;
    }
}

#[test]
fn blocks_that_are_not_final_are_handed_over_once_lowest_first() {
    let mut fixture = fixture(1 << 20);
    let parent = fixture.grow(1).id;
    let fork = fixture.log(header(2, parent, 9));
    let next = fixture.grow(2).id;
    let tip = fixture.log(header(3, next, 9));
    // Above a gap all but the tip may be final.
    let is_undelivered = |height: Height| height.number() <= 3;
    let none = fixture.store.take_pending(is_undelivered);
    assert!(none.is_empty(), "{none:?}");
    let taken = fixture.store.take_pending(|_| false);
    assert_eq!(
        taken.iter().map(|block| block.id).collect::<Vec<_>>(),
        [fork, tip]
    );
    let found = fixture
        .store
        .abandoned_payload(&taken[1])
        .expect("a good log");
    assert_eq!(found, Some(payload(3)));
    assert!(fixture.store.take_pending(|_| false).is_empty());
    let late = fixture.log(header(4, tip, 9));
    let pruned = fixture.store.prune(Window::new(1));
    assert_eq!(
        pruned.iter().map(|block| block.id).collect::<Vec<_>>(),
        [late]
    );
    let found = fixture
        .store
        .abandoned_payload(&pruned[0])
        .expect("a good log");
    assert_eq!(found, Some(payload(4)), "also after it was forgotten");
    assert_eq!(fixture.store.header(&late), None);
}

#[test]
fn a_payload_that_is_not_logged_yet_is_never_dropped_from_memory() {
    let mut fixture = fixture(16);
    let unlogged: Vec<_> = (1..=9)
        .map(|height| header(height, fixture.newest, 0))
        .collect();
    for header in &unlogged {
        let payload = payload(header.height.number());
        fixture.store.add_block(header.id(), *header, Some(payload));
    }
    for header in &unlogged {
        let found = fixture.store.payload(&header.id()).expect("a good log");
        assert_eq!(found, Some(payload(header.height.number())));
    }
}
