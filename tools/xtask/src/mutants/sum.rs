//! Adds up what `cargo xtask mutants --json` printed of slices.
//!
//! Owns what is asked of slices together: every mutant of the catalogue, caught by a named test.
//! One that was run again counts as it came out in the file named last. Never: runs a mutant.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::catalog;
use super::options::Options;

/// What became of one mutant, as its report has it.
struct Fate {
    result: Value,
    is_caught: bool,
    is_error: bool,
}

/// What reports say together.
#[derive(Default)]
pub(super) struct Sum {
    fates: BTreeMap<String, Fate>,
    seconds: u64,
}

/// Adds up the files that are named, and asks them for every mutant of the catalogue.
///
/// # Errors
/// When the catalogue or a file cannot be read, or a file is not what `--json` prints.
pub(crate) fn run(root: &Path, options: &Options<'_>) -> Result<bool> {
    let sum = Sum::of(&options.parts)?;
    let catalogue = catalog::load(root)?;
    let names: Vec<&str> = catalogue.iter().map(|one| one.name.as_str()).collect();
    let (json, is_good) = sum.judge(&names);
    if options.as_json {
        println!("{json:#}");
    } else {
        println!(
            "mutants: {} of {} run, {} caught in {} s; survivors {}, errors {}; {} absent (--json names them)",
            json["mutants"],
            names.len(),
            json["caught"],
            json["seconds"],
            json["survivors"],
            json["errors"],
            json["absent"].as_array().map_or(0, Vec::len),
        );
    }
    Ok(is_good)
}

impl Sum {
    /// # Errors
    /// When a file cannot be read, or is not what `--json` prints.
    pub(super) fn of(files: &[&str]) -> Result<Self> {
        let mut sum = Self::default();
        for file in files {
            let text = fs::read_to_string(file).with_context(|| format!("reading {file}"))?;
            sum.add(&text)
                .with_context(|| format!("{file} cannot be added up"))?;
        }
        Ok(sum)
    }

    /// The test that noticed a mutant, where one did.
    pub(super) fn caught_by(&self, name: &str) -> Option<&str> {
        self.fates.get(name)?.result["caught_by"].as_str()
    }

    fn add(&mut self, text: &str) -> Result<()> {
        let report: Value = serde_json::from_str(text).context("it is no JSON")?;
        ensure!(report["schema"] == 1, "it is no report of version 1");
        let errors = report["errors"].as_array().context("it has no errors")?;
        let results = report["results"].as_array().context("it has no results")?;
        self.seconds += report["seconds"].as_u64().context("it has no seconds")?;
        for result in results {
            let name = result["name"].as_str().context("a result has no name")?;
            let fate = Fate {
                is_caught: result["caught_by"].is_string(),
                is_error: errors.iter().any(|error| error == name),
                result: result.clone(),
            };
            self.fates.insert(name.to_owned(), fate);
        }
        Ok(())
    }

    /// What is printed, and whether every mutant of these names was caught. Others are none of the
    /// catalogue any more, and count for nothing.
    fn judge(&self, names: &[&str]) -> (Value, bool) {
        let of = |name: &&str| self.fates.get(*name);
        let fates: Vec<&Fate> = names.iter().filter_map(of).collect();
        let named = |is_meant: &dyn Fn(&Fate) -> bool| -> Vec<&Value> {
            let meant = fates.iter().filter(|fate| is_meant(fate));
            meant.map(|fate| &fate.result["name"]).collect()
        };
        let absent: Vec<&&str> = names.iter().filter(|name| of(name).is_none()).collect();
        let caught = named(&|fate| fate.is_caught).len();
        let not_built = |fate: &Fate| !fate.result["error"].is_null() && !fate.is_error;
        let json = json!({
            "schema": 1,
            "mutants": fates.len(),
            "caught": caught,
            "not_built": named(&not_built).len(),
            "survivors": named(&|fate| !fate.is_caught && fate.result["error"].is_null()),
            "errors": named(&|fate| fate.is_error),
            "absent": absent,
            "seconds": self.seconds,
            "results": fates.iter().map(|fate| &fate.result).collect::<Vec<_>>(),
        });
        (json, caught == names.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(name: &str, caught_by: Option<&str>, error: Option<&str>) -> Value {
        json!({ "name": name, "caught_by": caught_by, "error": error })
    }

    fn report(results: &[Value], errors: &[&str]) -> String {
        json!({ "schema": 1, "seconds": 5, "errors": errors, "results": results }).to_string()
    }

    #[test]
    fn slices_together_are_asked_for_every_mutant_and_the_last_word_counts() {
        let mut sum = Sum::default();
        let first = [
            result("a", Some("p t x"), None),
            result("b", None, None),
            result("c", None, Some("hangs")),
            result("d", None, Some("no type")),
            result("gone", None, None),
        ];
        sum.add(&report(&first, &["c"])).expect("a report");
        let names = ["a", "b", "c", "d", "e"];
        let (json, is_good) = sum.judge(&names);
        assert!(!is_good);
        assert_eq!((&json["mutants"], &json["caught"]), (&json!(4), &json!(1)));
        assert_eq!(json["survivors"], json!(["b"]));
        assert_eq!(json["errors"], json!(["c"]));
        assert_eq!(json["not_built"], 1);
        assert_eq!(json["absent"], json!(["e"]));

        let again = ["b", "c", "d", "e"].map(|name| result(name, Some("p t y"), None));
        sum.add(&report(&again, &[])).expect("a report");
        let (json, is_good) = sum.judge(&names);
        assert!(is_good);
        assert_eq!(
            (&json["mutants"], &json["seconds"]),
            (&json!(5), &json!(10))
        );
        // One that is caught no more is none that was caught once.
        sum.add(&report(&[result("a", None, None)], &[]))
            .expect("a report");
        assert!(!sum.judge(&names).1);
    }

    #[test]
    fn what_is_no_report_is_refused() {
        for text in ["", "{}", "{\"schema\":2}", "{\"schema\":1,\"results\":[]}"] {
            assert!(Sum::default().add(text).is_err(), "{text:?}");
        }
        let nameless = report(&[json!({ "caught_by": "p t x" })], &[]);
        assert!(Sum::default().add(&nameless).is_err());
    }
}
