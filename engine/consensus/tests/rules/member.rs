//! One validator of the world: itself, its disk, and what it told of itself.

use quorate_consensus::certificate::Certificate;
use quorate_consensus::effect::{Alarm, Effect, FinalPath};
use quorate_consensus::evidence::Evidence;
use quorate_consensus::header::Header;
use quorate_consensus::machine::Consensus;
use quorate_consensus::record::{OwnRecord, Record};
use quorate_consensus::trust::Lease;
use quorate_consensus::types::{BlockId, Height, Point, Window};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What one validator's log holds, over restarts.
#[derive(Default)]
pub(crate) struct Disk {
    pub(crate) lease: Lease,
    pub(crate) blocks: BTreeMap<BlockId, (Header, Arc<[u8]>)>,
    pub(crate) order: Vec<BlockId>,
    pub(crate) records: BTreeMap<Window, Record>,
    pub(crate) chain: Vec<(BlockId, Header)>,
    pub(crate) proof: Option<(Point, Certificate)>,
    /// Every record ever logged, in order: for the checks of I1.
    pub(crate) history: Vec<OwnRecord>,
}

pub(crate) struct Member {
    pub(crate) consensus: Option<Consensus>,
    pub(crate) disk: Disk,
    pub(crate) finalized: Vec<(Height, BlockId, FinalPath)>,
    pub(crate) alarms: Vec<Alarm>,
    pub(crate) evidence: Vec<Evidence>,
    pub(crate) faults: u32,
    pub(crate) entered: Vec<Window>,
    pub(crate) stopped: Vec<Window>,
    pub(crate) incarnation: u64,
    /// Commands wait here, so that this member proposes when it may.
    pub(crate) has_commands: bool,
}

impl Member {
    /// Remembers what a test may ask for later.
    pub(crate) fn note(&mut self, effect: Effect) {
        match effect {
            Effect::Entered { window, .. } => self.entered.push(window),
            Effect::Stopped(window) => self.stopped.push(window),
            Effect::Evidence(evidence) => self.evidence.push(evidence),
            Effect::Alarm(alarm) => self.alarms.push(alarm),
            _ => {}
        }
    }
}
