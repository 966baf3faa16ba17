//! The rule numbers of docs/protocol.md, found again in the code and in the tests.
//!
//! A rule is a heading `### R7 ...` of docs/protocol.md. Each must be named by a comment of
//! non-test code in engine/consensus/src and by a test whose name holds `r7_`. A section that
//! says `Not yet built` is let off. Every test that the document names must exist. Never: judges
//! whether the test is a good one.

use std::collections::{BTreeMap, BTreeSet};

use super::finding::Finding;
use super::source::{Source, has_word};

/// Where the rules are written.
pub(crate) const DOCUMENT: &str = "docs/protocol.md";
/// How many rules there are: R1 to R14.
pub(crate) const RULES: u32 = 14;
/// Where a rule must be named in a comment.
pub(crate) const CODE: &str = "engine/consensus/src/";
/// Where the test of a rule may stand.
const TESTS: &[&str] = &["engine/consensus/", "engine/node/", "engine/sim/"];
/// The words by which a section says that its rule is not in the code.
const NOT_BUILT: &str = "Not yet built";

/// Every complaint about the rules that `document` states, against the whole of `sources`.
pub(crate) fn check(document: &str, sources: &[Source], found: &mut Vec<Finding>) {
    let stated = stated_rules(document);
    for rule in 1..=RULES {
        let Some(section) = stated.get(&rule) else {
            let what = format!("rule R{rule} has no heading \"### R{rule} ...\"");
            found.push(Finding::new(DOCUMENT, 0, what, "state it"));
            continue;
        };
        if section.is_built {
            in_code(rule, section.line, sources, found);
            in_tests(rule, section.line, sources, found);
        }
    }
    for (rule, section) in stated
        .iter()
        .filter(|(rule, _)| !(1..=RULES).contains(*rule))
    {
        let what = format!("there is no rule R{rule}");
        found.push(Finding::new(
            DOCUMENT,
            section.line,
            what,
            "rules are R1 to R14",
        ));
    }
    named_tests(document, sources, found);
}

/// Where a rule is stated.
struct Section {
    line: usize,
    is_built: bool,
}

/// The rules that have a heading, with the line of the heading.
fn stated_rules(document: &str) -> BTreeMap<u32, Section> {
    let mut stated = BTreeMap::new();
    let mut current = None;
    for (index, line) in document.lines().enumerate() {
        if line.starts_with('#') {
            current = rule_of_heading(line);
            if let Some(rule) = current {
                stated.insert(
                    rule,
                    Section {
                        line: index + 1,
                        is_built: true,
                    },
                );
            }
        } else if let Some(section) = current.and_then(|rule| stated.get_mut(&rule))
            && line.contains(NOT_BUILT)
        {
            section.is_built = false;
        }
    }
    stated
}

/// The number in a heading of the form `### R7 name`.
fn rule_of_heading(line: &str) -> Option<u32> {
    let word = line.trim_start_matches('#').split_whitespace().next()?;
    word.strip_prefix('R')?.parse().ok()
}

fn in_code(rule: u32, line: usize, sources: &[Source], found: &mut Vec<Finding>) {
    let name = format!("R{rule}");
    let is_named = sources
        .iter()
        .filter(|source| source.path.starts_with(CODE))
        .any(|source| {
            source
                .lines
                .iter()
                .any(|line| !line.is_test && has_word(&line.comment, &name))
        });
    if !is_named {
        let what = format!("no comment in {CODE} names {name}");
        found.push(Finding::new(
            DOCUMENT,
            line,
            what,
            format!("write // {name} at its arm"),
        ));
    }
}

fn in_tests(rule: u32, line: usize, sources: &[Source], found: &mut Vec<Finding>) {
    let is_tested = test_names(sources)
        .iter()
        .any(|name| is_test_of(name, rule));
    if !is_tested {
        let what = format!("no test of R{rule}: no name holds r{rule}_");
        let remedy = format!("write a test r{rule}_... in one of {}", TESTS.join(", "));
        found.push(Finding::new(DOCUMENT, line, what, remedy));
    }
}

/// Whether a test of this name says that it is about `rule`: a part of it is `r7`, not the last.
pub(crate) fn is_test_of(name: &str, rule: u32) -> bool {
    let part = format!("r{rule}");
    name.split('_').rev().skip(1).any(|piece| piece == part)
}

/// Whether `document` states `rule` and does not call it unbuilt.
pub(crate) fn is_built(document: &str, rule: u32) -> bool {
    stated_rules(document)
        .get(&rule)
        .is_some_and(|section| section.is_built)
}

/// The names of all test functions in the folders where rules are tested.
pub(crate) fn test_names(sources: &[Source]) -> BTreeSet<String> {
    sources
        .iter()
        .filter(|source| TESTS.iter().any(|folder| source.path.starts_with(folder)))
        .flat_map(Source::functions)
        .filter(|function| function.is_test)
        .map(|function| function.name)
        .collect()
}

/// Complains about a test that the document names (`` `r7_...` ``) and nobody wrote.
fn named_tests(document: &str, sources: &[Source], found: &mut Vec<Finding>) {
    let names = test_names(sources);
    for (index, line) in document.lines().enumerate() {
        for quoted in line.split('`').skip(1).step_by(2) {
            let is_test_name = quoted.strip_prefix('r').is_some_and(|rest| {
                rest.starts_with(|c: char| c.is_ascii_digit())
                    && rest.contains('_')
                    && rest.chars().all(super::source::is_word_char)
            });
            if is_test_name && !names.contains(quoted) {
                let what = format!("the test {quoted} does not exist");
                found.push(Finding::new(
                    DOCUMENT,
                    index + 1,
                    what,
                    "name the test that does",
                ));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document() -> String {
        let mut text = String::from("# Protocol\n");
        for rule in 1..=RULES {
            text.push_str(&format!("### R{rule} Name\n\nText.\n"));
            if rule > 1 {
                text.push_str("Not yet built: for a reason.\n");
            }
        }
        text
    }

    fn findings(document: &str, files: &[(&str, &str)]) -> Vec<String> {
        let sources: Vec<Source> = files
            .iter()
            .map(|(path, text)| Source::new(path, text))
            .collect();
        let mut found = Vec::new();
        check(document, &sources, &mut found);
        found.into_iter().map(|finding| finding.what).collect()
    }

    const CODE_FILE: (&str, &str) = (
        "engine/consensus/src/windows.rs",
        "// R1 enter\nfn a() {}\n",
    );
    const TEST_FILE: (&str, &str) = (
        "engine/consensus/tests/rules.rs",
        "#[test]\nfn r1_enters_when_ready() {}\n",
    );

    #[test]
    fn a_rule_named_in_code_and_in_a_test_passes() {
        assert!(findings(&document(), &[CODE_FILE, TEST_FILE]).is_empty());
    }

    #[test]
    fn a_rule_without_code_or_without_a_test_is_found() {
        assert!(findings(&document(), &[TEST_FILE])[0].contains("names R1"));
        assert!(findings(&document(), &[CODE_FILE])[0].contains("no test of R1"));
        let longer = (
            "engine/consensus/tests/rules.rs",
            "#[test]\nfn r11_holds() {}\n",
        );
        assert!(findings(&document(), &[CODE_FILE, longer])[0].contains("no test of R1"));
        let in_tests_only = (
            "engine/consensus/src/a.rs",
            "#[cfg(test)]\nmod tests {\n    // R1\n}\n",
        );
        assert!(findings(&document(), &[in_tests_only, TEST_FILE])[0].contains("names R1"));
    }

    #[test]
    fn a_missing_or_unknown_rule_is_found() {
        let without = document().replace("### R9 Name", "### The ninth");
        assert!(findings(&without, &[CODE_FILE, TEST_FILE])[0].contains("R9 has no heading"));
        let with = format!("{}### R15 Name\nNot yet built.\n", document());
        assert!(findings(&with, &[CODE_FILE, TEST_FILE])[0].contains("no rule R15"));
    }

    #[test]
    fn a_test_that_only_the_document_knows_is_found() {
        let text = format!(
            "{}| R1 | `r1_enters_when_ready` | `r1_gone` |\n",
            document()
        );
        assert_eq!(
            findings(&text, &[CODE_FILE, TEST_FILE]),
            ["the test r1_gone does not exist"]
        );
    }
}
