//! From a data folder to where a run may begin (R12).
//!
//! Owns what a start reads, in which order, and what must be durable before the first frame: the
//! lease is read, the log is opened and read whole, finalized blocks are executed again, the lease
//! file is rewritten by `restart::plan`, and the clean-stop marker of the last run is removed.
//! A log whose lease is lost makes the run begin with R13, which finds a new one from what peers
//! know. A folder without either is refused until an operator has said that it was lost: lost state
//! is not empty state. Never: votes, repairs a damaged log, or makes a lease that allows anything.

use std::collections::{BTreeMap, VecDeque};
use std::io;

use quorate_consensus::certificate::Certificate;
use quorate_consensus::header::Header;
use quorate_consensus::machine::{Durability, Restored};
use quorate_consensus::record::{OwnRecord, Record};
use quorate_consensus::restart;
use quorate_consensus::types::{BlockId, Point, Window};
use quorate_consensus::validators::ValidatorSet;
use quorate_log::{
    CleanStopRead, DataFolder, LeaseError, LeaseFile, LeaseRead, LogConfig, MarkedFaulty,
    OpenError, Opened, Preparer, Pruner, ReadError, Reader, RecordIndex, RecordKind, RecordRef,
    Row, SealDamage, Writer, remove_clean_stop,
};

use crate::executor::{ExecuteError, Executor, FinalBlock};
use crate::hex;
use crate::journal::{
    BLOCK_ENTRY_BYTES, EntryError, FinalMark, JournalEntry, JournalStart, SyncWorker, decode,
};
pub use crate::lease::declare_lost;
use crate::lease::{open_log, own_lease, plan, read_lease};
use crate::results::BlockResults;
use crate::salvage::Salvage;
use crate::snapshot::{self, Origin, SnapshotError, SnapshotFolder};
use crate::state_machine::StateMachine;
use crate::store::{Store, StoreError};

/// Proofs above the last finality mark that are kept while the log is read.
const PROOFS_AHEAD_MAX: usize = 1_024;

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
    /// Header of the block after which the executor stands already, by a snapshot.
    pub snapshot: Option<Header>,
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
         height or above to begin with: bring one back from a copy, or say that the disk of this \
         validator is lost"
    )]
    BaseMissing {
        /// Height of the first mark in the log, or of one whose block is needed and gone.
        first: u64,
    },
    /// A snapshot is whole and cannot be restored.
    #[error("a snapshot cannot be restored: {0}")]
    Snapshot(#[from] SnapshotError),
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

/// Brings the executor to the newest snapshot that is whole, and says of which block it is; none
/// when there is no such snapshot. A damaged one costs the time to execute more of the log.
///
/// # Errors
/// [`RecoveryError::Snapshot`] when a whole one is not taken by the application, or is foreign.
pub fn restore_newest<S: StateMachine>(
    folder: &SnapshotFolder,
    set: &ValidatorSet,
    executor: &mut Executor<S>,
) -> Result<Option<Header>, RecoveryError> {
    let origin = Origin::of(set);
    for height in folder.heights()?.into_iter().rev() {
        match snapshot::restore(executor, height, &origin, folder) {
            Ok(manifest) => return Ok(Some(manifest.header)),
            Err(
                error @ (SnapshotError::Io { .. }
                | SnapshotError::Manifest { .. }
                | SnapshotError::Length { .. }
                | SnapshotError::Chunk { .. }),
            ) => {
                tracing::warn!(height, %error, "a snapshot is damaged: an older one is tried");
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(None)
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

/// Reads the folder and makes it ready for this run. `executor` stands at genesis and is brought
/// to the last finality mark of the log.
///
/// # Errors
/// [`RecoveryError`]: the validator must not start; the folder is no worse than before.
pub fn recover<S: StateMachine>(
    folder: &DataFolder,
    config: &RecoveryConfig<'_>,
    set: &ValidatorSet,
    executor: &mut Executor<S>,
) -> Result<Recovered, RecoveryError> {
    let mut lease_file = LeaseFile::new(folder);
    let mut content = own_lease(folder, &lease_file, config)?;
    let opened = open_log(
        folder,
        &mut lease_file,
        &mut content,
        &config.log,
        config.genesis,
    )?;
    let Opened {
        writer,
        syncer,
        preparer,
        reader,
        pruner,
        recovery,
    } = opened;
    check_segments(config, writer.payload_bytes_max())?;
    check_initialized(&lease_file, recovery.end.index.count())?;
    let mut scan = Scan::new(set, Store::new(reader.clone(), config.cache_bytes_max));
    scan.snapshot = config.snapshot;
    scan.read_log(&reader, executor)?;
    scan.check_snapshot()?;
    scan.store
        .set_salvage(Salvage::collect(&reader, scan.finalized.height));

    let content = plan(content, &recovery, config);
    lease_file.replace(&content.encode())?;
    // Only now: had the marker gone first, a crash in between would count as an unclean stop.
    remove_clean_stop(folder).map_err(|source| RecoveryError::Io {
        action: "remove the clean-stop marker",
        source,
    })?;

    let summary = RecoverySummary {
        records: recovery.end.index.count(),
        height: executor.height(),
        snapshot: config.snapshot.map_or(0, |header| header.height.number()),
        row: recovery.row,
        clean_stop: recovery.clean_stop == CleanStopRead::Matches,
        cut_bytes: recovery.cut.map_or(0, |cut| cut.cut_bytes),
        marked: recovery.marked,
        lease: content,
    };
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
        snapshot_mark,
        summary,
    })
}

/// A block met in the log.
#[derive(Clone, Copy, Debug)]
struct Logged {
    header: Header,
    place: RecordRef,
}

/// What has been learnt from the log so far.
#[derive(Debug)]
struct Scan {
    store: Store,
    /// Blocks of windows from the proven one upward.
    blocks: BTreeMap<(Window, BlockId), Logged>,
    /// Newest own record of each such window.
    records: BTreeMap<Window, Record>,
    finalized: Point,
    finalized_time_ns: u64,
    newest_mark: Option<RecordRef>,
    proven: Point,
    proof: Option<Certificate>,
    /// Proofs of blocks that no mark has reached yet. Bound: `PROOFS_AHEAD_MAX`.
    proofs_ahead: VecDeque<(Point, Certificate)>,
    results: BlockResults,
    /// Blocks up to this one are in the executor's state already.
    snapshot: Option<Header>,
    snapshot_mark: Option<RecordRef>,
    /// Where the log begins; what stood before was pruned.
    start: RecordRef,
}

impl Scan {
    fn new(set: &ValidatorSet, store: Store) -> Self {
        Self {
            blocks: BTreeMap::new(),
            records: BTreeMap::new(),
            finalized: set.genesis(),
            finalized_time_ns: set.genesis_time_ns(),
            newest_mark: None,
            proven: set.genesis(),
            proof: None,
            proofs_ahead: VecDeque::new(),
            results: BlockResults::new(),
            snapshot: None,
            snapshot_mark: None,
            start: store.log_start(),
            store,
        }
    }

    /// A snapshot is taken of what is synced, so the log has its block.
    fn check_snapshot(&self) -> Result<(), RecoveryError> {
        match self.snapshot {
            Some(header) if header.height > self.finalized.height => {
                Err(RecoveryError::SnapshotAhead {
                    snapshot: header.height.number(),
                    log: self.finalized.height.number(),
                })
            }
            _ => Ok(()),
        }
    }

    fn read_log<S: StateMachine>(
        &mut self,
        reader: &Reader,
        executor: &mut Executor<S>,
    ) -> Result<(), RecoveryError> {
        for record in reader.iter() {
            let record = record?;
            if record.kind() == RecordKind::GENESIS {
                continue;
            }
            let place = record.place();
            let entry = decode(record.kind(), &record)
                .map_err(|source| RecoveryError::Entry { place, source })?;
            match entry {
                JournalEntry::Block { header, .. } => self.add_block(header, place),
                JournalEntry::Record { own, .. } => {
                    self.records.insert(own.window, own.record);
                }
                JournalEntry::Finalized(mark) => self.add_mark(place, &mark, executor)?,
                JournalEntry::Proof { point, proof } => self.add_proof(place, point, proof),
                JournalEntry::Evidence(_) | JournalEntry::Answer { .. } => {}
            }
        }
        Ok(())
    }

    fn add_block(&mut self, header: Header, place: RecordRef) {
        let id = header.id();
        // A block that was fetched again stands where it stood first.
        self.blocks
            .entry((header.window, id))
            .or_insert(Logged { header, place });
        self.store.add_block(id, header, None);
        self.store.note_block(id, place);
    }

    fn add_mark<S: StateMachine>(
        &mut self,
        place: RecordRef,
        mark: &FinalMark,
        executor: &mut Executor<S>,
    ) -> Result<(), RecoveryError> {
        let order = |what| Err(RecoveryError::Order { place, what });
        self.check_follows(place, mark)?;
        let header = mark.header;
        let id = header.id();
        let is_in_state = self
            .snapshot
            .is_some_and(|base| header.height <= base.height);
        // The mark of a block may stand in a kept segment, and its body in a pruned one.
        let payload = if mark.block < self.start {
            if !is_in_state {
                let first = header.height.number();
                return Err(RecoveryError::BaseMissing { first });
            }
            None
        } else {
            let block = self.store.read_block(mark.block)?;
            if block.header != header {
                return order("a finality mark names another block");
            }
            Some(block.payload)
        };
        match self.snapshot {
            Some(base) if base.height == header.height && base != header => {
                return order("a snapshot is of another block than the log has there");
            }
            Some(base) if base.height == header.height => self.snapshot_mark = Some(place),
            Some(base) if base.height > header.height => {}
            _ => {
                let payload = payload.unwrap_or_default();
                let block = FinalBlock {
                    id,
                    header,
                    payload,
                    path: None,
                    admitted: Vec::new(),
                };
                executor.execute(&block, &mut self.results)?;
            }
        }
        self.store.finalize(id, &header);
        self.store.note_mark(header.height, place);
        self.newest_mark = Some(place);
        self.finalized = header.point(id);
        self.finalized_time_ns = header.time_ns;
        self.advance_proven();
        Ok(())
    }

    /// The first mark of a pruned log follows what is gone, and is of the snapshot's state.
    fn check_follows(&self, place: RecordRef, mark: &FinalMark) -> Result<(), RecoveryError> {
        let order = |what| Err(RecoveryError::Order { place, what });
        let is_first = self.newest_mark.is_none() && self.start.index != RecordIndex::GENESIS;
        if is_first && mark.below.is_some_and(|below| below < self.start) {
            let first = mark.header.height;
            return match self.snapshot {
                Some(base) if base.height >= first => Ok(()),
                _ => Err(RecoveryError::BaseMissing {
                    first: first.number(),
                }),
            };
        }
        if mark.header.height != self.finalized.height.next() {
            return order("a finality mark skips a height");
        }
        if mark.header.parent_id != self.finalized.id {
            return order("a finalized block does not follow the one below");
        }
        if mark.below != self.newest_mark {
            return order("a finality mark does not name the one below");
        }
        Ok(())
    }

    fn add_proof(&mut self, place: RecordRef, point: Point, proof: Certificate) {
        self.store.note_proof(point.height, place);
        if self.proofs_ahead.len() == PROOFS_AHEAD_MAX {
            self.proofs_ahead.pop_front();
        }
        self.proofs_ahead.push_back((point, proof));
        self.advance_proven();
    }

    /// The newest proof at or below the last finality mark counts; what stands below its window
    /// is not needed any more.
    fn advance_proven(&mut self) {
        let mut is_new = false;
        while let Some((point, _)) = self.proofs_ahead.front() {
            if point.height > self.finalized.height {
                break;
            }
            let Some((point, proof)) = self.proofs_ahead.pop_front() else {
                break;
            };
            if point.height > self.proven.height {
                self.proven = point;
                self.proof = Some(proof);
                is_new = true;
            }
        }
        if is_new {
            let window = self.proven.window;
            self.blocks = self.blocks.split_off(&(window, BlockId::new([0; 32])));
            self.records = self.records.split_off(&window);
            // What was abandoned long ago is with the pools of those who led since.
            drop(self.store.prune(window));
        }
    }

    fn finish(self, lease: quorate_consensus::trust::Lease) -> (Restored, Store, JournalStart) {
        let mut blocks: Vec<_> = self
            .blocks
            .iter()
            .map(|(&(_, id), logged)| (logged.place, id, logged.header))
            .collect();
        blocks.sort_by_key(|&(place, _, _)| place);
        let restored = Restored {
            lease,
            finalized: self.finalized,
            finalized_time_ns: self.finalized_time_ns,
            proven: self.proven,
            proof: self.proof,
            records: self
                .records
                .into_iter()
                .map(|(window, record)| OwnRecord { window, record })
                .collect(),
            blocks: blocks
                .into_iter()
                .map(|(_, id, header)| (id, header))
                .collect(),
        };
        let journal = JournalStart {
            blocks: self
                .blocks
                .into_iter()
                .map(|(key, logged)| (key, logged.place))
                .collect(),
            newest_mark: self.newest_mark,
        };
        (restored, self.store, journal)
    }
}
