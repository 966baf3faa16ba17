//! `quorate log verify`: whether a log is whole and what it says holds.
//!
//! Four kinds of trouble are told apart: *torn* is what a crash leaves behind and the next start
//! cuts off (exit code 0); *marked* was found faulty by an earlier start, which went on behind it
//! (0); *faulty* is damage that no crash explains (5); *foreign* belongs to another log, chain or
//! genesis, or is a lease of another validator (3). Each comes with what to do next. No crash takes
//! away the files beside the log that say how far it may be believed either: without its lease or
//! its watermark it is damaged (5). So is a pruned one without the file that keeps its genesis;
//! what it says is judged by another copy.

use std::path::{Path, PathBuf};

use clap::Args;
use quorate::config::ConfigFile;
use quorate::genesis::{Begins, Genesis};
use quorate::keys::KeyPair;
use quorate_consensus::restart;
use quorate_consensus::types::Window;
use quorate_log::{Action, LeaseFile, LeaseRead, Row, Verification, verify_path};
use serde::Serialize;

use crate::failure::{Code, Failure};
use crate::inspect::chain::{self, Chain};
use crate::inspect::replay::{genesis_of, is_genesis_of};
use crate::inspect::{Finding, Trouble, failure_of, lacks_beginning, log_folder};
use crate::output::{Report, hex};

/// Options of the command.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Log folder, data folder or validator folder
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// Genesis file that the log must belong to
    #[arg(long, value_name = "FILE")]
    genesis: Option<PathBuf>,
}

/// How the configuration of a validator is called in its folder.
const CONFIG_FILE: &str = "quorate.toml";

/// What stands beside the log of what its validator may say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Lease {
    Whole,
    Missing,
    Damaged,
}

#[derive(Serialize)]
struct Fields {
    #[serde(serialize_with = "crate::output::path")]
    dir: PathBuf,
    records: u64,
    segments: usize,
    /// Number of the first segment: above 0 when the log was pruned.
    first_segment: u32,
    /// The block of another chain that this one goes on from; null for none.
    begins: Option<Begins>,
    /// Height below its first block: above 0 when the log was pruned, or goes on from a snapshot of
    /// peers.
    below: u64,
    /// Finalized blocks.
    blocks: u64,
    /// Of the highest finalized block.
    height: u64,
    /// Its name.
    tip: Option<String>,
    /// Highest block that a proof in the log makes final for anybody.
    proven: u64,
    certificates_verified: u64,
    vote_records: u64,
    chain_id: Option<String>,
    clean_stop: bool,
    lease: Lease,
    /// Public key of the validator that the lease was written for.
    lease_owner: Option<String>,
    /// Whether the lease says that what its validator said is not known here: the disk was lost, or
    /// what it said was taken elsewhere.
    is_lost: bool,
    /// Up to which window it makes no record; null for none.
    abstain_until: Option<u64>,
    /// Whether the watermark is there and can be read.
    has_watermark: bool,
    /// Whether the genesis is there and whole: in record 0, or beside a log that was pruned.
    has_genesis: bool,
    /// Pages that the disk does not give back; what was in them is judged as zeros.
    unreadable_pages: usize,
    torn: Vec<Finding>,
    marked: Vec<Finding>,
    faulty: Vec<Finding>,
    /// What to do.
    next: &'static str,
}

/// Verifies.
///
/// # Errors
/// There is no log, or it cannot be read.
pub(crate) fn run(options: &Options) -> Result<Report, Failure> {
    let folder = log_folder(&options.dir)?;
    let given = options.genesis.as_deref().map(Genesis::load).transpose()?;
    let verification = verify_at_rest(&folder)?;
    let fits = given
        .as_ref()
        .map(|given| is_genesis_of(given, &verification));
    let (chain, has_genesis) =
        chain_of(&folder, &verification, given.filter(|_| fits == Some(true)))?;
    let (lease, content) = lease(&folder)?;
    let mut fields = fields(&folder, &verification, chain.as_ref(), lease);
    if let Some(content) = &content {
        fields.lease_owner = Some(hex(&content.owner));
        fields.is_lost = content.lease.is_lost;
        fields.abstain_until = content.lease.abstain_until.map(Window::number);
    }
    let genesis = chain.as_ref().map(|chain| &chain.genesis);
    let owner = content.map(|content| content.owner);
    let foreign_lease = owner.and_then(|owner| foreign_lease(&folder, owner, genesis));
    fields.faulty.extend(foreign_lease.map(foreign));
    fields.has_genesis = has_genesis;
    if let Some(path) = options.genesis.as_deref().filter(|_| fits == Some(false)) {
        let path = path.display();
        let what = format!("the log belongs to another genesis than {path}");
        fields.faulty.push(foreign(what));
    }
    fields.next = next(&fields, verification.row);
    let is_foreign = |finding: &Finding| finding.kind == Trouble::Foreign;
    let has_all = fields.lease == Lease::Whole && fields.has_watermark && fields.has_genesis;
    let is_whole = fields.faulty.is_empty() && has_all;
    let code = if is_whole {
        Code::Done
    } else if fields.faulty.iter().any(is_foreign) {
        Code::Configuration
    } else {
        Code::Damaged
    };
    let text = text(&fields);
    Ok(Report::new(&fields, text)?.with_code(code))
}

/// What the log says, if it has a record and a genesis to judge it by, the one that was given or
/// its own; and whether it has its own.
fn chain_of(
    folder: &Path,
    verification: &Verification,
    given: Option<Genesis>,
) -> Result<(Option<Chain>, bool), Failure> {
    let is_pruned = verification.start.offset.segment() > 0;
    let own = match genesis_of(folder) {
        Ok(own) => Some(own),
        // Record 0 itself is what is damaged: the faults say so.
        Err(_) if !verification.faults.is_empty() => None,
        Err(failure) if is_pruned && failure.code == Code::Damaged => None,
        Err(failure) => return Err(failure),
    };
    let has_genesis = own.is_some();
    let is_readable = verification.record_count > 0 && !lacks_beginning(verification);
    let genesis = own.or(given).filter(|_| is_readable);
    let read = |genesis| chain::read_with(genesis, folder, verification);
    Ok((genesis.map(read).transpose()?, has_genesis))
}

/// Verifies; what is found beside a running validator may only be that the log grew meanwhile, so
/// a fault counts when a second look at an unchanged log finds it too.
pub(crate) fn verify_at_rest(folder: &Path) -> Result<Verification, Failure> {
    let look = || verify_path(folder).map_err(|error| failure_of(folder, &error));
    let first = look()?;
    if first.faults.is_empty() {
        return Ok(first);
    }
    let second = look()?;
    if second.record_count == first.record_count && second.end == first.end {
        return Ok(second);
    }
    let what = format!("{}: the log is being appended to", folder.display());
    Err(Failure::new(Code::TryAgain, what).remedy("stop the validator first"))
}

/// Looks at the lease file: how it is, and what it says.
fn lease(folder: &Path) -> Result<(Lease, Option<restart::LeaseFile>), Failure> {
    let read = LeaseFile::look_at(folder)
        .map_err(|error| Failure::of_system(&folder.join("lease"), &error, Code::Configuration))?;
    Ok(match read {
        LeaseRead::Missing => (Lease::Missing, None),
        LeaseRead::Damaged(_) => (Lease::Damaged, None),
        LeaseRead::Present(bytes) => match restart::LeaseFile::decode(&bytes) {
            Some(content) => (Lease::Whole, Some(content)),
            None => (Lease::Damaged, None),
        },
    })
}

/// A lease of a key that is not the one which a start from this folder would be given, or that is
/// none of the chain: a start refuses it. Own records in a log are signed by nobody, so the log
/// itself does not tell whose it is.
fn foreign_lease(folder: &Path, owner: [u8; 32], genesis: Option<&Genesis>) -> Option<String> {
    let lease = format!(
        "the lease was written for the validator with the key {}",
        hex(&owner)
    );
    if let Some((path, own)) = configured_key(folder)
        && own != owner
    {
        return Some(format!(
            "{lease}; that of {} is {}",
            path.display(),
            hex(&own)
        ));
    }
    let is_of_none = genesis.is_some_and(|genesis| genesis.index_of(&owner).is_none());
    is_of_none.then(|| format!("{lease}, which is none of this chain"))
}

/// The public key of the validator whose configuration stands beside the data folder of a log and
/// names it; none where there is no such file, or its key may not be read.
fn configured_key(folder: &Path) -> Option<(PathBuf, [u8; 32])> {
    let folder = folder.canonicalize().ok()?;
    let above = folder.ancestors().skip(1).take(2);
    above.map(|above| above.join(CONFIG_FILE)).find_map(|path| {
        let config = ConfigFile::load(&path).ok()?;
        let named = config.data.join("log").canonicalize().ok()?;
        let key = KeyPair::load(&config.key)
            .ok()
            .filter(|_| named == folder)?;
        Some((path, key.public()))
    })
}

fn fields(
    folder: &Path,
    verification: &Verification,
    chain: Option<&Chain>,
    lease: Lease,
) -> Fields {
    let found = |faults: &[quorate_log::Fault], kind| -> Vec<Finding> {
        faults
            .iter()
            .map(|fault| Finding::of_fault(fault, kind))
            .collect()
    };
    let mut faulty = found(&verification.faults, Trouble::Faulty);
    faulty.extend(chain.iter().flat_map(|chain| chain.findings.clone()));
    faulty.sort_by_key(|finding| (finding.segment, finding.offset));
    let tip = chain.and_then(Chain::tip);
    Fields {
        dir: folder.to_path_buf(),
        records: verification.record_count,
        segments: verification.segment_count,
        first_segment: verification.start.offset.segment(),
        begins: chain.and_then(|chain| chain.genesis.file().begins),
        below: chain.map_or(0, |chain| chain.below),
        blocks: chain.map_or(0, |chain| chain.blocks.len() as u64),
        height: tip.map_or_else(
            || chain.map_or(0, |chain| chain.below),
            |(height, _)| height,
        ),
        tip: tip.map(|(_, block)| hex(block.id.as_bytes())),
        proven: chain.map_or(0, |chain| chain.proven),
        certificates_verified: chain.map_or(0, |chain| chain.certificates_verified),
        vote_records: chain.map_or(0, |chain| chain.vote_records),
        chain_id: chain.map(|chain| hex(chain.genesis.chain_id())),
        clean_stop: verification.clean_stop == quorate_log::CleanStopRead::Matches,
        lease,
        lease_owner: None,
        is_lost: false,
        abstain_until: None,
        has_watermark: verification.has_watermark,
        has_genesis: true,
        unreadable_pages: verification.unreadable_pages,
        torn: found(&verification.torn, Trouble::Torn),
        marked: verification.marked.iter().map(Finding::of_mark).collect(),
        faulty,
        next: "",
    }
}

/// What to do next, by the worst that was found.
fn next(fields: &Fields, row: Row) -> &'static str {
    let has = |kind| fields.faulty.iter().any(|finding| finding.kind == kind);
    if has(Trouble::Foreign) {
        return "correct `data` or `genesis` in quorate.toml, and put files back where they belong; \
                never mix files of two folders (docs/operations.md, runbook foreign)";
    }
    match row.action() {
        Action::Refuse if row == Row::LostBeginning => {
            "keep the folder and leave the validator down: a start refuses it. Either its first \
             segments are missing, or the file base beside them is missing or damaged, which says \
             that they were pruned: bring back what it is, base from a copy of this log that begins \
             with the same segment; without one, move the folder away and say `quorate recover \
             disk` (docs/operations.md, runbook hole)"
        }
        Action::Refuse => {
            "keep the folder and leave the validator down: a start refuses it; bring back the \
             missing or cut file if there is one (docs/operations.md, runbook hole)"
        }
        Action::Resume => {
            "check the disk, keep a copy of the folder, then start the validator: it marks the \
             damage, votes in no window that it cannot vouch for, and fetches from its peers what \
             it lost (docs/operations.md, runbook faulty)"
        }
        _ if has(Trouble::Faulty) => {
            "the bytes are whole and contradict one another: leave the validator down and report \
             it (docs/operations.md, runbook contradiction)"
        }
        _ if fields.lease != Lease::Whole => {
            "of a copy of a log alone, nothing. Else find out who took the lease or harmed it, put no \
             older one in its place, and start the validator: it asks its peers how far it may have \
             voted, and votes above that alone (docs/operations.md, Recovery)"
        }
        _ if fields.is_lost => {
            "the lease says that what this validator said is not all here: `recover disk` was said \
             of it, or its vote state was exported. Where that went to another folder, leave this \
             one down; else start it: it asks its peers before it votes (docs/operations.md, \
             Recovery)"
        }
        _ if !fields.has_watermark => {
            "of a copy of a log alone, nothing. Else find out who took the watermark or harmed it: \
             nothing tells the end of this log from an older one. If it may be an older copy, say \
             `quorate recover disk`; then start the validator, which votes in no window of its lease \
             (docs/operations.md, Recovery)"
        }
        _ if !fields.has_genesis => {
            "start the validator: it writes the file genesis beside its log again, from the one that it \
             is configured with. In a copy put the chain's genesis file there under that name"
        }
        _ if fields.unreadable_pages > 0 => {
            "check the disk; the next start writes the segments anew whose pages it cannot read \
             (docs/operations.md, runbook bus error)"
        }
        Action::Cut => "nothing: the next start cuts off what a crash has left",
        Action::Continue if !fields.marked.is_empty() => {
            "nothing now: what is marked was left out and came back from peers; watch the disk"
        }
        Action::Continue => "nothing",
    }
}

fn foreign(what: String) -> Finding {
    Finding {
        segment: 0,
        offset: 0,
        height: None,
        what,
        kind: Trouble::Foreign,
    }
}

/// What is wrong beside the log.
const fn beside(lease: Lease, has_watermark: bool) -> &'static str {
    match (lease, has_watermark) {
        (Lease::Whole, true) => "",
        (Lease::Whole, false) => {
            "\nNO WATERMARK, or a damaged one: nothing tells this end of the log from an older one"
        }
        (Lease::Missing, true) => "\nNO LEASE: nothing tells what its validator may say",
        (Lease::Damaged, true) => {
            "\nTHE LEASE IS DAMAGED: nothing tells what its validator may say"
        }
        (Lease::Missing | Lease::Damaged, false) => {
            "\nNO LEASE AND NO WATERMARK, or damaged ones: nothing tells what its validator may say, or \
             this end of the log from an older one"
        }
    }
}

/// Where the log begins, if not with the first block of a first chain.
fn beginning(fields: &Fields) -> String {
    let mut text = String::new();
    if fields.first_segment > 0 && fields.chain_id.is_some() {
        text.push_str(&format!(
            "\npruned: begins with segment {}; heights up to {} are gone, as its base says",
            fields.first_segment, fields.below
        ));
    }
    if let Some(begins) = &fields.begins {
        text.push_str(&format!(
            "\ngeneration {}: goes on after height {} of the chain with genesis {}",
            begins.generation,
            begins.height,
            hex(&begins.of.0),
        ));
    }
    let first = fields.begins.map_or(0, |begins| begins.height);
    if fields.first_segment == 0 && fields.below > first {
        text.push_str(&format!(
            "\njoined: goes on from a snapshot of peers of height {}",
            fields.below
        ));
    }
    text
}

fn text(fields: &Fields) -> String {
    let mut text = format!(
        "{}: {} records in {} segments\n{} finalized blocks up to height {}, tip {}\n{} proofs \
         hold, up to height {}; {} vote records of its own\nlast stop: {}",
        fields.dir.display(),
        fields.records,
        fields.segments,
        fields.blocks,
        fields.height,
        fields.tip.as_deref().unwrap_or("none"),
        fields.certificates_verified,
        fields.proven,
        fields.vote_records,
        if fields.clean_stop {
            "clean"
        } else {
            "cut short, or still running"
        },
    );
    text.push_str(beside(fields.lease, fields.has_watermark));
    if !fields.has_genesis {
        text.push_str("\nNO GENESIS, or a damaged one");
    }
    if fields.chain_id.is_none() {
        let why = match fields.has_genesis {
            true => "its beginning is missing",
            false => "there is no genesis to judge it by (--genesis)",
        };
        text.push_str(&format!("\nWHAT IT SAYS IS NOT JUDGED: {why}"));
    }
    text.push_str(&beginning(fields));
    if fields.unreadable_pages > 0 {
        text.push_str(&format!(
            "\n{} pages cannot be read from the disk",
            fields.unreadable_pages
        ));
    }
    let findings = fields.torn.iter().chain(&fields.marked);
    for finding in findings.chain(&fields.faulty) {
        let kind = match finding.kind {
            Trouble::Torn => "torn (a crash left it; the next start cuts it off)",
            Trouble::Faulty => "FAULTY",
            Trouble::Foreign => "FOREIGN",
            Trouble::Marked => "marked (an earlier start found it faulty and went on behind it)",
        };
        let height = finding
            .height
            .map(|height| format!(" height {height}"))
            .unwrap_or_default();
        text.push_str(&format!(
            "\n{kind}: segment {} offset {}{height}: {}",
            finding.segment, finding.offset, finding.what
        ));
    }
    text.push_str("\nnext: ");
    text.push_str(fields.next);
    text
}

#[cfg(test)]
#[path = "verify_tests.rs"]
mod tests;
