//! `quorate recover site`: after a loss at one stroke, which block the chain goes on from (3.4).
//!
//! Owns the choice: the highest position that a valid finality proof in enough logs names, and
//! which logs count for enough: those that still hold every proof that they ever flushed. What the
//! next chain begins with is written by `next`. Never: uses a vote without a proof, writes into a
//! validator's folder, or runs beside a validator.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use clap::Args;
use quorate::genesis::Genesis;
use quorate::vouched;
use quorate_consensus::restart::LeaseFile as Lease;
use quorate_consensus::types::{BlockId, Index, Stake, ValidatorIndex, Window};
use quorate_log::{Action, DataFolder, LeaseFile, LeaseRead, Verification, verify_path};
use serde::Serialize;

use super::next;
use crate::applications::Applications;
use crate::failure::{Code, Failure};
use crate::inspect::chain::{self, Chain};
use crate::inspect::replay::{failure_of as snapshot_failure, is_genesis_of, snapshots_beside};
use crate::inspect::{failure_of, lock, log_folder};
use crate::output::{Report, hex, table};

/// Options of the command.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Genesis file of the chain
    #[arg(long, value_name = "FILE")]
    genesis: PathBuf,
    /// Write the genesis of the chain that goes on, and the state it begins with; new or empty
    #[arg(long, value_name = "OUT")]
    out: Option<PathBuf>,
    /// Who goes on, if not the validators of before: JSON with the field validators as in a genesis
    #[arg(long, value_name = "FILE", requires = "out")]
    validators: Option<PathBuf>,
    /// Log, data or validator folders, of stopped validators or copied from them
    #[arg(value_name = "DIR", required = true)]
    dirs: Vec<PathBuf>,
}

/// What one validator's log shows.
#[derive(Serialize)]
struct LogReport {
    index: u16,
    #[serde(serialize_with = "crate::output::path")]
    dir: PathBuf,
    stake: u64,
    /// Height of the highest block with a good proof whose blocks down to the genesis are here.
    height: u64,
    window: u64,
    slot: u32,
    id: Option<String>,
    /// Why its stake does not count: proofs that it had flushed may be missing. Those that it has
    /// are used all the same.
    not_counted: Option<&'static str>,
}

#[derive(Serialize)]
struct Fields {
    /// Of the folders that count.
    stake: u64,
    stake_needed: u64,
    reports: Vec<LogReport>,
    /// The block to go on from.
    height: u64,
    window: u64,
    slot: u32,
    id: Option<String>,
    /// The folders that hold it with every block below.
    #[serde(serialize_with = "crate::output::path")]
    dirs: Vec<PathBuf>,
    /// What was written; null without `--out`.
    next: Option<next::Fields>,
}

/// Where a block stands; compared as protocol.md says, never by height.
type Position = Option<(Window, Index)>;

struct Found {
    report: LogReport,
    position: Position,
    chain: Chain,
    folder: PathBuf,
    verification: Verification,
    /// Nobody writes it until all is done.
    _locked: DataFolder,
}

/// Collects the reports and chooses.
///
/// # Errors
/// A folder is none of this chain, stands twice, or says what does not hold; the reports that count
/// weigh too little; two proofs contradict one another; or there is nothing to go on from.
pub(crate) fn run(applications: &Applications, options: &Options) -> Result<Report, Failure> {
    let genesis = Genesis::load(&options.genesis)?;
    let successors = next::successors(&genesis, options.validators.as_deref())?;
    let mut found: BTreeMap<ValidatorIndex, Found> = BTreeMap::new();
    refuse_repeated(&options.dirs)?;
    for dir in &options.dirs {
        let (validator, one) = look(dir, &genesis)?;
        if let Some(before) = found.insert(validator, one) {
            let what = format!(
                "{} and {} are both of validator {}",
                before.report.dir.display(),
                dir.display(),
                validator.number()
            );
            return Err(Failure::new(Code::Configuration, what).remedy("name each validator once"));
        }
    }
    let (stake, needed) = weigh(&genesis, &found)?;
    let found: Vec<Found> = found.into_values().collect();
    refuse_conflict(&found)?;
    let best = found.iter().max_by_key(|one| one.position);
    let Some(best) = best else {
        return Err(Failure::usage("no folder"));
    };
    let holders = || found.iter().filter(|one| one.position == best.position);
    let dirs = holders().map(|one| one.report.dir.clone()).collect();
    let sources: Vec<_> = holders().map(Found::source).collect();
    next::refuse_nothing(&genesis, &sources)?;
    let write = |out: &PathBuf| next::write(applications, &genesis, &sources, successors, out);
    let next = options.out.as_ref().map(write).transpose()?;
    let (height, window, slot) = (best.report.height, best.report.window, best.report.slot);
    let fields = Fields {
        stake: stake.amount(),
        stake_needed: needed.amount(),
        height,
        window,
        slot,
        id: best.report.id.clone(),
        dirs,
        next,
        reports: found.into_iter().map(|one| one.report).collect(),
    };
    let text = text(&fields);
    Report::new(&fields, text)
}

impl Found {
    fn source(&self) -> next::Source<'_> {
        next::Source {
            folder: &self.folder,
            verification: &self.verification,
            chain: &self.chain,
            height: self.report.height,
        }
    }
}

/// The stake of the folders that count, which is enough, and what is needed.
fn weigh(
    genesis: &Genesis,
    found: &BTreeMap<ValidatorIndex, Found>,
) -> Result<(Stake, Stake), Failure> {
    let set = genesis.validator_set();
    let thresholds = set.thresholds();
    let needed = Stake::new(thresholds.total.amount() - thresholds.fault.amount());
    let counted = found
        .iter()
        .filter(|(_, one)| one.report.not_counted.is_none());
    let stake: Stake = counted.map(|(&validator, _)| set.stake(validator)).sum();
    if stake >= needed {
        return Ok((stake, needed));
    }
    let left_out: String = found
        .values()
        .filter_map(|one| {
            let why = one.report.not_counted?;
            Some(format!(
                "; {} does not count: {why}",
                one.report.dir.display()
            ))
        })
        .collect();
    let what = format!(
        "reports of stake {} count, N - F = {} is needed: a block that the missing ones made \
         durable could be lost{left_out}",
        stake.amount(),
        needed.amount()
    );
    Err(Failure::new(Code::No, what).remedy("name the folders of more validators"))
}

/// A folder counts once, and its lock is taken once.
fn refuse_repeated(dirs: &[PathBuf]) -> Result<(), Failure> {
    let mut seen = BTreeSet::new();
    for dir in dirs {
        let folder = log_folder(dir)?;
        if !seen.insert(folder.canonicalize().unwrap_or(folder)) {
            let what = format!("{} is named twice", dir.display());
            return Err(Failure::new(Code::Configuration, what).remedy("name each validator once"));
        }
    }
    Ok(())
}

/// Reads one folder under its lock, so that nobody writes it meanwhile.
fn look(dir: &Path, genesis: &Genesis) -> Result<(ValidatorIndex, Found), Failure> {
    let folder = log_folder(dir)?;
    let locked = lock(&folder)?;
    let (validator, lease) = owner(&folder, &locked, genesis)?;
    let verification = verify_path(&folder).map_err(|error| failure_of(&folder, &error))?;
    if !is_genesis_of(genesis, &verification) {
        let what = format!("{}: a log of another chain", folder.display());
        return Err(Failure::new(Code::Configuration, what).remedy("correct --genesis or DIR"));
    }
    // The genesis beside a pruned log may be gone.
    let chain = chain::read_with(genesis.clone(), &folder, &verification)?;
    if let Some(finding) = chain.findings.first() {
        let what = format!("{}: {}", folder.display(), finding.what);
        return Err(Failure::new(Code::Damaged, what).remedy("see quorate log verify"));
    }
    let base = base_of(&folder, &chain)?;
    let height = provable(&chain, base, attested(&folder, &chain));
    let header = next::header_at(&folder, &chain, height);
    let position = header.map(|header| (header.window, header.index));
    let report = LogReport {
        index: validator.number(),
        dir: dir.to_path_buf(),
        stake: genesis.validator_set().stake(validator).amount(),
        height,
        window: position.map_or(0, |(window, _)| window.number()),
        slot: position.map_or(0, |(_, index)| index.number()),
        id: header.map(|header| hex(header.id().as_bytes())),
        not_counted: not_counted(&lease, &verification, position),
    };
    let found = Found {
        report,
        position,
        chain,
        folder,
        verification,
        _locked: locked,
    };
    Ok((validator, found))
}

/// Why a log may lack proofs that its validator had flushed and told the others of: then it is no
/// witness that a higher block was not durable.
fn not_counted(
    lease: &Lease,
    verification: &Verification,
    position: Position,
) -> Option<&'static str> {
    if lease.lease.is_lost {
        return Some("its disk is lost, or an old copy, as its lease says");
    }
    if lease.suspect {
        return Some("its last run saw a failed sync or damage, as its lease says");
    }
    match verification.row.action() {
        Action::Resume | Action::Refuse => return Some("its log is damaged"),
        Action::Continue | Action::Cut => {}
    }
    if verification.unreadable_pages > 0 {
        return Some("pages of its log cannot be read from the disk");
    }
    if !verification.has_watermark {
        return Some("its log has no watermark, so it may have lost its end");
    }
    if !verification.marked.is_empty() {
        return Some("parts of its log are marked faulty");
    }
    may_lack(lease, position).then_some(
        "its validator moved here, or recovered from the loss of its disk, and has proven nothing \
         here that is newer, as its lease says",
    )
}

/// Whether proofs that the validator flushed into another log may be above all that this one shows.
/// An older one of the same window may be of a later block.
fn may_lack(lease: &Lease, position: Position) -> bool {
    let newest = position.map(|(window, _)| window);
    let elsewhere = lease.lease.proofs_elsewhere;
    elsewhere.is_some_and(|until| newest <= Some(until))
}

/// Whose word the log is, as its lease says, and the lease.
fn owner(
    path: &Path,
    folder: &DataFolder,
    genesis: &Genesis,
) -> Result<(ValidatorIndex, Lease), Failure> {
    let read = LeaseFile::new(folder).read();
    let read =
        read.map_err(|error| Failure::of_system(&path.join("lease"), &error, Code::Configuration))?;
    let lease = match read {
        LeaseRead::Present(bytes) => Lease::decode(&bytes),
        LeaseRead::Missing | LeaseRead::Damaged(_) => None,
    };
    let Some(lease) = lease else {
        let what = format!("{}: no lease says whose log this is", path.display());
        return Err(Failure::new(Code::Damaged, what).remedy("leave this folder out"));
    };
    let set = genesis.validator_set();
    let owner = set.indices().find(|&index| {
        set.validator(index)
            .is_some_and(|member| member.key == lease.owner)
    });
    let owner = owner.ok_or_else(|| {
        let what = format!("{}: of no validator of this genesis", path.display());
        Failure::new(Code::Configuration, what).remedy("correct --genesis or DIR")
    })?;
    Ok((owner, lease))
}

/// The height that a start from this folder begins with: genesis, or for a log that was pruned its
/// newest snapshot that is whole.
fn base_of(folder: &Path, chain: &Chain) -> Result<u64, Failure> {
    let genesis = chain.genesis.validator_set().genesis().height.number();
    if chain.below <= genesis {
        return Ok(genesis);
    }
    let snapshots = snapshots_beside(folder);
    let heights = snapshots
        .heights()
        .map_err(|error| snapshot_failure(&error))?;
    let is_usable = |height: &&u64| {
        let manifest = snapshots.verify(**height);
        let base = chain.base.filter(|base| base.height.number() == **height);
        let block = chain.blocks.get(height).map(|block| block.header);
        let known = block.or(base);
        known.is_some_and(|header| manifest.is_ok_and(|found| found.header == header))
    };
    heights
        .iter()
        .rev()
        .find(is_usable)
        .copied()
        .ok_or_else(|| {
            let what = format!(
                "{}: the log was pruned up to height {} and has no whole snapshot from there on",
                folder.display(),
                chain.below
            );
            Failure::new(Code::Damaged, what).remedy("leave this folder out")
        })
}

/// The highest proven height, if every block above `base` has its body here; else the highest one
/// below which all have.
fn provable(chain: &Chain, base: u64, attested: u64) -> u64 {
    let first = base.saturating_add(1);
    let whole = (first..)
        .zip(chain.blocks.range(first..))
        .take_while(|(height, entry)| {
            let (at, block) = entry;
            *at == height && block.body.is_some()
        });
    let whole = base.saturating_add(whole.count() as u64);
    // A proof of a block proves those below it; one above what is whole proves it too. What enough
    // validators attest the state of is final as well.
    whole.min(chain.proven.max(attested))
}

/// Height of the newest block of the chain with a snapshot that enough validators vouch for; 0 if
/// none. What a log says of a snapshot of peers is the word of one validator.
fn attested(folder: &Path, chain: &Chain) -> u64 {
    let set = chain.genesis.validator_set();
    let snapshots = snapshots_beside(folder);
    let is_attested = |height: &u64| {
        let block = chain.blocks.get(height).map(|block| block.header);
        let base = chain.base.filter(|base| base.height.number() == *height);
        let known = block.or(base);
        let vouched = vouched::certificate(set, &snapshots, *height);
        vouched.is_ok_and(|(manifest, certificate)| {
            certificate.is_some() && known == Some(manifest.header)
        })
    };
    let heights = snapshots.heights().unwrap_or_default();
    heights.into_iter().rev().find(is_attested).unwrap_or(0)
}

/// Two valid proofs never conflict while the Byzantine weigh F at most; if they do, no block can be
/// chosen.
fn refuse_conflict(found: &[Found]) -> Result<(), Failure> {
    let mut known: BTreeMap<u64, (BlockId, &Path)> = BTreeMap::new();
    for one in found {
        for (height, block) in one.chain.blocks.range(..=one.report.height) {
            let dir = one.report.dir.as_path();
            let (id, other) = *known.entry(*height).or_insert((block.id, dir));
            if id != block.id {
                let what = format!(
                    "{} and {} prove different blocks at height {height}: more than F misbehaved",
                    other.display(),
                    dir.display()
                );
                return Err(Failure::new(Code::Safety, what).remedy("keep every folder; look"));
            }
        }
    }
    Ok(())
}

fn text(fields: &Fields) -> String {
    let mut rows = table(&[
        "validator",
        "stake",
        "height",
        "window",
        "slot",
        "folder",
        "counts",
    ]);
    for report in &fields.reports {
        rows.add_row([
            report.index.to_string(),
            report.stake.to_string(),
            report.height.to_string(),
            report.window.to_string(),
            report.slot.to_string(),
            report.dir.display().to_string(),
            report
                .not_counted
                .map_or_else(|| "yes".to_owned(), |why| format!("no: {why}")),
        ]);
    }
    let dirs: Vec<String> = fields
        .dirs
        .iter()
        .map(|dir| dir.display().to_string())
        .collect();
    let next = match &fields.next {
        Some(next) => next::text(next),
        None => {
            "run it once more with --out to write the genesis of the chain that goes on, and its \
                 state"
                .to_owned()
        }
    };
    format!(
        "{rows}\nstake {} of {} needed\nthe chain goes on from height {} (window {}, slot {}), block {}\n\
         which is in: {}\n{next}",
        fields.stake,
        fields.stake_needed,
        fields.height,
        fields.window,
        fields.slot,
        fields.id.as_deref().unwrap_or("genesis"),
        dirs.join(", "),
    )
}

#[cfg(test)]
#[path = "site_tests.rs"]
mod tests;
