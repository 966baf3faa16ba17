//! A second instance of the application, fed from the log, that snapshots are taken of.
//!
//! Owns the reading of the log behind the finalized order and the taking of snapshots at their
//! heights. The application that serves clients is never stopped, locked or copied: its thread does
//! not know that a snapshot is taken. Never: threads of its own (`stages::shadow`), votes, or
//! records that a power cut could take back: it reads what is synced.
//!
//! It executes what the first instance does, so that two roots of one height that differ on one
//! machine show an application that is not deterministic.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use quorate_consensus::attestation::{StateCertificate, StateStatement};
use quorate_consensus::header::Header;
use quorate_consensus::types::{Height, Point, Window};
use quorate_consensus::validators::ValidatorSet;
use quorate_consensus::wire;
use quorate_log::{Fault, PruneError, ReadError, Reader, RecordRef};

use crate::archive::Archived;
use crate::begins::{BeginsError, FirstState};
use crate::drift;
use crate::executor::{ExecuteError, Executor, FinalBlock};
use crate::journal::{EntryError, FinalMark, JournalEntry, KIND_FINALIZED, KIND_PROOF, decode};
use crate::pruning::{Needed, Pruned, Pruning};
use crate::results::BlockResults;
use crate::snapshot::{self, Manifest, Origin, SnapshotError, SnapshotFolder};
use crate::snapshot_schedule::SnapshotSchedule;
use crate::stages::aside;
use crate::state_machine::StateMachine;

/// Which snapshots are taken, and how many are kept.
#[derive(Clone, Debug)]
pub struct SnapshotPolicy {
    /// Folder of the snapshots.
    pub folder: SnapshotFolder,
    /// A snapshot is taken after every block whose height is a multiple of this, which is itself
    /// one of 64; never when 0. After fewer of them while the peers do not keep up with attesting.
    pub every_heights: u64,
    /// How many are kept, at least 1; the newest one that is attested stays besides.
    pub keep: usize,
}

/// Why the shadow cannot go on. The validator can: it takes no snapshots any more in this run.
#[derive(Debug, thiserror::Error)]
pub enum ShadowError {
    /// A record cannot be read.
    #[error("the log cannot be read: {0}")]
    Read(#[from] ReadError),
    /// A record is none of ours.
    #[error("a record of the log is not one of this version: {0}")]
    Entry(#[from] EntryError),
    /// A mark does not name a block.
    #[error("the finality mark of height {height} names no block")]
    NoBlock {
        /// Its height.
        height: u64,
    },
    /// A block cannot be executed.
    #[error("a finalized block cannot be executed again: {0}")]
    Execute(#[from] ExecuteError),
    /// The folder of snapshots cannot be read.
    #[error("{0}")]
    Folder(SnapshotError),
    /// The snapshot to begin with cannot be restored.
    #[error("{}", .0.with_remedy())]
    Restore(SnapshotError),
    /// The state that the chain begins with cannot be restored.
    #[error("{0}")]
    Begins(#[from] BeginsError),
}

impl ShadowError {
    /// Whether it was the system that refused, of which what is asked again may be granted.
    pub(crate) fn may_pass(&self) -> bool {
        match self {
            Self::Folder(error)
            | Self::Restore(error)
            | Self::Begins(BeginsError::Snapshot(error)) => error.is_io(),
            _ => false,
        }
    }
}

/// What one call did.
#[derive(Debug)]
pub enum Progress {
    /// There is more to read.
    More,
    /// All that is synced has been read.
    Idle,
    /// The next record is damaged. It is read again once it was mended.
    Faulty(Fault),
    /// A snapshot was taken; this is to be attested.
    Taken(StateStatement),
    /// A snapshot was due and could not be taken. The next one may be.
    Failed(SnapshotError),
    /// The state does not come back from what the application writes of it, and there is no
    /// snapshot of it; or the disk refused to give it back, and there is none from before to go
    /// back to. Nor will there be one: this instance is what came of it.
    Forgotten(SnapshotError),
}

/// Makes an instance of the application in its first state, for each snapshot to be restored into.
pub(crate) struct Fresh<S>(Box<dyn Fn() -> Result<S, String> + Send>);

impl<S> Fresh<S> {
    pub(crate) fn new(make: impl Fn() -> Result<S, String> + Send + 'static) -> Self {
        Self(Box::new(make))
    }

    pub(crate) fn make(&self) -> Result<S, SnapshotError> {
        (self.0)().map_err(|what| SnapshotError::Instance { what })
    }
}

impl<S> fmt::Debug for Fresh<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fresh")
    }
}

/// The instance that a shadow begins with, and what makes others, if anything does.
pub(crate) struct Second<S>(pub(crate) S, pub(crate) Option<Fresh<S>>);

/// The second instance.
#[derive(Debug)]
pub struct Shadow<S> {
    executor: Executor<S>,
    reader: Reader,
    /// Where it reads next.
    next: RecordRef,
    /// The state that the chain begins with, if it goes on from another one.
    first: Option<FirstState>,
    /// The snapshot to begin with, and where its block's mark stands.
    base: Option<(u64, RecordRef)>,
    is_begun: bool,
    origin: Origin,
    folder: SnapshotFolder,
    policy: SnapshotPolicy,
    schedule: SnapshotSchedule,
    results: BlockResults,
    /// Snapshots of which it is known where the mark of their block stands, ascending.
    marks: Vec<(u64, RecordRef)>,
    /// The newest proof read of a block that was executed here: its window, and where it stands.
    proof: Option<(Window, RecordRef)>,
    /// The lowest proof read after that, of a block that was not executed yet.
    proof_ahead: Option<(Point, RecordRef)>,
    /// The snapshot that old segments may go for; it was read whole.
    kept: Option<(u64, RecordRef)>,
    pruning: Option<Pruning>,
    /// Which public events are durable besides.
    archived: Vec<Arc<Archived>>,
    /// Snapshots that peers are fetching, ascending.
    held: Vec<u64>,
    /// What a snapshot is restored into; none when that is the instance that it was taken of.
    fresh: Option<Fresh<S>>,
    /// The own snapshot was not restored, or not whole: the executor must not be used further.
    is_spoilt: bool,
    /// Writes and restores snapshots on a thread that gives way to all others.
    gives_way: bool,
}

impl<S: StateMachine> Shadow<S> {
    /// Begins at genesis, where `executor` stands, or with a snapshot: its height, and where its
    /// block's mark stands.
    ///
    /// # Errors
    /// [`ShadowError::Restore`] when the snapshot is not what it was when the validator started.
    pub fn new(
        executor: Executor<S>,
        set: &ValidatorSet,
        policy: SnapshotPolicy,
        reader: Reader,
        base: Option<(u64, RecordRef)>,
    ) -> Result<Self, ShadowError> {
        let mut shadow = Self::unbegun(executor, set, policy, reader, base);
        shadow.begin()?;
        Ok(shadow)
    }

    /// The same before it has asked anything of the disk, so that it can be told to
    /// [`begin`](Self::begin) again where that refuses.
    pub(crate) fn unbegun(
        executor: Executor<S>,
        set: &ValidatorSet,
        policy: SnapshotPolicy,
        reader: Reader,
        base: Option<(u64, RecordRef)>,
    ) -> Self {
        Self {
            executor,
            next: reader.start(),
            reader,
            first: None,
            base,
            is_begun: false,
            origin: Origin::of(set),
            folder: policy.folder.clone(),
            schedule: SnapshotSchedule::new(policy.every_heights),
            policy,
            results: BlockResults::new(),
            marks: base.into_iter().collect(),
            proof: None,
            proof_ahead: None,
            kept: None,
            pruning: None,
            archived: Vec::new(),
            held: Vec::new(),
            fresh: None,
            is_spoilt: false,
            gives_way: false,
        }
    }

    /// Begins with the state that the chain begins with, if it goes on from another one and there
    /// is no snapshot to begin with.
    #[must_use]
    pub(crate) fn with_first_state(mut self, first: Option<FirstState>) -> Self {
        self.first = first;
        self
    }

    /// Goes where it begins, if it is not there. After an error that
    /// [may pass](ShadowError::may_pass) it can be tried again: the state is restored whole.
    ///
    /// # Errors
    /// [`ShadowError`] when the folder cannot be read, or the state not be restored.
    pub(crate) fn begin(&mut self) -> Result<(), ShadowError> {
        if self.is_begun {
            return Ok(());
        }
        self.folder.clean().map_err(ShadowError::Folder)?;
        if let Some((height, mark)) = self.base {
            let (executor, origin, folder) = (&mut self.executor, &self.origin, &self.folder);
            let restore = move || snapshot::restore(executor, height, origin, folder);
            in_time(self.gives_way, restore).map_err(ShadowError::Restore)?;
            self.next = mark;
        } else if let Some(first) = &self.first {
            first.restore(&mut self.executor)?;
        }
        self.is_begun = true;
        Ok(())
    }

    /// To begin again, in another instance of the application, with the newest snapshot that was
    /// taken here; false where there is no such thing. What this one is now is of no use.
    fn go_back(&mut self) -> bool {
        let app = self.fresh.as_ref().map(Fresh::make);
        let (Some(&newest), Some(Ok(app))) = (self.marks.last(), app) else {
            return false;
        };
        self.executor.replace_app(app);
        self.base = Some(newest);
        (self.is_begun, self.is_spoilt) = (false, false);
        (self.proof, self.proof_ahead) = (None, None);
        true
    }

    /// Whether it stands where it begins, or has gone on from there.
    pub(crate) const fn is_begun(&self) -> bool {
        self.is_begun
    }

    /// Lets old segments of the log go, for snapshots of this shadow.
    #[must_use]
    pub(crate) fn with_pruning(mut self, pruning: Pruning) -> Self {
        self.pruning = Some(pruning);
        self
    }

    /// Takes no snapshot before what is archived is durable up to its block: a start from it does
    /// not come to that again.
    #[must_use]
    pub(crate) fn behind(mut self, archived: Vec<Arc<Archived>>) -> Self {
        self.archived = archived;
        self
    }

    /// Restores each snapshot into an instance that has nothing but what is in the snapshot, and
    /// goes on with that. Without it the instance that the snapshot is of is restored, and what
    /// `restore_section` does not touch stays in its place.
    #[must_use]
    pub(crate) fn afresh(mut self, fresh: Option<Fresh<S>>) -> Self {
        self.fresh = fresh;
        self
    }

    /// Lets the other threads of the process have the cores first while a snapshot is written and
    /// restored. How long that takes depends on the state alone, so nothing falls behind for it
    /// more and more; what is read of the log keeps its share, since pruning needs it.
    #[must_use]
    pub(crate) const fn giving_way(mut self) -> Self {
        self.gives_way = true;
        self
    }

    /// Peers are fetching the snapshots of these heights, ascending: neither they go, nor the log
    /// above them, which those peers need next.
    pub fn hold(&mut self, held: Vec<u64>) {
        self.held = held;
    }

    /// Height of the last block executed here; before it stands where it begins, of that.
    #[must_use]
    pub const fn height(&self) -> u64 {
        match self.base {
            Some((height, _)) if !self.is_begun => height,
            _ => self.executor.height(),
        }
    }

    /// The next height at which a snapshot is due; none when they are not taken at intervals, or
    /// not any more.
    #[must_use]
    pub fn next_due(&self) -> Option<u64> {
        let due = self.schedule.next_due(self.height());
        due.filter(|_| !self.is_spoilt)
    }

    /// Asks for a snapshot out of turn, of the newest state whose root is attested; `height` is
    /// that of the newest block.
    pub const fn ask(&mut self, height: u64) {
        self.schedule.ask(self.height(), height);
    }

    /// Reads on, over at most `records` records, until a snapshot is taken or nothing is left.
    ///
    /// # Errors
    /// [`ShadowError`]: this instance must not be used further.
    pub fn advance(&mut self, records: usize) -> Result<Progress, ShadowError> {
        self.begin()?;
        let mut iter = self.reader.iter_from(self.next);
        for _ in 0..records {
            if self.next.index >= self.reader.synced_index() {
                return Ok(Progress::Idle);
            }
            let Some(record) = iter.next() else {
                return Ok(Progress::Idle);
            };
            let record = match record {
                Err(ReadError::Faulty(fault)) => return Ok(Progress::Faulty(fault)),
                record => record?,
            };
            if let Some(next) = iter.position() {
                self.next = next;
            }
            if record.kind() == KIND_PROOF {
                self.note_proof(record.place(), decode(record.kind(), &record)?);
            }
            if record.kind() != KIND_FINALIZED {
                continue;
            }
            let JournalEntry::Finalized(mark) = decode(record.kind(), &record)? else {
                continue;
            };
            if mark.header.height.number() <= self.executor.height() {
                continue;
            }
            let height = mark.header.height.number();
            let is_due = self.next_due() == Some(height);
            if is_due && !self.is_archived(height) {
                self.next = record.place();
                return Ok(Progress::Idle);
            }
            match self.execute(&mark) {
                Err(ShadowError::Read(ReadError::Faulty(fault))) => {
                    self.next = record.place();
                    return Ok(Progress::Faulty(fault));
                }
                executed => executed?,
            }
            self.take_proof_ahead();
            if is_due {
                return Ok(self.take(&mark.header, record.place()));
            }
        }
        Ok(Progress::More)
    }

    /// Whether what is archived is durable up to a block, or nobody waits for that any more.
    fn is_archived(&self, height: u64) -> bool {
        // Each is asked: one that is behind makes it durable when somebody waits for it.
        let behind = self
            .archived
            .iter()
            .filter(|one| !self.reaches(one, height));
        behind.count() == 0
    }

    fn reaches(&self, archived: &Archived, height: u64) -> bool {
        // The log does not grow for it until it fills the disk, which every vote needs. The archive
        // may have a disk of its own, on which there is no room for as long as nobody makes some.
        if archived.is_held_up() && self.pruning.as_ref().is_some_and(Pruning::is_overgrown) {
            archived.give_up();
            return true;
        }
        archived.reaches(height)
    }

    fn execute(&mut self, mark: &FinalMark) -> Result<(), ShadowError> {
        let record = self.reader.read(mark.block)?;
        let JournalEntry::Block { header, payload } = decode(record.kind(), &record)? else {
            let height = mark.header.height.number();
            return Err(ShadowError::NoBlock { height });
        };
        let block = FinalBlock {
            id: header.id(),
            header,
            payload: payload.into(),
            path: None,
            final_ns: 0,
            admitted: Vec::new(),
        };
        Ok(self.executor.execute(&block, &mut self.results)?)
    }

    fn take(&mut self, header: &Header, mark: RecordRef) -> Progress {
        self.schedule.forget_asked();
        let taken = self.write(header).and_then(|manifest| {
            let staying = self.make_room()?;
            self.marks.push((manifest.height(), mark));
            self.forget_marks(&staying);
            Ok(manifest)
        });
        match taken {
            Ok(manifest) => {
                for certificate in self.schedule.take_certificates() {
                    self.certify(certificate);
                }
                Progress::Taken(statement_of(&manifest))
            }
            // The disk, or something that was short, which may be otherwise the next time.
            Err(error) if self.is_spoilt && !(error.is_io() && self.go_back()) => {
                Progress::Forgotten(error)
            }
            Err(error) => Progress::Failed(error),
        }
    }

    /// Writes a snapshot and goes on from what it restores to, before anybody is told of it: old
    /// segments go for it, and peers begin with it. What the application forgets there shows in
    /// the roots from here on, which are held against those of the first instance.
    fn write(&mut self, header: &Header) -> Result<Manifest, SnapshotError> {
        let (executor, fresh, is_spoilt) =
            (&mut self.executor, &mut self.fresh, &mut self.is_spoilt);
        let (origin, folder) = (&self.origin, &self.folder);
        let write = move || {
            let (writer, manifest) = snapshot::save(executor, header, origin, folder)?;
            writer.finish_tried(manifest, |reader| {
                reader.check()?;
                // A fresh instance has nothing until all is restored.
                let mut has_begun = fresh.is_some();
                if let Some(fresh) = &fresh {
                    executor.replace_app(fresh.make()?);
                }
                let restored = snapshot::put_back(executor, reader, &mut has_begun);
                *is_spoilt = has_begun && restored.is_err();
                restored
            })
        };
        in_time(self.gives_way, write)
    }

    /// Removes what the policy does not keep, after a snapshot was taken. The newest attested one
    /// stays: it is what peers can join by, and what old segments may go for. Says which
    /// stay besides the newest.
    fn make_room(&mut self) -> Result<Vec<u64>, SnapshotError> {
        let keep = self.policy.keep.max(1);
        let heights = self.folder.heights()?;
        let mut newest = heights.iter().rev();
        let attested = newest.find(|&&height| self.is_attested(height)).copied();
        let surplus = &heights[..heights.len().saturating_sub(keep)];
        let mut staying = self.held.clone();
        staying.extend(attested);
        let goes_in_vain = |height: &u64| !staying.contains(height) && Some(*height) > attested;
        let is_late = surplus.iter().any(goes_in_vain);
        let is_timely = attested.is_some() && attested == heights.iter().rev().nth(1).copied();
        self.schedule.adapt(is_late, is_timely);
        self.folder.keep_newest(keep, &staying)?;
        Ok(staying)
    }

    /// Keeps the marks of the snapshots that are kept: the newest, and those `staying` besides.
    fn forget_marks(&mut self, staying: &[u64]) {
        let surplus = self.marks.len().saturating_sub(self.policy.keep.max(1));
        let mut place = 0;
        self.marks.retain(|(height, _)| {
            place += 1;
            place > surplus || staying.contains(height)
        });
    }

    /// A proof counts once its block is executed here: a start from the log finds it too.
    fn note_proof(&mut self, place: RecordRef, entry: JournalEntry<'_>) {
        let JournalEntry::Proof { point, .. } = entry else {
            return;
        };
        if point.height.number() > self.executor.height() {
            self.proof_ahead.get_or_insert((point, place));
        } else if self.proof.is_none_or(|(window, _)| window < point.window) {
            self.proof = Some((point.window, place));
        }
    }

    fn take_proof_ahead(&mut self) {
        let height = self.executor.height();
        let reached = |ahead: &mut (Point, RecordRef)| ahead.0.height.number() <= height;
        if let Some((point, place)) = self.proof_ahead.take_if(reached) {
            self.proof = Some((point.window, place));
        }
    }

    /// Lets old segments of the log go when it is over its budget, one at most; looks at no more
    /// than `records` records.
    ///
    /// # Errors
    /// [`PruneError`]: nothing that is needed is gone.
    pub(crate) fn prune(
        &mut self,
        records: usize,
        now: std::time::Instant,
    ) -> Result<Pruned, PruneError> {
        if !self.pruning.as_ref().is_some_and(Pruning::is_due) {
            return Ok(Pruned::Nothing);
        }
        self.choose_kept();
        let (Some(kept), Some((window, proof))) = (self.kept, self.proof) else {
            return Ok(Pruned::Nothing);
        };
        let Some((height, mark)) = self.lowest_needed(kept) else {
            return Ok(Pruned::Held);
        };
        let needed = Needed {
            height: Height::new(height),
            mark,
            window,
            proof,
        };
        let pruning = self.pruning.as_mut();
        pruning.map_or(Ok(Pruned::Nothing), |pruning| {
            pruning.step(&needed, records, now)
        })
    }

    /// The lowest snapshot above which the log must stay: the own one, or one that a peer is
    /// fetching. None when it is not known where that stands in the log.
    fn lowest_needed(&self, kept: (u64, RecordRef)) -> Option<(u64, RecordRef)> {
        match self.held.first() {
            Some(&held) if held < kept.0 => {
                let mut marks = self.marks.iter();
                marks.find(|&&(height, _)| height == held).copied()
            }
            _ => Some(kept),
        }
    }

    /// The newest snapshot that has a certificate; read whole, once, before anything goes for it.
    fn choose_kept(&mut self) {
        let Some(place) = self
            .marks
            .iter()
            .rposition(|&(height, _)| self.is_attested(height))
        else {
            return;
        };
        let newest = self.marks[place];
        if self.kept == Some(newest) {
            return;
        }
        match self.folder.verify(newest.0) {
            Ok(_) => self.kept = Some(newest),
            Err(error) => {
                tracing::error!(height = newest.0, %error, "the log is not pruned for a snapshot");
                self.marks.remove(place);
            }
        }
    }

    /// Moves snapshots above the last common height that nobody attests out of the way of a start.
    pub(crate) fn set_aside(&self, common: u64, to: &Path) -> Result<(), ShadowError> {
        drift::set_aside(&self.folder, common, to).map_err(ShadowError::Folder)
    }

    fn is_attested(&self, height: u64) -> bool {
        let manifest = self.folder.manifest(height);
        let (Ok(manifest), Ok(Some(bytes))) = (manifest, self.folder.certificate(height)) else {
            return false;
        };
        wire::decode_state_certificate(&bytes)
            .is_ok_and(|certificate| certificate.statement == statement_of(&manifest))
    }

    /// Puts a certificate beside its snapshot, or keeps it until the snapshot is there.
    pub fn certify(&mut self, certificate: StateCertificate) {
        let height = certificate.statement.height.number();
        if height > self.height() {
            self.schedule.wait_for(certificate, self.height());
            return;
        }
        let Ok(manifest) = self.folder.manifest(height) else {
            return;
        };
        if certificate.statement != statement_of(&manifest) {
            tracing::error!(height, "the own snapshot is another than the attested one");
            return;
        }
        let mut bytes = Vec::new();
        wire::encode_state_certificate(&certificate, &mut bytes);
        if let Err(error) = self.folder.put_certificate(height, &bytes) {
            tracing::error!(%error, "a snapshot's certificate was not written");
        }
    }
}

/// Does what takes long with a long state: behind all others of the process, or here.
fn in_time<T: Send>(gives_way: bool, mut work: impl FnMut() -> T + Send) -> T {
    if gives_way { aside::run(work) } else { work() }
}

/// What is attested of a snapshot.
#[must_use]
pub fn statement_of(manifest: &Manifest) -> StateStatement {
    StateStatement {
        height: manifest.header.height,
        id: manifest.header.id(),
        sections: manifest.sections.iter().map(|entry| entry.root).collect(),
        snapshot: Some(manifest.root()),
    }
}

#[cfg(test)]
#[path = "shadow_tests.rs"]
mod tests;
