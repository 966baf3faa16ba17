//! `quorate log replay --bisect`: the first command that came to something else at a validator
//! whose state diverged.
//!
//! Owns the comparison of two executions: the one that the bundle's trace tells of, and the one of
//! this program here and now. The trace holds what was put out and no state, so where nothing else
//! was put out the executions of two builds are compared, root by root. Never: believes the
//! bundle; its evidence is checked against the genesis of the log, and its blocks against those of
//! the log.

use std::cell::RefCell;
use std::path::Path;

use quorate::drift::{Bundle, BundleError, StateFields, Trace, read_bundle, read_trace, trace_of};
use quorate::executor::{Executor, FinalBlock};
use quorate::file_error::read_bounded;
use quorate::genesis::Genesis;
use quorate::hex;
use quorate::results::BlockResults;
use quorate::roots::{EVENTS_SECTION, OUTPUTS_SECTION};
use quorate_bench::applications::Hosted;
use quorate_consensus::attestation::StateCertificate;
use quorate_consensus::payload::PayloadView;
use quorate_consensus::types::ValidatorIndex;
use quorate_consensus::verify::{Claim, check_claims};
use quorate_consensus::wire;
use serde::{Deserialize, Serialize};

use super::verify::verify_at_rest;
use crate::applications::Applications;
use crate::failure::{Code, Failure};
use crate::inspect::chain::OneByOne;
use crate::inspect::log_folder;
use crate::inspect::replay::{Replay, failure_of, genesis_of, snapshots_beside};
use crate::output::Report;

/// Blocks, one after the other, of which the root of the section is told at most; there are 64
/// between two attested states unless the others are silent, or a start found it.
const ROOTS_MAX: u64 = 4096;
/// Above these it is told of the blocks whose height is a multiple of this, as often again.
const SPARSE_HEIGHTS: u64 = quorate::roots::ROOT_HEIGHTS;
/// Commands after which the root of the section is told at most, as a fingerprint each: eight full
/// blocks.
const PRINTS_MAX: usize = 131_072;
/// Hexadecimal digits of a fingerprint.
const PRINT_DIGITS: usize = 16;
/// Bytes of a root in the output at most, besides what is within its block: 64 digits, a height,
/// three names and blanks.
const ROOT_BYTES_MAX: usize = 256;
/// Longest output of another build, bytes: so many roots and fingerprints, and the rest.
const AGAINST_BYTES_MAX: usize =
    1024 * 1024 + 2 * ROOTS_MAX as usize * ROOT_BYTES_MAX + (PRINTS_MAX + 1) * PRINT_DIGITS;

/// The root of the section that differs, after one block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct SectionRoot {
    height: u64,
    root: String,
    /// The first eight bytes of the section's root within the block: after its timers, and after
    /// each command; null beyond what is told.
    within: Option<String>,
}

/// Which of the blocks above the last common state, if not the first ones, are told, and what
/// another build told.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Beside<'a> {
    /// The output of another build.
    pub(super) against: Option<&'a Path>,
    /// Lowest height of a block of which anything is told.
    pub(super) commands_from: Option<u64>,
}

/// The blocks whose roots are told: from this height on.
#[derive(Clone, Copy, Debug)]
struct Window {
    from: u64,
}

impl Window {
    /// Last height up to which every block is told.
    const fn each_to(self) -> u64 {
        self.from.saturating_add(ROOTS_MAX - 1)
    }

    /// Whether the block of this height may be told command by command.
    const fn has_commands(self, height: u64) -> bool {
        self.from <= height && height <= self.each_to()
    }

    /// Whether the root after the block of this height is told.
    const fn has(self, height: u64) -> bool {
        let last = self.each_to().saturating_add(ROOTS_MAX * SPARSE_HEIGHTS);
        let is_sparse = self.each_to() < height && height <= last;
        self.has_commands(height) || (is_sparse && height.is_multiple_of(SPARSE_HEIGHTS))
    }
}

/// Where two builds come to another state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct States {
    /// First and last block of which both tell the root.
    compared: Option<[u64; 2]>,
    /// The last one before the first difference after which they have the same.
    same: Option<u64>,
    /// The first one after which they have not.
    first: Option<u64>,
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

impl Difference {
    /// Of the command at this place of a block, or of its timers.
    fn at(place: Option<usize>, block: &FinalBlock, here: &BlockResults) -> Self {
        let result = place.and_then(|place| here.commands.get(place));
        let view = PayloadView::parse(&block.payload).ok();
        let command = view.zip(place);
        let command = command.and_then(|(view, place)| view.iter().nth(place));
        Self {
            height: here.height,
            index: place.and_then(|place| u32::try_from(place).ok()),
            session: result.map(|result| format!("{:?}", result.session)),
            seq: result.map(|result| result.seq),
            lane: command.map(|command| command.lane.to_string()),
            outcome: result.map(|result| format!("{:?}", result.outcome).to_lowercase()),
        }
    }

    fn text(&self) -> String {
        let height = self.height;
        let (session, lane) = (self.session.as_deref(), self.lane.as_deref());
        match (self.index, session, self.seq) {
            (Some(index), Some(session), Some(seq)) => format!(
                "height {height} index {index}: session {session} seq {seq} lane {}",
                lane.unwrap_or("?"),
            ),
            _ => format!("height {height}: the timers that fire before its commands"),
        }
    }
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
    /// Height of the last common state; that of the genesis when none was compared.
    common: u64,
    /// First height whose state is known to differ.
    height: u64,
    /// Who attests the other state there; the signatures are good.
    attested_by: Vec<u16>,
    /// No block below this height was executed, for the snapshot.
    #[serde(skip)]
    executed_from: u64,
    /// Blocks that were compared.
    compared: Option<[u64; 2]>,
    /// Whether the trace reaches back to the first block in question. Where it does not, an
    /// earlier command than `first` may have come to something else.
    is_traced_whole: bool,
    computes: Computes,
    /// Whether this program is the one that wrote the bundle, as far as version and target say.
    same_build: bool,
    first: Option<Difference>,
    /// The section after each block above the last common state, or from where it was asked for
    /// on, as this program computes it; beyond a bound after every 64th.
    roots: Vec<SectionRoot>,
    /// Last height up to which these are of every block; null without any.
    roots_each_to: Option<u64>,
    /// Last height of `roots` where that is below `height`.
    roots_end: Option<u64>,
    /// First and last block of which the other build tells the root as well; null without any.
    states_compared: Option<[u64; 2]>,
    /// The last of these blocks, below `first_state`, after which it has the same root.
    same_state: Option<u64>,
    /// First of these blocks after which the other build has another root; null without it, or
    /// when it has the same.
    first_state: Option<u64>,
    /// The first command of that block after which it has; null too where the root before the block
    /// was not compared, one of the builds does not tell the block command by command, or it is
    /// none of the commands that differs.
    first_state_command: Option<Difference>,
}

/// Compares.
///
/// # Errors
/// The bundle or the log cannot be read, are not of one chain, or the evidence does not hold.
pub(super) fn run(
    applications: &Applications,
    path: &Path,
    dir: Option<&Path>,
    from_snapshot: Option<u64>,
    beside: Beside<'_>,
) -> Result<Report, Failure> {
    let bundle = read_bundle(path)?;
    let against = beside.against.map(|path| read_against(path, &bundle));
    let against = against.transpose()?;
    let commands_from = beside.commands_from.unwrap_or_default();
    check_range(&bundle, beside.commands_from)?;
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
    let executed_from = from.map_or(0, |(height, _)| height.saturating_add(1));
    let lowest = commands_from.max(executed_from);
    let comparison = Comparison::new(&bundle, &trace, against.as_ref(), lowest);
    let comparison = RefCell::new(comparison);
    let mut on_block = |executor: &mut Executor<Hosted>, block: &FinalBlock, results: &_| {
        comparison.borrow_mut().take(executor, block, results);
    };
    let mut on_command = |executor: &mut Executor<Hosted>, height| {
        comparison.borrow_mut().take_within(executor, height);
    };
    let replay = Replay::begin(
        applications,
        &genesis,
        &folder,
        from,
        bundle.own.height,
        &mut on_block,
    )?;
    let mut replay = replay.watched(&mut on_command);
    replay.run(&folder, &verification)?;
    drop(replay);
    let comparison = comparison.into_inner();
    comparison.into_report(&bundle, attested_by, executed_from)
}

/// A height above the last one that is executed would tell of no command.
fn check_range(bundle: &Bundle, commands_from: Option<u64>) -> Result<(), Failure> {
    let (common, last) = (bundle.common_height(), bundle.own.height);
    let Some(height) = commands_from.filter(|&height| height > last) else {
        return Ok(());
    };
    let what = format!("--commands-from {height}: the bundle ends at height {last}");
    let first = common.saturating_add(1);
    Err(Failure::usage(what).remedy(format!("name a height from {first} to {last}")))
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
        BundleError::Io { ref source, .. } => {
            Failure::of_refusal(&error, source, Code::Configuration)
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
    against: Option<&'b Against>,
    window: Window,
    compared: Option<[u64; 2]>,
    first: Option<Difference>,
    roots: Vec<SectionRoot>,
    /// Fingerprints within the block that is executed, end to end.
    within: String,
    /// How many there are in all blocks.
    prints: usize,
    states: States,
    first_state_command: Option<Difference>,
    computes: Computes,
}

impl<'b> Comparison<'b> {
    /// Of the blocks above the last common state none below `lowest` is told.
    fn new(
        bundle: &'b Bundle,
        trace: &'b Trace,
        against: Option<&'b Against>,
        lowest: u64,
    ) -> Self {
        let from = bundle.common_height().saturating_add(1).max(lowest);
        Self {
            bundle,
            trace,
            against,
            window: Window { from },
            compared: None,
            first: None,
            roots: Vec::new(),
            within: String::new(),
            prints: 0,
            states: States::default(),
            first_state_command: None,
            computes: Computes::NotReached,
        }
    }

    /// Whether the block of this height is told command by command, as far as there is room.
    fn tells_within(&self, height: u64) -> bool {
        self.window.has_commands(height) && !is_of_blocks(&self.bundle.section)
    }

    /// The state within a block.
    fn take_within(&mut self, executor: &mut Executor<Hosted>, height: u64) {
        if !self.tells_within(height) || self.prints > PRINTS_MAX {
            return;
        }
        let section = self.bundle.section.as_str();
        let names = executor.section_names();
        if let Some(place) = names.iter().position(|name| *name == section) {
            let root = hex::encode(&executor.section_root(place));
            self.within.extend(root.chars().take(PRINT_DIGITS));
            self.prints += 1;
        }
    }

    fn take(&mut self, executor: &mut Executor<Hosted>, block: &FinalBlock, here: &BlockResults) {
        let height = here.height;
        let [lowest, _] = self.bundle.blocks;
        if height >= lowest {
            self.compare(block, here);
        }
        let is_last = height == self.bundle.own.height;
        let is_told = self.window.has(height);
        if !(is_told || is_last) {
            return;
        }
        let root = executor.root();
        let section = self.bundle.section.as_str();
        let section = root.sections.iter().find(|(name, _)| *name == section);
        let within = std::mem::take(&mut self.within);
        if let Some((_, root)) = section.filter(|_| is_told) {
            // A block of which a part is told is one of which nothing is.
            let is_whole = within.len() == (here.commands.len() + 1) * PRINT_DIGITS;
            let told = SectionRoot {
                height,
                root: hex::encode(root),
                within: is_whole.then_some(within),
            };
            self.compare_states(&told, block, here);
            self.roots.push(told);
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
        self.first = Some(Difference::at(place, block, here));
    }

    /// The first block after which the other build has another root, and the first command of it.
    fn compare_states(&mut self, told: &SectionRoot, block: &FinalBlock, here: &BlockResults) {
        let there = self.against.and_then(|against| {
            let mut roots = against.roots.iter();
            roots.find(|there| there.height == told.height)
        });
        let Some(there) = there else {
            return;
        };
        let (height, common) = (told.height, self.bundle.common_height());
        let from = self.states.compared.map_or(height, |[from, _]| from);
        self.states.compared = Some([from, height]);
        if self.states.first.is_some() {
            return;
        }
        if there.root == told.root {
            self.states.same = Some(height);
            return;
        }
        self.states.first = Some(height);
        // Of a block that may have begun with another state no command is to blame.
        let is_first = self.states.same.unwrap_or(common).saturating_add(1) == height;
        let (true, Some(then), Some(now)) = (is_first, &there.within, &told.within) else {
            return;
        };
        let [mut then, now] = [then, now].map(|prints| prints.as_bytes().chunks(PRINT_DIGITS));
        let first = now.into_iter().position(|print| then.next() != Some(print));
        // Before the first command are the timers.
        self.first_state_command =
            first.map(|place| Difference::at(place.checked_sub(1), block, here));
    }

    fn into_report(
        self,
        bundle: &Bundle,
        attested_by: Vec<u16>,
        executed_from: u64,
    ) -> Result<Report, Failure> {
        let last = self.roots.last().map(|told| told.height);
        let fields = Fields {
            validator: bundle.validator,
            section: bundle.section.clone(),
            common: bundle.common_height(),
            height: bundle.own.height,
            attested_by,
            executed_from,
            compared: self.compared,
            is_traced_whole: self
                .compared
                .is_some_and(|[from, _]| from <= bundle.blocks[0]),
            computes: self.computes,
            same_build: bundle.build.version == env!("CARGO_PKG_VERSION")
                && bundle.build.target
                    == format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS),
            roots_each_to: last.map(|last| last.min(self.window.each_to())),
            roots_end: last.filter(|&last| last < bundle.own.height),
            states_compared: self.states.compared,
            same_state: self.states.same,
            first_state: self.states.first,
            first_state_command: self.first_state_command,
            first: self.first,
            roots: self.roots,
        };
        let code = match (&fields.first, fields.first_state) {
            (None, None) => Code::No,
            _ => Code::Done,
        };
        let text = text(&fields, self.against.is_some());
        Ok(Report::new(&fields, text)?.with_code(code))
    }
}

/// Whether a section stands still within a block, so that no command of it is to be told.
fn is_of_blocks(section: &str) -> bool {
    [OUTPUTS_SECTION, EVENTS_SECTION].contains(&section)
}

fn text(fields: &Fields, is_against: bool) -> String {
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
    text.push_str(&text_of_roots(fields));
    if is_against {
        text.push_str(&text_of_states(fields));
    }
    let Some(first) = &fields.first else {
        text.push_str(
            "\nno command put out anything else: the state differs without a trace in the outputs, \
             or the difference is older than the blocks compared; run the other build with --json, \
             and this one with --against what it printed",
        );
        return text;
    };
    text.push_str(&format!("\nFIRST DIFFERENT: {}", first.text()));
    if !fields.is_traced_whole {
        text.push_str(
            " (of the blocks compared: the trace does not reach back to the last common state, and \
             an earlier command may differ)",
        );
    }
    text
}

/// How far the roots go, where that is not all the way.
fn text_of_roots(fields: &Fields) -> String {
    let mut text = String::new();
    let [each_to, last] = [
        fields.roots_each_to,
        fields.roots.last().map(|told| told.height),
    ];
    if let (Some(each_to), Some(last)) = (each_to, last)
        && each_to < last
    {
        text.push_str(&format!(
            "\nthe roots are of every block up to height {each_to} and of every {SPARSE_HEIGHTS}th \
             from there on"
        ));
    }
    if let Some(end) = fields.roots_end {
        text.push_str(&format!("\nthe roots end at height {end}"));
        // Where the log ends there is no block above to begin with.
        if fields.computes != Computes::NotReached {
            let next = end.saturating_add(1);
            text.push_str(&format!(
                ": with --commands-from {next} they begin above it"
            ));
        }
    }
    text
}

/// What came of the roots of another build.
fn text_of_states(fields: &Fields) -> String {
    let Some([from, to]) = fields.states_compared else {
        return "\nthe other build tells the root of none of these blocks: run both with the same \
                --commands-from"
            .to_owned();
    };
    let Some(height) = fields.first_state else {
        return format!("\nboth builds have the same roots from height {from} to {to}");
    };
    let section = &fields.section;
    let lowest = fields.same_state.unwrap_or(fields.common).saturating_add(1);
    if lowest < height {
        // The blocks below a snapshot are not executed, whatever is asked for.
        let snapshot = match lowest < fields.executed_from {
            true => format!(" and from no snapshot above height {}", lowest - 1),
            false => String::new(),
        };
        return format!(
            "\nFIRST STATE: after one of the blocks of heights {lowest} to {height} section \
             {section} has another root in the other build: run both with \
             --commands-from {lowest}{snapshot}"
        );
    }
    let mut text = format!(
        "\nFIRST STATE: after the block of height {height} section {section} has another root in \
         the other build"
    );
    match &fields.first_state_command {
        Some(first) => text.push_str(&format!(", and first after {}", first.text())),
        None if is_of_blocks(section) => text.push_str(
            "; it changes with the whole block, and no command of it is told apart by it",
        ),
        None => text.push_str(&format!(
            "; no command of it is told apart: if either build does not tell them, run both with \
             --commands-from {height}"
        )),
    }
    text
}

#[cfg(test)]
#[path = "bisect_tests.rs"]
mod tests;
