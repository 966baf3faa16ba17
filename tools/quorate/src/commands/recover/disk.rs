//! `quorate recover disk`: the folder of a validator whose disk is lost, or was put back from an
//! older copy, is marked so.
//!
//! Never: removes or resets anything. The next starts recover by R13.

use std::path::{Path, PathBuf};

use clap::Args;
use quorate::config::NodeConfig;
use quorate::node;
use serde::Serialize;

use crate::failure::Failure;
use crate::output::Report;

/// Options of the command.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Configuration file of the validator, which must be stopped
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

#[derive(Serialize)]
struct Fields {
    index: u16,
    /// Weight of validators that may be in this state at a time; of more the chain halts.
    fault_weight: u64,
    #[serde(serialize_with = "crate::output::path")]
    data: PathBuf,
}

/// Marks the folder, and makes one where there is none.
///
/// # Errors
/// The folder is another validator's or chain's, is in use, or cannot be written.
pub(crate) fn run(options: &Options) -> Result<Report, Failure> {
    let config = declare(&options.config)?;
    let set = config.genesis.validator_set();
    let fields = Fields {
        index: config.own.number(),
        fault_weight: set.thresholds().fault.amount(),
        data: config.data,
    };
    let text = format!(
        "{}: validator {} votes again when enough others have told it from where on; start it, and \
         count it into F until then\nnever say this of validators of more than weight {} at a time: \
         nobody is left to tell them, and the chain halts. Where more have lost their disks, see \
         After a loss at one stroke in docs/operations.md",
        fields.data.display(),
        fields.index,
        fields.fault_weight,
    );
    Report::new(&fields, text)
}

/// Says that the disk of the validator with this configuration is lost.
///
/// # Errors
/// As [`run`].
pub(crate) fn declare(config: &Path) -> Result<NodeConfig, Failure> {
    let config = NodeConfig::load(config)?;
    node::declare_lost(&config)?;
    Ok(config)
}
