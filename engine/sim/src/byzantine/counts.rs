//! What was seen of Byzantine validators, by the name of what they play.
//!
//! Owns the numbers, and which of them show an actor that was played and did nothing.

use std::borrow::Cow;
use std::collections::BTreeMap;

use quorate_consensus::machine::Counters;
use serde::{Deserialize, Serialize};

use super::deeds::{Deed, Deeds, Done, Occasion, SIDES};
use super::{ActorName, RUNS_FOR_DEEDS};
use crate::counts::FaultCounts;
use crate::reached::Reached;
use crate::script::Scenario;

/// What the fence of R12 must have told one whose old disk was put back, and who listens.
const OLD_DISK: &str = "old disk noticed";

/// What was seen of one kind of actor.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActorCounts {
    /// Validators that played it.
    pub played: u64,
    /// Those of them that had an occasion that not every run gives.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub occasions: BTreeMap<Occasion, u64>,
    /// What it did that its replica would not have done.
    pub deeds: Deeds,
    /// Frames that left in place of those of its replica, or of its own accord.
    pub frames: u64,
    /// Frames of its replica that did not leave as they were.
    pub changed: u64,
    /// Faults, alarms and dropped connections at honest validators that named it.
    pub accusations: u64,
    /// Evidence at honest validators that names it: two headers of one position.
    pub two_headers: u64,
    /// Two records that are not ordered.
    pub two_records: u64,
    /// One record that contradicts itself.
    pub one_record: u64,
    /// Times that its own replica noticed that its disk is older than what it said (R12).
    pub old_disks: u64,
    /// What honest validators did beside it.
    pub beside: Beside,
}

impl ActorCounts {
    pub(crate) fn add(&mut self, other: &Self) {
        self.played += other.played;
        for (occasion, count) in &other.occasions {
            *self.occasions.entry(*occasion).or_default() += count;
        }
        self.deeds.add(&other.deeds);
        self.frames += other.frames;
        self.changed += other.changed;
        self.accusations += other.accusations;
        self.two_headers += other.two_headers;
        self.two_records += other.two_records;
        self.one_record += other.one_record;
        self.old_disks += other.old_disks;
        self.beside.add(&other.beside);
    }

    /// How often it had this occasion.
    fn had(&self, occasion: Occasion) -> u64 {
        self.occasions.get(&occasion).map_or(0, |count| *count)
    }

    /// Which of these it never did.
    fn never(&self, name: &str, deeds: &[Done]) -> Vec<String> {
        let never = deeds
            .iter()
            .filter(|(deed, what)| self.deeds.of(*deed, what) == 0);
        never
            .map(|(deed, what)| format!("{name}: {deed} {what}"))
            .collect()
    }

    /// Evidence of all kinds.
    #[must_use]
    pub const fn evidence(&self) -> u64 {
        self.two_headers + self.two_records + self.one_record
    }
}

/// What honest validators did in the runs in which somebody played it: not all of it for that
/// reason, so it is to be held against runs without.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beside {
    /// Windows stopped.
    pub stops: u64,
    /// Fallback votes, for another block or for none.
    pub fallbacks: u64,
    /// Blocks finalized by the fast path.
    pub finalized_fast: u64,
    /// By the slow path.
    pub finalized_slow: u64,
    /// By the proof of somebody else.
    pub finalized_proof: u64,
    /// Requests for what was missing.
    pub fetches: u64,
    /// Records refused since they contradict another one.
    pub conflicts: u64,
    /// Messages refused as faults of their sender.
    pub faults: u64,
}

impl Beside {
    fn add(&mut self, other: &Self) {
        self.stops += other.stops;
        self.fallbacks += other.fallbacks;
        self.finalized_fast += other.finalized_fast;
        self.finalized_slow += other.finalized_slow;
        self.finalized_proof += other.finalized_proof;
        self.fetches += other.fetches;
        self.conflicts += other.conflicts;
        self.faults += other.faults;
    }

    /// What a validator did in a life that ends.
    pub(crate) fn note_life(&mut self, life: &Counters) {
        self.add(&Self {
            stops: life.stops_timer + life.stops_predicate + life.stops_policy + life.stops_slow,
            fallbacks: life.also + life.skip_fallbacks,
            finalized_fast: life.finalized_fast,
            finalized_slow: life.finalized_slow,
            finalized_proof: life.finalized_proof,
            fetches: life.fetches,
            conflicts: life.conflicts,
            faults: life.faults,
        });
    }
}

/// By name; a pair on one validator counts for both.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ByzantineCounts {
    /// Runs with any Byzantine validator.
    pub runs: u64,
    /// Virtual partitions of a Twins script that came to pass.
    pub twin_phases: u64,
    /// What Byzantine validators went through by the rules; it counts for nobody.
    pub reached: Reached,
    /// Faults that hit Byzantine validators, or links of theirs.
    pub faults: FaultCounts,
    /// By the name of what is played.
    pub actors: BTreeMap<Cow<'static, str>, ActorCounts>,
}

impl ByzantineCounts {
    /// Adds those of another run.
    pub fn add(&mut self, other: &Self) {
        self.runs += other.runs;
        self.twin_phases += other.twin_phases;
        self.reached.add(&other.reached);
        self.faults.add(&other.faults);
        for (name, counts) in &other.actors {
            self.actors.entry(name.clone()).or_default().add(counts);
        }
    }

    /// What one of them has not done of all that it is for, as `name: deed thing`; nothing when it
    /// has done it all.
    #[must_use]
    pub fn lacking(&self, name: &str) -> Vec<String> {
        let counts = self.of(name);
        let actor = name.parse::<ActorName>().ok();
        // Two copies of a key do no more than to change their connections.
        let deeds = actor.map_or(&[(Deed::Rigged, SIDES)][..], ActorName::deeds);
        let mut lacking = counts.never(name, deeds);
        if actor.is_some_and(ActorName::is_refused) && counts.accusations == 0 {
            lacking.push(format!("{name}: accused"));
        }
        if actor == Some(ActorName::Amnesiac) && counts.old_disks == 0 {
            lacking.push(format!("{name}: {OLD_DISK}"));
        }
        lacking
    }

    /// What one of them has not done of all that such an occasion is for.
    #[must_use]
    pub fn lacking_at(&self, name: &str, occasion: Occasion) -> Vec<String> {
        let actor = name.parse::<ActorName>().ok();
        let deeds = actor.map_or(&[][..], |actor| actor.deeds_at(occasion));
        self.of(name).never(name, deeds)
    }

    /// What is lacking of those that were played often enough, in worlds in which they have
    /// something to do.
    #[must_use]
    pub fn inert(&self, scenario: Scenario) -> Vec<String> {
        // Drawn ones play in pairs, of which the first may leave the second nothing to do.
        let (world, times) = match scenario {
            Scenario::Byzantine => (Scenario::Mixed, 4),
            other => (other, 1),
        };
        let mut lacking = Vec::new();
        for (name, counts) in &self.actors {
            let actor = name.parse::<ActorName>().ok();
            let home = actor.map_or(Scenario::Mixed, ActorName::world);
            let runs = actor.map_or(RUNS_FOR_DEEDS, ActorName::runs_for_deeds);
            if home != world {
                continue;
            }
            if counts.played >= times * runs {
                lacking.extend(self.lacking(name));
            }
            let is_often = |one: &Occasion| counts.had(*one) >= times * one.runs_for_deeds();
            let had = Occasion::all().filter(is_often);
            lacking.extend(had.flat_map(|one| self.lacking_at(name, one)));
        }
        lacking
    }

    /// Those of one actor.
    #[must_use]
    pub fn of(&self, name: &str) -> ActorCounts {
        self.actors.get(name).cloned().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::super::cast::TWINS;
    use super::super::deeds::RIVAL;
    use super::*;

    /// Every actor played so often, and having done all of its deeds but those that `is_left_out`.
    fn played(runs: u64, is_left_out: impl Fn(ActorName, Deed) -> bool) -> ByzantineCounts {
        let mut found = ByzantineCounts::default();
        for actor in ActorName::all() {
            let mut counts = ActorCounts {
                played: runs,
                accusations: 1,
                old_disks: u64::from(!is_left_out(actor, Deed::Rigged)),
                ..ActorCounts::default()
            };
            let deeds = actor.deeds().iter().copied();
            deeds
                .filter(|&(deed, _)| !is_left_out(actor, deed))
                .for_each(|done| counts.deeds.note(done));
            found.actors.insert(actor.name().into(), counts);
        }
        found
    }

    #[test]
    fn every_actor_is_for_something_and_missed_when_it_does_nothing() {
        let idle = played(1_000, |_, _| true);
        let all = [Scenario::Mixed, Scenario::Join, Scenario::BlackoutAsync];
        let missed: Vec<String> = all.iter().flat_map(|world| idle.inert(*world)).collect();
        for actor in ActorName::all() {
            let own = format!("{actor}: ");
            let count = missed.iter().filter(|one| one.starts_with(&own)).count();
            let noticed = usize::from(actor == ActorName::Amnesiac);
            assert_eq!(count, actor.deeds().len() + noticed, "{actor}");
            assert!(count > 0, "{actor}");
        }
        let busy = played(1_000, |_, _| false);
        assert!(all.iter().all(|world| busy.inert(*world).is_empty()));
    }

    #[test]
    fn one_of_its_deeds_is_missed_though_it_does_the_others() {
        let is_left_out = |actor, deed| actor == ActorName::Withholder && deed == Deed::Delayed;
        let found = played(RUNS_FOR_DEEDS, is_left_out);
        assert_eq!(found.inert(Scenario::Mixed), ["withholder: delayed vote"]);
        // In pairs that is not often enough.
        assert!(found.inert(Scenario::Byzantine).is_empty());
        let found = played(4 * RUNS_FOR_DEEDS, is_left_out);
        let drawn = found.inert(Scenario::Byzantine);
        assert_eq!(drawn, ["withholder: delayed vote"]);
    }

    #[test]
    fn who_should_have_been_refused_and_was_not_is_missed() {
        let mut found = played(RUNS_FOR_DEEDS, |_, _| false);
        for counts in found.actors.values_mut() {
            counts.accusations = 0;
        }
        let missed = found.inert(Scenario::Mixed);
        assert!(missed.contains(&"garbage: accused".to_owned()));
        assert!(missed.iter().all(|one| one.ends_with(": accused")));
    }

    #[test]
    fn what_an_occasion_is_for_is_missed_after_many_of_them_and_not_without() {
        let mut found = played(RUNS_FOR_DEEDS, |_, _| false);
        assert_eq!(found.inert(Scenario::Mixed), [""; 0]);
        let voters = [ActorName::Conflicter, ActorName::RuleXBreaker];
        for count in [RUNS_FOR_DEEDS - 1, RUNS_FOR_DEEDS] {
            for name in voters.map(ActorName::name) {
                let counts = found.actors.get_mut(name).unwrap();
                counts.occasions.insert(Occasion::Fork, count);
            }
            let missed = found.inert(Scenario::Mixed);
            let expected: &[&str] = match count {
                RUNS_FOR_DEEDS => &["conflicter: named rival", "rule-x-breaker: named rival"],
                _ => &[],
            };
            assert_eq!(missed, expected);
        }
        for name in voters.map(ActorName::name) {
            let counts = found.actors.get_mut(name).unwrap();
            counts.deeds.note((Deed::Named, RIVAL));
        }
        assert_eq!(found.inert(Scenario::Mixed), [""; 0]);
    }

    #[test]
    fn an_old_disk_that_no_fence_ever_tells_of_is_missed() {
        let mut found = played(RUNS_FOR_DEEDS, |_, _| false);
        let amnesiac = found.actors.get_mut(ActorName::Amnesiac.name()).unwrap();
        amnesiac.old_disks = 0;
        assert_eq!(found.inert(Scenario::Mixed), ["amnesiac: old disk noticed"]);
    }

    #[test]
    fn nothing_is_asked_of_a_few_runs_or_of_worlds_without_occasion() {
        assert!(
            played(RUNS_FOR_DEEDS - 1, |_, _| true)
                .inert(Scenario::Mixed)
                .is_empty()
        );
        let idle = played(RUNS_FOR_DEEDS, |_, _| true);
        assert!(idle.inert(Scenario::Calm).is_empty());
        assert!(idle.inert(Scenario::Join).is_empty(), "of a thousand runs");
        let mixed = idle.inert(Scenario::Mixed);
        assert!(!mixed.iter().any(|one| one.starts_with("false-source")));
    }

    #[test]
    fn twins_that_are_never_told_apart_are_missed() {
        let mut found = ByzantineCounts::default();
        let twins = found.actors.entry(TWINS.into()).or_default();
        twins.played = RUNS_FOR_DEEDS;
        assert_eq!(found.inert(Scenario::Mixed), ["twins: rigged sides"]);
    }
}
