//! Quorate: the sequencer engine that people embed.
//!
//! This crate owns the running node: configuration, the stages and the queues between them,
//! sessions, recovery and metrics. It makes no protocol decision; those live in
//! `quorate-consensus`.

pub mod executor;
pub mod lanes;
pub mod results;
pub mod roots;
pub mod sessions;
pub mod state_machine;
pub mod client_wire;
pub mod config;
pub mod file_error;
pub mod genesis;
pub mod hex;
pub mod keys;
pub mod profiles;
pub mod topology;
#[cfg(test)]
pub(crate) mod testing;
