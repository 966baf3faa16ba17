//! `quorate testnet`: several validators on this machine.
//!
//! Never: a network of several machines; for that, edit the addresses in the genesis before the
//! first start.

mod init;
mod up;

use clap::Subcommand;

use crate::failure::Failure;
use crate::output::Report;

/// What to do with a testnet.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Write genesis, keys and configurations into a new folder
    Init(init::Options),
    /// Start all validators of a folder, and stop them on Ctrl-C
    Up(up::Options),
}

/// Does it.
///
/// # Errors
/// As the command says.
pub(crate) fn run(command: &Command) -> Result<Report, Failure> {
    match command {
        Command::Init(options) => init::run(options),
        Command::Up(options) => up::run(options),
    }
}
