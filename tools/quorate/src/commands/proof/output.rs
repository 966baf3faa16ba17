//! A proof of what the application put out: made by executing the log again.
//!
//! Owns what is gathered while the blocks are executed, and how an output is shown. Never: believes
//! what it finds; what is made is verified before it is written.

use std::cell::RefCell;
use std::path::Path;

use quorate::executor::{Executor, FinalBlock};
use quorate::genesis::Genesis;
use quorate::results::{BlockResults, Outcome, OutputItem as BlockOutput};
use quorate::state_machine::Audience;
use quorate::streams::PUBLIC_OUTPUT_BYTES_MAX;
use quorate_bench::applications::Hosted;
use quorate_consensus::attestation::StateCertificate;
use quorate_log::Verification;
use quorate_proof::outputs::{HistoryPath, OutputHistory};
use quorate_proof::{OUTPUT_BYTES_MAX, OutputItem, OutputProof};
use serde::Serialize;

use super::none;
use super::states::States;
use crate::applications::Applications;
use crate::failure::Failure;
use crate::inspect::replay::Replay;
use crate::output::hex;

/// What of a block is to be proven.
#[derive(Clone, Copy, Debug)]
pub(super) enum Wanted {
    /// The output of this number, from 0, among these.
    Output { number: u32, among: Among },
    /// What became of its commands.
    Outcomes,
}

/// The outputs that a number counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Among {
    /// All of the block, as in a frame Stream.
    All,
    /// Those of a command for its own session, as in a frame Results.
    OfCommand(u32),
    /// The public ones, as in a position of the public stream.
    Public,
}

impl Among {
    fn counts(self, results: &BlockResults, output: &BlockOutput<'_>) -> bool {
        match self {
            Self::All => true,
            Self::OfCommand(index) => {
                let command = results.commands.get(index as usize);
                let own = command.map(|command| Audience::Session(command.session));
                output.command == Some(index) && own == Some(output.audience)
            }
            Self::Public => {
                let is_published = output.bytes.len() <= PUBLIC_OUTPUT_BYTES_MAX;
                output.audience == Audience::Public && is_published
            }
        }
    }
}

/// An output as it is shown.
#[derive(Serialize)]
pub(super) struct Fields {
    /// Among all outputs of the block.
    number: u32,
    /// The command that made it; null for a timer or a time-out.
    command: Option<u32>,
    /// The session that gets it; null for the public stream.
    session: Option<String>,
    /// The application's bytes.
    output: String,
}

impl Fields {
    pub(super) fn text(&self) -> String {
        let session = self.session.as_deref();
        let whose = session.map_or_else(|| "public".to_owned(), |session| format!("to {session}"));
        let command = self.command.map(|command| format!("command {command}"));
        let command = command.as_deref().unwrap_or("a timer");
        let number = self.number;
        format!("\noutput {number}: by {command}, {whose}\n{}", self.output)
    }
}

/// What is shown of an item.
pub(super) fn fields(item: OutputItem) -> (Option<Fields>, Vec<String>) {
    match item {
        OutputItem::Output {
            number,
            command,
            session,
            bytes,
        } => {
            let fields = Fields {
                number,
                command,
                session: session.map(|session| hex(&session)),
                output: hex(&bytes),
            };
            (Some(fields), Vec::new())
        }
        OutputItem::Outcomes(outcomes) => {
            let names = outcomes.into_iter().map(|outcome| {
                let known = Outcome::from_u8(outcome);
                known.map_or_else(|| outcome.to_string(), |known| name_of(known).to_owned())
            });
            (None, names.collect())
        }
    }
}

const fn name_of(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Applied => "applied",
        Outcome::Duplicate => "duplicate",
        Outcome::Gap => "gap",
        Outcome::TableFull => "table_full",
        Outcome::BadSignature => "bad_signature",
        Outcome::SessionEnded => "session_ended",
        Outcome::OpeningTooOld => "opening_too_old",
        Outcome::OpeningTooFarAhead => "opening_too_far_ahead",
    }
}

/// Makes the proof, from a log and the newest snapshot below the block.
///
/// # Errors
/// No state of the height or above is attested yet, the log does not reach from a state below it
/// to there, the block put out no such thing, or a file cannot be read or used.
pub(super) fn make(
    applications: &Applications,
    (folder, found): (&Path, &Verification),
    genesis: &Genesis,
    states: &States<'_>,
    (height, wanted): (u64, Wanted),
) -> Result<OutputProof, Failure> {
    let certificate = states.from(height)?;
    let attested = certificate.statement.height.number();
    let below = states.below(height)?;
    let gathering = RefCell::new(Gathering::new(height, attested, wanted));
    let mut on_block = |executor: &mut Executor<Hosted>, block: &FinalBlock, results: &_| {
        gathering.borrow_mut().take(executor, block, results);
    };
    let from = below.map(|below| (below, states.folder()));
    let mut replay = Replay::begin(applications, genesis, folder, from, attested, &mut on_block)?;
    let before = replay.executor().output_history().clone();
    gathering.borrow_mut().before = before;
    replay.run(folder, found)?;
    drop(replay);
    gathering.into_inner().finish(certificate)
}

fn no_output(height: u64, number: u32) -> Failure {
    none(format!(
        "the block of height {height} has no output {number} of these"
    ))
}

/// An output with its place in the block's list.
fn item_of(output: BlockOutput<'_>) -> Result<(u32, OutputItem), Failure> {
    if output.bytes.len() > OUTPUT_BYTES_MAX {
        let bytes = output.bytes.len();
        return Err(none(format!(
            "the output has {bytes} bytes, more than a proof may hold"
        )));
    }
    let item = OutputItem::Output {
        number: output.number,
        command: output.command,
        session: match output.audience {
            Audience::Session(session) => Some(session.0),
            Audience::Public => None,
        },
        bytes: output.bytes.to_vec(),
    };
    Ok((output.number, item))
}

/// What the proof is made of, while the log is executed.
struct Gathering {
    height: u64,
    attested: u64,
    wanted: Wanted,
    /// What was put out below the block.
    before: OutputHistory,
    way: Option<HistoryPath>,
    proven: Option<Result<Part, Failure>>,
}

/// The block's part of the proof.
struct Part {
    id: quorate_consensus::types::BlockId,
    root: [u8; 32],
    list: quorate_proof::outputs::ListPath,
    item: OutputItem,
}

impl Gathering {
    fn new(height: u64, attested: u64, wanted: Wanted) -> Self {
        Self {
            height,
            attested,
            wanted,
            before: OutputHistory::default(),
            way: None,
            proven: None,
        }
    }

    fn take(&mut self, executor: &Executor<Hosted>, block: &FinalBlock, results: &BlockResults) {
        if results.height < self.height {
            self.before.clone_from(executor.output_history());
        } else if results.height == self.height {
            self.way = self.before.way_to(self.attested);
            self.proven = Some(self.part(executor, block, results));
        } else if let Some(way) = &mut self.way {
            let root = executor.block_outputs().root();
            way.push(block.id.as_bytes(), &root);
        }
    }

    fn part(
        &self,
        executor: &Executor<Hosted>,
        block: &FinalBlock,
        results: &BlockResults,
    ) -> Result<Part, Failure> {
        let list = executor.block_outputs();
        let (place, item) = match self.wanted {
            Wanted::Outcomes => {
                let outcomes = results.commands.iter();
                let outcomes = outcomes.map(|command| command.outcome as u8);
                let outcomes = OutputItem::Outcomes(outcomes.collect());
                (list.len().saturating_sub(1), outcomes)
            }
            Wanted::Output { number, among } => {
                let outputs = results.outputs();
                let mut counted = outputs.filter(|output| among.counts(results, output));
                let output = counted.nth(number as usize);
                item_of(output.ok_or_else(|| no_output(self.height, number))?)?
            }
        };
        Ok(Part {
            id: block.id,
            root: list.root().hash,
            list: list
                .path(place)
                .ok_or_else(|| no_output(self.height, place))?,
            item,
        })
    }

    fn finish(self, certificate: StateCertificate) -> Result<OutputProof, Failure> {
        let height = self.height;
        let part = self.proven.transpose()?;
        let part = part.ok_or_else(|| none(format!("the log has no block of height {height}")))?;
        let history = self.way.and_then(HistoryPath::finish).ok_or_else(|| {
            let attested = self.attested;
            none(format!(
                "the log ends below height {attested}, of which the state is attested"
            ))
        })?;
        Ok(OutputProof {
            certificate,
            height,
            id: part.id,
            root: part.root,
            history,
            list: part.list,
            item: part.item,
        })
    }
}
