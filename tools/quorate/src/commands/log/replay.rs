//! `quorate log replay`: the finalized blocks of a log executed again, and what came of them.
//!
//! Two runs over the same log print the same, byte for byte, wherever they run. The state roots are
//! held against those of the snapshots beside the log.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;
use quorate::executor::{Executor, FinalBlock};
use quorate::snapshot::{Manifest, SnapshotError, SnapshotFolder};
use quorate_bench::applications::Hosted;
use quorate_log::Verification;
use serde::Serialize;

use super::verify::verify_at_rest;
use super::{bisect, fixings};
use crate::applications::Applications;
use crate::failure::{Code, Failure};
use crate::inspect::log_folder;
use crate::inspect::replay::{
    Replay, failure_of as snapshot_failure, genesis_of, is_removed, other_section,
    snapshots_beside, wants_block, worst,
};
use crate::output::{Report, hex};
use crate::verdict;

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

/// A snapshot that says nothing.
#[derive(Serialize)]
struct Uncompared {
    height: u64,
    fault: String,
    #[serde(skip)]
    code: Code,
}

/// What came of the snapshots beside the log.
#[derive(Default, Serialize)]
struct Comparison {
    /// Those whose roots were compared.
    compared: Vec<u64>,
    differences: Vec<Difference>,
    /// Those that cannot be read.
    uncompared: Vec<Uncompared>,
    /// Those of blocks above the end of the log, which has lost them.
    above_end: Vec<u64>,
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
    #[serde(flatten)]
    snapshots: Comparison,
}

/// The first section that is another than a snapshot has.
fn difference(executor: &mut Executor<Hosted>, manifest: &Manifest) -> Option<Difference> {
    Some(Difference {
        height: manifest.height(),
        section: other_section(executor, manifest)?,
    })
}

impl Comparison {
    /// Holds a state against the snapshot of its height.
    fn compare(&mut self, executor: &mut Executor<Hosted>, folder: &SnapshotFolder, height: u64) {
        match folder.manifest(height) {
            Ok(manifest) => {
                self.compared.push(height);
                self.differences.extend(difference(executor, &manifest));
            }
            Err(error) => self.pass_over(height, &error),
        }
    }

    /// Holds a snapshot that the execution did not come to against the end of the log.
    fn look_above(&mut self, folder: &SnapshotFolder, height: u64) {
        match wants_block(folder, height) {
            Ok(true) => self.above_end.push(height),
            Ok(false) => {}
            Err(error) => self.pass_over(height, &error),
        }
    }

    fn pass_over(&mut self, height: u64, error: &SnapshotError) {
        if !is_removed(error) {
            self.uncompared.push(Uncompared {
                height,
                fault: error.to_string(),
                code: snapshot_failure(error).code,
            });
        }
    }

    fn code(&self) -> Code {
        if !self.differences.is_empty() {
            return Code::No;
        }
        let codes = self.uncompared.iter().map(|one| one.code);
        worst(codes).unwrap_or_else(|| verdict::code(self.above_end.is_empty()))
    }

    fn text(&self) -> String {
        let (compared, differ) = (self.compared.len(), self.differences.len());
        let mut text = format!("\ncompared with {compared} snapshots, {differ} differ");
        for one in &self.differences {
            let Difference { height, section } = one;
            text.push_str(&format!(
                "\nDIFFERENT at height {height}: section {section}"
            ));
        }
        for one in &self.uncompared {
            let Uncompared { height, fault, .. } = one;
            text.push_str(&format!("\nNOT COMPARED at height {height}: {fault}"));
        }
        text
    }
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
    let snapshots = snapshots_beside(&folder);
    // Before the log is read: a running validator takes one of a block that it has logged.
    let heights = snapshots
        .heights()
        .map_err(|error| snapshot_failure(&error))?;
    let verification = sound(&folder)?;
    let genesis = genesis_of(&folder)?;
    let (mut roots, mut comparison) = (Vec::new(), Comparison::default());
    let mut on_block = |executor: &mut Executor<_>, block: &FinalBlock, _: &_| {
        let height = block.header.height.number();
        if options.roots && height.is_multiple_of(ROOT_HEIGHTS) {
            let state_root = hex(&executor.root().combined);
            roots.push(Root { height, state_root });
        }
        if heights.binary_search(&height).is_ok() {
            comparison.compare(executor, &snapshots, height);
        }
    };
    let first = genesis.validator_set().genesis().height.number();
    let from = options.from_snapshot.map(|height| (height, &snapshots));
    let mut replay = Replay::begin(applications, &genesis, &folder, from, to, &mut on_block)?;
    replay.run(&folder, &verification)?;
    let ([blocks, commands, outputs], end) = (replay.counts, replay.end);
    let (mut executor, outputs_hash) = replay.finish();
    let above = heights
        .iter()
        .filter(|&&height| end < height && height <= to);
    above.for_each(|&height| comparison.look_above(&snapshots, height));
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
        snapshots: comparison,
    };
    report(&fields, end, options.to)
}

/// What is said of a log that ends at this height.
fn report(fields: &Fields, end: u64, to: Option<u64>) -> Result<Report, Failure> {
    let mut text = text(fields);
    let is_short = shortfall(fields.height.min(end), to);
    let code = match fields.snapshots.code() {
        Code::Done => verdict::code(is_short.is_none()),
        code => code,
    };
    text.extend(is_short);
    text.extend(lost_end(end, fields.snapshots.above_end.last()));
    Ok(Report::new(fields, text)?.with_code(code))
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

fn text(fields: &Fields) -> String {
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
    text.push_str(&fields.snapshots.text());
    text
}

/// What there is to say where the log ends below the height that was asked for, which is a "no".
pub(super) fn shortfall(height: u64, to: Option<u64>) -> Option<String> {
    let to = to.filter(|&to| to > height)?;
    Some(format!(
        "\nthe log ends at height {height}, below --to {to}"
    ))
}

/// The same where it ends below a snapshot that was taken of it.
pub(super) fn lost_end(end: u64, newest: Option<&u64>) -> Option<String> {
    let newest = newest.filter(|&&newest| newest > end)?;
    Some(format!(
        "\nTHE LOG ENDS at height {end}, below the snapshot of height {newest}: it has lost its end, \
         and a start refuses it where that snapshot is whole"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspect::chain::tests::{fill_blocks, genesis, header, written};
    use crate::inspect::replay::executor_of;
    use quorate::snapshot::{self, Origin, SectionEntry};
    use std::fs;

    /// Snapshots of heights 64 and 128 beside a log that ends at 100, and what a replay makes of
    /// them.
    #[test]
    fn snapshots_that_cannot_be_compared_are_no_good_ones() {
        let (data, chain) = written("replay-uncompared", |writer, genesis| {
            fill_blocks(writer, genesis, 100);
        });
        let (genesis, snapshots) = (&chain.genesis, snapshots_beside(&data.join("log")));
        let replay = |from_snapshot, to| {
            let options = Options {
                dir: Some(data.clone()),
                bisect: None,
                against: None,
                commands_from: None,
                from_snapshot,
                to,
                roots: false,
                fixings: false,
            };
            run(&Applications::new(), &options).unwrap()
        };
        // Of a log that went on for longer.
        let (longer, _) = written("replay-longer", |writer, genesis| {
            fill_blocks(writer, genesis, 128);
        });
        let origin = Origin::of(genesis.validator_set());
        let mut take = |executor: &mut Executor<_>, block: &FinalBlock, _: &_| {
            if block.header.height.number().is_multiple_of(64) {
                snapshot::take(executor, &block.header, &origin, &snapshots).unwrap();
            }
        };
        let (applications, log) = (Applications::new(), longer.join("log"));
        let mut taking =
            Replay::begin(&applications, genesis, &log, None, u64::MAX, &mut take).unwrap();
        taking.run(&log, &sound(&log).unwrap()).unwrap();
        fs::remove_dir_all(longer).unwrap();
        // Above the end: a start takes it for a lost one.
        let lost = replay(None, None);
        assert_eq!(lost.code, Code::No, "{}", lost.text);
        assert_eq!(lost.json["above_end"], serde_json::json!([128]));
        let begun = replay(Some(128), None);
        assert_eq!((begun.code, &begun.json["blocks"]), (Code::No, &0.into()));
        assert!(
            begun.text.contains("THE LOG ENDS at height 100"),
            "{}",
            begun.text
        );
        // Nobody has asked for what is above.
        assert_eq!(replay(None, Some(100)).code, Code::Done);
        // One of peers, by which its validator is joining.
        let note = snapshots
            .path()
            .join(format!("snapshot-{:020}.fetched", 128));
        fs::write(&note, snapshots.manifest(128).unwrap().root()).unwrap();
        let good = replay(None, None);
        assert_eq!(good.code, Code::Done, "{}", good.text);
        assert_eq!(good.json["compared"], serde_json::json!([64]));
        for height in [64, 128] {
            let name = format!("snapshot-{height:020}.manifest");
            fs::write(snapshots.path().join(name), b"damaged").unwrap();
        }
        let damaged = replay(None, None);
        assert_eq!(damaged.code, Code::Damaged);
        assert!(damaged.text.contains("NOT COMPARED at height 64"));
        let told = damaged.json["uncompared"].as_array().unwrap();
        let heights: Vec<_> = told.iter().map(|one| one["height"].clone()).collect();
        assert_eq!(heights, [64, 128]);
        fs::remove_dir_all(data).unwrap();
    }

    #[test]
    fn a_snapshot_that_is_removed_before_it_is_compared_is_none() {
        let (data, chain) = written("replay-removed", |_, _| ());
        let snapshots = snapshots_beside(&data.join("log"));
        let mut executor = executor_of(&Applications::new(), &chain.genesis).unwrap();
        let mut comparison = Comparison::default();
        comparison.compare(&mut executor, &snapshots, 64);
        comparison.look_above(&snapshots, 128);
        assert_eq!(comparison.code(), Code::Done);
        fs::remove_dir_all(data).unwrap();
    }

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
