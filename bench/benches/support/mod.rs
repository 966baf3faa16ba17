//! What the benches of parts measure with: those of Criterion here, and those that count
//! instructions in `bench/instructions`, which includes this file.
//!
//! Owns the fixtures, so that both measure the same. Never: what is measured.

pub(crate) mod frames;
pub(crate) mod market;
pub(crate) mod records;
pub(crate) mod storage;
pub(crate) mod world;
