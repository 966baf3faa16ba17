//! `quorate vote-state`: what a validator has said, taken along when it moves.
//!
//! Never: resets anything, or touches the folder of a running validator.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use quorate::config::NodeConfig;
use quorate::file_error::read_bounded;
use quorate::node;
use quorate::vote_state::{KeepError, VOTE_STATE_BYTES_MAX, VoteState};
use serde::Serialize;

use crate::failure::{Code, Failure};
use crate::output::Report;

/// Which way.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Take what a stopped validator has said out of its folder, which may not vote on after
    Export(ExportOptions),
    /// Merge it into the folder of the same validator elsewhere; nothing there is lowered
    Import(ImportOptions),
}

/// Options of the export.
#[derive(Debug, Args)]
pub(crate) struct ExportOptions {
    /// Configuration file of the validator, which must be stopped
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// File to write; must not exist
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// Options of the import.
#[derive(Debug, Args)]
pub(crate) struct ImportOptions {
    /// Configuration file of the validator, which must be stopped
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// File that an export wrote
    #[arg(long, value_name = "FILE")]
    from: PathBuf,
}

#[derive(Serialize)]
struct Fields {
    index: u16,
    file: PathBuf,
    data: PathBuf,
    lease: Option<u64>,
    abstain_until: Option<u64>,
    records: usize,
}

/// Does it.
///
/// # Errors
/// As the command says.
pub(crate) fn run(command: &Command) -> Result<Report, Failure> {
    match command {
        Command::Export(options) => export(options),
        Command::Import(options) => import(options),
    }
}

fn export(options: &ExportOptions) -> Result<Report, Failure> {
    let config = NodeConfig::load(&options.config)?;
    let write_failure = |error: io::Error| {
        Failure::new(
            Code::Configuration,
            format!("{}: {error}", options.out.display()),
        )
        .remedy("name a file that does not exist, in a folder that can be written")
    };
    // A name that cannot be used is found before anything leaves the folder.
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&options.out)
        .map_err(write_failure)?;
    let mut is_asked = false;
    let taken = node::export_votes(&config, &mut |state: &VoteState| {
        is_asked = true;
        write(&mut file, &options.out, state).map_err(|error| match remove(&options.out) {
            Ok(()) => KeepError::Undone(error),
            Err(_) => KeepError::Left(error),
        })
    });
    if taken.is_err() && !is_asked {
        // Empty, and of no use.
        remove(&options.out).ok();
    }
    let state = taken?;
    report(&config, options.out.clone(), &state, "taken from")
}

/// Writes the state, and makes file and name durable: the folder has lost the right to vote.
fn write(file: &mut File, path: &Path, state: &VoteState) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *file, state)?;
    file.write_all(b"\n")?;
    file.sync_all()?;
    sync_parent(path)
}

/// Removes the file, so that no loss of power brings it back.
fn remove(path: &Path) -> io::Result<()> {
    std::fs::remove_file(path)?;
    sync_parent(path)
}

fn sync_parent(path: &Path) -> io::Result<()> {
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    File::open(parent.unwrap_or_else(|| Path::new(".")))?.sync_all()
}

fn import(options: &ImportOptions) -> Result<Report, Failure> {
    let config = NodeConfig::load(&options.config)?;
    let bytes = read_bounded(&options.from, VOTE_STATE_BYTES_MAX)?;
    let state: VoteState = serde_json::from_slice(&bytes).map_err(|error| {
        Failure::new(
            Code::Configuration,
            format!("{}: {error}", options.from.display()),
        )
        .remedy("name a file that quorate vote-state export wrote")
    })?;
    node::import_votes(&config, &state)?;
    report(&config, options.from.clone(), &state, "merged into")
}

fn report(
    config: &NodeConfig,
    file: PathBuf,
    state: &VoteState,
    done: &str,
) -> Result<Report, Failure> {
    let fields = Fields {
        index: config.own.number(),
        file,
        data: config.data.clone(),
        lease: state.lease,
        abstain_until: state.abstain_until,
        records: state.records.len(),
    };
    let text = format!(
        "vote state of validator {} {done} {}: {} records, leased up to {:?}",
        fields.index,
        fields.data.display(),
        fields.records,
        fields.lease,
    );
    Report::new(&fields, text)
}
