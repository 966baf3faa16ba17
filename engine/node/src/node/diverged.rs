//! What a start makes of the bundle of an earlier run.
//!
//! Owns the refusal to serve until an operator has moved the bundle away, and what is said of the
//! second execution. Never: decides that a state differs, or removes a bundle.

use std::path::Path;
use std::sync::Arc;

use super::StartError;
use super::start::snapshots_path;
use crate::config::NodeConfig;
use crate::drift::{self, Again, BUNDLE_FILE, Bundle, Facts, Recorder};
use crate::metrics::Metrics;
use crate::roots::RootRing;
use crate::snapshot::{SnapshotError, SnapshotFolder};
use crate::stages::inlet::Inlet;

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

/// A validator, and whether it was found to differ in an earlier run.
pub(super) struct Diverged {
    facts: Arc<Facts>,
    earlier: Option<Bundle>,
}

impl Diverged {
    /// Looks for a bundle; snapshots that may be wrong are out of the way of the recovery then.
    ///
    /// # Errors
    /// The bundle cannot be read: whether this validator may serve is not known.
    pub(super) fn find(config: &NodeConfig) -> Result<Self, StartError> {
        let facts = Arc::new(Facts::new(&config.data, config.own, &config.genesis));
        let mut earlier = None;
        if is_there(&facts.folder.join(BUNDLE_FILE))? {
            let bundle = drift::read_bundle(&facts.folder)?;
            let snapshots = SnapshotFolder::new(snapshots_path(&config.data));
            drift::set_aside(&snapshots, bundle.common_height(), &facts.folder)?;
            earlier = Some(bundle);
        }
        Ok(Self { facts, earlier })
    }

    pub(super) const fn is_known(&self) -> bool {
        self.earlier.is_some()
    }

    /// What notes the commands of this run; nobody is served when an earlier one differed.
    pub(super) fn recorder(
        self,
        roots: &RootRing,
        metrics: &Arc<Metrics>,
        inlet: &Inlet,
    ) -> Recorder {
        if let Some(bundle) = &self.earlier {
            self.tell(bundle, roots, metrics);
            inlet.diverge();
        }
        Recorder::new(self.facts, Arc::clone(metrics))
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
    use crate::testing::TemporaryFolder;

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
