//! The world: validators, network, disks, clocks and clients under one virtual clock.
//!
//! Owns the loop that takes the next event and does what it says. What a fault does stands in
//! `harm`, what is seen of a validator's words and deeds in `watch`. Never: real time, threads,
//! chance that is not in the seed.

use std::collections::BTreeSet;
use std::sync::Arc;

use quorate::replica::run_jobs;
use quorate::state_machine::StateMachine;
use quorate_consensus::effect::Destination;
use quorate_consensus::input::Input;
use quorate_consensus::types::{Now, ValidatorIndex};
use quorate_consensus::validators::ValidatorSet;

use crate::app::App;
use crate::byzantine::Troupe;
use crate::checks::Checks;
use crate::clients::Clients;
use crate::clock::Clocks;
use crate::counts::FaultCounts;
use crate::dice::Dice;
use crate::disk::Ending;
use crate::keyring::Keyring;
use crate::member::{Life, Member};
use crate::network::Network;
use crate::past::Past;
use crate::plan::{Plan, RunOptions};
use crate::queue::{Due, Queue};
use crate::reached::Reached;
use crate::schedule::{self, Event};
use crate::site::Site;
use crate::trace::Trace;

pub(crate) const US: u64 = 1_000;
pub(crate) const MS: u64 = 1_000_000;
/// The product's loop sleeps no longer than this.
const PARK_MAX_NS: u64 = 100 * MS;
/// When virtual time begins.
pub(crate) const START_NS: u64 = 1_000 * MS;
/// Commands of each client after healing: enough for several turns of short windows.
const COMMANDS_AFTER_HEALING: u64 = 12;

/// Everything.
pub(crate) struct World<S> {
    pub(crate) plan: Plan,
    pub(crate) set: Arc<ValidatorSet>,
    /// What its chain begins with.
    pub(crate) past: Past,
    pub(crate) now_ns: u64,
    pub(crate) queue: Queue,
    pub(crate) members: Vec<Member<S>>,
    pub(crate) network: Network,
    pub(crate) clocks: Clocks,
    pub(crate) clients: Clients,
    pub(crate) checks: Checks,
    pub(crate) trace: Trace,
    /// Of the honest: what happens to Byzantine ones is counted with the troupe.
    pub(crate) faults: FaultCounts,
    pub(crate) reached: Reached,
    pub(crate) events: Vec<Event>,
    pub(crate) dice: Dice,
    pub(crate) is_healed: bool,
    /// The loss of everything at once, in runs that have it.
    pub(crate) site: Option<Site>,
    /// What every life begins with.
    pub(crate) app: App<S>,
    pub(crate) troupe: Troupe,
    pub(crate) keyring: Keyring,
    /// Pairs that try to connect, the lower one first.
    dialing: BTreeSet<(usize, usize)>,
}

pub(crate) fn index(place: usize) -> ValidatorIndex {
    ValidatorIndex::new(u16::try_from(place).unwrap_or(u16::MAX))
}

impl<S: StateMachine> World<S> {
    /// The world of a run, before anything has happened.
    ///
    /// # Errors
    /// The options cannot be run, or the product refuses a fresh folder.
    pub(crate) fn new(options: &RunOptions, app: &App<S>, is_told: bool) -> Result<Self, String> {
        let RunOptions {
            seed,
            validators,
            scenario,
            ..
        } = *options;
        let mut plan = Plan::draw(options);
        plan.begins = plan.begins.filter(|_| app.may_have_a_past());
        plan.has_snapshots &= app.may_have_a_past();
        let keyring = Keyring::new(validators, plan.scheme);
        let mut clients = Clients::new(
            plan.sessions,
            plan.pace,
            (plan.is_signed, plan.has_visits),
            app.commands(),
            seed,
        );
        if !plan.followers.is_empty() {
            clients.be_patient();
        }
        let before = clients.live_before(plan.begins.is_some());
        let past = Past::new(&plan, keyring.keys(), app.make(), &before)?;
        let set = Arc::clone(&past.set);
        clients.sign_for(&set);
        let troupe = Troupe::new(&plan, seed);
        // Second copies of twins stand behind the validators.
        let len = troupe.cast.places();
        let owner = |place| keyring.keys()[troupe.cast.validator(place)].public();
        let members = (0..len)
            .map(|place| Member::new(place, owner(place), &past.genesis, &plan, seed))
            .collect::<Result<_, _>>()?;
        let progress = plan.progress_bound();
        let last_seqs = clients.last_seqs();
        let checks = Checks::new(len, &set, progress, plan.patience(), &last_seqs);
        let mut world = Self {
            past,
            set,
            now_ns: START_NS,
            queue: Queue::default(),
            members,
            network: Network::new(&plan, len, scenario, seed),
            clocks: Clocks::new(len, scenario.has_bad_clocks(), seed),
            checks,
            clients,
            trace: Trace::new(is_told),
            faults: FaultCounts::default(),
            reached: Reached::default(),
            events: schedule::draw(&plan, scenario, seed),
            dice: Dice::new(seed, "world"),
            is_healed: false,
            site: Site::of(scenario, &plan, seed),
            app: app.clone(),
            troupe,
            keyring,
            dialing: BTreeSet::new(),
            plan,
        };
        world
            .trace
            .tell(START_NS, format_args!("{}", world.plan.describe()));
        let goes_on = u64::from(world.plan.begins.is_some());
        world.reached.note("chain_goes_on", goes_on);
        world
            .reached
            .note("chain_signed", u64::from(world.plan.is_signed));
        world.begin();
        Ok(world)
    }

    fn begin(&mut self) {
        for at in 0..self.members.len() {
            let delay_ns = self.dice.below(5 * MS);
            self.schedule(delay_ns, Due::Start { at });
        }
        for number in 0..self.clients.len() {
            self.schedule(MS, Due::Client { number });
        }
        for number in 0..self.events.len() {
            let at_ns = self.events[number].at_ns;
            self.schedule(at_ns, Due::Fault { number });
        }
        self.schedule(self.plan.trouble_ns, Due::Heal);
        self.begin_byzantine();
    }

    pub(crate) fn schedule(&mut self, delay_ns: u64, due: Due) {
        self.queue.push(self.now_ns.saturating_add(delay_ns), due);
    }

    pub(crate) fn now(&self, place: usize) -> Now {
        self.clocks.now(place, self.now_ns)
    }

    /// Validators that are up and not about to stop.
    pub(crate) fn up(&self) -> Vec<usize> {
        let takes = |member: &Member<S>| member.life.as_ref().is_some_and(|life| !life.is_stopping);
        let all = 0..self.members.len();
        all.filter(|&place| takes(&self.members[place])).collect()
    }

    /// The next event; `false` when its time is past `end_ns`.
    pub(crate) fn step(&mut self, end_ns: u64) -> bool {
        let Some((at_ns, due)) = self.queue.pop() else {
            return false;
        };
        if at_ns > end_ns {
            return false;
        }
        self.now_ns = self.now_ns.max(at_ns);
        self.happen(due);
        true
    }

    fn happen(&mut self, due: Due) {
        if let Some(at) = self.paused(&due) {
            self.put_off(at, due);
            return;
        }
        match due {
            Due::Frame {
                from,
                to,
                connection,
                bytes,
            } => {
                if self.network.connection(to, from) == Some(connection) {
                    self.receive(from, to, connection, &bytes);
                }
            }
            Due::Jobs { at, life, jobs } if self.is_life(at, life) => self.finish_jobs(at, jobs),
            Due::Disk { at, life, job } if self.is_life(at, life) => self.finish_disk(at, job),
            Due::Turn { at, life } if self.is_life(at, life) => self.turn(at),
            Due::Wake { at, life } if self.is_life(at, life) => {
                let wake_at_ns = self.members[at].life.as_ref().map(|life| life.wake_at_ns);
                if wake_at_ns == Some(self.now_ns) {
                    self.turn(at);
                }
            }
            Due::StopEnds { at, life, down_ns } if self.is_life(at, life) => {
                self.end_stop(at, down_ns);
            }
            Due::PowerEnds { at, life } if self.is_life(at, life) => {
                if self.members[at].disk.has_power_off_pending() {
                    self.count_second_crash(at);
                    self.end_life(at, Ending::Power);
                }
            }
            Due::Connect { one, other } => self.connect(one, other),
            Due::Lost {
                own,
                peer,
                connection,
            } => self.lose(own, peer, connection),
            Due::Start { at } => self.start(at),
            Due::Crash { at, life } if self.is_life(at, life) => self.crash_again(at),
            Due::Scrub { at, life } if self.is_life(at, life) => self.scrub(at),
            Due::Snapshots { at, life } if self.is_life(at, life) => self.work_on_snapshots(at),
            Due::Fault { number } => self.harm(number),
            Due::Mend { number } => self.mend(number),
            Due::Client { number } => self.act_client(number),
            Due::Act { at } => self.act(at),
            Due::Dark { at } => self.go_dark(at),
            Due::ReadDisks => self.read_disks(),
            Due::SiteEnds => self.end_site(),
            Due::Heal => self.heal(),
            // Of a life that has ended.
            Due::Jobs { .. }
            | Due::Disk { .. }
            | Due::Turn { .. }
            | Due::Wake { .. }
            | Due::StopEnds { .. }
            | Due::PowerEnds { .. }
            | Due::Scrub { .. }
            | Due::Snapshots { .. }
            | Due::Crash { .. } => {}
        }
    }

    /// Whose pause this event has to wait for.
    fn paused(&self, due: &Due) -> Option<usize> {
        let at = match due {
            Due::Frame { to, .. } => *to,
            Due::Jobs { at, .. }
            | Due::Disk { at, .. }
            | Due::Turn { at, .. }
            | Due::Wake { at, .. }
            | Due::Scrub { at, .. }
            | Due::Snapshots { at, .. }
            | Due::StopEnds { at, .. } => *at,
            Due::Lost { own, .. } => *own,
            _ => return None,
        };
        (self.members[at].paused_until_ns > self.now_ns).then_some(at)
    }

    /// An event waits until the one whom it is for goes on.
    fn put_off(&mut self, at: usize, due: Due) {
        let member = &mut self.members[at];
        let until_ns = member.paused_until_ns;
        // Whoever was to look at its clock looks at it then.
        if let (Due::Wake { life: number, .. }, Some(life)) = (&due, &mut member.life)
            && (*number, life.wake_at_ns) == (member.lives, self.now_ns)
        {
            life.wake_at_ns = until_ns;
        }
        self.queue.push(until_ns, due);
    }

    pub(crate) fn is_life(&self, at: usize, life: u64) -> bool {
        let member = &self.members[at];
        member.life.is_some() && member.lives == life
    }

    /// A turn of this validator is due soon.
    pub(crate) fn poke(&mut self, at: usize) {
        let number = self.members[at].lives;
        let slowness = self.members[at].slowness(self.now_ns);
        let Some(life) = self.members[at].life.as_mut() else {
            return;
        };
        if !life.is_turn_due {
            life.is_turn_due = true;
            let delay_ns = self
                .dice
                .between(self.plan.turn_ns / 2, self.plan.turn_ns * 2);
            self.schedule(delay_ns * slowness, Due::Turn { at, life: number });
        }
    }

    /// Calls a running validator and has it take a turn soon.
    pub(crate) fn with_life<T>(
        &mut self,
        at: usize,
        call: impl FnOnce(&mut Life<S>, Now) -> T,
    ) -> Option<T> {
        let now = self.now(at);
        let answer = call(self.members[at].life.as_mut()?, now);
        self.poke(at);
        Some(answer)
    }

    fn receive(&mut self, from: usize, to: usize, connection: u64, bytes: &[u8]) {
        // What an honest validator says was noted as it left.
        let unseen = if self.is_byzantine(from) { bytes } else { &[] };
        self.trace.note(self.now_ns, b'f', from, to, unseen);
        let Some(bytes) = self.play_in(from, to, bytes) else {
            return;
        };
        let (bytes, peer) = (bytes.as_slice(), self.validator(from));
        let outcome = self.with_life(to, |life, now| life.replica.peer_frame(now, peer, bytes));
        let Some(outcome) = outcome else { return };
        if outcome.is_fault() {
            self.watch_fault(from, to, &outcome, bytes);
            self.lose(to, from, connection);
            self.schedule(
                100 * US,
                Due::Lost {
                    own: from,
                    peer: to,
                    connection,
                },
            );
        }
    }

    fn finish_jobs(&mut self, at: usize, jobs: Vec<quorate::replica::Job>) {
        let mut inputs: Vec<Input> = Vec::new();
        let own = self.validator(at);
        let (signer, mut check) = self.keyring.signer_and_check(own.place());
        run_jobs(&self.set, own, signer, &mut check, jobs, &mut inputs);
        for input in &inputs {
            self.watch_refusal(at, input);
        }
        self.with_life(at, |life, now| {
            for input in inputs {
                life.replica.input(now, input);
            }
        });
    }

    fn finish_disk(&mut self, at: usize, job: quorate::journal::SyncJob) {
        let prepares = self.dice.percent(30);
        let outcome = self.with_life(at, |life, now| {
            if prepares {
                // When this fails the writer makes its segments itself, or learns why not.
                drop(life.companions.preparer.prepare_next());
            }
            let finished = life.companions.sync.run(job);
            life.replica.complete_sync(now, finished)
        });
        if self.members[at].disk.is_off() {
            self.end_life(at, Ending::Power);
        } else if let Some(Err(error)) = outcome {
            self.end_by_error(at, &error);
        }
    }

    /// One turn of the product's loop and what it asks for.
    pub(crate) fn turn(&mut self, at: usize) {
        let now = self.now(at);
        let is_behind = self.plan.executes_late && self.members[at].is_behind(self.now_ns);
        let Some(life) = self.members[at].life.as_mut() else {
            return;
        };
        if is_behind != life.replica.consensus().is_behind() {
            life.replica.input(now, Input::Behind(is_behind));
        }
        life.is_turn_due = false;
        life.wake_at_ns = u64::MAX;
        let outcome = life.turn(now);
        // Without power nothing of this turn ever happened.
        if self.members[at].disk.is_off() {
            self.end_life(at, Ending::Power);
            return;
        }
        match outcome {
            Err(error) => self.end_by_error(at, &error),
            Ok(turned) => {
                self.tell_scrubber(at, &turned.events);
                self.tell_snapshots(at, &turned.events);
                let turned = self.watch_turn(at, turned);
                self.hand_out(at, turned);
                self.set_wake(at);
                self.see_return(at);
            }
        }
    }

    fn hand_out(&mut self, at: usize, turned: crate::member::Turned) {
        let life = self.members[at].lives;
        for (to, bytes) in turned.frames {
            if self.play_out(at, to, &bytes) {
                continue;
            }
            match to {
                Destination::Peer(peer) => self.send(at, self.place_of(at, peer), &bytes),
                Destination::All => {
                    for to in (0..self.members.len()).filter(|&to| to != at) {
                        self.send(at, to, &bytes);
                    }
                }
            }
        }
        if !turned.jobs.is_empty() {
            let slowness = self.members[at].slowness(self.now_ns);
            let delay_ns = self.dice.skewed(self.plan.verify_ns) * slowness;
            let jobs = turned.jobs;
            self.schedule(delay_ns, Due::Jobs { at, life, jobs });
        }
        for job in turned.sync {
            let member = &mut self.members[at];
            let call_ns = member.disk.call_ns(self.now_ns);
            let has_stalled = member.disk.take_stall();
            self.faults_of(at).disk_stalls += u64::from(has_stalled);
            let Some(running) = self.members[at].life.as_mut() else {
                return;
            };
            // One thread makes the calls, one after the other.
            let done_ns = running.disk_free_ns.max(self.now_ns) + call_ns;
            running.disk_free_ns = done_ns;
            self.queue.push(done_ns, Due::Disk { at, life, job });
        }
    }

    fn send(&mut self, from: usize, to: usize, bytes: &Arc<[u8]>) {
        self.send_later(from, to, bytes, 0);
    }

    /// Sends a frame; it leaves after `delay_ns`, over the present connection or not at all.
    pub(crate) fn send_later(&mut self, from: usize, to: usize, bytes: &Arc<[u8]>, delay_ns: u64) {
        // Without a connection a frame goes nowhere.
        let Some(connection) = self.network.connection(from, to) else {
            return;
        };
        for at_ns in self
            .network
            .send(self.now_ns, from, to)
            .into_iter()
            .flatten()
        {
            let bytes = Arc::clone(bytes);
            self.queue.push(
                at_ns + delay_ns,
                Due::Frame {
                    from,
                    to,
                    connection,
                    bytes,
                },
            );
        }
    }

    /// Has the validator look at its clock when it asked for that.
    fn set_wake(&mut self, at: usize) {
        let now = self.now(at);
        let number = self.members[at].lives;
        let Some(life) = self.members[at].life.as_mut() else {
            return;
        };
        let deadline_ns = life.replica.deadline_ns(now);
        if deadline_ns <= self.now_ns {
            self.poke(at);
            return;
        }
        let wake_ns = deadline_ns.min(self.now_ns + PARK_MAX_NS);
        life.wake_at_ns = wake_ns;
        self.queue.push(wake_ns, Due::Wake { at, life: number });
    }

    /// Two validators try to connect; they go on trying while both want to.
    fn connect(&mut self, one: usize, other: usize) {
        self.dialing.remove(&(one.min(other), one.max(other)));
        let is_up = |place: usize| self.members[place].life.is_some();
        if !is_up(one) || !is_up(other) {
            // Whoever starts later dials again.
            return;
        }
        let ends = (
            self.network.connection(one, other),
            self.network.connection(other, one),
        );
        if ends.0.is_some() && ends.0 == ends.1 {
            return;
        }
        if !self.network.is_open(one, other) || !self.troupe.may_connect(one, other) {
            let delay_ns = self.dice.between(5 * MS, 30 * MS);
            self.dial(one, other, delay_ns);
            return;
        }
        for (own, peer) in [(one, other), (other, one)] {
            self.leave_sibling(own, peer);
            if self.network.connection(own, peer).is_some() {
                let peer = self.validator(peer);
                self.with_life(own, |life, now| life.replica.peer_down(now, peer));
            }
        }
        let connection = self.network.connect(one, other);
        self.trace
            .note(self.now_ns, b'c', one, other, &connection.to_le_bytes());
        for (own, peer) in [(one, other), (other, one)] {
            let peer = self.validator(peer);
            self.with_life(own, |life, now| life.replica.peer_up(now, peer));
        }
    }

    pub(crate) fn dial(&mut self, one: usize, other: usize, delay_ns: u64) {
        let (one, other) = (one.min(other), one.max(other));
        if self.dialing.insert((one, other)) {
            self.schedule(delay_ns, Due::Connect { one, other });
        }
    }

    pub(crate) fn lose(&mut self, own: usize, peer: usize, connection: u64) {
        if !self.network.disconnect(own, peer, connection) {
            return;
        }
        self.trace
            .note(self.now_ns, b'd', own, peer, &connection.to_le_bytes());
        let validator = self.validator(peer);
        self.with_life(own, |life, now| life.replica.peer_down(now, validator));
        let delay_ns = self.dice.between(MS, 20 * MS);
        self.dial(own, peer, delay_ns);
    }

    fn act_client(&mut self, number: usize) {
        let up = self.up();
        if let Some(submission) = self.clients.tick(number, self.now_ns, &up) {
            let gateway = submission.gateway;
            if let Some((seq, deed)) = submission.made {
                self.checks.results.expect(submission.session, seq, deed);
            }
            if self.members[gateway].paused_until_ns <= self.now_ns {
                self.submit(&submission);
            }
        }
        let next_ns = self.clients.next_tick_ns(number, self.now_ns);
        self.queue.push(next_ns, Due::Client { number });
    }

    /// Whether those who are Byzantine, and those honest ones who are down, about to stop, paused
    /// or not heard yet, weigh no more than F and C together: faults that began before healing may
    /// outlast it.
    pub(crate) fn is_progress_promised(&self) -> bool {
        if self.site.as_ref().is_some_and(Site::is_lost) {
            return false;
        }
        let is_away = |&place: &usize| {
            let member = &self.members[place];
            let runs = member.life.as_ref().is_some_and(|life| !life.is_stopping);
            self.is_byzantine(place)
                || !runs
                || member.paused_until_ns > self.now_ns
                || self.is_held_up(place)
        };
        let away = (0..self.plan.stakes.len()).filter(is_away);
        let weight: u64 = away.map(|place| self.plan.stakes[place]).sum();
        let thresholds = self.set.thresholds();
        weight <= thresholds.fault.plus(thresholds.crash).amount()
    }

    /// Whether somebody honest hears nothing new of this one, for a direction that was clogged
    /// before healing brings what it held first.
    fn is_held_up(&self, place: usize) -> bool {
        (0..self.members.len())
            .any(|peer| !self.is_byzantine(peer) && self.network.is_held(self.now_ns, place, peer))
    }

    /// Whether everything has come to a good end: all honest validators are up and vote, or abstain
    /// still, all clients answered, all heights alike, all of it provable.
    pub(crate) fn is_done(&self) -> bool {
        if let Some(site) = &self.site {
            return site.is_over();
        }
        if !self.is_healed || !self.clients.are_done() {
            return false;
        }
        let height = self.checks.chain.height();
        let mut honest = (0..self.members.len()).filter(|&place| !self.is_byzantine(place));
        honest.all(|place| {
            let member = &self.members[place];
            let is_whole = member.rots.is_empty();
            is_whole
                && self.has_returned(place)
                && member.life.as_ref().is_some_and(|life| {
                    let consensus = life.replica.consensus();
                    consensus.delivered().number() == height
                        && consensus.proven().height.number() == height
                })
        })
    }

    fn heal(&mut self) {
        self.trace.note(self.now_ns, b'h', 0, 0, &[]);
        self.trace
            .tell(self.now_ns, format_args!("trouble is over"));
        self.is_healed = true;
        self.checks.progress.heal(self.now_ns);
        for at in 0..self.members.len() {
            self.count_full(at);
            let member = &mut self.members[at];
            member.disk.set_full(false);
            member.slow_until_ns = 0;
        }
        self.network.heal();
        self.see_good_clocks();
        self.clocks.heal();
        self.end_twins();
        self.clients.end_after(COMMANDS_AFTER_HEALING);
    }
}
