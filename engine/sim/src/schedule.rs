//! When which fault happens: a list drawn from the seed.
//!
//! Owns the kinds of faults and the drawing. A fault names its victim, or a role that is looked
//! up when it happens. Never: what a fault does to the world (world), or rates (script).

use crate::dice::Dice;
use crate::plan::Plan;
use crate::script::{Scenario, Weights};

const MS: u64 = 1_000_000;

/// Something that goes wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// A process dies; what it wrote is still there.
    Kill { victim: usize, down_ns: u64 },
    /// The leader of the highest window dies.
    LeaderKill { down_ns: u64 },
    /// A process is told to stop and does so in good order.
    CleanStop { victim: usize, down_ns: u64 },
    /// Every process dies at the same moment.
    Blackout { is_power: bool, down_ns: u64 },
    /// A machine loses power after so many more steps of its disk; 0 for at once.
    Power {
        victim: usize,
        steps: u64,
        down_ns: u64,
    },
    /// One sync fails; the process ends itself.
    SyncFailure { victim: usize, down_ns: u64 },
    /// A process does nothing for a while.
    Pause { victim: usize, pause_ns: u64 },
    /// Every sync of a validator takes this much longer for a while.
    DiskStall {
        victim: usize,
        sync_ns: u64,
        stall_ns: u64,
    },
    /// Frames over these links, from the first to the second, are lost for a while. Connections
    /// break too when `breaks` says so, as they do when keep-alives go unanswered.
    Cut {
        links: Vec<(usize, usize)>,
        breaks: bool,
        cut_ns: u64,
    },
    /// One connection breaks and is made again.
    Reset { one: usize, other: usize },
    /// A wall clock is set to another time.
    ClockJump { victim: usize, offset_ns: i64 },
}

/// A fault and when it happens, from the start of the run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) at_ns: u64,
    pub(crate) fault: Fault,
}

#[derive(Clone, Copy)]
enum Kind {
    Kill,
    LeaderKill,
    CleanStop,
    Blackout,
    Power,
    TornPower,
    SyncFailure,
    Pause,
    DiskStall,
    Partition,
    OneWay,
    Flap,
    ClockJump,
    Reset,
}

fn kinds(weights: &Weights) -> [(Kind, u64); 14] {
    [
        (Kind::Kill, weights.kill),
        (Kind::LeaderKill, weights.leader_kill),
        (Kind::CleanStop, weights.clean_stop),
        (Kind::Blackout, weights.blackout),
        (Kind::Power, weights.power),
        (Kind::TornPower, weights.torn_power),
        (Kind::SyncFailure, weights.sync_failure),
        (Kind::Pause, weights.pause),
        (Kind::DiskStall, weights.disk_stall),
        (Kind::Partition, weights.partition),
        (Kind::OneWay, weights.one_way),
        (Kind::Flap, weights.flap),
        (Kind::ClockJump, weights.clock_jump),
        (Kind::Reset, weights.reset),
    ]
}

/// Draws the faults of a run, in the order of their times.
pub(crate) fn draw(plan: &Plan, scenario: Scenario, seed: u64) -> Vec<Event> {
    let mut dice = Dice::new(seed, "schedule");
    let kinds = kinds(&scenario.weights());
    let sum: u64 = kinds.iter().map(|(_, weight)| weight).sum();
    if sum == 0 {
        return Vec::new();
    }
    let count = 2 + dice.below(11);
    let mut events = Vec::new();
    for _ in 0..count {
        let at_ns = dice.below(plan.trouble_ns);
        let mut left = dice.below(sum);
        let mut chosen = Kind::Reset;
        for (kind, weight) in kinds {
            if left < weight {
                chosen = kind;
                break;
            }
            left -= weight;
        }
        draw_one(chosen, at_ns, plan, &mut dice, &mut events);
    }
    events.sort_by_key(|event| event.at_ns);
    events
}

fn draw_one(kind: Kind, at_ns: u64, plan: &Plan, dice: &mut Dice, events: &mut Vec<Event>) {
    let len = plan.stakes.len();
    let victim = dice.place(len);
    let down_ns = dice.between(1, 250) * MS;
    // Who is harmed in a way that makes it abstain is fixed for the run: see the plan.
    let abstainer = dice.one_of(&plan.abstainers);
    let is_sync = plan.durability == quorate_consensus::machine::Durability::Sync;
    let power_victim = if is_sync { Some(victim) } else { abstainer };
    let fault = match kind {
        Kind::Kill => Some(Fault::Kill { victim, down_ns }),
        Kind::LeaderKill => Some(Fault::LeaderKill { down_ns }),
        Kind::CleanStop => Some(Fault::CleanStop { victim, down_ns }),
        Kind::Blackout => {
            let is_power = is_sync && dice.percent(50);
            Some(Fault::Blackout { is_power, down_ns })
        }
        Kind::Power | Kind::TornPower => power_victim.map(|victim| {
            let is_torn = matches!(kind, Kind::TornPower);
            let steps = if is_torn { dice.between(1, 2_000) } else { 0 };
            Fault::Power {
                victim,
                steps,
                down_ns,
            }
        }),
        Kind::SyncFailure => abstainer.map(|victim| Fault::SyncFailure { victim, down_ns }),
        Kind::Pause => Some(Fault::Pause {
            victim,
            pause_ns: dice.between(1, 300) * MS,
        }),
        Kind::DiskStall => Some(Fault::DiskStall {
            victim,
            sync_ns: dice.between(1, 150) * MS,
            stall_ns: dice.between(10, 300) * MS,
        }),
        Kind::Partition => Some(Fault::Cut {
            links: partition(len, dice),
            breaks: dice.percent(50),
            cut_ns: dice.between(5, 400) * MS,
        }),
        Kind::OneWay => Some(Fault::Cut {
            links: one_way(len, dice),
            breaks: false,
            cut_ns: dice.between(5, 400) * MS,
        }),
        Kind::Flap => {
            let links = partition(len, dice);
            let period_ns = dice.between(4, 40) * MS;
            events.extend((0..dice.between(2, 6)).map(|number| Event {
                at_ns: at_ns + number * period_ns,
                fault: Fault::Cut {
                    links: links.clone(),
                    breaks: false,
                    cut_ns: period_ns / 2,
                },
            }));
            None
        }
        Kind::ClockJump => Some(clock_jump(victim, plan, dice)),
        Kind::Reset => Some(Fault::Reset {
            one: victim,
            other: (victim + 1 + dice.place(len - 1)) % len,
        }),
    };
    events.extend(fault.map(|fault| Event { at_ns, fault }));
}

/// Any clock may be a little off; those that may be faulty are off by anything.
fn clock_jump(victim: usize, plan: &Plan, dice: &mut Dice) -> Fault {
    let signed = |amount: u64, is_ahead: bool| {
        let amount = i64::try_from(amount).unwrap_or(i64::MAX);
        if is_ahead { amount } else { -amount }
    };
    let is_ahead = dice.percent(50);
    let far = dice.between(1, 3_600_000) * MS;
    let near = dice.between(1, 200) * MS;
    match dice.one_of(&plan.bad_clocks) {
        Some(victim) if dice.percent(50) => Fault::ClockJump {
            victim,
            offset_ns: signed(far, is_ahead),
        },
        _ => Fault::ClockJump {
            victim,
            offset_ns: signed(near, is_ahead),
        },
    }
}

/// Every link between two sides, both ways.
fn partition(len: usize, dice: &mut Dice) -> Vec<(usize, usize)> {
    let sides: Vec<bool> = (0..len).map(|_| dice.percent(50)).collect();
    links_between(&sides, |one, other| one != other)
}

/// Links from one side to the other, in that direction alone; or single links of chance.
fn one_way(len: usize, dice: &mut Dice) -> Vec<(usize, usize)> {
    let sides: Vec<bool> = (0..len).map(|_| dice.percent(50)).collect();
    if dice.percent(50) {
        return links_between(&sides, |one, other| one && !other);
    }
    let mut links = links_between(&sides, |_, _| true);
    links.retain(|_| dice.percent(20));
    links
}

fn links_between(sides: &[bool], is_cut: impl Fn(bool, bool) -> bool) -> Vec<(usize, usize)> {
    let mut links = Vec::new();
    for (from, &one) in sides.iter().enumerate() {
        for (to, &other) in sides.iter().enumerate() {
            if from != to && is_cut(one, other) {
                links.push((from, to));
            }
        }
    }
    links
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::byzantine::Byzantine;
    use crate::plan::RunOptions;

    #[test]
    fn only_those_within_the_budget_are_made_to_abstain() {
        for seed in 0..400 {
            let scenario = Scenario::Power;
            let plan = Plan::draw(&RunOptions {
                seed,
                validators: 5,
                scenario,
                byzantine: Byzantine::default(),
            });
            let is_async = plan.durability == quorate_consensus::machine::Durability::Async;
            for event in draw(&plan, scenario, seed) {
                match event.fault {
                    Fault::SyncFailure { victim, .. } => assert!(plan.abstainers.contains(&victim)),
                    Fault::Power { victim, .. } if is_async => {
                        assert!(plan.abstainers.contains(&victim));
                    }
                    _ => {}
                }
            }
        }
    }

    #[test]
    fn a_calm_run_has_no_faults_and_others_have() {
        let count = |scenario| {
            let plan = Plan::draw(&RunOptions {
                seed: 3,
                validators: 4,
                scenario,
                byzantine: Byzantine::default(),
            });
            draw(&plan, scenario, 3).len()
        };
        assert_eq!(count(Scenario::Calm), 0);
        for scenario in Scenario::all() {
            if !matches!(scenario, Scenario::Calm | Scenario::Lossy) {
                assert!(count(scenario) > 0, "{scenario}");
            }
        }
    }
}
