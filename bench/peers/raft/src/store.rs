//! Where a node keeps its entries: in memory, and where it is to sync, in a file besides.
//!
//! Owns the file, which is only ever written: no node is started again on it here. Never: decides
//! when something is stored.

use std::fs::File;
use std::io::{Seek as _, Write as _};
use std::path::Path;
use std::sync::Mutex;

use peer_kit::{Config, Durability, Failure};
use protobuf::Message as _;
use raft::prelude::{Entry, HardState, Snapshot};
use raft::storage::MemStorage;
use raft::{GetEntriesContext, RaftState, Result as RaftResult, Storage};

/// Applied entries that are kept for a follower that is behind.
const KEPT: u64 = 100_000;

/// Zeros that the file begins with, so that a sync has no new length to note and no block to find.
/// Beyond them it grows.
const ZEROS: usize = 128 * 1024 * 1024;
/// Zeros that one write takes.
const PIECE: usize = 1024 * 1024;

pub(crate) struct Store {
    memory: MemStorage,
    log: Option<Mutex<Log>>,
}

/// The file, and how often it was synced.
struct Log {
    file: File,
    syncs: u64,
}

impl Log {
    fn create(path: &Path, zeros: usize) -> Result<Self, Failure> {
        let mut file = File::create_new(path)?;
        let piece = vec![0; PIECE.min(zeros)];
        for _ in 0..zeros / PIECE.max(1) {
            file.write_all(&piece)?;
        }
        file.sync_all()?;
        file.rewind()?;
        Ok(Self { file, syncs: 0 })
    }

    fn append(
        &mut self,
        entries: &[Entry],
        state: Option<&HardState>,
        must_sync: bool,
    ) -> Result<(), Failure> {
        let mut bytes = Vec::new();
        for entry in entries {
            entry.write_length_delimited_to_vec(&mut bytes)?;
        }
        if let Some(state) = state {
            state.write_length_delimited_to_vec(&mut bytes)?;
        }
        self.file.write_all(&bytes)?;
        if must_sync {
            self.file.sync_data()?;
            self.syncs += 1;
        }
        Ok(())
    }
}

impl Store {
    pub(crate) fn create(ids: Vec<u64>, config: &Config) -> Result<Self, Failure> {
        let log = match config.durability {
            Durability::Async => None,
            Durability::Sync => {
                let log = Log::create(&config.folder.join("entries"), ZEROS)?;
                Some(Mutex::new(log))
            }
        };
        let memory = MemStorage::new_with_conf_state((ids, Vec::new()));
        Ok(Self { memory, log })
    }

    /// Stores entries and the state, where the configuration says so in the file too, and synced
    /// where the library must have that: a commit that only went on is known from the others.
    pub(crate) fn append(
        &self,
        entries: &[Entry],
        state: Option<HardState>,
        must_sync: bool,
    ) -> Result<(), Failure> {
        if entries.is_empty() && state.is_none() {
            return Ok(());
        }
        if let Some(log) = &self.log {
            let mut log = log.lock().map_err(|_| "the file's lock is poisoned")?;
            log.append(entries, state.as_ref(), must_sync)?;
        }
        self.memory.wl().append(entries)?;
        if let Some(state) = state {
            self.memory.wl().set_hardstate(state);
        }
        Ok(())
    }

    pub(crate) fn commit(&self, index: u64) {
        self.memory.wl().mut_hard_state().set_commit(index);
    }

    /// Forgets entries that are long applied.
    pub(crate) fn compact(&self, applied: u64) -> Result<(), Failure> {
        let first = self.memory.first_index()?;
        if applied > first + 2 * KEPT {
            self.memory.wl().compact(applied - KEPT)?;
        }
        Ok(())
    }
}

impl Storage for Store {
    fn initial_state(&self) -> RaftResult<RaftState> {
        self.memory.initial_state()
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        context: GetEntriesContext,
    ) -> RaftResult<Vec<Entry>> {
        self.memory.entries(low, high, max_size, context)
    }

    fn term(&self, index: u64) -> RaftResult<u64> {
        self.memory.term(index)
    }

    fn first_index(&self) -> RaftResult<u64> {
        self.memory.first_index()
    }

    fn last_index(&self) -> RaftResult<u64> {
        self.memory.last_index()
    }

    fn snapshot(&self, request_index: u64, to: u64) -> RaftResult<Snapshot> {
        self.memory.snapshot(request_index, to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_that_needs_no_sync_has_none_and_the_file_does_not_grow() -> Result<(), Failure> {
        let folder = std::env::temp_dir().join(format!("peer-raft-{}", std::process::id()));
        std::fs::create_dir_all(&folder)?;
        let path = folder.join("entries");
        let mut log = Log::create(&path, 2 * PIECE)?;
        let state = HardState {
            commit: 7,
            ..HardState::default()
        };
        log.append(&[], Some(&state), false)?;
        assert_eq!(log.syncs, 0);
        log.append(&[Entry::default()], Some(&state), true)?;
        assert_eq!(log.syncs, 1);
        assert_eq!(std::fs::metadata(&path)?.len(), 2 * PIECE as u64);
        std::fs::remove_dir_all(&folder)?;
        Ok(())
    }
}
