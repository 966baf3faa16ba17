//! The chain that goes on after a loss at one stroke: its genesis, and the state that it begins
//! with (3.4).
//!
//! Owns the way from a chosen block to both: the log that holds it is executed up to it, from the
//! newest snapshot at or below it that enough validators vouch for. What is written follows from
//! the block alone, whichever folder it is taken from, so that operators can compare. Never:
//! chooses the block, or writes into a validator's folder.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use quorate::begins::{BEGINS_FOLDER, FirstState};
use quorate::file_error::{FileError, read_bounded};
use quorate::genesis::{Begins, GENESIS_BYTES_MAX, Genesis, Hex32, Successors};
use quorate::join::believe;
use quorate::snapshot::{self, Manifest, Origin, SnapshotFolder};
use quorate_consensus::header::Header;
use quorate_consensus::wire;
use quorate_log::Verification;
use serde::Serialize;

use crate::applications::Applications;
use crate::failure::{Code, Failure};
use crate::files::sync_parent;
use crate::inspect::chain::Chain;
use crate::inspect::replay::{
    Replay, failure_of as snapshot_failure, failure_of_first, first_state, snapshots_beside,
};
use crate::output::hex;

/// Name of the genesis in the folder that is written.
const GENESIS_FILE: &str = "genesis.json";

/// A log that holds the chosen block with all below it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Source<'a> {
    /// The log's folder.
    pub(super) folder: &'a Path,
    /// How far it is whole.
    pub(super) verification: &'a Verification,
    /// What it says.
    pub(super) chain: &'a Chain,
    /// The chosen block.
    pub(super) height: u64,
}

/// What was written.
#[derive(Debug, Serialize)]
pub(super) struct Fields {
    /// The genesis.
    #[serde(serialize_with = "crate::output::path")]
    genesis: PathBuf,
    /// Its hash: what every operator compares.
    genesis_hash: String,
    generation: u32,
    /// Folder of the state.
    #[serde(serialize_with = "crate::output::path")]
    state: PathBuf,
    /// Root of its snapshot.
    snapshot_root: String,
    time_ns: u64,
    validators: usize,
    remarks: Vec<String>,
}

/// Reads who goes on, and makes a genesis with them that is thrown away: what is wrong with them is
/// told of their own file, and before hours of a log are executed. Which block it begins with has
/// no bearing on that.
///
/// # Errors
/// The file is none, or no chain can go on with who stands there.
pub(super) fn successors(
    genesis: &Genesis,
    path: Option<&Path>,
) -> Result<Option<Successors>, Failure> {
    let read = |path: &Path| -> Result<Successors, Failure> {
        let bytes = read_bounded(path, GENESIS_BYTES_MAX)?;
        let successors = Successors::parse(&bytes, path)?;
        let begins = Begins {
            generation: generation_after(genesis)?,
            of: Hex32(*genesis.hash()),
            height: 1,
            block: Hex32([0; 32]),
            snapshot: Hex32([0; 32]),
        };
        let time_ns = genesis.file().genesis_time_ns;
        let made = genesis.succeed(begins, time_ns, Some(successors.clone()));
        made.map_err(|error| FileError {
            file: path.to_path_buf(),
            ..error
        })?;
        Ok(successors)
    };
    path.map(read).transpose()
}

/// Writes genesis and state into a folder that is new or empty. Of several logs the first one that
/// can be executed is taken.
///
/// # Errors
/// There is no block to go on from, no log can be executed, or the folder cannot be written.
pub(super) fn write(
    applications: &Applications,
    genesis: &Genesis,
    sources: &[Source<'_>],
    successors: Option<Successors>,
    out: &Path,
) -> Result<Fields, Failure> {
    refuse_full(out)?;
    let state = out.join(BEGINS_FOLDER);
    let target = SnapshotFolder::new(state.clone());
    let mut written = Err(Failure::usage("no folder"));
    for source in sources {
        written = take_state(applications, genesis, source, &target);
        match &written {
            Ok(_) => break,
            Err(failure) => {
                tracing::warn!(folder = %source.folder.display(), %failure, "not executed");
            }
        }
    }
    let path = out.join(GENESIS_FILE);
    let made = written.and_then(|manifest| {
        let next = finish(genesis, &manifest, successors, &state, &path)?;
        Ok((manifest, next))
    });
    let (manifest, next) = made.inspect_err(|_| {
        // Half of it would keep the next try out of this folder, which held nothing before.
        fs::remove_dir_all(&state).ok();
        fs::remove_file(&path).ok();
    })?;
    Ok(Fields {
        genesis: path,
        genesis_hash: hex(next.hash()),
        generation: next.file().begins.map_or(0, |begins| begins.generation),
        state,
        snapshot_root: hex(&manifest.root()),
        time_ns: manifest.header.time_ns,
        validators: next.validator_set().len(),
        remarks: next.summary(),
    })
}

/// Writes the genesis, behind the state.
fn finish(
    genesis: &Genesis,
    manifest: &Manifest,
    successors: Option<Successors>,
    state: &Path,
    path: &Path,
) -> Result<Genesis, Failure> {
    let next = succeed(genesis, manifest, successors)?;
    // What others will begin with is read once more, as they will read it.
    if let Some(first) = FirstState::of(&next, state.to_path_buf()) {
        first.verify().map_err(|error| failure_of_first(&error))?;
    }
    write_durably(path, next.bytes()).map_err(|error| refused(path, &error))?;
    Ok(next)
}

fn succeed(
    genesis: &Genesis,
    manifest: &Manifest,
    successors: Option<Successors>,
) -> Result<Genesis, Failure> {
    let begins = Begins {
        generation: generation_after(genesis)?,
        of: Hex32(manifest.genesis_hash),
        height: manifest.height(),
        block: Hex32(*manifest.header.id().as_bytes()),
        snapshot: Hex32(manifest.root()),
    };
    Ok(genesis.succeed(begins, manifest.header.time_ns, successors)?)
}

fn generation_after(genesis: &Genesis) -> Result<u32, Failure> {
    let before = genesis.file().begins.map_or(0, |begins| begins.generation);
    before.checked_add(1).ok_or_else(|| {
        Failure::new(
            Code::Configuration,
            "begins.generation: there is none above",
        )
        .remedy("begin a chain with another chain_id")
    })
}

/// Writes the state after the chosen block.
fn take_state(
    applications: &Applications,
    genesis: &Genesis,
    source: &Source<'_>,
    target: &SnapshotFolder,
) -> Result<Manifest, Failure> {
    let set = genesis.validator_set();
    if source.height <= set.genesis().height.number() {
        return take_first(genesis, source, target);
    }
    let header = header_at(source.folder, source.chain, source.height).ok_or_else(|| {
        let what = format!(
            "{}: no block of height {}",
            source.folder.display(),
            source.height
        );
        Failure::new(Code::Damaged, what).remedy("leave this folder out")
    })?;
    let snapshots = snapshots_beside(source.folder);
    let from = newest_vouched_for(genesis, source, &snapshots)?;
    let from = from.map(|height| (height, &snapshots));
    let mut ignore = |_: &mut _, _: &_, _: &_| ();
    let mut replay = Replay::begin(
        applications,
        genesis,
        source.folder,
        from,
        source.height,
        &mut ignore,
    )?;
    replay.run(source.folder, source.verification)?;
    let (mut executor, _) = replay.finish();
    if executor.height() != source.height {
        let what = format!(
            "{}: executed up to height {} instead of {}",
            source.folder.display(),
            executor.height(),
            source.height
        );
        return Err(Failure::new(Code::Damaged, what).remedy("leave this folder out"));
    }
    snapshot::take(&mut executor, &header, &Origin::of(set), target)
        .map_err(|error| snapshot_failure(&error))
}

/// Tells at once, and whether anything is to be written or not, when there is no block and no state
/// to go on from.
///
/// # Errors
/// That.
pub(super) fn refuse_nothing(genesis: &Genesis, sources: &[Source<'_>]) -> Result<(), Failure> {
    let first = genesis.validator_set().genesis().height.number();
    let is_nothing = |source: &Source<'_>| {
        source.height <= first && first_state(genesis, source.folder).is_none()
    };
    match sources.iter().all(is_nothing) {
        true => Err(nothing()),
        false => Ok(()),
    }
}

fn nothing() -> Failure {
    Failure::new(
        Code::No,
        "no block was ever proven, so none was durable: there is nothing to go on from",
    )
    .remedy("begin a chain with another chain_id")
}

/// Nothing was proven in this chain: the next one begins as it did.
fn take_first(
    genesis: &Genesis,
    source: &Source<'_>,
    target: &SnapshotFolder,
) -> Result<Manifest, Failure> {
    let first = first_state(genesis, source.folder).ok_or_else(nothing)?;
    first
        .copy_to(target)
        .and_then(|()| first.verify())
        .map_err(|error| failure_of_first(&error))
}

/// The header of a block: of the log, or of the snapshot that the log begins with.
pub(super) fn header_at(folder: &Path, chain: &Chain, height: u64) -> Option<Header> {
    let block = chain.blocks.get(&height).map(|block| block.header);
    let base = || chain.base.filter(|base| base.height.number() == height);
    let snapshot = || snapshots_beside(folder).manifest(height).ok();
    let fits = |manifest: &Manifest| Origin::of(chain.genesis.validator_set()).fits(manifest);
    block
        .or_else(base)
        .or_else(|| snapshot().filter(fits).map(|manifest| manifest.header))
}

/// The newest whole snapshot at or below the chosen block with a certificate that holds. The word
/// of this one validator would not do: its state may have been another than the others'.
fn newest_vouched_for(
    genesis: &Genesis,
    source: &Source<'_>,
    snapshots: &SnapshotFolder,
) -> Result<Option<u64>, Failure> {
    let set = genesis.validator_set();
    let heights = snapshots
        .heights()
        .map_err(|error| snapshot_failure(&error))?;
    let is_vouched_for = |height: u64| {
        let manifest = snapshots.verify(height).ok()?;
        let bytes = snapshots.certificate(height).ok().flatten()?;
        let certificate = wire::decode_state_certificate(&bytes).ok()?;
        believe(set, &certificate, &manifest).ok()?;
        let held = source.chain.blocks.get(&height);
        held.is_none_or(|block| block.header == manifest.header)
            .then_some(height)
    };
    let below = heights.into_iter().rev();
    let found = below
        .filter(|&height| height <= source.height)
        .find_map(is_vouched_for);
    let reaches = |height: u64| height >= source.chain.below;
    if found.is_some_and(reaches) || source.chain.below <= set.genesis().height.number() {
        return Ok(found);
    }
    let what = format!(
        "{}: the log begins above height {}, and no whole snapshot from there up to height {} has \
         the signatures of enough validators",
        source.folder.display(),
        source.chain.below,
        source.height
    );
    Err(Failure::new(Code::Damaged, what).remedy("name more folders that hold the block"))
}

fn refuse_full(out: &Path) -> Result<(), Failure> {
    match fs::read_dir(out) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(refused(out, &error)),
        Ok(mut entries) => match entries.next() {
            None => Ok(()),
            Some(_) => {
                let what = format!("{} is not empty", out.display());
                Err(Failure::new(Code::Configuration, what).remedy("name a new folder as --out"))
            }
        },
    }
}

fn refused(path: &Path, error: &io::Error) -> Failure {
    Failure::of_system(path, error, Code::Configuration)
}

/// The genesis comes last: with it all is there.
fn write_durably(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create_new(path)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    sync_parent(path)?;
    // The folder may be new: its own name must outlive a crash as well.
    path.parent().map_or(Ok(()), sync_parent)
}

/// What was written, in words.
pub(super) fn text(fields: &Fields) -> String {
    format!(
        "generation {} of the chain, of {} validators:\n  genesis {}\n  state   {}\n{}\ngenesis hash \
         {}\ncompare this hash with every other operator before anything is started. Then give each \
         validator both, and a new data folder: quorate init",
        fields.generation,
        fields.validators,
        fields.genesis.display(),
        fields.state.display(),
        fields.remarks.join("\n"),
        fields.genesis_hash,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspect::chain::tests::{
        certify, fill_joined, fill_proven, header, write_snapshot, written,
    };
    use quorate_consensus::types::BlockId;
    use quorate_log::verify_path;

    /// What is taken beside a log as the height of the state to begin with: with a certificate that
    /// does not hold, with one that does, and with that and a byte of the state that has changed.
    fn taken(data: &Path, chain: &Chain, of: Header) -> [Result<Option<u64>, Failure>; 3] {
        let log = data.join("log");
        let (genesis, snapshots) = (&chain.genesis, snapshots_beside(&log));
        let manifest = write_snapshot(genesis, &snapshots, of);
        let source = Source {
            folder: &log,
            verification: &verify_path(&log).unwrap(),
            chain,
            height: of.height.number(),
        };
        let take = || newest_vouched_for(genesis, &source, &snapshots);
        let [forged, good] = [2, 1].map(|seed| {
            certify(genesis, &snapshots, &manifest, seed);
            take()
        });
        let name = format!("snapshot-{:020}.data", source.height);
        let state = snapshots.path().join(name);
        let mut bytes = fs::read(&state).unwrap();
        bytes[0] ^= 1;
        fs::write(&state, &bytes).unwrap();
        let damaged = take();
        fs::remove_dir_all(data).unwrap();
        [forged, good, damaged]
    }

    #[test]
    fn a_system_that_does_not_take_what_is_written_is_told_by_its_own_code() {
        crate::failure::tests::assert_promised(Code::Configuration, |error| {
            refused(Path::new("out"), &error)
        });
    }

    /// Who goes on: one validator more, with this stake.
    fn successors_with(genesis: &Genesis, stake: u64) -> Successors {
        let mut validators = genesis.file().validators.clone();
        validators[0].stake = stake;
        Successors {
            validators,
            fault_weight: None,
            fast_slack: None,
            crash_only: true,
        }
    }

    #[test]
    fn what_is_wrong_with_who_goes_on_is_told_of_their_file_before_anything_is_executed() {
        let genesis = crate::inspect::chain::tests::genesis();
        let name = format!("quorate-successors-{}.json", std::process::id());
        let file = std::env::temp_dir().join(name);
        let read = |stake| {
            let bytes = serde_json::to_vec(&successors_with(&genesis, stake)).unwrap();
            fs::write(&file, bytes).unwrap();
            successors(&genesis, Some(&file))
        };
        assert_eq!(read(1).unwrap(), Some(successors_with(&genesis, 1)));
        let refused = read(0).unwrap_err();
        assert_eq!(refused.code, Code::Configuration);
        let told = refused.to_string();
        assert!(told.starts_with(&file.display().to_string()), "{told}");
        assert!(told.contains("validators[0].stake"), "{told}");
        assert!(!told.contains("genesis.json"), "{told}");
        fs::remove_file(file).unwrap();
    }

    #[test]
    fn nothing_is_left_of_what_could_not_be_written_to_its_end() {
        let (data, chain) = written("next-half", |writer, genesis| {
            fill_proven(writer, genesis, 9);
        });
        let (log, genesis) = (data.join("log"), &chain.genesis);
        let source = Source {
            folder: &log,
            verification: &verify_path(&log).unwrap(),
            chain: &chain,
            height: 3,
        };
        let out = data.join("out");
        let write = |stake| {
            let who = Some(successors_with(genesis, stake));
            write(&Applications::new(), genesis, &[source], who, &out)
        };
        // The state was written by then.
        let refused = write(0).unwrap_err();
        assert!(refused.to_string().contains("stake"), "{refused}");
        assert_eq!(fs::read_dir(&out).unwrap().count(), 0);
        let written = write(1).unwrap();
        assert_eq!(fs::read_dir(&out).unwrap().count(), 2);
        assert!(written.genesis.is_file());
        fs::remove_dir_all(data).unwrap();
    }

    /// The folder's own validator may have had another state than the others.
    #[test]
    fn a_snapshot_whose_certificate_does_not_hold_is_not_begun_with() {
        let (data, chain) = written("next-whole", |writer, genesis| {
            fill_proven(writer, genesis, 9);
        });
        let [forged, good, damaged] = taken(&data, &chain, chain.blocks[&3].header);
        assert_eq!(forged.unwrap(), None, "all is executed");
        assert_eq!(good.unwrap(), Some(3));
        assert_eq!(damaged.unwrap(), None);
        let (data, chain) = written("next-joined", |writer, genesis| {
            fill_joined(writer, genesis, None, 64);
        });
        let base = header(&chain.genesis, 64, BlockId::new([9; 32]));
        let [forged, good, damaged] = taken(&data, &chain, base);
        assert_eq!(forged.unwrap_err().code, Code::Damaged, "nothing is below");
        assert_eq!(good.unwrap(), Some(64));
        assert_eq!(damaged.unwrap_err().code, Code::Damaged);
    }
}
