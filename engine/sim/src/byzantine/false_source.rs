//! Serves snapshots that are not what they are said to be, to whoever joins.
//!
//! Owns the changes to offers and chunks. Everything else of its validator is as it should be, so
//! that it has the weight of a good one in whatever the others decide.

use std::sync::Arc;

use quorate_consensus::message::{Message, SnapshotPart};
use quorate_consensus::types::ValidatorIndex;

use super::Actor;
use super::deeds::{Deed, Done};
use super::stage::Stage;

/// Parts of before that are kept, to be served once more.
const KEPT_MAX: usize = 8;
/// So likely an offer is changed: whoever sees that it was asks this source for no chunk, and what
/// is done to chunks is never tried.
const OFFERS_CHANGED_PERCENT: u64 = 40;

/// A source that nobody should believe.
#[derive(Debug, Default)]
pub(crate) struct FalseSource {
    offers: Vec<SnapshotPart>,
    chunks: Vec<SnapshotPart>,
}

/// Keeps a part, in the place of one that chance names when there are enough.
fn keep(kept: &mut Vec<SnapshotPart>, part: &SnapshotPart, stage: &mut Stage<'_>) {
    if kept.len() < KEPT_MAX {
        kept.push(part.clone());
    } else {
        let place = stage.dice.place(kept.len());
        kept[place] = part.clone();
    }
}

fn any_of(kept: &[SnapshotPart], stage: &mut Stage<'_>) -> Option<SnapshotPart> {
    kept.get(stage.dice.place(kept.len().max(1))).cloned()
}

/// The bytes with one of them changed.
fn spoiled(bytes: &[u8], stage: &mut Stage<'_>) -> Arc<[u8]> {
    let mut bytes = bytes.to_vec();
    let place = stage.dice.place(bytes.len().max(1));
    if let Some(byte) = bytes.get_mut(place) {
        *byte ^= 1 << stage.dice.below(8);
    }
    bytes.into()
}

impl FalseSource {
    /// What an offer becomes: another manifest, a certificate of another state, of too few, or of
    /// somebody who never signed; or an offer of before.
    fn change_offer(&self, mut part: SnapshotPart, stage: &mut Stage<'_>) -> SnapshotPart {
        let SnapshotPart::Offer {
            certificate,
            manifest,
        } = &mut part
        else {
            return part;
        };
        match stage.dice.below(6) {
            0 => *manifest = spoiled(manifest, stage),
            1 => certificate.statement.height = certificate.statement.height.plus(64),
            2 => certificate.signatures.truncate(1),
            3 => {
                let first = certificate.signatures.first().copied();
                certificate.signatures = first.into_iter().cycle().take(4).collect();
            }
            4 => {
                if let Some((_, signature)) = certificate.signatures.last_mut() {
                    *signature = [7; 64];
                }
            }
            _ => return any_of(&self.offers, stage).unwrap_or(part),
        }
        part
    }

    /// What a chunk becomes: other bytes, fewer, none, or another chunk's.
    fn change_chunk(&self, mut part: SnapshotPart, stage: &mut Stage<'_>) -> SnapshotPart {
        let other = any_of(&self.chunks, stage);
        let SnapshotPart::Chunk { bytes, .. } = &mut part else {
            return part;
        };
        match stage.dice.below(4) {
            0 => *bytes = spoiled(bytes, stage),
            1 => *bytes = bytes[..bytes.len() / 2].into(),
            2 => *bytes = Arc::default(),
            _ => {
                if let Some(SnapshotPart::Chunk { bytes: other, .. }) = other {
                    *bytes = other;
                }
            }
        }
        part
    }
}

impl Actor for FalseSource {
    fn deeds(&self) -> &'static [Done] {
        &[
            (Deed::Changed, "offer"),
            (Deed::Changed, "chunk"),
            (Deed::Withheld, "chunk"),
        ]
    }

    fn say(&mut self, stage: &mut Stage<'_>, to: ValidatorIndex, message: Message) {
        let Message::Snapshot(part) = message else {
            return stage.send(to, message);
        };
        let said = match &part {
            SnapshotPart::Offer { .. } => {
                keep(&mut self.offers, &part, stage);
                match stage.dice.percent(OFFERS_CHANGED_PERCENT) {
                    true => self.change_offer(part, stage),
                    false => part,
                }
            }
            SnapshotPart::Chunk { .. } => {
                keep(&mut self.chunks, &part, stage);
                match stage.dice.below(8) {
                    // Silence.
                    0..=2 => return,
                    3..=6 => self.change_chunk(part, stage),
                    _ => part,
                }
            }
            _ => part,
        };
        stage.send(to, Message::Snapshot(said));
    }
}
