//! Citations of docs/protocol.md: `protocol.md 2.4` must lead to a section of that number.
//!
//! Never: looks at rule numbers; `rules` does.

use std::collections::BTreeSet;

use super::finding::Finding;
use super::source::Source;

/// How a citation begins.
const NAME: &str = "protocol.md";

/// Complains about every citation in the comments of `sources` that leads to no section.
pub(crate) fn check(document: &str, sources: &[Source], found: &mut Vec<Finding>) {
    let sections = sections(document);
    for source in sources {
        for (number, line) in source.numbered() {
            check_line(&sections, &source.path, number, &line.comment, found);
        }
    }
}

/// Complains about every citation in the prose `text` at `path` that leads to no section.
pub(crate) fn check_prose(document: &str, path: &str, text: &str, found: &mut Vec<Finding>) {
    let sections = sections(document);
    for (index, line) in text.lines().enumerate() {
        check_line(&sections, path, index + 1, line, found);
    }
}

fn check_line(
    sections: &BTreeSet<String>,
    path: &str,
    number: usize,
    line: &str,
    found: &mut Vec<Finding>,
) {
    for rest in line.split(NAME).skip(1) {
        let Some(cited) = cited_section(rest) else {
            continue;
        };
        if !sections.contains(&cited) {
            let what = format!("{NAME} has no section {cited}");
            found.push(Finding::new(
                path,
                number,
                what,
                "cite the one that is meant",
            ));
        }
    }
}

/// The number that `rest`, the text behind the name of the document, begins with, if it does.
fn cited_section(rest: &str) -> Option<String> {
    let rest = rest.trim_start_matches(['`', ',']).strip_prefix(' ')?;
    let rest = rest.strip_prefix("section ").unwrap_or(rest);
    let number: String = rest
        .chars()
        .take_while(|c| c.is_ascii_digit() || *c == '.')
        .collect();
    let number = number.trim_end_matches('.');
    (!number.is_empty()).then(|| number.to_owned())
}

/// The numbers of the headings: `### 2.4 Name`, `## 4. Name` and `### R11 Order (3.1)`.
fn sections(document: &str) -> BTreeSet<String> {
    document
        .lines()
        .filter(|line| line.starts_with('#'))
        .flat_map(str::split_whitespace)
        .map(|word| word.trim_matches(['(', ')', '.']))
        .filter(|word| !word.is_empty() && word.chars().all(|c| c.is_ascii_digit() || c == '.'))
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = "# P\n## 4. Why\n### 2.4 Predicates\n### R11 Order (3.1)\nsee 9.9\n";

    fn findings(text: &str) -> usize {
        let mut found = Vec::new();
        check(DOCUMENT, &[Source::new("net/src/a.rs", text)], &mut found);
        let in_comments = found.len();
        check_prose(DOCUMENT, "a.md", text, &mut found);
        assert_eq!(found.len(), 2 * in_comments);
        in_comments
    }

    #[test]
    fn a_citation_that_leads_nowhere_is_found() {
        assert_eq!(findings("// see protocol.md 9.9\n"), 1);
        assert_eq!(findings("// see docs/protocol.md, section 7\n"), 1);
        assert_eq!(findings("// (`protocol.md` 2.5)\n"), 1);
    }

    #[test]
    fn a_citation_that_leads_somewhere_passes() {
        assert_eq!(
            findings("// protocol.md 2.4, protocol.md 3.1. And protocol.md 4.\n"),
            0
        );
        assert_eq!(findings("// docs/protocol.md numbers the rules\n"), 0);
    }
}
