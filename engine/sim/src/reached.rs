//! What must have happened somewhere in a large batch, or the batch shows less than it seems to:
//! to an honest validator, since what a Byzantine one goes through shows nothing.
//!
//! Owns the names of every rule's actions and every branch of recovery that a run can take, and
//! how often each was taken. Never: judges a run.

use std::borrow::Cow;
use std::collections::BTreeMap;

use quorate::recovery::RecoverySummary;
use quorate_consensus::machine::Counters;
use quorate_consensus::message::Message;
use quorate_log::Row;
use serde::{Deserialize, Serialize};

use crate::byzantine::{ActorName, Byzantine};
use crate::counts::FaultCounts;
use crate::script::Scenario;

/// Every name besides those of faults.
const NAMES: [&str; 69] = [
    "r1_entered",
    "r2_proposed",
    "r3_voted",
    "r4_final",
    "r5_stopped_by_timer",
    "r5_stopped_by_predicate",
    "r5_stopped_by_policy",
    "r5_gave_up_a_slow_window",
    "r6_also",
    "r7_skip_fallback",
    "r8_finalized_fast",
    "r8_finalized_slow",
    "r8_finalized_by_proof",
    "r9_jumped",
    "r10_fetched",
    "r10_certificates_sent",
    "r10_certificates_taken",
    "r10_status_sent",
    "r10_asked",
    "r10_headers_served",
    "r10_bodies_served",
    "r10_history_served",
    "r11_flushed_by_many",
    "r11_lease_restored",
    "r12_fence_asked",
    "r12_fence_answered",
    "r12_abstains",
    "r12_proposes_nothing_for_a_while",
    "r12_votes_again",
    "r13_asked",
    "r13_answered",
    "r13_recovered",
    "r13_votes_again",
    "recovery_clean_end",
    "recovery_torn_tail",
    "recovery_torn_group",
    "recovery_clean_stop",
    "suspended",
    "execution_behind",
    "turn_marked",
    "forwarded",
    "chain_goes_on",
    "chain_signed",
    "forged_refused",
    "sessions_reopened",
    "openings_refused",
    "judged_certified",
    "judged_skip",
    "judged_final",
    "scrub_found",
    "scrub_repaired",
    "scrub_asked",
    "join_snapshot_taken",
    "join_log_pruned",
    "join_pruned_below_somebody",
    "join_begun",
    "join_chunk_served",
    "join_source_changed",
    "join_broken",
    "join_torn",
    "join_resumed",
    "join_fetched",
    "join_joined",
    "join_votes_again",
    "join_lie_refused",
    "site_lost",
    "site_durable_not_on_every_disk",
    "site_final_on_no_disk",
    "site_durable_by_a_lie",
];

/// What only runs with snapshots have; a batch of them has to show these and no other.
const OF_JOINS: &str = "join_";

/// What only the loss of a whole site shows; a batch of them has to show these and no other.
const OF_SITES: &str = "site_";

/// What only a source that lies can bring about.
const OF_FALSE_SOURCES: [&str; 1] = ["join_lie_refused"];

/// What only a leader that leaves commands out for seconds can bring about.
const OF_CENSORS: [&str; 1] = ["turn_marked"];

/// What only a leader that makes up commands can bring about.
const OF_FORGERS: [&str; 1] = ["forged_refused"];

/// What only a validator that announces what it has not flushed can bring about.
const OF_OVERSTATERS: [&str; 1] = ["site_durable_by_a_lie"];

/// The faults that runs with snapshots have.
const BESIDE_JOINS: [&str; 10] = [
    "kills",
    "leader_kills",
    "clean_stops",
    "blackouts",
    "power_cuts",
    "torn_power_cuts",
    "lost_disks",
    "cuts",
    "frames_lost",
    "frames_doubled",
];

/// The faults that come before the loss of a site.
const BEFORE_A_LOSS: [&str; 3] = ["kills", "power_cuts", "disk_stalls"];

/// How often each thing happened, by its name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Reached(BTreeMap<Cow<'static, str>, u64>);

impl Reached {
    /// Something happened so many times more.
    pub(crate) fn note(&mut self, name: &'static str, count: u64) {
        debug_assert!(NAMES.contains(&name), "{name} has no place in the list");
        if count > 0 {
            *self.0.entry(Cow::Borrowed(name)).or_insert(0) += count;
        }
    }

    /// Adds what happened in another run.
    pub(crate) fn add(&mut self, other: &Self) {
        for (name, count) in &other.0 {
            *self.0.entry(name.clone()).or_insert(0) += count;
        }
    }

    /// What never happened of all that a batch of this scenario has to show.
    pub(crate) fn missing(
        &self,
        faults: &FaultCounts,
        scenario: Scenario,
        byzantine: &Byzantine,
    ) -> Vec<&'static str> {
        let has_forgers =
            scenario == Scenario::Byzantine || byzantine.actors.contains(&Some(ActorName::Forger));
        let has_false_sources = byzantine.actors.contains(&Some(ActorName::FalseSource));
        let has_overstaters = byzantine.actors.contains(&Some(ActorName::Overstater));
        let has_censors = byzantine.actors.contains(&Some(ActorName::Censor));
        let is_required = |name: &&str| {
            (has_censors || !OF_CENSORS.contains(name))
                && (has_forgers || !OF_FORGERS.contains(name))
                && (has_overstaters || !OF_OVERSTATERS.contains(name))
                && (has_false_sources || !OF_FALSE_SOURCES.contains(name))
                && (scenario == Scenario::Join) == name.starts_with(OF_JOINS)
                && (scenario == Scenario::BlackoutAsync) == name.starts_with(OF_SITES)
        };
        let rules = NAMES.iter().copied().filter(is_required);
        let missing = rules.filter(|name| !self.0.contains_key(*name));
        let is_missing = |&(name, count): &(&str, u64)| {
            let is_one_of = match scenario {
                Scenario::Join => BESIDE_JOINS.contains(&name),
                Scenario::BlackoutAsync => BEFORE_A_LOSS.contains(&name),
                _ => true,
            };
            count == 0 && is_one_of
        };
        let faults = faults.each().filter(is_missing);
        missing.chain(faults.map(|(name, _)| name)).collect()
    }

    /// What a validator did in a life that ends.
    pub(crate) fn note_life(&mut self, counters: &Counters) {
        for (name, count) in [
            ("r1_entered", counters.windows_entered),
            ("r2_proposed", counters.proposals),
            ("r4_final", counters.finals),
            ("r5_stopped_by_timer", counters.stops_timer),
            ("r5_stopped_by_predicate", counters.stops_predicate),
            ("r5_stopped_by_policy", counters.stops_policy),
            ("r5_gave_up_a_slow_window", counters.stops_slow),
            ("r6_also", counters.also),
            ("r7_skip_fallback", counters.skip_fallbacks),
            ("r8_finalized_fast", counters.finalized_fast),
            ("r8_finalized_slow", counters.finalized_slow),
            ("r8_finalized_by_proof", counters.finalized_proof),
            ("r9_jumped", counters.jumps),
            ("r10_fetched", counters.fetches),
            ("r10_certificates_sent", counters.certificates_sent),
            ("r10_certificates_taken", counters.certificates_taken),
            ("suspended", counters.suspensions),
            ("execution_behind", counters.behind),
            ("turn_marked", counters.turns_marked),
        ] {
            self.note(name, count);
        }
    }

    /// What a start found.
    pub(crate) fn note_start(&mut self, summary: &RecoverySummary) {
        let row = match summary.row {
            Row::TornTail => "recovery_torn_tail",
            Row::TornGroup => "recovery_torn_group",
            // The others refuse to open the log, and nobody starts then.
            _ => "recovery_clean_end",
        };
        self.note(row, 1);
        self.note("recovery_clean_stop", u64::from(summary.clean_stop));
        self.note("join_joined", u64::from(summary.is_joined));
        let lease = &summary.lease.lease;
        self.note("r11_lease_restored", u64::from(lease.lease.is_some()));
        self.note("r12_abstains", u64::from(lease.abstain_until.is_some()));
        self.note(
            "r12_proposes_nothing_for_a_while",
            u64::from(lease.no_proposals_until.is_some()),
        );
    }

    /// What a validator said.
    pub(crate) fn note_message(&mut self, message: &Message) {
        let name = match message {
            Message::Vote(vote) if vote.record.tip.is_some() => "r3_voted",
            Message::Status(_) => "r10_status_sent",
            Message::Get(_) => "r10_asked",
            Message::Headers { .. } => "r10_headers_served",
            Message::Block { .. } => "r10_bodies_served",
            Message::History(_) => "r10_history_served",
            Message::FenceAsk { .. } => "r12_fence_asked",
            Message::FenceAnswer { .. } => "r12_fence_answered",
            Message::Recover { .. } => "r13_asked",
            Message::RecoverAnswer(_) => "r13_answered",
            Message::Forward(_) => "forwarded",
            _ => return,
        };
        self.note(name, 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_in_which_nothing_happened_lacks_every_rule_and_every_fault() {
        let faults = FaultCounts::default();
        let byzantine = Byzantine {
            actors: [Some(ActorName::Censor), None],
            ..Byzantine::default()
        };
        let missing = Reached::default().missing(&faults, Scenario::Byzantine, &byzantine);
        let of_joins = |name: &&str| name.starts_with(OF_JOINS);
        let joins = NAMES.iter().copied().filter(of_joins).count();
        let sites = NAMES.iter().filter(|name| name.starts_with(OF_SITES));
        let others = joins + sites.count();
        assert_eq!(missing.len(), NAMES.len() - others + faults.each().count());
        let byzantine = Byzantine {
            actors: [Some(ActorName::FalseSource), None],
            ..Byzantine::default()
        };
        let missing = Reached::default().missing(&faults, Scenario::Join, &byzantine);
        assert_eq!(missing.len(), joins + BESIDE_JOINS.len());
    }

    #[test]
    fn a_lie_that_decides_what_is_durable_is_missed_where_somebody_overstates_alone() {
        let missing = |actor| {
            let byzantine = Byzantine {
                actors: [actor, None],
                ..Byzantine::default()
            };
            let faults = FaultCounts::default();
            Reached::default().missing(&faults, Scenario::BlackoutAsync, &byzantine)
        };
        let of_lies = |names: &[&str]| names.contains(&OF_OVERSTATERS[0]);
        assert!(of_lies(&missing(Some(ActorName::Overstater))));
        assert!(!of_lies(&missing(None)));
        assert!(!of_lies(&missing(Some(ActorName::Liar))));
    }

    #[test]
    fn a_batch_in_which_no_command_was_handed_on_lacks_that() {
        let missing = |reached: &Reached| {
            let (faults, nobody) = (FaultCounts::default(), Byzantine::default());
            let missing = reached.missing(&faults, Scenario::Calm, &nobody);
            missing.contains(&"forwarded")
        };
        let mut reached = Reached::default();
        reached.note_message(&Message::History(Vec::new()));
        assert!(missing(&reached));
        reached.note_message(&Message::Forward([0; 4].into()));
        assert!(!missing(&reached));
    }

    #[test]
    fn what_happened_in_any_run_is_not_missing() {
        let faults = FaultCounts {
            clogs: 1,
            ..FaultCounts::default()
        };
        let mut run = Reached::default();
        run.note("r6_also", 2);
        let mut batch = Reached::default();
        batch.add(&run);
        let missing = batch.missing(&faults, Scenario::Mixed, &Byzantine::default());
        assert!(!missing.contains(&"r6_also") && !missing.contains(&"clogs"));
        assert!(missing.contains(&"r7_skip_fallback") && missing.contains(&"kills"));
        let has_censor = missing.contains(&"turn_marked");
        assert!(!has_censor, "nobody left commands out");
    }
}
