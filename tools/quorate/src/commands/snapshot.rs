//! `quorate snapshot`: the snapshots of a validator, looked at and made offline.
//!
//! Owns what is shown of a snapshot and what makes one good: every chunk is there, the application
//! takes it, and who vouches for it does so under the genesis of the log. Never: trusts a
//! certificate by its presence.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use quorate::executor::{Executor, FinalBlock};
use quorate::genesis::Genesis;
use quorate::shadow::statement_of;
use quorate::snapshot::{self, Manifest, Origin, SnapshotError, SnapshotFolder};
use quorate::vouched::{self, VouchedError};
use quorate_bench::applications::Hosted;
use quorate_consensus::attestation::StateCertificate;
use quorate_consensus::header::Header;
use quorate_consensus::restart;
use quorate_consensus::types::ValidatorIndex;
use quorate_consensus::verify::{Claim, check_claims};
use quorate_consensus::wire;
use quorate_log::{DataFolder, LeaseFile, LeaseRead, verify_path};
use serde::Serialize;

use crate::applications::Applications;
use crate::failure::{Code, Failure};
use crate::inspect::chain::{self, Chain, OneByOne};
use crate::inspect::replay::{
    Replay, executor_of, failure_of, genesis_of, is_removed, no_snapshot, other_section,
    snapshots_beside, worst,
};
use crate::inspect::{BASE, failure_of as log_failure, lock, lock_unless_held, log_folder};
use crate::output::{Report, hex, table};
use crate::verdict;

/// What to do with snapshots.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Execute a stopped validator's log and take a snapshot of the state
    Create(CreateOptions),
    /// List the snapshots of a validator
    List(Options),
    /// Check every chunk, restore the state, and check who vouches for it
    Verify(Options),
}

/// Options of the commands that look.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Log folder, data folder or validator folder
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// Only the snapshot of this height
    #[arg(long, value_name = "H")]
    height: Option<u64>,
}

/// Options of `create`.
#[derive(Debug, Args)]
pub(crate) struct CreateOptions {
    /// Log folder, data folder or validator folder
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// After the block of this height; by default after the last one
    #[arg(long, value_name = "H")]
    height: Option<u64>,
}

/// One snapshot.
#[derive(Serialize)]
struct Snapshot {
    height: u64,
    id: String,
    /// The snapshot's root.
    root: String,
    bytes: u64,
    chunks: usize,
    /// Validators whose good signatures vouch for it; empty when they weigh too little.
    vouched_by: Vec<u16>,
    /// What is wrong with it, if it was looked at closely.
    fault: Option<String>,
    /// What that is a case of.
    #[serde(skip)]
    code: Option<Code>,
}

#[derive(Serialize)]
struct Fields {
    #[serde(serialize_with = "crate::output::path")]
    dir: PathBuf,
    snapshots: Vec<Snapshot>,
    #[serde(flatten)]
    missing: Missing,
}

/// What should be there; none where that was not looked at, since nobody looks at it beside a
/// running validator, or for a list.
#[derive(Default, Serialize)]
struct Missing {
    /// Heights of which the data is there without a manifest.
    without_manifest: Option<Vec<u64>>,
    /// Whether the log begins above genesis and there is no snapshot to go on from.
    lacks_base: Option<bool>,
}

/// Does it.
///
/// # Errors
/// As the command says.
pub(crate) fn run(applications: &Applications, command: &Command) -> Result<Report, Failure> {
    match command {
        Command::Create(options) => create(applications, options),
        Command::List(options) => look(options, None),
        Command::Verify(options) => look(options, Some(applications)),
    }
}

fn create(applications: &Applications, options: &CreateOptions) -> Result<Report, Failure> {
    let folder = log_folder(&options.dir)?;
    let locked = lock(&folder)?;
    require_synced(&folder, &locked)?;
    let verification = verify_path(&folder).map_err(|error| log_failure(&folder, &error))?;
    if !verification.faults.is_empty() {
        let what = format!("{}: the log is faulty", folder.display());
        return Err(Failure::new(Code::Damaged, what).remedy("run quorate log verify"));
    }
    let genesis = genesis_of(&folder)?;
    let first = genesis.validator_set().genesis().height.number();
    if let Some(height) = options.height.filter(|&height| height <= first) {
        let what =
            format!("--height {height}: the chain begins at {first}, its first block is above");
        return Err(Failure::usage(what).remedy("name a height that quorate log show lists"));
    }
    let chain = chain::read_with(genesis, &folder, &verification)?;
    let (genesis, snapshots) = (&chain.genesis, snapshots_beside(&folder));
    let tip = chain.tip().map_or(chain.below, |(tip, _)| tip);
    let from = state_below(
        &chain,
        &snapshots,
        options.height.map_or(tip, |to| to.min(tip)),
    )?;
    let from = from.map(|height| (height, &snapshots));
    let mut last = None;
    let mut note = |_: &mut Executor<_>, block: &FinalBlock, _: &_| last = Some(block.header);
    let to = options.height.unwrap_or(u64::MAX);
    let mut replay = Replay::begin(applications, genesis, &folder, from, to, &mut note)?;
    replay.run(&folder, &verification)?;
    let (mut executor, _) = replay.finish();
    let reached = executor.height();
    let header = last.filter(|_| options.height.is_none_or(|height| height == reached));
    let header = header.ok_or_else(|| {
        let what = match options.height {
            Some(height) => {
                format!("the log has no block of height {height}, its last is {reached}")
            }
            None => "the log has no finalized block".to_owned(),
        };
        Failure::new(Code::No, what).remedy("name a height that quorate log show lists")
    })?;
    let is_there =
        is_vouched_for_here((applications, genesis), &mut executor, &header, &snapshots)?;
    if !is_there {
        let origin = Origin::of(genesis.validator_set());
        snapshot::take(&mut executor, &header, &origin, &snapshots)
            .map_err(|error| failure_of(&error))?;
    }
    let fields = Fields {
        dir: snapshots.path().to_path_buf(),
        snapshots: vec![describe(genesis, &snapshots, reached, None)?],
        missing: Missing::default(),
    };
    report_created(&fields, reached, is_there)
}

/// Whether a snapshot of this state is there already, for which enough validators vouch, and which
/// this build takes back, as a start has to. It is not written anew: what another build makes of
/// the same state need not have the same bytes, and its certificate is of the old ones.
///
/// # Errors
/// What they vouch for is another state than this one: it is not to be lost for that. Nor where the
/// system does not let it be seen whether anybody does.
fn is_vouched_for_here(
    (applications, genesis): (&Applications, &Genesis),
    executor: &mut Executor<Hosted>,
    header: &Header,
    snapshots: &SnapshotFolder,
) -> Result<bool, Failure> {
    let height = header.height.number();
    let found = vouched::certificate(genesis.validator_set(), snapshots, height);
    let manifest = match found {
        Ok((manifest, Some(_))) => manifest,
        Err(VouchedError::Snapshot(error)) if is_refused(&error) => return Err(failure_of(&error)),
        Ok((_, None)) | Err(_) => return Ok(false),
    };
    let differs = match manifest.header == *header {
        true => other_section(executor, &manifest).map(|name| format!("section {name}")),
        false => Some("the block".to_owned()),
    };
    let Some(differs) = differs else {
        // Whole files are not enough: this build may read other bytes of the same state. Where it
        // does not take them, what is taken is held against the certificate afterwards.
        let (mut fresh, origin) = (
            executor_of(applications, genesis)?,
            Origin::of(genesis.validator_set()),
        );
        return match snapshot::restore(&mut fresh, height, &origin, snapshots) {
            Ok(_) => Ok(true),
            // What the disk has lost of it is made anew.
            Err(error) if is_refused(&error) && code_of(&error) != Code::DiskFailed => {
                Err(failure_of(&error))
            }
            Err(_) => Ok(false),
        };
    };
    let what = format!(
        "{}: the snapshot of height {height}, which enough validators vouch for, is of another \
         state than this log comes to here: {differs} is another",
        snapshots.path().display()
    );
    Err(Failure::new(Code::No, what).remedy(
        "nothing was written: keep that snapshot, and look for what differs with quorate log replay, \
         by the build that the others run too",
    ))
}

/// Whether the system does not let it be read, which says nothing of what it is.
fn is_refused(error: &SnapshotError) -> bool {
    matches!(error, SnapshotError::Io { .. }) && !is_removed(error)
}

fn report_created(fields: &Fields, height: u64, is_there: bool) -> Result<Report, Failure> {
    let mut text = format!("{}: snapshot of height {height}", fields.dir.display());
    if is_there {
        text.push_str(" is there already, and vouched for: nothing was written");
    }
    let faults = faults(fields);
    text.push_str(&faults);
    Ok(Report::new(fields, text)?.with_code(verdict::code(faults.is_empty())))
}

/// Height of the newest whole snapshot below a block, of this chain, that the log goes on from:
/// where the execution begins. None where the log reaches down to the first state and no snapshot
/// that others vouch for is above that.
fn state_below(
    chain: &Chain,
    snapshots: &SnapshotFolder,
    height: u64,
) -> Result<Option<u64>, Failure> {
    let set = chain.genesis.validator_set();
    let origin = Origin::of(set);
    let is_of_chain = |manifest: &Manifest| {
        let held = chain.header(manifest.height());
        // The block below the first one of a pruned log is named by that one alone.
        let above = chain.blocks.get(&manifest.height().saturating_add(1));
        let is_parent =
            || above.is_some_and(|block| block.header.parent_id == manifest.header.id());
        origin.fits(manifest) && held.map_or_else(is_parent, |held| held == manifest.header)
    };
    let mut heights = snapshots.heights().map_err(|error| failure_of(&error))?;
    heights.retain(|&below| below < height && below >= chain.below);
    heights.reverse();
    let is_usable = |below: &u64| {
        snapshots
            .verify(*below)
            .is_ok_and(|found| is_of_chain(&found))
    };
    let is_vouched_for = |below: &u64| {
        let vouched = vouched::certificate(set, snapshots, *below);
        vouched.is_ok_and(|(_, certificate)| certificate.is_some())
    };
    // All of its data is read to see that: last.
    let is_best = |below: &&u64| is_vouched_for(below) && is_usable(below);
    let best = heights.iter().find(is_best).copied();
    if best.is_some() || chain.below <= set.genesis().height.number() {
        return Ok(best);
    }
    // As a start does, which has nothing else.
    if let Some(newest) = heights.iter().find(|below| is_usable(below)) {
        return Ok(Some(*newest));
    }
    let what = format!(
        "the log begins above height {}, and there is no whole snapshot of its chain from there up \
         to below height {height}",
        chain.below
    );
    Err(Failure::new(Code::Configuration, what).remedy(
        "name a greater --height, or bring a snapshot from another validator; quorate snapshot list \
         shows what there is",
    ))
}

/// A snapshot must not be of a block that a loss of power can still take from the log: a start
/// would find it ahead. What is read is synced first, where the disk may still be believed.
fn require_synced(folder: &Path, locked: &DataFolder) -> Result<(), Failure> {
    let failed = |error: io::Error| {
        Failure::new(Code::DiskFailed, format!("{}: {error}", folder.display()))
            .remedy("look at the disk; then start the validator, which mends its log")
    };
    let lease = match LeaseFile::new(locked).read().map_err(failed)? {
        LeaseRead::Present(bytes) => restart::LeaseFile::decode(&bytes),
        LeaseRead::Missing | LeaseRead::Damaged(_) => None,
    };
    if lease.is_some_and(|lease| lease.suspect) {
        let what = format!(
            "{}: its last run saw a failed sync or damage, so what memory shows may not be on the \
             disk",
            folder.display()
        );
        return Err(Failure::new(Code::Configuration, what).remedy(
            "start the validator, which reads its log from the disk, and stop it; then try again",
        ));
    }
    let sync = || -> io::Result<()> {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            if entry
                .file_name()
                .as_encoded_bytes()
                .starts_with(b"segment-")
            {
                File::open(entry.path())?.sync_all()?;
            }
        }
        File::open(folder)?.sync_all()
    };
    sync().map_err(failed)
}

fn look(options: &Options, closely: Option<&Applications>) -> Result<Report, Failure> {
    let folder = log_folder(&options.dir)?;
    let genesis = genesis_of(&folder)?;
    let snapshots = snapshots_beside(&folder);
    let mut heights = snapshots.heights().map_err(|error| failure_of(&error))?;
    if let Some(height) = options.height {
        heights.retain(|&there| there == height);
    }
    let described = describe_all(&genesis, &snapshots, &heights, closely)?;
    if let Some(height) = options.height.filter(|_| described.is_empty()) {
        return Err(no_snapshot(&snapshots, height));
    }
    let missing = match closely.is_some() && options.height.is_none() {
        true => look_for_missing(&folder, &snapshots, described.is_empty())?,
        false => Missing::default(),
    };
    let fields = Fields {
        dir: snapshots.path().to_path_buf(),
        snapshots: described,
        missing,
    };
    let codes = fields.snapshots.iter().filter_map(|one| one.code);
    let lost = fields.missing.lacks_base == Some(true);
    let code = worst(codes.chain(lost.then_some(Code::Damaged))).unwrap_or(Code::Done);
    let text = text(&fields);
    Ok(Report::new(&fields, text)?.with_code(code))
}

/// Looks for what should be there. Of a running validator nothing is said: it names the data of a
/// snapshot before its manifest.
fn look_for_missing(
    folder: &Path,
    snapshots: &SnapshotFolder,
    is_empty: bool,
) -> Result<Missing, Failure> {
    let Some(_locked) = lock_unless_held(folder)? else {
        return Ok(Missing::default());
    };
    let unnamed = snapshots.heights_unnamed();
    Ok(Missing {
        without_manifest: Some(unnamed.map_err(|error| failure_of(&error))?),
        lacks_base: Some(is_empty && folder.join(BASE).exists()),
    })
}

/// What a snapshot that cannot be used is a case of: of the table in docs/operations.md.
fn code_of(error: &SnapshotError) -> Code {
    match error {
        SnapshotError::Io { source, .. } => Failure::of_refusal(error, source, Code::Damaged).code,
        // A start refuses it so.
        SnapshotError::Sections { .. } => Code::Configuration,
        _ => failure_of(error).code,
    }
}

/// What there is of snapshots that were listed: a running validator removes old ones meanwhile.
fn describe_all(
    genesis: &Genesis,
    snapshots: &SnapshotFolder,
    heights: &[u64],
    closely: Option<&Applications>,
) -> Result<Vec<Snapshot>, Failure> {
    let described = heights
        .iter()
        .map(|&height| describe(genesis, snapshots, height, closely));
    let mut described = described.collect::<Result<Vec<_>, Failure>>()?;
    let still = snapshots.heights().map_err(|error| failure_of(&error))?;
    described.retain(|one| one.fault.is_none() || still.contains(&one.height));
    Ok(described)
}

fn describe(
    genesis: &Genesis,
    snapshots: &SnapshotFolder,
    height: u64,
    closely: Option<&Applications>,
) -> Result<Snapshot, Failure> {
    let manifest = match snapshots.manifest(height) {
        Ok(manifest) => manifest,
        Err(error) => {
            return Ok(Snapshot {
                height,
                id: String::new(),
                root: String::new(),
                bytes: 0,
                chunks: 0,
                vouched_by: Vec::new(),
                fault: Some(error.to_string()),
                code: Some(code_of(&error)),
            });
        }
    };
    let mut fault = None;
    if let Some(applications) = closely {
        let origin = Origin::of(genesis.validator_set());
        let mut executor = executor_of(applications, genesis)?;
        let restored = snapshot::restore(&mut executor, height, &origin, snapshots);
        fault = restored
            .err()
            .map(|error| (code_of(&error), error.to_string()));
    }
    let vouched_by = match vouched_by(genesis, snapshots, &manifest) {
        Ok(signers) => signers,
        Err(what) => {
            fault.get_or_insert(what);
            Vec::new()
        }
    };
    Ok(Snapshot {
        height,
        id: hex(manifest.header.id().as_bytes()),
        root: hex(&manifest.root()),
        bytes: manifest.data_bytes(),
        chunks: manifest.chunks.len(),
        vouched_by,
        code: fault.as_ref().map(|(code, _)| *code),
        fault: fault.map(|(_, what)| what),
    })
}

/// Who vouches for a snapshot; nobody when it has no certificate.
fn vouched_by(
    genesis: &Genesis,
    snapshots: &SnapshotFolder,
    manifest: &Manifest,
) -> Result<Vec<u16>, (Code, String)> {
    let told = |error: SnapshotError| (code_of(&error), error.to_string());
    let damaged = |what: String| (Code::Damaged, what);
    let Some(bytes) = snapshots.certificate(manifest.height()).map_err(told)? else {
        return Ok(Vec::new());
    };
    let certificate: StateCertificate = wire::decode_state_certificate(&bytes)
        .map_err(|error| damaged(format!("its certificate is damaged: {error}")))?;
    if certificate.statement != statement_of(manifest) {
        return Err(damaged("its certificate is of another state".to_owned()));
    }
    let signers = certificate.signatures.iter();
    let signers = signers.map(|(signer, _)| signer.number()).collect();
    let own = ValidatorIndex::new(0);
    let claim = Claim::StateCertificate(certificate);
    let checked = check_claims(
        genesis.validator_set(),
        own,
        vec![(own, claim)],
        &mut OneByOne,
    );
    match checked.iter().all(Result::is_ok) {
        true => Ok(signers),
        false => Err(damaged("its certificate does not hold".to_owned())),
    }
}

fn text(fields: &Fields) -> String {
    let mut rows = table(&["height", "bytes", "chunks", "vouched by", "root"]);
    for one in &fields.snapshots {
        let who: Vec<String> = one.vouched_by.iter().map(u16::to_string).collect();
        rows.add_row(vec![
            one.height.to_string(),
            one.bytes.to_string(),
            one.chunks.to_string(),
            who.join(" "),
            one.root.clone(),
        ]);
    }
    format!("{}\n{rows}{}", fields.dir.display(), faults(fields))
}

/// A line for each that is not good.
fn faults(fields: &Fields) -> String {
    let line = |one: &Snapshot| {
        let fault = one.fault.as_ref()?;
        Some(format!("\nFAULTY: height {}: {fault}", one.height))
    };
    let mut text: String = fields.snapshots.iter().filter_map(line).collect();
    for height in fields.missing.without_manifest.iter().flatten() {
        text.push_str(&format!(
            "\nno manifest beside the data of height {height}: a stop while it was taken or removed \
             leaves that, and the next start removes it"
        ));
    }
    if fields.missing.lacks_base == Some(true) {
        text.push_str("\nFAULTY: the log was pruned, and no snapshot is here that it goes on from");
    }
    text
}

#[cfg(test)]
#[path = "snapshot_tests.rs"]
mod tests;
