//! What ships has no switch for a checker: no `cfg` of loom, shuttle, a fuzzer or Miri.
//!
//! A model of threads compiles the very file of a protocol over other atomics (see
//! `net/src/atomics.rs`), so that no source needs one. Never: looks at platforms, features, or
//! `cfg(test)`, which the compiler knows.

use super::finding::Finding;
use super::source::{Source, has_word};

/// Conditions that stand for a checker.
const CHECKERS: &[&str] = &["fuzzing", "loom", "miri", "shuttle"];

/// Every complaint about the switches of `source`.
pub(crate) fn check(source: &Source, found: &mut Vec<Finding>) {
    for (number, line) in source.numbered() {
        let is_condition = ["cfg", "cfg_attr"]
            .iter()
            .any(|word| has_word(&line.code, word));
        for name in CHECKERS.iter().filter(|_| is_condition) {
            if has_word(&line.code, name) {
                found.push(Finding::new(
                    &source.path,
                    number,
                    format!("a switch for {name}"),
                    "let the model compile the file over its own atomics, as net/tests/loom.rs does",
                ));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(text: &str) -> usize {
        let mut found = Vec::new();
        check(&Source::new("net/src/a.rs", text), &mut found);
        found.len()
    }

    #[test]
    fn a_switch_for_a_checker_is_found_and_other_conditions_pass() {
        for text in [
            "#[cfg(loom)]\n",
            "#[cfg(not(loom))]\n",
            "if cfg!(miri) {}\n",
            "#![cfg_attr(fuzzing, no_main)]\n",
        ] {
            assert_eq!(findings(text), 1, "{text}");
        }
        for text in [
            "#[cfg(test)]\n",
            "#[cfg(target_os = \"linux\")]\n",
            "use loom::thread; // no cfg(loom)\n",
        ] {
            assert_eq!(findings(text), 0, "{text}");
        }
    }
}
