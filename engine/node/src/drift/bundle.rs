//! The bundle: what a validator leaves behind when its state went apart from the others'.
//!
//! Owns the two files (`bundle.json`, `trace.bin`), their writing, and what a start makes of a
//! bundle that it finds. Never: removes one; that is the operator's word that the cause is known.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use quorate_consensus::attestation::{Divergence, StateStatement, differences};
use quorate_consensus::types::ValidatorIndex;
use quorate_consensus::wire;
use serde::{Deserialize, Serialize};

use super::machine;
use super::trace::{Trace, TraceError};
use crate::file_error::{FileError, read_bounded};
use crate::genesis::{Genesis, Hex32};
use crate::hex;
use crate::roots::{EVENTS_SECTION, OUTPUTS_SECTION, RootRing};
use crate::sessions::SESSIONS_SECTION;
use crate::snapshot::{SnapshotError, SnapshotFolder};

/// Folder of the bundle inside the data folder. While it is there the validator serves nobody.
pub const DIVERGED_FOLDER: &str = "diverged";
/// What differs, as JSON.
pub const BUNDLE_FILE: &str = "bundle.json";
/// What the commands came to ([`Trace`]).
pub const TRACE_FILE: &str = "trace.bin";
/// Version of `bundle.json`.
pub const BUNDLE_SCHEMA: u32 = 1;
/// Longest `bundle.json`, bytes: three states of 32 sections and 240 signatures, twice over.
const BUNDLE_BYTES_MAX: usize = 256 * 1024;
/// Longest `trace.bin`, bytes.
const TRACE_BYTES_MAX: usize = 32 * 1024 * 1024;
/// A section that has no name here: states of another number of sections.
const NO_NAME: &str = "?";
/// Said where no section differs.
const BLOCK_ITSELF: &str = "(the block itself)";

/// One section.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NamedRoot {
    /// Its name, as the application gives it.
    pub name: String,
    /// Its root.
    pub root: Hex32,
}

/// The state after one block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StateFields {
    /// Height of the block.
    pub height: u64,
    /// Its name.
    pub block: Hex32,
    /// Every section, in root order.
    pub sections: Vec<NamedRoot>,
}

impl StateFields {
    fn new(statement: &StateStatement, names: &[&'static str]) -> Self {
        let name = |place: usize| names.get(place).map_or(NO_NAME, |name| name);
        let sections = statement.sections.iter().enumerate();
        Self {
            height: statement.height.number(),
            block: Hex32(*statement.id.as_bytes()),
            sections: sections
                .map(|(place, root)| NamedRoot {
                    name: name(place).to_owned(),
                    root: Hex32(*root),
                })
                .collect(),
        }
    }
}

/// What computed the state.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Build {
    /// Version of the engine.
    pub version: String,
    /// Architecture and system that it was compiled for.
    pub target: String,
    /// Whether it was compiled with checks for development.
    pub debug_assertions: bool,
    /// BLAKE3 of the program's file; empty when that could not be read.
    pub program_blake3: String,
}

/// On what it was computed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Processor {
    /// Model of the first processor, as the system names it.
    pub model: String,
    /// Its flags, as the system lists them.
    pub flags: String,
}

/// What differs, the evidence for it, and from what it may come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bundle {
    /// [`BUNDLE_SCHEMA`].
    pub schema: u32,
    /// Whose state it is.
    pub validator: u16,
    /// Name of the chain.
    pub chain_id: Hex32,
    /// Hash of its genesis file.
    pub genesis_hash: Hex32,
    /// Name of the application.
    pub application: String,
    /// BLAKE3 of its parameters, as JSON without spaces and with sorted keys.
    pub parameters_blake3: Hex32,
    /// The last state that this validator had as the others; none when no state of this run was
    /// compared before, so that the difference may be as old as the state it began with.
    pub common: Option<StateFields>,
    /// The own state at the first height that is known to differ.
    pub own: StateFields,
    /// The others' state there.
    pub proven: StateFields,
    /// Its certificate: the signed statements of those who attest it, as docs/wire.md lays it out.
    pub certificate: String,
    /// First section that differs, by name.
    pub section: String,
    /// First and last height whose commands are in question.
    pub blocks: [u64; 2],
    /// First and last height of which `trace.bin` says what the commands came to here.
    pub trace: Option<[u64; 2]>,
    /// This build.
    pub build: Build,
    /// This machine.
    pub processor: Processor,
}

/// What a status says of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DivergedStatus {
    /// First height that is known to differ.
    pub height: u64,
    /// First section that differs there.
    pub section: String,
    /// Folder of the bundle.
    pub bundle: String,
}

/// A bundle that cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// The file cannot be read, or is not one.
    #[error(transparent)]
    File(#[from] FileError),
    /// The trace is none.
    #[error("{}: {source}", path.display())]
    Trace {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: TraceError,
    },
    /// The system refuses a file.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
}

impl Bundle {
    /// What a status says of it.
    #[must_use]
    pub fn status(&self, folder: &Path) -> DivergedStatus {
        DivergedStatus {
            height: self.own.height,
            section: self.section.clone(),
            bundle: folder.display().to_string(),
        }
    }

    /// Height of the last common state; that of the genesis, the block before the first one in
    /// question, when there is none.
    #[must_use]
    pub fn common_height(&self) -> u64 {
        let genesis = self.blocks[0].saturating_sub(1);
        self.common.as_ref().map_or(genesis, |common| common.height)
    }
}

/// What is known of a validator before anything differs.
#[derive(Debug)]
pub(crate) struct Facts {
    pub(crate) folder: PathBuf,
    validator: u16,
    chain_id: Hex32,
    genesis_hash: Hex32,
    /// Above it the chain's first block is: 0, unless the chain goes on from another one.
    genesis_height: u64,
    application: String,
    parameters: Hex32,
}

impl Facts {
    pub(crate) fn new(data: &Path, own: ValidatorIndex, genesis: &Genesis) -> Self {
        let application = &genesis.file().application;
        let parameters = serde_json::to_vec(&application.parameters).unwrap_or_default();
        Self {
            folder: diverged_folder(data),
            validator: own.number(),
            chain_id: Hex32(*genesis.chain_id()),
            genesis_hash: Hex32(*genesis.hash()),
            genesis_height: genesis.validator_set().genesis().height.number(),
            application: application.name.clone(),
            parameters: Hex32(*blake3::hash(&parameters).as_bytes()),
        }
    }

    /// All but what takes time to find out: the hash of the program and the processor.
    pub(super) fn bundle(
        &self,
        divergence: &Divergence,
        names: &[&'static str],
        trace: &Trace,
    ) -> Bundle {
        let mut certificate = Vec::new();
        wire::encode_state_certificate(&divergence.proven, &mut certificate);
        let common = divergence.common.as_ref();
        let own = StateFields::new(&divergence.own, names);
        let section = section_of(divergence, names);
        let below = common.map_or(self.genesis_height, |common| common.height.number());
        Bundle {
            schema: BUNDLE_SCHEMA,
            validator: self.validator,
            chain_id: self.chain_id,
            genesis_hash: self.genesis_hash,
            application: self.application.clone(),
            parameters_blake3: self.parameters,
            common: common.map(|common| StateFields::new(common, names)),
            blocks: [below.saturating_add(1), own.height],
            own,
            proven: StateFields::new(&divergence.proven.statement, names),
            certificate: hex::encode(&certificate),
            section: section.to_owned(),
            trace: trace.range(),
            build: Build::default(),
            processor: Processor::default(),
        }
    }
}

/// The first section that differs; the outputs only where none of the application does, and the
/// session table only where no other one does: it holds hashes of outputs, and both differ with
/// whatever made them.
fn section_of(divergence: &Divergence, names: &[&'static str]) -> &'static str {
    let differ = differences(&divergence.own, &divergence.proven.statement);
    let named = differ.map(|place| names.get(place).copied().unwrap_or(NO_NAME));
    let named: Vec<_> = named.collect();
    let rank = |name: &&&'static str| match **name {
        SESSIONS_SECTION => 2,
        OUTPUTS_SECTION | EVENTS_SECTION => 1,
        _ => 0,
    };
    named
        .iter()
        .min_by_key(rank)
        .copied()
        .unwrap_or(BLOCK_ITSELF)
}

/// Where the bundle of a data folder is.
#[must_use]
pub(crate) fn diverged_folder(data: &Path) -> PathBuf {
    data.join(DIVERGED_FOLDER)
}

/// Writes both files, `bundle.json` last: where it is, all is there.
pub(super) fn write(folder: &Path, mut bundle: Bundle, trace: &Trace) -> Result<(), BundleError> {
    bundle.build = machine::build();
    bundle.processor = machine::processor();
    let failed = |path: &Path| {
        let path = path.to_path_buf();
        move |source| BundleError::Io { path, source }
    };
    fs::create_dir_all(folder).map_err(failed(folder))?;
    let json = serde_json::to_vec_pretty(&bundle).map_err(io::Error::other);
    let json = json.map_err(failed(folder))?;
    for (name, bytes) in [(TRACE_FILE, trace.encode()), (BUNDLE_FILE, json)] {
        let (new, path) = (folder.join(format!("{name}.new")), folder.join(name));
        File::create(&new)
            .and_then(|mut file| file.write_all(&bytes).and_then(|()| file.sync_all()))
            .and_then(|()| fs::rename(&new, &path))
            .and_then(|()| File::open(folder)?.sync_all())
            .map_err(failed(&path))?;
    }
    if let Some(data) = folder.parent() {
        File::open(data)
            .and_then(|data| data.sync_all())
            .map_err(failed(data))?;
    }
    Ok(())
}

/// Reads `bundle.json` of a bundle's folder.
///
/// # Errors
/// It cannot be read, or is none of this version.
pub fn read_bundle(folder: &Path) -> Result<Bundle, FileError> {
    let path = folder.join(BUNDLE_FILE);
    let bytes = read_bounded(&path, BUNDLE_BYTES_MAX)?;
    let bundle: Bundle = serde_json::from_slice(&bytes).map_err(|error| {
        FileError::new(&path, "", format!("not a bundle: {error}"))
            .remedy("read it with the program that wrote it, or look at the file")
    })?;
    if bundle.schema != BUNDLE_SCHEMA {
        return Err(FileError::new(&path, "schema", "another version")
            .value(bundle.schema)
            .remedy(format!("this program reads version {BUNDLE_SCHEMA}")));
    }
    Ok(bundle)
}

/// Reads `trace.bin` of a bundle's folder.
///
/// # Errors
/// It cannot be read, or is none.
pub fn read_trace(folder: &Path) -> Result<Trace, BundleError> {
    let path = folder.join(TRACE_FILE);
    let bytes = read_bounded(&path, TRACE_BYTES_MAX)?;
    Trace::decode(&bytes).map_err(|source| BundleError::Trace { path, source })
}

/// What a second execution of the same blocks came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Again {
    /// It begins above the height in question, or ends below it.
    NotExecuted,
    /// The wrong state again: this build or configuration computes it.
    Same,
    /// The others' state now: the first execution was not deterministic, or the build is another.
    Agrees,
    /// A third state.
    Other,
}

/// What this start's execution came to at the height in question.
pub(crate) fn again(bundle: &Bundle, roots: &RootRing) -> Again {
    let Some(root) = roots.at(bundle.own.height) else {
        return Again::NotExecuted;
    };
    let is_that = |state: &StateFields| {
        let sections = state.sections.iter().map(|section| section.root.0);
        sections.eq(root.sections.iter().map(|(_, root)| *root))
    };
    if is_that(&bundle.proven) {
        Again::Agrees
    } else if is_that(&bundle.own) {
        Again::Same
    } else {
        Again::Other
    }
}

/// Moves the snapshots above the last common height that nobody attests into the bundle's folder:
/// a start must not begin with a state that may be the wrong one.
pub(crate) fn set_aside(
    snapshots: &SnapshotFolder,
    common: u64,
    folder: &Path,
) -> Result<(), SnapshotError> {
    for height in snapshots.heights()? {
        // A certificate is put beside its snapshot only where both say the same.
        if height > common && snapshots.certificate(height)?.is_none() {
            tracing::warn!(
                height,
                "a snapshot of a state that may be wrong is set aside"
            );
            snapshots.set_aside(height, folder)?;
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "bundle_tests.rs"]
mod tests;
