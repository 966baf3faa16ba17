//! What is known of the points R of commands' signatures.
//!
//! Owns two bounded memories of their abscissas: those found out here, by the encodings of R, to
//! be told to others; and those told, by the block of which they are said. One that a peer has said
//! may be wrong: it is checked whenever it is used (`quorate_curve::point_at`), costs the square
//! root then that it would have spared, and is told nobody. Never: says anything of a signature, or
//! makes whoever tells and is told wait: that thread has votes to send.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use quorate_consensus::payload::Commands;
use quorate_consensus::types::BlockId;
use quorate_consensus::verify::{Abscissa, SignatureCheck, SignatureItem};

use super::recent::Recent;

/// Abscissas found out here that are kept in each of two generations: those of commands between
/// their admission and the proposal of their block, so more than a full pool has of long ones. As
/// many as fill a table of 65,536 places, 8.5 MiB in all.
const FOUND_MAX: usize = 57_344;
/// Abscissas kept of those told: of blocks between their proposal and the last check. 3.5 MiB.
const TOLD_MAX: usize = 2 * FOUND_MAX;
/// Blocks of which they are kept, so few that a block is found by a look at each: some times as
/// many as may be on their way at once (`PIPELINE_BLOCKS`).
const TOLD_BLOCKS_MAX: usize = 256;
/// Bytes of one.
const ABSCISSA_BYTES: usize = size_of::<Abscissa>();
/// Stands for one that is not known. It is right for two points of small order alone.
const UNKNOWN: Abscissa = [0; ABSCISSA_BYTES];

/// See the module.
#[derive(Debug)]
pub(super) struct Abscissas {
    found: Mutex<Recent<[u8; 32], Abscissa>>,
    told: Mutex<AllTold>,
    /// How many were found out here.
    decoded: AtomicU64,
}

/// What is said of a block's commands, in their order.
#[derive(Clone, Debug)]
pub(super) struct Told(Arc<[Abscissa]>);

/// What is said of blocks, the oldest first. Bounds: `TOLD_MAX` abscissas and `TOLD_BLOCKS_MAX`
/// blocks.
#[derive(Debug, Default)]
struct AllTold {
    blocks: VecDeque<(BlockId, Told)>,
    count: usize,
}

impl Told {
    /// Of the command at this place in the block, if anything is said of it.
    pub(super) fn at(&self, place: usize) -> Option<Abscissa> {
        let abscissa = self.0.get(place).copied();
        abscissa.filter(|abscissa| *abscissa != UNKNOWN)
    }
}

impl AllTold {
    fn push(&mut self, id: BlockId, told: &[Abscissa]) {
        self.count += told.len();
        self.blocks.push_back((id, Told(told.into())));
        while (self.count > TOLD_MAX || self.blocks.len() > TOLD_BLOCKS_MAX)
            && let Some((_, Told(oldest))) = self.blocks.pop_front()
        {
            self.count -= oldest.len();
        }
    }

    fn of(&self, id: &BlockId) -> Option<&Told> {
        let mut blocks = self.blocks.iter().rev();
        blocks.find_map(|(of, told)| (of == id).then_some(told))
    }
}

impl Default for Abscissas {
    fn default() -> Self {
        Self {
            found: Mutex::new(Recent::new(FOUND_MAX)),
            told: Mutex::default(),
            decoded: AtomicU64::new(0),
        }
    }
}

impl Abscissas {
    /// Checks `items`, and keeps what is found of those that come with no abscissa, or a wrong one.
    pub(super) fn check(
        &self,
        items: &[SignatureItem<'_>],
        check: &mut impl SignatureCheck,
    ) -> Vec<bool> {
        let mut found = Vec::new();
        let answers = check.check_finding(items, &mut |place, abscissa| {
            found.push((*encoded_r(items[place].signature), abscissa));
        });
        let count = found.len() as u64;
        self.decoded.fetch_add(count, Ordering::Relaxed);
        let mut kept = self.found.lock();
        for (encoded, abscissa) in found {
            kept.insert(encoded, abscissa);
        }
        answers
    }

    /// How many had to be found out.
    pub(super) fn decoded(&self) -> u64 {
        self.decoded.load(Ordering::Relaxed)
    }

    /// Notes what somebody says of this block's commands, in their order, unless something is
    /// noted of it already; nothing while another thread is at it.
    pub(super) fn note_told(&self, id: BlockId, told: &[u8]) {
        let Some(mut all) = self.told.try_lock() else {
            return;
        };
        if all.of(&id).is_none() {
            all.push(id, told.as_chunks().0);
        }
    }

    /// What is said of this block.
    pub(super) fn told_of(&self, id: &BlockId) -> Option<Told> {
        self.told.lock().of(id).cloned()
    }

    /// What was found out here of these commands, in their order; none when that is nothing, and
    /// while another thread is at it.
    pub(super) fn tell(&self, commands: Commands<'_>) -> Option<Vec<u8>> {
        let found = self.found.try_lock()?;
        let (mut told, mut is_known) = (Vec::new(), false);
        for view in commands {
            let abscissa = view.signature.and_then(|of| found.get(encoded_r(of)));
            is_known |= abscissa.is_some();
            told.extend_from_slice(abscissa.unwrap_or(&UNKNOWN));
        }
        is_known.then_some(told)
    }
}

/// The first half of a signature.
fn encoded_r(signature: &[u8; 64]) -> &[u8; 32] {
    signature.first_chunk().unwrap_or(&[0; 32])
}
