//! `quorate log verify`: whether a log is whole and what it says holds.
//!
//! Three kinds of trouble are told apart: *torn* is what a crash leaves behind and the next start
//! cuts off; *faulty* is damage that no crash explains; *foreign* belongs to another log, chain or
//! genesis. A torn tail alone is no fault.

use std::path::{Path, PathBuf};

use clap::Args;
use quorate_log::{Verification, verify_path};
use serde::Serialize;

use crate::failure::{Code, Failure};
use crate::inspect::chain::{self, Chain};
use crate::inspect::{Finding, Trouble, failure_of, log_folder};
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

#[derive(Serialize)]
struct Fields {
    dir: PathBuf,
    records: u64,
    segments: usize,
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
    torn: Vec<Finding>,
    faulty: Vec<Finding>,
}

/// Verifies.
///
/// # Errors
/// There is no log, or it cannot be read.
pub(crate) fn run(options: &Options) -> Result<Report, Failure> {
    let folder = log_folder(&options.dir)?;
    let verification = verify_at_rest(&folder)?;
    let chain = if verification.record_count > 0 {
        match chain::read(&folder, &verification.end) {
            Ok(chain) => Some(chain),
            // The genesis itself is what is damaged: the faults say so.
            Err(_) if !verification.faults.is_empty() => None,
            Err(failure) => return Err(failure),
        }
    } else {
        None
    };
    let mut fields = fields(&folder, &verification, chain.as_ref());
    if let Some(path) = &options.genesis {
        check_genesis(path, &verification, &mut fields.faulty)?;
    }
    let code = if fields.faulty.is_empty() {
        Code::Done
    } else {
        Code::Damaged
    };
    let text = text(&fields);
    Ok(Report::new(&fields, text)?.with_code(code))
}

/// Verifies; what is found beside a running validator may only be that the log grew meanwhile, so
/// a fault counts when a second look at an unchanged log finds it too.
pub(super) fn verify_at_rest(folder: &Path) -> Result<Verification, Failure> {
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

fn fields(folder: &Path, verification: &Verification, chain: Option<&Chain>) -> Fields {
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
        blocks: chain.map_or(0, |chain| chain.blocks.len() as u64),
        height: tip.map_or(0, |(height, _)| height),
        tip: tip.map(|(_, block)| hex(block.id.as_bytes())),
        proven: chain.map_or(0, |chain| chain.proven),
        certificates_verified: chain.map_or(0, |chain| chain.certificates_verified),
        vote_records: chain.map_or(0, |chain| chain.vote_records),
        chain_id: chain.map(|chain| hex(chain.genesis.chain_id())),
        clean_stop: verification.clean_stop == quorate_log::CleanStopRead::Matches,
        torn: found(&verification.torn, Trouble::Torn),
        faulty,
    }
}

fn check_genesis(
    path: &Path,
    verification: &Verification,
    faulty: &mut Vec<Finding>,
) -> Result<(), Failure> {
    let genesis = quorate::genesis::Genesis::load(path)?;
    if quorate_log::genesis_hash(genesis.bytes()) != verification.genesis_hash {
        faulty.push(Finding {
            segment: 0,
            offset: 0,
            height: None,
            what: format!("the log belongs to another genesis than {}", path.display()),
            kind: Trouble::Foreign,
        });
    }
    Ok(())
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
    for finding in fields.torn.iter().chain(&fields.faulty) {
        let kind = match finding.kind {
            Trouble::Torn => "torn (a crash left it; the next start cuts it off)",
            Trouble::Faulty => "FAULTY",
            Trouble::Foreign => "FOREIGN",
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
    if !fields.faulty.is_empty() {
        text.push_str("\nremedy: keep the folder as it is; see docs/operations.md, Recovery");
    }
    text
}
