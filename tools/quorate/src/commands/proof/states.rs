//! The attested states that a proof can hang on: of the snapshots beside a log, or of a folder
//! that was named.
//!
//! Owns the choice of the certificate and of where execution begins. What stands beside a log is
//! a validator's own, and of it a file that proves nothing is passed over: the next one is as good.
//! A folder that was named may come from anywhere, and its caller wants to know when it is not
//! what it was thought to be: what is used of it is checked, and what is wrong is said. Never:
//! writes.

use std::path::Path;

use quorate::genesis::Genesis;
use quorate::snapshot::SnapshotFolder;
use quorate::vouched::{VouchedError, certificate};
use quorate_consensus::attestation::StateCertificate;
use quorate_consensus::wire;
use quorate_proof::Proof;

use crate::failure::{Code, Failure};
use crate::inspect::replay::{failure_of, snapshots_beside};

/// See the module.
pub(super) struct States<'a> {
    genesis: &'a Genesis,
    folder: SnapshotFolder,
    is_named: bool,
}

/// What stands beside a snapshot proves nothing of it.
fn unvouched(error: &VouchedError) -> Failure {
    match error {
        VouchedError::Snapshot(source) => failure_of(source),
        VouchedError::Damaged { .. }
        | VouchedError::AnotherState { .. }
        | VouchedError::Unproven { .. } => Failure::new(Code::Damaged, error)
            .remedy("bring the files of the snapshot from another validator"),
    }
}

impl<'a> States<'a> {
    /// Those of the folder `named`, or beside a log.
    ///
    /// # Errors
    /// The folder that was named cannot be read, or there is no snapshot in it and no certificate.
    pub(super) fn open(
        genesis: &'a Genesis,
        log: &Path,
        named: Option<&Path>,
    ) -> Result<Self, Failure> {
        let folder = named.map_or_else(
            || snapshots_beside(log),
            |path| SnapshotFolder::new(path.to_path_buf()),
        );
        let states = Self {
            genesis,
            folder,
            is_named: named.is_some(),
        };
        if let Some(path) = named
            && states.heights()?.is_empty()
            && states.newest()?.is_none()
        {
            let what = format!("{}: there is no snapshot", path.display());
            return Err(Failure::new(Code::Configuration, what)
                .remedy("name a folder as data/snapshots of a validator"));
        }
        Ok(states)
    }

    pub(super) const fn folder(&self) -> &SnapshotFolder {
        &self.folder
    }

    fn heights(&self) -> Result<Vec<u64>, Failure> {
        self.folder.heights().map_err(|error| failure_of(&error))
    }

    /// The bytes of the certificate that belongs to no snapshot.
    fn newest(&self) -> Result<Option<Vec<u8>>, Failure> {
        self.folder.attested().map_err(|error| failure_of(&error))
    }

    fn holds(&self, certificate: &StateCertificate) -> bool {
        let proof = Proof::State(certificate.clone());
        quorate_proof::verify(self.genesis.validator_set(), &proof).is_ok()
    }

    /// The certificate beside the snapshot of a height, checked against its manifest.
    fn vouched(&self, height: u64) -> Result<Option<StateCertificate>, Failure> {
        let set = self.genesis.validator_set();
        let found = certificate(set, &self.folder, height).map_err(|error| unvouched(&error))?;
        Ok(found.1)
    }

    /// The certificate of the snapshot of this height.
    ///
    /// # Errors
    /// It is not there, or a file is damaged or of another chain.
    pub(super) fn of(&self, height: u64) -> Result<StateCertificate, Failure> {
        let missing = || {
            let what = format!("there is no attested snapshot of height {height}");
            Failure::new(Code::No, what)
                .remedy("quorate snapshot list tells which there are, and who vouches for them")
        };
        if !self.heights()?.contains(&height) {
            return Err(missing());
        }
        self.vouched(height)?.ok_or_else(missing)
    }

    /// Height of the newest snapshot below a block; execution begins with it, and reads all of its
    /// chunks first.
    ///
    /// # Errors
    /// Of a folder that was named: a file is damaged or of another chain.
    pub(super) fn below(&self, height: u64) -> Result<Option<u64>, Failure> {
        let below = self.heights()?.into_iter().rfind(|&below| below < height);
        if let Some(below) = below.filter(|_| self.is_named) {
            // One that nobody vouches for yet will do: the proof that comes of it is verified.
            self.vouched(below)?;
        }
        Ok(below)
    }

    /// The lowest attested state of this height or above: the least is to be executed up to it.
    ///
    /// # Errors
    /// There is none yet; or, of a folder that was named, a file that was looked at is damaged or
    /// of another chain.
    pub(super) fn from(&self, height: u64) -> Result<StateCertificate, Failure> {
        let mut lowest = self.newest_from(height)?;
        for snapshot in self.heights()? {
            let known = lowest.as_ref().map(|one| one.statement.height.number());
            if snapshot < height || known.is_some_and(|known| known <= snapshot) {
                continue;
            }
            let found = match self.vouched(snapshot) {
                Err(_) if !self.is_named => None,
                found => found?,
            };
            lowest = found.or(lowest);
        }
        lowest.ok_or_else(|| {
            let what = format!("no attested state of height {height} or above is here yet");
            Failure::new(Code::No, what).remedy(
                "try again when the chain has passed the next multiple of 64: validators sign \
                 their states there",
            )
        })
    }

    /// The one that belongs to no snapshot. A loss of power may have torn its file: it is none
    /// then.
    fn newest_from(&self, height: u64) -> Result<Option<StateCertificate>, Failure> {
        let bytes = self.newest()?;
        let newest = bytes.and_then(|bytes| wire::decode_state_certificate(&bytes).ok());
        if let Some(foreign) = newest.as_ref().filter(|newest| !self.holds(newest))
            && self.is_named
        {
            let at = foreign.statement.height.number();
            let what = format!(
                "{}: the newest certificate, of height {at}, does not hold under this genesis",
                self.folder.path().display()
            );
            return Err(Failure::new(Code::Configuration, what)
                .remedy("name a folder of a validator of this chain"));
        }
        let is_wanted = |newest: &StateCertificate| {
            newest.statement.height.number() >= height && self.holds(newest)
        };
        Ok(newest.filter(is_wanted))
    }
}
