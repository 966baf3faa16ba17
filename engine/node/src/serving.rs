//! Snapshots for peers that join: the offer of the newest one, and the chunk that is asked for.
//!
//! Owns which snapshots peers are fetching, so that neither they nor the log above them go
//! meanwhile, for a bounded time. Never: sends more than it is asked for, or vouches for anything;
//! a chunk that the own disk has damaged is one that is not here.

use std::collections::BTreeMap;

use quorate_consensus::message::SnapshotPart;
use quorate_consensus::types::ValidatorIndex;
use quorate_consensus::wire;

use crate::shadow::statement_of;
use crate::snapshot::{SnapshotFolder, SnapshotReader};

/// A peer that was served a snapshot holds it, and the log above it, this long: it has to restore
/// the state before it asks for the log.
pub const HOLD_NS: u64 = 120_000_000_000;
/// No snapshot is held longer than this, whoever is served: one peer after the other could keep an
/// old one, and all of the log above it, for ever.
pub const HOLD_MAX_NS: u64 = 1_800_000_000_000;
/// Heights of which it is known since when they were held.
const HEIGHTS_MAX: usize = 64;
/// Snapshots held at once at most, so that peers cannot fill the disk.
pub const HELD_MAX: usize = 2;
/// A peer is told of the newest snapshot once in this time.
pub const OFFER_PAUSE_NS: u64 = 500_000_000;

/// What a peer is fetching, and when it was served last.
#[derive(Clone, Copy, Debug)]
struct Hold {
    height: u64,
    last_ns: u64,
}

/// The serving side of joining.
#[derive(Debug)]
pub struct Serving {
    folder: SnapshotFolder,
    holds: BTreeMap<ValidatorIndex, Hold>,
    /// When each height was held first. Bound: `HEIGHTS_MAX`, the lowest go.
    first_ns: BTreeMap<u64, u64>,
    offered_ns: BTreeMap<ValidatorIndex, u64>,
    /// The snapshot that was read last, with its root.
    open: Option<([u8; 32], SnapshotReader)>,
}

impl Serving {
    /// Serves from a folder. Bounds: what it keeps is for each validator once.
    #[must_use]
    pub const fn new(folder: SnapshotFolder) -> Self {
        Self {
            folder,
            holds: BTreeMap::new(),
            first_ns: BTreeMap::new(),
            offered_ns: BTreeMap::new(),
            open: None,
        }
    }

    /// The answer to a peer that joins; none when there is nothing to say.
    #[must_use]
    pub fn answer(
        &mut self,
        now_ns: u64,
        from: ValidatorIndex,
        asked: &SnapshotPart,
    ) -> Option<SnapshotPart> {
        match *asked {
            SnapshotPart::Ask => {
                let told = self.offered_ns.get(&from);
                if told.is_some_and(|&at_ns| now_ns < at_ns.saturating_add(OFFER_PAUSE_NS)) {
                    return None;
                }
                self.offered_ns.insert(from, now_ns);
                let (height, offer) = self.offer()?;
                // What it is fetching already stays held while it looks for more sources.
                let is_new = !self.holds.contains_key(&from);
                if is_new {
                    self.hold(now_ns, from, height);
                }
                Some(offer)
            }
            SnapshotPart::Get {
                height,
                root,
                chunk,
            } => {
                let bytes = self.chunk(height.number(), &root, chunk);
                if bytes.is_some() {
                    self.hold(now_ns, from, height.number());
                }
                Some(SnapshotPart::Chunk {
                    root,
                    chunk,
                    bytes: bytes.unwrap_or_default().into(),
                })
            }
            SnapshotPart::Offer { .. }
            | SnapshotPart::Chunk { .. }
            | SnapshotPart::GetEvents { .. }
            | SnapshotPart::Events { .. } => None,
        }
    }

    /// The newest snapshot that enough validators vouch for.
    fn offer(&self) -> Option<(u64, SnapshotPart)> {
        for height in self.folder.heights().ok()?.into_iter().rev() {
            let bytes = self.folder.certificate(height).ok().flatten();
            let certificate = bytes.and_then(|bytes| wire::decode_state_certificate(&bytes).ok());
            let (Some(certificate), Ok(manifest)) = (certificate, self.folder.manifest(height))
            else {
                continue;
            };
            if certificate.statement == statement_of(&manifest) {
                let offer = SnapshotPart::Offer {
                    certificate: Box::new(certificate),
                    manifest: manifest.encode().into(),
                };
                return Some((height, offer));
            }
        }
        None
    }

    fn chunk(&mut self, height: u64, root: &[u8; 32], chunk: u32) -> Option<Vec<u8>> {
        if self.open.as_ref().is_none_or(|(open, _)| open != root) {
            let reader = self.folder.open(height).ok()?;
            self.open = Some((reader.manifest().root(), reader));
        }
        let (open, reader) = self.open.as_mut()?;
        // What is held is a snapshot of the height that was asked for, not of any other.
        if open != root || reader.manifest().height() != height {
            return None;
        }
        match reader.chunk(chunk) {
            Ok(bytes) => Some(bytes).filter(|bytes| !bytes.is_empty()),
            Err(error) => {
                tracing::error!(height, %error, "a chunk is not served");
                self.open = None;
                None
            }
        }
    }

    fn hold(&mut self, now_ns: u64, from: ValidatorIndex, height: u64) {
        let last_ns = now_ns;
        self.holds.insert(from, Hold { height, last_ns });
        self.first_ns.entry(height).or_insert(now_ns);
        if self.first_ns.len() > HEIGHTS_MAX {
            self.first_ns.pop_first();
        }
    }

    /// Heights of the snapshots that peers are fetching, ascending. When there are too many: those
    /// held first, but the last of them gives way to the one that was asked for last, so that who
    /// holds old ones now and then keeps no room from a peer that is fetching.
    #[must_use]
    pub fn held(&mut self, now_ns: u64) -> Vec<u64> {
        self.holds
            .retain(|_, hold| now_ns < hold.last_ns.saturating_add(HOLD_NS));
        if self.holds.is_empty() {
            // What is open takes room on the disk also when its name is gone.
            self.open = None;
        }
        let mut held: Vec<(u64, u64)> = self
            .holds
            .values()
            .filter_map(|hold| Some((*self.first_ns.get(&hold.height)?, hold.height)))
            .filter(|&(first_ns, _)| now_ns < first_ns.saturating_add(HOLD_MAX_NS))
            .collect();
        held.sort_unstable();
        held.dedup();
        let mut heights: Vec<u64> = held.into_iter().map(|(_, height)| height).collect();
        let asked = |hold: &&Hold| heights.contains(&hold.height);
        let newest = self.holds.values().filter(asked);
        let newest = newest.max_by_key(|hold| hold.last_ns);
        let newest = newest.map(|hold| hold.height);
        heights.truncate(HELD_MAX);
        if let (Some(newest), true) = (newest, heights.len() == HELD_MAX)
            && !heights.contains(&newest)
        {
            heights[HELD_MAX - 1] = newest;
        }
        heights.sort_unstable();
        heights
    }
}

#[cfg(test)]
#[path = "serving_tests.rs"]
mod tests;
