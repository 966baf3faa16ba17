//! The replicated state into a snapshot, and out of it.
//!
//! Owns what a snapshot covers: the session table with the last result of every session, the tree
//! over what all blocks put out, and every section of the application, its timers among them.
//! Stakes and schedule are functions of the set that the header names, and the header is where the
//! chain goes on. Never: threads, or the choice of a moment.

use quorate_consensus::header::Header;
use quorate_consensus::validators::ValidatorSet;

use super::SnapshotError;
use super::folder::{SnapshotFolder, SnapshotReader, SnapshotWriter};
use super::manifest::{Manifest, SECTIONS_MAX, SectionEntry, is_section_name};
use crate::executor::Executor;
use crate::roots::OUTPUTS_SECTION;
use crate::state_machine::StateMachine;

/// Whose state it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Name of the chain.
    pub chain_id: [u8; 32],
    /// Hash of the genesis file.
    pub genesis_hash: [u8; 32],
    /// Hash of the validator set.
    pub set_hash: [u8; 32],
}

impl Origin {
    /// Of a chain with this set.
    #[must_use]
    pub fn of(set: &ValidatorSet) -> Self {
        Self {
            chain_id: *set.chain_id(),
            genesis_hash: *set.genesis_hash(),
            set_hash: *set.set_hash(),
        }
    }

    /// What a snapshot is of another of, if anything.
    fn differs(&self, manifest: &Manifest) -> Option<&'static str> {
        let header = &manifest.header;
        if header.chain_id != self.chain_id {
            Some("chain")
        } else if manifest.genesis_hash != self.genesis_hash {
            Some("genesis")
        } else if header.set_hash != self.set_hash {
            Some("validator set")
        } else {
            None
        }
    }

    /// Whether a snapshot is of this chain, genesis and set.
    #[must_use]
    pub fn fits(&self, manifest: &Manifest) -> bool {
        self.differs(manifest).is_none()
    }

    /// Refuses a snapshot that is not.
    ///
    /// # Errors
    /// [`SnapshotError::Foreign`] says what it is of another of.
    pub fn check(&self, manifest: &Manifest) -> Result<(), SnapshotError> {
        check_origin(manifest, self)
    }
}

/// Writes the state as it stands after the block with this header, and restores it from what was
/// written: the executor goes on from there, as a start would. An application that forgets a part
/// of its state is found out here, and by what it computes from here on, and not when its
/// validators have nothing else left to start from.
///
/// # Errors
/// [`SnapshotError`]: no snapshot was written. The executor may have been restored in part, and
/// must not be used further.
pub fn take<S: StateMachine>(
    executor: &mut Executor<S>,
    header: &Header,
    origin: &Origin,
    folder: &SnapshotFolder,
) -> Result<Manifest, SnapshotError> {
    let (writer, manifest) = save(executor, header, origin, folder)?;
    writer.finish_tried(manifest, |reader| {
        reader.check()?;
        put_back(executor, reader, &mut false)
    })
}

/// Writes the sections of the state; what is written is no snapshot before it is finished with
/// this manifest.
pub(crate) fn save<S: StateMachine>(
    executor: &mut Executor<S>,
    header: &Header,
    origin: &Origin,
    folder: &SnapshotFolder,
) -> Result<(SnapshotWriter, Manifest), SnapshotError> {
    let root = executor.root();
    if root.sections.len() > SECTIONS_MAX {
        return Err(SnapshotError::TooLarge {
            what: "its sections are too many",
        });
    }
    if !root.sections.iter().all(|(name, _)| is_section_name(name)) {
        return Err(SnapshotError::TooLarge {
            what: "a section's name is too long or not plain ASCII",
        });
    }
    let mut writer = folder.write(header.height.number())?;
    let mut sections = Vec::with_capacity(root.sections.len());
    let mut bytes = Vec::new();
    for (place, (name, root)) in root.sections.iter().enumerate() {
        bytes.clear();
        executor.save_section(place, &mut bytes);
        writer.push(&bytes)?;
        sections.push(SectionEntry {
            name: (*name).to_owned(),
            root: *root,
            bytes: bytes.len() as u64,
        });
    }
    let manifest = Manifest {
        genesis_hash: origin.genesis_hash,
        header: *header,
        sections,
        chunks: Vec::new(),
    };
    Ok((writer, manifest))
}

/// Brings an executor to the state of a snapshot. Every chunk is checked before the first section
/// is given to the application.
///
/// # Errors
/// [`SnapshotError`]. After [`SnapshotError::Restore`] and [`SnapshotError::Root`] the executor
/// must not be used further, nor where the disk refused a chunk that it gave a moment before; after
/// any other it is as it was.
pub fn restore<S: StateMachine>(
    executor: &mut Executor<S>,
    height: u64,
    origin: &Origin,
    folder: &SnapshotFolder,
) -> Result<Manifest, SnapshotError> {
    restore_noting(executor, height, origin, (folder, &mut false))
}

/// The same; `has_begun` is set once the executor is not any more what it was.
pub(crate) fn restore_noting<S: StateMachine>(
    executor: &mut Executor<S>,
    height: u64,
    origin: &Origin,
    (folder, has_begun): (&SnapshotFolder, &mut bool),
) -> Result<Manifest, SnapshotError> {
    let mut reader = folder.open(height)?;
    reader.check()?;
    check_origin(reader.manifest(), origin)?;
    put_back(executor, &mut reader, has_begun)?;
    Ok(reader.manifest().clone())
}

/// The sections of a snapshot into an executor, when every chunk has been read once. `has_begun` is
/// set with the first of them: from then on nothing but a whole snapshot makes it good again.
pub(crate) fn put_back<S: StateMachine>(
    executor: &mut Executor<S>,
    reader: &mut SnapshotReader,
    has_begun: &mut bool,
) -> Result<(), SnapshotError> {
    let manifest = reader.manifest().clone();
    check_names(&executor.section_names(), &manifest)?;
    for (place, entry) in manifest.sections.iter().enumerate() {
        let bytes = reader.section(place)?;
        let section = || entry.name.clone();
        *has_begun = true;
        executor
            .restore_section(place, &bytes)
            .map_err(|what| SnapshotError::Restore {
                section: section(),
                what,
            })?;
        if executor.section_root(place) != entry.root {
            return Err(SnapshotError::Root { section: section() });
        }
    }
    executor
        .restore_position(manifest.height(), manifest.header.time_ns)
        .map_err(|what| SnapshotError::Restore {
            section: OUTPUTS_SECTION.to_owned(),
            what,
        })
}

fn check_names(names: &[&'static str], manifest: &Manifest) -> Result<(), SnapshotError> {
    let sections = &manifest.sections;
    for place in 0..names.len().max(sections.len()) {
        let found = sections.get(place).map(|entry| entry.name.as_str());
        let expected = names.get(place).copied();
        if found != expected {
            return Err(SnapshotError::Sections {
                found: found.map(str::to_owned),
                expected: expected.map(str::to_owned),
            });
        }
    }
    Ok(())
}

fn check_origin(manifest: &Manifest, origin: &Origin) -> Result<(), SnapshotError> {
    let height = manifest.height();
    match origin.differs(manifest) {
        Some(what) => Err(SnapshotError::Foreign { height, what }),
        None => Ok(()),
    }
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
