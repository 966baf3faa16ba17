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
use crate::files::sync_parent;
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
    #[serde(serialize_with = "crate::output::path")]
    file: PathBuf,
    #[serde(serialize_with = "crate::output::path")]
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
        let failure = Failure::of_system(&options.out, &error, Code::Configuration);
        match failure.code {
            Code::Configuration => {
                failure.remedy("name a file that does not exist, in a folder that can be written")
            }
            _ => failure,
        }
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
        keep(&mut file, &options.out, state)
    });
    if taken.is_err() && !is_asked {
        // Empty, and of no use.
        remove(&options.out).ok();
    }
    let state = taken?;
    report(&config, options.out.clone(), &state, "taken from")
}

/// Writes the state, or takes the file away again. Where that fails too some of it may be left, and
/// the folder must not vote on beside it.
fn keep(file: &mut File, path: &Path, state: &VoteState) -> Result<(), KeepError> {
    write(file, path, state).map_err(|error| match remove(path) {
        Ok(()) => KeepError::Undone(error),
        Err(_) => KeepError::Left(error),
    })
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

#[cfg(test)]
mod tests {
    use super::*;
    use quorate::genesis::Hex32;
    use quorate::vote_state::VOTE_STATE_FORMAT;
    use std::fs;

    fn state() -> VoteState {
        VoteState {
            format: VOTE_STATE_FORMAT,
            genesis_hash: Hex32([1; 32]),
            validator: Hex32([2; 32]),
            incarnation: 3,
            lease: Some(4),
            abstain_until: None,
            no_proposals_until: None,
            is_lost: false,
            proofs_until: None,
            complete_from: 0,
            records: Vec::new(),
            check: Hex32([0; 32]),
        }
        .sealed()
    }

    fn folder(name: &str) -> PathBuf {
        let name = format!("quorate-vote-state-{name}-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    /// It takes what is written, and no disk holds it.
    fn sink() -> File {
        File::options().write(true).open("/dev/null").unwrap()
    }

    #[test]
    fn a_vote_state_that_cannot_be_synced_is_not_kept_and_its_file_goes() {
        let folder = folder("unsynced");
        let path = folder.join("votes.json");
        fs::write(&path, b"").unwrap();
        let kept = keep(&mut sink(), &path, &state());
        assert!(matches!(kept, Err(KeepError::Undone(_))), "{kept:?}");
        assert!(!path.exists());
        let mut file = File::create_new(&path).unwrap();
        keep(&mut file, &path, &state()).unwrap();
        let read: VoteState = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        assert_eq!(read, state());
        fs::remove_dir_all(folder).unwrap();
    }

    /// The folder loses the right to vote by that word.
    #[test]
    fn a_vote_state_that_cannot_be_taken_away_again_is_called_left() {
        let folder = folder("left");
        // A folder is not removed like a file.
        let kept = keep(&mut sink(), &folder, &state());
        assert!(matches!(kept, Err(KeepError::Left(_))), "{kept:?}");
        fs::remove_dir_all(folder).unwrap();
    }
}
