//! What each fault does to the world, and how lives begin and end.
//!
//! Owns starting, dying and stopping, and the carrying out of the schedule. Never: chooses when.

use quorate::auth::{BatchSeed, CommandAuth};
use quorate::replica::{OrderError, ReplicaError};
use quorate::state_machine::StateMachine;
use quorate_consensus::machine::Durability;

use crate::byzantine::ActorName;
use crate::checks::Violation;
use crate::disk::Ending;
use crate::member::Life;
use crate::overheard::{Ear, Overheard};
use crate::queue::Due;
use crate::schedule::{Again, Fault};
use crate::site::Site;
use crate::world::{MS, US, World};

/// What a machine that lost its power looks like to its peers until keep-alives fail.
const SILENCE_MAX_NS: u64 = 300 * MS;

impl<S: StateMachine> World<S> {
    /// A process is started, unless it runs.
    pub(crate) fn start(&mut self, at: usize) {
        let is_dark = self.site.as_ref().is_some_and(Site::is_dark);
        if self.members[at].life.is_some() || is_dark {
            return;
        }
        let was_promised = self.is_progress_promised();
        let now = self.now(at);
        let own = self.validator(at);
        let apps = self.apps(at);
        let again = self.members[at].crash_again.take();
        if let Some(Again::Power { steps }) = again {
            self.members[at].disk.power_off_after(steps);
        }
        let auth = self.command_auth(at);
        let outcome = self.members[at].start(own, &self.plan, &self.past, auth, apps, now);
        self.trace.note(
            self.now_ns,
            b's',
            at,
            0,
            &self.members[at].lives.to_le_bytes(),
        );
        if self.members[at].disk.is_off() {
            let faults = self.faults_of(at);
            faults.crashes_in_recovery += 1;
            faults.second_crashes += u64::from(again.is_some());
            self.end_life(at, Ending::Power);
            self.schedule(20 * MS, Due::Start { at });
            return;
        }
        if let Err(error) = outcome {
            self.trace
                .tell(self.now_ns, format_args!("v{at} cannot start: {error}"));
            // The power that was to go in this start goes in none: nobody would turn it on again.
            self.members[at].disk.keep_power();
            let is_damaged = self.members[at].may_be_damaged && !self.members[at].disk.is_full();
            let is_failing = self.members[at].take_disk_failure() || self.members[at].lacks_room();
            if is_damaged {
                self.give_up_disk(at);
            }
            if is_failing || self.is_byzantine(at) {
                self.schedule(20 * MS, Due::Start { at });
            } else {
                let what = format!("v{at} cannot start again: {error}");
                self.checks.take(Err(Violation::new("recovery", what)));
            }
            return;
        }
        if self.members[at].lives > 1 {
            self.faults_of(at).restarts += 1;
        }
        if self.members[at].disk.is_full() {
            self.members[at].full_life = self.members[at].lives;
        }
        if self.is_healed && !was_promised {
            self.checks.progress.heal(self.now_ns);
        }
        self.checks.returns.excuse(at);
        self.arm_again(at, again);
        self.watch_start(at);
        self.begin_beside(at);
        for peer in 0..self.members.len() {
            if self.validator(peer) == own {
                continue;
            }
            let delay_ns = self.dice.between(100 * US, 5 * MS);
            self.dial(at, peer, delay_ns);
        }
        self.poke(at);
    }

    /// A start has come to its end, and what goes on beside a replica begins.
    fn begin_beside(&mut self, at: usize) {
        self.members[at].note_begun();
        if self.plan.has_rot {
            let life = self.members[at].lives;
            self.schedule(MS, Due::Scrub { at, life });
        }
        self.begin_snapshots(at);
    }

    /// The instance of a new life, and the second one that it takes snapshots of, if it does. What
    /// a Byzantine validator makes of commands is its own affair.
    fn apps(&self, at: usize) -> (Overheard<S>, Option<Overheard<S>>) {
        let one = || {
            let is_judged = !self.is_byzantine(at);
            let ear = is_judged.then(Ear::open).unwrap_or_default();
            Overheard::new(self.app.make(), ear)
        };
        let second = self.plan.has_snapshots.then(one);
        (one(), second)
    }

    /// What a process finds out about clients' signatures begins with nothing. One that forges them
    /// checks none.
    fn command_auth(&self, at: usize) -> CommandAuth {
        let validator = self.validator(at).place();
        let forges = self
            .troupe
            .cast
            .actors(validator)
            .contains(&ActorName::Forger);
        if !self.plan.is_signed || forges {
            return CommandAuth::session();
        }
        let lives = self.members[at].lives;
        let seed = *blake3::hash(&[at as u64, lives].map(u64::to_le_bytes).concat()).as_bytes();
        CommandAuth::signed(&self.set, BatchSeed::assert_unpredictable(seed))
    }

    /// A process or its machine dies. Its disk is left as that leaves it.
    pub(crate) fn end_life(&mut self, at: usize, ending: Ending) {
        self.trace.note(
            self.now_ns,
            b'e',
            at,
            0,
            &[u8::from(ending == Ending::Power)],
        );
        self.trace
            .tell(self.now_ns, format_args!("v{at} dies: {ending:?}"));
        self.note_life(at);
        let is_torn = ending == Ending::Power && self.members[at].disk.is_off();
        self.faults_of(at).torn_power_cuts += u64::from(is_torn);
        if is_torn {
            self.count_second_crash(at);
        }
        self.members[at].dies_again = false;
        self.count_full(at);
        if ending == Ending::Power && self.plan.durability == Durability::Async {
            self.members[at].silence();
        }
        let was_up = self.members[at].life.take().is_some();
        self.members[at].paused_until_ns = 0;
        self.members[at].disk.end_life(ending);
        // The failure that was to come has gone with what it was to come in.
        self.members[at].is_sync_failing = false;
        let is_rotten = !self.members[at].rots.is_empty();
        if is_rotten && ending == Ending::Power {
            // What memory showed is gone; a start finds what is left.
            self.members[at].rots.clear();
            self.members[at].may_be_damaged = true;
        }
        if !was_up {
            return;
        }
        for (peer, connection) in self.network.forget(at) {
            let delay_ns = match ending {
                Ending::Process => self.dice.between(30 * US, 500 * US),
                Ending::Power => self.dice.between(MS, SILENCE_MAX_NS),
            };
            self.schedule(
                delay_ns,
                Due::Lost {
                    own: peer,
                    peer: at,
                    connection,
                },
            );
        }
    }

    /// The product ends itself.
    pub(crate) fn end_by_error(&mut self, at: usize, error: &ReplicaError) {
        self.trace
            .tell(self.now_ns, format_args!("v{at} ends itself: {error}"));
        // What is read is what was written, or a failure to read: a disk makes none of these.
        let is_own = matches!(
            error,
            ReplicaError::Execute(_)
                | ReplicaError::Order(OrderError::BodyMissing { .. } | OrderError::Payload(_))
        );
        let is_sync = self.members[at].is_sync_failing && !is_own;
        self.faults_of(at).sync_failures += u64::from(is_sync);
        let is_failing = self.members[at].take_disk_failure() && !is_own;
        if !is_failing && !self.is_byzantine(at) {
            let what = format!("v{at} ended itself: {error:?}");
            self.checks.take(Err(Violation::new("replica", what)));
        }
        self.end_life(at, Ending::Process);
        let delay_ns = self.dice.between(MS, 50 * MS);
        self.schedule(delay_ns, Due::Start { at });
    }

    /// Carries out a fault of the schedule.
    pub(crate) fn harm(&mut self, number: usize) {
        if self.site.as_ref().is_some_and(Site::is_lost) {
            return;
        }
        let fault = self.events[number].fault.clone();
        self.trace.note(self.now_ns, b'x', number, 0, &[]);
        let told = format_args!("fault {fault:?}");
        self.trace.tell(self.now_ns, told);
        match fault {
            Fault::Kill { victim, down_ns } => {
                let was_up = self.die(victim, Ending::Process, down_ns);
                self.faults_of(victim).kills += u64::from(was_up);
            }
            Fault::LeaderKill { down_ns } => {
                if let Some(victim) = self.present_leader() {
                    let was_up = self.die(victim, Ending::Process, down_ns);
                    self.faults_of(victim).leader_kills += u64::from(was_up);
                }
            }
            Fault::CleanStop { victim, down_ns } => self.begin_stop(victim, down_ns),
            Fault::Blackout { is_power, down_ns } => self.black_out(is_power, down_ns),
            Fault::Power {
                victim,
                steps,
                down_ns,
            } => self.cut_power(victim, steps, down_ns),
            Fault::SyncFailure { victim, down_ns } => {
                let member = &mut self.members[victim];
                if member.life.is_some() && !member.is_sync_failing {
                    // Counted when it ends the process.
                    member.is_sync_failing = true;
                    member.disk.fail_next_sync();
                    self.schedule(down_ns, Due::Start { at: victim });
                }
            }
            Fault::Pause { victim, pause_ns } => {
                if self.members[victim].life.is_some() {
                    self.faults_of(victim).pauses += 1;
                    self.members[victim].paused_until_ns = self.now_ns + pause_ns;
                }
            }
            Fault::DiskStall {
                victim,
                sync_ns,
                stall_ns,
            } => {
                // Counted when a call takes longer for it.
                let until_ns = self.now_ns + stall_ns;
                self.members[victim].disk.stall(until_ns, sync_ns);
            }
            Fault::Cut {
                links,
                breaks,
                cut_ns,
            } => self.cut(number, &links, breaks, cut_ns),
            Fault::Reset { one, other } => {
                let is_broken = self.break_connection(one, other, 200 * US);
                let honest = !self.is_byzantine(one) && !self.is_byzantine(other);
                self.faults_among(honest).connection_resets += u64::from(is_broken);
            }
            Fault::ClockJump { victim, offset_ns } => {
                // By what it shows until now it may have voted.
                self.see_good_clocks();
                let has_jumped = self.clocks.jump(victim, offset_ns);
                self.faults_of(victim).clock_jumps += u64::from(has_jumped);
                self.poke(victim);
            }
            other => self.harm_more(number, other),
        }
    }

    /// Carries out a fault of the kinds that not every run has.
    fn harm_more(&mut self, number: usize, fault: Fault) {
        match fault {
            Fault::Clog { links, clog_ns } if !self.is_healed => {
                for (links, is_honest) in self.by_honesty(&links) {
                    let is_clogged = self.network.clog(&links, self.now_ns + clog_ns);
                    self.faults_among(is_honest).clogs += u64::from(is_clogged);
                }
            }
            Fault::Slow {
                victim,
                factor,
                slow_ns,
            } => {
                let member = &mut self.members[victim];
                let is_felt = member.life.is_some();
                member.slow_factor = factor;
                member.slow_until_ns = self.now_ns + slow_ns;
                self.faults_of(victim).slow_spells += u64::from(is_felt);
            }
            Fault::CrashTwice {
                victim,
                down_ns,
                again,
            } => {
                let was_up = self.die(victim, Ending::Process, down_ns);
                self.members[victim].crash_again = was_up.then_some(again);
            }
            Fault::FullDisk { victim, full_ns } => self.fill_disk(number, victim, full_ns),
            Fault::LostDisk { victim, down_ns } => self.lose_disk(victim, down_ns),
            Fault::Rot {
                victim,
                place,
                mask,
                bytes,
                in_memory,
            } if !self.is_healed && self.members[victim].life.is_some() => {
                let has_rotted = self.members[victim].rot(place, mask, bytes, in_memory);
                self.faults_of(victim).rots += u64::from(has_rotted);
            }
            _ => {}
        }
    }

    /// Has a process that was just started die again, when that is its fate.
    fn arm_again(&mut self, at: usize, again: Option<Again>) {
        let life = self.members[at].lives;
        match again {
            Some(Again::Kill { after_ns }) => self.schedule(after_ns, Due::Crash { at, life }),
            Some(Again::Power { .. }) => {
                // Counted when the power goes: the process may die before.
                self.members[at].dies_again = true;
                self.schedule(20 * MS, Due::PowerEnds { at, life });
                self.schedule(40 * MS, Due::Start { at });
            }
            None => {}
        }
    }

    /// A process that was just started dies again.
    pub(crate) fn crash_again(&mut self, at: usize) {
        let is_voting = self.members[at]
            .life
            .as_ref()
            .is_some_and(|life| life.replica.consensus().is_voting());
        let faults = self.faults_of(at);
        faults.second_crashes += 1;
        faults.crashes_before_voting += u64::from(!is_voting);
        let down_ns = self.dice.between(1, 50) * MS;
        self.die(at, Ending::Process, down_ns);
    }

    /// A disk is gone with all that its validator ever said, and an operator tells the new one.
    fn lose_disk(&mut self, victim: usize, down_ns: u64) {
        if !self.die(victim, Ending::Power, down_ns) {
            return;
        }
        self.faults_of(victim).lost_disks += 1;
        self.give_up_disk(victim);
    }

    fn give_up_disk(&mut self, victim: usize) {
        let owner = self.keyring.keys()[self.validator(victim).place()].public();
        let outcome = self.members[victim].lose_disk(owner, &self.past.genesis);
        // The lease went with the disk; what was said is known here.
        let own = self.validator(victim);
        let led = self
            .checks
            .proposals
            .last(|window| self.set.leader(window) == own);
        self.members[victim].silent_until = self.checks.records.last(victim).max(led);
        self.checks
            .take(outcome.map_err(|what| Violation::new("recovery", what)));
    }

    fn fill_disk(&mut self, number: usize, victim: usize, full_ns: u64) {
        if self.is_healed || self.members[victim].disk.is_full() {
            return;
        }
        // Counted when a file cannot be made for it.
        let member = &mut self.members[victim];
        member.full_life = member.lives;
        member.disk.set_full(true);
        self.schedule(full_ns, Due::Mend { number });
    }

    /// A disk that is full counts when a file could not be made for it.
    pub(crate) fn count_full(&mut self, at: usize) {
        let has_felt = self.members[at].disk.take_full();
        self.faults_of(at).full_disks += u64::from(has_felt);
    }

    /// The power goes, in a life that it was to go in, soon after another crash.
    pub(crate) fn count_second_crash(&mut self, at: usize) {
        let was_due = std::mem::take(&mut self.members[at].dies_again);
        self.faults_of(at).second_crashes += u64::from(was_due);
    }

    /// What a validator did in the life that ends.
    pub(crate) fn note_life(&mut self, at: usize) {
        let Some(life) = &self.members[at].life else {
            return;
        };
        let consensus = life.replica.consensus();
        let counters = consensus.counters().clone();
        let is_voting = consensus.is_voting();
        let has_joined = life.companions.summary.is_joined;
        if !self.is_byzantine(at) {
            let actors = self.troupe.counts.actors.values_mut();
            actors.for_each(|one| one.beside.note_life(&counters));
        }
        let is_restarted = self.members[at].lives > 1;
        let reached = self.reached_of(at);
        reached.note_life(&counters);
        if is_voting {
            reached.note("r12_votes_again", u64::from(is_restarted));
            reached.note("r13_votes_again", u64::from(counters.recoveries > 0));
            reached.note("join_votes_again", u64::from(has_joined));
        }
    }

    fn black_out(&mut self, is_power: bool, down_ns: u64) {
        let mut has_died = false;
        let ending = if is_power {
            Ending::Power
        } else {
            Ending::Process
        };
        for victim in 0..self.members.len() {
            let more_ns = self.dice.below(20 * MS);
            has_died |= self.die(victim, ending, down_ns + more_ns) && !self.is_byzantine(victim);
        }
        self.faults.blackouts += u64::from(has_died);
    }

    pub(crate) fn die(&mut self, victim: usize, ending: Ending, down_ns: u64) -> bool {
        let was_up = self.members[victim].life.is_some();
        if was_up {
            self.end_life(victim, ending);
            self.schedule(down_ns, Due::Start { at: victim });
        }
        was_up
    }

    /// Who leads the highest window that anybody has entered.
    fn present_leader(&self) -> Option<usize> {
        let lives = self
            .members
            .iter()
            .filter_map(|member| member.life.as_ref());
        lives
            .map(|life| life.replica.consensus())
            .max_by_key(|consensus| consensus.window())
            .map(|consensus| consensus.leader().place())
    }

    fn cut_power(&mut self, victim: usize, steps: u64, down_ns: u64) {
        let member = &mut self.members[victim];
        if member.life.is_none() || member.disk.has_power_off_pending() {
            return;
        }
        if steps == 0 {
            self.faults_of(victim).power_cuts += 1;
            self.die(victim, Ending::Power, down_ns);
            return;
        }
        // Counted when the power goes: the process may die before.
        member.disk.power_off_after(steps);
        let life = member.lives;
        self.schedule(20 * MS, Due::PowerEnds { at: victim, life });
        self.schedule(20 * MS + down_ns, Due::Start { at: victim });
    }

    fn begin_stop(&mut self, victim: usize, down_ns: u64) {
        let is_told = self.stop(victim, down_ns);
        self.faults_of(victim).clean_stops += u64::from(is_told);
    }

    /// Has a process stop in good order; whether it was not told before.
    pub(crate) fn stop(&mut self, victim: usize, down_ns: u64) -> bool {
        let life = self.members[victim].lives;
        let told = self.with_life(victim, |life, now| {
            let is_new = !life.is_stopping;
            life.is_stopping = true;
            life.replica.shut_down(now);
            is_new
        });
        if told == Some(true) {
            let drain_ns = self.dice.below(30 * MS);
            self.schedule(
                drain_ns,
                Due::StopEnds {
                    at: victim,
                    life,
                    down_ns,
                },
            );
        }
        told == Some(true)
    }

    /// A process that was told to stop writes its last and ends; now and then the machine is
    /// switched off after.
    pub(crate) fn end_stop(&mut self, at: usize, down_ns: u64) {
        self.note_life(at);
        let Some(life) = self.members[at].life.take() else {
            return;
        };
        self.schedule(down_ns, Due::Start { at });
        let Life {
            replica,
            companions,
            ..
        } = life;
        let outcome = replica.stop(companions.sync);
        self.members[at].note_stopped();
        let is_off = self.members[at].disk.is_off();
        let is_full = self.members[at].lacks_room();
        let is_expected = self.members[at].take_disk_failure() || is_full || is_off;
        if let Err(error) = outcome
            && !is_expected
            && !self.is_byzantine(at)
        {
            let what = format!("v{at} could not stop in good order: {error:?}");
            self.checks.take(Err(Violation::new("replica", what)));
        }
        let goes_off = is_off || (!is_expected && self.dice.percent(30));
        let connections = self.network.forget(at);
        self.end_life(
            at,
            if goes_off {
                Ending::Power
            } else {
                Ending::Process
            },
        );
        for (own, connection) in connections {
            let lost = Due::Lost {
                own,
                peer: at,
                connection,
            };
            self.schedule(100 * US, lost);
        }
    }

    fn cut(&mut self, number: usize, links: &[(usize, usize)], breaks: bool, cut_ns: u64) {
        if self.is_healed {
            return;
        }
        for (links, is_honest) in self.by_honesty(links) {
            let is_one_way = links
                .iter()
                .any(|&(one, other)| !links.contains(&(other, one)));
            let has_cut = self.network.set_cut(&links, true);
            let faults = self.faults_among(is_honest);
            faults.cuts += u64::from(has_cut);
            faults.one_way_cuts += u64::from(has_cut && is_one_way);
        }
        self.schedule(cut_ns, Due::Mend { number });
        if breaks {
            for &(one, other) in links {
                let delay_ns = self.dice.between(MS, 100 * MS);
                self.break_connection(one, other, delay_ns);
            }
        }
    }

    /// What a fault did is over; after healing no cut is left.
    pub(crate) fn mend(&mut self, number: usize) {
        match &self.events[number].fault {
            Fault::Cut { links, .. } if !self.is_healed => {
                self.network.set_cut(links, false);
            }
            Fault::FullDisk { victim, .. } => {
                let victim = *victim;
                self.count_full(victim);
                self.members[victim].disk.set_full(false);
            }
            _ => {}
        }
    }

    /// Both ends of a connection learn within this time that it is gone; whether either has one.
    fn break_connection(&mut self, one: usize, other: usize, within_ns: u64) -> bool {
        let mut has_one = false;
        for (own, peer) in [(one, other), (other, one)] {
            if let Some(connection) = self.network.connection(own, peer) {
                let delay_ns = self.dice.between(1, within_ns);
                let lost = Due::Lost {
                    own,
                    peer,
                    connection,
                };
                self.schedule(delay_ns, lost);
                has_one = true;
            }
        }
        has_one
    }
}

#[cfg(test)]
#[path = "harm_tests.rs"]
mod tests;
