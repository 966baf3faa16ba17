//! Words that are not ours, and marks that must not be left behind.
//!
//! Owns the list of banned words with their replacements. Never: looks into literals, where the
//! words of others may be quoted.

use super::finding::Finding;
use super::source::{Source, is_word_char};

/// Phrases that must not occur in code or comments of the engine, with what to say instead.
/// Identifiers are read as phrases: `ViewChange` and `view_change` are both "view change".
const BANNED: &[(&str, &str)] = &[
    ("ballot", "a validator's statement is its vote record"),
    (
        "qc",
        "name the certificate: notarized, certified, skip, fast-final, slow-final",
    ),
    (
        "quorum cert",
        "name the certificate: notarized, certified, skip, fast-final, slow-final",
    ),
    (
        "quorum certificate",
        "name the certificate: notarized, certified, skip, fast-final, slow-final",
    ),
    ("polka", "say certified"),
    ("view change", "a leader's tenure is a window"),
    ("view number", "a leader's tenure is a window"),
    ("new view", "a leader's tenure is a window"),
    ("round number", "a position is (epoch, window, index)"),
    ("term number", "a validator set's span is an epoch"),
    ("transaction", "what a client sends is a command"),
    ("transactions", "what a client sends is a command"),
    ("voting power", "the weight of a validator is its stake"),
];

/// Phrases banned only where they can mean a leader or a state of a block.
const BANNED_IN_PROTOCOL: &[(&str, &str)] = &[
    ("primary", "the proposer of a window is its leader"),
    ("committed", "say finalized, proven or durable"),
];

/// Folders in which [`BANNED_IN_PROTOCOL`] holds too.
const PROTOCOL_FOLDERS: &[&str] = &["engine/consensus/", "engine/node/", "engine/sim/"];

/// Every complaint about the words of `source`.
pub(crate) fn check(source: &Source, found: &mut Vec<Finding>) {
    let mut lists: Vec<&[(&str, &str)]> = Vec::new();
    if source.path.starts_with("engine/") {
        lists.push(BANNED);
    }
    if PROTOCOL_FOLDERS
        .iter()
        .any(|folder| source.path.starts_with(folder))
    {
        lists.push(BANNED_IN_PROTOCOL);
    }
    for (number, line) in source.numbered() {
        let phrase = format!(" {} {} ", phrase_of(&line.code), phrase_of(&line.comment));
        for (word, hint) in lists.iter().copied().flatten() {
            if phrase.contains(&format!(" {word} ")) {
                let what = format!("the word \"{word}\"");
                found.push(Finding::new(&source.path, number, what, *hint));
            }
        }
        if let Some((what, remedy)) = leftover(&line.code, &line.comment) {
            found.push(Finding::new(&source.path, number, what, remedy));
        }
    }
}

/// The words of `text` in lower case, one space between them; identifiers are taken apart.
fn phrase_of(text: &str) -> String {
    let mut phrase = String::with_capacity(text.len());
    let mut last = ' ';
    for c in text.chars() {
        let is_letter = c.is_ascii_alphanumeric();
        let is_edge = c.is_ascii_uppercase() && last.is_ascii_lowercase();
        if (!is_letter || is_edge) && !phrase.ends_with(' ') {
            phrase.push(' ');
        }
        if is_letter {
            phrase.push(c.to_ascii_lowercase());
        }
        last = c;
    }
    phrase
}

/// A mark that somebody left behind on a line, and what to do about it.
fn leftover(code: &str, comment: &str) -> Option<(String, &'static str)> {
    for mark in ["FIXME", "XXX"] {
        if super::source::has_word(comment, mark) || super::source::has_word(code, mark) {
            return Some((format!("a leftover {mark}"), "repair it or write TODO(#n)"));
        }
    }
    for mark in ["todo!(", "unimplemented!(", "dbg!("] {
        if code.contains(mark) {
            return Some((format!("a leftover {mark})"), "finish it"));
        }
    }
    if code.replace(' ', "").contains("#[ignore]") {
        return Some((
            "an ignored test without a reason".into(),
            "write #[ignore = \"why\"]",
        ));
    }
    for at in super::source::word_columns(comment, "TODO") {
        if !is_numbered(&comment[at + 4..]) {
            return Some(("a TODO without a number".into(), "write TODO(#n)"));
        }
    }
    None
}

/// Whether `rest` begins with `(#` digits `)`.
fn is_numbered(rest: &str) -> bool {
    rest.strip_prefix("(#")
        .and_then(|tail| tail.split_once(')'))
        .is_some_and(|(number, _)| {
            !number.is_empty()
                && number
                    .chars()
                    .all(|c| is_word_char(c) && c.is_ascii_digit())
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(path: &str, text: &str) -> Vec<String> {
        let mut found = Vec::new();
        check(&Source::new(path, text), &mut found);
        found.into_iter().map(|finding| finding.what).collect()
    }

    #[test]
    fn a_banned_word_is_found_in_comments_and_in_identifiers() {
        for text in [
            "// the primary proposes\n",
            "struct ViewChange;\n",
            "let view_change = 1;\n",
            "// a QC for it\n",
            "let high_qc = 1;\n",
            "// a transaction\n",
            "fn committed() {}\n",
        ] {
            assert_eq!(
                findings("engine/consensus/src/a.rs", text).len(),
                1,
                "{text}"
            );
        }
    }

    #[test]
    fn a_banned_word_in_a_string_or_outside_the_engine_is_left_alone() {
        assert!(findings("engine/consensus/src/a.rs", "let a = \"ballot\";\n").is_empty());
        assert!(findings("net/src/a.rs", "// a transaction\n").is_empty());
        assert!(findings("engine/venue/src/a.rs", "// the primary market\n").is_empty());
        assert!(findings("engine/consensus/src/a.rs", "// a view of the state\n").is_empty());
    }

    #[test]
    fn leftovers_are_found() {
        for text in [
            "// FIXME later\n",
            "// XXX\n",
            "todo!()\n",
            "unimplemented!()\n",
            "dbg!(a)\n",
            "#[ignore]\n",
            "// TODO make it so\n",
            "// TODO(#) make it so\n",
        ] {
            assert_eq!(findings("net/src/a.rs", text).len(), 1, "{text}");
        }
    }

    #[test]
    fn a_numbered_todo_and_an_ignore_with_a_reason_pass() {
        let text = "// TODO(#12): shorter\n#[ignore = \"needs two machines\"]\n";
        assert!(findings("net/src/a.rs", text).is_empty());
    }
}
