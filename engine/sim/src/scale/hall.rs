//! The loop of a prediction: machines, ways, and the events between them.
//!
//! Owns virtual time. Each machine has one thread for the validator: a turn begins when something
//! came and the thread is free, costs what its parts cost, and its frames leave one after the
//! other. Never: chance.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use quorate::auth::CommandAuth;
use quorate::replica::{Job, run_jobs};
use quorate::state_machine::SessionId;
use quorate_consensus::effect::{Destination, FinalPath};
use quorate_consensus::input::Input;
use quorate_consensus::machine::{Durability, TimerConfig};
use quorate_consensus::message::Message;
use quorate_consensus::payload::{Entry, Lane, encode_entry, session_of_key};
use quorate_consensus::thresholds::{default_fault, default_slack};
use quorate_consensus::types::{Now, Stake};
use quorate_consensus::validators::ValidatorSet;
use quorate_consensus::wire;

use super::{Costs, LatencyMatrix, ScaleError, ScaleOptions};
use crate::byzantine::Cast;
use crate::keyring::{Keyring, Scheme};
use crate::member::{Member, Turned};
use crate::past::Past;
use crate::plan::{Pace, Plan, WALL_START_NS};
use crate::tape::Tape;
use crate::world::{MS, START_NS, index};

/// The key of the only client.
const CLIENT_KEY: [u8; 32] = [7; 32];
/// Shortest time between two commands.
const INTERVAL_MIN_NS: u64 = MS;
/// Longest time that a validator does not look at its clock.
const PARK_MAX_NS: u64 = 100 * MS;
/// A command that takes so many longest ways, and so long besides, will never be final.
const WAYS_MAX: u64 = 1_000;
const PATIENCE_NS: u64 = 10_000 * MS;

#[derive(Debug)]
enum Due {
    Frame {
        from: usize,
        to: usize,
        bytes: Arc<[u8]>,
    },
    Turn(usize),
    Wake(usize),
    Jobs(usize, Vec<Job>),
    Disk(usize, quorate::journal::SyncJob),
    Submit,
}

/// A validator's machine.
struct Machine {
    member: Member<Tape>,
    inbox: VecDeque<(usize, Arc<[u8]>)>,
    is_turn_due: bool,
    /// Its thread is at work until then.
    busy_until_ns: u64,
    /// Its disk is at work until then.
    disk_free_ns: u64,
    wake_at_ns: u64,
    is_up: bool,
}

/// A command on its way.
#[derive(Clone, Copy, Debug)]
struct Flight {
    gateway: usize,
    sent_ns: u64,
    finality: Option<(u64, bool)>,
}

/// All machines.
pub(super) struct Hall {
    matrix: LatencyMatrix,
    costs: Costs,
    set: Arc<ValidatorSet>,
    keyring: Keyring,
    machines: Vec<Machine>,
    events: BTreeMap<(u64, u64), Due>,
    number: u64,
    now_ns: u64,
    command_bytes: usize,
    commands: u64,
    flights: Vec<Flight>,
    frames: u64,
    finalized: u64,
}

fn product(what: &str, error: impl std::fmt::Display) -> ScaleError {
    ScaleError::Product(format!("{what}: {error}"))
}

fn plan_of(options: &ScaleOptions) -> Plan {
    let stakes = vec![1; usize::from(options.validators)];
    let weights: Vec<Stake> = stakes.iter().copied().map(Stake::new).collect();
    let total = Stake::new(u64::from(options.validators));
    let fault = default_fault(&weights);
    let longest_ns = options.matrix.longest_ns();
    let mut timers = if longest_ns <= 50_000 {
        TimerConfig::colo()
    } else if longest_ns <= MS {
        TimerConfig::lan()
    } else {
        TimerConfig::laptop()
    };
    // Nobody runs with timers shorter than the ways, or shorter than what the votes of all cost.
    let costs = &options.costs;
    let round_ns = 4 * longest_ns + work_ns(costs, u64::from(options.validators));
    timers.progress_ns = timers.progress_ns.max(4 * round_ns);
    timers.progress_max_ns = timers.progress_max_ns.max(timers.progress_ns);
    timers.retransmit_ns = timers.retransmit_ns.max(2 * round_ns);
    timers.retransmit_max_ns = timers.retransmit_max_ns.max(timers.retransmit_ns);
    Plan {
        has_snapshots: false,
        joiners: Vec::new(),
        loser: None,
        fault: fault.amount(),
        slack: default_slack(total, fault).amount(),
        window_slots: 4096,
        turn_windows: 4,
        durability: if options.is_synced {
            Durability::Sync
        } else {
            Durability::Async
        },
        timers,
        scheme: Scheme::StandIn,
        wire_ns: longest_ns,
        disk_ns: costs.sync_ns,
        verify_ns: costs.verify_ns,
        turn_ns: costs.turn_ns,
        trouble_ns: 0,
        abstainers: Vec::new(),
        bad_clocks: Vec::new(),
        hold_ns: 0,
        cache_bytes_max: 1024 * 1024,
        sessions: 1,
        pace: Pace {
            interval_units: (1, 1),
            unit_ns: MS,
            in_flight_max: 1,
        },
        cast: Cast::default(),
        has_rot: false,
        is_signed: false,
        has_visits: false,
        executes_late: false,
        begins: None,
        stakes,
    }
}

/// Enough for what one block costs a validator, with all that follows it.
const fn work_ns(costs: &Costs, validators: u64) -> u64 {
    4 * validators * (costs.receive_ns + costs.send_ns + costs.turn_ns)
}

impl Hall {
    pub(super) fn new(options: &ScaleOptions) -> Result<Self, ScaleError> {
        let plan = plan_of(options);
        let keyring = Keyring::new(options.validators, plan.scheme);
        let past =
            Past::new(&plan, keyring.keys(), Tape::default(), &[]).map_err(ScaleError::Product)?;
        let mut hall = Self {
            matrix: options.matrix.clone(),
            costs: options.costs,
            set: Arc::clone(&past.set),
            keyring,
            machines: Vec::new(),
            events: BTreeMap::new(),
            number: 0,
            now_ns: START_NS,
            command_bytes: options.command_bytes,
            commands: 0,
            flights: Vec::new(),
            frames: 0,
            finalized: 0,
        };
        let len = usize::from(options.validators);
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
                        (Tape::default(), None),
                        now,
                    )
                    .map_err(|error| product("a fresh start", error))?;
            }
            hall.machines.push(Machine {
                member,
                inbox: VecDeque::new(),
                is_turn_due: false,
                busy_until_ns: 0,
                disk_free_ns: 0,
                wake_at_ns: u64::MAX,
                is_up: place < up,
            });
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
            self.poke(own, self.now_ns);
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

    fn poke(&mut self, at: usize, from_ns: u64) {
        let machine = &mut self.machines[at];
        if !machine.is_turn_due && machine.is_up {
            machine.is_turn_due = true;
            let begin_ns = machine.busy_until_ns.max(from_ns);
            self.push(begin_ns, Due::Turn(at));
        }
    }

    /// Runs until so many commands are final.
    pub(super) fn run(&mut self, commands: u64) -> Result<(), ScaleError> {
        self.commands = commands;
        let span_ns = commands * self.interval_ns() + WAYS_MAX * self.matrix.longest_ns();
        let end_ns = START_NS + span_ns + PATIENCE_NS;
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

    /// Far enough apart that no queue forms, close enough that a way holds several.
    fn interval_ns(&self) -> u64 {
        let work_ns = work_ns(&self.costs, self.machines.len() as u64);
        let spread_ns = self.matrix.longest_ns() / 8;
        INTERVAL_MIN_NS.max(spread_ns).max(work_ns)
    }

    fn happen(&mut self, due: Due) -> Result<(), ScaleError> {
        let now = self.now(self.now_ns);
        match due {
            Due::Frame { from, to, bytes } => {
                self.machines[to].inbox.push_back((from, bytes));
                self.poke(to, self.now_ns);
            }
            Due::Turn(at) => self.turn(at)?,
            Due::Wake(at) if self.machines[at].wake_at_ns == self.now_ns => {
                self.poke(at, self.now_ns);
            }
            Due::Wake(_) => {}
            Due::Jobs(at, jobs) => {
                let mut inputs: Vec<Input> = Vec::new();
                let (signer, mut check) = self.keyring.signer_and_check(at);
                run_jobs(&self.set, index(at), signer, &mut check, jobs, &mut inputs);
                if let Some(life) = self.machines[at].member.life.as_mut() {
                    for input in inputs {
                        life.replica.input(now, input);
                    }
                }
                self.poke(at, self.now_ns);
            }
            Due::Disk(at, job) => {
                if let Some(life) = self.machines[at].member.life.as_mut() {
                    let finished = life.companions.sync.run(job);
                    let done = life.replica.complete_sync(now, finished);
                    done.map_err(|error| product("a sync", error))?;
                }
                self.poke(at, self.now_ns);
            }
            Due::Submit => self.submit()?,
        }
        Ok(())
    }

    fn turn(&mut self, at: usize) -> Result<(), ScaleError> {
        let now = self.now(self.now_ns);
        let costs = self.costs;
        let machine = &mut self.machines[at];
        machine.is_turn_due = false;
        machine.wake_at_ns = u64::MAX;
        let Some(life) = machine.member.life.as_mut() else {
            return Ok(());
        };
        let mut cost_ns = costs.turn_ns;
        for (from, bytes) in machine.inbox.drain(..) {
            cost_ns += costs.receive_ns;
            cost_ns += if has_block(&bytes) {
                costs.propose_ns
            } else {
                0
            };
            life.replica.peer_frame(now, index(from), &bytes);
        }
        let turned = life.turn(now).map_err(|error| product("a turn", error))?;
        if !turned.frames.is_empty() {
            cost_ns += costs.append_ns;
        }
        let done_ns = self.now_ns + cost_ns;
        self.note(at, &turned, done_ns);
        self.hand_out(at, turned, done_ns);
        self.set_wake(at);
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
                let latency_ns = done_ns.saturating_sub(flight.sent_ns);
                if flight.finality.is_none() {
                    flight.finality = Some((latency_ns, is_fast));
                    self.finalized += 1;
                }
            }
        }
    }

    fn hand_out(&mut self, at: usize, turned: Turned, done_ns: u64) {
        let mut leaves_ns = done_ns;
        let len = self.machines.len();
        for (to, bytes) in turned.frames {
            let receivers = match to {
                Destination::Peer(peer) => peer.place()..peer.place() + 1,
                Destination::All => 0..len,
            };
            for to in receivers {
                if to == at || !self.machines[to].is_up {
                    continue;
                }
                leaves_ns += self.costs.send_ns;
                let arrives_ns = leaves_ns + self.matrix.one_way_ns(at, to);
                let bytes = Arc::clone(&bytes);
                let frame = Due::Frame {
                    from: at,
                    to,
                    bytes,
                };
                self.push(arrives_ns, frame);
                self.frames += 1;
            }
        }
        self.machines[at].busy_until_ns = leaves_ns;
        if !turned.jobs.is_empty() {
            let jobs = turned.jobs;
            let cost_ns = self.costs.verify_ns.saturating_mul(jobs.len() as u64);
            self.push(done_ns + cost_ns, Due::Jobs(at, jobs));
        }
        for job in turned.sync {
            let free_ns = self.machines[at].disk_free_ns.max(done_ns);
            let synced_ns = free_ns + self.costs.sync_ns;
            self.machines[at].disk_free_ns = synced_ns;
            self.push(synced_ns, Due::Disk(at, job));
        }
    }

    /// Has the validator look at its clock when it asked for that.
    fn set_wake(&mut self, at: usize) {
        let now = self.now(self.now_ns);
        let machine = &mut self.machines[at];
        let Some(life) = machine.member.life.as_ref() else {
            return;
        };
        let deadline_ns = life.replica.deadline_ns(now);
        if deadline_ns <= self.now_ns {
            // Whatever costs nothing must not stop the time.
            return self.poke(at, self.now_ns + 1);
        }
        let wake_ns = deadline_ns.min(self.now_ns + PARK_MAX_NS);
        machine.wake_at_ns = wake_ns;
        self.push(wake_ns, Due::Wake(at));
    }

    /// The client hands its next command to whoever leads.
    fn submit(&mut self) -> Result<(), ScaleError> {
        let seq = self.flights.len() as u64 + 1;
        if seq > self.commands {
            return Ok(());
        }
        let now = self.now(self.now_ns);
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
        let session = session_of_key(&CLIENT_KEY);
        let mut entries = Vec::new();
        let entry = Entry {
            lane: Lane::Order,
            session: &session,
            seq,
            signature: None,
            body: &body,
        };
        encode_entry(&entry, &mut entries);
        let mut verdicts = Vec::new();
        if let Some(life) = self.machines[gateway].member.life.as_mut() {
            let session = Some(SessionId(session));
            life.replica
                .submit(now, session, &entries, &mut verdicts)
                .map_err(|error| product("a command", error))?;
        }
        self.flights.push(Flight {
            gateway,
            sent_ns: self.now_ns,
            finality: None,
        });
        if seq == super::WARM_UP + 1 {
            self.frames = 0;
        }
        self.poke(gateway, self.now_ns);
        self.push(self.now_ns + self.interval_ns(), Due::Submit);
        Ok(())
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
