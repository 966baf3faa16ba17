//! `quorate log replay --bisect`: the first command that came to something else at a validator
//! whose state diverged.
//!
//! Owns the comparison of two executions: the one that the bundle's trace tells of, and the one of
//! this program here and now. The trace holds what was put out and no state, so where nothing else
//! was put out the executions of two builds are compared, root by root. Never: believes the
//! bundle; its evidence is checked against the genesis of the log, and its blocks against those of
//! the log.

use std::path::Path;

use quorate::drift::{Bundle, BundleError, StateFields, Trace, read_bundle, read_trace, trace_of};
use quorate::executor::{Executor, FinalBlock};
use quorate::file_error::read_bounded;
use quorate::genesis::Genesis;
use quorate::hex;
use quorate::results::BlockResults;
use quorate_bench::applications::Hosted;
use quorate_consensus::attestation::StateCertificate;
use quorate_consensus::payload::PayloadView;
use quorate_consensus::types::ValidatorIndex;
use quorate_consensus::verify::{Claim, check_claims};
use quorate_consensus::wire;
use serde::{Deserialize, Serialize};

use super::verify::verify_at_rest;
use crate::failure::{Code, Failure};
use crate::inspect::chain::OneByOne;
use crate::inspect::log_folder;
use crate::inspect::replay::{Replay, failure_of, genesis_of, snapshots_beside};
use crate::output::Report;

/// Blocks of which the root of the section is told at most; there are 64 between two attested
/// states unless the others are silent.
const ROOTS_MAX: usize = 4096;
/// Longest output of another build, bytes: so many roots and the rest.
const AGAINST_BYTES_MAX: usize = 1024 * 1024;

/// The root of the section that differs, after one block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct SectionRoot {
    height: u64,
    root: String,
}

/// What is read of another build's output.
#[derive(Debug, Deserialize)]
struct Against {
    validator: u16,
    section: String,
    height: u64,
    roots: Vec<SectionRoot>,
}

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
    /// The section after each block above the last common state, as this program computes it.
    roots: Vec<SectionRoot>,
    /// First of these blocks after which the other build has another root; null without it, or
    /// when it has the same.
    first_state: Option<u64>,
}

/// Compares.
///
/// # Errors
/// The bundle or the log cannot be read, are not of one chain, or the evidence does not hold.
pub(super) fn run(
    path: &Path,
    dir: Option<&Path>,
    from_snapshot: Option<u64>,
    against: Option<&Path>,
) -> Result<Report, Failure> {
    let bundle = read_bundle(path)?;
    let against = against
        .map(|path| read_against(path, &bundle))
        .transpose()?;
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
    comparison.into_report(&bundle, attested_by, against.as_ref())
}

/// The output of another build for this bundle.
fn read_against(path: &Path, bundle: &Bundle) -> Result<Against, Failure> {
    let bytes = read_bounded(path, AGAINST_BYTES_MAX)?;
    let remedy = "run the other build with --bisect BUNDLE --json and name what it prints";
    let against: Against = serde_json::from_slice(&bytes).map_err(|error| {
        let what = format!("{}: {error}", path.display());
        Failure::new(Code::Configuration, what).remedy(remedy)
    })?;
    let is_of_it = against.validator == bundle.validator
        && against.section == bundle.section
        && against.height == bundle.own.height;
    if is_of_it {
        return Ok(against);
    }
    let what = format!("{}: it was printed for another bundle", path.display());
    Err(Failure::new(Code::Configuration, what).remedy(remedy))
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
    roots: Vec<SectionRoot>,
    computes: Computes,
}

impl<'b> Comparison<'b> {
    const fn new(bundle: &'b Bundle, trace: &'b Trace) -> Self {
        Self {
            bundle,
            trace,
            compared: None,
            first: None,
            roots: Vec::new(),
            computes: Computes::NotReached,
        }
    }

    fn take(&mut self, executor: &mut Executor<Hosted>, block: &FinalBlock, here: &BlockResults) {
        let height = here.height;
        let [lowest, _] = self.bundle.blocks;
        if height >= lowest {
            self.compare(block, here);
        }
        let is_last = height == self.bundle.own.height;
        let has_room = self.roots.len() < ROOTS_MAX;
        if height <= self.bundle.common_height() || !(has_room || is_last) {
            return;
        }
        let root = executor.root();
        let section = self.bundle.section.as_str();
        let section = root.sections.iter().find(|(name, _)| *name == section);
        if let Some((_, root)) = section.filter(|_| has_room) {
            let root = hex::encode(root);
            self.roots.push(SectionRoot { height, root });
        }
        if is_last {
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

    /// The first block after which the other build has another root.
    fn first_state(&self, against: &Against) -> Option<u64> {
        let pairs = self.roots.iter().filter_map(|here| {
            let there = against.roots.iter().find(|one| one.height == here.height)?;
            Some((here, there))
        });
        let mut differing = pairs.filter(|(here, there)| here != there);
        differing.next().map(|(here, _)| here.height)
    }

    fn into_report(
        self,
        bundle: &Bundle,
        attested_by: Vec<u16>,
        against: Option<&Against>,
    ) -> Result<Report, Failure> {
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
            first_state: against.and_then(|against| self.first_state(against)),
            first: self.first,
            roots: self.roots,
        };
        let code = match (&fields.first, fields.first_state) {
            (None, None) => Code::No,
            _ => Code::Done,
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
    if let Some(height) = fields.first_state {
        text.push_str(&format!(
            "\nFIRST STATE: after the block of height {height} section {} has another root in the \
             other build",
            fields.section
        ));
    }
    let Some(first) = &fields.first else {
        text.push_str(
            "\nno command put out anything else: the state differs without a trace in the outputs, \
             or the difference is older than the blocks compared; run the other build with --json, \
             and this one with --against what it printed",
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
