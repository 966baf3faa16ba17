//! One validator over all its lives: the replica of the product, its disk, its connections' ends.
//!
//! Owns what stands between the world and `quorate::replica::Replica`: opening it from the disk,
//! and taking what a turn asks for. Never: a rule, or a shortcut past the product's code.

use std::sync::Arc;

use quorate::auth::CommandAuth;
use quorate::journal::{SyncJob, SyncWorker};
use quorate::lanes::LanesConfig;
use quorate::recovery::{self, RecoveryError, RecoverySummary};
use quorate::replica::{Companions, Event, Job, Outbox, Replica, ReplicaConfig, ReplicaError};
use quorate::results::{CommandResult, OutputItem};
use quorate::scrub::Scrub;
use quorate::snapshot::SnapshotFolder;
use quorate::state_machine::{Audience, StateMachine};
use quorate_consensus::effect::{Destination, FinalPath};
use quorate_consensus::types::{BlockId, Now, ValidatorIndex, Window};
use quorate_log::{Preparer, Reader};

use crate::disk::Disk;
use crate::joining::{EVERY_HEIGHTS, Keeping};
use crate::overheard::{Ear, Overheard};
use crate::past::Past;
use crate::plan::Plan;
use crate::rot::{Rot, SCRUB_BYTES_PER_S};
use crate::schedule::Again;

const MS: u64 = 1_000_000;
/// Payloads are short, so that segments of the log can be.
const PAYLOAD_BYTES_MAX: usize = 16 * 1024;
/// Sessions of a chain at most.
pub(crate) const SESSIONS_MAX: u32 = 64;
const FAN_NS: u64 = 20 * MS;

/// A running process.
pub(crate) struct Life<S> {
    pub(crate) replica: Replica<Overheard<S>>,
    pub(crate) companions: Helpers,
    /// Looks at the disk, in runs that have rot.
    pub(crate) scrub: Option<Scrub>,
    /// Takes, serves and fetches snapshots, in runs that have them.
    pub(crate) snapshots: Option<Keeping<Overheard<S>>>,
    /// What its application is handed, and what the second instance is.
    pub(crate) ears: [Ear; 2],
    outbox: Outbox,
    /// A turn is on its way.
    pub(crate) is_turn_due: bool,
    /// When the next turn by deadline is on its way.
    pub(crate) wake_at_ns: u64,
    /// The disk thread is busy until then.
    pub(crate) disk_free_ns: u64,
    pub(crate) is_stopping: bool,
}

/// What stands beside a replica and is used here.
pub(crate) struct Helpers {
    pub(crate) sync: SyncWorker,
    pub(crate) preparer: Preparer,
    /// Its log as it stands, for whoever judges what it has.
    pub(crate) reader: Reader,
    pub(crate) summary: RecoverySummary,
}

/// A validator, up or down.
pub(crate) struct Member<S> {
    pub(crate) disk: Disk,
    pub(crate) life: Option<Life<S>>,
    /// Number of the present or last life.
    pub(crate) lives: u64,
    pub(crate) paused_until_ns: u64,
    /// A sync is made to fail, and whatever comes of it is no surprise.
    pub(crate) is_sync_failing: bool,
    /// What the disk has lost and memory shows.
    pub(crate) rots: Vec<Rot>,
    /// It may have lost what memory does not show either.
    pub(crate) may_be_damaged: bool,
    /// The life in which the disk was full.
    pub(crate) full_life: u64,
    /// What it computes takes so many times as long until then.
    pub(crate) slow_until_ns: u64,
    pub(crate) slow_factor: u64,
    /// How often it died while it joined.
    pub(crate) joins_broken: u64,
    /// How the next life ends.
    pub(crate) crash_again: Option<Again>,
    /// The power is to go in this life, which a crash came before.
    pub(crate) dies_again: bool,
    /// It may have said something since the power was last lost that its disk does not hold: a
    /// start came to its end, and no stop in good order after it.
    may_lack: bool,
    /// It may have said something up to this window that its disk does not hold, by what the world
    /// knows of it: nothing of its own may be said there any more (R12, R13).
    pub(crate) silent_until: Option<Window>,
}

/// A block that became final in a turn.
pub(crate) struct Delivered {
    pub(crate) height: u64,
    pub(crate) id: Option<BlockId>,
    /// How it became final here.
    pub(crate) path: Option<FinalPath>,
    pub(crate) commands: Vec<CommandResult>,
    /// Hash of all that it put out, in its order.
    pub(crate) outputs: [u8; 32],
}

/// What a turn asks for and tells.
#[derive(Default)]
pub(crate) struct Turned {
    pub(crate) frames: Vec<(Destination, Arc<[u8]>)>,
    pub(crate) jobs: Vec<Job>,
    pub(crate) sync: Vec<SyncJob>,
    pub(crate) delivered: Vec<Delivered>,
    pub(crate) repeats: Vec<CommandResult>,
    pub(crate) events: Vec<Event>,
    /// Height and root after the turn, when a block was applied in it.
    pub(crate) root: Option<(u64, [u8; 32])>,
}

/// All outputs of a block: of which command each is, for whom, and its bytes.
fn hash_outputs<'a>(outputs: impl Iterator<Item = OutputItem<'a>>) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    for output in outputs {
        let command = output.command.map_or(u64::MAX, u64::from);
        hasher.update(&command.to_le_bytes());
        match output.audience {
            Audience::Session(session) => hasher.update(&[1]).update(&session.0),
            Audience::Public => hasher.update(&[0]),
        };
        hasher.update(&(output.bytes.len() as u64).to_le_bytes());
        hasher.update(output.bytes);
    }
    *hasher.finalize().as_bytes()
}

impl<S: StateMachine> Member<S> {
    /// A validator with an empty, initialized disk.
    ///
    /// # Errors
    /// The product refuses a fresh folder: an error of this program.
    pub(crate) fn new(
        place: usize,
        owner: [u8; 32],
        genesis: &[u8],
        plan: &Plan,
        seed: u64,
    ) -> Result<Self, String> {
        let disk = Disk::new(place, plan.disk_ns, seed);
        let boot_id = disk.boot_id();
        recovery::initialize(&disk.folder(), &Disk::log_config(), genesis, boot_id, owner)
            .map_err(|error| format!("a fresh folder is refused: {error}"))?;
        Ok(Self {
            disk,
            life: None,
            lives: 0,
            paused_until_ns: 0,
            is_sync_failing: false,
            rots: Vec::new(),
            may_be_damaged: false,
            full_life: 0,
            slow_until_ns: 0,
            slow_factor: 1,
            joins_broken: 0,
            crash_again: None,
            dies_again: false,
            may_lack: false,
            silent_until: None,
        })
    }

    /// The disk is replaced by an empty one, of which the operator says that it is.
    ///
    /// # Errors
    /// The product refuses to hear that: an error of this program.
    pub(crate) fn lose_disk(&mut self, owner: [u8; 32], genesis: &[u8]) -> Result<(), String> {
        self.disk.replace();
        self.rots.clear();
        self.may_be_damaged = false;
        let (folder, boot_id) = (self.disk.folder(), self.disk.boot_id());
        recovery::declare_lost(&folder, &Disk::log_config(), genesis, boot_id, owner)
            .map_err(|error| format!("a lost disk is not taken for one: {error}"))
    }

    /// Its start came to its end, so that it may speak.
    pub(crate) const fn note_begun(&mut self) {
        self.may_lack = true;
    }

    /// It has stopped. With the marker of a clean stop goes that all it said is on its disk.
    pub(crate) fn note_stopped(&mut self) {
        self.may_lack &= !self.disk.has_clean_stop();
    }

    /// The power goes in `async` durability: what it said under the lease that is on its disk may
    /// be lost, by whichever life of it since the power went before.
    pub(crate) fn silence(&mut self) {
        if std::mem::take(&mut self.may_lack) {
            let lease = self.disk.durable_lease().and_then(|lease| lease.lease);
            self.silent_until = self.silent_until.max(lease);
        }
    }

    /// How many times longer it takes now for whatever it computes.
    pub(crate) const fn slowness(&self, now_ns: u64) -> u64 {
        if now_ns < self.slow_until_ns {
            self.slow_factor
        } else {
            1
        }
    }

    /// Whether execution is behind (protocol.md 2.9), of every other slow spell.
    pub(crate) const fn is_behind(&self, now_ns: u64) -> bool {
        let slowness = self.slowness(now_ns);
        slowness > 1 && slowness % 2 == 1
    }

    /// Whether the failure of its disk that ends this life, or forbids one, was injected.
    pub(crate) fn take_disk_failure(&mut self) -> bool {
        let is_sync_failing = std::mem::take(&mut self.is_sync_failing);
        is_sync_failing || self.may_be_damaged
    }

    /// Whether its disk is full, or was in this life, so that it may start or stop in good order
    /// later only. One that runs waits for room, and ends for no want of it.
    pub(crate) const fn lacks_room(&self) -> bool {
        self.disk.is_full() || self.full_life == self.lives
    }

    fn replica_config(
        &self,
        own: ValidatorIndex,
        plan: &Plan,
        past: &Past,
        (auth, snapshots): (&Arc<CommandAuth>, &Option<SnapshotFolder>),
    ) -> ReplicaConfig {
        ReplicaConfig {
            own,
            set: Arc::clone(&past.set),
            durability: plan.durability,
            timers: plan.timers,
            incarnation_min: self.lives,
            nonce_seed: *blake3::hash(&self.lives.to_le_bytes()).as_bytes(),
            snapshot_heights: snapshots.as_ref().map_or(0, |_| EVERY_HEIGHTS),
            boot_id: self.disk.boot_id(),
            genesis: Arc::clone(&past.genesis),
            log: Disk::log_config(),
            lanes: LanesConfig {
                payload_bytes_max: PAYLOAD_BYTES_MAX,
                hold_ns: plan.hold_ns,
                ..LanesConfig::new(SESSIONS_MAX, FAN_NS)
            },
            cache_bytes_max: plan.cache_bytes_max,
            public_bytes_max: 0,
            private_bytes_max: 0,
            public_archive: None,
            private_archive: None,
            auth: Arc::clone(auth),
            snapshots: snapshots.clone(),
            first: past.first.clone(),
        }
    }

    /// Begins a life from what the disk holds.
    ///
    /// # Errors
    /// The product refuses to start from this disk.
    pub(crate) fn start(
        &mut self,
        own: ValidatorIndex,
        plan: &Plan,
        past: &Past,
        auth: CommandAuth,
        (app, second): (Overheard<S>, Option<Overheard<S>>),
        now: Now,
    ) -> Result<(), RecoveryError> {
        self.lives += 1;
        let ears = [
            app.ear(),
            second.as_ref().map(Overheard::ear).unwrap_or_default(),
        ];
        let snapshots = second.as_ref().map(|_| self.disk.snapshots());
        let auth = Arc::new(auth);
        let config = self.replica_config(own, plan, past, (&auth, &snapshots));
        let folder = self.disk.folder();
        let (replica, companions) = Replica::open(&folder, &config, app, now)?;
        let Companions {
            sync,
            preparer,
            scrubber,
            reader,
            summary,
            pruner,
            served,
            snapshot,
        } = companions;
        let log = (reader.clone(), snapshot, pruner, served);
        let snapshots = snapshots.zip(second);
        let snapshots = snapshots.and_then(|of| Keeping::open(of, own, &past.set, &auth, log));
        let peers = past.set.indices().filter(|&peer| peer != own).collect();
        let (genesis, of_scrub) = (Arc::clone(&past.genesis), reader.clone());
        let scrub = || Scrub::new(scrubber, of_scrub, genesis, peers, SCRUB_BYTES_PER_S);
        self.life = Some(Life {
            replica,
            companions: Helpers {
                sync,
                preparer,
                reader,
                summary,
            },
            scrub: plan.has_rot.then(scrub),
            snapshots,
            ears,
            outbox: Outbox::new(),
            is_turn_due: false,
            wake_at_ns: u64::MAX,
            disk_free_ns: 0,
            is_stopping: false,
        });
        Ok(())
    }
}

impl<S: StateMachine> Life<S> {
    /// One turn of the product.
    ///
    /// # Errors
    /// This life is over.
    pub(crate) fn turn(&mut self, now: Now) -> Result<Turned, ReplicaError> {
        self.replica.turn(now, &mut self.outbox)?;
        let outbox = &mut self.outbox;
        let mut turned = Turned {
            frames: outbox
                .frames
                .iter()
                .map(|frame| (frame.to, (*frame.bytes()).into()))
                .collect(),
            jobs: std::mem::take(&mut outbox.jobs),
            sync: std::mem::take(&mut outbox.sync),
            repeats: std::mem::take(&mut outbox.repeats),
            events: std::mem::take(&mut outbox.events),
            ..Turned::default()
        };
        for results in &outbox.results {
            turned.delivered.push(Delivered {
                height: results.height,
                id: results.id,
                path: results.path,
                commands: results.commands.clone(),
                outputs: hash_outputs(results.outputs()),
            });
        }
        outbox.clear();
        if !turned.delivered.is_empty() {
            turned.root = Some(self.root());
        }
        Ok(turned)
    }

    /// Height and state.
    pub(crate) fn root(&mut self) -> (u64, [u8; 32]) {
        let root = self.replica.executor_mut().root();
        (root.height, root.combined)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use quorate::state_machine::SessionId;

    #[test]
    fn every_part_of_every_output_and_their_order_are_in_the_hash() {
        let output = OutputItem {
            number: 0,
            command: Some(1),
            audience: Audience::Public,
            bytes: b"bytes",
        };
        let to = |session| OutputItem {
            audience: Audience::Session(SessionId([session; 16])),
            ..output
        };
        let of_timer = OutputItem {
            command: None,
            ..output
        };
        let longer = OutputItem {
            bytes: b"bytes!",
            ..output
        };
        let of_another = OutputItem {
            command: Some(2),
            ..output
        };
        let blocks: [&[OutputItem<'_>]; 10] = [
            &[],
            &[output],
            &[output, output],
            &[of_timer],
            &[of_another],
            &[to(1)],
            &[to(2)],
            &[longer],
            &[output, longer],
            &[longer, output],
        ];
        let hash = |block: &&[OutputItem<'_>]| hash_outputs(block.iter().copied());
        let hashes: std::collections::BTreeSet<[u8; 32]> = blocks.iter().map(hash).collect();
        assert_eq!(hashes.len(), blocks.len());
        assert_eq!(hash(&blocks[1]), hash(&blocks[1]));
    }
}
