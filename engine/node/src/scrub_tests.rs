//! A validator's log that rots while it is open, and peers that have its blocks, or have not.
//! Never: threads, or a consensus; the blocks are made up.

use quorate_consensus::header::HEADER_VERSION;
use quorate_consensus::machine::Durability;
use quorate_consensus::types::{Epoch, Height, Index, Window};
use quorate_log::{DataFolder, LogConfig, MemoryBackend, Pruner, Syncer, open};

use super::*;
use crate::executor::FinalBlock;
use crate::journal::{Journal, JournalOp, JournalStart, Journaled, SyncDone, SyncJob};

const SECOND_NS: u64 = 1_000_000_000;
const HEIGHTS: u64 = 12;

struct World {
    memory: MemoryBackend,
    scrub: Scrub,
    blocks: Vec<LoggedBlock>,
    block_places: Vec<RecordRef>,
    mark_places: Vec<RecordRef>,
    now_ns: u64,
    repaired: u64,
    found: u64,
    asked: Vec<(ValidatorIndex, Vec<BlockRef>)>,
    pruner: Pruner,
    _journal: Journal,
    _syncer: Syncer,
}

fn payload_of(height: u64, bytes: u64) -> Arc<[u8]> {
    (0..bytes).map(|at| (at * 7 + height) as u8).collect()
}

fn block(height: u64, parent_id: BlockId, bytes: u64) -> LoggedBlock {
    let payload = payload_of(height, bytes);
    let header = Header {
        version: HEADER_VERSION,
        flags: 0,
        chain_id: [1; 32],
        epoch: Epoch::ZERO,
        set_hash: [2; 32],
        window: Window::new(height / 10),
        index: Index::new(u32::try_from(height % 10).expect("small")),
        height: Height::new(height),
        time_ns: height,
        parent_id,
        payload_hash: *blake3::hash(&payload).as_bytes(),
        payload_bytes: payload.len() as u32,
    };
    LoggedBlock { header, payload }
}

fn final_block(block: &LoggedBlock) -> FinalBlock {
    FinalBlock {
        id: block.header.id(),
        header: block.header,
        payload: Arc::clone(&block.payload),
        path: None,
        final_ns: 0,
        admitted: Vec::new(),
    }
}

/// A log of a few heights in segments of 8 KiB, all synced but for the last.
fn world() -> World {
    world_of(HEIGHTS, 2500, 8192)
}

fn world_of(heights: u64, payload_bytes: u64, segment_bytes: u32) -> World {
    let memory = MemoryBackend::new();
    let folder = DataFolder::in_memory(&memory);
    let config = LogConfig {
        segment_bytes,
        ..LogConfig::new([7; 32])
    };
    let mut opened = open(&folder, &config, b"genesis").expect("a new log");
    let start = JournalStart::default();
    let mut journal = Journal::new(opened.writer, start, Durability::Async, Epoch::ZERO, 1);
    let (mut blocks, mut block_places, mut mark_places) = (Vec::new(), Vec::new(), Vec::new());
    let mut parent = BlockId::new([0; 32]);
    for height in 1..=heights {
        let block = block(height, parent, payload_bytes);
        parent = block.header.id();
        let fin = final_block(&block);
        blocks.push(block);
        let mut done = Vec::new();
        let body = JournalOp::Block {
            id: fin.id,
            header: fin.header,
            payload: Arc::clone(&fin.payload),
        };
        journal.append(height, body, &mut done).expect("room");
        let mark = JournalOp::Finalized(fin);
        journal.append(height, mark, &mut done).expect("room");
        for done in done {
            match done {
                Journaled::Block { place, .. } => block_places.push(place),
                Journaled::Mark { place, .. } => mark_places.push(place),
                _ => {}
            }
        }
        let mut jobs = Vec::new();
        journal.sync_jobs(u64::MAX, &mut jobs);
        for job in jobs {
            let SyncJob::Sync(range) = job else {
                panic!("no lease is written here");
            };
            let end = opened.syncer.sync(range).expect("a sync");
            let mut done = Vec::new();
            journal
                .complete(Ok(SyncDone::Synced(end)), &mut done)
                .expect("it is");
        }
    }
    let peers = [1, 2].map(ValidatorIndex::new).to_vec();
    let genesis: Arc<[u8]> = Arc::from(&b"genesis"[..]);
    World {
        scrub: Scrub::new(opened.scrubber, opened.reader, genesis, peers, 1 << 20),
        memory,
        blocks,
        block_places,
        mark_places,
        now_ns: SECOND_NS,
        repaired: 0,
        found: 0,
        asked: Vec::new(),
        pruner: opened.pruner,
        _journal: journal,
        _syncer: opened.syncer,
    }
}

impl World {
    /// Overwrites bytes of a record on the disk and in memory.
    fn rot(&self, place: RecordRef, from: usize, bytes: usize) {
        let name = format!("segment-{:010}", place.offset.segment());
        let start = place.offset.bytes() as usize + from;
        for offset in start..start + bytes {
            self.memory.rot(&name, offset, 0xa5, true);
        }
    }

    fn disk(&self) -> Vec<Option<Vec<u8>>> {
        let disk = self.memory.power_cut(|_| false);
        (0..3)
            .map(|number| disk.file(&format!("segment-{number:010}")))
            .collect()
    }

    fn turn(&mut self) -> Turn {
        let mut inputs = Vec::new();
        let turn = self.scrub.turn(self.now_ns, &mut inputs).expect("a disk");
        self.now_ns += turn.pause_ns;
        self.repaired += turn.repaired;
        self.found += turn.found;
        for input in inputs {
            match input {
                Input::Ask { of, blocks } => self.asked.push((of, blocks)),
                other => panic!("{other:?}"),
            }
        }
        turn
    }

    /// Until a pass ends, or a peer is asked.
    fn until_asked_or_end(&mut self) {
        let before = self.asked.len();
        while self.asked.len() == before && !self.turn().is_pass {}
    }

    fn until_pass(&mut self) {
        while !self.turn().is_pass {}
    }
}

#[test]
fn a_block_that_the_disk_lost_comes_back_from_a_peer_byte_for_byte_and_a_lie_does_not() {
    // In the payload; in the block's header, whose mark names it; in the header of the record.
    let lost = [(1000, 64), (40, 64), (0, 300)];
    // Short ones, and such as the log chains by the hash in their header.
    let short = lost.map(|lost| (lost, 2500, 8192));
    let long = lost.map(|lost| (lost, 6000, 16_384));
    for ((from, bytes), payload_bytes, segment_bytes) in short.into_iter().chain(long) {
        let mut world = world_of(HEIGHTS, payload_bytes, segment_bytes);
        let before = world.disk();
        let place = world.block_places[3];
        world.rot(place, from, bytes);
        let lost = world.disk();
        world.until_asked_or_end();
        let (of, blocks) = world.asked[0].clone();
        assert_eq!(of, ValidatorIndex::new(1));
        let wanted = world.blocks[3].clone();
        assert_eq!(blocks.len(), 1, "{from}");
        assert_eq!(blocks[0].id, wanted.header.id());
        let mut lie = wanted.clone();
        lie.payload = payload_of(99, payload_bytes);
        world.scrub.take(&lie);
        world.scrub.take(&world.blocks[4]);
        world.until_asked_or_end();
        assert_eq!(world.asked[1].0, ValidatorIndex::new(2), "another is asked");
        assert_eq!(world.disk(), lost);
        world.scrub.take(&wanted);
        world.until_pass();
        assert_eq!(world.disk(), before, "{from}");
        assert_eq!(
            (world.found, world.repaired, world.scrub.faulty()),
            (1, 1, 0)
        );
        world.until_pass();
        assert_eq!(world.asked.len(), 2, "nothing more is asked");
    }
}

#[test]
fn a_finality_mark_follows_from_its_block_and_the_mark_above() {
    for place in [1, 3, 5] {
        let mut world = world();
        let before = world.disk();
        world.rot(world.mark_places[place], 0, 200);
        world.until_pass();
        assert_eq!(world.asked, []);
        assert_eq!(world.disk(), before, "{place}");
        assert_eq!((world.found, world.repaired), (1, 1));
    }
}

#[test]
fn the_genesis_is_known_to_whoever_starts() {
    let mut world = world();
    let before = world.disk();
    let genesis = world.scrub.reader.start();
    world.rot(genesis, 0, 70);
    world.until_pass();
    assert_eq!(world.disk(), before);
    assert_eq!(world.asked, []);
}

#[test]
fn what_no_peer_has_is_counted_once_and_kept() {
    let mut world = world();
    world.rot(world.block_places[3], 1000, 64);
    let lost = world.disk();
    world.until_pass();
    assert_eq!(world.asked.len(), ROUNDS * 2, "each peer so often");
    assert_eq!(
        (world.found, world.repaired, world.scrub.faulty()),
        (1, 0, 1)
    );
    world.until_pass();
    assert_eq!(
        (world.found, world.repaired, world.scrub.faulty()),
        (1, 0, 1)
    );
    assert_eq!(world.disk(), lost);
    // A reader's complaint asks nobody again at once.
    let asked = world.asked.len();
    let segment = world.block_places[3].offset.segment();
    let mut inputs = Vec::new();
    let turn = world.scrub.look_at(segment, world.now_ns, &mut inputs);
    assert_eq!((turn.expect("a disk").found, inputs.len()), (0, 0));
    assert_eq!(world.asked.len(), asked);
}

#[test]
fn a_pass_takes_the_time_that_the_rate_allows() {
    let mut world = world();
    let begun = world.now_ns;
    let mut bytes = 0;
    loop {
        let turn = world.turn();
        bytes += turn.bytes;
        if turn.is_pass {
            break;
        }
    }
    assert!(bytes >= 3 * 8192);
    let taken_ns = world.now_ns - begun;
    assert!(taken_ns >= bytes * SECOND_NS / (1 << 20), "{taken_ns}");
}

/// Blocks that were pruned everywhere, as many as a request holds, and more that peers do have.
#[test]
fn what_nobody_has_keeps_nothing_from_being_asked_that_a_peer_has() {
    let mut world = world_of(450, 2100, 1 << 20);
    let segment = world.block_places[0].offset.segment();
    let places = world.block_places.iter();
    let rotten = places.take_while(|place| place.offset.segment() == segment);
    let rotten = rotten.count() - 1;
    assert!(rotten > 3 * BODIES_PER_REQUEST_MAX, "{rotten}");
    for place in &world.block_places[..rotten] {
        world.rot(*place, 1000, 64);
    }
    let blocks: BTreeMap<BlockId, LoggedBlock> = world.blocks[..rotten]
        .iter()
        .map(|block| (block.header.id(), block.clone()))
        .collect();
    let gone: Vec<BlockId> = blocks
        .keys()
        .copied()
        .take(BODIES_PER_REQUEST_MAX)
        .collect();
    let mut answered = 0;
    for turns in 0.. {
        assert!(turns < 10_000, "no end");
        let is_pass = world.turn().is_pass;
        while let Some((of, asked)) = world.asked.get(answered).cloned() {
            answered += 1;
            assert!(asked.len() <= BODIES_PER_REQUEST_MAX);
            // One of the two has them, and of each request half comes late.
            let has = |block: &BlockRef| of == ValidatorIndex::new(2) && !gone.contains(&block.id);
            let found: Vec<BlockRef> = asked.into_iter().filter(has).collect();
            let (soon, late) = found.split_at(found.len().div_ceil(2));
            for block in soon {
                world.scrub.take(&blocks[&block.id]);
            }
            let before = world.asked.len();
            if !late.is_empty() {
                // The pause is over, and something has come in it.
                world.turn();
                assert_eq!(world.asked.len(), before, "what is coming is waited for");
            }
            for block in late {
                world.scrub.take(&blocks[&block.id]);
            }
        }
        if is_pass {
            break;
        }
    }
    let left = BODIES_PER_REQUEST_MAX as u64;
    assert_eq!(world.repaired, rotten as u64 - left);
    assert_eq!(world.scrub.faulty(), left);
    // Each peer was asked for each of those that are left, again and again.
    for peer in [1, 2].map(ValidatorIndex::new) {
        let of_it = world.asked.iter().filter(|(of, _)| *of == peer);
        for id in &gone {
            let asked = of_it.clone();
            let times = asked.filter(|(_, blocks)| blocks.iter().any(|block| block.id == *id));
            assert!(times.count() >= ROUNDS);
        }
    }
}

/// A peer asks again and again for a block that is lost, and sends blocks that nobody wants.
#[test]
fn whoever_asks_for_what_is_lost_makes_nothing_be_read_above_the_rate() {
    const BYTES_PER_S: u64 = 1 << 16;
    let mut world = world();
    world.scrub.bytes_per_s = BYTES_PER_S;
    // Nobody can be asked: a repair is over at once, and nothing of it keeps a reader away.
    world.scrub.peers.clear();
    let (lost, other) = (world.block_places[1], world.block_places[7]);
    world.rot(lost, 1000, 64);
    world.until_pass();
    assert_eq!(world.scrub.faulty(), 1);
    world.rot(other, 1000, 64);
    let unwanted = world.blocks[4].clone();
    // Of a segment that waits, one that is not known yet, one that is whole, and the last one.
    let segments = [lost, other, world.block_places[4], world.block_places[11]];
    let segments = segments.map(|place| place.offset.segment());
    let begun_ns = world.now_ns;
    let (mut bytes, mut hinted_bytes, mut passes) = (0, 0, 0);
    while world.now_ns < begun_ns + 10 * SECOND_NS {
        let mut inputs = Vec::new();
        for segment in segments {
            let hinted = world.scrub.look_at(segment, world.now_ns, &mut inputs);
            hinted_bytes += hinted.expect("a disk").bytes;
            world.scrub.take(&unwanted);
            let turn = world.scrub.turn(world.now_ns, &mut inputs);
            let turn = turn.expect("a disk");
            bytes += turn.bytes;
            passes += u64::from(turn.is_pass);
        }
        let allowed = (world.now_ns - begun_ns) * BYTES_PER_S / SECOND_NS;
        // What is read at a stretch is paid for afterwards: a slice, a mend of it, and a reader's.
        assert!(
            bytes + hinted_bytes <= allowed + 3 * 8192,
            "{bytes} and {hinted_bytes} of {allowed}"
        );
        world.now_ns += SECOND_NS / 1000;
    }
    assert!(hinted_bytes >= 2 * 8192, "a reader is heeded at times");
    assert!(passes >= 2, "and passes go on");
}

/// A peer may take a second to answer, and readers complain all the time.
#[test]
fn a_repair_that_waits_for_peers_goes_on_whatever_a_reader_could_not_read_meanwhile() {
    let mut world = world();
    let before = world.disk();
    let (place, other) = (world.block_places[1], world.block_places[7]);
    let segment = place.offset.segment();
    assert!(segment < other.offset.segment());
    world.rot(place, 1000, 64);
    world.until_asked_or_end();
    assert_eq!(world.asked.len(), 1);
    world.rot(other, 1000, 64);
    for hinted in [other.offset.segment(), segment] {
        let mut inputs = Vec::new();
        let turn = world.scrub.look_at(hinted, world.now_ns, &mut inputs);
        assert_eq!((turn.expect("a disk").found, inputs.len()), (0, 0));
    }
    // The answer of the peer that was asked before finds what it is for.
    let block = world.blocks[1].clone();
    world.scrub.take(&block);
    assert_eq!(world.turn().repaired, 1);
    // The pass comes to the other one by itself.
    world.until_asked_or_end();
    let wanted = world.blocks[7].clone();
    assert_eq!(world.asked[1].1[0].id, wanted.header.id());
    world.scrub.take(&wanted);
    world.until_pass();
    assert_eq!((world.disk(), world.scrub.faulty()), (before, 0));
}

#[test]
fn what_is_faulty_in_a_segment_is_counted_until_the_segment_goes() {
    let mut world = world();
    let segments = [1, 7].map(|place| world.block_places[place].offset.segment());
    assert!(segments[0] < segments[1]);
    for place in [1, 7] {
        world.rot(world.block_places[place], 1000, 64);
    }
    world.until_pass();
    assert_eq!(world.scrub.faulty(), 2);
    for (segment, left) in segments.into_iter().zip([1, 0]) {
        world.pruner.prune(segment + 1).expect("old segments go");
        world.until_pass();
        assert_eq!(world.scrub.faulty(), left);
    }
}

/// A disk that could not be read for a while, or somebody who put the bytes back.
#[test]
fn what_a_later_pass_finds_whole_is_not_counted_any_more() {
    let mut world = world();
    let before = world.disk();
    world.scrub.peers.clear();
    let place = world.block_places[3];
    world.rot(place, 1000, 64);
    world.until_pass();
    assert_eq!(world.scrub.faulty(), 1);
    // The same once more takes it back.
    world.rot(place, 1000, 64);
    assert_eq!(world.disk(), before);
    world.until_pass();
    assert_eq!((world.repaired, world.scrub.faulty()), (0, 0));
}

/// Much is lost and nobody has it: what came is written soon, other segments are looked at, and the
/// next repair goes on where this one had no time to.
#[test]
fn a_repair_ends_after_a_minute_and_the_next_one_asks_on() {
    let mut world = world_of(1_800, 300, 1 << 20);
    let places = world.block_places.iter();
    let many = places.take_while(|place| place.offset.segment() == 0);
    let many = many.count() - 1;
    assert!(
        many > 700,
        "{many} of 64 for each of two, three times, take more than a minute"
    );
    for place in &world.block_places[..many] {
        world.rot(*place, 450, 16);
    }
    let lost = world.blocks[..many].iter();
    let lost: BTreeMap<BlockId, LoggedBlock> = lost
        .map(|block| (block.header.id(), block.clone()))
        .collect();
    world.until_asked_or_end();
    let begun_ns = world.now_ns;
    let came = world.asked[0].1[0].id;
    world.scrub.take(&lost[&came]);
    let mut ended_ns = None;
    while !world.turn().is_pass {
        if world.repaired > 0 && ended_ns.is_none() {
            ended_ns = Some(world.now_ns);
        }
    }
    let took_ns = ended_ns.expect("it is written") - begun_ns;
    assert!((59..=61).contains(&(took_ns / SECOND_NS)), "{took_ns}");
    assert_eq!((world.repaired, world.scrub.faulty()), (1, many as u64 - 1));
    let asked = world.asked.len();
    let last = world.asked[asked - 1].1.last().expect("a block").id;
    world.until_asked_or_end();
    let mut rest = lost.keys().filter(|id| **id > last);
    let next = rest.next().or_else(|| lost.keys().find(|id| **id != came));
    assert_eq!(Some(&world.asked[asked].1[0].id), next);
}
