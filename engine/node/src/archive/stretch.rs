//! Stretches of blocks before those that an archive has: given to peers, and taken from them.
//!
//! Owns the check of such a stretch against the tree over public events, which the oldest segment
//! here tells of all blocks before it, and that a stretch is on the disk whole or not at all.
//! Never: whom it comes from, or when.

use std::sync::Arc;

use quorate_proof::events::EventHistory;

use super::segment::Segment;
use super::{Archive, ArchiveError, BUFFER_BYTES, PART_SUFFIX, PublicEvents, at};
use crate::streams::Block;

/// What became of a stretch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Prepended {
    /// It is here, durably.
    Taken,
    /// Its events are not those of the chain: nothing of it was stored.
    Lie,
    /// There is no room for it.
    Full,
    /// Nothing can be compared with it: the head of the oldest segment here is damaged, or cannot
    /// be read.
    Headless,
}

impl Archive {
    /// How many bytes of older blocks there is room for; none as soon as the oldest ones had to go.
    pub(crate) fn room(&self) -> u64 {
        let left = self.config.bytes_max.saturating_sub(self.bytes());
        // What is being written now may go on to the end of its segment, and one more.
        let reserve = self.segment_bytes.saturating_mul(2);
        match self.is_full {
            true => 0,
            false => left.saturating_sub(reserve),
        }
    }

    /// The tree over the events of all blocks before a stretch that ends with the block before
    /// `below`; none where that one is not here.
    pub(crate) fn stretch_before(&mut self, below: u64) -> Option<EventHistory> {
        if below <= self.first() || below > self.end {
            return None;
        }
        let place = self.segments.partition_point(|one| one.first < below);
        let genesis_hash = self.config.genesis_hash;
        let one = self.segments.get_mut(place.checked_sub(1)?)?;
        one.before(&genesis_hash).cloned()
    }

    /// Puts blocks before all others: those after `before`, of which `blocks` are the ones with
    /// events, ascending, up to the oldest one here.
    ///
    /// # Errors
    /// The disk refuses; what is here stays as it is.
    pub(crate) fn prepend(
        &mut self,
        before: &EventHistory,
        blocks: &[(u64, Arc<Block>)],
    ) -> Result<Prepended, ArchiveError> {
        let end = self.first();
        let genesis_hash = self.config.genesis_hash;
        let oldest = self.segments.front_mut();
        let Some(known) = oldest.and_then(|one| one.before(&genesis_hash)) else {
            return Ok(Prepended::Headless);
        };
        if history_behind(before, blocks, end).as_ref() != Some(known) {
            return Ok(Prepended::Lie);
        }
        let first = before.height().saturating_add(1);
        let path = self.path(first);
        let part = path.with_extension(&PART_SUFFIX[1..]);
        let stored = self.write_part(before, blocks, end, part.clone());
        let stored = stored.and_then(|one| one.seal(path).map_err(at(&part)));
        match stored {
            Ok(one) if self.bytes().saturating_add(one.bytes()) <= self.config.bytes_max => {
                self.segments.push_front(one);
                Ok(Prepended::Taken)
            }
            Ok(one) => {
                std::fs::remove_file(&one.path).map_err(at(&one.path))?;
                Ok(Prepended::Full)
            }
            Err(error) => {
                std::fs::remove_file(&part).ok();
                Err(error)
            }
        }
    }

    fn write_part(
        &self,
        before: &EventHistory,
        blocks: &[(u64, Arc<Block>)],
        end: u64,
        part: std::path::PathBuf,
    ) -> Result<Segment<PublicEvents>, ArchiveError> {
        let made = Segment::create(before, part.clone(), &self.config.genesis_hash);
        let mut one = made.map_err(at(&part))?;
        let mut buffer = Vec::new();
        for (height, block) in blocks {
            // Longer than any record: the peer's archive could not have had it either.
            if !one.encode(*height, block.as_ref(), &mut buffer) {
                return Err(at(&part)(std::io::ErrorKind::FileTooLarge.into()));
            }
            if buffer.len() >= BUFFER_BYTES {
                one.write(&buffer).map_err(at(&part))?;
                buffer.clear();
            }
        }
        one.encode_silence(end, &mut buffer);
        one.write(&buffer).map_err(at(&part))?;
        Ok(one)
    }
}

/// The tree after the blocks behind `before` up to the one before `end`; none when their heights
/// are not such.
fn history_behind(
    before: &EventHistory,
    blocks: &[(u64, Arc<Block>)],
    end: u64,
) -> Option<EventHistory> {
    let mut history = before.clone();
    for (height, block) in blocks {
        if *height <= history.height() || *height >= end {
            return None;
        }
        history.be_silent_until(height - 1);
        history.push(&block.leaf(*height));
    }
    let last = end.checked_sub(1)?;
    history.be_silent_until(last);
    (history.height() == last).then_some(history)
}
