//! The exhaustive check: small worlds explored to their end, by the rules that ship.
//!
//! Owns which worlds are explored and what is said of them. The rules and the counts are those of
//! `quorate-consensus`, called through its `probe`; what is judged apart is only what must hold.
//! docs/verification.md says what a state is, and why nothing is lost. Never: a clock, dice,
//! threads.
//!
//! Read in this order: `world` and `tree` (what there is), `said` and `table` (records), `judge`
//! (the shipped rules, asked), `knowledge` (what may have been heard), `search` and `profiles`
//! (the two ways to explore a
//! window), `across` (two windows), `facts` (what must hold), `verdict`, `runs` (which worlds).

mod across;
mod facts;
mod judge;
mod knowledge;
mod profiles;
mod runs;
mod said;
mod search;
mod table;
mod tree;
mod verdict;
mod world;

pub use runs::{
    EXHAUSTIVE_SLOTS, EXHAUSTIVE_VALIDATORS, ExhaustiveMethod, ExhaustiveReport, ExhaustiveRun,
    exhaustive, exhaustive_of,
};

#[cfg(test)]
mod tests;
