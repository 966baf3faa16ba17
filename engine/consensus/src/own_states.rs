//! What this validator's two instances of the application say of one height, held against one
//! another before a snapshot of the second is attested (protocol.md 5.6).
//!
//! Owns a hash of each state of the first instance, for many more heights than statements are kept:
//! the second one executes when a snapshot is due, at half pace, and reads what it wrote twice, so
//! that under load it may be millions of heights behind. Those at which snapshots are taken are
//! kept for much longer: one that is not attested was taken in vain, the next ones are rarer for
//! it, and a validator that is too far behind once would stay so. Never: what peers say.

use crate::attestation::{StateStatement, sections_digest};
use crate::limits;
use crate::types::Height;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

/// What a snapshot is to the first instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compared {
    /// Of its state.
    Same,
    /// Of another one.
    Other,
    /// It has not come so far; the snapshot is kept until it has.
    Waits,
    /// What it was there is not known any more.
    Forgotten,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct OwnStates {
    /// Of the first instance. Bound: `OWN_DIGESTS_MAX`; the lowest go.
    digests: BTreeMap<Height, [u8; 32]>,
    /// Those of them, and of lower heights, at which snapshots are taken. Bound:
    /// `OWN_SNAPSHOT_DIGESTS_MAX`; the lowest go.
    of_snapshots: BTreeMap<Height, [u8; 32]>,
    /// See `Config::snapshot_heights`.
    snapshot_heights: u64,
    /// Snapshots of the second that are ahead of it. Bound: `ATTESTED_SNAPSHOTS_MAX`; the lowest
    /// go.
    waiting: BTreeMap<Height, StateStatement>,
}

impl OwnStates {
    /// Those that the start executed again, of which this run tells nobody.
    pub(crate) fn restored(states: Vec<(Height, [u8; 32])>, snapshot_heights: u64) -> Self {
        let mut own = Self {
            snapshot_heights,
            ..Self::default()
        };
        for (height, digest) in states {
            own.note(height, digest);
        }
        own
    }

    fn note(&mut self, height: Height, digest: [u8; 32]) {
        self.digests.insert(height, digest);
        if self.digests.len() > limits::OWN_DIGESTS_MAX {
            self.digests.pop_first();
        }
        // No height above 0 is a multiple of 0.
        if height.number().is_multiple_of(self.snapshot_heights) {
            self.of_snapshots.insert(height, digest);
        }
        if self.of_snapshots.len() > limits::OWN_SNAPSHOT_DIGESTS_MAX {
            self.of_snapshots.pop_first();
        }
    }

    /// Takes a state of the first instance, and gives the snapshot that waited for it.
    pub(crate) fn take(&mut self, statement: &StateStatement) -> Option<StateStatement> {
        self.note(statement.height, sections_digest(&statement.sections));
        self.waiting.remove(&statement.height)
    }

    /// Compares a snapshot of the second instance with the state of the first.
    pub(crate) fn compare(&mut self, snapshot: &StateStatement) -> Compared {
        let height = snapshot.height;
        let digest = self.digests.get(&height);
        if let Some(digest) = digest.or_else(|| self.of_snapshots.get(&height)) {
            return match *digest == sections_digest(&snapshot.sections) {
                true => Compared::Same,
                false => Compared::Other,
            };
        }
        let newest = self.digests.last_key_value();
        if newest.is_some_and(|(newest, _)| *newest > height) {
            return Compared::Forgotten;
        }
        self.waiting.insert(height, snapshot.clone());
        if self.waiting.len() > limits::ATTESTED_SNAPSHOTS_MAX {
            self.waiting.pop_first();
        }
        Compared::Waits
    }
}
