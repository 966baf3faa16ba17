//! The loop of a prediction: machines, ways, and the events between them.
//!
//! Owns virtual time, and what a validator's thread does in it. A turn begins when something came
//! and the thread has a core, costs what its parts cost, and its frames leave one after the other.
//! Never: chance.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use quorate::auth::CommandAuth;
use quorate::replica::run_jobs;
use quorate::state_machine::SessionId;
use quorate_consensus::effect::{Destination, FinalPath};
use quorate_consensus::input::Input;
use quorate_consensus::message::Message;
use quorate_consensus::payload::{Entry, Lane, encode_entry, session_of_key};
use quorate_consensus::types::Now;
use quorate_consensus::validators::ValidatorSet;
use quorate_consensus::wire;

use super::cores::{CoreId, Cores};
use super::machine::{Due, Flight, Letter, Machine, Thread, Work};
use super::plan::{plan_of, work_ns};
use super::syncs::{SyncTimes, Syncs};
use super::together::PATIENCE_NS;
use super::{Costs, LatencyMatrix, ScaleError, ScaleOptions};
use crate::keyring::Keyring;
use crate::member::{Member, Turned};
use crate::overheard::{Ear, Overheard};
use crate::past::Past;
use crate::plan::WALL_START_NS;
use crate::tape::Tape;
use crate::world::{MS, START_NS, index};

/// The key of the only client.
const CLIENT_KEY: [u8; 32] = [7; 32];
/// Shortest time between two commands where none is told.
const INTERVAL_MIN_NS: u64 = MS;
/// Longest time that a validator does not look at its clock.
const PARK_MAX_NS: u64 = 100 * MS;
/// A command that takes so many longest ways, and so long besides, will never be final.
const WAYS_MAX: u64 = 1_000;
const PATIENCE_MAX_NS: u64 = 10_000 * MS;
/// A core that nobody has used for so long has gone to rest, and so has a thread that has not run:
/// between the two rests of the benches, of which one is none.
const RESTED_NS: u64 = MS / 2;
/// Whose thread a core has had that is no validator's own.
const OF_HELPERS: usize = usize::MAX;

/// All machines.
pub(super) struct Hall {
    matrix: LatencyMatrix,
    costs: Costs,
    set: Arc<ValidatorSet>,
    keyring: Keyring,
    machines: Vec<Machine>,
    cores: Cores<Work>,
    syncs: Syncs,
    /// Less than two cores a validator: what validators go by.
    is_crowded: bool,
    events: BTreeMap<(u64, u64), Due>,
    number: u64,
    now_ns: u64,
    interval_ns: u64,
    command_bytes: usize,
    commands: u64,
    flights: Vec<Flight>,
    frames: u64,
    finalized: u64,
}

fn product(what: &str, error: impl std::fmt::Display) -> ScaleError {
    ScaleError::Product(format!("{what}: {error}"))
}

/// As far apart as wanted, or far enough that no queue forms, and close enough that a way holds
/// several.
fn interval_of(options: &ScaleOptions) -> u64 {
    let spread_ns = options.matrix.longest_ns() / 8;
    let apart_ns = INTERVAL_MIN_NS.max(spread_ns).max(work_ns(options));
    // Two at one time would be one.
    options.interval_ns.unwrap_or(apart_ns).max(1)
}

impl Hall {
    pub(super) fn new(options: &ScaleOptions) -> Result<Self, ScaleError> {
        let plan = plan_of(options);
        let keyring = Keyring::new(options.validators, plan.scheme);
        let past =
            Past::new(&plan, keyring.keys(), Tape::default(), &[]).map_err(ScaleError::Product)?;
        let len = usize::from(options.validators);
        let (cores, syncs) = (options.cores.map(usize::from), options.syncs);
        let mut hall = Self {
            matrix: options.matrix.clone(),
            costs: options.costs,
            set: Arc::clone(&past.set),
            keyring,
            machines: Vec::new(),
            cores: cores.map_or_else(|| Cores::one_each(len), Cores::shared),
            syncs: Syncs::new(syncs.unwrap_or_else(|| SyncTimes::all(options.costs.sync_ns))),
            is_crowded: cores.is_some_and(|cores| cores < 2 * len),
            events: BTreeMap::new(),
            number: 0,
            now_ns: START_NS,
            interval_ns: interval_of(options),
            command_bytes: options.command_bytes,
            commands: 0,
            flights: Vec::new(),
            frames: 0,
            finalized: 0,
        };
        let up = len.saturating_sub(usize::from(options.down));
        for place in 0..len {
            let owner = hall.keyring.keys()[place].public();
            let mut member =
                Member::new(place, owner, &past.genesis, &plan, 0).map_err(ScaleError::Product)?;
            if place < up {
                let now = hall.now(hall.now_ns);
                member
                    .start(
                        index(place),
                        &plan,
                        &past,
                        CommandAuth::session(),
                        (Overheard::new(Tape::default(), Ear::default()), None),
                        now,
                    )
                    .map_err(|error| product("a fresh start", error))?;
            }
            hall.machines.push(Machine::new(member, place < up));
        }
        hall.connect(up);
        Ok(hall)
    }

    fn connect(&mut self, up: usize) {
        let now = self.now(self.now_ns);
        for own in 0..up {
            if let Some(life) = self.machines[own].member.life.as_mut() {
                for peer in (0..up).filter(|peer| *peer != own) {
                    life.replica.peer_up(now, index(peer));
                }
            }
            self.poke(own);
        }
    }

    /// The weight that may be away without stopping the chain.
    pub(super) fn may_be_away(&self) -> u64 {
        let found = self.set.thresholds();
        found.total.amount().saturating_sub(found.quorum.amount())
    }

    /// Frames sent since the commands that count began.
    pub(super) const fn frames(&self) -> u64 {
        self.frames
    }

    /// Finality and path of the commands after so many.
    pub(super) fn finals(&self, after: u64) -> Vec<(u64, bool)> {
        let after = usize::try_from(after).unwrap_or(usize::MAX);
        let counting = self.flights.iter().skip(after);
        counting.filter_map(|flight| flight.finality).collect()
    }

    const fn now(&self, mono_ns: u64) -> Now {
        Now {
            mono_ns,
            wall_ns: WALL_START_NS + mono_ns,
        }
    }

    fn push(&mut self, at_ns: u64, due: Due) {
        self.number += 1;
        self.events.insert((at_ns, self.number), due);
    }

    /// Something other than frames came for a validator.
    fn poke(&mut self, at: usize) {
        self.machines[at].has_reason = true;
        self.rouse(at);
    }

    /// Something came for a validator: its thread is woken where it sleeps.
    fn rouse(&mut self, at: usize) {
        let machine = &mut self.machines[at];
        machine.has_come = true;
        if machine.thread == Thread::Asleep && machine.is_up {
            machine.thread = Thread::Woken;
            self.ask(at, Work::Turn(at));
        }
    }

    /// A thread has something to do: it has a free core after a wake-up, or waits for one.
    fn ask(&mut self, at: usize, work: Work) {
        if let Some((core, work)) = self.cores.ask(at, work) {
            let mut begin_ns = self.now_ns + self.costs.wake_ns;
            if self.now_ns >= self.cores.freed_ns(core) + RESTED_NS {
                begin_ns += self.costs.rested_ns;
            }
            self.push(begin_ns, Due::Run(core, work));
        }
    }

    /// Whoever waits for the core has it now, after a change of threads.
    fn give_up(&mut self, core: CoreId) {
        if let Some(work) = self.cores.give_up(core, self.now_ns) {
            self.push(self.now_ns + self.costs.switch_ns, Due::Run(core, work));
        }
    }

    /// Runs until so many commands are final.
    pub(super) fn run(&mut self, commands: u64) -> Result<(), ScaleError> {
        self.commands = commands;
        let span_ns = commands * self.interval_ns + WAYS_MAX * self.matrix.longest_ns();
        let end_ns = START_NS + span_ns + PATIENCE_MAX_NS;
        self.push(
            START_NS + 20 * MS + 4 * self.matrix.longest_ns(),
            Due::Submit,
        );
        while let Some(((at_ns, _), due)) = self.events.pop_first() {
            if at_ns > end_ns || self.is_done() {
                break;
            }
            self.now_ns = at_ns;
            self.happen(due)?;
        }
        if self.is_done() {
            return Ok(());
        }
        Err(ScaleError::Unfinished {
            finalized: self.finalized,
        })
    }

    fn is_done(&self) -> bool {
        self.finalized == self.commands
    }

    fn happen(&mut self, due: Due) -> Result<(), ScaleError> {
        let now = self.now(self.now_ns);
        match due {
            Due::Letter { to, letter } => {
                self.machines[to].inbox.push_back(letter);
                self.rouse(to);
            }
            Due::Run(core, work) => self.begin(core, work)?,
            Due::Ahead(core, at) => match self.cores.let_others(core, Work::Rest(at)) {
                Ok(next) => self.push(self.now_ns + self.costs.switch_ns, Due::Run(core, next)),
                Err(_) => self.send(core, at, usize::MAX),
            },
            Due::End(core, at) => self.end(core, at)?,
            Due::Wake(at) => self.wake(at),
            Due::Jobs(at, jobs) => {
                let mut inputs: Vec<Input> = Vec::new();
                let (signer, mut check) = self.keyring.signer_and_check(at);
                run_jobs(&self.set, index(at), signer, &mut check, jobs, &mut inputs);
                if let Some(life) = self.machines[at].member.life.as_mut() {
                    for input in inputs {
                        life.replica.input(now, input);
                    }
                }
                self.poke(at);
            }
            Due::Disk(at, job) => {
                if let Some(life) = self.machines[at].member.life.as_mut() {
                    let finished = life.companions.sync.run(job);
                    let done = life.replica.complete_sync(now, finished);
                    done.map_err(|error| product("a sync", error))?;
                }
                self.poke(at);
            }
            Due::Command(at, command) => {
                self.machines[at].commands.push(command);
                self.poke(at);
            }
            Due::Answer(at) if self.cores.is_shared() => self.ask(at, Work::Answer),
            Due::Answer(_) => {}
            Due::Submit => self.submit(),
        }
        Ok(())
    }

    fn begin(&mut self, core: CoreId, work: Work) -> Result<(), ScaleError> {
        let costs = self.costs;
        let (busy_ns, then) = match work {
            Work::Turn(at) => return self.look(core, at),
            Work::Rest(at) => {
                self.cores.is_cold(core, at);
                self.send(core, at, usize::MAX);
                return Ok(());
            }
            Work::Jobs(at, jobs) => {
                let jobs_ns = costs.verify_ns.saturating_mul(jobs.len() as u64);
                (jobs_ns, Some((0, Due::Jobs(at, jobs))))
            }
            Work::Sync(at, job) => {
                let begun_ns = self.now_ns + costs.hand_over_ns;
                let disk_ns = self.disk(at, begun_ns) - begun_ns;
                (costs.hand_over_ns, Some((disk_ns, Due::Disk(at, job))))
            }
            Work::Command(at, command) => {
                let send_ns = costs.send_ns + costs.waking_ns;
                (send_ns, Some((0, Due::Command(at, command))))
            }
            Work::Answer => (costs.poll_ns + costs.read_ns, None),
        };
        self.cores.is_cold(core, OF_HELPERS);
        let end_ns = self.now_ns + busy_ns;
        self.push(end_ns, Due::End(core, None));
        if let Some((after_ns, due)) = then {
            self.push(end_ns + after_ns, due);
        }
        Ok(())
    }

    /// When a sync that is asked for at that time has ended.
    fn disk(&mut self, at: usize, begun_ns: u64) -> u64 {
        let free_ns = &mut self.machines[at].disk_free_ns;
        *free_ns = (*free_ns).max(begun_ns) + self.syncs.next_ns();
        *free_ns
    }

    /// A thread is done with what it did: it goes on where something has come meanwhile, or it has
    /// left something, and sleeps otherwise.
    fn end(&mut self, core: CoreId, at: Option<usize>) -> Result<(), ScaleError> {
        if let Some(at) = at {
            if self.machines[at].has_come || self.deadline_ns(at) <= self.now_ns {
                return self.look(core, at);
            }
            self.machines[at].thread = Thread::Asleep;
            self.machines[at].ran_ns = self.now_ns;
            self.set_wake(at);
        }
        self.give_up(core);
        Ok(())
    }

    fn deadline_ns(&self, at: usize) -> u64 {
        let now = self.now(self.now_ns);
        let life = self.machines[at].member.life.as_ref();
        life.map_or(u64::MAX, |life| life.replica.deadline_ns(now))
    }

    /// Has a validator that sleeps look at its clock when it asked for that.
    fn set_wake(&mut self, at: usize) {
        let deadline_ns = self.deadline_ns(at).min(self.now_ns + PARK_MAX_NS);
        let machine = &mut self.machines[at];
        let wake_ns = machine.patient_until_ns.unwrap_or(u64::MAX);
        machine.wake_at_ns = wake_ns.min(deadline_ns);
        self.push(self.machines[at].wake_at_ns, Due::Wake(at));
    }

    fn wake(&mut self, at: usize) {
        let machine = &mut self.machines[at];
        if machine.wake_at_ns != self.now_ns || machine.thread != Thread::Asleep {
            return;
        }
        if machine.patient_until_ns.is_some() {
            machine.together.waited_in_vain();
        }
        self.poke(at);
    }

    /// A validator's thread runs and looks at what has come: where it may sleep and nothing of it
    /// is a reason to do anything yet, it sleeps on.
    fn look(&mut self, core: CoreId, at: usize) -> Result<(), ScaleError> {
        let may_sleep = self.is_crowded && self.deadline_ns(at) > self.now_ns;
        let machine = &mut self.machines[at];
        machine.thread = Thread::Running;
        machine.has_come = false;
        let mut has_reason = std::mem::take(&mut machine.has_reason) || !may_sleep;
        if let Some(life) = machine.member.life.as_ref().filter(|_| !has_reason) {
            let consensus = life.replica.consensus();
            for letter in &machine.inbox {
                has_reason |= machine.together.is_reason(consensus, letter.from);
            }
        }
        if has_reason {
            return self.turn(core, at);
        }
        let until_ns = machine.patient_until_ns;
        machine.patient_until_ns = until_ns.or(Some(self.now_ns + PATIENCE_NS));
        let end_ns = self.now_ns + self.costs.poll_ns.max(1);
        self.push(end_ns, Due::End(core, Some(at)));
        Ok(())
    }

    fn turn(&mut self, core: CoreId, at: usize) -> Result<(), ScaleError> {
        let now = self.now(self.now_ns);
        let costs = self.costs;
        let is_cold = self.cores.is_shared() && self.cores.is_cold(core, at);
        let machine = &mut self.machines[at];
        machine.together.end_sleep();
        (machine.patient_until_ns, machine.wake_at_ns) = (None, u64::MAX);
        let Some(life) = machine.member.life.as_mut() else {
            return Ok(());
        };
        let mut cost_ns = costs.poll_ns;
        cost_ns += if is_cold { costs.cold_ns } else { 0 };
        // Until it sleeps again, it has not.
        let is_rested = self.now_ns >= machine.ran_ns + RESTED_NS;
        machine.ran_ns = self.now_ns;
        machine.is_rested |= is_rested;
        let mut read = BTreeSet::new();
        for letter in machine.inbox.drain(..) {
            cost_ns += if read.insert(letter.from) {
                costs.read_ns
            } else {
                0
            };
            for frame in &letter.frames {
                cost_ns += costs.receive_ns;
                cost_ns += if has_block(frame) {
                    costs.propose_ns
                } else {
                    0
                };
                life.replica.peer_frame(now, index(letter.from), frame);
            }
        }
        for (number, entries) in machine.commands.drain(..) {
            cost_ns += costs.read_ns;
            self.flights[number].received_ns = Some(self.now_ns + cost_ns);
            cost_ns += costs.command_ns;
            machine.answers += 1;
            let session = Some(SessionId(session_of_key(&CLIENT_KEY)));
            let taken = life.replica.submit(now, session, &entries, &mut Vec::new());
            taken.map_err(|error| product("a command", error))?;
        }
        cost_ns += if life.replica.is_unfinished() {
            costs.rest_ns
        } else {
            costs.turn_ns
        };
        let turned = life.turn(now).map_err(|error| product("a turn", error))?;
        cost_ns += if turned.frames.is_empty() {
            0
        } else {
            costs.append_ns
        };
        cost_ns += costs.final_ns * turned.delivered.len() as u64;
        if is_rested && !turned.frames.is_empty() {
            cost_ns += costs.rested_turn_ns;
        }
        let done_ns = self.now_ns + cost_ns;
        self.note(at, &turned, done_ns);
        self.hand_out(core, at, turned, done_ns);
        Ok(())
    }

    /// Writes down what became final, as the gateway of each command has it.
    fn note(&mut self, at: usize, turned: &Turned, done_ns: u64) {
        for block in &turned.delivered {
            let is_fast = block.path == Some(FinalPath::Fast);
            for command in &block.commands {
                let place = usize::try_from(command.seq.saturating_sub(1));
                let flight = place.ok().and_then(|place| self.flights.get_mut(place));
                let Some(flight) = flight.filter(|flight| flight.gateway == at) else {
                    continue;
                };
                let received_ns = flight.received_ns.unwrap_or(done_ns);
                if flight.finality.is_none() {
                    flight.finality = Some((done_ns.saturating_sub(received_ns), is_fast));
                    self.finalized += 1;
                }
            }
        }
    }

    /// Does what a turn asked for, from the time at which it was done.
    fn hand_out(&mut self, core: CoreId, at: usize, turned: Turned, done_ns: u64) {
        let (jobs, syncs) = (turned.jobs, turned.sync);
        let is_ahead = self.address(at, turned.frames);
        self.send_from(core, at, done_ns, if is_ahead { 1 } else { usize::MAX });
        if self.cores.is_shared() {
            if !jobs.is_empty() {
                self.ask(at, Work::Jobs(at, jobs));
            }
            syncs
                .into_iter()
                .for_each(|job| self.ask(at, Work::Sync(at, job)));
            return;
        }
        let begun_ns = done_ns + self.costs.hand_over_ns;
        if !jobs.is_empty() {
            let cost_ns = self.costs.verify_ns.saturating_mul(jobs.len() as u64);
            self.push(begun_ns + cost_ns, Due::Jobs(at, jobs));
        }
        for job in syncs {
            let synced_ns = self.disk(at, begun_ns);
            self.push(synced_ns, Due::Disk(at, job));
        }
    }

    /// Puts together what goes to each peer: one write each, the leader's first. Whether the core
    /// is given up behind that one.
    fn address(&mut self, at: usize, frames: Vec<(Destination, Arc<[u8]>)>) -> bool {
        let len = self.machines.len();
        let mut letters: Vec<Vec<Arc<[u8]>>> = vec![Vec::new(); len];
        for (to, bytes) in frames {
            let receivers = match to {
                Destination::Peer(peer) => peer.place()..peer.place() + 1,
                Destination::All => 0..len,
            };
            for to in receivers.filter(|to| *to != at && self.machines[*to].is_up) {
                letters[to].push(Arc::clone(&bytes));
                self.frames += 1;
            }
        }
        let machine = &mut self.machines[at];
        let life = machine.member.life.as_ref();
        let leader = life.map_or(at, |life| life.replica.consensus().leader().place());
        let ahead = std::mem::take(&mut letters[leader]);
        let is_ahead = !ahead.is_empty();
        if is_ahead {
            machine.outgoing.push_back((leader, ahead));
        }
        let others = letters.into_iter().enumerate();
        let others = others.filter(|(_, frames)| !frames.is_empty());
        machine.outgoing.extend(others);
        is_ahead && self.is_crowded
    }

    fn send(&mut self, core: CoreId, at: usize, most: usize) {
        self.send_from(core, at, self.now_ns, most);
    }

    /// Writes to so many peers at most, from this time on, and then tells the client.
    fn send_from(&mut self, core: CoreId, at: usize, from_ns: u64, most: usize) {
        let mut leaves_ns = from_ns;
        for _ in 0..most {
            let Some((to, frames)) = self.machines[at].outgoing.pop_front() else {
                break;
            };
            leaves_ns += self.costs.send_ns;
            if std::mem::take(&mut self.machines[at].is_rested) {
                leaves_ns += self.costs.rested_send_ns;
            }
            // As far as it is known when the first one is written.
            if self.machines[to].thread == Thread::Asleep {
                leaves_ns += self.costs.waking_ns;
            }
            let arrives_ns = leaves_ns + self.matrix.one_way_ns(at, to);
            let letter = Letter { from: at, frames };
            self.push(arrives_ns, Due::Letter { to, letter });
        }
        if most != usize::MAX {
            return self.push(leaves_ns, Due::Ahead(core, at));
        }
        for _ in 0..std::mem::take(&mut self.machines[at].answers) {
            leaves_ns += self.costs.send_ns;
            self.push(leaves_ns, Due::Answer(at));
        }
        // Whatever costs nothing must not stop the time.
        let end_ns = leaves_ns.max(self.now_ns + 1);
        self.push(end_ns, Due::End(core, Some(at)));
    }

    /// The client hands its next command to whoever leads.
    fn submit(&mut self) {
        let seq = self.flights.len() as u64 + 1;
        if seq > self.commands {
            return;
        }
        let leads = |machine: &Machine| {
            let life = machine.member.life.as_ref()?;
            let consensus = life.replica.consensus();
            Some((consensus.window(), consensus.leader().place()))
        };
        let newest = self.machines.iter().filter_map(leads).max();
        let gateway = newest.map_or(0, |(_, leader)| leader);
        let gateway = if self.machines[gateway].is_up {
            gateway
        } else {
            0
        };
        let mut body = if seq == 1 {
            CLIENT_KEY.to_vec()
        } else {
            Vec::new()
        };
        body.resize(body.len() + self.command_bytes, 1);
        let mut entries = Vec::new();
        let entry = Entry {
            lane: Lane::Order,
            session: &session_of_key(&CLIENT_KEY),
            seq,
            signature: None,
            body: &body,
        };
        encode_entry(&entry, &mut entries);
        let command = (self.flights.len(), entries);
        self.flights.push(Flight {
            gateway,
            received_ns: None,
            finality: None,
        });
        if seq == super::WARM_UP + 1 {
            self.frames = 0;
        }
        if self.cores.is_shared() {
            self.ask(gateway, Work::Command(gateway, command));
        } else {
            self.push(self.now_ns, Due::Command(gateway, command));
        }
        self.push(self.now_ns + self.interval_ns, Due::Submit);
    }
}

/// Whether a frame carries a block.
fn has_block(bytes: &[u8]) -> bool {
    wire::decode(bytes).is_ok_and(|message| {
        matches!(
            message.as_ref(),
            Message::Propose(_) | Message::Block { .. }
        )
    })
}
