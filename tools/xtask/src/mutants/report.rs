//! What became of the mutants, for people and for machines.
//!
//! Owns the words and the JSON. Never: judges.

use std::time::Duration;

use serde_json::{Value, json};

use super::catalog::Mutant;
use super::suite::Outcome;

/// One mutant's fate.
pub(crate) struct Verdict {
    name: String,
    breaks: String,
    kind: &'static str,
    outcome: Outcome,
    taken: Duration,
}

impl Verdict {
    pub(crate) fn new(mutant: &Mutant, outcome: Outcome, taken: Duration) -> Self {
        Self {
            name: mutant.name.clone(),
            breaks: mutant.breaks.clone(),
            kind: mutant.kind.name(),
            outcome,
            taken,
        }
    }

    /// One line.
    pub(crate) fn line(&self) -> String {
        let what = match &self.outcome {
            Outcome::Failed { test, passes: 0 } => format!("caught by {test}"),
            Outcome::Failed { test, passes } => {
                format!("caught now and then by {test}, which passed alone {passes} times before")
            }
            Outcome::Passed => "SURVIVED".to_owned(),
            Outcome::NotBuilt(why) => format!("NOT BUILT: {why}"),
            Outcome::Unnamed(why) | Outcome::Undecided(why) => format!("ERROR: {why}"),
        };
        format!(
            "mutants: {:<34} {:>6.1} s  {what}  ({})",
            self.name,
            self.taken.as_secs_f64(),
            self.breaks
        )
    }

    fn json(&self) -> Value {
        let (caught_by, passes, error) = match &self.outcome {
            Outcome::Failed { test, passes } => (Some(test), Some(passes), None),
            Outcome::Passed => (None, None, None),
            Outcome::NotBuilt(why) | Outcome::Unnamed(why) | Outcome::Undecided(why) => {
                (None, None, Some(why))
            }
        };
        json!({
            "name": self.name,
            "breaks": self.breaks,
            "kind": self.kind,
            "caught_by": caught_by,
            "passes_alone": passes,
            "error": error,
            "seconds": (self.taken.as_secs_f64() * 10.0).round() / 10.0,
        })
    }
}

/// Everybody's fate.
pub(crate) struct Report {
    pub(crate) verdicts: Vec<Verdict>,
    pub(crate) taken: Duration,
}

impl Report {
    fn names(&self, is_meant: impl Fn(&Outcome) -> bool) -> Vec<&str> {
        let meant = self.verdicts.iter().filter(|one| is_meant(&one.outcome));
        meant.map(|one| one.name.as_str()).collect()
    }

    fn caught(&self) -> usize {
        self.names(|outcome| matches!(outcome, Outcome::Failed { .. }))
            .len()
    }

    /// Whether every mutant was caught by a test that can be named.
    pub(crate) fn is_good(&self) -> bool {
        self.caught() == self.verdicts.len()
    }

    pub(crate) fn json(&self) -> Value {
        let not_built = self.names(|outcome| matches!(outcome, Outcome::NotBuilt(_)));
        let errors =
            self.names(|outcome| matches!(outcome, Outcome::Unnamed(_) | Outcome::Undecided(_)));
        json!({
            "schema": 1,
            "mutants": self.verdicts.len(),
            "caught": self.caught(),
            "not_built": not_built.len(),
            "survivors": self.names(|outcome| *outcome == Outcome::Passed),
            "errors": errors,
            "seconds": self.taken.as_secs(),
            "results": self.verdicts.iter().map(Verdict::json).collect::<Vec<_>>(),
        })
    }

    /// One line.
    pub(crate) fn summary(&self) -> String {
        format!(
            "mutants: {} run, {} caught in {} s",
            self.verdicts.len(),
            self.caught(),
            self.taken.as_secs()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(name: &str, outcome: Outcome) -> Verdict {
        Verdict {
            name: name.into(),
            breaks: "R1".into(),
            kind: "safety",
            outcome,
            taken: Duration::from_millis(1_250),
        }
    }

    fn failed(passes: u32) -> Outcome {
        let test = "p t x".into();
        Outcome::Failed { test, passes }
    }

    #[test]
    fn a_catch_that_comes_now_and_then_is_told_as_such() {
        let (always, seldom) = (verdict("a", failed(0)), verdict("a", failed(2)));
        assert!(always.line().contains("caught by p t x  ("));
        let told = "caught now and then by p t x, which passed alone 2 times before";
        assert!(seldom.line().contains(told), "{}", seldom.line());
        assert_eq!(always.json()["passes_alone"], 0);
        assert_eq!(seldom.json()["passes_alone"], 2);
        assert_eq!(
            verdict("b", Outcome::Passed).json()["passes_alone"],
            Value::Null
        );
    }

    #[test]
    fn only_a_named_test_is_a_catch() {
        let verdicts = vec![
            verdict("a", failed(0)),
            verdict("b", Outcome::Passed),
            verdict("c", Outcome::NotBuilt("no type".into())),
            verdict("d", Outcome::Unnamed("hangs".into())),
        ];
        let mut report = Report {
            verdicts,
            taken: Duration::from_secs(5),
        };
        let json = report.json();
        assert_eq!(json["mutants"], 4);
        assert_eq!(json["caught"], 1);
        assert_eq!(json["not_built"], 1);
        assert_eq!(json["survivors"], json!(["b"]));
        assert_eq!(json["errors"], json!(["d"]));
        assert_eq!(json["results"][0]["caught_by"], "p t x");
        assert_eq!(json["results"][1]["caught_by"], Value::Null);
        assert!(!report.is_good());
        report.verdicts.truncate(1);
        assert!(report.is_good());
    }
}
