//! `quorate log replay`: the finalized blocks of a log executed again, and what came of them.
//!
//! Two runs over the same log print the same, byte for byte, wherever they run. The state roots are
//! held against those of the snapshots beside the log.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;
use quorate::executor::{Executor, FinalBlock};
use quorate::snapshot::Manifest;
use quorate_bench::applications::Hosted;
use quorate_log::Verification;
use serde::Serialize;

use super::verify::verify_at_rest;
use super::{bisect, fixings};
use crate::applications::Applications;
use crate::failure::{Code, Failure};
use crate::inspect::log_folder;
use crate::inspect::replay::{
    Replay, failure_of as snapshot_failure, genesis_of, other_section, snapshots_beside,
};
use crate::output::{Report, hex};

/// A root is printed after every block whose height is a multiple of this.
const ROOT_HEIGHTS: u64 = quorate::roots::ROOT_HEIGHTS;

/// Options of the command.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Log folder, data folder or validator folder; beside the bundle when that is given
    #[arg(value_name = "DIR", required_unless_present = "bisect")]
    dir: Option<PathBuf>,
    /// Name the first command that came to something else at the validator that wrote this bundle
    #[arg(long, value_name = "BUNDLE", conflicts_with_all = ["to", "roots"])]
    bisect: Option<PathBuf>,
    /// What another build printed for the bundle with --json: name the first block, and the first
    /// command of it, after which the section has another root here
    #[arg(long, value_name = "FILE", requires = "bisect")]
    against: Option<PathBuf>,
    /// Tell the roots after each block and each command from this height on, and not from the last
    /// common one
    #[arg(long, value_name = "H", requires = "bisect")]
    commands_from: Option<u64>,
    /// Begin with the snapshot of this height instead of the genesis
    #[arg(long, value_name = "H")]
    from_snapshot: Option<u64>,
    /// Last height to execute
    #[arg(long, value_name = "H")]
    to: Option<u64>,
    /// Print the state root after every 64th height
    #[arg(long)]
    roots: bool,
    /// List the settlement prices of a venue instead, each counted anew from the prices that the
    /// log says were taken
    #[arg(long, conflicts_with_all = ["roots", "bisect"])]
    fixings: bool,
}

#[derive(Serialize)]
struct Root {
    height: u64,
    state_root: String,
}

/// A root that is another than a snapshot has.
#[derive(Serialize)]
struct Difference {
    height: u64,
    section: String,
}

#[derive(Serialize)]
struct Fields {
    /// Height that was begun with; that of the genesis without a snapshot.
    from: u64,
    /// Last height executed.
    height: u64,
    blocks: u64,
    commands: u64,
    outputs: u64,
    /// Over height, outcomes and outputs of every block, in order.
    outputs_hash: String,
    state_root: String,
    sections: BTreeMap<String, String>,
    roots: Vec<Root>,
    /// Snapshots whose roots were compared.
    compared: Vec<u64>,
    differences: Vec<Difference>,
}

/// The first section that is another than a snapshot has.
fn difference(executor: &mut Executor<Hosted>, manifest: &Manifest) -> Option<Difference> {
    Some(Difference {
        height: manifest.height(),
        section: other_section(executor, manifest)?,
    })
}

/// A log without faults, as it was found.
pub(super) fn sound(folder: &Path) -> Result<Verification, Failure> {
    let verification = verify_at_rest(folder)?;
    if !verification.faults.is_empty() {
        let what = format!("{}: the log is faulty", folder.display());
        return Err(Failure::new(Code::Damaged, what).remedy("run quorate log verify"));
    }
    Ok(verification)
}

/// Replays.
///
/// # Errors
/// There is no log, it is not whole, or it cannot be executed by this program.
pub(crate) fn run(applications: &Applications, options: &Options) -> Result<Report, Failure> {
    let to = last(options)?;
    if let Some(bundle) = &options.bisect {
        let beside = bisect::Beside {
            against: options.against.as_deref(),
            commands_from: options.commands_from,
        };
        return bisect::run(
            applications,
            bundle,
            options.dir.as_deref(),
            options.from_snapshot,
            beside,
        );
    }
    let folder = log_folder(options.dir.as_deref().unwrap_or_else(|| Path::new(".")))?;
    if options.fixings {
        return fixings::run(applications, &folder, options.from_snapshot, options.to);
    }
    let verification = sound(&folder)?;
    let genesis = genesis_of(&folder)?;
    let snapshots = snapshots_beside(&folder);
    let heights = snapshots
        .heights()
        .map_err(|error| snapshot_failure(&error))?;
    let (mut roots, mut compared, mut differences) = (Vec::new(), Vec::new(), Vec::new());
    let mut on_block = |executor: &mut Executor<_>, block: &FinalBlock, _: &_| {
        let height = block.header.height.number();
        if options.roots && height.is_multiple_of(ROOT_HEIGHTS) {
            let state_root = hex(&executor.root().combined);
            roots.push(Root { height, state_root });
        }
        if heights.binary_search(&height).is_ok()
            && let Ok(manifest) = snapshots.manifest(height)
        {
            compared.push(height);
            differences.extend(difference(executor, &manifest));
        }
    };
    let first = genesis.validator_set().genesis().height.number();
    let from = options.from_snapshot.map(|height| (height, &snapshots));
    let mut replay = Replay::begin(applications, &genesis, &folder, from, to, &mut on_block)?;
    replay.run(&folder, &verification)?;
    let [blocks, commands, outputs] = replay.counts;
    let (mut executor, outputs_hash) = replay.finish();
    let root = executor.root();
    let sections = root.sections.iter();
    let fields = Fields {
        from: options.from_snapshot.unwrap_or(first),
        height: executor.height(),
        blocks,
        commands,
        outputs,
        outputs_hash: hex(&outputs_hash),
        state_root: hex(&root.combined),
        sections: sections
            .map(|(name, root)| ((*name).to_owned(), hex(root)))
            .collect(),
        roots,
        compared,
        differences,
    };
    let is_whole = fields.differences.is_empty() && shortfall(fields.height, options.to).is_none();
    let code = if is_whole { Code::Done } else { Code::No };
    Ok(Report::new(&fields, text(&fields, options.to))?.with_code(code))
}

/// The last height to execute.
fn last(options: &Options) -> Result<u64, Failure> {
    match (options.from_snapshot, options.to) {
        (Some(from), Some(to)) if to < from => {
            let what = format!("--to {to}: below --from-snapshot {from}");
            Err(Failure::usage(what).remedy("name a height from there on"))
        }
        (_, to) => Ok(to.unwrap_or(u64::MAX)),
    }
}

fn text(fields: &Fields, to: Option<u64>) -> String {
    let mut text = format!(
        "executed {} blocks from height {} to {}: {} commands, {} outputs\noutputs {}\nstate   {}",
        fields.blocks,
        fields.from,
        fields.height,
        fields.commands,
        fields.outputs,
        fields.outputs_hash,
        fields.state_root,
    );
    for (name, root) in &fields.sections {
        text.push_str(&format!("\n  {root} {name}"));
    }
    for root in &fields.roots {
        text.push_str(&format!("\nheight {}: {}", root.height, root.state_root));
    }
    text.push_str(&format!(
        "\ncompared with {} snapshots, {} differ",
        fields.compared.len(),
        fields.differences.len()
    ));
    for difference in &fields.differences {
        text.push_str(&format!(
            "\nDIFFERENT at height {}: section {}",
            difference.height, difference.section
        ));
    }
    text.extend(shortfall(fields.height, to));
    text
}

/// What there is to say where the log ends below the height that was asked for, which is a "no".
pub(super) fn shortfall(height: u64, to: Option<u64>) -> Option<String> {
    let to = to.filter(|&to| to > height)?;
    Some(format!(
        "\nthe log ends at height {height}, below --to {to}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspect::chain::tests::{genesis, header};
    use crate::inspect::replay::executor_of;
    use quorate::snapshot::SectionEntry;

    #[test]
    fn the_first_section_that_a_snapshot_has_otherwise_is_named() {
        let genesis = genesis();
        let mut executor = executor_of(&Applications::new(), &genesis).unwrap();
        let entries = executor.root().sections.into_iter();
        let entries = entries.map(|(name, root)| SectionEntry {
            name: name.to_owned(),
            root,
            bytes: 0,
        });
        let parent = genesis.validator_set().genesis().id;
        let equal = Manifest {
            genesis_hash: *genesis.hash(),
            header: header(&genesis, 64, parent),
            sections: entries.collect(),
            chunks: Vec::new(),
        };
        assert!(difference(&mut executor, &equal).is_none());
        for place in 0..equal.sections.len() {
            let mut other = equal.clone();
            for entry in &mut other.sections[place..] {
                entry.root[31] ^= 1;
            }
            let told = difference(&mut executor, &other).unwrap();
            assert_eq!(told.section, equal.sections[place].name);
            assert_eq!(told.height, 64);
        }
        let mut more = equal.clone();
        more.sections.push(equal.sections[0].clone());
        assert!(difference(&mut executor, &more).is_some());
        let mut fewer = equal.clone();
        let last = fewer.sections.pop().unwrap();
        let told = difference(&mut executor, &fewer).unwrap();
        assert_eq!(told.section, last.name);
    }
}
