//! `quorate log show`: the finalized blocks of a log, one a line; also beside its validator.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use crate::failure::{Code, Failure};
use crate::inspect::beside::verify_beside;
use crate::inspect::chain::{self, Finalized};
use crate::inspect::log_folder;
use crate::output::{Report, hex, table};

/// Blocks that are listed when nobody says from where: the newest.
const BLOCKS_DEFAULT: u64 = 20;

/// Options of the command.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Log folder, data folder or validator folder
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// First height to list; by default the newest 20 blocks
    #[arg(long, value_name = "H")]
    from: Option<u64>,
    /// Last height to list
    #[arg(long, value_name = "H")]
    to: Option<u64>,
}

#[derive(Serialize)]
struct Block {
    height: u64,
    window: u64,
    index: u32,
    id: String,
    parent: String,
    time_ns: u64,
    payload_bytes: u32,
    leader: u16,
    has_body: bool,
}

#[derive(Serialize)]
struct Fields {
    #[serde(serialize_with = "crate::output::path")]
    dir: PathBuf,
    height: u64,
    /// Height below the first block: above 0 when the log was pruned, or
    /// goes on from a snapshot of peers.
    below: u64,
    /// Whether `quorate_log` found the log whole; what is listed stands before the first fault.
    whole: bool,
    blocks: Vec<Block>,
}

/// Lists.
///
/// # Errors
/// There is no log, or it cannot be read.
pub(crate) fn run(options: &Options) -> Result<Report, Failure> {
    if let (Some(from), Some(to)) = (options.from, options.to)
        && from > to
    {
        return Err(Failure::usage(format!("--from {from} is above --to {to}")));
    }
    let folder = log_folder(&options.dir)?;
    let verification = verify_beside(&folder)?;
    let chain = chain::read(&folder, &verification)?;
    let height = chain.tip().map_or(chain.below, |(height, _)| height);
    let to = options.to.unwrap_or(u64::MAX);
    let newest = to.min(height).saturating_sub(BLOCKS_DEFAULT - 1);
    let from = options.from.unwrap_or(newest);
    let set = chain.genesis.validator_set();
    let block = |(height, block): (&u64, &Finalized)| Block {
        height: *height,
        window: block.header.window.number(),
        index: block.header.index.number(),
        id: hex(block.id.as_bytes()),
        parent: hex(block.header.parent_id.as_bytes()),
        time_ns: block.header.time_ns,
        payload_bytes: block.header.payload_bytes,
        leader: set.leader(block.header.window).number(),
        has_body: block.body.is_some(),
    };
    let fields = Fields {
        dir: folder,
        height,
        below: chain.below,
        whole: verification.faults.is_empty(),
        blocks: chain.blocks.range(from..=to).map(block).collect(),
    };
    let code = if fields.whole {
        Code::Done
    } else {
        Code::Damaged
    };
    let text = text(&fields);
    Ok(Report::new(&fields, text)?.with_code(code))
}

fn text(fields: &Fields) -> String {
    let mut rows = table(&[
        "height",
        "window",
        "index",
        "leader",
        "bytes",
        "time (ns)",
        "id",
    ]);
    for block in &fields.blocks {
        rows.add_row(vec![
            block.height.to_string(),
            block.window.to_string(),
            block.index.to_string(),
            block.leader.to_string(),
            block.payload_bytes.to_string(),
            block.time_ns.to_string(),
            block.id.clone(),
        ]);
    }
    let warning = if fields.whole {
        ""
    } else {
        "\nFAULTY: run quorate log verify"
    };
    let begin = match fields.below {
        0 => String::new(),
        below => format!(", begins above height {below}"),
    };
    format!(
        "{}: height {}{begin}\n{rows}{warning}",
        fields.dir.display(),
        fields.height
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspect::chain::tests::{fill_base, written};

    #[test]
    fn a_log_that_has_only_its_base_is_of_the_height_of_that() {
        let (data, _) = written("show-base", |writer, genesis| {
            fill_base(writer, genesis, 4096);
        });
        let options = Options {
            dir: data.clone(),
            from: None,
            to: None,
        };
        let told = run(&options).unwrap().json;
        assert_eq!(
            (&told["height"], &told["below"]),
            (&4096.into(), &4096.into())
        );
        std::fs::remove_dir_all(data).unwrap();
    }
}
