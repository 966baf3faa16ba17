//! Applications that are slower than ordering: what is final and not executed stays bounded, and
//! the chain goes on by itself when they do. The stages are turned here as threads of their own
//! turn them, so that execution can wait.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::commands::{command, index, log_config};
use crate::world::{GENESIS, MS, Tape, World};
use quorate::executor::FinalBlock;
use quorate::journal::Journaled;
use quorate::lanes::Verdict;
use quorate::recovery;
use quorate::replica::{Companions, OrderOut, Parts, run_jobs};
use quorate::results::BlockResults;
use quorate_consensus::effect::Destination;
use quorate_consensus::input::Input;
use quorate_consensus::limits::{PAYLOAD_BYTES_MAX, PIPELINE_BYTES};
use quorate_consensus::machine::Durability;
use quorate_consensus::signing::ValidatorKey;
use quorate_consensus::types::Now;
use quorate_consensus::validators::ValidatorSet;
use quorate_consensus::verify::Zip215;
use quorate_log::{DataFolder, MemoryBackend};
use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;

/// What may wait here before votes are held.
const BYTES_MAX: usize = 1024 * 1024;
const COMMAND_BYTES: usize = 32 * 1024;
/// Far more than may wait, with all that is in flight.
const COMMANDS: u64 = 512;
/// One way over a link, and between two turns of everybody.
const STEP_NS: u64 = MS / 10;

struct Member {
    parts: Parts<Tape>,
    companions: Companions,
    out: OrderOut,
    done: Vec<Journaled>,
    /// Final blocks in the log.
    waiting: VecDeque<FinalBlock>,
    key: ValidatorKey,
}

impl Member {
    fn start(world: &World, place: usize) -> Self {
        let config = world.config(place);
        let key = ValidatorKey::from_seed(&[u8::try_from(place).expect("few") + 1; 32]);
        let memory = MemoryBackend::new();
        let folder = DataFolder::in_memory(&memory);
        let (boot_id, public) = (config.boot_id, key.public());
        recovery::initialize(&folder, &log_config(), GENESIS, boot_id, public).expect("a folder");
        let opened = Parts::open(&folder, &config, Tape::default(), world.now);
        let (mut parts, companions) = opened.expect("a fresh validator starts");
        parts.order = parts.order.holding_votes_beyond(BYTES_MAX);
        Self {
            parts,
            companions,
            out: OrderOut::default(),
            done: Vec::new(),
            waiting: VecDeque::new(),
            key,
        }
    }

    fn append(&mut self, now: Now) {
        let (journal, done) = (&mut self.parts.journal, &mut self.done);
        let ops = self.out.journal.drain(..);
        journal.append_all(now.mono_ns, ops, done).expect("room");
        let mut jobs = Vec::new();
        journal.sync_jobs(now.mono_ns, &mut jobs);
        for job in jobs {
            let finished = self.companions.sync.run(job);
            journal.complete(finished, done).expect("a good disk");
        }
        // What the thread beside the journal does.
        drop(self.companions.preparer.prepare_next());
        for done in self.done.drain(..) {
            match done {
                Journaled::Executable(block) => self.waiting.push_back(block),
                done => self.parts.order.journaled(now, done),
            }
        }
    }

    /// A turn of everything but the application; the frames that leave.
    fn turn(
        &mut self,
        set: &Arc<ValidatorSet>,
        place: usize,
        now: Now,
    ) -> Vec<(Destination, Vec<u8>)> {
        self.parts.order.serve(&mut self.out).expect("a good log");
        for _ in 0..8 {
            self.parts.order.settle(now, &mut self.out).expect("good");
            self.append(now);
            self.parts.order.propose(now, &mut self.out).expect("good");
            self.append(now);
            let (jobs, mut inputs) = (self.out.jobs.drain(..), Vec::new());
            let mut check = Zip215::new(ChaCha8Rng::from_seed([3; 32]));
            run_jobs(set, index(place), &self.key, &mut check, jobs, &mut inputs);
            for input in inputs {
                self.parts.order.input(now, input);
            }
        }
        let frames = self.out.frames.iter();
        let frames = frames
            .map(|frame| (frame.to, frame.bytes().into_owned()))
            .collect();
        self.out = OrderOut::default();
        frames
    }

    /// Executes what waits, and tells the order stage what an app stage would tell it.
    fn execute(&mut self, now: Now) {
        let mut results = BlockResults::new();
        for block in self.waiting.drain(..) {
            let executed = self.parts.executor.execute(&block, &mut results);
            executed.expect("a good block");
            if results.settles() {
                let (height, refused) = (results.height, results.refused());
                let order = &mut self.parts.order;
                let settled = order.settled(now, height, &results.corrections, &refused);
                settled.expect("a good block");
            }
        }
    }

    fn applied(&self) -> usize {
        self.parts.executor.app().applied.len()
    }
}

struct Crowd {
    now: Now,
    set: Arc<ValidatorSet>,
    members: Vec<Member>,
    /// On their way, from and to whom.
    frames: VecDeque<(usize, usize, Vec<u8>)>,
    are_executing: bool,
    submitted: u64,
}

impl Crowd {
    fn start() -> Self {
        let world = World::new(4, 1, 0, Durability::Async);
        let members: Vec<_> = (0..4).map(|place| Member::start(&world, place)).collect();
        let mut crowd = Self {
            now: world.now,
            set: Arc::clone(&world.set),
            members,
            frames: VecDeque::new(),
            are_executing: true,
            submitted: 0,
        };
        for place in 0..4 {
            for other in (0..4).filter(|&other| other != place) {
                let up = Input::PeerUp(index(other));
                crowd.members[place].parts.order.input(crowd.now, up);
            }
        }
        crowd
    }

    fn step(&mut self) {
        self.now.mono_ns += STEP_NS;
        self.now.wall_ns += STEP_NS;
        for (from, to, bytes) in std::mem::take(&mut self.frames) {
            let order = &mut self.members[to].parts.order;
            let outcome = order.frame(self.now, index(from), &bytes);
            assert!(!outcome.is_fault(), "{from} to {to}: {outcome:?}");
        }
        for place in 0..self.members.len() {
            let member = &mut self.members[place];
            let frames = member.turn(&self.set, place, self.now);
            if self.are_executing {
                member.execute(self.now);
            }
            for (to, bytes) in frames {
                self.send(place, to, &bytes);
            }
        }
    }

    fn send(&mut self, from: usize, to: Destination, bytes: &[u8]) {
        let all = 0..self.members.len();
        let is_meant = |&other: &usize| match to {
            Destination::Peer(peer) => peer.place() == other,
            Destination::All => other != from,
        };
        let sent = all.filter(is_meant).map(|to| (from, to, bytes.to_vec()));
        self.frames.extend(sent);
    }

    /// A client of the first validator goes on with what that has room for.
    fn submit(&mut self) {
        while self.submitted < COMMANDS {
            let text = "x".repeat(COMMAND_BYTES);
            let entry = command(1, self.submitted + 1, &text);
            let mut verdicts = Vec::new();
            let order = &mut self.members[0].parts.order;
            let submitted = order.submit((self.now, self.now.mono_ns), None, &entry, &mut verdicts);
            submitted.expect("an entry");
            if verdicts[0].verdict != Verdict::Accepted {
                return;
            }
            self.submitted += 1;
        }
    }

    fn run(&mut self, steps: usize) {
        for _ in 0..steps {
            self.submit();
            self.step();
        }
    }

    fn heights(&self) -> Vec<u64> {
        let orders = self.members.iter().map(|member| &member.parts.order);
        let heights = orders.map(|order| order.consensus().delivered().number());
        heights.collect()
    }
}

#[test]
fn applications_that_stand_still_hold_the_chain_within_a_bound_and_it_goes_on_with_them() {
    let mut crowd = Crowd::start();
    for _ in 0..2_000 {
        crowd.step();
    }
    let is_voting = |member: &Member| member.parts.order.consensus().is_voting();
    assert!(crowd.members.iter().all(is_voting));
    crowd.are_executing = false;
    crowd.run(1_000);
    let heights = crowd.heights();
    let in_flight = usize::try_from(PIPELINE_BYTES).expect("few") + PAYLOAD_BYTES_MAX;
    for member in &crowd.members {
        let (order, waiting) = (&member.parts.order, member.waiting.iter());
        let bytes: usize = waiting.map(|block| block.payload.len()).sum();
        assert!(bytes <= order.unsettled_bytes());
        assert!(order.unsettled_bytes() > BYTES_MAX);
        assert!(order.unsettled_bytes() <= BYTES_MAX + in_flight, "{bytes}");
        assert!(order.consensus().is_behind());
    }
    crowd.run(1_000);
    assert_eq!(crowd.heights(), heights, "nothing is added to it");
    crowd.are_executing = true;
    let commands = usize::try_from(COMMANDS).expect("few");
    for _ in 0..20_000 {
        if crowd.members.iter().all(|one| one.applied() == commands) {
            break;
        }
        crowd.run(1);
    }
    let applied: Vec<usize> = crowd.members.iter().map(Member::applied).collect();
    assert_eq!(applied, [commands; 4], "{:?}", crowd.heights());
    for member in &crowd.members {
        let order = &member.parts.order;
        assert!(order.unsettled_bytes() <= BYTES_MAX / 2 && !order.consensus().is_behind());
    }
}
