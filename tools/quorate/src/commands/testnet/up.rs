//! `quorate testnet up`: every validator of a folder as a child process.
//!
//! Owns the prefix of their log lines. Never: starts a validator again that ended; that is an
//! operator's decision, after reading its exit code.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use quorate_bench::cluster::{Cluster, Ended};
use quorate_bench::testnet::Testnet;
use serde::Serialize;

use crate::commands::node;
use crate::failure::{Code, Failure};
use crate::interrupt::Interrupt;
use crate::output::{Report, progress, table};

/// How often Ctrl-C is looked for.
const LOOK: Duration = Duration::from_millis(100);
/// How long the validators may take to stop.
const PATIENCE: Duration = Duration::from_secs(20);

/// Options of the command.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Folder that `testnet init` wrote
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
}

#[derive(Serialize)]
struct End {
    index: usize,
    /// Absent when a signal ended it.
    exit_code: Option<i32>,
}

#[derive(Serialize)]
struct Fields {
    validators: Vec<End>,
}

/// Runs the testnet until Ctrl-C, SIGTERM, or the end of its last validator.
///
/// # Errors
/// The folder holds no testnet, or a process cannot be started.
pub(crate) fn run(options: &Options) -> Result<Report, Failure> {
    let testnet = Testnet::open(&options.dir)?;
    let interrupt = Interrupt::install()?;
    let mut cluster = Cluster::new(
        node::launches(&testnet)?,
        std::sync::Arc::new(|index, line| {
            progress(&format!("validator-{index:02} | {line}"));
        }),
    );
    cluster.start_all()?;
    let mut ends = Vec::new();
    while !interrupt.is_set() && ends.len() < testnet.validators() {
        if let Some(ended) = cluster.wait_ended(Instant::now() + LOOK)? {
            progress(&format!(
                "validator-{:02} | ended: {}",
                ended.index, ended.status
            ));
            ends.push(ended);
        }
    }
    ends.extend(cluster.stop_all(PATIENCE)?);
    report(&mut ends)
}

fn report(ends: &mut [Ended]) -> Result<Report, Failure> {
    ends.sort_by_key(|ended| ended.index);
    let mut rows = table(&["validator", "ended"]);
    for ended in ends.iter() {
        rows.add_row(vec![ended.index.to_string(), ended.status.to_string()]);
    }
    let validators = ends
        .iter()
        .map(|ended| End {
            index: ended.index,
            exit_code: ended.status.code(),
        })
        .collect();
    let is_clean = ends.iter().all(|ended| ended.status.success());
    let code = if is_clean { Code::Done } else { Code::No };
    Ok(Report::new(&Fields { validators }, rows.to_string())?.with_code(code))
}
