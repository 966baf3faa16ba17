//! `quorate proof`: that a command stands in a final block, what the application put out in one, or
//! what a state was, for somebody who runs no validator.
//!
//! Owns the finding of a proof's parts in a log, and the files. Never: judges one; that is
//! `quorate_proof`, which reads no files.

mod output;
mod states;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use quorate::executor::OWN_SECTIONS;
use quorate::file_error::read_bounded;
use quorate::genesis::{Application, Genesis};
use quorate::journal::{JournalEntry, decode as decode_entry};
use quorate::state_machine::StateMachine as _;
use quorate_consensus::attestation::StateStatement;
use quorate_consensus::certificate::Certificate;
use quorate_consensus::types::Point;
use quorate_consensus::validators::ValidatorSet;
use quorate_log::Verification;
use quorate_proof::{
    BlockProof, CommandProof, PROOF_BYTES_MAX, PROOF_HEADERS_MAX, PROOF_MAGIC, Proof, Proven,
    ProvenBlock, ProvenOutput, decode, encode, verify,
};
use serde::Serialize;

use crate::applications::Applications;
use crate::failure::{Code, Failure};
use crate::files;
use crate::inspect::beside::verify_beside;
use crate::inspect::chain::{self, Chain};
use crate::inspect::replay::genesis_of;
use crate::inspect::{log_folder, records, require_beginning, unreadable};
use crate::output::{Report, hex};
use states::States;

/// What is said beside a command, whatever its session.
const STANDS: &str = "this shows that the command stands in the block, and neither that the session \
                      sent it nor that it had an effect: a proof made with --outcomes for the same \
                      height says what became of it";

/// What to do with a proof.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Take one out of a validator's log
    Make(MakeOptions),
    /// Check one against a genesis, and nothing else
    Verify(VerifyOptions),
}

/// Options of `make`.
#[derive(Debug, Args)]
pub(crate) struct MakeOptions {
    /// Log folder, data folder or validator folder
    #[arg(long, value_name = "LOG")]
    dir: PathBuf,
    /// Height of the block
    #[arg(long, value_name = "H")]
    height: u64,
    /// Prove besides that this command stands in the block. What became of it is proven by
    /// --outcomes; with auth = "signed", `applied` there shows that its session's key signed it
    #[arg(long, value_name = "I", conflicts_with = "state")]
    index: Option<u32>,
    /// Prove the state after the block instead, by the certificate of its snapshot
    #[arg(long)]
    state: bool,
    /// Prove instead what the application put out, by an attested state of this height or above:
    /// output N of the block; with --index, output N of that command for its own session; with
    /// --public, output N of the block's public ones. All count from 0
    #[arg(long, value_name = "N", conflicts_with = "state")]
    output: Option<u32>,
    /// See --output
    #[arg(long, requires = "output", conflicts_with = "index")]
    public: bool,
    /// Prove instead what became of the block's commands, by an attested state of this height or
    /// above
    #[arg(long, conflicts_with_all = ["state", "index", "output"])]
    outcomes: bool,
    /// With --state, --output or --outcomes: take snapshots and certificates from this folder, as
    /// a validator keeps them in data/snapshots, and not from the one beside the log. It may be
    /// anybody's: what is used of it is checked first
    #[arg(long, value_name = "FOLDER")]
    from_snapshot: Option<PathBuf>,
    /// File to write; a proof that is there is replaced
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// Options of `verify`.
#[derive(Debug, Args)]
pub(crate) struct VerifyOptions {
    /// Genesis file of the chain
    #[arg(long, value_name = "FILE")]
    genesis: PathBuf,
    /// The proof
    #[arg(value_name = "PROOF")]
    proof: PathBuf,
}

/// The command in question.
#[derive(Serialize)]
struct CommandFields {
    index: u32,
    session: String,
    seq: u64,
    lane: String,
    /// All bytes of its entry.
    entry: String,
}

#[derive(Default, Serialize)]
struct Fields {
    #[serde(serialize_with = "crate::output::path")]
    proof: PathBuf,
    bytes: usize,
    height: u64,
    /// Name of the block.
    id: String,
    /// Its replicated time; none for a state.
    time_ns: Option<u64>,
    command: Option<CommandFields>,
    /// Section roots in root order, for a state.
    sections: Vec<String>,
    /// Names of these, null where this program does not know one: they are no part of the proof.
    section_names: Vec<Option<&'static str>>,
    /// Height of the attested state that an output is proven by.
    attested: Option<u64>,
    output: Option<output::Fields>,
    /// What became of the block's commands, by index.
    outcomes: Vec<String>,
}

/// Does it.
///
/// # Errors
/// As the command says.
pub(crate) fn run(applications: &Applications, command: &Command) -> Result<Report, Failure> {
    match command {
        Command::Make(options) => make(applications, options),
        Command::Verify(options) => check(applications, options),
    }
}

fn make(applications: &Applications, options: &MakeOptions) -> Result<Report, Failure> {
    let is_by_state = options.state || options.outcomes || options.output.is_some();
    if options.from_snapshot.is_some() && !is_by_state {
        let what = "--from-snapshot is for proofs by a state: of a block the log has all";
        return Err(Failure::usage(what).remedy("give --state, --output N or --outcomes with it"));
    }
    files::require_own(&options.out, PROOF_MAGIC, "a proof")?;
    let folder = log_folder(&options.dir)?;
    let found = verify_beside(&folder)?;
    require_beginning(&folder, &found)?;
    let genesis = genesis_of(&folder)?;
    let place = match options.output {
        Some(number) => Some(output::Wanted::Output {
            number,
            among: match (options.index, options.public) {
                (Some(index), _) => output::Among::OfCommand(index),
                (None, true) => output::Among::Public,
                (None, false) => output::Among::All,
            },
        }),
        None => options.outcomes.then_some(output::Wanted::Outcomes),
    };
    let height = options.height;
    let states = States::open(&genesis, &folder, options.from_snapshot.as_deref())?;
    let proof = match place {
        Some(wanted) => {
            let made = output::make(
                applications,
                (&folder, &found),
                &genesis,
                &states,
                (height, wanted),
            );
            Proof::Output(made?)
        }
        None if options.state => Proof::State(states.of(height)?),
        // The others rest on certificates, or on what is executed: the chain of all blocks, with
        // every signature checked, is read for this one alone.
        None => {
            let chain = chain::read_with(genesis.clone(), &folder, &found)?;
            Proof::Block(block_proof(&folder, &found, &chain, options)?)
        }
    };
    let bytes = encode(&proof);
    // What is given away is what a stranger will believe.
    let (set, out) = (genesis.validator_set(), &options.out);
    let proven = verify(set, &proof).map_err(|error| {
        Failure::new(Code::No, format!("there is no such proof: {error}")).remedy(
            "--index and --output count from 0; name one that the block has, or another block",
        )
    })?;
    let mut fields = fields_of(out, bytes.len(), proven);
    fields.name_sections(applications, &genesis.file().application);
    files::replace(out, &bytes)
        .map_err(|error| Failure::of_system(out, &error, Code::Configuration))?;
    report(fields)
}

fn none(what: impl Into<String>) -> Failure {
    Failure::new(Code::No, what.into()).remedy("quorate log show lists the blocks of a log")
}

fn block_proof(
    folder: &Path,
    found: &Verification,
    chain: &Chain,
    options: &MakeOptions,
) -> Result<BlockProof, Failure> {
    let height = options.height;
    let block = chain.blocks.get(&height);
    let block = block.ok_or_else(|| none(format!("the log has no block of height {height}")))?;
    let (mut payload, mut lowest) = (None, None::<(Point, Certificate)>);
    records::visit(
        folder,
        found,
        &mut |record| match decode_entry(record.kind, record.payload) {
            Ok(JournalEntry::Block { payload: body, .. }) if block.body == Some(record.place) => {
                payload = Some(body.to_vec());
            }
            Ok(JournalEntry::Proof { point, proof }) if point.height.number() >= height => {
                let is_lower = |(held, _): &(Point, Certificate)| point.height < held.height;
                if lowest.as_ref().is_none_or(is_lower) {
                    lowest = Some((point, proof));
                }
            }
            _ => {}
        },
    )
    .map_err(|error| unreadable(folder, &error))?;
    let (point, certificate) = lowest.ok_or_else(|| {
        none(format!(
            "no finality proof of height {height} or above is in the log yet"
        ))
    })?;
    let between = chain.blocks.range(height..point.height.number());
    let headers: Vec<_> = between.rev().map(|(_, block)| block.header).collect();
    if headers.len() > PROOF_HEADERS_MAX {
        let top = point.height.number();
        return Err(none(format!(
            "the next finality proof is far above, at height {top}"
        )));
    }
    let command = options.index.map(|index| {
        let payload = payload.ok_or_else(|| none("the block's commands are not in the log"))?;
        Ok::<_, Failure>(CommandProof { index, payload })
    });
    Ok(BlockProof {
        certificate,
        headers,
        command: command.transpose()?,
    })
}

fn check(applications: &Applications, options: &VerifyOptions) -> Result<Report, Failure> {
    let genesis = Genesis::load(&options.genesis)?;
    let bytes = read_bounded(&options.proof, PROOF_BYTES_MAX)?;
    let mut fields = judge(genesis.validator_set(), &options.proof, &bytes)?;
    fields.name_sections(applications, &genesis.file().application);
    report(fields)
}

/// Reads the bytes of a proof and checks it.
fn judge(set: &ValidatorSet, path: &Path, bytes: &[u8]) -> Result<Fields, Failure> {
    let proof = decode(bytes).map_err(|error| {
        Failure::new(Code::Configuration, format!("{}: {error}", path.display()))
            .remedy("name a file that quorate proof make wrote")
    })?;
    let proven = verify(set, &proof).map_err(|error| {
        Failure::new(Code::No, format!("{}: {error}", path.display()))
            .remedy("believe nothing of it")
    })?;
    Ok(fields_of(path, bytes.len(), proven))
}

fn fields_of(path: &Path, bytes: usize, proven: Proven) -> Fields {
    let proof = path.to_path_buf();
    match proven {
        Proven::Block(block) => block_fields(proof, bytes, block),
        Proven::State(state) => state_fields(proof, bytes, &state),
        Proven::Output(output) => output_fields(proof, bytes, output),
    }
}

fn block_fields(proof: PathBuf, bytes: usize, block: ProvenBlock) -> Fields {
    let command = block.command.map(|command| CommandFields {
        index: command.index,
        session: hex(&command.session),
        seq: command.seq,
        lane: command.lane.to_string(),
        entry: hex(&command.entry),
    });
    Fields {
        proof,
        bytes,
        height: block.header.height.number(),
        id: hex(block.id.as_bytes()),
        time_ns: Some(block.header.time_ns),
        command,
        ..Fields::default()
    }
}

fn output_fields(proof: PathBuf, bytes: usize, output: ProvenOutput) -> Fields {
    let (height, id) = (output.height, hex(output.id.as_bytes()));
    let attested = Some(output.attested);
    let (output, outcomes) = output::fields(output.item);
    Fields {
        proof,
        bytes,
        height,
        id,
        attested,
        output,
        outcomes,
        ..Fields::default()
    }
}

fn state_fields(proof: PathBuf, bytes: usize, state: &StateStatement) -> Fields {
    Fields {
        proof,
        bytes,
        height: state.height.number(),
        id: hex(state.id.as_bytes()),
        sections: state.sections.iter().map(|root| hex(root)).collect(),
        ..Fields::default()
    }
}

impl Fields {
    /// Names the sections, those of the application only where this program has it with as many
    /// sections: a proof holds without.
    fn name_sections(&mut self, applications: &Applications, application: &Application) {
        if self.sections.is_empty() {
            return;
        }
        let mut names: Vec<_> = OWN_SECTIONS.map(Some).to_vec();
        if let Ok(application) = applications.open(application) {
            names.extend(application.sections().iter().copied().map(Some));
        }
        let count = self.sections.len();
        if names.len() != count {
            names.truncate(OWN_SECTIONS.len());
        }
        names.resize(count, None);
        self.section_names = names;
    }
}

fn report(fields: Fields) -> Result<Report, Failure> {
    let what = match (fields.attested, fields.sections.is_empty()) {
        (Some(height), _) => format!("put out, by the attested state of height {height}:"),
        (None, true) => "final:".to_owned(),
        (None, false) => "attested by more stake than may lie: the state after".to_owned(),
    };
    let mut text = format!(
        "{} bytes\n{what} block {} of height {}",
        fields.bytes, fields.id, fields.height
    );
    if let Some(output) = &fields.output {
        text.push_str(&output.text());
    }
    for (index, outcome) in fields.outcomes.iter().enumerate() {
        text.push_str(&format!("\ncommand {index}: {outcome}"));
    }
    if let Some(command) = &fields.command {
        text.push_str(&format!(
            "\ncommand {}: session {} seq {} lane {}\n{}\n{STANDS}",
            command.index, command.session, command.seq, command.lane, command.entry
        ));
    }
    let sections = fields.sections.iter().zip(&fields.section_names);
    for (place, (root, name)) in sections.enumerate() {
        match name {
            Some(name) => text.push_str(&format!("\n  {root} {name}")),
            None => text.push_str(&format!("\n  {root} section {place}, not known here")),
        }
    }
    Report::new(&fields, text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    /// A block with a forged command becomes final like any other.
    #[test]
    fn a_command_of_a_final_block_is_told_to_stand_there_and_not_to_be_its_session_s() {
        let command = CommandFields {
            index: 3,
            session: "aa".to_owned(),
            seq: 7,
            lane: "order".to_owned(),
            entry: "bb".to_owned(),
        };
        let fields = Fields {
            command: Some(command),
            ..Fields::default()
        };
        let told = report(fields).unwrap().text;
        assert!(told.contains("command 3: session aa seq 7 lane order\nbb\n"));
        assert!(told.contains("neither that the session sent it nor that it had an effect"));
        assert!(told.contains("--outcomes"), "{told}");
        let alone = report(Fields::default()).unwrap().text;
        assert!(!alone.contains("--outcomes"), "{alone}");
    }

    #[test]
    fn a_file_that_is_no_proof_is_refused_before_the_log_is_looked_for() {
        let scratch = Scratch::create(None).unwrap();
        let key = scratch.path().join("key");
        std::fs::write(&key, b"0123456789abcdef").unwrap();
        let made = |out: &Path| {
            let options = MakeOptions {
                dir: scratch.path().join("no-log"),
                height: 1,
                index: None,
                state: false,
                output: None,
                public: false,
                outcomes: false,
                from_snapshot: None,
                out: out.to_path_buf(),
            };
            make(&Applications::new(), &options)
                .unwrap_err()
                .to_string()
        };
        assert!(made(&key).contains("a file that is not a proof"));
        assert_eq!(std::fs::read(&key).unwrap(), b"0123456789abcdef");
        assert!(made(&scratch.path().join("new")).contains("no log here"));
    }

    #[test]
    fn sections_are_named_as_far_as_this_program_knows_them() {
        let named = |name: &str, sections: usize| {
            let application = Application {
                name: name.to_owned(),
                parameters: serde_json::from_value(serde_json::json!({})).unwrap(),
            };
            let mut fields = Fields {
                sections: vec!["root".to_owned(); sections],
                ..Fields::default()
            };
            fields.name_sections(&Applications::new(), &application);
            fields.section_names
        };
        let own = OWN_SECTIONS.map(Some);
        assert_eq!(named("opaque", 4), [&own[..], &[Some("commands")]].concat());
        assert_eq!(named("opaque", 5), [&own[..], &[None, None]].concat());
        assert_eq!(named("of somebody else", 4), [&own[..], &[None]].concat());
        assert_eq!(named("opaque", 0), []);
    }
}
