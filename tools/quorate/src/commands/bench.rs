//! `quorate bench`: what the validators of this machine stand, measured from outside.
//!
//! Never: judges by what a validator says of itself alone.

mod audit;
mod background;
mod bed;
mod crash;
mod curves;
mod failover;
mod floor;
mod latency;
mod overload;
mod past;
mod peers;
mod recovery;
mod report;
mod restores;
mod snapshot;
mod stage_table;
mod sweep;
mod syncs;
mod throughput;
mod toll;
mod vote_order;

use std::path::Path;

use clap::{Subcommand, ValueEnum};
use quorate::profiles::Durability;
use quorate_bench::machine::{Circumstances, Folder};

use crate::failure::Failure;
use crate::output::{Report, progress};

/// What to measure.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Kill validators under load and check that nothing told to a client is lost
    Crash(crash::Options),
    /// Let the disk refuse at each sync call of a validator under load, or kill it there
    Syncs(syncs::Options),
    /// Kill or stop the leader under load, again and again: how long finality stays away
    Failover(failover::Options),
    /// A validator with a long log dies and starts again, then joins with a blank disk, under load
    Recovery(recovery::Options),
    /// What clients and the application notice while snapshots of a long state are taken
    Snapshot(snapshot::Options),
    /// The bare pattern of messages between threads: what no protocol of this shape can be below
    Floor(floor::Options),
    /// Finality of real validators beside the floor, by turns in one run, and where the time goes
    Latency(latency::Options),
    /// Other systems and Quorate under the same load on this machine, by turns
    Peers(peers::Options),
    /// One HTML page of what the other commands measured, or of measurements made for it
    Report(report::Options),
    /// Processor time, messages and latency from little load to nearly all that is borne
    Sweep(sweep::Options),
    /// The highest rate that real validators bear, beside a bare verifier of signatures
    Throughput(throughput::Options),
    /// What becomes final at many times the load that validators bear, and how fast cancels stay
    Overload(overload::Options),
}

/// Which durability is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum DurabilityChoice {
    /// A vote leaves when it is in the log's mapping.
    Async,
    /// A vote leaves when it is on the disk.
    Sync,
    /// Both.
    Both,
}

impl DurabilityChoice {
    /// The durabilities, in the order of the report.
    const fn all(self) -> &'static [Durability] {
        match self {
            Self::Async => &[Durability::Async],
            Self::Sync => &[Durability::Sync],
            Self::Both => &[Durability::Async, Durability::Sync],
        }
    }
}

/// A durability in reports.
const fn name(durability: Durability) -> &'static str {
    match durability {
        Durability::Async => "async",
        Durability::Sync => "sync",
    }
}

/// A figure in tables.
fn number(us: Option<f64>) -> String {
    us.map_or_else(|| "-".to_owned(), |us| format!("{us:.1}"))
}

/// Does it.
///
/// # Errors
/// As the command says.
pub(crate) fn run(command: &Command) -> Result<Report, Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let mut circumstances = Circumstances::now(&arguments);
    if let Some(folder) = command.folder() {
        let folder = folder.map_or_else(std::env::temp_dir, Path::to_path_buf);
        circumstances = circumstances.with_folder(&folder);
        if let Some(warning) = circumstances.folder.as_ref().and_then(Folder::warning) {
            progress(&warning);
        }
    }
    measure(command)?.with("measured", &circumstances)
}

impl Command {
    /// Where the folders of validators are made, the outer none where there are none; the inner
    /// one: where the system has such folders.
    fn folder(&self) -> Option<Option<&Path>> {
        Some(match self {
            Self::Floor(_) | Self::Report(_) => return None,
            Self::Crash(options) => options.dir.as_deref(),
            Self::Syncs(options) => options.dir.as_deref(),
            Self::Failover(options) => options.dir.as_deref(),
            Self::Recovery(options) => options.dir.as_deref(),
            Self::Snapshot(options) => options.dir.as_deref(),
            Self::Latency(options) => options.dir.as_deref(),
            Self::Sweep(options) => options.dir.as_deref(),
            Self::Peers(options) => options.dir.as_deref(),
            Self::Throughput(options) => options.dir.as_deref(),
            Self::Overload(options) => options.dir.as_deref(),
        })
    }
}

fn measure(command: &Command) -> Result<Report, Failure> {
    match command {
        Command::Crash(options) => crash::run(options),
        Command::Syncs(options) => syncs::run(options),
        Command::Failover(options) => failover::run(options),
        Command::Recovery(options) => recovery::run(options),
        Command::Snapshot(options) => snapshot::run(options),
        Command::Floor(options) => floor::run(options),
        Command::Latency(options) => latency::run(options),
        Command::Report(options) => report::run(options),
        Command::Sweep(options) => sweep::run(options),
        Command::Peers(options) => peers::run(options),
        Command::Throughput(options) => throughput::run(options),
        Command::Overload(options) => overload::run(options),
    }
}
