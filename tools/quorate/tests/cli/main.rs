//! The command line as its users run it: processes on this machine, their output, exit codes and
//! files.

#![expect(clippy::unwrap_used, reason = "a test may unwrap, also in its helpers")]

mod bench;
mod cluster;
mod common;
mod crash;
mod demo;
mod descriptors;
mod drift;
mod from_snapshot;
mod init;
mod joining;
mod outputs;
mod prices;
mod public;
mod python;
mod recover;
mod sim;
mod site;
mod snapshots;
mod testnet;
mod unheard;
mod usage;
