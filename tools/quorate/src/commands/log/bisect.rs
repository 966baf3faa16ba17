//! `quorate log replay --bisect`: the first command that came to something else at a validator
//! whose state diverged.
//!
//! Owns the comparison of two executions: the one that the bundle's trace tells of, and the one of
//! this program here and now. Never: believes the bundle; its evidence is checked against the
//! genesis of the log, and its blocks against those of the log.

use std::path::Path;

use quorate::drift::{Bundle, BundleError, StateFields, Trace, read_bundle, read_trace, trace_of};
use quorate::executor::{Executor, FinalBlock};
use quorate::genesis::Genesis;
use quorate::hex;
use quorate::results::BlockResults;
use quorate_bench::applications::Hosted;
use quorate_consensus::attestation::StateCertificate;
use quorate_consensus::payload::PayloadView;
use quorate_consensus::types::ValidatorIndex;
use quorate_consensus::verify::{Claim, check_claims};
use quorate_consensus::wire;
use serde::Serialize;

use super::verify::verify_at_rest;
use crate::failure::{Code, Failure};
use crate::inspect::chain::OneByOne;
use crate::inspect::log_folder;
use crate::inspect::replay::{Replay, failure_of, genesis_of, snapshots_beside};
use crate::output::Report;

/// The first thing that came to something else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Difference {
    height: u64,
    /// Place in the block; none for the timers that fire before its first command.
    index: Option<u32>,
    session: Option<String>,
    seq: Option<u64>,
    lane: Option<String>,
    /// What becomes of the command here.
    outcome: Option<String>,
}

/// Whose state this program computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Computes {
    /// The state of those who attest it.
    Proven,
    /// The state of the validator that diverged.
    Diverged,
    /// Neither.
    Another,
    /// The log ends before that height.
    NotReached,
}

#[derive(Serialize)]
struct Fields {
    validator: u16,
    /// First section that differs.
    section: String,
    /// Height of the last common state; 0 when none was compared.
    common: u64,
    /// First height whose state is known to differ.
    height: u64,
    /// Who attests the other state there; the signatures are good.
    attested_by: Vec<u16>,
    /// Blocks that were compared.
    compared: Option<[u64; 2]>,
    computes: Computes,
    /// Whether this program is the one that wrote the bundle, as far as version and target say.
    same_build: bool,
    first: Option<Difference>,
}

/// Compares.
///
/// # Errors
/// The bundle or the log cannot be read, are not of one chain, or the evidence does not hold.
pub(super) fn run(
    path: &Path,
    dir: Option<&Path>,
    from_snapshot: Option<u64>,
) -> Result<Report, Failure> {
    let bundle = read_bundle(path)?;
    let trace = read_trace(path).map_err(failure_of_bundle)?;
    // Where the validator left it: data/diverged beside data/log.
    let beside = path.canonicalize().ok();
    let beside = beside.as_deref().and_then(Path::parent);
    let folder = log_folder(dir.or(beside).unwrap_or(path))?;
    let verification = verify_at_rest(&folder)?;
    if !verification.faults.is_empty() {
        let what = format!("{}: the log is faulty", folder.display());
        return Err(Failure::new(Code::Damaged, what).remedy("run quorate log verify"));
    }
    let genesis = genesis_of(&folder)?;
    let attested_by = check_evidence(&bundle, &genesis)?;
    let snapshots = snapshots_beside(&folder);
    let heights = snapshots.heights().map_err(|error| failure_of(&error))?;
    let common = bundle.common_height();
    let newest = heights.into_iter().rev().find(|&height| height <= common);
    let from = from_snapshot.or(newest).map(|height| (height, &snapshots));
    let mut comparison = Comparison::new(&bundle, &trace);
    let mut on_block = |executor: &mut Executor<Hosted>, block: &FinalBlock, results: &_| {
        comparison.take(executor, block, results);
    };
    let mut replay = Replay::begin(&genesis, &folder, from, bundle.own.height, &mut on_block)?;
    replay.run(&folder, &verification)?;
    comparison.into_report(&bundle, attested_by)
}

fn failure_of_bundle(error: BundleError) -> Failure {
    match error {
        BundleError::File(error) => error.into(),
        error @ BundleError::Trace { .. } => Failure::new(Code::Damaged, error)
            .remedy("take the file from the validator's data folder again"),
        error @ BundleError::Io { .. } => {
            Failure::new(Code::Configuration, error).remedy("check the path and its permissions")
        }
    }
}

/// Who attests the other state; the signatures are those of the log's genesis.
fn check_evidence(bundle: &Bundle, genesis: &Genesis) -> Result<Vec<u16>, Failure> {
    let refused = |what: &str| {
        Failure::new(Code::No, format!("the bundle {what}"))
            .remedy("name the log of the validator that wrote it")
    };
    if bundle.genesis_hash.0 != *genesis.hash() {
        return Err(refused("is of another chain than the log"));
    }
    let bytes = hex::decode(&bundle.certificate).unwrap_or_default();
    let certificate: StateCertificate = wire::decode_state_certificate(&bytes)
        .map_err(|error| refused(&format!("has no certificate: {error}")))?;
    let said = &certificate.statement;
    let sections = bundle.proven.sections.iter().map(|section| section.root.0);
    let is_that = said.height.number() == bundle.proven.height
        && *said.id.as_bytes() == bundle.proven.block.0
        && sections.eq(said.sections.iter().copied());
    if !is_that {
        return Err(refused("has the certificate of another state"));
    }
    let signers = certificate.signatures.iter();
    let signers = signers.map(|(signer, _)| signer.number()).collect();
    let own = ValidatorIndex::new(0);
    let claims = vec![(own, Claim::StateCertificate(certificate))];
    let checked = check_claims(genesis.validator_set(), own, claims, &mut OneByOne);
    match checked.iter().all(Result::is_ok) {
        true => Ok(signers),
        false => Err(refused("has a certificate that does not hold")),
    }
}

/// Two executions side by side.
struct Comparison<'b> {
    bundle: &'b Bundle,
    trace: &'b Trace,
    compared: Option<[u64; 2]>,
    first: Option<Difference>,
    computes: Computes,
}

impl<'b> Comparison<'b> {
    const fn new(bundle: &'b Bundle, trace: &'b Trace) -> Self {
        Self {
            bundle,
            trace,
            compared: None,
            first: None,
            computes: Computes::NotReached,
        }
    }

    fn take(&mut self, executor: &mut Executor<Hosted>, block: &FinalBlock, here: &BlockResults) {
        let height = here.height;
        let [lowest, _] = self.bundle.blocks;
        if height >= lowest {
            self.compare(block, here);
        }
        if height == self.bundle.own.height {
            let root = executor.root();
            let is_that = |state: &StateFields| {
                let sections = state.sections.iter().map(|section| section.root.0);
                sections.eq(root.sections.iter().map(|(_, root)| *root))
            };
            self.computes = if is_that(&self.bundle.proven) {
                Computes::Proven
            } else if is_that(&self.bundle.own) {
                Computes::Diverged
            } else {
                Computes::Another
            };
        }
    }

    fn compare(&mut self, block: &FinalBlock, here: &BlockResults) {
        let (height, now) = (here.height, trace_of(here));
        let Some(then) = self.trace.at(height).filter(|then| then.id == now.id) else {
            return;
        };
        let from = self.compared.map_or(height, |[from, _]| from);
        self.compared = Some([from, height]);
        if self.first.is_some() || *then == now {
            return;
        }
        let differs = |place: &usize| then.commands.get(*place) != now.commands.get(*place);
        let most = then.commands.len().max(now.commands.len());
        let place = match then.timers == now.timers {
            true => (0..most).find(differs),
            false => None,
        };
        let result = place.and_then(|place| here.commands.get(place));
        let view = PayloadView::parse(&block.payload).ok();
        let command = view.zip(place);
        let command = command.and_then(|(view, place)| view.iter().nth(place));
        self.first = Some(Difference {
            height,
            index: place.and_then(|place| u32::try_from(place).ok()),
            session: result.map(|result| format!("{:?}", result.session)),
            seq: result.map(|result| result.seq),
            lane: command.map(|command| command.lane.to_string()),
            outcome: result.map(|result| format!("{:?}", result.outcome).to_lowercase()),
        });
    }

    fn into_report(self, bundle: &Bundle, attested_by: Vec<u16>) -> Result<Report, Failure> {
        let fields = Fields {
            validator: bundle.validator,
            section: bundle.section.clone(),
            common: bundle.common_height(),
            height: bundle.own.height,
            attested_by,
            compared: self.compared,
            computes: self.computes,
            same_build: bundle.build.version == env!("CARGO_PKG_VERSION")
                && bundle.build.target
                    == format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS),
            first: self.first,
        };
        let code = match fields.first {
            Some(_) => Code::Done,
            None => Code::No,
        };
        let text = text(&fields);
        Ok(Report::new(&fields, text)?.with_code(code))
    }
}

fn text(fields: &Fields) -> String {
    let mut text = format!(
        "validator {} differs from height {} on, in section {}; the last common state is that of \
         height {}\n{} validators attest the other state\n",
        fields.validator,
        fields.height,
        fields.section,
        fields.common,
        fields.attested_by.len(),
    );
    text.push_str(match fields.computes {
        Computes::Proven => "this program computes the attested state",
        Computes::Diverged => "this program computes the state of the validator that diverged",
        Computes::Another => "this program computes a third state",
        Computes::NotReached => "the log ends below that height",
    });
    match fields.compared {
        Some([from, to]) => text.push_str(&format!("\ncompared blocks {from} to {to}")),
        None => text.push_str("\nno block could be compared: the trace is of other heights"),
    }
    let Some(first) = &fields.first else {
        text.push_str(
            "\nno command put out anything else: the state differs without a trace in the outputs, \
             or the difference is older than the blocks compared",
        );
        return text;
    };
    let (session, lane) = (first.session.as_deref(), first.lane.as_deref());
    match (first.index, session, first.seq) {
        (Some(index), Some(session), Some(seq)) => text.push_str(&format!(
            "\nFIRST DIFFERENT: height {} index {index}: session {session} seq {seq} lane {}",
            first.height,
            lane.unwrap_or("?"),
        )),
        _ => text.push_str(&format!(
            "\nFIRST DIFFERENT: height {}: the timers that fire before its commands",
            first.height
        )),
    }
    text
}
