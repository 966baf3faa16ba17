//! What of a measurement is not as it should be, in a box that nobody overlooks.
//!
//! Owns which keys say so. Never: leaves a measurement out for it.

use serde_json::Value;

use super::text::{escape, figure, number};

/// Counts that have to be zero, and what they count.
const COUNTS: [(&str, &str); 11] = [
    ("missing", "commands that came to no result"),
    ("rejected", "commands that were refused for good"),
    (
        "unknown",
        "commands in no figure of finality, since stamps were not kept",
    ),
    (
        "untold",
        "commands in no figure of finality, since no validator told when they became final",
    ),
    (
        "lost",
        "results that were told and do not stand in every chain",
    ),
    (
        "doubled",
        "commands that clients were told to have had an effect twice",
    ),
    (
        "unfinished",
        "commands that came to no result after the series",
    ),
    (
        "conflicting_votes",
        "vote records that contradict the one before them",
    ),
    ("rewritten", "places of logs that changed after a kill"),
    (
        "unmeasured",
        "rounds in no figure, since no client of a survivor had a command in them",
    ),
    (
        "open",
        "rounds in which finality was not back when the leader was",
    ),
];
/// One command in so many may be left unsent.
const UNSENT_SHARE: f64 = 1_000.0;
/// Answers that have to be yes where somebody looked, and what is said where they are no.
const FLAGS: [(&str, &str); 2] = [
    (
        "state_roots_equal",
        "The validators' states are not equal, or one could not be compared.",
    ),
    (
        "logs_equal",
        "The validators' logs are not equal, or one could not be read.",
    ),
];

/// A box with everything that is wrong with a measurement; nothing when all is well.
pub(super) fn wrong(name: &str, value: &Value) -> String {
    let mut found = Vec::new();
    for (key, what) in FLAGS {
        if value.get(key).and_then(Value::as_bool) == Some(false) {
            found.push(what.to_owned());
        }
    }
    for (key, what) in COUNTS {
        let count = count(value, key);
        if count > 0.0 {
            found.push(format!("{}: {}", what, figure(count)));
        }
    }
    let unsent = unsent(value);
    if unsent > 0.0 {
        let what = "commands that were never handed over, and stand in no percentile";
        found.push(format!("{what}: {}", figure(unsent)));
    }
    for key in ["differences", "failures"] {
        let told = value.get(key).and_then(Value::as_array);
        let told = told.into_iter().flatten();
        found.extend(told.map(|one| super::text::words(one, "")));
    }
    if found.is_empty() {
        return String::new();
    }
    let items: Vec<String> = found
        .iter()
        .map(|one| format!("<li>{}</li>", escape(one)))
        .collect();
    format!(
        "<div class=\"wrong\"><b>Not as it should be: {}</b>\n<ul>\n{}\n</ul></div>\n",
        escape(name),
        items.join("\n")
    )
}

/// A count of the measurement itself, of its runs, and of those steps that do not look for what is
/// not borne.
fn count(value: &Value, key: &str) -> f64 {
    let counts = parts(value).filter_map(|one| number(one, &format!("/{key}")));
    counts.sum()
}

/// What was not handed over, of those loads in which that is more than the last few commands.
fn unsent(value: &Value) -> f64 {
    let counts = parts(value).filter_map(|one| {
        let (unsent, offered) = (number(one, "/unsent")?, number(one, "/offered")?);
        (unsent * UNSENT_SHARE > offered).then_some(unsent)
    });
    counts.sum()
}

/// The measurement itself, its runs, and those of its steps that do not look for what is not borne.
fn parts(value: &Value) -> impl Iterator<Item = &Value> {
    let list = |name: &str| value.get(name).and_then(Value::as_array);
    let runs = list("runs").into_iter().flatten();
    let shares = |step: &&Value| step.get("load_percent").is_some();
    let steps = list("steps").into_iter().flatten().filter(shares);
    [value].into_iter().chain(runs).chain(steps)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn nothing_is_said_where_all_is_well_and_of_a_search_that_found_its_end() {
        let well = json!({"differences": [], "logs_equal": true, "state_roots_equal": null,
            "missing": 0, "runs": [{"missing": 0}], "steps": [{"missing": 7}]});
        assert_eq!(wrong("a", &well), "");
        assert_eq!(wrong("a", &json!(null)), "");
    }

    #[test]
    fn commands_never_handed_over_are_told_unless_they_are_the_last_few() {
        let of = |unsent: u64| json!({"runs": [{"unsent": unsent, "offered": 10_000}]});
        assert_eq!(wrong("a", &of(10)), "");
        assert!(
            wrong("a", &of(4_321)).contains("never handed over, and stand in no percentile: 4,321")
        );
    }

    #[test]
    fn every_fault_is_told() {
        let flags = json!({"logs_equal": false, "state_roots_equal": false});
        let told = wrong("a <b>", &flags);
        assert!(told.contains("logs are not equal") && told.contains("states are not equal"));
        assert!(told.contains("a &lt;b&gt;"));
        let differs = wrong("a", &json!({"differences": ["x < y"]}));
        assert!(differs.contains("<li>x &lt; y</li>"), "{differs}");
        let failed = wrong("a", &json!({"failures": ["it died"]}));
        assert!(failed.contains("<li>it died</li>"), "{failed}");
        for (key, what) in COUNTS {
            for value in [
                json!({key: 12_345}),
                json!({"runs": [{key: 12_000}, {key: 345}]}),
                json!({"steps": [{key: 12_345, "load_percent": 10}]}),
            ] {
                let told = wrong("a", &value);
                assert!(told.contains(what) && told.contains("12,345"), "{told}");
            }
        }
    }
}
