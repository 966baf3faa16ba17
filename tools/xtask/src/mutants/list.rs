//! The mutants: one small wrong change each, chosen because it breaks a rule or a promise.
//!
//! `cargo xtask tidy` complains about a mutant whose text does not stand in the code exactly once.
//! Never: a change that leaves the behaviour the same.

use super::Mutant;

const RULES: &[&str] = &["quorate-consensus"];

const THRESHOLDS: &str = "engine/consensus/src/thresholds.rs";

const fn threshold(name: &'static str, find: &'static str, replace: &'static str) -> Mutant {
    let breaks = "a threshold (protocol.md 1)";
    Mutant {
        name,
        breaks,
        file: THRESHOLDS,
        find,
        replace,
        packages: RULES,
    }
}

/// All of them.
pub(super) const MUTANTS: &[Mutant] = &[
    threshold(
        "quorum-minus-1",
        "narrow(n - f - p)",
        "narrow(n - f - p - 1)",
    ),
    threshold(
        "quorum-plus-1",
        "quorum: narrow(n - f - p)",
        "quorum: narrow(n - f - p + 1)",
    ),
    threshold("fast-minus-1", "narrow(n - p)", "narrow(n - p - 1)"),
    threshold("fallback-minus-1", "narrow(f + p + 1)", "narrow(f + p)"),
    threshold(
        "fallback-plus-1",
        "fallback: narrow(f + p + 1)",
        "fallback: narrow(f + p + 2)",
    ),
    threshold("amplify-minus-1", "narrow(f + 1)", "narrow(f.max(1))"),
    threshold("total-one-less", "3 * f + 2 * p + 1;", "3 * f + 2 * p;"),
];
