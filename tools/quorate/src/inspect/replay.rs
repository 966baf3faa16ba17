//! A log executed again by the application that its genesis names, as this program has it.
//!
//! Owns the way from records to states: from genesis or from a snapshot, block by block, and the
//! hash over everything the application put out. Never: writes, or believes a record that
//! `quorate_log` has not found whole.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use quorate::auth::CommandAuth;
use quorate::begins::{BeginsError, FirstState, begins_path};
use quorate::executor::{Executor, FinalBlock};
use quorate::genesis::Genesis;
use quorate::journal::{FinalMark, JournalEntry, decode};
use quorate::results::BlockResults;
use quorate::snapshot::{self, Manifest, Origin, SnapshotError, SnapshotFolder};
use quorate::state_machine::Audience;
use quorate_bench::applications::Hosted;
use quorate_consensus::header::Header;
use quorate_log::{LogOffset, RecordKind, Verification};

use super::records::{self, Record};
use super::unreadable;
use crate::applications::Applications;
use crate::failure::{Code, Failure};

/// The genesis of a log.
///
/// # Errors
/// There is none, or it is damaged.
pub(crate) fn genesis_of(folder: &Path) -> Result<Genesis, Failure> {
    let none = || {
        let what = format!("{}: no genesis, or a damaged one", folder.display());
        Failure::new(Code::Damaged, what).remedy(
            "see quorate log verify; where the log was pruned a start writes the file genesis again, \
             and in a copy the chain's genesis file under that name is as good",
        )
    };
    let payload = records::genesis(folder)
        .map_err(|error| unreadable(folder, &error))?
        .ok_or_else(none)?;
    Ok(Genesis::parse(&payload, &folder.join("(record 0)"))?)
}

/// Whether a genesis from elsewhere is that of a log, whatever became of its own.
pub(crate) fn is_genesis_of(genesis: &Genesis, found: &Verification) -> bool {
    quorate_log::genesis_hash(genesis.bytes()) == found.genesis_hash
}

/// The snapshots beside a log folder.
pub(crate) fn snapshots_beside(log: &Path) -> SnapshotFolder {
    let data = log.parent().map_or_else(PathBuf::new, Path::to_path_buf);
    SnapshotFolder::new(quorate::node::snapshots_path(&data))
}

/// The state that a chain begins with, beside a log folder; none of one that begins with nothing.
pub(crate) fn first_state(genesis: &Genesis, log: &Path) -> Option<FirstState> {
    let data = log.parent().map_or_else(PathBuf::new, Path::to_path_buf);
    FirstState::of(genesis, begins_path(&data))
}

/// An executor with the application of a chain in its first state, as it is when a chain begins
/// with nothing.
///
/// # Errors
/// This program has no such application, or not with these parameters.
pub(crate) fn executor_of(
    applications: &Applications,
    genesis: &Genesis,
) -> Result<Executor<Hosted>, Failure> {
    let file = genesis.file();
    let app = applications.open(&file.application)?;
    let executor = Executor::new(app, file.limits.sessions_max, file.genesis_time_ns);
    let auth = CommandAuth::of(genesis).map_err(|error| {
        Failure::new(
            Code::TryAgain,
            format!("the system gives no randomness: {error}"),
        )
    })?;
    Ok(executor.with_auth(Arc::new(auth)))
}

/// The name of the first section of a state that is another in a snapshot, or in one of them alone.
pub(crate) fn other_section(
    executor: &mut Executor<Hosted>,
    manifest: &Manifest,
) -> Option<String> {
    let own = executor.root().sections;
    let mut entries = manifest.sections.iter().enumerate();
    let other = entries.find(|(place, entry)| {
        let here = own.get(*place);
        here != Some(&(entry.name.as_str(), entry.root))
    });
    let missing = || own.get(manifest.sections.len());
    other
        .map(|(_, entry)| entry.name.clone())
        .or_else(|| missing().map(|(name, _)| (*name).to_owned()))
}

/// A snapshot that cannot be used.
pub(crate) fn failure_of(error: &SnapshotError) -> Failure {
    let code = match error {
        SnapshotError::Io { source, .. } => {
            return Failure::of_refusal(error, source, Code::Configuration);
        }
        SnapshotError::Foreign { .. } => Code::Configuration,
        SnapshotError::TooLarge { .. } | SnapshotError::Sections { .. } => Code::No,
        _ => Code::Damaged,
    };
    let remedy = error.remedy();
    Failure::new(code, error).remedy(remedy.unwrap_or("quorate snapshot list shows what there is"))
}

/// The code for several that are not good: damage, where there is any, else a disk that fails.
pub(crate) fn worst(codes: impl IntoIterator<Item = Code>) -> Option<Code> {
    let rank = |code: &Code| match code {
        Code::Damaged => 2,
        Code::DiskFailed => 1,
        _ => 0,
    };
    codes.into_iter().max_by_key(rank)
}

/// Whether a snapshot must not be above the end of a log: it was taken of what had been synced. One
/// of peers, which a validator is joining by, may be.
pub(crate) fn wants_block(folder: &SnapshotFolder, height: u64) -> Result<bool, SnapshotError> {
    let manifest = folder.manifest(height)?;
    Ok(!folder.is_fetched(&manifest)?)
}

/// Whether somebody has removed a snapshot: a running validator removes old ones.
pub(crate) fn is_removed(error: &SnapshotError) -> bool {
    matches!(error, SnapshotError::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
}

/// There is none of a height that was named.
pub(crate) fn no_snapshot(folder: &SnapshotFolder, height: u64) -> Failure {
    let path = folder.path().display();
    let what = format!("{path}: no snapshot of height {height}");
    Failure::new(Code::Configuration, what).remedy("quorate snapshot list shows what there is")
}

/// The state that a chain goes on from cannot be used.
pub(crate) fn failure_of_first(error: &BeginsError) -> Failure {
    match error {
        BeginsError::Snapshot(SnapshotError::Io { source, .. }) => {
            Failure::of_refusal(error, source, Code::Configuration)
        }
        BeginsError::Snapshot(source) => {
            let code = failure_of(source).code;
            // What it takes says the error itself, where it is the application.
            match source.remedy() {
                Some(_) => Failure::new(code, error),
                None => Failure::new(code, error)
                    .remedy("bring the folder begins from another validator"),
            }
        }
        _ => Failure::new(Code::Configuration, error),
    }
}

/// What one block came to.
pub(crate) type OnBlock<'a> = &'a mut dyn FnMut(&mut Executor<Hosted>, &FinalBlock, &BlockResults);

/// The state within a block of this height: after its timers, then after each command.
pub(crate) type OnCommand<'a> = &'a mut dyn FnMut(&mut Executor<Hosted>, u64);

/// A log that is executed again.
pub(crate) struct Replay<'a> {
    executor: Executor<Hosted>,
    /// Bodies that may become final, by place. Those of lower windows go with each mark.
    bodies: BTreeMap<LogOffset, (Header, Arc<[u8]>)>,
    results: BlockResults,
    outputs_hash: blake3::Hasher,
    /// Blocks, commands and outputs so far.
    pub(crate) counts: [u64; 3],
    /// Height up to which the log says what is final, whatever of that was executed.
    pub(crate) end: u64,
    to: u64,
    on_block: OnBlock<'a>,
    on_command: Option<OnCommand<'a>>,
    failure: Option<Failure>,
}

impl<'a> Replay<'a> {
    /// Begins at the genesis of the log in a folder, with the state that it begins with if it goes
    /// on from another chain; or with the snapshot of a height. Goes on up to the height `to`.
    ///
    /// # Errors
    /// The application, the snapshot or that state cannot be used.
    pub(crate) fn begin(
        applications: &Applications,
        genesis: &Genesis,
        log: &Path,
        from: Option<(u64, &SnapshotFolder)>,
        to: u64,
        on_block: OnBlock<'a>,
    ) -> Result<Self, Failure> {
        let mut executor = executor_of(applications, genesis)?;
        if let Some((height, folder)) = from {
            let origin = Origin::of(genesis.validator_set());
            snapshot::restore(&mut executor, height, &origin, folder).map_err(
                |error| match folder.heights() {
                    Ok(heights) if !heights.contains(&height) => no_snapshot(folder, height),
                    _ => failure_of(&error),
                },
            )?;
        } else if let Some(first) = first_state(genesis, log) {
            first
                .restore(&mut executor)
                .map_err(|error| failure_of_first(&error))?;
        }
        Ok(Self {
            executor,
            bodies: BTreeMap::new(),
            results: BlockResults::new(),
            outputs_hash: blake3::Hasher::new(),
            counts: [0; 3],
            end: genesis.validator_set().genesis().height.number(),
            to,
            on_block,
            on_command: None,
            failure: None,
        })
    }

    /// Shows the state within the blocks too.
    pub(crate) fn watched(mut self, on_command: OnCommand<'a>) -> Self {
        self.on_command = Some(on_command);
        self
    }

    /// The state as it stands.
    pub(crate) const fn executor(&self) -> &Executor<Hosted> {
        &self.executor
    }

    /// Executes every finalized block of a log that is above the state and not above the end.
    ///
    /// # Errors
    /// A file cannot be read, or the records do not follow from one another.
    pub(crate) fn run(&mut self, folder: &Path, found: &Verification) -> Result<(), Failure> {
        records::visit(folder, found, &mut |record| {
            if self.failure.is_none() {
                self.failure = self.take(record).err();
            }
        })
        .map_err(|error| unreadable(folder, &error))?;
        self.failure.take().map_or(Ok(()), Err)
    }

    fn take(&mut self, record: Record<'_>) -> Result<(), Failure> {
        if record.kind == RecordKind::GENESIS {
            return Ok(());
        }
        let damaged = |what: String| {
            let at = format!(
                "segment {} offset {}",
                record.place.segment(),
                record.place.bytes()
            );
            Failure::new(Code::Damaged, format!("{at}: {what}")).remedy("run quorate log verify")
        };
        match decode(record.kind, record.payload).map_err(|error| damaged(error.to_string()))? {
            JournalEntry::Block { header, payload } => {
                self.bodies.insert(record.place, (header, payload.into()));
                Ok(())
            }
            JournalEntry::Finalized(mark) => {
                self.end = self.end.max(mark.header.height.number());
                self.check_reaches(&mark)?;
                self.execute(&mark).map_err(damaged)
            }
            JournalEntry::Base { header, .. } => {
                self.end = self.end.max(header.height.number());
                Ok(())
            }
            JournalEntry::Record { .. }
            | JournalEntry::Answer { .. }
            | JournalEntry::Proof { .. }
            | JournalEntry::Evidence(_) => Ok(()),
        }
    }

    /// A log that was pruned, or goes on from a snapshot of peers, may begin above the state.
    fn check_reaches(&self, mark: &FinalMark) -> Result<(), Failure> {
        let (height, state) = (mark.header.height.number(), self.executor.height());
        if height <= state.saturating_add(1) || state >= self.to {
            return Ok(());
        }
        let what = format!(
            "the log goes on from height {height}, not {state}: what is between was pruned, or never \
             here"
        );
        Err(Failure::new(Code::Configuration, what).remedy(
            "begin with a snapshot that is not below it (--from-snapshot); quorate snapshot list \
             shows what there is",
        ))
    }

    fn execute(&mut self, mark: &FinalMark) -> Result<(), String> {
        let body = self.bodies.remove(&mark.block.offset);
        let window = mark.header.window;
        self.bodies.retain(|_, (header, _)| header.window >= window);
        let height = mark.header.height.number();
        if height <= self.executor.height() || height > self.to {
            return Ok(());
        }
        let (header, payload) = body
            .filter(|(header, _)| *header == mark.header)
            .ok_or_else(|| format!("the block of height {height} is not where its mark says"))?;
        let block = FinalBlock {
            id: header.id(),
            header,
            payload,
            path: None,
            final_ns: 0,
            admitted: Vec::new(),
        };
        let on_command = &mut self.on_command;
        let watch = |executor: &mut _, _| {
            if let Some(on_command) = on_command {
                on_command(executor, height);
            }
        };
        self.executor
            .execute_watched(&block, &mut self.results, watch)
            .map_err(|error| error.to_string())?;
        self.hash_results();
        (self.on_block)(&mut self.executor, &block, &self.results);
        Ok(())
    }

    /// Everything of a block's results that is the same at every validator.
    fn hash_results(&mut self) {
        let (hash, results) = (&mut self.outputs_hash, &self.results);
        hash.update(&results.height.to_le_bytes());
        for command in &results.commands {
            hash.update(&command.session.0)
                .update(&command.seq.to_le_bytes())
                .update(&[command.outcome as u8]);
        }
        for output in results.outputs() {
            match output.audience {
                Audience::Session(session) => hash.update(&[1]).update(&session.0),
                Audience::Public => hash.update(&[0]),
            };
            hash.update(&(output.bytes.len() as u64).to_le_bytes())
                .update(output.bytes);
        }
        let [blocks, commands, outputs] = &mut self.counts;
        *blocks += 1;
        *commands += results.commands.len() as u64;
        *outputs += results.outputs_len() as u64;
    }

    /// The state as it stands, and the hash over all outputs so far.
    pub(crate) fn finish(self) -> (Executor<Hosted>, [u8; 32]) {
        (self.executor, *self.outputs_hash.finalize().as_bytes())
    }
}

#[cfg(test)]
#[path = "replay_tests.rs"]
mod tests;
