//! How often a validator asks for memory on the way from a proposal to its vote, in the steady
//! state: a number that may only fall. And that no signature is made or checked on that way: the
//! vote leaves in the turn of the proposal, before any job is run.
//!
//! Four whole validators on one thread, frames handed over at once. Stands here, since the counting
//! allocator may stand nowhere else. Never: a time.

#[path = "../src/counting.rs"]
mod counting;

use std::collections::VecDeque;
use std::sync::Arc;

use counting::{Counting, ThreadMeter};
use quorate::auth::CommandAuth;
use quorate::lanes::LanesConfig;
use quorate::recovery;
use quorate::replica::{Companions, Frames, Job, Outbox, Parts, Replica, ReplicaConfig, run_jobs};
use quorate::state_machine::{Context, Output, StateMachine};
use quorate_consensus::effect::Destination;
use quorate_consensus::machine::{Durability, TimerConfig};
use quorate_consensus::message::Message;
use quorate_consensus::payload::{Entry, Lane, encode_entry, session_of_key};
use quorate_consensus::signing::ValidatorKey;
use quorate_consensus::types::{Epoch, Index, Now, Stake, ValidatorIndex, Window};
use quorate_consensus::validators::{SetParameters, Validator, ValidatorSet};
use quorate_consensus::verify::{SignatureCheck, SignatureItem};
use quorate_consensus::wire::{self, Unverified};
use quorate_decoders::decoder::Meter as _;
use quorate_log::{DataFolder, LogConfig, MemoryBackend};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const VALIDATORS: usize = 4;
const CLIENT_KEY: [u8; 32] = [77; 32];
const GENESIS: &[u8] = b"a genesis";
// An opening's number is a time: so early, 1 is one.
const WALL_START_NS: u64 = 10_000_000_000;
/// Blocks before those that count: buffers that are used again have grown by then.
const BLOCKS_WARM: u64 = 200;
/// Blocks that count.
const BLOCKS: u64 = 200;
/// Requests for memory of a follower for each block with one command, from the proposal's frame to
/// its finality, application and buffers of the caller included, while nothing but proposals and
/// votes is on its way: the payload, which outlives the turn.
const PER_PLAIN_BLOCK: u64 = 1;
/// As many of such blocks may ask for more: the newest proof is logged each t_flush, a block a
/// millisecond; and tables grow by doubling.
const ASKED_MORE_MAX: u64 = BLOCKS / (TimerConfig::laptop().flush_ns / 1_000_000) + 4;
/// The same over all blocks, those included in which signatures, Status, proofs and roots fall:
/// what it was when this was written, and one more. Raise it only with a word in
/// docs/performance.md.
const PER_BLOCK_MAX: u64 = 5;

/// Does nothing, without memory.
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

/// Everybody is honest here. Counts the signatures that it is asked for.
struct Believe<'a>(&'a mut u64);

impl SignatureCheck for Believe<'_> {
    fn check(&mut self, items: &[SignatureItem<'_>]) -> Vec<bool> {
        *self.0 += items.len() as u64;
        vec![true; items.len()]
    }
}

fn key(place: usize) -> ValidatorKey {
    ValidatorKey::from_seed(&[u8::try_from(place).expect("few") + 1; 32])
}

struct Member {
    replica: Replica<Nothing>,
    companions: Companions,
    outbox: Outbox,
}

struct World {
    set: Arc<ValidatorSet>,
    members: Vec<Member>,
    flights: VecDeque<(usize, usize, Vec<u8>)>,
    now: Now,
    /// What the last validator asked for, on the way of frames.
    allocations: u64,
    /// Nothing but proposals and votes came to it or left it since this was set.
    is_plain: bool,
    /// What everybody asked for, and the sum of the most that each turn held at once.
    all: (u64, usize),
    seq: u64,
    /// Signatures that the last validator has made or checked, for whatever reason.
    signatures: u64,
    /// The last proposal that came to it and has no vote yet: its place, and the signatures then.
    proposed: Option<(Slot, u64)>,
    /// Its votes that left in the turn of the proposal.
    votes: u64,
}

fn index(place: usize) -> ValidatorIndex {
    ValidatorIndex::new(u16::try_from(place).expect("few"))
}

fn set() -> Arc<ValidatorSet> {
    let member = |place| Validator::new(key(place).public(), Stake::new(1));
    let parameters = SetParameters {
        chain_id: [1; 32],
        genesis_hash: *blake3::hash(GENESIS).as_bytes(),
        epoch: Epoch::ZERO,
        fault: Stake::new(1),
        slack: Stake::new(0),
        window_slots: 4096,
        turn_windows: 2,
        crash_only: false,
        genesis_time_ns: WALL_START_NS - 1_000_000_000,
    };
    let members = (0..VALIDATORS).map(member).collect();
    Arc::new(ValidatorSet::new(parameters, members).expect("a good set"))
}

fn member(set: &Arc<ValidatorSet>, timers: TimerConfig, place: usize, now: Now) -> Member {
    let log = LogConfig {
        segment_bytes: 16 * 1024 * 1024,
        ..LogConfig::new([9; 32])
    };
    let memory = MemoryBackend::new();
    let folder = DataFolder::in_memory(&memory);
    let (boot_id, own) = ([3; 16], index(place));
    let key = set.validator(own).expect("a member").key;
    recovery::initialize(&folder, &log, GENESIS, boot_id, key).expect("a new folder");
    let config = ReplicaConfig {
        own,
        set: Arc::clone(set),
        durability: Durability::Async,
        timers,
        incarnation_min: 1,
        nonce_seed: [4; 32],
        snapshot_heights: 0,
        boot_id,
        genesis: GENESIS.into(),
        log,
        lanes: LanesConfig::new(64, 20_000_000),
        cache_bytes_max: 1024 * 1024,
        public_bytes_max: 0,
        private_bytes_max: 0,
        public_archive: None,
        private_archive: None,
        auth: Arc::new(CommandAuth::session()),
        snapshots: None,
        first: None,
    };
    let opened = Parts::open(&folder, &config, Nothing, now);
    let (parts, companions) = opened.expect("a fresh validator starts");
    Member {
        replica: Replica::new(parts),
        companions,
        outbox: Outbox::new(),
    }
}

impl World {
    fn new(timers: TimerConfig) -> Self {
        let now = Now {
            mono_ns: 1_000_000_000,
            wall_ns: WALL_START_NS,
        };
        let set = set();
        let mut world = Self {
            members: (0..VALIDATORS)
                .map(|place| member(&set, timers, place, now))
                .collect(),
            set,
            flights: VecDeque::new(),
            now,
            allocations: 0,
            is_plain: true,
            all: (0, 0),
            seq: 0,
            signatures: 0,
            proposed: None,
            votes: 0,
        };
        for place in 0..VALIDATORS {
            for other in (0..VALIDATORS).filter(|other| *other != place) {
                world.members[place].replica.peer_up(now, index(other));
            }
        }
        world.settle();
        world
    }

    /// The loss of the connection to the leader is a reason to stop; the others go on without it.
    fn stop(&mut self, stopped: usize, leader: usize) {
        let (now, leader) = (self.now, index(leader));
        self.members[stopped].replica.peer_down(now, leader);
        self.settle();
        self.members[stopped].replica.peer_up(now, leader);
        self.settle();
    }

    /// One command of a client at the leader, to its finality everywhere.
    fn block(&mut self) {
        self.now.mono_ns += 1_000_000;
        self.now.wall_ns += 1_000_000;
        self.seq += 1;
        let mut body = vec![0; 128];
        if self.seq == 1 {
            body[..32].copy_from_slice(&CLIENT_KEY);
        }
        let mut entry = Vec::new();
        encode_entry(
            &Entry {
                lane: Lane::Order,
                session: &session_of_key(&CLIENT_KEY),
                seq: self.seq,
                signature: None,
                body: &body,
            },
            &mut entry,
        );
        let leader = self.leader();
        let mut verdicts = Vec::new();
        let replica = &mut self.members[leader].replica;
        let taken = replica.submit(self.now, None, &entry, &mut verdicts);
        taken.expect("an entry");
        self.settle();
    }

    fn leader(&self) -> usize {
        self.members[0].replica.consensus().leader().place()
    }

    fn height(&self, place: usize) -> u64 {
        self.members[place].replica.consensus().delivered().number()
    }

    /// Turns of all and deliveries until nothing is on its way.
    fn settle(&mut self) {
        (0..VALIDATORS).for_each(|place| self.turn(place));
        while let Some((from, to, bytes)) = self.flights.pop_front() {
            self.is_plain &= to != VALIDATORS - 1 || is_of_votes(&bytes);
            if to == VALIDATORS - 1
                && let Some(slot) = proposed_slot(&bytes)
            {
                self.proposed = Some((slot, self.signatures));
            }
            self.counted(to, |member, now| {
                let outcome = member.replica.peer_frame(now, index(from), &bytes);
                assert!(!outcome.is_fault(), "{outcome:?}");
            });
            self.turn(to);
        }
    }

    /// Counts what the last validator asks for.
    fn counted(&mut self, place: usize, act: impl FnOnce(&mut Member, Now)) {
        ThreadMeter.start();
        act(&mut self.members[place], self.now);
        self.all.0 += ThreadMeter.allocations();
        self.all.1 += ThreadMeter.peak_bytes();
        if place == VALIDATORS - 1 {
            self.allocations += ThreadMeter.allocations();
        }
    }

    /// What a worker does beside the path.
    fn sign(&mut self, place: usize) {
        let (now, member) = (self.now, &mut self.members[place]);
        let jobs = std::mem::take(&mut member.outbox.jobs);
        let mut inputs = Vec::new();
        let (own, signer) = (index(place), key(place));
        let is_made = |job: &&Job| !matches!(job, Job::Verify { .. });
        let made = jobs.iter().filter(is_made).count() as u64;
        let mut checked = 0;
        let mut check = Believe(&mut checked);
        run_jobs(&self.set, own, &signer, &mut check, jobs, &mut inputs);
        if place == VALIDATORS - 1 {
            self.signatures += made + checked;
        }
        for input in inputs {
            member.replica.input(now, input);
        }
    }

    fn turn(&mut self, place: usize) {
        self.counted(place, |member, now| {
            let turned = member.replica.turn(now, &mut member.outbox);
            turned.expect("it goes on");
        });
        let (now, member) = (self.now, &mut self.members[place]);
        if place == VALIDATORS - 1 {
            let mut frames = member.outbox.frames.iter();
            self.is_plain &= member.outbox.jobs.is_empty();
            self.is_plain &= frames.all(|frame| is_of_votes(&frame.bytes()));
            // Before `sign`: whatever had to be signed or checked first would come a turn later.
            if let Some((slot, signatures)) = self.proposed
                && has_vote_for(&member.outbox.frames, slot)
            {
                assert_eq!(self.signatures, signatures, "a vote waited for a signature");
                (self.proposed, self.votes) = (None, self.votes + 1);
            }
        }
        for job in std::mem::take(&mut member.outbox.sync) {
            let done = member.companions.sync.run(job);
            member.replica.complete_sync(now, done).expect("memory");
        }
        self.sign(place);
        let member = &self.members[place];
        for frame in member.outbox.frames.iter() {
            for to in 0..VALIDATORS {
                let is_for = match frame.to {
                    Destination::All => to != place,
                    Destination::Peer(peer) => to == peer.place(),
                };
                if is_for {
                    self.flights
                        .push_back((place, to, frame.bytes().into_owned()));
                }
            }
        }
        self.counted(place, |member, _| member.outbox.clear());
    }
}

/// Whether a frame is a proposal, or a vote without a signature.
fn is_of_votes(frame: &[u8]) -> bool {
    match wire::decode(frame).map(Unverified::into_message) {
        Ok(Message::Propose(_)) => true,
        Ok(Message::Vote(vote)) => vote.signature.is_none(),
        _ => false,
    }
}

/// A place of a block: window and index.
type Slot = (Window, Index);

/// The place of the block, of a proposal.
fn proposed_slot(frame: &[u8]) -> Option<Slot> {
    match wire::decode(frame).map(Unverified::into_message) {
        Ok(Message::Propose(propose)) => Some((propose.header.window, propose.header.index)),
        _ => None,
    }
}

/// Whether a vote for the block of this place, or one above it, is among the frames.
fn has_vote_for(frames: &Frames, (window, index): Slot) -> bool {
    frames.iter().any(|frame| {
        let message = wire::decode(&frame.bytes()).map(Unverified::into_message);
        let Ok(Message::Vote(vote)) = message else {
            return false;
        };
        vote.window == window && vote.record.tip.is_some_and(|(tip, _)| tip >= index)
    })
}

#[test]
fn a_follower_asks_for_no_memory_on_the_way_of_a_vote_but_the_payload_s() {
    let mut world = World::new(TimerConfig::laptop());
    assert_ne!(world.leader(), VALIDATORS - 1, "the last one follows");
    (0..BLOCKS_WARM).for_each(|_| world.block());
    let height = world.height(VALIDATORS - 1);
    let (mut plain, mut all, mut was_plain) = (Vec::new(), 0, false);
    world.votes = 0;
    for _ in 0..BLOCKS {
        (world.allocations, world.is_plain) = (0, true);
        let signatures = world.signatures;
        world.block();
        assert!(!world.is_plain || world.signatures == signatures, "of none");
        all += world.allocations;
        // What came of a signature may be used one block later.
        plain.extend((was_plain && world.is_plain).then_some(world.allocations));
        was_plain = world.is_plain;
    }
    assert_eq!(world.height(VALIDATORS - 1), height + BLOCKS, "one each");
    assert_eq!(
        world.votes, BLOCKS,
        "each before anything is signed or checked"
    );
    assert!(world.signatures > 0, "which some are, beside the way");
    let more = plain.iter().filter(|&&asked| asked != PER_PLAIN_BLOCK);
    let more: Vec<u64> = more.copied().collect();
    println!(
        "{} plain blocks, of which {more:?} asked for more; {all} requests for {BLOCKS} blocks",
        plain.len()
    );
    assert!(plain.len() as u64 > BLOCKS / 2, "{} plain", plain.len());
    assert!(more.len() as u64 <= ASKED_MORE_MAX, "{more:?}");
    assert!(more.iter().all(|&asked| asked > PER_PLAIN_BLOCK));
    assert!(all <= PER_BLOCK_MAX * BLOCKS, "{all} in all");
}

/// Blocks after a stop, counted early and late in the window.
const BLOCKS_AFTER_STOP: u64 = 100;
/// Blocks between.
const BLOCKS_BETWEEN: u64 = 1_200;

#[test]
fn what_a_block_costs_does_not_grow_with_the_window_after_a_stop() {
    // So long that no leader gives up a second window after the first stop.
    let mut world = World::new(TimerConfig {
        progress_ns: 100_000_000_000,
        progress_max_ns: 100_000_000_000,
        ..TimerConfig::laptop()
    });
    (0..BLOCKS_WARM).for_each(|_| world.block());
    let (stopped, leader) = (VALIDATORS - 1, world.leader());
    // The first window with a stop is given up for the next one.
    world.stop(stopped, leader);
    world.block();
    world.stop(stopped, leader);
    let also = |world: &World| {
        let consensus = world.members[stopped].replica.consensus();
        consensus.counters().also
    };
    let before = also(&world);
    let mut cost = |blocks: u64| {
        (world.all, world.allocations) = ((0, 0), 0);
        let height = world.height(stopped);
        (0..blocks).for_each(|_| world.block());
        assert_eq!(world.height(stopped), height + blocks, "one each");
        world.all
    };
    let early = cost(BLOCKS_AFTER_STOP);
    cost(BLOCKS_BETWEEN);
    let late = cost(BLOCKS_AFTER_STOP);
    let supported = also(&world) - before;
    assert!(supported > BLOCKS_BETWEEN, "{supported} blocks by fallback");
    println!("requests and bytes for {BLOCKS_AFTER_STOP} blocks: {early:?}, later {late:?}");
    assert!(late.0 < early.0 + early.0 / 4, "{early:?}, later {late:?}");
    assert!(late.1 < early.1 + early.1 / 4, "{early:?}, later {late:?}");
}
