//! Scenes: golden scenario scripts, the readable documentation of the protocol.
//!
//! A script says step by step which message reaches whom, whose time passes, whose log is synced,
//! who crashes and comes back with what disk. It drives the shipped `Consensus` of every validator
//! and writes down what each of them said, which rule moved it, and which certificates formed.
//! Nothing is drawn from a seed: a script gives the same trace for ever, or a rule has changed.
//!
//! Read in this order: `command` and `parse` (the language), `stage` and `member` (the validators
//! and what is in flight), `carry` (what a validator asks of the outside), `director` (what each
//! command does), `expect` (what a script asserts), `view` (which certificates formed, counted
//! apart from the product), `names` and `line` (how things are written). Never: faults by chance;
//! `world` has those.

mod carry;
mod command;
mod director;
mod disk;
mod expect;
mod line;
mod member;
mod names;
mod parse;
mod saying;
mod stage;
mod tell;
mod view;
mod words;

use std::fmt;

pub(crate) use names::kind_of;

/// What a script came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Played {
    /// Everything that happened, one line an event, each command of the script before it.
    pub trace: String,
    /// Why the script ended early, if it did.
    pub failure: Option<ScriptError>,
}

/// A script that cannot be read, asks for what is not there, or expects what is not so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScriptError {
    /// The script, as it was named.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// What is wrong, and what was expected.
    pub what: String,
}

impl fmt::Display for ScriptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.what)
    }
}

impl std::error::Error for ScriptError {}

/// Plays the script `text`; `file` is what errors call it.
#[must_use]
pub fn play(file: &str, text: &str) -> Played {
    let fail = |line: usize, what: String| ScriptError {
        file: file.to_owned(),
        line,
        what,
    };
    let lines = match parse::parse(text) {
        Ok(lines) => lines,
        Err((line, what)) => {
            return Played {
                trace: String::new(),
                failure: Some(fail(line, what)),
            };
        }
    };
    let (trace, failure) = director::direct(&lines);
    Played {
        trace,
        failure: failure.map(|(line, what)| fail(line, what)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure_of(text: &str) -> String {
        let failure = play("a.script", text).failure;
        failure.map_or_else(String::new, |failure| failure.to_string())
    }

    #[test]
    fn an_error_names_file_line_and_what_was_expected() {
        let wrong = [
            (
                "validators 4\nproposes v0 a\n",
                "a.script:2: expected a command",
            ),
            ("validators four\n", "a.script:1: expected a number"),
            (
                "validators 4\npropose v4 a\n",
                "a.script:2: expected a validator",
            ),
            (
                "validators 4\n\npropose v1 a\n",
                "a.script:3: v1 has no room",
            ),
            (
                "validators 4\ndeliver v0 -> v1 vote\n",
                "a.script:2: nothing in flight",
            ),
            (
                "validators 4\npropose v0 a\nslots 8\n",
                "a.script:3: slots stands above",
            ),
            (
                "validators 4\nexpect v0 finalized a\n",
                "a.script:2: no block is called a",
            ),
            (
                "validators 4\nexpect all window 1\n",
                "a.script:2: expected window 1 at v0",
            ),
            (
                "validators 4\nsay v0 -> v1 vote w0 stop\n",
                "a.script:2: v0 is honest",
            ),
            (
                "validators 3\nfault 1\nheal\n",
                "a.script:3: the set is refused",
            ),
            (
                "validators 4\nsync v0 v1 extra\n",
                "a.script:2: expected the end of the line",
            ),
        ];
        for (text, expected) in wrong {
            let found = failure_of(text);
            assert!(found.starts_with(expected), "{text:?} gave {found:?}");
        }
    }

    #[test]
    fn the_same_script_gives_the_same_trace_and_a_failed_one_keeps_what_came_before() {
        let text = "validators 4\npropose v0 a\ndeliver all\nexpect all finalized none\n";
        let (first, second) = (play("x", text), play("x", text));
        assert_eq!(first, second);
        assert!(first.trace.contains("R2   proposes a"), "{}", first.trace);
        let failure = first.failure.map(|failure| failure.what);
        let failure = failure.unwrap_or_default();
        assert!(failure.contains("finalized a"), "{failure}");
    }
}
