//! From a data folder to where a run may begin (R12).
//!
//! Owns what a start reads, in which order, and what must be durable before the first frame: the
//! lease is read, the log is opened and read whole, then finalized blocks are executed again, the
//! lease file is rewritten by `restart::plan`, and the clean-stop marker of the last run removed.
//! A log whose lease is lost makes the run begin with R13, which finds a new one from what peers
//! know. A folder without either is refused until an operator has said that it was lost: lost state
//! is not empty state. Never: votes, repairs a damaged log, or makes a lease that allows anything.

mod scan;

use std::io;

use quorate_consensus::header::Header;
use quorate_consensus::machine::{Durability, Restored};
use quorate_consensus::restart;
use quorate_consensus::validators::ValidatorSet;
use quorate_consensus::wire;
use quorate_log::{
    CleanStopRead, DataFolder, LeaseError, LeaseFile, LeaseRead, LogConfig, LogError, MarkedFaulty,
    OpenError, Opened, Preparer, Pruner, ReadError, Reader, RecordRef, Recovery, Row, Scrubber,
    SealDamage, Syncer, Writer, remove_clean_stop,
};

use self::scan::Scan;
use crate::begins::BeginsError;
use crate::executor::{ExecuteError, Executor, SectionsError};
use crate::hex;
use crate::join;
use crate::journal::{
    BLOCK_ENTRY_BYTES, EntryError, JournalStart, KIND_BASE, SyncWorker, encode_base,
};
pub use crate::lease::declare_lost;
use crate::lease::{open_log, own_lease, plan, read_lease};
use crate::snapshot::{self, Manifest, Origin, SnapshotError, SnapshotFolder};
use crate::state_machine::StateMachine;
use crate::store::{Store, StoreError};

/// What a start is given besides the folder.
#[derive(Clone, Debug)]
pub struct RecoveryConfig<'a> {
    /// How the log is laid out.
    pub log: LogConfig,
    /// The exact bytes of the genesis file: record 0 of the log.
    pub genesis: &'a [u8],
    /// Configured durability.
    pub durability: Durability,
    /// Present boot of this machine.
    pub boot_id: [u8; 16],
    /// The number of this start is at least this.
    pub incarnation_min: u64,
    /// Public key of the validator that is to start.
    pub own: [u8; 32],
    /// Bytes of the largest payload of this chain.
    pub payload_bytes_max: usize,
    /// Bytes of payloads kept in memory.
    pub cache_bytes_max: usize,
    /// The snapshot of which the executor has the state already.
    pub snapshot: Option<SnapshotBase>,
}

/// A snapshot that was restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotBase {
    /// Header of the block after which the state was taken.
    pub header: Header,
    /// Its root.
    pub root: [u8; 32],
    /// Beside it lies a certificate that holds: peers vouch for it.
    pub is_certified: bool,
    /// It is noted to have come from peers: the log need not reach it.
    pub is_fetched: bool,
}

/// Why a validator cannot start from this folder.
#[derive(Debug, thiserror::Error)]
pub enum RecoveryError {
    /// There is neither a lease file nor a log. A key that has never signed is given both by
    /// initializing the folder; for one that has, an operator says that its disk is lost.
    #[error(
        "the folder has no lease file and no log of this validator: initialize it if this key has \
         never signed; if it has, say that its disk is lost"
    )]
    LeaseMissing,
    /// The lease file is not what was written, and there is no log beside it.
    #[error(
        "the lease file is damaged ({0:?}) and there is no log beside it: say that the disk of this \
         validator is lost"
    )]
    LeaseDamaged(Option<SealDamage>),
    /// The folder is another validator's: its records are not this one's word.
    #[error(
        "the folder belongs to the validator with the key {}, this one has {}",
        hex::encode(owner),
        hex::encode(own)
    )]
    OtherValidator {
        /// Key of the validator that the lease was written for.
        owner: [u8; 32],
        /// Key of the validator that was to start.
        own: [u8; 32],
    },
    /// The folder has been initialized before.
    #[error("the folder is initialized already")]
    AlreadyInitialized,
    /// The folder holds a log with more than a genesis, but no lease.
    #[error(
        "the folder has no lease but a log of {records} records: this key may have signed; start \
             it, it recovers from what its peers know"
    )]
    LogWithoutLease {
        /// Records in the log.
        records: u64,
    },
    /// A sync failed while the log was opened: what was written before may be gone although it
    /// can be read now.
    #[error(
        "{source}: {}{}",
        std::error::Error::source(source).map_or_else(String::new, ToString::to_string),
        if *is_noted { "" } else { ", and no note of it could be left" }
    )]
    NotSynced {
        /// Whether the lease file says so to the next start. If not, a supervisor must not start
        /// this validator again.
        is_noted: bool,
        /// What the log says.
        #[source]
        source: OpenError,
    },
    /// The log cannot be opened: another genesis, damage, another process.
    #[error("the log cannot be opened: {0}")]
    Log(#[from] OpenError),
    /// A record cannot be read.
    #[error("the log cannot be read: {0}")]
    Read(#[from] ReadError),
    /// A record is none of ours.
    #[error("the record at {} is not one of this version: {source}", place.offset)]
    Entry {
        /// Where it stands.
        place: RecordRef,
        /// What is wrong.
        #[source]
        source: EntryError,
    },
    /// The records contradict one another, which no crash explains.
    #[error("the record at {} does not follow from those before it: {what}", place.offset)]
    Order {
        /// Where it stands.
        place: RecordRef,
        /// What is wrong.
        what: &'static str,
    },
    /// A finalized block cannot be executed again.
    #[error("a finalized block cannot be executed again: {0}")]
    Execute(#[from] ExecuteError),
    /// The newest snapshot is of a block that the log does not reach.
    #[error(
        "the snapshot of height {snapshot} is ahead of the log, which ends at {log}: this log has \
         lost its end, or the snapshot is another validator's"
    )]
    SnapshotAhead {
        /// Height of the snapshot.
        snapshot: u64,
        /// Height of the last finality mark.
        log: u64,
    },
    /// The log does not go back to the state that the run would begin with.
    #[error(
        "the log begins at height {first}, above genesis, and there is no whole snapshot of that \
         height or above to begin with. If a copy of the folder snapshots has one (`quorate snapshot \
         list`), put it back beside the log and start again. If not, move the data folder away, say \
         `quorate recover disk --config FILE`, and start: the validator asks its peers what it has \
         said, and begins with a snapshot of theirs"
    )]
    BaseMissing {
        /// Height of the first mark in the log, or of one whose block is needed and gone.
        first: u64,
    },
    /// The application has sections that no state is told of by.
    #[error(transparent)]
    Sections(#[from] SectionsError),
    /// A snapshot is whole and cannot be restored.
    #[error("a snapshot cannot be restored: {}", .0.with_remedy())]
    Snapshot(#[from] SnapshotError),
    /// The chain begins with a state that is not here, or not the right one.
    #[error(transparent)]
    Begins(#[from] Box<BeginsError>),
    /// The log does not take the snapshot of peers that it is to go on from.
    #[error(
        "the log cannot go on from the snapshot of peers: {source}{}",
        if *is_noted { "" } else { ", and no note of it could be left" }
    )]
    Base {
        /// Whether the next start will know, if a sync has failed. If not, a supervisor must not
        /// start this validator again.
        is_noted: bool,
        /// What the log says.
        #[source]
        source: LogError,
    },
    /// A block in the log is not what its mark says.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// The largest block would not fit a segment.
    #[error("a log record holds {record_bytes_max} bytes, the largest block takes {block_bytes}")]
    SegmentsTooSmall {
        /// What one record holds.
        record_bytes_max: usize,
        /// What the largest block of this chain takes.
        block_bytes: usize,
    },
    /// The lease file could not be replaced.
    #[error("the lease file cannot be written: {0}")]
    LeaseWrite(#[from] LeaseError),
    /// The system refuses a file of the folder.
    #[error("cannot {action}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// What the system says.
        #[source]
        source: io::Error,
    },
}

/// What recovery found, for the log line of a start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoverySummary {
    /// Records in the log.
    pub records: u64,
    /// Height up to which blocks were executed again.
    pub height: u64,
    /// Height of the snapshot that they were executed on; 0 for genesis.
    pub snapshot: u64,
    /// Whether this start made the log go on from that snapshot, for which peers vouch.
    pub is_joined: bool,
    /// What the end of the log was found to be.
    pub row: Row,
    /// Whether the last run stopped cleanly.
    pub clean_stop: bool,
    /// Bytes of a torn tail that were cut off.
    pub cut_bytes: u64,
    /// Parts of the log that are marked faulty, found by this start or an earlier one.
    pub marked: Vec<MarkedFaulty>,
    /// The lease file as this run wrote it.
    pub lease: restart::LeaseFile,
}

/// Everything a run begins with.
#[derive(Debug)]
pub struct Recovered {
    /// For the consensus.
    pub restored: Restored,
    /// For the order stage.
    pub store: Store,
    /// For the journal stage.
    pub journal: JournalStart,
    /// The appending end of the log.
    pub writer: Writer,
    /// For the sync thread.
    pub sync: SyncWorker,
    /// Makes the next segment ready, on a thread of its own or between turns.
    pub preparer: Preparer,
    /// Reads the log, for a shadow.
    pub reader: Reader,
    /// Removes the oldest segments of the log.
    pub pruner: Pruner,
    /// Looks at what the disk has of the log.
    pub scrubber: Scrubber,
    /// Where the mark of the snapshot's block stands.
    pub snapshot_mark: Option<RecordRef>,
    /// What was found.
    pub summary: RecoverySummary,
}

/// Makes a folder ready for a key that has never signed: an empty log and a lease of `owner`, its
/// public key, for no window.
/// An operator's act, never a part of a start.
///
/// # Errors
/// [`RecoveryError::AlreadyInitialized`], [`RecoveryError::LogWithoutLease`], or what the system
/// says. A folder that an interrupted call left behind can be initialized again.
pub fn initialize(
    folder: &DataFolder,
    log: &LogConfig,
    genesis: &[u8],
    boot_id: [u8; 16],
    owner: [u8; 32],
) -> Result<(), RecoveryError> {
    let mut lease_file = LeaseFile::new(folder);
    match read_lease(&lease_file)? {
        LeaseRead::Missing => {}
        LeaseRead::Present(_) | LeaseRead::Damaged(_) => {
            return Err(RecoveryError::AlreadyInitialized);
        }
    }
    let opened = quorate_log::open(folder, log, genesis)?;
    let records = opened.recovery.end.index.count();
    if records > 1 {
        return Err(RecoveryError::LogWithoutLease { records });
    }
    drop(opened);
    let content = restart::LeaseFile {
        boot_id,
        owner,
        ..restart::LeaseFile::default()
    };
    lease_file.replace(&content.encode())?;
    Ok(())
}

/// Whether a snapshot is of peers is noted beside it. The note alone proves nothing: a certificate
/// does. One of the two that cannot be read is none.
fn base_of(folder: &SnapshotFolder, set: &ValidatorSet, manifest: &Manifest) -> SnapshotBase {
    let height = manifest.height();
    let unread = |error: SnapshotError| {
        tracing::warn!(height, %error, "what lies beside a snapshot is passed over");
    };
    let is_fetched = folder.is_fetched(manifest).map_err(unread);
    let bytes = folder.certificate(height).map_err(unread);
    let bytes = bytes.unwrap_or_default();
    let certificate = bytes.and_then(|bytes| wire::decode_state_certificate(&bytes).ok());
    let holds = |certificate: &_| join::believe(set, certificate, manifest).is_ok();
    SnapshotBase {
        header: manifest.header,
        root: manifest.root(),
        is_certified: certificate.as_ref().is_some_and(holds),
        is_fetched: is_fetched.unwrap_or_default(),
    }
}

/// What was read of a snapshot, or none where it is damaged.
///
/// # Errors
/// It cannot be read now, or by this user: that says nothing of what is there.
fn unless_damaged<T>(
    height: u64,
    read: Result<T, SnapshotError>,
) -> Result<Option<T>, SnapshotError> {
    match read {
        Err(error) if error.is_damage() => {
            tracing::warn!(height, %error, "a part of a snapshot is damaged, and passed over");
            Ok(None)
        }
        read => read.map(Some),
    }
}

/// Whether a certificate that holds lies beside the manifest of a snapshot. One without is removed
/// where it stands above damage.
fn is_certified(
    folder: &SnapshotFolder,
    set: &ValidatorSet,
    height: u64,
) -> Result<bool, SnapshotError> {
    let manifest = unless_damaged(height, folder.manifest(height))?;
    let has_certificate = unless_damaged(height, folder.certificate(height))?.flatten();
    let parts = manifest.zip(has_certificate);
    Ok(parts.is_some_and(|(manifest, _)| base_of(folder, set, &manifest).is_certified))
}

/// Brings the executor to the newest snapshot that is whole, and says which one it is; none when
/// there is no such snapshot. A damaged one costs the time to execute more of the log.
///
/// `reach` is the height that a log leads to which has lost something: above it a snapshot is of
/// use only if peers vouch for it. None of a log that has lost nothing.
///
/// # Errors
/// [`RecoveryError::Snapshot`] when a whole one is not taken by the application, is foreign, or
/// cannot be read for want of descriptors, memory or rights.
pub fn restore_newest<S: StateMachine>(
    folder: &SnapshotFolder,
    set: &ValidatorSet,
    executor: &mut Executor<S>,
    reach: Option<u64>,
) -> Result<Option<SnapshotBase>, RecoveryError> {
    let origin = Origin::of(set);
    // The state is what came of a snapshot that the disk gave in part.
    let mut has_begun = false;
    let mut failed = None;
    for height in folder.heights()?.into_iter().rev() {
        if reach.is_some_and(|reach| height > reach) && !is_certified(folder, set, height)? {
            tracing::warn!(
                height,
                "nobody vouches for a snapshot above damage: an older one is tried"
            );
            continue;
        }
        let parts = (folder, &mut has_begun);
        match snapshot::restore_noting(executor, height, &origin, parts) {
            Ok(manifest) => return Ok(Some(base_of(folder, set, &manifest))),
            Err(error) if error.is_damage() => {
                tracing::warn!(height, %error, "a snapshot is damaged: an older one is tried");
                failed = Some(error);
            }
            Err(error) => return Err(error.into()),
        }
    }
    failed
        .filter(|_| has_begun)
        .map_or(Ok(None), |error| Err(error.into()))
}

/// A block of the largest payload has to fit into a record.
fn check_segments(
    config: &RecoveryConfig<'_>,
    record_bytes_max: usize,
) -> Result<(), RecoveryError> {
    let block_bytes = BLOCK_ENTRY_BYTES + config.payload_bytes_max;
    if block_bytes > record_bytes_max {
        return Err(RecoveryError::SegmentsTooSmall {
            record_bytes_max,
            block_bytes,
        });
    }
    Ok(())
}

/// A log of a genesis alone is what an interrupted initialization leaves: nothing was said.
fn check_initialized(lease_file: &LeaseFile, records: u64) -> Result<(), RecoveryError> {
    if records <= 1 && matches!(read_lease(lease_file)?, LeaseRead::Missing) {
        return Err(RecoveryError::LeaseMissing);
    }
    Ok(())
}

/// Reads the folder and makes it ready for this run. `executor` stands at genesis, or at the state
/// of `config.snapshot`, and is brought to the last finality mark of the log.
///
/// # Errors
/// [`RecoveryError`]: the validator must not start; the folder is no worse than before.
pub fn recover<S: StateMachine>(
    folder: &DataFolder,
    config: &RecoveryConfig<'_>,
    set: &ValidatorSet,
    executor: &mut Executor<S>,
) -> Result<Recovered, RecoveryError> {
    OpenFolder::open(folder, config)?.recover(config.snapshot, set, executor)
}

/// A folder whose lease is read and whose log is open, of which nothing was executed yet: what the
/// log is tells which snapshot to begin with.
pub(crate) struct OpenFolder<'a> {
    folder: &'a DataFolder,
    config: &'a RecoveryConfig<'a>,
    lease_file: LeaseFile,
    content: restart::LeaseFile,
    opened: Opened,
}

impl<'a> OpenFolder<'a> {
    /// Reads the lease and opens the log under it.
    ///
    /// # Errors
    /// As [`recover`].
    pub(crate) fn open(
        folder: &'a DataFolder,
        config: &'a RecoveryConfig<'a>,
    ) -> Result<Self, RecoveryError> {
        let mut lease_file = LeaseFile::new(folder);
        let mut content = own_lease(folder, &lease_file, config)?;
        let opened = open_log(
            folder,
            &mut lease_file,
            &mut content,
            &config.log,
            config.genesis,
        )?;
        check_segments(config, opened.writer.payload_bytes_max())?;
        check_initialized(&lease_file, opened.recovery.end.index.count())?;
        Ok(Self {
            folder,
            config,
            lease_file,
            content,
            opened,
        })
    }

    /// The height that the log leads to, when what followed is damaged and nothing was appended
    /// behind the damage yet; none of a log that has lost nothing.
    ///
    /// # Errors
    /// A record cannot be read, or is none of ours.
    pub(crate) fn reach(&self) -> Result<Option<u64>, RecoveryError> {
        if self.opened.recovery.is_unvouched {
            scan::height_of(&self.opened.reader).map(Some)
        } else {
            Ok(None)
        }
    }

    /// Makes the folder ready for this run; as [`recover`], beginning with `snapshot`.
    ///
    /// # Errors
    /// As [`recover`].
    pub(crate) fn recover<S: StateMachine>(
        self,
        snapshot: Option<SnapshotBase>,
        set: &ValidatorSet,
        executor: &mut Executor<S>,
    ) -> Result<Recovered, RecoveryError> {
        let Self {
            folder,
            config,
            mut lease_file,
            content,
            opened,
        } = self;
        let Opened {
            mut writer,
            mut syncer,
            preparer,
            reader,
            pruner,
            scrubber,
            recovery,
        } = opened;
        let store = Store::new(reader.clone(), config.cache_bytes_max);
        let mut scan = Scan::new(set, store, snapshot);
        scan.read_log(&reader)?;
        let base = scan.go_on(recovery.is_unvouched)?;
        scan.execute(executor)?;
        scan.collect_salvage(&reader);

        let content = plan(content, &recovery, scan.said_in(), config);
        lease_file.replace(&content.encode())?;
        // Only now: had the marker gone first, a crash in between would count as an unclean stop.
        remove_clean_stop(folder).map_err(|source| RecoveryError::Io {
            action: "remove the clean-stop marker",
            source,
        })?;

        if let Some(base) = base {
            let place = append_base(&base, &mut writer, &mut syncer);
            scan.snapshot_mark = Some(place.map_err(|source| {
                // The next start does not trust what a failed sync left in memory.
                let is_short = |error: &_| {
                    matches!(error, LogError::NoSegment { .. } | LogError::NoRoom { .. })
                };
                let suspect = !is_short(&source);
                let note = restart::LeaseFile { suspect, ..content };
                let is_noted = !suspect || lease_file.replace(&note.encode()).is_ok();
                RecoveryError::Base { is_noted, source }
            })?);
        }

        let reached = (executor.height(), base.is_some());
        let summary = summarize(recovery, snapshot, reached, content);
        let snapshot_mark = scan.snapshot_mark;
        let (restored, store, journal) = scan.finish(content.lease);
        let sync = SyncWorker::new(syncer, lease_file, content);
        Ok(Recovered {
            restored,
            store,
            journal,
            writer,
            sync,
            preparer,
            reader,
            pruner,
            scrubber,
            snapshot_mark,
            summary,
        })
    }
}

fn summarize(
    recovery: Recovery,
    snapshot: Option<SnapshotBase>,
    (height, is_joined): (u64, bool),
    lease: restart::LeaseFile,
) -> RecoverySummary {
    let snapshot = snapshot.map(|base| base.header.height.number());
    RecoverySummary {
        records: recovery.end.index.count(),
        height,
        snapshot: snapshot.unwrap_or(0),
        is_joined,
        row: recovery.row,
        clean_stop: recovery.clean_stop == CleanStopRead::Matches,
        cut_bytes: recovery.cut.map_or(0, |cut| cut.cut_bytes),
        marked: recovery.marked,
        lease,
    }
}

/// Notes in the log that it goes on from a snapshot of peers, durably.
fn append_base(
    base: &SnapshotBase,
    writer: &mut Writer,
    syncer: &mut Syncer,
) -> Result<RecordRef, LogError> {
    let mut bytes = Vec::new();
    encode_base(&base.header, &base.root, &mut bytes);
    let place = writer.append(KIND_BASE, &[&bytes])?;
    syncer.sync(writer.unsynced())?;
    Ok(place)
}
