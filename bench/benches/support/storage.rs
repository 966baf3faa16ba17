//! A log in a folder of its own.
//!
//! Owns that folder, which is removed in the end. Never: syncs.

use std::path::{Path, PathBuf};

use quorate_log::{DataFolder, LogConfig, Opened, RecordKind, open};

const KIND: RecordKind = RecordKind::new(7);

/// A folder of its own below that of temporary files.
pub(crate) fn folder_of(name: &str) -> PathBuf {
    let name = format!("quorate-bench-{}-{name}", std::process::id());
    std::env::temp_dir().join(name)
}

pub(crate) fn remove(folder: &Path) {
    if let Err(error) = std::fs::remove_dir_all(folder) {
        tracing::warn!(%error, "a folder of a measurement is left behind");
    }
}

/// A log in a folder that is removed in the end.
pub(crate) struct Log {
    pub(crate) opened: Opened,
    folder: PathBuf,
}

impl Log {
    pub(crate) fn create(name: &str) -> Self {
        let folder = folder_of(name);
        quorate::keys::create_private_folder(&folder).expect("a folder");
        let data = DataFolder::open(&folder).expect("a data folder");
        let opened = open(&data, &LogConfig::new([1; 32]), b"bench").expect("a log");
        Self { opened, folder }
    }

    pub(crate) fn append(&mut self, payload: &[u8]) {
        let place = self.opened.writer.append(KIND, &[payload]);
        place.expect("room on the disk");
        // On a thread of its own in a node; here it costs a record in so many thousand.
        self.opened.preparer.prepare_next().expect("a segment");
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        remove(&self.folder);
    }
}
