//! That the pool of commands asks for no memory under a steady load: a command that comes takes
//! that of one that is gone.
//!
//! Stands here, since the counting allocator may stand nowhere else. Never: a time.

#[path = "../src/counting.rs"]
mod counting;

use counting::{Counting, ThreadMeter};
use quorate::lanes::{Lanes, LanesConfig, Verdict};
use quorate::state_machine::SessionId;
use quorate_consensus::payload::{Entry, Lane, PayloadBuilder, encode_entry};
use quorate_decoders::decoder::Meter as _;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const SESSIONS: u8 = 16;
/// Commands of each session in a round.
const RUN: u64 = 16;
/// Rounds before those that count: lists have grown by then.
const ROUNDS_WARM: u64 = 300;
const ROUNDS: u64 = 300;

struct World {
    lanes: Lanes,
    builder: PayloadBuilder,
    /// The next number of every session.
    seq: u64,
    body_bytes: usize,
}

impl World {
    fn new(body_bytes: usize) -> Self {
        let mut lanes = Lanes::new(LanesConfig::new(64, 20_000_000));
        (0..SESSIONS).for_each(|one| lanes.restore_session(SessionId([one; 16]), 1));
        Self {
            lanes,
            builder: PayloadBuilder::new(),
            seq: 2,
            body_bytes,
        }
    }

    /// The next commands of one session.
    fn run(&self, session: u8) -> Vec<u8> {
        let body = vec![session; self.body_bytes];
        let mut bytes = Vec::new();
        for seq in self.seq..self.seq + RUN {
            let entry = Entry {
                lane: Lane::Order,
                session: &[session; 16],
                seq,
                signature: None,
                body: &body,
            };
            encode_entry(&entry, &mut bytes);
        }
        bytes
    }

    /// Commands of every session come and become final; how often the pool asked for memory, the
    /// payloads left out.
    fn round(&mut self) -> u64 {
        let runs: Vec<_> = (0..SESSIONS).map(|session| self.run(session)).collect();
        let now_ns = self.seq * 1_000_000;
        let many = usize::from(SESSIONS) * RUN as usize;
        let mut verdicts = Vec::with_capacity(many);
        let (mut finals, mut admitted) = (Vec::new(), Vec::with_capacity(many));
        ThreadMeter.start();
        for run in &runs {
            let times = (now_ns, now_ns);
            let taken = self
                .lanes
                .submit(times, None, run, &mut verdicts, &mut finals);
            taken.expect("entries");
        }
        self.lanes.forward(now_ns, &mut |_, _| {});
        let mut asked = ThreadMeter.allocations();
        let mut payloads = Vec::new();
        while let Some(payload) = self.lanes.build_payload(&Lane::ALL, &mut self.builder) {
            payloads.push(payload);
        }
        ThreadMeter.start();
        for payload in &payloads {
            let times = (now_ns, now_ns);
            let taken = self.lanes.finalize_block(times, payload, &mut admitted);
            taken.expect("a payload");
        }
        asked += ThreadMeter.allocations();
        assert!(verdicts.iter().all(|one| one.verdict == Verdict::Accepted));
        assert_eq!((verdicts.len(), admitted.len()), (many, many));
        assert!(self.lanes.is_empty() && finals.is_empty());
        self.seq += RUN;
        asked
    }
}

#[test]
fn commands_that_come_in_order_under_a_steady_load_ask_for_no_memory() {
    for body_bytes in [0, 100, 512, 3_000] {
        let mut world = World::new(body_bytes);
        (0..ROUNDS_WARM).for_each(|_| {
            world.round();
        });
        let asked: u64 = (0..ROUNDS).map(|_| world.round()).sum();
        assert_eq!(asked, 0, "bodies of {body_bytes} bytes");
    }
}

/// What is used again is not for one length alone, and long commands leave nothing behind.
#[test]
fn a_load_that_changes_its_length_asks_for_memory_only_until_it_is_steady_again() {
    let mut world = World::new(512);
    (0..ROUNDS_WARM).for_each(|_| {
        world.round();
    });
    world.body_bytes = 700;
    assert!(world.round() > 0, "no shorter buffer takes these");
    assert_eq!(world.round(), 0);
    world.body_bytes = 512;
    assert_eq!(world.round(), 0, "theirs are there still");
    world.body_bytes = 5_000;
    world.round();
    let many = u64::from(SESSIONS) * RUN;
    assert!(world.round() >= many, "of such none is kept");
}
