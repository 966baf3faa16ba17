//! Four whole validators without threads and sockets, each with a log of its own on the disk: every
//! frame arrives at once, syncs and signatures are done between turns.
//!
//! Owns the parts that a block consists of, each of them timed by itself. Never: what is measured.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use quorate::auth::CommandAuth;
use quorate::lanes::LanesConfig;
use quorate::recovery;
use quorate::replica::{Companions, Outbox, Replica, ReplicaConfig, run_jobs};
use quorate_bench::applications::Opaque;
use quorate_consensus::effect::Destination;
use quorate_consensus::machine::{Durability, TimerConfig};
use quorate_consensus::payload::{Entry, Lane, encode_entry, session_of_key};
use quorate_consensus::signing::ValidatorKey;
use quorate_consensus::types::{Epoch, Now, Stake, ValidatorIndex};
use quorate_consensus::validators::{SetParameters, Validator, ValidatorSet};
use quorate_consensus::verify::{SignatureCheck, SignatureItem};
use quorate_log::{DataFolder, LogConfig};

use crate::support::storage::{folder_of, remove};

const VALIDATORS: usize = 4;
const CLIENT_KEY: [u8; 32] = [77; 32];
const GENESIS: &[u8] = b"a genesis";
// An opening's number is a time: so early, 1 is one.
const WALL_START_NS: u64 = 10_000_000_000;
/// Time between two blocks.
const BLOCK_NS: u64 = 1_000_000;
/// Bytes of a command.
const COMMAND_BYTES: usize = 128;
/// What is read to make a core forget: more than its own caches hold, less than the one that cores
/// share.
const FORGET_BYTES: usize = 1 << 20;
const LINE_BYTES: usize = 64;

/// A part of a block, at one validator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// The leader takes a command in and proposes it.
    Propose,
    /// A follower takes a proposal in and votes.
    Vote,
    /// The turn after one of these, which does what that one has left.
    Rest,
    /// The leader takes the first vote of a follower in.
    Early,
    /// The leader takes the votes of all in, and the block is final.
    Count,
    /// A turn in which there is nothing to do.
    Empty,
}

/// What a core has done before a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Before {
    /// The part before this one.
    Busy,
    /// Its own caches hold something else.
    Forgot,
    /// Nothing, for as long as a load of a thousand commands a second leaves between two.
    Rested,
}

/// Everybody is honest here.
struct Believe;

impl SignatureCheck for Believe {
    fn check(&mut self, items: &[SignatureItem<'_>]) -> Vec<bool> {
        vec![true; items.len()]
    }
}

struct Member {
    replica: Replica<Opaque>,
    companions: Companions,
    outbox: Outbox,
    folder: PathBuf,
}

/// The part that is timed, and what it took so far.
struct Watch {
    part: Part,
    before: Before,
    took: Duration,
    times: u32,
    forget: Vec<u8>,
}

/// All validators.
pub(crate) struct Replicas {
    set: Arc<ValidatorSet>,
    members: Vec<Member>,
    flights: VecDeque<(usize, usize, Vec<u8>)>,
    now: Now,
    seq: u64,
    watch: Watch,
}

fn index(place: usize) -> ValidatorIndex {
    ValidatorIndex::new(u16::try_from(place).expect("few"))
}

fn key(place: usize) -> ValidatorKey {
    ValidatorKey::from_seed(&[u8::try_from(place).expect("few") + 1; 32])
}

fn set() -> Arc<ValidatorSet> {
    let member = |place| Validator::new(key(place).public(), Stake::new(1));
    let parameters = SetParameters {
        chain_id: [1; 32],
        genesis_hash: *blake3::hash(GENESIS).as_bytes(),
        epoch: Epoch::ZERO,
        fault: Stake::new(1),
        slack: Stake::new(0),
        window_slots: quorate_consensus::limits::WINDOW_SLOTS_DEFAULT,
        turn_windows: quorate_consensus::limits::TURN_WINDOWS_DEFAULT,
        crash_only: false,
        genesis_time_ns: WALL_START_NS - 1_000_000_000,
    };
    let members = (0..VALIDATORS).map(member).collect();
    Arc::new(ValidatorSet::new(parameters, members).expect("a good set"))
}

impl Member {
    fn start(set: &Arc<ValidatorSet>, place: usize, now: Now) -> Self {
        let folder = folder_of(&format!("turns-{place}"));
        quorate::keys::create_private_folder(&folder).expect("a folder");
        let data = DataFolder::open(&folder).expect("a data folder");
        let (log, boot_id) = (LogConfig::new([9; 32]), [3; 16]);
        recovery::initialize(&data, &log, GENESIS, boot_id, key(place).public())
            .expect("a new folder");
        let config = ReplicaConfig {
            own: index(place),
            set: Arc::clone(set),
            durability: Durability::Async,
            timers: TimerConfig::laptop(),
            incarnation_min: 1,
            nonce_seed: [4; 32],
            snapshot_heights: 0,
            boot_id,
            genesis: GENESIS.into(),
            log,
            lanes: LanesConfig::new(64, 20_000_000),
            cache_bytes_max: 16 << 20,
            public_bytes_max: 0,
            private_bytes_max: 0,
            public_archive: None,
            private_archive: None,
            auth: Arc::new(CommandAuth::session()),
            snapshots: None,
            first: None,
        };
        let opened = Replica::open(&data, &config, Opaque::default(), now);
        let (replica, companions) = opened.expect("a fresh validator starts");
        Self {
            replica,
            companions,
            outbox: Outbox::new(),
            folder,
        }
    }

    fn turn(&mut self, now: Now) {
        let turned = self.replica.turn(now, &mut self.outbox);
        turned.expect("it goes on");
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        remove(&self.folder);
    }
}

impl Watch {
    /// Does something, which is timed if it is what is watched.
    fn run<T>(&mut self, part: Option<Part>, act: impl FnOnce() -> T) -> T {
        if part != Some(self.part) {
            return act();
        }
        match self.before {
            Before::Busy => {}
            Before::Forgot => {
                for line in self.forget.iter_mut().step_by(LINE_BYTES) {
                    *line = line.wrapping_add(1);
                }
                std::hint::black_box(&mut self.forget);
            }
            Before::Rested => rest(),
        }
        let began = Instant::now();
        let done = act();
        self.took += began.elapsed();
        self.times += 1;
        done
    }
}

impl Replicas {
    pub(crate) fn new() -> Self {
        let now = Now {
            mono_ns: 1_000_000_000,
            wall_ns: WALL_START_NS,
        };
        let set = set();
        let members = (0..VALIDATORS).map(|place| Member::start(&set, place, now));
        let mut replicas = Self {
            members: members.collect(),
            set,
            flights: VecDeque::new(),
            now,
            seq: 0,
            watch: Watch {
                part: Part::Empty,
                before: Before::Busy,
                took: Duration::ZERO,
                times: 0,
                forget: vec![0; FORGET_BYTES],
            },
        };
        for place in 0..VALIDATORS {
            for other in (0..VALIDATORS).filter(|other| *other != place) {
                replicas.members[place].replica.peer_up(now, index(other));
            }
            replicas.turn(place, None);
        }
        replicas.settle();
        replicas
    }

    /// So many blocks; what a part of them took, once for each block.
    pub(crate) fn time(&mut self, part: Part, before: Before, blocks: u64) -> Duration {
        (self.watch.part, self.watch.before) = (part, before);
        let mut all = Duration::ZERO;
        for _ in 0..blocks {
            (self.watch.took, self.watch.times) = (Duration::ZERO, 0);
            // A block in which a window ends may lack a part.
            while self.watch.times == 0 {
                self.block();
            }
            all += self.watch.took / self.watch.times;
        }
        all
    }

    /// One command of a client at the leader, to its finality everywhere.
    fn block(&mut self) {
        self.now.mono_ns += BLOCK_NS;
        self.now.wall_ns += BLOCK_NS;
        self.seq += 1;
        let leader = self.members[0].replica.consensus().leader().place();
        let entry = self.entry();
        let (now, member) = (self.now, &mut self.members[leader]);
        let mut verdicts = Vec::new();
        self.watch.run(Some(Part::Propose), || {
            let taken = member.replica.submit(now, None, &entry, &mut verdicts);
            taken.expect("an entry");
            member.turn(now);
        });
        self.carry_out(leader);
        self.finish(leader);
        let is_to = |to: usize| move |flight: &(usize, usize, Vec<u8>)| flight.1 == to;
        for follower in (0..VALIDATORS).filter(|place| *place != leader) {
            let proposals: Vec<_> = self.take(is_to(follower));
            self.deliver(follower, proposals, Some(Part::Vote));
            self.finish(follower);
        }
        let mut votes: Vec<_> = self.take(is_to(leader));
        if self.watch.part == Part::Early && !votes.is_empty() {
            let first = votes.remove(0);
            self.deliver(leader, vec![first], Some(Part::Early));
            self.finish(leader);
        }
        self.deliver(leader, votes, Some(Part::Count));
        self.settle();
        self.turn(leader, Some(Part::Empty));
    }

    fn entry(&self) -> Vec<u8> {
        let mut body = vec![0; COMMAND_BYTES];
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
        entry
    }

    /// Frames on their way that are such ones.
    fn take(
        &mut self,
        is_such: impl Fn(&(usize, usize, Vec<u8>)) -> bool,
    ) -> Vec<(usize, usize, Vec<u8>)> {
        let all = std::mem::take(&mut self.flights);
        let (such, others) = all.into_iter().partition(is_such);
        self.flights = others;
        such.into()
    }

    /// Frames come to a validator, and it turns.
    fn deliver(&mut self, to: usize, frames: Vec<(usize, usize, Vec<u8>)>, part: Option<Part>) {
        let (now, member) = (self.now, &mut self.members[to]);
        self.watch.run(part, || {
            for (from, _, bytes) in &frames {
                let outcome = member.replica.peer_frame(now, index(*from), bytes);
                assert!(!outcome.is_fault(), "{outcome:?}");
            }
            member.turn(now);
        });
        self.carry_out(to);
    }

    fn turn(&mut self, place: usize, part: Option<Part>) {
        let (now, member) = (self.now, &mut self.members[place]);
        self.watch.run(part, || member.turn(now));
        self.carry_out(place);
    }

    /// What the last turn has left.
    fn finish(&mut self, place: usize) {
        while self.members[place].replica.is_unfinished() {
            self.turn(place, Some(Part::Rest));
        }
    }

    /// Turns and deliveries until nothing is on its way.
    fn settle(&mut self) {
        for place in 0..VALIDATORS {
            self.finish(place);
        }
        while let Some((from, to, bytes)) = self.flights.pop_front() {
            self.deliver(to, vec![(from, to, bytes)], None);
            while self.members[to].replica.is_unfinished() {
                self.turn(to, None);
            }
        }
    }

    /// Does what a turn asked for; the threads of a node do it beside that.
    fn carry_out(&mut self, place: usize) {
        let (now, member) = (self.now, &mut self.members[place]);
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
        for job in std::mem::take(&mut member.outbox.sync) {
            let done = member.companions.sync.run(job);
            let taken = member.replica.complete_sync(now, done);
            taken.expect("the disk takes it");
        }
        let jobs = std::mem::take(&mut member.outbox.jobs);
        let mut inputs = Vec::new();
        let (own, signer) = (index(place), key(place));
        run_jobs(&self.set, own, &signer, &mut Believe, jobs, &mut inputs);
        for input in inputs {
            member.replica.input(now, input);
        }
        member.outbox.clear();
        let prepared = member.companions.preparer.prepare_next();
        prepared.expect("a segment");
    }
}

/// What a load leaves between two blocks.
#[expect(
    clippy::disallowed_methods,
    reason = "time with nothing to do is what is measured"
)]
fn rest() {
    std::thread::sleep(Duration::from_nanos(BLOCK_NS));
}
