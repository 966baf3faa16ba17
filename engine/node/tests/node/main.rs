//! Whole nodes on loopback, with real sockets, threads and files.

#![expect(clippy::unwrap_used, reason = "tests may unwrap")]

mod answers;
mod asked;
mod cluster;
mod doubt;
mod drift;
mod forgetting;
mod joining;
mod maker;
mod older;
mod panics;
mod private;
mod rates;
mod refusals;
mod refused;
mod rotting;
mod scrub;
mod signed;
mod silent;
mod snapshots;
mod streams;
mod support;
mod trust;
