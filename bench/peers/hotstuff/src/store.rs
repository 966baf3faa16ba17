//! The library's store, in memory.
//!
//! Owns a map. Never: touches the disk.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hotstuff_rs::block_tree::pluggables::{KVGet, KVStore, WriteBatch};

type Map = HashMap<Vec<u8>, Vec<u8>>;

#[derive(Clone, Default)]
pub(crate) struct Memory {
    map: Arc<Mutex<Map>>,
}

impl Memory {
    fn lock(&self) -> MutexGuard<'_, Map> {
        self.map.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl KVStore for Memory {
    type WriteBatch = Changes;
    type Snapshot<'a> = View<'a>;

    fn write(&mut self, changes: Changes) {
        let mut map = self.lock();
        for (key, value) in changes.map {
            match value {
                Some(value) => drop(map.insert(key, value)),
                None => drop(map.remove(&key)),
            }
        }
    }

    fn clear(&mut self) {
        self.lock().clear();
    }

    fn snapshot<'b>(&'b self) -> View<'b> {
        View(self.lock())
    }
}

impl KVGet for Memory {
    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.lock().get(key).cloned()
    }
}

/// Changes that are made at once.
pub(crate) struct Changes {
    map: HashMap<Vec<u8>, Option<Vec<u8>>>,
}

impl WriteBatch for Changes {
    fn new() -> Self {
        Self {
            map: HashMap::new(),
        }
    }

    fn set(&mut self, key: &[u8], value: &[u8]) {
        self.map.insert(key.to_vec(), Some(value.to_vec()));
    }

    fn delete(&mut self, key: &[u8]) {
        self.map.insert(key.to_vec(), None);
    }
}

/// The map as it is while nobody else has it.
pub(crate) struct View<'a>(MutexGuard<'a, Map>);

impl KVGet for View<'_> {
    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.0.get(key).cloned()
    }
}
