//! `quorate bench`: what the validators of this machine stand, measured from outside.
//!
//! Never: judges by what a validator says of itself alone.

mod audit;
mod bed;
mod crash;
mod floor;
mod latency;
mod toll;

use clap::Subcommand;

use crate::failure::Failure;
use crate::output::Report;

/// What to measure.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Kill validators under load and check that nothing told to a client is lost
    Crash(crash::Options),
    /// The bare pattern of messages between threads: what no protocol of this shape can be below
    Floor(floor::Options),
    /// Finality of real validators beside the floor, by turns in one run, and where the time goes
    Latency(latency::Options),
}

/// Does it.
///
/// # Errors
/// As the command says.
pub(crate) fn run(command: &Command) -> Result<Report, Failure> {
    match command {
        Command::Crash(options) => crash::run(options),
        Command::Floor(options) => floor::run(options),
        Command::Latency(options) => latency::run(options),
    }
}
