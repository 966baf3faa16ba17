//! Quorate: the sequencer engine that people embed.
//!
//! This crate owns the running node: configuration, the stages and the queues between them,
//! sessions, recovery and metrics. It makes no protocol decision; those live in
//! `quorate-consensus`.

#![forbid(unsafe_code)]

// What a node is started with.
pub mod config;
pub mod file_error;
pub mod genesis;
pub mod hex;
pub mod keys;
pub mod profiles;
pub mod publication;
pub mod topology;

// The application and what it sees.
pub(crate) mod applying;
pub mod archive;
pub(crate) mod backfill;
pub mod executor;
pub(crate) mod private;
pub mod results;
pub mod roots;
mod salvage;
pub mod scrub;
pub mod sessions;
pub mod state_machine;
pub mod streams;

// When the state goes apart from the others'.
pub mod drift;

// From a client's bytes to a block.
pub mod auth;
pub mod client;
pub mod client_wire;
pub mod lanes;

// From a block to disk, and back after a crash.
pub mod begins;
pub mod join;
pub mod journal;
pub(crate) mod lease;
pub mod recovery;
pub mod serving;
pub mod shadow;
pub mod snapshot;
mod snapshot_schedule;
pub mod snapshot_work;
pub mod store;
pub mod vote_state;
pub mod vouched;

// A whole validator without threads and sockets.
pub mod replica;

mod descriptors;
pub(crate) mod http;
pub(crate) mod idle;
pub mod local;
pub mod metrics;
pub mod node;
mod parked;
pub(crate) mod pruning;
mod queues;
mod refused;
pub(crate) mod stages;
pub mod status;
#[cfg(test)]
pub(crate) mod testing;
pub mod trace;
