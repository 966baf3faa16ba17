//! A fault does what it is named for to somebody who runs, and counts then alone.

use super::*;
use crate::app::App;
use crate::byzantine::Byzantine;
use crate::counts::FaultCounts;
use crate::plan::{Plan, RunOptions};
use crate::schedule::Event;
use crate::script::Scenario;
use crate::tape::Tape;

const VICTIM: usize = 1;
/// Faults of links.
const NAMES_OF_LINKS: [&str; 4] = ["connection_resets", "cuts", "one_way_cuts", "clogs"];

/// A world without faults of its own, in which nobody has started yet. Of four with equal stakes
/// three go on without the fourth.
fn world() -> World<Tape> {
    world_of(|_| true)
}

/// The same of such a plan.
fn world_of(is_fit: fn(&Plan) -> bool) -> World<Tape> {
    let options = |seed| RunOptions {
        seed,
        scenario: Scenario::Calm,
        ..RunOptions::default()
    };
    let is_one = |seed: &u64| {
        let plan = Plan::draw(&options(*seed));
        plan.stakes == [1; 4] && is_fit(&plan)
    };
    let seed = (0..).find(is_one).unwrap();
    World::new(&options(seed), &App::default(), false).unwrap()
}

/// The same with one of the four who plays something and keeps the rules otherwise.
fn world_beside_a_liar() -> (World<Tape>, usize) {
    let options = |seed| RunOptions {
        seed,
        scenario: Scenario::Calm,
        byzantine: Byzantine {
            actors: [Some(ActorName::Censor), None],
            ..Byzantine::default()
        },
        ..RunOptions::default()
    };
    let is_even = |seed: &u64| Plan::draw(&options(*seed)).stakes == [1; 4];
    let seed = (0..).find(is_even).unwrap();
    let world = World::new(&options(seed), &App::default(), false).unwrap();
    let liar = (0..4).find(|&at| world.is_byzantine(at)).unwrap();
    (started(world), liar)
}

/// The same once everybody runs.
fn running() -> World<Tape> {
    started(world())
}

fn started(mut world: World<Tape>) -> World<Tape> {
    while world.up().len() < world.members.len() {
        assert!(world.step(u64::MAX));
    }
    world
}

fn harm(world: &mut World<Tape>, fault: Fault) {
    world.events.push(Event { at_ns: 0, fault });
    world.harm(world.events.len() - 1);
}

/// Lets what is due until then happen.
fn run_until(world: &mut World<Tape>, now_ns: u64) {
    while world.now_ns < now_ns {
        assert!(world.step(u64::MAX));
    }
}

/// Lets what is due happen until this holds.
fn wait_for(world: &mut World<Tape>, holds: impl Fn(&World<Tape>) -> bool) {
    let end_ns = world.now_ns + 10_000 * MS;
    while !holds(world) {
        assert!(world.now_ns < end_ns, "not within ten seconds");
        assert!(world.step(u64::MAX));
    }
}

fn height(world: &World<Tape>, at: usize) -> u64 {
    let life = world.members[at].life.as_ref().unwrap();
    life.replica.consensus().delivered().number()
}

/// Where a validator stands, what it says there, and what it has done so far.
fn state(world: &World<Tape>, at: usize) -> String {
    let life = world.members[at].life.as_ref().unwrap();
    let consensus = life.replica.consensus();
    let window = consensus.window();
    let record = consensus.own_record(window);
    format!("{window:?} {record:?} {:?}", consensus.counters())
}

/// Faults that do something at once, and what they count as.
fn faults() -> Vec<(Fault, &'static str)> {
    let (victim, down_ns) = (VICTIM, 10 * MS);
    let again = Again::Kill { after_ns: MS };
    vec![
        (Fault::Kill { victim, down_ns }, "kills"),
        (Fault::LeaderKill { down_ns }, "leader_kills"),
        (Fault::CleanStop { victim, down_ns }, "clean_stops"),
        (
            Fault::Blackout {
                is_power: false,
                down_ns,
            },
            "blackouts",
        ),
        (
            Fault::Power {
                victim,
                steps: 0,
                down_ns,
            },
            "power_cuts",
        ),
        (
            Fault::Pause {
                victim,
                pause_ns: MS,
            },
            "pauses",
        ),
        (
            Fault::Slow {
                victim,
                factor: 3,
                slow_ns: MS,
            },
            "slow_spells",
        ),
        (Fault::LostDisk { victim, down_ns }, "lost_disks"),
        // Its second death counts, which comes later.
        (
            Fault::CrashTwice {
                victim,
                down_ns,
                again,
            },
            "",
        ),
        (Fault::SyncFailure { victim, down_ns }, ""),
    ]
}

#[test]
fn a_fault_counts_once_when_it_hits_somebody_and_not_when_nobody_runs() {
    for (fault, name) in faults() {
        let mut world = world();
        harm(&mut world, fault.clone());
        assert_eq!(world.faults, FaultCounts::default(), "{fault:?} of nobody");
        let mut world = running();
        harm(&mut world, fault.clone());
        let counted = world.faults.each().filter(|(_, count)| *count > 0);
        let counted: Vec<_> = counted.collect();
        let expected: Vec<_> = [(name, 1)]
            .into_iter()
            .filter(|(name, _)| !name.is_empty())
            .collect();
        assert_eq!(counted, expected, "{fault:?}");
    }
}

/// What of this has happened to an honest validator, and what to a Byzantine one.
fn counted(world: &World<Tape>, names: &[&'static str]) -> [Vec<&'static str>; 2] {
    let counts = &world.troupe.counts;
    let both = [
        (&world.reached, &world.faults),
        (&counts.reached, &counts.faults),
    ];
    both.map(|(reached, faults)| {
        let missing = reached.missing(faults, Scenario::Mixed, &Byzantine::default());
        let is_counted = |name: &&&str| !missing.contains(*name);
        names.iter().filter(is_counted).copied().collect()
    })
}

#[test]
fn what_a_byzantine_validator_alone_goes_through_counts_for_no_honest_one() {
    let names = [
        "r11_lease_restored",
        "r12_abstains",
        "r12_votes_again",
        "r13_recovered",
        "r13_votes_again",
        "lost_disks",
        "restarts",
        "kills",
    ];
    let see = |of_liar: bool| {
        let (mut world, liar) = world_beside_a_liar();
        let victim = if of_liar { liar } else { (liar + 1) % 4 };
        let down_ns = 10 * MS;
        harm(&mut world, Fault::LostDisk { victim, down_ns });
        let recovers = |world: &World<Tape>| {
            let life = world.members[victim].life.as_ref();
            life.is_some_and(|life| {
                let consensus = life.replica.consensus();
                consensus.counters().recoveries > 0 && consensus.is_voting()
            })
        };
        wait_for(&mut world, recovers);
        harm(&mut world, Fault::Kill { victim, down_ns });
        wait_for(&mut world, |world| world.members[victim].life.is_some());
        counted(&world, &names)
    };
    assert_eq!(see(true), [vec![], names.to_vec()]);
    assert_eq!(see(false), [names.to_vec(), vec![]]);
}

#[test]
fn a_blackout_that_takes_only_a_byzantine_validator_counts_for_no_honest_one() {
    let see = |honest_too: bool| {
        let (mut world, liar) = world_beside_a_liar();
        let down_ns = 100 * MS;
        for victim in (0..4).filter(|&at| at != liar && !(honest_too && at == (liar + 1) % 4)) {
            harm(&mut world, Fault::Kill { victim, down_ns });
        }
        let is_power = false;
        let before = world.faults.blackouts;
        harm(&mut world, Fault::Blackout { is_power, down_ns });
        world.faults.blackouts - before
    };
    assert_eq!(see(false), 0);
    assert_eq!(see(true), 1);
}

#[test]
fn a_link_of_a_byzantine_validator_counts_for_no_honest_one() {
    let see = |of_liar: bool| {
        let (mut world, liar) = world_beside_a_liar();
        let (one, other) = if of_liar {
            (liar, (liar + 1) % 4)
        } else {
            ((liar + 2) % 4, (liar + 1) % 4)
        };
        let is_connected = |world: &World<Tape>| world.network.connection(one, other).is_some();
        wait_for(&mut world, is_connected);
        let links = vec![(one, other)];
        let clogged = links.clone();
        harm(&mut world, Fault::Reset { one, other });
        harm(
            &mut world,
            Fault::Cut {
                links,
                breaks: false,
                cut_ns: MS,
            },
        );
        harm(
            &mut world,
            Fault::Clog {
                links: clogged,
                clog_ns: MS,
            },
        );
        counted(&world, &NAMES_OF_LINKS)
    };
    assert_eq!(see(true), [vec![], NAMES_OF_LINKS.to_vec()]);
    assert_eq!(see(false), [NAMES_OF_LINKS.to_vec(), vec![]]);
}

#[test]
fn who_is_killed_is_down_for_its_time_and_comes_back() {
    let mut world = running();
    let down_ns = 50 * MS;
    let victim = VICTIM;
    harm(&mut world, Fault::Kill { victim, down_ns });
    let until_ns = world.now_ns + down_ns;
    assert!(world.members[victim].life.is_none());
    wait_for(&mut world, |world| world.members[victim].life.is_some());
    assert_eq!(world.now_ns, until_ns);
    assert_eq!((world.faults.kills, world.faults.restarts), (1, 1));
}

#[test]
fn a_sync_that_is_to_fail_ends_its_process_and_is_no_surprise() {
    let mut world = running();
    let fault = Fault::SyncFailure {
        victim: VICTIM,
        down_ns: 10 * MS,
    };
    harm(&mut world, fault);
    wait_for(&mut world, |world| world.faults.sync_failures > 0);
    assert!(world.members[VICTIM].life.is_none());
    wait_for(&mut world, |world| world.up().len() == world.members.len());
    assert_eq!(world.members[VICTIM].lives, 2);
    assert_eq!(world.faults.sync_failures, 1);
    assert_eq!(world.checks.finish(), []);
}

#[test]
fn who_is_paused_does_nothing_meanwhile_and_catches_up_after() {
    let mut world = running();
    wait_for(&mut world, |world| height(world, VICTIM) > 5);
    let before = state(&world, VICTIM);
    let (from, begun_ns) = (height(&world, VICTIM), world.now_ns);
    let fault = Fault::Pause {
        victim: VICTIM,
        pause_ns: 400 * MS,
    };
    harm(&mut world, fault);
    run_until(&mut world, begun_ns + 390 * MS);
    assert!(world.now_ns < begun_ns + 400 * MS);
    // Its timers have run out long ago, and others have gone on without it.
    assert_eq!(state(&world, VICTIM), before);
    let others = height(&world, 0);
    assert!(others > from + 5, "{others} after {from}");
    wait_for(&mut world, |world| height(world, VICTIM) >= others);
    assert!(world.now_ns >= begun_ns + 400 * MS);
    assert_eq!(world.members[VICTIM].lives, 1);
    assert_eq!(world.checks.finish(), []);
}

#[test]
fn whose_disk_is_full_does_not_end_for_it_and_catches_up() {
    let mut world = running();
    let fault = Fault::FullDisk {
        victim: VICTIM,
        full_ns: 400 * MS,
    };
    harm(&mut world, fault);
    // It has felt it, and there is room again.
    wait_for(&mut world, |world| world.faults.full_disks > 0);
    assert!(!world.members[VICTIM].disk.is_full());
    let others = height(&world, 0);
    wait_for(&mut world, |world| height(world, VICTIM) >= others);
    assert_eq!(world.members[VICTIM].lives, 1);
    assert_eq!(world.checks.finish(), []);
}

#[test]
fn whoever_may_have_lost_what_it_said_is_to_be_silent_up_to_there() {
    let (victim, down_ns, steps) = (VICTIM, 10 * MS, 0);
    let power = Fault::Power {
        victim,
        steps,
        down_ns,
    };
    let kill = Fault::Kill { victim, down_ns };
    let lost = Fault::LostDisk { victim, down_ns };
    let syncs: fn(&Plan) -> bool = |plan| plan.durability == Durability::Sync;
    let flushes: fn(&Plan) -> bool = |plan| plan.durability == Durability::Async;
    for (is_async, is_fit) in [(false, syncs), (true, flushes)] {
        let silent = |fault: &Fault| {
            let mut world = started(world_of(is_fit));
            wait_for(&mut world, |world| height(world, VICTIM) > 5);
            let lease = world.members[VICTIM].disk.durable_lease().unwrap().lease;
            assert!(world.members[VICTIM].silent_until.is_none() && lease.is_some());
            harm(&mut world, fault.clone());
            let until = world.members[VICTIM].silent_until;
            wait_for(&mut world, |world| world.members[VICTIM].life.is_some());
            let others = height(&world, 0) + 5;
            wait_for(&mut world, |world| height(world, VICTIM) >= others);
            let last = world.checks.records.last(VICTIM);
            assert_eq!(world.checks.finish(), [], "{fault:?}");
            (until, lease, last)
        };
        assert_eq!(silent(&kill).0, None);
        let (until, lease, _) = silent(&power);
        assert_eq!(until, lease.filter(|_| is_async));
        let (until, lease, last) = silent(&lost);
        assert!(
            until.is_some() && until <= lease && until <= last,
            "{until:?} {lease:?}"
        );
    }
}

#[test]
fn whoever_made_a_block_before_it_lost_its_disk_is_to_be_silent_up_to_its_window() {
    let mut world = started(world_of(|plan| plan.durability == Durability::Sync));
    let made = |world: &World<Tape>| {
        let own = world.validator(VICTIM);
        let proposals = &world.checks.proposals;
        proposals.last(|window| world.set.leader(window) == own)
    };
    // The vote for it waits for the disk.
    wait_for(&mut world, |world| {
        made(world) > world.checks.records.last(VICTIM)
    });
    let window = made(&world);
    world.lose_disk(VICTIM, MS);
    assert_eq!(world.members[VICTIM].silent_until, window);
}

#[test]
fn what_was_said_in_a_life_before_goes_with_the_power_too() {
    let is_async: fn(&Plan) -> bool = |plan| plan.durability == Durability::Async;
    let silent = |end: fn(&mut World<Tape>)| {
        let mut world = started(world_of(is_async));
        wait_for(&mut world, |world| height(world, VICTIM) > 5);
        let lease = world.members[VICTIM].disk.durable_lease().unwrap().lease;
        end(&mut world);
        wait_for(&mut world, |world| world.members[VICTIM].life.is_some());
        let others = height(&world, 0) + 5;
        wait_for(&mut world, |world| height(world, VICTIM) >= others);
        assert_eq!(world.checks.finish(), []);
        (world.members[VICTIM].silent_until, lease)
    };
    let (until, lease) = silent(|world| {
        let again = Again::Power { steps: 2 };
        let (victim, down_ns) = (VICTIM, MS);
        let fault = Fault::CrashTwice {
            victim,
            down_ns,
            again,
        };
        harm(world, fault);
        wait_for(world, |world| world.faults.crashes_in_recovery > 0);
    });
    assert!(until == lease && until.is_some(), "in a start after a kill");
    let (until, lease) = silent(|world| {
        assert!(world.die(VICTIM, Ending::Process, 10 * MS));
        world.end_life(VICTIM, Ending::Power);
    });
    assert!(until == lease && until.is_some(), "between two lives");
    let (until, lease) = silent(|world| {
        world.members[VICTIM].disk.power_off_after(0);
        world.end_stop(VICTIM, 10 * MS);
    });
    assert!(until == lease && until.is_some(), "in a stop");
    let (until, _) = silent(|world| {
        assert!(world.stop(VICTIM, 10 * MS));
        wait_for(world, |world| world.members[VICTIM].life.is_none());
        world.end_life(VICTIM, Ending::Power);
    });
    assert_eq!(until, None, "after a stop in good order");
}
