//! `quorate log`: a validator's log, looked at offline.
//!
//! Never: writes to it.

mod bisect;
mod evidence;
mod fixings;
mod replay;
mod show;
mod verify;

pub(crate) use verify::verify_at_rest;

use clap::Subcommand;

use crate::applications::Applications;
use crate::failure::Failure;
use crate::output::Report;

/// What to do with a log.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Check every record, link, payload, proof and signature
    Verify(verify::Options),
    /// Execute the finalized blocks again and say what came of them
    Replay(replay::Options),
    /// List the finalized blocks
    Show(show::Options),
    /// List what the log has of validators that are proven to misbehave, and give it out
    Evidence(evidence::Options),
}

/// Does it.
///
/// # Errors
/// As the command says.
pub(crate) fn run(applications: &Applications, command: &Command) -> Result<Report, Failure> {
    match command {
        Command::Verify(options) => verify::run(options),
        Command::Replay(options) => replay::run(applications, options),
        Command::Show(options) => show::run(options),
        Command::Evidence(options) => evidence::run(options),
    }
}
