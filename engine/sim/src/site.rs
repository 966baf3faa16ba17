//! The loss of a whole site: all power goes at about one moment, soon after somebody honest has
//! called a height durable (protocol.md 3, "Durable finality").
//!
//! Owns when that happens, the reading of the disks before anybody starts again, and the look at
//! what everybody has after. In `async` durability all of them abstain then, so nothing more
//! becomes final: that run is over once it was judged. Never: another fault besides, or a judgement
//! of its own (`checks::durable`).

use std::collections::BTreeMap;

use quorate::state_machine::StateMachine;

use crate::checks::certificates::is_final;
use crate::checks::durable::Share;
use crate::checks::held::Held;
use crate::checks::{Checks, Violation};
use crate::dice::Dice;
use crate::disk::Ending;
use crate::plan::Plan;
use crate::queue::Due;
use crate::script::Scenario;
use crate::world::{MS, START_NS, US, World};

/// Power goes everywhere within so long of the word that a height is durable.
const WITHIN_NS: u64 = MS;
/// Not before this is the word waited for.
const QUIET_NS: u64 = 40 * MS;
/// Machines are on again within so long.
const DOWN_MAX_NS: u64 = 50 * MS;
/// So long after the loss everybody has started, and had time to say something wrong.
const AFTER_NS: u64 = 400 * MS;

/// How far it has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Nothing of it before this time.
    Before { from_ns: u64 },
    /// Power goes, machine by machine; none comes back.
    Dark,
    /// They start again. This height was durable.
    After { told: u64 },
    /// All is judged.
    Over,
}

/// A site that is going to be lost.
#[derive(Debug)]
pub(crate) struct Site {
    phase: Phase,
    dice: Dice,
    /// How far each validator that has started after the loss could show the chain then.
    started: BTreeMap<usize, u64>,
    /// The highest height that each validator has announced as flushed, those who overstate it by
    /// what their replicas said.
    flushed: BTreeMap<usize, u64>,
}

impl Site {
    /// Of a run in which it happens.
    pub(crate) fn of(scenario: Scenario, plan: &Plan, seed: u64) -> Option<Self> {
        let mut dice = Dice::new(seed, "site");
        let from_ns = START_NS + dice.between(QUIET_NS, plan.trouble_ns);
        let phase = Phase::Before { from_ns };
        (scenario == Scenario::BlackoutAsync).then_some(Self {
            phase,
            dice,
            started: BTreeMap::new(),
            flushed: BTreeMap::new(),
        })
    }

    /// Whether power is gone, or going.
    pub(crate) fn is_dark(&self) -> bool {
        self.phase == Phase::Dark
    }

    /// Whether it has happened, so that nothing else goes wrong and nothing is promised any more.
    pub(crate) fn is_lost(&self) -> bool {
        !matches!(self.phase, Phase::Before { .. })
    }

    /// Whether all is judged.
    pub(crate) fn is_over(&self) -> bool {
        self.phase == Phase::Over
    }
}

impl<S: StateMachine> World<S> {
    /// The replica of a validator announces that it has flushed everything up to a height.
    pub(crate) fn note_flushed(&mut self, at: usize, height: u64) {
        if let Some(site) = self.site.as_mut() {
            let highest = site.flushed.entry(at).or_default();
            *highest = height.max(*highest);
        }
    }

    /// Whether less than 2F + 1 has announced the height by what is true, whatever came of that on
    /// its way: without a lie `at` would not call it durable yet.
    fn is_durable_by_a_lie(&self, at: usize, height: u64) -> bool {
        let Some(site) = &self.site else {
            return false;
        };
        let has = |place: usize| site.flushed.get(&place).is_some_and(|&to| to >= height);
        let places = (0..self.plan.stakes.len()).filter(|&place| place == at || has(place));
        let weight: u64 = places.map(|place| self.plan.stakes[place]).sum();
        weight <= 2 * self.plan.fault
    }

    /// Somebody honest calls a height durable.
    pub(crate) fn see_durable(&mut self, at: usize, height: u64) {
        self.checks.durable.tell(height);
        let (now_ns, places) = (self.now_ns, self.members.len());
        let Some(site) = self.site.as_mut() else {
            return;
        };
        if !matches!(site.phase, Phase::Before { from_ns } if now_ns >= from_ns) {
            return;
        }
        site.phase = Phase::Dark;
        let by_a_lie = self.is_durable_by_a_lie(at, height);
        self.reached
            .note("site_durable_by_a_lie", u64::from(by_a_lie));
        // Before chance keeps some of what is not synced.
        self.judge_disks();
        let Some(site) = self.site.as_mut() else {
            return;
        };
        // At one moment, at about one, or as the power of a hall goes.
        let spread_ns = site.dice.one_of(&[1, 100 * US, WITHIN_NS]).unwrap_or(1);
        let delays: Vec<u64> = (0..places).map(|_| site.dice.below(spread_ns)).collect();
        for (at, delay_ns) in delays.into_iter().enumerate() {
            self.schedule(delay_ns, Due::Dark { at });
        }
        self.schedule(spread_ns, Due::ReadDisks);
    }

    /// A machine loses its power, whether a process runs on it or not.
    pub(crate) fn go_dark(&mut self, at: usize) {
        self.end_life(at, Ending::Power);
    }

    /// Nobody has power, and nobody has started again: what is on the disks is all there is.
    pub(crate) fn read_disks(&mut self) {
        self.reached.note("site_lost", 1);
        let told = self.checks.durable.told();
        let shares = self.judge_disks();
        let best = shares.iter().filter_map(|share| share.height).max();
        let lacks = |share: &&Share| share.height.is_some_and(|height| height < told);
        let lacking = shares.iter().filter(lacks).count() as u64;
        let is_more_lost = best.is_some_and(|best| best < self.checks.chain.height());
        self.reached.note("site_durable_not_on_every_disk", lacking);
        self.reached
            .note("site_final_on_no_disk", u64::from(is_more_lost));
        self.trace.tell(
            self.now_ns,
            format_args!("the site is lost, {told} was durable: {shares:?}"),
        );
        let Some(site) = self.site.as_mut() else {
            return;
        };
        site.phase = Phase::After { told };
        let places = 0..self.members.len();
        let delays: Vec<u64> = places.map(|_| site.dice.below(DOWN_MAX_NS)).collect();
        for (at, delay_ns) in delays.into_iter().enumerate() {
            self.schedule(delay_ns, Due::Start { at });
        }
        self.schedule(AFTER_NS, Due::SiteEnds);
    }

    /// What would be left of everything if all power went now, and nothing survived that was not
    /// synced.
    fn judge_disks(&mut self) -> Vec<Share> {
        let validators = 0..self.plan.stakes.len();
        let shares: Vec<Share> = validators.map(|at| self.share_of_disk(at)).collect();
        let told = self.checks.durable.told();
        let outcome = self.checks.durable.judge("disks", told, &shares);
        self.checks.take(outcome);
        shares
    }

    /// What the disk of a validator has, every proof of it judged.
    fn share_of_disk(&mut self, at: usize) -> Share {
        let stake = self.plan.stakes[at];
        if self.is_byzantine(at) {
            return Share {
                stake,
                height: None,
            };
        }
        let held = Held::read(&self.members[at].disk.durable_segments());
        for (point, proof) in &held.proofs {
            self.watch_certificate(at, proof);
            if !is_final(proof, point) {
                let what = format!("v{at} has for a proof of {point:?} on its disk: {proof:?}");
                self.checks.take(Err(Violation::new("durable", what)));
            }
        }
        let Checks { chain, .. } = &self.checks;
        let (height, id) = held.provable(chain.begin());
        if chain.block(height).is_some_and(|known| known != id) {
            let what = format!("v{at} has a proof of {id:?} at {height}, which is not final");
            self.checks.take(Err(Violation::new("durable", what)));
        }
        Share {
            stake,
            height: Some(height),
        }
    }

    /// A validator has started, from what is on its disk and nothing else.
    pub(crate) fn see_site_start(&mut self, at: usize) {
        let life = self.members[at].life.as_ref();
        let Some((life, site)) = life.zip(self.site.as_mut()) else {
            return;
        };
        if matches!(site.phase, Phase::After { .. }) {
            let consensus = life.replica.consensus();
            let proven = consensus.proven().height.number();
            let delivered = consensus.delivered().number();
            let has = proven.min(delivered);
            site.started.entry(at).or_insert(has);
            self.trace.tell(
                self.now_ns,
                format_args!("v{at} starts with {delivered}, proven up to {proven}"),
            );
        }
    }

    /// What was on the disks must be what the product made of them, too; and what is called
    /// durable since must be on them now.
    pub(crate) fn end_site(&mut self) {
        let Some(site) = self.site.as_mut() else {
            return;
        };
        let Phase::After { told } = site.phase else {
            return;
        };
        site.phase = Phase::Over;
        let started = std::mem::take(&mut site.started);
        let share = |(at, &stake): (usize, &u64)| {
            let has = started.get(&at).copied().unwrap_or(0);
            Share {
                stake,
                height: (!self.is_byzantine(at)).then_some(has),
            }
        };
        let stakes = self.plan.stakes.iter().enumerate();
        let shares: Vec<Share> = stakes.map(share).collect();
        let outcome = self.checks.durable.judge("starts", told, &shares);
        self.checks.take(outcome);
        self.judge_disks();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::App;
    use crate::plan::RunOptions;
    use crate::tape::Tape;

    /// A world that loses its site, as soon as it has come to this phase. Nothing is wrong so far.
    fn world(is_there: fn(Phase) -> bool) -> World<Tape> {
        let options = RunOptions {
            seed: 1,
            scenario: Scenario::BlackoutAsync,
            ..RunOptions::default()
        };
        let mut world = World::new(&options, &App::default(), false).unwrap();
        while !is_there(world.site.as_ref().unwrap().phase) {
            assert!(world.step(u64::MAX));
        }
        assert!(!world.checks.has_found());
        world
    }

    /// What lacks a height that was durable, by all that is found.
    fn lacking(world: &mut World<Tape>) -> Vec<&'static str> {
        let found = world.checks.finish();
        let of = |violation: &Violation| {
            let mut all = ["disks", "starts"].into_iter();
            all.find(|what| violation.what.contains(&format!("and {what} of stake")))
                .unwrap_or(violation.check)
        };
        found.iter().map(of).collect()
    }

    fn replace_disks(world: &mut World<Tape>) {
        let members = world.members.iter_mut();
        members.for_each(|member| member.disk.replace());
    }

    #[test]
    fn a_height_that_is_called_durable_and_is_on_no_disk_is_found() {
        let mut world = world(|phase| matches!(phase, Phase::Before { .. }));
        world.now_ns += world.plan.trouble_ns;
        world.see_durable(0, 1);
        assert!(world.site.as_ref().unwrap().is_dark());
        assert_eq!(lacking(&mut world), ["disks"]);
    }

    #[test]
    fn what_was_durable_is_looked_for_on_all_disks_when_nobody_has_power() {
        for is_lost in [false, true] {
            let mut world = world(|phase| phase == Phase::Dark);
            if is_lost {
                replace_disks(&mut world);
            }
            world.read_disks();
            let expected: &[_] = if is_lost { &["disks"] } else { &[] };
            assert_eq!(lacking(&mut world), expected);
        }
    }

    #[test]
    fn what_was_durable_is_looked_for_in_what_everybody_starts_with_and_on_their_disks_after() {
        let is_after = |phase| matches!(phase, Phase::After { .. });
        let mut good = world(is_after);
        (0..4).for_each(|at| good.start(at));
        good.end_site();
        assert!(good.site.as_ref().unwrap().is_over());
        assert_eq!(lacking(&mut good), [""; 0]);
        let mut unstarted = world(is_after);
        unstarted.end_site();
        assert_eq!(lacking(&mut unstarted), ["starts"]);
        let mut lost = world(is_after);
        (0..4).for_each(|at| lost.start(at));
        replace_disks(&mut lost);
        lost.end_site();
        assert_eq!(lacking(&mut lost), ["disks"]);
    }
}
