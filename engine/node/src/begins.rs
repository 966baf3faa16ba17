//! The state that a chain begins with when it goes on from another one (protocol.md 3.4).
//!
//! Owns the check that a snapshot is the one that the genesis names, and its way into a data folder
//! and into an executor. The snapshot is of the chain before: its header, its genesis. Never: the
//! choice of the block, which an operator makes.

use std::path::{Path, PathBuf};

use crate::executor::Executor;
use crate::genesis::{Begins, Genesis};
use crate::hex;
use crate::snapshot::{self, Manifest, Origin, SnapshotError, SnapshotFolder};
use crate::state_machine::StateMachine;

/// Name of the folder that holds the state: beside the genesis file that `recover site` writes,
/// and inside a data folder.
pub const BEGINS_FOLDER: &str = "begins";

/// Why a chain cannot begin with what lies in the folder.
#[derive(Debug, thiserror::Error)]
pub enum BeginsError {
    /// No snapshot of the height is there.
    #[error(
        "{}: no snapshot of height {height}, with which this chain begins: put the folder `{}` that \
         was written together with the genesis beside it, from any validator", path.display(),
        BEGINS_FOLDER
    )]
    Missing {
        /// Where it was looked for.
        path: PathBuf,
        /// Height of the block after which the state was taken.
        height: u64,
    },
    /// A snapshot of the height is there, and it is not the one of the genesis.
    #[error(
        "{}: the snapshot of height {height} is not the one that this chain begins with: its {what} \
         is {found}, the genesis says {expected}; bring the folder that was written together with \
         this genesis", path.display()
    )]
    Other {
        /// Where it lies.
        path: PathBuf,
        /// Its height.
        height: u64,
        /// What differs.
        what: &'static str,
        /// What the genesis says.
        expected: String,
        /// What the snapshot has.
        found: String,
    },
    /// It cannot be read, written or restored.
    #[error("the state that this chain begins with: {}", .0.with_remedy())]
    Snapshot(#[from] SnapshotError),
}

/// The state that a chain begins with, as its genesis names it, and where it lies.
#[derive(Clone, Debug)]
pub struct FirstState {
    begins: Begins,
    chain_id: [u8; 32],
    time_ns: u64,
    folder: SnapshotFolder,
}

/// Where the state that a chain begins with is kept in a data folder.
#[must_use]
pub fn begins_path(data: &Path) -> PathBuf {
    data.join(BEGINS_FOLDER)
}

/// Puts the state that a chain begins with into a data folder, from the folder `from`; none is
/// needed by a chain that begins with nothing. One that is there stays, and where `from` has none
/// nothing is done: only [`FirstState::restore`] and [`FirstState::verify`] need it.
///
/// # Errors
/// [`BeginsError`]: what lies in `from` is not what the genesis names, or cannot be copied.
pub fn bring(genesis: &Genesis, from: Option<&Path>, data: &Path) -> Result<(), BeginsError> {
    let kept = FirstState::of(genesis, begins_path(data));
    let source = from.and_then(|from| FirstState::of(genesis, from.to_path_buf()));
    let (Some(kept), Some(source)) = (kept, source) else {
        return Ok(());
    };
    if kept.is_there()? || !source.is_there()? {
        return Ok(());
    }
    source.verify()?;
    source.copy_to(&kept.folder)
}

impl FirstState {
    /// Of a chain, in a folder; none of a chain that begins with nothing.
    #[must_use]
    pub fn of(genesis: &Genesis, folder: PathBuf) -> Option<Self> {
        let file = genesis.file();
        Some(Self {
            begins: file.begins?,
            chain_id: file.chain_id.0,
            time_ns: file.genesis_time_ns,
            folder: SnapshotFolder::new(folder),
        })
    }

    fn is_there(&self) -> Result<bool, SnapshotError> {
        Ok(self.folder.heights()?.contains(&self.begins.height))
    }

    /// Reads the state whole and holds it against the genesis.
    ///
    /// # Errors
    /// [`BeginsError`]: it is missing, damaged, or another one.
    pub fn verify(&self) -> Result<Manifest, BeginsError> {
        let manifest = self.checked()?;
        self.folder.verify(self.begins.height)?;
        Ok(manifest)
    }

    /// Brings an executor to the state. Every chunk is checked before the first section is given
    /// to the application.
    ///
    /// # Errors
    /// [`BeginsError`]: the executor must not be used further.
    pub fn restore<S: StateMachine>(
        &self,
        executor: &mut Executor<S>,
    ) -> Result<Manifest, BeginsError> {
        let manifest = self.checked()?;
        let origin = Origin {
            chain_id: self.chain_id,
            genesis_hash: self.begins.of.0,
            // The root covers the header, which names the set.
            set_hash: manifest.header.set_hash,
        };
        let height = self.begins.height;
        Ok(snapshot::restore(executor, height, &origin, &self.folder)?)
    }

    /// Writes the same snapshot into another folder.
    ///
    /// # Errors
    /// [`BeginsError`]: it is missing, damaged or another one, or cannot be written.
    pub fn copy_to(&self, to: &SnapshotFolder) -> Result<(), BeginsError> {
        let manifest = self.checked()?;
        let mut reader = self.folder.open(self.begins.height)?;
        let mut writer = to.write(self.begins.height)?;
        for chunk in 0..u32::try_from(manifest.chunks.len()).unwrap_or(u32::MAX) {
            writer.push(&reader.chunk(chunk)?)?;
        }
        writer.finish(manifest)?;
        Ok(())
    }

    /// The manifest, which is the one that the genesis names.
    fn checked(&self) -> Result<Manifest, BeginsError> {
        let height = self.begins.height;
        if !self.is_there()? {
            let path = self.folder.path().to_path_buf();
            return Err(BeginsError::Missing { path, height });
        }
        let manifest = self.folder.manifest(height)?;
        self.check(&manifest)?;
        Ok(manifest)
    }

    /// The root alone binds all the rest; what else the genesis says of it must be true as well,
    /// for whoever reads the genesis without the snapshot.
    fn check(&self, manifest: &Manifest) -> Result<(), BeginsError> {
        let (begins, header) = (&self.begins, &manifest.header);
        let id = *header.id().as_bytes();
        let hashes = [
            ("root", begins.snapshot.0, manifest.root()),
            ("genesis", begins.of.0, manifest.genesis_hash),
            ("block", begins.block.0, id),
            ("chain", self.chain_id, header.chain_id),
        ];
        let other = |what, expected, found| BeginsError::Other {
            path: self.folder.path().to_path_buf(),
            height: begins.height,
            what,
            expected,
            found,
        };
        for (what, expected, found) in hashes {
            if expected != found {
                return Err(other(what, hex::encode(&expected), hex::encode(&found)));
            }
        }
        if header.time_ns != self.time_ns {
            let (expected, found) = (self.time_ns.to_string(), header.time_ns.to_string());
            return Err(other("time", expected, found));
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "begins_tests.rs"]
mod tests;
