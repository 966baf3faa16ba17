//! `quorate node`: one validator in this process.
//!
//! Owns the waiting for a reason to stop and the exit code. Never: what a validator does.

use std::path::PathBuf;

use clap::Args;
use quorate_bench::cluster::Launch;
use quorate_bench::testnet::Testnet;

use crate::failure::{Code, Failure};
use crate::output::Report;

/// Options of the command.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Configuration file, as `testnet init` writes one
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Stop when standard input ends: for a process that starts validators and may die
    #[arg(long, hide = true)]
    leash: bool,
}

/// How to start every validator of a testnet with this very program.
///
/// # Errors
/// The program does not know where it is.
pub(crate) fn launches(testnet: &Testnet) -> Result<Vec<Launch>, Failure> {
    let program = std::env::current_exe()
        .map_err(|error| Failure::new(Code::TryAgain, format!("finding this program: {error}")))?;
    let launch = |index| Launch {
        program: program.clone(),
        arguments: vec![
            "node".to_owned(),
            "--leash".to_owned(),
            "--config".to_owned(),
            testnet.config_path(index).display().to_string(),
        ],
    };
    Ok((0..testnet.validators()).map(launch).collect())
}

pub(crate) fn run(options: &Options) -> Result<Report, Failure> {
    Err(Failure::usage(format!("{options:?}")))
}
