//! One validator of a scene: the shipped machine, its clock, its disk, and what it has said.
//!
//! Never: what its effects come to; `carry` does them.

use std::collections::BTreeMap;

use quorate_consensus::effect::FinalPath;
use quorate_consensus::machine::{Consensus, Counters};
use quorate_consensus::record::{OwnRecord, Record};
use quorate_consensus::types::{BlockId, Height, Now, Window};

use super::disk::Disk;
use super::view::View;

/// What waits for the log to be synced.
#[derive(Clone, Debug)]
pub(crate) enum Unsynced {
    Record(OwnRecord),
    Proof(Height),
}

/// One validator.
#[derive(Debug)]
pub(crate) struct Member {
    /// Absent while it is down, or when the script speaks for it.
    pub(crate) consensus: Option<Consensus>,
    /// The script speaks for it.
    pub(crate) is_byzantine: bool,
    pub(crate) now: Now,
    pub(crate) disk: Disk,
    /// A copy of the disk made earlier.
    pub(crate) copy: Option<Disk>,
    /// The log syncs nothing until it is told to.
    pub(crate) is_held: bool,
    pub(crate) unsynced: Vec<Unsynced>,
    /// Last record handed to the journal, by window.
    pub(crate) said: BTreeMap<Window, Record>,
    pub(crate) view: View,
    /// The machine's counters when they were last looked at.
    pub(crate) counters: Counters,
    pub(crate) finalized: Vec<(BlockId, FinalPath)>,
    /// It was started again and has not been able to act since.
    pub(crate) is_behind_fence: bool,
    pub(crate) incarnation: u64,
    pub(crate) boot: u8,
}

impl Member {
    pub(crate) fn new(now: Now) -> Self {
        Self {
            consensus: None,
            is_byzantine: false,
            now,
            disk: Disk::default(),
            copy: None,
            is_held: false,
            unsynced: Vec::new(),
            said: BTreeMap::new(),
            view: View::default(),
            counters: Counters::default(),
            finalized: Vec::new(),
            is_behind_fence: false,
            incarnation: 0,
            boot: 1,
        }
    }

    /// The process ends; what it kept in memory is gone.
    pub(crate) fn end(&mut self) {
        self.consensus = None;
        self.is_held = false;
        self.unsynced.clear();
        self.view = View::default();
        self.said.clear();
        self.counters = Counters::default();
        self.is_behind_fence = false;
    }

    pub(crate) const fn sleep(&mut self, by_ns: u64) {
        self.now.mono_ns += by_ns;
        self.now.wall_ns += by_ns;
    }
}
