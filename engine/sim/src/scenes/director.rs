//! The director: what each command of a script does on the stage, and the trace of it.
//!
//! Owns the order of a script: settings, then the start of everybody, then one command after
//! another until one asks for what is not there. Never: the rules; every step is the machines' own.

use std::sync::Arc;

use quorate_consensus::input::Input;
use quorate_consensus::machine::{Disposition, Durability};
use quorate_consensus::message::Message;
use quorate_consensus::restart::{self, StartFacts};
use quorate_consensus::thresholds::{default_fault, default_slack};
use quorate_consensus::types::{Epoch, Stake, ValidatorIndex};
use quorate_consensus::validators::{SetParameters, Validator, ValidatorSet};

use super::command::{Command, ScriptLine, Setting, Which};
use super::line::Line;
use super::names::{kind_of, payload_named, v};
use super::stage::{Flight, Stage};
use crate::keyring::{Keyring, Scheme};

const MS: u64 = 1_000_000;

/// The script's settings, as far as they have come.
#[derive(Debug)]
struct Settings {
    weights: Vec<u64>,
    fault: Option<u64>,
    slack: Option<u64>,
    slots: u32,
    turn: u32,
    durability: Durability,
}

/// Does every line. The trace as far as it came, and what was wrong at which line.
pub(crate) fn direct(lines: &[ScriptLine]) -> (String, Option<(usize, String)>) {
    let mut trace = String::new();
    let mut settings = Settings {
        weights: Vec::new(),
        fault: None,
        slack: None,
        slots: 8,
        turn: 1,
        durability: Durability::Sync,
    };
    let mut stage = None;
    for line in lines {
        let done = one(line, &mut settings, &mut stage, &mut trace);
        if let Err(what) = done {
            return (trace, Some((line.number, what)));
        }
    }
    (trace, None)
}

fn one(
    line: &ScriptLine,
    settings: &mut Settings,
    stage: &mut Option<Stage>,
    trace: &mut String,
) -> Result<(), String> {
    let Some(command) = &line.command else {
        // The settings end with an empty line, or with the first thing that happens.
        if line.text.is_empty() && stage.is_none() && !settings.weights.is_empty() {
            *stage = Some(open(settings, trace)?);
        }
        trace.push_str(&line.text);
        trace.push('\n');
        return Ok(());
    };
    if let Command::Set(setting) = command {
        trace.push_str(&format!("> {}\n", line.text));
        return set(settings, setting, stage.is_some());
    }
    if stage.is_none() {
        *stage = Some(open(settings, trace)?);
    }
    trace.push_str(&format!("> {}\n", line.text));
    let Some(stage) = stage else {
        return Ok(());
    };
    let done = stage.act(command);
    stage.write(trace);
    done
}

fn set(settings: &mut Settings, setting: &Setting, has_begun: bool) -> Result<(), String> {
    if has_begun {
        return Err(format!(
            "{} stands above everything that happens",
            setting.name()
        ));
    }
    match setting {
        Setting::Weights(weights) => settings.weights.clone_from(weights),
        Setting::Fault(fault) => settings.fault = Some(*fault),
        Setting::Slack(slack) => settings.slack = Some(*slack),
        Setting::Slots(slots) => settings.slots = *slots,
        Setting::Turn(turn) => settings.turn = *turn,
        Setting::IsAsync(is_async) => {
            settings.durability = if *is_async {
                Durability::Async
            } else {
                Durability::Sync
            };
        }
    }
    Ok(())
}

/// Makes the set and starts everybody: fences pass, window 0 is entered.
fn open(settings: &Settings, trace: &mut String) -> Result<Stage, String> {
    let count = u16::try_from(settings.weights.len()).unwrap_or(u16::MAX);
    let keyring = Keyring::new(count, Scheme::StandIn);
    let stakes: Vec<Stake> = settings
        .weights
        .iter()
        .map(|&weight| Stake::new(weight))
        .collect();
    let members = keyring.keys().iter().zip(&stakes);
    let members = members
        .map(|(key, &stake)| Validator::new(key.public(), stake))
        .collect();
    let total: Stake = stakes.iter().copied().sum();
    let fault = settings
        .fault
        .map_or_else(|| default_fault(&stakes), Stake::new);
    let slack = settings
        .slack
        .map_or_else(|| default_slack(total, fault), Stake::new);
    let parameters = SetParameters {
        chain_id: [7; 32],
        genesis_hash: [9; 32],
        epoch: Epoch::ZERO,
        fault,
        slack,
        window_slots: settings.slots,
        turn_windows: settings.turn,
        crash_only: fault == Stake::ZERO,
        genesis_time_ns: 1_000,
    };
    let set = ValidatorSet::new(parameters, members);
    let set = Arc::new(set.map_err(|error| format!("the set is refused: {error}"))?);
    let t = *set.thresholds();
    trace.push_str(&format!(
        "  N={} F={} P={} C={} Q={} FAST={} FB={} AMP={}, windows of {} slots; all have started and are in w0\n",
        t.total.amount(),
        t.fault.amount(),
        t.slack.amount(),
        t.crash.amount(),
        t.quorum.amount(),
        t.fast.amount(),
        t.fallback.amount(),
        t.amplify.amount(),
        settings.slots,
    ));
    let mut stage = Stage::new(Arc::clone(&set), settings.durability);
    for who in set.indices() {
        stage.start(who);
    }
    let is_fence = |flight: &Flight| !matches!(flight.message, Message::Status(_));
    stage.flights.retain(is_fence);
    stage.arrive_all()?;
    stage.lines.clear();
    Ok(stage)
}

impl Stage {
    fn act(&mut self, command: &Command) -> Result<(), String> {
        match command {
            Command::Set(_) => Ok(()),
            Command::Propose(by, names) => self.propose(*by, names),
            Command::DeliverAll => self.arrive_all(),
            Command::Deliver(which) => {
                let flights = self.pick(which)?;
                self.arrive_each(flights);
                Ok(())
            }
            Command::Drop(which) => {
                let mut lost = self.pick(which)?;
                lost.sort_by_key(|flight| flight.to);
                for flight in lost {
                    let text = format!("never gets {}", kind_of(&flight.message));
                    let line = Line::new(flight.to, "..", text);
                    let line = line.with(" from ", Some(flight.from));
                    self.lines.push(line);
                }
                Ok(())
            }
            Command::Partition(sides) => {
                self.sides.clone_from(sides);
                let flights = core::mem::take(&mut self.flights);
                let stays = |flight: &Flight| self.passes(flight.from, flight.to);
                self.flights = flights.into_iter().filter(stays).collect();
                Ok(())
            }
            Command::Heal => {
                self.sides.clear();
                Ok(())
            }
            Command::Lapse(who, ns) => {
                let everybody: Vec<_> = self.set.indices().collect();
                let who = if who.is_empty() { &everybody } else { who };
                for &one in who {
                    self.lapse(one, *ns);
                }
                Ok(())
            }
            Command::Run(ns) => self.run(*ns),
            _ => self.act_on_one(command),
        }
    }

    fn act_on_one(&mut self, command: &Command) -> Result<(), String> {
        match command {
            Command::Crash { who, power } => self.crash(*who, *power),
            Command::Restart(who) => self.restart(*who),
            Command::Hold(who) => {
                self.machine(*who)?;
                self.member_mut(*who).is_held = true;
                Ok(())
            }
            Command::Sync(who) => who.iter().try_for_each(|&one| self.sync_now(one)),
            Command::Release(who) => {
                self.member_mut(*who).is_held = false;
                self.sync_now(*who)
            }
            Command::Copy(who) => {
                let member = self.member_mut(*who);
                member.copy = Some(member.disk.clone());
                Ok(())
            }
            Command::PutBack(who) => {
                let member = self.member_mut(*who);
                if member.consensus.is_some() {
                    return Err(format!("{} is up: crash it first", v(*who)));
                }
                let copy = member.copy.take();
                member.disk = copy.ok_or_else(|| format!("{} has no copy", v(*who)))?;
                Ok(())
            }
            Command::Byzantine(who) => {
                self.machine(*who)?;
                let member = self.member_mut(*who);
                member.end();
                member.is_byzantine = true;
                self.flights.retain(|flight| flight.to != *who);
                Ok(())
            }
            Command::Say { from, to, what } => self.say_as(*from, to, what),
            Command::Expect(who, what) => who.iter().try_for_each(|&one| self.expect(one, what)),
            _ => Ok(()),
        }
    }

    /// The leader makes blocks, in one turn.
    fn propose(&mut self, by: ValidatorIndex, names: &[String]) -> Result<(), String> {
        let window = self.machine(by)?.window();
        for (place, name) in names.iter().enumerate() {
            if self.names.holds(name) {
                return Err(format!("there is a block {name} already"));
            }
            let Some(room) = self.machine(by)?.proposal_room() else {
                let leader = v(self.set.leader(window));
                let at = window.number();
                return Err(format!(
                    "{} has no room for a block: it is in w{at}, led by {leader}",
                    v(by)
                ));
            };
            if place == 0 {
                let parent = self.names.name(room.parent_id);
                let names = super::line::ranges(names);
                let (at, index) = (window.number(), room.index.number());
                self.tell(
                    by,
                    "R2",
                    format!("proposes {names} in w{at} from index {index}, on {parent}"),
                );
            }
            let payload = payload_named(name);
            self.payloads
                .insert(*blake3::hash(&payload).as_bytes(), name.clone());
            let taken = self.input(by, Input::Payload(payload), "->");
            if taken != Some(Disposition::Applied) {
                return Err(format!("{} refuses to propose {name}", v(by)));
            }
        }
        self.settle(by);
        Ok(())
    }

    /// Takes what fits out of flight.
    fn pick(&mut self, which: &Which) -> Result<Vec<Flight>, String> {
        let names = &self.names;
        let fits = |flight: &Flight| {
            let is_named = match &flight.message {
                Message::Propose(propose) => {
                    which.blocks.contains(&names.name(propose.header.id()))
                }
                _ => false,
            };
            let kind = which.kind.as_deref();
            which.from.contains(&flight.from)
                && which.to.contains(&flight.to)
                && kind.is_none_or(|kind| kind == kind_of(&flight.message))
                && (which.blocks.is_empty() || is_named)
        };
        let flights = core::mem::take(&mut self.flights);
        let (picked, left): (Vec<_>, Vec<_>) = flights.into_iter().partition(fits);
        self.flights = left;
        if picked.is_empty() {
            return Err(format!(
                "nothing in flight fits; there is {}",
                self.in_flight()
            ));
        }
        Ok(picked)
    }

    fn in_flight(&self) -> String {
        let mut told: Vec<String> = Vec::new();
        for flight in &self.flights {
            let (from, to) = (v(flight.from), v(flight.to));
            let text = format!("{from} -> {to} {}", kind_of(&flight.message));
            if !told.contains(&text) {
                told.push(text);
            }
        }
        if told.is_empty() {
            "nothing".to_owned()
        } else {
            told.join(", ")
        }
    }

    /// Time passes at all, a millisecond at a time, and everything arrives.
    fn run(&mut self, ns: u64) -> Result<(), String> {
        for _ in 0..ns / MS {
            let everybody: Vec<_> = self.set.indices().collect();
            for who in everybody {
                self.lapse(who, MS);
            }
            self.arrive_all()?;
        }
        Ok(())
    }

    fn crash(&mut self, who: ValidatorIndex, power: bool) -> Result<(), String> {
        self.machine(who)?;
        let member = self.member_mut(who);
        member.end();
        if power {
            let lost = member.disk.lose_power();
            member.boot = member.boot.wrapping_add(1);
            self.tell(
                who,
                "..",
                format!("loses power, and {lost} entries of its log that were not synced"),
            );
        } else {
            member.disk.sync();
            self.tell(
                who,
                "..",
                "its process ends; what it wrote stays in its log",
            );
        }
        self.hang_up(who);
        Ok(())
    }

    /// R12: what the lease file must hold is decided before anything else.
    fn restart(&mut self, who: ValidatorIndex) -> Result<(), String> {
        if self.machine(who).is_ok() || self.member(who).is_byzantine {
            return Err(format!("{} is not down", v(who)));
        }
        let durability = self.durability;
        let member = self.member_mut(who);
        let facts = StartFacts {
            durability,
            boot_id: [member.boot; 16],
            clean_stop: false,
            incarnation_min: 0,
        };
        member.disk.lease = restart::plan(member.disk.lease, &facts);
        member.is_behind_fence = true;
        let lease = member.disk.lease.lease;
        let mut text = "starts again".to_owned();
        for (what, window) in [
            ("leased up to", lease.lease),
            ("no proposals up to", lease.no_proposals_until),
            ("abstains up to", lease.abstain_until),
        ] {
            if let Some(window) = window {
                text.push_str(&format!(", {what} w{}", window.number()));
            }
        }
        self.tell(who, "R12", text);
        self.start(who);
        let said = self.member(who).said.clone();
        for (window, record) in said {
            let (at, record) = (window.number(), self.names.record(&record));
            self.tell(
                who,
                "R12",
                format!("finds in its log the record w{at} {record}"),
            );
        }
        Ok(())
    }

    fn sync_now(&mut self, who: ValidatorIndex) -> Result<(), String> {
        self.machine(who)?;
        self.tell(who, "R11", "its log is synced");
        self.sync(who);
        self.settle(who);
        Ok(())
    }
}
