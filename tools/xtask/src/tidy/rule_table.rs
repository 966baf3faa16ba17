//! The table of docs/protocol.md that says where each rule stands: made from the code, not by hand.
//!
//! Owns the text between the two marks of the document. `cargo xtask rules` writes it, `tidy`
//! complains when it is out of date. Never: judges whether a rule is tested; `rules` does.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::finding::Finding;
use super::rules;
use super::scripts::Script;
use super::source::{Source, has_word};
use crate::bless::FOLDER;

const BEGIN: &str = "<!-- made by cargo xtask rules -->";
const END: &str = "<!-- end of what cargo xtask rules makes -->";

/// Complains if the table of `document` is not the one that `sources` give.
pub(crate) fn check(
    document: &str,
    sources: &[Source],
    scripts: &[Script],
    found: &mut Vec<Finding>,
) {
    if updated(document, sources, scripts).as_deref() != Some(document) {
        let line = document
            .lines()
            .position(|line| line == BEGIN)
            .map_or(0, |index| index + 1);
        let what = "the table of rules is not what the code says";
        found.push(Finding::new(
            rules::DOCUMENT,
            line,
            what,
            "run cargo xtask rules",
        ));
    }
}

/// The document with its table made afresh; `None` if it lacks the marks.
pub(crate) fn updated(document: &str, sources: &[Source], scripts: &[Script]) -> Option<String> {
    let (head, rest) = document.split_once(BEGIN)?;
    let (_, tail) = rest.split_once(END)?;
    Some(format!(
        "{head}{BEGIN}\n{}{END}{tail}",
        table(document, sources, scripts)
    ))
}

fn table(document: &str, sources: &[Source], scripts: &[Script]) -> String {
    let mut text = String::from("| Rule | Code | Scripts | Tests |\n|---|---|---|---|\n");
    for rule in 1..=rules::RULES {
        let row = if rules::is_built(document, rule) {
            format!(
                "{} | {} | {}",
                joined(&code(rule, sources)),
                shown(rule, scripts),
                joined(&tests(rule, sources))
            )
        } else {
            "not yet built | | ".to_owned()
        };
        // Writing to a string cannot fail.
        writeln!(text, "| R{rule} | {} |", row.trim_end()).ok();
    }
    text
}

fn joined(names: &BTreeSet<String>) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    quoted.join(", ")
}

/// The scenario scripts that show the rule, each a link to its trace.
fn shown(rule: u32, scripts: &[Script]) -> String {
    let shown = scripts.iter().filter(|script| script.shows.contains(&rule));
    let links: Vec<String> = shown
        .map(|script| format!("[{0}](../{FOLDER}/{0}.trace)", script.name))
        .collect();
    links.join(", ")
}

/// The files whose non-test comments name the rule, without what all of them begin with.
fn code(rule: u32, sources: &[Source]) -> BTreeSet<String> {
    let name = format!("R{rule}");
    sources
        .iter()
        .filter(|source| {
            source
                .lines
                .iter()
                .any(|line| !line.is_test && has_word(&line.comment, &name))
        })
        .filter_map(|source| source.path.strip_prefix(rules::CODE))
        .filter(|path| *path != "lib.rs")
        .map(str::to_owned)
        .collect()
}

fn tests(rule: u32, sources: &[Source]) -> BTreeSet<String> {
    rules::test_names(sources)
        .into_iter()
        .filter(|name| rules::is_test_of(name, rule))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources() -> [Source; 2] {
        [
            Source::new("engine/consensus/src/windows.rs", "// R1 enter\n"),
            Source::new("engine/sim/tests/a.rs", "#[test]\nfn r1_enters() {}\n"),
        ]
    }

    fn scripts() -> Vec<Script> {
        let files = [("engine/sim/scripts/a.script", "# shows: R1\n")];
        super::super::scripts::scripts_of(files.into_iter())
    }

    #[test]
    fn the_table_names_code_and_tests() {
        let document =
            format!("# P\n### R1 Enter\n### R2 Go\nNot yet built.\n{BEGIN}\nold\n{END}\n");
        let text = updated(&document, &sources(), &scripts()).expect("it has the marks");
        assert!(text.contains(
            "| R1 | `windows.rs` | [a](../engine/sim/scripts/a.trace) | `r1_enters` |\n"
        ));
        assert!(text.contains("| R2 | not yet built | | |\n"));
        assert!(!text.contains("old"));
        assert_eq!(
            updated(&text, &sources(), &scripts()).as_deref(),
            Some(text.as_str())
        );
    }

    #[test]
    fn a_table_that_is_out_of_date_is_found() {
        let document = format!("# P\n{BEGIN}\nold\n{END}\n");
        let mut found = Vec::new();
        check(&document, &sources(), &scripts(), &mut found);
        assert_eq!((found.len(), found[0].line), (1, 2));
        let text = updated(&document, &sources(), &scripts()).expect("it has the marks");
        check(&text, &sources(), &scripts(), &mut found);
        assert_eq!(found.len(), 1);
        check("# P without marks\n", &sources(), &scripts(), &mut found);
        assert_eq!(found.len(), 2);
    }
}
