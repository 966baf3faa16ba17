//! What a series of kills came to: the numbers of the report, and its words.
//!
//! Owns the percentiles of the recoveries and the verdict. Never: looks at a validator.

use serde::Serialize;

use super::audit::Audit;
use crate::failure::Code;
use crate::output::table;
use crate::verdict;

/// How long validators took from their start until they could vote again, milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct RecoveryMs {
    /// Median; none when nothing was measured, as for the others.
    pub(super) p50: Option<u64>,
    /// 99 % were at or below this.
    pub(super) p99: Option<u64>,
    /// The longest.
    pub(super) max: Option<u64>,
}

impl RecoveryMs {
    /// The percentiles of these durations.
    pub(super) fn of(mut durations_ms: Vec<u64>) -> Self {
        durations_ms.sort_unstable();
        let at = |percent: usize| {
            let place = (durations_ms.len() * percent).div_ceil(100);
            durations_ms.get(place.checked_sub(1)?).copied()
        };
        Self {
            p50: at(50),
            p99: at(99),
            max: at(100),
        }
    }

    fn text(&self) -> String {
        let ms = |value: Option<u64>| value.map_or_else(|| "-".to_owned(), |ms| ms.to_string());
        format!("{}, {}, {}", ms(self.p50), ms(self.p99), ms(self.max))
    }
}

/// The report of a series.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Toll {
    /// Rounds of killing.
    pub(super) kills: u64,
    /// Processes that were killed in them.
    pub(super) processes_killed: u64,
    /// Results that clients were told.
    pub(super) acknowledged: u64,
    /// Of those, the ones that some validator's finalized chain does not hold where it was told.
    pub(super) lost: u64,
    /// Commands that clients were told to have had an effect at two heights.
    pub(super) doubled: u64,
    /// Commands that came to no result after the series, whether or not a validator took them.
    pub(super) unfinished: u64,
    /// Commands that were refused for good: nothing that a load of a series sends may be.
    pub(super) rejected: u64,
    /// Commands that were intended and never handed over, as where a session held all that it may
    /// while validators were away. No fault, but these tested nothing.
    pub(super) unsent: u64,
    /// Pairs of own vote records of one validator and window that contradict each other.
    pub(super) conflicting_votes: u64,
    /// Own vote records that were read for that.
    pub(super) vote_records: u64,
    /// Ends of logs that were noted, one at each death.
    pub(super) places: u64,
    /// Of those, the ones that later were found changed or gone.
    pub(super) rewritten: u64,
    /// Stretches of logs that starts have marked as faulty: no more than what was done to disks
    /// explains, or it is a difference.
    pub(super) marked: u64,
    /// Height of the chain at the end.
    pub(super) height: u64,
    /// How long recoveries took.
    pub(super) recovery_ms: RecoveryMs,
    /// Everything else that is not as it should be.
    pub(super) differences: Vec<String>,
}

impl Toll {
    /// Whether every promise was kept.
    pub(super) fn code(&self) -> Code {
        let of_clients = self.lost + self.doubled + self.unfinished + self.rejected;
        let broken = of_clients + self.conflicting_votes + self.rewritten;
        verdict::code(broken == 0 && self.differences.is_empty())
    }

    /// Counts the votes of a validator that conflict, and tells the first of them.
    pub(super) fn note_conflicts(&mut self, validator: usize, audit: &Audit) {
        self.conflicting_votes += audit.conflicting_votes;
        if audit.undecoded > 0 {
            self.differences.push(format!(
                "validator {validator}: {} records of its log cannot be decoded",
                audit.undecoded
            ));
        }
        let told = audit.conflicts.iter();
        let told = told.map(|what| format!("validator {validator} contradicts itself: {what}"));
        self.differences.extend(told);
    }

    /// Notes it when there were fewer rounds: a part of a series is not the series.
    pub(super) fn expect_rounds(&mut self, wanted: u64) {
        if self.kills < wanted {
            let what = format!("interrupted after {} of {wanted} rounds", self.kills);
            self.differences.push(what);
        }
    }

    /// Notes it when a log was not looked at after a kill: what it has lost since nobody knows.
    pub(super) fn expect_places(&mut self) {
        if self.places < self.processes_killed {
            let what = format!(
                "of {} processes killed only {} logs were looked at",
                self.processes_killed, self.places
            );
            self.differences.push(what);
        }
    }

    /// The report for people.
    pub(super) fn text(&self) -> String {
        let mut facts = table(&["what", "value"]);
        let recovery = self.recovery_ms.text();
        for (what, value) in [
            ("rounds of kills", self.kills.to_string()),
            ("processes killed", self.processes_killed.to_string()),
            ("results told to clients", self.acknowledged.to_string()),
            ("of them lost", self.lost.to_string()),
            ("commands applied twice", self.doubled.to_string()),
            ("commands without a result", self.unfinished.to_string()),
            ("commands refused for good", self.rejected.to_string()),
            ("commands never handed over", self.unsent.to_string()),
            ("vote records read", self.vote_records.to_string()),
            ("of them conflicting", self.conflicting_votes.to_string()),
            ("ends of logs noted", self.places.to_string()),
            ("of them rewritten", self.rewritten.to_string()),
            ("stretches marked as faulty", self.marked.to_string()),
            ("height at the end", self.height.to_string()),
            ("recovery ms: p50, p99, max", recovery),
        ] {
            facts.add_row(vec![what.to_owned(), value]);
        }
        let mut text = facts.to_string();
        text.push_str(&verdict::all_failed(&self.differences));
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_occurred() {
        let of = |durations: Vec<u64>| {
            let ms = RecoveryMs::of(durations);
            (ms.p50, ms.p99, ms.max)
        };
        assert_eq!(of(Vec::new()), (None, None, None), "nothing was measured");
        assert_eq!(RecoveryMs::default().text(), "-, -, -");
        assert_eq!(of(vec![7]), (Some(7), Some(7), Some(7)));
        let hundred = of((1..=100).rev().collect());
        assert_eq!(hundred, (Some(50), Some(99), Some(100)));
    }

    #[test]
    fn a_series_that_was_interrupted_is_not_well() {
        let mut toll = Toll {
            kills: 3,
            ..Toll::default()
        };
        toll.expect_rounds(3);
        assert_eq!(toll.code(), Code::Done);
        toll.expect_rounds(4);
        assert_eq!(toll.code(), Code::No);
        assert!(toll.text().contains("interrupted after 3 of 4 rounds"));
    }

    #[test]
    fn a_kill_after_which_nobody_looked_at_the_log_is_not_well() {
        let mut toll = Toll {
            processes_killed: 3,
            places: 3,
            ..Toll::default()
        };
        toll.expect_places();
        assert_eq!(toll.code(), Code::Done);
        toll.processes_killed = 4;
        toll.expect_places();
        assert_eq!(toll.code(), Code::No);
    }

    #[test]
    fn each_broken_promise_alone_makes_the_answer_no() {
        assert_eq!(Toll::default().code(), Code::Done);
        let broken: [fn(&mut Toll); 7] = [
            |toll| toll.lost = 1,
            |toll| toll.doubled = 1,
            |toll| toll.unfinished = 1,
            |toll| toll.rejected = 1,
            |toll| toll.conflicting_votes = 1,
            |toll| toll.rewritten = 1,
            |toll| toll.differences.push("x".to_owned()),
        ];
        for break_it in broken {
            let mut toll = Toll::default();
            break_it(&mut toll);
            assert_eq!(toll.code(), Code::No, "{toll:?}");
        }
    }
}
