//! Where a node keeps its entries: in memory, and where it is to sync, in a file besides.
//!
//! Owns the file, which is only ever written: no node is started again on it here. Never: decides
//! when something is stored.

use std::fs::File;
use std::io::Write as _;
use std::sync::Mutex;

use peer_kit::{Config, Durability, Failure};
use protobuf::Message as _;
use raft::prelude::{Entry, HardState, Snapshot};
use raft::storage::MemStorage;
use raft::{GetEntriesContext, RaftState, Result as RaftResult, Storage};

/// Applied entries that are kept for a follower that is behind.
const KEPT: u64 = 100_000;

pub(crate) struct Store {
    memory: MemStorage,
    file: Option<Mutex<File>>,
}

impl Store {
    pub(crate) fn create(ids: Vec<u64>, config: &Config) -> Result<Self, Failure> {
        let file = match config.durability {
            Durability::Async => None,
            Durability::Sync => Some(Mutex::new(File::create_new(config.folder.join("entries"))?)),
        };
        let memory = MemStorage::new_with_conf_state((ids, Vec::new()));
        Ok(Self { memory, file })
    }

    /// Stores entries and the state, synced where the configuration says so.
    pub(crate) fn append(
        &self,
        entries: &[Entry],
        state: Option<HardState>,
    ) -> Result<(), Failure> {
        if entries.is_empty() && state.is_none() {
            return Ok(());
        }
        if let Some(file) = &self.file {
            let mut bytes = Vec::new();
            for entry in entries {
                entry.write_length_delimited_to_vec(&mut bytes)?;
            }
            if let Some(state) = &state {
                state.write_length_delimited_to_vec(&mut bytes)?;
            }
            let mut file = file.lock().map_err(|_| "the file's lock is poisoned")?;
            file.write_all(&bytes)?;
            file.sync_data()?;
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
