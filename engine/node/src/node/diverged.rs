//! What a start makes of the bundle of an earlier run, and of what was attested in it.
//!
//! Owns the refusal to serve until an operator has moved the bundle away, what is said of the
//! second execution, and the comparison of that with the newest certificate of a state that this
//! folder has: validators that all start again and all forget the same agree with one another, and
//! not with what they told. Never: removes a bundle, or a certificate that a start doubted.

use std::path::Path;
use std::sync::Arc;

use super::StartError;
use super::start::snapshots_path;
use crate::config::NodeConfig;
use crate::drift::{self, Again, BUNDLE_FILE, Bundle, Facts, Recorder};
use crate::executor::Executor;
use crate::join;
use crate::metrics::Metrics;
use crate::roots::RootRing;
use crate::snapshot::{SnapshotError, SnapshotFolder};
use crate::stages::inlet::Inlet;
use crate::stages::shadow::{Asks, ShadowSender};
use crate::state_machine::StateMachine;
use crate::vouched;
use quorate_consensus::attestation::{Divergence, StateCertificate};
use quorate_consensus::types::{Stake, ValidatorIndex};
use quorate_consensus::validators::ValidatorSet;
use quorate_consensus::wire;

/// What cannot be looked at may be there.
fn is_there(path: &Path) -> Result<bool, StartError> {
    let found = path.try_exists();
    found.map_err(|source| {
        StartError::Snapshot(SnapshotError::Io {
            path: path.to_path_buf(),
            action: "look for the bundle of an earlier run",
            source,
        })
    })
}

/// What this start executed again, against what enough validators attested of it before; none where
/// it is the same, or cannot be told. `base` is the height of the snapshot that it began with.
fn rewritten(
    set: &ValidatorSet,
    snapshots: &SnapshotFolder,
    roots: &RootRing,
    base: u64,
) -> Option<Divergence> {
    let bytes = snapshots.attested().unwrap_or_else(|error| {
        tracing::warn!(%error, "this start is not held against what was attested before");
        None
    });
    // Not synced when it was written, so half a one is nothing.
    let proven = wire::decode_state_certificate(&bytes?).ok()?;
    let root = roots.at(proven.statement.height.number())?;
    let own = root.statement(proven.statement.id, proven.statement.snapshot);
    if own == proven.statement || !join::is_proven(set, &proven) {
        return None;
    }
    let common = vouched::certificate(set, snapshots, base).ok();
    let common = common.and_then(|(_, certificate)| certificate);
    Some(Divergence {
        common: common.map(|certificate| certificate.statement),
        own,
        proven,
    })
}

/// Whether that decides: the own word is in it, or it outweighs everybody else. One faulty build
/// and F liars are enough for a certificate, and must not silence who is right.
fn is_decisive(set: &ValidatorSet, own: ValidatorIndex, proven: &StateCertificate) -> bool {
    let signers = || proven.signatures.iter().map(|&(signer, _)| signer);
    let others = set
        .indices()
        .filter(|one| !signers().any(|signer| signer == *one));
    let weight: Stake = signers().map(|signer| set.stake(signer)).sum();
    let besides: Stake = others.map(|one| set.stake(one)).sum();
    signers().any(|signer| signer == own) || weight > besides
}

/// A validator, and whether it was found to differ in an earlier run, or by this start.
pub(super) struct Diverged {
    facts: Arc<Facts>,
    earlier: Option<Bundle>,
    found: Option<Divergence>,
    /// What was attested is another state, by so few that nobody can tell who is right. So this
    /// start found, or one before it: of what it was about this one may execute nothing.
    is_doubtful: bool,
}

impl Diverged {
    /// Looks for a bundle; snapshots that may be wrong are out of the way of the recovery then. And
    /// for what an earlier start doubted.
    ///
    /// # Errors
    /// One of them cannot be read: whether this validator may serve, or who is right, is not known.
    pub(super) fn find(config: &NodeConfig) -> Result<Self, StartError> {
        let facts = Arc::new(Facts::new(&config.data, config.own, &config.genesis));
        let snapshots = SnapshotFolder::new(snapshots_path(&config.data));
        let mut earlier = None;
        if is_there(&facts.folder.join(BUNDLE_FILE))? {
            let bundle = drift::read_bundle(&facts.folder)?;
            drift::set_aside(&snapshots, bundle.common_height(), &facts.folder)?;
            earlier = Some(bundle);
        }
        let is_doubtful = snapshots.doubted()?.is_some();
        if is_doubtful {
            tracing::error!(
                "AN EARLIER START COMPUTED ANOTHER STATE THAN WAS ATTESTED, and nobody has said \
                 yet which is right: snapshots/doubted.certificate"
            );
        }
        Ok(Self {
            facts,
            earlier,
            found: None,
            is_doubtful,
        })
    }

    /// Holds what the recovery executed, from the snapshot of height `base` on, against what was
    /// attested of it. What nobody can judge is kept: what is executed from now on makes room for a
    /// snapshot above it, and validators that all start anew attest alike what they come to now.
    ///
    /// # Errors
    /// It cannot be kept.
    pub(super) fn compare(
        &mut self,
        config: &NodeConfig,
        roots: &RootRing,
        base: u64,
    ) -> Result<(), StartError> {
        if self.earlier.is_some() {
            return Ok(());
        }
        let set = config.genesis.validator_set();
        let snapshots = SnapshotFolder::new(snapshots_path(&config.data));
        let Some(found) = rewritten(set, &snapshots, roots, base) else {
            return Ok(());
        };
        let height = found.own.height.number();
        tracing::error!(
            height,
            snapshot = base,
            "THIS START COMPUTES ANOTHER STATE THAN WAS ATTESTED: from the snapshot on the blocks \
             came to something else than before it. The application forgets a part of its state \
             in snapshots, or this is another build"
        );
        match is_decisive(set, config.own, &found.proven) {
            true => self.found = Some(found),
            false => {
                snapshots.doubt_attested()?;
                self.is_doubtful = true;
            }
        }
        Ok(())
    }

    /// The way to the thread of snapshots, which knows of the certificate that this folder still
    /// has: none of this run may take its place that is not as good. After [`Self::compare`], which
    /// may have doubted that.
    pub(super) fn shadow_way(config: &NodeConfig) -> (ShadowSender, Asks) {
        let (sender, asks) = ShadowSender::new(config.own);
        let snapshots = SnapshotFolder::new(snapshots_path(&config.data));
        // What cannot be read is told by the comparison, and may be replaced.
        let bytes = snapshots.attested().ok().flatten();
        let kept = bytes.and_then(|bytes| wire::decode_state_certificate(&bytes).ok());
        let set = config.genesis.validator_set();
        if let Some(kept) = kept.filter(|kept| join::is_proven(set, kept)) {
            sender.resume(&kept);
        }
        (sender, asks)
    }

    pub(super) const fn is_known(&self) -> bool {
        self.earlier.is_some() || self.found.is_some()
    }

    /// What notes the commands of this run; nobody is served when an earlier one differed, or this
    /// start.
    pub(super) fn recorder<S: StateMachine>(
        self,
        executor: &Executor<S>,
        metrics: &Arc<Metrics>,
        inlet: &Inlet,
    ) -> Recorder {
        if let Some(bundle) = &self.earlier {
            self.tell(bundle, executor.roots(), metrics);
            inlet.diverge();
        }
        if self.is_doubtful {
            metrics.alarms.add(1);
        }
        let mut recorder = Recorder::new(self.facts, Arc::clone(metrics));
        if let Some(found) = &self.found {
            metrics.alarms.add(1);
            metrics.diverged_height.set(found.own.height.number());
            recorder.report(found, &executor.section_names());
            inlet.diverge();
        }
        recorder
    }

    fn tell(&self, bundle: &Bundle, roots: &RootRing, metrics: &Metrics) {
        let status = bundle.status(&self.facts.folder);
        metrics.alarms.add(1);
        metrics.diverged_height.set(status.height);
        let again = match drift::again(bundle, roots) {
            Again::Same => "the same wrong state again: this build or configuration computes it",
            Again::Agrees => {
                "the others' state now: it was not deterministic there, unless the build is another"
            }
            Again::Other => "a third state now: it is not deterministic",
            Again::NotExecuted => "not executed again by this start",
        };
        let (height, section) = (status.height, status.section.as_str());
        tracing::error!(
            height,
            section,
            bundle = %status.bundle,
            again,
            "THE STATE DIVERGED in an earlier run: this validator serves no clients until its \
             bundle is moved out of the data folder"
        );
        drop(metrics.diverged.set(status));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::roots::StateRoot;
    use crate::testing::{Stateless, TemporaryFolder, sample_genesis};
    use quorate_consensus::signing::{self, Signer as _, ValidatorKey};
    use quorate_consensus::types::BlockId;

    /// A certificate of a state with this root by these validators, as the folder keeps it.
    fn attested(root: u8, signers: &[u16]) -> (TemporaryFolder, SnapshotFolder) {
        let (genesis, keys) = sample_genesis(4);
        let set = genesis.validator_set();
        let statement = StateRoot::combine(128, vec![("book", [root; 32])]);
        let statement = statement.statement(BlockId::new([3; 32]), None);
        let sign = |&signer: &u16| {
            let validator = ValidatorIndex::new(signer);
            let key = ValidatorKey::from_seed(&keys[usize::from(signer)].seed());
            let mut message = Vec::new();
            signing::state_message(set, validator, &statement, &mut message);
            (validator, key.sign(&message))
        };
        let signatures = signers.iter().map(sign).collect();
        let mut bytes = Vec::new();
        let certificate = StateCertificate {
            statement: statement.clone(),
            signatures,
        };
        wire::encode_state_certificate(&certificate, &mut bytes);
        let temporary = TemporaryFolder::new("attested");
        let folder = SnapshotFolder::new(temporary.path().join("snapshots"));
        folder.put_attested(&bytes).unwrap();
        (temporary, folder)
    }

    /// Of two lists of signers the first says enough to be compared with, and the second decides.
    #[test]
    fn a_start_is_held_against_what_enough_validators_attested_before() {
        let (genesis, _) = sample_genesis(4);
        let (set, own) = (genesis.validator_set(), ValidatorIndex::new(0));
        let mut roots = RootRing::default();
        for height in [64, 128, 192] {
            roots.push(StateRoot::combine(height, vec![("book", [7; 32])]));
        }
        let lists: [(u8, &[u16], Option<bool>); 6] = [
            (7, &[0, 1, 2], None),
            (8, &[0], None),
            (8, &[1, 2], Some(false)),
            (8, &[0, 1], Some(true)),
            (8, &[1, 2, 3], Some(true)),
            (8, &[0, 1, 2, 3], Some(true)),
        ];
        for (root, signers, expected) in lists {
            let (_temporary, folder) = attested(root, signers);
            let found = rewritten(set, &folder, &roots, 64);
            let decides = |found: &Divergence| is_decisive(set, own, &found.proven);
            assert_eq!(found.as_ref().map(decides), expected, "{root} {signers:?}");
            // Nothing of that height was executed by this start.
            assert!(rewritten(set, &folder, &RootRing::default(), 128).is_none());
        }
    }

    /// What a run in doubt attests may be doubted by the next start; that says less than the first.
    #[test]
    fn what_was_doubted_first_stays_the_evidence() {
        let (_temporary, folder) = attested(8, &[1, 2]);
        let first = folder.attested().unwrap();
        folder.doubt_attested().unwrap();
        assert_eq!(folder.attested().unwrap(), None);
        assert_eq!(folder.doubted().unwrap(), first);
        folder.put_attested(b"second").unwrap();
        folder.doubt_attested().unwrap();
        assert_eq!(folder.doubted().unwrap(), first);
        assert_eq!(folder.attested().unwrap().unwrap(), b"second");
    }

    /// A start in doubt has to be seen: it serves what may have been rewritten.
    #[test]
    fn a_start_in_doubt_is_an_alarm_and_serves() {
        let (genesis, _) = sample_genesis(4);
        let temporary = TemporaryFolder::new("doubt");
        for is_doubtful in [false, true] {
            let own = ValidatorIndex::new(0);
            let diverged = Diverged {
                facts: Arc::new(Facts::new(temporary.path(), own, &genesis)),
                earlier: None,
                found: None,
                is_doubtful,
            };
            assert!(!diverged.is_known());
            let executor = Executor::new(Stateless, 8, 0);
            let inlet = Inlet::new(&genesis, Arc::clone(executor.auth()));
            let metrics = Arc::<Metrics>::default();
            drop(diverged.recorder(&executor, &metrics, &inlet));
            assert_eq!(metrics.alarms.read(), u64::from(is_doubtful));
            assert!(metrics.is_serving());
        }
    }

    #[test]
    fn a_bundle_that_cannot_be_looked_at_is_not_taken_for_none() {
        let folder = TemporaryFolder::new("diverged");
        let path = folder.path().join(BUNDLE_FILE);
        assert!(!is_there(&path).unwrap());
        std::os::unix::fs::symlink(&path, &path).unwrap();
        let error = is_there(&path).unwrap_err().to_string();
        assert!(error.contains("cannot look for the bundle"), "{error}");
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, b"{}").unwrap();
        assert!(is_there(&path).unwrap());
    }
}
