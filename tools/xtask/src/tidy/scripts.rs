//! The golden scenario scripts: which rule each of them shows, and that it does.
//!
//! Owns the headers `# shows: R1 R5` of engine/sim/scripts. Each rule from R1 to R13 that is built
//! must be shown by a script, and a rule that a script says it shows must occur in its trace.
//! Never: whether a trace is what the code does; the test `scripts` of quorate-sim holds that.

use std::collections::BTreeSet;

use super::finding::Finding;
use super::rules;
use crate::bless::FOLDER;

/// What a script's header begins with.
const SHOWS: &str = "# shows:";
/// Rules that a script can show: later ones are about more than one epoch.
const SHOWN: std::ops::RangeInclusive<u32> = 1..=13;

/// One script.
#[derive(Debug)]
pub(crate) struct Script {
    /// Its name, without folder and ending.
    pub(crate) name: String,
    /// The rules that its header names.
    pub(crate) shows: BTreeSet<u32>,
    /// Words of the header that are no rules.
    strangers: Vec<String>,
    /// The rules that occur in its trace; none when there is no trace.
    occur: Option<BTreeSet<u32>>,
}

/// The scripts among files, given as path and text.
pub(crate) fn scripts_of<'a>(
    files: impl Iterator<Item = (&'a str, &'a str)> + Clone,
) -> Vec<Script> {
    let mut scripts = Vec::new();
    for (path, text) in files.clone() {
        let Some(name) = path
            .strip_prefix(FOLDER)
            .and_then(|name| name.strip_prefix('/'))
            .and_then(|name| name.strip_suffix(".script"))
        else {
            continue;
        };
        let header = text.lines().find_map(|line| line.strip_prefix(SHOWS));
        let words: Vec<&str> = header.unwrap_or_default().split_whitespace().collect();
        let trace = format!("{FOLDER}/{name}.trace");
        let trace = files.clone().find(|(path, _)| *path == trace);
        scripts.push(Script {
            name: name.to_owned(),
            shows: words.iter().filter_map(|word| rule_of(word)).collect(),
            strangers: words
                .iter()
                .filter(|word| rule_of(word).is_none())
                .map(|&word| word.to_owned())
                .collect(),
            occur: trace.map(|(_, text)| occurring(text)),
        });
    }
    scripts.sort_by(|a, b| a.name.cmp(&b.name));
    scripts
}

/// The number of a word such as `R7`.
fn rule_of(word: &str) -> Option<u32> {
    word.strip_prefix('R')?.parse().ok()
}

/// The rules by which the lines of a trace are marked. A line of an event is indented: whose it is
/// comes first, then its mark.
fn occurring(trace: &str) -> BTreeSet<u32> {
    let events = trace.lines().filter(|line| line.starts_with("  v"));
    let marks = events.filter_map(|line| {
        let mut words = line
            .split_whitespace()
            .skip_while(|word| is_validator(word));
        words.next()
    });
    marks.filter_map(rule_of).collect()
}

/// Whether a word is one validator or several, such as `v0` and `v1..v3`.
fn is_validator(word: &str) -> bool {
    word.strip_prefix('v')
        .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
}

/// Every complaint about the scripts, against the rules that `document` states.
pub(crate) fn check(document: &str, scripts: &[Script], found: &mut Vec<Finding>) {
    for script in scripts {
        let path = format!("{FOLDER}/{}.script", script.name);
        let mut complain = |what: String, remedy: &str| {
            found.push(Finding::new(&path, 1, what, remedy));
        };
        if script.shows.is_empty() {
            let what = format!("it does not say \"{SHOWS} R...\"");
            complain(what, "name the rules that it is to show");
        }
        for word in &script.strangers {
            complain(
                format!("{word} is no rule"),
                "name rules alone after the mark",
            );
        }
        let Some(occur) = &script.occur else {
            complain("it has no trace".to_owned(), "run cargo xtask bless");
            continue;
        };
        for rule in script.shows.difference(occur) {
            let what = format!("R{rule} does not occur in its trace");
            complain(
                what,
                "take the rule out of the header, or make the script show it",
            );
        }
    }
    for rule in SHOWN.filter(|&rule| rules::is_built(document, rule)) {
        if !scripts.iter().any(|script| script.shows.contains(&rule)) {
            let what = format!("no script shows R{rule}");
            let remedy = format!("write one in {FOLDER}");
            found.push(Finding::new(rules::DOCUMENT, 0, what, remedy));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaints(files: &[(&str, &str)]) -> Vec<String> {
        let document = "# P\n### R1 Enter\n### R2 Propose\nNot yet built.\n";
        let scripts = scripts_of(files.iter().copied());
        let mut found = Vec::new();
        check(document, &scripts, &mut found);
        found.into_iter().map(|finding| finding.what).collect()
    }

    const SCRIPT: (&str, &str) = ("engine/sim/scripts/a.script", "# shows: R1\nvalidators 4\n");

    #[test]
    fn a_script_whose_trace_has_its_rule_passes() {
        let trace = ("engine/sim/scripts/a.trace", "  v1 v2..v3 R1   enters w1\n");
        assert!(complaints(&[SCRIPT, trace]).is_empty());
    }

    #[test]
    fn a_rule_that_does_not_occur_or_is_shown_by_nobody_is_found() {
        let trace = (
            "engine/sim/scripts/a.trace",
            "# R1 in prose\n> say R1\n  v0        ->   a word about R1\n",
        );
        assert_eq!(
            complaints(&[SCRIPT, trace]),
            ["R1 does not occur in its trace"]
        );
        assert_eq!(complaints(&[]), ["no script shows R1"]);
    }

    #[test]
    fn a_script_without_a_trace_or_with_a_bad_header_is_found() {
        assert_eq!(complaints(&[SCRIPT]), ["it has no trace"]);
        let strange = (SCRIPT.0, "# shows: R1 all\n");
        let trace = ("engine/sim/scripts/a.trace", "  v0  R1   enters w0\n");
        assert_eq!(complaints(&[strange, trace]), ["all is no rule"]);
        let silent = (SCRIPT.0, "validators 4\n");
        assert!(complaints(&[silent, trace])[0].contains("does not say"));
    }
}
