//! The counts as a table and as JSON, alone or beside those of an earlier report.
//!
//! Owns the format of the JSON, which it reads again. Never: says whether a difference is good.

use std::fmt::Write as _;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::summary::Count;
use super::tools::Tools;

/// What one run counted.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Report {
    tools: Tools,
    counts: Vec<Count>,
}

impl Report {
    pub(super) fn new(tools: Tools, counts: Vec<Count>) -> Self {
        Self { tools, counts }
    }

    /// Reads what [`Report::json`] gave; the comparison in it is not looked at.
    ///
    /// # Errors
    /// When it is something else.
    pub(super) fn parse(json: &str) -> Result<Self> {
        let report: Value = serde_json::from_str(json).context("it is not JSON")?;
        let text = |value: &Value, field: &str| {
            let text = value[field].as_str().map(str::to_owned);
            text.with_context(|| format!("it has no {field}"))
        };
        let tools = Tools {
            valgrind: text(&report, "valgrind")?,
            gungraun: text(&report, "gungraun")?,
        };
        let parts = report["parts"].as_array().context("it has no parts")?;
        let counts = parts.iter().map(|part| {
            let instructions = part["instructions"].as_u64();
            Ok(Count {
                name: text(part, "name")?,
                instructions: instructions.context("a part has no instructions")?,
            })
        });
        Ok(Self {
            tools,
            counts: counts.collect::<Result<_>>()?,
        })
    }

    fn count_of(&self, name: &str) -> Option<u64> {
        let mut counts = self.counts.iter();
        Some(counts.find(|count| count.name == name)?.instructions)
    }

    /// The names of `before` that this report lacks.
    fn gone<'a>(&self, before: &'a Self) -> impl Iterator<Item = &'a Count> {
        let is_gone = |count: &&Count| self.count_of(&count.name).is_none();
        before.counts.iter().filter(is_gone)
    }

    /// One object: the versions of the tools, and under `parts` each name and count; with an
    /// earlier report also the count before, the change in percent, and what is gone.
    pub(super) fn json(&self, before: Option<&Self>) -> Value {
        let parts = self.counts.iter().map(|count| {
            let mut part = json!({"name": count.name, "instructions": count.instructions});
            if let Some(old) = before.and_then(|before| before.count_of(&count.name)) {
                part["before"] = json!(old);
                part["change_percent"] = json!(change_percent(old, count.instructions));
            }
            part
        });
        let mut report = json!({
            "valgrind": self.tools.valgrind,
            "gungraun": self.tools.gungraun,
            "parts": parts.collect::<Vec<Value>>(),
        });
        if let Some(before) = before {
            let gone = self.gone(before).map(|count| count.name.as_str());
            report["gone"] = json!(gone.collect::<Vec<&str>>());
        }
        report
    }

    /// One line for each name.
    pub(super) fn table(&self, before: Option<&Self>) -> String {
        let mut rows = vec![match before {
            None => row("part::operation/size", "instructions", None),
            Some(_) => {
                let behind = ("before", "change");
                row("part::operation/size", "instructions", Some(behind))
            }
        }];
        for Count { name, instructions } in &self.counts {
            let now = instructions.to_string();
            let Some(before) = before else {
                rows.push(row(name, &now, None));
                continue;
            };
            let (old, change) = match before.count_of(name) {
                Some(old) => (old.to_string(), change_text(old, *instructions)),
                None => ("-".to_owned(), "new".to_owned()),
            };
            rows.push(row(name, &now, Some((&old, &change))));
        }
        if let Some(before) = before {
            for Count { name, instructions } in self.gone(before) {
                let old = instructions.to_string();
                rows.push(row(name, "-", Some((&old, "gone"))));
            }
            if before.tools != self.tools {
                let (old, new) = (&before.tools, &self.tools);
                rows.push(format!(
                    "counted by valgrind {} and gungraun {}, before by {} and {}\n",
                    new.valgrind, new.gungraun, old.valgrind, old.gungraun
                ));
            }
        }
        rows.concat()
    }
}

fn row(name: &str, now: &str, behind: Option<(&str, &str)>) -> String {
    let mut row = format!("{name:<26} {now:>14}");
    if let Some((before, change)) = behind {
        // To a string it cannot fail.
        let written = write!(row, " {before:>14} {change:>10}");
        debug_assert!(written.is_ok());
    }
    row.push('\n');
    row
}

/// From `before` to `now`, in percent of `before`; `None` of 0, which a file may say.
fn change_percent(before: u64, now: u64) -> Option<f64> {
    let (before, now) = (before as f64, now as f64);
    (before > 0.0).then(|| (now - before) / before * 100.0)
}

fn change_text(before: u64, now: u64) -> String {
    match change_percent(before, now) {
        Some(_) if before == now => "0 %".to_owned(),
        Some(change) => format!("{change:+.2} %"),
        None => "-".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(valgrind: &str, counts: &[(&str, u64)]) -> Report {
        let tools = Tools {
            valgrind: valgrind.into(),
            gungraun: "0.20.0".into(),
        };
        let count = |(name, instructions): &(&str, u64)| Count {
            name: (*name).to_owned(),
            instructions: *instructions,
        };
        Report::new(tools, counts.iter().map(count).collect())
    }

    #[test]
    fn a_report_reads_its_own_json() {
        let own = report("3.19.0", &[("a::b/1", 10), ("c::d/2", 20)]);
        let read = |report: &Value| Report::parse(&report.to_string()).unwrap();
        assert_eq!(read(&own.json(None)), own);
        assert_eq!(read(&own.json(Some(&own))), own);
        for other in [
            "",
            "{}",
            "[]",
            r#"{"valgrind":"3","gungraun":"0","parts":[{}]}"#,
        ] {
            assert!(Report::parse(other).is_err(), "{other}");
        }
    }

    #[test]
    fn a_table_without_a_comparison_has_names_and_counts() {
        let table = report("3.19.0", &[("a::b/1", 10)]).table(None);
        let words: Vec<&str> = table.split_whitespace().collect();
        assert_eq!(
            words,
            ["part::operation/size", "instructions", "a::b/1", "10"]
        );
    }

    #[test]
    fn a_comparison_tells_more_less_equal_new_and_gone() {
        let counts = [("more", 1_010), ("less", 990), ("equal", 7), ("new", 1)];
        let now = report("3.19.0", &counts);
        let counts = [("less", 1_000), ("more", 1_000), ("equal", 7), ("old", 5)];
        let before = report("3.19.0", &counts);
        let table = now.table(Some(&before));
        let lines: Vec<Vec<&str>> = table
            .lines()
            .map(|line| line.split_whitespace().collect())
            .collect();
        assert_eq!(
            lines[1..],
            [
                vec!["more", "1010", "1000", "+1.00", "%"],
                vec!["less", "990", "1000", "-1.00", "%"],
                vec!["equal", "7", "7", "0", "%"],
                vec!["new", "1", "-", "new"],
                vec!["old", "-", "5", "gone"],
            ]
        );
        let json = now.json(Some(&before));
        assert_eq!(json["parts"][0]["before"], 1_000);
        assert_eq!(json["parts"][0]["change_percent"], 1.0);
        assert_eq!(json["parts"][3].get("before"), None);
        assert_eq!(json["gone"], json!(["old"]));
    }

    #[test]
    fn counts_of_another_valgrind_are_told_to_be() {
        let (now, before) = (report("3.19.0", &[("a", 1)]), report("3.22.0", &[("a", 0)]));
        let table = now.table(Some(&before));
        assert!(table.contains("before by 3.22.0"), "{table}");
        assert!(!now.table(Some(&now)).contains("before by"));
        assert!(
            table.contains(" -\n"),
            "nothing is so many percent of 0: {table}"
        );
    }
}
