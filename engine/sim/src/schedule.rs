//! When which fault happens: a list drawn from the seed.
//!
//! Owns the kinds of faults and the drawing. A fault names its victim, or a role that is looked
//! up when it happens. Never: what a fault does to the world (world), or rates (script).

use crate::dice::Dice;
use crate::plan::{PINNED_SEEDS, Plan};
use crate::script::{Scenario, Weights};

const MS: u64 = 1_000_000;
/// Name of the stream of faults that only a share of the runs has.
const MORE: &str = "more faults";
/// How many of a hundred runs have them.
const MORE_PERCENT: u64 = 60;
/// Name of the stream of lost disks, which another share of the runs has.
const LOST: &str = "lost disks";
const LOST_PERCENT: u64 = 25;
/// The same of one that loses its disk beside a false witness.
const LOSER: &str = "loser";
const ROT: &str = "rotten bytes";
/// Name of the stream of disks that are full for a while, whosever they are.
const FULL: &str = "full disks";
/// In so many of a hundred of the runs that have full disks.
const FULL_PERCENT: u64 = 30;
const JOINERS: &str = "joiners";
/// In so many of a hundred runs somebody loses its disk late, where anybody may.
const LATE_LOSS_PERCENT: u64 = 70;
/// In so many of a hundred somebody is away for long.
const AWAY_PERCENT: u64 = 70;
/// Bytes that rot in a run, at most.
const ROTS_MAX: u64 = 12;
/// In so many of a hundred runs they are in memory as well.
const IN_MEMORY_PERCENT: u64 = 50;
/// Seeds that found a fault of the product before there were these kinds of faults: they go on
/// drawing what they drew then. Without actors, and with them.
const OLDER_SEEDS: [u64; 7] = [24, 65, 1_064, 4, 26, 32, 160];

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
    /// Frames over these links are held back for a while and arrive in a burst.
    Clog {
        links: Vec<(usize, usize)>,
        clog_ns: u64,
    },
    /// A validator takes so many times as long for whatever it computes.
    Slow {
        victim: usize,
        factor: u64,
        slow_ns: u64,
    },
    /// A process dies, and once more soon after its next start.
    CrashTwice {
        victim: usize,
        down_ns: u64,
        again: Again,
    },
    /// No file can be made on this disk for a while.
    FullDisk { victim: usize, full_ns: u64 },
    /// A disk is lost with the power, and an empty one takes its place.
    LostDisk { victim: usize, down_ns: u64 },
    /// Bits of so many bytes of the log change on the disk, which nothing but a look at the disk
    /// shows; or in what memory has of it as well.
    Rot {
        victim: usize,
        place: u64,
        mask: u8,
        bytes: usize,
        in_memory: bool,
    },
    /// A wall clock is set to another time.
    ClockJump { victim: usize, offset_ns: i64 },
}

/// How a validator dies that was just started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Again {
    /// The process dies so long after its start: before or after the fence has passed.
    Kill { after_ns: u64 },
    /// The power goes after so many steps of the disk, the first of them in recovery.
    Power { steps: u64 },
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
    Clog,
    Slow,
    SecondCrash,
    FullDisk,
    LostDisk,
}

fn kinds(weights: &Weights) -> [(Kind, u64); 19] {
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
        (Kind::Clog, weights.clog),
        (Kind::Slow, weights.slow),
        (Kind::SecondCrash, weights.second_crash),
        (Kind::FullDisk, weights.full_disk),
        (Kind::LostDisk, weights.lost_disk),
    ]
}

/// Draws the faults of a run, in the order of their times.
pub(crate) fn draw(plan: &Plan, scenario: Scenario, seed: u64) -> Vec<Event> {
    let mut events = Vec::new();
    let mut dice = Dice::new(seed, "schedule");
    draw_some(plan, &scenario.weights(), 11, &mut dice, &mut events);
    // A stream of its own, so that those without it draw what they drew before there was one.
    let mut dice = Dice::new(seed, MORE);
    if dice.percent(MORE_PERCENT) && !OLDER_SEEDS.contains(&seed) {
        draw_some(plan, &scenario.more_weights(), 5, &mut dice, &mut events);
    }
    let mut dice = Dice::new(seed, LOST);
    if scenario.loses_disks() && dice.percent(LOST_PERCENT) && !OLDER_SEEDS.contains(&seed) {
        for _ in 0..dice.between(1, 2) {
            let at_ns = dice.below(plan.trouble_ns);
            draw_one(Kind::LostDisk, at_ns, plan, &mut dice, &mut events);
        }
    }
    if let Some(victim) = plan.loser {
        let mut dice = Dice::new(seed, LOSER);
        let at_ns = dice.below(plan.trouble_ns);
        let down_ns = dice.between(1, 100) * MS;
        let fault = Fault::LostDisk { victim, down_ns };
        events.push(Event { at_ns, fault });
    }
    let fills_disks = scenario.weights().full_disk + scenario.more_weights().full_disk > 0;
    if fills_disks && !PINNED_SEEDS.contains(&seed) {
        draw_full(plan, &mut Dice::new(seed, FULL), &mut events);
    }
    if plan.has_snapshots {
        draw_joiners(plan, &mut Dice::new(seed, JOINERS), &mut events);
    }
    if plan.has_rot {
        draw_rot(plan, &mut Dice::new(seed, ROT), &mut events);
    }
    events.sort_by_key(|event| event.at_ns);
    events
}

/// Somebody has nothing of the log when its peers have pruned theirs, or too little of it: one of
/// those who may abstain, so that the others go on meanwhile.
fn draw_joiners(plan: &Plan, dice: &mut Dice, events: &mut Vec<Event>) {
    let Some(victim) = dice.one_of(&plan.joiners) else {
        return;
    };
    if dice.percent(LATE_LOSS_PERCENT) && plan.abstainers.contains(&victim) {
        let at_ns = dice.between(plan.trouble_ns / 3, plan.trouble_ns * 3 / 4);
        let down_ns = dice.between(1, 250) * MS;
        let fault = Fault::LostDisk { victim, down_ns };
        events.push(Event { at_ns, fault });
    }
    if dice.percent(AWAY_PERCENT) {
        let down_ns = dice.between(plan.trouble_ns / 4, plan.trouble_ns / 2);
        let at_ns = dice.below(plan.trouble_ns - down_ns);
        let fault = Fault::Kill { victim, down_ns };
        events.push(Event { at_ns, fault });
    }
}

/// Disks are full, also of those who may not abstain: a full one loses nothing. With a failed sync
/// it may leave no room for the note of that, so those whose syncs fail are left out.
fn draw_full(plan: &Plan, dice: &mut Dice, events: &mut Vec<Event>) {
    if !dice.percent(FULL_PERCENT) {
        return;
    }
    let fails = |place: usize| {
        let mut faults = events.iter().map(|event| &event.fault);
        faults.any(|fault| matches!(fault, Fault::SyncFailure { victim, .. } if *victim == place))
    };
    let sound: Vec<usize> = (0..plan.stakes.len()).filter(|&at| !fails(at)).collect();
    for _ in 0..dice.between(1, 3) {
        let Some(victim) = dice.one_of(&sound) else {
            return;
        };
        events.push(Event {
            at_ns: dice.below(plan.trouble_ns),
            fault: Fault::FullDisk {
                victim,
                full_ns: dice.between(5, 400) * MS,
            },
        });
    }
}

/// Disks of those who may abstain rot: after a loss of power they may have to.
fn draw_rot(plan: &Plan, dice: &mut Dice, events: &mut Vec<Event>) {
    // A start may find anything of what memory shows rotten: nothing is owed for the rest then.
    let in_memory = dice.percent(IN_MEMORY_PERCENT);
    for _ in 0..dice.between(2, ROTS_MAX) {
        let Some(victim) = dice.one_of(&plan.abstainers) else {
            return;
        };
        // A segment has to be complete before.
        let at_ns = dice.between(plan.trouble_ns / 4, plan.trouble_ns);
        let fault = Fault::Rot {
            victim,
            place: dice.below(u64::MAX),
            mask: 1 << dice.below(8),
            bytes: dice.one_of(&[1, 16, 512]).unwrap_or(1),
            in_memory,
        };
        events.push(Event { at_ns, fault });
    }
}

fn draw_some(
    plan: &Plan,
    weights: &Weights,
    count_max: u64,
    dice: &mut Dice,
    events: &mut Vec<Event>,
) {
    let kinds = kinds(weights);
    let sum: u64 = kinds.iter().map(|(_, weight)| weight).sum();
    if sum == 0 {
        return;
    }
    let count = 2 + dice.below(count_max);
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
        draw_one(chosen, at_ns, plan, dice, events);
    }
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
            events.extend(flap(at_ns, len, dice));
            None
        }
        Kind::ClockJump => Some(clock_jump(victim, plan, dice)),
        Kind::Reset => Some(Fault::Reset {
            one: victim,
            other: (victim + 1 + dice.place(len - 1)) % len,
        }),
        Kind::LostDisk => abstainer.map(|victim| Fault::LostDisk { victim, down_ns }),
        Kind::Clog | Kind::Slow | Kind::SecondCrash | Kind::FullDisk => {
            let victims = [Some(victim), power_victim, abstainer];
            draw_other(kind, at_ns, len, victims, dice, events);
            None
        }
    };
    events.extend(fault.map(|fault| Event { at_ns, fault }));
}

/// A partition that comes and goes.
fn flap(at_ns: u64, len: usize, dice: &mut Dice) -> impl Iterator<Item = Event> + use<> {
    let links = partition(len, dice);
    let period_ns = dice.between(4, 40) * MS;
    (0..dice.between(2, 6)).map(move |number| Event {
        at_ns: at_ns + number * period_ns,
        fault: Fault::Cut {
            links: links.clone(),
            breaks: false,
            cut_ns: period_ns / 2,
        },
    })
}

/// The kinds that not every run with everything has.
fn draw_other(
    kind: Kind,
    at_ns: u64,
    len: usize,
    [anybody, of_power, abstainer]: [Option<usize>; 3],
    dice: &mut Dice,
    events: &mut Vec<Event>,
) {
    let fault = match kind {
        Kind::Slow => anybody.map(|victim| Fault::Slow {
            victim,
            factor: dice.between(5, 100),
            slow_ns: dice.between(10, 400) * MS,
        }),
        Kind::SecondCrash => anybody.map(|victim| crash_twice(victim, of_power, dice)),
        // A machine that cannot note a failed sync counts like one that saw it.
        Kind::FullDisk => abstainer.map(|victim| Fault::FullDisk {
            victim,
            full_ns: dice.between(5, 400) * MS,
        }),
        _ => {
            draw_clogs(len, at_ns, dice, events);
            None
        }
    };
    events.extend(fault.map(|fault| Event { at_ns, fault }));
}

/// Directions are clogged one by one, and come free in another order.
fn draw_clogs(len: usize, at_ns: u64, dice: &mut Dice, events: &mut Vec<Event>) {
    for _ in 0..dice.between(1, 6) {
        let from = dice.place(len);
        let links = if dice.percent(30) {
            // All that a validator says.
            let others = (0..len).filter(|&to| to != from);
            others.map(|to| (from, to)).collect()
        } else {
            vec![(from, (from + 1 + dice.place(len - 1)) % len)]
        };
        events.push(Event {
            at_ns: at_ns + dice.below(50 * MS),
            fault: Fault::Clog {
                links,
                clog_ns: dice.between(5, 300) * MS,
            },
        });
    }
}

/// The second death finds the process in recovery, before its fence, or at its first words.
fn crash_twice(victim: usize, of_power: Option<usize>, dice: &mut Dice) -> Fault {
    let down_ns = dice.between(1, 250) * MS;
    match of_power {
        Some(victim) if dice.percent(60) => Fault::CrashTwice {
            victim,
            down_ns,
            again: Again::Power {
                steps: dice.skewed(20),
            },
        },
        _ => Fault::CrashTwice {
            victim,
            down_ns,
            again: Again::Kill {
                after_ns: dice.below(5 * MS),
            },
        },
    }
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
        let mut others_full = 0;
        let scenarios = [
            Scenario::Power,
            Scenario::Mixed,
            Scenario::DoubleCrash,
            Scenario::Disk,
            Scenario::LostDisk,
        ];
        for (seed, scenario) in (0..400).flat_map(|seed| scenarios.map(|scenario| (seed, scenario)))
        {
            let plan = Plan::draw(&RunOptions {
                seed,
                validators: 5,
                scenario,
                byzantine: Byzantine::default(),
            });
            let is_async = plan.durability == quorate_consensus::machine::Durability::Async;
            let events = draw(&plan, scenario, seed);
            let fails = |place: usize| {
                let mut faults = events.iter().map(|event| &event.fault);
                faults
                    .any(|one| matches!(one, Fault::SyncFailure { victim, .. } if *victim == place))
            };
            for event in &events {
                match event.fault {
                    Fault::SyncFailure { victim, .. } | Fault::LostDisk { victim, .. } => {
                        assert!(plan.abstainers.contains(&victim));
                    }
                    Fault::FullDisk { victim, .. } => {
                        let may_abstain = plan.abstainers.contains(&victim);
                        assert!(may_abstain || !fails(victim));
                        others_full += u64::from(!may_abstain);
                    }
                    Fault::CrashTwice {
                        victim,
                        again: Again::Power { .. },
                        ..
                    } if is_async => assert!(plan.abstainers.contains(&victim)),
                    Fault::Power { victim, .. } if is_async => {
                        assert!(plan.abstainers.contains(&victim));
                    }
                    _ => {}
                }
            }
        }
        assert!(others_full > 100, "{others_full} of those who may not");
    }

    #[test]
    fn seeds_that_once_found_a_fault_draw_what_they_drew_then() {
        for seed in OLDER_SEEDS {
            let scenario = Scenario::Mixed;
            let plan = Plan::draw(&RunOptions {
                seed,
                validators: 5,
                scenario,
                byzantine: Byzantine::default(),
            });
            let mut then = Vec::new();
            let mut dice = Dice::new(seed, "schedule");
            draw_some(&plan, &scenario.weights(), 11, &mut dice, &mut then);
            then.sort_by_key(|event| event.at_ns);
            assert_eq!(draw(&plan, scenario, seed), then, "{seed}");
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
            if !matches!(scenario, Scenario::Calm | Scenario::Rush | Scenario::Lossy) {
                assert!(count(scenario) > 0, "{scenario}");
            }
        }
    }
}
