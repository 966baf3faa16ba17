//! `quorate recover`: what only an operator can say after a loss.
//!
//! Never: a running validator; each command wants the folders for itself.

mod disk;
mod next;
mod site;

use clap::Subcommand;

use crate::applications::Applications;
use crate::failure::Failure;
use crate::output::Report;

pub(crate) use disk::declare as forget_disk;

/// What was lost.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Say that a validator's disk is lost or an old copy: it asks its peers before it votes
    Disk(disk::Options),
    /// Find the block to go on from after more than F lost power at once, and write the genesis and
    /// the state of the chain that goes on
    Site(site::Options),
}

/// Does it.
///
/// # Errors
/// As the command says.
pub(crate) fn run(applications: &Applications, command: &Command) -> Result<Report, Failure> {
    match command {
        Command::Disk(options) => disk::run(options),
        Command::Site(options) => site::run(applications, options),
    }
}
