//! A few whole validators in one thread under virtual time: frames pass directly, disks are
//! memory, and a crash is a copy of the disk. Small on purpose; the simulator is the large one.

use std::collections::BTreeMap;
use std::sync::Arc;

use quorate::auth::{BatchSeed, CommandAuth};
use quorate::journal::SyncJob;
use quorate::lanes::{CommandVerdict, LanesConfig, Verdict};
use quorate::recovery::{self, RecoveryError};
use quorate::replica::{
    Companions, Event, Job, Outbox, Replica, ReplicaConfig, ReplicaError, run_jobs,
};
use quorate::results::{CommandResult, Outcome};
use quorate::snapshot::SnapshotFolder;
use quorate::state_machine::SessionId;
use quorate_consensus::effect::Destination;
use quorate_consensus::input::Input;
use quorate_consensus::machine::{Durability, TimerConfig};
use quorate_consensus::message::{Get, Message};
use quorate_consensus::restart;
use quorate_consensus::signing::ValidatorKey;
use quorate_consensus::trust::Lease;
use quorate_consensus::types::{Epoch, Now, Stake};
use quorate_consensus::validators::{SetParameters, Validator, ValidatorSet};
use quorate_consensus::verify::Zip215;
use quorate_consensus::wire;
use quorate_log::{DataFolder, LeaseFile, LeaseRead, MemoryBackend, Reader};
use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;

use crate::censoring::without_session;
pub(crate) use crate::commands::{command, commands, index, log_config, session};
pub(crate) use crate::tape::Tape;

pub(crate) const MS: u64 = 1_000_000;
const US: u64 = 1_000;
/// One way, between any two validators.
const WIRE_NS: u64 = 100 * US;
/// One job of the verify worker, whatever its size.
const VERIFY_NS: u64 = 100 * US;
/// One sync or lease write.
const DISK_NS: u64 = 500 * US;
/// Within the life of an opening with number 1, with which the sessions of these tests begin.
const WALL_START_NS: u64 = 5_000_000_000;

pub(crate) const GENESIS: &[u8] = b"{\"genesis\": \"of a test\"}";

/// A running validator.
pub(crate) struct Running {
    pub(crate) replica: Replica<Tape>,
    companions: Companions,
    outbox: Outbox,
}

/// A validator, up or down, with its disk and what its clients were told.
pub(crate) struct Slot {
    pub(crate) memory: MemoryBackend,
    pub(crate) running: Option<Running>,
    /// Results since the last start, of every command of every block.
    pub(crate) results: Vec<CommandResult>,
    pub(crate) repeats: Vec<CommandResult>,
    pub(crate) events: Vec<Event>,
    pub(crate) failure: Option<ReplicaError>,
    /// Folder of its snapshots.
    pub(crate) snapshots: Option<SnapshotFolder>,
    boot_id: [u8; 16],
    starts: u64,
}

#[derive(Debug)]
enum Due {
    Frame {
        from: usize,
        to: usize,
        bytes: Arc<[u8]>,
    },
    Jobs {
        at: usize,
        start: u64,
        jobs: Vec<Job>,
    },
    Disk {
        at: usize,
        start: u64,
        job: SyncJob,
    },
}

/// Changes what is told of signatures on its way to a validator, and who is said to tell it.
pub(crate) type Telling = fn(usize, &mut usize, &mut Vec<u8>);

pub(crate) struct World {
    pub(crate) now: Now,
    pub(crate) set: Arc<ValidatorSet>,
    pub(crate) slots: Vec<Slot>,
    pub(crate) durability: Durability,
    pub(crate) timers: TimerConfig,
    pub(crate) keys: Vec<ValidatorKey>,
    due: BTreeMap<(u64, u64), Due>,
    numbers: u64,
    /// Frames from a validator of the first place to one of the second are lost.
    pub(crate) cut: Vec<(usize, usize)>,
    /// Frames from the first to the second come after what others answer to the same ones.
    pub(crate) slow: Option<(usize, usize)>,
    /// The chain's commands are signed; a validator that does not care is named.
    is_signed: bool,
    lax: Option<usize>,
    /// Sessions of the chain's table, from the next start on.
    pub(crate) sessions_max: u32,
    /// Frames sent so far.
    pub(crate) frames: u64,
    /// Of this validator each question for history is noted in `asked`, with its time.
    pub(crate) watched: Option<usize>,
    pub(crate) asked: Vec<(u64, Get)>,
    /// No history comes to this validator: a gap does not close.
    pub(crate) without_history: Option<usize>,
    /// A validator that takes no commands of a session from what others forward.
    pub(crate) censor: Option<(usize, SessionId)>,
    /// What comes to a validator at one time is one turn.
    pub(crate) is_together: bool,
    pub(crate) telling: Option<Telling>,
}

impl World {
    /// Validators of equal stake, all initialized and up.
    pub(crate) fn new(validators: usize, fault: u64, slack: u64, durability: Durability) -> Self {
        let timers = TimerConfig::laptop();
        Self::with(
            validators,
            (fault, slack),
            durability,
            (false, None),
            timers,
        )
    }

    /// With other timers.
    pub(crate) fn timed(validators: usize, fault: u64, timers: TimerConfig) -> Self {
        let (stakes, auth) = ((fault, 0), (false, None));
        Self::with(validators, stakes, Durability::Async, auth, timers)
    }

    /// In a chain of signed commands; `lax` does not care for signatures.
    pub(crate) fn signed(validators: usize, fault: u64, lax: Option<usize>) -> Self {
        let timers = TimerConfig::laptop();
        Self::with(
            validators,
            (fault, 0),
            Durability::Sync,
            (true, lax),
            timers,
        )
    }

    fn with(
        validators: usize,
        (fault, slack): (u64, u64),
        durability: Durability,
        (is_signed, lax): (bool, Option<usize>),
        timers: TimerConfig,
    ) -> Self {
        let keys: Vec<_> = (0..validators)
            .map(|place| ValidatorKey::from_seed(&[u8::try_from(place).expect("few") + 1; 32]))
            .collect();
        let members = keys
            .iter()
            .map(|key| Validator {
                key: key.public(),
                stake: Stake::new(1),
                leader_weight: 1,
            })
            .collect();
        let parameters = SetParameters {
            chain_id: [1; 32],
            genesis_hash: *blake3::hash(GENESIS).as_bytes(),
            epoch: Epoch::ZERO,
            fault: Stake::new(fault),
            slack: Stake::new(slack),
            window_slots: 64,
            turn_windows: 2,
            crash_only: fault == 0,
            genesis_time_ns: WALL_START_NS - 1_000 * MS,
        };
        let set = Arc::new(ValidatorSet::new(parameters, members).expect("a good set"));
        let slots = keys.iter().map(ValidatorKey::public).zip(0..);
        let slots = slots.map(|(key, place)| fresh_slot(place, key)).collect();
        let mut world = Self {
            now: Now {
                mono_ns: 1_000 * MS,
                wall_ns: WALL_START_NS,
            },
            set,
            slots,
            durability,
            timers,
            keys,
            due: BTreeMap::new(),
            numbers: 0,
            cut: Vec::new(),
            slow: None,
            is_signed,
            lax,
            sessions_max: 64,
            frames: 0,
            watched: None,
            without_history: None,
            asked: Vec::new(),
            censor: None,
            is_together: false,
            telling: None,
        };
        for place in 0..validators {
            world.start(place).expect("a fresh validator starts");
        }
        world
    }

    fn auth(&self, place: usize) -> CommandAuth {
        match self.is_signed && self.lax != Some(place) {
            true => CommandAuth::signed(&self.set, BatchSeed::assert_unpredictable([5; 32])),
            false => CommandAuth::session(),
        }
    }

    pub(crate) fn config(&self, place: usize) -> ReplicaConfig {
        let slot = &self.slots[place];
        ReplicaConfig {
            own: index(place),
            set: Arc::clone(&self.set),
            durability: self.durability,
            timers: self.timers,
            incarnation_min: slot.starts,
            nonce_seed: [u8::try_from(slot.starts % 256).expect("a byte"); 32],
            snapshot_heights: 0,
            boot_id: slot.boot_id,
            genesis: GENESIS.into(),
            log: log_config(),
            lanes: LanesConfig::new(self.sessions_max, 20 * MS),
            cache_bytes_max: 64 * 1024,
            public_bytes_max: 0,
            private_bytes_max: 1 << 20,
            public_archive: None,
            private_archive: None,
            auth: Arc::new(self.auth(place)),
            snapshots: slot.snapshots.clone(),
            first: None,
        }
    }

    /// Starts a validator from what its disk holds.
    pub(crate) fn start(&mut self, place: usize) -> Result<(), RecoveryError> {
        self.slots[place].starts += 1;
        let config = self.config(place);
        let folder = DataFolder::in_memory(&self.slots[place].memory);
        let (replica, companions) = Replica::open(&folder, &config, Tape::default(), self.now)?;
        let slot = &mut self.slots[place];
        slot.results.clear();
        slot.failure = None;
        slot.running = Some(Running {
            replica,
            companions,
            outbox: Outbox::new(),
        });
        let now = self.now;
        for other in 0..self.slots.len() {
            if other != place && self.slots[other].running.is_some() {
                self.replica(place).peer_up(now, index(other));
                self.replica(other).peer_up(now, index(place));
            }
        }
        self.turn_all();
        Ok(())
    }

    pub(crate) fn replica(&mut self, place: usize) -> &mut Replica<Tape> {
        &mut self.slots[place]
            .running
            .as_mut()
            .expect("it is up")
            .replica
    }

    pub(crate) fn log_reader(&self, place: usize) -> Reader {
        let running = self.slots[place].running.as_ref().expect("it is up");
        running.companions.reader.clone()
    }

    /// The process dies; what it wrote is still there.
    pub(crate) fn kill(&mut self, place: usize) {
        self.take_down(place);
        self.slots[place].memory = self.slots[place].memory.process_kill();
    }

    /// The machine dies: what was not synced is gone, and the boot id is another one.
    pub(crate) fn power_cut(&mut self, place: usize) {
        self.take_down(place);
        let slot = &mut self.slots[place];
        slot.memory = slot.memory.power_cut(|_| false);
        slot.boot_id[0] += 1;
    }

    /// A clean stop.
    pub(crate) fn stop(&mut self, place: usize) {
        let running = self.slots[place].running.take().expect("it is up");
        let Running {
            replica,
            companions,
            ..
        } = running;
        replica.stop(companions.sync).expect("a clean stop");
        self.announce_down(place);
    }

    fn take_down(&mut self, place: usize) {
        assert!(self.slots[place].running.take().is_some(), "it was up");
        self.announce_down(place);
    }

    fn announce_down(&mut self, place: usize) {
        for other in 0..self.slots.len() {
            if let Some(running) = self.slots[other].running.as_mut() {
                running.replica.peer_down(self.now, index(place));
            }
        }
        self.due.retain(|_, due| match due {
            Due::Frame { from, to, .. } => *from != place && *to != place,
            Due::Jobs { at, .. } | Due::Disk { at, .. } => *at != place,
        });
        self.turn_all();
    }

    /// A client hands commands to one validator.
    pub(crate) fn submit(&mut self, place: usize, entries: &[Vec<u8>]) -> Vec<Verdict> {
        let mut verdicts: Vec<CommandVerdict> = Vec::new();
        let now = self.now;
        let bytes = entries.concat();
        self.replica(place)
            .submit(now, None, &bytes, &mut verdicts)
            .expect("entries");
        self.turn(place);
        verdicts.iter().map(|verdict| verdict.verdict).collect()
    }

    fn turn_all(&mut self) {
        for place in 0..self.slots.len() {
            self.turn(place);
        }
    }

    /// One turn of one validator, and what it asks for.
    pub(crate) fn turn(&mut self, place: usize) {
        let now = self.now;
        let slot = &mut self.slots[place];
        let Some(running) = slot.running.as_mut() else {
            return;
        };
        let outcome = running.replica.turn(now, &mut running.outbox);
        let mut frames: Vec<(Destination, Arc<[u8]>)> = Vec::new();
        if outcome.is_ok() {
            frames.extend(
                running
                    .outbox
                    .frames
                    .iter()
                    .map(|frame| (frame.to, (*frame.bytes()).into())),
            );
        }
        let jobs: Vec<Job> = running.outbox.jobs.drain(..).collect();
        let disk: Vec<SyncJob> = running.outbox.sync.drain(..).collect();
        for results in &running.outbox.results {
            slot.results.extend_from_slice(&results.commands);
        }
        slot.repeats.append(&mut running.outbox.repeats);
        slot.events.append(&mut running.outbox.events);
        running.outbox.clear();
        let start = slot.starts;
        if let Err(error) = outcome {
            slot.failure = Some(error);
            self.take_down(place);
            return;
        }
        if !jobs.is_empty() {
            self.schedule(
                VERIFY_NS,
                Due::Jobs {
                    at: place,
                    start,
                    jobs,
                },
            );
        }
        for job in disk {
            self.schedule(
                DISK_NS,
                Due::Disk {
                    at: place,
                    start,
                    job,
                },
            );
        }
        for (to, bytes) in frames {
            self.send(place, to, &bytes);
        }
    }

    fn send(&mut self, from: usize, to: Destination, bytes: &Arc<[u8]>) {
        let receivers: Vec<usize> = match to {
            Destination::Peer(peer) => vec![peer.place()],
            Destination::All => (0..self.slots.len())
                .filter(|&other| other != from)
                .collect(),
        };
        if self.watched == Some(from)
            && let Ok(message) = wire::decode(bytes)
            && let Message::Get(get @ Get::History { .. }) = message.into_message()
        {
            self.asked.push((self.now.mono_ns, get));
        }
        let decoded = wire::decode(bytes).map(wire::Unverified::into_message);
        let is_history = matches!(decoded, Ok(Message::History(_)));
        for to in receivers {
            self.frames += 1;
            let is_lost =
                self.cut.contains(&(from, to)) || (is_history && self.without_history == Some(to));
            if self.slots[to].running.is_some() && !is_lost {
                let is_slow = self.slow == Some((from, to));
                self.schedule(
                    if is_slow { WIRE_NS * 5 / 2 } else { WIRE_NS },
                    Due::Frame {
                        from,
                        to,
                        bytes: Arc::clone(bytes),
                    },
                );
            }
        }
    }

    fn told(&self, to: usize, mut from: usize, bytes: Arc<[u8]>) -> (usize, Arc<[u8]>) {
        let message = wire::decode(&bytes).map(wire::Unverified::into_message);
        let (Some(telling), Ok(Message::Abscissas { block, told })) = (self.telling, message)
        else {
            return (from, bytes);
        };
        let (mut changed, mut bytes) = (told.to_vec(), Vec::new());
        telling(to, &mut from, &mut changed);
        let told = changed.into();
        wire::encode(&Message::Abscissas { block, told }, &mut bytes);
        (from, bytes.into())
    }

    fn schedule(&mut self, delay_ns: u64, due: Due) {
        self.numbers += 1;
        self.due
            .insert((self.now.mono_ns + delay_ns, self.numbers), due);
    }

    fn deliver(&mut self, due: Due) {
        let now = self.now;
        match due {
            Due::Frame { from, to, bytes } => {
                let hated = self.censor.filter(|(place, _)| *place == to);
                let Some(bytes) = without_session(bytes, hated) else {
                    return;
                };
                let (from, bytes) = self.told(to, from, bytes);
                let outcome = self.replica(to).peer_frame(now, index(from), &bytes);
                assert!(!outcome.is_fault(), "{from} to {to}: {outcome:?}");
                let mut at_once = self.due.range(..(now.mono_ns + 1, 0));
                let is_one = |due: &Due| matches!(due, Due::Frame { to: too, .. } if *too == to);
                if !self.is_together || !at_once.any(|(_, due)| is_one(due)) {
                    self.turn(to);
                }
            }
            Due::Jobs { at, start, jobs } if self.slots[at].starts == start => {
                let mut inputs: Vec<Input> = Vec::new();
                let mut check = Zip215::new(ChaCha8Rng::from_seed([3; 32]));
                run_jobs(
                    &self.set,
                    index(at),
                    &self.keys[at],
                    &mut check,
                    jobs,
                    &mut inputs,
                );
                for input in inputs {
                    self.replica(at).input(now, input);
                }
                self.turn(at);
            }
            Due::Disk { at, start, job } if self.slots[at].starts == start => {
                let slot = &mut self.slots[at];
                let running = slot.running.as_mut().expect("its jobs died with it");
                let finished = running.companions.sync.run(job);
                if let Err(error) = running.replica.complete_sync(now, finished) {
                    slot.failure = Some(error);
                    self.take_down(at);
                    return;
                }
                self.turn(at);
            }
            Due::Jobs { .. } | Due::Disk { .. } => {}
        }
    }

    /// Goes on for so long, event by event.
    pub(crate) fn run(&mut self, duration_ns: u64) {
        let end_ns = self.now.mono_ns + duration_ns;
        while self.step(end_ns) {}
        self.set_time(end_ns);
    }

    /// Goes on until `done`, and fails when that takes longer than `limit_ns`.
    pub(crate) fn run_until(
        &mut self,
        what: &str,
        limit_ns: u64,
        mut done: impl FnMut(&Self) -> bool,
    ) {
        let end_ns = self.now.mono_ns + limit_ns;
        while !done(self) {
            assert!(
                self.step(end_ns),
                "not within {} ms: {what}; {:?}",
                limit_ns / MS,
                self.brief()
            );
        }
    }

    fn step(&mut self, end_ns: u64) -> bool {
        let now = self.now;
        let next_due = self.due.keys().next().map_or(u64::MAX, |&(at_ns, _)| at_ns);
        let next_turn = (0..self.slots.len())
            .filter_map(|place| {
                let running = self.slots[place].running.as_ref()?;
                Some((running.replica.deadline_ns(now).max(now.mono_ns), place))
            })
            .min();
        let turn_ns = next_turn.map_or(u64::MAX, |(at_ns, _)| at_ns);
        let at_ns = next_due.min(turn_ns);
        if at_ns > end_ns {
            return false;
        }
        self.set_time(at_ns);
        if next_due <= turn_ns {
            let (_, due) = self.due.pop_first().expect("it was there");
            self.deliver(due);
        } else if let Some((_, place)) = next_turn {
            // A turn that leaves its own deadline where it was would stop virtual time.
            self.set_time(at_ns.max(now.mono_ns + 1));
            self.turn(place);
        }
        true
    }

    fn set_time(&mut self, mono_ns: u64) {
        let passed = mono_ns.saturating_sub(self.now.mono_ns);
        self.now.mono_ns += passed;
        self.now.wall_ns += passed;
    }

    pub(crate) fn brief(&self) -> Vec<String> {
        let brief = |slot: &Slot| match &slot.running {
            None => format!("down {:?}", slot.failure),
            Some(running) => {
                let consensus = running.replica.consensus();
                format!(
                    "{:?} delivered {:?} proven {:?} voting {} pool {}",
                    consensus.window(),
                    consensus.delivered(),
                    consensus.proven().height,
                    consensus.is_voting(),
                    running.replica.order().lanes().len(),
                )
            }
        };
        self.slots.iter().map(brief).collect()
    }

    pub(crate) fn up(&self) -> impl Iterator<Item = (usize, &Running)> {
        let up = |(place, slot): (usize, &'_ Slot)| slot.running.as_ref().map(|_| place);
        let places: Vec<usize> = self.slots.iter().enumerate().filter_map(up).collect();
        places
            .into_iter()
            .filter_map(|place| Some((place, self.slots[place].running.as_ref()?)))
    }

    pub(crate) fn applied(&self, place: usize) -> &[(SessionId, u64, Vec<u8>)] {
        let running = self.slots[place].running.as_ref().expect("it is up");
        &running.replica.executor().app().applied
    }

    /// Waits until every validator that is up has applied so many commands.
    pub(crate) fn run_until_applied(&mut self, count: usize, limit_ns: u64) {
        self.run_until("commands applied everywhere", limit_ns, |world| {
            world
                .up()
                .all(|(place, _)| world.applied(place).len() >= count)
        });
    }

    /// Every validator that is up has the same history and the same roots.
    pub(crate) fn assert_equal_states(&mut self) {
        let target = self
            .up()
            .map(|(_, running)| running.replica.executor().height())
            .max();
        let target = target.expect("somebody is up");
        self.run_until("one height", 20_000 * MS, |world| {
            world
                .up()
                .all(|(_, running)| running.replica.executor().height() == target)
        });
        let places: Vec<usize> = self.up().map(|(place, _)| place).collect();
        let first = self.replica(places[0]).executor_mut().root();
        for &place in &places[1..] {
            assert_eq!(
                self.replica(place).executor_mut().root(),
                first,
                "validator {place}"
            );
            assert_eq!(
                self.applied(place),
                self.applied(places[0]),
                "validator {place}"
            );
        }
    }

    pub(crate) fn alarms(&self) -> Vec<(usize, Event)> {
        let is_alarm = |event: &Event| {
            matches!(
                event,
                Event::Alarm(_) | Event::Evidence(_) | Event::PeerFault(_)
            )
        };
        let mut alarms = Vec::new();
        for (place, slot) in self.slots.iter().enumerate() {
            alarms.extend(
                slot.events
                    .iter()
                    .filter(|event| is_alarm(event))
                    .map(|event| (place, event.clone())),
            );
        }
        alarms
    }

    /// What the lease file of a validator that is up says.
    pub(crate) fn lease(&self, place: usize) -> Lease {
        let file = LeaseFile::new(&DataFolder::in_memory(&self.slots[place].memory));
        match file.read().expect("memory can be read") {
            LeaseRead::Present(bytes) => {
                restart::LeaseFile::decode(&bytes).expect("own bytes").lease
            }
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn leader(&self) -> usize {
        let (_, running) = self.up().next().expect("somebody is up");
        running.replica.consensus().leader().place()
    }

    /// Results of this outcome that a validator gave its own clients.
    pub(crate) fn answered(&self, place: usize, outcome: Outcome) -> usize {
        let is_answer =
            |result: &&CommandResult| result.outcome == outcome && result.finality_ns > 0;
        self.slots[place].results.iter().filter(is_answer).count()
    }
}

fn fresh_slot(place: usize, key: [u8; 32]) -> Slot {
    let memory = MemoryBackend::new();
    let boot_id = [u8::try_from(place).expect("few"); 16];
    let folder = DataFolder::in_memory(&memory);
    recovery::initialize(&folder, &log_config(), GENESIS, boot_id, key).expect("a new folder");
    Slot {
        memory,
        running: None,
        results: Vec::new(),
        repeats: Vec::new(),
        events: Vec::new(),
        failure: None,
        snapshots: None,
        boot_id,
        starts: 0,
    }
}
