//! What a run is: drawn from its seed before anything happens.
//!
//! Owns the choice of stakes, thresholds, windows, durability, timers and signatures, and who may
//! be harmed how (the budget of faults that the protocol promises to survive). Never: when
//! anything happens (schedule).

use std::sync::Arc;

use quorate_consensus::machine::{Durability, TimerConfig};
use quorate_consensus::thresholds::{Thresholds, default_fault, default_slack};
use quorate_consensus::types::{Epoch, Stake};
use quorate_consensus::validators::{SetParameters, Validator, ValidatorSet};

use crate::byzantine::{ActorName, Byzantine, Cast};
use crate::dice::Dice;
use crate::keyring::{Scheme, WorldKey};
use crate::script::Scenario;

/// The bytes that stand for a genesis file in every simulated log.
pub(crate) const GENESIS: &[u8] = b"{\"genesis\": \"simulated\"}";
/// Wall time at the start of every run; within the life of an opening with number 1, with which all
/// sessions here begin.
pub(crate) const WALL_START_NS: u64 = 10_000_000_000;
/// How long leaders hold back, where they do.
const HOLD_NS: u64 = 2 * MS;
/// Time of the block before all others.
pub(crate) const GENESIS_TIME_NS: u64 = WALL_START_NS - 1_000 * MS;
/// So many of a hundred runs with everything have a chain that goes on from another one.
const BEGINS_PERCENT: u64 = 12;
/// After which height: not below the commands of the chain before, where 16 and 32 bits end on the
/// way, and the highest one that a genesis may name.
pub(crate) const BEGINS_AFTER: [u64; 6] = [
    16,
    700,
    u16::MAX as u64 - 3,
    u32::MAX as u64 - 3,
    1 << 53,
    u64::MAX / 2,
];
/// So many of a hundred runs with everything have a chain whose commands are signed.
const SIGNED_PERCENT: u64 = 15;
/// So many of a hundred runs with everything have disks that rot, and a scrubber.
const ROT_PERCENT: u64 = 15;
/// In so many of a hundred runs with everything clients close their sessions and open them anew.
const VISITS_PERCENT: u64 = 25;
/// In so many of a hundred runs with everything some of the slow validators are behind with
/// execution while they are slow.
const LATE_PERCENT: u64 = 50;
/// In so many of a hundred calm runs some validators never lead.
const FOLLOWERS_PERCENT: u64 = 50;
/// Seeds that tests have for a fault that they once found: they go on drawing what they drew then,
/// without what runs came to have since.
pub(crate) const PINNED_SEEDS: [u64; 17] = [
    4, 14, 24, 26, 32, 47, 52, 65, 160, 1_064, 5_044, 5_145, 20_025, 20_160, 20_394, 41_214, 50_052,
];
/// So many of a hundred runs that name a false witness have somebody honest who has to ask it.
const LOSS_PERCENT: u64 = 50;
/// 3F + 2P + 1 and one more, with F and P of 1: of fewer C is 0.
const LOSS_VALIDATORS_MIN: usize = 7;
/// One seed in so many uses real signatures.
const REAL_SIGNATURES_EVERY: u64 = 50;
/// One seed in so many with a censor has turns long enough for T_turn (protocol.md 2.6).
const LONG_TURNS_EVERY: u64 = 64;
/// So much longer do faults go on then.
const LONG_TURNS_NS: u64 = 20_000 * MS;
/// A progress timer doubles once a turn, and so often at most (protocol.md 2.7).
const BACK_OFF_TURNS: u64 = 9;
/// A peer that was asked has so many T_retx to answer before another one is asked.
const ASK_PERIODS: u64 = 4;
/// The largest stake of a validator in a run with uneven stakes.
const STAKE_MAX: u64 = 9;

/// Few payloads are kept in memory, so that peers are served from the log too.
const CACHE_BYTES_SMALL: usize = 4 * 1024;
/// What is delivered soon is still in memory.
const CACHE_BYTES_LARGE: usize = 1024 * 1024;

const US: u64 = 1_000;
const MS: u64 = 1_000_000;

/// Which run it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunOptions {
    /// Everything that is drawn is drawn from this.
    pub seed: u64,
    /// How many validators, 4 to 64.
    pub validators: u16,
    /// Which faults.
    pub scenario: Scenario,
    /// Which Byzantine validators.
    pub byzantine: Byzantine,
}

impl Default for RunOptions {
    /// Seed 0 of four validators under everything, all of them honest.
    fn default() -> Self {
        Self {
            seed: 0,
            validators: 4,
            scenario: Scenario::Mixed,
            byzantine: Byzantine::default(),
        }
    }
}

/// How fast clients make commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pace {
    /// Between two commands of a client, typical: so many units, drawn for each within this range.
    pub(crate) interval_units: (u64, u64),
    /// The unit.
    pub(crate) unit_ns: u64,
    /// Commands of one client that are not answered yet, at most.
    pub(crate) in_flight_max: usize,
}

/// Time for timers to be waited for between commands.
const LEISURELY: Pace = Pace {
    interval_units: (1, 12),
    unit_ns: MS,
    in_flight_max: 8,
};

/// More commands than blocks can be made.
const HASTY: Pace = Pace {
    interval_units: (80, 160),
    unit_ns: US,
    in_flight_max: 64,
};

/// The fixed part of a run.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) stakes: Vec<u64>,
    pub(crate) fault: u64,
    pub(crate) slack: u64,
    pub(crate) window_slots: u32,
    pub(crate) turn_windows: u32,
    pub(crate) durability: Durability,
    pub(crate) timers: TimerConfig,
    pub(crate) scheme: Scheme,
    /// One way over a quiet link, typical.
    pub(crate) wire_ns: u64,
    /// One sync, typical.
    pub(crate) disk_ns: u64,
    /// One batch of signatures, typical.
    pub(crate) verify_ns: u64,
    /// From the first frame in a quiet queue to the turn that looks at it.
    pub(crate) turn_ns: u64,
    /// How long faults go on.
    pub(crate) trouble_ns: u64,
    /// Validators that may lose power or a sync in `async` durability, or a sync in either: they
    /// abstain for a while after and count as faulty. All of them together are within the budget.
    pub(crate) abstainers: Vec<usize>,
    /// Validators whose clocks may be far off: at most weight F, so that none moves time ahead.
    pub(crate) bad_clocks: Vec<usize>,
    /// Bytes of payloads that each validator keeps in memory.
    pub(crate) cache_bytes_max: usize,
    /// How long leaders hold commands back for larger blocks; 0: not at all.
    pub(crate) hold_ns: u64,
    pub(crate) sessions: usize,
    pub(crate) pace: Pace,
    /// Who is Byzantine: at most weight F, and part of the budget of those above.
    pub(crate) cast: Cast,
    /// Whether bits rot on disks, and validators look for it.
    pub(crate) has_rot: bool,
    /// Whether validators take snapshots, prune their logs, and join by snapshots of their peers.
    pub(crate) has_snapshots: bool,
    /// Who may be away for so long that it has to.
    pub(crate) joiners: Vec<usize>,
    /// Who loses its disk beside one that lies to whoever asks what it said.
    pub(crate) loser: Option<usize>,
    /// Whether clients sign their commands, with Ed25519 in any case.
    pub(crate) is_signed: bool,
    /// Whether clients close their sessions now and then and open them anew.
    pub(crate) has_visits: bool,
    /// Those who never lead. Where there are any, clients leave a validator only when it is down:
    /// what those of a follower want becomes final when it hands that on, and not otherwise.
    pub(crate) followers: Vec<usize>,
    /// Whether a validator that computes slowly is behind with execution at times.
    pub(crate) executes_late: bool,
    /// The height of another chain's block that this one goes on from.
    pub(crate) begins: Option<u64>,
}

impl Plan {
    pub(crate) fn draw(options: &RunOptions) -> Self {
        let mut dice = Dice::new(options.seed, "plan");
        let stakes: Vec<u64> = if dice.percent(50) {
            vec![1; usize::from(options.validators)]
        } else {
            let one = |_| dice.between(1, STAKE_MAX);
            (0..options.validators).map(one).collect()
        };
        let (fault, slack) = draw_thresholds(&stakes, &mut dice);
        let durability = dice.one_of(&[Durability::Sync, Durability::Async]);
        let wire_ns = dice.one_of(&[30, 100, 400, 1_500]).unwrap_or(100) * US;
        // Profiles are for networks: that of one hall is not used across a city.
        let timers = match dice.below(4) {
            0 if wire_ns <= 100 * US => TimerConfig::colo(),
            1 => TimerConfig::lan(),
            _ => TimerConfig::laptop(),
        };
        let mut plan = Self {
            fault,
            slack,
            window_slots: dice.one_of(&[1, 2, 3, 8, 64]).unwrap_or(64),
            turn_windows: u32::try_from(dice.between(1, 4)).unwrap_or(4),
            durability: durability.unwrap_or(Durability::Sync),
            timers,
            scheme: if options.seed % REAL_SIGNATURES_EVERY == REAL_SIGNATURES_EVERY - 1 {
                Scheme::Ed25519
            } else {
                Scheme::StandIn
            },
            wire_ns,
            disk_ns: dice.one_of(&[50, 300, 2_000]).unwrap_or(300) * US,
            verify_ns: dice.one_of(&[50, 300]).unwrap_or(50) * US,
            turn_ns: dice.one_of(&[5, 50, 200]).unwrap_or(50) * US,
            trouble_ns: dice.between(150, 900) * MS,
            abstainers: Vec::new(),
            bad_clocks: Vec::new(),
            cache_bytes_max: CACHE_BYTES_SMALL,
            hold_ns: draw_hold_ns(options),
            sessions: 2 + dice.place(3),
            pace: LEISURELY,
            cast: Cast::default(),
            has_rot: draws(options, "rot", ROT_PERCENT),
            has_snapshots: options.scenario == Scenario::Join,
            joiners: Vec::new(),
            loser: None,
            is_signed: draws(options, "signed", SIGNED_PERCENT),
            has_visits: draws(options, "visits", VISITS_PERCENT),
            followers: Vec::new(),
            executes_late: draws(options, "late", LATE_PERCENT),
            begins: draw_begins(options),
            stakes,
        };
        plan.draw_victims(options, &mut dice);
        if options.scenario == Scenario::BlackoutAsync {
            plan.durability = Durability::Async;
        }
        if options.scenario == Scenario::Rush {
            plan.hurry();
        }
        if options.scenario == Scenario::Calm && !plan.cast.is_any() {
            plan.draw_followers(&mut Dice::new(options.seed, "followers"));
        }
        if plan.has_snapshots {
            plan.last_for_joining(options.seed);
        }
        plan
    }

    /// Blocks follow each other as fast as links of one hall and long windows let them.
    fn hurry(&mut self) {
        self.pace = HASTY;
        self.window_slots = 64;
        self.timers = TimerConfig::lan();
        self.cache_bytes_max = CACHE_BYTES_LARGE;
        self.wire_ns = 30 * US;
        self.disk_ns = 300 * US;
        self.verify_ns = 50 * US;
        self.turn_ns = 5 * US;
    }

    /// Trouble is long enough for several snapshots, blocks follow each other fast, and signatures
    /// are real: a certificate of a state is checked by those alone.
    fn last_for_joining(&mut self, seed: u64) {
        let mut dice = Dice::new(seed, "joining");
        self.scheme = Scheme::Ed25519;
        self.trouble_ns = dice.between(2_000, 4_000) * MS;
        self.pace.interval_units = (1, 5);
        self.wire_ns = self.wire_ns.min(400 * US);
        self.disk_ns = self.disk_ns.min(300 * US);
        // One that has the disk of a Byzantine validator owes nobody anything.
        let honest = |place: &usize| !self.cast.is_byzantine(*place);
        self.joiners = self.abstainers.iter().copied().filter(honest).collect();
        if self.joiners.is_empty() {
            self.joiners = (0..self.stakes.len()).filter(honest).collect();
        }
    }

    /// As many as a set admits that never lead, where nobody ever is away.
    fn draw_followers(&mut self, dice: &mut Dice) {
        let Some(thresholds) = self.thresholds() else {
            return;
        };
        if !dice.percent(FOLLOWERS_PERCENT) {
            return;
        }
        let faulty = thresholds.fault.plus(thresholds.crash).amount();
        let total: u64 = self.stakes.iter().sum();
        let order = shuffled(self.stakes.len(), dice);
        // Those who lead weigh more than may be faulty and away together.
        self.followers = self.within(total.saturating_sub(faulty + 1), &order);
    }

    fn draw_victims(&mut self, options: &RunOptions, dice: &mut Dice) {
        let mut order = shuffled(self.stakes.len(), dice);
        let mut request = options.byzantine;
        request.is_drawn |= options.scenario == Scenario::Byzantine;
        if request.is_any() {
            self.make_room_for_one();
        }
        let has_loss = self.draws_loss(options);
        if has_loss {
            self.make_room_for_a_loss();
        }
        self.cast = Cast::draw(&request, &order, &self.stakes, self.fault, options.seed);
        if self.is_signed && options.scenario == Scenario::Byzantine {
            self.cast.add_forger();
        }
        self.is_signed |= self.cast.has(ActorName::Forger);
        if self.cast.has(ActorName::Censor) && options.seed.is_multiple_of(LONG_TURNS_EVERY) {
            self.lengthen_turns();
        }
        // Whoever is Byzantine comes first in either budget, and takes its share of both.
        order.sort_by_key(|&place| !self.cast.is_byzantine(place));
        let crash = self.thresholds().map_or(0, |found| found.crash.amount());
        self.abstainers = self.within(self.fault + crash, &order);
        let mut honest = self.abstainers.iter().copied();
        let loser = honest.find(|&place| !self.cast.is_byzantine(place));
        self.loser = loser.filter(|_| has_loss);
        self.bad_clocks = if self.cast.is_any() {
            self.within(self.fault, &self.abstainers)
        } else {
            self.within(self.fault, &order)
        };
    }

    /// Turns of several seconds, in which a command that is left out comes to be old.
    fn lengthen_turns(&mut self) {
        self.window_slots = 64;
        self.turn_windows = 16;
        self.wire_ns = self.wire_ns.min(100 * US);
        self.timers = TimerConfig::colo();
        self.trouble_ns += LONG_TURNS_NS;
        self.pace.unit_ns *= 4;
    }

    /// Where no validator is small enough to be Byzantine, all are made equal.
    fn make_room_for_one(&mut self) {
        if self.stakes.iter().any(|&stake| stake <= self.fault) {
            return;
        }
        self.stakes.fill(1);
        let weights: Vec<Stake> = self.stakes.iter().copied().map(Stake::new).collect();
        let total = Stake::new(self.stakes.iter().sum());
        let fault = default_fault(&weights);
        self.fault = fault.amount();
        self.slack = default_slack(total, fault).amount();
    }

    /// Whether somebody honest is to lose its disk beside a false witness: in a share of the runs
    /// that name one and have enough validators for both.
    fn draws_loss(&self, options: &RunOptions) -> bool {
        let is_named = options
            .byzantine
            .actors
            .contains(&Some(ActorName::FenceLiar));
        is_named
            && options.scenario.loses_disks()
            && self.stakes.len() >= LOSS_VALIDATORS_MIN
            && Dice::new(options.seed, "loss beside a liar").percent(LOSS_PERCENT)
    }

    /// All are made equal, and of F + C one may be Byzantine and another one abstain.
    fn make_room_for_a_loss(&mut self) {
        self.stakes.fill(1);
        self.fault = 1;
        self.slack = 1;
    }

    /// The first of `order` that together weigh no more than `budget`.
    fn within(&self, budget: u64, order: &[usize]) -> Vec<usize> {
        let mut left = budget;
        let mut chosen = Vec::new();
        for &place in order {
            if let Some(rest) = left.checked_sub(self.stakes[place]) {
                left = rest;
                chosen.push(place);
            }
        }
        chosen
    }

    fn thresholds(&self) -> Option<Thresholds> {
        let total = Stake::new(self.stakes.iter().sum());
        Thresholds::new(total, Stake::new(self.fault), Stake::new(self.slack)).ok()
    }

    /// After healing so many windows may be given up, and so many nanoseconds pass, without a final
    /// block: each validator's turn twice, since its lease can keep it from proposing in the first
    /// one, and those turns by which the progress timers of all come to be long enough; and the
    /// time in which what is missing can be asked of every peer once.
    pub(crate) fn progress_bound(&self) -> (u64, u64) {
        let validators = self.stakes.len() as u64;
        let turns = 2 * (validators + 1) + BACK_OFF_TURNS;
        let retry_ns = ASK_PERIODS * self.timers.retransmit_ns;
        (u64::from(self.turn_windows) * turns, validators * retry_ns)
    }

    /// The validator set of the run.
    ///
    /// # Errors
    /// The plan is not one that a set admits: an error of this program.
    pub(crate) fn set(&self, keys: &[WorldKey]) -> Result<Arc<ValidatorSet>, String> {
        let member = |(place, (key, &stake)): (usize, (&WorldKey, &u64))| {
            let leads = !self.followers.contains(&place);
            let validator = Validator::new(key.public(), Stake::new(stake));
            Validator {
                leader_weight: if leads { validator.leader_weight } else { 0 },
                ..validator
            }
        };
        let members = keys.iter().zip(&self.stakes).enumerate();
        let members = members.map(member).collect();
        let parameters = SetParameters {
            chain_id: [1; 32],
            genesis_hash: *blake3::hash(GENESIS).as_bytes(),
            epoch: Epoch::ZERO,
            fault: Stake::new(self.fault),
            slack: Stake::new(self.slack),
            window_slots: self.window_slots,
            turn_windows: self.turn_windows,
            crash_only: self.fault == 0,
            genesis_time_ns: GENESIS_TIME_NS,
        };
        ValidatorSet::new(parameters, members)
            .map(Arc::new)
            .map_err(|error| format!("no validator set: {error}"))
    }

    /// The plan in a few words, for whoever replays it.
    pub(crate) fn describe(&self) -> String {
        format!(
            "stakes {:?} F {} P {} W {} R {} {:?} {:?} wire {} us disk {} us trouble {} ms \
             abstainers {:?} byzantine [{}] signed {} visits {} followers {:?} begins after {}",
            self.stakes,
            self.fault,
            self.slack,
            self.window_slots,
            self.turn_windows,
            self.durability,
            self.scheme,
            self.wire_ns / US,
            self.disk_ns / US,
            self.trouble_ns / MS,
            self.abstainers,
            self.cast.describe(),
            self.is_signed,
            self.has_visits,
            self.followers,
            self.begins.unwrap_or(0),
        )
    }
}

/// In half of the runs leaders hold back, from a stream of its own; never where each command is to
/// have a block.
fn draw_hold_ns(options: &RunOptions) -> u64 {
    let holds = Dice::new(options.seed, "hold").percent(50);
    let is_free = options.scenario == Scenario::Rush || PINNED_SEEDS.contains(&options.seed);
    if holds && !is_free { HOLD_NS } else { 0 }
}

/// Whether a run has what only a share of those with everything has. Each from a stream of its
/// own, so that all else is drawn as it was before there was such a thing.
fn draws(options: &RunOptions, name: &str, percent: u64) -> bool {
    options.scenario.has_everything()
        && Dice::new(options.seed, name).percent(percent)
        && !PINNED_SEEDS.contains(&options.seed)
}

/// Where the chain begins.
fn draw_begins(options: &RunOptions) -> Option<u64> {
    let height = Dice::new(options.seed, "begins after").one_of(&BEGINS_AFTER);
    height.filter(|_| draws(options, "begins", BEGINS_PERCENT))
}

/// F and P: the defaults in half of the runs, any admissible choice with F > 0 in the others.
fn draw_thresholds(stakes: &[u64], dice: &mut Dice) -> (u64, u64) {
    let weights: Vec<Stake> = stakes.iter().copied().map(Stake::new).collect();
    let total: u64 = stakes.iter().sum();
    let fault = if dice.percent(50) {
        default_fault(&weights).amount()
    } else {
        dice.between(1, ((total - 1) / 3).max(1))
    };
    let slack_max = default_slack(Stake::new(total), Stake::new(fault)).amount();
    let slack = if dice.percent(50) {
        slack_max
    } else {
        dice.between(0, slack_max)
    };
    (fault, slack)
}

fn shuffled(len: usize, dice: &mut Dice) -> Vec<usize> {
    let mut order: Vec<usize> = (0..len).collect();
    for last in (1..len).rev() {
        order.swap(last, dice.place(last + 1));
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyring::Keyring;
    use crate::run::run;

    fn plans() -> impl Iterator<Item = Plan> {
        (0..300).map(|seed| {
            let validators = [4, 5, 6, 7, 10][usize::try_from(seed % 5).unwrap()];
            let scenario = Scenario::Mixed;
            Plan::draw(&RunOptions {
                seed,
                validators,
                scenario,
                byzantine: Byzantine::default(),
            })
        })
    }

    #[test]
    fn the_same_seed_does_the_same_twice_whatever_only_a_share_of_runs_has() {
        let has: [fn(&Plan) -> bool; 5] = [
            |plan| plan.begins.is_some(),
            |plan| plan.is_signed,
            |plan| plan.has_rot,
            |plan| plan.has_visits,
            |plan| plan.executes_late,
        ];
        for has in has {
            let mut all = (0..).map(|seed| RunOptions {
                seed,
                ..RunOptions::default()
            });
            let options = all.find(|options| has(&Plan::draw(options))).unwrap();
            assert_eq!(run(&options, false), run(&options, false), "{options:?}");
        }
    }

    #[test]
    fn a_share_of_the_runs_with_everything_has_each_thing_and_no_seed_of_an_older_find() {
        let count = |has: fn(&Plan) -> bool| plans().filter(has).count();
        assert!(count(|plan| plan.begins.is_some()) > 15);
        assert!(count(|plan| plan.is_signed) > 15);
        assert!(count(|plan| plan.has_rot) > 15);
        assert!(count(|plan| plan.has_visits) > 30);
        for seed in PINNED_SEEDS {
            let plan = Plan::draw(&RunOptions {
                seed,
                ..RunOptions::default()
            });
            assert!(plan.begins.is_none() && !plan.is_signed);
            assert!(!plan.has_rot && !plan.has_visits && !plan.executes_late);
        }
    }

    #[test]
    fn a_share_of_the_runs_with_a_false_witness_has_an_honest_one_that_loses_its_disk() {
        let drawn = |validators| {
            (0..100).map(move |seed| RunOptions {
                seed,
                validators,
                scenario: Scenario::Mixed,
                byzantine: Byzantine {
                    actors: [Some(ActorName::FenceLiar), None],
                    ..Byzantine::default()
                },
            })
        };
        for validators in [7, 10] {
            let plans: Vec<Plan> = drawn(validators).map(|one| Plan::draw(&one)).collect();
            let losers = plans.iter().filter(|plan| plan.loser.is_some());
            assert!((25..75).contains(&losers.clone().count()));
            for plan in losers {
                let found = plan.thresholds().unwrap();
                assert_eq!((found.fault.amount(), found.crash.amount()), (1, 1));
                let loser = plan.loser.unwrap();
                assert!(!plan.cast.is_byzantine(loser) && plan.abstainers.contains(&loser));
                assert!(plan.cast.has(ActorName::FenceLiar));
            }
        }
        let mut few = drawn(6).map(|one| Plan::draw(&one));
        assert!(few.all(|plan| plan.loser.is_none()));
    }

    #[test]
    fn every_plan_is_one_that_a_set_admits() {
        for plan in plans().chain(calm_plans()) {
            let ring = Keyring::new(u16::try_from(plan.stakes.len()).unwrap(), plan.scheme);
            let set = plan.set(ring.keys()).unwrap();
            for place in 0..plan.stakes.len() {
                let mut seats = set.schedule().seats().iter();
                let leads = seats.any(|seat| seat.place() == place);
                assert_eq!(leads, !plan.followers.contains(&place));
            }
        }
    }

    fn calm_plans() -> impl Iterator<Item = Plan> {
        (0..100).map(|seed| {
            Plan::draw(&RunOptions {
                seed,
                validators: [4, 7][usize::try_from(seed % 2).unwrap()],
                scenario: Scenario::Calm,
                byzantine: Byzantine::default(),
            })
        })
    }

    #[test]
    fn in_a_share_of_the_calm_runs_some_never_lead_and_in_no_others() {
        let count = calm_plans().filter(|plan| !plan.followers.is_empty());
        assert!((25..75).contains(&count.count()));
        assert!(plans().all(|plan| plan.followers.is_empty()));
    }

    #[test]
    fn those_that_may_be_faulty_at_once_are_within_the_budget() {
        for plan in plans() {
            let found = plan.thresholds().unwrap();
            let weight =
                |places: &[usize]| places.iter().map(|&place| plan.stakes[place]).sum::<u64>();
            assert!(weight(&plan.bad_clocks) <= plan.fault);
            assert!(weight(&plan.abstainers) <= plan.fault + found.crash.amount());
        }
    }
}
