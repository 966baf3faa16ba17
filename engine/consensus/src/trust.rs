//! Trust as a type, one way: decoded, authenticated by its channel, verified by signature,
//! durable on this machine.
//!
//! Owns the wrappers whose makers stand outside this crate. `Verified` is made in `verify` alone.
//! `cargo xtask tidy` lists the only callers of each `assert_*`.

use crate::message::OwnAnswer;
use crate::record::OwnRecord;
use crate::types::{Index, ValidatorIndex, Window};

/// A message that came from its own author over that author's authenticated channel.
#[derive(Debug)]
pub struct Authenticated<T> {
    from: ValidatorIndex,
    inner: T,
}

impl<T> Authenticated<T> {
    /// Says that `inner` was decoded from a frame that the authenticated channel of `from`
    /// delivered. Only the owner of such a channel can know.
    #[must_use]
    pub const fn assert_authenticated(from: ValidatorIndex, inner: T) -> Self {
        Self { from, inner }
    }

    /// The peer at the other end of the channel.
    #[must_use]
    pub const fn from(&self) -> ValidatorIndex {
        self.from
    }

    /// What was said, to look at; only the consensus counts it.
    #[must_use]
    pub const fn get(&self) -> &T {
        &self.inner
    }

    pub(crate) fn into_parts(self) -> (ValidatorIndex, T) {
        (self.from, self.inner)
    }
}

/// Something of this validator's own that is past the journal: on disk in `sync` durability,
/// written into the log's mapping in `async`. Only such a record may become bytes for a peer.
#[derive(Clone, Debug)]
pub struct Durable<T>(T);

impl Durable<OwnRecord> {
    /// Says that the journal holds the record as its configured durability asks (R11).
    #[must_use]
    pub const fn assert_durable(record: OwnRecord) -> Self {
        Self(record)
    }

    /// Where the newest block that the record votes for stands, if it votes for one.
    #[must_use]
    pub fn tip(&self) -> Option<(Window, Index)> {
        let (index, _) = self.0.record.tip?;
        Some((self.0.window, index))
    }

    pub(crate) fn into_inner(self) -> OwnRecord {
        self.0
    }
}

impl Durable<OwnAnswer> {
    /// Says that the journal holds the answer as its configured durability asks (R11).
    #[must_use]
    pub const fn assert_durable_answer(answer: OwnAnswer) -> Self {
        Self(answer)
    }

    pub(crate) const fn into_answer(self) -> OwnAnswer {
        self.0
    }
}

impl Durable<Lease> {
    /// Says that the lease file holds the lease, synced with its directory (R11).
    #[must_use]
    pub const fn assert_durable_lease(lease: Lease) -> Self {
        Self(lease)
    }

    pub(crate) const fn lease(&self) -> Lease {
        self.0
    }
}

/// What the lease file holds besides the boot id: the windows in which this validator may act.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Lease {
    /// Records and proposals may be made up to this window; none when absent.
    pub lease: Option<Window>,
    /// No record of any kind may be made up to this window; never falls.
    pub abstain_until: Option<Window>,
    /// No proposal may be made up to this window; never falls.
    pub no_proposals_until: Option<Window>,
    /// What was said is not known, since the disk that held it is lost or older than that: nothing
    /// may be said before R13 has found the other three.
    pub is_lost: bool,
    /// Finality proofs that this validator has flushed may be missing here, of windows up to this
    /// one: it moved here, or the disk that held them is lost. Never falls.
    pub proofs_elsewhere: Option<Window>,
}
